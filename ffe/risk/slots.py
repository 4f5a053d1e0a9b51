"""At most two concurrent trades, each from its reservation until it is proven flat. A state machine of answers and
prices.

A slot is held by everything of ours that is not proven flat: reserved, in flight, UNKNOWN, open, closing. A trade
whose position is not covered by a resting stop gets one; one that cannot be protected is closed. The resting stop owns
the exit: the slots' own watch acts only when price is beyond the stop on a further reading and nothing filled.

What is tried again depends on time, never on the arrival of a price: a refused exit or protection after 1, 2, then 3
seconds, or when the venue said it may be. An unknown order is asked about at once, every second, then every 10 seconds.
An unknown exit or protection that the venue does not show is lost: its position gets a stop again after a second, for
neither adds exposure, and only an entry has to wait for the venue's horizon.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple

from ffe.book import Book, Booked
from ffe.kernels import fills
from ffe.model import (
    SECOND,
    Accepted,
    AccountKind,
    AccountRead,
    Answer,
    Bars,
    Cancel,
    Cancelled,
    Cause,
    DecisionId,
    Event,
    Failed,
    Filled,
    Instrument,
    InstrumentId,
    Intent,
    Known,
    Money,
    Nanos,
    OrderId,
    Outcome,
    Price,
    Qty,
    Query,
    Quotes,
    Rejected,
    Report,
    Role,
    Side,
    StopUnfilled,
    Ticket,
    Withheld,
)  # fmt: skip
from ffe.risk.limits import SlotRules, WatchRules
from ffe.rounding import is_dust, to_tick

UNPROTECTED = "stop could not be placed"
RETRY_SECONDS = (1, 2, 3)  # after the first refusal, the second, and every further one
ASK_SECONDS = (0, 1, 1, 1, 2, 4, 8, 10)  # likewise, between two questions about an unknown order
CANCEL_EVERY: Nanos = SECOND  # an order that is not wanted and rests on
LOST_AFTER: Nanos = SECOND  # from sending; a venue may not list at once what it has taken
FOLLOWS_AFTER: Nanos = SECOND  # a stop follows an entry that is still filling; a purchase can be 150 trades


class SlotState(StrEnum):
    PENDING = "pending"  # reserved or in flight
    UNKNOWN = "unknown"  # an order of it may or may not exist
    OPEN = "open"
    CLOSING = "closing"


class Flight(NamedTuple):
    """An order that left and may still do something; unknown while no usable answer has come."""

    order: OrderId
    role: Role
    qty: Qty  # positive
    sent: Nanos
    filled: Qty = 0.0
    unknown: bool = False
    not_found: bool = False  # beyond the horizon: only agreeing positions are missing
    unproven: bool = False  # asked about since it became unknown, and not found or not answered
    asked: Nanos = 0  # when it was last asked about, or taken back again
    asks: int = 0  # how often it was asked about, since it became unknown or was taken back again
    unwanted: bool = False  # it is to be cancelled
    leaving: bool = False  # its cancellation is on its way
    levels: tuple[Price | None, Price | None] | None = None  # an add's own stop and target, for when it fills
    successor: OrderId | None = None  # what is to rest in its place, once the venue has it
    rests: bool = False  # a protection that the venue has confirmed

    def doubted(self) -> Flight:
        """No usable answer has come: it is to be asked about at once."""
        return self._replace(unknown=True, unproven=False, asked=0, asks=0)

    def proven(self) -> Flight:
        """The venue shows it."""
        return self._replace(unknown=False, not_found=False, unproven=False, leaving=False)

    def is_question_due(self, now: Nanos) -> bool:
        return self.unknown and now >= self.asked + _nth(ASK_SECONDS, self.asks)

    def is_withdrawal_due(self, now: Nanos) -> bool:
        """Whether an order that is not wanted has to be taken back again: it rests on, by a newer word than that.

        One that had filled, and whose trades no list held, could not be taken back and was not over: cancellations and
        reports followed each other as fast as the venue answered.
        """
        is_idle = self.unwanted and not (self.leaving or self.unknown)
        return is_idle and (self.asks > 0 or now >= self.asked + CANCEL_EVERY)

    def is_lost(self, now: Nanos) -> bool:
        """Whether an exit or a protection has to be taken for one that never arrived."""
        return self.unknown and self.unproven and self.role is not Role.ENTRY and now >= self.sent + LOST_AFTER


class Retry(NamedTuple):
    """An exit or a protection that came to nothing: when the next may leave."""

    role: Role
    due: Nanos
    tries: int


class Tally(NamedTuple):
    """What a trade's fills add up to; values are quantity x price."""

    entry_qty: Qty = 0.0
    entry_value: float = 0.0
    exit_qty: Qty = 0.0
    exit_value: float = 0.0
    pnl: Money = 0.0
    fees: Money = 0.0
    optimistic: Money = 0.0  # what ambiguous bars would have added

    def add(self, booked: Booked, side: Side, rate: float) -> Tally:
        fill, size, gained = booked.fill, abs(booked.fill.qty), 0.0
        if fill.optimistic is not None:
            gained = size * int(side) * (fill.optimistic - fill.price) * rate
        tally = self._replace(
            pnl=self.pnl + booked.net, fees=self.fees + booked.fees, optimistic=self.optimistic + gained
        )
        if fill.qty * side > 0.0:
            return tally._replace(entry_qty=tally.entry_qty + size, entry_value=tally.entry_value + size * fill.price)
        return tally._replace(exit_qty=tally.exit_qty + size, exit_value=tally.exit_value + size * fill.price)


