"""The heads of this user's own runs and sessions, kept apart from their records.

A chain shows what was changed within it. That a whole chain was written anew is shown only by a head that stands
elsewhere: the user's state folder holds one for each folder of records and for each session, from its end.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from ffe.errors import FfeError
from ffe.private import own_folder, state_folder, write_own

log = logging.getLogger(__name__)


SESSION = re.compile("[0-9a-f]{32}")


def keep(records: Path, session: str, head: str) -> None:
    """The newest head of a folder and of a session; where it cannot be kept, nothing else is lost by it."""
    where = records.resolve()
    said = os.fsencode(where).decode("utf-8", "backslashreplace")
    try:
        folder = own_folder(state_folder() / "heads")
        for name in _names(where, [session]):
            write_own(folder / name, f"{head}\n{said}\n")
    except (OSError, FfeError) as error:
        log.warning("The head of %s is not kept, so that a chain written anew will not be found: %s", records, error)


def kept(records: Path, sessions: Iterable[str]) -> list[str]:
    """What the chain in a folder must hold: the folder's head, and those of the sessions that it says it holds."""
    found = []
    for name in _names(records.resolve(), sessions):
        with suppress(OSError, FfeError, UnicodeDecodeError, IndexError):
            found.append((state_folder() / "heads" / name).read_text("utf-8").splitlines()[0])
    return list(dict.fromkeys(found))


def _names(where: Path, sessions: Iterable[str]) -> list[str]:
    """The files of a folder's head and of its sessions'; what is no session's name, as a record may say, names none."""
    mark = hashlib.sha256(os.fsencode(where)).hexdigest()
    return [mark, *(session for session in sessions if SESSION.fullmatch(session))]
