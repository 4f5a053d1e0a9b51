"""Forgeries of runs and of live journals, each with every hash mended: which are found by what the records say alone,
and that each is found by the head that was kept when they were made."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import ffe
from ffe.cli import app
from ffe.errors import FfeError
from ffe.live.rerun import rerun as session_rerun
from ffe.model import DAY, HOUR, Account, AccountKind, Currency
from ffe.records.encode import Stamp, canonical, encode_value
from ffe.records.journal import LiveJournal
from ffe.records.kept import keep, kept
from ffe.records.reader import aftermath, explain, records
from ffe.records.verify import Report, verify
from ffe.research.rerun import plan_of, rerun
from ffe.session import Session, session_id
from strategies.ma_cross import MaCross
from tests.parity.test_wake import coins
from tests.records import values
from tests.records.forging import Forged, read_live, read_run, write_live, write_run
from tests.records.values import QuickDisk, checkpoint, story
from tests.risk.values import forex

pytestmark = pytest.mark.slow

Forge = Callable[[Forged, Path], None]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    return ffe.backtest(
        MaCross(fast=5, slow=12, confidence=85), coins(bars=3_000), ffe.load_settings(), records=folder
    ).folder


def copied(run: Path, root: Path) -> Path:
    """The run where it was made: its head was kept for that place."""
    place = root / run.name
    shutil.copytree(run, place)
    for path in place.iterdir():
        path.chmod(0o600)
    keep(place, verify(run).sessions[0], verify(run).head)
    return place


# ---------------------------------------------------------------- of runs


def straight(forged: Forged, place: Path) -> None:
    forged.equity["equity"] = np.linspace(100_000.0, 200_000.0, len(forged.equity))


def straight_everywhere(forged: Forged, place: Path) -> None:
    straight(forged, place)
    before = ""
    for line in forged.lines:
        if line["kind"] == "step" and before != "event" and line["bars"]:
            line["body"]["equity"] = repr(float(forged.equity["equity"][line["bars"] - 1]))
        before = line["kind"]


def backdated(forged: Forged, place: Path) -> None:
    forged.equity["time"] -= 7 * DAY
    for decision in forged.decisions.values():
        decision["time"] -= 7 * DAY
    for body in forged.of("event"):
        body["time"] -= 7 * DAY


def head_says(mends: bool = False, **changes: object) -> Forge:
    def forge(forged: Forged, place: Path) -> None:
        forged.head["head"].update(changes)
        if "config" in changes:
            forged.head["config"] = hashlib.sha256(str(changes["config"]).encode()).hexdigest()
        if mends:
            forged.renamed()

    return forge


def says(**changes: object) -> Forge:
    return lambda forged, place: forged.head.update(changes)


def config_alone(forged: Forged, place: Path) -> None:
    forged.head["head"]["config"] = forged.head["head"]["config"].replace("0.05", "0.5", 1)


def decision_says(n: int, **changes: object) -> Forge:
    def forge(forged: Forged, place: Path) -> None:
        [*forged.decisions.values()][n].update(changes)

    return forge


def refusal_called_sent(forged: Forged, place: Path) -> None:
    next(each for each in forged.decisions.values() if each["disposition"] == "refused")["disposition"] = "sent"


def id_changed(forged: Forged, place: Path) -> None:
    id = [*forged.decisions][3]
    other = id[:-1] + ("0" if id[-1] != "0" else "1")
    for body in forged.steps():
        for row in body["decisions"]:
            row["id"] = other if row["id"] == id else row["id"]
    forged.decisions = {other if key == id else key: each for key, each in forged.decisions.items()}
    forged.decisions[other]["id"] = other


def session_alone(forged: Forged, place: Path) -> None:
    forged.renamed("0" * 32)


def one_step_out(n: int) -> Forge:
    def forge(forged: Forged, place: Path) -> None:
        gone = forged.steps()[n]
        forged.cut(lambda line: line["body"] is gone)

    return forge


def first_price(forged: Forged, place: Path) -> None:
    next(body for body in forged.of("event") if "fill" in body)["fill"]["price"] = "1"


def better_outcome(forged: Forged, place: Path) -> None:
    next(body for body in forged.of("step") if body["outcomes"])["outcomes"][0]["pnl"] = "99999"


def event_out(forged: Forged, place: Path) -> None:
    gone = forged.of("event")[5]
    forged.cut(lambda line: line["body"] is gone)


def events_swapped(forged: Forged, place: Path) -> None:
    lines = forged.days["journal.jsonl"]
    at = [n for n, line in enumerate(lines) if line["kind"] == "event"]
    lines[at[2]], lines[at[3]] = lines[at[3]], lines[at[2]]


def end_cut(forged: Forged, place: Path) -> None:
    del forged.days["journal.jsonl"][-1]


def half_cut(forged: Forged, place: Path) -> None:
    lines = forged.days["journal.jsonl"]
    last = lines[len(lines) // 2]["bars"]
    forged.cut(lambda line: line["bars"] > last and line["kind"] != "end")
    forged.equity = forged.equity[:last]


def quiet_bar(forged: Forged, place: Path) -> None:
    stepped = {line["bars"] for line in forged.lines if line["kind"] == "step"}
    bar = max(n for n in range(1, len(forged.equity)) if n not in stepped)
    forged.equity["equity"][bar - 1] *= 1.1


def stepped_bar(forged: Forged, place: Path) -> None:
    before = ""
    for line in forged.lines:
        if line["kind"] == "step" and before != "event" and line["bars"]:
            line["body"]["equity"] = "1"
            return
        before = line["kind"]


def times_fall(forged: Forged, place: Path) -> None:
    forged.equity["time"][10] = forged.equity["time"][9]


def decisions_swapped(forged: Forged, place: Path) -> None:
    first, second = [body for body in forged.steps() if len(body["decisions"]) == 1][1:3]
    first["decisions"], second["decisions"] = second["decisions"], first["decisions"]
    order = [row["id"] for body in forged.steps() for row in body["decisions"]]
    forged.decisions = {id: forged.decisions[id] for id in order}


def of_objects(forged: Forged, place: Path) -> None:
    forged.curve = lambda: (
        b"\x93NUMPY\x01\x00\x46\x00{'descr': '|O', 'fortran_order': False, 'shape': (3,), }\n" + b"\0" * 40
    )  # type: ignore[method-assign]


def of_many_rows(forged: Forged, place: Path) -> None:
    """A header that claims more than any memory holds."""
    head = b"{'descr': [('time', '<i8'), ('equity', '<f8')], 'fortran_order': False, 'shape': (999999999999,), }\n"
    forged.curve = lambda: b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head  # type: ignore[method-assign]


def head_without(key: str) -> Forge:
    def forge(forged: Forged, place: Path) -> None:
        del forged.head["head"][key]

    return forge


def head_out(forged: Forged, place: Path) -> None:
    gone = forged.head
    forged.cut(lambda line: line["body"] is gone)


def decisions_say(**changes: object) -> Forge:
    """Every one: if each says the same, none stands out."""

    def forge(forged: Forged, place: Path) -> None:
        for decision in forged.decisions.values():
            decision.update(changes)

    return forge


FOUND_WITHOUT: dict[str, Forge] = {
    "what was run": head_without("strategy"),
    "the head": head_out,
    "the decisions' session": decisions_say(session="0" * 32),
    "the decisions' code": decisions_say(code="1.0+0"),
    "the decisions' settings": decisions_say(config="0" * 64),
    "the decisions' data": decisions_say(data="0" * 64),
    "equity a straight line": straight,
    "settings": config_alone,
    "settings and their hash": head_says(config="{}"),
    "parameters": head_says(parameters={"fast": 1}),
    "strategy": head_says(strategy="Another"),
    "source": head_says(source="evil.py:Evil"),
    "hash of the source": head_says(source_sha256="0" * 64),
    "versions": head_says(versions={"python": "2.7"}),
    "start": head_says(start=1),
    "data of the head": head_says(series=[]),
    "code": says(code="1.0+000000000000"),
    "hash of the data": says(data="0" * 64),
    "hash of the settings": says(config="0" * 64),
    "session": session_alone,
    "everything of another strategy, in the same folder": head_says(True, strategy="Another"),
    "everything of other parameters, in the same folder": head_says(True, parameters={"fast": 1}),
    "an id": id_changed,
    "a number": decision_says(2, sequence=99),
    "a step in the middle cut": one_step_out(4),
    "first step cut": one_step_out(0),
    "end cut": end_cut,
    "equity of a bar that was stepped": stepped_bar,
    "times of the curve": times_fall,
    "two decisions swapped": decisions_swapped,
    "curve of objects": of_objects,
    "curve of more rows than there are": of_many_rows,
}
FOUND_BY_THE_HEAD: dict[str, Forge] = {
    "equity a straight line, in the journal as well": straight_everywhere,
    "everything backdated": backdated,
    "a refusal called sent": refusal_called_sent,
    "another reason": decision_says(5, reason="a whim"),
    "fill": first_price,
    "outcome": better_outcome,
    "an event cut": event_out,
    "two events swapped": events_swapped,
    "second half cut": half_cut,
    "equity of a quiet bar": quiet_bar,
    "last step cut": one_step_out(-1),
}


def is_lost(place: Path, report: Report) -> bool:
    """Whether the kept head is missed, whatever else was found."""
    anchored = verify(place, kept(place, report.sessions))
    return not anchored.is_good and any("kept elsewhere" in finding.wrong for finding in anchored.findings)


@pytest.mark.parametrize("name", [*FOUND_WITHOUT, *FOUND_BY_THE_HEAD])
def test_forged_run_is_found(run: Path, tmp_path: Path, name: str) -> None:
    place = copied(run, tmp_path)
    forged = read_run(place)
    (FOUND_WITHOUT | FOUND_BY_THE_HEAD)[name](forged, place)
    write_run(place, forged)
    report = verify(place)
    assert report.is_good is (name in FOUND_BY_THE_HEAD), report.findings
    assert is_lost(place, report)


def test_forger_who_changes_nothing_leaves_a_run_as_it_was(run: Path, tmp_path: Path) -> None:
    """Or every forgery would be found by the forger's own slips."""
    place = copied(run, tmp_path)
    forged = read_run(place)
    forged.renamed()
    write_run(place, forged)
    report = verify(place)
    assert report.findings == () and report.head == verify(run).head
    assert verify(place, kept(place, report.sessions)).is_good


