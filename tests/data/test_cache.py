"""The cache on a real DuckDB file: what goes in comes out, what was never loaded is said, and nothing is held open."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from random import Random

import duckdb
import numpy as np
import pytest
from filelock import FileLock
from hypothesis import given, settings
from hypothesis import strategies as st

from ffe.data.barset import BarSet, Series
from ffe.data.cache import Added, Cache, Covered, Held
from ffe.errors import BadBars, DataError, MissingBars, NotWritable
from ffe.feeds.synthetic import synthetic
from ffe.hours import instant
from ffe.model import DAY, HOUR, MINUTE, SECOND
from tests.data.values import AAPL, BTC, BTC_ELSEWHERE, ETH, EUR, NEW_YEAR, series

TEN = series(BTC, "2024-01-01", 10)
END = NEW_YEAR + 10 * HOUR
MARKET = {i.id: synthetic([i], HOUR, NEW_YEAR, 500, 3, missing=0.05).series[0] for i in (BTC, EUR, AAPL)}


def same(a: Series, b: Series) -> bool:
    return BarSet((a,)).fingerprint() == BarSet((b,)).fingerprint()


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "data" / "cache.duckdb", patience=0.3)


@contextmanager
def held_elsewhere(path: Path, seconds: float) -> Iterator[None]:
    """The file open in another process that knows nothing of our lock."""
    code = f"import duckdb, time; con = duckdb.connect({str(path)!r}); print(flush=True); time.sleep({seconds})"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        yield
        other.kill()


# ---------------------------------------------------------------- beside what is there


def test_a4_bars_that_are_added_remove_none(cache: Cache) -> None:
    """Two rows nine days apart deleted 219 of 240 cached hours, which the import called changed."""
    hours = series(BTC, "2024-01-01", 240)
    assert cache.add(hours) == Added(240, 0, 0)
    two = hours.at(np.array([3, 219]))
    two = replace(two, close=np.array([float(two.close[0]), float(two.low[1])]))
    assert cache.add(two) == Added(0, 1, 215)
    assert str(Added(0, 1, 215)) == "0 added, 1 changed, 215 kept"
    (held,) = cache.series()
    assert held.bars == 240
    now = cache.get(BTC, HOUR, NEW_YEAR, NEW_YEAR + 240 * HOUR)
    assert now.close[219] == two.close[1] and same(now.between(0, NEW_YEAR + 200 * HOUR), hours.at(slice(0, 200)))


def test_bar_that_was_replaced_is_kept_as_a_revision(cache: Cache) -> None:
    cache.add(TEN)
    for factor in (2.0, 3.0):
        cache.add(replace(TEN, volume=TEN.volume * factor))
    with duckdb.connect(cache.path, read_only=True) as con:
        kept = con.execute("SELECT volume, count(*) FROM revisions GROUP BY 1 ORDER BY 1").fetchall()
    assert kept == [(float(TEN.volume[0]), 10), (2.0 * float(TEN.volume[0]), 10)]
    assert cache.add(replace(TEN, volume=TEN.volume * 3.0)) == Added(0, 0, 0), "nothing new"


def test_bars_before_between_and_behind_are_added(cache: Cache) -> None:
    cache.add(TEN.at(np.array([2, 5])))
    assert cache.add(TEN.at(np.array([0, 1, 3, 4, 9]))) == Added(5, 0, 2)
    assert [*cache.get(BTC, HOUR, NEW_YEAR, END).open_time] == [*TEN.open_time[[0, 1, 2, 3, 4, 5, 9]]]


def test_cache_of_before_revisions_takes_bars(cache: Cache) -> None:
    cache.put(TEN)
    with duckdb.connect(cache.path) as con:
        con.execute("DROP TABLE revisions")
    assert cache.add(TEN) == Added(0, 0, 0)


# ---------------------------------------------------------------- in and out


@settings(max_examples=10)
@given(st.sampled_from(sorted(MARKET)), st.lists(st.integers(1, 250), max_size=3), st.randoms(use_true_random=False))
def test_bars_put_in_any_parts_and_order_come_back_to_the_bit(id: str, cuts: list[int], random: Random) -> None:
    whole = MARKET[id]
    edges = sorted({0, len(whole), *(cut for cut in cuts if cut < len(whole))})
    parts = [whole.at(slice(a, b)) for a, b in pairwise(edges)]
    bounds = [int(whole.open_time[a]) for a in edges[:-1]] + [int(whole.close_time[-1])]
    order = list(range(len(parts)))
    random.shuffle(order)
    with tempfile.TemporaryDirectory() as folder:
        cache = Cache(Path(folder) / "cache.duckdb")
        for n in order:
            cache.put(parts[n], bounds[n], bounds[n + 1])
        assert same(cache.get(whole.instrument, HOUR, bounds[0], bounds[-1]), whole)
        assert cache.revisions == 0


def test_series_of_other_venues_symbols_and_intervals_stay_apart(cache: Cache) -> None:
    others = [series(BTC_ELSEWHERE, "2024-01-01", 10), series(ETH, "2024-01-01", 10), series(BTC, "2024-01-01", 2, DAY)]
    for s in (TEN, *others):
        cache.put(s)
    assert same(cache.get(BTC, HOUR, NEW_YEAR, END), TEN)
    assert [(h.venue, h.symbol, h.interval) for h in cache.series()] == sorted(s.key for s in (TEN, *others))


def test_get_gives_the_bars_that_open_from_start_and_close_by_end(cache: Cache) -> None:
    cache.put(TEN)
    assert same(cache.get(BTC, HOUR, NEW_YEAR + HOUR, NEW_YEAR + 3 * HOUR), TEN.at(slice(1, 3)))
    assert same(cache.get(BTC, HOUR, NEW_YEAR + 1, NEW_YEAR + 3 * HOUR + 1), TEN.at(slice(1, 3)))


def test_cache_lists_what_it_holds_and_what_it_covers(cache: Cache) -> None:
    before = time.time_ns()
    cache.put(TEN, NEW_YEAR - DAY, END)
    assert cache.series() == (Held(BTC.venue, BTC.symbol, HOUR, NEW_YEAR, NEW_YEAR + 9 * HOUR, 10),)
    (covered,) = cache.coverage()
    assert covered == Covered(BTC.venue, BTC.symbol, HOUR, NEW_YEAR - DAY, END, covered.fetched_at)
    assert 0 <= covered.fetched_at - before + SECOND < 60 * SECOND


def test_bars_appended_one_by_one_are_one_covered_range(cache: Cache) -> None:
    for n in range(4):
        cache.put(TEN.at(slice(n, n + 1)))
    assert [(c.start, c.end) for c in cache.coverage()] == [(NEW_YEAR, NEW_YEAR + 4 * HOUR)]


def test_file_holds_utc_timestamps_and_no_key(cache: Cache) -> None:
    cache.put(TEN)
    with duckdb.connect(cache.path, read_only=True) as con:
        assert str(con.execute("SELECT min(ts) FROM bars").fetchall()[0][0]) == "2024-01-01 00:00:00"
        assert con.execute(
            "SELECT count(*) FROM duckdb_constraints() WHERE constraint_type = 'PRIMARY KEY'"
        ).fetchall() == [(0,)]


# ---------------------------------------------------------------- what is missing


def test_empty_cache_says_what_to_import_and_makes_no_file(cache: Cache) -> None:
    expected = (
        r"kraken:BTC/USD 1h: no bars 2024-01-01 00:00 – 2024-01-01 10:00 in .*\. "
        r"Put them there: ffe data import FILE --symbol BTC/USD --interval 1h"
    )
    with pytest.raises(MissingBars, match=expected):
        cache.get(BTC, HOUR, NEW_YEAR, END)
    assert cache.series() == cache.coverage() == ()
    assert not cache.path.exists()


@given(first=st.integers(0, 9), last=st.integers(0, 9))
@settings(max_examples=8)
def test_part_that_was_never_loaded_is_named(first: int, last: int) -> None:
    first, last = sorted((first, last))
    with tempfile.TemporaryDirectory() as folder:
        cache = Cache(Path(folder) / "cache.duckdb")
        cache.put(TEN.at(slice(first, last + 1)))
        if (first, last) == (0, 9):
            assert len(cache.get(BTC, HOUR, NEW_YEAR, END)) == 10
            return
        hole = f"00:00 – 2024-01-01 {first:02}:00" if first else f"{last + 1:02}:00 – 2024-01-01 10:00"
        more = " and 1 more ranges" if first and last < 9 else ""
        with pytest.raises(MissingBars, match=f"no bars 2024-01-01 {hole}{more} in"):
            cache.get(BTC, HOUR, NEW_YEAR, END)


def test_nothing_is_missing_of_weekends_and_holidays(cache: Cache) -> None:
    cache.put(series(EUR, "2024-01-01T22:00", 96))  # Monday's opening to Friday's close
    cache.put(series(EUR, "2024-01-07T22:00", 2))
    assert len(cache.get(EUR, HOUR, instant("2023-12-29T22:00"), instant("2024-01-08"))) == 98


def test_bar_that_ends_after_the_range_is_not_missing(cache: Cache) -> None:
    cache.put(TEN)
    assert len(cache.get(BTC, HOUR, NEW_YEAR, END + 59 * MINUTE)) == 10


def test_last_short_bar_of_a_session_can_be_missing(cache: Cache) -> None:
    cache.put(series(AAPL, "2024-01-08T14:30", 6))
    with pytest.raises(MissingBars, match="no bars 2024-01-08 20:30 – 2024-01-08 21:00 in"):
        cache.get(AAPL, HOUR, instant("2024-01-08"), instant("2024-01-09"))


def test_bar_that_opens_between_two_loads_is_missing_though_it_ends_in_the_second(cache: Cache) -> None:
    cache.put(TEN.at(slice(0, 2)))
    cache.put(TEN.at(slice(3, 10)), NEW_YEAR + 2 * HOUR + 30 * MINUTE, END)
    with pytest.raises(MissingBars, match="no bars 2024-01-01 02:00 – 2024-01-01 02:30 in"):
        cache.get(BTC, HOUR, NEW_YEAR, END)


def test_time_without_trades_that_was_asked_for_is_not_missing(cache: Cache) -> None:
    cache.put(TEN.at(np.array([0, 1, 2, 7, 8, 9])), NEW_YEAR, END + HOUR)
    assert len(cache.get(BTC, HOUR, NEW_YEAR, END + HOUR)) == 6
    with pytest.raises(MissingBars, match="all of 2024-01-01 03:00 – 2024-01-01 06:00 was loaded, and nothing traded"):
        cache.get(BTC, HOUR, NEW_YEAR + 3 * HOUR, NEW_YEAR + 6 * HOUR)


# ---------------------------------------------------------------- revisions and refusals


def test_revised_bars_are_counted_and_warned_of(cache: Cache, caplog: pytest.LogCaptureFixture) -> None:
    assert cache.put(TEN) == 0
    close = TEN.close.copy()
    close[[2, 5]] -= 0.25
    revised = replace(TEN, close=close)
    assert cache.put(revised) == cache.revisions == 2
    assert "kraken:BTC/USD 1h: 2 cached bars were changed by a later load" in caplog.text
    assert same(cache.get(BTC, HOUR, NEW_YEAR, END), revised)


def test_same_bars_again_and_new_ones_are_no_revision(cache: Cache, caplog: pytest.LogCaptureFixture) -> None:
    cache.put(TEN.at(slice(0, 6)))
    cache.put(TEN.at(slice(3, 10)))
    assert (cache.revisions, caplog.text) == (0, "")


def test_bar_that_a_later_load_no_longer_has_is_a_revision(cache: Cache) -> None:
    cache.put(TEN)
    assert cache.put(TEN.at(np.array([0, 1, 3])), NEW_YEAR, NEW_YEAR + 4 * HOUR) == 1


def test_bars_that_cannot_be_true_or_kept_are_refused_and_change_nothing(cache: Cache) -> None:
    cache.put(TEN)
    with pytest.raises(BadBars, match=r"row 0 .* is negative"):
        cache.put(replace(TEN, volume=-TEN.volume))
    with pytest.raises(DataError, match="bars outside 2024-01-01 01:00"):
        cache.put(TEN, start=NEW_YEAR + HOUR)
    with pytest.raises(DataError, match="whole seconds"):
        cache.put(series(BTC, "2024-01-01", 3, SECOND // 2))
    with pytest.raises(MissingBars, match="Say which range was found empty"):
        cache.put(TEN.at(slice(0, 0)))
    assert same(cache.get(BTC, HOUR, NEW_YEAR, END), TEN)


# ---------------------------------------------------------------- the file


def test_file_is_free_between_calls(cache: Cache) -> None:
    cache.put(TEN)
    with FileLock(f"{cache.path}.lock", timeout=0), duckdb.connect(cache.path) as con:
        assert con.execute("SELECT count(*) FROM bars").fetchall() == [(10,)]
    assert len(cache.get(BTC, HOUR, NEW_YEAR, END)) == 10


def test_file_open_in_another_program_is_waited_for(cache: Cache) -> None:
    cache.put(TEN)
    patient = Cache(cache.path, patience=20.0)
    with held_elsewhere(cache.path, seconds=0.3):
        assert len(patient.get(BTC, HOUR, NEW_YEAR, END)) == 10


def test_file_held_open_for_too_long_is_an_error_that_says_so(cache: Cache) -> None:
    cache.put(TEN)
    expected = r"cache\.duckdb has been open elsewhere for 0\.3 s\. Close it there"
    with held_elsewhere(cache.path, seconds=30), pytest.raises(DataError, match=expected):
        cache.put(TEN)
    with FileLock(f"{cache.path}.lock"), pytest.raises(DataError, match=expected):
        cache.get(BTC, HOUR, NEW_YEAR, END)


def test_two_processes_may_put_at_once(cache: Cache) -> None:
    code = f"""
