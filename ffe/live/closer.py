"""The liquidator: closes what is ours at one venue without the engine, from the journal's newest state.

Law: an exit that may be on its way is asked about before another leaves; a stop makes way only for its own exit, one
position at a time, and is put back within a second or two if the exit is not proven; flat is what the venue shows, and
never what was sent. An exit or a stop that is lost on its way is repeated where that can close no more than is ours:
the venue's horizon is for entries. Where an exit is refused (a market that does not trade) its stop rests on.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from ffe.book import Book
from ffe.brokers.venue import VenueBroker, ticket_of
from ffe.live.holdings import Holdings
from ffe.live.orders_out import Attempts, OrderOut, OrdersOut, OutStatus
from ffe.live.recovery import Left, OpenTrade
from ffe.model import (
    SECOND,
    Answer,
    Approved,
    Cancel,
    Cancelled,
    Decision,
    Disposition,
    Event,
    Exit,
    Failed,
    Heartbeat,
    InstrumentId,
    Intent,
    Nanos,
    Order,
    OrderId,
    Protect,
    Purpose,
    Qty,
    Query,
    Quotes,
    Rejected,
    Role,
    Side,
    Step,
    Withheld,
)  # fmt: skip
from ffe.ports import Journal, Written
from ffe.risk.gatekeeper import Reducer
from ffe.session import Session
from ffe.wire.errors import Denied, Unclear

log = logging.getLogger(__name__)

PROVEN_WITHIN: Nanos = 3 * SECOND  # how long a confirmed exit may take before the stop is put back
FIRST_PAUSE, LONGEST_PAUSE = SECOND // 10, 2 * SECOND  # between two looks
REPEATED_EVERY: Nanos = 10 * SECOND  # how often the same remainder is reported
PROTECT_TRIES = 3
STOP = "emergency stop"


class Standing(StrEnum):
    """What was verified of one position."""

    FLAT = "flat"
    PROTECTED = "protected"
    NAKED = "not protected"
    UNKNOWN = "not known"


@dataclass(frozen=True, slots=True)
class Timer:
    """Time as an argument: now, and a wait."""

    now: Callable[[], Nanos]
    sleep: Callable[[Nanos], None]


class Exits:
    """Makes the orders of one closing: each with its approval, its id, and the record of its decision."""

    def __init__(self, reducer: Reducer, session: Session) -> None:
        self._reducer, self._session, self._made = reducer, session, 0

    def exit(
        self, instrument: InstrumentId, slot: int | None, held: Qty, book: Book, reason: str, now: Nanos
    ) -> tuple[Decision, Exit] | None:
        approved = self._approved(instrument, held, book, reason)
        if approved is None:
            return None
        self._made += 1
        id = self._session.decision(self._made)
        order = self._session.order(id, Role.EXIT, self._made)
        record = Decision(
            id, self._made, now, Disposition.SENT, reason, instrument, None, approved.intent, approved.judgement, None,
            slot, order,
        )  # fmt: skip
        return record, Exit(order, approved)

    def stop(self, trade: OpenTrade, held: Qty, book: Book, replaces: OrderId | None) -> Protect | None:
        """None where no stop price is known."""
        approved = self._approved(trade.instrument, held, book, "protection")
        if approved is None or not math.isfinite(trade.stop):
            return None
        self._made += 1
        id = self._session.order(self._session.decision(self._made), Role.PROTECT, self._made)
        return Protect(id, approved, trade.stop, trade.target, replaces)

    def _approved(self, id: InstrumentId, held: Qty, book: Book, rule: str) -> Approved | None:
        side = Side.SHORT if held > 0.0 else Side.LONG
        intent = Intent(Purpose.EXIT, id, side, abs(held), book.mark(id), None, None, rule)
        return self._reducer.reduce(intent, held, book.universe[id].asset_class)


class Liquidator:
    """One venue's. Everything that happens is reported by say."""

    def __init__(
        self, broker: VenueBroker, left: Left, exits: Exits, journal: Journal, timer: Timer, say: Callable[[str], None]
    ) -> None:  # fmt: skip
        universe, venue = broker.universe, broker.venue
        self.broker, self.timer, self._say, self._exits, self._journal = broker, timer, say, exits, journal
        self.trades = {t.instrument: t for t in left.trades() if universe[t.instrument].venue == venue}
        sides = {id: trade.side for id, trade in self.trades.items()}
        self.holdings = Holdings(left.book(universe, 1), universe.accounts[venue], sides)
        self.out, self.attempts = OrdersOut(left.ids()), Attempts()
        for trade in self.trades.values():
            for ticket, flight in zip(trade.tickets(), trade.flights, strict=True):
                self.out.add(ticket, flight.sent, OutStatus.UNKNOWN)
        for ticket in left.sent:
            if universe[ticket.instrument].venue == venue:
                self.out.add(ticket, timer.now(), OutStatus.UNKNOWN)

    # ------------------------------------------------------------ closing

    def close(self) -> None:
        """Close until the venue shows flat, however long that takes."""
        pause, reported, at = FIRST_PAUSE, "", self.timer.now()
        while not self.is_closed():
            now, shown = self.timer.now(), self.shown()
            if shown != reported or now >= at + REPEATED_EVERY:
                self._say(f"{self.broker.venue}: not flat yet: {shown}")
                reported, at = shown, now
            self.timer.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
        for id, qty in self.holdings.dust().items():
            self._say(f"{id}: {qty:g} is left, too little to be sold")

    def is_closed(self) -> bool:
        """One round: take entries back, close, look. Whether the venue now shows flat."""
        self._prepare()
        for trade in self.trades.values():
            self._reduce(trade, STOP)
        self._withdraw_idle_stops()
        return self._shows_flat()

    def _prepare(self) -> None:
        """Learn what has happened, take entries back, and ask about exits of before: they may have closed something."""
        if self.holdings.reading is None:  # reading the account looks as well
            self._work()
        for out in self.out:
            if out.ticket.role is Role.ENTRY:
                self._send(Cancel(self.broker.venue, out.ticket.id))
        for out in self.out:
            if out.ticket.role is not Role.PROTECT and out.status is not OutStatus.WORKING:
                self._ask(out)
        self._learn_prices()
        if self.holdings.reading is None:
            self._read()
        self.holdings.note_others(out.ticket.instrument for out in self.out if out.ticket.role is not Role.PROTECT)

    def _reduce(self, trade: OpenTrade, reason: str) -> None:
        """Close a position as far as that is proven now; what is left of it has its stop when this returns, unless the
        venue refuses it."""
        id, why = trade.instrument, "not proven closed, its stop is put back"
        if self._sellable(id) and self.attempts.count(id, Role.EXIT) and not self.out.resting(id):
            self._cover(trade, why)
            if self.out.resting(id):
                return  # an exit was refused, and its stop rests again: the next exit is for the next round
        if self._sellable(id) and self._may_exit(id) and self.attempts.may(id, Role.EXIT, self.timer.now()):
            self._exit(trade, reason)
        if self._sellable(id):
            self._cover(trade, why)

    def _may_exit(self, id: InstrumentId) -> bool:
        """Whether no exit is on its way, or one that is lost may be repeated: it can close no more than is ours, or the
        venue's horizon has passed."""
        now, horizon = self.timer.now(), self.holdings.account.horizon
        is_safe = not self.holdings.is_beside_others(id)
        return all(out.is_lost(now) and (is_safe or now >= out.sent + horizon) for out in self.out.of(id, Role.EXIT))

    def _exit(self, trade: OpenTrade, reason: str) -> None:
        id, held, now = trade.instrument, self._sellable(trade.instrument), self.timer.now()
        made = self._exits.exit(id, trade.slot, held, self.holdings.book, reason, now)
        if made is None:
            return
        record, order = made
        self._say(f"{id}: closing {held:g}")
        self._journal.step(Step(math.nan, (record,), (order,)))
        self._leave(order)
        self._prove(order.id)

    def _prove(self, order: OrderId) -> None:
        """Wait until an exit has ended. One that is confirmed may take seconds; one without an answer is asked about,
        and its position gets its stop again unless it is found."""
        pause, deadline = FIRST_PAUSE, self.timer.now() + PROVEN_WITHIN
        while (out := self.out.get(order)) is not None and self.timer.now() < deadline:
            if out.status in (OutStatus.UNKNOWN, OutStatus.NOT_FOUND):
                self._ask(out)
                if (asked := self.out.get(order)) is None or asked.is_lost(self.timer.now()):
                    return
            self.timer.sleep(pause)
            self._work()
            pause = min(2 * pause, SECOND)

    # ------------------------------------------------------------ protection

    def _cover(self, trade: OpenTrade, why: str) -> None:
        """See that a stop rests for all that is held; ask before another is placed. An exit that works holds what the
        stop would be for."""
        id, now = trade.instrument, self.timer.now()
        if any(out.status is OutStatus.WORKING for out in self.out.of(id, Role.EXIT)):
            return
        for out in self.out.of(id, Role.PROTECT):
            if out.status is not OutStatus.WORKING:
                self._ask(out)
        resting, least = self.out.resting(id), abs(self._sellable(id)) - self.broker.universe[id].lot / 2.0
        if resting is not None and resting.ticket.qty >= least:
            return
        is_lost = all(out.is_lost(now) for out in self.out.of(id, Role.PROTECT) if out is not resting)
        if is_lost and self.attempts.may(id, Role.PROTECT, now):
            self._protect(trade, resting, why)

    def _protect(self, trade: OpenTrade, resting: OrderOut | None, why: str) -> None:
        held, replaces = self._sellable(trade.instrument), resting.ticket.id if resting else None
        order = self._exits.stop(trade, held, self.holdings.book, replaces)
        if order is None:
            return
        self._say(f"{trade.instrument}: {why} at {trade.stop:g}")
        self._journal.step(Step(math.nan, (), (order,)))
        self._leave(order)
        if out := self.out.get(order.id):
            self._ask(out)

    def _withdraw_idle_stops(self) -> None:
        """Take back stops that protect nothing any more."""
        for out in self.out:
            id = out.ticket.instrument
            if out.ticket.role is Role.PROTECT and (not self.held(id) or self.holdings.is_gone(id, self.timer.now())):
                self._send(Cancel(self.broker.venue, out.ticket.id))

    def secure(self, may_close: bool) -> dict[InstrumentId, Standing]:
        """One round without closing what is protected: each position behind a stop that the venue has shown since this
        began, or, if that is allowed and its stop was refused three times, closed."""
        began = self.timer.now()
        self._prepare()
        for trade in self.trades.values():
            for out in self.out.of(trade.instrument, Role.PROTECT):
                self._ask(out)
            if self._sellable(trade.instrument):
                self._cover(trade, "no stop rests, one is placed")
            if may_close and self._is_unprotectable(trade):
                self._reduce(trade, "its stop could not be placed")
        self._withdraw_idle_stops()
        self._read()
        return {id: self._standing(id, began) for id in self.trades}

    def _is_unprotectable(self, trade: OpenTrade) -> bool:
        """Whether no stop can rest. Where one may, for all the venue says, another is refused for want of coins."""
        is_refused = self.attempts.count(trade.instrument, Role.PROTECT) >= PROTECT_TRIES
        is_certain = all(out.status is OutStatus.NOT_FOUND for out in self.out.of(trade.instrument, Role.PROTECT))
        return bool(self.held(trade.instrument)) and is_certain and (is_refused or not math.isfinite(trade.stop))

    def _standing(self, id: InstrumentId, began: Nanos) -> Standing:
        resting = self.out.resting(id)
        if not self.held(id):
            return Standing.FLAT if self.holdings.is_gone(id, self.timer.now()) else Standing.UNKNOWN
        if resting is not None and resting.confirmed is not None and resting.confirmed >= began:
            return Standing.PROTECTED
        is_known = all(out.status is OutStatus.NOT_FOUND for out in self.out.of(id, Role.PROTECT))
        return Standing.NAKED if is_known else Standing.UNKNOWN

    # ------------------------------------------------------------ flat

    def _shows_flat(self) -> bool:
        """Whether the venue itself shows that nothing of ours is left, nothing rests and nothing may still come."""
        self._read()
        if not all([self.holdings.is_gone(id, self.timer.now()) for id in self.trades]):  # noqa: C419 (each has a wait)
            return False
        if self.holdings.reading is None or any(self._may_harm(out) for out in self.out):
            return False
        try:
            return not any(self.out.is_ours(order.id) for order in self.broker.open_orders())
        except (Unclear, Denied):
            return False

    def _may_harm(self, out: OrderOut) -> bool:
        """Whether an order that is out keeps the venue from being flat: one that is not found can come late, within the
        venue's horizon, and open something or take coins that are not ours."""
        if out.status is not OutStatus.NOT_FOUND:
            return True
        is_in_time = self.timer.now() < out.sent + self.holdings.account.horizon
        can_take = out.ticket.role is Role.ENTRY or self.holdings.is_beside_others(out.ticket.instrument)
        return is_in_time and can_take

    def shown(self) -> str:
        """What keeps it from being flat, in words."""
        if self.holdings.reading is None:
            return "the venue does not say what it holds"
        left = ", ".join(f"{id} {qty:g}" for id, qty in self.holdings.remainder().items())
        return left or "an order may still fill"

    def held(self, id: InstrumentId) -> Qty:
        """What is ours by the fills and can be sold."""
        return self.holdings.held(id)

    def _sellable(self, id: InstrumentId) -> Qty:
        return self.holdings.sellable(id)

    # ------------------------------------------------------------ asking and sending

    def _work(self) -> None:
        self.broker.work(Heartbeat(self.timer.now()))
        self._learn()

    def _ask(self, out: OrderOut) -> None:
        self._send(Query(self.broker.venue, out.ticket.id))

    def _read(self) -> None:
        self.holdings.reading = None
        self._send(Query(self.broker.venue, None))

    def _learn_prices(self) -> None:
        doubtful = self.holdings.nearly_dust()
        try:
            quotes = self.broker.prices(doubtful) if doubtful else ()
        except (Unclear, Denied) as error:
            log.info("%s: no prices: %s", self.broker.venue, error)
        else:
            self.holdings.book.see(Quotes(self.timer.now(), quotes))

    def _leave(self, order: Exit | Protect) -> None:
        self.out.add(ticket_of(order), self.timer.now())
        self._send(order)

    def _send(self, order: Order) -> None:
        self.broker.send(order, self.timer.now())
        self._learn()

    def _learn(self) -> None:
        for answer in self.broker.answers():
            self._journal.event(answer)
            self.holdings.apply(answer)
            out = self.out.get(answer.order) if answer.order is not None else None
            self.out.apply(answer)
            if out is not None:
                self._count(out, answer)

    def _count(self, out: OrderOut, answer: Answer) -> None:
        """What an answer says of the next order of its kind."""
        id, role = out.ticket.instrument, out.ticket.role
        match answer:
            case Withheld(reason=reason, again=again):
                self._refused(out, reason, again)
            case Rejected(reason=reason):
                self._refused(out, reason, None)
            case Cancelled(reason=reason) if role is Role.EXIT:
                self._refused(out, reason, None)
            case Failed(query=False, again=int(again)):
                self.attempts.refuse(id, role, self.timer.now(), again)
            case _ if (after := self.out.get(out.ticket.id)) and after.status is OutStatus.WORKING:
                self.attempts.accept(id, role)

    def _refused(self, out: OrderOut, reason: str, again: Nanos | None) -> None:
        id, role = out.ticket.instrument, out.ticket.role
        self.attempts.refuse(id, role, self.timer.now(), again)
        if role is not Role.ENTRY:
            self._say(f"{id}: its {'exit' if role is Role.EXIT else 'stop'} was refused: {reason}")


class LogJournal:
    """The journal of a closing that cannot be written down: it goes to the log."""

    def event(self, event: Event) -> None:
        log.critical("not written down: %r", event)

    def step(self, step: Step) -> Written:
        log.critical("not written down: %r", step)
        return Written.NO
