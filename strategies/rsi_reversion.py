"""RSI reversion: what has fallen too fast comes back.

When the relative strength index falls under `oversold`, buy; when it is back above its middle, sell.
With `short`, and where the instrument can be shorted, also sell above `overbought` and buy back under the middle.
"""

from ffe import Columns, Field, Signals, Strategy
from ffe.indicators import compare, on_edge, rsi

MIDDLE = 50.0


class RsiReversion(Strategy):
    window: int = Field(14, ge=2)
    oversold: float = Field(30.0, gt=0.0, lt=MIDDLE)
    overbought: float = Field(70.0, gt=MIDDLE, lt=100.0)
    short: bool = False
    confidence: int = Field(80, ge=0, le=100)

    @property
    def warmup(self) -> int:
        return self.window + 2  # the index needs a bar before its window, an edge one more

    def signals(self, bars: Columns) -> Signals:
        strength = rsi(bars.close, self.window)
        buys = on_edge(compare(strength, self.oversold)).lt(0.0)
        crossed = on_edge(compare(strength, MIDDLE))
        closes = crossed.gt(0.0)
        if not self.short:
            side = buys.astype(float).where(buys | closes)
        else:
            sells = on_edge(compare(strength, self.overbought)).gt(0.0)
            side = (buys.astype(float) - sells.astype(float)).where(buys | sells | closes | crossed.lt(0.0))
        return Signals(side=side, confidence=self.confidence, reasoning="strength left its usual range")
