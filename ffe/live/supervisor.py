"""The supervisor's process: it holds the lock, the latch and venue clients of its own, and starts the engine's.

It imports no strategy and nothing that is compiled, and asks no venue in its own thread: whatever hangs elsewhere, it
listens. Emergency stop: latch, then tell the engine; an engine that does not acknowledge within a second is killed, and
what is ours is closed from here. It says done only when the venues show flat.
"""

from __future__ import annotations

import hashlib
import logging
import os
import selectors
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from ffe.config import Settings, load_secrets
from ffe.errors import ConfigError, FfeError, NotWritable, Tampered
from ffe.live.closer import Closer, Shouted
from ffe.live.connect import connectors
from ffe.live.control import listen
from ffe.live.life import Life
from ffe.live.link import Link, Said
from ffe.live.permit import Permit
from ffe.live.recovery import Left, left_in
from ffe.live.task import Task
from ffe.model import Act, Event, Step
from ffe.ports import Journal, Written
from ffe.records.encode import Stamp
from ffe.records.journal import LiveJournal
from ffe.research.code import code_version
from ffe.risk.gatekeeper import Reducer
from ffe.session import Session

log = logging.getLogger(__name__)

TICK_SECONDS = 0.05
ACKNOWLEDGED_WITHIN_SECONDS = 1.0
SILENT_SECONDS = 3.0
LISTENS_WITHIN = struct.pack("ll", 0, 100_000)  # seconds and microseconds
ENDS_WITHIN_SECONDS = 20.0
LOOK_EVERY_SECONDS = 2.0
MENDED_SECONDS = 5.0
RESTARTS, RESTARTS_WITHIN_SECONDS = 5, 3600.0
COMMANDS = frozenset({Act.PAUSE, Act.RESUME, Act.CLOSE_ALL, Act.CLOSE, Act.ADOPT})


@dataclass(slots=True)
class Asked:
    """Somebody who waits for an answer; number is of the command that went to the engine."""

    link: Link
    act: str
    number: int
    since: float = field(default_factory=time.monotonic)


