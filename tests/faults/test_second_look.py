"""The last look before an entry leaves for a live venue: price, clock and decision; what reduces risk needs none.

The real engine, loop, adapters and clients in front of the loopback venues. Time passes while a venue answers: a fault
winds the stage's clock.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ffe.brokers.venue import USUAL, SecondLook
from ffe.config import Secrets, Settings
from ffe.live.connect import Armed, connectors
from ffe.model import MINUTE, SECOND, Disposition, Nanos, Rejected, Withheld
from ffe.risk.guard import TradingState
from ffe.risk.limits import ControlRules
from tests.faults import stage_oanda
from tests.faults.stage_oanda import EUR, GBP, START, staged
from tests.faults.stage_spot import Stage, virtual_time
from tests.story.scene import Told, buy, leave
from tests.venues import faults as f
from tests.venues.oanda_faults import ANY, POST_ORDER, PRICING, HttpError, NotTradeable, Skew, WrongSymbol

ALWAYS = 10**6
MILLI: Nanos = SECOND // 1000


@pytest.fixture(params=["binance", "coinbase"])
def stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    server, client = request.getfixturevalue(request.param)
    with virtual_time(client, Stage(server, client)) as made:
        made.tick()
        yield made


@pytest.fixture
def oanda() -> Iterator[stage_oanda.Stage]:
    with staged() as made:
        yield made


def late(stage: Stage, seconds: float, on: str) -> f.Fault:
    """While the venue answers this question, so much time passes."""

    def wind(venue: object, asked: f.Asked) -> None:
        stage.now += int(seconds * SECOND)

    return f.Fault(name="Late", on=on, before=wind)


def withheld(told: Told) -> list[str]:
    return [a.reason.removeprefix("C9 price or clock: ") for a in told.answers if isinstance(a, Withheld)]


def stayed(stage: Stage, told: Told) -> bool:
    """Whether the entry never left, its slot is free, and nothing else is any different."""
    assert told.dispositions == [Disposition.SENT] and len(withheld(told)) == 1
    is_untouched = stage.failures == 0 and stage.state is TradingState.ACTIVE
    return is_untouched and not stage.posts() and stage.slot is None and stage.engine.slots.count == 0


# ---------------------------------------------------------------- the price


@pytest.mark.parametrize("fault", [f.ServerError(on="GET ticker*"), f.Drop(on="GET ticker*"), f.Hang(on="GET ticker*")])
def test_an_entry_whose_price_cannot_be_read_stays(stage: Stage, fault: f.Fault) -> None:
    stage.fault(fault)
    told = stage.tick(buy(stage.btc, qty=0.1))
    assert stayed(stage, told) and withheld(told)[0].startswith("not known: ")
    assert stage.tick(buy(stage.btc, qty=0.2)).dispositions == [Disposition.SENT] and len(stage.posts("LIMIT")) == 1


def test_an_entry_whose_price_has_passed_its_collar_stays(stage: Stage) -> None:
    told = stage.tick(buy(stage.btc, qty=0.1), btc=51_000.01, quoted=50_000.0)
    assert stayed(stage, told) and withheld(told) == ["51000.01 is beyond the collar of 51000.0"]


def test_an_entry_whose_price_is_at_its_collar_leaves(stage: Stage) -> None:
    stage.tick(buy(stage.btc, qty=0.1), btc=51_000.0, quoted=50_000.0)
    assert len(stage.posts("LIMIT")) == 1 and stage.at_venue() > 0.0


def test_an_entry_whose_price_took_too_long_to_read_stays(stage: Stage) -> None:
    stage.fault(late(stage, 2.001, "GET ticker*"))
    told = stage.tick(buy(stage.btc, qty=0.1))
    assert stayed(stage, told) and withheld(told) == ["the price is 2.0 s old, at most 2 s"]


def test_an_entry_whose_price_was_read_in_time_leaves(stage: Stage) -> None:
    stage.fault(late(stage, 2.0, "GET ticker*"))
    stage.tick(buy(stage.btc, qty=0.1))
    assert len(stage.posts("LIMIT")) == 1


# ---------------------------------------------------------------- the clock


@pytest.mark.parametrize("off", [501, -501, 30_000])
def test_an_entry_stays_while_the_clocks_are_apart(stage: Stage, off: int) -> None:
    stage.venue.clock = lambda: stage.now + off * MILLI
    told = stage.tick(buy(stage.btc, qty=0.1))
    assert stayed(stage, told)
    assert withheld(told) == [f"the venue's clock is {off / 1000:+.3f} s from ours, at most 0.5 s"]


@pytest.mark.parametrize("off", [500, -500])
def test_an_entry_leaves_while_the_clocks_are_near_enough(stage: Stage, off: int) -> None:
    stage.venue.clock = lambda: stage.now + off * MILLI
    stage.tick(buy(stage.btc, qty=0.1))
    assert len(stage.posts("LIMIT")) == 1


def test_the_time_that_an_answer_takes_is_no_difference_of_clocks(stage: Stage) -> None:
    stage.fault(late(stage, 4.0, "GET time"))
    stage.tick(buy(stage.btc, qty=0.1))
    assert len(stage.posts("LIMIT")) == 1


def test_an_entry_stays_when_the_venue_does_not_tell_its_time(stage: Stage) -> None:
    stage.fault(f.ServerError(on="GET time"))
    assert stayed(stage, stage.tick(buy(stage.btc, qty=0.1)))


# ---------------------------------------------------------------- the decision


@pytest.mark.parametrize(("seconds", "leaves"), [(10.0, 1), (10.001, 0)])
def test_an_entry_that_was_decided_too_long_ago_stays(stage: Stage, seconds: float, leaves: int) -> None:
    stage.fault(late(stage, seconds, "GET time"))
    told = stage.tick(buy(stage.btc, qty=0.1))
    assert len(stage.posts("LIMIT")) == leaves
    assert withheld(told) == ["the decision is 10.0 s old, at most 10 s"] * (1 - leaves)


# ---------------------------------------------------------------- what reduces risk


def test_neither_protection_nor_an_exit_asks_for_price_or_clock(stage: Stage) -> None:
    stage.tick(buy(stage.btc, qty=0.1))
    stage.venue.clock = lambda: stage.now + 900 * MILLI
    stage.fault(f.ServerError(on="GET ticker*", times=ALWAYS), f.ServerError(on="GET time", times=ALWAYS))
    before = len(stage.venue.requests)
    stage.tick(leave(stage.btc))
    asked = [what for request in stage.venue.requests[before:] for _, what, _ in request.names]
    assert asked and not [what for what in asked if what.startswith(("ticker", "time"))]
    assert len(stage.posts("STOP*")) == 1 and stage.at_venue() < stage.btc.lot


# ---------------------------------------------------------------- OANDA


def kept(oanda: stage_oanda.Stage) -> list[str]:
    """Why a bought pair was not: nothing was posted, and its slot is free."""
    oanda.minute(None, oanda.buy())
    assert not oanda.requests(POST_ORDER) and oanda.slots() == {} and oanda.state is TradingState.ACTIVE
    return [a.reason.removeprefix("C9 price or clock: ") for a in oanda.answers(Withheld)]


@pytest.mark.parametrize("fault", [HttpError(PRICING, 503), WrongSymbol(PRICING.at(2), GBP.replace("/", "_"))])
def test_a_pair_whose_price_cannot_be_read_is_not_bought(oanda: stage_oanda.Stage, fault: object) -> None:
    oanda.script(fault)
    assert len(kept(oanda)) == 1


def test_a_pair_that_cannot_be_traded_now_is_not_bought(oanda: stage_oanda.Stage) -> None:
    oanda.script(NotTradeable(PRICING.at(2)))
    assert kept(oanda) == ["no price is shown"]


@pytest.mark.parametrize("by", [-5, 5, 3_600])
def test_a_pair_is_not_bought_while_the_clocks_are_apart_and_is_sold(oanda: stage_oanda.Stage, by: int) -> None:
    oanda.minute(None, oanda.buy(GBP))
    oanda.script(Skew(ANY.during(START, START + 60 * MINUTE), by * SECOND))
    oanda.minute(None, oanda.buy(EUR), oanda.leave(GBP))
    assert [a.reason for a in oanda.answers(Withheld)] == [
        f"C9 price or clock: the venue's clock is {by:+.3f} s from ours, at most 0.5 s"
    ]
    assert oanda.slots() == {} and oanda.at_venue(GBP) == 0.0


def test_a_pair_whose_price_has_passed_its_collar_is_not_bought(oanda: stage_oanda.Stage) -> None:
    sent, oanda.venues.send = (
        oanda.venues.send,
        lambda order, time: (oanda.venue.mid("EUR_USD", "1.26"), sent(order, time)),
    )
    assert kept(oanda) == ["1.26 is beyond the collar of 1.25625"]


def test_a_lost_key_is_told_as_such_and_not_as_a_missing_price(oanda: stage_oanda.Stage) -> None:
    oanda.script(HttpError(PRICING, 401))
    oanda.minute(None, oanda.buy())
    assert [a.locked_out for a in oanda.answers(Rejected)] == [True] and "credentials" in oanda.engine.guard.latches


# ---------------------------------------------------------------- the numbers


def test_what_is_usual_is_what_the_configuration_says_by_default() -> None:
    rules = ControlRules()
    wanted = rules.quote_seconds, rules.skew_seconds, rules.decision_seconds
    assert tuple(age / SECOND for age in (USUAL.price_age, USUAL.skew, USUAL.decision_age)) == wanted


def test_a_session_looks_by_the_numbers_of_its_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OANDA_API_KEY", "loopback")
    monkeypatch.setenv("OANDA_ACCOUNT_ID", "101-004-1234567-001")
    ages = {"quote_seconds": 1.0, "skew_seconds": 0.25, "decision_seconds": 4.0}
    settings = Settings().but(controls=ages, venues={"oanda": {"address": "http://127.0.0.1:9"}})
    (connector,) = connectors(settings, ["EUR/USD"], Secrets(), Armed.NOT)
    universe = settings.universe((settings.instrument("EUR/USD"),))
    broker = connector.broker(universe, lambda: START, START, None)
    assert broker.look == SecondLook(SECOND, SECOND // 4, 4 * SECOND)
