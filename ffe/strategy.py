"""What a strategy is: parameters, a warm-up in bars, and signals over columns or event by event.

A strategy is a small class with typed, validated parameters. It overrides one of
  signals(bars)    array code over wide frames (time x symbol): what it decides at a bar must follow from the last
                   `warmup` bars of that column alone, because live it sees no more
  on_event(view)   stateful code that sees closed bars, positions and its own past
Rows of a frame are the times at which bars closed; a column has NaN where its instrument had no bar.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from numbers import Real
from traceback import walk_tb
from types import NoneType
from typing import TYPE_CHECKING, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from ffe.book import Book
from ffe.errors import NOT_THEIRS, FfeError, StrategyError
from ffe.history import History
from ffe.hours import stamp
from ffe.model import Bar, Bars, Event, InstrumentId, Nanos, Qty, Side, Signal

if TYPE_CHECKING:
    import pandas as pd

FIELDS = ("open", "high", "low", "close", "volume")
MOST_BARS = 2**31
NUMBER = (Real, NoneType)
KINDS = (
    ("provider", str, "text"), ("reasoning", str, "text"), ("add", bool, "True or False"),
    ("stop", NUMBER, "a number or None"), ("target", NUMBER, "a number or None"), ("qty", NUMBER, "a number or None"),
)  # fmt: skip


class Columns:
    """Bars as wide frames: open, high, low, close, volume, each time x symbol, built when first looked at."""

    def __init__(self, index: pd.DatetimeIndex, build: Callable[[str], pd.DataFrame]) -> None:
        self.index, self._build = index, build

    def __getattr__(self, name: str) -> pd.DataFrame:
        raise AttributeError(f"bars have no column {name!r}; there are {', '.join(FIELDS)}")

    @cached_property
    def open(self) -> pd.DataFrame:
        return self._build("open")

    @cached_property
    def high(self) -> pd.DataFrame:
        return self._build("high")

    @cached_property
    def low(self) -> pd.DataFrame:
        return self._build("low")

    @cached_property
    def close(self) -> pd.DataFrame:
        return self._build("close")

    @cached_property
    def volume(self) -> pd.DataFrame:
        return self._build("volume")


@dataclass(frozen=True, slots=True)
class Signals:
    """Decisions over columns: side is 1 (long), -1 (short), 0 (close) where there is one, NaN elsewhere.

    confidence is an integer from 0 to 100, for all or as a frame; stop and target are prices, qty the most it wants.
    """

    side: pd.DataFrame
    confidence: int | pd.DataFrame
    stop: pd.DataFrame | None = None
    target: pd.DataFrame | None = None
    qty: float | pd.DataFrame | None = None
    add: bool = False
    reasoning: str = ""


class View:
    """What a strategy may see while an event is handled: the event, closed bars, and what is held. Nothing of the
    future."""

    __slots__ = ("_book", "_busy", "_history", "event")

    def __init__(self, event: Event, history: History, book: Book, busy: Callable[[InstrumentId], bool]) -> None:
        self.event, self._history, self._book, self._busy = event, history, book, busy

    @property
    def time(self) -> Nanos:
        return self.event.time

    @property
    def instruments(self) -> tuple[InstrumentId, ...]:
        return tuple(instrument.id for instrument in self._book.universe)

    def bars(self, instrument: InstrumentId) -> Sequence[Bar]:
        """The last `warmup` closed bars, oldest first."""
        return tuple(self._history.bars[instrument])

    def position(self, instrument: InstrumentId) -> Qty:
        """Our own signed quantity."""
        return self._book.ours(instrument).qty

    def is_busy(self, instrument: InstrumentId) -> bool:
        """Whether a trade on it is open, in flight or waiting."""
        return self._busy(instrument)


class Hears(Protocol):
    """What the engine asks of a strategy, however it is written."""

    def on_event(self, view: View) -> Sequence[Signal]: ...


class Strategy(BaseModel):
    """The base of every strategy; its fields are its parameters."""

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

    goes_by_dates: ClassVar[bool] = False  # whether it names dates that were known at the time, as those of meetings

    def __init__(self, **given: object) -> None:
        try:
            super().__init__(**given)
        except ValidationError as error:
            kind = type(self)
            known = ", ".join(f"{name} ({field.default})" for name, field in kind.model_fields.items())
            wrong = "; ".join(
                f"{'.'.join(map(str, p['loc'])) or kind.__name__}: "
                f"{'no such parameter' if p['type'] == 'extra_forbidden' else p['msg']}"
                for p in error.errors()
            )
            raise StrategyError(f"{kind.__name__}: {wrong}. Its parameters are {known or 'none'}.") from None

    @property
    def warmup(self) -> int:
        """How many bars of an instrument a decision depends on, its own included."""
        raise StrategyError(f"{self.name} does not say its warmup: add a property `warmup`, the bars it looks back on.")

    @property
    def name(self) -> str:
        return type(self).__name__

    @property
    def is_columnar(self) -> bool:
        return type(self).signals is not Strategy.signals

    def signals(self, bars: Columns) -> Signals:
        raise StrategyError(f"{self.name} has neither signals(bars) nor on_event(view): write one of them.")

    def on_event(self, view: View) -> Sequence[Signal]:
        raise StrategyError(f"{self.name} has neither signals(bars) nor on_event(view): write one of them.")


@contextmanager
def speaking(name: str, doing: str) -> Iterator[None]:
    """Turn whatever a user's strategy raises into one clear error that keeps the cause."""
    try:
        yield
    except FfeError:
        raise
    except Exception as error:  # a strategy may raise anything; nothing is swallowed
        raise StrategyError(f"{name} raised {type(error).__name__} {doing}: {error}{_where(error)}.") from error


