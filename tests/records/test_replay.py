"""A journal and its market give back the run's events; two runs are compared to the byte."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffe.errors import RecordError
from ffe.model import HOUR, Bars, Event, Quotes
from ffe.records.replay import compare, events
from tests.records.values import (
    STAMP,
    START,
    Happened,
    bars,
    closing,
    entering,
    filled,
    opens,
    overwrite,
    quiet,
    story,
    write_live,
    write_run,
)


def market(happened: list[Happened]) -> Iterator[Bars | Quotes]:
    """The data of a run: its bars, each followed by an open, delivered or not."""
    for event, _ in happened:
        if isinstance(event, Bars):
            yield event
            yield opens(event.time)


def test_a_run_and_its_market_give_its_events_again(tmp_path: Path) -> None:
    happened = list(story(4))
    run = write_run(tmp_path / "run", happened)
    assert list(events(run, market(happened))) == [event for event, _ in happened]


@given(kinds=st.lists(st.sampled_from(["bars", "open", "fill"]), max_size=20))
def test_whatever_the_order_at_whatever_time(tmp_path_factory: pytest.TempPathFactory, kinds: list[str]) -> None:
    """All at one instant: the count alone says what came first."""
    made: dict[str, Event] = {"bars": bars(START), "open": opens(START), "fill": filled(1)}
    happened: list[Happened] = [(made[kind], quiet()) for kind in kinds]
    run = write_run(tmp_path_factory.mktemp("runs") / "run", happened)
    assert list(events(run, market(happened))) == [event for event, _ in happened]


def test_another_market_is_refused(tmp_path: Path) -> None:
    happened = list(story(4))
    run = write_run(tmp_path / "run", happened)
    with pytest.raises(RecordError, match="this market ends before"):
        list(events(run, market(happened[:5])))


def test_a_live_journal_needs_no_market(tmp_path: Path) -> None:
    happened = list(story(8))
    write_live(tmp_path, happened)
    assert list(events(tmp_path, iter(()))) == [event for event, _ in happened]


def test_one_session_of_several(tmp_path: Path) -> None:
    second = list(story(2, start=1))
    write_live(tmp_path, story(1), "one")
    write_live(tmp_path, second, "two")
    assert list(events(tmp_path, iter(()), "two")) == [event for event, _ in second]
    with pytest.raises(RecordError, match="Name the one to replay"):
        list(events(tmp_path, iter(())))


# ---------------------------------------------------------------- two runs


def test_the_same_run_has_no_difference(tmp_path: Path) -> None:
    a, b = (write_run(tmp_path / name, story(3)) for name in "ab")
    assert compare(a, b) is None


def test_the_first_line_that_differs_is_named(tmp_path: Path) -> None:
    a = write_run(tmp_path / "a", story(3))
    b = write_run(tmp_path / "b", [*story(1), *story(2, start=5)])
    found = compare(a, b)
    assert found is not None and found.a is not None and found.b is not None
    assert (found.file, found.line) == ("journal.jsonl", 7)
    assert "00000001-aaaa" in found.a and "00000005-aaaa" in found.b


def test_a_run_that_goes_on_differs_where_the_other_ends(tmp_path: Path) -> None:
    a, b = (write_run(tmp_path / name, story(2)) for name in "ab")
    overwrite(b / "decisions.jsonl", b"".join((b / "decisions.jsonl").read_bytes().splitlines(keepends=True)[:-1]))
    found = compare(a, b)
    assert found is not None
    assert (found.file, found.line, found.b) == ("decisions.jsonl", 4, None)


def test_equity_that_differs_is_named_by_its_row(tmp_path: Path) -> None:
    a = write_run(tmp_path / "a", [(bars(START), quiet(1.0)), (bars(START + HOUR), quiet(2.0))])
    b = write_run(tmp_path / "b", [(bars(START), quiet(1.0)), (bars(START + HOUR), quiet(2.5))])
    overwrite(a / "journal.jsonl", (b / "journal.jsonl").read_bytes())  # as if their ends agreed
    found = compare(a, b)
    assert found is not None
    assert (found.file, found.line, found.a, found.b) == (
        "equity.npy", 2, f"({START + HOUR}, 2.0)", f"({START + HOUR}, 2.5)",
    )  # fmt: skip


def test_another_version_of_the_code_is_forgiven_if_asked(tmp_path: Path) -> None:
    a = write_run(tmp_path / "a", story(3))
    b = write_run(tmp_path / "b", story(3), replace(STAMP, code="0.2.0"))
    c = write_run(tmp_path / "c", [*story(3), (filled(9), entering(9)), (bars(START), closing(9))])
    assert compare(a, b) is not None
    assert compare(a, b, but_code=True) is None
    assert compare(a, c, but_code=True) is not None
