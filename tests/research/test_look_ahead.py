"""A decision that the last `warmup` bars do not give stops the run, naming column and bar; an honest one passes."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from ffe import BarSet, Columns, Settings, Signals, Strategy, backtest, synthetic
from ffe.errors import LookAhead
from ffe.hours import instant
from ffe.indicators import compare, on_edge, sma
from ffe.model import DAY, HOUR
from ffe.research.proof import prove
from strategies.ma_cross import MaCross


@pytest.fixture(scope="module")
def bars() -> BarSet:
    instruments = [Settings().instrument(name) for name in ("BTC/USD", "EUR/USD")]
    return synthetic(instruments, HOUR, instant("2024-01-01"), 1_000, seed=5, missing=0.02)


class Idea(Strategy):
    """Remembers ten bars, whatever it looks at."""

    @property
    def warmup(self) -> int:
        return 10

    def state(self, close: pd.DataFrame) -> pd.DataFrame:
        return compare(close, sma(close, 5))

    def signals(self, bars: Columns) -> Signals:
        return Signals(side=on_edge(self.state(bars.close)), confidence=80)


class Peeks(Idea):
    def state(self, close: pd.DataFrame) -> pd.DataFrame:
        return compare(close.shift(-1), close)


class SilencesLosers(Idea):
    """Buys always, but where it sees a fall ahead: what it decides is right, what it leaves out is not."""

    def signals(self, bars: Columns) -> Signals:
        falls = bars.close.shift(-1) < bars.close
        return Signals(side=bars.close.notna().astype(float).mask(falls), confidence=80)


class KnowsTheMean(Idea):
    def state(self, close: pd.DataFrame) -> pd.DataFrame:
        return close.gt(close.mean()).astype(float).where(close.notna())


class NeedsMoreBars(Idea):
    def state(self, close: pd.DataFrame) -> pd.DataFrame:
        return compare(sma(close, 5), sma(close, 10))  # an edge needs the bar before as well


class NeverForgets(Idea):
    def state(self, close: pd.DataFrame) -> pd.DataFrame:
        breaks = compare(close, close.shift(1) * 1.005).clip(lower=0.0) + compare(close, close.shift(1) * 0.995).clip(
            upper=0.0
        )
        return breaks.where(breaks != 0.0).ffill()


class PeeksOnce(Idea):
    """Looks an hour ahead at one bar of one column."""

    def signals(self, bars: Columns) -> Signals:
        side = on_edge(super().state(bars.close))
        at, later = pd.Timestamp("2024-01-17 09:00", tz="UTC"), pd.Timestamp("2024-01-17 10:00", tz="UTC")
        if at in side.index:
            side.loc[at, "EUR/USD"] = 1.0 if later in side.index else 0.0
        return Signals(side=side, confidence=80)


class ChangesItsStop(Idea):
    def signals(self, bars: Columns) -> Signals:
        side = on_edge(super().state(bars.close)).clip(lower=0.0)
        return Signals(side=side, confidence=80, stop=bars.close * 0 + bars.close.min())


@pytest.mark.parametrize(
    "strategy",
    [Peeks(), SilencesLosers(), KnowsTheMean(), NeedsMoreBars(), NeverForgets(), ChangesItsStop()],
    ids=lambda s: s.name,
)
def test_what_needs_more_than_its_warmup_is_stopped(strategy: Strategy, bars: BarSet) -> None:
    with pytest.raises(
        LookAhead, match=rf"{strategy.name} decides .* for (coinbase|oanda):.../USD at 2024-0.-.. ..:00:00"
    ):
        prove(strategy, bars, HOUR)


def test_one_bar_of_one_column_among_hundreds_is_named(bars: BarSet) -> None:
    with pytest.raises(LookAhead, match=r"LONG .* for oanda:EUR/USD at 2024-01-17 09:00.* but FLAT .* the last 10"):
        prove(PeeksOnce(), bars, HOUR)


def test_an_honest_strategy_passes_where_bars_are_missing_and_a_market_closes(bars: BarSet) -> None:
    assert len(prove(Idea(), bars, HOUR)[0].by_time) > 100
    assert prove(MaCross(fast=5, slow=9), bars, HOUR)[0].by_time


def test_a_run_that_is_stopped_writes_nothing(bars: BarSet, tmp_path: Path) -> None:
    with pytest.raises(LookAhead):
        backtest(Peeks(), bars, Settings(data_folder=tmp_path), start=instant("2024-01-01") + 20 * DAY)
    assert list(tmp_path.iterdir()) == []
