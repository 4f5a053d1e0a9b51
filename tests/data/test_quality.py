"""Bars that cannot be true are refused by row, time and reason; what is missing is counted by the hours."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffe.data import sources
from ffe.data.barset import Series
from ffe.data.quality import Gap, checked, gaps, outside
from ffe.errors import BadBars
from ffe.hours import Hours, instant, stamp
from ffe.model import DAY, HOUR, MINUTE, Instrument
from tests.data.values import AAPL, BTC, EUR, NEW_YEAR, SONY, series

BARS = 30
GOOD = series(BTC, "2024-01-01", BARS)

# What is written into one row of GOOD (low 99+n, open 99.5+n, close 100+n, high 101+n), and the reason it must give.
LIES = {
    "high": (50.0, "high 50.0 is under low"),
    "low": (199.0, "high .* is under low 199.0"),
    "open": (10.0, "open 10.0 lies outside low"),
    "close": (199.0, "close 199.0 lies outside low"),
    "volume": (-1.0, "volume -1.0 is negative"),
}


def rows(of: Instrument, interval: int, *opens: str) -> Series:
    times = [instant(t) for t in opens]
    ones = [1.0] * len(times)
    return Series.from_arrays(
        of, interval, Hours.of(of.hours, times[0], times[-1]), times, ones, ones, ones, ones, ones
    )


def with_value(name: str, row: int, value: float) -> Series:
    column = getattr(GOOD, name).copy()
    column[row] = value
    return replace(GOOD, **{name: column})


def refused(series: Series, row: int, reason: str) -> None:
    at = stamp(int(series.open_time[row]))
    with pytest.raises(BadBars, match=f"{series.name}: row {row} at {at}: {reason}.*Correct or drop it in the source"):
        checked(series)


def test_good_bars_pass_unchanged() -> None:
    assert checked(GOOD) is GOOD


@given(st.sampled_from(sorted(LIES)), st.integers(0, BARS - 1))
def test_impossible_value_is_refused_by_its_row(name: str, row: int) -> None:
    value, reason = LIES[name]
    refused(with_value(name, row, value), row, reason)


@given(
    st.sampled_from(["open", "high", "low", "close", "volume"]),
    st.integers(0, BARS - 1),
    st.sampled_from([np.nan, np.inf, -np.inf]),
)
def test_what_is_no_number_is_refused_by_its_row(name: str, row: int, value: float) -> None:
    refused(with_value(name, row, value), row, f"{name} is {value}, not a number")


@given(st.sampled_from(["open", "high", "low", "close"]), st.integers(0, BARS - 1), st.floats(-1e9, 0))
def test_price_that_is_not_above_zero_is_refused_by_its_row(name: str, row: int, value: float) -> None:
    refused(with_value(name, row, value), row, f"{name} .* is not above zero")


@given(st.integers(1, BARS - 1))
def test_time_given_twice_is_refused_by_its_row(row: int) -> None:
    refused(GOOD.at(np.r_[0:row, row - 1 : BARS]), row, "the same time as the row before")


@given(st.integers(1, BARS - 2))
def test_time_that_goes_back_is_refused_by_its_row(row: int) -> None:
    swapped = np.r_[0:row, row + 1, row, row + 2 : BARS]
    refused(GOOD.at(swapped), row + 1, "earlier than the row before")


@given(st.integers(1, BARS - 1), st.integers(1, 59))
def test_row_of_another_interval_is_refused_by_its_row(row: int, minutes: int) -> None:
    opens = np.insert(GOOD.open_time, row, GOOD.open_time[row - 1] + minutes * MINUTE)
    ones = np.ones(BARS + 1)
    mixed = Series.from_arrays(BTC, HOUR, GOOD.hours(), opens, ones, ones, ones, ones, ones)
    refused(mixed, row, "not on the grid of 1h that most rows keep: two intervals are mixed")


def test_bars_of_a_wider_interval_than_declared_are_refused() -> None:
    wide = series(BTC, "2024-01-01", 40, 4 * HOUR)
    declared = replace(wide, interval=HOUR, close_time=wide.open_time + HOUR)
    refused(declared, 0, "no two rows are 1h apart: it is another interval")


def test_several_bad_rows_are_counted() -> None:
    refused(replace(GOOD, volume=-GOOD.volume), 0, r"volume -7.0 is negative \(29 more like it\)")


def test_close_times_that_cannot_be_are_refused() -> None:
    refused(replace(GOOD, close_time=GOOD.open_time), 0, "it ends before it opens")
    late = np.maximum(GOOD.close_time, GOOD.close_time[9])
    refused(replace(GOOD, close_time=late), 1, "it ends no later than the row before")


@pytest.mark.parametrize("opens", [["14:30", "15:30", "16:30", "20:30"], ["14:30", "15:00", "16:00", "20:00"]])
def test_stock_hours_may_count_from_the_open_or_by_the_clock(opens: list[str]) -> None:
    days = [f"2024-01-{day}T{t}" for day in ("08", "09", "10") for t in opens]
    assert len(checked(rows(AAPL, HOUR, *days))) == 12


def test_rows_outside_the_session_are_counted_and_kept() -> None:
    extended = rows(AAPL, HOUR, "2024-01-08T13:00", "2024-01-08T14:00", "2024-01-08T15:00", "2024-01-08T21:00")
    assert outside(checked(extended)) == 3


def test_daily_row_without_a_trading_day_is_refused() -> None:
    holiday = rows(AAPL, DAY, "2024-07-03T13:30", "2024-07-04T13:30", "2024-07-05T13:30")
    refused(holiday, 1, "no day of XNYS holds it")


def test_second_row_for_one_day_is_refused() -> None:
    refused(rows(AAPL, DAY, "2024-01-08T14:30", "2024-01-08T18:30"), 1, "it ends no later than the row before")


@given(st.sets(st.integers(1, BARS - 2)))
def test_gaps_hold_exactly_the_bars_that_are_missing(missing: set[int]) -> None:
    kept = GOOD.at(np.array([row not in missing for row in range(BARS)]))
    found = {t for gap in gaps(kept) for t in range(gap.start, gap.end, HOUR)}
    assert found == {NEW_YEAR + row * HOUR for row in missing}
    assert sum(gap.bars for gap in gaps(kept)) == len(missing)


def test_weekend_lunch_and_holiday_are_no_gaps() -> None:
    forex = rows(EUR, HOUR, "2024-03-08T21:00", "2024-03-10T21:00")
    lunch = rows(SONY, 30 * MINUTE, "2024-05-01T02:00", "2024-05-01T03:30")
    stock = rows(AAPL, DAY, "2024-03-28T13:30", "2024-04-01T13:30")
    assert gaps(forex) == gaps(lunch) == gaps(stock) == ()


def test_gap_over_a_weekend_is_told_per_session() -> None:
    found = gaps(rows(EUR, HOUR, "2024-03-08T19:00", "2024-03-10T23:00"))
    friday = Gap(instant("2024-03-08T20:00"), instant("2024-03-08T22:00"), 2)
    assert found == (friday, Gap(instant("2024-03-10T21:00"), instant("2024-03-10T23:00"), 2))


def test_missing_days_of_a_stock_are_gaps() -> None:
    found = gaps(rows(AAPL, DAY, "2024-07-02T13:30", "2024-07-08T13:30"))  # 3 and 5 July traded, 4 July did not
    assert [(stamp(g.start), g.bars) for g in found] == [("2024-07-03 13:30", 1), ("2024-07-05 13:30", 1)]


def test_real_bars_are_good_but_for_the_gaps_known_of_them(shared_data: Path) -> None:
    bitcoin = sources.from_parquet(shared_data / "BTC_USD_H1_2020_2023.parquet", BTC, HOUR)
    euro = sources.from_parquet(shared_data / "EUR_USD_H1_2020_2023.parquet", EUR, HOUR)
    assert [g.bars for g in gaps(bitcoin)] == [1, 1, 1, 3]
    assert [g.bars for g in gaps(euro)] == [1, 2, 24, 1]
    assert outside(euro) == 0
