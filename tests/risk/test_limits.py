"""Numbers that cannot be are refused by name at birth; the defaults are the ones that are written down."""

from __future__ import annotations

import math
from dataclasses import fields

import pytest

from ffe.risk.limits import (
    SLOT_CEILING,
    BreakerRules,
    ControlRules,
    GateLimits,
    MemoryRules,
    Rules,
    SizeRules,
    SlotRules,
    WatchRules,
)

EVERY = (GateLimits, SizeRules, WatchRules, SlotRules, BreakerRules, MemoryRules, ControlRules)
NO_NUMBERS = ("bool", "Mapping[str, float]")
NUMBERS = [(kind, field.name) for kind in EVERY for field in fields(kind) if field.type not in NO_NUMBERS]
MAY_BE_ZERO = {"correlation_threshold", "cross_venue_threshold", "confidence_floor", "queue_length", "jitter_ratio"}
MAY_BE_NEGATIVE = {"correlation_threshold", "cross_venue_threshold"}


@pytest.mark.parametrize(("kind", "name"), NUMBERS)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1e9])
def test_impossible_number_is_refused_by_name(kind: type, name: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"^{name} = {value}: must "):
        kind(**{name: value})


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, name in NUMBERS if name not in MAY_BE_ZERO])
@pytest.mark.parametrize("value", [0, 0.0, -0.5])
def test_number_must_be_positive_unless_it_has_other_bounds(kind: type, name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"^{name} = "):
        kind(**{name: value})


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, name in NUMBERS if name in MAY_BE_ZERO])
def test_zero_is_a_number_where_it_means_something(kind: type, name: str) -> None:
    assert getattr(kind(**{name: 0}), name) == 0


@pytest.mark.parametrize(
    ("kind", "name", "low", "high"),
    [
        (GateLimits, "correlation_threshold", -1, 1),
        (GateLimits, "cross_venue_threshold", -1, 1),
        (GateLimits, "var_level", 1e-6, 0.5),
        (GateLimits, "confidence_floor", 0, 100),
        (GateLimits, "minimum_returns", 2, 60),
        (GateLimits, "volatility_days", 2, 10_000),
        (SizeRules, "concentration_share", 1e-6, 1),
        (SizeRules, "cash_share", 1e-6, 1),
        (SlotRules, "slots", 1, 2),
        (SlotRules, "queue_length", 0, 1000),
        (BreakerRules, "jitter_ratio", 0, 0.5),
        (ControlRules, "orders_per_second", 1, 10_000),
        (ControlRules, "orders_per_minute", 1, 10_000),
        (ControlRules, "orders_per_day", 1, 10_000),
    ],
)
def test_bounds_themselves_are_allowed_and_what_lies_beyond_is_not(
    kind: type, name: str, low: float, high: float
) -> None:
    assert [getattr(kind(**{name: value}), name) for value in (low, high)] == [low, high]
    for beyond in (low - 0.001 * max(abs(low), 1.0), high * 1.001 + 0.001):
        with pytest.raises(ValueError, match=rf"^{name} = .*: must lie between {low:g} and {high:g}$"):
            kind(**{name: beyond})


@pytest.mark.parametrize("most", [0.0, -1.0, math.nan, math.inf])
def test_the_most_of_one_instrument_is_a_number_too(most: float) -> None:
    with pytest.raises(ValueError, match=f"^max_order_qty of BTC/USD = {most}: must be positive and finite$"):
        ControlRules(max_order_qty={"BTC/USD": most})


@pytest.mark.parametrize("slots", [0, 3, 100])
def test_no_configuration_holds_more_than_two_slots(slots: int) -> None:
    assert SLOT_CEILING == 2
    with pytest.raises(ValueError, match=f"slots = {slots}: must lie between 1 and 2"):
        SlotRules(slots=slots)


def test_however_small_a_number_is_it_is_positive() -> None:
    assert GateLimits(var_ratio=5e-324).var_ratio > 0.0


def test_message_says_what_would_be_right() -> None:
    with pytest.raises(ValueError, match=r"^var_ratio = -0\.05: must be positive and finite$"):
        GateLimits(var_ratio=-0.05)


def test_enough_returns_must_fit_into_the_window() -> None:
    assert GateLimits(window_returns=30).minimum_returns == 30
    with pytest.raises(ValueError, match="minimum_returns = 30: must lie between 2 and 29"):
        GateLimits(window_returns=29)


def test_switches_are_no_numbers() -> None:
    assert MemoryRules(calibrate=False) == MemoryRules()


def test_defaults_are_the_rules_numbers() -> None:
    rules = Rules()
    gate, watch, breaker, slots = rules.gate, rules.watch, rules.breaker, rules.slots
    assert (gate.freshness_crypto_seconds, gate.freshness_forex_seconds, gate.freshness_stock_seconds) == (
        900,
        900,
        14400,
    )
    assert (gate.future_seconds, gate.drawdown_ratio, gate.drawdown_window_days) == (5.0, 0.05, 30)
    assert (gate.correlation_threshold, gate.correlated_count, gate.var_ratio, gate.var_level) == (0.7, 2, 0.05, 0.05)
    assert (gate.cross_venue_threshold, gate.concentration_ratio, gate.leverage_ratio) == (0.5, 0.25, 5.0)
    assert (gate.volatility_ratio, gate.volatility_days, gate.confidence_floor) == (0.05, 20, 80)
    assert (gate.window_returns, gate.minimum_returns, gate.unreachable_seconds) == (60, 30, 300.0)
    assert (watch.stop_ratio, watch.target_ratio, watch.day_loss_ratio, watch.day_gain_ratio) == (
        0.02,
        0.05,
        0.02,
        0.05,
    )
    assert (watch.collar_crypto_ratio, watch.collar_forex_ratio, watch.collar_stock_ratio) == (0.02, 0.005, 0.05)
    assert (watch.protect_tries, slots.slots, slots.queue_length, slots.queue_hours) == (3, 2, 8, 24.0)
    assert (slots.queue_dearer_ratio, rules.size.risk_per_trade_ratio) == (0.01, 0.01)
    assert (rules.size.concentration_share, rules.size.cash_share) == (0.95, 0.95)
    assert (breaker.failures, breaker.open_seconds, breaker.open_cap_seconds) == (5, 60.0, 900.0)
    assert (breaker.jitter_ratio, breaker.probe_seconds) == (0.1, 30.0)
    assert (rules.memory.calibrate, rules.memory.minimum_outcomes) == (False, 20)
    controls = rules.controls
    assert (controls.orders_per_second, controls.orders_per_minute, controls.orders_per_day) == (5, 60, 500)
    assert (controls.rate_breaches, controls.repeats, controls.repeat_seconds) == (3, 3, 300.0)
    assert (controls.duplicate_seconds, controls.quote_seconds, controls.skew_seconds) == (5.0, 2.0, 0.5)
    assert (controls.decision_seconds, controls.free_mib, dict(controls.max_order_qty)) == (10.0, 200.0, {})
    assert (controls.max_order_value, controls.max_day_notional, controls.max_day_loss) == (None, None, None)
