"""A broker's thread: what reduces risk leaves first, no question waits twice, and the account is read on quiet days."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import contextmanager
from threading import Event
from typing import Any

import pytest

from ffe.live.background import BackgroundBroker
from ffe.model import (
    SECOND,
    Accepted,
    Answer,
    AssetClass,
    Bars,
    Cancel,
    Enter,
    Exit,
    InstrumentId,
    Intent,
    Nanos,
    Order,
    OrderId,
    Protect,
    Purpose,
    Query,
    Quotes,
    Side,
    Venue,
)  # fmt: skip
from ffe.risk.gatekeeper import Reducer
from ffe.risk.limits import GateLimits

HERE, BTC, ETH = Venue("here"), InstrumentId("here:BTC/USDT"), InstrumentId("here:ETH/USDT")


class Scripted:
    """A broker that writes down what reaches it, waits where the test says so, and answers each order."""

    venue = HERE

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.held: dict[str, Event] = {}  # what it does not return from before the event is set
        self.reached = Event()
        self.waits: set[InstrumentId] = set()
        self.told: list[Answer] = []
        self.breaks = self.is_in_doubt = False

    @property
    def waiting(self) -> Set[InstrumentId]:
        return self.waits

    def send(self, order: Order, time: Nanos) -> None:
        self._do(name(order))
        if not isinstance(order, Cancel | Query):
            self.told.append(Accepted(time, HERE, order.id))

    def work(self, market: Bars | Quotes) -> None:
        self._do("look")

    def _do(self, what: str) -> None:
        if self.breaks:
            raise RuntimeError("a bug of ours")
        self.sent.append(what)
        self.reached.set()
        if what in self.held:
            self.held[what].wait(5.0)

    def answers(self) -> Sequence[Answer]:
        told, self.told = self.told, []
        return told


def name(order: Order) -> str:
    match order:
        case Cancel():
            return f"cancel {order.order}"
        case Query():
            return f"ask {order.order}"
    return f"{type(order).__name__.lower()} {order.id}"


def approved(instrument: InstrumentId = BTC) -> object:
    intent = Intent(Purpose.EXIT, instrument, Side.SHORT, 1.0, 100.0, None, None, "a test")
    return Reducer(GateLimits()).reduce(intent, 1.0, AssetClass.CRYPTO)


def enter(id: str, instrument: InstrumentId = BTC) -> Enter:
    return Enter(OrderId(id), approved(instrument), 100.0)  # type: ignore[arg-type]


def leave(id: str, instrument: InstrumentId = BTC) -> Exit:
    return Exit(OrderId(id), approved(instrument))  # type: ignore[arg-type]


def protect(id: str) -> Protect:
    return Protect(OrderId(id), approved(), 90.0, 110.0)  # type: ignore[arg-type]


def cancel(id: str) -> Cancel:
    return Cancel(HERE, OrderId(id))


def ask(id: str) -> Query:
    return Query(HERE, OrderId(id))


def market(at: float = 1.0) -> Quotes:
    return Quotes(int(at * SECOND), ())


def until(what: Callable[[], object]) -> None:
    deadline = time.monotonic() + 5.0
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.001)


@contextmanager
def held(scripted: Scripted, background: BackgroundBroker) -> Iterator[None]:
    """The thread stands in a first question while the test gives it more to do."""
    event = scripted.held["ask first"] = Event()
    background.send(ask("first"), 0)
    scripted.reached.wait(5.0)
    yield
    event.set()


@pytest.fixture
def scripted() -> Scripted:
    return Scripted()


Start = Callable[..., BackgroundBroker]


@pytest.fixture
def start(scripted: Scripted) -> Iterator[Start]:
    """Background brokers, ended whatever becomes of the test: a thread that waits would keep the process."""
    made: list[BackgroundBroker] = []

    def make(wake: Callable[[], None] = lambda: None, **how: Any) -> BackgroundBroker:
        made.append(BackgroundBroker(scripted, wake, **how))
        return made[-1]

    yield make
    for event in scripted.held.values():
        event.set()
    for one in made:
        one.stop(5.0)


@pytest.fixture
def background(start: Start) -> BackgroundBroker:
    return start(look_every=0.0)


def order_of(scripted: Scripted, background: BackgroundBroker, *orders: Order) -> list[str]:
    """In which order these leave, given in one go while the thread is busy."""
    with held(scripted, background):
        for order in orders:
            background.send(order, 0)
    until(lambda: len(scripted.sent) == len(orders) + 1)
    return scripted.sent[1:]


def test_exit_leaves_before_entries_and_questions(scripted: Scripted, background: BackgroundBroker) -> None:
    """An entry asks for price and clock first: two questions to a venue that may hang."""
    given = ask("a"), enter("b", ETH), protect("c"), leave("d"), cancel("e")
    assert order_of(scripted, background, *given) == ["protect c", "exit d", "cancel e", "enter b", "ask a"]


def test_cancellation_does_not_overtake_its_entry(scripted: Scripted, background: BackgroundBroker) -> None:
    """The venue would know no such order, and the entry would come after it."""
    given = enter("a"), enter("b", ETH), cancel("b"), leave("c")
    assert order_of(scripted, background, *given) == ["exit c", "enter a", "enter b", "cancel b"]


def test_cancellation_does_not_overtake_an_entry_that_is_leaving(
    scripted: Scripted, background: BackgroundBroker
) -> None:
    event = scripted.held["enter a"] = Event()
    background.send(enter("a"), 0)
    scripted.reached.wait(5.0)
    background.send(cancel("a"), 0)
    event.set()
    until(lambda: len(scripted.sent) == 2)
    assert scripted.sent == ["enter a", "cancel a"]


def test_question_that_waits_is_not_put_again(scripted: Scripted, background: BackgroundBroker) -> None:
    assert order_of(scripted, background, ask("a"), ask("b")) == ["ask a", "ask b"]
    scripted.sent.clear()
    with held(scripted, background):
        for _ in range(5):
            background.send(ask("a"), 0)
            background.work(market())
    until(lambda: len(scripted.sent) == 3)
    time.sleep(0.02)
    assert scripted.sent == ["ask first", "ask a", "look"]
    assert background.answers() == [], "and its thread lives on"


def test_question_is_put_again_once_it_was_answered(scripted: Scripted, background: BackgroundBroker) -> None:
    for n in range(1, 4):
        background.send(ask("a"), 0)
        until(lambda n=n: len(scripted.sent) == n)
        time.sleep(0.005)
    assert scripted.sent == ["ask a"] * 3


def test_instruments_of_orders_that_have_not_left_are_waiting(scripted: Scripted, background: BackgroundBroker) -> None:
    with held(scripted, background):
        background.send(enter("a", ETH), 0)
        background.send(leave("b", BTC), 0)
        assert background.waiting == {BTC, ETH}
    until(lambda: not background.waiting)


def test_instrument_waits_while_its_order_is_leaving_and_while_it_waits_at_the_venue(
    scripted: Scripted, background: BackgroundBroker
) -> None:
    event = scripted.held["exit a"] = Event()
    background.send(leave("a"), 0)
    scripted.reached.wait(5.0)
    assert background.waiting == {BTC}
    scripted.waits = {BTC}
    event.set()
    until(lambda: not background._first)
    assert background.waiting == {BTC}


@pytest.mark.parametrize(("period", "reads"), [(0.0, 3), (300.0, 0)])
def test_account_is_read_on_quiet_days(scripted: Scripted, start: Start, period: float, reads: int) -> None:
    """A trade by hand makes no fill of ours: nothing but a reading of the account shows it."""
    background = start(read_every=period, look_every=0.0)
    for n in range(1, 4):
        background.work(market(n))
        until(lambda n=n: scripted.sent.count("look") == n)
    background.stop(5.0)  # what is asked behind the last look is asked
    assert scripted.sent.count("ask None") == reads


def test_account_is_read_once_a_period(scripted: Scripted, start: Start) -> None:
    now = [0.0]
    background = start(read_every=300.0, look_every=0.0, clock=lambda: now[0])
    for n, at in enumerate([299.0, 300.0, 301.0, 599.0, 600.0], 1):
        now[0] = at
        background.work(market(n))
        until(lambda n=n: scripted.sent.count("look") == n and not background._questions)
        time.sleep(0.01)
    background.stop(5.0)
    assert scripted.sent == ["look", "look", "ask None", "look", "look", "look", "ask None"]


def test_what_has_happened_is_asked_for_every_two_seconds_however_many_prices_come(
    scripted: Scripted, start: Start
) -> None:
    now = [0.0]
    background = start(clock=lambda: now[0])
    for n, (at, looks) in enumerate([(0.0, 1), (0.5, 1), (1.9, 1), (2.0, 2), (3.9, 2), (4.1, 3)]):
        now[0] = at
        background.work(market(n))
        background.send(leave(str(n)), n)
        until(lambda n=n, looks=looks: len(scripted.sent) == n + 1 + looks)
        assert scripted.sent.count("look") == looks
    background.stop(5.0)


def test_what_a_look_left_in_doubt_is_looked_at_again_at_the_next_heartbeat(scripted: Scripted, start: Start) -> None:
    """A stop that the price jumped was known for one that does not fill only after two looks, four seconds in all."""
    now = [0.0]
    background = start(clock=lambda: now[0])
    beats = [(0.0, True, 1), (0.4, True, 1), (0.95, True, 2), (1.95, False, 3), (2.95, False, 3), (3.95, False, 4)]
    for n, (at, is_in_doubt, looks) in enumerate(beats):
        now[0], scripted.is_in_doubt = at, is_in_doubt
        background.work(market(n))
        background.send(leave(str(n)), n)
        until(lambda n=n, looks=looks: len(scripted.sent) == n + 1 + looks and not background._first)
        time.sleep(0.01)
        assert scripted.sent.count("look") == looks
    background.stop(5.0)


def test_answers_are_kept_and_the_feed_is_woken(scripted: Scripted, start: Start) -> None:
    woken = Event()
    background = start(woken.set)
    background.send(leave("a"), 7)
    assert woken.wait(5.0)
    assert background.answers() == [Accepted(7, HERE, OrderId("a"))] and background.answers() == []
    background.stop(5.0)


def test_bug_in_the_thread_wakes_the_feed_and_breaks_the_caller(scripted: Scripted, start: Start) -> None:
    woken = Event()
    background = start(woken.set)
    scripted.breaks = True
    background.send(leave("a"), 0)
    assert woken.wait(5.0)
    until(lambda: background._thread.done())
    with pytest.raises(RuntimeError, match="a bug of ours"):
        background.answers()


def test_end_does_what_is_still_to_be_done(scripted: Scripted, background: BackgroundBroker) -> None:
    with held(scripted, background):
        background.send(ask("a"), 0)
        background.send(leave("b"), 0)
    background.stop(5.0)
    assert scripted.sent == ["ask first", "exit b", "ask a"]


def test_end_waits_no_longer_than_its_patience(scripted: Scripted, background: BackgroundBroker) -> None:
    scripted.held["exit a"] = Event()
    background.send(leave("a"), 0)
    began = time.monotonic()
    background.stop(0.1)
    assert 0.05 < time.monotonic() - began < 2.0
