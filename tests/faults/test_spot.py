"""Every fault of the catalogue that a spot venue over REST can show, through the real engine, loop, broker and client.

What cannot be shown here, and why:
F22's expiries and liquidations, F24's double close: spot has neither; the venue locks what a stop protects (shown).
F27's crossed, frozen and foreign ticks: quotes come from a feed, and none asks ccxt yet; the engine's part is shown.
F28, and of F29 and F30 what concerns streams: this broker opens none.
F31's local steps, summer time and leaps: time is the event's, there is no timer; the venue's skew is shown.
F36's dead man's switch: spot has none; that maintenance cancels everything is shown.
F37-F40 are of processes, disks and backups, not of a venue.
What the engine still owes is asserted as it should be and marked as failing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal

import ccxt
import pytest

from ffe.model import (
    SECOND,
    AccountRead,
    Act,
    Disposition,
    Enter,
    Failed,
    Fault,
    Filled,
    Heard,
    Rejected,
    Withheld,
)  # fmt: skip
from ffe.risk.breaker import BreakerState
from ffe.risk.guard import TradingState
from ffe.risk.slots import SlotState
from tests.faults.stage_spot import TICK, Stage, virtual_time
from tests.story.scene import buy, leave
from tests.venues import faults as f
from tests.venues.matching import Side
from tests.venues.server import Server

ENTRY, STOP, EXIT = "POST order LIMIT", "POST order STOP*", "POST order MARKET"
ALWAYS = 10**6
QTY = 0.1  # of an entry


AtVenue = tuple[Server, ccxt.Exchange]


@pytest.fixture(params=["binance", "coinbase"])
def place(request: pytest.FixtureRequest) -> AtVenue:
    """A server whose app is the venue of the moment, and ccxt's client of it."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def stage(place: AtVenue) -> Iterator[Stage]:
    server, client = place
    with virtual_time(client, Stage(server, client)) as made:
        yield made


def at(venue: str) -> pytest.MarkDecorator:
    """A fault that one of the venues alone can show."""
    return pytest.mark.parametrize("place", [venue], indirect=True)


def is_open_and_safe(stage: Stage) -> None:
    """The trade is counted once, holds its slot and stands behind its stop."""
    assert stage.slot is SlotState.OPEN and stage.held == pytest.approx(stage.net(QTY)) and stage.is_protected()
    assert len(stage.posts("LIMIT")) == 1
    stage.agrees()


def is_gone(stage: Stage) -> None:
    """Nothing is held, nothing rests, the slot is free."""
    assert stage.slot is None and not stage.stops() and stage.at_venue() < stage.btc.lot
    stage.agrees()


# ---------------------------------------------------------------- answers that never come

LOST = [f.Drop, f.Hang, f.ServerError]


@pytest.mark.parametrize("lost", LOST)
def test_f1_an_entry_that_never_arrived_holds_its_slot_until_proven_gone(stage: Stage, lost: object) -> None:
    stage.bought(lost(on=ENTRY))
    assert stage.slot is SlotState.UNKNOWN
    stage.ticks(8)
    assert stage.slot is SlotState.UNKNOWN  # 80 s: within the horizon "not found" is no proof
    stage.ticks(2)
    is_gone(stage)
    assert len(stage.posts()) == 1 and stage.state is TradingState.ACTIVE


def test_f1_while_an_entry_is_unknown_its_slot_is_taken(stage: Stage) -> None:
    stage.bought(f.Drop(on=ENTRY))
    told = stage.tick(buy(stage.btc), buy(stage.eth, qty=1.0), buy(stage.sol, qty=1.0))
    assert told.dispositions == [Disposition.HOLD, Disposition.SENT, Disposition.QUEUED]


def test_f1_exit_that_never_arrived_is_followed_by_another_behind_a_stop(stage: Stage) -> None:
    stage.bought()
    stage.fault(f.Drop(on=EXIT))
    stage.tick(leave(stage.btc))
    assert stage.slot is SlotState.UNKNOWN and len(stage.posts("MARKET")) == 1 and not stage.stops()
    stage.beats(2)
    assert stage.kinds == ["LIMIT", "STOP", "MARKET", "STOP", "MARKET"]
    assert stage.at_venue() < 1e-4 and not stage.stops()
    stage.minutes(2)  # the first could still arrive, so the slot is held until then
    is_gone(stage)


def test_f1_beside_coins_that_are_not_ours_a_lost_exit_is_not_repeated_before_it_is_proven_gone(
    place: AtVenue,
) -> None:
    stage = Stage(*place, holds={"BTC": 0.3})
    with virtual_time(place[1], stage):
        stage.bought()
        stage.fault(f.Drop(on=EXIT))
        stage.tick(leave(stage.btc))
        stage.beats(80)
        assert len(stage.posts("MARKET")) == 1 and stage.stops() == [(49_000.0, stage.net(QTY))]
        stage.beats(30)
        assert len(stage.posts("MARKET")) == 2 and stage.at_venue() == pytest.approx(0.3, abs=1e-4)


def test_f1_a_lost_stop_is_placed_anew_once_it_is_proven_gone(stage: Stage) -> None:
    stage.bought(f.Drop(on=STOP))
    assert not stage.stops()
    stage.ticks(11)
    is_open_and_safe(stage)


def test_f1_an_exit_is_not_held_up_by_a_stop_that_was_lost(stage: Stage) -> None:
    stage.bought(f.Drop(on=STOP))
    stage.tick(leave(stage.btc))
    assert stage.at_venue() < stage.btc.lot and len(stage.posts("MARKET")) == 1
    stage.minutes(3)
    is_gone(stage)


