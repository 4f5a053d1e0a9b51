"""How much of a venue's request budget a session uses by watching, idle and with two open trades: under half of it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.live.street import CoinbaseStreet, Session, Street, session
from tests.live.test_oanda import street as oanda_street
from tests.venues.binance import Binance
from tests.venues.venue import Venue

SECONDS = 30.0
TRADES = {"idle": "Idle", "two trades": "HoldsAll"}


class Weighed(Binance):
    """Counts what its requests weigh."""

    weight = 0

    def _weigh(self, weight: int) -> None:
        self.weight += weight
        super()._weigh(weight)


class WeighedStreet(Street):
    def _venue(self) -> Venue:
        return Weighed(cash={self.quote: 100_000.0}, weight_limit=10**9)


Used = Callable[[], int]


@contextmanager
def binance(folder: Path, strategy: str) -> Iterator[tuple[Session, Used]]:
    with WeighedStreet(folder) as street, session(street, strategy, symbols="BTC/USDT,ETH/USDT") as live:
        yield live, lambda: street.venue.weight  # type: ignore[attr-defined]


@contextmanager
def coinbase(folder: Path, strategy: str) -> Iterator[tuple[Session, Used]]:
    with CoinbaseStreet(folder) as street, session(street, strategy, symbols="BTC/USD,ETH/USD") as live:
        yield live, lambda: len(street.venue.requests)


@contextmanager
def oanda(folder: Path, strategy: str) -> Iterator[tuple[Session, Used]]:
    pairs = "EUR/USD,GBP/USD"
    with (
        oanda_street(folder, "EUR_USD", "GBP_USD") as street,
        session(street, strategy, "--interval", "5s", symbols=pairs) as live,
    ):
        yield live, lambda: len(street.at_oanda.requests)


# A venue, its budget a minute, and the most requests that it takes in a second.
VENUES = {"binance": (binance, 6_000), "coinbase": (coinbase, 30 * 60), "oanda": (oanda, 120 * 60)}


@pytest.mark.campaign
@pytest.mark.parametrize("what", TRADES)
@pytest.mark.parametrize("where", VENUES)
def test_watching_uses_less_than_half_of_the_budget(
    where: str, what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place, budget = VENUES[where]
    wanted = 2 if what == "two trades" else 0
    with place(tmp_path, TRADES[what]) as (live, used):
        live.until(lambda status: status.get("life") == "trading" and is_settled(status, wanted), 150.0)
        time.sleep(3.0)
        before = used()
        time.sleep(SECONDS)
        a_minute = (used() - before) * 60.0 / SECONDS
        assert is_settled(live.status(), wanted)
    with capsys.disabled():
        print(f"\n{where}, {what}: {a_minute:,.0f} of {budget:,} a minute, {a_minute / budget:.1%}")
    assert 0 < a_minute <= budget / 2.0


def is_settled(status: dict, wanted: int) -> bool:
    held = Counter(trade["is_protected"] for trade in status["trades"])
    return held == Counter({True: wanted} if wanted else {})
