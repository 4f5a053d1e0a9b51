"""The system calls by which a record reaches the disk, and the two ways of writing that survive a crash.

A line is appended whole or not at all; a file of its own is written once and never again. A failed fsync is not a
failed write: the kernel may have dropped the pages and call the next fsync a success, so it is never retried.
Every call goes through `Disk`, so that a fault can be put before each of them.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


class SyncFailed(OSError):
    """What was written may be lost, whatever this disk says from now on."""


class Disk:
    def open(self, path: Path, flags: int) -> int:
        return os.open(path, flags | os.O_CLOEXEC, 0o600)

    def write(self, fd: int, data: bytes) -> int:
        return os.write(fd, data)

    def truncate(self, fd: int, size: int) -> None:
        os.ftruncate(fd, size)

    def sync(self, fd: int) -> None:
        try:
            os.fdatasync(fd)
        except OSError as error:
            raise SyncFailed(*error.args) from error

    def free(self, fd: int) -> int:
        """Bytes that may still be written."""
        found = os.fstatvfs(fd)
        return found.f_bavail * found.f_frsize

    def close(self, fd: int) -> None:
        os.close(fd)

    def link(self, existing: Path, name: Path) -> None:
        name.hardlink_to(existing)

    def unlink(self, path: Path) -> None:
        path.unlink()


class Folder:
    """A folder of records; its handle stays open, so that its own fsync needs no free file handle."""

    def __init__(self, path: Path, disk: Disk) -> None:
        self.path = path
        self.disk = disk
        self._fd = disk.open(path, os.O_RDONLY | os.O_DIRECTORY)

    def sync(self) -> None:
        self.disk.sync(self._fd)

    def free(self) -> int:
        """Bytes that may still be written; none where nobody can say."""
        try:
            return self.disk.free(self._fd)
        except OSError:
            return 0

    def close(self) -> None:
        self.disk.close(self._fd)

    def write_once(self, name: str, data: bytes) -> None:
        """A durable file that no later write can replace; FileExistsError if there is one of that name."""
        draft = self.path / f".{name}.tmp"
        try:
            self._write(draft, data)
            self.disk.link(draft, self.path / name)
        finally:
            with suppress(OSError):
                self.disk.unlink(draft)
        self.sync()

    def _write(self, path: Path, data: bytes) -> None:
        file = Lines(path, self.disk, os.O_EXCL)
        try:
            file.append(data)
            file.sync()
        finally:
            file.close()


class Lines:
    """A file that only grows, by whole lines."""

    def __init__(self, path: Path, disk: Disk, flags: int = 0) -> None:
        self.path = path
        self._disk = disk
        self._fd = disk.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | flags)
        self._size = os.fstat(self._fd).st_size

    def append(self, data: bytes) -> None:
        """All of data, or OSError and the file as it was."""
        written = 0
        try:
            while written < len(data):
                written += self._disk.write(self._fd, data[written:] if written else data)
        except OSError:
            if written:
                self._undo()
            raise
        self._size += written

    def _undo(self) -> None:
        """Cut half a line off again; where even that fails, the file can be trusted as little as after a lost fsync."""
        try:
            self._disk.truncate(self._fd, self._size)
        except OSError as error:
            raise SyncFailed(*error.args) from error

    def cut(self, size: int) -> None:
        self._disk.truncate(self._fd, size)
        self._size = size

    def sync(self) -> None:
        self._disk.sync(self._fd)

    def close(self) -> None:
        self._disk.close(self._fd)
