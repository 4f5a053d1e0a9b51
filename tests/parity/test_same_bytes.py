"""The same run is the same bytes: twice in one process, and in processes that hash their strings differently."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from ffe.brokers.faults import Chaos
from ffe.brokers.sim import Deposit
from ffe.config import Settings
from ffe.feeds.synthetic import synthetic
from ffe.hours import instant
from ffe.model import DAY, HOUR, Act, Command, Currency, Disposition
from ffe.records.chain import DECISIONS, EQUITY, JOURNAL
from ffe.research.backtest import World, backtest
from ffe.research.result import Result
from strategies.ma_cross import MaCross

ROOT = Path(__file__).parents[2]
START = instant("2024-01-01")
SYMBOLS = ("BTC/USD", "ETH/USD", "SOL/USD", "EUR/USD", "GBP/USD", "USD/JPY")
WORLD = World(
    faults={"coinbase": [Chaos(3, 0.1)], "oanda": [Chaos(4, 0.1)]},
    flows={"coinbase": [Deposit(START + 50 * DAY, 20_000.0, Currency("USD"))]},
    script=[Command(START + 60 * DAY, Act.EMERGENCY_STOP, "test"), Command(START + 70 * DAY, Act.CLOSE_ALL, "test")],
)


def play(folder: Path) -> Result:
    """Three months on two venues, with faults, a deposit and an operator."""
    settings, cross = Settings(), MaCross(fast=6, slow=24, confidence=80)
    instruments = [settings.instrument(symbol) for symbol in SYMBOLS]
    bars = synthetic(instruments, HOUR, START, 90 * 24, 11, volatility=0.3, correlation=0.2)
    return backtest(cross, bars, settings, start=START + 40 * DAY, world=WORLD, records=folder)


def written(folder: Path) -> list[bytes]:
    """Everything that a run leaves, byte for byte."""
    (run,) = folder.iterdir()
    return [(run / name).read_bytes() for name in (JOURNAL, DECISIONS, EQUITY)]


def started(folder: Path, hash_seed: str) -> subprocess.Popen[bytes]:
    """The same in a process of its own."""
    code = f"import sys, pathlib; from {__name__} import play; play(pathlib.Path(sys.argv[1]))"
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    return subprocess.Popen([sys.executable, "-c", code, str(folder)], cwd=ROOT, env=environment)


def test_same_run_twice_leaves_the_same_bytes(tmp_path: Path) -> None:
    result = play(tmp_path / "a")
    play(tmp_path / "b")
    assert written(tmp_path / "a") == written(tmp_path / "b")
    assert result.dispositions[Disposition.SENT] > 50


def test_no_byte_depends_on_how_a_process_hashes(tmp_path: Path) -> None:
    folders = [tmp_path / seed for seed in ("1", "2")]
    processes = [started(folder, folder.name) for folder in folders]
    assert [process.wait() for process in processes] == [0, 0]
    assert written(folders[0]) == written(folders[1])
