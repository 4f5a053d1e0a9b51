"""The state that earlier processes left in the journal: the newest one, and the orders that left after it.

A state stands in the line of every step that something came of, before anything of it leaves. Events behind the newest
one are not read: the venues are asked, and tell them again. A journal that cannot be read raises Tampered: it must not
read as one in which nothing is open.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from ffe.book import REMEMBERED, Book, BookState
from ffe.brokers.venue import Past
from ffe.errors import Tampered
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

STATE, HEAD, CHECKPOINT = b'"state":{', b'"kind":"head"', b'"kind":"checkpoint"'  # as they stand in canonical JSON


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
    """What is left of earlier sessions.

    head is what the newest session was; state is None where there was none; sent are exits and protections that left
    after it, by a supervisor; time is of the newest event that was read.
    """

    session: str = ""
    head: Object | None = None
    state: Object | None = None
    sent: tuple[Ticket, ...] = ()
    time: Nanos | None = None

    def is_newer_than(self, other: Left) -> bool:
        """Whether it knows more of the account: the newest state is the one to go on from."""
        return self.state is not None and (other.state is None or (self.time or 0) > (other.time or 0))

    def knows(self, mark: str) -> bool:
        """Whether it tells what an account holds; a journal that is older than marks tells it of any."""
        return self.state is not None and mark in (self.marks().values() or {mark})

    def is_trading(self, mark: str) -> bool:
        """Whether a trade of that account's is open, or an order of one under way."""
        marks = self.marks()
        open_at = [trade.instrument for trade in self.trades()] + [ticket.instrument for ticket in self.sent]
        return any(marks.get(venue_of(id), mark) == mark for id in open_at)

    def without(self, venues: Set[Venue]) -> Left:
        """The same but for what stands of these venues: another journal tells that since, and their accounts are opened
        as if new."""
        if self.state is None or not venues:
            return self
        with _readable("its slots and its book"):
            book, slots = _object(self.state["book"]), _object(self.state["slots"])
            gone = {trade.slot for trade in self.trades() if venue_of(trade.instrument) in venues}
            ledgers = [
                {**ledger, "ours": [], "foreign": []} if ledger["venue"] in venues else ledger
                for ledger in cast(list[Object], book["ledgers"])
            ]
            opened = [venue for venue in cast(list[str], book["opened"]) if venue not in venues]
            trades = [
                None if isinstance(row, Mapping) and row["slot"] in gone else row
                for row in cast(list[Json], slots["trades"])
            ]
            orders = [row for row in cast(list[list[Json]], slots["orders"]) if row[1] not in gone]
        state = {
            **self.state,
            "book": {**book, "ledgers": ledgers, "opened": opened},
            "slots": {**slots, "trades": trades, "orders": orders},
        }
        sent = tuple(ticket for ticket in self.sent if venue_of(ticket.instrument) not in venues)
        return replace(self, state=cast(Object, state), sent=sent)

    def check(self) -> None:
        """Tampered where it cannot be read whole, or holds what its own session did not have."""
        if self.state is None:
            return
        universe = self.universe()
        self.book(universe, 1)
        self.ids()
        known = {*(trade.instrument for trade in self.trades()), *(ticket.instrument for ticket in self.orders())}
        if strangers := sorted(str(id) for id in known | self.held() if id not in universe):
            raise Tampered(f"the journal's newest state holds {', '.join(strangers)}, which its session did not have")

    def trades(self) -> list[OpenTrade]:
        with _readable("its slots"):
            rows = cast(list[Json], _object(self.state["slots"])["trades"]) if self.state is not None else []
            return [build(OpenTrade, row) for row in rows if isinstance(row, Mapping)]

    def orders(self) -> list[Ticket]:
        """What may still be under way."""
        return [*(ticket for trade in self.trades() for ticket in trade.tickets()), *self.sent]

    def ids(self) -> frozenset[OrderId]:
        """Every order of the trades that are open."""
        with _readable("its orders"):
            rows = cast(list[list[str]], _object(self.state["slots"])["orders"]) if self.state is not None else []
            return frozenset([*(OrderId(row[0]) for row in rows), *(ticket.id for ticket in self.sent)])

    def universe(self) -> Universe:
        """What the newest session could trade, and held."""
        with _readable("its session"):
            head = _object(self.head)
            rows = [*cast(list[Object], head["traded"]), *cast(list[Object], head["others"])]
            instruments = tuple(build(Instrument, row) for row in rows)
            accounts = tuple(build(Account, row) for row in cast(list[Object], head["accounts"]))
            return Universe(instruments, accounts, Currency(str(head["currency"])))

    def marks(self) -> dict[Venue, str]:
        """By what the newest session's accounts are told from others; empty in a journal that is older than marks."""
        with _readable("its accounts"):
            marks = _object(self.head).get("marks", {}) if self.head is not None else {}
            return {Venue(venue): str(mark) for venue, mark in _object(marks).items()}

    def held(self) -> set[InstrumentId]:
        """Instruments of which something was held, or under way."""
        if self.state is None:
            return set()
        with _readable("its book"):
            book = build(BookState, _object(self.state["book"]))
        owned = {id for ledger in book.ledgers for id, _ in (*ledger.ours, *ledger.foreign)}
        return owned | {trade.instrument for trade in self.trades()}

    def book(self, universe: Universe, window_days: int) -> Book:
        book = Book(universe, window_days)
        with _readable("its book"):
            if self.state is not None:
                book.restore(build(BookState, _object(self.state["book"])))
        return book

    def past(self, venue: Venue, book: Book) -> Past | None:
        """What an adapter must know; None where its account was never opened."""
        if venue not in book.opened:
            return None
        mine = tuple(t for t in self.orders() if book.universe[t.instrument].venue == venue)
        return Past(book.seen(venue), mine, self.ids())

    def since(self, now: Nanos, venue: Venue, book: Book) -> Nanos:
        """From when on an account's trades are looked at: never before it was opened, for those are in its opening."""
        remembered = min([now, *(trade.opened for trade in self.trades())]) - REMEMBERED
        return max(remembered, book.opened_at.get(venue, remembered))


