"""A session at OANDA from its first breath to its last: a trade behind stop and target, kill -9, recovery, an end that
leaves what is open protected.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import pytest

from ffe.model import DAY, SECOND, Nanos
from tests.live.street import Street, forget, own_number, session
from tests.venues.oanda import Oanda
from tests.venues.oanda_candles import Bar
from tests.venues.oanda_values import Instrument

TOKEN, PAIR, STEP = "token", "EUR_USD", 5 * SECOND
SETTINGS = """
currency = "USD"
[venues.oanda]
source = "oanda"
currency = "USD"
kind = "margin"
address = "{url}"
horizon_seconds = 3.0
"""
INSTRUMENT = """
[instruments."{base}/USD"]
venue = "oanda"
asset_class = "forex"
base = "{base}"
quote = "USD"
hours = "24/7"
shortable = true
margin_ratio = 0.05
"""


def settings_of(url: str, *pairs: str) -> str:
    instruments = [INSTRUMENT.format(base=pair.removesuffix("_USD")) for pair in pairs or (PAIR,)]
    return "".join([SETTINGS.format(url=url), *instruments])


class OandaStreet(Street):
    """The market moves every second; bars are of five. It is always open, for a test may run on a Sunday."""

    def __init__(self, folder: Path, venue: Oanda, pairs: tuple[str, ...]) -> None:
        self.folder, self.at_oanda, self.logs = folder, venue, 0
        self.more_env = {}
        (folder / "ffe.toml").write_text(settings_of(venue.url, *pairs))

    @property
    def account(self) -> str:
        return self.at_oanda.id

    def keys(self) -> dict[str, str]:
        return {"OANDA_API_KEY": TOKEN, "OANDA_ACCOUNT_ID": self.at_oanda.id}

    def levels(self) -> list[str]:
        """What rests, on trades of ours."""
        return sorted(order.type for order in self.at_oanda.orders.values() if order.state == "PENDING")


def bar(opened: Nanos, length: Nanos, price: Decimal) -> Bar:
    return Bar(opened, opened + length, price, price, price, price)


def past(now: Nanos, pair: str) -> Iterator[Bar]:
    """Ninety days whose closes differ, from pair to pair as well, and the last minute."""
    today, chance = now // DAY, random.Random(pair)
    for n in range(90):
        yield bar((today - 90 + n) * DAY, DAY, Decimal("1.25") + Decimal(chance.randrange(5)) / 200)
    for opened in range(today * DAY, now // STEP * STEP, STEP):
        yield bar(opened, STEP, Decimal("1.25"))


@contextmanager
def street(folder: Path, *pairs: str) -> Iterator[OandaStreet]:
    pairs, ends, number = pairs or (PAIR,), threading.Event(), int(own_number(folder), 16)
    id = f"101-004-{number % 10**7:07d}-{number // 10**7 % 1000:03d}"
    with Oanda(time.time_ns, instruments=[Instrument(pair) for pair in pairs], id=id, token=TOKEN) as venue:
        for pair in pairs:
            venue.bars(pair, past(time.time_ns(), pair))
            venue.mid(pair, "1.25")
        market = threading.Thread(target=moves, args=(venue, pairs, ends), daemon=True)
        market.start()
        try:
            yield OandaStreet(folder, venue, pairs)
        finally:
            ends.set()
            market.join(5)
            forget(id, folder)


def moves(venue: Oanda, pairs: tuple[str, ...], ends: threading.Event) -> None:
    closed = time.time_ns() // STEP * STEP
    for n in range(10**6):
        if ends.wait(0.5):
            return
        mid = Decimal("1.25") + Decimal(n % 3) / 10_000
        for pair in pairs:
            venue.mid(pair, mid)
        while closed + STEP <= time.time_ns():
            for pair in pairs:
                venue.bars(pair, [bar(closed, STEP, mid)])
            closed += STEP


def is_trading(status: dict) -> bool:
    return status.get("life") == "trading" and bool(status["trades"])


def is_safe(status: dict) -> bool:
    return is_trading(status) and all(trade["is_protected"] for trade in status["trades"])


@pytest.mark.slow
def test_a_session_at_oanda_is_killed_recovers_and_ends_protected(tmp_path: Path) -> None:
    with street(tmp_path) as at:
        with session(at, "Holds", "--interval", "5s", symbols="EUR/USD") as one:
            one.until(is_safe)
            held = at.at_oanda.held(PAIR)
            assert held > 0 and at.levels() == ["STOP_LOSS", "TAKE_PROFIT"]
            one.kill()
        with session(at, "Holds", "--interval", "5s", symbols="EUR/USD") as one:
            (trade,) = one.until(is_safe)["trades"]
            assert trade["instrument"] == "oanda:EUR/USD"
            assert at.at_oanda.held(PAIR) == held and at.levels() == ["STOP_LOSS", "TAKE_PROFIT"]
            one.stop()
        assert at.at_oanda.held(PAIR) == held and at.levels() == ["STOP_LOSS", "TAKE_PROFIT"]
        orders = [order for order in at.at_oanda.orders.values() if order.type == "MARKET"]
        assert len(orders) == 1
