"""The same decisions in both worlds: one engine over the simulated venue, and over ccxt's clients or our own for OANDA.

The backtest takes instruments and lots from the loopback venue; the clock is virtual, nothing takes time, and prices
move only at opens and closes. Then every decision record is the same, byte for byte, and equity the same to the cent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Set
from contextlib import closing
from dataclasses import dataclass, field, replace
from decimal import Decimal

import ccxt
import numpy as np
import pytest

from ffe.brokers import ccxt_broker, oanda_broker
from ffe.brokers.ccxt_broker import CcxtBroker
from ffe.brokers.oanda_broker import OandaBroker
from ffe.brokers.sim import SimBroker
from ffe.data.barset import BarSet
from ffe.engine import Engine, run
from ffe.feeds.bars import BarFeed
from ffe.feeds.merge import Venues, merge
from ffe.feeds.synthetic import synthetic
from ffe.hours import Hours, instant
from ffe.indicators import compare, on_edge, sma
from ffe.model import (
    DAY,
    HOUR,
    Account,
    AccountKind,
    Answer,
    Bars,
    Cause,
    Change,
    Currency,
    Decision,
    Disposition,
    Event,
    Failed,
    Filled,
    InstrumentId,
    Nanos,
    Quotes,
    Rejected,
    Step,
    Universe,
    Venue,
)  # fmt: skip
from ffe.ports import Broker, Written
from ffe.records.encode import Stamp, encode_decision
from ffe.research.operator import ScriptedOperator
from ffe.research.proof import prove
from ffe.risk.limits import GateLimits, Rules
from ffe.session import Session
from ffe.strategy import Columns, Signals
from ffe.wire.ccxt_wire import instruments
from ffe.wire.oanda_wire import OandaClient
from ffe.wire.oanda_wire import instruments as oanda_instruments
from strategies.ma_cross import MaCross
from tests.venues.binance import Binance
from tests.venues.coinbase import Coinbase
from tests.venues.oanda import Oanda
from tests.venues.oanda_values import Instrument
from tests.venues.play import play, play_oanda
from tests.venues.server import Server
from tests.venues.venue import Venue as SpotVenue

VENUE, USDT, USD = Venue("there"), Currency("USDT"), Currency("USD")
START, TRADED = instant("2024-01-01"), instant("2024-02-20")
DAYS, CASH = 90, 100_000.0
PRICES = ("open", "high", "low", "close")
STAMP = Stamp("session", "code", "config", "data")


@dataclass
class Kept:
    """A journal in memory: decision records as they would stand on disk, what was answered, and equity."""

    records: list[str] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    equity: list[tuple[Nanos, float]] = field(default_factory=list)
    now: Event | None = None

    def event(self, event: Event) -> None:
        self.now = event
        if isinstance(event, Answer):
            self.answers.append(event)

    def step(self, step: Step) -> Written:
        self.records += [encode_decision(decision, STAMP) for decision in step.decisions]
        self.decisions += step.decisions
        self.changes += step.changes
        if isinstance(self.now, Bars):
            self.equity.append((self.now.time, step.equity))
        return Written.YES


class Clock:
    def __init__(self) -> None:
        self.time: Nanos = TRADED

    def __call__(self) -> Nanos:
        return self.time


class Cross(MaCross):
    """A moving-average cross that is always in the market where it may be: short instead of flat."""

    def signals(self, bars: Columns) -> Signals:
        above = compare(sma(bars.close, self.fast), sma(bars.close, self.slow))
        return Signals(side=on_edge(above), confidence=self.confidence)


@dataclass
class Shown:
    """A feed that lets a venue trade at what it shows, before anyone else sees it, and winds the clock."""

    feed: BarFeed
    clock: Clock
    trade: Callable[[Bars | Quotes], None]

    def events(self, awaited: Callable[[], Set[InstrumentId]]) -> Iterator[Bars | Quotes]:
        for market in self.feed.events(awaited):
            self.clock.time = market.time
            self.trade(market)
            yield market


@dataclass(frozen=True, slots=True)
class World:
    """A venue's instruments, a live broker at it, and how to make it trade."""

    universe: Universe
    strategy: MaCross
    gate: GateLimits
    broker: Broker
    clock: Clock
    trade: Callable[[Bars | Quotes], None]
    market: dict[str, float]  # volatility, correlation, price
    decimals: int

    def bars(self, seed: int) -> BarSet:
        """Hourly bars whose prices lie on the venue's ticks exactly."""
        bars = synthetic(list(self.universe), HOUR, START, DAYS * 24, seed, **self.market)
        return BarSet(tuple(replace(s, **{c: np.round(getattr(s, c), self.decimals) for c in PRICES}) for s in bars))

    def engine(self, bars: BarSet, hours: dict[InstrumentId, Hours]) -> Engine:
        heard = prove(self.strategy, bars, HOUR)[0]
        made = Engine(self.universe, hours, heard, Rules(self.gate), Session("session", HOUR))
        for event in BarFeed(bars.between(START, TRADED), hours).events(frozenset):
            if isinstance(event, Bars):
                made.prime(event)
        return made


