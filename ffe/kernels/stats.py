"""What the gate measures on daily closes: returns of a joined set, correlation, volatility, VaR and what goes with it.

`closes` is days x instruments in the account currency, NaN where a day has none; `end` is the first row not yet
complete. For every set that is compared the closes are joined on the date first, then differenced (simple returns,
newest first). Whatever cannot be known is NaN.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ffe.kernels.compiled import compiled

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
NAN = float("nan")


@compiled
def joined(closes: Floats, end: int, columns: Ints, count: int, rows: Ints) -> int:
    """Fill rows with the newest days on which every one of the first count columns has a close; how many there were."""
    found, day = 0, end
    while day > 0 and found < rows.size:
        day -= 1
        complete = True
        for k in range(count):
            complete = complete and math.isfinite(closes[day, columns[k]])
        if complete:
            rows[found] = day
            found += 1
    return found


@compiled
def simple_return(closes: Floats, rows: Ints, t: int, column: int) -> float:
    """The t-th newest return of a column between two joined days."""
    earned: float = closes[rows[t], column] / closes[rows[t + 1], column] - 1.0
    return earned


@compiled
def correlation(closes: Floats, end: int, a: int, b: int, window: int, minimum: int) -> float:
    """Pearson's rho of two columns over their last window joined returns; NaN under minimum or without variance."""
    columns, rows = np.array([a, b]), np.empty(window + 1, np.int64)
    n = joined(closes, end, columns, 2, rows) - 1
    if n < minimum:
        return NAN
    # Each return once: dividing anew in every pass took two thirds of a review.
    first, second = np.empty(n), np.empty(n)
    mean_a, mean_b = 0.0, 0.0
    for t in range(n):
        first[t] = simple_return(closes, rows, t, a)
        second[t] = simple_return(closes, rows, t, b)
        mean_a += first[t]
        mean_b += second[t]
    mean_a /= n
    mean_b /= n
    aa, bb, ab = 0.0, 0.0, 0.0
    for t in range(n):
        da = first[t] - mean_a
        db = second[t] - mean_b
        aa += da * da
        bb += db * db
        ab += da * db
    if not (aa > 0.0 and bb > 0.0):
        return NAN
    return min(1.0, max(-1.0, ab / (math.sqrt(aa) * math.sqrt(bb))))


@compiled
def volatility(closes: Floats, end: int, column: int, window: int) -> float:
    """Standard deviation (n - 1) of a column's last window returns; NaN with fewer, or without variance."""
    columns, rows = np.array([column]), np.empty(window + 1, np.int64)
    if joined(closes, end, columns, 1, rows) < window + 1:
        return NAN
    returns = np.empty(window)
    mean, squares = 0.0, 0.0
    for t in range(window):
        returns[t] = simple_return(closes, rows, t, column)
        mean += returns[t]
    mean /= window
    for t in range(window):
        deviation = returns[t] - mean
        squares += deviation * deviation
    return math.sqrt(squares / (window - 1)) if squares > 0.0 else NAN


@compiled
def tail_index(n: int, level: float) -> int:
    """Which of n ascending values numpy.quantile(…, level, method="inverted_cdf") returns."""
    return max(0, math.ceil(n * level - 1.0))


@compiled
def smallest(values: Floats, n: int, worst: Floats, where: Ints) -> None:
    """Fill worst with the smallest of the first n values, ascending, and where with their places."""
    kept = 0
    for t in range(n):
        if kept < worst.size:
            kept += 1
        elif not values[t] < worst[kept - 1]:
            continue
        place = kept - 1
        while place > 0 and worst[place - 1] > values[t]:
            worst[place], where[place] = worst[place - 1], where[place - 1]
            place -= 1
        worst[place], where[place] = values[t], t


@compiled
def loss_of(gain: float) -> float:
    """A gain as a loss, 0 where it is none; what is unknown stays unknown, which `max` would not let it."""
    return 0.0 if gain >= 0.0 else -gain


@compiled
def held_columns(exposure: Floats, columns: Ints) -> int:
    """Fill columns with the instruments whose exposure is not zero; how many there are."""
    count = 0
    for k in range(exposure.size):
        if exposure[k] != 0.0:
            columns[count] = k
            count += 1
    return count


@compiled
def portfolio_returns(
    closes: Floats, end: int, exposure: Floats, equity: float, columns: Ints, rows: Ints, returns: Floats
) -> int:
    """Fill returns with the historical returns of today's exposures on equity, newest first; how many there are."""
    count = held_columns(exposure, columns)
    n = joined(closes, end, columns, count, rows) - 1
    for t in range(n):
        total = 0.0
        for k in range(count):
            total += exposure[columns[k]] * simple_return(closes, rows, t, columns[k])
        returns[t] = total / equity
    return n


@compiled
def value_at_risk(
    closes: Floats, end: int, exposure: Floats, equity: float, window: int, minimum: int, level: float
) -> float:
    """Historical VaR at 1 - level of signed exposures as a fraction of equity, never below 0; NaN if it cannot be
    known."""
    columns, rows, returns = np.empty(exposure.size, np.int64), np.empty(window + 1, np.int64), np.empty(window)
    n = portfolio_returns(closes, end, exposure, equity, columns, rows, returns)
    if n < minimum or not equity > 0.0:
        return NAN
    worst, where = np.empty(tail_index(n, level) + 1), np.empty(tail_index(n, level) + 1, np.int64)
    smallest(returns, n, worst, where)
    return loss_of(worst[-1])


