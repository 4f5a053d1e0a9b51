"""A live session run again from its journal: every line and every decision must be the same bytes. Nothing is sent."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import cast

from ffe.engine import Engine, EngineState, run
from ffe.errors import RecordError, Tampered
from ffe.live.setup import Setup, setup_of
from ffe.model import Bars, Event, Quotes, Ticket, Universe
from ffe.records.chain import Line, day_files
from ffe.records.encode import Json, Stamp, build, decode_event, encode_value
from ffe.records.found import content
from ffe.records.journal import LiveJournal
from ffe.records.reader import believed, lines
from ffe.records.replay import Difference, text_of
from ffe.records.verify import is_journal_whole
from ffe.research.code import code_version
from ffe.research.rerun import Nowhere

Object = dict[str, Json]


@dataclass(frozen=True, slots=True)
class Span:
    """The lines of one session: where they begin, and each with its file's name."""

    rows: Sequence[tuple[str, Line]]

    @property
    def head(self) -> Object:
        for _, line in self.rows:
            if line.kind == "head":
                return dict(line.body)
        raise Tampered(
            f"journal/{self.rows[0][0]}: a session without its head. See what was changed: ffe decisions verify"
        )

    @property
    def begins(self) -> tuple[str, int]:
        """File and number of the first line."""
        file, line = self.rows[0]
        return file, line.n

    def of(self, kind: str) -> list[Line]:
        return [line for _, line in self.rows if line.kind == kind]


def rerun(
    root: Path, session: str | None = None, other_code: bool = False, strategy: str | None = None
) -> Difference | None:
    """None if a session (the newest, or the one whose name begins so), run again, gives the same bytes. strategy is
    where the user says that its code is."""
    span = span_of(root, session)
    name, code = str(span.head.get("session")), span.head.get("code")
    if code != code_version() and not other_code:
        raise RecordError(
            f"{root}: this session was run by {code}, this is {code_version()}: only the same code must "
            "give the same bytes. Check out that version, and replay it there."
        )
    if not is_journal_whole(root):
        raise Tampered(
            f"{root}: the journal is not what was written. See what was changed: ffe decisions verify --run {root}"
        )
    setup = setup_of(root, name, span.head.get("head"), strategy, other_code)
    with tempfile.TemporaryDirectory() as scratch:
        again = Path(scratch)
        _copy_what_was_before(root, again, span)
        _run(span, again, setup)
        return _compared(root, again, span)


def span_of(root: Path, session: str | None) -> Span:
    """The lines of a session, its day's first checkpoint included where it opened that day."""
    spans: dict[str, list[tuple[str, Line]]] = {}
    current: list[tuple[str, Line]] = []
    for where, line in lines(root):
        file = Path(where.rpartition(":")[0]).name
        if line.kind in ("head", "checkpoint"):
            head = line.body.get("head")
            is_trading = isinstance(head, dict) and "strategy" in head
            current = spans.setdefault(str(line.body.get("session")), []) if is_trading else []
        current.append((file, line))
    found = [name for name in spans if name.startswith(session or "")]
    if not found:
        raise RecordError(
            f"{root}: no session {session or ''} of trading in its journal. There are {', '.join(spans)}."
        )
    return Span(spans[found[-1]])


def _copy_what_was_before(root: Path, again: Path, span: Span) -> None:
    """The chain goes on from there."""
    (again / "journal").mkdir()
    first, number = span.begins
    for path in day_files(root):
        if path.name < first:
            shutil.copy(path, again / "journal")
        elif path.name == first and number > 1:
            kept = path.read_bytes().splitlines(keepends=True)[: number - 1]
            (again / "journal" / first).write_bytes(b"".join(kept))


def _run(span: Span, again: Path, setup: Setup) -> None:
    head = span.head
    with believed(f"journal/{span.begins[0]}:{span.begins[1]}", again):
        stamp = build(Stamp, head)
        primes = [cast(Bars, decode_event(line.body)) for line in span.of("prime")]
        resumed = span.of("resume")[0].body
        state = state_of(resumed["state"])
        sent = [build(Ticket, cast(Object, row)) for row in cast(list[Json], resumed["sent"])]
        events: list[Event] = [decode_event(line.body) for line in span.of("event")]
        _refuse_strangers([*primes, *events], setup.universe)
    engine = setup.engine(stamp.session)
    for event in primes:
        engine.prime(event)
    restore(engine, state, sent)
    journal = LiveJournal(again, stamp, cast(Object, head["head"]), lambda: encode_value(engine.save()))
    for event in primes:
        journal.prime(event, setup.opened)
    journal.resume(setup.opened, resumed["state"], resumed["sent"])
    run(events, engine, Nowhere(), journal)
    journal.close()


def _refuse_strangers(events: Sequence[Event], universe: Universe) -> None:
    """ValueError for a price of what the session says it does not know."""
    for event in events:
        rows = event.bars if isinstance(event, Bars) else event.quotes if isinstance(event, Quotes) else ()
        for row in rows:
            if row.instrument not in universe:
                raise ValueError(f"a price of {row.instrument}, which is none of the session's instruments")


def state_of(state: Json) -> EngineState | None:
    """What an earlier session left, if there was one."""
    return None if state is None else build(EngineState, cast(Object, state))


def restore(engine: Engine, state: EngineState | None, sent: Sequence[Ticket]) -> None:
    """Go on from what an earlier session left, if there was one."""
    if state is None:
        engine.doubt()
    else:
        engine.restore(state, sent)


def _compared(root: Path, again: Path, span: Span) -> Difference | None:
    """A session that was killed has no end: what its replay has beyond that is no difference."""
    is_ended = bool(span.of("end"))
    for file in sorted({file for file, _ in span.rows}):
        numbers = [line.n for name, line in span.rows if name == file]
        then = (root / "journal" / file).read_bytes().splitlines()[numbers[0] - 1 : numbers[-1]]
        now = (again / "journal" / file).read_bytes().splitlines()[numbers[0] - 1 :]
        now = now if is_ended else now[: len(then)]
        for n, (a, b) in enumerate(zip_longest(then, now), numbers[0]):
            if a != b:
                return Difference(file, n, _shown(a), _shown(b))
    return _decisions_compared(root / "decisions", again / "decisions", span)


def _shown(data: bytes | None) -> str | None:
    return None if data is None else text_of(data)


def _decisions_compared(then: Path, now: Path, span: Span) -> Difference | None:
    with believed("journal", then.parent):
        rows = [row for line in span.of("step") for row in cast(list[Object], line.body["decisions"])]
        named = {str(row["id"]) for row in rows}
    for path in sorted(now.glob("*.json")):
        before, after = content(then / path.name), path.read_bytes()
        if path.stem.partition("_")[2] in named and before != after:
            return Difference(path.name, 1, _shown(before), _shown(after))
    return None
