"""Ten facts against ten limits: at the limit, a hair below and above it, unknown, and which of them speaks first."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffe.kernels import gates
from ffe.kernels.gates import (
    CONFIDENCE,
    CONVICTION,
    CROSS,
    DATA_MISSING,
    FRESHNESS,
    FUTURE,
    LAYER_COUNT,
    PASSED,
    REFUSED,
    THIN,
    WARNED,
)
from ffe.model import LAYERS, Layer

LIMITS = (0.0, 0.0, 900.0, 0.05, 2.0, 0.05, 0.5, 0.25, 5.0, 0.05, 80.0, 5.0)
AT_LIMIT = LIMITS[:FUTURE]
EVERY = range(LAYER_COUNT)
UNKNOWN = (math.nan, math.inf, -math.inf)
facts = st.lists(
    st.sampled_from([0.0, 0.04, 0.06, 1.0, 3.0, 6.0, 79.0, 80.0, 1000.0, -6.0, *UNKNOWN]), min_size=11, max_size=11
)


def above(value: float) -> float:
    return math.nextafter(value, math.inf)


def below(value: float) -> float:
    return math.nextafter(value, -math.inf)


def judged(given: Sequence[float]) -> tuple[int, list[int]]:
    statuses = np.full(LAYER_COUNT, -1)
    first = gates.judge(np.array(given, np.float64), np.array(LIMITS), statuses)
    return first, statuses.tolist()


def with_fact(place: int, fact: float, confidence: float = 80.0) -> list[float]:
    changed = [*AT_LIMIT[:CONFIDENCE], confidence]
    changed[place] = fact
    return changed


def test_layers_stand_in_the_order_of_the_model() -> None:
    named = {gates.HOURS: Layer.MARKET_HOURS, THIN: Layer.AFTER_HOURS, FRESHNESS: Layer.FRESHNESS}
    named |= {gates.DRAWDOWN: Layer.DRAWDOWN, gates.CORRELATION: Layer.CORRELATION, gates.VAR: Layer.VAR}
    named |= {CROSS: Layer.CROSS_VENUE, gates.CONCENTRATION: Layer.CONCENTRATION, gates.LEVERAGE: Layer.LEVERAGE}
    named |= {CONVICTION: Layer.CONVICTION}
    assert tuple(named[place] for place in EVERY) == LAYERS
    assert (PASSED, WARNED, REFUSED, DATA_MISSING) == (0, 1, 2, 3)


def test_every_fact_at_its_limit_passes() -> None:
    assert judged(AT_LIMIT) == (LAYER_COUNT, [PASSED] * LAYER_COUNT)


@pytest.mark.parametrize("layer", EVERY)
def test_a_hair_below_the_limit_passes(layer: int) -> None:
    assert judged(with_fact(layer, below(LIMITS[layer])))[0] == LAYER_COUNT


@pytest.mark.parametrize("layer", EVERY)
def test_a_hair_above_the_limit_refuses_or_warns_and_touches_no_other_layer(layer: int) -> None:
    first, status = (LAYER_COUNT, WARNED) if layer in (THIN, CROSS) else (layer, REFUSED)
    statuses = [status if at == layer else PASSED for at in EVERY]
    assert judged(with_fact(layer, above(LIMITS[layer]), confidence=79.0)) == (first, statuses)


@pytest.mark.parametrize("unknown", UNKNOWN)
@pytest.mark.parametrize("layer", EVERY)
def test_unknown_fact_refuses_in_every_layer(layer: int, unknown: float) -> None:
    first, statuses = judged(with_fact(layer, unknown))
    assert (first, statuses[layer]) == (layer, DATA_MISSING)
    assert statuses.count(PASSED) == LAYER_COUNT - 1


@pytest.mark.parametrize("unknown", UNKNOWN)
def test_unknown_confidence_refuses_however_calm_the_market(unknown: float) -> None:
    assert judged([*AT_LIMIT[:CONFIDENCE], unknown])[0] == CONVICTION


@pytest.mark.parametrize(
    ("volatility", "confidence", "status"),
    [
        (above(0.05), below(80.0), REFUSED),
        (above(0.05), 80.0, PASSED),
        (0.05, below(80.0), PASSED),
        (0.05, 0.0, PASSED),
        (10.0, 100.0, PASSED),
        (10.0, 0.0, REFUSED),
    ],
)
def test_conviction_refuses_only_a_wild_market_and_a_weak_signal(
    volatility: float, confidence: float, status: int
) -> None:
    assert judged(with_fact(CONVICTION, volatility, confidence))[1][CONVICTION] == status


@pytest.mark.parametrize(("age", "status"), [
    (0.0, PASSED), (-5.0, PASSED), (below(-5.0), REFUSED), (-3600.0, REFUSED), (900.0, PASSED), (above(900.0), REFUSED),
])  # fmt: skip
def test_quote_may_be_a_little_ahead_and_not_too_old(age: float, status: int) -> None:
    assert judged(with_fact(FRESHNESS, age))[1][FRESHNESS] == status


@pytest.mark.parametrize("layer", [at for at in EVERY if at != FRESHNESS])
def test_only_freshness_minds_a_negative_fact(layer: int) -> None:
    assert judged(with_fact(layer, -1e9))[1][layer] == PASSED


def in_words(given: Sequence[float], layer: int) -> int:
    """A layer's status, said anew from the rules."""
    fact, over = given[layer], given[layer] > LIMITS[layer]
    if math.isnan(fact) or math.isinf(fact):
        return DATA_MISSING
    if layer == CONVICTION:
        confidence = given[CONFIDENCE]
        return DATA_MISSING if not math.isfinite(confidence) else REFUSED if over and confidence < 80 else PASSED
    if layer in (THIN, CROSS):
        return WARNED if over else PASSED
    return REFUSED if over or (layer == FRESHNESS and fact < -5) else PASSED


@given(facts)
def test_all_layers_are_judged_and_the_first_refusal_is_the_reason(given: list[float]) -> None:
    expected = [in_words(given, layer) for layer in EVERY]
    refusing = [layer for layer in EVERY if expected[layer] in (REFUSED, DATA_MISSING)]
    assert judged(given) == (min(refusing, default=LAYER_COUNT), expected)
