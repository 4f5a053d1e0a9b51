"""The records of a run's folder or of a live root: its lines, its decisions, and why each was taken.

Reading trusts what it reads; `verify` is what says whether one may.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from math import isfinite
from pathlib import Path
from typing import cast

import ffe.model as m
from ffe.errors import RecordError, Tampered
from ffe.records.chain import DECISIONS, Line, as_line, journal_files
from ffe.records.encode import Stamp, decode_decision, decode_event, decode_outcomes, loads
from ffe.records.found import content

REFUSING = (m.Status.REFUSED, m.Status.DATA_MISSING)


@dataclass(frozen=True, slots=True)
class Record:
    """A decision as it was written down; where is its file and line."""

    decision: m.Decision
    stamp: Stamp
    where: str


@dataclass(frozen=True, slots=True)
class Aftermath:
    """What came of a decision: the answers to its order, its trade's outcome, the decisions that followed from it."""

    answers: tuple[m.Answer, ...]
    outcomes: tuple[m.Outcome, ...]
    followers: tuple[m.DecisionId, ...]


def texts(path: Path) -> Iterator[tuple[str, bytes]]:
    """The whole lines of a file, each with its place; half a line at the end is none."""
    if not path.is_file():
        raise RecordError(f"{path} is missing. Give the folder of a run, or the root of a live account")
    with path.open("rb") as file:
        for n, line in enumerate(file, 1):
            if line.endswith(b"\n"):
                yield f"{path}:{n}", line[:-1]


def lines(path: Path) -> Iterator[tuple[str, Line]]:
    """The journal, line by line, each with its place."""
    for file in journal_files(path):
        for where, text in texts(file):
            with believed(where, path):
                line = as_line(loads(text))
            yield where, line


@contextmanager
def believed(where: str, path: Path) -> Iterator[None]:
    """What is read within is a record, or Tampered says where it is none."""
    try:
        yield
    except (ValueError, LookupError, TypeError, OverflowError) as error:
        said = str(error) if isinstance(error, ValueError) else f"not a record of this schema: {error!r}"
        raise Tampered(f"{where}: {said}. See what else was changed: ffe decisions verify --run {path}") from None


def records(path: Path) -> Iterator[Record]:
    """The decisions: of a run in the order in which they were taken, of a live root by day and id."""
    for where, text in _record_texts(path):
        with believed(where, path):
            record = Record(*decode_decision(text), where)
        yield record


def _record_texts(path: Path) -> Iterator[tuple[str, bytes]]:
    live = path / "decisions"
    if not live.is_dir():
        yield from texts(path / DECISIONS)
    for file in sorted(live.glob("*.json")):
        if (data := content(file)) is None:
            raise Tampered(f"{file}: no regular file. See what else was changed: ffe decisions verify --run {path}")
        yield str(file), data


def select(
    path: Path, symbol: str | None = None, disposition: m.Disposition | None = None, layer: m.Layer | None = None
) -> Iterator[Record]:
    """The decisions on one symbol (or "venue:symbol"), with one disposition, refused by one layer."""
    for record in records(path):
        decision = record.decision
        names = (decision.instrument, decision.instrument.partition(":")[2])
        is_named = symbol in (None, *names) and disposition in (None, decision.disposition)
        if is_named and (layer is None or layer in refusing_layers(decision)):
            yield record


def find(path: Path, prefix: str) -> Record:
    """The one decision whose id begins so; RecordError where there is none, or more than one."""
    found = [record for record in records(path) if record.decision.id.startswith(prefix)]
    if len(found) == 1:
        return found[0]
    if not found:
        raise RecordError(f"{path}: no decision begins with {prefix!r}. List them: ffe decisions list")
    raise RecordError(f"{path}: {len(found)} decisions begin with {prefix!r}. Give more of the id")


def refusing_layers(decision: m.Decision) -> tuple[m.Layer, ...]:
    if decision.judgement is None:
        return ()
    pairs = zip(m.LAYERS, decision.judgement.statuses, strict=True)
    return tuple(layer for layer, status in pairs if status in REFUSING)


