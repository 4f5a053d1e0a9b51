"""Alpha Vantage's series of stocks, currencies and coins: history alone, whole series at once, few requests a day.

The key is part of the address. It is added below everything that logs, raises or prints one, and struck out of what the
venue says, which may repeat it. A refusal comes with HTTP 200: "Error Message", "Information" or "Note".
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta, tzinfo

import httpx2
import numpy as np

from ffe.hours import NEW_YORK, Hours
from ffe.model import DAY, MINUTE, SECOND, AssetClass, Fault, Instrument, Nanos
from ffe.wire.errors import Busy, Denied, Unclear, wait_of
from ffe.wire.market import Candle, Ticker
from ffe.wire.oanda_wire import Row, number_of, row_of, text_of

ADDRESS = "https://www.alphavantage.co"
INTERVALS = {n * MINUTE: f"{n}min" for n in (1, 5, 15, 30, 60)}
FUNCTIONS = {  # by day, and within one
    AssetClass.STOCK: ("TIME_SERIES_DAILY", "TIME_SERIES_INTRADAY"),
    AssetClass.INDEX: ("TIME_SERIES_DAILY", "TIME_SERIES_INTRADAY"),
    AssetClass.FOREX: ("FX_DAILY", "FX_INTRADAY"),
    AssetClass.CRYPTO: ("DIGITAL_CURRENCY_DAILY", None),
}
UTC_DAYS = AssetClass.FOREX, AssetClass.CRYPTO
ZONES: dict[str, tzinfo] = {"US/Eastern": NEW_YORK, "UTC": UTC}
COMPACT: Nanos = 99 * DAY  # the short answer holds the latest hundred bars
PRICES = "1. open", "2. high", "3. low", "4. close"
VOLUME = "5. volume"
REFUSALS = "Error Message", "Information", "Note"
HASTE = "per minute", "per second"  # as a refusal says that some patience helps; a day's quota is said without
KEYLESS = "apikey", "demo"

Query = tuple[tuple[str, str], ...]


class AlphaVantageMarket:
    """Prices as traded: adjusted ones change backwards, and a cache would mix them. The clock is ours: it has none."""

    def __init__(
        self, key: str, address: str = ADDRESS, clock: Callable[[], Nanos] = time.time_ns, timeout: float = 30.0
    ) -> None:
        self._transport, self._clock = _Keyed(key), clock
        self._http = httpx2.Client(base_url=address, timeout=timeout, transport=self._transport, trust_env=False)
        self._known: dict[Query, list[Candle]] = {}

    def time(self) -> Nanos:
        return self._clock()

    def quotes(self, instruments: Sequence[Instrument]) -> list[Ticker]:
        raise Denied("Alpha Vantage is asked for history alone")

    def candles(self, instrument: Instrument, interval: Nanos, since: Nanos, until: Nanos) -> list[Candle]:
        """Bars that open in [since, until), oldest first: a series, or a month of one. A series is asked for once."""
        for query in self._queries(instrument, interval, since, until):
            if query not in self._known:
                self._known[query] = _candles(self._ask(query), instrument, interval)
            if page := [candle for candle in self._known[query] if since <= candle.open_time < until]:
                return page
        return []

    def close(self) -> None:
        self._http.close()

    # ---------------------------------------------------------------- questions

    def _queries(self, i: Instrument, interval: Nanos, since: Nanos, until: Nanos) -> Iterator[Query]:
        by_day, within_day = FUNCTIONS[i.asset_class]
        function = by_day if interval == DAY else within_day if interval in INTERVALS else None
        if function is None:
            raise Denied(f"Alpha Vantage has no bars of {interval / SECOND:g} s of a {i.asset_class.value}")
        yield from self._parts((("function", function), *_named(i)), interval, since, until)

    def _parts(self, about: Query, interval: Nanos, since: Nanos, until: Nanos) -> Iterator[Query]:
        """One question, or one for each month where months are served."""
        if interval != DAY:
            about = (*about, ("interval", INTERVALS[interval]))
        whole = (*about, ("outputsize", "full"))
        if ("function", "TIME_SERIES_INTRADAY") in about:
            kind = ("adjusted", "false"), ("extended_hours", "false")
            yield from ((*whole, *kind, ("month", month)) for month in _months(since, until))
        elif interval == DAY and whole not in self._known and self._clock() - since < COMPACT:
            yield (*about, ("outputsize", "compact"))
        else:
            yield whole

    def _ask(self, query: Query) -> Row:
        try:
            reply = self._http.get("/query", params=dict(query))
        except httpx2.TimeoutException as error:
            raise Unclear(Fault.TIMEOUT, self._struck(str(error))) from error
        except httpx2.RequestError as error:
            raise Unclear(Fault.DISCONNECTED, self._struck(str(error))) from error
        if reply.status_code == 429:
            raise Busy("HTTP 429", wait_of(reply.headers.get("Retry-After")))
        if reply.status_code >= 500:
            raise Unclear(Fault.SERVER_ERROR, f"HTTP {reply.status_code}")
        try:
            said = reply.json()
        except (ValueError, RecursionError) as error:
            raise Unclear(Fault.UNREADABLE, f"HTTP {reply.status_code} without JSON") from error
        if not isinstance(said, dict):
            raise Unclear(Fault.UNREADABLE, f"HTTP {reply.status_code} with no object")
        if words := [str(said[name]) for name in REFUSALS if name in said]:
            raise _refusal(self._struck(words[0]), "Note" in said)
        return said

    def _struck(self, words: str) -> str:
        return self._transport.struck(words)


class _Keyed(httpx2.BaseTransport):
    """The last station before the wire, and the only one that knows the key."""

    def __init__(self, key: str) -> None:
        self._key, self._wire = key, httpx2.HTTPTransport(trust_env=False)

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        address, timeouts = request.url.copy_merge_params({"apikey": self._key}), request.extensions
        keyed = httpx2.Request(request.method, address, headers=request.headers, extensions=timeouts)
        return self._wire.handle_request(keyed)

    def close(self) -> None:
        self._wire.close()

    def struck(self, words: str) -> str:
        return words.replace(self._key, "…")


def _named(i: Instrument) -> Query:
    """What the venue calls it: no symbol is taken apart."""
    match i.asset_class:
        case AssetClass.FOREX:
            return ("from_symbol", str(i.base)), ("to_symbol", str(i.quote))
        case AssetClass.CRYPTO:
            return ("symbol", str(i.base)), ("market", str(i.quote))
    return (("symbol", str(i.symbol)),)


def _months(since: Nanos, until: Nanos) -> Iterator[str]:
    """The months of New York that hold [since, until)."""
    first, last = (datetime.fromtimestamp(t // SECOND, NEW_YORK).date().replace(day=1) for t in (since, until - 1))
    while first <= last:
        yield f"{first:%Y-%m}"
        first = (first + timedelta(days=31)).replace(day=1)


def _refusal(words: str, is_note: bool) -> Denied:
    """A moment's haste is Busy; a day's quota, a symbol, a premium series or the key are Denied."""
    said = words.lower()
    if any(haste in said for haste in HASTE) or (is_note and "per day" not in said):
        return Busy(words)
    return Denied(words, is_locked_out="per day" not in said and any(about in said for about in KEYLESS))


# ---------------------------------------------------------------- reading


def _candles(said: Row, i: Instrument, interval: Nanos) -> list[Candle]:
    """All bars of a series, oldest first."""
    name = next((name for name in said if name.startswith("Time Series")), "Time Series")
    rows, zone = row_of(said, name), UTC if interval == DAY else _zone(row_of(said, "Meta Data"))
    values = {_time(stamp, zone): _values(row_of(rows, stamp)) for stamp in sorted(rows)}
    times = list(values)
    opens = _day_opens(times, i) if interval == DAY and times and i.asset_class not in UTC_DAYS else times
    return [Candle(opened, *values[time]) for opened, time in zip(opens, times, strict=True)]


def _values(row: Row) -> tuple[float, float, float, float, float]:
    open, high, low, close = (number_of(row, name) for name in PRICES)
    return open, high, low, close, number_of(row, VOLUME) if VOLUME in row else 0.0  # currencies have none


def _zone(meta: Row) -> tzinfo:
    said = next((text_of(meta, name) for name in meta if name.endswith("Time Zone")), "")
    if said not in ZONES:
        raise Unclear(Fault.UNREADABLE, f"no time zone but {said!r}")
    return ZONES[said]


def _time(stamp: str, zone: tzinfo) -> Nanos:
    try:
        return int(datetime.fromisoformat(stamp).replace(tzinfo=zone).timestamp()) * SECOND
    except ValueError as error:
        raise Unclear(Fault.UNREADABLE, f"no time but {stamp!r}") from error


def _day_opens(dates: list[Nanos], i: Instrument) -> list[Nanos]:
    """The opens of the trading days that close on these dates; a date on which the market is closed stays as it is."""
    hours, days = Hours.of(i.hours, dates[0], dates[-1]), np.array(dates, np.int64)
    if not hours.is_daily(DAY):
        return dates
    n = np.searchsorted(hours.day_closes, days, side="right")
    opens: list[Nanos] = np.where(hours.day_closes[n] < days + DAY, hours.day_opens[n], days).tolist()
    return opens
