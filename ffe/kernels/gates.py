"""How ten facts are judged against ten limits, in the order of `ffe.model.LAYERS`.

A test is written `not fact <= limit`, so that ignorance refuses; a fact that is not finite is DATA_MISSING, whatever
the layer, those that only warn included. facts holds the confidence behind the ten.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ffe.kernels.compiled import compiled

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]

PASSED, WARNED, REFUSED, DATA_MISSING = 0, 1, 2, 3
HOURS, THIN, FRESHNESS, DRAWDOWN, CORRELATION, VAR, CROSS, CONCENTRATION, LEVERAGE, CONVICTION = range(10)
CONFIDENCE = 10  # its place in facts, and its floor's place in limits
FUTURE = 11  # limits only: by how many seconds a quote may be ahead of the engine
LAYER_COUNT = 10


@compiled
def judge_layer(facts: Floats, limits: Floats, layer: int) -> int:
    """The status of one layer."""
    fact = facts[layer]
    if not math.isfinite(fact):
        return DATA_MISSING
    if layer == CONVICTION:
        if not math.isfinite(facts[CONFIDENCE]):
            return DATA_MISSING
        return REFUSED if not fact <= limits[layer] and not facts[CONFIDENCE] >= limits[CONFIDENCE] else PASSED
    if fact <= limits[layer] and not (layer == FRESHNESS and fact < -limits[FUTURE]):
        return PASSED
    return WARNED if layer in (THIN, CROSS) else REFUSED


@compiled
def judge(facts: Floats, limits: Floats, statuses: Codes) -> int:
    """Judge every layer, keep every status, and return the first layer that refused (LAYER_COUNT: none did)."""
    first = LAYER_COUNT
    for layer in range(LAYER_COUNT):
        statuses[layer] = judge_layer(facts, limits, layer)
        if statuses[layer] >= REFUSED and first == LAYER_COUNT:
            first = layer
    return first
