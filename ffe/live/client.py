"""What the command line asks of a session that runs elsewhere, and what it does itself where no supervisor answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock

from ffe.config import Settings
from ffe.errors import ConfigError, FfeError
from ffe.hours import stamp
from ffe.live import control
from ffe.live.accounts import latch_all, locks_of, moved_from, permit_found
from ffe.live.link import Said
from ffe.live.oversight import LATCHED
from ffe.live.process import kill_noted
from ffe.live.recovery import Left, left_in
from ffe.live.task import FILE as TASK
from ffe.live.task import Task
from ffe.model import SECOND, Act, Nanos

LOCK_SECONDS = 3.0  # for a killed process to let go; another user, or a disk that hangs, may never
FIRST_WORD_SECONDS = {"status": 3.0, Act.EMERGENCY_STOP: 3.0}  # of the supervisor, whatever hangs behind it
SILENT_SECONDS = 30.0  # between two messages about a stop: a supervisor that closes reports every few seconds
ANSWER_SECONDS = 90.0  # of anything that the engine has to carry out

NAME_IT = "Name the data folder of the session with --config."
ALL_LATCHED = (
    "latched: no entry leaves, of any account of this user. What is open is NOT closed: the settings say where its "
    "session is, and they cannot be read."
)

Say = Callable[[str], None]


class NoSession(FfeError):
    pass


def ask(folder: Path, act: str, instrument: str | None = None) -> Iterator[Said]:
    """The answers to a request, until it is done; NoSession where no supervisor answers, or answers any longer."""
    link = control.call(folder, act=act, instrument=instrument)
    if link is None:
        raise NoSession(f"{folder}: no session runs here. Start one: python -m ffe.live STRATEGY --symbols …")
    link.end.settimeout(FIRST_WORD_SECONDS.get(act, ANSWER_SECONDS))
    try:
        for message in link.listen():
            link.end.settimeout(SILENT_SECONDS if act == Act.EMERGENCY_STOP else ANSWER_SECONDS)
            yield message
            if "done" in message or act == "status":
                return
    finally:
        link.close()
    raise NoSession(f"{folder}: the session ended, or hangs, and has not answered.")


def last_known(folder: Path, now: Nanos) -> list[str]:
    """What the journal last knew, in words: nobody was asked. Empty where there is none."""
    left = left_in(folder)
    if left.head is None:
        return []
    when = "at a time that is not known" if left.time is None else _when(left.time, now)
    trades = [
        f"slot {t.slot}: {t.side.name.lower()} {t.qty:g} {t.instrument}, stop {t.stop:g}; whether it rests is not known"
        for t in left.trades()
    ]
    latch = "entries may leave once a session runs" if permit_found(folder).is_given else "LATCHED: no entry leaves"
    return [
        f"What the journal last knew, {when}; nobody was asked since: {latch}",
        *(trades or ["nothing of ours was open"]),
        *_foreign(left),
    ]


def _when(time: Nanos, now: Nanos) -> str:
    return f"at {stamp(time // SECOND * SECOND)} UTC, {max(0, now - time) / SECOND:,.0f} s ago"


def _foreign(left: Left) -> Iterator[str]:
    if left.state is not None:
        for ledger in left.book(left.universe(), 1).ledgers.values():
            yield from (f"foreign: {position.qty:g} {id}" for id, position in ledger.foreign.items())


# ---------------------------------------------------------------- the emergency stop


def settings_or_latch_all(load: Callable[[], Settings], say: Say) -> Settings:
    """Settings, with a data folder that can be found. Where they cannot be read, so that it is not known which session
    is to be stopped, none of this user's accounts enters anything."""
    try:
        settings = load()
        settings.data_folder.resolve()  # of a relative one the folder that this runs in may be gone, or closed
    except (FfeError, OSError, ValueError) as error:
        is_any, left = latch_all()
        if is_any and not left:
            say(ALL_LATCHED)
        elif not left:
            say("NOT LATCHED: this user has traded no account that is known here.")
        for why in left:
            say(f"NOT LATCHED everywhere: {why}")
        if isinstance(error, FfeError):
            raise
        raise ConfigError(f"The settings cannot be read: {error}.") from None
    return settings


