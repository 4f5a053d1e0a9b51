"""One line for each thing that a person must know of a session, when it happens and when it ends.

A pure machine: an event and the step it led to go in, lines come out; the engine is only read. What lasts (no stop, no
price, a venue that does not answer) is told after a while, again every half minute, and once when it is over.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from ffe.hours import stamp
from ffe.live.status import age, price_age, protection
from ffe.model import (
    SECOND,
    Answer,
    Cancelled,
    Cause,
    Change,
    Enter,
    Event,
    Exit,
    Failed,
    Fault,
    Fill,
    Filled,
    InstrumentId,
    Nanos,
    OrderId,
    Outcome,
    Protect,
    Rejected,
    Report,
    Step,
    StopUnfilled,
    Withheld,
)  # fmt: skip
from ffe.ports import Journal, Written
from ffe.risk.slots import Trade

if TYPE_CHECKING:
    from ffe.engine import Engine

log = logging.getLogger(__name__)

UNPROTECTED_AFTER: Nanos = 2 * SECOND
NO_PRICE_AFTER: Nanos = 30 * SECOND
SILENT_AFTER: Nanos = 10 * SECOND
AGAIN_EVERY: Nanos = 30 * SECOND
BY_US = frozenset(
    {
        "makes way for an exit",
        "makes way for a successor",
        "as asked",
        "COLLAR",
        "its trade has ended",
        "LINKED_TRADE_CLOSED",
    }
)
WORSE = frozenset({"open", "half_open", "halted", "reducing", "disabled", "unknown"})


class Line(NamedTuple):
    level: int
    text: str


def info(text: str) -> Line:
    return Line(logging.INFO, text)


def warn(text: str) -> Line:
    return Line(logging.WARNING, text)


class Lasting:
    """Conditions that last: each is told after a while, again and again, and once when it ends."""

    def __init__(self) -> None:
        self._since: dict[str, Nanos] = {}
        self._told: dict[str, Nanos] = {}

    def see(self, name: str, holds: bool, after: Nanos, now: Nanos, since: Nanos | None = None) -> Iterator[Line]:
        """name says what holds; since is when it began, where that is known better than by looking."""
        if not holds:
            began, told = self._since.pop(name, now), self._told.pop(name, None)
            if told is not None:
                yield info(f"{name}: over after {age(now - began)}")
            return
        began = self._since.setdefault(name, now if since is None else since)
        if now - began >= after and now >= self._told.get(name, now - AGAIN_EVERY) + AGAIN_EVERY:
            self._told[name] = now
            yield warn(f"{name} for {age(now - began)}")

    @property
    def names(self) -> list[str]:
        return list(self._since)


class Notices:
    """What is told of one session."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._names: dict[OrderId, str] = {}  # of orders that left, as a person knows them
        self._unknown: set[OrderId] = set()
        self._lasting = Lasting()

    def after(self, event: Event, step: Step) -> list[Line]:
        """The lines of one step."""
        lines = [*self._of_answer(event)] if isinstance(event, Answer) else []
        lines += [line for change in step.changes for line in _of_change(change)]
        lines += [_of_outcome(outcome) for outcome in step.outcomes]
        self._name(step)
        return [*lines, *self._of_time(event.time)]

    def _name(self, step: Step) -> None:
        for order in step.orders:
            if isinstance(order, Enter | Exit | Protect):
                kind = "entry" if isinstance(order, Enter) else "exit" if isinstance(order, Exit) else "stop"
                intent = order.approved.intent
                self._names[order.id] = f"{kind} of {intent.qty:g} {intent.instrument}"

    # ------------------------------------------------------------ what was answered

    def _of_answer(self, answer: Answer) -> Iterator[Line]:
        name = self._names.get(answer.order) if answer.order else None
        if answer.order in self._unknown and not isinstance(answer, Failed):
            yield from self._resolved(answer, name)
        match answer:
            case Failed(query=False, fault=fault, order=str() as order) if fault is not Fault.RATE_LIMITED and name:
                self._unknown.add(order)
                yield warn(f"{name}: no usable answer ({fault}); it may have arrived, and is asked about")
            case Rejected(locked_out=True, reason=reason):
                yield warn(f"{answer.venue} does not accept the key: {reason}")
            case Rejected(reason=reason) if name:
                yield warn(f"{name} refused: {reason}")
            case Withheld(reason=reason, again=again) if name:
                until = "" if again is None else f", again at {stamp(again)}"
                yield warn(f"{name} not sent: {reason}{until}")
            case Cancelled(reason=reason) if name and reason not in BY_US:
                yield warn(f"{name} was cancelled at the venue: {reason}")
            case StopUnfilled() if name:
                yield warn(f"{name} was triggered at the venue and does not fill: what it protects is closed")
            case Filled(fill=fill, order=None) if fill.cause is Cause.HAND:
                yield warn(f"{_of_fill(fill)}: no order of this session asked for it")
            case Filled(fill=fill):
                yield info(_of_fill(fill))

    def _resolved(self, answer: Answer, name: str | None) -> Iterator[Line]:
        """An unknown order is unknown no longer, unless the venue only says that it does not find it."""
        if isinstance(answer, Report) and answer.state == "not_found":
            return
        self._unknown.discard(answer.order or OrderId(""))
        state = answer.state if isinstance(answer, Report) else type(answer).__name__.lower()
        yield info(f"{name}: found, {state}")

    # ------------------------------------------------------------ what lasts

    def _of_time(self, now: Nanos) -> Iterator[Line]:
        see, engine = self._lasting.see, self.engine
        trades = {_unprotected(trade): trade for trade in engine.slots.trades()}
        ended = [name for name in self._lasting.names if name.endswith(NO_STOP) and name not in trades]
        for name, trade in trades.items():
            is_bare = protection(trade) not in ("rests", "flat") and not engine.slots.is_dust(trade)
            yield from see(name, is_bare, UNPROTECTED_AFTER, now)
        for name in ended:
            yield from see(name, False, UNPROTECTED_AFTER, now)
        for instrument in engine.universe:
            old = price_age(engine, instrument.id, now)
            is_late = engine.hours[instrument.id].is_open(now) and (old is None or old * SECOND > NO_PRICE_AFTER)
            since = None if old is None else now - int(old * SECOND)
            yield from see(f"{instrument.id}: no price", is_late, NO_PRICE_AFTER, now, since)
        for venue in engine.universe.accounts:
            began = engine.silent_since.get(venue)
            yield from see(f"{venue}: no answer", began is not None, SILENT_AFTER, now, began)
        yield from self._proven_gone()

    def _proven_gone(self) -> Iterator[Line]:
        """Orders that the engine has stopped asking about: the venue never had them."""
        flights = {flight.order for trade in self.engine.slots.trades() for flight in trade.flights}
        for order in sorted(self._unknown - flights):
            self._unknown.discard(order)
            yield info(f"{self._names[order]}: no longer expected, it is not at the venue")


