"""A broker on a thread of its own: a venue that hangs holds up nobody else.

Orders leave in the order in which they were given, and before any question; a question that is waiting already is not
put again. What the broker says is kept until it is asked for, and whoever waits is woken.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence, Set
from concurrent.futures import ThreadPoolExecutor, wait
from queue import SimpleQueue
from time import monotonic

from ffe.brokers.venue import VenueBroker
from ffe.model import Answer, Bars, Cancel, Heartbeat, InstrumentId, Nanos, Order, Query, Quotes, Venue

READ_EVERY_SECONDS = 300.0

Work = Callable[[], None]


class BackgroundBroker:
    """The broker's own port; wake is called from the thread whenever there is something to hear."""

    def __init__(self, broker: VenueBroker, wake: Callable[[], None]) -> None:
        self.broker, self._wake = broker, wake
        self._bell: SimpleQueue[bool] = SimpleQueue()  # once for each thing to do; False: no more
        self._orders: deque[tuple[Order, Nanos]] = deque()
        self._questions: dict[Query | None, Work] = {}  # in their order; None: what has happened since
        self._told: deque[Answer] = deque()
        self._leaving: deque[InstrumentId] = deque()  # of orders that wait for the thread
        self._waiting: Set[InstrumentId] = frozenset()
        self._read_at = monotonic() + READ_EVERY_SECONDS
        self._thread = ThreadPoolExecutor(1, f"broker {broker.venue}").submit(self._run)

    @property
    def venue(self) -> Venue:
        return self.broker.venue

    @property
    def waiting(self) -> Set[InstrumentId]:
        return self._waiting | frozenset(self._leaving)

    def send(self, order: Order, time: Nanos) -> None:
        if isinstance(order, Query):
            self._ask(order, lambda: self.broker.send(order, time))
            return
        if not isinstance(order, Cancel):
            self._leaving.append(order.approved.intent.instrument)
        self._orders.append((order, time))
        self._bell.put(True)

    def work(self, market: Bars | Quotes | Heartbeat) -> None:
        self._ask(None, lambda: self._look(market))

    def _ask(self, about: Query | None, ask: Work) -> None:
        """A question that waits already is not put again: its answer will be newer than the asking."""
        if about not in self._questions:
            self._questions[about] = ask
            self._bell.put(True)

    def answers(self) -> Sequence[Answer]:
        """What is known by now; what broke the thread breaks the caller: a fault of ours is never silent."""
        if self._thread.done():
            self._thread.result()
        return [self._told.popleft() for _ in range(len(self._told))]

    def stop(self, patience: float) -> None:
        """Do what is still to be done, as long as patience (in seconds) lasts."""
        self._bell.put(False)
        wait([self._thread], patience)

    def _look(self, market: Bars | Quotes | Heartbeat) -> None:
        """What has happened; and now and then, on quiet days too, whether the account is what the book says."""
        self.broker.work(market)
        if monotonic() >= self._read_at:
            self._read_at = monotonic() + READ_EVERY_SECONDS
            self.broker.send(Query(self.venue, None), market.time)

    def _run(self) -> None:
        try:
            while self._bell.get():
                self._do_next()
                self._waiting = frozenset(self.broker.waiting)
                if told := self.broker.answers():
                    self._told += told
                    self._wake()
        finally:
            self._wake()

    def _do_next(self) -> None:
        """Orders first: no question holds up an exit."""
        if self._orders:
            order, time = self._orders.popleft()
            self.broker.send(order, time)
            if not isinstance(order, Cancel | Query):
                self._leaving.popleft()
            return
        about = tuple(self._questions)[0]  # noqa: RUF015 (at once, for the other thread may add one)
        self._questions.pop(about)()
