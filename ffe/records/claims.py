"""What a record says of itself, recomputed: names, hashes and ids that follow from its own first lines.

Whoever writes a whole chain anew can make all of this agree as well; who changes a part of it and only mends the hashes
of the lines does not.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from io import BytesIO
from operator import itemgetter
from pathlib import Path

import numpy as np

from ffe.model import Decision
from ffe.records.chain import EQUITY, JOURNAL
from ffe.records.encode import Json, Stamp, canonical, decode_decision, digest, utf8
from ffe.records.found import Finding, Row, content
from ffe.records.journal import EQUITY_ROW
from ffe.session import Session, session_id

Object = Mapping[str, Json]

MAGIC = np.lib.format.magic(1, 0)


def claim_findings(path: Path, rows: Sequence[Row], held: Sequence[Row], is_run: bool) -> Iterator[Finding]:
    """A session says what was run; a supervisor's closing no more than which session it closed."""
    heads = [(row, row.line.body) for row in rows if row.line is not None and row.line.kind == "head"]
    if is_run and [row.number for row, _ in heads] != [1]:
        yield Finding(JOURNAL, 1, "the head of a run is its first line, and no other: deleted or inserted")
    for row, body in heads:
        if _is_closing(body) and not is_run:
            continue
        yield from _head_findings(row, body)
        if is_run:
            yield from _name_findings(path, row, body)
    known = {str(body.get("session")): body for _, body in heads}
    decided = [*_decoded(held)]
    yield from _stamp_findings(decided, known)
    yield from _id_findings(decided, known)
    yield from _gap_findings(decided, known)
    if is_run:
        yield from _equity_findings(path, rows)
    else:
        yield from _checkpoint_findings(rows, known)
        yield from _count_findings(rows, decided)


def _said(body: Object) -> Object:
    head = body.get("head")
    return head if isinstance(head, Mapping) else {}


def _is_closing(body: Object) -> bool:
    return set(_said(body)) == {"closes"}


def _head_findings(row: Row, body: Object) -> Iterator[Finding]:
    head = _said(body)
    claims = {
        "config": digest(utf8(str(head.get("config")))),
        "session": session_id(str(body.get("code")), str(body.get("data")), canonical(head)),
    }
    if "traded" in head:
        claims["data"] = digest(utf8(json.dumps(head["traded"], sort_keys=True)))
    for name, true in claims.items():
        if body.get(name) != true:
            wrong = f"says {name} {canonical(body.get(name))}, and what it says was run gives {canonical(true)}: edited"
            yield Finding(row.file, row.number, wrong)


def _name_findings(path: Path, row: Row, body: Object) -> Iterator[Finding]:
    name = f"{_said(body).get('strategy')}-{str(body.get('session'))[:12]}"
    if not re.fullmatch(re.escape(name) + r"(-\d+)?", path.resolve().name):
        yield Finding(row.file, row.number, f"is the journal of {name}, in a folder of another name: moved or renamed")


Decided = tuple[Row, Decision, Stamp]


def _decoded(held: Sequence[Row]) -> Iterator[Decided]:
    """One that is none has another hash than its step says."""
    for row in held:
        with suppress(ValueError):
            yield row, *decode_decision(row.data)


def _stamp_findings(decided: Iterable[Decided], known: Mapping[str, Object]) -> Iterator[Finding]:
    """A decision carries what the head of its session says."""
    for row, decision, stamp in decided:
        body = known.get(stamp.session)
        if body is None:
            yield Finding(row.file, row.number, f"{decision.id} is of the session {stamp.session!r}, which has no head")
        elif (stamp.code, stamp.config, stamp.data) != (body.get("code"), body.get("config"), body.get("data")):
            yield Finding(row.file, row.number, f"{decision.id} says other code, settings or data than its session")


def _counter(decision: Decision, stamp: Stamp, known: Mapping[str, Object]) -> str:
    """What counts its decisions from one: a session, or the closing of one venue."""
    if _is_closing(known.get(stamp.session, {})):
        return f"{stamp.session} at {decision.instrument.partition(':')[0]}"
    return stamp.session


