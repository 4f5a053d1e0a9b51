"""Lots and ticks: numbers as a venue takes them, in decimal arithmetic. A quantity is cut towards zero."""

from __future__ import annotations

import math
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, Decimal

from ffe.model import Price, Qty

LOST = 1e-6  # of a lot, in adding up parts; far less than a fee in base currency leaves of one (0.999)


def round_down(qty: Qty, lot: Qty) -> Qty:
    """The largest multiple of lot within qty, towards zero, in decimal arithmetic."""
    return in_steps(qty, lot, ROUND_DOWN) if math.isfinite(qty) else 0.0


def whole_lots(qty: Qty, lot: Qty) -> Qty:
    """What a venue can be asked for of a holding: towards zero, but for the last bits that adding up parts has lost."""
    return round_down(qty + LOST * lot, lot)


def to_tick(price: Price, tick: Price) -> Price:
    """The nearest price a venue can rest an order at; where no tick is known, the price itself."""
    return in_steps(price, tick, ROUND_HALF_EVEN) if tick and math.isfinite(price) else price


def in_steps(amount: float, size: float, rounding: str) -> float:
    step = Decimal(repr(size))
    return float((Decimal(repr(float(amount))) / step).to_integral_value(rounding) * step)