def on_spot(universe: Universe, client: ccxt.Exchange, venue: SpotVenue, clock: Clock, drawdown: float) -> World:
    def trade(market: Bars | Quotes) -> None:
        play(venue, market)
        # What a close provokes meets the next open; what an open provokes trades at it.
        venue.fill_on_next_price = isinstance(market, Bars)

    broker = CcxtBroker(universe, VENUE, client, clock, TRADED)
    gate = GateLimits(
        var_ratio=0.03, correlation_threshold=0.65, drawdown_ratio=drawdown
    )  # so that several layers speak
    cross = MaCross(fast=8, slow=24, confidence=75)
    market = {"volatility": 0.9, "correlation": 0.6, "price": 500.0}
    return World(universe, cross, gate, broker, clock, trade, market, decimals=2)


def at_binance(server: Server, client: ccxt.binance) -> World:
    found = instruments(client, VENUE, ["BTC/USDT", "ETH/USDT", "SOL/USDT", "BNB/USDT"])
    universe = Universe(found, (Account(VENUE, AccountKind.SPOT, USDT, rests_targets=False),), USDT)
    clock, venue = Clock(), Binance(cash={"USDT": CASH})
    venue.checks_time, venue.weight_limit, venue.clock, server.app = False, 10**9, clock, venue
    client.options["hasAlreadyAuthenticatedSuccessfully"] = False
    return on_spot(universe, client, venue, clock, drawdown=0.1)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing hangs here, and on a busy machine one of thousands of requests may take its two seconds."""
    for broker in (ccxt_broker, oanda_broker):
        for name in ("ORDER_SECONDS", "QUESTION_SECONDS"):
            monkeypatch.setattr(broker, name, 60.0)
    monkeypatch.setattr(ccxt_broker, "HURRIED_SECONDS", 60.0)


def at_coinbase(server: Server, client: ccxt.coinbase, drawdown: float) -> World:
    """The venue takes fees in cash, by the taker's rate of the account, to eight places, which ccxt does not say."""
    clock, venue = Clock(), Coinbase(cash={"USD": CASH}, fee=0.006)
    venue.checks_time, venue.clock, server.app = False, clock, venue
    venue.limits.clear()
    client.load_markets(True)
    found = instruments(client, VENUE, ["BTC/USD", "ETH/USD", "SOL/USD", "LTC/USD"], fee_in_base=False)
    found = tuple(replace(instrument, fee_step=1e-8) for instrument in found)
    universe = Universe(found, (Account(VENUE, AccountKind.SPOT, USD, rests_targets=False),), USD)
    return on_spot(universe, client, venue, clock, drawdown)


