"""Pullback: buy a dip in a rising market, and leave alone what has just cost money.

In a market above its long average, buy after `falls` lower closes in a row; sell at a close above the high before it.
It remembers its own past: where a trade ended below the price it was first seen at, it rests for `rest` bars.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from ffe import Bar, Bars, Field, Side, Signal, Strategy, View


class Pullback(Strategy):
    trend: int = Field(100, ge=2)
    falls: int = Field(3, ge=1)
    rest: int = Field(20, ge=0)
    confidence: int = Field(80, ge=0, le=100)

    _seen_at: dict[str, float] = {}  # by instrument, while a position is held
    _resting: dict[str, int] = {}  # bars still to be left alone

    @property
    def warmup(self) -> int:
        return max(self.trend, self.falls + 1)

    def on_event(self, view: View) -> list[Signal]:
        closed = view.event.bars if isinstance(view.event, Bars) else ()
        return [signal for bar in closed for signal in self._decide(view, bar)]

    def _decide(self, view: View, bar: Bar) -> Iterator[Signal]:
        id, past = bar.instrument, view.bars(bar.instrument)
        self._remember(bar, view.position(id) > 0.0)
        if id in self._seen_at and bar.close > past[-2].high:
            yield Signal(id, Side.FLAT, self.confidence, self.name, reasoning="the dip is over")
        elif not view.is_busy(id) and not self._resting.get(id) and self._is_dip(past):
            yield Signal(id, Side.LONG, self.confidence, self.name, reasoning=f"{self.falls} lower closes in a rise")

    def _remember(self, bar: Bar, is_held: bool) -> None:
        id = bar.instrument
        self._resting[id] = max(0, self._resting.get(id, 0) - 1)
        if is_held:
            self._seen_at.setdefault(id, bar.close)
        elif id in self._seen_at and bar.close < self._seen_at.pop(id):
            self._resting[id] = self.rest

    def _is_dip(self, past: Sequence[Bar]) -> bool:
        closes = [bar.close for bar in past]
        fell = all(later < earlier for earlier, later in pairwise(closes[-self.falls - 1 :]))
        return len(closes) == self.warmup and fell and closes[-1] > sum(closes[-self.trend :]) / self.trend