import sys
from ffe.data.cache import Cache
from tests.data.values import BTC, series
Cache({str(cache.path)!r}, patience=30).put(series(BTC, sys.argv[1], 10))
"""
    days = ["2024-01-01", "2024-01-01T10:00", "2024-01-01T20:00"]
    writers = [subprocess.Popen([sys.executable, "-c", code, day], cwd=Path(__file__).parents[2]) for day in days]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    assert len(cache.get(BTC, HOUR, NEW_YEAR, NEW_YEAR + 30 * HOUR)) == 30


def test_file_that_is_no_database_is_refused_and_left_untouched(cache: Cache) -> None:
    cache.path.parent.mkdir()
    cache.path.write_bytes(b"my thesis\n" * 1000)
    for use in (lambda: cache.put(TEN), lambda: cache.get(BTC, HOUR, NEW_YEAR, END), cache.series):
        with pytest.raises(
            DataError, match=r"cache\.duckdb is no DuckDB database; it was left as it is\. Name another"
        ):
            use()
    assert cache.path.read_bytes() == b"my thesis\n" * 1000


def test_database_of_something_else_is_refused(cache: Cache) -> None:
    cache.path.parent.mkdir()
    with duckdb.connect(cache.path) as con:
        con.execute("CREATE TABLE bars (pub VARCHAR)")
    for use in (lambda: cache.put(TEN), cache.series):
        with pytest.raises(DataError, match="is a database of something else"):
            use()


def test_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file, where a folder should be")
    with pytest.raises(NotWritable, match="Name a cache in a folder you can write to"):
        Cache(tmp_path / "data" / "cache.duckdb").put(TEN)


def test_folder_in_the_place_of_the_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Is a directory"):
        Cache(tmp_path).put(TEN)


# ---------------------------------------------------------------- a cache of somebody else's


def test_cache_with_a_view_is_no_cache_of_ours(tmp_path: Path) -> None:
    """A view in place of the bars read a file, and printed it."""
    (tmp_path / "secret.txt").write_text("a secret")
    path = tmp_path / "cache.duckdb"
    with duckdb.connect(str(path)) as con:
        rows = f"SELECT content AS venue, 'x' AS symbol, 60 AS tf FROM read_text('{tmp_path}/secret.txt')"
        con.execute(f"CREATE VIEW bars AS {rows}")
    with pytest.raises(DataError, match="holds the view bars: no cache of ours"):
        Cache(path).series()


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ("CREATE MACRO epoch_ns(x) AS 7", "the function epoch_ns"),
        ("CREATE MACRO duckdb_functions() AS TABLE SELECT 1; CREATE MACRO f(x) AS x", "the function"),
        ("CREATE TABLE bars (tf VARCHAR)", r"the column bars\.tf of VARCHAR"),
        ("CREATE TABLE bars (tf INTEGER, ts AS (make_timestamp(tf)))", r"a computed bars\.ts"),
    ],
)
def test_cache_that_computes_what_it_holds_is_no_cache_of_ours(tmp_path: Path, made: str, said: str) -> None:
    """A function of the file's stands before DuckDB's own of the same name, and text times a billion fills memory."""
    path = tmp_path / "cache.duckdb"
    with duckdb.connect(str(path)) as con:
        con.execute(made)
    with pytest.raises(DataError, match=f"holds {said}.*: no cache of ours"):
        Cache(path).series()


def test_cache_reads_no_other_file(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache.duckdb")
    cache.put(series(BTC, "2024-01-01", 3))
    (tmp_path / "secret.txt").write_text("a secret")
    with cache._open() as con, pytest.raises(duckdb.Error, match="disabled by configuration"):
        con.execute(f"SELECT content FROM read_text('{tmp_path}/secret.txt')")


def test_cache_is_its_owners_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        cache = Cache(tmp_path / "new" / "data" / "cache.duckdb")
        cache.put(series(BTC, "2024-01-01", 3))
    finally:
        os.umask(before)
    assert [path.stat().st_mode & 0o777 for path in (cache.path, cache.path.parent, cache.path.parent.parent)] == [
        0o600,
        0o700,
        0o700,
    ]
    assert Path(f"{cache.path}.lock").stat().st_mode & 0o777 == 0o600
