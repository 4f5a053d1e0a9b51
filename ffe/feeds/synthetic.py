"""A seeded market that needs no data: correlated prices with calm and stormy spells, gaps and missing bars.

One factor and a noise per pair move each price; volatility changes between regimes that all share. A closed market
keeps moving, at a quarter of the speed, and so opens away from its last close. The same arguments give the same bytes,
and an instrument's path does not depend on which others are asked for. Venues that list the same pair follow one path
within about a basis point. Coarser intervals are made of the finest.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.random import Generator, default_rng

from ffe.data.barset import BarSet, FloatArray, Series
from ffe.data.quality import checked
from ffe.errors import ConfigError
from ffe.hours import ALWAYS, Hours, IntArray, spelt, stamp
from ffe.model import DAY, AssetClass, Instrument, Nanos, Price, Ratio

YEAR: Nanos = 365 * DAY
REGIMES = (0.45, 0.75, 1.5)  # calm, usual, stormy: multiples of volatility whose squares average to one
CLOSED_SPEED = 0.25  # variance per time while closed, as a part of that while open
JUMPS = 0.2  # the part of bars that open away from the close before them, and by how much of a bar's volatility
WICK = 0.5  # how far high and low reach beyond open and close, in a bar's volatility
VENUE_OFFSET = 1e-4

PRICES = {AssetClass.CRYPTO: 20_000.0, AssetClass.FOREX: 1.1, AssetClass.STOCK: 100.0, AssetClass.INDEX: 4_000.0}
VOLATILITIES = {AssetClass.CRYPTO: 0.7, AssetClass.FOREX: 0.08, AssetClass.STOCK: 0.3, AssetClass.INDEX: 0.2}


@dataclass(frozen=True, slots=True, eq=False)
class Market:
    """What all instruments share, per step of the clock: the factor inside bars and at opens, and the regime."""

    seed: int
    correlation: Ratio
    start: Nanos
    end: Nanos
    interval: Nanos
    inside: FloatArray
    at_open: FloatArray
    regime: FloatArray

    def mixed(self, factor: FloatArray, noise: FloatArray) -> FloatArray:
        """A standard normal whose correlation with any other's is the market's."""
        return sqrt(self.correlation) * factor + sqrt(1 - self.correlation) * noise

    def dice(self, name: str) -> Generator:
        """The random numbers that belong to this name alone."""
        return default_rng([self.seed, zlib.crc32(name.encode())])


def synthetic(
    instruments: Sequence[Instrument],
    interval: Nanos | Sequence[Nanos],
    start: Nanos,
    bars: int,
    seed: int,
    *,
    correlation: Ratio = 0.5,
    volatility: Ratio | None = None,
    drift: Ratio = 0.0,
    price: Price | None = None,
    regime_bars: int = 200,
    missing: Ratio = 0.001,
) -> BarSet:
    """The bars that instruments have within [start, start + bars · finest interval): fewer where markets close.

    correlation is that of the returns of any two pairs; volatility and drift are annual; volatility and the first price
    follow from the asset class unless given; a regime lasts regime_bars on average; missing is the part of bars left
    out.
    """
    finest, *coarser = _intervals(interval)
    market = _market(seed, correlation, start, bars, finest, regime_bars)
    series: list[Series] = []
    for i in instruments:
        hours = Hours.of(i.hours, start, market.end)
        sigma = VOLATILITIES[i.asset_class] if volatility is None else volatility
        walk = _walk(i, hours, market, sigma, drift, PRICES[i.asset_class] if price is None else price)
        series += [_holed(s, market, missing) for s in (walk, *(_coarser(walk, hours, market, c) for c in coarser))]
    return BarSet(tuple(checked(s) for s in series))


def _intervals(interval: Nanos | Sequence[Nanos]) -> list[Nanos]:
    intervals = sorted({interval} if isinstance(interval, int) else set(interval))
    if not intervals or intervals[0] <= 0 or intervals[-1] > DAY or any(i % intervals[0] for i in intervals):
        named = ", ".join(spelt(i) for i in intervals)
        raise ConfigError(f"Intervals {named}: name multiples of the finest, up to a day.")
    return intervals


def _market(seed: int, correlation: Ratio, start: Nanos, bars: int, interval: Nanos, regime_bars: int) -> Market:
    if bars < 1 or not 0 <= correlation <= 1 or regime_bars < 1:
        given = f"bars={bars}, correlation={correlation}, regime_bars={regime_bars}"
        raise ConfigError(f"A synthetic market of {given}: give at least 1 bar, and a correlation from 0 to 1.")
    dice = default_rng([seed, 0])
    spell = np.cumsum(dice.random(bars) < 1 / regime_bars)
    regime = dice.choice(REGIMES, int(spell[-1]) + 1)[spell]
    inside, at_open = dice.standard_normal((2, bars))
    return Market(seed, correlation, start, start + bars * interval, interval, inside, at_open, regime)


def _walk(i: Instrument, hours: Hours, market: Market, volatility: Ratio, drift: Ratio, price: Price) -> Series:
    """The finest bars, none missing."""
    opens = _open_times(i, hours, market, market.interval)
    closes = hours.bar_close(opens, market.interval)
    dice, step = market.dice(f"{i.base}/{i.quote}"), (opens - market.start) // market.interval
    sigma = volatility * market.regime[step] * np.sqrt((closes - opens) / YEAR)
    inside = sigma * market.mixed(market.inside[step], dice.standard_normal(len(opens)))
    jump = _jumps(opens, closes, sigma, market.mixed(market.at_open[step], dice.standard_normal(len(opens))), dice)
    offset = np.minimum(VENUE_OFFSET, sigma / 20) * market.dice(i.id).standard_normal(len(opens))
    inside += drift * (closes - opens) / YEAR + np.diff(offset, prepend=0.0)
    close = np.cumsum(jump + inside)
    columns = [price * np.exp(log) for log in _around(close - inside, close, WICK * sigma, dice)]
    columns = [_on_grid(column, i.tick) for column in columns] if i.tick else columns
    return Series(i, market.interval, opens, closes, *columns, *[dice.lognormal(7, 1, len(opens))])


def _on_grid(column: FloatArray, tick: Price) -> FloatArray:
    return np.asarray(np.maximum(np.round(column / tick), 1) * tick)


def _jumps(opens: IntArray, closes: IntArray, sigma: FloatArray, draws: FloatArray, dice: Generator) -> FloatArray:
    """By how much each bar opens away from the close before it: after a closed market by its length, else sometimes."""
    closed = np.maximum(opens - np.r_[opens[:1], closes[:-1]], 0) / np.maximum(closes - opens, 1)
    size: FloatArray = np.sqrt(CLOSED_SPEED * closed) + np.where(dice.random(len(opens)) < JUMPS, JUMPS, 0.0)
    size[:1] = 0.0  # the first bar opens at the price that was asked for
    return sigma * size * draws


def _around(open: FloatArray, close: FloatArray, reach: FloatArray, dice: Generator) -> list[FloatArray]:
    """Open, high, low and close of bars that reach beyond both ends."""
    up, down = reach * np.abs(dice.standard_normal((2, len(open))))
    return [open, np.maximum(open, close) + up, np.minimum(open, close) - down, close]


def _open_times(i: Instrument, hours: Hours, market: Market, interval: Nanos) -> IntArray:
    """Where whole bars open: counted from each session's open, or from the start where none closes."""
    grids = [np.empty(0, np.int64)]
    for start, end in hours.trading(market.start, market.end, interval):
        session = hours.session_at(start)
        late = 0 if session is None or hours.name == ALWAYS else (session[0] - start) % interval
        grids.append(np.arange(start + late, end, interval))
    opens = np.concatenate(grids)
    opens = opens[hours.bar_close(opens, interval) <= market.end]
    if not len(opens):
        within = f"{stamp(market.start)} – {stamp(market.end)}"
        raise ConfigError(f"{i.id} has no bar of {spelt(interval)} within {within}. Ask for more bars.")
    return opens


def _coarser(s: Series, hours: Hours, market: Market, interval: Nanos) -> Series:
    """The same path in coarser bars."""
    opens = _open_times(s.instrument, hours, market, interval)
    closes = hours.bar_close(opens, interval)
    bar = np.searchsorted(opens, s.open_time, side="right") - 1
    s = s.at((bar >= 0) & (s.close_time <= closes[bar]))
    first = np.searchsorted(s.open_time, opens)
    last = np.r_[first[1:], len(s)] - 1
    high, low = np.maximum.reduceat(s.high, first), np.minimum.reduceat(s.low, first)
    columns = s.open[first], high, low, s.close[last], np.add.reduceat(s.volume, first)
    return Series(s.instrument, interval, opens, closes, *columns)


def _holed(s: Series, market: Market, missing: Ratio) -> Series:
    """Without some bars, as a venue forgets them; the first and the last stay."""
    kept = market.dice(s.name).random(len(s)) >= missing
    kept[:1] = kept[-1:] = True
    return s.at(kept)