def test_f2_a_stop_that_was_accepted_and_never_answered_is_found_and_not_placed_twice(stage: Stage) -> None:
    stage.bought(f.Hang(accepted=True, on=STOP))
    stage.ticks(3)
    assert len(stage.posts("STOP*")) == 1
    is_open_and_safe(stage)


def test_f2_an_entry_that_waits_at_the_venue_unanswered_is_found_when_it_fills(stage: Stage) -> None:
    stage.venue.fill_on_next_price = True
    stage.bought(f.Drop(accepted=True, on=ENTRY))
    assert stage.slot is SlotState.PENDING and stage.engine.slots.count == 1
    stage.ticks(2)
    is_open_and_safe(stage)


@pytest.mark.parametrize("lost", LOST)
def test_f3_filled_and_the_reply_lost_is_found_and_counted_once(stage: Stage, lost: object) -> None:
    stage.bought(lost(accepted=True, on=ENTRY))
    is_open_and_safe(stage)  # in the same instant
    stage.minutes(3)
    is_open_and_safe(stage)
    assert sum(isinstance(a, Filled) for a in stage.answers) == 0  # a report told of it


def test_f3_an_exit_that_filled_and_was_not_answered_is_not_repeated(stage: Stage) -> None:
    stage.bought()
    stage.fault(f.Drop(accepted=True, on=EXIT))
    stage.tick(leave(stage.btc))
    stage.minutes(2)
    assert len(stage.posts("MARKET")) == 1
    is_gone(stage)


FIVES = [(500, None), (502, None), (503, None), (504, None), (503, 0), (503, 1), (500, 0)]  # with which of its codes


@pytest.mark.parametrize(("status", "which"), FIVES)
def test_f4_a_server_error_after_acceptance_is_no_rejection(stage: Stage, status: int, which: int | None) -> None:
    code = None if which is None else stage.place.outages[which]
    stage.bought(f.ServerError(status, code, accepted=True, on=ENTRY))
    stage.tick()
    is_open_and_safe(stage)
    assert stage.failures == 1


@pytest.mark.parametrize(("status", "which"), FIVES)
def test_f5_a_server_error_without_acceptance_takes_the_same_path(stage: Stage, status: int, which: int | None) -> None:
    code = None if which is None else stage.place.outages[which]
    stage.bought(f.ServerError(status, code, on=ENTRY))
    assert stage.slot is SlotState.UNKNOWN and stage.failures == 1
    stage.minutes(2)
    is_gone(stage)
    assert len(stage.posts()) == 1


def test_f4_five_failures_in_a_row_open_the_breaker_for_entries_and_for_nothing_else(stage: Stage) -> None:
    stage.bought(f.ServerError(accepted=True, on="POST order", times=ALWAYS))
    stage.tick(buy(stage.sol, qty=10.0))
    stage.tick(leave(stage.sol))
    assert stage.breaker is BreakerState.OPEN and stage.failures == 5
    told = stage.tick(leave(stage.btc), buy(stage.eth, qty=1.0))
    assert told.dispositions[-1] is Disposition.BREAKER_OPEN
    stage.ticks(2)
    is_gone(stage)
    assert not stage.orders(stage.eth) and stage.at_venue("SOL") < stage.sol.lot


@pytest.mark.parametrize("seconds", [10, 60, 85])
def test_f6_an_order_that_arrives_late_is_the_same_order(stage: Stage, seconds: int) -> None:
    stage.bought(f.Zombie(seconds * SECOND, on=ENTRY))
    stage.ticks(10)
    is_open_and_safe(stage)
    assert len(stage.orders()) == 2


def test_f6_an_order_beyond_the_horizon_is_a_break_and_nothing_of_it_is_closed(stage: Stage) -> None:
    stage.bought(f.Zombie(300 * SECOND, on=ENTRY))
    stage.minutes(2)
    assert stage.slot is None
    stage.minutes(4)
    stage.read()
    assert stage.state is not TradingState.ACTIVE
    stage.minutes(1)
    assert not stage.posts("MARKET") and stage.at_venue() == pytest.approx(stage.net(QTY))


def test_f7_an_order_that_no_query_finds_yet_is_not_gone(stage: Stage) -> None:
    stage.bought(f.Drop(accepted=True, on=ENTRY), f.Invisible(80 * SECOND, on=ENTRY))
    stage.ticks(7)
    assert stage.slot is SlotState.UNKNOWN and stage.state is TradingState.ACTIVE
    stage.ticks(2)
    is_open_and_safe(stage)


def test_f7_beyond_the_horizon_a_position_that_is_there_denies_that_it_is_gone(stage: Stage) -> None:
    stage.bought(f.Drop(accepted=True, on=ENTRY), f.Invisible(300 * SECOND, on=ENTRY))
    stage.minutes(4)
    assert stage.slot is SlotState.UNKNOWN and stage.latches == {"reconciliation"} and stage.at_venue()


def test_f7_an_order_that_turns_up_beyond_the_horizon_is_found_and_protected(stage: Stage) -> None:
    stage.bought(f.Drop(accepted=True, on=ENTRY), f.Invisible(300 * SECOND, on=ENTRY))
    stage.minutes(6)
    is_open_and_safe(stage)
    assert stage.latches == {"reconciliation"}  # what found itself clears nothing


def test_f7_an_order_that_was_accepted_and_is_listed_late_loses_nothing(stage: Stage) -> None:
    stage.bought(f.Invisible(60 * SECOND, on=ENTRY))
    stage.ticks(3)
    assert stage.engine.slots.count == 1 and not stage.held
    stage.ticks(4)
    is_open_and_safe(stage)


