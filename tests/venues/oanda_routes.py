"""What each route of the loopback OANDA answers, read from its account or done to it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal

from tests.venues.oanda_account import DEPENDENT, Account
from tests.venues.oanda_candles import MOST, Bar, asked_candles, wrong_candles
from tests.venues.oanda_values import Plan, Trade
from tests.venues.oanda_wire import ACCOUNT, Cell, Reply, Request, Time, Wire, read_time, refused

SERVED = ("MARKET", "LIMIT", "STOP", *DEPENDENT)
PROTECTIONS = {"takeProfit": "TAKE_PROFIT", "stopLoss": "STOP_LOSS"}
NO_TRADE = refused(404, "NO_SUCH_TRADE", "The trade ID specified does not exist")
Handler = Callable[[Request, Plan], Reply]


class Routes:
    """url is asked only when a page's address is written: a server has none before it runs."""

    def __init__(self, account: Account, bars: Mapping[str, Sequence[Bar]], url: Callable[[], str]) -> None:
        self.account, self.bars, self.url = account, bars, url

    def table(self) -> Mapping[tuple[str, str], Handler]:
        return {
            ("GET", "/accounts"): lambda *_: Reply(200, {"accounts": [{"id": self.account.id, "tags": []}]}),
            ("GET", ACCOUNT): self._full_account,
            ("GET", f"{ACCOUNT}/summary"): lambda *_: self._ok(account=self.account.summary_wire()),
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
        return Reply(200, {**body, "lastTransactionID": str(self.account.last)})

    def _done(self, status: int, start: int, **body: Cell) -> Reply:
        """What a change answers: start is the last transaction before it."""
        related = [row["id"] for row in self.account.transactions[start:]]
        known = {name: cell for name, cell in body.items() if cell is not None}
        return Reply(status, {**known, "relatedTransactionIDs": related, "lastTransactionID": str(self.account.last)})

    def _ending(self, start: int, order: str, kind: str) -> Wire | None:
        """The first transaction of a kind since start that ended an order."""
        rows = self.account.transactions[start:]
        return next((row for row in rows if row["type"] == kind and row.get("orderID") == order), None)

    def _placed(self, status: int, start: int, record: Wire, prefix: str = "order", **body: Cell) -> Reply:
        """What became of an order: created, filled, cancelled, or rejected."""
        if "rejectReason" in record:
            return self._done(400, start, **{f"{prefix}RejectTransaction": record}, **because(record["rejectReason"]))
        fill, cancel = (self._ending(start, record["id"], kind) for kind in ("ORDER_FILL", "ORDER_CANCEL"))
        parts = {"Create": record, "Fill": fill, "Cancel": cancel}
        named = {f"{prefix}{part}Transaction": row for part, row in parts.items()}
        return self._done(status, start, **{**named, **body})

    # ------------------------------------------------------------ account and prices

    def _full_account(self, request: Request, _: Plan) -> Reply:
        account = self.account
        return self._ok(account={
            **account.summary_wire(), "orders": [each.wire() for each in account.pending()],
            "trades": [account.trade_wire(each, summary=True) for each in account.open_trades()],
            "positions": [account.position_wire(name) for name in self._traded()],
        })  # fmt: skip

    def _instruments(self, request: Request, _: Plan) -> Reply:
        asked = request.query.get("instruments", ",".join(self.account.instruments)).split(",")
        if unknown := set(asked) - set(self.account.instruments):
            return refused(400, "", f"Invalid value specified for 'instruments': {sorted(unknown)}")
        listed = [self.account.instruments[name] for name in asked]
        return self._ok(instruments=[each.wire() for each in listed if not each.delisted])

    def _changes(self, request: Request, _: Plan) -> Reply:
        since, account = int(request.query.get("sinceTransactionID", "0")), self.account
        if since > account.last:
            return refused(416, "INVALID_RANGE", "since is beyond the last transaction")
        rows = account.transactions[since:]
        fills = [row for row in rows if row["type"] == "ORDER_FILL"]
        touched = [account.position_wire(name) for name in dict.fromkeys(row["instrument"] for row in fills)]
        changes = {**self._changed_orders(rows, fills), **self._changed_trades(fills), "positions": touched}
        return self._ok(changes={**changes, "transactions": list(rows)}, state={**account.state(), **self._moving()})

    def _changed_orders(self, rows: Sequence[Wire], fills: Sequence[Wire]) -> Wire:
        cancelled = [row["orderID"] for row in rows if row["type"] == "ORDER_CANCEL"]
        ids = {"Created": [row["id"] for row in rows], "Cancelled": cancelled, "Filled": [f["orderID"] for f in fills]}
        orders = self.account.orders  # without those that were forgotten
        found = {
            f"orders{how}": [orders[int(id)].wire() for id in each if int(id) in orders] for how, each in ids.items()
        }
        return {**found, "ordersTriggered": []}

    def _changed_trades(self, fills: Sequence[Wire]) -> Wire:
        cuts = {"Opened": [f["tradeOpened"] for f in fills if "tradeOpened" in f],
                "Reduced": [f["tradeReduced"] for f in fills if "tradeReduced" in f],
                "Closed": [cut for f in fills for cut in f.get("tradesClosed", [])]}  # fmt: skip
        trades = {how: [self.account.trades[int(cut["tradeID"])] for cut in each] for how, each in cuts.items()}
        return {
            f"trades{how}": [self.account.trade_wire(t, summary=True) for t in each] for how, each in trades.items()
        }

    def _moving(self) -> Wire:
        account = self.account
        trades = [account.trade_wire(each) for each in account.open_trades()]
        positions = [account.position_wire(name) for name in dict.fromkeys(each["instrument"] for each in trades)]
        return {
            "orders": [],
            "trades": [{name: each[name] for name in ("id", "unrealizedPL", "marginUsed")} for each in trades],
            "positions": [{
                "instrument": each["instrument"], "marginUsed": each["marginUsed"],
                "netUnrealizedPL": each["unrealizedPL"], "longUnrealizedPL": each["long"]["unrealizedPL"],
                "shortUnrealizedPL": each["short"]["unrealizedPL"],
            } for each in positions],
        }  # fmt: skip

    def _pricing(self, request: Request, _: Plan) -> Reply:
        asked, account = request.query["instruments"].split(","), self.account
        if unknown := set(asked) - set(account.instruments):
            return refused(400, "", f"Invalid value specified for 'instruments': {sorted(unknown)}")
        since = read_time(request.query["since"]) if "since" in request.query else -1
        prices = [account.price_wire(each) for each in asked if each in account.quotes]
        body: Wire = {"prices": [each for each in prices if each["time"] > since], "time": Time(self.account.now())}
        if request.query.get("includeHomeConversions") == "true":
            homes = {name: account.home(name) for each in asked for name in each.split("_")}
            body["homeConversions"] = [
                {"currency": name, "accountGain": home.gain, "accountLoss": home.loss, "positionValue": home.value}
                for name, home in homes.items() if home
            ]  # fmt: skip
        return Reply(200, body)

    def _candles(self, request: Request, _: Plan) -> Reply:
        name, query, now = request.params["instrument"], request.query, self.account.now()
        if name not in self.account.instruments:
            return refused(400, "", "Invalid value specified for 'instrument'")
        if wrong := next(wrong_candles(query, now), ""):
            return refused(400, "", wrong)
        rows = asked_candles(self.bars.get(name, []), self.account.instruments[name], query, now)
        if len(rows) > MOST:
            return refused(400, "", "Maximum value for 'count' exceeded")
        return Reply(200, {"instrument": name, "granularity": query.get("granularity", "S5"), "candles": rows})

    # ------------------------------------------------------------ orders

    def _post_order(self, request: Request, plan: Plan) -> Reply:
        start, fields = self.account.last, (request.body or {}).get("order")
        if unfit := self._unserved(fields):
            return unfit
        return self._placed(201, start, self.account.place(fields, plan))

    def _unserved(self, fields: Wire | None) -> Reply | None:
        if not fields:
            return refused(400, "", "'order' is missing")
        return None if fields["type"] in SERVED else refused(501, "", f"{fields['type']} orders are not served")

    def _replace_order(self, request: Request, plan: Plan) -> Reply:
        start, specifier = self.account.last, request.params["orderSpecifier"]
        fields = (request.body or {}).get("order")
        if unfit := self._unserved(fields):
            return unfit
        order = self.account.find_order(specifier)
        if order is None or order.state != "PENDING":
            return self._too_late(specifier, start)
        record = self.account.place(fields, plan, replaces=order)
        if "rejectReason" in record:
            return self._placed(400, start, record)
        cancelled = self._ending(start, str(order.id), "ORDER_CANCEL")
        ended = self._ending(start, record["id"], "ORDER_CANCEL")
        return self._placed(201, start, record, orderCancelTransaction=cancelled, replacingOrderCancelTransaction=ended)

    def _cancel_order(self, request: Request, _: Plan) -> Reply:
        start, specifier = self.account.last, request.params["orderSpecifier"]
        order = self.account.find_order(specifier)
        if order is None or order.state != "PENDING":
            return self._too_late(specifier, start)
        return self._done(200, start, orderCancelTransaction=self.account.cancel(order.id, "CLIENT_REQUEST"))

    def _too_late(self, specifier: str, start: int) -> Reply:
        record = self.account.refuse_cancel(specifier)
        return self._done(404, start, orderCancelRejectTransaction=record, **because("ORDER_DOESNT_EXIST"))

    def _order(self, request: Request, _: Plan) -> Reply:
        order = self.account.find_order(request.params["orderSpecifier"])
        return self._ok(order=order.wire()) if order else refused(404, "NO_SUCH_ORDER", "no such order")

    def _pending_orders(self, request: Request, _: Plan) -> Reply:
        return self._ok(orders=[each.wire() for each in reversed(self.account.pending())])

    def _list_orders(self, request: Request, _: Plan) -> Reply:
        rows = [(each.instrument, each.wire()) for each in self.account.orders.values()]
        return self._ok(orders=listed(rows, request.query, "PENDING"))

    # ------------------------------------------------------------ trades and positions

    def _trade(self, request: Request, _: Plan) -> Reply:
        trade = self.account.find_trade(request.params["tradeSpecifier"])
        return self._ok(trade=self.account.trade_wire(trade)) if trade else NO_TRADE

    def _open_trades(self, request: Request, _: Plan) -> Reply:
        return self._ok(trades=[self.account.trade_wire(each) for each in reversed(self.account.open_trades())])

    def _list_trades(self, request: Request, _: Plan) -> Reply:
        rows = [(each.instrument, self.account.trade_wire(each)) for each in self.account.trades.values()]
        return self._ok(trades=listed(rows, request.query, "OPEN"))

    def _close_trade(self, request: Request, plan: Plan) -> Reply:
        start, trade = self.account.last, self.account.find_trade(request.params["tradeSpecifier"])
        if trade is None or not trade.units:
            record = self.account.refuse_close("TRADE_DOESNT_EXIST", "TRADE_CLOSE")
            return self._done(404, start, orderRejectTransaction=record, **because("TRADE_DOESNT_EXIST"))
        units = units_of((request.body or {}).get("units", "ALL"), abs(trade.units))
        if units is None or units > abs(trade.units):
            code = "CLOSE_TRADE_UNITS_EXCEED_TRADE_SIZE" if units else "CLOSE_TRADE_PARTIAL_UNITS_MISSING"
            record = self.account.refuse_close(code, "TRADE_CLOSE", instrument=trade.instrument)
            return Reply(400, {"orderRejectTransaction": record, **because(code)})
        return self._placed(200, start, self.account.close_trade(trade, units, plan=plan))

    def _protect_trade(self, request: Request, plan: Plan) -> Reply:
        start, body, parts = self.account.last, request.body or {}, {}
        trade = self.account.find_trade(request.params["tradeSpecifier"])
        if trade is None:
            return NO_TRADE
        if "trailingStopLoss" in body:
            return refused(501, "", "trailing stops are not served")
        for name in (each for each in PROTECTIONS if each in body):
            parts |= self._set_dependent(trade, name, body[name], plan)
        rejected = [row for name, row in parts.items() if row and "rejectReason" in row]
        if rejected:
            kept = {name: row for name, row in parts.items() if row in rejected}
            return self._done(400, start, **kept, **because(rejected[0]["rejectReason"]))
        return self._done(200, start, **parts)

    def _set_dependent(self, trade: Trade, name: str, detail: Wire | None, plan: Plan) -> Wire:
        """Set, replace or (null) clear a trade's stop or target: its transactions by their names."""
        start, standing = self.account.last, self.account.dependent(trade.id, PROTECTIONS[name])
        standing = standing if standing and standing.state == "PENDING" else None
        parts: Wire = {}
        if detail is not None:
            fields = {"type": PROTECTIONS[name], "tradeID": str(trade.id), **detail}
            record = self.account.place(fields, plan, replaces=standing)
            if "rejectReason" in record:
                return {f"{name}OrderRejectTransaction": record}
            parts = {"": record, "Fill": self._ending(start, record["id"], "ORDER_FILL"),
                     "CreatedCancel": self._ending(start, record["id"], "ORDER_CANCEL")}  # fmt: skip
        elif standing:
            self.account.cancel(standing.id, "CLIENT_REQUEST")
        if standing:
            parts["Cancel"] = self._ending(start, str(standing.id), "ORDER_CANCEL")
        return {f"{name}Order{part}Transaction": row for part, row in parts.items()}

    def _traded(self) -> Iterable[str]:
        return dict.fromkeys(each.instrument for each in self.account.trades.values())

    def _positions(self, request: Request, _: Plan) -> Reply:
        return self._ok(positions=[self.account.position_wire(each) for each in self._traded()])

    def _open_positions(self, request: Request, _: Plan) -> Reply:
        names = dict.fromkeys(each.instrument for each in self.account.open_trades())
        return self._ok(positions=[self.account.position_wire(each) for each in names])

    def _position(self, request: Request, _: Plan) -> Reply:
        name = request.params["instrument"]
        if name not in self._traded():
            return refused(404, "NO_SUCH_POSITION", "The Account has never had a Position in this Instrument")
        return self._ok(position=self.account.position_wire(name))

    def _close_position(self, request: Request, plan: Plan) -> Reply:
        """A side that is not named is left alone, unless none is: then what is held is closed."""
        start, name, parts = self.account.last, request.params["instrument"], {}
        for side, sign in (("long", 1), ("short", -1)):
            trades = [each.units for each in self.account.open_trades(name) if each.units * sign > 0]
            held = abs(sum(trades, Decimal(0)))
            said = (request.body or {f"{side}Units": "ALL" if held else "NONE"}).get(f"{side}Units", "NONE")
            if said == "NONE":
                continue
            units = units_of(said, held)
            if not units or units > held:
                code = "CLOSEOUT_POSITION_UNITS_EXCEED_POSITION_SIZE" if held else "CLOSEOUT_POSITION_DOESNT_EXIST"
                record = self.account.refuse_close(code, "POSITION_CLOSEOUT", instrument=name)
                rejected = {f"{side}OrderRejectTransaction": record, **because(code)}
                return self._done(400 if held else 404, start, **rejected)
            record = self.account.close_position(name, -sign * units, said, plan=plan)
            ended = {part: self._ending(start, record["id"], f"ORDER_{part.upper()}") for part in ("Fill", "Cancel")}
            parts |= {f"{side}Order{part}Transaction": row for part, row in {"Create": record, **ended}.items()}
        return self._done(200, start, **parts)

    # ------------------------------------------------------------ transactions

    def _transaction(self, request: Request, _: Plan) -> Reply:
        id = request.params["transactionID"]
        if not id.isdigit() or not 0 < int(id) <= self.account.last:
            return refused(404, "NO_SUCH_TRANSACTION", "no such transaction")
        return self._ok(transaction=self.account.transactions[int(id) - 1])

    def _range(self, first: int, last: int, kinds: str) -> Reply:
        rows = self.account.transactions[max(first, 1) - 1 : last]
        return self._ok(transactions=[row for row in rows if not kinds or row["type"] in kinds.split(",")])

    def _id_range(self, request: Request, _: Plan) -> Reply:
        first, last = int(request.query["from"]), int(request.query["to"])
        if first > self.account.last or last > self.account.last or first > last:
            return refused(416, "INVALID_RANGE", "The range is beyond the last transaction")
        return self._range(first, last, request.query.get("type", ""))

    def _since_id(self, request: Request, _: Plan) -> Reply:
        since = int(request.query["id"])
        if since > self.account.last:
            return refused(416, "INVALID_RANGE", "The id is beyond the last transaction")
        return self._range(since + 1, self.account.last, "")

    def _pages(self, request: Request, _: Plan) -> Reply:
        query, size = request.query, int(request.query.get("pageSize", "100"))
        if not 0 < size <= 1000:
            return refused(400, "", "Invalid value specified for 'pageSize'")
        first = read_time(query["from"]) if "from" in query else self.account.created
        last = read_time(query["to"]) if "to" in query else Time(self.account.now())
        ids = [row["id"] for row in self.account.transactions if first <= row["time"] <= last]
        base = f"{self.url()}/v3/accounts/{self.account.id}/transactions/idrange"
        pages = [
            f"{base}?from={page[0]}&to={page[-1]}" for page in (ids[n : n + size] for n in range(0, len(ids), size))
        ]
        return self._ok(**{"from": first, "to": last}, pageSize=size, count=len(ids), pages=pages)


def because(code: str) -> Wire:
    return {"errorCode": code, "errorMessage": f"rejected: {code}"}


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
