"""Requests that an engine has to carry out, and what may be said of each. Pure.

A pause, a resume, an adoption is done in one step, and answered with it. A close is done when the trades that were open
at the command are closed, as the journal says of fills that its venues have told. A re-arm is answered by what the
engine says of entries once its latches are cleared and the permit is given. Times are seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum

from ffe.live.actions import Action, Announce, Do, OpenedTrade, Reply, Request, Tell, decided
from ffe.model import Act

READ_EVERY = 1.0  # the journal's trades, while a close is followed
REPORT_EVERY = 5.0
CLOSED_WITHIN = 30.0  # how long a close is followed
ANSWERED_WITHIN = 60.0  # how long the engine's answer to a command is waited for
STATUS_WITHIN = 5.0  # after a re-arm, for the engine's word on entries
CLOSES = frozenset({Act.CLOSE_ALL, Act.CLOSE})
COMMANDS = CLOSES | {Act.PAUSE, Act.RESUME, Act.ADOPT}

LOST = "the engine ended before it was done"
UNANSWERED = "the engine has not answered: nothing is known of it"
NOT_CLEARED = "the engine has not answered: nothing is known to be cleared, and the permit is not given"
MAYBE_GIVEN = "every latch is cleared, and whether the permit is given is not known: the disk has not answered"
LOST_UNDER_WAY = f"{LOST}; whether the permit is given is not known"
CLEARED_ONLY = "every latch is cleared. Whether entries leave is not known: the engine has said nothing since"
GIVEN_UP = "Nothing is claimed: see `ffe status`; `ffe stop --force` closes without the engine."


@dataclass(slots=True)
class Close:
    """A request to close trades and go on. trades are those that were open at the command, None until they are read."""

    request: Request
    number: int
    since: float
    trades: tuple[OpenedTrade, ...] | None = None
    acknowledged_at: float | None = None
    reported_at: float = 0.0

    def saw(self, trades: Iterable[OpenedTrade]) -> list[OpenedTrade]:
        """Which of the trades that were open at the command still are; the first reading says which those were."""
        wanted = self.request.instrument
        found = [trade for trade in trades if wanted in (None, trade.instrument)]
        if self.trades is None:
            self.trades = tuple(found)
        known = {(trade.instrument, trade.opened) for trade in self.trades}
        return [trade for trade in found if (trade.instrument, trade.opened) in known]


class Stage(Enum):
    COMMANDED = "the engine was told"
    CLEARED = "the engine's latches are cleared, the permit is being given"
    GIVEN = "the permit is given, the engine's word on entries is awaited"


OVERDUE = {Stage.COMMANDED: NOT_CLEARED, Stage.CLEARED: MAYBE_GIVEN, Stage.GIVEN: CLEARED_ONLY}


@dataclass(slots=True)
class ReArm:
    request: Request
    since: float
    stage: Stage = Stage.COMMANDED


class Commands:
    def __init__(self) -> None:
        self.closes: list[Close] = []
        self.re_arms: dict[int, ReArm] = {}  # by the number of their command
        self.pending: dict[int, tuple[Request, float]] = {}
        self._numbers = 0
        self._read_at: float | None = None  # when the journal's reading that is under way began
        self._read_due = 0.0

    def number(self) -> int:
        self._numbers += 1
        return self._numbers

    def tell(self, request: Request) -> Tell:
        return Tell(request.act, request.by, request.instrument, self.number())

    @decided
    def command(self, request: Request, now: float) -> Iterator[Action]:
        tell = self.tell(request)
        yield tell
        if request.act in CLOSES:
            self.closes.append(Close(request, tell.number, now, reported_at=now))
            self._read_due = now
            yield from self._read(now)
        elif request.act == Act.RE_ARM:
            self.re_arms[tell.number] = ReArm(request, now)
        else:
            self.pending[tell.number] = request, now

    @decided
    def answered(self, number: int, is_known: bool, now: float) -> Iterator[Action]:
        """The engine has carried out what one step can, or did not understand."""
        if number in self.pending:
            request, _ = self.pending.pop(number)
            yield _reply(request, "done" if is_known else "not understood", is_known)
        for close in [close for close in self.closes if close.number == number]:
            close.acknowledged_at = now
            if not is_known:
                self.closes.remove(close)
                yield _reply(close.request, "not understood", False)
        if number in self.re_arms:
            re_arm = self.re_arms[number]
            re_arm.stage, re_arm.since = Stage.CLEARED, now
            if is_known:
                yield Do.GIVE_PERMIT
            else:
                del self.re_arms[number]
                yield _reply(re_arm.request, "not understood", False)

    @decided
    def lost(self) -> Iterator[Action]:
        """The engine is gone."""
        asked = [request for request, _ in self.pending.values()] + [close.request for close in self.closes]
        re_arms, self.pending, self.closes, self.re_arms = self.re_arms, {}, [], {}
        for request in asked:
            yield _reply(request, LOST, False)
        for re_arm in re_arms.values():
            yield _reply(re_arm.request, LOST if re_arm.stage is Stage.COMMANDED else LOST_UNDER_WAY, False)

    # ------------------------------------------------------------ re-arm

    @decided
    def drop_re_arms(self) -> Iterator[Action]:
        """One that is still under way would undo a stop that came after it."""
        dropped, self.re_arms = self.re_arms, {}
        for re_arm in dropped.values():
            yield _reply(re_arm.request, "an emergency stop came after it.", False)

    @decided
    def permit_given(self, why_not: str, now: float) -> Iterator[Action]:
        for number, re_arm in [*self.re_arms.items()]:
            if re_arm.stage is not Stage.CLEARED:
                continue
            re_arm.stage, re_arm.since = Stage.GIVEN, now
            if why_not:
                del self.re_arms[number]
                text = f"{why_not}. Entries stay stopped: mend that, and re-arm."
                yield Announce(text)
                yield _reply(re_arm.request, text, False)

    @decided
    def engine_status(self, state: str, why: str) -> Iterator[Action]:
        """What the engine says of entries, after the permit was given."""
        for number, re_arm in [*self.re_arms.items()]:
            if re_arm.stage is Stage.GIVEN:
                del self.re_arms[number]
                yield _reply(re_arm.request, _after_re_arm(state, why), state != "halted")

    # ------------------------------------------------------------ close

    @decided
    def trades_read(self, trades: tuple[OpenedTrade, ...] | None, why_not: str, now: float) -> Iterator[Action]:
        """What the journal says is open; None where it cannot be read."""
        began, self._read_at, self._read_due = self._read_at, None, now + READ_EVERY
        for close in [*self.closes]:
            if trades is None:
                self.closes.remove(close)
                yield _reply(close.request, f"whether it is done is not known: {why_not}", False)
            else:
                yield from self._follow(close, close.saw(trades), began, now)

    def _follow(self, close: Close, left: list[OpenedTrade], began: float | None, now: float) -> Iterator[Action]:
        is_after = close.acknowledged_at is not None and began is not None and began > close.acknowledged_at
        if is_after and not left:
            self.closes.remove(close)
            yield _reply(close.request, _closed(close), True)
        elif now >= close.reported_at + REPORT_EVERY or (is_after and close.reported_at == close.since):
            close.reported_at = now
            yield _reply(close.request, _still_open(close, left))

    def _read(self, now: float) -> Iterator[Action]:
        if self._read_at is None and now >= self._read_due:
            self._read_at = now
            yield Do.READ_TRADES

    # ------------------------------------------------------------ time

    @decided
    def tick(self, now: float) -> Iterator[Action]:
        for number, (request, since) in [*self.pending.items()]:
            if now > since + ANSWERED_WITHIN:
                del self.pending[number]
                yield _reply(request, UNANSWERED, False)
        for number, re_arm in [*self.re_arms.items()]:
            is_given = re_arm.stage is Stage.GIVEN
            if now > re_arm.since + (STATUS_WITHIN if is_given else ANSWERED_WITHIN):
                del self.re_arms[number]
                yield _reply(re_arm.request, OVERDUE[re_arm.stage], is_given)
        for close in [*self.closes]:
            if now > close.since + CLOSED_WITHIN:
                self.closes.remove(close)
                what = "it is not closed" if close.acknowledged_at is not None else "the engine has not answered"
                yield _reply(close.request, f"{what}, {CLOSED_WITHIN:g} s after the command. {GIVEN_UP}", False)
        if self.closes:
            yield from self._read(now)


def _reply(request: Request, text: str, done: bool | None = None) -> Reply:
    return Reply(request.number, f"{request.act}: {text}", done)


def _after_re_arm(state: str, why: str) -> str:
    match state:
        case "active":
            return "every latch is cleared, and the engine takes entries"
        case "halted":
            return f"the engine is halted again: {why}"
    return f"every latch is cleared. No entry leaves yet: {state}, {why}"


def _closed(close: Close) -> str:
    names = ", ".join(trade.instrument for trade in close.trades or ())
    return f"closed: {names}" if names else "nothing of ours was open"


def _still_open(close: Close, left: list[OpenedTrade]) -> str:
    if close.acknowledged_at is None:
        return "the engine has not answered yet; nothing is known to be closed"
    return "closing: " + ", ".join(f"{trade.instrument} {trade.qty:g}" for trade in left)
