"""The entry latch: entries leave only while the permit, a file, exists. It outlives every process.

Taking it away is an unlink: it needs no space on a full disk, no engine, no venue and no lock. An adapter holds it,
shared, from its last look at it until the request has gone; so a process that took it away and then locked the file
exclusively knows that no entry is on its way.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

PATIENCE_SECONDS = 0.1  # for an entry that was leaving when the permit went; one that hangs has left
PAUSE_SECONDS = 0.002


class Permit:
    def __init__(self, folder: Path) -> None:
        self.path = folder / "permit"

    @property
    def is_given(self) -> bool:
        return self.path.exists()

    def give(self) -> None:
        """Let entries leave from now on; the permit is durable when this returns."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        self._sync()

    def take_away(self) -> None:
        """No entry leaves when this has returned, whatever happens to any process or to the power.

        A file that cannot be opened (no file handles are left) is unlinked all the same, and a folder whose sync failed
        before is synced again: a power cut must not bring the permit back.
        """
        with ExitStack() as stack:
            file = None
            with suppress(OSError):
                file = stack.enter_context(self._opened())
            if self.path.parent.exists():
                self.path.unlink(missing_ok=True)
                self._sync()
            if file is not None:
                _wait_for_entries(file)

    @contextmanager
    def held(self) -> Iterator[bool]:
        """Whether an entry may leave; it is leaving as long as this is held."""
        with ExitStack() as stack:
            file = None
            with suppress(FileNotFoundError):
                file = stack.enter_context(self._opened())
                fcntl.flock(file, fcntl.LOCK_SH)
            yield file is not None and os.fstat(file).st_nlink > 0

    @contextmanager
    def _opened(self) -> Iterator[int]:
        file = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        try:
            yield file
        finally:
            os.close(file)

    def _sync(self) -> None:
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _wait_for_entries(file: int) -> None:
    """Wait until no adapter holds the permit, as long as patience lasts."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        with suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(PAUSE_SECONDS)
