"""A loopback venue that speaks OANDA's v20 REST API: the truth, scripted faults, and a server in a thread.

What the published description does not name is refused, and every answer is held to it: a violation, or any error in
here, is raised when the venue is left. The market is driven from outside; ids are counters; the clock is the caller's.

    with Oanda(shared_data / "oanda-v20-openapi.json", clock) as venue:
        venue.price("EUR_USD", "1.10000", "1.10010")
        httpx2.get(f"{venue.url}/v3/accounts/{venue.id}/summary", headers=venue.headers)
"""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Self

from aiohttp import web

from tests.venues.oanda_account import AS_RULED, DEPENDENT, Account, Instrument, Order, Plan, Quote, Trade
from tests.venues.oanda_candles import Bar, Grid, candles, seconds_of
from tests.venues.oanda_faults import ACCOUNT, Chaos, Fault, Maintenance, MarketClosed, Skew, StopsAsleep
from tests.venues.oanda_schema import Operation, described
from tests.venues.oanda_wire import SECOND, Cell, Reply, Request, Time, Wire, read_time, rendered

SERVED = ("MARKET", "LIMIT", "STOP", *DEPENDENT)
PROTECTIONS = {"takeProfit": "TAKE_PROFIT", "stopLoss": "STOP_LOSS"}
Handler = Callable[[Request, Plan], Reply]


