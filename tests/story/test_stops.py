"""Stops, targets, collars and partial fills: what the market gives, and what protects what it gave."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ffe.brokers.faults import Kill, NoAnswer, Partial, Reject, Timeout
from ffe.model import (
    SECOND,
    Cancel,
    Cancelled,
    Cause,
    Disposition,
    Enter,
    Exit,
    Filled,
    Protect,
    Rejected,
)  # fmt: skip
from tests.story.scene import BTC, COINS, ETH, EUR, MARGIN, AnyFault, Price, Scene, buy, leave, sell, with_rules


def entered(*faults: AnyFault) -> Scene:
    """BTC was bought at the close of the first hour, at 100."""
    scene = Scene(BTC, ETH, faults={COINS: faults})
    scene.bar(None, buy(BTC))
    return scene


# ---------------------------------------------------------------- within a bar


@pytest.mark.parametrize(
    ("bar", "cause", "price"),
    [
        ((100.0, 104.0, 98.01, 101.0), None, 0.0),
        ((100.0, 101.0, 98.0, 99.0), "stop", 98.0),
        ((100.0, 105.0, 99.0, 104.0), None, 0.0),  # a target must be traded through
        ((100.0, 105.01, 99.0, 104.0), "target", 105.0),
    ],
)
def test_stop_and_target_are_live_from_the_entry_bar(bar: Price, cause: str | None, price: float) -> None:
    told = entered().bar({BTC: bar})
    assert [(o.cause, o.exit) for o in told.outcomes] == ([(cause, price)] if cause else [])


@pytest.mark.parametrize(("open", "cause"), [(95.0, "stop"), (107.0, "target")])
def test_a_gap_through_fills_at_the_open(open: float, cause: str) -> None:
    scene = entered()
    scene.bar()
    (outcome,) = scene.bar({BTC: (open, open, open, open)}).outcomes
    assert (outcome.cause, outcome.exit) == (cause, open)
    assert outcome.pnl == pytest.approx(outcome.qty * (open - 100.0))


def test_stop_and_target_in_one_bar_takes_the_stop_and_says_what_could_have_been() -> None:
    (outcome,) = entered().bar({BTC: (100.0, 106.0, 97.0, 103.0)}).outcomes
    assert (outcome.cause, outcome.exit) == ("stop", 98.0)
    assert outcome.pnl == pytest.approx(-2.0 * outcome.qty)
    assert outcome.optimistic_pnl == pytest.approx(5.0 * outcome.qty)


def test_a_short_is_stopped_above() -> None:
    scene = Scene(EUR)
    scene.bar(None, sell(EUR))
    (outcome,) = scene.bar({EUR: (1.25, 1.28, 1.2, 1.26)}).outcomes
    assert (outcome.cause, outcome.exit) == ("stop", 1.25 * 1.02)


def test_the_strategys_own_stop_and_target_are_used() -> None:
    scene = Scene(BTC)
    scene.bar(None, buy(BTC, stop=99.0, target=101.0))
    scene.bar()
    stop = scene.resting(BTC)
    assert stop is not None and (stop.stop, stop.target) == (99.0, 101.0)


def test_the_stop_lies_two_per_cent_from_the_fill_not_from_the_signal() -> None:
    scene = entered()
    scene.bar({BTC: (101.0, 101.0, 101.0, 101.0)})
    stop = scene.resting(BTC)
    assert stop is not None and (stop.stop, stop.target) == (101.0 * 0.98, 101.0 * 1.05)


def test_an_exit_at_the_open_comes_before_a_stop_in_that_bar() -> None:
    scene = entered()
    scene.bar(None, leave(BTC))
    (outcome,) = scene.bar({BTC: (100.0, 100.0, 90.0, 91.0)}).outcomes
    assert (outcome.cause, outcome.exit) == ("signal", 100.0)


def test_where_no_target_rests_beside_a_stop_the_engine_watches_it() -> None:
    scene = Scene(BTC, ETH, rests_targets=False)
    scene.bar(None, buy(BTC))
    told = [scene.bar({BTC: (100.0, 106.0, 99.0, 105.0)}), scene.bar({BTC: (105.0, 105.5, 104.0, 105.2)})]
    assert not told[0].orders[1:] and len(told[1].of(Exit)) == 1  # through it once, and closed beyond it the next time
    (outcome,) = scene.bar({BTC: (105.3, 105.3, 90.0, 90.0)}).outcomes
    assert (outcome.cause, outcome.exit) == ("target", 105.3)


def test_a_watched_target_is_reached_by_the_price_at_which_it_could_be_sold() -> None:
    """Bought at 101, the target is 106.05, and what is sold gets a hundredth less than the mid."""
    wide = replace(BTC, spread=0.02)
    scene = Scene(wide, ETH, rests_targets=False)
    scene.bar(None, buy(wide))
    scene.bar({wide: (100.0, 107.12, 100.0, 107.12)})
    assert not scene.told.of(Exit)
    assert len(scene.bar({wide: 107.13}).of(Exit)) == 1


def test_a_short_target_that_is_watched() -> None:
    scene = Scene(EUR, rests_targets=False)
    scene.bar(None, sell(EUR))
    scene.bar({EUR: 1.25 * 0.951})
    assert not scene.told.of(Exit)
    assert len(scene.bar({EUR: 1.25 * 0.949}).of(Exit)) == 1


def test_after_a_stop_out_only_a_new_signal_enters_again() -> None:
    scene = entered()
    scene.bar({BTC: 97.0})
    assert not scene.bars(3).orders
    assert scene.bar(None, buy(BTC)).dispositions == [Disposition.SENT]


# ---------------------------------------------------------------- entries that do not happen


@pytest.mark.parametrize(("open", "qty"), [(102.0, 237.5), (102.01, 0.0)])
def test_an_entry_beyond_its_collar_is_cancelled_and_frees_its_slot(open: float, qty: float) -> None:
    scene = entered()
    told = scene.bar({BTC: (open, open, open, open)})
    assert scene.ours(BTC) == qty
    if not qty:
        assert [a.reason for a in told.answers if isinstance(a, Cancelled)] == ["COLLAR"]
        assert [(c.what, c.after, c.why) for c in told.changes] == [("slot 0", "free", "COLLAR")]
        assert not scene.slots() and not told.of(Protect)


def test_a_pair_has_a_tighter_collar() -> None:
    scene = Scene(EUR)
    scene.bar(None, buy(EUR))
    told = scene.bar({EUR: (1.2563, 1.2563, 1.2563, 1.2563)})
    assert [a.reason for a in told.answers if isinstance(a, Cancelled)] == ["COLLAR"]


@pytest.mark.parametrize("fault", [Reject(1), Kill(1)])
def test_an_entry_that_the_venue_refuses_frees_its_slot(fault: AnyFault) -> None:
    scene = entered(fault)
    told = scene.told
    assert len(told.of(Enter)) == 1 and not scene.slots()
    assert not scene.bars(2).orders and scene.at_venue(BTC) == 0.0


# ---------------------------------------------------------------- partial fills


def test_stop_and_slot_follow_every_part_that_fills() -> None:
    scene = entered(Partial(1, (0.2, 0.3)))
    covered = []
    for _ in range(3):
        scene.bar()
        covered.append((scene.ours(BTC), scene.resting(BTC).approved.intent.qty, scene.resting(BTC).stop))
    assert covered == [(47.5, 47.5, 98.0), (118.75, 118.75, 98.0), (237.5, 237.5, 98.0)]
    assert scene.slots() == {0: (BTC.id, "open")}


def test_the_stop_follows_the_average_of_the_parts() -> None:
    scene = entered(Partial(1, (0.5,)))
    scene.bar()
    scene.bar({BTC: (102.0, 102.0, 102.0, 102.0)})
    assert scene.resting(BTC).stop == pytest.approx(101.0 * 0.98)


def test_a_cancelled_rest_leaves_what_had_filled_covered() -> None:
    scene = entered(Partial(1, (0.4,), then_cancel=True))
    scene.bar()
    assert scene.ours(BTC) == scene.resting(BTC).approved.intent.qty == 95.0
    (outcome,) = scene.bar({BTC: 97.0}).outcomes
    assert (outcome.qty, outcome.cause) == (95.0, "stop") and not scene.slots()


def test_what_has_not_filled_yet_still_counts_as_exposure() -> None:
    scene = entered(Partial(1, (0.1,)))
    scene.bar()
    told = scene.bar(None, buy(ETH, qty=10.0))
    assert told.decision.judgement.facts[8] == pytest.approx(0.2375 + 0.01)


def test_a_share_of_the_volume_bounds_every_fill() -> None:
    thin = replace(BTC, volume_share=0.1)  # of 1,000 a bar
    scene = Scene(thin)
    scene.bar(None, buy(thin))
    assert [scene.bar() and scene.ours(thin) for _ in range(3)] == [100.0, 200.0, 237.5]


# ---------------------------------------------------------------- protection


def test_the_stop_is_at_the_venue_in_the_instant_of_the_fill() -> None:
    scene = entered()
    told = scene.bar()
    (filled,) = [event for event in told.answers if isinstance(event, Filled)]
    (protect,) = told.of(Protect)
    assert (protect.stop, protect.target, protect.approved.intent.qty) == (98.0, 105.0, filled.fill.qty)
    assert scene.resting(BTC) == protect


def test_a_stop_that_is_rejected_three_times_closes_the_position() -> None:
    """It is tried on the fill and at the next two closes; what is left then leaves at the next open."""
    scene = entered(Reject(2), Reject(3), Reject(4))
    told = [scene.bar(), scene.bar(), scene.bar()]
    assert [len(each.of(Protect)) for each in told] == [2, 1, 0]
    assert sum(isinstance(a, Rejected) for each in told for a in each.answers) == 3
    assert [(o.cause, o.exit) for o in told[2].outcomes] == [("stop could not be placed", 100.0)]
    assert scene.at_venue(BTC) == 0.0 and not scene.slots()


def test_stop_that_was_refused_is_tried_again_by_time_without_a_price() -> None:
    """After 1, 2 and then 3 seconds, and not before."""
    scene = entered(Reject(2), Reject(3), Reject(4))
    scene.quote(scene.now, {BTC: 100.0})
    began, tries = scene.now, []
    for n in range(1, 21):
        told = scene.beat(began + n * SECOND // 2)
        tries += [(scene.now - began) / SECOND for _ in told.of(Protect)]
    assert tries == [1.0, 3.0]
    assert [order.approved.intent.rule for order in scene.told.of(Exit)] == ["stop could not be placed"]


def test_a_stop_that_is_rejected_twice_is_placed_at_the_third_try() -> None:
    scene = entered(Reject(2), Reject(3))
    scene.bars(2)
    assert scene.resting(BTC) is not None and scene.ours(BTC) > 0.0


def test_a_stop_rests_until_its_successor_does_and_goes_with_the_trade() -> None:
    """Half fills and is covered; no stop for the whole can be placed, so the position is closed."""
    scene = entered(Partial(1, (0.5,)), Reject(3), Reject(4), Reject(5))
    scene.bar()
    first = scene.resting(BTC)
    told = [scene.bar() for _ in range(4)]
    assert [order.order for each in told for order in each.of(Cancel)] == [first.id]
    assert [order.replaces for each in told for order in each.of(Protect)] == [first.id] * 3
    assert scene.resting(BTC) is None and scene.at_venue(BTC) == 0.0 and not scene.slots()


def test_a_successor_that_is_rejected_once_is_placed_again() -> None:
    scene = entered(Partial(1, (0.5,)), Reject(3))
    scene.bars(2)
    assert scene.resting(BTC).approved.intent.qty == scene.ours(BTC) == 237.5
    scene.bar(None, leave(BTC))
    assert len(scene.bar().of(Cancel)) == 1 and scene.resting(BTC) is None


@pytest.mark.parametrize("accepted", [True, False])
def test_a_stop_whose_answer_is_lost_is_found_or_placed_again(accepted: bool) -> None:
    scene = entered(Timeout(2, accepted))
    scene.bars(4)
    assert scene.slots() == {0: (BTC.id, "open")}
    assert scene.resting(BTC).approved.intent.qty == scene.ours(BTC)
    assert len(scene.told.of(Protect)) == (1 if accepted else 2)


def test_an_exit_takes_its_stop_away() -> None:
    scene = entered()
    scene.bar(None, leave(BTC))
    told = scene.bar()
    assert [order.order for order in told.of(Cancel)] == [scene.told.of(Protect)[0].id]
    assert scene.resting(BTC) is None and not scene.slots()


@pytest.mark.parametrize("accepted", [True, False])
def test_a_stop_that_may_still_rest_holds_its_slot_until_it_is_gone(accepted: bool) -> None:
    """Orders: enter, protect, exit, and the stop's cancellation, whose answer is lost."""
    scene = entered(NoAnswer(4, accepted))
    scene.bar(None, leave(BTC))
    told = scene.bar()
    assert scene.resting(BTC) is None and not scene.slots()
    assert len(told.of(Cancel)) == (1 if accepted else 2)
    assert [o.cause for o in told.outcomes] == ["signal"]


