"""Statistics of a run's money and of its closed trades, each by its textbook formula; what cannot be known is NaN.

Returns, their ratios and drawdowns are of unit value, which money that comes or goes does not move.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ffe.model import DAY, Money, Nanos, Outcome, Ratio

YEAR_DAYS = 365.25
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Stats:
    """Equities are money, deposits and withdrawals included; what follows from them is of unit value, without.

    Ratios are fractions. Sharpe and Sortino are of daily returns, annualised, without a risk-free rate.

    optimistic_pnl is what all trades would have earned had every target been first in a bar that held stop and target.
    """

    start_equity: Money
    end_equity: Money
    total_return: Ratio
    annual_return: Ratio
    annual_volatility: Ratio
    sharpe: float
    sortino: float
    max_drawdown: Ratio
    max_drawdown_days: float
    trades: int
    win_rate: Ratio
    profit_factor: float
    average_win: Money
    average_loss: Money
    pnl: Money
    optimistic_pnl: Money
    fees: Money
    days_in_market: Ratio


def statistics(
    time: Ints, equity: Floats, trades: Sequence[Outcome], value: Floats | None = None, open_since: Sequence[Nanos] = ()
) -> Stats:
    """Everything from the equity at each bar's close (ns UTC, account currency), the closed trades, and when those were
    opened that are open at the end.

    value is what a unit was worth, on any scale; where no money came or went equity says the same.
    """
    value = equity if value is None else value
    known = np.isfinite(equity) & (np.cumsum(np.nan_to_num(equity) > 0.0) > 0)
    time, equity, value = time[known], equity[known], value[known]
    if not len(equity):
        time, equity, value = np.array([0], np.int64), np.array([math.nan]), np.array([math.nan])
    returns, per_year = _daily_returns(time, value)
    wins = [trade.pnl for trade in trades if trade.pnl > 0.0]
    losses = [trade.pnl for trade in trades if trade.pnl <= 0.0]
    depth, length = _worst_drawdown(time, value)
    years = (time[-1] - time[0]) / DAY / YEAR_DAYS
    growth = value[-1] / value[0]
    return Stats(
        start_equity=float(equity[0]),
        end_equity=float(equity[-1]),
        total_return=float(growth - 1.0),
        annual_return=float(growth ** (1.0 / years) - 1.0) if years > 0.0 and growth > 0.0 else math.nan,
        annual_volatility=float(np.std(returns, ddof=1) * math.sqrt(per_year)) if len(returns) > 1 else math.nan,
        sharpe=_ratio(returns, returns, per_year),
        sortino=_ratio(returns, np.minimum(returns, 0.0), per_year, about_zero=True),
        max_drawdown=depth,
        max_drawdown_days=length,
        trades=len(trades),
        win_rate=len(wins) / len(trades) if trades else math.nan,
        profit_factor=sum(wins) / -sum(losses) if losses and sum(losses) < 0.0 else math.nan,
        average_win=float(np.mean(wins)) if wins else math.nan,
        average_loss=float(np.mean(losses)) if losses else math.nan,
        pnl=float(sum(trade.pnl for trade in trades)),
        optimistic_pnl=float(sum(t.pnl if t.optimistic_pnl is None else t.optimistic_pnl for t in trades)),
        fees=float(sum(trade.fees for trade in trades)),
        days_in_market=_share_in_market(time, trades, open_since),
    )


def money(amount: Money, scale: Money) -> str:
    """Money with the digits that fit an account of this size: an account of half a bitcoin is not one of 0.50."""
    if not math.isfinite(amount):
        return "–"
    size = math.floor(math.log10(scale)) if math.isfinite(scale) and scale > 0.0 else 5
    return f"{amount:,.{max(2, 5 - size)}f}"


def _daily_returns(time: Ints, value: Floats) -> tuple[Floats, float]:
    """Returns between the last values of the days that have one, and how many such days a year has."""
    days = (time - 1) // DAY
    last = np.flatnonzero(np.r_[np.diff(days) > 0, True])
    closes, span = value[last], (days[last][-1] - days[last][0]) / YEAR_DAYS
    return closes[1:] / closes[:-1] - 1.0, (len(last) - 1) / span if span > 0.0 else math.nan


def _ratio(returns: Floats, risky: Floats, per_year: float, about_zero: bool = False) -> float:
    """Mean over deviation, annualised; a downside deviation is taken about zero."""
    if len(returns) < 2:
        return math.nan
    risk = math.sqrt(float(np.mean(risky**2))) if about_zero else float(np.std(risky, ddof=1))
    return float(np.mean(returns)) / risk * math.sqrt(per_year) if risk > 0.0 else math.nan


def _worst_drawdown(time: Ints, value: Floats) -> tuple[Ratio, float]:
    """The deepest fall below a peak, and the longest time (days) from a peak to the first value that is as high again,
    or to the end. A curve that never falls has none: a neighbour of a peak that is one too is under no water."""
    peaks = np.maximum.accumulate(value)
    at_peak = np.flatnonzero(value >= peaks)
    ends = np.r_[at_peak[1:], len(value) - 1]
    under = ends - at_peak > np.r_[np.ones(len(at_peak) - 1, np.int64), 0] if len(at_peak) else np.zeros(0, np.bool_)
    spans = (time[ends] - time[at_peak])[under]
    return float(np.max(1.0 - value / peaks)), float(np.max(spans, initial=0) / DAY)


def _share_in_market(time: Ints, trades: Sequence[Outcome], open_since: Sequence[Nanos]) -> Ratio:
    """The share of bars at whose close a trade was open."""
    if not len(time):
        return math.nan
    held = np.zeros(len(time) + 1)
    for trade in trades:
        held[np.searchsorted(time, trade.opened, side="right")] += 1
        held[np.searchsorted(time, trade.time, side="left")] -= 1
    for opened in open_since:
        held[np.searchsorted(time, opened, side="right")] += 1
    return float(np.mean(np.cumsum(held)[:-1] > 0))
