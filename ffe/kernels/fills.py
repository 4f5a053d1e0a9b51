"""What the market gives an order within one bar.

Buyers pay mid x (1 + half spread), sellers get mid x (1 - half spread); slippage is applied once, against you, to
market orders and stops. A gap through a stop fills at the open, a touch fills at the stop; a target must be traded
through; if stop and target both lie in the bar, the stop fills. `side` is +1 to buy or for a long position, -1 to sell
or for a short.
"""

from __future__ import annotations

from ffe.kernels.compiled import compiled

NOTHING, STOP, TARGET = 0, 1, 2
NAN = float("nan")


@compiled
def side_price(mid: float, side: int, half_spread: float) -> float:
    """The price that the given side trades at."""
    return mid * (1.0 + side * half_spread)


@compiled
def market_price(mid: float, side: int, half_spread: float, slippage: float) -> float:
    """The price of a market order of the given side."""
    return mid * (1.0 + side * half_spread) * (1.0 + side * slippage)


@compiled
def within_collar(mid: float, side: int, collar: float) -> bool:
    """Whether an entry may still trade at this mid; an unknown price may not."""
    return side * mid <= side * collar


@compiled
def distance_from(average: float, side: int, ratio: float) -> float:
    """The price that lies ratio in favour of a position (a negative ratio: against it)."""
    return average * (1.0 + side * ratio)


@compiled
def is_beyond_stop(mid: float, side: int, stop: float, half_spread: float) -> bool:
    """Whether a position of this side could only be closed at its stop or worse."""
    return side * side_price(mid, -side, half_spread) <= side * stop


@compiled
def is_through_target(mid: float, side: int, target: float, half_spread: float) -> bool:
    """Whether a position of this side could be closed for more than its target."""
    return side * side_price(mid, -side, half_spread) > side * target


@compiled
def exit_in_bar(
    open: float, high: float, low: float, side: int, stop: float, target: float, half_spread: float, slippage: float
) -> tuple[int, float, float]:
    """What stop and target of a position do in one bar: (NOTHING | STOP | TARGET, price, price had the target been
    first).

    The last is NaN unless the bar is ambiguous. A NaN stop or target is none.
    """
    first = side_price(open, -side, half_spread)
    farthest, nearest = (high, low) if side > 0 else (low, high)  # mutate: equivalent, a side is never 0
    best = side_price(farthest, -side, half_spread)
    worst = side_price(nearest, -side, half_spread)
    slipped = 1.0 - side * slippage
    if side * first <= side * stop:
        return STOP, first * slipped, NAN
    if side * first > side * target:
        return TARGET, first, NAN
    reaches_target = side * best > side * target
    if side * worst <= side * stop:
        return STOP, stop * slipped, target if reaches_target else NAN
    if reaches_target:
        return TARGET, target, NAN
    return NOTHING, NAN, NAN


@compiled
def fee(qty: float, price: float, rate: float) -> float:
    """What a venue takes for a fill, in the quote currency."""
    return abs(qty) * price * rate


@compiled
def financing(qty: float, mark: float, annual_rate: float, days: float) -> float:
    """What holding qty costs for some days (negative: earns), in the quote currency; an annual rate is over 365
    days."""
    return abs(qty) * mark * annual_rate / 365.0 * days
