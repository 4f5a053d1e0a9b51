"""How long a position is without its stop: the product of orders and faults, against real sessions.

A session holds one thing; it is closed by command and bought again, and in each round an order of one role meets one
fault. The venue's own ledger is looked at every few milliseconds: bare is a position that can be sold and that no
resting stop covers, while the venue takes orders. Five seconds is the most that a position may be bare.
"""

from __future__ import annotations

import random
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from ffe.live.client import ask
from ffe.model import Act
from tests.live.street import CoinbaseStreet, Session, Street, session
from tests.live.test_oanda import PAIR, OandaStreet
from tests.live.test_oanda import street as oanda_street
from tests.venues import faults as f
from tests.venues import oanda_faults as o
from tests.venues.venue import Venue

LONGEST = 5.0  # seconds without a stop
FLAT_WITHIN = 10.0  # seconds of an emergency stop, once the venue takes orders
ROLES = ("entry", "stop", "exit", "cancel")
FAULTS = ("lost", "answer lost", "429", "503", "page", "no status", "prices dead", "account dead", "halted")

# The fees of so many trades are no loss of a day, and a breaker that so many faults open keeps no round waiting long.
MANY = "[watch]\nday_loss_ratio = 0.9\n[breaker]\nopen_seconds = 5.0\nopen_cap_seconds = 10.0\n"
CLOSE = o.On("PUT", f"{o.ACCOUNT}/trades/{{tradeSpecifier}}/close")
ON = {"entry": "POST order LIMIT", "stop": "POST order STOP*", "exit": "POST order MARKET", "cancel": "DELETE order"}


@dataclass
class Watch:
    """The venue's ledger, looked at all the time."""

    place: Place
    bare: float = 0.0  # the longest of this round
    flat_since: float | None = None
    _since: float | None = None
    _ends: threading.Event = field(default_factory=threading.Event)

    def begin(self) -> None:
        self.bare, self._since = 0.0, None

    def run(self) -> None:
        while not self._ends.wait(0.02):
            now = time.monotonic()
            if self.place.is_bare() and self.place.takes_orders():
                self._since = now if self._since is None else self._since
                self.bare = max(self.bare, now - self._since)
            else:
                self._since = None
            self.flat_since = (self.flat_since or now) if self.place.is_flat() else None

    def stop(self) -> None:
        self._ends.set()


class Place(ABC):
    """A venue with a session that trades there."""

    street: Street
    roles: tuple[str, ...] = ROLES
    blocked_until = 0.0  # no order is taken until then
    blind_until = 0.0  # no question is answered until then

    @abstractmethod
    def inject(self, role: str, kind: str, seconds: float) -> None:
        """The next order of this role meets this fault; what lasts, lasts so many seconds from there."""

    @abstractmethod
    def is_bare(self) -> bool: ...

    @abstractmethod
    def is_flat(self) -> bool: ...

    @abstractmethod
    def requests(self, role: str) -> int:
        """How many orders of this role have been sent here."""

    def takes_orders(self) -> bool:
        """Whether no fault that lasts keeps orders away now."""
        return time.monotonic() >= self.blocked_until

    @abstractmethod
    def heal(self) -> None:
        """Everything works again."""

    @abstractmethod
    def entries(self) -> int:
        """How many purchases the venue has taken."""


