"""The simulated venue: a peer of the live ones, with its own account and its own clock, the market's.

A market order fills on the first open at or after the order's time, within its collar; a resting stop and target work
inside every bar that opens at or after they were placed. What fills, and at which price, is `ffe.kernels.fills`' to
say.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from decimal import ROUND_DOWN, Decimal

import numpy as np

from ffe.book import FLAT, Book
from ffe.brokers.faults import AnyFault, Chaos, Kill, NoAnswer, Outage, Partial, Reject
from ffe.hours import new_york_close_times
from ffe.kernels import fills
from ffe.model import (
    DAY,
    HOUR,
    Accepted,
    AccountRead,
    Answer,
    AssetClass,
    Bar,
    Bars,
    Cancel,
    Cancelled,
    CashFlow,
    Cause,
    Currency,
    Enter,
    Exit,
    Failed,
    Fault,
    Fill,
    Filled,
    Flow,
    Found,
    Heartbeat,
    Holding,
    Instrument,
    InstrumentId,
    Known,
    Money,
    Nanos,
    Order,
    OrderId,
    Price,
    Protect,
    Qty,
    Query,
    Quote,
    Quotes,
    Ratio,
    Rejected,
    Report,
    Universe,
    Venue,
)  # fmt: skip
from ffe.rounding import round_down, whole_lots

NONE: frozenset[InstrumentId] = frozenset()
STOP_OUT: Ratio = 0.5  # of margin used: under it a MARGIN account is closed by the venue


@dataclass(frozen=True, slots=True)
class Deposit:
    """Money that comes (or goes, negative) at a time."""

    time: Nanos
    amount: float
    currency: Currency


@dataclass(frozen=True, slots=True)
class Working:
    """An order at the venue that may still fill."""

    order: Enter | Exit | Protect
    since: Nanos
    left: Qty
    shares: tuple[Ratio, ...] = ()  # how much of the whole each coming opportunity may fill; then all that is left
    then_cancel: bool = False

    @property
    def instrument(self) -> InstrumentId:
        return self.order.approved.intent.instrument


class SimBroker:
    """One simulated account. cash by currency, or an amount in the account's own; marks are prices known before it
    began."""

    def __init__(
        self, universe: Universe, venue: Venue, cash: Money | dict[Currency, float], *,
        holdings: Sequence[Holding] = (), flows: Sequence[Deposit] = (), faults: Sequence[AnyFault] = (),
        marks: Mapping[InstrumentId, tuple[Price, Nanos]] | None = None,
    ) -> None:  # fmt: skip
        self.universe, self._venue, self.faults = universe, venue, tuple(faults)
        self.account = Book(universe, 1)
        self.account.marks.update(marks or {})
        self.ledger = self.account.ledgers[venue]
        self._opening = cash if isinstance(cash, dict) else {universe.accounts[venue].currency: cash}
        self._holdings, self._flows = tuple(holdings), sorted(flows, key=lambda flow: flow.time)
        self._mine = {i.id: i for i in universe if i.venue == venue}
        self._carries = any(i.funding_hours or i.asset_class is AssetClass.FOREX for i in self._mine.values())
        self._waiting: list[Working] = []
        self._resting: dict[InstrumentId, Working] = {}
        self._fills: dict[OrderId, list[Fill]] = {}  # of every order that ever arrived here
        self._volume: dict[InstrumentId, float] = {}
        self._pending: list[Answer] = []
        self._orders = self._trades = 0
        self._last: Nanos | None = None
        self._rolls: tuple[list[Nanos], list[bool]] = ([], [])

    @property
    def venue(self) -> Venue:
        return self._venue

    @property
    def waiting(self) -> Set[InstrumentId]:
        """Instruments on whose next open an order waits."""
        return {working.instrument for working in self._waiting} if self._waiting else NONE

    def answers(self) -> Sequence[Answer]:
        """What is known by now, each answer once."""
        if not self._pending:
            return ()
        answers, self._pending = self._pending, []
        return answers

    def is_idle(self) -> bool:
        """Whether only a resting stop or target could make anything happen here before a deposit falls due."""
        is_moved_by_time = not self.ledger.is_spot or self._carries
        return self._last is not None and not (
            self._waiting or self._pending or (is_moved_by_time and self.ledger.moves)
        )

    def sleep(self, bars: Bars) -> None:
        """Take over the newest of bars at which nothing happened here."""
        self.account.see(bars)
        for bar in bars.bars:
            if bar.instrument in self._mine:
                self._volume[bar.instrument] = bar.volume
        self._last = bars.time

    # ------------------------------------------------------------ orders in

    def send(self, order: Order, time: Nanos) -> None:
        if isinstance(order, Query):
            self._ask(order, time)
            return
        self._orders += 1
        fault = self._fault(time)
        id = order.order if isinstance(order, Cancel) else order.id
        match fault:
            case NoAnswer(accepted=accepted, fault=kind):
                if accepted:
                    self._take(order, time)
                self._pending.append(Failed(time, self._venue, id, kind))
            case Reject(reason=reason) if not isinstance(order, Cancel):
                self._pending.append(Rejected(time, self._venue, id, reason))
            case Kill(reason=reason) if not isinstance(order, Cancel):
                self._take(order, time)
                if alive := self._find(id):
                    self._drop(alive)
                self._pending += [Accepted(time, self._venue, id), Cancelled(time, self._venue, id, reason, True)]
            case _:
                self._pending.append(self._take(order, time, fault if isinstance(fault, Partial) else None))

    def _fault(self, time: Nanos) -> AnyFault | None:
        for fault in self.faults:
            match fault:
                case Outage(start=start, end=end) if start <= time < end:
                    return NoAnswer(self._orders)
                case Chaos():
                    if drawn := fault.draw(self._orders):
                        return drawn
                case NoAnswer() | Reject() | Kill() | Partial() if fault.at == self._orders:
                    return fault
        return None

    def _take(self, order: Enter | Exit | Protect | Cancel, time: Nanos, partial: Partial | None = None) -> Answer:
        """Let an order arrive; what the venue answers to that."""
        if isinstance(order, Cancel):
            return self._cancel(order.order, time)
        self._fills[order.id] = []
        shares, then_cancel = (partial.shares, partial.then_cancel) if partial else ((), False)
        intent = order.approved.intent
        qty = whole_lots(intent.qty, self._mine[intent.instrument].lot)
        working = Working(order, time, qty, shares, then_cancel)
        if not isinstance(order, Protect):
            self._waiting.append(working)
        elif self._held(working.instrument) == 0.0:
            return Rejected(time, self._venue, order.id, "nothing to protect")
        else:
            self._resting[working.instrument] = working
        return Accepted(time, self._venue, order.id)

    def _cancel(self, id: OrderId, time: Nanos) -> Answer:
        alive = self._find(id)
        if alive is None:
            return Report(time, self._venue, id, Known.DONE if id in self._fills else Known.NOT_FOUND, self._had(id))
        self._drop(alive)
        return Cancelled(time, self._venue, id, "as asked")

    def _ask(self, query: Query, time: Nanos) -> None:
        if any(isinstance(fault, Outage) and fault.start <= time < fault.end for fault in self.faults):
            self._pending.append(Failed(time, self._venue, query.order, Fault.TIMEOUT, query=True))
        elif query.order is None:
            self._pending.append(self._read(time))
        else:
            known = Known.WORKING if self._find(query.order) else Known.DONE
            state = known if query.order in self._fills else Known.NOT_FOUND
            self._pending.append(Report(time, self._venue, query.order, state, self._had(query.order)))

    def _read(self, time: Nanos) -> AccountRead:
        cash = tuple((currency, held.qty) for currency, held in sorted(self.ledger.cash.items()))
        ids = sorted({id for id, _ in self.ledger.positions()})
        return AccountRead(time, self._venue, None, cash, tuple((id, self.ledger.held(id)) for id in ids))

    def _had(self, id: OrderId) -> tuple[Fill, ...]:
        return tuple(self._fills.get(id, ()))

    def _find(self, id: OrderId) -> Working | None:
        return next((w for w in (*self._waiting, *self._resting.values()) if w.order.id == id), None)

    def _drop(self, working: Working) -> None:
        if working in self._waiting:
            self._waiting.remove(working)
        elif self._resting.get(working.instrument) is working:
            del self._resting[working.instrument]

    def _held(self, id: InstrumentId) -> Qty:
        return self.ledger.ours.get(id, FLAT).qty

    # ------------------------------------------------------------ the market

    def work(self, market: Bars | Quotes | Heartbeat) -> None:
        """Let the market act on what is here; its time is the market's, so a heartbeat moves nothing."""
        if isinstance(market, Heartbeat):
            return
        self.account.see(market)
        if self._last is None:
            self._open_account(market.time)
        if self._flows or self._carries:
            self._pass_time(market.time)
        if isinstance(market, Quotes):
            if self._waiting:
                for quote in market.quotes:
                    self._fill_waiting(quote, market.time)
            return
        for bar in market.bars:
            if bar.instrument in self._mine:
                self._volume[bar.instrument] = bar.volume
                if bar.instrument in self._resting:
                    self._work_inside(self._resting[bar.instrument], bar)
        if not self.ledger.is_spot and self.ledger.moves:
            self._stop_out(market.time)

    def _open_account(self, time: Nanos) -> None:
        for currency, amount in self._opening.items():
            self._happen(CashFlow(time, self._venue, None, Flow.DEPOSIT, amount, currency))
        for holding in self._holdings:
            self._happen(Found(time, self._venue, None, holding))
        self._last = time

    def _happen(self, answer: Answer) -> None:
        """Book what happened in the venue's own account, and say so."""
        self.account.apply(answer)
        self._pending.append(answer)

    def _fill_waiting(self, quote: Quote, time: Nanos) -> None:
        for working in [w for w in self._waiting if w.instrument == quote.instrument and w.since <= time]:
            if isinstance(working.order, Enter):
                self._fill_entry(working, working.order, quote, time)
            else:
                self._fill_exit(working, quote, time)

    def _fill_entry(self, working: Working, order: Enter, quote: Quote, time: Nanos) -> None:
        instrument, side = self._mine[working.instrument], order.approved.intent.side
        price = fills.market_price(quote.mid, int(side), instrument.spread / 2.0, instrument.slippage)
        if not fills.within_collar(quote.mid, int(side), order.collar):
            self._end(working, Cancelled(time, self._venue, order.id, "COLLAR"))
        elif not self._can_pay(instrument, working.left, price):
            self._end(working, Rejected(time, self._venue, order.id, "insufficient funds"))
        else:
            self._fill_part(working, int(side), price, Cause.ENTRY, time)

    def _fill_exit(self, working: Working, quote: Quote, time: Nanos) -> None:
        instrument, held = self._mine[working.instrument], self._held(working.instrument)
        side = int(working.order.approved.intent.side)
        if not side * held < 0.0:
            self._end(working, Cancelled(time, self._venue, working.order.id, "nothing to reduce"))
            return
        clipped = replace(working, left=min(working.left, abs(held)))
        self._waiting[self._waiting.index(working)] = clipped
        price = fills.market_price(quote.mid, side, instrument.spread / 2.0, instrument.slippage)
        self._fill_part(clipped, side, price, Cause.EXIT, time)

    def _end(self, working: Working, answer: Answer) -> None:
        self._drop(working)
        self._pending.append(answer)

    def _fill_part(self, working: Working, side: int, price: Price, cause: Cause, time: Nanos) -> None:
        """Fill what this opportunity allows: a scripted share, a share of the last bar's volume, or all."""
        instrument, qty = self._mine[working.instrument], self._opportunity(working)
        if qty <= 0.0:  # less than a lot: the next open is another opportunity
            self._waiting[self._waiting.index(working)] = replace(working, since=time + 1, shares=working.shares[1:])
            return
        left = round_down(working.left - qty + instrument.lot / 2.0, instrument.lot) if qty < working.left else 0.0
        is_last = left <= 0.0
        self._trade(working, side * qty, price, cause, time, is_last)
        if is_last:
            self._drop(working)
            return
        rest = replace(working, left=left, shares=working.shares[1:])
        if working.then_cancel and not rest.shares:
            self._end(working, Cancelled(time, self._venue, working.order.id, "the rest is cancelled", True))
        else:
            # Nothing more at this open: the rest waits for the next one.
            self._waiting[self._waiting.index(working)] = replace(rest, since=time + 1)

    def _opportunity(self, working: Working) -> Qty:
        instrument = self._mine[working.instrument]
        if working.shares:
            return min(working.left, round_down(working.order.approved.intent.qty * working.shares[0], instrument.lot))
        return min(working.left, self._share_of(instrument))

    def _share_of(self, instrument: Instrument) -> Qty:
        """What one order may take of the newest bar's volume."""
        if not instrument.volume_share:
            return math.inf
        return round_down(instrument.volume_share * self._volume.get(instrument.id, 0.0), instrument.lot)

    def _can_pay(self, instrument: Instrument, qty: Qty, price: Price) -> bool:
        cost = qty * price * self.account.rate(instrument.quote)
        fee = cost * instrument.fee
        return cost * (1.0 if self.ledger.is_spot else instrument.margin_rate) + fee <= self.account.free(instrument)

    def _work_inside(self, working: Working, bar: Bar) -> None:
        """What a bar does to a resting stop and target; both are live from the open at or after their placing."""
        instrument, held, order = self._mine[bar.instrument], self._held(bar.instrument), working.order
        if bar.open_time < working.since or held == 0.0 or not isinstance(order, Protect):
            return
        side = 1 if held > 0.0 else -1
        target = order.target if self.universe.accounts[self._venue].rests_targets else math.nan
        hit, price, optimistic = fills.exit_in_bar(
            bar.open, bar.high, bar.low, side, order.stop, target, instrument.spread / 2.0, instrument.slippage
        )
        if hit == fills.NOTHING:
            return
        cause = Cause.STOP if hit == fills.STOP else Cause.TARGET
        whole = min(abs(held), working.left)
        qty = min(whole, self._share_of(instrument))
        if qty <= 0.0:
            return
        done = qty >= whole
        self._trade(
            working, -side * qty, price, cause, bar.close_time, done, None if math.isnan(optimistic) else optimistic
        )
        self._drop(working)
        if not done:  # the rest goes on resting: beyond its level it fills at the next open
            self._resting[instrument.id] = replace(working, left=whole - qty)

    def _trade(
        self,
        working: Working,
        qty: Qty,
        price: Price,
        cause: Cause,
        time: Nanos,
        done: bool,
        optimistic: Price | None = None,
    ) -> None:
        fill = self._fill_of(self._mine[working.instrument], qty, price, cause, optimistic)
        self._fills[working.order.id].append(fill)
        self._happen(Filled(time, self._venue, working.order.id, fill, done))

    def _fill_of(
        self, instrument: Instrument, qty: Qty, price: Price, cause: Cause, optimistic: Price | None = None
    ) -> Fill:
        """One trade with its fee: in the base of what was bought where the venue says so, else in cash."""
        self._trades += 1
        cost, currency, rate = _charged(instrument, abs(qty), price), instrument.quote, None
        if self.ledger.is_spot and instrument.fee_in_base and qty > 0.0:
            cost, currency = _charged(instrument, qty, 1.0), instrument.base
        elif not self.ledger.is_spot and currency != self.ledger.account.currency:
            rate = self._in_account_currency(1.0, currency)
            cost, currency = cost * rate, self.ledger.account.currency
        return Fill(f"{self._venue}-{self._trades}", instrument.id, qty, price, cost, currency, cause, optimistic, rate)

    def _in_account_currency(self, amount: float, currency: Currency) -> float:
        return amount * self.account.rate(currency) / self.account.rate(self.ledger.account.currency)

    # ------------------------------------------------------------ time

    def _pass_time(self, now: Nanos) -> None:
        """Everything due since the last market event: deposits, financing at 17:00 New York, funding."""
        last, self._last = self._last if self._last is not None else now, now
        while self._flows and self._flows[0].time <= now:
            flow = self._flows.pop(0)
            self._happen(CashFlow(now, self._venue, None, Flow.DEPOSIT, flow.amount, flow.currency))
        for id, position in list(self.ledger.positions()):
            days = self._financed_days(self._mine[id], last, now)
            if days:
                self._finance(self._mine[id], position.qty, days, now)

    def _financed_days(self, instrument: Instrument, last: Nanos, now: Nanos) -> float:
        """How many days of financing fall within (last, now]."""
        if instrument.funding_hours:
            step = int(instrument.funding_hours * HOUR)
            return (now // step - last // step) * instrument.funding_hours / 24.0
        if instrument.asset_class is not AssetClass.FOREX or self.ledger.is_spot or now == last:
            return 0.0
        times, wednesdays = self._rollovers(last, now)
        return float(
            sum(3.0 if wednesday else 1.0 for t, wednesday in zip(times, wednesdays, strict=True) if last < t <= now)
        )

    def _rollovers(self, last: Nanos, now: Nanos) -> tuple[list[Nanos], list[bool]]:
        """The 17:00s in New York near (last, now], kept a year at a time."""
        if not self._rolls[0] or self._rolls[0][-1] < now:
            times, wednesdays = new_york_close_times(last - DAY, now + 366 * DAY)
            self._rolls = times.tolist(), wednesdays.tolist()
        first = np.searchsorted(self._rolls[0], last, side="right")
        end = np.searchsorted(self._rolls[0], now, side="right")
        return self._rolls[0][first:end], self._rolls[1][first:end]

    def _finance(self, instrument: Instrument, qty: Qty, days: float, now: Nanos) -> None:
        rate = instrument.financing_long if qty > 0.0 else instrument.financing_short
        cost = fills.financing(qty, self.account.mark(instrument.id), rate, days)
        currency = self.ledger.account.currency if not self.ledger.is_spot else instrument.quote
        if cost:
            amount = -self._in_account_currency(cost, instrument.quote) if currency != instrument.quote else -cost
            self._happen(CashFlow(now, self._venue, None, Flow.FINANCING, amount, currency, instrument.id))

    def _stop_out(self, now: Nanos) -> None:
        """Equity under half of the margin used: the venue closes everything, ours or not, at the close's price."""
        used = self.account.margin_used(self._venue)
        if (
            not used or not self.account.venue_equity(self._venue) < STOP_OUT * used
        ):  # what is unknown liquidates nothing
            return
        ours, theirs = list(self.ledger.ours.items()), list(self.ledger.foreign.items())
        for n, (id, position) in enumerate([*ours, *theirs]):
            instrument, side = self._mine[id], -1 if position.qty > 0.0 else 1
            price = fills.market_price(self.account.mark(id), side, instrument.spread / 2.0, instrument.slippage)
            fill = self._fill_of(instrument, -position.qty, price, Cause.LIQUIDATION)
            self._happen(Filled(now, self._venue, None, fill, True, n < len(ours)))
        self._resting.clear()


def _charged(instrument: Instrument, qty: Qty, price: Price) -> float:
    """A fee, cut to the whole steps of its currency where the venue says so, in decimals as the venue reckons."""
    if not instrument.fee_step:
        return fills.fee(qty, price, instrument.fee)
    exact = Decimal(repr(qty)) * Decimal(repr(price)) * Decimal(repr(instrument.fee))
    step = Decimal(repr(instrument.fee_step))
    return float((exact / step).to_integral_value(ROUND_DOWN) * step)
