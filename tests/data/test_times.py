"""A time is read in one way or not at all: what a column can mean, by its rows, its interval and its market."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ffe.data import sources
from ffe.data.barset import Series
from ffe.data.times import Wish
from ffe.errors import DataError, FfeError
from ffe.hours import stamp
from ffe.model import DAY, HOUR, MINUTE, Instrument, Nanos
from tests.data.values import AAPL, BTC, EUR

HEAD = "time,open,high,low,close,volume\n"


def read(folder: Path, times: list[str], interval: Nanos = HOUR, of: Instrument = BTC, **wish: str) -> Series:
    path = folder / "bars.csv"
    path.write_text(HEAD + "".join(f'"{time}",1,2,0.5,1.5,7\n' for time in times))
    return sources.from_csv(path, of, interval, wish=Wish(**wish))  # type: ignore[arg-type]


def span(s: Series) -> tuple[str, str]:
    return stamp(int(s.open_time[0])), stamp(int(s.open_time[-1]))


# ---------------------------------------------------------------- day and month


HOURS_OF_DAYS = [f"05/{day:02}/2024 {hour:02}:00:00" for day in range(3, 7) for hour in range(24)]


def test_a1_day_and_month_are_told_by_the_interval(tmp_path: Path) -> None:
    """3 to 6 May was imported as 5 March to 6 June, with exit code 0."""
    assert span(read(tmp_path, HOURS_OF_DAYS)) == ("2024-05-03 00:00", "2024-05-06 23:00")
    days = [f"03/{day:02}/2024" for day in range(1, 13)]
    assert span(read(tmp_path, days, DAY)) == ("2024-03-01 00:00", "2024-03-12 00:00")


def test_a1_what_fits_both_ways_is_refused_with_both_and_a_word_decides(tmp_path: Path) -> None:
    one_day = HOURS_OF_DAYS[:24]
    with pytest.raises(DataError) as caught:
        read(tmp_path, one_day)
    said = str(caught.value)
    assert "%d/%m/%Y %H:%M:%S it is 2024-03-05 00:00 – 2024-03-05 23:00" in said
    assert "%m/%d/%Y %H:%M:%S it is 2024-05-03 00:00 – 2024-05-03 23:00" in said and "--time-format" in said
    assert span(read(tmp_path, one_day, format="%d/%m/%Y %H:%M:%S")) == ("2024-03-05 00:00", "2024-03-05 23:00")


def test_years_of_two_digits_are_read_where_one_order_is_possible(tmp_path: Path) -> None:
    days = [f"{day:02}/02/24" for day in range(10, 25)]
    assert span(read(tmp_path, days, DAY)) == ("2024-02-10 00:00", "2024-02-24 00:00")


@pytest.mark.parametrize(
    ("times", "interval"),
    [
        ([f"2023-{month:02}-01" for month in range(1, 13)], DAY),
        ([f"2024-05-03 {hour:02}:00" for hour in range(0, 24, 4)], HOUR),
        (["2024-05-03", "2024-05-10", "2024-05-17"], DAY),
    ],
)
def test_b6_rows_that_are_all_further_apart_are_of_another_interval(
    times: list[str], interval: Nanos, tmp_path: Path
) -> None:
    """Eighteen months were taken for days: each bar was known a month before its end."""
    with pytest.raises(DataError, match="it is another interval"):
        read(tmp_path, times, interval)
    assert len(read(tmp_path, times[:2], interval)) == 2  # of two it cannot be told from a hole


FORMS = {
    "iso": ("2024-05-03T{h}:00:00", 0), "iso with a zone": ("2024-05-03T{h}:00:00Z", 0),
    "offset": ("2024-05-03 {h}:00:00+02:00", -120), "short offset": ("2024-05-03 {h}:00:00-0430", 270),
    "hours alone": ("2024-05-03 {h}:00:00-04", 240),
    "less than an hour": ("2024-05-03 {h}:00:00-00:30", 30), "GMT": ("2024.05.03 {h}:00:00.000 GMT+0100", -60),
    "compact": ("20240503 {h}0000", 0), "without seconds": ("2024.05.03 {h}:00", 0),
    "utc": ("2024-05-03 {h}:00 UTC", 0), "a month's name": ("3 May 2024 {h}:00", 0),
    "American": ("May 3, 2024, {h}:00:00", 0),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
def test_public_shapes_of_times_are_read(name: str, tmp_path: Path) -> None:
    form, minutes = FORMS[name]
    found = read(tmp_path, [form.format(h=f"{hour:02}") for hour in range(9, 13)])
    expected = pd.Timestamp("2024-05-03 09:00").value + minutes * MINUTE
    assert [int(time) for time in found.open_time] == [expected + n * HOUR for n in range(4)]


@pytest.mark.parametrize("unit", [1, 10**3, 10**6, 10**9])
def test_epochs_are_read_by_their_size(unit: int, tmp_path: Path) -> None:
    start = 1_714_726_800
    found = read(tmp_path, [str((start + 3_600 * n) * unit) for n in range(5)])
    assert span(found) == ("2024-05-03 09:00", "2024-05-03 13:00")


def test_epochs_whose_size_says_nothing_are_told_by_the_interval(tmp_path: Path) -> None:
    """A hundred million: 1973 in seconds, the second day of 1970 in milliseconds."""
    assert span(read(tmp_path, [str(100_000_800 + 3_600 * n) for n in range(5)]))[0] == "1973-03-03 10:00"
    assert span(read(tmp_path, [str(108_000_000 + 3_600_000 * n) for n in range(5)]))[0] == "1970-01-02 06:00"


@pytest.mark.parametrize(
    ("time", "form", "read_as"),
    [
        ("3 May '24 09:00", "%d %b '%y %H:%M", "2024-05-03 09:00"),
        ("2024-05-03 09:00 +0200", "%Y-%m-%d %H:%M %z", "2024-05-03 07:00"),
        ("2024/05/03 09:00:00.000", "%Y/%m/%d %H:%M:%S.%f", "2024-05-03 09:00"),
    ],
)
def test_form_that_is_named_is_taken_as_it_stands(tmp_path: Path, time: str, form: str, read_as: str) -> None:
    """A quote in it ended the statement, and the fraction of a second was cut off before it was compared."""
    assert span(read(tmp_path, [time], format=form))[0] == read_as


def test_form_that_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot be read: .*%Q"):
        read(tmp_path, ["2024-05-03"], format="%Q")


@pytest.mark.parametrize("wish", [Wish(format="%d/%m/%Y"), Wish(unit="ms"), Wish(columns={"close": "none"})])
def test_what_is_said_of_a_frame_is_used_or_refused(wish: Wish) -> None:
    """It was passed over in silence."""
    frame = pd.DataFrame({"time": pd.DatetimeIndex(["2024-05-03"]), "open": 1.0, "high": 2.0, "low": 0.5, "close": 1.5})
    with pytest.raises(FfeError, match=r"no text of which|no column 'none'"):
        sources.from_frame(frame, BTC, HOUR, wish=wish)
    other = frame.rename(columns={"close": "last"})
    assert sources.from_frame(other, BTC, HOUR, wish=Wish(columns={"close": "last"})).close[0] == 1.5


def test_row_that_is_written_otherwise_is_named_with_its_text(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"row 2: its time is 'Total', and the others read as %Y-%m-%d %H:%M"):
        read(tmp_path, ["2024-05-03 01:00", "2024-05-03 02:00", "Total"])
    with pytest.raises(DataError, match="row 1: its time is '2024-05-03 02:00'"):
        read(tmp_path, ["2024-05-03 01:00Z", "2024-05-03 02:00"])


def test_time_of_no_known_shape_is_shown_with_the_flag(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"row 0: its time is 'nonsense'.*--time-format"):
        read(tmp_path, ["nonsense"])


# ---------------------------------------------------------------- zones and sessions


NINE_THIRTY = [f"2024-05-{day:02} {hour:02}:30" for day in (2, 3) for hour in range(9, 16)]


def test_a3_session_times_without_a_zone_are_refused_with_the_zone_that_fits(tmp_path: Path) -> None:
    """A frame of New York times traded on prices of five hours later, silently: +0.92 % for -0.04 %."""
    with pytest.raises(DataError, match=r"As UTC \d+ of 14 rows lie outside the hours of XNYS, as America/New_York 0"):
        read(tmp_path, NINE_THIRTY, of=AAPL)
    frame = pd.DataFrame(
        {"open": 1.0, "high": 2.0, "low": 0.5, "close": 1.5, "volume": 7.0}, index=pd.DatetimeIndex(NINE_THIRTY)
    )
    with pytest.raises(DataError, match="--tz America/New_York"):
        sources.from_frame(frame, AAPL, HOUR)
    found = read(tmp_path, NINE_THIRTY, of=AAPL, zone="America/New_York")
    assert span(found) == ("2024-05-02 13:30", "2024-05-03 19:30")
    assert [*sources.from_frame(frame, AAPL, HOUR, wish=Wish(zone="America/New_York")).open_time] == [*found.open_time]


def test_session_times_that_fit_as_utc_are_utc(tmp_path: Path) -> None:
    assert span(read(tmp_path, [f"2024-05-02 {hour}:30" for hour in range(13, 20)], of=AAPL))[0] == "2024-05-02 13:30"


@pytest.mark.parametrize("month", ["01", "07"])
def test_a12_midnight_of_the_exchanges_zone_is_a_date(month: str, tmp_path: Path) -> None:
    """Every row of a daily frame was refused."""
    offset = {"01": "-05:00", "07": "-04:00"}[month]
    found = read(tmp_path, [f"2024-{month}-{day:02} 00:00:00{offset}" for day in (2, 3, 5)], DAY, AAPL)
    plain = read(tmp_path, [f"2024-{month}-{day:02}" for day in (2, 3, 5)], DAY, AAPL)
    assert [*found.open_time] == [*plain.open_time] and [*found.close_time] == [*plain.close_time]


def test_hour_that_a_clock_shows_twice_is_told_by_the_order_of_rows(tmp_path: Path) -> None:
    hours = [f"2024-11-03 {hour:02}:00" for hour in (0, 1, 1, 2)]
    found = read(tmp_path, hours, zone="America/New_York")
    assert [stamp(int(time))[-5:] for time in found.open_time] == ["04:00", "05:00", "06:00", "07:00"]


def test_hour_that_no_clock_showed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none of America/New_York"):
        read(tmp_path, ["2024-03-10 02:00", "2024-03-10 03:00"], zone="America/New_York")
    with pytest.raises(DataError, match="No zone is called 'Nowhere/Land'"):
        read(tmp_path, ["2024-03-10 02:00"], zone="Nowhere/Land")


def test_forex_in_new_york_time_does_not_pass_for_utc(tmp_path: Path) -> None:
    friday = [f"2024-05-03 {hour:02}:00" for hour in range(9, 17)]
    sunday = [f"2024-05-05 {hour:02}:00" for hour in range(17, 24)]
    with pytest.raises(DataError, match="as America/New_York 0"):
        read(tmp_path, friday + sunday, of=EUR)


# ---------------------------------------------------------------- files


FILES = {  # the same two bars, as each of them writes
    "binance klines": (
        "1716422400000,1,2,0.5,1.5,12.5,1716425999999,9,1,6,3,0",
        "1716426000000,1,2,0.5,1.5,10,1716429599999,9,1,5,3,0",
    ),
    "binance klines in microseconds": (
        "1716422400000000,1,2,0.5,1.5,12.5,1,9,1,6,3,0", "1716426000000000,1,2,0.5,1.5,10,1,9,1,5,3,0",
    ),
    "cryptodatadownload": (
        "https://www.CryptoDataDownload.com", "unix,date,symbol,open,high,low,close,Volume BTC,Volume USD",
        "1716426000,2024-05-23 01:00:00,BTC/USD,1,2,0.5,1.5,10,20",
        "1716422400,2024-05-23 00:00:00,BTC/USD,1,2,0.5,1.5,12.5,20",
    ),
    "alpha vantage": (
        "timestamp,open,high,low,close,volume", "2024-05-23 01:00:00,1,2,0.5,1.5,10",
        "2024-05-23 00:00:00,1,2,0.5,1.5,12.5",
    ),
    "metatrader": (
        "<DATE>\t<TIME>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<TICKVOL>\t<SPREAD>",
        "2024.05.23\t00:00:00\t1\t2\t0.5\t1.5\t12.5\t1", "2024.05.23\t01:00:00\t1\t2\t0.5\t1.5\t10\t1",
    ),
    "metatrader without names": ("2024.05.23,00:00,1,2,0.5,1.5,12.5", "2024.05.23,01:00,1,2,0.5,1.5,10"),
    "histdata": ("20240523 000000;1;2;0.5;1.5;12.5", "20240523 010000;1;2;0.5;1.5;10"),
    "dukascopy": (
        "Gmt time,Open,High,Low,Close,Volume", "23.05.2024 00:00:00.000,1,2,0.5,1.5,12.5",
        "23.05.2024 01:00:00.000,1,2,0.5,1.5,10",
    ),
    "polygon": (
        "ticker,volume,open,close,high,low,window_start,transactions",
        "X:BTCUSD,12.5,1,1.5,2,0.5,1716422400000000000,7",
        "X:BTCUSD,10,1,1.5,2,0.5,1716426000000000000,7",
    ),
    "stooq": (
        "<TICKER>,<PER>,<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>", "BTCUSD,60,20240523,000000,1,2,0.5,1.5,12.5",
        "BTCUSD,60,20240523,010000,1,2,0.5,1.5,10",
    ),
    "a comma before decimals": (
        "Date;Open;High;Low;Close;Volume", "23.05.2024 00:00;1;2;0,5;1,5;12,5", "23.05.2024 01:00;1;2;0,5;1,5;10",
    ),
}  # fmt: skip


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
@pytest.mark.parametrize("name", FILES)
def test_public_shapes_of_files_are_read(name: str, encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "bars.csv"
    path.write_bytes("".join(f"{line}\n" for line in FILES[name]).encode(encoding))
    found = sources.from_csv(path, BTC, HOUR)
    assert span(found) == ("2024-05-23 00:00", "2024-05-23 01:00")
    rows = np.column_stack([found.open, found.high, found.low, found.close, found.volume])
    assert rows.tolist() == [[1.0, 2.0, 0.5, 1.5, 12.5], [1.0, 2.0, 0.5, 1.5, 10.0]]


WRONG = {
    "thousands or decimals": (
        HEAD + '2024-05-03 00:00,"1,000","1,001","1,000","1,000","12,345"\n', "row 0: its close is '1,000'.*comma",
    ),
    "cut in the middle": (HEAD + "2024-05-03 00:00,1,2,0.5,1.5,7\n2024-05-03 01:00,1,2", "row 1: its close is empty"),
    "a footer": (HEAD + "2024-05-03 00:00,1,2,0.5,1.5,7\nEnd of data,,,,,\n", "row 1: its time is 'End of data'"),
    "two times that differ": (
        "time,timestamp,open,high,low,close,volume\n2024-05-03 00:00,2024-05-03 05:00,1,2,0.5,1.5,7\n",
        "columns time and timestamp hold other times.*--columns time=time",
    ),
    "two closes": (
        "time,open,high,low,close,c,volume\n2024-05-03 00:00,1,2,0.5,1.5,1.4,7\n", "close and c may both be its close",
    ),
    "no table": ("hello world\n", "no line names its columns"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_file_that_cannot_be_read_in_one_way_is_refused_with_what_is_in_the_way(name: str, tmp_path: Path) -> None:
    text, said = WRONG[name]
    path = tmp_path / "bars.csv"
    path.write_text(text)
    with pytest.raises(FfeError, match=said):
        sources.from_csv(path, BTC, HOUR)
