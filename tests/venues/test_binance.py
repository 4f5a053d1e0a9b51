"""The loopback Binance, all of it through the unmodified ccxt client, over TLS, at its production addresses."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal

import ccxt
import pytest
import requests

from ffe.model import Bar
from tests.venues import faults
from tests.venues.binance import HOST, MARKETS, SECOND, Binance, ccxt_config
from tests.venues.faults import Fault
from tests.venues.matching import Side, Status
from tests.venues.server import Server
from tests.venues.tls import Authority

BTC, BTC_ID = "BTC/USDT", "BTCUSDT"
HOUR = 3_600 * SECOND
SOON = 300  # ms until the client gives up on a venue that hangs


class Clock:
    """A clock that a test winds."""

    def __init__(self) -> None:
        self.time = 1_750_000_000 * SECOND

    def __call__(self) -> int:
        return self.time


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"), HOST)


@pytest.fixture(scope="module")
def server(authority: Authority) -> Iterator[Server]:
    with Server(Binance(), authority.server_context()) as server:
        yield server


@pytest.fixture(scope="module")
def client(authority: Authority, server: Server) -> Iterator[ccxt.binance]:
    with authority.session(server.port) as session:
        client = ccxt.binance({**ccxt_config(), "session": session})
        client.load_markets()
        yield client


@pytest.fixture
def exchange(client: ccxt.binance) -> ccxt.binance:
    client.options["hasAlreadyAuthenticatedSuccessfully"] = False
    client.apiKey, client.secret, client.timeout = "key", "secret", 10_000
    return client


def venue_at(server: Server, venue: Binance) -> Binance:
    server.app = venue
    venue.price(BTC_ID, 50_000.0)
    return venue


@pytest.fixture
def venue(server: Server) -> Binance:
    return venue_at(server, Binance())


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def still(server: Server, clock: Clock) -> Binance:
    """A venue in whose world only the test moves time."""
    venue = venue_at(server, Binance(clock=clock))
    venue.checks_time = False
    return venue


def buy(exchange: ccxt.binance, qty: float = 0.01, id: str = "ffe-1", **params: object) -> dict:
    return exchange.create_order(BTC, "market", "buy", qty, params={"clientOrderId": id, **params})


def bid(exchange: ccxt.binance, price: float, qty: float = 0.01, id: str = "bid-1", **params: object) -> dict:
    return exchange.create_order(BTC, "limit", "buy", qty, price, params={"clientOrderId": id, **params})


def protect(exchange: ccxt.binance, stop: float, qty: float = 0.009, id: str = "stop-1") -> dict:
    params = {"stopLossPrice": stop, "clientOrderId": id}
    return exchange.create_order(BTC, "market", "sell", qty, params=params)


def by_client_id(exchange: ccxt.binance, id: str) -> dict:
    return exchange.fetch_order(None, BTC, {"clientOrderId": id})


# ---------------------------------------------------------------- round trip


def test_market_buy_pays_its_fee_in_the_base_currency(venue: Binance, exchange: ccxt.binance) -> None:
    order = buy(exchange, 0.01)
    assert (order["status"], order["filled"], order["average"]) == ("closed", 0.01, 50_000.0)
    assert order["fee"] == {"currency": "BTC", "cost": 0.00001}
    assert exchange.fetch_balance()["total"] == {"BTC": 0.00999, "USDT": 99_500.0}


def test_market_sell_pays_its_fee_in_the_quote_currency(venue: Binance, exchange: ccxt.binance) -> None:
    buy(exchange, 0.01)
    order = exchange.create_order(BTC, "market", "sell", 0.009)
    assert order["fee"] == {"currency": "USDT", "cost": 0.45}


def test_fees_may_be_paid_in_bnb_while_there_is_some(server: Server, exchange: ccxt.binance) -> None:
    venue = venue_at(server, Binance(cash={"USDT": 100_000.0, "BNB": 0.001}, fee_asset="BNB"))
    venue.price("BNBUSDT", 500.0)
    assert buy(exchange, 0.01)["fee"] == {"currency": "BNB", "cost": 0.001}
    assert buy(exchange, 0.01, "ffe-2")["fee"] == {"currency": "BTC", "cost": 0.00001}


def test_buyers_pay_the_ask_and_sellers_get_the_bid(server: Server, exchange: ccxt.binance) -> None:
    venue_at(server, Binance(half_spread=0.001))
    assert buy(exchange)["average"] == 50_050.0
    ticker = exchange.fetch_ticker(BTC)
    assert (ticker["bid"], ticker["last"], ticker["ask"]) == (49_950.0, 50_000.0, 50_050.0)
    assert exchange.fetch_order_book(BTC)["bids"][0][0] == exchange.fetch_bids_asks([BTC])[BTC]["bid"] == 49_950.0


def test_order_is_found_by_its_id_and_by_its_client_id(venue: Binance, exchange: ccxt.binance) -> None:
    order = bid(exchange, 49_000.0)
    assert exchange.fetch_order(order["id"], BTC)["clientOrderId"] == "bid-1"
    assert by_client_id(exchange, "bid-1")["id"] == order["id"]
    assert [each["id"] for each in exchange.fetch_orders(BTC)] == [order["id"]]


def test_resting_limit_fills_at_its_own_price(venue: Binance, exchange: ccxt.binance) -> None:
    assert bid(exchange, 49_000.0)["status"] == "open"
    venue.price(BTC_ID, 48_000.0)
    assert by_client_id(exchange, "bid-1")["average"] == 49_000.0
    assert exchange.fetch_my_trades(BTC)[0]["takerOrMaker"] == "maker"


def test_limit_beyond_the_market_fills_at_the_market(venue: Binance, exchange: ccxt.binance) -> None:
    assert bid(exchange, 51_000.0)["average"] == 50_000.0


def test_limit_that_must_fill_at_once_expires(venue: Binance, exchange: ccxt.binance) -> None:
    assert bid(exchange, 49_000.0, timeInForce="IOC")["status"] == "expired"
    assert not venue.open_orders()


def test_all_or_nothing_is_nothing_in_a_thin_market(venue: Binance, exchange: ccxt.binance) -> None:
    venue.account.liquidity[BTC_ID] = 0.004
    order = bid(exchange, 50_000.0, timeInForce="FOK")
    assert (order["status"], order["filled"]) == ("expired", 0.0)


def test_limit_that_must_make_a_price_does_not_take_one(venue: Binance, exchange: ccxt.binance) -> None:
    with pytest.raises(ccxt.OrderImmediatelyFillable):
        bid(exchange, 51_000.0, postOnly=True)
    assert bid(exchange, 49_000.0, postOnly=True)["type"] == "limit"


@pytest.mark.parametrize(("price", "paid"), [(48_000.0, 48_000.0), (45_000.0, 45_000.0)], ids=["touch", "gap"])
def test_touched_stop_fills_at_the_market(venue: Binance, exchange: ccxt.binance, price: float, paid: float) -> None:
    buy(exchange)
    protect(exchange, 48_000.0)
    venue.price(BTC_ID, 48_000.01)
    assert by_client_id(exchange, "stop-1")["status"] == "open"
    venue.price(BTC_ID, price)
    assert by_client_id(exchange, "stop-1")["average"] == paid


def test_stop_that_gaps_beyond_the_cash_expires(venue: Binance, exchange: ccxt.binance) -> None:
    exchange.create_order(BTC, "market", "buy", 1.9, params={"stopLossPrice": 52_000.0, "clientOrderId": "stop-1"})
    assert exchange.fetch_balance()["USDT"]["used"] == 98_800.0
    venue.price(BTC_ID, 53_000.0)
    assert by_client_id(exchange, "stop-1")["status"] == "expired"


def test_stop_with_a_limit_waits_beyond_its_limit(venue: Binance, exchange: ccxt.binance) -> None:
    buy(exchange)
    params = {"stopLossPrice": 48_000.0, "clientOrderId": "stop-1"}
    exchange.create_order(BTC, "limit", "sell", 0.009, 47_900.0, params)
    venue.price(BTC_ID, 47_000.0)
    assert by_client_id(exchange, "stop-1")["status"] == "open"
    venue.price(BTC_ID, 47_950.0)
    assert by_client_id(exchange, "stop-1")["average"] == 47_900.0


def test_take_profit_fills_when_the_price_is_good(venue: Binance, exchange: ccxt.binance) -> None:
    buy(exchange)
    order = exchange.create_order(BTC, "market", "sell", 0.009, params={"takeProfitPrice": 52_000.0})
    venue.price(BTC_ID, 52_500.0)
    assert exchange.fetch_order(order["id"], BTC)["average"] == 52_500.0


def test_one_of_a_pair_ends_the_other(venue: Binance, exchange: ccxt.binance) -> None:
    buy(exchange)
    pair = {"aboveType": "LIMIT_MAKER", "abovePrice": "52000", "belowType": "STOP_LOSS", "belowStopPrice": "48000"}
    exchange.private_post_orderlist_oco({"symbol": BTC_ID, "side": "SELL", "quantity": "0.009", **pair})
    assert venue.balances["BTC"].locked == Decimal("0.009")
    venue.price(BTC_ID, 47_000.0)
    assert [order.status for order in venue.orders[1:]] == [Status.EXPIRED, Status.FILLED]


def test_pair_stands_around_the_price_and_is_paid_for(venue: Binance, exchange: ccxt.binance) -> None:
    pair = {"aboveType": "LIMIT_MAKER", "abovePrice": "52000", "belowType": "STOP_LOSS", "belowStopPrice": "51000"}
    ask = {"symbol": BTC_ID, "side": "SELL", "quantity": "0.009", **pair}
    with pytest.raises(ccxt.InvalidOrder, match="relationship"):
        exchange.private_post_orderlist_oco(ask)
    with pytest.raises(ccxt.InsufficientFunds):
        exchange.private_post_orderlist_oco({**ask, "belowStopPrice": "48000"})
    assert not venue.orders


def test_cancelled_order_is_cancelled_and_the_answer_names_the_cancel(venue: Binance, exchange: ccxt.binance) -> None:
    bid(exchange, 49_000.0)
    cancel = exchange.cancel_order(None, BTC, {"clientOrderId": "bid-1"})
    assert (cancel["status"], cancel["info"]["origClientOrderId"]) == ("canceled", "bid-1")
    assert cancel["clientOrderId"] != "bid-1"
    with pytest.raises(ccxt.OrderNotFound):
        exchange.cancel_order(None, BTC, {"clientOrderId": "bid-1"})


def test_all_open_orders_are_listed_and_cancelled(venue: Binance, exchange: ccxt.binance) -> None:
    bid(exchange, 49_000.0), bid(exchange, 48_000.0, id="bid-2")
    assert [order["clientOrderId"] for order in exchange.fetch_open_orders(BTC)] == ["bid-1", "bid-2"]
    exchange.cancel_all_orders(BTC)
    assert not exchange.fetch_open_orders(BTC)
    with pytest.raises(ccxt.OrderNotFound):
        exchange.cancel_all_orders(BTC)


def test_trades_are_listed_since_a_time(still: Binance, clock: Clock, exchange: ccxt.binance) -> None:
    for id in ("a-1", "a-2", "a-3"):
        buy(exchange, id=id)
        clock.time += HOUR
    since = (clock.time - 2 * HOUR) // 10**6
    assert [trade["order"] for trade in exchange.fetch_my_trades(BTC, since=since)] == ["2", "3"]
    assert [trade["order"] for trade in exchange.fetch_my_trades(BTC, limit=1)] == ["3"]
    assert [trade["id"] for trade in exchange.fetch_my_trades(BTC, params={"fromId": 2})] == ["2", "3"]
    assert [trade["id"] for trade in exchange.fetch_my_trades(BTC, params={"orderId": 2})] == ["2"]


def test_history_is_asked_for_a_day_at_most(venue: Binance, exchange: ccxt.binance) -> None:
    with pytest.raises(ccxt.BadRequest, match="-1127"):
        exchange.fetch_my_trades(BTC, since=1, params={"until": 2 + 86_400_000})


def test_bars_that_have_begun_are_listed_and_the_running_one_hides_its_future(
    still: Binance, clock: Clock, exchange: ccxt.binance
) -> None:
    opens = [clock.time - HOUR, clock.time, clock.time + HOUR]
    still.bars[BTC_ID, "1h"] = [
        Bar("BTC", HOUR, each, each + HOUR, 49_990.0, 60_000.0, 40_000.0, 55_000.0, 7.0) for each in opens
    ]
    told = exchange.fetch_ohlcv(BTC, "1h")
    assert told[0] == [opens[0] // 10**6, 49_990.0, 60_000.0, 40_000.0, 55_000.0, 7.0]
    assert told[1:] == [[opens[1] // 10**6, 49_990.0, 50_000.0, 49_990.0, 50_000.0, 0.0]]
    assert len(exchange.fetch_ohlcv(BTC, "1h", since=opens[1] // 10**6)) == 1


def test_market_order_may_wait_for_the_next_price(venue: Binance, exchange: ccxt.binance) -> None:
    venue.fill_on_next_price = True
    assert buy(exchange)["status"] == "open"
    venue.price(BTC_ID, 50_100.0)
    assert by_client_id(exchange, "ffe-1")["average"] == 50_100.0


# ---------------------------------------------------------------- the account


def test_market_order_sent_again_after_its_fill_fills_again(venue: Binance, exchange: ccxt.binance) -> None:
    buy(exchange, id="same"), buy(exchange, id="same")
    assert [order.client_id for order in venue.orders] == ["same", "same"]
    assert venue.balances["BTC"].free == Decimal("0.01998")


def test_client_id_is_unique_among_open_orders(venue: Binance, exchange: ccxt.binance) -> None:
    bid(exchange, 49_000.0, id="same")
    with pytest.raises(ccxt.InvalidOrder, match="Duplicate"):
        bid(exchange, 48_000.0, id="same")


def test_resting_orders_lock_what_they_need(venue: Binance, exchange: ccxt.binance) -> None:
    bid(exchange, 49_000.0, 0.1)
    assert exchange.fetch_balance()["USDT"] == {"free": 95_100.0, "used": 4_900.0, "total": 100_000.0}
    with pytest.raises(ccxt.InsufficientFunds):
        bid(exchange, 49_000.0, 2.0, id="bid-2")
    exchange.cancel_order(None, BTC, {"clientOrderId": "bid-1"})
    assert exchange.fetch_balance()["USDT"]["used"] == 0.0


def test_stop_locks_the_coins_so_an_exit_needs_it_cancelled(venue: Binance, exchange: ccxt.binance) -> None:
    buy(exchange)
    protect(exchange, 48_000.0)
    with pytest.raises(ccxt.InsufficientFunds):
        exchange.create_order(BTC, "market", "sell", 0.009)


def test_thin_market_fills_limits_in_parts_and_ends_market_orders(venue: Binance, exchange: ccxt.binance) -> None:
    venue.account.liquidity[BTC_ID] = 0.004
    assert (part := buy(exchange, 0.01))["status"] == "expired" and part["filled"] == 0.004
    venue.price(BTC_ID, 50_000.0)
    assert bid(exchange, 50_000.0)["filled"] == 0.004
    venue.price(BTC_ID, 50_000.0)
    assert venue.orders[-1].status is Status.PARTIALLY_FILLED
    venue.price(BTC_ID, 50_000.0)
    assert by_client_id(exchange, "bid-1")["status"] == "closed"


def test_account_adds_up(server: Server, exchange: ccxt.binance) -> None:
    venue = venue_at(server, Binance(half_spread=0.0005))
    buy(exchange, 0.02), protect(exchange, 48_000.0, 0.01), bid(exchange, 49_000.0, 0.03)
    for price in (49_500.0, 48_500.0, 47_900.0, 51_000.0):
        venue.price(BTC_ID, price)
    fees = {"BTC": Decimal(0), "USDT": Decimal(0)}
    for trade in venue.trades:
        fees[trade.fee_asset] += trade.fee
    held = {asset: balance.free + balance.locked for asset, balance in venue.balances.items()}
    assert held["BTC"] == sum(trade.side * trade.qty for trade in venue.trades) - fees["BTC"]
    assert held["USDT"] == 100_000 - sum(t.side * t.qty * t.price for t in venue.trades) - fees["USDT"]


def test_order_may_name_what_to_spend(venue: Binance, exchange: ccxt.binance) -> None:
    assert buy(exchange, 0.0, cost=500.9)["filled"] == 0.01001


def test_same_requests_make_the_same_venue(server: Server, exchange: ccxt.binance) -> None:
    worlds = []
    for _ in range(2):
        venue = venue_at(server, Binance(clock=Clock(), faults=[faults.Parts(0.3), faults.Drop(on="GET order")]))
        venue.checks_time = False
        buy(exchange), bid(exchange, 49_000.0)
        with pytest.raises(ccxt.NetworkError):
            by_client_id(exchange, "bid-1")
        venue.price(BTC_ID, 48_500.0)
        worlds.append((venue.orders, venue.trades, venue.balances, venue.met))
    assert worlds[0] == worlds[1]


def test_requests_are_logged_without_secrets(venue: Binance, exchange: ccxt.binance) -> None:
    buy(exchange)
    asked = venue.requests[-1]
    assert (asked.method, asked.endpoint, asked.params["newClientOrderId"]) == ("POST", "order", "ffe-1")
    assert "signature" not in asked.params
    assert "secret" not in repr(venue.requests)


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("change", "kind", "says"),
    [
        ({"lot": Decimal("0.1")}, ccxt.InvalidOrder, "LOT_SIZE"),
        ({"min_qty": Decimal("0.1")}, ccxt.InvalidOrder, "LOT_SIZE"),
        ({"max_market_qty": Decimal("0.001")}, ccxt.InvalidOrder, "MARKET_LOT_SIZE"),
        ({"min_notional": Decimal("1000")}, ccxt.BadRequest, "NOTIONAL"),
        ({"is_trading": False}, ccxt.MarketClosed, "Market is closed"),
    ],
)
def test_filters_refuse(
    venue: Binance, exchange: ccxt.binance, change: dict[str, object], kind: type[Exception], says: str
) -> None:
    """F32, F33: the client still believes in the filters that it loaded."""
    venue.change(BTC_ID, **change)
    with pytest.raises(kind, match=says):
        buy(exchange)
    assert not venue.orders


def test_price_off_the_tick_is_refused(venue: Binance, exchange: ccxt.binance) -> None:
    venue.change(BTC_ID, tick=Decimal("0.5"))
    with pytest.raises(ccxt.InvalidOrder, match="PRICE_FILTER"):
        bid(exchange, 49_000.01)


RAW = {"symbol": BTC_ID, "side": "BUY", "type": "MARKET", "quantity": "0.01"}


@pytest.mark.parametrize(
    ("wrong", "kind", "code"),
    [
        ({"quantity": "0.000000001"}, ccxt.BadRequest, "-1111"),
        ({"quantity": "much"}, ccxt.BadRequest, "-1100"),
        ({"quantity": "-1"}, ccxt.BadRequest, "-1013"),
        ({"quantity": ""}, ccxt.BadRequest, "-1102"),
        ({"newClientOrderId": "no spaces"}, ccxt.BadRequest, "-1100"),
        ({"newClientOrderId": "x" * 37}, ccxt.BadRequest, "-1100"),
        ({"type": "MAGIC"}, ccxt.BadRequest, "-1116"),
        ({"side": "HOLD"}, ccxt.BadRequest, "-1117"),
        ({"timeInForce": "SOON"}, ccxt.BadRequest, "-1115"),
        ({"symbol": "NOUSDT"}, ccxt.BadSymbol, "-1121"),
        ({"symbol": "SOLUSDT"}, ccxt.OperationFailed, "-1112"),
    ],
)
def test_malformed_order_is_refused(
    venue: Binance, exchange: ccxt.binance, wrong: dict[str, str], kind: type[Exception], code: str
) -> None:
    with pytest.raises(kind, match=code):
        exchange.private_post_order({**RAW, **wrong})
    assert not venue.orders


def test_stop_on_the_wrong_side_is_refused(venue: Binance, exchange: ccxt.binance) -> None:
    buy(exchange)
    with pytest.raises(ccxt.OrderImmediatelyFillable):
        protect(exchange, 51_000.0)


def test_unknown_order_is_not_found(venue: Binance, exchange: ccxt.binance) -> None:
    with pytest.raises(ccxt.OrderNotFound, match="-2013"):
        exchange.fetch_order("17", BTC)
    with pytest.raises(ccxt.OrderNotFound, match="-2011"):
        exchange.cancel_order("17", BTC)


def test_answer_may_be_the_id_alone(venue: Binance, exchange: ccxt.binance) -> None:
    order = buy(exchange, newOrderRespType="ACK")
    assert (order["id"], order["status"], venue.orders[0].status) == ("1", None, Status.FILLED)


def test_what_is_not_served_here_is_not_found(venue: Binance, exchange: ccxt.binance) -> None:
    with pytest.raises(ccxt.ExchangeNotAvailable, match="404"):
        exchange.fetch_deposits("USDT")
    venue.has_wallet = False
    with pytest.raises(ccxt.ExchangeNotAvailable, match="404"):
        exchange.fetch_trading_fee(BTC)
    with pytest.raises(ccxt.BadRequest, match="-1120"):
        exchange.fetch_ohlcv(BTC, "7m")
    with pytest.raises(ccxt.BadRequest, match="-1102"):
        exchange.private_get_order({"symbol": BTC_ID})


def test_fees_and_rights_are_those_of_the_account(venue: Binance, exchange: ccxt.binance) -> None:
    venue.account.fee, venue.may_trade, venue.key_may_trade, venue.burns_bnb = Decimal("0.002"), False, False, True
    assert exchange.fetch_trading_fee(BTC)["taker"] == exchange.fetch_trading_fees()[BTC]["taker"] == 0.002
    assert exchange.fetch_balance()["info"]["canTrade"] is False
    assert exchange.sapi_get_account_apirestrictions()["enableSpotAndMarginTrading"] is False
    assert exchange.sapi_get_bnbburn()["spotBNBBurn"] is True


def test_order_types_that_a_market_does_not_list_are_refused(venue: Binance, exchange: ccxt.binance) -> None:
    venue.order_types = ["LIMIT", "MARKET"]
    with pytest.raises(ccxt.BadRequest, match="-1116"):
        exchange.create_order(BTC, "market", "sell", 0.1, None, {"stopLossPrice": 40_000.0})


def test_signature_and_key_are_checked(venue: Binance, exchange: ccxt.binance) -> None:
    exchange.secret = "wrong"
    with pytest.raises(ccxt.AuthenticationError, match="-1022"):
        exchange.fetch_balance()
    exchange.apiKey, exchange.secret = "wrong", "secret"
    with pytest.raises(ccxt.AuthenticationError, match="-2015"):
        buy(exchange)
    assert not venue.orders


@pytest.mark.parametrize("seconds", [-5, 15])
def test_clock_that_is_off_is_refused(venue: Binance, exchange: ccxt.binance, seconds: int) -> None:
    """F31: the client's stamp is a second ahead, or older than its window."""
    venue.faults = [faults.Skewed(seconds * SECOND)]
    with pytest.raises(ccxt.InvalidNonce):
        exchange.fetch_balance()
    skew = exchange.load_time_difference()
    assert abs(skew + seconds * 1_000) < 500
    exchange.fetch_balance()
    exchange.options["timeDifference"] = 0


