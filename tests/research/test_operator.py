"""The scripted operator: what it says comes when it may, and changes something."""

from __future__ import annotations

from pathlib import Path

import pytest

from ffe import Act, BarSet, Command, Result, backtest, load_settings, synthetic
from ffe.errors import ConfigError
from ffe.hours import instant
from ffe.model import DAY, HOUR, Nanos
from ffe.records.encode import decode_event
from ffe.records.reader import lines
from ffe.records.replay import compare
from ffe.research.backtest import World
from strategies.ma_cross import MaCross

pytestmark = pytest.mark.slow

START = instant("2024-01-01")
HOURLY: BarSet = synthetic([load_settings().instrument("BTC/USD")], HOUR, START, 24 * 20, 3, missing=0.0)
DAILY: BarSet = synthetic([load_settings().instrument("BTC/USD")], DAY, START, 20, 3, missing=0.0)


def played(folder: Path, bars: BarSet, *script: Command, every_bar: bool = False) -> Result:
    return backtest(MaCross(), bars, world=World(script=script), records=folder, every_bar=every_bar)


def said(result: Result) -> list[tuple[Act, Nanos]]:
    """Every command that the journal has, in order."""
    events = [decode_event(line.body) for _, line in lines(result.folder) if line.kind == "event"]
    return [(event.act, event.time) for event in events if isinstance(event, Command)]


@pytest.mark.parametrize("hour", [10, 23])
def test_a_stop_is_re_armed_at_the_next_midnight_with_and_without_sleep(tmp_path: Path, hour: int) -> None:
    stop = Command(START + 10 * DAY + hour * HOUR, Act.EMERGENCY_STOP, "a script")
    quick = played(tmp_path / "quick", HOURLY, stop)
    slow = played(tmp_path / "slow", HOURLY, stop, every_bar=True)
    assert said(quick) == [(Act.EMERGENCY_STOP, stop.time), (Act.RE_ARM, START + 11 * DAY)]
    assert compare(quick.folder, slow.folder) is None


def test_a_stop_at_midnight_is_not_re_armed_in_its_own_instant(tmp_path: Path) -> None:
    stop = Command(START + 10 * DAY, Act.EMERGENCY_STOP, "a script")
    assert said(played(tmp_path, HOURLY, stop))[1:] == [(Act.RE_ARM, START + 11 * DAY)]


def test_a_re_arm_with_nothing_latched_is_not_recorded(tmp_path: Path) -> None:
    assert said(played(tmp_path, HOURLY, Command(START + 10 * DAY, Act.RE_ARM, "a script"))) == []


def test_a_re_arm_in_the_instant_of_the_stop_before_it_clears_it(tmp_path: Path) -> None:
    noon = START + 10 * DAY + 12 * HOUR
    script = [Command(noon, Act.EMERGENCY_STOP, "a script"), Command(noon, Act.RE_ARM, "a script")]
    assert said(played(tmp_path, HOURLY, *script)) == [(Act.EMERGENCY_STOP, noon), (Act.RE_ARM, noon)]


def test_a_command_between_two_bars_has_the_time_of_the_bars_it_follows(tmp_path: Path) -> None:
    between = Command(START + 10 * DAY + 8 * HOUR, Act.CLOSE_ALL, "a script")
    assert said(played(tmp_path, DAILY, between)) == [(Act.CLOSE_ALL, START + 11 * DAY)]


@pytest.mark.parametrize("name", [None, "coinbase:ETH/USD"])
def test_a_close_of_nothing_known_is_refused_before_anything_runs(tmp_path: Path, name: str | None) -> None:
    with pytest.raises(ConfigError, match=r"needs one of coinbase:BTC/USD; Act\.CLOSE_ALL closes everything"):
        played(tmp_path, DAILY, Command(START + 10 * DAY, Act.CLOSE, "a script", name))
    assert not list(tmp_path.iterdir())
