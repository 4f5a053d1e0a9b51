"""Cached bars as events: at every instant the bars that close at it, then the opens at it.

Each UTC midnight within the data is an event, with or without bars, for days roll after it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from ffe.data.barset import BarSet
from ffe.hours import Hours, IntArray
from ffe.model import DAY, Bar, Bars, InstrumentId, Nanos, Quote, Quotes

Row = tuple[InstrumentId, Nanos, Nanos, Nanos, float, float, float, float, float]


class BarFeed:
    """The events of a set of bars that close within (start, end], in the one order."""

    def __init__(self, bars: BarSet, hours: Mapping[InstrumentId, Hours]) -> None:
        self.bars, self.hours = bars, hours
        spans = [(s.open_time[0], s.close_time[-1]) for s in bars if len(s)]
        self.start: Nanos = int(min(first for first, _ in spans)) if spans else 0
        self.end: Nanos = int(max(last for _, last in spans)) if spans else 0
        self.count = len(self._instants())

    def _instants(self) -> IntArray:
        """The times of all Bars events."""
        midnights = np.arange(-(-self.start // DAY) * DAY, self.end + 1, DAY)
        return np.unique(np.concatenate([midnights[midnights > self.start], *(s.close_time for s in self.bars)]))

    def __iter__(self) -> Iterator[Bars | Quotes]:
        closing, opening = self._closing(), self._opening()
        opens = next(opening, None)
        bars = next(closing, None)
        for now in self._instants().tolist():
            while opens is not None and opens.time < now:
                yield opens
                opens = next(opening, None)
            found: list[Bar] = []
            while bars is not None and bars.close_time == now:
                found.append(bars)
                bars = next(closing, None)
            yield Bars(now, tuple(found))

    def _closing(self) -> Iterator[Bar]:
        """Every bar in the order (close time, venue, symbol, interval)."""
        series = list(self.bars)
        order = _ordered([s.close_time for s in series])
        columns = [_lists(s.instrument.id, s.interval, s.open_time, s.close_time, s.open, s.high, s.low, s.close, s.volume) for s in series]  # fmt: skip
        if len(series) == 1:
            yield from map(Bar, *columns[0])
            return
        rows = [map(Bar, *column) for column in columns]
        for which in order:
            yield next(rows[which])

    def _opening(self) -> Iterator[Quotes]:
        """Every open, those of one instant together; an instrument's finest interval speaks for it."""
        finest = {s.instrument.id: s for s in sorted(self.bars, key=lambda s: -s.interval)}
        series = [finest[id] for id in dict.fromkeys(s.instrument.id for s in self.bars)]
        order = _ordered([s.open_time for s in series])
        columns = [
            zip(s.open_time.tolist(), s.open.tolist(), _session_firsts(s.open_time, self.hours[s.instrument.id].opens).tolist(), strict=True)
            if len(s) else iter(()) for s in series
        ]  # fmt: skip
        now, found = None, []
        for which in order:
            time, price, is_first = next(columns[which])
            if time != now and now is not None:
                yield Quotes(now, tuple(found))
                found = []
            now = time
            found.append(Quote(series[which].instrument.id, price, is_first))
        if now is not None:
            yield Quotes(now, tuple(found))


def _lists(id: InstrumentId, interval: Nanos, *arrays: np.ndarray) -> list[list[object]]:
    length = len(arrays[0])
    return [[id] * length, [interval] * length, *(array.tolist() for array in arrays)]


def _ordered(times: list[IntArray]) -> list[int]:
    """Which series comes next, over all of them, by time and then by their order."""
    which = np.repeat(np.arange(len(times)), [len(t) for t in times])
    return which[np.argsort(np.concatenate(times), kind="stable")].tolist() if times else []


def _session_firsts(open_time: IntArray, sessions: IntArray) -> np.ndarray:
    """Whether each bar is the first one of its session."""
    session = np.searchsorted(sessions, open_time, side="right")
    return np.r_[True, np.diff(session) > 0]
