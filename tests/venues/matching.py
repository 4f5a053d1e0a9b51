"""The truth of a spot account: what it holds, what it ordered, what was traded, and what a price does to it.

Nothing is kept twice: what an order locks follows from what is left of it, so free + locked is always what is held.
A stop that is touched fills at the market, at the new price: a gap fills beyond it. A resting limit fills at its own
price. What a market order or a triggered stop cannot fill at once expires, as it does at the real venue.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_FLOOR, Decimal
from enum import Enum, IntEnum, StrEnum, auto

from ffe.model import Nanos

ZERO, ONE = Decimal(0), Decimal(1)
DIGITS = 8  # decimal places of every amount


class Side(IntEnum):
    BUY = 1
    SELL = -1


class Kind(StrEnum):
    MARKET = "MARKET"
    LIMIT = "LIMIT"
    LIMIT_MAKER = "LIMIT_MAKER"
    STOP_LOSS = "STOP_LOSS"
    STOP_LOSS_LIMIT = "STOP_LOSS_LIMIT"
    TAKE_PROFIT = "TAKE_PROFIT"
    TAKE_PROFIT_LIMIT = "TAKE_PROFIT_LIMIT"

    @property
    def has_limit(self) -> bool:
        return "LIMIT" in self

    @property
    def has_stop(self) -> bool:
        return self.startswith(("STOP", "TAKE"))


class Status(StrEnum):
    NEW = "NEW"
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    FILLED = "FILLED"
    CANCELED = "CANCELED"
    EXPIRED = "EXPIRED"
    REJECTED = "REJECTED"  # after its acceptance


class Reason(Enum):
    """Why a request is not obeyed; each venue has a code and a message of its own for each."""

    CLOSED = auto()  # the market does not trade
    FUNDS = auto()
    NO_BOOK = auto()  # nothing was ever traded there
    PRECISION = auto()  # more decimal places than any amount may have
    TICK = auto()
    STEP = auto()
    TOO_SMALL = auto()
    TOO_LARGE = auto()
    MARKET_TOO_LARGE = auto()
    VALUE_TOO_SMALL = auto()
    VALUE_TOO_LARGE = auto()
    TRIGGERS = auto()  # a stop that the price has already touched
    CROSSES = auto()  # an order that must not take would take
    RELATION = auto()  # the prices of a pair stand the wrong way round
    NOT_FOUND = auto()
    TOO_MANY = auto()  # requests
    MAINTENANCE = auto()


class Rejected(Exception):
    """The account does not take an order; what names the field, or says on which side of the price a stop stands."""

    def __init__(self, reason: Reason, what: str = "") -> None:
        super().__init__(f"{reason.name} {what}")
        self.reason, self.what = reason, what


@dataclass(frozen=True, slots=True)
class Market:
    symbol: str
    base: str
    quote: str
    tick: Decimal = Decimal("0.01")
    lot: Decimal = Decimal("0.00001")
    min_qty: Decimal = Decimal("0.00001")
    max_qty: Decimal = Decimal("9000")
    max_market_qty: Decimal = Decimal("100")
    min_notional: Decimal = Decimal("5")
    max_notional: Decimal = Decimal("9000000")
    is_trading: bool = True

    @property
    def is_open(self) -> bool:
        """Whether orders are taken and work."""
        return self.is_trading


@dataclass(frozen=True, slots=True)
class Order:
    id: int
    client_id: str
    symbol: str
    side: Side
    kind: Kind
    qty: Decimal
    price: Decimal = ZERO
    stop: Decimal = ZERO
    lasts: str = "GTC"  # or IOC, FOK
    time: Nanos = 0
    updated: Nanos = 0
    status: Status = Status.NEW
    filled: Decimal = ZERO
    cost: Decimal = ZERO
    reference: Decimal = ZERO  # what one unit is taken to cost while the order waits
    is_triggered: bool = False
    list_id: int = -1
    parts: tuple[Decimal, ...] = ()  # scripted: how much of the whole each coming opportunity fills; then all
    then_cancel: bool = False

    @property
    def is_open(self) -> bool:
        return self.status in (Status.NEW, Status.PARTIALLY_FILLED)

    @property
    def takes(self) -> bool:
        """Whether it only ever trades at what it finds."""
        return self.kind is Kind.MARKET or (self.kind is Kind.LIMIT and self.lasts != "GTC")

    @property
    def left(self) -> Decimal:
        return self.qty - self.filled

    @property
    def locks(self) -> Decimal:
        return self.left * self.reference if self.side is Side.BUY else self.left


@dataclass(frozen=True, slots=True)
class Trade:
    id: int
    order: int
    symbol: str
    side: Side
    price: Decimal
    qty: Decimal
    fee: Decimal
    fee_asset: str
    time: Nanos
    is_maker: bool
    list_id: int = -1


@dataclass(frozen=True, slots=True)
class Balance:
    free: Decimal
    locked: Decimal


def exact(value: float | str | Decimal) -> Decimal:
    return value if isinstance(value, Decimal) else Decimal(str(value))


def cut(amount: Decimal, step: Decimal, rounding: str = ROUND_DOWN) -> Decimal:
    return (amount / step).to_integral_value(rounding) * step


class Account:
    """fee is a ratio, taken in the asset received, or in fee_asset while there is enough of it, or always in the quote
    currency: then a buy locks its fee too. maker_fee is that of orders that rested, where it is another."""

    def __init__(
        self,
        markets: Iterable[Market],
        cash: Mapping[str, float],
        now: Callable[[], Nanos],
        *,
        fee: float = 0.001,
        maker_fee: float | None = None,
        fee_asset: str | None = None,
        fee_in_quote: bool = False,
        half_spread: float = 0.0,
    ) -> None:
        self.markets = {market.symbol: market for market in markets}
        self.held = {asset: exact(amount) for asset, amount in cash.items()}
        self.orders: dict[int, Order] = {}
        self.trades: list[Trade] = []
        self.mids: dict[str, Decimal] = {}
        self.liquidity: dict[str, float] = {}  # how much of a symbol one price can fill; unlimited without
        self.fill_on_next_price = False
        self.parts: tuple[Decimal, ...] = ()  # scripted for what is ordered next: the share that each opportunity fills
        self.then_cancel = False  # and whether the rest ends then
        self.fee, self.maker_fee = exact(fee), exact(fee if maker_fee is None else maker_fee)
        self.fee_asset, self.fee_in_quote, self.half_spread = fee_asset, fee_in_quote, exact(half_spread)
        self.history: list[tuple[Nanos, dict[str, Balance]]] = []
        self._now = now
        self._taken: dict[str, Decimal] = {}  # of the liquidity at the present price
        self._lists = 0
        self._remember()

    # ------------------------------------------------------------ what it is

    def open_orders(self, symbol: str | None = None) -> list[Order]:
        return [order for order in self.orders.values() if order.is_open and symbol in (None, order.symbol)]

    def find(self, symbol: str, id: int | None, client_id: str | None) -> Order | None:
        """The order of this id, else the newest of this client id."""
        if id is not None:
            order = self.orders.get(id)
            return order if order and order.symbol == symbol else None
        named = [each for each in self.orders.values() if (each.symbol, each.client_id) == (symbol, client_id)]
        return max(named, key=lambda each: (each.is_open, each.id), default=None)

    def balances(self) -> dict[str, Balance]:
        return {asset: Balance(self.free(asset), self.locked(asset)) for asset in sorted(self.held)}

    def balances_at(self, time: Nanos) -> dict[str, Balance]:
        return next((known for at, known in reversed(self.history) if at <= time), self.history[0][1])

    def locked(self, asset: str) -> Decimal:
        """Two orders of which only one can fill lock the larger of what they need."""
        by_list: dict[int, Decimal] = {}
        for order in self.open_orders():
            if self._pays_with(order) == asset:
                key = order.list_id if order.list_id >= 0 else -order.id
                by_list[key] = max(by_list.get(key, ZERO), order.locks)
        return sum(by_list.values(), ZERO)

    def free(self, asset: str) -> Decimal:
        return self.held.get(asset, ZERO) - self.locked(asset)

    def side_price(self, symbol: str, side: Side) -> Decimal:
        """The ask to a buyer, the bid to a seller, on the tick that is worse for him."""
        if symbol not in self.mids:
            raise Rejected(Reason.NO_BOOK)
        rounding = ROUND_CEILING if side is Side.BUY else ROUND_FLOOR
        return cut(self.mids[symbol] * (ONE + side * self.half_spread), self.markets[symbol].tick, rounding)

    def cost(self, side: Side, price: Decimal) -> Decimal:
        """What a unit at this price takes from a buyer's quote currency: where the fee is paid in it, the fee too."""
        return price * (ONE + self.fee) if self.fee_in_quote and side is Side.BUY else price

    def _pays_with(self, order: Order) -> str:
        market = self.markets[order.symbol]
        return market.quote if order.side is Side.BUY else market.base

    # ------------------------------------------------------------ orders

    def place(self, asked: Order) -> Order:
        """Take an order in and let it work; it gets its id and its time here."""
        return self._place([asked])[0]

    def place_pair(self, above: Order, below: Order) -> list[Order]:
        """One cancels the other: as soon as one trades, the other expires."""
        if not (below.stop or below.price) < self.mids[above.symbol] < (above.stop or above.price):
            raise Rejected(Reason.RELATION)
        self._lists += 1
        return self._place([replace(leg, list_id=self._lists) for leg in (above, below)])

    def _place(self, asked: list[Order]) -> list[Order]:
        orders = [self._admit(each) for each in asked]
        if max(each.locks for each in orders) > self.free(self._pays_with(orders[0])):
            raise Rejected(Reason.FUNDS)
        entered = [self._enter(each) for each in orders]
        return [self.orders[each.id] for each in entered]

    def cancel(self, order: Order, status: Status = Status.CANCELED) -> Order:
        for each in self.open_orders(order.symbol):
            if each.id == order.id or each.list_id == order.list_id >= 0:
                self._put(each, status=status)
        self._remember()
        return self.orders[order.id]

    def trade(self, order: Order, qty: Decimal, price: Decimal, is_maker: bool = False) -> Order:
        """Fill qty of an order, whatever is left of it."""
        market, value = self.markets[order.symbol], qty * price
        fee, fee_asset = self._fee(order.side, market, qty, value, is_maker)
        self._book(market.base, order.side * qty)
        self._book(market.quote, -order.side * value)
        self._book(fee_asset, -fee)
        self.trades.append(
            Trade(len(self.trades) + 1, order.id, order.symbol, order.side, price, qty, fee, fee_asset, self._now(),
                  is_maker, order.list_id)
        )  # fmt: skip
        filled = order.filled + qty
        status = Status.FILLED if filled >= order.qty else Status.PARTIALLY_FILLED
        if not order.is_open and status is Status.PARTIALLY_FILLED:
            status = order.status
        return self._put(order, filled=filled, cost=order.cost + value, status=status)

    def move(self, symbol: str, mid: Decimal) -> None:
        """The market stands at this price now; while it is halted nothing trades there."""
        self.mids[symbol] = mid
        self._taken[symbol] = ZERO
        for order in self.open_orders(symbol) if self.markets[symbol].is_open else ():
            if self.orders[order.id].is_open:  # an earlier one may have ended it
                self._work(self.orders[order.id], is_resting=True)
        self._remember()

    def _admit(self, order: Order) -> Order:
        """An order that passes the filters, with what a unit of it is taken to cost."""
        market = self.markets[order.symbol]
        if not market.is_open:
            raise Rejected(Reason.CLOSED)
        at_market = self.side_price(order.symbol, order.side)
        price = order.price or order.stop or at_market
        self._check_filters(order, market, price)
        if order.kind.has_stop and self._is_touched(order):
            raise Rejected(Reason.TRIGGERS, "BELOW" if order.stop < self.mids[order.symbol] else "ABOVE")
        if order.kind is Kind.LIMIT_MAKER and self._crosses(order):
            raise Rejected(Reason.CROSSES)
        return replace(order, reference=self.cost(order.side, price))

    def _check_filters(self, order: Order, market: Market, price: Decimal) -> None:
        for name, amount in (("quantity", order.qty), ("price", order.price), ("stopPrice", order.stop)):
            if amount.as_tuple().exponent < -DIGITS:  # type: ignore[operator]
                raise Rejected(Reason.PRECISION, name)
        value = order.qty * price
        checks = (
            (bool(order.price % market.tick or order.stop % market.tick), Reason.TICK),
            (order.qty < market.min_qty, Reason.TOO_SMALL),
            (order.qty > market.max_qty, Reason.TOO_LARGE),
            (bool(order.qty % market.lot), Reason.STEP),
            (order.kind is Kind.MARKET and order.qty > market.max_market_qty, Reason.MARKET_TOO_LARGE),
            (value < market.min_notional, Reason.VALUE_TOO_SMALL),
            (value > market.max_notional, Reason.VALUE_TOO_LARGE),
        )
        for is_wrong, reason in checks:
            if is_wrong:
                raise Rejected(reason)

    def _enter(self, order: Order) -> Order:
        now = self._now()
        entered = replace(
            order, id=len(self.orders) + 1, time=now, updated=now, parts=self.parts, then_cancel=self.then_cancel
        )
        self.orders[entered.id] = entered
        if not (self.fill_on_next_price and entered.takes):
            self._work(entered, is_resting=False)
        self._remember()
        return self.orders[entered.id]

    # ------------------------------------------------------------ the market

    def _is_touched(self, order: Order) -> bool:
        """A stop loss is touched by a price against its side's wish, a take profit by one in its favour."""
        towards = order.side if order.kind.startswith("STOP") else -order.side
        return towards * self.mids[order.symbol] >= towards * order.stop

    def _crosses(self, order: Order) -> bool:
        return order.side * self.side_price(order.symbol, order.side) <= order.side * order.price

    def _work(self, order: Order, is_resting: bool) -> None:
        """Give an order its opportunity at the present price."""
        if order.kind.has_stop and not order.is_triggered:
            if not self._is_touched(order):
                return
            order, is_resting = self._put(order, is_triggered=True), False
            self._end_others(order)
        if not order.kind.has_limit:
            self._fill(order, self.side_price(order.symbol, order.side), False)
        elif self._crosses(order):
            is_maker = is_resting and not order.takes
            price = order.price if is_maker else self.side_price(order.symbol, order.side)
            self._fill(order, price, is_maker)
        elif order.lasts != "GTC":
            self.cancel(order, Status.EXPIRED)

    def _fill(self, order: Order, price: Decimal, is_maker: bool) -> None:
        qty, market = self._opportunity(order), self.markets[order.symbol]
        rest = order.parts[1:]
        if order.lasts == "FOK" and qty < order.left:
            qty = ZERO
        if order.side is Side.BUY and qty * self.cost(order.side, price) > self.free(market.quote) + order.locks:
            self.cancel(order, Status.EXPIRED)
            return
        if qty > ZERO:
            order = self.trade(order, qty, price, is_maker)
            self._taken[order.symbol] = self._taken.get(order.symbol, ZERO) + qty
            self._end_others(order)
        expires = not order.parts and (not order.kind.has_limit or order.lasts != "GTC")
        if order.is_open and (expires or (order.then_cancel and not rest)):
            self.cancel(order, Status.EXPIRED if expires else Status.CANCELED)
        elif order.parts:
            self._put(order, parts=rest)

    def _opportunity(self, order: Order) -> Decimal:
        lot = self.markets[order.symbol].lot
        if order.parts:
            return min(order.left, cut(order.qty * order.parts[0], lot))
        if order.symbol in self.liquidity:
            there = exact(self.liquidity[order.symbol]) - self._taken.get(order.symbol, ZERO)
            return max(ZERO, min(order.left, cut(there, lot)))
        return order.left

    def _end_others(self, order: Order) -> None:
        for each in self.open_orders(order.symbol):
            if each.id != order.id and each.list_id == order.list_id >= 0:
                self._put(each, status=Status.EXPIRED)

    def _fee(self, side: Side, market: Market, qty: Decimal, value: Decimal, is_maker: bool) -> tuple[Decimal, str]:
        ratio = self.maker_fee if is_maker else self.fee
        rate = self.mids.get(f"{self.fee_asset}{market.quote}")
        smallest = ONE.scaleb(-DIGITS)
        if self.fee_asset and rate:
            fee = cut(value * ratio / rate, smallest)
            if fee <= self.free(self.fee_asset):
                return fee, self.fee_asset
        is_in_base = side is Side.BUY and not self.fee_in_quote
        received, asset = (qty, market.base) if is_in_base else (value, market.quote)
        return cut(received * ratio, smallest), asset

    def _book(self, asset: str, amount: Decimal) -> None:
        self.held[asset] = self.held.get(asset, ZERO) + amount

    def _put(self, order: Order, **changes: object) -> Order:
        self.orders[order.id] = changed = replace(order, updated=self._now(), **changes)  # type: ignore[arg-type]
        return changed

    def _remember(self) -> None:
        self.history.append((self._now(), self.balances()))
