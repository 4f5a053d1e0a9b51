"""Fills and cash flows -> cash, positions, realised P&L, equity, peak. Pure: what happened goes in, money comes out.

Identity, per venue and in sum, after every answer: equity = deposits + realised + unrealised - fees - financing.
It holds by construction: everything owned has a basis in the account currency (what it cost at the rate of its day), a
disposal realises value - basis, and equity is the sum of today's values. A MARGIN position costs nothing; it earns
quantity x (mark - average), converted at today's rate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from ffe.model import (
    DAY,
    ROUNDING_LOTS,
    Account,
    AccountKind,
    AccountRead,
    Answer,
    AssetClass,
    Bars,
    CashFlow,
    Currency,
    Fill,
    Filled,
    Flow,
    Found,
    Instrument,
    InstrumentId,
    Money,
    Nanos,
    Price,
    Qty,
    Quotes,
    Ratio,
    Report,
    Universe,
    Venue,
)  # fmt: skip

NAN = float("nan")
CENT = 0.01  # what a venue rounds, and what an account may differ by
ADOPTED = "adopted-"  # how a trade is named that an operator took over
REMEMBERED: Nanos = 2 * DAY  # how long a trade that was booked is remembered at least


@dataclass(frozen=True, slots=True)
class Booked:
    """A fill that was new, with what it realised net of its fee and the fee, in the account currency."""

    fill: Fill
    net: Money
    fees: Money
    is_ours: bool


Rate = Callable[[Currency], float]


@dataclass(frozen=True, slots=True)
class Position:
    """A signed quantity; average is its entry price in the quote currency, basis its cost in the account currency."""

    qty: Qty = 0.0
    average: Price = 0.0
    basis: Money = 0.0


FLAT = Position()


def traded(position: Position, qty: Qty, price: Price, value: Money) -> tuple[Position, Qty, Money]:
    """The position after a trade of signed qty worth value each: (position, signed quantity closed, basis of that
    part)."""
    if position.qty == 0.0:
        return Position(qty, price, value * qty), 0.0, 0.0  # a mean of one would lose the last bit of its price
    if (position.qty > 0.0) == (qty > 0.0):
        total = position.qty + qty
        average = (position.average * position.qty + price * qty) / total
        return Position(total, average, position.basis + value * qty), 0.0, 0.0
    if abs(qty) < abs(position.qty):
        left = position.qty + qty
        freed = position.basis * (-qty / position.qty)
        return Position(left, position.average, position.basis - freed), -qty, freed
    rest = position.qty + qty
    opened = Position(rest, price, value * rest) if rest != 0.0 else FLAT
    return opened, position.qty, position.basis


@dataclass(frozen=True, slots=True)
class LedgerState:
    """A ledger as a value."""

    venue: Venue
    cash: tuple[tuple[Currency, Position], ...]
    ours: tuple[tuple[InstrumentId, Position], ...]
    foreign: tuple[tuple[InstrumentId, Position], ...]
    deposits: Money
    realised: Money
    fees: Money
    financing: Money


class Ledger:
    """One account: cash by currency, our positions and those that were there before, and its running totals."""

    def __init__(self, account: Account, home: Currency) -> None:
        self.account, self.home = account, home
        self.cash: dict[Currency, Position] = {account.currency: FLAT}
        self.ours: dict[InstrumentId, Position] = {}
        self.foreign: dict[InstrumentId, Position] = {}
        self.is_spot = account.kind is AccountKind.SPOT
        self.deposits = self.realised = self.fees = self.financing = 0.0

    def save(self) -> LedgerState:
        cash, ours, foreign = tuple(self.cash.items()), tuple(self.ours.items()), tuple(self.foreign.items())
        totals = self.deposits, self.realised, self.fees, self.financing
        return LedgerState(self.account.venue, cash, ours, foreign, *totals)

    def restore(self, state: LedgerState) -> None:
        self.cash, self.ours, self.foreign = dict(state.cash), dict(state.ours), dict(state.foreign)
        self.deposits, self.realised = state.deposits, state.realised
        self.fees, self.financing = state.fees, state.financing

    @property
    def moves(self) -> bool:
        """Whether anything here is worth something else at another mid."""
        return bool(self.ours or self.foreign) or any(currency != self.home for currency in self.cash)

    def positions(self) -> Iterator[tuple[InstrumentId, Position]]:
        yield from self.ours.items()
        yield from self.foreign.items()

    def held(self, id: InstrumentId) -> Qty:
        return self.ours.get(id, FLAT).qty + self.foreign.get(id, FLAT).qty

    def move_cash(self, currency: Currency, amount: float, rate: float) -> None:
        """Add or take cash at today's rate; what a foreign currency gained since it came is realised when it goes."""
        if amount == 0.0:
            return
        held = self.cash.get(currency, FLAT)
        if currency == self.home:
            self.cash[currency] = Position(held.qty + amount, 1.0, held.qty + amount)
            return
        self.cash[currency], closed, basis = traded(held, amount, rate, rate)
        self.realised += closed * rate - basis

    def deposit(self, currency: Currency, amount: float, rate: float) -> None:
        self.move_cash(currency, amount, rate)
        self.deposits += amount * rate

    def charge(self, currency: Currency, amount: float, rate: float) -> Money:
        """Take amount (negative: give) and return what that is in the account currency."""
        self.move_cash(currency, -amount, rate)
        return amount * rate

    def find(self, id: InstrumentId, qty: Qty, price: Price, rate: float) -> None:
        """Take over a position that was there before: on SPOT a deposit in kind, on MARGIN an obligation without
        cost."""
        self.foreign[id], closed, basis = traded(self.foreign.get(id, FLAT), qty, price, price * rate)
        if self.is_spot:
            self.deposits += qty * price * rate
            self.realised += closed * price * rate - basis

    def fill(self, instrument: Instrument, fill: Fill, owner: dict[InstrumentId, Position], rate: Rate) -> Money:
        """Book a fill with its fee and return what it realised net of the fee, in the account currency."""
        before = self.realised - self.fees
        held, per_quote = owner.get(fill.instrument, FLAT), rate(instrument.quote)
        position, closed, basis = traded(held, fill.qty, fill.price, fill.price * per_quote)
        if self.is_spot:
            self.move_cash(instrument.quote, -fill.qty * fill.price, per_quote)
            self.realised += closed * fill.price * per_quote - basis
        elif closed != 0.0:
            position = self._settle(fill, held, position, closed, per_quote, rate(self.account.currency))
        owner[fill.instrument] = self._pay_fee(instrument, fill, position, per_quote, rate)
        if abs(owner[fill.instrument].qty) < ROUNDING_LOTS * instrument.lot:
            del owner[fill.instrument]
        return self.realised - self.fees - before

    def _settle(
        self, fill: Fill, held: Position, left: Position, closed: Qty, per_quote: float, per_own: float
    ) -> Position:
        """A MARGIN account turns a realised gain into its own currency at once: at the venue's rate, where it says
        one. A venue that counts by trade says the gain itself; where that is more than rounding away from ours, what is
        left has the average of its own trades."""
        turned = per_quote / per_own if fill.rate is None else fill.rate
        amount = gain = closed * (fill.price - held.average) * turned
        if fill.pl is not None and not abs(fill.pl - gain) <= CENT:
            amount = fill.pl
            if left.qty * held.qty > 0.0 and turned > 0.0:
                left = replace(left, average=held.average + (amount - gain) / turned / left.qty)
        self.move_cash(self.account.currency, amount, per_own)
        self.realised += amount * per_own
        return left

    def _pay_fee(
        self, instrument: Instrument, fill: Fill, position: Position, per_quote: float, rate: Rate
    ) -> Position:
        """A fee in the base currency comes out of what was bought; any other out of cash."""
        if fill.fee == 0.0:
            return position
        if self.is_spot and fill.fee_currency == instrument.base:
            position, closed, basis = traded(position, -fill.fee, fill.price, fill.price * per_quote)
            self.realised += closed * fill.price * per_quote - basis
            self.fees += fill.fee * fill.price * per_quote
            return position
        self.fees += self.charge(fill.fee_currency, fill.fee, rate(fill.fee_currency))
        return position


