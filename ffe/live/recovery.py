"""What earlier processes left behind in the journal: the newest state, and the orders that left after it.

A state stands in the line of every step that something came of, before anything of it leaves. What was heard after the
newest one is not read: the venues are asked, and tell it again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from ffe.book import REMEMBERED, Book, BookState
from ffe.brokers.venue import Past
from ffe.model import (
    Account,
    Currency,
    Instrument,
    InstrumentId,
    Nanos,
    OrderId,
    Price,
    Qty,
    Role,
    Side,
    Ticket,
    Universe,
    Venue,
)
from ffe.records.chain import Line, as_line, day_files
from ffe.records.encode import Json, build, loads
from ffe.records.reader import texts

Object = Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class Leftover:
    """An order of a trade that was under way."""

    order: OrderId
    role: Role
    qty: Qty
    sent: Nanos


@dataclass(frozen=True, slots=True)
class OpenTrade:
    """A trade that held its slot."""

    slot: int
    instrument: InstrumentId
    side: Side
    opened: Nanos
    qty: Qty
    stop: Price
    target: Price
    flights: tuple[Leftover, ...]

    def tickets(self) -> Iterator[Ticket]:
        for flight in self.flights:
            side = self.side if flight.role is Role.ENTRY else Side(-self.side)
            yield Ticket(flight.order, flight.role, self.instrument, side, flight.qty)


@dataclass(frozen=True, slots=True)
class Left:
    """head is what the newest session was; state is None where there was none; sent are exits and protections that left
    after it, from a supervisor's hand."""

    session: str = ""
    head: Object | None = None
    state: Object | None = None
    sent: tuple[Ticket, ...] = ()

    def trades(self) -> list[OpenTrade]:
        if self.state is None:
            return []
        rows = cast(list[Json], _object(self.state["slots"])["trades"])
        return [build(OpenTrade, row) for row in rows if isinstance(row, Mapping)]

    def orders(self) -> list[Ticket]:
        """What may still be under way."""
        return [*(ticket for trade in self.trades() for ticket in trade.tickets()), *self.sent]

    def ids(self) -> frozenset[OrderId]:
        """Every order of the trades that are open."""
        rows = cast(list[list[str]], _object(self.state["slots"])["orders"]) if self.state else []
        return frozenset([*(OrderId(row[0]) for row in rows), *(ticket.id for ticket in self.sent)])

    def universe(self) -> Universe:
        """What the newest session could trade, and held."""
        assert self.head is not None
        rows = [*cast(list[Object], self.head["traded"]), *cast(list[Object], self.head["others"])]
        instruments = tuple(build(Instrument, row) for row in rows)
        accounts = tuple(build(Account, row) for row in cast(list[Object], self.head["accounts"]))
        return Universe(instruments, accounts, Currency(str(self.head["currency"])))

    def held(self) -> set[InstrumentId]:
        """Instruments of which something was held, or under way."""
        if self.state is None:
            return set()
        book = build(BookState, _object(self.state["book"]))
        owned = {id for ledger in book.ledgers for id, _ in (*ledger.ours, *ledger.foreign)}
        return owned | {trade.instrument for trade in self.trades()}

    def book(self, universe: Universe, window_days: int) -> Book:
        book = Book(universe, window_days)
        if self.state is not None:
            book.restore(build(BookState, _object(self.state["book"])))
        return book

    def past(self, venue: Venue, book: Book) -> Past | None:
        """What an adapter must know; None where its account was never opened."""
        if venue not in book.opened:
            return None
        mine = tuple(t for t in self.orders() if book.universe[t.instrument].venue == venue)
        return Past(book.seen(venue), mine, self.ids())

    def since(self, now: Nanos) -> Nanos:
        """From when on an account's trades are looked at."""
        return min([now, *(trade.opened for trade in self.trades())]) - REMEMBERED


def left_in(root: Path) -> Left:
    """What the journal of an account holds. The newest day's file is enough, unless a supervisor opened it."""
    needed: list[Line] = []
    for path in reversed(day_files(root)):
        needed = [*(as_line(loads(text)) for _, text in texts(path)), *needed]
        if any(line.body.get("state") is not None for line in needed):
            break
    left = Left()
    for line in needed:
        left = _after(left, line)
    return left


def _after(left: Left, line: Line) -> Left:
    head = line.body.get("head")
    if isinstance(head, Mapping) and "strategy" in head:  # not a supervisor's own
        left = Left(str(line.body["session"]), head, left.state, left.sent)
    if isinstance(state := line.body.get("state"), Mapping):
        sent = cast(list[Object], line.body.get("sent", []))
        return Left(left.session, left.head, state, tuple(build(Ticket, row) for row in sent))
    if line.kind == "step":
        return Left(left.session, left.head, left.state, (*left.sent, *_sent(line.body)))
    return left


def _sent(body: Object) -> Iterator[Ticket]:
    for order in cast(list[Object], body["orders"]):
        if order["type"] in ("Exit", "Protect"):
            role = Role.EXIT if order["type"] == "Exit" else Role.PROTECT
            yield build(Ticket, {**order, "role": role})


def _object(value: Json) -> Object:
    assert isinstance(value, Mapping)
    return value
