"""The same decisions in both worlds: one engine over the simulated venue, and over the real ccxt client.

The backtest takes instruments and lots from the loopback venue; the clock is virtual, nothing takes time, and prices
move only at opens and closes. Then every decision record is the same, byte for byte, and equity the same to the cent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass, field, replace

import ccxt
import numpy as np
import pytest

from ffe.brokers.ccxt_broker import CcxtBroker, instruments
from ffe.brokers.sim import SimBroker
from ffe.data.barset import BarSet
from ffe.engine import Engine, Session, run
from ffe.feeds.bars import BarFeed
from ffe.feeds.merge import Venues, merge
from ffe.feeds.synthetic import synthetic
from ffe.hours import Hours, instant
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
from ffe.research.columns import precompute
from ffe.research.operator import ScriptedOperator
from ffe.risk.limits import GateLimits, Rules
from strategies.ma_cross import MaCross
from tests.venues.binance import Binance
from tests.venues.play import play
from tests.venues.server import Server

VENUE, USDT = Venue("coins"), Currency("USDT")
START, TRADED = instant("2024-01-01"), instant("2024-02-20")
DAYS, CASH = 90, 100_000.0
NARROW = GateLimits(var_ratio=0.03, correlation_threshold=0.65, drawdown_ratio=0.1)  # so that several layers speak
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


@dataclass
class Shown:
    """A feed that lets a venue trade at what it shows, before anyone else sees it, and winds the clock."""

    feed: BarFeed
    venue: Binance
    now: Nanos = TRADED

    def events(self, awaited: Callable[[], Set[InstrumentId]]) -> Iterator[Bars | Quotes]:
        for market in self.feed.events(awaited):
            self.now = market.time
            play(self.venue, market)
            # What a close provokes meets the next open; what an open provokes trades at it.
            self.venue.fill_on_next_price = isinstance(market, Bars)
            yield market


def market(universe: Universe, seed: int) -> BarSet:
    """Hourly bars whose prices lie on the venue's ticks exactly."""
    bars = synthetic(list(universe), HOUR, START, DAYS * 24, seed, volatility=0.9, correlation=0.6, price=500.0)
    columns = ("open", "high", "low", "close")
    return BarSet(tuple(replace(s, **{c: np.round(getattr(s, c), 2) for c in columns}) for s in bars))


def engine(universe: Universe, bars: BarSet) -> Engine:
    hours = {i.id: Hours.of(i.hours, START, START + DAYS * DAY) for i in universe}
    strategy = MaCross(fast=8, slow=24, confidence=75)
    made = Engine(universe, hours, precompute(strategy, bars, HOUR), Rules(NARROW), Session("session", HOUR))
    for event in BarFeed(bars.between(START, TRADED), hours).events(frozenset):
        if isinstance(event, Bars):
            made.prime(event)
    return made


def drive(feed: BarFeed | Shown, made: Engine, broker: Broker) -> Kept:
    kept, venues = Kept(), Venues(made.universe, [broker])
    operator = ScriptedOperator(made)
    run(merge(feed, operator, venues, made.awaited), made, venues, kept)
    return kept


def worlds(server: Server, client: ccxt.binance, symbols: Sequence[str], seed: int) -> tuple[Kept, Kept]:
    """A backtest and a live session of the same market."""
    account = Account(VENUE, AccountKind.SPOT, USDT, rests_targets=False)
    universe = Universe(instruments(client, VENUE, list(symbols)), (account,), USDT)
    bars = market(universe, seed)
    played = bars.between(TRADED, START + DAYS * DAY)
    hours = {i.id: Hours.of(i.hours, START, START + DAYS * DAY) for i in universe}
    backtest = drive(BarFeed(played, hours), engine(universe, bars), SimBroker(universe, VENUE, CASH))

    live = engine(universe, bars)
    server.app = venue = Binance(cash={"USDT": CASH})
    venue.checks_time, venue.weight_limit = False, 10**9
    shown = Shown(BarFeed(played, hours), venue)
    venue.clock = lambda: shown.now
    client.options["hasAlreadyAuthenticatedSuccessfully"] = False
    broker = CcxtBroker(universe, VENUE, client, lambda: shown.now, TRADED)
    return backtest, drive(shown, live, broker)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 4])
def test_a_live_session_decides_what_its_backtest_decided(binance: tuple[Server, ccxt.binance], seed: int) -> None:
    backtest, live = worlds(*binance, ["BTC/USDT", "ETH/USDT", "SOL/USDT", "BNB/USDT"], seed)
    assert live.records == backtest.records
    assert live.equity == backtest.equity
    causes = Counter(a.fill.cause for a in live.answers if isinstance(a, Filled))
    refused = Counter(d.reason for d in live.decisions if d.disposition is Disposition.REFUSED)
    released = [d for d in live.decisions if d.follows and d.disposition is Disposition.SENT]
    print(
        f"seed {seed}: {len(live.records)} decisions, {dict(causes)}, refused {dict(refused)}, {len(released)} released"
    )
    assert not [a for a in live.answers if isinstance(a, Failed | Rejected)]
    assert causes[Cause.ENTRY] >= 20 and causes[Cause.STOP] >= 1 and released
    assert sum(refused.values()) >= 5 and len(refused) >= 3