def test_too_much_weight_is_refused_and_then_banned(still: Binance, clock: Clock, exchange: ccxt.binance) -> None:
    still.weight_limit = 45
    exchange.fetch_balance(), exchange.fetch_balance()
    assert exchange.last_response_headers["X-MBX-USED-WEIGHT-1M"] == "40"
    for status, wait in (*[(429, 20)] * 6, (418, 120)):
        with pytest.raises(ccxt.DDoSProtection, match=str(status)):
            exchange.fetch_balance()
        assert int(exchange.last_response_headers["Retry-After"]) == wait
    clock.time += 60 * SECOND
    with pytest.raises(ccxt.DDoSProtection, match="418"):
        exchange.fetch_time()
    clock.time += 60 * SECOND
    exchange.fetch_balance()


# ---------------------------------------------------------------- faults: answers that do not come


@pytest.mark.parametrize("accepted", [False, True])
@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (faults.Hang, ccxt.RequestTimeout),
        (faults.Drop, ccxt.NetworkError),
        (lambda **how: faults.ServerError(500, **how), ccxt.ExchangeNotAvailable),
        (lambda **how: faults.ServerError(502, **how), ccxt.ExchangeNotAvailable),
        (lambda **how: faults.ServerError(503, **how), ccxt.ExchangeNotAvailable),
        (lambda **how: faults.ServerError(504, **how), ccxt.RequestTimeout),
        (lambda **how: faults.ServerError(503, -1007, **how), ccxt.RequestTimeout),
        (lambda **how: faults.ServerError(503, -1008, **how), ccxt.OperationFailed),
    ],
    ids=["hang", "drop", "500", "502", "503", "504", "-1007", "-1008"],
)
def test_an_error_does_not_say_whether_the_order_lives(
    venue: Binance, exchange: ccxt.binance, fault: Callable[..., Fault], kind: type[Exception], accepted: bool
) -> None:
    """F1–F5: the exception is the same; what is proven comes from a query."""
    exchange.timeout = SOON
    venue.faults = [fault(accepted=accepted)]
    with pytest.raises(ccxt.OperationFailed) as caught:
        buy(exchange)
    assert type(caught.value) is kind
    exchange.timeout = 10_000
    assert [order["clientOrderId"] for order in exchange.fetch_orders(BTC)] == ["ffe-1"] * accepted
    assert not venue.faults


