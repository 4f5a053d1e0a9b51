"""Lots and ticks: numbers as a venue takes them, in decimal arithmetic. A quantity is cut towards zero."""

from __future__ import annotations

import math
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, Decimal

from ffe.model import Instrument, Price, Qty

SELLABLE_MARGIN = 0.01  # of a venue's smallest value: prices move while an order travels
LOST = 1e-6  # of a lot, in adding up parts; far less than a fee in base currency leaves of one (0.999)


def round_down(qty: Qty, lot: Qty) -> Qty:
    """The largest multiple of lot within qty, towards zero, in decimal arithmetic."""
    return in_steps(qty, lot, ROUND_DOWN) if math.isfinite(qty) else 0.0


def whole_lots(qty: Qty, lot: Qty) -> Qty:
    """What a venue can be asked for of a holding: towards zero, but for the last bits that adding up parts has lost."""
    return round_down(qty + LOST * lot, lot)


def is_dust(instrument: Instrument, qty: Qty, price: Price) -> bool:
    """Whether the venue would refuse to sell a holding, of either sign, at this price.

    A sale is of whole lots and worth at least the venue's minimum at the present price. After a partial fill and a fee
    in base, 0.00010989 was above the minimum by its exact quantity, while the lots that can be sold were worth 4.999
    of 5: every sale was refused and the slot was never free. An unknown price takes the minimum value to be met.
    """
    lots = whole_lots(abs(qty), instrument.lot)
    if lots < max(instrument.minimum_qty, instrument.lot) * (1.0 - LOST):
        return True
    return lots * price < instrument.minimum_notional * (1.0 + SELLABLE_MARGIN)


def to_tick(price: Price, tick: Price) -> Price:
    """The nearest price a venue can rest an order at; where no tick is known, the price itself."""
    return in_steps(price, tick, ROUND_HALF_EVEN) if tick and math.isfinite(price) else price


def in_steps(amount: float, size: float, rounding: str) -> float:
    step = Decimal(repr(size))
    return float((Decimal(repr(float(amount))) / step).to_integral_value(rounding) * step)
