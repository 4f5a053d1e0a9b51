"""Returns of joined days, correlation, volatility, tail risk: against numpy, brute force and the rules' own words."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from ffe.kernels import stats
from tests.kernels.values import LEVEL, MINIMUM, SAME_VENUE, WINDOW, Floats, beside, returns, walk

NAN = math.nan
seeds = st.integers(0, 2**32 - 1)
levels = st.sampled_from([0.01, 0.025, 0.05, 0.1, 0.25, 0.5])
TWO_VENUES = np.array([0, 1, 1, 1])


def correlation(closes: Floats, a: int = 0, b: int = 1, window: int = WINDOW, minimum: int = MINIMUM) -> float:
    return stats.correlation(closes, len(closes), a, b, window, minimum)


def value_at_risk(closes: Floats, exposure: list[float], equity: float = 1.0, level: float = LEVEL) -> float:
    return stats.value_at_risk(closes, len(closes), np.array(exposure), equity, WINDOW, MINIMUM, level)


def correlated(closes: Floats, exposure: list[float], side: int, threshold: float = 0.7) -> float:
    column = np.array(exposure)
    return stats.correlated_count(closes, len(closes), column, SAME_VENUE, 0, side, threshold, WINDOW, MINIMUM)


def cross_venue(closes: Floats, exposure: list[float], side: int) -> float:
    return stats.cross_venue(closes, len(closes), np.array(exposure), TWO_VENUES, 0, side, WINDOW, MINIMUM)


def tail_risk(
    closes: Floats, exposure: list[float], candidate: int, own: float, equity: float = 1.0, limit: float = 0.05,
    level: float = LEVEL,
) -> tuple[float, float, float]:  # fmt: skip
    return stats.tail_risk(
        closes, len(closes), np.array(exposure), candidate, own, equity, WINDOW, MINIMUM, level, limit
    )


def numpy_var(gains: Floats, level: float) -> float:
    return float(max(0.0, -np.quantile(gains, level, method="inverted_cdf")))


# ---------------------------------------------------------------- joining on dates


def test_joined_days_are_the_newest_on_which_all_have_a_close() -> None:
    closes = np.ones((6, 3))
    closes[1, 0] = closes[3, 1] = closes[4, 2] = NAN
    rows = np.full(9, -1)
    assert stats.joined(closes, 6, np.array([0, 1, 2]), 2, rows) == 4
    assert rows[:4].tolist() == [5, 4, 2, 0]


def test_joined_days_end_where_rows_do_and_leave_out_the_day_under_way() -> None:
    rows = np.full(2, -1)
    assert stats.joined(np.ones((6, 1)), 5, np.array([0]), 1, rows) == 2
    assert rows.tolist() == [4, 3]


def test_returns_are_simple_and_between_joined_days() -> None:
    closes = np.array([[100.0], [NAN], [110.0]])
    assert stats.simple_return(closes, np.array([2, 0]), 0, 0) == pytest.approx(0.1)


@given(seeds, st.integers(1, 60))
def test_missing_bar_drops_its_own_day_and_nothing_else(seed: int, day: int) -> None:
    closes = walk(seed, 62, 2)
    closes[day, 0] = NAN
    assert correlation(closes) == correlation(np.delete(closes, day, axis=0))
    assert value_at_risk(closes, [0.5, 0.5]) == value_at_risk(np.delete(closes, day, axis=0), [0.5, 0.5])


@given(seeds)
def test_day_that_nobody_traded_changes_nothing(seed: int) -> None:
    closes = walk(seed, 62, 2)
    assert correlation(np.insert(closes, 30, NAN, axis=0)) == correlation(closes)


@given(seeds)
def test_only_the_last_window_counts(seed: int) -> None:
    closes = walk(seed, 90, 2)
    assert correlation(closes) == correlation(closes[-WINDOW - 1 :])
    assert value_at_risk(closes, [0.5, 0.5]) == value_at_risk(closes[-WINDOW - 1 :], [0.5, 0.5])
    assert stats.volatility(closes, 90, 0, 20) == stats.volatility(closes[-21:], 21, 0, 20)


# ---------------------------------------------------------------- correlation and volatility


@given(seeds, st.integers(31, 90))
def test_correlation_is_numpys(seed: int, days: int) -> None:
    closes = walk(seed, days, 2)
    r = returns(closes[-WINDOW - 1 :])
    assert correlation(closes) == pytest.approx(np.corrcoef(r[:, 0], r[:, 1])[0, 1], abs=1e-12)


def mirror_of(closes: Floats) -> Floats:
    """What moves by as much the other way."""
    return np.concatenate([[[50.0]], 50.0 * np.cumprod(1.0 - returns(closes), axis=0)])


def test_instrument_moves_with_itself_and_against_its_mirror() -> None:
    closes = walk(3, 70)
    mirror = mirror_of(closes)
    assert correlation(beside(closes, closes)) == pytest.approx(1.0, abs=1e-15)
    assert correlation(beside(closes, mirror)) == pytest.approx(-1.0, abs=1e-12)


@given(seeds, st.floats(0.1, 10.0))
def test_correlation_never_leaves_its_range(seed: int, factor: float) -> None:
    closes = walk(seed, 40)
    for other in (closes * factor, mirror_of(closes)):
        assert -1.0 <= correlation(beside(closes, other)) <= 1.0


def test_correlation_needs_thirty_joined_returns() -> None:
    closes = walk(5, 80, 2)
    assert math.isfinite(correlation(closes[:31]))
    assert math.isnan(correlation(closes[:30]))
    closes[31:, 1] = NAN
    assert math.isfinite(correlation(closes))
    closes[0, 1] = NAN
    assert math.isnan(correlation(closes))


def test_no_variance_is_no_knowledge() -> None:
    still, moving = np.full((70, 1), 8.0), walk(6, 70)
    assert math.isnan(correlation(beside(still, moving)))
    assert math.isnan(correlation(beside(moving, still)))
    assert math.isnan(stats.volatility(still, 70, 0, 20))


@given(seeds)
def test_volatility_is_numpys(seed: int) -> None:
    closes = walk(seed, 40, 2)
    expected = np.std(returns(closes[-21:])[:, 1], ddof=1)
    assert stats.volatility(closes, 40, 1, 20) == pytest.approx(expected, rel=1e-12)


def test_volatility_needs_its_whole_window() -> None:
    closes = walk(7, 40)
    assert math.isfinite(stats.volatility(closes, 21, 0, 20))
    assert math.isnan(stats.volatility(closes, 20, 0, 20))
    closes[5] = NAN
    assert math.isnan(stats.volatility(closes, 21, 0, 20))


# ---------------------------------------------------------------- value at risk


@pytest.mark.parametrize("level", [0.005, 0.01, 0.025, 0.05, 0.1, 0.3, 0.5])
def test_tail_index_is_numpys_for_every_length(level: float) -> None:
    lengths = range(30, 1001)
    picked = [float(np.quantile(np.arange(float(n)), level, method="inverted_cdf")) for n in lengths]
    assert [stats.tail_index(n, level) for n in lengths] == picked


def test_tail_index_of_few_values_is_the_worst() -> None:
    assert [stats.tail_index(n, 0.05) for n in (1, 20, 21, 40, 41, 60)] == [0, 0, 1, 1, 2, 2]


def test_equal_values_keep_their_order() -> None:
    worst, where = np.empty(2), np.empty(2, np.int64)
    stats.smallest(np.array([1.0, 0.0, 0.0, 0.0, 1.0]), 5, worst, where)
    assert (worst.tolist(), where.tolist()) == ([0.0, 0.0], [1, 2])


@given(st.lists(st.floats(-1.0, 1.0), min_size=1, max_size=40), st.data())
def test_smallest_values_and_where_they_are(values: list[float], data: st.DataObject) -> None:
    n = data.draw(st.integers(1, len(values)))
    worst, where = np.full(data.draw(st.integers(1, n)), NAN), np.zeros(n, np.int64)
    stats.smallest(np.array(values), n, worst, where)
    assert worst.tolist() == sorted(values[:n])[: worst.size]
    assert [values[place] for place in where[: worst.size]] == worst.tolist()
    assert len(set(where[: worst.size].tolist())) == worst.size


@given(seeds, st.integers(30, 1000), levels)
def test_var_is_numpys_inverted_cdf_to_the_bit(seed: int, n: int, level: float) -> None:
    closes = walk(seed, n + 1, 2)
    r = returns(closes)
    expected = numpy_var((700.0 * r[:, 0] + -300.0 * r[:, 1]) / 1000.0, level)
    exposure = np.array([700.0, -300.0])
    assert stats.value_at_risk(closes, n + 1, exposure, 1000.0, n, MINIMUM, level) == expected


def test_var_is_never_below_zero() -> None:
    rising = 100.0 * np.cumprod(np.full((62, 1), 1.01), axis=0)
    assert value_at_risk(rising, [1.0]) == 0.0
    assert value_at_risk(rising, [-1.0]) == pytest.approx(0.01)


def test_var_needs_thirty_joined_returns_and_an_equity() -> None:
    closes = walk(8, 80, 2)
    assert math.isfinite(value_at_risk(closes[:31], [1.0, 1.0]))
    assert math.isnan(value_at_risk(closes[:30], [1.0, 1.0]))
    with np.errstate(all="ignore"):  # interpreted, numpy warns of the division by zero
        assert all(math.isnan(value_at_risk(closes, [1.0, 1.0], equity)) for equity in (0.0, -1.0, NAN))


@given(seeds, st.floats(0.01, 1.0))
def test_hedge_lowers_var(seed: int, share: float) -> None:
    closes = walk(seed, 62)
    twins = beside(closes, closes * 3.0)
    alone = value_at_risk(twins, [1.0, 0.0])
    assume(alone > 1e-6)
    assert value_at_risk(twins, [1.0, -share]) == pytest.approx(alone * (1.0 - share), abs=1e-12)
    assert value_at_risk(twins, [1.0, share]) == pytest.approx(alone * (1.0 + share), abs=1e-12)


def test_var_doubles_with_the_size_and_halves_with_the_equity() -> None:
    closes = walk(9, 62, 2)
    once = value_at_risk(closes, [3.0, -1.0], 10.0)
    assert value_at_risk(closes, [6.0, -2.0], 10.0) == pytest.approx(2 * once)
    assert value_at_risk(closes, [3.0, -1.0], 20.0) == pytest.approx(once / 2)


def test_what_is_not_held_does_not_matter_and_what_is_held_must_be_known() -> None:
    closes = walk(10, 62, 3)
    closes[:, 2] = NAN
    assert value_at_risk(closes, [1.0, 2.0, 0.0]) == value_at_risk(closes[:, :2].copy(), [1.0, 2.0])
    assert math.isnan(value_at_risk(closes, [1.0, 2.0, 0.001]))


@pytest.mark.parametrize(("gain", "loss"), [(-0.25, "0.25"), (0.25, "0.0"), (0.0, "0.0"), (-0.0, "0.0"), (NAN, "nan")])
def test_gain_is_no_loss_and_the_unknown_stays_unknown(gain: float, loss: str) -> None:
    assert str(float(stats.loss_of(gain))) == loss


def test_unknown_exposure_is_an_unknown_var() -> None:
    closes = walk(11, 62, 2)
    assert math.isnan(value_at_risk(closes, [1.0, NAN]))
    assert math.isnan(tail_risk(closes, [1.0, NAN], 0, 1.0)[0])


# ---------------------------------------------------------------- how many move together


def test_candidate_alone_counts_itself() -> None:
    assert correlated(walk(12, 62, 2), [5.0, 0.0], 1) == 1.0


@pytest.mark.parametrize(("held", "side", "count"), [(0.5, 1, 2.0), (-0.5, -1, 2.0), (-0.5, 1, 1.0), (5.0, -1, 1.0)])
def test_twin_counts_on_the_same_side_and_a_hedge_does_not(held: float, side: int, count: float) -> None:
    closes = walk(13, 62)
    assert correlated(beside(closes, closes * 2.0), [1.0, held], side) == count


def test_correlation_at_the_threshold_counts() -> None:
    closes = walk(14, 62, 2)
    rho = correlation(closes)
    assert correlated(closes, [1.0, 1.0], 1, rho) == 2.0
    assert correlated(closes, [1.0, 1.0], 1, math.nextafter(rho, 2.0)) == 1.0


def test_every_holding_of_the_venue_counts_and_no_other() -> None:
    closes = walk(15, 62)
    twins = beside(*[closes] * 4)
    exposure, venue = np.ones(4), np.array([0, 0, 1, 0])
    assert stats.correlated_count(twins, 62, exposure, venue, 0, 1, 0.7, WINDOW, MINIMUM) == 3.0
    assert stats.correlated_count(twins, 62, exposure, venue, 2, 1, 0.7, WINDOW, MINIMUM) == 1.0


def test_count_is_unknown_where_a_holding_has_no_history() -> None:
    closes = walk(16, 62, 3)
    closes[:, 1] = NAN
    assert math.isnan(correlated(closes, [1.0, 1.0, 0.0], 1))
    assert math.isfinite(correlated(closes, [1.0, 0.0, 1.0], 1))


def test_cross_venue_is_the_highest_signed_correlation_elsewhere() -> None:
    closes = walk(17, 62, 3)
    one, two = correlation(closes, 0, 1), correlation(closes, 0, 2)
    assert cross_venue(closes, [1.0, 1.0, 1.0], 1) == max(one, two)
    assert cross_venue(closes, [1.0, 1.0, 1.0], -1) == max(-one, -two)
    assert cross_venue(closes, [1.0, -0.5, 0.0], 1) == -one
    assert cross_venue(closes, [1.0, 0.0, -1.0], -1) == two


def test_cross_venue_is_zero_without_a_holding_elsewhere_and_unknown_without_its_history() -> None:
    closes = walk(18, 62, 3)
    closes[:, 2] = NAN
    assert cross_venue(closes, [1.0, 0.0, 0.0], 1) == 0.0
    assert math.isnan(cross_venue(closes, [1.0, 1.0, 1.0], 1))
    assert stats.cross_venue(closes, 62, np.ones(3), SAME_VENUE, 0, 1, WINDOW, MINIMUM) == 0.0


def test_measure_fills_its_four_facts_and_no_other() -> None:
    closes, exposure = walk(19, 62, 3), np.array([0.5, -0.2, 0.3])
    facts, venue = np.full(11, -7.0), np.array([0, 0, 1])
    stats.measure(closes, 62, exposure, venue, 0, 1, 2.0, 0.1, WINDOW, MINIMUM, LEVEL, 20, facts)
    assert facts.tolist() == [
        -7.0, -7.0, -7.0, -7.0,
        stats.correlated_count(closes, 62, exposure, venue, 0, 1, 0.1, WINDOW, MINIMUM),
        stats.value_at_risk(closes, 62, exposure, 2.0, WINDOW, MINIMUM, LEVEL),
        stats.cross_venue(closes, 62, exposure, venue, 0, 1, WINDOW, MINIMUM),
        -7.0, -7.0, stats.volatility(closes, 62, 0, 20), -7.0,
    ]  # fmt: skip


# ---------------------------------------------------------------- beside VaR


@given(seeds, levels)
def test_expected_shortfall_is_the_mean_up_to_the_quantile(seed: int, level: float) -> None:
    closes = walk(seed, 62, 2)
    r = returns(closes)[-WINDOW:]
    worst = np.sort(r[:, 0] * 0.7 - r[:, 1] * 0.2)
    quantile = np.quantile(worst, level, method="inverted_cdf")
    expected = max(0.0, -worst[worst <= quantile].mean())
    assert tail_risk(closes, [0.7, -0.2], 0, 0.7, level=level)[0] == pytest.approx(expected, abs=1e-12)


@given(seeds)
def test_components_of_all_holdings_add_up_to_var(seed: int) -> None:
    closes, exposure = walk(seed, 62, 3), [50.0, -20.0, 30.0]
    var = value_at_risk(closes, exposure, 100.0)
    assume(var > 0.0)
    components = [tail_risk(closes, exposure, k, exposure[k], 100.0)[1] for k in range(3)]
    assert sum(components) == pytest.approx(var, rel=1e-9)


@given(seeds, st.sampled_from([40.0, -40.0, -0.5]), st.floats(0.001, 0.1), levels)
def test_var_passes_at_the_largest_exposure_and_not_above_it(seed: int, own: float, limit: float, level: float) -> None:
    closes = walk(seed, 62, 3)
    largest = tail_risk(closes, [own + 5.0, 60.0, -30.0], 0, own, 100.0, limit, level)[2]
    assume(0.0 < largest < math.inf)
    at, above = (math.copysign(largest * factor, own) + 5.0 for factor in (1.0 - 1e-9, 1.0 + 1e-6))
    assert value_at_risk(closes, [at, 60.0, -30.0], 100.0, level) <= limit
    assert value_at_risk(closes, [above, 60.0, -30.0], 100.0, level) > limit


def test_largest_exposure_does_not_depend_on_the_size_at_hand() -> None:
    closes = walk(20, 62, 2)
    found = [tail_risk(closes, [own, 0.4], 0, own)[2] for own in (0.001, 0.3, 5.0)]
    assert found == pytest.approx([found[0]] * 3, rel=1e-9)


@pytest.mark.parametrize(("days", "equity", "own"), [
    (30, 1.0, 1.0), (62, -0.5, 1.0), (62, 0.0, 1.0), (62, NAN, 1.0), (62, 1.0, 0.0),
])  # fmt: skip
def test_tail_risk_is_unknown_without_history_equity_or_size(days: int, equity: float, own: float) -> None:
    with np.errstate(all="ignore"):  # interpreted, numpy warns of the division by zero
        assert np.isnan(tail_risk(walk(21, days), [1.0], 0, own, equity)).all()


def test_tail_risk_needs_thirty_joined_returns() -> None:
    assert np.isfinite(tail_risk(walk(21, 31), [1.0], 0, 1.0)).all()


eighths = st.integers(-8, 8).map(lambda n: n / 8)


@example([(1.0, -0.5), (0.0, 0.5)], 0.5, 0)  # a falling loss and a rising one meet the limit at one point
@given(st.lists(st.tuples(eighths, eighths), min_size=1, max_size=8), eighths, st.integers(0, 8))
def test_largest_exposure_is_the_brute_force_one(lines: list[tuple[float, float]], limit: float, index: int) -> None:
    exact = [(Fraction(base), Fraction(slope)) for base, slope in lines]

    def passes(x: Fraction) -> bool:
        return sum(base + slope * x > limit for base, slope in exact) <= index

    crossings = [(Fraction(limit) - base) / slope for base, slope in exact if slope]
    beyond_all = max(crossings, default=Fraction(0)) + 1
    expected = (
        math.inf
        if passes(max(beyond_all, Fraction(1)))
        else float(max((x for x in crossings if x > 0 and passes(x)), default=Fraction(0)))
    )
    base, slope = (np.array(column) for column in zip(*lines, strict=True))
    assert stats.largest_exposure(base, slope, len(lines), limit, index) == expected
