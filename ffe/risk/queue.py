"""What waits: approvable entries for a slot (QUEUED), daily ones for their session (WAITING), reversals for flat.

First in, first out. A wait is not an approval: what is released is sized and reviewed anew, but for a reversal released
in the very instant of its review. Every end of a wait is said, so that it can be recorded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ffe.model import HOUR, Approved, DecisionId, Disposition, Event, InstrumentId, Nanos, Price, Signal
from ffe.risk.limits import SlotRules


@dataclass(frozen=True, slots=True)
class Waiting:
    """A signal that waits since `since`; kind is QUEUED, WAITING or REVERSING, slot is the one a reversal inherits.

    An approved reversal keeps its key for the instant in which it was approved.
    """

    kind: Disposition
    signal: Signal
    since: Nanos
    price: Price
    decision: DecisionId
    slot: int | None = None
    approved: Approved | None = None

    @property
    def instrument(self) -> InstrumentId:
        return self.signal.instrument


@dataclass(frozen=True, slots=True)
class Ended:
    waiting: Waiting
    why: str


class Queue:
    def __init__(self, rules: SlotRules) -> None:
        self.rules = rules
        self.items: list[Waiting] = []

    def __bool__(self) -> bool:
        return bool(self.items)

    @property
    def is_full(self) -> bool:
        return sum(item.kind is Disposition.QUEUED for item in self.items) >= self.rules.queue_length

    def of(self, instrument: InstrumentId) -> Waiting | None:
        return next((item for item in self.items if item.instrument == instrument), None)

    def reversal_slots(self) -> set[int]:
        """Slots that are kept for a reversal's entry, though their trade may have ended."""
        return {item.slot for item in self.items if item.slot is not None}

    def put(self, item: Waiting) -> None:
        self.items.append(item)

    def remove(self, item: Waiting) -> None:
        self.items.remove(item)

    def ends(self, event: Event, signals: tuple[Signal, ...], prices: dict[InstrumentId, Price]) -> Iterator[Ended]:
        """Drop what a newer opposite signal, its age or a dearer price has ended."""
        for item in list(self.items):
            why = self._end(item, event.time, signals, prices)
            if why:
                self.items.remove(item)
                yield Ended(item, why)

    def _end(
        self, item: Waiting, now: Nanos, signals: tuple[Signal, ...], prices: dict[InstrumentId, Price]
    ) -> str | None:
        side = item.signal.side
        if any(signal.instrument == item.instrument and signal.side is not side for signal in signals):
            return "a newer opposite signal"
        if item.kind is not Disposition.QUEUED:
            return None
        if now > item.since + int(self.rules.queue_hours * HOUR):
            return f"expired after {self.rules.queue_hours:g} h"
        price = prices.get(item.instrument, item.price)
        if int(side) * (price - item.price) > self.rules.queue_dearer_ratio * item.price:
            return f"price {price!r} is more than {self.rules.queue_dearer_ratio:.1%} dearer than {item.price!r}"
        return None

    def clear(self, why: str, instrument: InstrumentId | None = None) -> list[Ended]:
        """A halt, or an operator who closes, ends every wait (or one instrument's)."""
        ended = [Ended(item, why) for item in self.items if instrument in (None, item.instrument)]
        self.items = [item for item in self.items if instrument not in (None, item.instrument)]
        return ended
