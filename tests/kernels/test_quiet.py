"""How far a run may go before a bar could matter: bar by bar against the same question asked in plain words."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffe.kernels import fills, quiet
from tests.kernels.values import Floats

NAN = math.nan
LONG, SHORT, FOREIGN = 1, -1, 0
LOSS, GAIN = 0.02, 0.05


def position(
    qty: float = 1.0, basis: float = 100.0, stop: float = 98.0, target: float = 105.0, half: float = 0.0
) -> list[float]:
    return [basis, qty, stop, target, half, 0.001]


def day(
    realised: float = 0.0, base: float = 0.0, equity: float = 1_000.0, units: float = 1_000.0, start: float = 1.0
) -> Floats:
    return np.array([realised, base, equity, units, start, LOSS, GAIN])


def bars(*rows: tuple[float, float, float, float]) -> Floats:
    """Open, high, low, close of one instrument, instant by instant."""
    return np.array(rows, np.float64).T[:, :, None].copy()


# ---------------------------------------------------------------- one bar


@pytest.mark.parametrize(
    ("bar", "side", "half", "is_stirred"),
    [
        ((100, 104, 99, 101), LONG, 0.0, False),
        ((100, 104, 98, 101), LONG, 0.0, True),  # the stop is touched
        ((100, 105, 99, 101), LONG, 0.0, False),  # so is the target, which must be traded through
        ((100, 105.1, 99, 101), LONG, 0.0, True),
        ((97, 99, 96, 98), LONG, 0.0, True),
        ((100, 104, 98.05, 98.05), LONG, 0.001, True),  # what the position could be sold at
        ((100, 104, 98.2, 98.2), LONG, 0.001, False),
        ((100, 101, 96, 99), SHORT, 0.0, True),
        ((NAN, NAN, NAN, NAN), LONG, 0.0, False),
    ],
)
def test_bar_stirs_a_trade_that_it_fills_or_closes_beyond_its_stop(
    bar: tuple[float, float, float, float], side: int, half: float, is_stirred: bool
) -> None:
    levels = (98.0, 105.0) if side == LONG else (102.0, 97.0)
    of = np.array(position(1.0, 100.0, *levels, half))
    assert bool(quiet.is_stirred(bars(bar), 0, 0, side, of)) is is_stirred


def test_close_beyond_the_stop_stirs_though_the_stop_is_not_filled() -> None:
    of = np.array(position(stop=NAN))
    assert not quiet.is_stirred(bars((100, 101, 50, 51)), 0, 0, LONG, of)
    # Only a bar whose low lies above its close could tell the two apart: the watch looks at the close alone.
    assert quiet.is_stirred(bars((100, 101, 99, 97)), 0, 0, LONG, np.array(position()))


# ---------------------------------------------------------------- the day


@pytest.mark.parametrize(
    ("equity", "gain", "given", "is_over"),
    [
        (1_000.0, 0.0, day(), False),
        (1_000.0, -20.0, day(), True),
        (1_000.0, -19.99, day(), False),
        (1_000.0, 50.0, day(), True),
        (1_000.0, 49.99, day(), False),
        (980.0, 0.0, day(), True),
        (980.01, 0.0, day(), False),
        (1_050.0, 0.0, day(), True),
        (1_049.99, 0.0, day(), False),
        (1_000.0, -10.0, day(realised=-10.0), True),
        (1_000.0, -10.0, day(realised=-10.0, base=-5.0), False),
        (1_000.0, -19.0, day(equity=500.0), True),
        (1_000.0, 0.0, day(units=500.0), True),
        (1_000.0, 0.0, day(units=500.0, start=2.0), False),
        (1_000.0, 0.0, day(start=1.1), True),
        (NAN, 0.0, day(), True),
        (1_000.0, NAN, day(), True),
    ],
)
def test_day_is_over_its_limit_at_the_limit_and_where_nothing_is_known(
    equity: float, gain: float, given: Floats, is_over: bool
) -> None:
    assert bool(quiet.is_day_over_limit(equity, gain, given)) is is_over


@pytest.mark.parametrize(("equity", "gain", "is_over"), [
    (0.75, 0.0, True), (0.7500001, 0.0, False), (1.5, 0.0, True), (1.4999999, 0.0, False),
    (1.0, -0.25, True), (1.0, -0.2499999, False), (1.0, 0.5, True), (1.0, 0.4999999, False),
])  # fmt: skip
def test_limit_itself_is_over(equity: float, gain: float, is_over: bool) -> None:
    of_day = np.array([0.0, 0.0, 1.0, 1.0, 1.0, 0.25, 0.5])  # what binary fractions hold exactly
    assert bool(quiet.is_day_over_limit(equity, gain, of_day)) is is_over


# ---------------------------------------------------------------- how far


@pytest.mark.parametrize("first", [0, 2])
@pytest.mark.parametrize("event", [3, 5, 8])
def test_run_goes_to_the_first_bar_that_stirs_and_no_further(first: int, event: int) -> None:
    rows = [(100.0, 101.0, 99.0, 100.0 + n / 8) for n in range(8)]
    if event < 8:
        rows[event] = (100.0, 101.0, 98.0, 100.0)
    marks, equity = np.array([100.0]), np.full(8, NAN)
    found = go(bars(*rows), [LONG], [position()], cash=[900.0], marks=marks, equity=equity, first=first)
    assert found == event
    assert equity[: event - first].tolist() == [1_000.0 + n / 8 for n in range(first, event)]
    assert np.isnan(equity[event - first :]).all()
    assert marks.tolist() == [100.0 + (event - 1) / 8]


def go(
    prices: Floats, side: list[int], positions: list[list[float]], *, cash: list[float], marks: Floats, equity: Floats,
    first: int = 0, ledger: list[int] | None = None, of_day: Floats | None = None,
) -> int:  # fmt: skip
    count = len(side)
    owners = np.array(ledger or [0] * count)
    return quiet.quiet_until(
        prices, first, prices.shape[1], np.array(cash), owners, np.arange(count), np.array(side), np.array(positions),
        marks, day() if of_day is None else of_day, equity,
    )  # fmt: skip


def test_bar_that_is_missing_leaves_the_mark() -> None:
    marks, equity = np.array([100.0]), np.zeros(3)
    rows = bars((100, 101, 99, 101), (NAN, NAN, NAN, NAN), (100, 101, 99, 100.5))
    assert go(rows, [LONG], [position()], cash=[900.0], marks=marks, equity=equity) == 3
    assert (equity.tolist(), marks.tolist()) == ([1_001.0, 1_001.0, 1_000.5], [100.5])


@pytest.mark.parametrize("cash", [1.0, -1.0, 0.0, 0.5])
def test_every_amount_of_cash_counts(cash: float) -> None:
    equity, of_day = np.zeros(1), day(equity=cash + 100.0, units=cash + 100.0)
    row = bars((100, 101, 99, 101))
    assert go(row, [LONG], [position()], cash=[cash], marks=np.array([100.0]), equity=equity, of_day=of_day) == 1
    assert equity[0] == cash + 101.0


def test_holding_of_others_is_worth_something_and_has_no_stop() -> None:
    marks, equity = np.array([100.0]), np.zeros(2)
    rows = bars((100, 101, 90, 99), (100, 120, 99, 101))
    assert go(rows, [FOREIGN], [position()], cash=[900.0], marks=marks, equity=equity) == 2
    assert equity.tolist() == [999.0, 1_001.0]


def test_loss_of_the_day_ends_the_quiet_whoever_made_it() -> None:
    for side, basis in ((FOREIGN, 0.0), (LONG, 100.0)):
        marks, equity = np.array([100.0]), np.full(2, NAN)
        wide = [position(1.0, basis, 1.0, 1e6)]
        assert (
            go(bars((100, 101, 70, 99), (99, 99, 75, 80)), [side], wide, cash=[900.0], marks=marks, equity=equity) == 1
        )
        assert equity[0] == 999.0 and math.isnan(equity[1])


def test_gain_of_others_does_not_hide_a_loss_of_ours() -> None:
    prices = np.array([[[100.0, 100.0]], [[100.0, 121.0]], [[79.0, 99.0]], [[80.0, 120.0]]])
    both = [position(1.0, 100.0, 1.0, 1e6), position()]
    assert go(prices, [LONG, FOREIGN], both, cash=[800.0], marks=np.full(2, 100.0), equity=np.zeros(1)) == 0


prices_ = st.sampled_from([95.0, 98.0, 99.0, 100.0, 101.0, 105.0, 107.0])
candles = st.tuples(prices_, prices_, prices_, prices_, st.booleans())


def candle(a: float, b: float, c: float, d: float, is_missing: bool) -> tuple[float, ...]:
    low, one, other, high = sorted((a, b, c, d))
    return (NAN,) * 4 if is_missing else (one, high, low, other)


@given(
    st.lists(st.tuples(candles, candles, candles), min_size=1, max_size=12),
    st.lists(st.sampled_from([LONG, FOREIGN]), min_size=3, max_size=3),
    st.lists(st.floats(0.25, 4.0), min_size=3, max_size=3),
    st.lists(st.integers(0, 1), min_size=3, max_size=3),
)
def test_quiet_ends_where_plain_words_say(
    rows: list[tuple[tuple[float, float, float, float, bool], ...]],
    side: list[int],
    sizes: list[float],
    owners: list[int],
) -> None:
    prices = np.array([[candle(*bar) for bar in row] for row in rows]).transpose(2, 0, 1).copy()
    positions = [position(qty, qty * 100.0, 98.0, 105.0, 0.0005) for qty in sizes]
    marks, equity, cash = np.full(3, 100.0), np.full(len(rows), NAN), [400.0, 0.0]
    start = sum(cash) + 100.0 * sum(sizes)
    of_day = day(equity=start, units=start)
    found = go(prices, side, positions, cash=cash, marks=marks, equity=equity, ledger=owners, of_day=of_day)

    known, worth = [100.0] * 3, []
    for t in range(len(rows)):
        open_, high, low, close = prices[:, t].tolist()
        there = [p for p in range(3) if close[p] == close[p]]
        hits = [fills.exit_in_bar(open_[p], high[p], low[p], 1, 98.0, 105.0, 0.0005, 0.001)[0] for p in range(3)]
        if any(side[p] and hits[p] for p in there):
            break
        known = [close[p] if p in there else known[p] for p in range(3)]
        ours = sum(sizes[p] * (known[p] - 100.0) for p in range(3) if side[p]) / start
        total = sum(sizes[p] * (known[p] - 100.0) for p in range(3)) / start
        if not (-LOSS < ours < GAIN and -LOSS < total < GAIN):
            break
        worth.append(start * (1.0 + total))
    assert found == len(worth)
    assert equity[:found].tolist() == pytest.approx(worth)
    assert np.isnan(equity[found:]).all()