class Supervisor:
    def __init__(self, task: Task, settings: Settings, say: Callable[[str], None]) -> None:
        self.task, self.settings, self._echo = task, settings, say
        self.folder = settings.data_folder
        self.permit = Permit(self.folder)
        self.status: Said = {}
        self.heard_at = 0.0
        self._worker: subprocess.Popen[bytes] | None = None
        self._dying: subprocess.Popen[bytes] | None = None  # the newest that was killed
        self._link: Link | None = None
        self._numbers = 0
        self._asked: list[Asked] = []  # whose command the engine has not obeyed yet
        self._watchers: list[Asked] = []  # who waits until all is closed
        self._starts: deque[float] = deque(maxlen=RESTARTS)
        self._is_ending = self._is_failed = False
        self._ends_at = 0.0
        self._closing: Future[None] | None = None
        self._look: Future[list[str]] | None = None
        self._looked_at = 0.0
        self._threads = ThreadPoolExecutor(4, "venues")
        self._selector = selectors.DefaultSelector()

    # ------------------------------------------------------------ the loop

    def run(self) -> int:
        """Until the session ends; the exit code."""
        with locked(self.folder, self._accounts()):
            if not (Task.is_kept(self.folder) or left_in(self.folder).head):
                self.permit.give()  # a folder's first session; any later one finds the latch as it was left
            self.task.keep(self.folder)
            note(self.folder / "supervisor.pid", os.getpid())
            with listen(self.folder) as server:
                self._selector.register(server, selectors.EVENT_READ, lambda: self._welcome(server))
                for number in (signal.SIGTERM, signal.SIGINT):
                    signal.signal(number, lambda *_: self.end())
                self._start()
                self._threads.submit(get_ready, self.settings)
                while self._goes_on():
                    self._turn()
        return int(self._is_failed)

    def _turn(self) -> None:
        for key, _ in self._selector.select(TICK_SECONDS):
            key.data()
        self._mind_the_engine()
        self._mind_who_waits()

    def _goes_on(self) -> bool:
        is_over = self._worker is None and (self._is_ending or self._is_failed)
        return not is_over or self._closing is not None

    def end(self) -> None:
        """End the session; what is open stays, behind its stops."""
        if not self._is_ending:
            self._is_ending, self._ends_at = True, time.monotonic() + ENDS_WITHIN_SECONDS
            if self._link is not None:
                self._link.say(end=True)

    # ------------------------------------------------------------ the engine's process

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-m", "ffe.live.worker", self.task.model_dump_json(), str(theirs.fileno())]
        self._worker = subprocess.Popen([*command, str(os.getpid())], pass_fds=[theirs.fileno()])
        note(self.folder / "engine.pid", self._worker.pid)
        theirs.close()
        self._link = link = Link(ours)
        self._starts.append(time.monotonic())
        self._selector.register(link, selectors.EVENT_READ, lambda: self._listen(link))

    def _listen(self, link: Link) -> None:
        for said in link.heard():
            self.heard_at = time.monotonic()
            if isinstance(status := said.get("status"), dict):
                self.status = status
            if "life" in said:
                self.status = {**self.status, "life": said["life"]}
                log.info("%s", said["life"])
            for name in ("failed", "farewell"):
                if name in said:
                    self._is_failed |= name == "failed"
                    self.say(str(said[name]))
            if "obeyed" in said:
                self._obeyed(said["obeyed"], bool(said["is_known"]))
        if not link.is_open:
            self._selector.unregister(link)

    def _mind_the_engine(self) -> None:
        if self._worker is None:
            return
        if self._is_ending and time.monotonic() > self._ends_at:
            self.say("The engine does not end: it is killed. What is open stays behind the stops that rest.")
            self._kill()
        if self._worker is not None and (code := self._worker.poll()) is not None:
            self._ended(code)

    def _ended(self, code: int) -> None:
        """An engine that fell over is started anew: a start is a recovery. One that falls again and again is not, and
        what one was closing is closed from here."""
        if self._link is not None:
            self._hear_out(self._link)
        self._forget_the_engine()
        if self._watchers:
            self._tell_watchers("the engine has ended: it is closed from here")
            self._close_from_here()
        if code == 0 or self._is_ending or self._is_failed:
            self._is_ending = True
            return
        self.say(f"The engine ended with {code}.")
        if self._closing is not None:
            return
        if len(self._starts) == RESTARTS and time.monotonic() - self._starts[0] < RESTARTS_WITHIN_SECONDS:
            self.say(f"It fell {RESTARTS} times within an hour and is left down; what is open stays behind its stops.")
            self._is_failed = True
            return
        self._start()

    def _hear_out(self, link: Link) -> None:
        """Its last words, which may have come after we last listened."""
        while link.is_open:
            self._listen(link)

    def _kill(self) -> None:
        """Nobody waits here for its death: whoever closes after it does."""
        if self._worker is not None:
            self._worker.kill()
            self._dying = self._worker
            self._forget_the_engine()

    def _forget_the_engine(self) -> None:
        if self._link is not None:
            if self._link.is_open:
                self._selector.unregister(self._link)
            self._link.close()
        self._worker, self._link = None, None
        for asked in self._asked:
            if asked.act != Act.EMERGENCY_STOP:  # that goes on from here
                asked.link.say(done=False, said=f"{asked.act}: the engine ended before it had obeyed.")
        self._asked = []
        self.status = {**self.status, "life": Life.STOPPED}

    def _tell(self, act: str, by: str, instrument: str | None = None) -> int:
        self._numbers += 1
        if self._link is not None:
            self._link.say(act=act, by=by, instrument=instrument, number=self._numbers)
        return self._numbers

    # ------------------------------------------------------------ who speaks to us

    def _welcome(self, server: socket.socket) -> None:
        end = server.accept()[0]
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, LISTENS_WITHIN)  # who does not is cut off: we are needed
        link = Link(end)
        self._selector.register(link, selectors.EVENT_READ, lambda: self._serve(link))

    def _serve(self, link: Link) -> None:
        for said in link.heard():
            instrument = said.get("instrument")
            self._asked_for(link, str(said.get("act")), str(said.get("by")), str(instrument) if instrument else None)
        if not link.is_open:
            self._selector.unregister(link)
            link.close()

    def _asked_for(self, link: Link, act: str, by: str, instrument: str | None) -> None:
        match act:
            case "status":
                link.say(**self.told())
            case "end":
                self.end()
                link.say(done=True, said="The session ends.")
            case Act.EMERGENCY_STOP:
                self._emergency(link, by)
            case Act.RE_ARM:
                self._re_arm(link, by)
            case _ if act in COMMANDS and self._link is not None:
                self._asked.append(Asked(link, act, self._tell(act, by, instrument)))
            case _:
                link.say(done=False, said=f"{act} is no command, or there is no engine to obey it.")

    def told(self) -> Said:
        age = time.monotonic() - self.heard_at if self.heard_at else None
        return {
            **self.status, "is_latched": not self.permit.is_given, "engine": self._worker.pid if self._worker else None,
            "age_seconds": age, "is_closing": self._closing is not None,
        }  # fmt: skip

    # ------------------------------------------------------------ the stop

    def _emergency(self, link: Link, by: str) -> None:
        self._latch()
        link.say(said="latched: no entry leaves")
        self._drop_re_arms()
        if not self._watchers:
            self._look = None  # one that was left over tells of the time before
        asked = Asked(link, Act.EMERGENCY_STOP, self._tell(Act.EMERGENCY_STOP, by))
        self._watchers.append(asked)
        if self._worker is None:
            self._close_from_here()
        else:
            self._asked.append(asked)

    def _latch(self) -> None:
        """A disk that does not let go of the permit takes the engine with it: what does not run sends nothing."""
        try:
            self.permit.take_away()
        except OSError as error:
            log.critical("The latch will not outlive us: %s", error)
            self._kill()

    def _drop_re_arms(self) -> None:
        """One that is still under way would undo a stop that came after it."""
        for asked in [asked for asked in self._asked if asked.act == Act.RE_ARM]:
            self._asked.remove(asked)
            asked.link.say(done=False, said="re_arm: an emergency stop came after it.")

    def _re_arm(self, link: Link, by: str) -> None:
        """The engine's latches clear first, then the permit is given."""
        if self._closing is not None or self._watchers:
            link.say(done=False, said="What is ours is being closed: re-arm when that is done.")
            return
        if self._worker is None:
            self._start()
        self._asked.append(Asked(link, Act.RE_ARM, self._tell(Act.RE_ARM, by)))

    def _obeyed(self, number: object, is_known: bool) -> None:
        for asked in [asked for asked in self._asked if asked.number == number]:
            self._asked.remove(asked)
            if asked.act == Act.RE_ARM:
                is_known = is_known and self._give_permit()
            if asked.act == Act.EMERGENCY_STOP:
                asked.link.say(said="the engine closes what is ours")
            else:
                asked.link.say(done=is_known, said=f"{asked.act}: {'obeyed' if is_known else 'not understood'}")

    def _give_permit(self) -> bool:
        try:
            self.permit.give()
        except OSError as error:
            self.say(f"{self.permit.path}: {error.strerror}. Entries stay stopped: mend that, and re-arm.")
        return self.permit.is_given

    def _is_lost(self, now: float) -> bool:
        """Whether an engine that was told to stop has not obeyed in time, or has fallen silent while it closes."""
        unheard = [asked.since for asked in self._asked if asked.act == Act.EMERGENCY_STOP]
        silent = [max(asked.since, self.heard_at) for asked in self._watchers]
        return any(now > since + ACKNOWLEDGED_WITHIN_SECONDS for since in unheard) or any(
            now > since + SILENT_SECONDS for since in silent
        )

    def _mind_who_waits(self) -> None:
        now = time.monotonic()
        if self._worker is not None and self._is_lost(now):
            self._kill()
            self._tell_watchers("the engine did not answer: it is killed, and closed from here")
            self._close_from_here()
        if self._closing is not None and self._closing.done():
            self._closing.result()
            self._closing = None
            self.status = {"life": Life.STOPPED, "trades": []}
            self._done()
        elif self._watchers and self._closing is None:
            self._look_whether_flat(now)

    def _close_from_here(self) -> None:
        if self._closing is None:
            self._closing = self._threads.submit(
                close_after, self._dying, self.folder, self.task, self.settings, self._tell_watchers
            )  # fmt: skip

    def _look_whether_flat(self, now: float) -> None:
        """The engine closes; whether the venues show flat is seen from here."""
        if self._look is not None and self._look.done():
            left, self._look = self._look.result(), None
            if not left:
                self._done()
        elif self._look is None and now > self._looked_at + LOOK_EVERY_SECONDS:
            self._looked_at = now
            self._look = self._threads.submit(remainder, self.folder, self.task, self.settings)

    def _done(self) -> None:
        for watcher in self._watchers:
            watcher.link.say(done=True, said="The venues show flat.")
        self._watchers.clear()

    def say(self, said: str) -> None:
        """On the terminal as well; one that is gone, or a file that is full, keeps nobody from listening."""
        log.info("%s", said)
        with suppress(OSError):
            self._echo(said)

    def _tell_watchers(self, said: str) -> None:
        log.info("%s", said)
        for watcher in self._watchers:
            watcher.link.say(said=said)

    def _accounts(self) -> list[str]:
        found = connectors(self.settings, self.task.symbols, load_secrets(), self.task.armed)
        return [connector.account_id for connector in found]


