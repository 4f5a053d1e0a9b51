"""The shipped strategies: each trades where there is something to trade, sees no future and does what its idea says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ffe import BarSet, Settings, Signals, Strategy, backtest, load_bars, synthetic
from ffe.hours import instant
from ffe.model import HOUR
from strategies.donchian_breakout import DonchianBreakout
from strategies.ma_cross import MaCross
from strategies.pullback import Pullback
from strategies.rsi_reversion import RsiReversion
from tests.research.values import RISE, columns, days

pytestmark = pytest.mark.slow

SHIPPED = (MaCross(), DonchianBreakout(), RsiReversion(), Pullback())
HERE = Path(__file__).parents[2] / "strategies"


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(data_folder=tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def stocks(settings: Settings) -> BarSet:
    return load_bars(["AAPL", "GOOG", "IBM", "MSFT"], start="2011-01-01", config=settings)


@pytest.fixture(scope="module")
def hours(settings: Settings) -> BarSet:
    instruments = [settings.instrument(name) for name in ("BTC/USD", "ETH/USD", "EUR/USD")]
    return synthetic(instruments, HOUR, instant("2024-01-01"), 24 * 60, seed=3, missing=0.01)


def decided(signals: Signals) -> dict[int, float]:
    """Row -> side, of the only column."""
    side = signals.side.to_numpy()[:, 0]
    return {int(row): float(side[row]) for row in np.flatnonzero(np.isfinite(side))}


@pytest.mark.parametrize("strategy", SHIPPED, ids=lambda strategy: strategy.name)
def test_it_trades_the_sample_stocks(strategy: Strategy, stocks: BarSet, settings: Settings) -> None:
    result = backtest(strategy, stocks, settings)  # raises if a decision needs the future
    assert result.stats.trades >= 10


@pytest.mark.parametrize("strategy", SHIPPED, ids=lambda strategy: strategy.name)
def test_it_trades_a_synthetic_hourly_market(strategy: Strategy, hours: BarSet, settings: Settings) -> None:
    assert backtest(strategy, hours, settings).stats.trades >= 10


@pytest.mark.parametrize("kind", [DonchianBreakout, RsiReversion])
def test_shorts_trade_where_the_instrument_allows_them_and_are_recorded_where_not(
    kind: type[Strategy], hours: BarSet, settings: Settings
) -> None:
    result = backtest(kind(short=True), hours, settings)
    shorts = result.decisions[result.decisions["side"] == "SHORT"]
    assert set(result.trades.loc[result.trades["side"] == "SHORT", "instrument"]) == {"oanda:EUR/USD"}
    assert set(shorts.loc[shorts["disposition"] == "not_tradable", "instrument"]) == {
        "coinbase:BTC/USD",
        "coinbase:ETH/USD",
    }


@pytest.mark.parametrize("file", sorted(HERE.glob("*.py")), ids=lambda file: file.stem)
def test_each_file_opens_with_its_idea_in_three_sentences_and_imports_only_ffe(file: Path) -> None:
    idea, code = file.read_text().split('"""')[1:3]
    assert len([line for line in idea.splitlines() if line]) == 3
    imported = {line.split()[1].partition(".")[0] for line in code.splitlines() if line.startswith(("from", "import"))}
    assert imported <= {"ffe", "collections", "itertools"}


# ---------------------------------------------------------------- what each idea says


def test_donchian_decides_when_its_channel_is_left_and_not_when_it_is_entered() -> None:
    closes = np.array([10.0, 10, 10, 10, 12, 12, 8])
    signals = DonchianBreakout(window=3).signals(columns(close=closes, high=closes + 1, low=closes - 1))
    assert decided(signals) == {4: 1.0, 6: 0.0}
    assert signals.stop is not None
    assert signals.stop.iloc[4, 0] == 9.0  # the lowest low of rows 1 to 3


def test_donchian_turns_around_with_the_stop_at_the_top_where_shorts_are_wanted() -> None:
    closes = np.array([10.0, 10, 10, 10, 12, 12, 8])
    signals = DonchianBreakout(window=3, short=True).signals(columns(close=closes, high=closes + 1, low=closes - 1))
    assert decided(signals) == {4: 1.0, 6: -1.0}
    assert signals.stop is not None
    assert signals.stop.iloc[6, 0] == 13.0  # the highest high of rows 3 to 5


def test_rsi_buys_the_fall_and_sells_above_the_middle() -> None:
    bars = columns(close=[10, 11, 12, 11, 8, 9, 12])  # strength from row 2 on: 100, 50, 0, 25, 100
    assert decided(RsiReversion(window=2).signals(bars)) == {4: 1.0, 6: 0.0}
    assert decided(RsiReversion(window=2, short=True).signals(bars)) == {4: 1.0, 6: -1.0}


@pytest.mark.parametrize(("rest", "trades"), [(20, 1), (0, 2)])
def test_pullback_rests_after_a_loss(rest: int, trades: int, settings: Settings) -> None:
    dip, crash = [0.998, 0.998], [0.94]
    steps = [*dip, *crash, *[1.01] * 8, *dip, *[1.02] * 3]
    bars = days(settings, [*RISE, *(RISE[-1] * np.cumprod(steps))])
    assert backtest(Pullback(trend=5, falls=2, rest=rest), bars, settings).stats.trades == trades
