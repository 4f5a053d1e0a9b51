"""Candles of the loopback OANDA: the bars it was given, gathered to the granularity that is asked for.

Nothing of a bar that has not closed is shown but its open. Up to an hour candles align to the epoch, beyond it to the
hour of the day in a time zone, 17:00 New York unless asked otherwise.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import groupby
from zoneinfo import ZoneInfo

from tests.venues.oanda_facts import ENUMS
from tests.venues.oanda_values import Instrument
from tests.venues.oanda_wire import SECOND, Time, Wire, read_time

UNITS = {"S": 1, "M": 60, "H": 3600}
GRANULARITIES = ENUMS["CandlestickGranularity"].split()  # weeks and months are not served
SIDES = {"M": ("mid", 0), "B": ("bid", -1), "A": ("ask", 1)}
MOST = 5000


@dataclass(frozen=True, slots=True)
class Bar:
    """Mid prices from time, in nanoseconds, to the close."""

    time: int
    close_time: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: int = 1

    def seen_at(self, now: int) -> Bar:
        return self if self.close_time <= now else Bar(self.time, self.close_time, *[self.open] * 4, 1)


def seconds_of(granularity: str) -> int:
    return 86_400 if granularity == "D" else UNITS[granularity[0]] * int(granularity[1:])


@dataclass(frozen=True, slots=True)
class Grid:
    """Where candles begin and end."""

    seconds: int
    hour: int = 17
    zone: str = "America/New_York"

    def span(self, time: int) -> tuple[int, int]:
        """The candle that covers a time: start and end in nanoseconds."""
        step = self.seconds * SECOND
        if self.seconds <= 3600:
            return time // step * step, time // step * step + step
        opened, closed = self._day(time)
        start = opened + (time - opened) // step * step if self.seconds < 86_400 else opened
        return start, min(closed, start + step) if self.seconds < 86_400 else closed

    def _day(self, time: int) -> tuple[int, int]:
        zone = ZoneInfo(self.zone)
        local = datetime.fromtimestamp(time // SECOND, UTC).astimezone(zone).replace(tzinfo=None)
        opened = local.replace(hour=self.hour, minute=0, second=0)
        opened -= timedelta(days=opened > local)
        starts = (opened + timedelta(days=each) for each in (0, 1))
        first, last = (int(start.replace(tzinfo=zone).timestamp()) * SECOND for start in starts)
        return first, last


def wrong_candles(query: Mapping[str, str], now: int) -> Iterator[str]:
    """What a request for candles gets wrong; the first counts."""
    if query.get("granularity", "S5") not in GRANULARITIES:
        yield "Invalid value specified for 'granularity'"
    if not query.get("price", "M") or set(query.get("price", "M")) - set(SIDES):
        yield "Invalid value specified for 'price'"
    for end in ("from", "to"):
        if end in query and read_time(query[end]) > now:
            yield f"Invalid value specified for '{end}'. Time is in the future"
    if {"from", "to", "count"} <= set(query):
        yield "'count' cannot be specified when 'to' and 'from' parameters are set"
    if not 0 < int(query.get("count", "500")) <= MOST:
        yield "Maximum value for 'count' exceeded"
    if int(query.get("dailyAlignment", "17")) > 23:
        yield "Invalid value specified for 'dailyAlignment'"


def asked_candles(bars: Sequence[Bar], instrument: Instrument, query: Mapping[str, str], now: int) -> list[Wire]:
    """So many from a time on, or up to one; at most one more than may be sent where both ends are given."""
    seconds, zone = seconds_of(query.get("granularity", "S5")), query.get("alignmentTimezone", "America/New_York")
    grid = Grid(seconds, int(query.get("dailyAlignment", "17")), zone)
    count = MOST + 1 if {"from", "to"} <= set(query) else int(query.get("count", "500"))
    stop = bisect_left(bars, grid.span(read_time(query["to"]) - 1)[1] if "to" in query else now, key=opened)
    width = max(1, seconds * SECOND // (bars[0].close_time - bars[0].time)) if bars else 1
    if "from" in query:
        covering = grid.span(read_time(query["from"]))
        first = bisect_left(bars, covering[query.get("includeFirst") == "false"], key=opened)
        return _gathered(bars[first : min(stop, first + (count + 1) * width)], grid, instrument, query, now)[:count]
    first = max(0, stop - (count + 1) * width)
    return _gathered(bars[first:stop], grid, instrument, query, now)[-count:]


def opened(bar: Bar) -> int:
    return bar.time


def _gathered(
    bars: Sequence[Bar], grid: Grid, instrument: Instrument, query: Mapping[str, str], now: int
) -> list[Wire]:
    seen = [bar.seen_at(now) for bar in bars if bar.time < now]
    spans = groupby(seen, key=lambda bar: grid.span(bar.time))
    return [_candle(list(group), span, instrument, query.get("price", "M"), now) for span, group in spans]


def _candle(bars: list[Bar], span: tuple[int, int], instrument: Instrument, price: str, now: int) -> Wire:
    shifts = {SIDES[side][0]: SIDES[side][1] * instrument.half_spread for side in price}
    prices = {
        name: _ohlc(bars, lambda mid, shift=shift: instrument.price(mid + shift)) for name, shift in shifts.items()
    }
    return {"time": Time(span[0]), "volume": sum(bar.volume for bar in bars), "complete": span[1] <= now, **prices}


def _ohlc(bars: list[Bar], at: Callable[[Decimal], Decimal]) -> Wire:
    high, low = max(bar.high for bar in bars), min(bar.low for bar in bars)
    return {"o": at(bars[0].open), "h": at(high), "l": at(low), "c": at(bars[-1].close)}
