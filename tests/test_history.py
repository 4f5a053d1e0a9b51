"""Which day a close belongs to, when a day is completed, and what a unit of exposure earned in another currency."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffe.history import CHUNK_DAYS, DailyCloses, History
from ffe.hours import instant
from ffe.model import DAY, HOUR, MINUTE, Bar, Bars, Currency, Instrument, Nanos, Price
from tests.risk.values import BTC, BTC_EUR, DAX, ETH, EURJPY, EURUSD, UNIVERSE

NAN = math.nan
MONDAY = instant("2024-01-01")


def known_rate(currency: Currency) -> float:
    return {"USD": 1.0, "EUR": 1.25, "JPY": 1.0 / 128.0}[currency]


def bar(of: Instrument, opened: Nanos, close: Price, interval: Nanos = HOUR) -> Bar:
    return Bar(of.id, interval, opened, opened + interval, close, close, close, close, 1.0)


def observe(history: History, *bars: Bar, rate: float | None = None) -> None:
    for one in bars:
        history.observe(Bars(one.close_time, (one,)), known_rate if rate is None else lambda currency: rate)


def column(history: History, of: Instrument, days: int) -> list[float]:
    return [float(close) for close in history.closes.table[:days, UNIVERSE.index[of.id]]]


# ---------------------------------------------------------------- days


def test_close_belongs_to_the_day_of_its_bars_open() -> None:
    history = History(UNIVERSE)
    observe(history, bar(BTC, MONDAY, 1.0), bar(BTC, MONDAY + 23 * HOUR, 2.0), bar(BTC, MONDAY + DAY, 3.0))
    assert column(history, BTC, 2) == [2.0, 3.0]


def test_last_close_of_a_day_is_its_close() -> None:
    history = History(UNIVERSE)
    observe(history, *(bar(BTC, MONDAY + n * HOUR, float(n)) for n in range(5)))
    assert column(history, BTC, 1) == [4.0]


def test_day_without_a_bar_has_no_close() -> None:
    history = History(UNIVERSE)
    observe(history, bar(BTC, MONDAY, 1.0), bar(ETH, MONDAY + DAY, 2.0), bar(BTC, MONDAY + 2 * DAY, 3.0))
    assert column(history, BTC, 3) == pytest.approx([1.0, NAN, 3.0], nan_ok=True)
    assert column(history, ETH, 3) == pytest.approx([NAN, 2.0, NAN], nan_ok=True)


def test_day_before_the_first_is_forgotten() -> None:
    history = History(UNIVERSE)
    observe(history, bar(BTC, MONDAY + DAY, 1.0), bar(BTC, MONDAY, 9.0))
    assert column(history, BTC, 1) == [1.0]
    assert np.count_nonzero(np.isfinite(history.closes.table)) == 1


def test_bars_that_were_missed_give_completed_days_their_closes() -> None:
    history = History(UNIVERSE, keep=9, interval=HOUR)
    missed = [bar(BTC, MONDAY + n * HOUR, float(n)) for n in range(20, 52)]
    observe(history, bar(BTC, MONDAY, 1.0))
    history.closes.complete(MONDAY // DAY + 2)
    history.observe(Bars(MONDAY + 52 * HOUR, tuple(missed)), known_rate)
    assert column(history, BTC, 3) == [23.0, 47.0, 51.0]
    assert [held.close for held in history.bars[BTC.id]] == [float(n) for n in range(43, 52)]


def test_a_bar_behind_a_newer_one_changes_no_day_that_has_a_close() -> None:
    history = History(UNIVERSE)
    observe(history, bar(BTC, MONDAY - DAY, 1.0), bar(BTC, MONDAY + DAY + HOUR, 3.0, MINUTE))
    observe(history, bar(BTC, MONDAY + DAY, 9.0), bar(BTC, MONDAY - DAY, 9.0))
    assert column(history, BTC, 3) == pytest.approx([1.0, NAN, 3.0], nan_ok=True)
    observe(history, bar(BTC, MONDAY, 2.0))  # a day without a close takes one
    assert column(history, BTC, 3) == [1.0, 2.0, 3.0]


def test_an_index_goes_only_forwards() -> None:
    history, other = History(UNIVERSE), History(UNIVERSE)
    path = [bar(EURJPY, MONDAY + n * DAY, 100.0 + n) for n in range(3)]
    observe(history, path[0], path[2], path[1], bar(EURJPY, MONDAY + 3 * DAY, 110.0))
    observe(other, path[0], path[2], bar(EURJPY, MONDAY + 3 * DAY, 110.0))
    assert column(history, EURJPY, 4) == pytest.approx(column(other, EURJPY, 4), nan_ok=True)


def test_day_is_completed_by_the_roll_and_by_nothing_else() -> None:
    history, first = History(UNIVERSE), MONDAY // DAY
    history.closes.complete(first)
    assert history.closes.end == 0
    observe(history, bar(BTC, MONDAY, 1.0), bar(BTC, MONDAY + DAY, 2.0))
    assert history.closes.end == 0
    for day, end in ((first - 5, 0), (first, 0), (first + 1, 1), (first + 2, 2)):
        history.closes.complete(day)
        assert history.closes.end == end


@given(st.lists(st.integers(0, 3 * CHUNK_DAYS), min_size=1, max_size=9))
def test_table_grows_and_keeps_what_it_holds(days: list[int]) -> None:
    closes = DailyCloses(2)
    closes.row(100)
    for day in days:
        row = closes.row(100 + day)
        closes.table[row, 1] = float(day)
    assert [closes.table[day, 1] for day in days] == [float(day) for day in days]
    assert np.isnan(closes.table[:, 0]).all()
    assert max(days) < len(closes.table) and len(closes.table) % CHUNK_DAYS == 0


def test_row_just_past_the_table_makes_a_new_chunk() -> None:
    closes = DailyCloses(1)
    assert [closes.row(day) for day in (7, 7 + CHUNK_DAYS - 1)] == [0, CHUNK_DAYS - 1]
    assert len(closes.table) == CHUNK_DAYS
    assert closes.row(7 + CHUNK_DAYS) == CHUNK_DAYS
    assert (len(closes.table), closes.row(6)) == (2 * CHUNK_DAYS, -1)


# ---------------------------------------------------------------- in the account currency


def test_close_is_converted_at_the_rate_of_its_moment() -> None:
    history = History(UNIVERSE)
    observe(history, bar(BTC_EUR, MONDAY, 40_000.0), bar(BTC, MONDAY, 50_000.0), bar(EURUSD, MONDAY, 1.5))
    assert [column(history, of, 1) for of in (BTC_EUR, BTC, EURUSD)] == [[50_000.0], [50_000.0], [1.5]]
    observe(history, bar(BTC_EUR, MONDAY + DAY, 40_000.0), rate=2.0)
    assert column(history, BTC_EUR, 2) == [50_000.0, 80_000.0]


def test_close_without_a_rate_is_unknown() -> None:
    history = History(UNIVERSE)
    observe(history, bar(BTC_EUR, MONDAY, 40_000.0), bar(DAX, MONDAY, 16_000.0), rate=NAN)
    assert np.isnan(column(history, BTC_EUR, 1) + column(history, DAX, 1)).all()


def test_margin_position_converts_its_gain_alone() -> None:
    history = History(UNIVERSE)
    observe(history, bar(DAX, MONDAY, 16_000.0), rate=1.25)
    observe(history, bar(DAX, MONDAY + DAY, 16_000.0), rate=1.5)  # the euro rose, the index did not
    assert column(history, DAX, 2) == [20_000.0, 20_000.0]
    observe(history, bar(DAX, MONDAY + 2 * DAY, 20_000.0), rate=0.75)  # a gain of a quarter, worth half as much
    assert column(history, DAX, 3)[2] == 20_000.0 * 1.125


@given(st.lists(st.tuples(st.floats(0.5, 2.0), st.floats(0.5, 2.0), st.integers(1, 4)), min_size=2, max_size=9))
def test_days_of_an_index_are_what_exposure_earned(days: list[tuple[float, float, int]]) -> None:
    history = History(UNIVERSE)
    for day, (price, rate, count) in enumerate(days):
        for n in range(count):  # only the last bar of a day counts
            last = n == count - 1
            observe(
                history, bar(EURJPY, MONDAY + day * DAY + n * HOUR, price if last else 7.0), rate=rate if last else 3.0
            )
    levels = column(history, EURJPY, len(days))
    assert levels[0] == pytest.approx(days[0][0] * days[0][1])
    for (was, rate_was, _), (price, rate, _), before, level in zip(days, days[1:], levels, levels[1:], strict=False):
        assert level / before - 1.0 == pytest.approx((price - was) / was * rate / rate_was, abs=1e-9)


# ---------------------------------------------------------------- bars for strategies


def test_strategy_sees_the_last_bars_of_each_instrument() -> None:
    history = History(UNIVERSE, keep=2)
    seen = [bar(BTC, MONDAY + n * HOUR, float(n + 1)) for n in range(3)]
    observe(history, *seen, bar(ETH, MONDAY, 7.0))
    assert list(history.bars[BTC.id]) == seen[1:]
    assert [b.close for b in history.bars[ETH.id]] == [7.0]


def test_bars_are_kept_only_where_somebody_looks() -> None:
    history = History(UNIVERSE)
    observe(history, bar(BTC, MONDAY, 1.0))
    assert not history.bars
