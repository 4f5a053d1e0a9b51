"""What this machine keeps of an account, whatever folder its sessions write to: one live process, one latch, and which
data folder holds its journal.

It stands in the user's state folder, by the account's mark. A session in another data folder than the account's last
one starts latched: what was open, what the day has cost, and why entries were stopped, stands in the other.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from filelock import FileLock, Timeout

from ffe.config import Secrets, Settings
from ffe.errors import ConfigError, FfeError, NotWritable
from ffe.live.connect import Armed, Connector, connectors
from ffe.live.orders_out import OrdersOut
from ffe.live.permit import Permit
from ffe.live.reading import VenueReader
from ffe.live.recovery import Left, left_in
from ffe.model import Nanos
from ffe.private import own_folder, state_folder, write_own

ANY_MARK = "[0-9a-f]" * 16
JOURNAL_AT, JOURNAL_BEFORE = "data_folder", "data_folder_before"
BETWEEN, MOST_FOLDERS = "\0", 16
LOST = (
    "An earlier session of this account wrote here, and its records are gone. Nothing is entered before `ffe re-arm`."
)


def mark_of(account: str) -> str:
    """Tells an account from others, and does not say its id, which is nobody's business."""
    return hashlib.sha256(account.encode()).hexdigest()[:16]


class Unsettled(ConfigError):
    """It cannot be told which journal is an account's."""


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

    def data_folder(self) -> Path | None:
        """Where its newest session writes; None where there was none."""
        return next(iter(self._noted(JOURNAL_AT)), None)

    def left_folders(self) -> list[Path]:
        """Where its sessions wrote before, the newest first."""
        return self._noted(JOURNAL_BEFORE)

    def _noted(self, name: str) -> list[Path]:
        try:
            return [Path(folder) for folder in (self.root / name).read_text("utf-8").split(BETWEEN)]
        except FileNotFoundError:
            return []
        except (OSError, UnicodeDecodeError) as error:
            raise Unsettled(f"{self.root / name}: {error}. Which folder holds the account's journal?") from None

    def may_write_to(self, folder: Path) -> bool:
        """Whether its newest session wrote there, or may have."""
        try:
            return self.data_folder() in (None, folder)
        except ConfigError:
            return True

    def folders(self, here: Path) -> list[Path]:
        """This folder, and those in which a journal may know it, each once."""
        return list(dict.fromkeys([here, *self._noted(JOURNAL_AT), *self.left_folders()]))

    def note(self, folder: Path) -> None:
        """Its journal is in this folder from now on. Where it was before is kept, of several too: a session that fell
        before it wrote anything leaves no journal to go on from."""
        others = [other for other in self.folders(folder) if other != folder][:MOST_FOLDERS]
        own_folder(self.root)
        if others:
            write_own(self.root / JOURNAL_BEFORE, BETWEEN.join(map(str, others)))
        write_own(self.root / JOURNAL_AT, str(folder))


def known_by(found: Sequence[Connector]) -> list[Known]:
    """The accounts that these open."""
    return [Known(mark) for mark in sorted({mark_of(connector.account_id) for connector in found})]


def left_of(folder: Path, accounts: Sequence[Known]) -> Left:
    """What earlier sessions left of these accounts: in this folder, or in the one that they were traded from before,
    where that is newer. Positions, the day's limits and the window of the drawdown go with an account; what the journal
    holds of others comes along, but for those that another journal tells of since."""
    here, read = folder.resolve(), cache(left_in)
    homes = {account: _home(account, here, read) for account in accounts}
    trading = {home for account, home in homes.items() if home is not None and read(home).is_trading(account.mark)}
    if len(trading) > 1:
        raise Unsettled(
            f"The accounts have trades open that stand in {' and '.join(map(str, sorted(trading)))}. What stands in "
            "those journals cannot be put together: trade each account from its own folder."
        )
    chosen = here
    for n, home in enumerate(sorted(trading or {home for home in homes.values() if home is not None})):
        if n == 0 or read(home).is_newer_than(read(chosen)):
            chosen = home
    left = read(chosen)
    return left.without({v for v, mark in left.marks().items() if _home(Known(mark), here, read) not in (None, chosen)})


def _home(account: Known, here: Path, read: Callable[[Path], Left]) -> Path | None:
    """The folder of the newest journal that knows an account, if one does."""
    home = None
    for folder in account.folders(here):
        if read(folder).knows(account.mark) and (home is None or read(folder).is_newer_than(read(home))):
            home = folder
    return home


@dataclass(frozen=True, slots=True)
class Reach:
    """All that a session has to do with: what was named, and what earlier sessions left open, wherever that is."""

    symbols: tuple[str, ...]
    connectors: tuple[Connector, ...]
    accounts: tuple[Known, ...]
    left: Left


