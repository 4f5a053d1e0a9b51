"""What the gate must know of one entry: one float per layer, NaN for what is not known.

Everything counts: positions on all venues, ours or not, entries in flight, reservations, and the candidate at its real
size. A trade that is being reversed counts as what it will be.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from ffe.book import Book
from ffe.history import History
from ffe.hours import Hours
from ffe.kernels import stats
from ffe.kernels.gates import CONCENTRATION, CONFIDENCE, DRAWDOWN, FRESHNESS, HOURS, LEVERAGE, THIN
from ffe.model import SECOND, Currency, Instrument, InstrumentId, Intent, Money, Nanos, Qty, Side, TailRisk
from ffe.risk.gatekeeper import freshness_limit
from ffe.risk.limits import GateLimits
from ffe.risk.queue import Queue
from ffe.risk.slots import Slots
from ffe.rounding import round_down
from ffe.sizing import Room, cost_per_unit

FACT_COUNT = CONFIDENCE + 1
Floats = NDArray[np.float64]


class Facts:
    """Measures entries on the state of its owner's book, history, slots and queue; keeps nothing of them."""

    def __init__(
        self,
        book: Book,
        history: History,
        slots: Slots,
        queue: Queue,
        hours: Mapping[InstrumentId, Hours],
        limits: GateLimits,
    ) -> None:
        self.book, self.history, self.slots, self.queue = book, history, slots, queue
        self.hours, self.limits, self.universe = hours, limits, book.universe
        venues = {venue: n for n, venue in enumerate(self.universe.accounts)}
        self._venue = np.array([venues[i.venue] for i in self.universe], np.int64)

    def equity(self, now: Nanos) -> Money:
        """Equity as far as it can be relied on: NaN while a currency that we hold something in has no fresh rate."""
        return self.book.equity if all(self.has_fresh_rate(currency, now) for currency in self._held()) else math.nan

    def _held(self) -> set[Currency]:
        """The currencies in which we hold anything: quotes of positions, and cash."""
        held: set[Currency] = set()
        for ledger in self.book.ledgers.values():
            held.update(self.universe[id].quote for id, _ in ledger.positions())
            held.update(currency for currency, cash in ledger.cash.items() if cash.qty)
        return held

    def has_fresh_rate(self, currency: Currency, now: Nanos) -> bool:
        """Whether a currency's rate is known, and fresh while the market that says it is open."""
        if currency == self.universe.currency:
            return True
        source = self.book.rate_source(currency)
        if source is None or source not in self.book.marks:
            return False
        limit = freshness_limit(self.limits, self.universe[source].asset_class)
        return self.age(source, now) <= limit or not self.hours[source].is_open(now)

    def exposures(self, reversing: InstrumentId | None = None) -> Floats:
        """Signed exposure of every instrument in the account currency; one that is reviewed as if flat counts foreign
        parts only."""
        found = np.zeros(len(self.universe))
        for ledger in self.book.ledgers.values():
            for id, position in ledger.positions():
                found[self.universe.index[id]] += self.book.value(id, position.qty)
        for trade in self.slots.trades():
            if trade.reserved:
                found[self.universe.index[trade.instrument]] += self.book.value(
                    trade.instrument, trade.reserved * trade.side
                )
        for item in self.queue.items:
            if item.approved is not None and item.instrument != reversing:
                self._turn(found, item.instrument, item.approved.intent.qty * item.signal.side)
        if reversing is not None:
            self._turn(found, reversing, 0.0)
        return found

    def _turn(self, found: Floats, id: InstrumentId, qty: Qty) -> None:
        """Count our part of an instrument as the quantity it is about to become."""
        trade = self.slots.trade(id)
        reserved = trade.reserved * trade.side if trade else 0.0
        found[self.universe.index[id]] += self.book.value(id, qty - self.book.ours(id).qty - reserved)

    def room(self, intent_for: InstrumentId, now: Nanos, reversing: bool) -> Room:
        """What sizing must know; what is reserved on the venue is not free, what a reversal frees is."""
        instrument = self.universe[intent_for]
        exposure = self.exposures(intent_for if reversing else None)[self.universe.index[intent_for]]
        free = self.book.free(instrument) - self.reserved(instrument)
        if reversing:
            free += self._freed(intent_for)
        return Room(self.equity(now), float(exposure), free, self.book.rate(instrument.quote))

    def reserved(self, instrument: Instrument) -> Money:
        """What entries in flight may still take of the cash or margin that an instrument would use, at worst."""
        is_spot, total = self.book.ledgers[instrument.venue].is_spot, 0.0
        for id, side, qty in self._claims():
            other = self.universe[id]
            if other.venue == instrument.venue and (other.quote == instrument.quote or not is_spot):
                unit = cost_per_unit(other, side, self.book.mark(id), is_spot, self.slots.watch)
                total += qty * unit * self.book.rate(other.quote)
        return total

    def _claims(self) -> Iterator[tuple[InstrumentId, Side, Qty]]:
        """Entries under way, and reversals that leave as soon as their old position is flat."""
        for trade in self.slots.trades():
            if trade.reserved:
                yield trade.instrument, trade.side, trade.reserved
        for item in self.queue.items:
            if item.approved is not None and not self.slots.trade(item.instrument):
                yield item.instrument, item.signal.side, item.approved.intent.qty

    def _freed(self, id: InstrumentId) -> Money:
        """What closing our position gives back: its value on SPOT, its margin on MARGIN."""
        instrument, value = self.universe[id], self.book.value(id, self.book.ours(id).qty)
        return value if self.book.ledgers[instrument.venue].is_spot else abs(value) * instrument.margin_rate

    def measure(
        self, intent: Intent, confidence: float, now: Nanos, is_proven: bool, reversing: bool
    ) -> tuple[Floats, Floats]:
        """The facts of an entry in the order of LAYERS, the confidence behind them, and the exposures with the
        candidate.

        is_proven says whether every venue's positions may be relied on; where not, nothing that needs equity is known.
        """
        facts, id = np.full(FACT_COUNT, math.nan), intent.instrument
        column = self.universe.index[id]
        exposure = self.exposures(id if reversing else None)
        exposure[column] += self.book.value(id, intent.qty * intent.side)
        is_known = is_proven and self.has_fresh_rate(self.universe[id].quote, now)
        equity = self.equity(now) if is_known else math.nan
        equity = equity if equity > 0.0 else math.nan
        facts[HOURS] = 0.0 if self.hours[id].is_open(now) else 1.0
        facts[THIN] = 1.0 if self.hours[id].is_thin(now) else 0.0
        facts[FRESHNESS] = self.age(id, now)
        facts[DRAWDOWN] = self.book.unit.drawdown if math.isfinite(equity) else math.nan
        facts[CONCENTRATION] = abs(exposure[column]) / equity
        facts[LEVERAGE] = np.abs(exposure).sum() / equity
        facts[CONFIDENCE] = confidence
        limits = self.limits
        stats.measure(
            self.history.closes.table, self.history.closes.end, exposure, self._venue, column, int(intent.side), equity,
            limits.correlation_threshold, limits.window_returns, limits.minimum_returns, limits.var_level,
            limits.volatility_days, facts,
        )  # fmt: skip
        return facts, exposure

    def age(self, id: InstrumentId, now: Nanos) -> float:
        """Seconds since the newest quote or close of an instrument; negative for one from the future."""
        return (now - self.book.marks[id][1]) / SECOND if id in self.book.marks else math.nan

    def tail(self, intent: Intent, exposure: Floats, now: Nanos) -> TailRisk:
        """What is recorded beside VaR; the largest quantity is what VaR, concentration and leverage all would have
        passed."""
        id, limits, equity = intent.instrument, self.limits, self.equity(now)
        column, unit = self.universe.index[id], self.book.value(id, 1.0)
        own = unit * intent.qty * intent.side
        shortfall, component, by_var = stats.tail_risk(
            self.history.closes.table, self.history.closes.end, exposure, column, own, equity,
            limits.window_returns, limits.minimum_returns, limits.var_level, limits.var_ratio,
        )  # fmt: skip
        before = float(exposure[column]) - own
        by_concentration = limits.concentration_ratio * equity - intent.side * before
        others = float(np.abs(exposure).sum() - abs(exposure[column]))
        by_leverage = limits.leverage_ratio * equity - others - intent.side * before
        largest = min(by_var, by_concentration, by_leverage) / unit if math.isfinite(shortfall) else math.nan
        if math.isfinite(largest):
            largest = round_down(max(0.0, largest), self.universe[id].lot)
        return TailRisk(shortfall, component, largest)
