"""Where liquidators are tried, in process: what a real engine has opened at a loopback venue, its state as the journal
keeps it, and a liquidator behind a second adapter with the real client. Time is virtual and moves where the liquidator
sleeps; the venue keeps the truth.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

import ccxt

from ffe.brokers.ccxt_broker import CcxtBroker
from ffe.brokers.oanda_broker import OandaBroker
from ffe.brokers.venue import VenueBroker
from ffe.live.closer import Exits, Liquidator, Timer
from ffe.live.reading import VenueReader
from ffe.live.recovery import Left
from ffe.model import (
    MINUTE,
    SECOND,
    Event,
    Exit,
    InstrumentId,
    Nanos,
    Protect,
    Role,
    Step,
    Ticket,
    Universe,
)
from ffe.ports import Journal, Written
from ffe.records.encode import Json, Stamp, canonical, digest, encode_value, loads, utf8
from ffe.risk.gatekeeper import Reducer
from ffe.risk.limits import GateLimits
from ffe.session import Session, session_id
from tests.faults.stage_oanda import EUR, GBP, VENUE, staged
from tests.faults.stage_oanda import Stage as OandaStage
from tests.faults.stage_spot import COINS, PATIENCE, kind_of, virtual_time
from tests.faults.stage_spot import Stage as SpotStage
from tests.story.scene import buy
from tests.venues.server import Server

LONGEST: Nanos = 15 * MINUTE  # that any closing here may take
DUST = 5.0  # less than this, in the account's currency, no venue here takes


class Kept:
    """A journal in memory."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.steps: list[Step] = []

    def event(self, event: Event) -> None:
        self.events.append(event)

    def step(self, step: Step) -> Written:
        self.steps.append(step)
        return Written.YES

    def sent(self) -> tuple[Ticket, ...]:
        """What recovery reads of it."""
        return tuple(
            Ticket(
                order.id, Role.EXIT if isinstance(order, Exit) else Role.PROTECT, order.approved.intent.instrument,
                order.approved.intent.side, order.approved.intent.qty,
            )
            for step in self.steps for order in step.orders if isinstance(order, Exit | Protect)
        )  # fmt: skip


def head_of(universe: Universe, currency: str) -> Json:
    accounts = tuple(universe.accounts.values())
    head = {"strategy": "a test", "traded": encode_value(universe.instruments), "others": []}
    return loads(canonical(head | {"accounts": encode_value(accounts), "currency": currency}))


def stamp_of(head: Mapping[str, Json]) -> Stamp:
    """What such a session is called."""
    data = digest(utf8(json.dumps(head["traded"], sort_keys=True)))
    name = session_id("code", data, canonical(dict(head)))
    return Stamp(name, "code", digest(utf8(str(head.get("config")))), data)