def _where(error: Exception) -> str:
    """The innermost line of the user's own code that an error went through."""
    frames = [(frame.f_code.co_filename, line) for frame, line in walk_tb(error.__traceback__)]
    own = [(file, line) for file, line in frames if not file.startswith(NOT_THEIRS)]
    return f" (line {own[-1][1]} of {own[-1][0]})" if own else ""


class Live:
    """A stateful strategy, heard event by event, its answers checked."""

    def __init__(self, strategy: Strategy) -> None:
        self.strategy = strategy

    def on_event(self, view: View) -> Sequence[Signal]:
        with speaking(self.strategy.name, f"in on_event at {stamp(view.time)}"):
            heard = self.strategy.on_event(view)
        if not isinstance(heard, list | tuple):
            raise StrategyError(
                f"{self.strategy.name}.on_event returns {type(heard).__name__} at {stamp(view.time)}: "
                "return a list of ffe.Signal, empty where it decides nothing."
            )
        for signal in heard:
            check(signal, view.instruments, self.strategy.name)
        return heard


def warmup_of(strategy: Strategy) -> int:
    """Its warmup, where it is a number of bars."""
    with speaking(strategy.name, "in warmup"):
        warmup: object = strategy.warmup
    if type(warmup) is not int or not 0 <= warmup < MOST_BARS:
        raise StrategyError(f"{strategy.name} gives a warmup of {warmup!r}: a whole number of bars, such as 50.")
    return warmup


def check(signal: Signal, instruments: Sequence[InstrumentId], provider: str) -> None:
    """Refuse a signal that cannot be meant."""
    if not isinstance(signal, Signal) or not isinstance(signal.side, Side):
        raise StrategyError(
            f"{provider} gives {signal!r}: give ffe.Signal(instrument, ffe.Side.LONG, confidence, name)."
        )
    check_fields(signal, provider)
    if signal.instrument not in instruments:
        raise StrategyError(f"{signal.provider} signals {signal.instrument}; this run knows {', '.join(instruments)}.")
    if type(signal.confidence) is not int or not 0 <= signal.confidence <= 100:
        raise StrategyError(
            f"{signal.provider} gives {signal.instrument} a confidence of {signal.confidence!r}: "
            "an integer from 0 to 100."
        )


