"""What this machine keeps of an account, whatever folder its sessions write to: one live process, one latch, and which
data folder holds its journal.

It stands in the user's state folder, by the account's mark. A session in another data folder than the account's last
one starts latched: what was open, what the day has cost, and why entries were stopped, stands in the other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from ffe.errors import ConfigError, NotWritable
from ffe.live.connect import Connector
from ffe.live.permit import Permit
from ffe.live.recovery import Left, left_in
from ffe.private import own_folder, state_folder, write_own

ANY_MARK = "[0-9a-f]" * 16
JOURNAL_AT, JOURNAL_BEFORE = "data_folder", "data_folder_before"
LOST = (
    "An earlier session of this account wrote here, and its records are gone. Nothing is entered before `ffe re-arm`."
)


def mark_of(account: str) -> str:
    """Tells an account from others, and does not say its id, which is nobody's business."""
    return hashlib.sha256(account.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Known:
    """An account, by its mark."""

    mark: str

    @property
    def root(self) -> Path:
        return state_folder() / self.mark

    @property
    def is_known(self) -> bool:
        return self.root.is_dir()

    def data_folder(self, name: str = JOURNAL_AT) -> Path | None:
        """Where its newest session writes; None where there was none."""
        try:
            return Path((self.root / name).read_text())
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{self.root / name}: {error}. Which folder holds the account's journal?") from None

    def may_write_to(self, folder: Path) -> bool:
        """Whether its newest session wrote there, or may have."""
        try:
            return self.data_folder() in (None, folder)
        except ConfigError:
            return True

    def origin(self, here: Path) -> Path | None:
        """The folder that its sessions wrote to before this one; None where there was none."""
        newest = self.data_folder()
        return self.data_folder(JOURNAL_BEFORE) if newest == here else newest

    def note(self, folder: Path) -> None:
        """Its journal is in this folder from now on."""
        before = self.data_folder()
        own_folder(self.root)
        if before not in (None, folder):
            write_own(self.root / JOURNAL_BEFORE, str(before))
        write_own(self.root / JOURNAL_AT, str(folder))


def known_by(found: Sequence[Connector]) -> list[Known]:
    """The accounts that these open."""
    return [Known(mark) for mark in sorted({mark_of(connector.account_id) for connector in found})]


def left_of(folder: Path, accounts: Sequence[Known]) -> Left:
    """What earlier sessions left: in this folder, or in the one that the accounts were traded from before, where that
    is newer. Positions, the day's limits and the window of the drawdown go with an account."""
    own, here = left_in(folder), folder.resolve()
    origins = sorted({origin for account in accounts if (origin := account.origin(here)) is not None})
    newer = {origin: left for origin in origins if (left := left_in(origin)).is_newer_than(own)}
    if len(newer) > 1:
        raise ConfigError(
            f"The accounts were traded from {' and '.join(map(str, newer))}. What stands in those journals cannot be "
            "put together: trade each account from its own folder."
        )
    return next(iter(newer.values()), own)


# ---------------------------------------------------------------- the latch


def permit_of(folder: Path, accounts: Sequence[Known]) -> Permit:
    return Permit(folder, *(account.root for account in accounts))


def permit_found(folder: Path) -> Permit:
    """The permit of the accounts that write to a folder, for whoever knows nothing but the folder."""
    here = folder.resolve()
    return permit_of(folder, [account for account in _all_known() if account.may_write_to(here)])


def moved_from(folder: Path) -> list[Path]:
    """The folders from which accounts are traded that were traded from this one before."""
    here, found = folder.resolve(), set[Path]()
    for account in _all_known():
        with suppress(ConfigError):
            newest = account.data_folder()
            if newest not in (None, here) and account.data_folder(JOURNAL_BEFORE) == here:
                found.add(newest)
    return sorted(found)


def _all_known() -> list[Known]:
    """Every account of this user's; one that cannot be looked at is one."""
    return [Known(path.name) for path in sorted(state_folder().glob(ANY_MARK)) if _may_be_folder(path)]


def _may_be_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return True


def is_stopped(accounts: Sequence[Known]) -> bool:
    """Whether an emergency stop stands: it takes the accounts' permits too. A session in another data folder lacks the
    folder's own alone, and closes nothing."""
    return not all(Permit(account.root).is_given for account in accounts)


def take_over(folder: Path, accounts: Sequence[Known], is_first: bool) -> str:
    """Before a session, under its locks: the latch stands as earlier sessions left it, in whatever folder; why nothing
    may be entered though nobody pressed a stop, "" where that is not so. is_first: none ever ran in this folder."""
    try:
        return _taken_over(folder, accounts, is_first)
    except OSError as error:
        raise NotWritable(f"{error.filename or state_folder()}: {error.strerror}. Nothing was started.") from None


def _taken_over(folder: Path, accounts: Sequence[Known], is_first: bool) -> str:
    here, own = folder.resolve(), Permit(folder)
    strangers = [account for account in accounts if not account.is_known]
    elsewhere = [account for account in accounts if account.is_known and account.data_folder() != here]
    if elsewhere and (why := own.take_away().why_not()):
        raise ConfigError(f"The entry latch cannot be set: {why}. Mend that, and start again.")
    for account in accounts:
        account.note(here)
    if elsewhere or is_first or own.is_given:  # in a folder of before the latch of its session stands for theirs
        for account in strangers:
            Permit(account.root).give()
    if is_first and len(strangers) == len(accounts):
        own.give()
    if elsewhere:
        where = ", ".join(sorted({str(account.data_folder(JOURNAL_BEFORE)) for account in elsewhere}))
        return f"The last session of this account wrote to {where}. Nothing is entered here before `ffe re-arm`."
    return LOST if is_first and not own.is_given else ""


# ---------------------------------------------------------------- the lock


@contextmanager
def locked(folder: Path, accounts: Sequence[Known]) -> Iterator[None]:
    """Keep every other process out, whatever folder it writes to."""
    places = own_folder(state_folder())
    own_folder(folder)
    with ExitStack() as stack:
        for path in (folder / "live.lock", *(places / f"{account.mark}.lock" for account in accounts)):
            _lock(stack, path)
        yield


def _lock(stack: ExitStack, path: Path) -> None:
    try:
        stack.enter_context(FileLock(path, timeout=0, mode=0o600))
    except Timeout:
        raise ConfigError(
            f"{path}: another session trades this account. See what it does with `ffe status`, end it with `ffe stop`."
        ) from None
