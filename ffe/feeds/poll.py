"""Live venues as one feed: each is asked from a thread of its own, what they tell becomes one stream of events.

A venue that hangs holds up neither another, nor commands, nor what brokers heard: the engine's thread asks nobody, it
waits for what is told. What to ask is `agenda`'s to say, what goes out and when is `gather`'s; here are the threads.
The clock is the caller's, and should not jump: see `steady`.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from threading import Event
from typing import Protocol

import numpy as np

from ffe.data.barset import FIELDS, TIMES, BarSet, Series, series_name
from ffe.errors import ConfigError
from ffe.feeds.agenda import (
    Agenda,
    Ask,
    AskBars,
    AskQuotes,
    AskTime,
    Learnt,
    Pace,
    Wanted,
    bars_of,
    is_plausible,
)  # fmt: skip
from ffe.feeds.bars import BarFeed
from ffe.feeds.gather import Gathering
from ffe.hours import Hours, stamp
from ffe.model import (
    DAY,
    HOUR,
    SECOND,
    Answer,
    Bar,
    Bars,
    Fault,
    Heartbeat,
    Instrument,
    InstrumentId,
    Nanos,
    Quotes,
    Venue,
)  # fmt: skip
from ffe.wire.errors import Denied, Unclear
from ffe.wire.market import Candle, Market, Ticker

PAST_DAYS = 62  # of closes, for 61 that are compared
PAGE_TRIES = 3  # of the past, before a run
GRACE = 2.0  # seconds that the end of a feed may take


def steady() -> Callable[[], Nanos]:
    """UTC as it was known when this was made, and from there on a clock that nobody can set."""
    offset = time.time_ns() - time.monotonic_ns()
    return lambda: time.monotonic_ns() + offset


# ---------------------------------------------------------------- who asks


class Poller:
    """One venue's questions, one at a time; what they came to is told to whom it concerns."""

    def __init__(
        self, agenda: Agenda, market: Market, clock: Callable[[], Nanos], tell: Callable[[Learnt], None]
    ) -> None:
        self.agenda, self.market, self.clock, self._tell = agenda, market, clock, tell

    def turn(self) -> Nanos:
        """Ask what is due; when to come back."""
        when, ask = self.agenda.plan(self.clock())
        if ask is None or when > self.clock():
            return when
        self.agenda.asked(ask, self.clock())
        try:
            learnt = self._ask(ask)
        except Unclear as error:
            learnt = self.agenda.failed(error.fault, self.clock())
        except Denied as error:
            learnt = self.agenda.denied(error, self.clock())
        self._tell(learnt)
        return self.clock()

    def _ask(self, ask: Ask) -> Learnt:
        match ask:
            case AskTime():
                sent = self.clock()
                return self.agenda.told_time(self.market.time(), sent, self.clock())
            case AskBars(wanted=wanted):
                page = self.market.candles(wanted.instrument, wanted.interval, ask.since, ask.until)
                return self.agenda.told_candles(ask, page, self.clock())
            case AskQuotes():
                return self.agenda.told_quotes(ask, self._quotes(ask.instruments), self.clock())

    def _quotes(self, instruments: Sequence[Instrument]) -> list[Ticker]:
        """All at once; if one of them cannot be read, the others one by one: it must not hide them."""
        try:
            return self.market.quotes(instruments)
        except Unclear as error:
            if error.fault is not Fault.UNREADABLE or len(instruments) == 1:
                raise
        return [quote for instrument in instruments for quote in self._quote(instrument)]

    def _quote(self, instrument: Instrument) -> list[Ticker]:
        try:
            return self.market.quotes([instrument])
        except Unclear as error:
            if error.fault is not Fault.UNREADABLE:
                raise
            return [Ticker(instrument.id, float("nan"))]  # the agenda leaves it out, and counts it


class Crew(Protocol):
    """Lets pollers work, and the engine wait for them."""

    def start(self, pollers: Sequence[Poller]) -> None: ...

    def wait(self, until: Nanos, now: Nanos) -> None:
        """Return at a time, or earlier if there is something new."""

    def wake(self) -> None:
        """Something is new: nobody waits any longer. From any thread."""

    def look(self) -> None:
        """Pollers should look again at what they are to ask."""

    def stop(self) -> None: ...