@compiled
def correlated_count(
    closes: Floats,
    end: int,
    exposure: Floats,
    venue: Ints,
    candidate: int,
    side: int,
    threshold: float,
    window: int,
    minimum: int,
) -> float:
    """Layer 3: instruments held on the candidate's venue, itself included, whose P&L moves with its own; NaN if
    unknown."""
    count = 1.0
    for k in range(exposure.size):
        if k != candidate and exposure[k] != 0.0 and venue[k] == venue[candidate]:
            rho = correlation(closes, end, candidate, k, window, minimum)
            if math.isnan(rho):
                return NAN
            signed = rho * side if exposure[k] > 0.0 else -rho * side
            count += 1.0 if signed >= threshold else 0.0
    return count


@compiled
def cross_venue(
    closes: Floats, end: int, exposure: Floats, venue: Ints, candidate: int, side: int, window: int, minimum: int
) -> float:
    """Layer 5: the highest signed correlation between the candidate and a holding elsewhere; 0 without any, NaN if
    unknown."""
    highest, any_held = -math.inf, False
    for k in range(exposure.size):
        if exposure[k] != 0.0 and venue[k] != venue[candidate]:
            rho = correlation(closes, end, candidate, k, window, minimum)
            if math.isnan(rho):
                return NAN
            highest = max(highest, rho * side if exposure[k] > 0.0 else -rho * side)
            any_held = True
    return highest if any_held else 0.0


@compiled
def measure(
    closes: Floats,
    end: int,
    exposure: Floats,
    venue: Ints,
    candidate: int,
    side: int,
    equity: float,
    correlation_threshold: float,
    window: int,
    minimum: int,
    level: float,
    volatility_window: int,
    facts: Floats,
) -> None:
    """Fill facts 3, 4, 5 and 7 of a review. exposure already holds the candidate at its real size."""
    facts[4] = correlated_count(closes, end, exposure, venue, candidate, side, correlation_threshold, window, minimum)
    facts[5] = value_at_risk(closes, end, exposure, equity, window, minimum, level)
    facts[6] = cross_venue(closes, end, exposure, venue, candidate, side, window, minimum)
    facts[9] = volatility(closes, end, candidate, volatility_window)


@compiled
def largest_exposure(base: Floats, slope: Floats, n: int, limit: float, index: int) -> float:
    """The largest x >= 0 at which at most index of the losses base + slope x exceed limit; 0 if none, infinite if all.

    Losses beyond the limit are counted, as VaR <= limit says the same: the worst index scenarios may lie beyond it. The
    count can only change where a loss crosses the limit, so those points are the candidates.
    """
    best = 0.0
    for candidate in range(n + 1):
        if candidate < n and not slope[candidate] > 0.0:
            continue
        x = (limit - base[candidate]) / slope[candidate] if candidate < n else math.inf
        if not x > best:
            continue
        beyond = 0
        for t in range(n):
            crosses = (limit - base[t]) / slope[t] if slope[t] != 0.0 else NAN
            if slope[t] > 0.0:
                beyond += 1 if x > crosses else 0
            elif slope[t] < 0.0:
                beyond += 1 if x < crosses else 0
            else:
                beyond += 1 if base[t] > limit else 0
        if beyond <= index:
            best = x
    return best


@compiled
def tail_risk(
    closes: Floats,
    end: int,
    exposure: Floats,
    candidate: int,
    candidate_exposure: float,
    equity: float,
    window: int,
    minimum: int,
    level: float,
    limit: float,
) -> tuple[float, float, float]:
    """(expected shortfall, the candidate's component of VaR, its largest exposure within the VaR limit); NaN if
    unknown.

    Shortfall is the mean of the scenarios up to the quantile; the component is the candidate's loss in the quantile's
    own scenario, so that the components of all holdings add up to VaR.
    """
    columns, rows, returns = np.empty(exposure.size, np.int64), np.empty(window + 1, np.int64), np.empty(window)
    n = portfolio_returns(closes, end, exposure, equity, columns, rows, returns)
    if n < minimum or not equity > 0.0 or candidate_exposure == 0.0:
        return NAN, NAN, NAN
    index = tail_index(n, level)
    worst, where = np.empty(index + 1), np.empty(index + 1, np.int64)
    smallest(returns, n, worst, where)
    total = 0.0
    for k in range(index + 1):
        total += worst[k]
    base, slope = np.empty(n), np.empty(n)
    for t in range(n):
        own = simple_return(closes, rows, t, candidate) / equity
        slope[t] = -own if candidate_exposure > 0.0 else own
        base[t] = -returns[t] - slope[t] * abs(candidate_exposure)
    component = -candidate_exposure * simple_return(closes, rows, where[index], candidate) / equity
    return loss_of(total / (index + 1)), component, largest_exposure(base, slope, n, limit, index)
