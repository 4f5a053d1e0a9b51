"""What a supervisor decides: requests, the engine's messages, what venues show and time go in, actions come out. Pure.

Emergency stop: the latch, then the engine. The supervisor takes over (the engine is killed, and what is ours is closed
from its side) as soon as the latch is not kept, the engine has not answered for a second, has been silent for three, or
what the venues show of ours has not become less for ten; a remainder that is unknown has not become less. "Done" is
said when the venues show flat, and never before.

Nothing is claimed that was not asked and answered since: a close is done when the trades that were open at the command
are closed, a re-arm tells what the engine says of entries afterwards, and a supervisor that ends says of each position
what its venue showed. Times are seconds of a clock that nobody can set.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from ffe.live.actions import Action, Announce, Do, Leave, Look, Remainder, Reply, Report, Request, decided
from ffe.live.commands import COMMANDS, Commands
from ffe.model import Act

LATCHED_WITHIN = 1.0
ACKNOWLEDGED_WITHIN = 1.0
SILENT_FOR = 3.0
SHRINKS_WITHIN = 10.0
LOOK_EVERY = 2.0
REPORT_EVERY = 5.0  # what stays as it is: a client takes a supervisor that says nothing for one that hangs
ENDS_WITHIN = 20.0
MENDED_WITHIN = 5.0  # before a closing that broke is tried again
RESTARTS, RESTARTS_WITHIN = 5, 3600.0
INFINITY = float("inf")

LOOSENING = frozenset({Act.RE_ARM, Act.RESUME, Act.ADOPT})  # what no strategy may ask for

LATCHED, FLAT = "latched: no entry leaves", "The venues show flat."
FIRST = "What is open is protected first, or closed."
KILLED = "the engine did not answer: it is killed, and closed from here"
SILENT = "the engine has fallen silent: it is killed, and closed from here"
NOT_LESS = f"what is left has not become less for {SHRINKS_WITHIN:g} s: the engine is killed, and closed from here"


# ---------------------------------------------------------------- requests that take time


@dataclass(slots=True)
class Stop:
    """An emergency stop under way; watchers wait for its end, unlatched for the latch."""

    since: float
    watchers: list[int] = field(default_factory=list)
    unlatched: list[int] = field(default_factory=list)
    latched_by: float | None = None  # when the latch must be kept; None once it is
    commands: dict[int, tuple[int, float]] = field(default_factory=dict)  # not answered yet: whose, and since when
    seen: Remainder | None = None  # the newest that was known whole
    least: Remainder | None = None
    shrunk_at: float = 0.0
    look: int | None = None  # the one under way
    looked_at: float = 0.0
    reported_at: float = 0.0

    def saw(self, remainder: Remainder, now: float) -> bool:
        """Take in what the venues show; whether a person should hear of it."""
        before, self.look = self.seen, None
        if self.least is not None and remainder.is_less_than(self.least):
            self.shrunk_at = now
        if not remainder.unknown:
            self.least = remainder if self.least is None else self.least.lowest(remainder)
        if before is None or not remainder.unknown:
            self.seen = remainder
        is_due = before is None or remainder.text() != before.text() or now >= self.reported_at + REPORT_EVERY
        self.reported_at = now if is_due else self.reported_at
        return is_due

    def why_take_over(self, now: float, heard_at: float) -> str:
        """Why the engine is not left to it any longer; "" while it is."""
        if any(now > since + ACKNOWLEDGED_WITHIN for _, since in self.commands.values()):
            return KILLED
        if now > max(self.since, heard_at) + SILENT_FOR:
            return SILENT
        return NOT_LESS if now > self.shrunk_at + SHRINKS_WITHIN else ""


@dataclass(slots=True)
class Ending:
    """The end of the session: code is the process's, watchers asked for it, report is of what stays open. One that is
    thorough looks until every position is protected or closed; any other as long as an end may take."""

    since: float
    code: int = 0
    is_thorough: bool = False
    watchers: list[int] = field(default_factory=list)
    report: Report | None = None


@dataclass(slots=True)
class Restarts:
    """How often an engine was started; one that falls again and again is left down."""

    starts: deque[float] = field(default_factory=lambda: deque(maxlen=RESTARTS))

    def may_start(self, now: float) -> bool:
        return len(self.starts) < RESTARTS or now - self.starts[0] >= RESTARTS_WITHIN


# ---------------------------------------------------------------- the decisions


class Oversight:
    def __init__(self) -> None:
        self.is_running = False  # an engine's process
        self.heard_at = 0.0
        self.restarts = Restarts()
        self.commands = Commands()
        self.was_ready = False  # an engine has told a status: what it began may be open
        self.stop: Stop | None = None
        self.ending: Ending | None = None
        self.job: Do | None = None  # CLOSE, SECURE or VERIFY, one at a time
        self._retry_at = 0.0
        self._start_at = INFINITY  # an engine for which there was no process yet

    # ------------------------------------------------------------ requests

    @decided
    def begin(self, now: float) -> Iterator[Action]:
        """Start an engine."""
        self.is_running, self.heard_at, self._start_at = True, now, INFINITY
        self.restarts.starts.append(now)
        yield Do.START

    @decided
    def requested(self, request: Request, now: float) -> Iterator[Action]:
        match request.act:
            case act if request.is_ours and act in LOOSENING:
                yield Announce(f"{act} was asked for by the session itself ({request.by}), and refused.")
                yield Reply(request.number, f"{act}: that is a person's to say, and not the session's.", False)
            case "end":
                yield Reply(request.number, "The session ends: what is open is protected first.")
                yield from self.end(now, request.number)
            case Act.EMERGENCY_STOP:
                yield from self._emergency(request, now)
            case Act.RE_ARM:
                yield from self._re_arm(request, now)
            case act if act in COMMANDS and self.is_running:
                yield from self.commands.command(request, now)
            case act:
                yield Reply(request.number, f"{act} is no command, or there is no engine to carry it out.", False)

    @decided
    def end(self, now: float, to: int | None = None) -> Iterator[Action]:
        """End the session; what is open stays, behind its stops."""
        if self.ending is None:
            self.ending = Ending(now)
            if self.is_running:
                yield Do.END
        self.ending.watchers += [to] if to is not None else []

    def _re_arm(self, request: Request, now: float) -> Iterator[Action]:
        if self.stop is not None or self.job is Do.CLOSE:
            left = self.stop.seen.text() if self.stop and self.stop.seen else ""
            text = "What is ours is being closed: re-arm when that is done."
            yield Reply(request.number, text + (f" Left: {left}." if left else ""), False)
        elif self.ending is not None:
            yield Reply(request.number, "The session ends: start another, and re-arm that.", False)
        else:
            if not self.is_running:
                yield from self.begin(now)
            yield from self.commands.command(request, now)

    # ------------------------------------------------------------ the engine

    @decided
    def engine_answered(self, number: int, is_known: bool, now: float) -> Iterator[Action]:
        """A command was carried out as far as one step goes; is_known: it meant something."""
        if self.stop is not None and number in self.stop.commands:
            to, _ = self.stop.commands.pop(number)
            yield Reply(to, "the engine closes what is ours")
        yield from self.commands.answered(number, is_known, now)

    @decided
    def engine_failed(self, why: str, now: float) -> Iterator[Action]:
        """It has ended itself, for a reason that a restart does not mend."""
        self.ending = self.ending or Ending(now)
        self.ending.code, self.ending.is_thorough = 1, self.was_ready
        yield Announce(why)

    @decided
    def engine_status(self, state: str, why: str) -> Iterator[Action]:
        self.was_ready = True
        yield from self.commands.engine_status(state, why)

    @decided
    def engine_ended(self, code: int, now: float) -> Iterator[Action]:
        """One that fell over is started anew: a start is a recovery. One that falls again and again is not, and what
        one was closing is closed from here."""
        yield from self._lose_engine()
        if self.stop is not None:
            yield from self.progress("the engine has ended: it is closed from here")
            yield from self._close()
        elif self.ending is not None or code == 0:
            self.ending = self.ending or Ending(now)
        else:
            yield Announce(f"The engine ended with {code}.")
            yield from self._start_anew(now, now)

    @decided
    def not_started(self, why: str, now: float) -> Iterator[Action]:
        """There was no process to be had: it is tried again, after a pause."""
        yield from self._lose_engine()
        yield Announce(f"The engine cannot be started: {why}.")
        if self.ending is None:
            yield from self._start_anew(now + MENDED_WITHIN, now)

    def _start_anew(self, at: float, now: float) -> Iterator[Action]:
        if not self.restarts.may_start(now):
            yield Announce(f"It fell {RESTARTS} times within an hour and is left down. {FIRST}")
            self.ending = Ending(now, 1, is_thorough=True)
        elif at > now:
            self._start_at = at
        else:
            yield from self.begin(now)

    def _lose_engine(self) -> Iterator[Action]:
        """What it was asked is answered in its place."""
        self.is_running = False
        yield from self.commands.lost()
        if self.stop is not None:
            self.stop.commands = {}

    def _kill(self) -> Iterator[Action]:
        yield Do.KILL
        yield from self._lose_engine()

    # ------------------------------------------------------------ the emergency stop

    def _emergency(self, request: Request, now: float) -> Iterator[Action]:
        """Latch; everything else comes once the latch is kept, or fails to be."""
        self._start_at = INFINITY
        self.stop = stop = self.stop or Stop(now, shrunk_at=now)
        stop.watchers.append(request.number)
        stop.unlatched.append(request.number)
        stop.latched_by = now + LATCHED_WITHIN
        yield from self.commands.drop_re_arms()
        yield Do.LATCH

    @decided
    def latched(self, why_not: str, now: float) -> Iterator[Action]:
        """The latch is kept; or, for that reason, it is not: then the engine goes, for what does not run sends
        nothing."""
        if (stop := self.stop) is None:
            return
        unlatched, stop.unlatched, stop.latched_by = stop.unlatched, [], None
        if why_not and self.is_running:
            yield Announce(f"The latch is not kept ({why_not}): the engine is killed.")
            yield from self._kill()
        text = f"no entry leaves, for no engine runs, but the latch is not kept: {why_not}" if why_not else LATCHED
        for to in unlatched:
            yield Reply(to, text)
        if not self.is_running:
            yield from self._close()
            return
        for to in unlatched:
            tell = self.commands.tell(Request(to, Act.EMERGENCY_STOP, "the supervisor"))
            stop.commands[tell.number] = to, now
            yield tell

    def _close(self) -> Iterator[Action]:
        if self.job is None:
            self.job = Do.CLOSE
            yield Do.CLOSE

    @decided
    def looked(self, number: int, remainder: Remainder, now: float) -> Iterator[Action]:
        """The engine closes; whether the venues show flat is seen from here."""
        stop = self.stop
        if stop is None or stop.look != number:
            return
        is_news = stop.saw(remainder, now)
        if self.job is not None:
            return  # it began before the engine was killed
        if remainder.is_flat and not stop.unlatched and not stop.commands:
            yield from self._stopped(Report(True, (FLAT,)), now)
        elif is_news and not remainder.is_flat:
            yield from self.progress(f"not flat yet: {remainder.text()}")

    @decided
    def closed(self, report: Report, now: float) -> Iterator[Action]:
        self.job = None
        if self.ending is not None:
            self.ending.report = report
        yield from self._stopped(report, now)

    def _stopped(self, report: Report, now: float) -> Iterator[Action]:
        """A stop that was asked for meanwhile, and is not latched yet, is another one."""
        yield from self.progress("\n".join(report.lines), report.is_good)
        if (stop := self.stop) is not None:
            later = stop.unlatched
            self.stop = Stop(now, [*later], later, stop.latched_by, shrunk_at=now) if later else None

    @decided
    def progress(self, text: str, done: bool | None = None) -> Iterator[Action]:
        """For the terminal, and for whoever waits for the end of a stop and knows that it is latched."""
        yield Announce(text)
        if self.stop is not None:
            yield from (Reply(to, text, done) for to in self.stop.watchers if to not in self.stop.unlatched)

    # ------------------------------------------------------------ an end

    @decided
    def secured(self, report: Report, now: float) -> Iterator[Action]:
        self.job = None
        self.ending = self.ending or Ending(now, 1)
        self.ending.report = report
        for line in report.lines:
            yield Announce(line)

    @decided
    def broke(self, what: Do, why: str, now: float) -> Iterator[Action]:
        """Work of ours that raised: it is told, and tried again."""
        self.job, self._retry_at = None, now + MENDED_WITHIN
        yield from self.progress(f"A fault of ours, on the way to {what.value}: {why}. It is tried again.")

    # ------------------------------------------------------------ time

    @decided
    def tick(self, now: float) -> Iterator[Action]:
        """What is due by time alone."""
        if self.stop is not None:
            yield from self._mind_the_stop(self.stop, now)
        yield from self.commands.tick(now)
        ending = self.ending
        if ending is None and now >= self._start_at:
            yield from self.begin(now)
        if ending is not None and self.is_running and now > ending.since + ENDS_WITHIN:
            yield Announce("The engine does not end: it is killed.")
            yield from self._kill()
        if ending is not None and not self.is_running and self.stop is None and self.job is None:
            yield from self._leave(ending, now)

    def _mind_the_stop(self, stop: Stop, now: float) -> Iterator[Action]:
        if stop.latched_by is not None and now > stop.latched_by:
            yield from self.latched("the disk does not answer", now)
        if self.is_running and (why := stop.why_take_over(now, self.heard_at)):
            yield from self._kill()
            yield from self.progress(why)
        if not self.is_running and stop.latched_by is None and now >= self._retry_at:
            yield from self._close()
        elif self.is_running and stop.look is None and now >= stop.looked_at + LOOK_EVERY:
            stop.look, stop.looked_at = self.commands.number(), now
            yield Look(stop.look)

    def _leave(self, ending: Ending, now: float) -> Iterator[Action]:
        """Look first: what is said of an end is what the venues have shown."""
        if ending.report is None and now >= self._retry_at:
            self.job = Do.SECURE if ending.is_thorough else Do.VERIFY
            yield self.job
        elif ending.report is not None:
            for to in ending.watchers:
                yield Reply(to, "\n".join(ending.report.lines), ending.report.is_good)
            yield Leave(ending.code)
