"""A columnar strategy in a replay: its signals computed once on everything, and proof that it saw no future.

Live, a strategy sees the last `warmup` bars. So that the two cannot differ, a sample of bars (all signal bars up to
200, and 50 others) is computed again from the tail alone; one different decision stops the run, naming bar and column.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from ffe.data.barset import FIELDS, TIMES, BarSet, Series, distinct
from ffe.errors import LookAhead, StrategyError
from ffe.model import Bar, Bars, Instrument, InstrumentId, Nanos, Signal
from ffe.strategy import Columns, Precomputed, Signals, Strategy, View, rows, speaking

SIGNAL_SAMPLE, OTHER_SAMPLE = 200, 50

Decisions = dict[Nanos, tuple[Signal, ...]]


def precompute(strategy: Strategy, bars: BarSet, interval: Nanos) -> Precomputed:
    """The strategy's decisions by time, checked against its own tails."""
    chosen = BarSet(tuple(s for s in bars if s.interval == interval))
    times = distinct([s.close_time for s in chosen])
    decisions = _decided(strategy, chosen, times)
    _check_tails(strategy, chosen, times, decisions)
    return Precomputed(decisions)


def _decided(strategy: Strategy, bars: BarSet, times: np.ndarray) -> Decisions:
    def build(field: str) -> pd.DataFrame:
        return bars.frame(field, bars.interval)  # type: ignore[arg-type]

    columns, names = Columns(_index(times), build), _names(bars)
    found: dict[Nanos, list[Signal]] = {}
    for row, _, signal in rows(_ask(strategy, columns, names), columns.index, names, strategy.name):
        found.setdefault(int(times[row]), []).append(signal)
    return {time: tuple(heard) for time, heard in found.items()}


def _ask(strategy: Strategy, columns: Columns, names: Mapping[str, InstrumentId]) -> Signals:
    with speaking(strategy.name, f"in signals(bars) over {', '.join(names)}"):
        signals = strategy.signals(columns)
    if not isinstance(signals, Signals) or not isinstance(signals.side, pd.DataFrame):
        raise StrategyError(
            f"{strategy.name}.signals returns {type(signals).__name__}: return ffe.Signals(side=frame, …)."
        )
    return signals


def _index(times: np.ndarray) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(times.view("M8[ns]"), name="close_time").tz_localize("UTC")


def _names(bars: BarSet) -> Mapping[str, InstrumentId]:
    return {bars.label(instrument): instrument.id for instrument in bars.instruments}


def _check_tails(strategy: Strategy, bars: BarSet, times: np.ndarray, decisions: Decisions) -> None:
    names, tails = _names(bars), Tails(bars, strategy.warmup)
    for time in _sample(times, decisions):
        seen = tails.at(time)
        again = {
            signal.instrument: signal
            for row, _, signal in rows(_ask(strategy, seen, names), seen.index, names, strategy.name)
            if row == len(seen.index) - 1
        }
        before = {signal.instrument: signal for signal in decisions.get(time, ())}
        differing = sorted(id for id in {*again, *before} if again.get(id) != before.get(id))
        if differing:
            raise LookAhead(
                f"{strategy.name} decides {_said(before.get(differing[0]))} for {differing[0]} at "
                f"{pd.Timestamp(time, tz='UTC')} with all bars at hand, but {_said(again.get(differing[0]))} when "
                f"it sees only the last {strategy.warmup}. Look for a negative shift, a whole-column statistic, "
                "or a warmup that is too short."
            )


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
        names, seen = _names(bars), Tails(bars, self.strategy.warmup).at(time)
        decided = rows(_ask(self.strategy, seen, names), seen.index, names, self.strategy.name)
        return [signal for row, _, signal in decided if row == len(seen.index) - 1]


def _series(instrument: Instrument, interval: Nanos, bars: Sequence[Bar]) -> Series:
    columns = (np.array([getattr(bar, name) for bar in bars]) for name in TIMES + FIELDS)
    return Series(instrument, interval, *columns)


def _said(signal: Signal | None) -> str:
    return "nothing" if signal is None else f"{signal.side.name} (confidence {signal.confidence})"


def _sample(times: np.ndarray, decisions: Decisions) -> list[Nanos]:
    """Every signal bar up to a limit, and some of the others, spread evenly."""
    with_signal = np.array(sorted(decisions), np.int64)
    others = times[~np.isin(times, with_signal, kind="sort")]
    return sorted([*_spread(with_signal, SIGNAL_SAMPLE), *_spread(others, OTHER_SAMPLE)])


def _spread(times: np.ndarray, most: int) -> list[Nanos]:
    if not len(times):
        return []
    rows = np.linspace(0, len(times) - 1, min(most, len(times))).round().astype(int)
    return [int(time) for time in distinct([times[rows]])]


class Tails:
    """The last warmup bars of every column before a time, as live code would see them; the last row is that time's."""

    def __init__(self, bars: BarSet, warmup: int) -> None:
        self.series, self.warmup = list(bars), warmup
        self.labels = [bars.label(s.instrument) for s in self.series]

    def at(self, time: Nanos) -> Columns:
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
