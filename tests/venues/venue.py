"""What the loopback venues of spot accounts share: a clock, an account, faults, and one request at a time.

A subclass reads its protocol's requests, routes them and words its refusals. The account keeps the truth; what a fault
does to a request or to its answer stands in `faults`. The clock is an argument, ids are counters, and nothing happens
between two calls: what arrives late arrives before the next one.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, NamedTuple, TypeVar

from ffe.model import Bar, Nanos
from tests.venues.faults import HTML, Asked, Fault
from tests.venues.matching import Account, Balance, Kind, Order, Reason, Rejected, Side, Trade, exact
from tests.venues.server import Json, Reply, Request

MS, SECOND, MINUTE, DAY = 10**6, 10**9, 60 * 10**9, 86_400 * 10**9

Row = TypeVar("Row")


class Refused(Exception):
    """What the venue answers instead: its code and message, with an HTTP status. Without a code it is a page."""

    def __init__(
        self, code: int | str | None, message: str, status: int = 400, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(f"{code} {message}")
        self.code, self.message, self.status, self.headers = code, message, status, dict(headers or {})


class Shown(NamedTuple):
    """A balance as an answer words it."""

    free: str | None
    locked: str | None


@dataclass
class Altered:
    """What faults make the answer to the present request show in place of the truth."""

    balances: dict[str, Shown] | None = None
    lists: list[Callable[[Sequence[Any]], Sequence[Any]]] = field(default_factory=list)


class Venue(ABC):
    """One account at a venue. Every attribute without an underscore may be changed or read by a test at any time."""

    SEPARATOR: ClassVar[str] = ""  # between base and quote in a symbol
    LISTS: ClassVar[frozenset[str]] = frozenset()  # the fields of an answer that list its rows, where it is no list
    EXECUTED: ClassVar[tuple[str, ...]]  # the fields that say what became of an order
    PRICES: ClassVar[tuple[str, ...]]  # the fields of a ticker that say a price

    account: Account

    def __init__(self, clock: Callable[[], Nanos], faults: Iterable[Fault]) -> None:
        self.clock = clock
        self.faults: list[Fault] = list(faults)
        self.met: Counter[str] = Counter()  # faults, by name
        self.requests: list[Asked] = []
        self.skew: Nanos = 0  # how far the venue's clock is ahead of ours
        self.checks_time = True  # off for a virtual clock that the client does not follow
        self.is_revoked = False
        self.id_length: int | None = None  # how far client ids are kept
        self.entered: list[Order] = []  # by the present request
        self.altered = Altered()
        self.hidden: dict[int, Nanos] = {}  # orders that no query finds before this time
        self.bars: dict[tuple[str, str], list[Bar]] = {}  # by symbol and interval
        self._lock = threading.RLock()
        self._late: list[tuple[Nanos, Callable[[], Json]]] = []

    # ------------------------------------------------------------ what a protocol adds

    @abstractmethod
    def read(self, request: Request) -> Asked:
        """The request in the venue's words, without signatures and keys."""

    @abstractmethod
    def route(self, request: Request, asked: Asked) -> Callable[[], Json]:
        """What answers a request that is permitted. Raises Refused."""

    @abstractmethod
    def refused(
        self,
        why: Reason | int | str | None,
        message: str = "",
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Refused:
        """The refusal for a reason or by a code of the venue."""

    @abstractmethod
    def worded(self, refused: Refused, asked: Asked | None) -> Reply:
        """A refusal that has a code, as the answer to a request."""

    @abstractmethod
    def found(self, params: Mapping[str, Any]) -> Order | None:
        """The order that a request names."""

    def headers(self) -> Mapping[str, str]:
        """What every answer carries."""
        return {}

    # ------------------------------------------------------------ for the test

    def now(self) -> Nanos:
        return self.clock() + self.skew

    def price(self, symbol: str, mid: float) -> None:
        """Let the market trade at this price, and what rests there work."""
        with self.present() as account:
            account.move(symbol, exact(mid))

    @property
    def fill_on_next_price(self) -> bool:
        """Whether market orders wait for the next price, as they wait for the next open in a replay."""
        return self.account.fill_on_next_price

    @fill_on_next_price.setter
    def fill_on_next_price(self, waits: bool) -> None:
        self.account.fill_on_next_price = waits

    @property
    def orders(self) -> list[Order]:
        with self.present() as account:
            return list(account.orders.values())

    @property
    def trades(self) -> list[Trade]:
        with self.present() as account:
            return list(account.trades)

    @property
    def balances(self) -> dict[str, Balance]:
        with self.present() as account:
            return account.balances()

    def open_orders(self, symbol: str | None = None) -> list[Order]:
        with self.present() as account:
            return account.open_orders(symbol)

    def change(self, symbol: str, **changes: object) -> None:
        """Change a market's filters, or halt it: change("BTCUSDT", is_trading=False)."""
        with self.present() as account:
            account.markets[symbol] = replace(account.markets[symbol], **changes)  # type: ignore[arg-type]

    def cancel_all(self) -> None:
        """End every order, unasked."""
        with self.present() as account:
            for order in account.open_orders():
                account.cancel(order)

    def trade_by_hand(self, symbol: str, side: Side, qty: float) -> None:
        """Somebody else trades on this account, at the market."""
        with self.present() as account:
            account.place(Order(0, f"web_{len(account.orders)}", symbol, side, Kind.MARKET, exact(qty)))

    # ------------------------------------------------------------ requests

    def __call__(self, request: Request) -> Reply:
        with self.present():
            asked = self.read(request)
            self.requests.append(asked)
            faults, known = self._met(asked), len(self.account.orders)
            reply = self._answer(request, asked, faults)
            self.account.parts, self.account.then_cancel = (), False  # a script is for this request alone
            self.entered = list(self.account.orders.values())[known:]
            for fault in faults:
                reply = fault.after(self, reply)
            self.altered = Altered()
            return replace(reply, headers={**self.headers(), **reply.headers})

    def _met(self, asked: Asked) -> list[Fault]:
        """The faults that this request meets; the list keeps what is left of each."""
        met = [fault for fault in self.faults if fault.meets(asked)]
        self.met.update(fault.name for fault in met)
        self.faults = [left for fault in self.faults if (left := fault.counted(asked)) is not None]
        return met

    def _answer(self, request: Request, asked: Asked, faults: Sequence[Fault]) -> Reply:
        try:
            for fault in faults:
                fault.before(self, asked)
            answer = self.route(request, asked)
            delays = [fault.late for fault in faults if fault.late is not None]
            if delays:
                self._late.append((self.now() + max(delays), answer))
            is_lost = bool(delays) or any(fault.is_lost for fault in faults)
            return Reply(None if is_lost else answer())
        except Rejected as rejected:
            return self.refusal(self.rejection(rejected), asked)
        except Refused as refused:
            return self.refusal(refused, asked)

    def rejection(self, rejected: Rejected) -> Refused:
        """What the venue says of an order that its account does not take."""
        return self.refused(rejected.reason)

    def refusal(self, refused: Refused, asked: Asked | None = None) -> Reply:
        if refused.code is None:
            return Reply(HTML, refused.status, {"Content-Type": "text/html", **refused.headers})
        return self.worded(refused, asked)

    @contextmanager
    def present(self) -> Iterator[Account]:
        """The account for one caller at a time, after all that is due by now."""
        with self._lock:
            self._arrive()
            yield self.account

    def later(self, by: Nanos, act: Callable[[], Json]) -> None:
        self._late.append((self.now() + by, act))

    def _arrive(self) -> None:
        """Let what was late and is due by now arrive; the reply is dropped."""
        due = [arrive for at, arrive in self._late if at <= self.now()]
        self._late = [(at, arrive) for at, arrive in self._late if at > self.now()]
        for arrive in due:
            try:
                arrive()
            except (Refused, Rejected):
                continue  # the client has closed the connection long ago

    # ------------------------------------------------------------ what answers show

    def is_visible(self, id: int) -> bool:
        return self.hidden.get(id, 0) <= self.now()

    def shown_balances(self, at: Nanos | None = None) -> dict[str, Shown]:
        """What an answer says of the balances now, or of those at an earlier time."""
        if at is None and self.altered.balances is not None:
            return self.altered.balances
        held = self.account.balances() if at is None else self.account.balances_at(at)
        return {asset: Shown(f"{each.free:.8f}", f"{each.locked:.8f}") for asset, each in held.items()}

    def listed(self, rows: Sequence[Row]) -> Sequence[Row]:
        """The rows of a page, as faults leave them."""
        for relist in self.altered.lists:
            rows = relist(rows)
        return rows

    def begun(self, symbol: str, interval: str) -> list[Bar]:
        """Bars that have begun. The running one shows its open and the present price, nothing of its future."""
        begun = [bar for bar in self.bars.get((symbol, interval), []) if bar.open_time <= self.now()]
        return [bar if bar.close_time <= self.now() else self._running(bar, symbol) for bar in begun]

    def _running(self, bar: Bar, symbol: str) -> Bar:
        last = float(self.account.mids.get(symbol, exact(bar.open)))
        return replace(bar, high=max(bar.open, last), low=min(bar.open, last), close=last, volume=0.0)