def force(settings: Settings, say: Say) -> bool:
    """The emergency stop: latched from here first; then closed by the session's own supervisor, or, where none answers,
    from here. Whether it is latched and the venues show flat."""
    folder, closed = settings.data_folder, None
    if not _may_have_run(folder):
        raise NoSession(f"{folder}: no session ever ran here, and nothing was stopped. {NAME_IT}")
    is_latched = _latch(folder, say)
    try:
        for message in ask(folder, Act.EMERGENCY_STOP):
            say(str(message.get("said")))
            closed = message.get("done", closed)
        return is_latched and closed is True
    except FfeError as error:
        say(f"no supervisor answers: it is done from here ({error})")
    from ffe.live.closing import Place, close_all

    with _alone(folder, say):
        is_latched &= _is_still_latched(folder, say)
        report = close_all(Place(folder, Task.kept(folder).at(settings)), say)
    say("\n".join(report.lines))
    return is_latched and report.is_good


def force_everything(settings: Settings, account: str, say: Say) -> bool:
    """Close all that an account holds of the session's instruments, whosever it is. Nothing is done before the id that
    was typed is that of an account of the session."""
    from ffe.live.closing import Place, accounts_called, close_everything

    folder = settings.data_folder
    place = Place(folder, Task.kept(folder).at(settings))
    accounts_called(place, account)
    is_latched = _latch(folder, say)
    with _alone(folder, say):
        is_latched &= _is_still_latched(folder, say)
        report = close_everything(place, account, say)
    say("\n".join(report.lines))
    return is_latched and report.is_good


def _latch(folder: Path, say: Say) -> bool:
    """Whether no entry leaves from now on, in this session or a later one, as far as this machine can know."""
    is_traded_here, taken = bool(locks_of(folder)), permit_found(folder).take_away()
    elsewhere = moved_from(folder)
    if elsewhere:
        which = "NOT LATCHED: the account" if not is_traded_here else "NOT STOPPED: another account"
        say(
            f"{which} of this folder is traded from {', '.join(map(str, elsewhere))} now. "
            "Stop it there: ffe stop --force --config THE SETTINGS WITH THAT data_folder"
        )
        if not is_traded_here:
            return False
    if taken.is_kept:
        say(LATCHED)
        for why in taken.left:
            say(f"but not everywhere: {why}")
    else:
        say(f"NOT LATCHED: {taken.why_not()}. Start no session before that is mended and `ffe stop --force` succeeds.")
    return taken.is_kept


def _may_have_run(folder: Path) -> bool:
    """False only where it is sure that there is nothing to stop: nothing of a session in the folder, and no account
    that was traded from it."""
    for name in (TASK, "journal", "permit", "live.lock", "engine.lock"):
        try:
            (folder / name).lstat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:
            pass
        return True
    return bool(locks_of(folder) or moved_from(folder))


def _is_still_latched(folder: Path, say: Say) -> bool:
    """A re-arm that was under way may have given the permit back before its process was ended."""
    taken = permit_found(folder).take_away()
    if not taken.is_kept:
        say(f"NOT LATCHED: {taken.why_not()}")
    return taken.is_kept


@contextmanager
def _alone(folder: Path, say: Say) -> Iterator[None]:
    """With no process of the session left; what a lock of somebody else's stands for is not waited for."""
    kill_what_runs(folder)
    with ExitStack() as stack:
        for lock in (folder / "live.lock", folder / "engine.lock", *locks_of(folder)):
            try:
                stack.enter_context(FileLock(lock, timeout=LOCK_SECONDS, mode=0o600))
            except OSError:  # a timeout as well
                say(f"{lock} is held by another process, which could not be ended: it is closed all the same")
        yield


def kill_what_runs(folder: Path) -> None:
    """End the processes of a session that does not answer any longer."""
    for name in ("supervisor.pid", "engine.pid"):
        kill_noted(folder / name)
    time.sleep(0.1)