def test_order_arrives_after_the_client_gave_up(still: Binance, clock: Clock, exchange: ccxt.binance) -> None:
    """F6"""
    exchange.timeout = SOON
    still.faults = [faults.Zombie(by=30 * SECOND)]
    with pytest.raises(ccxt.RequestTimeout):
        buy(exchange)
    clock.time += 29 * SECOND
    assert not exchange.fetch_orders(BTC)
    clock.time += 1 * SECOND
    assert by_client_id(exchange, "ffe-1")["status"] == "closed"


def test_order_that_arrives_late_may_be_refused_then(still: Binance, clock: Clock, exchange: ccxt.binance) -> None:
    """F6"""
    exchange.timeout, still.faults = SOON, [faults.Zombie(by=30 * SECOND)]
    with pytest.raises(ccxt.RequestTimeout):
        buy(exchange, 1.5)
    bid(exchange, 49_000.0, 2.0)
    clock.time += 30 * SECOND
    assert [order.client_id for order in still.orders] == ["bid-1"]


def test_accepted_order_is_not_found_for_a_while(still: Binance, clock: Clock, exchange: ccxt.binance) -> None:
    """F7: with a lost reply, as it hurts most."""
    still.faults = [faults.Invisible(lasts=90 * SECOND), faults.Drop(accepted=True)]
    with pytest.raises(ccxt.NetworkError):
        bid(exchange, 49_000.0)
    clock.time += 89 * SECOND
    with pytest.raises(ccxt.OrderNotFound):
        by_client_id(exchange, "bid-1")
    assert exchange.fetch_open_orders(BTC) == exchange.fetch_orders(BTC) == []
    clock.time += 1 * SECOND
    assert by_client_id(exchange, "bid-1")["status"] == "open"


