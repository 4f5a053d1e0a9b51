"""Donchian breakout: go with what leaves its range.

When a bar closes above the highest high of the bars before it, buy, with the stop at the other side of that channel.
When it closes below their lowest low, sell; with `short`, and where the instrument can be shorted, also turn around.
"""

from ffe import Columns, Field, Signals, Strategy
from ffe.indicators import compare, highest, lowest, on_edge, previous


class DonchianBreakout(Strategy):
    window: int = Field(20, ge=2)
    short: bool = False
    confidence: int = Field(80, ge=0, le=100)

    @property
    def warmup(self) -> int:
        return self.window + 2  # the channel of the bar before, and that bar's own place in the channel before it

    def signals(self, bars: Columns) -> Signals:
        top, bottom = previous(highest(bars.high, self.window)), previous(lowest(bars.low, self.window))
        outside = compare(bars.close, top).clip(lower=0.0) + compare(bars.close, bottom).clip(upper=0.0)
        left = on_edge(outside)
        side = left.where(left != 0.0)  # coming back inside decides nothing
        return Signals(
            side=side if self.short else side.clip(lower=0.0),
            confidence=self.confidence,
            stop=bottom.where(side > 0.0, top),
            reasoning="left its channel",
        )
