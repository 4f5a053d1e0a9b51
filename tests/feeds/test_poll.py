"""Live feeds over the loopback venues: what they say, when they say it, and what they never say."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from decimal import Decimal
from itertools import pairwise

import ccxt
import numpy as np
import pytest

from ffe.data.barset import BarSet, Series
from ffe.errors import ConfigError
from ffe.feeds.agenda import Agenda, AskBars, Learnt, Pace, Wanted
from ffe.feeds.bars import BarFeed
from ffe.feeds.gather import Gathering
from ffe.feeds.poll import PollFeed, steady
from ffe.feeds.synthetic import synthetic
from ffe.hours import Hours, instant
from ffe.model import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    Bar,
    Bars,
    Failed,
    Fault,
    Heard,
    Heartbeat,
    Instrument,
    Nanos,
    Quote,
    Quotes,
    Rejected,
    Venue,
)  # fmt: skip
from ffe.wire.ccxt_wire import CcxtMarket
from ffe.wire.ccxt_wire import instruments as listed_coins
from ffe.wire.market import Candle as Row
from ffe.wire.market import Market
from ffe.wire.oanda_wire import OandaClient, OandaMarket
from ffe.wire.oanda_wire import instruments as listed_pairs
from tests.feeds.stage import Clock, Stage
from tests.venues import faults
from tests.venues.binance import Asked, Binance
from tests.venues.oanda import Oanda
from tests.venues.oanda_candles import Bar as Candle
from tests.venues.oanda_faults import PRICING, HttpError, NotTradeable
from tests.venues.oanda_values import Instrument as Listed
from tests.venues.play import symbol_of
from tests.venues.server import Reply, Server

MONDAY = instant("2024-02-05")
NINE = MONDAY + 9 * HOUR  # 04:00 New York
YEAR = instant("2023-06-01"), instant("2024-12-01")
COINS, PAIRS = Venue("coins"), Venue("pairs")
NAMES = {MINUTE: "1m", HOUR: "1h", DAY: "1d"}
COLUMNS = ("open", "high", "low", "close", "volume")
CASH = {"USDT": 100_000.0}


def hours_of(*instruments: Instrument) -> dict[str, Hours]:
    return {i.id: Hours.of(i.hours, *YEAR) for i in instruments}


def rows(s: Series) -> list[Bar]:
    columns = (getattr(s, name).tolist() for name in ("open_time", "close_time", *COLUMNS))
    return [Bar(s.instrument.id, s.interval, *row) for row in zip(*columns, strict=True)]


def rounded(s: Series) -> Series:
    return replace(s, **{name: np.round(getattr(s, name), 2 if name != "volume" else 0) for name in COLUMNS})


class Coins:
    """A loopback Binance with bars of two coins from Monday on, a clock, and the markets' minute bars wanted."""

    def __init__(self, server: Server, client: ccxt.binance, now: Nanos = NINE, intervals: Sequence[Nanos] = (MINUTE,)):
        self.clock = Clock(now)
        self.venue = Binance(cash=CASH, clock=self.clock.true)
        server.app, self.client = self.venue, client
        self.btc, self.eth = listed_coins(client, COINS, ["BTC/USDT", "ETH/USDT"])
        self.market = CcxtMarket(client)
        self.wanted = [Wanted(i, interval) for i in (self.btc, self.eth) for interval in intervals]
        self.hours = hours_of(self.btc, self.eth)
        for instrument, price in ((self.btc, 50_000.0), (self.eth, 2_500.0)):
            self.venue.price(symbol_of(instrument.id), price)
        self.venue.requests.clear()

    def give(self, start: Nanos, bars: int, interval: Nanos = MINUTE, *of: Instrument) -> list[Bar]:
        """Bars that the venue shows when their time comes; each closes a little higher."""
        given = []
        for instrument in of or (self.btc, self.eth):
            opens = [start + n * interval for n in range(bars)]
            made = [Bar(instrument.id, interval, t, t + interval, 100.0, 102.0 + n, 99.0, 101.0 + n, 7.0)
                    for n, t in enumerate(opens)]  # fmt: skip
            self.show(made)
            given += made
        return given

    def show(self, bars: Sequence[Bar]) -> None:
        for bar in bars:
            key = symbol_of(bar.instrument), NAMES[bar.interval]
            kept = [old for old in self.venue.bars.get(key, []) if old.open_time != bar.open_time]
            self.venue.bars[key] = sorted([*kept, bar], key=lambda each: each.open_time)

    def hide(self, bars: Sequence[Bar]) -> list[Bar]:
        for bar in bars:
            self.venue.bars[symbol_of(bar.instrument), NAMES[bar.interval]].remove(bar)
        return list(bars)

    def stage(self, pace: Pace | None = None) -> Stage:
        return Stage(self.clock, {COINS: self.market}, self.wanted, self.hours, pace)

    def asked(self, endpoint: str, **params: str) -> list[Nanos]:
        """When the venue was asked, in seconds since nine."""
        symbol = params.pop("symbol", None)
        asked = [r for r in self.venue.requests if r.endpoint == endpoint and params.items() <= r.params.items()]
        fits = [r for r in asked if symbol is None or symbol in (r.params.get("symbol"), *symbols_of(r))]
        return [(r.time - NINE) / SECOND for r in fits]


