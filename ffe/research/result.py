"""What a backtest returns: statistics, equity, trades, decisions, what each layer refused, and a picture of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ffe.research.backtest import Plan, Scene


@dataclass(frozen=True)
class Result:
    folder: Path
    plan: Plan
    scene: Scene

    @staticmethod
    def of(plan: Plan, scene: Scene, folder: Path) -> Result:
        return Result(folder, plan, scene)
