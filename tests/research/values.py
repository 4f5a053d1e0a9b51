"""Small markets and strategies that the tests of research share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ffe import BarSet, Columns, Series, Settings, Signals, Strategy
from ffe.hours import Hours, instant
from ffe.model import DAY, HOUR

START = "2024-01-01"
RISE = [100.0 * 1.01**day for day in range(40)]  # enough days for every fact


def days(settings: Settings, closes: Sequence[float], wide: float = 0.001, symbol: str = "BTC/USD") -> BarSet:
    """Daily bars that open at the close before, and reach a little beyond both."""
    close = np.array(closes)
    opens = np.r_[close[:1], close[:-1]]
    high, low = np.maximum(opens, close) * (1.0 + wide), np.minimum(opens, close) * (1.0 - wide)
    times = instant(START) + DAY * np.arange(len(close))
    instrument = settings.instrument(symbol)
    hours = Hours.of(instrument.hours, int(times[0]), int(times[-1]))
    volume = np.full(len(close), 1e6)
    return BarSet((Series.from_arrays(instrument, DAY, hours, times, opens, high, low, close, volume),))


def falling(settings: Settings, *symbols: str) -> BarSet:
    """Six hours of a Tuesday at 1.1, but the fourth ends at 1.075."""
    close, times = np.array([1.1] * 3 + [1.075] * 3), instant("2024-01-02T09:00") + HOUR * np.arange(6)
    opens, volume = np.r_[close[:1], close[:-1]], np.full(6, 1e6)
    found = []
    for instrument in map(settings.instrument, symbols):
        hours = Hours.of(instrument.hours, int(times[0]), int(times[-1]))
        high, low = np.maximum(opens, close), np.minimum(opens, close)
        found.append(Series.from_arrays(instrument, HOUR, hours, times, opens, high, low, close, volume))
    return BarSet(tuple(found))


def columns(**frames: Sequence[float]) -> Columns:
    """Bars of one symbol as a strategy gets them."""
    index = pd.date_range(START, periods=len(frames["close"]), tz="UTC")
    return Columns(index, lambda name: pd.DataFrame({"BTC/USD": frames[name]}, index, dtype=float))


class BuysOn(Strategy):
    """Buys everything once, at the bar that closes on a date."""

    goes_by_dates = True
    when: str

    @property
    def warmup(self) -> int:
        return 1

    def signals(self, bars: Columns) -> Signals:
        side = bars.close * np.nan
        side.loc[bars.index == pd.Timestamp(self.when, tz="UTC")] = 1.0
        return Signals(side=side, confidence=80)
