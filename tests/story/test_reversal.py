"""A reversal is two decisions: an exit of the whole, now, and an entry reviewed as if flat that inherits the slot."""

from __future__ import annotations

import pytest

from ffe.brokers.faults import Reject, Timeout
from ffe.model import DAY, Act, Disposition, Enter, Exit, Filled, Layer, Side, Status
from tests.story.scene import BTC, CHF, EUR, GBP, MARGIN, START, AnyFault, Scene, Told, buy, fact, sell, status

FRIDAY = START + 4 * DAY


def long(*faults: AnyFault, **more: object) -> Scene:
    """EUR was bought at the close of the first hour."""
    scene = Scene(EUR, GBP, CHF, faults={MARGIN: faults}, **more)
    scene.bar(None, buy(EUR))
    scene.bar()
    return scene


def fills(told: Told) -> list[tuple[int, float]]:
    """Side and price of every fill."""
    found = [event.fill for event in told.answers if isinstance(event, Filled)]
    return [(1 if fill.qty > 0.0 else -1, fill.price) for fill in found]


def test_exit_and_entry_are_two_decisions_at_the_same_open() -> None:
    scene = long()
    told = scene.bar(None, sell(EUR))
    exited, waiting = told.decisions
    assert (exited.disposition, exited.reason) == (Disposition.SENT, "signal")
    assert (waiting.disposition, waiting.signal.side) == (Disposition.REVERSING, Side.SHORT)
    told = scene.bar({EUR: (1.251, 1.251, 1.251, 1.251)})
    assert told.decision.disposition is Disposition.SENT and told.decision.follows == waiting.id
    assert fills(told) == [(-1, 1.251), (-1, 1.251)]
    assert scene.ours(EUR) < 0.0 and [o.cause for o in told.outcomes] == ["signal"]


def test_the_entry_is_reviewed_as_if_flat() -> None:
    scene = long()
    first = scene.told.decisions[0]
    waiting = scene.bar(None, sell(EUR)).decisions[1]
    assert waiting.intent.qty == first.intent.qty
    for layer in (Layer.CONCENTRATION, Layer.LEVERAGE, Layer.CORRELATION):
        assert fact(waiting, layer) == fact(first, layer)


def test_it_inherits_the_slot_though_others_wait() -> None:
    scene = long()
    scene.bar(None, buy(GBP))
    scene.bar(None, buy(CHF))
    scene.bar(None, sell(EUR))
    scene.bar()
    assert scene.slots() == {0: (EUR.id, "open"), 1: (GBP.id, "open")}
    assert not scene.told.of(Enter, CHF) and scene.ours(EUR) < 0.0


def test_nor_does_one_that_waits_take_it_while_the_exit_is_late() -> None:
    scene = long(Reject(5), Reject(6))
    scene.bar(None, buy(GBP))
    scene.bar(None, buy(CHF))
    scene.bar(None, sell(EUR))
    scene.bars(3)
    assert scene.slots() == {0: (EUR.id, "open"), 1: (GBP.id, "open")} and scene.ours(EUR) < 0.0
    assert not scene.told.of(Enter, CHF)


def test_a_signal_for_another_that_comes_with_it_does_not_take_the_slot() -> None:
    scene = long()
    scene.bar(None, buy(GBP))
    told = scene.bar(None, sell(EUR), buy(CHF))
    assert told.dispositions == [Disposition.SENT, Disposition.REVERSING, Disposition.QUEUED]


def test_the_exit_leaves_though_the_entry_is_refused() -> None:
    scene = Scene(BTC)
    scene.bar(None, buy(BTC))
    scene.bar()
    told = scene.bar(None, sell(BTC))
    assert told.dispositions == [Disposition.SENT, Disposition.NOT_TRADABLE]
    scene.bar()
    assert scene.ours(BTC) == 0.0 and not scene.slots()


