"""OANDA's v20 REST API for one account: the client, its errors made ours, and readers of what it says.

All numbers come as strings; what is not there has told nothing.
"""

from __future__ import annotations

import math
import ssl
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import httpx2
from pydantic import SecretStr

from ffe.model import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    AccountKind,
    AssetClass,
    Currency,
    Fault,
    Instrument,
    Nanos,
    Symbol,
    Venue,
)  # fmt: skip
from ffe.wire.account import AccountReport, ClockReading, MarketReport, RestingStop
from ffe.wire.errors import Busy, Denied, NotThere, Unclear, wait_of, without
from ffe.wire.market import WIDEST, Candle, Ticker

Row = dict[str, Any]  # a JSON object as the venue sent it: checked where it is read
PRACTICE = "https://api-fxpractice.oanda.com"
PAGE = 5000  # candles
GRANULARITIES: dict[Nanos, str] = {
    **{n * SECOND: f"S{n}" for n in (5, 10, 15, 30)},
    **{n * MINUTE: f"M{n}" for n in (1, 2, 4, 5, 10, 15, 30)},
    **{n * HOUR: f"H{n}" for n in (1, 2, 3, 4, 6, 8, 12)},
    DAY: "D",
}


class OandaClient:
    """Requests to one account; every failure is Unclear, Denied or NotThere. The token is in no message.

    trust is whom a connection believes, None for the authorities that come with httpx2. The environment, a proxy's name
    in it included, has no say in where a request goes.
    """

    def __init__(
        self, token: str, account: str, address: str = PRACTICE, timeout: float = 10.0,
        trust: ssl.SSLContext | None = None,
    ) -> None:  # fmt: skip
        headers, url = {"Authorization": f"Bearer {token}", "Accept-Datetime-Format": "UNIX"}, f"{address}/v3/accounts/"
        self._secrets = SecretStr(token), SecretStr(account)
        self._seconds = dict.fromkeys(("GET", "POST", "PUT"), timeout)
        self._http = httpx2.Client(
            base_url=f"{url}{account}/", headers=headers, timeout=timeout, verify=trust or True, trust_env=False
        )

    def hurry(self, **seconds: float) -> None:
        """Give up on requests of these methods earlier."""
        self._seconds = {method: min(most, seconds.get(method, most)) for method, most in self._seconds.items()}

    def get(self, path: str, **query: str) -> Row:
        return self._call("GET", path, params=query)

    def post(self, path: str, body: Row) -> Row:
        return self._call("POST", path, json=body)

    def put(self, path: str, body: Row | None = None) -> Row:
        return self._call("PUT", path, json=body or {})

    def close(self) -> None:
        self._http.close()

    def _call(self, method: str, path: str, **what: Any) -> Row:
        try:
            reply = self._http.request(method, path, timeout=self._seconds[method], **what)
        except httpx2.TimeoutException as error:
            raise Unclear(Fault.TIMEOUT, str(error)) from error
        except httpx2.RequestError as error:
            raise Unclear(Fault.DISCONNECTED, str(error)) from error
        if reply.status_code >= 500:
            raise Unclear(Fault.SERVER_ERROR, f"HTTP {reply.status_code}")
        try:
            said = reply.json()
        except (ValueError, RecursionError) as error:
            raise Unclear(Fault.UNREADABLE, f"HTTP {reply.status_code} without JSON") from error
        if not isinstance(said, dict):
            raise Unclear(Fault.UNREADABLE, f"HTTP {reply.status_code} with no object")
        if reply.status_code >= 400:
            raise self._refusal(method, reply, said)
        return said

    def _refusal(self, method: str, reply: httpx2.Response, said: Row) -> Denied | NotThere | Unclear:
        """A question is only refused for haste or for its key; any other no to it has told nothing."""
        status = reply.status_code
        reason = str(said.get("errorCode") or said.get("errorMessage") or f"HTTP {status}")
        why = without(reason, (secret.get_secret_value() for secret in self._secrets))
        if status == 429:
            return Busy(why, wait_of(reply.headers.get("Retry-After")))
        if status in (401, 403):
            return Denied(why, is_locked_out=True)
        if method == "GET" or status == 408:
            return Unclear(Fault.UNREADABLE, why)
        return NotThere(why) if status == 404 and method == "PUT" else Denied(why)