def _id_findings(decided: Iterable[Decided], known: Mapping[str, Object]) -> Iterator[Finding]:
    """A decision's id follows from what counts it and from its number there."""
    for row, decision, stamp in decided:
        counter = utf8(_counter(decision, stamp, known)).decode()  # a forged name may hold what has no UTF-8
        if decision.id != Session(counter, 0).decision(decision.sequence):
            yield Finding(row.file, row.number, f"{decision.id} is not the id of decision {decision.sequence}: edited")


def _gap_findings(decided: Iterable[Decided], known: Mapping[str, Object]) -> Iterator[Finding]:
    """A session counts its decisions from one: of a run in the order of its file; a live root's files stand in the
    order of their ids. A closing counts its stops as well."""
    found: dict[str, list[tuple[int, Row]]] = {}
    for row, decision, stamp in decided:
        if not _is_closing(known.get(stamp.session, {})):
            found.setdefault(stamp.session, []).append((decision.sequence, row))
    for each in found.values():
        rows = each if each[0][1].number else sorted(each, key=itemgetter(0))
        for number, (sequence, row) in enumerate(rows, 1):
            if sequence != number:
                yield Finding(row.file, row.number, f"is decision {sequence}, should be {number}: some were cut")
                break


def _checkpoint_findings(rows: Sequence[Row], known: Mapping[str, Object]) -> Iterator[Finding]:
    """A day opens with what the head of its session says."""
    for row in rows:
        if row.line is not None and row.line.kind == "checkpoint":
            body = known.get(str(row.line.body.get("session")), {})
            if any(row.line.body.get(name) != body.get(name) for name in ("session", "head")):
                yield Finding(row.file, row.number, "says something else than the head of its session: edited")


def _count_findings(rows: Sequence[Row], decided: Iterable[Decided]) -> Iterator[Finding]:
    """A session that has ended says how many decisions it has written."""
    written = Counter(stamp.session for _, _, stamp in decided)
    session = ""
    for row in rows:
        if row.line is not None and row.line.kind == "head":
            session = str(row.line.body.get("session"))
        elif row.line is not None and row.line.kind == "end":
            said = row.line.body.get("decisions")
            if said != written[session]:
                yield Finding(row.file, row.number, f"the end says {said} decisions, found {written[session]}")


# ---------------------------------------------------------------- equity


def equity_of(data: bytes) -> np.ndarray | None:
    """The curve of a run; None for anything else. Its header is the one that such a curve has, and nothing of it is
    parsed: numpy reads it as Python."""
    size = len(MAGIC) + 2 + int.from_bytes(data[len(MAGIC) : len(MAGIC) + 2], "little")
    count, rest = divmod(len(data) - size, EQUITY_ROW.itemsize)
    if count < 0 or rest or data[:size] != _header(count):
        return None
    return np.frombuffer(data[size:], EQUITY_ROW)


def _header(count: int) -> bytes:
    file = BytesIO()
    said = {"descr": np.lib.format.dtype_to_descr(EQUITY_ROW), "fortran_order": False, "shape": (count,)}
    np.lib.format.write_array_header_1_0(file, said)
    return file.getvalue()


def _equity_findings(path: Path, rows: Sequence[Row]) -> Iterator[Finding]:
    """A bar's step is in the journal where something came of it, and says what the curve says."""
    data = content(path / EQUITY)
    if data is None:
        return
    curve = equity_of(data)
    if curve is None:
        yield Finding(EQUITY, 0, "no curve of times and equity")
        return
    if np.any(np.diff(curve["time"]) <= 0):
        yield Finding(EQUITY, 0, "its times do not rise: edited")
    before = None
    for row in rows:
        line = row.line
        if line is not None and line.kind == "step" and before != "event" and 0 < line.bars <= len(curve):
            said, true = line.body.get("equity"), float(curve["equity"][line.bars - 1])
            if not _agree(said, true):
                yield Finding(row.file, row.number, f"says equity {canonical(said)}, {EQUITY} has {true!r} at that bar")
        before = line.kind if line is not None else None


def _agree(said: Json, true: float) -> bool:
    if not np.isfinite(true):
        return said is None
    try:
        return said is not None and float(str(said)) == true
    except ValueError:
        return False
