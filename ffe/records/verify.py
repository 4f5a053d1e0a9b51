"""What was changed since it was written: every edit, deletion, insertion, reordering and cut, by file and line.

A line is vouched for by the hash in the next one, a decision by the step that names it, a run by its `end`. The last
line of a live journal has nobody behind it: with `anchor`, a `head` that was kept elsewhere, a cut end is found too.
A crash leaves half a last line, or decisions whose step was not written yet. Those findings are `torn`, and no
tampering: none of it was ever acknowledged.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from ffe.errors import RecordError
from ffe.model import Decision
from ffe.records.chain import DECISIONS, EQUITY, JOURNAL, ORIGIN, Line, as_line, day_files
from ffe.records.claims import claim_findings, equity_of
from ffe.records.encode import Json, Stamp, canonical, decode_decision, digest, loads, utf8
from ffe.records.found import Finding, Row, content
from ffe.records.journal import decision_file

MISSING = "missing, or no regular file of at most 1 GiB"  # in place of a hash
LIVE_FOLDERS = ("journal", "decisions")


@dataclass(frozen=True, slots=True)
class Report:
    """sessions are those whose heads stand in the journal, hashes those of its lines, each with its place in the whole
    journal; anchored is the place of the last that was kept elsewhere, 0 where none was."""

    path: Path
    lines: int
    decisions: int
    last: Row
    findings: tuple[Finding, ...]
    sessions: tuple[str, ...]
    hashes: Mapping[str, int]
    anchored: int = 0

    @property
    def head(self) -> str:
        """The hash of the last line: kept elsewhere, it is an anchor."""
        return self.last.hash

    @property
    def is_good(self) -> bool:
        return all(finding.torn for finding in self.findings)


@dataclass(frozen=True, slots=True)
class Named:
    """A decision that a step names, and where its record should be."""

    id: str
    sha256: str
    file: str
    line: int
    by: str


def verify(path: Path, anchors: Sequence[str] = ()) -> Report:
    """Check the folder of a run or the root of an account, and what it says of itself: tampering is in the report, only
    a wrong path raises. anchors are heads that were kept elsewhere, each of which the chain must hold."""
    is_run, rows, held, findings = _checked(path)
    return _reported(path, rows, held, [*findings, *claim_findings(path, rows, held, is_run)], anchors)


def chained(path: Path, anchors: Sequence[str] = ()) -> Report:
    """The same of the files and their hashes alone, whatever their text says of itself."""
    _, rows, held, findings = _checked(path)
    return _reported(path, rows, held, findings, anchors)


def is_journal_whole(path: Path, anchors: Sequence[str] = ()) -> bool:
    """Whether the journal is what was written, decisions and curve aside: what is run again follows from it alone."""
    findings = verify(path, anchors).findings
    return all(found.torn for found in findings if found.file.startswith("journal"))


def _checked(path: Path) -> tuple[bool, list[Row], list[Row], list[Finding]]:
    is_run = not any((path / name).is_dir() for name in LIVE_FOLDERS)
    of_run = [name for name in (JOURNAL, DECISIONS, EQUITY) if os.path.lexists(path / name)]
    if is_run and not of_run:
        raise RecordError(f"{path}: no records here. Give the folder of a run, or the root of a live account")
    if is_run:
        return True, *_check_run(path)
    rows, held, findings = _check_live(path)
    mixed = [Finding(name, 0, "a run's file in the root of a live account: inserted") for name in of_run]
    return False, rows, held, [*findings, *mixed]


def _reported(
    path: Path, rows: Sequence[Row], held: Sequence[Row], findings: Sequence[Finding], anchors: Sequence[str]
) -> Report:
    lines = {row.hash: n for n, row in enumerate(rows, 1)}
    last = rows[-1] if rows else Row(JOURNAL, 0, b"", ORIGIN)
    return anchored(Report(path, len(rows), len(held), last, tuple(findings), sessions_of(rows), lines), anchors)


def anchored(report: Report, anchors: Sequence[str]) -> Report:
    """The same report, and which of these heads the chain does not hold."""
    lost = [
        Finding(
            report.last.file,
            report.last.number,
            f"the head {anchor[:12]}…, kept elsewhere, is not in this chain: its end was cut or rewritten",
        )
        for anchor in anchors
        if anchor not in report.hashes
    ]
    held = max((report.hashes[anchor] for anchor in anchors if anchor in report.hashes), default=0)
    return replace(report, findings=(*report.findings, *lost), anchored=max(report.anchored, held))


def sessions_of(rows: Sequence[Row]) -> tuple[str, ...]:
    """The sessions whose heads stand in these lines."""
    lines = [row.line for row in rows if row.line is not None]
    return tuple(str(line.body.get("session")) for line in lines if line.kind == "head")


# ---------------------------------------------------------------- files and lines


def _rows(root: Path, path: Path) -> tuple[list[Row], list[Finding]]:
    file = str(path.relative_to(root))
    if (data := content(path)) is None:
        return [], [Finding(file, 0, MISSING)]
    *whole, rest = data.split(b"\n")
    torn = [Finding(file, len(whole) + 1, "half a line, as a crash leaves it", torn=True)] if rest else []
    return [Row(file, n, data, digest(data)) for n, data in enumerate(whole, 1)], torn


def _parsed(row: Row) -> Row:
    try:
        value = loads(row.data)
        wrong = "" if utf8(canonical(value)) == row.data else "not canonical JSON: edited"
        return replace(row, line=as_line(value), wrong=wrong)
    except (ValueError, RecursionError) as error:
        return replace(row, wrong=f"{error}: edited or inserted")


def _chain_findings(rows: Sequence[Row]) -> Iterator[Finding]:
    for before, row in pairwise((None, *rows)):
        assert row is not None
        if row.wrong:
            yield Finding(row.file, row.number, row.wrong)
        if row.line is not None:
            yield from _number_findings(before, row, row.line)
            yield from _hash_findings(before, row, row.line, row is rows[-1])


def _number_findings(before: Row | None, row: Row, line: Line) -> Iterator[Finding]:
    is_first = before is None or before.file != row.file
    expected = 1 if is_first else before.line.n + 1 if before and before.line else row.number
    if line.n != expected:
        wrong = f"says it is line {line.n}, should be {expected}: deleted, inserted or moved lines"
        yield Finding(row.file, row.number, wrong)


def _hash_findings(before: Row | None, row: Row, line: Line, is_last: bool) -> Iterator[Finding]:
    if line.prev == (before.hash if before else ORIGIN):
        return
    if before is not None:
        wrong = f"not what was written: {row.file}:{row.number} carries another hash of it"
        yield Finding(before.file, before.number, wrong)
    if before is None or is_last:  # a last line has nobody behind it to say whose fault it is
        yield Finding(row.file, row.number, "carries the hash of another line before it: edited, or lines were cut")


# ---------------------------------------------------------------- decisions


def _named(rows: Sequence[Row]) -> list[Named]:
    """The decisions that steps name, in their order; what a tampered line says instead is found elsewhere."""
    found = []
    for row in rows:
        if row.line is not None and row.line.kind == "step":
            for each in _items(row.line.body.get("decisions")):
                match each:
                    case {"id": str(id), "sha256": str(sha)}:
                        found.append(Named(id, sha, f"decisions/*_{id}.json", 0, f"{row.file}:{row.number}"))
    return found


def _items(value: Json) -> Sequence[Json]:
    return value if isinstance(value, list) else ()


def _record_findings(named: Sequence[Named], held: Sequence[Row]) -> Iterator[Finding]:
    known = {each.sha256 for each in named}
    seen: set[str] = set()
    for row in held:
        if row.hash not in known:
            yield Finding(row.file, row.number, "no step names this record: edited or inserted")
        elif row.hash in seen:
            yield Finding(row.file, row.number, "a record that is there twice: inserted")
        seen.add(row.hash)
    for each in named:
        if each.sha256 not in seen:
            yield Finding(each.file, each.line, f"the record of decision {each.id}, named by {each.by}, is not there")


# ---------------------------------------------------------------- a backtest


def _check_run(path: Path) -> tuple[list[Row], list[Row], list[Finding]]:
    lines, torn = _rows(path, path / JOURNAL)
    rows = [_parsed(row) for row in lines]
    held, half = _rows(path, path / DECISIONS)
    is_odd = os.path.lexists(path / EQUITY) and content(path / EQUITY) is None
    odd = [Finding(EQUITY, 0, MISSING)] if is_odd else []
    named = [replace(each, file=DECISIONS, line=n) for n, each in enumerate(_named(rows), 1)]
    records = [*_record_findings(named, held), *_order_findings(named, held)]
    if rows and rows[-1].line is not None and rows[-1].line.kind == "end":  # nothing is written behind it
        torn = [replace(each, torn=False) for each in torn]
    return rows, held, [*_chain_findings(rows), *torn, *records, *half, *odd, *_end_findings(path, rows, len(held))]


def _order_findings(named: Sequence[Named], held: Sequence[Row]) -> Iterator[Finding]:
    place = {each.sha256: n for n, each in enumerate(named)}
    known = [row for row in held if row.hash in place]
    for before, row in pairwise(known):
        if place[row.hash] < place[before.hash]:
            yield Finding(row.file, row.number, "stands behind a later decision: moved")


def _end_findings(path: Path, rows: Sequence[Row], held: int) -> Iterator[Finding]:
    *inner, last = rows or [Row(JOURNAL, 0, b"", ORIGIN)]
    for row in inner:
        if row.line is not None and row.line.kind == "end":
            yield Finding(JOURNAL, row.number, "an end before the end: lines were inserted")
    if last.line is None or last.line.kind != "end":
        yield Finding(JOURNAL, last.number, "the journal has no end: the run was killed, or its end was cut")
        return
    hashes: dict[str, Json] = {
        "decisions_sha256": _file_hash(path / DECISIONS),
        "equity_sha256": _file_hash(path / EQUITY),
    }
    true = {**hashes, "decisions": held, "lines": len(rows)}
    yield from _differences(last, last.line, true)
    if last.line.body.get("equity_sha256") == hashes["equity_sha256"] != MISSING:
        yield from _bars_findings(path, last, last.line)


def _differences(row: Row, line: Line, true: dict[str, Json]) -> Iterator[Finding]:
    for key in sorted(true.keys() | line.body.keys()):
        says, found = canonical(line.body.get(key)), canonical(true.get(key))
        if says != found:
            yield Finding(row.file, row.number, f"the end says {key} {says}, found {found}")
            if file := {"decisions_sha256": DECISIONS, "equity_sha256": EQUITY}.get(key):
                yield Finding(
                    file, 0, f"not the file that the run ended with: {row.file}:{row.number} has another hash"
                )


def _bars_findings(path: Path, row: Row, line: Line) -> Iterator[Finding]:
    curve = equity_of(content(path / EQUITY) or b"")
    if curve is not None and line.bars != len(curve):
        yield Finding(row.file, row.number, f"the end has seen {line.bars} bars, {EQUITY} has {len(curve)}")


def _file_hash(path: Path) -> str:
    return MISSING if (data := content(path)) is None else digest(data)


# ---------------------------------------------------------------- live


def _check_live(path: Path) -> tuple[list[Row], list[Row], list[Finding]]:
    rows: list[Row] = []
    halves: list[Finding] = []
    for file in day_files(path):
        halves = [replace(half, torn=False) for half in halves]  # only the last line of all may be half
        lines, half = _rows(path, file)
        rows += [_parsed(row) for row in lines]
        halves += half
    held = [_record(path, file) for file in sorted((path / "decisions").glob("*.json"))]
    records = _live_record_findings(rows, held)
    return rows, held, [*_chain_findings(rows), *_day_findings(rows), *halves, *records]


def _record(root: Path, path: Path) -> Row:
    data = content(path)
    return Row(str(path.relative_to(root)), 0, data or b"", digest(data) if data is not None else MISSING)


def _day_findings(rows: Sequence[Row]) -> Iterator[Finding]:
    """Each day opens with a checkpoint that names the day before it."""
    for before, row in pairwise((None, *rows)):
        assert row is not None
        if row.line is not None and (before is None or before.file != row.file):
            true = Path(before.file).name if before else ""
            after = row.line.body.get("after") if row.line.kind == "checkpoint" else None
            if after != true:
                yield Finding(row.file, row.number, f"opens after {canonical(after)}, but what is there is {true!r}")


def _live_record_findings(rows: Sequence[Row], held: Sequence[Row]) -> Iterator[Finding]:
    named = _named(rows)
    decoded = _decoded(held)
    for file, (decision, _) in decoded.items():
        if file != f"decisions/{decision_file(decision.time, decision.id)}":
            yield Finding(file, 0, f"not the file of decision {decision.id}: renamed or edited")
    crashed = _left_by_crash(rows, {each.sha256 for each in named}, held, decoded)
    for finding in _record_findings(named, held):
        if finding.file in crashed:
            finding = replace(finding, wrong="no step names this record: a crash came before it", torn=True)
        yield finding


def _decoded(held: Sequence[Row]) -> dict[str, tuple[Decision, Stamp]]:
    found = {}
    for row in held:
        with suppress(ValueError):  # an edited record, which its hash gives away
            found[row.file] = decode_decision(row.data)
    return found


def _left_by_crash(
    rows: Sequence[Row], known: set[str], held: Sequence[Row], decoded: Mapping[str, tuple[Decision, Stamp]]
) -> set[str]:
    """Records that no step names, newer than all that are named in a session that has no end; they are of one step,
    for the next is not begun before its line is written."""
    last = dict.fromkeys(_unended(rows), -1)
    unnamed = [row.file for row in held if row.hash not in known and row.file in decoded]
    for file in decoded.keys() - set(unnamed):
        decision, stamp = decoded[file]
        if stamp.session in last:
            last[stamp.session] = max(last[stamp.session], decision.sequence)
    newer = {file for file in unnamed if decoded[file][0].sequence > last.get(decoded[file][1].session, sys.maxsize)}
    steps = {(decoded[file][1].session, decoded[file][0].time) for file in newer}
    return newer if len(steps) == 1 else set()


def _unended(rows: Sequence[Row]) -> set[str]:
    found: set[str] = set()
    session = ""
    for line in [row.line for row in rows if row.line is not None]:
        if line.kind == "head":
            session = str(line.body.get("session"))
            found.add(session)
        elif line.kind == "end":
            found.discard(session)
    return found