def test_a_resting_stop_outlives_the_venues_outage() -> None:
    """What rests at the venue goes on working while nobody can reach it."""
    scene = entered()
    scene.bar()
    scene.brokers[COINS].faults = (Timeout(n) for n in range(3, 99))
    (outcome,) = scene.bar({BTC: 97.0}).outcomes
    assert outcome.exit == 98.0


def test_an_exit_that_fails_is_tried_again_at_the_next_bar() -> None:
    scene = entered(Reject(3))
    told = [scene.bar(None, leave(BTC)), scene.bar(), scene.bar()]
    first, second = (order.id for each in told for order in each.of(Exit))
    assert first != second
    assert [o.cause for each in told for o in each.outcomes] == ["signal"]


def test_an_add_shares_the_slot_and_moves_stop_and_target() -> None:
    scene = Scene(BTC, ETH)
    scene.bar(None, buy(BTC, qty=50.0))
    scene.bar({BTC: (100.0, 102.0, 100.0, 102.0)}, buy(BTC, qty=50.0))
    assert scene.told.dispositions[-1] is Disposition.HOLD
    scene.bar(None, buy(BTC, qty=50.0, add=True))
    scene.bar()
    assert scene.slots() == {0: (BTC.id, "open")}
    assert (scene.ours(BTC), scene.resting(BTC).stop) == (100.0, pytest.approx(101.0 * 0.98))


