"""Unmodified ccxt clients, at their production addresses, in front of venues on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ccxt

from tests.venues import binance, coinbase
from tests.venues.server import Server
from tests.venues.tls import Authority


@contextmanager
def at_binance(folder: Path) -> Iterator[tuple[Server, ccxt.binance]]:
    """A server whose app is the venue of the moment, and a client that knows its markets."""
    authority = Authority(folder, binance.HOST)
    with (
        Server(binance.Binance(), authority.server_context()) as server,
        authority.session(server.port) as session,
    ):
        client = ccxt.binance({**binance.ccxt_config(), "session": session})
        client.load_markets()
        yield server, client


@contextmanager
def at_coinbase(folder: Path) -> Iterator[tuple[Server, ccxt.coinbase]]:
    """A server whose app is the venue of the moment, and a client that knows its markets."""
    authority = Authority(folder, coinbase.HOST)
    with (
        Server(coinbase.Coinbase(), authority.server_context()) as server,
        authority.session(server.port) as session,
    ):
        client = ccxt.coinbase({**coinbase.ccxt_config(), "session": session})
        client.load_markets()
        yield server, client
