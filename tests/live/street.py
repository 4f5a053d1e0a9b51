"""Where live sessions are tested: a loopback venue whose market moves every second, and real processes that trade it.

Time is real. A session is `python -m ffe.live` in a folder of its own, with its settings and its keys; nothing of it is
in this process.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np

from ffe.live.accounts import Known, mark_of
from ffe.live.client import NoSession, ask
from ffe.live.control import name_of, socket_folder
from ffe.model import DAY, SECOND, Bar, InstrumentId, Nanos
from ffe.private import state_folder
from tests.venues import coinbase_key
from tests.venues.binance import Binance
from tests.venues.coinbase import Coinbase
from tests.venues.matching import Order, Side, exact
from tests.venues.server import Server
from tests.venues.venue import MINUTE, Venue

ROOT = Path(__file__).parents[2]
PRICES = {"BTC": 50_000.0, "ETH": 2_500.0, "SOL": 100.0}
PAST_DAYS, PAST_BARS = 70, 30
KEY, SECRET = "key", "secret"  # where nothing is kept of the account
SETTINGS = """
currency = "{quote}"
[controls]  # strategies here do in minutes what others do in months
repeats = 10000
orders_per_minute = 10000
orders_per_day = 10000
duplicate_seconds = 0.001
[venues.{name}]
source = "ccxt"
currency = "{quote}"
address = "http://127.0.0.1:{port}"
horizon_seconds = 3.0
{instruments}
{more}
"""
INSTRUMENT = """
[instruments."{base}/{quote}"]
venue = "{name}"
asset_class = "crypto"
base = "{base}"
quote = "{quote}"
fee_in_base = {fee_in_base}
"""


def own_number(folder: Path) -> str:
    """32 hex digits that no other test has: what is kept of an account is the user's, and tests run side by side."""
    return hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:32]


def forget(account: str, folder: Path) -> None:
    """Remove what was kept of a test's account, and its session's socket."""
    known = Known(mark_of(account))
    shutil.rmtree(known.root, ignore_errors=True)
    (state_folder() / f"{known.mark}.lock").unlink(missing_ok=True)
    (socket_folder() / name_of(folder / "data")).unlink(missing_ok=True)
    for head in (state_folder() / "heads").glob("*"):
        with suppress(OSError):
            if str(folder.resolve()) in head.read_text():
                head.unlink()