@pytest.mark.parametrize("times", [1, 3, 8])
def test_f8_a_stop_that_is_not_found_for_a_while_is_not_placed_twice(stage: Stage, times: int) -> None:
    stage.bought()
    stage.ticks(10)  # beyond the horizon of the order itself
    stage.fault(f.Empty(times=times), f.Gone(times=times))
    stage.ticks(times + 2)
    is_open_and_safe(stage)
    assert len(stage.posts("STOP*")) == 1


def test_f8_an_entry_that_was_found_stays_found(stage: Stage) -> None:
    stage.bought(f.Drop(accepted=True, on=ENTRY), f.Gone(nth=2, times=3))
    stage.minutes(1)
    is_open_and_safe(stage)


@pytest.mark.parametrize("spoilt", [f.Malformed, f.Truncated, f.Page])
@pytest.mark.parametrize("what", [ENTRY, STOP])
def test_f9_an_unreadable_answer_is_ambiguous(stage: Stage, spoilt: object, what: str) -> None:
    stage.bought(spoilt(on=what))
    assert stage.failures == 1
    stage.ticks(2)
    is_open_and_safe(stage)
    assert len(stage.posts("STOP*")) == 1


@pytest.mark.parametrize("spoilt", [f.Malformed, f.Truncated, f.Page, f.Empty])
@pytest.mark.parametrize("what", ["GET order", "GET openOrders", "GET myTrades", "GET account"])
def test_f9_unreadable_questions_tell_nothing_and_change_nothing(stage: Stage, spoilt: object, what: str) -> None:
    stage.bought()
    stage.minutes(2)
    stage.fault(spoilt(on=what, times=4))
    stage.read()
    stage.ticks(2)
    stage.read()
    stage.minutes(1)
    stage.read()
    is_open_and_safe(stage)
    assert not stage.latches and len(stage.posts()) == 2


@pytest.mark.parametrize("fields", [(), ("status",), ("orderId",), ("executedQty",), ("status", "orderId")])
def test_f10_null_is_unknown_and_never_nothing(stage: Stage, fields: tuple[str, ...]) -> None:
    stage.bought(f.Nulled(*(stage.place.order.get(field, field) for field in fields), on=ENTRY))
    stage.ticks(2)
    is_open_and_safe(stage)


@pytest.mark.parametrize(
    "fields", [(), ("status",), ("orderId",), ("executedQty",), ("time",), ("cummulativeQuoteQty",)]
)
def test_f10_an_order_found_without_its_numbers_stays_unknown(stage: Stage, fields: tuple[str, ...]) -> None:
    words = [stage.place.order.get(field, field) for field in fields]
    stage.bought(f.Drop(accepted=True, on=ENTRY), f.Nulled(*words, on="GET order", times=3))
    stage.ticks(5)
    is_open_and_safe(stage)


@pytest.mark.parametrize("field", ["id", "orderId", "price", "qty", "time", "isBuyer", "commission", "commissionAsset"])
def test_f10_trades_without_their_numbers_are_no_trades(stage: Stage, field: str) -> None:
    stage.bought(f.Nulled(stage.place.trade.get(field, field), on="GET myTrades", times=3))
    stage.ticks(4)
    assert stage.slot is SlotState.OPEN and stage.is_protected() and len(stage.posts("LIMIT")) == 1
    assert stage.held == pytest.approx(stage.net(QTY), abs=2e-4)


# ---------------------------------------------------------------- refusals


def test_f11_a_rate_limit_is_no_failure_and_entries_wait_it_out(stage: Stage) -> None:
    stage.bought(f.RateLimited(retry_after=60, on=ENTRY))
    assert stage.slot is None and stage.failures == 0 and stage.breaker is BreakerState.CLOSED
    stage.ticks(4)
    told = stage.tick(buy(stage.btc, qty=0.1))
    assert isinstance(told.answers[-1], Withheld) and len(stage.posts()) == 1  # it did not even leave
    stage.tick(buy(stage.btc, qty=0.1))
    assert stage.slot is SlotState.OPEN and stage.is_protected() and len(stage.posts("LIMIT")) == 2


def test_f11_a_stop_that_met_the_limit_rests_when_it_is_over(stage: Stage) -> None:
    stage.bought(f.RateLimited(retry_after=5, on=STOP, end=stage.now + 3 * TICK - 1))
    stage.ticks(3)
    is_open_and_safe(stage)


def test_f11_nothing_is_asked_while_the_venue_wants_to_be_left_alone(stage: Stage) -> None:
    stage.bought()
    stage.fault(f.RateLimited(retry_after=60, on="GET *"))
    stage.tick()
    asked = len(stage.venue.requests)
    stage.ticks(5)
    assert len(stage.venue.requests) == asked
    failed = [a for a in stage.answers if isinstance(a, Failed)]
    assert [(a.fault, a.query) for a in failed] == [(Fault.RATE_LIMITED, True)] * 6  # each poll once
    stage.tick()
    assert len(stage.venue.requests) > asked and stage.failures == 0
    is_open_and_safe(stage)


def test_f11_an_exit_does_not_wait_with_the_questions(stage: Stage) -> None:
    stage.bought()
    stage.fault(f.RateLimited(retry_after=600, on="GET *"))
    stage.tick()
    stage.tick(leave(stage.btc))
    assert stage.at_venue() < stage.btc.lot
    stage.minutes(12)
    is_gone(stage)


