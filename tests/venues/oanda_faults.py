"""What the loopback OANDA can do wrong, as frozen values: which requests it happens to, and what happens.

A fault counts the requests that fit its `on` from the moment it was scripted: `POST_ORDER` is the next order,
`POST_ORDER.at(2)` the one after, `POST_ORDER.every()` all of them. `.during(start, end)` takes every request of a time
window instead, half-open, by the venue's unskewed clock. Of several faults that fit one request, the first that answers
in the venue's place wins.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING

from tests.venues.oanda_values import Plan
from tests.venues.oanda_wire import ACCOUNT, Cell, Reply, Request, Wire, refused

if TYPE_CHECKING:
    from tests.venues.oanda import Oanda


@dataclass(frozen=True, slots=True)
class On:
    """Requests by method and route template, empty is any: count of them from the first-th on, or a time window."""

    method: str = ""
    route: str = ""
    first: int = 1
    count: int = 1
    start: int | None = None
    end: int | None = None

    def at(self, first: int, count: int = 1) -> On:
        return replace(self, first=first, count=count)

    def every(self) -> On:
        return self.at(1, 10**9)

    def during(self, start: int, end: int) -> On:
        return replace(self, start=start, end=end)

    def fits(self, request: Request) -> bool:
        return self.method in ("", request.method) and self.route in ("", request.route)

    def is_now(self, time: int, seen: int) -> bool:
        """Whether the seen-th fitting request, at this time, is one that it means."""
        if self.start is not None and self.end is not None:
            return self.start <= time < self.end
        return self.first <= seen < self.first + self.count


ANY = On()
POST_ORDER = On("POST", f"{ACCOUNT}/orders")
GET_ORDER = On("GET", f"{ACCOUNT}/orders/{{orderSpecifier}}")
CANCEL = On("PUT", f"{ACCOUNT}/orders/{{orderSpecifier}}/cancel")
PENDING = On("GET", f"{ACCOUNT}/pendingOrders")
PROTECT = On("PUT", f"{ACCOUNT}/trades/{{tradeSpecifier}}/orders")
OPEN_TRADES = On("GET", f"{ACCOUNT}/openTrades")
OPEN_POSITIONS = On("GET", f"{ACCOUNT}/openPositions")
SUMMARY = On("GET", f"{ACCOUNT}/summary")
PRICING = On("GET", f"{ACCOUNT}/pricing")
INSTRUMENTS = On("GET", f"{ACCOUNT}/instruments")
SINCE_ID = On("GET", f"{ACCOUNT}/transactions/sinceid")
ID_RANGE = On("GET", f"{ACCOUNT}/transactions/idrange")


@dataclass(frozen=True, slots=True)
class Fault:
    """The three places where a fault may act; by itself it does nothing."""

    on: On

    def plan(self, plan: Plan) -> Plan:
        """What becomes of the order that the request places."""
        return plan

    def before(self, venue: Oanda, request: Request) -> Reply | None:
        """What is answered in place of the venue, if anything."""
        return None

    def after(self, venue: Oanda, request: Request, reply: Reply) -> Reply:
        """What becomes of the venue's answer."""
        return reply


# ---------------------------------------------------------------- the line


@dataclass(frozen=True, slots=True)
class NoReply(Fault):
    """F1, F2, F3, F21, F29: the request is lost, or is accepted and its reply lost; the line hangs or breaks."""

    accepted: bool = False
    drops: bool = False

    def before(self, venue: Oanda, request: Request) -> Reply | None:
        return None if self.accepted else Reply(0, hangs=not self.drops, drops=self.drops)

    def after(self, venue: Oanda, request: Request, reply: Reply) -> Reply:
        return replace(reply, hangs=not self.drops, drops=self.drops)


@dataclass(frozen=True, slots=True)
class HttpError(Fault):
    """F4, F5, F11, F12, F14, F36: an HTTP status instead of the answer, the request accepted all the same or not."""

    status: int = 502
    accepted: bool = False
    retry_after: int | None = None

    def _reply(self) -> Reply:
        headers = () if self.retry_after is None else (("Retry-After", str(self.retry_after)),)
        return Reply(self.status, {"errorMessage": f"scripted {self.status}"}, headers)

    def before(self, venue: Oanda, request: Request) -> Reply | None:
        return None if self.accepted else self._reply()

    def after(self, venue: Oanda, request: Request, reply: Reply) -> Reply:
        return self._reply()


@dataclass(frozen=True, slots=True)
class Zombie(Fault):
    """F6: the line breaks or hangs, and the request arrives late, when the clock has moved by so many nanoseconds."""

    late: int = 30_000_000_000
    drops: bool = False

    def before(self, venue: Oanda, request: Request) -> Reply | None:
        venue.later(self.late, request)
        return Reply(0, hangs=not self.drops, drops=self.drops)


