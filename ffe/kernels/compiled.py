"""How a body becomes a kernel: compiled once, cached on disk, without the interpreter's lock, never with fastmath."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

from numba import njit

F = TypeVar("F", bound=Callable[..., object])


def compiled(body: F) -> F:
    """The compiled twin of body; the plain one stays as its `py_func`."""
    return cast(F, njit(cache=True, nogil=True, error_model="numpy")(body))
