"""A loopback venue that speaks Binance's spot REST protocol: the wire around `matching.Account`.

    authority = Authority(tmp_path, HOST)
    with Server(venue := Binance(cash={"USDT": 100_000.0}), authority.server_context()) as server:
        exchange = ccxt.binance({**ccxt_config(), "session": authority.session(server.port)})
        venue.price("BTCUSDT", 50_000.0)

What is not of this protocol stands in `venue`.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import TypeVar
from urllib.parse import parse_qsl

from ffe.model import Bar, Nanos
from tests.venues.faults import Asked, Fault
from tests.venues.matching import ZERO, Account, Kind, Market, Order, Reason, Rejected, Side, Trade, cut, exact
from tests.venues.server import Json, Reply, Request
from tests.venues.venue import DAY, MINUTE, MS, SECOND, Refused, Venue

HOST = "api.binance.com"
WALLET = "/sapi/v1/"  # where the rest of an account is asked for
MARKETS = tuple(Market(f"{base}USDT", base, "USDT") for base in ("BTC", "ETH", "SOL", "BNB"))
INTERVALS = {"1s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w", "1M"}
STRIKES = 5  # requests beyond the limit before the address is banned
BAN: Nanos = 120 * SECOND
LEGAL_ID = re.compile(r"[.A-Z:/a-z0-9_-]{1,36}")
REFUSALS: Mapping[Reason, tuple[int, str, int]] = {
    Reason.CLOSED: (-1013, "Market is closed.", 400),
    Reason.FUNDS: (-2010, "Account has insufficient balance for requested action.", 400),
    Reason.NO_BOOK: (-1112, "No orders on book for symbol.", 400),
    Reason.TICK: (-1013, "Filter failure: PRICE_FILTER", 400),
    Reason.STEP: (-1013, "Filter failure: LOT_SIZE", 400),
    Reason.TOO_SMALL: (-1013, "Filter failure: LOT_SIZE", 400),
    Reason.TOO_LARGE: (-1013, "Filter failure: LOT_SIZE", 400),
    Reason.MARKET_TOO_LARGE: (-1013, "Filter failure: MARKET_LOT_SIZE", 400),
    Reason.VALUE_TOO_SMALL: (-1013, "Filter failure: NOTIONAL", 400),
    Reason.VALUE_TOO_LARGE: (-1013, "Filter failure: NOTIONAL", 400),
    Reason.TRIGGERS: (-2010, "Order would trigger immediately.", 400),
    Reason.CROSSES: (-2010, "Order would immediately match and take.", 400),
    Reason.RELATION: (-2010, "The relationship of the prices for the orders is not correct.", 400),
    Reason.NOT_FOUND: (-2013, "Order does not exist.", 400),
    Reason.TOO_MANY: (-1003, "Too many requests queued.", 429),
    Reason.MAINTENANCE: (-1016, "System is under maintenance.", 503),
}
MESSAGES = {code: message for code, message, _ in REFUSALS.values()} | {
    -1007: "Timeout waiting for response from backend server. Send status unknown; execution status unknown.",
    -1008: "Server is currently overloaded with other requests. Please try again in a few minutes.",
    -1013: "Filter failure: NOTIONAL",
    -2010: "Account has insufficient balance for requested action.",
    -2011: "Unknown order sent.",
    -2015: "Invalid API-key, IP, or permissions for action.",
}

Params = Mapping[str, str]
Row = TypeVar("Row")


def ccxt_config(key: str = "key", secret: str = "secret") -> dict[str, object]:
    """What an unmodified ccxt.binance needs to ask for nothing but spot; the session is the caller's."""
    spot = {"defaultType": "spot", "fetchMarkets": {"types": ["spot"]}, "fetchMargins": False, "fetchCurrencies": False}
    return {"apiKey": key, "secret": secret, "options": spot, "enableRateLimit": False}


@dataclass(frozen=True, slots=True)
class Route:
    answer: Callable[[Params], Json]
    weight: int
    is_signed: bool = True


