"""One ordered stream out of the market, the operator and the venues.

Within one instant: what happened inside the bars, the `Bars`, the commands, the opens. An open is offered to the venues
until none answers, then to the engine, then to the venues again: an order that it provokes may fill on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from ffe.errors import ConfigError
from ffe.model import (
    Answer,
    Bars,
    Cancel,
    Command,
    Event,
    InstrumentId,
    Nanos,
    Order,
    Query,
    Quotes,
    Universe,
    Venue,
    Withheld,
)  # fmt: skip
from ffe.ports import Broker, Feed

FUTILE_ROUNDS = 1000  # answers that provoke answers for ever are a fault of ours


class Venues:
    """All brokers of a run: orders go to the one whose venue they name."""

    def __init__(self, universe: Universe, brokers: Sequence[Broker]) -> None:
        self.universe, self.by_venue = universe, {broker.venue: broker for broker in brokers}
        missing = sorted(set(universe.accounts) - set(self.by_venue))
        if missing:
            raise ConfigError(f"No broker for {', '.join(missing)}: give one for each venue of the run.")
        self._withheld: list[Answer] = []

    def _venue(self, order: Order) -> Venue:
        if isinstance(order, Cancel | Query):
            return order.venue
        return self.universe[order.approved.intent.instrument].venue

    def send(self, order: Order, time: Nanos) -> None:
        self.by_venue[self._venue(order)].send(order, time)

    def withhold(self, order: Order, time: Nanos, broken: bool) -> None:
        if not isinstance(order, Cancel | Query):
            why = "the disk failed" if broken else "the decision could not be written"
            self._withheld.append(Withheld(time, self._venue(order), order.id, why, broken))

    def work(self, market: Bars | Quotes) -> None:
        for broker in self.by_venue.values():
            broker.work(market)

    def answers(self) -> list[Answer]:
        withheld, self._withheld = self._withheld, []
        return withheld + [answer for broker in self.by_venue.values() for answer in broker.answers()]

    @property
    def waiting(self) -> set[InstrumentId]:
        return {id for broker in self.by_venue.values() for id in broker.waiting}


class Commands(Protocol):
    """The operator as the stream sees it."""

    def due(self, time: Nanos) -> Sequence[Command]: ...


def merge(feed: Feed, operator: Commands, venues: Venues, waiting: Callable[[], set[InstrumentId]]) -> Iterator[Event]:
    """The events of a run; waiting names the instruments on whose next open the engine waits."""
    for market in feed:
        if isinstance(market, Bars):
            venues.work(market)
            yield from _settled(venues)
            yield market
            yield from _settled(venues)
            yield from operator.due(market.time)
            yield from _settled(venues)
        elif quotes := _wanted(market, venues.waiting | waiting()):
            yield from _offered(venues, quotes)
            yield quotes
            yield from _settled(venues)
            yield from _offered(venues, quotes)


def _wanted(opens: Quotes, waiting: set[InstrumentId]) -> Quotes | None:
    """The opens that somebody waits for, or that begin a session."""
    kept = tuple(quote for quote in opens.quotes if quote.opens_session or quote.instrument in waiting)
    return Quotes(opens.time, kept) if kept else None


def _offered(venues: Venues, quotes: Quotes) -> Iterator[Answer]:
    """Show an open to the venues until none answers."""
    for _ in range(FUTILE_ROUNDS):
        venues.work(quotes)
        answers = venues.answers()
        if not answers:
            return
        yield from answers
    raise RuntimeError(f"the venues still answer one open after {FUTILE_ROUNDS} rounds")


def _settled(venues: Venues) -> Iterator[Answer]:
    """Everything the venues have to say by now, and what they say to what that provokes."""
    for _ in range(FUTILE_ROUNDS):
        answers = venues.answers()
        if not answers:
            return
        yield from answers
    raise RuntimeError(f"the venues still answer after {FUTILE_ROUNDS} rounds")
