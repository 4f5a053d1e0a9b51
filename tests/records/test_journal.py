"""What the journals write, when, and what they refuse."""

from __future__ import annotations

import json
import stat
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ffe.errors import NotWritable, Tampered
from ffe.model import DAY as ONE_DAY
from ffe.model import HOUR, Heartbeat
from ffe.ports import Journal, Written
from ffe.records.chain import ORIGIN
from ffe.records.encode import digest
from ffe.records.journal import RunJournal
from ffe.records.verify import chained as verify
from tests.records.values import (
    DAY,
    STAMP,
    START,
    Happened,
    bars,
    closing,
    decision_id,
    entering,
    filled,
    open_live,
    opens,
    quiet,
    story,
    write_live,
    write_run,
)


def bodies(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


# ---------------------------------------------------------------- a backtest


def test_a_run_keeps_what_happened_and_leaves_out_its_bars(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", story(1))
    lines = bodies(run / "journal.jsonl")
    assert [(line["n"], line["kind"], line["bars"]) for line in lines] == [
        (1, "head", 0), (2, "step", 2), (3, "event", 2), (4, "event", 2), (5, "step", 3), (6, "step", 4), (7, "end", 4),
    ]  # fmt: skip
    assert lines[0]["body"] == {
        "code": "0.1.0+abc", "config": "c" * 64, "data": "d" * 64, "session": "7c0d", "schema": 1, "head": {"seed": 7},
    }  # fmt: skip


def test_each_line_carries_the_hash_of_the_line_before_it(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", story(2))
    lines = (run / "journal.jsonl").read_bytes().splitlines()
    assert [json.loads(line)["prev"] for line in lines] == [ORIGIN, *[digest(line) for line in lines[:-1]]]


def test_a_step_names_the_hash_of_its_decisions_line(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", story(1))
    record = (run / "decisions.jsonl").read_bytes().splitlines()[0]
    assert bodies(run / "journal.jsonl")[1]["body"]["decisions"] == [{"id": decision_id(0), "sha256": digest(record)}]


def test_equity_is_kept_once_a_bar(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", story(1))
    rows = np.load(run / "equity.npy", allow_pickle=False)
    assert rows["time"].tolist() == [START + n * HOUR for n in range(4)]
    np.testing.assert_array_equal(rows["equity"], [100_000.0, 100_000.0, 100_000.0, nan])


def test_the_same_run_twice_is_the_same_bytes(tmp_path: Path) -> None:
    a, b = (write_run(tmp_path / name, story(3)) for name in "ab")
    for name in ("journal.jsonl", "decisions.jsonl", "equity.npy"):
        assert (a / name).read_bytes() == (b / name).read_bytes()


def test_a_finished_run_is_read_only(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", story(1))
    assert {stat.S_IMODE(file.stat().st_mode) for file in run.iterdir()} == {0o400}


def test_a_run_is_never_written_over(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", story(1))
    with pytest.raises(NotWritable, match="Choose another name"):
        RunJournal(run, STAMP, {})


def test_a_folder_that_cannot_be_made_is_not_writable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotWritable, match="Choose a folder"):
        RunJournal(tmp_path / "file" / "run", STAMP, {})


def test_a_run_that_raises_has_no_end(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), RunJournal(tmp_path / "run", STAMP, {}) as journal:
        journal.event(filled(1))
        1 / 0  # noqa: B018
    report = verify(tmp_path / "run")
    assert [(f.line, f.wrong) for f in report.findings] == [
        (2, "the journal has no end: the run was killed, or its end was cut")
    ]


def test_both_journals_are_journals(tmp_path: Path) -> None:
    journals: list[Journal] = [RunJournal(tmp_path / "run", STAMP, {}), open_live(tmp_path)]
    for journal in journals:
        journal.event(bars(START))
        assert journal.step(entering(1)) is Written.YES


# ---------------------------------------------------------------- live


def test_live_keeps_every_event_and_a_file_a_decision(tmp_path: Path) -> None:
    write_live(tmp_path, story(1))
    lines = bodies(tmp_path / "journal" / f"{DAY}.jsonl")
    kinds = ["checkpoint", "head", *["event", "step"] * 2, "event", *["event", "step"] * 3, "end"]
    assert [line["kind"] for line in lines] == kinds
    assert [line["bars"] for line in lines] == [0, 0, 1, 1, 2, 2, 2, 2, 2, 3, 3, 4, 4, 4]
    assert all(line["body"]["state"] == {"positions": {}} for line in lines if line["kind"] == "step")
    names = [f"{DAY}_{decision_id(n)}.json" for n in (0, 10_000)]
    assert sorted(file.name for file in (tmp_path / "decisions").iterdir()) == names


def test_records_are_for_their_owner_alone(tmp_path: Path) -> None:
    write_live(tmp_path, story(1))
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_live_and_run_write_the_same_record(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", story(1))
    write_live(tmp_path / "live", story(1))
    file = tmp_path / "live" / "decisions" / f"{DAY}_{decision_id(0)}.json"
    assert file.read_bytes() == (run / "decisions.jsonl").read_bytes().splitlines()[0]


def test_each_day_opens_with_a_checkpoint_and_carries_the_chain_on(tmp_path: Path) -> None:
    write_live(tmp_path, story(8))
    first, second = sorted((tmp_path / "journal").iterdir())
    opening = bodies(second)[0]
    assert opening["prev"] == digest(first.read_bytes().splitlines()[-1])
    assert (opening["kind"], opening["n"]) == ("checkpoint", 1)
    said = {"head": {"venue": "oanda"}, "session": "7c0d"}
    assert opening["body"] == {"after": first.name, "state": {"positions": {}}, **said}


def test_a_second_session_carries_the_chain_on(tmp_path: Path) -> None:
    write_live(tmp_path, story(1), "one")
    write_live(tmp_path, story(2, start=1), "two")
    lines = bodies(tmp_path / "journal" / f"{DAY}.jsonl")
    heads = [(line["n"], line["bars"]) for line in lines if line["kind"] == "head"]
    assert heads == [(2, 0), (15, 0)]
    assert verify(tmp_path).findings == ()


def test_time_that_goes_back_stays_in_the_newer_days_file(tmp_path: Path) -> None:
    write_live(tmp_path, [(bars(START), quiet()), (bars(START - ONE_DAY), quiet())])
    assert [file.name for file in (tmp_path / "journal").iterdir()] == [f"{DAY}.jsonl"]


def test_half_a_last_line_is_named_and_dropped_when_opened_again(tmp_path: Path) -> None:
    write_live(tmp_path, story(1))
    file = tmp_path / "journal" / f"{DAY}.jsonl"
    file.write_bytes(file.read_bytes()[:-9])
    assert [(f.line, f.torn) for f in verify(tmp_path).findings] == [(14, True)]
    write_live(tmp_path, story(1, start=1), "two")
    assert verify(tmp_path).findings == ()
    assert len(bodies(file)) == 13 + 13


def test_a_journal_whose_end_is_no_line_is_not_continued(tmp_path: Path) -> None:
    write_live(tmp_path, story(1))
    file = tmp_path / "journal" / f"{DAY}.jsonl"
    file.write_bytes(file.read_bytes() + b"{}\n")
    with pytest.raises(Tampered, match="ffe decisions verify"):
        open_live(tmp_path)


def test_a_decision_cannot_be_written_twice(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    journal = open_live(tmp_path)
    file = tmp_path / "decisions" / f"{DAY}_{decision_id(1)}.json"
    file.write_bytes(b"first")
    journal.event(bars(START))
    assert journal.step(entering(1)) is Written.NO
    assert file.read_bytes() == b"first"
    assert [draft.decision.id for draft in journal.unwritten] == [decision_id(1)]
    assert any(record.levelname == "CRITICAL" and decision_id(1) in record.message for record in caplog.records)


def test_a_decision_that_could_not_be_written_is_written_when_it_can(tmp_path: Path) -> None:
    journal = open_live(tmp_path)
    (tmp_path / "decisions").rename(tmp_path / "away")
    journal.event(bars(START))
    assert journal.step(entering(1)) is Written.NO
    (tmp_path / "away").rename(tmp_path / "decisions")
    journal.event(bars(START + HOUR))
    assert journal.step(quiet()) is Written.YES
    assert journal.unwritten == []
    assert journal.step(closing(1)) is Written.YES
    assert journal.close() is Written.YES
    assert verify(tmp_path).findings == ()


def test_drafts_that_a_crash_left_are_cleared(tmp_path: Path) -> None:
    open_live(tmp_path).close()
    (tmp_path / "decisions" / ".2024-01-02_x.json.tmp").touch()
    open_live(tmp_path)
    assert list((tmp_path / "decisions").iterdir()) == []


def test_a_live_root_under_a_file_is_not_writable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotWritable, match="Choose a folder"):
        open_live(tmp_path / "file")


def test_events_between_steps_are_kept_in_order(tmp_path: Path) -> None:
    happened: list[Happened] = [(opens(START), quiet()), (filled(1), quiet())]
    run = write_run(tmp_path / "run", happened)
    types = [line["body"].get("type") for line in bodies(run / "journal.jsonl")]
    assert types == [None, "Quotes", "Filled", None]


def test_heartbeat_that_led_to_nothing_is_not_written(tmp_path: Path) -> None:
    journal = open_live(tmp_path)
    journal.event(Heartbeat(START))
    assert journal.step(quiet()) is Written.YES
    assert not list((tmp_path / "journal").glob("*.jsonl"))


def test_heartbeat_that_led_to_something_is_written_before_its_step(tmp_path: Path) -> None:
    journal = open_live(tmp_path)
    for event, step in ((Heartbeat(START), quiet()), (Heartbeat(START + 1), entering(1, START + 1))):
        journal.event(event)
        journal.step(step)
    journal.close()
    kinds = [(line["kind"], line["body"].get("time")) for line in bodies(next((tmp_path / "journal").glob("*.jsonl")))]
    assert kinds[-3:] == [("event", START + 1), ("step", None), ("end", None)]
    assert verify(tmp_path).is_good


def test_heartbeat_of_another_day_opens_no_file_unless_something_comes_of_it(tmp_path: Path) -> None:
    journal = open_live(tmp_path)
    journal.event(bars(START))
    journal.step(quiet())
    journal.event(Heartbeat(START + ONE_DAY))
    journal.step(quiet())
    assert len(list((tmp_path / "journal").glob("*.jsonl"))) == 1
