"""Files of bars as columns of text: where the rows begin, what the columns mean, how their numbers are written.

Nothing is converted before it is known what it is: a reader that infers types takes 05/03/2024 for the fifth of March.
What cannot be told is refused with the cell's own text.
"""

from __future__ import annotations

import csv
import gzip
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from ffe.data.barset import FIELDS, FloatArray
from ffe.errors import DataError, MissingBars
from ffe.model import Instrument

if TYPE_CHECKING:
    import duckdb

Role = Literal["time", "open", "high", "low", "close", "volume", "symbol"]

GZIP_MAGIC = b"\x1f\x8b"
MOST_COLUMNS, MOST_HEADER, MOST_LINE = 1_000, 1 << 16, 1 << 14  # the latter two in bytes
ENOUGH_NAMES = 3  # of time and fields, in a line that names columns
HEADER_WITHIN = 10  # lines: some files begin with an address, or a remark
SEPARATORS = (",", ";", "\t", "|")
NAMES: dict[Role, tuple[str, ...]] = {
    "time": (
        "time", "timestamp", "datetime", "date", "date/time", "date time", "gmt time", "window_start", "open time",
        "open_time", "opentime", "unix", "unix timestamp", "dt", "dttm", "t",
    ),
    "open": ("open", "o", "1. open"),
    "high": ("high", "h", "2. high"),
    "low": ("low", "l", "3. low"),
    "close": ("close", "c", "4. close", "close/last"),
    "volume": ("volume", "vol", "v", "5. volume", "tickvol", "tick_volume"),
    "symbol": ("symbol", "ticker", "pair", "instrument"),
}  # fmt: skip
CLOCK = re.compile(r"\d{1,2}:\d{2}(:\d{2})?")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
NO_LETTER = re.compile(r"[^A-Z0-9]")
SHOWN_SYMBOLS = 8  # of many in one source, in a message
WAYS = {  # how numbers may be written other than plainly: the shape of every cell, and what makes it a number
    "with a comma before the decimals": (r"^[+-]?\d+(,\d+)?$", "replace(trim({}), ',', '.')::DOUBLE"),
    "with commas between the thousands": (r"^[+-]?\d{1,3}(,\d{3})*(\.\d+)?$", "replace(trim({}), ',', '')::DOUBLE"),
}


@dataclass(frozen=True, slots=True)
class Layout:
    """How a text file is laid out: skip are the lines before the first row, names those of its columns."""

    separator: str
    skip: int
    names: tuple[str, ...]
    encoding: str
    is_packed: bool


def role_of(name: str) -> Role | None:
    plain = name.strip().strip("<>").strip().lower()
    return next((role for role, names in NAMES.items() if plain in names), None)


def layout_of(path: Path) -> Layout:
    """By its first lines. MissingBars where they name no columns and are no rows of bars."""
    head, is_packed = _head(path)
    text, encoding = _decoded(head)
    lines = text.splitlines()
    if not any(line.strip() for line in lines):
        raise MissingBars(f"{path} holds no rows. Look whether it is the right one.")
    if (len(lines) == 1 and len(head) == MOST_HEADER) or max(map(lines[0].count, SEPARATORS)) >= MOST_COLUMNS:
        raise DataError(
            f"{path}: its first line has more than {MOST_COLUMNS} columns, or no end. Is it a file of bars?"
        )
    for n, line in enumerate(lines[:HEADER_WITHIN]):
        for separator in SEPARATORS:
            cells = _cells(line, separator)
            if len({role_of(cell) for cell in cells} & {"time", *FIELDS}) >= ENOUGH_NAMES:
                return Layout(separator, n + 1, tuple(cells), encoding, is_packed)
    n = next(n for n, line in enumerate(lines) if line.strip())
    separator = max(SEPARATORS, key=lines[n].count)
    return Layout(separator, n, _unnamed(_cells(lines[n], separator), path, lines[n]), encoding, is_packed)


