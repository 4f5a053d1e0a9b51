"""Orders that might exist: an answer that never came holds the slot until the order is found or proven gone."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from ffe.brokers.faults import AnyFault, Chaos, Fault, NoAnswer, Outage, Reject, Timeout
from ffe.model import (
    HOUR,
    MINUTE,
    SECOND,
    AccountRead,
    Bars,
    Cancelled,
    Cause,
    Disposition,
    Enter,
    Exit,
    Failed,
    Fill,
    Filled,
    Known,
    Protect,
    Query,
    Rejected,
    Report,
)  # fmt: skip
from tests.story.scene import BTC, COINS, ETH, SOL, START, USD, Scene, buy, leave


def entered(*faults: AnyFault, **more: object) -> Scene:
    """BTC was bought at the close of the first bar."""
    scene = Scene(BTC, ETH, SOL, faults={COINS: faults}, **more)
    scene.bar(None, buy(BTC, qty=100.0))
    return scene


AMBIGUOUS = [Fault.TIMEOUT, Fault.DISCONNECTED, Fault.SERVER_ERROR, Fault.UNREADABLE]


@pytest.mark.parametrize("fault", AMBIGUOUS)
def test_an_entry_that_arrived_is_found_by_asking_and_counted_once(fault: Fault) -> None:
    scene = entered(NoAnswer(1, accepted=True, fault=fault))
    assert [type(a) for a in scene.told.answers[-2:]] == [Failed, Report]
    scene.bars(3)
    assert scene.ours(BTC) == scene.at_venue(BTC) == 100.0
    assert len(scene.told.of(Enter)) == 1 and scene.slots() == {0: (BTC.id, "open")}
    assert scene.resting(BTC) is not None


@pytest.mark.parametrize("fault", AMBIGUOUS)
def test_an_entry_that_never_arrived_holds_its_slot_until_proven_gone(fault: Fault) -> None:
    """Bars of a minute; the venue's horizon is ninety seconds."""
    scene = entered(NoAnswer(1, accepted=False, fault=fault), interval=MINUTE)
    held = [scene.slots()]
    for _ in range(2):
        scene.bar()
        held.append(scene.slots())
    assert held == [{0: (BTC.id, "unknown")}] * 2 + [{}], "60 s, and then beyond the horizon"
    known = [a.state for a in scene.told.answers if isinstance(a, Report)]
    assert known == [Known.NOT_FOUND] * 4 and isinstance(scene.told.answers[-1], AccountRead)
    assert len(scene.told.of(Enter)) == 1 and scene.at_venue(BTC) == 0.0


def test_while_it_is_unknown_its_instrument_and_its_slot_are_taken() -> None:
    scene = entered(Timeout(1), interval=MINUTE)
    told = scene.bar(None, buy(BTC), buy(ETH), buy(SOL))
    assert told.dispositions == [Disposition.HOLD, Disposition.SENT, Disposition.QUEUED]
    assert told.decisions[1].judgement.facts[8] == pytest.approx(0.1 + 0.2375)


def test_it_is_not_gone_while_the_positions_disagree() -> None:
    """Nobody finds the order, and yet the venue holds what it would have bought."""
    scene = entered(Timeout(1), interval=MINUTE)
    scene.bar()
    lost = Report(scene.now + 91 * SECOND, COINS, scene.told.of(Enter)[0].id, Known.NOT_FOUND)
    cash = (("USD", scene.engine.book.cash(COINS, USD)),)
    scene.engine.step(lost)
    scene.engine.step(AccountRead(lost.time, COINS, None, cash, ((BTC.id, 100.0),)))
    assert scene.slots() == {0: (BTC.id, "unknown")}
    scene.engine.step(AccountRead(lost.time, COINS, None, cash, ()))
    assert not scene.slots()


def test_nobody_believes_that_it_is_gone_while_nobody_answers() -> None:
    """Nothing is heard for an hour, and what is not found within that is not proven."""
    scene = entered(Outage(START, START + HOUR), interval=MINUTE)
    scene.bars(58)
    assert scene.slots() == {0: (BTC.id, "unknown")}
    scene.bars(5)
    assert not scene.slots()


def test_a_lost_exit_is_sent_again_under_another_name() -> None:
    scene = entered(Timeout(3), interval=MINUTE)
    scene.bar(None, leave(BTC))
    scene.bars(5)
    first, second = (order.id for order in scene.told.of(Exit))
    assert first != second and scene.ours(BTC) == scene.at_venue(BTC) == 0.0