def check_fields(signal: Signal, provider: str) -> None:
    """Refuse what its annotations forbid: nobody else has checked the code that made it."""
    for field, kind, wanted in KINDS:
        value = getattr(signal, field)
        if not isinstance(value, kind) or (kind is NUMBER and isinstance(value, bool)):
            raise StrategyError(f"{provider} gives {signal.instrument} the {field} {value!r}: it must be {wanted}.")


class Precomputed:
    """Signals over columns, computed once on everything; a replay looks them up by time."""

    def __init__(self, by_time: Mapping[Nanos, tuple[Signal, ...]]) -> None:
        self.by_time = by_time

    def on_event(self, view: View) -> Sequence[Signal]:
        return self.by_time.get(view.event.time, ()) if isinstance(view.event, Bars) else ()


def rows(
    signals: Signals, index: pd.DatetimeIndex, columns: Mapping[str, InstrumentId], provider: str
) -> Iterator[tuple[int, int, Signal]]:
    """(row, column, signal) of every decision in a frame of signals over these bars, in the order of time."""
    side = _matrix(signals.side, signals, provider)
    _check_frame(signals.side, index, columns, provider)
    names = [columns[name] for name in signals.side.columns]
    odd = np.isfinite(side) & ~np.isin(side, (-1.0, 0.0, 1.0)) | np.isinf(side)
    if odd.any():
        row, column = np.argwhere(odd)[0]
        raise StrategyError(
            f"{provider} gives {names[column]} at {index[row]} the side {side[row, column]}: "
            "1 is long, -1 short, 0 close, NaN nothing."
        )
    confidences = _matrix(signals.confidence, signals, provider)
    extras = [
        None if value is None else _matrix(value, signals, provider)
        for value in (signals.stop, signals.target, signals.qty)
    ]
    for row, column in np.argwhere(np.isfinite(side)).tolist():
        confidence = float(confidences[row, column])
        if not 0 <= confidence <= 100 or confidence != round(confidence):
            raise StrategyError(
                f"{provider} gives {names[column]} at {index[row]} a confidence of {confidence}: "
                "an integer from 0 to 100."
            )
        stop, target, qty = (_known(extra, row, column) for extra in extras)
        signal = Signal(
            names[column], Side(int(side[row, column])), int(confidence), provider, stop, target, qty,
            signals.add, signals.reasoning,
        )  # fmt: skip
        check_fields(signal, provider)
        yield row, column, signal


def _known(values: NDArray[np.float64] | None, row: int, column: int) -> float | None:
    return None if values is None or np.isnan(values[row, column]) else float(values[row, column])


def _check_frame(
    side: pd.DataFrame, index: pd.DatetimeIndex, columns: Mapping[str, InstrumentId], provider: str
) -> None:
    """A row per bar, and no column twice or of something else: a decision must be of the bar it stands at."""
    if len(side) != len(index):
        raise StrategyError(f"{provider} returns {len(side)} rows for {len(index)} bars: give one row per bar.")
    if not side.index.equals(index):
        raise StrategyError(f"{provider} returns rows of other times than its bars': keep the index of bars.close.")
    strange = [str(name) for name in side.columns if name not in columns]
    if strange or side.columns.has_duplicates:
        raise StrategyError(
            f"{provider} decides for the columns {', '.join(map(str, side.columns))}, its bars have "
            f"{', '.join(columns)}: name each of them at most once, and no others."
        )


def _matrix(value: float | pd.DataFrame, signals: Signals, provider: str) -> NDArray[np.float64]:
    """A frame of the signals' shape as an array; a scalar stands for all."""
    from pandas import DataFrame

    if isinstance(value, int | float):
        return np.broadcast_to(np.float64(value), signals.side.shape)
    like = signals.side
    if not isinstance(value, DataFrame) or not (value.index.equals(like.index) and value.columns.equals(like.columns)):
        raise StrategyError(f"{provider}: all of Signals must be numbers, or frames with the rows and columns of side.")
    try:
        return value.to_numpy(np.float64, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise StrategyError(f"{provider}: a frame of Signals holds what is no number: {error}.") from None
