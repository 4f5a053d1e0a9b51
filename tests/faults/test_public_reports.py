"""What public reports of live trading describe, tried at a loopback venue: each test names the report and what it cost.

The venue's ledger judges. Reports were read, not copied; what is tried is the situation that they describe.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal

import ccxt
import pytest

from ffe.feeds.agenda import Agenda, AskQuotes, Pace
from ffe.model import DAY, SECOND, Act, Withheld
from ffe.risk.guard import TradingState
from ffe.wire.ccxt_wire import CcxtMarket
from ffe.wire.errors import Unclear
from tests.faults.stage_spot import COINS, Stage, virtual_time
from tests.story.scene import buy, leave
from tests.venues import faults as f
from tests.venues.binance import Binance
from tests.venues.matching import Account, Order, Side
from tests.venues.server import Server
from tests.venues.venue import Refused

STOP, ALWAYS = "POST order STOP*", 10**6


@pytest.fixture
def stage(binance: tuple[Server, ccxt.binance]) -> Iterator[Stage]:
    server, client = binance
    with virtual_time(client, Stage(server, client)) as made:
        yield made


@pytest.fixture(params=["binance", "coinbase"])
def anywhere(request: pytest.FixtureRequest) -> Iterator[Stage]:
    server, client = request.getfixturevalue(request.param)
    with virtual_time(client, Stage(server, client)) as made:
        yield made


def fills_in(account: Account, n: int) -> None:
    """A purchase meets n makers at one price: n equal trades of one millisecond."""
    whole = account.trade

    def split(order: Order, qty: Decimal, price: Decimal, is_maker: bool = False) -> Order:
        if order.side is not Side.BUY:
            return whole(order, qty, price, is_maker)
        lot = account.markets[order.symbol].lot
        part = (qty / n / lot).to_integral_value("ROUND_DOWN") * lot
        for _ in range(n - 1):
            order = whole(order, part, price, is_maker)
        return whole(order, qty - part * (n - 1), price, is_maker)

    account.trade = split


# ---------------------------------------------------------------- stops


@pytest.mark.parametrize("hidden", [60, 120, 200])
def test_freqtrade_3640_stop_that_the_venue_does_not_list_is_not_taken_for_gone(anywhere: Stage, hidden: int) -> None:
    """Beyond the horizon it was; every sale was then refused, for it locked the coins, and nothing could close it."""
    stage = anywhere
    stage.bought(f.Invisible(hidden * SECOND, on=STOP))
    stage.minutes(6)
    assert stage.is_protected() and not stage.posts("MARKET")
    stage.tick(leave(stage.btc))
    stage.ticks(2)
    assert stage.at_venue() < stage.btc.lot and stage.trade is None


@pytest.mark.parametrize("n", [1, 10, 40, 150])
def test_hummingbot_5473_purchase_in_many_trades_needs_two_stops_at_most(stage: Stage, n: int) -> None:
    """Each trade had asked for a stop of its own: 150 requests in an instant, and the position bare meanwhile."""
    stage.tick()
    fills_in(stage.venue.account, n)
    known = len(stage.venue.requests)
    stage.tick(buy(stage.btc, qty=0.1))
    assert stage.is_protected() and len(stage.posts("STOP_LOSS")) <= 2
    assert len(stage.venue.requests) - known <= 14


def test_freqtrade_12598_market_that_refuses_the_stop_is_bought_once(stage: Stage) -> None:
    """A band of prices refused it; six signals were six purchases and six sales."""

    def band(venue: Binance, asked: f.Asked) -> None:
        if float(asked.params["stopPrice"]) < 40_000.0:
            raise Refused(-1013, "Filter failure: PERCENT_PRICE_BY_SIDE")

    stage.tick()
    stage.fault(f.Fault(name="Band", on=STOP, end=2**62, before=band))
    for _ in range(3):
        stage.tick(buy(stage.btc, stop=39_000.0))
        stage.minutes(10)
    assert len(stage.posts("LIMIT")) == 1 and stage.at_venue() < stage.btc.lot
    assert stage.state is TradingState.REDUCING and "no stop could be placed" in stage.engine.guard.why


def test_crypto_bot_22_price_that_falls_through_before_the_stop_rests_is_left_within_seconds(stage: Stage) -> None:
    """The venue says that the stop would trigger immediately; the position is closed by the third try."""

    def fall(venue: Binance, reply: f.Reply) -> f.Reply:
        venue.account.move("BTCUSDT", Decimal(48_500))
        return reply

    stage.tick()
    stage.fault(f.Fault(name="Fall", on="POST order LIMIT", after=fall))
    stage.tick(buy(stage.btc, qty=0.1))
    stage.beats(5, btc=48_500.0)
    assert stage.at_venue() < stage.btc.lot


# ---------------------------------------------------------------- whose trade it is


@pytest.mark.parametrize("owned", [0.0, 0.2])
def test_freqtrade_11085_owners_own_trades_leave_our_stop_alone(
    binance: tuple[Server, ccxt.binance], owned: float
) -> None:
    """60 % of the position was taken for what he had sold, and its stop with it."""
    server, client = binance
    with virtual_time(client, Stage(server, client, holds={"BTC": owned} if owned else None)) as stage:
        stage.bought()
        if not owned:
            stage.venue.trade_by_hand("BTCUSDT", Side.BUY, 0.06)
            stage.ticks(2)
        stage.venue.trade_by_hand("BTCUSDT", Side.SELL, 0.05994)
        stage.ticks(3)
        assert sum(qty for _, qty in stage.stops()) == 0.0999 == stage.held
        stage.tick(leave(stage.btc))
        stage.ticks(3)
        assert stage.held == 0.0 and stage.at_venue() == pytest.approx(max(0.0, owned - 0.05994), abs=1e-4)


def test_hummingbot_339_trades_of_before_the_first_session_are_not_booked_again(stage: Stage) -> None:
    """They had been: the first purchase halted the session, with a wrong book."""
    stage.now -= DAY
    stage.venue.price("BTCUSDT", 50_000.0)
    stage.venue.trade_by_hand("BTCUSDT", Side.BUY, 0.5)
    stage.venue.trade_by_hand("BTCUSDT", Side.SELL, 0.3)
    stage.now += DAY
    stage.broker._since = dict.fromkeys(stage.broker._since, stage.now - 2 * DAY)
    stage.bought(qty=0.05)
    stage.ticks(3)
    stage.read()
    assert stage.state is TradingState.ACTIVE and stage.held == 0.04995
    stage.agrees()


@pytest.mark.parametrize(("limit", "n"), [(1_000, 600), (50, 60)])
def test_ccxt_9409_trades_of_one_millisecond_that_fill_a_page_are_all_read(stage: Stage, limit: int, n: int) -> None:
    """The page after them began at the same millisecond, and a fifth of the position had no stop for 90 s."""
    stage.tick()
    fills_in(stage.venue.account, n)
    stage.fault(f.ShortPage(limit, times=ALWAYS))
    stage.tick(buy(stage.btc, qty=0.1))
    assert stage.is_protected() and stage.held == pytest.approx(stage.at_venue(), rel=1e-12)


# ---------------------------------------------------------------- prices


def old(stage: Stage, price: float, hours: int, **when: int) -> f.Fault:
    """A ticker as it was so long ago, its own stamp included."""
    at = stage.now // 1_000_000 - hours * 3_600_000
    return f.WrongPrice(f"{price:.2f}", {"closeTime": at}, **when)


@pytest.mark.parametrize("hours", [1, 10])
def test_setzer_14_nothing_is_entered_on_a_ticker_of_hours_ago(stage: Stage, hours: int) -> None:
    stage.tick()
    stage.fault(old(stage, 50_000.0, hours, times=ALWAYS))
    stage.tick(buy(stage.btc, qty=0.1), btc=49_500.0, quoted=50_000.0)
    assert not stage.posts("LIMIT")
    assert ["by its own stamp" in a.reason for a in stage.answers if isinstance(a, Withheld)] == [True]


def test_setzer_14_feed_leaves_out_a_ticker_of_hours_ago(stage: Stage) -> None:
    market, agenda = CcxtMarket(stage.client), Agenda(COINS, [], [stage.btc], stage.engine.hours, Pace())
    stage.tick()
    stage.fault(old(stage, 52_600.0, 10))
    old_one, new_one = (market.quotes([stage.btc]) for _ in range(2))
    ask = AskQuotes((stage.btc,))
    learnt = agenda.told_quotes(ask, old_one, stage.now)
    assert learnt.quotes is None and not learnt.answers, "an old price is no failure of the venue"
    assert agenda.told_quotes(ask, new_one, stage.now).quotes is not None


def test_setzer_14_one_odd_quote_takes_no_profit(stage: Stage) -> None:
    """It sold at 50,000 as a target at 52,500."""
    stage.bought()
    stage.tick(quoted=52_600.0)
    stage.ticks(3)
    assert stage.is_protected() and not stage.posts("MARKET")
    stage.ticks(2, btc=52_600.0)
    assert [outcome.cause for outcome in stage.told.outcomes] == ["target"]


@pytest.mark.parametrize("fields", [{"askPrice": "55100.00"}, {"bidPrice": "45000.00"}])
def test_freqtrade_3160_middle_of_an_empty_book_is_no_price(stage: Stage, fields: dict[str, str]) -> None:
    """A target was taken at a loss, and a stop was taken away and sold at 45,000, by a mid that nobody paid."""
    stage.tick()
    stage.fault(f.WrongPrice(fields=fields))
    with pytest.raises(Unclear, match="no price that can be believed"):
        CcxtMarket(stage.client).quotes([stage.btc])


def test_freqtrade_1841_tick_as_wide_as_the_stop_is_not_bought(stage: Stage) -> None:
    """0.098 rounds to 0.10, which would trigger immediately: it was bought and sold with every signal."""
    coarse = replace(stage.sol, tick=5.0)
    stage.tick()
    assert stage.last["SOL/USDT"] == 100.0
    stage.engine.universe._by_id[stage.sol.id] = coarse
    told = stage.tick(buy(stage.sol, qty=1.0))
    assert [d.reason for d in told.decisions] == ["stop 100.0 on the wrong side of 100.0: a tick is 5.0"]
    assert not stage.posts()


# ---------------------------------------------------------------- fees


@pytest.mark.parametrize("coin", ["BNB", "XYZ"])
def test_freqtrade_4710_fees_in_a_third_coin_are_priced_and_blind_nothing(
    binance: tuple[Server, ccxt.binance], coin: str
) -> None:
    """Equity was unknown after the first trade, and every entry refused as DRAWDOWN; XYZ has no price at the venue."""
    server, client = binance
    with virtual_time(client, Stage(server, client, holds={coin: 50.0})) as stage:
        stage.venue.account.fee_asset = coin
        stage.venue.account.mids[f"{coin}USDT"] = Decimal(500)
        before = stage.tick().steps[-1][1].equity
        stage.tick(buy(stage.btc, qty=0.1))
        stage.tick(leave(stage.btc))
        stage.ticks(3)
        stage.read()
        (outcome,) = stage.told.outcomes
        assert outcome.fees == pytest.approx(10.0) and outcome.pnl == pytest.approx(-10.0)
        assert stage.engine.book.equity == pytest.approx(before) and stage.state is TradingState.ACTIVE
        stage.command(Act.EMERGENCY_STOP)
