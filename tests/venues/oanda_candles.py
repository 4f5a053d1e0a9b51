"""Candles of the loopback OANDA: the bars it was given, gathered to the granularity that is asked for.

Nothing of a bar that has not closed is shown but its open. Up to an hour candles align to the epoch, beyond it to the
hour of the day in a time zone, 17:00 New York unless asked otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import groupby
from zoneinfo import ZoneInfo

from tests.venues.oanda_account import Instrument
from tests.venues.oanda_wire import SECOND, Time, Wire

UNITS = {"S": 1, "M": 60, "H": 3600}


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
    """Up to a day; weeks and months are not served."""
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


def candles(bars: Sequence[Bar], grid: Grid, instrument: Instrument, price: str, now: int) -> list[Wire]:
    """All that have begun; price is any of M, B and A."""
    seen = [bar.seen_at(now) for bar in bars if bar.time < now]
    spans = groupby(seen, key=lambda bar: grid.span(bar.time))
    return [_candle(list(group), span, instrument, price, now) for span, group in spans]


def _candle(bars: list[Bar], span: tuple[int, int], instrument: Instrument, price: str, now: int) -> Wire:
    sides = {"M": ("mid", 0), "B": ("bid", -1), "A": ("ask", 1)}
    named = {
        name: _ohlc(bars, lambda p, s=sign: instrument.price(p + s * instrument.half_spread))
        for name, sign in map(sides.get, price)
    }
    volume = sum(bar.volume for bar in bars)
    return {"time": Time(span[0]), "volume": volume, "complete": span[1] <= now, **named}


def _ohlc(bars: Iterable[Bar], at: Callable[[Decimal], Decimal]) -> Wire:
    bars = list(bars)
    high, low = max(bar.high for bar in bars), min(bar.low for bar in bars)
    return {"o": at(bars[0].open), "h": at(high), "l": at(low), "c": at(bars[-1].close)}