def test_f11_an_exit_that_met_the_limit_leaves_at_the_next_quote(stage: Stage) -> None:
    stage.bought()
    stage.fault(f.RateLimited(retry_after=5, on=EXIT))
    stage.tick(leave(stage.btc))
    stage.ticks(2)
    is_gone(stage)
    assert stage.failures == 0


@at("binance")
def test_f12_through_a_ban_the_stop_at_the_venue_protects_and_nobody_asks(stage: Stage) -> None:
    stage.bought()
    stage.fault(f.Banned(lasts=300 * SECOND))
    stage.tick()
    asked = len(stage.venue.requests)
    stage.ticks(10, btc=48_900.0)
    assert stage.at_venue() < stage.btc.lot and stage.failures == 0
    assert len(stage.venue.requests) - asked <= 10  # the exit of the engine's own watch is tried at every quote
    stage.minutes(5)
    is_gone(stage)


@at("binance")
def test_f12_a_ban_stops_entries(stage: Stage) -> None:
    stage.bought()
    stage.fault(f.Banned(lasts=300 * SECOND))
    stage.tick()
    assert stage.state is not TradingState.ACTIVE
    asked = len(stage.venue.requests)
    assert stage.tick(buy(stage.eth, qty=1.0)).dispositions == [Disposition.HALTED]
    stage.ticks(28)
    assert len(stage.venue.requests) == asked and stage.state is TradingState.REDUCING
    stage.ticks(2)
    assert stage.state is TradingState.ACTIVE and not stage.latches
    is_open_and_safe(stage)


@at("binance")
def test_f12_a_ban_ends_though_nothing_of_ours_is_there_to_be_asked_about(stage: Stage) -> None:
    stage.tick()
    stage.fault(f.Banned(lasts=300 * SECOND))
    stage.read()
    stage.tick()
    assert stage.state is TradingState.REDUCING
    stage.minutes(5)
    assert stage.state is TradingState.ACTIVE


def test_f12_who_refuses_again_when_it_may_be_asked_again_is_closed_to_entries(stage: Stage) -> None:
    stage.bought()
    stage.fault(f.RateLimited(retry_after=25, on="GET *", times=2))
    seen = []
    for _ in range(7):
        stage.tick()
        seen.append(stage.state)
    assert seen == [TradingState.ACTIVE] * 3 + [TradingState.REDUCING] * 3 + [TradingState.ACTIVE]
    assert stage.failures == 0


@pytest.mark.parametrize("which", range(4))
def test_f13_a_refusal_is_final_and_never_counts(stage: Stage, which: int) -> None:
    stage.bought(f.Refuse(*stage.place.refusals[which], on=ENTRY))
    assert isinstance([a for a in stage.answers if a.order][-1], Rejected)
    assert stage.failures == 0 and stage.state is TradingState.ACTIVE
    stage.tick()
    is_gone(stage)
    assert len(stage.posts()) == 1


def test_f14_a_revoked_key_halts_and_nobody_storms(stage: Stage) -> None:
    stage.bought()
    stage.fault(f.Revoked())
    stage.tick()
    assert stage.state is TradingState.HALTED and stage.latches == {"credentials"}
    asked = len(stage.venue.requests)
    stage.minutes(2)
    assert len(stage.venue.requests) - asked <= 2 * 12
    assert stage.slot is SlotState.OPEN and stage.is_protected()


def test_f14_a_key_revoked_while_an_order_is_unknown_proves_nothing_of_it(stage: Stage) -> None:
    stage.bought(f.Drop(accepted=True, on=ENTRY), f.Revoked(on="GET *rder*"))
    stage.ticks(2)
    assert stage.slot is SlotState.UNKNOWN and stage.latches == {"credentials"}
    stage.venue.is_revoked = False
    stage.ticks(2)
    is_open_and_safe(stage)
    assert stage.latches == {"credentials"}


def test_f14_a_key_revoked_before_a_cancellation_ends_no_order(stage: Stage) -> None:
    stage.bought()
    stage.fault(f.Revoked(on="DELETE order"))
    stage.tick(leave(stage.btc))
    assert stage.stops() and stage.latches == {"credentials"}
    stage.venue.is_revoked = False
    stage.ticks(3)
    is_gone(stage)


# ---------------------------------------------------------------- fills


def test_f15_the_stop_follows_every_part(stage: Stage) -> None:
    stage.bought(f.Parts(0.2, 0.2, 0.2, 0.2, on=ENTRY))
    seen = []
    for _ in range(5):
        seen.append((round(stage.held, 6), stage.is_protected()))
        stage.tick()
    assert seen == [(round(stage.net(QTY) * n / 5, 6), True) for n in range(1, 6)]
    is_open_and_safe(stage)


def test_f15_what_filled_before_the_venue_cancelled_the_rest_is_kept_and_protected(stage: Stage) -> None:
    stage.bought(f.Parts(0.3, 0.2, then_cancel=True, on=ENTRY))
    stage.ticks(3)
    assert stage.held == pytest.approx(stage.net(QTY / 2)) and stage.slot is SlotState.OPEN and stage.is_protected()
    stage.agrees()


def test_f15_an_exit_in_parts_leaves_no_slot_and_no_stop_behind(stage: Stage) -> None:
    stage.bought()
    stage.fault(f.Parts(0.3, 0.3, on=EXIT))
    stage.tick(leave(stage.btc))
    stage.ticks(4)
    is_gone(stage)


def test_f16_a_trade_that_is_listed_twice_is_one(stage: Stage) -> None:
    stage.fault(f.SameTradeTwice(times=ALWAYS))
    stage.bought()
    stage.ticks(3)
    is_open_and_safe(stage)
    stage.tick(leave(stage.btc))
    is_gone(stage)


