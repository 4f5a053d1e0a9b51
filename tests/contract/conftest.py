"""Every test of the contract runs in every world."""

from __future__ import annotations

from collections.abc import Iterator

import ccxt
import pytest

from tests.contract.worlds import LoopbackBinance, SimulatedSpot, World
from tests.venues.binance import HOST, Binance, ccxt_config
from tests.venues.server import Server
from tests.venues.tls import Authority


@pytest.fixture(scope="session")
def binance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, ccxt.binance]]:
    authority = Authority(tmp_path_factory.mktemp("tls"), HOST)
    with Server(Binance(), authority.server_context()) as server, authority.session(server.port) as session:
        client = ccxt.binance({**ccxt_config(), "session": session})
        client.load_markets()
        yield server, client


@pytest.fixture(params=[SimulatedSpot, LoopbackBinance], ids=lambda world: world.name)
def world(request: pytest.FixtureRequest) -> World:
    kind = request.param
    return kind(*request.getfixturevalue("binance")) if kind is LoopbackBinance else kind()
