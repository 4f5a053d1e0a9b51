"""A journal merged with its market again, and two runs compared.

The merge goes by the count of Bars that each line carries, never by time: what stood between two bars stands there
again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from ffe.errors import RecordError, Tampered
from ffe.model import Bars, Event, Quotes
from ffe.records.chain import DECISIONS, EQUITY, JOURNAL, Line
from ffe.records.claims import equity_of
from ffe.records.encode import Json, decode_event, loads
from ffe.records.found import content
from ffe.records.reader import believed, lines, texts

CODE = ("code", "source_sha256", "versions", "prev", "sha256", "decisions_sha256")  # which code ran, and what hashes it


def events(path: Path, market: Iterator[Bars | Quotes], session: str | None = None) -> Iterator[Event]:
    """The events that a run saw: its journal's, and the market's bars that the journal leaves out.

    The market's own Quotes are skipped: those that the engine saw are in the journal. A live journal holds its bars
    too; of several sessions in it, name one.
    """
    bars = (event for event in market if isinstance(event, Bars))
    seen = 0
    for where, line in _event_lines(path, session):
        with believed(where, path):
            event = decode_event(line.body)
        for _ in range(line.bars - seen - isinstance(event, Bars)):
            if (bar := next(bars, None)) is None:
                raise RecordError(
                    f"{where}: comes after {line.bars} bars, this market ends before. Give the run's data"
                )
            yield bar
        seen = line.bars
        yield event
    yield from bars


def _event_lines(path: Path, session: str | None) -> Iterator[tuple[str, Line]]:
    current = None
    for where, line in lines(path):
        if line.kind == "head":
            if session is None and current is not None:
                raise RecordError(f"{where}: a second session begins here. Name the one to replay")
            current = line.body.get("session")
        elif line.kind == "event" and session in (None, current):
            yield where, line


# ---------------------------------------------------------------- two runs


@dataclass(frozen=True, slots=True)
class Difference:
    """The first place where two runs part; None is a line that one of them does not have."""

    file: str
    line: int
    a: str | None
    b: str | None


def compare(a: Path, b: Path, but_code: bool = False) -> Difference | None:
    """None if two runs are the same bytes; but_code forgives another version of the code, and the hashes over it."""
    for file in (JOURNAL, DECISIONS):
        pairs = zip_longest(texts(a / file), texts(b / file), fillvalue=None)
        for n, (left, right) in enumerate(pairs, 1):
            with believed(f"{a / file}:{n}", a):
                differ = _said(left, but_code) != _said(right, but_code)
            if differ:
                return Difference(file, n, left and text_of(left[1]), right and text_of(right[1]))
    return _compare_equity(a / EQUITY, b / EQUITY)


def text_of(data: bytes) -> str:
    """To show it, whatever its bytes are."""
    return data.decode("utf-8", "backslashreplace")


def _said(line: tuple[str, bytes] | None, but_code: bool) -> Json | bytes:
    if line is None or not but_code:
        return line and line[1]
    return _without_code(loads(line[1]))


def _without_code(value: Json) -> Json:
    if isinstance(value, dict):
        return {key: _without_code(each) for key, each in value.items() if key not in CODE}
    return [_without_code(each) for each in value] if isinstance(value, list) else value


def _compare_equity(a: Path, b: Path) -> Difference | None:
    data = [content(path) or b"" for path in (a, b)]
    if data[0] == data[1]:
        return None
    curves = [equity_of(each) for each in data]
    if curves[0] is None:
        raise Tampered(f"{a}: no curve of times and equity. See what else was changed: ffe decisions verify")
    pairs = zip_longest(*(curve.tolist() for curve in curves if curve is not None))
    for n, (left, right) in enumerate(pairs, 1):
        if str(left) != str(right):  # by text, in which an unknown equity is one value
            return Difference(EQUITY, n, left and str(left), right and str(right))
    return Difference(EQUITY, 0, "the same rows", "in another form")