class Trade(NamedTuple):
    """What one slot holds. qty and average are the position's as filled; flights are its orders under way."""

    slot: int
    instrument: InstrumentId
    side: Side
    decision: DecisionId
    intent: Intent
    provider: str
    opened: Nanos
    qty: Qty = 0.0  # unsigned
    average: Price = 0.0
    stop: Price = math.nan
    target: Price = math.nan
    flights: tuple[Flight, ...] = ()
    covered: Qty = 0.0  # what the resting protection covers
    covered_average: Price = 0.0
    tries: int = 0  # failed placements of the protection in a row
    beyond: bool = False  # one reading was beyond the stop
    through: bool = False  # one reading was through the target
    retries: tuple[Retry, ...] = ()
    closing: str = ""  # why it is to be closed; empty: it is not
    cause: str = ""
    tally: Tally = Tally()

    def flight(self, role: Role) -> Flight | None:
        return next((flight for flight in self.flights if flight.role is role and flight.successor is None), None)

    def with_flight(self, flight: Flight) -> Trade:
        if all(other.order != flight.order for other in self.flights):
            return self._replace(flights=(*self.flights, flight))
        return self._replace(flights=tuple(flight if each.order == flight.order else each for each in self.flights))

    def without(self, order: OrderId) -> Trade:
        return self._replace(flights=tuple(flight for flight in self.flights if flight.order != order))

    def succeeded(self, order: OrderId) -> Trade:
        """What this order took the place of is gone; where that is unknown, it is not wanted should it turn up."""
        kept = tuple(f for f in self.flights if f.successor != order or f.unknown)
        return self._replace(flights=tuple(f._replace(unwanted=True) if f.successor == order else f for f in kept))

    def retry(self, role: Role) -> Retry | None:
        return next((each for each in self.retries if each.role is role), None)

    def may_try(self, role: Role, now: Nanos) -> bool:
        retry = self.retry(role)
        return retry is None or now >= retry.due

    def refused(self, role: Role, now: Nanos, again: Nanos | None) -> Trade:
        """The next order of this role leaves a while later, or when the venue said that it may."""
        tries = retry.tries if (retry := self.retry(role)) else 0
        due = max(now + _nth(RETRY_SECONDS, tries), again or 0)
        return self.taken(role)._replace(retries=(*self.taken(role).retries, Retry(role, due, tries + 1)))

    def taken(self, role: Role) -> Trade:
        """The venue takes orders of this role again."""
        return self._replace(retries=tuple(each for each in self.retries if each.role is not role))

    def reinstated(self, failed: Flight) -> Trade:
        """What this order was to take the place of rests on."""
        return self._replace(flights=tuple(
            flight._replace(successor=failed.successor) if flight.successor == failed.order else flight
            for flight in self.flights
        ))  # fmt: skip

    @property
    def is_calm(self) -> bool:
        """Open, with a resting protection that covers it, and nothing else under way: only the watch may stir it."""
        if self.closing or self.retries or len(self.flights) != 1 or not self.is_covered:
            return False
        return self.flights[0].role is Role.PROTECT and not self.flights[0].unknown

    @property
    def is_covered(self) -> bool:
        return self.covered == self.qty and self.covered_average == self.average

    @property
    def reserved(self) -> Qty:
        """What an entry in flight may still add, unsigned."""
        entry = self.flight(Role.ENTRY)
        return max(0.0, entry.qty - entry.filled) if entry else 0.0

    @property
    def state(self) -> SlotState:
        if any(flight.unknown for flight in self.flights):
            return SlotState.UNKNOWN
        if self.closing or self.flight(Role.EXIT):
            return SlotState.CLOSING
        return SlotState.OPEN if self.qty else SlotState.PENDING


