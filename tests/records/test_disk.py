"""What is written survives: full disks, failed calls at every place, power cuts and kills.

An acknowledged record is readable and unchanged after all of them; what was not acknowledged never looks as if it was.
"""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from ffe.errors import NotWritable
from ffe.model import MINUTE
from ffe.ports import Written
from ffe.records.disk import Disk, SyncFailed
from ffe.records.encode import encode_decision, utf8
from ffe.records.journal import decision_file
from ffe.records.verify import chained as verify
from tests.records.values import (
    DAY,
    STAMP,
    START,
    bars,
    decision,
    decision_id,
    entering,
    filled,
    open_live,
    quiet,
    story,
    write_live,
)

ROOT = Path(__file__).parents[2]
PRELUDE = """
import resource, sys
from pathlib import Path
from ffe.errors import NotWritable
from ffe.ports import Written
from ffe.records.journal import RunJournal
from tests.records.values import *
path = Path(sys.argv[1])
"""


def child(code: str, path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PRELUDE + code, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )


# ---------------------------------------------------------------- disks that are really full


def test_a_full_disk_is_written_no_and_shouted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "journal").mkdir()
    (tmp_path / "journal" / f"{DAY}.jsonl").symlink_to("/dev/full")
    journal = open_live(tmp_path)
    journal.event(bars(START))
    assert journal.step(entering(1)) is Written.NO
    assert [record.levelname for record in caplog.records] == ["CRITICAL"]
    assert "No space left" in caplog.text


def test_a_failed_fsync_is_broken_for_ever(tmp_path: Path) -> None:
    (tmp_path / "journal").mkdir()
    (tmp_path / "journal" / f"{DAY}.jsonl").symlink_to("/dev/null")  # takes every byte, cannot fsync
    journal = open_live(tmp_path)
    journal.event(bars(START))
    assert journal.step(quiet()) is Written.BROKEN
    assert journal.step(entering(1)) is Written.BROKEN
    assert len(journal.unwritten) == 1
    assert list((tmp_path / "decisions").iterdir()) == []


def test_a_line_that_is_cut_short_by_the_limit_is_taken_back_and_written_later(tmp_path: Path) -> None:
    code = """
journal = open_live(path)
resource.setrlimit(resource.RLIMIT_FSIZE, (6000, resource.RLIM_INFINITY))
answers = []
for event, step in story(6):
    journal.event(event)
    answers.append(journal.step(step).value)
size = (path / "journal" / f"{DAY}.jsonl").stat().st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
journal.event(bars(START + 24 * m.HOUR))
print(size < 6000, answers[0], answers[-1], journal.step(quiet()).value, journal.close().value)
"""
    out, _ = child(code, tmp_path).communicate(timeout=20)
    assert out.split() == ["True", "yes", "no", "yes", "yes"]
    report = verify(tmp_path)
    assert (report.findings, report.decisions) == ((), 12)


def test_a_backtest_on_a_full_disk_has_no_end(tmp_path: Path) -> None:
    code = """
resource.setrlimit(resource.RLIMIT_FSIZE, (6000, resource.RLIM_INFINITY))
journal = RunJournal(path / "run", STAMP, {})
answers = []
for event, step in story(10):
    journal.event(event)
    answers.append(journal.step(step).value)
try:
    journal.close()
except NotWritable as error:
    print(answers[0], answers[-1], error)
"""
    out, _ = child(code, tmp_path).communicate(timeout=20)
    assert out.startswith("yes no") and "has no end" in out
    assert all("no end" in f.wrong or f.file == "decisions.jsonl" for f in verify(tmp_path / "run").findings)


# ---------------------------------------------------------------- every call fails once


