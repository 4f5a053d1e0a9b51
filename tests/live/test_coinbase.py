"""A session at Coinbase from its first breath to its last: a trade behind its stop, kill -9, recovery, a stop by force
that leaves nothing; and a stop that the price has jumped.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ffe.config import keys_of
from tests.live.street import CoinbaseStreet, session
from tests.live.test_kill import kill_and_recover
from tests.venues.coinbase_key import KEY, secret
from tests.venues.faults import ServerError
from tests.venues.matching import Side

BTC = "BTC-USD"
ALWAYS = 10**6


@pytest.fixture
def street(tmp_path: Path) -> Iterator[CoinbaseStreet]:
    with CoinbaseStreet(tmp_path) as made:
        yield made


def test_private_key_in_one_line_is_the_same_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COINBASE_API_KEY", KEY)
    monkeypatch.setenv("COINBASE_API_SECRET", secret().replace("\n", "\\n"))
    assert keys_of("coinbase").reveal() == (KEY, secret(), "")


def test_secret_that_is_no_private_key_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KRAKEN_API_KEY", "key")
    monkeypatch.setenv("KRAKEN_API_SECRET", "with\\na\\backslash")
    assert keys_of("kraken").reveal()[1] == "with\\na\\backslash"


def is_safe(status: dict) -> bool:
    return (
        status.get("life") == "trading" and bool(status["trades"]) and all(t["is_protected"] for t in status["trades"])
    )


@pytest.mark.slow
def test_session_at_coinbase_is_killed_recovers_and_is_stopped_by_force(street: CoinbaseStreet) -> None:
    with session(street, "HoldsAtOnce", symbols="BTC/USD") as one:
        one.until(is_safe)
        held = street.held(BTC)
        assert held > 0.0 and street.is_protected(BTC)
        one.kill()
    assert street.held(BTC) == held and street.is_protected(BTC)
    with session(street, "HoldsAtOnce", symbols="BTC/USD") as one:
        (trade,) = one.until(is_safe)["trades"]
        assert trade["instrument"] == street.instrument(BTC) and street.held(BTC) == held and street.is_protected(BTC)
        done = street.ffe("stop", "--force")
        assert done.returncode == 0, done.stdout + done.stderr
    assert street.held(BTC) == 0.0 and not street.stops(BTC)
    sent = [asked.params[street.id] for asked in street.posts()]
    assert len(sent) == len(set(sent)) and [order.side for order in street.venue.orders].count(Side.BUY) == 1


@pytest.mark.slow
def test_session_at_coinbase_closes_what_its_stop_left_when_prices_are_dead(street: CoinbaseStreet) -> None:
    with session(street, "HoldsAtOnce", symbols="BTC/USD") as one:
        one.until(is_safe)
        street.venue.faults = [ServerError(on="GET ticker*", times=ALWAYS), ServerError(on="GET klines", times=ALWAYS)]
        ((stop),) = street.stops(BTC)
        street.prices[BTC] = round(float(stop.stop) * 0.93, 2)  # below its limit
        deadline = time.monotonic() + 10.0
        while not (jumped := [order for order in street.stops(BTC) if order.is_triggered]):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        begun = jumped[0].updated
        one.until(lambda _: not street.held(BTC))
        assert (street.venue.trades[-1].time - begun) / 1e9 <= 5.0
        one.until(lambda status: not status["trades"])


@pytest.mark.slow
def test_f37_killed_at_coinbase_at_random_moments_it_recovers_whole(tmp_path: Path) -> None:
    kill_and_recover(CoinbaseStreet(tmp_path), seed=2, times=2, strategy="Quick")
