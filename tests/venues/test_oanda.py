"""The loopback OANDA over real HTTP: its traps, its arithmetic, and every fault it can be scripted to make."""

from __future__ import annotations

import random
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from decimal import Decimal

import httpx2
import pytest
import trustme

from tests.venues import oanda_faults as faults
from tests.venues.oanda import Oanda
from tests.venues.oanda_candles import Bar
from tests.venues.oanda_schema import SchemaViolation
from tests.venues.oanda_values import Instrument
from tests.venues.oanda_wire import SECOND, read_time

START = 1_700_000_000 * SECOND  # Tuesday 2023-11-14 22:13:20 UTC
YEN = Instrument("USD_JPY", precision=3, half_spread=Decimal("0.005"))
POUND = Instrument("GBP_USD")
CHF = Instrument("EUR_GBP")
TRUST = ssl.create_default_context()  # made once: it costs more than most tests here


@dataclass
class Clock:
    time: int = START

    def __call__(self) -> int:
        return self.time


@dataclass
class Client:
    """A venue and somebody who asks it."""

    venue: Oanda
    clock: Clock
    http: httpx2.Client = field(init=False)

    def __post_init__(self) -> None:
        self.http = httpx2.Client(
            base_url=f"{self.venue.url}/v3", headers=self.venue.headers, timeout=5.0, verify=TRUST
        )

    def ask(self, method: str, path: str, **more: object) -> httpx2.Response:
        path = (
            path if path.startswith(("/accounts", "/instruments/", "/nothing")) else f"/accounts/{self.venue.id}{path}"
        )
        return self.http.request(method, path, **more)

    def get(self, path: str, **query: str) -> dict:
        answer = self.ask("GET", path, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def put(self, path: str, **body: object) -> httpx2.Response:
        return self.ask("PUT", path, json=body)

    def order(
        self, units: int | str, instrument: str = "EUR_USD", type: str = "MARKET", **fields: object
    ) -> httpx2.Response:
        order = {"type": type, "instrument": instrument, "units": str(units), **fields}
        return self.ask("POST", "/orders", json={"order": order})

    def summary(self) -> dict:
        return self.get("/summary")["account"]

    def types(self) -> list[str]:
        return [row["type"] for row in self.venue.transactions]


class Opened:
    """Opens venues, and closes them and their clients at the end."""

    def __init__(self) -> None:
        self.open: list[Client] = []

    def __call__(self, *scripted: faults.Fault, **more: object) -> Client:
        clock = Clock()
        instruments = (Instrument("EUR_USD"), YEN, POUND, CHF)
        venue = Oanda(clock, instruments=more.pop("instruments", instruments), faults=scripted, **more)
        client = Client(venue.__enter__(), clock)
        self.open.append(client)
        venue.price("EUR_USD", "1.10000", "1.10010")
        return client

    def close(self) -> None:
        for client in self.open:
            client.http.close()
            client.venue.__exit__(None, None, None)


@pytest.fixture
def opened() -> Iterator[Opened]:
    opened = Opened()
    yield opened
    opened.close()


@pytest.fixture
def client(opened: Opened) -> Client:
    return opened()


STOP = {"stopLossOnFill": {"price": "1.09000"}}
BOTH = {**STOP, "takeProfitOnFill": {"price": "1.12000"}}
NAMED = {"clientExtensions": {"id": "mine"}}


# ---------------------------------------------------------------- the description holds


def test_a_route_that_is_not_described_is_refused(client: Client) -> None:
    assert client.ask("GET", "/nothing").status_code == 404
    assert client.ask("DELETE", "/orders").status_code == 405
    assert client.ask("GET", "/transactions/stream").status_code == 501


@pytest.mark.parametrize("wrong", [{"stopLoss": {"price": "1.09"}}, {"units": 1000}, {"type": "MARKT"}, {"units": "x"}])
def test_a_body_that_is_not_described_is_refused(client: Client, wrong: dict) -> None:
    answer = client.ask(
        "POST", "/orders", json={"order": {"type": "MARKET", "instrument": "EUR_USD", "units": "1", **wrong}}
    )
    assert answer.status_code == 400 and "order" in answer.json()["errorMessage"]
    assert not client.venue.orders


def test_a_query_that_is_not_described_is_refused(client: Client) -> None:
    assert client.ask("GET", "/pricing", params={"instruments": "EUR_USD", "depth": "1"}).status_code == 400
    assert client.ask("GET", "/pricing").status_code == 400
    assert client.ask("GET", "/pricing", params={"instruments": "EUR_USD", "since": "yesterday"}).status_code == 400
    assert client.ask("GET", "/transactions/sinceid", params={"id": "last"}).status_code == 400
    assert client.ask("GET", "/instruments/EUR_USD/candles", params={"count": "many"}).status_code == 400


def test_a_body_that_is_no_json_is_refused(client: Client) -> None:
    assert client.ask("POST", "/orders", content=b"{order}").status_code == 400
    assert client.ask("POST", "/orders", json={}).status_code == 400


def test_an_answer_that_breaks_the_description_is_the_tests_error() -> None:
    badly_named = [Instrument("EUR/USD")]
    with (
        pytest.raises(SchemaViolation, match=r"instruments 200 at instruments.0.name: 'EUR/USD'"),
        Oanda(Clock(), instruments=badly_named) as venue,
        httpx2.Client(verify=TRUST) as http,
    ):
        path = f"{venue.url}/v3/accounts/{venue.id}/instruments"
        assert http.get(path, headers=venue.headers).status_code == 500


def test_another_token_or_account_is_refused_and_no_token_is_logged(client: Client) -> None:
    assert client.ask("GET", "/summary", headers={"Authorization": "Bearer other"}).status_code == 401
    assert client.ask("GET", "/accounts/101-001-1-001/summary").status_code == 404
    assert [r.route for r in client.venue.requests] == ["/accounts/{accountID}/summary"] * 2
    assert "Bearer" not in repr(client.venue.requests)


@pytest.mark.parametrize(
    ("style", "stamp"), [("RFC3339", "2023-11-14T22:13:20.000000000Z"), ("UNIX", "1700000000.000000000")]
)
def test_times_are_written_as_asked(client: Client, style: str, stamp: str) -> None:
    answer = client.ask("GET", "/pricing", params={"instruments": "EUR_USD"}, headers={"Accept-Datetime-Format": style})
    assert answer.json()["time"] == stamp and read_time(stamp) == START
    assert client.ask("GET", "/summary", headers={"Accept-Datetime-Format": "ISO"}).status_code == 400


def test_every_question_has_an_answer_as_described(client: Client) -> None:
    client.order(1000, **BOTH, **NAMED, tradeClientExtensions={"id": "trade"})
    client.order(500, type="LIMIT", price="1.05")
    account = client.get("")["account"]
    assert (len(account["orders"]), len(account["trades"]), len(account["positions"])) == (3, 1, 1)
    assert client.get("/accounts")["accounts"][0]["id"] == client.venue.id
    for path in (
        "/orders",
        "/pendingOrders",
        "/trades",
        "/openTrades",
        "/positions",
        "/openPositions",
        "/positions/EUR_USD",
    ):
        assert client.get(path)["lastTransactionID"] == str(len(client.venue.transactions))
    assert client.get("/trades/@trade")["trade"] == client.get("/openTrades")["trades"][0]
    assert client.get("/orders/@mine")["order"]["state"] == "FILLED"


def test_every_answer_carries_its_number_and_the_venues_date(client: Client) -> None:
    headers = client.ask("GET", "/summary").headers
    assert (headers["RequestID"], headers["Date"]) == ("1", "Tue, 14 Nov 2023 22:13:20 GMT")


def test_instruments_say_their_precision_size_and_margin(client: Client) -> None:
    (yen,) = client.get("/instruments", instruments="USD_JPY")["instruments"]
    assert (yen["displayPrecision"], yen["tradeUnitsPrecision"], yen["pipLocation"]) == (3, 0, -2)
    assert (yen["minimumTradeSize"], yen["marginRate"]) == ("1", "0.05")
    assert client.ask("GET", "/instruments", params={"instruments": "XAU_USD"}).status_code == 400


# ---------------------------------------------------------------- orders


def test_a_market_order_fills_at_the_ask_with_its_stop_and_target(client: Client) -> None:
    answer = client.order(1000, **BOTH, **NAMED)
    body = answer.json()
    assert answer.status_code == 201 and "orderCancelTransaction" not in body
    assert (body["orderFillTransaction"]["price"], body["orderFillTransaction"]["units"]) == ("1.10010", "1000")
    assert client.types()[2:] == ["MARKET_ORDER", "ORDER_FILL", "TAKE_PROFIT_ORDER", "STOP_LOSS_ORDER"]
    assert body["relatedTransactionIDs"] == ["3", "4", "5", "6"] and body["lastTransactionID"] == "6"
    assert client.get("/openTrades")["trades"][0]["stopLossOrder"]["price"] == "1.09000"


@pytest.mark.parametrize(
    ("order", "reason"),
    [
        ({"units": "10000000"}, "INSUFFICIENT_MARGIN"),
        ({"priceBound": "1.10009"}, "BOUNDS_VIOLATION"),
        ({"stopLossOnFill": {"price": "1.10000"}}, "STOP_LOSS_ON_FILL_LOSS"),
        ({"takeProfitOnFill": {"price": "1.10000"}}, "TAKE_PROFIT_ON_FILL_LOSS"),
        ({"units": "-1", "priceBound": "1.10001"}, "BOUNDS_VIOLATION"),
        ({"units": "-1", "stopLossOnFill": {"price": "1.10010"}}, "STOP_LOSS_ON_FILL_LOSS"),
        ({"positionFill": "REDUCE_ONLY"}, "POSITION_CLOSEOUT_FAILED"),
    ],
)
def test_created_may_mean_cancelled(client: Client, order: dict, reason: str) -> None:
    answer = client.order(**{"units": 1, **order})
    assert answer.status_code == 201 and "orderFillTransaction" not in answer.json()
    assert answer.json()["orderCancelTransaction"]["reason"] == reason
    assert not client.venue.trades


def test_a_halted_market_cancels(client: Client) -> None:
    client.venue.price("EUR_USD", "1.1", "1.1001", tradeable=False)
    assert client.order(1).json()["orderCancelTransaction"]["reason"] == "MARKET_HALTED"
    assert client.get("/pricing", instruments="EUR_USD")["prices"][0]["status"] == "non-tradeable"


@pytest.mark.parametrize(
    ("order", "code"),
    [
        ({"units": "1.5"}, "UNITS_PRECISION_EXCEEDED"),
        ({"units": "0"}, "UNITS_INVALID"),
        ({"units": "200000000"}, "UNITS_LIMIT_EXCEEDED"),
        ({"instrument": "XXX_YYY"}, "INSTRUMENT_UNKNOWN"),
        ({"instrument": "USD_JPY"}, "INSTRUMENT_PRICE_UNKNOWN"),
        ({"priceBound": "1.100001"}, "PRICE_BOUND_PRECISION_EXCEEDED"),
        ({"stopLossOnFill": {"price": "1.090001"}}, "STOP_LOSS_ON_FILL_PRICE_PRECISION_EXCEEDED"),
        ({"stopLossOnFill": {}}, "STOP_LOSS_ON_FILL_PRICE_MISSING"),
        ({"takeProfitOnFill": {"price": "-1"}}, "TAKE_PROFIT_ON_FILL_PRICE_INVALID"),
        ({"timeInForce": "GTC"}, "TIME_IN_FORCE_INVALID"),
        ({"type": "LIMIT"}, "PRICE_MISSING"),
        ({"clientExtensions": {"id": "x" * 129}}, "CLIENT_ORDER_ID_INVALID"),
    ],
)
def test_what_cannot_be_taken_is_rejected_with_a_code(client: Client, order: dict, code: str) -> None:
    answer = client.order(**{"units": 1, **order})
    assert (answer.status_code, answer.json()["errorCode"]) == (400, code)
    assert client.types()[-1].endswith("_ORDER_REJECT")


def test_a_client_id_is_unique_among_pending_orders_only(client: Client) -> None:
    assert [client.order(1000, **NAMED).status_code for _ in range(2)] == [201, 201]
    assert client.venue.held("EUR_USD") == 2000
    codes = [client.order(1, type="LIMIT", price="1.05", **NAMED).status_code for _ in range(2)]
    assert codes == [201, 400]
    assert client.get("/orders/@mine")["order"]["type"] == "LIMIT"


def test_what_is_not_there_says_so(client: Client) -> None:
    for path, code in (
        ("/orders/@none", "NO_SUCH_ORDER"),
        ("/trades/77", "NO_SUCH_TRADE"),
        ("/positions/EUR_USD", "NO_SUCH_POSITION"),
    ):
        answer = client.ask("GET", path)
        assert (answer.status_code, answer.json()["errorCode"]) == (404, code)
    assert client.put("/orders/@none/cancel").json()["errorCode"] == "ORDER_DOESNT_EXIST"
    assert client.put("/trades/77/close", units="ALL").json()["errorCode"] == "TRADE_DOESNT_EXIST"
    assert (
        client.put("/positions/EUR_USD/close", longUnits="ALL").json()["errorCode"] == "CLOSEOUT_POSITION_DOESNT_EXIST"
    )


def test_limits_and_stops_rest_and_fill_when_reached(client: Client) -> None:
    client.order(100, type="LIMIT", price="1.09")
    client.order(200, type="STOP", price="1.11")
    assert [each["price"] for each in client.get("/pendingOrders")["orders"]] == ["1.11000", "1.09000"]
    client.venue.price("EUR_USD", "1.08980", "1.08990")
    client.venue.price("EUR_USD", "1.11030", "1.11040")
    assert [str(each.price) for each in client.venue.trades.values()] == ["1.08990", "1.11040"]


def test_an_order_is_replaced_and_cancelled(client: Client) -> None:
    old = client.order(100, type="LIMIT", price="1.09", **NAMED).json()["orderCreateTransaction"]["id"]
    order = {"type": "LIMIT", "instrument": "EUR_USD", "units": "50", "price": "1.08", **NAMED}
    answer = client.put("/orders/@mine", order=order)
    assert answer.status_code == 201 and answer.json()["orderCancelTransaction"]["reason"] == "CLIENT_REQUEST_REPLACED"
    new = answer.json()["orderCreateTransaction"]["id"]
    assert client.get(f"/orders/{old}")["order"]["replacedByOrderID"] == new
    assert client.put(f"/orders/{new}/cancel").json()["orderCancelTransaction"]["reason"] == "CLIENT_REQUEST"
    assert client.put(f"/orders/{new}/cancel").status_code == 404
    assert client.put(f"/orders/{new}", order=order).status_code == 404
    assert [each["state"] for each in client.get("/orders", state="ALL")["orders"]] == ["CANCELLED", "CANCELLED"]


def test_a_replacement_that_is_refused_leaves_the_order(client: Client) -> None:
    client.order(100, type="LIMIT", price="1.09", **NAMED)
    wrong = {"type": "STOP", "instrument": "EUR_USD", "units": "50", "price": "1.2"}
    assert client.put("/orders/@mine", order=wrong).json()["errorCode"] == "REPLACING_ORDER_INVALID"
    assert client.get("/orders/@mine")["order"]["state"] == "PENDING"


def test_a_market_order_may_wait_for_the_next_price(opened: Opened) -> None:
    client = opened(fill_on_next_price=True)
    body = client.order(1000, **STOP).json()
    assert {"orderFillTransaction", "orderCancelTransaction"}.isdisjoint(body)
    client.venue.mid("EUR_USD", "1.10200")
    (trade,) = client.venue.trades.values()
    assert trade.price == Decimal("1.10205")
    client.put(f"/trades/{trade.id}/close", units="ALL")
    assert client.venue.held("EUR_USD") == 1000
    client.venue.mid("EUR_USD", "1.10300")
    assert client.venue.held("EUR_USD") == 0 and client.get("/pendingOrders")["orders"] == []


def test_a_waiting_exit_comes_before_the_stop_that_the_same_price_reaches(opened: Opened) -> None:
    client = opened(fill_on_next_price=True)
    client.order(1000, **STOP)
    client.venue.mid("EUR_USD", "1.10")
    client.put("/positions/EUR_USD/close", longUnits="ALL")
    client.venue.mid("EUR_USD", "1.08")
    fills = [row["reason"] for row in client.venue.transactions if row["type"] == "ORDER_FILL"]
    assert fills == ["MARKET_ORDER", "MARKET_ORDER_POSITION_CLOSEOUT"]
    assert client.venue.transactions[-1]["reason"] == "LINKED_TRADE_CLOSED"


# ---------------------------------------------------------------- trades


def test_a_gap_through_a_stop_fills_beyond_and_takes_the_target_with_it(client: Client) -> None:
    client.order(1000, **BOTH)
    client.venue.price("EUR_USD", "1.09001", "1.09011")
    assert client.venue.held("EUR_USD") == 1000
    client.venue.price("EUR_USD", "1.08000", "1.08010")
    fill, cancel = client.venue.transactions[-2:]
    assert (fill["reason"], str(fill["price"]), str(fill["pl"])) == ("STOP_LOSS_ORDER", "1.08000", "-20.1000")
    assert cancel["reason"] == "LINKED_TRADE_CLOSED"


def test_a_short_is_stopped_at_the_ask_and_takes_profit_at_the_ask(client: Client) -> None:
    client.order(-1000, stopLossOnFill={"price": "1.11"}, takeProfitOnFill={"price": "1.09"})
    client.venue.price("EUR_USD", "1.08990", "1.09000")
    assert client.venue.transactions[-2]["reason"] == "TAKE_PROFIT_ORDER"
    assert client.venue.balance == Decimal("100010.0000")


def test_a_trades_dependents_are_set_replaced_and_cleared(client: Client) -> None:
    trade = client.order(1000).json()["orderFillTransaction"]["tradeOpened"]["tradeID"]
    path = f"/trades/{trade}/orders"
    assert client.put(path, stopLoss={"price": "1.09"}).json()["stopLossOrderTransaction"]["reason"] == "CLIENT_ORDER"
    moved = client.put(path, stopLoss={"price": "1.095"}, takeProfit={"price": "1.2"}).json()
    assert moved["stopLossOrderCancelTransaction"]["reason"] == "CLIENT_REQUEST_REPLACED"
    assert moved["stopLossOrderTransaction"]["price"] == "1.09500" and "takeProfitOrderTransaction" in moved
    assert "takeProfitOrderCancelTransaction" in client.put(path, takeProfit=None).json()
    assert [each["type"] for each in client.get("/pendingOrders")["orders"]] == ["STOP_LOSS"]
    assert client.put(path, stopLoss={"price": "1.0000001"}).json()["errorCode"] == "PRICE_PRECISION_EXCEEDED"


def test_a_stop_that_is_already_reached_fills_at_once(client: Client) -> None:
    client.order(1000)
    answer = client.put("/trades/4/orders", stopLoss={"price": "1.11"}).json()
    assert answer["stopLossOrderFillTransaction"]["pl"] == "-0.1000"


def test_a_second_stop_is_refused(client: Client) -> None:
    client.order(1000, **STOP)
    answer = client.ask("POST", "/orders", json={"order": {"type": "STOP_LOSS", "tradeID": "4", "price": "1.05"}})
    assert answer.json()["errorCode"] == "STOP_LOSS_ORDER_ALREADY_EXISTS"


def test_a_trade_is_closed_in_parts(client: Client) -> None:
    client.order(1000, **STOP)
    part = client.put("/trades/4/close", units="400").json()["orderFillTransaction"]
    assert (part["tradeReduced"]["units"], part["tradeReduced"]["realizedPL"]) == ("-400", "-0.0400")
    assert client.put("/trades/4/close", units="601").json()["errorCode"] == "CLOSE_TRADE_UNITS_EXCEED_TRADE_SIZE"
    client.put("/trades/4/close", units="ALL")
    trade = client.get("/trades/4")["trade"]
    assert (trade["state"], trade["averageClosePrice"], trade["realizedPL"]) == ("CLOSED", "1.10000", "-0.1000")
    assert trade["stopLossOrder"]["state"] == "CANCELLED"


def test_opposite_orders_net_the_oldest_first_and_turn_the_position(client: Client) -> None:
    client.order(1000)
    client.order(500)
    client.order(-1200)
    fill = client.order(-800).json()["orderFillTransaction"]
    assert [cut["units"] for cut in fill["tradesClosed"]] == ["-300"] and fill["tradeOpened"]["units"] == "-500"
    position = client.get("/positions/EUR_USD")["position"]
    assert (position["long"]["units"], position["short"]["units"]) == ("0", "-500")


def test_reduce_only_never_turns_the_position(client: Client) -> None:
    client.order(1000)
    fill = client.order(-1500, positionFill="REDUCE_ONLY").json()["orderFillTransaction"]
    assert fill["units"] == "-1000" and client.venue.held("EUR_USD") == 0


def test_a_hedging_account_holds_both_sides(opened: Opened) -> None:
    client = opened(hedging=True)
    client.order(1000)
    client.order(-600)
    position = client.get("/openPositions")["positions"][0]
    assert (position["long"]["units"], position["short"]["units"]) == ("1000", "-600")
    assert position["marginUsed"] == "55.0025"  # of the larger side alone
    closed = client.put("/positions/EUR_USD/close", longUnits="ALL", shortUnits="100").json()
    assert (closed["longOrderFillTransaction"]["units"], closed["shortOrderFillTransaction"]["units"]) == (
        "-1000",
        "100",
    )


# ---------------------------------------------------------------- money


def test_profit_margin_and_equity_are_as_worked_out_by_hand(client: Client) -> None:
    client.order(10_000)  # at 1.10010
    client.venue.price("EUR_USD", "1.10500", "1.10520")
    account = client.summary()
    assert account["unrealizedPL"] == "49.0000"  # 10,000 · (1.10500 − 1.10010)
    assert account["NAV"] == "100049.0000" and account["balance"] == "100000.0000"
    assert account["marginUsed"] == "552.5500"  # 10,000 · 1.1051 · 5 %
    assert account["marginAvailable"] == "99496.4500"
    assert account["marginCloseoutPercent"] == "0.00276"  # 276.275 ÷ 100,050 at mid
    assert client.get("/positions/EUR_USD")["position"]["unrealizedPL"] == "49.0000"


def test_profit_in_yen_comes_home_at_the_side_that_costs(client: Client) -> None:
    client.venue.price("USD_JPY", "149.995", "150.005")
    client.order(10_000, "USD_JPY")
    client.venue.price("USD_JPY", "151.005", "151.015")
    fill = client.put("/positions/USD_JPY/close", longUnits="ALL").json()["longOrderFillTransaction"]
    assert fill["gainQuoteHomeConversionFactor"] == "0.00662186"  # 1 ÷ 151.015
    assert fill["pl"] == "66.2186"  # 10,000 · (151.005 − 150.005) · 0.00662186
    assert client.summary()["balance"] == fill["accountBalance"] == "100066.2186"


def test_a_loss_in_pounds_comes_home_at_the_ask(client: Client) -> None:
    client.venue.price("EUR_GBP", "0.85990", "0.86000")
    client.venue.price("GBP_USD", "1.25000", "1.25020")
    assert client.order(1000, "EUR_GBP").status_code == 201
    client.venue.price("EUR_GBP", "0.85000", "0.85010")
    assert client.put("/trades/5/close", units="ALL").status_code == 404
    fill = client.put("/positions/EUR_GBP/close", longUnits="ALL").json()["longOrderFillTransaction"]
    assert fill["pl"] == "-12.5020"  # 1,000 · (0.85000 − 0.86000) · 1.25020
    homes = client.get("/pricing", instruments="EUR_GBP", includeHomeConversions="true")["homeConversions"]
    assert [(h["currency"], h["accountLoss"]) for h in homes] == [("EUR", "1.10010000"), ("GBP", "1.25020000")]


def test_a_position_no_longer_carried_by_half_its_margin_is_closed_out(opened: Opened) -> None:
    client = opened(balance="1000")
    client.order(17_000, **STOP)  # margin 935
    client.venue.price("EUR_USD", "1.09010", "1.09020")
    assert client.venue.held("EUR_USD") == 17_000
    client.venue.price("EUR_USD", "1.07000", "1.07010", tradeable=False)
    assert client.venue.held("EUR_USD") == 17_000
    client.put("/trades/4/orders", stopLoss=None)
    client.venue.price("EUR_USD", "1.06800", "1.06810")  # at mid 455.15 is left, half of 907.84 is 453.92
    assert client.venue.held("EUR_USD") == 17_000
    client.venue.price("EUR_USD", "1.06700", "1.06710")
    assert client.venue.held("EUR_USD") == 0
    assert client.venue.transactions[-1]["reason"] == "MARKET_ORDER_MARGIN_CLOSEOUT"


def test_a_closeout_does_not_wait_for_the_next_price(opened: Opened) -> None:
    client = opened(balance="1000", fill_on_next_price=True)
    client.order(17_000)
    client.venue.mid("EUR_USD", "1.10")
    client.venue.mid("EUR_USD", "1.06")
    assert client.venue.held("EUR_USD") == 0 and client.get("/pendingOrders")["orders"] == []


def test_financing_is_a_transaction_of_its_own(opened: Opened) -> None:
    client = opened(instruments=[Instrument("EUR_USD", long_rate=Decimal("0.0365"))])
    client.venue.finance()
    client.order(10_000)
    client.venue.finance(days=3)
    row = client.get("/transactions/sinceid", id=4)["transactions"][-1]
    assert (row["type"], row["financing"]) == (
        "DAILY_FINANCING",
        "-3.3002",
    )  # 11,000.5 · 3.65 % · 3 ÷ 365, half to even
    assert row["positionFinancings"][0]["openTradeFinancings"] == [{"tradeID": "4", "financing": "-3.3002"}]
    assert client.summary()["balance"] == "99996.6998" and client.get("/trades/4")["trade"]["financing"] == "-3.3002"


@pytest.mark.parametrize("seed", range(3))
def test_the_account_adds_up_whatever_happens(opened: Opened, seed: int) -> None:
    dice = random.Random(seed)
    client = opened(balance="20000", hedging=seed == 2)
    client.venue.price("USD_JPY", "149.995", "150.005")
    for _ in range(30):
        client.order(dice.choice([-9000, -500, 500, 9000]), dice.choice(["EUR_USD", "USD_JPY"]))
        client.venue.mid("EUR_USD", f"{dice.uniform(1.0, 1.2):.5f}")
        client.venue.mid("USD_JPY", f"{dice.uniform(140.0, 160.0):.3f}")
        client.venue.finance()
    account, rows = client.get("")["account"], client.venue.transactions
    flows = sum(row.get("pl", 0) + row.get("financing", 0) + row.get("amount", 0) for row in rows)
    assert Decimal(account["balance"]) == flows
    assert Decimal(account["NAV"]) == flows + sum(Decimal(each["unrealizedPL"]) for each in account["trades"])
    assert Decimal(account["pl"]) == sum(trade.realized for trade in client.venue.trades.values())


# ---------------------------------------------------------------- transactions and changes


def test_transactions_are_found_by_id_range_since_and_page(client: Client) -> None:
    client.order(1000, **BOTH)
    assert client.get("/transactions/4")["transaction"]["type"] == "ORDER_FILL"
    assert [r["id"] for r in client.get("/transactions/idrange", **{"from": "3", "to": "5"})["transactions"]] == [
        "3",
        "4",
        "5",
    ]
    fills = client.get("/transactions/idrange", **{"from": "1", "to": "6", "type": "ORDER_FILL"})["transactions"]
    assert [row["id"] for row in fills] == ["4"]
    assert client.get("/transactions/sinceid", id="6")["transactions"] == []
    assert client.ask("GET", "/transactions/sinceid", params={"id": "7"}).status_code == 416
    assert client.ask("GET", "/transactions/idrange", params={"from": "5", "to": "9"}).status_code == 416
    assert client.ask("GET", "/transactions/9").status_code == 404
    pages = client.get("/transactions", pageSize="4")
    assert [len(client.http.get(page).json()["transactions"]) for page in pages["pages"]] == [4, 2]


def test_changes_since_a_transaction_tell_what_happened_and_where_things_stand(client: Client) -> None:
    client.order(1000, **BOTH)
    client.venue.price("EUR_USD", "1.08000", "1.08010")
    body = client.get("/changes", sinceTransactionID="2")
    changes = body["changes"]
    counts = {name: len(rows) for name, rows in changes.items()}
    assert counts == {
        "ordersCreated": 3, "ordersCancelled": 1, "ordersFilled": 2, "ordersTriggered": 0, "tradesOpened": 1,
        "tradesReduced": 0, "tradesClosed": 1, "positions": 1, "transactions": 6,
    }  # fmt: skip
    assert body["state"]["NAV"] == "99979.9000" and body["state"]["trades"] == []
    client.order(1)
    assert client.get("/changes", sinceTransactionID="8")["state"]["trades"][0]["unrealizedPL"] == "-0.0001"
    assert client.ask("GET", "/changes", params={"sinceTransactionID": "99"}).status_code == 416


# ---------------------------------------------------------------- candles


def hourly(hours: int, start: int = START - 800 * SECOND) -> list[Bar]:
    hour = 3600 * SECOND
    price = lambda n: Decimal("1.1") + n * Decimal("0.001")  # noqa: E731
    return [
        Bar(start + n * hour, start + (n + 1) * hour, price(n), price(n + 2), price(n - 1), price(n + 1), 10)
        for n in range(hours)
    ]


def test_candles_show_nothing_of_an_open_bar_but_its_open(client: Client) -> None:
    client.venue.bars("EUR_USD", hourly(5))
    client.clock.time = START + 2 * 3600 * SECOND
    body = client.get("/instruments/EUR_USD/candles", granularity="H1", price="MBA")
    assert [each["complete"] for each in body["candles"]] == [True, True, False]
    assert body["candles"][0]["mid"] == {"o": "1.10000", "h": "1.10200", "l": "1.09900", "c": "1.10100"}
    assert (body["candles"][0]["bid"]["o"], body["candles"][0]["ask"]["o"]) == ("1.09995", "1.10005")
    assert set(body["candles"][2]["mid"].values()) == {"1.10200"}


def test_candles_are_gathered_and_aligned_to_new_york(client: Client) -> None:
    client.venue.bars("EUR_USD", hourly(80, START - 800 * SECOND - 24 * 3600 * SECOND))
    client.clock.time = START + 40 * 3600 * SECOND
    days = client.get("/instruments/EUR_USD/candles", granularity="D", count="2")["candles"]
    assert [each["time"] for each in days] == ["2023-11-14T22:00:00.000000000Z", "2023-11-15T22:00:00.000000000Z"]
    assert [(each["volume"], each["complete"]) for each in days] == [(240, True), (161, False)]
    utc = client.get("/instruments/EUR_USD/candles", granularity="D", dailyAlignment="0", alignmentTimezone="UTC")
    assert utc["candles"][1]["time"] == "2023-11-14T00:00:00.000000000Z"
    four = client.get(f"/accounts/{client.venue.id}/instruments/EUR_USD/candles", granularity="H4", count="1")[
        "candles"
    ]
    assert four[0]["time"] == "2023-11-16T14:00:00.000000000Z"


def test_candles_come_by_count_or_range(client: Client) -> None:
    client.venue.bars("EUR_USD", hourly(48, START - 800 * SECOND))
    client.clock.time = START + 100 * 3600 * SECOND
    stamp, path = "2023-11-15T00:00:00Z", "/instruments/EUR_USD/candles"
    some = lambda **q: [c["time"][11:13] for c in client.get(path, granularity="H1", **q)["candles"]]  # noqa: E731
    assert some(**{"from": stamp}, count="2") == ["00", "01"]
    assert some(**{"from": stamp}, count="2", includeFirst="false") == ["01", "02"]
    assert some(**{"from": stamp, "to": "2023-11-15T03:00:00Z"}) == ["00", "01", "02"]
    assert some(to=stamp, count="2") == ["22", "23"]
    assert some(to="2023-11-15T00:30:00Z", count="1") == ["00"]
    for wrong in (
        {"count": "5001"},
        {"from": stamp, "to": stamp, "count": "1"},
        {"to": "2033-01-01T00:00:00Z"},
        {"price": "X"},
    ):
        assert client.ask("GET", path, params={"granularity": "H1", **wrong}).status_code == 400


# ---------------------------------------------------------------- faults: the line


def lost(client: Client, **order: object) -> None:
    client.http.timeout = 0.3
    with pytest.raises((httpx2.TimeoutException, httpx2.RemoteProtocolError)):
        client.order(1000, **order)
    client.http.timeout = 5.0


@pytest.mark.parametrize("drops", [False, True])
@pytest.mark.parametrize("accepted", [False, True])
def test_a_reply_that_never_comes_says_nothing_about_the_order(opened: Opened, accepted: bool, drops: bool) -> None:
    client = opened(faults.NoReply(faults.POST_ORDER, accepted=accepted, drops=drops))
    lost(client, **NAMED)
    assert client.venue.held("EUR_USD") == (1000 if accepted else 0)
    assert client.get("/pendingOrders")["orders"] == []
    assert client.ask("GET", "/orders/@mine").status_code == (200 if accepted else 404)


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_server_error_looks_the_same_accepted_or_not(opened: Opened, status: int) -> None:
    error = [faults.HttpError(faults.POST_ORDER.at(n), status, accepted=n == 2) for n in (1, 2)]
    client = opened(*error)
    first, second = client.order(1), client.order(1)
    assert (first.status_code, first.text) == (second.status_code, second.text) == (status, first.text)
    assert client.venue.held("EUR_USD") == 1


def test_too_many_requests_say_when_to_come_back(opened: Opened) -> None:
    client = opened(faults.HttpError(faults.POST_ORDER.at(2), 429, retry_after=3))
    assert [client.order(1).status_code for _ in range(3)] == [201, 429, 201]
    assert client.venue.requests[1].body and client.venue.held("EUR_USD") == 2


def test_a_key_may_be_revoked_for_a_while(opened: Opened) -> None:
    client = opened(faults.HttpError(faults.ANY.during(START, START + SECOND), 401))
    assert client.ask("GET", "/summary").status_code == 401
    client.clock.time += SECOND
    assert client.summary()["balance"] == "100000.0000"


def test_a_zombie_arrives_after_its_sender_has_given_up(opened: Opened) -> None:
    client = opened(faults.Zombie(faults.POST_ORDER, late=30 * SECOND, drops=True))
    lost(client)
    client.clock.time += 29 * SECOND
    assert client.get("/openTrades")["trades"] == []
    client.clock.time += SECOND
    assert len(client.get("/openTrades")["trades"]) == 1


@pytest.mark.parametrize("how", ["html", "truncated", "empty", "list"])
def test_an_unreadable_answer_may_hide_a_fill(opened: Opened, how: str) -> None:
    client = opened(faults.Garbled(faults.POST_ORDER, how))
    answer = client.order(1000)
    assert answer.status_code == 201 and client.venue.held("EUR_USD") == 1000
    assert how != "list" or answer.json() == []
    with nullcontext() if how == "list" else pytest.raises(ValueError):
        answer.json()


def test_a_slow_answer_is_overtaken(opened: Opened) -> None:
    client = opened(faults.Slow(faults.SUMMARY, 0.15))
    done: list[str] = []
    threads = [
        threading.Thread(target=lambda p=path: (client.get(p), done.append(p))) for path in ("/summary", "/openTrades")
    ]
    for thread in threads:
        thread.start()
        time.sleep(0.03)
    for thread in threads:
        thread.join()
    assert done == ["/openTrades", "/summary"]


# ---------------------------------------------------------------- faults: what is said


def test_an_order_may_be_invisible_and_disappear_again(opened: Opened) -> None:
    client = opened(faults.Hidden(faults.GET_ORDER), faults.Hidden(faults.GET_ORDER.at(3)))
    client.order(1000, **NAMED)
    answers = [client.ask("GET", "/orders/@mine") for _ in range(4)]
    assert [each.status_code for each in answers] == [404, 200, 404, 200]
    assert answers[0].json()["errorCode"] == "NO_SUCH_ORDER"


def test_a_position_list_may_be_empty_late_or_an_error(opened: Opened) -> None:
    on = faults.OPEN_POSITIONS
    client = opened(faults.Hidden(on.at(2)), faults.Stale(on.at(3)), faults.HttpError(on.at(4), 500))
    client.order(1000)
    units = lambda: [p["long"]["units"] for p in client.get("/openPositions")["positions"]]  # noqa: E731
    assert (units(), units()) == (["1000"], [])
    assert units() == []  # what was said last
    assert client.ask("GET", "/openPositions").status_code == 500
    assert units() == ["1000"]


@pytest.mark.parametrize("cell", [None, "0", "-5", "NaN", faults.MISSING])
def test_a_balance_may_be_anything(opened: Opened, cell: str | None) -> None:
    client = opened(faults.Altered(faults.SUMMARY, (("account.balance", cell),)))
    account = client.summary()
    assert account.get("balance", faults.MISSING) == cell
    assert client.summary()["balance"] == "100000.0000"


def test_cells_of_a_fill_may_be_null(opened: Opened) -> None:
    client = opened(
        faults.Altered(faults.POST_ORDER, (("orderFillTransaction", None), ("relatedTransactionIDs.0", "")))
    )
    body = client.order(1000).json()
    assert body["orderFillTransaction"] is None and body["relatedTransactionIDs"][0] == ""


@pytest.mark.parametrize(("bid", "ask"), [("0", "0"), ("-1.1", "-1.0"), ("1.2", "1.1"), ("11.0", "11.1"), ("NaN", "")])
def test_prices_may_be_anything(opened: Opened, bid: str, ask: str) -> None:
    client = opened(faults.BadPrice(faults.PRICING, bid, ask))
    (price,) = client.get("/pricing", instruments="EUR_USD")["prices"]
    assert (price["bids"][0]["price"], price["closeoutAsk"]) == (bid, ask)
    assert client.get("/pricing", instruments="EUR_USD")["prices"][0]["closeoutBid"] == "1.10000"


def test_prices_may_be_frozen_of_another_instrument_or_not_tradeable(opened: Opened) -> None:
    on = faults.PRICING
    client = opened(faults.Stale(on.at(2)), faults.WrongSymbol(on.at(3), "USD_JPY"), faults.NotTradeable(on.at(4)))
    ask = lambda: client.get("/pricing", instruments="EUR_USD")["prices"][0]  # noqa: E731
    first = ask()
    client.venue.price("EUR_USD", "1.2", "1.2001")
    assert ask() == first
    assert (ask()["instrument"], ask()["status"], ask()["closeoutBid"]) == ("USD_JPY", "non-tradeable", "1.20000")


@pytest.mark.parametrize(
    ("how", "ids"),
    [
        ("repeated", ["3", "3", "4", "4"]),
        ("renumbered", ["3", "4", "1000003", "1000004"]),
        ("reversed", ["4", "3"]),
        ("lost", ["4"]),
    ],
)
def test_transactions_may_come_twice_anew_backwards_or_not_at_all(opened: Opened, how: str, ids: list[str]) -> None:
    client = opened(faults.Rows(faults.SINCE_ID, how))
    client.order(1000)
    assert [row["id"] for row in client.get("/transactions/sinceid", id="2")["transactions"]] == ids


# ---------------------------------------------------------------- faults: what becomes of orders


def test_a_script_may_reject_or_kill_an_order(opened: Opened) -> None:
    client = opened(faults.Reject(faults.POST_ORDER, "UNITS_LIMIT_EXCEEDED"), faults.Kill(faults.POST_ORDER.at(2)))
    assert client.order(1).json()["errorCode"] == "UNITS_LIMIT_EXCEEDED"
    assert client.order(1).json()["orderCancelTransaction"]["reason"] == "MARKET_HALTED"
    assert "orderFillTransaction" in client.order(1).json()


def test_an_order_may_fill_in_parts_over_the_next_prices(opened: Opened) -> None:
    client = opened(faults.Partial(faults.POST_ORDER, "0.3", "0.5"))
    named = {**NAMED, "tradeClientExtensions": {"id": "trade"}}
    assert client.order(1000, timeInForce="IOC", **named).json()["orderFillTransaction"]["units"] == "300"
    held = [client.venue.mid("EUR_USD", price) or int(client.venue.held("EUR_USD")) for price in ("1.2", "1.3", "1.4")]
    assert held == [800, 1000, 1000]
    assert client.get("/orders/@mine")["order"]["state"] == "FILLED"
    assert [trade.client_id for trade in client.venue.trades.values()] == ["trade", None, None]


def test_an_exit_may_fill_in_parts(opened: Opened) -> None:
    client = opened(faults.Partial(faults.POST_ORDER.at(2), "0.25"))
    client.order(1000)
    client.order(-1000, timeInForce="IOC", positionFill="REDUCE_ONLY")
    assert client.venue.held("EUR_USD") == 750
    client.venue.mid("EUR_USD", "1.2")
    assert client.venue.held("EUR_USD") == 0


def test_a_part_may_fill_and_the_rest_be_cancelled(opened: Opened) -> None:
    client = opened(faults.Partial(faults.POST_ORDER.at(1, 2), "0.3", then_cancel=True))
    body = client.order(1000, timeInForce="IOC").json()
    assert body["orderFillTransaction"]["units"] == "300"
    assert body["orderCancelTransaction"]["reason"] == "INSUFFICIENT_LIQUIDITY"
    assert "orderFillTransaction" not in client.order(1000).json()  # FOK is all or nothing


def test_more_may_fill_than_was_ordered(opened: Opened) -> None:
    client = opened(faults.Overfill(faults.POST_ORDER, 1))
    assert client.order(-1000).json()["orderFillTransaction"]["units"] == "-1001"


def test_a_client_id_may_be_cut_short(opened: Opened) -> None:
    client = opened(faults.TruncateId(faults.POST_ORDER, 2))
    client.order(1000, **NAMED)
    assert client.ask("GET", "/orders/@mine").status_code == 404
    assert client.get("/orders/@mi")["order"]["state"] == "FILLED"


def test_a_cancel_may_come_too_late_or_its_reply_be_lost(opened: Opened) -> None:
    client = opened(faults.FillFirst(), faults.NoReply(faults.CANCEL.at(2), accepted=True))
    ids = [client.order(1, type="LIMIT", price="1").json()["orderCreateTransaction"]["id"] for _ in range(2)]
    assert client.put(f"/orders/{ids[0]}/cancel").json()["errorCode"] == "ORDER_DOESNT_EXIST"
    client.http.timeout = 0.3
    with pytest.raises(httpx2.ReadTimeout):
        client.put(f"/orders/{ids[1]}/cancel")
    assert [client.get(f"/orders/{id}")["order"]["state"] for id in ids] == ["FILLED", "CANCELLED"]


def test_a_stop_may_be_refused_lost_forgotten_or_asleep(opened: Opened) -> None:
    asleep = faults.StopsAsleep(faults.ANY.during(START, START + SECOND))
    client = opened(
        faults.Reject(faults.PROTECT, "STOP_LOSS_ORDER_ALREADY_EXISTS"), faults.LoseStop(faults.POST_ORDER), asleep,
        faults.ForgetOrders(faults.SUMMARY),
    )  # fmt: skip
    client.order(1000, **STOP)
    assert client.put("/trades/4/orders", stopLoss={"price": "1.09"}).status_code == 400
    assert client.put("/trades/4/orders", stopLoss={"price": "1.09"}).status_code == 200
    client.venue.mid("EUR_USD", "1.08")
    assert client.venue.held("EUR_USD") == 1000
    assert client.summary()["pendingOrderCount"] == 0
    client.clock.time += SECOND
    client.venue.mid("EUR_USD", "1.07")
    assert client.venue.held("EUR_USD") == 1000


def test_stops_wake_again(opened: Opened) -> None:
    client = opened(faults.StopsAsleep(faults.ANY.during(START, START + SECOND)))
    client.order(1000, **STOP)
    client.venue.mid("EUR_USD", "1.08")
    client.clock.time += SECOND
    client.venue.mid("EUR_USD", "1.07")
    assert client.venue.held("EUR_USD") == 0


def test_an_exit_after_an_unseen_stop_turns_the_position_unless_it_only_reduces(client: Client) -> None:
    client.order(1000, **STOP)
    client.venue.mid("EUR_USD", "1.08")
    assert client.order(-1000, positionFill="REDUCE_ONLY").json()["orderCancelTransaction"]["reason"]
    client.order(-1000)
    assert client.venue.held("EUR_USD") == -1000


# ---------------------------------------------------------------- faults: what happens meanwhile


def test_somebody_may_trade_by_hand_and_orders_be_cancelled_unasked(opened: Opened) -> None:
    client = opened(faults.ManualTrade(faults.SUMMARY, "EUR_USD", -700), faults.CancelUnasked(faults.PENDING))
    client.order(1, type="LIMIT", price="1")
    assert client.summary()["openTradeCount"] == 1 and client.venue.held("EUR_USD") == -700
    assert client.get("/pendingOrders")["orders"] == []
    assert client.venue.transactions[-1]["reason"] == "ACCOUNT_ORDER_FILL_LOCKED"


def test_an_instrument_may_change_or_be_delisted(opened: Opened) -> None:
    client = opened(
        faults.Change(faults.POST_ORDER, "EUR_USD", precision=4),
        faults.Change(faults.POST_ORDER.at(2), "EUR_USD", delisted=True),
    )
    assert client.order(1, **STOP).json()["errorCode"] == "STOP_LOSS_ON_FILL_PRICE_PRECISION_EXCEEDED"
    assert client.order(1).json()["errorCode"] == "INSTRUMENT_NOT_TRADEABLE"
    assert len(client.get("/instruments")["instruments"]) == 3


def test_a_closed_market_works_nothing_and_reopens_with_a_gap(opened: Opened) -> None:
    client = opened()
    client.order(1000, **STOP)
    client.venue.script(faults.MarketClosed(faults.ANY.during(START, START + SECOND)))
    client.venue.mid("EUR_USD", "1.08")
    assert client.order(1).json()["orderCancelTransaction"]["reason"] == "MARKET_HALTED"
    assert client.venue.held("EUR_USD") == 1000
    client.clock.time += SECOND
    client.venue.mid("EUR_USD", "1.07")
    assert client.venue.transactions[-1]["type"] == "ORDER_FILL" and client.venue.balance == Decimal("99969.8500")


def test_the_venues_clock_may_be_off(opened: Opened) -> None:
    client = opened(faults.Skew(faults.ANY.during(START, START + SECOND), -5 * SECOND))
    assert read_time(client.get("/pricing", instruments="EUR_USD")["time"]) == START - 5 * SECOND
    client.clock.time += SECOND
    assert read_time(client.get("/pricing", instruments="EUR_USD")["time"]) == START + SECOND


def test_maintenance_answers_nothing_and_cancels_everything(opened: Opened) -> None:
    client = opened(faults.Maintenance(faults.ANY.during(START + SECOND, START + 2 * SECOND)))
    client.order(1000, **BOTH)
    client.clock.time += SECOND
    assert client.ask("GET", "/summary").headers["Retry-After"] == "60"
    client.clock.time += SECOND
    assert client.get("/pendingOrders")["orders"] == [] and client.venue.held("EUR_USD") == 1000


def test_chaos_draws_the_same_faults_from_the_same_seed(opened: Opened) -> None:
    kinds = (faults.HttpError(faults.ANY), faults.Garbled(faults.ANY), faults.Kill(faults.ANY))
    runs = []
    for _ in range(2):
        client = opened(faults.Chaos(faults.POST_ORDER.every(), seed=5, rate=0.5, faults=kinds))
        runs.append([client.order(1).content for _ in range(20)])
    assert runs[0] == runs[1] and len({each[:30] for each in runs[0]}) == 3


def test_a_script_counts_from_when_it_was_given(client: Client) -> None:
    client.order(1)
    client.venue.script(faults.HttpError(faults.POST_ORDER.at(2)))
    assert [client.order(1).status_code for _ in range(3)] == [201, 502, 201]


# ---------------------------------------------------------------- the end


def test_hanging_requests_block_neither_the_others_nor_the_end(opened: Opened) -> None:
    client = opened(faults.NoReply(faults.SUMMARY.at(1, 3)))
    ended: list[Exception] = []

    def hang() -> None:
        with pytest.raises(httpx2.RemoteProtocolError) as error:
            client.summary()
        ended.append(error.value)

    threads = [threading.Thread(target=hang) for _ in range(3)]
    for thread in threads:
        thread.start()
    while len(client.venue.requests) < 3:
        time.sleep(0.01)
    assert client.get("/openTrades")["trades"] == []
    began = time.monotonic()
    client.venue.__exit__(None, None, None)
    for thread in threads:
        thread.join()
    assert len(ended) == 3 and time.monotonic() - began < 2.0
    opened.open.remove(client)
    client.http.close()


def test_it_speaks_tls_with_a_context_of_the_tests() -> None:
    authority, served = trustme.CA(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(served)
    trusted = ssl.create_default_context()
    authority.configure_trust(trusted)
    with Oanda(Clock(), context=served) as venue, httpx2.Client(verify=trusted) as http:
        assert http.get(f"{venue.url}/v3/accounts", headers=venue.headers).status_code == 200
