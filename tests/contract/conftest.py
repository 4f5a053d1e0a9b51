"""Every test of the contract runs in every world."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal

import pytest

from ffe.wire.oanda_wire import OandaClient
from tests.contract.worlds import (
    START,
    LoopbackBinance,
    LoopbackCoinbase,
    LoopbackOanda,
    SimulatedMargin,
    SimulatedSpot,
    World,
)  # fmt: skip
from tests.venues.oanda import Oanda
from tests.venues.oanda_values import Instrument

WORLDS = (SimulatedSpot, LoopbackBinance, LoopbackCoinbase, SimulatedMargin, LoopbackOanda)


@pytest.fixture(params=WORLDS, ids=lambda world: world.name)
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    kind = request.param
    if kind is LoopbackBinance:
        yield kind(*request.getfixturevalue("binance"))
    elif kind is LoopbackCoinbase:
        yield kind(*request.getfixturevalue("coinbase"))
    elif kind is LoopbackOanda:
        pair = Instrument("EUR_USD", half_spread=Decimal(0))
        with (
            Oanda(lambda: START, instruments=[pair], fill_on_next_price=True) as venue,
            closing(OandaClient("loopback", venue.id, venue.url, timeout=2.0)) as client,
        ):
            yield kind(venue, client)
    else:
        yield kind()