def note(file: Path, pid: int) -> None:
    """For whoever has to kill us; a full disk is no reason not to run."""
    try:
        file.write_text(str(pid))
    except OSError as error:
        log.critical("%s: %s", file, error)


# ---------------------------------------------------------------- one at a time


@contextmanager
def locked(folder: Path, accounts: Sequence[str]) -> Iterator[None]:
    """One live process for a folder and for each account, whatever folder another one writes to."""
    places = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "ffe"
    for place in (folder, places):
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
    with ExitStack() as stack:
        for path in (
            folder / "live.lock",
            *(places / f"{account}.lock" for account in sorted({*map(_name, accounts)})),
        ):
            _lock(stack, path)
        yield


def _name(account: str) -> str:
    """Of a lock: an account's id is nobody's business."""
    return hashlib.sha256(account.encode()).hexdigest()[:16]


def _lock(stack: ExitStack, path: Path) -> None:
    try:
        stack.enter_context(FileLock(path, timeout=0))
    except Timeout:
        raise ConfigError(
            f"{path}: another session trades this account. See what it does with `ffe status`, end it with `ffe stop`."
        ) from None


# ---------------------------------------------------------------- from here


def get_ready(settings: Settings) -> None:
    """Load what closing needs before it is needed: it takes a second, and later the code on disk may be another."""
    if any(venue.source == "ccxt" for venue in settings.venues.values()):
        import ffe.brokers.ccxt_broker  # noqa: F401