def test_costs_are_taken_once_and_against_you() -> None:
    dear = replace(BTC, spread=0.002, slippage=0.001, fee=0.001)
    scene = Scene(dear)
    scene.bar(None, buy(dear, qty=100.0))
    scene.bar()
    (outcome,) = scene.bar({dear: 97.0}).outcomes
    assert outcome.entry == 100.0 * 1.001 * 1.001
    assert outcome.exit == outcome.entry * 0.98 * 0.999
    assert outcome.fees == pytest.approx(0.1 * (outcome.entry + outcome.exit))
    assert outcome.pnl == pytest.approx(100.0 * (outcome.exit - outcome.entry) - outcome.fees)


def test_the_watch_closes_at_the_second_reading_beyond_the_stop() -> None:
    scene = entered()
    scene.bar()
    told = [scene.quote(scene.now + 10 * SECOND, {BTC: price}) for price in (97.9, 97.5)]
    assert [len(each.of(Exit)) for each in told] == [0, 1]
    assert [(o.cause, o.exit) for o in told[1].outcomes] == [("watch", 97.5)]
    assert scene.resting(BTC) is None


def test_a_reading_back_inside_disarms_the_watch() -> None:
    scene = entered()
    scene.bar()
    told = [scene.quote(scene.now + 10 * SECOND, {BTC: price}) for price in (97.9, 99.0, 97.9, 99.0)]
    assert not any(each.orders for each in told)


