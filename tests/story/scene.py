"""A stage for stories: the real engine, real simulated venues and the one loop; every event and its Step is kept.

A scene begins on Monday 2024-02-05, 00:00 UTC, behind eighty days of independent daily closes. Coins cost 100, stocks
50 and pairs 1.25, nothing has a spread or a fee unless a story says so. `bar` plays the opens and the close of one
interval; what is not named stays where it is. After every bar the scene checks what holds in every story: at most two
trades, no order sent twice, a book that agrees with the venues, a stop behind every position.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from ffe.brokers.faults import AnyFault
from ffe.brokers.sim import Deposit, SimBroker
from ffe.engine import Engine, run
from ffe.feeds.merge import Venues, merge
from ffe.hours import Hours, instant
from ffe.model import (
    DAY,
    HOUR,
    Account,
    AccountKind,
    Act,
    Answer,
    AssetClass,
    Bar,
    Bars,
    Change,
    Command,
    Currency,
    Decision,
    Disposition,
    Enter,
    Event,
    Exit,
    Heartbeat,
    Holding,
    Instrument,
    InstrumentId,
    Layer,
    Nanos,
    Order,
    Outcome,
    Protect,
    Quote,
    Quotes,
    Role,
    Side,
    Signal,
    Status,
    Step,
    Symbol,
    Universe,
    Venue,
)  # fmt: skip
from ffe.ports import Journal, Written
from ffe.research.operator import ScriptedOperator
from ffe.risk.limits import Rules
from ffe.risk.slots import SlotState
from ffe.session import Session
from ffe.strategy import Precomputed

Floats = NDArray[np.float64]
Price = float | tuple[float, float, float, float]  # a close, or open, high, low, close

START = instant("2024-02-05")
USD = Currency("USD")
COINS, MARGIN, EXCHANGE = Venue("coins"), Venue("margin"), Venue("exchange")
PRICES = {COINS: 100.0, MARGIN: 1.25, EXCHANGE: 50.0}
PAST_DAYS = 80


def coin(name: str) -> Instrument:
    return Instrument(
        COINS, Symbol(f"{name}/USD"), AssetClass.CRYPTO, Currency(name), USD, "24/7", lot=0.001, minimum_notional=1.0
    )


def pair(name: str) -> Instrument:
    return Instrument(
        MARGIN, Symbol(f"{name}/USD"), AssetClass.FOREX, Currency(name), USD, "forex", lot=1.0, minimum_qty=1.0,
        shortable=True, margin_rate=0.05,
    )  # fmt: skip


def stock(name: str) -> Instrument:
    return Instrument(EXCHANGE, Symbol(name), AssetClass.STOCK, Currency(name), USD, "XNYS", lot=1.0)


BTC, ETH, SOL, ADA = (coin(name) for name in ("BTC", "ETH", "SOL", "ADA"))
EUR, GBP, CHF = (pair(name) for name in ("EUR", "GBP", "CHF"))
IBM, AAPL = stock("IBM"), stock("AAPL")


def buy(instrument: Instrument, confidence: int = 85, **more: object) -> Signal:
    return Signal(instrument.id, Side.LONG, confidence, "story", **more)


def sell(instrument: Instrument, confidence: int = 85, **more: object) -> Signal:
    return Signal(instrument.id, Side.SHORT, confidence, "story", **more)


def leave(instrument: Instrument) -> Signal:
    return Signal(instrument.id, Side.FLAT, 85, "story")


def closes(seed: int, last: float, days: int = PAST_DAYS, volatility: float = 0.01) -> Floats:
    """Daily closes of independent returns that end at a price."""
    path = np.cumprod(1.0 + volatility * np.random.default_rng(seed).standard_normal(days))
    return path * last / path[-1]


@cache
def hours_of(name: str) -> Hours:
    return Hours.of(name, START - 100 * DAY, START + 300 * DAY)


@dataclass(frozen=True, slots=True)
class Told:
    """Events with the Steps they led to, and what those hold in all."""

    steps: tuple[tuple[Event, Step], ...]

    @property
    def decisions(self) -> list[Decision]:
        return [decision for _, step in self.steps for decision in step.decisions]

    @property
    def orders(self) -> list[Order]:
        return [order for _, step in self.steps for order in step.orders]

    @property
    def outcomes(self) -> list[Outcome]:
        return [outcome for _, step in self.steps for outcome in step.outcomes]

    @property
    def changes(self) -> list[Change]:
        return [change for _, step in self.steps for change in step.changes]

    @property
    def answers(self) -> list[Answer]:
        return [event for event, _ in self.steps if isinstance(event, Answer)]

    @property
    def decision(self) -> Decision:
        """The only one."""
        (found,) = self.decisions
        return found

    @property
    def dispositions(self) -> list[Disposition]:
        return [decision.disposition for decision in self.decisions]

    def of(self, kind: type[Order], instrument: Instrument | None = None) -> list[Order]:
        """The orders of one kind, on one instrument."""
        found = [order for order in self.orders if isinstance(order, kind)]
        return [o for o in found if instrument is None or o.approved.intent.instrument == instrument.id]


def fact(decision: Decision, layer: Layer) -> float:
    assert decision.judgement is not None
    return decision.judgement.facts[list(Layer).index(layer)]


def status(decision: Decision, layer: Layer) -> Status:
    assert decision.judgement is not None
    return decision.judgement.statuses[list(Layer).index(layer)]


class Kept:
    """A journal in memory, before the one on disk where a story has one."""

    def __init__(self, disk: Journal | None) -> None:
        self.disk, self.events, self.steps = disk, list[Event](), list[Step]()

    def event(self, event: Event) -> None:
        self.events.append(event)
        if self.disk:
            self.disk.event(event)

    def step(self, step: Step) -> Written:
        self.steps.append(step)
        return self.disk.step(step) if self.disk else Written.YES


@dataclass(frozen=True, slots=True)
class Moment:
    """A feed of one event; of a bar's opens it shows those that are awaited, as a replay does."""

    market: Bars | Quotes | Heartbeat
    shows_all: bool = True

    def events(self, awaited: Callable[[], Set[InstrumentId]]) -> Iterator[Bars | Quotes | Heartbeat]:
        if not isinstance(self.market, Quotes) or self.shows_all:
            yield self.market
        elif wanted := tuple(q for q in self.market.quotes if q.opens_session or q.instrument in awaited()):
            yield Quotes(self.market.time, wanted)


