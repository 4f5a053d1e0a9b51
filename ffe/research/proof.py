"""Proof that a strategy sees no future: in a backtest it decides what it would have decided live.

Live, a strategy over columns sees the last `warmup` bars. So that the two cannot differ, every backtest asks bars again
from their tail alone: every entry, some of the other signals, and silent bars, at places that follow from the run's
name. Every time a fresh copy is asked, and some tails before the whole was shown to anyone: what a strategy keeps of
its first call, it keeps of a past. Then it is asked with all bars moved by 28 years: what it reads of dates, files or
its own memory does not move. One other decision stops the run. A strategy that hears events is told them
again when the run has ended, moved. What cannot be told is a number that was chosen by looking at the data.
"""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Callable, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.random import Generator, default_rng

from ffe.data.barset import FIELDS, BarSet, distinct
from ffe.errors import FfeError, LookAhead, StrategyError
from ffe.hours import stamp
from ffe.model import DAY, Bar, Bars, Event, InstrumentId, Nanos, Qty, Side, Signal
from ffe.private import closed_folder, write_own
from ffe.research.columns import Decisions, Tails, decided, names_of, of_tail
from ffe.strategy import Live, Precomputed, Strategy, View

MOVED: Nanos = 1461 * 7 * DAY  # 28 years: dates, days of the week and leap years fall alike in them
SILENT, OTHERS, EARLY = 2_000, 200, 20  # bars that are asked again, beside every entry; the last before the whole
TOLERANCE = 1e-9  # relative, of levels: an infinite average differs in the last bits between a history and its tail
LEVELS = ("stop", "target", "qty")
FOLDER = "proofs"
OF_BARS = "Look for a negative shift, a whole-column statistic, or a warmup that is too short."
OF_DATES = (
    "It reads dates, a file, or what it kept of another run: what it knows of a date it knows beforehand. If the dates "
    "were known at the time, as those of meetings are, say so in the class: goes_by_dates = True."
)
PROGRESS_EVERY = 100


@dataclass(frozen=True, slots=True)
class Proof:
    """How many of how many bars, or events, were asked again from their tail alone, and decided alike; and whether with
    all bars moved, which does not go of a strategy that goes by dates."""

    proven: int
    bars: int
    is_remembered: bool = False
    goes_by_dates: bool = False

    def __str__(self) -> str:
        moved = "not with moved bars: it goes by dates that it knows" if self.goes_by_dates else "with all bars moved"
        when = ", in an earlier run of the same code, parameters and bars" if self.is_remembered else ""
        return f"{self.proven:,} of {self.bars:,} bars asked again, {moved}{when}"


@dataclass(frozen=True, slots=True)
class Remembered:
    """What was proven before of the same code, parameters and data, in a file of its own."""

    folder: Path
    key: str

    @property
    def _file(self) -> Path:
        return self.folder / FOLDER / f"{hashlib.sha256(self.key.encode()).hexdigest()}.json"

    def read(self) -> Proof | None:
        """None where nothing is known, whatever the reason: it is proven again."""
        with suppress(OSError, ValueError, TypeError, KeyError):
            said = json.loads(self._file.read_text("utf-8"))
            return Proof(int(said["proven"]), int(said["bars"]), True, bool(said["goes_by_dates"]))
        return None

    def write(self, proof: Proof) -> None:
        with suppress(OSError, FfeError):  # it is proven again next time
            closed_folder(self._file.parent)
            write_own(self._file, json.dumps(asdict(proof)))


# ---------------------------------------------------------------- columns


