"""The loop, the only one. `Engine.step(event) -> Step` is a pure state machine: no I/O, no clock; time is event.time.

Learn from the event, hear the strategy, want (risk off first), judge one after the other. What is decided comes out as
values. Nothing here can tell whether the world outside is simulated.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol

from ffe.book import ADOPTED, REMEMBERED, Book, Booked, BookState, against, day_of
from ffe.history import History
from ffe.hours import Hours
from ffe.kernels import fills
from ffe.memory import Memory
from ffe.model import (
    DAY,
    SECOND,
    Accepted,
    AccountRead,
    Act,
    Answer,
    Approved,
    Bars,
    Cancel,
    Cancelled,
    CashFlow,
    Cause,
    Change,
    Command,
    Decision,
    DecisionId,
    Disposition,
    Enter,
    Event,
    Exit,
    Failed,
    Fault,
    Fill,
    Filled,
    Flow,
    Found,
    Heard,
    Heartbeat,
    Holding,
    InstrumentId,
    Intent,
    Judgement,
    Layer,
    Money,
    Nanos,
    Order,
    OrderId,
    Outcome,
    Price,
    Protect,
    Purpose,
    Query,
    Quotes,
    Refused,
    Rejected,
    Report,
    Role,
    Side,
    Signal,
    Status,
    Step,
    TailRisk,
    Ticket,
    Universe,
    Venue,
    Withheld,
)  # fmt: skip
from ffe.ports import Journal, Written
from ffe.risk.breaker import Breaker, BreakerState, Call, CallKind
from ffe.risk.controls import Control, Controls, ControlState, Denial, Entry
from ffe.risk.facts import Facts
from ffe.risk.gatekeeper import Gatekeeper
from ffe.risk.guard import Guard, GuardState, TradingState
from ffe.risk.limits import Rules
from ffe.risk.queue import Ended, Queue, Waiting
from ffe.risk.slots import UNPROTECTED, Slots, SlotsState, Trade, Want, WantExit, WantProtect
from ffe.rounding import to_tick
from ffe.session import Session
from ffe.sizing import NO_ROOM, NotTradable, collar_ratio, size_entry, stop_of
from ffe.strategy import Hears, View

PROVE_EVERY: Nanos = 3 * SECOND  # between two reads of an account that is in doubt
DAILY_LIMITS, ORDER_RATE, PROTECTION = "daily limits", "order rate", "protection"  # latches of three controls
NOTHING: frozenset[InstrumentId] = frozenset()


class Brokers(Protocol):
    """All venues as the loop sees them."""

    def send(self, order: Order, time: Nanos) -> None: ...

    def withhold(self, order: Order, time: Nanos) -> None:
        """Answer, in the venue's place, that an order never left."""

    def distrust(self, time: Nanos) -> None:
        """Say, once, that what is on disk can no longer be trusted."""


def run(events: Iterable[Event], engine: Engine, brokers: Brokers, journal: Journal) -> Book:
    """Drive the engine over one ordered stream of events until it ends."""
    for event in events:
        journal.event(event)  # before it can change anything
        step = engine.step(event)
        written = journal.step(step)  # decisions durable before anything leaves
        if written is Written.BROKEN:
            brokers.distrust(event.time)
        for order in step.orders:
            if written is Written.YES or not isinstance(order, Enter):
                brokers.send(order, event.time)
            else:
                brokers.withhold(order, event.time)
    return engine.book


@dataclass(frozen=True, slots=True)
class EngineState:
    """All that an engine must not forget when its process ends; waiting are what waited, each with its decision."""

    day: int | None
    book: BookState
    slots: SlotsState
    guard: GuardState
    controls: ControlState
    memory: tuple[tuple[str, int, int, Money, Money], ...]
    waiting: tuple[tuple[Signal, DecisionId], ...]


@dataclass(slots=True)
class Draft:
    """What the step under way has come to so far."""

    decisions: list[Decision] = field(default_factory=list)
    orders: list[Order] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.decisions or self.orders or self.outcomes or self.changes)

    def finish(self, equity: float) -> Step:
        return Step(equity, tuple(self.decisions), tuple(self.orders), tuple(self.outcomes), tuple(self.changes))


@dataclass(frozen=True, slots=True)
class Judged:
    """An entry after its review: who asked, what was sized, what the gate said, what is recorded beside it."""

    signal: Signal
    follows: DecisionId | None = None
    intent: Intent | None = None
    judgement: Judgement | None = None
    tail: TailRisk | None = None
    first: Price = math.nan  # the mid at which the signal was first decided

    @property
    def instrument(self) -> InstrumentId:
        return self.signal.instrument


@dataclass(frozen=True, slots=True)
class Waived:
    """An exit with its key; signal is None where no strategy asked for it."""

    instrument: InstrumentId
    signal: Signal | None
    intent: Intent
    judgement: Judgement
    tail: None = None
    follows: None = None


