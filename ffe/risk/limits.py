"""Every number a rule needs, with its unit in its name. Defaults are the rulings'; what cannot be is refused at birth.

These are plain values: the configuration fills them, the core only reads them.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields

SLOT_CEILING = 2  # fixed: no configuration raises it


def _check(rules: object, **bounds: tuple[float, float]) -> None:
    """Refuse a number outside its bounds, naming it; every other number only has to be positive."""
    for each in fields(rules):  # type: ignore[arg-type]
        value = getattr(rules, each.name)
        low, high = bounds.get(each.name, (math.ulp(0.0), sys.float_info.max))
        if isinstance(value, int | float) and not isinstance(value, bool) and not low <= value <= high:
            wanted = f"lie between {low:g} and {high:g}" if each.name in bounds else "be positive and finite"
            raise ValueError(f"{each.name} = {value}: must {wanted}")


@dataclass(frozen=True, slots=True)
class GateLimits:
    """The limits of the seven layers, and how their facts are measured."""

    freshness_crypto_seconds: float = 15 * 60.0
    freshness_forex_seconds: float = 15 * 60.0
    freshness_stock_seconds: float = 4 * 3600.0
    future_seconds: float = 5.0
    drawdown_ratio: float = 0.05
    drawdown_window_days: int = 30
    correlation_threshold: float = 0.7
    correlated_count: int = 2
    var_ratio: float = 0.05
    var_level: float = 0.05
    cross_venue_threshold: float = 0.5
    concentration_ratio: float = 0.25
    leverage_ratio: float = 5.0
    volatility_ratio: float = 0.05
    volatility_days: int = 20
    confidence_floor: int = 80
    window_returns: int = 60
    minimum_returns: int = 30
    unreachable_seconds: float = 300.0  # how long a silent venue's last proven positions may stand in for the truth

    def __post_init__(self) -> None:
        _check(
            self, correlation_threshold=(-1, 1), cross_venue_threshold=(-1, 1), var_level=(1e-6, 0.5),
            confidence_floor=(0, 100), minimum_returns=(2, self.window_returns), volatility_days=(2, 1e4),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class SizeRules:
    """What bounds an entry: the equity its stop puts at risk, and the shares taken of what concentration and cash
    leave."""

    risk_per_trade_ratio: float = 0.01
    concentration_share: float = 0.95
    cash_share: float = 0.95

    def __post_init__(self) -> None:
        _check(self, concentration_share=(1e-6, 1), cash_share=(1e-6, 1))


@dataclass(frozen=True, slots=True)
class WatchRules:
    """Stops and targets of a trade from its average fill, of a day's trades from its starting equity, and the
    collars."""

    stop_ratio: float = 0.02
    target_ratio: float = 0.05
    day_loss_ratio: float = 0.02
    day_gain_ratio: float = 0.05
    collar_crypto_ratio: float = 0.02
    collar_forex_ratio: float = 0.005
    collar_stock_ratio: float = 0.05
    protect_tries: int = 3

    def __post_init__(self) -> None:
        _check(self)


@dataclass(frozen=True, slots=True)
class SlotRules:
    slots: int = SLOT_CEILING
    queue_length: int = 8
    queue_hours: float = 24.0
    queue_dearer_ratio: float = 0.01

    def __post_init__(self) -> None:
        _check(self, slots=(1, SLOT_CEILING), queue_length=(0, 1000))


@dataclass(frozen=True, slots=True)
class BreakerRules:
    failures: int = 5
    open_seconds: float = 60.0
    open_cap_seconds: float = 900.0
    jitter_ratio: float = 0.1
    probe_seconds: float = 30.0
    patience_seconds: float = 60.0  # for longer a venue may not want to be left alone, or entries stop until it answers

    def __post_init__(self) -> None:
        _check(self, jitter_ratio=(0, 0.5))


@dataclass(frozen=True, slots=True)
class MemoryRules:
    calibrate: bool = False
    minimum_outcomes: int = 20

    def __post_init__(self) -> None:
        _check(self)


@dataclass(frozen=True, slots=True)
class ControlRules:
    """What an approved entry meets around the gate: how many may leave and how often the same, how old price, clock and
    decision may be at the moment it leaves, and the disk's free space.

    The largest order and the day's largest turnover and loss are in the account currency, quantities by symbol; what is
    not set does not apply.
    """

    orders_per_second: int = 5
    orders_per_minute: int = 60
    orders_per_day: int = 500
    rate_breaches: int = 3
    repeats: int = 3
    repeat_seconds: float = 300.0
    duplicate_seconds: float = 5.0
    quote_seconds: float = 2.0
    skew_seconds: float = 0.5
    decision_seconds: float = 10.0
    free_mib: float = 200.0
    max_order_value: float | None = None
    max_order_qty: Mapping[str, float] = field(default_factory=dict)
    max_day_notional: float | None = None
    max_day_loss: float | None = None

    def __post_init__(self) -> None:
        _check(self, orders_per_second=(1, 1e4), orders_per_minute=(1, 1e4), orders_per_day=(1, 1e4))
        for symbol, most in self.max_order_qty.items():
            if not 0.0 < most < math.inf:
                raise ValueError(f"max_order_qty of {symbol} = {most}: must be positive and finite")


@dataclass(frozen=True, slots=True)
class Rules:
    gate: GateLimits = GateLimits()
    size: SizeRules = SizeRules()
    watch: WatchRules = WatchRules()
    slots: SlotRules = SlotRules()
    breaker: BreakerRules = BreakerRules()
    memory: MemoryRules = MemoryRules()
    controls: ControlRules = ControlRules()
