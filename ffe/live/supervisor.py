"""The supervisor's process: it holds the lock, the latch and venue clients of its own, and starts the engine's.

It imports no strategy and nothing that is compiled. Its loop waits for nothing but its sockets: venues, disks and dying
engines are waited for on threads, so it answers within a fraction of a second whatever hangs. What is to be done is
decided in `oversight`; here it is carried out.
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from threading import Event
from typing import TypeVar

from ffe.config import Settings
from ffe.errors import FfeError
from ffe.live import closing
from ffe.live.accounts import Known, locked, permit_of, take_over
from ffe.live.actions import Action, Announce, Do, Leave, Look, OpenedTrade, Reply, Report, Request, Tell
from ffe.live.child import Child, Handed
from ffe.live.clients import Client, Clients
from ffe.live.closing import Place
from ffe.live.control import listening
from ffe.live.jobs import Jobs
from ffe.live.life import Life
from ffe.live.link import Json, Link, Said
from ffe.live.oversight import Oversight
from ffe.live.permit import Permit, Taken
from ffe.live.process import Reserve, keep_orphans, note
from ffe.live.recovery import left_in
from ffe.live.task import Task
from ffe.plain import plain

T = TypeVar("T")

log = logging.getLogger(__name__)

TICK_SECONDS = 0.05
VERIFIED_WITHIN_SECONDS = 10.0  # how long a regular end looks whether what stays open is protected


@dataclass(frozen=True, slots=True)
class Word:
    """The newest status of an engine, and when it came."""

    status: Said = field(default_factory=dict)
    at: float | None = None


class Supervisor:
    def __init__(
        self, handed: Handed, settings: Settings, accounts: Sequence[Known], say: Callable[[str], None]
    ) -> None:
        self._handed, task = handed, handed.task
        self.place, self._echo = Place(settings.data_folder, task), say
        self._accounts, self.permit = accounts, permit_of(settings.data_folder, accounts)
        self.oversight, self.jobs = Oversight(), Jobs()
        self.word = Word()
        self._engine: Child | None = None
        self._dying: Child | None = None  # the newest that was killed
        self._look = closing.Look(self.place)
        self._selector = selectors.DefaultSelector()
        self.clients = Clients(self._selector, self._answer)
        self._ends = Ends()
        self._reserve = Reserve()

    # ------------------------------------------------------------ the loop

    def run(self) -> int:
        """Until the session ends; the exit code."""
        folder, task = self.place.folder, self.place.task
        keep_orphans()
        with locked(folder, self._accounts):
            is_first = not (Task.is_kept(folder) or left_in(folder).head)
            if why := take_over(folder, self._accounts, is_first):
                self._announce(why)
            task.keep(folder)
            note(folder / "supervisor.pid", os.getpid())
            with self.permit.reserved(), listening(folder) as server, self._ends.on_signals():
                self._selector.register(server, selectors.EVENT_READ, partial(self._welcome, server))
                self._selector.register(self.jobs, selectors.EVENT_READ, self.jobs.hand_over)
                self.do(self.oversight.begin(time.monotonic()))
                self.jobs.start(partial(get_ready, self.place.settings), lambda _: None, log.critical)
                while self._ends.code is None:
                    self._turn()
                self.jobs.close()
                self.clients.close()
                self._reserve.release()
        return self._ends.code

    def _turn(self) -> None:
        for key, _ in self._selector.select(TICK_SECONDS):
            key.data()
        now = time.monotonic()
        self.clients.tick(now)
        if self._engine is not None:
            self._engine.link.flush()
        if self._engine is not None and (code := self._engine.ended()) is not None:
            self._hear()
            self._forget_engine()
            self.do(self.oversight.engine_ended(code, now))
        if self._ends.is_asked():
            self.do(self.oversight.end(now))
        self.do(self.oversight.tick(now))

    def do(self, actions: Iterable[Action]) -> None:
        for action in actions:
            self._do(action)

    def _do(self, action: Action) -> None:
        match action:
            case Reply(to=to, text=text, done=done):
                self.clients.reply(to, text, done)
            case Announce(text=text):
                self._announce(text)
            case Tell(act=act, by=by, instrument=instrument, number=number):
                if self._engine is not None:
                    self._engine.link.say(act=act, by=by, instrument=instrument, number=number)
            case Look(number=number):
                self._start(self._look, lambda left: self.oversight.looked(number, left, time.monotonic()))
            case Leave(code=code):
                self._ends.code = code
            case Do():
                self._do_now(action)

    def _do_now(self, what: Do) -> None:
        match what:
            case Do.START:
                self._start_engine()
            case Do.END if self._engine is not None:
                self._engine.link.say(end=True)
            case Do.KILL if self._engine is not None:
                self._engine.kill()
                self._dying = self._engine
                self._forget_engine()
            case Do.LATCH:
                self._reserve.release()
                self._ends.hurry()
                self._queue(self.permit.take_away, self._latched)
            case Do.GIVE_PERMIT:
                self._queue(partial(given, self.permit), self._permit_given)
            case Do.READ_TRADES:
                read = partial(_trades, self.place)
                self._start(read, lambda r: self.oversight.commands.trades_read(*r, time.monotonic()))
            case Do.CLOSE:
                self._work_on(what, partial(closing.close_all, self.place, self._progress), self._closed)
            case Do.SECURE:
                self._reserve.release()
                goes_on = self._ends.goes_on(None)
                work = partial(closing.secure, self.place, True, goes_on, self._progress)
                self._work_on(what, work, self.oversight.secured)
            case Do.VERIFY:
                goes_on = self._ends.goes_on(VERIFIED_WITHIN_SECONDS)
                work = partial(closing.secure, self.place, False, goes_on, self._progress)
                self._work_on(what, work, self.oversight.secured)

    # ------------------------------------------------------------ work on threads

    def _start(self, work: Callable[[], T], then: Callable[[T], Iterable[Action]]) -> None:
        self.jobs.start(work, lambda result: self.do(then(result)), self._announce)

    def _queue(self, change: Callable[[], T], then: Callable[[T], None]) -> None:
        """Change the permit."""
        self.jobs.queue(change, then, self._announce)

    def _latched(self, taken: Taken) -> None:
        self.do(self.oversight.latched(taken.why_not(), time.monotonic()))
        for why in taken.left if taken.is_kept else ():
            self._announce(f"The latch is kept, but not everywhere: {why}")

    def _permit_given(self, why_not: str) -> None:
        self.do(self.oversight.commands.permit_given(why_not, time.monotonic()))

    def _work_on(self, what: Do, work: Callable[[], Report], then: Callable[[Report, float], Iterable[Action]]) -> None:
        """Once a killed engine is dead: it wrote the journal, and may still be sending."""
        dying, self._dying = self._dying, None

        def whole() -> Report:
            if dying is not None:
                dying.wait()
            return work()

        def broke(why: str) -> None:
            self.do(self.oversight.broke(what, why, time.monotonic()))

        self.jobs.start(whole, lambda report: self.do(then(report, time.monotonic())), broke)

    def _closed(self, report: Report, now: float) -> Iterable[Action]:
        if report.is_good:
            self._set(trades=[])  # as the venues show
        return self.oversight.closed(report, now)

    def _progress(self, text: str) -> None:
        """From any thread."""
        self.jobs.post(lambda: self.do(self.oversight.progress(text)))

    # ------------------------------------------------------------ the engine's process

    def _start_engine(self) -> None:
        try:
            self._engine = Child(self._handed)
        except OSError as error:
            self.do(self.oversight.not_started(str(error), time.monotonic()))
            return
        note(self.place.folder / "engine.pid", self._engine.pid)
        self._selector.register(self._engine.link, selectors.EVENT_READ, self._hear)

    def _hear(self) -> None:
        engine = self._engine
        if engine is None:
            return
        for message in engine.messages():
            self.oversight.heard_at = time.monotonic()
            self._take_in(message, time.monotonic())
        if not engine.link.is_open:
            self._unregister(engine.link)

    def _take_in(self, message: Said, now: float) -> None:
        if isinstance(status := message.get("status"), dict):
            self.word = Word(status, now)
            self.do(self.oversight.engine_status(str(status.get("state")), str(status.get("why") or "")))
        if "life" in message:
            self._set(life=message["life"])
            log.info("%s", message["life"])
        if "farewell" in message:
            log.info("the engine's own word: %s", message["farewell"])
        if "failed" in message:
            self.do(self.oversight.engine_failed(str(message["failed"]), now))
        if isinstance(number := message.get("obeyed"), int):
            self.do(self.oversight.engine_answered(number, bool(message.get("is_known")), now))

    def _forget_engine(self) -> None:
        if self._engine is not None:
            self._unregister(self._engine.link)
            self._engine.link.close()
        self._engine = None
        self._set(life=Life.STOPPED)

    def _set(self, **known: Json) -> None:
        """What is known better here than by the engine's word, which is as old as it was."""
        self.word = replace(self.word, status={**self.word.status, **known})

    # ------------------------------------------------------------ requests

    def _welcome(self, server: socket.socket) -> None:
        self.clients.welcome(server, time.monotonic())

    def _answer(self, client: Client, message: Said) -> None:
        act, instrument = str(message.get("act")), message.get("instrument")
        if act == "status":
            client.link.say(**self.told())
            return
        number = self.oversight.commands.number()
        client.pending.add(number)
        is_ours = client.peer.descends_from(os.getpid())
        request = Request(number, act, client.peer.name(), str(instrument) if instrument else None, is_ours)
        self.do(self.oversight.requested(request, time.monotonic()))

    def _unregister(self, link: Link) -> None:
        with suppress(KeyError, ValueError):  # it is not registered, or its socket is closed already
            self._selector.unregister(link)

    def told(self) -> Said:
        """The status: the engine's newest word with its age, and what is known here."""
        now, stop = time.monotonic(), self.oversight.stop
        return {
            **self.word.status,
            **({} if self._engine else {"obstacles": ["no engine runs"]}),
            "is_latched": not self.permit.is_given,
            "engine": self._engine.pid if self._engine else None,
            "age_seconds": None if self.word.at is None else now - self.word.at,
            "is_closing": self.oversight.job is Do.CLOSE,
            "stop_seconds": now - stop.since if stop else None,
            "remainder": stop.seen.text() if stop and stop.seen else None,
        }

    def _announce(self, text: str) -> None:
        """On the terminal as well; one that is gone, or a file that is full, holds up nobody."""
        log.info("%s", text)
        with suppress(OSError):
            self._echo(plain(text))


