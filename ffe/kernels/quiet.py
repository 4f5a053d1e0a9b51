"""Bars that change nothing: how far a run may go before one could matter, and what everything was worth on the way.

The sequence of additions is `Book.revalue`'s and the tests are `Guard.judge`'s and the fills': with or without it a
run is the same bytes. Positions are SPOT, quoted in the account currency, in the order in which the book adds them up.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ffe.kernels.compiled import compiled
from ffe.kernels.fills import NOTHING, exit_in_bar, is_beyond_stop

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

OPEN, HIGH, LOW, CLOSE = range(4)
BASIS, QTY, STOP, TARGET, HALF_SPREAD, SLIPPAGE = range(6)  # rows of a position
REALISED, DAY_BASE, DAY_EQUITY, UNITS, DAY_START, LOSS, GAIN = range(7)  # what the day is judged by


@compiled
def is_stirred(prices: Floats, t: int, column: int, side: int, position: Floats) -> bool:
    """Whether the bar of one of our trades fills its stop or target, or closes beyond the stop."""
    close = prices[CLOSE, t, column]
    if not math.isfinite(close):
        return False
    stop, half = position[STOP], position[HALF_SPREAD]
    hit, _, _ = exit_in_bar(
        prices[OPEN, t, column], prices[HIGH, t, column], prices[LOW, t, column], side, stop, position[TARGET], half,
        position[SLIPPAGE],
    )  # fmt: skip
    return hit != NOTHING or is_beyond_stop(close, side, stop, half)


@compiled
def is_day_over_limit(equity: float, ours_gain: float, day: Floats) -> bool:
    """Whether our trades' day, or all equity's, has reached a limit."""
    ours = (day[REALISED] + ours_gain - day[DAY_BASE]) / day[DAY_EQUITY]
    total = equity / day[UNITS] / day[DAY_START] - 1.0
    within_ours = ours > -day[LOSS] and ours < day[GAIN]
    return not (within_ours and total > -day[LOSS] and total < day[GAIN])


@compiled
def quiet_until(
    prices: Floats,
    first: int,
    end: int,
    cash: Floats,
    ledger: Ints,
    column: Ints,
    side: Ints,
    positions: Floats,
    marks: Floats,
    day: Floats,
    equity: Floats,
) -> int:
    """The first of the instants [first, end) at which something happens, else end; equity is filled up to it.

    prices is (open, high, low, close) x instant x instrument, NaN where there is no bar. ledger says whose cash each
    position is added to, side is 0 for a position that is not ours, marks are the positions' newest mids (updated).
    """
    for t in range(first, end):
        for p in range(column.size):
            if side[p] != 0 and is_stirred(prices, t, column[p], side[p], positions[p]):
                return t
        for p in range(column.size):
            if math.isfinite(prices[CLOSE, t, column[p]]):
                marks[p] = prices[CLOSE, t, column[p]]
        worth, ours_gain = 0.0, 0.0
        for owner in range(cash.size):
            total, gained = 0.0, 0.0
            if cash[owner] != 0.0:
                total += cash[owner]
            for p in range(column.size):
                if ledger[p] == owner:
                    value = positions[p, QTY] * marks[p]
                    total += value
                    gained += value - positions[p, BASIS] if side[p] != 0 else 0.0
            worth += total
            ours_gain += gained
        if is_day_over_limit(worth, ours_gain, day):
            return t
        equity[t - first] = worth
    return end