def test_f17_a_trade_under_a_second_id_does_not_count(stage: Stage) -> None:
    stage.fault(f.NewIdForOldTrade(times=ALWAYS))
    stage.bought()
    stage.ticks(3)
    is_open_and_safe(stage)
    assert stage.state is TradingState.ACTIVE


def test_f17_a_part_under_a_second_id_does_not_count_either(stage: Stage) -> None:
    stage.fault(f.NewIdForOldTrade(times=ALWAYS))
    stage.bought(f.Parts(0.5, on=ENTRY))
    assert stage.held == pytest.approx(stage.net(QTY / 2)) and stage.is_protected()
    stage.ticks(3)
    is_open_and_safe(stage)


def test_f17_nor_does_it_count_when_its_order_is_long_forgotten(stage: Stage) -> None:
    stage.fault(f.NewIdForOldTrade(times=ALWAYS))
    stage.bought()
    stage.tick(leave(stage.btc))
    stage.ticks(11)
    stage.tick(buy(stage.btc, qty=0.1))
    stage.ticks(3)
    assert stage.held == pytest.approx(stage.net(QTY)) and stage.is_protected() and stage.state is TradingState.ACTIVE
    assert len(stage.broker._by_number) == 2  # of four
    stage.agrees()


def test_f18_trades_may_stand_in_any_order(stage: Stage) -> None:
    stage.fault(f.NewestFirst(times=ALWAYS))
    stage.bought(f.Parts(0.3, 0.3, on=ENTRY))
    stage.ticks(3)
    is_open_and_safe(stage)


def test_f18_a_fill_behind_its_cancellation_is_applied(stage: Stage) -> None:
    stage.bought()
    stage.fault(f.FilledBeforeCancel(0.5))
    stage.tick(leave(stage.btc))
    stage.ticks(3)
    is_gone(stage)
    assert {o.cause for o in stage.told.outcomes} <= {"signal", "stop"} and len(stage.told.outcomes) == 1


def test_f18_trades_that_are_listed_late_are_waited_for(stage: Stage) -> None:
    stage.bought(f.Empty(on="GET myTrades", times=6))
    assert not stage.held
    stage.ticks(6)
    is_open_and_safe(stage)


def test_f19_more_than_was_ordered_is_there_and_a_break(stage: Stage) -> None:
    stage.bought(f.Overfilled(on=ENTRY))
    assert any(change.after == TradingState.REDUCING for change in stage.told.changes)
    stage.ticks(2)
    stage.agrees()
    assert stage.slot is SlotState.OPEN and stage.is_protected() and stage.held == stage.at_venue()
    stage.tick(leave(stage.btc))
    stage.tick()
    stage.agrees()


def test_f20_a_stop_that_filled_before_its_cancellation_is_the_exit(stage: Stage) -> None:
    stage.bought()
    stage.fault(f.FilledBeforeCancel())
    stage.tick(leave(stage.btc))
    stage.ticks(2)
    is_gone(stage)
    assert not stage.posts("MARKET") and [o.cause for o in stage.told.outcomes] == ["stop"]


def test_f21_while_a_cancellation_is_unanswered_a_stop_leaves_and_no_exit(stage: Stage) -> None:
    stage.bought()
    stage.fault(f.CancelReplyLost(), f.Drop(on="GET order", times=2))
    stage.tick(leave(stage.btc))
    assert not stage.posts("MARKET") and stage.is_protected()
    assert any(isinstance(answer, Withheld) for answer in stage.told.answers), "which counts for nothing"
    stage.ticks(4)
    assert stage.at_venue() < stage.btc.lot and len(stage.posts("MARKET")) == 1 and not stage.stops()
    stage.minutes(2)  # a stop that was to come back is unknown until then
    is_gone(stage)


def test_f21_a_cancellation_that_never_arrived_leaves_the_stop_in_place(stage: Stage) -> None:
    stage.bought()
    stage.fault(f.Drop(on="DELETE order"))
    stage.tick(leave(stage.btc))
    assert stage.is_protected()
    stage.ticks(3)
    is_gone(stage)


def test_f22_a_stop_that_somebody_cancelled_is_put_back(stage: Stage) -> None:
    stage.bought()
    stage.venue.cancel_all()
    stage.tick()
    is_open_and_safe(stage)


def test_f22_a_trade_by_hand_is_a_break_and_stays_theirs(stage: Stage) -> None:
    stage.bought()
    stage.venue.trade_by_hand(stage.named(), Side.BUY, 0.2)
    stage.tick()
    assert any(change.after == TradingState.REDUCING for change in stage.told.changes)
    stage.tick(leave(stage.btc))
    stage.tick()
    assert stage.slot is None and stage.at_venue() == pytest.approx(stage.net(0.2), abs=1e-5)
    stage.agrees()


def test_f22_our_coins_sold_by_hand_are_an_outcome_and_free_the_slot(stage: Stage) -> None:
    stage.bought()
    stage.venue.cancel_all()
    stage.venue.trade_by_hand(stage.named(), Side.SELL, stage.net(QTY))
    stage.ticks(2)
    assert [o.cause for o in stage.told.outcomes] == ["by hand"] and stage.state is TradingState.ACTIVE
    is_gone(stage)


def test_f22_somebody_elses_trade_beside_a_lost_order_holds_up_nothing(stage: Stage) -> None:
    stage.bought(f.Drop(on=STOP))
    stage.venue.trade_by_hand(stage.named(), Side.BUY, 0.2)
    stage.ticks(12)
    assert stage.slot is SlotState.OPEN and len(stage.stops()) == 1 and stage.state is TradingState.ACTIVE
    stage.ticks(2, btc=48_500.0)
    assert stage.slot is None and stage.at_venue() == pytest.approx(stage.net(0.2), abs=1e-5)
    stage.agrees()


