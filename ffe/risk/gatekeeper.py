"""The only maker of approvals. Every entry in every world passes `review`; every exit gets its key from `reduce`.

All layers are judged and kept; the first that refused is the reason. A fact that is missing, NaN or infinite refuses.
An exit is what provably reduces a position, judged from the position and not from its label; its layers are waived.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ffe.model import (
    LAYERS,
    Approved,
    AssetClass,
    Intent,
    Judgement,
    Purpose,
    Qty,
    Refused,
    Status,
    Verdict,
)  # fmt: skip
from ffe.risk.limits import GateLimits

STATUSES = (Status.PASSED, Status.WARNED, Status.REFUSED, Status.DATA_MISSING)
UNKNOWN_FACTS = (math.nan,) * len(LAYERS)
ALL_WAIVED = (Status.WAIVED,) * len(LAYERS)


def freshness_limit(limits: GateLimits, asset_class: AssetClass) -> float:
    match asset_class:
        case AssetClass.CRYPTO:
            return limits.freshness_crypto_seconds
        case AssetClass.FOREX:
            return limits.freshness_forex_seconds
        case _:
            return limits.freshness_stock_seconds


class Reducer:
    """Keys for exits alone: it needs no facts, and so nothing that is compiled."""

    def __init__(self, limits: GateLimits) -> None:
        self._limits = {asset: self._row(limits, asset) for asset in AssetClass}
        self._shown = {asset: tuple(row[: len(LAYERS)].tolist()) for asset, row in self._limits.items()}

    @staticmethod
    def _row(limits: GateLimits, asset: AssetClass) -> NDArray[np.float64]:
        """The limits in the order of the facts, behind them the confidence floor and the tolerance for the future."""
        return np.array([
            0.0, 0.0, freshness_limit(limits, asset), limits.drawdown_ratio, limits.correlated_count, limits.var_ratio,
            limits.cross_venue_threshold, limits.concentration_ratio, limits.leverage_ratio, limits.volatility_ratio,
            limits.confidence_floor, limits.future_seconds,
        ])  # fmt: skip

    def reduce(self, intent: Intent, held: Qty, asset: AssetClass) -> Approved | None:
        """The key for an exit, clipped to what is held; None for anything that does not reduce it."""
        if intent.purpose is not Purpose.EXIT or not intent.side * held < 0.0 or not intent.qty > 0.0:
            return None
        clipped = replace(intent, qty=min(intent.qty, abs(held)))
        return Approved(clipped, Judgement(UNKNOWN_FACTS, self._shown[asset], ALL_WAIVED))


class Gatekeeper(Reducer):
    def __init__(self, limits: GateLimits) -> None:
        from ffe.kernels.gates import judge

        super().__init__(limits)
        self._judge, self._statuses = judge, np.zeros(len(LAYERS), np.int64)
        self._patterns: dict[bytes, tuple[Status, ...]] = {}
        self._approved = 0

    def _said(self, codes: bytes) -> tuple[Status, ...]:
        """The statuses behind the kernel's codes; few patterns ever occur, so each is made once."""
        if codes not in self._patterns:
            self._patterns[codes] = tuple([STATUSES[code] for code in self._statuses.tolist()])
        return self._patterns[codes]

    def review(self, intent: Intent, facts: NDArray[np.float64], asset: AssetClass) -> Verdict:
        """Judge an entry on its facts (one a layer in the order of LAYERS, then the confidence); NaN is not known."""
        first = self._judge(facts, self._limits[asset], self._statuses)
        statuses = self._said(self._statuses.tobytes())
        known = facts.tolist()
        judgement = Judgement(tuple(known[: len(LAYERS)]), self._shown[asset], statuses)
        if first == len(LAYERS):
            self._approved += 1
            return Approved(intent, judgement, self._approved)
        return Refused(intent, judgement, LAYERS[first], statuses[first], known[first], self._shown[asset][first])

    def approvals(self) -> int:
        """How many entries were approved so far: what leaves is held against it."""
        return self._approved
