"""A column of times, read in one way or not at all.

What a text or a number can mean is asked of every row: a reading that one row contradicts is none. Where several are
left the interval decides, if it leaves one; else all are shown, each with what chooses it. This machine's own zone
never enters.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfoNotFoundError

import numpy as np
from numpy.typing import NDArray

from ffe.errors import DataError
from ffe.hours import IntArray, spelt, stamp
from ffe.model import DAY, HOUR, SECOND, Nanos

if TYPE_CHECKING:
    import duckdb

MICROSECOND: Nanos = 1_000
UNITS: dict[str, tuple[Nanos, str]] = {
    "s": (SECOND, "seconds"),
    "ms": (10**6, "milliseconds"),
    "us": (MICROSECOND, "microseconds"),
    "ns": (1, "nanoseconds"),
}
EARLIEST, LATEST = -20 * 366 * DAY, 130 * 366 * DAY  # 1950 to 2100: what a number can be a time of
SHORTEST_EPOCH = 10**8  # in seconds of 1973; what is shorter is written as a date, 20240503
NO_TIME = np.iinfo(np.int64).min  # as NaT is to pandas
SPARSE = 0.5  # of the rows a day of the densest reading: a month that is read as a day leaves gaps of months

DATES = (
    (r"\d{4}(?P<mark>[-/.])\d{1,2}(?P=mark)\d{1,2}", ("%Y{0}%m{0}%d",)),
    (r"\d{1,2}(?P<mark>[-/.])\d{1,2}(?P=mark)\d{4}", ("%d{0}%m{0}%Y", "%m{0}%d{0}%Y")),
    (r"\d{1,2}(?P<mark>[-/.])\d{1,2}(?P=mark)\d{2}", ("%d{0}%m{0}%y", "%m{0}%d{0}%y", "%y{0}%m{0}%d")),
    (r"\d{1,2}(?P<mark>[- ])[A-Za-z]{3}(?P=mark)\d{4}", ("%d{0}%b{0}%Y",)),
    (r"\d{1,2}(?P<mark>[- ])[A-Za-z]{3}(?P=mark)\d{2}", ("%d{0}%b{0}%y",)),
    (r"\d{1,2}(?P<mark>[- ])[A-Za-z]{4,9}(?P=mark)\d{4}", ("%d{0}%B{0}%Y",)),
    (r"[A-Za-z]{3} \d{1,2}, \d{4}", ("%b %d, %Y",)),
    (r"[A-Za-z]{4,9} \d{1,2}, \d{4}", ("%B %d, %Y",)),
    (r"\d{8}", ("%Y%m%d",)),
    (r"\d{6}", ("%y%m%d",)),
)
CLOCKS = (
    (r"\d{1,2}:\d{2}:\d{2} ?[AaPp][Mm]", "%I:%M:%S %p"),
    (r"\d{1,2}:\d{2} ?[AaPp][Mm]", "%I:%M %p"),
    (r"\d{1,2}:\d{2}:\d{2}", "%H:%M:%S"),
    (r"\d{1,2}:\d{2}", "%H:%M"),
    (r"\d{6}", "%H%M%S"),
    (r"\d{4}", "%H%M"),
)
CLOCK_ALONE = re.compile(r"\d{1,2}:\d{2}(:\d{2})?([.,]\d{1,9})?|\d{6}|\d{4}")
FRACTION, ZONE = r"[.,]\d{1,9}", r" ?(?:(?:UTC|GMT)? ?[+-]\d{2}(?::?\d{2})?|Z|UTC|GMT)"
SHAPES = [
    (re.compile(rf"{date}(?:(?P<gap>[T ]|, )(?P<clock>{clock})(?:{FRACTION})?(?P<zone>{ZONE})?)?"), dates, form)
    for date, dates in DATES
    for clock, form in CLOCKS
]


@dataclass(frozen=True, slots=True)
class Wish:
    """What a caller says of a source: columns are names by role, format is as in strptime, unit one of UNITS, zone that
    of times which name none; sort puts rows in order that are in none. What is not said is found, or refused."""

    columns: Mapping[str, str] = field(default_factory=dict)
    format: str | None = None
    unit: str | None = None
    zone: str | None = None
    sort: bool = False
    symbol: str | None = None


AS_IT_STANDS = Wish()


@dataclass(frozen=True, slots=True)
class Reading:
    """One way to read a column: how, in words; times are nanoseconds, of a clock without a zone where is_wall; column
    is its name."""

    how: str
    times: IntArray
    is_wall: bool
    column: str = ""

    def __str__(self) -> str:
        return f"{self.how} it is {stamp(int(self.times.min()))} – {stamp(int(self.times.max()))}"


def read_times(
    rows: duckdb.DuckDBPyRelation, names: Sequence[str], columns: Sequence[int], interval: Nanos, wish: Wish, where: str
) -> Reading:
    """The times that stand in one of these columns, or in two of them: a date and a time of day. Where several hold
    times they must be the same."""
    if len(columns) == 2 and _is_clock(rows, columns[1]):
        both = rows.project(f"trim(c{columns[0]}) || ' ' || trim(c{columns[1]}) AS said")
        name = f"{names[columns[0]]} and {names[columns[1]]}"
        return replace(chosen(of_text(both, "said", "time", wish.format, where), interval, where), column=name)
    found = {
        names[n]: _read_column(rows.project(f"trim(c{n}) AS said"), names[n], interval, wish, where) for n in columns
    }
    first, *others = found.items()
    for name, reading in others:
        if not np.array_equal(reading.times, first[1].times):
            raise DataError(
                f"{where}: its columns {first[0]} and {name} hold other times: by the one {first[1]}; by the other "
                f"{reading}. Say which: --columns time={first[0]}."
            )
    return replace(first[1], column=first[0])


def _is_clock(rows: duckdb.DuckDBPyRelation, column: int) -> bool:
    (said,) = rows.project(f"trim(c{column})").limit(1).fetchall()[0]
    return said is not None and CLOCK_ALONE.fullmatch(said) is not None


def _read_column(texts: duckdb.DuckDBPyRelation, name: str, interval: Nanos, wish: Wish, where: str) -> Reading:
    for kind in ("BIGINT", "DOUBLE") if wish.format is None else ():
        value = f"try_cast(said AS {kind})"
        if texts.project(f"bool_and(coalesce({value} >= {SHORTEST_EPOCH}, false))").fetchall() == [(True,)]:
            values = np.asarray(texts.project(f"{value} AS t").fetchnumpy()["t"])
            return chosen(of_numbers(values, wish.unit, where), interval, where)
    return chosen(of_text(texts, "said", name, wish.format, where), interval, where)


def in_zone(times: IntArray, zone: str, where: str) -> IntArray:
    """UTC nanoseconds of what clocks of a zone showed; an hour that they showed twice is told by the order of rows."""
    import pandas as pd

    try:
        local = pd.DatetimeIndex(times.view("M8[ns]")).tz_localize(zone, ambiguous="infer")
    except ZoneInfoNotFoundError:
        raise DataError(f"No zone is called {zone!r}. Write it as America/New_York, or UTC.") from None
    except ValueError as error:
        raise DataError(f"{where}: its times are none of {zone}: {error}. Say another zone: --tz.") from None
    return np.asarray(local.asi8, np.int64)


def wall_of(times: IntArray, zone: str) -> IntArray:
    """What clocks of a zone show at these times."""
    import pandas as pd

    shown = pd.DatetimeIndex(times.view("M8[ns]")).tz_localize("UTC").tz_convert(zone).tz_localize(None)
    return np.asarray(shown.asi8, np.int64)


def chosen(readings: Sequence[Reading], interval: Nanos, where: str) -> Reading:
    """The one reading that is possible; DataError with all of them where none is, or several are."""
    distinct = [r for n, r in enumerate(readings) if not any(_is_same(r, other) for other in readings[:n])]
    if len(distinct) == 1:
        return distinct[0]
    fitting = [r for r in distinct if commonest(r.times, interval) in (None, interval)]
    densest = max((_density(r.times) for r in fitting), default=0.0)
    left = [r for r in fitting if _density(r.times) >= SPARSE * densest]
    if len(left) == 1:
        return left[0]
    shown = "; ".join(f"by {reading}" for reading in left or distinct)
    if left:
        raise DataError(
            f"{where}: its times can be read in {len(left)} ways: {shown}. Say which: --time-format, --time-unit."
        )
    raise DataError(
        f"{where}: its times are in no reading {spelt(interval)} apart: {shown}. Name the interval of the rows."
    )


def _is_same(a: Reading, b: Reading) -> bool:
    return a.is_wall == b.is_wall and np.array_equal(a.times, b.times)


def commonest(times: IntArray, interval: Nanos) -> Nanos | None:
    """The distance that most neighbours in time have, None without any; days are counted by their dates, for one may
    have 23 hours."""
    steps = np.diff(np.sort(times))
    steps = steps[steps > 0]
    if not len(steps):
        return None
    if interval >= DAY:
        steps = (steps + HOUR) // DAY * DAY
    found, counts = np.unique(steps, return_counts=True)
    return int(found[counts.argmax()])


def _density(times: IntArray) -> float:
    """Rows a day."""
    return len(times) / max(1.0, float(times.max() - times.min()) / DAY)


# ---------------------------------------------------------------- numbers


def of_numbers(values: NDArray[Any], unit: str | None, where: str) -> list[Reading]:
    """What a column of numbers can mean: time since 1970, in units by magnitude."""
    found = []
    if unit not in (None, *UNITS):
        raise DataError(f"--time-unit {unit}: there are {', '.join(UNITS)}.")
    for name in UNITS if unit is None else [unit]:
        size, words = UNITS[name]
        rough = values.astype(np.float64) * size
        if np.all((rough >= EARLIEST) & (rough < LATEST)):
            whole = values.dtype.kind in "iu"
            times = (
                values.astype(np.int64) * size
                if whole
                else np.round(rough / MICROSECOND).astype(np.int64) * MICROSECOND
            )
            found.append(Reading(f"{words} since 1970", times, is_wall=False))
    if not found:
        raise DataError(
            f"{where}: its times are numbers such as {values[0]:.16g}, which are none since 1970. Name another column."
        )
    return found


# ---------------------------------------------------------------- text


def of_text(texts: duckdb.DuckDBPyRelation, column: str, name: str, form: str | None, where: str) -> list[Reading]:
    """What a column of text can mean, by the shape of its first row; DataError with the first row that is another."""
    found = texts.filter(f'"{column}" IS NOT NULL').project(f'trim("{column}")').limit(1).fetchall()
    if not found:
        raise DataError(f"{where}: its column {name} is empty. Is it the column of times?")
    if form is not None:
        has_zone = "%z" in form
        parsed = {form: _said(texts, column, form)}
    else:
        forms, has_zone = _forms(found[0][0], where, name)
        parsed = {form: _parsed(_parts(texts, column, has_zone), form, has_zone) for form in forms}
    whole = {form: times for form, times in parsed.items() if not np.any(times == NO_TIME)}
    if not whole:
        form, times = max(parsed.items(), key=lambda pair: np.count_nonzero(pair[1] != NO_TIME))
        row = int(np.flatnonzero(times == NO_TIME)[0])
        (said,) = texts.project(f'"{column}"').limit(1, row).fetchall()[0]
        what = f"is {said!r}, and the others read as {form}" if said and said.strip() else "is empty"
        raise DataError(f"{where}: row {row}: its {name} {what}. Correct or drop it in the source.")
    return [Reading(form, times, is_wall=not has_zone) for form, times in whole.items()]


def _forms(text: str, where: str, name: str) -> tuple[list[str], bool]:
    """The forms that a text can have, as strptime writes them, and whether it names a zone."""
    for shape, dates, clock in SHAPES:
        if found := shape.fullmatch(text):
            parts = found.groupdict()
            mark, gap = parts.get("mark") or "", parts["gap"]
            times = f"{gap}{clock}" if gap is not None else ""
            return [date.format(mark) + times for date in dates], parts["zone"] is not None
    raise DataError(
        f"{where}: row 0: its {name} is {text!r}, which is no time that is known here. Say how it is written: "
        "--time-format, as in %Y-%m-%d %H:%M:%S."
    )


def _parts(texts: duckdb.DuckDBPyRelation, column: str, has_zone: bool) -> duckdb.DuckDBPyRelation:
    """Each row's zone, its fraction of a second, and the rest."""
    zone = f"regexp_extract(said, '({ZONE})$', 1)" if has_zone else "''"
    return (
        texts.project(f'trim("{column}") AS said')
        .project(f"said, {zone} AS zone")
        .project("zone, left(said, length(said) - length(zone)) AS rest")
        .project(r"zone, rest, regexp_extract(rest, '(:\d{2}|[T ]\d{6})([.,]\d{1,9})$', 2) AS fraction")
        .project("zone, fraction, left(rest, length(rest) - length(fraction)) AS body")
    )


