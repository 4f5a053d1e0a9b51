"""One OANDA account over its v20 REST API, with a client of our own.

Law: every order of ours opens or closes trades of its own (OANDA's word for a lot of a position), so what was there
before is never netted away. An entry carries its stop, so its trade is never without one; then stop and target rest on
the trade itself and end with it. What has happened is read from the account's transactions since the last that was
seen, never from an order's state; all numbers are strings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from ffe.brokers.venue import (
    ORDER_SECONDS,
    QUESTION_SECONDS,
    USUAL,
    OpenOrder,
    Past,
    Placed,
    SecondLook,
    VenueBroker,
    cause_of,
    ticket_of,
)  # fmt: skip
from ffe.model import (
    AccountRead,
    Bars,
    Cancelled,
    CashFlow,
    Cause,
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
    Rejected,
    Role,
    Side,
    Ticket,
    Universe,
    Venue,
)  # fmt: skip
from ffe.rounding import whole_lots
from ffe.wire.errors import Denied, NotThere, Unclear, Unsent
from ffe.wire.oanda_wire import (
    OandaClient,
    OandaMarket,
    Row,
    number_of,
    part_of,
    row_of,
    rows_of,
    text_of,
    whole_of,
    written,
)

LIQUIDATION = "MARKET_ORDER_MARGIN_CLOSEOUT"
STOP, TARGET = "STOP_LOSS_ORDER", "TAKE_PROFIT_ORDER"
BOUND = "BOUNDS_VIOLATION"  # the collar that the order itself carried
FAULTS = {"INTERNAL_SERVER_ERROR", "INSUFFICIENT_LIQUIDITY", "MIGRATION"}  # the venue's own reasons
REPLACED, LINKED = "CLIENT_REQUEST_REPLACED", "LINKED_TRADE_CLOSED"
ASKED = {"CLIENT_REQUEST", REPLACED, "TIME_IN_FORCE_EXPIRED"}
TINY = 1e-6  # less than any unit: what adding up parts leaves over


class OandaBroker(VenueBroker):
    """What was before the first look is the account's own; what follows is told from its transactions."""

    def __init__(
        self, universe: Universe, venue: Venue, client: OandaClient, clock: Callable[[], Nanos],
        past: Past | None = None, look: SecondLook = USUAL,
    ) -> None:  # fmt: skip
        super().__init__(universe, venue, clock, OandaMarket(client), past, look)
        self.client, self.currency = client, universe.accounts[venue].currency
        client.hurry(GET=QUESTION_SECONDS, POST=ORDER_SECONDS, PUT=ORDER_SECONDS)
        self._by_name = {i.symbol.replace("/", "_"): i for i in self._mine.values()}
        # The newest transaction that was taken in: after a restart everything since the oldest that is remembered, for
        # that is how trades, stops and targets came to be what they are; what was told is not told again.
        self._last = min([before for name in self._past.seen for before in _before(name, venue)], default=0)
        self._trades: dict[str, tuple[InstrumentId, Qty]] = {}  # ours that are open: number -> signed quantity
        # Every protection that left, by the tag on its stops and targets.
        self._protects: dict[str, Placed] = {
            placed.order.id: placed for placed in self._placed.values() if placed.order.role is Role.PROTECT
        }
        self._levels: dict[str, tuple[Placed, str]] = {}  # resting stops and targets: number -> whose, on which trade
        # Closes without an answer, oldest first: trade -> of which exit, how much. A lost one may be sent again.
        self._leaving: dict[str, list[tuple[Placed, Qty]]] = {}

    # ------------------------------------------------------------ what has happened

    def _open(self, market: Bars | Quotes | Heartbeat) -> None:
        last, balance, held = self._account()
        now, self._last = self.clock(), last
        entry = f"{self._venue}-opening-{last}"
        self._say(CashFlow(now, self._venue, None, Flow.DEPOSIT, balance, self.currency, entry=entry))
        for instrument, qty, price in held:
            self._say(Found(now, self._venue, None, Holding(instrument.id, qty, price)))
        self._say(self._told(balance, held))  # ends the opening: what a crash cut short is told again

    def _account(self) -> tuple[int, float, list[tuple[Instrument, Qty, float]]]:
        """Last transaction, balance and positions: two answers that are not of one moment, or not of one account, have
        told nothing."""
        summary, held = self._ask(self.client.get, "summary"), self._ask(self.client.get, "openPositions")
        last, account = whole_of(summary, "lastTransactionID"), row_of(summary, "account")
        balance, positions = number_of(account, "balance"), rows_of(held, "positions")
        if balance <= 0.0:
            raise Unclear(Fault.UNREADABLE, f"{self._venue}: no balance that can be believed: {balance}")
        if whole_of(held, "lastTransactionID") != last or whole_of(account, "openPositionCount") != len(positions):
            raise Unclear(Fault.UNREADABLE, f"{self._venue}: balance and positions do not belong together")
        return last, balance, list(self._positions(positions))

    def _positions(self, rows: list[Row]) -> Iterator[tuple[Instrument, Qty, float]]:
        for row in rows:
            instrument = self._by_name.get(text_of(row, "instrument"))
            for side in (row_of(row, "long"), row_of(row, "short")):
                if instrument is not None and (qty := number_of(side, "units")):
                    yield instrument, qty, number_of(side, "averagePrice")

    def _read(self) -> None:
        last, balance, positions = self._account()
        self._look()
        if self._last != last:
            raise Unclear(Fault.UNREADABLE, f"{self._venue}: an account as of {last}, transactions up to {self._last}")
        self._say(self._told(balance, positions))

    def _told(self, balance: float, positions: list[tuple[Instrument, Qty, float]]) -> AccountRead:
        held: dict[InstrumentId, Qty] = {}
        for instrument, qty, _ in positions:
            held[instrument.id] = held.get(instrument.id, 0.0) + qty
        return AccountRead(self.clock(), self._venue, None, ((self.currency, balance),), tuple(sorted(held.items())))

    def _look(self) -> None:
        """Take in what is new in the order of its numbers; what a list leaves out is fetched before what follows it."""
        if not self._last:
            raise Unclear(Fault.UNREADABLE, f"{self._venue}: what came before us is not known yet")
        newest, rows = self._listed("sinceid", id=str(self._last))
        new = range(self._last + 1, newest + 1)
        if missing := [number for number in new if number not in rows]:
            rows |= self._listed("idrange", **{"from": str(missing[0]), "to": str(newest)})[1]
        for number in new:
            if number not in rows:
                raise Unclear(Fault.UNREADABLE, f"{self._venue}: transaction {number} is not told")
            self._happened(rows[number])
            self._last = number

    def _listed(self, what: str, **query: str) -> tuple[int, dict[int, Row]]:
        said = self._ask(self.client.get, f"transactions/{what}", **query)
        return whole_of(said, "lastTransactionID"), {whole_of(row, "id"): row for row in rows_of(said, "transactions")}

    def _happened(self, row: Row) -> None:
        """One transaction; it is read before it changes anything, so one that cannot be read is met again."""
        match text_of(row, "type"):
            case "ORDER_FILL":
                self._filled(row)
            case "ORDER_CANCEL":
                self._ended(text_of(row, "orderID"), text_of(row, "reason"))
            case "MARKET_ORDER":
                self._recognised(row)
            case "MARKET_ORDER_REJECT":
                self._refused(row)
            case "STOP_LOSS_ORDER" | "TAKE_PROFIT_ORDER":
                self._rests(row)
            case "DAILY_FINANCING":
                paid = [
                    (number_of(r, "financing"), text_of(r, "instrument")) for r in rows_of(row, "positionFinancings")
                ]
                for amount, name in paid:
                    self._flow(row, Flow.FINANCING, amount, self._by_name.get(name))
            case "TRANSFER_FUNDS":
                self._flow(row, Flow.DEPOSIT, number_of(row, "amount"), None)

    def _recognised(self, row: Row) -> None:
        """An order of ours whose answer we may never have heard: by our own id, or by the trade that it closes."""
        number, placed = text_of(row, "id"), self._placed.get(_client_id(row))
        if number in self._by_number:
            return
        if part_of(row, "tradeClose") and text_of(row, "reason") == "TRADE_CLOSE":
            trade = text_of(part_of(row, "tradeClose"), "tradeID")
            lost = self._leaving.get(trade)
            placed = lost.pop(0)[0] if lost else self._orphan(trade)
        if placed is not None:
            self._by_number[number] = placed
            placed.number = placed.number or number

    def _orphan(self, trade: str) -> Placed | None:
        """The exit of an earlier process that may have closed a trade: a close carries no name of ours."""
        held, _ = self._trades.get(trade, (None, 0.0))
        return next((p for p in self._placed.values() if p.instrument == held and self._is_orphan(p)), None)

    def _is_orphan(self, placed: Placed) -> bool:
        return placed.order.role is Role.EXIT and placed.order in self._past.orders

    def _refused(self, row: Row) -> None:
        """An order of ours that was refused, if nobody has told us."""
        if placed := self._placed.pop(_client_id(row), None):
            reason = text_of(row, "rejectReason")
            self._say(Rejected(self.clock(), self._venue, placed.order.id, reason))

    def _rests(self, row: Row) -> None:
        """A stop or target on a trade: ours by its tag, or in the place of one of ours that somebody has moved."""
        number, trade, old = text_of(row, "id"), text_of(row, "tradeID"), str(row.get("replacesOrderID"))
        placed = self._protects.get(str(part_of(row, "clientExtensions").get("tag")))
        before, _ = self._levels.pop(old, (None, ""))
        if owner := placed or before:
            self._levels[number] = owner, trade
            owner.number = owner.number or number
        if before is not None and not self._levels_of(before):
            self._placed.pop(before.order.id, None)

    def _filled(self, row: Row) -> None:
        number, instrument = text_of(row, "orderID"), self._by_name.get(text_of(row, "instrument"))
        financing, commission, pl = (number_of(row, name) for name in ("financing", "commission", "pl"))
        if instrument is None:  # not a trade that the book could know of: what it brought came from outside
            self._flow(row, Flow.DEPOSIT, pl + financing - commission, None)
            return
        placed, _ = self._levels.get(number, (self._by_number.get(number), ""))
        placed = placed or self._named(row, instrument)
        cuts = self._cuts(row)
        fills = self._by_owner(row, self._fill_of(row, instrument, placed), placed, cuts)
        if financing:
            self._flow(row, Flow.FINANCING, financing, instrument)  # while its trade is still there
        for fill, ours in fills:
            self._fill(placed, fill, ours=ours)
        self._count_trades(cuts, placed)
        if number in self._levels and self._levels[number][1] not in self._trades:
            del self._levels[number]
        if placed is not None and placed.order.id in self._placed and self._is_in_doubt(placed):
            self._say(Failed(self.clock(), self._venue, placed.order.id, Fault.TIMEOUT))  # a part proves no other

    def _named(self, row: Row, instrument: Instrument) -> Placed | None:
        """The order of ours that a fill names: one under way, or an entry of an earlier process."""
        id, units = OrderId(str(row.get("clientOrderID"))), number_of(row, "units")
        if id in self._placed or id not in self._past.ids:
            return self._placed.get(id)
        side = Side.LONG if units > 0.0 else Side.SHORT
        return Placed(Ticket(id, Role.ENTRY, instrument.id, side, abs(units)), abs(units))

    def _cuts(self, row: Row) -> dict[str, Qty]:
        """What a fill has opened (of its own) and closed, by trade; it must come to what was traded."""
        cuts = {text_of(part, "tradeID"): number_of(part, "units") for part in (part_of(row, "tradeOpened"),) if part}
        cuts |= {number: number_of(part, "units") for number, part in _closed(row).items()}
        if abs(sum(cuts.values()) - number_of(row, "units")) > TINY:
            raise Unclear(Fault.UNREADABLE, f"{self._venue}: a fill of {row['units']} that trades {cuts}")
        return cuts

    def _by_owner(
        self, row: Row, fill: Fill, placed: Placed | None, cuts: dict[str, Qty]
    ) -> list[tuple[Fill, bool | None]]:
        """A fill with whose it is; one that no order of ours made may have closed trades of ours and of others both.
        Then the others' part keeps its name, for a restart may know less of what is ours."""
        ours = sum(qty for number, qty in cuts.items() if number in self._trades)
        if placed is not None or not ours or set(cuts) <= set(self._trades):
            return [(fill, None if placed is not None else bool(ours))]
        fee, whole = fill.fee * ours / fill.qty, number_of(row, "pl")
        pl = sum(number_of(part, "realizedPL") for number, part in _closed(row).items() if number in self._trades)
        mine = replace(fill, trade=f"{self._venue}-ours-{text_of(row, 'id')}", qty=ours, fee=fee, pl=pl)
        return [(mine, True), (replace(fill, qty=fill.qty - ours, fee=fill.fee - fee, pl=whole - pl), False)]

    def _count_trades(self, cuts: dict[str, Qty], placed: Placed | None) -> None:
        for number, qty in cuts.items():
            if number in self._trades:
                id, held = self._trades[number]
                self._trades[number] = id, held + qty
            elif placed is not None and placed.order.role is Role.ENTRY:
                self._trades[number] = placed.instrument, qty
        for number in [number for number, (_, qty) in self._trades.items() if abs(qty) < TINY]:
            del self._trades[number]
            self._comes_too_late(number)

    def _comes_too_late(self, trade: str) -> None:
        """A close without an answer has nothing left to close."""
        for placed, part in self._leaving.pop(trade, []):
            placed.qty -= part
            is_over = placed.filled >= placed.qty - TINY
            if is_over and self._placed.pop(placed.order.id, None) is not None:
                self._say(Cancelled(self.clock(), self._venue, placed.order.id, "its trade has ended"))

    def _fill_of(self, row: Row, instrument: Instrument, placed: Placed | None) -> Fill:
        reason, pl, rate = text_of(row, "reason"), number_of(row, "pl"), None
        cause = _cause_of(reason, placed)
        if instrument.quote != self.currency and pl:
            rate = number_of(row, "gainQuoteHomeConversionFactor" if pl > 0.0 else "lossQuoteHomeConversionFactor")
        return Fill(
            f"{self._venue}-{text_of(row, 'id')}", instrument.id, number_of(row, "units"), number_of(row, "price"),
            number_of(row, "commission"), self.currency, cause, rate=rate, pl=pl,
        )  # fmt: skip

    def _flow(self, row: Row, flow: Flow, amount: float, instrument: Instrument | None) -> None:
        id = instrument.id if instrument else None
        entry = f"{self._venue}-{flow}-{id}-{text_of(row, 'id')}"
        if entry not in self._past.seen:
            self._say(CashFlow(self.clock(), self._venue, None, flow, amount, self.currency, id, entry))

    def _ended(self, number: str, reason: str) -> None:
        """An order of ours is over without a fill."""
        if number in self._levels:
            self._level_ended(number, reason)
            return
        placed = self._by_number.get(number)
        if placed is None or self._placed.pop(placed.order.id, None) is None:
            return
        if _is_refusal(reason) and not placed.filled:
            self._say(Rejected(self.clock(), self._venue, placed.order.id, reason))
        else:
            said = "COLLAR" if reason == BOUND else reason
            self._say(Cancelled(self.clock(), self._venue, placed.order.id, said, reason in FAULTS))

    def _level_ended(self, number: str, reason: str) -> None:
        """A protection is over when a part of it is taken away, or the last one goes with its trade. What is replaced
        is told of by what replaces it."""
        if reason == REPLACED:
            return
        placed, _ = self._levels.pop(number)
        goes_with_its_trade = reason == LINKED and bool(self._levels_of(placed))
        if not goes_with_its_trade and self._placed.pop(placed.order.id, None) is not None:
            self._say(Cancelled(self.clock(), self._venue, placed.order.id, reason, reason in FAULTS))

    def _levels_of(self, placed: Placed) -> dict[str, str]:
        """The stops and targets of one protection that rest, with their trades."""
        return {number: trade for number, (owner, trade) in self._levels.items() if owner is placed}

    # ------------------------------------------------------------ orders

    def _enter(self, order: Enter) -> None:
        intent = order.approved.intent
        instrument = self._mine[intent.instrument]
        qty = whole_lots(intent.qty, instrument.lot)
        self._placed[order.id] = Placed(ticket_of(order), qty)  # before it leaves: its answer may be lost
        body: Row = {
            "type": "MARKET",
            "instrument": instrument.symbol.replace("/", "_"),
            "timeInForce": "IOC",
            "units": written(qty * intent.side, instrument.lot),
            "priceBound": written(order.collar, instrument.tick),
            "positionFill": "OPEN_ONLY",
            "clientExtensions": {"id": order.id},
            "tradeClientExtensions": {"id": order.id},
        }
        if order.stop is not None:
            body["stopLossOnFill"] = {"price": written(order.stop, instrument.tick), "timeInForce": "GTC"}
        said = self._do(self.client.post, "orders", {"order": body})
        self._accept(self._placed[order.id], _made(said))
        self._look_again()

    def _exit(self, order: Exit) -> None:
        """Close trades of ours, oldest first, up to what is asked: one that is refused does not hold up the others."""
        intent = order.approved.intent
        instrument = self._mine[intent.instrument]
        left = whole_lots(intent.qty, instrument.lot)
        denied: Denied = Unsent("nothing to reduce")
        placed = self._placed[order.id] = Placed(ticket_of(order), 0.0)  # for as much as has left
        for trade, held in self._ours(instrument.id).items():
            part = min(left, abs(held))
            if part <= 0.0:
                break
            try:
                self._close(placed, trade, part, "ALL" if part == abs(held) else written(part, instrument.lot))
                left -= part
            except Denied as error:
                denied = error
        self._look_again()
        if placed.number is None:
            raise denied

    def _ours(self, id: InstrumentId) -> dict[str, Qty]:
        return {number: qty for number, (instrument, qty) in self._trades.items() if instrument == id}

    def _close(self, placed: Placed, trade: str, part: Qty, units: str) -> None:
        leaving = self._leaving.setdefault(trade, [])
        leaving.append((placed, part))
        placed.qty += part
        try:
            number = _made(self._do(self.client.put, f"trades/{trade}/close", {"units": units}))
        except (Denied, NotThere) as error:
            leaving.remove((placed, part))
            placed.qty -= part
            raise error if isinstance(error, Denied) else Denied(f"nothing to reduce: {error}") from error
        leaving.remove((placed, part))
        self._by_number[number] = placed
        if placed.number is None:
            self._accept(placed, number)

    def _protect(self, order: Protect) -> None:
        intent = order.approved.intent
        instrument = self._mine[intent.instrument]
        if not (ours := self._ours(instrument.id)):
            raise Unsent("nothing to protect")
        placed = self._placed[order.id] = Placed(ticket_of(order), whole_lots(intent.qty, instrument.lot))
        self._protects[order.id] = placed
        for number in ours:
            self._rest(placed, order, number, instrument)
        if order.replaces:
            self._placed.pop(order.replaces, None)
        self._accept(placed, next(iter(self._levels_of(placed))))
        self._look_again()

    def _rest(self, placed: Placed, order: Protect, trade: str, instrument: Instrument) -> None:
        tag = {"tag": order.id}  # an id must be unique among what is open, and one protection may be several orders
        levels = {"stopLoss": order.stop, "takeProfit": order.target}
        body = {
            name: {"price": written(price, instrument.tick), "timeInForce": "GTC", "clientExtensions": tag}
            for name, price in levels.items()
        }
        try:
            said = self._do(self.client.put, f"trades/{trade}/orders", body)
        except NotThere as error:
            raise Denied(f"nothing to protect: {error}") from error
        numbers = [text_of(row_of(said, f"{name}OrderTransaction"), "id") for name in levels]
        self._levels |= dict.fromkeys(numbers, (placed, trade))

    def _cancel(self, placed: Placed) -> None:
        """What the venue no longer has has ended somehow; how stands in its transactions, perhaps not yet."""
        id = placed.order.id
        is_there = True
        for order in self._levels_of(placed) if placed.order.role is Role.PROTECT else [f"@{id}"]:
            try:
                self._do(self.client.put, f"orders/{order}/cancel")
            except NotThere:
                is_there = False
        self._look()
        if id in self._placed and not is_there:
            placed.number = None  # not working, and nothing else is known of it
            raise Unclear(Fault.UNREADABLE, f"{self._venue}: {id} is not there, and nothing says what became of it")
        if self._placed.pop(id, None):
            self._say(Cancelled(self.clock(), self._venue, id, "as asked"))

    def _find(self, placed: Placed) -> Known:
        """All there is to know of an order stands in the transactions, unless the venue does not show them yet."""
        self._look()
        if placed.order.id not in self._placed:
            return Known.DONE
        is_known = placed.number is not None and not self._is_in_doubt(placed)
        if placed.order.role is Role.PROTECT:
            is_known &= self._ours(placed.instrument).keys() <= set(self._levels_of(placed).values())
        return Known.WORKING if is_known else Known.NOT_FOUND

    # ------------------------------------------------------------ without an engine

    def open_orders(self) -> tuple[OpenOrder, ...]:
        """An order on a trade is for all of it and ends with it; any other could open one."""
        return tuple(order for order, _ in self._listed_orders(self._open_trades()))

    def claim(self) -> None:
        trades = self._open_trades()
        for number, held in trades.items():
            self._trades.setdefault(number, held)
        for order, trade in self._listed_orders(trades):
            if order.number not in self._levels:
                id = OrderId(order.number)
                placed = Placed(Ticket(id, Role.PROTECT, order.instrument, order.side, order.qty), order.qty)
                placed.number = order.number
                self._placed[id] = placed
                self._levels[order.number] = placed, trade

    def _open_trades(self) -> dict[str, tuple[InstrumentId, Qty]]:
        rows = rows_of(self._ask(self.client.get, "openTrades"), "trades")
        named = [(row, self._by_name.get(text_of(row, "instrument"))) for row in rows]
        return {text_of(row, "id"): (i.id, number_of(row, "currentUnits")) for row, i in named if i is not None}

    def _listed_orders(self, trades: dict[str, tuple[InstrumentId, Qty]]) -> Iterator[tuple[OpenOrder, str]]:
        """Every pending order with the trade that it rests on, "" where it rests on none."""
        for row in rows_of(self._ask(self.client.get, "pendingOrders"), "orders"):
            trade, stop = str(row.get("tradeID") or ""), None
            id, units = trades[trade] if trade in trades else self._ordered(row)
            if text_of(row, "type").startswith(("STOP", "TRAILING_STOP", "GUARANTEED_STOP")) and "price" in row:
                stop = number_of(row, "price")
            side = Side.LONG if (units > 0.0) is (not trade) else Side.SHORT
            name = part_of(row, "clientExtensions")
            called = str(name.get("id") or name.get("tag") or "")
            if id is not None:
                yield OpenOrder(id, text_of(row, "id"), called, side, abs(units), stop, bool(trade)), trade

    def _ordered(self, row: Row) -> tuple[InstrumentId | None, Qty]:
        """Instrument and units of an order that rests on no trade we know."""
        instrument = self._by_name.get(str(row.get("instrument")))
        return (None, 0.0) if instrument is None else (instrument.id, number_of(row, "units"))

    def _is_in_doubt(self, placed: Placed) -> bool:
        """Whether one of the closes of an exit has had no answer, or nobody knows how many of them left."""
        return self._is_orphan(placed) or any(owner is placed for lost in self._leaving.values() for owner, _ in lost)


