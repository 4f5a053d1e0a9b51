"""A stage for faults: the real engine, the one loop, the real adapter and client, and OANDA's loopback behind them.

It begins on Monday 2024-02-05, 00:00 UTC, behind eighty days of independent daily closes, with 100,000 of the account's
currency. Prices have no spread. `minute` plays one: the market moves at the venue, the opens of what is awaited, then
the closes at which signals are said. After every minute the stage checks what holds whatever the venue does.
"""

from __future__ import annotations

import ssl
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal

from ffe.brokers.oanda_broker import OandaBroker
from ffe.engine import Engine, run
from ffe.feeds.merge import Venues, merge
from ffe.hours import Hours
from ffe.model import (
    DAY,
    MINUTE,
    SECOND,
    Account,
    AccountKind,
    AccountRead,
    Act,
    Answer,
    Bar,
    Bars,
    Command,
    Currency,
    Enter,
    Event,
    Exit,
    Failed,
    Heartbeat,
    Instrument,
    Nanos,
    Protect,
    Query,
    Quote,
    Quotes,
    Side,
    Signal,
    Symbol,
    Universe,
    Venue,
)  # fmt: skip
from ffe.research.operator import ScriptedOperator
from ffe.risk.guard import TradingState
from ffe.risk.limits import Rules
from ffe.risk.slots import SlotState
from ffe.session import Session
from ffe.strategy import Precomputed
from ffe.wire.oanda_wire import OandaClient, instruments
from tests.story.scene import PAST_DAYS, START, Kept, Moment, Told, closes, hours_of
from tests.venues.oanda import Oanda
from tests.venues.oanda_faults import ACCOUNT, Fault, On
from tests.venues.oanda_values import Instrument as Listed
from tests.venues.oanda_values import Trade
from tests.venues.oanda_wire import Request

VENUE, USD = Venue("oanda"), Currency("USD")
EUR, GBP, AUD, YEN = "EUR/USD", "GBP/USD", "AUD/USD", "USD/JPY"
PRICES = {EUR: 1.25, GBP: 1.5, AUD: 0.75, YEN: 150.0}
LISTED = [
    Listed("EUR_USD", half_spread=Decimal(0)), Listed("GBP_USD", half_spread=Decimal(0)),
    Listed("AUD_USD", half_spread=Decimal(0)), Listed("USD_JPY", precision=3, half_spread=Decimal(0)),
]  # fmt: skip
CLOSE = On("PUT", f"{ACCOUNT}/trades/{{tradeSpecifier}}/close")
TOKEN = "canary-4f1d9c"
TRUST = ssl.create_default_context()  # made once: it costs more than most tests here


@dataclass
class Clock:
    time: Nanos = START

    def __call__(self) -> Nanos:
        return self.time