def prove(
    strategy: Strategy, bars: BarSet, interval: Nanos, name: str = "", is_whole: bool = False,
    remembered: Remembered | None = None, progress: Callable[[int, int], None] | None = None,
) -> tuple[Precomputed, Proof]:  # fmt: skip
    """The decisions of a strategy over columns, by time, and how far they were proven; LookAhead where one is another.

    name says which bars are asked again; is_whole asks all.
    """
    chosen = BarSet(tuple(s for s in bars if s.interval == interval))
    times = distinct([s.close_time for s in chosen])
    if not is_whole and remembered is not None and (known := remembered.read()) is not None:
        return Precomputed(decided(_copy(strategy), chosen, times)), known
    dice = default_rng(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]))
    tails = Tails(chosen, strategy.warmup)
    early = _spread(times, EARLY, dice)
    before = {time: of_tail(_copy(strategy), tails, time) for time in early}
    decisions = decided(_copy(strategy), chosen, times)
    doubt = _Doubt(strategy, chosen, tails, decisions)
    for time in early:
        doubt.compare_early(time, before[time])
    if not strategy.goes_by_dates:
        doubt.compare_moved(decided(_copy(strategy), moved_bars(chosen), times + MOVED))
    asked = [int(t) for t in times] if is_whole else _sample(times, decisions, early, dice)
    for n, time in enumerate(asked):
        doubt.compare(time, of_tail(_copy(strategy), tails, time))
        if progress is not None and n % PROGRESS_EVERY == 0:
            progress(n, len(asked))
    if progress is not None:
        progress(len(asked), len(asked))
    proof = Proof(len({*asked, *early}), len(times), goes_by_dates=strategy.goes_by_dates)
    if remembered is not None:
        remembered.write(proof)
    return Precomputed(decisions), proof


def moved_bars(bars: BarSet) -> BarSet:
    return BarSet(tuple(replace(s, open_time=s.open_time + MOVED, close_time=s.close_time + MOVED) for s in bars))


def _copy(strategy: Strategy) -> Strategy:
    """One that has heard nothing yet, so that nothing is kept from one question to the next."""
    return strategy.model_copy(deep=True)


def _sample(times: np.ndarray, decisions: Decisions, early: Sequence[Nanos], dice: Generator) -> list[Nanos]:
    entries = [time for time, signals in decisions.items() if any(signal.side is not Side.FLAT for signal in signals)]
    others = np.array([time for time in decisions if time not in {*entries}], np.int64)
    silent = times[~np.isin(times, np.array([*decisions], np.int64), kind="sort")]
    return sorted({*entries, *_spread(others, OTHERS, dice), *_spread(silent, SILENT, dice), *early})


def _spread(times: np.ndarray, most: int, dice: Generator) -> list[Nanos]:
    """One of each of so many equal parts, and the first: with as many everywhere, nothing long is missed."""
    if len(times) <= most:
        return [int(time) for time in times]
    edges = np.linspace(0, len(times), most + 1).astype(int)
    picked = dice.integers(edges[:-1], edges[1:])
    picked[0] = 0
    return [int(time) for time in times[picked]]


# ---------------------------------------------------------------- what differs


def difference(a: Sequence[Signal], b: Sequence[Signal]) -> tuple[InstrumentId, str, str] | None:
    """The first instrument of which two hearings decide otherwise, and how each is said, by the field that differs.
    Levels are compared with a tolerance, all else exactly."""
    one, two = ({signal.instrument: signal for signal in signals} for signals in (a, b))
    for id in sorted({*one, *two}):
        x, y = one.get(id), two.get(id)
        if x is None or y is None:
            return id, _said(x), _said(y)
        for field in ("side", "confidence", *LEVELS, "add", "reasoning", "provider"):
            p, q = getattr(x, field), getattr(y, field)
            if not (_is_near(p, q) if field in LEVELS else p == q):
                what = ("", "") if field in ("side", "confidence") else (f", {field} {p}", f", {field} {q}")
                return id, f"{_said(x)}{what[0]}", f"{_said(y)}{what[1]}"
    return None


def _is_near(a: float | None, b: float | None) -> bool:
    return a == b or (a is not None and b is not None and abs(a - b) <= TOLERANCE * max(abs(a), abs(b)))


