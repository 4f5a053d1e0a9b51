"""Bars as columns: one Series per instrument and interval, and the BarSet that a run is given.

A Series holds what is believed of the past: its arrays are read-only, its open times ascend. A BarSet keeps its series
in the one order (venue, symbol, interval); its fingerprint names these very bytes: two runs can say they saw the same.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ffe.errors import BadBars, DataError, MissingBars
from ffe.hours import Hours, IntArray, spelt, stamp
from ffe.model import Instrument, Nanos, Symbol, Venue
from ffe.plain import plain

if TYPE_CHECKING:
    import pandas as pd

FloatArray = NDArray[np.float64]
Field = Literal["open", "high", "low", "close", "volume"]
Key = tuple[Venue, Symbol, Nanos]

TIMES = ("open_time", "close_time")
FIELDS: tuple[Field, ...] = ("open", "high", "low", "close", "volume")


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """The bars of one instrument at one interval, in the order of time."""

    instrument: Instrument
    interval: Nanos
    open_time: IntArray
    close_time: IntArray
    open: FloatArray
    high: FloatArray
    low: FloatArray
    close: FloatArray
    volume: FloatArray
    source: str = field(default="", kw_only=True)  # what they were read from, and how it was understood

    def __post_init__(self) -> None:
        for name in TIMES + FIELDS:
            object.__setattr__(self, name, _kept(getattr(self, name), np.int64 if name in TIMES else np.float64))
        lengths = {name: len(getattr(self, name)) for name in TIMES + FIELDS}
        if len(set(lengths.values())) > 1:
            raise BadBars(f"{self.name}: columns of different lengths, {lengths}. Give one value per bar in each.")

    @staticmethod
    def from_arrays(
        instrument: Instrument,
        interval: Nanos,
        hours: Hours,
        open_time: ArrayLike,
        open: ArrayLike,
        high: ArrayLike,
        low: ArrayLike,
        close: ArrayLike,
        volume: ArrayLike,
    ) -> Series:
        """A series whose bars end as the hours say. What cannot be true is refused by quality.checked, not here."""
        opens = np.asarray(open_time, np.int64)
        values = (np.asarray(column, np.float64) for column in (open, high, low, close, volume))
        return Series(instrument, interval, opens, hours.bar_close(opens, interval), *values)

    @property
    def name(self) -> str:
        return series_name(self.instrument, self.interval)

    @property
    def key(self) -> Key:
        return self.instrument.venue, self.instrument.symbol, self.interval

    def __len__(self) -> int:
        return len(self.open_time)

    def __repr__(self) -> str:
        return f"Series({self.name}: {len(self)} bars{_range(self)})"

    def hours(self) -> Hours:
        """The instrument's hours for the years of this series."""
        if not len(self):
            raise MissingBars(f"{self.name}: no bars, so no years to know the hours of. Load bars first.")
        return Hours.of(self.instrument.hours, int(self.open_time[0]), int(self.close_time[-1]))

    def between(self, start: Nanos, end: Nanos) -> Series:
        """The bars that close within (start, end]: a close at midnight belongs to the day that ends."""
        first, last = np.searchsorted(self.close_time, (start, end), side="right")
        return self.at(slice(int(first), int(last)))

    def at(self, rows: slice | NDArray[np.bool_] | NDArray[np.intp]) -> Series:
        columns = (getattr(self, name)[rows] for name in TIMES + FIELDS)
        return Series(self.instrument, self.interval, *columns, source=self.source)


