"""The values of the loopback OANDA's account: what can be traded, at which quote, and what came of orders."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

from tests.venues.oanda_wire import Time, Wire

ZERO, ONE, MONEY = Decimal(0), Decimal(1), Decimal("0.0001")


def money(amount: Decimal) -> Decimal:
    return amount.quantize(MONEY) + ZERO  # no negative zero


@dataclass(frozen=True, slots=True)
class Instrument:
    """What can be traded; half_spread is used where the market is driven by mids. Rates are per year."""

    name: str
    precision: int = 5
    unit_precision: int = 0
    minimum: Decimal = ONE
    maximum: Decimal = Decimal(100_000_000)
    margin_rate: Decimal = Decimal("0.05")
    half_spread: Decimal = Decimal("0.00005")
    long_rate: Decimal = ZERO
    short_rate: Decimal = ZERO
    delisted: bool = False

    @property
    def quote_currency(self) -> str:
        return self.name.split("_")[1]

    def price(self, value: Decimal) -> Decimal:
        return value.quantize(ONE.scaleb(-self.precision))

    def units(self, value: Decimal) -> Decimal:
        return value.quantize(ONE.scaleb(-self.unit_precision), "ROUND_DOWN")

    def wire(self) -> Wire:
        return {
            "name": self.name, "type": "CURRENCY", "displayName": self.name.replace("_", "/"),
            "pipLocation": 1 - self.precision, "displayPrecision": self.precision,
            "tradeUnitsPrecision": self.unit_precision, "minimumTradeSize": self.minimum,
            "maximumOrderUnits": self.maximum, "maximumPositionSize": ZERO, "marginRate": self.margin_rate,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Quote:
    bid: Decimal
    ask: Decimal
    time: Time
    tradeable: bool = True

    @property
    def mid(self) -> Decimal:
        return (self.bid + self.ask) / 2

    def taker(self, units: Decimal) -> Decimal:
        return self.ask if units > 0 else self.bid


@dataclass(frozen=True, slots=True)
class Home:
    """What one unit of a currency is worth in the account's own: gained, lost, and as a value."""

    gain: Decimal = ONE
    loss: Decimal = ONE
    value: Decimal = ONE

    def of(self, amount: Decimal) -> Decimal:
        return money(amount * (self.gain if amount > 0 else self.loss))


@dataclass(frozen=True, slots=True)
class Plan:
    """What a script makes of one order, against the venue's own rules."""

    reject: str = ""
    kill: str = ""
    shares: tuple[Decimal, ...] = ()  # of the whole, one at each quote; then the rest
    then_cancel: bool = False
    extra: Decimal = ZERO
    loses_stop: bool = False
    id_length: int | None = None


AS_RULED = Plan()


@dataclass(frozen=True, slots=True)
class Order:
    """fields is what the client wrote, completed; ends is what became of it. trade is the only one it may reduce."""

    id: int
    created: Time
    instrument: str
    fields: Wire
    units: Decimal | None = None  # signed and still to fill; None: all of the trade
    trade: int | None = None
    reason: str = ""  # of its fill
    state: str = "PENDING"
    ends: Wire = field(default_factory=dict)
    plan: Plan = AS_RULED

    @property
    def type(self) -> str:
        return str(self.fields["type"])

    @property
    def client_id(self) -> str | None:
        return self.fields.get("clientExtensions", {}).get("id")

    @property
    def price(self) -> Decimal:
        return self.fields["price"]

    def wire(self) -> Wire:
        return {"id": str(self.id), "createTime": self.created, "state": self.state, **self.fields, **self.ends}


@dataclass(frozen=True, slots=True)
class Trade:
    id: int
    instrument: str
    price: Decimal
    opened: Time
    initial: Decimal
    units: Decimal  # signed; 0 is closed
    margin: Decimal  # at the opening
    extensions: Wire | None = None
    realized: Decimal = ZERO
    financing: Decimal = ZERO
    proceeds: Decimal = ZERO  # of what is closed: Σ units · price
    closings: tuple[int, ...] = ()
    closed: Time | None = None

    @property
    def client_id(self) -> str | None:
        return (self.extensions or {}).get("id")

    def is_against(self, units: Decimal) -> bool:
        return self.units * units < 0


@dataclass(frozen=True, slots=True)
class Deal:
    """A fill as it would be: what it closes (trade before, units, profit) and what it opens."""

    price: Decimal
    units: Decimal
    reduced: tuple[tuple[Trade, Decimal, Decimal], ...]
    opens: Decimal

    @property
    def pl(self) -> Decimal:
        return sum((pl for _, _, pl in self.reduced), ZERO)
