"""Coinbase Advanced Trade's words for what an account holds and did: values in, JSON out, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from ffe.model import Bar, Nanos
from tests.venues.matching import ZERO, Kind, Market, Order, Side, Status, Trade
from tests.venues.server import Json
from tests.venues.venue import SECOND, Shown

Row = dict[str, Json]

FIAT = {"EUR", "GBP", "USD"}
USER = "33333333-0000-4000-8000-000000000003"
PORTFOLIO = "44444444-0000-4000-8000-000000000004"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DOWN, UP = "STOP_DIRECTION_STOP_DOWN", "STOP_DIRECTION_STOP_UP"
GRANULARITIES = {  # with the interval of the bars, and its length
    "ONE_MINUTE": ("1m", 60 * SECOND),
    "FIVE_MINUTE": ("5m", 300 * SECOND),
    "FIFTEEN_MINUTE": ("15m", 900 * SECOND),
    "THIRTY_MINUTE": ("30m", 1_800 * SECOND),
    "ONE_HOUR": ("1h", 3_600 * SECOND),
    "TWO_HOUR": ("2h", 7_200 * SECOND),
    "FOUR_HOUR": ("4h", 14_400 * SECOND),
    "SIX_HOUR": ("6h", 21_600 * SECOND),
    "ONE_DAY": ("1d", 86_400 * SECOND),
}
TIMES_IN_FORCE = {"GTC": "GOOD_UNTIL_CANCELLED", "IOC": "IMMEDIATE_OR_CANCEL", "FOK": "FILL_OR_KILL"}
LASTS = {
    "market_market_ioc": "IOC",
    "sor_limit_ioc": "IOC",
    "limit_limit_fok": "FOK",
    "limit_limit_gtc": "GTC",
    "stop_limit_stop_limit_gtc": "GTC",
}


@dataclass(frozen=True, slots=True)
class Product(Market):
    """base_increment is the lot, price_increment the tick; trading_disabled is the opposite of is_trading."""

    lot: Decimal = Decimal("0.00000001")
    min_qty: Decimal = Decimal("0.00000001")
    max_qty: Decimal = Decimal("3400")
    max_market_qty: Decimal = Decimal("3400")
    min_notional: Decimal = Decimal("1")
    max_notional: Decimal = Decimal("150000000")
    quote_increment: Decimal = Decimal("0.01")
    status: str = "online"
    cancel_only: bool = False
    limit_only: bool = False
    post_only: bool = False

    @property
    def is_open(self) -> bool:
        return self.is_trading and not self.cancel_only and self.status == "online"


def text(amount: Decimal) -> str:
    return f"{amount.normalize():f}" if amount else "0"


def iso(time: Nanos) -> str:
    return f"{datetime.fromtimestamp(time // SECOND, UTC):%Y-%m-%dT%H:%M:%S}.{time % SECOND:09d}Z"


def nanos(time: str) -> Nanos:
    return (datetime.fromisoformat(time) - EPOCH) // timedelta(microseconds=1) * 1_000


def uuid(id: int, kind: int = 1) -> str:
    """The id of an order (1), a trade (2) or an entry of it (3)."""
    return f"{id:08x}-{kind:04x}-4000-8000-{id:012x}"


def order_id(uuid_: str) -> int | None:
    """The order that an id is of; None where no order can have it."""
    head = uuid_.partition("-")[0]
    is_hex = len(head) == 8 and not set(head) - set("0123456789abcdef")
    return int(head, 16) if is_hex and uuid(int(head, 16)) == uuid_ else None


def side_of(params: Mapping[str, Any]) -> Side | None:
    return Side.__members__.get(str(params.get("side")))


def kind_of(configuration: Json, side: Side) -> Kind | None:
    """The order that a configuration describes: a stop that triggers against its side's wish, or a take profit."""
    if not isinstance(configuration, dict) or len(configuration) != 1:
        return None
    ((name, fields),) = configuration.items()
    if name not in LASTS or not isinstance(fields, dict):
        return None
    if name == "market_market_ioc":
        return Kind.MARKET
    if name == "stop_limit_stop_limit_gtc":
        against = UP if side is Side.BUY else DOWN
        return Kind.STOP_LOSS_LIMIT if fields.get("stop_direction") == against else Kind.TAKE_PROFIT_LIMIT
    return Kind.LIMIT_MAKER if fields.get("post_only") is True else Kind.LIMIT


