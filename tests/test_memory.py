"""What providers' trades came to, and when that changes their confidence."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffe.memory import Memory, Record
from ffe.model import DecisionId, Outcome, Side
from ffe.risk.limits import MemoryRules
from tests.risk.values import BTC, START

ON = MemoryRules(calibrate=True)


def outcome(pnl: float, provider: str = "ours") -> Outcome:
    return Outcome(
        START, START, BTC.id, provider, Side.LONG, 1.0, 100.0, 100.0 + pnl, pnl, 0.0, "target", DecisionId("d"), 0
    )


def memory(*pnls: float, rules: MemoryRules = ON) -> Memory:
    new = Memory(rules)
    for pnl in pnls:
        new.learn(outcome(pnl))
    return new


def test_trade_that_earned_nothing_is_a_loss() -> None:
    record = memory(2.0, 0.0, -1.0, 4.0).records["ours"]
    assert (record.wins, record.losses, record.won, record.lost) == (2, 2, 6.0, 1.0)


def test_win_rate_is_the_mean_under_a_uniform_prior() -> None:
    assert Record().win_rate == 0.5
    assert memory(1.0, 1.0, -1.0).records["ours"].win_rate == 0.6


def test_break_even_is_where_the_average_win_pays_for_the_average_loss() -> None:
    assert memory(3.0, 3.0, -1.0).records["ours"].break_even == 0.25
    assert memory(1.0, -2.0, -4.0).records["ours"].break_even == 0.75


@pytest.mark.parametrize("pnls", [(), (1.0,), (-1.0,), (1.0, 2.0), (-1.0, -2.0)])
def test_break_even_is_one_half_while_one_side_is_not_known(pnls: tuple[float, ...]) -> None:
    assert memory(*pnls).records["ours"].break_even == 0.5


def test_losses_of_nothing_have_their_break_even_at_once() -> None:
    assert memory(1.0, 0.0).records["ours"].break_even == 0.0


def test_confidence_rises_by_the_edge_over_break_even() -> None:
    winning = memory(*[1.0] * 15, *[-1.0] * 5)
    assert winning.confidence("ours", 60) == 83  # 16/22 - 1/2 is 22.7 points
    assert memory(*[1.0] * 5, *[-1.0] * 15).confidence("ours", 60) == 37


def test_confidence_stays_between_0_and_100() -> None:
    assert memory(*[1.0] * 30).confidence("ours", 90) == 100
    assert memory(*[-1.0] * 30).confidence("ours", 10) == 0


@pytest.mark.parametrize(("outcomes", "confidence"), [(19, 60), (20, 100)])
def test_confidence_is_untouched_below_twenty_outcomes(outcomes: int, confidence: int) -> None:
    assert memory(*[1.0] * outcomes).confidence("ours", 60) == confidence


def test_confidence_is_untouched_by_default() -> None:
    assert memory(*[1.0] * 50, rules=MemoryRules()).confidence("ours", 60) == 60


def test_providers_are_remembered_apart() -> None:
    new = memory(*[1.0] * 30)
    assert new.confidence("others", 60) == 60
    new.learn(outcome(-1.0, "others"))
    assert (new.records["others"].losses, new.records["ours"].losses) == (1, 0)


@given(st.lists(st.floats(-1e6, 1e6), max_size=40), st.integers(0, 100))
def test_calibrated_confidence_is_an_integer_in_range(pnls: list[float], raw: int) -> None:
    confidence = memory(*pnls).confidence("ours", raw)
    assert type(confidence) is int and 0 <= confidence <= 100
