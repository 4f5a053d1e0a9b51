"""One stage for every broker: the market moves, an order leaves, and what the venue says of it is a list of answers.

A world owns the venue behind its broker and makes it trade at given prices. Nothing here knows an engine: what the
answers add up to is kept in a `Book`, as the engine's own would.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from itertools import count
from typing import ClassVar

import ccxt
import numpy as np

from ffe.book import Book
from ffe.brokers.ccxt_broker import CcxtBroker
from ffe.brokers.faults import AnyFault, Partial, Reject, Timeout
from ffe.brokers.oanda_broker import OandaBroker
from ffe.brokers.sim import SimBroker
from ffe.brokers.venue import VenueBroker
from ffe.kernels import fills
from ffe.model import (
    HOUR,
    SECOND,
    Account,
    AccountKind,
    Answer,
    Approved,
    AssetClass,
    Bar,
    Bars,
    Cancel,
    Currency,
    Enter,
    Exit,
    Instrument,
    Intent,
    Nanos,
    Order,
    OrderId,
    Price,
    Protect,
    Purpose,
    Qty,
    Query,
    Quote,
    Quotes,
    Side,
    Symbol,
    Universe,
    Venue,
)  # fmt: skip
from ffe.risk.gatekeeper import Gatekeeper
from ffe.risk.limits import GateLimits
from ffe.wire.ccxt_wire import instruments
from ffe.wire.oanda_wire import OandaClient
from ffe.wire.oanda_wire import instruments as oanda_instruments
from tests.venues import faults
from tests.venues.binance import Binance
from tests.venues.coinbase import Coinbase
from tests.venues.oanda import Oanda
from tests.venues.oanda_faults import ACCOUNT, POST_ORDER, PROTECT, NoReply, On
from tests.venues.oanda_faults import Partial as PartialAtOanda
from tests.venues.oanda_faults import Reject as RejectAtOanda
from tests.venues.play import play, play_oanda
from tests.venues.server import Server
from tests.venues.venue import Venue as SpotVenue

START: Nanos = 1_750_000_000 * SECOND
CASH = 100_000.0
CLOSE = On("PUT", f"{ACCOUNT}/trades/{{tradeSpecifier}}/close")
FINE = np.array([0.0] * 10 + [100.0])  # facts with which every layer passes


class World(ABC):
    """An account with money at one venue, one instrument, and a clock that the market winds."""

    name: ClassVar[str]
    mid: ClassVar[Price]
    qty: ClassVar[Qty]  # an order that is neither small nor dear

    broker: SimBroker | VenueBroker
    instrument: Instrument
    now: Nanos = START

    def __init__(self) -> None:
        self.book = Book(self.universe, 30)
        self._ids, self._keeper = count(1), Gatekeeper(GateLimits())

    @property
    def universe(self) -> Universe:
        on_margin = self.instrument.margin_rate < 1.0
        kind = AccountKind.MARGIN if on_margin else AccountKind.SPOT
        account = Account(self.instrument.venue, kind, self.instrument.quote, rests_targets=on_margin)
        return Universe((self.instrument,), (account,), self.instrument.quote)

    # ------------------------------------------------------------ the market

    def open(self, price: Price) -> list[Answer]:
        """The market trades at a new price."""
        self.now += SECOND
        return self._show(Quotes(self.now, (Quote(self.instrument.id, price),)))

    def bar(self, open: Price, high: Price, low: Price, close: Price) -> list[Answer]:
        """An hour: its open, and what happens inside it."""
        told, began = self.open(open), self.now
        self.now += HOUR
        bar = Bar(self.instrument.id, HOUR, began, self.now, open, high, low, close, 1e6)
        return told + self._show(Bars(self.now, (bar,)))

    def _show(self, market: Quotes | Bars) -> list[Answer]:
        self.book.observe(market)
        self.trade(market)
        self.broker.work(market)
        return self._heard()

    def trade(self, market: Quotes | Bars) -> None:
        """Let the venue trade at these prices; a simulated one is shown them by `work`."""
        return

    # ------------------------------------------------------------ orders

    def send(self, order: Order) -> list[Answer]:
        self.broker.send(order, self.now)
        return self._heard()

    def _heard(self) -> list[Answer]:
        answers = list(self.broker.answers())
        for answer in answers:
            self.book.apply(answer)
        return answers

    def next_id(self) -> OrderId:
        return OrderId(f"{next(self._ids):x}".translate(DIGITS).rjust(26, "a"))

    def enter(self, qty: Qty | None = None, side: Side = Side.LONG, collar: Price = math.nan) -> Enter:
        price = self.book.mark(self.instrument.id)
        intent = Intent(Purpose.ENTRY, self.instrument.id, side, qty or self.qty, price, None, None, "contract")
        verdict = self._keeper.review(intent, FINE, self.instrument.asset_class)
        assert isinstance(verdict, Approved), verdict
        bound = fills.distance_from(price, int(side), 0.02) if math.isnan(collar) else collar
        return Enter(self.next_id(), verdict, bound)

    def exit(self, qty: Qty | None = None) -> Exit:
        return Exit(self.next_id(), self._key(qty or abs(self.held)))

    def protect(self, stop: Price, target: Price, qty: Qty | None = None, replaces: OrderId | None = None) -> Protect:
        return Protect(self.next_id(), self._key(qty or abs(self.held)), stop, target, replaces)

    def cancel(self, order: OrderId) -> Cancel:
        return Cancel(self.broker.venue, order)

    def ask(self, order: OrderId | None = None) -> Query:
        return Query(self.broker.venue, order)

    def _key(self, qty: Qty) -> Approved:
        side = Side.SHORT if self.held > 0.0 else Side.LONG
        intent = Intent(Purpose.EXIT, self.instrument.id, side, qty, self.mid, None, None, "contract")
        approved = self._keeper.reduce(intent, self.held, self.instrument.asset_class)
        assert approved is not None
        return approved

    @property
    def held(self) -> Qty:
        return self.book.ours(self.instrument.id).qty

    def entered(self, qty: Qty | None = None) -> Enter:
        """An entry that has filled at the world's usual price."""
        self.open(self.mid)
        order = self.enter(qty)
        self.send(order)
        self.open(self.mid)
        assert self.held
        return order

    # ------------------------------------------------------------ what can go wrong, and what is so

    @abstractmethod
    def lose_answer(self, accepted: bool) -> None:
        """The answer to the next order never comes; accepted says whether the order lives."""

    @abstractmethod
    def refuse(self) -> None:
        """The next order is refused for a reason of business."""

    @abstractmethod
    def fill_in_parts(self, *shares: float) -> None:
        """The next order fills by these shares, one at each price; the rest at the one after."""

    @abstractmethod
    def at_venue(self) -> Qty:
        """What the account really holds."""

    @abstractmethod
    def stops_at_venue(self) -> list[tuple[Price, Qty]]:
        """What really rests there: stop and quantity."""