def test_f22_when_somebody_took_a_part_the_exit_sells_what_is_left_and_the_break_is_named(stage: Stage) -> None:
    stage.bought()
    stage.venue.cancel_all()
    stage.venue.account.held["BTC"] -= Decimal("0.05")
    stage.tick(leave(stage.btc))
    stage.minutes(1)
    assert stage.at_venue() < stage.btc.lot and not stage.stops() and stage.latches == {"reconciliation"}


def test_f22_what_nobody_looked_at_shows_when_the_account_is_read(stage: Stage) -> None:
    stage.tick()
    stage.venue.trade_by_hand(stage.named(stage.eth), Side.BUY, 1.0)
    stage.read()
    assert stage.state is TradingState.REDUCING
    stage.ticks(3)
    assert stage.latches == {"reconciliation"} and not stage.posts()


def test_f22_what_was_held_before_is_counted_and_never_closed(place: AtVenue) -> None:
    server, client = place
    with virtual_time(client, Stage(server, client, holds={"BTC": 0.2})) as stage:
        stage.bought()
        assert [qty for _, qty in stage.stops()] == [stage.net(QTY)]
        stage.tick(leave(stage.btc))
        stage.tick()
        assert stage.slot is None and stage.at_venue() == pytest.approx(0.2)
        stage.agrees()


# ---------------------------------------------------------------- stops


def test_f23_a_stop_that_is_refused_is_tried_three_times_and_then_the_position_is_closed(stage: Stage) -> None:
    stage.bought(f.Refuse(on=STOP, times=3))
    assert [len(stage.tick() and stage.posts("STOP*")) for _ in range(3)] == [2, 3, 3]
    is_gone(stage)


def test_f23_a_stop_that_is_refused_once_rests_at_the_second_try(stage: Stage) -> None:
    stage.bought(f.Refuse(on=STOP))
    stage.tick()
    is_open_and_safe(stage)


def test_f23_a_stop_that_was_dropped_silently_is_put_back(stage: Stage) -> None:
    stage.bought(f.Vanished())
    stage.ticks(2)
    is_open_and_safe(stage)


def test_f23_a_stop_that_is_touched_and_does_not_fill_is_taken_away_and_the_rest_closed(stage: Stage) -> None:
    stage.bought(f.StopUnfilled(prices=50))
    stage.ticks(2, btc=48_500.0)
    stage.ticks(2, btc=48_400.0)
    is_gone(stage)
    (outcome,) = stage.told.outcomes
    assert outcome.cause in ("watch", "stop did not fill")  # Coinbase says that it was triggered


def test_f24_what_a_stop_locks_cannot_be_sold_twice(stage: Stage) -> None:
    stage.bought()
    for asked in range(3):
        stage.tick(leave(stage.btc), btc=48_900.0 if asked else None)
    is_gone(stage)
    sold = sum(float(t.qty) for t in stage.venue.trades if t.side is Side.SELL)
    assert sold == pytest.approx(stage.net(QTY))


# ---------------------------------------------------------------- balances and prices


def test_f25_an_old_balance_stops_entries_only_until_a_newer_one_agrees(stage: Stage) -> None:
    stage.bought(f.BalanceLag(30 * SECOND))
    stage.read()
    assert stage.state is TradingState.REDUCING and not stage.latches
    stage.tick()
    assert stage.state is TradingState.ACTIVE
    is_open_and_safe(stage)


@pytest.mark.parametrize(
    "wrong", [f.NoBalances(), f.Empty(on="GET account"), f.Page(on="GET account"), f.ServerError(500, on="GET account")]
)
def test_f25_no_balances_are_no_answer_and_nothing_is_flat(stage: Stage, wrong: object) -> None:
    stage.bought(replace(wrong, times=10))
    for _ in range(3):
        stage.read()
        stage.tick()
    assert len([a for a in stage.answers if isinstance(a, AccountRead)]) == 1  # the opening's
    assert not stage.latches
    is_open_and_safe(stage)


WRONG = ["0", "-1", "NaN", "Infinity", "", "x", None]


def wrong_cash(stage: Stage, free: str | None) -> f.Fault:
    """Twice the account shows such a balance of its cash, or none."""
    quote = stage.place.quote
    return f.NoBalances(quote, times=2) if free == "missing" else f.WrongBalance(quote, free, times=2)


@pytest.mark.parametrize("asset", ["cash", "BTC"])
@pytest.mark.parametrize("free", WRONG)
def test_f26_an_impossible_balance_closes_nothing(stage: Stage, asset: str, free: str | None) -> None:
    stage.bought(f.WrongBalance(stage.place.quote if asset == "cash" else asset, free, times=2))
    for _ in range(2):
        stage.read()
    is_open_and_safe(stage)
    assert not stage.posts("MARKET") and not stage.latches


@pytest.mark.parametrize("free", ["0", None, "missing"])
def test_f26_cash_that_is_suddenly_nothing_stops_entries_until_it_is_there_again(
    stage: Stage, free: str | None
) -> None:
    stage.bought(wrong_cash(stage, free))
    stage.read()
    assert stage.state is TradingState.REDUCING
    told = stage.tick(buy(stage.eth, qty=1.0))
    assert told.dispositions == [Disposition.HALTED]
    stage.ticks(2)
    assert stage.state is TradingState.ACTIVE
    is_open_and_safe(stage)


