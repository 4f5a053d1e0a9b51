"""Closes what is ours at one venue without the engine: from the journal's newest state, with a client of its own.

Law: what may already be leaving is asked about before anything leaves again; a stop makes way only for its own exit,
one position at a time, and is put back at once if that is not proven; flat is what the venue shows, and never what was
sent.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable

from ffe.book import Book
from ffe.brokers.venue import VenueBroker
from ffe.live.connect import Connector
from ffe.live.recovery import Left, OpenTrade
from ffe.model import (
    Accepted,
    AccountRead,
    Answer,
    Approved,
    Cancel,
    Cancelled,
    Decision,
    Disposition,
    Event,
    Exit,
    Filled,
    InstrumentId,
    Intent,
    Known,
    Nanos,
    Order,
    OrderId,
    Protect,
    Purpose,
    Qty,
    Query,
    Quotes,
    Rejected,
    Report,
    Role,
    Side,
    Step,
    Withheld,
)  # fmt: skip
from ffe.ports import Journal, Written
from ffe.risk.gatekeeper import Reducer
from ffe.rounding import is_dust
from ffe.session import Session

log = logging.getLogger(__name__)

PROVEN_SECONDS = 3.0  # how long an exit may take before the stop is put back
PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 15.0
REASON = "emergency stop"


class Closer:
    """One venue's. say is told in words what happens."""

    def __init__(
        self, connector: Connector, left: Left, reducer: Reducer, journal: Journal, session: Session,
        clock: Callable[[], Nanos], say: Callable[[str], None],
    ) -> None:  # fmt: skip
        self.venue, self.clock, self._say = connector.venue, clock, say
        self.universe = left.universe()
        self.account = self.universe.accounts[self.venue]
        self.book: Book = left.book(self.universe, 1)
        self.trades = {t.instrument: t for t in left.trades() if self.universe[t.instrument].venue == self.venue}
        self.broker: VenueBroker = connector.broker(
            self.universe, clock, left.since(clock()), left.past(self.venue, self.book)
        )  # fmt: skip
        self._reducer, self._journal, self._session = reducer, journal, session
        self._open: dict[OrderId, tuple[InstrumentId, Role, Nanos]] = {
            f.order: (t.instrument, f.role, f.sent) for t in self.trades.values() for f in t.flights
        } | {
            s.id: (s.instrument, s.role, clock()) for s in left.sent if self.universe[s.instrument].venue == self.venue
        }
        self._resting: dict[InstrumentId, OrderId] = {}
        self._read: AccountRead | None = None
        self._made = 0

    def close(self) -> None:
        """Until the venue shows flat, however long that takes."""
        pause = 1.0
        while not self.is_closed():
            self._say(f"{self.venue}: not flat yet: {self.shown()}")
            time.sleep(pause)
            pause = min(2.0 * pause, LONGEST_PAUSE_SECONDS)

    def is_closed(self) -> bool:
        """One round: ask, close, look. Whether the venue now shows flat."""
        self._ask_about_orders()
        self._take_back()
        for id, trade in self.trades.items():
            if self.held(id) and not self._is_under_way(id, Role.EXIT):
                self._close(id)
            if self.held(id) and not self._resting.get(id) and not self._is_under_way(id, Role.PROTECT):
                self._protect(trade)
        return self._shows_flat()

    def is_flat(self) -> bool:
        """Whether the venue itself says that nothing of ours is left, nothing rests and nothing may still come."""
        self._ask_about_orders()
        return self._shows_flat()

    def _shows_flat(self) -> bool:
        self._read = None
        self._send(Query(self.venue, None))
        coming = any(role is Role.ENTRY for _, role, _ in self._open.values())
        return self._read is not None and not coming and not self._resting and not self.remainder()

    def shown(self) -> str:
        """What keeps it from being flat, in words."""
        if self._read is None:
            return "the venue does not say what it holds"
        left = ", ".join(f"{id} {qty:g}" for id, qty in self.remainder().items())
        return left or "an order may still fill"

    def remainder(self) -> dict[InstrumentId, Qty]:
        """What the venue holds beyond what was never ours, dust apart; what we believe, where it has not said."""
        if self._read is None:
            return {id: self.held(id) for id in self.trades if self.held(id)}
        theirs = dict(self._read.positions)
        foreign = self.book.ledgers[self.venue].foreign
        left = {i.id: theirs.get(i.id, 0.0) - _qty(foreign.get(i.id)) for i in self.universe if i.venue == self.venue}
        return {id: qty for id, qty in left.items() if not self._is_dust(id, qty)}

    def held(self, id: InstrumentId) -> Qty:
        """What is ours and can be sold."""
        qty = self.book.ours(id).qty
        return 0.0 if self._is_dust(id, qty) else qty

    def _is_dust(self, id: InstrumentId, qty: Qty) -> bool:
        return is_dust(self.universe[id], qty, self.book.mark(id))

    # ------------------------------------------------------------ orders

    def _ask_about_orders(self) -> None:
        for id in list(self._open):
            self._send(Query(self.venue, id))

    def _take_back(self) -> None:
        """Entries, and stops that protect nothing any more; the rest is known or waited for."""
        for id, (instrument, role, _) in list(self._open.items()):
            if role is Role.ENTRY or (role is Role.PROTECT and not self.held(instrument)):
                self._send(Cancel(self.venue, id))

    def _is_under_way(self, instrument: InstrumentId, role: Role) -> bool:
        return any((of, as_) == (instrument, role) for of, as_, _ in self._open.values())

    def _close(self, id: InstrumentId) -> None:
        held = self.held(id)
        self._say(f"{id}: closing {held:g}")
        approved = self._key(id, held, REASON)
        if approved is None:
            return
        decision = self._session.decision(self._next())
        order = self._session.order(decision, Role.EXIT, self._made)
        record = Decision(
            decision, self._made, self.clock(), Disposition.SENT, REASON, id, None, approved.intent,
            approved.judgement, None, self.trades[id].slot, order,
        )  # fmt: skip
        self._journal.step(Step(math.nan, (record,), (Exit(order, approved),)))
        self._open[order] = id, Role.EXIT, self.clock()
        self._send(Exit(order, approved))
        self._wait_for(order)

    def _wait_for(self, order: OrderId) -> None:
        deadline = time.monotonic() + PROVEN_SECONDS
        while order in self._open and time.monotonic() < deadline:
            time.sleep(PAUSE_SECONDS)
            self.broker.work(Quotes(self.clock(), ()))
            self._hear()

    def _protect(self, trade: OpenTrade) -> None:
        """Put the stop back: the exit was not proven."""
        approved = self._key(trade.instrument, self.held(trade.instrument), "protection")
        if approved is None or not math.isfinite(trade.stop):
            return
        self._say(f"{trade.instrument}: not proven closed, its stop is put back at {trade.stop:g}")
        id = self._session.order(self._session.decision(self._next()), Role.PROTECT, self._made)
        order = Protect(id, approved, trade.stop, trade.target)
        self._journal.step(Step(math.nan, (), (order,)))
        self._open[id] = trade.instrument, Role.PROTECT, self.clock()
        self._send(order)

    def _key(self, id: InstrumentId, held: Qty, rule: str) -> Approved | None:
        side = Side.SHORT if held > 0.0 else Side.LONG
        intent = Intent(Purpose.EXIT, id, side, abs(held), self.book.mark(id), None, None, rule)
        return self._reducer.reduce(intent, held, self.universe[id].asset_class)

    def _next(self) -> int:
        self._made += 1
        return self._made

    def _send(self, order: Order) -> None:
        self.broker.send(order, self.clock())
        self._hear()

    # ------------------------------------------------------------ answers

    def _hear(self) -> None:
        for answer in self.broker.answers():
            self._journal.event(answer)
            self.book.apply(answer)
            self._learn(answer)

    def _learn(self, answer: Answer) -> None:
        match answer:
            case AccountRead():
                self._read = answer
            case Rejected() | Cancelled() | Withheld() | Filled(done=True):
                self._ended(answer.order)
            case Report(order=order, state=Known.DONE):
                self._ended(order)
            case Report(order=order, state=Known.NOT_FOUND):
                _, _, sent = self._open.get(order or OrderId(""), ("", Role.EXIT, self.clock()))
                if self.clock() >= sent + self.account.horizon:
                    self._ended(order)
            case Accepted(order=str() as order) | Report(order=str() as order) if order in self._open:
                self._rests(order, *self._open[order])
        for order, (id, role, _) in list(self._open.items()):
            if role is Role.EXIT and not self.held(id):
                self._ended(order)

    def _rests(self, order: OrderId, instrument: InstrumentId, role: Role, _: Nanos) -> None:
        if role is Role.PROTECT:
            self._resting[instrument] = order

    def _ended(self, order: OrderId | None) -> None:
        if order is not None:
            self._open.pop(order, None)
            self._resting = {id: resting for id, resting in self._resting.items() if resting != order}


class Shouted:
    """The journal of a closing that cannot be written down."""

    def event(self, event: Event) -> None:
        log.critical("not written down: %r", event)

    def step(self, step: Step) -> Written:
        log.critical("not written down: %r", step)
        return Written.NO


def _qty(position: object) -> Qty:
    return getattr(position, "qty", 0.0)
