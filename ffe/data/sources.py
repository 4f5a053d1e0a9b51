"""Bars from files and frames: csv and parquet (read by DuckDB), feather, pandas, polars and Arrow; and sample stocks.

A row's time is its bar's open. In daily rows of a market that closes, midnight, of UTC or of the exchange's own zone,
is a date: the bar opens when that date's trading day does. Nothing is guessed and nothing repaired: the caller names
the interval, what can be read in two ways is refused with both, and every load passes quality.checked.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import ArrayLike

from ffe.data.barset import FIELDS, BarSet, FloatArray, Series, series_name
from ffe.data.quality import checked, ended, in_session, of_its_interval
from ffe.data.tables import Roles, layout_of, numbers, opened, role_of, roles_of, said_of, the_symbol
from ffe.data.times import AS_IT_STANDS, NO_TIME, Reading, Wish, in_zone, read_times, wall_of
from ffe.errors import BadBars, DataError, MissingBars, NotWritable, UnknownSymbol
from ffe.hours import Hours, IntArray, stamp
from ffe.model import DAY, Instrument, Nanos

if TYPE_CHECKING:
    import duckdb
    import pandas as pd

ALONE: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
}  # nothing is loaded for a file
MOST_ROWS = 50_000_000  # ten times the minutes of ten years
PARQUET = "SELECT * FROM read_parquet(?, hive_partitioning = false)"
NEEDS_ARROW = "it is read by pyarrow, which is not installed. Install it: pip install pyarrow."
SAMPLE_STOCKS = ("AAPL", "GOOG", "IBM", "MSFT")


@dataclass(frozen=True, slots=True)
class Rows:
    """What was read of a source: where is how messages call it, said what was understood of it besides its times."""

    where: str
    times: Reading
    values: list[FloatArray]
    said: tuple[str, ...]


def from_csv(
    path: Path | str, instrument: Instrument, interval: Nanos, hours: Hours | None = None, wish: Wish = AS_IT_STANDS
) -> Series:
    """Columns time (or timestamp, datetime, date), open, high, low, close and volume, in any case and order, or without
    names in that order; packed by gzip or not. DataError where it can be read in two ways, with both."""
    import duckdb

    path = Path(path)
    _refuse_missing(path, instrument, interval)
    try:
        layout = layout_of(path)
        with duckdb.connect(config=ALONE) as con:
            rows = opened(con, path, layout, as_pattern(path)).limit(MOST_ROWS + 1)
            found = _of_text(con, rows, layout.names, path, instrument, interval, wish)
    except (duckdb.Error, OSError, EOFError) as error:  # the latter two of what is packed badly
        raise DataError(f"{path} cannot be read: {str(error).splitlines()[0]} Open it and look.") from error
    return _placed(instrument, interval, hours, found, wish)


def from_parquet(
    path: Path | str, instrument: Instrument, interval: Nanos, hours: Hours | None = None, wish: Wish = AS_IT_STANDS
) -> Series:
    """The same columns as from_csv."""
    import duckdb

    path = Path(path)
    _refuse_missing(path, instrument, interval)
    try:
        with duckdb.connect(config=ALONE) as con:
            found = _of_types(con.sql(PARQUET, params=[as_pattern(path)]), path, instrument, interval, wish)
    except (duckdb.Error, RuntimeError) as error:  # the latter where a column's name is no text
        raise DataError(f"{path} cannot be read: {str(error).splitlines()[0]} Open it and look.") from error
    return _placed(instrument, interval, hours, found, wish)


def from_feather(
    path: Path | str, instrument: Instrument, interval: Nanos, hours: Hours | None = None, wish: Wish = AS_IT_STANDS
) -> Series:
    """The same columns as from_csv; it needs pyarrow."""
    import pandas as pd

    path = Path(path)
    _refuse_missing(path, instrument, interval)
    try:
        frame = pd.read_feather(path)
    except ImportError:
        raise DataError(f"{path}: {NEEDS_ARROW}") from None
    except (OSError, ValueError) as error:  # as pyarrow's own errors are
        raise DataError(f"{path} cannot be read: {str(error).splitlines()[0]} Open it and look.") from error
    return _of_frame(frame, instrument, interval, hours, wish, str(path))


def from_frame(
    frame: pd.DataFrame, instrument: Instrument, interval: Nanos, hours: Hours | None = None,
    wish: Wish = AS_IT_STANDS,
) -> Series:  # fmt: skip
    """The same columns as from_csv, in a frame of pandas, or of polars or Arrow, which needs pyarrow; a DatetimeIndex
    may stand for the time, and a second level of columns for the symbol."""
    return _of_frame(
        _as_pandas(frame), instrument, interval, hours, wish, f"the frame of {series_name(instrument, interval)}"
    )


def _as_pandas(frame: Any) -> pd.DataFrame:
    import pandas as pd

    if isinstance(frame, pd.DataFrame):
        return frame
    if not hasattr(frame, "__arrow_c_stream__"):
        kind = type(frame).__name__
        raise DataError(f"Bars of a {kind} cannot be read. Give a file, a symbol, or a frame of pandas or polars.")
    try:
        return cast("pd.DataFrame", pd.DataFrame.from_arrow(frame))  # type: ignore[attr-defined]
    except ImportError:
        raise DataError(f"A frame that is not of pandas: {NEEDS_ARROW}") from None


def _of_frame(
    frame: pd.DataFrame, instrument: Instrument, interval: Nanos, hours: Hours | None, wish: Wish, where: str
) -> Series:
    import pandas as pd

    if frame.columns.nlevels == 2:
        frame = _of_one_symbol(frame, instrument, wish, where)
    chosen = {}
    if isinstance(frame.index, pd.DatetimeIndex):
        frame, chosen = frame.reset_index(names="time"), {"time": "time"}
    names = [str(column) for column in frame.columns]
    roles = _roles(names, chosen, wish, where)
    if roles.symbol is not None:
        column = frame.iloc[:, roles.symbol].astype(str)
        meant = the_symbol(sorted(column.unique()), instrument, wish.symbol, where)
        frame = frame[(column == meant).to_numpy()]
    times = frame.iloc[:, roles.times[0]]
    if not pd.api.types.is_datetime64_any_dtype(times):
        raise DataError(f"{where}: its times are {times.dtype}. Make them datetimes: pandas.to_datetime(…, utc=True).")
    is_wall = not isinstance(times.dtype, pd.DatetimeTZDtype)
    open_time = pd.DatetimeIndex(pd.to_datetime(times, utc=True)).as_unit("ns").asi8
    values = [
        pd.to_numeric(frame.iloc[:, roles.fields[field]], errors="coerce").to_numpy(np.float64, copy=True)
        if field in roles.fields
        else np.zeros(len(frame))
        for field in FIELDS
    ]
    read = Reading("", open_time, is_wall, names[roles.times[0]])
    return _placed(instrument, interval, hours, Rows(where, read, values, said_of(roles, names)), wish)


def _of_one_symbol(frame: pd.DataFrame, instrument: Instrument, wish: Wish, where: str) -> pd.DataFrame:
    """A frame of several symbols, as vendors' libraries give it: fields in one level of its columns, symbols in the
    other."""
    levels = [[str(name) for name in frame.columns.get_level_values(n).unique()] for n in (0, 1)]
    fields = 0 if any(role_of(name) == "close" for name in levels[0]) else 1
    meant = the_symbol(levels[1 - fields], instrument, wish.symbol, where)
    return frame.loc[:, frame.columns.get_level_values(1 - fields).astype(str) == meant].droplevel(1 - fields, axis=1)


def written(series: Series, file: Path) -> None:
    """Write bars to a csv or parquet file, as they are read here: times are opens, with their zone."""
    import duckdb

    columns: dict[str, Any] = {"time": series.open_time.view("M8[ns]"), **{f: getattr(series, f) for f in FIELDS}}
    try:
        file.touch(exist_ok=False)  # never over what is there
    except FileExistsError:
        raise NotWritable(f"{file} is there already. Name another file.") from None
    except OSError as error:
        raise NotWritable(f"{file}: {error.strerror}. Name a file that you can write.") from None
    try:
        with duckdb.connect(config=ALONE) as con:
            con.register("bars", columns)
            rows = con.sql(f"SELECT timezone('UTC', time::TIMESTAMP) AS time, {', '.join(FIELDS)} FROM bars")
            if file.suffix.lower() == ".parquet":
                rows.write_parquet(str(file))
            else:
                rows.write_csv(str(file))
    except (OSError, duckdb.Error) as error:
        file.unlink(missing_ok=True)
        raise NotWritable(f"{file}: {str(error).splitlines()[0]} Name a file that you can write.") from error


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


def _roles(names: Sequence[str], chosen: Mapping[str, str], wish: Wish, where: str) -> Roles:
    """Which columns of a source that has types are what; what a wish says of text is none of it."""
    if wish.format or wish.unit:
        raise DataError(
            f"{where} has times, and no text of which --time-format or --time-unit would say how to read it."
        )
    roles = roles_of(names, {**chosen, **wish.columns}, where)
    if len(roles.times) > 1:
        both = " and ".join(names[n] for n in roles.times)
        raise DataError(f"{where}: {both} may be its time. Say which: --columns time={names[roles.times[0]]}.")
    return roles


def _series(
    instrument: Instrument, interval: Nanos, hours: Hours | None, open_time: IntArray, *values: ArrayLike
) -> Series:
    hours = hours or Hours.of(instrument.hours, int(open_time.min()), int(open_time.max()))
    if hours.is_daily(interval) and not np.any(open_time % DAY):
        open_time = _day_opens(series_name(instrument, interval), open_time, hours)
    found = checked(Series.from_arrays(instrument, interval, hours, open_time, *values), hours)
    return of_its_interval(ended(found, time.time_ns()))


def _day_opens(name: str, dates: IntArray, hours: Hours) -> IntArray:
    """The opens of the trading days that close on these dates."""
    n = np.searchsorted(hours.day_closes, dates, side="right")
    strangers = np.flatnonzero(hours.day_closes[n] >= dates + DAY)
    if len(strangers):
        row = int(strangers[0])
        where = f"row {row} at {stamp(int(dates[row]))}: {hours.name} does not trade on this date"
        raise BadBars(f"{name}: {where}. Drop it, or name the hours that the source follows.")
    return hours.day_opens[n]


def _of_text(
    con: duckdb.DuckDBPyConnection, rows: duckdb.DuckDBPyRelation, names: Sequence[str], path: Path,
    instrument: Instrument, interval: Nanos, wish: Wish,
) -> Rows:  # fmt: skip
    """Times and fields of rows of text."""
    rows.create("found")
    rows, where = con.table("found"), str(path)
    count = rows.count("*").fetchall()[0][0]
    if not count:
        raise MissingBars(f"{path} holds no rows. Look whether it is the right one.")
    if count > MOST_ROWS:
        raise DataError(f"{path} has more than {MOST_ROWS:,} rows. Load it in parts.")
    roles = roles_of(names, wish.columns, where)
    if roles.symbol is not None:
        rows, where = _rows_of(rows, f"c{roles.symbol}", instrument, wish, where)
    times = read_times(rows, names, roles.times, interval, wish, where)
    found = numbers(rows, {names[n]: f"c{n}" for n in roles.fields.values()}, where)
    values = [
        found[names[roles.fields[field]]] if field in roles.fields else np.zeros(len(times.times)) for field in FIELDS
    ]
    return Rows(where, times, values, said_of(roles, names))


def _rows_of(
    rows: duckdb.DuckDBPyRelation, column: str, instrument: Instrument, wish: Wish, where: str
) -> tuple[duckdb.DuckDBPyRelation, str]:
    """Those of one symbol, and how they are called."""
    said = f"coalesce(trim({column}::VARCHAR), '')"
    symbols = [symbol for (symbol,) in rows.project(f"{said} AS s").distinct().order("s").fetchall()]
    meant = the_symbol(symbols, instrument, wish.symbol, where)
    if len(symbols) == 1:
        return rows, where
    quoted = meant.replace("'", "''")
    return rows.filter(f"{said} = '{quoted}'"), f"{where}, among the rows of {meant}"


def _placed(instrument: Instrument, interval: Nanos, hours: Hours | None, rows: Rows, wish: Wish) -> Series:
    """A series of times that were read, in the order of time and of the zone that they are in."""
    read, where = rows.times, rows.where
    times, arrays, order = read.times, [np.asarray(value) for value in rows.values], ""
    _refuse_timeless(times, series_name(instrument, interval))
    is_backward = len(times) > 1 and bool(np.all(np.diff(times) < 0))
    if is_backward or (wish.sort and np.any(np.diff(times) < 0)):
        order = "newest first" if is_backward else "sorted"
        rank = np.argsort(times, kind="stable")
        times, arrays = times[rank], [array[rank] for array in arrays]
    hours = hours or Hours.of(instrument.hours, int(times.min()), int(times.max()))
    is_date = hours.is_daily(interval) and not np.any(times % DAY)
    if read.is_wall and not is_date:
        times = in_zone(times, wish.zone, where) if wish.zone else _as_utc(times, interval, hours, where)
    elif hours.is_daily(interval) and not is_date:
        local = wall_of(times, hours.zone)
        times = times if np.any(local % DAY) else local  # midnight of the exchange's zone is a date
        is_date = not np.any(times % DAY)
    zone = "dates" if is_date else wish.zone or "UTC, for they name no zone" if read.is_wall else "UTC"
    said = [f"time from {read.column!r}{read.how and f' as {read.how}'}, {zone}", *rows.said, *filter(None, [order])]
    if interval >= DAY:
        said.append(f"a day ends {hours.day_end}")
    return replace(_series(instrument, interval, hours, times, *arrays), source=f"{where}: {'; '.join(said)}")


def _as_utc(times: IntArray, interval: Nanos, hours: Hours, where: str) -> IntArray:
    """Times without a zone, which in a market with sessions must fit them. Where its own zone fits better they were
    meant so: a session read five hours early trades on prices that nobody knew yet."""
    outside = int(np.count_nonzero(~in_session(times, hours)))
    if outside and not hours.is_daily(interval):
        local = int(np.count_nonzero(~in_session(in_zone(times, hours.zone, where), hours)))
        if local < outside:
            raise DataError(
                f"{where}: its times name no zone. As UTC {outside:,} of {len(times):,} rows lie outside the hours of "
                f"{hours.name}, as {hours.zone} {local:,}. Say which: --tz {hours.zone}, or --tz UTC."
            )
    return times


def _refuse_timeless(times: IntArray, name: str) -> None:
    if not len(times):
        raise MissingBars(f"{name}: the source holds no rows. Look whether it is the right one.")
    timeless = np.flatnonzero(times == NO_TIME)
    if len(timeless):
        raise BadBars(f"{name}: row {timeless[0]} has no time. Correct or drop it in the source, and load again.")


def _refuse_missing(path: Path, instrument: Instrument, interval: Nanos) -> None:
    if not path.is_file():
        raise MissingBars(f"{path}: no such file. Give the path of bars of {series_name(instrument, interval)}.")


def as_pattern(path: Path) -> str:
    """A path is a path: DuckDB takes names for patterns, and would read bars1.csv for bars[1].csv; a folder's name is
    no column either."""
    return re.sub(r"[\[*?]", lambda found: f"[{found.group()}]", str(path.absolute()))


def _of_types(
    relation: duckdb.DuckDBPyRelation, path: Path, instrument: Instrument, interval: Nanos, wish: Wish
) -> Rows:
    """Times and fields; what is no number is NaN, for quality to name its row."""
    names, kinds, where = list(relation.columns), relation.types, str(path)
    roles = _roles(names, {}, wish, where)
    column, kind = names[roles.times[0]], str(kinds[roles.times[0]])
    if not kind.startswith(("TIMESTAMP", "DATE")):
        raise _timeless(relation, column, kind, path)
    if roles.symbol is not None:
        relation, where = _rows_of(relation, _quoted(names[roles.symbol]), instrument, wish, where)
    values = [f"try_cast({_quoted(names[n])} AS DOUBLE) AS {field}" for field, n in roles.fields.items()]
    rows = relation.limit(MOST_ROWS + 1).project(", ".join([f"epoch_ns({_quoted(column)}) AS t", *values])).fetchnumpy()
    count = len(rows["t"])
    if count > MOST_ROWS:
        raise DataError(f"{path} has more than {MOST_ROWS:,} rows. Load it in parts.")
    times = Reading("", np.ma.filled(rows["t"], NO_TIME), is_wall="WITH TIME ZONE" not in kind, column=column)
    fields = [np.ma.filled(rows[field], np.nan) if field in roles.fields else np.zeros(count) for field in FIELDS]
    return Rows(where, times, fields, said_of(roles, names))


def _quoted(name: str) -> str:
    """A name as DuckDB reads it."""
    return '"' + name.replace('"', '""') + '"'


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
