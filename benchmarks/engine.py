"""The full core against backtesting.py, side by side in one process: bars per second, records on disk included.

Same market, same idea: SMA 20/50 cross, long only, 2 % stop, 5 % target, 0.1 % fee. Ours steps every bar through the
gate, breaker, slots and journal, computes its signals, proves that they do not look ahead, and fsyncs its records;
backtesting.py has none of these. Rounds alternate, so that what the machine does otherwise falls on both; the figure
is the median. backtesting.py is AGPL-3.0: it is measured here and used nowhere else.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parent.parent))

import ffe
from ffe.data.barset import BarSet
from ffe.hours import instant
from ffe.model import MINUTE
from strategies.ma_cross import MaCross

BARS, ROUNDS = 100_000, 7


def market() -> BarSet:
    """One coin, fifteen-minute bars, none missing."""
    coin = ffe.load_settings().instrument("BTC/USD")
    return ffe.synthetic([coin], 15 * MINUTE, instant("2020-01-01"), BARS, seed=3, missing=0.0, price=30_000.0)


def ours(bars: BarSet, folder: Path) -> int:
    """One run; how many decisions it came to."""
    settings = ffe.load_settings().but(
        watch={"day_loss_ratio": 1.0, "day_gain_ratio": 1.0}, gate={"drawdown_ratio": 1.0}
    )
    result = ffe.backtest(MaCross(confidence=85), bars, settings, records=folder)
    return sum(1 for _ in (result.folder / "decisions.jsonl").open())


def theirs(bars: BarSet) -> Callable[[], int]:
    """The same idea for backtesting.py, its data prepared."""
    warnings.simplefilter("ignore")
    from backtesting import Backtest, Strategy
    from backtesting.lib import crossover
    from backtesting.test import SMA

    frame = pd.DataFrame(
        {name.title(): bars.frame(name).iloc[:, 0] for name in ("open", "high", "low", "close", "volume")}
    )

    class Cross(Strategy):  # type: ignore[misc]
        def init(self) -> None:
            self.fast, self.slow = self.I(SMA, self.data.Close, 20), self.I(SMA, self.data.Close, 50)

        def next(self) -> None:
            price = self.data.Close[-1]
            if crossover(self.fast, self.slow) and not self.position:
                self.buy(size=0.2, sl=price * 0.98, tp=price * 1.05)
            elif crossover(self.slow, self.fast) and self.position:
                self.position.close()

    def run() -> int:
        return len(Backtest(frame, Cross, cash=10_000_000, commission=0.001, finalize_trades=True).run()["_trades"])

    return run


def timed(work: Callable[[], int]) -> tuple[float, int]:
    start = time.perf_counter()
    count = work()
    return time.perf_counter() - start, count


def main() -> None:
    bars = market()
    their_run = theirs(bars)
    with tempfile.TemporaryDirectory() as scratch:
        rounds = [(timed(lambda: ours(bars, Path(scratch))), timed(their_run)) for _ in range(ROUNDS + 1)][1:]
    mine, peer = ([one[which] for one in rounds] for which in (0, 1))
    table = Table(
        "engine",
        "bars per second",
        "slowest – fastest",
        "what it did",
        title=f"{BARS:,} bars, {ROUNDS} alternating rounds, warm",
    )
    for name, times, what in (("ffe, every guard on", mine, "decisions"), ("backtesting.py", peer, "trades")):
        speeds = sorted(BARS / seconds for seconds, _ in times)
        table.add_row(
            name,
            f"{statistics.median(speeds):,.0f}",
            f"{speeds[0]:,.0f} – {speeds[-1]:,.0f}",
            f"{times[0][1]:,} {what}",
        )
    ratio = statistics.median(p[0] / m[0] for m, p in zip(mine, peer, strict=True))
    Console().print(table)
    Console().print(f"ffe runs at {ratio:.2f} x backtesting.py (median of the rounds' ratios)")


if __name__ == "__main__":
    main()
