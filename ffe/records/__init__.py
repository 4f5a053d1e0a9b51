"""What a run leaves behind, and how it is proven, read and played again.

encode    every value of the model as canonical JSON, and back
disk      the system calls by which a record reaches the disk
chain     lines that vouch for one another
journal   the events and steps of a run: a backtest's folder, a live account's days
verify    what was edited, deleted, moved or cut since
reader    decisions found, filtered and explained
replay    a journal merged with its market again; two runs compared
"""
