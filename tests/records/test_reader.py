"""Decisions found, filtered and explained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ffe.errors import RecordError, Tampered
from ffe.model import Disposition, Layer
from ffe.records.reader import aftermath, explain, find, records, select
from tests.records.values import STAMP, closing, decision, decision_id, filled, overwrite, story, write_live, write_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run", story(3))


def ids(found: object) -> list[str]:
    return [record.decision.id for record in found]  # type: ignore[attr-defined]


def test_a_runs_decisions_come_as_they_were_taken(run: Path) -> None:
    taken = list(records(run))
    assert ids(taken) == [decision_id(n) for n in (0, 10_000, 1, 10_001, 2, 10_002)]
    assert repr(taken[0].decision) == repr(decision(0, taken[0].decision.time))
    assert (taken[2].stamp, taken[2].where) == (STAMP, f"{run / 'decisions.jsonl'}:3")


def test_a_live_roots_decisions_are_the_same(run: Path, tmp_path: Path) -> None:
    write_live(tmp_path / "live", story(3))
    assert sorted(ids(records(tmp_path / "live"))) == sorted(ids(records(run)))


@pytest.mark.parametrize("symbol", ["EUR/USD", "oanda:EUR/USD", None])
def test_decisions_by_symbol_disposition_and_layer(run: Path, symbol: str | None) -> None:
    assert len(ids(select(run, symbol))) == 6
    assert ids(select(run, symbol, Disposition.SENT)) == [decision_id(n) for n in range(3)]
    assert ids(select(run, symbol, layer=Layer.VAR)) == [decision_id(10_000 + n) for n in range(3)]
    assert ids(select(run, symbol, Disposition.SENT, Layer.VAR)) == []


def test_a_symbol_nobody_traded_has_no_decisions(run: Path) -> None:
    assert ids(select(run, "GBP/USD")) == []


def test_a_decision_is_found_by_the_beginning_of_its_id(run: Path) -> None:
    assert find(run, "00000002").decision.id == decision_id(2)
    with pytest.raises(RecordError, match="List them"):
        find(run, "x")
    with pytest.raises(RecordError, match="6 decisions begin with"):
        find(run, "000")


def test_what_came_of_a_decision(run: Path) -> None:
    record = find(run, "00000001")
    after = aftermath(run, record.decision)
    entered = record.decision.time
    assert after.answers == (filled(1, entered),)
    assert after.outcomes == closing(1, after.outcomes[0].time).outcomes
    assert after.followers == ()
    assert aftermath(run, find(run, "00010000").decision).answers == ()


def test_a_refusal_is_explained_layer_by_layer(run: Path) -> None:
    record = find(run, "00010001")
    text = explain(record, aftermath(run, record.decision))
    assert "REFUSED oanda:EUR/USD at 2024-01-02 15:30:00" in text
    assert "4 VAR                   0.061        0.05      -0.011  refused" in text
    assert "5 CROSS_VENUE         unknown         0.5     unknown  warned" in text
    assert "intent    entry LONG 23456.7 at 1.0934567, stop 1.0712345, target 1.1481295; concentration" in text


def test_reason_of_many_lines_passes_for_no_line_of_ours(run: Path) -> None:
    record = next(records(run))
    after = aftermath(run, record.decision)
    forged = replace(record, decision=replace(record.decision, reason="why\nrecord    all is well"))
    lines = explain(forged, after).splitlines()
    assert "reason    why\\nrecord    all is well" in lines and len([x for x in lines if x.startswith("record")]) == 1


def test_an_entry_is_explained_to_its_end(run: Path) -> None:
    record = find(run, "00000001")
    text = explain(record, aftermath(run, record.decision))
    assert "order     order1 in slot 1" in text
    assert "filled 23456.7 at 1.0935678, fee 1.28 USD (entry)" in text
    assert "by target: P&L 150.5 after fees 2.5" in text


def test_a_broken_record_is_tampered_with_its_place(run: Path) -> None:
    overwrite(run / "decisions.jsonl", b"{}\n")
    with pytest.raises(Tampered, match=r"decisions\.jsonl:1.*ffe decisions verify"):
        list(records(run))


def test_a_folder_without_records_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="Give the folder of a run"):
        list(records(tmp_path))
