"""A replay goes from one bar that could matter to the next. With or without it every byte of a run is the same.

Most bars change nothing: no signal, no change of day, no stop or target reached, no limit of the day. What such a bar
does to marks, equity, peaks and daily closes is done here for a whole stretch at once, by `ffe.kernels.quiet`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from ffe.brokers.sim import SimBroker
from ffe.engine import Engine
from ffe.feeds.bars import BarFeed
from ffe.kernels import quiet
from ffe.model import DAY, Bar, Bars, Nanos
from ffe.records.journal import RunJournal

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
SHORTEST = 4  # a stretch shorter than this is stepped as fast


class Sleeper:
    """Asked at an instant, says the next one that must be stepped, and has seen to those between.

    known are the times at which something is known to happen: signals, commands, deposits.
    """

    def __init__(
        self, engine: Engine, brokers: Sequence[SimBroker], journal: RunJournal, feed: BarFeed, known: Iterable[Nanos]
    ) -> None:
        self.engine, self.brokers, self.journal, self.feed = engine, brokers, journal, feed
        self._times = feed.instants.tolist()
        self._must: list[int] = _next_of(_must_step(feed, known)).tolist()
        self._prices = _prices(feed, engine) if feed.count else np.empty((4, 0, 0))
        self._path = np.empty(max(1, _longest(self._must)))
        self._stirred = -1

    def __call__(self, n: int) -> int:
        end = self._must[n]
        if end - n < SHORTEST or n == self._stirred or not self._is_calm():
            return n
        book, held = self.engine.book, np.empty(0)
        highest = equity = book.equity
        if book.moves:
            reached = self._through(n, end)
            self._stirred = reached if reached < end else -1
            end, held = reached, self._path[: reached - n]
            if end == n:
                return n
            highest = float(held.max())
        self.journal.quiet(self._times[n:end], held.tolist() if len(held) else [equity] * (end - n))
        last = self._last_bars(n, end)
        self.engine.sleep(last, highest)
        for broker in self.brokers:
            broker.sleep(last)
        return end

    def _is_calm(self) -> bool:
        return self.engine.is_calm() and all(broker.is_idle() for broker in self.brokers)

    def _last_bars(self, first: int, end: int) -> Bars:
        """The newest bar of every instrument that had one in a stretch."""
        found: dict[str, Bar] = {}
        for n in range(end - 1, first - 1, -1):
            for bar in self.feed.bars_at(n).bars:
                found.setdefault(bar.instrument, bar)
            if len(found) == len(self.feed.bars):
                break
        return Bars(self._times[end - 1], tuple(found.values()))

    def _through(self, first: int, end: int) -> int:
        """How far a stretch goes with positions open; the equities on the way stand in the path."""
        book, universe = self.engine.book, self.engine.universe
        ledgers = list(book.ledgers.values())
        cash = np.array([sum(held.qty for held in ledger.cash.values()) for ledger in ledgers])
        ledger, column, side, rows, marks = [], [], [], [], []
        for n, one in enumerate(ledgers):
            if any(currency != universe.currency for currency in one.cash):
                return first
            for id, position in one.positions():
                instrument, trade = universe[id], self.engine.slots.trade(id) if id in one.ours else None
                if not one.is_spot or instrument.quote != universe.currency or (id in one.ours and id in one.foreign):
                    return first
                ledger.append(n)
                column.append(universe.index[id])
                side.append(int(trade.side) if trade else int(id in one.ours))
                stop, target = (trade.stop, trade.target) if trade else (math.nan, math.nan)
                rows.append((position.basis, position.qty, stop, target, instrument.spread / 2.0, instrument.slippage))
                marks.append(book.mark(id))
        day = np.array(self.engine.day_so_far())
        return quiet.quiet_until(
            self._prices, first, end, cash, np.array(ledger), np.array(column), np.array(side), np.array(rows),
            np.array(marks), day, self._path,
        )  # fmt: skip


def _must_step(feed: BarFeed, known: Iterable[Nanos]) -> NDArray[np.bool_]:
    """Which instants must be stepped: the first, midnights, what is known, and the one after a session's first open."""
    must = feed.instants % DAY == 0
    if len(must):
        must[0] = True
    for times, side in ((np.array(sorted(known), np.int64), "left"), (feed.session_firsts(), "right")):
        places = np.searchsorted(feed.instants, times, side=side)  # type: ignore[call-overload]
        must[places[places < len(must)]] = True
    return np.ones_like(must) if _is_beyond_us(feed) else must


def _is_beyond_us(feed: BarFeed) -> bool:
    """Several intervals of one instrument, or bars that belong to two days, are stepped one by one."""
    is_double = len({s.instrument.id for s in feed.bars}) < len(feed.bars)
    return is_double or any(((s.close_time - 1) // DAY != s.open_time // DAY).any() for s in feed.bars)


def _next_of(must: NDArray[np.bool_]) -> Ints:
    """For every instant the first at or after it that must be stepped."""
    places = np.where(must, np.arange(len(must)), len(must) - 1)
    return np.minimum.accumulate(places[::-1])[::-1] if len(must) else places


def _longest(following: list[int]) -> int:
    return max((end - n for n, end in enumerate(following)), default=0)


def _prices(feed: BarFeed, engine: Engine) -> Floats:
    """Open, high, low, close x instant x instrument; NaN where there is no bar."""
    prices = np.full((4, feed.count, len(engine.universe)), math.nan)
    for s in feed.bars:
        rows, column = np.searchsorted(feed.instants, s.close_time), engine.universe.index[s.instrument.id]
        for kind, values in enumerate((s.open, s.high, s.low, s.close)):
            prices[kind, rows, column] = values
    return prices
