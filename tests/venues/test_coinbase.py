"""The loopback Coinbase, all of it through the unmodified ccxt client, over TLS, at its production address."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import ccxt
import pytest
import requests

from ffe.model import Bar, Bars, InstrumentId, Quote, Quotes
from tests.venues import coinbase_key, faults
from tests.venues.coinbase import HOST, MARKETS, Coinbase, Reuse
from tests.venues.coinbase_key import KEY, new_secret
from tests.venues.faults import Fault
from tests.venues.matching import Side, Status
from tests.venues.play import play
from tests.venues.server import Server
from tests.venues.venue import MS, SECOND

BTC, BTC_ID = "BTC/USD", "BTC-USD"
HOUR = 3_600 * SECOND
SOON = 300  # ms until the client gives up on a venue that hangs
V3_TIME = {"method": "v3PublicGetBrokerageTime"}


class Clock:
    """A clock that a test winds."""

    def __init__(self) -> None:
        self.time = 1_750_000_000 * SECOND

    def __call__(self) -> int:
        return self.time


@pytest.fixture(scope="module")
def server(coinbase: tuple[Server, ccxt.coinbase]) -> Server:
    return coinbase[0]


@pytest.fixture
def exchange(coinbase: tuple[Server, ccxt.coinbase]) -> ccxt.coinbase:
    client = coinbase[1]
    client.apiKey, client.secret, client.timeout = KEY, coinbase_key.secret(), 10_000
    return client


def venue_at(server: Server, venue: Coinbase) -> Coinbase:
    server.app = venue
    venue.price(BTC_ID, 50_000.0)
    return venue


@pytest.fixture
def venue(server: Server) -> Coinbase:
    return venue_at(server, Coinbase())


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def still(server: Server, clock: Clock) -> Coinbase:
    """A venue in whose world only the test moves time."""
    venue = venue_at(server, Coinbase(clock=clock))
    venue.checks_time = False
    venue.limits.clear()
    return venue


def order(
    exchange: ccxt.coinbase, side: str, kind: str, qty: float, price: float | None, id: str, **how: object
) -> str:
    """The id at the venue of an order under an id of ours."""
    return exchange.create_order(BTC, kind, side, qty, price, {"client_order_id": id, **how})["id"]


def buy(exchange: ccxt.coinbase, qty: float = 0.01, id: str = "ffe-1") -> str:
    """A market buy of a quantity: ccxt's own would spend a sum."""
    return order(exchange, "buy", "market", qty, 0.0, id, order_configuration=of_base(qty))


def of_base(qty: float) -> dict:
    return {"market_market_ioc": {"base_size": str(qty)}}


def sell(exchange: ccxt.coinbase, qty: float = 0.01, id: str = "exit-1") -> str:
    return order(exchange, "sell", "market", qty, None, id)


def bid(exchange: ccxt.coinbase, price: float, qty: float = 0.01, id: str = "bid-1", **how: object) -> str:
    return order(exchange, "buy", "limit", qty, price, id, **how)


def protect(exchange: ccxt.coinbase, stop: float, limit: float, qty: float = 0.01, id: str = "stop-1") -> str:
    return order(exchange, "sell", "limit", qty, limit, id, stopLossPrice=stop)


def listed(exchange: ccxt.coinbase, id: str) -> list[dict]:
    """The orders under an id of ours, as only a list finds them."""
    return [each for each in exchange.fetch_orders(BTC) if each["clientOrderId"] == id]


def shape(exchange: ccxt.coinbase, id: str) -> tuple:
    found = exchange.fetch_order(id, BTC)
    return found["status"], found["filled"], found["average"]


# ---------------------------------------------------------------- what a client learns before it trades


def test_markets_have_increments_minima_and_the_fees_of_the_tier(server: Server, exchange: ccxt.coinbase) -> None:
    server.app = Coinbase(fee=0.009, maker_fee=0.005)
    market = exchange.load_markets(reload=True)[BTC]
    assert exchange.precisionMode == ccxt.TICK_SIZE
    assert market["precision"] == {"amount": 1e-8, "price": 0.01}
    assert (market["limits"]["amount"]["min"], market["limits"]["cost"]["min"]) == (1e-8, 1.0)
    assert (market["taker"], market["maker"], market["active"], market["type"]) == (0.009, 0.005, True, "spot")
    assert exchange.fetch_trading_fees()[BTC]["taker"] == 0.009
    assert exchange.currencies["USD"]["type"] == "fiat" and exchange.currencies["BTC"]["type"] == "crypto"


def test_halted_market_is_inactive_and_other_states_stand_in_its_info(server: Server, exchange: ccxt.coinbase) -> None:
    server.app = Coinbase()
    server.app.change(BTC_ID, is_trading=False)
    server.app.change("ETH-USD", cancel_only=True)
    markets = exchange.load_markets(reload=True)
    assert (markets[BTC]["active"], markets["ETH/USD"]["active"]) == (False, True)
    assert markets["ETH/USD"]["info"]["cancel_only"] is True
    server.app = Coinbase()
    exchange.load_markets(reload=True)


def test_client_lists_stops_as_limits_and_no_sandbox(exchange: ccxt.coinbase) -> None:
    """`features` does not say that a market order may carry no stop price."""
    assert exchange.has["createStopMarketOrder"] is False and exchange.has["createStopLimitOrder"] is True
    assert exchange.features["spot"]["createOrder"]["stopLossPrice"] is True
    assert exchange.features["spot"]["sandbox"] is False and exchange.urls["test"] is None
    with pytest.raises(ccxt.NotSupported):
        exchange.create_order(BTC, "market", "sell", 0.01, None, {"stopLossPrice": 48_000.0})
    with pytest.raises(TypeError):  # and no NotSupported
        ccxt.coinbase().set_sandbox_mode(True)


def test_key_lists_its_permissions(venue: Coinbase, exchange: ccxt.coinbase) -> None:
    rights = exchange.v3_private_get_brokerage_key_permissions()
    assert (rights["can_view"], rights["can_trade"], rights["can_transfer"]) == (True, True, False)
    portfolio = exchange.v3_private_get_brokerage_portfolios()["portfolios"][0]["uuid"]
    assert rights["portfolio_uuid"] == portfolio == exchange.fetch_accounts()[0]["info"]["retail_portfolio_id"]


def test_clock_is_read_in_seconds_but_for_the_raw_answer_of_v3(
    still: Coinbase, clock: Clock, exchange: ccxt.coinbase
) -> None:
    clock.time += 999 * MS
    assert exchange.fetch_time() == exchange.fetch_time(V3_TIME) == 1_750_000_000_000
    assert exchange.v3_public_get_brokerage_time()["epochMillis"] == "1750000000999"


# ---------------------------------------------------------------- market data


