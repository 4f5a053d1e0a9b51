"""Text that comes from elsewhere is shown, and obeyed by no terminal, notebook or log."""

from __future__ import annotations

import io
import logging
from pathlib import Path

import duckdb
import pytest
from hypothesis import given
from hypothesis.strategies import text
from rich.console import Console
from typer.testing import CliRunner

from ffe.cli import app
from ffe.config import load_settings
from ffe.data.cache import Cache
from ffe.live.logs import Plain
from ffe.live.show import show_status
from ffe.plain import plain, shown
from ffe.research.show import progress_bar
from tests.data.values import BTC, series

ODD = [
    "\x1b]0;owned\x07",
    "\x1b[2J",
    "a\rb",
    "\x08" * 9,
    "\u202egnp.exe",
    "\x9b31m",
    "\ue000",
    "[/x]",
    "[bold]",
    "[link=x]",
]


@given(text())
def test_plain_text_holds_nothing_that_a_terminal_obeys(said: str) -> None:
    assert all(c.isprintable() or c == "\n" for c in plain(said))


@given(text(alphabet="abcäö€ 123.,:-_/\n"))
def test_ordinary_text_stays_as_it_is(said: str) -> None:
    assert plain(said) == said


@pytest.mark.parametrize("said", ODD)
def test_markup_is_shown_by_rich(said: str) -> None:
    out = io.StringIO()
    Console(file=out, width=200).print(shown(said))
    assert out.getvalue() == plain(said, "") + "\n"


@pytest.mark.parametrize("said", ODD)
def test_status_shows_whatever_venues_and_strategies_are_called(said: str, capsys: pytest.CaptureFixture[str]) -> None:
    trade = {"slot": 0, "instrument": said, "side": said, "state": said, "protection": "rests"}
    show_status(
        {
            "state": said,
            "obstacles": [said],
            "age_seconds": 0.1,
            "trades": [trade],
            "unknown": [said],
            "limits": {said: [1.0, 2.0]},
            "prices": {said: 1.0},
            "breakers": {said: said},
            "silent": {},
            "foreign": {said: 1.0},
        }
    )
    said_back = capsys.readouterr().out
    assert all(c.isprintable() or c == "\n" for c in said_back) and plain(said, "") in said_back


@pytest.mark.parametrize("said", ODD)
def test_list_of_the_cache_shows_whatever_a_series_is_called(
    said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    cache = Cache(load_settings().cache_path)
    cache.put(series(BTC, "2024-01-01", 3))
    with duckdb.connect(str(cache.path)) as con:
        con.execute("UPDATE bars SET symbol = ?, venue = ?", [said, said])
    result = CliRunner().invoke(app, ["data", "list"])
    assert result.exit_code == 0 and all(c.isprintable() or c == "\n" for c in result.output)
    assert result.output.count(plain(said, "")) == 2


@pytest.mark.parametrize("said", ODD)
def test_progress_shows_whatever_is_loaded(said: str) -> None:
    with progress_bar(said) as told:
        told(1, 2)


def test_line_in_a_message_does_not_pass_for_a_message_of_its_own() -> None:
    record = logging.LogRecord("ffe", logging.INFO, "", 1, "%s", ("said\n2024-01-01 INFO ffe: forged\x1b[2J",), None)
    assert Plain("%(message)s").format(record) == "said\n    2024-01-01 INFO ffe: forged\\u001b[2J"
