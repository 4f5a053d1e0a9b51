"""History from loopback venues into a DuckDB file on disk: all that was asked for, nothing else, and nothing twice."""

from __future__ import annotations

import logging
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import ccxt
import httpx2
import numpy as np
import pytest

from ffe.config import Secrets, Settings
from ffe.data.cache import Cache
from ffe.data.fetch import BUSY_PAUSES, PAUSES, Fetched, fetch
from ffe.data.quality import Gap
from ffe.errors import BadBars, ConfigError, DataError
from ffe.hours import Hours, instant
from ffe.model import DAY, HOUR, MINUTE, AssetClass, Bar, Instrument, InstrumentId, Nanos
from ffe.wire.alpha_vantage import AlphaVantageMarket
from ffe.wire.ccxt_wire import CcxtMarket
from ffe.wire.connect import market_of
from ffe.wire.market import Market
from ffe.wire.oanda_wire import OandaClient, OandaMarket
from tests.data.values import AAPL, EUR, instrument
from tests.venues import oanda_candles
from tests.venues.alpha_vantage import HASTE, KEY, NOTE, PREMIUM, QUOTA, UNKNOWN, AlphaVantage
from tests.venues.binance import Binance
from tests.venues.faults import Drop, RateLimited, ServerError
from tests.venues.oanda import Oanda
from tests.venues.oanda_faults import HttpError, On
from tests.venues.server import Reply, Request, Server

ROOT = Path(__file__).parents[2]
BTC = instrument("BTC/USDT", AssetClass.CRYPTO, "24/7", "binance")
START = instant("2024-01-01")
NOW = instant("2024-06-01")


def hours_of(count: int, first: Nanos = START, interval: Nanos = HOUR) -> list[Bar]:
    opens = [first + n * interval for n in range(count)]
    return [Bar(InstrumentId(BTC.id), interval, t, t + interval, 100.0, 102.0, 99.0, 101.0, 7.0) for t in opens]


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache.duckdb")


class Place:
    """A loopback Binance, and what is fetched from it; the clock stands."""

    def __init__(self, server: Server, client: ccxt.binance, cache: Cache) -> None:
        self.server, self.cache, self.now = server, cache, NOW
        self.venue = Binance(clock=lambda: self.now)
        self.market, server.app = CcxtMarket(client), self.venue
        self.paused: list[float] = []
        self.told: list[tuple[int, int]] = []

    def shows(self, *bars: Bar, interval: str = "1h") -> None:
        self.venue.bars["BTCUSDT", interval] = list(bars)

    def fetch(self, start: Nanos, end: Nanos, interval: Nanos = HOUR) -> Fetched:
        self.venue.requests.clear()
        return fetch(
            self.market, BTC, interval, start, end, self.cache,
            lambda done, whole: self.told.append((done, whole)), self.now, self.paused.append,
        )  # fmt: skip

    @property
    def asked(self) -> list[str]:
        return [asked.endpoint for asked in self.venue.requests]

    @property
    def opens(self) -> list[Nanos]:
        held = self.cache.held(BTC, HOUR, START - DAY, NOW, Hours.of("24/7", START, NOW))
        return held.open_time.tolist()

    @property
    def covered(self) -> list[tuple[Nanos, Nanos]]:
        return [(each.start, each.end) for each in self.cache.coverage()]


@pytest.fixture
def place(binance: tuple[Server, ccxt.binance], cache: Cache) -> Place:
    return Place(*binance, cache)


# ---------------------------------------------------------------- the range


def test_exactly_the_asked_range_is_in_the_cache_afterwards(place: Place) -> None:
    place.shows(*hours_of(100))
    came = place.fetch(START + 10 * HOUR, START + 50 * HOUR)
    assert place.opens == [START + n * HOUR for n in range(10, 50)]
    assert place.covered == [(START + 10 * HOUR, START + 50 * HOUR)]
    assert (came.got, came.bars, came.first, came.last) == (40, 40, START + 10 * HOUR, START + 50 * HOUR)
    assert str(came) == (
        "binance:BTC/USDT 1h: 40 bars, 2024-01-01 10:00 – 2024-01-03 02:00 (40 new); nothing is missing"
    )