def _before(name: str, venue: Venue) -> Iterator[int]:
    """The newest transaction before what was booked under a name; an opening tells of its own, and of all before."""
    kind, _, number = name.rpartition("-")
    if name.startswith(f"{venue}-"):  # what an operator adopted has no number of the venue's
        yield int(number) - (kind != f"{venue}-opening")


def _made(said: Row) -> str:
    """The number of an order that was taken. A 201 that carries a cancellation is a refusal, but for the bound that was
    our own and for what a fill has left over."""
    number, cancelled = text_of(row_of(said, "orderCreateTransaction"), "id"), part_of(said, "orderCancelTransaction")
    if cancelled and not said.get("orderFillTransaction") and _is_refusal(text_of(cancelled, "reason")):
        raise Denied(text_of(cancelled, "reason"))
    return number


def _cause_of(reason: str, placed: Placed | None) -> Cause:
    """Why a fill happened; a stop that no order of ours placed came with an entry, or from somebody's hand."""
    if reason == LIQUIDATION:
        return Cause.LIQUIDATION
    if placed is None and reason == STOP:
        return Cause.STOP
    return cause_of(placed, reason == TARGET)


def _closed(row: Row) -> dict[str, Row]:
    """What a fill has closed, whole trades or a part of one."""
    parts = [part_of(row, "tradeReduced"), *(rows_of(row, "tradesClosed") if "tradesClosed" in row else [])]
    return {text_of(part, "tradeID"): part for part in parts if part}


def _client_id(row: Row) -> OrderId:
    return OrderId(str(part_of(row, "clientExtensions").get("id")))


def _is_refusal(reason: str) -> bool:
    """Whether an order that was cancelled at once was refused for reasons of business."""
    return reason != BOUND and reason not in FAULTS | ASKED