@dataclass(frozen=True, slots=True, eq=False)
class BarSet:
    """Series in the order (venue, symbol, interval), each instrument and interval once."""

    series: tuple[Series, ...]
    _fingerprint: str = field(init=False, repr=False, default="")  # computed when first asked for

    def __post_init__(self) -> None:
        if not self.series:
            raise MissingBars("A BarSet of no series. Give it at least one: BarSet((series,)).")
        object.__setattr__(self, "series", tuple(sorted(self.series, key=lambda s: s.key)))
        twice = [key for key, count in Counter(s.key for s in self.series).items() if count > 1]
        if twice:
            venue, symbol, interval = twice[0]
            raise DataError(
                f"{venue}:{symbol} {spelt(interval)} is given twice. Join them: BarSet((a,)) + BarSet((b,))."
            )
        if len({s.instrument for s in self.series}) > len({s.instrument.id for s in self.series}):
            raise DataError("One instrument is described in two ways. Use the same Instrument for all its intervals.")

    @staticmethod
    def from_frame(frame: pd.DataFrame, instrument: Instrument, interval: Nanos, hours: Hours | None = None) -> BarSet:
        """The bars of one instrument from a DataFrame with time, open, high, low, close and volume, checked."""
        from ffe.data import sources

        return BarSet((sources.from_frame(frame, instrument, interval, hours),))

    @property
    def instruments(self) -> tuple[Instrument, ...]:
        return tuple(dict.fromkeys(s.instrument for s in self.series))

    @property
    def interval(self) -> Nanos:
        """The finest interval."""
        return min(s.interval for s in self.series)

    def __iter__(self) -> Iterator[Series]:
        return iter(self.series)

    def __len__(self) -> int:
        return len(self.series)

    def __add__(self, other: BarSet) -> BarSet:
        """All series of both; of what both hold the bars are joined, and must agree where they overlap."""
        joined = {s.key: s for s in self}
        for s in other:
            joined[s.key] = _joined(joined[s.key], s) if s.key in joined else s
        return BarSet(tuple(joined.values()))

    def between(self, start: Nanos, end: Nanos) -> BarSet:
        """The bars that close within (start, end]."""
        return BarSet(tuple(s.between(start, end) for s in self))

    def fingerprint(self) -> str:
        """SHA-256 over names, intervals and the arrays' little-endian bytes."""
        if not self._fingerprint:
            object.__setattr__(self, "_fingerprint", _digest(self.series))
        return self._fingerprint

    def frame(self, field: Field, interval: Nanos | None = None) -> pd.DataFrame:
        """One field of all series of an interval (the finest if none is named): close time (UTC) × symbol.

        NaN where an instrument has no bar. A symbol of several venues is written venue:symbol.
        """
        import pandas as pd

        interval = interval or self.interval
        chosen = [s for s in self if s.interval == interval]
        if not chosen:
            raise MissingBars(f"No series of {spelt(interval)}. There are: {', '.join(s.name for s in self)}.")
        times = distinct([s.close_time for s in chosen])
        values = np.full((len(times), len(chosen)), np.nan)
        for column, s in enumerate(chosen):
            values[np.searchsorted(times, s.close_time), column] = getattr(s, field)
        index = pd.DatetimeIndex(times.view("M8[ns]"), name="close_time").tz_localize("UTC")
        return pd.DataFrame(values, index, [self.label(s.instrument) for s in chosen])

    def label(self, instrument: Instrument) -> str:
        """How a column is headed: the symbol, or venue:symbol where several venues list it."""
        venues = {i.venue for i in self.instruments if i.symbol == instrument.symbol}
        return instrument.symbol if len(venues) == 1 else instrument.id

    def __repr__(self) -> str:
        lines = (f"  {s.name}: {len(s)} bars{_range(s)}{s.source and f' from {s.source}'}" for s in self)
        return "\n".join([f"BarSet of {len(self)} series", *lines])

    def _repr_html_(self) -> str:
        heads = "".join(f"<th>{head}</th>" for head in ("symbol", "interval", "first", "last", "bars", "gaps"))
        rows = "".join(
            f"<tr>{''.join(f'<td>{escape(plain(cell))}</td>' for cell in self._cells(s))}</tr>" for s in self
        )
        read = "".join(f"<p>{escape(plain(f'{s.name} from {s.source}'))}</p>" for s in self if s.source)
        return f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>{read}"

    def _cells(self, s: Series) -> tuple[str, ...]:
        from ffe.data.quality import gaps  # it reads series: a set asks it only when a person looks

        symbol, interval = self.label(s.instrument), spelt(s.interval)
        if not len(s):
            return symbol, interval, "", "", "0", "0"
        first, last = int(s.open_time[0]), int(s.close_time[-1])
        return symbol, interval, stamp(first), stamp(last), f"{len(s):,}", str(len(gaps(s)))


def distinct(times: list[IntArray]) -> IntArray:
    """All times once, ascending. Sorting is forty times faster here than numpy.unique, which hashes."""
    every = np.sort(np.concatenate(times))
    return every[np.r_[True, every[1:] != every[:-1]]] if len(every) else every


def series_name(instrument: Instrument, interval: Nanos) -> str:
    """How messages call a series: kraken:BTC/USD 1h."""
    return f"{instrument.id} {spelt(interval)}"


def _kept(values: NDArray[np.generic], dtype: type[np.generic]) -> NDArray[np.generic]:
    """Contiguous and read-only; copied if somebody could still write to it."""
    array = np.ascontiguousarray(values, dtype)
    if array.flags.writeable and np.shares_memory(array, values):
        array = array.copy()
    array.flags.writeable = False
    return array


def _joined(a: Series, b: Series) -> Series:
    """All bars of two series of one instrument and interval."""
    columns = {name: np.concatenate((getattr(a, name), getattr(b, name))) for name in TIMES + FIELDS}
    order = np.argsort(columns["open_time"], kind="stable")
    both = Series(a.instrument, a.interval, *columns.values()).at(order)
    again = np.diff(both.open_time, prepend=both.open_time[:1] - 1) == 0
    for name in ("close_time", *FIELDS):
        column = getattr(both, name)
        differs = np.flatnonzero(again & (column != np.roll(column, 1)))
        if len(differs):
            at = stamp(int(both.open_time[differs[0]]))
            raise BadBars(f"{a.name}: two sets disagree about {name} at {at}. Keep the one you trust for that range.")
    return both.at(~again)


def _digest(series: tuple[Series, ...]) -> str:
    digest = hashlib.sha256()
    for s in series:
        digest.update(f"{s.instrument.id}\n{s.interval}\n{len(s)}\n".encode())
        for name in TIMES + FIELDS:
            array = getattr(s, name)
            digest.update(array.astype(array.dtype.newbyteorder("<"), copy=False).data)
    return digest.hexdigest()


def _range(s: Series) -> str:
    return f", {stamp(int(s.open_time[0]))} – {stamp(int(s.close_time[-1]))}" if len(s) else ""