def aftermath(path: Path, decision: m.Decision) -> Aftermath:
    answers: list[m.Answer] = []
    outcomes: list[m.Outcome] = []
    for where, line in lines(path):
        with believed(where, path):
            if line.kind == "event" and decision.order and line.body.get("order") == decision.order:
                answers.append(cast(m.Answer, decode_event(line.body)))
            elif line.kind == "step":
                outcomes += decode_outcomes(line.body)
    mine = tuple(outcome for outcome in outcomes if outcome.decision == decision.id)
    followers = tuple(r.decision.id for r in records(path) if r.decision.follows == decision.id)
    return Aftermath(tuple(answers), mine, followers)


# ---------------------------------------------------------------- in words


def explain(record: Record, after: Aftermath) -> str:
    """Why a decision was taken, layer by layer, and what came of it."""
    d = record.decision
    title = f"{d.disposition.value.upper()} {d.instrument} at {_when(d.time)}, decision {d.id}"
    parts = [
        title,
        *([f"reason    {d.reason}"] if d.reason else []),
        *([_asked(d.signal)] if d.signal else []),
        *([_wanted(d.intent)] if d.intent else []),
        *([_tail(d.tail)] if d.tail else []),
        *(_table(d.judgement) if d.judgement else []),
        *_came_of_it(d, after),
        f"record    {record.where}, session {record.stamp.session}, code {record.stamp.code}",
    ]
    return "\n".join(part.replace("\n", "\\n") for part in parts)  # a reason is no further line


def _asked(s: m.Signal) -> str:
    why = f": {s.reasoning}" if s.reasoning else ""
    return f"signal    {s.side.name} by {s.provider}, confidence {s.confidence}{why}"


def _wanted(i: m.Intent) -> str:
    stop = "" if i.stop is None else f", stop {_n(i.stop)}"
    target = "" if i.target is None else f", target {_n(i.target)}"
    return f"intent    {i.purpose} {i.side.name} {_n(i.qty)} at {_n(i.price)}{stop}{target}; {i.rule}"


def _tail(t: m.TailRisk) -> str:
    return (
        f"tail risk expected shortfall {_n(t.expected_shortfall)}, of it this trade {_n(t.component)}; "
        f"the largest size that would have passed is {_n(t.largest_qty)}"
    )


def _table(j: m.Judgement) -> list[str]:
    rows = [("layer", "fact", "limit", "room", "status")]
    for layer, fact, limit, status in zip(m.LAYERS, j.facts, j.limits, j.statuses, strict=True):
        rows.append((layer.value, _n(fact), _n(limit), _n(limit - fact), status.value))
    return [f"{a:<17}{b:>12} {c:>11} {d:>11}  {e}" for a, b, c, d, e in rows]


def _came_of_it(d: m.Decision, after: Aftermath) -> list[str]:
    slot = "" if d.slot is None else f" in slot {d.slot}"
    return [
        *([f"order     {d.order}{slot}"] if d.order else []),
        *[f"  {_when(answer.time)} {_answer(answer)}" for answer in after.answers],
        *[f"outcome   {_outcome(outcome)}" for outcome in after.outcomes],
        *([f"follows   {d.follows}"] if d.follows else []),
        *[f"led to    {follower}" for follower in after.followers],
    ]


def _answer(answer: m.Answer) -> str:
    match answer:
        case m.Filled(fill=fill):
            return f"filled {_n(fill.qty)} at {_n(fill.price)}, fee {_n(fill.fee)} {fill.fee_currency} ({fill.cause})"
        case m.Rejected() | m.Cancelled() | m.Withheld():
            return f"{type(answer).__name__.lower()}: {answer.reason}"
        case m.Failed():
            return f"failed: {answer.fault}"
        case m.Report():
            return f"found to be {answer.state}, {len(answer.fills)} fills"
    return type(answer).__name__.lower()


def _outcome(o: m.Outcome) -> str:
    return (
        f"{o.side.name} {_n(o.qty)} from {_n(o.entry)} to {_n(o.exit)}, closed {_when(o.time)} by {o.cause}: "
        f"P&L {_n(o.pnl)} after fees {_n(o.fees)}"
    )


def _n(x: float) -> str:
    return f"{x:.8g}" if isfinite(x) else "unknown"


def _when(time: m.Nanos) -> str:
    return datetime.fromtimestamp(time // m.SECOND, UTC).strftime("%Y-%m-%d %H:%M:%S")