def test_found_order_is_lost_and_found_again(venue: Binance, exchange: ccxt.binance) -> None:
    """F8"""
    bid(exchange, 49_000.0)
    venue.faults = [faults.Gone(nth=2)]
    assert by_client_id(exchange, "bid-1")["status"] == "open"
    with pytest.raises(ccxt.OrderNotFound):
        by_client_id(exchange, "bid-1")
    assert by_client_id(exchange, "bid-1")["status"] == "open"


@pytest.mark.parametrize("fault", [faults.Malformed, faults.Page, faults.Nulled, faults.Empty])
def test_unreadable_answer_to_an_order_is_no_exception(
    venue: Binance, exchange: ccxt.binance, fault: Callable[..., Fault]
) -> None:
    """F9, F10: the client says nothing; only the missing status tells."""
    venue.faults = [fault(on="POST order")]
    order = buy(exchange)
    assert (order["status"], order["filled"]) == (None, 0.0)
    assert venue.orders[0].status is Status.FILLED


def test_answer_that_ends_early_is_a_broken_connection(venue: Binance, exchange: ccxt.binance) -> None:
    """F9"""
    venue.faults = [faults.Truncated()]
    with pytest.raises(ccxt.NetworkError):
        buy(exchange)
    assert venue.orders[0].status is Status.FILLED


