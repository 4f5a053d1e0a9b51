"""What cannot be written cannot be traded, and what reduces risk leaves all the same. The disks are real."""

from __future__ import annotations

import logging
import subprocess
import sys
from errno import EIO
from pathlib import Path

import pytest

from ffe.model import DAY, HOUR, Act, Disposition, Enter, Exit, Signal, Withheld
from ffe.records.disk import Disk
from ffe.records.encode import Stamp
from ffe.records.journal import LiveJournal
from ffe.records.reader import records
from ffe.records.verify import chained as verify
from ffe.risk.guard import TradingState
from tests.story.scene import BTC, ETH, SOL, START, Scene, Told, buy, leave

ROOT = Path(__file__).parents[2]


def at_midnight(root: Path, device: str, *signals: Signal) -> Scene:
    """BTC is open; the file of the day that begins is a device that takes nothing, or that cannot be synced."""
    (root / "journal").mkdir()
    (root / "journal" / "2024-02-06.jsonl").symlink_to(device)
    journal = LiveJournal(root, Stamp("story", "0", "c", "d"), {}, dict)
    scene = Scene(BTC, ETH, SOL, disk=journal, start=START + 21 * HOUR)
    scene.bar(None, buy(BTC))
    scene.bar()
    assert scene.ours(BTC) > 0.0 and scene.now == START + 23 * HOUR
    scene.bar(None, *signals)
    return scene


def withheld(told: Told) -> list[str]:
    return [a.reason for a in told.answers if isinstance(a, Withheld)]


# ---------------------------------------------------------------- full