def instruments(client: OandaClient, venue: Venue, symbols: list[str]) -> tuple[Instrument, ...]:
    """What the venue says of these pairs: tick, lot, minimum and margin. A pair it does not list raises Denied."""
    listed = {text_of(row, "name").replace("_", "/"): row for row in rows_of(client.get("instruments"), "instruments")}
    if unknown := [symbol for symbol in symbols if symbol not in listed]:
        raise Denied(f"OANDA lists no {', '.join(unknown)}")
    return tuple(_instrument(venue, symbol, listed[symbol]) for symbol in symbols)


def _instrument(venue: Venue, symbol: str, row: Row) -> Instrument:
    base, quote = symbol.split("/")  # the published form of a pair's name
    return Instrument(
        venue, Symbol(symbol), AssetClass.FOREX, Currency(base), Currency(quote), "forex",
        tick=float(f"1e-{whole_of(row, 'displayPrecision')}"), lot=float(f"1e-{whole_of(row, 'tradeUnitsPrecision')}"),
        minimum_qty=number_of(row, "minimumTradeSize"), margin_rate=number_of(row, "marginRate"), shortable=True,
    )  # fmt: skip


def account_report(client: OandaClient, symbols: Sequence[str], now: Callable[[], Nanos]) -> AccountReport:
    """Ask once. Unclear or Denied where summary, instruments or prices are not answered.

    OANDA does not say what a token may do. Its fees are in the spread, or in the settings.
    """
    account = row_of(client.get("summary"), "account")
    currency = Currency(text_of(account, "currency"))
    listed = {text_of(row, "name").replace("_", "/") for row in rows_of(client.get("instruments"), "instruments")}
    tradeable, clock = _tradeable(client, [symbol for symbol in symbols if symbol in listed], now)
    return AccountReport(
        kind=AccountKind.MARGIN,
        currency=currency,
        markets=tuple(
            MarketReport(
                Symbol(symbol),
                problem="" if symbol in listed else f"OANDA lists no {symbol} for this account",
                kind=AccountKind.MARGIN,
                halt="" if tradeable.get(symbol) else "it is closed",
                closes_regularly=True,
                stops=frozenset({RestingStop.MARKET}),
            )
            for symbol in symbols
        ),
        held={currency: balance} if (balance := number_of(account, "balance")) > 0.0 else {},
        clock=clock,
        intervals=frozenset(GRANULARITIES),
        holds_both_sides=account.get("hedgingEnabled") is True,
    )


def _tradeable(
    client: OandaClient, symbols: Sequence[str], now: Callable[[], Nanos]
) -> tuple[dict[str, bool], ClockReading | None]:
    """Which pairs can be traded now, and the venue's clock."""
    if not symbols:
        return {}, None
    asked = now()
    reply = client.get("pricing", instruments=",".join(symbol.replace("/", "_") for symbol in symbols))
    reading = ClockReading(asked, _nanos(text_of(reply, "time")), now())
    prices = rows_of(reply, "prices")
    return {text_of(row, "instrument").replace("_", "/"): row.get("tradeable") is not False for row in prices}, reading


