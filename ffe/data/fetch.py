"""History from a venue into the cache: what was asked for and is not there yet, page by page.

Only bars that end by the venue's own clock are kept. Each page goes into the cache with the range that it settles: a
run that was cut off, however hard, goes on where it stopped, and one that came to its end asks nothing when repeated.
What the venue did not show while its market was open is told, never filled.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np

from ffe.data.barset import Series, series_name
from ffe.data.cache import Cache, Range
from ffe.data.quality import Gap, gaps, in_session
from ffe.errors import BadBars, ConfigError, DataError
from ffe.hours import Hours, stamp
from ffe.model import MINUTE, SECOND, Instrument, Nanos
from ffe.wire.errors import Busy, Denied, Unclear
from ffe.wire.market import Candle, Market

log = logging.getLogger(__name__)

T = TypeVar("T")
Progress = Callable[[int, int], None]
Wait = Callable[[float], None]

STRETCH = 10_000  # bars that one question spans at most: years without any are noted as they are passed
SETTLED: Nanos = MINUTE  # so late a venue may show a bar; what is not there then, it does not have
MICROSECOND: Nanos = 1_000  # the finest time of the cache
PAUSES = (0.5, 1.0, 2.0, 4.0)  # seconds, each after an answer that was none
BUSY_PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0)  # a ban for haste ends within minutes
LONGEST_PAUSE = 300.0  # a venue that wants to be left longer is left to the user


@dataclass(frozen=True, slots=True)
class Fetched:
    """What came of it: bars that were got now, what the cache holds of the range, and what is missing of it.

    first is an open, last a close, 0 without bars; outside counts bars that the venue showed while its market is
    closed, and that were left out.
    """

    name: str
    got: int
    bars: int
    first: Nanos
    last: Nanos
    missing: tuple[Gap, ...]
    outside: int

    def __str__(self) -> str:
        held = f"{self.bars:,} bars, {stamp(self.first)} – {stamp(self.last)}" if self.bars else "no bars"
        return f"{self.name}: {held} ({self.got:,} new); {'; '.join(self._lacks()) or 'nothing is missing'}"

    def _lacks(self) -> Iterator[str]:
        before = [gap for gap in self.missing if gap.end <= self.first]
        others = self.missing[len(before) :]
        if before:
            yield f"the venue has nothing before {stamp(self.first)} ({_count(before)})"
        if others:
            longest = max(others, key=lambda gap: gap.bars)
            where = f"{stamp(longest.start)} – {stamp(longest.end)}"
            yield f"the venue has not {_count(others)}" + (f", most of them in {where}" if self.bars else "")
        if self.outside:
            yield f"{self.outside:,} bars outside its market's hours were left out"


def fetch(
    market: Market, instrument: Instrument, interval: Nanos, start: Nanos, end: Nanos, cache: Cache,
    progress: Progress, now: Nanos, wait: Wait = time.sleep,
) -> Fetched:  # fmt: skip
    """Bars that open at or after start and close by end. progress is told (done, all), in bars that the hours promise.

    Raises DataError if the venue refuses or stays silent, BadBars for what cannot be true; what came before is kept.
    """
    end = min(end, now)
    hours = Hours.of(instrument.hours, start, end)
    pieces = cache.uncovered(instrument, interval, start, end, hours)
    whole = sum(_promised(hours, interval, *piece) for piece in pieces)
    done = got = outside = 0
    with _told(instrument, interval):
        for page in _Reading(market, instrument, interval, hours, end, wait).pages(pieces):
            cache.put(page.series, page.start, page.end)
            done += _promised(hours, interval, page.start, page.end)
            got, outside = got + len(page.series), outside + page.outside
            progress(min(done, whole), whole)
    held = cache.held(instrument, interval, start, end, hours)
    return _summary(held, hours, start, min(end, now - SETTLED), got, outside)


# ---------------------------------------------------------------- pages


@dataclass(frozen=True, slots=True)
class _Page:
    """All the bars there are in [start, end)."""

    series: Series
    start: Nanos
    end: Nanos
    outside: int


@dataclass(frozen=True, slots=True)
class _Reading:
    """One series of a market, up to an end."""

    market: Market
    instrument: Instrument
    interval: Nanos
    hours: Hours
    end: Nanos
    wait: Wait

    def pages(self, pieces: tuple[Range, ...]) -> Iterator[_Page]:
        clock = _patiently(self.market.time, self.wait) if pieces else 0
        for start, end in pieces:
            yield from self._piece(start, end, clock)

    def _piece(self, start: Nanos, end: Nanos, clock: Nanos) -> Iterator[_Page]:
        stop = min(end, _decided(self.hours, self.interval, min(self.end, clock)))
        last_close = None
        while start < stop:
            until = min(stop, start + STRETCH * self.interval)
            every = self._series(self._candles(start, until))
            if len(every):
                last_close = int(every.close_time[-1])
                covered = min(end, last_close)
            elif until < stop:
                covered = until
            else:
                covered = min(end, _decided(self.hours, self.interval, min(self.end, clock - SETTLED), last_close))
            if covered <= start:
                return
            inside = in_session(every.open_time, self.hours)
            yield _Page(every.at(inside), start, covered, int(np.count_nonzero(~inside)))
            start = covered

    def _candles(self, start: Nanos, until: Nanos) -> list[Candle]:
        question = partial(self.market.candles, self.instrument, self.interval, start, until)
        return [candle for candle in _patiently(question, self.wait) if start <= candle.open_time < until]

    def _series(self, candles: list[Candle]) -> Series:
        opens = np.array([candle.open_time for candle in candles], np.int64)
        values = np.array([candle[1:] for candle in candles], np.float64).reshape(-1, 5).T
        series = Series.from_arrays(self.instrument, self.interval, self.hours, opens, *values)
        self._refuse_other_days(series)
        return series

    def _refuse_other_days(self, series: Series) -> None:
        """A day that ends after the market's own would be known, here, before its end."""
        if not self.hours.is_daily(self.interval):
            return
        opens = series.open_time[in_session(series.open_time, self.hours)]
        strange = opens[~np.isin(opens, self.hours.day_opens)]
        if len(strange):
            at = stamp(int(strange[0]))
            raise BadBars(
                f"{series.name}: the venue's day opens at {at}, and no day of {self.hours.name} does. Ask for 1h."
            )