class Oanda:
    """One account at a venue. clock gives nanoseconds; with fill_on_next_price a market order waits for a new quote."""

    def __init__(
        self, description: Path, clock: Callable[[], int], *, instruments: Iterable[Instrument] = (Instrument("EUR_USD"),),
        currency: str = "USD", balance: str = "100000", id: str = "101-004-1234567-001", token: str = "loopback",
        hedging: bool = False, fill_on_next_price: bool = False, faults: Sequence[Fault] = (),
        context: ssl.SSLContext | None = None,
    ) -> None:  # fmt: skip
        self.id, self.clock = id, clock
        self.headers = {"Authorization": f"Bearer {token}"}
        self.description = described(description)
        self.faults: list[Fault] = []
        self.requests: list[Request] = []
        self.said: dict[tuple[str, str, tuple[tuple[str, str], ...]], Reply] = {}  # the last answer to each question
        self.errors: list[Exception] = []
        self._seen: list[int] = []  # fitting requests, by fault
        self._late: list[tuple[int, Request]] = []
        self._trades: dict[str, bool] = {}  # instruments, and whether their market is open but for faults
        self._bars: dict[str, list[Bar]] = {}
        self._lock = threading.RLock()
        self._account = Account(
            id,
            currency,
            Decimal(balance),
            instruments,
            self._now,
            hedging=hedging,
            fill_on_next_price=fill_on_next_price,
        )
        self.script(*faults)
        self._handlers = self._routes()
        self._server = Server(self._answer, context)

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._server.stop()
        if self.errors and kind is None:
            raise self.errors[0]

    @property
    def url(self) -> str:
        return self._server.url

    # ------------------------------------------------------------ the truth

    @property
    def orders(self) -> Mapping[int, Order]:
        return self._account.orders

    @property
    def trades(self) -> Mapping[int, Trade]:
        return self._account.trades

    @property
    def transactions(self) -> Sequence[Wire]:
        return self._account.transactions

    @property
    def balance(self) -> Decimal:
        return self._account.balance

    def held(self, instrument: str) -> Decimal:
        return sum((each.units for each in self._account.open_trades(instrument)), Decimal(0))

    # ------------------------------------------------------------ what the test does

    def script(self, *faults: Fault) -> None:
        """These happen from now on, beside those before."""
        with self._lock:
            self.faults += faults
            self._seen += [0] * len(faults)

    def price(self, instrument: str, bid: str | Decimal, ask: str | Decimal, tradeable: bool = True) -> None:
        """Move the market, and let it work what rests."""
        with self._lock:
            self._pass_time()
            self._trades[instrument] = tradeable
            is_open = tradeable and not self._active(MarketClosed)
            quote = Quote(
                *map(self._account.instruments[instrument].price, (Decimal(bid), Decimal(ask))),
                Time(self._now()),
                is_open,
            )
            self._account.begin("0")
            self._account.move(instrument, quote, stops_sleep=bool(self._active(StopsAsleep)))

    def mid(self, instrument: str, mid: str | Decimal, tradeable: bool = True) -> None:
        """The same by a mid and the instrument's half spread."""
        half = self._account.instruments[instrument].half_spread
        self.price(instrument, Decimal(mid) - half, Decimal(mid) + half, tradeable)

    def bars(self, instrument: str, bars: Iterable[Bar]) -> None:
        """Give the bars from which candles are made, oldest first."""
        with self._lock:
            self._bars.setdefault(instrument, []).extend(bars)

    def finance(self, days: int = 1) -> None:
        """17:00 New York has passed: on Wednesdays for three days."""
        with self._lock:
            self._account.begin("0")
            self._account.finance(days)

    def deposit(self, amount: str) -> None:
        with self._lock:
            self._account.begin("0")
            self._account.deposit(Decimal(amount))

    def later(self, nanos: int, request: Request) -> None:
        self._late.append((self.clock() + nanos, request))

    def fill(self, specifier: str) -> None:
        """Fill a pending order at the quote, reached or not."""
        with self._lock:
            order = self._account.find_order(specifier)
            if order and order.state == "PENDING":
                self._account.fill(order)

    def trade_by_hand(self, instrument: str, units: int) -> None:
        with self._lock:
            self._account.begin("0")
            record = self._account.place({"type": "MARKET", "instrument": instrument, "units": str(units)})
            self.fill(str(record["id"]))

    def cancel_all(self, reason: str, kind: str = "") -> None:
        with self._lock:
            self._account.begin("0")
            for order in self._account.pending():
                if kind in ("", order.type):
                    self._account.cancel(order.id, reason)

    def forget_all(self, kind: str) -> None:
        with self._lock:
            for order in self._account.pending():
                if order.type == kind:
                    self._account.forget(order.id)

    def change(self, instrument: str, **changes: object) -> None:
        with self._lock:
            self._account.instruments[instrument] = replace(self._account.instruments[instrument], **changes)

    # ------------------------------------------------------------ time

    def _now(self) -> int:
        return self.clock() + sum(fault.nanos for fault in self._active(Skew))

    def _active(self, kind: type[Fault]) -> list[Fault]:
        return [each for each in self.faults if isinstance(each, kind) and each.on.is_now(self.clock(), 1)]

    def _pass_time(self) -> None:
        """What has become due happens before anything else."""
        due, self._late = ([x for x in self._late if (x[0] <= self.clock()) is want] for want in (True, False))
        for _, request in due:
            self._handle(request, AS_RULED)
        if self._active(Maintenance):
            self.cancel_all("MIGRATION")
        is_closed = bool(self._active(MarketClosed))
        for name, quote in self._account.quotes.items():
            self._account.quotes[name] = replace(quote, tradeable=self._trades[name] and not is_closed)

    # ------------------------------------------------------------ a request

    def _answer(
        self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], raw: bytes
    ) -> Reply:
        try:
            with self._lock:
                self._pass_time()
                return self._authorised(method, path, query, headers, raw)
        except Exception as error:  # kept for the test's own thread; the server answers 500
            self.errors.append(error)
            raise

    def _authorised(
        self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], raw: bytes
    ) -> Reply:
        operation = self.description.match(method, path)
        route, params = (operation.route, operation.params) if isinstance(operation, Operation) else ("", {})
        body, unix = read_json(raw), headers.get("Accept-Datetime-Format") == "UNIX"
        request = Request(len(self.requests) + 1, self.clock(), method, path, route, params, query, body, unix)
        self.requests.append(request)
        if headers.get("Authorization") != self.headers["Authorization"]:
            return refused(401, "", "Insufficient authorization to perform request.")
        if isinstance(operation, int):
            return refused(operation, "", f"{method} {path} is not described")
        if reasons := self.description.refusals(operation, query, body):
            return refused(400, "", "; ".join(reasons))
        if headers.get("Accept-Datetime-Format", "RFC3339") not in ("RFC3339", "UNIX"):
            return refused(400, "", "Invalid value specified for 'Accept-Datetime-Format'")
        return self._faulted(request)

    def _faulted(self, request: Request) -> Reply:
        faults = list(self._fitting(request))
        plan = AS_RULED
        for fault in faults:
            if reply := fault.before(self, request):
                return reply
            plan = fault.plan(plan)
        reply = self._handle(request, plan)
        for fault in faults:
            reply = fault.after(self, request, reply)
        self.said[request.question] = reply
        return reply

    def _fitting(self, request: Request) -> Iterable[Fault]:
        for index, fault in enumerate(self.faults):
            if fault.on.fits(request):
                self._seen[index] += 1
                if fault.on.is_now(request.time, self._seen[index]):
                    drawn = fault.draw(self._seen[index]) if isinstance(fault, Chaos) else fault
                    if drawn:
                        yield drawn

    def _handle(self, request: Request, plan: Plan) -> Reply:
        """The venue's own answer, held to the description."""
        handler = self._handlers.get((request.method, request.route))
        if handler is None:
            return refused(501, "", f"{request.route} is described, but this venue does not serve it")
        self._account.begin(str(request.number))
        is_ours = request.params.get("accountID", self.id) == self.id
        reply = handler(request, plan) if is_ours else refused(404, "", "no such account")
        if reply.status != 501:
            reply = replace(reply, body=rendered(reply.body, request.unix))
            self.description.check(Operation(request.method, request.route, request.params), reply.status, reply.body)
        return reply

    def _routes(self) -> Mapping[tuple[str, str], Handler]:
        return {
            ("GET", "/accounts"): lambda *_: Reply(200, {"accounts": [{"id": self.id, "tags": []}]}),
            ("GET", ACCOUNT): self._full_account,
            ("GET", f"{ACCOUNT}/summary"): lambda *_: self._ok(account=self._account.summary_wire()),
            ("GET", f"{ACCOUNT}/instruments"): self._instruments,
            ("GET", f"{ACCOUNT}/changes"): self._changes,
            ("GET", f"{ACCOUNT}/pricing"): self._pricing,
            ("GET", "/instruments/{instrument}/candles"): self._candles,
            ("GET", f"{ACCOUNT}/instruments/{{instrument}}/candles"): self._candles,
            ("POST", f"{ACCOUNT}/orders"): self._post_order,
            ("GET", f"{ACCOUNT}/orders"): self._list_orders,
            ("GET", f"{ACCOUNT}/pendingOrders"): self._pending_orders,
            ("GET", f"{ACCOUNT}/orders/{{orderSpecifier}}"): self._order,
            ("PUT", f"{ACCOUNT}/orders/{{orderSpecifier}}"): self._replace_order,
            ("PUT", f"{ACCOUNT}/orders/{{orderSpecifier}}/cancel"): self._cancel_order,
            ("GET", f"{ACCOUNT}/trades"): self._list_trades,
            ("GET", f"{ACCOUNT}/openTrades"): self._open_trades,
            ("GET", f"{ACCOUNT}/trades/{{tradeSpecifier}}"): self._trade,
            ("PUT", f"{ACCOUNT}/trades/{{tradeSpecifier}}/close"): self._close_trade,
            ("PUT", f"{ACCOUNT}/trades/{{tradeSpecifier}}/orders"): self._protect_trade,
            ("GET", f"{ACCOUNT}/positions"): self._positions,
            ("GET", f"{ACCOUNT}/openPositions"): self._open_positions,
            ("GET", f"{ACCOUNT}/positions/{{instrument}}"): self._position,
            ("PUT", f"{ACCOUNT}/positions/{{instrument}}/close"): self._close_position,
            ("GET", f"{ACCOUNT}/transactions"): self._pages,
            ("GET", f"{ACCOUNT}/transactions/{{transactionID}}"): self._transaction,
            ("GET", f"{ACCOUNT}/transactions/idrange"): self._id_range,
            ("GET", f"{ACCOUNT}/transactions/sinceid"): self._since_id,
        }

    def _ok(self, **body: Cell) -> Reply:
        return Reply(200, {**body, "lastTransactionID": str(self._account.last)})

    def _done(self, status: int, start: int, **body: Cell) -> Reply:
        """What a change answers: start is the last transaction before it."""
        related = [row["id"] for row in self.transactions[start:]]
        known = {name: cell for name, cell in body.items() if cell is not None}
        return Reply(status, {**known, "relatedTransactionIDs": related, "lastTransactionID": str(self._account.last)})

    def _ending(self, start: int, order: str, kind: str) -> Wire | None:
        """The first transaction of a kind since start that ended an order."""
        rows = self.transactions[start:]
        return next((row for row in rows if row["type"] == kind and row.get("orderID") == order), None)

    def _placed(self, status: int, start: int, record: Wire, prefix: str = "order", **body: Cell) -> Reply:
        """What became of an order: created, filled, cancelled, or rejected."""
        if "rejectReason" in record:
            because = {"errorCode": record["rejectReason"], "errorMessage": f"rejected: {record['rejectReason']}"}
            return self._done(400, start, **{f"{prefix}RejectTransaction": record}, **because)
        fill, cancel = (self._ending(start, record["id"], kind) for kind in ("ORDER_FILL", "ORDER_CANCEL"))
        parts = {
            f"{prefix}CreateTransaction": record,
            f"{prefix}FillTransaction": fill,
            f"{prefix}CancelTransaction": cancel,
        }
        return self._done(status, start, **{**parts, **body})

    # ------------------------------------------------------------ account and prices

    def _full_account(self, request: Request, _: Plan) -> Reply:
        account = self._account
        return self._ok(account={
            **account.summary_wire(), "orders": [each.wire() for each in account.pending()],
            "trades": [account.trade_wire(each, summary=True) for each in account.open_trades()],
            "positions": [account.position_wire(name) for name in self._traded()],
        })  # fmt: skip

    def _instruments(self, request: Request, _: Plan) -> Reply:
        asked = (
            request.query["instruments"].split(",") if "instruments" in request.query else [*self._account.instruments]
        )
        if unknown := set(asked) - set(self._account.instruments):
            return refused(400, "", f"Invalid value specified for 'instruments': {sorted(unknown)}")
        listed = [self._account.instruments[name] for name in asked]
        return self._ok(instruments=[each.wire() for each in listed if not each.delisted])

    def _changes(self, request: Request, _: Plan) -> Reply:
        since, account = int(request.query.get("sinceTransactionID", "0")), self._account
        if since > account.last:
            return refused(416, "INVALID_RANGE", "since is beyond the last transaction")
        rows = self.transactions[since:]
        fills = [row for row in rows if row["type"] == "ORDER_FILL"]
        cancels = [row["orderID"] for row in rows if row["type"] == "ORDER_CANCEL"]
        opened = [row["tradeOpened"]["tradeID"] for row in fills if "tradeOpened" in row]
        reduced = [row["tradeReduced"]["tradeID"] for row in fills if "tradeReduced" in row]
        closed = [cut["tradeID"] for row in fills for cut in row.get("tradesClosed", [])]
        orders = {"ordersCreated": [row["id"] for row in rows if int(row["id"]) in self.orders], "ordersCancelled": cancels,
                  "ordersFilled": [row["orderID"] for row in fills], "ordersTriggered": []}  # fmt: skip
        trades = {"tradesOpened": opened, "tradesReduced": reduced, "tradesClosed": closed}
        changes = {
            name: [self.orders[int(id)].wire() for id in ids if int(id) in self.orders] for name, ids in orders.items()
        }
        changes |= {
            n: [account.trade_wire(self.trades[int(id)], summary=True) for id in ids] for n, ids in trades.items()
        }
        changes |= {"positions": [account.position_wire(n) for n in dict.fromkeys(row["instrument"] for row in fills)]}
        return self._ok(changes={**changes, "transactions": list(rows)}, state={**account.state(), **self._moving()})

    def _moving(self) -> Wire:
        account = self._account
        trades = [account.trade_wire(each) for each in account.open_trades()]
        positions = [account.position_wire(name) for name in dict.fromkeys(each["instrument"] for each in trades)]
        return {
            "orders": [], "trades": [{name: each[name] for name in ("id", "unrealizedPL", "marginUsed")} for each in trades],
            "positions": [{
                "instrument": each["instrument"], "netUnrealizedPL": each["unrealizedPL"], "marginUsed": each["marginUsed"],
                "longUnrealizedPL": each["long"]["unrealizedPL"], "shortUnrealizedPL": each["short"]["unrealizedPL"],
            } for each in positions],
        }  # fmt: skip

    def _pricing(self, request: Request, _: Plan) -> Reply:
        asked, account = request.query["instruments"].split(","), self._account
        if unknown := set(asked) - set(account.instruments):
            return refused(400, "", f"Invalid value specified for 'instruments': {sorted(unknown)}")
        since = read_time(request.query["since"]) if "since" in request.query else -1
        prices = [account.price_wire(each) for each in asked if each in account.quotes]
        body: Wire = {"prices": [each for each in prices if each["time"] > since], "time": Time(self._now())}
        if request.query.get("includeHomeConversions") == "true":
            homes = {name: account.home(name) for each in asked for name in each.split("_")}
            body["homeConversions"] = [
                {"currency": name, "accountGain": home.gain, "accountLoss": home.loss, "positionValue": home.value}
                for name, home in homes.items() if home
            ]  # fmt: skip
        return Reply(200, body)

    def _candles(self, request: Request, _: Plan) -> Reply:
        query, name = request.query, request.params["instrument"]
        granularity, price, now = query.get("granularity", "S5"), query.get("price", "M"), self._now()
        if name not in self._account.instruments or not price or set(price) - set("MBA") or granularity in ("W", "M"):
            return refused(400, "", f"Invalid value specified: {name} {price} {granularity}")
        times = {end: read_time(query[end]) for end in ("from", "to") if end in query}
        for end in times:
            if times[end] > now:
                return refused(400, "", f"Invalid value specified for '{end}'. Time is in the future")
        count = int(query.get("count", "5000" if len(times) == 2 else "500"))
        if len(times) == 2 and "count" in query:
            return refused(400, "", "'count' cannot be specified when 'to' and 'from' parameters are set")
        if not 0 < count <= 5000:
            return refused(400, "", "Maximum value for 'count' exceeded")
        grid = Grid(
            seconds_of(granularity),
            int(query.get("dailyAlignment", "17")),
            query.get("alignmentTimezone", "America/New_York"),
        )
        start = grid.span(times["from"])[query.get("includeFirst") == "false"] if "from" in times else None
        rows = candles(
            self._bars_of(name, grid, start, times.get("to", now), count),
            grid,
            self._account.instruments[name],
            price,
            now,
        )
        if len(times) == 2 and len(rows) > 5000:
            return refused(400, "", "Maximum value for 'count' exceeded")
        rows = rows[:count] if start is not None else rows[-count:]
        return Reply(200, {"instrument": name, "granularity": granularity, "candles": rows})

    def _bars_of(self, name: str, grid: Grid, start: int | None, end: int, count: int) -> Sequence[Bar]:
        """Enough bars before end, or from start on, for so many candles and one more."""
        bars = self._bars.get(name, [])
        stop = bisect_left(bars, end, key=lambda bar: bar.time)
        if not stop:
            return []
        ratio = max(1, grid.seconds * SECOND // (bars[0].close_time - bars[0].time) + 1)
        if start is None:
            start = grid.span(bars[max(0, stop - (count + 1) * ratio)].time)[0]
        first = bisect_left(bars, start, key=lambda bar: bar.time)
        return bars[first : min(stop, first + (count + 2) * ratio)] if start is None else bars[first:stop]

    # ------------------------------------------------------------ orders

    def _post_order(self, request: Request, plan: Plan) -> Reply:
        start, fields = self._account.last, (request.body or {}).get("order")
        if unfit := self._unserved(fields):
            return unfit
        return self._placed(201, start, self._account.place(fields, plan))

    def _unserved(self, fields: Wire | None) -> Reply | None:
        if not fields:
            return refused(400, "", "'order' is missing")
        return None if fields["type"] in SERVED else refused(501, "", f"{fields['type']} orders are not served")

    def _replace_order(self, request: Request, plan: Plan) -> Reply:
        start, fields, specifier = (
            self._account.last,
            (request.body or {}).get("order"),
            request.params["orderSpecifier"],
        )
        if unfit := self._unserved(fields):
            return unfit
        order = self._account.find_order(specifier)
        if order is None or order.state != "PENDING":
            return self._too_late(specifier, start)
        record = self._account.place(fields, plan, replaces=order)
        if "rejectReason" in record:
            return self._placed(400, start, record)
        cancelled = self._ending(start, str(order.id), "ORDER_CANCEL")
        ended = self._ending(start, record["id"], "ORDER_CANCEL")
        return self._placed(201, start, record, orderCancelTransaction=cancelled, replacingOrderCancelTransaction=ended)

    def _cancel_order(self, request: Request, _: Plan) -> Reply:
        start, specifier = self._account.last, request.params["orderSpecifier"]
        order = self._account.find_order(specifier)
        if order is None or order.state != "PENDING":
            return self._too_late(specifier, start)
        return self._done(200, start, orderCancelTransaction=self._account.cancel(order.id, "CLIENT_REQUEST"))

    def _too_late(self, specifier: str, start: int) -> Reply:
        record = self._account.refuse_cancel(specifier)
        because = {"errorCode": "ORDER_DOESNT_EXIST", "errorMessage": "The Order specified does not exist"}
        return self._done(404, start, orderCancelRejectTransaction=record, **because)

    def _order(self, request: Request, _: Plan) -> Reply:
        order = self._account.find_order(request.params["orderSpecifier"])
        return (
            self._ok(order=order.wire())
            if order
            else refused(404, "NO_SUCH_ORDER", "The order ID specified does not exist")
        )

    def _pending_orders(self, request: Request, _: Plan) -> Reply:
        return self._ok(orders=[each.wire() for each in reversed(self._account.pending())])

    def _list_orders(self, request: Request, _: Plan) -> Reply:
        rows = [(each.instrument, each.wire()) for each in self.orders.values()]
        return self._ok(orders=listed(rows, request.query, "PENDING"))

    # ------------------------------------------------------------ trades and positions

    def _trade(self, request: Request, _: Plan) -> Reply:
        trade = self._account.find_trade(request.params["tradeSpecifier"])
        return (
            self._ok(trade=self._account.trade_wire(trade)) if trade else refused(404, "NO_SUCH_TRADE", "no such trade")
        )

    def _open_trades(self, request: Request, _: Plan) -> Reply:
        return self._ok(trades=[self._account.trade_wire(each) for each in reversed(self._account.open_trades())])

    def _list_trades(self, request: Request, _: Plan) -> Reply:
        rows = [(each.instrument, self._account.trade_wire(each)) for each in self.trades.values()]
        return self._ok(trades=listed(rows, request.query, "OPEN"))

    def _close_trade(self, request: Request, plan: Plan) -> Reply:
        start, specifier, said = (
            self._account.last,
            request.params["tradeSpecifier"],
            (request.body or {}).get("units", "ALL"),
        )
        trade = self._account.find_trade(specifier)
        if trade is None or not trade.units:
            record = self._account.refuse_close("TRADE_DOESNT_EXIST", "TRADE_CLOSE")
            return self._done(
                404, start, orderRejectTransaction=record, errorCode="TRADE_DOESNT_EXIST", errorMessage="no such trade"
            )
        units = units_of(said, abs(trade.units))
        if units is None or units > abs(trade.units):
            code = "CLOSE_TRADE_UNITS_EXCEED_TRADE_SIZE" if units else "CLOSE_TRADE_PARTIAL_UNITS_MISSING"
            record = self._account.refuse_close(code, "TRADE_CLOSE", instrument=trade.instrument)
            return Reply(400, {"orderRejectTransaction": record, "errorCode": code, "errorMessage": code})
        return self._placed(200, start, self._account.close_trade(trade, units, plan=plan))

    def _protect_trade(self, request: Request, plan: Plan) -> Reply:
        start, account, body = self._account.last, self._account, request.body or {}
        trade = account.find_trade(request.params["tradeSpecifier"])
        if trade is None:
            return refused(404, "NO_SUCH_TRADE", "The trade ID specified does not exist")
        if "trailingStopLoss" in body:
            return refused(501, "", "trailing stops are not served")
        parts: Wire = {}
        for name, kind in PROTECTIONS.items():
            if name not in body:
                continue
            standing = account.dependent(trade.id, kind)
            standing = standing if standing and standing.state == "PENDING" else None
            if body[name] is not None:
                record = account.place({"type": kind, "tradeID": str(trade.id), **body[name]}, plan, replaces=standing)
                if "rejectReason" in record:
                    return self._placed(400, start, record, f"{name}Order")
                parts[f"{name}OrderTransaction"] = record
                parts[f"{name}OrderFillTransaction"] = self._ending(start, record["id"], "ORDER_FILL")
                parts[f"{name}OrderCreatedCancelTransaction"] = self._ending(start, record["id"], "ORDER_CANCEL")
            elif standing:
                account.cancel(standing.id, "CLIENT_REQUEST")
            if standing:
                parts[f"{name}OrderCancelTransaction"] = self._ending(start, str(standing.id), "ORDER_CANCEL")
        return self._done(200, start, **parts)

    def _traded(self) -> Iterable[str]:
        return dict.fromkeys(each.instrument for each in self.trades.values())

    def _positions(self, request: Request, _: Plan) -> Reply:
        return self._ok(positions=[self._account.position_wire(each) for each in self._traded()])

    def _open_positions(self, request: Request, _: Plan) -> Reply:
        names = dict.fromkeys(each.instrument for each in self._account.open_trades())
        return self._ok(positions=[self._account.position_wire(each) for each in names])

    def _position(self, request: Request, _: Plan) -> Reply:
        name = request.params["instrument"]
        if name not in self._traded():
            return refused(404, "NO_SUCH_POSITION", "The Account has never had a Position in this Instrument")
        return self._ok(position=self._account.position_wire(name))

    def _close_position(self, request: Request, plan: Plan) -> Reply:
        """A side that is not named is left alone, unless none is: then both are closed."""
        start, account, name = self._account.last, self._account, request.params["instrument"]
        body = request.body or {"longUnits": "ALL", "shortUnits": "ALL"}
        trades, parts = account.open_trades(name), {}
        for side, sign in (("long", 1), ("short", -1)):
            said = str(body.get(f"{side}Units", "NONE"))
            held = sum((abs(each.units) for each in trades if each.units * sign > 0), Decimal(0))
            units = units_of(said, held)
            if said == "NONE" or (not held and not request.body):
                continue
            if units is None or not held or units > held:
                code = "CLOSEOUT_POSITION_UNITS_EXCEED_POSITION_SIZE" if held else "CLOSEOUT_POSITION_DOESNT_EXIST"
                record = account.refuse_close(code, "POSITION_CLOSEOUT", instrument=name)
                return self._done(
                    400 if held else 404,
                    start,
                    **{f"{side}OrderRejectTransaction": record},
                    errorCode=code,
                    errorMessage=code,
                )
            record = account.close_position(name, -sign * units, said, plan=plan)
            parts |= {f"{side}OrderCreateTransaction": record, f"{side}OrderFillTransaction": self._ending(start, record["id"], "ORDER_FILL"),
                      f"{side}OrderCancelTransaction": self._ending(start, record["id"], "ORDER_CANCEL")}  # fmt: skip
        return self._done(200, start, **parts)

    # ------------------------------------------------------------ transactions

    def _transaction(self, request: Request, _: Plan) -> Reply:
        id = request.params["transactionID"]
        if not id.isdigit() or not 0 < int(id) <= self._account.last:
            return refused(404, "NO_SUCH_TRANSACTION", "no such transaction")
        return self._ok(transaction=self.transactions[int(id) - 1])

    def _range(self, first: int, last: int, kinds: str) -> Reply:
        rows = self.transactions[max(first, 1) - 1 : last]
        return self._ok(transactions=[row for row in rows if not kinds or row["type"] in kinds.split(",")])

    def _id_range(self, request: Request, _: Plan) -> Reply:
        first, last = int(request.query["from"]), int(request.query["to"])
        if first > self._account.last or last > self._account.last or first > last:
            return refused(416, "INVALID_RANGE", "The range is beyond the last transaction")
        return self._range(first, last, request.query.get("type", ""))

    def _since_id(self, request: Request, _: Plan) -> Reply:
        since = int(request.query["id"])
        if since > self._account.last:
            return refused(416, "INVALID_RANGE", "The id is beyond the last transaction")
        return self._range(since + 1, self._account.last, "")

    def _pages(self, request: Request, _: Plan) -> Reply:
        query, size = request.query, int(request.query.get("pageSize", "100"))
        first, last = (
            read_time(query[end]) if end in query else now
            for end, now in (("from", self._account.created), ("to", Time(self._now())))
        )
        if not 0 < size <= 1000:
            return refused(400, "", "Invalid value specified for 'pageSize'")
        ids = [int(row["id"]) for row in self.transactions if first <= row["time"] <= last]
        base = f"{self.url}/v3/accounts/{self.id}/transactions/idrange"
        pages = [f"{base}?from={ids[at]}&to={ids[min(at + size, len(ids)) - 1]}" for at in range(0, len(ids), size)]
        return self._ok(**{"from": first, "to": last}, pageSize=size, count=len(ids), pages=pages)


# ---------------------------------------------------------------- small helpers


def refused(status: int, code: str, message: str) -> Reply:
    return Reply(status, {"errorCode": code, "errorMessage": message} if code else {"errorMessage": message})


def read_json(raw: bytes) -> Wire | None:
    try:
        return json.loads(raw) if raw else None
    except ValueError:
        return {"body": "no JSON"}  # which no operation takes


def units_of(said: str, held: Decimal) -> Decimal | None:
    """How much of what is held a client means; None where it is no positive number."""
    if said == "ALL":
        return held
    return Decimal(said) if said.replace(".", "", 1).isdigit() and Decimal(said) > 0 else None


def listed(rows: list[tuple[str, Wire]], query: Mapping[str, str], state: str) -> list[Wire]:
    """The newest first, as the query filters them; a row comes with its instrument."""
    wanted, before = query.get("state", "ALL" if "ids" in query else state), int(query.get("beforeID", 10**18))
    kept = [
        row for instrument, row in reversed(rows)
        if wanted in ("ALL", row["state"]) and int(row["id"]) <= before
        and row["id"] in query.get("ids", row["id"]).split(",") and instrument == query.get("instrument", instrument)
    ]  # fmt: skip
    return kept[: int(query.get("count", "50"))]


# ---------------------------------------------------------------- the server


class Server:
    """A thread with its own loop, on a free port of loopback. What hangs neither blocks the others nor the end."""

    def __init__(self, answer: Callable[..., Reply], context: ssl.SSLContext | None) -> None:
        self._answer, self._context = answer, context
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="loopback", daemon=True)
        self.url = ""

    def start(self) -> None:
        self._thread.start()
        self._ready.wait(10.0)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._ends.set)
        self._thread.join(10.0)

    async def _serve(self) -> None:
        self._loop, self._ends = asyncio.get_running_loop(), asyncio.Event()
        runner = web.ServerRunner(web.Server(self._respond, handler_cancellation=True), shutdown_timeout=1.0)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=self._context).start()
        self.url = f"{'https' if self._context else 'http'}://127.0.0.1:{runner.addresses[0][1]}"
        self._ready.set()
        await self._ends.wait()
        await runner.cleanup()

    async def _respond(self, incoming: web.BaseRequest) -> web.Response:
        raw = await incoming.read()
        reply = self._answer(incoming.method, incoming.path, incoming.query, incoming.headers, raw)
        await self._wait(None if reply.hangs else reply.delay)
        if reply.hangs or reply.drops:
            if incoming.transport:
                incoming.transport.abort()
            return web.Response()
        return web.Response(
            status=reply.status, body=reply.encoded(), headers=dict(reply.headers), content_type="application/json"
        )

    async def _wait(self, seconds: float | None) -> None:
        """So long, for ever, or until the venue ends."""
        if seconds == 0.0:
            return
        try:
            await asyncio.wait_for(self._ends.wait(), seconds)
        except TimeoutError:
            return
