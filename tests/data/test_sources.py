"""One set of bars read from every kind of source is the same; what a source lacks is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest

from ffe import load_bars
from ffe.data import sources
from ffe.data.barset import BarSet, Series
from ffe.data.times import Wish
from ffe.errors import BadBars, DataError, MissingBars, UnknownSymbol
from ffe.hours import stamp
from ffe.model import DAY, HOUR, AssetClass
from tests.data.values import AAPL, BTC, EUR, instrument, series

THREE = series(BTC, "2024-01-01", 3)
ROWS = """\
2024-01-01 00:00:00,99.5,101,99,100,7
2024-01-01 01:00:00,100.5,102,100,101,7
2024-01-01 02:00:00,101.5,103,101,102,7
"""
HEAD = "time,open,high,low,close,volume\n"


def written(folder: Path, text: str) -> Path:
    path = folder / "bars.csv"
    path.write_text(text)
    return path


def by_csv(folder: Path) -> Series:
    return sources.from_csv(written(folder, HEAD + ROWS), BTC, HOUR)


def by_parquet(folder: Path) -> Series:
    path = folder / "bars.parquet"
    duckdb.read_csv(str(written(folder, HEAD + ROWS))).write_parquet(str(path))
    return sources.from_parquet(path, BTC, HOUR)


def by_frame(folder: Path) -> Series:
    return sources.from_frame(pd.read_csv(written(folder, HEAD + ROWS), parse_dates=["time"]), BTC, HOUR)


def by_index(folder: Path) -> Series:
    frame = pd.read_csv(written(folder, HEAD + ROWS), parse_dates=["time"], index_col="time")
    return sources.from_frame(frame.tz_localize("UTC").tz_convert("America/New_York"), BTC, HOUR)


@pytest.mark.parametrize("read", [by_csv, by_parquet, by_frame, by_index])
def test_every_source_gives_the_same_bytes(read: Callable[[Path], Series], tmp_path: Path) -> None:
    assert BarSet((read(tmp_path),)).fingerprint() == BarSet((THREE,)).fingerprint()


@pytest.mark.parametrize(
    "head",
    [
        "Timestamp,OPEN,High,low,Close,Volume\n",
        "date,open,high,low,close,volume\n",
        "DateTime,Open,High,Low,Close,VOLUME\n",
    ],
)
def test_columns_may_be_called_in_any_case_and_time_by_four_names(head: str, tmp_path: Path) -> None:
    assert len(sources.from_csv(written(tmp_path, head + ROWS), BTC, HOUR)) == 3


def test_columns_may_stand_in_any_order_among_others(tmp_path: Path) -> None:
    text = "note,close,open,low,high,trades,volume,time\nx,100,99.5,99,101,3,7,2024-01-01T02:00:00+02:00\n"
    one = sources.from_csv(written(tmp_path, text), BTC, HOUR)
    assert (one.open[0], one.high[0], one.low[0], one.close[0], one.volume[0]) == (99.5, 101, 99, 100, 7)
    assert stamp(int(one.open_time[0])) == "2024-01-01 00:00"


@pytest.mark.parametrize("lacking", ["time", "open", "high", "low", "close"])
def test_missing_column_is_named_with_what_there_is(lacking: str, tmp_path: Path) -> None:
    path = written(tmp_path, HEAD.replace(lacking, "other") + ROWS)
    with pytest.raises(MissingBars, match=rf"bars\.csv has no column {lacking}, but .*other.*--columns {lacking}=NAME"):
        sources.from_csv(path, BTC, HOUR)
    with pytest.raises(MissingBars, match=f"the frame of kraken:BTC/USD 1h has no column {lacking}"):
        sources.from_frame(pd.read_csv(path), BTC, HOUR)


def test_cell_that_is_no_number_is_refused_by_its_row(tmp_path: Path) -> None:
    path = written(tmp_path, HEAD + ROWS.replace("102,100", "lots,100"))
    with pytest.raises(DataError, match=r"row 1: its high is 'lots', no number\. Correct or drop it"):
        sources.from_csv(path, BTC, HOUR)
    with pytest.raises(BadBars, match="row 1 at 2024-01-01 01:00: high is nan, not a number"):
        sources.from_frame(pd.read_csv(path, parse_dates=["time"]), BTC, HOUR)


def test_row_without_a_time_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="row 1: its time is empty"):
        sources.from_csv(written(tmp_path, HEAD + ROWS.replace("2024-01-01 01:00:00", "")), BTC, HOUR)


def test_times_that_are_numbers_are_not_guessed_at(tmp_path: Path) -> None:
    path = written(tmp_path, HEAD + "1704067200,99.5,101,99,100,7\n")
    with pytest.raises(DataError, match=r"its times are int64\. Make them datetimes"):
        sources.from_frame(pd.read_csv(path), BTC, HOUR)


def test_newest_first_is_read_and_no_order_at_all_is_refused_unless_asked_for(tmp_path: Path) -> None:
    first, second, third = ROWS.splitlines()
    backwards = written(tmp_path, HEAD + f"{third}\n{second}\n{first}\n")
    assert BarSet((sources.from_csv(backwards, BTC, HOUR),)).fingerprint() == BarSet((THREE,)).fingerprint()
    mixed = written(tmp_path, HEAD + f"{second}\n{first}\n{third}\n")
    with pytest.raises(BadBars, match="row 1 at 2024-01-01 00:00: earlier than the row before"):
        sources.from_csv(mixed, BTC, HOUR)
    asked = sources.from_csv(mixed, BTC, HOUR, wish=Wish(sort=True))
    assert BarSet((asked,)).fingerprint() == BarSet((THREE,)).fingerprint()


def test_missing_empty_and_foreign_files_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(MissingBars, match=r"nowhere\.csv: no such file"):
        sources.from_csv(tmp_path / "nowhere.csv", BTC, HOUR)
    with pytest.raises(MissingBars, match="the source holds no rows"):
        sources.from_frame(pd.DataFrame(columns=HEAD.strip().split(",")).astype({"time": "datetime64[ns]"}), BTC, HOUR)
    with pytest.raises(DataError, match=r"bars\.csv cannot be read"):
        sources.from_parquet(written(tmp_path, HEAD + ROWS), BTC, HOUR)


def test_date_of_a_stock_is_its_trading_day(tmp_path: Path) -> None:
    days = "2024-07-02,1,1,1,1,1\n2024-07-03,1,1,1,1,1\n2024-07-05,1,1,1,1,1\n"
    s = sources.from_csv(written(tmp_path, HEAD + days), AAPL, DAY)
    assert [stamp(t) for t in s.open_time.tolist()] == [f"2024-07-0{day} 13:30" for day in (2, 3, 5)]
    assert [stamp(t) for t in s.close_time.tolist()] == ["2024-07-02 20:00", "2024-07-03 17:00", "2024-07-05 20:00"]


def test_date_of_a_currency_is_the_day_that_ends_at_17_new_york(tmp_path: Path) -> None:
    s = sources.from_csv(written(tmp_path, HEAD + "2024-03-11,1,1,1,1,1\n"), EUR, DAY)
    assert (stamp(int(s.open_time[0])), stamp(int(s.close_time[0]))) == ("2024-03-10 21:00", "2024-03-11 21:00")


def test_date_without_trading_is_refused_by_its_row(tmp_path: Path) -> None:
    path = written(tmp_path, HEAD + "2024-07-03,1,1,1,1,1\n2024-07-04,1,1,1,1,1\n")
    with pytest.raises(BadBars, match="row 1 at 2024-07-04 00:00: XNYS does not trade on this date"):
        sources.from_csv(path, AAPL, DAY)


def test_frame_can_change_after_it_was_read(tmp_path: Path) -> None:
    frame = pd.read_csv(written(tmp_path, HEAD + ROWS), parse_dates=["time"])
    s = sources.from_frame(frame, BTC, HOUR)
    frame.iloc[0, 1] = 0.0
    assert s.open[0] == 99.5


@pytest.fixture(scope="module")
def stocks() -> BarSet:
    return sources.sample_stocks([instrument(s, AssetClass.STOCK, "XNYS", "nyse") for s in sources.SAMPLE_STOCKS])


def test_sample_stocks_are_four_of_daily_bars(stocks: BarSet) -> None:
    assert {s.instrument.symbol: len(s) for s in stocks} == {"AAPL": 3270, "GOOG": 2148, "IBM": 3270, "MSFT": 3270}


def test_sample_stocks_open_and_close_with_new_york(stocks: BarSet) -> None:
    apple = {stamp(opens): stamp(closes) for opens, closes in zip(*(t.tolist() for t in _times(stocks)), strict=True)}
    assert apple["2000-03-31 14:30"] == "2000-03-31 21:00"  # clocks went forward on 2 April 2000
    assert apple["2000-04-03 13:30"] == "2000-04-03 20:00"
    assert apple["2012-11-23 14:30"] == "2012-11-23 18:00"  # the day after Thanksgiving


def test_split_leaves_no_jump_in_the_sample(stocks: BarSet) -> None:
    apple = stocks.series[0]
    day = int(np.searchsorted(apple.open_time, pd.Timestamp("2005-02-28").value))  # two for one
    assert apple.close[day] / apple.close[day - 1] == pytest.approx(44.86 * 2 / 88.99, rel=0.01)


def test_stock_that_is_no_sample_is_refused() -> None:
    with pytest.raises(
        UnknownSymbol, match=r"kraken:BTC/USD is not among the sample stocks\. Use AAPL, GOOG, IBM, MSFT"
    ):
        sources.sample_stocks([BTC])


def _times(stocks: BarSet) -> tuple[np.ndarray, np.ndarray]:
    return stocks.series[0].open_time, stocks.series[0].close_time


# ---------------------------------------------------------------- files of others


@pytest.mark.parametrize("name", ["bars[1]", "bars*", "bars?", "[a-z]ars1", "bars[1", "bars]"])
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_path_is_a_path_and_no_pattern(tmp_path: Path, name: str, kind: str) -> None:
    """bars1.csv was read for bars[1].csv."""
    other = written(tmp_path, HEAD + ROWS.replace("100", "200"))
    for near in ("bars1.csv", "bars1.parquet"):
        duckdb.read_csv(str(other)).write_parquet(str(tmp_path / near)) if "parquet" in near else other.rename(
            tmp_path / near
        )
        other = tmp_path / near if "csv" in near else other
    path = tmp_path / f"{name}.{kind}"
    mine = tmp_path / "mine.csv"
    mine.write_text(HEAD + ROWS)
    if kind == "csv":
        mine.rename(path)
        assert BarSet((sources.from_csv(path, BTC, HOUR),)).fingerprint() == BarSet((THREE,)).fingerprint()
    else:
        duckdb.read_csv(str(mine)).write_parquet(str(tmp_path / "plain.parquet"))
        (tmp_path / "plain.parquet").rename(path)
        assert BarSet((sources.from_parquet(path, BTC, HOUR),)).fingerprint() == BarSet((THREE,)).fingerprint()


@pytest.mark.parametrize("line", [",".join(f"c{n}" for n in range(200_000)), "x" * 500_000, ";" * 5_000])
def test_file_of_endless_columns_is_told_at_once(tmp_path: Path, line: str) -> None:
    with pytest.raises(DataError, match="more than 1000 columns, or no end"):
        sources.from_csv(written(tmp_path, f"{line}\n1,2,3\n"), BTC, HOUR)


def test_row_of_endless_columns_is_told_at_once(tmp_path: Path) -> None:
    """The first line was bounded, and the second made a gigabyte."""
    with pytest.raises(DataError, match="cannot be read"):
        sources.from_csv(written(tmp_path, HEAD + "1" + ",1" * 200_000 + "\n"), BTC, HOUR)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_folders_name_is_no_column(tmp_path: Path, kind: str) -> None:
    by_parquet(tmp_path)
    path = tmp_path / "close=200" / f"bars.{kind}"
    path.parent.mkdir()
    (tmp_path / path.name).rename(path)
    found = (sources.from_csv if kind == "csv" else sources.from_parquet)(path, BTC, HOUR)
    assert BarSet((found,)).fingerprint() == BarSet((THREE,)).fingerprint()


def test_file_of_more_rows_than_memory_holds_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MOST_ROWS", 2)
    with pytest.raises(DataError, match="more than 2 rows"):
        by_parquet(tmp_path)


def test_parquet_whose_column_has_a_name_that_is_no_text_is_told(tmp_path: Path) -> None:
    """A traceback; found by changing bytes of a file at random."""
    by_parquet(tmp_path)
    path = tmp_path / "bars.parquet"
    path.write_bytes(path.read_bytes().replace(b"volume", b"vol\xff\xfe\x80"))
    with pytest.raises(DataError, match="cannot be read"):
        sources.from_parquet(path, BTC, HOUR)


# ---------------------------------------------------------------- what was understood, and of whom


def test_source_says_how_it_was_understood(tmp_path: Path) -> None:
    """A volume that a file did not have was 0, and nobody said so."""
    path = written(
        tmp_path, "Gmt time;Open;High;Low;Close\n22.01.2024 01:00;1;2;0.5;1.5\n22.01.2024 00:00;1;2;0.5;1.5\n"
    )
    read = sources.from_csv(path, BTC, HOUR)
    assert read.source == (
        f"{path}: time from 'Gmt time' as %d.%m.%Y %H:%M, UTC, for they name no zone; no volume, taken as 0; "
        "newest first"
    )
    assert read.between(0, 2**62).source == read.source and read.source in repr(BarSet((read,)))
    daily = sources.from_csv(written(tmp_path, "date,o,h,l,c,v\n2024-01-02,1,2,0.5,1.5,7\n"), AAPL, DAY)
    assert daily.source.endswith(
        "time from 'date' as %Y-%m-%d, dates; open from 'o', high from 'h', low from 'l', close from 'c', "
        "volume from 'v'; a day ends with the session of XNYS"
    )


TWO = """\
time,symbol,open,high,low,close,volume
2024-01-01 00:00:00,ETHUSD,9,9,9,9,9
2024-01-01 00:00:00,BTC-USD,99.5,101,99,100,7
2024-01-01 01:00:00,ETHUSD,9,9,9,9,9
2024-01-01 01:00:00,BTC-USD,100.5,102,100,101,7
2024-01-01 02:00:00,BTC-USD,101.5,103,101,102,7
"""


def two_by_csv(folder: Path, wish: Wish) -> Series:
    return sources.from_csv(written(folder, TWO), BTC, HOUR, wish=wish)


def two_by_parquet(folder: Path, wish: Wish) -> Series:
    duckdb.read_csv(str(written(folder, TWO))).write_parquet(str(folder / "bars.parquet"))
    return sources.from_parquet(folder / "bars.parquet", BTC, HOUR, wish=wish)


def two_by_frame(folder: Path, wish: Wish) -> Series:
    return sources.from_frame(pd.read_csv(written(folder, TWO), parse_dates=["time"]), BTC, HOUR, wish=wish)


@pytest.mark.parametrize("read", [two_by_csv, two_by_parquet, two_by_frame])
def test_rows_of_several_symbols_are_told_apart(read: Callable[[Path, Wish], Series], tmp_path: Path) -> None:
    assert BarSet((read(tmp_path, Wish()),)).fingerprint() == BarSet((THREE,)).fingerprint()
    assert list(read(tmp_path, Wish(symbol="ETHUSD")).close) == [9, 9]
    with pytest.raises(DataError, match="its rows are of BTC-USD, ETHUSD, none of which is XRP"):
        read(tmp_path, Wish(symbol="XRP"))


def test_rows_of_another_symbol_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path, TWO.replace("ETHUSD", "BTCUSDT").replace("BTC-USD", "BTCUSDT"))
    with pytest.raises(DataError, match=r"its rows are of BTCUSDT, and BTC/USD is asked for.*--rows BTCUSDT"):
        sources.from_csv(path, BTC, HOUR)


@pytest.mark.parametrize("spelt", ["BTCUSD", "btc_usd", "X:BTCUSD", "BTC-USD", "BTCUSD=X", "BTC/USD"])
def test_symbols_may_be_spelt_as_vendors_do(spelt: str, tmp_path: Path) -> None:
    assert len(sources.from_csv(written(tmp_path, TWO.replace("BTC-USD", spelt)), BTC, HOUR)) == 3


def test_frames_with_a_level_of_symbols_are_read(tmp_path: Path) -> None:
    """As yfinance.download gives them, and in the older order of levels."""
    one = pd.read_csv(written(tmp_path, HEAD + ROWS), parse_dates=["time"], index_col="time")
    both = pd.concat({"BTC-USD": one, "ETH-USD": one * 2}, axis=1)
    for frame in (both, both.swaplevel(axis=1)):
        assert BarSet((sources.from_frame(frame, BTC, HOUR),)).fingerprint() == BarSet((THREE,)).fingerprint()
    with pytest.raises(DataError, match="its rows are of SOL-USD, ETH-USD, and BTC/USD is asked for"):
        sources.from_frame(both.rename(columns={"BTC-USD": "SOL-USD"}), BTC, HOUR)


def test_frames_of_polars_and_arrow_and_feather_files_are_read(tmp_path: Path) -> None:
    import polars
    import pyarrow
    from pyarrow import feather

    frame = pd.read_csv(written(tmp_path, HEAD + ROWS), parse_dates=["time"])
    feather.write_feather(frame, str(tmp_path / "bars.feather"))
    found = (
        sources.from_frame(polars.read_csv(tmp_path / "bars.csv", try_parse_dates=True), BTC, HOUR),
        sources.from_frame(pyarrow.Table.from_pandas(frame), BTC, HOUR),
        *load_bars(tmp_path / "bars.feather", "1h", symbol="BTC/USD", config={"data_folder": tmp_path}),
    )
    assert {BarSet((one,)).fingerprint() for one in found[:2]} == {BarSet((THREE,)).fingerprint()}
    assert list(found[2].close) == list(THREE.close) and "bars.feather: time from" in found[2].source
    (tmp_path / "bad.feather").write_bytes(b"no feather")
    with pytest.raises(DataError, match=r"bad\.feather cannot be read"):
        sources.from_feather(tmp_path / "bad.feather", BTC, HOUR)
    with pytest.raises(DataError, match="Bars of a list cannot be read"):
        sources.from_frame([1, 2], BTC, HOUR)  # type: ignore[arg-type]
