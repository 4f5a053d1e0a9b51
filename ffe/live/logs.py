"""Where a session's processes say what they do: one file of the owner's, and on the terminal what matters."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from ffe.plain import plain
from ffe.private import own_folder

FOLDER = Path("logs")
SAYS_TOO_MUCH = ("httpx2", "httpcore2", "urllib3", "ccxt")  # addresses, and accounts in them
NOTICES = "ffe.live.notices"  # one line for each thing that a person must know


class Plain(logging.Formatter):
    """Control characters are written out, and a line that follows another in one message is indented: none passes for
    a message of its own."""

    def format(self, record: logging.LogRecord) -> str:
        return plain(super().format(record)).replace("\n", "\n    ")


def log_to(folder: Path = FOLDER) -> None:
    path = own_folder(folder) / "live.log"
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    file, screen = logging.FileHandler(path), logging.StreamHandler()
    screen.addFilter(lambda record: record.levelno >= logging.WARNING or record.name == NOTICES)
    screen.setFormatter(Plain("%(asctime)s %(message)s", "%H:%M:%S"))
    form = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    file.setFormatter(Plain(form))
    logging.basicConfig(level=logging.INFO, handlers=[file, screen])
    for name in SAYS_TOO_MUCH:
        logging.getLogger(name).setLevel(logging.WARNING)