class FailingDisk(Disk):
    """A disk on which the call of one number fails; before a write fails, half of it is written."""

    def __init__(self, at: int, code: int) -> None:
        self.at = at
        self.code = code
        self.calls = 0
        self.is_half_written = False

    def _call(self) -> None:
        self.calls += 1
        if self.calls == self.at:
            raise OSError(self.code, os.strerror(self.code))

    def open(self, path: Path, flags: int) -> int:
        self._call()
        return super().open(path, flags)

    def write(self, fd: int, data: bytes) -> int:
        if self.calls + 1 == self.at and not self.is_half_written:
            self.is_half_written = True
            return super().write(fd, data[: len(data) // 2])
        self._call()
        return super().write(fd, data)

    def truncate(self, fd: int, size: int) -> None:
        self._call()
        super().truncate(fd, size)

    def sync(self, fd: int) -> None:
        self.calls += 1
        if self.calls == self.at:
            raise SyncFailed(self.code, os.strerror(self.code))

    def close(self, fd: int) -> None:
        self._call()
        super().close(fd)

    def link(self, existing: Path, name: Path) -> None:
        self._call()
        super().link(existing, name)

    def unlink(self, path: Path) -> None:
        self._call()
        super().unlink(path)


def session(root: Path, disk: Disk) -> Iterator[tuple[str, Written]]:
    """A session, step by step: the decisions of each, and whether it was acknowledged."""
    journal = open_live(root, disk=disk)
    for event, step in story(3, start=2):  # over midnight
        journal.event(event)
        written = journal.step(step)
        yield from ((decision.id, written) for decision in step.decisions)


def count_calls(root: Path) -> int:
    disk = FailingDisk(-1, errno.EIO)
    list(session(root, disk))
    return disk.calls


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EMFILE])
def test_one_call_of_the_disk_fails_wherever_it_is(tmp_path: Path, code: int) -> None:
    calls = count_calls(tmp_path / "clean")
    assert calls > 80
    for at in range(1 + code % 3, calls + 1, 3):  # a third of them for each error, all of them between the errors
        root = tmp_path / f"{at}"
        try:
            answers = list(session(root, FailingDisk(at, code)))
        except NotWritable:
            continue  # before anything happened
        report = verify(root)
        assert report.is_good, report.findings
        on_disk = {file.name[11:-5] for file in (root / "decisions").glob("*.json")}
        assert {id for id, written in answers if written is Written.YES} <= on_disk
        if answers[-1][1] is Written.YES:  # whatever failed was made good
            assert report.findings == () and on_disk == {id for id, _ in answers}


# ---------------------------------------------------------------- the power goes


class RecordingDisk(Disk):
    """A disk that remembers what a power cut could leave: names and bytes, synced or not."""

    def __init__(self) -> None:
        self.ops: list[Callable[[Remains], None]] = []
        self._paths: dict[int, Path] = {}

    def open(self, path: Path, flags: int) -> int:
        fd = super().open(path, flags)
        self._paths[fd] = path
        if not flags & os.O_DIRECTORY:
            self.ops.append(lambda remains: remains.create(path))
        return fd

    def write(self, fd: int, data: bytes) -> int:
        path = self._paths[fd]
        self.ops.append(lambda remains: remains.write(path, data))
        return super().write(fd, data)

    def sync(self, fd: int) -> None:
        path = self._paths[fd]
        self.ops.append(lambda remains: remains.sync(path))

    def link(self, existing: Path, name: Path) -> None:
        super().link(existing, name)
        self.ops.append(lambda remains: remains.link(existing, name))

    def unlink(self, path: Path) -> None:
        super().unlink(path)
        self.ops.append(lambda remains: remains.unlink(path))