def product_row(product: Market, price: Decimal | None) -> Row:
    assert isinstance(product, Product)
    last = "" if price is None else text(price)
    return {
        "product_id": product.symbol,
        "price": last,
        "price_percentage_change_24h": "0",
        "volume_24h": "0",
        "volume_percentage_change_24h": "0",
        "approximate_quote_24h_volume": "0",
        "base_increment": text(product.lot),
        "quote_increment": text(product.quote_increment),
        "price_increment": text(product.tick),
        "base_min_size": text(product.min_qty),
        "base_max_size": text(product.max_qty),
        "quote_min_size": text(product.min_notional),
        "quote_max_size": text(product.max_notional),
        "base_name": product.base,
        "quote_name": product.quote,
        "base_currency_id": product.base,
        "quote_currency_id": product.quote,
        "base_display_symbol": product.base,
        "quote_display_symbol": product.quote,
        "display_name": product.symbol,
        "product_type": "SPOT",
        "product_venue": "CBE",
        "status": product.status,
        "trading_disabled": not product.is_trading,
        "is_disabled": False,
        "cancel_only": product.cancel_only,
        "limit_only": product.limit_only,
        "post_only": product.post_only,
        "auction_mode": False,
        "view_only": False,
        "new": False,
        "watched": False,
        "alias": "",
        "alias_to": [],
        "mid_market_price": "",
        "fcm_trading_session_details": None,
    }


def tick_row(id: str, symbol: str, price: Decimal, time: Nanos) -> Row:
    return {
        "trade_id": id,
        "product_id": symbol,
        "price": text(price),
        "size": "0.1",
        "time": iso(time),
        "side": "BUY",
        "bid": "",
        "ask": "",
        "exchange": "coinbase",
    }


def summary_row(volume: str, fees: str, taker_fee: Decimal, maker_fee: Decimal) -> Row:
    tier: Row = {
        "pricing_tier": "Advanced 1",
        "usd_from": "0",
        "usd_to": "1000",
        "aop_from": "",
        "aop_to": "",
        "taker_fee_rate": text(taker_fee),
        "maker_fee_rate": text(maker_fee),
    }
    return {
        "total_volume": volume,
        "total_fees": fees,
        "fee_tier": tier,
        "margin_rate": None,
        "goods_and_services_tax": None,
        "advanced_trade_only_volume": volume,
        "advanced_trade_only_fees": fees,
        "coinbase_pro_volume": "0",
        "coinbase_pro_fees": "0",
        "total_balance": "",
        "has_promo_fee": False,
    }


def account_row(asset: str, balance: Shown) -> Row:
    return {
        "uuid": account_id(asset),
        "name": f"{asset} Wallet",
        "currency": asset,
        "available_balance": {"value": balance.free, "currency": asset},
        "hold": {"value": balance.locked, "currency": asset},
        "default": True,
        "active": True,
        "ready": True,
        "type": f"ACCOUNT_TYPE_{'FIAT' if asset in FIAT else 'CRYPTO'}",
        "created_at": "2023-01-04T06:20:06.456Z",
        "updated_at": "2023-01-04T06:20:07.181Z",
        "deleted_at": None,
        "retail_portfolio_id": PORTFOLIO,
        "platform": "ACCOUNT_PLATFORM_CONSUMER",
    }


def wallet_row(asset: str, total: str | None) -> Row:
    """An account as v2 shows it, which knows no holds."""
    is_fiat = asset in FIAT
    return {
        "id": account_id(asset),
        "name": f"{asset} Wallet",
        "primary": False,
        "type": "fiat" if is_fiat else "wallet",
        "currency": {"code": asset, "name": asset, "type": "fiat" if is_fiat else "crypto"},
        "balance": {"amount": total, "currency": asset},
        "created_at": None,
        "updated_at": None,
        "resource": "account",
        "resource_path": f"/v2/accounts/{account_id(asset)}",
        "allow_deposits": True,
        "allow_withdrawals": True,
    }


def account_id(asset: str) -> str:
    return f"{asset.encode().hex():0>8.8}-0004-4000-8000-{asset.encode().hex():0>12.12}"