@pytest.mark.parametrize("name", ["journal.jsonl", "decisions.jsonl", "equity.npy"])
@pytest.mark.parametrize("kind", ["folder", "pipe", "link", "device"])
def test_run_with_something_else_in_place_of_a_file_is_found(run: Path, tmp_path: Path, name: str, kind: str) -> None:
    """A pipe was waited for, and a folder was a traceback."""
    place = copied(run, tmp_path)
    data = (place / name).read_bytes()
    (place / name).unlink()
    match kind:
        case "folder":
            (place / name).mkdir()
        case "pipe":
            os.mkfifo(place / name)
        case "link":
            (tmp_path / "elsewhere").write_bytes(data)
            (place / name).symlink_to(tmp_path / "elsewhere")
        case "device":
            (place / name).symlink_to("/dev/zero")
    report = verify(place)
    assert any(finding.file == name and "no regular file" in finding.wrong for finding in report.findings)


def test_file_that_is_larger_than_any_record_is_not_read(run: Path, tmp_path: Path) -> None:
    place = copied(run, tmp_path)
    os.truncate(place / "decisions.jsonl", 1 << 40)
    assert any("at most 1 GiB" in finding.wrong for finding in verify(place).findings)


@pytest.mark.parametrize("name", ["journal", "decisions"])
def test_empty_folder_does_not_make_a_run_an_account(run: Path, tmp_path: Path, name: str) -> None:
    """Nothing of the run was looked at then: "0 lines, intact as far as it goes"."""
    place = copied(run, tmp_path)
    (place / name).mkdir()
    found = {(each.file, each.wrong) for each in verify(place).findings}
    for file in ("journal.jsonl", "decisions.jsonl", "equity.npy"):
        assert (file, "a run's file in the root of a live account: inserted") in found


