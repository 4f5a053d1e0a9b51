"""The demonstration: the main job on real daily bars, then a stress run in which every guard is seen at work.

Nothing is fetched: the stocks come with the `bokeh_sampledata` package, the stress market is synthetic and seeded.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.rule import Rule
from rich.table import Table

import ffe
from ffe.brokers.faults import Outage, Partial, Reject
from ffe.config import Settings
from ffe.data.barset import BarSet
from ffe.data.cache import Cache
from ffe.feeds.synthetic import synthetic
from ffe.hours import instant, stamp
from ffe.indicators import compare, on_edge, sma
from ffe.model import DAY, HOUR
from ffe.research.backtest import World
from ffe.research.result import Happened, Result
from ffe.research.show import progress_bar, show
from ffe.strategy import Columns, Signals, Strategy

console = Console()

STOCKS = ("AAPL", "GOOG", "IBM", "MSFT")
STRESS_START = instant("2024-01-01")
COINS, CURRENCIES = "stress-coins", "stress-forex"  # venues of their own: no cache may take their prices for real ones
STRESS_MARKET = {
    **dict.fromkeys(("BTC/USD", "ETH/USD", "SOL/USD"), COINS),
    **dict.fromkeys(("EUR/USD", "GBP/USD", "USD/JPY"), CURRENCIES),
}
OUT_DAYS = (47, 70, 95)  # from which the coins' venue does not answer for two days


class MaCross(Strategy):
    """`strategies/ma_cross.py`, here so that the demonstration needs no checkout."""

    fast: int = 20
    slow: int = 50

    @property
    def warmup(self) -> int:
        return self.slow + 1

    def signals(self, bars: Columns) -> Signals:
        above = compare(sma(bars.close, self.fast), sma(bars.close, self.slow)).clip(lower=0.0)
        return Signals(side=on_edge(above), confidence=85, reasoning="averages crossed")


class Basket(Strategy):
    """Buys everything at once when its leader turns up, whether or not the others have a bar: what a careless idea
    does."""

    leader: str = "BTC/USD"
    fast: int = 4
    slow: int = 12

    @property
    def warmup(self) -> int:
        return self.slow + 1

    def signals(self, bars: Columns) -> Signals:
        leader = bars.close[[self.leader]]
        turned = on_edge(compare(sma(leader, self.fast), sma(leader, self.slow)).clip(lower=0.0))[self.leader]
        side = pd.DataFrame(dict.fromkeys(bars.close.columns, turned))
        return Signals(side=side, confidence=70, reasoning=f"{self.leader} turned")


def main() -> None:
    """Run both and say what to do next."""
    console.print(Rule("1  The main job: real daily bars, a moving-average cross, every guard on"))
    first = main_job(ffe.load_settings())
    show(first)
    picture = _save(first, "demo.png")
    console.print(Rule("2  STRESS RUN: a synthetic market made to hurt, limits tightened"))
    console.print(
        "Holdings that were there before (bitcoin, a leveraged euro), a venue that is out for a while, missing bars, a "
        "careless basket. The numbers say nothing about any strategy; what matters is what the guards do."
    )
    second = stress_run(ffe.load_settings())
    show(second)
    _show_state(second)
    other = _save(second, "demo_stress.png")
    _next_steps(first, second, picture, other)


def main_job(settings: Settings) -> Result:
    """Daily bars of four stocks through the cache and the whole core."""
    bars = ffe.load_bars(STOCKS, "1d", config=settings)
    with progress_bar(f"{len(STOCKS)} stocks, {sum(len(s) for s in bars):,} daily bars") as progress:
        return ffe.backtest(MaCross(), bars, settings, progress=progress)


def stress_settings(settings: Settings) -> Settings:
    """Venues that are not there, holdings that were there before, and limits tight enough to be met."""
    return settings.but(
        venues={COINS: {}, CURRENCIES: {"kind": "margin"}},
        instruments={symbol: {"venue": venue} for symbol, venue in STRESS_MARKET.items()},
        holdings=[
            {"symbol": "BTC/USD", "qty": 2.0, "price": 25_000.0},
            {"symbol": "EUR/USD", "qty": 220_000.0, "price": 1.1},
        ],
        gate={"leverage_ratio": 1.9, "var_ratio": 0.03},
        watch={"day_loss_ratio": 0.01},
    )


def stress_market(settings: Settings, days: int = 130, seed: int = 12) -> BarSet:
    """Hours of three coins and three currencies that move together; one bar in two hundred is missing."""
    instruments = [settings.instrument(name) for name in STRESS_MARKET]
    return synthetic(instruments, HOUR, STRESS_START, days * 24, seed=seed, correlation=0.62, missing=0.005)


def stress_run(settings: Settings) -> Result:
    stressed = stress_settings(settings)
    bars = stress_market(stressed)
    for series in bars:
        Cache(stressed.cache_path).put(series)  # a replay takes its bars from there
    outages = [Outage(STRESS_START + day * DAY, STRESS_START + (day + 2) * DAY) for day in OUT_DAYS]
    world = World(faults={COINS: [*outages, Reject(9), Partial(5, (0.4, 0.3))]})
    with progress_bar(f"stress, {sum(len(s) for s in bars):,} hourly bars") as progress:
        return ffe.backtest(Basket(), bars, stressed, start=STRESS_START + 40 * DAY, world=world, progress=progress)


def _show_state(result: Result) -> None:
    """The engine's own changes that are not a slot's daily business, each kind with its first time and why."""
    kinds: dict[tuple[str, str, str], list[Happened]] = {}
    for change in result.changes:
        if not change.what.startswith("slot"):
            kinds.setdefault((change.what, change.before, change.after), []).append(change)
    table = Table("the engine's own state", "became", "times", "first at", "because", box=None, header_style="bold")
    for (what, before, after), found in kinds.items():
        table.add_row(what, f"{before} → {after}", str(len(found)), stamp(found[0].time), found[0].why)
    console.print(table)


def _save(result: Result, name: str) -> Path:
    path = result.plan.settings.data_folder / name
    result.plot(path)
    console.print(f"Picture: [bold]{path}[/]")
    return path


def _next_steps(result: Result, stress: Result, picture: Path, other: Path) -> None:
    refused = next((r.decision.id[:8] for r in result.records if r.decision.disposition == "refused"), "ID")
    console.print(Rule("What next"))
    for command, what in (
        (f"ffe decisions why {refused} --run {result.folder}", "why one entry was refused, layer by layer"),
        (f"ffe decisions verify --run {result.folder}", "that no record was touched"),
        (f"ffe replay {result.folder}", "the same run again from its journal: the same bytes"),
        (f"ffe replay {stress.folder}", "the stress run too, outages and all"),
        ("ffe backtest strategies/donchian_breakout.py:DonchianBreakout --symbols AAPL,IBM", "another strategy"),
        ("jupyter lab notebooks/first_backtest.ipynb", "the same from a notebook"),
    ):
        console.print(f"  [bold]{command}[/]\n      {what}", soft_wrap=True)
    console.print(f"Look at {picture} and {other}.", soft_wrap=True)


if __name__ == "__main__":
    from ffe.command import told

    with told():
        main()
