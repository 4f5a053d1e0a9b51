"""When an instrument trades, when its bars end, and how times are written down.

Sessions are half-open, [open, close). A name decides all: "24/7" never closes; "forex" trades from Sunday 17:00 to
Friday 17:00 New York, in days that end at 17:00, without the days that end on 25 December and 1 January; any other
name is an exchange's MIC ("XNYS") with its holidays, early closes, breaks and changes of clock. Hours are built for the
years a caller names and one more on each side; asked about any other time they raise, because unknown is not closed.
"""

from __future__ import annotations

import warnings
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from ffe.errors import ConfigError
from ffe.model import DAY, HOUR, MINUTE, SECOND, Nanos

IntArray = NDArray[np.int64]

ALWAYS = "24/7"
FOREX = "forex"
FOREX_HOLIDAYS = ((12, 25), (1, 1))
FOREX_THIN = 5 * MINUTE  # on each side of 17:00 New York, when banks roll over and spreads widen
NEW_YORK = ZoneInfo("America/New_York")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
YEARS = 1678, 2261  # the whole years that int64 nanoseconds hold
LONGEST = 366 * DAY  # of a bar
UNITS = (("d", DAY), ("h", HOUR), ("m", MINUTE), ("s", SECOND), ("ns", 1))


# ---------------------------------------------------------------- times in words


def instant(said: str | date | np.datetime64) -> Nanos:
    """Nanoseconds of an ISO date or time, or of one of Python, numpy or pandas; UTC unless it names its offset."""
    text = said.isoformat() if isinstance(said, date) else str(said)
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"{text!r} is no time: write it as 2024-03-29 or 2024-03-29T21:00.") from None
    if not YEARS[0] <= when.year <= YEARS[1]:
        raise ConfigError(f"{text!r} lies outside the years {YEARS[0]} – {YEARS[1]}: name a time within them.")
    return _nanos(when if when.tzinfo else when.replace(tzinfo=UTC))


def stamp(t: Nanos) -> str:
    """A time as people read it: 2024-03-29 21:00, UTC."""
    return str(np.datetime64(t, "ns").astype("M8[s]" if t % MINUTE else "M8[m]")).replace("T", " ")


def spelt(interval: Nanos) -> str:
    """An interval as people write it: 1h, 30m, 1d."""
    unit, size = next((unit, size) for unit, size in UNITS if interval % size == 0)
    return f"{interval // size}{unit}"


def interval_of(text: str) -> Nanos:
    """The interval that people write as 1h, 30m or 1d."""
    text = str(text)
    unit = next((unit for unit, _ in UNITS if text.endswith(unit)), "")
    count = text.removesuffix(unit)
    if not unit or not count.isdecimal() or not 1 <= int(count) * dict(UNITS)[unit] <= LONGEST:
        raise ConfigError(f"{text!r} is no interval: write it as 15m, 1h or 1d, at most {spelt(LONGEST)}.")
    return int(count) * dict(UNITS)[unit]


def _nanos(when: datetime) -> Nanos:
    return (when - EPOCH) // timedelta(microseconds=1) * 1000


# ---------------------------------------------------------------- hours


