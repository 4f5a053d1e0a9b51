"""A small synthetic market and a strategy that never rests, for backtests in which the records matter."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ffe.config import Settings, load_settings
from ffe.data.barset import BarSet
from ffe.feeds.synthetic import synthetic
from ffe.hours import instant
from ffe.model import HOUR, Bars, Side, Signal
from ffe.strategy import Strategy, View


def settings(folder: Path) -> Settings:
    return Settings(data_folder=folder)


START = instant("2024-01-01")
NAMES = ("BTC/USD", "ETH/USD", "SOL/USD", "EUR/USD")
MARKET: BarSet = synthetic([load_settings().instrument(name) for name in NAMES], HOUR, START, 90 * 24, seed=3)


class EveryHour(Strategy):
    """Wants to buy each hour one and leave another."""

    @property
    def warmup(self) -> int:
        return 1

    def on_event(self, view: View) -> Sequence[Signal]:
        if not isinstance(view.event, Bars) or not view.event.bars:
            return []
        hour = view.time // HOUR
        enter, leave = view.instruments[hour % 4], view.instruments[(hour + 2) % 4]
        return [Signal(leave, Side.FLAT, 85, self.name), Signal(enter, Side.LONG, 85, self.name)]