def symbols_of(request: Asked) -> list[str]:
    """The symbols of a request for several."""
    return json.loads(request.params.get("symbols", "[]"))


@pytest.fixture
def coins(binance: tuple[Server, ccxt.binance]) -> Coins:
    return Coins(*binance)


# ---------------------------------------------------------------- bars


def test_bars_of_an_instant_are_one_event_once_they_are_complete(coins: Coins) -> None:
    given = coins.give(NINE, 5)
    stage = coins.stage()
    stage.run(150)
    assert [event.time for event in stage.bars] == [NINE + MINUTE, NINE + 2 * MINUTE]
    assert stage.bars[0].bars == (given[0], given[5])
    arrived = [at for said, at in zip(stage.seen, stage.heard_at, strict=True) if isinstance(said, Bars)]
    assert arrived[0] == NINE + MINUTE + SECOND // 2


@pytest.mark.parametrize("seed", [1, 2])
def test_a_live_feed_says_the_bars_that_their_replay_says(binance: tuple[Server, ccxt.binance], seed: int) -> None:
    start = MONDAY + 22 * HOUR
    coins = Coins(*binance, now=start, intervals=(MINUTE, HOUR))
    made = synthetic([coins.btc, coins.eth], [MINUTE, HOUR], start, 180, seed, price=500.0, missing=0.05)
    bars = BarSet(tuple(rounded(s) for s in made))
    for series in bars:
        coins.show(rows(series))
    stage = coins.stage(Pace(idle=MINUTE))
    stage.run(3 * 3600 + 10)
    replay = [e for e in BarFeed(bars, coins.hours).events(frozenset) if isinstance(e, Bars)]
    assert stage.bars == replay and len(replay) > 170


def test_a_straggler_is_waited_for_three_seconds_and_then_comes_by_itself(coins: Coins) -> None:
    given = coins.give(NINE, 5)
    coins.hide([given[5], given[6]])  # of ETH, the first two
    stage = coins.stage()
    stage.turns.later(NINE + MINUTE + SECOND, lambda: coins.show([given[5]]))
    stage.turns.later(NINE + 2 * MINUTE + 8 * SECOND, lambda: coins.show([given[6]]))
    stage.run(170)
    assert [e.bars for e in stage.bars] == [(given[0], given[5]), (given[1],), (given[6],)]
    heard = [at for said, at in zip(stage.seen, stage.heard_at, strict=True) if isinstance(said, Bars)]
    assert heard[0] <= NINE + MINUTE + 3 * SECOND and heard[1] == NINE + 2 * MINUTE + 3 * SECOND
    late = stage.bars[2].time
    assert late == heard[2] and NINE + 2 * MINUTE + 8 * SECOND <= late <= NINE + 2 * MINUTE + 12 * SECOND


def test_an_instrument_without_trades_holds_nobody_up_longer_and_is_not_asked_for_ever(coins: Coins) -> None:
    coins.give(NINE, 3, MINUTE, coins.btc)
    hourly = Wanted(coins.eth, HOUR)
    coins.wanted = [Wanted(coins.btc, MINUTE), hourly]
    coins.clock.time = NINE - 30 * SECOND
    stage = coins.stage()
    stage.run(15 * 60)
    asked = coins.asked("klines", symbol="ETHUSDT")
    assert 5 <= len(asked) <= 10 and max(asked) < 120
    assert stage.bars[0].time == NINE + MINUTE


def test_what_an_outage_left_out_rides_with_the_next_bars_in_order_and_once(coins: Coins) -> None:
    given = coins.give(NINE, 40)
    stage = coins.stage()
    outage = {"start": NINE + 2 * MINUTE + 30 * SECOND, "end": NINE + 25 * MINUTE + 30 * SECOND}
    coins.venue.faults = [faults.ServerError(on="GET *", **outage)]
    stage.run(30 * 60)
    btc, eth = given[:29], given[40:69]
    assert stage.given(coins.btc) == btc and stage.given(coins.eth) == eth
    (gap, *_) = [event for event in stage.bars if len(event.bars) > 2]
    closes = [bar.close_time for bar in gap.bars]
    assert closes == sorted(closes) and closes[0] == NINE + 3 * MINUTE and closes[-1] <= gap.time
    times = [said.time for said in stage.seen]
    assert times == sorted(times)


