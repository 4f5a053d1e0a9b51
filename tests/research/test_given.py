"""What people give to a backtest: taken where its meaning is clear, else one sentence, in a notebook too."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pandas as pd
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

import ffe
from ffe import BarSet, Columns, Series, Settings, Signals, Strategy, backtest, synthetic
from ffe.errors import BadBars, ConfigError, DataError, FfeError, StrategyError
from ffe.hours import instant
from ffe.model import HOUR
from strategies.ma_cross import MaCross

BARS = synthetic([Settings().instrument("BTC/USD")], HOUR, instant("2024-01-01"), 200, seed=5)
CROSS = MaCross(fast=3, slow=8)


class OfOneColumn(Strategy):
    @property
    def warmup(self) -> int:
        return 1

    def signals(self, bars: Columns) -> Signals:
        return Signals(side=bars.close["BTC/USD"] * 0, confidence=80)  # type: ignore[arg-type]


def run(folder: Path, **given: Any) -> str:
    what = {"strategy": CROSS, "bars": BARS, "config": Settings(data_folder=folder)} | given
    return backtest(**what).plan.stamp.session


@pytest.mark.parametrize(
    ("given", "kind", "said"),
    [
        ({"strategy": MaCross}, StrategyError, "MaCross is a class: give a strategy of it, as in MaCross()"),
        ({"strategy": None}, StrategyError, "A NoneType is no strategy"),
        ({"strategy": OfOneColumn()}, StrategyError, "gives a side that is a Series: give a frame of time × symbol"),
        ({"bars": BARS.frame("close")}, DataError, r"The bars are a DataFrame: .*ffe\.load_bars\(it, '1h', symbol="),
        ({"bars": None}, DataError, "The bars are a NoneType"),
        ({"bars": ["BTC/USD"]}, DataError, "The bars are a list"),
        ({"config": 7}, ConfigError, "The config is a int: give ffe.load_settings"),
        ({"config": {"slots": {"slotz": 1}}}, ConfigError, "slotz"),
        ({"config": "nowhere.toml"}, ConfigError, r"nowhere\.toml: no such file"),
        ({"start": 1.5}, ConfigError, "'1.5' is no time: write it as"),
        ({"start": "soon"}, ConfigError, "'soon' is no time"),
        ({"start": True}, ConfigError, "'True' is no time"),
    ],
)  # fmt: skip
def test_what_is_not_clear_is_one_sentence(
    given: dict[str, Any], kind: type[FfeError], said: str, tmp_path: Path
) -> None:
    """Each was an AttributeError or a TypeError of ours, forty lines deep."""
    with pytest.raises(kind, match=said):
        run(tmp_path, **given)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "start",
    [
        "2024-01-05", pd.Timestamp("2024-01-05"), pd.Timestamp("2024-01-04 19:00", tz="America/New_York"),
        datetime.datetime(2024, 1, 5), datetime.date(2024, 1, 5), np.datetime64("2024-01-05"), instant("2024-01-05"),
    ],
)  # fmt: skip
def test_start_may_be_any_time_there_is(start: Any, tmp_path: Path) -> None:
    assert run(tmp_path, start=start) == run(tmp_path, start="2024-01-05")


def test_bars_may_be_series(tmp_path: Path) -> None:
    assert run(tmp_path, bars=BARS.series[0]) == run(tmp_path, bars=[*BARS]) == run(tmp_path)


def test_settings_may_be_a_table_or_a_path(tmp_path: Path) -> None:
    (tmp_path / "ffe.toml").write_text(f'data_folder = "{tmp_path}"\n')
    assert run(tmp_path, config={"data_folder": tmp_path}) == run(tmp_path, config=tmp_path / "ffe.toml")


def test_environment_stands_over_a_table_of_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it does over a file."""
    monkeypatch.setenv("FFE_GATE__VAR_RATIO", "0.04")
    monkeypatch.chdir(tmp_path)
    result = backtest(CROSS, BARS, {"data_folder": tmp_path})
    assert result.plan.settings.gate.var_ratio == 0.04 and result.plan.settings.data_folder == tmp_path


def test_parameters_that_do_not_exist_are_named() -> None:
    with pytest.raises(StrategyError, match=r"MaCross: fst: no such parameter\. Its parameters are fast \(20\), slow"):
        MaCross(fst=3)
    with pytest.raises(StrategyError, match="fast: Input should be a valid integer"):
        MaCross(fast="x")


# ---------------------------------------------------------------- bars that were made by hand


def by_hand(**changed: Callable[[np.ndarray], np.ndarray]) -> BarSet:
    opens = instant("2024-01-01") + HOUR * np.arange(50)
    price = 100.0 + np.arange(50.0)
    columns = {
        "open_time": opens, "close_time": opens + HOUR, "open": price, "high": price + 1, "low": price - 1,
        "close": price, "volume": price,
    }  # fmt: skip
    for name, change in changed.items():
        columns[name] = change(columns[name].copy())
    return BarSet((Series(Settings().instrument("BTC/USD"), HOUR, **columns),))


def set_at(row: int, value: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(values: np.ndarray) -> np.ndarray:
        values[row] = value
        return values

    return change


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"close": set_at(7, np.nan)}, "row 7 .*close is nan, not a number"),
        ({"low": set_at(7, -1.0)}, "row 7 .*low -1.0 is not above zero"),
        ({"open_time": lambda t: t[::-1].copy()}, "earlier than the row before"),
        ({"close_time": lambda t: t - HOUR}, "it ends before it opens"),
        ({"close_time": lambda t: t - HOUR // 2}, "it does not end where a bar of 1h does"),
    ],
)  # fmt: skip
def test_bars_made_by_hand_pass_the_checks_of_those_that_were_loaded(
    changed: dict[str, Any], said: str, tmp_path: Path
) -> None:
    """They ran, silently: with the close known at the open, +4,587 %."""
    settings = Settings(data_folder=tmp_path)
    with pytest.raises(BadBars, match=said):
        backtest(CROSS, by_hand(**changed), settings)
    backtest(CROSS, by_hand(), settings)


# ---------------------------------------------------------------- a notebook


CELLS = """
import ffe
from strategies.ma_cross import MaCross
bars = ffe.load_bars("AAPL", "1d", "2012-01-01", config={{"data_folder": "{folder}"}})
----
ffe.backtest(MaCross, bars)
----
class Mine(ffe.Strategy):
    @property
    def warmup(self): return 2
    def signals(self, bars):
        return bars.clos
ffe.backtest(Mine(), bars, {{"data_folder": "{folder}"}})
"""


@pytest.mark.slow
def test_mistake_in_a_notebook_is_shown_by_its_own_line_and_a_sentence(tmp_path: Path) -> None:
    """Sixty lines of ours stood between the two."""
    first, second, third = CELLS.format(folder=tmp_path).strip().split("\n----\n")
    for cell, line, sentence in (
        (second, "ffe.backtest(MaCross, bars)", "StrategyError: MaCross is a class"),
        (third, 'ffe.backtest(Mine(), bars, {"data_folder"', "StrategyError: Mine raised AttributeError"),
    ):
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in (first, cell)])
        client = NotebookClient(notebook, timeout=120, resources={"metadata": {"path": Path(ffe.__file__).parents[1]}})
        with pytest.raises(CellExecutionError):
            client.execute()
        (output,) = [out for out in notebook.cells[1].outputs if out.output_type == "error"]
        shown = "\n".join(output.traceback)
        assert line in shown and sentence in shown and len(shown.splitlines()) <= 4, shown
