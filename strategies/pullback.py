"""Pullback: buy a dip in a rising market, and leave alone what has just cost money.

In a market above its long average, buy after `falls` lower closes in a row; sell at a close above the high before it.
It remembers its own past: what it had to leave below the price it paid, it does not look at for `rest` bars.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from ffe import Bar, Bars, Field, Filled, Side, Signal, Strategy, View


class Pullback(Strategy):
    trend: int = Field(100, ge=2)
    falls: int = Field(3, ge=1)
    rest: int = Field(20, ge=0)
    confidence: int = Field(80, ge=0, le=100)

    _paid: dict[str, float] = {}
    _resting: dict[str, int] = {}  # bars still to be left alone

    @property
    def warmup(self) -> int:
        return max(self.trend, self.falls + 1)

    def on_event(self, view: View) -> list[Signal]:
        match view.event:
            case Filled(fill=fill) if fill.cause == "entry":
                self._paid[fill.instrument] = fill.price
            case Filled(fill=fill) if fill.price < self._paid.get(fill.instrument, 0.0):
                self._resting[fill.instrument] = self.rest
            case Bars(bars=bars):
                return [signal for bar in bars for signal in self._decide(view, bar)]
        return []

    def _decide(self, view: View, bar: Bar) -> Iterator[Signal]:
        id, past = bar.instrument, view.bars(bar.instrument)
        if view.position(id) > 0.0:
            if bar.close > past[-2].high:
                yield Signal(id, Side.FLAT, self.confidence, self.name, reasoning="the dip is over")
        elif self._resting.get(id):
            self._resting[id] -= 1
        elif not view.is_busy(id) and self._is_dip(past):
            yield Signal(id, Side.LONG, self.confidence, self.name, reasoning=f"{self.falls} lower closes in a rise")

    def _is_dip(self, past: Sequence[Bar]) -> bool:
        closes = [bar.close for bar in past]
        fell = all(later < earlier for earlier, later in pairwise(closes[-self.falls - 1 :]))
        return len(closes) == self.warmup and fell and closes[-1] > sum(closes[-self.trend :]) / self.trend
