"""Indicators for strategies: finite windows, exact. A value depends on the last `window` bars of its column and no
others, and is the same number to the bit on a long history and on its tail.

Frames are time x symbol; a row in which a symbol had no bar is skipped, not filled. Moving averages of rounded prices
are often exactly equal, and then a rounding error would decide: two values within TIE of each other are equal here.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ffe.kernels import windows

Floats = NDArray[np.float64]
TIE = 1e-10  # relative


def _by_column(frame: pd.DataFrame, compute: Callable[[Floats, Floats], None]) -> pd.DataFrame:
    """Apply compute(values there, out) to every column, leaving NaN where there is no bar."""
    values = frame.to_numpy(np.float64)
    out = np.full(values.shape, np.nan)
    for column in range(values.shape[1]):
        there = np.isfinite(values[:, column])
        present = np.ascontiguousarray(values[there, column])
        found = np.full(present.size, np.nan)
        compute(present, found)
        out[there, column] = found
    return pd.DataFrame(out, frame.index, frame.columns, copy=False)


def sma(frame: pd.DataFrame, window: int) -> pd.DataFrame:
    """Simple moving average of the last window bars."""
    return _by_column(frame, lambda values, out: windows.mean(values, window, out))


def stdev(frame: pd.DataFrame, window: int) -> pd.DataFrame:
    """Standard deviation (n - 1) of the last window bars."""
    return _by_column(frame, lambda values, out: windows.deviation(values, window, out))


def highest(frame: pd.DataFrame, window: int) -> pd.DataFrame:
    """Highest of the last window bars, the newest included."""
    return _by_column(frame, lambda values, out: windows.highest(values, window, out))


def lowest(frame: pd.DataFrame, window: int) -> pd.DataFrame:
    """Lowest of the last window bars, the newest included."""
    return _by_column(frame, lambda values, out: windows.lowest(values, window, out))


def rsi(frame: pd.DataFrame, window: int) -> pd.DataFrame:
    """Cutler's relative strength index over window changes: it needs window + 1 bars."""
    return _by_column(frame, lambda values, out: windows.strength(values, window, out))


def previous(frame: pd.DataFrame) -> pd.DataFrame:
    """Each symbol's value at its bar before."""

    def shift(values: Floats, out: Floats) -> None:
        out[1:] = values[:-1]

    return _by_column(frame, shift)


def compare(a: pd.DataFrame, b: pd.DataFrame | float) -> pd.DataFrame:
    """1 where a is above b, -1 where below, 0 where they are equal within TIE, NaN where either is unknown."""
    left = a.to_numpy(np.float64)
    right = b.to_numpy(np.float64) if isinstance(b, pd.DataFrame) else np.full(left.shape, float(b))
    apart = left - right
    apart[np.abs(apart) <= TIE * np.abs(right)] = 0.0
    return pd.DataFrame(np.sign(apart), a.index, a.columns, copy=False)


def on_edge(state: pd.DataFrame) -> pd.DataFrame:
    """A state turned into decisions: its value where it differs from the bar before, NaN elsewhere."""

    def edges(values: Floats, out: Floats) -> None:
        turned = values[1:] != values[:-1]
        out[1:][turned] = values[1:][turned]

    return _by_column(state, edges)