def test_line_behind_the_end_of_a_run_is_no_crash(run: Path, tmp_path: Path) -> None:
    place = copied(run, tmp_path)
    with (place / "journal.jsonl").open("ab") as file:
        file.write(b'{"half": ')
    assert not verify(place).is_good


STRIDES = [4, pytest.param(1, marks=pytest.mark.campaign)]
ODD = (
    [], {}, None, True, 1.5, "\0", "\ud800", "a" * 5_000, 10**30, -(10**30), 10**4_290, "../../etc", [[]], "1e999",
)  # fmt: skip


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("short")
    strategy = MaCross(fast=2, slow=3, confidence=85)
    return ffe.backtest(strategy, coins(bars=60), ffe.load_settings(), records=folder).folder


@pytest.mark.parametrize("stride", STRIDES)
@pytest.mark.parametrize("odd", ODD, ids=range(len(ODD)))
def test_value_of_another_kind_anywhere_is_told_or_harmless(
    short: Path, tmp_path: Path, odd: object, stride: int
) -> None:
    """No traceback: from `verify`, from what reads a run, nor from what runs it again."""
    place = copied(short, tmp_path)
    whole = read_run(place)
    event, end = whole.of("event")[0], whole.of("end")[0]
    parts = [*islice(whole.decisions.values(), 1), whole.steps()[0], whole.head, whole.head["head"], event, end]
    for part, key in some_of([*parts, whole.lines[0], whole.lines[3]], odd, stride):
        before, part[key] = part[key], odd
        try:
            write_run(place, whole)
        except (AttributeError, KeyError, TypeError):  # what the forger mends has to be there
            continue
        finally:
            part[key] = before
        tell_all(place, run_again)