def test_f38_a_full_disk_stops_entries(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    scene = at_midnight(tmp_path, "/dev/full")
    scene.bar()
    told = scene.bar(None, buy(ETH))
    assert len(told.of(Enter)) == 1 and withheld(told) == ["the decision could not be written"]
    scene.bars(2)
    assert scene.at_venue(ETH) == 0.0 and scene.slots() == {0: (BTC.id, "open")}
    assert "No space left" in caplog.text and scene.engine.guard.state is TradingState.ACTIVE


def test_f38_a_full_disk_stops_no_exit_and_it_is_shouted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    scene = at_midnight(tmp_path, "/dev/full")
    scene.bar(None, leave(BTC))
    scene.bar()
    assert scene.at_venue(BTC) == 0.0 and [o.cause for o in scene.told.outcomes] == ["signal"]
    assert {record.levelno for record in caplog.records} == {logging.CRITICAL}


def test_f38_a_full_disk_stops_no_stop_and_no_emergency(tmp_path: Path) -> None:
    scene = at_midnight(tmp_path, "/dev/full")
    scene.bar(None, buy(BTC, qty=1.0, add=True))
    assert len(scene.command(Act.EMERGENCY_STOP).of(Exit)) == 1
    scene.bar()
    assert scene.at_venue(BTC) == 0.0 and not scene.slots()


def test_f38_what_was_withheld_is_not_sent_when_there_is_room_again(tmp_path: Path) -> None:
    scene = at_midnight(tmp_path, "/dev/full")
    scene.bar(None, buy(ETH))
    (tmp_path / "journal" / "2024-02-06.jsonl").unlink()
    scene.bars(3)
    assert scene.at_venue(ETH) == 0.0


# ---------------------------------------------------------------- almost full


class Tight(Disk):
    """A disk that says how much is free as a test wants it; None is an error."""

    left: int | None = 200 << 20

    def free(self, fd: int) -> int:
        if self.left is None:
            raise OSError(EIO, "Input/output error")
        return self.left


def on_tight(root: Path) -> tuple[Scene, Tight]:
    disk = Tight()
    return Scene(BTC, ETH, SOL, disk=LiveJournal(root, Stamp("story", "0", "c", "d"), {}, dict, disk)), disk


@pytest.mark.parametrize("left", [(200 << 20) - 1, None])
def test_an_almost_full_disk_stops_entries_and_not_exits(tmp_path: Path, left: int | None) -> None:
    scene, disk = on_tight(tmp_path)
    scene.bar(None, buy(BTC))
    disk.left = left
    told = scene.bar(None, buy(ETH))
    assert withheld(told) == ["the decision could not be written"] and scene.at_venue(BTC) > 0.0
    scene.bar(None, leave(BTC))
    scene.bar()
    assert scene.at_venue(ETH) == scene.at_venue(BTC) == 0.0 and scene.resting(BTC) is None


def test_an_almost_full_disk_is_shouted_once_until_there_is_room(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    scene, disk = on_tight(tmp_path)
    shouts = []
    for left in (0, 0, 200 << 20, 0):
        disk.left = left
        scene.bar(None, buy(BTC if not shouts or len(shouts) == 2 else ETH))
        shouts.append(caplog.text.count("less than 200 MiB free"))
    assert shouts == [1, 1, 1, 2]


def test_the_room_on_a_real_disk_is_asked_for(tmp_path: Path) -> None:
    stamp = Stamp("story", "0", "c", "d")
    for spare, held in ((1, 1), (1 << 60, 0)):
        root = tmp_path / str(spare)
        scene = Scene(BTC, disk=LiveJournal(root, stamp, {}, dict, spare=spare))
        scene.bar(None, buy(BTC))
        scene.bar()
        assert (scene.at_venue(BTC) > 0.0) is bool(held)
        assert len(list(records(root))) == 1  # the decision is on record either way


# ---------------------------------------------------------------- not to be trusted


def test_f38_a_failed_fsync_latches_and_is_never_tried_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    scene = at_midnight(tmp_path, "/dev/null")
    assert withheld(scene.told) == ["an fsync failed"]
    assert [(c.what, c.after) for c in scene.told.changes if c.what.startswith("latch")] == [("latch disk", "halted")]
    assert scene.bar(None, buy(ETH)).dispositions == [Disposition.HALTED] and len(withheld(scene.told)) == 1
    assert scene.bars(DAY // HOUR, buy(ETH)).dispositions[-1] is Disposition.HALTED
    assert scene.at_venue(ETH) == 0.0 and "an fsync failed" in caplog.text


def test_f38_an_entry_decided_in_the_very_step_whose_fsync_fails_never_leaves(tmp_path: Path) -> None:
    scene = at_midnight(tmp_path, "/dev/null", buy(ETH))
    assert len(scene.told.of(Enter, ETH)) == 1 and scene.engine.guard.latches.keys() == {"disk"}
    assert sorted(withheld(scene.told)) == ["an fsync failed", "the decision could not be written"]
    scene.bars(2)
    assert scene.at_venue(ETH) == 0.0


def test_f38_a_failed_fsync_closes_nothing(tmp_path: Path) -> None:
    scene = at_midnight(tmp_path, "/dev/null")
    held = scene.ours(BTC)
    told = [scene.bar(), scene.bar({BTC: 101.0})]
    assert not any(each.orders for each in told) and scene.ours(BTC) == held
    assert [o.cause for o in scene.bar({BTC: 97.0}).outcomes] == ["stop"]  # watching goes on


def test_f38_after_a_failed_fsync_exits_leave(tmp_path: Path) -> None:
    scene = at_midnight(tmp_path, "/dev/null")
    scene.bar(None, leave(BTC))
    scene.bar()
    assert scene.at_venue(BTC) == 0.0 and not scene.slots()


# ---------------------------------------------------------------- what stands on disk


def test_f38_every_decision_is_on_disk_before_its_order_leaves(tmp_path: Path) -> None:
    journal = LiveJournal(tmp_path, Stamp("story", "0", "c", "d"), {}, dict)
    scene = Scene(BTC, ETH, SOL, disk=journal)
    send, seen = scene.venues.send, []

    def look(order: object, time: int) -> None:
        on_disk = {record.decision.order for record in records(tmp_path)}
        seen.append(not isinstance(order, Enter | Exit) or order.id in on_disk)
        send(order, time)

    scene.venues.send = look
    scene.bar(None, buy(BTC), buy(ETH), buy(SOL))
    scene.bar(None, leave(BTC))
    scene.bars(2)
    assert len(seen) > 6 and all(seen)


def test_f38_the_same_session_again_overwrites_nothing(tmp_path: Path) -> None:
    """The second session has the first one's name, and so its decisions' names: nothing of it can be written."""
    for n in range(2):
        journal = LiveJournal(tmp_path, Stamp("story", "0", "c", "d"), {}, dict)
        scene = Scene(BTC, ETH, disk=journal)
        scene.bar(None, buy(BTC, 85 - n))
        scene.bar()
        journal.close()
        before = {file: file.read_bytes() for file in (tmp_path / "decisions").iterdir()}
    (only,) = records(tmp_path)
    assert only.decision.signal.confidence == 85 and len(before) == 1
    assert scene.at_venue(BTC) == 0.0 and withheld(scene.told) == ["the decision could not be written"]


# ---------------------------------------------------------------- a backtest's disk

PRELUDE = """
import resource, sys
from pathlib import Path
import ffe
from ffe.errors import NotWritable
from ffe.records.encode import Stamp
from ffe.records.journal import RunJournal
from tests.story.scene import *
from tests.story.small import MARKET, EveryHour, settings
path = Path(sys.argv[1])
def allow(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
"""


def said(code: str, path: Path) -> str:
    """What a process of its own prints."""
    command = [sys.executable, "-c", PRELUDE + code, str(path)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120).stdout


@pytest.mark.slow
def test_f38_in_a_backtest_a_full_disk_stops_entries_and_not_exits(tmp_path: Path) -> None:
    code = """
scene = Scene(BTC, ETH, disk=RunJournal(path / "run", Stamp("story", "0", "c", "d"), {}))
scene.bar(None, buy(BTC))
scene.bar()
before = scene.at_venue(BTC)
allow(min(file.stat().st_size for file in (path / "run").iterdir()))
scene.bar(None, leave(BTC), buy(ETH))
scene.bar()
print(before, scene.at_venue(BTC), scene.at_venue(ETH), [type(o).__name__ for o in scene.told.orders])
"""
    out = said(code, tmp_path).split(maxsplit=3)
    assert out == ["237.5", "0.0", "0.0", "['Enter', 'Protect', 'Exit', 'Enter', 'Cancel']\n"]


@pytest.mark.slow
def test_f38_a_backtest_on_a_full_disk_ends_with_one_clear_error(tmp_path: Path) -> None:
    code = """
allow(60_000)
try:
    ffe.backtest(EveryHour(), MARKET, settings(path), start="2024-03-10")
except NotWritable as error:
    print("NotWritable", error)
"""
    out = said(code, tmp_path)
    assert out.startswith("NotWritable") and "Free space and run it again" in out
    (folder,) = (tmp_path / "runs").iterdir()
    assert any("has no end" in finding.wrong for finding in verify(folder).findings)
    assert all(file.stat().st_size <= 60_000 for file in folder.iterdir()) and list(records(folder))
