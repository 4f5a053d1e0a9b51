"""What a record says of itself, recomputed: names, hashes and ids that follow from its own first lines.

Whoever writes a whole chain anew can make all of this agree as well; who changes a part of it and only mends the hashes
of the lines does not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import numpy as np

from ffe.model import Decision
from ffe.records.chain import EQUITY
from ffe.records.encode import Json, canonical, decode_decision, digest, utf8
from ffe.records.found import Finding, Row, content
from ffe.records.journal import EQUITY_ROW
from ffe.session import Session, session_id

Object = Mapping[str, Json]

MAGIC = np.lib.format.magic(1, 0)


def claim_findings(path: Path, rows: Sequence[Row], held: Sequence[Row], is_run: bool) -> Iterator[Finding]:
    """Only of sessions that say what was run: a supervisor's closing says no more than which session it closed."""
    heads = [(row, row.line.body) for row in rows if row.line is not None and row.line.kind == "head" and _says(row)]
    for row, body in heads:
        yield from _head_findings(row, body)
        if is_run:
            yield from _name_findings(path, row, body)
    sessions = {str(body.get("session")) for _, body in heads}
    decided = [*_decoded(held, sessions)]
    yield from _id_findings(decided)
    if is_run:
        yield from _gap_findings(decided)
        yield from _equity_findings(path, rows)


def _says(row: Row) -> bool:
    head = row.line.body.get("head") if row.line else None
    return isinstance(head, Mapping) and "strategy" in head


def _head_findings(row: Row, body: Object) -> Iterator[Finding]:
    head = body["head"]
    assert isinstance(head, Mapping)
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
    head = body["head"]
    assert isinstance(head, Mapping)
    name = f"{head['strategy']}-{str(body.get('session'))[:12]}"
    if not re.fullmatch(re.escape(name) + r"(-\d+)?", path.resolve().name):
        yield Finding(row.file, row.number, f"is the journal of {name}, in a folder of another name: moved or renamed")


def _decoded(held: Sequence[Row], sessions: set[str]) -> Iterator[tuple[Row, Decision, str]]:
    """The decisions of these sessions; one that is none has another hash than its step says."""
    for row in held:
        with suppress(ValueError):
            decision, stamp = decode_decision(row.data)
            if stamp.session in sessions:
                yield row, decision, stamp.session


def _id_findings(decided: Iterable[tuple[Row, Decision, str]]) -> Iterator[Finding]:
    """A decision's id follows from its session and its number there."""
    for row, decision, session in decided:
        if decision.id != Session(session, 0).decision(decision.sequence):
            yield Finding(row.file, row.number, f"{decision.id} is not the id of decision {decision.sequence}: edited")


def _gap_findings(decided: Iterable[tuple[Row, Decision, str]]) -> Iterator[Finding]:
    """A run counts its decisions from one."""
    for number, (row, decision, _) in enumerate(decided, 1):
        if decision.sequence != number:
            yield Finding(row.file, row.number, f"is decision {decision.sequence}, should be {number}: some were cut")
            return


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
