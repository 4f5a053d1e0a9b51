"""The command line as a user meets it: the documented commands work, and every mistake gets one clear error.

Clear means: what, where and the next step on stderr, exit code 1, no traceback, and nothing lost.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ffe.cli import main
from ffe.hours import instant
from ffe.model import DAY, HOUR, Bar, InstrumentId
from tests.venues.alpha_vantage import AlphaVantage
from tests.venues.binance import Binance
from tests.venues.server import Server

pytestmark = pytest.mark.slow

STRATEGIES = Path(__file__).parents[1] / "strategies"
CROSS = ("backtest", "strategies/ma_cross.py:MaCross", "--symbols", "AAPL")
ID = "^ ([0-9a-f]{8}) "  # as a line of the list begins
SHORT = ("--from", "2012-01-01", "--set", "fast=5", "--set", "slow=15")

MISTAKES = """
from ffe import Bars, Columns, Side, Signal, Signals, Strategy, View

class Mistake(Strategy):
    @property
    def warmup(self): return 3

class Raises(Mistake):
    def signals(self, bars): return Signals(side=bars.close / (1 // 0), confidence=80)

class HasNoConfidence(Mistake):
    def signals(self, bars): return Signals(side=bars.close * 0, confidence=bars.close * float("nan"))

class Peeks(Mistake):
    def signals(self, bars): return Signals(side=bars.close.shift(-1).gt(bars.close).astype(float), confidence=80)

class MissesASymbol(Mistake):
    def signals(self, bars): return Signals(side=bars.close[["TSLA"]] * 0, confidence=80)

class MissesAField(Mistake):
    def signals(self, bars): return Signals(side=bars.vwap * 0, confidence=80)

class DropsRows(Mistake):
    def signals(self, bars): return Signals(side=bars.close.iloc[1:] * 0, confidence=80)

class MovesRows(Mistake):
    def signals(self, bars): return Signals(side=(bars.close * 0).shift(1, freq="D"), confidence=80)

class RenamesColumns(Mistake):
    def signals(self, bars): return Signals(side=bars.close.rename(columns=str.lower) * 0, confidence=80)

class GivesAnArray(Mistake):
    def signals(self, bars): return Signals(side=bars.close.to_numpy() * 0, confidence=80)

class StopsOtherwise(Mistake):
    def signals(self, bars): return Signals(side=bars.close * 0, confidence=80, stop=bars.close["AAPL"])

class SaysTwo(Mistake):
    def signals(self, bars): return Signals(side=bars.close * 0 + 2, confidence=80)

class ForgetsWarmup(Strategy):
    def signals(self, bars): return Signals(side=bars.close * 0, confidence=80)

class DoesNothing(Mistake): pass

class AnswersNothing(Mistake):
    def on_event(self, view): pass

class AnswersWords(Mistake):
    def on_event(self, view): return ["buy"]

class Misspells(Mistake):
    def on_event(self, view): return [Signal("AAPL", Side.LONG, 80, self.name)]

class HalvesWarmup(Strategy):
    @property
    def warmup(self): return 3 / 2
    def signals(self, bars): return Signals(side=bars.close * 0, confidence=80)

class OwesWarmup(HalvesWarmup):
    @property
    def warmup(self): return -3

class LosesWarmup(HalvesWarmup):
    @property
    def warmup(self): return 1 // 0

class HearsHalfWarm(Strategy):
    @property
    def warmup(self): return 5.0
    def on_event(self, view): return []

class NoReasonInColumns(Mistake):
    def signals(self, bars): return Signals(side=bars.close * 0, confidence=80, reasoning=None)

class Says(Mistake):
    def on_event(self, view):
        said = dict(confidence=80, provider="x") | self.wrong
        return [Signal("paper:AAPL", Side.LONG, **said)] if isinstance(view.event, Bars) else []

class WordsForStop(Says): wrong: dict = {"stop": "1"}
class WordsForQty(Says): wrong: dict = {"qty": "5"}
class TrueTarget(Says): wrong: dict = {"target": True}
class NoProvider(Says): wrong: dict = {"provider": None}
class NoReason(Says): wrong: dict = {"reasoning": None}
class MaybeAdds(Says): wrong: dict = {"add": "yes"}
class WordsForConfidence(Says): wrong: dict = {"confidence": "80"}

class RaisesLater(Mistake):
    goes_by_dates = True
    def on_event(self, view):
        if not isinstance(view.event, Bars): return []
        if view.time > 1_340_000_000_000_000_000: raise RuntimeError("enough")
        return [Signal(bar.instrument, Side.FLAT, 80, self.name) for bar in view.event.bars]
"""


@dataclass
class Done:
    code: int
    out: str
    err: str


class Terminal:
    """The command line in this process, as its entry point runs it."""

    def __init__(self, patch: pytest.MonkeyPatch, captured: pytest.CaptureFixture[str]) -> None:
        self.patch, self.captured = patch, captured

    def __call__(self, *words: str) -> Done:
        self.patch.setattr(sys, "argv", ["ffe", *words])
        with pytest.raises(SystemExit) as end:
            main()
        return Done(int(end.value.code or 0), *self.captured.readouterr())


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with the sample stocks of the tests, made once."""
    from ffe import Settings, load_bars

    folder = tmp_path_factory.mktemp("cache")
    load_bars(["AAPL"], config=Settings(data_folder=folder))
    return folder / "backtest_cache.duckdb"


@pytest.fixture
def home(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as a user has it: strategies, some of them mistaken, and a cache."""
    (tmp_path / "data").mkdir()
    shutil.copy(cache, tmp_path / "data")
    shutil.copytree(STRATEGIES, tmp_path / "strategies", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "mistakes.py").write_text(MISTAKES)
    (tmp_path / "nvda.toml").write_text(NVDA)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def ffe(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(monkeypatch, capsys)


def process(*command: str, home: Path, columns: int = 80) -> Done:
    """The same in a process of its own, as a shell starts it."""
    done = subprocess.run(
        command,
        cwd=home,
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": str(columns), "PYTHONUTF8": "1"},
    )
    return Done(done.returncode, done.stdout, done.stderr)


def assert_clear(done: Done, *said: str) -> None:
    """One error, on stderr, that says all of this."""
    assert done.code == 1, done
    assert "Traceback" not in done.err + done.out
    assert done.err.count("Error: ") + done.err.count("Bars: ") + done.err.count("Symbol: ") <= 2
    for words in said:
        assert words in done.err, done.err


# ---------------------------------------------------------------- mistakes at the keyboard


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--symbols TSLA", ["UnknownSymbol: 'TSLA'", "there are AAPL, BTC/USD", '[instruments."TSLA"]']),
        ("--symbols ,", ["No symbol is named", "AAPL,IBM"]),
        ("--symbols AAPL --interval 1x", ["'1x' is no interval", "15m, 1h or 1d"]),
        ("--symbols AAPL --interval 1h", ["paper:AAPL 1h: no bars", "import FILE --symbol AAPL --interval 1h"]),
        ("--symbols AAPL --from 2020-01-01", ["2020-01-01 00:00", "has 2000-03-01", "ffe data import"]),
        ("--symbols AAPL --from 2012-02-01 --to 2012-01-01", ["2012-02-01 00:00 – 2012-01-01 00:00 holds no"]),
        ("--symbols AAPL --from 2012-01-14 --to 2012-01-16", ["nothing traded", "wider range"]),
        ("--symbols AAPL --from 1999-01-01", ["no bars 1999-01-04", "ffe data import"]),
        ("--symbols AAPL --from yesterday", ["'yesterday' is no time", "2024-03-29"]),
        ("--symbols AAPL --from 0001-01-01", ["'0001-01-01' lies outside the years 1678 – 2261"]),
        ("--symbols AAPL --to 9999-12-31", ["'9999-12-31' lies outside the years"]),
        ("--symbols AAPL --start 9999-01-01", ["'9999-01-01' lies outside the years"]),
        ("--symbols AAPL --to 2261-12-31", ["Hours of XNYS are not known for 2000 – 2261"]),
        ("--symbols AAPL --interval 99999999d", ["'99999999d' is no interval", "at most 366d"]),
        ("--symbols AAPL --config strategies", ["strategies: Is a directory", "can be read"]),
        ("--symbols AAPL --start 2020-01-01", ["No bars after 2020-01-01", "2013-03-01"]),
        ("--symbols AAPL --set speed=3", ["speed: no such parameter", "fast (20), slow (50), confidence (80)"]),
        ("--symbols AAPL --set fast=0", ["fast: Input should be greater than or equal to 1", "fast (20)"]),
        ("--symbols AAPL --set fast=quick", ["fast: Input should be a valid integer"]),
        ("--symbols AAPL --set fast", ["--set fast: write it as name=value"]),
        ("--symbols AAPL --config my.toml", ["my.toml: no such file", "leave --config away"]),
    ],
)  # fmt: skip
def test_backtest_refuses_a_mistake_in_its_options(ffe: Terminal, words: str, said: list[str]) -> None:
    assert_clear(ffe("backtest", "strategies/ma_cross.py:MaCross", *words.split()), *said)


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("strategies/nothing.py:MaCross", ["strategies/nothing.py: no such file", "ma_cross.py, pullback.py"]),
        ("strategies/ma_cross.py:MaCros", ["no strategy 'MaCros'", "it has MaCross"]),
        ("ma_cross", ["names no strategy", "path/to/file.py:ClassName"]),
        ("no_such_module:MaCross", ["No module named 'no_such_module'", "path/to/file.py:ClassName"]),
        ("__main__:MaCross", ["defined in a notebook or a script", "keep it in a file"]),
    ],
)
def test_backtest_refuses_a_strategy_it_cannot_find(ffe: Terminal, reference: str, said: list[str]) -> None:
    assert_clear(ffe("backtest", reference, "--symbols", "AAPL"), *said)


@pytest.mark.parametrize(
    ("code", "said"),
    [("def (", "SyntaxError"), ("import no_such", "No module named"), ("raise RuntimeError('x')", "RuntimeError")],
)
def test_a_strategy_file_that_cannot_be_loaded_is_named_with_its_line(
    ffe: Terminal, home: Path, code: str, said: str
) -> None:
    (home / "broken.py").write_text(f"\n{code}\n")
    assert_clear(ffe("backtest", "broken.py:Any", "--symbols", "AAPL"), "StrategyError: broken.py", said, "line 2")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Raises", ["raised ZeroDivisionError", "line 9 of", "mistakes.py"]),
        ("HasNoConfidence", ["paper:AAPL at 2012-01-03", "a confidence of nan", "from 0 to 100"]),
        ("Peeks", ["LookAhead", "for paper:AAPL at 2012-", "the last 3", "a negative shift"]),
        ("MissesASymbol", ["KeyError", "TSLA", "over AAPL", "line 18 of"]),
        ("MissesAField", ["no column 'vwap'", "open, high, low, close, volume", "line 21 of"]),
        ("DropsRows", ["rows for", "one row per bar"]),
        ("MovesRows", ["rows of other times", "keep the index of bars.close"]),
        ("RenamesColumns", ["the columns aapl", "its bars have AAPL"]),
        ("GivesAnArray", ["a side that is a ndarray", "as bars.close is"]),
        ("StopsOtherwise", ["frames with the rows and columns of side"]),
        ("SaysTwo", ["paper:AAPL at 2012-01-03", "the side 2.0", "1 is long"]),
        ("ForgetsWarmup", ["does not say its warmup", "add a property"]),
        ("DoesNothing", ["neither signals(bars) nor on_event(view)"]),
        ("AnswersNothing", ["returns NoneType at 2012-01-03", "return a list"]),
        ("AnswersWords", ["gives 'buy'", "ffe.Signal("]),
        ("Misspells", ["signals AAPL", "knows paper:AAPL"]),
        ("HalvesWarmup", ["HalvesWarmup gives a warmup of 1.5: a whole number of bars"]),
        ("OwesWarmup", ["OwesWarmup gives a warmup of -3"]),
        ("LosesWarmup", ["LosesWarmup raised ZeroDivisionError in warmup", "mistakes.py"]),
        ("HearsHalfWarm", ["HearsHalfWarm gives a warmup of 5.0"]),
        ("WordsForStop", ["gives paper:AAPL the stop '1': it must be a number or None"]),
        ("WordsForQty", ["the qty '5': it must be a number or None"]),
        ("TrueTarget", ["the target True: it must be a number or None"]),
        ("NoProvider", ["the provider None: it must be text"]),
        ("NoReason", ["the reasoning None: it must be text"]),
        ("NoReasonInColumns", ["the reasoning None: it must be text"]),
        ("MaybeAdds", ["the add 'yes': it must be True or False"]),
        ("WordsForConfidence", ["a confidence of '80'", "from 0 to 100"]),
        ("RaisesLater", ["RuntimeError in on_event at 2012-06-18", "enough"]),
    ],
)
def test_a_strategy_that_errs_is_stopped_and_told(ffe: Terminal, name: str, said: list[str]) -> None:
    assert_clear(ffe("backtest", f"mistakes.py:{name}", "--symbols", "AAPL", "--from", "2012-01-01"), *said)


def test_what_was_decided_before_a_strategy_raised_stays_readable(ffe: Terminal) -> None:
    ffe("backtest", "mistakes.py:RaisesLater", "--symbols", "AAPL", "--from", "2012-01-01")
    listed = ffe("decisions", "list", "--last", "1")
    assert listed.code == 0
    assert "2012-06-15" in listed.out
    assert "the run was killed" in ffe("decisions", "verify").err


# ---------------------------------------------------------------- mistakes in the configuration


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ("[gate]\nvar_ratoi = 0.04", ["ffe.toml: gate.var_ratoi: no such setting", "`ffe config`"]),
        ("[gates]\nvar_ratio = 0.04", ["ffe.toml: gates: no such setting"]),
        ("[gate]\nvar_ratio = -1", ["ffe.toml: gate: ", "var_ratio = -1.0: must be positive"]),
        ('[gate]\nvar_ratio = "low"', ["gate.var_ratio: Input should be a valid number"]),
        ("[slots]\nqueue_hours = 1e300", ["slots.queue_hours = 1e+300: must not be longer than a year"]),
        ("[gate]\ndrawdown_window_days = 367", ["gate.drawdown_window_days = 367: must not be longer"]),
        ("[controls]\nrepeat_seconds = 1e9", ["controls.repeat_seconds = 1e+09: must not be longer than a year"]),
        ("[controls]\nmax_day_loss = -1.0", ["max_day_loss = -1.0: must be positive and finite"]),
        ('[controls.max_order_qty]\n"BTC" = 1.0', ["controls.max_order_qty: no [instruments.'BTC'] is described"]),
        ("[breaker]\nopen_seconds = inf", ["breaker: ", "open_seconds = inf: must be positive and finite"]),
        ("[venues.paper]\nhorizon_seconds = inf", ["venues.paper.horizon_seconds: Input should be a finite number"]),
        ("[venues.paper]\nhorizon_seconds = 1e300", ["venues.paper.horizon_seconds: Input should be less than"]),
        ("[venues.paper]\ncash = inf", ["venues.paper.cash: Input should be a finite number"]),
        ("[venues.paper]\ncash = nan", ["venues.paper.cash: Input should be"]),
        ('[[holdings]]\nsymbol = "AAPL"\nqty = nan\nprice = 1.0', ["holdings.0.qty: Input should be a finite number"]),
        ("[instruments.AAPL]\ntick = inf", ["instruments.AAPL.tick: Input should be a finite number"]),
        ("[slots]\nslots = 3", ["slots = 3: must lie between 1 and 2"]),
        ("[gate\nvar_ratio = 0.04", ["ffe.toml: not valid TOML", "line 1"]),
        ('[instruments.TSLA]\nvenue = "paper"', ["instruments.TSLA.asset_class: Field required"]),
        ('[instruments.AAPL]\nvenue = "nyse"', ["instruments.AAPL: no [venues.nyse] is described"]),
    ],
)
def test_a_mistake_in_ffe_toml_is_named_with_its_key(ffe: Terminal, home: Path, toml: str, said: list[str]) -> None:
    (home / "ffe.toml").write_text(toml)
    assert_clear(ffe("config"), *said)
    assert_clear(ffe(*CROSS), *said)


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("FFE_GATE__VAR_RATOI", "0.04", "the environment: gate.var_ratoi: no such setting"),
        ("FFE_GAET", "0.04", "the environment: ffe_gaet: no such setting"),
        ("FFE_GATE__VAR_RATIO", "low", "the environment: gate.var_ratio: Input should be a valid number"),
        ("FFE_GATE", "low", "the environment: error parsing value for field"),
    ],
)
def test_a_mistake_in_the_environment_is_named(
    ffe: Terminal, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str
) -> None:
    monkeypatch.setenv(variable, value)
    assert_clear(ffe("config"), said)


def test_the_environment_goes_over_dotenv_and_dotenv_over_the_file(
    ffe: Terminal, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "ffe.toml").write_text("[gate]\nvar_ratio = 0.01\ndrawdown_ratio = 0.01\nleverage_ratio = 1.5\n")
    (home / ".env").write_text("FFE_GATE__VAR_RATIO=0.02\nFFE_GATE__DRAWDOWN_RATIO=0.02\nCOINBASE_API_KEY=secret\n")
    monkeypatch.setenv("FFE_GATE__VAR_RATIO", "0.03")
    (home / ".env").chmod(0o666)  # whoever writes there says where records, and the latch, are
    assert_clear(ffe("config"), "ConfigError", ".env can be read by others, or written: chmod 600 .env")
    (home / ".env").chmod(0o600)
    shown = ffe("config").out
    assert '"var_ratio": 0.03' in shown
    assert '"drawdown_ratio": 0.02' in shown
    assert '"leverage_ratio": 1.5' in shown
    assert "secret" not in shown


# ---------------------------------------------------------------- mistakes in files and folders

HEAD = "time,open,high,low,close,volume"
ROWS = [f"2024-01-01 {hour:02d}:00:00,100,102,98,101,7" for hour in range(24)]
EVERY_OTHER = [*ROWS[::2], *(row.replace("01-01", "01-02") for row in ROWS[::2])]


def with_row(row: str) -> str:
    return "\n".join([HEAD, *ROWS[:5], row, *ROWS[6:]])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (with_row("2024-01-01 05:00:00,100,97,98,101,7"), "row 5 at 2024-01-01 05:00: high 97.0 is under low 98.0"),
        (with_row("2024-01-01 05:00:00,100,102,98,110,7"), "close 110.0 lies outside low 98.0 – high 102.0"),
        (with_row("2024-01-01 05:00:00,100,102,98,,7"), "row 5: its close is empty"),
        (with_row("2024-01-01 05:00:00,100,102,98,much,7"), "row 5: its close is 'much', no number"),
        (with_row("2024-01-01 05:00:00,100,102"), "row 5: its close is empty"),
        (with_row("2024-01-01 05:00:00,0,102,0,101,7"), "open 0.0 is not above zero"),
        (with_row("2024-01-01 05:00:00,-1,102,-2,101,7"), "open -1.0 is not above zero"),
        (with_row("2024-01-01 05:00:00,100,102,98,101,-7"), "volume -7.0 is negative"),
        (with_row("2024-01-01 04:00:00,100,102,98,101,7"), "row 5 at 2024-01-01 04:00: the same time as the row"),
        (with_row("2024-01-01 02:00:00,100,102,98,101,7"), "row 5 at 2024-01-01 02:00: earlier than the row before"),
        (with_row("2024-01-01 05:30:00,100,102,98,101,7"), "not on the grid of 1h"),
        (with_row(",100,102,98,101,7"), "row 5: its time is empty"),
        (with_row("yesterday,100,102,98,101,7"), "row 5: its time is 'yesterday', and the others read as %Y-%m-%d"),
        ("\n".join([HEAD, *EVERY_OTHER]), "it is another interval"),
        (HEAD, "holds no rows"),
        ("", "holds no rows"),
        ("\n".join([HEAD.replace("close", "last"), *ROWS]), "has no column close, but time, open, high, low, last"),
        ("\n".join([HEAD.replace("time", "when"), *ROWS]), "has no column time"),
    ],
)  # fmt: skip
def test_bars_that_cannot_be_true_are_refused_and_those_before_them_kept(
    ffe: Terminal, home: Path, text: str, said: str
) -> None:
    (home / "good.csv").write_text("\n".join([HEAD, *ROWS]))
    (home / "bad.csv").write_text(text)
    ffe("data", "import", "good.csv", "--symbol", "BTC/USD", "--interval", "1h")
    assert_clear(ffe("data", "import", "bad.csv", "--symbol", "BTC/USD", "--interval", "1h"), said)
    assert "BTC/USD │ coinbase │ 1h       │ 2024-01-01 00:00 │ 2024-01-01 23:00 │ 24" in ffe("data", "list").out


NVDA = """
[instruments.NVDA]
venue = "paper"
asset_class = "stock"
base = "NVDA"
quote = "USD"
hours = "XNYS"
"""
DAYS_OF_A_SPLIT = "time,open,high,low,close,volume\n" + "".join(
    f"2024-06-{day:02},{p},{p + 1},{p - 1},{p},{v}\n"
    for day, p, v in ((5, 1200, 10), (6, 1210, 10), (7, 1208, 10), (10, 121, 100), (11, 122, 100))
)


def test_a10_split_is_named_at_import_and_can_be_adjusted(ffe: Terminal, home: Path) -> None:
    """A 10:1 split was a loss of 90 %, and a portfolio stop."""
    (home / "bars.csv").write_text(DAYS_OF_A_SPLIT)
    done = ffe("data", "import", "bars.csv", "--symbol", "NVDA", "--interval", "1d", "--config", "nvda.toml")
    assert "NVDA 1d: looks like a split of 10:1 at 2024-06-10" in done.out
    command = next(line.partition("If it is one: ")[2] for line in done.out.splitlines() if "If it is one" in line)
    done = ffe(*command.split()[1:], "--config", "nvda.toml")
    assert done.code == 0 and "0 added, 3 changed, 0 kept" in done.out
    ffe("data", "export", "NVDA", "1d", "out.csv", "--config", "nvda.toml")
    closes = [float(line.split(",")[4]) for line in (home / "out.csv").read_text().splitlines()[1:]]
    assert closes == [120.0, 121.0, 120.8, 121.0, 122.0]
    assert [line.rpartition(",")[2] for line in (home / "out.csv").read_text().splitlines()[1:]] == ["100.0"] * 5
    assert "split" not in ffe("data", "check", "--config", "nvda.toml").out.replace("splits", "")
    assert_clear(
        ffe("data", "adjust", "NVDA", "1d", "--split", "2024-06-10", "--config", "nvda.toml"), "2024-06-10=10:1"
    )
    early = ffe("data", "adjust", "NVDA", "1d", "--split", "2024-01-10=10:1", "--config", "nvda.toml")
    assert_clear(early, "bars on one side only of 2024-01-10 00:00")
    assert_clear(ffe(*command.split()[1:], "--config", "nvda.toml"), "is no split of 10:1", "adjusted already?")
    ffe("data", "export", "NVDA", "1d", "again.csv", "--config", "nvda.toml")
    assert (home / "again.csv").read_text() == (home / "out.csv").read_text()


def test_adjusting_for_a_split_brings_back_no_range_that_was_removed(ffe: Terminal, home: Path) -> None:
    """Its bars were said to be all there."""
    (home / "bars.csv").write_text(DAYS_OF_A_SPLIT)
    ffe("data", "import", "bars.csv", "--symbol", "NVDA", "--interval", "1d", "--config", "nvda.toml")
    ffe("data", "rm", "NVDA", "1d", "--from", "2024-06-06", "--to", "2024-06-07", "--config", "nvda.toml")
    done = ffe("data", "adjust", "NVDA", "1d", "--split", "2024-06-10=10:1", "--config", "nvda.toml")
    assert "0 added, 2 changed, 0 kept" in done.out
    run = ("backtest", "strategies/ma_cross.py:MaCross", "--symbols", "NVDA", "--config", "nvda.toml")
    assert_clear(ffe(*run), "MissingBars", "no bars 2024-06-06")


def test_what_is_exported_is_imported_as_the_same_bars(ffe: Terminal, home: Path) -> None:
    ffe(*CROSS, *SHORT)  # loads the samples
    for name in ("out.csv", "out.parquet"):
        done = ffe("data", "export", "AAPL", "1d", name)
        assert done.code == 0 and name in done.out
        assert "0 added, 0 changed, 0 kept" in ffe("data", "import", name, "--symbol", "AAPL", "--interval", "1d").out
        assert_clear(ffe("data", "export", "AAPL", "1d", name), "NotWritable", "is there already")


def test_gaps_are_listed_and_bars_can_be_removed(ffe: Terminal, home: Path) -> None:
    ffe(*CROSS, *SHORT)
    assert "0 bars are missing in 0 gaps" in ffe("data", "gaps", "AAPL", "1d").out
    done = ffe("data", "rm", "AAPL", "1d", "--from", "2010-01-01", "--to", "2010-02-01")
    assert "AAPL 1d: 19 bars are no longer in" in done.out
    said = ffe("data", "gaps", "AAPL", "1d").out
    assert "19 bars are missing in" in said and "2010-01-04 14:30" in said
    assert_clear(ffe(*CROSS, "--from", "2009-01-01"), "MissingBars", "no bars 2010-01-04")
    assert "no longer" in ffe("data", "rm", "AAPL", "1d").out
    assert_clear(ffe("data", "gaps", "AAPL", "1d"), "MissingBars", "`ffe data list`")


def test_bar_that_is_not_finished_is_not_imported(ffe: Terminal, home: Path) -> None:
    (home / "bars.csv").write_text(
        "time,open,high,low,close,volume\n2024-01-02,1,2,0.5,1.5,7\n2091-01-02,1,2,0.5,1.5,7\n"
    )
    done = ffe("data", "import", "bars.csv", "--symbol", "BTC/USD", "--interval", "1d")
    assert_clear(done, "BadBars", "row 1 at 2091-01-02 00:00 ends at 2091-01-03 00:00, which is not yet")


def test_check_proves_every_bar_and_writes_no_run(ffe: Terminal, home: Path) -> None:
    for strategy, said in (
        ("ma_cross.py:MaCross", "asked again, with all bars moved; each decided the same"),
        ("pullback.py:Pullback", "asked again, with all bars moved; each decided the same"),
    ):
        done = ffe("check", f"strategies/{strategy}", "--symbols", "AAPL", "--from", "2012-01-01")
        assert done.code == 0 and said in done.out
        (proven, bars) = re.search(r"([\d,]+) of ([\d,]+) bars", done.out).groups()  # type: ignore[union-attr]
        assert strategy.startswith("pullback") or proven == bars
    assert not (home / "data" / "runs").exists()


def test_check_claims_no_more_than_was_asked(ffe: Terminal, home: Path) -> None:
    """Of a strategy that goes by dates it said that the bars had been moved."""
    (home / "dated.py").write_text(
        (home / "strategies" / "pullback.py").read_text() + "\n\nPullback.goes_by_dates = True\n"
    )
    done = ffe("check", "dated.py:Pullback", "--symbols", "AAPL", "--from", "2012-06-01")
    assert "Pullback: 0 of " in done.out and "not with moved bars" in done.out and "with all bars moved" not in done.out


def test_check_names_the_bar_and_the_cell_that_were_looked_at(ffe: Terminal) -> None:
    done = ffe("check", "mistakes.py:Peeks", "--symbols", "AAPL", "--from", "2012-01-01")
    assert_clear(done, "LookAhead: Peeks decides ", "1 ahead: close of ", "Look for a negative shift")


def test_nothing_of_the_folder_is_run_where_no_strategy_is(ffe: Terminal, home: Path) -> None:
    """Libraries look for others that may be installed: a folder's author put files of their names into it."""
    ffe(*CROSS, *SHORT)
    (run,) = (home / "data" / "runs").iterdir()
    (home / "data" / "permit").touch()  # as where a session ran
    for name in ("brotli", "numexpr", "bottleneck", "backports", "brotlicffi", "pyarrow", "colorama"):
        (home / f"{name}.py").write_text(f"from pathlib import Path\nPath('ran-{name}').touch()\nraise ImportError\n")
    script = Path(sys.executable).parent / "ffe"
    for command in ("stop --force", "status", "data list", f"decisions list --run {run}", f"replay {run}"):
        subprocess.run([script, *command.split()], cwd=home, capture_output=True, timeout=60)
    assert not list(home.glob("ran-*"))


def test_data_folder_with_a_strange_name_is_refused(ffe: Terminal, home: Path) -> None:
    (home / "ffe.toml").write_text('data_folder = "a\\u0000b"\n')
    assert_clear(ffe("config"), "ConfigError", "data_folder", "no name of a folder")


def test_a4_import_says_what_it_added_and_changed_and_removes_nothing(ffe: Terminal, home: Path) -> None:
    (home / "all.csv").write_text("\n".join([HEAD, *ROWS]))
    (home / "two.csv").write_text("\n".join([HEAD, ROWS[2], ROWS[20].rpartition(",")[0] + ",8"]))
    command = ("--symbol", "BTC/USD", "--interval", "1h")
    assert "24 added, 0 changed, 0 kept" in ffe("data", "import", "all.csv", *command).out
    assert "0 added, 1 changed, 17 kept" in ffe("data", "import", "two.csv", *command).out
    assert "│ 24" in ffe("data", "list").out


def test_times_that_can_be_read_in_two_ways_are_imported_by_a_word(ffe: Terminal, home: Path) -> None:
    rows = (f"05/03/2024 {hour:02}:00,100,102,98,101,7" for hour in range(24))
    (home / "day.csv").write_text("\n".join([HEAD.replace("time", "Gmt time"), *rows]))
    command = ("data", "import", "day.csv", "--symbol", "BTC/USD", "--interval", "1h")
    assert_clear(ffe(*command), "2024-03-05 00:00", "2024-05-03 00:00", "--time-format")
    assert_clear(ffe(*command, "--columns", "time=when"), "no column 'when', but Gmt time, open")
    assert_clear(ffe(*command, "--columns", "when"), "--columns when: write it as name=value")
    done = ffe(*command, "--time-format", "%d/%m/%Y %H:%M", "--columns", "time=Gmt time")
    assert done.code == 0 and "24 bars, 2024-03-05 00:00 – 2024-03-06 00:00" in done.out


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("none.csv", "no such file"),
        ("bars.txt", "no line names its columns"),
        ("bars.pdf", "neither csv, parquet nor feather"),
        ("bars.parquet", "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_bars_is_named(ffe: Terminal, home: Path, file: str, said: str) -> None:
    for name in ("bars.txt", "bars.pdf"):
        (home / name).write_text("bars")
    (home / "bars.parquet").write_text("bars")
    assert_clear(ffe("data", "import", file, "--symbol", "BTC/USD", "--interval", "1h"), file, said)


def test_a_data_folder_under_a_regular_file_is_named(ffe: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FFE_DATA_FOLDER", "mistakes.py/data")
    assert_clear(ffe(*CROSS), "NotWritable: mistakes.py/data", "a folder you can write to")


def test_runs_that_cannot_be_written_are_named_before_anything_is_traded(ffe: Terminal, home: Path) -> None:
    (home / "data" / "runs").write_text("a file where the runs should be")
    assert_clear(ffe(*CROSS, *SHORT), "NotWritable: data/runs/MaCross-", "Choose a folder that can be written")


def test_a_picture_that_cannot_be_written_loses_no_record(ffe: Terminal) -> None:
    assert_clear(ffe(*CROSS, *SHORT, "--plot", "nowhere/run.png"), "nowhere/run.png", "in a folder that is there")
    assert ffe("decisions", "verify").code == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("replay data/runs/none", ["data/runs/none", "is missing", "the folder of a run"]),
        ("replay data", ["data/journal.jsonl is missing"]),
        ("decisions list --run none", ["none: no such folder", "data/runs"]),
        ("decisions list --run data", ["data/decisions.jsonl is missing"]),
        ("decisions verify --run data", ["data: no records here"]),
        ("decisions why 1 --run none", ["none: no such folder"]),
        ("decisions list", ["data/runs holds no run yet", "ffe backtest"]),
    ],
)
def test_a_run_that_is_not_there_is_named(ffe: Terminal, words: str, said: list[str]) -> None:
    assert_clear(ffe(*words.split()), *said)


# ---------------------------------------------------------------- history from venues

VENUES = """
[venues.binance]
source = "ccxt"
currency = "USDT"
address = "http://127.0.0.1:{port}"

[venues.vantage]
source = "alpha_vantage"
address = "http://127.0.0.1:{port}"

[venues.nowhere]
source = "ccxt"
exchange = "no_exchange"

[instruments."BTC/USDT"]
venue = "binance"
asset_class = "crypto"
base = "BTC"
quote = "USDT"

[instruments."XYZ/USDT"]
venue = "binance"
asset_class = "crypto"
base = "XYZ"
quote = "USDT"

[instruments.NVDA]
venue = "vantage"
asset_class = "stock"
base = "NVDA"
quote = "USD"
hours = "XNYS"

[instruments."ABC/USD"]
venue = "nowhere"
asset_class = "crypto"
base = "ABC"
quote = "USD"
"""
JANUARY = instant("2024-01-01")
TEN_HOURS = ("--from", "2024-01-01", "--to", "2024-01-01T10:00")


@pytest.fixture
def loopback(home: Path) -> Iterator[Server]:
    """A venue with a day of hours, but for the first two and 05:00; the settings name it."""
    venue = Binance(clock=lambda: JANUARY + 90 * DAY)
    opens = [JANUARY + n * HOUR for n in range(24) if n not in (0, 1, 5)]
    venue.bars["BTCUSDT", "1h"] = [
        Bar(InstrumentId("binance:BTC/USDT"), HOUR, t, t + HOUR, 100.0, 102.0, 99.0, 101.0, 7.0) for t in opens
    ]
    with Server(venue) as server:
        (home / "ffe.toml").write_text(VENUES.format(port=server.port))
        yield server


@pytest.fixture
def keyless(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OANDA_API_KEY", "OANDA_ACCOUNT_ID", "ALPHA_VANTAGE_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def test_history_is_fetched_listed_and_not_fetched_again(ffe: Terminal, loopback: Server) -> None:
    fetched = ffe("data", "fetch", "BTC/USDT", "1h", *TEN_HOURS)
    assert "binance:BTC/USDT 1h: 7 bars, 2024-01-01 02:00 – 2024-01-01 10:00 (7 new)" in fetched.out
    assert "nothing before 2024-01-01 02:00 (2 bars in 1 gap)" in fetched.out
    assert "has not 1 bar in 1 gap, most of them in 2024-01-01 05:00 – 2024-01-01 06:00" in fetched.out
    assert "BTC/USDT │ binance │ 1h       │ 2024-01-01 02:00 │ 2024-01-01 09:00 │ 7" in ffe("data", "list").out
    loopback.app = lambda request: pytest.fail(request.path)
    assert "7 bars, 2024-01-01 02:00 – 2024-01-01 10:00 (0 new)" in ffe(
        "data", "fetch", "BTC/USDT", "1h", *TEN_HOURS
    ).out  # fmt: skip


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("EURO 1h --from 2024-01-01", ["UnknownSymbol: 'EURO' is not known", '[instruments."EURO"]']),
        ("XYZ/USDT 1h --from 2024-01-01", ["binance refuses: binance does not have market symbol XYZ/USDT"]),
        ("BTC/USDT 7h --from 2024-01-01", ["binance has no bars of 25200 s"]),
        ("BTC/USDT hourly --from 2024-01-01", ["'hourly' is no interval: write it as 15m, 1h or 1d"]),
        ("BTC/USDT 1h --from yesterday", ["'yesterday' is no time: write it as 2024-03-29"]),
        ("BTC/USDT 1h --from 2024-02-01 --to 2024-01-01", ["2024-02-01 does not lie before --to 2024-01-01"]),
        ("BTC/USDT 1h --from 2150-01-01", ["--from 2150-01-01 lies in the future", "Name a time before"]),
        (", 1h --from 2024-01-01", ["No symbol is named"]),
        ("AAPL 1d --from 2024-01-01", ["paper names no source of bars", "[venues.paper]", "ffe data import FILE"]),
        ("ABC/USD 1d --from 2024-01-01", ["ccxt knows no exchange 'no_exchange'", "[venues.nowhere]"]),
        ("EUR/USD 1h --from 2024-01-01", ["OANDA_API_KEY is not set", ".env"]),
        ("NVDA 1d --from 2024-01-01", ["ALPHA_VANTAGE_API_KEY is not set", ".env"]),
    ],
)
def test_history_that_cannot_be_fetched_is_one_clear_message(
    ffe: Terminal, loopback: Server, keyless: None, words: str, said: list[str]
) -> None:
    assert_clear(ffe("data", "fetch", *words.split()), *said)


def test_a_key_that_is_not_taken_is_not_shown(
    ffe: Terminal, loopback: Server, keyless: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    loopback.app = AlphaVantage()
    monkeypatch.setenv("ALPHA_VANTAGE_API_KEY", "canary-51c8")
    refused = ffe("data", "fetch", "NVDA", "1d", "--from", "2024-01-01", "--to", "2024-02-01")
    assert_clear(refused, "vantage does not take the key: the parameter apikey is invalid", "Correct it in .env")
    assert "canary-51c8" not in refused.out + refused.err


def test_a_venue_that_cannot_be_reached_is_named(ffe: Terminal, home: Path) -> None:
    (home / "ffe.toml").write_text(VENUES.format(port=9))
    assert_clear(ffe("data", "fetch", "BTC/USDT", "1h", *TEN_HOURS), "binance gave no answer", "Look at the network")


def test_bars_that_a_venue_may_have_are_to_be_fetched(ffe: Terminal, loopback: Server) -> None:
    missing = ffe(*CROSS[:3], "BTC/USDT", "--interval", "1h", "--from", "2024-01-01")
    assert_clear(missing, "Put them there: ffe data fetch BTC/USDT 1h --from 2024-01-01")


# ---------------------------------------------------------------- the documented way


def test_a_run_is_listed_explained_verified_and_replayed(ffe: Terminal, home: Path) -> None:
    shown = ffe(*CROSS, *SHORT, "--plot", "run.png")
    assert shown.code == 0, shown.err
    assert "Records: data/runs/MaCross-" in shown.out
    assert (home / "run.png").is_file()
    (id,) = re.findall(ID, ffe("decisions", "list", "--disposition", "sent", "--last", "1").out, re.MULTILINE)
    assert "7 CONVICTION" in ffe("decisions", "why", id).out
    assert "intact" in ffe("decisions", "verify").out
    (run,) = (home / "data" / "runs").iterdir()
    assert "the same bytes" in ffe("replay", str(run.relative_to(home))).out


def test_a_decision_that_is_not_there_or_not_one_is_told_apart(ffe: Terminal) -> None:
    ffe(*CROSS, *SHORT)
    assert_clear(ffe("decisions", "why", "nothing"), "no decision begins with 'nothing'", "ffe decisions list")
    assert_clear(ffe("decisions", "why", ""), "decisions begin with ''", "Give more of the id")
    assert_clear(ffe("decisions", "list", "--disposition", "lost"), "--disposition lost", "refused")
    assert_clear(ffe("decisions", "list", "--layer", "LUCK"), "--layer LUCK", "CONCENTRATION")


def test_what_is_empty_says_so_in_a_word(ffe: Terminal, home: Path) -> None:
    ffe(*CROSS, *SHORT)
    assert "No such decision in data/runs/MaCross-" in ffe("decisions", "list", "--layer", "LEVERAGE").out
    (home / "data" / "backtest_cache.duckdb").unlink()
    assert "holds no bars yet: ffe data fetch" in ffe("data", "list").out


def test_the_same_backtest_again_gets_a_folder_of_its_own(ffe: Terminal, home: Path) -> None:
    ffe(*CROSS, *SHORT)
    ffe(*CROSS, *SHORT)
    first, second = sorted((home / "data" / "runs").iterdir())
    assert second.name == f"{first.name}-2"
    assert (first / "journal.jsonl").read_bytes() == (second / "journal.jsonl").read_bytes()


def test_an_edited_record_is_found_and_named(ffe: Terminal, home: Path) -> None:
    ffe(*CROSS, *SHORT)
    (file,) = (home / "data" / "runs").glob("*/decisions.jsonl")
    file.chmod(0o600)
    file.write_text(file.read_text().replace('"confidence":80', '"confidence":99', 1))
    found = ffe("decisions", "verify")
    assert found.code == 1
    assert "TAMPERED: decisions.jsonl:1" in found.err


def test_replay_refuses_another_cache_and_a_strategy_that_moved(ffe: Terminal, home: Path) -> None:
    ffe(*CROSS, *SHORT)
    (run,) = (home / "data" / "runs").iterdir()
    (home / "strategies" / "ma_cross.py").rename(home / "strategies" / "cross.py")
    assert_clear(ffe("replay", str(run)), "there is no strategies/ma_cross.py:MaCross here", "--strategy FILE.py:NAME")
    assert "the same bytes" in ffe("replay", str(run), "--strategy", "strategies/cross.py:MaCross").out
    (home / "strategies" / "cross.py").rename(home / "strategies" / "ma_cross.py")
    (home / "data" / "backtest_cache.duckdb").unlink()
    assert_clear(ffe("replay", str(run)), "paper:AAPL 1d: no bars", "ffe data import")


def test_a_replay_that_differs_names_file_and_line(ffe: Terminal, home: Path) -> None:
    ffe(*CROSS, *SHORT)
    (run,) = (home / "data" / "runs").iterdir()
    code = home / "strategies" / "ma_cross.py"
    code.write_text(code.read_text().replace("averages crossed", "stars aligned"))
    assert_clear(ffe("replay", str(run)), "was run by other code than strategies/ma_cross.py:MaCross", "--other-code")
    found = ffe("replay", str(run), "--other-code")
    assert found.code == 1
    assert "decisions.jsonl:1 differs" in found.err


NAMED = ("--strategy", "strategies/ma_cross.py:MaCross")  # another process has kept the run's head, for its user
OLDER = """
import ffe
ffe.__version__ = "0.0.9"
from ffe.cli import main
main()
"""


def older_run(home: Path) -> Path:
    """A run that another version of the code has made."""
    assert process(sys.executable, "-c", OLDER, *CROSS, *SHORT, home=home).code == 0
    (run,) = (home / "data" / "runs").iterdir()
    return run


def test_a_run_of_other_code_is_refused_unless_asked_and_then_compared_without_it(ffe: Terminal, home: Path) -> None:
    run = older_run(home)
    assert_clear(ffe("replay", str(run)), "was run by 0.0.9+", "--other-code")
    assert "the same bytes, the version of the code aside" in ffe("replay", str(run), "--other-code", *NAMED).out


def test_other_code_forgives_nothing_else(ffe: Terminal, home: Path) -> None:
    file = older_run(home) / "decisions.jsonl"
    file.chmod(0o600)
    file.write_text(file.read_text().replace('"confidence":80', '"confidence":99', 1))
    found = ffe("replay", str(file.parent), "--other-code", *NAMED)
    assert found.code == 1
    assert "decisions.jsonl:1 differs" in found.err


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"start":', '"begin":', "head.start: Field required"),
        ('"start":', '"bars":9,"start":', "the next line carries another hash"),
        ('"session":', '"sess":', "session: Field required"),
    ],
)
def test_a_head_that_was_edited_is_named_before_anything_is_run(
    ffe: Terminal, home: Path, old: str, new: str, said: str
) -> None:
    ffe(*CROSS, *SHORT)
    (file,) = (home / "data" / "runs").glob("*/journal.jsonl")
    file.chmod(0o600)
    file.write_text(file.read_text().replace(old, new, 1))
    assert_clear(ffe("replay", str(file.parent)), "Tampered", "journal.jsonl:1: ", said, "ffe decisions verify")


# ---------------------------------------------------------------- as a shell starts it

SCRIPT = str(Path(sys.executable).with_name("ffe"))


@pytest.mark.parametrize("command", [(SCRIPT,), (sys.executable, "-m", "ffe")], ids=["ffe", "python -m ffe"])
def test_both_entry_points_print_help_and_a_clear_error(command: tuple[str, ...], home: Path) -> None:
    shown = process(*command, "--help", home=home)
    assert shown.code == 0
    assert "backtest" in shown.out
    assert_clear(process(*command, *CROSS[:2], "--symbols", "TSLA", home=home), "UnknownSymbol: 'TSLA' is not known")


def test_a_peeking_strategy_is_told_in_a_process_of_its_own(home: Path) -> None:
    assert_clear(process(SCRIPT, "backtest", "mistakes.py:Peeks", "--symbols", "AAPL", home=home), "LookAhead: Peeks")


def test_everything_fits_into_80_columns_and_no_id_is_cut(home: Path) -> None:
    shown = process(SCRIPT, *CROSS, *SHORT, home=home)
    listed = process(SCRIPT, "decisions", "list", home=home)
    assert max(map(len, (shown.out + listed.out).splitlines())) <= 80
    assert "…" not in listed.out
    assert len(re.findall(ID, listed.out, re.MULTILINE)) == 20


def test_help_loads_nothing_heavy(home: Path) -> None:
    code = """
import sys
from ffe.cli import main
sys.argv = ["ffe", "--help"]
try:
    main()
finally:
    assert not {"ccxt", "vectorbt", "pandas", "numba", "duckdb"} & set(sys.modules)
"""
    assert process(sys.executable, "-c", code, home=home).code == 0