def test_an_exit_that_arrived_is_not_sent_again() -> None:
    scene = entered(Timeout(3, accepted=True))
    scene.bar(None, leave(BTC))
    scene.bars(3)
    assert len(scene.told.of(Exit)) == 1
    assert [(o.cause, o.qty) for o in scene.told.outcomes] == [("signal", 100.0)]


def test_a_fill_that_is_told_twice_is_one_fill() -> None:
    scene = entered()
    told = scene.bar()
    (filled,) = [a for a in told.answers if isinstance(a, Filled)]
    again = Report(scene.now, COINS, filled.order, Known.DONE, (filled.fill,))
    scene.step(filled, again, replace(filled, done=False))
    scene.bar()
    assert scene.ours(BTC) == 100.0 and len(scene.told.of(Protect)) == 1


def test_a_fill_that_only_the_report_tells_of_opens_the_trade() -> None:
    scene = entered(Timeout(1))
    (enter,) = scene.told.of(Enter)
    fill = Fill("coins-1", BTC.id, 100.0, 100.0, 0.0, USD, Cause.ENTRY)
    told = scene.step(Report(scene.now, COINS, enter.id, Known.DONE, (fill,)))
    assert scene.ours(BTC) == told.of(Protect)[0].approved.intent.qty == 100.0


def test_a_reply_lost_on_entry_and_stop_alike_still_ends_protected() -> None:
    scene = entered(Timeout(1, accepted=True), Timeout(2, accepted=True))
    scene.bars(2)
    assert scene.resting(BTC).approved.intent.qty == scene.ours(BTC) == 100.0


@pytest.mark.parametrize("seed", range(8))
def test_no_order_is_ever_sent_twice_and_every_one_ends(seed: int) -> None:
    scene = Scene(BTC, ETH, SOL, faults={COINS: [Chaos(seed, 0.4)]}, re_arms=True)
    for hour in range(120):
        price = 100.0 + (hour * (seed + 3)) % 7 - 3.0
        scene.bar({BTC: price, ETH: 200.0 - price}, *(buy(each, qty=20.0) for each in (BTC, ETH, SOL)))
        if hour % 9 == 8:
            scene.bar(None, leave(BTC), leave(ETH), leave(SOL))
    scene.brokers[COINS].faults = ()
    scene.bar(None, leave(BTC), leave(ETH), leave(SOL))
    scene.bars(5)
    ids = Counter(order.id for order in scene.told.orders if not isinstance(order, Query) and hasattr(order, "id"))
    assert len(ids) > 60 and set(ids.values()) == {1}
    assert scene.slots() == {} and all(scene.at_venue(each) == 0.0 for each in (BTC, ETH, SOL))


def test_ids_are_fit_for_every_venue() -> None:
    scene = entered()
    scene.bar()
    for order in scene.told.of(Enter) + scene.told.of(Protect):
        assert len(order.id) == 26 and set(order.id) <= set("abcdefghijklmnopqrstuvwxyz234567")


# ---------------------------------------------------------------- a stop that is no longer there


def test_a_stop_that_the_venue_has_lost_is_placed_again_once_it_is_proven_gone() -> None:
    """A venue may hide an order for a while; beyond its horizon, with positions agreeing, it is gone."""
    scene = entered(interval=MINUTE)
    scene.bar()
    stop = scene.resting(BTC)
    del scene.brokers[COINS]._resting[BTC.id]
    lost = Report(scene.now, COINS, stop.id, Known.NOT_FOUND)
    assert not scene.step(lost).orders, "hidden, perhaps"
    held = {**dict.fromkeys([BTC.id], 100.0)}
    cash = scene.engine.book.cash(COINS, USD)
    told = scene.step(
        replace(lost, time=scene.now + 90 * SECOND),
        AccountRead(scene.now + 90 * SECOND, COINS, None, ((USD, cash),), tuple(held.items())),
    )
    (again,) = told.of(Protect)
    assert (again.stop, again.approved.intent.qty) == (stop.stop, 100.0) and again.id != stop.id
    assert scene.resting(BTC) == again and scene.slots() == {0: (BTC.id, "open")}


def test_a_stop_that_made_way_for_an_exit_which_failed_is_put_back_at_once() -> None:
    scene = entered(interval=MINUTE)
    scene.bar()
    stop = scene.resting(BTC)
    scene.said[scene.now] = (leave(BTC),)
    (exit,) = scene.engine.step(Bars(scene.now, ())).orders
    del scene.brokers[COINS]._resting[BTC.id]
    made_way = Cancelled(scene.now, COINS, stop.id, "makes way for an exit")
    assert not scene.step(made_way).orders, "not beside the exit"
    (again,) = scene.step(Rejected(scene.now, COINS, exit.id, "the venue is busy")).orders
    assert isinstance(again, Protect) and scene.resting(BTC) == again
    assert len(scene.bar().of(Exit)) == 1, "and the exit is tried again"


