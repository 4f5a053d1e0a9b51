"""What a strategy is: parameters, a warm-up in bars, and signals over columns or event by event.

A strategy is a small class with typed, validated parameters. It overrides one of
  signals(bars)    array code over wide frames (time x symbol): what it decides at a bar must follow from the last `warmup`
                   bars of that column alone, because live it sees no more
  on_event(view)   stateful code that sees closed bars, positions and its own past
Rows of a frame are the times at which bars closed; a column has NaN where its instrument had no bar.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from ffe.book import Book
from ffe.errors import FfeError, StrategyError
from ffe.history import History
from ffe.model import Bar, Bars, Event, InstrumentId, Nanos, Qty, Side, Signal

if TYPE_CHECKING:
    import pandas as pd

FIELDS = ("open", "high", "low", "close", "volume")


class Columns:
    """Bars as wide frames: open, high, low, close, volume, each time x symbol, built when first looked at."""

    def __init__(self, build: Callable[[str], pd.DataFrame]) -> None:
        self._build = build

    def __getattr__(self, name: str) -> pd.DataFrame:
        raise StrategyError(f"bars have no column {name!r}; there are {', '.join(FIELDS)}.")

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
    """What a strategy may see while an event is handled: the event, closed bars, and what is held. Nothing of the future."""

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
        where = error.__traceback__
        while where is not None and where.tb_next is not None:
            where = where.tb_next
        line = f" (line {where.tb_lineno} of {where.tb_frame.f_code.co_filename})" if where else ""
        raise StrategyError(f"{name} raised {type(error).__name__} {doing}: {error}{line}.") from error


class Live:
    """A stateful strategy, heard event by event, its answers checked."""

    def __init__(self, strategy: Strategy) -> None:
        self.strategy = strategy

    def on_event(self, view: View) -> Sequence[Signal]:
        with speaking(self.strategy.name, f"at {view.time} ns"):
            heard = self.strategy.on_event(view)
        for signal in heard:
            check(signal, view.instruments)
        return heard


def check(signal: Signal, instruments: Sequence[InstrumentId]) -> None:
    """Refuse a signal that cannot be meant."""
    if signal.instrument not in instruments:
        raise StrategyError(f"{signal.provider} signals {signal.instrument}; this run knows {', '.join(instruments)}.")
    if type(signal.confidence) is not int or not 0 <= signal.confidence <= 100:
        raise StrategyError(
            f"{signal.provider} gives {signal.instrument} a confidence of {signal.confidence!r}: an integer from 0 to 100."
        )


class Precomputed:
    """Signals over columns, computed once on everything; a replay looks them up by time."""

    def __init__(self, by_time: Mapping[Nanos, tuple[Signal, ...]]) -> None:
        self.by_time = by_time

    def on_event(self, view: View) -> Sequence[Signal]:
        return self.by_time.get(view.event.time, ()) if isinstance(view.event, Bars) else ()


def rows(signals: Signals, columns: Mapping[str, InstrumentId], provider: str) -> Iterator[tuple[int, int, Signal]]:
    """(row, column, signal) of every decision in a frame of signals, in the order of time."""
    side = _matrix(signals.side, signals, provider)
    names = [columns[str(name)] for name in signals.side.columns]
    odd = np.isfinite(side) & ~np.isin(side, (-1.0, 0.0, 1.0)) | np.isinf(side)
    if odd.any():
        row, column = np.argwhere(odd)[0]
        raise StrategyError(
            f"{provider} gives {names[column]} at {signals.side.index[row]} the side {side[row, column]}: "
            "1 is long, -1 short, 0 close, NaN nothing."
        )
    extras = [
        _matrix(value, signals, provider) for value in (signals.confidence, signals.stop, signals.target, signals.qty)
    ]
    for row, column in np.argwhere(np.isfinite(side)).tolist():
        confidence, *prices = (None if extra is None else float(extra[row, column]) for extra in extras)
        if confidence is None or not confidence == round(confidence) or not 0 <= confidence <= 100:
            raise StrategyError(
                f"{provider} gives {names[column]} at {signals.side.index[row]} a confidence of {confidence}: "
                "an integer from 0 to 100."
            )
        stop, target, qty = (None if price is None or price != price else price for price in prices)
        yield row, column, Signal(
            names[column], Side(int(side[row, column])), int(confidence), provider, stop, target, qty,
            signals.add, signals.reasoning,
        )  # fmt: skip


def _matrix(value: float | pd.DataFrame | None, signals: Signals, provider: str) -> NDArray[np.float64] | None:
    """A frame of the signals' shape as an array; a scalar stands for all."""
    if value is None:
        return None
    if isinstance(value, int | float):
        return np.broadcast_to(np.float64(value), signals.side.shape)
    if value.shape != signals.side.shape or not value.index.equals(signals.side.index):
        raise StrategyError(f"{provider}: every frame of Signals must have the rows and columns of its bars.")
    return value.to_numpy(np.float64, na_value=np.nan)
