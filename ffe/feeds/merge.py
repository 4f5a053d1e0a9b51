"""One ordered stream out of the market, the operator and the venues.

Within one instant: what happened inside the bars, the `Bars`, the commands, the opens. An open is offered to the venues
until none answers, then to the engine, then to the venues again: an order that it provokes may fill on it. At a
heartbeat the venues and the operator are asked whether the market moves or not, then the engine learns the time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence, Set

from ffe.errors import ConfigError
from ffe.model import (
    Answer,
    Bars,
    Cancel,
    Enter,
    Event,
    Heartbeat,
    InstrumentId,
    Nanos,
    Order,
    OrderId,
    Query,
    Quotes,
    Universe,
    Venue,
    Withheld,
)  # fmt: skip
from ffe.ports import Broker, Feed, Operator

NOBODY: frozenset[InstrumentId] = frozenset()
FUTILE_ROUNDS = 1000  # answers that provoke answers for ever are a fault of ours


class Venues:
    """All brokers of a run: orders go to the one whose venue they name.

    approvals says how many entries were approved so far. No more than that leave, and no approval leaves twice,
    whatever the engine believes.
    """

    def __init__(self, universe: Universe, brokers: Sequence[Broker], approvals: Callable[[], int]) -> None:
        self.universe, self.by_venue = universe, {broker.venue: broker for broker in brokers}
        self._approvals, self._used, self._left = approvals, set[int](), set[OrderId]()
        missing = sorted(set(universe.accounts) - set(self.by_venue))
        if missing:
            raise ConfigError(f"No broker for {', '.join(missing)}: give one for each venue of the run.")
        self._brokers = tuple(self.by_venue.values())
        self._withheld: list[Answer] = []
        self._is_stirred = self._is_trusted = True
        self._rounds = 0

    def _venue(self, order: Order) -> Venue:
        if isinstance(order, Cancel | Query):
            return order.venue
        return self.universe[order.approved.intent.instrument].venue

    def send(self, order: Order, time: Nanos) -> None:
        if isinstance(order, Enter) and (excess := self._excess(order)):
            # To call an order withheld that has left before would bury the one at the venue.
            about = None if order.id in self._left else order.id
            self._withheld.append(Withheld(time, self._venue(order), about, f"C11 {excess}", excess=True))
        else:
            self.by_venue[self._venue(order)].send(order, time)
        self._is_stirred = True

    def _excess(self, entry: Enter) -> str:
        """Why an entry's approval does not cover it; one that does is used up."""
        number, made = entry.approved.number, self._approvals()
        if number in self._used or entry.id in self._left:
            return f"approvals: number {number} of {entry.id} has left before"
        if not 0 < number <= made:
            return f"approvals: number {number} of {entry.id} was never given: there are {made}"
        self._used.add(number)
        self._left.add(entry.id)
        return ""

    def withhold(self, order: Order, time: Nanos) -> None:
        if not isinstance(order, Cancel | Query):
            self._withheld.append(Withheld(time, self._venue(order), order.id, "the decision could not be written"))
            self._is_stirred = True

    def distrust(self, time: Nanos) -> None:
        if self._is_trusted:
            self._withheld.append(Withheld(time, self._brokers[0].venue, None, "an fsync failed", broken=True))
            self._is_trusted, self._is_stirred = False, True

    def show(self, market: Bars | Quotes | Heartbeat) -> None:
        """Let the market, or time, act on every venue."""
        for broker in self._brokers:
            broker.work(market)
        self._is_stirred = True

    def answers(self) -> list[Answer]:
        """What is known by now. Nobody has anything new to say before the market or an order stirs them."""
        if not self._is_stirred:
            return []
        self._is_stirred = False
        answers, self._withheld = self._withheld, []
        for broker in self._brokers:
            answers += broker.answers()
        self._rounds += 1
        if self._rounds > FUTILE_ROUNDS:
            raise RuntimeError(f"the venues still answer after {FUTILE_ROUNDS} rounds without a new price")
        return answers

    def settled(self) -> Iterator[Answer]:
        """Everything the venues have to say by now, and what they say to what that provokes."""
        while answers := self.answers():
            yield from answers

    def offered(self, quotes: Quotes) -> Iterator[Answer]:
        """Show an open to the venues until none answers."""
        while True:
            self.show(quotes)
            answers = self.answers()
            if not answers:
                return
            yield from answers

    def new_instant(self) -> None:
        self._rounds = 0

    def waiting(self) -> Set[InstrumentId]:
        """Instruments on whose next open an order waits."""
        busy = [broker.waiting for broker in self._brokers if broker.waiting]
        return NOBODY.union(*busy) if busy else NOBODY


def merge(feed: Feed, operator: Operator, venues: Venues, awaited: Callable[[], Set[InstrumentId]]) -> Iterator[Event]:
    """The events of a run; awaited names the instruments on whose next open the engine waits."""
    asked_at: Nanos | None = None  # the newest Bars: behind them the operator has been heard for their instant
    for said in feed.events(lambda: venues.waiting() | awaited()):
        venues.new_instant()
        match said:
            case Bars():
                venues.show(said)
                while answers := venues.answers():
                    yield from answers
                yield said
                while answers := venues.answers():
                    yield from answers
                yield from _commands(operator, venues, said.time)
                asked_at = said.time
            case Quotes():
                if said.time != asked_at:
                    yield from _commands(operator, venues, said.time)
                yield from venues.offered(said)
                yield said
                yield from venues.settled()
                yield from venues.offered(said)
            case Answer():
                yield said
                yield from venues.settled()
            case Heartbeat():
                venues.show(said)
                yield from venues.settled()
                yield from _commands(operator, venues, said.time)
                yield said
                yield from venues.settled()


def _commands(operator: Operator, venues: Venues, now: Nanos) -> Iterator[Event]:
    """What the operator wants by now, and what that leads to."""
    if commands := operator.due(now):
        yield from commands
        yield from venues.settled()
