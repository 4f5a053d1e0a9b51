"""The entry latch: entries leave only while the permit, a file, exists in each of its places. It outlives processes.

Its places are the session's data folder and a folder of each account, so that neither another data folder nor one that
cannot be written to gets around it. Taking it away is an unlink: it needs no space on a full disk, no file handle, no
engine, no venue and no lock. An adapter holds it, shared, from its last look at it until the request has gone; so a
process that took it away and then locked the files exclusively knows that no entry is on its way.
"""

from __future__ import annotations

import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ffe.private import own_folder

PATIENCE_SECONDS = 0.1  # for an entry that was leaving when the permit went; one that hangs has left
PAUSE_SECONDS = 0.002
NAME = "permit"


@dataclass(frozen=True, slots=True)
class Taken:
    """What came of taking a permit away. is_kept: no entry leaves, in this session or in a later one, for the data
    folder has lost it for good, or every account has; left says of each other place why it may still be there, or come
    back with a power cut."""

    is_kept: bool
    left: tuple[str, ...] = ()

    def why_not(self) -> str:
        """Why it is not kept; "" where it is."""
        return "" if self.is_kept else "; ".join(self.left)


class Permit:
    def __init__(self, folder: Path, *accounts: Path) -> None:
        self.paths = tuple(place / NAME for place in (folder, *accounts))
        self._kept_open: dict[Path, int] = {}  # folders, by their permit

    @property
    def is_given(self) -> bool:
        return all(map(_is_file, self.paths))

    @contextmanager
    def reserved(self) -> Iterator[None]:
        """Meanwhile the folders' handles are open: taking the permit away needs no further one."""
        with ExitStack() as stack:
            for path in self.paths:
                self._kept_open[path] = stack.enter_context(_folder(path.parent))
            try:
                yield
            finally:
                self._kept_open = {}

    def give(self) -> None:
        """Let entries leave from now on; the permit is durable in every place when this returns."""
        for path in self.paths:
            own_folder(path.parent)
            os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
            self._sync(path)

    def take_away(self) -> Taken:
        """No entry leaves when this has returned and says that it is kept, whatever happens to any process or to the
        power.

        Every place is tried. A file that cannot be opened (no file handles are left) is unlinked all the same, and a
        folder whose sync failed before is synced again: a power cut must not bring the permit back.
        """
        with ExitStack() as stack:
            files = []
            for path in self.paths:
                with suppress(OSError):
                    files.append(stack.enter_context(_opened(path)))
            of_folder, *of_accounts = [self._unlink(path) for path in self.paths]
            deadline = time.monotonic() + PATIENCE_SECONDS
            for file in files:
                _wait_for_entries(file, deadline)
        is_kept = not of_folder or (bool(of_accounts) and not any(of_accounts))
        return Taken(is_kept, tuple(why for why in (of_folder, *of_accounts) if why))

    def _unlink(self, path: Path) -> str:
        """Why the permit may still be there; "" where it is gone for good."""
        try:
            if path.parent.exists():
                path.unlink(missing_ok=True)
                self._sync(path)
        except OSError as error:
            return f"{path}: {error.strerror}"
        return ""

    @contextmanager
    def held(self) -> Iterator[bool]:
        """Whether an entry may leave; it is leaving as long as this is held. What cannot be opened is not given."""
        with ExitStack() as stack:
            files = []
            with suppress(OSError):
                for path in self.paths:
                    files.append(stack.enter_context(_opened(path)))
                    fcntl.flock(files[-1], fcntl.LOCK_SH)
            yield len(files) == len(self.paths) and all(map(_is_same, self.paths, files))

    def _sync(self, path: Path) -> None:
        if path in self._kept_open:
            os.fsync(self._kept_open[path])
            return
        with _folder(path.parent) as folder:
            os.fsync(folder)


def _is_file(path: Path) -> bool:
    """A link is none: snapshots and backups make them."""
    with suppress(OSError):
        return stat.S_ISREG(path.lstat().st_mode)
    return False


def _is_same(path: Path, file: int) -> bool:
    """Whether the file that was opened is still the permit; another name of it, as snapshots make one, is none."""
    with suppress(OSError):
        return os.path.samestat(path.lstat(), os.fstat(file))
    return False


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    file = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield file
    finally:
        os.close(file)


@contextmanager
def _folder(path: Path) -> Iterator[int]:
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield folder
    finally:
        os.close(folder)


def _wait_for_entries(file: int, deadline: float) -> None:
    """Wait until no adapter holds the permit, as long as patience lasts."""
    while time.monotonic() < deadline:
        with suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(PAUSE_SECONDS)
