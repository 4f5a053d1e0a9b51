"""Sessions, days and bar ends against answers from exchange and bank calendars, never from the code under test."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffe.errors import ConfigError
from ffe.hours import Hours, instant, new_york_close_times, spelt, stamp
from ffe.model import DAY, HOUR, MINUTE, SECOND

YEARS = instant("2023-01-01"), instant("2026-12-31")
ALWAYS, FOREX, NEW_YORK, TOKYO = (Hours.of(name, *YEARS) for name in ("24/7", "forex", "XNYS", "XTKS"))

instants = st.integers(instant("2023-01-01"), instant("2026-12-01"))


def session(hours: Hours, inside: str) -> tuple[str, ...]:
    return tuple(stamp(edge) for edge in hours.session_at(instant(inside)) or ())


def bar_end(hours: Hours, open_time: str, interval: int) -> str:
    return stamp(int(hours.bar_close(np.array([instant(open_time)]), interval)[0]))


@pytest.mark.parametrize(
    ("inside", "opens", "closes"),
    [
        ("2024-01-17", "2024-01-14 22:00", "2024-01-19 22:00"),  # winter
        ("2024-03-06", "2024-03-03 22:00", "2024-03-08 22:00"),  # clocks go forward on 10 March
        ("2024-03-13", "2024-03-10 21:00", "2024-03-15 21:00"),
        ("2024-10-30", "2024-10-27 21:00", "2024-11-01 21:00"),  # and back on 3 November
        ("2024-11-06", "2024-11-03 22:00", "2024-11-08 22:00"),
        ("2024-12-24", "2024-12-22 22:00", "2024-12-24 22:00"),  # Christmas on a Wednesday
        ("2024-12-26", "2024-12-25 22:00", "2024-12-27 22:00"),
        ("2024-01-02", "2024-01-01 22:00", "2024-01-05 22:00"),  # New Year on a Monday
    ],
)
def test_forex_week_runs_from_sunday_to_friday_17_new_york(inside: str, opens: str, closes: str) -> None:
    assert session(FOREX, inside) == (opens, closes)


@pytest.mark.parametrize(
    ("inside", "opens", "closes"),
    [
        ("2024-03-08T16:00", "2024-03-08 14:30", "2024-03-08 21:00"),
        ("2024-03-11T16:00", "2024-03-11 13:30", "2024-03-11 20:00"),
        ("2024-07-03T16:00", "2024-07-03 13:30", "2024-07-03 17:00"),  # the eve of Independence Day closes at 13:00
        ("2024-11-29T16:00", "2024-11-29 14:30", "2024-11-29 18:00"),  # so does the day after Thanksgiving
        ("2026-11-27T16:00", "2026-11-27 14:30", "2026-11-27 18:00"),
    ],
)
def test_new_york_stocks_keep_early_closes_and_changes_of_clock(inside: str, opens: str, closes: str) -> None:
    assert session(NEW_YORK, inside) == (opens, closes)


@pytest.mark.parametrize(
    "holiday", ["2024-07-04", "2024-11-28", "2024-03-29", "2025-01-09", "2024-01-15", "2024-06-15"]
)
def test_new_york_stocks_are_closed_on_holidays_and_weekends(holiday: str) -> None:
    assert not NEW_YORK.is_open(instant(holiday) + 16 * HOUR)


def test_tokyo_closes_for_lunch_but_its_day_does_not_end_there() -> None:
    assert session(TOKYO, "2024-05-01T01:00") == ("2024-05-01 00:00", "2024-05-01 02:30")
    assert not TOKYO.is_open(instant("2024-05-01T03:00"))
    assert bar_end(TOKYO, "2024-05-01T02:00", HOUR) == "2024-05-01 02:30"
    assert bar_end(TOKYO, "2024-05-01T00:00", DAY) == "2024-05-01 06:00"


@pytest.mark.parametrize("hours", [FOREX, NEW_YORK, TOKYO])
def test_session_holds_its_open_and_not_its_close(hours: Hours) -> None:
    opens, closes = int(hours.opens[300]), int(hours.closes[300])
    assert hours.is_open(opens) and hours.is_open(closes - 1)
    assert not hours.is_open(opens - 1) and not hours.is_open(closes)


def test_forex_is_closed_on_christmas_until_17_new_york() -> None:
    assert not FOREX.is_open(instant("2024-12-25T21:59"))
    assert FOREX.is_open(instant("2024-12-25T22:00"))


def test_crypto_never_closes() -> None:
    assert all(ALWAYS.is_open(instant(t)) for t in ("2023-12-25", "2024-06-15T03:00", "2025-01-01T23:59"))


@pytest.mark.parametrize(
    ("hours", "thin", "not_thin"),
    [
        (ALWAYS, ["2024-06-15", "2024-06-16T23:59"], ["2024-06-14T23:59", "2024-06-17"]),
        (FOREX, ["2024-06-12T20:55", "2024-06-12T21:04"], ["2024-06-12T20:54", "2024-06-12T21:05"]),
        (FOREX, ["2024-01-14T22:00", "2024-01-19T21:55"], ["2024-01-14T22:05", "2024-01-19T21:54"]),
        (NEW_YORK, ["2024-06-12T13:29", "2024-06-12T20:00", "2024-06-15"], ["2024-06-12T13:30", "2024-06-12T19:59"]),
    ],
)
def test_thin_times_are_weekend_rollover_and_outside_regular_hours(
    hours: Hours, thin: list[str], not_thin: list[str]
) -> None:
    assert all(hours.is_thin(instant(t)) for t in thin)
    assert not any(hours.is_thin(instant(t)) for t in not_thin)


@pytest.mark.parametrize(
    ("hours", "opened", "interval", "ends"),
    [
        (ALWAYS, "2024-06-15T05:00", HOUR, "2024-06-15 06:00"),
        (ALWAYS, "2024-06-15", DAY, "2024-06-16 00:00"),
        (FOREX, "2024-06-14T18:00", 4 * HOUR, "2024-06-14 21:00"),  # cut by the weekend
        (FOREX, "2024-06-13T18:00", 4 * HOUR, "2024-06-13 22:00"),
        (FOREX, "2024-03-10T21:00", DAY, "2024-03-11 21:00"),
        (FOREX, "2024-03-07T22:00", DAY, "2024-03-08 22:00"),
        (FOREX, "2024-06-12T00:00", DAY, "2024-06-12 21:00"),
        (FOREX, "2024-03-03T22:00", 7 * DAY, "2024-03-08 22:00"),
        (NEW_YORK, "2024-06-12T19:30", HOUR, "2024-06-12 20:00"),
        (NEW_YORK, "2024-06-12T12:00", HOUR, "2024-06-12 13:00"),  # before the session: nothing cuts it
        (NEW_YORK, "2024-07-03T13:30", DAY, "2024-07-03 17:00"),
        (NEW_YORK, "2024-06-10T13:30", 7 * DAY, "2024-06-14 20:00"),  # a week is known on Friday, not on Monday
    ],
)
def test_bar_ends_when_it_can_be_known(hours: Hours, opened: str, interval: int, ends: str) -> None:
    assert bar_end(hours, opened, interval) == ends


@given(instants, st.sampled_from([ALWAYS, FOREX, NEW_YORK, TOKYO]))
def test_open_means_that_a_session_holds_the_time(t: int, hours: Hours) -> None:
    inside = bool(np.any((hours.opens <= t) & (t < hours.closes)))
    found = hours.session_at(t)
    assert hours.is_open(t) == inside == (found is not None)
    assert found is None or found[0] <= t < found[1]


@given(
    instants, st.sampled_from([MINUTE, HOUR, 4 * HOUR, DAY, 7 * DAY]), st.sampled_from([ALWAYS, FOREX, NEW_YORK, TOKYO])
)
def test_bar_ends_after_it_opens_and_no_open_bar_outlives_its_interval(t: int, interval: int, hours: Hours) -> None:
    end = int(hours.bar_close(np.array([t]), interval)[0])
    assert end > t
    assert end <= t + interval + HOUR or not hours.is_open(t)


def test_financing_falls_at_17_new_york_threefold_on_wednesday() -> None:
    times, threefold = new_york_close_times(instant("2024-03-06"), instant("2024-03-13"))
    winter, summer = (
        ["2024-03-06 22:00", "2024-03-07 22:00", "2024-03-08 22:00"],
        ["2024-03-11 21:00", "2024-03-12 21:00"],
    )
    assert [stamp(t) for t in times.tolist()] == winter + summer
    assert threefold.tolist() == [True, False, False, False, False]


def test_unknown_name_says_what_names_there_are() -> None:
    with pytest.raises(ConfigError, match=r"No hours are named 'XXXX'. Use 24/7, forex or an exchange's MIC"):
        Hours.of("XXXX", *YEARS)


@pytest.mark.parametrize("t", [instant("2021-12-31"), instant("2028-01-01")])
def test_time_beyond_the_years_is_unknown_not_closed(t: int) -> None:
    with pytest.raises(ConfigError, match="are known from 2022-01-01 00:00 to 2028-01-01 00:00"):
        FOREX.is_open(t)


def test_years_beyond_an_exchange_calendar_are_refused() -> None:
    with pytest.raises(ConfigError, match="Hours of XHKG for 2097"):
        Hours.of("XHKG", instant("2098-01-01"), instant("2098-06-01"))


def test_times_are_written_and_read_as_people_do() -> None:
    assert stamp(instant("2024-03-29T21:00")) == "2024-03-29 21:00"
    assert stamp(instant("2024-03-29T21:00:05")) == "2024-03-29 21:00:05"
    assert instant("2024-03-29T21:00+02:00") == instant("2024-03-29T19:00") == 1_711_738_800 * SECOND
    assert [spelt(i) for i in (30 * MINUTE, HOUR, 36 * HOUR, DAY, 90 * SECOND)] == ["30m", "1h", "36h", "1d", "90s"]
    with pytest.raises(ConfigError, match="'soon' is no time"):
        instant("soon")


def test_hours_and_bars_load_nothing_heavy() -> None:
    code = "import sys, ffe.data.quality, ffe.feeds.synthetic, ffe.data.sources; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"pandas", "duckdb", "exchange_calendars", "bokeh_sampledata", "numba"} & set(loaded)


# ---------------------------------------------------------------- closes around a time


@pytest.mark.parametrize(
    ("hours", "interval", "at", "last", "coming"),
    [
        (ALWAYS, HOUR, "2024-02-05T09:30", "2024-02-05 09:00", "2024-02-05 10:00"),
        (ALWAYS, HOUR, "2024-02-05T09:00", "2024-02-05 09:00", "2024-02-05 10:00"),
        (ALWAYS, DAY, "2024-02-05T09:00", "2024-02-05 00:00", "2024-02-06 00:00"),
        (FOREX, HOUR, "2024-02-09T21:30", "2024-02-09 21:00", "2024-02-09 22:00"),
        (FOREX, HOUR, "2024-02-09T22:00", "2024-02-09 22:00", "2024-02-11 23:00"),  # the weekend
        (FOREX, HOUR, "2024-02-11T22:00", "2024-02-09 22:00", "2024-02-11 23:00"),
        (FOREX, HOUR, "2024-02-11T22:59", "2024-02-09 22:00", "2024-02-11 23:00"),
        (FOREX, 4 * HOUR, "2024-02-12T05:00", "2024-02-12 02:00", "2024-02-12 06:00"),
        (FOREX, DAY, "2024-02-11T21:00", "2024-02-09 22:00", "2024-02-12 22:00"),
        (FOREX, DAY, "2024-02-12T22:00", "2024-02-12 22:00", "2024-02-13 22:00"),
        (NEW_YORK, HOUR, "2024-02-05T20:30", "2024-02-05 20:30", "2024-02-05 21:00"),  # the last bar is half an hour
        (NEW_YORK, HOUR, "2024-02-05T21:00", "2024-02-05 21:00", "2024-02-06 15:30"),
    ],
)
def test_newest_and_next_close(hours: Hours, interval: int, at: str, last: str, coming: str) -> None:
    assert tuple(map(stamp, hours.closes_around(instant(at), interval))) == (last, coming)


@given(st.sampled_from((ALWAYS, FOREX, NEW_YORK, TOKYO)), st.sampled_from((MINUTE, HOUR, 4 * HOUR, DAY)), instants)
def test_closes_around_a_time_are_neighbours_and_ends_of_bars(hours: Hours, interval: int, t: int) -> None:
    last, coming = hours.closes_around(t, interval)
    assert last <= t < coming
    assert hours.closes_around(coming - 1, interval) == (last, coming)
    assert hours.closes_around(coming, interval)[0] == coming
    spans = list(hours.trading(last, coming, interval)) or [(coming - interval, coming)]
    opened = spans[-1][0]
    assert int(hours.bar_close(np.array([opened]), interval)[0]) == coming


def test_closes_around_an_unknown_time_are_unknown() -> None:
    for hours in (FOREX, NEW_YORK):
        with pytest.raises(ConfigError, match="Build them for these years"):
            hours.closes_around(hours.end - 1, DAY)
