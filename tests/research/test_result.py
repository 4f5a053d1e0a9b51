"""A result says what happened: statistics against answers worked out by hand, frames against the records themselves."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from math import isnan
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ffe import Act, BarSet, Command, Result, Settings, backtest, load_bars
from ffe.hours import instant
from ffe.model import DAY, LAYERS, DecisionId, InstrumentId, Outcome, Side
from ffe.research.backtest import Plan, World
from ffe.research.show import show
from ffe.research.stats import money, statistics
from strategies.ma_cross import MaCross
from tests.research.values import RISE, BuysOn, days, falling

pytestmark = pytest.mark.slow

# ---------------------------------------------------------------- statistics, by hand

TIMES = instant("2024-01-01") + DAY * np.arange(1, 5)
EQUITY = np.array([100.0, 110.0, 99.0, 108.9])  # +10 %, -10 %, +10 %


def trade(pnl: float, opened: int, closed: int, optimistic: float | None = None) -> Outcome:
    return Outcome(
        int(TIMES[closed]), int(TIMES[opened]), InstrumentId("paper:IBM"), "idea", Side.LONG, 1.0, 100.0, 100.0 + pnl,
        pnl, 0.25, "stop", DecisionId(f"{opened}{closed}"), 0, optimistic,
    )  # fmt: skip


TRADES = [trade(6.0, 0, 2), trade(-2.0, 1, 2, optimistic=3.0), trade(5.0, 2, 3)]

BY_HAND = {
    "start_equity": 100.0,
    "end_equity": 108.9,
    "total_return": 0.089,
    "annual_return": 32220.4,  # 1.089 to the power of 365.25 / 3, less 1
    "annual_volatility": 2.206807,  # the root of (2 · 0.0666… ² + 0.1333… ²) / 2, times the root of 365.25
    "sharpe": 5.517017,  # 0.0333… / 0.1154701 · the root of 365.25
    "sortino": 11.034035,  # 0.0333… / the root of 0.01 / 3, times the root of 365.25
    "max_drawdown": 0.1,  # 99 of 110
    "max_drawdown_days": 2.0,  # from the second day to the end
    "trades": 3,
    "win_rate": 2 / 3,
    "profit_factor": 5.5,  # 11 / 2
    "average_win": 5.5,
    "average_loss": -2.0,
    "pnl": 9.0,
    "optimistic_pnl": 14.0,
    "fees": 0.75,
    "days_in_market": 0.25,  # open at the second close alone; at the third two end and one begins
}


@pytest.mark.parametrize("name", BY_HAND)
def test_statistics_are_what_paper_and_pencil_give(name: str) -> None:
    assert getattr(statistics(TIMES, EQUITY, TRADES), name) == pytest.approx(BY_HAND[name], rel=1e-5)


def test_a_week_of_trading_days_counts_as_five() -> None:
    monday = instant("2024-01-01")
    times = monday + DAY * np.array([1, 2, 3, 4, 5, 8])  # Monday to Friday, and the Monday after
    found = statistics(times, np.array([100.0, 101, 100, 101, 100, 101]), [])
    per_year = 5 / (7 / 365.25)
    returns = np.array([0.01, -1 / 101, 0.01, -1 / 101, 0.01])
    assert found.annual_volatility == pytest.approx(returns.std(ddof=1) * per_year**0.5)


def test_a7_curve_that_never_falls_was_never_under_water() -> None:
    """Its longest drawdown was a day: the distance of two bars."""
    assert statistics(TIMES, np.array([100.0, 101, 101, 103]), []).max_drawdown_days == 0.0
    assert statistics(TIMES, np.array([100.0, 99, 100, 103]), []).max_drawdown_days == 2.0
    assert statistics(TIMES, np.array([100.0, 101, 100, 100]), []).max_drawdown_days == 2.0
    assert statistics(TIMES, np.array([100.0, 99, 98, 97]), []).max_drawdown_days == 3.0
    assert statistics(TIMES, np.array([100.0, 101, 102, 97]), []).max_drawdown_days == 1.0


def test_a6_open_trade_is_time_in_the_market() -> None:
    """Of a run that bought and held the share was 0."""
    assert statistics(TIMES, EQUITY, [], open_since=[int(TIMES[1])]).days_in_market == 0.5
    assert statistics(TIMES, EQUITY, [trade(1.0, 0, 2)], open_since=[int(TIMES[2])]).days_in_market == 0.5


def test_a14_money_is_shown_with_digits_that_fit_its_size() -> None:
    """An average loss of 0.0012 bitcoin was 0.00."""
    assert [money(0.00123, 0.5), money(0.00123, 1.0), money(12.3, 1e3), money(12.345, 1e5)] == [
        "0.001230", "0.00123", "12.30", "12.35",
    ]  # fmt: skip
    assert money(float("nan"), 1e5) == "–" and money(1.0, float("nan")) == "1.00"


def test_what_cannot_be_known_is_nan_and_not_zero() -> None:
    found = statistics(TIMES[:1], np.array([100.0]), [])
    assert found.total_return == 0.0
    for name in ("annual_return", "annual_volatility", "sharpe", "sortino", "win_rate", "profit_factor", "average_win"):
        assert isnan(getattr(found, name)), name


def test_bars_before_the_equity_was_known_are_left_out() -> None:
    found = statistics(TIMES, np.array([np.nan, 100.0, 90.0, 99.0]), [])
    assert (found.start_equity, found.total_return) == (100.0, pytest.approx(-0.01))


def test_an_equity_that_was_never_known_gives_nan() -> None:
    assert isnan(statistics(TIMES, np.full(4, np.nan), []).total_return)


# ---------------------------------------------------------------- a run's frames


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(data_folder=tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def stocks(settings: Settings) -> BarSet:
    return load_bars(["AAPL", "GOOG", "IBM", "MSFT"], start="2010-01-01", config=settings)


@pytest.fixture(scope="module")
def result(stocks: BarSet, settings: Settings) -> Result:
    return backtest(MaCross(fast=5, slow=15), stocks, settings)


@pytest.fixture(scope="module")
def written(result: Result) -> list[dict[str, object]]:
    return [json.loads(line) for line in (result.folder / "decisions.jsonl").read_text().splitlines()]


def test_trades_are_the_closed_ones_and_the_rest_is_named(result: Result) -> None:
    entered = result.decisions[(result.decisions["disposition"] == "sent") & (result.decisions["side"] == "LONG")]
    assert len(result.trades) == result.stats.trades > 20
    assert len(result.trades) + len(result.open_trades) == len(entered)
    assert (result.trades["opened"] < result.trades["time"]).all()
    assert set(result.trades["side"]) == {"LONG"}


def test_decisions_are_the_records(result: Result, written: list[dict[str, object]]) -> None:
    frame = result.decisions
    assert list(frame["id"]) == [record["id"] for record in written]
    assert list(frame["disposition"]) == [record["disposition"] for record in written]
    assert set(LAYERS) <= set(frame.columns)
    assert str(frame["time"].dtype) == "datetime64[ns, UTC]"


def test_gates_count_every_reviewed_entry_once_in_every_layer(result: Result) -> None:
    gates, dispositions = result.gates, result.decisions["disposition"]
    assert list(gates.index) == [layer.value for layer in LAYERS]
    assert (gates[["passed", "warned", "refused", "data_missing"]].sum(axis=1) == gates["judged"]).all()
    assert gates["first"].sum() == (dispositions == "refused").sum() > 0
    assert gates.loc["0A MARKET_HOURS", "waited"] == (dispositions == "waiting").sum() > 0


def test_a_layer_that_is_said_to_be_out_of_reach_never_spoke(result: Result) -> None:
    silent = result.gates[result.gates["unreachable"] != ""]
    assert "5 CROSS_VENUE" in silent.index
    assert (silent[["warned", "refused"]] == 0).all(axis=None)


def test_a_layer_that_speaks_is_within_reach_whatever_was_thought_before(stocks: BarSet, settings: Settings) -> None:
    poor = settings.but(venues={"paper": {"cash": 1_000.0}})  # one share of GOOG is half of it
    found = backtest(MaCross(fast=5, slow=15), stocks, poor, start="2011-01-01")
    assert "6 CONCENTRATION" in found.unreachable
    assert found.gates.loc["6 CONCENTRATION", "refused"] > 0
    assert found.gates.loc["6 CONCENTRATION", "unreachable"] == ""


def test_slots_are_the_open_trades_at_each_close(result: Result) -> None:
    opened, closed = result.trades["opened"], result.trades["time"]
    for time in result.slots.index[:-1:97]:
        assert result.slots[time] == ((opened < time) & (time < closed)).sum()
    assert result.slots.max() == 2
    assert result.slots.iloc[-1] == len(result.open_trades) == 1


def test_a_bar_that_holds_stop_and_target_is_counted_and_bounded(settings: Settings) -> None:
    bars = days(settings, [*RISE, RISE[-1] * 1.01], wide=0.1)
    found = backtest(BuysOn(when="2024-02-09"), bars, settings)
    assert found.ambiguous_bars == found.stats.trades == 1
    assert found.stats.pnl < 0.0 < found.stats.optimistic_pnl
    assert found.trades["pnl"].sum() == pytest.approx(found.equity.iloc[-1] - found.equity.iloc[0])


def test_re_arms_are_counted_and_shown(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    stops = [Command(instant(f"2024-01-{day}T12:00"), Act.EMERGENCY_STOP, "a script") for day in (10, 20)]
    found = backtest(BuysOn(when="1999-01-01"), days(settings, RISE), settings, world=World(script=stops))
    show(found)
    assert (found.re_arms, found.stop_outs) == (2, 0)
    assert re.search(r"re-armed by the operator +2", told := capsys.readouterr().out), told
    assert "margin stop-outs" not in told


def test_a_stop_out_counts_once_an_instant_and_venue(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    """100,000 EUR and 100,000 GBP on a margin of 10,000 lose 5,000 in an hour: both are closed at once."""
    held = [{"symbol": name, "qty": 1e5, "price": 1.1} for name in ("EUR/USD", "GBP/USD")]
    poor = settings.but(holdings=held, venues={"oanda": {"cash": 10_000.0}})
    found = backtest(BuysOn(when="1999-01-01"), falling(poor, "EUR/USD", "GBP/USD"), poor)
    show(found)
    assert (found.stop_outs, found.re_arms) == (1, 0)
    assert re.search(r"margin stop-outs +1", told := capsys.readouterr().out), told


def test_a_run_without_decisions_has_empty_frames_of_the_same_shape(settings: Settings) -> None:
    found = backtest(BuysOn(when="1999-01-01"), days(settings, RISE), settings)
    assert (len(found.trades), len(found.decisions), found.ambiguous_bars, found.slots.max()) == (0, 0, 0, 0)
    assert found.stats.total_return == 0.0
    assert (found.gates["judged"] == 0).all()


def test_plot_saves_a_picture(result: Result, tmp_path: Path) -> None:
    result.plot(tmp_path / "run.png")
    assert (tmp_path / "run.png").read_bytes().startswith(b"\x89PNG")


def test_a_result_introduces_itself(result: Result) -> None:
    assert f"{result.stats.trades} trades" in repr(result)
    assert "<table" in result._repr_html_()


def test_why_gives_the_layers_of_one_decision(result: Result) -> None:
    refused = result.decisions.query("disposition == 'refused'").iloc[0]
    told = result.why(refused["id"][:8])
    assert told.startswith("REFUSED paper:")
    assert str(refused["reason"]) in told


# ---------------------------------------------------------------- replay


def test_replay_of_an_untouched_run_finds_no_difference(result: Result) -> None:
    assert result.replay() is None


def test_replay_on_other_data_names_the_first_difference(result: Result, stocks: BarSet, settings: Settings) -> None:
    prices = next(iter(stocks))
    other = BarSet((replace(prices, close=np.r_[prices.close[:-1], prices.low[-1]]), *list(stocks)[1:]))
    plan = Plan(MaCross(fast=5, slow=15), other, settings, None, World())
    difference = Result(result.folder, plan, {}).replay()
    assert difference is not None
    assert (difference.file, difference.line) == ("journal.jsonl", 1)
    assert str(stocks.fingerprint()) in str(difference.a)
    assert str(other.fingerprint()) in str(difference.b)


def test_replay_names_the_record_that_was_edited(result: Result, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(result.folder, tmp_path / result.folder.name))
    file = folder / "decisions.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    file.chmod(0o600)
    file.write_text("".join([*lines[:6], lines[6].replace('"confidence":80', '"confidence":81'), *lines[7:]]))
    difference = Result(folder, result.plan, {}).replay()
    assert difference is not None
    assert (difference.file, difference.line) == ("decisions.jsonl", 7)


def test_the_same_run_again_gets_a_folder_of_its_own_and_the_same_bytes(settings: Settings) -> None:
    bars = days(settings, [*RISE, RISE[-1] * 1.01])
    first, second = (backtest(BuysOn(when="2024-02-09"), bars, settings).folder for _ in range(2))
    assert first != second
    for name in ("journal.jsonl", "decisions.jsonl", "equity.npy"):
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_bars_before_the_start_prime_without_orders(stocks: BarSet, settings: Settings) -> None:
    found = backtest(MaCross(fast=5, slow=15), stocks, settings, start="2012-01-01")
    assert found.equity.index[0] >= pd.Timestamp("2012-01-01", tz="UTC")
    assert found.gates["data_missing"].sum() == 0  # thirty daily returns were there from the first bar on