@dataclass(frozen=True, slots=True)
class UnitState:
    """A unit value as a value; peaks are (day, highest value)."""

    units: float
    value: float
    day: int
    day_start: float
    peaks: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class BookState:
    """A book as a value; marks are (instrument, price, time), seen are (venue, trade or entry, when it was booked)."""

    ledgers: tuple[LedgerState, ...]
    marks: tuple[tuple[InstrumentId, Price, Nanos], ...]
    unit: UnitState
    ours_realised: Money
    day_base: Money
    seen: tuple[tuple[Venue, str, Nanos], ...]
    opened: tuple[Venue, ...]
    flows: tuple[CashFlow, ...]  # what came before its currency had a rate
    found: tuple[Found, ...]
    opened_at: tuple[tuple[Venue, Nanos], ...] = ()


@dataclass(slots=True)
class UnitValue:
    """Equity per unit: deposits and withdrawals buy and redeem units, so only trading moves it. Peaks are kept per UTC
    day."""

    window_days: int
    units: float = 0.0
    value: float = NAN
    day: int = -1
    day_start: float = NAN
    peaks: list[tuple[int, float]] = field(default_factory=list)  # (day, highest value), values descending

    def save(self) -> UnitState:
        return UnitState(self.units, self.value, self.day, self.day_start, tuple(self.peaks))

    def restore(self, state: UnitState) -> None:
        self.units, self.value, self.day, self.day_start = state.units, state.value, state.day, state.day_start
        self.peaks = list(state.peaks)

    def observe(self, equity: Money) -> None:
        if not math.isfinite(equity):
            return
        if self.units == 0.0 and equity > 0.0:
            self.units = (
                equity / self.value if self.value > 0.0 else equity
            )  # the first money, or the first since all went
        if self.units > 0.0:
            self.value = equity / self.units
            self._raise_peak()
        if not math.isfinite(self.day_start):
            self.day_start = self.value

    def _raise_peak(self) -> None:
        if self.peaks and self.value <= self.peaks[-1][1] and self.peaks[-1][0] == self.day:
            return
        while self.peaks and self.peaks[-1][1] <= self.value:
            self.peaks.pop()
        self.peaks.append((self.day, self.value))

    def rebase(self, equity: Money) -> None:
        """Money came or went: it buys or redeems units at the last equity per unit."""
        if self.value > 0.0 and math.isfinite(equity):
            self.units = max(0.0, equity / self.value)

    def roll(self, day: int) -> None:
        self.day, self.day_start = day, self.value
        self.peaks = [peak for peak in self.peaks if peak[0] > day - self.window_days]
        if math.isfinite(self.value):
            self._raise_peak()

    @property
    def drawdown(self) -> Ratio:
        """1 - unit value / highest unit value of the trailing window; NaN before there is one."""
        return 1.0 - self.value / self.peaks[0][1] if self.peaks else NAN

    @property
    def day_return(self) -> Ratio:
        return self.value / self.day_start - 1.0 if self.day_start > 0.0 else NAN


