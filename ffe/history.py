"""What a strategy and a risk fact may see of the past: closes of UTC days, and the last bars of each instrument.

A day's close is the last close of a bar that opened on it, in the account currency at the rate of that moment. Facts see
completed days only: a day is completed by the roll after its last Bars, never by a stamp.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from ffe.model import DAY, Bar, Bars, Currency, InstrumentId, Universe

CHUNK_DAYS = 512


class DailyCloses:
    """A table days x instruments that grows by chunks; row 0 is the first day ever seen."""

    def __init__(self, columns: int) -> None:
        self.table: NDArray[np.float64] = np.full((CHUNK_DAYS, columns), math.nan)
        self.first_day: int | None = None
        self.end = 0  # rows before this one are completed

    def row(self, day: int) -> int:
        """The row of a day, made if need be; -1 for a day before the first."""
        if self.first_day is None:
            self.first_day = day
        row = day - self.first_day
        while row >= len(self.table):
            self.table = np.vstack([self.table, np.full((CHUNK_DAYS, self.table.shape[1]), math.nan)])
        return row

    def complete(self, day: int) -> None:
        """Every day before this one is completed."""
        if self.first_day is not None:
            self.end = max(0, min(self.row(day), len(self.table)))


class History:
    """The past of every instrument. keep is how many bars a strategy may look back on."""

    def __init__(self, universe: Universe, keep: int = 0) -> None:
        self.universe = universe
        self.closes = DailyCloses(len(universe))
        self._bars: dict[InstrumentId, deque[Bar]] = {i.id: deque(maxlen=keep) for i in universe} if keep else {}
        self._quotes = {i.id: i.quote for i in universe}

    def observe(self, bars: Bars, rate: Callable[[Currency], float]) -> None:
        for bar in bars.bars:
            row = self.closes.row(bar.open_time // DAY)
            if row >= 0:
                self.closes.table[row, self.universe.index[bar.instrument]] = bar.close * rate(
                    self._quotes[bar.instrument]
                )
            if self._bars:
                self._bars[bar.instrument].append(bar)

    @property
    def bars(self) -> Mapping[InstrumentId, deque[Bar]]:
        return self._bars
