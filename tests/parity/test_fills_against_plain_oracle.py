"""Engine and simulated venue against fifty lines of plain Python that know neither: every fill to the bit, and equity.

Random markets lie on a coarse grid of prices and the ratios are powers of two, so that opens, stops and targets meet
exactly. Whole series of hours, synthetic and real, are played under a moving-average cross that reverses. No limit
binds: what is compared is what the market gives. A decision at a bar with a gap behind it is dropped: the market may be
closed then.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ffe.model as m
from ffe.brokers.sim import SimBroker
from ffe.data.barset import BarSet, Series
from ffe.data.sources import from_parquet
from ffe.engine import Engine, run
from ffe.feeds.bars import BarFeed
from ffe.feeds.merge import Venues, merge
from ffe.feeds.synthetic import synthetic
from ffe.hours import Hours, instant
from ffe.ports import Written
from ffe.research.operator import ScriptedOperator
from ffe.risk.limits import GateLimits, Rules, SizeRules, WatchRules
from ffe.session import Session
from ffe.strategy import Precomputed
from tests.oracle import Bar, Fill, Terms, play

WIDE = 1e12
GATE = GateLimits(
    drawdown_ratio=WIDE, var_ratio=WIDE, concentration_ratio=WIDE, leverage_ratio=WIDE, volatility_ratio=WIDE
)
CASH, DAYS_BEFORE = 1e7, 40
START = instant("2024-03-04")
VENUE, USD = m.Venue("v"), m.Currency("USD")
Answers = tuple[list[Fill], int, list[float]]


class Kept:
    """A journal in memory: the fills, and equity at every bar's close."""

    def __init__(self) -> None:
        self.event_now: m.Event | None = None
        self.filled: list[m.Filled] = []
        self.equity: list[float] = []

    def event(self, event: m.Event) -> None:
        self.event_now = event
        if isinstance(event, m.Filled):
            self.filled.append(event)

    def step(self, step: m.Step) -> Written:
        if isinstance(self.event_now, m.Bars) and self.event_now.bars:
            self.equity.append(step.equity)
        return Written.YES


def instrument(t: Terms, kind: m.AssetClass = m.AssetClass.CRYPTO) -> m.Instrument:
    hours = "forex" if kind is m.AssetClass.FOREX else "24/7"
    return m.Instrument(
        VENUE, m.Symbol("X/USD"), kind, m.Currency("X"), USD, hours, shortable=True, spread=2.0 * t.half_spread,
        slippage=t.slippage, fee=t.fee, margin_rate=0.05,
    )  # fmt: skip


def primed(engine: Engine, x: m.Instrument, until: m.Nanos, price: float) -> None:
    """Give the gate the daily closes without which it refuses."""
    for day in range(DAYS_BEFORE):
        close, opened = price * (1.0 + day % 3 / 64), until - (DAYS_BEFORE - day) * m.DAY
        bar = m.Bar(x.id, m.DAY, opened, opened + m.DAY, close, close, close, close, 1.0)
        engine.prime(m.Bars(opened + m.DAY, (bar,)))


