"""The bars that were loaded once, in one DuckDB file that notebooks and a live process share.

The file is opened, used and closed behind a lock file, never held: DuckDB admits one writer or many readers. There is
no primary key (it costs eight times the loading time); a range is deleted and inserted in one transaction instead. A
second table says which ranges were asked for, so that a minute without trades is not fetched for ever. In the file a
time is a UTC timestamp in microseconds and a bar's key is its open; outside, times are int64 nanoseconds.
"""

from __future__ import annotations

import logging
import os
import stat
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from ffe.data import quality
from ffe.data.barset import FIELDS, Series, series_name
from ffe.errors import DataError, FfeError, MissingBars, NotWritable
from ffe.hours import Hours, spelt, stamp
from ffe.model import HOUR, SECOND, Instrument, Nanos, Symbol, Venue
from ffe.private import OTHERS, closed_folder

log = logging.getLogger(__name__)

Range = tuple[Nanos, Nanos]
Parameters = dict[str, str | int]
Columns = dict[str, NDArray[Any]]

# A cache that somebody sends reads no file and loads no code.
ALONE: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": "false", "autoinstall_known_extensions": "false", "autoload_known_extensions": "false",
}  # fmt: skip
MICROSECOND: Nanos = 1_000
PAUSE_SECONDS = 0.05
NO_ROWS: Columns = {"ts": np.empty(0, "M8[us]"), **{name: np.empty(0) for name in FIELDS}}

KEY = {"venue": "VARCHAR", "symbol": "VARCHAR", "tf": "INTEGER"}
TABLES: dict[str, dict[str, str]] = {
    "bars": {**KEY, "ts": "TIMESTAMP", **dict.fromkeys(FIELDS, "DOUBLE")},
    "coverage": {**KEY, **dict.fromkeys(("from_ts", "to_ts", "fetched_at"), "TIMESTAMP")},
    "revisions": {**KEY, "ts": "TIMESTAMP", **dict.fromkeys(FIELDS, "DOUBLE"), "replaced_at": "TIMESTAMP"},
}
SCHEMA = "".join(
    f"CREATE TABLE IF NOT EXISTS {table} ({', '.join(f'{name} {kind} NOT NULL' for name, kind in columns.items())});"
    for table, columns in TABLES.items()
)
# What is not of a cache: the file's own functions stand before DuckDB's of the same name, so these are called in full.
STRANGE = """
    SELECT 'the view ' || view_name FROM system.main.duckdb_views() WHERE NOT internal
    UNION ALL SELECT 'the function ' || function_name FROM system.main.duckdb_functions() WHERE NOT internal
    UNION ALL SELECT 'a computed ' || table_name || '.' || column_name FROM system.main.duckdb_columns()
        WHERE NOT internal AND column_default IS NOT NULL
"""
SHAPE = "SELECT table_name, column_name, data_type FROM system.main.duckdb_columns() WHERE NOT internal"
BAR = "ts, open, high, low, close, volume"
OURS = "venue = $venue AND symbol = $symbol AND tf = $tf"
START, END = "make_timestamp($start::BIGINT)", "make_timestamp($end::BIGINT)"
WITHIN = f"{OURS} AND ts >= {START} AND ts < {END}"
COVERED = f"SELECT $venue, $symbol, $tf, {START}, {END}, make_timestamp($now::BIGINT)"
BOUNDS = "epoch_us(from_ts), epoch_us(to_ts), epoch_us(fetched_at)"
TOUCHING = f"{OURS} AND to_ts >= {START} AND from_ts <= {END}"


@dataclass(frozen=True, slots=True)
class Held:
    """One cached series: the open of its first and last bar, and how many there are."""

    venue: Venue
    symbol: Symbol
    interval: Nanos
    first: Nanos
    last: Nanos
    bars: int


@dataclass(frozen=True, slots=True)
class Added:
    """What came of adding bars: those that are new, those that are others than were there, and those within the same
    range that were there and are in no row that came."""

    new: int
    changed: int
    kept: int

    def __str__(self) -> str:
        return f"{self.new:,} added, {self.changed:,} changed, {self.kept:,} kept"


