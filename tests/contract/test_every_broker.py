"""What every broker owes the engine, simulated or live: the same orders in, the same answers out."""

from __future__ import annotations

from collections.abc import Sequence
from types import UnionType

import pytest

from ffe.model import (
    SECOND,
    Accepted,
    AccountRead,
    Answer,
    Cancelled,
    CashFlow,
    Cause,
    Failed,
    Filled,
    Known,
    OrderId,
    Rejected,
    Report,
    Withheld,
)  # fmt: skip
from tests.contract.worlds import CASH, World


def kinds(answers: Sequence[Answer]) -> list[type[Answer]]:
    return [type(answer) for answer in answers]


def the(kind: type | UnionType, answers: Sequence[Answer]) -> Answer:
    (found,) = [answer for answer in answers if isinstance(answer, kind)]
    return found


def agrees(world: World) -> None:
    """What the venue says it holds is what its answers added up to."""
    read = the(AccountRead, world.send(world.ask()))
    assert world.book.breaks(read) == []


# ---------------------------------------------------------------- the account


def test_first_it_says_what_the_account_holds(world: World) -> None:
    flow, *read = world.open(world.mid)
    assert all(isinstance(each, AccountRead) for each in read)  # a live venue's ends its opening
    assert isinstance(flow, CashFlow) and flow.amount == CASH
    assert world.book.equity == CASH and not world.open(world.mid)
    agrees(world)


def test_what_its_answers_add_up_to_is_what_the_venue_holds(world: World) -> None:
    world.entered()
    agrees(world)
    world.bar(world.mid, world.mid, world.mid * 0.99, world.mid * 0.995)
    world.send(world.exit())
    world.open(world.mid * 0.995)
    agrees(world)
    assert world.held == world.at_venue() == 0.0 and world.book.equity < CASH


# ---------------------------------------------------------------- entries


def test_an_entry_fills_at_the_next_price_and_never_at_the_one_it_was_decided_at(world: World) -> None:
    world.open(world.mid)
    order = world.enter()
    assert kinds(world.send(order)) == [Accepted]
    (filled,) = world.open(world.mid * 1.01)
    assert isinstance(filled, Filled) and filled.order == order.id and filled.done
    assert (filled.fill.qty, filled.fill.cause) == (world.qty, Cause.ENTRY)
    assert filled.fill.price == pytest.approx(world.mid * 1.01, abs=world.instrument.tick)


def test_a_fee_says_its_currency_and_comes_out_of_what_was_bought(world: World) -> None:
    world.entered()
    if world.instrument.fee_in_base:
        assert world.held == pytest.approx(world.qty * (1.0 - world.instrument.fee), abs=1e-8)
    assert world.held == pytest.approx(world.at_venue(), abs=1e-9)


def test_an_entry_beyond_its_collar_is_cancelled_and_has_cost_nothing(world: World) -> None:
    world.open(world.mid)
    order = world.enter()
    world.send(order)
    (cancelled,) = world.open(world.mid * 1.021)
    assert isinstance(cancelled, Cancelled) and (cancelled.order, cancelled.reason) == (order.id, "COLLAR")
    assert not cancelled.venue_fault and world.at_venue() == 0.0


def test_a_refusal_is_final_and_no_failure(world: World) -> None:
    world.open(world.mid)
    world.refuse()
    order = world.enter()
    rejected = the(Rejected, world.send(order))
    assert rejected.order == order.id and rejected.reason
    assert not world.open(world.mid) and world.at_venue() == 0.0


def test_an_entry_that_cannot_be_paid_is_rejected(world: World) -> None:
    world.open(world.mid)
    told = world.send(world.enter(qty=round(2.0 * CASH / (world.mid * world.instrument.margin_rate))))
    told += world.open(world.mid)
    assert kinds([a for a in told if not isinstance(a, Accepted)]) == [Rejected]


