"""What one venue shows when it is asked, without a word of the journal: cash, positions, open orders, prices."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from ffe.brokers.venue import OpenOrder, VenueBroker
from ffe.errors import FfeError
from ffe.model import (
    AccountRead,
    Answer,
    Currency,
    Failed,
    Heartbeat,
    InstrumentId,
    Nanos,
    Price,
    Qty,
    Query,
    Rejected,
    Side,
    Universe,
    Venue,
)
from ffe.rounding import is_dust
from ffe.wire.errors import Denied, Unclear


class NoReading(FfeError):
    """The venue has not said what its account holds."""


@dataclass(frozen=True, slots=True)
class Reading:
    venue: Venue
    universe: Universe
    cash: tuple[tuple[Currency, float], ...]
    positions: Mapping[InstrumentId, Qty]
    orders: tuple[OpenOrder, ...]
    prices: Mapping[InstrumentId, Price]

    def sellable(self) -> dict[InstrumentId, Qty]:
        """The positions without dust; one without a price counts as worth enough."""
        held = {id: qty for id, qty in self.positions.items() if qty}
        return {id: qty for id, qty in held.items() if not self._is_dust(id, qty)}

    def _is_dust(self, id: InstrumentId, qty: Qty) -> bool:
        return is_dust(self.universe[id], qty, self.prices.get(id, float("nan")))

    @property
    def is_empty(self) -> bool:
        """Whether nothing is held that can be sold, and nothing is open."""
        return not self.sellable() and not self.orders

    def lines(self) -> list[str]:
        """For people: everything that was found, by instrument."""
        cash = [f"  {currency}: {amount:,.8g}" for currency, amount in self.cash]
        held = [f"  {id}: {qty:g} held{self._worth(id, qty)}" for id, qty in sorted(self.positions.items()) if qty]
        orders = [
            f"  {o.instrument}: order {o.number} is open, {'buy' if o.side is Side.LONG else 'sell'} {o.qty:g}"
            + ("" if o.stop is None else f" at the stop {o.stop:g}") + (f", called {o.id}" if o.id else "")
            for o in self.orders
        ]  # fmt: skip
        return [*cash, *held, *orders]

    def _worth(self, id: InstrumentId, qty: Qty) -> str:
        if id not in self.prices:
            return ""
        dust = ", too little to be sold" if self._is_dust(id, qty) else ""
        return f", worth {qty * self.prices[id]:,.8g} {self.universe[id].quote}{dust}"


class VenueReader:
    """Reads one account again and again; nothing is sent."""

    def __init__(self, broker: VenueBroker, clock: Callable[[], Nanos]) -> None:
        self.broker, self._clock, self._is_open = broker, clock, False

    def read(self) -> Reading:
        """NoReading where the venue does not say all of it."""
        account = self._account()
        positions = dict(account.positions)
        try:
            orders = self.broker.open_orders()
            prices = {quote.instrument: quote.mid for quote in self.broker.prices(positions)} if positions else {}
        except (Unclear, Denied) as error:
            raise NoReading(f"{self.broker.venue} does not say what rests there: {error}") from error
        return Reading(self.broker.venue, self.broker.universe, account.cash, positions, orders, prices)

    def _account(self) -> AccountRead:
        now = self._clock()
        if not self._is_open:
            self.broker.work(Heartbeat(now))  # some tell of an account only what has happened since its opening
        opening = list(self.broker.answers())
        self._is_open = self._is_open or any(isinstance(answer, AccountRead) for answer in opening)
        if not self._is_open:
            raise NoReading(_why(self.broker.venue, opening))
        self.broker.send(Query(self.broker.venue, None), now)
        answers = self.broker.answers()
        for answer in answers:
            if isinstance(answer, AccountRead):
                return answer
        raise NoReading(_why(self.broker.venue, answers))


def _why(venue: Venue, answers: Iterable[Answer]) -> str:
    for answer in answers:
        if isinstance(answer, Rejected):
            return f"{venue} does not say what it holds: {answer.reason}"
        if isinstance(answer, Failed):
            return f"{venue} does not say what it holds: {answer.fault}"
    return f"{venue} does not say what it holds"