class Stage:
    def __init__(self, venue: Oanda, clock: Clock, client: OandaClient, symbols: Iterable[str], rules: Rules) -> None:
        self.venue, self.clock, self.client = venue, clock, client
        self.last = {symbol: PRICES[symbol] for symbol in symbols}
        self.universe = Universe(instruments(client, VENUE, list(self.last)), (ACCOUNT_OF_OURS,), USD)
        self.said: dict[Nanos, tuple[Signal, ...]] = {}
        hours: dict[str, Hours] = {i.id: hours_of(i.hours) for i in self.universe}
        self.engine = Engine(self.universe, hours, Precomputed(self.said), rules, Session("faults", MINUTE))
        self._prime()
        self.broker = OandaBroker(self.universe, VENUE, client, clock)
        self.venues = Venues(self.universe, [self.broker], self.engine.gatekeeper.approvals)
        self.operator, self.journal = ScriptedOperator(self.engine), Kept(None)
        self.protects = True  # whether every open trade must have its stop at the venue
        self.foreign: list[Trade] = []

    def _prime(self) -> None:
        paths = {i: closes(n, PRICES[i.symbol]) for n, i in enumerate(self.universe)}
        for n in range(PAST_DAYS):
            began = START - (PAST_DAYS - n) * DAY
            bars = tuple(Bar(i.id, DAY, began, began + DAY, *[float(path[n])] * 4, 1e6) for i, path in paths.items())
            self.engine.prime(Bars(began + DAY, bars))

    # ------------------------------------------------------------ what happens

    def minute(self, prices: Mapping[str, float] | None = None, *signals: Signal) -> Told:
        """A minute in which prices move at once; the signals are said at its close."""
        began, self.clock.time = self.clock.time, self.clock.time + MINUTE
        before, self.last = self.last, {**self.last, **(prices or {})}
        self.trade()
        self.said[self.clock.time] = signals
        opens = Quotes(self.clock.time, tuple(Quote(self[s].id, self.last[s]) for s in self.last))
        told = [*self.play(Moment(opens, shows_all=False)).steps]
        bars = tuple(self._bar(i, began, before[i.symbol]) for i in self.universe)
        told += self.play(Moment(Bars(self.clock.time, bars))).steps
        self.check()
        return Told(tuple(told))

    def _bar(self, i: Instrument, began: Nanos, open: float) -> Bar:
        close = self.last[i.symbol]
        return Bar(i.id, MINUTE, began, self.clock.time, open, max(open, close), min(open, close), close, 1e6)

    def beats(self, seconds: int) -> Told:
        """Time passes, and the engine learns of no price."""
        told = []
        for _ in range(seconds):
            self.clock.time += SECOND
            self.trade()
            told += self.play(Moment(Heartbeat(self.clock.time))).steps
            self.check()
        return Told(tuple(told))

    def minutes(self, count: int) -> Told:
        told = [self.minute() for _ in range(count)]
        return Told(tuple(pair for each in told for pair in each.steps))

    def trade(self) -> None:
        """The venue trades at the newest prices."""
        for symbol, mid in self.last.items():
            self.venue.mid(symbol.replace("/", "_"), str(mid))

    def quote(self) -> Told:
        """Live prices, all of them, in the instant of now."""
        quotes = tuple(Quote(self[s].id, mid) for s, mid in self.last.items())
        return self.play(Moment(Quotes(self.clock.time, quotes)))

    def command(self, act: Act) -> Told:
        commands = (Command(self.clock.time, act, "a test"),)
        return self._run(event for part in (commands, self.venues.settled()) for event in part)

    def read(self) -> AccountRead | Failed:
        """The account is read, as recovery or a reconciliation would."""
        self.venues.send(Query(VENUE, None), self.clock.time)
        told = self._run(self.venues.settled())
        (answer,) = [a for a in told.answers if isinstance(a, AccountRead | Failed)]
        return answer

    def play(self, feed: Moment) -> Told:
        return self._run(merge(feed, self.operator, self.venues, self.engine.awaited))

    def _run(self, events: Iterator[Event]) -> Told:
        seen = len(self.journal.steps)
        run(events, self.engine, self.venues, self.journal)
        return Told(tuple(zip(self.journal.events[seen:], self.journal.steps[seen:], strict=True)))

    # ------------------------------------------------------------ what is so

    def __getitem__(self, symbol: str) -> Instrument:
        return next(i for i in self.universe if i.symbol == Symbol(symbol))

    def buy(self, symbol: str = EUR, qty: float | None = 10_000.0, **more: object) -> Signal:
        return Signal(self[symbol].id, Side.LONG, 85, "faults", qty=qty, **more)

    def sell(self, symbol: str = EUR, qty: float | None = 10_000.0, **more: object) -> Signal:
        return Signal(self[symbol].id, Side.SHORT, 85, "faults", qty=qty, **more)

    def leave(self, symbol: str = EUR) -> Signal:
        return Signal(self[symbol].id, Side.FLAT, 85, "faults")

    @property
    def told(self) -> Told:
        return Told(tuple(zip(self.journal.events, self.journal.steps, strict=True)))

    def answers(self, kind: type[Answer]) -> list[Answer]:
        return [a for a in self.told.answers if isinstance(a, kind)]

    def ours(self, symbol: str = EUR) -> float:
        return self.engine.book.ours(self[symbol].id).qty

    def at_venue(self, symbol: str = EUR) -> float:
        """What of the account's holdings is ours."""
        foreign = {trade.id for trade in self.foreign}
        name = symbol.replace("/", "_")
        return float(sum(t.units for t in self.venue.trades.values() if t.instrument == name and t.id not in foreign))

    def stops(self, symbol: str = EUR) -> list[tuple[float, float]]:
        """What really rests: price and quantity."""
        resting = [o for o in self.venue.orders.values() if o.type == "STOP_LOSS" and o.state == "PENDING"]
        here = [order for order in resting if order.instrument == symbol.replace("/", "_")]
        return [(float(order.price), float(self.venue.trades[order.trade].units)) for order in here]

    def slots(self) -> dict[str, str]:
        return {self.universe[t.instrument].symbol: str(t.state) for t in self.engine.slots.trades()}

    @property
    def state(self) -> TradingState:
        return self.engine.guard.state

    @property
    def breaker(self) -> str:
        return str(self.engine.breakers[VENUE].state(self.clock.time))

    @property
    def failures(self) -> int:
        return self.engine.breakers[VENUE].numbers(self.clock.time).failures

    def requests(self, on: On) -> list[Request]:
        return [request for request in self.venue.requests if on.fits(request)]

    def script(self, *faults: Fault) -> None:
        self.venue.script(*faults)

    def somebody_trades(self, symbol: str, units: int) -> None:
        """By hand, on the same account: what that opens is not ours."""
        known = set(self.venue.trades)
        self.venue.trade_by_hand(symbol.replace("/", "_"), units)
        self.foreign += [trade for id, trade in self.venue.trades.items() if id not in known]

    def check(self) -> None:
        """What holds in every minute, whatever the venue does."""
        sent = Counter(o.id for o in self.told.orders if isinstance(o, Enter | Exit | Protect))
        assert max(sent.values(), default=1) == 1, "an order id was given twice"
        posted = Counter(str(r.body["order"]["clientExtensions"]["id"]) for r in self.requests(On("POST")))
        assert max(posted.values(), default=1) == 1, "an entry was sent twice"
        assert len(self.slots()) <= 2
        assert all(self.venue.trades[t.id].units == t.units for t in self.foreign), "what is not ours was touched"
        for trade in self.engine.slots.trades():
            if self.protects and trade.state is SlotState.OPEN and not self.engine.slots.is_dust(trade):
                symbol = self.universe[trade.instrument].symbol
                assert abs(sum(qty for _, qty in self.stops(symbol))) == trade.qty, "a position without its stop"

    def agrees(self) -> bool:
        """Whether engine and venue tell the same: quantities, and money to the cent."""
        same = all(self.ours(symbol) == self.at_venue(symbol) for symbol in self.last)
        answer = self.read()
        return same and isinstance(answer, AccountRead) and not self.engine.book.breaks(answer)


ACCOUNT_OF_OURS = Account(VENUE, AccountKind.MARGIN, USD)


@contextmanager
def staged(
    *symbols: str, rules: Rules | None = None, faults: Iterable[Fault] = (), timeout: float = 2.0,
    opens: bool = True, next_price: bool = False, foreign: tuple[tuple[str, int], ...] = (), balance: str = "100000",
) -> Iterator[Stage]:  # fmt: skip
    """A stage whose first minute has passed; next_price lets market orders wait for the price after."""
    clock = Clock()
    with Oanda(clock, instruments=LISTED, token=TOKEN, fill_on_next_price=False, balance=balance) as venue:
        for symbol, mid in PRICES.items():
            venue.mid(symbol.replace("/", "_"), str(mid))
        client = OandaClient(TOKEN, venue.id, venue.url, timeout=timeout, trust=TRUST)
        try:
            stage = Stage(venue, clock, client, symbols or (EUR, GBP, AUD), rules or Rules())
            for symbol, units in foreign:
                stage.somebody_trades(symbol, units)
            venue._account.fill_on_next_price = next_price
            stage.script(*faults)
            if opens:
                stage.minute()
            yield stage
        finally:
            client.close()
