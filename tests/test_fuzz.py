"""Bytes that nobody meant, at every place where a file or a wire comes in: an error of ours or an answer, and never a
traceback, a wait without an end, or memory that grows.

Each place starts from something good, which a seed cuts, doubles, swaps and overwrites. `-m campaign` goes on for
minutes and prints the seeds.
"""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from random import Random

import duckdb
import pytest

import ffe
from ffe.config import load_settings
from ffe.data import sources
from ffe.data.cache import Cache
from ffe.errors import FfeError
from ffe.live import arming
from ffe.live.recovery import left_in
from ffe.live.task import Task
from ffe.model import HOUR
from ffe.records import reader
from ffe.records.kept import kept
from ffe.records.verify import verify
from ffe.wire.errors import Denied, NotThere, Unclear
from ffe.wire.oanda_wire import OandaClient, OandaMarket
from strategies.ma_cross import MaCross
from tests.data.values import BTC
from tests.live.test_clients import Door
from tests.parity.test_wake import coins
from tests.records.values import story, write_live
from tests.venues.server import Reply, Request, Server

ROUNDS, CAMPAIGN_SECONDS = 60, 75.0
LONGEST_SECONDS = 10.0  # of one round
MOST_GROWTH = 200 << 10  # KiB
PIECES = (
    b"",
    b"\0",
    b"\xff",
    b"[" * 5_000,
    b"{" * 100,
    b'"',
    b"\n",
    b",",
    b"1e999",
    b"NaN",
    b"null",
    b"-1",
    b"9" * 400,
    b"[]",
    b"{}",
    b"\x1b[2J",
    b"../../etc/passwd",
    b"%s%n",
    b"'; DROP TABLE bars; --",
    "\ud83d\ude00".encode("utf-8", "surrogatepass"),
    b"true",
)

Round = Callable[[bytes], object]


def mutated(random: Random, good: bytes) -> bytes:
    data = bytearray(good)
    for _ in range(random.choice((1, 1, 2, 5, 20))):
        at, end = sorted(random.randrange(len(data) + 1) for _ in range(2))
        match random.randrange(5):
            case 0:
                data[at:end] = b""
            case 1:
                data[at:at] = data[at : min(end, at + 4_096)]
            case 2:
                data[at : at + random.randrange(12)] = random.choice(PIECES)
            case 3:
                data[at : at + 1] = bytes([random.randrange(256)])
            case 4:
                data[at:at] = random.randbytes(random.randrange(32))
    return bytes(data[: 1 << 20])


class Place:
    """Where bytes come in: something good, and what takes it."""

    def __init__(self, good: bytes, take: Round) -> None:
        self.good, self.take = good, take


# ---------------------------------------------------------------- the places


def socket_of(folder: Path) -> Iterator[Place]:
    door = Door(folder)

    def take(data: bytes) -> None:
        end = door.connect()
        end.setblocking(False)
        with suppress(OSError):
            end.send(data)
        door.turn(4)
        end.close()
        door.turn(1)
        assert door.serves()
        door.asked.clear()
        while door.ends:
            door.ends.pop().close()

    yield Place(b'{"act": "status"}\n{"act": "close", "instrument": "a:b", "by": "c"}\n', take)
    door.close()


def run_of(folder: Path) -> Iterator[Place]:
    run = ffe.backtest(
        MaCross(fast=2, slow=3, confidence=85), coins(bars=60), ffe.load_settings(), records=folder / "runs"
    ).folder
    files = [run / name for name in ("journal.jsonl", "decisions.jsonl", "equity.npy")]
    for file in files:
        file.chmod(0o600)
    goods = {file: file.read_bytes() for file in files}
    joined = b"\x1e\x1e".join(goods.values())

    def take(data: bytes) -> None:
        for file, part in zip(files, [*data.split(b"\x1e\x1e", 2), b"", b""], strict=False):
            file.write_bytes(part)
        verify(run, kept(run, verify(run).sessions))
        with suppress(FfeError):
            list(reader.records(run))
        with suppress(FfeError):
            list(reader.lines(run))

    yield Place(joined, take)


def journal_of(folder: Path) -> Iterator[Place]:
    write_live(folder, story(8))
    file = max((folder / "journal").iterdir())

    def take(data: bytes) -> None:
        file.write_bytes(data)
        verify(folder)
        left = left_in(folder)
        left.check()
        left.held()

    yield Place(file.read_bytes(), take)


def settings_of(folder: Path) -> Iterator[Place]:
    file = folder / "ffe.toml"
    good = b'currency = "USD"\n[gate]\nvar_ratio = 0.03\n[venues.binance]\nsource = "ccxt"\naddress = "http://127.0.0.1:9"\n'
    yield Place(good, lambda data: (file.write_bytes(data), load_settings(file)))


