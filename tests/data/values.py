"""Instruments and small series that the tests of bars share."""

from __future__ import annotations

import numpy as np

from ffe.data.barset import Series
from ffe.hours import Hours, instant
from ffe.model import HOUR, AssetClass, Currency, Instrument, Nanos, Symbol, Venue


def instrument(symbol: str, kind: AssetClass, hours: str, venue: str) -> Instrument:
    base, _, quote = symbol.partition("/")
    return Instrument(Venue(venue), Symbol(symbol), kind, Currency(base), Currency(quote or "USD"), hours)


BTC = instrument("BTC/USD", AssetClass.CRYPTO, "24/7", "kraken")
BTC_ELSEWHERE = instrument("BTC/USD", AssetClass.CRYPTO, "24/7", "coinbase")
ETH = instrument("ETH/USD", AssetClass.CRYPTO, "24/7", "kraken")
EUR = instrument("EUR/USD", AssetClass.FOREX, "forex", "oanda")
AAPL = instrument("AAPL", AssetClass.STOCK, "XNYS", "nyse")
SONY = instrument("6758", AssetClass.STOCK, "XTKS", "tse")

NEW_YEAR = instant("2024-01-01")


def series(of: Instrument, start: str, bars: int, interval: Nanos = HOUR, price: float = 100.0) -> Series:
    """Bars without a gap by the clock: open and close within low and high, each close a little higher."""
    opens = instant(start) + interval * np.arange(bars)
    close = price + np.arange(bars)
    hours = Hours.of(of.hours, int(opens[0]), int(opens[-1]))
    return Series.from_arrays(of, interval, hours, opens, close - 0.5, close + 1, close - 1, close, np.full(bars, 7.0))
