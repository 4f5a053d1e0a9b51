"""A replay that goes from wake to wake writes the same bytes as one that steps every bar."""

from __future__ import annotations

from pathlib import Path

import pytest

import ffe
from ffe.brokers.faults import Chaos
from ffe.brokers.sim import Deposit
from ffe.config import Settings
from ffe.data.barset import BarSet
from ffe.demo import STRESS_START, Basket, stress_market, stress_settings
from ffe.engine import run
from ffe.feeds.merge import merge
from ffe.feeds.synthetic import synthetic
from ffe.hours import instant
from ffe.model import DAY, HOUR, MINUTE, Act, Command
from ffe.records.journal import RunJournal
from ffe.records.replay import compare
from ffe.research.backtest import Plan, World, backtest
from ffe.research.wake import Sleeper
from strategies.ma_cross import MaCross

START = instant("2024-01-01")


def coins(names: tuple[str, ...] = ("BTC/USD",), seed: int = 3, bars: int = 6_000) -> BarSet:
    instruments = [ffe.load_settings().instrument(name) for name in names]
    return synthetic(instruments, 15 * MINUTE, START, bars, seed, missing=0.003, price=30_000.0)


def assert_same(
    folder: Path, bars: BarSet, settings: Settings, world: World | None = None, confidence: int = 85
) -> ffe.Result:
    """Run both ways and compare every byte."""
    chosen = MaCross(fast=5, slow=12, confidence=confidence)
    quick = backtest(chosen, bars, settings, world=world, records=folder / "quick")
    slow = backtest(chosen, bars, settings, world=world, records=folder / "slow", every_bar=True)
    assert compare(quick.folder, slow.folder) is None
    return quick


@pytest.mark.parametrize("seed", range(6))
def test_a_coin_is_the_same_from_wake_to_wake(tmp_path: Path, seed: int) -> None:
    assert len(assert_same(tmp_path, coins(seed=seed), ffe.load_settings()).trades) > 20


@pytest.mark.parametrize("seed", range(3))
def test_limits_of_the_day_wake_a_run(tmp_path: Path, seed: int) -> None:
    tight = ffe.load_settings().but(watch={"day_loss_ratio": 0.002, "day_gain_ratio": 0.003})
    result = assert_same(tmp_path, coins(seed=seed), tight)
    assert any(change.what.startswith("latch") for change in result.changes)


def test_a_day_that_may_lose_only_so_much_wakes_a_run(tmp_path: Path) -> None:
    result = assert_same(tmp_path, coins(), ffe.load_settings().but(controls={"max_day_loss": 150.0}))
    assert any(change.what == "latch daily limits" for change in result.changes)


def test_total_equity_wakes_a_run_that_holds_coins_from_before(tmp_path: Path) -> None:
    held = ffe.load_settings().but(holdings=[{"symbol": "BTC/USD", "qty": 1.5, "price": 30_000.0}])
    result = assert_same(tmp_path, coins(), held, World(flows={"coinbase": [Deposit(START + 9 * DAY + 7, 5e3, "USD")]}))
    assert any(change.after == "reducing" for change in result.changes)


def test_two_coins_with_holes_are_the_same(tmp_path: Path) -> None:
    result = assert_same(tmp_path, coins(("BTC/USD", "ETH/USD", "SOL/USD"), bars=4_000), ffe.load_settings())
    assert result.slots.max() == 2


def test_faults_and_commands_are_the_same(tmp_path: Path) -> None:
    script = (
        Command(START + 12 * DAY + 5, Act.CLOSE_ALL, "test"),
        Command(START + 20 * DAY, Act.EMERGENCY_STOP, "test"),
    )
    world = World(faults={"coinbase": [Chaos(4, 0.2)]}, script=script)
    assert_same(tmp_path, coins(), ffe.load_settings(), world)


def test_currencies_margin_and_weekends_are_the_same(tmp_path: Path) -> None:
    settings = stress_settings(ffe.load_settings())
    bars, start = stress_market(settings, days=60), STRESS_START + 40 * DAY
    quick = backtest(Basket(), bars, settings, start=start, records=tmp_path / "quick")
    slow = backtest(Basket(), bars, settings, start=start, records=tmp_path / "slow", every_bar=True)
    assert compare(quick.folder, slow.folder) is None


def test_most_bars_are_slept_through(tmp_path: Path) -> None:
    plan = Plan(MaCross(confidence=85), coins(), ffe.load_settings(), None, World())
    scene, feed, slept = plan.scene(), plan.feed(), [0]
    with RunJournal(tmp_path / "run", plan.stamp, plan.described()) as journal:
        sleeper = Sleeper(scene.engine, scene.brokers, journal, feed, plan.known_times(scene))

        def sleep(n: int) -> int:
            end = sleeper(n)
            slept[0] += end - n
            return end

        feed.sleep = sleep
        run(merge(feed, scene.operator, scene.venues, scene.engine.awaited), scene.engine, scene.venues, journal)
    assert slept[0] > 0.8 * feed.count


def test_hours_with_a_second_interval_are_stepped(tmp_path: Path) -> None:
    coin = ffe.load_settings().instrument("BTC/USD")
    bars = synthetic([coin], (HOUR, 4 * HOUR), START, 1_500, 5)
    assert_same(tmp_path, bars, ffe.load_settings())
