"""What the loopback Coinbase answers to requests that are permitted: market data, the account, orders."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, TypeVar

from ffe.model import Nanos
from tests.venues import coinbase_wire as wire
from tests.venues.coinbase_wire import Product, Row, uuid
from tests.venues.matching import ZERO, Account, Kind, Market, Order, Reason, Side, Trade, cut, exact
from tests.venues.server import Json
from tests.venues.venue import MS, SECOND, Refused, Shown

if TYPE_CHECKING:
    from tests.venues.coinbase import Coinbase

Params = Mapping[str, Any]
Item = TypeVar("Item", Order, Trade, tuple[str, Shown])


class Reuse(Enum):
    """What an order with a client id that is known comes to."""

    SECOND = auto()  # another order
    EXISTING = auto()  # the acknowledgement of the first
    REFUSED = auto()


class Routes:
    """Answers from a venue and its account."""

    def __init__(self, venue: Coinbase) -> None:
        self._venue = venue

    @property
    def _account(self) -> Account:
        return self._venue.account


class MarketData(Routes):
    """What everybody may see."""

    def time_v2(self, _: Params) -> Json:
        return {"data": {"iso": f"{wire.iso(self._venue.now())[:19]}Z", "epoch": self._venue.now() // SECOND}}

    def time(self, _: Params) -> Json:
        now = self._venue.now()
        seconds, millis = str(now // SECOND), str(now // MS)
        return {"iso": f"{wire.iso(now)[:19]}Z", "epochSeconds": seconds, "epochMillis": millis}

    def _assets(self) -> list[str]:
        return sorted({asset for market in self._account.markets.values() for asset in (market.base, market.quote)})

    def fiat(self, _: Params) -> Json:
        fiat = [asset for asset in self._assets() if asset in wire.FIAT]
        return {"data": [{"id": asset, "name": asset, "min_size": "0.01000000"} for asset in fiat]}

    def crypto(self, _: Params) -> Json:
        coins = [asset for asset in self._assets() if asset not in wire.FIAT]
        rows: list[Json] = [
            {"asset_id": wire.account_id(coin), "code": coin, "name": coin, "exponent": 8, "type": "crypto"}
            for coin in coins
        ]
        return {"data": rows}

    def rates(self, _: Params) -> Json:
        return {"data": {"currency": "USD", "rates": dict.fromkeys(self._assets(), "1")}}

    def _market(self, params: Params) -> Market:
        symbol = params.get("product_id", "")
        if symbol not in self._account.markets:
            raise Refused("NOT_FOUND", f"Product {symbol} not supported", 404)
        return self._account.markets[symbol]

    def product(self, params: Params) -> Json:
        market = self._market(params)
        return wire.product_row(market, self._account.mids.get(market.symbol))

    def products(self, params: Params) -> Json:
        wanted = _many(params, "product_ids") or list(self._account.markets)
        is_spot = params.get("product_type", "SPOT") == "SPOT"
        known = [symbol for symbol in wanted if symbol in self._account.markets and is_spot]
        return {"products": [self.product({"product_id": symbol}) for symbol in known], "num_products": len(known)}

    def _sides(self, symbol: str) -> dict[str, Json]:
        if symbol not in self._account.mids:
            return {"bids": [], "asks": []}
        size = wire.text(exact(self._account.liquidity.get(symbol, 1_000.0)))
        prices = {
            "bids": self._account.side_price(symbol, Side.SELL),
            "asks": self._account.side_price(symbol, Side.BUY),
        }
        return {name: [{"price": wire.text(price), "size": size}] for name, price in prices.items()}

    def _pricebook(self, symbol: str) -> dict[str, Json]:
        return {"product_id": symbol, **self._sides(symbol), "time": wire.iso(self._venue.now())}

    def book(self, params: Params) -> Json:
        return {"pricebook": self._pricebook(self._market(params).symbol)}

    def best(self, params: Params) -> Json:
        wanted = _many(params, "product_ids") or list(self._account.mids)
        return {"pricebooks": [self._pricebook(self._market({"product_id": symbol}).symbol) for symbol in wanted]}

    def ticker(self, params: Params) -> Json:
        """The last trade, which is the present price, and the best of the book."""
        symbol, id = self._market(params).symbol, str(len(self._venue.requests))
        if symbol not in self._account.mids:
            return {"trades": [], "best_bid": "", "best_ask": ""}
        bid, ask = (wire.text(self._account.side_price(symbol, side)) for side in (Side.SELL, Side.BUY))
        trade = wire.tick_row(id, symbol, self._account.mids[symbol], self._venue.now())
        return {"trades": [trade], "best_bid": bid, "best_ask": ask}

    def candles(self, params: Params) -> Json:
        symbol = self._market(params).symbol
        if params.get("granularity") not in wire.GRANULARITIES:
            raise Refused("INVALID_ARGUMENT", "granularity argument is invalid")
        interval, length = wire.GRANULARITIES[params["granularity"]]
        start, end = _integer(params, "start") * SECOND, _integer(params, "end") * SECOND
        if (end - start) // length > self._venue.max_candles:
            wrong = f"number of candles requested should be less than {self._venue.max_candles}"
            raise Refused("INVALID_ARGUMENT", f"start and end argument is invalid - {wrong}")
        within = [bar for bar in self._venue.begun(symbol, interval) if start <= bar.open_time <= end]
        return {"candles": [wire.candle_row(bar) for bar in reversed(within)]}


class Holdings(Routes):
    """What the account holds and what it may do."""

    def accounts(self, params: Params) -> Json:
        rows = list(self._venue.shown_balances().items())
        page, cursor = _page(rows, params, 49, lambda row: row[0])
        accounts = [wire.account_row(*row) for row in page]
        return {"accounts": [*accounts], "has_next": bool(cursor), "cursor": cursor, "size": len(page)}

    def wallets(self, params: Params) -> Json:
        """v2's accounts: what is held, on hold or not."""
        rows = [(asset, balance) for asset, balance in self._venue.shown_balances().items()]
        limit = _integer(params, "limit", 25)
        return {
            "pagination": {"limit": limit},
            "data": [wire.wallet_row(asset, _sum(row)) for asset, row in rows[:limit]],
        }

    def portfolios(self, _: Params) -> Json:
        return {"portfolios": [{"name": "Default", "uuid": wire.PORTFOLIO, "type": "DEFAULT", "deleted": False}]}

    def permissions(self, _: Params) -> Json:
        rights: Row = {f"can_{scope}": scope in self._venue.scopes for scope in ("view", "trade", "transfer")}
        return rights | {"portfolio_uuid": wire.PORTFOLIO, "portfolio_type": "DEFAULT"}

    def summary(self, _: Params) -> Json:
        fees = wire.text(sum((trade.fee for trade in self._account.trades), ZERO))
        volume = wire.text(sum((trade.price * trade.qty for trade in self._account.trades), ZERO))
        return wire.summary_row(volume, fees, self._account.fee, self._account.maker_fee)


