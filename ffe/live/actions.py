"""The values between a supervisor's decisions and the world: what goes in, and what is to be done."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import wraps
from typing import ParamSpec

# ---------------------------------------------------------------- what goes in


@dataclass(frozen=True, slots=True)
class Request:
    """number names whom the answer goes to; by is who asks, and is_ours that it is the engine, or was started by it."""

    number: int
    act: str
    by: str = ""
    instrument: str | None = None
    is_ours: bool = False


@dataclass(frozen=True, slots=True)
class Remainder:
    """What venues show of ours: quantities by instrument without their signs, and orders that rest or may still fill.
    unknown says what could not be asked."""

    held: Mapping[str, float]
    orders: int = 0
    unknown: str = ""

    @property
    def is_flat(self) -> bool:
        return not (self.held or self.orders or self.unknown)

    def is_less_than(self, least: Remainder) -> bool:
        """Whether less is held than ever before, or, with nothing held, less orders are out; what is unknown is not.
        Orders count last: a stop that makes way for a refused exit, and comes back, is no progress."""
        if self.unknown:
            return False
        has_shrunk = any(self.held.get(id, 0.0) < qty * (1.0 - 1e-9) for id, qty in least.held.items())
        return has_shrunk or (not self.held and self.orders < least.orders)

    def lowest(self, other: Remainder) -> Remainder:
        """The least of both, instrument by instrument; what has once been gone stays at nothing."""
        held = {id: min(qty, other.held.get(id, 0.0)) for id, qty in self.held.items()}
        return Remainder({**other.held, **held}, min(self.orders, other.orders))

    def text(self) -> str:
        held = [f"{id} {qty:g}" for id, qty in self.held.items()]
        orders = [f"{self.orders} orders that rest or may still fill"] if self.orders else []
        return ", ".join([*held, *orders, *([self.unknown] if self.unknown else [])])


@dataclass(frozen=True, slots=True)
class Report:
    """What a closing, or a look before an end, came to."""

    is_good: bool
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OpenedTrade:
    """A trade, told from every other by when it was opened."""

    instrument: str
    opened: int
    qty: float = 0.0


# ---------------------------------------------------------------- what is to be done


class Do(Enum):
    START = "start an engine"
    END = "ask the engine to end"
    KILL = "kill the engine"
    LATCH = "take the permit away"
    GIVE_PERMIT = "give the permit"
    READ_TRADES = "read from the journal which trades are open"
    CLOSE = "close what is ours"
    SECURE = "protect or close what is open, and verify it"
    VERIFY = "protect what is open, for as long as an end may take, and verify it"


@dataclass(frozen=True, slots=True)
class Look:
    """Ask the venues what they show of ours; an answer to an older look is worth nothing."""

    number: int


@dataclass(frozen=True, slots=True)
class Reply:
    """done, if it is said, ends the request."""

    to: int
    text: str
    done: bool | None = None


@dataclass(frozen=True, slots=True)
class Tell:
    """A command for the engine."""

    act: str
    by: str
    instrument: str | None
    number: int


@dataclass(frozen=True, slots=True)
class Announce:
    """For the terminal and the log."""

    text: str


@dataclass(frozen=True, slots=True)
class Leave:
    code: int


Action = Do | Look | Reply | Tell | Announce | Leave


P = ParamSpec("P")


def decided(decide: Callable[P, Iterator[Action]]) -> Callable[P, tuple[Action, ...]]:
    """All of a decision at once: an action must not be carried out while the decision is half made, and a decision
    whose actions nobody reads is made all the same."""

    @wraps(decide)
    def whole(*args: P.args, **kwargs: P.kwargs) -> tuple[Action, ...]:
        return tuple(decide(*args, **kwargs))

    return whole
