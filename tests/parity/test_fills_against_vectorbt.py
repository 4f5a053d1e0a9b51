"""The engine against the real vectorbt: the same trades at the same prices, the same equity at every bar.

vectorbt is given bars, masks that are the decisions moved one bar on, the costs and a fixed quantity; no price, size or
fill of ours. It knows no spread, no stop and no limit, so here there are none. In forex nothing is decided at a bar
whose close ends a session: the engine would not enter a closed market.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ffe.config import Settings
from ffe.data.barset import BarSet, Series
from ffe.data.sources import from_parquet
from ffe.feeds.synthetic import synthetic
from ffe.hours import Hours, instant
from ffe.indicators import compare, on_edge, sma
from ffe.model import DAY, HOUR, AssetClass, Cause, Filled
from ffe.records.encode import decode_event
from ffe.records.reader import lines
from ffe.research.backtest import backtest
from ffe.research.result import Result
from ffe.strategy import Columns, Signals, Strategy

pytestmark = pytest.mark.slow

WIDE, CASH, DAYS_BEFORE = 1e12, 1e6, 45
COSTS = {"spread_bp": 0, "slippage_bp": 5, "fee_bp": 10, "financing_long_ratio": 0, "financing_short_ratio": 0}
FREE = Settings().but(
    gate={f"{name}_ratio": WIDE for name in ("drawdown", "var", "concentration", "leverage", "volatility")},
    size={"risk_per_trade_ratio": WIDE**2},
    watch={
        **{f"{name}_ratio": WIDE for name in ("stop", "target", "day_loss", "day_gain")},
        **{f"collar_{kind}_ratio": 0.9 for kind in ("crypto", "forex")},  # cash is reserved up to the collar
    },
    venues={name: {"cash": CASH} for name in ("coinbase", "oanda")},
    instruments={f"{name}/USD": COSTS for name in ("BTC", "ETH", "EUR")},
)
Trade = tuple[int, int, float, float, float]  # bar and bar, signed quantity, price and price


def crosses(close: pd.DataFrame, is_forex: bool) -> pd.DataFrame:
    """Long when the fast mean rises above the slow one; below, short in forex and flat elsewhere."""
    state = compare(sma(close, 12), sma(close, 48))
    side = on_edge(state if is_forex else state.clip(lower=0.0))
    if not is_forex:
        return side
    times = pd.DatetimeIndex(side.index).as_unit("ns").asi8.tolist()
    hours = Hours.of("forex", times[0], times[-1])
    return side[[hours.is_open(t) for t in times]].reindex(side.index)


class Cross(Strategy):
    qty: float
    is_forex: bool

    @property
    def warmup(self) -> int:
        return 49

    def signals(self, bars: Columns) -> Signals:
        return Signals(side=crosses(bars.close, self.is_forex), confidence=100, qty=self.qty)


def trades(result: Result, series: Series) -> list[Trade]:
    """Every closed trade, from the fills in the journal."""
    events = [decode_event(line.body) for _, line in lines(result.folder) if line.kind == "event"]
    fills = [e.fill for e in events if isinstance(e, Filled)]
    bars = [int(np.searchsorted(series.open_time, e.time)) for e in events if isinstance(e, Filled)]
    assert [f.cause for f in fills] == [Cause.EXIT if n % 2 else Cause.ENTRY for n in range(len(fills))]
    assert all(a.qty == -b.qty for a, b in zip(fills[::2], fills[1::2], strict=False))
    pairs = zip(bars[::2], bars[1::2], fills[::2], fills[1::2], strict=False)
    return [(opened, closed, a.qty, a.price, b.price) for opened, closed, a, b in pairs]


def vectorbt(series: Series, side: pd.Series[float], qty: float) -> tuple[list[Trade], np.ndarray]:
    """Its closed trades, and its equity at every bar."""
    import vectorbt as vbt

    index = pd.DatetimeIndex(series.close_time.view("M8[ns]"))
    decided = pd.Series(side.to_numpy(), index).shift(1)
    portfolio = vbt.Portfolio.from_signals(
        pd.Series(series.close, index), entries=decided == 1, exits=decided == 0, short_entries=decided == -1,
        short_exits=decided == 0, price=pd.Series(series.open, index), size=qty, fees=1e-3, slippage=5e-4,
        init_cash=CASH, upon_opposite_entry="reverse", freq="1h",
    )  # fmt: skip
    closed = portfolio.trades.records.query("status == 1")
    signed = closed["size"] * (1 - 2 * closed["direction"])
    columns = (closed["entry_idx"], closed["exit_idx"], signed, closed["entry_price"], closed["exit_price"])
    return list(zip(*columns, strict=True)), portfolio.value().to_numpy()


def assert_same(series: Series, qty: float, records: Path) -> None:
    bars, is_forex = BarSet((series,)), series.instrument.asset_class is AssetClass.FOREX
    start = int(series.open_time[0]) // DAY * DAY + DAYS_BEFORE * DAY
    result = backtest(Cross(qty=qty, is_forex=is_forex), bars, FREE, start=start, records=records)
    run = series.between(start, int(series.close_time[-1]))
    side = crosses(bars.frame("close"), is_forex).iloc[-len(run) :, 0]
    ours, (theirs, equity) = trades(result, run), vectorbt(run, side, qty)
    assert [trade[:2] for trade in ours] == [trade[:2] for trade in theirs]
    np.testing.assert_allclose(np.array(ours), np.array(theirs), rtol=1e-12)
    at_closes = result.equity.loc[pd.DatetimeIndex(run.close_time.view("M8[ns]"), tz="UTC")]
    np.testing.assert_allclose(at_closes, equity, rtol=1e-9)
    assert len(ours) > 50


QUANTITIES = {"BTC": 1.25, "ETH": 20.0, "EUR": 100_000.0}


@pytest.mark.parametrize("name", QUANTITIES)
def test_synthetic_trades_and_equity_are_those_of_vectorbt(tmp_path: Path, name: str) -> None:
    (series,) = synthetic([FREE.instrument(f"{name}/USD")], HOUR, instant("2023-01-01"), 365 * 24, seed=1)
    assert_same(series, QUANTITIES[name], tmp_path)


def test_real_trades_and_equity_are_those_of_vectorbt(shared_data: Path, tmp_path: Path) -> None:
    for name, qty in QUANTITIES.items():
        path = shared_data / f"{name}_USD_H1_2020_2023.parquet"
        assert_same(from_parquet(path, FREE.instrument(f"{name}/USD"), HOUR), qty, tmp_path / name)
