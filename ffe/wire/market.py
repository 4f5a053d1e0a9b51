"""What a venue shows to everybody, in whatever language it speaks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from ffe.model import Instrument, Nanos, Price, Quote


class Candle(NamedTuple):
    """A bar as a venue tells it: when it ends follows from its market's hours. volume is in the venue's own units."""

    open_time: Nanos
    open: Price
    high: Price
    low: Price
    close: Price
    volume: float


class Market(Protocol):
    """Every failure is one of `ffe.wire.errors`."""

    def time(self) -> Nanos:
        """What the venue's clock says."""

    def quotes(self, instruments: Sequence[Instrument]) -> list[Quote]:
        """The mids of now."""

    def candles(self, instrument: Instrument, interval: Nanos, since: Nanos, until: Nanos) -> list[Candle]:
        """Bars that open in [since, until), oldest first: one page of them. Empty: it has none in all of that time.

        The last may be running still, unless the venue says which are complete."""
