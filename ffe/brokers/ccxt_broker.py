"""One spot account at any exchange that ccxt speaks to.

Law: an entry is a limit at its collar that fills at once or not at all, so the venue itself holds the bound. A stop
locks what it protects, so it makes way for an exit or for its successor, one at a time, and the engine is told; where
the market does not trade it stays. Only a stop rests: the engine watches the target. What has filled is read from the
account's trades, which are asked for when an order no longer rests as it did, and now and then besides: they are the
dearest question of all. An order's sums judge trades that are listed twice, and stand in for those that no list holds
any longer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import ccxt

from ffe.brokers.venue import (
    ORDER_SECONDS,
    QUESTION_SECONDS,
    USUAL,
    OpenOrder,
    Past,
    Placed,
    RequestKind,
    SecondLook,
    VenueBroker,
    cause_of,
    ticket_of,
)  # fmt: skip
from ffe.errors import ConfigError
from ffe.model import (
    NEVER,
    SECOND,
    AccountRead,
    Bars,
    Cancelled,
    CashFlow,
    Cause,
    Currency,
    Enter,
    Exit,
    Failed,
    Fault,
    Fill,
    Filled,
    Flow,
    Found,
    Heartbeat,
    Holding,
    Instrument,
    InstrumentId,
    Known,
    Nanos,
    OrderId,
    Price,
    Protect,
    Qty,
    Quotes,
    Report,
    Role,
    Side,
    StopUnfilled,
    Symbol,
    Ticket,
    Universe,
    Venue,
)  # fmt: skip
from ffe.rounding import whole_lots
from ffe.wire.ccxt_wire import CcxtMarket, Short, ask, ask_in_time
from ffe.wire.errors import Busy, Denied, NotThere, Unclear, Unproven, Unsent
from ffe.wire.exchanges import MILLI, Budget, Reply, Terms, exchange_of

T = TypeVar("T")
SCAN_EVERY: Nanos = 10 * SECOND  # for trades that nothing hinted at
RULES_EVERY: Nanos = 60 * SECOND  # between two looks at a venue's rules after refusals
PRICED_FOR: Nanos = 60 * SECOND  # how long the price of a coin that fees are paid in stands
HURRIED_SECONDS = 1.0  # that a question may take while an exit or a stop waits for it
UNFILLED_AFTER: Nanos = SECOND // 2  # from the look that first sees a stop triggered; the next one follows soon
ENDED = {"canceled", "expired", "rejected"}


class CcxtBroker(VenueBroker):
    """client is a ccxt exchange with its key; since is the time from which the account's trades are ours to tell."""

    def __init__(
        self, universe: Universe, venue: Venue, client: ccxt.Exchange, clock: Callable[[], Nanos], since: Nanos,
        past: Past | None = None, look: SecondLook = USUAL,
    ) -> None:  # fmt: skip
        super().__init__(universe, venue, clock, CcxtMarket(client, spent=1.0), past, look)
        self.client, self.exchange, self._budget = client, exchange_of(client), Budget(client)
        self._longest = int(client.timeout)  # milliseconds, as configured
        self._patience = QUESTION_SECONDS  # that a question may take now
        self._by_base = {i.base: i for i in self._mine.values()}
        if len(self._by_base) < len(self._mine):
            raise ConfigError(f"{venue}: two instruments share a base currency, and a balance could not be told apart.")
        self._since = dict.fromkeys(self._mine, since)
        self._horizon = universe.accounts[venue].horizon
        self._watched: dict[InstrumentId, Nanos] = {}  # until when trades of orders that ended are waited for
        self._scanned: dict[InstrumentId, Nanos] = {}  # when its trades were last asked for
        self._sums: dict[OrderId, Qty] = {}  # what orders have traded at least: it only grows
        self._rules_at: Nanos = -RULES_EVERY
        self._fee_prices: dict[str, tuple[Nanos, Price]] = {}
        self._doubted: dict[OrderId, Nanos] = {}  # since when an order, or trades that it had, are not listed
        self._unfilled_at: dict[OrderId, Nanos] = {}  # when a stop that was triggered is said not to fill
        self._short: set[InstrumentId] = set()  # the account holds less of these than we were told of

    # ------------------------------------------------------------ asking

    def _request(self, kind: RequestKind, call: Callable[..., T], *arguments: object, **named: object) -> T:
        seconds = ORDER_SECONDS if kind is RequestKind.ORDER else self._patience
        reply: T = super()._request(kind, self._send_within, int(seconds * 1000), call, *arguments, **named)
        self._budget.note()
        return reply

    @contextmanager
    def _hurried(self) -> Iterator[None]:
        """Questions that an exit or a stop waits for: a position may have no stop meanwhile."""
        self._patience = HURRIED_SECONDS
        try:
            yield
        finally:
            self._patience = QUESTION_SECONDS

    def _send_within(self, milliseconds: int, call: Callable[..., T], *arguments: object) -> T:
        """One request; one that was refused unread for the clock's sake is sent again, once, by the venue's clock."""
        if not self.client.markets:  # ccxt would ask for them within the first request, and they take longer
            ask_in_time(self.client, self.client.load_markets)
        self.client.timeout = min(self._longest, milliseconds)
        try:
            return ask_in_time(self.client, call, *arguments)
        finally:
            self.client.timeout = self._longest

    def _open(self, market: Bars | Quotes | Heartbeat) -> None:
        held, now = self._balances(), self.clock()
        self._know_the_past(now)
        kept = [(i, held[base]) for base, i in sorted(self._by_base.items()) if held.get(base)]
        shown = self._ask(self._market.quotes, [i for i, _ in kept])  # all or nothing: what fails is asked again
        found = [Holding(i.id, qty, quote.mid) for (i, qty), quote in zip(kept, shown, strict=True)]
        for currency in sorted({i.quote for i in self._mine.values()}):
            if held.get(currency):
                self._say(CashFlow(now, self._venue, None, Flow.DEPOSIT, held[currency], currency))
        for holding in found:
            self._say(Found(now, self._venue, None, holding))
        self._say(self._account(held))  # ends the opening: what a crash cut short is told again

    def _know_the_past(self, now: Nanos) -> None:
        """Trades of before are in the balances of the opening: told as new they would be booked twice. Whoever had
        traded by hand within two days came to a halt at the first purchase, with a wrong book."""
        for instrument in self._mine.values():
            self._since[instrument.id] = now - self._horizon
            self._seen.update(_name(trade, instrument) for trade in self._trades(instrument))

    def _balances(self) -> dict[Currency, float]:
        """What the account holds in all. A page that is no account reads as an empty one, so that is no answer."""
        total = self._ask(self.exchange.balances, self.client)["total"]
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

    def _watch(self) -> None:
        self._budget.check()
        self._look()

    def _look(self) -> None:
        """Look at an instrument while an order of ours may fill there, and a horizon longer: trades may be listed
        late."""
        now = self.clock()
        for instrument in self._mine.values():
            resting: dict[str, Reply] = {}
            if live := [p for p in self._placed.values() if p.instrument == instrument.id and p.number]:
                self._watched[instrument.id] = now + self._horizon
                resting = {o["id"]: o for o in self._ask(self.exchange.open_orders, self.client, instrument.symbol)}
            if now < self._watched.get(instrument.id, 0):
                if self._is_scan_due(instrument, now) or any(_has_moved(p, resting) for p in live):
                    self._collect(instrument)
            elif self._watched.pop(instrument.id, None):
                self._forget(instrument, now)
            self._bury(live, resting)
            self._see_triggered(live, resting)

    @property
    def is_in_doubt(self) -> bool:
        """Whether a stop was seen triggered once: it fills at once or not at all."""
        return any(at != NEVER and id in self._placed for id, at in self._unfilled_at.items())

    def _see_triggered(self, live: list[Placed], resting: Mapping[str, Reply]) -> None:
        """Say once of a stop that it was triggered and does not fill; the engine needs no price to close then."""
        now = self.clock()
        for placed in live:
            id, found = placed.order.id, resting.get(placed.number or "")
            if found is None or not self.exchange.has_triggered(found):
                self._unfilled_at.pop(id, None)
            elif now >= self._unfilled_at.setdefault(id, now + UNFILLED_AFTER):
                self._unfilled_at[id] = NEVER
                self._say(StopUnfilled(now, self._venue, id))

    def _is_scan_due(self, instrument: Instrument, now: Nanos) -> bool:
        return now >= self._scanned.get(instrument.id, now - SCAN_EVERY) + SCAN_EVERY

    def _forget(self, instrument: Instrument, now: Nanos) -> None:
        """Nothing more can come of the orders that ended here."""
        self._by_number = {n: p for n, p in self._by_number.items() if p.instrument != instrument.id}
        self._since[instrument.id] = max(self._since[instrument.id], now - self._horizon)

    def _collect(self, instrument: Instrument, only: Placed | None = None) -> None:
        """Tell of the trades since the last that was told of, or take in those of one order without a word."""
        is_whole = only is None  # as long as nothing was left out, all before it need not be listed again
        self._scanned[instrument.id] = self.clock()
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
            if placed.filled + abs(fill.qty) > self._sum_of(placed, abs(fill.qty)) + instrument.lot / 2.0:
                return False  # listed again under another id, or listed before its order knows of it
            if placed.filled >= placed.qty:  # more than was ordered: it is there, and what was bought for us is ours
                self._fill(None, fill, ours=placed.order.role is Role.ENTRY or None)
                return True
        self._fill(placed, fill, is_told)
        return True

    def _sum_of(self, placed: Placed, more: Qty) -> Qty:
        """What an order has traded by its own sums, asked again only where it cannot hold so much more: a purchase of
        150 equal trades once asked 149 times."""
        known = self._sums.get(placed.order.id, 0.0)
        if placed.filled + more > known:
            known = self._sums[placed.order.id] = _filled(self._order(placed))
        return known

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
            since = self._since[instrument.id]
            found = self._ask(self.exchange.order, self.client, number, lost[0].order.id, instrument.symbol, since)
            name = found["clientOrderId"]
            for placed in lost:
                if name and placed.order.id.startswith(name):  # a venue may keep only the beginning of an id
                    self._number(placed, number)
        return self._by_number.get(number)

    def _trades(self, instrument: Instrument) -> list[Any]:
        """All since the watermark: page after page, however long those are, until one says nothing new."""
        since: int | None = self._since[instrument.id] // MILLI
        found, after = dict[str, Any](), dict[str, str]()
        while page := {t["id"]: t for t in self._page(instrument, since, after) if t["id"] not in found}:
            found |= page
            newest = max(page.values(), key=_in_time)
            after = dict(self.exchange.next_page(newest))
            since = None if after else newest["timestamp"]
        return sorted(found.values(), key=_in_time)

    def _page(self, instrument: Instrument, since: int | None, after: Mapping[str, str]) -> list[Any]:
        page = list(self._ask(self.exchange.trades, self.client, instrument.symbol, since, after))
        if not all(_is_whole(trade) for trade in page):
            raise Unclear(Fault.UNREADABLE, f"{instrument.id}: trades without what makes a trade: {page}")
        return page

    def _fill_of(self, trade: Any, instrument: Instrument, placed: Placed | None) -> Fill:
        qty = float(trade["amount"]) * (1.0 if trade["side"] == "buy" else -1.0)
        if placed is not None and qty * placed.order.side < 0.0:
            raise Unclear(Fault.UNREADABLE, f"{instrument.id}: a trade on the other side of its order: {trade}")
        name, price = _name(trade, instrument), float(trade["price"])
        fee, currency = float(trade["fee"]["cost"]), Currency(trade["fee"]["currency"])
        if currency not in (instrument.base, instrument.quote) and name not in self._seen:
            fee, currency = self._fee_in_quote(instrument, name, fee, currency, abs(qty) * price), instrument.quote
        return Fill(name, instrument.id, qty, price, fee, currency, cause_of(placed))

    def _fee_in_quote(self, instrument: Instrument, name: str, fee: float, coin: Currency, value: float) -> float:
        """A fee paid in a third coin (BNB at Binance) in the trade's quote currency, as a cost of the trade.

        Its coins did not come from the trade's money: as much is booked as a deposit; where the run trades the coin
        itself, they are taken out of that position. A price that cannot be had leaves the usual fee of the market.
        """
        price = self._fee_price(coin, instrument.quote)
        cost = fee * price if math.isfinite(price) else value * instrument.fee
        entry = f"{self._venue}-fee-{name}"
        if entry not in self._past.seen:
            self._take_from_outside(instrument, entry, fee, coin, cost)
        return cost

    def _take_from_outside(self, instrument: Instrument, entry: str, fee: float, coin: Currency, cost: float) -> None:
        traded, now = self._by_base.get(coin), self.clock()
        if traded is None or traded.quote != instrument.quote:
            self._say(CashFlow(now, self._venue, None, Flow.DEPOSIT, cost, instrument.quote, entry=entry))
            return
        fill = Fill(entry, traded.id, -fee, cost / fee, 0.0, traded.quote, Cause.FEE)
        self._say(Filled(now, self._venue, None, fill, True))

    def _fee_price(self, coin: Currency, quote: Currency) -> Price:
        """What a coin is worth, not older than a minute; NaN where the venue does not say."""
        symbol, now = Symbol(f"{coin}/{quote}"), self.clock()
        read_at, price = self._fee_prices.get(symbol, (now - PRICED_FOR, math.nan))
        if now < read_at + PRICED_FOR:
            return price
        price = math.nan
        if symbol in (self.client.markets or {}):
            with suppress(Unclear, Denied):
                price = float(self._ask(self.exchange.tickers, self.client, [symbol])[symbol]["last"] or math.nan)
        self._fee_prices[symbol] = now, price
        return price

    def _bury(self, live: list[Placed], resting: Mapping[str, Reply]) -> None:
        """An order that rests no longer and has not filled was ended by the venue, or by somebody at it."""
        for placed in live:
            if placed.number in resting:
                self._doubted.pop(placed.order.id, None)
            elif placed.order.id in self._placed:
                self._judge(placed)

    def _judge(self, placed: Placed) -> None:
        """Say that an order has ended, or that the venue has known nothing of it for a whole horizon and holds nothing
        back for it: a stop that was not listed for two minutes rested all the while, and locked what it protects."""
        try:
            found = self._order(placed)
        except NotThere:
            if self._is_overdue(placed) and self._is_free(placed):
                del self._placed[placed.order.id], self._doubted[placed.order.id]
                self._say(Report(self.clock(), self._venue, placed.order.id, Known.NOT_FOUND))
            return
        if self._is_over(placed, found) and placed.order.id in self._placed:
            self._end(placed, found["status"])

    def _is_overdue(self, placed: Placed) -> bool:
        """Whether what the venue once confirmed has not been listed for a whole horizon; less proves nothing."""
        return self.clock() >= self._doubted.setdefault(placed.order.id, self.clock()) + self._horizon

    def _is_free(self, placed: Placed) -> bool:
        """Whether the coins that a sale would lock are free; a purchase that fills at once locks nothing."""
        instrument = self._mine[placed.instrument]
        if placed.order.side > 0:
            return True
        with suppress(Unclear, Denied):
            free = self._ask(self.exchange.balances, self.client)["free"].get(instrument.base) or 0.0
            return bool(free >= placed.qty - placed.filled - instrument.lot / 2.0)
        return False

    def _is_over(self, placed: Placed, found: Reply, is_told: bool = True) -> bool:
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
        is_collar = placed.order.role is Role.ENTRY and status != "rejected"
        reason = "COLLAR" if is_collar else status
        killed = placed.order.role is Role.EXIT or status == "rejected"
        self._say(Cancelled(self.clock(), self._venue, placed.order.id, reason, killed))

    def _order(self, placed: Placed) -> Any:
        """The venue's order: by its number, and where we never heard that by our own id."""
        symbol, since = self._mine[placed.instrument].symbol, self._since[placed.instrument]
        found = self._ask(self.exchange.order, self.client, placed.number, placed.order.id, symbol, since)
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
        if self._is_overdue(placed) and self._is_free(placed):
            return Known.NOT_FOUND
        raise Unclear(Fault.UNREADABLE, f"{self._venue} knows nothing of an order that it had confirmed")

    # ------------------------------------------------------------ without an engine

    def open_orders(self) -> tuple[OpenOrder, ...]:
        """On a spot account a sale can only reduce what is held."""
        return tuple(
            _open_order(row, instrument)
            for instrument in self._mine.values()
            for row in self._ask(self.exchange.open_orders, self.client, instrument.symbol)
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

    def _place(self, order: Enter | Exit | Protect, terms: Terms) -> None:
        """Ask for an order. An answer with an id and no status is an acceptance: what became of it is looked up."""
        intent = order.approved.intent
        instrument, side = self._mine[intent.instrument], "buy" if intent.side > 0 else "sell"
        wanted = self._sellable(instrument, intent.qty) if isinstance(order, Exit) else intent.qty
        qty = ask(self.client.amount_to_precision, instrument.symbol, whole_lots(wanted, instrument.lot))
        placed = self._placed[order.id] = Placed(ticket_of(order), float(qty))  # now: its answer may be lost
        params = {**self.exchange.named(order.id), **terms.params}
        try:
            made = self._do(
                self.client.create_order, instrument.symbol, terms.kind, side, placed.qty, terms.price, params
            )  # fmt: skip
        except Denied as error:
            self._learn_rules(error)
            if not isinstance(order, Enter) and not isinstance(error, Busy | Unsent | Short):
                self._check_trading(instrument)  # a halt is no refusal: it ends, and nothing is wrong with the order
            raise
        if not made["id"]:
            raise Unclear(Fault.UNREADABLE, f"{self._venue}: an order without id: {made['info']}")
        self._accept(placed, made["id"])

    def _learn_rules(self, error: Denied) -> None:
        """A refusal may mean that tick, lot or minimum have changed: ccxt cuts the next order to what holds now."""
        now = self.clock()
        if error.is_locked_out or isinstance(error, Busy) or now < self._rules_at + RULES_EVERY:
            return
        self._rules_at = now
        with suppress(Unclear, Denied):
            self._ask(self.client.load_markets, True)

    def _enter(self, order: Enter) -> None:
        self._place(order, self.exchange.entry(order.collar))
        self._look_again()

    def _exit(self, order: Exit) -> None:
        if resting := self._resting(order.approved.intent.instrument):
            self._check_trading(self._mine[order.approved.intent.instrument])
        for placed in resting:
            self._make_way(placed, "makes way for an exit")
        try:
            self._place(order, self.exchange.exit())
        except Short:
            self._short.add(order.approved.intent.instrument)
            with suppress(Unclear, Denied):
                self._free_coins(self._mine[order.approved.intent.instrument])
                self._read()  # the engine should hear what is there
            raise
        self._look_again()

    def _free_coins(self, instrument: Instrument) -> None:
        """Take away what rests here and is ours, and was taken for gone: a stop that the venue had not shown."""
        ours = {*self._past.ids, *self._fills}
        for found in self._ask(self.exchange.open_orders, self.client, instrument.symbol):
            if (id := OrderId(str(found["clientOrderId"]))) in ours and id not in self._placed:
                with suppress(NotThere):
                    self._do(self.exchange.cancel, self.client, found["id"], id, instrument.symbol, 0)

    def _sellable(self, instrument: Instrument, qty: Qty) -> Qty:
        """What of qty the account has; asked for only where an exit was refused for want of it."""
        if instrument.id not in self._short:
            return qty
        self._short.discard(instrument.id)
        with suppress(Unclear, Denied):
            free: Mapping[str, float | None] = self._do(self.exchange.balances, self.client)["free"]
            return min(qty, free.get(instrument.base) or 0.0)
        return qty

    def _protect(self, order: Protect) -> None:
        """A stop locks what it protects, so the old one has to go before the new one comes."""
        old = self._placed.get(order.replaces) if order.replaces else None
        if old is not None:
            self._check_trading(self._mine[old.instrument])
            try:
                self._withdraw(old)
            except Unproven:  # where it has traded, the new one is refused for want of coins
                old = None
        try:
            self._place(order, self.exchange.stop(order.stop, self._mine[order.approved.intent.instrument].tick))
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

    def _check_trading(self, instrument: Instrument) -> None:
        """Before a stop is taken away: where the market does not trade, or no order is taken now, it stays.

        An exit was refused in a halted market, and the stop that had made way for it could not be put back.
        """
        self._check_rate(RequestKind.ORDER)
        reason = ""
        with self._hurried(), suppress(Unclear, Denied):  # what cannot be asked is no halt
            reason = self._ask(self.exchange.halt, self.client, instrument.symbol)
        if reason:
            raise Unsent(f"{instrument.symbol} does not trade now: {reason}")

    def _make_way(self, placed: Placed, why: str) -> None:
        try:
            is_taken = self._withdraw(placed)
        except Unproven as error:
            raise Unsent("the stop in its way could not be proven gone") from error
        if is_taken:
            self._say(Cancelled(self.clock(), self._venue, placed.order.id, why))

    def _withdraw(self, placed: Placed) -> bool:
        """Take a resting order away without a word; if that is not certain, what was to come in its place must wait.
        False if there was none to take: it had ended without a fill, or never came.

        Unproven where it rests no longer and may have traded: too little for an exit, while a stop may follow.
        """
        known = placed.filled
        try:
            if self._is_taken_back(placed):
                del self._placed[placed.order.id]
                return True
        except Unproven as error:
            for is_query in (False, True):  # it was asked about in vain already
                self._say(Failed(self.clock(), self._venue, placed.order.id, error.fault, is_query))
            raise
        except Unclear as error:
            self._say(Failed(self.clock(), self._venue, placed.order.id, error.fault))
            raise Unsent("the stop in its way could not be proven gone") from error
        if placed.filled > known or (placed.number and placed.order.id in self._placed):
            raise Unsent("the stop in its way has ended by itself")
        return False  # should it come late, it finds nothing left to lock

    def _is_taken_back(self, placed: Placed) -> bool:
        """False where it no longer rests, after a look at what it has traded."""
        try:
            self._recall(placed)
        except NotThere:
            try:
                with self._hurried():
                    self._look()
            except (Unclear, Denied) as error:
                if isinstance(error, Denied) and error.is_locked_out:
                    raise
                fault = error.fault if isinstance(error, Unclear) else Fault.RATE_LIMITED
                raise Unproven(
                    fault, f"{placed.order.id} rests no longer; what it traded is not told: {error}"
                ) from error
            return False
        return True

    def _recall(self, placed: Placed) -> None:
        symbol, since = self._mine[placed.instrument].symbol, self._since[placed.instrument]
        self._do(self.exchange.cancel, self.client, placed.number, placed.order.id, symbol, since)

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


def _has_moved(placed: Placed, resting: Mapping[str, Reply]) -> bool:
    """Whether an order rests no longer as it is known to: there may be trades of it."""
    found = resting.get(placed.number or "")
    return found is None or _filled(found) > placed.filled


def _name(trade: Reply, instrument: Instrument) -> str:
    return f"{instrument.symbol}-{trade['id']}"


def _in_time(trade: Reply) -> tuple[int, int, str]:
    """The order of trades; their numbers are texts."""
    return trade["timestamp"], len(trade["id"]), trade["id"]


def _is_whole(trade: Any) -> bool:
    """Whether a trade says all that we book; a fee that is not known is not zero."""
    fee = trade["fee"] or {}
    said = all(trade[name] for name in ("id", "order", "timestamp", "side", "amount", "price"))
    return said and fee.get("cost") is not None and bool(fee.get("currency"))


def _filled(order: Reply) -> Qty:
    """What an order has traded; a resting one may leave it out."""
    return float(order["filled"] or 0.0)
