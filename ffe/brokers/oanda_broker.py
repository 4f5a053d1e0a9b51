"""One OANDA account over its v20 REST API, with a client of our own.

Law: every order of ours opens or closes trades of its own (OANDA's word for a lot of a position), so what was there
before is never netted away. Stop and target rest on the trade itself and end with it. What has happened is read from
the account's transactions since the last that was seen, never from an order's state; all numbers are strings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import httpx2

from ffe.brokers.venue import Denied, NotThere, Placed, Unclear, VenueBroker, cause_of
from ffe.model import (
    AccountRead,
    AssetClass,
    Bars,
    Cancelled,
    CashFlow,
    Cause,
    Currency,
    Enter,
    Exit,
    Fault,
    Fill,
    Flow,
    Found,
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
    Symbol,
    Universe,
    Venue,
)  # fmt: skip
from ffe.sizing import whole_lots

Row = dict[str, Any]  # a JSON object as the venue sent it: checked where it is read
PRACTICE, LIVE = "https://api-fxpractice.oanda.com", "https://api-fxtrade.oanda.com"
LIQUIDATION = "MARKET_ORDER_MARGIN_CLOSEOUT"
TARGET = "TAKE_PROFIT_ORDER"
BOUND = "BOUNDS_VIOLATION"  # the collar that the order itself carried
FAULTS = {"INTERNAL_SERVER_ERROR", "INSUFFICIENT_LIQUIDITY", "MIGRATION"}  # the venue's own reasons
ASKED = {"CLIENT_REQUEST", "CLIENT_REQUEST_REPLACED", "TIME_IN_FORCE_EXPIRED"}


class OandaClient:
    """Requests to one account; every failure is Unclear, Denied or NotThere. The token is in no message."""

    def __init__(self, token: str, account: str, address: str = PRACTICE, timeout: float = 10.0) -> None:
        headers = {"Authorization": f"Bearer {token}", "Accept-Datetime-Format": "UNIX"}
        self._http = httpx2.Client(base_url=f"{address}/v3/accounts/{account}/", headers=headers, timeout=timeout)

    def get(self, path: str, **query: str) -> Row:
        return self._call("GET", path, params=query)

    def post(self, path: str, body: Row) -> Row:
        return self._call("POST", path, json=body)

    def put(self, path: str, body: Row | None = None) -> Row:
        return self._call("PUT", path, json=body or {})

    def close(self) -> None:
        self._http.close()

    def _call(self, method: str, path: str, **what: Any) -> Row:
        try:
            reply = self._http.request(method, path, **what)
        except httpx2.TimeoutException as error:
            raise Unclear(Fault.TIMEOUT, str(error)) from error
        except httpx2.TransportError as error:
            raise Unclear(Fault.DISCONNECTED, str(error)) from error
        if reply.status_code >= 500:
            raise Unclear(Fault.SERVER_ERROR, f"HTTP {reply.status_code}")
        try:
            said = reply.json()
        except ValueError as error:
            raise Unclear(Fault.UNREADABLE, f"HTTP {reply.status_code} without JSON") from error
        if not isinstance(said, dict):
            raise Unclear(Fault.UNREADABLE, f"HTTP {reply.status_code} with no object")
        if reply.status_code >= 400:
            raise self._refusal(reply.status_code, said)
        return said

    @staticmethod
    def _refusal(status: int, said: Row) -> Denied | NotThere:
        why = str(said.get("errorCode") or said.get("errorMessage") or f"HTTP {status}")
        if status == 404:
            return NotThere(why)
        return Denied(why, is_locked_out=status in (401, 403))


def instruments(client: OandaClient, venue: Venue, symbols: list[str]) -> tuple[Instrument, ...]:
    """What the venue says of these pairs: tick, lot, minimum and margin. A pair it does not list raises Denied."""
    listed = {row["name"].replace("_", "/"): row for row in client.get("instruments")["instruments"]}
    if unknown := [symbol for symbol in symbols if symbol not in listed]:
        raise Denied(f"OANDA lists no {', '.join(unknown)}")
    return tuple(_instrument(venue, symbol, listed[symbol]) for symbol in symbols)


def _instrument(venue: Venue, symbol: str, row: Row) -> Instrument:
    base, quote = symbol.split("/")  # the published form of a pair's name
    return Instrument(
        venue, Symbol(symbol), AssetClass.FOREX, Currency(base), Currency(quote), "forex",
        tick=float(f"1e-{row['displayPrecision']}"), lot=float(f"1e-{row['tradeUnitsPrecision']}"),
        minimum_qty=float(row["minimumTradeSize"]), margin_rate=float(row["marginRate"]), shortable=True,
    )  # fmt: skip


class OandaBroker(VenueBroker):
    """What was before the first look is the account's own; what follows is told from its transactions."""

    def __init__(self, universe: Universe, venue: Venue, client: OandaClient, clock: Callable[[], Nanos]) -> None:
        super().__init__(universe, venue, clock)
        self.client, self.currency = client, universe.accounts[venue].currency
        self._by_name = {i.symbol.replace("/", "_"): i for i in self._mine.values()}
        self._last = 0  # the newest transaction that was seen
        self._trades: dict[str, tuple[InstrumentId, Qty]] = {}  # ours that are open: number -> signed quantity
        self._levels: dict[str, Placed] = {}  # stops and targets on trades of ours, by their numbers
        self._leaving: dict[str, Placed] = {}  # exits under way, by the trade that they close

    # ------------------------------------------------------------ what has happened

    def _open(self, market: Bars | Quotes) -> None:
        account, now = self.client.get("summary")["account"], self.clock()
        self._last = int(account["lastTransactionID"])
        self._say(CashFlow(now, self._venue, None, Flow.DEPOSIT, float(account["balance"]), self.currency))
        for instrument, qty, price in self._positions():
            self._say(Found(now, self._venue, None, Holding(instrument.id, qty, price)))

    def _positions(self) -> Iterator[tuple[Instrument, Qty, float]]:
        for row in self.client.get("openPositions")["positions"]:
            for side in ("long", "short"):
                if row["instrument"] in self._by_name and float(row[side]["units"]):
                    price = float(row[side]["averagePrice"])
                    yield self._by_name[row["instrument"]], float(row[side]["units"]), price

    def _read(self) -> None:
        self._look()
        balance = self.client.get("summary")["account"]["balance"]
        if not balance or float(balance) <= 0.0:
            raise Unclear(Fault.UNREADABLE, f"{self._venue}: no balance that can be believed: {balance}")
        held: dict[InstrumentId, Qty] = {}
        for instrument, qty, _ in self._positions():
            held[instrument.id] = held.get(instrument.id, 0.0) + qty
        cash = ((self.currency, float(balance)),)
        self._say(AccountRead(self.clock(), self._venue, None, cash, tuple(sorted(held.items()))))

    def _look(self) -> None:
        for row in self.client.get("transactions/sinceid", id=str(self._last))["transactions"]:
            if int(row["id"]) > self._last:
                self._happened(row)
                self._last = int(row["id"])

    def _happened(self, row: Row) -> None:
        match row["type"]:
            case "ORDER_FILL":
                self._filled(row)
            case "ORDER_CANCEL":
                self._ended(row)
            case "MARKET_ORDER":
                self._recognised(row)
            case "DAILY_FINANCING":
                for each in row["positionFinancings"]:
                    self._flow(Flow.FINANCING, each["financing"], self._by_name.get(each["instrument"]))
            case "TRANSFER_FUNDS":
                self._flow(Flow.DEPOSIT, row["amount"], None)

    def _recognised(self, row: Row) -> None:
        """An order of ours whose answer we may never have heard: by our own id, or by the trade that it closes."""
        id = OrderId(row.get("clientExtensions", {}).get("id", ""))
        closed = self._leaving.pop(row.get("tradeClose", {}).get("tradeID", ""), None)
        if placed := self._placed.get(id) or closed:
            self._number(placed, row["id"])

    def _filled(self, row: Row) -> None:
        placed = self._by_number.get(row["orderID"]) or self._levels.get(row["orderID"])
        self._count_trades(row, placed)
        if instrument := self._by_name.get(row["instrument"]):
            self._fill(placed, self._fill_of(row, instrument, placed))
            if float(row["financing"]):
                self._flow(Flow.FINANCING, row["financing"], instrument)

    def _count_trades(self, row: Row, placed: Placed | None) -> None:
        if (opened := row.get("tradeOpened")) and placed is not None:
            self._trades[opened["tradeID"]] = placed.instrument, float(opened["units"])
        for cut in [*row.get("tradesClosed", []), *([row["tradeReduced"]] if "tradeReduced" in row else [])]:
            if cut["tradeID"] in self._trades:
                id, qty = self._trades[cut["tradeID"]]
                self._trades[cut["tradeID"]] = id, qty + float(cut["units"])
        self._trades = {number: (id, qty) for number, (id, qty) in self._trades.items() if qty}

    def _fill_of(self, row: Row, instrument: Instrument, placed: Placed | None) -> Fill:
        cause = Cause.LIQUIDATION if row["reason"] == LIQUIDATION else cause_of(placed, row["reason"] == TARGET)
        rate = row["gainQuoteHomeConversionFactor" if float(row["pl"]) >= 0.0 else "lossQuoteHomeConversionFactor"]
        return Fill(
            f"{self._venue}-{row['id']}", instrument.id, float(row["units"]), float(row["price"]),
            float(row.get("commission", "0")), self.currency, cause,
            rate=None if instrument.quote == self.currency else float(rate),
        )  # fmt: skip

    def _flow(self, flow: Flow, amount: str, instrument: Instrument | None) -> None:
        id = instrument.id if instrument else None
        self._say(CashFlow(self.clock(), self._venue, None, flow, float(amount), self.currency, id))

    def _ended(self, row: Row) -> None:
        """An order of ours is over without a fill. A stop or target that ends with its trade is no news."""
        self._levels.pop(row["orderID"], None)
        placed = self._by_number.get(row["orderID"])
        if placed is None or self._placed.pop(placed.order.id, None) is None:
            return
        reason = str(row["reason"])
        if _is_refusal(reason) and not (isinstance(placed.order, Protect) or placed.filled):
            self._say(Rejected(self.clock(), self._venue, placed.order.id, reason))
        else:
            said = "COLLAR" if reason == BOUND else reason
            self._say(Cancelled(self.clock(), self._venue, placed.order.id, said, reason in FAULTS))

    # ------------------------------------------------------------ orders

    def _enter(self, order: Enter) -> None:
        intent = order.approved.intent
        instrument = self._mine[intent.instrument]
        qty = whole_lots(intent.qty, instrument.lot)
        self._placed[order.id] = Placed(order, qty)  # before it leaves: its answer may be lost
        name = {"clientExtensions": {"id": order.id}, "tradeClientExtensions": {"id": order.id}}
        said = self.client.post("orders", {"order": {
            "type": "MARKET", "instrument": instrument.symbol.replace("/", "_"), "timeInForce": "IOC",
            "units": _written(qty * intent.side, instrument.lot), "priceBound": _written(order.collar, instrument.tick),
            "positionFill": "OPEN_ONLY", **name,
        }})  # fmt: skip
        self._take(self._placed[order.id], said)

    def _take(self, placed: Placed, said: Row) -> None:
        """A 201 that carries a cancellation is a refusal, but for the bound that was our own."""
        cancelled = said.get("orderCancelTransaction")
        made = said.get("orderCreateTransaction")
        if not made or not made.get("id"):
            raise Unclear(Fault.UNREADABLE, f"{self._venue}: an order without a transaction")
        if cancelled and _is_refusal(cancelled["reason"]):
            self._by_number[made["id"]] = placed
            self._placed.pop(placed.order.id)  # its cancellation is no news any more
            raise Denied(str(cancelled["reason"]))
        self._accept(placed, made["id"])
        self._look_again()

    def _exit(self, order: Exit) -> None:
        """Close trades of ours, oldest first, up to what is asked."""
        intent = order.approved.intent
        instrument, left = self._mine[intent.instrument], whole_lots(intent.qty, self._mine[intent.instrument].lot)
        placed = self._placed[order.id] = Placed(order, left)
        ours = [(number, qty) for number, (id, qty) in self._trades.items() if id == instrument.id]
        if not ours:
            raise Denied("nothing to reduce")
        placed.qty = min(left, sum(abs(qty) for _, qty in ours))
        for number, qty in ours:
            part = min(left, abs(qty))
            if part > 0.0:
                self._close(placed, number, "ALL" if part == abs(qty) else _written(part, instrument.lot))
                left -= part
        self._look_again()

    def _close(self, placed: Placed, trade: str, units: str) -> None:
        self._leaving[trade] = placed
        try:
            said = self.client.put(f"trades/{trade}/close", {"units": units})
        except NotThere as error:
            raise Denied(f"nothing to reduce: {error}") from error
        cancelled, made = said.get("orderCancelTransaction"), said.get("orderCreateTransaction")
        if not made or not made.get("id"):
            raise Unclear(Fault.UNREADABLE, f"{self._venue}: a close without a transaction")
        self._leaving.pop(trade, None)
        if cancelled and _is_refusal(cancelled["reason"]):
            self._by_number[made["id"]] = placed
            self._placed.pop(placed.order.id, None)
            raise Denied(str(cancelled["reason"]))
        if placed.number is None:
            self._accept(placed, made["id"])
        else:
            self._by_number[made["id"]] = placed

    def _protect(self, order: Protect) -> None:
        intent = order.approved.intent
        instrument = self._mine[intent.instrument]
        ours = [number for number, (id, _) in self._trades.items() if id == instrument.id]
        if not ours:
            raise Denied("nothing to protect")
        placed = self._placed[order.id] = Placed(order, whole_lots(intent.qty, instrument.lot))
        for number in ours:
            self._rest(placed, number, instrument)
        if order.replaces:
            self._placed.pop(order.replaces, None)

    def _rest(self, placed: Placed, trade: str, instrument: Instrument) -> None:
        order = placed.order
        assert isinstance(order, Protect)
        tag = {"tag": order.id}  # an id must be unique among what is open, and one protection may be several orders
        levels = {"stopLoss": order.stop, "takeProfit": order.target}
        body = {
            name: {"price": _written(price, instrument.tick), "timeInForce": "GTC", "clientExtensions": tag}
            for name, price in levels.items()
        }
        try:
            said = self.client.put(f"trades/{trade}/orders", body)
        except NotThere as error:
            raise Denied(f"nothing to protect: {error}") from error
        numbers = [said.get(f"{name}OrderTransaction", {}).get("id") for name in levels]
        if not all(numbers):
            raise Unclear(Fault.UNREADABLE, f"{self._venue}: a protection without its transactions")
        self._levels |= {str(number): placed for number in numbers}
        if placed.number is None:
            self._accept(placed, str(numbers[0]))

    def _cancel(self, placed: Placed) -> None:
        if isinstance(placed.order, Protect):
            for number in [number for number, owner in self._levels.items() if owner is placed]:
                self.client.put(f"orders/{number}/cancel")
        else:
            self.client.put(f"orders/@{placed.order.id}/cancel")
        self._look()
        if self._placed.pop(placed.order.id, None):
            self._say(Cancelled(self.clock(), self._venue, placed.order.id, "as asked"))

    def _find(self, placed: Placed) -> Known:
        """All there is to know of an order stands in the transactions, unless the venue does not show them yet."""
        self._look()
        if placed.order.id not in self._placed:
            return Known.DONE
        return Known.WORKING if placed.number is not None else Known.NOT_FOUND

    def _look_again(self) -> None:
        try:
            self._look()
        except (Unclear, Denied):
            return  # what has happened will be seen at the next look


def _is_refusal(reason: str) -> bool:
    """Whether an order that was cancelled at once was refused for reasons of business."""
    return reason != BOUND and reason not in FAULTS | ASKED


def _written(amount: float, step: float) -> str:
    """A number as the venue wants it: a string of no more digits than its step has."""
    return str(Decimal(repr(amount)).quantize(Decimal(repr(step)).normalize()))
