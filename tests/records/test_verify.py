"""Every change of a record is found, and named by file and line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from ffe.errors import RecordError
from ffe.records.encode import canonical, digest
from ffe.records.verify import chained as verify
from tests.records.values import (
    DAY,
    START,
    bars,
    decision_id,
    entering,
    open_live,
    overwrite,
    story,
    write_live,
    write_run,
)

BYTES = (b"0", b"9", b"a", b'"', b"{", b"}", b",", b" ", b"\n", b"\0", b"\xff", b"")  # b"": the byte is cut out
JOURNAL, DECISIONS = "journal.jsonl", "decisions.jsonl"


def named(root: Path, anchor: str | None = None) -> set[tuple[str, int]]:
    return {(finding.file, finding.line) for finding in verify(root, (anchor and [anchor]) or ()).findings}


def line_of(data: bytes, at: int) -> int:
    return data.count(b"\n", 0, at) + 1


def survivors(root: Path, file: Path, places: Iterator[tuple[int, bytes]], anchor: str | None = None) -> list[object]:
    """The mutations of a file that verify did not find, or did not name."""
    data = file.read_bytes()
    found: list[object] = []
    for at, byte in places:
        if byte != data[at : at + 1]:
            overwrite(file, data[:at] + byte + data[at + 1 :])
            place = (str(file.relative_to(root)), line_of(data, at) if file.suffix == ".jsonl" else 0)
            if place not in named(root, anchor):
                found.append((*place, at, byte))
    overwrite(file, data)
    return found


def sample(size: int, count: int) -> Iterator[tuple[int, bytes]]:
    random = Random(1)
    return ((random.randrange(size), byte) for _ in range(count // len(BYTES)) for byte in BYTES)


@pytest.fixture(scope="module")
def long_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("long") / "run", story(40))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run", story(4))


@pytest.fixture
def live(tmp_path: Path) -> tuple[Path, str]:
    return tmp_path / "live", write_live(tmp_path / "live", story(8))


def test_an_untouched_run_is_good(long_run: Path) -> None:
    report = verify(long_run)
    assert (report.findings, report.lines, report.decisions) == ((), 202, 80)
    assert report.is_good


def test_an_untouched_live_root_is_good(live: tuple[Path, str]) -> None:
    root, head = live
    report = verify(root, [head])
    assert (report.findings, report.decisions, report.head) == ((), 16, head)


@pytest.mark.parametrize(("name", "count"), [(JOURNAL, 144), (DECISIONS, 72), ("equity.npy", 36)])
def test_every_class_of_byte_anywhere_in_a_run(long_run: Path, name: str, count: int) -> None:
    file = long_run / name
    assert survivors(long_run, file, sample(file.stat().st_size, count)) == []


def test_every_byte_of_one_record(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [(bars(START), entering(1))])
    for name, step in ((DECISIONS, 1), (JOURNAL, 4)):
        places = ((at, b"~") for at in range(0, (run / name).stat().st_size, step))
        assert survivors(run, run / name, places) == []


@pytest.mark.parametrize("name", [f"journal/{DAY}.jsonl", "journal/2024-01-03.jsonl"])
def test_every_class_of_byte_in_a_live_journal(live: tuple[Path, str], name: str) -> None:
    root, head = live
    assert survivors(root, root / name, sample((root / name).stat().st_size, 72), head) == []


def test_every_class_of_byte_in_a_live_decision(live: tuple[Path, str]) -> None:
    root, _ = live
    file = next((root / "decisions").iterdir())
    assert survivors(root, file, sample(file.stat().st_size, 72)) == []


# ---------------------------------------------------------------- whole lines


def edit(file: Path, change: object) -> None:
    lines = file.read_bytes().splitlines(keepends=True)
    change(lines)  # type: ignore[operator]
    overwrite(file, b"".join(lines))


def swap(n: int) -> object:
    def change(lines: list[bytes]) -> None:
        lines[n], lines[n - 1] = lines[n - 1], lines[n]

    return change


@pytest.mark.parametrize("name", [JOURNAL, DECISIONS])
@pytest.mark.parametrize("n", range(1, 9))
def test_a_deleted_line(run: Path, name: str, n: int) -> None:
    edit(run / name, lambda lines: lines.pop(n - 1))
    assert (name, n) in named(run)


@pytest.mark.parametrize("name", [JOURNAL, DECISIONS])
@pytest.mark.parametrize("n", range(1, 8))
def test_two_lines_that_changed_places(run: Path, name: str, n: int) -> None:
    edit(run / name, swap(n))
    assert named(run) & {(name, n), (name, n + 1)}


@pytest.mark.parametrize("name", [JOURNAL, DECISIONS])
@pytest.mark.parametrize("n", range(1, 9))
def test_a_line_that_is_there_twice(run: Path, name: str, n: int) -> None:
    edit(run / name, lambda lines: lines.insert(n, lines[n - 1]))
    assert (name, n + 1) in named(run)


@pytest.mark.parametrize("name", [JOURNAL, DECISIONS])
@pytest.mark.parametrize("line", [b"\n", b"{}\n", b"x\n", b"null\n"])
def test_an_inserted_line(run: Path, name: str, line: bytes) -> None:
    edit(run / name, lambda lines: lines.insert(3, line))
    assert (name, 4) in named(run)


@pytest.mark.parametrize("kept", range(22))
def test_a_run_whose_end_was_cut(run: Path, kept: int) -> None:
    edit(run / JOURNAL, lambda lines: lines.__delitem__(slice(kept, None)))
    report = verify(run)
    assert not report.is_good and any("no end" in finding.wrong for finding in report.findings)


def test_a_well_made_line_behind_the_end(run: Path) -> None:
    last = (run / JOURNAL).read_bytes().splitlines()[-1]
    forged = {**json.loads(last), "prev": digest(last)}
    forged["n"] += 1
    edit(run / JOURNAL, lambda lines: lines.append(canonical(forged).encode() + b"\n"))
    assert {(JOURNAL, 22), (JOURNAL, 23)} <= named(run)


def test_the_end_says_how_many_bars_there_were(run: Path) -> None:
    def change(lines: list[bytes]) -> None:
        lines[-1] = lines[-1].replace(b'{"bars":16', b'{"bars":15')

    edit(run / JOURNAL, change)
    assert named(run) == {(JOURNAL, 22)}


@pytest.mark.parametrize("name", [JOURNAL, DECISIONS, "equity.npy"])
def test_a_file_that_is_gone(run: Path, name: str) -> None:
    (run / name).unlink()
    assert (name, 0) in named(run)


def test_equity_that_was_changed_is_named(run: Path) -> None:
    data = (run / "equity.npy").read_bytes()
    overwrite(run / "equity.npy", data[:-1] + b"\x40")
    assert ("equity.npy", 0) in named(run)


def test_a_report_says_what_is_wrong_and_where(run: Path) -> None:
    edit(run / JOURNAL, lambda lines: lines.pop(4))
    assert str(verify(run).findings[0]).startswith("journal.jsonl:5: says it is line 6, should be 5")


def test_a_rewritten_run_is_found_by_its_anchor(tmp_path: Path) -> None:
    anchor = verify(write_run(tmp_path / "a", story(4))).head
    other = write_run(tmp_path / "b", story(3))
    assert verify(other).is_good
    assert not verify(other, [anchor]).is_good


def test_a_path_without_records_is_the_callers_mistake(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="no records here"):
        verify(tmp_path / "nothing")


# ---------------------------------------------------------------- live


def test_a_live_journal_whose_end_was_cut_is_found_by_its_anchor(live: tuple[Path, str]) -> None:
    root, head = live
    edit(root / "journal" / "2024-01-03.jsonl", lambda lines: lines.pop())
    assert verify(root).findings == ()
    assert [finding.wrong for finding in verify(root, [head]).findings] == [
        f"the head {head[:12]}…, kept elsewhere, is not in this chain: its end was cut or rewritten"
    ]


def test_an_anchor_from_before_stays_good(live: tuple[Path, str]) -> None:
    root, head = live
    write_live(root, story(1, start=8), "two")
    assert verify(root, [head]).findings == ()


@pytest.mark.parametrize("name", [f"{DAY}.jsonl", "2024-01-03.jsonl"])
def test_a_day_that_is_gone(tmp_path: Path, name: str) -> None:
    write_live(tmp_path, story(14))
    (tmp_path / "journal" / name).unlink()
    assert not verify(tmp_path).is_good


def test_a_decision_file_that_is_gone(live: tuple[Path, str]) -> None:
    root, _ = live
    (root / "decisions" / f"{DAY}_{decision_id(1)}.json").unlink()
    assert (f"decisions/*_{decision_id(1)}.json", 0) in named(root)


@pytest.mark.parametrize("name", ["2024-01-02_00000001-bbbb.json", "2024-01-01_00000001-aaaa.json"])
def test_a_decision_file_under_another_name(live: tuple[Path, str], name: str) -> None:
    root, _ = live
    (root / "decisions" / f"{DAY}_{decision_id(1)}.json").rename(root / "decisions" / name)
    assert (f"decisions/{name}", 0) in named(root)


def test_a_decision_file_that_is_there_twice(live: tuple[Path, str]) -> None:
    root, _ = live
    data = (root / "decisions" / f"{DAY}_{decision_id(1)}.json").read_bytes()
    (root / "decisions" / f"{DAY}_{decision_id(1)}-.json").write_bytes(data)
    assert not verify(root).is_good


def test_a_decision_whose_step_a_crash_prevented_is_torn_in_a_session_without_end(tmp_path: Path) -> None:
    journal = open_live(tmp_path)
    for n in (1, 2):
        journal.event(bars(START))
        journal.step(entering(n))
    file = tmp_path / "journal" / f"{DAY}.jsonl"
    edit(file, lambda lines: lines.pop())
    assert [(f.file, f.torn) for f in verify(tmp_path).findings] == [(f"decisions/{DAY}_{decision_id(2)}.json", True)]


def test_an_inserted_decision_file_is_bad_in_a_session_that_ended(live: tuple[Path, str], tmp_path: Path) -> None:
    root, _ = live
    write_live(tmp_path / "other", [(bars(START), entering(99))])
    stranger = next((tmp_path / "other" / "decisions").iterdir())
    stranger.rename(root / "decisions" / stranger.name)
    assert [(f.file, f.torn) for f in verify(root).findings] == [(f"decisions/{stranger.name}", False)]