@dataclass(frozen=True, slots=True)
class Covered:
    """A range [start, end) of which the cache holds every bar there is."""

    venue: Venue
    symbol: Symbol
    interval: Nanos
    start: Nanos
    end: Nanos
    fetched_at: Nanos


class Cache:
    """Bars in the file at path. patience: seconds to wait while another process has it open.

    revisions counts the bars already there that were changed through this object.
    """

    def __init__(self, path: Path | str, patience: float = 10.0) -> None:
        self.path = Path(path)
        self.patience = patience
        self.revisions = 0

    def put(self, series: Series, start: Nanos | None = None, end: Nanos | None = None) -> int:
        """Keep these bars as all there are in [start, end), by default from the first open to the last close.

        Returns how many bars that were there it changed or removed. BadBars if one cannot be true.
        """
        quality.checked(series)
        incoming, key = _incoming(series), _key(series.instrument, series.interval, *_bounds(series, start, end))
        with self._open(write=True) as con:
            changed = _replace(con, incoming, key)
        if changed:
            self.revisions += changed
            log.warning("%s: %d cached bars were changed by a later load; results may move.", series.name, changed)
        return changed

    def add(self, series: Series) -> Added:
        """Keep these bars beside those that are there; of the same time the new one stands, and what it replaced is
        kept as a revision. BadBars if one cannot be true."""
        quality.checked(series)
        incoming, key = _incoming(series), _key(series.instrument, series.interval, *_bounds(series, None, None))
        with self._open(write=True) as con:
            con.begin()
            added = _add(con, incoming, key)
            _cover(con, key)
            con.commit()
        return added

    def change(self, series: Series) -> Added:
        """Replace bars that are there by these of the same times; what was loaded and what was not stays so."""
        quality.checked(series)
        incoming, key = _incoming(series), _key(series.instrument, series.interval, *_bounds(series, None, None))
        with self._open(write=True) as con:
            con.begin()
            added = _add(con, incoming, key)
            con.commit()
        return added

    def remove(self, instrument: Instrument, interval: Nanos, start: Nanos, end: Nanos) -> int:
        """Forget the bars that open in [start, end), and that they were ever loaded; how many there were. They are kept
        as revisions."""
        key = _key(instrument, interval, start, end)
        with self._open(write=True) as con:
            return _remove(con, key)

    def get(
        self, instrument: Instrument, interval: Nanos, start: Nanos, end: Nanos, hours: Hours | None = None
    ) -> Series:
        """The bars that open at or after start and close by end. MissingBars where a part was never loaded."""
        hours = hours or Hours.of(instrument.hours, start, end)
        covered, columns = self._read(_key(instrument, interval, start, end))
        missing = [part for _, parts in _holes(covered, start, end, interval, hours) for part in parts]
        if missing or not columns:
            raise self._missing(instrument, interval, missing or [(start, end)])
        found = _series(instrument, interval, hours, columns).between(start, end)
        if not len(found):
            when = f"{stamp(start)} – {stamp(end)}"
            raise MissingBars(f"{found.name}: all of {when} was loaded, and nothing traded. Ask for a wider range.")
        return found

    def uncovered(
        self, instrument: Instrument, interval: Nanos, start: Nanos, end: Nanos, hours: Hours
    ) -> tuple[Range, ...]:
        """The parts of [start, end) that were never loaded, and in which bars would lie."""
        covered, _ = self._read(_key(instrument, interval, start, end))
        return tuple(piece for piece, parts in _holes(covered, start, end, interval, hours) if parts)

    def held(self, instrument: Instrument, interval: Nanos, start: Nanos, end: Nanos, hours: Hours) -> Series:
        """The bars that open at or after start and close by end, and are there; perhaps none."""
        _, columns = self._read(_key(instrument, interval, start, end))
        return _series(instrument, interval, hours, columns or NO_ROWS).between(start, end)

    def series(self) -> tuple[Held, ...]:
        spans = "epoch_ns(min(ts)), epoch_ns(max(ts)), count(*)"
        rows = self._rows(f"SELECT venue, symbol, tf, {spans} FROM bars GROUP BY ALL")
        return tuple(Held(venue, symbol, tf * SECOND, *rest) for venue, symbol, tf, *rest in rows)

    def coverage(self) -> tuple[Covered, ...]:
        times = "epoch_ns(from_ts), epoch_ns(to_ts), epoch_ns(fetched_at)"
        rows = self._rows(f"SELECT venue, symbol, tf, {times} FROM coverage")
        return tuple(Covered(venue, symbol, tf * SECOND, *rest) for venue, symbol, tf, *rest in rows)

    def _rows(self, query: str) -> list[tuple[Any, ...]]:
        if not self.path.exists():
            return []
        with self._open() as con:
            return con.execute(f"{query} ORDER BY ALL").fetchall()

    def _read(self, key: Parameters) -> tuple[list[Range], Columns]:
        if not self.path.exists():
            return [], {}
        ranges = f"SELECT epoch_ns(from_ts), epoch_ns(to_ts) FROM coverage WHERE {TOUCHING} ORDER BY ALL"
        with self._open() as con:
            covered = [(start, end) for start, end in con.execute(ranges, key).fetchall()]
            columns = con.sql(f"SELECT {BAR} FROM bars WHERE {WITHIN}", params=key).fetchnumpy()
        return covered, {name: np.asarray(column) for name, column in columns.items()}

    def _missing(self, instrument: Instrument, interval: Nanos, ranges: list[Range]) -> MissingBars:
        (start, end), more = ranges[0], f" and {len(ranges) - 1} more ranges" if len(ranges) > 1 else ""
        where = f"no bars {stamp(start)} – {stamp(end)}{more} in {self.path}"
        put_them = f"ffe data import FILE --symbol {instrument.symbol} --interval {spelt(interval)}"
        return MissingBars(f"{series_name(instrument, interval)}: {where}. Put them there: {put_them}")

    # ---------------------------------------------------------------- the file

    @contextmanager
    def _open(self, write: bool = False) -> Iterator[duckdb.DuckDBPyConnection]:
        with self._locked():
            con = self._connected(write)
            try:
                yield con
            except duckdb.Error as error:
                raise self._ours(error) from error
            finally:
                con.close()  # rolls back what was not committed

    def _locked(self) -> AbstractContextManager[object]:
        """The lock, held until the end of a `with`."""
        try:
            closed_folder(self.path.parent)
            if not os.access(self.path.parent, os.W_OK):
                raise PermissionError(f"no permission to write in {self.path.parent}")
            return FileLock(f"{self.path}.lock", timeout=self.patience, mode=0o600).acquire()
        except Timeout:
            raise self._busy() from None
        except OSError as error:
            raise NotWritable(f"{self.path}: {error}. Name a cache in a folder you can write to.") from error

    def _connected(self, write: bool) -> duckdb.DuckDBPyConnection:
        deadline = time.monotonic() + self.patience
        while True:
            try:
                return self._checked(duckdb.connect(self.path, read_only=not write, config=ALONE))
            except duckdb.Error as error:
                # Another program may hold it without our lock file: DuckDB's own shell, a notebook.
                if not _is_lock(error) or time.monotonic() > deadline:
                    raise self._ours(error) from error
            time.sleep(PAUSE_SECONDS)

    def _checked(self, con: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
        """A cache of bars holds tables of numbers, and is its owner's. A view, or a function, would run what its maker
        wrote."""
        if stat.S_IMODE(self.path.stat().st_mode) & OTHERS:
            with suppress(PermissionError):  # it is somebody else's
                self.path.chmod(0o600)
        found = [what for (what,) in con.execute(STRANGE).fetchall()]
        for table, name, kind in con.execute(SHAPE).fetchall():
            if kind != TABLES.get(table, {}).get(name, kind):
                found.append(f"the column {table}.{name} of {kind}")
        if found:
            con.close()
            raise DataError(f"{self.path} holds {found[0]}: no cache of ours. Move it away, and load again.")
        return con

    def _ours(self, error: duckdb.Error) -> FfeError:
        if _is_lock(error):
            return self._busy()
        if isinstance(error, duckdb.CatalogException | duckdb.BinderException):
            return DataError(f"{self.path} is a database of something else. Name another file as the cache.")
        if "not a valid DuckDB" in str(error):
            return DataError(
                f"{self.path} is no DuckDB database; it was left as it is. Name another file as the cache."
            )
        return DataError(f"{self.path}: {str(error).splitlines()[0]} Put right what it names, or use another file.")

    def _busy(self) -> DataError:
        return DataError(f"{self.path} has been open elsewhere for {self.patience:g} s. Close it there, and try again.")


def _is_lock(error: duckdb.Error) -> bool:
    return any(words in str(error) for words in ("lock on file", "different configuration"))


# ---------------------------------------------------------------- between series and rows


def _key(instrument: Instrument, interval: Nanos, start: Nanos, end: Nanos) -> Parameters:
    """The parameters of WITHIN: seconds and microseconds, rounded so that ts >= start and ts < end stay exact."""
    if interval % SECOND:
        raise DataError(
            f"{series_name(instrument, interval)}: the cache keeps intervals of whole seconds. Resample the bars."
        )
    bounds = {"start": -(-start // MICROSECOND), "end": -(-end // MICROSECOND)}
    return {"venue": instrument.venue, "symbol": instrument.symbol, "tf": interval // SECOND, **bounds}


def _bounds(series: Series, start: Nanos | None, end: Nanos | None) -> Range:
    if not len(series) and (start is None or end is None):
        raise MissingBars(f"{series.name}: no bars to cache. Say which range was found empty: put(series, start, end).")
    first = int(series.open_time[0]) if start is None else start
    last = int(series.close_time[-1]) if end is None else end
    if len(series) and not first <= series.open_time[0] <= series.open_time[-1] < last:
        raise DataError(
            f"{series.name}: bars outside {stamp(first)} – {stamp(last)}. Give the range that was asked for."
        )
    return first, last


def _incoming(series: Series) -> Columns:
    micros, rest = np.divmod(series.open_time, MICROSECOND)
    if rest.any():
        raise DataError(f"{series.name}: the cache keeps times in microseconds. Round the times of the source.")
    return {"ts": micros.view("M8[us]"), **{name: getattr(series, name) for name in FIELDS}}


def _replace(con: duckdb.DuckDBPyConnection, incoming: Columns, key: Parameters) -> int:
    con.execute(SCHEMA)
    con.register("incoming", incoming)
    con.begin()
    kept = f"SELECT {BAR} FROM bars WHERE {WITHIN}"
    (changed,) = con.execute(f"SELECT count(*) FROM ({kept} EXCEPT SELECT {BAR} FROM incoming)", key).fetchall()[0]
    con.execute(f"DELETE FROM bars WHERE {WITHIN}", key)
    ours = {name: key[name] for name in ("venue", "symbol", "tf")}
    con.execute(f"INSERT INTO bars SELECT $venue, $symbol, $tf, {BAR} FROM incoming", ours)
    _cover(con, key)
    con.commit()
    return int(changed)


def _add(con: duckdb.DuckDBPyConnection, incoming: Columns, key: Parameters) -> Added:
    con.execute(SCHEMA)
    con.register("incoming", incoming)
    ours = {name: key[name] for name in ("venue", "symbol", "tf")}
    again = f"FROM bars JOIN incoming USING (ts) WHERE {OURS}"
    differs = " OR ".join(f"bars.{name} IS DISTINCT FROM incoming.{name}" for name in FIELDS)
    old = ", ".join(f"bars.{name}" for name in FIELDS)
    now = {"now": time.time_ns() // MICROSECOND}
    (there,) = con.execute(f"SELECT count(*) {again}", ours).fetchall()[0]
    (changed,) = con.execute(
        f"INSERT INTO revisions SELECT $venue, $symbol, $tf, ts, {old}, make_timestamp($now::BIGINT) {again} "
        f"AND ({differs})",
        ours | now,
    ).fetchall()[0]
    (within,) = con.execute(f"SELECT count(*) FROM bars WHERE {WITHIN}", key).fetchall()[0]
    con.execute(f"DELETE FROM bars WHERE {OURS} AND ts IN (SELECT ts FROM incoming)", ours)
    con.execute(f"INSERT INTO bars SELECT $venue, $symbol, $tf, {BAR} FROM incoming", ours)
    return Added(len(incoming["ts"]) - there, int(changed), within - there)


def _remove(con: duckdb.DuckDBPyConnection, key: Parameters) -> int:
    con.execute(SCHEMA)
    con.begin()
    now = {**key, "now": time.time_ns() // MICROSECOND}
    con.execute(
        f"INSERT INTO revisions SELECT venue, symbol, tf, {BAR}, make_timestamp($now::BIGINT) FROM bars WHERE {WITHIN}",
        now,
    )
    gone = con.execute(f"DELETE FROM bars WHERE {WITHIN} RETURNING ts", key).fetchall()
    pieces = con.execute(f"DELETE FROM coverage WHERE {TOUCHING} RETURNING {BOUNDS}", key).fetchall()
    for first, last, fetched in pieces:  # what was loaded before the range, and behind it
        for start, end in ((first, min(last, int(key["start"]))), (max(first, int(key["end"])), last)):
            if start < end:
                kept = {**key, "start": start, "end": end, "now": fetched}
                con.execute(f"INSERT INTO coverage {COVERED}", kept)
    con.commit()
    return len(gone)


def _cover(con: duckdb.DuckDBPyConnection, key: Parameters) -> None:
    """Join the new range with those it touches, so that a live process appending bars keeps one row."""
    touched = f"DELETE FROM coverage WHERE {TOUCHING} RETURNING epoch_us(from_ts), epoch_us(to_ts)"
    bounds = [key["start"], key["end"], *(t for row in con.execute(touched, key).fetchall() for t in row)]
    row = {**key, "start": min(bounds), "end": max(bounds), "now": time.time_ns() // MICROSECOND}
    con.execute(f"INSERT INTO coverage {COVERED}", row)


def _series(instrument: Instrument, interval: Nanos, hours: Hours, columns: Columns) -> Series:
    open_time = columns["ts"].view(np.int64) * MICROSECOND
    if np.any(np.diff(open_time) <= 0):  # rows come in the order of insertion: a backfill stands behind
        order = np.argsort(open_time)
        open_time, columns = open_time[order], {name: column[order] for name, column in columns.items()}
    return Series.from_arrays(instrument, interval, hours, open_time, *(columns[name] for name in FIELDS))


def _uncovered(covered: list[Range], start: Nanos, end: Nanos) -> Iterator[Range]:
    """The parts of [start, end) outside the covered ranges, which are sorted and apart."""
    for first, last in covered:
        if start < first:
            yield start, min(first, end)
        start = max(start, last)
    if start < end:
        yield start, end


def _holes(
    covered: list[Range], start: Nanos, end: Nanos, interval: Nanos, hours: Hours
) -> Iterator[tuple[Range, list[Range]]]:
    """The uncovered pieces of [start, end), each with its parts in which bars would lie."""
    for piece in _uncovered(covered, start, end):
        # Between two loads lies every bar that opens there, also one that ends in what was loaded before.
        reach = interval + HOUR if start < piece[0] and piece[1] < end else 0
        yield piece, list(_needed(piece, interval, hours, reach))


def _needed(piece: Range, interval: Nanos, hours: Hours, reach: Nanos) -> Iterator[Range]:
    """The parts of a piece in which a bar opens that ends at most so far beyond it: nothing is missing of a weekend."""
    first, last = piece
    for start, end in hours.trading(first, last + reach, interval):
        # the last bar of a session may be short
        if start < last and (end - start >= interval or not hours.is_open(end)):
            yield start, min(end, last)