def _said(texts: duckdb.DuckDBPyRelation, column: str, form: str) -> IntArray:
    """Nanoseconds of each row by a form that the caller named, for all of the text; NO_TIME where it is another."""
    quoted = form.replace("'", "''")
    found = texts.project(f"epoch_us(try_strptime(trim(\"{column}\"), '{quoted}')) * 1000 AS t").fetchnumpy()["t"]
    return np.ma.filled(np.ma.asarray(found, np.int64), NO_TIME)


def _parsed(parts: duckdb.DuckDBPyRelation, form: str, has_zone: bool) -> IntArray:
    """Nanoseconds of each row; NO_TIME where it is not of this form."""
    nanos = "CASE WHEN fraction = '' THEN 0 ELSE rpad(fraction[2:], 9, '0')::BIGINT END"
    offset = r"regexp_extract(zone, '[+-](\d{2}):?(\d{2})?$', %d)"
    hours, minutes = f"{offset % 1}::BIGINT", f"coalesce(nullif({offset % 2}, ''), '0')::BIGINT"
    seconds = f"({hours} * 3600 + {minutes} * 60) * CASE WHEN contains(zone, '-') THEN -1 ELSE 1 END"
    seconds = f"CASE WHEN {offset % 1} = '' THEN 0 ELSE {seconds} END"
    missing = "zone = '' OR " if has_zone else ""
    columns = parts.project(
        f"CASE WHEN {missing}try_strptime(body, '{form}') IS NULL THEN NULL "
        f"ELSE epoch_us(try_strptime(body, '{form}')) * 1000 + {nanos} - ({seconds}) * 1000000000 END AS t"
    ).fetchnumpy()
    return np.ma.filled(np.ma.asarray(columns["t"], np.int64), NO_TIME)