class Ends:
    """When the process ends: code is None until it does. A signal asks for it; a further one, or an emergency stop,
    hurries what is still looked at."""

    def __init__(self) -> None:
        self.code: int | None = None
        self._is_asked = False
        self._hurried: Event | None = None  # of the look before an end that is under way

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        before = {number: signal.signal(number, self._ask) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _ask(self, *_: object) -> None:
        self._is_asked = True
        self.hurry()

    def is_asked(self) -> bool:
        """Whether a signal came since this was asked."""
        was, self._is_asked = self._is_asked, False
        return was

    def hurry(self) -> None:
        if self._hurried is not None:
            self._hurried.set()

    def goes_on(self, seconds: float | None) -> Callable[[], bool]:
        """Whether a look may go on: for so long, and not once it is hurried."""
        self._hurried = hurried = Event()
        deadline = time.monotonic() + seconds if seconds is not None else float("inf")
        return lambda: time.monotonic() < deadline and not hurried.is_set()


def get_ready(settings: Settings) -> None:
    """Load what closing needs before it is needed: it takes a second, and later the code on disk may be another."""
    if any(venue.source == "ccxt" for venue in settings.venues.values()):
        import ffe.brokers.ccxt_broker  # noqa: F401


def given(permit: Permit) -> str:
    """Why the permit could not be given; "" if it was."""
    try:
        permit.give()
    except OSError as error:
        return f"{error.filename}: {error.strerror}"
    except FfeError as error:  # a folder of it is open to others
        return str(error)
    return ""


def _trades(place: Place) -> tuple[tuple[OpenedTrade, ...] | None, str]:
    try:
        return closing.open_trades(place), ""
    except FfeError as error:
        return None, str(error)
