"""Signal + book -> Intent: how much an entry may be, and which rule bound it.

The smallest of what the stop allows (a share of equity at risk), a share of what concentration leaves, a share of the
free cash or margin on the instrument's venue, and what the strategy asked for; rounded down to the instrument's lot. A
size that a limit left no room for is reviewed at the minimum, so that the layer is named, and never sent; any other
size that an instrument cannot do is NotTradable.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from decimal import ROUND_CEILING

from ffe.kernels import fills
from ffe.model import Instrument, Intent, Money, Price, Purpose, Qty, Side, Signal
from ffe.risk.limits import GateLimits, SizeRules, WatchRules
from ffe.rounding import SELLABLE_MARGIN, in_steps, round_down, to_tick

NO_ROOM = "concentration leaves less than the minimum"


@dataclass(frozen=True, slots=True)
class NotTradable:
    """What an instrument cannot do, said before any layer is asked."""

    reason: str


@dataclass(frozen=True, slots=True)
class Room:
    """What sizing must know of the book: money in the account currency, rate converts the quote currency into it.

    exposure is what is already held of the instrument (signed, in flight included), free what its venue could commit.
    """

    equity: Money
    exposure: Money
    free: Money
    rate: float


def minimum_qty(instrument: Instrument, price: Price) -> Qty:
    """The smallest quantity the venue takes at a price, rounded up to a lot."""
    least = max(instrument.minimum_qty, instrument.lot, instrument.minimum_notional / price)
    return in_steps(least, instrument.lot, ROUND_CEILING)


def minimum_entry(instrument: Instrument, price: Price, stop: Price) -> Qty:
    """The smallest purchase that can be stopped and sold again: whole lots net of a fee in base, worth the venue's
    minimum at the lower of price and stop."""
    sellable = instrument.minimum_notional * (1.0 + SELLABLE_MARGIN)
    least = minimum_qty(replace(instrument, minimum_notional=sellable), min(price, stop))
    if not instrument.fee_in_base:
        return least
    return in_steps(least / (1.0 - instrument.fee), instrument.lot, ROUND_CEILING)


def stop_of(signal: Signal, price: Price, watch: WatchRules) -> Price:
    return signal.stop if signal.stop is not None else fills.distance_from(price, int(signal.side), -watch.stop_ratio)


def objection(
    instrument: Instrument, signal: Signal, price: Price, rate: float, is_spot: bool, watch: WatchRules
) -> str | None:
    """Why this instrument cannot do this at all, whatever its size."""
    if not _is_price(price):
        return "no price"
    if not math.isfinite(rate):
        return f"no rate from {instrument.quote} to the account currency"
    if signal.side is Side.SHORT and (is_spot or not instrument.shortable):
        return f"{instrument.symbol} cannot be shorted on {instrument.venue}"
    for name, level, side in (("stop", signal.stop, -int(signal.side)), ("target", signal.target, int(signal.side))):
        if level is not None and not (_is_price(level) and side * level > side * price):
            return f"{name} {level!r} on the wrong side of {price!r}"
    stop, side = to_tick(stop_of(signal, price, watch), instrument.tick), -int(signal.side)
    if not side * stop > side * price:  # bought, refused its stop and sold again, for the costs alone
        return f"stop {stop!r} on the wrong side of {price!r}: a tick is {instrument.tick!r}"
    if signal.qty is not None and not (math.isfinite(signal.qty) and signal.qty > 0.0):
        return f"asked for {signal.qty!r}"
    return None


def _is_price(price: Price) -> bool:
    return math.isfinite(price) and price > 0.0


def collar_ratio(instrument: Instrument, watch: WatchRules) -> float:
    match instrument.asset_class:
        case "crypto":
            return watch.collar_crypto_ratio
        case "forex":
            return watch.collar_forex_ratio
        case _:
            return watch.collar_stock_ratio


def cost_per_unit(instrument: Instrument, side: Side, price: Price, is_spot: bool, watch: WatchRules) -> Price:
    """What one unit may take from free cash or margin at worst: at the collar, with costs and the fee."""
    worst = price * (1.0 + collar_ratio(instrument, watch))
    worst = fills.market_price(worst, int(side), instrument.spread / 2.0, instrument.slippage)
    return worst * ((1.0 if is_spot else instrument.margin_rate) + instrument.fee)


def bounds(
    instrument: Instrument, signal: Signal, price: Price, room: Room, is_spot: bool,
    size: SizeRules, gate: GateLimits, watch: WatchRules,
) -> dict[str, Qty]:  # fmt: skip
    """Every rule's largest quantity, in the order in which ties are named."""
    risk = abs(price - stop_of(signal, price, watch)) * room.rate
    left = gate.concentration_ratio * room.equity - int(signal.side) * room.exposure
    unit = cost_per_unit(instrument, signal.side, price, is_spot, watch) * room.rate
    found = {
        "risk_per_trade": size.risk_per_trade_ratio * room.equity / risk if risk > 0.0 else 0.0,
        "concentration": size.concentration_share * left / (price * room.rate),
        "cash" if is_spot else "margin": size.cash_share * room.free / unit,
    }
    if instrument.maximum_qty:  # of what is held in all: it is to be stopped and sold in one piece
        found["largest_order"] = instrument.maximum_qty - int(signal.side) * room.exposure / (price * room.rate)
    return found if signal.qty is None else {**found, "strategy": signal.qty}


def size_entry(
    instrument: Instrument, signal: Signal, price: Price, room: Room, is_spot: bool,
    size: SizeRules, gate: GateLimits, watch: WatchRules,
) -> Intent | NotTradable:  # fmt: skip
    """The entry that a signal asks for at this price, or why there can be none. Unknown equity is left to the gate."""
    if reason := objection(instrument, signal, price, room.rate, is_spot, watch):
        return NotTradable(reason)
    least = minimum_entry(instrument, price, stop_of(signal, price, watch))
    rule, qty = "unknown_equity", least
    if math.isfinite(room.equity) and math.isfinite(room.free) and math.isfinite(room.exposure):
        found = bounds(instrument, signal, price, room, is_spot, size, gate, watch)
        rule = min(found, key=found.__getitem__)
        qty = round_down(max(0.0, found[rule]), instrument.lot)
    if qty < least:
        if rule != "concentration":
            return NotTradable(f"{rule} leaves {qty!r}, under the minimum of {least!r}")
        rule, qty = NO_ROOM, least
    return Intent(Purpose.ENTRY, instrument.id, signal.side, qty, price, signal.stop, signal.target, rule, signal)