class Book:
    """The portfolio: one ledger per venue, the newest mid of everything, unit value, and what our own trades earn."""

    def __init__(self, universe: Universe, window_days: int) -> None:
        self.universe = universe
        self.ledgers = {venue: Ledger(account, universe.currency) for venue, account in universe.accounts.items()}
        self._terms = {i.id: (self.ledgers[i.venue].is_spot, i.quote) for i in universe}
        self.marks: dict[InstrumentId, tuple[Price, Nanos]] = {}
        self.unit = UnitValue(window_days)
        self.equity: Money = NAN
        self.ours_realised: Money = 0.0  # net of fees and financing
        self.ours_gain: Money = 0.0  # what our own trades have earned in all, open ones at the newest mid
        self.last_carry: Money = 0.0  # our share of the newest fee or financing, negative when paid
        self.day_base: Money = 0.0  # what our trades had earned when the day began
        self._seen: dict[tuple[Venue, str], Nanos] = {}  # trades that are booked, with the time of their answer
        self.opened: set[Venue] = set()  # venues whose account was read, so that all of their opening is booked
        self.opened_at: dict[Venue, Nanos] = {}  # what was traded before is in the opening
        self.moves = True  # whether a new mid can change what anything is worth
        self._unvalued: list[CashFlow | Found] = []  # what came before its currency had a rate
        self._rates = {
            i.quote if i.base == universe.currency else i.base: (i.id, i.base == universe.currency)
            for i in sorted(universe, key=lambda i: i.asset_class is AssetClass.FOREX)  # the last one counts
            if universe.currency in (i.base, i.quote)
        }

    # ------------------------------------------------------------ what is known

    def mark(self, id: InstrumentId) -> Price:
        return self.marks[id][0] if id in self.marks else NAN

    def rate(self, currency: Currency) -> float:
        """The newest mid of one unit of currency in the account currency; NaN where none is known."""
        if currency == self.universe.currency:
            return 1.0
        id, inverse = self._rates.get(currency, (InstrumentId(""), False))
        mark = self.mark(id)
        return 1.0 / mark if inverse else mark

    def rate_source(self, currency: Currency) -> InstrumentId | None:
        return self._rates[currency][0] if currency in self._rates else None

    def value(self, id: InstrumentId, qty: Qty) -> Money:
        """The signed exposure of a quantity at the newest mid."""
        return qty * self.mark(id) * self.rate(self.universe[id].quote)

    def ours(self, id: InstrumentId) -> Position:
        return self.ledgers[self.universe[id].venue].ours.get(id, FLAT)

    def held(self, id: InstrumentId) -> Qty:
        return self.ledgers[self.universe[id].venue].held(id)

    def gain(self, id: InstrumentId, position: Position) -> Money:
        """What a position would realise at the newest mid and rate."""
        mark, (is_spot, quote) = self.mark(id), self._terms[id]
        if quote != self.universe.currency:
            rate = self.rate(quote)
            return (
                position.qty * mark * rate - position.basis
                if is_spot
                else position.qty * (mark - position.average) * rate
            )
        return position.qty * mark - position.basis if is_spot else position.qty * (mark - position.average)

    def unrealised(self, venue: Venue) -> Money:
        ledger = self.ledgers[venue]
        cash = sum(held.qty * self.rate(currency) - held.basis for currency, held in ledger.cash.items())
        return cash + sum(self.gain(id, position) for id, position in ledger.positions())

    def venue_equity(self, venue: Venue) -> Money:
        """SPOT: cash + quantity x mark; MARGIN: balance + unrealised."""
        return self._worth(self.ledgers[venue])[0]

    def _worth(self, ledger: Ledger) -> tuple[Money, Money]:
        """An account's equity, and what of it our open positions have gained: one pass, for every bar asks both."""
        total = ours_gain = 0.0
        for currency, held in ledger.cash.items():
            if held.qty:
                total += held.qty if currency == ledger.home else held.qty * self.rate(currency)
        for owned in (ledger.ours, ledger.foreign):
            for id, position in owned.items():
                gain = self.gain(id, position)
                total += self.value(id, position.qty) if ledger.is_spot else gain
                ours_gain += gain if owned is ledger.ours else 0.0
        return total, ours_gain

    @property
    def day_pnl(self) -> Money:
        """Net P&L of our trades since the UTC day began."""
        return self.ours_gain - self.day_base

    def free(self, instrument: Instrument) -> Money:
        """What its account could still commit to it, in the account currency: on SPOT the cash in its quote currency
        (a venue takes no other), on MARGIN the margin not in use."""
        if self.ledgers[instrument.venue].is_spot:
            return self.cash(instrument.venue, instrument.quote) * self.rate(instrument.quote)
        return self.venue_equity(instrument.venue) - self.margin_used(instrument.venue)

    def cash(self, venue: Venue, currency: Currency) -> float:
        return self.ledgers[venue].cash.get(currency, FLAT).qty

    def margin_used(self, venue: Venue) -> Money:
        ids = {id for id, _ in self.ledgers[venue].positions()}
        return sum(abs(self.value(id, self.held(id))) * self.universe[id].margin_rate for id in sorted(ids))

    # ------------------------------------------------------------ what happened

    def see(self, market: Bars | Quotes) -> None:
        """Take over the newest mids; one that is not above zero is not known. A bar that comes late is no news."""
        if isinstance(market, Bars):
            for bar in market.bars:
                known = self.marks.get(bar.instrument)
                if known is None or known[1] <= bar.close_time:
                    self.marks[bar.instrument] = (bar.close if bar.close > 0.0 else NAN, bar.close_time)
        else:
            for quote in market.quotes:
                self.marks[quote.instrument] = (quote.mid if quote.mid > 0.0 else NAN, market.time)
        if self._unvalued:
            late, self._unvalued = self._unvalued, []
            for answer in late:
                self._take_over(answer)

    def observe(self, market: Bars | Quotes) -> None:
        """Take over the newest mids and value everything at them."""
        self.see(market)
        if self.moves:
            self.revalue()

    def revalue(self) -> None:
        """Value everything anew. Most bars find nothing that a new mid could move: then there is nothing to value."""
        self.equity, ours_gain = self._valued()
        self.ours_gain = self.ours_realised + ours_gain
        self.unit.observe(self.equity)
        self.moves = bool(self._unvalued) or any(ledger.moves for ledger in self.ledgers.values())

    def _valued(self) -> tuple[Money, Money]:
        """Equity at the newest mids (NaN while something that is there has no value yet), and our open positions'
        gain."""
        total = ours_gain = 0.0
        for ledger in self.ledgers.values():
            worth, gain = self._worth(ledger)
            total += worth
            ours_gain += gain
        return NAN if self._unvalued else total, ours_gain

    def apply(self, answer: Answer) -> tuple[Booked, ...]:
        """Book what an answer says of money, each trade of a venue once; the fills that were new."""
        booked: tuple[Booked, ...] = ()
        if isinstance(answer, CashFlow) and not self._is_new(answer):
            self.last_carry = 0.0
            return booked
        match answer:
            case Filled():
                booked = tuple(self._fill(answer, (answer.fill,)))
            case Report():
                booked = tuple(self._fill(answer, answer.fills))
            case CashFlow(flow=Flow.DEPOSIT) | Found():
                self._take_over(answer)
            case AccountRead(venue=venue, time=time):
                if venue not in self.opened:
                    self.opened_at[venue] = time
                self.opened.add(venue)
                return booked
            case CashFlow():
                self.last_carry = self._carry(answer)
                self.ours_realised += self.last_carry
            case _:
                return booked
        self.revalue()
        return booked

    def _is_new(self, flow: CashFlow) -> bool:
        key = flow.venue, flow.entry
        if flow.entry and key in self._seen:
            return False
        if flow.entry:
            self._seen[key] = flow.time
        return True

    def _fill(self, answer: Answer, fills: tuple[Fill, ...]) -> Iterator[Booked]:
        ledger = self.ledgers[answer.venue]
        for fill in fills:
            if (answer.venue, fill.trade) in self._seen:
                continue
            self._seen[answer.venue, fill.trade] = answer.time
            for part, is_ours in self._by_owner(answer, fill):
                owner, fees = ledger.ours if is_ours else ledger.foreign, ledger.fees
                net = ledger.fill(self.universe[fill.instrument], part, owner, self.rate)
                self.ours_realised += net if is_ours else 0.0
                yield Booked(part, net, ledger.fees - fees, is_ours)

    def _by_owner(self, answer: Answer, fill: Fill) -> Iterator[tuple[Fill, bool]]:
        """What our orders do is ours; of what no order of ours did the venue may know it.

        Else it closes what is not ours first, for that is what its owner could sell: our own rests behind a stop. A
        purchase and a sale by hand beside our position took 60 % of that away, and its stop with it.
        """
        told = answer.ours if isinstance(answer, Filled) else None
        if answer.order is not None or told is not None:
            yield fill, told is not False or answer.order is not None
            return
        ledger = self.ledgers[answer.venue]
        theirs = against(fill.qty, ledger.foreign.get(fill.instrument, FLAT).qty)
        ours = against(fill.qty - theirs, ledger.ours.get(fill.instrument, FLAT).qty)
        for qty, is_ours in ((ours, True), (fill.qty - ours, False)):
            if qty:
                yield replace(fill, qty=qty, fee=fill.fee * (qty / fill.qty)), is_ours

    def _take_over(self, answer: CashFlow | Found) -> None:
        """Book what came from outside at today's value, or keep it until there is one; unit value does not move."""
        ledger = self.ledgers[answer.venue]
        if isinstance(answer, CashFlow):
            rate = worth = self.rate(answer.currency)
        else:
            rate, worth = (
                self.rate(self.universe[answer.holding.instrument].quote),
                self.value(answer.holding.instrument, 1.0),
            )
        if not math.isfinite(worth):
            self._unvalued.append(answer)
            return
        if isinstance(answer, CashFlow):
            ledger.deposit(answer.currency, answer.amount, rate)
        else:
            ledger.find(answer.holding.instrument, answer.holding.qty, answer.holding.price, rate)
        self.unit.rebase(self._valued()[0])

    def _carry(self, flow: CashFlow) -> Money:
        """Book a fee or a financing; what of it falls to our trades, negative when paid."""
        ledger = self.ledgers[flow.venue]
        cost = ledger.charge(flow.currency, -flow.amount, self.rate(flow.currency))
        if flow.flow is Flow.FEE:
            ledger.fees += cost
        else:
            ledger.financing += cost
        return -cost * self._our_share(flow.instrument)

    def _our_share(self, id: InstrumentId | None) -> Ratio:
        """The part of a holding that is ours, by size; all of a flow that names no instrument is not."""
        if id is None:
            return 0.0
        ledger = self.ledgers[self.universe[id].venue]
        ours, foreign = abs(ledger.ours.get(id, FLAT).qty), abs(ledger.foreign.get(id, FLAT).qty)
        return ours / (ours + foreign) if ours else 0.0

    def roll(self, day: int) -> None:
        """A UTC day has ended: what follows counts for the next."""
        self.unit.roll(day)
        self.day_base = self.ours_gain

    # ------------------------------------------------------------ from one process to the next

    def seen(self, venue: Venue) -> frozenset[str]:
        """The trades of a venue that are booked: told again, they are the same."""
        return frozenset(trade for of, trade in self._seen if of == venue)

    def forget(self, before: Nanos) -> None:
        """What was booked before this time is never told again; of each venue the newest stays, to go on from."""
        newest: dict[Venue, Nanos] = {}
        for (venue, name), time in self._seen.items():
            if not name.startswith(ADOPTED):  # that was an operator's word
                newest[venue] = max(time, newest.get(venue, time))
        self._seen = {
            (venue, name): time
            for (venue, name), time in self._seen.items()
            if time >= min(before, newest.get(venue, before))
        }

    def save(self) -> BookState:
        marks = tuple((id, price, time) for id, (price, time) in sorted(self.marks.items()))
        seen = tuple((venue, trade, time) for (venue, trade), time in sorted(self._seen.items()))
        ledgers = tuple(ledger.save() for ledger in self.ledgers.values())
        flows = tuple(answer for answer in self._unvalued if isinstance(answer, CashFlow))
        found = tuple(answer for answer in self._unvalued if isinstance(answer, Found))
        return BookState(
            ledgers=ledgers,
            marks=marks,
            unit=self.unit.save(),
            ours_realised=self.ours_realised,
            day_base=self.day_base,
            seen=seen,
            opened=tuple(sorted(self.opened)),
            flows=flows,
            found=found,
            opened_at=tuple(sorted(self.opened_at.items())),
        )

    def restore(self, state: BookState) -> None:
        """Go on from a state; newer marks stay. An account whose opening was cut short is opened again, as if new."""
        self.opened = set(state.opened) & set(self.ledgers)
        self.opened_at = {venue: time for venue, time in state.opened_at if venue in self.opened}
        for ledger in state.ledgers:
            if ledger.venue in self.opened:
                self.ledgers[ledger.venue].restore(ledger)
        self._seen = {(venue, trade): time for venue, trade, time in state.seen if venue in self.opened}
        self._unvalued = [
            *(flow for flow in state.flows if flow.venue in self.opened),
            *(found for found in state.found if found.venue in self.opened),
        ]
        self.ours_realised, self.day_base = state.ours_realised, state.day_base
        self._restore_unit(state)
        self.moves = True
        self.revalue()

    def _restore_unit(self, state: BookState) -> None:
        """The unit value as it was: what an account that is left out held redeems its units, at the marks of then."""
        newer = self.marks
        self.marks = {id: (price, time) for id, price, time in state.marks if id in self.universe}
        self.unit.restore(state.unit)
        if any(ledger.venue not in self.opened for ledger in state.ledgers):
            self.unit.rebase(self._valued()[0])
        self.marks |= {id: mark for id, mark in newer.items() if mark[1] >= self.marks.get(id, (NAN, -1))[1]}

    def differences(self, read: AccountRead) -> dict[InstrumentId, Qty]:
        """What a venue holds more (or less) of than the book, beyond a lot."""
        ledger, theirs = self.ledgers[read.venue], dict(read.positions)
        ids = sorted({*theirs, *(id for id, _ in ledger.positions())})
        found = {id: theirs.get(id, 0.0) - ledger.held(id) for id in ids}
        return {id: qty for id, qty in found.items() if not abs(qty) <= self.universe[id].lot}

    def breaks(self, read: AccountRead) -> list[str]:
        """Where a venue's own account differs from the book by more than a lot or a cent."""
        ledger, theirs = self.ledgers[read.venue], dict(read.positions)
        found = [
            f"{id}: the venue holds {theirs.get(id, 0.0)!r}, the book {ledger.held(id)!r}"
            for id in self.differences(read)
        ]
        cash = {**dict.fromkeys(ledger.cash, 0.0), **dict(read.cash)}  # what the venue leaves out it does not hold
        return found + [
            f"{currency}: the venue holds {amount!r}, the book {self.cash(read.venue, currency)!r}"
            for currency, amount in sorted(cash.items())
            if not abs(amount - self.cash(read.venue, currency)) <= CENT
        ]


def against(qty: Qty, held: Qty) -> Qty:
    """What of a signed quantity reduces a holding."""
    return math.copysign(min(abs(qty), abs(held)), qty) if qty * held < 0.0 else 0.0


def day_of(time: Nanos) -> int:
    """The UTC day of what was known at time; a close at exactly 00:00 belongs to the day that ends."""
    return (time - 1) // DAY
