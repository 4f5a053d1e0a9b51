"""A synthetic market is repeatable, passes quality, and has the traits its arguments ask for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ffe.data.barset import BarSet
from ffe.data.quality import checked, gaps, outside
from ffe.errors import ConfigError
from ffe.feeds.synthetic import synthetic
from ffe.hours import instant
from ffe.model import DAY, HOUR, MINUTE, Instrument
from tests.data.values import AAPL, BTC, BTC_ELSEWHERE, ETH, EUR, NEW_YEAR, SONY

ALL = (BTC, BTC_ELSEWHERE, ETH, EUR, AAPL, SONY)


def returns(bars: BarSet, instrument: Instrument) -> np.ndarray:
    (series,) = (s for s in bars if s.instrument == instrument)
    return np.diff(np.log(series.close))


def test_same_seed_gives_the_same_bytes_and_another_does_not() -> None:
    marks = [synthetic(ALL, (HOUR, DAY), NEW_YEAR, 500, seed).fingerprint() for seed in (1, 1, 2)]
    assert marks[0] == marks[1] != marks[2]


def test_path_of_an_instrument_does_not_depend_on_the_others() -> None:
    alone, among = synthetic([ETH], HOUR, NEW_YEAR, 300, 5), synthetic(ALL, HOUR, NEW_YEAR, 300, 5)
    (eth,) = (s for s in among if s.instrument == ETH)
    assert BarSet((eth,)).fingerprint() == alone.fingerprint()


@settings(max_examples=15)
@given(
    st.sampled_from([BTC, EUR, AAPL, SONY]),
    st.sampled_from([(MINUTE, 5 * MINUTE), (30 * MINUTE,), (HOUR, 4 * HOUR, DAY), (DAY,)]),
    st.integers(instant("2024-01-01") // MINUTE, instant("2024-12-31") // MINUTE),
    st.integers(0, 2**32),
)
def test_every_market_passes_quality_and_keeps_its_hours(
    of: Instrument, intervals: tuple[int, ...], start: int, seed: int
) -> None:
    for s in synthetic([of], intervals, start * MINUTE, 15 * DAY // intervals[0], seed):
        assert outside(checked(s)) == 0
        assert s.open_time[0] >= start * MINUTE


def test_market_that_never_closes_has_every_bar_asked_for() -> None:
    (s,) = synthetic([BTC], HOUR, NEW_YEAR, 1000, 1, missing=0)
    assert len(s) == 1000
    assert (int(s.open_time[0]), int(s.close_time[-1])) == (NEW_YEAR, NEW_YEAR + 1000 * HOUR)


def test_asked_part_of_the_bars_is_missing_but_never_the_ends() -> None:
    (s,) = synthetic([BTC], HOUR, NEW_YEAR, 10_000, 1, missing=0.02)
    assert 150 < sum(gap.bars for gap in gaps(s)) == 10_000 - len(s) < 250
    assert s.open_time[0] == NEW_YEAR


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
def test_returns_correlate_as_asked(correlation: float) -> None:
    bars = synthetic([BTC, ETH, EUR], HOUR, NEW_YEAR, 8000, 1, correlation=correlation, missing=0)
    found = np.corrcoef(returns(bars, BTC), returns(bars, ETH))[0, 1]
    assert found == pytest.approx(correlation, abs=0.05)


def test_volatility_is_annual_and_comes_in_spells() -> None:
    bars = synthetic([BTC], HOUR, NEW_YEAR, 30_000, 1, volatility=0.4, missing=0)
    moves = returns(bars, BTC)
    assert moves.std() * np.sqrt(365 * 24) == pytest.approx(0.4, rel=0.1)
    size = np.abs(moves)
    assert np.corrcoef(size[1:], size[:-1])[0, 1] > 0.1  # calm follows calm
    assert abs(np.corrcoef(moves[1:], moves[:-1])[0, 1]) < 0.03


def test_some_bars_open_away_from_the_close_before_and_all_after_a_closed_market_do() -> None:
    bars = synthetic([BTC, AAPL], HOUR, NEW_YEAR, 2000, 1, missing=0)
    stock, coin = bars.series[1], bars.series[0]
    assert 0.1 < np.mean(coin.open[1:] != coin.close[:-1]) < 0.3
    overnight = stock.open_time[1:] > stock.close_time[:-1]
    assert np.all(stock.open[1:][overnight] != stock.close[:-1][overnight])


def test_venues_quote_one_pair_within_basis_points() -> None:
    bars = synthetic([BTC, BTC_ELSEWHERE], HOUR, NEW_YEAR, 500, 1, missing=0)
    here, there = (s.close for s in bars)
    assert 0 < np.abs(np.log(here / there)).max() < 10e-4


def test_coarser_bars_hold_the_finer_ones() -> None:
    bars = synthetic([AAPL], (HOUR, DAY), NEW_YEAR, 24 * 30, 1, missing=0)
    hours, days = bars.series
    for n in range(len(days)):
        inside = (hours.open_time >= days.open_time[n]) & (hours.close_time <= days.close_time[n])
        assert days.open[n] == hours.open[inside][0] and days.close[n] == hours.close[inside][-1]
        assert days.high[n] == hours.high[inside].max() and days.low[n] == hours.low[inside].min()
        assert days.volume[n] == pytest.approx(hours.volume[inside].sum())


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"bars": 0}, "give at least 1 bar"),
        ({"correlation": 1.5}, "a correlation from 0 to 1"),
        ({"interval": (5 * MINUTE, 7 * MINUTE)}, "Intervals 5m, 7m: name multiples of the finest, up to a day"),
        ({"instruments": [AAPL], "bars": 2}, "nyse:AAPL has no bar of 1h within 2024-01-01 00:00 – 2024-01-01 02:00"),
    ],
)
def test_what_cannot_be_made_is_refused(arguments: dict[str, object], reason: str) -> None:
    usual = {"instruments": [BTC], "interval": HOUR, "start": NEW_YEAR, "bars": 10, "seed": 1}
    with pytest.raises(ConfigError, match=reason):
        synthetic(**{**usual, **arguments})  # type: ignore[arg-type]
