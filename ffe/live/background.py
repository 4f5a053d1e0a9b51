"""A broker on a thread of its own: a venue that hangs holds up nobody else.

Orders leave in the order in which they were given; looks are put off as long as one is waiting already. What the broker
says is kept until it is asked for, and whoever waits is woken.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence, Set
from concurrent.futures import ThreadPoolExecutor, wait
from queue import SimpleQueue
from time import monotonic

from ffe.brokers.venue import VenueBroker
from ffe.model import Answer, Bars, Cancel, InstrumentId, Nanos, Order, Query, Quotes, Venue

READ_EVERY_SECONDS = 300.0

Work = Callable[[], None]


class BackgroundBroker:
    """The broker's own port; wake is called from the thread whenever there is something to hear."""

    def __init__(self, broker: VenueBroker, wake: Callable[[], None]) -> None:
        self.broker, self._wake = broker, wake
        self._work: SimpleQueue[Work | None] = SimpleQueue()
        self._told: deque[Answer] = deque()
        self._leaving: deque[InstrumentId] = deque()  # of orders that wait for the thread
        self._waiting: Set[InstrumentId] = frozenset()
        self._is_to_look = False
        self._read_at = monotonic() + READ_EVERY_SECONDS
        self._thread = ThreadPoolExecutor(1, f"broker {broker.venue}").submit(self._run)

    @property
    def venue(self) -> Venue:
        return self.broker.venue

    @property
    def waiting(self) -> Set[InstrumentId]:
        return self._waiting | frozenset(self._leaving)

    def send(self, order: Order, time: Nanos) -> None:
        if isinstance(order, Cancel | Query):
            self._work.put(lambda: self.broker.send(order, time))
            return
        self._leaving.append(order.approved.intent.instrument)

        def leave() -> None:
            self.broker.send(order, time)
            self._leaving.popleft()

        self._work.put(leave)

    def work(self, market: Bars | Quotes) -> None:
        if not self._is_to_look:
            self._is_to_look = True
            self._work.put(lambda: self._look(market))

    def answers(self) -> Sequence[Answer]:
        """What is known by now; what broke the thread breaks the caller: a fault of ours is never silent."""
        if self._thread.done():
            self._thread.result()
        return [self._told.popleft() for _ in range(len(self._told))]

    def stop(self, patience: float) -> None:
        """Do what is still to be done, as long as patience (in seconds) lasts."""
        self._work.put(None)
        wait([self._thread], patience)

    def _look(self, market: Bars | Quotes) -> None:
        """What has happened; and now and then, on quiet days too, whether the account is what the book says."""
        self._is_to_look = False
        self.broker.work(market)
        if monotonic() >= self._read_at:
            self._read_at = monotonic() + READ_EVERY_SECONDS
            self.broker.send(Query(self.venue, None), market.time)

    def _run(self) -> None:
        try:
            while (work := self._work.get()) is not None:
                work()
                self._waiting = frozenset(self.broker.waiting)
                if told := self.broker.answers():
                    self._told += told
                    self._wake()
        finally:
            self._wake()