class Threads:
    """One thread per poller. What one of them raises is raised again where the engine waits."""

    def __init__(self) -> None:
        self._bell, self._ends, self._looks = Event(), Event(), list[Event]()
        self._work: list[Future[None]] = []

    def start(self, pollers: Sequence[Poller]) -> None:
        self._pool = ThreadPoolExecutor(len(pollers), "poller")
        self._looks = [Event() for _ in pollers]
        self._work = [self._pool.submit(self._run, *pair) for pair in zip(pollers, self._looks, strict=True)]

    def _run(self, poller: Poller, look: Event) -> None:
        try:
            while not self._ends.is_set():
                when = poller.turn()
                look.wait(min(when - poller.clock(), poller.agenda.pace.poll) / SECOND)
                look.clear()
        finally:
            self._bell.set()

    def wait(self, until: Nanos, now: Nanos) -> None:
        self._bell.wait(max(0, until - now) / SECOND)
        self._bell.clear()
        for work in self._work:
            if work.done():
                work.result()

    def wake(self) -> None:
        self._bell.set()

    def look(self) -> None:
        for look in self._looks:
            look.set()

    def stop(self) -> None:
        """Questions under way may end; one that hangs is not waited for, it ends when its client gives up."""
        self._ends.set()
        self.look()
        wait(self._work, GRACE)
        self._pool.shutdown(wait=False)


# ---------------------------------------------------------------- the feed


@dataclass(frozen=True, slots=True)
class Primed:
    """The past as events, and what of it could not be had, by series, in words."""

    events: tuple[Bars, ...]
    missing: Mapping[str, str]


