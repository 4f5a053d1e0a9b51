"""Where a session takes requests: a socket in a folder of its owner's, one for each data folder. One request a line."""

from __future__ import annotations

import hashlib
import os
import socket
import tempfile
from pathlib import Path

from ffe.errors import ConfigError
from ffe.live.link import Link

PATIENCE_SECONDS = 1.0


def address(folder: Path) -> str:
    """The socket's path; it is short, for a socket's name may have no more than a hundred characters."""
    place = Path(tempfile.gettempdir()) / f"ffe-{os.getuid()}"
    place.mkdir(mode=0o700, exist_ok=True)
    found = place.lstat()
    if found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise ConfigError(f"{place} is open to others: remove it, and start again.")
    return str(place / f"{hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:24]}.sock")


def listen(folder: Path) -> socket.socket:
    """The supervisor's end; only the owner of the lock may take it."""
    path = Path(address(folder))
    path.unlink(missing_ok=True)
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    path.chmod(0o600)
    server.listen(16)
    return server


def call(folder: Path, **request: str | None) -> Link | None:
    """A connection on which the request has been made; None where no supervisor listens."""
    end = socket.socket(socket.AF_UNIX)
    end.settimeout(PATIENCE_SECONDS)
    try:
        end.connect(address(folder))
    except OSError:
        end.close()
        return None
    link = Link(end)
    link.say(**request)
    return link