def test_page_in_place_of_balances_is_an_empty_account(venue: Binance, exchange: ccxt.binance) -> None:
    """F9: nothing raises; look at the shape before believing the sum."""
    venue.faults = [faults.Page(on="GET account")]
    assert exchange.fetch_balance()["total"] == {}


def test_answer_comes_late_and_the_others_do_not_wait(venue: Binance, exchange: ccxt.binance) -> None:
    """F30"""
    venue.faults = [faults.Slow(0.3, on="GET time")]
    waiting = threading.Thread(target=exchange.fetch_time)
    waiting.start()
    while not venue.met["Slow"]:
        time.sleep(0.005)
    assert exchange.fetch_ticker(BTC)["last"] == 50_000.0
    assert waiting.is_alive()
    waiting.join()


# ---------------------------------------------------------------- faults: refusals


def test_rate_limit_accepts_nothing_and_says_how_long_to_wait(venue: Binance, exchange: ccxt.binance) -> None:
    """F11"""
    venue.faults = [faults.RateLimited(retry_after=7)]
    with pytest.raises(ccxt.DDoSProtection, match="429"):
        buy(exchange)
    assert exchange.last_response_headers["Retry-After"] == "7"
    assert not venue.orders


def test_ban_is_for_every_request_until_it_ends(still: Binance, clock: Clock, exchange: ccxt.binance) -> None:
    """F12: what rests at the venue goes on working."""
    buy(exchange), protect(exchange, 48_000.0)
    still.faults = [faults.Banned(lasts=120 * SECOND)]
    for _ in range(3):
        with pytest.raises(ccxt.DDoSProtection, match="418"):
            exchange.fetch_time()
    still.price(BTC_ID, 47_000.0)
    clock.time += 120 * SECOND
    assert by_client_id(exchange, "stop-1")["status"] == "closed"


