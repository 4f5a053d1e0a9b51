"""Indicators over frames: rows without a bar are skipped, a tail says what its history says, ties are ties."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffe import indicators
from ffe.indicators import compare, highest, lowest, on_edge, previous, rsi, sma, stdev

NAN = float("nan")
Windowed = Callable[[pd.DataFrame, int], pd.DataFrame]
EVERY: list[Windowed] = [sma, stdev, highest, lowest, rsi]


def frame(*columns: list[float]) -> pd.DataFrame:
    names = ["a", "b", "c"][: len(columns)]
    index = pd.date_range("2024-01-01", periods=len(columns[0]), freq="h")
    return pd.DataFrame(dict(zip(names, columns, strict=True)), index, dtype=float)


def column(of: pd.DataFrame, name: str = "a") -> list[float]:
    return [float(value) for value in of[name]]


def same(found: list[float], expected: list[float]) -> bool:
    return found == pytest.approx(expected, rel=1e-12, nan_ok=True)


@pytest.mark.parametrize(
    ("compute", "expected"),
    [
        (sma, [NAN, NAN, 2.0, 4.0, 14.0 / 3.0]),
        (stdev, [NAN, NAN, 1.0, 2.6457513110645907, 2.081665999466133]),
        (highest, [NAN, NAN, 3.0, 7.0, 7.0]),
        (lowest, [NAN, NAN, 1.0, 2.0, 3.0]),
        (rsi, [NAN, NAN, NAN, 100.0, 62.5]),
    ],
)
def test_three_bar_windows_of_five_closes(compute: Windowed, expected: list[float]) -> None:
    assert same(column(compute(frame([1.0, 2.0, 3.0, 7.0, 4.0]), 3)), expected)


@pytest.mark.parametrize("compute", EVERY)
def test_row_without_a_bar_is_skipped_and_not_filled(compute: Windowed) -> None:
    dense, sparse = frame([1.0, 2.0, 3.0, 7.0, 4.0]), frame([1.0, NAN, 2.0, 3.0, NAN, NAN, 7.0, 4.0])
    there = compute(sparse, 2)["a"]
    assert there[sparse["a"].isna()].isna().all()
    assert same(there[sparse["a"].notna()].tolist(), column(compute(dense, 2)))


@pytest.mark.parametrize("compute", EVERY)
def test_columns_do_not_touch_each_other(compute: Windowed) -> None:
    one, two = [1.0, 5.0, 2.0, 8.0], [9.0, NAN, 3.0, 4.0]
    together = compute(frame(one, two), 2)
    assert same(column(together, "a"), column(compute(frame(one), 2)))
    assert same(column(together, "b"), column(compute(frame(two), 2)))


@pytest.mark.parametrize("compute", EVERY)
@given(st.integers(0, 2**32 - 1), st.integers(2, 12), st.integers(0, 40))
def test_tail_and_history_agree_to_the_bit(compute: Windowed, seed: int, window: int, cut: int) -> None:
    closes = frame(np.random.default_rng(seed).uniform(50.0, 150.0, 60).tolist())
    needed = window + (compute is rsi)
    full, tail = (compute(some, window)["a"].to_numpy() for some in (closes, closes.iloc[cut:]))
    assert full[cut + needed - 1 :].tobytes() == tail[needed - 1 :].tobytes()


def test_answer_has_the_rows_and_columns_of_the_question() -> None:
    closes = frame([1.0, 2.0], [3.0, 4.0])
    found = sma(closes, 1)
    assert found.index.equals(closes.index) and list(found.columns) == ["a", "b"]
    assert found.equals(closes)


def test_previous_is_the_value_at_the_symbols_bar_before() -> None:
    assert same(column(previous(frame([1.0, NAN, 2.0, 3.0]))), [NAN, NAN, 1.0, 2.0])


@pytest.mark.parametrize(
    ("a", "b", "sign"),
    [
        (2.0, 1.0, 1.0),
        (1.0, 2.0, -1.0),
        (1.0, 1.0, 0.0),
        (0.1 + 0.2, 0.3, 0.0),
        (1.0 + 0.9e-10, 1.0, 0.0),
        (1.0 + 1.1e-10, 1.0, 1.0),
        (1e6 - 0.9e-4, 1e6, 0.0),
        (-1.0 - 0.9e-10, -1.0, 0.0),
        (-1.0 - 1.1e-10, -1.0, -1.0),
        (0.0, 0.0, 0.0),
        (1e-300, 0.0, 1.0),
        (NAN, 1.0, NAN),
        (1.0, NAN, NAN),
    ],
)
def test_values_within_a_tie_are_equal(a: float, b: float, sign: float) -> None:
    assert same(column(compare(frame([a]), frame([b]))), [sign])
    assert same(column(compare(frame([a]), b)), [sign])


def test_tie_is_a_ten_billionth() -> None:
    assert indicators.TIE == 1e-10


def test_edge_is_where_a_state_differs_from_the_bar_before() -> None:
    state = frame([NAN, 0.0, 0.0, 1.0, 1.0, NAN, 1.0, 0.0])
    assert same(column(on_edge(state)), [NAN, NAN, NAN, 1.0, NAN, NAN, NAN, 0.0])


def test_state_that_becomes_known_is_no_edge() -> None:
    assert column(on_edge(frame([1.0])))[0] != 1.0
    assert same(column(on_edge(frame([NAN, 1.0, 0.0]))), [NAN, NAN, 0.0])