def test_parts_are_told_as_they_come_and_only_the_last_is_the_last(world: World) -> None:
    world.open(world.mid)
    world.fill_in_parts(0.25, 0.25)
    world.send(world.enter())
    told = [world.open(world.mid) for _ in range(3)]
    assert [(a.fill.qty / world.qty, a.done) for each in told for a in each] == [
        (pytest.approx(0.25), False), (pytest.approx(0.25), False), (pytest.approx(0.5), True),
    ]  # fmt: skip
    agrees(world)


# ---------------------------------------------------------------- protection


def test_a_stop_rests_at_the_venue_for_what_it_protects(world: World) -> None:
    world.entered()
    stop = world.protect(world.mid * 0.98, world.mid * 1.05)
    assert kinds(world.send(stop)) == [Accepted]
    ((price, qty),) = world.stops_at_venue()
    assert price == pytest.approx(world.mid * 0.98) and qty == pytest.approx(world.held, abs=world.instrument.lot)
    assert not world.bar(world.mid, world.mid * 1.01, world.mid * 0.99, world.mid)


def test_a_touched_stop_fills_and_says_so(world: World) -> None:
    world.entered()
    stop = world.protect(world.mid * 0.98, world.mid * 1.05)
    world.send(stop)
    (filled,) = world.bar(world.mid, world.mid, world.mid * 0.97, world.mid * 0.975)
    assert isinstance(filled, Filled) and (filled.order, filled.fill.cause) == (stop.id, Cause.STOP)
    assert filled.done and filled.fill.price == pytest.approx(world.mid * 0.98)
    assert abs(world.held) < world.instrument.lot and not world.stops_at_venue()
    agrees(world)


def test_a_stop_that_is_gapped_through_fills_at_the_open(world: World) -> None:
    world.entered()
    world.send(world.protect(world.mid * 0.98, world.mid * 1.05))
    told = world.bar(world.mid * 0.95, world.mid * 0.95, world.mid * 0.95, world.mid * 0.95)
    assert the(Filled, told).fill.price == pytest.approx(world.mid * 0.95)


def test_a_new_stop_takes_the_place_of_the_old_one(world: World) -> None:
    world.entered()
    old = world.protect(world.mid * 0.98, world.mid * 1.05)
    world.send(old)
    new = world.protect(world.mid * 0.99, world.mid * 1.05, replaces=old.id)
    assert kinds(world.send(new)) == [Accepted]
    assert [price for price, _ in world.stops_at_venue()] == [pytest.approx(world.mid * 0.99)]


def test_a_successor_that_is_refused_leaves_no_doubt_about_the_old_stop(world: World) -> None:
    """Either the old one still rests, or the venue says that it does not."""
    world.entered()
    old = world.protect(world.mid * 0.98, world.mid * 1.05)
    world.send(old)
    world.refuse()
    new = world.protect(world.mid * 0.99, world.mid * 1.05, replaces=old.id)
    told = world.send(new)
    assert the(Rejected, told).order == new.id
    gone = [a for a in told if isinstance(a, Cancelled) and a.order == old.id]
    assert bool(gone) is not bool(world.stops_at_venue())


def test_a_stop_needs_something_to_protect(world: World) -> None:
    world.entered()
    stop = world.protect(world.mid * 0.98, world.mid * 1.05)
    world.send(world.exit())
    world.open(world.mid)
    assert the(Rejected | Withheld, world.send(stop)).order == stop.id and not world.stops_at_venue()


# ---------------------------------------------------------------- exits


def test_an_exit_leaves_at_the_next_price_whatever_rests(world: World) -> None:
    world.entered()
    stop = world.protect(world.mid * 0.98, world.mid * 1.05)
    world.send(stop)
    order = world.exit()
    told = world.send(order) + world.open(world.mid * 1.01)
    assert the(Filled, told).order == order.id and the(Filled, told).fill.cause is Cause.EXIT
    assert abs(world.held) < world.instrument.lot
    if world.stops_at_venue():
        world.send(world.cancel(stop.id))
    else:
        assert the(Cancelled, told).order == stop.id
    assert not world.stops_at_venue()
    agrees(world)


# ---------------------------------------------------------------- taking back, and asking


