"""Each layer at work, and what its fact is made of: numbers that a plain numpy line gives, too."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ffe.brokers.sim import Deposit
from ffe.model import DAY, HOUR, LAYERS, SECOND, Disposition, Enter, Layer, Rejected, Status
from ffe.sizing import NO_ROOM
from tests.story.scene import (
    AAPL,
    BTC,
    CHF,
    COINS,
    ETH,
    EUR,
    GBP,
    IBM,
    START,
    USD,
    Scene,
    Told,
    buy,
    closes,
    fact,
    sell,
    status,
    with_rules,
)  # fmt: skip

TWIN = closes(7, 1.25)  # a path of which several instruments are multiples


def refused_by(told: Told) -> set[Layer]:
    """The layers that refused the only entry."""
    assert not told.of(Enter)
    return {layer for layer in LAYERS if status(told.decision, layer) is Status.REFUSED}


# ---------------------------------------------------------------- each refuses


def test_market_hours_refuse_a_closed_market() -> None:
    scene = Scene(BTC, IBM)
    told = scene.bar(None, buy(IBM))
    assert told.decision.disposition is Disposition.OVERRIDDEN
    assert Layer.MARKET_HOURS in refused_by(told)


def test_after_hours_warn_on_a_crypto_weekend_and_let_it_pass() -> None:
    scene = Scene(BTC, start=START - 2 * DAY)
    told = scene.bar(None, buy(BTC))
    assert status(told.decision, Layer.AFTER_HOURS) is Status.WARNED
    assert told.decision.disposition is Disposition.SENT


def test_drawdown_refuses_beyond_a_twentieth_for_thirty_days() -> None:
    scene = Scene(BTC, ETH, holdings=[(ETH, 400.0, 100.0)])
    scene.bars(2)
    scene.bar({ETH: 80.0})  # 140,000 less 8,000
    scene.bars(21)
    told = scene.bar(None, buy(BTC))
    assert refused_by(told) == {Layer.DRAWDOWN}
    assert fact(told.decision, Layer.DRAWDOWN) == pytest.approx(8 / 140)
    scene.bars(29 * 24)
    assert status(scene.bar(None, buy(BTC)).decision, Layer.DRAWDOWN) is Status.PASSED


def test_correlation_refuses_the_third_that_moves_with_the_others() -> None:
    held = [(EUR, 20_000.0, 1.25), (GBP, 20_000.0, 1.25)]
    scene = Scene(EUR, GBP, CHF, past={EUR: TWIN, GBP: TWIN, CHF: TWIN}, holdings=held)
    told = scene.bar(None, buy(CHF))
    assert refused_by(told) == {Layer.CORRELATION}
    assert fact(told.decision, Layer.CORRELATION) == 3.0


def test_two_that_move_together_may_be_held() -> None:
    scene = Scene(EUR, GBP, CHF, past={EUR: TWIN, GBP: TWIN}, holdings=[(EUR, 20_000.0, 1.25), (CHF, 20_000.0, 1.25)])
    told = scene.bar(None, buy(GBP))
    assert fact(told.decision, Layer.CORRELATION) == 2.0
    assert told.decision.disposition is Disposition.SENT


def test_var_refuses_more_than_a_twentieth() -> None:
    wild = closes(3, 100.0, volatility=0.15)
    scene = Scene(BTC, ETH, past={ETH: wild}, holdings=[(ETH, 300.0, 100.0)])
    told = scene.bar(None, buy(BTC))
    assert refused_by(told) == {Layer.VAR}
    assert fact(told.decision, Layer.VAR) > 0.05


def test_cross_venue_correlation_warns_and_lets_it_pass() -> None:
    scene = Scene(BTC, EUR, past={BTC: 80.0 * TWIN, EUR: TWIN}, holdings=[(EUR, 10_000.0, 1.25)])
    told = scene.bar(None, buy(BTC))
    assert status(told.decision, Layer.CROSS_VENUE) is Status.WARNED
    assert told.decision.disposition is Disposition.SENT


def test_concentration_refuses_what_is_held_already_for_a_quarter() -> None:
    scene = Scene(BTC, ETH, holdings=[(BTC, 400.0, 100.0)])
    told = scene.bar(None, buy(BTC))
    assert refused_by(told) == {Layer.CONCENTRATION}
    assert fact(told.decision, Layer.CONCENTRATION) == pytest.approx(40_001.1 / 140_000, rel=1e-9)


def test_leverage_refuses_beyond_five_times_equity() -> None:
    calm = closes(3, 1.25, volatility=0.001)
    scene = Scene(EUR, GBP, past={EUR: calm}, holdings=[(EUR, 400_000.0, 1.25)])
    told = scene.bar(None, buy(GBP))
    assert refused_by(told) == {Layer.LEVERAGE}
    assert fact(told.decision, Layer.LEVERAGE) == pytest.approx(5.2375, abs=1e-4)


def test_leverage_is_gross() -> None:
    calm = {each: closes(n, 1.25, volatility=0.001) for n, each in enumerate((EUR, GBP))}
    scene = Scene(EUR, GBP, CHF, past=calm, holdings=[(EUR, 210_000.0, 1.25), (GBP, -210_000.0, 1.25)])
    assert refused_by(scene.bar(None, buy(CHF))) == {Layer.LEVERAGE}


@pytest.mark.parametrize(("confidence", "refused"), [(79, {Layer.CONVICTION}), (80, set())])
def test_conviction_refuses_a_wild_instrument_without_confidence(confidence: int, refused: set[Layer]) -> None:
    wild = closes(3, 100.0, volatility=0.06)
    told = Scene(BTC, past={BTC: wild}).bar(None, buy(BTC, confidence, qty=1.0))
    found = {layer for layer in LAYERS if status(told.decision, layer) is Status.REFUSED}
    assert found == refused
    returns = np.diff(wild[-21:]) / wild[-21:-1]
    assert fact(told.decision, Layer.CONVICTION) == pytest.approx(returns.std(ddof=1))


def test_a_calm_instrument_needs_no_confidence() -> None:
    assert Scene(BTC).bar(None, buy(BTC, 0)).decision.disposition is Disposition.SENT


def test_all_layers_are_judged_and_the_first_is_the_reason() -> None:
    wild = closes(3, 100.0, volatility=0.2)
    scene = Scene(BTC, ETH, past={BTC: wild}, holdings=[(BTC, 900.0, 100.0)])
    scene.bars(24)
    scene.bar({BTC: 80.0})
    scene.bars(24)
    told = scene.bar(None, buy(BTC, 70))
    assert refused_by(told) == {Layer.DRAWDOWN, Layer.VAR, Layer.CONCENTRATION, Layer.CONVICTION}
    assert told.decision.reason == Layer.DRAWDOWN


# ---------------------------------------------------------------- the candidate's size and side


def decided(scene: Scene, *entry: object) -> Told:
    return scene.bar(None, *entry)


def test_var_and_concentration_grow_with_the_candidate() -> None:
    small, large = (decided(Scene(BTC), buy(BTC, qty=qty)).decision for qty in (50.0, 100.0))
    assert fact(large, Layer.CONCENTRATION) == 2 * fact(small, Layer.CONCENTRATION) == 0.1
    assert fact(large, Layer.VAR) == pytest.approx(2 * fact(small, Layer.VAR), rel=1e-12)


def test_var_is_numpys_quantile_of_everything_held() -> None:
    a, b = closes(1, 100.0), closes(2, 1.25)
    scene = Scene(BTC, EUR, past={BTC: a, EUR: b}, holdings=[(EUR, -100_000.0, 1.25)])
    told = scene.bar(None, buy(BTC, qty=400.0))
    qty = told.decision.intent.qty
    returns = [np.diff(x[-61:]) / x[-61:-1] for x in (a, b)]
    gains = (100.0 * qty * returns[0] - 125_000.0 * returns[1]) / 200_000.0
    assert fact(told.decision, Layer.VAR) == pytest.approx(-np.quantile(gains, 0.05, method="inverted_cdf"))


def test_a_hedge_lowers_var_and_is_not_counted_as_correlated() -> None:
    past = {EUR: TWIN, GBP: TWIN, CHF: TWIN}
    held = [(EUR, 50_000.0, 1.25), (GBP, 50_000.0, 1.25)]
    scenes = [Scene(EUR, GBP, CHF, past=past, holdings=held) for _ in range(3)]
    little, more, wrong = (
        decided(scene, signal).decision
        for scene, signal in zip(scenes, (sell(CHF, qty=5e3), sell(CHF, qty=15e3), buy(CHF, qty=5e3)), strict=True)
    )
    assert fact(more, Layer.VAR) < fact(little, Layer.VAR) < fact(wrong, Layer.VAR)
    assert fact(little, Layer.CORRELATION) == fact(more, Layer.CORRELATION) == 1.0
    assert fact(wrong, Layer.CORRELATION) == 3.0


def test_a_gain_is_never_reported_as_a_loss() -> None:
    rising = 1.25 * np.cumprod(1.0 + np.linspace(0.001, 0.004, 80))
    rising *= 1.25 / rising[-1]
    long, short = (decided(Scene(EUR, past={EUR: rising}), signal).decision for signal in (buy(EUR), sell(EUR)))
    assert fact(long, Layer.VAR) == 0.0 and long.tail is not None and long.tail.expected_shortfall == 0.0
    assert fact(short, Layer.VAR) > 0.0


def test_the_largest_size_on_record_would_have_passed_and_a_lot_more_would_not() -> None:
    first = decided(Scene(BTC), buy(BTC, qty=1.0)).decision
    assert first.tail is not None and first.tail.largest_qty == 250.0
    rules = with_rules(gate={"var_ratio": 0.001})
    told = decided(Scene(BTC, rules=rules), buy(BTC, qty=200.0))
    largest = told.decision.tail.largest_qty
    assert refused_by(told) == {Layer.VAR}
    assert decided(Scene(BTC, rules=rules), buy(BTC, qty=largest)).dispositions == [Disposition.SENT]
    assert decided(Scene(BTC, rules=rules), buy(BTC, qty=largest + 0.001)).dispositions == [Disposition.REFUSED]


# ---------------------------------------------------------------- missing bars


def rho(scene: Scene) -> float:
    """The correlation of BTC with the euro held elsewhere, as layer 5 shows it."""
    return fact(scene.bar(None, buy(BTC, qty=1.0)).decisions[-1], Layer.CROSS_VENUE)


def test_a_missing_daily_bar_drops_its_date_and_shifts_nothing() -> None:
    a, b = 80.0 * TWIN, TWIN.copy()
    b[-30] = np.nan
    twins = Scene(BTC, EUR, past={BTC: a, EUR: b}, holdings=[(EUR, 1_000.0, 1.25)])
    assert rho(twins) == pytest.approx(1.0, abs=1e-12)


def test_correlation_is_numpys_over_the_dates_that_both_have() -> None:
    a, b = closes(1, 100.0), closes(2, 1.25)
    a[-10] = b[-30] = b[-31] = np.nan
    both = np.isfinite(a) & np.isfinite(b)
    returns = [np.diff(x[both][-61:]) / x[both][-61:-1] for x in (a, b)]
    scene = Scene(BTC, EUR, past={BTC: a, EUR: b}, holdings=[(EUR, 1_000.0, 1.25)])
    assert rho(scene) == pytest.approx(np.corrcoef(*returns)[0, 1], rel=1e-12)


def test_a_missing_bar_within_the_day_changes_no_correlation_at_all() -> None:
    moves = {6: {BTC: 101.0, EUR: 1.26}, 12: {BTC: 99.0, EUR: 1.24}, 20: {BTC: 103.0, EUR: 1.25}}
    found = []
    for missing in ([], [EUR], [BTC]):
        scene = Scene(BTC, EUR, holdings=[(EUR, 1_000.0, 1.25)])
        for hour in range(24):
            scene.bar(moves.get(hour), missing=missing if hour == 13 else [])
        found.append(rho(scene))
    assert found[0] == found[1] == found[2]


def test_facts_see_completed_days_only() -> None:
    scenes = [Scene(BTC, EUR, holdings=[(EUR, 1_000.0, 1.25)]) for _ in range(3)]
    for scene, hours in zip(scenes, (0, 22, 23), strict=True):
        scene.bar({BTC: 101.0, EUR: 1.255} if hours else None)
        scene.bars(hours)
    first, same_day, next_day = (rho(scene) for scene in scenes)
    assert first == same_day != next_day


# ---------------------------------------------------------------- what each sees of the others


def test_entries_of_one_step_see_what_the_earlier_ones_reserved() -> None:
    scene = Scene(BTC, ETH)
    first, second = scene.bar(None, buy(BTC, qty=100.0), buy(ETH, qty=200.0)).decisions
    assert fact(first, Layer.LEVERAGE) == pytest.approx(0.1)
    assert fact(second, Layer.LEVERAGE) == pytest.approx(0.3)
    assert fact(second, Layer.VAR) != fact(decided(Scene(BTC, ETH), buy(ETH, qty=200.0)).decision, Layer.VAR)


def test_cash_that_an_earlier_entry_reserved_is_not_spent_twice() -> None:
    told = Scene(BTC, ETH, rules=with_rules(gate={"concentration_ratio": 0.8})).bar(None, buy(BTC), buy(ETH, qty=400.0))
    first, second = (order.approved.intent for order in told.of(Enter))
    assert (first.rule, second.rule) == ("risk_per_trade", "strategy")
    told = Scene(BTC, ETH, rules=with_rules(gate={"concentration_ratio": 0.8})).bar(None, buy(BTC), buy(ETH))
    first, second = (order.approved.intent for order in told.of(Enter))
    assert (first.qty, second.rule) == (500.0, "cash") and first.qty + second.qty < 1_000.0


def test_a_withdrawal_leaves_less_room_for_the_next() -> None:
    flows = {COINS: [Deposit(START + 3 * HOUR, -50_000.0, USD)]}
    scene = Scene(BTC, ETH, flows=flows)
    first = scene.bar(None, buy(BTC)).decision.intent
    scene.bars(2)
    second = scene.bar(None, buy(ETH)).decision.intent
    assert first is not None and second is not None and second.qty == first.qty / 2


# ---------------------------------------------------------------- sizes and room


def test_two_entries_of_one_step_can_both_be_paid_up_to_their_collars() -> None:
    rules = with_rules(
        gate={"concentration_ratio": 1.0, "var_ratio": 1.0},
        size={"risk_per_trade_ratio": 1.0},
    )
    one, other = replace(BTC, fee=0.01), replace(ETH, fee=0.01)
    scene = Scene(one, other, rules=rules)
    scene.bar(None, buy(one), buy(other))
    told = scene.bar({one: (101.9,) * 4, other: (101.9,) * 4})
    assert not [a for a in told.answers if isinstance(a, Rejected)]
    assert scene.ours(one) > 0.0 and scene.ours(other) > 0.0


def test_a_minimum_that_concentration_leaves_no_room_for_is_never_sent() -> None:
    """One lot is 24.5 % of equity: under the limit of 25 %, over the 95 % of it that sizes keep to."""
    big = replace(IBM, lot=490.0)
    scene = Scene(big, AAPL)
    scene.bars(15)
    decision = scene.bar(None, buy(big)).decision
    assert (decision.disposition, decision.reason) == (Disposition.NOT_TRADABLE, NO_ROOM)
    assert fact(decision, Layer.CONCENTRATION) == pytest.approx(0.245)


def test_nothing_is_sold_short_on_spot_whatever_the_instrument_says() -> None:
    scene = Scene(replace(BTC, shortable=True), ETH)
    decision = scene.bar(None, sell(BTC)).decision
    assert decision.disposition is Disposition.NOT_TRADABLE


def test_that_equity_is_no_longer_known_is_said_once_and_when_it_is_again() -> None:
    scene = Scene(BTC, ETH)
    scene.bar(None, buy(BTC))
    scene.bar()
    told = [scene.quote(scene.now + SECOND, {BTC: price}) for price in (0.0, 0.0, 100.0)]
    assert [[(c.what, c.after) for c in each.changes] for each in told] == [
        [("equity", "unknown")], [], [("equity", "known")],
    ]  # fmt: skip
