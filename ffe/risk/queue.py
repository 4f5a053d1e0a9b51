"""What waits: approvable entries for a slot (QUEUED), daily ones for their session (WAITING), reversals for flat.

First in, first out. A wait is not an approval: what is released is sized and reviewed anew, but for a reversal released
in the very instant of its review. Every end of a wait is said, so that it can be recorded.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from ffe.model import HOUR, Approved, DecisionId, Disposition, InstrumentId, Nanos, Price, Signal
from ffe.risk.limits import SlotRules

OVERRULED = "a newer opposite signal"


@dataclass(frozen=True, slots=True)
class Waiting:
    """A signal that waits since `since` at a mid of price; kind is QUEUED, WAITING or REVERSING, slot is the one a
    reversal inherits, first the mid at which it was first decided, before any wait.

    An approved reversal keeps its key for the instant in which it was approved. adds says that it was to add to a
    trade, and has nothing to add to once that has ended.
    """

    kind: Disposition
    signal: Signal
    since: Nanos
    price: Price
    decision: DecisionId
    slot: int | None = None
    approved: Approved | None = None
    adds: bool = False
    first: Price = math.nan

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

    def overruled(self, signals: tuple[Signal, ...]) -> list[Ended]:
        """Drop what a newer opposite signal has ended."""
        return self._drop(lambda item: OVERRULED if any(_opposes(signal, item.signal) for signal in signals) else "")

    def outlived(self, now: Nanos, prices: dict[InstrumentId, Price]) -> list[Ended]:
        """Drop what its age or a dearer price has ended."""
        return self._drop(lambda item: self._outlived(item, now, prices))

    def _drop(self, why: Callable[[Waiting], str]) -> list[Ended]:
        ended = [Ended(item, reason) for item in self.items if (reason := why(item))]
        self.items = [item for item in self.items if all(item is not each.waiting for each in ended)]
        return ended

    def _outlived(self, item: Waiting, now: Nanos, prices: dict[InstrumentId, Price]) -> str:
        side = item.signal.side
        if item.kind is not Disposition.QUEUED:
            return ""
        if now > item.since + int(self.rules.queue_hours * HOUR):
            return f"expired after {self.rules.queue_hours:g} h"
        price = prices.get(item.instrument, item.price)
        if int(side) * (price - item.price) > self.rules.queue_dearer_ratio * item.price:
            return f"price {price!r} is more than {self.rules.queue_dearer_ratio:.1%} dearer than {item.price!r}"
        return ""

    def clear(self, why: str, instrument: InstrumentId | None = None) -> list[Ended]:
        """A halt, or an operator who closes, ends every wait (or one instrument's)."""
        return self._drop(lambda item: why if instrument in (None, item.instrument) else "")


def _opposes(newer: Signal, waiting: Signal) -> bool:
    return newer.instrument == waiting.instrument and newer.side is not waiting.side