def at_oanda(venue: Oanda, clock: Clock, client: OandaClient) -> World:
    found = oanda_instruments(client, VENUE, ["EUR/USD", "GBP/USD", "AUD/USD", "NZD/USD"])
    universe = Universe(found, (Account(VENUE, AccountKind.MARGIN, USD),), USD)

    def trade(market: Bars | Quotes) -> None:
        play_oanda(venue, market)
        venue._account.fill_on_next_price = isinstance(market, Bars)

    broker = OandaBroker(universe, VENUE, client, clock)
    gate = GateLimits(var_ratio=0.01, correlation_threshold=0.6, drawdown_ratio=0.02, volatility_ratio=0.02)
    cross = Cross(fast=8, slow=24, confidence=75)
    market = {"volatility": 0.3, "correlation": 0.6, "price": 1.25}
    return World(universe, cross, gate, broker, clock, trade, market, decimals=5)


def drive(feed: BarFeed | Shown, made: Engine, broker: Broker) -> Kept:
    kept, venues = Kept(), Venues(made.universe, [broker], made.gatekeeper.approvals)
    run(merge(feed, ScriptedOperator(made), venues, made.awaited), made, venues, kept)
    return kept


def both(world: World, seed: int) -> tuple[Kept, Kept]:
    """A backtest and a live session of the same market."""
    bars = world.bars(seed)
    played = bars.between(TRADED, START + DAYS * DAY)
    hours = {i.id: Hours.of(i.hours, START, START + DAYS * DAY) for i in world.universe}
    simulated = SimBroker(world.universe, VENUE, CASH)
    backtest = drive(BarFeed(played, hours), world.engine(bars, hours), simulated)
    live = drive(Shown(BarFeed(played, hours), world.clock, world.trade), world.engine(bars, hours), world.broker)
    return backtest, live


def assert_same(backtest: Kept, live: Kept, reverses: bool) -> None:
    assert live.records == backtest.records
    assert live.equity == backtest.equity
    causes = Counter(a.fill.cause for a in live.answers if isinstance(a, Filled))
    refused = Counter(d.reason for d in live.decisions if d.disposition is Disposition.REFUSED)
    before = {d.id: d.disposition for d in live.decisions}
    released = Counter(before[d.follows] for d in live.decisions if d.follows and d.disposition is Disposition.SENT)
    print(f"{len(live.records)} decisions, {dict(causes)}, refused {dict(refused)}, released {dict(released)}")
    assert not [a for a in live.answers if isinstance(a, Failed | Rejected)]
    assert causes[Cause.ENTRY] >= 20 and causes[Cause.STOP] >= 1 and released[Disposition.QUEUED]
    assert sum(refused.values()) >= 5 and len(refused) >= 3
    assert bool(released[Disposition.REVERSING]) is reverses


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 4])
def test_a_session_at_binance_decides_what_its_backtest_decided(
    binance: tuple[Server, ccxt.binance], seed: int
) -> None:
    assert_same(*both(at_binance(*binance), seed), reverses=False)  # nothing is short on spot


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "drawdown"), [(1, 0.16), (8, 0.07)])
def test_a_session_at_coinbase_decides_what_its_backtest_decided(
    coinbase: tuple[Server, ccxt.coinbase], seed: int, drawdown: float
) -> None:
    assert_same(*both(at_coinbase(*coinbase, drawdown), seed), reverses=False)


@pytest.mark.slow
def test_a_session_at_oanda_decides_what_its_backtest_decided() -> None:
    pairs = [Instrument(f"{base}_USD", half_spread=Decimal(0)) for base in ("EUR", "GBP", "AUD", "NZD")]
    with (
        Oanda(clock := Clock(), instruments=pairs) as venue,
        closing(OandaClient("loopback", venue.id, venue.url)) as client,
    ):
        assert_same(*both(at_oanda(venue, clock, client), seed=2), reverses=True)
