"""What the adapters of live venues share: orders in, answers out, each once.

Law: one request per order, never repeated, and never a new id for an old order. A request without a usable answer
leaves its order UNKNOWN; only what the venue then says of it ends that. Foreign errors become those of
`ffe.wire.errors` in one function per adapter, and nothing else of the foreign client is caught. An entry leaves only if
price, clock and decision are, at that moment, what it was decided on; what reduces risk is never held up by that. A
rate limit holds up the requests of its own class, orders or questions, for as long as the venue said; an entry waits
for both, since it asks for price and clock before it leaves.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence, Set
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

from ffe.model import (
    SECOND,
    Accepted,
    Answer,
    Bars,
    Cancel,
    Cause,
    Enter,
    Exit,
    Failed,
    Fault,
    Fill,
    Filled,
    Heard,
    Heartbeat,
    InstrumentId,
    Known,
    Nanos,
    OrderId,
    Price,
    Protect,
    Qty,
    Query,
    Quote,
    Quotes,
    Rejected,
    Report,
    Role,
    Side,
    Ticket,
    Universe,
    Venue,
    Withheld,
)  # fmt: skip
from ffe.model import Order as AnyOrder
from ffe.wire.errors import Busy, Denied, NotThere, Unclear, Unsent
from ffe.wire.market import Market

T = TypeVar("T")
Order = Enter | Exit | Protect
ORDER_SECONDS, QUESTION_SECONDS = 2.5, 2.0  # that a request may take; a hung one leaves a position without its stop


class RequestKind(Enum):
    """What a venue's rate limit holds up: the value is how long, where it does not say."""

    ORDER = SECOND
    QUESTION = 10 * SECOND


@dataclass(frozen=True, slots=True)
class Past:
    """What an earlier process knew of an account: trades that are booked, orders under way, and every order of a trade
    that is still open."""

    seen: frozenset[str] = frozenset()
    orders: tuple[Ticket, ...] = ()
    ids: frozenset[OrderId] = frozenset()


@dataclass(frozen=True, slots=True)
class OpenOrder:
    """An order that is open at the venue, whoever sent it.

    id is what its sender called it, "" where it has no name of that kind; stop is the price that triggers it, None
    where none does; reduces says that it can only close what is held.
    """

    instrument: InstrumentId
    number: str
    id: str
    side: Side
    qty: Qty
    stop: Price | None
    reduces: bool


def ticket_of(order: Order) -> Ticket:
    intent = order.approved.intent
    role = Role.ENTRY if isinstance(order, Enter) else Role.EXIT if isinstance(order, Exit) else Role.PROTECT
    return Ticket(order.id, role, intent.instrument, intent.side, intent.qty)


@dataclass(slots=True)
class Placed:
    """An order that left for the venue, for qty (whole lots). number is what the venue calls it, None as long as no
    answer has told."""

    order: Ticket
    qty: Qty
    number: str | None = None
    filled: Qty = 0.0

    @property
    def instrument(self) -> InstrumentId:
        return self.order.instrument


def always() -> AbstractContextManager[bool]:
    return nullcontext(True)


@dataclass(frozen=True, slots=True)
class SecondLook:
    """When an entry leaves: how long ago its price may have been read, how far our clock may be from the venue's, and
    how long ago it may have been decided."""

    price_age: Nanos = 2 * SECOND
    skew: Nanos = SECOND // 2
    decision_age: Nanos = 10 * SECOND


USUAL = SecondLook()