class Scene:
    """One venue with what an engine has left there; naked is how long a position has stood without its stop."""

    def __init__(self, universe: Universe, currency: str, state: object) -> None:
        self.universe = universe
        self.left = Left("a session", head_of(universe, currency), loads(canonical(encode_value(state))))  # type: ignore[arg-type]
        self.journal, self.said = Kept(), list[str]()
        self.naked = self.longest_naked = 0
        self.closings = 0
        self.on_sleep: Callable[[], None] = lambda: None
        self.ends = self.now + LONGEST

    # what a venue must give
    now: Nanos

    def pass_time(self, nanos: Nanos) -> None:
        raise NotImplementedError

    def broker(self, left: Left) -> VenueBroker:
        raise NotImplementedError

    def reader_broker(self) -> VenueBroker:
        raise NotImplementedError

    def held(self, id: InstrumentId) -> float:
        """What of ours the venue holds, by its own ledger."""
        raise NotImplementedError

    def covered(self, id: InstrumentId) -> float:
        """For how much of it stops rest."""
        raise NotImplementedError

    def worth(self, id: InstrumentId, qty: float) -> float:
        raise NotImplementedError

    # what is common
    def sleep(self, nanos: Nanos) -> None:
        is_naked = any(self.worth(i.id, self.held(i.id)) > DUST and not self.is_covered(i.id) for i in self.universe)
        self.pass_time(nanos)
        self.naked = self.naked + nanos if is_naked else 0
        self.longest_naked = max(self.longest_naked, self.naked)
        assert self.now < self.ends, f"it never ends: {self.said[-5:]}"
        self.on_sleep()

    def is_covered(self, id: InstrumentId) -> bool:
        return self.worth(id, abs(self.held(id)) - self.covered(id)) <= DUST

    def timer(self) -> Timer:
        return Timer(lambda: self.now, self.sleep)

    def liquidator(self, left: Left | None = None, journal: Journal | None = None) -> Liquidator:
        left, self.closings = left or self.left, self.closings + 1
        exits = Exits(Reducer(GateLimits()), Session(f"closing {self.closings}", 0))
        return Liquidator(self.broker(left), left, exits, journal or self.journal, self.timer(), self.said.append)

    def reader(self) -> VenueReader:
        return VenueReader(self.reader_broker(), lambda: self.now)

    def close(self, within: Nanos = 3 * MINUTE) -> Nanos:
        """Close all, and how long it took."""
        one, began = self.liquidator(), self.now
        while not one.is_closed():
            assert self.now - began <= within, f"not flat within {within / SECOND} s: {one.shown()}\n{self.said}"
            one.timer.sleep(SECOND // 2)
        return self.now - began

    def is_flat(self) -> bool:
        return all(self.worth(i.id, abs(self.held(i.id))) <= DUST for i in self.universe)


class AtBinance(Scene):
    """At Binance, or at another spot venue that the stage knows."""

    def __init__(self, stage: SpotStage) -> None:
        self.stage, self.venue = stage, stage.venue
        stage.client.timeout = PATIENCE  # the engine's adapter has put it back to what it was
        self.foreign = {i.base: stage.at_venue(i.base) - stage.engine.book.ours(i.id).qty for i in stage.universe}
        super().__init__(stage.universe, stage.place.quote, stage.engine.save())
        self.begun = len(self.venue.requests)

    @property
    def now(self) -> Nanos:  # type: ignore[override]
        return self.stage.now

    def pass_time(self, nanos: Nanos) -> None:
        self.stage.now += nanos
        _ = self.venue.orders  # what is late and due by now arrives

    def broker(self, left: Left) -> CcxtBroker:
        book = left.book(self.universe, 1)
        since, past = left.since(self.now, COINS, book), left.past(COINS, book)
        return CcxtBroker(self.universe, COINS, self.stage.client, lambda: self.now, since, past)

    def reader_broker(self) -> CcxtBroker:
        return CcxtBroker(self.universe, COINS, self.stage.client, lambda: self.now, self.now)

    def held(self, id: InstrumentId) -> float:
        base = self.universe[id].base
        return self.stage.at_venue(base) - self.foreign[base]

    def covered(self, id: InstrumentId) -> float:
        return sum(qty for _, qty in self.stage.stops(self.universe[id]))

    def worth(self, id: InstrumentId, qty: float) -> float:
        return qty * float(self.venue.account.mids[self.stage.named(self.universe[id])])

    def sequence(self) -> list[str]:
        """Method and coin of every order and cancellation since the engine's end."""
        wanted = [r for r in self.venue.requests[self.begun :] if r.endpoint == "order" and r.method != "GET"]
        return [f"{r.method} {r.params['symbol'].removesuffix('USDT')}" for r in wanted]

    def posts(self, kind: str) -> list[Nanos]:
        """When orders of this type, in Binance's words, arrived."""
        return [asked.time for asked in self.venue.requests[self.begun :] if kind_of(asked) == kind]


class AtOanda(Scene):
    def __init__(self, stage: OandaStage) -> None:
        self.stage, self.venue = stage, stage.venue
        super().__init__(stage.universe, "USD", stage.engine.save())
        self.begun = len(self.venue.requests)

    @property
    def now(self) -> Nanos:  # type: ignore[override]
        return self.stage.clock.time

    def pass_time(self, nanos: Nanos) -> None:
        self.stage.clock.time += nanos
        self.stage.trade()

    def broker(self, left: Left) -> OandaBroker:
        past = left.past(VENUE, left.book(self.universe, 1))
        return OandaBroker(self.universe, VENUE, self.stage.client, lambda: self.now, past)

    def reader_broker(self) -> OandaBroker:
        return OandaBroker(self.universe, VENUE, self.stage.client, lambda: self.now)

    def held(self, id: InstrumentId) -> float:
        return self.stage.at_venue(self.universe[id].symbol)

    def covered(self, id: InstrumentId) -> float:
        return sum(abs(qty) for _, qty in self.stage.stops(self.universe[id].symbol))

    def worth(self, id: InstrumentId, qty: float) -> float:
        return qty * 10.0  # a unit is the least that can be traded

    def sequence(self) -> list[str]:
        wanted = [r for r in self.venue.requests[self.begun :] if r.method == "PUT"]
        return [f"{r.method} {r.path.rpartition('/')[2]}" for r in wanted]


@contextmanager
def at_binance(
    binance: tuple[Server, ccxt.binance], *coins: str, holds: dict[str, float] | None = None
) -> Iterator[AtBinance]:
    """An engine has bought these coins, each behind its stop, and is gone."""
    server, client = binance
    with virtual_time(client, SpotStage(server, client, holds=holds)) as stage:
        stage.tick()
        qty = {"btc": 0.1, "eth": 2.0, "sol": 50.0}
        for coin in coins or ("btc",):
            stage.tick(buy(getattr(stage, coin), qty=qty[coin]))
        stage.ticks(2)
        assert len(stage.engine.slots.trades()) == len(coins or ("btc",)), "the scene is not what it should be"
        yield AtBinance(stage)


@contextmanager
def at_oanda(*symbols: str, foreign: tuple[tuple[str, int], ...] = ()) -> Iterator[AtOanda]:
    with staged(EUR, GBP, foreign=foreign) as stage:
        for symbol in symbols or (EUR,):
            stage.minute(None, stage.buy(symbol))
        stage.minutes(2)
        assert len(stage.engine.slots.trades()) == len(symbols or (EUR,)), "the scene is not what it should be"
        stage.client.hurry(GET=0.6, POST=0.6, PUT=0.6)  # from here on some venues do not answer
        yield AtOanda(stage)


def with_sent(left: Left, journal: Kept) -> Left:
    """What the next process recovers after a closing."""
    return replace(left, sent=(*left.sent, *journal.sent()))