@pytest.mark.parametrize(
    ("code", "message", "kind"),
    [
        (-2010, "", ccxt.InsufficientFunds),
        (-1013, "", ccxt.BadRequest),
        (-1013, "Market is closed.", ccxt.MarketClosed),
        (-2010, "This symbol is restricted for this account.", ccxt.InvalidOrder),
    ],
)
def test_definitive_refusal(
    venue: Binance, exchange: ccxt.binance, code: int, message: str, kind: type[Exception]
) -> None:
    """F13"""
    venue.faults = [faults.Refuse(code, message)]
    with pytest.raises(kind) as caught:
        buy(exchange)
    assert not isinstance(caught.value, ccxt.OperationFailed)
    assert not venue.orders


def test_revoked_key_looks_like_a_ban_after_a_success(venue: Binance, exchange: ccxt.binance) -> None:
    """F14: the text alone tells."""
    exchange.fetch_balance()
    venue.faults = [faults.Revoked()]
    for _ in range(2):
        with pytest.raises(ccxt.DDoSProtection, match="-2015"):
            exchange.fetch_balance()


# ---------------------------------------------------------------- faults: orders


def test_order_fills_in_scripted_parts(venue: Binance, exchange: ccxt.binance) -> None:
    """F15"""
    venue.faults = [faults.Parts(0.3, 0.3)]
    seen = [buy(exchange)["filled"]]
    for price in (50_100.0, 50_200.0):
        venue.price(BTC_ID, price)
        seen.append(by_client_id(exchange, "ffe-1")["filled"])
    assert seen == [0.003, 0.006, 0.01]
    assert len(exchange.fetch_my_trades(BTC)) == 3


def test_order_fills_in_part_and_the_rest_is_cancelled(venue: Binance, exchange: ccxt.binance) -> None:
    """F15"""
    venue.faults = [faults.Parts(0.5, then_cancel=True)]
    order = buy(exchange)
    assert (order["status"], order["filled"]) == ("canceled", 0.005)


@pytest.mark.parametrize(
    ("fault", "ids"),
    [
        (faults.SameTradeTwice, [1, 1, 2, 2]),
        (faults.NewIdForOldTrade, [1, 2, 1_000_000]),
        (faults.NewestFirst, [2, 1]),
    ],
)
def test_trades_are_listed_wrongly(
    venue: Binance, exchange: ccxt.binance, fault: Callable[[], Fault], ids: list[int]
) -> None:
    """F16, F17, F18"""
    buy(exchange, id="a-1"), buy(exchange, id="a-2")
    venue.faults = [fault()]
    told = exchange.private_get_mytrades({"symbol": BTC_ID})
    assert [trade["id"] for trade in told] == ids


