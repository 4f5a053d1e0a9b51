"""Closes, exposures and the rules' own numbers, as the kernels take them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

WINDOW, MINIMUM, LEVEL = 60, 30, 0.05
SAME_VENUE = np.zeros(8, np.int64)


def walk(seed: int, days: int, columns: int = 1, scale: float = 0.02) -> Floats:
    """Closes of some instruments, a random walk each; days x instruments."""
    steps = np.random.default_rng(seed).normal(0.0, scale, (days, columns))
    return np.asarray(100.0 * np.cumprod(1.0 + np.clip(steps, -0.5, 0.5), axis=0), np.float64)


def returns(closes: Floats) -> Floats:
    """Simple returns, oldest first."""
    return closes[1:] / closes[:-1] - 1.0


def beside(*columns: Floats) -> Floats:
    """Columns put side by side."""
    return np.column_stack(columns)
