"""What a strategy and a risk fact may see of the past: closes of UTC days, and the last bars of each instrument.

A day's close is the last close of a bar that opened on it, in the account currency at the rate of that moment. Facts
see completed days only: a day is completed by the roll after its last Bars, never by a stamp. Of bars that were missed
and come later, days still take their last closes; one that comes behind a newer bar changes no day that has a close.

A SPOT holding is worth close x rate. A MARGIN position owns nothing: only its gain is converted, so where its quote is
another currency the table holds an index of what one unit of exposure earns, day by day.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ffe.model import DAY, AccountKind, Bar, Bars, Currency, InstrumentId, Nanos, Price, Universe

CHUNK_DAYS = 512


class DailyCloses:
    """A table days x instruments that grows by chunks; row 0 is the first day ever seen."""

    def __init__(self, columns: int) -> None:
        self.table: NDArray[np.float64] = np.full((CHUNK_DAYS, columns), math.nan)
        self.first_day: int | None = None
        self.end = 0  # rows before this one are completed

    def row(self, day: int) -> int:
        """The row of a day, made if need be; negative for a day before the first."""
        if self.first_day is None:
            self.first_day = day
        row = day - self.first_day
        while row >= len(self.table):
            self.table = np.vstack([self.table, np.full((CHUNK_DAYS, self.table.shape[1]), math.nan)])
        return row

    def complete(self, day: int) -> None:
        """Every day before this one is completed."""
        if self.first_day is not None:
            self.end = max(0, self.row(day))


@dataclass(frozen=True, slots=True)
class _Day:
    """A column's index, close and rate on its newest day but one, and on its newest."""

    row: int
    level: float
    close: Price
    rate: float


class History:
    """The past of every instrument. keep is how many bars (of one interval, if named) a strategy may look back on."""

    def __init__(self, universe: Universe, keep: int = 0, interval: Nanos | None = None) -> None:
        self.interval = interval
        self.closes = DailyCloses(len(universe))
        self.bars: Mapping[InstrumentId, deque[Bar]] = {i.id: deque(maxlen=keep) for i in universe} if keep else {}
        self._columns = {i.id: (universe.index[i.id], i.quote) for i in universe}
        self._indexed = {
            i.id
            for i in universe
            if universe.accounts[i.venue].kind is AccountKind.MARGIN and i.quote != universe.currency
        }
        self._days: dict[InstrumentId, tuple[_Day, _Day]] = {}
        self._newest = [0] * len(universe)  # the newest close of every column

    def observe(self, bars: Bars, rate: Callable[[Currency], float]) -> None:
        for bar in bars.bars:
            column, quote = self._columns[bar.instrument]
            row = self.closes.row(bar.open_time // DAY)
            if bar.close_time < self._newest[column]:
                row = row if self._takes_late(bar.instrument, row, column) else -1
            else:
                self._newest[column] = bar.close_time
            if row >= 0:
                level = bar.close * rate(quote)
                if bar.instrument in self._indexed:
                    level = self._index(bar, row, rate(quote))
                self.closes.table[row, column] = level
            if self.bars and self.interval in (None, bar.interval):
                self.bars[bar.instrument].append(bar)

    def _takes_late(self, id: InstrumentId, row: int, column: int) -> bool:
        """Whether a bar behind a newer one still says something of its day; an index goes only forwards."""
        return row >= 0 and id not in self._indexed and math.isnan(self.closes.table[row, column])

    def _index(self, bar: Bar, row: int, rate: float) -> float:
        """What one unit of exposure has come to: the day before's level x (1 + gain in the quote currency,
        converted)."""
        unknown = _Day(-1, math.nan, math.nan, math.nan)
        before, newest = self._days.get(bar.instrument, (unknown, unknown))
        if row > newest.row:
            before = newest
        level = before.level * (1.0 + (bar.close / before.close - 1.0) * rate / before.rate)
        level = level if math.isfinite(level) else bar.close * rate
        self._days[bar.instrument] = before, _Day(row, level, bar.close, rate)
        return level