def test_prices_are_the_bid_the_last_and_the_ask(server: Server, exchange: ccxt.coinbase) -> None:
    venue = venue_at(server, Coinbase(half_spread=0.001))
    venue.price("ETH-USD", 2_000.0)
    ticker = exchange.fetch_ticker(BTC)
    assert (ticker["bid"], ticker["last"], ticker["ask"]) == (49_950.0, 50_000.0, 50_050.0)
    assert abs(ticker["timestamp"] - venue.now() // MS) < 10_000
    assert exchange.fetch_ticker(BTC, {"usePrivate": True})["ask"] == 50_050.0
    assert exchange.fetch_order_book(BTC)["bids"][0][0] == 49_950.0
    both = exchange.fetch_bids_asks([BTC, "ETH/USD"])
    assert (both[BTC]["ask"], both["ETH/USD"]["bid"]) == (50_050.0, 1_998.0)
    assert exchange.fetch_tickers([BTC])[BTC]["last"] == 50_000.0
    assert exchange.fetch_tickers()["SOL/USD"]["last"] is None


def bars(times: list[int], length: int = HOUR) -> list[Bar]:
    return [Bar("BTC", length, each, each + length, 49_990.0, 60_000.0, 40_000.0, 55_000.0, 7.0) for each in times]


def test_candles_that_have_begun_are_listed_and_the_running_one_hides_its_future(
    still: Coinbase, clock: Clock, exchange: ccxt.coinbase
) -> None:
    clock.time = clock.time // HOUR * HOUR
    opens = [clock.time - HOUR, clock.time, clock.time + HOUR]
    still.bars[BTC_ID, "1h"] = bars(opens)
    raw = exchange.v3_public_get_brokerage_market_products_product_id_candles(
        {"product_id": BTC_ID, "granularity": "ONE_HOUR", "start": opens[0] // SECOND, "end": opens[2] // SECOND}
    )["candles"]
    assert [int(row["start"]) * SECOND for row in raw] == [opens[1], opens[0]]  # the newest first
    candles = exchange.fetch_ohlcv(BTC, "1h", since=opens[0] // MS)
    assert candles[0] == [opens[0] // MS, 49_990.0, 60_000.0, 40_000.0, 55_000.0, 7.0]
    assert candles[1:] == [[opens[1] // MS, 49_990.0, 50_000.0, 49_990.0, 50_000.0, 0.0]]
    assert len(exchange.fetch_ohlcv(BTC, "1h", since=opens[1] // MS, params={"usePrivate": True})) == 1


def test_page_of_candles_holds_300(still: Coinbase, clock: Clock, exchange: ccxt.coinbase) -> None:
    first = clock.time // HOUR * HOUR - 400 * HOUR
    still.bars[BTC_ID, "1h"] = bars([first + n * HOUR for n in range(400)])
    since = first // MS
    assert exchange.fetch_ohlcv(BTC, "1h", since)[0][0] == since
    assert len(exchange.fetch_ohlcv(BTC, "1h", since, limit=1_000)) == 300
    with pytest.raises(ccxt.BadRequest, match="less than 300"):
        exchange.fetch_ohlcv(BTC, "1h", since, params={"until": since + 301 * HOUR // MS})
    with pytest.raises(ccxt.BadRequest, match="granularity"):
        exchange.fetch_ohlcv(BTC, "4m", since)


# ---------------------------------------------------------------- orders


def test_acknowledgement_has_an_id_and_no_status(venue: Coinbase, exchange: ccxt.coinbase) -> None:
    reply = exchange.create_order(BTC, "market", "buy", 0.01, 50_000.0, {"client_order_id": "ffe-1"})
    assert (reply["clientOrderId"], reply["side"], reply["symbol"]) == ("ffe-1", "buy", BTC)
    assert [reply[name] for name in ("status", "filled", "amount", "timestamp", "average")] == [None] * 5
    assert venue.orders[0].status is Status.FILLED
    assert exchange.fetch_order(reply["id"])["status"] == "closed"


def test_only_client_order_id_reaches_the_venue(venue: Coinbase, exchange: ccxt.coinbase) -> None:
    exchange.create_order(BTC, "market", "buy", 0.01, 50_000.0, {"clientOrderId": "ffe-1"})
    exchange.create_order(BTC, "market", "buy", 0.01, 50_000.0, {"client_order_id": "ffe-2"})
    assert venue.orders[0].client_id.startswith("ccxt-") and venue.orders[1].client_id == "ffe-2"


def test_market_buy_of_ccxt_spends_a_sum_with_its_fee(venue: Coinbase, exchange: ccxt.coinbase) -> None:
    """Its quantity follows, and its order has no amount of its own until something is filled."""
    with pytest.raises(ccxt.InvalidOrder, match="price"):
        exchange.create_order(BTC, "market", "buy", 0.01)
    id = exchange.create_order(BTC, "market", "buy", 0.01, 50_000.0)["id"]
    assert venue.requests[-1].params["order_configuration"] == {"market_market_ioc": {"quote_size": "500"}}
    found = exchange.fetch_order(id, BTC)
    assert found["filled"] == 0.00988142  # 500 / 1.012 / 50,000, in whole lots
    assert found["info"]["total_value_after_fees"] == "499.999852"
    assert exchange.fetch_balance()["USD"]["free"] == pytest.approx(99_500.000148)
    fill = exchange.fetch_my_trades(BTC)[0]
    assert fill["info"]["size_in_quote"] is True and fill["amount"] == 0.00988142


def test_market_buy_of_a_quantity_is_a_configuration_in_the_params(venue: Coinbase, exchange: ccxt.coinbase) -> None:
    id = buy(exchange, 0.01)
    assert shape(exchange, id) == ("closed", 0.01, 50_000.0)
    assert exchange.fetch_balance()["BTC"]["total"] == 0.01


def test_fees_are_paid_in_the_quote_currency_by_tier(venue: Coinbase, exchange: ccxt.coinbase) -> None:
    buy(exchange, 0.02)
    order(exchange, "sell", "limit", 0.01, 51_000.0, "maker-1")
    venue.price(BTC_ID, 51_000.0)
    sell(exchange)
    taken, made, sold = exchange.fetch_my_trades(BTC)
    assert taken["fee"] == {"currency": "USD", "cost": 12.0} and taken["takerOrMaker"] == "taker"
    assert made["fee"] == {"currency": "USD", "cost": 3.06} and made["takerOrMaker"] == "maker"
    assert sold["fee"]["cost"] == 6.12
    assert exchange.fetch_balance()["total"] == {"BTC": 0.0, "USD": 100_000 - 1_000 - 12 + 1_020 - 3.06 - 6.12}


def test_order_names_the_currency_of_its_fee_only_with_its_symbol(venue: Coinbase, exchange: ccxt.coinbase) -> None:
    id = buy(exchange)
    assert exchange.fetch_order(id, BTC)["fee"] == {"cost": "6", "currency": "USD"}  # a text, not a number
    assert exchange.fetch_order(id)["fee"]["currency"] is None


def test_limit_beyond_the_market_fills_at_the_market(venue: Coinbase, exchange: ccxt.coinbase) -> None:
    assert shape(exchange, bid(exchange, 51_000.0)) == ("closed", 0.01, 50_000.0)


def test_resting_limit_fills_at_its_own_price(venue: Coinbase, exchange: ccxt.coinbase) -> None:
    id = bid(exchange, 49_000.0)
    assert shape(exchange, id) == ("open", 0.0, None)
    venue.price(BTC_ID, 48_000.0)
    assert shape(exchange, id) == ("closed", 0.01, 49_000.0)


@pytest.mark.parametrize("lasts", ["IOC", "FOK"])
def test_limit_that_must_fill_at_once_fills_or_is_cancelled(
    venue: Coinbase, exchange: ccxt.coinbase, lasts: str
) -> None:
    """ccxt would read an EXPIRED order as canceled too."""
    assert shape(exchange, bid(exchange, 51_000.0, timeInForce=lasts)) == ("closed", 0.01, 50_000.0)
    id = bid(exchange, 49_000.0, id="bid-2", timeInForce=lasts)
    assert shape(exchange, id) == ("canceled", 0.0, None)
    assert exchange.fetch_order(id)["info"]["status"] == "CANCELLED"
    venue.account.liquidity[BTC_ID] = 0.004
    venue.price(BTC_ID, 50_000.0)
    part = 0.004 if lasts == "IOC" else 0.0
    assert shape(exchange, bid(exchange, 51_000.0, id="bid-3", timeInForce=lasts))[:2] == ("canceled", part)


def test_limit_that_must_make_a_price_does_not_take_one(venue: Coinbase, exchange: ccxt.coinbase) -> None:
    with pytest.raises(ccxt.ExchangeError, match="INVALID_LIMIT_PRICE_POST_ONLY"):
        bid(exchange, 51_000.0, postOnly=True)
    id = bid(exchange, 49_000.0, postOnly=True)
    assert exchange.fetch_order(id, BTC)["postOnly"] is True


def test_stop_rests_below_its_price_and_fills_within_its_limit(venue: Coinbase, exchange: ccxt.coinbase) -> None:
    buy(exchange)
    id = protect(exchange, 48_000.0, 47_000.0)
    found = exchange.fetch_order(id, BTC)
    assert (found["type"], found["triggerPrice"], found["price"]) == ("limit", 48_000.0, 47_000.0)
    assert (found["info"]["order_type"], found["info"]["trigger_status"]) == ("STOP_LIMIT", "STOP_PENDING")
    venue.price(BTC_ID, 48_000.01)
    assert shape(exchange, id)[0] == "open"
    venue.price(BTC_ID, 47_500.0)
    assert shape(exchange, id) == ("closed", 0.01, 47_500.0)


def test_stop_that_is_jumped_triggers_and_rests_unfilled(venue: Coinbase, exchange: ccxt.coinbase) -> None:
    """Only trigger_status distinguishes it from a stop that still waits."""
    buy(exchange)
    id = protect(exchange, 48_000.0, 47_000.0)
    venue.price(BTC_ID, 46_000.0)
    found = exchange.fetch_order(id, BTC)
    assert (found["status"], found["filled"], found["info"]["trigger_status"]) == ("open", 0.0, "STOP_TRIGGERED")
    assert [each["id"] for each in exchange.fetch_open_orders(BTC)] == [id]
    exchange.cancel_order(id)
    assert shape(exchange, sell(exchange)) == ("closed", 0.01, 46_000.0)


def test_jumped_stop_fills_at_its_limit_when_the_price_returns(venue: Coinbase, exchange: ccxt.coinbase) -> None:
    buy(exchange)
    id = protect(exchange, 48_000.0, 47_000.0)
    venue.price(BTC_ID, 46_000.0)
    venue.price(BTC_ID, 47_200.0)
    assert shape(exchange, id) == ("closed", 0.01, 47_000.0)


def test_stop_of_a_buy_and_a_take_profit_look_the_other_way(venue: Coinbase, exchange: ccxt.coinbase) -> None:
    buy(exchange)
    above = order(exchange, "buy", "limit", 0.01, 52_500.0, "above", stopLossPrice=52_000.0)
    profit = order(exchange, "sell", "limit", 0.01, 51_000.0, "profit", takeProfitPrice=51_500.0)
    directions = [each.params["order_configuration"]["stop_limit_stop_limit_gtc"] for each in venue.requests[-2:]]
    assert {each["stop_direction"] for each in directions} == {"STOP_DIRECTION_STOP_UP"}
    venue.price(BTC_ID, 51_500.0)
    assert (shape(exchange, above)[0], shape(exchange, profit)) == ("open", ("closed", 0.01, 51_500.0))
    venue.price(BTC_ID, 52_000.0)
    assert shape(exchange, above) == ("closed", 0.01, 52_000.0)


def test_trigger_price_alone_is_a_take_profit(venue: Coinbase, exchange: ccxt.coinbase) -> None:
    """The direction that ccxt guesses for triggerPrice, and for stopPrice, is the other one: a stop is refused."""
    buy(exchange)
    with pytest.raises(ccxt.ExchangeError, match="PREVIEW_STOP_PRICE_BELOW_LAST_TRADE_PRICE"):
        order(exchange, "sell", "limit", 0.01, 47_000.0, "stop-1", triggerPrice=48_000.0)
    down = {"triggerPrice": 48_000.0, "stop_direction": "STOP_DIRECTION_STOP_DOWN"}
    assert shape(exchange, order(exchange, "sell", "limit", 0.01, 47_000.0, "stop-2", **down))[0] == "open"


def test_market_order_may_wait_for_the_next_price_as_pending(venue: Coinbase, exchange: ccxt.coinbase) -> None:
    """ccxt passes PENDING on as it is, and the list of open orders does not have it."""
    venue.fill_on_next_price = True
    id = buy(exchange)
    assert shape(exchange, id) == ("PENDING", 0.0, None)
    assert exchange.fetch_open_orders(BTC) == []
    venue.price(BTC_ID, 50_100.0)
    assert shape(exchange, id) == ("closed", 0.01, 50_100.0)


def test_replay_is_played_at_the_venue(venue: Coinbase, exchange: ccxt.coinbase) -> None:
    """Inside a bar a price trades at every stop on its way; between bars it jumps."""
    name, base = InstrumentId("coins:BTC/USD"), venue.now()
    buy(exchange, 0.02)
    touched, jumped = protect(exchange, 48_000.0, 47_900.0), protect(exchange, 45_000.0, 44_900.0, id="stop-2")
    play(venue, Bars(base, (Bar(name, HOUR, base - HOUR, base, 49_000.0, 49_500.0, 46_000.0, 46_500.0, 1.0),)))
    assert shape(exchange, touched) == ("closed", 0.01, 48_000.0)
    play(venue, Quotes(base, (Quote(name, 44_000.0),)))
    assert exchange.fetch_order(jumped)["info"]["trigger_status"] == "STOP_TRIGGERED"
    assert venue.account.mids[BTC_ID] == 44_000


# ---------------------------------------------------------------- what was ordered


def test_order_is_found_by_its_id_alone_and_by_ours_in_a_list(venue: Coinbase, exchange: ccxt.coinbase) -> None:
    id = bid(exchange, 49_000.0)
    assert exchange.fetch_order(id)["clientOrderId"] == "bid-1"
    assert [each["id"] for each in listed(exchange, "bid-1")] == [id]
    for unknown in ("bid-1", "00000009-0001-4000-8000-000000000009", None):
        with pytest.raises(ccxt.ExchangeError, match="NOT_FOUND") as caught:
            exchange.fetch_order(unknown, BTC)
        assert type(caught.value) is ccxt.ExchangeError  # and no OrderNotFound


def test_orders_are_listed_by_status_since_a_time_and_in_pages(
    still: Coinbase, clock: Clock, exchange: ccxt.coinbase
) -> None:
    began, ids = clock.time, []
    for n in range(5):
        ids.append(bid(exchange, 49_000.0 - n, id=f"bid-{n}"))
        clock.time += HOUR
    exchange.cancel_order(ids[1])
    since = (began + 2 * HOUR) // MS
    assert [each["id"] for each in exchange.fetch_orders(BTC, since)] == ids[2:]
    assert [each["id"] for each in exchange.fetch_orders(BTC, since, params={"until": since + 1})] == [ids[2]]
    assert [each["id"] for each in exchange.fetch_canceled_orders(BTC)] == [ids[1]]
    page = exchange.fetch_orders(BTC, limit=2)  # the newest
    assert [each["id"] for each in page] == ids[3:]
    cursor = page[-1]["info"]["cursor"]
    assert [each["id"] for each in exchange.fetch_orders(BTC, limit=2, params={"cursor": cursor})] == ids[1:3]
    assert [each["id"] for each in exchange.fetch_orders(params={"order_ids": [ids[0], ids[4]]})] == [ids[0], ids[4]]


def test_open_orders_are_listed_alone_whatever_their_age(
    still: Coinbase, clock: Clock, exchange: ccxt.coinbase
) -> None:
    ids = [bid(exchange, 49_000.0), bid(exchange, 48_000.0, id="bid-2")]
    clock.time += HOUR
    buy(exchange)
    raw = {"order_status": "OPEN", "start_date": "2030-01-01T00:00:00.000Z"}
    found = exchange.v3_private_get_brokerage_orders_historical_batch(raw)["orders"]
    assert [each["order_id"] for each in found] == ids[::-1]
    with pytest.raises(ccxt.BadRequest, match="pair open orders"):
        exchange.v3_private_get_brokerage_orders_historical_batch({"order_status": ["OPEN", "FILLED"]})


def test_symbol_is_no_filter_of_the_venue_and_takes_room_in_a_page(venue: Coinbase, exchange: ccxt.coinbase) -> None:
    """ccxt sends product_id, which is ignored: the page of the newest is filled by others, and filtered then."""
    venue.price("ETH-USD", 2_000.0)
    buy(exchange)
    for n in range(2):
        exchange.create_order("ETH/USD", "market", "buy", 0.1, 2_000.0, {"client_order_id": f"eth-{n}"})
    assert exchange.fetch_orders(BTC, limit=2) == exchange.fetch_my_trades(BTC, limit=2) == []
    named = {"product_ids": [BTC_ID]}
    assert len(exchange.fetch_orders(BTC, limit=2, params=named)) == 1
    assert len(exchange.fetch_my_trades(BTC, limit=2, params=named)) == 1


def test_trades_are_listed_since_a_time_by_order_and_in_pages(
    still: Coinbase, clock: Clock, exchange: ccxt.coinbase
) -> None:
    ids = []
    for n in range(3):
        ids.append(buy(exchange, id=f"a-{n}"))
        clock.time += HOUR
    since = (clock.time - 2 * HOUR) // MS
    assert [trade["order"] for trade in exchange.fetch_my_trades(BTC, since)] == ids[1:]
    assert [trade["order"] for trade in exchange.fetch_my_trades(BTC, params={"order_ids": [ids[1]]})] == [ids[1]]
    assert len(exchange.fetch_my_trades(BTC, params={"order_id": ids[1]})) == 3  # no filter
    page = exchange.fetch_my_trades(BTC, limit=2)
    assert [trade["order"] for trade in page] == ids[1:]
    cursor = {"cursor": page[-1]["info"]["cursor"]}
    assert [trade["order"] for trade in exchange.fetch_my_trades(BTC, limit=2, params=cursor)] == ids[:1]
    assert page[0]["timestamp"] == since and len({trade["id"] for trade in page}) == 2


def test_cancel_answers_for_each_order(venue: Coinbase, exchange: ccxt.coinbase) -> None:
    """ccxt raises one BadRequest for all of them; the reasons are in the last answer alone."""
    rests, filled = bid(exchange, 49_000.0), buy(exchange)
    reply = exchange.cancel_order(rests, BTC)
    assert (reply["id"], reply["status"], reply["info"]["success"]) == (rests, None, True)
    other = bid(exchange, 48_000.0, id="bid-2")
    with pytest.raises(ccxt.BadRequest, match=r"cancelOrders\(\) has failed"):
        exchange.cancel_orders([rests, filled, other, other, "nobody's"])
    results = json.loads(exchange.last_http_response)["results"]
    assert [(each["success"], each["failure_reason"]) for each in results] == [
        (False, "UNKNOWN_CANCEL_ORDER"),
        (False, "ORDER_IS_FULLY_FILLED"),
        (True, "UNKNOWN_CANCEL_FAILURE_REASON"),
        (False, "DUPLICATE_CANCEL_REQUEST"),
        (False, "UNKNOWN_CANCEL_ORDER"),
    ]
    assert shape(exchange, other)[0] == "canceled"
    with pytest.raises(ccxt.BadRequest, match="INVALID_ARGUMENT"):
        exchange.cancel_order(None, BTC)


@pytest.mark.parametrize("trades", [False, True])
def test_cancel_is_taken_before_it_is_done(
    still: Coinbase, clock: Clock, exchange: ccxt.coinbase, trades: bool
) -> None:
    """Meanwhile the order is in no list of open orders, and may fill."""
    still.cancel_takes = 5 * SECOND
    id = bid(exchange, 49_000.0)
    assert exchange.cancel_order(id)["info"]["success"] is True
    assert shape(exchange, id)[0] == "CANCEL_QUEUED" and exchange.fetch_open_orders(BTC) == []
    with pytest.raises(ccxt.BadRequest):
        exchange.cancel_order(id)
    assert "DUPLICATE_CANCEL_REQUEST" in exchange.last_http_response
    if trades:
        still.price(BTC_ID, 49_000.0)
    clock.time += 5 * SECOND
    assert shape(exchange, id)[0] == ("closed" if trades else "canceled")
    assert exchange.fetch_order(id)["info"]["pending_cancel"] is False


# ---------------------------------------------------------------- the account


def test_resting_orders_hold_what_they_need_with_the_fee(venue: Coinbase, exchange: ccxt.coinbase) -> None:
    id = bid(exchange, 49_000.0, 0.1)
    assert exchange.fetch_balance({"v3": True})["USD"] == {"free": 95_041.2, "used": 4_958.8, "total": 100_000.0}
    with pytest.raises(ccxt.InsufficientFunds):
        bid(exchange, 49_000.0, 1.92, id="bid-2")  # 94,080 and 1,129 of fee
    exchange.cancel_order(id)
    bid(exchange, 49_000.0, 1.92, id="bid-3")


def test_accounts_of_v2_know_no_holds(venue: Coinbase, exchange: ccxt.coinbase) -> None:
    """ccxt reads them unless options["fetchBalance"] or the parameter v3 is set."""
    bid(exchange, 49_000.0, 0.1)
    assert exchange.fetch_balance()["USD"] == {"free": 100_000.0, "used": 0.0, "total": 100_000.0}
    assert exchange.fetch_balance({"v3": True})["USD"]["used"] == 4_958.8


def test_accounts_come_in_pages(server: Server, exchange: ccxt.coinbase) -> None:
    venue_at(server, Coinbase(cash={"USD": 100.0} | {f"C{n:03}": 1.0 for n in range(300)}))
    assert len(exchange.fetch_balance({"v3": True})["total"]) == 301
    assert len(exchange.v3_private_get_brokerage_accounts()["accounts"]) == 49
    assert len(exchange.fetch_accounts()) == 250  # without `paginate` a page


def test_stop_holds_the_coins_so_an_exit_needs_it_cancelled(venue: Coinbase, exchange: ccxt.coinbase) -> None:
    buy(exchange)
    id = protect(exchange, 48_000.0, 47_000.0)
    with pytest.raises(ccxt.InsufficientFunds):
        sell(exchange)
    exchange.cancel_order(id)
    sell(exchange, id="exit-2")
    assert exchange.fetch_balance()["BTC"]["total"] == 0.0


def test_account_adds_up(server: Server, exchange: ccxt.coinbase) -> None:
    venue = venue_at(server, Coinbase(half_spread=0.0005))
    buy(exchange, 0.02), protect(exchange, 48_000.0, 47_000.0), bid(exchange, 49_000.0, 0.03)
    exchange.create_order(BTC, "market", "buy", 0.01, 50_000.0)
    for price in (49_500.0, 48_500.0, 47_900.0, 51_000.0):
        venue.price(BTC_ID, price)
    fees = sum(trade.fee for trade in venue.trades)
    held = {asset: balance.free + balance.locked for asset, balance in venue.balances.items()}
    assert {trade.fee_asset for trade in venue.trades} == {"USD"} and len(venue.trades) == 4
    assert held["BTC"] == sum(trade.side * trade.qty for trade in venue.trades)
    assert held["USD"] == 100_000 - sum(t.side * t.qty * t.price for t in venue.trades) - fees
    costs = [trade["fee"]["cost"] for trade in exchange.fetch_my_trades(BTC)]
    assert sum(costs) == pytest.approx(float(fees))


def test_id_that_is_used_again_is_a_second_order(venue: Coinbase, exchange: ccxt.coinbase) -> None:
    """The default does not prevent it, so that no test relies on the venue."""
    assert venue.reuse is Reuse.SECOND
    assert buy(exchange, id="same") != buy(exchange, id="same")
    assert len(listed(exchange, "same")) == len(venue.trades) == 2


def test_id_that_is_used_again_may_be_the_order_that_has_it(venue: Coinbase, exchange: ccxt.coinbase) -> None:
    """As documented. The reply repeats the request; only the id shows that it was not obeyed."""
    venue.reuse = Reuse.EXISTING
    first = buy(exchange, id="same")
    reply = exchange.create_order(BTC, "market", "sell", 0.01, None, {"client_order_id": "same"})
    assert (reply["id"], reply["side"]) == (first, "sell")
    assert [each.side for each in venue.orders] == [Side.BUY]


def test_id_that_is_used_again_may_be_refused(venue: Coinbase, exchange: ccxt.coinbase) -> None:
    venue.reuse = Reuse.REFUSED
    buy(exchange, id="same")
    with pytest.raises(ccxt.ExchangeError, match="DUPLICATE_CLIENT_ORDER_ID"):
        buy(exchange, id="same")
    assert len(venue.orders) == 1


def test_same_requests_make_the_same_venue(server: Server, exchange: ccxt.coinbase) -> None:
    worlds = []
    for _ in range(2):
        venue = venue_at(server, Coinbase(clock=Clock(), faults=[faults.Parts(0.3), faults.Drop(on="GET order")]))
        venue.checks_time = False
        buy(exchange)
        id = bid(exchange, 49_000.0)
        with pytest.raises(ccxt.NetworkError):
            exchange.fetch_order(id)
        venue.price(BTC_ID, 48_500.0)
        worlds.append((venue.orders, venue.trades, venue.balances, venue.met, exchange.fetch_orders(BTC)))
    assert worlds[0] == worlds[1]


def test_requests_are_logged_without_secrets(venue: Coinbase, exchange: ccxt.coinbase) -> None:
    buy(exchange)
    asked = venue.requests[-1]
    assert (asked.method, asked.endpoint, asked.params["client_order_id"]) == ("POST", "orders", "ffe-1")
    assert asked.names == (("POST", "orders", "market_market_ioc"), ("POST", "order", "MARKET"))
    assert "Bearer" not in repr(venue.requests) and "PRIVATE" not in repr(venue.requests)


# ---------------------------------------------------------------- keys, clocks, limits


def test_token_is_checked(venue: Coinbase, exchange: ccxt.coinbase) -> None:
    for key, secret in ((KEY, new_secret()), (KEY.replace("2222", "3333"), coinbase_key.secret())):
        exchange.apiKey, exchange.secret = key, secret
        with pytest.raises(ccxt.AuthenticationError, match="401 Unauthorized"):
            exchange.fetch_balance({"v3": True})
        with pytest.raises(ccxt.AuthenticationError):
            buy(exchange)
    assert not venue.orders


@pytest.mark.parametrize(
    ("method", "path", "age", "status"),
    [
        ("GET", "accounts", 0, 200),
        ("GET", "accounts", 100, 200),
        ("GET", "accounts", 121, 401),
        ("GET", "accounts", -60, 401),
        ("POST", "accounts", 0, 401),
        ("GET", "orders/historical/batch", 0, 401),
    ],
    ids=["fresh", "100 s old", "expired", "not yet", "of another method", "of another path"],
)
def test_token_is_for_one_request_and_two_minutes(
    venue: Coinbase, exchange: ccxt.coinbase, method: str, path: str, age: int, status: int
) -> None:
    url = f"https://{HOST}/api/v3/brokerage/"
    token = exchange.create_auth_token(exchange.seconds() - age, method, url + path)
    got = exchange.session.get(f"{url}accounts?limit=2", headers={"Authorization": f"Bearer {token}"}, timeout=5.0)
    assert got.status_code == status
    assert status == 200 or got.text == "Unauthorized\n"


def test_request_without_a_token_is_refused_where_it_is_private(venue: Coinbase, exchange: ccxt.coinbase) -> None:
    for path, status in (("time", 200), ("market/products", 200), ("accounts", 401), ("products", 401)):
        got = exchange.session.get(f"https://{HOST}/api/v3/brokerage/{path}", timeout=5.0)
        assert got.status_code == status, path


def test_token_may_name_the_address_that_a_client_was_given(server: Server, exchange: ccxt.coinbase) -> None:
    """A client whose address is moved signs it with its scheme."""
    venue = Coinbase()
    with Server(venue) as plain:
        address = f"http://127.0.0.1:{plain.port}"
        token = exchange.create_auth_token(exchange.seconds(), "GET", f"{address}/api/v3/brokerage/accounts")
        for host, status in ((HOST, 401), (address, 200)):
            venue.host = host
            asked = {"Authorization": f"Bearer {token}"}
            got = requests.get(f"{address}/api/v3/brokerage/accounts", headers=asked, timeout=5.0)
            assert got.status_code == status


@pytest.mark.parametrize("seconds", [-60, 130])
def test_clock_that_is_off_is_a_wrong_key(venue: Coinbase, exchange: ccxt.coinbase, seconds: int) -> None:
    """F31: tokens carry the client's own seconds; ccxt's timeDifference does not correct them."""
    venue.faults = [faults.Skewed(seconds * SECOND)]
    for _ in range(2):
        with pytest.raises(ccxt.AuthenticationError, match="401"):
            exchange.fetch_balance({"v3": True})
        exchange.load_time_difference()
    assert abs(exchange.options["timeDifference"] + seconds * 1_000) < 5_000
    exchange.options["timeDifference"] = 0


def test_key_that_may_not_trade_may_look(venue: Coinbase, exchange: ccxt.coinbase) -> None:
    venue.scopes.discard("trade")
    with pytest.raises(ccxt.PermissionDenied, match="Missing required scopes"):
        buy(exchange)
    assert exchange.fetch_balance({"v3": True})["USD"]["free"] == 100_000.0
    assert exchange.v3_private_get_brokerage_key_permissions()["can_trade"] is False
    assert not venue.orders


def test_too_many_requests_in_a_second_are_refused(still: Coinbase, clock: Clock, exchange: ccxt.coinbase) -> None:
    still.limits |= {"private": 3, "public": 2}
    for ask, allowed in ((lambda: exchange.fetch_balance({"v3": True}), 3), (lambda: exchange.fetch_ticker(BTC), 2)):
        for _ in range(allowed):
            ask()
        with pytest.raises(ccxt.RateLimitExceeded, match="429"):
            ask()
        assert "Retry-After" not in exchange.last_response_headers
    clock.time += SECOND
    exchange.fetch_balance({"v3": True}), exchange.fetch_ticker(BTC), exchange.fetch_time()
    assert (Coinbase().limits, len(still.requests)) == ({"private": 30, "public": 10}, 10)


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("change", "qty", "code"),
    [
        ({"lot": Decimal("0.1")}, 0.01, "PREVIEW_INVALID_SIZE_PRECISION"),
        ({"min_qty": Decimal("0.1")}, 0.01, "PREVIEW_INVALID_BASE_SIZE_TOO_SMALL"),
        ({"max_qty": Decimal("0.001")}, 0.01, "PREVIEW_INVALID_BASE_SIZE_TOO_LARGE"),
        ({}, 0.00001, "PREVIEW_INVALID_QUOTE_SIZE_TOO_SMALL"),
        ({"max_notional": Decimal("100")}, 0.01, "PREVIEW_INVALID_QUOTE_SIZE_TOO_LARGE"),
        ({"is_trading": False}, 0.01, "TRADING_DISABLED"),
        ({"cancel_only": True}, 0.01, "TRADING_DISABLED"),
        ({"status": "offline"}, 0.01, "TRADING_DISABLED"),
        ({"limit_only": True}, 0.01, "PREVIEW_NOT_ALLOWED_BY_MARKET_STATE"),
        ({"post_only": True}, 0.01, "PREVIEW_NOT_ALLOWED_BY_MARKET_STATE"),
    ],
)
def test_filters_refuse(
    venue: Coinbase, exchange: ccxt.coinbase, change: dict[str, object], qty: float, code: str
) -> None:
    """F32, F33: ccxt knows none of these codes."""
    venue.change(BTC_ID, **change)
    with pytest.raises(ccxt.ExchangeError, match=code) as caught:
        order(exchange, "buy", "market", qty, 0.0, "ffe-1", order_configuration=of_base(Decimal(str(qty))))
    assert type(caught.value) is ccxt.ExchangeError and not venue.orders


def test_price_off_the_tick_is_refused(venue: Coinbase, exchange: ccxt.coinbase) -> None:
    venue.change(BTC_ID, tick=Decimal("0.5"))
    with pytest.raises(ccxt.ExchangeError, match="PREVIEW_INVALID_PRICE_PRECISION"):
        bid(exchange, 49_000.01)


def test_limit_only_market_takes_limits(venue: Coinbase, exchange: ccxt.coinbase) -> None:
    venue.change(BTC_ID, limit_only=True)
    assert shape(exchange, bid(exchange, 51_000.0))[0] == "closed"


@pytest.mark.parametrize(
    ("stop", "limit", "code"),
    [
        (51_000.0, 47_000.0, "PREVIEW_STOP_PRICE_ABOVE_LAST_TRADE_PRICE"),
        (50_000.0, 47_000.0, "PREVIEW_STOP_PRICE_ABOVE_LAST_TRADE_PRICE"),
        (48_000.0, 48_500.0, "PREVIEW_STOP_PRICE_BELOW_LIMIT_PRICE"),
    ],
)
def test_stop_on_the_wrong_side_is_refused(
    venue: Coinbase, exchange: ccxt.coinbase, stop: float, limit: float, code: str
) -> None:
    """The one code of its kind that ccxt knows is that of a stop above the price."""
    buy(exchange)
    with pytest.raises(ccxt.ExchangeError, match=code) as caught:
        protect(exchange, stop, limit)
    assert isinstance(caught.value, ccxt.InvalidOrder) is ("ABOVE_LAST" in code)


MARKET = {"market_market_ioc": {"base_size": "0.01"}}
STOP = {"base_size": "0.01", "limit_price": "47000", "stop_price": "48000"}
RAW = {"client_order_id": "raw", "product_id": BTC_ID, "side": "BUY", "order_configuration": MARKET}


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"product_id": "NO-USD"}, "INVALID_PRODUCT_ID"),
        ({"product_id": "SOL-USD"}, "PREVIEW_MISSING_MARKET_TRADE_DATA"),
        ({"side": "HOLD"}, "INVALID_SIDE"),
        ({"client_order_id": ""}, "INVALID_ARGUMENT"),
        ({"order_configuration": {}}, "UNSUPPORTED_ORDER_CONFIGURATION"),
        ({"order_configuration": {"market_market_fok": {"base_size": "1"}}}, "UNSUPPORTED_ORDER_CONFIGURATION"),
        ({"order_configuration": {**MARKET, "limit_limit_gtc": {}}}, "UNSUPPORTED_ORDER_CONFIGURATION"),
        ({"order_configuration": {"market_market_ioc": {}}}, "PREVIEW_NON_NUMERIC_ORDER_SIZE"),
        ({"order_configuration": {"market_market_ioc": {"base_size": "-1"}}}, "PREVIEW_INVALID_ORDER_CONFIG"),
        ({"order_configuration": {"market_market_ioc": {"base_size": "NaN"}}}, "PREVIEW_INVALID_ORDER_CONFIG"),
        (
            {"order_configuration": {"market_market_ioc": {"quote_size": "10.005"}}},
            "PREVIEW_INVALID_QUOTE_SIZE_PRECISION",
        ),
        (
            {"side": "SELL", "order_configuration": {"market_market_ioc": {"quote_size": "10"}}},
            "PREVIEW_INVALID_ORDER_CONFIG",
        ),
        ({"side": "SELL", "order_configuration": {"stop_limit_stop_limit_gtc": STOP}}, "PREVIEW_INVALID_ORDER_CONFIG"),
    ],
)
def test_malformed_order_is_refused(
    venue: Coinbase, exchange: ccxt.coinbase, wrong: dict[str, object], code: str
) -> None:
    with pytest.raises(ccxt.ExchangeError, match=code):
        exchange.v3_private_post_brokerage_orders({**RAW, **wrong})
    assert not venue.orders


def test_what_is_not_served_here_is_not_found(venue: Coinbase, exchange: ccxt.coinbase) -> None:
    with pytest.raises(ccxt.ExchangeNotAvailable, match="404"):
        exchange.fetch_positions()
    with pytest.raises(ccxt.ExchangeError, match="Product NO-USD not supported"):
        exchange.v3_public_get_brokerage_market_products_product_id({"product_id": "NO-USD"})


PLAIN = ccxt.ExchangeError  # neither of its subclasses


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (faults.Hang(), ccxt.RequestTimeout),
        (faults.Drop(), ccxt.NetworkError),
        (faults.RateLimited(), ccxt.RateLimitExceeded),
        (faults.RateLimited(None), ccxt.RateLimitExceeded),
        (faults.Refuse("rate_limit_exceeded", status=429), ccxt.RateLimitExceeded),
        (faults.ServerError(500), ccxt.ExchangeNotAvailable),
        (faults.ServerError(502), ccxt.ExchangeNotAvailable),
        (faults.ServerError(503), ccxt.ExchangeNotAvailable),
        (faults.ServerError(504), ccxt.RequestTimeout),
        (faults.ServerError(500, "INTERNAL"), PLAIN),
        (faults.ServerError(503, "UNAVAILABLE"), PLAIN),
        (faults.ServerError(504, "DEADLINE_EXCEEDED"), PLAIN),
        (faults.Maintenance(), ccxt.ExchangeNotAvailable),
        (faults.Revoked(), ccxt.AuthenticationError),
        (faults.Refuse("PERMISSION_DENIED", status=403), ccxt.PermissionDenied),
        (faults.Refuse("unknown", status=403), PLAIN),
        (faults.Refuse("INVALID_ARGUMENT", status=400), ccxt.BadRequest),
        (faults.Refuse("NOT_FOUND", status=404), PLAIN),
        (faults.Refuse(), ccxt.InsufficientFunds),
        (faults.Refuse("PREVIEW_INSUFFICIENT_FUND"), ccxt.InsufficientFunds),
        (faults.Refuse("UNSUPPORTED_ORDER_CONFIGURATION"), PLAIN),
        (faults.Refuse("COMMANDER_REJECTED_NEW_ORDER"), PLAIN),
        (faults.Refuse("INVALID_LIMIT_PRICE_POST_ONLY"), PLAIN),
    ],
    ids=lambda given: given.name if isinstance(given, Fault) else given.__name__,
)
def test_exceptions_of_the_client(
    venue: Coinbase, exchange: ccxt.coinbase, fault: Fault, kind: type[Exception]
) -> None:
    """The exception for each failure of an order. A 5xx with a body of JSON is a plain ExchangeError, and so is a
    definitive refusal: the class alone does not show whether the order may live."""
    exchange.timeout, venue.faults = SOON if fault.name == "Hang" else 10_000, [fault]
    with pytest.raises(ccxt.BaseError) as caught:
        buy(exchange)
    assert type(caught.value) is kind
    assert not venue.orders and venue.met[fault.name] == 1


def test_want_of_funds_without_the_code_of_a_preview_is_a_plain_error(venue: Coinbase, exchange: ccxt.coinbase) -> None:
    venue.faults = [faults.Nulled("preview_failure_reason")]
    with pytest.raises(ccxt.ExchangeError, match="INSUFFICIENT_FUND") as caught:
        bid(exchange, 49_000.0, 100.0)
    assert type(caught.value) is ccxt.ExchangeError


def test_refusal_of_a_cancel_names_its_reason_in_the_answer(venue: Coinbase, exchange: ccxt.coinbase) -> None:
    id = bid(exchange, 49_000.0)
    venue.faults = [faults.Refuse("COMMANDER_REJECTED_CANCEL_ORDER", on="DELETE order")]
    with pytest.raises(ccxt.BadRequest, match="has failed"):
        exchange.cancel_order(id)
    assert "COMMANDER_REJECTED_CANCEL_ORDER" in exchange.last_http_response
    assert shape(exchange, id)[0] == "open"


# ---------------------------------------------------------------- faults: answers that do not come


@pytest.mark.parametrize("accepted", [False, True])
@pytest.mark.parametrize(
    "fault",
    [
        faults.Hang,
        faults.Drop,
        lambda **how: faults.ServerError(500, **how),
        lambda **how: faults.ServerError(503, **how),
        lambda **how: faults.ServerError(500, "INTERNAL", **how),
    ],
    ids=["hang", "drop", "500", "503", "INTERNAL"],
)
def test_an_error_does_not_say_whether_the_order_lives(
    venue: Coinbase, exchange: ccxt.coinbase, fault: Callable[..., Fault], accepted: bool
) -> None:
    """F1–F5: what is proven comes from a list."""
    venue.faults = [fault(accepted=accepted)]
    exchange.timeout = SOON if venue.faults[0].name == "Hang" else 10_000
    with pytest.raises(ccxt.BaseError):
        buy(exchange)
    exchange.timeout = 10_000
    assert [each["status"] for each in listed(exchange, "ffe-1")] == ["closed"] * accepted
    assert not venue.faults


def test_order_arrives_after_the_client_gave_up(still: Coinbase, clock: Clock, exchange: ccxt.coinbase) -> None:
    """F6"""
    exchange.timeout, still.faults = SOON, [faults.Zombie(by=30 * SECOND)]
    with pytest.raises(ccxt.RequestTimeout):
        buy(exchange)
    clock.time += 29 * SECOND
    assert not listed(exchange, "ffe-1")
    clock.time += 1 * SECOND
    assert listed(exchange, "ffe-1")[0]["status"] == "closed"


def test_accepted_order_is_not_found_for_a_while(still: Coinbase, clock: Clock, exchange: ccxt.coinbase) -> None:
    """F7: in no list, and its trade neither."""
    still.faults = [faults.Invisible(lasts=90 * SECOND)]
    id = buy(exchange)
    clock.time += 89 * SECOND
    with pytest.raises(ccxt.ExchangeError, match="NOT_FOUND"):
        exchange.fetch_order(id)
    assert exchange.fetch_orders(BTC) == exchange.fetch_my_trades(BTC) == []
    clock.time += 1 * SECOND
    assert shape(exchange, id)[0] == "closed" and len(exchange.fetch_my_trades(BTC)) == 1


def test_found_order_is_lost_and_found_again(venue: Coinbase, exchange: ccxt.coinbase) -> None:
    """F8"""
    id = bid(exchange, 49_000.0)
    venue.faults = [faults.Gone(nth=2), faults.Empty(on="GET allOrders")]
    assert shape(exchange, id)[0] == "open"
    with pytest.raises(ccxt.ExchangeError, match="NOT_FOUND"):
        exchange.fetch_order(id)
    assert not listed(exchange, "bid-1") and listed(exchange, "bid-1")
    assert shape(exchange, id)[0] == "open"


@pytest.mark.parametrize("fault", [faults.Malformed, faults.Page, faults.Nulled, faults.Empty])
def test_unreadable_answer_to_an_order_is_no_exception(
    venue: Coinbase, exchange: ccxt.coinbase, fault: Callable[..., Fault]
) -> None:
    """F9, F10: the client raises nothing; only the missing id shows it."""
    venue.faults = [fault(on="POST order")]
    reply = exchange.create_order(BTC, "market", "buy", 0.01, 50_000.0, {"client_order_id": "ffe-1"})
    assert (reply["id"], reply["clientOrderId"], reply["status"]) == (None, None, None)
    assert venue.orders[0].status is Status.FILLED


def test_unreadable_order_looks_like_one_without_a_status(venue: Coinbase, exchange: ccxt.coinbase) -> None:
    """F9, F10"""
    id = buy(exchange)
    venue.faults = [faults.Page(on="GET order"), faults.Nulled(on="GET order", nth=2)]
    page, nulled = exchange.fetch_order(id), exchange.fetch_order(id)
    assert (page["id"], page["status"]) == (None, None)
    assert (nulled["id"], nulled["status"], nulled["filled"]) == (id, None, None)


def test_answer_that_ends_early_is_a_broken_connection(venue: Coinbase, exchange: ccxt.coinbase) -> None:
    """F9"""
    venue.faults = [faults.Truncated()]
    with pytest.raises(ccxt.NetworkError):
        buy(exchange)
    assert venue.orders[0].status is Status.FILLED


def test_page_in_place_of_balances_is_not_even_an_error_of_the_client(venue: Coinbase, exchange: ccxt.coinbase) -> None:
    """F9: a bare TypeError, from the client's own joining of pages."""
    venue.faults = [faults.Page(on="GET account")]
    with pytest.raises(TypeError):
        exchange.fetch_balance({"v3": True})
    assert exchange.fetch_balance({"v3": True})["total"] == {"USD": 100_000.0}


# ---------------------------------------------------------------- faults: orders


def test_order_fills_in_scripted_parts(venue: Coinbase, exchange: ccxt.coinbase) -> None:
    """F15"""
    venue.faults = [faults.Parts(0.3, 0.3)]
    id = buy(exchange)
    seen = [exchange.fetch_order(id, BTC)]
    for price in (50_100.0, 50_200.0):
        venue.price(BTC_ID, price)
        seen.append(exchange.fetch_order(id, BTC))
    assert [each["filled"] for each in seen] == [0.003, 0.006, 0.01]
    assert [each["status"] for each in seen] == ["open", "open", "closed"]
    assert [each["info"]["number_of_fills"] for each in seen] == ["1", "2", "3"]
    assert seen[-1]["average"] == pytest.approx((0.003 * 50_000 + 0.003 * 50_100 + 0.004 * 50_200) / 0.01)


def test_order_fills_in_part_and_the_rest_is_cancelled(venue: Coinbase, exchange: ccxt.coinbase) -> None:
    """F15"""
    venue.faults = [faults.Parts(0.5, then_cancel=True)]
    assert shape(exchange, buy(exchange)) == ("canceled", 0.005, 50_000.0)


def test_acknowledged_order_fails_afterwards(venue: Coinbase, exchange: ccxt.coinbase) -> None:
    """F13: ccxt reads FAILED as canceled."""
    venue.faults = [faults.FailedAfterwards()]
    id = buy(exchange)
    assert shape(exchange, id) == ("canceled", 0.0, None)
    assert exchange.fetch_order(id)["info"]["status"] == "FAILED"
    assert not venue.trades


@pytest.mark.parametrize(
    ("fault", "ids"),
    [
        (faults.SameTradeTwice, [2, 2, 1, 1]),
        (faults.NewIdForOldTrade, [2, 1, 1_000_000]),
        (faults.NewestFirst, [1, 2]),
    ],
)
def test_trades_are_listed_wrongly(
    venue: Coinbase, exchange: ccxt.coinbase, fault: Callable[[], Fault], ids: list[int]
) -> None:
    """F16, F17, F18: the right order is the newest first."""
    buy(exchange, id="a-1"), buy(exchange, id="a-2")
    venue.faults = [fault()]
    fills = exchange.v3_private_get_brokerage_orders_historical_fills()["fills"]
    assert [int(fill["trade_id"][:8], 16) for fill in fills] == ids


def test_pages_lose_rows_and_history_ends(still: Coinbase, clock: Clock, exchange: ccxt.coinbase) -> None:
    """F35"""
    ids = []
    for id in ("a-1", "a-2", "a-3"):
        ids.append(buy(exchange, id=id))
        clock.time += HOUR
    still.faults = [faults.ShortPage(2), faults.ShortHistory(HOUR, nth=2), faults.ShortPage(1, on="GET allOrders")]
    assert [trade["order"] for trade in exchange.fetch_my_trades(BTC)] == ids[1:]
    assert [trade["order"] for trade in exchange.fetch_my_trades(BTC)] == ids[2:]
    assert [each["id"] for each in exchange.fetch_orders(BTC)] == ids[2:]


def test_order_is_overfilled_by_a_lot(venue: Coinbase, exchange: ccxt.coinbase) -> None:
    """F19"""
    venue.faults = [faults.Overfilled()]
    assert shape(exchange, buy(exchange))[1] == 0.01000001


def test_cancel_comes_too_late(venue: Coinbase, exchange: ccxt.coinbase) -> None:
    """F20"""
    id = bid(exchange, 49_000.0)
    venue.faults = [faults.FilledBeforeCancel()]
    with pytest.raises(ccxt.BadRequest):
        exchange.cancel_order(id)
    assert "ORDER_IS_FULLY_FILLED" in exchange.last_http_response
    assert shape(exchange, id) == ("closed", 0.01, 49_000.0)


def test_fill_shows_after_the_cancel(venue: Coinbase, exchange: ccxt.coinbase) -> None:
    """F18"""
    id = bid(exchange, 49_000.0)
    venue.faults = [faults.FilledBeforeCancel(share=0.4)]
    assert exchange.cancel_order(id)["info"]["success"] is True
    assert shape(exchange, id)[:2] == ("canceled", 0.004)


def test_cancel_is_done_and_its_answer_lost(venue: Coinbase, exchange: ccxt.coinbase) -> None:
    """F21"""
    id = bid(exchange, 49_000.0)
    exchange.timeout, venue.faults = SOON, [faults.CancelReplyLost()]
    with pytest.raises(ccxt.RequestTimeout):
        exchange.cancel_order(id)
    assert shape(exchange, id)[0] == "canceled"


def test_others_act_on_the_account(venue: Coinbase, exchange: ccxt.coinbase) -> None:
    """F22"""
    id = bid(exchange, 49_000.0)
    venue.faults = [faults.CancelledByVenue(), faults.TradedByHand(BTC_ID, Side.BUY, 0.02)]
    assert exchange.fetch_balance()["BTC"]["total"] == 0.02
    assert shape(exchange, id)[0] == "canceled"
    assert [each["filled"] for each in listed(exchange, "web_1")] == [0.02]


def test_stop_is_refused_where_other_orders_are_not(venue: Coinbase, exchange: ccxt.coinbase) -> None:
    """F23: faults aim at it by its configuration as well."""
    venue.faults = [
        faults.Refuse("UNSUPPORTED_ORDER_CONFIGURATION", on="POST order STOP*"),
        faults.Refuse("UNSUPPORTED_ORDER_CONFIGURATION", on="POST orders stop_limit*", nth=2),
    ]
    buy(exchange)
    for _ in range(2):
        with pytest.raises(ccxt.ExchangeError, match="source is not enabled"):
            protect(exchange, 48_000.0, 47_000.0)
    protect(exchange, 48_000.0, 47_000.0)


def test_stop_vanishes_or_is_touched_without_a_fill(venue: Coinbase, exchange: ccxt.coinbase) -> None:
    """F23"""
    venue.faults = [faults.Vanished(), faults.StopUnfilled(prices=1, nth=2)]
    buy(exchange)
    assert shape(exchange, protect(exchange, 48_000.0, 40_000.0))[0] == "canceled"
    id = protect(exchange, 48_000.0, 40_000.0, id="stop-2")
    venue.price(BTC_ID, 47_000.0)
    assert shape(exchange, id)[:2] == ("open", 0.0)
    venue.price(BTC_ID, 46_000.0)
    assert shape(exchange, id)[0] == "closed"


def test_client_ids_are_cut(venue: Coinbase, exchange: ccxt.coinbase) -> None:
    """F34"""
    venue.faults = [faults.ClientIdsCut(length=8)]
    bid(exchange, 49_000.0, id="decision-1")
    assert not listed(exchange, "decision-1") and listed(exchange, "decision")


# ---------------------------------------------------------------- faults: what is read


def test_balances_lag(still: Coinbase, clock: Clock, exchange: ccxt.coinbase) -> None:
    """F25"""
    clock.time += 60 * SECOND
    buy(exchange)
    clock.time += 10 * SECOND
    still.faults = [faults.BalanceLag(by=30 * SECOND)]
    assert exchange.fetch_balance()["total"] == {"USD": 100_000.0}
    assert exchange.fetch_balance()["total"]["BTC"] == 0.01


def test_lists_and_balances_are_empty(venue: Coinbase, exchange: ccxt.coinbase) -> None:
    """F25, F26"""
    buy(exchange), protect(exchange, 48_000.0, 47_000.0)
    venue.faults = [faults.Empty(on="GET openOrders"), faults.NoBalances(), faults.NoBalances("BTC", nth=2)]
    empty = exchange.v3_private_get_brokerage_orders_historical_batch({"order_status": "OPEN"})
    assert (empty["orders"], empty["has_next"]) == ([], False)
    assert exchange.fetch_balance()["total"] == {}
    assert exchange.fetch_balance()["total"] == {"USD": 99_494.0}
    assert len(exchange.fetch_open_orders(BTC)) == 1


@pytest.mark.parametrize("free", ["0", "-1", "NaN", None])
def test_balance_is_impossible(venue: Coinbase, exchange: ccxt.coinbase, free: str | None) -> None:
    """F26"""
    venue.faults = [faults.WrongBalance("USD", free)]
    (row,) = exchange.v3_private_get_brokerage_accounts()["accounts"]
    assert row["available_balance"] == {"value": free, "currency": "USD"}


def test_prices_are_impossible_crossed_or_of_another_symbol(venue: Coinbase, exchange: ccxt.coinbase) -> None:
    """F27"""
    venue.faults = [
        faults.WrongPrice("-1"),
        faults.WrongPrice(fields={"best_bid": "50010", "best_ask": "49990"}, nth=2),
        faults.WrongPrice(fields={"product_id": "ETH-USD", "time": "1970-01-01T00:00:01.000Z"}, nth=3),
        faults.WrongPrice("0", on="GET best_bid_ask"),
    ]
    wrong, crossed, other = [exchange.fetch_ticker(BTC) for _ in range(3)]
    assert (wrong["bid"], wrong["last"], wrong["ask"]) == (-1.0, -1.0, -1.0)
    assert crossed["bid"] > crossed["ask"]
    assert (other["symbol"], other["timestamp"]) == ("ETH/USD", 1_000)
    assert exchange.fetch_bids_asks([BTC])[BTC]["info"]["bids"][0]["price"] == "0"  # ccxt's own bid is None


# ---------------------------------------------------------------- faults: the venue itself


def test_market_halts_and_comes_back_with_other_filters(venue: Coinbase, exchange: ccxt.coinbase) -> None:
    """F32, F33"""
    halted = replace(MARKETS[0], is_trading=False)
    venue.faults = [faults.Changed(halted), faults.Changed(replace(MARKETS[0], lot=Decimal("0.001")), nth=3)]
    with pytest.raises(ccxt.ExchangeError, match="TRADING_DISABLED"):
        buy(exchange)
    assert exchange.v3_public_get_brokerage_market_products()["products"][0]["trading_disabled"] is True
    with pytest.raises(ccxt.ExchangeError, match="SIZE_PRECISION"):
        buy(exchange, 0.0101)


def test_resting_stop_waits_out_a_halt_and_is_jumped(venue: Coinbase, exchange: ccxt.coinbase) -> None:
    """F32: an order can be cancelled meanwhile."""
    buy(exchange, 0.02)
    stop, other = protect(exchange, 48_000.0, 47_000.0), protect(exchange, 48_000.0, 40_000.0, id="stop-2")
    venue.change(BTC_ID, cancel_only=True)
    venue.price(BTC_ID, 45_000.0)
    assert exchange.fetch_order(stop)["info"]["trigger_status"] == "STOP_PENDING"
    exchange.cancel_order(other)
    venue.change(BTC_ID, cancel_only=False)
    venue.price(BTC_ID, 45_000.0)
    assert exchange.fetch_order(stop)["info"]["trigger_status"] == "STOP_TRIGGERED"
    assert [shape(exchange, id)[0] for id in (stop, other)] == ["open", "canceled"]


def test_maintenance_cancels_everything(still: Coinbase, clock: Clock, exchange: ccxt.coinbase) -> None:
    """F36"""
    id = bid(exchange, 49_000.0)
    still.faults = [faults.Maintenance(start=clock.time, end=clock.time + 600 * SECOND)]
    for _ in range(2):
        with pytest.raises(ccxt.ExchangeNotAvailable, match="503"):
            exchange.fetch_open_orders(BTC)
    clock.time += 600 * SECOND
    assert shape(exchange, id)[0] == "canceled"


def test_refusal_of_v2_has_its_own_words(venue: Coinbase, exchange: ccxt.coinbase) -> None:
    venue.faults = [faults.Refuse("rate_limit_exceeded", "Too many requests", 429, on="GET v2/time")]
    with pytest.raises(ccxt.RateLimitExceeded, match="errors"):
        exchange.fetch_time()
