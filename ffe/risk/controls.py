"""What stands around the gate: an approved entry is looked at once more before it takes a slot and leaves.

The gate asks whether a trade is wise; a control asks whether something is broken: a number that cannot be, a price that
has run away, a strategy that repeats itself. Nothing here denies what reduces risk. Time is an argument; what is not
known denies. C8 to C16 stand elsewhere: at the venues' door, in the adapters, in the journal.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN
from enum import StrEnum
from itertools import takewhile

from ffe.book import Book
from ffe.kernels import fills
from ffe.model import (
    DAY,
    MINUTE,
    ROUNDING_LOTS,
    SECOND,
    DecisionId,
    InstrumentId,
    Intent,
    Money,
    Nanos,
    Price,
    Qty,
    Side,
)  # fmt: skip
from ffe.risk.limits import ControlRules, WatchRules
from ffe.rounding import in_steps, to_tick
from ffe.sizing import collar_ratio, minimum_qty


class Control(StrEnum):
    INPUT = "C1 input"
    PRICE = "C2 price"
    SIZE = "C3 order size"
    DAY = "C4 daily limits"
    RATE = "C5 order rate"
    REPEATED = "C6 repeated execution"
    DUPLICATE = "C7 duplicate"


@dataclass(frozen=True, slots=True)
class Entry:
    """An approved entry about to leave; first is the mid at which its signal was first decided, follows what waited."""

    intent: Intent
    collar: Price
    first: Price
    decision: DecisionId
    follows: DecisionId | None = None

    @property
    def provider(self) -> str:
        return self.intent.signal.provider if self.intent.signal else ""

    @property
    def ids(self) -> tuple[DecisionId, ...]:
        return (self.decision,) if self.follows is None else (self.decision, self.follows)


@dataclass(frozen=True, slots=True)
class Denial:
    """Which control said no to what. latches: this breach of the rate is one too many."""

    control: Control
    why: str
    latches: bool = False

    @property
    def reason(self) -> str:
        return f"{self.control}: {self.why}"


@dataclass(frozen=True, slots=True)
class Left:
    """An entry that left."""

    time: Nanos
    instrument: InstrumentId
    side: Side
    qty: Qty
    provider: str
    ids: tuple[DecisionId, ...]


@dataclass(frozen=True, slots=True)
class ControlState:
    """All that the controls remember: the entries that left within a day, breaches of the rate, the UTC day's notional
    in the account currency, and how much else has left: exits, protection, cancellations, questions, never denied."""

    left: tuple[Left, ...] = ()
    breaches: tuple[Nanos, ...] = ()
    notional: Money = 0.0
    passed: int = 0


class Controls:
    def __init__(self, book: Book, rules: ControlRules, watch: WatchRules) -> None:
        self.book, self.rules, self.watch = book, rules, watch
        self._rates = (
            (rules.orders_per_second, SECOND, "1 s"),
            (rules.orders_per_minute, MINUTE, "60 s"),
            (rules.orders_per_day, DAY, "24 h"),
        )
        self.restore(ControlState())

    def save(self) -> ControlState:
        return ControlState(tuple(self._left), self._breaches, self.notional, self.passed)

    def restore(self, state: ControlState) -> None:
        """Go on from where another left off, so that a restart makes nothing new again."""
        self._left = deque(state.left)
        self._ids = {id for left in self._left for id in left.ids}
        self._breaches, self.notional, self.passed = state.breaches, state.notional, state.passed

    def roll(self) -> None:
        """A new UTC day."""
        self.notional = 0.0

    def re_arm(self) -> None:
        self._breaches = ()

    # ------------------------------------------------------------ judging

    def judge(self, entry: Entry, now: Nanos) -> Denial | None:
        """The first control that denies an entry; None lets it leave."""
        control, why = next(self._objections(entry, now), (None, ""))
        if control is None:
            return None
        if control is Control.RATE:
            self._breaches = (*(time for time in self._breaches if now - time < DAY), now)
            return Denial(control, why, len(self._breaches) >= self.rules.rate_breaches)
        return Denial(control, why)

    def count(self, entry: Entry, now: Nanos) -> None:
        """An entry leaves. It counts whatever becomes of it: what was sent may yet fill."""
        intent = entry.intent
        while self._left and now - self._left[0].time >= DAY:
            self._ids.difference_update(self._left.popleft().ids)
        self._left.append(Left(now, intent.instrument, intent.side, intent.qty, entry.provider, entry.ids))
        self._ids.update(entry.ids)
        self.notional += abs(self.book.value(intent.instrument, intent.qty))

    def overdrawn(self) -> str:
        """Why the day has lost too much: our trades, realised and not, net of what they paid."""
        limit = self.rules.max_day_loss
        if limit is None or -self.book.day_pnl <= limit:
            return ""
        return f"{-self.book.day_pnl:.2f} lost today, at most {limit:g}"

    def _objections(self, entry: Entry, now: Nanos) -> Iterator[tuple[Control, str]]:
        looks = (
            (Control.INPUT, self._input(entry)),
            (Control.PRICE, self._price(entry)),
            (Control.SIZE, self._size(entry)),
            (Control.DAY, self._day(entry)),
            (Control.RATE, self._rate(now)),
            (Control.REPEATED, self._repeated(entry, now)),
            (Control.DUPLICATE, self._duplicate(entry, now)),
        )
        return ((control, why) for control, why in looks if why)

    def _input(self, entry: Entry) -> str:
        """Sizing sees to all of this; a bug of ours must not leave all the same."""
        intent, instrument = entry.intent, self.book.universe[entry.intent.instrument]
        named = ("quantity", intent.qty), ("price", intent.price), ("collar", entry.collar)
        for name, number in (*named, ("stop", intent.stop), ("target", intent.target)):
            if number is not None and not 0.0 < number < math.inf:
                return f"{name} {number!r}"
        if abs(in_steps(intent.qty, instrument.lot, ROUND_HALF_EVEN) - intent.qty) > ROUNDING_LOTS * instrument.lot:
            return f"quantity {intent.qty!r} is not in lots of {instrument.lot!r}"
        if intent.qty < (least := minimum_qty(instrument, intent.price)):
            return f"quantity {intent.qty!r}, at least {least!r}"
        if to_tick(entry.collar, instrument.tick) != entry.collar:
            return f"collar {entry.collar!r} is not on a tick of {instrument.tick!r}"
        return ""

    def _price(self, entry: Entry) -> str:
        """Dearer by more than the collar since its signal was first decided, or a collar that is no longer one."""
        instrument, side = self.book.universe[entry.intent.instrument], int(entry.intent.side)
        mark, ratio = self.book.mark(instrument.id), collar_ratio(instrument, self.watch)
        if not side * (mark - entry.first) <= ratio * entry.first:
            return f"{mark!r} is dearer than {entry.first!r} at the decision, by at most {ratio:.2%}"
        if not side * (entry.collar - fills.distance_from(mark, side, ratio)) <= instrument.tick:
            return f"collar {entry.collar!r} beyond {mark!r}, by at most {ratio:.2%}"
        return ""

    def _size(self, entry: Entry) -> str:
        instrument, qty = self.book.universe[entry.intent.instrument], entry.intent.qty
        most = self.rules.max_order_value
        if most is not None and not self._value(entry) <= most:
            return f"worth {self._value(entry):.2f}, at most {most:g}"
        most = self.rules.max_order_qty.get(instrument.symbol)
        return "" if most is None or qty <= most else f"quantity {qty!r}, at most {most:g}"

    def _value(self, entry: Entry) -> Money:
        return abs(self.book.value(entry.intent.instrument, entry.intent.qty))

    def _day(self, entry: Entry) -> str:
        most = self.rules.max_day_notional
        if most is not None and not (total := self.notional + self._value(entry)) <= most:
            return f"{total:.2f} traded today with it, at most {most:g}"
        return self.overdrawn()

    def _rate(self, now: Nanos) -> str:
        """Never more than a count in any window, wherever that begins: stricter than a bucket, which allows twice."""
        for count, window, name in self._rates:
            if len(self._left) >= count and now - self._left[-count].time < window:
                return f"{count + 1} in {name}, at most {count}"
        return ""

    def _since(self, seconds: float, now: Nanos) -> Iterable[Left]:
        window = int(seconds * SECOND)
        if not self._left or now - self._left[-1].time >= window:  # as most often
            return ()
        return takewhile(lambda left: now - left.time < window, reversed(self._left))

    def _repeated(self, entry: Entry, now: Nanos) -> str:
        rules, key = self.rules, (entry.provider, entry.intent.instrument, entry.intent.side)
        recent = self._since(rules.repeat_seconds, now)
        found = 1 + sum((left.provider, left.instrument, left.side) == key for left in recent)
        if found <= rules.repeats:
            return ""
        side = entry.intent.side.name.lower()
        return f"{found} {side} of {key[1]} by {key[0]} in {rules.repeat_seconds:g} s, at most {rules.repeats}"

    def _duplicate(self, entry: Entry, now: Nanos) -> str:
        if again := [id for id in entry.ids if id in self._ids]:
            return f"{again[0]} has left before"
        intent, seconds = entry.intent, self.rules.duplicate_seconds
        key = (intent.instrument, intent.side, intent.qty)
        if any((left.instrument, left.side, left.qty) == key for left in self._since(seconds, now)):
            return f"{intent.qty!r} of {intent.instrument} again within {seconds:g} s"
        return ""