class OandaMarket:
    """What an account sees of the market: prices, complete bars, and the venue's clock."""

    def __init__(self, client: OandaClient) -> None:
        self.client = client

    def time(self) -> Nanos:
        return _nanos(text_of(self.client.get("pricing", instruments="EUR_USD"), "time"))

    def quotes(self, instruments: Sequence[Instrument]) -> list[Ticker]:
        """The mids of now; a pair that cannot be traded has none."""
        by_name = {instrument.symbol.replace("/", "_"): instrument for instrument in instruments}
        said = rows_of(self.client.get("pricing", instruments=",".join(by_name)), "prices")
        return [
            Ticker(by_name[text_of(row, "instrument")].id, _mid(row), _nanos(text_of(row, "time")))
            for row in said
            if row.get("tradeable") is not False and text_of(row, "instrument") in by_name
        ]

    def candles(self, instrument: Instrument, interval: Nanos, since: Nanos, until: Nanos) -> list[Candle]:
        """Complete bars that open in [since, until), oldest first: one page of them."""
        if interval not in GRANULARITIES:
            raise Denied(f"OANDA has no bars of {interval / SECOND:g} s")
        path = f"instruments/{instrument.symbol.replace('/', '_')}/candles"
        said = self.client.get(
            path, price="M", granularity=GRANULARITIES[interval], count=str(PAGE), **{"from": _unix(since)}
        )
        found = [_candle(row) for row in rows_of(said, "candles") if row.get("complete") is True]
        return [candle for candle in found if since <= candle.open_time < until]


def _mid(row: Row) -> float:
    bids, asks = rows_of(row, "bids"), rows_of(row, "asks")
    if not bids or not asks:
        raise Unclear(Fault.UNREADABLE, f"a price without two sides: {row}")
    mid = (number_of(bids[0], "price") + number_of(asks[0], "price")) / 2.0
    if not (mid > 0.0 and number_of(asks[0], "price") - number_of(bids[0], "price") <= WIDEST * mid):
        raise Unclear(Fault.UNREADABLE, f"no price that can be believed: {row}")
    return mid


def _candle(row: Row) -> Candle:
    mid = row_of(row, "mid")
    open, high, low, close = (number_of(mid, name) for name in "ohlc")
    volume = row.get("volume")
    if not isinstance(volume, int):
        raise Unclear(Fault.UNREADABLE, f"no volume but {volume!r}")
    return Candle(_nanos(text_of(row, "time")), open, high, low, close, float(volume))


def _nanos(said: str) -> Nanos:
    """A time as this client asks for it: seconds since 1970 with nine decimals."""
    whole, _, part = said.partition(".")
    if not (whole.isdecimal() and (part or "0").isdecimal()):
        raise Unclear(Fault.UNREADABLE, f"no time but {said!r}")
    return int(whole) * SECOND + int(part.ljust(9, "0")[:9])


def _unix(time: Nanos) -> str:
    return f"{time // SECOND}.{time % SECOND:09d}"


def written(amount: float, step: float) -> str:
    """A number as the venue wants it: a string of no more digits than its step has."""
    return str(Decimal(repr(amount)).quantize(Decimal(repr(step)).normalize()))


# ---------------------------------------------------------------- reading: what is not there has told nothing


def text_of(row: Row, name: str) -> str:
    said = row.get(name)
    if not isinstance(said, str) or not said:
        raise Unclear(Fault.UNREADABLE, f"no {name} but {said!r}")
    return said


def number_of(row: Row, name: str) -> float:
    said = row.get(name)
    try:
        number = float(said) if isinstance(said, str) else math.nan
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise Unclear(Fault.UNREADABLE, f"no {name} but {said!r}")
    return number


def whole_of(row: Row, name: str) -> int:
    """Ids are strings, precisions are not."""
    said = row.get(name)
    if not str(said).isdecimal():
        raise Unclear(Fault.UNREADABLE, f"no {name} but {said!r}")
    return int(str(said))


def row_of(row: Row, name: str) -> Row:
    """An object that must be there."""
    said = row.get(name)
    if not isinstance(said, dict):
        raise Unclear(Fault.UNREADABLE, f"no {name} but {said!r}")
    return said


def part_of(row: Row, name: str) -> Row:
    """An object that may be missing, but not null."""
    return row_of(row, name) if name in row else {}


def rows_of(row: Row, name: str) -> list[Row]:
    said = row.get(name)
    if not isinstance(said, list) or not all(isinstance(each, dict) for each in said):
        raise Unclear(Fault.UNREADABLE, f"no {name} but {type(said).__name__}")
    return said
