"""The heads of this user's own runs and sessions, kept apart from their records.

A chain shows what was changed within it. That a whole chain was written anew is shown only by a head that stands
elsewhere: the user's state folder holds one for each folder of records and for each session, from its end.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from ffe.errors import FfeError
from ffe.private import own_folder, state_folder, write_own

log = logging.getLogger(__name__)


def keep(records: Path, session: str, head: str) -> None:
    """The newest head of a folder and of a session; where it cannot be kept, nothing else is lost by it."""
    where = records.resolve()
    try:
        folder = own_folder(state_folder() / "heads")
        for name in (_mark(where), session):
            write_own(folder / name, f"{head}\n{where}\n")
    except (OSError, FfeError) as error:
        log.warning("The head of %s is not kept, so that a chain written anew will not be found: %s", records, error)


def kept(records: Path, sessions: Iterable[str]) -> list[str]:
    """What the chain in a folder must hold: the folder's head, and those of the sessions that it says it holds."""
    found = []
    for name in (_mark(records.resolve()), *sessions):
        with suppress(OSError, UnicodeDecodeError, IndexError):
            if Path(name).name == name:  # what a record names is no path
                found.append((state_folder() / "heads" / name).read_text().splitlines()[0])
    return list(dict.fromkeys(found))


def _mark(where: Path) -> str:
    return hashlib.sha256(str(where).encode()).hexdigest()
