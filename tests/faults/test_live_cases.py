"""Where live sessions were seen without a stop, or saying what was not so: each case in its smallest form, by the
venue's own ledger. No price comes in any of them: the engine learns the time alone.

The same cases as real processes stand in `tests/live`; the product of orders and faults is a campaign there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import ccxt
import pytest

from ffe.model import SECOND, Act, Enter, Exit, Rejected, Withheld
from ffe.risk.breaker import BreakerState
from ffe.wire.oanda_wire import OandaClient
from tests.faults.stage_oanda import Stage as OandaStage
from tests.faults.stage_oanda import staged
from tests.faults.stage_spot import Stage, virtual_time
from tests.story.scene import buy, leave
from tests.venues import faults as f
from tests.venues.binance import Binance as BinanceVenue
from tests.venues.matching import Kind, Order, Side
from tests.venues.oanda_faults import ACCOUNT, PROTECT, HttpError, NoReply, On
from tests.venues.server import Server
from tests.venues.venue import Venue

EXIT, STOP = "POST order MARKET", "POST order STOP*"
CLOSE = On("PUT", f"{ACCOUNT}/trades/{{tradeSpecifier}}/close")
SECONDS = 5


@pytest.fixture(params=["binance", "coinbase"])
def stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    server, client = request.getfixturevalue(request.param)
    with virtual_time(client, Stage(server, client)) as made:
        yield made


@pytest.fixture
def at_binance(binance: tuple[Server, ccxt.binance]) -> Iterator[Stage]:
    server, client = binance
    with virtual_time(client, Stage(server, client)) as made:
        yield made


QTY = 0.1


@pytest.fixture
def oanda() -> Iterator[OandaStage]:
    with ExitStack() as stack:
        made = stack.enter_context(staged())
        made.protects = False  # measured here second by second
        yield made


def bare_seconds(stage: Stage, seconds: int) -> int:
    """For how many of these seconds a position that can be sold had no stop for all of it."""
    bare = 0
    for _ in range(seconds):
        stage.beats(1)
        bare += stage.at_venue() * 50_000.0 > 6.0 and not stage.is_protected()
    return bare


def bare_seconds_at_oanda(stage: OandaStage, seconds: int) -> int:
    bare = 0
    for _ in range(seconds):
        stage.beats(1)
        bare += abs(sum(qty for _, qty in stage.stops())) < abs(stage.at_venue())
    return bare


# ---------------------------------------------------------------- F1: nothing waits for a price


@pytest.mark.parametrize("wait", [1, 3])
def test_f1_first_stop_that_meets_a_rate_limit_is_placed_when_the_venue_said(stage: Stage, wait: int) -> None:
    """It was placed after 107 s, when prices returned."""
    stage.bought(f.RateLimited(retry_after=wait, on=STOP))
    assert stage.at_venue() == pytest.approx(stage.net(QTY)) and not stage.stops()
    assert bare_seconds(stage, 20) < SECONDS and stage.is_protected()


def test_f1_rate_limit_of_an_order_holds_up_every_order_and_no_question(stage: Stage) -> None:
    """The exit's refusal says when the next may leave; until then no stop is sent either, and the venue is asked."""
    stage.bought(f.RateLimited(retry_after=4, on=EXIT))
    known = len(stage.venue.requests)
    stage.tick(leave(stage.btc))
    limited = stage.now
    stage.beats(3)
    later = [asked for asked in stage.venue.requests[known:] if asked.time > limited]
    assert {asked.method for asked in later} <= {"GET"} and not stage.posts("MARKET")[1:]
    withheld = [a for a in stage.answers if isinstance(a, Withheld)]
    assert withheld[0].again == limited + 4 * SECOND and not [a for a in stage.answers if isinstance(a, Rejected)]
    stage.beats(2)
    assert stage.at_venue() < stage.btc.lot


def test_f1_rate_limit_of_a_question_holds_up_entries_and_no_exit(stage: Stage) -> None:
    stage.bought()
    stage.fault(f.RateLimited(retry_after=30, on="GET *"))
    stage.tick()
    told = stage.tick(buy(stage.eth, qty=1.0), leave(stage.btc))
    assert ["limits the rate" in a.reason for a in told.answers if isinstance(a, Withheld)] == [True]
    assert not stage.orders(stage.eth) and stage.at_venue() < stage.btc.lot


@pytest.mark.parametrize("act", [Act.EMERGENCY_STOP, Act.CLOSE_ALL])
@pytest.mark.parametrize("fault", [f.ServerError(on=EXIT), f.Drop(on=EXIT), f.RateLimited(retry_after=2, on=EXIT)])
def test_f1_closing_whose_exit_fails_once_is_flat_within_seconds(stage: Stage, act: Act, fault: f.Fault) -> None:
    """The stop had been taken away: 55 s without one, and `close-all` closed nothing for 70 s."""
    stage.bought(fault)
    assert stage.is_protected()
    stage.command(act)
    stage.beats(SECONDS)
    assert stage.at_venue() < stage.btc.lot and not stage.stops()


