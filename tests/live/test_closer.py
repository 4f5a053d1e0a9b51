"""The liquidator at loopback venues, in process, with the real clients and a virtual clock: what it leaves there, and
for how long a position stands without its stop.
"""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from itertools import pairwise

import ccxt
import pytest

from ffe.live.closer import Liquidator, Standing
from ffe.model import SECOND, Cause, Currency, Exit, Fill, Filled, InstrumentId, Nanos, OrderId, Protect
from tests.faults.stage_oanda import CLOSE, EUR, GBP
from tests.faults.stage_spot import COINS
from tests.live.closing_stage import AtBinance, Kept, Scene, at_binance, at_oanda, with_sent
from tests.story.scene import buy
from tests.venues.faults import (
    BalanceLag,
    Drop,
    Hang,
    Invisible,
    NoBalances,
    Page,
    RateLimited,
    Refuse,
    ServerError,
    Vanished,
    Zombie,
)
from tests.venues.matching import Kind, Order, Side, exact
from tests.venues.oanda_faults import OPEN_POSITIONS, SINCE_ID, SUMMARY, HttpError, NoReply
from tests.venues.server import Server

Binance = tuple[Server, ccxt.binance]
BTC, ETH, SOL = (InstrumentId(f"coins:{coin}/USDT") for coin in ("BTC", "ETH", "SOL"))
NAKED: Nanos = 5 * SECOND
MARKET, STOP = "POST order MARKET", "POST order STOP*"
FOREVER: Nanos = 2**62


def sold(scene: AtBinance) -> float:
    """What left the account since the engine's end, in coins of any kind."""
    return sum(float(t.qty) for t in scene.venue.trades if t.side is Side.SELL)


# ---------------------------------------------------------------- closing


def test_positions_are_closed_and_nothing_rests(binance: Binance) -> None:
    with at_binance(binance, "btc", "eth") as scene:
        scene.close()
        assert scene.is_flat() and not scene.venue.open_orders() and scene.longest_naked == 0


def test_stops_make_way_one_position_at_a_time(binance: Binance) -> None:
    """All of them taken away first would leave every position naked meanwhile."""
    with at_binance(binance, "btc", "eth") as scene:
        scene.close()
        assert scene.sequence() == ["DELETE BTC", "POST BTC", "DELETE ETH", "POST ETH"]


def test_each_order_leaves_once_and_is_recorded_before_it_leaves(binance: Binance) -> None:
    with at_binance(binance, "btc", "eth") as scene:
        scene.venue.faults = [Drop(on=MARKET)]
        scene.close()
        orders = [order for step in scene.journal.steps for order in step.orders]
        posts = [r.params for r in scene.venue.requests[scene.begun :] if (r.method, r.endpoint) == ("POST", "order")]
        assert Counter(post["newClientOrderId"] for post in posts) == Counter(order.id for order in orders)
        exits = [order for order in orders if isinstance(order, Exit)]
        decided = [decision for step in scene.journal.steps for decision in step.decisions]
        assert [d.order for d in decided] == [order.id for order in exits]
        assert len({d.id for d in decided}) == len(decided)


class Before(Kept):
    """A journal that looks at the venue when it is written."""

    def __init__(self, scene: AtBinance) -> None:
        super().__init__()
        self.scene, self.posted = scene, list[int]()

    def step(self, step):  # type: ignore[no-untyped-def]
        self.posted.append(len(self.scene.sequence()))
        return super().step(step)


def test_journal_is_written_before_the_stop_makes_way(binance: Binance) -> None:
    with at_binance(binance) as scene:
        journal = Before(scene)
        scene.liquidator(journal=journal).close()
        assert journal.posted[0] == 0  # a busy machine may be late to hear the answer, and asks: those steps follow
        assert [type(order) for order in journal.steps[0].orders][-1] is Exit


def test_journal_is_written_before_a_stop_is_put_back(binance: Binance) -> None:
    with at_binance(binance) as scene:
        scene.venue.faults = [Drop(on=MARKET)]
        journal = Before(scene)
        scene.liquidator(journal=journal).close()
        (n,) = [n for n, step in enumerate(journal.steps) for order in step.orders if isinstance(order, Protect)]
        assert journal.posted[n] == 2 and scene.sequence()[:3] == ["DELETE BTC", "POST BTC", "POST BTC"]


