"""One live process for a folder and for each account, and what tells one account from another."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from ffe.errors import ConfigError


def mark_of(account: str) -> str:
    """Tells an account from others, and does not say its id, which is nobody's business."""
    return hashlib.sha256(account.encode()).hexdigest()[:16]


@contextmanager
def locked(folder: Path, accounts: Sequence[str]) -> Iterator[None]:
    """Keep every other process out, whatever folder it writes to."""
    places = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "ffe"
    for place in (folder, places):
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
    with ExitStack() as stack:
        for path in (
            folder / "live.lock",
            *(places / f"{account}.lock" for account in sorted({*map(mark_of, accounts)})),
        ):
            _lock(stack, path)
        yield


def _lock(stack: ExitStack, path: Path) -> None:
    try:
        stack.enter_context(FileLock(path, timeout=0))
    except Timeout:
        raise ConfigError(
            f"{path}: another session trades this account. See what it does with `ffe status`, end it with `ffe stop`."
        ) from None
