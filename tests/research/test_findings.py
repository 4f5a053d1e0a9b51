"""What a run says of itself before anybody asks: each finding where it is so, and nowhere else."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ffe import BarSet, Columns, Result, Series, Settings, Signal, Signals, Strategy, View, backtest, synthetic
from ffe.config import InstrumentSettings
from ffe.hours import instant
from ffe.model import DAY, HOUR, AssetClass, Nanos
from ffe.research.findings import Finding

START = instant("2024-01-01")
COINS = ("BTC/USD", "ETH/USD")


class Alternates(Strategy):
    """Buys and leaves every so many hours since 1970."""

    goes_by_dates = True
    every: int = 12
    side: float = 1.0

    @property
    def warmup(self) -> int:
        return 1

    def signals(self, bars: Columns) -> Signals:
        hour = (
            (bars.close.index.asi8 // HOUR)
            if bars.close.index.unit == "ns"
            else bars.close.index.as_unit("ns").asi8 // HOUR
        )
        phase = hour % (2 * self.every)
        values = np.where(phase == 0, self.side, np.where(phase == self.every, 0.0, np.nan))
        frame = bars.close * 0.0
        return Signals(side=frame.add(values, axis=0).where(~np.isnan(values)[:, None] & frame.notna()), confidence=80)


class BuysOnce(Alternates):
    def signals(self, bars: Columns) -> Signals:
        return Signals(side=(bars.close * 0.0 + 1.0).where(bars.volume == 12_345.0), confidence=80)


class StopsAtARatio(Alternates):
    def signals(self, bars: Columns) -> Signals:
        return replace(super().signals(bars), stop=bars.close * 0.0 + 0.02)


class HasTwoFaces(Alternates):
    def on_event(self, view: View) -> Sequence[Signal]:
        return []


class LooksFarBack(Alternates):
    @property
    def warmup(self) -> int:
        return 5_000


class IsSilent(Alternates):
    def signals(self, bars: Columns) -> Signals:
        return Signals(side=bars.close * np.nan, confidence=80)


def market(hours: int = 24 * 62, symbols: Sequence[str] = COINS[:1], seed: int = 3) -> BarSet:
    return synthetic([Settings().instrument(s) for s in symbols], HOUR, START, hours, seed=seed, missing=0.0)


def run(folder: Path, strategy: Strategy, bars: BarSet, **settings: Any) -> Result:
    return backtest(strategy, bars, Settings(data_folder=folder, **settings), start=START + 36 * DAY)


def facts(result: Result) -> str:
    return "\n".join(finding.fact for finding in result.findings)


def cut(bars: BarSet, symbol: str, end: Nanos) -> BarSet:
    return BarSet(tuple(s.between(0, end) if s.instrument.symbol == symbol else s for s in bars))


def marked(bars: BarSet, symbol: str, time: Nanos) -> BarSet:
    """One bar's volume tells a strategy to buy."""

    def one(s: Series) -> Series:
        volume = s.volume.copy()
        volume[np.searchsorted(s.close_time, time)] = 12_345.0
        return replace(s, volume=volume)

    return BarSet(tuple(one(s) if s.instrument.symbol == symbol else s for s in bars))


def test_a8_holding_whose_bars_end_is_said_first(tmp_path: Path) -> None:
    """Equity was frozen for months, the exit was sent and never filled, and nothing was said."""
    bars = market(symbols=COINS)
    end = START + 45 * DAY
    result = run(tmp_path, BuysOnce(), cut(marked(bars, "ETH/USD", end - 2 * HOUR), "ETH/USD", end))
    assert result.open_trades
    assert str(result.findings[0]).startswith(
        "coinbase:ETH/USD is held since 2024-02-14 22:00 and has had no price since"
    )
    assert "Load its bars to" in result.findings[0].step


def test_holding_with_prices_to_the_end_is_no_finding(tmp_path: Path) -> None:
    bars = market()
    result = run(tmp_path, BuysOnce(), marked(bars, "BTC/USD", int(bars.series[0].close_time[-3])))
    assert result.open_trades and "no price" not in facts(result)


