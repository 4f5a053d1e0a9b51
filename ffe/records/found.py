"""What a check of records reads and reports: lines as they stand in their files, and what is wrong with one."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ffe.records.chain import Line

MOST_BYTES = 1 << 30  # of one file of records


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong and where; line 0 is the file as a whole."""

    file: str
    line: int
    wrong: str
    torn: bool = False

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.wrong}"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a file as it stands there, or a whole file of one decision."""

    file: str
    number: int
    data: bytes
    hash: str
    line: Line | None = None
    wrong: str = ""


def content(path: Path) -> bytes | None:
    """What a regular file holds; None where there is none: a folder, a link, a pipe, on which a reader would wait for
    ever, or one that is larger than any record."""
    with suppress(OSError):
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(file, "rb") as opened:
            found = os.fstat(file)
            if stat.S_ISREG(found.st_mode) and found.st_size <= MOST_BYTES:
                return opened.read(MOST_BYTES)
    return None
