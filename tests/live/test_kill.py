"""kill -9 at any moment of a session with open trades, its recovery included: nothing twice, nothing lost, nothing
left unprotected.

The venue keeps the truth. A few moments here; a hundred of them by `make campaign`.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from pathlib import Path

import pytest

from ffe.records.reader import lines, records
from ffe.records.verify import verify
from tests.live.street import CoinbaseStreet, Session, Street, session


def killed_at_random(street: Street, chance: random.Random, strategy: str) -> None:
    """A session, killed somewhere between its first breath and a busy time; engine or supervisor, now and then the
    engine twice."""
    with session(street, strategy) as one:
        is_early = chance.random() < 0.4
        if not is_early:
            one.until(lambda status: status.get("life") == "trading" and status["trades"])
        time.sleep(chance.uniform(0.0, 4.0))
        if chance.random() < 0.5 and (one.data / "engine.pid").exists():
            one.kill(one.engine)  # the supervisor starts another
            time.sleep(chance.uniform(0.0, 4.0))
        one.kill()


def recovered(street: Street) -> Session:
    """A clean start after it, until every venue agrees and all that is open is protected."""
    one = street.start("Idle")
    try:
        one.until(lambda s: s.get("life") == "trading" and all(t["is_protected"] for t in s["trades"]))
    except AssertionError:
        one.kill()
        raise
    return one


def assert_whole(street: Street, one: Session) -> None:
    sent = Counter(asked.params[street.id] for asked in street.posts())
    assert max(sent.values(), default=1) == 1, "an order was sent twice"
    trades = one.status()["trades"]
    for symbol in street.prices:
        assert street.is_protected(symbol), f"{symbol}: {street.held(symbol)} {street.stops(symbol)} {trades}"
    held = {street.instrument(symbol) for symbol, p in street.prices.items() if street.held(symbol) * p >= 10.0}
    assert held == {trade["instrument"] for trade in trades} and len(trades) <= 2


def assert_nothing_is_lost(street: Street) -> None:
    """Every order that reached the venue has its decision on disk, and no record was harmed."""
    data = street.folder / "data"
    assert verify(data).is_good
    decided = {record.decision.order for record in records(data)}
    steps = [line.body for _, line in lines(data) if line.kind == "step"]
    left = {order["id"] for step in steps for order in step["orders"] if "id" in order}
    at_venue = {order.client_id for order in street.venue.orders}
    assert at_venue <= left
    assert {order.client_id for order in street.venue.orders if not order.stop} <= decided


def kill_and_recover(street: Street, seed: int, times: int, strategy: str = "Churn") -> None:
    chance = random.Random(seed)
    with street:
        for _ in range(times):
            killed_at_random(street, chance, strategy)
            one = recovered(street)
            try:
                assert_whole(street, one)
            finally:
                one.kill()
        assert_nothing_is_lost(street)


@pytest.mark.slow
def test_f37_killed_at_random_moments_it_recovers_whole(tmp_path: Path) -> None:
    kill_and_recover(Street(tmp_path), seed=1, times=3)


@pytest.mark.campaign
@pytest.mark.parametrize("seed", range(10))
def test_f37_killed_at_a_hundred_random_moments_it_recovers_whole(tmp_path: Path, seed: int) -> None:
    kill_and_recover(Street(tmp_path), seed=100 + seed, times=10)


@pytest.mark.campaign
@pytest.mark.parametrize("seed", range(10))
def test_f37_killed_at_coinbase_at_a_hundred_random_moments_it_recovers_whole(tmp_path: Path, seed: int) -> None:
    kill_and_recover(CoinbaseStreet(tmp_path), seed=200 + seed, times=10, strategy="Quick")