def test_margin_and_spot_alike_know_the_cause_of_every_fill() -> None:
    scene = Scene(BTC, EUR, rules=with_rules(watch={"stop_ratio": 0.01}))
    scene.bar(None, buy(BTC), sell(EUR))
    scene.bar({BTC: 98.0, EUR: (1.25, 1.27, 1.25, 1.27)})
    causes = {(f.fill.instrument, f.fill.cause) for f in scene.told.answers if isinstance(f, Filled)}
    assert causes == {(i.id, cause) for i in (BTC, EUR) for cause in (Cause.ENTRY, Cause.STOP)}
    assert {o.instrument for o in scene.told.outcomes} == {BTC.id, EUR.id} and MARGIN in scene.brokers


# ---------------------------------------------------------------- what is left over


def test_what_is_left_of_an_entry_is_taken_back_when_its_stop_has_filled() -> None:
    scene = entered(Partial(1, (0.3, 0.3)))
    scene.bar({BTC: (100.0, 100.0, 97.0, 99.5)})
    assert len(scene.told.of(Cancel)) == 1 and [o.cause for o in scene.told.outcomes] == ["stop"]
    told = scene.bars(3)
    assert scene.at_venue(BTC) == 0.0 and not scene.slots() and not [a for a in told.answers if isinstance(a, Filled)]