def venue_of(id: InstrumentId) -> Venue:
    return Venue(id.partition(":")[0])


def left_in(root: Path) -> Left:
    """What the journal of an account holds. The newest day's file is enough, unless a supervisor opened it.

    Of a day that may have a hundred thousand lines only those from the newest state and its event on are parsed, and
    the heads.
    """
    needed: list[Line] = []
    for path in reversed(day_files(root)):
        needed = [*_lines_needed(path), *needed]
        if any(_has_state(line) for line in needed):
            break
    left = Left()
    for line in needed:
        left = _after(left, line)
    if left.state is not None and left.head is None:
        raise Tampered(f"{root}: the journal holds a state and no session. See what was changed: ffe decisions verify")
    return left


def _lines_needed(path: Path) -> list[Line]:
    rows = [*texts(path)]
    newest = max((n for n, (_, text) in enumerate(rows) if STATE in text), default=0)
    needed = [row for n, row in enumerate(rows) if n >= newest - 1 or HEAD in row[1] or CHECKPOINT in row[1]]
    return [_line(where, text) for where, text in needed]


def _line(where: str, text: bytes) -> Line:
    try:
        return as_line(loads(text))
    except ValueError as error:
        raise Tampered(f"{where}: {error}. See what else was changed: ffe decisions verify") from None


def _has_state(line: Line) -> bool:
    return isinstance(line.body.get("state"), Mapping)


def _after(left: Left, line: Line) -> Left:
    head, time = line.body.get("head"), line.body.get("time")
    if line.kind == "event" and isinstance(time, int):
        left = replace(left, time=time)
    if isinstance(head, Mapping) and "strategy" in head:  # not a supervisor's own
        with _readable("its session"):
            left = replace(left, session=str(line.body["session"]), head=head)
    if _has_state(line):
        with _readable("its orders"):
            sent = tuple(build(Ticket, row) for row in cast(list[Object], line.body.get("sent", [])))
            return replace(left, state=_object(line.body["state"]), sent=sent)
    if line.kind == "step":
        with _readable("its orders"):
            return replace(left, sent=(*left.sent, *_sent(line.body)))
    return left


def _sent(body: Object) -> Iterator[Ticket]:
    for order in cast(list[Object], body["orders"]):
        if order["type"] in ("Exit", "Protect"):
            role = Role.EXIT if order["type"] == "Exit" else Role.PROTECT
            yield build(Ticket, {**order, "role": role})


@contextmanager
def _readable(part: str) -> Iterator[None]:
    try:
        yield
    except (LookupError, TypeError, ValueError) as error:
        raise Tampered(f"the journal's newest state cannot be read ({part}: {error!r})") from None


def _object(value: Json) -> Object:
    if not isinstance(value, Mapping):
        raise ValueError("not of this schema")
    return value