@pytest.mark.parametrize(
    ("strategy", "said"),
    [
        (Alternates(side=-1.0), r"None of \d+ decisions became a trade: \d+ × .*short"),
        (LooksFarBack(), "The strategy looks back on 5,000 bars, and there are 1,488"),
        (IsSilent(), "Nothing was decided: the strategy gave no signal"),
        (StopsAtARatio(), "A stop of 0.02 stands at a price of"),
        (HasTwoFaces(), "HasTwoFaces has signals and on_event, and only signals was asked"),
        (Alternates(every=24 * 6), r"There are \d closed trades"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Strategy) else "",
)  # fmt: skip
def test_silent_run_says_why(strategy: Strategy, said: str, tmp_path: Path) -> None:
    """A person learnt nothing: 0 trades, and no word."""
    result = run(tmp_path, strategy, market())
    assert re.search(said, facts(result)), facts(result)


def test_layer_that_refuses_everything_is_named(tmp_path: Path) -> None:
    result = run(tmp_path, Alternates(), market(), gate={"var_ratio": 1e-9})
    assert "4 VAR refused every one of" in facts(result)
    assert "VAR" not in facts(run(tmp_path, Alternates(), market()))


def test_entries_that_never_filled_are_counted_and_stops_that_were_cancelled_are_not(tmp_path: Path) -> None:
    """The order was sent, met the collar, and nobody counted it."""
    (series,) = market()
    first = series.open_time // HOUR % 24 == 0  # the bars at whose open it would fill
    opens = np.where(first, np.r_[series.open[:1], series.close[:-1]] * 1.05, series.open)
    gapped = replace(series, open=opens, high=np.maximum(series.high, opens))
    said = facts(run(tmp_path, Alternates(), BarSet((gapped,))))
    assert said.startswith("25 of 26 orders of entries were cancelled unfilled: 25 × COLLAR"), said
    held = run(tmp_path, Alternates(), market())
    assert held.outcomes and "cancelled" not in facts(held)


def test_opens_that_equal_closes_are_named(tmp_path: Path) -> None:
    (series,) = market()
    flat = replace(series, open=series.close, high=series.high * 1.2, low=series.low * 0.8)
    assert "The opens of coinbase:BTC/USD 1h equal its closes in 100%" in facts(
        run(tmp_path, Alternates(), BarSet((flat,)))
    )


def test_bars_that_lack_in_market_hours_are_counted(tmp_path: Path) -> None:
    (series,) = market()
    keep = np.ones(len(series), np.bool_)
    keep[1_000:1_030] = False
    result = run(tmp_path, Alternates(), BarSet((series.at(keep),)))
    assert "coinbase:BTC/USD 1h lacks 30 bars in market hours, 30 of them from" in facts(result)
    assert "lacks" not in facts(run(tmp_path, Alternates(), market()))


def test_frames_with_holes_are_named(tmp_path: Path) -> None:
    symbols = [Settings().instrument(s) for s in ("BTC/USD", "EUR/USD")]
    bars = synthetic(symbols, HOUR, START, 24 * 62, seed=3, missing=0.0)
    assert "% of the frames' cells are empty" in facts(run(tmp_path, Alternates(), bars))


def test_costs_that_nobody_declared_are_the_classes_and_are_said(tmp_path: Path) -> None:
    """Trading was free, and nobody said so."""
    mine = InstrumentSettings(venue="coinbase", asset_class=AssetClass.CRYPTO, base="BTC", quote="USD", lot=1e-8)
    assert (mine.instrument("BTC/USD").spread, mine.instrument("BTC/USD").fee) == (2e-4, 1e-3)
    free = mine.model_copy(update={"fee_bp": 0.0, "spread_bp": 0.0, "slippage_bp": 0.0})
    assert (free.instrument("BTC/USD").spread, free.instrument("BTC/USD").fee) == (0.0, 0.0)
    said = facts(run(tmp_path, Alternates(), market(), instruments={"BTC/USD": mine}))
    assert "The costs of BTC/USD are its asset class's, for none are declared: spread_bp = 2, slippage_bp = 5" in said
    for settings in ({"instruments": {"BTC/USD": free}}, {}):
        assert "asset class's" not in facts(run(tmp_path, Alternates(), market(), **settings))


def test_finding_is_three_sentences() -> None:
    assert str(Finding("It is so", "That matters", "Do this")) == "It is so. That matters. Do this."


def test_first_three_stand_in_terminal_notebook_and_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from ffe.research.show import show

    result = run(tmp_path, Alternates(every=24 * 6), market())
    assert result.findings
    show(result)
    printed = "".join(capsys.readouterr().out.split())
    for finding in result.findings[:3]:
        assert "".join(finding.fact.split()) in printed
        assert finding.fact.split(":")[0] in result._repr_html_()
    under = "".join(result.plot()._supxlabel.get_text().split())  # type: ignore[attr-defined]
    assert all("".join(finding.fact.split()) in under for finding in result.findings[:3])
