"""The latch that outlives every process: entries leave only while the permit exists.

Taking it away is an unlink: it needs no space on a full disk, no engine, no venue and no lock. An adapter holds it,
shared, from its last look at it until the request has gone; so whoever took it away and then got it for himself knows
that no entry is on its way.
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
        """Entries may leave from now on; it lasts when this returns."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        self._sync()

    def take_away(self) -> None:
        """No entry leaves when this has returned, whatever happens to any process or to the power."""
        with suppress(FileNotFoundError), self._opened() as file:
            self.path.unlink(missing_ok=True)
            self._sync()
            _wait_for_the_last(file)

    @contextmanager
    def held(self) -> Iterator[bool]:
        """Whether an entry may leave; as long as this is held, it is leaving."""
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


def _wait_for_the_last(file: int) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        with suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(PAUSE_SECONDS)