def _said(signal: Signal | None) -> str:
    return "nothing" if signal is None else f"{signal.side.name} (confidence {signal.confidence})"


@dataclass(frozen=True, slots=True)
class _Doubt:
    """Stops a run at a decision that is another one, and says what it came from."""

    strategy: Strategy
    bars: BarSet
    tails: Tails
    decisions: Decisions

    def compare(self, time: Nanos, again: Sequence[Signal]) -> None:
        """With the answer of a tail."""
        if difference(self.decisions.get(time, ()), again) is not None:
            how = f"when it sees only the last {self.tails.warmup}"
            raise self._look_ahead(time, again, how, self._cause(time) or OF_BARS)

    def compare_early(self, time: Nanos, again: Sequence[Signal]) -> None:
        """With the answer of a tail that was asked before the whole was shown to anyone."""
        self._compare_other(time, again, "asked before it saw all bars", OF_BARS)

    def compare_moved(self, moved: Decisions) -> None:
        for time in sorted({*self.decisions, *(time - MOVED for time in moved)}):
            self._compare_other(time, moved.get(time + MOVED, ()), "with all bars moved by 28 years", OF_DATES)

    def _compare_other(self, time: Nanos, again: Sequence[Signal], how: str, advice: str) -> None:
        """Where the answer of a tail of now is another too, that says more."""
        if difference(self.decisions.get(time, ()), again) is not None:
            self.compare(time, of_tail(_copy(self.strategy), self.tails, time))
            raise self._look_ahead(time, again, how, advice)

    def _look_ahead(self, time: Nanos, again: Sequence[Signal], how: str, advice: str) -> LookAhead:
        found = difference(self.decisions.get(time, ()), again)
        assert found is not None
        id, whole, other = found
        return LookAhead(
            f"{self.strategy.name} decides {whole} for {id} at {pd.Timestamp(time, tz='UTC')} with all bars at hand, "
            f"but {other} {how}. {advice}"
        )

    def _cause(self, time: Nanos) -> str:
        """Which bar, and which cell of it, the decision came from, or how many bars of the past."""
        times = distinct([s.close_time for s in self.bars])
        row, wanted = int(np.searchsorted(times, time)), self.decisions.get(time, ())
        short = of_tail(_copy(self.strategy), self.tails, time)

        def of_more(past: int, ahead: int) -> Sequence[Signal]:
            until = int(times[min(row + ahead, len(times) - 1)])
            since = int(times[max(0, row + 1 - past)])
            return _at(self.strategy, self.bars.between(since - 1, until), time)

        with suppress(LookAhead):
            if ahead := _first(lambda n: bool(difference(of_more(self.tails.warmup, n), short)), len(times) - row - 1):
                at = int(times[row + ahead])
                seen = self.bars.between(int(times[max(0, row + 1 - self.tails.warmup)]) - 1, at)
                cell = _cell(self.strategy, seen, time, at)
                return f"It looks at the bar of {stamp(at)}, {ahead} ahead{cell}. Look for a negative shift."
            past = _first(lambda n: not difference(of_more(self.tails.warmup + n, 0), wanted), row)
            if past:
                return f"It needs {self.tails.warmup + past} bars: its warmup is {self.tails.warmup}."
        return ""


def _first(holds: Callable[[int], bool], most: int) -> int:
    """The least n from 1 to most for which it holds, where it holds from there on; 0 where it does not at most."""
    if most < 1 or not holds(most):
        return 0
    low, high = 0, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def _at(strategy: Strategy, bars: BarSet, time: Nanos) -> Sequence[Signal]:
    return decided(_copy(strategy), bars, distinct([s.close_time for s in bars])).get(time, ())