def played(series: Series, decisions: Sequence[int | None], t: Terms, on_margin: bool) -> Answers:
    """What the engine made of it, in the oracle's words."""
    x, start = series.instrument, int(series.open_time[0])
    account = m.Account(VENUE, m.AccountKind.MARGIN if on_margin else m.AccountKind.SPOT, USD)
    universe, closes = m.Universe((x,), (account,), USD), series.close_time.tolist()
    hours = {x.id: Hours.of(x.hours, start, closes[-1])}
    watch = WatchRules(t.stop, t.target, WIDE, WIDE, t.collar, t.collar, t.collar)
    heard = {
        close: (m.Signal(x.id, m.Side(side), 100, "test", qty=t.qty),)
        for close, side in zip(closes, decisions, strict=True)
        if side is not None
    }
    engine = Engine(
        universe, hours, Precomputed(heard), Rules(GATE, SizeRules(WIDE), watch), Session("test", series.interval)
    )
    primed(engine, x, start // m.DAY * m.DAY, float(series.open[0]))
    venues, kept = Venues(universe, [SimBroker(universe, VENUE, CASH)], engine.gatekeeper.approvals), Kept()
    feed = BarFeed(BarSet((series,)), hours)
    run(merge(feed, ScriptedOperator(engine), venues, engine.awaited), engine, venues, kept)
    opened, closed = ({t: n for n, t in enumerate(times)} for times in (series.open_time.tolist(), closes))
    fills = [
        Fill((opened if f.fill.cause in (m.Cause.ENTRY, m.Cause.EXIT) else closed)[f.time], f.fill.cause.value,
             f.fill.qty, f.fill.price, f.fill.fee) for f in kept.filled
    ]  # fmt: skip
    return fills, sum(f.fill.optimistic is not None for f in kept.filled), kept.equity


def assert_same(ours: Answers, theirs: Answers, on_margin: bool) -> None:
    """All to the bit; but a SPOT account's equity is summed from costs and gains, a rounding off quantity x mark."""
    assert ours[:2] == theirs[:2]
    np.testing.assert_allclose(ours[2], theirs[2], rtol=0.0 if on_margin else 1e-12)


# ---------------------------------------------------------------- random markets


def bar(numbers: list[int], rises: bool) -> Bar:
    low, a, b, high = (float(number) for number in sorted(numbers))
    return Bar(a, high, low, b) if rises else Bar(b, high, low, a)


# Around 8 an eighth or a quarter away is on the grid again: most levels are met exactly now and then.
PRICES = st.lists(st.sampled_from([5, 6, 7, 8, 8, 8, 9, 10, 11]), min_size=4, max_size=4)
BARS = st.lists(st.builds(bar, PRICES, st.booleans()), min_size=12, max_size=40)
FREE = st.just((0.0, 0.0))
TERMS = st.builds(
    lambda costs, *others: Terms(others[0], *costs, *others[1:]),
    FREE | st.tuples(st.sampled_from([0.0004, 0.0625]), st.sampled_from([0.0005, 0.03])),
    st.sampled_from([1.0, 0.3, 7.77]),
    st.sampled_from([0.0, 0.001]),
    st.sampled_from([0.02, 0.125, 0.875]),
    st.sampled_from([0.125, 0.25, 0.5]),
    st.sampled_from([0.125, 0.25, 0.5]),
)


@given(BARS, TERMS, st.booleans(), st.data())
def test_random_markets_fill_as_the_oracle_says_to_the_bit(
    bars: list[Bar], t: Terms, on_margin: bool, data: st.DataObject
) -> None:
    decided = st.sampled_from([None, None, 1, -1, 0] if on_margin else [None, 1, 0])  # nothing is sold short on spot
    decisions = data.draw(st.lists(decided, min_size=len(bars), max_size=len(bars)))
    times = START + m.HOUR * np.arange(len(bars))
    open, high, low, close = np.array(bars).T
    series = Series(instrument(t), m.HOUR, times, times + m.HOUR, open, high, low, close, np.ones(len(bars)))
    assert_same(played(series, decisions, t, on_margin), play(bars, decisions, t, CASH, on_margin), on_margin)


# ---------------------------------------------------------------- whole series of hours


def crosses(closes: list[float], fast: int, slow: int) -> list[int | None]:
    """+1 where the fast mean rises above the slow one, -1 where it falls below."""
    sides: list[int] = [0] * (slow - 1)
    for end in range(slow, len(closes) + 1):
        above = sum(closes[end - fast : end]) / fast - sum(closes[end - slow : end]) / slow
        sides.append((above > 0.0) - (above < 0.0))
    return [None, *(side if side and side != before else None for before, side in pairwise(sides))]


SERIES = [
    ("BTC", m.AssetClass.CRYPTO, False, Terms(0.5, 0.0001, 0.0005, 0.001, 0.0005, 0.02, 0.03)),
    ("ETH", m.AssetClass.CRYPTO, True, Terms(8.1, 0.0002, 0.0005, 0.001, 0.0005, 0.015, 0.015)),
    ("EUR", m.AssetClass.FOREX, True, Terms(9_999.0, 0.00006, 0.0001, 0.00002, 0.0005, 0.002, 0.002)),
]


def assert_hours_fill_as_the_oracle_says(series: Series, on_margin: bool, terms: Terms) -> None:
    follows = np.append(series.open_time[1:] == series.close_time[:-1], False).tolist()
    decisions = [side if on else None for side, on in zip(crosses(series.close.tolist(), 12, 48), follows, strict=True)]
    decisions = [max(side, side * on_margin) if side else side for side in decisions]  # on spot a short is a close
    columns = (series.open, series.high, series.low, series.close)
    bars = [Bar(*row) for row in zip(*(column.tolist() for column in columns), strict=True)]
    answer = play(bars, decisions, terms, CASH, on_margin)
    assert_same(played(series, decisions, terms, on_margin), answer, on_margin)
    assert {fill.cause for fill in answer[0]} == {"entry", "exit", "stop", "target"} and answer[1] > 0


@pytest.mark.parametrize(("kind", "on_margin", "terms"), [row[1:] for row in SERIES], ids=[row[0] for row in SERIES])
def test_synthetic_hours_fill_as_the_oracle_says_to_the_bit(kind: m.AssetClass, on_margin: bool, terms: Terms) -> None:
    wild = 100 * terms.stop  # some bars hold both stop and target
    (series,) = synthetic([instrument(terms, kind)], m.HOUR, START, 365 * 24, seed=1, volatility=wild)
    assert_hours_fill_as_the_oracle_says(series, on_margin, terms)


def test_real_hours_fill_as_the_oracle_says_to_the_bit(shared_data: Path) -> None:
    for name, kind, on_margin, terms in SERIES:
        series = from_parquet(shared_data / f"{name}_USD_H1_2020_2023.parquet", instrument(terms, kind), m.HOUR)
        assert_hours_fill_as_the_oracle_says(series, on_margin, terms)