class NoticingJournal:
    """A journal that also tells: the lines of a step follow it into the log."""

    def __init__(self, journal: Journal, notices: Notices) -> None:
        self._journal, self._notices = journal, notices
        self._event: Event | None = None

    def event(self, event: Event) -> None:
        self._event = event
        self._journal.event(event)

    def step(self, step: Step) -> Written:
        written = self._journal.step(step)
        if self._event is not None:
            for line in self._notices.after(self._event, step):
                log.log(line.level, "%s", line.text)
        return written


NO_STOP = "held without a stop that the venue has confirmed"


def _unprotected(trade: Trade) -> str:
    return f"{trade.instrument}: {NO_STOP}"


def _of_fill(fill: Fill) -> str:
    verb, symbol = "bought" if fill.qty > 0.0 else "sold", fill.instrument
    return f"{verb} {abs(fill.qty):g} {symbol} at {fill.price:g} ({fill.cause})"


def _of_outcome(outcome: Outcome) -> Line:
    symbol: InstrumentId = outcome.instrument
    return info(f"closed {outcome.qty:g} {symbol}: {outcome.cause}, {outcome.pnl:+.2f} after fees")


def _of_change(change: Change) -> Iterator[Line]:
    """Slots come and go with every trade, and are told by its fills."""
    if change.what.startswith("slot "):
        return
    why = f": {change.why}" if change.why else ""
    turn = f"{change.before} → {change.after}" if change.before else change.after
    text = f"{change.what} {turn}{why}"
    yield warn(text) if change.after in WORSE or change.what.startswith("latch") else info(text)