class Street:
    """At Binance."""

    name, quote, fee_in_base = "binance", "USDT", "true"
    interval, length = "1s", SECOND  # of the bars that are traded on
    id = "newClientOrderId"  # the parameter that our own id is sent in

    def __init__(self, folder: Path, more: str = "", **prices: float) -> None:
        self.folder, self.more, self.key = folder, more, self.own_key(folder)
        self.venue = self._venue()
        usual = {f"{base}{self.venue.SEPARATOR}{self.quote}": price for base, price in PRICES.items()}
        self.prices = {**usual, **prices}
        self.arrivals: list[tuple[Nanos, str, dict[str, str]]] = []  # requests, by when they came
        self._ends = threading.Event()
        self._random = random.Random(7)
        self.volatility = 1e-4
        self.logs = 0
        self.more_env: dict[str, str] = {}

    def _venue(self) -> Venue:
        return Binance(cash={self.quote: 100_000.0}, weight_limit=10**9, key=self.key)

    def __enter__(self) -> Street:
        self.server = Server(self.venue)
        self.server.__enter__()
        self._listen(f"http://127.0.0.1:{self.server.port}")
        self._begin()
        self._market = threading.Thread(target=self._move, name="market", daemon=True)
        self._market.start()
        words = self.words()
        instruments = "".join(INSTRUMENT.format(base=self.base(symbol), **words) for symbol in self.prices)
        settings = SETTINGS.format(port=self.server.port, instruments=instruments, more=self.more, **words)
        (self.folder / "ffe.toml").write_text(settings)
        return self

    @classmethod
    def words(cls) -> dict[str, str]:
        """What the settings of a venue and of its instruments say of it."""
        return {"name": cls.name, "quote": cls.quote, "fee_in_base": cls.fee_in_base}

    def _listen(self, address: str) -> None:
        """The venue is reached at this address."""

    def __exit__(self, *error: Any) -> None:
        self._ends.set()
        self._market.join(5)
        self.server.__exit__(*error)
        forget(self.account, self.folder)

    # ------------------------------------------------------------ the market

    def _begin(self) -> None:
        today = time.time_ns() // DAY
        for n, (symbol, price) in enumerate(self.prices.items()):
            path = np.cumprod(1.0 + 0.01 * np.random.default_rng(n).standard_normal(PAST_DAYS))
            path = np.round(path * price / path[-1], 2)
            self.venue.bars[symbol, "1d"] = [
                _bar(symbol, (today - PAST_DAYS + k) * DAY, DAY, float(close)) for k, close in enumerate(path)
            ]
            now, length = time.time_ns() // self.length * self.length, self.length
            self.venue.bars[symbol, self.interval] = [
                _bar(symbol, now - (PAST_BARS - k) * length, length, price) for k in range(PAST_BARS)
            ]
            self.venue.price(symbol, price)

    def _move(self) -> None:
        """Every second the price moves; a bar opens where it is when the one before it closes."""
        while not self._ends.wait(1.0 - time.time() % 1.0):
            now = time.time_ns() // SECOND * SECOND
            for symbol in self.prices:
                self._close(symbol, now)

    def _close(self, symbol: str, now: Nanos) -> None:
        bars = self.venue.bars[symbol, self.interval]
        while bars[-1].close_time < now:
            bars.append(_bar(symbol, bars[-1].close_time, self.length, self.prices[symbol]))
        self.prices[symbol] = round(self.prices[symbol] * (1.0 + self.volatility * self._random.gauss(0.0, 1.0)), 2)
        self.venue.price(symbol, self.prices[symbol])

    # ------------------------------------------------------------ sessions

    def start(self, strategy: str = "Churn", *options: str, symbols: str = "") -> Session:
        self.logs += 1
        names = symbols or ",".join(f"{base}/{self.quote}" for base in PRICES)
        return Session(self, strategy, names, options, self.folder / f"out{self.logs}.txt")

    @property
    def data(self) -> Path:
        return Path(self.more_env.get("FFE_DATA_FOLDER", self.folder / "data"))

    @property
    def env(self) -> dict[str, str]:
        return {
            **os.environ, "PYTHONPATH": str(ROOT), **self.keys(), **self.more_env,
        }  # fmt: skip

    @staticmethod
    def own_key(folder: Path) -> str:
        return own_number(folder)

    @property
    def account(self) -> str:
        """The id that the account is known by."""
        return hashlib.sha256(self.key.encode()).hexdigest()[:16]

    def keys(self) -> dict[str, str]:
        return {"BINANCE_API_KEY": self.key, "BINANCE_API_SECRET": SECRET}

    def ffe(self, *command: str, timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "ffe", *command], cwd=self.folder, env=self.env, capture_output=True, text=True,
            timeout=timeout,
        )  # fmt: skip

    @contextmanager
    def begun(self, *command: str) -> Iterator[subprocess.Popen[bytes]]:
        """A command that is not waited for, and killed in the end."""
        words = [sys.executable, "-m", "ffe", *command]
        with subprocess.Popen(words, cwd=self.folder, env=self.env, stdout=subprocess.DEVNULL) as process:
            try:
                yield process
            finally:
                process.kill()

    # ------------------------------------------------------------ what is so at the venue

    def base(self, symbol: str) -> str:
        return symbol.removesuffix(self.venue.SEPARATOR + self.quote)

    def instrument(self, symbol: str) -> str:
        """What a session calls the venue's symbol."""
        return f"{self.name}:{self.base(symbol)}/{self.quote}"

    def held(self, symbol: str) -> float:
        return float(self.venue.account.held.get(self.base(symbol), 0))

    def stops(self, symbol: str) -> list[Order]:
        return [order for order in self.venue.open_orders(symbol) if order.stop]

    def entries(self) -> list[Order]:
        return [order for order in self.venue.orders if order.side is Side.BUY]

    def posts(self) -> list[Any]:
        return [r for r in self.venue.requests if any(name[:2] == ("POST", "order") for name in r.names)]

    def exchange_account(self, **held: float) -> None:
        """Another account is at the venue from now on, with a key of its own, which holds this much."""
        old, self.key = self.venue, own_number(self.folder / "another")
        self.venue = self._venue()
        self.venue.bars = old.bars
        for symbol, price in self.prices.items():
            self.venue.price(symbol, price)
        for base, qty in held.items():
            self.venue.account.held[base] = exact(qty)
        self.server.app = self.venue

    def is_protected(self, symbol: str) -> bool:
        """Whether stops rest for all that can be sold, and for no more; dust, which no venue takes, has none."""
        bare = self.held(symbol) - sum(float(order.left) for order in self.stops(symbol))
        return -1e-9 <= bare * self.prices[symbol] < 10.0 and len(self.stops(symbol)) <= 1

    def is_flat(self) -> bool:
        return all(self.held(symbol) * price < 10.0 for symbol, price in self.prices.items())


