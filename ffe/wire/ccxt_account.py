"""What one exchange that ccxt speaks to says of an account, of the right to trade it, and of its markets.

What only some exchanges say is asked where ccxt has the question, and stays unknown where that fails.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import ccxt

from ffe.model import AccountKind, Currency, Nanos, Ratio, Symbol, Venue
from ffe.wire.account import AccountReport, ClockReading, MarketReport, RestingStop
from ffe.wire.ccxt_wire import CcxtMarket, ask, ask_in_time, instruments
from ffe.wire.errors import Denied, NotThere, Unclear
from ffe.wire.exchanges import exchange_of, listed_halt

FEE_COINS = {"binance": "BNB", "binanceus": "BNB", "kucoin": "KCS", "gate": "GT", "mexc": "MX"}
# ccxt's name of the question what a key may do, and the field of its answer.
KEY_RIGHTS = {
    "sapiGetAccountApiRestrictions": "enableSpotAndMarginTrading",
    "v3PrivateGetBrokerageKeyPermissions": "can_trade",
}
TAKES_FEE_COIN = {"sapiGetBnbBurn": "spotBNBBurn"}
# As exchanges name the types that a market takes, in capitals and without what stands between words.
MARKET_STOPS = {"STOPLOSS", "STOPMARKET", "STOPLOSSMARKET"}
LIMIT_STOPS = {"STOPLOSSLIMIT", "STOPLIMIT", "STOP"}
HIGHEST_FEE: Ratio = 0.1  # beyond it the answer is no fee


class Fees(NamedTuple):
    """What a taker pays by the account's own schedule; unread: why that is not known."""

    taker: Mapping[Symbol, Ratio]
    unread: str = ""


def account_report(
    client: ccxt.Exchange, venue: Venue, symbols: Sequence[str], now: Callable[[], Nanos]
) -> AccountReport:
    """Ask once. Unclear or Denied where markets or balances are not answered; whatever else fails stays unknown."""
    ask_in_time(client, client.load_markets)
    held, account = ask(_holdings, ask_in_time(client, partial(exchange_of(client).balances, client)))
    fees = taker_fees(client, symbols)
    coin = Currency(FEE_COINS.get(client.id, ""))
    holds_coin = coin in held
    may_trade, restriction = _rights(client, account)
    return AccountReport(
        kind=AccountKind.SPOT,
        currency=None,
        markets=tuple(_market_report(client, venue, Symbol(symbol), account, fees) for symbol in symbols),
        held=held,
        clock=_clock(client, now),
        may_trade=may_trade,
        restriction=restriction,
        fees_unread=fees.unread,
        intervals=CcxtMarket(client).intervals,
        fee_coin=coin if holds_coin else None,
        takes_fee_coin=_flag(client, TAKES_FEE_COIN)[1] if holds_coin else None,
    )


def _holdings(balance: Mapping[str, Any]) -> tuple[dict[Currency, float], Mapping[str, Any]]:
    """What an account holds in all, and the exchange's own words about it."""
    held = {Currency(name): float(amount) for name, amount in balance["total"].items() if amount}
    return held, _object(balance["info"])


def resting_stops(client: ccxt.Exchange, symbol: str) -> frozenset[RestingStop]:
    """The stop orders that a market can hold, of those that ccxt places by `stopLossPrice`; its markets are loaded.

    An exchange that knows triggers alone has none: it would take a market order with a `stopLossPrice` for a plain one
    and sell at once. What the market itself lists comes before what ccxt says of the exchange.
    """
    if not client.feature_value(symbol, "createOrder", "stopLossPrice", False):
        return frozenset()
    if types := _order_types(client.market(symbol)):
        listed = {RestingStop.MARKET: types & MARKET_STOPS, RestingStop.LIMIT: types & LIMIT_STOPS}
        return frozenset(stop for stop, names in listed.items() if names)
    has = {RestingStop.MARKET: "createStopMarketOrder", RestingStop.LIMIT: "createStopLimitOrder"}
    return frozenset(stop for stop, name in has.items() if client.has.get(name) is not False)


