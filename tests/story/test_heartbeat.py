"""Time without prices: what expires or is asked again is judged by it, and no strategy sees it."""

from __future__ import annotations

from ffe.model import DAY, HOUR, SECOND, AccountRead, Disposition, Failed, Fault, Heartbeat, Query, Quotes, Signal
from ffe.strategy import View
from tests.story.scene import BTC, COINS, ETH, SOL, USD, Scene, buy


def test_queue_expires_by_time_alone() -> None:
    scene = Scene(BTC, ETH, SOL)
    scene.bar(None, *(buy(i, qty=1.0) for i in (BTC, ETH, SOL)))
    waits = scene.told.decisions[-1]
    assert waits.disposition is Disposition.QUEUED
    assert not scene.beat(scene.now + DAY - SECOND).decisions
    (ended,) = scene.beat(waits.time + DAY + SECOND).decisions
    assert (ended.disposition, ended.follows) == (Disposition.DROPPED, waits.id)


def test_account_in_doubt_is_asked_for_every_three_seconds_without_a_price() -> None:
    scene = Scene(BTC)
    scene.bar()
    scene.step(AccountRead(scene.now, COINS, None, ((USD, 1.0),), ()))
    begun = scene.now
    scene.brokers[COINS].faults = ()
    asked = []
    for n in range(1, 9):
        step = scene.engine.step(Heartbeat(begun + n * SECOND))
        asked += [n for order in step.orders if order == Query(COINS, None)]
        if step.orders:
            scene.engine.step(AccountRead(begun + n * SECOND, COINS, None, ((USD, 1.0),), ()))
    assert asked == [1, 4, 7]


def test_silent_venue_is_asked_without_a_price_until_it_answers() -> None:
    scene = Scene(BTC)
    scene.bar()
    scene.engine.step(Failed(scene.now, COINS, None, Fault.TIMEOUT, True))
    told = scene.beat(scene.now + 4 * SECOND)
    assert Query(COINS, None) in told.orders and any(isinstance(a, AccountRead) for a in told.answers)
    assert not scene.beat(scene.now + 10 * SECOND).orders


class Listens:
    """A strategy that keeps what it is shown."""

    def __init__(self) -> None:
        self.shown: list[type] = []

    def on_event(self, view: View) -> tuple[Signal, ...]:
        self.shown.append(type(view.event))
        return ()


def test_strategy_sees_no_heartbeat() -> None:
    scene = Scene(BTC)
    scene.bar()
    scene.engine.strategy = strategy = Listens()
    scene.beat(scene.now + SECOND)
    scene.quote(scene.now + SECOND, {BTC: 100.0})
    assert strategy.shown == [Quotes]


def test_heartbeat_of_a_new_day_begins_no_day() -> None:
    """A day rolls by its midnight; a heartbeat that leads to nothing must leave no trace."""
    scene = Scene(BTC)
    scene.bar()
    before = repr(scene.engine.save())
    assert scene.engine.step(Heartbeat(scene.now + 30 * HOUR)).is_quiet
    assert repr(scene.engine.save()) == before
