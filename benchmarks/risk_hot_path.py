"""The risk hot path: VaR, expected shortfall, correlations and one full review, against numpy and pandas.

Every line is measured in the same process, peers beside ours, on the same closes; each figure is the best of five
repetitions' means, so that what else the machine does falls away. N is instruments held, W returns in the window. Ours
join the closes on the date and difference them in every call, as a gate has to; of the peers, those "of closes" do the
same, the others are handed joined returns and start ahead.
"""

from __future__ import annotations

import math
import sys
import timeit
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parent.parent))

from ffe.engine import Engine
from ffe.hours import Hours, instant
from ffe.kernels import stats
from ffe.model import (
    DAY,
    Account,
    AccountKind,
    AssetClass,
    Bar,
    Bars,
    CashFlow,
    Currency,
    Flow,
    Found,
    Holding,
    Instrument,
    Intent,
    Nanos,
    Purpose,
    Side,
    Symbol,
    Universe,
    Venue,
)  # fmt: skip
from ffe.risk.limits import Rules
from ffe.session import Session
from ffe.strategy import Precomputed

SIZES = [(2, 60), (10, 60), (10, 252), (50, 252), (50, 1000), (200, 252), (500, 1000)]
LEVEL = 0.05
console = Console()


def micros(work: Callable[[], object], seconds: float = 0.2) -> float:
    """Microseconds per call: the best of five means, each over some seconds' share of calls."""
    work()
    once = timeit.timeit(work, number=1)
    number = max(1, int(seconds / 5 / max(once, 1e-7)))
    return min(timeit.repeat(work, number=number, repeat=5)) / number * 1e6


def market(n: int, w: int) -> np.ndarray:
    """Closes of n instruments over w + 1 days."""
    dice = np.random.default_rng(5)
    common = dice.normal(0.0, 0.01, (w, 1))
    return np.vstack([np.full(n, 100.0), 100.0 * np.cumprod(1.0 + common + dice.normal(0.0, 0.01, (w, n)), axis=0)])


def joined_returns(closes: np.ndarray) -> np.ndarray:
    kept = closes[np.isfinite(closes).all(axis=1)]
    return kept[1:] / kept[:-1] - 1.0


def var_row(n: int, w: int) -> list[str]:
    closes, exposure, equity = market(n, w), np.full(n, 1000.0), n * 1000.0
    returns = joined_returns(closes)
    frame = pd.DataFrame(returns)

    def quantile(of: np.ndarray) -> float:
        return -float(np.quantile(of @ exposure / equity, LEVEL, method="inverted_cdf"))

    ours = micros(lambda: stats.value_at_risk(closes, w + 1, exposure, equity, w, 30, LEVEL))
    whole, numpy = micros(lambda: quantile(joined_returns(closes))), micros(lambda: quantile(returns))
    pandas = micros(lambda: -(frame.mul(exposure).sum(axis=1) / equity).quantile(LEVEL, interpolation="lower"))
    tail = micros(lambda: stats.tail_risk(closes, w + 1, exposure, 0, 1000.0, equity, w, 30, LEVEL, 0.05))
    figures = (ours, tail, whole, numpy, pandas, whole / ours, numpy / ours)
    return [str(n), str(w), *(f"{x:,.1f}" for x in figures)]


def correlation_row(n: int, w: int) -> list[str]:
    closes, exposure, venue = market(n, w), np.full(n, 1000.0), np.zeros(n, np.int64)
    returns = joined_returns(closes)
    frame = pd.DataFrame(returns)

    def row(k: int) -> float:
        return stats.correlated_count(closes, w + 1, exposure, venue, k, 1, 0.7, w, 30)

    ours, matrix = micros(lambda: row(0)), micros(lambda: [row(k) for k in range(n)])
    whole = micros(lambda: np.corrcoef(joined_returns(closes), rowvar=False))
    numpy, pandas = micros(lambda: np.corrcoef(returns, rowvar=False)), micros(frame.corr)
    figures = (ours, matrix, whole, numpy, pandas, whole / ours, numpy / ours)
    return [str(n), str(w), *(f"{x:,.1f}" for x in figures)]