def test_missed_bars_of_several_instruments_go_out_in_the_order_of_their_closes(coins: Coins) -> None:
    given = coins.give(NINE, 3)
    gathering = Gathering(coins.wanted, coins.hours, Pace(), NINE + 2 * MINUTE + 30 * SECOND)
    btc, eth = coins.wanted
    for wanted, bars in ((eth, given[3:]), (btc, given[:3])):
        gathering.take(Learnt(COINS, NINE + 181 * SECOND, True, tuple((wanted, bar) for bar in bars)))
    (event,) = gathering.ready(NINE + 181 * SECOND)
    assert event == Bars(NINE + 3 * MINUTE, tuple(given[n] for n in (0, 3, 1, 4, 2, 5)))


def test_hourly_bars_that_an_outage_made_stale_wait_for_the_next_instant(coins: Coins) -> None:
    given = coins.give(NINE, 5, HOUR, coins.btc)
    coins.wanted = [Wanted(coins.btc, HOUR)]
    stage = coins.stage(Pace(idle=MINUTE))
    coins.venue.faults = [faults.ServerError(on="GET *", start=NINE + 30 * MINUTE, end=NINE + 2 * HOUR + 20 * MINUTE)]
    stage.run(3 * 3600 + 60)
    assert [(e.time, e.bars) for e in stage.bars] == [(NINE + 3 * HOUR, tuple(given[:3]))]


@pytest.mark.parametrize("minutes", [1_008, 2_500])  # of a first page the last bar is eight minutes old, or a day
def test_a_long_gap_is_read_page_by_page_and_told_as_a_whole(coins: Coins, minutes: int) -> None:
    given = coins.give(NINE, minutes + 50, MINUTE, coins.btc)
    coins.wanted = [Wanted(coins.btc, MINUTE)]
    stage = coins.stage()
    stage.run(30)
    coins.clock.time += minutes * MINUTE  # the machine slept
    stage.run(60)
    assert stage.given() == given[: minutes + 1]
    (gap,) = [event for event in stage.bars if len(event.bars) > 1]
    assert len(gap.bars) == minutes and gap.time < NINE + minutes * MINUTE + 32 * SECOND
    assert len(coins.asked("klines")) >= 2


def test_a_midnight_without_bars_is_an_event(coins: Coins) -> None:
    coins.clock.time = MONDAY + DAY - 10 * SECOND
    coins.wanted = []
    stage = coins.stage()
    stage.run(20)
    assert stage.bars == [Bars(MONDAY + DAY, ())]


def test_hours_without_trade_are_no_gap(binance: tuple[Server, ccxt.binance]) -> None:
    coins = Coins(*binance, now=instant("2024-02-09T21:30"))  # the last half hour of the week
    coins.hours = {id: Hours.of("forex", *YEAR) for id in coins.hours}
    coins.wanted = [Wanted(coins.btc, HOUR), Wanted(coins.btc, DAY)]
    stage = coins.stage()
    coins.venue.requests.clear()
    stage.run(3600)
    assert stage.bars == []
    before = len(coins.venue.requests)
    stage.run(20 * 3600)
    assert [e.time for e in stage.bars] == [instant("2024-02-10")]
    asked = [request.endpoint for request in coins.venue.requests[before:]]
    assert set(asked) == {"time"}


@pytest.mark.parametrize(
    "column",
    [
        {"high": 50.0},
        {"low": 0.0},
        {"close": float("nan")},
        {"open": float("inf")},
        {"volume": float("nan")},
        {"volume": float("inf")},
        {"volume": -1.0},
    ],
)
def test_a_bar_that_cannot_be_true_is_left_out_and_is_a_failure(coins: Coins, column: dict[str, float]) -> None:
    good = coins.give(NINE, 3, MINUTE, coins.btc)
    bad = replace(good[0], **column)
    coins.wanted = [Wanted(coins.btc, MINUTE)]
    coins.show([bad])
    stage = coins.stage()
    stage.run(130)
    assert stage.given() == [good[1]]
    assert {a.fault for a in stage.answers if isinstance(a, Failed)} == {Fault.UNREADABLE}


def test_a_candle_that_ends_later_than_is_known_is_not_complete(coins: Coins) -> None:
    """A day that the calendar joins to the one behind it: the venue shows it while it still runs."""
    hours, eve = hours_of(replace(coins.btc, hours="forex")), instant("2024-12-24T22:00")
    wanted = Wanted(coins.btc, DAY)
    agenda = Agenda(COINS, [wanted], [coins.btc], hours, Pace())
    ask = AskBars(wanted, eve, eve + DAY)
    assert agenda.told_candles(ask, [Row(eve, 100.0, 101.0, 99.0, 100.0, 1.0)], eve + DAY).bars == ()
    given = agenda.told_candles(replace(ask, until=eve + 2 * DAY), [Row(eve, 100.0, 101.0, 99.0, 100.0, 1.0)], eve)
    assert [bar.close_time for _, bar in given.bars] == [eve + 2 * DAY]


