"""What venues show to everybody, read by the real clients from loopback venues: times, prices, pages of candles."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal

import ccxt
import pytest
from pydantic import SecretStr, ValidationError

from ffe.config import Secrets, Settings, VenueSettings
from ffe.errors import ConfigError
from ffe.hours import instant
from ffe.model import DAY, HOUR, MINUTE, AssetClass, Bar, InstrumentId, Nanos
from ffe.wire.alpha_vantage import AlphaVantageMarket
from ffe.wire.ccxt_wire import CcxtMarket
from ffe.wire.connect import ccxt_client, market_of
from ffe.wire.errors import Busy, Denied, Unclear
from ffe.wire.market import Candle
from ffe.wire.oanda_wire import PAGE, OandaClient, OandaMarket
from tests.data.values import AAPL, EUR, instrument
from tests.venues import oanda_candles
from tests.venues.alpha_vantage import KEY, KEYLESS, PREMIUM, QUOTA, AlphaVantage
from tests.venues.binance import Binance
from tests.venues.faults import Fault, Malformed, Nulled, Page, Truncated
from tests.venues.oanda import Oanda
from tests.venues.server import Json, Reply, Server

NOW = instant("2024-03-08T12:30")
BTC = instrument("BTC/USDT", AssetClass.CRYPTO, "24/7", "binance")


# ---------------------------------------------------------------- ccxt


@pytest.fixture
def exchange(binance: tuple[Server, ccxt.binance]) -> tuple[Binance, CcxtMarket]:
    server, client = binance
    server.app = venue = Binance(clock=lambda: NOW, half_spread=0.01)
    return venue, CcxtMarket(client)


def bar(opened: Nanos, interval: Nanos = HOUR) -> Bar:
    return Bar(InstrumentId(BTC.id), interval, opened, opened + interval, 100.0, 102.0, 99.0, 101.0, 7.0)


def test_an_exchanges_clock_is_read_and_ours_where_it_shows_none(exchange: tuple[Binance, CcxtMarket]) -> None:
    venue, market = exchange
    assert market.time() == NOW
    venue.requests.clear()
    assert CcxtMarket(ccxt.bitfinex()).time() > NOW
    assert venue.requests == []


def test_a_quote_is_the_middle_of_both_sides(exchange: tuple[Binance, CcxtMarket]) -> None:
    venue, market = exchange
    venue.price("BTCUSDT", 50_000.0)
    (quote,) = market.quotes([BTC])
    assert (quote.instrument, quote.mid) == (BTC.id, 50_000.0)


def test_a_price_that_is_not_there_is_no_quote(exchange: tuple[Binance, CcxtMarket]) -> None:
    venue, market = exchange
    venue.price("BTCUSDT", 50_000.0)
    venue.faults = [Nulled("bidPrice", "askPrice", "lastPrice", "openPrice", on="GET ticker*")]
    with pytest.raises(Unclear, match="no price that can be believed"):
        market.quotes([BTC])


def test_candles_are_those_that_open_in_the_range(exchange: tuple[Binance, CcxtMarket]) -> None:
    venue, market = exchange
    start = NOW - 12 * HOUR - HOUR // 2
    venue.bars["BTCUSDT", "1h"] = [bar(start + n * HOUR) for n in range(12)]
    found = market.candles(BTC, HOUR, start + 2 * HOUR, start + 5 * HOUR)
    assert [candle.open_time for candle in found] == [start + n * HOUR for n in (2, 3, 4)]
    assert found[0] == Candle(start + 2 * HOUR, 100.0, 102.0, 99.0, 101.0, 7.0)
    assert market.candles(BTC, HOUR, start + 20 * HOUR, start + 30 * HOUR) == []


def test_a_page_is_as_long_as_the_exchange_allows(exchange: tuple[Binance, CcxtMarket]) -> None:
    venue, market = exchange
    start = NOW - 3_000 * HOUR - HOUR // 2
    venue.bars["BTCUSDT", "1h"] = [bar(start + n * HOUR) for n in range(3_000)]
    assert len(market.candles(BTC, HOUR, start, NOW)) == 1_000


def test_bars_whose_length_is_not_what_their_name_says_are_refused(exchange: tuple[Binance, CcxtMarket]) -> None:
    _, market = exchange
    assert market.candles(BTC, 7 * DAY, NOW - 70 * DAY, NOW) == []
    with pytest.raises(Denied, match="has no bars of"):
        market.candles(BTC, 30 * DAY, NOW - 300 * DAY, NOW)  # ccxt's name for a month


@pytest.mark.parametrize("fault", [Malformed, Truncated, Page])
def test_candles_that_cannot_be_read_are_not_taken_for_none(
    exchange: tuple[Binance, CcxtMarket], fault: Callable[..., Fault]
) -> None:
    venue, market = exchange
    venue.bars["BTCUSDT", "1h"] = [bar(NOW - 2 * HOUR)]
    venue.faults = [fault(on="GET klines")]
    with pytest.raises(Unclear):
        market.candles(BTC, HOUR, NOW - 3 * HOUR, NOW)


def test_a_candle_without_a_price_has_told_nothing(
    binance: tuple[Server, ccxt.binance], exchange: tuple[Binance, CcxtMarket]
) -> None:
    venue, market = exchange
    row: Json = [(NOW - 2 * HOUR) // 10**6, None, "102", "99", "101", "7", 0, "0", 0, "0", "0", "0"]
    binance[0].app = lambda request: Reply([row]) if "klines" in request.path else venue(request)
    with pytest.raises(Unclear):
        market.candles(BTC, HOUR, NOW - 3 * HOUR, NOW)


# ---------------------------------------------------------------- OANDA


@pytest.fixture
def oanda() -> Iterator[tuple[Oanda, OandaMarket]]:
    with Oanda(lambda: NOW) as venue:
        venue.price("EUR_USD", "1.10000", "1.10010")
        client = OandaClient("loopback", venue.id, venue.url)
        yield venue, OandaMarket(client)
        client.close()


def minutes(count: int, last: Nanos) -> list[oanda_candles.Bar]:
    mid, opens = Decimal("1.1"), [last - n * MINUTE for n in reversed(range(count))]
    return [oanda_candles.Bar(t, t + MINUTE, mid, mid, mid, mid) for t in opens]


def test_oandas_clock_and_mids_are_read(oanda: tuple[Oanda, OandaMarket]) -> None:
    venue, market = oanda
    assert market.time() == NOW
    assert [(quote.instrument, quote.mid) for quote in market.quotes([EUR])] == [(EUR.id, pytest.approx(1.10005))]
    venue.price("EUR_USD", "1.10000", "1.10010", tradeable=False)
    assert market.quotes([EUR]) == []


def test_oandas_running_bar_is_left_out(oanda: tuple[Oanda, OandaMarket]) -> None:
    venue, market = oanda
    venue.bars("EUR_USD", minutes(90, NOW - MINUTE))
    found = market.candles(EUR, HOUR, NOW - 3 * HOUR, NOW)
    assert [candle.open_time for candle in found] == [NOW - HOUR - HOUR // 2]
    assert len(market.candles(EUR, MINUTE, NOW - 3 * HOUR, NOW)) == 90


def test_oandas_page_is_five_thousand_and_begins_where_it_is_asked_to(oanda: tuple[Oanda, OandaMarket]) -> None:
    venue, market = oanda
    venue.bars("EUR_USD", minutes(PAGE + 200, NOW - MINUTE))
    since = NOW - (PAGE + 100) * MINUTE
    page = market.candles(EUR, MINUTE, since, NOW)
    assert (len(page), page[0].open_time) == (PAGE, since)


def test_oandas_other_lengths_are_refused(oanda: tuple[Oanda, OandaMarket]) -> None:
    with pytest.raises(Denied, match="OANDA has no bars of 420 s"):
        oanda[1].candles(EUR, 7 * MINUTE, NOW - DAY, NOW)


# ---------------------------------------------------------------- Alpha Vantage


@pytest.fixture
def vantage() -> Iterator[tuple[AlphaVantage, AlphaVantageMarket]]:
    venue = AlphaVantage()
    with Server(venue) as server:
        market = AlphaVantageMarket(KEY, f"http://127.0.0.1:{server.port}", lambda: NOW)
        yield venue, market
        market.close()


@pytest.mark.parametrize(
    ("said", "error", "is_locked_out"),
    [(QUOTA, Denied, False), (PREMIUM, Denied, False), (KEYLESS, Denied, True)],
)
def test_what_alpha_vantage_says_no_with_is_told_apart(
    vantage: tuple[AlphaVantage, AlphaVantageMarket], said: Json, error: type[Denied], is_locked_out: bool
) -> None:
    venue, market = vantage
    venue.refusals = [said]
    with pytest.raises(error) as refused:
        market.candles(AAPL, DAY, NOW - 10 * DAY, NOW)
    assert (type(refused.value), refused.value.is_locked_out) == (error, is_locked_out)


@pytest.mark.parametrize(
    "said",
    [
        {},
        [],
        {"Time Series (Daily)": {"2024-03-07": {"1. open": "1"}}},
        {"Time Series (Daily)": {"the seventh": dict.fromkeys(("1. open", "2. high", "3. low", "4. close"), "1")}},
        {"Time Series (Daily)": {"2024-03-07": None}},
    ],
)
def test_an_answer_of_another_shape_has_told_nothing(
    vantage: tuple[AlphaVantage, AlphaVantageMarket], said: Json
) -> None:
    venue, market = vantage
    venue.refusals = [said]
    with pytest.raises(Unclear):
        market.candles(AAPL, DAY, NOW - 10 * DAY, NOW)


def test_alpha_vantages_statuses_are_heeded() -> None:
    replies = [Reply(status=503), Reply(status=429, headers={"Retry-After": "9"}), Reply(b"<html>")]
    with Server(lambda _: replies.pop(0)) as server:
        market = AlphaVantageMarket(KEY, f"http://127.0.0.1:{server.port}", lambda: NOW)
        with pytest.raises(Unclear, match="HTTP 503"):
            market.candles(AAPL, DAY, NOW - 10 * DAY, NOW)
        with pytest.raises(Busy) as busy:
            market.candles(AAPL, DAY, NOW - 10 * DAY, NOW)
        with pytest.raises(Unclear, match="without JSON"):
            market.candles(AAPL, DAY, NOW - 10 * DAY, NOW)
        market.close()
    assert busy.value.wait == 9 * 10**9


def test_what_alpha_vantage_does_not_serve_is_refused_unasked(
    vantage: tuple[AlphaVantage, AlphaVantageMarket],
) -> None:
    venue, market = vantage
    with pytest.raises(Denied, match="no bars of 3600 s of a crypto"):
        market.candles(BTC, HOUR, NOW - DAY, NOW)
    with pytest.raises(Denied, match="no bars of 7200 s of a stock"):
        market.candles(AAPL, 2 * HOUR, NOW - DAY, NOW)
    with pytest.raises(Denied, match="history alone"):
        market.quotes([AAPL])
    assert venue.asked == []


# ---------------------------------------------------------------- connections


def settings(**venue: object) -> Settings:
    return Settings(venues={"binance": VenueSettings(**venue)}, instruments={})  # type: ignore[arg-type]


def no_secrets() -> Secrets:
    return Secrets(_env_file=None, oanda_api_key=None, oanda_account_id=None, alpha_vantage_api_key=None)  # type: ignore[call-arg]


@pytest.mark.parametrize("exchange", ["binance", "coinbase", "kraken", "okx", "bybit"])
def test_an_address_replaces_every_host_of_an_exchange(exchange: str) -> None:
    client = ccxt_client("x", VenueSettings(source="ccxt", exchange=exchange, address="http://127.0.0.1:8080"))
    assert set(hosts(client.urls)) == {"http://127.0.0.1:8080"}
    assert set(hosts(ccxt_client(exchange, VenueSettings(source="ccxt")).urls)).isdisjoint({"http://127.0.0.1:8080"})


def hosts(urls: object) -> Iterator[str]:
    if isinstance(urls, dict | list):
        for url in urls.values() if isinstance(urls, dict) else urls:
            yield from hosts(url)
    elif isinstance(urls, str) and urls.startswith("http"):
        yield "/".join(urls.split("/")[:3])


def test_a_venue_is_reached_through_its_address_and_asked_for_spot_alone() -> None:
    with Server(venue := Binance(clock=lambda: NOW)) as server:
        market = market_of("binance", settings(source="ccxt", address=f"http://127.0.0.1:{server.port}"), no_secrets())
        assert market.time() == NOW
        market.candles(BTC, HOUR, NOW - DAY, NOW)
        market.client.session.close()
    assert [asked.endpoint for asked in venue.requests] == ["time", "exchangeInfo", "klines"]


@pytest.mark.parametrize(
    ("venue", "said"),
    [
        ({}, "binance names no source of bars"),
        ({"source": "oanda"}, "OANDA_API_KEY is not set"),
        ({"source": "alpha_vantage"}, "ALPHA_VANTAGE_API_KEY is not set"),
        ({"source": "ccxt", "exchange": "nowhere"}, "ccxt knows no exchange 'nowhere'"),
    ],
)
def test_what_a_connection_lacks_is_named(venue: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        market_of("binance", settings(**venue), no_secrets())


def test_a_key_stands_in_no_representation_of_a_market() -> None:
    keys = no_secrets().model_copy(update={"alpha_vantage_api_key": SecretStr(KEY)})
    market = market_of("binance", settings(source="alpha_vantage"), keys)
    assert isinstance(market, AlphaVantageMarket)
    assert KEY not in f"{market!r} {market._http!r} {vars(market)} {vars(market._http)} {keys!r}"
    market.close()


@pytest.mark.parametrize("address", ["example.org", "ftp://example.org", "https://example.org/path", "https://"])
def test_an_address_is_a_scheme_and_a_host(address: str) -> None:
    with pytest.raises(ValidationError, match="address"):
        VenueSettings(source="ccxt", address=address)


# ---------------------------------------------------------------- where a key goes


@pytest.mark.parametrize("address", ["http://example.com", "http://192.168.1.7:80", "http://127.0.0.1.nip.io"])
def test_no_address_beyond_this_machine_is_spoken_to_in_clear(address: str) -> None:
    """`data fetch` sent the token there, for a file of settings in the current folder said so."""
    with pytest.raises(ValueError, match="would send keys and orders in clear"):
        VenueSettings(source="oanda", address=address)
    assert VenueSettings(source="oanda", address="http://127.0.0.1:9").address == "http://127.0.0.1:9"


@pytest.mark.parametrize(("venue", "source"), [("oanda", "oanda"), ("stocks", "alpha_vantage")])
def test_key_goes_to_an_address_that_is_not_the_venues_own_only_by_somebodys_word(venue: str, source: str) -> None:
    address = "https://gateway.example.com"
    settings = Settings(venues={venue: VenueSettings(source=source, address=address)}, instruments={})
    keys = no_secrets().model_copy(
        update=dict.fromkeys(("oanda_api_key", "oanda_account_id", "alpha_vantage_api_key"), SecretStr("key"))
    )
    with pytest.raises(ConfigError, match=f"send your key to {address}.*--send-key-to {address}"):
        market_of(venue, settings, keys)
    assert market_of(venue, settings, keys, [address]) is not None


@pytest.mark.parametrize("venue", ["oanda", "stocks", "binance"])
def test_answer_that_is_nested_too_deeply_is_unreadable(venue: str) -> None:
    """It was a fault of ours, which ends an engine; found by changing bytes of answers at random."""
    source = {"oanda": "oanda", "stocks": "alpha_vantage", "binance": "ccxt"}[venue]
    keys = no_secrets().model_copy(
        update=dict.fromkeys(("oanda_api_key", "oanda_account_id", "alpha_vantage_api_key"), SecretStr("key"))
    )
    binance, nested = Binance(), Reply(b"[" * 100_000, 200, {"Content-Type": "application/json"})
    of_candles = ("/candles", "/query", "/klines")
    with Server(lambda request: nested if any(p in request.path for p in of_candles) else binance(request)) as server:
        described = VenueSettings(source=source, address=f"http://127.0.0.1:{server.port}")
        market = market_of(venue, Settings(venues={venue: described}, instruments={}), keys)
        with pytest.raises(Unclear) as caught:
            market.candles({"oanda": EUR, "stocks": AAPL, "binance": BTC}[venue], DAY, 0, 10 * DAY)
    assert caught.value.fault.name == "UNREADABLE"
