"""What a careful friend would say of a run: the fact, why it matters, and what to do about it, the gravest first.

Each finding is a function of a result, and says nothing where there is nothing to be done.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from ffe.data.barset import Series
from ffe.data.quality import Gap, gaps
from ffe.hours import spelt, stamp
from ffe.model import DAY, Cancelled, Decision, Disposition, Filled, Nanos, Purpose, Side
from ffe.strategy import Strategy

if TYPE_CHECKING:
    from ffe.research.result import Result

SILENT: Nanos = 7 * DAY  # as window_age_days: what has had no price for longer is not known any more
FEW_TRADES = 30
MANY = 20  # entries of which all end alike, and no longer by chance
NOT_A_PRICE = 0.2, 5.0  # of the price: a stop beyond is a ratio, or a distance, taken for a price
FEW_HOLES, FEW_MISSING = 0.01, 0.001
SHOWN_REASONS, MOST_LEVELS = 3, 1_000
NUMBER = re.compile(r"[\d.,]+")
SHOWN_FINDINGS = 3  # in the terminal, a notebook and a picture


@dataclass(frozen=True, slots=True)
class Finding:
    fact: str
    why: str
    step: str

    def __str__(self) -> str:
        return f"{self.fact}. {self.why}. {self.step}."


def findings_of(result: Result) -> tuple[Finding, ...]:
    return tuple(chain.from_iterable(look(result) for look in LOOKS))


# ---------------------------------------------------------------- what makes the result another one than it seems


def _held_without_price(result: Result) -> Iterator[Finding]:
    end = max(int(s.close_time[-1]) for s in result.plan.bars if len(s))
    for id, opened in result.open_trades.items():
        last = max(int(s.close_time[-1]) for s in result.plan.bars if s.instrument.id == id and len(s))
        if end - last > SILENT:
            yield Finding(
                f"{id} is held since {stamp(opened)} and has had no price since {stamp(last)}",
                "Equity counts it at its last price for the rest of the run, and no exit of it can fill",
                f"Load its bars to {stamp(end)}, or end the run at {stamp(last)} with --to",
            )


def _long_warmup(result: Result) -> Iterator[Finding]:
    warmup, bars = result.plan.warmup, max(len(s) for s in result.plan.bars)
    if warmup >= bars:
        yield Finding(
            f"The strategy looks back on {warmup:,} bars, and there are {bars:,}",
            "Before it has them it decides nothing, or on less than it says",
            "Load more bars, or shorten its windows",
        )


def _nothing_traded(result: Result) -> Iterator[Finding]:
    if result.outcomes or result.open_trades:
        return
    if not result.dispositions:
        yield Finding(
            "Nothing was decided: the strategy gave no signal",
            "A run without a trade says nothing of an idea",
            "Look at its signals on these bars, one step at a time",
        )
        return
    reasons = [r.decision.reason for r in result.records if r.decision.disposition is not Disposition.SENT]
    yield Finding(
        f"None of {len(result.records):,} decisions became a trade: {_counted(reasons) or 'none was filled'}",
        "A run without a trade says nothing of an idea",
        f"Ask why of one: ffe decisions why {result.records[-1].decision.id[:8]}",
    )


def _counted(reasons: Sequence[str]) -> str:
    """The three commonest, by an example each: they differ in their numbers."""
    examples = {NUMBER.sub("#", reason): reason for reason in reversed(reasons)}
    counts = Counter(NUMBER.sub("#", reason) for reason in reasons)
    return ", ".join(f"{count:,} × {examples[shape]}" for shape, count in counts.most_common(SHOWN_REASONS))


def _never_filled(result: Result) -> Iterator[Finding]:
    entries = {r.decision.order for r in result.records if _is_entry(r.decision) and r.decision.order is not None}
    filled = {event.order for event in result.happened(Filled)}
    ended = [e.reason for e in result.happened(Cancelled) if e.order in entries and e.order not in filled]
    if ended:
        yield Finding(
            f"{len(ended):,} of {len(entries):,} orders of entries were cancelled unfilled: {_counted(ended)}",
            "COLLAR means that the price had moved beyond the order's bound before it could fill",
            "Look at the gaps between close and next open, and at the instrument's tick",
        )


def _is_entry(decision: Decision) -> bool:
    return decision.intent is not None and decision.intent.purpose is Purpose.ENTRY


def _strange_levels(result: Result) -> Iterator[Finding]:
    low, high = NOT_A_PRICE
    close = {s.instrument.id: s for s in result.plan.bars if s.interval == result.plan.interval}
    for record in result.records[:MOST_LEVELS]:
        id, signal = record.decision.instrument, record.decision.signal
        if signal is None or signal.side is Side.FLAT or id not in close:
            continue
        row = int(np.searchsorted(close[id].close_time, record.decision.time, side="right")) - 1
        price = float(close[id].close[max(row, 0)])
        for name, level in (("stop", signal.stop), ("target", signal.target)):
            if level is not None and not low < level / price < high:
                yield Finding(
                    f"A {name} of {level:g} stands at a price of {price:g} ({id})",
                    f"A {name} is a price, not a ratio and not a distance",
                    "Give bars.close * (1 - 0.02) for two percent",
                )
                return


def _ambiguous(result: Result) -> Iterator[Finding]:
    s = result.stats
    if s.pnl <= 0.0 < s.optimistic_pnl:
        yield Finding(
            f"{result.ambiguous_bars} bars that hold stop and target decide the sign: {s.pnl:,.2f} as the stop came "
            f"first, {s.optimistic_pnl:,.2f} had every target",
            "Which came first in a bar is not known",
            "Run it on a shorter interval",
        )


# ---------------------------------------------------------------- how much it says


def _few_trades(result: Result) -> Iterator[Finding]:
    if 0 < len(result.outcomes) < FEW_TRADES:
        yield Finding(
            f"There are {len(result.outcomes)} closed trades",
            f"Of fewer than {FEW_TRADES} the average says little: another period may say the opposite",
            "Load more history, or more instruments",
        )


def _one_trade(result: Result) -> Iterator[Finding]:
    gains = [outcome.pnl for outcome in result.outcomes]
    if len(gains) > 1 and sum(gains) > 0.0 >= sum(gains) - max(gains):
        best = max(result.outcomes, key=lambda outcome: outcome.pnl)
        yield Finding(
            f"One trade carries the profit: {best.instrument} of {stamp(best.opened)} earned {best.pnl:,.2f} of "
            f"{sum(gains):,.2f}",
            "Without it the run loses",
            "Look whether its price is true, and whether it would come again",
        )


def _costs(result: Result) -> Iterator[Finding]:
    s = result.stats
    if s.trades and s.pnl <= 0.0 < s.pnl + s.fees:
        yield Finding(
            f"Fees eat the edge: {s.pnl:,.2f} with {s.fees:,.2f} of fees",
            "Before fees the trades earned",
            "Trade less often, or compare with the venue's own fees",
        )


def _assumed_costs(result: Result) -> Iterator[Finding]:
    settings = result.plan.settings.instruments
    assumed = {i.symbol: settings[i.symbol].assumed for i in result.plan.bars.instruments if i.symbol in settings}
    own = {symbol: costs for symbol, costs in assumed.items() if costs and not result.plan.settings.is_shipped(symbol)}
    if own:
        symbol, costs = next(iter(own.items()))
        said = ", ".join(f"{name} = {cost:g}" for name, cost in costs.items())
        more = f", and of {len(own) - 1} more" if len(own) > 1 else ""
        yield Finding(
            f"The costs of {symbol}{more} are its asset class's, for none are declared: {said}",
            "What your venue takes may be more",
            f"Write them under [instruments.{symbol!r}]; fee_bp = 0 where it takes none",
        )


# ---------------------------------------------------------------- the guards


def _one_layer(result: Result) -> Iterator[Finding]:
    gates = result.gates
    judged = int(gates["judged"].max())
    first = gates["first"]
    if judged >= MANY and first.max() == judged:
        yield Finding(
            f"{first.idxmax()} refused every one of {judged:,} entries",
            "One limit, or one missing fact, decided all of the run",
            f"See what it saw: ffe decisions list --layer {first.idxmax()}",
        )


def _unreachable(result: Result) -> Iterator[Finding]:
    if result.unreachable:
        said = "; ".join(f"{layer.value} ({why})" for layer, why in result.unreachable.items())
        yield Finding(
            f"Layers that could not speak: {said}",
            "What a run does not meet is not tested by it",
            "Run it with the limits and instruments that you will trade",
        )


# ---------------------------------------------------------------- the bars, and the strategy


def _missing_bars(result: Result) -> Iterator[Finding]:
    holes = [(s, found) for s in result.plan.bars if _is_much(s, found := gaps(s))]
    if holes:
        series, found = max(holes, key=lambda pair: sum(gap.bars for gap in pair[1]))
        longest, count = max(found, key=lambda gap: gap.bars), sum(gap.bars for gap in found)
        yield Finding(
            f"{series.name} lacks {count:,} bars in market hours, {longest.bars:,} of them from {stamp(longest.start)}",
            "Indicators go on across a hole as if it were not there, and nothing fills in it",
            f"Fetch or import them, or see all: ffe data gaps {series.instrument.symbol} {spelt(series.interval)}",
        )


def _is_much(series: Series, found: Sequence[Gap]) -> bool:
    lacking = [gap.bars for gap in found]
    return bool(lacking) and (sum(lacking) > FEW_MISSING * len(series) or max(lacking) >= MANY)


def _flat_bars(result: Result) -> Iterator[Finding]:
    for s in result.plan.bars:
        if len(s) >= MANY and _share(s, s.open == s.close) > 0.9:
            yield Finding(
                f"The opens of {s.name} equal its closes in {_share(s, s.open == s.close):.0%} of its bars",
                "Orders fill at opens: with these they fill at a price that was not there yet",
                "Look for a source with real opens",
            )


def _share(series: Series, rows: np.ndarray) -> float:
    return float(np.count_nonzero(rows)) / len(series)


def _holes_of_frames(result: Result) -> Iterator[Finding]:
    plan = result.plan
    same = [s for s in plan.bars if s.interval == plan.interval and len(s)]
    if not plan.strategy.is_columnar or len(same) < 2:
        return
    share = float(plan.bars.frame("close", plan.interval).isna().to_numpy().mean())
    if share > FEW_HOLES:
        yield Finding(
            f"{share:.0%} of the frames' cells are empty: the instruments trade at other times",
            "close.pct_change() and close.shift() give NaN beside a hole; ffe's own indicators skip it",
            "Use ffe.indicators, or work on each column without its holes: close[name].dropna()",
        )


def _two_faces(result: Result) -> Iterator[Finding]:
    kind = type(result.plan.strategy)
    if kind.signals is not Strategy.signals and kind.on_event is not Strategy.on_event:
        yield Finding(
            f"{kind.__name__} has signals and on_event, and only signals was asked",
            "One of the two is not what you think it is",
            "Remove the one that is not meant",
        )


LOOKS: tuple[Callable[[Result], Iterator[Finding]], ...] = (
    _held_without_price, _strange_levels, _never_filled, _nothing_traded, _long_warmup, _ambiguous, _two_faces,
    _one_layer, _flat_bars, _missing_bars, _one_trade, _costs, _few_trades, _holes_of_frames, _assumed_costs,
    _unreachable,
)  # fmt: skip
