"""What waits and how a wait ends: in order, at most eight, for a day, not much dearer, not against a newer signal."""

from __future__ import annotations

import pytest

from ffe.model import HOUR, DecisionId, Disposition, InstrumentId, Price, Side, Signal
from ffe.risk.limits import SlotRules
from ffe.risk.queue import Ended, Queue, Waiting
from tests.risk.values import BTC, ETH, START

QUEUED, WAITING, REVERSING = Disposition.QUEUED, Disposition.WAITING, Disposition.REVERSING


def signal(side: Side = Side.LONG, instrument: InstrumentId = BTC.id) -> Signal:
    return Signal(instrument, side, 90, "provider")


def waiting(
    kind: Disposition = QUEUED, side: Side = Side.LONG, instrument: InstrumentId = BTC.id, decision: str = "d",
    slot: int | None = None,
) -> Waiting:  # fmt: skip
    return Waiting(kind, signal(side, instrument), START, 100.0, DecisionId(decision), slot)


def queue(*items: Waiting) -> Queue:
    new = Queue(SlotRules())
    for item in items:
        new.put(item)
    return new


def ends(of: Queue, *signals: Signal, price: Price = 100.0, hours: int = 1) -> list[str]:
    ended = [*of.overruled(signals), *of.outlived(START + hours * HOUR, {BTC.id: price})]
    return [each.why for each in ended]


def test_first_in_is_first_out() -> None:
    one, two = waiting(decision="1"), waiting(instrument=ETH.id, decision="2")
    new = queue(one, two)
    assert (new.items, new.of(BTC.id), new.of(ETH.id)) == ([one, two], one, two)
    new.remove(one)
    assert (new.items, new.of(BTC.id)) == ([two], None)


def test_queue_is_true_while_something_waits() -> None:
    assert not queue()
    assert queue(waiting())


def test_eight_wait_for_a_slot_and_others_do_not_count() -> None:
    new = queue(*[waiting(decision=str(n)) for n in range(7)], waiting(WAITING), waiting(REVERSING, slot=0))
    assert not new.is_full
    new.put(waiting(decision="8"))
    assert new.is_full
    assert Queue(SlotRules(queue_length=0)).is_full


def test_slots_are_kept_for_reversals() -> None:
    assert queue(waiting(), waiting(REVERSING, slot=1), waiting(REVERSING, slot=0)).reversal_slots() == {0, 1}


@pytest.mark.parametrize("side", [Side.SHORT, Side.FLAT])
@pytest.mark.parametrize("kind", [QUEUED, WAITING, REVERSING])
def test_newer_opposite_signal_ends_every_wait(kind: Disposition, side: Side) -> None:
    new = queue(waiting(kind))
    assert ends(new, signal(side)) == ["a newer opposite signal"]
    assert not new


def test_signal_of_the_same_side_or_for_another_instrument_ends_nothing() -> None:
    new = queue(waiting())
    assert ends(new, signal(), signal(Side.SHORT, ETH.id)) == []
    assert len(new.items) == 1


def test_wait_for_a_slot_expires_after_a_day() -> None:
    new = queue(waiting())
    assert ends(new, hours=24) == []
    assert [ended.why for ended in new.outlived(START + 24 * HOUR + 1, {})] == ["expired after 24 h"]


def test_waits_for_a_session_or_for_flat_do_not_expire() -> None:
    assert ends(queue(waiting(WAITING), waiting(REVERSING, slot=0)), hours=1000, price=200.0) == []


@pytest.mark.parametrize(("side", "price", "over"), [
    (Side.LONG, 101.0, False), (Side.LONG, 101.0001, True), (Side.LONG, 50.0, False),
    (Side.SHORT, 99.0, False), (Side.SHORT, 98.9999, True), (Side.SHORT, 150.0, False),
])  # fmt: skip
def test_wait_ends_when_the_price_is_one_percent_dearer(side: Side, price: Price, over: bool) -> None:
    why = ends(queue(waiting(side=side)), price=price)
    assert why == ([f"price {price!r} is more than 1.0% dearer than 100.0"] if over else [])


def test_price_that_is_not_known_ends_nothing() -> None:
    assert queue(waiting()).outlived(START, {}) == []
    assert ends(queue(waiting()), price=float("nan")) == []


def test_ends_are_said_one_by_one_and_the_others_go_on_waiting() -> None:
    one, two, three = waiting(decision="1"), waiting(instrument=ETH.id, decision="2"), waiting(decision="3")
    new = queue(one, two, three)
    assert new.overruled((signal(Side.SHORT),)) == [
        Ended(one, "a newer opposite signal"),
        Ended(three, "a newer opposite signal"),
    ]
    assert new.items == [two]


def test_halt_ends_every_wait() -> None:
    one, two = waiting(decision="1"), waiting(WAITING, decision="2")
    new = queue(one, two)
    assert new.clear("emergency stop") == [Ended(one, "emergency stop"), Ended(two, "emergency stop")]
    assert not new


def test_closing_one_instrument_ends_its_wait_alone() -> None:
    one, two = waiting(decision="1"), waiting(instrument=ETH.id, decision="2")
    new = queue(one, two)
    assert new.clear("close", ETH.id) == [Ended(two, "close")] and new.items == [one]
