"""Lines that vouch for one another: the form of every journal.

Each line is canonical JSON: `n` its number in the file, `prev` the SHA-256 of the line before it (without its newline),
`bars` how many Bars the session has seen, `kind`, and the body. A chain may run over many files, one a day; the hash
goes on from file to file. What cannot be written waits, in order: a chain has no holes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple, cast

from ffe.errors import Tampered
from ffe.records.disk import Folder, Lines
from ffe.records.encode import Json, digest, loads, utf8

ORIGIN = "0" * 64  # what the first line of a chain carries
JOURNAL, DECISIONS, EQUITY = "journal.jsonl", "decisions.jsonl", "equity.npy"


@dataclass(frozen=True, slots=True)
class Line:
    bars: int
    body: Mapping[str, Json]
    kind: str
    n: int
    prev: str


def as_line(value: Json) -> Line:
    """The line that a parsed JSON value is; ValueError if it is none."""
    match value:
        case {"bars": int(bars), "body": {**body}, "kind": str(kind), "n": int(n), "prev": str(prev), **rest} if (
            not rest and max(bars, n) < 2**63
        ):
            return Line(bars, cast(Mapping[str, Json], body), kind, n, prev)
    raise ValueError("not a line of a journal")


class Entry(NamedTuple):
    """A line to be; number and hash come when it is written."""

    file: str
    bars: int
    kind: str
    body: str


class Chain:
    def __init__(self, folder: Folder, file: Lines | None = None, n: int = 0, head: str = ORIGIN) -> None:
        self.head = head
        self.n = n
        self.file = file.path.name if file else ""
        self.waiting: deque[Entry] = deque()
        self._folder = folder
        self._lines = file
        self._unsynced = self._is_new = False

    def write(self) -> None:
        """Write what waits, oldest first; on OSError the rest still waits, and the file ends with a whole line."""
        while self.waiting:
            entry = self.waiting[0]
            if self._lines is None or entry.file != self.file:
                self._lines = self._open(entry.file)
            self._append(entry, self._lines)
            self.waiting.popleft()

    def _append(self, entry: Entry, lines: Lines) -> None:
        _, bars, kind, body = entry
        line = utf8(f'{{"bars":{bars},"body":{body},"kind":"{kind}","n":{self.n + 1},"prev":"{self.head}"}}')
        lines.append(line + b"\n")
        self.n += 1
        self.head = sha256(line).hexdigest()
        self._unsynced = True

    def _open(self, name: str) -> Lines:
        lines = Lines(self._folder.path / name, self._folder.disk)
        self.sync()
        if self._lines:
            self._lines.close()
        self.file, self.n, self._is_new = name, 0, True
        return lines

    def sync(self) -> None:
        """What was written is durable from here on."""
        if self._unsynced and self._lines:
            self._lines.sync()
            self._unsynced = False
        if self._is_new:
            self._folder.sync()
            self._is_new = False

    def close(self) -> None:
        if self._lines:
            self._lines.close()


def day_files(root: Path) -> list[Path]:
    return sorted((root / "journal").glob("????-??-??.jsonl"))


def journal_files(path: Path) -> list[Path]:
    """The journal of a run's folder or of a live root, file by file."""
    return day_files(path) if (path / "journal").is_dir() else [path / JOURNAL]


def resume(root: Path, folder: Folder) -> Chain:
    """A chain of days where its last session left it; half a line, which only a crash leaves, is cut off."""
    for path in reversed(day_files(root)):
        data = path.read_bytes() if path.stat().st_size else b""
        whole = data[: data.rfind(b"\n") + 1]
        lines = Lines(path, folder.disk)
        if len(whole) < len(data):
            lines.cut(len(whole))
        if whole:
            return Chain(folder, lines, *_last_line(path, whole))
        lines.close()
    return Chain(folder)


def _last_line(path: Path, whole: bytes) -> tuple[int, str]:
    last = whole[:-1].rpartition(b"\n")[2]
    try:
        return as_line(loads(last)).n, digest(last)
    except ValueError as error:
        raise Tampered(f"{path}: the last line is {error}. See what else was changed: ffe decisions verify") from None