def status(order: Order, is_cancelling: bool) -> str:
    """PENDING is an order that is to trade at once and has not yet; what such an order leaves is CANCELLED."""
    if order.is_open and is_cancelling:
        return "CANCEL_QUEUED"
    if order.is_open:
        return "PENDING" if order.takes and not order.filled else "OPEN"
    ended = {Status.FILLED: "FILLED", Status.CANCELED: "CANCELLED", Status.REJECTED: "FAILED"}
    return ended.get(order.status, "CANCELLED" if order.takes else "EXPIRED")


def order_row(order: Order, configuration: Json, fills: Sequence[Trade], is_cancelling: bool) -> Row:
    fees = sum((trade.fee for trade in fills), ZERO)
    is_in_quote = names_quote(configuration)
    says = status(order, is_cancelling)
    triggers = "STOP_TRIGGERED" if order.is_triggered else "STOP_PENDING"
    type = {Kind.MARKET: "MARKET", Kind.LIMIT: "LIMIT", Kind.LIMIT_MAKER: "LIMIT"}.get(order.kind, "STOP_LIMIT")
    return {
        "order_id": uuid(order.id),
        "product_id": order.symbol,
        "user_id": USER,
        "order_configuration": configuration,
        "side": order.side.name,
        "client_order_id": order.client_id,
        "status": says,
        "time_in_force": TIMES_IN_FORCE[order.lasts],
        "created_time": iso(order.time),
        "completion_percentage": text(round(100 * order.filled / order.qty, 2)),
        "filled_size": text(order.filled),
        "average_filled_price": text(round(order.cost / order.filled, 16) if order.filled else ZERO),
        "fee": "",
        "number_of_fills": str(len(fills)),
        "filled_value": text(order.cost),
        "pending_cancel": is_cancelling,
        "size_in_quote": is_in_quote,
        "total_fees": text(fees),
        "size_inclusive_of_fees": is_in_quote,
        "total_value_after_fees": text(order.cost + order.side * fees),
        "trigger_status": triggers if order.kind.has_stop else "INVALID_ORDER_TYPE",
        "order_type": type,
        "reject_reason": "REJECT_REASON_UNSPECIFIED",
        "reject_message": "",
        "cancel_message": "User requested cancel" if order.status is Status.CANCELED else "",
        "settled": not order.is_open,
        "product_type": "SPOT",
        "order_placement_source": "RETAIL_ADVANCED",
        "outstanding_hold_amount": text(order.locks if order.is_open else ZERO),
        "is_liquidation": False,
        "last_fill_time": iso(fills[-1].time) if fills else None,
        "leverage": "",
        "margin_type": "",
        "retail_portfolio_id": PORTFOLIO,
        "originating_order_id": "",
        "attached_order_id": "",
        "attached_order_configuration": None,
    }


def names_quote(configuration: Json) -> bool:
    fields = configuration.get("market_market_ioc") if isinstance(configuration, dict) else None
    return isinstance(fields, dict) and "quote_size" in fields


def fill_row(trade: Trade, is_in_quote: bool) -> Row:
    """A fill of an order that named what to spend says its size in the quote currency."""
    return {
        "entry_id": f"{trade.id:064x}",
        "trade_id": uuid(trade.id, 2),
        "order_id": uuid(trade.order),
        "trade_time": iso(trade.time),
        "trade_type": "FILL",
        "price": text(trade.price),
        "size": text(trade.price * trade.qty if is_in_quote else trade.qty),
        "commission": text(trade.fee),
        "product_id": trade.symbol,
        "sequence_timestamp": iso(trade.time),
        "liquidity_indicator": "MAKER" if trade.is_maker else "TAKER",
        "size_in_quote": is_in_quote,
        "user_id": USER,
        "side": trade.side.name,
        "retail_portfolio_id": PORTFOLIO,
    }


def result_row(id: str, failure: str | None) -> Row:
    """What came of a cancel."""
    reason = failure or "UNKNOWN_CANCEL_FAILURE_REASON"
    return {"success": failure is None, "failure_reason": reason, "order_id": id}


def candle_row(bar: Bar) -> Row:
    prices = {"low": bar.low, "high": bar.high, "open": bar.open, "close": bar.close, "volume": bar.volume}
    return {"start": str(bar.open_time // SECOND), **{name: repr(value) for name, value in prices.items()}}
