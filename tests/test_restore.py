"""A process ends at any moment and another goes on: what the engine says of itself is all that the next one needs.

The venues outlive both. What must not differ is compared with an engine that was never interrupted.
"""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ffe.book import Book, BookState
from ffe.brokers.faults import Outage
from ffe.engine import Engine, EngineState
from ffe.feeds.merge import Venues
from ffe.model import (
    DAY,
    HOUR,
    SECOND,
    Account,
    AccountKind,
    AccountRead,
    Act,
    Bar,
    Bars,
    CashFlow,
    Cause,
    Disposition,
    Exit,
    Fill,
    Filled,
    Flow,
    Found,
    Holding,
    Instrument,
    Intent,
    Nanos,
    OrderId,
    Price,
    Purpose,
    Query,
    Quote,
    Quotes,
    Role,
    Side,
    Signal,
    Ticket,
    Universe,
    Venue,
)  # fmt: skip
from ffe.records.encode import build, canonical, encode_value, loads
from ffe.risk.breaker import BreakerState
from ffe.risk.guard import TradingState
from ffe.risk.slots import SlotState
from ffe.session import Session
from tests.story.scene import BTC, COINS, ETH, EUR, MARGIN, SOL, START, USD, Scene, buy, leave
from tests.story.test_any_story import EVERY, begun, moved, wanted

AFTER = 12  # bars after the cut


# ---------------------------------------------------------------- the cut


def on_disk(state: EngineState) -> EngineState:
    """A state as the journal keeps it and the next process reads it."""
    found = loads(canonical(encode_value(state)))
    assert isinstance(found, dict)
    return build(EngineState, found)


def read(scene: Scene) -> None:
    """Every account is read, as at the end of its opening."""
    for venue in scene.brokers:
        scene.venues.send(Query(venue, None), scene.now)
    scene.step()


def restart(scene: Scene, *sent: Ticket) -> None:
    """The engine is gone; a new one is primed with the same past and goes on from what was written of it."""
    old, state = scene.engine, on_disk(scene.engine.save())
    session = Session(f"{old.session.id}+", scene.interval)
    engine = Engine(scene.universe, scene.hours, old.strategy, old.rules, session)
    for event in [*scene.past, *(event for event in scene.journal.events if isinstance(event, Bars | Quotes))]:
        engine.prime(event)
    engine.restore(state, sent)
    scene.engine = scene.operator.engine = engine
    scene.venues = Venues(scene.universe, list(scene.brokers.values()), engine.gatekeeper.approvals)


def look(scene: Scene) -> None:
    """Prices as they are, twice within seconds: what became of orders is asked and answered, and then the accounts are
    compared."""
    for _ in range(2):
        scene.quote(scene.now + 5 * SECOND, {i: scene.last[i.id] for i in scene.universe})


def played(seed: int, bars: int) -> tuple[Scene, Random]:
    """A story of test_any_story up to a bar; its venues fail no longer."""
    scene, dice = begun(seed), Random(f"{seed}")
    for n in range(bars):
        play_bar(scene, dice)
        if n == 0:
            read(scene)
    for broker in scene.brokers.values():
        broker.faults = ()
    return scene, dice


def play_bar(scene: Scene, dice: Random) -> None:
    prices = {i: moved(dice, i, scene.last[i.id]) for i in EVERY}
    signals = [signal for i in EVERY for signal in wanted(dice, i)]
    scene.bar(prices, *signals, missing=[i for i in EVERY if dice.random() < 0.03])
    if dice.random() < 0.02:
        scene.command(dice.choice(list(Act)), dice.choice(EVERY))


# ---------------------------------------------------------------- what may not differ


def told(scene: Scene) -> object:
    """What two engines must agree on; the names of their orders are their own."""
    engine = scene.engine
    trades = [
        trade._replace(flights=tuple((f.role, f.qty, f.sent, f.filled, f.unknown) for f in trade.flights), decision="")  # type: ignore[arg-type]
        for trade in engine.slots.trades()
    ]
    return repr((engine.day, engine.book.save(), trades, engine.guard.save(), engine.guard.state, engine.memory.save()))


@settings(max_examples=15, derandomize=True)
@given(st.integers(0, 10**6), st.integers(1, 60))
def test_a_state_is_the_same_value_after_the_journal(seed: int, bars: int) -> None:
    scene, _ = played(seed, bars)
    state = scene.engine.save()
    assert repr(on_disk(state)) == repr(state)


def is_plain(engine: Engine) -> bool:
    """Whether nothing is there that a restart ends or asks anew: what waits, a doubt, a breaker that is open."""
    is_doubted = any(t.beyond or t.state is SlotState.UNKNOWN for t in engine.slots.trades())
    is_closed = all(breaker.state(0) is BreakerState.CLOSED for breaker in engine.breakers.values())
    return is_closed and not (is_doubted or engine.queue)