DIGITS = str.maketrans("0189", "wxyz")  # of base 16 into the alphabet of our ids


class Simulated(World):
    """The simulated venue; its instrument is what the loopback one of the same kind says of its market."""

    def __init__(self) -> None:
        super().__init__()
        self.broker = SimBroker(self.universe, self.instrument.venue, CASH)

    def _fault(self, fault: AnyFault) -> None:
        self.broker.faults = (*self.broker.faults, fault)

    def lose_answer(self, accepted: bool) -> None:
        self._fault(Timeout(self.broker._orders + 1, accepted))

    def refuse(self) -> None:
        self._fault(Reject(self.broker._orders + 1))

    def fill_in_parts(self, *shares: float) -> None:
        self._fault(Partial(self.broker._orders + 1, shares))

    def at_venue(self) -> Qty:
        return self.broker.ledger.held(self.instrument.id)

    def stops_at_venue(self) -> list[tuple[Price, Qty]]:
        return [(w.order.stop, w.left) for w in self.broker._resting.values() if isinstance(w.order, Protect)]


class SimulatedSpot(Simulated):
    name = "simulated spot"
    mid, qty = 50_000.0, 0.2
    instrument = Instrument(
        Venue("coins"), Symbol("BTC/USDT"), AssetClass.CRYPTO, Currency("BTC"), Currency("USDT"), "24/7",
        tick=0.01, lot=1e-5, minimum_qty=1e-5, minimum_notional=5.0, fee=0.001, fee_in_base=True, fee_step=1e-8,
    )  # fmt: skip