class PollFeed:
    """Bars of every series in `wanted` and quotes of their instruments, from the venues' own words.

    prime first, unless there is nothing to know of the past. Brokers should take `time` for their clock: it stands
    still while bars of an instant are awaited, so that nothing they say is later than these.
    """

    def __init__(
        self, markets: Mapping[Venue, Market], wanted: Sequence[Wanted], hours: Mapping[InstrumentId, Hours],
        clock: Callable[[], Nanos], pace: Pace | None = None, crew: Crew | None = None,
    ) -> None:  # fmt: skip
        if strangers := {w.instrument.venue for w in wanted} - set(markets):
            raise ConfigError(f"No market for {', '.join(sorted(strangers))}: give one for each venue of the feed.")
        self.wanted, self.hours, self.clock, self.pace = tuple(wanted), hours, clock, pace or Pace()
        self._crew: Crew = crew or Threads()
        self._pollers = {
            venue: Poller(self._agenda(venue), market, clock, self._hear) for venue, market in markets.items()
        }
        self._heard: deque[Learnt] = deque()
        self._is_woken = self._is_stopped = False
        self._cursors: dict[Wanted, Nanos] = {}
        self._gathering: Gathering | None = None

    def _agenda(self, venue: Venue) -> Agenda:
        wanted = [w for w in self.wanted if w.instrument.venue == venue]
        return Agenda(venue, wanted, tuple(dict.fromkeys(w.instrument for w in wanted)), self.hours, self.pace)

    def time(self) -> Nanos:
        """What time it is for the engine."""
        return self._gathering.time(self.clock()) if self._gathering else self.clock()

    def skew(self, venue: Venue) -> Nanos | None:
        """How far the venue's clock is ahead of ours; None before it was read."""
        return self._pollers[venue].agenda.skew

    def spoke_at(self, venue: Venue) -> Nanos | None:
        """When the venue last answered; None before it did."""
        return self._gathering.spoke.get(venue) if self._gathering else None

    # ------------------------------------------------------------ from any thread

    def _hear(self, learnt: Learnt) -> None:
        self._heard.append(learnt)
        self._crew.wake()

    def wake(self) -> None:
        """A broker or the operator has something new: a heartbeat follows at once."""
        self._is_woken = True
        self._crew.wake()

    def stop(self) -> None:
        """The stream ends."""
        self._is_stopped = True
        self._crew.wake()

    # ------------------------------------------------------------ the stream

    def events(self, awaited: Callable[[], Set[InstrumentId]]) -> Iterator[Bars | Quotes | Answer | Heartbeat]:
        """Until stop. awaited names what is asked for most often: open trades belong to it."""
        gathering = self._begin()
        self._crew.start(tuple(self._pollers.values()))
        try:
            yield from self._stream(gathering, awaited)
        finally:
            self._crew.stop()

    def _begin(self) -> Gathering:
        since = self.clock()  # what closed before is no instant any more: it is told with the first one that is
        for poller in self._pollers.values():
            poller.agenda.begin(since, self._cursors)
        self._gathering = Gathering(self.wanted, self.hours, self.pace, since)
        return self._gathering

    def _stream(
        self, gathering: Gathering, awaited: Callable[[], Set[InstrumentId]]
    ) -> Iterator[Bars | Quotes | Answer | Heartbeat]:
        beat = self.clock() + self.pace.heartbeat
        while not self._is_stopped:
            self._watch(awaited())
            while self._heard:
                gathering.take(self._heard.popleft())
            yield from gathering.ready(self.clock())
            if self._is_woken or self.clock() >= beat:
                self._is_woken, beat = False, self.clock() + self.pace.heartbeat
                yield Heartbeat(gathering.pass_to(self.clock()))
            now = self.clock()
            beat = min(beat, now + self.pace.heartbeat)  # a clock that was put back makes nobody wait
            self._crew.wait(min(beat, gathering.due(now)), now)

    def _watch(self, awaited: Set[InstrumentId]) -> None:
        agendas = [poller.agenda for poller in self._pollers.values()]
        if any(agenda.watched != awaited for agenda in agendas):
            for agenda in agendas:
                agenda.watched = frozenset(awaited)
            self._crew.look()

    # ------------------------------------------------------------ the past

    def prime(self, since: Nanos, warmup: int) -> Primed:
        """What closed by since: `warmup` bars of every series and closes of 62 days. The stream goes on from there."""
        found, missing = dict[Wanted, Series](), dict[str, str]()
        for wanted, start in self._starts(since, warmup).items():
            hours = self.hours[wanted.instrument.id]
            bars, why = past(self._pollers[wanted.instrument.venue].market, wanted, hours, start, since)
            expected = _count(hours, wanted.interval, start, since)
            if len(bars) < expected:
                said = f"{len(bars)} of {expected} bars since {stamp(start)}{why and f': {why}'}"
                missing[series_name(wanted.instrument, wanted.interval)] = said
            if bars:
                found[wanted] = _series(wanted, bars)
        self._cursors = {w: int(s.close_time[-1]) for w, s in found.items() if w in self.wanted}
        return Primed(_events(tuple(found.values()), self.hours), missing)

    def _starts(self, since: Nanos, warmup: int) -> dict[Wanted, Nanos]:
        """From when on which bars are needed: those that are wanted, and the coarsest whose last close of a UTC day is
        that of the finest wanted ones."""
        starts = {w: _start(self.hours[w.instrument.id], w.interval, since, warmup) for w in self.wanted}
        finest = {w.instrument: w.interval for w in sorted(self.wanted, key=lambda w: -w.interval)}
        for instrument, interval in finest.items():
            coarsest = HOUR if len(self.hours[instrument.id].day_opens) else DAY
            daily = Wanted(instrument, max(interval, coarsest))
            starts[daily] = min(starts.get(daily, since), (since // DAY - PAST_DAYS) * DAY)
        return starts


def past(market: Market, wanted: Wanted, hours: Hours, start: Nanos, since: Nanos) -> tuple[list[Bar], str]:
    """The bars that open from start on and have closed by since, and why there are no more, if it was a failure."""
    bars = list[Bar]()
    try:
        until = min(since, market.time())
        while start < until and (page := _page(market, wanted, hours, start, until)):
            bars, start = bars + page, page[-1].close_time
    except (Unclear, Denied) as error:
        return bars, str(error)
    return bars, ""


def _page(market: Market, wanted: Wanted, hours: Hours, start: Nanos, until: Nanos) -> list[Bar]:
    """What cannot be true is left out: it is missing."""
    bars = bars_of(wanted, _candles(market, wanted, start, until), hours)
    return [bar for bar in bars if bar.close_time <= until and is_plausible(bar)]


def _candles(market: Market, wanted: Wanted, start: Nanos, until: Nanos) -> list[Candle]:
    for _ in range(PAGE_TRIES - 1):
        with suppress(Unclear):
            return market.candles(wanted.instrument, wanted.interval, start, until)
    return market.candles(wanted.instrument, wanted.interval, start, until)


def _count(hours: Hours, interval: Nanos, start: Nanos, since: Nanos) -> int:
    """How many bars that open from start on have closed by since."""
    spans = hours.trading(start, hours.closes_around(since, interval)[0], interval)
    if hours.is_daily(interval):
        return sum(1 for _ in spans)
    return sum(-((opened - closed) // interval) for opened, closed in spans)


def _start(hours: Hours, interval: Nanos, since: Nanos, bars: int) -> Nanos:
    """When the last so many bars begin."""
    start = hours.closes_around(since, interval)[0] - bars * interval
    while (lacking := bars - _count(hours, interval, start, since)) > 0:
        start -= lacking * interval
    return start


def _series(wanted: Wanted, bars: Sequence[Bar]) -> Series:
    opens, closes = (np.array([getattr(bar, name) for bar in bars], np.int64) for name in TIMES)
    values = (np.array([getattr(bar, name) for bar in bars], np.float64) for name in FIELDS)
    return Series(wanted.instrument, wanted.interval, opens, closes, *values)


def _events(series: tuple[Series, ...], hours: Mapping[InstrumentId, Hours]) -> tuple[Bars, ...]:
    if not series:
        return ()
    events = BarFeed(BarSet(series), hours).events(frozenset)
    return tuple(event for event in events if isinstance(event, Bars))
