"""What bars cannot be true, and what is missing of them.

Impossible bars are refused with the row (counted from 0), its time and the reason, never repaired: a repaired bar is an
invention. What can be true but may surprise (rows outside the session, gaps) is counted and left.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ffe.data.barset import FIELDS, Series
from ffe.errors import BadBars, DataError
from ffe.hours import Hours, IntArray, spelt, stamp
from ffe.model import AssetClass, Nanos

Rows = NDArray[np.bool_]

LEAST_SPLIT, NEAR_SPLIT = 1.4, 0.04  # how far an open must be from the close before, and how near to a ratio, as logs
RATIOS = ((3, 2), *((n, 1) for n in range(2, 51)), (2, 3), *((1, n) for n in range(2, 51)))
FEW_ROWS = 3
ENOUGH_ROWS = 20  # with as many bars, two neighbours are one interval apart, or the interval is another


@dataclass(frozen=True, slots=True)
class Gap:
    """Bars that are missing while the market was open: those that would open within [start, end)."""

    start: Nanos
    end: Nanos
    bars: int


def checked(series: Series, hours: Hours | None = None) -> Series:
    """The same series, or BadBars naming the first row that cannot be true, and why."""
    for reason, bad in _faults(series):
        _refuse(series, bad, reason)
    if len(series):
        for reason, bad in _misplaced(series, hours or series.hours()):
            _refuse(series, bad, reason)
    return series


def of_its_interval(series: Series) -> Series:
    """The same series, or BadBars where three rows or more of a source are all further apart than the interval that
    its reader named. A venue says itself which interval its candles are of, and may have few."""
    if len(series) >= FEW_ROWS:
        _refuse(series, _all_wider(series), _another(series.interval))
    return series


def _all_wider(series: Series) -> Rows:
    """Declared too fine, each bar would be known before its end: the strategy would see the future."""
    return np.arange(len(series)) < int(int(np.diff(series.open_time).min()) > 1.5 * series.interval)


def _another(interval: Nanos) -> str:
    return f"no two rows are {spelt(interval)} apart: it is another interval"


def outside(series: Series, hours: Hours | None = None) -> int:
    """How many bars open while the market is closed: a vendor's pre-market, or another calendar."""
    return int(np.count_nonzero(~in_session(series.open_time, hours or series.hours()))) if len(series) else 0


def gaps(series: Series, hours: Hours | None = None) -> tuple[Gap, ...]:
    """The bars missing inside sessions between the first bar and the last, as ranges."""
    if len(series) < 2:
        return ()
    return tuple(_missing(series, hours or series.hours()))


def ended(series: Series, now: Nanos) -> Series:
    """The same series, or BadBars: a bar that ends after now is not finished."""
    late = np.flatnonzero(series.close_time > now)
    if len(late):
        row = int(late[0])
        what = f"row {row} at {stamp(int(series.open_time[row]))} ends at {stamp(int(series.close_time[row]))}"
        raise BadBars(f"{series.name}: {what}, which is not yet: it is not finished. Drop it, and load again.")
    return series


@dataclass(frozen=True, slots=True)
class Split:
    """An open that is far from the close before by a small whole ratio: new shares for one old, or the reverse."""

    time: Nanos
    new: int
    old: int

    @property
    def ratio(self) -> float:
        return self.new / self.old

    def __str__(self) -> str:
        return f"{self.new}:{self.old} at {stamp(self.time)}"


def splits(series: Series) -> tuple[Split, ...]:
    """What looks like a split in bars that were not adjusted for it."""
    if len(series) < 2 or series.instrument.asset_class not in (AssetClass.STOCK, AssetClass.INDEX):
        return ()
    jump = series.close[:-1] / series.open[1:]
    found = []
    for row in np.flatnonzero(np.abs(np.log(jump)) > math.log(LEAST_SPLIT)):
        new, old = min(RATIOS, key=lambda pair: abs(math.log(jump[row] * pair[1] / pair[0])))
        if abs(math.log(jump[row] * old / new)) < NEAR_SPLIT:
            found.append(Split(int(series.open_time[row + 1]), new, old))
    return tuple(found)