def _decided(hours: Hours, interval: Nanos, limit: Nanos, last_close: Nanos | None = None) -> Nanos:
    """Up to where every bar that opens has also ended by the limit. Bars go on from the last close within a session."""
    if hours.is_daily(interval):
        return min(limit, int(hours.day_opens[np.searchsorted(hours.day_closes, limit, side="right")]))
    session = hours.session_at(limit)
    if session is None:
        return limit
    if last_close is not None and last_close >= session[0]:
        return last_close + (limit - last_close) // interval * interval
    return max(session[0], limit - interval + MICROSECOND)  # nothing says where its bars begin


def _promised(hours: Hours, interval: Nanos, start: Nanos, end: Nanos) -> int:
    """How many bars lie in [start, end) by the market's hours."""
    parts = hours.trading(start, end, interval)
    return sum(1 if hours.is_daily(interval) else -((first - last) // interval) for first, last in parts)


# ---------------------------------------------------------------- a venue that does not answer as hoped


def _patiently(question: Callable[[], T], wait: Wait) -> T:
    """The answer, asked for again: for seconds where there was none, for minutes where the venue wants to be left."""
    pauses = {Unclear: iter(PAUSES), Busy: iter(BUSY_PAUSES)}
    while True:
        try:
            return question()
        except (Unclear, Busy) as error:
            said = (error.wait or 0) / SECOND if isinstance(error, Busy) else 0.0
            pause = max(next(pauses[type(error)], math.inf), said)
            if pause > LONGEST_PAUSE:
                raise
        if pause > PAUSES[-1]:
            log.warning("The venue is busy: waiting for %g s.", pause)
        wait(pause)


@contextmanager
def _told(instrument: Instrument, interval: Nanos) -> Iterator[None]:
    """What the venue would not say, in a user's words."""
    name, venue = series_name(instrument, interval), instrument.venue
    try:
        yield
    except Busy as error:
        raise DataError(f"{name}: {venue} is asked too often: {error}. Try again later: what came is kept.") from error
    except Denied as error:
        if error.is_locked_out:
            raise ConfigError(f"{name}: {venue} does not take the key: {error}. Correct it in .env.") from error
        what = f"Look whether {venue} lists {instrument.symbol} and has such bars"
        raise DataError(f"{name}: {venue} refuses: {error}. {what}.") from error
    except Unclear as error:
        said = f"{error.fault.value}: {error}"
        what = f"Look at the network and at [venues.{venue}], and try again: what came is kept"
        raise DataError(f"{name}: {venue} gave no answer that can be used, {said}. {what}.") from error


# ---------------------------------------------------------------- what came of it


def _summary(held: Series, hours: Hours, start: Nanos, end: Nanos, got: int, outside: int) -> Fetched:
    edge = partial(_edge, hours, held.interval)
    if not len(held):
        return Fetched(held.name, got, 0, 0, 0, tuple(edge(start, end)), outside)
    first, last = int(held.open_time[0]), int(held.close_time[-1])
    missing = (*edge(start, first), *gaps(held, hours), *edge(last, end))
    return Fetched(held.name, got, len(held), first, last, missing, outside)


def _edge(hours: Hours, interval: Nanos, start: Nanos, end: Nanos) -> Iterator[Gap]:
    """What is missing before the first bar or after the last; what is left of one at the edge is none."""
    for opened, closed in hours.trading(start, end, interval):
        bars = _promised(hours, interval, opened, closed)
        is_cut = not hours.is_daily(interval) and (closed - opened) % interval > 0 and hours.is_open(closed)
        if bars > is_cut:
            yield Gap(opened, closed, bars - is_cut)


def _count(missing: Sequence[Gap]) -> str:
    bars = sum(gap.bars for gap in missing)
    return f"{bars:,} bar{'s' * (bars > 1)} in {len(missing):,} gap{'s' * (len(missing) > 1)}"
