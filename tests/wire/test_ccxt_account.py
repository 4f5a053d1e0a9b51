"""What ccxt's own exchange objects say of markets: steps in each way of counting, stops that can rest, fees.

Markets are given by hand where the question needs no venue; nothing is asked then.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import ccxt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ffe.model import Symbol, Venue
from ffe.wire.account import AccountReport, RestingStop
from ffe.wire.ccxt_account import account_report, resting_stops, taker_fees
from ffe.wire.ccxt_wire import instruments
from ffe.wire.errors import Denied, Unclear
from ffe.wire.exchanges import exchange_of
from tests.venues.binance import Binance, ccxt_config
from tests.venues.server import Json, Reply, Request, Server

VENUE, BTC = Venue("somewhere"), "BTC/USDT"


def market(price: float | None, amount: float | None, **info: Any) -> dict[str, Any]:
    """A spot market as ccxt describes one, as far as it is read here."""
    return {
        "id": "BTCUSDT", "symbol": BTC, "base": "BTC", "quote": "USDT", "baseId": "BTC", "quoteId": "USDT",
        "type": "spot", "spot": True, "active": True, "taker": 0.002, "maker": 0.001, "info": info,
        "precision": {"price": price, "amount": amount},
        "limits": {"amount": {"min": 0.0001, "max": None}, "cost": {"min": 5.0, "max": None}, "price": {}},
    }  # fmt: skip


def exchange(name: str, one: dict[str, Any], **config: Any) -> ccxt.Exchange:
    client: ccxt.Exchange = getattr(ccxt, name)(config)
    client.set_markets([one])
    return client


# ---------------------------------------------------------------- steps


@pytest.mark.parametrize(
    "name, config, price, amount, tick, lot",
    [
        ("binance", {}, 0.01, 0.00001, 0.01, 0.00001),
        ("binance", {}, 5.0, 8.0, 5.0, 8.0),
        ("binance", {"precisionMode": ccxt.DECIMAL_PLACES}, 2, 5, 0.01, 0.00001),
        ("binance", {"precisionMode": ccxt.DECIMAL_PLACES}, 0, 0, 1.0, 1.0),
        ("binance", {"precisionMode": ccxt.DECIMAL_PLACES}, -1, 8, 10.0, 1e-8),
    ],
)
def test_f8_steps_are_read_as_the_exchange_counts_them(
    name: str, config: dict[str, Any], price: float, amount: float, tick: float, lot: float
) -> None:
    (found,) = instruments(exchange(name, market(price, amount), **config), VENUE, [BTC])
    assert (found.tick, found.lot) == (tick, lot)


@pytest.mark.parametrize("name", ["bitfinex", "bithumb"])
def test_f8_significant_digits_are_no_tick(name: str) -> None:
    """They were read as a tick of 5 and a lot of 8."""
    with pytest.raises(Denied, match=f"{name} counts the price of BTC/USDT in significant digits"):
        instruments(exchange(name, market(5, 8)), VENUE, [BTC])


@pytest.mark.parametrize("price, amount", [(None, 0.1), (0.1, None), (0.0, 0.1), (0.1, float("nan"))])
def test_f8_an_unknown_step_refuses(price: float | None, amount: float | None) -> None:
    with pytest.raises(Denied, match=r"names no step of the (price|amount) of BTC/USDT"):
        instruments(exchange("binance", market(price, amount)), VENUE, [BTC])


def test_a_market_of_another_shape_is_no_instrument() -> None:
    client = exchange("binance", market(0.01, 0.1))
    del client.markets[BTC]["limits"]
    with pytest.raises(Unclear, match="limits"):
        instruments(client, VENUE, [BTC])


def test_f8_no_exchange_counts_in_a_way_that_is_not_known() -> None:
    modes = {getattr(ccxt, name)().precisionMode for name in ccxt.exchanges}
    assert modes <= {ccxt.TICK_SIZE, ccxt.DECIMAL_PLACES, ccxt.SIGNIFICANT_DIGITS}


# ---------------------------------------------------------------- stops


AT_MARKET, AT_A_LIMIT = RestingStop.MARKET, RestingStop.LIMIT


@pytest.mark.parametrize(
    "name, types, stops",
    [
        ("binance", ["LIMIT", "MARKET", "STOP_LOSS", "STOP_LOSS_LIMIT"], {AT_MARKET, AT_A_LIMIT}),
        ("binance", ["LIMIT", "MARKET", "STOP_LOSS"], {AT_MARKET}),
        ("binance", ["LIMIT", "MARKET", "STOP_LOSS_LIMIT"], {AT_A_LIMIT}),
        ("binance", ["LIMIT", "MARKET", "TAKE_PROFIT"], set()),
        ("aster", ["LIMIT", "MARKET", "STOP_MARKET"], {AT_MARKET}),
        ("bitvavo", ["market", "limit", "stopLoss", "stopLossLimit"], {AT_MARKET, AT_A_LIMIT}),
        ("bitvavo", ["market", "limit"], set()),
        ("kraken", None, {AT_MARKET, AT_A_LIMIT}),
        ("coinbase", None, {AT_A_LIMIT}),
        ("btse", None, {AT_MARKET}),
        ("bingx", None, {AT_MARKET, AT_A_LIMIT}),  # places stops; ccxt does not say of which kind
        ("mexc", ["LIMIT", "MARKET", "LIMIT_MAKER"], set()),
        ("coinsph", ["LIMIT", "MARKET", "STOP_LOSS"], set()),  # ccxt places triggers there, no stopLossPrice
        ("htx", None, set()),  # triggers alone
        ("bitstamp", None, set()),
        ("zebpay", None, set()),  # ccxt knows nothing of its orders
    ],
)
def test_f10_the_stops_that_can_rest_are_known_before_anything_is_bought(
    name: str, types: list[str] | None, stops: set[RestingStop]
) -> None:
    info = {} if types is None else {"orderTypes": types}
    assert resting_stops(exchange(name, market(0.01, 0.1, **info)), BTC) == stops


# ---------------------------------------------------------------- halts


@pytest.mark.parametrize(
    "changes, halt",
    [
        ({"active": True}, ""),
        ({"active": None}, ""),
        ({"active": False}, "the venue lists it as not active"),
        ({"active": False, "info": {"status": "BREAK"}}, "its status is BREAK"),
        ({"active": True, "info": {"status": "post_only"}}, "its status is post_only"),
        ({"active": True, "info": {"cancel_only": True}}, "its status is cancel_only"),
        ({"active": True, "info": {"cancel_only": False, "status": "online"}}, ""),
        ({"active": True, "info": ["BTCUSD", 1]}, ""),
    ],
)
def test_a_halt_is_read_from_what_a_market_says(changes: dict[str, Any], halt: str) -> None:
    client = exchange("kraken", market(0.01, 0.1))
    client.markets[BTC].update(changes)
    assert exchange_of(client).halt(client, Symbol(BTC)) == halt


# ---------------------------------------------------------------- fees


def test_fees_that_a_sandbox_does_not_tell_are_said_to_be_unknown() -> None:
    client = exchange("binance", market(0.01, 0.1), apiKey="key", secret="secret")
    client.set_sandbox_mode(True)
    fees = taker_fees(client, [BTC])
    assert fees.taker == {} and "does not have a testnet" in fees.unread


def test_fees_that_no_exchange_tells_are_said_to_be_unknown() -> None:
    assert taker_fees(exchange("bithumb", market(5, 8)), [BTC]).unread == "bithumb does not tell them"


# ---------------------------------------------------------------- the account


@contextmanager
def asked(app: Any, name: str = "binance", **config: Any) -> Iterator[ccxt.Exchange]:
    """The real client in front of an app on loopback."""
    with Server(app) as server:
        client: ccxt.Exchange = getattr(ccxt, name)({**config, "enableRateLimit": False})
        client.urls["api"] = moved(client.urls["api"], f"http://127.0.0.1:{server.port}")
        try:
            yield client
        finally:
            client.session.close()


def moved(urls: Any, home: str) -> Any:
    if isinstance(urls, dict):
        return {key: moved(url, home) for key, url in urls.items()}
    return home + "/" + urls.split("://")[1].partition("/")[2] if isinstance(urls, str) else urls


def report(venue: Binance, *symbols: str) -> AccountReport:
    with asked(venue, **ccxt_config()) as client:
        return account_report(client, VENUE, symbols or [BTC], venue.clock)


def test_binance_is_asked_six_questions() -> None:
    venue = Binance(cash={"USDT": 1000.0, "BNB": 1.0}, fee=0.00075, fee_asset="BNB")
    found = report(venue, BTC, "ETH/USDT")
    assert [asked.endpoint for asked in venue.requests] == [
        "exchangeInfo", "account", "/sapi/v1/asset/tradeFee", "/sapi/v1/account/apiRestrictions", "time",
        "/sapi/v1/bnbBurn",
    ]  # fmt: skip
    assert found.may_trade and found.held == {"USDT": 1000.0, "BNB": 1.0} and found.fees_unread == ""
    assert (found.fee_coin, found.takes_fee_coin) == ("BNB", True)
    assert [(m.symbol, m.fee, m.halt, m.problem, m.placed in m.stops) for m in found.markets] == [
        (symbol, 0.00075, "", "", True) for symbol in (BTC, "ETH/USDT")
    ]


def test_what_a_wallet_is_needed_for_stays_unknown_without_one() -> None:
    venue = Binance(cash={"USDT": 1000.0, "BNB": 1.0})
    venue.has_wallet = False
    found = report(venue)
    assert found.may_trade is True and found.takes_fee_coin is None and found.fee_coin == "BNB"
    assert found.fees_unread and found.markets[0].fee == 0.001


def test_a_clock_that_is_too_far_for_signed_requests_is_still_reported() -> None:
    venue = Binance()
    venue.skew = 20 * 10**9
    found = report(venue)
    assert found.clock is not None and 19.0 < found.clock.skew / 1e9 < 21.0


@pytest.mark.parametrize("permissions, is_fine", [(["SPOT"], True), (["TRD_GRP_004"], False), ([], True)])
def test_permissions_of_account_and_market_must_meet(permissions: list[Json], is_fine: bool) -> None:
    venue = Binance()
    venue.permissions = permissions
    assert (report(venue).markets[0].problem == "") is is_fine


def test_a_market_that_takes_no_market_orders_is_a_problem() -> None:
    venue = Binance()
    venue.order_types = ["LIMIT", "STOP_LOSS_LIMIT"]
    assert report(venue).markets[0].problem == "its market takes no MARKET orders"


def test_a_fee_that_can_be_none_is_not_believed() -> None:
    found = report(Binance(fee=12.0))
    assert found.fees_unread == "binance names none for BTC/USDT" and found.markets[0].fee == 0.001


# ---------------------------------------------------------------- Coinbase: what its key may do, what its account pays

COINBASE_KEY = "organizations/o/apiKeys/k"


@cache
def secret() -> str:
    """A key as Coinbase gives one out."""
    kind = serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(*kind).decode()


def coinbase(may_trade: bool, fee: str, **flags: Json) -> Any:
    product: dict[str, Json] = {
        "product_id": "BTC-USD", "base_currency_id": "BTC", "quote_currency_id": "USD", "product_type": "SPOT",
        "status": "online", "base_increment": "0.00000001", "quote_increment": "0.01", "price_increment": "0.01",
        "quote_min_size": "1", "quote_max_size": "150000000", "base_min_size": "0.00000001", "base_max_size": "3400",
        "trading_disabled": False, **flags,
    }  # fmt: skip
    answers: dict[str, Json] = {
        "market/products": {"products": [product]}, "products": {"products": [product]},
        "transaction_summary": {"fee_tier": {"taker_fee_rate": fee, "maker_fee_rate": "0"}},
        "key_permissions": {"can_view": True, "can_trade": may_trade, "can_transfer": False},
        "accounts": {"accounts": [{
            "uuid": "1", "currency": "USD", "available_balance": {"value": "500", "currency": "USD"},
            "hold": {"value": "0", "currency": "USD"}, "type": "ACCOUNT_TYPE_FIAT", "active": True,
        }]},
        "time": {"data": {"epoch": 1700000000}, "epochMillis": "1700000000000", "epochSeconds": "1700000000"},
    }  # fmt: skip

    def app(request: Request) -> Reply:
        name = request.path.partition("/brokerage/")[2] or request.path.rpartition("/")[2]
        return Reply(answers[name]) if name in answers else Reply({"error": request.path}, 404)

    return app


@pytest.mark.parametrize("may_trade", [True, False])
def test_coinbase_says_what_its_key_may_do_and_what_its_account_pays(may_trade: bool) -> None:
    with asked(coinbase(may_trade, "0.012"), "coinbase", apiKey=COINBASE_KEY, secret=secret()) as client:
        client.has["fetchCurrencies"] = False
        found = account_report(client, VENUE, ["BTC/USD"], lambda: 0)
    assert found.may_trade is may_trade and found.restriction == ("" if may_trade else "can_trade is false")
    (one,) = found.markets
    assert (one.symbol, one.fee, one.stops) == (Symbol("BTC/USD"), 0.012, {RestingStop.LIMIT})


@pytest.mark.parametrize("flag", ["trading_disabled", "cancel_only", "limit_only", "post_only", "view_only"])
def test_coinbase_names_markets_that_take_no_orders_of_ours(flag: str) -> None:
    app = coinbase(True, "0.006", **{flag: True})
    with asked(app, "coinbase", apiKey=COINBASE_KEY, secret=secret()) as client:
        client.has["fetchCurrencies"] = False
        (one,) = account_report(client, VENUE, ["BTC/USD"], lambda: 0).markets
    assert one.halt