class Scene:
    def __init__(
        self, *instruments: Instrument, past: Mapping[Instrument, Floats | None] | None = None,
        rules: Rules | None = None, cash: float = 100_000.0, interval: Nanos = HOUR, start: Nanos = START,
        holdings: Sequence[tuple[Instrument, float, float]] = (),
        faults: Mapping[Venue, Sequence[AnyFault]] | None = None,
        flows: Mapping[Venue, Sequence[Deposit]] | None = None,
        commands: Sequence[Command] = (), re_arms: bool = False, disk: Journal | None = None,
        rests_targets: bool = True,
    ) -> None:  # fmt: skip
        """past holds closes where they are not to be made up, None for no past at all."""
        kinds = {COINS: AccountKind.SPOT, MARGIN: AccountKind.MARGIN, EXCHANGE: AccountKind.SPOT}
        venues = sorted({i.venue for i in instruments})
        self.universe = Universe(
            instruments, tuple(Account(v, kinds[v], USD, rests_targets=rests_targets) for v in venues), USD
        )
        self.hours = {i.id: hours_of(i.hours) for i in instruments}
        self.interval, self.now, self.said = interval, start, dict[Nanos, tuple[Signal, ...]]()
        session = Session("story", interval)
        self.engine = Engine(self.universe, self.hours, Precomputed(self.said), rules or Rules(), session)
        self.last, self.past = {i.id: PRICES[i.venue] for i in instruments}, list[Bars]()
        self._prime(past or {})
        held = [(i, Holding(i.id, qty, price)) for i, qty, price in holdings]
        self.brokers = {
            venue: SimBroker(
                self.universe, venue, cash, holdings=[h for i, h in held if i.venue == venue],
                faults=(faults or {}).get(venue, ()), flows=(flows or {}).get(venue, ()), marks=self.engine.book.marks,
            )
            for venue in venues
        }  # fmt: skip
        self.venues = Venues(self.universe, list(self.brokers.values()), self.engine.gatekeeper.approvals)
        self.operator = ScriptedOperator(self.engine, commands, re_arms)
        self.journal = Kept(disk)

    def _prime(self, past: Mapping[Instrument, Floats | None]) -> None:
        paths = {
            i: past.get(i, closes(n, PRICES[i.venue])) for n, i in enumerate(sorted(self.universe, key=lambda i: i.id))
        }
        first = self.now - PAST_DAYS * DAY
        for n in range(PAST_DAYS):
            opened, ended = first + n * DAY, first + (n + 1) * DAY
            bars = [
                Bar(i.id, DAY, opened, ended, *[float(path[n - PAST_DAYS])] * 4, 1_000.0)
                for i, path in paths.items()
                if path is not None and n >= PAST_DAYS - len(path) and path[n - PAST_DAYS] == path[n - PAST_DAYS]
            ]
            self.past.append(Bars(ended, tuple(bars)))
            self.engine.prime(self.past[-1])
            self.last.update({bar.instrument: bar.close for bar in bars})

    # ------------------------------------------------------------ what happens

    def bar(
        self, prices: Mapping[Instrument, Price] | None = None, *signals: Signal, missing: Sequence[Instrument] = ()
    ) -> Told:
        """One interval: the opens at its start, all bars at its end; the signals are said at its close."""
        end = self.now + self.interval
        bars = tuple(
            self._bar(i, end, (prices or {}).get(i, self.last[i.id]))
            for i in self.universe
            if i not in missing and self.hours[i.id].is_open(self.now)
        )
        self.said[end] = signals
        opens = Quotes(self.now, tuple(Quote(b.instrument, b.open, self._is_first(b)) for b in bars))
        told = [*self.play(Moment(opens, shows_all=False)).steps]
        self.now = end
        told += self.play(Moment(Bars(end, bars))).steps
        self.check()
        return Told(tuple(told))

    def bars(self, count: int, *signals: Signal) -> Told:
        """Some intervals in which no price moves; the signals are said at the last close."""
        told = [self.bar(None, *(signals if n == count - 1 else ())) for n in range(count)]
        return Told(tuple(pair for each in told for pair in each.steps))

    def at_once(self, *signals: Signal) -> Told:
        """Signals in the instant of now, behind whatever has happened in it."""
        self.said[self.now] = signals
        return self.play(Moment(Bars(self.now, ())))

    def quote(self, time: Nanos, prices: Mapping[Instrument, float]) -> Told:
        """Live prices at one instant."""
        self.now = time
        return self.play(Moment(Quotes(time, tuple(Quote(i.id, mid) for i, mid in prices.items()))))

    def beat(self, time: Nanos) -> Told:
        """Time passes, and no price comes."""
        self.now = time
        return self.play(Moment(Heartbeat(time)))

    def command(self, act: Act, instrument: Instrument | None = None) -> Told:
        """The operator speaks after the bars of now."""
        return self.step(Command(self.now, act, "a test", instrument.id if instrument else None))

    def step(self, *events: Event) -> Told:
        """Events from elsewhere, and what the venues answer to what they provoke."""
        return self._run(event for part in (events, self.venues.settled()) for event in part)

    def play(self, feed: Moment) -> Told:
        return self._run(merge(feed, self.operator, self.venues, self.engine.awaited))

    def _run(self, events: Iterator[Event]) -> Told:
        seen = len(self.journal.steps)
        run(events, self.engine, self.venues, self.journal)
        return Told(tuple(zip(self.journal.events[seen:], self.journal.steps[seen:], strict=True)))

    def _bar(self, i: Instrument, end: Nanos, price: Price) -> Bar:
        if not isinstance(price, tuple):
            ends = self.last[i.id], price
            price = (ends[0], max(ends), min(ends), ends[1])
        self.last[i.id] = price[3]
        return Bar(i.id, self.interval, self.now, end, *price, 1_000.0)

    def _is_first(self, bar: Bar) -> bool:
        hours, session = self.hours[bar.instrument], self.hours[bar.instrument].session_at(bar.open_time)
        return len(hours.opens) > 1 and session is not None and session[0] == bar.open_time

    def is_dust(self, id: InstrumentId, qty: float) -> bool:
        i = self.universe[id]
        return abs(qty) < max(i.lot, i.minimum_qty, i.minimum_notional / PRICES[i.venue])

    # ------------------------------------------------------------ what is so

    @property
    def told(self) -> Told:
        """Everything so far."""
        return Told(tuple(zip(self.journal.events, self.journal.steps, strict=True)))

    def ours(self, instrument: Instrument) -> float:
        return self.engine.book.ours(instrument.id).qty

    def at_venue(self, instrument: Instrument) -> float:
        return self.brokers[instrument.venue].ledger.held(instrument.id)

    def resting(self, instrument: Instrument) -> Protect | None:
        """The stop that rests at the venue."""
        working = self.brokers[instrument.venue]._resting.get(instrument.id)
        return working.order if working else None

    def slots(self) -> dict[int, tuple[InstrumentId, str]]:
        return {trade.slot: (trade.instrument, str(trade.state)) for trade in self.engine.slots.trades()}

    def check(self) -> None:
        """What holds in every story."""
        sent = Counter(o.id for o in self.told.orders if isinstance(o, Enter | Exit | Protect))
        assert max(sent.values(), default=1) == 1, "an order id was sent twice"
        assert len(self.slots()) <= 2
        for venue, broker in self.brokers.items():
            theirs, ours = broker.ledger, self.engine.book.ledgers[venue]
            assert dict(theirs.positions()) == dict(ours.positions()) and theirs.cash == ours.cash
            held = [id for id, position in ours.ours.items() if not self.is_dust(id, position.qty)]
            assert all(self.engine.slots.trade(id) for id in held), "a trade without a slot"
        for trade in self.engine.slots.trades():
            is_open = trade.state is SlotState.OPEN and not self.engine.slots.is_dust(trade)
            if is_open and trade.retry(Role.PROTECT) is None:  # a stop just refused is tried again a while later
                stop = self.brokers[self.universe[trade.instrument].venue]._resting.get(trade.instrument)
                assert stop is not None and trade.qty in (stop.order.approved.intent.qty, stop.left)


def with_rules(**sections: Mapping[str, object]) -> Rules:
    """The default rules with some numbers changed: with_rules(gate={"var_ratio": 0.02})."""
    plain = Rules()
    return replace(plain, **{name: replace(getattr(plain, name), **changes) for name, changes in sections.items()})
