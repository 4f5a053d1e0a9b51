"""Moving-average cross: hold what is rising.

When the fast average of closes rises above the slow one, buy; when it is no longer above, sell.
Equal averages are not a cross. Its confidence is the same for every signal.
"""

from ffe import Columns, Field, Signals, Strategy
from ffe.indicators import compare, on_edge, sma


class MaCross(Strategy):
    fast: int = Field(20, ge=1)
    slow: int = Field(50, ge=2)
    confidence: int = Field(80, ge=0, le=100)

    @property
    def warmup(self) -> int:
        return max(self.fast, self.slow) + 1

    def signals(self, bars: Columns) -> Signals:
        above = compare(sma(bars.close, self.fast), sma(bars.close, self.slow))
        return Signals(side=on_edge(above.clip(lower=0.0)), confidence=self.confidence, reasoning="averages crossed")