class CoinbaseStreet(Street):
    """Its shortest bars are of a minute; strategies that need not wait for one go by prices."""

    name, quote, fee_in_base = "coinbase", "USD", "false"
    interval, length = "1m", MINUTE
    id = "client_order_id"

    def _venue(self) -> Venue:
        fee = 1e-4  # what Coinbase takes would end the day after a few trades, by the portfolio's stop
        return Coinbase(cash={self.quote: 100_000.0}, fee=fee, maker_fee=fee, key=self.key)

    def _listen(self, address: str) -> None:
        assert isinstance(self.venue, Coinbase)
        self.venue.host = address  # as ccxt's tokens name it

    @staticmethod
    def own_key(folder: Path) -> str:
        return coinbase_key.KEY.rpartition("/")[0] + f"/{UUID(own_number(folder))}"

    def keys(self) -> dict[str, str]:
        return {"COINBASE_API_KEY": self.key, "COINBASE_API_SECRET": coinbase_key.secret()}


class Session:
    """One `python -m ffe.live`."""

    def __init__(self, street: Street, strategy: str, symbols: str, options: tuple[str, ...], log: Path) -> None:
        self.street, self.log, self.data = street, log, street.data
        command = [sys.executable, "-m", "ffe.live", f"{ROOT}/tests/live/churn.py:{strategy}", "--symbols", symbols]
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                [*command, "--interval", street.interval, *options], cwd=street.folder, env=street.env, stdout=out,
                stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            )  # fmt: skip

    def status(self) -> dict[str, Any]:
        try:
            with closing(ask(self.data, "status")) as said:
                return dict(next(said))
        except NoSession:
            return {}

    def until(self, what: Callable[[dict[str, Any]], object], seconds: float = 40.0) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if (status := self.status()) and what(status):
                return status
            if self.process.poll() is not None:
                raise AssertionError(f"the session ended with {self.process.returncode}:\n{self.said}")
            time.sleep(0.05)
        raise AssertionError(f"not within {seconds} s: {json.dumps(self.status(), indent=1)}\n{self.said}")

    @property
    def said(self) -> str:
        return self.log.read_text()

    @property
    def engine(self) -> int:
        return int((self.data / "engine.pid").read_text().split()[0])

    def kill(self, pid: int | None = None) -> None:
        """kill -9: of the supervisor, and the engine dies with it, or of the engine alone."""
        with_it = pid if pid is not None else self.process.pid
        try:
            os.kill(with_it, signal.SIGKILL)
        except ProcessLookupError:
            return
        if pid is None:
            self.process.wait(10)

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(40)


@contextmanager
def session(street: Street, strategy: str = "Churn", *options: str, **more: str) -> Iterator[Session]:
    """A session that is ended, or killed, in the end."""
    made = street.start(strategy, *options, **more)
    try:
        yield made
    finally:
        if made.process.poll() is None:
            made.kill()


def _bar(symbol: str, opened: Nanos, interval: Nanos, close: float) -> Bar:
    return Bar(InstrumentId(f"binance:{symbol}"), interval, opened, opened + interval, close, close, close, close, 1e6)
