"""What venues show without a journal, and closing all of it: open orders, claims and a sweep, at both adapters."""

from __future__ import annotations

from dataclasses import replace

import ccxt
import pytest

from ffe.brokers.venue import OpenOrder
from ffe.live.closer import Exits
from ffe.live.reading import NoReading
from ffe.live.sweep import Sweep
from ffe.model import SECOND, InstrumentId, Side
from ffe.risk.gatekeeper import Reducer
from ffe.risk.limits import GateLimits
from ffe.session import Session
from tests.faults.stage_oanda import CLOSE, EUR, GBP
from tests.live.closing_stage import AtOanda, Scene, at_binance, at_oanda
from tests.venues.faults import Drop, Nulled, ServerError
from tests.venues.matching import Kind, Order, exact
from tests.venues.matching import Side as Direction
from tests.venues.oanda_faults import OPEN_TRADES, PENDING, SUMMARY, HttpError, NoReply
from tests.venues.server import Server

Binance = tuple[Server, ccxt.binance]
BTC, SOL = InstrumentId("coins:BTC/USDT"), InstrumentId("coins:SOL/USDT")
FOREVER = 2**62


def sweep(scene: Scene) -> Sweep:
    exits = Exits(Reducer(GateLimits()), Session("everything", 0))
    return Sweep(scene.reader(), exits, scene.journal, scene.timer(), scene.said.append)


def rests(scene: AtOanda, symbol: str, units: int, price: str) -> None:
    """Somebody's own entry order."""
    order = {"type": "LIMIT", "instrument": symbol.replace("/", "_"), "units": str(units), "price": price}
    scene.venue._account.begin("0")
    scene.venue._account.place(order)


# ---------------------------------------------------------------- what is open


def test_open_orders_at_binance_are_listed_whoever_sent_them(binance: Binance) -> None:
    with at_binance(binance) as scene:
        by_hand = Order(0, "web_1", "SOLUSDT", Direction.BUY, Kind.LIMIT, exact(10), exact(90))
        scene.venue.account.place(by_hand)
        (stop,) = scene.venue.open_orders("BTCUSDT")
        shown = scene.reader().read()
        assert shown.orders == (
            OpenOrder(BTC, str(stop.id), stop.client_id, Side.SHORT, 0.0999, 49_000.0, True),
            OpenOrder(SOL, str(stop.id + 1), "web_1", Side.LONG, 10.0, None, False),
        )
        assert dict(shown.positions) == {BTC: pytest.approx(0.0999)} and not shown.is_empty


def test_open_orders_at_oanda_are_listed_whoever_sent_them() -> None:
    with at_oanda(EUR) as scene:
        rests(scene, GBP, 500, "1.4")
        eur, gbp = scene.stage[EUR].id, scene.stage[GBP].id
        found = {(o.instrument, o.side, o.qty, o.reduces, o.stop is not None) for o in scene.reader().read().orders}
        assert found == {
            (eur, Side.SHORT, 10_000.0, True, True), (eur, Side.SHORT, 10_000.0, True, False),
            (gbp, Side.LONG, 500.0, False, False),
        }  # fmt: skip


def test_stop_of_ours_at_oanda_is_listed_under_our_own_id() -> None:
    with at_oanda(EUR) as scene:
        stops = [order for order in scene.reader().read().orders if order.stop is not None]
        assert [order.id in scene.left.ids() for order in stops] == [True]


def test_orders_of_other_instruments_at_oanda_are_not_the_sessions() -> None:
    with at_oanda(EUR) as scene:
        rests(scene, "USD/JPY", 500, "140.0")
        scene.stage.somebody_trades("AUD/USD", 700)
        scene.venue._account.begin("0")
        shown = scene.reader().read()
        assert {order.instrument for order in shown.orders} == {scene.stage[EUR].id} == set(shown.positions)


@pytest.mark.parametrize("what", ["GET account", "GET openOrders", "GET ticker*"])
def test_reading_that_is_not_whole_is_none(binance: Binance, what: str) -> None:
    with at_binance(binance) as scene:
        reader = scene.reader()
        reader.read()
        scene.venue.faults = [ServerError(on=what, end=FOREVER)]
        with pytest.raises(NoReading, match="coins does not say"):
            reader.read()
        scene.venue.faults = []
        assert reader.read().positions


def test_open_order_without_a_number_is_no_reading(binance: Binance) -> None:
    with at_binance(binance) as scene:
        scene.venue.faults = [Nulled("orderId", on="GET openOrders", end=FOREVER)]
        with pytest.raises(NoReading):
            scene.reader().read()


@pytest.mark.parametrize("on", [SUMMARY, PENDING, OPEN_TRADES])
def test_reading_at_oanda_that_is_not_whole_is_none(on: object) -> None:
    with at_oanda() as scene:
        scene.stage.script(HttpError(on.every(), status=503))  # type: ignore[attr-defined]
        with pytest.raises(NoReading, match="oanda does not say"):
            scene.reader().read()


def test_dust_is_shown_and_is_nothing_that_can_be_sold(binance: Binance) -> None:
    with at_binance(binance) as scene:
        scene.venue.cancel_all()
        scene.venue.account.held["BTC"] = exact(0.00009)
        shown = scene.reader().read()
        assert shown.is_empty and "too little to be sold" in "\n".join(shown.lines())


def test_position_without_a_price_counts_as_worth_enough(binance: Binance) -> None:
    with at_binance(binance) as scene:
        shown = scene.reader().read()
        assert replace(shown, prices={}).sellable() == shown.sellable() != {}
        assert "worth" not in "\n".join(replace(shown, prices={}).lines())


# ---------------------------------------------------------------- everything


def test_everything_at_oanda_is_closed_and_cancelled() -> None:
    with at_oanda(EUR, foreign=(("GBP/USD", 7_000), ("EUR/USD", 3_000))) as scene:
        rests(scene, GBP, 500, "1.4")
        sweep(scene).close()
        assert scene.venue.held("EUR_USD") == scene.venue.held("GBP_USD") == 0
        assert not [order for order in scene.venue.orders.values() if order.state == "PENDING"]


def test_short_trade_at_oanda_is_closed_by_a_purchase() -> None:
    with at_oanda(EUR, foreign=(("GBP/USD", -7_000),)) as scene:
        sweep(scene).close()
        assert scene.venue.held("GBP_USD") == 0


def test_everything_at_oanda_keeps_stops_until_their_trades_are_closed() -> None:
    """They rest on the trades and end with them."""
    with at_oanda(EUR) as scene:
        sweep(scene).close()
        assert scene.sequence() == ["PUT close"]


def test_everything_at_oanda_is_tried_until_the_venue_shows_flat() -> None:
    with at_oanda(EUR) as scene:
        scene.stage.script(NoReply(CLOSE.at(1, 2), False, drops=True))
        sweep(scene).close()
        assert scene.venue.held("EUR_USD") == 0


def test_position_is_not_sold_again_before_its_sale_could_be_seen(binance: Binance) -> None:
    with at_binance(binance) as scene:
        scene.venue.fill_on_next_price = True
        one = sweep(scene)
        for _ in range(2):
            assert one.round()
            scene.pass_time(SECOND)
        assert len(scene.posts("MARKET")) == 1


def test_exit_of_everything_that_is_lost_is_repeated(binance: Binance) -> None:
    with at_binance(binance) as scene:
        scene.venue.faults = [Drop(on="POST order MARKET", times=2)]
        began = scene.now
        sweep(scene).close()
        assert scene.is_flat() and not scene.venue.open_orders() and scene.now - began <= 20 * SECOND
