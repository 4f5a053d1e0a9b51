"""The values that travel through the engine. Everything here is frozen and knows nothing but the standard library.

Prices are mids in the instrument's quote currency, quantities are in units of its base, money is in the account
currency unless a field says otherwise, ratios are fractions (0.05, never 5), times are int64 nanoseconds UTC.
What is unknown is None or NaN and refuses; it is never 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import NewType

Symbol = NewType("Symbol", str)
Venue = NewType("Venue", str)
Currency = NewType("Currency", str)
InstrumentId = NewType("InstrumentId", str)  # "venue:symbol"
OrderId = NewType("OrderId", str)  # what a venue knows an order by; never sent twice
DecisionId = NewType("DecisionId", str)

# Numbers are aliases: arithmetic on a NewType is a bare float again, so wrapping would be noise that checks nothing.
Nanos = int
Price = float
Qty = float
Money = float
Ratio = float

SECOND: Nanos = 1_000_000_000
MINUTE: Nanos = 60 * SECOND
HOUR: Nanos = 60 * MINUTE
DAY: Nanos = 24 * HOUR
NEVER: Nanos = 2**63 - 1  # later than every time

ROUNDING_LOTS = 1e-3  # less of a lot than this is what adding up parts leaves over, and no holding


class Side(IntEnum):
    SHORT = -1
    FLAT = 0
    LONG = 1


class AssetClass(StrEnum):
    CRYPTO = "crypto"
    FOREX = "forex"
    STOCK = "stock"
    INDEX = "index"


class AccountKind(StrEnum):
    SPOT = "spot"  # equity = cash + sum of quantity x mark
    MARGIN = "margin"  # equity = balance + unrealised


# ---------------------------------------------------------------- what is traded, and where


@dataclass(frozen=True, slots=True)
class Instrument:
    """One tradable thing on one venue; nothing about it is ever guessed from how its symbol is spelt.

    tick is the grid of prices that stops, targets and collars lie on, fee_step the one that fees are cut to (0: none
    is known, nothing is rounded); maximum_qty is the largest order at market (0: none is known); spread, slippage and
    fee are ratios of price; margin_rate is the part of exposure a MARGIN account must cover; financing_* are annual
    rates that the holder of that side pays (negative: receives); volume_share is the part of a bar's volume an order
    may take (0: no bound); hours names a calendar ("24/7", "forex", an exchange's MIC).
    """

    venue: Venue
    symbol: Symbol
    asset_class: AssetClass
    base: Currency
    quote: Currency
    hours: str
    tick: Price = 0.0
    lot: Qty = 1e-8
    minimum_qty: Qty = 0.0
    minimum_notional: float = 0.0
    shortable: bool = False
    spread: Ratio = 0.0
    slippage: Ratio = 0.0
    fee: Ratio = 0.0
    fee_in_base: bool = False
    margin_rate: Ratio = 1.0
    financing_long: Ratio = 0.0
    financing_short: Ratio = 0.0
    funding_hours: float = 0.0  # a perpetual's funding interval, counted from 00:00 UTC; 0: none
    volume_share: Ratio = 0.0
    fee_step: float = 0.0
    maximum_qty: Qty = 0.0
    id: InstrumentId = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "id", InstrumentId(f"{self.venue}:{self.symbol}"))


@dataclass(frozen=True, slots=True)
class Account:
    """An account at one venue; horizon is the longest time after which a lost order can still turn up there.

    rests_targets says that a target can rest beside a stop; where it cannot, the engine watches the target itself.
    """

    venue: Venue
    kind: AccountKind
    currency: Currency
    horizon: Nanos = 90 * SECOND
    rests_targets: bool = True


@dataclass(frozen=True, slots=True)
class Holding:
    """A position that was there before the engine: counted in every layer, shown, never closed. quantity is signed."""

    instrument: InstrumentId
    qty: Qty
    price: Price


class Universe:
    """The instruments of a run in the one order (venue, symbol), their accounts, and the account currency."""

    __slots__ = ("instruments", "accounts", "currency", "index", "_by_id")

    def __init__(self, instruments: tuple[Instrument, ...], accounts: tuple[Account, ...], currency: Currency) -> None:
        self.instruments = tuple(sorted(instruments, key=lambda i: (i.venue, i.symbol)))
        self.accounts = {account.venue: account for account in sorted(accounts, key=lambda a: a.venue)}
        self.currency = currency
        self.index = {instrument.id: n for n, instrument in enumerate(self.instruments)}
        self._by_id = {instrument.id: instrument for instrument in self.instruments}

    def __getitem__(self, id: InstrumentId) -> Instrument:
        return self._by_id[id]

    def __contains__(self, id: object) -> bool:
        return id in self._by_id

    def __iter__(self) -> Iterator[Instrument]:
        return iter(self.instruments)

    def __len__(self) -> int:
        return len(self.instruments)


# ---------------------------------------------------------------- events: what can change the engine's mind


@dataclass(frozen=True, slots=True)
class Bar:
    instrument: InstrumentId
    interval: Nanos
    open_time: Nanos
    close_time: Nanos
    open: Price
    high: Price
    low: Price
    close: Price
    volume: float


@dataclass(frozen=True, slots=True)
class Bars:
    """All bars that close at one instant, in the order (venue, symbol, interval); empty at a midnight without any."""

    time: Nanos
    bars: tuple[Bar, ...]


@dataclass(frozen=True, slots=True)
class Quote:
    instrument: InstrumentId
    mid: Price
    opens_session: bool = False


@dataclass(frozen=True, slots=True)
class Quotes:
    """Prices known at one instant: live quotes, or the opens of bars."""

    time: Nanos
    quotes: tuple[Quote, ...]


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Time passes, prices or not: what is retried, asked again or expires is judged by it. No strategy sees it."""

    time: Nanos


class Act(StrEnum):
    PAUSE = "pause"  # no entries until RESUME
    RESUME = "resume"
    EMERGENCY_STOP = "emergency_stop"  # cancel entries, close all that is ours, latch
    CLOSE_ALL = "close_all"
    CLOSE = "close"  # one instrument
    RE_ARM = "re_arm"  # clears every latch
    ADOPT = "adopt"  # where a venue disagrees with the book, its next word is taken over


@dataclass(frozen=True, slots=True)
class Command:
    """What the operator wants; who gave it is recorded."""

    time: Nanos
    act: Act
    by: str
    instrument: InstrumentId | None = None


class Cause(StrEnum):
    """Why a fill happened."""

    ENTRY = "entry"
    EXIT = "exit"
    STOP = "stop"
    TARGET = "target"
    LIQUIDATION = "liquidation"
    HAND = "by hand"  # no order of ours asked for it
    FEE = "fee"  # the venue took a coin that is traded for the fee of another trade


@dataclass(frozen=True, slots=True)
class Fill:
    """A part of an order that traded; qty is signed, fee is positive when paid, in fee_currency.

    optimistic is what an exit would have got had the target been first in a bar that held stop and target both. rate is
    what a MARGIN account got in its own currency for one unit of the quote currency; None where it turned nothing. pl
    is what the venue says it realised, in the account's currency; None where it leaves that to the average.
    """

    trade: str  # the venue's trade id: a repeat is the same fill
    instrument: InstrumentId
    qty: Qty
    price: Price
    fee: float
    fee_currency: Currency
    cause: Cause
    optimistic: Price | None = None
    rate: float | None = None
    pl: float | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What a venue, or the edge in its place, said. order is None where it speaks of no order of ours."""

    time: Nanos
    venue: Venue
    order: OrderId | None


@dataclass(frozen=True, slots=True)
class Accepted(Answer):
    pass


@dataclass(frozen=True, slots=True)
class Rejected(Answer):
    """The venue said no for a reason of business (funds, size, price, hours): final, and no failure of the venue.
    locked_out: it no longer knows our key."""

    reason: str
    locked_out: bool = False


@dataclass(frozen=True, slots=True)
class Filled(Answer):
    """done says that no more of this order will fill. ours says whose position a fill without an order is of, where
    the venue can tell; None: what is against ours is taken to close it."""

    fill: Fill
    done: bool
    ours: bool | None = None


@dataclass(frozen=True, slots=True)
class Cancelled(Answer):
    """The order is dead with what it had filled; venue_fault says the venue accepted it and killed it for its own
    reasons."""

    reason: str
    venue_fault: bool = False


class Fault(StrEnum):
    TIMEOUT = "timeout"
    DISCONNECTED = "disconnected"
    SERVER_ERROR = "server_error"
    UNREADABLE = "unreadable"
    RATE_LIMITED = "rate_limited"  # a question that may not be asked now: told nothing, and is no failure


@dataclass(frozen=True, slots=True)
class Failed(Answer):
    """No usable answer: an order may or may not exist (UNKNOWN), a query told nothing. Counts for the breaker, also
    where nobody but the edge had asked (no order, a query): for what has happened, or for prices."""

    fault: Fault
    query: bool = False
    again: Nanos | None = None  # from when on a venue that wants no questions may be asked; None: it did not say


@dataclass(frozen=True, slots=True)
class Heard(Answer):
    """The venue answered a question that told nothing new, after one that it had not answered."""


@dataclass(frozen=True, slots=True)
class StopUnfilled(Answer):
    """The venue triggered a stop, and it rests on without filling: a limit that the price has jumped."""


@dataclass(frozen=True, slots=True)
class Withheld(Answer):
    """The order never left: its decision could not be written, its price was not what it was decided on, or its
    venue's adapter saw that it must not (a stop in its way, nothing to reduce, a venue that wants none). broken, with
    no order: the disk itself can no longer be trusted (an fsync failed). excess: more was to leave than was
    approved, which is a bug of ours; with no order where one of that id has left before. again is from when on a
    venue that is rate-limiting takes orders; None where it did not say."""

    reason: str
    broken: bool = False
    excess: bool = False
    again: Nanos | None = None


class Known(StrEnum):
    WORKING = "working"
    DONE = "done"  # filled or cancelled: no more to come
    NOT_FOUND = "not_found"


@dataclass(frozen=True, slots=True)
class Report(Answer):
    """Answer to a query for one order: its state and every fill it has had, repeats included."""

    state: Known
    fills: tuple[Fill, ...] = ()


@dataclass(frozen=True, slots=True)
class AccountRead(Answer):
    """What the venue says the account holds; compared with the book, never copied over it."""

    cash: tuple[tuple[Currency, float], ...]
    positions: tuple[tuple[InstrumentId, Qty], ...]


class Flow(StrEnum):
    DEPOSIT = "deposit"  # a withdrawal is a negative deposit
    FINANCING = "financing"
    FEE = "fee"


@dataclass(frozen=True, slots=True)
class CashFlow(Answer):
    """Money that came (positive) or went without a trade; instrument names whose financing it is. entry is what the
    venue calls it: told again, it is the same."""

    flow: Flow
    amount: float
    currency: Currency
    instrument: InstrumentId | None = None
    entry: str = ""


@dataclass(frozen=True, slots=True)
class Found(Answer):
    """A position that is not ours, as it stood when the run began."""

    holding: Holding


Event = Bars | Quotes | Answer | Command | Heartbeat


# ---------------------------------------------------------------- what is wanted, and what is allowed


@dataclass(frozen=True, slots=True)
class Signal:
    """A strategy's decision, not a state. FLAT closes. stop and target are prices; qty is the most it wants."""

    instrument: InstrumentId
    side: Side
    confidence: int  # 0 to 100
    provider: str
    stop: Price | None = None
    target: Price | None = None
    qty: Qty | None = None
    add: bool = False
    reasoning: str = ""


class Purpose(StrEnum):
    ENTRY = "entry"  # adds or may add exposure
    EXIT = "exit"  # provably reduces it


@dataclass(frozen=True, slots=True)
class Intent:
    """One thing the engine wants to do: qty is positive, side is the order's, price is the mid it was decided at.

    rule names what bound an entry's size, or why an exit was wanted. signal is None where no strategy asked.
    """

    purpose: Purpose
    instrument: InstrumentId
    side: Side
    qty: Qty
    price: Price
    stop: Price | None
    target: Price | None
    rule: str
    signal: Signal | None = None


class Layer(StrEnum):
    """The gatekeeper's checks in the order in which they speak; 0A and 0B are preliminary."""

    MARKET_HOURS = "0A MARKET_HOURS"
    AFTER_HOURS = "0B AFTER_HOURS"
    FRESHNESS = "1 FRESHNESS"
    DRAWDOWN = "2 DRAWDOWN"
    CORRELATION = "3 CORRELATION"
    VAR = "4 VAR"
    CROSS_VENUE = "5 CROSS_VENUE"
    CONCENTRATION = "6 CONCENTRATION"
    LEVERAGE = "6 LEVERAGE"
    CONVICTION = "7 CONVICTION"


LAYERS: tuple[Layer, ...] = tuple(Layer)


class Status(StrEnum):
    PASSED = "passed"
    WARNED = "warned"
    REFUSED = "refused"
    DATA_MISSING = "data_missing"
    WAIVED = "waived"


@dataclass(frozen=True, slots=True)
class Judgement:
    """Every layer's fact, limit and status, in the order of LAYERS; NaN facts were not known."""

    facts: tuple[float, ...]
    limits: tuple[float, ...]
    statuses: tuple[Status, ...]


@dataclass(frozen=True, slots=True)
class Approved:
    """The key without which no exposure changes. Only the gatekeeper makes one. number counts those for entries from 1,
    so that none of them opens twice; 0 is an exit's."""

    intent: Intent
    judgement: Judgement
    number: int = 0


@dataclass(frozen=True, slots=True)
class Refused:
    """The first layer that said no, with what it saw and what it allows."""

    intent: Intent
    judgement: Judgement
    layer: Layer
    status: Status
    fact: float
    limit: float


Verdict = Approved | Refused


# ---------------------------------------------------------------- orders: everything that leaves


@dataclass(frozen=True, slots=True)
class Enter:
    """Buy or sell at market, not beyond collar (a mid price). stop is where a venue that can attaches one to the fill,
    until the trade's own protection takes its place."""

    id: OrderId
    approved: Approved
    collar: Price
    stop: Price | None = None


@dataclass(frozen=True, slots=True)
class Exit:
    """Reduce at market, clipped to what is held."""

    id: OrderId
    approved: Approved


@dataclass(frozen=True, slots=True)
class Protect:
    """Rest a stop and a target for one position (one cancels the other), in place of the order replaces."""

    id: OrderId
    approved: Approved
    stop: Price
    target: Price
    replaces: OrderId | None = None


@dataclass(frozen=True, slots=True)
class Cancel:
    venue: Venue
    order: OrderId


@dataclass(frozen=True, slots=True)
class Query:
    """Ask for one order; for the whole account where order is None."""

    venue: Venue
    order: OrderId | None


Order = Enter | Exit | Protect | Cancel | Query


class Role(StrEnum):
    """What an order is to its trade."""

    ENTRY = "entry"
    EXIT = "exit"
    PROTECT = "protect"


@dataclass(frozen=True, slots=True)
class Ticket:
    """What must be known of an order to find it again at its venue; qty is positive, side the order's."""

    id: OrderId
    role: Role
    instrument: InstrumentId
    side: Side
    qty: Qty


# ---------------------------------------------------------------- what a step leaves behind


class Disposition(StrEnum):
    """What became of an intent the moment it was decided."""

    SENT = "sent"
    REFUSED = "refused"  # by a layer
    NOT_TRADABLE = "not_tradable"  # by what the instrument can do
    HOLD = "hold"  # nothing to change
    OVERRIDDEN = "overridden_to_hold"  # the market is closed
    WAITING = "waiting"  # for its session's first quote
    QUEUED = "queued"  # approvable, for a slot
    REVERSING = "reversing"  # approved, for flat
    CONTROLLED = "controlled"  # by a control around the gate, after its approval
    BREAKER_OPEN = "breaker_open"
    HALTED = "halted"  # the engine takes no entries now
    DROPPED = "dropped"  # what waited has ended


@dataclass(frozen=True, slots=True)
class TailRisk:
    """What is recorded beside VaR: expected shortfall and the candidate's component as fractions of equity, and the
    largest quantity that every size-dependent layer would have passed."""

    expected_shortfall: Ratio
    component: Ratio
    largest_qty: Qty


@dataclass(frozen=True, slots=True)
class Decision:
    """One intent, judged. follows names the decision that waited before this one."""

    id: DecisionId
    sequence: int
    time: Nanos
    disposition: Disposition
    reason: str
    instrument: InstrumentId
    signal: Signal | None
    intent: Intent | None
    judgement: Judgement | None
    tail: TailRisk | None
    slot: int | None
    order: OrderId | None
    follows: DecisionId | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """A closed trade: prices are averages, pnl is net of fees and financing in the account currency."""

    time: Nanos
    opened: Nanos
    instrument: InstrumentId
    provider: str
    side: Side
    qty: Qty
    entry: Price
    exit: Price
    pnl: Money
    fees: Money
    cause: str
    decision: DecisionId
    slot: int
    optimistic_pnl: Money | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """A change of the engine's own state worth a line: a latch, the breaker, a slot, a break."""

    what: str
    before: str
    after: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """What one event led to. equity is in the account currency, NaN where it cannot be known."""

    equity: Money
    decisions: tuple[Decision, ...] = ()
    orders: tuple[Order, ...] = ()
    outcomes: tuple[Outcome, ...] = ()
    changes: tuple[Change, ...] = ()

    @property
    def is_quiet(self) -> bool:
        return not (self.decisions or self.orders or self.outcomes or self.changes)