def _cell(strategy: Strategy, seen: BarSet, time: Nanos, at: Nanos) -> str:
    """Which value of that bar changes the decision, in words."""
    before = _at(strategy, seen, time)
    for s in seen:
        row = int(np.searchsorted(s.close_time, at))
        if row >= len(s) or s.close_time[row] != at:
            continue
        for field in FIELDS:
            for factor in (0.5, 2.0):
                values = getattr(s, field).copy()
                values[row] *= factor
                others = (replace(one, **{field: values}) if one.key == s.key else one for one in seen)
                if difference(_at(strategy, BarSet(tuple(others)), time), before):
                    return f": {field} of {names_of(seen)[seen.label(s.instrument)]}"
    return ""


# ---------------------------------------------------------------- events


@dataclass(frozen=True, slots=True)
class _Seen:
    """One event as it was heard, what was ours then, and what was decided."""

    event: Event
    held: Mapping[InstrumentId, Qty]
    busy: Set[InstrumentId]
    heard: Sequence[Signal]


class Recorded:
    """A strategy that hears events, and all that it heard and could see; its proof is asked when the run has ended, for
    what it keeps outside of itself a second hearing would change."""

    def __init__(self, strategy: Strategy, warmup: int, interval: Nanos) -> None:
        self.strategy, self.warmup, self.interval = strategy, warmup, interval
        self._live, self._seen = Live(_copy(strategy)), list[_Seen]()
        self._before: dict[InstrumentId, Sequence[Bar]] = {}

    def on_event(self, view: View) -> Sequence[Signal]:
        if not self._seen:
            self._before = {id: view.bars(id) for id in view.instruments}
        held = {id: view.position(id) for id in view.instruments}
        busy = frozenset(id for id in view.instruments if view.is_busy(id))
        heard = self._live.on_event(view)
        self._seen.append(_Seen(view.event, held, busy, heard))
        return heard

    def proved(self) -> Proof:
        """Heard again by a copy that was told nothing yet, all of it moved by 28 years; LookAhead at the first event at
        which that decides otherwise."""
        again, is_dated = Live(_copy(self.strategy)), self.strategy.goes_by_dates
        bars = {id: deque(map(moved_bar, seen), maxlen=self.warmup) for id, seen in self._before.items()}
        for n, seen in enumerate(self._seen if not is_dated else ()):
            event = moved_event(seen.event)
            for bar in event.bars if n and isinstance(event, Bars) else ():
                if bar.interval == self.interval:
                    bars[bar.instrument].append(bar)
            try:
                heard = again.on_event(PastView(event, bars, seen))
            except StrategyError as error:
                raise self._another(f"otherwise: {error}") from error
            if (found := difference(seen.heard, heard)) is not None:
                id, here, there = found
                raise self._another(f"{here} for {id} at {stamp(seen.event.time)}, but {there}")
        return Proof(0 if is_dated else len(self._seen), len(self._seen), goes_by_dates=is_dated)

    def _another(self, what: str) -> LookAhead:
        return LookAhead(
            f"{self.strategy.name} decides {what}, with all bars moved by 28 years. {OF_DATES} The records of "
            "this run are kept."
        )


class PastView(View):
    """What was seen at an event, moved in time."""

    __slots__ = ("_bars", "_seen")

    def __init__(self, event: Event, bars: Mapping[InstrumentId, Sequence[Bar]], seen: _Seen) -> None:
        self.event, self._bars, self._seen = event, bars, seen

    @property
    def instruments(self) -> tuple[InstrumentId, ...]:
        return tuple(self._seen.held)

    def bars(self, instrument: InstrumentId) -> Sequence[Bar]:
        return tuple(self._bars[instrument])

    def position(self, instrument: InstrumentId) -> Qty:
        return self._seen.held[instrument]

    def is_busy(self, instrument: InstrumentId) -> bool:
        return instrument in self._seen.busy


def moved_bar(bar: Bar) -> Bar:
    return replace(bar, open_time=bar.open_time + MOVED, close_time=bar.close_time + MOVED)


def moved_event(event: Event) -> Event:
    if isinstance(event, Bars):
        return Bars(event.time + MOVED, tuple(map(moved_bar, event.bars)))
    return replace(event, time=event.time + MOVED)