def _unnamed(cells: Sequence[str], path: Path, line: str) -> tuple[str, ...]:
    """Columns without names are taken in the order in which everybody writes them: time, or date and time; open, high,
    low, close; and, perhaps, volume."""
    times = ["date", "time"] if len(cells) > 1 and CLOCK.fullmatch(cells[1].strip()) else ["time"]
    values = [cell.strip() for cell in cells[len(times) : len(times) + 5]]
    if len(values) < 4 or not all(map(NUMBER.fullmatch, values)):
        raise MissingBars(
            f"{path}: no line names its columns, and its first is {line[:80]!r}. "
            "Give it one that does: time,open,high,low,close,volume."
        )
    names = [*times, *FIELDS[: len(values)]]
    return (*names, *(f"column {n}" for n in range(len(names) + 1, len(cells) + 1)))


def _cells(line: str, separator: str) -> list[str]:
    return next(csv.reader([line], delimiter=separator), [])


def _head(path: Path) -> tuple[bytes, bool]:
    with path.open("rb") as file:
        head = file.read(MOST_HEADER)
    if not head.startswith(GZIP_MAGIC):
        return head, False
    with gzip.open(path) as unpacked:
        return unpacked.read(MOST_HEADER), True


def _decoded(head: bytes) -> tuple[str, str]:
    """As UTF-8, as UTF-16 where it says so, else as Latin-1, in which numbers are the same."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return head[: len(head) // 2 * 2].decode("utf-16", errors="replace"), "utf-16"
    try:
        return head.decode("utf-8-sig"), "utf-8"
    except UnicodeDecodeError as error:
        if error.start >= len(head) - 3 and len(head) == MOST_HEADER:  # cut within a letter
            return head[: error.start].decode("utf-8-sig"), "utf-8"
    return head.decode("latin-1"), "latin-1"


# ---------------------------------------------------------------- which column is what


@dataclass(frozen=True, slots=True)
class Roles:
    """The number of each column. times are all that may be it; date and time of day may stand in two columns."""

    times: tuple[int, ...]
    fields: Mapping[str, int]
    symbol: int | None


def roles_of(names: Sequence[str], chosen: Mapping[str, str], where: str) -> Roles:
    """Which column is what; chosen names columns by role. MissingBars where one is not there, DataError where a role
    has two."""
    found: dict[str, list[int]] = {}
    for n, name in enumerate(names):
        if (known := role_of(name)) is not None:
            found.setdefault(known, []).append(n)
    for role, name in chosen.items():
        if role not in NAMES:
            raise DataError(f"--columns {role}: a column may be {', '.join(NAMES)}.")
        if name not in names:
            raise MissingBars(f"{where} has no column {name!r}, but {', '.join(names)}. Name one of those.")
        found[role] = [n for n, other in enumerate(names) if other == name]
    if "volume" not in found:
        found["volume"] = [n for n, name in enumerate(names) if name.strip().lower().startswith("volume ")][:1]
    lacks = [role for role in ("time", *FIELDS[:4]) if not found.get(role)]
    if lacks:
        raise MissingBars(
            f"{where} has no column {', '.join(lacks)}, but {', '.join(names)}. Say which is which: "
            f"--columns {lacks[0]}=NAME."
        )
    for role in FIELDS:
        if len(same := found.get(role, [])) > 1:
            both = " and ".join(names[n] for n in same)
            raise DataError(f"{where}: {both} may both be its {role}. Say which: --columns {role}={names[same[0]]}.")
    fields: dict[str, int] = {role: found[role][0] for role in FIELDS if found.get(role)}
    return Roles(tuple(found["time"]), fields, found["symbol"][0] if found.get("symbol") else None)


def said_of(roles: Roles, names: Sequence[str]) -> tuple[str, ...]:
    """Which columns the fields are, in words, where their names do not say it."""
    others = [f"{field} from {names[n]!r}" for field, n in roles.fields.items() if names[n].strip().lower() != field]
    return (*([", ".join(others)] if others else []), *(() if "volume" in roles.fields else ("no volume, taken as 0",)))


def the_symbol(symbols: Sequence[str], instrument: Instrument, said: str | None, where: str) -> str:
    """Which of the symbols that a source has is the instrument's; said names it where they are spelt otherwise."""
    named = [symbol for symbol in symbols if (symbol == said if said is not None else _is_called(symbol, instrument))]
    if len(named) == 1:
        return named[0]
    shown = ", ".join(symbols[:SHOWN_SYMBOLS]) + (", …" if len(symbols) > SHOWN_SYMBOLS else "")
    what = f"none of which is {said}" if said is not None else f"and {instrument.symbol} is asked for"
    raise DataError(
        f"{where}: its rows are of {shown}, {what}. Say which are meant, if any: --rows {symbols[0] or 'SYMBOL'}."
    )