class Spot(Place):
    """Binance's and Coinbase's loopback venues alike: requests carry Binance's names."""

    def __init__(self, street: Street, symbol: str) -> None:
        self.street, self.symbol = street, symbol

    @property
    def venue(self) -> Venue:
        return self.street.venue

    def inject(self, role: str, kind: str, seconds: float) -> None:
        self.venue.faults = [self._fault(ON[role], kind, seconds)]

    def _fault(self, on: str, kind: str, seconds: float) -> f.Fault:
        match kind:
            case "lost":
                return f.Drop(on=on)
            case "answer lost":
                return f.Drop(on=on, accepted=True)
            case "429":
                return f.RateLimited(retry_after=2, on=on)
            case "503":
                return f.ServerError(on=on)
            case "page":
                return f.Page(on=on)
            case "no status":
                return f.Nulled("status", on=on)
            case "prices dead":
                return self._then(on, f.ServerError(on="GET ticker*"), f.ServerError(on="GET klines"), seconds=seconds)
            case "account dead":
                dead = [f.Hang(on=f"GET {each}") for each in ("account", "openOrders", "order", "myTrades")]
                return self._then(on, *dead, seconds=seconds)
            case "halted":
                return replace(f.Drop(on=on), name="Halted", is_lost=False, after=_as_is, before=self._halt(seconds))
        raise AssertionError(kind)

    def _then(self, on: str, *after: f.Fault, seconds: float) -> f.Fault:
        """From this order on, for so long, these faults as well; the order itself is lost."""

        def begin(venue: Venue, asked: f.Asked) -> None:
            end = venue.now() + int(seconds * 1e9)
            self.blind_until = time.monotonic() + seconds
            venue.faults = [*venue.faults, *(replace(fault, end=end) for fault in after)]

        return replace(f.Drop(on=on), before=begin)

    def _halt(self, seconds: float) -> Callable[[Venue, f.Asked], None]:
        def halt(venue: Venue, asked: f.Asked) -> None:
            venue.change(self.symbol, is_trading=False)
            self.blocked_until = time.monotonic() + seconds
            threading.Timer(seconds, lambda: venue.change(self.symbol, is_trading=True)).start()

        return halt

    def is_bare(self) -> bool:
        held = self.street.held(self.symbol)
        covered = sum(float(order.left) for order in self.street.stops(self.symbol))
        return (held - covered) * self.street.prices[self.symbol] > 10.0

    def is_flat(self) -> bool:
        return self.street.is_flat() and not self.street.stops(self.symbol)

    def requests(self, role: str) -> int:
        return sum(f.Fault(on=ON[role]).fits(asked) for asked in list(self.venue.requests))

    def heal(self) -> None:
        self.venue.faults = []

    def entries(self) -> int:
        return len(self.street.entries())


def _as_is(venue: Venue, reply: f.Reply) -> f.Reply:
    return reply


@contextmanager
def binance(folder: Path) -> Iterator[tuple[Place, Session]]:
    with Street(folder, MANY) as street, session(street, "Holds", symbols="BTC/USDT") as live:
        yield Spot(street, "BTCUSDT"), live


@contextmanager
def coinbase(folder: Path) -> Iterator[tuple[Place, Session]]:
    with CoinbaseStreet(folder, MANY) as street, session(street, "HoldsAtOnce", symbols="BTC/USD") as live:
        yield Spot(street, "BTC-USD"), live


