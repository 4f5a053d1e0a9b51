"""What a simulated venue can do wrong, scripted by the number of the order it happens to, by time, or by a seed.

Orders are counted from 1 as they are sent; queries are not counted, but an outage swallows them too.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from ffe.model import Fault, Nanos, Ratio


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """The answer to order number at never comes, or is useless; accepted says whether the order lives all the same."""

    at: int
    accepted: bool = False
    fault: Fault = Fault.TIMEOUT


def Timeout(at: int, accepted: bool = False) -> NoAnswer:  # noqa: N802 (it reads as the fault it makes)
    return NoAnswer(at, accepted, Fault.TIMEOUT)


def ServerError(at: int, accepted: bool = False) -> NoAnswer:  # noqa: N802
    return NoAnswer(at, accepted, Fault.SERVER_ERROR)


def Unreadable(at: int, accepted: bool = True) -> NoAnswer:  # noqa: N802
    return NoAnswer(at, accepted, Fault.UNREADABLE)


@dataclass(frozen=True, slots=True)
class Reject:
    """Order number at is refused for a reason of business."""

    at: int
    reason: str = "insufficient funds"


@dataclass(frozen=True, slots=True)
class Kill:
    """Order number at is accepted and then cancelled for the venue's own reasons."""

    at: int
    reason: str = "cancelled by the venue"


@dataclass(frozen=True, slots=True)
class Partial:
    """Order number at fills by these shares of its quantity, one an opportunity; the rest follows, or is cancelled."""

    at: int
    shares: tuple[Ratio, ...] = (0.5,)
    then_cancel: bool = False


@dataclass(frozen=True, slots=True)
class Outage:
    """Every call within [start, end) times out and nothing of it arrives; what rests at the venue goes on working."""

    start: Nanos
    end: Nanos


@dataclass(frozen=True, slots=True)
class Chaos:
    """Each order meets one of the faults above with this probability, drawn from the seed and its number alone."""

    seed: int
    rate: Ratio

    def draw(self, number: int) -> NoAnswer | Reject | Kill | Partial | None:
        digest = hashlib.sha256(f"{self.seed}:{number}".encode()).digest()
        if int.from_bytes(digest[:8], "big") >= self.rate * 2**64:
            return None
        kinds = (
            Timeout(number), Timeout(number, True), ServerError(number), ServerError(number, True), Unreadable(number),
            Reject(number), Kill(number), Partial(number, (0.3, 0.3)), Partial(number, (0.5,), True),
        )  # fmt: skip
        return kinds[digest[8] % len(kinds)]


AnyFault = NoAnswer | Reject | Kill | Partial | Outage | Chaos