class SimulatedMargin(Simulated):
    name = "simulated margin"
    mid, qty = 1.25, 10_000.0
    instrument = Instrument(
        Venue("forex"), Symbol("EUR/USD"), AssetClass.FOREX, Currency("EUR"), Currency("USD"), "forex",
        tick=1e-5, lot=1.0, minimum_qty=1.0, shortable=True, margin_rate=0.05,
    )  # fmt: skip


class LoopbackSpot(World):
    """The unmodified ccxt client at its production addresses, and a venue on loopback behind them."""

    mid, qty = 50_000.0, 0.2
    symbol: ClassVar[str]  # what the venue calls it
    venue: SpotVenue

    def __init__(self, server: Server, client: ccxt.Exchange, fee_in_base: bool) -> None:
        self.venue.checks_time, self.venue.fill_on_next_price = False, True
        server.app = self.venue
        quote = next(iter(self.venue.account.held))
        (self.instrument,) = instruments(client, Venue("coins"), [f"BTC/{quote}"], fee_in_base=fee_in_base)
        super().__init__()
        self.venue.price(self.symbol, self.mid)
        self.broker = CcxtBroker(self.universe, self.instrument.venue, client, lambda: self.now, START)

    def trade(self, market: Quotes | Bars) -> None:
        play(self.venue, market)

    def lose_answer(self, accepted: bool) -> None:
        self.venue.faults.append(faults.Drop(accepted=accepted))

    def refuse(self) -> None:
        self.venue.faults.append(faults.Refuse())

    def fill_in_parts(self, *shares: float) -> None:
        self.venue.faults.append(faults.Parts(*shares))

    def at_venue(self) -> Qty:
        return float(self.venue.account.held.get("BTC", 0))

    def stops_at_venue(self) -> list[tuple[Price, Qty]]:
        return [(float(order.stop), float(order.left)) for order in self.venue.open_orders() if order.stop]


class LoopbackBinance(LoopbackSpot):
    name = "ccxt, Binance"
    symbol = "BTCUSDT"

    def __init__(self, server: Server, client: ccxt.binance) -> None:
        self.venue = Binance(cash={"USDT": CASH}, clock=lambda: self.now)
        client.options["hasAlreadyAuthenticatedSuccessfully"] = False
        super().__init__(server, client, fee_in_base=True)


class LoopbackCoinbase(LoopbackSpot):
    name = "ccxt, Coinbase"
    symbol = "BTC-USD"

    def __init__(self, server: Server, client: ccxt.coinbase) -> None:
        self.venue = venue = Coinbase(cash={"USD": CASH}, clock=lambda: self.now)
        venue.limits.clear()
        super().__init__(server, client, fee_in_base=False)


class LoopbackOanda(World):
    """Our own client over HTTP, and a venue on loopback that is held to OANDA's published description."""

    name = "OANDA"
    mid, qty = 1.25, 10_000.0
    pair = "EUR_USD"

    def __init__(self, venue: Oanda, client: OandaClient) -> None:
        self.venue = venue
        venue.clock = lambda: self.now
        (self.instrument,) = oanda_instruments(client, Venue("forex"), ["EUR/USD"])
        super().__init__()
        venue.mid(self.pair, str(self.mid))
        self.broker = OandaBroker(self.universe, self.instrument.venue, client, lambda: self.now)

    def trade(self, market: Quotes | Bars) -> None:
        play_oanda(self.venue, market)

    def lose_answer(self, accepted: bool) -> None:
        self.venue.script(*(NoReply(on, accepted, drops=True) for on in (POST_ORDER, PROTECT, CLOSE)))

    def refuse(self) -> None:
        self.venue.script(RejectAtOanda(POST_ORDER), RejectAtOanda(PROTECT))

    def fill_in_parts(self, *shares: float) -> None:
        self.venue.script(PartialAtOanda(POST_ORDER, *map(str, shares)))

    def at_venue(self) -> Qty:
        return float(self.venue.held(self.pair))

    def stops_at_venue(self) -> list[tuple[Price, Qty]]:
        pending = [order for order in self.venue.orders.values() if order.state == "PENDING"]
        stops = [order.wire() for order in pending if order.type == "STOP_LOSS"]
        return [(float(stop["price"]), abs(float(self.venue.trades[int(stop["tradeID"])].units))) for stop in stops]
