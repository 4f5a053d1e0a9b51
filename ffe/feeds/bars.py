"""Cached bars as events: at every instant the bars that close at it, then the opens at it.

Each UTC midnight within the data is an event, with or without bars, for days roll after it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Set

import numpy as np

from ffe.data.barset import BarSet, Series, distinct
from ffe.hours import Hours, IntArray
from ffe.model import DAY, Bar, Bars, InstrumentId, Nanos, Quote, Quotes

NEVER: Nanos = 2**63 - 1


class BarFeed:
    """The events of a set of bars, in the one order."""

    def __init__(self, bars: BarSet, hours: Mapping[InstrumentId, Hours]) -> None:
        self.bars, self.hours = [s for s in bars if len(s)], hours
        self.instants = self._instants()
        self.count = len(self.instants)

    def _instants(self) -> IntArray:
        """The times of all Bars events."""
        if not self.bars:
            return np.empty(0, np.int64)
        first, last = min(s.open_time[0] for s in self.bars), max(s.close_time[-1] for s in self.bars)
        midnights = np.arange((first // DAY + 1) * DAY, last + 1, DAY)
        return distinct([midnights, *(s.close_time for s in self.bars)])

    def events(self, awaited: Callable[[], Set[InstrumentId]]) -> Iterator[Bars | Quotes]:
        """Every Bars; of the opens those that are awaited when their instant comes, and each session's first."""
        opening, closing = _Opening(self.bars, self.hours), self._closing()
        bar = next(closing, None)
        for now in self.instants.tolist():
            while opening.time < now:
                if quotes := opening.take(awaited()):
                    yield quotes
            found = []
            while bar is not None and bar.close_time == now:
                found.append(bar)
                bar = next(closing, None)
            yield Bars(now, tuple(found))

    def _closing(self) -> Iterator[Bar]:
        """Every bar in the order (close time, venue, symbol, interval)."""
        rows = [map(Bar, *_columns(s)) for s in self.bars]
        if len(rows) == 1:
            return rows[0]
        return (next(rows[which]) for which in _ordered([s.close_time for s in self.bars]))


class _Opening:
    """The opens still to come; an instrument's finest interval speaks for it. A Quotes is made only if it is wanted."""

    def __init__(self, bars: list[Series], hours: Mapping[InstrumentId, Hours]) -> None:
        finest = {s.instrument.id: s for s in sorted(bars, key=lambda s: -s.interval)}
        series = [finest[id] for id in dict.fromkeys(s.instrument.id for s in bars)]
        which = _ordered([s.open_time for s in series])
        rows = [
            zip(s.open_time.tolist(), s.open.tolist(), _session_firsts(s, hours[s.instrument.id]), strict=True)
            for s in series
        ]
        self._ids = [series[n].instrument.id for n in which]
        self._rows = [next(rows[n]) for n in which] + [(NEVER, 0.0, False)]
        self._next = 0
        self.time: Nanos = self._rows[0][0]  # of the next ones

    def take(self, wanted: Set[InstrumentId]) -> Quotes | None:
        """Pass on to the next instant; the wanted opens of this one together, if there are any."""
        now, quotes = self.time, []
        while self.time == now:
            _, price, is_first = self._rows[self._next]
            if is_first or self._ids[self._next] in wanted:
                quotes.append(Quote(self._ids[self._next], price, is_first))
            self._next += 1
            self.time = self._rows[self._next][0]
        return Quotes(now, tuple(quotes)) if quotes else None


def _columns(s: Series) -> list[list[object]]:
    times = (s.open_time, s.close_time, s.open, s.high, s.low, s.close, s.volume)
    return [[s.instrument.id] * len(s), [s.interval] * len(s), *(array.tolist() for array in times)]


def _ordered(times: list[IntArray]) -> list[int]:
    """Which series comes next, over all of them, by time and then by their order."""
    if not times:
        return []
    which = np.repeat(np.arange(len(times)), [len(t) for t in times])
    return [int(n) for n in which[np.argsort(np.concatenate(times), kind="stable")].tolist()]


def _session_firsts(s: Series, hours: Hours) -> list[bool]:
    """Whether each bar is the first one of its session."""
    session = np.searchsorted(hours.opens, s.open_time, side="right")
    return [bool(first) for first in np.r_[True, np.diff(session) > 0].tolist()]
