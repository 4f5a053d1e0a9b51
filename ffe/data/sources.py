"""Bars from files and frames: csv and parquet (read by DuckDB), pandas, and a sample of stocks that needs no network.

A row's time is its bar's open, in UTC unless it says otherwise. In daily rows of a market that closes, midnight is a
date: the bar opens when that date's trading day does. Nothing is guessed and nothing repaired: the caller names the
interval, every load passes quality.checked.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ffe.data.barset import FIELDS, BarSet, Series, series_name
from ffe.data.quality import checked
from ffe.errors import BadBars, DataError, MissingBars, UnknownSymbol
from ffe.hours import Hours, IntArray, stamp
from ffe.model import DAY, Instrument, Nanos

if TYPE_CHECKING:
    import duckdb
    import pandas as pd

TIME_NAMES = ("time", "timestamp", "datetime", "date")
ALONE: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
}  # nothing is loaded for a file
MOST_COLUMNS, MOST_HEADER = 1_000, 1 << 16
MOST_LINE, MOST_ROWS = 1 << 14, 50_000_000  # bytes; ten times the minutes of ten years
CSV = f"SELECT * FROM read_csv(?, null_padding = true, hive_partitioning = false, max_line_size = {MOST_LINE})"
PARQUET = "SELECT * FROM read_parquet(?, hive_partitioning = false)"
NO_TIME = np.iinfo(np.int64).min  # as NaT is to pandas
SAMPLE_STOCKS = ("AAPL", "GOOG", "IBM", "MSFT")


def from_csv(path: Path | str, instrument: Instrument, interval: Nanos, hours: Hours | None = None) -> Series:
    """Columns time (or timestamp, datetime, date), open, high, low, close and volume, in any case and order."""
    return _from_file(Path(path), instrument, interval, hours)


def from_parquet(path: Path | str, instrument: Instrument, interval: Nanos, hours: Hours | None = None) -> Series:
    """The same columns as from_csv."""
    return _from_file(Path(path), instrument, interval, hours, is_parquet=True)


def from_frame(frame: pd.DataFrame, instrument: Instrument, interval: Nanos, hours: Hours | None = None) -> Series:
    """The same columns as from_csv; a DatetimeIndex may stand for the time."""
    import pandas as pd

    where = f"the frame of {series_name(instrument, interval)}"
    if isinstance(frame.index, pd.DatetimeIndex):
        frame = frame.reset_index(names=TIME_NAMES[0])
    columns = _columns([str(column) for column in frame.columns], where)
    times = frame.iloc[:, columns[0]]
    if not pd.api.types.is_datetime64_any_dtype(times):
        raise DataError(f"{where}: its times are {times.dtype}. Make them datetimes: pandas.to_datetime(…, utc=True).")
    open_time = pd.DatetimeIndex(pd.to_datetime(times, utc=True)).as_unit("ns").asi8
    values = (
        pd.to_numeric(frame.iloc[:, column], errors="coerce").to_numpy(np.float64, copy=True) for column in columns[1:]
    )
    return _series(instrument, interval, hours, open_time, *values)


def sample_stocks(instruments: Sequence[Instrument]) -> BarSet:
    """Daily bars of AAPL, IBM and MSFT (2000–2013) and GOOG (2004–2013), for those of them that are given.

    Prices are adjusted by adjusted close ÷ close, for splits and dividends; volumes by the inverse, so that price ×
    volume is the money that changed hands.
    """
    return BarSet(tuple(_sample(instrument) for instrument in instruments))


def _sample(instrument: Instrument) -> Series:
    from bokeh_sampledata import stocks

    if instrument.symbol not in SAMPLE_STOCKS:
        raise UnknownSymbol(f"{instrument.id} is not among the sample stocks. Use {', '.join(SAMPLE_STOCKS)}.")
    data = getattr(stocks, instrument.symbol)
    ratio = np.array(data["adj_close"]) / data["close"]
    prices = (np.array(data[name]) * ratio for name in FIELDS[:4])
    dates = np.array(data["date"], "M8[ns]").view(np.int64)
    return _series(instrument, DAY, None, dates, *prices, np.array(data["volume"]) / ratio)


# ---------------------------------------------------------------- from columns to a series


def _columns(names: Sequence[str], where: str) -> list[int]:
    """Where time, open, high, low, close and volume stand."""
    found = {name.strip().lower(): n for n, name in reversed(list(enumerate(names)))}
    missing = [name for name in FIELDS if name not in found]
    time = next((name for name in TIME_NAMES if name in found), None)
    if time is None or missing:
        lacks = [*([] if time else ["time"]), *missing]
        raise MissingBars(f"{where} has no column {', '.join(lacks)}, but {', '.join(names)}. Rename its columns.")
    return [found[name] for name in (time, *FIELDS)]


def _series(
    instrument: Instrument, interval: Nanos, hours: Hours | None, open_time: IntArray, *values: ArrayLike
) -> Series:
    name = series_name(instrument, interval)
    if not len(open_time):
        raise MissingBars(f"{name}: the source holds no rows. Look whether it is the right one.")
    timeless = np.flatnonzero(open_time == NO_TIME)
    if len(timeless):
        raise BadBars(f"{name}: row {timeless[0]} has no time. Correct or drop it in the source, and load again.")
    hours = hours or Hours.of(instrument.hours, int(open_time.min()), int(open_time.max()))
    if hours.is_daily(interval) and not np.any(open_time % DAY):
        open_time = _day_opens(name, open_time, hours)
    return checked(Series.from_arrays(instrument, interval, hours, open_time, *values), hours)


def _day_opens(name: str, dates: IntArray, hours: Hours) -> IntArray:
    """The opens of the trading days that close on these dates."""
    n = np.searchsorted(hours.day_closes, dates, side="right")
    strangers = np.flatnonzero(hours.day_closes[n] >= dates + DAY)
    if len(strangers):
        row = int(strangers[0])
        where = f"row {row} at {stamp(int(dates[row]))}: {hours.name} does not trade on this date"
        raise BadBars(f"{name}: {where}. Drop it, or name the hours that the source follows.")
    return hours.day_opens[n]


def _from_file(
    path: Path, instrument: Instrument, interval: Nanos, hours: Hours | None, is_parquet: bool = False
) -> Series:
    import duckdb

    if not path.is_file():
        raise MissingBars(f"{path}: no such file. Give the path of bars of {series_name(instrument, interval)}.")
    if not is_parquet:
        _refuse_wide(path)
    try:
        with duckdb.connect(config=ALONE) as con:
            rows = _rows(con.sql(PARQUET if is_parquet else CSV, params=[_as_pattern(path)]), path)
    except (duckdb.Error, RuntimeError) as error:  # the latter where a column's name is no text
        raise DataError(f"{path} cannot be read: {str(error).splitlines()[0]} Open it and look.") from error
    return _series(instrument, interval, hours, *rows)


def _as_pattern(path: Path) -> str:
    """A path is a path: DuckDB takes names for patterns, and would read bars1.csv for bars[1].csv; a folder's name is
    no column either."""
    return re.sub(r"[\[*?]", lambda found: f"[{found.group()}]", str(path.absolute()))


def _refuse_wide(path: Path) -> None:
    """Before anything is parsed: a file of bars has some columns, not thousands, and lines that end."""
    with path.open("rb") as file:
        first = file.read(MOST_HEADER)
    line = first.partition(b"\n")[0]
    if len(line) == MOST_HEADER or max(map(line.count, (b",", b";", b"\t", b"|"))) >= MOST_COLUMNS:
        raise DataError(
            f"{path}: its first line has more than {MOST_COLUMNS} columns, or no end. Is it a file of bars?"
        )


def _rows(relation: duckdb.DuckDBPyRelation, path: Path) -> list[NDArray[Any]]:
    """Time in nanoseconds, then the fields; what is no number is NaN, for quality to name its row."""
    time, *fields = (relation.columns[n] for n in _columns(relation.columns, str(path)))
    kind = str(relation.types[relation.columns.index(time)])
    if not kind.startswith(("TIMESTAMP", "DATE")):
        raise _timeless(relation, time, kind, path)
    values = ", ".join(f'try_cast("{name}" AS DOUBLE) AS "{name}"' for name in fields)
    columns = relation.limit(MOST_ROWS + 1).project(f'epoch_ns("{time}") AS "{time}", {values}').fetchnumpy()
    if len(columns[time]) > MOST_ROWS:
        raise DataError(f"{path} has more than {MOST_ROWS:,} rows. Load it in parts.")
    return [np.ma.filled(columns[time], NO_TIME), *(np.ma.filled(columns[name], np.nan) for name in fields)]


def _timeless(relation: duckdb.DuckDBPyRelation, time: str, kind: str, path: Path) -> DataError:
    """What is wrong with a column of times that holds none; the first row of it, where it holds text."""
    if not relation.limit(1).fetchall():
        return MissingBars(f"{path} holds no rows. Look whether it is the right one.")
    said = relation.project(
        f'row_number() OVER () - 1 AS row, "{time}" AS said, try_cast("{time}" AS TIMESTAMP) AS time'
    )
    wrong = said.filter("time IS NULL AND said IS NOT NULL").limit(1).fetchall() if kind == "VARCHAR" else []
    what = f"row {wrong[0][0]}: its {time} is {wrong[0][1]!r}" if wrong else f"its column {time} is {kind}"
    return DataError(f"{path}: {what}. Write times as 2024-03-29T21:00:00 or 2024-03-29.")