def close_after(
    dying: subprocess.Popen[bytes] | None, folder: Path, task: Task, settings: Settings, say: Callable[[str], None]
) -> None:
    """Once the engine is dead: it wrote the journal, and may still be sending."""
    if dying is not None:
        dying.wait()
    close_all(folder, task, settings, say)


def close_all(folder: Path, task: Task, settings: Settings, say: Callable[[str], None]) -> None:
    """Close what is ours at every venue, until all of them show flat; what can be mended meanwhile is said."""
    while True:
        try:
            return _close_all(folder, task, settings, say)
        except FfeError as error:
            say(str(error))
            time.sleep(MENDED_SECONDS)


def _close_all(folder: Path, task: Task, settings: Settings, say: Callable[[str], None]) -> None:
    """Each venue on its own: one that hangs holds up no other."""
    with closers(folder, task, settings, say) as found, ThreadPoolExecutor(max(1, len(found)), "closing") as pool:
        for closing in [pool.submit(closer.close) for closer in found]:
            closing.result()


def remainder(folder: Path, task: Task, settings: Settings) -> list[str]:
    """What the venues still show of ours; empty when they show flat. Nothing is sent and nothing is written."""
    try:
        left = left_in(folder)
        if left.state is None:
            return []
        made = _made(left, task, settings, Unwritten(), lambda _: None)
    except FfeError as error:
        return [str(error)]
    return [f"{c.venue}: {c.shown()}" for c in made if not c.is_flat()]


class Unwritten:
    """A look is no business of the journal's: the engine's process writes it."""

    def event(self, event: Event) -> None:
        pass

    def step(self, step: Step) -> Written:
        raise RuntimeError("a look sends nothing")


class Shared:
    """One journal for several threads."""

    def __init__(self, journal: Journal) -> None:
        self._journal, self._lock = journal, threading.Lock()

    def event(self, event: Event) -> None:
        with self._lock:
            self._journal.event(event)

    def step(self, step: Step) -> Written:
        with self._lock:
            return self._journal.step(step)


@contextmanager
def closers(folder: Path, task: Task, settings: Settings, say: Callable[[str], None]) -> Iterator[list[Closer]]:
    left = left_in(folder)
    if left.state is None:
        yield []
        return
    session = Session(f"closing {left.session} at {time.time_ns()}", 0)
    journal = _journal(folder, left, session, settings)
    try:
        yield _made(left, task, settings, Shared(journal), say)
    finally:
        if isinstance(journal, LiveJournal):
            journal.close()


def _made(left: Left, task: Task, settings: Settings, journal: Journal, say: Callable[[str], None]) -> list[Closer]:
    symbols = [str(id) for id in {*task.symbols, *left.held()}]
    reducer, session = Reducer(settings.gate), Session(f"closing {left.session} at {time.time_ns()}", 0)
    return [
        Closer(connector, left, reducer, journal, session, time.time_ns, say)
        for connector in connectors(settings, symbols, load_secrets(), task.armed)
        if connector.venue in left.universe().accounts
    ]


def _journal(folder: Path, left: Left, session: Session, settings: Settings) -> Journal:
    """The account's own; where it cannot be written, exits pass all the same."""
    try:
        stamp = Stamp(session.id, code_version(), settings.fingerprint(), "")
        return LiveJournal(folder, stamp, {"closes": left.session}, lambda: None)
    except (NotWritable, Tampered) as error:
        log.critical("%s", error)
        return Shouted()