class Orders(Routes):
    """What was ordered, with the configurations that were asked for and the cancels that are queued."""

    def __init__(self, venue: Coinbase) -> None:
        super().__init__(venue)
        self._configurations: dict[int, Json] = {}
        self._cancelling: set[int] = set()

    def new_order(self, params: Params) -> Json:
        id = str(params.get("client_order_id") or "")[: self._venue.id_length]
        if not id:
            raise Refused("INVALID_ARGUMENT", "client_order_id is required")
        known = next((each for each in self._account.orders.values() if each.client_id == id), None)
        if known is not None and self._venue.reuse is Reuse.REFUSED:
            raise self._venue.refused("DUPLICATE_CLIENT_ORDER_ID")
        if known is not None and self._venue.reuse is Reuse.EXISTING:
            return _acknowledged(known, params)
        order = self._account.place(self._asked_order(id, params))
        self._configurations[order.id] = params["order_configuration"]
        return _acknowledged(order, params)

    def _asked_order(self, id: str, params: Params) -> Order:
        market, side = self._account.markets.get(params.get("product_id", "")), wire.side_of(params)
        if not isinstance(market, Product):
            raise self._venue.refused("INVALID_PRODUCT_ID")
        if side is None:
            raise self._venue.refused("INVALID_SIDE")
        configuration = params.get("order_configuration")
        kind = wire.kind_of(configuration, side)
        if kind is None:
            raise self._venue.refused("UNSUPPORTED_ORDER_CONFIGURATION")
        if (market.limit_only and not kind.has_limit) or (market.post_only and kind is not Kind.LIMIT_MAKER):
            raise self._venue.refused("PREVIEW_NOT_ALLOWED_BY_MARKET_STATE")
        ((name, fields),) = configuration.items()
        price = self._amount(fields, "limit_price") if kind.has_limit else ZERO
        stop = self._amount(fields, "stop_price") if kind.has_stop else ZERO
        if kind is Kind.STOP_LOSS_LIMIT and side * price < side * stop:
            raise self._venue.refused(f"PREVIEW_STOP_PRICE_{'ABOVE' if side is Side.BUY else 'BELOW'}_LIMIT_PRICE")
        if kind.has_stop and fields.get("stop_direction") not in (wire.DOWN, wire.UP):
            raise self._venue.refused("PREVIEW_INVALID_ORDER_CONFIG")
        qty = self._qty(fields, market, side, kind)
        return Order(0, id, market.symbol, side, kind, qty, price, stop, lasts=wire.LASTS[name])

    def _qty(self, fields: Mapping[str, Json], market: Product, side: Side, kind: Kind) -> Decimal:
        """Of the base currency; a market buy may name what it spends with its fee."""
        if "quote_size" not in fields:
            return self._amount(fields, "base_size")
        if kind is not Kind.MARKET or side is Side.SELL or "base_size" in fields:
            raise self._venue.refused("PREVIEW_INVALID_ORDER_CONFIG")
        spent = self._amount(fields, "quote_size")
        if spent % market.quote_increment:
            raise self._venue.refused("PREVIEW_INVALID_QUOTE_SIZE_PRECISION")
        price = self._account.side_price(market.symbol, side)
        return cut(spent / self._account.cost(side, price), market.lot)

    def _amount(self, fields: Mapping[str, Json], name: str) -> Decimal:
        try:
            amount = exact(str(fields.get(name, "")))
        except InvalidOperation:
            raise self._venue.refused("PREVIEW_NON_NUMERIC_ORDER_SIZE") from None
        if not (amount.is_finite() and amount > ZERO):
            raise self._venue.refused("PREVIEW_INVALID_ORDER_CONFIG")
        return amount

    def found(self, params: Params) -> Order | None:
        named = params.get("order_id") or next(iter(params.get("order_ids") or ()), "")
        return self._known(str(named))

    def _known(self, id: str) -> Order | None:
        return self._account.orders.get(wire.order_id(id) or 0)

    def _trades(self) -> dict[int, list[Trade]]:
        """By the id of their order."""
        trades: dict[int, list[Trade]] = defaultdict(list)
        for trade in self._account.trades:
            trades[trade.order].append(trade)
        return trades

    def _order_row(self, order: Order, trades: Sequence[Trade]) -> Row:
        by_hand: Json = {"market_market_ioc": {"base_size": wire.text(order.qty)}}
        configuration = self._configurations.get(order.id, by_hand)
        return wire.order_row(order, configuration, trades, order.id in self._cancelling)

    def order(self, params: Params) -> Json:
        order = self.found(params)
        if order is None or not self._venue.is_visible(order.id):
            raise self._venue.refused(Reason.NOT_FOUND)
        return {"order": self._order_row(order, self._trades()[order.id])}

    def orders(self, params: Params) -> Json:
        statuses, symbols, ids = (_many(params, name) for name in ("order_status", "product_ids", "order_ids"))
        if "OPEN" in statuses and len(statuses) > 1:
            raise Refused("INVALID_ARGUMENT", "cannot pair open orders with other order types")
        start, end = _time(params, "start_date"), _time(params, "end_date")
        fitting = [
            order
            for order in reversed(self._account.orders.values())
            if self._venue.is_visible(order.id)
            and (not statuses or wire.status(order, order.id in self._cancelling) in statuses)
            and (not symbols or order.symbol in symbols)
            and (not ids or uuid(order.id) in ids)
            and ("OPEN" in statuses or start <= order.time < end)
        ]
        page, cursor = _page(fitting, params, 1_000, lambda order: uuid(order.id))
        trades = self._trades()
        rows = [self._order_row(order, trades[order.id]) for order in self._venue.listed(page)]
        return {"orders": [*rows], "sequence": "0", "has_next": bool(cursor), "cursor": cursor}

    def fills(self, params: Params) -> Json:
        symbols, ids, trades = (_many(params, name) for name in ("product_ids", "order_ids", "trade_ids"))
        start, end = _time(params, "start_sequence_timestamp"), _time(params, "end_sequence_timestamp")
        fitting = [
            trade
            for trade in reversed(self._account.trades)
            if self._venue.is_visible(trade.order)
            and (not symbols or trade.symbol in symbols)
            and (not ids or uuid(trade.order) in ids)
            and (not trades or uuid(trade.id, 2) in trades)
            and start <= trade.time < end
        ]
        page, cursor = _page(fitting, params, 100, lambda trade: uuid(trade.id, 2))
        rows = [
            wire.fill_row(trade, wire.names_quote(self._configurations.get(trade.order)))
            for trade in self._venue.listed(page)
        ]
        return {"fills": [*rows], "cursor": cursor}

    def cancel_orders(self, params: Params) -> Json:
        ids = params.get("order_ids")
        if not isinstance(ids, list) or not ids or not all(isinstance(id, str) and id for id in ids):
            raise Refused("INVALID_ARGUMENT", "order_ids are required")
        failures = [self._cancel(id, is_again=id in ids[:place]) for place, id in enumerate(ids)]
        return {"results": [wire.result_row(*each) for each in zip(ids, failures, strict=True)]}

    def _cancel(self, id: str, is_again: bool) -> str | None:
        """Why an order is not cancelled; None where its cancel was taken."""
        order = self._known(id)
        if order is None or (not order.is_open and order.left):
            return "DUPLICATE_CANCEL_REQUEST" if is_again else "UNKNOWN_CANCEL_ORDER"
        if not order.is_open:
            return "ORDER_IS_FULLY_FILLED"
        if order.id in self._cancelling:
            return "DUPLICATE_CANCEL_REQUEST"
        if not self._venue.cancel_takes:
            self._account.cancel(order)
            return None
        self._cancelling.add(order.id)
        self._venue.later(self._venue.cancel_takes, lambda: self._end(order.id))
        return None

    def _end(self, id: int) -> None:
        self._cancelling.discard(id)
        if self._account.orders[id].is_open:
            self._account.cancel(self._account.orders[id])