def adjusted(series: Series, split: Split) -> Series:
    """What came before a split as if its new shares had been the old: prices divided, volumes multiplied. DataError
    where the prices of that day do not speak of it: adjusted twice, they would be wrong and look right."""
    row = int(np.searchsorted(series.open_time, split.time))
    if not 0 < row < len(series):
        raise DataError(
            f"{series.name}: bars on one side only of {stamp(split.time)}. Name the day on which the new shares traded "
            "first."
        )
    jump = math.log(series.close[row - 1] / series.open[row])
    if abs(jump - math.log(split.ratio)) >= abs(jump):
        raise DataError(
            f"{series.name}: from {series.close[row - 1]:g} to {series.open[row]:g} at {stamp(split.time)} is no split "
            f"of {split.new}:{split.old}. Was it adjusted already?"
        )
    before = series.at(slice(0, row))
    prices = {name: getattr(before, name) / split.ratio for name in FIELDS[:4]}
    return replace(before, volume=before.volume * split.ratio, **prices)


# ---------------------------------------------------------------- rows that cannot be true


def _faults(s: Series) -> Iterator[tuple[str, Rows]]:
    """Reasons, a row's numbers in braces, with the rows they hold for; cheap and independent of any calendar."""
    for name in FIELDS:
        yield f"{name} is {{{name}}}, not a number", ~np.isfinite(getattr(s, name))
    for name in FIELDS[:4]:
        yield f"{name} {{{name}}} is not above zero", getattr(s, name) <= 0
    yield "volume {volume} is negative", s.volume < 0
    yield "high {high} is under low {low}", s.high < s.low
    for name in ("open", "close"):
        price = getattr(s, name)
        yield f"{name} {{{name}}} lies outside low {{low}} – high {{high}}", (price < s.low) | (price > s.high)
    step = np.diff(s.open_time, prepend=s.open_time[:1] - 1)
    yield "the same time as the row before", step == 0
    yield "earlier than the row before", step < 0


def _misplaced(s: Series, hours: Hours) -> Iterator[tuple[str, Rows]]:
    interval = spelt(s.interval)
    if hours.is_daily(s.interval):
        yield f"no day of {hours.name} holds it", ~in_session(s.open_time, hours)
    else:
        yield f"not on the grid of {interval} that most rows keep: two intervals are mixed", ~_on_grid(s, hours)
    yield "it ends before it opens", s.close_time <= s.open_time
    yield "it ends no later than the row before", np.diff(s.close_time, prepend=s.close_time[:1] - 1) <= 0
    yield f"it does not end where a bar of {interval} does", s.close_time != hours.bar_close(s.open_time, s.interval)
    if len(s) >= ENOUGH_ROWS:
        yield _another(s.interval), _all_wider(s)


def _refuse(s: Series, bad: Rows, reason: str) -> None:
    rows = np.flatnonzero(bad)
    if not len(rows):
        return
    row = int(rows[0])
    values = {name: float(getattr(s, name)[row]) for name in FIELDS}
    more = f" ({len(rows) - 1} more like it)" if len(rows) > 1 else ""
    what = f"row {row} at {stamp(int(s.open_time[row]))}: {reason.format(**values)}{more}"
    raise BadBars(f"{s.name}: {what}. Correct or drop it in the source, and load again.")


def in_session(times: IntArray, hours: Hours) -> Rows:
    """At which of these times the market is open."""
    n = np.searchsorted(hours.opens, times, side="right") - 1
    return (n >= 0) & (times < hours.closes[n])


def _on_grid(s: Series, hours: Hours) -> Rows:
    """Bars are counted from the session's open (14:30, 15:30, …) or by the clock, where the first may be shorter."""
    last_open = hours.opens[np.maximum(np.searchsorted(hours.opens, s.open_time, side="right") - 1, 0)]
    by_session = (s.open_time - last_open) % s.interval == 0
    phase, count = np.unique(s.open_time % s.interval, return_counts=True)
    by_clock = (s.open_time % s.interval == phase[count.argmax()]) | (s.open_time == last_open)
    return max(by_session, by_clock, key=np.count_nonzero)


# ---------------------------------------------------------------- bars that are missing


def _missing(s: Series, hours: Hours) -> Iterator[Gap]:
    for row in np.flatnonzero(s.open_time[1:] > s.close_time[:-1]):
        for start, end in hours.trading(int(s.close_time[row]), int(s.open_time[row + 1]), s.interval):
            yield Gap(start, end, -((start - end) // s.interval))