class VenueBroker(ABC):
    """One account at one live venue; subclasses speak its language. clock tells the time of an answer, market shows
    what everybody sees there."""

    def __init__(
        self, universe: Universe, venue: Venue, clock: Callable[[], Nanos], market: Market, past: Past | None = None,
        look: SecondLook = USUAL,
    ) -> None:  # fmt: skip
        self.universe, self._venue, self.clock, self._market, self.look = universe, venue, clock, market, look
        self._past = past or Past()
        self._mine = {i.id: i for i in universe if i.venue == venue}
        # Whatever may still fill; what of it an earlier process sent has no number before the venue is asked.
        self._placed: dict[OrderId, Placed] = {ticket.id: Placed(ticket, ticket.qty) for ticket in self._past.orders}
        self._by_number: dict[str, Placed] = {}  # every order, for one that has ended may still fill late
        self._fills: dict[OrderId, list[Fill]] = {}  # of every order of ours, ended ones as well
        self._seen: set[str] = set()  # trades told of
        self._answers: list[Answer] = []
        self._is_open = past is not None  # what was there before is known
        self._failed_at: Nanos | None = None  # the newest market at which asking what has happened failed
        self._is_unheard = False  # it failed, and since then no look has been answered
        self._is_answered = False  # since the look under way began
        self._busy_until = dict.fromkeys(RequestKind, 0)
        # Whether an entry may leave, asked at the last moment; as long as the answer is held, it is leaving.
        self.permit: Callable[[], AbstractContextManager[bool]] = always

    @property
    def venue(self) -> Venue:
        return self._venue

    @property
    def waiting(self) -> Set[InstrumentId]:
        """Instruments with an order that does not rest: what they trade at next is of interest."""
        return {p.instrument for p in self._placed.values() if p.order.role is not Role.PROTECT}

    @property
    def is_in_doubt(self) -> bool:
        """Whether the last look saw something that another one, soon, will decide."""
        return False

    def answers(self) -> Sequence[Answer]:
        answers, self._answers = self._answers, []
        return answers

    def send(self, order: AnyOrder, time: Nanos) -> None:
        """Carry an order out now; what came of it is an answer."""
        about = order.order if isinstance(order, Cancel | Query) else order.id
        try:
            if isinstance(order, Enter) and (why := self._objection(order, time)):
                self._say(Withheld(self.clock(), self._venue, order.id, f"C9 price or clock: {why}"))
            else:
                self._perform(order)
        except Unclear as error:
            self._say(Failed(self.clock(), self._venue, about, error.fault, isinstance(order, Query)))
        except Denied as error:
            self._deny(order, about, error)

    def work(self, market: Bars | Quotes | Heartbeat) -> None:
        """Ask what has happened since: fills of what is at the venue, and orders that it has ended.

        A market is shown again until nobody answers to it: what failed is told once, and tried again at the next; that
        it succeeds again is told once too."""
        if market.time == self._failed_at:
            return
        self._failed_at, was_unheard = market.time, self._is_unheard
        self._is_unheard, self._is_answered = True, False
        try:
            if not self._is_open:
                self._open(market)
                self._is_open = True
            self._watch()
            self._failed_at, self._is_unheard = None, was_unheard and not self._is_answered
            if was_unheard and self._is_answered:  # a look may have nothing to ask
                self._say(Heard(self.clock(), self._venue, None))
        except Unclear as error:
            self._say(Failed(self.clock(), self._venue, None, error.fault, True))
        except Denied as error:
            self._deny(Query(self._venue, None), None, error)

    # ------------------------------------------------------------ asking

    def _ask(self, call: Callable[..., T], *arguments: object, **named: object) -> T:
        """A question."""
        return self._request(RequestKind.QUESTION, call, *arguments, **named)

    def _do(self, call: Callable[..., T], *arguments: object, **named: object) -> T:
        """An order, or its cancellation."""
        return self._request(RequestKind.ORDER, call, *arguments, **named)

    def _request(self, kind: RequestKind, call: Callable[..., T], *arguments: object, **named: object) -> T:
        self._check_rate(kind)
        try:
            reply = call(*arguments, **named)
        except Busy as error:
            self._busy_until[kind] = self.clock() + (kind.value if error.wait is None else error.wait)
            raise
        self._is_answered = True
        return reply

    def _check_rate(self, kind: RequestKind) -> None:
        if self.clock() < (until := self._busy_until[kind]):
            raise Unsent("the venue limits the rate of requests", until)

    # ------------------------------------------------------------ what a venue's language must give

    @abstractmethod
    def _open(self, market: Bars | Quotes | Heartbeat) -> None:
        """Say what the account held before: cash as deposits, positions as found."""

    def _watch(self) -> None:
        """Look because time has passed, where a venue can spare the requests; Denied where it cannot."""
        self._look()

    @abstractmethod
    def _look(self) -> None:
        """Say every fill that is new, and every order of ours that the venue has ended."""

    @abstractmethod
    def _enter(self, order: Enter) -> None: ...

    @abstractmethod
    def _exit(self, order: Exit) -> None: ...

    @abstractmethod
    def _protect(self, order: Protect) -> None: ...

    @abstractmethod
    def _cancel(self, placed: Placed) -> None:
        """Take back what is at the venue, and say so; NotThere if it has ended already."""

    @abstractmethod
    def _find(self, placed: Placed) -> Known:
        """Ask for an order by our own id, and take in its fills."""

    @abstractmethod
    def _read(self) -> None:
        """Say what the account holds."""

    # ------------------------------------------------------------ without an engine

    @abstractmethod
    def open_orders(self) -> tuple[OpenOrder, ...]:
        """Every order that is open at the instruments of this venue; Unclear or Denied where it does not say."""

    @abstractmethod
    def claim(self) -> None:
        """Take every position and every open order of these instruments for ours, so that exits close them and
        cancellations find them by the venue's own number: an operator has lost the journal and says so. Unclear or
        Denied where the venue does not say what there is."""

    def prices(self, instruments: Iterable[InstrumentId]) -> tuple[Quote, ...]:
        """Present prices; Unclear or Denied where the venue does not say."""
        shown = self._ask(self._market.quotes, [self._mine[id] for id in instruments])
        return tuple(Quote(ticker.instrument, ticker.mid) for ticker in shown)

    # ------------------------------------------------------------ a second look

    def _objection(self, entry: Enter, time: Nanos) -> str:
        """Why an entry must not leave; what cannot be known is a reason. A key that is lost is the venue's word."""
        try:
            return self._apart() or self._dearer(entry, time)
        except Unclear as error:
            return f"not known: {error}"
        except Denied as error:
            if error.is_locked_out:
                raise
            return f"not known: {error}"

    def _apart(self) -> str:
        """The venue read its clock somewhen between our asking and its answer."""
        asked = self.clock()
        said, skew = self._ask(self._market.time), self.look.skew
        if asked - skew <= said <= self.clock() + skew:
            return ""
        return f"the venue's clock is {(said - asked) / SECOND:+.3f} s from ours, at most {skew / SECOND:g} s"

    def _dearer(self, entry: Enter, time: Nanos) -> str:
        intent, asked = entry.approved.intent, self.clock()
        shown = {each.instrument: each for each in self._ask(self._market.quotes, [self._mine[intent.instrument]])}
        ticker, now = shown.get(intent.instrument), self.clock()
        if ticker is None:
            return "no price is shown"
        if ticker.is_stale(now):
            return f"the venue's price is {(now - (ticker.time or now)) / SECOND:.0f} s old by its own stamp"
        mid = ticker.mid
        if not intent.side * (mid - entry.collar) <= 0.0:
            return f"{mid!r} is beyond the collar of {entry.collar!r}"
        for what, since, most in (("price", asked, self.look.price_age), ("decision", time, self.look.decision_age)):
            if now - since > most:
                return f"the {what} is {(now - since) / SECOND:.1f} s old, at most {most / SECOND:g} s"
        return ""

    # ------------------------------------------------------------ orders in

    def _perform(self, order: AnyOrder) -> None:
        match order:
            case Enter():
                with self.permit() as is_given:
                    if is_given:
                        self._enter(order)
                    else:
                        self._say(Withheld(self.clock(), self._venue, order.id, "entries are stopped"))
            case Exit():
                self._exit(order)
            case Protect():
                self._protect(order)
            case Cancel():
                self._take_back(order.order)
            case Query(order=None):
                self._read()
            case Query(order=id):
                assert id is not None
                self._report(id)

    def _take_back(self, id: OrderId) -> None:
        placed = self._placed.get(id)
        if placed is None:
            self._report(id)
            return
        try:
            self._cancel(placed)
        except NotThere:
            self._report(id)

    def _report(self, id: OrderId) -> None:
        """Say what became of an order, with every fill it has had."""
        placed = self._placed.get(id)
        never = Known.DONE if id in self._fills else Known.NOT_FOUND
        known = self._find(placed) if placed is not None else never
        self._say(Report(self.clock(), self._venue, id, known, tuple(self._fills.get(id, ()))))
        if known is Known.DONE:
            self._placed.pop(id, None)

    # ------------------------------------------------------------ answers out

    def _say(self, answer: Answer) -> None:
        self._answers.append(answer)

    def _deny(self, order: AnyOrder, about: OrderId | None, error: Denied) -> None:
        """An order is refused for good; a question that may not be asked now has told nothing of what it is about."""
        if isinstance(order, Cancel | Query):
            now, is_query = self.clock(), isinstance(order, Query)
            until = self._busy_until[RequestKind.QUESTION if is_query else RequestKind.ORDER]
            again = until if now < until else None
            self._say(Failed(now, self._venue, about, Fault.RATE_LIMITED, is_query, again))
            if error.is_locked_out:
                self._say(Rejected(self.clock(), self._venue, None, error.reason, True))
            return
        self._placed.pop(order.id, None)
        if isinstance(error, Unsent | Busy):
            again = error.again if isinstance(error, Unsent) else self._busy_until[RequestKind.ORDER]
            self._say(Withheld(self.clock(), self._venue, order.id, error.reason, again=again))
            return
        self._say(Rejected(self.clock(), self._venue, about, error.reason, error.is_locked_out))

    def _accept(self, placed: Placed, number: str) -> None:
        self._number(placed, number)
        self._fills.setdefault(placed.order.id, [])
        self._say(Accepted(self.clock(), self._venue, placed.order.id))

    def _number(self, placed: Placed, number: str) -> None:
        placed.number, self._by_number[number] = number, placed

    def _fill(self, placed: Placed | None, fill: Fill, is_told: bool = True, ours: bool | None = None) -> None:
        """Take in one trade, once. An order that is full has ended. ours: whose it is, where no order of ours made
        it."""
        if fill.trade in self._seen:
            return
        self._seen.add(fill.trade)
        done = True
        if placed is not None:
            placed.filled += abs(fill.qty)
            self._fills.setdefault(placed.order.id, []).append(fill)
            done = placed.filled >= placed.qty - self._mine[placed.instrument].lot / 2.0
            if done:
                self._placed.pop(placed.order.id, None)
        if is_told and fill.trade not in self._past.seen:
            id = placed.order.id if placed is not None else None
            self._say(Filled(self.clock(), self._venue, id, fill, done, ours))

    def _is_known(self, trade: str) -> bool:
        return trade in self._seen or trade in self._past.seen

    def _look_again(self) -> None:
        """Most market orders have filled by the time they are answered; if this cannot be seen now, it will be."""
        with suppress(Unclear, Denied):
            self._look()

    def _resting(self, instrument: InstrumentId) -> list[Placed]:
        return [p for p in self._placed.values() if p.instrument == instrument and p.order.role is Role.PROTECT]


def cause_of(placed: Placed | None, is_target: bool = False) -> Cause:
    """Why a trade happened; what no order of ours made was done by hand."""
    match placed and placed.order.role:
        case Role.ENTRY:
            return Cause.ENTRY
        case Role.EXIT:
            return Cause.EXIT
        case Role.PROTECT:
            return Cause.TARGET if is_target else Cause.STOP
    return Cause.HAND