def test_a_bar_that_only_touches_the_range_is_no_part_of_it(place: Place) -> None:
    place.shows(*hours_of(100))
    assert place.fetch(START + HOUR // 2, START + 3 * HOUR + HOUR // 2).missing == ()
    assert place.opens == [START + HOUR, START + 2 * HOUR]


def test_a_second_run_asks_nothing(place: Place) -> None:
    place.shows(*hours_of(40), *hours_of(45, START + 45 * HOUR))
    first = place.fetch(START, START + 100 * HOUR)
    again = place.fetch(START, START + 100 * HOUR)
    assert place.asked == []
    assert again == replace(first, got=0)


def test_only_what_is_not_there_is_asked_for(place: Place) -> None:
    place.shows(*hours_of(100))
    place.fetch(START + 20 * HOUR, START + 40 * HOUR)
    place.fetch(START + 60 * HOUR, START + 80 * HOUR)
    assert place.fetch(START, START + 100 * HOUR).got == 60
    since = [int(asked.params["startTime"]) * 10**6 for asked in place.venue.requests if asked.endpoint == "klines"]
    assert since == [START, START + 40 * HOUR, START + 80 * HOUR]
    assert place.covered == [(START, START + 100 * HOUR)]


def test_a_bar_that_lies_between_two_loads_and_ends_in_the_second_is_not_forgotten(place: Place) -> None:
    place.shows(*hours_of(24))
    place.fetch(START + 9 * HOUR + HOUR // 2, START + 12 * HOUR)
    place.fetch(START + 8 * HOUR, START + 9 * HOUR + HOUR // 2)
    assert place.opens == [START + n * HOUR for n in (8, 10, 11)]
    assert place.fetch(START + 8 * HOUR, START + 12 * HOUR).got == 1
    assert place.opens == [START + n * HOUR for n in (8, 9, 10, 11)]


def test_progress_ends_at_the_bars_that_the_hours_promise(place: Place) -> None:
    place.shows(*hours_of(2_500))
    place.fetch(START, START + 2_500 * HOUR)
    assert place.told == [(1_000, 2_500), (2_000, 2_500), (2_500, 2_500)]


# ---------------------------------------------------------------- bars that are complete


def test_the_running_bar_is_left_out_and_comes_when_it_has_ended(place: Place) -> None:
    place.shows(*hours_of(24))
    place.now = START + 5 * HOUR + 59 * MINUTE
    place.fetch(START, START + 24 * HOUR)
    assert place.opens == [START + n * HOUR for n in range(5)]
    assert place.covered == [(START, START + 5 * HOUR)]
    assert place.fetch(START, START + 24 * HOUR).missing == ()
    assert place.asked == []
    place.now = START + 6 * HOUR
    assert place.fetch(START, START + 24 * HOUR).got == 1


def test_the_venues_clock_says_what_is_complete_and_not_ours(place: Place) -> None:
    place.shows(*hours_of(24))
    place.now, place.venue.skew = START + 10 * HOUR, -2 * HOUR
    place.fetch(START, START + 10 * HOUR)
    assert place.opens == [START + n * HOUR for n in range(8)]


def test_a_bar_that_may_still_come_is_asked_for_again_and_one_that_does_not_is_not(place: Place) -> None:
    place.shows(*hours_of(5))
    place.now = START + 6 * HOUR + 30 * 10**9
    place.fetch(START, START + 6 * HOUR)
    place.shows(*hours_of(6))
    assert place.fetch(START, START + 6 * HOUR).got == 1
    place.now = START + 7 * HOUR + 2 * MINUTE
    assert place.fetch(START, START + 7 * HOUR).missing == (Gap(START + 6 * HOUR, START + 7 * HOUR, 1),)
    place.fetch(START, START + 7 * HOUR)
    assert place.asked == []


# ---------------------------------------------------------------- pages


def klines(change: Callable[[list], list]) -> Callable[[Callable[[Request], Reply]], Callable[[Request], Reply]]:
    """A venue that shows other klines than it has."""

    def around(venue: Callable[[Request], Reply]) -> Callable[[Request], Reply]:
        def answer(request: Request) -> Reply:
            reply = venue(request)
            return replace(reply, body=change(reply.body)) if "klines" in request.path else reply

        return answer

    return around


def test_a_venue_that_pages_short_is_read_to_the_end(place: Place) -> None:
    place.shows(*hours_of(100))
    place.server.app = klines(lambda rows: rows[:7])(place.venue)
    assert place.fetch(START, START + 100 * HOUR).got == 100


def test_a_page_that_brings_nothing_new_ends_the_reading(place: Place) -> None:
    place.shows(*hours_of(100))
    first = hours_of(3)
    shown = [[bar.open_time // 10**6, "100", "102", "99", "101", "7", 0, "0", 0, "0", "0", "0"] for bar in first]
    place.server.app = klines(lambda rows: shown)(place.venue)
    came = place.fetch(START, START + 100 * HOUR)
    assert (came.got, came.missing) == (3, (Gap(START + 3 * HOUR, START + 100 * HOUR, 97),))


def test_bars_behind_a_gap_longer_than_a_page_are_found_where_a_venue_looks_no_further(place: Place) -> None:
    place.shows(*hours_of(50), *hours_of(50, START + 3_000 * HOUR))
    hour = HOUR // 10**6

    def near(request: Request) -> Reply:
        query = dict(pair.split("=") for pair in request.query.split("&") if pair)
        end = int(query.get("startTime", 0)) + int(query.get("limit", 0)) * hour - 1
        return place.venue(replace(request, query=f"{request.query}&endTime={end}"))

    place.server.app = near
    assert place.fetch(START, START + 3_050 * HOUR).got == 100


def test_years_without_bars_are_noted_as_they_are_passed(place: Place) -> None:
    start = START - 25_000 * HOUR
    place.shows(*hours_of(24))
    seen: list[list[tuple[Nanos, Nanos]]] = []
    fetch(place.market, BTC, HOUR, start, START + 24 * HOUR, place.cache, lambda *_: seen.append(place.covered), NOW)
    assert seen[:2] == [[(start, start + 10_000 * HOUR)], [(start, start + 20_000 * HOUR)]]
    assert seen[-1] == [(start, START + 24 * HOUR)]


# ---------------------------------------------------------------- what the venue has not


def test_gaps_and_a_history_that_begins_later_are_told(place: Place) -> None:
    bars = hours_of(100)
    place.shows(*bars[30:50], *bars[53:70], *bars[71:])
    came = place.fetch(START, START + 100 * HOUR)
    gaps = (0, 30, 30), (50, 53, 3), (70, 71, 1)
    assert came.missing == tuple(Gap(START + a * HOUR, START + b * HOUR, n) for a, b, n in gaps)
    assert "the venue has nothing before 2024-01-02 06:00 (30 bars in 1 gap)" in str(came)
    assert "has not 4 bars in 2 gaps, most of them in 2024-01-03 02:00 – 2024-01-03 05:00" in str(came)


def test_a_venue_that_has_nothing_of_it_says_so_and_is_not_asked_again(place: Place) -> None:
    came = place.fetch(START, START + 24 * HOUR)
    assert str(came) == "binance:BTC/USDT 1h: no bars (0 new); the venue has not 24 bars in 1 gap"
    place.fetch(START, START + 24 * HOUR)
    assert place.asked == []


def test_a_bar_that_cannot_be_true_is_refused_and_those_before_are_kept(place: Place) -> None:
    bars = hours_of(1_500)
    place.shows(*bars[:1_200], replace(bars[1_200], high=90.0), *bars[1_201:])
    with pytest.raises(BadBars, match=r"row 200 at 2024-02-20 00:00: high 90.0 is under low 99.0"):
        place.fetch(START, START + 1_500 * HOUR)
    assert len(place.opens) == 1_000


# ---------------------------------------------------------------- a venue that does not answer


def test_a_venue_that_wants_to_be_left_alone_is_left_alone_and_then_read_on(place: Place) -> None:
    place.shows(*hours_of(1_500))
    place.venue.faults = [RateLimited(on="GET klines", nth=2, times=3)]
    assert place.fetch(START, START + 1_500 * HOUR).got == 1_500
    assert place.paused == [10.0, 10.0, 10.0]  # as its Retry-After says


def test_lost_and_failed_answers_are_asked_for_again(place: Place) -> None:
    place.shows(*hours_of(24))
    place.venue.faults = [Drop(on="GET klines"), ServerError(on="GET time")]
    assert place.fetch(START, START + 24 * HOUR).got == 24
    assert place.paused == [PAUSES[0], PAUSES[0]]


def test_a_venue_that_stays_silent_is_an_error_and_what_came_is_kept(place: Place) -> None:
    place.shows(*hours_of(1_500))
    place.venue.faults = [ServerError(on="GET klines", nth=2, times=99)]
    with pytest.raises(DataError, match=r"binance:BTC/USDT 1h: binance gave no answer that can be used, .*try again"):
        place.fetch(START, START + 1_500 * HOUR)
    assert place.paused == list(PAUSES)
    assert len(place.opens) == 1_000
    place.venue.faults = []
    assert place.fetch(START, START + 1_500 * HOUR).got == 500


def test_a_symbol_that_the_venue_does_not_list_is_an_error_that_names_both(place: Place) -> None:
    other = instrument("XYZ/USDT", AssetClass.CRYPTO, "24/7", "binance")
    with pytest.raises(DataError, match=r"binance refuses: .*XYZ/USDT.* Look whether binance lists XYZ/USDT"):
        fetch(place.market, other, HOUR, START, NOW, place.cache, lambda *_: None, NOW)
    assert place.paused == []


def test_an_interval_that_the_venue_has_not_is_an_error(place: Place) -> None:
    with pytest.raises(DataError, match="binance has no bars of 420 s"):
        place.fetch(START, START + DAY, 7 * MINUTE)


# ---------------------------------------------------------------- killed in the middle

FETCHES = """
import sys
import traceback
from ffe.config import Secrets, Settings
from ffe.data.cache import Cache
from ffe.data.fetch import fetch
from ffe.model import MINUTE
from ffe.wire.connect import market_of
from tests.data.test_fetch import BTC, NOW, START
address, path = sys.argv[1:]
venue = {"source": "ccxt", "address": address}
market = market_of("binance", Settings(venues={"binance": venue}, instruments={}), Secrets())
def tell(done, whole): print(done, flush=True)
fetch(market, BTC, MINUTE, START, START + 10_000 * MINUTE, Cache(path), tell, NOW)
"""


def at(server: Server) -> Settings:
    venue = {"source": "ccxt", "address": f"http://127.0.0.1:{server.port}"}
    return Settings(venues={"binance": venue}, instruments={})


def test_a_process_that_was_killed_in_the_middle_goes_on_where_it_stopped(cache: Cache) -> None:
    venue = Binance(clock=lambda: NOW)
    venue.bars["BTCUSDT", "1m"] = hours_of(10_000, interval=MINUTE)
    with Server(venue) as server:
        words = [sys.executable, "-c", FETCHES, f"http://127.0.0.1:{server.port}", str(cache.path)]
        with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True) as killed:
            assert killed.stdout is not None
            assert [int(killed.stdout.readline()) for _ in range(3)] == [1_000, 2_000, 3_000]
            killed.kill()
        (kept,) = cache.series()
        assert 3_000 <= kept.bars < 10_000
        venue.requests.clear()
        market = market_of("binance", at(server), Secrets())
        came = fetch(market, BTC, MINUTE, START, START + 10_000 * MINUTE, cache, lambda *_: None, NOW)
        market.client.session.close()
    first = next(asked for asked in venue.requests if asked.endpoint == "klines")
    assert int(first.params["startTime"]) * 10**6 == START + kept.bars * MINUTE
    assert (came.got, came.bars, came.missing) == (10_000 - kept.bars, 10_000, ())


# ---------------------------------------------------------------- OANDA


@pytest.fixture
def oanda() -> Iterator[tuple[Oanda, Market]]:
    with Oanda(lambda: NOW) as venue:
        venue.price("EUR_USD", "1.10000", "1.10010")
        client = OandaClient("loopback", venue.id, venue.url)
        yield venue, OandaMarket(client)
        client.close()


def quarters(first: str, last: str) -> Iterator[oanda_candles.Bar]:
    """Quarters of an hour in which forex trades."""
    hours, step = Hours.of("forex", instant(first), instant(last)), 15 * MINUTE
    for n, opened in enumerate(range(instant(first), instant(last), step)):
        if hours.is_open(opened):
            mid = Decimal("1.10") + Decimal(n) / 100_000
            yield oanda_candles.Bar(opened, opened + step, mid, mid + 1, mid - 1, mid)


def test_new_york_days_are_kept_as_they_are_across_a_change_of_clocks(
    oanda: tuple[Oanda, Market], cache: Cache
) -> None:
    venue, market = oanda
    venue.bars("EUR_USD", quarters("2024-03-06T22:00", "2024-03-15"))
    came = fetch(market, EUR, DAY, instant("2024-03-06T20:00"), instant("2024-03-14"), cache, lambda *_: None, NOW)
    held = cache.get(EUR, DAY, instant("2024-03-06T22:00"), instant("2024-03-14"))
    opens = ["2024-03-06T22:00", "2024-03-07T22:00", "2024-03-10T21:00", "2024-03-11T21:00", "2024-03-12T21:00"]
    closes = ["2024-03-07T22:00", "2024-03-08T22:00", "2024-03-11T21:00", "2024-03-12T21:00", "2024-03-13T21:00"]
    assert cache.series()[0].bars == 5
    assert held.open_time.tolist() == [instant(each) for each in opens]
    assert held.close_time.tolist() == [instant(each) for each in closes]
    assert came.missing == ()


def test_a_new_york_day_that_is_missing_is_one_bar(oanda: tuple[Oanda, Market], cache: Cache) -> None:
    venue, market = oanda
    venue.bars("EUR_USD", quarters("2023-10-31T21:00", "2023-11-03T21:00"))
    venue.bars("EUR_USD", quarters("2023-11-06T22:00", "2023-11-08T22:00"))
    came = fetch(
        market, EUR, DAY, instant("2023-11-01"), instant("2023-11-08T22:00"), cache, lambda *_: None, NOW
    )  # fmt: skip
    (gap,) = came.missing
    assert gap == Gap(instant("2023-11-05T22:00"), instant("2023-11-06T22:00"), 1)


def test_weekends_are_not_missing_and_not_asked_for_again(oanda: tuple[Oanda, Market], cache: Cache) -> None:
    venue, market = oanda
    venue.bars("EUR_USD", quarters("2024-03-07", "2024-03-13"))
    span = instant("2024-03-08"), instant("2024-03-10T12:00")
    came = fetch(market, EUR, HOUR, *span, cache, lambda *_: None, NOW)
    assert (came.bars, came.missing) == (22, ())
    asked = len(venue.requests)
    fetch(market, EUR, HOUR, *span, cache, lambda *_: None, NOW)
    assert len(venue.requests) == asked


def test_bars_of_a_closed_market_are_left_out_and_counted(oanda: tuple[Oanda, Market], cache: Cache) -> None:
    venue, market = oanda
    mid = Decimal("1.1")
    saturday = range(instant("2024-03-09T10:00"), instant("2024-03-09T12:00"), 15 * MINUTE)
    strays = [oanda_candles.Bar(t, t + 15 * MINUTE, mid, mid, mid, mid) for t in saturday]
    venue.bars("EUR_USD", [*quarters("2024-03-08", "2024-03-09"), *strays, *quarters("2024-03-10", "2024-03-11")])
    came = fetch(market, EUR, HOUR, instant("2024-03-08"), instant("2024-03-11"), cache, lambda *_: None, NOW)
    assert (came.bars, came.outside, came.missing) == (25, 2, ())
    assert "2 bars outside its market's hours were left out" in str(came)


def test_oandas_429_is_waited_for_and_a_wrong_token_is_not(oanda: tuple[Oanda, Market], cache: Cache) -> None:
    venue, market = oanda
    venue.bars("EUR_USD", quarters("2024-03-07", "2024-03-08"))
    venue.script(HttpError(On("GET"), status=429, retry_after=7), HttpError(On("GET").at(3, 99), status=401))
    paused: list[float] = []
    span = instant("2024-03-07"), instant("2024-03-08")
    with pytest.raises(ConfigError, match=r"oanda:EUR/USD 1h: oanda does not take the key: .*Correct it in \.env"):
        fetch(market, EUR, HOUR, *span, cache, lambda *_: None, NOW, paused.append)
    assert paused == [7.0]


# ---------------------------------------------------------------- Alpha Vantage

IBM = replace(AAPL, symbol="IBM", venue="vantage")
EUR_DAYS = replace(EUR, venue="vantage")


@pytest.fixture
def vantage() -> Iterator[tuple[AlphaVantage, AlphaVantageMarket]]:
    venue = AlphaVantage()
    with Server(venue) as server:
        market = AlphaVantageMarket(KEY, f"http://127.0.0.1:{server.port}", lambda: NOW)
        yield venue, market
        market.close()


def days(*dates: str) -> dict[str, tuple[float, ...]]:
    return dict.fromkeys(dates, (190.0, 192.0, 189.0, 191.0, 1_000.0))


def got(market: Market, of: Instrument, interval: Nanos, start: str, end: str, cache: Cache, **how: object) -> Fetched:
    return fetch(market, of, interval, instant(start), instant(end), cache, lambda *_: None, NOW, **how)  # type: ignore[arg-type]


def test_a_date_of_a_stock_is_its_exchanges_session(
    vantage: tuple[AlphaVantage, AlphaVantageMarket], cache: Cache
) -> None:
    venue, market = vantage
    venue.series["TIME_SERIES_DAILY", "IBM"] = days("2024-03-07", "2024-03-08", "2024-03-12", "2024-03-30")
    came = got(market, IBM, DAY, "2024-03-01", "2024-03-13", cache)
    held = cache.held(IBM, DAY, START, NOW, Hours.of("XNYS", START, NOW))
    opens = ["2024-03-07T14:30", "2024-03-08T14:30", "2024-03-12T13:30"]  # New York's clocks changed on the 10th
    assert held.open_time.tolist() == [instant(each) for each in opens]
    assert [gap.bars for gap in came.missing] == [1] * 5
    assert [asked["outputsize"] for asked in venue.asked] == ["compact"]


def test_a_series_that_is_served_whole_is_asked_for_once(
    vantage: tuple[AlphaVantage, AlphaVantageMarket], cache: Cache
) -> None:
    venue, market = vantage
    dates = np.arange("2010-01-01", "2024-05-20", dtype="M8[D]")
    venue.series["DIGITAL_CURRENCY_DAILY", "BTC/USDT"] = days(*map(str, dates))
    coin = replace(BTC, venue="vantage")
    assert got(market, coin, DAY, "2010-01-01", "2024-05-31", cache).bars == 5_253
    assert [asked["outputsize"] for asked in venue.asked] == ["full"]


def test_hours_of_stocks_come_month_by_month_in_new_yorks_time(
    vantage: tuple[AlphaVantage, AlphaVantageMarket], cache: Cache
) -> None:
    venue, market = vantage
    stamps = [f"2024-{day} {hour}:30:00" for day in ("02-29", "03-08", "03-11") for hour in range(10, 16)]
    venue.series["TIME_SERIES_INTRADAY", "IBM"] = days(*stamps)
    came = got(market, IBM, 30 * MINUTE, "2024-02-29", "2024-03-12", cache)
    held = cache.held(IBM, 30 * MINUTE, START, NOW, Hours.of("XNYS", START, NOW))
    assert came.bars == 18
    assert held.open_time[[0, 12]].tolist() == [instant("2024-02-29T15:30"), instant("2024-03-11T14:30")]
    assert [asked["month"] for asked in venue.asked] == ["2024-02", "2024-03"]


def test_days_that_end_at_midnight_are_no_days_of_a_market_that_ends_them_in_new_york(
    vantage: tuple[AlphaVantage, AlphaVantageMarket], cache: Cache
) -> None:
    venue, market = vantage
    venue.series["FX_DAILY", "EUR/USD"] = days("2024-03-07", "2024-03-08")
    with pytest.raises(BadBars, match="the venue's day opens at 2024-03-07 00:00, and no day of forex does"):
        got(market, EUR_DAYS, DAY, "2024-03-01", "2024-03-13", cache)
    assert got(market, replace(EUR_DAYS, hours="24/7"), DAY, "2024-03-07", "2024-03-09", cache).bars == 2


def test_minutes_of_currencies_are_utc_and_have_no_volume(
    vantage: tuple[AlphaVantage, AlphaVantageMarket], cache: Cache
) -> None:
    venue, market = vantage
    venue.series["FX_INTRADAY", "EUR/USD"] = days("2024-03-07 10:00:00", "2024-03-07 10:05:00")
    got(market, EUR_DAYS, 5 * MINUTE, "2024-03-07T10:00", "2024-03-07T10:10", cache)
    held = cache.get(EUR_DAYS, 5 * MINUTE, instant("2024-03-07T10:00"), instant("2024-03-07T10:10"))
    assert (held.open_time[0], held.volume.tolist()) == (instant("2024-03-07T10:00"), [0.0, 0.0])


def test_haste_is_waited_out_however_it_is_said(vantage: tuple[AlphaVantage, AlphaVantageMarket], cache: Cache) -> None:
    venue, market = vantage
    venue.series["TIME_SERIES_DAILY", "IBM"] = days("2024-03-07")
    venue.refusals = [NOTE, HASTE]
    paused: list[float] = []
    assert got(market, IBM, DAY, "2024-03-07", "2024-03-08", cache, wait=paused.append).got == 1
    assert paused == list(BUSY_PAUSES[:2])


@pytest.mark.parametrize(
    ("refusal", "said"),
    [
        (QUOTA, "vantage refuses: We have detected your API key as … and .* 25 requests per day"),
        (PREMIUM, "vantage refuses: .*This is a premium endpoint"),
        (UNKNOWN, "vantage refuses: Invalid API call.*Look whether vantage lists IBM"),
    ],
)
def test_a_definite_refusal_is_an_error_at_once(
    vantage: tuple[AlphaVantage, AlphaVantageMarket], cache: Cache, refusal: dict, said: str
) -> None:
    venue, market = vantage
    venue.refusals = [refusal]
    with pytest.raises(DataError, match=said):
        got(market, IBM, DAY, "2024-03-07", "2024-03-08", cache, wait=pytest.fail)


def test_the_key_is_in_nothing_that_is_said_logged_or_shown(
    vantage: tuple[AlphaVantage, AlphaVantageMarket], cache: Cache, caplog: pytest.LogCaptureFixture
) -> None:
    venue, market = vantage
    caplog.set_level(logging.DEBUG)
    dead = AlphaVantageMarket(KEY, "http://127.0.0.1:9", lambda: NOW)
    said = [repr(market), str(vars(market)), repr(market._http)]
    for asked, refusal in ((market, QUOTA), (market, "not an object"), (dead, NOTE)):
        venue.refusals = [refusal] * 9
        with pytest.raises(DataError) as error:
            got(asked, IBM, DAY, "2024-03-07", "2024-03-08", cache, wait=lambda _: None)
        said += traceback.format_exception(error.value)
        said += [repr(vars(each.request)) for each in chain_of(error.value) if isinstance(each, httpx2.RequestError)]
    said += [f"{record.getMessage()} {record.args}" for record in caplog.records]
    dead.close()
    assert any("HTTP Request: GET" in each for each in said)
    assert any("Connection refused" in each for each in said)
    assert not [each for each in said if KEY in each]


def chain_of(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__