def taker_fees(client: ccxt.Exchange, symbols: Sequence[str]) -> Fees:
    """What this account pays, by one request if the exchange answers for all markets, else by one a market."""
    try:
        if client.has.get("fetchTradingFees") is True:
            listed: Mapping[str, Any] = ask_in_time(client, client.fetch_trading_fees)
        elif client.has.get("fetchTradingFee") is True:
            listed = {symbol: ask_in_time(client, client.fetch_trading_fee, symbol) for symbol in symbols}
        else:
            return Fees({}, f"{client.id} does not tell them")
    except (Unclear, Denied, NotThere) as error:
        return Fees({}, str(error))
    found = {Symbol(symbol): _fee(listed.get(symbol)) for symbol in symbols}
    missing = [symbol for symbol, fee in found.items() if fee is None]
    unread = f"{client.id} names none for {', '.join(missing)}" if missing else ""
    return Fees({symbol: fee for symbol, fee in found.items() if fee is not None}, unread)


def _fee(row: object) -> Ratio | None:
    fee = _object(row).get("taker")
    return float(fee) if isinstance(fee, int | float) and 0.0 <= fee < HIGHEST_FEE else None


def _market_report(
    client: ccxt.Exchange, venue: Venue, symbol: Symbol, account: Mapping[str, Any], fees: Fees
) -> MarketReport:
    try:
        (listed,) = instruments(client, venue, [symbol])
    except Denied as error:
        return MarketReport(symbol, error.reason)
    market = client.market(symbol)
    return MarketReport(
        symbol,
        problem=_unserved(market, account),
        kind=AccountKind.SPOT if market["spot"] else AccountKind.MARGIN,
        halt=listed_halt(market),
        stops=resting_stops(client, symbol),
        placed=RestingStop(exchange_of(client).stop(1.0).kind),
        fee=fees.taker.get(symbol, listed.fee or None),
    )


def _unserved(market: Mapping[str, Any], account: Mapping[str, Any]) -> str:
    """Why this account may not trade a market that is listed, or not by the orders that leave here."""
    types, plain = _order_types(market), {"MARKET", "LIMIT"}
    if types & plain and (missing := plain - types):
        return f"its market takes no {missing.pop()} orders"
    allowed = account.get("permissions")
    for needed in _rows(_object(market["info"]).get("permissionSets")):
        if isinstance(allowed, list) and allowed and needed and not set(allowed) & set(_rows(needed)):
            return f"it needs one of the permissions {', '.join(map(str, needed))}, and the account has {allowed}"
    return ""


def _order_types(market: Mapping[str, Any]) -> set[str]:
    """What a market says that it takes; empty where it does not say."""
    listed = _rows(_object(market["info"]).get("orderTypes"))
    return {"".join(filter(str.isalnum, str(name))).upper() for name in listed}


def _rights(client: ccxt.Exchange, account: Mapping[str, Any]) -> tuple[bool | None, str]:
    """Whether account and key may trade, as far as the exchange says, and the field which says that they may not."""
    rights = {"canTrade": account.get("canTrade"), **dict([_flag(client, KEY_RIGHTS)])}
    if refused := [field for field, value in rights.items() if value is False]:
        return False, f"{refused[0]} is false"
    return (True if True in rights.values() else None), ""


def _flag(client: ccxt.Exchange, questions: Mapping[str, str]) -> tuple[str, bool | None]:
    """The field that answers the first of these questions which ccxt has for this exchange, and what it says."""
    for question, field in questions.items():
        if callable(call := getattr(client, question, None)):
            try:
                value = _object(ask_in_time(client, call)).get(field)
            except (Unclear, Denied, NotThere):
                return field, None
            return field, value if isinstance(value, bool) else None
    return "", None


def _clock(client: ccxt.Exchange, now: Callable[[], Nanos]) -> ClockReading | None:
    if not client.has.get("fetchTime"):
        return None
    asked = now()
    try:
        return ClockReading(asked, CcxtMarket(client).time(), now())
    except (Unclear, Denied, NotThere):
        return None


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _rows(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
