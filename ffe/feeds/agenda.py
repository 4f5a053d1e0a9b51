"""What to ask one venue, and when: a state machine without a thread and without a clock; now is an argument.

Bars are asked for when they have closed by the venue's own clock, and from where they ended so far: what was missed
comes with what is new, and no bar twice. The venue's clock is read anew at every close, so that a jump of ours cannot
make a bar that is still running look complete. A venue that fails is asked again later and later, one that wants to be
left alone is left alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace

import numpy as np

from ffe.errors import ConfigError
from ffe.hours import Hours, spelt
from ffe.model import (
    DAY,
    MINUTE,
    NEVER,
    SECOND,
    Answer,
    Bar,
    Failed,
    Fault,
    Heard,
    Instrument,
    InstrumentId,
    Nanos,
    Quote,
    Quotes,
    Rejected,
    Venue,
)  # fmt: skip
from ffe.wire.errors import Busy, Denied
from ffe.wire.market import Candle, Ticker

NOBODY: frozenset[InstrumentId] = frozenset()
PATIENT_TRIES = 5  # at the pace of a bar that everybody waits for; then later and later
TRIES = 10  # a bar that a venue has not after so many does not exist: nothing was traded
LONGEST_FAILING = 10 * SECOND  # an open trade wants to be looked at as often
LONGEST_BUSY = 60 * SECOND


@dataclass(frozen=True, slots=True)
class Pace:
    """How often, and for how long."""

    poll: Nanos = 2 * SECOND  # quotes that somebody waits for
    idle: Nanos = 10 * SECOND  # all others, while their market is open
    settle: Nanos = SECOND // 2  # from a bar's close until it is asked for
    retry: Nanos = SECOND  # until it is asked for again
    patience: Nanos = 3 * SECOND  # how long an instant waits for its last bars; meanwhile no time passes
    clock: Nanos = 10 * MINUTE  # between two looks at the venue's clock, at the latest
    fresh: Nanos = 15 * MINUTE  # a bar that is later comes with the next instant: nothing is decided at it alone
    heartbeat: Nanos = SECOND  # between two looks at brokers, operator and time, at the longest

    def __post_init__(self) -> None:
        if not SECOND // 10 <= self.poll <= 10 * SECOND or self.idle < self.poll:
            raise ConfigError("A live feed asks for quotes every 0.1 to 10 seconds, for those of idle ones no oftener.")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Bars of one instrument and interval."""

    instrument: Instrument
    interval: Nanos

    def __post_init__(self) -> None:
        if self.interval > DAY or DAY % self.interval:
            raise ConfigError(f"{self.instrument.id}: live bars of {spelt(self.interval)} do not fill a day evenly.")


# ---------------------------------------------------------------- questions, and what they come to


@dataclass(frozen=True, slots=True)
class AskTime:
    pass


@dataclass(frozen=True, slots=True)
class AskBars:
    """Bars that open in [since, until); those that close by then are complete."""

    wanted: Wanted
    since: Nanos
    until: Nanos


@dataclass(frozen=True, slots=True)
class AskQuotes:
    instruments: tuple[Instrument, ...]


Ask = AskTime | AskBars | AskQuotes


@dataclass(frozen=True, slots=True)
class Learnt:
    """What one question came to; spoke says that the venue gave an answer to it."""

    venue: Venue
    time: Nanos
    spoke: bool
    bars: tuple[tuple[Wanted, Bar], ...] = ()
    quotes: Quotes | None = None
    answers: tuple[Answer, ...] = ()


@dataclass(slots=True)
class _Following:
    """Where the bars of one series stand: complete up to cursor; target is the newest close, tries what it has cost."""

    cursor: Nanos
    target: Nanos = 0
    ask_at: Nanos = 0
    tries: int = 0
    pages: list[tuple[Wanted, Bar]] = field(default_factory=list)  # kept until the last one is there


