"""Controls around the gate, each met by a strategy, an engine or a world that misbehaves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ffe.engine import EngineState
from ffe.model import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    Act,
    Disposition,
    Enter,
    Exit,
    Instrument,
    Nanos,
    OrderId,
    Signal,
    Withheld,
)  # fmt: skip
from ffe.records.encode import build, encode_value
from ffe.risk.guard import TradingState
from tests.story.scene import (
    BTC,
    CHF,
    ETH,
    EUR,
    GBP,
    IBM,
    SOL,
    START,
    Scene,
    Told,
    buy,
    leave,
    sell,
    with_rules,
)  # fmt: skip
from tests.story.test_sessions import daily

CONTROLLED, SENT = Disposition.CONTROLLED, Disposition.SENT


def under(**controls: object) -> dict[str, object]:
    return {"rules": with_rules(controls=controls, watch={"day_loss_ratio": 0.5, "stop_ratio": 0.1})}


def more(of: Instrument, qty: float, provider: str = "story") -> Signal:
    return replace(buy(of, qty=qty, add=True), provider=provider)


def after(scene: Scene, wait: Nanos, *signals: Signal) -> Told:
    """Live prices, in which what has left fills, and then what a strategy says."""
    scene.quote(scene.now + wait, {i: scene.last[i.id] for i in scene.universe})
    return scene.at_once(*signals)


def reasons(told: Told) -> list[str]:
    return [d.reason for d in told.decisions if d.disposition is CONTROLLED]


# ---------------------------------------------------------------- C1: numbers that cannot be


def test_a_tick_larger_than_its_price_makes_a_collar_of_nothing_which_does_not_leave() -> None:
    coarse = replace(BTC, tick=1_000.0)
    scene = Scene(coarse)
    told = scene.bar(None, buy(coarse, qty=1.0))
    assert reasons(told) == ["C1 input: collar 0.0"] and not told.orders and not scene.slots()
    assert told.decision.judgement is not None and told.decision.order is None


# ---------------------------------------------------------------- C2: prices that have run away


def test_a_daily_signal_does_not_leave_at_an_open_far_dearer_than_its_decision() -> None:
    scene = Scene(IBM, interval=DAY)
    waits = daily(scene, {IBM: (50.0, 50.0)}, buy(IBM, qty=10.0))
    assert waits.dispositions == [Disposition.WAITING]
    told = daily(scene, {IBM: (52.6, 52.6)})
    assert reasons(told) == ["C2 price: 52.6 is dearer than 50.0 at the decision, by at most 5.00%"]
    assert told.decision.follows == waits.decision.id and not scene.slots()


def test_a_daily_signal_leaves_at_an_open_within_its_collar() -> None:
    scene = Scene(IBM, interval=DAY)
    daily(scene, {IBM: (50.0, 50.0)}, buy(IBM, qty=10.0))
    assert daily(scene, {IBM: (52.4, 52.4)}).dispositions == [SENT]


def test_what_waited_for_a_slot_is_held_to_the_price_of_its_first_decision() -> None:
    """0.7 % dearer: within what the queue allows, beyond the collar of a pair."""
    scene = Scene(EUR, GBP, CHF)
    scene.bar(None, buy(EUR, qty=100.0), buy(GBP, qty=100.0))
    scene.bar(None, buy(CHF, qty=100.0))
    told = scene.bar({CHF: 1.25 * 1.007}, leave(EUR))
    told = scene.bar()
    assert [d.disposition for d in told.decisions if d.instrument == CHF.id] == [CONTROLLED]
    assert reasons(told)[0].startswith("C2 price") and scene.slots().keys() == {1}


# ---------------------------------------------------------------- C3: one order


def test_an_order_larger_than_the_limit_does_not_leave() -> None:
    scene = Scene(BTC, ETH, **under(max_order_value=1_000.0, max_order_qty={"ETH/USD": 5.0}))
    told = scene.bar(None, buy(BTC, qty=10.001), buy(ETH, qty=6.0))
    assert reasons(told) == [
        "C3 order size: worth 1000.10, at most 1000",
        "C3 order size: quantity 6.0, at most 5",
    ]
    assert scene.bar(None, buy(BTC, qty=10.0), buy(ETH, qty=5.0)).dispositions == [SENT, SENT]


# ---------------------------------------------------------------- C4: one day


def test_a_day_that_has_traded_enough_takes_no_more_entries_until_re_armed() -> None:
    scene = Scene(BTC, ETH, **under(max_day_notional=1_500.0))
    told = scene.bar(None, buy(BTC, qty=10.0), buy(ETH, qty=6.0))
    assert told.dispositions == [SENT, CONTROLLED]
    assert reasons(told) == ["C4 daily limits: 1600.00 traded today with it, at most 1500"]
    assert [(c.what, c.after) for c in told.changes] == [("latch daily limits", "reducing")]
    assert scene.bar(None, buy(ETH, qty=1.0)).dispositions == [Disposition.HALTED]
    scene.command(Act.RE_ARM)
    assert scene.bar(None, buy(ETH, qty=1.0)).dispositions == [SENT]


def test_a_latch_of_the_day_outlives_the_day_and_an_exit_passes() -> None:
    scene = Scene(BTC, ETH, **under(max_day_notional=1_500.0))
    scene.bar(None, buy(BTC, qty=10.0), buy(ETH, qty=6.0))
    scene.bars(DAY // HOUR)
    assert scene.engine.guard.state is TradingState.REDUCING
    assert len(scene.bar(None, leave(BTC)).of(Exit)) == 1
    scene.command(Act.RE_ARM)
    assert scene.bar(None, buy(ETH, qty=6.0)).dispositions == [SENT]  # the new day has traded nothing


def test_the_scripted_operator_re_arms_it_in_the_morning_after_all_is_flat() -> None:
    scene = Scene(BTC, ETH, re_arms=True, **under(max_day_notional=1_500.0))
    scene.bar(None, buy(BTC, qty=10.0), buy(ETH, qty=6.0))
    scene.bar(None, leave(BTC))
    scene.bars(DAY // HOUR)
    assert scene.engine.guard.state is TradingState.ACTIVE


def test_a_day_that_has_lost_enough_latches_at_the_close_that_shows_it_and_keeps_what_is_open() -> None:
    scene = Scene(BTC, ETH, **under(max_day_loss=50.0))
    scene.bar(None, buy(BTC, qty=10.0))
    scene.bar({BTC: 95.0})
    assert scene.engine.guard.state is TradingState.ACTIVE
    told = scene.bar({BTC: 94.0})
    assert [(c.what, c.why) for c in told.changes] == [("latch daily limits", "60.00 lost today, at most 50")]
    scene.bar({BTC: 100.0}, buy(ETH))
    assert scene.engine.guard.state is TradingState.REDUCING and scene.slots() == {0: (BTC.id, "open")}


def test_where_no_limit_is_set_a_day_trades_and_loses() -> None:
    scene = Scene(BTC, ETH, **under())
    scene.bar(None, buy(BTC, qty=100.0))
    scene.bar({BTC: 92.0}, buy(ETH, qty=100.0))
    assert scene.engine.guard.state is TradingState.ACTIVE and not reasons(scene.told)


# ---------------------------------------------------------------- C5: too many


def hammered(scene: Scene, times: int) -> Told:
    """Strategies that add, one after the other, every tenth of a second."""
    told = [after(scene, SECOND // 10, more(BTC, 1.0 + n / 10.0, f"strategy {n}")) for n in range(times)]
    return Told(tuple(pair for each in told for pair in each.steps))


def test_a_sixth_entry_within_a_second_does_not_leave() -> None:
    scene = Scene(BTC)
    told = hammered(scene, 6)
    assert told.dispositions == [SENT] * 5 + [CONTROLLED]
    assert reasons(told) == ["C5 order rate: 6 in 1 s, at most 5"]
    assert after(scene, SECOND, more(BTC, 2.0)).dispositions == [SENT]


def test_a_third_breach_of_the_rate_halts_and_exits_leave() -> None:
    scene = Scene(BTC)
    told = hammered(scene, 8)
    assert told.dispositions == [SENT] * 5 + [CONTROLLED] * 3
    assert [(c.what, c.after) for c in told.changes] == [("latch order rate", "halted")]
    assert after(scene, HOUR, more(BTC, 2.0)).dispositions == [Disposition.HALTED]
    assert len(after(scene, SECOND, leave(BTC)).of(Exit)) == 1


def test_after_a_re_arm_breaches_count_anew() -> None:
    scene = Scene(BTC)
    hammered(scene, 8)
    scene.command(Act.RE_ARM)
    assert after(scene, 0, more(BTC, 3.0, "late")).dispositions == [CONTROLLED]
    assert scene.engine.guard.state is TradingState.ACTIVE


def test_what_reduces_risk_is_counted_and_never_denied() -> None:
    scene = Scene(BTC, **under(orders_per_second=1))
    scene.bar(None, buy(BTC, qty=10.0))
    scene.bar(None, leave(BTC))
    scene.bar()
    others = [order for order in scene.told.orders if not isinstance(order, Enter)]
    assert scene.engine.controls.passed == len(others) > 1 and not scene.slots()


# ---------------------------------------------------------------- C6: again and again


def test_a_strategy_that_repeats_itself_is_disabled_and_others_go_on() -> None:
    scene = Scene(BTC, ETH, SOL)
    told = [after(scene, MINUTE, more(BTC, 1.0 + n)) for n in range(4)]
    assert [each.dispositions for each in told] == [[SENT], [SENT], [SENT], [CONTROLLED]]
    assert reasons(told[3])[0].startswith("C6 repeated execution: 4 long of coins:BTC/USD by story in 300 s")
    assert [(c.what, c.after) for c in told[3].changes] == [("strategy story", "disabled")]
    said = after(scene, HOUR, buy(ETH), more(ETH, 1.0, "another"))
    assert said.dispositions == [Disposition.HALTED, SENT]
    assert said.decisions[0].reason.startswith("strategy story is disabled: 4 long of coins:BTC/USD")


def test_a_disabled_strategy_may_still_leave_and_speaks_again_once_re_armed() -> None:
    scene = Scene(BTC, ETH)
    for n in range(4):
        after(scene, MINUTE, more(BTC, 1.0 + n))
    assert len(after(scene, MINUTE, leave(BTC)).of(Exit)) == 1
    told = scene.command(Act.RE_ARM)
    assert [(c.what, c.before, c.after) for c in told.changes] == [("strategy story", "disabled", "enabled")]
    assert after(scene, MINUTE, buy(ETH)).dispositions == [SENT]


def test_the_scripted_operator_enables_a_strategy_in_the_morning() -> None:
    scene = Scene(BTC, ETH, re_arms=True)
    for n in range(4):
        after(scene, MINUTE, more(BTC, 1.0 + n))
    after(scene, MINUTE, leave(BTC))
    scene.quote(START + HOUR, {BTC: 100.0, ETH: 100.0})
    scene.bars(DAY // HOUR)
    assert not scene.engine.guard.disabled


# ---------------------------------------------------------------- C7: the same twice


def test_the_same_order_twice_within_five_seconds_leaves_once() -> None:
    scene = Scene(BTC)
    told = [after(scene, 2 * SECOND, more(BTC, 1.0)) for _ in range(3)]
    assert [each.dispositions for each in told] == [[SENT], [CONTROLLED], [CONTROLLED]]
    assert reasons(told[1]) == ["C7 duplicate: 1.0 of coins:BTC/USD again within 5 s"]
    assert after(scene, 2 * SECOND, more(BTC, 1.0)).dispositions == [SENT]


def test_a_session_that_numbers_its_decisions_anew_sends_none_of_them_twice() -> None:
    first, second = Scene(BTC), Scene(BTC)
    first.bar(None, buy(BTC, qty=1.0))
    second.engine.controls.restore(first.engine.controls.save())
    assert reasons(second.bar(None, buy(BTC, qty=2.0)))[0].endswith("has left before")


# ---------------------------------------------------------------- and beside them


def test_what_a_control_denies_reaches_no_breaker_and_counts_for_no_rate() -> None:
    scene = Scene(BTC, ETH, **under(max_order_value=1_000.0, orders_per_second=1))
    told = scene.bar(None, buy(BTC, qty=11.0), buy(ETH, qty=1.0))
    assert told.dispositions == [CONTROLLED, SENT]
    numbers = scene.engine.breakers[BTC.venue].numbers(scene.now)
    assert numbers.calls == 1 and len(scene.engine.controls.save().left) == 1


def test_a_reversal_that_a_control_denies_leaves_its_slot_free() -> None:
    scene = Scene(EUR, GBP, **under(max_order_qty={"EUR/USD": 150.0}))
    scene.bar(None, buy(EUR, qty=100.0))
    scene.bar(None, sell(EUR, qty=200.0))
    told = scene.bar()
    assert reasons(told) == ["C3 order size: quantity 200.0, at most 150"]
    assert not scene.slots() and scene.ours(EUR) == 0.0 and scene.engine.slots.free() == [0, 1]


def test_another_process_goes_on_with_every_count_and_every_latch() -> None:
    rules = under(max_day_notional=1_500.0)
    before, after_it = Scene(BTC, ETH, SOL, **rules), Scene(BTC, ETH, SOL, **rules)
    for n in range(4):
        after(before, MINUTE, more(BTC, 1.0 + n))
    after(before, MINUTE, replace(buy(ETH, qty=20.0), provider="another"))
    after_it.engine.restore(build(EngineState, encode_value(before.engine.save())))
    old, new = before.engine, after_it.engine
    assert new.controls.save() == old.controls.save() and len(new.controls.save().left) == 3
    assert new.guard.reduced == old.guard.reduced and new.guard.reduced.keys() == {"daily limits"}
    assert new.guard.disabled == old.guard.disabled and new.guard.disabled.keys() == {"story"}


# ---------------------------------------------------------------- C11: no more leaves than was approved


def entered(scene: Scene) -> Enter:
    """The order of a trade that has filled."""
    (order,) = scene.bar(None, buy(BTC, qty=1.0)).of(Enter)
    scene.bar()
    assert isinstance(order, Enter) and scene.at_venue(BTC) == 1.0
    return order


def sent(scene: Scene, order: Enter) -> Told:
    """An order that no step of the engine has led to, as a bug of ours would send it."""
    scene.venues.send(order, scene.now)
    return scene.step()


@pytest.mark.parametrize("changes", [{}, {"id": OrderId("another")}])
def test_an_approval_leaves_once(changes: dict[str, OrderId]) -> None:
    scene = Scene(BTC, ETH)
    order = entered(scene)
    (answer,) = sent(scene, replace(order, **changes)).answers
    assert isinstance(answer, Withheld) and "has left before" in answer.reason
    scene.bar()
    assert scene.at_venue(BTC) == 1.0 and scene.slots() == {0: (BTC.id, "open")}


def test_an_id_leaves_once_whatever_approval_it_brings() -> None:
    scene = Scene(BTC, ETH)
    order = entered(scene)
    intent, fine = order.approved.intent, np.array([0.0] * 10 + [100.0])
    fresh = scene.engine.gatekeeper.review(intent, fine, BTC.asset_class)
    (answer,) = sent(scene, replace(order, approved=fresh)).answers
    assert fresh.number == 2 and isinstance(answer, Withheld) and answer.order is None


def test_an_approval_of_another_gatekeeper_opens_nothing() -> None:
    order = entered(Scene(BTC))
    scene = Scene(BTC)
    (answer,) = sent(scene, order).answers
    assert isinstance(answer, Withheld) and answer.reason.endswith("was never given: there are 0")
    scene.bar()
    assert answer.order == order.id and scene.at_venue(BTC) == 0.0


def test_the_key_of_an_exit_opens_nothing() -> None:
    scene = Scene(BTC)
    order, stop = entered(scene), scene.resting(BTC)
    sent(scene, Enter(OrderId("another"), stop.approved, order.collar))
    scene.bar()
    assert scene.at_venue(BTC) == 1.0 and scene.engine.guard.latches.keys() == {"approvals"}


def test_more_orders_than_approvals_halt_until_re_armed_and_what_is_open_stays_protected() -> None:
    scene = Scene(BTC, ETH)
    told = sent(scene, entered(scene))
    assert [(c.what, c.after) for c in told.changes] == [("latch approvals", "halted")]
    scene.bar(None, buy(ETH))
    assert scene.engine.guard.state is TradingState.HALTED and not scene.told.of(Enter, ETH)
    assert scene.resting(BTC) is not None