def test_order_is_overfilled_by_a_lot(venue: Binance, exchange: ccxt.binance) -> None:
    """F19"""
    venue.faults = [faults.Overfilled()]
    buy(exchange)
    assert by_client_id(exchange, "ffe-1")["filled"] == 0.01001
    assert sum(trade["amount"] for trade in exchange.fetch_my_trades(BTC)) == pytest.approx(0.01001)


def test_cancel_comes_too_late(venue: Binance, exchange: ccxt.binance) -> None:
    """F20"""
    order = bid(exchange, 49_000.0)
    venue.faults = [faults.FilledBeforeCancel()]
    with pytest.raises(ccxt.OrderNotFound, match="-2011"):
        exchange.cancel_order(order["id"], BTC)
    assert by_client_id(exchange, "bid-1")["status"] == "closed"


def test_fill_is_heard_of_after_the_cancel(venue: Binance, exchange: ccxt.binance) -> None:
    """F18"""
    order = bid(exchange, 49_000.0)
    venue.faults = [faults.FilledBeforeCancel(share=0.4)]
    assert exchange.cancel_order(order["id"], BTC)["filled"] == 0.0
    assert [by_client_id(exchange, "bid-1")[name] for name in ("status", "filled")] == ["canceled", 0.004]


def test_cancel_is_done_and_its_answer_lost(venue: Binance, exchange: ccxt.binance) -> None:
    """F21"""
    order = bid(exchange, 49_000.0)
    exchange.timeout, venue.faults = SOON, [faults.CancelReplyLost()]
    with pytest.raises(ccxt.RequestTimeout):
        exchange.cancel_order(order["id"], BTC)
    assert by_client_id(exchange, "bid-1")["status"] == "canceled"


def test_others_act_on_the_account(venue: Binance, exchange: ccxt.binance) -> None:
    """F22"""
    bid(exchange, 49_000.0)
    venue.faults = [faults.CancelledByVenue(), faults.TradedByHand(BTC_ID, Side.BUY, 0.02)]
    assert exchange.fetch_balance()["BTC"]["total"] == 0.01998
    assert not exchange.fetch_open_orders(BTC)
    assert exchange.fetch_orders(BTC)[-1]["clientOrderId"] == "web_1"


def test_stop_is_refused_where_other_orders_are_not(venue: Binance, exchange: ccxt.binance) -> None:
    """F23"""
    venue.faults = [faults.Refuse(-2010, "Stop loss orders are not supported for this symbol.", on="POST order STOP*")]
    buy(exchange)
    with pytest.raises(ccxt.InvalidOrder):
        protect(exchange, 48_000.0)


def test_stop_vanishes(venue: Binance, exchange: ccxt.binance) -> None:
    """F23: it was accepted, and is not there."""
    venue.faults = [faults.Vanished()]
    buy(exchange)
    assert protect(exchange, 48_000.0)["status"] == "open"
    assert not exchange.fetch_open_orders(BTC)


def test_touched_stop_does_not_fill(venue: Binance, exchange: ccxt.binance) -> None:
    """F23"""
    venue.faults = [faults.StopUnfilled(prices=2)]
    buy(exchange), protect(exchange, 48_000.0)
    for price in (47_000.0, 46_000.0):
        venue.price(BTC_ID, price)
        assert by_client_id(exchange, "stop-1")["status"] == "open"
    venue.price(BTC_ID, 45_000.0)
    assert by_client_id(exchange, "stop-1")["average"] == 45_000.0


def test_client_ids_are_cut(venue: Binance, exchange: ccxt.binance) -> None:
    """F34: two become one, and neither is found under its own name."""
    venue.faults = [faults.ClientIdsCut(length=8)]
    bid(exchange, 49_000.0, id="decision-1")
    with pytest.raises(ccxt.OrderNotFound):
        by_client_id(exchange, "decision-1")
    with pytest.raises(ccxt.InvalidOrder, match="Duplicate"):
        bid(exchange, 48_000.0, id="decision-2")


# ---------------------------------------------------------------- faults: what is read


def test_balances_lag(still: Binance, clock: Clock, exchange: ccxt.binance) -> None:
    """F25"""
    clock.time += 60 * SECOND
    buy(exchange)
    clock.time += 10 * SECOND
    still.faults = [faults.BalanceLag(by=30 * SECOND)]
    assert exchange.fetch_balance()["total"] == {"USDT": 100_000.0}
    assert exchange.fetch_balance()["total"]["BTC"] == 0.00999


def test_lists_and_balances_are_empty(venue: Binance, exchange: ccxt.binance) -> None:
    """F25, F26"""
    buy(exchange), protect(exchange, 48_000.0)
    venue.faults = [faults.Empty(on="GET openOrders"), faults.NoBalances(), faults.NoBalances("BTC", nth=2)]
    assert exchange.fetch_open_orders(BTC) == []
    assert exchange.fetch_balance()["total"] == {}
    assert exchange.fetch_balance()["total"] == {"USDT": 99_500.0}
    assert len(exchange.fetch_open_orders(BTC)) == 1


@pytest.mark.parametrize("free", ["0", "-1", "NaN", None])
def test_balance_is_impossible(venue: Binance, exchange: ccxt.binance, free: str | None) -> None:
    """F26"""
    venue.faults = [faults.WrongBalance("USDT", free)]
    rows = exchange.private_get_account()["balances"]
    assert rows == [{"asset": "USDT", "free": free, "locked": "0.00000000"}]


def test_price_that_is_no_number_is_not_even_an_error_of_the_client(venue: Binance, exchange: ccxt.binance) -> None:
    """F27: a bare ValueError, from the client's own arithmetic."""
    venue.faults = [faults.WrongPrice("NaN")]
    with pytest.raises(ValueError, match="invalid literal"):
        exchange.fetch_ticker(BTC)


