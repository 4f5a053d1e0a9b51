"""Finite-window indicators of one column: the same number on a growing history and on its tail, to the bit.

Each window is summed anew, oldest first, over the values that are there; a place without a value has none, nor does
one with fewer than `window` values behind it. Cost is length x window, a few nanoseconds each.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ffe.kernels.compiled import compiled

Floats = NDArray[np.float64]


@compiled
def mean(values: Floats, window: int, out: Floats) -> None:
    for end in range(window - 1, values.size):
        total = 0.0
        for t in range(end - window + 1, end + 1):
            total += values[t]
        out[end] = total / window


@compiled
def deviation(values: Floats, window: int, out: Floats) -> None:
    """Standard deviation, n - 1."""
    for end in range(window - 1, values.size):
        total, squares = 0.0, 0.0
        for t in range(end - window + 1, end + 1):
            total += values[t]
        centre = total / window
        for t in range(end - window + 1, end + 1):
            squares += (values[t] - centre) * (values[t] - centre)
        out[end] = math.sqrt(squares / (window - 1))


@compiled
def highest(values: Floats, window: int, out: Floats) -> None:
    for end in range(window - 1, values.size):
        best = values[end]
        for t in range(end - window + 1, end):
            best = max(best, values[t])
        out[end] = best


@compiled
def lowest(values: Floats, window: int, out: Floats) -> None:
    for end in range(window - 1, values.size):
        best = values[end]
        for t in range(end - window + 1, end):
            best = min(best, values[t])
        out[end] = best


@compiled
def strength(values: Floats, window: int, out: Floats) -> None:
    """Relative strength index over a finite window (Cutler's: plain means of gains and losses), 0 to 100; 50 when
    flat."""
    for end in range(window, values.size):
        gain, loss = 0.0, 0.0
        for t in range(end - window + 1, end + 1):
            change = values[t] - values[t - 1]
            gain += max(change, 0.0)
            loss += max(-change, 0.0)
        out[end] = 100.0 * gain / (gain + loss) if gain + loss > 0.0 else 50.0
