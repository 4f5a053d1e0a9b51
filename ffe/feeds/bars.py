"""Cached bars as events: at every instant the bars that close at it, then the opens at it.

Each UTC midnight within the data is an event, with or without bars, for days roll after it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ffe.data.barset import BarSet, Series, distinct
from ffe.hours import Hours, IntArray
from ffe.model import DAY, NEVER, Bar, Bars, InstrumentId, Nanos, Quote, Quotes


def awake(n: int) -> int:
    """Every instant is stepped."""
    return n


class BarFeed:
    """The events of a set of bars, in the one order.

    sleep may be replaced: asked at an instant, it says the next one that must be stepped, having seen to those between.
    """

    def __init__(self, bars: BarSet, hours: Mapping[InstrumentId, Hours]) -> None:
        self.bars, self.hours = [s for s in bars if len(s)], hours
        self.instants = self._instants()
        self.count = len(self.instants)
        self.sleep: Callable[[int], int] = awake
        self.position = 0  # how many instants have passed
        order = _ordered([s.close_time for s in self.bars])
        self._rows = _in_order([zip(*_columns(s), strict=True) for s in self.bars], order)
        closes = [s.close_time for s in self.bars]
        times = np.sort(np.concatenate(closes), kind="stable") if closes else np.empty(0, np.int64)
        self._starts = [*np.searchsorted(times, self.instants).tolist(), len(times)]

    def _instants(self) -> IntArray:
        """The times of all Bars events."""
        if not self.bars:
            return np.empty(0, np.int64)
        first, last = min(s.open_time[0] for s in self.bars), max(s.close_time[-1] for s in self.bars)
        midnights = np.arange((first // DAY + 1) * DAY, last + 1, DAY)
        return distinct([midnights, *(s.close_time for s in self.bars)])

    def bars_at(self, n: int) -> Bars:
        rows = self._rows[self._starts[n] : self._starts[n + 1]]
        return Bars(int(self.instants[n]), tuple([Bar(*row) for row in rows]))

    def events(self, awaited: Callable[[], Set[InstrumentId]]) -> Iterator[Bars | Quotes]:
        """Every Bars; of the opens those that are awaited when their instant comes, and each session's first."""
        opening, instants, n = _Opening(self.bars, self.hours), self.instants.tolist(), 0
        while n < self.count:
            while opening.time < instants[n]:
                if quotes := opening.take(awaited()):
                    yield quotes
            self.position, following = n, self.sleep(n)
            if following == n:
                yield self.bars_at(n)
                n += 1
            else:
                n = following
                opening.skip_to(instants[n - 1])

    def session_firsts(self) -> IntArray:
        """The times of the opens that begin a session."""
        firsts = [s.open_time[_session_firsts(s, self.hours[s.instrument.id])] for s in self.bars]
        return distinct(firsts) if firsts else np.empty(0, np.int64)


class _Opening:
    """The opens still to come; an instrument's finest interval speaks for it. A Quotes is made only if it is wanted."""

    def __init__(self, bars: list[Series], hours: Mapping[InstrumentId, Hours]) -> None:
        finest = {s.instrument.id: s for s in sorted(bars, key=lambda s: -s.interval)}
        series = [finest[id] for id in dict.fromkeys(s.instrument.id for s in bars)]
        rows = [
            zip(
                [s.instrument.id] * len(s),
                s.open_time.tolist(),
                s.open.tolist(),
                _session_firsts(s, hours[s.instrument.id]).tolist(),
                strict=True,
            )
            for s in series
        ]
        self._rows = _in_order(rows, _ordered([s.open_time for s in series]))
        self._times = [row[1] for row in self._rows] + [NEVER]
        self._next = 0

    @property
    def time(self) -> Nanos:
        """Of the next ones."""
        time: Nanos = self._times[self._next]
        return time

    def take(self, wanted: Set[InstrumentId]) -> Quotes | None:
        """Pass on to the next instant; the wanted opens of this one together, if there are any."""
        now, quotes = self.time, []
        while self.time == now:
            id, _, price, is_first = self._rows[self._next]
            if is_first or id in wanted:
                quotes.append(Quote(id, price, is_first))
            self._next += 1
        return Quotes(now, tuple(quotes)) if quotes else None

    def skip_to(self, time: Nanos) -> None:
        """Leave out all opens before this time."""
        self._next = bisect_left(self._times, time, self._next)


def _columns(s: Series) -> list[list[object]]:
    times = (s.open_time, s.close_time, s.open, s.high, s.low, s.close, s.volume)
    return [[s.instrument.id] * len(s), [s.interval] * len(s), *(array.tolist() for array in times)]


def _ordered(times: list[IntArray]) -> list[int]:
    """Which series comes next, over all of them, by time and then by their order."""
    if not times:
        return []
    which = np.repeat(np.arange(len(times)), [len(t) for t in times])
    return [int(n) for n in which[np.argsort(np.concatenate(times), kind="stable")].tolist()]


def _in_order(rows: Sequence[Iterator[tuple[Any, ...]]], order: list[int]) -> list[tuple[Any, ...]]:
    """The rows of all series, interleaved."""
    return list(rows[0]) if len(rows) == 1 else [next(rows[which]) for which in order]


def _session_firsts(s: Series, hours: Hours) -> NDArray[np.bool_]:
    """Whether each bar is the first one of its session."""
    session = np.searchsorted(hours.opens, s.open_time, side="right")
    firsts: NDArray[np.bool_] = np.r_[True, np.diff(session) > 0]
    return firsts