@pytest.mark.parametrize("fault", [Drop, ServerError, Page, Hang])
def test_lost_exit_leaves_no_position_naked_for_five_seconds(binance: Binance, fault: type) -> None:
    """F3: the exit is lost before the venue, its stop had made way. The horizon of ninety seconds is for entries."""
    with at_binance(binance) as scene:
        scene.venue.faults = [fault(on=MARKET)]
        took = scene.close()
        assert scene.longest_naked <= NAKED and scene.is_flat()
        assert took <= 10 * SECOND and sold(scene) == pytest.approx(0.0999)


def test_exit_whose_answer_is_lost_is_found_and_not_repeated(binance: Binance) -> None:
    with at_binance(binance) as scene:
        scene.venue.faults = [Drop(on=MARKET, accepted=True)]
        scene.close()
        assert len(scene.posts("MARKET")) == 1 and scene.is_flat() and not scene.posts("STOP_LOSS")


@pytest.mark.parametrize("lost", [1, 2, 3])
def test_stop_that_is_lost_on_its_way_back_is_placed_again(binance: Binance, lost: int) -> None:
    with at_binance(binance) as scene:
        scene.venue.faults = [Drop(on=MARKET, times=2), Drop(on=STOP, times=lost)]
        scene.close()
        assert scene.longest_naked <= NAKED and scene.is_flat()


def test_stop_whose_answer_is_lost_is_not_placed_twice(binance: Binance) -> None:
    with at_binance(binance) as scene:
        scene.venue.faults = [Drop(on=MARKET), Drop(on=STOP, accepted=True)]
        scene.close()
        assert len(scene.posts("STOP_LOSS")) == 1 and scene.is_flat() and not scene.venue.open_orders()


