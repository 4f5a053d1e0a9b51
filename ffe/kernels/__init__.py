"""Compiled bodies, numpy and numba only: one function per rule, called by the simulated broker, the watch and the gate
alike.

Arrays and scalars in, scalars or filled arrays out. No fastmath, explicit loops: compiled and interpreted agree to the
bit, so the uncompiled body (`kernel.py_func`) is the oracle in the tests.
"""