def some_of(parts: list[dict], odd: object, stride: int) -> Iterator[tuple[dict, str]]:
    """Where the odd value is put: everywhere, or in every fourth place, for each value another."""
    places = [(part, key) for part in parts for key in part]
    return islice(places, ODD.index(odd) % stride, None, stride)


def tell_all(place: Path, again: Callable[[Path], object]) -> None:
    verify(place, kept(place, verify(place).sessions))
    for read in (told, again):
        with suppress(FfeError):
            read(place)


def told(place: Path) -> str:
    first = next(records(place))
    return explain(first, aftermath(place, first.decision))


def run_again(place: Path) -> object:
    return rerun(place, plan_of(place, place.parent, True, "strategies/ma_cross.py:MaCross"), True)


def test_run_that_was_renamed_is_told(run: Path, tmp_path: Path) -> None:
    place = copied(run, tmp_path)
    place.rename(tmp_path / "my-best-run")
    assert any("folder of another name" in finding.wrong for finding in verify(tmp_path / "my-best-run").findings)


def test_verify_uses_the_head_that_was_kept_unasked_and_says_what_it_shows(run: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["decisions", "verify", "--run", str(run)])
    assert result.exit_code == 0 and "what was written, up to the head that was kept" in result.output
    place = copied(run, tmp_path)
    forged = read_run(place)
    backdated(forged, place)
    write_run(place, forged)
    result = CliRunner().invoke(app, ["decisions", "verify", "--run", str(place)])
    assert result.exit_code == 1 and "kept elsewhere, is not in this chain" in result.output
    forged.head["head"]["start"] = 7  # a run that nobody here has made
    stranger = tmp_path / f"MaCross-{forged.renamed()[:12]}"
    write_run(stranger, forged)
    result = CliRunner().invoke(app, ["decisions", "verify", "--run", str(stranger)])
    assert result.exit_code == 0 and "no head of it was kept here" in result.output


