"""ccxt's client of one exchange: its errors made ours, and what it says of markets, prices and the past."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import ccxt

from ffe.model import (
    DAY,
    SECOND,
    AssetClass,
    Currency,
    Fault,
    Instrument,
    Nanos,
    Price,
    Symbol,
    Venue,
)  # fmt: skip
from ffe.wire.errors import Busy, Denied, NotThere, Unclear, Unproven, wait_of, without
from ffe.wire.exchanges import MILLI, SPENT, Budget, NotSeen, Reply, exchange_of
from ffe.wire.market import WIDEST, Candle, Ticker

T = TypeVar("T")
LONGEST: Nanos = 7 * DAY  # of bars that are so long at every exchange: months are not, and some fortnights are not
WINDOW = 100  # bars that an exchange shows at once, where ccxt does not know how many


class Skewed(Exception):
    """The venue refused a request, unread, because our clock or its own is off."""


class Short(Denied):
    """The account does not hold what the order needs."""


def instruments(
    client: ccxt.Exchange, venue: Venue, symbols: list[str], fee_in_base: bool = True
) -> tuple[Instrument, ...]:
    """What the venue says of these markets: tick, lot, minimum and fee. A symbol that it does not list, or that has no
    tick or lot, raises Denied."""
    markets: Mapping[str, Any] = ask(client.load_markets)
    if unknown := [symbol for symbol in symbols if symbol not in markets]:
        raise Denied(f"{client.id} lists no {', '.join(unknown)}")
    return tuple(ask(_instrument, client, venue, markets[symbol], fee_in_base) for symbol in symbols)


def _instrument(client: ccxt.Exchange, venue: Venue, market: Mapping[str, Any], fee_in_base: bool) -> Instrument:
    limits = market["limits"]
    return Instrument(
        venue,
        Symbol(market["symbol"]),
        AssetClass.CRYPTO,
        Currency(market["base"]),
        Currency(market["quote"]),
        "24/7",
        tick=step_of(client, market, "price"),
        lot=step_of(client, market, "amount"),
        minimum_qty=limits["amount"]["min"] or 0.0,
        minimum_notional=limits["cost"]["min"] or 0.0,
        fee=market["taker"] or 0.0,
        fee_in_base=fee_in_base,
        fee_step=step_of(client, market, "quote") if market["precision"].get("quote") else 0.0,
        maximum_qty=min(most) if (most := [m for m in _maxima(limits) if m]) else 0.0,
    )


def step_of(client: ccxt.Exchange, market: Mapping[str, Any], name: str) -> float:
    """The grid of a market's prices ("price"), quantities ("amount") or money ("quote"), however ccxt counts it.

    Significant digits are no grid: the 5 of bitfinex was read as a tick of 5, and every stop was rounded to 0.
    """
    precision = market["precision"].get(name)
    if client.precisionMode == ccxt.SIGNIFICANT_DIGITS:
        raise Denied(
            f"{client.id} counts the {name} of {market['symbol']} in significant digits ({precision}), and a stop "
            "needs a tick to lie on"
        )
    if precision is not None and client.precisionMode == ccxt.DECIMAL_PLACES:
        precision = float(f"1e{-int(precision)}")
    if precision is None or not 0.0 < precision < math.inf:
        raise Denied(f"{client.id} names no step of the {name} of {market['symbol']}")
    return float(precision)


def _maxima(limits: Mapping[str, Any]) -> list[float | None]:
    """Of any order, and of one at market: what was bought must be sold, and stopped, in one piece."""
    return [(limits.get(kind) or {}).get("max") for kind in ("amount", "market")]


# ccxt reads bodies without checking them: one of another shape fails anywhere in its parsers.
UNCHECKED = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


def ask(call: Callable[..., T], *arguments: object) -> T:
    """One request; what ccxt raises becomes ours. What follows from a class was measured, venue by venue."""
    try:
        return _asked(call, *arguments)
    except ccxt.OrderNotFound as error:
        raise NotThere(str(error)) from error
    except ccxt.AuthenticationError as error:
        raise Denied(str(error), is_locked_out=True) from error
    except (ccxt.RateLimitExceeded, ccxt.DDoSProtection) as error:
        # A key that was revoked after its first success comes in this class too.
        if "-2015" in str(error):
            raise Denied(str(error), is_locked_out=True) from error
        raise Busy(str(error)) from error
    except ccxt.InvalidNonce as error:
        raise Skewed(str(error)) from error
    except NotSeen as error:
        raise Unproven(Fault.TIMEOUT, str(error)) from error
    except ccxt.RequestTimeout as error:
        raise Unclear(Fault.TIMEOUT, str(error)) from error
    except ccxt.ExchangeNotAvailable as error:
        raise Unclear(Fault.SERVER_ERROR, str(error)) from error
    except ccxt.BadResponse as error:
        raise Unclear(Fault.UNREADABLE, str(error)) from error
    except RecursionError as error:
        raise Unclear(Fault.UNREADABLE, "an answer that is nested too deeply") from error
    except ccxt.NetworkError as error:
        raise Unclear(Fault.DISCONNECTED, str(error)) from error
    except ccxt.InsufficientFunds as error:
        raise Short(str(error)) from error
    except (ccxt.InvalidOrder, ccxt.BadRequest, ccxt.OperationRejected) as error:
        raise Denied(str(error)) from error
    except ccxt.BaseError as error:  # of no class that says more: it may have been booked
        raise Unclear(Fault.SERVER_ERROR, str(error)) from error
    except UNCHECKED as error:
        raise Unclear(Fault.UNREADABLE, repr(error)) from error


def _asked(call: Callable[..., T], *arguments: object) -> T:
    """Errors of ccxt carry the whole body of an answer: our keys are taken out of it, and the exchange says what it
    means."""
    try:
        return call(*arguments)
    except (ccxt.BaseError, *UNCHECKED) as error:
        owner = getattr(call, "__self__", None)
        for client in (owner, getattr(owner, "client", None), *arguments):
            if isinstance(client, ccxt.Exchange):
                keys = client.apiKey, client.secret, client.password
                error.args = tuple(without(one, keys) if isinstance(one, str) else one for one in error.args)
                if isinstance(error, ccxt.BaseError):
                    raise exchange_of(client).meaning(client, error) from None
        raise


def ask_in_time(client: ccxt.Exchange, call: Callable[..., T], *arguments: object) -> T:
    """One request; one that was refused unread for the clock's sake is sent again, once, by the venue's clock."""
    try:
        try:
            return ask(call, *arguments)
        except Skewed:
            ask(exchange_of(client).set_clock, client)
            return ask(call, *arguments)
    except Skewed as error:
        raise Denied(f"the clocks differ: {error}") from error
    except Busy as error:
        raise told_wait(client, error) from error


def told_wait(client: ccxt.Exchange, error: Busy) -> Busy:
    """The same with how long the venue wants to be left alone, which ccxt keeps to itself."""
    return Busy(error.reason, wait_of((client.last_response_headers or {}).get("Retry-After")))


class CcxtMarket:
    """What one exchange shows to everybody: prices, complete bars, and its clock.

    Once this share of the venue's request budget is used, half unless said, questions wait until the venue counts anew:
    the rest is for orders.
    """

    def __init__(self, client: ccxt.Exchange, spent: float = SPENT) -> None:
        self.client, self.exchange, self._budget = client, exchange_of(client), Budget(client, spent)
        lengths = {client.parse_timeframe(name) * SECOND: name for name in client.timeframes or {}}
        self._frames = {length: name for length, name in lengths.items() if length <= LONGEST}

    @property
    def intervals(self) -> frozenset[Nanos]:
        """The lengths of bars that it shows."""
        return frozenset(self._frames)

    def _ask(self, call: Callable[..., T], *arguments: object) -> T:
        self._budget.check()
        reply = ask_in_time(self.client, call, *arguments)
        self._budget.note()
        return reply

    def time(self) -> Nanos:
        """What its clock says, or ours where it shows none."""
        return self._ask(self.exchange.time, self.client) * MILLI

    def quotes(self, instruments: Sequence[Instrument]) -> list[Ticker]:
        """The mids of now, asked for in one request."""
        found = self._ask(self.exchange.tickers, self.client, [instrument.symbol for instrument in instruments])
        shown = [(instrument, found.get(instrument.symbol)) for instrument in instruments]
        return [Ticker(i.id, _mid(ticker, i), self.exchange.stamp(ticker)) for i, ticker in shown]

    def candles(self, instrument: Instrument, interval: Nanos, since: Nanos, until: Nanos) -> list[Candle]:
        """Bars that open in [since, until), oldest first: one page of them, complete or not."""
        if interval not in self._frames:
            raise Denied(f"{self.client.id} has no bars of {interval / SECOND:g} s")
        while since < until:
            limit: int = self._ask(self._window, instrument.symbol)
            found = self._ask(self._candles, instrument.symbol, interval, since, limit)
            if page := [candle for candle in found if since <= candle.open_time < until]:
                return page
            if any(candle.open_time >= until for candle in found):
                break
            since += limit * interval  # some look no further than one page from where they are asked to begin
        return []

    def _window(self, symbol: Symbol) -> int:
        """How many bars one answer spans at most."""
        self.client.load_markets()
        return int(self.client.feature_value(symbol, "fetchOHLCV", "limit", WINDOW) or WINDOW)

    def _candles(self, symbol: Symbol, interval: Nanos, since: Nanos, limit: int) -> list[Candle]:
        # Not every exchange takes an end, and some jump over a time without bars: `until` is cut off afterwards.
        rows: list[Any] = self.client.fetch_ohlcv(symbol, self._frames[interval], -(-since // MILLI), limit)
        if self.client.parse_json(self.client.last_http_response) is None:  # which ccxt makes no rows of, and no error
            raise Unclear(Fault.UNREADABLE, f"{self.client.id}: candles without JSON")
        return sorted(Candle(int(row[0]) * MILLI, *(float(value) for value in row[1:6])) for row in rows)


def _mid(ticker: Reply | None, instrument: Instrument) -> Price:
    """The middle of bid and ask, or the last price where the venue shows none."""
    shown: Reply = ticker or {"symbol": None, "bid": None, "ask": None, "last": None, "info": "nothing"}
    bid, ask_price = (float(shown[side] or math.nan) for side in ("bid", "ask"))
    price = (bid + ask_price) / 2.0 if bid <= ask_price else float(shown["last"] or math.nan)
    is_empty = ask_price - bid > WIDEST * price
    if shown["symbol"] != instrument.symbol or is_empty or not 0.0 < price < math.inf:
        raise Unclear(Fault.UNREADABLE, f"{instrument.id}: no price that can be believed: {shown['info']}")
    return price
