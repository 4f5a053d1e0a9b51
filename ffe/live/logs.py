"""Where a session's processes say what they do: one file of the owner's, and on the terminal what matters."""

from __future__ import annotations

import logging
from pathlib import Path

FOLDER = Path("logs")
SAYS_TOO_MUCH = ("httpx2", "httpcore2", "urllib3", "ccxt")  # addresses, and accounts in them
NOTICES = "ffe.live.notices"  # one line for each thing that a person must know


def log_to(folder: Path = FOLDER) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    file, screen = logging.FileHandler(folder / "live.log"), logging.StreamHandler()
    (folder / "live.log").chmod(0o600)
    screen.addFilter(lambda record: record.levelno >= logging.WARNING or record.name == NOTICES)
    screen.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    form = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    file.setFormatter(logging.Formatter(form))
    logging.basicConfig(level=logging.INFO, handlers=[file, screen])
    for name in SAYS_TOO_MUCH:
        logging.getLogger(name).setLevel(logging.WARNING)
