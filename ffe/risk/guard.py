"""Whether entries are taken at all: ACTIVE, REDUCING (exits only) or HALTED (nothing new; closing and watching go on).

Latches (portfolio stop, emergency stop, reconciliation break, a disk that cannot be trusted, a control that was
breached) clear only by an operator's re-arm; some halt, some only reduce, some disable a single strategy. The portfolio
stop judges the day's net P&L of our own trades against the day's starting equity; when total equity is beyond those
limits for other reasons, entries stop until the next UTC day. An unknown equity never liquidates.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

from ffe.book import Book
from ffe.model import Bars, InstrumentId, Money, Nanos, Quotes, Venue
from ffe.risk.limits import WatchRules


class TradingState(StrEnum):
    ACTIVE = "active"
    REDUCING = "reducing"
    HALTED = "halted"


@dataclass(frozen=True, slots=True)
class Hit:
    """A limit of the day that was reached: ours closes and latches, total only reduces."""

    ours: bool
    why: str


@dataclass(frozen=True, slots=True)
class Doubt:
    """A limit that a quote alone has shown; unread are the instruments of that quote that were not priced since."""

    ours: bool
    unread: frozenset[InstrumentId]


@dataclass(frozen=True, slots=True)
class GuardState:
    """A guard as a value; latches, those that only reduce, and disabled strategies are (name, why)."""

    latches: tuple[tuple[str, str], ...]
    reduced: tuple[tuple[str, str], ...]
    disabled: tuple[tuple[str, str], ...]
    latched_at: Nanos | None
    paused: bool
    reducing_why: str
    day_equity: Money


class Guard:
    def __init__(self, rules: WatchRules) -> None:
        self.rules = rules
        self.latches: dict[str, str] = {}  # name -> why
        self.reduced: dict[str, str] = {}  # latches that stop entries and no more
        self.disabled: dict[str, str] = {}  # latches of one strategy each, by its name
        self.paused = False
        self.disagreements: dict[Venue, int] = {}  # reads in a row that did not match the book
        self.closed_off: set[Venue] = set()  # they refuse to be asked
        self.reducing_why = ""  # until the next UTC day
        self.day_equity: Money = math.nan
        self.latched_at: Nanos | None = None  # the newest latch
        self._doubt: Doubt | None = None

    def save(self) -> GuardState:
        latches, reduced, disabled = (tuple(d.items()) for d in (self.latches, self.reduced, self.disabled))
        return GuardState(
            latches, reduced, disabled, self.latched_at, self.paused, self.reducing_why, self.day_equity
        )  # fmt: skip

    def restore(self, state: GuardState, venues: Iterable[Venue]) -> None:
        """Go on from a state: nothing is taken on until every venue has been asked and agrees."""
        self.latches, self.latched_at = dict(state.latches), state.latched_at
        self.reduced, self.disabled = dict(state.reduced), dict(state.disabled)
        self.paused, self.reducing_why, self.day_equity = state.paused, state.reducing_why, state.day_equity
        self.disagreements = dict.fromkeys(venues, 0)

    @property
    def state(self) -> TradingState:
        if self.latches:
            return TradingState.HALTED
        is_reducing = self.paused or self.reducing_why or self.disagreements or self.closed_off or self.reduced
        return TradingState.REDUCING if is_reducing else TradingState.ACTIVE

    @property
    def is_settled(self) -> bool:
        """Whether no reading waits for its confirmation, and the day has an equity to be judged by."""
        return self._doubt is None and self.day_equity > 0.0

    @property
    def why(self) -> str:
        named = [f"{name}: {why}" for name, why in (self.latches | self.reduced).items()]
        named += [
            f"{venue} {'disagrees with' if reads else 'is not yet compared with'} the book"
            for venue, reads in self.disagreements.items()
        ]
        named += [f"{venue} refuses to be asked" for venue in sorted(self.closed_off)]
        named += ["paused by the operator"] if self.paused else []
        return "; ".join([*named, *([self.reducing_why] if self.reducing_why else [])])

    def judge(self, market: Bars | Quotes, book: Book) -> Hit | None:
        """The limit of the day that is reached now and confirmed: a bar's close confirms itself, a quote needs a
        second reading of what it priced."""
        if not self.day_equity > 0.0:  # the run's first money came during this day
            self.day_equity = book.equity
        hit = self._reached(book)
        if hit is None:
            self._doubt = None
            return None
        priced = frozenset(item.instrument for item in (market.bars if isinstance(market, Bars) else market.quotes))
        # A day that is bad for other reasons must not confirm a single price of ours.
        if self._doubt is None or self._doubt.ours < hit.ours:
            if isinstance(market, Bars):
                return hit
            self._doubt = Doubt(hit.ours, priced)
            return None
        self._doubt = replace(self._doubt, unread=self._doubt.unread - priced)
        return None if self._doubt.unread else hit

    def _reached(self, book: Book) -> Hit | None:
        if not math.isfinite(book.equity) or (book.day_pnl == 0.0 and book.unit.value == book.unit.day_start):
            return None  # unknown, or nothing has moved today
        ours = book.day_pnl / self.day_equity if self.day_equity > 0.0 else math.nan
        for ratio, is_ours in ((ours, True), (book.unit.day_return, False)):
            if ratio <= -self.rules.day_loss_ratio or ratio >= self.rules.day_gain_ratio:
                return Hit(is_ours, f"{'our trades' if is_ours else 'total equity'} at {ratio:+.4%} of the day's start")
        return None

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False

    def reduce(self, why: str) -> None:
        self.reducing_why = why

    @property
    def is_latched(self) -> bool:
        return bool(self.latches or self.reduced or self.disabled)

    def re_arm(self) -> None:
        self.latches.clear()
        self.reduced.clear()
        self.disabled.clear()
        self.disagreements.clear()
        self.latched_at = None

    def agree(self, venue: Venue) -> None:
        self.disagreements.pop(venue, None)

    def disagree(self, venue: Venue) -> None:
        self.disagreements[venue] = self.disagreements.get(venue, 0) + 1

    def close_off(self, venue: Venue) -> None:
        self.closed_off.add(venue)

    def hear(self, venue: Venue) -> None:
        self.closed_off.discard(venue)

    def latch(self, name: str, why: str, now: Nanos) -> bool:
        """Halt; whether the latch is new."""
        return self._latch(self.latches, name, why, now)

    def brake(self, name: str, why: str, now: Nanos) -> bool:
        """Take no more entries; whether the latch is new."""
        return self._latch(self.reduced, name, why, now)

    def disable(self, strategy: str, why: str, now: Nanos) -> bool:
        """Take no more entries of one strategy; whether the latch is new."""
        return self._latch(self.disabled, strategy, why, now)

    def _latch(self, latches: dict[str, str], name: str, why: str, now: Nanos) -> bool:
        if name in latches:
            return False
        latches[name], self.latched_at = why, now
        return True

    def roll(self, book: Book) -> None:
        """A new UTC day: its starting equity is known, and what held for the day is over."""
        self.day_equity, self.reducing_why, self._doubt = book.equity, "", None
