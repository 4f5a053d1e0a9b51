"""The truth of a run: what entered and what it led to, every event before its step.

What cannot be written is kept in memory, shouted, and tried again before anything newer; as long as anything waits no
step is `Written.YES`. After a failed fsync nothing is written any more.

A backtest's journal leaves out its bars, which the data implies, and keeps their equity apart; a live one keeps all
but the heartbeats that led to nothing, which change no state: there is one every second.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from functools import partial
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import numpy as np

from ffe.errors import NotWritable
from ffe.model import DAY, MINUTE, SECOND, Bars, Decision, Disposition, Event, Heartbeat, Nanos, Quotes, Step
from ffe.ports import Written
from ffe.private import closed_folder, made_folder
from ffe.records.chain import DECISIONS, EQUITY, JOURNAL, Chain, Entry, resume
from ffe.records.disk import Disk, Folder, Lines, SyncFailed
from ffe.records.encode import (
    SCHEMA,
    Json,
    Stamp,
    canonical,
    digest,
    encode_decision,
    encode_event,
    encode_step,
    utf8,
)

log = logging.getLogger(__name__)

KEPT_EVERY = MINUTE  # a state, though nothing happens but prices
SPARE = 200 << 20  # bytes

EQUITY_ROW = np.dtype([("time", "<i8"), ("equity", "<f8")])


class Draft(NamedTuple):
    """A decision on its way to the disk."""

    decision: Decision
    data: bytes
    sha256: str


class _Keeper(ABC):
    """What both journals do: decisions first, then the line that names them."""

    def __init__(self, stamp: Stamp, chain: Chain) -> None:
        self.unwritten: list[Draft] = []
        self._stamp = stamp
        self._chain = chain
        self.written = Written.YES
        self._complaint = ""

    @property
    def head(self) -> str:
        """The hash of the last line. A copy kept elsewhere, an anchor, proves that nothing was cut from the end."""
        return self._chain.head

    @abstractmethod
    def _save(self) -> None:
        """Write what is unwritten."""

    def _enter(self, file: str, bars: int, kind: str, body: str) -> None:
        self._chain.waiting.append(Entry(file, bars, kind, body))
        self._flush()

    def _flush(self) -> None:
        """Write what is outstanding, decisions first: what a line names is on disk."""
        self._save()
        if not self.unwritten:
            self._attempt(self._chain.write)

    def _take(self, step: Step, file: str, bars: int, state: Json = None) -> None:
        drafts = [self._draft(decision) for decision in step.decisions]
        for refused in (one for one in step.decisions if one.disposition is Disposition.REFUSED):
            symbol = refused.instrument.partition(":")[2]
            log.info("Trade for %s rejected by RiskGatekeeper: %s.", symbol, refused.reason)
        self.unwritten += drafts
        self._enter(file, bars, "step", encode_step(step, [draft.sha256 for draft in drafts], state))
        for draft in drafts:
            if draft in self.unwritten:
                log.critical("Decision %s is in memory only: %s", draft.decision.id, draft.data.decode())

    def _draft(self, decision: Decision) -> Draft:
        data = utf8(encode_decision(decision, self._stamp))
        return Draft(decision, data, digest(data))

    def _attempt(self, write: Callable[[], None]) -> bool:
        if self.written is Written.BROKEN:
            return False
        try:
            write()
        except SyncFailed as error:
            self.written = Written.BROKEN
            self._shout(f"an fsync failed ({error}): nothing on this disk can be trusted, no more is written to it")
        except OSError as error:
            self.written = Written.NO
            self._shout(f"cannot be written ({error}): until it can, no entry leaves")
        else:
            self.written = Written.NO if self.unwritten or self._chain.waiting else Written.YES
            self._complaint = self._complaint if self.written is Written.NO else ""
            return True
        return False

    def _shout(self, complaint: str) -> None:
        if complaint != self._complaint:
            log.critical("The journal: %s", complaint)
        self._complaint = complaint


def _opening(stamp: Stamp, head: Mapping[str, Json]) -> str:
    made = {"code": stamp.code, "config": stamp.config, "data": stamp.data, "session": stamp.session}
    return canonical({**made, "head": head, "schema": SCHEMA})


@contextmanager
def _writable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise NotWritable(f"{path}: {error}. Choose a folder that can be written, or free space") from error


# ---------------------------------------------------------------- a backtest


class RunJournal(_Keeper):
    """The folder of one backtest: journal.jsonl, decisions.jsonl and equity.npy, read-only once it is closed."""

    def __init__(self, path: Path, stamp: Stamp, head: Mapping[str, Json], disk: Disk | None = None) -> None:
        if path.exists():
            raise NotWritable(f"{path} exists, and a run is never written over. Choose another name, or move it away")
        with _writable(path):
            for folder in (path.parent.parent, path.parent):  # the data folder's, and that of its runs
                closed_folder(folder)
            path.mkdir(mode=0o700)
            self._folder = Folder(path, disk or Disk())
            self._decisions = Lines(path / DECISIONS, self._folder.disk)
            super().__init__(stamp, Chain(self._folder))
            self._chain.waiting.append(Entry(JOURNAL, 0, "head", _opening(stamp, head)))
            self._chain.write()
        self._times: list[Nanos] = []
        self._equity: list[float] = []
        self._is_due = False  # the newest bar's equity
        self._hash = sha256()
        self._saved = 0

    def event(self, event: Event) -> None:
        if type(event) is Bars:
            self._times.append(event.time)
            self._is_due = True
        else:
            self._enter(JOURNAL, len(self._times), "event", encode_event(event))

    def quiet(self, times: Sequence[Nanos], equity: Sequence[float]) -> None:
        """Bars that changed nothing: what was worth what is kept, as if each had been stepped."""
        self._times += times
        self._equity += equity

    def step(self, step: Step) -> Written:
        if self._is_due:
            self._equity.append(step.equity)
            self._is_due = False
        if not step.is_quiet:
            self._take(step, JOURNAL, len(self._times))
        return self.written

    def _save(self) -> None:
        while self.unwritten and self._attempt(self._save_first):  # in order: a later, smaller one may not overtake
            pass

    def _save_first(self) -> None:
        line = self.unwritten[0].data + b"\n"
        self._decisions.append(line)
        self._hash.update(line)
        self._saved += 1
        del self.unwritten[0]

    def close(self) -> None:
        """End the run; NotWritable if anything of it is not on disk."""
        self._flush()
        if self.written is not Written.YES or not self._attempt(self._finish):
            raise NotWritable(
                f"{self._folder.path}: the run has no end, {self._complaint}. Free space and run it again"
            )
        self.release()
        for name in (JOURNAL, DECISIONS, EQUITY):
            (self._folder.path / name).chmod(0o400)

    def _finish(self) -> None:
        curve = self._curve()
        self._folder.write_once(EQUITY, curve)
        self._decisions.sync()
        self._chain.waiting.append(Entry(JOURNAL, len(self._times), "end", self._end(curve)))
        self._chain.write()
        self._chain.sync()

    def _curve(self) -> bytes:
        rows = np.empty(len(self._equity), EQUITY_ROW)
        rows["time"], rows["equity"] = self._times[: len(rows)], self._equity
        file = BytesIO()
        np.save(file, rows, allow_pickle=False)
        return file.getvalue()

    def _end(self, curve: bytes) -> str:
        hashes = {"decisions_sha256": self._hash.hexdigest(), "equity_sha256": digest(curve)}
        return canonical({**hashes, "decisions": self._saved, "lines": self._chain.n + 1})

    def release(self) -> None:
        """Let go of the files; a run that was not closed stays a run without an end."""
        self._decisions.close()
        self._chain.close()
        self._folder.close()

    def __enter__(self) -> RunJournal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None:
            self.close()
        else:
            self.release()


# ---------------------------------------------------------------- live


class LiveJournal(_Keeper):
    """The records of an account: one file a decision in decisions/, one chain of days in journal/.

    state says what the engine holds: it stands in the first line of every day's file, and in every step but those of
    prices at which nothing happened, there once a minute. So the next process goes on from the last of them. With less
    than spare bytes free no entry leaves, as if it could not be written: what follows from one must find room.
    """

    def __init__(
        self,
        root: Path,
        stamp: Stamp,
        head: Mapping[str, Json],
        state: Callable[[], Json],
        disk: Disk | None = None,
        spare: int = SPARE,
    ) -> None:
        with _writable(root):
            self._decisions, days = (_folder(root / name, disk or Disk()) for name in ("decisions", "journal"))
            super().__init__(stamp, resume(root, days))
        self._days, self._spare, self._is_tight = days, spare, False
        self._state = state
        self._is_price = False  # what was heard last
        self._beat: Heartbeat | None = None  # written only if something comes of it
        self._now = self._kept_at = 0  # when; and when a state was kept
        self._opening: str | None = _opening(stamp, head)
        self._head: dict[str, Json] = {"head": head, "session": stamp.session}
        self._file = self._chain.file
        self._day = _day(self._file) if self._file else -1
        self._bars = self._saved = 0

    def prime(self, event: Event, now: Nanos) -> None:
        """What was before the session, and what it was primed with."""
        self._open(now)
        self._enter(self._file, 0, "prime", encode_event(event))

    def resume(self, now: Nanos, state: Json, sent: Json) -> None:
        """The state that the session goes on from (null: from none), and the orders that were sent after it."""
        self._open(now)
        self._enter(self._file, 0, "resume", canonical({"sent": sent, "state": state}))

    def event(self, event: Event) -> None:
        if isinstance(event, Heartbeat):
            self._beat = event
        else:
            self._write_event(event)

    def _write_event(self, event: Event) -> None:
        self._open(event.time)
        self._bars += type(event) is Bars
        self._is_price = type(event) is Quotes
        self._now = event.time
        self._enter(self._file, self._bars, "event", encode_event(event))

    def _open(self, now: Nanos) -> None:
        if now // DAY > self._day or self._opening:
            self._turn(max(now // DAY, self._day))

    def _turn(self, day: int) -> None:
        """Open a day's file with a checkpoint; a session's first line follows it, or what an earlier session left."""
        before, self._file, self._day = self._file, f"{utc_date(day * DAY)}.jsonl", day
        if before != self._file:
            body = self._head | {"after": before, "state": self._state()}
            self._enter(self._file, self._bars, "checkpoint", canonical(body))
        if self._opening:
            self._enter(self._file, 0, "head", self._opening)
            self._opening = None

    def step(self, step: Step) -> Written:
        beat, self._beat = self._beat, None
        if beat is not None and step.is_quiet:
            return self._retried()
        if beat is not None:
            self._write_event(beat)
        if not (step.is_quiet and self._is_price) or self._now >= self._kept_at + KEPT_EVERY:
            self._take(step, self._file, self._bars, self._state())
            self._kept_at = self._now
        elif self.written is Written.NO:
            self._flush()
        self._attempt(self._chain.sync)
        if step.decisions and self.written is Written.YES and not self._has_room():
            return Written.NO
        return self.written

    def _retried(self) -> Written:
        """Whether all is on disk, after another try at what was not."""
        if self.written is Written.NO:
            self._flush()
            self._attempt(self._chain.sync)
        return self.written

    def _has_room(self) -> bool:
        was_tight, self._is_tight = self._is_tight, self._days.free() < self._spare
        if self._is_tight and not was_tight:
            log.critical("The disk has less than %d MiB free: until it has more, no entry leaves", self._spare >> 20)
        return not self._is_tight

    def _save(self) -> None:
        for draft in self.unwritten.copy():
            self._attempt(partial(self._save_one, draft))

    def _save_one(self, draft: Draft) -> None:
        self._decisions.write_once(decision_file(draft.decision.time, draft.decision.id), draft.data)
        self.unwritten.remove(draft)
        self._saved += 1

    def close(self) -> Written:
        """End the session, and let go of the files."""
        if not self._opening:
            self._enter(self._file, self._bars, "end", canonical({"decisions": self._saved}))
            self._attempt(self._chain.sync)
        for held in (self._chain, self._decisions, self._days):
            held.close()
        return self.written


def _folder(path: Path, disk: Disk) -> Folder:
    """A durable folder, cleared of the drafts that a crash has left."""
    made_folder(path)
    for draft in path.glob(".*.tmp"):
        disk.unlink(draft)
    root = Folder(path.parent, disk)
    root.sync()
    root.close()
    return Folder(path, disk)


def _day(file: str) -> int:
    return (date.fromisoformat(file[:10]) - date(1970, 1, 1)).days


def utc_date(time: Nanos) -> str:
    return datetime.fromtimestamp(time // SECOND, UTC).strftime("%Y-%m-%d")


def decision_file(time: Nanos, id: str) -> str:
    return f"{utc_date(time)}_{id}.json"
