"""Every test of the contract runs in every world."""

from __future__ import annotations

import pytest

from tests.contract.worlds import LoopbackBinance, SimulatedSpot, World


@pytest.fixture(params=[SimulatedSpot, LoopbackBinance], ids=lambda world: world.name)
def world(request: pytest.FixtureRequest) -> World:
    kind = request.param
    return kind(*request.getfixturevalue("binance")) if kind is LoopbackBinance else kind()
