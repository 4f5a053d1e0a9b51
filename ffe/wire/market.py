"""What a venue shows to everybody, in whatever language it speaks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from ffe.model import MINUTE, Instrument, InstrumentId, Nanos, Price

STALE: Nanos = 5 * MINUTE  # by the venue's own stamp: a ticker of ten hours ago has been served as one of now
WIDEST = 0.05  # of the mid, between bid and ask: the middle of an empty book is no price


class Candle(NamedTuple):
    """A bar as a venue tells it: when it ends follows from its market's hours. volume is in the venue's own units."""

    open_time: Nanos
    open: Price
    high: Price
    low: Price
    close: Price
    volume: float


class Ticker(NamedTuple):
    """The mid of an instrument; time is the venue's own stamp of it, None where it does not say."""

    instrument: InstrumentId
    mid: Price
    time: Nanos | None = None

    def is_stale(self, now: Nanos) -> bool:
        return self.time is not None and now - self.time > STALE


class Market(Protocol):
    """Every failure is one of `ffe.wire.errors`."""

    def time(self) -> Nanos:
        """What the venue's clock says."""

    def quotes(self, instruments: Sequence[Instrument]) -> list[Ticker]:
        """The mids of now."""

    def candles(self, instrument: Instrument, interval: Nanos, since: Nanos, until: Nanos) -> list[Candle]:
        """Bars that open in [since, until), oldest first: one page of them. Empty: it has none in all of that time.

        The last may be running still, unless the venue says which are complete."""