@pytest.mark.parametrize("act", [Act.EMERGENCY_STOP, Act.CLOSE_ALL])
def test_half_of_the_budget_that_is_used_holds_up_watching_and_no_closing(at_binance: Stage, act: Act) -> None:
    """What an exit has to know was held up as well: a position whose stop had made way stood bare for ten seconds."""
    stage, venue = at_binance, at_binance.venue
    assert isinstance(venue, BinanceVenue)
    stage.bought()
    venue.spend(3_200)
    stage.beats(2)
    known = len(venue.requests)
    stage.beats(10)
    assert not venue.requests[known:] and stage.is_protected()
    stage.fault(f.Drop(accepted=True, on="DELETE order"))
    stage.command(act)
    stage.beats(SECONDS)
    assert stage.at_venue() < stage.btc.lot and not stage.stops()


@pytest.mark.parametrize("act", [Act.EMERGENCY_STOP, Act.CLOSE_ALL])
@pytest.mark.parametrize(
    "fault", [HttpError(CLOSE, 503), NoReply(CLOSE, drops=True), HttpError(CLOSE, 429, retry_after=2)]
)
def test_f1_closing_at_oanda_whose_exit_fails_once_is_flat_within_seconds(
    oanda: OandaStage, act: Act, fault: HttpError | NoReply
) -> None:
    oanda.minute(None, oanda.buy())
    oanda.script(fault)
    oanda.command(act)
    oanda.beats(SECONDS)
    assert oanda.at_venue() == 0.0 and not oanda.stops()


def test_f1_unknown_entry_is_found_without_a_price(stage: Stage) -> None:
    stage.bought(f.Drop(on="POST order LIMIT", accepted=True), f.Drop(on="GET *order*", times=3))
    assert bare_seconds(stage, 10) <= SECONDS and stage.is_protected() and stage.held == stage.at_venue()


def test_f1_market_that_halts_before_the_first_stop_is_no_refusal_of_it(stage: Stage) -> None:
    """Three refusals had closed the position and latched."""

    def halt(venue: Venue, asked: f.Asked) -> None:
        venue.change(stage.named(), is_trading=False)

    stage.bought(f.Fault(name="Halt", on=STOP, before=halt))
    stage.beats(20)
    assert stage.at_venue() == pytest.approx(stage.net(QTY)) and not stage.posts("MARKET")
    assert stage.engine.slots.trades()[0].tries == 0
    stage.venue.change(stage.named(), is_trading=True)
    assert bare_seconds(stage, 10) < SECONDS and stage.is_protected() and not stage.latches


def test_f1_sale_that_wants_coins_leaves_the_orders_of_others_alone(binance: tuple[Server, ccxt.binance]) -> None:
    """Coins that somebody's own order locks are not freed for our exit."""
    with virtual_time(binance[1], Stage(*binance, holds={"BTC": 0.1})) as stage:
        stage.bought()
        account = stage.venue.account
        theirs = account.place(Order(0, "web_1", "BTCUSDT", Side.SELL, Kind.LIMIT, f.exact("0.1"), f.exact("60000")))
        stage.fault(f.Refuse(on=EXIT))
        stage.tick(leave(stage.btc))
        stage.beats(5)
        assert account.orders[theirs.id].is_open and stage.at_venue() == pytest.approx(0.1, abs=1e-4)


# ---------------------------------------------------------------- F3: the horizon is for entries


@pytest.mark.parametrize("fault", [f.Drop, f.ServerError, f.Malformed, f.Page])
@pytest.mark.parametrize("accepted", [False, True])
def test_f3_exit_that_is_lost_leaves_nothing_bare_for_longer_than_seconds(
    stage: Stage, fault: object, accepted: bool
) -> None:
    """It was bare for the horizon: 91 s."""
    stage.bought(lost(fault, EXIT, accepted))
    stage.tick(leave(stage.btc))
    assert bare_seconds(stage, 30) < SECONDS and stage.at_venue() < stage.btc.lot
    assert len(stage.told.of(Exit)) <= 2


@pytest.mark.parametrize("fault", [f.Drop, f.ServerError, f.Malformed, f.Page])
@pytest.mark.parametrize("accepted", [False, True])
def test_f3_stop_that_is_lost_leaves_nothing_bare_for_longer_than_seconds(
    stage: Stage, fault: object, accepted: bool
) -> None:
    stage.bought(lost(fault, STOP, accepted))
    assert bare_seconds(stage, 30) < SECONDS and stage.is_protected()