class Binance(Venue):
    """One account at the venue."""

    EXECUTED = ("status", "executedQty", "cummulativeQuoteQty")
    PRICES = ("lastPrice", "bidPrice", "askPrice")

    def __init__(
        self, markets: Iterable[Market] = MARKETS, cash: Mapping[str, float] | None = None, *,
        clock: Callable[[], Nanos] = time.time_ns, faults: Iterable[Fault] = (), fee: float = 0.001,
        fee_asset: str | None = None, half_spread: float = 0.0, weight_limit: int = 6_000,
        key: str = "key", secret: str = "secret",
    ) -> None:  # fmt: skip
        super().__init__(clock, faults)
        self.weight_limit = weight_limit
        self.account = Account(
            markets, cash or {"USDT": 100_000.0}, self.now, fee=fee, fee_asset=fee_asset, half_spread=half_spread
        )
        self.may_trade = self.key_may_trade = True  # the account, and the key that opens it
        self.permissions: list[Json] = ["SPOT"]
        self.order_types: list[Json] = [*Kind]  # of every market
        self.burns_bnb = fee_asset == "BNB"
        self.has_wallet = True  # a testnet has none
        self.banned_until: Nanos = 0
        self._key, self._secret = key, secret
        self._minute, self._used, self._strikes = 0, 0, 0
        self._routes = self._map()

    # ------------------------------------------------------------ requests

    def read(self, request: Request) -> Asked:
        params = dict(parse_qsl(f"{request.query}&{request.body}", keep_blank_values=True))
        public = {name: value for name, value in params.items() if name != "signature"}
        words = (request.method, request.path.removeprefix("/api/v3/"), params.get("type", ""))
        return Asked(self.now(), *words[:2], public, (words,))

    def route(self, request: Request, asked: Asked) -> Callable[[], Json]:
        route = self._routes.get((asked.method, asked.endpoint))
        if route is None or (asked.endpoint.startswith(WALLET) and not self.has_wallet):
            raise Refused(None, "Not found", 404)
        self._weigh(route.weight)
        if route.is_signed:
            self._authenticate(request, asked.params)
        return lambda: route.answer(asked.params)

    def refused(
        self,
        why: Reason | int | str | None,
        message: str = "",
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Refused:
        code, usual, usual_status = REFUSALS[why] if isinstance(why, Reason) else (why, MESSAGES.get(why, ""), 400)
        return Refused(code, message or usual, status or usual_status, headers)

    def worded(self, refused: Refused, asked: Asked | None) -> Reply:
        return Reply({"code": refused.code, "msg": refused.message}, refused.status, refused.headers)

    def rejection(self, rejected: Rejected) -> Refused:
        if rejected.reason is Reason.PRECISION:
            return Refused(-1111, f"Parameter '{rejected.what}' has too much precision.", 400)
        return super().rejection(rejected)

    def headers(self) -> Mapping[str, str]:
        return {"X-MBX-USED-WEIGHT-1M": str(self._used)}

    def spend(self, weight: int) -> None:
        """As much of this minute's requests, as if somebody else had used it."""
        self._weigh(weight)

    def _weigh(self, weight: int) -> None:
        """Too many requests in a minute are refused, and whoever does not stop then is banned."""
        now = self.now()
        if now < self.banned_until:
            seconds = -(-(self.banned_until - now) // SECOND)
            message = f"Way too much request weight used; IP banned until {self.banned_until // MS}."
            raise Refused(-1003, message, 418, {"Retry-After": str(seconds)})
        if now // MINUTE != self._minute:
            self._minute, self._used, self._strikes = now // MINUTE, 0, 0
        self._used += weight
        if self._used > self.weight_limit:
            self._strikes += 1
            self.banned_until = now + BAN if self._strikes > STRIKES else self.banned_until
            message = f"Too much request weight used; current limit is {self.weight_limit} request weight per 1 MINUTE."
            raise Refused(-1003, message, 429, {"Retry-After": str(60 - now // SECOND % 60)})

    def _authenticate(self, request: Request, params: Params) -> None:
        key = request.headers.get("X-MBX-APIKEY", "")
        if not key:
            raise Refused(-2014, "API-key format invalid.", 401)
        if key != self._key or self.is_revoked:
            raise Refused(-2015, "Invalid API-key, IP, or permissions for action.", 401)
        signed, _, signature = (request.query + request.body).rpartition("&signature=")
        expected = hmac.new(self._secret.encode(), signed.encode(), hashlib.sha256).hexdigest()
        if not hmac.compare_digest(signature.lower(), expected):
            raise Refused(-1022, "Signature for this request is not valid.")
        ahead = int(_needed(params, "timestamp")) - self.now() // MS
        if self.checks_time and ahead >= 1_000:
            raise Refused(-1021, "Timestamp for this request was 1000ms ahead of the server's time.")
        if self.checks_time and -ahead > int(params.get("recvWindow", "5000")):
            raise Refused(-1021, "Timestamp for this request is outside of the recvWindow.")

    def _map(self) -> dict[tuple[str, str], Route]:
        return {
            ("GET", "ping"): Route(lambda _: {}, 1, False),
            ("GET", "time"): Route(lambda _: {"serverTime": self.now() // MS}, 1, False),
            ("GET", "exchangeInfo"): Route(self._exchange_info, 20, False),
            ("GET", "klines"): Route(self._klines, 2, False),
            ("GET", "depth"): Route(self._depth, 5, False),
            ("GET", "ticker/24hr"): Route(lambda p: self._per_symbol(p, self._ticker), 2, False),
            ("GET", "ticker/bookTicker"): Route(lambda p: self._per_symbol(p, self._book_ticker), 2, False),
            ("GET", "account"): Route(self._account, 20),
            ("POST", "order"): Route(self._new_order, 1),
            ("GET", "order"): Route(lambda p: _order(self._known(p)), 4),
            ("DELETE", "order"): Route(self._cancel_order, 1),
            ("POST", "orderList/oco"): Route(self._new_pair, 1),
            ("GET", "openOrders"): Route(self._open_orders, 6),
            ("DELETE", "openOrders"): Route(self._cancel_open_orders, 1),
            ("GET", "allOrders"): Route(self._all_orders, 20),
            ("GET", "myTrades"): Route(self._my_trades, 20),
            ("GET", f"{WALLET}asset/tradeFee"): Route(self._trade_fees, 1),
            ("GET", f"{WALLET}account/apiRestrictions"): Route(self._key_rights, 1),
            ("GET", f"{WALLET}bnbBurn"): Route(lambda _: {"spotBNBBurn": self.burns_bnb, "interestBNBBurn": False}, 1),
        }

    # ------------------------------------------------------------ market data

    def _market(self, params: Params) -> Market:
        symbol = _needed(params, "symbol")
        if symbol not in self.account.markets:
            raise Refused(-1121, "Invalid symbol.")
        return self.account.markets[symbol]

    def _per_symbol(self, params: Params, one: Callable[[str], Json]) -> Json:
        """Of one symbol an object; of several, or of all, a list."""
        if "symbol" in params:
            return one(self._market(params).symbol)
        asked: list[str] = json.loads(params["symbols"]) if "symbols" in params else list(self.account.mids)
        return [one(self._market({"symbol": symbol}).symbol) for symbol in asked]

    def _exchange_info(self, params: Params) -> Json:
        limit: Json = {
            "rateLimitType": "REQUEST_WEIGHT",
            "interval": "MINUTE",
            "intervalNum": 1,
            "limit": self.weight_limit,
        }
        asked = [self._market(params)] if "symbol" in params else self.account.markets.values()
        symbols = [_symbol(market, self.order_types) for market in asked]
        now = self.now() // MS
        return {"timezone": "UTC", "serverTime": now, "rateLimits": [limit], "exchangeFilters": [], "symbols": symbols}

    def _klines(self, params: Params) -> Json:
        symbol, interval = self._market(params).symbol, _needed(params, "interval")
        if interval not in INTERVALS:
            raise Refused(-1120, "Invalid interval.")
        return [_kline(bar) for bar in _page(self.begun(symbol, interval), params, lambda bar: bar.open_time)]

    def _sides(self, symbol: str) -> tuple[str, str]:
        return (_text(self.account.side_price(symbol, Side.SELL)), _text(self.account.side_price(symbol, Side.BUY)))

    def _depth(self, params: Params) -> Json:
        symbol = self._market(params).symbol
        (bid, ask), qty = self._sides(symbol), _text(exact(self.account.liquidity.get(symbol, 1_000.0)))
        return {"lastUpdateId": len(self.requests), "bids": [[bid, qty]], "asks": [[ask, qty]]}

    def _book_ticker(self, symbol: str) -> dict[str, Json]:
        bid, ask = self._sides(symbol)
        return {"symbol": symbol, "bidPrice": bid, "bidQty": "1.00000000", "askPrice": ask, "askQty": "1.00000000"}

    def _ticker(self, symbol: str) -> dict[str, Json]:
        """Of a day in which nothing happened but the present price."""
        last, now = _text(self.account.mids[symbol]), self.now() // MS
        still = dict.fromkeys(("priceChange", "priceChangePercent", "volume", "quoteVolume"), "0")
        prices = dict.fromkeys(("lastPrice", "openPrice", "highPrice", "lowPrice", "weightedAvgPrice"), last)
        return {
            **self._book_ticker(symbol),
            **prices,
            **still,
            "openTime": now - DAY // MS,
            "closeTime": now,
            "count": 1,
        }

    # ------------------------------------------------------------ the account

    def _account(self, _: Params) -> Json:
        return {
            "canTrade": self.may_trade, "canWithdraw": False, "canDeposit": False, "accountType": "SPOT",
            "permissions": self.permissions, "updateTime": self.now() // MS,
            "balances": [
                {"asset": asset, "free": free, "locked": locked}
                for asset, (free, locked) in self.shown_balances().items()
            ],
        }  # fmt: skip

    def _trade_fees(self, params: Params) -> Json:
        symbols = [self._market(params).symbol] if "symbol" in params else list(self.account.markets)
        fee = str(self.account.fee)
        return [{"symbol": symbol, "makerCommission": fee, "takerCommission": fee} for symbol in symbols]

    def _key_rights(self, _: Params) -> Json:
        return {
            "ipRestrict": True, "createTime": 0, "enableReading": True, "enableWithdrawals": False,
            "enableSpotAndMarginTrading": self.key_may_trade,
        }  # fmt: skip

    def _asked_order(self, params: Params, prefix: str = "") -> Order:
        """The order that a request describes; prefix is that of a leg of an order list."""
        market, name = self._market(params), prefix or "new"
        side, kind = _needed(params, "side"), _needed(params, f"{prefix}Type" if prefix else "type")
        if kind not in self.order_types:
            raise Refused(-1116, "Invalid orderType.")
        if side not in Side.__members__:
            raise Refused(-1117, "Invalid side.")
        price, stop = ("Price", "StopPrice") if prefix else ("price", "stopPrice")
        lasts = params.get(f"{prefix}TimeInForce" if prefix else "timeInForce", "GTC")
        if lasts not in ("GTC", "IOC", "FOK"):
            raise Refused(-1115, "Invalid timeInForce.")
        id = params.get(f"{name}ClientOrderId") or params.get("newClientOrderId") or f"auto{len(self.requests)}"
        id = id[: self.id_length]
        self._check_id(id)
        return Order(
            0, id, market.symbol, Side[side], Kind(kind), self._asked_qty(params, market, Side[side]),
            _amount(params, prefix + price) if Kind(kind).has_limit else ZERO,
            _amount(params, prefix + stop) if Kind(kind).has_stop else ZERO, lasts,
        )  # fmt: skip

    def _check_id(self, id: str) -> None:
        """Ids are unique among what is open, and only there: a market order sent again after its fill fills again."""
        if not LEGAL_ID.fullmatch(id):
            legal = f"legal range is '^{LEGAL_ID.pattern}$'."
            raise self.refused(-1100, f"Illegal characters found in parameter 'newClientOrderId'; {legal}")
        if any(each.client_id == id for each in self.account.open_orders()):
            raise self.refused(-2010, "Duplicate order sent.")

    def _asked_qty(self, params: Params, market: Market, side: Side) -> Decimal:
        if "quoteOrderQty" not in params:
            return _amount(params, "quantity")
        return cut(_amount(params, "quoteOrderQty") / self.account.side_price(market.symbol, side), market.lot)

    def _new_order(self, params: Params) -> Json:
        order = self.account.place(self._asked_order(params))
        told = _order(order) | {"transactTime": order.time // MS}
        default = "FULL" if order.kind in (Kind.MARKET, Kind.LIMIT) else "ACK"
        how = params.get("newOrderRespType", default)
        if how == "ACK":
            return {name: told[name] for name in ("symbol", "orderId", "orderListId", "clientOrderId", "transactTime")}
        fills: list[Json] = [_fill(trade) for trade in self.account.trades if trade.order == order.id]
        return told | {"fills": fills} if how == "FULL" else told

    def _new_pair(self, params: Params) -> Json:
        above, below = self._asked_order(params, "above"), self._asked_order(params, "below")
        pair = self.account.place_pair(above, below)
        names = ("symbol", "orderId", "clientOrderId")
        rows = [_order(leg) for leg in pair]
        return {
            "orderListId": pair[0].list_id, "contingencyType": "OCO", "listStatusType": "EXEC_STARTED",
            "listOrderStatus": "EXECUTING", "listClientOrderId": params.get("listClientOrderId", ""),
            "transactionTime": self.now() // MS, "symbol": pair[0].symbol,
            "orders": [{name: row[name] for name in names} for row in rows], "orderReports": [*rows],
        }  # fmt: skip

    def found(self, params: Params) -> Order | None:
        symbol = self._market(params).symbol
        if "orderId" not in params and "origClientOrderId" not in params:
            raise Refused(-1102, "Param 'origClientOrderId' or 'orderId' must be sent, but both were empty/null!")
        id = int(params["orderId"]) if "orderId" in params else None
        return self.account.find(symbol, id, params.get("origClientOrderId"))

    def _known(self, params: Params) -> Order:
        order = self.found(params)
        if order is None or not self.is_visible(order.id):
            raise Refused(-2013, "Order does not exist.")
        return order

    def _cancel_order(self, params: Params) -> Json:
        order = self.found(params)
        if order is None or not order.is_open:
            raise Refused(-2011, "Unknown order sent.")
        return self._cancelled(order, params)

    def _cancelled(self, order: Order, params: Params) -> dict[str, Json]:
        # The answer's own client id is the cancel's, not the order's.
        id = params.get("newClientOrderId", f"cancel{len(self.requests)}")
        return _order(self.account.cancel(order)) | {"origClientOrderId": order.client_id, "clientOrderId": id}

    def _open_orders(self, params: Params) -> Json:
        symbol = self._market(params).symbol if "symbol" in params else None
        rows = [order for order in self.account.open_orders(symbol) if self.is_visible(order.id)]
        return [_order(order) for order in self.listed(rows)]

    def _cancel_open_orders(self, params: Params) -> Json:
        orders = self.account.open_orders(self._market(params).symbol)
        if not orders:
            raise Refused(-2011, "Unknown order sent.")
        return [self._cancelled(order, params) for order in orders]

    def _all_orders(self, params: Params) -> Json:
        symbol = self._market(params).symbol
        own = [order for order in self.account.orders.values() if order.symbol == symbol and self.is_visible(order.id)]
        own = [order for order in own if order.id >= int(params.get("orderId", "0"))]
        return [_order(order) for order in self.listed(_page(own, params, lambda order: order.time, "orderId"))]

    def _my_trades(self, params: Params) -> Json:
        symbol = self._market(params).symbol
        own = [trade for trade in self.account.trades if trade.symbol == symbol and self.is_visible(trade.order)]
        own = [trade for trade in own if params.get("orderId", str(trade.order)) == str(trade.order)]
        own = [trade for trade in own if trade.id >= int(params.get("fromId", "0"))]
        return [_trade(trade) for trade in self.listed(_page(own, params, lambda trade: trade.time, "fromId"))]


# ---------------------------------------------------------------- on the wire


def _needed(params: Params, name: str) -> str:
    if not params.get(name):
        raise Refused(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")
    return params[name]


def _amount(params: Params, name: str) -> Decimal:
    try:
        amount = exact(_needed(params, name))
    except InvalidOperation:
        raise Refused(-1100, f"Illegal characters found in parameter '{name}'.") from None
    if not (amount.is_finite() and amount > ZERO):
        raise Refused(-1013, f"Invalid {name}.")
    return amount


def _text(amount: Decimal) -> str:
    return f"{amount:.8f}"


def _page(rows: Sequence[Row], params: Params, time: Callable[[Row], Nanos], first: str = "startTime") -> Sequence[Row]:
    """The rows of a time range: the oldest if it says where to begin, else the newest."""
    start, end = int(params.get("startTime", "0")), int(params.get("endTime", str(2**53)))
    if first != "startTime" and "startTime" in params and "endTime" in params and (end - start) * MS > DAY:
        raise Refused(-1127, "More than 24 hours between startTime and endTime.")
    limit = min(int(params.get("limit", "500")), 1_000)
    within = [row for row in rows if start <= time(row) // MS <= end]
    return within[:limit] if first in params or "startTime" in params else within[-limit:]


def _symbol(market: Market, order_types: list[Json]) -> Json:
    lots = {"minQty": _text(market.min_qty), "maxQty": _text(market.max_qty), "stepSize": _text(market.lot)}
    prices = {"minPrice": _text(market.tick), "maxPrice": "1000000.00", "tickSize": _text(market.tick)}
    values = {"minNotional": _text(market.min_notional), "maxNotional": _text(market.max_notional)}
    filters: list[Json] = [
        {"filterType": "PRICE_FILTER", **prices},
        {"filterType": "LOT_SIZE", **lots},
        {"filterType": "MARKET_LOT_SIZE", **lots, "maxQty": _text(market.max_market_qty)},
        {"filterType": "NOTIONAL", **values},
    ]
    return {
        "symbol": market.symbol, "status": "TRADING" if market.is_trading else "BREAK",
        "baseAsset": market.base, "baseAssetPrecision": 8, "quoteAsset": market.quote, "quotePrecision": 8,
        "quoteAssetPrecision": 8, "orderTypes": order_types, "ocoAllowed": True, "quoteOrderQtyMarketAllowed": True,
        "isSpotTradingAllowed": True, "isMarginTradingAllowed": False, "filters": filters,
        "permissions": [], "permissionSets": [["SPOT"]],
    }  # fmt: skip


def _kline(bar: Bar) -> Json:
    prices: list[Json] = [f"{value:.8f}" for value in (bar.open, bar.high, bar.low, bar.close, bar.volume)]
    return [bar.open_time // MS, *prices, bar.close_time // MS - 1, "0", 0, "0", "0", "0"]


def _order(order: Order) -> dict[str, Json]:
    return {
        "symbol": order.symbol, "orderId": order.id, "orderListId": order.list_id, "clientOrderId": order.client_id,
        "price": _text(order.price), "origQty": _text(order.qty), "executedQty": _text(order.filled),
        "cummulativeQuoteQty": _text(order.cost), "status": order.status, "timeInForce": order.lasts,
        "type": order.kind, "side": order.side.name, "stopPrice": _text(order.stop), "time": order.time // MS,
        "updateTime": order.updated // MS, "isWorking": not order.kind.has_stop or order.is_triggered,
    }  # fmt: skip


def _fill(trade: Trade) -> Json:
    return {
        "price": _text(trade.price), "qty": _text(trade.qty), "commission": _text(trade.fee),
        "commissionAsset": trade.fee_asset, "tradeId": trade.id,
    }  # fmt: skip


def _trade(trade: Trade) -> Json:
    return {
        "symbol": trade.symbol, "id": trade.id, "orderId": trade.order, "orderListId": trade.list_id,
        "price": _text(trade.price), "qty": _text(trade.qty), "quoteQty": _text(trade.price * trade.qty),
        "commission": _text(trade.fee), "commissionAsset": trade.fee_asset, "time": trade.time // MS,
        "isBuyer": trade.side is Side.BUY, "isMaker": trade.is_maker, "isBestMatch": True,
    }  # fmt: skip
