"""The identity of money, after every step of random markets with faults on two venues and in three currencies.

Beside the engine's book stands a second one, kept here from the raw answers: cash, positions and averages, deposits,
fees and financing. Neither it nor the venues' own accounts may ever differ from the book.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isclose
from random import Random

from hypothesis import given
from hypothesis import strategies as st

import ffe.model as m
from ffe.brokers.faults import AnyFault, Chaos, Outage
from ffe.brokers.sim import Deposit, SimBroker
from ffe.data.barset import BarSet, Series
from ffe.engine import Engine, run
from ffe.feeds.bars import BarFeed
from ffe.feeds.merge import Venues, merge
from ffe.feeds.synthetic import synthetic
from ffe.hours import Hours, instant
from ffe.ports import Written
from ffe.research.operator import ScriptedOperator
from ffe.risk.limits import GateLimits, Rules, SizeRules, WatchRules
from ffe.session import Session
from ffe.strategy import View

USD, EUR, JPY = m.Currency("USD"), m.Currency("EUR"), m.Currency("JPY")
SPOT, MARGIN = m.Venue("spot"), m.Venue("margin")
START, DAYS_BEFORE, WIDE = instant("2024-03-04"), 40, 1e12
GATE = GateLimits(
    drawdown_ratio=WIDE, var_ratio=WIDE, concentration_ratio=WIDE, leverage_ratio=WIDE, volatility_ratio=WIDE,
    correlated_count=9,
)  # fmt: skip


# ---------------------------------------------------------------- the world


def instrument(venue: m.Venue, base: str, quote: m.Currency, kind: m.AssetClass, **more: float | bool) -> m.Instrument:
    hours = "forex" if kind is m.AssetClass.FOREX else "24/7"
    return m.Instrument(
        venue, m.Symbol(f"{base}/{quote}"), kind, m.Currency(base), quote, hours, tick=1e-4, shortable=venue == MARGIN,
        spread=2e-4, slippage=1e-4, fee=1e-3, **more,  # type: ignore[arg-type]
    )  # fmt: skip


EURUSD = instrument(MARGIN, "EUR", USD, m.AssetClass.FOREX, lot=1.0, margin_rate=0.05, financing_long=0.05)
USDJPY = instrument(MARGIN, "USD", JPY, m.AssetClass.FOREX, lot=1.0, margin_rate=0.05, financing_short=-0.1)
PERP = instrument(MARGIN, "BTC", EUR, m.AssetClass.CRYPTO, margin_rate=0.1, financing_long=0.3, funding_hours=8.0)
BTC = instrument(SPOT, "BTC", USD, m.AssetClass.CRYPTO, fee_in_base=True)
ETH = instrument(SPOT, "ETH", EUR, m.AssetClass.CRYPTO, volume_share=0.2)
PRICES = {EURUSD: 1.1, USDJPY: 150.0, PERP: 20_000.0, BTC: 22_000.0, ETH: 10.0}
SIZES = {EURUSD.id: 20_000.0, USDJPY.id: 30_000.0, PERP.id: 0.7, BTC.id: 0.9, ETH.id: 900.0}
HELD = (m.Holding(BTC.id, 0.3, 21_000.0), m.Holding(EURUSD.id, -4_000.0, 1.12))


@dataclass(frozen=True)
class World:
    """Everything that is random: the market, what is decided, what goes wrong, what comes in."""

    seed: int
    bars: int
    volatility: float
    busy: float  # how often something is decided
    risk: float
    stop: float
    day_limit: float
    currency: m.Currency  # of the MARGIN account
    chaos: float
    outages: tuple[int, ...]
    deposits: tuple[tuple[int, m.Venue, float], ...]
    orders: tuple[tuple[int, m.Act], ...]  # the operator's


HOURS = st.integers(0, 190)
AMOUNTS = st.sampled_from([-3e3, 7e3, 5e4])
ACTS = st.sampled_from([m.Act.CLOSE_ALL, m.Act.EMERGENCY_STOP, m.Act.PAUSE, m.Act.RESUME])
WORLDS = st.builds(
    World,
    seed=st.integers(0, 10**6),
    bars=st.integers(12, 192),
    volatility=st.sampled_from([0.1, 1.0, 3.0]),
    busy=st.sampled_from([0.1, 0.5]),
    risk=st.sampled_from([0.01, WIDE, WIDE]),
    stop=st.sampled_from([0.004, 0.02, 0.4]),
    day_limit=st.sampled_from([0.05, WIDE]),
    currency=st.sampled_from([USD, EUR]),
    chaos=st.sampled_from([0.0, 0.2, 0.6]),
    outages=st.lists(HOURS, max_size=4).map(tuple),
    deposits=st.lists(st.tuples(HOURS, st.sampled_from([SPOT, MARGIN]), AMOUNTS), max_size=3).map(tuple),
    orders=st.lists(st.tuples(HOURS, ACTS), max_size=2).map(tuple),
)


class Dice:
    """A strategy that decides by lot."""

    def __init__(self, world: World) -> None:
        self.dice, self.busy = Random(world.seed), world.busy

    def on_event(self, view: View) -> Sequence[m.Signal]:
        if not isinstance(view.event, m.Bars) or not view.event.bars or self.dice.random() > self.busy:
            return ()
        bar, side = self.dice.choice(view.event.bars), m.Side(self.dice.choice((-1, 1, 1, 0)))
        stop = bar.close * (1.0 - int(side) * 0.01) if side and self.dice.random() < 0.3 else None
        qty = SIZES[bar.instrument] * self.dice.uniform(0.1, 1.0) if self.dice.random() < 0.6 else None
        return (m.Signal(bar.instrument, side, 100, "dice", stop, qty=qty, add=self.dice.random() < 0.3),)


def primed(engine: Engine) -> None:
    """Give the gate the daily closes, and every currency the rate, without which it refuses."""
    for day in range(DAYS_BEFORE):
        opened = START - (DAYS_BEFORE - day) * m.DAY
        prices = [(i, PRICES[i] * (1.0 + (day * 7 + n) % 5 / 100)) for n, i in enumerate(engine.universe)]
        bars = [m.Bar(i.id, m.DAY, opened, opened + m.DAY, p, p, p, p, 1.0) for i, p in prices]
        engine.prime(m.Bars(opened + m.DAY, tuple(bars)))


def broker(engine: Engine, world: World, venue: m.Venue) -> SimBroker:
    cash = {USD: 5e4, EUR: 4e4} if venue == SPOT else {world.currency: 5e4}
    flows = [
        Deposit(START + hour * m.HOUR, amount, EUR if hour % 2 and venue == SPOT else next(iter(cash)))
        for hour, at, amount in world.deposits
        if at == venue
    ]
    outages = [Outage(START + hour * m.HOUR, START + (hour + 5) * m.HOUR) for hour in world.outages]
    faults: list[AnyFault] = [*outages, Chaos(world.seed, world.chaos)]
    held, marks = [h for h in HELD if engine.universe[h.instrument].venue == venue], engine.book.marks
    return SimBroker(engine.universe, venue, cash, holdings=held, flows=flows, faults=faults, marks=marks)


def market(world: World) -> BarSet:
    """Every instrument from its own price on, with a few bars missing."""
    found: list[Series] = []
    for i, price in PRICES.items():
        found += synthetic(
            [i], m.HOUR, START, world.bars, world.seed, volatility=world.volatility, price=price, missing=0.02
        )
    return BarSet(tuple(found))


def play(world: World) -> Audit:
    accounts = m.Account(SPOT, m.AccountKind.SPOT, USD), m.Account(MARGIN, m.AccountKind.MARGIN, world.currency)
    universe = m.Universe(tuple(PRICES), accounts, USD)
    hours = {i.id: Hours.of(i.hours, START, START + 30 * m.DAY) for i in universe}
    watch = WatchRules(world.stop, 2.0 * world.stop, world.day_limit, world.day_limit)
    rules, session = Rules(GATE, SizeRules(world.risk), watch), Session(str(world.seed), m.HOUR)
    engine = Engine(universe, hours, Dice(world), rules, session)
    primed(engine)
    brokers = [broker(engine, world, SPOT), broker(engine, world, MARGIN)]
    venues, audit = Venues(universe, brokers, engine.gatekeeper.approvals), Audit(engine, brokers)
    script = [m.Command(START + hour * m.HOUR, act, "test") for hour, act in world.orders]
    events = merge(BarFeed(market(world), hours), ScriptedOperator(engine, script), venues, engine.awaited)
    run(events, engine, venues, audit)
    return audit


# ---------------------------------------------------------------- the second book


@dataclass
class Raw:
    """One account, from the answers alone. What is held is kept apart by whose it is."""

    kind: m.AccountKind
    currency: m.Currency
    cash: dict[m.Currency, float] = field(default_factory=lambda: defaultdict(float))
    held: dict[tuple[str, m.InstrumentId], tuple[float, float]] = field(default_factory=dict)  # quantity, average
    deposits: float = 0.0
    fees: float = 0.0
    financing: float = 0.0


class Audit:
    """A journal that counts everything anew, and asks after every step whether all agree."""

    def __init__(self, engine: Engine, brokers: list[SimBroker]) -> None:
        self.engine, self.brokers, self.universe = engine, brokers, engine.universe
        self.raw = {a.venue: Raw(a.kind, a.currency) for a in self.universe.accounts.values()}
        self.marks = {id: price for id, (price, _) in engine.book.marks.items()}
        self.trades: set[tuple[m.Venue, str]] = set()
        self.sent: set[m.OrderId] = set()
        self.steps = self.fills = 0
        self.before: tuple[float, ...] | None = None

    # ------------------------------------------------------------ what happens

    def event(self, event: m.Event) -> None:
        self.before = None
        match event:
            case m.Bars():
                self.marks.update((bar.instrument, bar.close) for bar in event.bars)
                self.agree_with_venues()
            case m.Quotes():
                self.marks.update((quote.instrument, quote.mid) for quote in event.quotes)
            case m.Filled(fill=fill):
                self.fill(event.venue, event.order, fill)
            case m.Report(fills=fills):
                for fill in fills:
                    self.fill(event.venue, event.order, fill)
            case m.CashFlow():
                self.flow(event)
            case m.Found(holding=held):
                raw, quote = self.raw[event.venue], self.universe[held.instrument].quote
                raw.held["foreign", held.instrument] = held.qty, held.price
                raw.deposits += held.qty * held.price * self.rate(quote) if raw.kind is m.AccountKind.SPOT else 0.0

    def rate(self, currency: m.Currency) -> float:
        return {USD: 1.0, EUR: self.marks[EURUSD.id], JPY: 1.0 / self.marks[USDJPY.id]}[currency]

    def flow(self, flow: m.CashFlow) -> None:
        raw, worth = self.raw[flow.venue], flow.amount * self.rate(flow.currency)
        raw.cash[flow.currency] += flow.amount
        if flow.flow is m.Flow.DEPOSIT:
            raw.deposits += worth
            self.before = self.measures()
        else:
            raw.financing -= worth

    def fill(self, venue: m.Venue, order: m.OrderId | None, fill: m.Fill) -> None:
        if (venue, fill.trade) in self.trades:
            return
        self.trades.add((venue, fill.trade))
        self.fills += 1
        raw, of = self.raw[venue], self.universe[fill.instrument]
        is_ours = order is not None or raw.held.get(("ours", of.id), (0.0, 0.0))[0] * fill.qty < 0.0
        whose = "ours" if is_ours else "foreign", of.id
        qty, average = raw.held.get(whose, (0.0, 0.0))
        if fill.cause is m.Cause.ENTRY:
            assert qty * fill.qty >= 0.0, "an entry only adds"
        else:
            assert qty * fill.qty < 0.0 and abs(fill.qty) <= abs(qty), "an exit only reduces, and never flips"
        if raw.kind is m.AccountKind.SPOT:
            raw.cash[of.quote] -= fill.qty * fill.price
        elif qty * fill.qty < 0.0:
            assert (fill.rate is None) == (of.quote == raw.currency)
            raw.cash[raw.currency] -= fill.qty * (fill.price - average) * (fill.rate or 1.0)
        left = qty + fill.qty
        average = (qty * average + fill.qty * fill.price) / left if qty * fill.qty >= 0.0 else average
        if raw.kind is m.AccountKind.SPOT and fill.fee_currency == of.base:
            left -= fill.fee
            raw.fees += fill.fee * fill.price * self.rate(of.quote)
        else:
            raw.cash[fill.fee_currency] -= fill.fee
            raw.fees += fill.fee * self.rate(fill.fee_currency)
        raw.held[whose] = (left, average) if abs(left) > of.lot / 1000.0 else (0.0, 0.0)

    # ------------------------------------------------------------ what must hold

    def measures(self) -> tuple[float, ...]:
        book = self.engine.book
        return book.unit.drawdown, book.unit.day_return, book.day_pnl

    def step(self, step: m.Step) -> Written:
        self.steps += 1
        self.money_is_accounted_for(step)
        self.two_trades_hold_what_is_ours()
        if self.before is not None:
            moved = [abs(a - b) for a, b in zip(self.before, self.measures(), strict=True)]
            assert not max(moved) > 1e-9, "a deposit moves neither drawdown nor the day's result"
        ids = [order.id for order in step.orders if isinstance(order, m.Enter | m.Exit | m.Protect)]
        assert self.sent.isdisjoint(ids) and len(set(ids)) == len(ids), "no id is sent twice"
        self.sent.update(ids)
        return Written.YES

    def two_trades_hold_what_is_ours(self) -> None:
        assert len(self.engine.slots.trades()) <= 2
        for raw in self.raw.values():
            for (whose, id), (qty, _) in raw.held.items():
                is_dust = abs(qty) < self.universe[id].lot
                assert whose == "foreign" or is_dust or self.engine.slots.trade(id), "ours, and in no slot"
        for ledger in self.engine.book.ledgers.values():
            for id, position in ledger.positions():
                assert abs(position.qty) >= self.universe[id].lot / 1000.0, "a rounding error is no position"

    def money_is_accounted_for(self, step: m.Step) -> None:
        book, total = self.engine.book, 0.0
        scale = sum(abs(raw.deposits) for raw in self.raw.values())
        for venue, raw in self.raw.items():
            ledger, equity = book.ledgers[venue], book.venue_equity(venue)
            said = ledger.deposits + ledger.realised + book.unrealised(venue) - ledger.fees - ledger.financing
            mine = (ledger.deposits, raw.deposits), (ledger.fees, raw.fees), (ledger.financing, raw.financing)
            for a, b in ((equity, said), (equity, self.equity(raw)), *mine):
                assert isclose(a, b, rel_tol=1e-9, abs_tol=1e-9 * scale), (venue, a, b)
            total += said
        assert isclose(step.equity, total, rel_tol=1e-9, abs_tol=1e-9 * scale)

    def equity(self, raw: Raw) -> float:
        total = sum(amount * self.rate(currency) for currency, amount in raw.cash.items())
        for (_, id), (qty, average) in raw.held.items():
            base = 0.0 if raw.kind is m.AccountKind.SPOT else average
            total += qty * (self.marks[id] - base) * self.rate(self.universe[id].quote)
        return total

    def agree_with_venues(self) -> None:
        """Before a Bars every answer has been heard: nothing that a venue holds may be unknown to the book."""
        for broker in self.brokers:
            book, theirs = self.engine.book.ledgers[broker.venue], broker.ledger
            assert {id: book.held(id) for id in self.marks} == {id: theirs.held(id) for id in self.marks}
            for currency in {*book.cash, *theirs.cash}:
                mine, other = (ledger.cash[currency].qty for ledger in (book, theirs))
                assert isclose(mine, other, rel_tol=1e-9, abs_tol=1e-6), (broker.venue, currency, mine, other)


@given(WORLDS)
def test_equity_is_deposits_and_gains_less_fees_and_financing_after_every_step(world: World) -> None:
    audit = play(world)
    assert audit.steps > world.bars