def var_table() -> Table:
    heads = (
        "N",
        "W",
        "ffe",
        "ffe tail risk",
        "numpy of closes",
        "numpy",
        "pandas",
        "numpy of closes / ffe",
        "numpy / ffe",
    )
    table = Table(
        *heads, title="Value at risk; tail risk is shortfall, component and largest size; microseconds a call"
    )
    for size in SIZES:
        table.add_row(*var_row(*size))
    return table


def correlation_table() -> Table:
    heads = (
        *("N", "W", "ffe row", "ffe matrix", "numpy of closes", "numpy", "pandas"),
        *("numpy of closes / ffe row", "numpy / ffe row"),
    )
    table = Table(*heads, title="Correlation, microseconds a call: a review needs the candidate's row alone")
    for size in SIZES:
        table.add_row(*correlation_row(*size))
    return table


def engine_with_holdings(days: int = 61) -> tuple[Engine, Nanos]:
    """An engine that holds two instruments and knows the closes of three over so many days."""
    venue, usd = Venue("bench"), Currency("USD")
    coins = tuple(
        Instrument(venue, Symbol(name), AssetClass.CRYPTO, Currency(name), usd, "24/7")
        for name in ("AAA", "BBB", "CCC")
    )
    universe = Universe(coins, (Account(venue, AccountKind.SPOT, usd),), usd)
    start, closes = instant("2024-01-01"), market(3, days)
    hours = dict.fromkeys(universe.index, Hours.of("24/7", start, start + 400 * DAY))
    engine = Engine(universe, hours, Precomputed({}), Rules(), Session("bench", DAY))
    for day in range(days + 1):
        now = start + (day + 1) * DAY
        bars = (Bar(i.id, DAY, now - DAY, now, *[float(closes[day, n])] * 4, 1.0) for n, i in enumerate(universe))
        engine.step(Bars(now, tuple(bars)))
    engine.step(CashFlow(now, venue, None, Flow.DEPOSIT, 100_000.0, usd))
    for coin in coins[:2]:
        engine.step(Found(now, venue, None, Holding(coin.id, 100.0, 100.0)))
    return engine, now


def review_table() -> Table:
    """One review of an entry with two holdings and 61 closes, from the compiled measures to the whole."""
    engine, now = engine_with_holdings()
    facts, keeper, closes = engine.facts, engine.gatekeeper, engine.history.closes
    intent = Intent(Purpose.ENTRY, engine.universe.instruments[2].id, Side.LONG, 100.0, 100.0, None, None, "bench")
    found, exposure = facts.measure(intent, 80.0, now, True, False)
    out, venue = found.copy(), np.zeros(3, np.int64)
    rows = (
        ("compiled measures alone (layers 3, 4, 5, 7)",
         lambda: stats.measure(closes.table, closes.end, exposure, venue, 2, 1, 1e5, 0.7, 60, 30, LEVEL, 20, out)),
        ("Gatekeeper.review: judged, every layer kept", lambda: keeper.review(intent, found, AssetClass.CRYPTO)),
        ("compiled measures + Gatekeeper.review: one full review",
         lambda: (stats.measure(closes.table, closes.end, exposure, venue, 2, 1, 1e5, 0.7, 60, 30, LEVEL, 20, out),
                  keeper.review(intent, out, AssetClass.CRYPTO))),
        ("Facts.measure: exposures, hours, equity gathered from the book as well",
         lambda: facts.measure(intent, 80.0, now, True, False)),
        ("shortfall, component, largest size for the record", lambda: facts.tail(intent, exposure, now)),
    )  # fmt: skip
    table = Table("one entry, two holdings, 61 closes", "microseconds", title="A full review, called from Python")
    for name, work in rows:
        table.add_row(name, f"{micros(work):.2f}")
    assert all(math.isfinite(fact) for fact in found.tolist())
    return table


if __name__ == "__main__":
    for make in (review_table, var_table, correlation_table):
        console.print(make())