def test_dust_is_no_trade_that_could_end() -> None:
    """Dust of an earlier trade lies there while a new entry is taken back: nothing was entered, nothing is closed."""
    scene = Scene(BTC, ETH, faults={COINS: [Partial(1, (0.5,), then_cancel=True)]})
    scene.bar(None, buy(BTC, qty=0.012))
    scene.bar()
    assert scene.ours(BTC) == 0.006 and not scene.slots()
    scene.bar(None, buy(BTC, qty=10.0))
    told = scene.at_once(leave(BTC))
    assert [d.reason for d in told.decisions] == ["nothing is open: the entry under way is taken back"]
    scene.bar()
    assert not scene.slots() and not scene.told.outcomes and scene.ours(BTC) == 0.006


def test_an_adds_levels_hold_only_once_it_fills() -> None:
    scene = Scene(BTC, ETH, faults={COINS: [Reject(3)]})
    scene.bar(None, buy(BTC, qty=50.0, stop=90.0))
    scene.bar()
    scene.bar(None, buy(BTC, qty=50.0, add=True))
    assert not scene.bar({BTC: (100.0, 100.0, 97.5, 99.0)}).outcomes and scene.resting(BTC).stop == 90.0
    scene.bar(None, buy(BTC, qty=50.0, add=True))
    scene.bar()
    assert (scene.ours(BTC), scene.resting(BTC).stop) == (100.0, 99.5 * 0.98)


def test_an_add_at_the_same_price_moves_the_levels_too() -> None:
    scene = Scene(BTC, ETH)
    scene.bar(None, buy(BTC, qty=50.0, stop=90.0))
    scene.bar()
    scene.bar(None, buy(BTC, qty=50.0, stop=95.0, add=True))
    scene.bar()
    assert (scene.ours(BTC), scene.resting(BTC).stop) == (100.0, 95.0)


# ---------------------------------------------------------------- what a bar's volume allows

THIN = replace(BTC, volume_share=0.01)  # ten of a bar's thousand


def test_a_stop_takes_its_share_of_a_bars_volume_and_the_rest_at_the_next_open() -> None:
    scene = Scene(THIN, ETH)
    scene.bar(None, buy(THIN, qty=25.0))
    scene.bars(3)
    assert scene.ours(THIN) == 25.0
    told = [scene.bar({THIN: (100.0, 100.0, 97.0, 97.0)}), *(scene.bar({THIN: 97.0}) for _ in range(3))]
    fills = [(a.fill.qty, a.fill.price) for each in told for a in each.answers if isinstance(a, Filled)]
    assert fills == [(-10.0, 98.0), (-10.0, 97.0), (-5.0, 97.0)] and not scene.slots()


@pytest.mark.parametrize("of", [1, 3], ids=["entry", "exit"])
def test_a_part_that_is_less_than_a_lot_waits_for_the_next_open(of: int) -> None:
    scene = Scene(replace(BTC, lot=1.0), ETH, faults={COINS: [Partial(of, (0.3, 0.3))]})
    instrument = scene.universe[BTC.id]
    scene.bar(None, buy(instrument, qty=3.0))
    scene.bars(4)
    assert scene.ours(BTC) == 3.0
    scene.bar(None, leave(instrument))
    scene.bars(4)
    assert scene.ours(BTC) == 0.0 and not scene.slots()
