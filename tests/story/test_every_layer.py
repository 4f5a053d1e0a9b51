"""Years of hours, synthetic and real, two venues, earlier holdings, default limits: every layer is seen at work."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import ffe
from ffe.config import Settings
from ffe.data.barset import BarSet, Series
from ffe.data.quality import checked
from ffe.feeds.synthetic import synthetic
from ffe.hours import instant
from ffe.indicators import compare, on_edge, sma
from ffe.model import HOUR, LAYERS, Disposition, Filled, Found, Layer
from ffe.records.encode import decode_event
from ffe.records.reader import lines
from ffe.records.verify import verify
from ffe.research.result import Result
from ffe.risk.limits import GateLimits
from ffe.strategy import Columns, Signals, Strategy

WARNING = {Layer.AFTER_HOURS, Layer.CROSS_VENUE}
HOLDINGS = [
    {"symbol": "BTC/USD", "qty": 1.0, "price": 7_150.0},
    {"symbol": "ETH/USD", "qty": 20.0, "price": 130.0},
    {"symbol": "EUR/USD", "qty": -600_000.0, "price": 1.12},  # five times everything there is
]
CASH = {"coinbase": 20_000.0, "oanda": 100_000.0}


class Everything(Strategy):
    """Buys everything at once when bitcoin turns up, whether or not the others have a bar."""

    fast: int = 8
    slow: int = 36

    @property
    def warmup(self) -> int:
        return self.slow + 1

    def signals(self, bars: Columns) -> Signals:
        leader = bars.close[["BTC/USD"]]
        turned = on_edge(compare(sma(leader, self.fast), sma(leader, self.slow)).clip(lower=0.0))["BTC/USD"]
        return Signals(side=pd.DataFrame(dict.fromkeys(bars.close.columns, turned)), confidence=70)


def settings(folder: Path) -> Settings:
    plain = Settings(data_folder=folder)
    venues = {name: {**plain.venues[name].model_dump(), "cash": cash} for name, cash in CASH.items()}
    return plain.but(holdings=HOLDINGS, venues=venues)


def follower(bitcoin: Series, settings: Settings) -> Series:
    """A synthetic third coin that follows bitcoin with a noise of its own; one bar in two hundred is missing."""
    dice = np.random.default_rng(1)
    level = 1.5 * np.exp(np.cumsum(0.003 * dice.standard_normal(len(bitcoin))))
    prices = [level * (getattr(bitcoin, name) / 7_150.0) ** 1.1 for name in ("open", "high", "low", "close")]
    solana = Series(
        settings.instrument("SOL/USD"), HOUR, bitcoin.open_time, bitcoin.close_time, *prices, bitcoin.volume
    )
    return checked(solana.at(dice.random(len(bitcoin)) > 0.005))


def synthetic_hours(symbol: str, price: float, settings: Settings) -> BarSet:
    """Two years that begin at the price of a holding; a walk does not depend on which others are asked for."""
    pair = settings.instrument(symbol)
    return synthetic([pair], HOUR, instant("2020-01-01"), 2 * 365 * 24, seed=2, correlation=0.6, price=price)


def real_hours(folder: Path, symbol: str, settings: Settings) -> BarSet:
    path = folder / f"{symbol.replace('/', '_')}_H1_2020_2023.parquet"
    return ffe.load_bars(path, "1h", symbol=symbol, config=settings)


def market(bitcoin: BarSet, *others: BarSet, settings: Settings) -> BarSet:
    (leader,) = bitcoin
    return sum(others, bitcoin) + BarSet((follower(leader, settings),))


def check_layers(result: Result) -> None:
    assert result.plan.settings.gate == GateLimits() and not result.unreachable
    for layer in LAYERS:
        row = result.gates.loc[layer.value]
        speaks, first = ("warned", 0) if layer in WARNING else ("refused", 1)
        assert row[speaks] >= 1 and row["passed"] >= 1 and row["first"] >= first, layer
        assert row["judged"] == row[["passed", "warned", "refused", "data_missing"]].sum() > 500


def check_slots(result: Result) -> None:
    assert result.slots.max() == 2
    assert {Disposition.QUEUED, Disposition.DROPPED, Disposition.OVERRIDDEN} <= set(result.dispositions)


def check_holdings(result: Result) -> None:
    """They were found as they were described, and of none more was sold than had been bought."""
    events = [decode_event(line.body) for _, line in lines(result.folder) if line.kind == "event"]
    found = {event.holding.instrument: event.holding.qty for event in events if isinstance(event, Found)}
    assert found == {"coinbase:BTC/USD": 1.0, "coinbase:ETH/USD": 20.0, "oanda:EUR/USD": -600_000.0}
    fills = [event.fill for event in events if isinstance(event, Filled)]
    assert all(sum(fill.qty for fill in fills if fill.instrument == id) >= -1e-9 for id in found)


def check_run(bars: BarSet, chosen: Settings) -> None:
    result = ffe.backtest(Everything(), bars, chosen, start="2020-04-01")
    print(result.gates.iloc[:, :6])
    check_layers(result)
    check_slots(result)
    check_holdings(result)
    report = verify(result.folder)
    assert report.findings == () and report.decisions == len(result.records)


@pytest.mark.slow
def test_every_layer_is_seen_at_work_in_synthetic_hours(tmp_path: Path) -> None:
    chosen = settings(tmp_path)
    parts = [synthetic_hours(row["symbol"], row["price"], chosen) for row in HOLDINGS]
    check_run(market(*parts, settings=chosen), chosen)


@pytest.mark.slow
def test_every_layer_is_seen_at_work_in_real_hours(shared_data: Path, tmp_path: Path) -> None:
    chosen = settings(tmp_path)
    parts = [real_hours(shared_data, row["symbol"], chosen) for row in HOLDINGS]
    check_run(market(*parts, settings=chosen), chosen)