# ---------------------------------------------------------------- of live journals


HEAD = {"strategy": "Holds", "source": "holds.py:Holds", "config": "{}", "traded": [{"symbol": "EUR/USD"}], "marks": {}}


def live(root: Path) -> Path:
    """Two days of a session that has ended, its head kept."""
    data = hashlib.sha256(b'[{"symbol": "EUR/USD"}]').hexdigest()
    name = session_id("1.0+abc", data, canonical(HEAD))  # type: ignore[arg-type]
    stamp = Stamp(name, "1.0+abc", hashlib.sha256(b"{}").hexdigest(), data)
    journal = LiveJournal(root, stamp, HEAD, checkpoint, QuickDisk())  # type: ignore[arg-type]
    made = 0
    for event, step in story(14):
        decisions = []
        for decision in step.decisions:
            made += 1
            decisions.append(replace(decision, id=Session(name, 0).decision(made), sequence=made, follows=None))
        journal.event(event)
        journal.step(replace(step, decisions=tuple(decisions)))
    journal.close()
    keep(root, name, journal.head)
    return root


def last_lines_cut(forged: Forged, place: Path) -> None:
    """The decisions stay, as if a crash had come before their lines."""
    lines = forged.days[max(forged.days)]
    del lines[len(lines) // 2 :]


def last_lines_and_decisions_cut(forged: Forged, place: Path) -> None:
    last_lines_cut(forged, place)
    forged.cut(lambda line: False)


def last_day_cut(forged: Forged, place: Path) -> None:
    del forged.days[max(forged.days)]
    forged.cut(lambda line: False)


def state_changed(forged: Forged, place: Path) -> None:
    forged.of("checkpoint")[-1]["state"] = {"positions": {"EUR/USD": 1}}


def other_data_and_its_name(forged: Forged, place: Path) -> None:
    forged.head["data"] = "0" * 64
    forged.renamed()


def live_backdated(forged: Forged, place: Path) -> None:
    for decision in forged.decisions.values():
        decision["time"] -= HOUR
    for body in forged.of("event"):
        body["time"] -= HOUR


def checkpoint_says(**changes: object) -> Forge:
    return lambda forged, place: forged.of("checkpoint")[-1].update(changes)


def head_of_a_closing(forged: Forged, place: Path) -> None:
    """A supervisor's closing says no more."""
    forged.head["head"] = {"closes": "another"}


def end_says(n: int) -> Forge:
    return lambda forged, place: forged.of("end")[-1].update(decisions=n)


LIVE_FOUND_WITHOUT: dict[str, Forge] = {
    "what was run": head_without("strategy"),
    "a session called a closing": head_of_a_closing,
    "a step in the middle cut": one_step_out(4),
    "last step cut": one_step_out(-1),
    "count of the decisions": end_says(3),
    "a day's session": checkpoint_says(session="0" * 32),
    "a day's head": checkpoint_says(head={"strategy": "Another"}),
    "the decisions' session": decisions_say(session="0" * 32),
    "the decisions' code": decisions_say(code="1.0+0"),
    "half the last day cut, and the decisions left": last_lines_cut,
    "settings": head_says(config="{ }"),
    "account": head_says(marks={"oanda": "0"}),
    "instruments": head_says(traded=[]),
    "source": head_says(source="evil.py:E"),
    "session": session_alone,
    "an id": id_changed,
    "a number": decision_says(2, sequence=99),
    "hash of the instruments, with its session": other_data_and_its_name,
}
LIVE_FOUND_BY_THE_HEAD: dict[str, Forge] = {
    "half the last day cut, with its decisions": last_lines_and_decisions_cut,
    "last day cut": last_day_cut,
    "state": state_changed,
    "everything an hour earlier": live_backdated,
    "a refusal called sent": refusal_called_sent,
    "fill": first_price,
    "outcome": better_outcome,
    "an event cut": event_out,
    "everything of another account": head_says(True, marks={"oanda": "0"}),
}


@pytest.mark.parametrize("name", [*LIVE_FOUND_WITHOUT, *LIVE_FOUND_BY_THE_HEAD])
def test_forged_live_journal_is_found(tmp_path: Path, name: str) -> None:
    place = live(tmp_path / "data")
    forged = read_live(place)
    (LIVE_FOUND_WITHOUT | LIVE_FOUND_BY_THE_HEAD)[name](forged, place)
    write_live(place, forged)
    report = verify(place)
    assert report.is_good is (name in LIVE_FOUND_BY_THE_HEAD), report.findings
    assert is_lost(place, report)


FULL = {
    **HEAD, "source": "strategies/ma_cross.py:MaCross", "source_sha256": "0", "versions": {}, "parameters": {},
    "traded": [encode_value(forex("EUR", "USD"))], "others": [], "currency": "USD", "interval": HOUR,
    "opened": values.START,
    "accounts": [encode_value(Account(values.OANDA, AccountKind.MARGIN, Currency("USD")))],
    "config": ffe.load_settings().as_json(),
}  # fmt: skip


def agreeing(forged: Forged) -> None:
    """Whatever its head says now, all that follows from it follows: nothing but what is said is left to be refused."""
    head = forged.head
    head["config"] = hashlib.sha256(str(head["head"].get("config")).encode()).hexdigest()
    head["data"] = hashlib.sha256(json.dumps(head["head"].get("traded"), sort_keys=True).encode()).hexdigest()
    for decision in forged.decisions.values():
        decision.update(config=head["config"], data=head["data"])
    forged.renamed()


def session_again(place: Path) -> object:
    return session_rerun(place, other_code=True, strategy="strategies/ma_cross.py:MaCross")


@pytest.mark.parametrize("stride", STRIDES)
@pytest.mark.parametrize("odd", ODD, ids=range(len(ODD)))
def test_value_of_another_kind_anywhere_in_a_live_journal_is_told_or_harmless(
    tmp_path: Path, odd: object, stride: int
) -> None:
    place = live(tmp_path / "data")
    whole = read_live(place)
    whole.head["head"] = FULL
    lines = next(iter(whole.days.values()))
    resumed = {"bars": 0, "body": {"sent": [], "state": None}, "kind": "resume"}
    lines.insert(2, resumed)
    agreeing(whole)
    write_live(place, whole)
    assert verify(place).is_good, "or nothing would be run again"
    parts = [*islice(whole.decisions.values(), 1), whole.steps()[0], whole.head, whole.head["head"], whole.of("end")[0]]
    parts += [resumed["body"], whole.of("event")[0], whole.of("checkpoint")[-1], lines[0]]
    for part, key in some_of(parts, odd, stride):
        before, part[key] = part[key], odd
        try:
            if part is whole.head["head"]:
                agreeing(whole)
            write_live(place, whole)
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError, OSError):  # the forger's own
            continue
        finally:
            part[key] = before
        tell_all(place, session_again)
        agreeing(whole)


def test_forger_who_changes_nothing_leaves_a_live_journal_as_it_was(tmp_path: Path) -> None:
    place = live(tmp_path / "data")
    before, forged = verify(place), read_live(place)
    forged.renamed()
    write_live(place, forged)
    assert verify(place) == before and before.findings == ()
    assert values.START > 0
