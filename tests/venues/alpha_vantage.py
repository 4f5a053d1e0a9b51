"""A loopback server of Alpha Vantage's one route: its published shapes, newest first, and refusals that are HTTP 200.

with Server(venue := AlphaVantage()) as server:
    venue.series["TIME_SERIES_DAILY", "IBM"] = {"2024-03-28": (190.0, 191.0, 189.0, 190.5, 1000.0)}
    market = AlphaVantageMarket(KEY, f"http://127.0.0.1:{server.port}")
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import parse_qsl

from tests.venues.server import Json, Reply, Request

KEY = "CANARYAV7Q2"
OHLCV = "1. open", "2. high", "3. low", "4. close", "5. volume"
SHAPES = {  # how the series is called, how its time zone is, and which zone that is
    "TIME_SERIES_DAILY": ("Time Series (Daily)", "5. Time Zone", "US/Eastern"),
    "TIME_SERIES_INTRADAY": ("Time Series ({interval})", "6. Time Zone", "US/Eastern"),
    "FX_DAILY": ("Time Series FX (Daily)", "6. Time Zone", "UTC"),
    "FX_INTRADAY": ("Time Series FX ({interval})", "7. Time Zone", "UTC"),
    "DIGITAL_CURRENCY_DAILY": ("Time Series (Digital Currency Daily)", "7. Time Zone", "UTC"),
}
WITHOUT_VOLUME = "FX_DAILY", "FX_INTRADAY"
NOTE: Json = {
    "Note": "Thank you for using Alpha Vantage! Our standard API call frequency is 5 calls per minute and 500 calls "
    "per day. Please visit the premium page if you would like to target a higher API call frequency."
}
QUOTA: Json = {
    "Information": f"We have detected your API key as {KEY} and our standard API rate limit is 25 requests per day. "
    "Please subscribe to any of the premium plans to instantly remove all daily rate limits."
}
HASTE: Json = {
    "Information": "Please consider spreading out your free API requests more sparingly (1 request per second). "
    "You may subscribe to lift the free key rate limit (25 requests per day)."
}
PREMIUM: Json = {"Information": "Thank you for using Alpha Vantage! This is a premium endpoint."}
UNKNOWN: Json = {"Error Message": "Invalid API call. Please retry or visit the documentation for TIME_SERIES_DAILY."}
KEYLESS: Json = {"Error Message": "the parameter apikey is invalid or missing. Please claim your free API key."}


class AlphaVantage:
    """Series by function and by symbol or pair; what stands in refusals is said first, one for each request."""

    def __init__(self) -> None:
        self.series: dict[tuple[str, str], Mapping[str, tuple[float, ...]]] = {}
        self.refusals: list[Json] = []
        self.asked: list[dict[str, str]] = []

    def __call__(self, request: Request) -> Reply:
        query = dict(parse_qsl(request.query))
        key = query.pop("apikey", "")
        self.asked.append(query)
        if key != KEY:
            return Reply(KEYLESS)
        if self.refusals:
            return Reply(self.refusals.pop(0))
        return Reply(self._answer(query["function"], query))

    def _answer(self, function: str, query: Mapping[str, str]) -> Json:
        rows = self.series.get((function, _subject(query)))
        if rows is None:
            return UNKNOWN
        shown = sorted((stamp for stamp in rows if stamp.startswith(query.get("month", ""))), reverse=True)
        if query.get("outputsize", "compact") == "compact":
            shown = shown[:100]
        title, label, zone = SHAPES[function]
        fields = OHLCV[:4] if function in WITHOUT_VOLUME else OHLCV
        bars: Json = {
            stamp: {field: f"{value:.4f}" for field, value in zip(fields, rows[stamp], strict=False)} for stamp in shown
        }
        return {"Meta Data": {"1. Information": function, label: zone}, title.format(**query): bars}


def _subject(query: Mapping[str, str]) -> str:
    if "from_symbol" in query:
        return f"{query['from_symbol']}/{query['to_symbol']}"
    return f"{query['symbol']}/{query['market']}" if "market" in query else query["symbol"]