@settings(max_examples=15, derandomize=True)
@given(st.integers(0, 10**6), st.integers(1, 60))
def test_a_restored_engine_goes_on_like_one_that_was_never_interrupted(seed: int, bars: int) -> None:
    (scene, dice), (again, same) = played(seed, bars), played(seed, bars)
    look(scene), look(again)
    assume(is_plain(scene.engine))
    restart(again)
    look(scene), look(again)
    assert again.engine.guard.state is scene.engine.guard.state
    for _ in range(AFTER):
        assert told(scene) == told(again)
        play_bar(scene, dice), play_bar(again, same)


# ---------------------------------------------------------------- what the venues did while nobody listened


def unheard(scene: Scene, prices: dict[Instrument, float]) -> None:
    """The market moves at every venue, bar and open; who should hear of it is gone."""
    for market in (
        Quotes(scene.now, tuple(Quote(i.id, price) for i, price in prices.items())),
        Bars(
            scene.now + scene.interval,
            tuple(
                Bar(i.id, scene.interval, scene.now, scene.now + scene.interval, price, price, price, price, 1e3)
                for i, price in prices.items()
            ),
        ),
    ):
        for broker in scene.brokers.values():
            broker.work(market)
            broker.answers()
    scene.now += scene.interval
    scene.last.update({i.id: price for i, price in prices.items()})


def opened(*instruments: Instrument, signals: tuple[Signal, ...] = ()) -> Scene:
    """Accounts are read, and the signals said at the close of a second bar."""
    scene = Scene(*instruments)
    scene.bar()
    read(scene)
    scene.bar(None, *signals)
    return scene


def test_an_entry_that_filled_while_nobody_listened_is_found_booked_and_protected() -> None:
    scene = opened(BTC, signals=(buy(BTC, qty=10.0),))
    unheard(scene, {BTC: 100.0})
    restart(scene)
    assert scene.ours(BTC) == 0.0 and scene.slots() == {0: (BTC.id, "unknown")}
    look(scene)
    assert scene.ours(BTC) == 10.0 and scene.slots() == {0: (BTC.id, "open")}
    scene.check()


def test_a_stop_that_filled_while_nobody_listened_frees_its_slot_and_is_an_outcome() -> None:
    scene = opened(BTC, signals=(buy(BTC, qty=10.0),))
    scene.bar()
    unheard(scene, {BTC: 90.0})
    restart(scene)
    look(scene)
    assert scene.ours(BTC) == 0.0 and not scene.slots()
    (outcome,) = scene.told.outcomes
    assert outcome.cause == "stop" and scene.engine.memory.records["story"].losses == 1


def test_a_state_from_before_an_order_left_learns_of_it_from_who_sent_it() -> None:
    scene = opened(BTC, signals=(buy(BTC, qty=10.0),))
    scene.bar()
    approved = scene.engine.gatekeeper.reduce(closing(scene, BTC), scene.ours(BTC), BTC.asset_class)
    assert approved is not None
    scene.brokers[COINS].send(Exit(OrderId("closer"), approved), scene.now)
    unheard(scene, {BTC: 101.0})
    restart(scene, Ticket(OrderId("closer"), Role.EXIT, BTC.id, Side.SHORT, 10.0))
    look(scene)
    assert scene.ours(BTC) == 0.0 and not scene.slots()
    assert [outcome.pnl for outcome in scene.told.outcomes] == [pytest.approx(10.0, abs=1.0)]


def closing(scene: Scene, instrument: Instrument) -> Intent:
    qty = scene.ours(instrument)
    return Intent(Purpose.EXIT, instrument.id, Side.SHORT, qty, scene.last[instrument.id], None, None, "by hand")


# ---------------------------------------------------------------- what a restart ends, and what it holds back


def test_what_waited_in_the_queue_ends_on_record() -> None:
    scene = opened(BTC, ETH, SOL, signals=(buy(BTC, qty=1.0), buy(ETH, qty=1.0), buy(SOL, qty=1.0)))
    queued = next(d for d in scene.told.decisions if d.disposition is Disposition.QUEUED)
    restart(scene)
    ended = scene.quote(scene.now, {BTC: 100.0}).decision
    assert (ended.disposition, ended.reason, ended.follows) == (Disposition.DROPPED, "a restart", queued.id)
    assert not scene.engine.queue and not scene.engine.save().waiting


def test_nothing_enters_before_every_venue_agrees() -> None:
    scene = opened(BTC, EUR)
    restart(scene)
    scene.brokers[MARGIN].faults = (Outage(scene.now, scene.now + HOUR),)
    for _ in range(3):
        look(scene)
    assert scene.engine.guard.state is TradingState.REDUCING
    assert scene.at_once(buy(BTC, qty=1.0)).dispositions == [Disposition.HALTED]
    scene.bar()
    look(scene)
    assert scene.engine.guard.state is TradingState.ACTIVE
    assert scene.at_once(buy(BTC, qty=1.0)).dispositions == [Disposition.SENT]