@pytest.mark.parametrize("free", [*WRONG, "missing"])
def test_f26_a_session_does_not_begin_with_an_impossible_balance(stage: Stage, free: str | None) -> None:
    stage.fault(wrong_cash(stage, free))
    told = stage.tick(buy(stage.btc, qty=0.1))
    assert not told.of(Enter) and not stage.posts()
    stage.ticks(2)
    stage.read()
    stage.agrees()


@pytest.mark.parametrize("last", ["NaN", "0", "-1", "", None, "Infinity"])
def test_f27_a_holding_is_not_taken_over_at_an_impossible_price(place: AtVenue, last: str | None) -> None:
    server, client = place
    with virtual_time(client, Stage(server, client, holds={"BTC": 0.2})) as stage:
        stage.fault(f.WrongPrice(last, times=2))
        stage.ticks(4)
        assert stage.engine.book.equity == pytest.approx(110_000.0)
        stage.agrees()


def test_f27_the_price_of_another_symbol_is_not_taken(place: AtVenue) -> None:
    server, client = place
    with virtual_time(client, Stage(server, client, holds={"BTC": 0.2})) as stage:
        other = dict.fromkeys(("symbol", "product_id"), stage.named(stage.eth))
        stage.fault(f.WrongPrice("1", fields=other))
        stage.ticks(2)
        assert stage.engine.book.equity == pytest.approx(110_000.0)


@pytest.mark.parametrize("quoted", [float("nan"), 0.0, -1.0, 5_000.0])
def test_f27_one_wrong_quote_closes_nothing(stage: Stage, quoted: float) -> None:
    stage.bought()
    stage.tick(quoted=quoted)
    stage.ticks(3)
    is_open_and_safe(stage)
    assert not stage.latches


def test_f29_a_venue_that_holds_the_line_and_says_nothing_is_a_failure(stage: Stage) -> None:
    stage.bought()
    stage.fault(f.Hang(on="GET *", times=2))
    stage.ticks(2)
    failed = [a for a in stage.answers if isinstance(a, Failed)]
    assert [(a.fault, a.query) for a in failed] == [(Fault.TIMEOUT, True)] * 2
    stage.tick()
    is_open_and_safe(stage)


def test_f29_a_venue_that_is_silent_opens_the_breaker(stage: Stage) -> None:
    stage.bought()
    stage.fault(f.Drop(on="GET *", times=ALWAYS))
    stage.ticks(7)
    assert stage.breaker is BreakerState.OPEN


def test_f29_that_a_venue_is_heard_again_is_said_once(stage: Stage) -> None:
    stage.bought()
    stage.fault(f.Drop(on="GET *", times=2))
    stage.ticks(4)
    assert [type(a) for a in stage.answers if a.order is None][2:] == [Failed, Failed, Heard]


def test_f29_a_look_that_has_nothing_to_ask_has_heard_nobody(stage: Stage) -> None:
    stage.bought()
    stage.tick(leave(stage.btc))
    stage.ticks(7)
    stage.fault(f.Drop(on="GET *", times=2))
    stage.ticks(2)
    assert [type(a) for a in stage.answers][-3:] == [Failed, Failed, AccountRead]
    stage.tick(buy(stage.btc, qty=0.1))
    told = stage.tick()
    assert [type(a) for a in told.answers] == [Heard], "when something was asked again"


def test_f30_an_answer_after_we_gave_up_is_none(stage: Stage) -> None:
    stage.bought(f.Slow(1.0, on=ENTRY))
    stage.tick()
    is_open_and_safe(stage)


# ---------------------------------------------------------------- the venue itself


@pytest.mark.parametrize("seconds", [-12, 12])
def test_f31_a_clock_that_is_off_is_set_by_the_venues_and_the_order_sent_once(stage: Stage, seconds: int) -> None:
    stage.bought(f.Skewed(seconds * SECOND, on=ENTRY))
    stage.tick()
    assert stage.slot is SlotState.OPEN and stage.is_protected() and stage.failures == 0
    assert len(stage.orders()) == 2 and stage.state is TradingState.ACTIVE
    stage.agrees()


def test_f32_an_exit_waits_for_a_halted_market_behind_its_stop_and_leaves_when_it_opens(stage: Stage) -> None:
    stage.bought()
    stage.venue.change(stage.named(), is_trading=False)
    stage.tick(leave(stage.btc))
    stage.minutes(2)
    assert stage.at_venue() == pytest.approx(stage.net(QTY)) and stage.is_protected() and not stage.posts("MARKET")
    assert {a.reason for a in stage.answers if isinstance(a, Withheld)} == {
        f"{stage.btc.symbol} does not trade now: {stage.place.halt}"
    }
    stage.venue.change(stage.named(), is_trading=True)
    stage.ticks(2, btc=49_500.0)
    is_gone(stage)


def test_f32_a_halted_market_holds_up_no_exit_of_another(stage: Stage) -> None:
    stage.bought()
    stage.venue.change(stage.named(stage.eth), is_trading=False)
    stage.tick(leave(stage.btc))
    is_gone(stage)
    stage.venue.change(stage.named(stage.eth), is_trading=True)
    stage.tick(buy(stage.eth, qty=0.1))
    stage.venue.change(stage.named(), is_trading=False)  # the first that a venue lists
    stage.tick(leave(stage.eth))
    stage.ticks(2)
    assert not [a.reason for a in stage.answers if isinstance(a, Withheld)]
    assert stage.at_venue("ETH") < 0.001


