"""A small portfolio of three venues and the events that move it, shared by the tests of book, sizes and gate."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count

from ffe.book import Book
from ffe.hours import instant
from ffe.model import (
    HOUR,
    Account,
    AccountKind,
    Answer,
    AssetClass,
    Bar,
    Bars,
    CashFlow,
    Cause,
    Currency,
    Fill,
    Filled,
    Flow,
    Found,
    Holding,
    Instrument,
    InstrumentId,
    Intent,
    Nanos,
    OrderId,
    Price,
    Purpose,
    Qty,
    Quote,
    Quotes,
    Side,
    Symbol,
    Universe,
    Venue,
)  # fmt: skip

KRAKEN, OANDA, IG = Venue("kraken"), Venue("oanda"), Venue("ig")
USD, EUR, JPY, BTC_COIN = Currency("USD"), Currency("EUR"), Currency("JPY"), Currency("BTC")
START = instant("2024-01-03T12:00")  # a Wednesday


def crypto(base: str, quote: str, lot: float) -> Instrument:
    return Instrument(
        KRAKEN, Symbol(f"{base}/{quote}"), AssetClass.CRYPTO, Currency(base), Currency(quote), "24/7", lot=lot,
        minimum_notional=5.0,
    )  # fmt: skip


def forex(base: str, quote: str, spread: float = 0.0) -> Instrument:
    return Instrument(
        OANDA, Symbol(f"{base}/{quote}"), AssetClass.FOREX, Currency(base), Currency(quote), "forex", lot=1.0,
        minimum_qty=1.0, shortable=True, spread=spread, margin_rate=0.05,
    )  # fmt: skip


BTC, ETH, BTC_EUR = crypto("BTC", "USD", 1e-6), crypto("ETH", "USD", 1e-4), crypto("BTC", "EUR", 1e-6)
EURUSD, USDJPY, EURJPY = forex("EUR", "USD"), forex("USD", "JPY", 0.02), forex("EUR", "JPY")
DAX = Instrument(
    IG, Symbol("DAX"), AssetClass.INDEX, Currency("DAX"), EUR, "XETR", lot=0.5, shortable=True, margin_rate=0.1
)
ACCOUNTS = (
    Account(KRAKEN, AccountKind.SPOT, USD),
    Account(OANDA, AccountKind.MARGIN, USD),
    Account(IG, AccountKind.MARGIN, EUR),
)
UNIVERSE = Universe((BTC, ETH, BTC_EUR, EURUSD, USDJPY, EURJPY, DAX), ACCOUNTS, USD)

# Numbers that binary fractions hold exactly, so that sums may be compared with ==.
PRICES = {
    BTC.id: 50_000.0, ETH.id: 2_500.0, BTC_EUR.id: 40_000.0, EURUSD.id: 1.25, USDJPY.id: 128.0, EURJPY.id: 160.0,
    DAX.id: 16_000.0,
}  # fmt: skip

_numbers = count(1)


def quotes(prices: Mapping[InstrumentId, Price], time: Nanos = START) -> Quotes:
    return Quotes(time, tuple(Quote(id, mid) for id, mid in prices.items()))


def bars(prices: Mapping[InstrumentId, Price], time: Nanos = START, interval: Nanos = HOUR) -> Bars:
    return Bars(time, tuple(Bar(id, interval, time - interval, time, p, p, p, p, 1.0) for id, p in prices.items()))


def fill(
    instrument: Instrument, qty: Qty, price: Price, fee: float = 0.0, currency: Currency | None = None,
    cause: Cause = Cause.ENTRY, trade: str = "", optimistic: Price | None = None,
) -> Fill:  # fmt: skip
    trade = trade or f"trade{next(_numbers)}"
    return Fill(trade, instrument.id, qty, price, fee, currency or instrument.quote, cause, optimistic)


def filled(of: Fill, order: str | None = "order", time: Nanos = START, done: bool = True) -> Filled:
    return Filled(time, UNIVERSE[of.instrument].venue, None if order is None else OrderId(order), of, done)


def deposit(venue: Venue, amount: float, currency: Currency = USD, time: Nanos = START) -> CashFlow:
    return CashFlow(time, venue, None, Flow.DEPOSIT, amount, currency)


def financing(of: Instrument, amount: float, currency: Currency = USD, time: Nanos = START) -> CashFlow:
    return CashFlow(time, of.venue, None, Flow.FINANCING, amount, currency, of.id)


def found(of: Instrument, qty: Qty, price: Price, time: Nanos = START) -> Found:
    return Found(time, of.venue, None, Holding(of.id, qty, price))


def book(*answers: Answer, prices: Mapping[InstrumentId, Price] = PRICES, time: Nanos = START) -> Book:
    """A book with every price known, to which these answers have happened."""
    new = Book(UNIVERSE, 30)
    new.observe(quotes(prices, time))
    for answer in answers:
        new.apply(answer)
    return new


def wanted(
    of: Instrument, qty: Qty, side: Side = Side.LONG, price: Price | None = None, stop: Price | None = None,
    target: Price | None = None,
) -> Intent:  # fmt: skip
    """An entry as sizing would want it."""
    price = PRICES[of.id] if price is None else price
    return Intent(Purpose.ENTRY, of.id, side, qty, price, stop, target, "risk_per_trade", None)
