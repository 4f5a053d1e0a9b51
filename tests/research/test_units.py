"""Money that comes or goes is no profit and no loss: a run's statistics are of unit value."""

from __future__ import annotations

from io import StringIO
from math import isnan
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from ffe import BarSet, Deposit, Result, Settings, backtest, load_settings
from ffe.engine import run
from ffe.feeds.merge import merge
from ffe.hours import instant
from ffe.model import DAY
from ffe.records.journal import RunJournal
from ffe.research import show
from ffe.research.backtest import Plan, World
from tests.research.values import RISE, START, BuysOn, days

pytestmark = pytest.mark.slow

BEFORE, AFTER = instant(START) + 20 * DAY, instant(START) + 42 * DAY
WORLD = World(flows={"coinbase": [Deposit(BEFORE, 100_000.0, "USD"), Deposit(AFTER, -150_000.0, "USD")]})
LATER = [*RISE, *(RISE[-1] * 1.01**day for day in range(1, 5))]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings().but(data_folder=tmp_path)


@pytest.fixture
def bars(settings: Settings) -> BarSet:
    return days(settings, LATER)


def idle(bars: BarSet, settings: Settings) -> Result:
    return backtest(BuysOn(when="1999-01-01"), bars, settings, world=WORLD)


def test_deposits_and_withdrawals_move_equity_and_nothing_else(bars: BarSet, settings: Settings) -> None:
    found = idle(bars, settings)
    assert (found.equity.max(), found.equity.iloc[-1]) == (200_000.0, 50_000.0)
    assert (found.stats.start_equity, found.stats.end_equity) == (100_000.0, 50_000.0)
    assert (found.value == 100_000.0).all()
    assert (found.stats.total_return, found.stats.max_drawdown) == (0.0, 0.0) and isnan(found.stats.sharpe)


def test_a_run_earns_what_it_earns_on_the_money_that_was_there(bars: BarSet, settings: Settings) -> None:
    found = backtest(BuysOn(when="2024-02-09"), bars, settings, world=WORLD)
    flows = pd.Series(0.0, found.equity.index)
    flows.loc[pd.to_datetime([BEFORE, AFTER], utc=True)] = [100_000.0, -150_000.0]
    earned = found.equity / (found.equity.shift() + flows)
    (trade,) = found.outcomes
    assert trade.opened < AFTER < trade.time
    assert found.stats.total_return == pytest.approx(earned.prod() - 1.0)


def test_value_is_the_unit_value_that_the_engine_judges_by(bars: BarSet, settings: Settings, tmp_path: Path) -> None:
    plan = Plan(BuysOn(when="2024-02-09"), bars, settings, None, WORLD)
    scene = plan.scene()
    with RunJournal(tmp_path / "run", plan.stamp, plan.described()) as journal:
        events = merge(plan.feed(), scene.operator, scene.venues, scene.engine.awaited)
        unit = run(events, scene.engine, scene.venues, journal).unit
    assert unit.value != 1.0 and Result(tmp_path / "run", plan, {}).value.iloc[-1] == unit.value * 100_000.0


def test_value_is_equity_where_no_money_came_or_went(bars: BarSet, settings: Settings) -> None:
    found = backtest(BuysOn(when="2024-02-09"), bars, settings)
    assert not found.flows and (found.value == found.equity).all()


def test_the_picture_shows_what_was_earned_and_says_so(bars: BarSet, settings: Settings) -> None:
    money = idle(bars, settings).plot().axes[0]
    assert set(money.lines[0].get_ydata()) == {100_000.0}
    assert money.get_title(loc="left").endswith("without the money that came or went (2 times)")


def test_the_table_says_that_money_came_and_what_is_without_it(
    bars: BarSet, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = Console(file=StringIO(), width=120)
    monkeypatch.setattr(show, "console", screen)
    show.show(idle(bars, settings))
    told = screen.file.getvalue()  # type: ignore[attr-defined]
    assert "100,000.00 → 50,000.00 USD" in told and "1, 1: in equity, not in return" in told
    assert "return (unit value)" in told