class AtOanda(Place):
    """An exit leaves the stop where it is, and nothing has to be cancelled."""

    ROLE_ON: ClassVar = {"entry": o.POST_ORDER, "stop": o.PROTECT, "exit": CLOSE}
    roles = ("entry", "stop", "exit")

    def __init__(self, street: OandaStreet) -> None:
        self.street, self.venue = street, street.at_oanda

    def inject(self, role: str, kind: str, seconds: float) -> None:
        self.heal()
        on, now = self.ROLE_ON[role], time.time_ns()
        window = (now, now + int((seconds + 4.0) * 1e9))  # the order follows within seconds
        lost = o.NoReply(on, drops=True)
        match kind:
            case "lost" | "no status":
                self.venue.script(lost)
            case "answer lost":
                self.venue.script(o.NoReply(on, accepted=True, drops=True))
            case "429":
                self.venue.script(o.HttpError(on, 429, retry_after=2))
            case "503":
                self.venue.script(o.HttpError(on, 503))
            case "page":
                self.venue.script(o.Garbled(on))
            case "prices dead":
                self.venue.script(lost, o.HttpError(o.PRICING.during(*window), 503))
            case "account dead":
                self.blind_until = time.monotonic() + seconds + 4.0
                dead = (o.SUMMARY, o.OPEN_POSITIONS, o.SINCE_ID)
                self.venue.script(lost, *(o.NoReply(each.during(*window)) for each in dead))
            case "halted":
                self.venue.script(o.MarketClosed(o.ANY.during(*window)))
                self.blocked_until = time.monotonic() + seconds + 4.0

    def is_bare(self) -> bool:
        stops = [order for order in list(self.venue.orders.values()) if order.state == "PENDING"]
        covered = {order.trade for order in stops if order.type == "STOP_LOSS"}
        return any(trade.units and trade.id not in covered for trade in list(self.venue.trades.values()))

    def is_flat(self) -> bool:
        return not self.venue.held(PAIR)

    def requests(self, role: str) -> int:
        return sum(self.ROLE_ON[role].fits(asked) for asked in list(self.venue.requests))

    def heal(self) -> None:
        self.venue.faults.clear()
        self.venue._seen.clear()

    def entries(self) -> int:
        orders = [order for order in list(self.venue.orders.values()) if order.type == "MARKET"]
        return sum(order.wire().get("positionFill") == "OPEN_ONLY" for order in orders)


@contextmanager
def oanda(folder: Path) -> Iterator[tuple[Place, Session]]:
    with oanda_street(folder) as street:
        settings = street.folder / "ffe.toml"
        settings.write_text(settings.read_text() + "[controls]\nrepeats = 10000\nduplicate_seconds = 0.001\n" + MANY)
        with session(street, "HoldsAtOnce", "--interval", "5s", symbols="EUR/USD") as live:
            yield AtOanda(street), live


PLACES = {"binance": binance, "coinbase": coinbase, "oanda": oanda}


# ---------------------------------------------------------------- rounds


def is_safe(status: dict[str, Any]) -> bool:
    return bool(status.get("trades")) and all(trade["is_protected"] for trade in status["trades"])


def settle(place: Place, live: Session, seconds: float = 120.0) -> None:
    """Held, behind a confirmed stop, and nothing wrong."""
    place.heal()
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if is_safe(live.status()) and not place.is_bare() and not place.is_flat():
            return
        time.sleep(0.1)
    raise AssertionError(f"not settled within {seconds} s: {live.status()}\n{live.said[-3000:]}")


def close_all(live: Session) -> None:
    with closing(ask(live.data, Act.CLOSE_ALL)) as answers:
        next(answers, None)


def rounds(place: Place, live: Session, watch: Watch, cases: list[tuple[str, str]], seconds: float) -> dict[str, float]:
    found = dict[str, float]()
    for role, kind in cases:
        settle(place, live)
        time.sleep(0.5)
        met, entries = place.entries(), place.entries()
        watch.begin()
        place.inject(role, kind, seconds)
        close_all(live)
        deadline = time.monotonic() + 260.0  # an open breaker keeps entries away for minutes
        while time.monotonic() < deadline and not (place.entries() > entries and is_safe(live.status())):
            time.sleep(0.1)
        assert place.entries() > met, f"{role} {kind}: nothing was bought again\n{live.said[-3000:]}"
        found[f"{role} × {kind}"] = watch.bare
    return found


def cases_of(place: Place, seed: int) -> list[tuple[str, str]]:
    cases = [(role, kind) for role in place.roles for kind in FAULTS]
    random.Random(seed).shuffle(cases)
    return cases


@contextmanager
def watched(place: Place) -> Iterator[Watch]:
    watch = Watch(place)
    thread = threading.Thread(target=watch.run, daemon=True)
    thread.start()
    try:
        yield watch
    finally:
        watch.stop()
        thread.join(2.0)