class Remains:
    """What is on the platter, and what only the kernel knows."""

    def __init__(self) -> None:
        self.names: dict[Path, list[bytes]] = {}  # a file is [synced, all]
        self.synced_names: dict[Path, list[bytes]] = {}

    def create(self, path: Path) -> None:
        self.names.setdefault(path, [b"", b""])

    def write(self, path: Path, data: bytes) -> None:
        self.names[path][1] += data

    def sync(self, path: Path) -> None:
        if path in self.names:
            self.names[path][0] = self.names[path][1]
        else:
            kept = {name: file for name, file in self.synced_names.items() if name.parent != path}
            self.synced_names = {**kept, **{name: f for name, f in self.names.items() if name.parent == path}}

    def link(self, existing: Path, name: Path) -> None:
        self.names[name] = self.names[existing]

    def unlink(self, path: Path) -> None:
        del self.names[path]

    def outcomes(self) -> Iterator[dict[Path, bytes]]:
        """Names and bytes both lost, both kept, one of each, and half of the bytes kept."""
        for names in (self.synced_names, self.names):
            yield {name: synced for name, (synced, _) in names.items()}
            yield {name: synced + rest[: len(rest) // 2] for name, (synced, rest) in _with_rests(names)}
            yield {name: everything for name, (_, everything) in names.items()}


def _with_rests(names: dict[Path, list[bytes]]) -> Iterator[tuple[Path, tuple[bytes, bytes]]]:
    return ((name, (synced, everything[len(synced) :])) for name, (synced, everything) in names.items())


def power_cuts(before: Path) -> Iterator[tuple[dict[Path, bytes], list[str]]]:
    """All that a power cut at any call of a session can leave, and the decisions acknowledged by then."""
    disk = RecordingDisk()
    acknowledged = [(id, written, len(disk.ops)) for id, written in session(before, disk)]
    assert {written for _, written, _ in acknowledged} == {Written.YES}
    remains, seen = Remains(), set()
    for n, op in enumerate(disk.ops, 1):
        op(remains)
        for files in remains.outcomes():
            state = frozenset(files.items())
            if state not in seen:
                yield files, [id for id, _, at in acknowledged if at <= n]
            seen.add(state)


def restore(root: Path, before: Path, files: dict[Path, bytes]) -> None:
    for folder in ("decisions", "journal"):
        (root / folder).mkdir(parents=True)
    for path, data in files.items():
        (root / path.relative_to(before)).write_bytes(data)


def test_what_was_acknowledged_survives_a_power_cut_at_every_call(tmp_path: Path) -> None:
    before = tmp_path / "before"
    for n, (files, ids) in enumerate(power_cuts(before)):
        root = tmp_path / f"{n}"
        restore(root, before, files)
        assert verify(root).is_good
        journal = b"".join(file.read_bytes() for file in sorted((root / "journal").iterdir()))
        for id in ids:
            (record,) = (root / "decisions").glob(f"*_{id}.json")
            assert record.read_bytes() == (before / "decisions" / record.name).read_bytes()
            assert f'"id":"{id}"'.encode() in journal


def test_a_session_begins_on_what_any_power_cut_left(tmp_path: Path) -> None:
    for n, (files, _) in enumerate(power_cuts(tmp_path / "before")):
        if n % 5 == 0:
            root = tmp_path / f"{n}"
            restore(root, tmp_path / "before", files)
            write_live(root, story(1, start=7), "next")
            assert verify(root).is_good


# ---------------------------------------------------------------- the process is killed


def test_killed_at_any_moment_what_was_acknowledged_is_there(tmp_path: Path) -> None:
    code = """
journal = open_live(path)
for n in range(100_000):
    journal.event(bars(START + n * m.MINUTE))
    assert journal.step(entering(n, START + n * m.MINUTE)) is Written.YES
    print(n, flush=True)
"""
    random = Random(4)
    for k in range(4):
        root = tmp_path / f"{k}"
        process = child(code, root)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(random.uniform(0.0, 0.15))
        process.send_signal(signal.SIGKILL)
        acknowledged = len(process.stdout.read().splitlines()) + 1
        process.wait()
        process.stdout.close()
        report = verify(root)
        assert report.is_good and len(report.findings) <= 1
        for n in range(acknowledged):
            time_of_n = START + n * MINUTE
            record = root / "decisions" / decision_file(time_of_n, decision_id(n))
            assert record.read_bytes() == utf8(encode_decision(decision(n, time_of_n), STAMP))
        write_live(root, [(filled(1), quiet())], "next")
        assert verify(root).is_good
