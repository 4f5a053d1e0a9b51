"""Where a session takes requests: a socket in the owner's state folder, one for each data folder. One request a line.

The folder is opened once, looked at through its handle, and the socket is bound and reached through that handle: no
path is followed twice, and none is too long for a socket's name.
"""

from __future__ import annotations

import hashlib
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ffe.errors import ConfigError
from ffe.live.link import Link
from ffe.private import opened_own, state_folder

PATIENCE_SECONDS = 1.0


def socket_folder() -> Path:
    return state_folder() / "sockets"


def name_of(folder: Path) -> str:
    return f"{hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:24]}.sock"


@contextmanager
def _handle(name: str) -> Iterator[tuple[int, str]]:
    """The socket folder's handle, and how a socket in it is reached."""
    with opened_own(socket_folder()) as handle:
        place = f"/proc/self/fd/{handle}" if sys.platform == "linux" else str(socket_folder())
        yield handle, f"{place}/{name}"


@contextmanager
def listening(folder: Path) -> Iterator[socket.socket]:
    """The supervisor's end; only the owner of the lock may take it. ConfigError where others could."""
    name = name_of(folder)
    with _handle(name) as (handle, address), socket.socket(socket.AF_UNIX) as server:
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=handle)
        server.bind(address)
        os.chmod(name, 0o600, dir_fd=handle)
        server.listen(16)
        yield server


def call(folder: Path, **request: str | None) -> Link | None:
    """A connection on which the request has been made; None where no supervisor listens. ConfigError where the socket's
    folder is not its owner's alone."""
    end = socket.socket(socket.AF_UNIX)
    end.settimeout(PATIENCE_SECONDS)
    try:
        with _handle(name_of(folder)) as (_, address):
            end.connect(address)
    except OSError:
        end.close()
        return None
    except ConfigError:
        end.close()
        raise
    link = Link(end)
    link.say(**request)
    return link
