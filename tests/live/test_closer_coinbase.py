"""The liquidator at Coinbase: the laws of `test_closer`, at the venue's own ledger. Stops rest there as stop-limits."""

from __future__ import annotations

import ccxt
import pytest

from ffe.live.closer import Exits, Standing
from ffe.live.sweep import Sweep
from ffe.model import SECOND, InstrumentId
from ffe.risk.gatekeeper import Reducer
from ffe.risk.limits import GateLimits
from ffe.session import Session
from tests.live.closing_stage import AtBinance, at_binance
from tests.venues.faults import Drop, RateLimited, Refuse, ServerError
from tests.venues.matching import Side
from tests.venues.server import Server

Coinbase = tuple[Server, ccxt.coinbase]
BTC, ETH = InstrumentId("coins:BTC/USD"), InstrumentId("coins:ETH/USD")
MARKET, STOP = "POST order MARKET", "POST order STOP*"
FOREVER = 2**62


def sold(scene: AtBinance) -> float:
    return sum(float(trade.qty) for trade in scene.venue.trades if trade.side is Side.SELL)


def test_positions_are_closed_and_nothing_rests(coinbase: Coinbase) -> None:
    with at_binance(coinbase, "btc", "eth") as scene:
        scene.close()
        assert scene.is_flat() and not scene.venue.open_orders() and scene.longest_naked == 0


@pytest.mark.parametrize("fault", [Drop(on=MARKET), ServerError(on=MARKET), Refuse("INSUFFICIENT_FUND", on=MARKET)])
def test_exit_that_is_lost_or_refused_leaves_no_position_naked_for_five_seconds(
    coinbase: Coinbase, fault: object
) -> None:
    with at_binance(coinbase) as scene:
        scene.venue.faults = [fault]  # type: ignore[list-item]
        took = scene.close()
        assert scene.longest_naked <= 5 * SECOND and took <= 10 * SECOND
        assert scene.is_flat() and sold(scene) == pytest.approx(0.1)


def test_exit_whose_answer_is_lost_is_found_and_not_repeated(coinbase: Coinbase) -> None:
    with at_binance(coinbase) as scene:
        scene.venue.faults = [Drop(on=MARKET, accepted=True)]
        scene.close()
        assert len(scene.posts("MARKET")) == 1 and sold(scene) == pytest.approx(0.1)


def test_stop_that_is_lost_on_its_way_back_is_placed_again(coinbase: Coinbase) -> None:
    with at_binance(coinbase) as scene:
        scene.venue.faults = [Drop(on=MARKET, times=2), Drop(on=STOP, times=2)]
        scene.close()
        assert scene.longest_naked <= 5 * SECOND and scene.is_flat() and not scene.venue.open_orders()


def test_venue_that_wants_no_orders_is_obeyed(coinbase: Coinbase) -> None:
    with at_binance(coinbase) as scene:
        scene.venue.faults = [RateLimited(retry_after=3, on=MARKET, times=2)]
        scene.close()
        assert scene.is_flat() and scene.longest_naked <= 5 * SECOND


def test_foreign_holding_is_neither_sold_nor_keeps_a_stop_from_being_done(coinbase: Coinbase) -> None:
    with at_binance(coinbase, holds={"BTC": 0.2}) as scene:
        scene.close(10 * SECOND)
        assert scene.is_flat() and scene.stage.at_venue() == pytest.approx(0.2)


def test_position_is_secured(coinbase: Coinbase) -> None:
    with at_binance(coinbase, "btc", "eth") as scene:
        scene.venue.account.cancel(scene.venue.open_orders("ETH-USD")[0])
        one = scene.liquidator()
        one.secure(True)
        one.timer.sleep(SECOND)
        assert one.secure(True) == {BTC: Standing.PROTECTED, ETH: Standing.PROTECTED}
        scene.venue.faults = [ServerError(on="*", end=FOREVER)]
        one.timer.sleep(SECOND)
        assert set(one.secure(True).values()) == {Standing.UNKNOWN}


def test_everything_is_closed_and_cancelled(coinbase: Coinbase) -> None:
    with at_binance(coinbase, "btc", "eth", holds={"BTC": 0.2}) as scene:
        exits = Exits(Reducer(GateLimits()), Session("everything", 0))
        reader = scene.reader()
        shown = reader.read()
        assert {order.stop is not None and order.reduces for order in shown.orders} == {True}
        assert {order.id for order in shown.orders} <= scene.left.ids()
        Sweep(reader, exits, scene.journal, scene.timer(), scene.said.append).close()
        assert not scene.venue.open_orders() and all(scene.stage.at_venue(c) < 1e-6 for c in ("BTC", "ETH"))
