"""What the market gives, written a second time from the rules alone, in plain Python; it knows nothing of the engine.

One instrument, one position. A decision at a bar's close (+1 long, -1 short, 0 close, None nothing) meets the next
open; a stop and a target rest from the entry on. Money is one currency; on margin only a close moves the balance.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Bar(NamedTuple):
    open: float
    high: float
    low: float
    close: float


class Terms(NamedTuple):
    """Ratios of price, but for qty; stop and target lie that far from the average fill."""

    qty: float
    half_spread: float
    slippage: float
    fee: float
    collar: float
    stop: float
    target: float


class Fill(NamedTuple):
    bar: int
    cause: str
    qty: float
    price: float
    fee: float


def taken_out(bar: Bar, held: float, average: float, t: Terms) -> tuple[str, float, bool] | None:
    """What stop and target do in one bar: the cause, the price, and whether the bar held both."""
    if held > 0.0:  # sold at the bid
        open, high, low, _ = (mid * (1.0 - t.half_spread) for mid in bar)
        stop, target, slipped = average * (1.0 - t.stop), average * (1.0 + t.target), 1.0 - t.slippage
        met = open <= stop, open > target, low <= stop, high > target
    else:  # bought back at the ask
        open, high, low, _ = (mid * (1.0 + t.half_spread) for mid in bar)
        stop, target, slipped = average * (1.0 + t.stop), average * (1.0 - t.target), 1.0 + t.slippage
        met = open >= stop, open < target, high >= stop, low < target
    match met:
        case True, _, _, _:
            return "stop", open * slipped, False
        case _, True, _, _:
            return "target", open, False
        case _, _, True, is_ambiguous:
            return "stop", stop * slipped, is_ambiguous
        case _, _, _, True:
            return "target", target, False
    return None


def play(
    bars: Sequence[Bar], decisions: Sequence[int | None], t: Terms, cash: float, on_margin: bool
) -> tuple[list[Fill], int, list[float]]:
    """Every fill, how many bars held stop and target both, and equity at every close."""
    fills: list[Fill] = []
    equity: list[float] = []
    held = average = 0.0
    ambiguous = 0

    def trade(cause: str, qty: float, price: float) -> None:
        nonlocal cash, held, average
        fills.append(Fill(len(equity), cause, qty, price, abs(qty) * price * t.fee))
        cash -= qty * price if not on_margin else 0.0 if cause == "entry" else qty * (price - average)
        cash -= fills[-1].fee
        held, average = held + qty, price

    for bar, before, decision in zip(bars, [None, *bars], [None, *decisions], strict=False):
        side = (held > 0.0) - (held < 0.0)
        if before and decision is not None and decision != side:
            if held:  # an order at the open comes before what rests in the bar
                trade("exit", -held, bar.open * (1.0 - side * t.half_spread) * (1.0 - side * t.slippage))
            is_beyond = decision * bar.open > decision * before.close * (1.0 + decision * t.collar)
            if decision and not is_beyond:
                price = bar.open * (1.0 + decision * t.half_spread) * (1.0 + decision * t.slippage)
                trade("entry", decision * t.qty, price)
        if held and (out := taken_out(bar, held, average, t)):
            ambiguous += out[2]
            trade(out[0], -held, out[1])
        equity.append(cash + held * ((bar.close - average) if on_margin else bar.close))
    return fills, ambiguous, equity