@dataclass(frozen=True, slots=True)
class Slow(Fault):
    """F30: the answer is made at once and sent after so many real seconds, so a later one may overtake it."""

    seconds: float = 0.1

    def after(self, venue: Oanda, request: Request, reply: Reply) -> Reply:
        return replace(reply, delay=self.seconds)


@dataclass(frozen=True, slots=True)
class Garbled(Fault):
    """F9: accepted, with the right status, but the body is 'html', 'truncated', 'empty' or a 'list'."""

    how: str = "html"

    def after(self, venue: Oanda, request: Request, reply: Reply) -> Reply:
        whole = reply.encoded()
        page = b"<html><body>Just a moment...</body></html>"
        body = {"html": page, "truncated": whole[: len(whole) // 2], "empty": b"", "list": b"[]"}[self.how]
        kind = (("Content-Type", "text/html"),) if self.how == "html" else ()
        return replace(reply, body=body, headers=(*reply.headers, *kind))


# ---------------------------------------------------------------- what an answer says


@dataclass(frozen=True, slots=True)
class Altered(Fault):
    """F10, F26, F27, F33: cells of the answer are null, missing or otherwise; a path is dotted, * is every element.

    ("account.balance", None) is null, ("account.balance", MISSING) takes the cell away.
    """

    cells: tuple[tuple[str, Cell], ...] = ()

    def after(self, venue: Oanda, request: Request, reply: Reply) -> Reply:
        body = json.loads(reply.encoded())
        for path, cell in self.cells:
            alter(body, path.split("."), cell)
        return replace(reply, body=body)


MISSING = "\0missing"


def alter(body: Cell, path: list[str], cell: Cell) -> None:
    name, *rest = path
    if isinstance(body, list):
        for index in range(len(body)) if name == "*" else [int(name)]:
            alter(body[index], rest, cell) if rest else body.__setitem__(index, cell)
    elif isinstance(body, dict) and rest and name in body:
        alter(body[name], rest, cell)
    elif isinstance(body, dict) and cell == MISSING:
        body.pop(name, None)
    elif isinstance(body, dict) and not rest:
        body[name] = cell


def BadPrice(on: On, bid: str, ask: str) -> Altered:  # noqa: N802 (it reads as the fault it makes)
    """F27: pricing shows this bid and ask: zero, negative, crossed, a spike, or no number."""
    return Altered(on, (("prices.*.bids.*.price", bid), ("prices.*.closeoutBid", bid),
                        ("prices.*.asks.*.price", ask), ("prices.*.closeoutAsk", ask)))  # fmt: skip


def WrongSymbol(on: On, instrument: str) -> Altered:  # noqa: N802
    """F27: pricing answers about another instrument."""
    return Altered(on, (("prices.*.instrument", instrument),))


def NotTradeable(on: On) -> Altered:  # noqa: N802
    """F27: pricing says that nothing can be traded, though it can."""
    return Altered(on, (("prices.*.status", "non-tradeable"), ("prices.*.tradeable", False)))


@dataclass(frozen=True, slots=True)
class Hidden(Fault):
    """F7, F8, F25: a lookup of what exists finds nothing, a list of it is empty; at(2) hides what was seen before."""

    def after(self, venue: Oanda, request: Request, reply: Reply) -> Reply:
        if request.route.endswith("Specifier}"):
            return refused(404, "NO_SUCH_ORDER" if "orders" in request.route else "NO_SUCH_TRADE", "not found")
        body = json.loads(reply.encoded())
        return replace(reply, body={name: [] if isinstance(cell, list) else cell for name, cell in body.items()})


@dataclass(frozen=True, slots=True)
class Stale(Fault):
    """F25, F27: the answer is the one last given to the same question; the first time it is as it should be."""

    def after(self, venue: Oanda, request: Request, reply: Reply) -> Reply:
        return venue.said.get(request.question, reply)


@dataclass(frozen=True, slots=True)
class Rows(Fault):
    """F16, F17, F18, F35: the rows of a list come twice, twice under new ids, reversed, or only every second one."""

    how: str = "repeated"  # "renumbered", "reversed", "lost"

    def after(self, venue: Oanda, request: Request, reply: Reply) -> Reply:
        body = json.loads(reply.encoded())
        make: dict[str, Callable[[list[Wire]], list[Wire]]] = {
            "repeated": lambda rows: [row for row in rows for _ in range(2)],
            "renumbered": lambda rows: [*rows, *({**row, "id": str(int(row["id"]) + 1_000_000)} for row in rows)],
            "reversed": lambda rows: rows[::-1],
            "lost": lambda rows: rows[1::2],
        }
        return replace(reply, body={n: make[self.how](c) if isinstance(c, list) else c for n, c in body.items()})


# ---------------------------------------------------------------- what becomes of an order


@dataclass(frozen=True, slots=True)
class Planned(Fault):
    """An order meets a plan that is not the venue's own; the makers below say which."""

    changes: Callable[[Plan], Plan] = lambda plan: plan

    def plan(self, plan: Plan) -> Plan:
        return self.changes(plan)


def Reject(on: On, reason: str = "INSUFFICIENT_MARGIN") -> Planned:  # noqa: N802
    """F13, F23: the order is refused with a 400 and its reject transaction."""
    return Planned(on, lambda plan: replace(plan, reject=reason))


def Kill(on: On, reason: str = "MARKET_HALTED") -> Planned:  # noqa: N802
    """F13: the order is taken with a 201 and cancelled at once."""
    return Planned(on, lambda plan: replace(plan, kill=reason))


def Partial(on: On, *shares: str, then_cancel: bool = False) -> Planned:  # noqa: N802
    """F15: an order fills by these shares, one at each quote; the rest follows, or is cancelled. FOK is killed."""
    return Planned(on, lambda plan: replace(plan, shares=tuple(map(Decimal, shares)), then_cancel=then_cancel))


def Overfill(on: On, units: int = 1) -> Planned:  # noqa: N802
    """F19: more is filled than was ordered."""
    return Planned(on, lambda plan: replace(plan, extra=Decimal(units)))


def LoseStop(on: On) -> Planned:  # noqa: N802
    """F23: the stop that came with an entry is never made, without a word."""
    return Planned(on, lambda plan: replace(plan, loses_stop=True))


def TruncateId(on: On, length: int) -> Planned:  # noqa: N802
    """F34: the client id is kept only so far."""
    return Planned(on, lambda plan: replace(plan, id_length=length))


# ---------------------------------------------------------------- what happens meanwhile


@dataclass(frozen=True, slots=True)
class Meanwhile(Fault):
    """Something happens at the venue just before the request arrives; the makers below say what."""

    act: Callable[[Oanda, Request], None] = lambda venue, request: None

    def before(self, venue: Oanda, request: Request) -> Reply | None:
        self.act(venue, request)
        return None


def FillFirst(on: On = CANCEL) -> Meanwhile:  # noqa: N802
    """F20: the order fills just before its cancel arrives, which is then too late."""
    return Meanwhile(on, lambda venue, request: venue.fill(request.params["orderSpecifier"]))


def ManualTrade(on: On, instrument: str, units: int) -> Meanwhile:  # noqa: N802
    """F22: somebody trades on the account by hand."""
    return Meanwhile(on, lambda venue, _: venue.trade_by_hand(instrument, units))


def CancelUnasked(on: On, reason: str = "ACCOUNT_ORDER_FILL_LOCKED", kind: str = "") -> Meanwhile:  # noqa: N802
    """F22, F36: the venue cancels what rests, all or of one type, and says so in a transaction."""
    return Meanwhile(on, lambda venue, _: venue.cancel_all(reason, kind))


def ForgetOrders(on: On, kind: str = "STOP_LOSS") -> Meanwhile:  # noqa: N802
    """F23: what rests of one type is gone without a word."""
    return Meanwhile(on, lambda venue, _: venue.forget_all(kind))


def Change(on: On, instrument: str, **changes: object) -> Meanwhile:  # noqa: N802
    """F33: an instrument is not what it was: Change(ANY, "EUR_USD", precision=4) or delisted=True."""
    return Meanwhile(on, lambda venue, _: venue.change(instrument, **changes))


# ---------------------------------------------------------------- states of the venue that last


@dataclass(frozen=True, slots=True)
class MarketClosed(Fault):
    """F32: nothing can be traded in this window and what rests is not worked, whatever the prices do."""


@dataclass(frozen=True, slots=True)
class StopsAsleep(Fault):
    """F23: stops rest untriggered in this window, though the price is beyond them."""


@dataclass(frozen=True, slots=True)
class Skew(Fault):
    """F31: the venue's stamps are off by so many nanoseconds in this window."""

    nanos: int = 5_000_000_000


@dataclass(frozen=True, slots=True)
class Maintenance(Fault):
    """F36: every call of this window is a 503, and all that rests has been cancelled."""

    def before(self, venue: Oanda, request: Request) -> Reply | None:
        return Reply(503, {"errorMessage": "maintenance"}, (("Retry-After", "60"),))


@dataclass(frozen=True, slots=True)
class Chaos(Fault):
    """A fitting request meets one of these faults with this probability, drawn from the seed and its number alone."""

    seed: int = 0
    rate: float = 0.1
    faults: tuple[Fault, ...] = ()

    def draw(self, number: int) -> Fault | None:
        digest = hashlib.sha256(f"{self.seed}:{number}".encode()).digest()
        if int.from_bytes(digest[:8], "big") >= self.rate * 2**64:
            return None
        return self.faults[digest[8] % len(self.faults)]