def _is_called(name: str, instrument: Instrument) -> bool:
    """Whether a vendor may write its symbol so: BTCUSD, btc-usd, X:BTCUSD, AAPL.US, EURUSD=X. BTCUSDT is another."""
    meant = NO_LETTER.sub("", instrument.symbol.upper())
    parts = [name, *re.split(r"[.:=]", name)]
    return any(NO_LETTER.sub("", part.upper()) == meant for part in parts)


# ---------------------------------------------------------------- rows


def opened(con: duckdb.DuckDBPyConnection, path: Path, layout: Layout, pattern: str) -> duckdb.DuckDBPyRelation:
    """Every column as text, called c0, c1, ….; a row of fewer cells has none in the others."""
    columns = {f"c{n}": "VARCHAR" for n in range(len(layout.names))}
    return con.sql(
        "SELECT * FROM read_csv($path, auto_detect = false, header = false, columns = $columns, delim = $delim, "
        "skip = $skip, quote = '\"', escape = '\"', null_padding = true, hive_partitioning = false, "
        f"max_line_size = {MOST_LINE}, encoding = $encoding, compression = $compression, parallel = false)",
        params={
            "path": pattern, "columns": columns, "delim": layout.separator, "skip": layout.skip,
            "encoding": layout.encoding, "compression": "gzip" if layout.is_packed else "none",
        },
    )  # fmt: skip


def numbers(rows: duckdb.DuckDBPyRelation, columns: Mapping[str, str], where: str) -> dict[str, FloatArray]:
    """The numbers of columns, by their names: all of a file are written in one way. DataError with the first cell that
    is none."""
    plain = _converted(rows, columns, "try_cast(trim({}) AS DOUBLE)")
    if not any(map(np.ma.is_masked, plain.values())):
        return plain
    fits = [way for way, (shape, _) in WAYS.items() if _is_all(rows, columns, shape)]
    if len(fits) == 1:
        return _converted(rows, columns, WAYS[fits[0]][1])
    raise _no_number(rows, columns, where, fits)


def _converted(rows: duckdb.DuckDBPyRelation, columns: Mapping[str, str], number: str) -> dict[str, FloatArray]:
    found = rows.project(", ".join(f"{number.format(column)} AS {column}" for column in columns.values())).fetchnumpy()
    return {name: found[column] for name, column in columns.items()}


def _is_all(rows: duckdb.DuckDBPyRelation, columns: Mapping[str, str], shape: str) -> bool:
    """Whether every cell has this shape; one that is empty has none."""
    cells = (f"coalesce(regexp_matches(trim({column}), '{shape}'), false)" for column in columns.values())
    return bool(rows.project(f"bool_and({' AND '.join(cells)})").fetchall()[0][0])


def _no_number(rows: duckdb.DuckDBPyRelation, columns: Mapping[str, str], where: str, ways: list[str]) -> DataError:
    """The first cell that is no number written plainly."""
    said = []
    for name, column in columns.items():
        numbered = rows.project(f"row_number() OVER () - 1 AS n, {column} AS said")
        wrong = numbered.filter("try_cast(trim(said) AS DOUBLE) IS NULL").limit(1).fetchall()
        said += [(row, name, text) for row, text in wrong]
    row, name, text = min(said)
    if ways:
        return DataError(
            f"{where}: row {row}: its {name} is {text!r}, {' or '.join(ways)}. Write numbers with a point alone."
        )
    what = "is empty" if text is None or not text.strip() else f"is {text!r}, no number"
    return DataError(f"{where}: row {row}: its {name} {what}. Correct or drop it in the source, and load again.")
