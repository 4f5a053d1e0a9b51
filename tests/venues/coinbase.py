"""A loopback venue that speaks Coinbase's Advanced Trade REST protocol as ccxt's client does: the wire around an
account whose fees are taken in the quote currency.

    authority = Authority(tmp_path, HOST)
    with Server(venue := Coinbase(cash={"USD": 100_000.0}), authority.server_context()) as server:
        exchange = ccxt.coinbase({**ccxt_config(), "session": authority.session(server.port)})
        venue.price("BTC-USD", 50_000.0)

What is not of this protocol stands in `venue`. What follows is from Coinbase's documentation unless a source is named:

* client_order_id: "If the ID provided is not unique, the order will not be created and the order corresponding with
  that ID will be returned instead." The list of error codes has DUPLICATE_CLIENT_ORDER_ID too, so the rule is not
  certain. `reuse` chooses it; the default is the one that does not protect the client: a second order. With
  Reuse.EXISTING the reply has the id of the old order and otherwise repeats the new request (issue 49 of
  coinbase-advanced-py).
* The acknowledgement of an order has no status. A failure is HTTP 200 with success false; the codes are the documented
  ones, which of them belongs to which case is partly a guess. A successful cancel has been submitted, no more: with
  `cancel_takes` the order works on as CANCEL_QUEUED for so long.
* Lists: OPEN is asked for alone, and dates do not apply to it. There is no filter for client ids. `product_id` and
  `order_id`, which ccxt sends, are ignored; `product_ids` and `order_ids` are filters (nautilus_trader's adapter).
* 30 private and 10 public requests a second. Beyond them 429 with a page of HTML and no Retry-After (issue 18 of
  advanced-trade-sdk-go). v2 is not counted; its limit is 10,000 an hour. A clock that stands needs `limits.clear()`.
* A page of candles holds 300, as ccxt asks for; users report 350 today.
* Tokens: ES256, for one method, host and path, 120 s at most, no tolerance for a clock ahead; 401 is plain text.
* Not from documentation: a market order that waits for the next price is PENDING; a market buy of a quote size becomes
  a quantity at its arrival, after its fee; fees have eight decimal places.
"""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from ffe.model import Nanos
from tests.venues import coinbase_key
from tests.venues import coinbase_wire as wire
from tests.venues.coinbase_key import KEY, claims
from tests.venues.coinbase_routes import Holdings, MarketData, Orders, Params, Reuse
from tests.venues.coinbase_wire import Product, Row
from tests.venues.faults import Asked, Fault
from tests.venues.matching import Account, Market, Order, Reason, Rejected, Side
from tests.venues.server import Json, Reply, Request
from tests.venues.venue import SECOND, Refused, Venue

HOST = "api.coinbase.com"
MARKETS = tuple(Product(f"{base}-USD", base, "USD") for base in ("BTC", "ETH", "SOL", "LTC"))
ISSUERS = ("cdp", "coinbase-cloud")
TOKEN_LASTS = 120  # seconds
ORDERS, CANCELS = "orders", "orders/batch_cancel"
MESSAGES = {
    "INSUFFICIENT_FUND": "Insufficient balance in source account",
    "INVALID_LIMIT_PRICE_POST_ONLY": "The post only limit price would take",
    "INVALID_PRODUCT_ID": "The product is not known",
    "NOT_FOUND": "order with this orderID was not found",
    "PERMISSION_DENIED": "Missing required scopes",
    "TRADING_DISABLED": "Trading is disabled",
    "UNSUPPORTED_ORDER_CONFIGURATION": "source is not enabled for trading",
}
REFUSALS: Mapping[Reason, tuple[str | None, int]] = {
    Reason.CLOSED: ("TRADING_DISABLED", 200),
    Reason.FUNDS: ("INSUFFICIENT_FUND", 200),
    Reason.NO_BOOK: ("PREVIEW_MISSING_MARKET_TRADE_DATA", 200),
    Reason.TICK: ("PREVIEW_INVALID_PRICE_PRECISION", 200),
    Reason.STEP: ("PREVIEW_INVALID_SIZE_PRECISION", 200),
    Reason.TOO_SMALL: ("PREVIEW_INVALID_BASE_SIZE_TOO_SMALL", 200),
    Reason.TOO_LARGE: ("PREVIEW_INVALID_BASE_SIZE_TOO_LARGE", 200),
    Reason.MARKET_TOO_LARGE: ("PREVIEW_INVALID_BASE_SIZE_TOO_LARGE", 200),
    Reason.VALUE_TOO_SMALL: ("PREVIEW_INVALID_QUOTE_SIZE_TOO_SMALL", 200),
    Reason.VALUE_TOO_LARGE: ("PREVIEW_INVALID_QUOTE_SIZE_TOO_LARGE", 200),
    Reason.CROSSES: ("INVALID_LIMIT_PRICE_POST_ONLY", 200),
    Reason.NOT_FOUND: ("NOT_FOUND", 404),
    Reason.TOO_MANY: (None, 429),
    Reason.MAINTENANCE: (None, 503),
}