def reach_of(settings: Settings, named: Sequence[str], secrets: Secrets, armed: Armed) -> Reach:
    """Whatever it holds belongs to an account too, which nobody else may trade meanwhile. ConfigError before anything
    is opened, also where a journal's trades are of another account than is at their venue now."""
    reach = all_of(settings, named, secrets, armed)
    exchanged = [c for c in reach.connectors if is_of_another(reach.left, c)]
    for connector in exchanged:
        is_trading = reach.left.is_trading(reach.left.marks()[connector.venue])
        if is_trading and not knows_an_order(connector, reach.left, time.time_ns):
            raise ConfigError(
                f"{settings.data_folder}: its journal has trades open at {connector.venue}, of another account or by "
                "another key, and the venue knows none of their orders. Trade this account from another data folder, "
                "or end those trades first with the key that they were opened by."
            )
        if not is_trading:
            reach = replace(reach, left=reach.left.without({connector.venue}))
    return reach


def is_of_another(left: Left, connector: Connector) -> bool:
    """Whether a journal tells of another account at a venue, or of the same by another key."""
    return left.marks().get(connector.venue) not in (None, mark_of(connector.account_id))


def knows_an_order(connector: Connector, left: Left, now: Callable[[], Nanos]) -> bool:
    """A key that was exchanged opens the same account: an order of the journal's that rests there proves it."""
    ours = OrdersOut(left.ids())
    reader = VenueReader(connector.broker(left.universe(), now, now(), None), now)
    return any(ours.is_ours(order.id) for order in reader.read().orders)


def all_of(settings: Settings, named: Sequence[str], secrets: Secrets, armed: Armed) -> Reach:
    """As the journals tell; whether they are right about whose it is was not asked."""
    symbols = list(dict.fromkeys(named))
    while True:
        found = connectors(settings, symbols, secrets, armed)
        accounts = known_by(found)
        left = left_of(settings.data_folder, accounts)
        more = [str(id) for id in sorted(left.held()) if id not in symbols]
        if not more:
            return Reach(tuple(symbols), tuple(found), tuple(accounts), left)
        symbols += more


# ---------------------------------------------------------------- the latch


def permit_of(folder: Path, accounts: Sequence[Known]) -> Permit:
    return Permit(folder, *(account.root for account in accounts))


def permit_found(folder: Path) -> Permit:
    """The permit of the accounts that write to a folder, for whoever knows nothing but the folder."""
    return permit_of(folder, _writing_to(folder))


def latch_all() -> tuple[bool, list[str]]:
    """Take the permit of every account of this user: whether there is any, and why one may still be given."""
    try:
        any(state_folder().iterdir())  # a glob is silent where it may not look
    except FileNotFoundError:
        return False, []
    except OSError as error:
        return False, [f"{state_folder()}: {error.strerror}"]
    known = _all_known()
    return bool(known), [taken.why_not() for a in known if not (taken := Permit(a.root).take_away()).is_kept]


def _writing_to(folder: Path) -> list[Known]:
    here = folder.resolve()
    return [account for account in _all_known() if account.may_write_to(here)]


def moved_from(folder: Path) -> list[Path]:
    """The folders from which accounts are traded that were traded from this one before: just before, as is noted, or
    at any time, as its journal says."""
    here, found, marks = folder.resolve(), set[Path](), set[str]()
    with suppress(FfeError, OSError, ValueError):
        marks = {*left_in(here).marks().values()}
    for account in _all_known():
        with suppress(ConfigError):
            newest = account.data_folder()
            was_here = account.mark in marks or here in account.left_folders()
            if newest not in (None, here) and was_here:
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
    where = ", ".join(sorted({str(account.data_folder()) for account in elsewhere}))
    for account in accounts:
        account.note(here)
    if elsewhere or is_first or own.is_given:  # in a folder of before the latch of its session stands for theirs
        for account in strangers:
            Permit(account.root).give()
    if is_first and len(strangers) == len(accounts):
        own.give()
    if elsewhere:
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


def locks_of(folder: Path) -> list[Path]:
    """The locks of the accounts that write to a folder, for whoever knows nothing but the folder."""
    return [account.root.with_suffix(".lock") for account in _writing_to(folder)]


def _lock(stack: ExitStack, path: Path) -> None:
    try:
        stack.enter_context(FileLock(path, timeout=0, mode=0o600))
    except Timeout:
        raise ConfigError(
            f"{path}: another session trades this account. See what it does with `ffe status`, end it with `ffe stop`."
        ) from None
    except OSError as error:
        raise NotWritable(f"{path}: {error.strerror}. Nothing was started.") from None
