"""A stage for faults: the real engine, loop, broker and ccxt client in front of a loopback Binance, minute by minute.

Time is virtual for all three, ccxt's own stamps included; a tick is ten seconds of quotes. The venue keeps the truth.
After every tick the stage checks what no fault may break: no order twice, two slots, no exit at odds with its trade.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal

import ccxt

from ffe.brokers.ccxt_broker import CcxtBroker
from ffe.engine import Engine, run
from ffe.feeds.merge import Venues, merge
from ffe.model import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    Account,
    AccountKind,
    Act,
    Answer,
    Bar,
    Bars,
    Command,
    Currency,
    Heartbeat,
    Instrument,
    Nanos,
    Query,
    Quote,
    Quotes,
    Universe,
    Venue,
)  # fmt: skip
from ffe.research.operator import ScriptedOperator
from ffe.risk.breaker import BreakerState
from ffe.risk.guard import TradingState
from ffe.risk.limits import Rules
from ffe.risk.slots import SlotState, Trade
from ffe.session import Session
from ffe.strategy import Precomputed
from ffe.wire.ccxt_wire import instruments
from tests.story.scene import PAST_DAYS, START, Kept, Moment, Told, buy, closes, hours_of
from tests.venues.binance import Asked, Binance
from tests.venues.faults import Fault
from tests.venues.matching import Order
from tests.venues.play import symbol_of
from tests.venues.server import Server

COINS, USDT = Venue("coins"), Currency("USDT")
PRICES = {"BTC/USDT": 50_000.0, "ETH/USDT": 2_500.0, "SOL/USDT": 100.0}
TICK: Nanos = 10 * SECOND
HORIZON: Nanos = 90 * SECOND
PATIENCE = 250  # ms until the client gives up on a venue that hangs


class Stage:
    """It is ten o'clock, three coins stand still, and the account holds 100,000 USDT and nothing else."""

    def __init__(
        self, server: Server, client: ccxt.binance, *faults: Fault, holds: dict[str, float] | None = None
    ) -> None:
        self.now: Nanos = START + 10 * HOUR
        self.venue = Binance(cash={"USDT": 100_000.0, **(holds or {})}, clock=lambda: self.now, faults=faults)
        self.client, server.app = client, self.venue
        self.last = dict(PRICES)
        found = instruments(client, COINS, list(PRICES))
        self.btc, self.eth, self.sol = found
        account = Account(COINS, AccountKind.SPOT, USDT, HORIZON, rests_targets=False)
        self.universe = Universe(found, (account,), USDT)
        self.said: dict[Nanos, tuple] = {}
        hours = {i.id: hours_of("24/7") for i in found}
        self.engine = Engine(self.universe, hours, Precomputed(self.said), Rules(), Session("faults", HOUR))
        self._prime()
        self.broker = CcxtBroker(self.universe, COINS, client, lambda: self.now, self.now)
        self.venues, self.journal = Venues(self.universe, [self.broker], self.engine.gatekeeper.approvals), Kept(None)
        self.operator = ScriptedOperator(self.engine, (), False)
        for instrument in found:
            self.venue.price(symbol_of(instrument.id), PRICES[instrument.symbol])

    def _prime(self) -> None:
        paths = {i: closes(n, PRICES[i.symbol]) for n, i in enumerate(self.universe)}
        for n in range(PAST_DAYS):
            opened, ended = START + (n - PAST_DAYS) * DAY, START + (n - PAST_DAYS + 1) * DAY
            bars = tuple(Bar(i.id, DAY, opened, ended, *[float(path[n])] * 4, 1e3) for i, path in paths.items())
            self.engine.prime(Bars(ended, bars))

    # ------------------------------------------------------------ what happens

    def tick(self, *signals: object, btc: float | None = None, quoted: float | None = None) -> Told:
        """Ten seconds: the market trades at its price, all are told of it (quoted: told of another), a strategy may
        speak."""
        self.now += TICK
        self.last["BTC/USDT"] = btc or self.last["BTC/USDT"]
        for instrument in self.universe:
            self.venue.price(symbol_of(instrument.id), self.last[instrument.symbol])
        said = {**self.last, "BTC/USDT": self.last["BTC/USDT"] if quoted is None else quoted}
        told = [*self._play(Quotes(self.now, tuple(Quote(i.id, said[i.symbol]) for i in self.universe)))]
        if signals:
            self.said[self.now] = signals
            told += self._play(Bars(self.now, ()))
        self.check()
        return Told(tuple(told))

    def ticks(self, count: int, **how: float) -> Told:
        return Told(tuple(pair for _ in range(count) for pair in self.tick(**how).steps))

    def beats(self, seconds: int, btc: float | None = None) -> Told:
        """The venue trades, and the engine learns the time and no price."""
        told = []
        for _ in range(seconds):
            self.now += SECOND
            self.venue.price("BTCUSDT", btc or self.last["BTC/USDT"])
            told += self._play(Heartbeat(self.now))
            self.check()
        return Told(tuple(told))

    def minutes(self, count: float) -> Told:
        return self.ticks(round(count * MINUTE / TICK))

    def read(self) -> Told:
        """The account is read, as a live session does from time to time."""
        self.broker.send(Query(COINS, None), self.now)
        self.venues._is_stirred = True
        return Told(tuple(self._run(self.venues.settled())))

    def command(self, act: Act) -> Told:
        events = [Command(self.now, act, "a test")]
        return Told(tuple(self._run(e for part in (events, self.venues.settled()) for e in part)))

    def fault(self, *faults: Fault) -> None:
        self.venue.faults += faults

    def bought(self, *faults: Fault, qty: float = 0.1) -> Told:
        """BTC is bought, the entry meeting these faults."""
        self.tick()
        self.fault(*faults)
        return self.tick(buy(self.btc, qty=qty))

    def _play(self, market: Bars | Quotes | Heartbeat):
        return self._run(merge(Moment(market), self.operator, self.venues, self.engine.awaited))

    def _run(self, events: Iterator) -> list:
        seen = len(self.journal.steps)
        run(events, self.engine, self.venues, self.journal)
        return list(zip(self.journal.events[seen:], self.journal.steps[seen:], strict=True))

    # ------------------------------------------------------------ what is so at the venue

    def at_venue(self, asset: str = "BTC") -> float:
        return float(self.venue.account.held.get(asset, 0))

    def orders(self, symbol: str = "BTCUSDT") -> list[Order]:
        return [order for order in self.venue.orders if order.symbol == symbol]

    def stops(self, symbol: str = "BTCUSDT") -> list[tuple[float, float]]:
        """Price and quantity of what rests."""
        return [(float(o.stop), float(o.left)) for o in self.venue.open_orders(symbol) if o.stop]

    def posts(self, kind: str = "*") -> list[Asked]:
        wanted = [r for r in self.venue.requests if (r.method, r.endpoint) == ("POST", "order")]
        return [r for r in wanted if kind in ("*", r.params["type"])]

    # ------------------------------------------------------------ what is so in the engine

    @property
    def told(self) -> Told:
        return Told(tuple(zip(self.journal.events, self.journal.steps, strict=True)))

    @property
    def answers(self) -> list[Answer]:
        return self.told.answers

    @property
    def trade(self) -> Trade | None:
        return self.engine.slots.trade(self.btc.id)

    @property
    def slot(self) -> SlotState | None:
        return self.trade.state if self.trade else None

    @property
    def held(self) -> float:
        return self.engine.book.ours(self.btc.id).qty

    @property
    def state(self) -> TradingState:
        return self.engine.guard.state

    @property
    def latches(self) -> set[str]:
        return set(self.engine.guard.latches)

    @property
    def breaker(self) -> BreakerState:
        return self.engine.breakers[COINS].state(self.now)

    @property
    def failures(self) -> int:
        return self.engine.breakers[COINS].numbers(self.now).failures

    # ------------------------------------------------------------ what must be so

    def check(self) -> None:
        """What no fault may break."""
        sent = Counter(asked.params["newClientOrderId"] for asked in self.posts())
        allowed = 2 if self.venue.met["Skewed"] else 1  # what was refused unread for its time may be sent again
        assert max(sent.values(), default=1) <= allowed, "an order was sent twice"
        assert len({order.client_id for order in self.venue.orders}) == len(self.venue.orders)
        assert self.engine.slots.count <= 2

    def agrees(self) -> None:
        """The book is what the venue holds, to the lot and the cent."""
        for instrument in self.universe:
            theirs = self.at_venue(instrument.base)
            assert abs(self.engine.book.held(instrument.id) - theirs) < 1e-9, instrument.id
        assert abs(self.engine.book.cash(COINS, USDT) - self.at_venue("USDT")) < 1e-6

    def is_protected(self, of: Instrument | None = None) -> bool:
        """One stop rests for all that can be sold."""
        instrument = of or self.btc
        held = self.at_venue(instrument.base)
        stops = self.stops(symbol_of(instrument.id))
        lots = Decimal(str(held)) // Decimal(str(instrument.lot)) * Decimal(str(instrument.lot))
        return [qty for _, qty in stops] == [float(lots)]


@contextmanager
def virtual_time(client: ccxt.binance, stage: Stage) -> Iterator[Stage]:
    """The client's stamps follow the stage's clock, so that the venue can check them."""
    patience, client.timeout, markets = client.timeout, PATIENCE, client.markets
    client.options |= {"hasAlreadyAuthenticatedSuccessfully": False, "timeDifference": 0}
    client.milliseconds = lambda: stage.now // 1_000_000
    try:
        yield stage
    finally:
        client.timeout = patience
        client.options["timeDifference"] = 0
        del client.milliseconds
        client.set_markets(list(markets.values()))
