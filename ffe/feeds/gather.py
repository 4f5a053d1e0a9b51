"""What pollers learnt, put in the one order of time: a state machine without a thread and without a clock.

All bars that close at one instant are one event; it waits a little for the last of them, not for a venue that is
silent. What comes later, or was missed, goes out as soon as it is there, whole and in order, before or with the next
instant. Prices read after an instant wait until its bars have gone. No event's time goes back: while an instant waits,
time stands still just before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from ffe.feeds.agenda import Learnt, Pace, Wanted
from ffe.hours import Hours
from ffe.model import DAY, Answer, Bar, Bars, InstrumentId, Nanos, Quotes, Venue


class Gathering:
    """Every series from `since` on: what closed by then is no event of its own any more."""

    def __init__(self, wanted: Sequence[Wanted], hours: Mapping[InstrumentId, Hours], pace: Pace, since: Nanos) -> None:
        self.hours, self.pace, self.last = hours, pace, since
        self._order = {(w.instrument.id, w.interval): (w.instrument.venue, w.instrument.symbol) for w in wanted}
        self._reached = dict.fromkeys(wanted, since)
        self._closing = {w: self._next_close(w, since) for w in wanted}
        self.instant = self._next_instant(since)  # the next one to go out
        self._bars: list[Bar] = []
        self._quotes: list[Quotes] = []
        self._answers: list[Answer] = []
        self.spoke: dict[Venue, Nanos] = {}  # when each was last heard
        self._silent: set[Venue] = set()  # what owed bars and has not spoken since

    def _next_close(self, wanted: Wanted, after: Nanos) -> Nanos:
        return self.hours[wanted.instrument.id].closes_around(after, wanted.interval)[1]

    def _next_instant(self, after: Nanos) -> Nanos:
        """The next close of any series, or the next midnight."""
        return min([(after // DAY + 1) * DAY, *self._closing.values()])

    # ------------------------------------------------------------ in

    def take(self, learnt: Learnt) -> None:
        if learnt.spoke:
            self.spoke[learnt.venue] = learnt.time
            self._silent.discard(learnt.venue)
        for wanted, bar in learnt.bars:
            self._reached[wanted] = bar.close_time
            self._bars.append(bar)
        self._answers += learnt.answers
        if learnt.quotes is not None:
            self._hold(learnt.quotes)

    def _hold(self, quotes: Quotes) -> None:
        """Of every instrument the newest price alone; that it opens the session is not forgotten with an older one."""
        newer = {q.instrument for q in quotes.quotes}
        waiting = [q for old in self._quotes for q in old.quotes]
        opening = {q.instrument for q in waiting if q.opens_session}
        kept = (replace(old, quotes=tuple(q for q in old.quotes if q.instrument not in newer)) for old in self._quotes)
        marked = tuple(replace(q, opens_session=q.opens_session or q.instrument in opening) for q in quotes.quotes)
        self._quotes = sorted([*(q for q in kept if q.quotes), replace(quotes, quotes=marked)], key=lambda q: q.time)

    # ------------------------------------------------------------ out

    def time(self, now: Nanos) -> Nanos:
        """What time it is for the engine: never before what it has heard, never at an instant that still waits."""
        return max(self.last, min(now, self.instant - 1))

    def pass_to(self, now: Nanos) -> Nanos:
        """The same, and from here on no event is earlier."""
        self.last = self.time(now)
        return self.last

    def ready(self, now: Nanos) -> Iterator[Bars | Quotes | Answer]:
        """What may go out by now."""
        answers, self._answers = self._answers, []
        for answer in answers:
            yield replace(answer, time=self.pass_to(now))
        while self.instant <= now and (self._is_whole() or now >= self.instant + self.pace.patience):
            yield from self._quotes_before(self.instant)
            yield from self._at_instant()
        yield from self._quotes_before(self.instant)
        if now < self.instant and any(now - self.pace.fresh <= bar.close_time < self.instant for bar in self._bars):
            self.last = max(self.last + 1, now)
            yield Bars(self.last, self._taken(self.instant - 1))

    def due(self, now: Nanos) -> Nanos:
        """When something may go out, though nothing new comes in."""
        return self.instant if now < self.instant else self.instant + self.pace.patience

    def _is_whole(self) -> bool:
        return not self._missing() - self._silent

    def _missing(self) -> set[Venue]:
        """Venues that owe bars of this instant."""
        due = [wanted for wanted, close in self._closing.items() if close == self.instant]
        return {wanted.instrument.venue for wanted in due if self._reached[wanted] < self.instant}

    def _at_instant(self) -> Iterator[Bars]:
        self._silent |= self._missing()
        now, bars = self.instant, self._taken(self.instant)
        for wanted, close in self._closing.items():
            if close == now:
                self._closing[wanted] = self._next_close(wanted, now)
        self.instant = self._next_instant(now)
        if bars or now % DAY == 0:
            self.last = now
            yield Bars(now, bars)

    def _taken(self, until: Nanos) -> tuple[Bar, ...]:
        """All bars that closed by a time: what was missed comes first."""
        bars = sorted(
            (bar for bar in self._bars if bar.close_time <= until),
            key=lambda bar: (bar.close_time, *self._order[bar.instrument, bar.interval], bar.interval),
        )
        self._bars = [bar for bar in self._bars if bar.close_time > until]
        return tuple(bars)

    def _quotes_before(self, time: Nanos) -> Iterator[Quotes]:
        ready = [quotes for quotes in self._quotes if quotes.time < time]
        self._quotes = [quotes for quotes in self._quotes if quotes.time >= time]
        for quotes in ready:
            self.last = max(self.last, quotes.time)
            yield replace(quotes, time=self.last)