def arming_of(folder: Path) -> Iterator[Place]:
    file = folder / "arming.json"
    file.touch(mode=0o600)
    facts = {
        "accounts": {"oanda": "1"},
        "data_folder": "/d",
        "limits": {"a": 1.0},
        "config": "c",
        "code": "d",
        "strategy": "e",
        "parameters": {},
        "symbols": ["f"],
        "interval": HOUR,
        "versions": {},
        "signed": 1,
        "expires": 2,
        "signature": "",
    }
    yield Place(json.dumps(facts).encode(), lambda data: (file.write_bytes(data), arming._read(file).untimely(1)))


def task_of(folder: Path) -> Iterator[Place]:
    task = Task(strategy="a:b", symbols=["BTC/USD"], interval="1h", settings=ffe.load_settings())
    task.keep(folder)
    file = folder / "task.json"
    yield Place(file.read_bytes(), lambda data: (file.write_bytes(data), Task.kept(folder)))


BARS = b"time,open,high,low,close,volume\n" + b"".join(
    b"2024-01-01 %02d:00:00,99.5,101,99,100,7\n" % hour for hour in range(20)
)


def csv_of(folder: Path) -> Iterator[Place]:
    file = folder / "bars.csv"
    yield Place(BARS, lambda data: (file.write_bytes(data), sources.from_csv(file, BTC, HOUR)))


def parquet_of(folder: Path) -> Iterator[Place]:
    (folder / "bars.csv").write_bytes(BARS)
    file = folder / "bars.parquet"
    duckdb.read_csv(str(folder / "bars.csv")).write_parquet(str(file))
    yield Place(file.read_bytes(), lambda data: (file.write_bytes(data), sources.from_parquet(file, BTC, HOUR)))


def cache_of(folder: Path) -> Iterator[Place]:
    (folder / "bars.csv").write_bytes(BARS)
    cache = Cache(folder / "cache.duckdb", patience=1.0)
    cache.put(sources.from_csv(folder / "bars.csv", BTC, HOUR))
    yield Place(cache.path.read_bytes(), lambda data: (cache.path.write_bytes(data), cache.series(), cache.coverage()))


def answers_of(folder: Path) -> Iterator[Place]:
    """What a venue says, translated."""
    said = [b""]
    good = {
        "prices": [
            {"instrument": "EUR_USD", "time": "1704067200.0", "bids": [{"price": "1.1"}], "asks": [{"price": "1.2"}]}
        ]
    }
    eur = ffe.load_settings().instrument("EUR/USD")

    def answer(request: Request) -> Reply:
        return Reply(said[0], 200, {"Content-Type": "application/json"})

    with Server(answer) as server:
        market = OandaMarket(OandaClient("token", "1", f"http://127.0.0.1:{server.port}", timeout=5.0))

        def take(data: bytes) -> None:
            said[0] = data
            with suppress(Denied, NotThere, Unclear):
                market.quotes([eur])

        yield Place(json.dumps(good).encode(), take)


PLACES = {
    "control socket": socket_of,
    "run": run_of,
    "live journal": journal_of,
    "settings": settings_of,
    "arming file": arming_of,
    "task": task_of,
    "csv": csv_of,
    "parquet": parquet_of,
    "cache": cache_of,
    "a venue's answers": answers_of,
}


def tried(place: Place, seed: int) -> None:
    began = time.monotonic()
    with suppress(FfeError):
        place.take(mutated(Random(seed), place.good))
    assert time.monotonic() - began < LONGEST_SECONDS, seed


def grown() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@pytest.mark.parametrize("name", PLACES)
def test_bytes_that_nobody_meant_are_an_error_of_ours_or_an_answer(name: str, tmp_path: Path) -> None:
    for place in PLACES[name](tmp_path):
        with suppress(FfeError):
            place.take(place.good)
        for seed in range(ROUNDS):
            tried(place, seed)


@pytest.mark.campaign
@pytest.mark.parametrize("name", PLACES)
def test_bytes_that_nobody_meant_for_minutes(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = seed = int(time.time())
    for place in PLACES[name](tmp_path):
        tried(place, seed)
        before, end = grown(), time.monotonic() + CAMPAIGN_SECONDS
        while time.monotonic() < end:
            seed += 1
            tried(place, seed)
        assert grown() - before < MOST_GROWTH
    with capsys.disabled():
        print(f"\n{name}: seeds {first} to {seed}, {grown() - before >> 10} MiB more")