def test_f33_a_coarser_lot_and_tick_do_not_keep_a_position_from_its_stop_or_its_exit(stage: Stage) -> None:
    stage.tick()
    stage.venue.change(stage.named(), lot=Decimal("0.001"), tick=Decimal("100"))  # on which no limit of a stop lies
    stage.tick(buy(stage.btc, qty=0.1))
    stage.ticks(2)
    assert [qty for _, qty in stage.stops()] == [0.099 if stage.place.fee_in_base else 0.1]
    stage.tick(leave(stage.btc))
    stage.ticks(2)
    assert not stage.stops() and stage.at_venue() < 0.001


def test_f34_ids_that_the_venue_cuts_short_are_ours_all_the_same(stage: Stage) -> None:
    stage.fault(f.ClientIdsCut(16))
    stage.bought()
    stage.ticks(2)
    is_open_and_safe(stage)
    stage.tick(leave(stage.btc))
    is_gone(stage)


def test_f34_an_order_whose_cut_id_cannot_be_found_is_known_by_its_trade(stage: Stage) -> None:
    stage.fault(f.ClientIdsCut(16))
    stage.bought(f.Drop(accepted=True, on=ENTRY))
    stage.minutes(2)
    is_open_and_safe(stage)


@pytest.mark.parametrize("limit", [2, 3])
def test_f35_pages_are_turned_until_nothing_is_left(stage: Stage, limit: int) -> None:
    stage.fault(f.SmallPages(limit, times=ALWAYS))
    stage.bought(f.Parts(0.2, 0.2, 0.2, 0.2, on=ENTRY), f.Drop(on="GET myTrades", times=4))
    stage.ticks(6)
    is_open_and_safe(stage)


def test_f35_rows_that_a_page_loses_are_taken_from_their_order(stage: Stage) -> None:
    stage.fault(f.ShortPage(1, times=ALWAYS))
    stage.bought(f.Parts(0.2, 0.2, 0.2, 0.2, on=ENTRY), f.Drop(on="GET myTrades", times=6))
    stage.minutes(3)
    is_open_and_safe(stage)


def test_f35_lost_order_stands_on_a_later_page(stage: Stage) -> None:
    stage.fault(f.SmallPages(1, on="GET allOrders", times=ALWAYS))
    stage.bought(f.Drop(accepted=True, on=ENTRY), f.Gone(times=2), f.Empty(on="GET allOrders", times=2))
    stage.venue.trade_by_hand(stage.named(), Side.BUY, 0.01)
    stage.ticks(4)
    assert stage.slot is SlotState.OPEN and len(stage.posts("LIMIT")) == 1
    assert [qty for _, qty in stage.stops()] == [pytest.approx(stage.net(QTY))]


def test_f35_trades_that_no_list_holds_any_longer_are_taken_from_their_order(stage: Stage) -> None:
    stage.fault(f.ShortHistory(5 * SECOND, times=ALWAYS))
    stage.bought(f.Drop(on="GET myTrades", times=2))
    stage.minutes(3)
    is_open_and_safe(stage)


def test_f36_after_maintenance_what_it_cancelled_is_protected_first(stage: Stage) -> None:
    stage.bought()
    stage.fault(f.Maintenance(start=stage.now, end=stage.now + 600 * SECOND))
    stage.minutes(9)
    assert not stage.stops() and stage.slot is SlotState.OPEN
    stage.minutes(2)
    is_open_and_safe(stage)
    assert stage.tick(buy(stage.eth, qty=1.0)).dispositions != [Disposition.SENT]  # its breaker is still open
    stage.minutes(15)
    stage.tick(buy(stage.eth, qty=1.0))
    assert stage.is_protected(stage.eth)


# ---------------------------------------------------------------- what an operator takes over


def adopted(stage: Stage) -> None:
    """The venue disagrees until the latch; the operator takes its word, and re-arms."""
    for _ in range(3):
        stage.read()
        stage.tick()
    assert stage.latches == {"reconciliation"}
    stage.command(Act.ADOPT)
    stage.read()
    stage.command(Act.RE_ARM)
    stage.read()
    stage.tick()
    assert stage.state is TradingState.ACTIVE
    stage.agrees()


def test_a_deposit_that_nobody_told_of_is_adopted_and_is_no_profit(stage: Stage) -> None:
    stage.bought()
    before = stage.engine.book.unit.value
    stage.venue.account.held[stage.place.quote] += Decimal(5_000)
    adopted(stage)
    assert abs(stage.engine.book.unit.value / before - 1.0) < 1e-6
    is_open_and_safe(stage)


def test_what_left_the_account_is_adopted_as_an_outcome_that_frees_its_slot(stage: Stage) -> None:
    stage.bought()
    stage.venue.cancel_all()
    stage.venue.account.held["BTC"] = Decimal(0)
    adopted(stage)
    assert stage.trade is None and [o.cause for o in stage.told.outcomes] == ["by hand"]


def test_what_was_bought_by_hand_is_adopted_as_nothing_of_ours(stage: Stage) -> None:
    stage.bought()
    stage.venue.trade_by_hand(stage.named(stage.eth), Side.BUY, 1.0)
    adopted(stage)
    assert stage.engine.book.ours(stage.eth.id).qty == 0.0 and stage.engine.book.held(stage.eth.id) > 0.9
    assert not stage.engine.slots.trade(stage.eth.id)


def test_nothing_is_adopted_where_nobody_disagrees(stage: Stage) -> None:
    stage.bought()
    stage.command(Act.ADOPT)
    stage.venue.account.held[stage.place.quote] += Decimal(5_000)
    stage.read()
    assert stage.state is TradingState.REDUCING