def test_nothing_leaves_before_flat_is_proven() -> None:
    """The exit and its answer are lost: another leaves, and the entry waits until that has filled and the first can no
    longer arrive."""
    scene = long(Timeout(3))
    scene.bar(None, sell(EUR))
    told = [scene.bar() for _ in range(5)]
    entries = [len(each.of(Enter)) for each in told]
    exits = [len(each.of(Exit)) for each in told]
    assert (exits, entries) == ([1, 0, 0, 0, 0], [0, 1, 0, 0, 0])
    assert scene.ours(EUR) < 0.0
    assert len({order.id for order in scene.told.orders if isinstance(order, Exit)}) == 2


def test_where_time_has_passed_it_is_reviewed_again() -> None:
    scene = long(Reject(3))  # the exit leaves an hour late
    waiting = scene.bar(None, sell(EUR)).decisions[1]
    scene.bar({EUR: 1.252})
    (again,) = [decision for decision in scene.bar().decisions if decision.follows]
    assert (again.disposition, again.follows) == (Disposition.SENT, waiting.id)
    assert again.intent.price == 1.252 != waiting.intent.price


def test_over_a_weekend_it_is_reviewed_again_at_the_open() -> None:
    """Its last bar of the week is missing, so that the next open is Sunday's."""
    scene = Scene(EUR, BTC, start=FRIDAY)
    scene.bar(None, buy(EUR))
    scene.bars(19)
    waiting = scene.bar(None, sell(EUR)).decisions[1]
    assert waiting.disposition is Disposition.REVERSING
    scene.bar(missing=[EUR])
    assert not scene.bars(48).orders
    scene.last[EUR.id] = 1.26
    told = scene.bar()
    assert fills(told) == [(-1, 1.26), (-1, 1.26)]
    assert (told.decision.follows, told.decision.intent.price) == (waiting.id, 1.26)
    assert fact(told.decision, Layer.FRESHNESS) == 0.0


def test_a_daily_one_at_fridays_close_waits_for_sundays_open() -> None:
    scene = Scene(EUR, interval=DAY, start=START + 22 * DAY // 24)
    scene.bar(None, buy(EUR))
    scene.bars(2)
    exited, waiting = scene.bar(None, sell(EUR)).decisions  # Friday's close, 22:00 UTC
    assert (exited.disposition, waiting.disposition) == (Disposition.SENT, Disposition.WAITING)
    assert status(waiting, Layer.MARKET_HOURS) is Status.REFUSED and waiting.slot == 0
    assert not scene.bars(2).orders
    scene.last[EUR.id] = 1.26
    told = scene.bar()
    assert fills(told) == [(-1, 1.26), (-1, 1.26)] and told.decision.intent.price == 1.26


@pytest.mark.parametrize("act", [Act.EMERGENCY_STOP, Act.PAUSE])
def test_a_halt_drops_the_entry_and_not_the_exit(act: Act) -> None:
    scene = long()
    scene.bar(None, sell(EUR))
    told = [scene.command(act), scene.bar()]
    (ended,) = [d for each in told for d in each.decisions]
    assert ended.disposition is (Disposition.DROPPED if act is Act.EMERGENCY_STOP else Disposition.HALTED)
    assert scene.ours(EUR) == 0.0 and not scene.slots() and not any(each.of(Enter) for each in told)


def test_a_newer_opposite_signal_drops_the_entry() -> None:
    scene = long(Reject(3))  # the exit leaves an hour late
    scene.bar(None, sell(EUR))
    told = scene.bar(None, buy(EUR))
    assert (Disposition.DROPPED, "a newer opposite signal") in [(d.disposition, d.reason) for d in told.decisions]
    assert scene.bars(2) and scene.ours(EUR) == 0.0


def test_turning_round_twice_ends_where_the_last_signal_says() -> None:
    scene = long()
    for signal in (sell(EUR), buy(EUR), sell(EUR)):
        scene.bar(None, signal)
    scene.bar()
    assert scene.ours(EUR) < 0.0
    assert [o.side for o in scene.told.outcomes] == [Side.LONG, Side.SHORT, Side.LONG]