@dataclass(frozen=True, slots=True)
class WantExit:
    instrument: InstrumentId
    reason: str


@dataclass(frozen=True, slots=True)
class WantProtect:
    instrument: InstrumentId
    stop: Price
    target: Price
    replaces: OrderId | None


@dataclass(frozen=True, slots=True)
class SlotsState:
    """The slots as a value; orders are every order of a trade that still holds its slot, with the slot."""

    trades: tuple[Trade | None, ...]
    orders: tuple[tuple[OrderId, int], ...]


Want = WantExit | WantProtect | Cancel | Query


class Slots:
    def __init__(self, book: Book, rules: SlotRules, watch: WatchRules) -> None:
        self.book, self.universe, self.rules, self.watch = book, book.universe, rules, watch
        self._trades: list[Trade | None] = [None] * rules.slots
        self._orders: dict[OrderId, int] = {}  # every order of a trade -> slot: one that has ended may still fill late
        self._cancels: list[Cancel] = []
        self._outcomes: list[Outcome] = []
        self._freed: list[tuple[int, str]] = []

    # ------------------------------------------------------------ what is held

    def trades(self) -> list[Trade]:
        return [trade for trade in self._trades if trade is not None]

    @property
    def count(self) -> int:
        """How many trades are not proven flat."""
        return len(self._trades) - self._trades.count(None)

    @property
    def is_empty(self) -> bool:
        return self.count == 0

    def trade(self, instrument: InstrumentId) -> Trade | None:
        for trade in self._trades:
            if trade is not None and trade.instrument == instrument:
                return trade
        return None

    def free(self) -> list[int]:
        return [slot for slot, trade in enumerate(self._trades) if trade is None]

    def knows(self, order: OrderId) -> bool:
        """Whether an order belongs to a trade that still holds its slot."""
        return order in self._orders

    def role(self, order: OrderId | None) -> Role | None:
        trade = self._owner(order)
        flight = _flight_of(trade, order) if trade else None
        return flight.role if flight else None

    def levels(self, trade: Trade) -> tuple[Price, Price]:
        """Stop and target, as a venue can rest them: the strategy's own, or their ratios from the average fill."""
        stop, target, side = trade.intent.stop, trade.intent.target, int(trade.side)
        if stop is None:
            stop = fills.distance_from(trade.average, side, -self.watch.stop_ratio)
        if target is None:
            target = fills.distance_from(trade.average, side, self.watch.target_ratio)
        tick = self.universe[trade.instrument].tick
        return to_tick(stop, tick), to_tick(target, tick)

    def take_cancels(self) -> list[Cancel]:
        taken, self._cancels = self._cancels, []
        return taken

    def take_outcomes(self) -> list[Outcome]:
        taken, self._outcomes = self._outcomes, []
        return taken

    def take_freed(self) -> list[tuple[int, str]]:
        """The slots freed since last asked, each with why."""
        taken, self._freed = self._freed, []
        return taken

    # ------------------------------------------------------------ from one process to the next

    def save(self) -> SlotsState:
        return SlotsState(tuple(self._trades), tuple(self._orders.items()))

    def restore(self, state: SlotsState) -> None:
        """Go on from a state. Whether an order under way is still what it was is not known until its venue says so."""
        self._orders = dict(state.orders)
        self._trades += [None] * (len(state.trades) - len(self._trades))  # more than are allowed now
        for trade in state.trades:
            if trade is not None:
                flights = tuple(f.proven().doubted()._replace(rests=False) for f in trade.flights)
                self._put(trade._replace(flights=flights, retries=(), beyond=False, through=False))

    def adopt(self, ticket: Ticket) -> None:
        """An order that somebody else sent for a trade of ours."""
        if trade := self.trade(ticket.instrument):
            self._put(trade.with_flight(Flight(ticket.id, ticket.role, ticket.qty, trade.opened, unknown=True)))
            self._orders[ticket.id] = trade.slot

    # ------------------------------------------------------------ what leaves

    def open(self, slot: int, intent: Intent, decision: DecisionId, order: OrderId, provider: str, now: Nanos) -> None:
        """Reserve a slot for an entry that leaves now."""
        trade = Trade(slot, intent.instrument, intent.side, decision, intent, provider, now)
        self.sent(trade, order, Role.ENTRY, intent.qty, now)

    def add(self, trade: Trade, intent: Intent, order: OrderId, now: Nanos) -> None:
        """An add shares the slot; its own stop and target hold from its first fill on."""
        levels = (intent.stop, intent.target)
        self._put(trade.with_flight(Flight(order, Role.ENTRY, intent.qty, now, levels=levels)))
        self._orders[order] = trade.slot

    def protecting(self, trade: Trade, order: OrderId, now: Nanos) -> None:
        """A protection leaves for the whole position, in place of the one that rested."""
        if old := trade.flight(Role.PROTECT):
            trade = trade.with_flight(old._replace(successor=order))
        self.sent(trade._replace(covered=trade.qty, covered_average=trade.average), order, Role.PROTECT, trade.qty, now)

    def sent(self, trade: Trade, order: OrderId, role: Role, qty: Qty, now: Nanos) -> None:
        self._put(trade.with_flight(Flight(order, role, qty, now)))
        self._orders[order] = trade.slot

    def close(self, reason: str, instrument: InstrumentId | None = None) -> None:
        """Want every trade (or one) closed: entries under way are cancelled, positions leave at market."""
        for trade in self.trades():
            if instrument in (None, trade.instrument) and not trade.closing:
                self._cancel_entry(self._put(trade._replace(closing=reason)))

    def cancel_entries(self, reason: str) -> None:
        """Take back every entry under way; what has filled stays, protected and watched."""
        for trade in self.trades():
            self._cancel_entry(trade)

    def _cancel_entry(self, trade: Trade) -> Trade:
        entry = trade.flight(Role.ENTRY)
        return self._withdraw(trade, entry) if entry and not entry.unwanted else trade

    def _withdraw(self, trade: Trade, flight: Flight) -> Trade:
        """Take an order back, again if it must be: a cancellation may be lost like anything that is sent."""
        self._cancels.append(Cancel(self.universe[trade.instrument].venue, flight.order))
        return self._put(trade.with_flight(flight._replace(unwanted=True, leaving=True)))

    def due(self, event: Event) -> Iterator[Want]:
        """What the trades need now: answers, cancellations, exits, protection. An event that leads to none of these
        changes nothing here unless it is a price."""
        now, is_market = event.time, isinstance(event, Bars | Quotes)
        for trade in self.trades():
            if is_market:
                trade = self._watched(trade, now, isinstance(event, Bars))
            if trade.is_calm:
                continue
            trade = yield from self._questions(trade, now)
            for flight in trade.flights:
                if flight.is_withdrawal_due(now):
                    trade = self._withdraw(trade, flight._replace(asked=now, asks=0))
            if want := self._need(trade, now):
                yield want
        yield from self.take_cancels()

    def _questions(self, trade: Trade, now: Nanos) -> Generator[Query, None, Trade]:
        venue = self.universe[trade.instrument].venue
        for flight in [flight for flight in trade.flights if flight.is_question_due(now)]:
            trade = self._put(trade.with_flight(flight._replace(asked=now, asks=flight.asks + 1)))
            yield Query(venue, flight.order)  # to the end: it may turn up later than the venue says it can
            if flight.not_found:
                yield Query(venue, None)
        return trade

    def _need(self, trade: Trade, now: Nanos) -> Want | None:
        if not trade.qty or self.is_dust(trade):
            return None
        exits = [flight for flight in trade.flights if flight.role is Role.EXIT]
        is_leaving = any(not flight.is_lost(now) for flight in exits)
        may_exit = not exits or (not is_leaving and self._may_repeat_exit(trade))
        if trade.closing and may_exit and trade.may_try(Role.EXIT, now):
            return WantExit(trade.instrument, trade.closing)
        if self._needs_protection(trade, is_leaving, now) and trade.may_try(Role.PROTECT, now):
            protect = trade.flight(Role.PROTECT)
            return WantProtect(trade.instrument, trade.stop, trade.target, protect.order if protect else None)
        return None

    def _needs_protection(self, trade: Trade, is_leaving: bool, now: Nanos) -> bool:
        """Whether no stop rests, or may yet rest, for the whole position."""
        protect = trade.flight(Role.PROTECT)
        rests = protect is not None and protect.rests
        if is_leaving and (not rests or trade.tries):
            return False  # a stop that rests follows what the exit has left; none is placed anew beside one
        if protect is not None and protect.unknown:
            return protect.is_lost(now)
        if trade.is_covered:
            return False
        is_filling = trade.flight(Role.ENTRY) is not None
        return protect is None or not is_filling or now >= protect.sent + FOLLOWS_AFTER

    def _may_repeat_exit(self, trade: Trade) -> bool:
        """Whether an exit may leave though an earlier one is lost.

        First the position gets a stop again. Then a second exit can sell no more than is ours: MARGIN closes what is
        open and no more, and on SPOT an exit without coins is refused. Beside coins that are not ours it could take
        those, so there the first has to be proven gone.
        """
        protect, id = trade.flight(Role.PROTECT), trade.instrument
        is_protected = trade.is_covered and protect is not None and protect.rests
        if not is_protected and trade.retry(Role.PROTECT) is None:
            return False
        instrument = self.universe[id]
        if self.universe.accounts[instrument.venue].kind is AccountKind.MARGIN:
            return True
        return abs(self.book.held(id) - self.book.ours(id).qty) <= instrument.lot

    def _watched(self, trade: Trade, now: Nanos, is_close: bool) -> Trade:
        """The own watch: a second reading beyond the stop with nothing filled closes the trade, and so does one through
        a target that cannot rest. A bar's close confirms itself: one odd quote once sold at a loss as a target."""
        mid, read_at = self.book.marks.get(trade.instrument, (math.nan, -1))  # mutate: equivalent, never a time
        if not trade.qty or read_at != now or trade.closing:
            return trade
        instrument, side = self.universe[trade.instrument], int(trade.side)
        beyond = fills.is_beyond_stop(mid, side, trade.stop, instrument.spread / 2.0)
        if beyond or trade.beyond:
            trade = self._put(trade._replace(beyond=beyond, closing="watch" if beyond and trade.beyond else ""))
        elif self._watches_target(instrument):
            through = fills.is_through_target(mid, side, trade.target, instrument.spread / 2.0)
            if through or trade.through:
                is_confirmed = through and (trade.through or is_close)
                trade = self._put(trade._replace(through=through, closing="target" if is_confirmed else ""))
        return trade

    def _watches_target(self, instrument: Instrument) -> bool:
        return not self.universe.accounts[instrument.venue].rests_targets

    def _put(self, trade: Trade) -> Trade:
        self._trades[trade.slot] = trade
        return trade

    def _owner(self, order: OrderId | None) -> Trade | None:
        return self._trades[self._orders[order]] if order is not None and order in self._orders else None

    # ------------------------------------------------------------ what was answered

    def apply(self, answer: Answer, booked: tuple[Booked, ...]) -> None:
        """Learn from an answer; booked are its fills, as far as they were new."""
        if isinstance(answer, AccountRead):
            return self._prove_gone(answer)
        trade = self._owner(answer.order) or self._meant(booked)
        if trade is None:
            return None
        for fill in booked:
            trade = self._filled(trade, answer.order, fill)
        return self._settle(self._answered(trade, answer), answer)

    def carry(self, instrument: InstrumentId, net: Money) -> None:
        """Financing is part of what a trade earned."""
        if trade := self.trade(instrument):
            self._put(trade._replace(tally=trade.tally._replace(pnl=trade.tally.pnl + net)))

    def _meant(self, booked: tuple[Booked, ...]) -> Trade | None:
        """The trade of a fill that no order of ours asked for, and that is of our position all the same: the venue's
        own liquidation, somebody's hand, more than was ordered."""
        return next((self.trade(each.fill.instrument) for each in booked if each.is_ours), None)

    def is_more_than_sent(self, order: OrderId | None, booked: tuple[Booked, ...]) -> bool:
        """Whether fills that are yet to be applied exceed what is left of their order."""
        trade = self._owner(order)
        flight = _flight_of(trade, order) if trade else None
        if trade is None or flight is None:
            return False
        filled = flight.filled + sum(abs(each.fill.qty) for each in booked)
        return filled > flight.qty + self.universe[trade.instrument].lot / 2.0

    def _filled(self, trade: Trade, order: OrderId | None, booked: Booked) -> Trade:
        fill = booked.fill
        tally = trade.tally.add(booked, trade.side, self.book.rate(self.universe[fill.instrument].quote))
        if flight := _flight_of(trade, order):
            trade = trade.with_flight(flight._replace(filled=flight.filled + abs(fill.qty), unknown=False, levels=None))
            if flight.levels is not None:  # an add: its levels hold now, from the new average
                stop, target = flight.levels
                trade = trade._replace(intent=replace(trade.intent, stop=stop, target=target), average=math.nan)
        if fill.cause is Cause.ENTRY:
            return trade._replace(tally=tally)
        return trade._replace(tally=tally, cause=trade.closing if fill.cause is Cause.EXIT else str(fill.cause))

    def _answered(self, trade: Trade, answer: Answer) -> Trade:
        """What the answer says of its order, fills apart."""
        flight = _flight_of(trade, answer.order)
        if flight is None:
            return trade
        match answer:
            case Accepted() | Report(state=Known.WORKING):
                rests = flight.role is Role.PROTECT
                trade = trade.with_flight(flight.proven()._replace(rests=rests))
                return trade.succeeded(flight.order).taken(Role.PROTECT)._replace(tries=0) if rests else trade
            case Failed(query=False):
                return trade.with_flight(flight.doubted())
            case Failed(query=True):
                return trade.with_flight(flight._replace(unproven=flight.unknown))
            case Report(state=Known.NOT_FOUND):
                gone = answer.time >= flight.sent + self.universe.accounts[answer.venue].horizon
                if gone and not flight.not_found:
                    flight = flight.doubted()  # now the account has to be asked as well
                return trade.with_flight(flight._replace(not_found=gone, unproven=True))
            case Rejected():
                return self._refused(trade, flight, answer.time, None)
            case Withheld(again=again):  # the venue was not asked, or limits everybody: that is no failure to protect
                tries, closing = trade.tries, trade.closing
                return self._refused(trade, flight, answer.time, again)._replace(tries=tries, closing=closing)
            case Cancelled():
                if flight.role is Role.EXIT:
                    return self._refused(trade, flight, answer.time, None)
                return self._failed(trade, flight)
            case StopUnfilled():  # none can rest anew beyond the price: what it protects leaves at market
                return trade._replace(closing=trade.closing or "stop did not fill")
            case Filled(done=True) | Report(state=Known.DONE):
                return self._ended(trade, flight)
        return trade

    def _failed(self, trade: Trade, flight: Flight) -> Trade:
        """An order came to nothing; a protection has so many tries."""
        if flight.successor is not None:
            return trade.without(flight.order)  # it made way: what is to rest in its place has tries of its own
        lost = next((each for each in trade.flights if each.successor == flight.order and each.unknown), None)
        trade = self._ended(trade, flight)
        if flight.role is not Role.PROTECT:
            return trade
        trade = trade.reinstated(flight)
        if lost is not None:  # it rests after all, and has the coins: that is no failure to protect
            return trade._replace(covered=lost.qty, covered_average=trade.average)
        is_spent = trade.tries + 1 >= self.watch.protect_tries
        closing = trade.closing or (UNPROTECTED if is_spent else "")
        return trade._replace(tries=trade.tries + 1, closing=closing)

    def _refused(self, trade: Trade, flight: Flight, now: Nanos, again: Nanos | None) -> Trade:
        """It would be refused again within the same instant: the next exit or protection leaves a while later."""
        trade = self._failed(trade, flight)
        return trade if flight.role is Role.ENTRY else trade.refused(flight.role, now, again)

    def _ended(self, trade: Trade, flight: Flight) -> Trade:
        trade = trade.without(flight.order)
        return trade._replace(covered=0.0) if flight.role is Role.PROTECT else trade

    def _prove_gone(self, read: AccountRead) -> None:
        """Orders not found beyond the horizon, with positions agreeing, never were."""
        theirs = dict(read.positions)
        for trade in self.trades():
            instrument = self.universe[trade.instrument]
            gone = [flight for flight in trade.flights if flight.not_found]
            if not gone or instrument.venue != read.venue:
                continue
            if abs(theirs.get(instrument.id, 0.0) - self.book.held(instrument.id)) <= instrument.lot:
                for flight in gone:
                    trade = self._failed(trade, flight)
                self._settle(trade, read)

    def _settle(self, trade: Trade, answer: Answer) -> None:
        """Take over the position as the book has it; a flat trade without orders under way frees its slot."""
        position = self.book.ours(trade.instrument)
        if trade.average != position.average:
            trade = trade._replace(average=position.average)
            stop, target = self.levels(trade)
            trade = trade._replace(stop=stop, target=target)
        trade = trade._replace(qty=abs(position.qty))
        if trade.qty and not self.is_dust(trade):
            self._put(trade)
            return
        if trade.tally.exit_qty:
            trade = self._cancel_entry(trade)  # what is left of it would be an entry without a signal
        if all(flight.role is Role.PROTECT for flight in trade.flights):
            # The slot is free when its stops are proven gone: one that still rests could open a position.
            for flight in [f for f in trade.flights if not (f.unknown or f.leaving or f.unwanted)]:
                trade = self._withdraw(trade, flight)
        if trade.flights:
            self._put(trade)
        else:
            self._free(trade, answer)

    def is_dust(self, trade: Trade) -> bool:
        """Whether the venue would not take it: it stays in the book as exposure and holds no slot."""
        return is_dust(self.universe[trade.instrument], trade.qty, self.book.mark(trade.instrument))

    def _free(self, trade: Trade, answer: Answer) -> None:
        self._trades[trade.slot] = None
        self._orders = {order: slot for order, slot in self._orders.items() if slot != trade.slot}
        tally, reason = trade.tally, answer.reason if isinstance(answer, Rejected | Cancelled | Withheld) else ""
        self._freed.append((trade.slot, trade.cause or reason or type(answer).__name__.lower()))
        if tally.entry_qty and tally.exit_qty:
            self._outcomes.append(Outcome(
                answer.time, trade.opened, trade.instrument, trade.provider, trade.side, tally.entry_qty,
                tally.entry_value / tally.entry_qty, tally.exit_value / tally.exit_qty, tally.pnl, tally.fees,
                trade.cause, trade.decision, trade.slot, tally.pnl + tally.optimistic if tally.optimistic else None,
            ))  # fmt: skip


def _nth(seconds: tuple[int, ...], n: int) -> Nanos:
    """The nth of them, or the last."""
    return seconds[min(n, len(seconds) - 1)] * SECOND


def _flight_of(trade: Trade, order: OrderId | None) -> Flight | None:
    return next((flight for flight in trade.flights if flight.order == order), None)
