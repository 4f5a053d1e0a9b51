"""Windows are summed anew: the same number on a long history and on its tail, and the numbers numpy says."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view

from ffe.kernels import windows
from tests.kernels.values import Floats, walk

KERNELS = {"mean": 0, "deviation": 0, "highest": 0, "lowest": 0, "strength": 1}  # and how many values more they need


def run(name: str, values: Floats, window: int) -> Floats:
    out = np.full(values.size, math.nan)
    getattr(windows, name)(values, window, out)
    return out


@pytest.mark.parametrize("name", KERNELS)
@given(st.integers(0, 2**32 - 1), st.integers(2, 20), st.integers(0, 60))
def test_tail_gives_the_same_bits_as_the_full_history(name: str, seed: int, window: int, cut: int) -> None:
    values, needed = walk(seed, 100)[:, 0].copy(), window + KERNELS[name]
    tail, full = run(name, values[cut:], window), run(name, values, window)
    assert tail[needed - 1 :].tobytes() == full[cut + needed - 1 :].tobytes()


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("size", range(9))
def test_too_few_values_give_none(name: str, size: int) -> None:
    values, needed = np.arange(1.0, size + 1.0), 5 + KERNELS[name]
    assert np.isfinite(run(name, values, 5)).tolist() == [at >= needed - 1 for at in range(size)]


@given(st.integers(0, 2**32 - 1), st.integers(2, 20))
def test_windows_say_what_numpy_says(seed: int, window: int) -> None:
    values = walk(seed, 60)[:, 0].copy()
    seen = sliding_window_view(values, window)
    assert run("mean", values, window)[window - 1 :] == pytest.approx(seen.mean(1), rel=1e-12)
    assert run("deviation", values, window)[window - 1 :] == pytest.approx(seen.std(1, ddof=1), rel=1e-9)
    assert run("highest", values, window)[window - 1 :].tolist() == seen.max(1).tolist()
    assert run("lowest", values, window)[window - 1 :].tolist() == seen.min(1).tolist()


@given(st.integers(0, 2**32 - 1), st.integers(1, 20))
def test_strength_weighs_gains_against_losses(seed: int, window: int) -> None:
    values = walk(seed, 60)[:, 0].copy()
    changes = sliding_window_view(np.diff(values), window)
    gains, losses = np.maximum(changes, 0.0).sum(1), np.maximum(-changes, 0.0).sum(1)
    assert run("strength", values, window)[window:] == pytest.approx(100.0 * gains / (gains + losses), rel=1e-9)


@pytest.mark.parametrize(("values", "strength"), [
    ([1.0, 1.0, 1.0], 50.0), ([1.0, 2.0, 3.0], 100.0), ([3.0, 2.0, 1.0], 0.0), ([1.0, 3.0, 2.0], 100.0 * 2.0 / 3.0),
    ([1.0, 1.0, 1.25], 100.0),
])  # fmt: skip
def test_strength_of_three_closes(values: list[float], strength: float) -> None:
    assert run("strength", np.array(values), 2)[2] == strength