@pytest.mark.campaign
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("where", list(PLACES))
def test_no_position_is_bare_for_longer_than_five_seconds(
    where: str, seed: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chance = random.Random(seed)
    with PLACES[where](tmp_path) as (place, live), watched(place) as watch:
        found = rounds(place, live, watch, cases_of(place, seed), seconds=chance.uniform(4.0, 9.0))
    with capsys.disabled():
        rows = sorted(found.items(), key=lambda row: -row[1])
        print(f"\n{where}, seed {seed}: {len(found)} rounds, the longest bare {rows[0][1]:.2f} s")
        print("\n".join(f"  {name:28} {bare:5.2f} s" for name, bare in rows[:8]))
    assert max(found.values()) <= LONGEST, rows[:5]


# ---------------------------------------------------------------- the emergency stop in the same product


def until_sent(place: Place, live: Session, role: str) -> None:
    """Close what is held, and wait until it is bought again and an order of this role has left."""
    before, deadline = place.requests(role), time.monotonic() + 60.0
    close_all(live)
    while place.requests(role) == before:
        assert time.monotonic() < deadline, f"no {role} left\n{live.said[-3000:]}"
        time.sleep(0.01)


def stopped(place: Place, live: Session, watch: Watch, role: str, kind: str, seconds: float) -> tuple[float, float]:
    """Press when an order of this role meets a fault. Seconds until the venue's ledger is flat, from when it takes
    orders; and until that is said, from when it also answers questions."""
    place.inject(role, kind, seconds)
    if role in ("entry", "stop"):
        until_sent(place, live, role)
    entries, begun, said_at = None, time.monotonic(), None
    with closing(ask(live.data, Act.EMERGENCY_STOP)) as answers:
        for answer in answers:
            if entries is None:  # the first word is the latch
                entries = place.entries()
            if answer.get("done"):
                assert place.is_flat(), f"{role} {kind}: done, and it is not flat"
                said_at = time.monotonic()
    assert said_at is not None, f"{role} {kind}: never done\n{live.said[-3000:]}"
    assert place.entries() == entries, f"{role} {kind}: an entry after the latch"
    time.sleep(0.1)
    assert watch.flat_since is not None, f"{role} {kind}: flat no longer"
    since = max(begun, place.blocked_until)
    return max(0.0, watch.flat_since - since), said_at - max(since, place.blind_until)


@pytest.mark.campaign
@pytest.mark.parametrize("where", list(PLACES))
def test_emergency_stop_is_flat_within_ten_seconds_of_the_venue_taking_orders(
    where: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = dict[str, tuple[float, float]]()
    with PLACES[where](tmp_path) as (place, live), watched(place) as watch:
        for role, kind in cases_of(place, seed=0):
            settle(place, live)
            found[f"{role} × {kind}"] = stopped(place, live, watch, role, kind, seconds=5.0)
            place.heal()
            assert [answer.get("done") for answer in ask(live.data, Act.RE_ARM)][-1]
    flat, said = (max(each) for each in zip(*found.values(), strict=True))
    rows = sorted(found.items(), key=lambda row: -row[1][0])
    with capsys.disabled():
        print(f"\n{where}: {len(found)} stops, 0 entries after the latch; at most {flat:.2f} s until flat,")
        print(f"{said:.2f} s until that is said")
        print("\n".join(f"  {name:28} {each[0]:5.2f} {each[1]:5.2f} s" for name, each in rows[:8]))
    assert flat <= FLAT_WITHIN and said <= FLAT_WITHIN, rows


@pytest.mark.slow
def test_position_is_not_bare_for_long_whatever_its_exit_or_stop_meets(tmp_path: Path) -> None:
    """A few rounds of the campaign."""
    with binance(tmp_path) as (place, live), watched(place) as watch:
        cases = [("stop", "429"), ("exit", "lost"), ("exit", "prices dead")]
        found = rounds(place, live, watch, cases, seconds=4.0)
    assert max(found.values()) <= LONGEST, found
