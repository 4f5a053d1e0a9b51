"""The same rules through the front door: `ffe.backtest` over bars, and what its Result says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import ffe
from ffe.config import Settings
from ffe.data.barset import BarSet, Series
from ffe.hours import Hours
from ffe.model import DAY, HOUR, Act, Command, Disposition, Layer, Nanos
from ffe.research.backtest import World
from ffe.research.result import Result
from ffe.strategy import Columns, Signals, Strategy
from tests.story.scene import START, closes

DAYS_BEFORE = 80


class OnHours(Strategy):
    """Buys at the close of these hours since the first bar, and leaves at the close of those."""

    goes_by_dates = True
    first: Nanos
    enter: tuple[int, ...]
    leave: tuple[int, ...] = ()

    @property
    def warmup(self) -> int:
        return 1

    def signals(self, bars: Columns) -> Signals:
        hour = (bars.close.index.as_unit("ns").asi8 - self.first) // HOUR
        side = np.where(np.isin(hour, self.enter), 1.0, np.where(np.isin(hour, self.leave), 0.0, np.nan))
        return Signals(side=pd.DataFrame(dict.fromkeys(bars.close.columns, side), bars.close.index), confidence=85)


def bitcoin(settings: Settings, *last: tuple[float, float, float, float]) -> BarSet:
    """Eighty days of hours around a seeded path that ends at 100, and these hours after them."""
    before = np.repeat(closes(5, 100.0, DAYS_BEFORE), 24)
    rows = np.vstack([np.column_stack([before] * 4), *last])
    opens = START - DAYS_BEFORE * DAY + np.arange(len(rows)) * HOUR
    instrument = settings.instrument("BTC/USD")
    hours = Hours.of("24/7", int(opens[0]), int(opens[-1]))
    return BarSet((Series.from_arrays(instrument, HOUR, hours, opens, *rows.T, np.full(len(rows), 1e6)),))


def free_of_costs(folder: Path) -> Settings:
    settings = Settings(data_folder=folder)
    free = {**settings.instruments["BTC/USD"].model_dump(), "spread_bp": 0.0, "slippage_bp": 0.0, "fee_bp": 0.0}
    return settings.but(instruments={"BTC/USD": free})


def played(folder: Path, strategy: Strategy, *last: tuple[float, float, float, float], **more: object) -> Result:
    settings = free_of_costs(folder)
    return ffe.backtest(strategy, bitcoin(settings, *last), settings, start=START, **more)


FLAT = (100.0, 100.0, 100.0, 100.0)


def test_an_ambiguous_bar_takes_the_stop_and_is_counted(tmp_path: Path) -> None:
    result = played(tmp_path, OnHours(first=START, enter=(1,)), FLAT, (100.0, 106.0, 97.0, 100.0), FLAT)
    (outcome,) = result.outcomes
    assert (outcome.cause, outcome.exit) == ("stop", 98.0)
    assert result.ambiguous_bars == 1
    assert (result.stats.pnl, result.stats.optimistic_pnl) == pytest.approx((-2.0 * outcome.qty, 5.0 * outcome.qty))


def test_a_bar_with_one_of_both_is_not_ambiguous(tmp_path: Path) -> None:
    result = played(tmp_path, OnHours(first=START, enter=(1,)), FLAT, (100.0, 104.0, 97.0, 100.0), FLAT)
    assert result.ambiguous_bars == 0 and result.stats.pnl == result.stats.optimistic_pnl < 0.0


def test_a_gap_through_the_stop_fills_at_the_open(tmp_path: Path) -> None:
    result = played(tmp_path, OnHours(first=START, enter=(1,)), FLAT, FLAT, (91.0, 92.0, 90.0, 92.0), FLAT)
    assert [(o.cause, o.exit) for o in result.outcomes] == [("stop", 91.0)]


def test_an_order_never_fills_on_the_bar_of_its_signal(tmp_path: Path) -> None:
    strategy = OnHours(first=START, enter=(1,), leave=(3,))
    result = played(tmp_path, strategy, FLAT, (101.0, 101.5, 101.0, 101.5), (101.5, 101.6, 101.4, 101.5), (101.2,) * 4)
    (outcome,) = result.outcomes
    assert (outcome.entry, outcome.exit) == (101.0, 101.2)


def test_the_scripted_operator_stops_a_backtest_and_re_arms_it_next_morning(tmp_path: Path) -> None:
    strategy = OnHours(first=START, enter=(1, 5, 26))
    world = World(script=[Command(START + 3 * HOUR, Act.EMERGENCY_STOP, "a script")])
    result = played(tmp_path, strategy, *[FLAT] * 30, world=world)
    kinds = [(r.decision.disposition, r.decision.reason) for r in result.records]
    assert [kind for kind, _ in kinds] == [Disposition.SENT, Disposition.SENT, Disposition.HALTED, Disposition.SENT]
    assert [c.why for c in result.changes if c.what == "trading"] == ["re_arm by the scripted operator"]


def test_bars_before_the_start_give_no_orders_and_all_the_facts(tmp_path: Path) -> None:
    before = OnHours(first=START - DAYS_BEFORE * DAY, enter=(30, 60, DAYS_BEFORE * 24 + 1))
    result = played(tmp_path, before, *[FLAT] * 5)
    (record,) = result.records
    assert record.decision.disposition is Disposition.SENT
    assert record.decision.judgement.facts[list(Layer).index(Layer.VAR)] > 0.0


def test_refusals_are_logged_in_the_words_of_the_ruling(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings, bars = Settings(), bitcoin(Settings())
    with caplog.at_level("INFO", logger="ffe.records.journal"):
        result = ffe.backtest(
            OnHours(first=int(bars.series[0].open_time[0]), enter=(30,)), bars, settings, records=tmp_path
        )
    assert [r.decision.disposition for r in result.records] == [Disposition.REFUSED]
    assert f"Trade for BTC/USD rejected by RiskGatekeeper: {result.records[0].decision.reason}." in caplog.messages
