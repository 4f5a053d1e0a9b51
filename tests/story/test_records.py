"""A finished run's decisions cannot be overwritten, altered, removed or moved without `verify` naming the place."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import ffe
from ffe.errors import NotWritable
from ffe.model import Disposition
from ffe.records.encode import Stamp
from ffe.records.journal import RunJournal
from ffe.records.reader import lines
from ffe.records.verify import verify
from ffe.research.result import Result
from tests.story.small import MARKET, EveryHour, settings

Lines = list[bytes]


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Result:
    return ffe.backtest(EveryHour(), MARKET, settings(tmp_path_factory.mktemp("data")), start="2024-03-10")


@pytest.fixture
def run(result: Result, tmp_path: Path) -> Path:
    """A copy of the run's folder that a test may harm."""
    folder = tmp_path / result.folder.name
    shutil.copytree(result.folder, folder)
    for file in folder.iterdir():
        file.chmod(0o600)
    return folder


def harmed(run: Path, name: str, change: Callable[[Lines], object]) -> set[tuple[str, int]]:
    """The places that verify names after a change of a file's lines."""
    held = (run / name).read_bytes().splitlines()
    change(held)
    (run / name).write_bytes(b"".join(line + b"\n" for line in held))
    report = verify(run)
    assert not report.is_good
    return {(finding.file, finding.line) for finding in report.findings}


def altered(at: int) -> Callable[[Lines], None]:
    """One digit of one line is another."""

    def change(held: Lines) -> None:
        place = next(n for n in range(len(held[at]) // 2, len(held[at])) if held[at][n : n + 1].isdigit())
        held[at] = held[at][:place] + str((int(held[at][place : place + 1]) + 1) % 10).encode() + held[at][place + 1 :]

    return change


def test_an_untouched_run_is_good(run: Path, result: Result) -> None:
    report = verify(run)
    assert report.findings == () and report.decisions == len(result.records) > 300
    assert {Disposition.SENT, Disposition.HOLD, Disposition.QUEUED} <= set(result.dispositions)


@pytest.mark.parametrize("at", [0, 100, -1])
def test_an_altered_decision_is_named(run: Path, at: int) -> None:
    line = at % len((run / "decisions.jsonl").read_bytes().splitlines()) + 1
    assert ("decisions.jsonl", line) in harmed(run, "decisions.jsonl", altered(at))


@pytest.mark.parametrize("at", [0, 100, -1])
def test_a_removed_decision_is_named(run: Path, at: int) -> None:
    line = at % len((run / "decisions.jsonl").read_bytes().splitlines()) + 1
    assert ("decisions.jsonl", line) in harmed(run, "decisions.jsonl", lambda held: held.pop(at))


def test_a_decision_that_is_there_twice_is_named(run: Path) -> None:
    assert ("decisions.jsonl", 51) in harmed(run, "decisions.jsonl", lambda held: held.insert(50, held[10]))


def test_decisions_in_another_order_are_named(run: Path) -> None:
    assert ("decisions.jsonl", 12) in harmed(run, "decisions.jsonl", lambda held: held.insert(10, held.pop(11)))


@pytest.mark.parametrize("at", [0, 40, -2])
def test_an_altered_line_of_the_journal_is_named(run: Path, at: int) -> None:
    line = at % len((run / "journal.jsonl").read_bytes().splitlines()) + 1
    assert ("journal.jsonl", line) in harmed(run, "journal.jsonl", altered(at))


def test_a_removed_a_moved_and_a_cut_line_are_named(run: Path) -> None:
    whole = (run / "journal.jsonl").read_bytes()
    assert ("journal.jsonl", 31) in harmed(run, "journal.jsonl", lambda held: held.pop(30))
    (run / "journal.jsonl").write_bytes(whole)
    assert ("journal.jsonl", 31) in harmed(run, "journal.jsonl", lambda held: held.insert(30, held.pop(31)))
    (run / "journal.jsonl").write_bytes(whole)
    count = len(whole.splitlines())
    assert ("journal.jsonl", count - 5) in harmed(run, "journal.jsonl", lambda held: held.__delitem__(slice(-5, None)))


def test_an_altered_equity_is_named(run: Path) -> None:
    data = bytearray((run / "equity.npy").read_bytes())
    data[-3] ^= 1
    (run / "equity.npy").write_bytes(data)
    assert ("equity.npy", 0) in {(finding.file, finding.line) for finding in verify(run).findings}


def test_a_step_and_its_decision_altered_together_are_still_named(run: Path) -> None:
    """The line's own hash is what the next line carries."""
    numbers = [n for n, (_, line) in enumerate(lines(run)) if line.kind == "step" and line.body["decisions"]]
    assert ("journal.jsonl", numbers[7] + 1) in harmed(run, "journal.jsonl", altered(numbers[7]))


def test_the_same_run_again_is_another_folder_and_the_same_bytes(result: Result) -> None:
    before = {file.name: file.read_bytes() for file in result.folder.iterdir()}
    again = ffe.backtest(EveryHour(), MARKET, result.plan.settings, start="2024-03-10")
    assert again.folder != result.folder
    assert before == {file.name: file.read_bytes() for file in result.folder.iterdir()}
    assert before == {file.name: file.read_bytes() for file in again.folder.iterdir()}


def test_a_run_is_never_written_over(result: Result) -> None:
    with pytest.raises(NotWritable, match="never written over"):
        RunJournal(result.folder, Stamp("story", "0", "c", "d"), {})


def test_a_finished_run_is_read_only(result: Result) -> None:
    assert {file.stat().st_mode & 0o777 for file in result.folder.iterdir()} == {0o400}


def test_a_replay_sends_nowhere_and_is_the_same_bytes(result: Result) -> None:
    assert result.replay() is None
