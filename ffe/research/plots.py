"""Pictures of a run: equity with its drawdown, the slots over time, and what each layer refused."""

from __future__ import annotations

from itertools import pairwise
from textwrap import fill
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from ffe.research.findings import SHOWN_FINDINGS
from ffe.research.stats import money

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ffe.research.result import Result

INK, LOSS, GAIN, QUIET, WARN = "#1f3a5f", "#b3402a", "#2a7f62", "#c9cfd6", "#d99a2b"
WIDTH = 170  # letters of a line under the picture
MOST_POINTS = 4000  # more than a picture can show


def run_figure(result: Result) -> Figure:
    """One figure of three rows, 11 x 9 inches."""
    figure, (money, slots, layers) = plt.subplots(
        3, 1, figsize=(11, 9), height_ratios=(3, 1, 1.7), layout="constrained"
    )
    slots.sharex(money)
    _equity(money, result)
    _slots(slots, result)
    _refusals(layers, result)
    s = result.stats
    figure.suptitle(
        f"{result.plan.strategy.name} on {', '.join(i.symbol for i in result.plan.bars.instruments)}:  "
        f"{s.total_return:+.1%},  Sharpe {s.sharpe:.2f},  worst drawdown {s.max_drawdown:.1%},  {s.trades} trades",
        fontsize=11, fontweight="bold", color=INK,
    )  # fmt: skip
    said = [fill(f"! {finding.fact}", WIDTH) for finding in result.findings[:SHOWN_FINDINGS]]
    figure.supxlabel("\n".join(said).replace("$", r"\$"), fontsize=8, x=0.01, ha="left", color=WARN)
    return figure


def _thinned(values: np.ndarray, points: int = MOST_POINTS) -> np.ndarray:
    """Which points to draw: all, or the lowest and highest of each stretch, so that no spike is lost."""
    if len(values) <= points:
        return np.arange(len(values))
    edges = np.linspace(0, len(values), points // 2 + 1).astype(int)
    spans = [(a, b) for a, b in pairwise(edges) if b > a]
    kept = {int(a + pick(values[a:b])) for a, b in spans for pick in (np.argmin, np.argmax)}
    return np.array(sorted({0, *kept, len(values) - 1}))


def _rounded(amount: float, start: float) -> str:
    """For an axis: two digits fewer than in a table."""
    return money(amount, start)[:-3] if start >= 1e3 else money(amount, start)


def _equity(axes: Axes, result: Result) -> None:
    known = result.value.dropna()
    known = known[known > 0.0]
    if known.empty:
        axes.set_title("Equity was never known", loc="left", fontsize=10)
        return
    drawdown = (1.0 - known / known.cummax()).to_numpy()
    chosen = _thinned(known.to_numpy())
    what = "value of the first equity" if result.flows else "equity"
    axes.plot(known.index[chosen], known.to_numpy()[chosen], color=INK, linewidth=1.1, label=what)
    axes.set_ylabel(f"{what} ({result.plan.settings.currency})")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda x, _: _rounded(x, result.stats.start_equity)))
    below = axes.twinx()
    deepest = _thinned(-drawdown)
    below.fill_between(known.index[deepest], drawdown[deepest], color=LOSS, alpha=0.25, linewidth=0, label="drawdown")
    below.set_ylim(max(0.02, float(drawdown.max()) * 3.0), 0.0)
    below.yaxis.set_major_formatter(PercentFormatter(1.0))
    below.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    below.set_ylabel("drawdown", color=LOSS)
    _mark_halts(axes, result)
    axes.grid(alpha=0.25)
    money = f", without the money that came or went ({len(result.flows)} times)" if result.flows else ""
    axes.set_title(f"{what.capitalize()} and drawdown{money}", loc="left", fontsize=10)


def _mark_halts(axes: Axes, result: Result) -> None:
    halts = [change for change in result.changes if change.what.startswith("latch")]
    for n, change in enumerate(halts):
        time = np.datetime64(change.time, "ns")
        axes.axvline(time, color=WARN, linewidth=1.0, linestyle=":", label="halted" if n == 0 else None)  # type: ignore[arg-type]
    if halts:
        axes.legend(loc="upper left", fontsize=8, frameon=False)


def _slots(axes: Axes, result: Result) -> None:
    held = result.slots
    ceiling = result.plan.settings.slots.slots
    chosen = _thinned(held.to_numpy())
    axes.fill_between(held.index[chosen], held.to_numpy()[chosen], step="post", color=GAIN, alpha=0.6, linewidth=0)
    axes.axhline(ceiling, color=QUIET, linewidth=1.0)
    axes.set_ylim(0, ceiling + 0.3)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel("slots held")
    axes.set_title(f"The {ceiling} slots over time", loc="left", fontsize=10)


def _refusals(axes: Axes, result: Result) -> None:
    """Bars by layer: first to refuse, refused behind another, warned; a layer out of reach is greyed and says so."""
    gates = result.gates.iloc[::-1]
    refused = gates["refused"] + gates["data_missing"]
    places = np.arange(len(gates))
    axes.barh(places, gates["first"], color=LOSS, label="the reason of a refusal")
    axes.barh(places, refused - gates["first"], left=gates["first"], color=LOSS, alpha=0.35, label="refused as well")
    axes.barh(places, gates["warned"], left=refused, color=WARN, alpha=0.8, label="warned")
    widest = max(1.0, float((refused + gates["warned"]).max()))
    for place, (_, row) in zip(places, gates.iterrows(), strict=True):
        total = int(row["refused"] + row["data_missing"] + row["warned"])
        waited = f" ({row['waited']} waited for their session)" if row["waited"] else ""
        note = f"cannot be reached: {row['unreachable']}" if row["unreachable"] and not total else f"{total}{waited}"
        axes.text(
            total + widest * 0.01, float(place), note, va="center", fontsize=8, color="#777777" if not total else INK
        )
    axes.set_yticks(places, list(gates.index), fontsize=8)
    axes.set_xlim(0, widest * 1.15)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=3, fontsize=8, frameon=False)
    axes.set_title(f"What the layers said of {int(gates['judged'].max())} judged entries", loc="left", fontsize=10)