def test_live_bars_must_fill_a_day_evenly(coins: Coins) -> None:
    for interval in (7 * MINUTE, 2 * DAY):
        with pytest.raises(ConfigError, match="do not fill a day"):
            Wanted(coins.btc, interval)


# ---------------------------------------------------------------- time


def test_no_events_time_goes_back_and_quotes_wait_for_the_bars_before_them(coins: Coins) -> None:
    given = coins.give(NINE, 3)
    coins.hide([given[3]])  # ETH's first: the instant waits for it
    stage = coins.stage(Pace(poll=SECOND))
    stage.awaited = frozenset(coins.hours)
    for second in range(170):
        stage.turns.later(NINE + second * SECOND, lambda price=50_000 + second: coins.venue.price("BTCUSDT", price))
        stage.turns.later(NINE + second * SECOND + SECOND // 3, stage.feed.wake)
    stage.run(170)
    times = [said.time for said in stage.seen]
    assert times == sorted(times)
    after = stage.seen[stage.seen.index(stage.bars[0]) + 1 :]
    first = next(said for said in after if isinstance(said, Quotes))
    assert first.time >= NINE + MINUTE + 2 * SECOND  # of those that had to wait the newest alone
    assert {q.instrument: q.mid for q in first.quotes}[coins.btc.id] >= 50_062
    beats = [said.time for said in stage.seen if isinstance(said, Heartbeat)]
    assert NINE + MINUTE - 1 in beats and NINE + MINUTE not in beats  # time stood still, commands were heard


@pytest.mark.parametrize("jump", [HOUR, -HOUR, 30 * SECOND])
def test_a_clock_that_jumps_makes_no_bar_appear_early(coins: Coins, jump: Nanos) -> None:
    given = coins.give(NINE, 10)
    stage = coins.stage()
    stage.turns.later(NINE + 90 * SECOND, lambda: setattr(coins.clock, "jump", jump))
    stage.run(400)
    assert set(stage.given()) <= set(given)  # a running one would have another close
    for said, at in zip(stage.seen, stage.heard_at, strict=True):
        assert not isinstance(said, Bars) or all(bar.close_time <= at for bar in said.bars)
    times = [said.time for said in stage.seen]
    assert times == sorted(times)
    quoted = [at for said, at in zip(stage.seen, stage.heard_at, strict=True) if isinstance(said, Quotes)]
    assert max(b - a for a, b in pairwise(quoted)) <= 20 * SECOND  # whatever it says, open trades are watched
    beats = [at for said, at in zip(stage.seen, stage.heard_at, strict=True) if isinstance(said, Heartbeat)]
    assert max(b - a for a, b in pairwise(beats)) <= 2 * SECOND
    if jump > 0:
        assert stage.given(coins.btc) == given[:6]


def test_after_a_jump_of_the_clock_every_bar_is_asked_for_as_before(coins: Coins) -> None:
    given = coins.give(NINE, 40, MINUTE, coins.btc)
    coins.wanted = [Wanted(coins.btc, MINUTE)]
    late = coins.hide(given[15:16])
    stage = coins.stage()
    stage.turns.later(NINE + 90 * SECOND, lambda: setattr(coins.clock, "jump", HOUR))
    stage.turns.later(NINE + 16 * MINUTE + 4 * SECOND, lambda: coins.show(late))
    stage.run(20 * 60 + 10)
    assert stage.given() == given[:20]


@pytest.mark.parametrize("skew", [-2 * SECOND, 400 * 10**6, 2 * SECOND])
def test_skew_is_measured_and_the_venues_clock_says_what_is_complete(coins: Coins, skew: Nanos) -> None:
    given = coins.give(NINE, 3)
    coins.venue.skew = skew
    stage = coins.stage()
    assert stage.feed.skew(COINS) is None
    stage.run(130)
    assert stage.feed.skew(COINS) == skew
    assert stage.given(coins.btc) == given[:2]
    for said, at in zip(stage.seen, stage.heard_at, strict=True):
        assert not isinstance(said, Bars) or (said.time <= at and all(b.close_time <= at + skew for b in said.bars))


def test_skew_is_measured_every_ten_minutes(coins: Coins) -> None:
    coins.wanted = [Wanted(coins.btc, DAY)]
    stage = coins.stage()
    stage.run(25 * 60)
    assert coins.asked("time") == [0.0, 600.0, 1200.0]


def test_half_of_the_round_trip_is_not_skew() -> None:
    agenda = Agenda(COINS, [], [], {}, Pace())
    agenda.told_time(1_000 * SECOND, 999 * SECOND, 1_001 * SECOND)
    assert agenda.skew == 0


def test_a_steady_clock_tells_utc() -> None:
    clock = steady()
    assert abs(clock() - time.time_ns()) < SECOND


# ---------------------------------------------------------------- quotes


def test_awaited_quotes_come_every_two_seconds_others_every_ten(coins: Coins) -> None:
    coins.wanted = [Wanted(coins.btc, DAY), Wanted(coins.eth, DAY)]
    stage = coins.stage()
    stage.awaited = frozenset({coins.btc.id})
    stage.run(61)
    assert coins.asked("ticker/24hr", symbol="BTCUSDT") == [2.0 * n for n in range(31)]
    assert coins.asked("ticker/24hr", symbol="ETHUSDT") == [10.0 * n for n in range(7)]
    stage.awaited = frozenset({coins.eth.id})
    stage.run(10)
    assert len(coins.asked("ticker/24hr", symbol="ETHUSDT")) >= 7 + 4


def test_a_price_that_somebody_begins_to_wait_for_is_asked_for_within_a_second(coins: Coins) -> None:
    coins.wanted = [Wanted(coins.btc, DAY), Wanted(coins.eth, DAY)]
    stage = coins.stage()
    stage.run(15.5)
    stage.awaited = frozenset({coins.eth.id})
    stage.run(2)
    assert coins.asked("ticker/24hr", symbol="ETHUSDT")[2] == 17.0


def test_quotes_of_one_poll_are_one_event_at_its_arrival(coins: Coins) -> None:
    stage = coins.stage()
    stage.run(1)
    (quotes,) = stage.quotes
    assert quotes.time == NINE and [(q.instrument, q.mid) for q in quotes.quotes] == [
        (coins.btc.id, 50_000.0), (coins.eth.id, 2_500.0)]  # fmt: skip


@pytest.mark.parametrize("pace", [{"poll": 11 * SECOND, "idle": 20 * SECOND}, {"poll": 0}, {"idle": SECOND}])
def test_a_pace_that_would_miss_an_open_trade_is_refused(pace: dict[str, Nanos]) -> None:
    with pytest.raises(ConfigError, match=r"0\.1 to 10 seconds"):
        Pace(**pace)


def spoilt(reply: Reply, wrong: dict[str, str]) -> Reply:
    one = isinstance(reply.body, dict)
    rows = [{**row, **wrong} if row["symbol"] == "BTCUSDT" else row for row in ([reply.body] if one else reply.body)]
    return replace(reply, body=rows[0] if one else rows)


@pytest.mark.parametrize("said", ["-1", "NaN"])
def test_a_price_that_cannot_be_true_is_left_out_and_hides_no_other(coins: Coins, said: str) -> None:
    stage = coins.stage()
    wrong = dict.fromkeys(("lastPrice", "bidPrice", "askPrice"), said)
    coins.venue.faults = [faults.Fault(on="GET ticker*", times=10**6, after=lambda venue, reply: spoilt(reply, wrong))]
    stage.run(30)
    assert {q.instrument for event in stage.quotes for q in event.quotes} == {coins.eth.id}
    assert len(stage.quotes) >= 3
    assert {a.fault for a in stage.answers if isinstance(a, Failed)} == {Fault.UNREADABLE}
    stage.awaited = frozenset(coins.hours)
    before = len(stage.quotes)
    stage.run(20)
    assert len(stage.quotes) - before == 10  # an open trade is looked at as often as ever


def test_the_first_quote_of_a_session_says_so_once(binance: tuple[Server, ccxt.binance]) -> None:
    opens = instant("2024-02-11T22:00")
    coins = Coins(*binance, now=opens - 60 * SECOND)
    coins.hours = {id: Hours.of("forex", *YEAR) for id in coins.hours}
    stage = coins.stage()
    stage.awaited = frozenset({coins.btc.id})
    stage.run(120)
    marked = [(e.time, q.instrument) for e in stage.quotes for q in e.quotes if q.opens_session]
    assert sorted({id for _, id in marked}) == [coins.btc.id, coins.eth.id] and len(marked) == 2
    assert all(opens <= at < opens + 3 * SECOND for at, _ in marked)
    before = {q.instrument for e in stage.quotes if e.time < opens for q in e.quotes}
    assert before == {coins.btc.id}  # somebody waits for it; the other's market is closed


def test_a_session_is_opened_by_the_newest_of_the_quotes_that_had_to_wait(coins: Coins) -> None:
    gathering = Gathering(coins.wanted, coins.hours, Pace(), NINE)
    for second, opens in ((1, True), (2, False)):
        at = NINE + MINUTE + second * SECOND
        gathering.take(Learnt(COINS, at, True, quotes=Quotes(at, (Quote(coins.btc.id, 100.0 + second, opens),))))
        assert list(gathering.ready(at)) == []
    assert list(gathering.ready(NINE + MINUTE + 3 * SECOND)) == [Quotes(at, (Quote(coins.btc.id, 102.0, True),))]


def test_a_session_that_was_open_before_the_feed_is_not_opened_by_it(coins: Coins) -> None:
    stage = coins.stage()
    stage.run(30)
    assert stage.quotes and not [q for event in stage.quotes for q in event.quotes if q.opens_session]


# ---------------------------------------------------------------- beats


def test_a_heartbeat_comes_every_second_and_at_once_when_somebody_wakes_the_feed(coins: Coins) -> None:
    stage = coins.stage()
    stage.turns.later(NINE + 3 * SECOND + SECOND // 4, stage.feed.wake)
    stage.run(6)
    beats = [said.time - NINE for said in stage.seen if isinstance(said, Heartbeat)]
    assert SECOND * 3 + SECOND // 4 in beats
    assert max(b - a for a, b in pairwise(beats)) <= SECOND


def test_a_feed_that_is_stopped_ends_and_lets_its_pollers_go(coins: Coins) -> None:
    stage = coins.stage()
    stage.turns.later(NINE + 2 * SECOND, stage.feed.stop)
    with pytest.raises(StopIteration):
        stage.run(10)
    assert coins.clock.time == NINE + 2 * SECOND and stage.turns.is_stopped


# ---------------------------------------------------------------- failures


def test_a_failing_venue_is_told_of_and_so_is_its_return(coins: Coins) -> None:
    coins.wanted = [Wanted(coins.btc, DAY)]
    stage = coins.stage()
    coins.venue.faults = [faults.ServerError(on="GET *", start=NINE + 3 * SECOND, end=NINE + 60 * SECOND)]
    stage.run(90)
    assert [type(a) for a in stage.answers] == [Failed] * (len(stage.answers) - 1) + [Heard]
    assert all(a.query and a.order is None and a.venue == COINS for a in stage.answers[:-1])
    assert 4 <= len(stage.answers) <= 12  # every ten seconds in the end
    assert stage.answers[-1].time <= NINE + 70 * SECOND


def test_failing_venue_is_asked_later_and_later_up_to_ten_seconds(coins: Coins) -> None:
    stage = coins.stage()
    stage.awaited = frozenset({coins.btc.id})
    coins.venue.faults = [faults.ServerError(on="GET *", start=NINE + 3 * SECOND, end=NINE + 63 * SECOND)]
    stage.run(90)
    met = [(r.time - NINE) / SECOND for r in coins.venue.requests if 3 * SECOND <= r.time - NINE < 63 * SECOND]
    assert [round(b - a) for a, b in pairwise(met)] == [2, 2, 4, 8, 10, 10, 10, 10]


def test_rate_limit_without_a_time_is_waited_for_longer_and_longer_and_is_no_failure(coins: Coins) -> None:
    stage = coins.stage()
    stage.awaited = frozenset({coins.btc.id})
    limited = faults.Refuse(-1003, status=429, on="GET *", start=NINE + 3 * SECOND, end=NINE + 303 * SECOND)
    coins.venue.faults = [limited]
    stage.run(400)
    assert stage.answers == []
    met = [(r.time - NINE) / SECOND for r in coins.venue.requests if 3 * SECOND <= r.time - NINE < 303 * SECOND]
    assert [round(b - a) for a, b in pairwise(met)] == [2, 2, 4, 8, 16, 32, 60, 60, 60]
    assert stage.quotes[-1].time > NINE + 390 * SECOND


def test_rate_limit_is_obeyed_as_it_is_said_and_not_doubled(coins: Coins) -> None:
    """Ten answers of three seconds each: prices are back after thirty."""
    stage = coins.stage()
    stage.awaited = frozenset({coins.btc.id})
    stage.run(3)
    coins.venue.faults = [faults.RateLimited(retry_after=3, on="GET *", times=10)]
    stage.run(40)
    met = [r.time for r in coins.venue.requests if r.time > NINE + 3 * SECOND][:10]
    assert [b - a for a, b in pairwise(met)] == [3 * SECOND] * 9
    assert next(event.time for event in stage.quotes if event.time > met[0]) == met[-1] + 3 * SECOND


def test_a_venue_is_left_alone_for_as_long_as_it_says(coins: Coins) -> None:
    coins.wanted = [Wanted(coins.btc, DAY)]
    stage = coins.stage()
    coins.venue.faults = [faults.RateLimited(retry_after=100, on="GET ticker*", nth=2)]
    stage.run(130)
    assert coins.asked("ticker/24hr")[:3] == [0.0, 10.0, 110.0]


def test_a_key_that_is_worth_nothing_is_told_once(coins: Coins) -> None:
    stage = coins.stage()
    coins.venue.faults = [faults.Refuse(-2015, status=401, on="GET ticker*", times=10**6)]
    coins.client.options["hasAlreadyAuthenticatedSuccessfully"] = False
    stage.run(300)
    (answer,) = [a for a in stage.answers if isinstance(a, Rejected)]
    assert answer.locked_out and answer.order is None
    assert len(coins.asked("ticker/24hr")) < 40


def test_quotes_come_though_the_venues_clock_cannot_be_read(coins: Coins) -> None:
    stage = coins.stage()
    stage.awaited = frozenset({coins.btc.id})
    coins.venue.faults = [faults.ServerError(on="GET time", times=10**6)]
    stage.run(60)
    times = [event.time for event in stage.quotes if coins.btc.id in {q.instrument for q in event.quotes}]
    assert max(b - a for a, b in pairwise(times)) <= 4 * SECOND
    assert stage.bars == []  # nobody knows what has closed


# ---------------------------------------------------------------- two venues


class Two:
    """A Binance with one coin and an OANDA with one pair, minute bars wanted of both."""

    def __init__(self, coins: Coins, venue: Oanda, client: OandaClient) -> None:
        self.coins, self.venue, self.clock = coins, venue, coins.clock
        (self.eur,) = listed_pairs(client, PAIRS, ["EUR/USD"])
        self.markets: dict[Venue, Market] = {COINS: coins.market, PAIRS: OandaMarket(client)}
        self.hours = hours_of(coins.btc, self.eur)
        self.wanted = [Wanted(coins.btc, MINUTE), Wanted(self.eur, MINUTE)]
        venue.mid("EUR_USD", "1.25")
        self.given = coins.give(NINE, 30, MINUTE, coins.btc)

    def show(self, *minutes: int) -> None:
        self.venue.bars("EUR_USD", [
            Candle(NINE + n * MINUTE, NINE + (n + 1) * MINUTE, *map(Decimal, ("1.25", "1.26", "1.24", "1.255")))
            for n in minutes
        ])  # fmt: skip

    def stage(self, pace: Pace | None = None) -> Stage:
        return Stage(self.clock, self.markets, self.wanted, self.hours, pace)


@pytest.fixture
def two(coins: Coins) -> Iterator[Two]:
    with (
        Oanda(coins.clock.true, instruments=[Listed("EUR_USD")]) as venue,
        closing(OandaClient("loopback", venue.id, venue.url)) as client,
    ):
        yield Two(coins, venue, client)


def test_bars_of_two_venues_that_close_together_are_one_event(two: Two) -> None:
    two.show(*range(5))
    stage = two.stage()
    stage.run(150)
    assert [(e.time, [b.instrument for b in e.bars]) for e in stage.bars] == [
        (NINE + n * MINUTE, [two.coins.btc.id, two.eur.id]) for n in (1, 2)
    ]
    bar = stage.bars[0].bars[1]
    assert (bar.open, bar.high, bar.low, bar.close) == (1.25, 1.26, 1.24, 1.255)


def test_a_venue_that_hangs_holds_up_the_other_once_for_three_seconds(two: Two) -> None:
    two.show(*range(9))
    stage = two.stage()
    stage.awaited = frozenset(two.hours)
    stage.turns.later(NINE + 90 * SECOND, lambda: stage.turns.hung.add(PAIRS))
    stage.run(400)
    heard = [at - said.time for said, at in zip(stage.seen, stage.heard_at, strict=True) if isinstance(said, Bars)]
    assert heard[1] == 3 * SECOND and max(heard[2:]) < SECOND
    assert stage.feed.spoke_at(PAIRS) < NINE + 90 * SECOND < NINE + 390 * SECOND < stage.feed.spoke_at(COINS)
    quoted = [e.time for e in stage.quotes if two.coins.btc.id in {q.instrument for q in e.quotes}]
    assert max(b - a for a, b in pairwise(quoted)) < 8 * SECOND
    assert stage.given(two.coins.btc) == two.given[:6] and len(stage.given(two.eur)) == 1
    stage.turns.hung.clear()
    stage.run(100)
    assert [b.close_time for b in stage.given(two.eur)] == [NINE + n * MINUTE for n in range(1, 9)]
    stage.turns.later(NINE + 10 * MINUTE + 2 * SECOND, lambda: two.show(9))
    stage.until(NINE + 10 * MINUTE + 10 * SECOND)
    assert stage.bars[-1].time == NINE + 10 * MINUTE and len(stage.bars[-1].bars) == 2  # it is waited for again


def test_a_pair_that_cannot_be_traded_has_no_quote(two: Two) -> None:
    two.venue.script(NotTradeable(PRICING.during(NINE, NINE + 20 * SECOND)))
    stage = two.stage()
    stage.run(40)
    times = [e.time for e in stage.quotes if two.eur.id in {q.instrument for q in e.quotes}]
    assert times and min(times) >= NINE + 20 * SECOND


def test_a_token_that_is_worth_nothing_is_told_once_and_the_other_venue_goes_on(two: Two) -> None:
    two.venue.script(HttpError(PRICING.every(), status=401))
    stage = two.stage()
    stage.run(130)
    (answer,) = stage.answers
    assert isinstance(answer, Rejected) and answer.locked_out and answer.venue == PAIRS
    assert stage.given(two.coins.btc) == two.given[:2]


# ---------------------------------------------------------------- the past


def test_the_past_is_what_a_replay_of_it_would_be_and_the_stream_goes_on_from_there(coins: Coins) -> None:
    days = coins.give(MONDAY - 70 * DAY, 71, DAY)
    minutes = coins.give(NINE - 700 * MINUTE, 710)
    coins.clock.time = NINE + 20 * SECOND
    stage = coins.stage()
    primed = stage.feed.prime(coins.clock(), warmup=600)
    assert primed.missing == {}
    bars = [bar for event in primed.events for bar in event.bars]
    known = [b for b in days if MONDAY - 62 * DAY <= b.open_time < MONDAY]
    known += [b for b in minutes if NINE - 600 * MINUTE <= b.open_time < NINE]
    assert sorted(bars, key=repr) == sorted(known, key=repr)
    times = [event.time for event in primed.events]
    assert times == sorted(times) and times[-1] == NINE
    stage.run(60)
    assert stage.given(coins.btc) == [b for b in minutes if b.open_time == NINE and b.instrument == coins.btc.id]


def test_what_closed_between_the_past_and_the_stream_comes_with_the_first_bars(coins: Coins) -> None:
    minutes = coins.give(NINE - 5 * MINUTE, 20, MINUTE, coins.btc)
    coins.wanted = [Wanted(coins.btc, MINUTE)]
    stage = coins.stage()
    stage.feed.prime(NINE, warmup=3)
    coins.clock.time = NINE + 3 * MINUTE + 10 * SECOND
    stage.run(60)
    assert stage.given() == minutes[5:9]


def test_history_that_is_missing_is_told_and_not_invented(coins: Coins) -> None:
    coins.give(MONDAY - 10 * DAY, 10, DAY, coins.btc)
    coins.give(NINE - 100 * MINUTE, 100, MINUTE, coins.btc)
    coins.venue.faults = [faults.ServerError(on="GET klines", times=10**6, nth=3)]
    stage = coins.stage()
    primed = stage.feed.prime(NINE, warmup=100)
    assert "coins:BTC/USDT 1m" not in primed.missing
    assert primed.missing["coins:ETH/USDT 1m"].startswith("0 of 100 bars since 2024-02-05 07:20")
    assert set(primed.missing) == {"coins:ETH/USDT 1m", "coins:BTC/USDT 1d", "coins:ETH/USDT 1d"}


def test_pairs_take_their_days_from_hours(two: Two) -> None:
    """A day that ends at 17:00 New York has another close than the UTC day."""
    first, hours = instant("2023-12-04"), two.hours[two.eur.id]
    two.venue.bars("EUR_USD", [
        Candle(t, t + HOUR, *[Decimal("1.25")] * 4)
        for t in range(first, NINE, HOUR) if hours.is_open(t)
    ])  # fmt: skip
    feed = PollFeed(two.markets, [Wanted(two.eur, HOUR)], two.hours, two.clock)
    primed = feed.prime(NINE, warmup=10)
    assert primed.missing == {}
    bars = [bar for event in primed.events for bar in event.bars]
    assert {bar.interval for bar in bars} == {HOUR} and bars[0].open_time == MONDAY - 62 * DAY


# ---------------------------------------------------------------- with threads, on the real clock


def test_threads_let_one_venue_hang_while_the_other_speaks_and_commands_are_heard(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    coins = two.coins
    monkeypatch.setattr(coins.client, "timeout", 1_500)
    coins.venue.faults = [faults.Hang(on="GET *", times=10**6)]
    coins.venue.clock = two.venue.clock = time.time_ns
    two.venue.mid("EUR_USD", "1.25")  # a price of now
    feed = PollFeed(two.markets, two.wanted, _now_hours(coins.btc, two.eur), steady(), Pace(poll=SECOND // 5))
    heard, started = [], time.monotonic()
    threading.Timer(0.5, feed.wake).start()
    for said in feed.events(lambda: frozenset({coins.btc.id, two.eur.id})):
        heard.append((said, time.monotonic() - started))
        if heard[-1][1] > 2.5:
            feed.stop()
    quotes = [at for said, at in heard if isinstance(said, Quotes)]
    assert len(quotes) >= 5 and quotes[0] < 1.0
    assert any(0.5 <= at < 0.8 for said, at in heard if isinstance(said, Heartbeat))
    assert [said.fault for said, _ in heard if isinstance(said, Failed)][:1] == [Fault.TIMEOUT]


def _now_hours(*instruments: Instrument) -> dict[str, Hours]:
    """Always open, whatever day it is."""
    now = time.time_ns()
    return {i.id: Hours.of("24/7", now, now) for i in instruments}


def test_what_a_poller_cannot_stand_stops_the_feed(coins: Coins) -> None:
    class Broken(CcxtMarket):
        def time(self) -> Nanos:
            raise ZeroDivisionError

    feed = PollFeed({COINS: Broken(coins.client)}, coins.wanted, _now_hours(coins.btc, coins.eth), steady())
    with pytest.raises(ZeroDivisionError):
        list(feed.events(frozenset))