class Engine:
    def __init__(
        self, universe: Universe, hours: Mapping[InstrumentId, Hours], strategy: Hears, rules: Rules, session: Session,
        keep: int = 0,
    ) -> None:  # fmt: skip
        self.universe, self.hours, self.strategy, self.rules, self.session = universe, hours, strategy, rules, session
        self.book = Book(universe, rules.gate.drawdown_window_days)
        self.history = History(universe, keep, session.interval)
        self.slots = Slots(self.book, rules.slots, rules.watch)
        self.queue = Queue(rules.slots)
        self.guard = Guard(rules.watch)
        self.memory = Memory(rules.memory)
        self.gatekeeper = Gatekeeper(rules.gate)
        self.controls = Controls(self.book, rules.controls, rules.watch)
        self.facts = Facts(self.book, self.history, self.slots, self.queue, hours, rules.gate)
        self.breakers = {venue: Breaker(rules.breaker, f"{session.id}:{venue}") for venue in universe.accounts}
        self.day: int | None = None
        self._sequence = self._orders_made = 0
        self._calls: dict[tuple[str, OrderId | Venue], Call] = {}
        self.silent_since: dict[Venue, Nanos] = {}  # venues whose last call failed
        self._closed_until: dict[Venue, Nanos] = {}  # when a venue that wants no questions may be asked again
        self._ended: list[Ended] = []
        self._adopting: set[Venue] = set()  # venues whose next word of their account is taken over
        self._proved_at: dict[Venue, Nanos] = {}  # when each was last asked for its account
        self._is_troubled = False  # some breaker is not closed, some venue fell silent or disagrees
        self._knows_equity: bool | None = None  # None before there was any
        self._draft, self._quiet = Draft(), Step(math.nan)

    # ------------------------------------------------------------ the step

    def step(self, event: Event) -> Step:
        self.learn(event)
        signals = self.hear(event)
        for want in self.wants(event, signals):  # judged one after the other: each sees what the earlier ones reserved
            self.decide(want, event)
        self.complete_day(event)
        return self._finish()

    def _finish(self) -> Step:
        """What the event came to; most come to nothing, and say so with the same value as the one before."""
        if self._draft:
            draft, self._draft = self._draft, Draft()
            return draft.finish(self.book.equity)
        if self.book.equity != self._quiet.equity:
            self._quiet = Step(self.book.equity)
        return self._quiet

    def prime(self, event: Bars | Quotes) -> None:
        """Take in what came before the run: history, marks and the strategy's own past, without orders."""
        self._begin_day(event.time)
        self.book.observe(event)
        if isinstance(event, Bars):
            self.history.observe(event, self.book.rate)
        self.hear(event)
        self.complete_day(event)

    # ------------------------------------------------------------ from one process to the next

    def save(self) -> EngineState:
        waiting = tuple((item.signal, item.decision) for item in self.queue.items)
        return EngineState(
            self.day, self.book.save(), self.slots.save(), self.guard.save(), self.controls.save(),
            self.memory.save(), waiting,
        )  # fmt: skip

    def restore(self, state: EngineState, sent: Iterable[Ticket] = ()) -> None:
        """Go on, primed, from where an earlier process ended: what it took for granted is asked anew, what waited has
        ended. sent are orders that left after it."""
        self.day = state.day
        self.book.restore(state.book)
        self.slots.restore(state.slots)
        for ticket in sent:
            self.slots.adopt(ticket)
        self.guard.restore(state.guard, self.universe.accounts)
        self.controls.restore(state.controls)
        self.memory.restore(state.memory)
        self._ended += [Ended(Waiting(Disposition.QUEUED, s, 0, math.nan, id), "a restart") for s, id in state.waiting]
        self._is_troubled = True

    def doubt(self) -> None:
        """Nothing is entered before every venue has said what its account holds."""
        self.guard.disagreements = dict.fromkeys(self.universe.accounts, 0)
        self._is_troubled = True

    # ------------------------------------------------------------ quiet stretches

    def is_calm(self) -> bool:
        """Whether only a price, a signal or a time could change anything: every trade rests behind its protection."""
        if self._ended or self._is_troubled or self.queue or self._draft or not self.guard.is_settled:
            return False
        if self.rules.controls.max_day_loss is not None and (self.slots.count or self.controls.overdrawn()):
            return False  # every close may be the one at which the day has lost too much
        return all(trade.is_calm and not trade.beyond for trade in self.slots.trades())

    def day_so_far(self) -> tuple[float, ...]:
        """What the day is judged by, in the order of `ffe.kernels.quiet`."""
        book, watch = self.book, self.rules.watch
        return (
            book.ours_realised, book.day_base, self.guard.day_equity, book.unit.units, book.unit.day_start,
            watch.day_loss_ratio, watch.day_gain_ratio,
        )  # fmt: skip

    def sleep(self, bars: Bars, highest: Money) -> None:
        """Take over the newest of bars at which nothing happened, and the highest equity on the way."""
        self.book.see(bars)
        self.history.observe(bars, self.book.rate)
        if self.book.moves:
            self.book.unit.observe(highest)
            self.book.revalue()

    # ------------------------------------------------------------ the four parts of a step

    def learn(self, event: Event) -> None:
        """A heartbeat brings nothing but its time: what is due by it is wanted, and if nothing is, nothing changes."""
        if isinstance(event, Heartbeat):
            return
        self._begin_day(event.time)
        match event:
            case Bars() | Quotes():
                self.book.observe(event)
                if isinstance(event, Bars):
                    self.history.observe(event, self.book.rate)
                self._judge_day(event)
            case Answer():
                self._learn_answer(event)
            case Command():
                self._obey(event)
        if math.isfinite(self.book.equity) is not self._knows_equity:
            self._tell_equity(math.isfinite(self.book.equity))

    def _tell_equity(self, is_known: bool) -> None:
        """While equity is not known every entry refuses, and a person should hear of it."""
        if self._knows_equity is not None:
            before, after = ("unknown", "known") if is_known else ("known", "unknown")
            self._draft.changes.append(Change("equity", before, after))
        if is_known or self._knows_equity:
            self._knows_equity = is_known

    def hear(self, event: Event) -> tuple[Signal, ...]:
        if isinstance(event, Heartbeat):
            return ()
        heard = self.strategy.on_event(View(event, self.history, self.book, self.is_busy))
        if heard and self.rules.memory.calibrate:
            return tuple(replace(s, confidence=self.memory.confidence(s.provider, s.confidence)) for s in heard)
        return tuple(heard)

    def wants(self, event: Event, signals: tuple[Signal, ...]) -> Iterator[Want | Signal | Waiting | Ended]:
        """Risk off first: closings and protection, then signals' exits, then what waits, then what is new.

        What the operator and the portfolio stop want closed stands marked on the slots already.
        """
        is_clock = isinstance(event, Bars | Quotes | Heartbeat)
        if not (signals or self._ended or self._is_troubled or self.queue or self.slots.count):
            return
        if signals and self.queue:
            self._ended += self.queue.overruled(signals)
        if is_clock and self.queue:
            self._ended += self.queue.outlived(event.time, {i.id: self.book.mark(i.id) for i in self.universe})
        yield from self._take_ended()
        if is_clock and self._is_troubled:
            yield from self._proving_queries(event.time)
        yield from self.slots.due(event)
        for signal in signals:
            self._close_opposite(signal, event.time)
        if self.queue:
            yield from self._released(event)
        yield from (signal for signal in signals if signal.side is not Side.FLAT)

    def decide(self, want: Want | Signal | Waiting | Ended, event: Event) -> None:
        now = event.time
        match want:
            case WantExit():
                self._exit(want.instrument, want.reason, None, now)
            case WantProtect():
                self._protect(want, now)
            case Cancel() | Query():
                self._leave(want, now)
            case Ended(waiting=waiting, why=why):
                self._record(now, Disposition.DROPPED, why, Judged(waiting.signal, waiting.decision))
            case Waiting():
                self._release(want, event)
            case Signal():
                self._enter(want, now)

    def is_busy(self, instrument: InstrumentId) -> bool:
        return self.slots.trade(instrument) is not None or self.queue.of(instrument) is not None

    def awaited(self) -> Set[InstrumentId]:
        """Instruments on whose next open something waits."""
        return {item.instrument for item in self.queue.items} if self.queue else NOTHING

    # ------------------------------------------------------------ days

    def _begin_day(self, now: Nanos) -> None:
        """The first event ever, or one after a gap without a midnight of its own."""
        if self.day is None or day_of(now) > self.day:
            self._roll(day_of(now))

    def complete_day(self, event: Event) -> None:
        """A day rolls after the Bars of 00:00, before the commands and opens of 00:00."""
        if isinstance(event, Bars) and event.time % DAY == 0:
            self._roll(event.time // DAY)

    def _roll(self, day: int) -> None:
        self.day = day
        self.book.forget(min([day * DAY, *(trade.opened for trade in self.slots.trades())]) - REMEMBERED)
        self.book.roll(day)
        self.controls.roll()
        self._turn(partial(self.guard.roll, self.book), "a new UTC day")
        self.history.closes.complete(day)

    def _judge_day(self, market: Bars | Quotes) -> None:
        hit = self.guard.judge(market, self.book)
        if hit is not None and hit.ours:
            self._halt("portfolio stop", hit.why, self.slots.close, market.time)
        elif hit is not None and not (self.guard.latches or self.guard.reducing_why):
            self._turn(partial(self.guard.reduce, hit.why), hit.why)
        if isinstance(market, Bars) and (why := self.controls.overdrawn()):
            self._latch(self.guard.brake, DAILY_LIMITS, why, market.time)

    # ------------------------------------------------------------ halts and commands

    def _halt(self, latch: str, why: str, act: Callable[[str], None], now: Nanos) -> None:
        """Latch and act: close all that is ours, or only cancel its entries. Nothing waits any longer."""
        if self._latch(self.guard.latch, latch, why, now):
            act(latch)
            self._ended += self.queue.clear(latch)

    def _latch(self, set_latch: Callable[[str, str, Nanos], bool], latch: str, why: str, now: Nanos) -> bool:
        """Set a latch, and say so; whether it is new."""
        before = self.guard.state
        is_new = set_latch(latch, why, now)
        if is_new:
            self._draft.changes.append(Change(f"latch {latch}", before, self.guard.state, why))
        return is_new

    def _obey(self, command: Command) -> None:
        by = f"{command.act} by {command.by}"
        match command.act:
            case Act.EMERGENCY_STOP:
                self._halt("emergency stop", by, self.slots.close, command.time)
            case Act.ADOPT:
                self._adopting |= self.guard.disagreements.keys()
                self._draft.changes.append(Change(command.act, "", ", ".join(sorted(self._adopting)) or "none", by))
            case Act.RE_ARM:
                self._enable(by)
                self._turn(self.guard.re_arm, by)
            case Act.PAUSE:
                self._turn(self.guard.pause, by)
            case Act.RESUME:
                self._turn(self.guard.resume, by)
            case Act.CLOSE_ALL:
                self._close(command.act, by, None)
            case Act.CLOSE if command.instrument is not None:
                self._close(command.act, by, command.instrument)

    def _close(self, act: Act, by: str, instrument: InstrumentId | None) -> None:
        self.slots.close(by, instrument)
        self._ended += self.queue.clear(by, instrument)  # or it would take the slot that comes free
        self._draft.changes.append(Change(act, "", instrument or "all", by))

    def _disable(self, strategy: str, why: str, now: Nanos) -> None:
        if self.guard.disable(strategy, why, now):
            self._draft.changes.append(Change(f"strategy {strategy}", "enabled", "disabled", why))

    def _enable(self, by: str) -> None:
        """A re-arm gives strategies their voice again, and breaches of the rate count anew."""
        self.controls.re_arm()
        for strategy in self.guard.disabled:
            self._draft.changes.append(Change(f"strategy {strategy}", "disabled", "enabled", by))

    def _turn(self, act: Callable[[], None], why: str) -> None:
        """Let the guard change its mind, and say so if its state became another."""
        before = self.guard.state
        act()
        if self.guard.state is not before:
            self._draft.changes.append(Change("trading", before, self.guard.state, why))

    # ------------------------------------------------------------ answers

    def _learn_answer(self, answer: Answer) -> None:
        booked = self.book.apply(answer)
        if isinstance(answer, Filled) and booked:
            self._doubt_fill(answer, booked)
        self.slots.apply(answer, booked)
        self._feed_breaker(answer)
        match answer:
            case Rejected(locked_out=True):
                self._halt("credentials", answer.reason, self.slots.cancel_entries, answer.time)
            case Withheld(broken=True):
                self._halt("disk", answer.reason, self.slots.cancel_entries, answer.time)
            case Withheld(excess=True):
                self._halt("approvals", answer.reason, self.slots.cancel_entries, answer.time)
            case Heard():
                self._hear_again(answer.venue)
            case AccountRead():
                self._hear_again(answer.venue)
                self._reconcile(answer)
            case Failed(fault=Fault.RATE_LIMITED, query=True, again=again) if again is not None:
                self._leave_alone(answer.venue, again, answer.time)
            case CashFlow(flow=Flow.FINANCING, instrument=instrument) if instrument is not None:
                self.slots.carry(instrument, self.book.last_carry)
        for slot, why in self.slots.take_freed():
            self._draft.changes.append(Change(f"slot {slot}", "held", "free", why))
        for outcome in self.slots.take_outcomes():
            self._draft.outcomes.append(outcome)
            self.memory.learn(outcome)
            if outcome.cause == UNPROTECTED:  # the next would be bought and sold again for the costs alone
                why = f"no stop could be placed for {outcome.instrument}"
                self._latch(self.guard.brake, PROTECTION, why, answer.time)

    def _doubt_fill(self, answer: Filled, booked: tuple[Booked, ...]) -> None:
        """What we did not ask for is booked as it is, and a disagreement until the account is read."""
        id, has_slot = answer.fill.instrument, self.slots.trade(answer.fill.instrument) is not None
        adds = self.book.ours(id).qty * answer.fill.qty > 0.0
        if answer.order is None:
            is_stray = answer.ours is True and adds and not has_slot
        else:
            is_stray = not self.slots.knows(answer.order)
        if is_stray:  # it came after its order was proven gone: a position without a slot and a stop
            why = f"{answer.order or answer.fill.trade} filled after its trade had ended"
            self._halt("reconciliation", why, self.slots.cancel_entries, answer.time)
        elif answer.order is None and not _is_venues_own(answer):
            self._disagree(answer.venue, f"a fill of {id} that no order of ours asked for")
        elif self.slots.is_more_than_sent(answer.order, booked):
            self._disagree(answer.venue, f"{answer.order} filled by more than was sent")

    def _disagree(self, venue: Venue, why: str) -> None:
        self._turn(partial(self.guard.disagree, venue), why)
        self._is_troubled = True  # asked until it agrees, or three times in a row it does not

    def _reconcile(self, read: AccountRead) -> None:
        """A difference that no order under way explains stops entries at once; the third in a row latches."""
        flights = [f for t in self.slots.trades() for f in t.flights if self.universe[t.instrument].venue == read.venue]
        if any(f.unknown and not f.not_found for f in flights):  # beyond the horizon it explains nothing any more
            return None
        if read.venue in self._adopting:
            self._adopt(read)
        breaks = self.book.breaks(read)
        if not breaks:
            return self._turn(partial(self.guard.agree, read.venue), f"{read.venue} agrees with the book")
        self._disagree(read.venue, "; ".join(breaks))
        if self.guard.disagreements[read.venue] >= 3:
            self._halt("reconciliation", "; ".join(breaks), self.slots.cancel_entries, read.time)
        return None

    def _adopt(self, read: AccountRead) -> None:
        """Take over what the venue says, at today's price: what it holds less went by hand, the others' first, and what
        it holds more was never ours. Each is an answer like any other, so that money stays accounted for."""
        self._adopting.discard(read.venue)
        self._draft.changes.append(Change("adopted", "", read.venue, "; ".join(self.book.breaks(read))))
        for id, qty in self.book.differences(read).items():
            ours, price = self.book.ours(id).qty, self.book.mark(id)
            theirs = against(qty, self.book.held(id) - ours)
            by_hand = against(qty - theirs, ours)
            if found := qty - by_hand:
                self._learn_answer(Found(read.time, read.venue, None, Holding(id, found, price)))
            if by_hand:
                fill = Fill(f"{ADOPTED}{id}-{read.time}", id, by_hand, price, 0.0, self.universe[id].quote, Cause.HAND)
                self._learn_answer(Filled(read.time, read.venue, None, fill, True, True))
        for currency, amount in read.cash:
            if gained := amount - self.book.cash(read.venue, currency):
                self._learn_answer(CashFlow(read.time, read.venue, None, Flow.DEPOSIT, gained, currency))

    def _leave_alone(self, venue: Venue, until: Nanos, now: Nanos) -> None:
        """A venue wants no questions: for long, or once more when it may be asked, and nothing is entered anywhere
        until it answers. It is no latch: it ends with what began it."""
        is_again, self._closed_until[venue] = now >= self._closed_until.get(venue, until), until
        self._is_troubled = True
        if is_again or until - now > self.rules.breaker.patience_seconds * SECOND:
            self._turn(partial(self.guard.close_off, venue), f"{venue} refuses to be asked")

    def _hear_again(self, venue: Venue) -> None:
        if self._closed_until.pop(venue, None) is not None:
            self._turn(partial(self.guard.hear, venue), f"{venue} answers again")

    def _feed_breaker(self, answer: Answer) -> None:
        """Every call to the venue feeds its breaker; what is no answer to a call tells it nothing."""
        breaker, before = self.breakers[answer.venue], self.breakers[answer.venue].state(answer.time)
        if isinstance(answer, Cancelled) and answer.venue_fault and answer.order is not None:
            self._calls.setdefault(("order", answer.order), Call(0, CallKind.ORDER, answer.time, breaker.openings))
        if isinstance(answer, Accepted) and self.slots.role(answer.order) in (Role.ENTRY, Role.EXIT):
            self.silent_since.pop(answer.venue, None)
            return  # the venue may still kill it: the call is worth what becomes of the order
        call = self._calls.pop(self._call_key(answer), None) or self._edges_call(answer)
        if isinstance(answer, Cancelled) and answer.order and (gone := self._calls.pop(("order", answer.order), None)):
            breaker.cancel(gone)  # it was taken back: its own call has told nothing
        if call is None:
            return
        if isinstance(answer, Withheld) or (isinstance(answer, Failed) and answer.fault is Fault.RATE_LIMITED):
            breaker.cancel(call)
        elif isinstance(answer, Failed) or (isinstance(answer, Cancelled) and answer.venue_fault):
            breaker.fail(call, answer.time)
            if isinstance(answer, Failed):  # one that kills an order has spoken
                self.silent_since.setdefault(answer.venue, answer.time)
                self._is_troubled = True
        else:
            breaker.succeed(call, answer.time)
            self.silent_since.pop(answer.venue, None)
        after = breaker.state(answer.time)
        if after is not before:
            self._is_troubled = True
            self._draft.changes.append(Change(f"breaker {answer.venue}", before, after, type(answer).__name__.lower()))

    def _edges_call(self, answer: Answer) -> Call | None:
        """The edge asks by itself what has happened and what is quoted, and tells what came of it only if that
        matters."""
        if isinstance(answer, Heard | AccountRead) or (
            isinstance(answer, Failed) and answer.query and not answer.order
        ):
            return self.breakers[answer.venue].call(CallKind.QUERY, answer.time)
        return None

    def _call_key(self, answer: Answer) -> tuple[str, OrderId | Venue]:
        """Which call an answer belongs to: a query's, or the sending of an order, or of its cancellation."""
        about = answer.order or answer.venue
        is_told = isinstance(answer, Report | AccountRead) or (isinstance(answer, Failed) and answer.query)
        if is_told and (("query", about) in self._calls or ("cancel", about) not in self._calls):
            return "query", about
        if isinstance(answer, Cancelled | Failed | Report) and ("cancel", about) in self._calls:
            return "cancel", about
        return "order", about

    def is_proven(self, now: Nanos) -> bool:
        """Whether every venue spoke lately enough for its last proven positions to stand for the truth."""
        limit = self.rules.gate.unreachable_seconds * SECOND
        return all(now - since <= limit for since in self.silent_since.values())

    def _proving_queries(self, now: Nanos) -> list[Query]:
        """A half-open breaker asks before it lets an entry try; a venue that fell silent is asked until it speaks."""
        is_closed = all(breaker.state(now) is BreakerState.CLOSED for breaker in self.breakers.values())
        suspects = {*self.silent_since, *self.guard.disagreements, *self._closed_until}
        self._is_troubled = bool(suspects) or not is_closed
        doubted = [v for v, breaker in self.breakers.items() if breaker.needs_query(now) or v in suspects]
        asked = {v for v in self.breakers if ("query", v) in self._calls or now < self._closed_until.get(v, now)}
        due = [v for v in doubted if v not in asked and now >= self._proved_at.get(v, now - PROVE_EVERY) + PROVE_EVERY]
        self._proved_at |= dict.fromkeys(due, now)
        return [Query(venue, None) for venue in due]

    # ------------------------------------------------------------ exits and protection

    def _take_ended(self) -> list[Ended]:
        ended, self._ended = self._ended, []
        return ended

    def _close_opposite(self, signal: Signal, now: Nanos) -> None:
        """Close what an opposite signal ends: an open trade leaves now, an entry under way is cancelled."""
        trade = self.slots.trade(signal.instrument)
        if trade is None or trade.side is signal.side or trade.closing:
            if signal.side is Side.FLAT:
                self._record(now, Disposition.HOLD, "nothing to close", Judged(signal))
            return
        self.slots.close("signal", signal.instrument)
        for cancel in self.slots.take_cancels():
            self._leave(cancel, now)
        if trade.qty and not trade.flight(Role.EXIT) and not self.slots.is_dust(trade):
            self._exit(signal.instrument, "signal", signal, now)
        elif signal.side is Side.FLAT:
            self._record(now, Disposition.HOLD, "nothing is open: the entry under way is taken back", Judged(signal))

    def _exit(self, id: InstrumentId, reason: str, signal: Signal | None, now: Nanos) -> None:
        trade, held = self.slots.trade(id), self.book.ours(id).qty
        intent = Intent(
            Purpose.EXIT,
            id,
            Side.SHORT if held > 0.0 else Side.LONG,
            abs(held),
            self.book.mark(id),
            None,
            None,
            reason,
            signal,
        )
        approved = self.gatekeeper.reduce(intent, held, self.universe[id].asset_class)
        if trade is None or approved is None:
            return
        leaving = Waived(id, signal, approved.intent, approved.judgement)
        decision = self._record(now, Disposition.SENT, reason, leaving, trade.slot, Role.EXIT)
        assert decision.order is not None
        self.slots.sent(trade, decision.order, Role.EXIT, approved.intent.qty, now)
        self._leave(Exit(decision.order, approved), now)

    def _protect(self, want: WantProtect, now: Nanos) -> None:
        """Rest a stop and a target for the whole position; it can only reduce, so it needs no decision of its own."""
        trade = self.slots.trade(want.instrument)
        if trade is None:
            return
        side = Side.SHORT if trade.side is Side.LONG else Side.LONG
        intent = Intent(
            Purpose.EXIT,
            want.instrument,
            side,
            trade.qty,
            self.book.mark(want.instrument),
            want.stop,
            want.target,
            "protection",
        )
        asset = self.universe[want.instrument].asset_class
        approved = self.gatekeeper.reduce(intent, trade.side * trade.qty, asset)
        if approved is None:
            return
        order = self._order_id(trade.decision, Role.PROTECT)
        self.slots.protecting(trade, order, now)
        self._leave(Protect(order, approved, want.stop, want.target, want.replaces), now)

    # ------------------------------------------------------------ entries

    def _enter(self, signal: Signal, now: Nanos) -> None:
        """A new signal: nothing to change, a fresh entry, an add, or a reversal that waits for flat."""
        trade, waiting = self.slots.trade(signal.instrument), self.queue.of(signal.instrument)
        if waiting is not None and waiting.signal.side is signal.side:
            self._record(now, Disposition.HOLD, f"already {waiting.kind}", Judged(signal))
        elif (
            trade is not None
            and trade.side is signal.side
            and (not signal.add or trade.closing or trade.flight(Role.ENTRY))
        ):
            self._record(now, Disposition.HOLD, f"already {trade.state}", Judged(signal), trade.slot)
        else:
            self._consider(signal, now, trade)

    def _stopped(self, signal: Signal) -> str:
        """Why no entry is taken now, or none of this strategy's."""
        if self.guard.state is not TradingState.ACTIVE:
            return f"{self.guard.state}: {self.guard.why}"
        why = self.guard.disabled.get(signal.provider)
        return f"strategy {signal.provider} is disabled: {why}" if why else ""

    def _consider(self, signal: Signal, now: Nanos, trade: Trade | None, waited: Waiting | None = None) -> None:
        """Size and review an entry, then send it, let it wait, or refuse it. What waited may keep a slot, which a
        reversal inherits."""
        reversing = trade is not None and trade.side is not signal.side
        slot = trade.slot if trade is not None else waited.slot if waited else None
        if why := self._stopped(signal):
            self._record(now, Disposition.HALTED, why, Judged(signal, waited.decision if waited else None))
            return
        verdict, judged = self._review(signal, now, reversing, waited)
        match verdict:
            case NotTradable(reason=reason):
                self._record(now, Disposition.NOT_TRADABLE, reason, judged)
            case Refused(layer=Layer.MARKET_HOURS, status=Status.REFUSED):
                adds = trade is not None and not reversing
                self._closed(judged, now, None if adds else slot, adds)
            case Refused(layer=layer):
                self._record(now, Disposition.REFUSED, layer, judged)
            case Approved(intent=Intent(rule=rule)) if rule == NO_ROOM:
                self._record(now, Disposition.NOT_TRADABLE, rule, judged)
            case Approved() if reversing:
                self._wait(Disposition.REVERSING, "approved, leaves when flat", judged, now, slot, verdict)
            case Approved():
                self._take_slot(verdict, judged, now, slot)

    def _review(
        self, signal: Signal, now: Nanos, reversing: bool, waited: Waiting | None
    ) -> tuple[Approved | Refused | NotTradable, Judged]:
        instrument, rules = self.universe[signal.instrument], self.rules
        mark, follows = self.book.mark(instrument.id), waited.decision if waited else None
        room = self.facts.room(instrument.id, now, reversing)
        is_spot = self.book.ledgers[instrument.venue].is_spot
        sized = size_entry(instrument, signal, mark, room, is_spot, rules.size, rules.gate, rules.watch)
        if isinstance(sized, NotTradable):
            return sized, Judged(signal, follows)
        facts, exposure = self.facts.measure(sized, float(signal.confidence), now, self.is_proven(now), reversing)
        verdict = self.gatekeeper.review(sized, facts, instrument.asset_class)
        tail, first = self.facts.tail(sized, exposure, now), waited.first if waited else mark
        return verdict, Judged(signal, follows, sized, verdict.judgement, tail, first)

    def _closed(self, judged: Judged, now: Nanos, slot: int | None, adds: bool) -> None:
        """The market is closed: a daily intent waits for its session's first quote, any other becomes HOLD."""
        if self.session.interval >= DAY:
            self._wait(Disposition.WAITING, "until its market opens", judged, now, slot, adds=adds)
        else:
            self._record(
                now, Disposition.OVERRIDDEN, f"{Layer.MARKET_HOURS}: {judged.signal.side.name} becomes HOLD", judged
            )

    def _wait(
        self,
        kind: Disposition,
        why: str,
        judged: Judged,
        now: Nanos,
        slot: int | None = None,
        approved: Approved | None = None,
        adds: bool = False,
    ) -> None:
        decision = self._record(now, kind, why, judged, slot)
        price = self.book.mark(judged.signal.instrument)
        self.queue.put(Waiting(kind, judged.signal, now, price, decision.id, slot, approved, adds, judged.first))

    def _take_slot(self, approved: Approved, judged: Judged, now: Nanos, kept: int | None) -> None:
        free = [slot for slot in self.slots.free() if slot not in self.queue.reversal_slots()]
        if kept is not None:
            self._send(approved, judged, now, kept)
        elif free:
            self._send(approved, judged, now, free[0])
        elif not self.queue.is_full:
            self._wait(Disposition.QUEUED, "every slot is held", judged, now)
        else:
            self._record(now, Disposition.DROPPED, "every slot is held and the queue is full", judged)

    def _send(self, approved: Approved, judged: Judged, now: Nanos, slot: int) -> None:
        """The one door for entries: what is approved meets the controls, then the breaker, then leaves."""
        instrument, intent = self.universe[approved.intent.instrument], approved.intent
        bound = fills.distance_from(intent.price, int(intent.side), collar_ratio(instrument, self.rules.watch))
        collar, id = to_tick(bound, instrument.tick), self.session.decision(self._sequence + 1)
        entry = Entry(intent, collar, judged.first, id, judged.follows)
        if denial := self.controls.judge(entry, now):
            self._deny(denial, entry, judged, now, slot)
            return
        call = self.breakers[instrument.venue].call(CallKind.ENTRY, now)
        if call is None:
            why = f"the breaker of {instrument.venue} is {self.breakers[instrument.venue].state(now)}"
            self._record(now, Disposition.BREAKER_OPEN, why, judged, slot)
            return
        self.controls.count(entry, now)
        decision = self._record(now, Disposition.SENT, intent.rule, judged, slot, Role.ENTRY)
        assert decision.order is not None
        trade = self.slots.trade(instrument.id)
        if trade is not None:
            self.slots.add(trade, intent, decision.order, now)
        else:
            self.slots.open(slot, intent, decision.id, decision.order, judged.signal.provider, now)
        self._calls["order", decision.order] = call
        stop = to_tick(stop_of(judged.signal, intent.price, self.rules.watch), instrument.tick)
        self._draft.orders.append(Enter(decision.order, approved, collar, stop))

    def _deny(self, denial: Denial, entry: Entry, judged: Judged, now: Nanos, slot: int) -> None:
        """A control that denies may stop more than this entry: the day, everything, or the strategy."""
        self._record(now, Disposition.CONTROLLED, denial.reason, judged, slot)
        match denial:
            case Denial(control=Control.DAY):
                self._latch(self.guard.brake, DAILY_LIMITS, denial.why, now)
            case Denial(control=Control.RATE, latches=True):
                self._halt(ORDER_RATE, denial.why, self.slots.cancel_entries, now)
            case Denial(control=Control.REPEATED):
                self._disable(entry.provider, denial.why, now)

    # ------------------------------------------------------------ what waits

    def _released(self, event: Event) -> Iterator[Waiting]:
        """What may leave now, first in first out; looked at one after the other, for each may take the last slot."""
        seen = {b.instrument for b in event.bars} if isinstance(event, Bars) else set()
        seen |= {q.instrument for q in event.quotes} if isinstance(event, Quotes) else set()
        for item in list(self.queue.items):
            is_ready = item.instrument in seen and self.hours[item.instrument].is_open(event.time)
            is_flat = item.slot is None or self.slots.trade(item.instrument) is None
            if item.kind is Disposition.QUEUED:
                has_slot = bool(set(self.slots.free()) - self.queue.reversal_slots())
                if is_ready and has_slot and self.guard.state is TradingState.ACTIVE:
                    yield item
            elif is_flat and (is_ready or (item.approved is not None and item.since == event.time)):
                yield item

    def _release(self, item: Waiting, event: Event) -> None:
        """A reversal proven flat in the instant of its review leaves by that review; all else is judged anew."""
        self.queue.remove(item)
        if item.approved is not None and item.since == event.time and not self._stopped(item.signal):
            approved = item.approved
            judged = Judged(item.signal, item.decision, approved.intent, approved.judgement, first=item.first)
            assert item.slot is not None
            self._send(approved, judged, event.time, item.slot)
        else:
            trade = self.slots.trade(item.instrument)
            if item.adds and trade is None:
                self._record(event.time, Disposition.DROPPED, "its trade has ended", Judged(item.signal, item.decision))
            else:
                self._consider(item.signal, event.time, trade, item)

    # ------------------------------------------------------------ what is kept of it

    def _record(
        self, now: Nanos, disposition: Disposition, reason: str, judged: Judged | Waived, slot: int | None = None,
        role: Role | None = None,
    ) -> Decision:  # fmt: skip
        """One decision, numbered; with a role it also names the order that it sends."""
        self._sequence += 1
        id = self.session.decision(self._sequence)
        decision = Decision(
            id, self._sequence, now, disposition, reason, judged.instrument, judged.signal, judged.intent,
            judged.judgement, judged.tail, slot, self._order_id(id, role) if role else None, judged.follows,
        )  # fmt: skip
        self._draft.decisions.append(decision)
        return decision

    def _order_id(self, decision: DecisionId, role: Role) -> OrderId:
        self._orders_made += 1
        return self.session.order(decision, role, self._orders_made)

    def _leave(self, order: Exit | Protect | Cancel | Query, now: Nanos) -> None:
        """Hand an order out that no breaker refuses, and remember the call."""
        match order:
            case Query():
                key, venue, kind = ("query", order.order or order.venue), order.venue, CallKind.QUERY
            case Cancel():
                key, venue, kind = ("cancel", order.order), order.venue, CallKind.ORDER
            case Exit() | Protect():
                key, kind = ("order", order.id), CallKind.ORDER
                venue = self.universe[order.approved.intent.instrument].venue
        call = self.breakers[venue].call(kind, now)
        if call is not None:
            self._calls[key] = call
        self.controls.passed += 1
        self._draft.orders.append(order)


def _is_venues_own(answer: Filled) -> bool:
    """Whether the venue took something by itself: its liquidation, a fee, or a stop that it attached to our entry."""
    if answer.fill.cause is Cause.STOP:
        return answer.ours is True
    return answer.fill.cause in (Cause.LIQUIDATION, Cause.FEE)
