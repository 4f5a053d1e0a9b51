"""What a session says of itself: only what was asked and answered, and why no entry may leave."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from ffe.brokers.faults import NoAnswer, Reject
from ffe.live.link import Said
from ffe.live.show import show_status
from ffe.live.status import age, describe, is_settled, limits, obstacles, protection, report
from ffe.model import MINUTE, SECOND, Act, Cancelled, Failed, Fault, Protect, Rejected
from tests.story.scene import BTC, COINS, ETH, AnyFault, Scene, buy


def bought(*faults: AnyFault, **more: object) -> Scene:
    scene = Scene(BTC, ETH, faults={COINS: faults}, **more)
    scene.bar(None, buy(BTC, qty=100.0))
    scene.bar()
    return scene


# ---------------------------------------------------------------- why no entry may leave


def test_nothing_is_in_the_way_of_an_entry_where_all_is_well() -> None:
    scene = bought()
    assert obstacles(scene.engine, scene.now) == []


def test_halt_is_an_obstacle_with_its_reason() -> None:
    scene = bought()
    scene.command(Act.EMERGENCY_STOP)
    assert obstacles(scene.engine, scene.now) == ["halted: emergency stop: emergency_stop by a test"]


def test_pause_is_an_obstacle_with_its_reason() -> None:
    scene = bought()
    scene.command(Act.PAUSE)
    assert obstacles(scene.engine, scene.now) == ["reducing: paused by the operator"]


def test_lost_key_is_an_obstacle() -> None:
    scene = bought()
    scene.step(Rejected(scene.now, COINS, None, "Invalid API-key", locked_out=True))
    assert obstacles(scene.engine, scene.now) == ["halted: credentials: Invalid API-key"]


def test_open_breaker_is_an_obstacle() -> None:
    scene = bought()
    for _ in range(5):
        scene.step(Failed(scene.now, COINS, None, Fault.TIMEOUT, True))
    assert obstacles(scene.engine, scene.now) == ["the circuit breaker of coins is open"]


def test_venue_that_was_silent_for_too_long_is_an_obstacle() -> None:
    scene = bought()
    scene.engine.step(Failed(scene.now, COINS, None, Fault.TIMEOUT, True))
    assert obstacles(scene.engine, scene.now + 300 * SECOND) == []
    assert obstacles(scene.engine, scene.now + 301 * SECOND) == ["coins has not answered for 5 min"]


@pytest.mark.parametrize(("minutes", "found"), [(15, []), (16, ["16 min old", "16 min old"])])
def test_old_price_of_an_open_market_is_an_obstacle(minutes: int, found: list[str]) -> None:
    scene = bought()
    told = obstacles(scene.engine, scene.now + minutes * MINUTE)
    assert [line.partition(" is ")[2] for line in told] == found


def test_unknown_equity_is_an_obstacle() -> None:
    scene = bought()
    scene.engine.book.equity = math.nan
    assert obstacles(scene.engine, scene.now) == ["equity is not known"]


def test_drawdown_beyond_its_limit_is_an_obstacle() -> None:
    scene = bought()
    rules = replace(scene.engine.rules, gate=replace(scene.engine.rules.gate, drawdown_ratio=1e-9))
    scene.engine.rules = rules
    scene.quote(scene.now + SECOND, {BTC: 99.0})
    assert obstacles(scene.engine, scene.now) == ["drawdown is 0.10%, at most 0.00%"]


# ---------------------------------------------------------------- what is known of a stop


def test_stop_rests_once_the_venue_has_confirmed_it() -> None:
    (trade,) = bought().engine.slots.trades()
    assert (protection(trade), is_settled(trade)) == ("rests", True)


def test_stop_that_is_being_closed_beside_still_rests() -> None:
    scene = bought()
    scene.engine.slots.close("by hand")
    (trade,) = scene.engine.slots.trades()
    assert (protection(trade), is_settled(trade)) == ("rests", False)


def test_stop_without_an_answer_is_unknown() -> None:
    scene = bought()
    scene.engine.step(Failed(scene.now, COINS, scene.told.of(Protect)[0].id, Fault.TIMEOUT))
    (trade,) = scene.engine.slots.trades()
    assert (protection(trade), is_settled(trade)) == ("unknown", False)


def test_stop_that_has_left_and_was_not_answered_is_sent() -> None:
    scene = bought()
    stop = scene.told.of(Protect)[0]
    scene.engine.step(Cancelled(scene.now, COINS, stop.id, "canceled"))
    (trade,) = scene.engine.slots.trades()
    assert protection(trade) == "sent"


def test_stop_that_was_refused_is_none() -> None:
    scene = Scene(BTC, faults={COINS: [Reject(2)]})
    scene.bar(None, buy(BTC, qty=100.0))
    scene.quote(scene.now, {BTC: 100.0})
    (trade,) = scene.engine.slots.trades()
    assert (protection(trade), describe(scene.engine, trade)["protection"]) == ("none", "none")


def test_entry_that_has_not_filled_needs_no_stop() -> None:
    scene = Scene(BTC)
    scene.bar(None, buy(BTC, qty=100.0))
    (trade,) = scene.engine.slots.trades()
    assert protection(trade) == "flat"


# ---------------------------------------------------------------- numbers


def test_unknown_orders_are_named_with_their_age() -> None:
    scene = Scene(BTC, faults={COINS: [NoAnswer(1)]}, interval=MINUTE)
    scene.bar(None, buy(BTC, qty=100.0))
    (line,) = report(scene.engine, scene.now + 12 * SECOND)["unknown"]
    assert line.startswith("entry of 100 coins:BTC/USD (") and line.endswith(") unknown for 12 s")


def test_limits_are_told_with_how_far_they_are_used() -> None:
    scene = bought()
    scene.quote(scene.now + SECOND, {BTC: 99.0})
    found = limits(scene.engine)
    assert found["day loss"] == [pytest.approx(0.001), 0.02] and found["slots"] == [1.0, 2.0]
    assert found["leverage"] == [pytest.approx(9_900.0 / 99_900.0), 5.0] and "lost today" not in found


def test_age_of_prices_is_told_of_every_instrument() -> None:
    scene = bought()
    assert report(scene.engine, scene.now + 3 * SECOND)["prices"] == {BTC.id: 3.0, ETH.id: 3.0}


@pytest.mark.parametrize(
    ("span", "text"), [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7_199, "120 min"), (9_000, "2.5 h")]
)
def test_age_has_the_unit_that_suits_it(span: int, text: str) -> None:
    assert age(span * SECOND) == text


# ---------------------------------------------------------------- on the terminal


def shown(capsys: pytest.CaptureFixture[str], **more: object) -> str:
    scene = bought()
    status: Said = {**report(scene.engine, scene.now), "age_seconds": 0.4, "is_latched": False, **more}  # type: ignore[dict-item]
    show_status(status)
    return capsys.readouterr().out


def test_entries_may_leave_is_said_where_the_engine_has_said_so_lately(capsys: pytest.CaptureFixture[str]) -> None:
    out = shown(capsys)
    assert "entries may leave" in out and "rests at the venue" in out and "coins answers, breaker closed" in out


@pytest.mark.parametrize("age_seconds", [None, 3.5])
def test_old_word_of_the_engine_leaves_it_unknown(
    capsys: pytest.CaptureFixture[str], age_seconds: float | None
) -> None:
    out = shown(capsys, age_seconds=age_seconds)
    assert "whether entries may leave is not known" in out and "entries may leave\n" not in out


def test_obstacle_is_shown_and_entries_may_not_leave(capsys: pytest.CaptureFixture[str]) -> None:
    out = shown(capsys, obstacles=["the circuit breaker of coins is open"])
    assert "no entry leaves" in out and "the circuit breaker of coins is open" in out


def test_latch_is_shown_before_all_else(capsys: pytest.CaptureFixture[str]) -> None:
    assert "LATCHED: no entry leaves" in shown(capsys, is_latched=True, obstacles=["x"])


@pytest.mark.parametrize(
    ("known", "words"),
    [
        ("rests", "rests at the venue"),
        ("sent", "sent and not yet confirmed"),
        ("unknown", "may or may not rest"),
        ("none", "does not rest at the venue"),
        (None, "does not rest at the venue"),
    ],
)
def test_stop_is_shown_as_what_is_known_of_it(capsys: pytest.CaptureFixture[str], known: object, words: str) -> None:
    scene = bought()
    (trade,) = scene.engine.slots.trades()
    assert words in shown(capsys, trades=[{**describe(scene.engine, trade), "protection": known}])
