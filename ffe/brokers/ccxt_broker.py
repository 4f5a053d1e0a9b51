"""One spot account at any exchange that ccxt speaks to.

Law: an entry is a limit at its collar that fills at once or not at all, so the venue itself holds the bound. A stop
locks what it protects, so it makes way for an exit or for its successor, one at a time, and the engine is told. Only a
stop rests: the engine watches the target. What has filled is read from the account's trades; an order's sums judge
trades that are listed twice, and stand in for those that no list holds any longer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, TypeVar

import ccxt

from ffe.brokers.venue import USUAL, OpenOrder, Past, Placed, SecondLook, VenueBroker, cause_of, ticket_of
from ffe.errors import ConfigError
from ffe.model import (
    AccountRead,
    Bars,
    Cancelled,
    CashFlow,
    Currency,
    Enter,
    Exit,
    Failed,
    Fault,
    Fill,
    Flow,
    Found,
    Heartbeat,
    Holding,
    Instrument,
    InstrumentId,
    Known,
    Nanos,
    OrderId,
    Protect,
    Qty,
    Quotes,
    Report,
    Role,
    Side,
    Ticket,
    Universe,
    Venue,
)  # fmt: skip
from ffe.rounding import whole_lots
from ffe.wire.ccxt_wire import MILLI, CcxtMarket, Short, Skewed, ask, told_wait
from ffe.wire.errors import Busy, Denied, NotThere, Unclear, Unsent

T = TypeVar("T")
Said = Mapping[str, object]  # one of ccxt's structures
ENDED = {"canceled", "expired", "rejected"}


class CcxtBroker(VenueBroker):
    """client is a ccxt exchange with its key; since is the time from which the account's trades are ours to tell."""

    def __init__(
        self, universe: Universe, venue: Venue, client: ccxt.Exchange, clock: Callable[[], Nanos], since: Nanos,
        past: Past | None = None, look: SecondLook = USUAL,
    ) -> None:  # fmt: skip
        super().__init__(universe, venue, clock, CcxtMarket(client), past, look)
        self.client = client
        self._by_base = {i.base: i for i in self._mine.values()}
        if len(self._by_base) < len(self._mine):
            raise ConfigError(f"{venue}: two instruments share a base currency, and a balance could not be told apart.")
        self._since = dict.fromkeys(self._mine, since)
        self._horizon = universe.accounts[venue].horizon
        self._watched: dict[InstrumentId, Nanos] = {}  # until when trades of orders that ended are waited for
        self._doubted: dict[OrderId, Nanos] = {}  # since when an order, or trades that it had, are not listed
        self._short: set[InstrumentId] = set()  # the account holds less of these than we were told of

    # ------------------------------------------------------------ asking

    def _do(self, call: Callable[..., T], *arguments: object, **named: object) -> T:
        said: T = super()._do(self._sent, call, *arguments, **named)
        return said

    def _sent(self, call: Callable[..., T], *arguments: object) -> T:
        """One request; one that was refused unread for the clock's sake is sent again, once, by the venue's clock."""
        try:
            try:
                return ask(call, *arguments)
            except Skewed:
                ask(self.client.load_time_difference)
                return ask(call, *arguments)
        except Skewed as error:
            raise Denied(f"the clocks differ: {error}") from error
        except Busy as error:
            raise told_wait(self.client, error) from error

    def _open(self, market: Bars | Quotes | Heartbeat) -> None:
        held, now = self._balances(), self.clock()
        kept = [(i, held[base]) for base, i in sorted(self._by_base.items()) if held.get(base)]
        shown = self._ask(self._market.quotes, [i for i, _ in kept])  # all or nothing: what fails is asked again
        found = [Holding(i.id, qty, quote.mid) for (i, qty), quote in zip(kept, shown, strict=True)]
        for currency in sorted({i.quote for i in self._mine.values()}):
            if held.get(currency):
                self._say(CashFlow(now, self._venue, None, Flow.DEPOSIT, held[currency], currency))
        for holding in found:
            self._say(Found(now, self._venue, None, holding))
        self._say(self._account(held))  # ends the opening: what a crash cut short is told again

    def _balances(self) -> dict[Currency, float]:
        """What the account holds in all. A page that is no account reads as an empty one, so that is no answer."""
        total = self._ask(self.client.fetch_balance)["total"]
        held = {Currency(c): float(amount) for c, amount in total.items() if amount}
        if not held or any(not math.isfinite(amount) or amount < 0.0 for amount in held.values()):
            raise Unclear(Fault.UNREADABLE, f"{self._venue}: no balances that can be believed: {total}")
        return held

    def _read(self) -> None:
        self._look()  # or what has just filled would look like a difference
        self._say(self._account(self._balances()))

    def _account(self, held: Mapping[Currency, float]) -> AccountRead:
        quotes = {i.quote for i in self._mine.values()}
        cash = tuple((c, held.get(c, 0.0)) for c in sorted(quotes))
        positions = tuple((i.id, held.get(i.base, 0.0)) for i in self._mine.values() if held.get(i.base))
        return AccountRead(self.clock(), self._venue, None, cash, positions)

    def _look(self) -> None:
        """Look at an instrument while an order of ours may fill there, and a horizon longer: trades may be listed
        late."""
        now = self.clock()
        for instrument in self._mine.values():
            if live := [p for p in self._placed.values() if p.instrument == instrument.id and p.number]:
                self._watched[instrument.id] = now + self._horizon
            if now < self._watched.get(instrument.id, 0):
                self._collect(instrument)
            elif self._watched.pop(instrument.id, None):
                self._forget(instrument, now)
            if live:
                self._bury(instrument, live)

    def _forget(self, instrument: Instrument, now: Nanos) -> None:
        """Nothing more can come of the orders that ended here."""
        self._by_number = {n: p for n, p in self._by_number.items() if p.instrument != instrument.id}
        self._since[instrument.id] = max(self._since[instrument.id], now - self._horizon)

    def _collect(self, instrument: Instrument, only: Placed | None = None) -> None:
        """Tell of the trades since the last that was told of, or take in those of one order without a word."""
        is_whole = only is None  # as long as nothing was left out, all before it need not be listed again
        for trade in self._trades(instrument):
            try:
                placed = self._owner(trade, instrument)
            except NotThere:  # not listed yet: nobody knows whose it is
                is_whole = False
                continue
            if only is None or placed is only:
                is_whole &= self._take_in(trade, instrument, placed, only is None)
            if is_whole:
                since = trade["timestamp"] * MILLI - self._horizon
                self._since[instrument.id] = max(self._since[instrument.id], since)

    def _take_in(self, trade: Any, instrument: Instrument, placed: Placed | None, is_told: bool) -> bool:
        """Take in a trade if it is new and true; whether it was."""
        fill = self._fill_of(trade, instrument, placed)
        if placed is not None and fill.trade not in self._seen and self._is_odd(placed, fill):
            total = _filled(self._order(placed))
            if placed.filled + abs(fill.qty) > total + instrument.lot / 2.0:
                return False  # listed again under another id, or listed before its order knows of it
            if placed.filled >= placed.qty:  # more than was ordered: it is there, and what was bought for us is ours
                self._fill(None, fill, ours=placed.order.role is Role.ENTRY or None)
                return True
        self._fill(placed, fill, is_told)
        return True

    def _is_odd(self, placed: Placed, fill: Fill) -> bool:
        """Whether a trade looks like one that is known, or is more than was ordered."""
        known = self._fills.get(placed.order.id, [])
        has_twin = any((other.qty, other.price) == (fill.qty, fill.price) for other in known)
        return has_twin or placed.filled + abs(fill.qty) > placed.qty + self._mine[placed.instrument].lot / 2.0

    def _owner(self, trade: Any, instrument: Instrument) -> Placed | None:
        """Whose trade it is; an order whose number we never heard is known by the id that we gave it."""
        number = trade["order"]
        lost = [p for p in self._placed.values() if p.number is None and p.instrument == instrument.id]
        if lost and number not in self._by_number and not self._is_known(_name(trade, instrument)):
            said = self._ask(self.client.fetch_order, number, instrument.symbol)["clientOrderId"]
            for placed in lost:
                if said and placed.order.id.startswith(said):  # a venue may keep only the beginning of an id
                    self._number(placed, number)
        return self._by_number.get(number)

    def _trades(self, instrument: Instrument) -> list[Any]:
        """All since the watermark: page after page, however long those are, until one says nothing new."""
        since, found = self._since[instrument.id] // MILLI, dict[str, Any]()
        while page := {t["id"]: t for t in self._page(instrument, since) if t["id"] not in found}:
            found |= page
            since = max(trade["timestamp"] for trade in page.values())
        return sorted(found.values(), key=lambda trade: (trade["timestamp"], len(trade["id"]), trade["id"]))

    def _page(self, instrument: Instrument, since: int) -> list[Any]:
        page: list[Any] = self._ask(self.client.fetch_my_trades, instrument.symbol, since)
        if not all(_is_whole(trade) for trade in page):
            raise Unclear(Fault.UNREADABLE, f"{instrument.id}: trades without what makes a trade: {page}")
        return page

    def _fill_of(self, trade: Any, instrument: Instrument, placed: Placed | None) -> Fill:
        qty = float(trade["amount"]) * (1.0 if trade["side"] == "buy" else -1.0)
        if placed is not None and qty * placed.order.side < 0.0:
            raise Unclear(Fault.UNREADABLE, f"{instrument.id}: a trade on the other side of its order: {trade}")
        return Fill(
            _name(trade, instrument), instrument.id, qty, float(trade["price"]), float(trade["fee"]["cost"]),
            Currency(trade["fee"]["currency"]), cause_of(placed),
        )  # fmt: skip

    def _bury(self, instrument: Instrument, live: list[Placed]) -> None:
        """An order that rests no longer and has not filled was ended by the venue, or by somebody at it."""
        resting = {order["id"] for order in self._ask(self.client.fetch_open_orders, instrument.symbol)}
        for placed in live:
            if placed.number in resting:
                self._doubted.pop(placed.order.id, None)
            elif placed.order.id in self._placed:
                self._judge(placed)

    def _judge(self, placed: Placed) -> None:
        """Say that an order has ended, or that the venue has known nothing of it for a whole horizon."""
        try:
            found = self._order(placed)
        except NotThere:
            if self._is_overdue(placed):
                del self._placed[placed.order.id], self._doubted[placed.order.id]
                self._say(Report(self.clock(), self._venue, placed.order.id, Known.NOT_FOUND))
            return
        if self._is_over(placed, found) and placed.order.id in self._placed:
            self._end(placed, found["status"])

    def _is_overdue(self, placed: Placed) -> bool:
        """Whether what the venue once confirmed has not been listed for a whole horizon; less proves nothing."""
        return self.clock() >= self._doubted.setdefault(placed.order.id, self.clock()) + self._horizon

    def _is_over(self, placed: Placed, found: Said, is_told: bool = True) -> bool:
        """Whether an order has ended and every trade of it is known: from the list, or, a horizon later, from its
        sums."""
        left = _filled(found) - placed.filled
        if found["status"] not in {"closed", *ENDED}:
            self._doubted.pop(placed.order.id, None)
            return False
        if left > self._mine[placed.instrument].lot / 2.0:
            if not self._is_overdue(placed):
                return False
            self._fill(placed, self._fill_from_sums(placed, found, left), is_told)
        self._doubted.pop(placed.order.id, None)
        return True

    def _fill_from_sums(self, placed: Placed, found: Any, qty: float) -> Fill:
        """What an order has traded beyond the trades that are known; its fee is what the venue usually takes."""
        instrument, side = self._mine[placed.instrument], int(placed.order.side)
        known = sum(abs(fill.qty) * fill.price for fill in self._fills.get(placed.order.id, ()))
        price = (float(found["cost"]) - known) / qty
        in_base = side > 0 and instrument.fee_in_base
        fee, currency = (qty, instrument.base) if in_base else (qty * price, instrument.quote)
        name = f"{instrument.symbol}-sums-{placed.number}"
        return Fill(name, instrument.id, side * qty, price, fee * instrument.fee, currency, cause_of(placed))

    def _end(self, placed: Placed, status: str) -> None:
        """An entry that found no price within its collar was cancelled by us, in advance; any other by the venue."""
        del self._placed[placed.order.id]
        reason = "COLLAR" if placed.order.role is Role.ENTRY else status
        killed = placed.order.role is Role.EXIT
        self._say(Cancelled(self.clock(), self._venue, placed.order.id, reason, killed))

    def _order(self, placed: Placed) -> Any:
        """The venue's order: by its number, and where we never heard that by our own id."""
        symbol, number = self._mine[placed.instrument].symbol, placed.number
        said = {} if number else {"clientOrderId": placed.order.id}
        found = self._ask(self.client.fetch_order, number, symbol, said)
        if not found["id"] or not found["status"] or found["filled"] is None:
            raise Unclear(Fault.UNREADABLE, f"{self._venue}: an order without id or status: {found['info']}")
        return found

    def _find(self, placed: Placed) -> Known:
        try:
            found = self._order(placed)
        except NotThere:
            return self._find_by_trades(placed)
        self._number(placed, found["id"])
        if found["timestamp"]:
            begun = found["timestamp"] * MILLI - self._horizon
            self._since[placed.instrument] = min(self._since[placed.instrument], begun)
        self._collect(self._mine[placed.instrument], placed)
        return Known.DONE if self._is_over(placed, found, is_told=False) else Known.WORKING

    def _find_by_trades(self, placed: Placed) -> Known:
        """An order that is not found by its id may still show by what it traded; one that was known stays known for a
        horizon."""
        if placed.number is None:
            self._collect(self._mine[placed.instrument], placed)
            return self._find(placed) if placed.number else Known.NOT_FOUND
        if self._is_overdue(placed):
            return Known.NOT_FOUND
        raise Unclear(Fault.UNREADABLE, f"{self._venue} knows nothing of an order that it had confirmed")

    # ------------------------------------------------------------ without an engine

    def open_orders(self) -> tuple[OpenOrder, ...]:
        """On a spot account a sale can only reduce what is held."""
        return tuple(
            _open_order(row, instrument)
            for instrument in self._mine.values()
            for row in self._ask(self.client.fetch_open_orders, instrument.symbol)
        )

    def claim(self) -> None:
        """An order that is claimed makes way for an exit as a stop of ours does."""
        for order in self.open_orders():
            if order.number not in self._by_number:
                id = OrderId(order.number)
                placed = Placed(Ticket(id, Role.PROTECT, order.instrument, order.side, order.qty), order.qty)
                self._placed[id] = placed
                self._number(placed, order.number)

    # ------------------------------------------------------------ telling

    def _place(self, order: Enter | Exit | Protect, kind: str, price: float | None, **more: object) -> None:
        intent = order.approved.intent
        instrument, side = self._mine[intent.instrument], "buy" if intent.side > 0 else "sell"
        wanted = self._sellable(instrument, intent.qty) if isinstance(order, Exit) else intent.qty
        qty = ask(self.client.amount_to_precision, instrument.symbol, whole_lots(wanted, instrument.lot))
        placed = self._placed[order.id] = Placed(ticket_of(order), float(qty))  # now: its answer may be lost
        said, call = {"clientOrderId": order.id, **more}, self._ask if isinstance(order, Enter) else self._do
        try:
            made = call(self.client.create_order, instrument.symbol, kind, side, placed.qty, price, said)
        except Denied as error:
            self._learn_rules(error)
            raise
        if made["id"]:
            self._number(placed, made["id"])
        if not made["id"] or not made["status"]:
            raise Unclear(Fault.UNREADABLE, f"{self._venue}: an order without id or status: {made['info']}")
        self._accept(placed, made["id"])

    def _learn_rules(self, error: Denied) -> None:
        """A refusal may mean that tick, lot or minimum have changed: ccxt cuts the next order to what holds now."""
        if not (error.is_locked_out or isinstance(error, Busy)):
            with suppress(Unclear, Denied):
                self._ask(self.client.load_markets, True)

    def _enter(self, order: Enter) -> None:
        self._place(order, "limit", order.collar, timeInForce="IOC")
        self._look_again()

    def _exit(self, order: Exit) -> None:
        for placed in self._resting(order.approved.intent.instrument):
            self._make_way(placed, "makes way for an exit")
        try:
            self._place(order, "market", None)
        except Short:
            self._short.add(order.approved.intent.instrument)
            with suppress(Unclear, Denied):
                self._read()  # the engine should hear what is there
            raise
        self._look_again()

    def _sellable(self, instrument: Instrument, qty: Qty) -> Qty:
        """What of qty the account has; asked for only where an exit was refused for want of it."""
        if instrument.id not in self._short:
            return qty
        self._short.discard(instrument.id)
        with suppress(Unclear, Denied):
            free: Mapping[str, float | None] = self._do(self.client.fetch_balance)["free"]
            return min(qty, free.get(instrument.base) or 0.0)
        return qty

    def _protect(self, order: Protect) -> None:
        """A stop locks what it protects, so the old one has to go before the new one comes."""
        old = self._placed.get(order.replaces) if order.replaces else None
        if old is not None:
            self._withdraw(old)
        try:
            self._place(order, "market", None, stopLossPrice=order.stop)
        except (Unclear, Denied) as error:
            if old is None:
                raise
            self._say(Cancelled(self.clock(), self._venue, old.order.id, "makes way for a successor"))
            self._fail(order, error)

    def _fail(self, order: Protect, error: Unclear | Denied) -> None:
        if isinstance(error, Denied):
            self._deny(order, order.id, error)
        else:
            self._say(Failed(self.clock(), self._venue, order.id, error.fault))

    def _make_way(self, placed: Placed, why: str) -> None:
        if self._withdraw(placed):
            self._say(Cancelled(self.clock(), self._venue, placed.order.id, why))

    def _withdraw(self, placed: Placed) -> bool:
        """Take a resting order away without a word; if that is not certain, what was to come in its place must wait.
        False if there was none to take: it had ended without a fill, or never came."""
        known = placed.filled
        try:
            self._recall(placed)
        except NotThere:
            self._look()
            if placed.filled > known or (placed.number and placed.order.id in self._placed):
                raise Unsent("the stop in its way has ended by itself") from None
            return False  # should it come late, it finds nothing left to lock
        except Unclear as error:
            self._say(Failed(self.clock(), self._venue, placed.order.id, error.fault))
            raise Unsent("the stop in its way could not be proven gone") from error
        del self._placed[placed.order.id]
        return True

    def _recall(self, placed: Placed) -> None:
        symbol = self._mine[placed.instrument].symbol
        said = {} if placed.number else {"clientOrderId": placed.order.id}
        self._do(self.client.cancel_order, placed.number, symbol, said)

    def _cancel(self, placed: Placed) -> None:
        self._recall(placed)
        self._collect(self._mine[placed.instrument])  # what it had filled comes first
        if self._placed.pop(placed.order.id, None):
            self._say(Cancelled(self.clock(), self._venue, placed.order.id, "as asked"))


def _open_order(row: Any, instrument: Instrument) -> OpenOrder:
    side = Side.LONG if row["side"] == "buy" else Side.SHORT
    left, stop = row["remaining"] if row["remaining"] is not None else row["amount"], row["triggerPrice"]
    if not row["id"] or left is None:
        raise Unclear(Fault.UNREADABLE, f"{instrument.id}: an open order without id or quantity: {row['info']}")
    id, trigger = str(row["clientOrderId"] or ""), None if stop is None else float(stop)
    return OpenOrder(instrument.id, row["id"], id, side, float(left), trigger, side is Side.SHORT)


def _name(trade: Said, instrument: Instrument) -> str:
    return f"{instrument.symbol}-{trade['id']}"


def _is_whole(trade: Any) -> bool:
    """Whether a trade says all that we book; a fee that is not known is not zero."""
    fee = trade["fee"] or {}
    said = all(trade[name] for name in ("id", "order", "timestamp", "side", "amount", "price"))
    return said and fee.get("cost") is not None and bool(fee.get("currency"))


def _filled(order: Any) -> Qty:
    return float(order["filled"])
