"""Bars for research: from the cache, from a file, from a DataFrame, or the sample stocks that need no network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ffe.config import Settings
from ffe.data import sources
from ffe.data.barset import BarSet, Series
from ffe.data.cache import Cache
from ffe.data.times import Wish
from ffe.errors import DataError, MissingBars
from ffe.hours import instant, interval_of, spelt, stamp
from ffe.model import DAY, Instrument, Nanos
from ffe.research.given import the_settings

if TYPE_CHECKING:
    import pandas as pd

Config = Settings | Mapping[str, object] | Path | str | None
Time = str | date | np.datetime64  # also of pandas
READERS = {
    ".csv": sources.from_csv, ".txt": sources.from_csv, ".parquet": sources.from_parquet,
    ".feather": sources.from_feather, ".arrow": sources.from_feather,
}  # fmt: skip


def load_bars(
    what: str | Sequence[str] | Path | pd.DataFrame, interval: str = "1d", start: Time | None = None,
    end: Time | None = None, *, symbol: str | None = None, config: Config = None,
    columns: Mapping[str, str] | None = None, time_format: str | None = None, time_unit: str | None = None,
    tz: str | None = None, sort: bool = False, rows: str | None = None,
) -> BarSet:  # fmt: skip
    """Bars that close within (start, end]: all there are where a bound is not given.

    what is a symbol or several (from the cache; the sample stocks are put there when first asked for), or a csv,
    parquet or feather file, or a frame of pandas, polars or Arrow, whose symbol must be named. columns (by role, as
    {"time": "Gmt time"}), time_format (as in strptime), time_unit (s, ms, us, ns), tz (of times that name none), sort
    and rows (how the symbol is spelt there) say of a file or frame what it does not say itself; how it was understood
    is each series' source. Raises UnknownSymbol, MissingBars, BadBars; DataError with every reading where there are
    several.
    """
    settings, step = the_settings(config), interval_of(interval)
    if isinstance(what, str) and _suffix(what) not in READERS:
        what = [what]
    if isinstance(what, list | tuple):
        if not what:
            raise DataError("No symbol is named: name one or several, as in AAPL,IBM.")
        return _cached(list(dict.fromkeys(map(settings.instrument, what))), step, start, end, settings)
    if symbol is None:
        raise DataError("A file or a frame does not say what it is of: name its symbol, as in symbol='BTC/USD'.")
    wish = Wish(columns or {}, time_format, time_unit, tz, sort, rows)
    found = BarSet((_read(what, settings.instrument(symbol), step, wish),))
    return found.between(instant(start) if start else -(2**62), instant(end) if end else 2**62)


def _read(
    what: str | Path | pd.DataFrame | Sequence[str], instrument: Instrument, interval: Nanos, wish: Wish
) -> Series:
    if isinstance(what, str | Path):
        reader = READERS.get(_suffix(what))
        if reader is None:
            raise DataError(f"{what}: neither csv, parquet nor feather. Convert it, or give a DataFrame.")
        return reader(what, instrument, interval, wish=wish)
    return sources.from_frame(what, instrument, interval, wish=wish)  # type: ignore[arg-type]


def _suffix(path: str | Path) -> str:
    """In any case, and of what is packed."""
    return Path(str(path).lower().removesuffix(".gz")).suffix


def _cached(
    instruments: list[Instrument], interval: Nanos, start: Time | None, end: Time | None, settings: Settings
) -> BarSet:
    cache = Cache(settings.cache_path)
    _keep_samples(cache, instruments, interval)
    coverage, found = cache.coverage(), []
    for i in instruments:
        ranges = [c for c in coverage if (c.venue, c.symbol, c.interval) == (i.venue, i.symbol, interval)]
        put_them = _command(i, interval, start, settings)
        if not ranges:
            raise MissingBars(f"{i.id} {spelt(interval)}: no bars in {cache.path}. Put them there: {put_them}")
        held, until = min(c.start for c in ranges), max(c.end for c in ranges)
        first, last = instant(start) if start else held, instant(end) if end else until
        if not held < last > first < until:
            raise MissingBars(
                f"{i.id} {spelt(interval)}: {stamp(first)} – {stamp(last)} holds no bars; {cache.path} has "
                f"{stamp(held)} – {stamp(until)}. Ask within that, or put more there: {put_them}"
            )
        found.append(cache.get(i, interval, first, last))
    return BarSet(tuple(found))


def _command(i: Instrument, interval: Nanos, start: Time | None, settings: Settings) -> str:
    """What brings such bars into the cache."""
    if settings.venues[i.venue].source is not None:
        return f"ffe data fetch {i.symbol} {spelt(interval)} --from {start or '2024-01-01'}"
    return f"ffe data import FILE --symbol {i.symbol} --interval {spelt(interval)}"


def _keep_samples(cache: Cache, instruments: list[Instrument], interval: Nanos) -> None:
    """Put sample stocks into the cache that are asked for and not there yet."""
    held = {(s.venue, s.symbol) for s in cache.series() if s.interval == interval}
    wanted = [i for i in instruments if i.symbol in sources.SAMPLE_STOCKS and (i.venue, i.symbol) not in held]
    if wanted and interval == DAY:
        for series in sources.sample_stocks(wanted):
            cache.put(series)