@pytest.mark.parametrize("last", ["0", "-1", "500000"])
def test_price_is_impossible(venue: Binance, exchange: ccxt.binance, last: str) -> None:
    """F27"""
    venue.faults = [faults.WrongPrice(last)]
    assert exchange.fetch_ticker(BTC)["info"]["lastPrice"] == last
    assert exchange.fetch_ticker(BTC)["last"] == 50_000.0


def test_prices_are_crossed_frozen_or_of_another_symbol(venue: Binance, exchange: ccxt.binance) -> None:
    """F27"""
    venue.faults = [
        faults.WrongPrice(fields={"bidPrice": "50010", "askPrice": "49990"}),
        faults.WrongPrice("50000", {"closeTime": 1_000}, nth=2),
        faults.WrongPrice(fields={"symbol": "ETHUSDT"}, nth=3),
    ]
    crossed, frozen, other = [exchange.fetch_ticker(BTC) for _ in range(3)]
    assert crossed["bid"] > crossed["ask"]
    assert frozen["timestamp"] == 1_000
    assert other["symbol"] == "ETH/USDT"


def test_pages_lose_rows_and_history_ends(still: Binance, clock: Clock, exchange: ccxt.binance) -> None:
    """F35"""
    for id in ("a-1", "a-2", "a-3"):
        buy(exchange, id=id)
        clock.time += HOUR
    still.faults = [faults.ShortPage(2), faults.ShortHistory(keeps=HOUR, nth=2)]
    assert [trade["id"] for trade in exchange.fetch_my_trades(BTC, params={"fromId": 1})] == ["1", "2"]
    assert [trade["id"] for trade in exchange.fetch_my_trades(BTC, params={"fromId": 1})] == ["3"]


# ---------------------------------------------------------------- faults: the venue itself


def test_market_halts_and_comes_back_with_other_filters(venue: Binance, exchange: ccxt.binance) -> None:
    """F32, F33"""
    halted = replace(MARKETS[0], is_trading=False)
    venue.faults = [faults.Changed(halted), faults.Changed(replace(MARKETS[0], lot=Decimal("0.001")), nth=3)]
    with pytest.raises(ccxt.MarketClosed):
        buy(exchange)
    assert exchange.public_get_exchangeinfo()["symbols"][0]["status"] == "BREAK"
    with pytest.raises(ccxt.InvalidOrder, match="LOT_SIZE"):
        buy(exchange, 0.0101)


def test_resting_stop_waits_out_a_halt_and_fills_beyond_its_gap(venue: Binance, exchange: ccxt.binance) -> None:
    """F32"""
    buy(exchange), protect(exchange, 48_000.0)
    venue.change(BTC_ID, is_trading=False)
    venue.price(BTC_ID, 47_000.0)
    assert by_client_id(exchange, "stop-1")["status"] == "open"
    venue.change(BTC_ID, is_trading=True)
    venue.price(BTC_ID, 45_000.0)
    assert by_client_id(exchange, "stop-1")["average"] == 45_000.0


def test_maintenance_cancels_everything(still: Binance, clock: Clock, exchange: ccxt.binance) -> None:
    """F36"""
    bid(exchange, 49_000.0)
    still.faults = [faults.Maintenance(start=clock.time, end=clock.time + 600 * SECOND)]
    for _ in range(2):
        with pytest.raises(ccxt.OnMaintenance):
            exchange.fetch_open_orders(BTC)
    clock.time += 600 * SECOND
    assert not exchange.fetch_open_orders(BTC)


def test_fault_waits_for_its_turn_and_repeats(venue: Binance, exchange: ccxt.binance) -> None:
    venue.faults = [faults.Drop(on="GET ticker*", nth=2, times=2)]
    met = []
    for _ in range(4):
        try:
            met.append(exchange.fetch_ticker(BTC)["last"])
        except ccxt.NetworkError:
            met.append(None)
    assert met == [50_000.0, None, None, 50_000.0]
    assert (venue.faults, venue.met) == ([], {"Drop": 2})


# ---------------------------------------------------------------- the server


def test_server_closes_while_requests_hang(authority: Authority) -> None:
    with authority.session(0) as idle, Server(Binance(faults=[faults.Hang(on="*", times=9)])) as server:
        asking = [threading.Thread(target=ask, args=(server.port,)) for _ in range(4)]
        for each in asking:
            each.start()
        while len(server.app.requests) < len(asking):
            time.sleep(0.005)
        assert idle.trust_env is False
        began = time.monotonic()
    for each in asking:
        each.join()
    assert time.monotonic() - began < 1.0


def ask(port: int) -> None:
    with suppress(requests.ConnectionError):
        requests.get(f"http://127.0.0.1:{port}/api/v3/time", timeout=10.0)


def test_stranger_is_not_believed(
    authority: Authority, server: Server, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The client verifies: another authority's word counts for nothing, nor does this one's for another host."""
    other = Authority(tmp_path_factory.mktemp("other"), HOST)
    for trusting, host in ((other, HOST), (authority, "api.example.com")):
        with trusting.session(server.port) as session, pytest.raises(requests.exceptions.SSLError):
            session.get(f"https://{host}/api/v3/time")


def test_what_a_venue_raises_breaks_its_test() -> None:
    def broken(_: object) -> None:
        raise ZeroDivisionError("a bug")

    with pytest.raises(ZeroDivisionError), Server(broken) as server:
        assert requests.get(f"http://127.0.0.1:{server.port}/", timeout=5.0).status_code == 500