def test_exit_and_stop_that_are_both_refused_are_both_tried_again_until_one_is_taken() -> None:
    scene = entered(*(Reject(n) for n in range(3, 40)), interval=MINUTE)
    scene.bar()
    stop = scene.resting(BTC)
    del scene.brokers[COINS]._resting[BTC.id]
    scene.bar(None, leave(BTC))
    told = scene.step(Cancelled(scene.now, COINS, stop.id, "makes way for an exit"))
    assert len(told.of(Protect)) == 1 and not scene.step(*told.answers[-1:]).orders, "one try at each event"
    told = [scene.bar() for _ in range(4)]
    assert [len(each.of(Exit)) for each in told] == [1] * 4
    assert [len(each.of(Protect)) for each in told] == [1] * 4


# ---------------------------------------------------------------- a venue that no longer knows us


def test_lost_credentials_latch_and_close_nothing() -> None:
    scene = entered()
    scene.bar()
    told = scene.step(Rejected(scene.now, COINS, None, "Invalid API-key", locked_out=True))
    assert [(c.what, c.after) for c in told.changes] == [("latch credentials", "halted")] and not told.orders
    assert scene.bar(None, buy(ETH)).dispositions == [Disposition.HALTED] and scene.ours(BTC) == 100.0


def test_a_question_that_may_not_be_asked_now_is_no_failure_of_the_venue() -> None:
    scene = entered(NoAnswer(1))
    breaker = scene.engine.breakers[COINS]
    before = breaker.numbers(scene.now)
    enter = scene.told.of(Enter)[0].id
    scene.engine.step(Bars(scene.now + SECOND, ()))  # asks for the order
    scene.step(Failed(scene.now, COINS, enter, Fault.RATE_LIMITED, query=True))
    after = breaker.numbers(scene.now)
    assert (after.failures, after.calls) == (before.failures, before.calls + 1)


def test_beyond_the_horizon_a_venue_that_disagrees_latches() -> None:
    """The order is not found, and the account holds what only that order could have bought."""
    scene = entered(Timeout(1), interval=MINUTE)
    scene.bar()
    beyond = scene.now + 91 * SECOND
    scene.engine.step(Report(beyond, COINS, scene.told.of(Enter)[0].id, Known.NOT_FOUND))
    read = AccountRead(beyond, COINS, None, ((USD, 90_000.0),), ((BTC.id, 100.0),))
    changes = [change for _ in range(3) for change in scene.engine.step(read).changes]
    assert [c.after for c in changes if c.what == "latch reconciliation"] == ["halted"]
    assert scene.slots() == {0: (BTC.id, "unknown")}, "what is not proven gone holds its slot"


def test_a_fill_that_is_ours_and_of_no_trade_halts() -> None:
    """More was bought than was sent, and the trade has ended meanwhile."""
    scene = entered()
    scene.bar(None, leave(BTC))
    scene.bar()
    fill = Fill("late", BTC.id, 1.0, 100.0, 0.0, USD, Cause.ENTRY)
    told = scene.engine.step(Filled(scene.now, COINS, None, fill, True, ours=True))
    assert [(c.what, c.after) for c in told.changes] == [("latch reconciliation", "halted")]


@pytest.mark.parametrize("ours", [None, False])
def test_a_fill_by_hand_is_a_disagreement_and_not_ours(ours: bool | None) -> None:
    scene = entered()
    scene.bar()
    fill = Fill("hand", BTC.id, 1.0, 100.0, 0.0, USD, Cause.HAND)
    told = scene.engine.step(Filled(scene.now, COINS, None, fill, True, ours))
    assert [c.after for c in told.changes] == ["reducing"] and scene.ours(BTC) == 100.0


def test_a_fill_of_an_order_whose_trade_has_ended_halts() -> None:
    """It was proven gone, by everything the venue had said, and filled all the same."""
    scene = entered(Timeout(1), interval=MINUTE)
    scene.bars(4)
    assert not scene.slots()
    enter = scene.told.of(Enter)[0].id
    fill = Fill("late", BTC.id, 100.0, 100.0, 0.0, USD, Cause.ENTRY)
    told = scene.engine.step(Filled(scene.now, COINS, enter, fill, done=True))
    assert [(c.what, c.after) for c in told.changes] == [("latch reconciliation", "halted")]
    assert not scene.engine.step(Filled(scene.now, COINS, enter, fill, done=True)).changes, "told twice, counted once"