def test_a_latch_and_a_pause_outlive_a_process() -> None:
    scene = opened(BTC)
    scene.command(Act.PAUSE)
    restart(scene)
    look(scene)
    assert scene.engine.guard.state is TradingState.REDUCING and scene.engine.guard.paused
    scene.command(Act.EMERGENCY_STOP)
    restart(scene)
    look(scene)
    assert scene.engine.guard.state is TradingState.HALTED and "emergency stop" in scene.engine.guard.latches


# ---------------------------------------------------------------- the book


def a_book(state: BookState | None = None, time: Nanos = START, price: Price = 100.0) -> Book:
    accounts = Account(COINS, AccountKind.SPOT, USD), Account(MARGIN, AccountKind.MARGIN, USD)
    book = Book(Universe((BTC, EUR), accounts, USD), 30)
    book.observe(Quotes(time, (Quote(BTC.id, price), Quote(EUR.id, 1.25))))
    if state is not None:
        book.restore(state)
    return book


def deposit(venue: Venue, entry: str = "") -> CashFlow:
    return CashFlow(START, venue, None, Flow.DEPOSIT, 1_000.0, USD, entry=entry)


def agreed(venue: Venue) -> AccountRead:
    return AccountRead(START, venue, None, ((USD, 1_000.0),), ())


def bought(trade: str, time: Nanos = START, price: Price = 100.0) -> Filled:
    return Filled(time, COINS, OrderId("entry"), Fill(trade, BTC.id, 1.0, price, 0.0, USD, Cause.ENTRY), True)


def test_a_trade_that_is_told_again_after_a_restart_is_booked_once() -> None:
    book = a_book()
    for answer in (deposit(COINS), agreed(COINS), bought("1")):
        book.apply(answer)
    again = a_book(book.save())
    assert again.apply(bought("1")) == () and len(again.apply(bought("2"))) == 1
    assert again.ours(BTC.id).qty == 2.0


def test_what_may_be_told_again_is_not_forgotten() -> None:
    book = a_book()
    book.apply(bought("old"))
    book.apply(bought("new", START + DAY))
    book.forget(START + DAY)
    assert book.seen(COINS) == {"new"}
    book.forget(START + 10 * DAY)
    assert book.seen(COINS) == {"new"}, "the newest stays, to go on from"


def test_an_engine_remembers_trades_from_before_its_oldest_open_trade() -> None:
    scene = opened(BTC, ETH, signals=(buy(BTC, qty=1.0), buy(ETH, qty=1.0)))
    scene.bars(30, leave(ETH))
    scene.bars(24 * 6)
    assert len(scene.engine.book.seen(COINS)) == 3, "BTC is open: what happened since it was opened may be told again"
    scene.bar(None, leave(BTC))
    scene.bars(24 * 4)
    assert len(scene.engine.book.seen(COINS)) == 1


def test_an_opening_that_a_crash_cut_short_is_told_again() -> None:
    opening = deposit(MARGIN, "opening"), Found(START, MARGIN, None, Holding(EUR.id, 1_000.0, 1.25))
    book = a_book()
    for answer in (deposit(COINS), agreed(COINS), *opening):
        book.apply(answer)
    again = a_book(book.save())
    assert again.opened == {COINS} and again.equity == 1_000.0
    for answer in (*opening, agreed(MARGIN)):
        again.apply(answer)
    assert again.equity == 2_000.0 and again.held(EUR.id) == 1_000.0 and again.opened == {COINS, MARGIN}


def test_an_opening_that_is_told_again_is_no_drawdown() -> None:
    book = a_book()
    for answer in (deposit(COINS), agreed(COINS), deposit(MARGIN)):
        book.apply(answer)
    again = a_book(book.save())
    again.apply(deposit(MARGIN))
    assert again.unit.drawdown == 0.0 and again.unit.value == book.unit.value


def test_what_the_market_did_while_nobody_listened_is_gain_or_loss() -> None:
    book = a_book()
    for answer in (deposit(COINS), agreed(COINS), deposit(MARGIN), bought("1")):
        book.apply(answer)
    again = a_book(book.save(), START + DAY, 50.0)
    assert again.equity == 950.0 and again.unit.drawdown == pytest.approx(0.05)


def test_an_account_that_is_no_longer_traded_takes_its_money_along() -> None:
    book = a_book()
    for answer in (deposit(COINS), agreed(COINS), deposit(MARGIN), agreed(MARGIN)):
        book.apply(answer)
    alone = Book(Universe((BTC,), (Account(COINS, AccountKind.SPOT, USD),), USD), 30)
    alone.restore(book.save())
    assert alone.equity == 1_000.0 and alone.unit.drawdown == 0.0 and alone.opened == {COINS}
