"""Folders and files that are their owner's alone, whatever the umask.

Law: what holds records, latches, locks or sockets is 0700, a file in it 0600. A folder of somebody else's, or one that
others may enter, refuses with the command that mends it: another user could hold a lock there, or take a latch away.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ffe.errors import ConfigError, NotWritable

OTHERS = 0o077


def state_folder() -> Path:
    """Where this user's accounts are kept track of: by the password entry, which no shell and no strategy sets."""
    import pwd

    try:
        home = pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        raise ConfigError(
            f"user {os.getuid()} is not among this machine's users, so that there is no home to keep the latch and the "
            "lock of an account in. Run as a user who has one."
        ) from None
    return Path(home) / ".local" / "state" / "ffe"


def own_folder(path: Path) -> Path:
    """The folder, made if it is not there; errors as of `opened_own`."""
    with opened_own(path):
        return path


@contextmanager
def opened_own(path: Path) -> Iterator[int]:
    """Its handle, looked at before it is used. ConfigError where it is open to others, NotWritable where it cannot be
    made."""
    try:
        made_folder(path)
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise NotWritable(f"{path}: {error.strerror}. It must be a folder that you can write to.") from None
    try:
        _refuse_others(path, os.fstat(handle))
        _refuse_open_parents(path)
        yield handle
    finally:
        os.close(handle)


def _refuse_others(path: Path, found: os.stat_result) -> None:
    if found.st_uid != os.getuid():
        raise ConfigError(f"{path} belongs to another user. If it should be yours: sudo chown -R {os.getuid()} {path}")
    if stat.S_IMODE(found.st_mode) & OTHERS:
        raise ConfigError(f"{path} is open to other users of this machine. Close it: chmod -R go= {path}")


def _refuse_open_parents(path: Path) -> None:
    """Whoever may write to a folder around it moves it away: a stop would find no session, a start no latch."""
    for parent in path.resolve().parents:
        found = parent.stat()
        if found.st_uid not in (os.getuid(), 0):
            raise ConfigError(f"{path} lies in {parent}, which belongs to another user. Choose a folder of your own.")
        if _others_may_write(found):
            raise ConfigError(f"{path} lies in {parent}, which others may write to. Close it: chmod go-w {parent}")


def _others_may_write(found: os.stat_result) -> bool:
    """Where it is sticky, as /tmp, they cannot move what is not theirs; a group of the user's own is nobody else."""
    mode = found.st_mode
    if mode & stat.S_ISVTX:
        return False
    return bool(mode & stat.S_IWOTH) or bool(mode & stat.S_IWGRP and not _is_own_group(found.st_gid))


def _is_own_group(gid: int) -> bool:
    import grp
    import pwd

    try:
        group, name = grp.getgrgid(gid), pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return False
    return group.gr_name == name and set(group.gr_mem) <= {name}


def closed_folder(path: Path) -> Path:
    """The folder, made if it is not there; ConfigError where anybody else may write to it, whatever can be read there:
    they could put other bars into the cache, and other runs beside ours."""
    made_folder(path)
    mode = path.stat().st_mode
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        raise ConfigError(f"{path} can be written to by anybody. Close it: chmod o-w {path}")
    return path


def made_folder(path: Path) -> None:
    """One that is there stays as it is; what has to be made is its owner's alone, its parents as well."""
    if not path.is_dir():
        if path.parent != path:
            made_folder(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)


def write_own(path: Path, text: str) -> None:
    """A file that only its owner reads, whole or as it was before: a full disk or a crash does not leave half of it. It
    follows no link."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    beside = path.with_name(f".{path.name}.new")
    with os.fdopen(os.open(beside, flags, 0o600), "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(text)
    try:
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from None
