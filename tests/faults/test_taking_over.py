"""A process dies before or after any single step of a short story, and another takes over at the same venue.

The second engine goes on from the newest state that was written, behind a second adapter with the Past that recovery
builds. Whatever the moment: nothing is sent twice, nothing counted twice or forgotten, what is held has its stop, and
the book is what the venue holds, to the lot and the cent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import ccxt
import pytest

from ffe.brokers.ccxt_broker import CcxtBroker
from ffe.brokers.oanda_broker import OandaBroker
from ffe.engine import Engine, EngineState
from ffe.feeds.merge import Venues
from ffe.live.recovery import Left
from ffe.model import Bars, Event, Quotes, Step
from ffe.ports import Written
from ffe.records.encode import Json, build, canonical, encode_value, loads
from ffe.risk.guard import TradingState
from ffe.risk.slots import SlotState
from ffe.session import Session
from tests.faults import stage_oanda, stage_spot
from tests.faults.stage_oanda import CLOSE, EUR, VENUE, staged
from tests.faults.stage_spot import virtual_time
from tests.story.scene import Kept, buy, leave
from tests.venues.faults import Drop
from tests.venues.oanda_faults import POST_ORDER, PROTECT, NoReply, Partial
from tests.venues.server import Server

Stage = stage_oanda.Stage | stage_spot.Stage
AtVenue = tuple[Server, ccxt.Exchange]


class Death(Exception):
    """The process is gone."""


class Mortal(Kept):
    """A journal that keeps states as the live one does, and dies at its at-th entry: an event that is then not heard,
    or a step of which nothing leaves."""

    def __init__(self, stage: Stage, before: Kept, at: int) -> None:
        super().__init__(None)
        self.stage, self.at, self.count = stage, at, 0
        self.events, self.steps = before.events, before.steps
        self.state: Json = encode_value(stage.engine.save())
        self.is_price = False

    def event(self, event: Event) -> None:
        self._live()
        self.is_price = isinstance(event, Quotes)
        super().event(event)

    def step(self, step: Step) -> Written:
        written = super().step(step)
        if not (step.is_quiet and self.is_price):
            self.state = loads(canonical(encode_value(self.stage.engine.save())))
        self._live()
        return written

    def _live(self) -> None:
        self.count += 1
        if self.count == self.at:
            raise Death


def take_over(stage: Stage) -> None:
    """Another engine, primed alike, and another adapter; what the dead one had not said is lost."""
    assert isinstance(stage.journal, Mortal)
    del stage.journal.events[len(stage.journal.steps) :]  # it was written, and came to nothing
    left = Left(state=stage.journal.state)  # type: ignore[arg-type]
    old = stage.engine
    session = Session(f"{old.session.id}+", old.session.interval)
    stage.engine = engine = Engine(stage.universe, old.hours, old.strategy, old.rules, session)
    stage._prime()
    for event in stage.journal.events:
        if isinstance(event, Bars | Quotes):
            engine.prime(event)
    engine.restore(build(EngineState, left.state))  # type: ignore[arg-type]
    stage.broker = other(stage, left)
    stage.venues = Venues(stage.universe, [stage.broker], engine.gatekeeper.approvals)
    stage.operator.engine = engine
    kept = Kept(None)
    kept.events, kept.steps = stage.journal.events, stage.journal.steps
    stage.journal = kept


def other(stage: Stage, left: Left) -> CcxtBroker | OandaBroker:
    book = left.book(stage.universe, 30)
    past = left.past(stage.broker.venue, book)
    if isinstance(stage, stage_oanda.Stage):
        return OandaBroker(stage.universe, VENUE, stage.client, stage.clock, past)
    since = left.since(stage.now, stage_spot.COINS, book)
    return CcxtBroker(stage.universe, stage_spot.COINS, stage.client, lambda: stage.now, since, past)


def dies_in(stage: Stage, story: Callable[[], None], at: int) -> bool:
    """Whether the story was cut short; then another has taken over, and the story is not told on."""
    stage.journal = mortal = Mortal(stage, stage.journal, at)
    try:
        story()
    except Death:
        take_over(stage)
        return True
    mortal.at = 0  # it lives on
    return False


# ---------------------------------------------------------------- OANDA


def story_at_oanda(stage: stage_oanda.Stage) -> None:
    stage.minute(None, stage.buy())
    stage.minute()
    stage.venue.finance()
    stage.somebody_trades(EUR, 3_000)
    stage.minute({EUR: 1.251})
    stage.minute(None, stage.buy(qty=5_000.0, add=True))
    stage.minute()
    stage.minute(None, stage.leave())
    stage.minute()
    stage.minute(None, stage.sell(qty=8_000.0))
    stage.minute()
    stage.minute({EUR: 1.29})
    stage.minute()


AT_OANDA = {
    "as it should": (),
    "the entry's answer is lost": (NoReply(POST_ORDER, True, drops=True),),
    "the entry is lost": (NoReply(POST_ORDER, False, drops=True),),
    "the stop's answer is lost": (NoReply(PROTECT, True, drops=True),),
    "the exit's answer is lost": (NoReply(CLOSE, True, drops=True),),
    "entries fill in parts": (Partial(POST_ORDER, "0.5"),),
}


@pytest.mark.parametrize(("first", "name"), list(enumerate(AT_OANDA, 1)))
def test_at_oanda_another_takes_over_at_many_moments(first: int, name: str) -> None:
    for at in (*range(first, 75, 17), 31, 33):
        takes_over_at_oanda(name, at)


@pytest.mark.campaign
@pytest.mark.parametrize("name", AT_OANDA)
def test_at_oanda_another_takes_over_at_every_moment(name: str) -> None:
    at = 1
    while takes_over_at_oanda(name, at):
        at += 1


def takes_over_at_oanda(name: str, at: int) -> bool:
    with staged(EUR, faults=AT_OANDA[name]) as stage:
        is_cut = dies_in(stage, lambda: story_at_oanda(stage), at)
        ends_well_at_oanda(stage, at)
    return is_cut


def ends_well_at_oanda(stage: stage_oanda.Stage, at: int) -> None:
    stage.minutes(14)
    assert stage.state is TradingState.ACTIVE, (at, stage.engine.guard.why)
    assert stage.agrees(), at
    for trade in stage.engine.slots.trades():
        assert trade.state is SlotState.OPEN and abs(sum(qty for _, qty in stage.stops())) == trade.qty, at
    stage.minute(None, stage.leave())
    stage.minutes(2)
    assert stage.agrees() and not stage.slots() and not stage.ours() and not stage.stops(), at
    assert stage.engine.guard.state is TradingState.ACTIVE


# ---------------------------------------------------------------- Binance

ON_SPOT = {
    "as it should": (),
    "the entry's answer is lost": (Drop(on="POST order LIMIT", accepted=True),),
    "the entry is lost": (Drop(on="POST order LIMIT"),),
    "the stop's answer is lost": (Drop(on="POST order STOP*", accepted=True),),
    "the exit's answer is lost": (Drop(on="POST order MARKET", accepted=True),),
}


def story_on_spot(stage: stage_spot.Stage) -> None:
    stage.tick(buy(stage.btc, qty=0.1))
    stage.ticks(2)
    stage.tick(leave(stage.btc))
    stage.ticks(2)
    stage.tick(buy(stage.btc, qty=0.05))
    stage.tick()
    stage.tick(btc=48_500.0)
    stage.ticks(2)


@pytest.fixture(params=["binance", "coinbase"])
def place(request: pytest.FixtureRequest) -> AtVenue:
    return request.getfixturevalue(request.param)


@pytest.mark.parametrize(("first", "name"), list(enumerate(ON_SPOT, 1)))
def test_on_spot_another_takes_over_at_many_moments(place: AtVenue, first: int, name: str) -> None:
    for at in range(first, 60, 13):
        takes_over_on_spot(place, name, at)


@pytest.mark.campaign
@pytest.mark.parametrize("name", ON_SPOT)
def test_on_spot_another_takes_over_at_every_moment(place: AtVenue, name: str) -> None:
    at = 1
    while takes_over_on_spot(place, name, at):
        at += 1


def takes_over_on_spot(place: AtVenue, name: str, at: int) -> bool:
    server, client = place
    with virtual_time(client, stage_spot.Stage(server, client)) as stage:
        stage.tick()
        stage.fault(*(replace(fault) for fault in ON_SPOT[name]))
        is_cut = dies_in(stage, lambda: story_on_spot(stage), at)
        ends_well_on_spot(stage, at)
    return is_cut


def ends_well_on_spot(stage: stage_spot.Stage, at: int) -> None:
    stage.ticks(24)
    assert stage.state is TradingState.ACTIVE, (at, stage.engine.guard.why)
    stage.agrees()
    if stage.held > stage.btc.lot:
        assert stage.slot is SlotState.OPEN and stage.is_protected(), at
    stage.tick(leave(stage.btc))
    stage.ticks(2)
    stage.agrees()
    assert stage.slot is None and not stage.stops() and stage.at_venue() < stage.btc.minimum_notional / 40_000.0, at
    assert stage.state is TradingState.ACTIVE
