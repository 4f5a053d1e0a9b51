"""Makes a loopback venue trade at what a replay shows: opens as they are, then towards what hurts the holder first.

Between bars prices gap, inside one they do not: on its way a price trades at every stop and target that rests there.
"""

from __future__ import annotations

from ffe.model import Bars, InstrumentId, Price, Quotes
from tests.venues.oanda import Oanda
from tests.venues.venue import Venue


def play(venue: Venue, market: Quotes | Bars) -> None:
    if isinstance(market, Quotes):
        for quote in market.quotes:
            venue.price(symbol_of(quote.instrument, venue.SEPARATOR), quote.mid)
        return
    for bar in market.bars:
        symbol = symbol_of(bar.instrument, venue.SEPARATOR)
        venue.price(symbol, bar.open)
        for there in (bar.low, bar.high, bar.close):
            walk(venue, symbol, there)


def walk(venue: Venue, symbol: str, there: Price) -> None:
    here = float(venue.account.mids.get(symbol, there))
    stops = {float(order.stop) for order in venue.open_orders(symbol) if order.stop}
    for stop in sorted(stops, reverse=there < here):
        if min(here, there) <= stop <= max(here, there):
            venue.price(symbol, stop)
    venue.price(symbol, there)


def play_oanda(venue: Oanda, market: Quotes | Bars) -> None:
    if isinstance(market, Quotes):
        for quote in market.quotes:
            venue.mid(pair_of(quote.instrument), str(round(quote.mid, 5)))
        return
    for bar in market.bars:
        pair = pair_of(bar.instrument)
        venue.mid(pair, str(round(bar.open, 5)))
        ends = (bar.low, bar.high) if venue.held(pair) >= 0 else (bar.high, bar.low)
        for there in (*ends, bar.close):
            walk_oanda(venue, pair, round(there, 5))


def walk_oanda(venue: Oanda, pair: str, there: Price) -> None:
    quotes = venue._account.quotes
    here = float(quotes[pair].mid) if pair in quotes else there
    resting = [order.wire() for order in venue.orders.values() if order.state == "PENDING" and order.instrument == pair]
    for level in sorted({float(order["price"]) for order in resting if "price" in order}, reverse=there < here):
        if min(here, there) < level < max(here, there):
            venue.mid(pair, str(level))
    venue.mid(pair, str(there))


def pair_of(instrument: InstrumentId) -> str:
    return instrument.partition(":")[2].replace("/", "_")


def symbol_of(instrument: InstrumentId, separator: str = "") -> str:
    return instrument.partition(":")[2].replace("/", separator)
