"""Compiled and interpreted agree to the bit, kernel by kernel: the plain body is the oracle of everything compiled."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffe.kernels import fills, gates, quiet, stats, windows
from tests.kernels.values import walk

pytestmark = pytest.mark.slow  # it compiles everything

MODULES = (fills, gates, quiet, stats, windows)
Arguments = st.SearchStrategy[tuple[Any, ...]]

sides = st.sampled_from([-1, 1])
prices = st.floats(1e-6, 1e6)
levels = prices | st.just(math.nan)
costs = st.sampled_from([0.0]) | st.floats(0.0, 0.05)
anything = st.floats(allow_nan=True, allow_infinity=True)
columns = st.integers(0, 3)
ends = st.integers(0, 90)


def kernels(module: ModuleType) -> dict[str, Callable[..., Any]]:
    found = {name: value for name, value in vars(module).items() if hasattr(value, "py_func")}
    return {name: value for name, value in found.items() if value.py_func.__module__ == module.__name__}


def arrays(elements: st.SearchStrategy[float], low: int, high: int | None = None) -> st.SearchStrategy[Any]:
    return st.lists(elements, min_size=low, max_size=low if high is None else high).map(
        lambda values: np.array(values, np.float64)
    )


def integers(size: int, most: int = 3) -> st.SearchStrategy[Any]:
    return st.lists(st.integers(0, most), min_size=size, max_size=size).map(lambda values: np.array(values, np.int64))


@st.composite
def closes(draw: st.DrawFn) -> Any:
    """Four random walks over 90 days with days and whole instruments missing."""
    table = walk(draw(st.integers(0, 2**32 - 1)), 90, 4)
    for day, column in draw(st.lists(st.tuples(st.integers(0, 89), columns), max_size=8)):
        table[day, column] = math.nan
    table[: draw(st.integers(0, 70)), draw(columns)] = math.nan
    return table


@st.composite
def bars(draw: st.DrawFn) -> tuple[float, float, float]:
    low, open_, high = sorted(draw(st.lists(prices, min_size=3, max_size=3)))
    return open_, high, low


def candles(instants: int, instruments: int) -> st.SearchStrategy[Any]:
    """(open, high, low, close) x instant x instrument."""
    some = st.lists(bars() | st.just((math.nan,) * 3), min_size=instants * instruments, max_size=instants * instruments)
    return some.map(
        lambda rows: (
            np.array([(*row, (row[1] + row[2]) / 2.0) for row in rows]).T.reshape(4, instants, instruments).copy()
        )
    )


signs = st.lists(st.integers(-1, 1), min_size=4, max_size=4).map(lambda values: np.array(values, np.int64))
exposures = arrays(st.sampled_from([0.0, 50.0, -40.0]) | st.floats(-1e5, 1e5), 4)
equities = st.floats(1e-3, 1e6) | st.sampled_from([math.nan, -1.0])
sized = st.integers(1, 80)
minima = st.integers(2, 40)
ratios = st.floats(0.01, 0.5)
series = arrays(st.floats(1e-3, 1e6), 1, 60)
WINDOWED = st.tuples(series, st.integers(2, 25)).map(lambda given: (*given, np.full(given[0].size, math.nan)))


def with_room(given: tuple[Any, ...]) -> tuple[Any, ...]:
    """The arguments of portfolio_returns, with its three arrays to fill."""
    window = given[-1]
    return (*given[:-1], np.zeros(4, np.int64), np.zeros(window + 1, np.int64), np.zeros(window))


CASES: dict[str, Arguments] = {
    "side_price": st.tuples(prices, sides, costs),
    "market_price": st.tuples(prices, sides, costs, costs),
    "within_collar": st.tuples(levels, sides, prices),
    "distance_from": st.tuples(prices, sides, st.floats(-1.0, 1.0)),
    "is_beyond_stop": st.tuples(levels, sides, levels, costs),
    "is_through_target": st.tuples(levels, sides, levels, costs),
    "exit_in_bar": st.tuples(bars(), sides, levels, levels, costs, costs).map(lambda given: (*given[0], *given[1:])),
    "fee": st.tuples(st.floats(-1e6, 1e6), prices, costs),
    "financing": st.tuples(st.floats(-1e6, 1e6), prices, st.floats(-0.2, 0.2), st.floats(0.0, 9.0)),
    "judge_layer": st.tuples(arrays(anything, 11), arrays(anything, 12), st.integers(0, 9)),
    "judge": st.tuples(arrays(anything, 11), arrays(anything, 12), integers(10)),
    "joined": st.tuples(closes(), ends, integers(4), st.integers(0, 4), sized.map(lambda n: np.zeros(n, np.int64))),
    "simple_return": st.tuples(closes(), integers(20, 89), st.integers(0, 18), columns),
    "correlation": st.tuples(closes(), ends, columns, columns, sized, minima),
    "volatility": st.tuples(closes(), ends, columns, st.integers(2, 40)),
    "tail_index": st.tuples(st.integers(1, 1000), ratios),
    "smallest": st.tuples(arrays(anything, 40), st.integers(0, 40), st.integers(1, 9)).map(
        lambda given: (*given[:2], np.zeros(given[2]), np.zeros(given[2], np.int64))
    ),
    "loss_of": st.tuples(anything),
    "held_columns": st.tuples(exposures, integers(4)),
    "portfolio_returns": st.tuples(closes(), ends, exposures, st.floats(1.0, 1e6), sized).map(with_room),
    "value_at_risk": st.tuples(closes(), ends, exposures, equities, sized, minima, ratios),
    "correlated_count": st.tuples(
        closes(), ends, exposures, integers(4, 1), columns, sides, st.floats(-1.0, 1.0), sized, minima
    ),
    "cross_venue": st.tuples(closes(), ends, exposures, integers(4, 1), columns, sides, sized, minima),
    "measure": st.tuples(
        closes(), ends, exposures, integers(4, 1), columns, sides, equities, st.floats(-1.0, 1.0), sized, minima,
        ratios, st.integers(2, 20), arrays(anything, 11),
    ),
    "largest_exposure": st.tuples(
        arrays(st.floats(-1.0, 1.0), 9), arrays(st.floats(-1.0, 1.0), 9), st.integers(0, 9), st.floats(0.0, 1.0),
        st.integers(0, 9),
    ),
    "tail_risk": st.tuples(
        closes(), ends, exposures, columns, st.sampled_from([0.0, 50.0, -40.0]), equities, sized, minima, ratios,
        st.floats(0.0, 0.5),
    ),
    "is_stirred": st.tuples(candles(6, 3), st.integers(0, 5), st.integers(0, 2), sides, arrays(levels, 6)),
    "is_day_over_limit": st.tuples(anything, anything, arrays(prices, 7)),
    "quiet_until": st.tuples(
        candles(6, 3), st.integers(0, 2), st.integers(3, 6), arrays(prices | st.just(0.0), 2), integers(4, 1),
        integers(4, 2), signs, arrays(prices, 24).map(lambda values: values.reshape(4, 6)), arrays(prices, 4),
        arrays(prices, 7), st.just(np.zeros(6)),
    ),
    **dict.fromkeys(["mean", "deviation", "highest", "lowest", "strength"], WINDOWED),
}  # fmt: skip
KERNELS = {name: kernel for module in MODULES for name, kernel in kernels(module).items()}


def outcome(kernel: Callable[..., Any], arguments: tuple[Any, ...]) -> list[bytes]:
    """The bytes of what a kernel returns and of every array it was given; every NaN is the same."""
    given = [value.copy() if isinstance(value, np.ndarray) else value for value in arguments]
    with np.errstate(all="ignore"):  # interpreted, numpy warns where compiled code goes on
        answer = kernel(*given)
    answers = [] if answer is None else list(answer) if isinstance(answer, tuple) else [answer]
    found = [np.array(value, np.float64) for value in (*answers, *(g for g in given if isinstance(g, np.ndarray)))]
    return [np.where(np.isnan(values), math.nan, values).tobytes() for values in found]


def test_every_kernel_is_compared() -> None:
    assert set(KERNELS) == set(CASES)


@pytest.mark.parametrize("name", sorted(CASES))
@given(data=st.data())
def test_compiled_equals_interpreted_to_the_bit(name: str, data: st.DataObject) -> None:
    arguments, kernel = data.draw(CASES[name]), KERNELS[name]
    assert outcome(kernel, arguments) == outcome(kernel.py_func, arguments)  # type: ignore[attr-defined]
