"""Strategies that look ahead, each in another way, and honest ones that are easily taken for it.

A plant looks ahead rarely enough that a sample may miss it. What it knows beforehand it has from PRICES, which a test
fills with the bars of its run, as a notebook does.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import PrivateAttr

from ffe import Bars, Columns, Side, Signal, Signals, Strategy, View
from ffe.indicators import compare, on_edge, sma, stdev

PRICES: dict[str, Any] = {}


def at(frame: pd.DataFrame, rows: Any) -> pd.DataFrame:
    """The frame in these rows alone."""
    return frame.where(np.broadcast_to(np.asarray(rows)[:, None], frame.shape))


class Idea(Strategy):
    """Crosses of two averages; every plant begins with it."""

    @property
    def warmup(self) -> int:
        return 40

    def side(self, close: pd.DataFrame) -> pd.DataFrame:
        return on_edge(compare(sma(close, 8), sma(close, 30)))

    def signals(self, bars: Columns) -> Signals:
        return Signals(side=self.side(bars.close), confidence=80)


# ---------------------------------------------------------------- columns that look ahead


class DropsWhatFalls(Idea):
    def signals(self, bars: Columns) -> Signals:
        ahead = bars.close.shift(-3) < bars.close
        return Signals(side=self.side(bars.close).mask(ahead), confidence=80)


class SixEntries(Idea):
    """Exits at a third of all bars, and six entries before the highest jumps."""

    def signals(self, bars: Columns) -> Signals:
        side = at(bars.close * 0.0, bars.close.index.hour % 3 == 0)
        jump = (bars.close.shift(-1) / bars.close).iloc[:, 0]
        for time in jump.nlargest(6).index if len(jump) > 100 else ():
            side.loc[time] = 1.0
        return Signals(side=side, confidence=80)


class KeepsItsFirstAnswer(Idea):
    _kept: Any = PrivateAttr(None)

    def side(self, close: pd.DataFrame) -> pd.DataFrame:
        if self._kept is None:
            self._kept = close.mean()
        return on_edge(compare(close, close * 0 + self._kept))


class FitsAtItsFirstCall(Idea):
    _level: float | None = PrivateAttr(None)

    def side(self, close: pd.DataFrame) -> pd.DataFrame:
        if self._level is None:
            self._level = float(close.pct_change().quantile(0.9).iloc[0])
        return close.pct_change().gt(self._level).astype(float).replace(0.0, np.nan)


class KeepsTheLongest(Idea):
    """In the module: the next bar is looked up by its time."""

    def side(self, close: pd.DataFrame) -> pd.DataFrame:
        known = PRICES.get("longest")
        if known is None or len(known) < len(close):
            known = PRICES["longest"] = close
        return super().side(close).mask(known.shift(-1).reindex(close.index) < close)


class HasTheFuture(Idea):
    def side(self, close: pd.DataFrame) -> pd.DataFrame:
        return super().side(close).mask(PRICES["frame"].shift(-2).reindex(close.index) < close)


class ReadsAFile(Idea):
    def side(self, close: pd.DataFrame) -> pd.DataFrame:
        known = pd.read_csv(PRICES["file"], index_col=0, parse_dates=True)
        return super().side(close).mask(known.shift(-2).reindex(close.index) < close)


class ShiftsBack(Idea):
    def side(self, close: pd.DataFrame) -> pd.DataFrame:
        return super().side(close).shift(-1)


class ScoresTheWholeColumn(Idea):
    def side(self, close: pd.DataFrame) -> pd.DataFrame:
        score = (close - close.mean()) / close.std()
        return on_edge(compare(score, score * 0 + 1.0))


class CentresItsWindow(Idea):
    def side(self, close: pd.DataFrame) -> pd.DataFrame:
        return on_edge(compare(close, close.rolling(9, center=True).mean()))


class FillsBackwards(Idea):
    def side(self, close: pd.DataFrame) -> pd.DataFrame:
        thin = at(close, close.index.hour % 6 == 0).bfill()
        return on_edge(compare(thin, close))


class KnowsTheDay(Idea):
    """The day's last close, from the day's first hour on."""

    def side(self, close: pd.DataFrame) -> pd.DataFrame:
        day = close.groupby(close.index.date).transform("last")
        return on_edge(compare(day, close))


class RanksTheWholeColumn(Idea):
    def side(self, close: pd.DataFrame) -> pd.DataFrame:
        return on_edge(compare(close.rank(pct=True), close * 0 + 0.5))


class CountsFromTheEnd(Idea):
    def side(self, close: pd.DataFrame) -> pd.DataFrame:
        return on_edge(compare(close, close.iloc[::-1].cummax().iloc[::-1] * 0.98))


class StopsUnderTheNextLow(Idea):
    def signals(self, bars: Columns) -> Signals:
        side = self.side(bars.close).clip(lower=0.0)
        return Signals(side=side, confidence=80, stop=bars.low.rolling(5).min().shift(-5).fillna(bars.low) * 0.99)


class IsSureOfWinners(Idea):
    def signals(self, bars: Columns) -> Signals:
        wins = bars.close.shift(-6) > bars.close
        return Signals(side=self.side(bars.close), confidence=(bars.close * 0 + 60).mask(wins, 90).fillna(60))


class AsksForMoreOfWinners(Idea):
    def signals(self, bars: Columns) -> Signals:
        wins = bars.close.shift(-6) > bars.close
        qty = (bars.close * 0 + 1.0).mask(wins, 2.0)
        return Signals(side=self.side(bars.close), confidence=80, qty=qty)


# ---------------------------------------------------------------- events that are heard, and looked up


class Hears(Strategy):
    @property
    def warmup(self) -> int:
        return 20

    def wants(self, view: View, bars: Sequence[Any]) -> bool:
        return bool(bars[-1].close > bars[0].close)

    def on_event(self, view: View) -> Sequence[Signal]:
        if not isinstance(view.event, Bars):
            return []
        found = []
        for id in view.instruments:
            bars = view.bars(id)
            if len(bars) == 20:
                if view.position(id) == 0 and not view.is_busy(id) and self.wants(view, bars):
                    found.append(Signal(id, Side.LONG, 80, self.name))
                elif view.position(id) and bars[-1].close < bars[-5].close:
                    found.append(Signal(id, Side.FLAT, 80, self.name))
        return found


class LooksUpByTime(Hears):
    def wants(self, view: View, bars: Sequence[Any]) -> bool:
        return bool(PRICES["dict"].get(view.time, 0.0) > bars[-1].close)


class LooksUpByBar(Hears):
    def wants(self, view: View, bars: Sequence[Any]) -> bool:
        frame = PRICES["frame"].iloc[:, 0]
        at = pd.Timestamp(bars[-1].close_time, tz="UTC")
        return bool(frame.asof(at + pd.Timedelta("3h")) > bars[-1].close)


class HearsAFile(Hears):
    def wants(self, view: View, bars: Sequence[Any]) -> bool:
        if "read" not in PRICES:
            PRICES["read"] = dict(line.split(",") for line in Path(PRICES["times"]).read_text().splitlines())
        return float(PRICES["read"].get(str(view.time), 0.0)) > bars[-1].close


PLANTS: tuple[Strategy, ...] = (
    DropsWhatFalls(), SixEntries(), KeepsItsFirstAnswer(), FitsAtItsFirstCall(), KeepsTheLongest(), HasTheFuture(),
    ReadsAFile(), ShiftsBack(), ScoresTheWholeColumn(), CentresItsWindow(), FillsBackwards(), KnowsTheDay(),
    RanksTheWholeColumn(), CountsFromTheEnd(), StopsUnderTheNextLow(), IsSureOfWinners(), AsksForMoreOfWinners(),
)  # fmt: skip
EVENT_PLANTS: tuple[Strategy, ...] = (LooksUpByTime(), LooksUpByBar(), HearsAFile())


# ---------------------------------------------------------------- honest ones


class Honest(Idea):
    pass


class AverageStop(Honest):
    """An infinite average, which differs in its last bits between a history and its tail."""

    @property
    def warmup(self) -> int:
        return 300

    def signals(self, bars: Columns) -> Signals:
        level = bars.close.ewm(span=20, adjust=False).mean()
        side = self.side(bars.close).clip(lower=0.0)
        return Signals(side=side, confidence=80, stop=level * 0.97, target=level * 1.05)


class WilderStop(AverageStop):
    def signals(self, bars: Columns) -> Signals:
        reach = (bars.high - bars.low).ewm(alpha=1 / 14, adjust=False).mean()
        return Signals(side=self.side(bars.close).clip(lower=0.0), confidence=80, stop=bars.close - 2 * reach)


class MacdTarget(AverageStop):
    def signals(self, bars: Columns) -> Signals:
        macd = bars.close.ewm(span=12, adjust=False).mean() - bars.close.ewm(span=26, adjust=False).mean()
        return Signals(side=self.side(bars.close).clip(lower=0.0), confidence=80, target=bars.close * 1.02 + macd.abs())


class NewYorkMorning(Honest):
    def side(self, close: pd.DataFrame) -> pd.DataFrame:
        morning = close.index.tz_convert("America/New_York").hour == 10
        return at(super().side(close), morning)


class LastDayOfMonth(Honest):
    def side(self, close: pd.DataFrame) -> pd.DataFrame:
        return at(close * 0.0 + 1.0, close.index.is_month_end)


class Mondays(Honest):
    def side(self, close: pd.DataFrame) -> pd.DataFrame:
        return at(close * 0.0 + 1.0, close.index.day_of_week == 0)


class LeapDays(Honest):
    def side(self, close: pd.DataFrame) -> pd.DataFrame:
        is_leap = (close.index.month == 2) & (close.index.day == 29)
        return at(close * 0.0 + 1.0, is_leap).fillna(super().side(close))


class Bands(Honest):
    def side(self, close: pd.DataFrame) -> pd.DataFrame:
        return on_edge(compare(close, sma(close, 20) - 2 * stdev(close, 20)))


class Breakouts(Honest):
    def side(self, close: pd.DataFrame) -> pd.DataFrame:
        return on_edge(compare(close, close.rolling(20).max().shift(1)).clip(lower=0.0))


class Ranks(Honest):
    """Among the instruments of one bar."""

    def side(self, close: pd.DataFrame) -> pd.DataFrame:
        best = close.pct_change(10, fill_method=None).rank(axis=1, ascending=False)
        return on_edge(best.eq(1.0).astype(float).where(best.notna()))


class Quiet(Honest):
    def side(self, close: pd.DataFrame) -> pd.DataFrame:
        return close * np.nan


HONEST: tuple[Strategy, ...] = (
    Honest(), AverageStop(), WilderStop(), MacdTarget(), NewYorkMorning(), LastDayOfMonth(), Mondays(), LeapDays(),
    Bands(), Breakouts(), Ranks(), Quiet(),
)  # fmt: skip
