"""One venue's circuit breaker: closed -> open after consecutive failures -> half-open after a while -> closed by a
success.

Its state is a function of what was answered and of `now`, evaluated when asked: there is no timer. Every call to the
venue feeds it, only entries are refused by it. Half-open, a query must succeed first, then one entry is the probe; its
lease lasts a while, and a cancelled or hung probe frees its place. Answers from before the last opening are ignored.
One lock makes it usable from threads and from tasks alike.
"""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass
from enum import StrEnum

from ffe.model import SECOND, Nanos
from ffe.risk.limits import BreakerRules


class BreakerState(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class CallKind(StrEnum):
    ENTRY = "entry"
    ORDER = "order"  # any other order: never refused
    QUERY = "query"


@dataclass(frozen=True, slots=True)
class Call:
    """A call on its way; opening counts how often the breaker had opened when it left."""

    number: int
    kind: CallKind
    sent: Nanos
    opening: int


@dataclass(frozen=True, slots=True)
class BreakerNumbers:
    """Counts since the start, and nanoseconds spent in each state."""

    calls: int
    successes: int
    failures: int
    openings: int
    refused: int
    time_in_state: dict[BreakerState, Nanos]


class Breaker:
    def __init__(self, rules: BreakerRules, seed: str = "") -> None:
        self.rules, self.seed = rules, seed
        self._lock = threading.Lock()
        self._failures = {True: 0, False: 0}  # consecutive, of queries and of orders
        self._opened: Nanos | None = None
        self._half_open_at: Nanos = 0  # mutate: equivalent, read only once opened
        self._doublings = 0
        self._query_succeeded = False
        self._probe: Call | None = None
        self._calls = self._successes = self._failed = self._openings = self._refused = 0
        self._since: Nanos | None = None
        self._spent = dict.fromkeys(BreakerState, 0)

    def state(self, now: Nanos) -> BreakerState:
        if self._opened is None:
            return BreakerState.CLOSED
        return BreakerState.OPEN if now < self._half_open_at else BreakerState.HALF_OPEN

    @property
    def openings(self) -> int:
        return self._openings

    def needs_query(self, now: Nanos) -> bool:
        """Whether a half-open breaker still waits for a query to succeed before it lets a probe through."""
        return self.state(now) is BreakerState.HALF_OPEN and not self._query_succeeded

    def call(self, kind: CallKind, now: Nanos) -> Call | None:
        """Register a call that leaves now; None refuses an entry."""
        with self._lock:
            if kind is CallKind.ENTRY and not self._admits(now):
                self._refused += 1
                return None
            self._since = now if self._since is None else self._since
            self._calls += 1
            call = Call(self._calls, kind, now, self._openings)
            if kind is CallKind.ENTRY and self.state(now) is BreakerState.HALF_OPEN:
                self._probe = call
            return call

    def _admits(self, now: Nanos) -> bool:
        state = self.state(now)
        if state is not BreakerState.HALF_OPEN:
            return state is BreakerState.CLOSED
        lease_over = self._probe is None or now >= self._probe.sent + int(self.rules.probe_seconds * SECOND)
        return self._query_succeeded and lease_over

    def succeed(self, call: Call, now: Nanos) -> None:
        """The venue answered, whatever it said of the business."""
        with self._lock:
            self._successes += 1
            if call.opening != self._openings:
                return
            is_query = call.kind is CallKind.QUERY
            self._failures[is_query] = 0
            if self.state(now) is BreakerState.HALF_OPEN:
                if is_query:
                    self._query_succeeded = True
                elif self._query_succeeded:  # an exit, which no breaker refuses, may come before the query
                    self._close(now)

    def fail(self, call: Call, now: Nanos) -> None:
        """The venue gave no usable answer, or killed for its own reasons what it had accepted."""
        with self._lock:
            self._failed += 1
            if call.opening != self._openings:
                return
            is_query = call.kind is CallKind.QUERY
            self._failures[is_query] += 1
            state = self.state(now)
            if state is BreakerState.HALF_OPEN:
                self._doublings += 1
                self._open(now)
            elif state is BreakerState.CLOSED and self._failures[is_query] >= self.rules.failures:
                self._open(now)

    def cancel(self, call: Call) -> None:
        """The call told nothing (never left, was cancelled, met a rate limit): it counts for nothing and frees its
        place."""
        with self._lock:
            if self._probe == call:
                self._probe = None

    def _open(self, now: Nanos) -> None:
        self._account(now)
        self._openings += 1
        self._opened, self._half_open_at = now, now + self._window()
        self._failures = {True: 0, False: 0}
        self._query_succeeded, self._probe = False, None

    def _close(self, now: Nanos) -> None:
        self._account(now)
        self._opened, self._doublings, self._probe = None, 0, None

    def _window(self) -> Nanos:
        """60 s x 2^k, spread by a jitter that depends on the seed alone, never over the cap."""
        digest = hashlib.sha256(f"{self.seed}:{self._openings}".encode()).digest()
        unit = int.from_bytes(digest[:8], "big") / 2**63 - 1.0
        seconds = self.rules.open_seconds * 2.0 ** min(self._doublings, 60) * (1.0 + self.rules.jitter_ratio * unit)
        return int(min(seconds, self.rules.open_cap_seconds) * SECOND)

    def _account(self, now: Nanos) -> None:
        """Add the time since the last account to the states that it was spent in."""
        since, self._since = self._since if self._since is not None else now, now
        if self._opened is None:
            self._spent[BreakerState.CLOSED] += now - since
            return
        turned = min(max(self._half_open_at, since), now)
        self._spent[BreakerState.OPEN] += turned - since
        self._spent[BreakerState.HALF_OPEN] += now - turned

    def numbers(self, now: Nanos) -> BreakerNumbers:
        with self._lock:
            self._account(now)
            return BreakerNumbers(
                self._calls, self._successes, self._failed, self._openings, self._refused, dict(self._spent)
            )