@pytest.mark.parametrize("accepted", [False, True])
def test_f3_cancel_that_is_lost_and_an_account_that_does_not_answer_leave_nothing_bare(
    stage: Stage, accepted: bool
) -> None:
    """The second cancel was taken, or refused since the first had been; whether the stop had traded before could not be
    asked, and neither exit nor stop left for as long as that lasted."""
    stage.bought()
    dead = [f.ServerError(on=f"GET {each}", times=10**6) for each in ("account", "openOrders", "order", "myTrades")]
    stage.fault(f.Drop(on="DELETE order", accepted=accepted), *dead)
    stage.tick(leave(stage.btc))
    assert bare_seconds(stage, 30) < SECONDS
    stage.venue.faults = []
    assert bare_seconds(stage, 20) < SECONDS and stage.at_venue() < stage.btc.lot and not stage.stops()
    stage.agrees()


def lost(make: object, on: str, accepted: bool) -> f.Fault:
    """A fault of one kind; a page and a malformed body come after acceptance, as they are, or in place of it."""
    if make in (f.Drop, f.ServerError):
        return make(on=on, accepted=accepted)  # type: ignore[operator]
    fault: f.Fault = make(on=on)  # type: ignore[operator]
    return fault if accepted else f.replace(fault, is_lost=True)


@pytest.mark.parametrize("on", [CLOSE, PROTECT])
@pytest.mark.parametrize("accepted", [False, True])
def test_f3_at_oanda_a_lost_exit_or_stop_leaves_nothing_bare(oanda: OandaStage, on: On, accepted: bool) -> None:
    """An entry carries its stop, and an exit leaves it where it is."""
    oanda.script(NoReply(on, accepted, drops=True))
    oanda.minute(None, oanda.buy())
    bare = bare_seconds_at_oanda(oanda, 10)
    oanda.minute(None, oanda.leave())
    assert bare + bare_seconds_at_oanda(oanda, 10) == 0 and oanda.at_venue() == 0.0


def test_f3_at_oanda_the_stop_that_came_with_an_entry_is_the_exit_if_it_fills_first(oanda: OandaStage) -> None:
    oanda.script(NoReply(PROTECT, drops=True))
    oanda.minute(None, oanda.buy())
    oanda.minute({"EUR/USD": 1.20})
    oanda.beats(5)
    assert oanda.at_venue() == 0.0 == oanda.ours()
    oanda.minutes(3)  # the stop that was lost may still come, and holds the slot until then
    assert [outcome.cause for outcome in oanda.told.outcomes] == ["stop"]
    assert oanda.slots() == {} and oanda.agrees() and not oanda.engine.guard.latches


def test_f3_order_that_hangs_is_given_up_within_seconds_and_a_question_earlier(stage: Stage) -> None:
    """A client's ten seconds would leave a position bare before anybody knew."""
    stage.broker._longest = 10_000
    given: dict[str, set[int]] = {"GET": set(), "POST": set()}
    watch = f.Fault(on="*", times=50, before=lambda venue, asked: given[asked.method].add(int(stage.client.timeout)))
    stage.tick()
    stage.fault(watch)
    stage.tick(buy(stage.btc, qty=0.1))
    assert given == {"GET": {2_000}, "POST": {2_500}}


def test_f3_request_to_oanda_that_hangs_is_given_up_within_seconds(oanda: OandaStage) -> None:
    assert all(seconds <= 2.5 for seconds in oanda.broker.client._seconds.values())
    assert OandaClient("token", "account")._seconds == dict.fromkeys(("GET", "POST", "PUT"), 10.0)


# ---------------------------------------------------------------- F7: an id without a status


def test_f7_acknowledgement_without_a_status_is_an_acceptance(stage: Stage) -> None:
    """Three buys, and the breaker open for good. Coinbase answers so by itself."""
    stage.bought(*([f.Nulled(on="POST order", times=3)] if stage.client.id == "binance" else []))
    stage.ticks(2)
    assert stage.is_protected() and stage.held == stage.at_venue() == pytest.approx(stage.net(QTY))
    stage.tick(leave(stage.btc))
    stage.beats(3)
    assert stage.at_venue() < stage.btc.lot
    assert stage.breaker is BreakerState.CLOSED and stage.failures == 0 and len(stage.told.of(Enter)) == 1


# ---------------------------------------------------------------- a rest, and another's orders


def test_f5_rest_that_cannot_be_sold_frees_its_slot_and_lets_re_arm(at_binance: Stage) -> None:
    """0.00010989 was left: every sale was refused, the slot held and re-arming refused for ever."""
    stage = at_binance
    stage.bought(f.Parts(0.0011, then_cancel=True, on="POST order LIMIT"))
    stage.beats(5)
    assert 0.0 < stage.at_venue() * 50_000.0 < 6.0 and stage.slot is None and not stage.stops()
    stage.command(Act.EMERGENCY_STOP)
    stage.beats(5)
    stage.command(Act.RE_ARM)
    assert not stage.latches and stage.tick(buy(stage.eth, qty=1.0)).dispositions == ["sent"]
