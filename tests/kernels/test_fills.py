"""Entries, stops, targets and costs within one bar. The table's answers were worked out by hand from the rules."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffe.kernels import fills
from ffe.kernels.fills import NOTHING, STOP, TARGET

LONG, SHORT = 1, -1
NAN = math.nan
Bar = tuple[float, float, float]  # open, high, low
prices = st.floats(1.0, 1e4)
sides = st.sampled_from([LONG, SHORT])


def same(found: tuple[int, float, float], hit: int, price: float, optimistic: float = NAN) -> bool:
    return found == pytest.approx((hit, price, optimistic), rel=1e-12, nan_ok=True)


def test_outcomes_are_told_apart_by_small_integers() -> None:
    assert (NOTHING, STOP, TARGET) == (0, 1, 2)


# A long position with its stop at 98 and its target at 105; bars are open, high, low.
@pytest.mark.parametrize(
    ("bar", "hit", "price", "optimistic"),
    [
        ((100, 104, 99), NOTHING, NAN, NAN),
        ((100, 101, 98), STOP, 98, NAN),  # touched
        ((100, 101, 98.01), NOTHING, NAN, NAN),
        ((97, 99, 96), STOP, 97, NAN),  # opened beyond it
        ((98, 99, 97), STOP, 98, NAN),  # opened at it
        ((98, 106, 97), STOP, 98, NAN),
        ((100, 105, 99), NOTHING, NAN, NAN),  # a target that is only touched
        ((100, 105.01, 99), TARGET, 105, NAN),
        ((106, 107, 104), TARGET, 106, NAN),  # opened beyond it
        ((105, 106, 104), TARGET, 105, NAN),  # opened at it and traded through
        ((105, 105, 104), NOTHING, NAN, NAN),
        ((100, 106, 97), STOP, 98, 105),  # both: ambiguous
        ((100, 105, 97), STOP, 98, NAN),  # touched alone, the target is no rival
        ((97, 106, 96), STOP, 97, NAN),  # the open has decided already
        ((106, 107, 97), TARGET, 106, NAN),
    ],
)
def test_what_a_bar_does_to_a_long_position(bar: Bar, hit: int, price: float, optimistic: float) -> None:
    assert same(fills.exit_in_bar(*bar, LONG, 98.0, 105.0, 0.0, 0.0), hit, price, optimistic)


# A short position with its stop at 102 and its target at 95.
@pytest.mark.parametrize(
    ("bar", "hit", "price", "optimistic"),
    [
        ((100, 101, 96), NOTHING, NAN, NAN),
        ((100, 102, 99), STOP, 102, NAN),
        ((103, 104, 101), STOP, 103, NAN),
        ((102, 102, 100), STOP, 102, NAN),
        ((100, 101, 95), NOTHING, NAN, NAN),
        ((100, 101, 94.99), TARGET, 95, NAN),
        ((94, 96, 93), TARGET, 94, NAN),
        ((95, 96, 95), NOTHING, NAN, NAN),
        ((100, 103, 94), STOP, 102, 95),
        ((103, 104, 94), STOP, 103, NAN),
    ],
)
def test_what_a_bar_does_to_a_short_position(bar: Bar, hit: int, price: float, optimistic: float) -> None:
    assert same(fills.exit_in_bar(*bar, SHORT, 102.0, 95.0, 0.0, 0.0), hit, price, optimistic)


@pytest.mark.parametrize(
    ("stop", "target", "bar", "hit", "price"),
    [
        (NAN, 105.0, (100, 106, 1), TARGET, 105),
        (98.0, NAN, (100, 1e9, 99), NOTHING, NAN),
        (98.0, NAN, (100, 1e9, 97), STOP, 98),
        (NAN, NAN, (100, 1e9, 1), NOTHING, NAN),
        (NAN, NAN, (NAN, NAN, NAN), NOTHING, NAN),
    ],
)
def test_unknown_level_is_no_level(stop: float, target: float, bar: Bar, hit: int, price: float) -> None:
    assert same(fills.exit_in_bar(*bar, LONG, stop, target, 0.0, 0.0), hit, price)


# A long position sells at the bid, a short one buys at the ask: 1 % away from the mid; stops slip by another 10 %.
@pytest.mark.parametrize(
    ("bar", "side", "stop", "target", "hit", "price", "optimistic"),
    [
        ((100, 101, 99), LONG, 98.01, 150, STOP, 98.01 * 0.9, NAN),  # the mid never got there, the bid did
        ((90, 101, 80), LONG, 98, 150, STOP, 90 * 0.99 * 0.9, NAN),
        ((100, 105, 99), LONG, 50, 104, NOTHING, NAN, NAN),  # the mid did, the bid at 103.95 did not
        ((100, 106, 99), LONG, 50, 104, TARGET, 104, NAN),
        ((110, 111, 99), LONG, 50, 104, TARGET, 110 * 0.99, NAN),
        ((100, 106, 50), LONG, 98, 104, STOP, 98 * 0.9, 104),
        ((100, 101, 99), SHORT, 102.01, 50, STOP, 102.01 * 1.1, NAN),
        ((110, 111, 99), SHORT, 102, 50, STOP, 110 * 1.01 * 1.1, NAN),
        ((100, 101, 95), SHORT, 150, 95.9, NOTHING, NAN, NAN),
        ((100, 101, 94), SHORT, 150, 95.9, TARGET, 95.9, NAN),
        ((90, 101, 89), SHORT, 150, 95.9, TARGET, 90 * 1.01, NAN),
    ],
)
def test_stops_slip_and_targets_do_not(
    bar: Bar, side: int, stop: float, target: float, hit: int, price: float, optimistic: float
) -> None:
    assert same(fills.exit_in_bar(*bar, side, stop, target, 0.01, 0.1), hit, price, optimistic)


@given(prices, prices, prices, sides, prices, prices)
def test_exit_never_gets_more_than_the_bar_gave(
    a: float, b: float, c: float, side: int, stop: float, target: float
) -> None:
    low, open_, high = sorted([a, b, c])
    hit, price, optimistic = fills.exit_in_bar(open_, high, low, side, stop, target, 0.0, 0.0)
    assert (hit == NOTHING) == math.isnan(price)
    assert hit == NOTHING or low <= price <= high
    assert math.isnan(optimistic) or (optimistic == target and hit == STOP)


@given(prices, sides)
def test_buyers_pay_the_ask_and_slippage_on_top(mid: float, side: int) -> None:
    assert fills.side_price(mid, side, 0.01) == pytest.approx(mid * (1.01 if side == LONG else 0.99))
    assert fills.market_price(mid, LONG, 0.01, 0.001) == pytest.approx(mid * 1.01 * 1.001)
    assert fills.market_price(mid, SHORT, 0.01, 0.001) == pytest.approx(mid * 0.99 * 0.999)


@pytest.mark.parametrize(("side", "mid", "may"), [
    (LONG, 102.0, True), (LONG, math.nextafter(102.0, math.inf), False), (LONG, 50.0, True),
    (SHORT, 102.0, True), (SHORT, math.nextafter(102.0, 0.0), False), (SHORT, 150.0, True),
    (LONG, NAN, False), (SHORT, NAN, False), (LONG, math.inf, False), (SHORT, -math.inf, False),
])  # fmt: skip
def test_collar_bounds_what_an_entry_may_pay(side: int, mid: float, may: bool) -> None:
    assert fills.within_collar(mid, side, 102.0) is may


def test_levels_lie_in_favour_or_against() -> None:
    assert fills.distance_from(200.0, LONG, -0.02) == 196.0
    assert fills.distance_from(200.0, SHORT, -0.02) == 204.0
    assert fills.distance_from(200.0, SHORT, 0.05) == 190.0


@pytest.mark.parametrize(("side", "mid", "half_spread", "beyond"), [
    (LONG, 98.0, 0.0, True), (LONG, 98.01, 0.0, False), (LONG, 98.9, 0.01, True), (LONG, 99.0, 0.01, False),
    (SHORT, 98.0, 0.0, True), (SHORT, 97.99, 0.0, False), (SHORT, 97.03, 0.01, True), (SHORT, 97.02, 0.01, False),
    (LONG, NAN, 0.0, False), (SHORT, NAN, 0.0, False),
])  # fmt: skip
def test_watch_looks_at_the_price_that_closes_the_position(
    side: int, mid: float, half_spread: float, beyond: bool
) -> None:
    assert fills.is_beyond_stop(mid, side, 98.0, half_spread) is beyond


@pytest.mark.parametrize(
    ("side", "mid", "half_spread", "through"),
    [(1, 105.0, 0.0, False), (1, 105.01, 0.0, True), (1, 105.5, 0.01, False), (1, 106.1, 0.01, True),
     (-1, 105.0, 0.0, False), (-1, 104.99, 0.0, True), (-1, 104.5, 0.01, False), (-1, 103.9, 0.01, True)],
)  # fmt: skip
def test_target_is_traded_through_at_the_price_that_closes(
    side: int, mid: float, half_spread: float, through: bool
) -> None:
    assert fills.is_through_target(mid, side, 105.0, half_spread) is through


def test_fee_is_a_share_of_what_was_traded_either_way() -> None:
    assert fills.fee(3.0, 50.0, 0.001) == fills.fee(-3.0, 50.0, 0.001) == pytest.approx(0.15)


def test_financing_is_an_annual_rate_over_365_days() -> None:
    assert fills.financing(1000.0, 1.1, 0.02, 1.0) == pytest.approx(0.060273972602739725)
    assert fills.financing(-1000.0, 1.1, 0.02, 3.0) == pytest.approx(3 * 0.060273972602739725)
    assert fills.financing(1000.0, 1.1, -0.365, 2.0) == pytest.approx(-2.2)
