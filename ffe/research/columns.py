"""A strategy over columns: asked once on everything, as in a replay, or bar by bar on its last `warmup` bars, as live.

That the two decide alike is shown in proof.py, of every backtest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from ffe.data.barset import FIELDS, TIMES, BarSet, Series, distinct
from ffe.errors import StrategyError
from ffe.model import Bar, Bars, Instrument, InstrumentId, Nanos, Signal
from ffe.strategy import Columns, Signals, Strategy, View, rows, speaking

Decisions = dict[Nanos, tuple[Signal, ...]]


def decided(strategy: Strategy, bars: BarSet, times: np.ndarray) -> Decisions:
    """What it decides on all of the bars, by time."""

    def build(field: str) -> pd.DataFrame:
        return bars.frame(field, bars.interval)  # type: ignore[arg-type]

    columns, names = Columns(_index(times), build), names_of(bars)
    found: dict[Nanos, list[Signal]] = {}
    for row, _, signal in rows(_ask(strategy, columns, names), columns.index, names, strategy.name):
        found.setdefault(int(times[row]), []).append(signal)
    return {time: tuple(heard) for time, heard in found.items()}


def of_tail(strategy: Strategy, tails: Tails, time: Nanos) -> tuple[Signal, ...]:
    """What it decides at a time on the last bars alone, as it would live."""
    seen, names = tails.at(time), tails.names
    found = rows(_ask(strategy, seen, names), seen.index, names, strategy.name)
    return tuple(signal for row, _, signal in found if row == len(seen.index) - 1)


def _ask(strategy: Strategy, columns: Columns, names: Mapping[str, InstrumentId]) -> Signals:
    with speaking(strategy.name, f"in signals(bars) over {', '.join(names)}"):
        signals = strategy.signals(columns)
    if not isinstance(signals, Signals):
        raise StrategyError(
            f"{strategy.name}.signals returns {type(signals).__name__}: return ffe.Signals(side=frame, …)."
        )
    if not isinstance(signals.side, pd.DataFrame):
        raise StrategyError(
            f"{strategy.name}.signals gives a side that is a {type(signals.side).__name__}: give a frame of time × "
            "symbol, as bars.close is; of one symbol alone, begin with bars.close[['BTC/USD']]."
        )
    return signals


def _index(times: np.ndarray) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(times.view("M8[ns]"), name="close_time").tz_localize("UTC")


def names_of(bars: BarSet) -> Mapping[str, InstrumentId]:
    return {bars.label(instrument): instrument.id for instrument in bars.instruments}


class Tailing:
    """A columnar strategy heard bar by bar, from its tail alone: what its backtest was checked to decide."""

    def __init__(self, strategy: Strategy, instruments: Sequence[Instrument], interval: Nanos) -> None:
        self.strategy, self.instruments, self.interval = strategy, instruments, interval
        self._newest: Nanos = -1

    def on_event(self, view: View) -> Sequence[Signal]:
        event = view.event
        closed = [b for b in event.bars if b.interval == self.interval] if isinstance(event, Bars) else []
        if not closed or (time := max(bar.close_time for bar in closed)) < self._newest:
            return ()
        heard = self._decided(view, time)
        if time == self._newest:  # a bar that came late: the others have been heard
            late = {bar.instrument for bar in closed}
            heard = [signal for signal in heard if signal.instrument in late]
        self._newest = time
        return heard

    def _decided(self, view: View, time: Nanos) -> list[Signal]:
        bars = BarSet(tuple(_series(i, self.interval, view.bars(i.id)) for i in self.instruments))
        return list(of_tail(self.strategy, Tails(bars, self.strategy.warmup), time))


def _series(instrument: Instrument, interval: Nanos, bars: Sequence[Bar]) -> Series:
    columns = (np.array([getattr(bar, name) for bar in bars]) for name in TIMES + FIELDS)
    return Series(instrument, interval, *columns)


class Tails:
    """The last warmup bars of every column before a time, as live code would see them; the last row is that time's.

    Where all columns have bars at the same times they are cut from one table a field: a proof asks for thousands.
    """

    def __init__(self, bars: BarSet, warmup: int) -> None:
        self.series, self.warmup = list(bars), warmup
        self.labels, self.names = pd.Index([bars.label(s.instrument) for s in self.series]), names_of(bars)
        first = self.series[0].close_time
        self._is_one_calendar = all(np.array_equal(s.close_time, first) for s in self.series)
        self._tables: dict[str, np.ndarray] = {}
        self._index = _index(first)

    def at(self, time: Nanos) -> Columns:
        if self._is_one_calendar:
            return self._cut(time)
        ends = [int(np.searchsorted(s.close_time, time, side="right")) for s in self.series]
        spans = [slice(max(0, end - self.warmup), end) for end in ends]
        times = distinct([np.array([time]), *(s.close_time[span] for s, span in zip(self.series, spans, strict=True))])
        index = _index(times)

        def build(field: str) -> pd.DataFrame:
            values = np.full((len(times), len(self.series)), np.nan)
            for column, (s, span) in enumerate(zip(self.series, spans, strict=True)):
                values[np.searchsorted(times, s.close_time[span]), column] = getattr(s, field)[span]
            return pd.DataFrame(values, index, self.labels)

        return Columns(index, build)

    def _cut(self, time: Nanos) -> Columns:
        end = int(np.searchsorted(self.series[0].close_time, time, side="right"))
        span = slice(max(0, end - self.warmup), end)
        index = self._index[span]

        def build(field: str) -> pd.DataFrame:
            if field not in self._tables:
                self._tables[field] = np.column_stack([getattr(s, field) for s in self.series])
            return pd.DataFrame(self._tables[field][span].copy(), index, self.labels)

        return Columns(index, build)
