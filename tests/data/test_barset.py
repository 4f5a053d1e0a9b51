"""Series and sets: read-only, in one order, joined only where they agree, named by their bytes."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffe.data.barset import FIELDS, BarSet, Series
from ffe.errors import BadBars, DataError, MissingBars
from ffe.hours import Hours, instant, stamp
from ffe.model import DAY, HOUR
from tests.data.values import AAPL, BTC, BTC_ELSEWHERE, ETH, EUR, NEW_YEAR, series

FIVE = series(BTC, "2024-01-01", 5)


def test_series_cannot_be_changed_through_the_array_it_was_given() -> None:
    prices = np.full(5, 100.0)
    s = Series.from_arrays(BTC, HOUR, Hours.of("24/7", NEW_YEAR, NEW_YEAR), FIVE.open_time, *[prices] * 5)
    prices[0] = 1.0
    assert s.open[0] == 100.0
    with pytest.raises(ValueError, match="read-only"):
        s.open[0] = 1.0


def test_series_computes_closes_from_the_hours() -> None:
    eve = instant("2024-07-03T13:30")  # closes at 17:00
    s = Series.from_arrays(AAPL, DAY, Hours.of("XNYS", eve, eve), [eve], [1], [1], [1], [1], [0])
    assert stamp(int(s.close_time[0])) == "2024-07-03 17:00"


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(BadBars, match="kraken:BTC/USD 1h: columns of different lengths"):
        replace(FIVE, volume=FIVE.volume[1:])


def test_set_stands_in_the_order_venue_symbol_interval() -> None:
    daily = series(BTC, "2024-01-01", 2, DAY)
    names = [s.name for s in BarSet((series(EUR, "2024-01-02", 3), daily, series(ETH, "2024-01-01", 3), FIVE))]
    assert names == ["kraken:BTC/USD 1h", "kraken:BTC/USD 1d", "kraken:ETH/USD 1h", "oanda:EUR/USD 1h"]


def test_set_knows_its_instruments_and_finest_interval() -> None:
    bars = BarSet((series(BTC, "2024-01-01", 2, DAY), FIVE, series(ETH, "2024-01-01", 2, DAY)))
    assert bars.instruments == (BTC, ETH)
    assert bars.interval == HOUR


def test_what_is_between_closes_after_start_and_by_end() -> None:
    part = BarSet((FIVE,)).between(NEW_YEAR + HOUR, NEW_YEAR + 3 * HOUR)
    assert [stamp(t) for t in part.series[0].close_time.tolist()] == ["2024-01-01 02:00", "2024-01-01 03:00"]


@given(st.integers(-2, 8), st.integers(-2, 8))
def test_parts_between_join_to_the_whole(a: int, b: int) -> None:
    first, last = sorted((a, b))
    cuts = [NEW_YEAR - DAY, NEW_YEAR + first * HOUR, NEW_YEAR + last * HOUR, NEW_YEAR + DAY]
    parts = [BarSet((FIVE.between(*pair),)) for pair in pairwise(cuts)]
    assert (parts[2] + parts[0] + parts[1]).fingerprint() == BarSet((FIVE,)).fingerprint()


@pytest.mark.parametrize("column", FIELDS)
def test_join_of_sets_that_disagree_names_column_and_time(column: str) -> None:
    values = getattr(FIVE, column).copy()
    values[3] *= 1.0 - 1e-4 if column == "low" else 1.0 + 1e-4
    other = replace(FIVE, **{column: values})
    with pytest.raises(BadBars, match=f"kraken:BTC/USD 1h: two sets disagree about {column} at 2024-01-01 03:00"):
        BarSet((FIVE,)) + BarSet((other,))


def test_one_series_twice_is_refused() -> None:
    with pytest.raises(DataError, match="kraken:BTC/USD 1h is given twice"):
        BarSet((FIVE, FIVE))


def test_one_instrument_in_two_descriptions_is_refused() -> None:
    other = replace(series(BTC, "2024-01-01", 2, DAY), instrument=replace(BTC, fee=0.1))
    with pytest.raises(DataError, match="One instrument is described in two ways"):
        BarSet((FIVE, other))


def test_set_of_nothing_is_refused() -> None:
    with pytest.raises(MissingBars, match="no series"):
        BarSet(())


def test_fingerprint_is_sha256_of_names_intervals_and_little_endian_bytes() -> None:
    digest = hashlib.sha256(b"kraken:BTC/USD\n3600000000000\n5\n")
    for array in (FIVE.open_time, FIVE.close_time, FIVE.open, FIVE.high, FIVE.low, FIVE.close, FIVE.volume):
        digest.update(array.astype("<i8" if array.dtype == np.int64 else "<f8").tobytes())
    assert BarSet((FIVE,)).fingerprint() == digest.hexdigest()


@given(st.sampled_from(FIELDS), st.integers(0, 4))
def test_fingerprint_moves_with_the_last_bit_of_any_number(name: str, row: int) -> None:
    column = getattr(FIVE, name).copy()
    column[row] = np.nextafter(column[row], np.inf)
    assert BarSet((replace(FIVE, **{name: column}),)).fingerprint() != BarSet((FIVE,)).fingerprint()


def test_frame_is_close_time_by_symbol_with_nan_where_there_is_no_bar() -> None:
    frame = BarSet((series(BTC, "2024-01-01", 2), series(ETH, "2024-01-01T01:00", 2, price=10.0))).frame("close")
    assert list(frame.columns) == ["BTC/USD", "ETH/USD"]
    assert [str(t) for t in frame.index] == [f"2024-01-01 0{h}:00:00+00:00" for h in (1, 2, 3)]
    np.testing.assert_array_equal(frame.to_numpy(), [[100, np.nan], [101, 10], [np.nan, 11]])


def test_index_of_a_frame_is_nanoseconds() -> None:
    assert BarSet((FIVE,)).frame("open").index.asi8.tolist() == FIVE.close_time.tolist()


def test_symbol_of_two_venues_is_written_with_its_venue() -> None:
    bars = BarSet((FIVE, series(BTC_ELSEWHERE, "2024-01-01", 5), series(ETH, "2024-01-01", 5)))
    assert list(bars.frame("volume").columns) == ["coinbase:BTC/USD", "kraken:BTC/USD", "ETH/USD"]


def test_frame_of_an_interval_that_is_not_there_says_which_are() -> None:
    with pytest.raises(MissingBars, match=r"No series of 1d\. There are: kraken:BTC/USD 1h"):
        BarSet((FIVE,)).frame("close", DAY)


def test_set_from_a_frame_is_the_series_it_was_made_of() -> None:
    import pandas as pd

    columns = {name: getattr(FIVE, name) for name in FIELDS}
    frame = pd.DataFrame(columns, pd.DatetimeIndex(FIVE.open_time.view("M8[ns]")))
    assert BarSet.from_frame(frame, BTC, HOUR).fingerprint() == BarSet((FIVE,)).fingerprint()


def test_set_shows_its_series_and_a_notebook_their_gaps() -> None:
    bars = BarSet((FIVE.at(np.array([True, True, False, True, True])),))
    assert "kraken:BTC/USD 1h: 4 bars, 2024-01-01 00:00 – 2024-01-01 05:00" in repr(bars)
    row = "<td>BTC/USD</td><td>1h</td><td>2024-01-01 00:00</td><td>2024-01-01 05:00</td><td>4</td><td>1</td>"
    assert row in bars._repr_html_()