# ---------------------------------------------------------------- on the wire


def _many(params: Params, name: str) -> list[str]:
    value = params.get(name, [])
    return value if isinstance(value, list) else [value]


def _integer(params: Params, name: str, usual: int | None = None) -> int:
    value = params.get(name, usual)
    try:
        return int(value)
    except (TypeError, ValueError):
        raise Refused("INVALID_ARGUMENT", f"{name} argument is invalid") from None


def _time(params: Params, name: str) -> Nanos:
    """A bound of a range of time; without it there is none."""
    if name not in params:
        return 0 if name.startswith("start") else 2**63
    try:
        return wire.nanos(params[name])
    except (TypeError, ValueError):
        raise Refused("INVALID_ARGUMENT", f"{name} argument is invalid") from None


def _page(rows: Sequence[Item], params: Params, usual: int, name: Callable[[Item], str]) -> tuple[Sequence[Item], str]:
    """The rows after those that the cursor ends, and the cursor of the next page where there is one."""
    names = [name(row) for row in rows]
    cursor = params.get("cursor", "")
    first = names.index(cursor) + 1 if cursor in names else 0
    page = rows[first : first + _integer(params, "limit", usual)]
    return page, name(page[-1]) if page and page[-1] is not rows[-1] else ""


def _sum(row: Shown) -> str | None:
    try:
        return f"{exact(row.free or '') + exact(row.locked or ''):.8f}"
    except InvalidOperation:
        return row.free


def _acknowledged(order: Order, params: Params) -> Row:
    """The acknowledgement of a request: the order's id, and the request again."""
    success: Row = {name: params[name] for name in ("product_id", "side")}
    success |= {"order_id": uuid(order.id), "client_order_id": order.client_id, "attached_order_id": ""}
    return {"success": True, "success_response": success, "order_configuration": params["order_configuration"]}