@dataclass(frozen=True, slots=True, eq=False)
class Hours:
    """The sessions of one calendar within [start, end): arrays of int64 nanoseconds, sorted and read-only.

    days are what a daily bar spans (a forex week is one session of five days); they are empty where days are UTC's.
    thin holds the edges of thin times, in and out by turns.
    """

    name: str
    start: Nanos
    end: Nanos
    opens: IntArray
    closes: IntArray
    day_opens: IntArray
    day_closes: IntArray
    thin: IntArray
    zone: str = "UTC"  # whose midnight begins a date, and in which vendors write times without a zone
    _edges: list[int] = field(init=False, repr=False)  # lists: bisect is five times faster on them than on arrays
    _thin_edges: list[int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        for array in (self.opens, self.closes, self.day_opens, self.day_closes, self.thin):
            array.flags.writeable = False
        object.__setattr__(self, "_edges", _interleaved(self.opens, self.closes).tolist())
        object.__setattr__(self, "_thin_edges", self.thin.tolist())

    @staticmethod
    def of(name: str, start: Nanos, end: Nanos) -> Hours:
        """The hours of that name for the years of [start, end] and one more on each side."""
        first, last = _year(start) - 1, _year(end) + 1
        if first < YEARS[0] or last >= YEARS[1]:  # they end with the first instant of the year after
            raise ConfigError(f"Hours of {name} are not known for {first + 1} – {last - 1}. Ask for other years.")
        match name:
            case "24/7":
                return _always(first, last)
            case "forex":
                return _forex(first, last)
            case _:
                return _exchange(name, first, last)

    def is_open(self, t: Nanos) -> bool:
        return bisect_right(self._edges, self._known(t)) % 2 == 1

    def is_thin(self, t: Nanos) -> bool:
        """A time of little liquidity: crypto's weekend, forex around 17:00 New York, stocks outside regular hours."""
        return bisect_right(self._thin_edges, self._known(t)) % 2 == 1

    def session_at(self, t: Nanos) -> tuple[Nanos, Nanos] | None:
        """Open and close of the session that holds t; None where the market is closed."""
        n = bisect_right(self._edges, self._known(t))
        return (self._edges[n - 1], self._edges[n]) if n % 2 else None

    def trading(self, start: Nanos, end: Nanos, interval: Nanos) -> Iterator[tuple[Nanos, Nanos]]:
        """The parts of [start, end) in which bars of this interval lie: of sessions, or whole days for a daily one."""
        daily = self.is_daily(interval)
        opens, closes = (self.day_opens, self.day_closes) if daily else (self.opens, self.closes)
        some = slice(np.searchsorted(closes, start, side="right"), np.searchsorted(opens, end))
        for opened, closed in zip(opens[some].tolist(), closes[some].tolist(), strict=True):
            if not daily:
                yield max(start, opened), min(end, closed)
            elif start <= opened and closed <= end:
                yield opened, closed

    def bar_close(self, open_time: IntArray, interval: Nanos) -> IntArray:
        """When the bars that open at these times end, and so are known.

        Under a day: open + interval, cut at the session's close. A day or longer: the close of the last day that the
        bar holds. Where days are UTC's: open + interval.
        """
        if not len(open_time):
            return open_time
        self._known(int(open_time.min())), self._known(int(open_time.max()))
        if self.is_daily(interval):
            return self._last_day_close(open_time, interval)
        n = np.searchsorted(self.opens, open_time, side="right") - 1
        close = self.closes[n]
        return np.where((n >= 0) & (open_time < close), np.minimum(open_time + interval, close), open_time + interval)

    def closes_around(self, t: Nanos, interval: Nanos) -> tuple[Nanos, Nanos]:
        """When the newest bar ended by t, and when the next one will: bars are counted from each session's open, or
        from 1970 where none closes."""
        ends = self.day_closes if self.is_daily(interval) else self.closes
        n = int(np.searchsorted(ends, self._known(t), side="right"))
        if not 0 < n < len(ends) and self.name != ALWAYS:
            raise self._unknown(t)
        if self.is_daily(interval):
            return int(ends[n - 1]), int(ends[n])
        opened, closed = (0, self.end) if self.name == ALWAYS else (int(self.opens[n]), int(ends[n]))
        ended = (t - opened) // interval
        last = opened + ended * interval if ended > 0 else int(ends[n - 1])
        return last, min(max(last, opened) + interval, closed)

    def is_daily(self, interval: Nanos) -> bool:
        """Whether bars of this interval span days of this calendar, not a length of time."""
        return interval >= DAY and len(self.day_opens) > 0

    @property
    def day_end(self) -> str:
        """When a day ends, in words."""
        ends = {ALWAYS: "00:00 UTC", FOREX: "17:00 New York"}
        return ends.get(self.name, f"with the session of {self.name}")

    def _last_day_close(self, open_time: IntArray, interval: Nanos) -> IntArray:
        # An hour more than the interval: the day on which clocks go back has 25.
        within = np.searchsorted(self.day_closes, open_time + (interval + HOUR), side="right") - 1
        following = np.searchsorted(self.day_closes, open_time, side="right")
        return self.day_closes[np.maximum(within, following)]

    def _known(self, t: Nanos) -> Nanos:
        if self.start <= t < self.end:
            return t
        raise self._unknown(t)

    def _unknown(self, t: Nanos) -> ConfigError:
        known = f"known from {stamp(self.start)} to {stamp(self.end)}"
        return ConfigError(f"The hours of {self.name} are {known}, not at {stamp(t)}. Build them for these years.")


def new_york_close_times(start: Nanos, end: Nanos) -> tuple[IntArray, NDArray[np.bool_]]:
    """Each 17:00 New York from Monday to Friday within [start, end), and which of them are Wednesdays'."""
    days = [day for day in _dates(_year(start) - 1, _year(end) + 1) if day.weekday() < 5]
    times = _seventeen(days)
    within = (start <= times) & (times < end)
    return times[within], np.array([day.weekday() == 2 for day in days])[within]


# ---------------------------------------------------------------- the three kinds


def _always(first: int, last: int) -> Hours:
    start, end = _span(first, last)
    since_saturday = (start // DAY - 2) % 7 * DAY  # the epoch was a Thursday
    saturdays = np.arange(start - since_saturday, end, 7 * DAY)
    none, weekends = np.empty(0, np.int64), _interleaved(saturdays, saturdays + 2 * DAY)
    return Hours(ALWAYS, start, end, np.array([start]), np.array([end]), none, none, weekends)


def _forex(first: int, last: int) -> Hours:
    days = [d for d in _dates(first, last) if d.weekday() < 5 and (d.month, d.day) not in FOREX_HOLIDAYS]
    opens, closes = _seventeen(day - timedelta(days=1) for day in days), _seventeen(days)
    apart = opens[1:] != closes[:-1]  # days that touch are one session
    rolls = np.unique([opens, closes])
    return Hours(
        FOREX,
        *_span(first, last),
        opens=opens[np.r_[True, apart]],
        closes=closes[np.r_[apart, True]],
        day_opens=opens,
        day_closes=closes,
        thin=_interleaved(rolls - FOREX_THIN, rolls + FOREX_THIN),
        zone=NEW_YORK.key,
    )


def _exchange(name: str, first: int, last: int) -> Hours:
    import exchange_calendars

    start, end = _span(first, last)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # its own use of pandas, which no caller can mend
            calendar = exchange_calendars.get_calendar(name, start=f"{first}-01-01", end=f"{last}-12-31")
    except exchange_calendars.errors.InvalidCalendarName:
        raise ConfigError(f"No hours are named {name!r}. Use 24/7, forex or an exchange's MIC, such as XNYS.") from None
    except ValueError as error:  # years before or after what its authors recorded
        raise ConfigError(f"Hours of {name} for {first} – {last}: {error} Ask for other years.") from None
    day_opens, day_closes = calendar.opens_nanos.copy(), calendar.closes_nanos.copy()
    breaks = calendar.break_starts_nanos > 0  # NaT is the least int64
    opens = np.sort(np.r_[day_opens, calendar.break_ends_nanos[breaks]])
    closes = np.sort(np.r_[day_closes, calendar.break_starts_nanos[breaks]])
    thin = np.r_[start, _interleaved(opens, closes), end]
    return Hours(name, start, end, opens, closes, day_opens, day_closes, thin, str(calendar.tz))


def _interleaved(opens: IntArray, closes: IntArray) -> IntArray:
    return np.column_stack((opens, closes)).ravel()


def _seventeen(days: Iterable[date]) -> IntArray:
    """17:00 New York of each day."""
    return np.array([_nanos(datetime.combine(day, time(17), NEW_YORK)) for day in days], np.int64)


def _dates(first: int, last: int) -> list[date]:
    return [date(first, 1, 1) + timedelta(days=n) for n in range((date(last + 1, 1, 1) - date(first, 1, 1)).days)]


def _span(first: int, last: int) -> tuple[Nanos, Nanos]:
    return _nanos(datetime(first, 1, 1, tzinfo=UTC)), _nanos(datetime(last + 1, 1, 1, tzinfo=UTC))


def _year(t: Nanos) -> int:
    return (EPOCH + timedelta(microseconds=t // 1000)).year