def test_what_is_taken_back_is_cancelled_once_and_reported_ever_after(world: World) -> None:
    world.entered()
    stop = world.protect(world.mid * 0.98, world.mid * 1.05)
    world.send(stop)
    (cancelled,) = world.send(world.cancel(stop.id))
    assert isinstance(cancelled, Cancelled) and cancelled.order == stop.id and not cancelled.venue_fault
    (report,) = world.send(world.cancel(stop.id))
    assert isinstance(report, Report) and report.state is Known.DONE and not world.stops_at_venue()


def test_an_entry_under_way_can_be_taken_back(world: World) -> None:
    world.open(world.mid)
    order = world.enter()
    world.send(order)
    assert the(Cancelled, world.send(world.cancel(order.id))).order == order.id
    assert not world.open(world.mid) and world.at_venue() == 0.0


def test_an_order_is_known_by_our_own_id(world: World) -> None:
    world.open(world.mid)
    order = world.enter()
    world.send(order)
    assert the(Report, world.send(world.ask(order.id))).state is Known.WORKING
    world.open(world.mid)
    (report,) = world.send(world.ask(order.id))
    assert report.state is Known.DONE and [fill.qty for fill in report.fills] == [world.qty]


def test_an_order_that_never_was_is_not_found(world: World) -> None:
    world.open(world.mid)
    (report,) = world.send(world.ask(OrderId("n" * 26)))
    assert report.state is Known.NOT_FOUND and not report.fills


def test_a_report_repeats_fills_and_the_book_counts_them_once(world: World) -> None:
    order = world.entered()
    held = world.held
    for _ in range(2):
        world.send(world.ask(order.id))
    assert world.held == held
    agrees(world)


# ---------------------------------------------------------------- answers that never come


@pytest.mark.parametrize("accepted", [True, False])
def test_a_lost_answer_leaves_the_order_unknown_and_asking_ends_that(world: World, accepted: bool) -> None:
    world.open(world.mid)
    world.lose_answer(accepted)
    order = world.enter()
    (failed,) = world.send(order)
    assert isinstance(failed, Failed) and failed.order == order.id and not failed.query
    world.open(world.mid)
    told = world.send(world.ask(order.id))
    assert the(Report, told).state is (Known.DONE if accepted else Known.NOT_FOUND)
    assert bool(world.held) is accepted and world.held == pytest.approx(world.at_venue(), abs=1e-9)
    agrees(world)


def test_a_stop_whose_answer_is_lost_rests_and_fills_under_its_name(world: World) -> None:
    world.entered()
    world.lose_answer(accepted=True)
    stop = world.protect(world.mid * 0.98, world.mid * 1.05)
    assert kinds(world.send(stop)) == [Failed] and len(world.stops_at_venue()) == 1
    assert the(Report, world.send(world.ask(stop.id))).state is Known.WORKING
    filled = the(Filled, world.bar(world.mid, world.mid, world.mid * 0.97, world.mid * 0.975))
    assert (filled.order, filled.fill.cause) == (stop.id, Cause.STOP)
    agrees(world)


@pytest.mark.parametrize("accepted", [True, False])
def test_an_exit_whose_answer_is_lost_has_left_once_or_not_at_all(world: World, accepted: bool) -> None:
    world.entered()
    world.lose_answer(accepted)
    order = world.exit()
    assert the(Failed, world.send(order)).order == order.id
    world.open(world.mid)
    told = world.send(world.ask(order.id))
    assert the(Report, told).state is (Known.DONE if accepted else Known.NOT_FOUND)
    assert (abs(world.held) < world.instrument.lot) is accepted
    agrees(world)


def test_no_answer_is_told_twice(world: World) -> None:
    world.entered()
    assert not world.open(world.mid) and not world.open(world.mid)


def test_time_of_an_answer_is_when_it_could_be_known(world: World) -> None:
    world.open(world.mid)
    order = world.enter()
    world.send(order)
    (filled,) = world.open(world.mid)
    assert filled.time == world.now and world.now % SECOND == 0