def ccxt_config() -> dict[str, object]:
    """What an unmodified ccxt.coinbase needs; the session is the caller's. Nothing that a real start does not set."""
    return {"apiKey": KEY, "secret": coinbase_key.secret(), "enableRateLimit": False}


@dataclass(frozen=True, slots=True)
class Route:
    also: str  # Binance's name for such a request, by which faults aim at it
    answer: Callable[[Params], Json]
    scope: str = "view"  # that the key needs; public without one


class Coinbase(Venue):
    """One account at the venue."""

    SEPARATOR = "-"
    LISTS = frozenset({"accounts", "candles", "data", "fills", "orders", "pricebooks", "products", "results", "trades"})
    EXECUTED = ("success_response", "status", "filled_size", "filled_value", "average_filled_price")
    PRICES = ("price", "best_bid", "best_ask")

    def __init__(
        self,
        markets: Iterable[Market] = MARKETS,
        cash: Mapping[str, float] | None = None,
        *,
        clock: Callable[[], Nanos] = time.time_ns,
        faults: Iterable[Fault] = (),
        fee: float = 0.012,
        maker_fee: float = 0.006,
        half_spread: float = 0.0,
        key: str = KEY,
        secret: str | None = None,
    ) -> None:
        super().__init__(clock, faults)
        self.account = Account(
            markets,
            cash or {"USD": 100_000.0},
            self.now,
            fee=fee,
            maker_fee=maker_fee,
            fee_in_quote=True,
            half_spread=half_spread,
        )
        self.host = HOST  # as tokens name it: "http://127.0.0.1:PORT" for a client that was given this address
        self.scopes = {"view", "trade"}
        self.limits = {"private": 30, "public": 10}  # requests a second
        self.reuse = Reuse.SECOND
        self.cancel_takes: Nanos = 0
        self.max_candles = 300
        self._key, self._secret = key, secret or coinbase_key.secret()
        self._second, self._used = 0, Counter[str]()
        self._orders = Orders(self)
        self._routes = routes(MarketData(self), Holdings(self), self._orders)

    # ------------------------------------------------------------ requests

    def read(self, request: Request) -> Asked:
        path = request.path.removeprefix("/api/v3/brokerage/").removeprefix("/")
        route, named = self._find(request.method, path)
        params = _body(request.body) if request.method == "POST" else _query(request.query)
        also = route.also if route else request.method
        if also == "GET allOrders" and params.get("order_status") == "OPEN":
            also = "GET openOrders"
        configuration = params.get("order_configuration")
        kind = wire.kind_of(configuration, wire.side_of(params) or Side.BUY) or ""
        own = (request.method, path, next(iter(configuration), "") if isinstance(configuration, dict) else "")
        common = (*also.split(), kind) if " " in also else own
        return Asked(self.now(), request.method, path, {**params, **named}, (own, common))

    def route(self, request: Request, asked: Asked) -> Callable[[], Json]:
        route, _ = self._find(asked.method, asked.endpoint)
        if route is None:
            raise Refused(None, "Not found", 404)
        if not asked.endpoint.startswith("v2/"):
            self._count("private" if route.scope else "public")
        if route.scope:
            self._authenticate(request, route.scope)
        return lambda: route.answer(asked.params)

    def _find(self, method: str, path: str) -> tuple[Route | None, Mapping[str, str]]:
        """The route of a request, with what its path names."""
        for (verb, pattern), route in self._routes.items():
            if verb == method and (match := re.fullmatch(pattern, path)):
                return route, match.groupdict()
        return None, {}

    def _count(self, who: str) -> None:
        second = self.now() // SECOND
        if second != self._second:
            self._second, self._used = second, Counter()
        self._used[who] += 1
        if self._used[who] > self.limits.get(who, self._used[who]):
            raise self.refused(Reason.TOO_MANY)

    def _authenticate(self, request: Request, scope: str) -> None:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        claimed = claims(token, self._secret) or {}
        begins, ends, now = claimed.get("nbf"), claimed.get("exp"), self.now() / SECOND
        is_ours = claimed.get("kid") == claimed.get("sub") == self._key and claimed.get("iss") in ISSUERS
        is_for_this = claimed.get("uri") == f"{request.method} {self.host}{request.path}"
        is_timed = isinstance(begins, int) and isinstance(ends, int) and ends - begins <= TOKEN_LASTS
        if self.is_revoked or claimed.get("alg") != "ES256" or not (is_ours and is_for_this and is_timed):
            raise Refused("UNAUTHENTICATED", "Unauthorized", 401)
        if self.checks_time and not begins <= now < ends:
            raise Refused("UNAUTHENTICATED", "Unauthorized", 401)
        if scope not in self.scopes:
            raise self.refused("PERMISSION_DENIED", status=403)

    def refused(
        self,
        why: Reason | int | str | None,
        message: str = "",
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Refused:
        code, usual = REFUSALS[why] if isinstance(why, Reason) else (why, 200)
        return Refused(code, message or MESSAGES.get(str(code), ""), status or usual, headers)

    def rejection(self, rejected: Rejected) -> Refused:
        if rejected.reason is Reason.TRIGGERS:
            return self.refused(f"PREVIEW_STOP_PRICE_{rejected.what}_LAST_TRADE_PRICE")
        if rejected.reason is Reason.PRECISION:
            return self.refused(Reason.STEP if rejected.what == "quantity" else Reason.TICK)
        return super().rejection(rejected)

    def worded(self, refused: Refused, asked: Asked | None) -> Reply:
        code, status = str(refused.code), refused.status
        if status == 401:
            return Reply(b"Unauthorized\n", 401, {"Content-Type": "text/plain; charset=utf-8"})
        if asked and status == 200 and asked.endpoint == CANCELS:
            ids = asked.params.get("order_ids", [])
            return Reply({"results": [wire.result_row(id, code) for id in ids]})
        if asked and status == 200 and asked.endpoint == ORDERS:
            return Reply(_failure(code, refused.message, asked.params.get("order_configuration")))
        if asked and asked.endpoint.startswith("v2/"):
            return Reply({"errors": [{"id": code, "message": refused.message}]}, status, refused.headers)
        body: Row = {"error": code, "error_details": refused.message, "message": refused.message}
        return Reply(body, 400 if status == 200 else status, refused.headers)

    def found(self, params: Params) -> Order | None:
        return self._orders.found(params)


def routes(market: MarketData, holdings: Holdings, orders: Orders) -> dict[tuple[str, str], Route]:
    """By method and pattern of the path; the first that fits is taken."""
    product = r"products/(?P<product_id>[^/]+)"
    public = {
        "product_book": ("GET depth", market.book),
        "products": ("GET exchangeInfo", market.products),
        f"{product}/candles": ("GET klines", market.candles),
        f"{product}/ticker": ("GET ticker/24hr", market.ticker),
        product: ("GET exchangeInfo", market.product),
    }
    return {
        ("GET", "v2/time"): Route("GET time", market.time_v2, ""),
        ("GET", "v2/currencies"): Route("GET currencies", market.fiat, ""),
        ("GET", "v2/currencies/crypto"): Route("GET currencies", market.crypto, ""),
        ("GET", "v2/exchange-rates"): Route("GET currencies", market.rates, ""),
        ("GET", "v2/accounts"): Route("GET account", holdings.wallets),
        ("GET", "time"): Route("GET time", market.time, ""),
        **{("GET", f"market/{path}"): Route(*public[path], "") for path in public},
        **{("GET", path): Route(*public[path]) for path in public},
        ("GET", "best_bid_ask"): Route("GET ticker/bookTicker", market.best),
        ("GET", "accounts"): Route("GET account", holdings.accounts),
        ("GET", "portfolios"): Route("GET portfolios", holdings.portfolios),
        ("GET", "key_permissions"): Route("GET permissions", holdings.permissions),
        ("GET", "transaction_summary"): Route("GET fees", holdings.summary),
        ("POST", ORDERS): Route("POST order", orders.new_order, "trade"),
        ("POST", CANCELS): Route("DELETE order", orders.cancel_orders, "trade"),
        ("GET", "orders/historical/batch"): Route("GET allOrders", orders.orders),
        ("GET", "orders/historical/fills"): Route("GET myTrades", orders.fills),
        ("GET", r"orders/historical/(?P<order_id>[^/]+)"): Route("GET order", orders.order),
    }


# ---------------------------------------------------------------- on the wire


def _query(query: str) -> dict[str, Any]:
    return {name: values[0] if len(values) == 1 else values for name, values in parse_qs(query).items()}


def _body(body: str) -> dict[str, Any]:
    try:
        params = json.loads(body or "{}")
    except json.JSONDecodeError:
        return {}
    return params if isinstance(params, dict) else {}


def _failure(code: str, message: str, configuration: Json) -> Row:
    """A new order that fails: before it is sent on, which has a code of its own, or by that."""
    is_preview = code.startswith("PREVIEW_")
    error = "UNKNOWN_FAILURE_REASON" if is_preview else code
    preview = code if is_preview else f"PREVIEW_{code}" if code in MESSAGES else "UNKNOWN_PREVIEW_FAILURE_REASON"
    response: Row = {
        "error": error,
        "message": message,
        "error_details": "",
        "preview_failure_reason": preview,
        "new_order_failure_reason": error,
    }
    return {"success": False, "error_response": response, "order_configuration": configuration}
