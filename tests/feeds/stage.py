"""A live feed on virtual time: real markets over loopback, the real pollers, and nobody who sleeps.

Time moves only while the feed waits: then every poller has its turn when it is due.
`until` reads the stream up to a time; what it read is kept in `seen`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set

from ffe.feeds.agenda import Pace, Wanted
from ffe.feeds.poll import Poller, PollFeed
from ffe.hours import Hours
from ffe.model import SECOND, Answer, Bar, Bars, Heartbeat, Instrument, InstrumentId, Nanos, Quotes, Venue
from ffe.wire.market import Market

Said = Bars | Quotes | Answer | Heartbeat


class Clock:
    def __init__(self, time: Nanos) -> None:
        self.time = time
        self.jump: Nanos = 0  # how wrong our clock is; the venues' is right

    def __call__(self) -> Nanos:
        return self.time + self.jump

    def true(self) -> Nanos:
        return self.time


class Turns:
    """Pollers take their turns in the engine's own thread, in the order in which they are due."""

    def __init__(self, clock: Clock) -> None:
        self.clock, self.at = clock, dict[Venue, Nanos]()
        self.pollers: dict[Venue, Poller] = {}
        self.hung: set[Venue] = set()  # its question never returns
        self.is_woken = self.is_stopped = False
        self.happens: list[tuple[Nanos, Callable[[], None]]] = []

    def start(self, pollers: Sequence[Poller]) -> None:
        self.pollers = {poller.agenda.venue: poller for poller in pollers}
        self.at = dict.fromkeys(self.pollers, 0)

    def later(self, time: Nanos, act: Callable[[], None]) -> None:
        self.happens.append((time, act))

    def wait(self, until: Nanos, now: Nanos) -> None:
        until = self.clock.time + max(0, until - now)
        while not self.is_woken and self.clock.time < until:
            moves = [time for venue, time in self.at.items() if venue not in self.hung]
            self.clock.time = max(self.clock.time, min([until, *moves, *(time for time, _ in self.happens)]))
            self._happen()
            for venue in [v for v, time in self.at.items() if time <= self.clock.time and v not in self.hung]:
                when = self.pollers[venue].turn()
                self.at[venue] = self.clock.time + max(0, when - self.clock())
        self.is_woken = False

    def _happen(self) -> None:
        due = [act for time, act in self.happens if time <= self.clock.time]
        self.happens = [pair for pair in self.happens if pair[0] > self.clock.time]
        for act in due:
            act()

    def wake(self) -> None:
        self.is_woken = True

    def look(self) -> None:
        self.at = dict.fromkeys(self.at, 0)

    def stop(self) -> None:
        self.is_stopped = True


class Stage:
    def __init__(
        self, clock: Clock, markets: Mapping[Venue, Market], wanted: Sequence[Wanted],
        hours: Mapping[InstrumentId, Hours], pace: Pace | None = None,
    ) -> None:  # fmt: skip
        self.clock, self.turns, self.awaited = clock, Turns(clock), frozenset[InstrumentId]()
        self.feed = PollFeed(markets, wanted, hours, clock, pace, self.turns)
        self.seen: list[Said] = []
        self.heard_at: list[Nanos] = []
        self._stream: Iterator[Said] | None = None

    def _watched(self) -> Set[InstrumentId]:
        return self.awaited

    def until(self, time: Nanos) -> list[Said]:
        """What the feed says up to a time of the true clock; beats left out."""
        self._stream = self._stream or self.feed.events(self._watched)
        first = len(self.seen)
        while self.clock.time < time:
            self.seen.append(next(self._stream))
            self.heard_at.append(self.clock.time)
        return [said for said in self.seen[first:] if not isinstance(said, Heartbeat)]

    def run(self, seconds: float) -> list[Said]:
        return self.until(self.clock.time + int(seconds * SECOND))

    @property
    def bars(self) -> list[Bars]:
        return [said for said in self.seen if isinstance(said, Bars)]

    @property
    def quotes(self) -> list[Quotes]:
        return [said for said in self.seen if isinstance(said, Quotes)]

    @property
    def answers(self) -> list[Answer]:
        return [said for said in self.seen if isinstance(said, Answer)]

    def given(self, instrument: Instrument | None = None) -> list[Bar]:
        """Every bar, in the order in which the engine heard it."""
        every = [bar for event in self.bars for bar in event.bars]
        return [bar for bar in every if instrument is None or bar.instrument == instrument.id]
