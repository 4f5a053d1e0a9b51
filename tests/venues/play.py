"""Makes a loopback Binance trade at what a replay shows: opens as they are, bars from their low over their high.

Inside a bar nothing gaps: on its way a price trades at every stop that rests there.
"""

from __future__ import annotations

from ffe.model import Bars, InstrumentId, Price, Quotes
from tests.venues.binance import Binance


def play(venue: Binance, market: Quotes | Bars) -> None:
    if isinstance(market, Quotes):
        for quote in market.quotes:
            venue.price(symbol_of(quote.instrument), quote.mid)
        return
    for bar in market.bars:
        for there in (bar.low, bar.high, bar.close):
            walk(venue, symbol_of(bar.instrument), there)


def walk(venue: Binance, symbol: str, there: Price) -> None:
    here = float(venue.account.mids.get(symbol, there))
    stops = {float(order.stop) for order in venue.open_orders(symbol) if order.stop}
    for stop in sorted(stops, reverse=there < here):
        if min(here, there) <= stop <= max(here, there):
            venue.price(symbol, stop)
    venue.price(symbol, there)


def symbol_of(instrument: InstrumentId) -> str:
    return instrument.partition(":")[2].replace("/", "")