def test_stop_that_is_listed_late_is_not_placed_twice(binance: Binance) -> None:
    """A venue may not list at once what it has taken; a second one would lock coins that are not ours."""
    with at_binance(binance, holds={"BTC": 0.2}) as scene:
        scene.venue.faults = [Drop(on=MARKET), Drop(on=STOP, accepted=True), Invisible(on=STOP, lasts=SECOND // 2)]
        scene.liquidator().close()
        assert len(scene.posts("STOP_LOSS")) == 1 and scene.is_flat() and not scene.venue.open_orders()


def test_venue_that_takes_no_orders_keeps_the_position_naked_no_longer_than_that(binance: Binance) -> None:
    with at_binance(binance) as scene:
        down = scene.now + 20 * SECOND
        scene.venue.faults = [ServerError(on="POST order", start=0, end=down)]
        scene.close()
        naked_until = min(scene.posts("STOP_LOSS")[-1:] or [scene.now])
        assert scene.is_flat() and naked_until <= down + NAKED and scene.now <= down + 10 * SECOND


@pytest.mark.parametrize("what", ["GET *", "GET account", "GET order", "GET myTrades"])
def test_questions_without_answers_do_not_hold_up_an_exit(binance: Binance, what: str) -> None:
    """The account is dead, orders work: it is sold, and flat is said once the venue answers again."""
    with at_binance(binance) as scene:
        dead = scene.now + 15 * SECOND
        scene.venue.faults = [ServerError(on=what, start=0, end=dead)]
        one, began = scene.liquidator(), scene.now
        while not one.is_closed():
            one.timer.sleep(SECOND)
            assert scene.now < dead + 15 * SECOND, one.shown()
        assert scene.now >= dead or what in ("GET order", "GET myTrades")
        assert scene.posts("MARKET")[0] - began <= SECOND and scene.is_flat() and sold(scene) == pytest.approx(0.0999)


def test_exit_that_is_refused_leaves_its_stop_at_the_venue_between_the_tries(binance: Binance) -> None:
    with at_binance(binance) as scene:
        scene.venue.faults = [Refuse(on=MARKET, times=4)]
        took = scene.close()
        assert scene.longest_naked == 0 and len(scene.posts("STOP_LOSS")) == 4
        gaps = [b - a for a, b in pairwise(scene.posts("MARKET"))]
        assert min(gaps) >= SECOND and max(gaps) <= 4 * SECOND and took <= 15 * SECOND


def test_venue_that_wants_no_orders_is_obeyed_as_it_said(binance: Binance) -> None:
    with at_binance(binance) as scene:
        scene.venue.faults = [RateLimited(retry_after=3, on=MARKET, times=3)]
        scene.close()
        posts = scene.posts("MARKET")
        gaps = [(later - before) / SECOND for before, later in pairwise(posts)]
        assert len(gaps) == 3 and all(3.0 <= gap <= 4.5 for gap in gaps), gaps
        assert scene.longest_naked <= NAKED


def test_market_that_does_not_trade_keeps_its_stop(binance: Binance) -> None:
    with at_binance(binance) as scene:
        scene.venue.change("BTCUSDT", is_trading=False)
        one, began = scene.liquidator(), scene.now
        while scene.now < began + 30 * SECOND:
            assert not one.is_closed()
            one.timer.sleep(SECOND)
        assert scene.longest_naked == 0 and scene.is_covered(BTC) and "DELETE BTC" not in scene.sequence()
        assert any("does not trade now" in text for text in scene.said)
        scene.venue.change("BTCUSDT", is_trading=True)
        reopened = scene.now
        while not one.is_closed():
            one.timer.sleep(SECOND // 2)
        assert scene.is_flat() and scene.now - reopened <= 10 * SECOND


def test_exit_is_not_repeated_while_an_earlier_one_may_be_on_its_way(binance: Binance) -> None:
    """The answer is lost and no query finds it: what has been sold is not sold again, for there are no more coins."""
    with at_binance(binance) as scene:
        scene.venue.faults = [Drop(on=MARKET, accepted=True), Invisible(on=MARKET, lasts=30 * SECOND)]
        scene.close()
        assert sold(scene) == pytest.approx(0.0999) and scene.is_flat()
        assert scene.stage.at_venue() >= 0.0 and not scene.venue.open_orders()


def test_second_round_is_no_second_exit_when_the_first_is_working(binance: Binance) -> None:
    """A market order that the venue has confirmed and not filled yet."""
    with at_binance(binance) as scene:
        scene.venue.fill_on_next_price = True
        one = scene.liquidator()
        assert not one.is_closed() and not one.is_closed() and len(scene.posts("MARKET")) == 1
        scene.stage.venue.price("BTCUSDT", 50_000.0)
        assert one.is_closed() and len(scene.posts("MARKET")) == 1


# ---------------------------------------------------------------- what is not ours


def test_foreign_holding_is_neither_sold_nor_keeps_a_stop_from_being_done(binance: Binance) -> None:
    with at_binance(binance, holds={"BTC": 0.2}) as scene:
        scene.close(10 * SECOND)
        assert scene.is_flat() and 0.2 <= scene.stage.at_venue() < 0.2001


@pytest.mark.parametrize(("symbol", "qty"), [("BTCUSDT", 0.3), ("SOLUSDT", 10.0)])
def test_coins_that_somebody_bought_since_keep_no_stop_from_being_done(
    binance: Binance, symbol: str, qty: float
) -> None:
    with at_binance(binance) as scene:
        scene.venue.trade_by_hand(symbol, Side.BUY, qty)
        scene.foreign[symbol.removesuffix("USDT")] += qty * 0.999
        scene.close(10 * SECOND)
        assert scene.is_flat()


def test_lost_exit_beside_foreign_coins_waits_for_the_horizon_behind_its_stop(binance: Binance) -> None:
    """A second sale could take coins that are not ours, if the first still comes."""
    with at_binance(binance, holds={"BTC": 0.2}) as scene:
        scene.venue.faults = [Zombie(on=MARKET, by=60 * SECOND)]
        scene.close()
        assert scene.longest_naked <= NAKED
        assert sold(scene) == pytest.approx(0.0999) and scene.stage.at_venue() >= 0.2


def test_lost_exit_without_foreign_coins_waits_for_no_horizon(binance: Binance) -> None:
    with at_binance(binance) as scene:
        scene.venue.faults = [Zombie(on=MARKET, by=60 * SECOND)]
        assert scene.close() <= 10 * SECOND
        scene.pass_time(90 * SECOND)
        assert sold(scene) == pytest.approx(0.0999) and scene.stage.at_venue() >= 0.0


def test_foreign_coins_are_not_sold_for_what_the_engine_has_sold_and_could_not_take_down(binance: Binance) -> None:
    """Its disk was full: exits pass, and the newest state still knows the position."""
    with at_binance(binance, holds={"BTC": 0.2}) as scene:
        scene.venue.cancel_all()
        scene.venue.account.held["BTC"] = exact(0.2)
        scene.close()
        assert scene.stage.at_venue() == 0.2 and not scene.venue.open_orders() and scene.posts("MARKET") == []


def test_nothing_is_ever_bought(binance: Binance) -> None:
    """Somebody sold more than was ours: what the fills leave on the other side of our trade is not ours to close."""
    with at_binance(binance, holds={"BTC": 0.2}) as scene:
        scene.venue.cancel_all()
        scene.venue.trade_by_hand("BTCUSDT", Side.SELL, 0.25)
        bought = [t for t in scene.venue.trades if t.side is Side.BUY]
        scene.close()
        assert [t for t in scene.venue.trades if t.side is Side.BUY] == bought


def test_position_that_somebody_sold_by_hand_is_gone_once_that_has_stood_for_the_horizon(binance: Binance) -> None:
    """One reading without coins is no proof: balances lag, and answers leave some out."""
    with at_binance(binance) as scene:
        scene.venue.cancel_all()
        scene.venue.trade_by_hand("BTCUSDT", Side.SELL, 0.0999)
        took = scene.close()
        assert scene.universe.accounts["coins"].horizon <= took and scene.is_flat()


# ---------------------------------------------------------------- flat is what the venue shows


@pytest.mark.parametrize("fault", [NoBalances("BTC", end=FOREVER), BalanceLag(by=30 * SECOND, end=FOREVER)])
def test_balance_that_shows_no_coins_is_no_proof_that_they_are_gone(binance: Binance, fault: object) -> None:
    with at_binance(binance) as scene:
        scene.venue.faults = [fault, Refuse(on=MARKET, times=6), Refuse(on=STOP, times=6)]  # type: ignore[list-item]
        one, began = scene.liquidator(), scene.now
        while not one.is_closed():
            one.timer.sleep(SECOND)
            assert scene.now - began < 120 * SECOND
        assert scene.is_flat()


def test_balance_that_still_shows_what_was_sold_is_not_flat(binance: Binance) -> None:
    with at_binance(binance) as scene:
        scene.venue.faults = [BalanceLag(by=20 * SECOND, end=FOREVER)]
        scene.pass_time(SECOND)
        one = scene.liquidator()
        assert not one.is_closed() and scene.is_flat()
        scene.pass_time(21 * SECOND)
        assert one.is_closed()


def test_venue_that_does_not_say_what_it_holds_is_not_flat(binance: Binance) -> None:
    with at_binance(binance) as scene:
        one = scene.liquidator()
        one.is_closed()
        scene.venue.faults = [ServerError(on="GET account", end=FOREVER)]
        assert not one.is_closed() and one.shown() == "the venue does not say what it holds"


def test_stop_that_still_rests_is_not_flat(binance: Binance) -> None:
    """It could sell what somebody buys later."""
    with at_binance(binance, holds={"BTC": 0.2}) as scene:
        scene.venue.faults = [Drop(on="DELETE order", times=4)]
        one = scene.liquidator()
        assert not one.is_closed() and scene.venue.open_orders()
        one.close()
        assert not scene.venue.open_orders() and scene.is_flat()


def test_order_of_ours_that_rests_though_it_is_thought_to_have_ended_is_not_flat(binance: Binance) -> None:
    """The venue lists it: what was sent and answered does not count."""
    with at_binance(binance, holds={"BTC": 0.2}) as scene:
        ended = next(id for id in sorted(scene.left.ids()) if id not in {t.id for t in scene.left.orders()})
        resting = Order(0, ended, "BTCUSDT", Side.SELL, Kind.LIMIT, exact(0.001), exact(60_000))
        scene.venue.account.place(resting)
        one = scene.liquidator()
        assert not one.is_closed() and scene.is_flat() and not one.is_closed()
        scene.venue.cancel_all()
        assert one.is_closed()


def test_entry_that_may_still_come_is_not_flat(binance: Binance) -> None:
    """Its request is late: it arrives when everything else is closed, and what it bought is closed too."""
    with at_binance(binance) as scene:
        scene.stage.fault(Zombie(on="POST order LIMIT", by=40 * SECOND))
        scene.stage.tick(buy(scene.stage.eth, qty=2.0))
        late = AtBinance(scene.stage)
        took = late.close()
        assert took >= 30 * SECOND and late.is_flat() and not late.venue.open_orders()
        assert any(t.symbol == "ETHUSDT" for t in late.venue.trades)


def test_entry_that_rests_is_taken_back(binance: Binance) -> None:
    with at_binance(binance) as scene:
        scene.venue.fill_on_next_price = True
        scene.stage.tick(buy(scene.stage.eth, qty=2.0))
        late = AtBinance(scene.stage)
        one = late.liquidator()
        one.is_closed()
        late.venue.price("ETHUSDT", 2_500.0)
        late.venue.price("BTCUSDT", 50_000.0)
        one.close()
        assert not any(t.symbol == "ETHUSDT" for t in late.venue.trades) and late.is_flat()


@pytest.mark.parametrize("price", [100.0, 95.0])
def test_dust_is_left_and_told(binance: Binance, price: float) -> None:
    """F5: what is left can be sold at the journal's price and not at the price of now: every sale was refused."""
    with at_binance(binance, "sol") as scene:
        one = scene.liquidator()
        sell_all_but(scene, one, 0.052)
        scene.venue.price("SOLUSDT", price)
        one.close()
        is_sold = price == 100.0
        assert (scene.stage.at_venue("SOL") < 0.001) is is_sold
        assert any("too little to be sold" in text for text in scene.said) is not is_sold
        assert not scene.venue.open_orders()


def sell_all_but(scene: AtBinance, one: Liquidator, left: float) -> None:
    """A part of the position was sold by an order of ours that the journal knows."""
    held = one.holdings.book.ours(SOL).qty
    fill = Fill("SOL/USDT-part", SOL, left - held, 100.0, 0.0, Currency("USDT"), Cause.EXIT)
    one.holdings.apply(Filled(scene.now, COINS, OrderId("an exit"), fill, False))
    scene.venue.cancel_all()
    scene.venue.account.held["SOL"] = Decimal(str(left))


# ---------------------------------------------------------------- after another crash


def test_exit_of_a_closing_that_was_killed_is_asked_about_first(binance: Binance) -> None:
    with at_binance(binance) as scene:
        scene.venue.faults = [Drop(on=MARKET, accepted=True), Drop(on="GET *", times=20)]
        first = scene.liquidator()
        first._prepare()
        first._exit(first.trades[BTC], "a test")
        scene.venue.faults = []
        second = scene.liquidator(with_sent(scene.left, scene.journal))
        second.close()
        assert len(scene.posts("MARKET")) == 1 and scene.is_flat()


def test_stop_that_a_killed_closing_put_back_makes_way_for_the_next(binance: Binance) -> None:
    """Not known to the next it would lock the coins for ever, or rest on when all is sold."""
    with at_binance(binance) as scene:
        scene.venue.faults = [Drop(on=MARKET)]
        assert not scene.liquidator().is_closed() and len(scene.venue.open_orders()) == 1
        second = scene.liquidator(with_sent(scene.left, scene.journal))
        second.close()
        assert scene.is_flat() and not scene.venue.open_orders()


# ---------------------------------------------------------------- securing


def secured(scene: Scene, may_close: bool = True, rounds: int = 1) -> dict[InstrumentId, Standing]:
    one = scene.liquidator()
    standings: dict[InstrumentId, Standing] = {}
    for _ in range(rounds):
        standings = one.secure(may_close)
        one.timer.sleep(SECOND)
    return standings


def test_position_behind_its_stop_is_left_alone(binance: Binance) -> None:
    with at_binance(binance, "btc", "eth") as scene:
        assert secured(scene) == {BTC: Standing.PROTECTED, ETH: Standing.PROTECTED}
        assert scene.sequence() == [] and not scene.is_flat()


def test_position_without_its_stop_gets_one(binance: Binance) -> None:
    with at_binance(binance, "btc", "eth") as scene:
        scene.venue.cancel_all()
        assert set(secured(scene).values()) == {Standing.PROTECTED}
        assert scene.is_covered(BTC) and scene.is_covered(ETH) and len(scene.posts("STOP_LOSS")) == 2


def test_stop_for_less_than_is_held_is_replaced(binance: Binance) -> None:
    """An add had filled when the processes died."""
    with at_binance(binance) as scene:
        scene.stage.fault(Drop(on=STOP, end=FOREVER))
        scene.stage.tick(buy(scene.stage.btc, qty=0.05, add=True))
        scene.venue.faults = []
        late = AtBinance(scene.stage)
        secured(late, rounds=3)
        assert late.is_covered(BTC) and len(late.venue.open_orders("BTCUSDT")) == 1


def test_position_whose_stop_is_refused_is_closed(binance: Binance) -> None:
    with at_binance(binance) as scene:
        scene.venue.cancel_all()
        scene.venue.faults = [Refuse(on=STOP, end=FOREVER)]
        assert secured(scene, rounds=10) == {BTC: Standing.FLAT}
        assert scene.is_flat()


def test_position_whose_stop_is_refused_is_told_where_nothing_may_be_closed(binance: Binance) -> None:
    with at_binance(binance) as scene:
        scene.venue.cancel_all()
        scene.venue.faults = [Refuse(on=STOP, end=FOREVER)]
        assert secured(scene, may_close=False, rounds=10) == {BTC: Standing.NAKED} and not scene.is_flat()


def test_protected_is_said_only_of_what_the_venue_has_shown_since(binance: Binance) -> None:
    with at_binance(binance) as scene:
        one = scene.liquidator()
        assert one.secure(True) == {BTC: Standing.PROTECTED}
        one.timer.sleep(SECOND)
        scene.venue.faults = [ServerError(on="*", end=FOREVER)]
        assert one.secure(True) == {BTC: Standing.UNKNOWN}


def test_stop_that_vanished_after_its_acceptance_is_noticed(binance: Binance) -> None:
    with at_binance(binance) as scene:
        scene.venue.cancel_all()
        scene.venue.faults = [Vanished()]
        standings = secured(scene)
        assert standings[BTC] is not Standing.PROTECTED or scene.is_covered(BTC)
        assert secured(scene, rounds=3) == {BTC: Standing.PROTECTED} and scene.is_covered(BTC)


def test_position_whose_stop_was_hit_meanwhile_is_flat(binance: Binance) -> None:
    with at_binance(binance) as scene:
        scene.venue.price("BTCUSDT", 45_000.0)
        assert secured(scene) == {BTC: Standing.FLAT} and scene.sequence() == []


# ---------------------------------------------------------------- OANDA


def test_positions_at_oanda_are_closed_and_nothing_rests() -> None:
    with at_oanda(EUR, GBP) as scene:
        scene.close()
        assert scene.is_flat() and not scene.stage.stops(EUR) and not scene.stage.stops(GBP)
        assert scene.sequence() == ["PUT close", "PUT close"] and scene.longest_naked == 0


@pytest.mark.parametrize("drops", [True, False])
def test_lost_exit_at_oanda_is_repeated_at_once(drops: bool) -> None:
    """A close names its trade: it can close no more than that, and its stop rests on."""
    with at_oanda() as scene:
        scene.stage.script(NoReply(CLOSE, False, drops=drops))
        took = scene.close()
        assert took <= 10 * SECOND and scene.is_flat() and scene.longest_naked == 0


def test_exit_at_oanda_whose_answer_is_lost_is_found() -> None:
    with at_oanda() as scene:
        scene.stage.script(NoReply(CLOSE, True, drops=True))
        scene.close()
        assert scene.sequence() == ["PUT close"] and scene.is_flat()


def test_foreign_trade_at_oanda_is_neither_closed_nor_keeps_a_stop_from_being_done() -> None:
    with at_oanda(foreign=(("EUR/USD", 7_000),)) as scene:
        scene.close(10 * SECOND)
        assert scene.is_flat() and [trade.units for trade in scene.stage.foreign] == [7_000]


def test_trade_that_somebody_opened_since_keeps_no_stop_at_oanda_from_being_done() -> None:
    with at_oanda() as scene:
        scene.stage.somebody_trades(EUR, 3_000)
        scene.stage.somebody_trades(GBP, 2_000)
        scene.close(10 * SECOND)
        assert scene.is_flat() and all(scene.venue.trades[t.id].units == t.units for t in scene.stage.foreign)


@pytest.mark.parametrize("on", [SUMMARY, OPEN_POSITIONS])
def test_questions_without_answers_do_not_hold_up_an_exit_at_oanda(on: object) -> None:
    with at_oanda() as scene:
        scene.stage.script(HttpError(on.every(), status=503))  # type: ignore[attr-defined]
        one = scene.liquidator()
        assert not one.is_closed() and scene.is_flat()
        scene.venue.faults.clear()
        assert one.is_closed()


def test_stop_at_oanda_that_somebody_took_away_is_put_back() -> None:
    with at_oanda() as scene:
        scene.venue.cancel_all("CLIENT_REQUEST", "STOP_LOSS")
        (eur,) = secured(scene, rounds=2).values()
        assert eur is Standing.PROTECTED and scene.is_covered(scene.stage[EUR].id) and not scene.is_flat()


def test_position_at_oanda_is_not_said_to_be_protected_without_an_answer() -> None:
    with at_oanda() as scene:
        one = scene.liquidator()
        assert set(one.secure(True).values()) == {Standing.PROTECTED}
        one.timer.sleep(SECOND)
        scene.stage.script(HttpError(SINCE_ID.every(), status=503))
        assert set(one.secure(True).values()) == {Standing.UNKNOWN}
