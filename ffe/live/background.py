"""A broker on a thread of its own: a venue that hangs holds up no other.

Exits, protections and cancellations leave first, in their order; then entries, in theirs; then questions. An exit must
wait neither for an entry's look at price and clock (two questions to a venue that may hang) nor for status queries. A
cancellation of an entry that has not left yet stays behind it. A question that waits already is not put again. Answers
are kept until they are taken, and the feed is woken for them. What has happened is asked for every two seconds, however
many prices come: two open trades were watched by half of a venue's request budget. What a look left in doubt is looked
at again at the next heartbeat: a stop that does not fill was known for one only after four seconds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence, Set
from concurrent.futures import ThreadPoolExecutor, wait
from queue import SimpleQueue
from time import monotonic
from typing import Protocol

from ffe.model import Answer, Bars, Cancel, Enter, Heartbeat, InstrumentId, Nanos, Order, Query, Quotes, Venue
from ffe.ports import Broker

READ_EVERY_SECONDS = 300.0
LOOK_EVERY_SECONDS = 2.0
LOOK_AGAIN_SECONDS = 0.5  # after a look that left something in doubt; a heartbeat comes every second

Work = Callable[[], None]
Sent = tuple[Order, Nanos]


class LiveBroker(Broker, Protocol):
    """A broker that knows whether its last look has to be repeated soon."""

    @property
    def is_in_doubt(self) -> bool: ...


class Due:
    """Something that is done every so many seconds of a clock, first after a while."""

    def __init__(self, every: float, clock: Callable[[], float], first: float = 0.0) -> None:
        self._every, self._clock, self._at = every, clock, clock() + first

    def is_due(self) -> bool:
        """Whether it is to be done now; then the next time is so many seconds from now."""
        now = self._clock()
        if now < self._at:
            return False
        self._at = now + self._every
        return True

    def within(self, seconds: float) -> None:
        """It is due in so many seconds from now, if not sooner."""
        self._at = min(self._at, self._clock() + seconds)


class BackgroundBroker:
    """The broker's own port; wake is called from the thread whenever answers have come. The account is read every so
    many seconds of the clock, on quiet days too."""

    def __init__(
        self,
        broker: LiveBroker,
        wake: Callable[[], None],
        read_every: float = READ_EVERY_SECONDS,
        look_every: float = LOOK_EVERY_SECONDS,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.broker, self._wake = broker, wake
        self._looks, self._reads = Due(look_every, clock), Due(read_every, clock, read_every)
        self._bell: SimpleQueue[bool] = SimpleQueue()  # True for each thing to do; False: no more
        self._first: deque[Sent] = deque()  # what reduces risk
        self._entries: deque[Sent] = deque()
        self._questions: dict[Query | None, Work] = {}  # in their order; None: what has happened since
        self._answers: deque[Answer] = deque()
        self._waiting: Set[InstrumentId] = frozenset()
        self._thread = ThreadPoolExecutor(1, f"broker {broker.venue}").submit(self._run)

    @property
    def venue(self) -> Venue:
        return self.broker.venue

    @property
    def waiting(self) -> Set[InstrumentId]:
        """Instruments with an order that has not left, or that waits at the venue."""
        queued = [order for order, _ in (*tuple(self._first), *tuple(self._entries))]
        return self._waiting | {o.approved.intent.instrument for o in queued if not isinstance(o, Cancel | Query)}

    def send(self, order: Order, time: Nanos) -> None:
        match order:
            case Query():
                self._ask(order, lambda: self.broker.send(order, time))
                return
            case Enter():
                self._entries.append((order, time))
            case Cancel() if any(isinstance(e, Enter) and e.id == order.order for e, _ in tuple(self._entries)):
                self._entries.append((order, time))
            case _:
                self._first.append((order, time))
        self._bell.put(True)

    def work(self, market: Bars | Quotes | Heartbeat) -> None:
        if self._looks.is_due():
            self._ask(None, lambda: self._look(market))

    def _ask(self, about: Query | None, ask: Work) -> None:
        """A question that waits already is not put again: its answer will be newer than this request for it."""
        if about not in self._questions:
            self._questions[about] = ask
            self._bell.put(True)

    def answers(self) -> Sequence[Answer]:
        """What is known by now; what broke the thread breaks the caller: a fault of ours is never silent."""
        if self._thread.done():
            self._thread.result()
        return [self._answers.popleft() for _ in range(len(self._answers))]

    def stop(self, patience: float) -> None:
        """Do what is still to be done, as long as patience (in seconds) lasts."""
        self._bell.put(False)
        wait([self._thread], patience)

    def _look(self, market: Bars | Quotes | Heartbeat) -> None:
        """Ask what has happened; and now and then read the account: a trade by hand makes no fill of ours."""
        self.broker.work(market)
        if self.broker.is_in_doubt:
            self._looks.within(LOOK_AGAIN_SECONDS)
        if self._reads.is_due():
            self.broker.send(Query(self.venue, None), market.time)

    def _run(self) -> None:
        try:
            while self._bell.get():
                self._do_next()
                self._waiting = frozenset(self.broker.waiting)
                if answers := self.broker.answers():
                    self._answers += answers
                    self._wake()
        finally:
            self._wake()

    def _do_next(self) -> None:
        for queue in (self._first, self._entries):
            if queue:
                self._leave(queue)
                return
        about = tuple(self._questions)[0]  # noqa: RUF015 (in one step, for the other thread may add one)
        self._questions.pop(about)()

    def _leave(self, queue: deque[Sent]) -> None:
        """Send the oldest; it counts as waiting until the broker has it."""
        order, time = queue[0]
        self.broker.send(order, time)
        self._waiting = frozenset(self.broker.waiting)
        queue.popleft()
