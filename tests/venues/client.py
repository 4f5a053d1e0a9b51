"""The unmodified ccxt client, at its production addresses, in front of a venue on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ccxt

from tests.venues.binance import HOST, Binance, ccxt_config
from tests.venues.server import Server
from tests.venues.tls import Authority


@contextmanager
def at_binance(folder: Path) -> Iterator[tuple[Server, ccxt.binance]]:
    """A server whose app is the venue of the moment, and a client that knows its markets."""
    authority = Authority(folder, HOST)
    with Server(Binance(), authority.server_context()) as server, authority.session(server.port) as session:
        client = ccxt.binance({**ccxt_config(), "session": session})
        client.load_markets()
        yield server, client
