"""What was attacked from outside and held: encryption, addresses, names and requirements. It stays so."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import ccxt
import pytest

from ffe.config import VenueSettings
from ffe.data import sources
from ffe.data.cache import Cache
from ffe.errors import FfeError
from ffe.model import HOUR, Symbol
from ffe.research.load import load_bars
from ffe.wire.connect import ccxt_client
from ffe.wire.errors import Unclear
from ffe.wire.oanda_wire import OandaClient
from tests.data.test_sources import BTC, HEAD, ROWS, THREE, written
from tests.venues.server import Reply, Request, Server
from tests.venues.tls import Authority

ROOT = Path(__file__).parents[1]


@contextmanager
def listening(context: ssl.SSLContext | None = None) -> Iterator[tuple[int, list[Request]]]:
    """A port of this machine, and what was asked there."""
    asked: list[Request] = []

    def app(request: Request) -> Reply:
        asked.append(request)
        return Reply({})

    with Server(app, context) as server:
        yield server.port, asked


# ---------------------------------------------------------------- encryption


@pytest.mark.parametrize("host", ["127.0.0.1", "evil.example"])
def test_oanda_is_sent_no_token_without_a_certificate_of_its_own_that_somebody_vouches_for(
    tmp_path: Path, host: str
) -> None:
    """The one authority is nobody's; the other is trusted, and its certificate is of another host."""
    authority = Authority(tmp_path, host)
    trust = ssl.create_default_context(cafile=str(authority.ca_file)) if host == "evil.example" else None
    with listening(authority.server_context()) as (port, asked):
        client = OandaClient("token", "1", f"https://127.0.0.1:{port}", timeout=5.0, trust=trust)
        with pytest.raises(Unclear, match=r"(?i)certificate"):
            client.get("accounts")
    assert asked == []


def test_exchange_is_sent_no_key_without_a_certificate_that_somebody_vouches_for(tmp_path: Path) -> None:
    with listening(Authority(tmp_path, "127.0.0.1").server_context()) as (port, asked):
        client = ccxt_client("binance", VenueSettings(source="ccxt", address=f"https://127.0.0.1:{port}"))
        client.apiKey, client.secret = "key", "secret"
        with pytest.raises(ccxt.NetworkError) as caught:
            client.fetch_balance()
    assert "certificate verify failed" in repr(caught.value.__cause__) and asked == []


# ---------------------------------------------------------------- names are names


@pytest.mark.parametrize("scheme", ["http", "https", "s3", "file"])
@pytest.mark.parametrize("name", ["bars.csv", "bars.parquet"])
def test_bars_are_read_from_this_machine_alone(scheme: str, name: str) -> None:
    with listening() as (port, asked), pytest.raises(FfeError, match="no such file"):
        load_bars(f"{scheme}://127.0.0.1:{port}/{name}", "1h", symbol="BTC/USD")
    assert asked == []


@pytest.mark.parametrize("symbol", ["'; DROP TABLE bars; --", '" OR 1=1 --', "%", "_", "a'b"])
def test_symbol_is_never_part_of_a_statement(symbol: str, tmp_path: Path) -> None:
    cache, path = Cache(tmp_path / "cache.duckdb"), written(tmp_path, HEAD + ROWS)
    named = [replace(BTC, symbol=Symbol(name)) for name in (symbol, "plain")]
    first, last = (int(time) for time in (THREE.open_time[0], THREE.close_time[-1]))
    for instrument in named:
        cache.put(sources.from_csv(path, instrument, HOUR))
    assert {held.symbol for held in cache.series()} == {symbol, "plain"}
    for instrument in named:
        assert len(cache.get(instrument, HOUR, first, last)) == 3


def test_requirements_are_pinned_and_hashed_every_one() -> None:
    """A registry that was broken into serves nothing else."""
    text = (ROOT / "constraints.txt").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith((" ", "#"))]
    pinned = re.compile(r"[\w.-]+(\[[\w,-]+\])?==\S+ .*--hash=sha256:[0-9a-f]{64}")
    assert len(lines) > 100 and not [line for line in lines if not pinned.match(line)]
