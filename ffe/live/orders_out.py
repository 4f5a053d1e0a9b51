"""The orders of ours that are out at one venue, as its answers prove. Pure: time is an argument.

    SENT ─► WORKING ◄─► UNKNOWN ─► NOT_FOUND        any of them ─► ended, and forgotten

An order whose answer is lost is UNKNOWN until the venue was asked; NOT_FOUND proves nothing before the venue's horizon
has passed, for an order may arrive late or be listed late.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from ffe.model import (
    SECOND,
    Accepted,
    Answer,
    Cancelled,
    Failed,
    Filled,
    InstrumentId,
    Known,
    Nanos,
    OrderId,
    Rejected,
    Report,
    Role,
    Ticket,
    Withheld,
)

LOST_AFTER: Nanos = SECOND  # from sending: a venue may not list at once what it has taken
LEAST_KEPT = 8  # characters of an id
RETRY_SECONDS = (1, 2, 3)  # after the first refusal, the second, and every further one


class OutStatus(StrEnum):
    SENT = "sent"
    WORKING = "working"  # the venue has confirmed it
    UNKNOWN = "unknown"  # no usable answer has come
    NOT_FOUND = "not found"  # the venue was asked, and does not show it


@dataclass(frozen=True, slots=True)
class OrderOut:
    """An order of ours that may still do something; is_asked says that the venue was asked about it since it became
    unknown, whatever came of that; confirmed is when the venue last showed it."""

    ticket: Ticket
    sent: Nanos
    status: OutStatus = OutStatus.SENT
    is_asked: bool = False
    confirmed: Nanos | None = None

    def after(self, answer: Answer) -> OrderOut | None:
        """The order as an answer leaves it; None once no more can come of it."""
        match answer:
            case Rejected() | Cancelled() | Withheld() | Filled(done=True) | Report(state=Known.DONE):
                return None
            case Accepted() | Filled() | Report(state=Known.WORKING):
                return replace(self, status=OutStatus.WORKING, is_asked=False, confirmed=answer.time)
            case Report(state=Known.NOT_FOUND):
                return replace(self, status=OutStatus.NOT_FOUND, is_asked=True)
            case Failed(query=False):
                return replace(self, status=OutStatus.UNKNOWN, is_asked=False)
            case Failed(query=True) if self.status is not OutStatus.WORKING:
                return replace(self, status=OutStatus.UNKNOWN, is_asked=True)
        return self

    def is_lost(self, now: Nanos) -> bool:
        """Whether the venue does not show it, or does not say, and had the time to list it."""
        return self.is_asked and now >= self.sent + LOST_AFTER


class OrdersOut:
    """The orders of ours that are out; earlier are ids of orders that have ended."""

    def __init__(self, earlier: Iterable[OrderId] = ()) -> None:
        self._orders: dict[OrderId, OrderOut] = {}
        self._ids = set(earlier)

    def __contains__(self, order: object) -> bool:
        return order in self._orders

    def __iter__(self) -> Iterator[OrderOut]:
        return iter(tuple(self._orders.values()))

    def get(self, order: OrderId) -> OrderOut | None:
        return self._orders.get(order)

    def of(self, instrument: InstrumentId, role: Role) -> list[OrderOut]:
        return [out for out in self if (out.ticket.instrument, out.ticket.role) == (instrument, role)]

    def resting(self, instrument: InstrumentId) -> OrderOut | None:
        """The newest stop that the venue has confirmed."""
        stops = [out for out in self.of(instrument, Role.PROTECT) if out.status is OutStatus.WORKING]
        return stops[-1] if stops else None

    def is_ours(self, id: str) -> bool:
        """Whether this is the id of an order that was ever ours; a venue may keep only the beginning of one."""
        return len(id) >= LEAST_KEPT and any(known.startswith(id) for known in self._ids)

    def add(self, ticket: Ticket, sent: Nanos, status: OutStatus = OutStatus.SENT) -> None:
        self._orders[ticket.id] = OrderOut(ticket, sent, status)
        self._ids.add(ticket.id)

    def apply(self, answer: Answer) -> None:
        out = self._orders.get(answer.order) if answer.order is not None else None
        if out is None:
            return
        after = out.after(answer)
        if after is None:
            del self._orders[out.ticket.id]
        else:
            self._orders[out.ticket.id] = after

    def forget(self, out: OrderOut) -> None:
        """It is proven never to have been."""
        del self._orders[out.ticket.id]


class Attempts:
    """When an order may be tried again: a while after a refusal, and not before the venue wants requests again.

    What a venue said is obeyed as it was said, for every order of that role, and is not doubled.
    """

    def __init__(self) -> None:
        self._refused: dict[tuple[InstrumentId, Role], tuple[int, Nanos]] = {}  # how often, and when the next may leave
        self._quiet: dict[Role, Nanos] = {}

    def may(self, instrument: InstrumentId, role: Role, now: Nanos) -> bool:
        _, due = self._refused.get((instrument, role), (0, now))
        return now >= max(due, self._quiet.get(role, now))

    def count(self, instrument: InstrumentId, role: Role) -> int:
        """How often in a row it was refused."""
        return self._refused.get((instrument, role), (0, 0))[0]

    def refuse(self, instrument: InstrumentId, role: Role, now: Nanos, again: Nanos | None = None) -> None:
        times = self.count(instrument, role)
        pause = 0 if again is not None else RETRY_SECONDS[min(times, len(RETRY_SECONDS) - 1)] * SECOND
        self._refused[instrument, role] = times + 1, now + pause
        if again is not None:
            self._quiet[role] = again

    def accept(self, instrument: InstrumentId, role: Role) -> None:
        self._refused.pop((instrument, role), None)
