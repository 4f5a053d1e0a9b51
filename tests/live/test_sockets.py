"""Nothing of ours leaves this machine unless somebody has said so: looked at where it would leave, at the socket.

A hook in every process writes down whom it asks for beyond this machine, and refuses. `ffe data fetch` is somebody's
word to fetch, and no part of this.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import pytest

from tests.live.street import ROOT, Street, session

IDLE = f"{ROOT}/tests/live/churn.py:Idle"
KEYS = {
    f"{venue}_API_{what}": "0123456789abcdef"
    for venue, what in product(("OANDA", "COINBASE", "BINANCE"), ("KEY", "SECRET", "PASSWORD"))
} | {"OANDA_ACCOUNT_ID": "101-004-1234567-001", "ALPHA_VANTAGE_API_KEY": "demo"}
PROXY = "http://192.0.2.1:3128"
PROXIES = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"), PROXY)
ODD = {
    "LIVE": "1", "USE_SANDBOX": "false", "FFE_ENV": "production", "ARMED": "live", "FFE_ARMED": "live",
    "BINANCE_SANDBOX": "0", "OANDA_ENVIRONMENT": "live", "OANDA_BASE_URL": "https://api-fxtrade.oanda.com",
}  # fmt: skip
BINANCE = """
[venues.binance]
source = "ccxt"
currency = "USDT"
{address}
[instruments."BTC/USDT"]
venue = "binance"
asset_class = "crypto"
base = "BTC"
quote = "USDT"
"""
OANDA = '[venues.oanda]\naddress = "{address}"\n'
ENVIRONMENTS = {"none": {}, "keys": KEYS, "odd": KEYS | ODD, "proxies": KEYS | PROXIES}
CONFIGS = {
    "none": "",
    "no address": BINANCE.format(address=""),
    "an address": BINANCE.format(address='address = "https://api.binance.com"') + OANDA.format(address=PROXY),
    "the practice account": OANDA.format(address="https://api-fxpractice.oanda.com"),
    "a sandbox's name": BINANCE.format(address='exchange = "binanceus"') + "use_sandbox = true",
}
COMMANDS = [
    *(f"ffe.live {IDLE} --symbols {symbol}" for symbol in ("EUR/USD", "BTC/USD", "BTC/USDT", "EUR/USD,BTC/USD")),
    f"ffe.live {IDLE} --symbols EUR/USD --live", f"ffe.live {IDLE} --symbols EUR/USD --live --arming ffe.toml",
    f"ffe.live {IDLE} --symbols EUR/USD --arming ffe.toml",
    *(f"ffe {word}" for word in ("status", "stop", "stop --force", "close-all", "re-arm", "config", "data list")),
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Case:
    folder: Path
    env: dict[str, str]
    command: str


class Guarded:
    """Processes under the hook, and what it wrote down."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.record = folder, folder / "connections.txt"
        self.env = {
            "PYTHONPATH": f"{ROOT}/tests/live/guard:{ROOT}", "CONNECTIONS": str(self.record),
        }  # fmt: skip

    def run(self, cases: list[Case]) -> list[tuple[str, str]]:
        """Exit code and output of each."""
        out = self.folder / "out.json"
        asked = [{"folder": str(case.folder), "env": case.env, "command": case.command.split()} for case in cases]
        done = subprocess.run(
            [sys.executable, f"{ROOT}/tests/live/guard/many.py", str(out)], input=json.dumps(asked), text=True,
            env={**os.environ, **self.env}, capture_output=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return [(code, said) for code, said in json.loads(out.read_text())]

    def place(self, name: str, config: str, dotenv: dict[str, str] | None = None) -> Path:
        folder = self.folder / name.replace(" ", "_")
        folder.mkdir()
        (folder / "ffe.toml").write_text(config)
        (folder / ".env").write_text("".join(f"{key}={value}\n" for key, value in (dotenv or {}).items()))
        (folder / ".env").chmod(0o600)
        return folder

    @property
    def left(self) -> str:
        return self.record.read_text() if self.record.exists() else ""


@pytest.fixture
def guarded(tmp_path: Path) -> Guarded:
    return Guarded(tmp_path)


def test_without_somebodys_word_no_command_leaves_this_machine(guarded: Guarded) -> None:
    places = [guarded.place(name, config) for name, config in CONFIGS.items()]
    dotenv = guarded.place("dotenv", BINANCE.format(address=""), KEYS | PROXIES | ODD)
    cases = [Case(place, env, command) for place, env, command in product(places, ENVIRONMENTS.values(), COMMANDS)] + [
        Case(dotenv, {}, command) for command in COMMANDS
    ]
    for case, (code, said) in zip(cases, guarded.run(cases), strict=True):
        assert code in "01" and "Traceback" not in said, (case, said)
        assert code == "1" or not case.command.startswith("ffe.live"), (case, said)
    assert guarded.left == ""


def test_a_backtest_leaves_this_machine_never(guarded: Guarded) -> None:
    place = guarded.place("samples", "")
    command = f"ffe backtest {ROOT}/strategies/ma_cross.py:MaCross --symbols AAPL --to 2008-01-01"
    ((code, said),) = guarded.run([Case(place, KEYS | PROXIES, command)])
    assert code == "0", said
    assert guarded.left == ""


def test_a_loopback_venue_is_spoken_to_past_any_proxy(guarded: Guarded) -> None:
    nobody = "http://127.0.0.1:9"
    binance = guarded.place("binance", BINANCE.format(address=f'address = "{nobody}"'))
    oanda = guarded.place("oanda", OANDA.format(address=nobody))
    cases = [
        Case(binance, KEYS | PROXIES, f"ffe.live {IDLE} --symbols BTC/USDT"),
        Case(oanda, KEYS | PROXIES, f"ffe.live {IDLE} --symbols EUR/USD"),
    ]
    for code, said in guarded.run(cases):
        assert code == "1" and "cannot be traded at" in said, said
    assert guarded.left == ""


def test_with_the_word_for_practice_money_it_asks_for_that_and_for_nothing_else(guarded: Guarded) -> None:
    """Which proves the hook as well."""
    binance, oanda = guarded.place("binance", BINANCE.format(address="")), guarded.place("oanda", "")
    cases = [
        Case(binance, KEYS, f"ffe.live {IDLE} --symbols BTC/USDT --sandbox"),
        Case(oanda, KEYS, f"ffe.live {IDLE} --symbols EUR/USD --sandbox"),
    ]
    assert [code for code, _ in guarded.run(cases)] == ["1", "1"]
    asked = {line.split()[1] for line in guarded.left.splitlines()}
    assert asked == {"testnet.binance.vision", "api-fxpractice.oanda.com"}


def test_a_session_at_a_loopback_venue_and_its_emergency_stop_leave_this_machine_never(tmp_path: Path) -> None:
    guarded = Guarded(tmp_path)
    with Street(tmp_path) as street:
        street.more_env = KEYS | PROXIES | guarded.env | street.keys()
        with session(street, "Holds") as one:
            one.until(lambda s: s.get("life") == "trading" and s["trades"] and s["trades"][0]["is_protected"])
            assert street.ffe("status").returncode == 0
            one.kill()
        stopped = street.ffe("stop", "--force")
        assert stopped.returncode == 0 and street.is_flat(), stopped.stdout + stopped.stderr
    assert guarded.left == ""