class Agenda:
    """One venue. plan says what to ask; whatever came of it must be told before the next plan."""

    def __init__(
        self, venue: Venue, wanted: Sequence[Wanted], instruments: Sequence[Instrument],
        hours: Mapping[InstrumentId, Hours], pace: Pace,
    ) -> None:  # fmt: skip
        self.venue, self.instruments, self.hours, self.pace = venue, tuple(instruments), hours, pace
        self.watched: Set[InstrumentId] = NOBODY  # somebody waits for their price
        self.skew: Nanos | None = None  # the venue's clock minus ours
        self._least: Nanos = 0  # the same, as little as it can be: an answer is older than its arrival
        self._read_at: Nanos | None = None
        self._tried_at: Nanos = 0  # the newest look at the venue's clock that has told nothing
        self._series = {each: _Following(0) for each in wanted}
        self._quoted_at: dict[InstrumentId, Nanos] = {}
        self._session: dict[InstrumentId, Nanos] = {}  # the newest of which a quote has told
        self._not_before: Nanos = 0
        self._failures = self._refusals = 0
        self._is_locked_out = False
        self._now: Nanos = 0

    def begin(self, since: Nanos, cursors: Mapping[Wanted, Nanos]) -> None:
        """Everything that closed by since is known, or up to where its cursor stands."""
        for wanted, following in self._series.items():
            last, _ = self.hours[wanted.instrument.id].closes_around(since, wanted.interval)
            following.cursor = cursors.get(wanted, last)
        for instrument in self.instruments:
            if session := self.hours[instrument.id].session_at(since):
                self._session[instrument.id] = session[0]

    # ------------------------------------------------------------ what is due

    def plan(self, now: Nanos) -> tuple[Nanos, Ask | None]:
        """The next question and when it is due; without one, when to look again."""
        if now < self._now:
            self._start_over(now)
        self._now = now
        due = [self._clock_due(now), self._quotes_due(now), *self._bars_due(now)]
        when, ask = min(due, key=lambda each: each[0])
        return max(when, self._not_before), ask

    def _start_over(self, now: Nanos) -> None:
        """Our clock was put back: what was due by it is due at once."""
        self._quoted_at, self._not_before, self._read_at, self._tried_at = {}, 0, None, 0
        for following in self._series.values():
            following.ask_at = min(following.ask_at, now)

    def _clock_due(self, now: Nanos) -> tuple[Nanos, AskTime]:
        due = 0 if self._read_at is None else self._read_at + self.pace.clock
        return max(due, self._tried_at), AskTime()

    def _quotes_due(self, now: Nanos) -> tuple[Nanos, AskQuotes | None]:
        due = {i: t for i in self.instruments if (t := self._quote_due(i, now)) is not None}
        ready = tuple(i for i, t in due.items() if t <= now)
        if ready:
            return min(due.values()), AskQuotes(ready)
        return min([now + self.pace.poll, *due.values()]), None

    def _quote_due(self, instrument: Instrument, now: Nanos) -> Nanos | None:
        asked = self._quoted_at.get(instrument.id, 0)
        if instrument.id in self.watched:
            return asked + self.pace.poll
        return asked + self.pace.idle if self.hours[instrument.id].is_open(now) else None

    def _bars_due(self, now: Nanos) -> list[tuple[Nanos, AskBars | AskTime | None]]:
        if self._read_at is None:
            return []  # nobody knows what has closed
        return [self._series_due(wanted, following, now) for wanted, following in self._series.items()]

    def _series_due(self, wanted: Wanted, following: _Following, now: Nanos) -> tuple[Nanos, AskBars | AskTime | None]:
        last, coming = self.hours[wanted.instrument.id].closes_around(now + self._least, wanted.interval)
        if last != following.target:  # earlier than it was: our clock had jumped, and was found out
            following.target, following.tries = last, 0
            following.ask_at = self._ours(last) + self.pace.settle
        if following.cursor >= last or following.ask_at == NEVER:
            return self._ours(coming) + self.pace.settle, None
        if self._read_at is not None and self._read_at < self._ours(last):
            return max(following.ask_at, self._tried_at), AskTime()
        return following.ask_at, AskBars(wanted, following.cursor, last)

    def _ours(self, theirs: Nanos) -> Nanos:
        """A time of the venue's clock by ours."""
        return theirs - self._least

    # ------------------------------------------------------------ what came of it

    def asked(self, ask: Ask, now: Nanos) -> None:
        """Before the question leaves: whatever comes of it, it is not due again at once."""
        if isinstance(ask, AskQuotes):
            self._quoted_at.update({instrument.id: now for instrument in ask.instruments})
        elif isinstance(ask, AskBars):
            following = self._series[ask.wanted]
            following.ask_at = now + _later(self.pace.retry, following.tries - PATIENT_TRIES, LONGEST_BUSY)
            following.tries += 1
        else:
            self._tried_at = now + LONGEST_FAILING

    def told_time(self, said: Nanos, sent: Nanos, now: Nanos) -> Learnt:
        self.skew, self._least, self._read_at, self._tried_at = said - (sent + now) // 2, said - now, now, 0
        return self._spoke(now)

    def told_candles(self, ask: AskBars, page: Sequence[Candle], now: Nanos) -> Learnt:
        """One page; it is told of when nothing is left to come, so that nobody decides in the middle of a gap."""
        following, hours = self._series[ask.wanted], self.hours[ask.wanted.instrument.id]
        ended = [
            bar for bar in bars_of(ask.wanted, page, hours) if ask.since <= bar.open_time < bar.close_time <= ask.until
        ]
        good = [bar for bar in ended if is_plausible(bar)]
        following.pages += [(ask.wanted, bar) for bar in good]
        if good:
            following.cursor = good[-1].close_time
        elif following.tries >= TRIES:
            following.ask_at = NEVER
        if good and following.cursor < ask.until:
            following.ask_at, following.tries = now, 0
            return self._spoke(now, len(good) == len(ended))
        bars, following.pages = tuple(following.pages), []
        return replace(self._spoke(now, len(good) == len(ended)), bars=bars)

    def told_quotes(self, ask: AskQuotes, tickers: Sequence[Ticker], now: Nanos) -> Learnt:
        """Prices; one that cannot be true is left out and is a failure, one that the venue itself calls old is left
        out, unless it is our clock that has jumped: that is read anew."""
        asked = {instrument.id for instrument in ask.instruments}
        shown = sorted(ticker for ticker in tickers if ticker.instrument in asked)
        true = [ticker for ticker in shown if 0.0 < ticker.mid < math.inf]
        fresh = [ticker for ticker in true if not ticker.is_stale(now + self._least)]
        if len(fresh) < len(true):
            self._read_at, self._tried_at = None, min(self._tried_at, now)
        good = tuple(self._marked(Quote(ticker.instrument, ticker.mid), now) for ticker in fresh)
        learnt = self._spoke(now, len(true) == len(shown))
        return replace(learnt, quotes=Quotes(now, good) if good else None)

    def _marked(self, quote: Quote, now: Nanos) -> Quote:
        """The first quote of a session opens it."""
        session = self.hours[quote.instrument].session_at(now)
        if session is None or self._session.get(quote.instrument) == session[0]:
            return replace(quote, opens_session=False)
        self._session[quote.instrument] = session[0]
        return replace(quote, opens_session=True)

    def _spoke(self, now: Nanos, is_whole: bool = True) -> Learnt:
        """The venue answered; that a part of it cannot be true is a failure, but the rest is asked for as before."""
        if not is_whole:
            self._failures += 1
            return Learnt(self.venue, now, True, answers=(Failed(now, self.venue, None, Fault.UNREADABLE, True),))
        heard = (Heard(now, self.venue, None),) if self._failures else ()
        self._failures = self._refusals = 0
        return Learnt(self.venue, now, True, answers=heard)

    # ------------------------------------------------------------ what went wrong

    def failed(self, fault: Fault, now: Nanos) -> Learnt:
        self._not_before = now + _later(self.pace.retry, self._failures, LONGEST_FAILING)
        self._failures += 1
        return Learnt(self.venue, now, False, answers=(Failed(now, self.venue, None, fault, True),))

    def denied(self, error: Denied, now: Nanos) -> Learnt:
        """A rate limit is no failure: the venue is asked again when it said, or, where it did not, later and later.

        Ten refusals of three seconds each kept prices away for 80 s when the wait was doubled all the same. A key that
        is worth nothing is told of once: there is no other before the next run.
        """
        stated = error.wait if isinstance(error, Busy) else None
        if stated is None:
            wait = _later(self.pace.retry, self._refusals, LONGEST_BUSY)
            self._refusals += 1
        else:
            wait = max(stated, self.pace.retry)
        self._not_before = now + wait
        if not error.is_locked_out or self._is_locked_out:
            return Learnt(self.venue, now, False)
        self._is_locked_out = True
        return Learnt(self.venue, now, False, answers=(Rejected(now, self.venue, None, error.reason, True),))


def _later(first: Nanos, doublings: int, longest: Nanos) -> Nanos:
    return min(first << min(max(doublings, 0), 16), longest)


def bars_of(wanted: Wanted, candles: Sequence[Candle], hours: Hours) -> list[Bar]:
    """Candles as bars, which end as the hours say; each once, in the order of time."""
    rows = sorted({candle.open_time: candle for candle in candles}.values())
    closes = hours.bar_close(np.array([row.open_time for row in rows], np.int64), wanted.interval)
    return [
        Bar(wanted.instrument.id, wanted.interval, row.open_time, close, *row[1:])
        for row, close in zip(rows, closes.tolist(), strict=True)
    ]


def is_plausible(bar: Bar) -> bool:
    numbers = bar.open, bar.high, bar.low, bar.close, bar.volume
    is_within = 0.0 < bar.low <= min(bar.open, bar.close) and max(bar.open, bar.close) <= bar.high
    return all(map(math.isfinite, numbers)) and is_within and bar.volume >= 0.0
