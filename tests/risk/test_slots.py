"""Two slots as a machine of answers and prices: what it wants of each, what it makes of each, when one is free."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffe.model import (
    HOUR,
    SECOND,
    Accepted,
    AccountRead,
    Answer,
    Cancel,
    Cancelled,
    Cause,
    DecisionId,
    Event,
    Failed,
    Fault,
    Found,
    Heartbeat,
    Holding,
    Instrument,
    InstrumentId,
    Known,
    Nanos,
    OrderId,
    Price,
    Qty,
    Query,
    Rejected,
    Report,
    Role,
    Side,
    StopUnfilled,
    Withheld,
)  # fmt: skip
from ffe.risk.limits import SlotRules, WatchRules
from ffe.risk.slots import Slots, SlotState, Trade, Want, WantExit, WantProtect
from tests.risk.values import (
    BTC,
    ETH,
    EURJPY,
    EURUSD,
    KRAKEN,
    OANDA,
    PRICES,
    START,
    USDJPY,
    bars,
    book,
    deposit,
    fill,
    filled,
    quotes,
    wanted,
)  # fmt: skip

LONG, SHORT = Side.LONG, Side.SHORT
LATER = START + HOUR
QUIET = quotes({}, LATER)  # a market event that says nothing of our instruments


class Desk:
    """Slots on a real book, orders sent by hand."""

    def __init__(self, slots: int = 2) -> None:
        self.book = book(deposit(KRAKEN, 100_000.0), deposit(OANDA, 100_000.0))
        self.slots = Slots(self.book, SlotRules(slots=slots), WatchRules())

    def enter(
        self, of: Instrument = BTC, qty: Qty = 1.0, side: Side = LONG, slot: int = 0, stop: Price | None = None,
        target: Price | None = None,
    ) -> OrderId:  # fmt: skip
        order = OrderId(f"entry{slot}")
        intent = wanted(of, qty, side, stop=stop, target=target)
        self.slots.open(slot, intent, DecisionId(f"decision{slot}"), order, "provider", START)
        return order

    def hold(self, of: Instrument = BTC, qty: Qty = 1.0, side: Side = LONG, slot: int = 0) -> OrderId:
        """A trade that is filled and protected; the order of its protection."""
        entry = self.enter(of, qty, side, slot)
        self.filled(entry, of, side * qty)
        return self.protect(of, OrderId(f"protect{slot}"))

    def protect(self, of: Instrument = BTC, order: str = "protect", is_accepted: bool = True) -> OrderId:
        self.slots.protecting(self.trade(of), OrderId(order), START)
        if is_accepted:
            self.answer(Accepted(START, of.venue, OrderId(order)))
        return OrderId(order)

    def exit(self, of: Instrument = BTC, order: str = "exit") -> OrderId:
        trade = self.trade(of)
        self.slots.sent(trade, OrderId(order), Role.EXIT, trade.qty, START)
        return OrderId(order)

    def answer(self, answer: Answer) -> None:
        self.slots.apply(answer, self.book.apply(answer))

    def filled(
        self, order: str | None, of: Instrument = BTC, qty: Qty = 1.0, price: Price | None = None,
        cause: Cause = Cause.ENTRY, done: bool = True, optimistic: Price | None = None, fee: float = 0.0,
        trade: str = "", time: Nanos = START,
    ) -> None:  # fmt: skip
        price = PRICES[of.id] if price is None else price
        one = fill(of, qty, price, fee, cause=cause, optimistic=optimistic, trade=trade)
        self.answer(filled(one, order, time, done))

    def trade(self, of: Instrument = BTC) -> Trade:
        trade = self.slots.trade(of.id)
        assert trade is not None
        return trade

    def due(self, event: Event = QUIET) -> list[Want]:
        return list(self.slots.due(event))

    def after(self, prices: dict[InstrumentId, Price], time: Nanos = LATER) -> list[Want]:
        """What is due after these prices."""
        event = quotes(prices, time)
        self.book.observe(event)
        return self.due(event)


def failed(order: OrderId, venue: str = "kraken") -> Failed:
    return Failed(START, KRAKEN if venue == "kraken" else OANDA, order, Fault.TIMEOUT)


# ---------------------------------------------------------------- a slot is held


def test_reserved_slot_is_held_and_its_entry_counts() -> None:
    desk = Desk()
    assert (desk.slots.free(), desk.slots.is_empty) == ([0, 1], True)
    desk.enter(slot=1)
    assert (desk.slots.free(), desk.slots.count, desk.slots.is_empty) == ([0], 1, False)
    trade = desk.trade()
    assert (trade.slot, trade.state, trade.reserved, trade.qty) == (1, SlotState.PENDING, 1.0, 0.0)
    assert (desk.slots.trades(), desk.slots.trade(ETH.id)) == ([trade], None)


def test_there_are_as_many_slots_as_configured() -> None:
    assert Desk(1).slots.free() == [0]


def test_orders_under_way_have_a_role() -> None:
    desk = Desk()
    entry = desk.enter()
    assert (desk.slots.role(entry), desk.slots.role(OrderId("other")), desk.slots.role(None)) == (
        Role.ENTRY,
        None,
        None,
    )
    desk.filled(entry)
    assert desk.slots.role(desk.protect()) is Role.PROTECT
    assert desk.slots.role(desk.exit()) is Role.EXIT
    assert desk.slots.role(entry) is None


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (Rejected(START, KRAKEN, OrderId("entry0"), "insufficient funds"), "insufficient funds"),
        (Cancelled(START, KRAKEN, OrderId("entry0"), "COLLAR"), "COLLAR"),
        (Withheld(START, KRAKEN, OrderId("entry0"), "the disk is full"), "the disk is full"),
        (Report(START, KRAKEN, OrderId("entry0"), Known.DONE), "report"),
    ],
)
def test_entry_that_came_to_nothing_frees_its_slot_and_is_no_trade(answer: Answer, why: str) -> None:
    desk = Desk()
    desk.enter()
    desk.answer(answer)
    assert (desk.slots.free(), desk.slots.take_freed(), desk.slots.take_outcomes()) == ([0, 1], [(0, why)], [])
    assert desk.slots.take_freed() == []


def test_answers_to_other_orders_change_nothing() -> None:
    desk = Desk()
    desk.enter()
    before = desk.trade()
    desk.answer(Rejected(START, KRAKEN, OrderId("another"), "funds"))
    desk.answer(Cancelled(START, KRAKEN, None, "nothing of ours"))
    desk.filled(None, BTC, 5.0)
    assert desk.trade() == before


# ---------------------------------------------------------------- entry and protection


@pytest.mark.parametrize(("side", "stop", "target"), [(LONG, 49_000.0, 52_500.0), (SHORT, 51_000.0, 47_500.0)])
def test_filled_entry_wants_its_stop_and_target_at_once(side: Side, stop: Price, target: Price) -> None:
    desk = Desk()
    desk.filled(desk.enter(side=side), BTC, side * 1.0)
    assert desk.trade().state is SlotState.OPEN
    assert desk.due(Accepted(START, KRAKEN, None)) == [WantProtect(BTC.id, stop, target, None)]


def test_strategys_own_levels_hold() -> None:
    desk = Desk()
    desk.filled(desk.enter(stop=45_000.0, target=60_000.0))
    assert desk.due() == [WantProtect(BTC.id, 45_000.0, 60_000.0, None)]


def test_levels_are_measured_from_the_average_fill() -> None:
    desk = Desk()
    entry = desk.enter()
    desk.filled(entry, BTC, 0.5, 49_000.0, done=False)
    desk.filled(entry, BTC, 0.5, 51_000.0)
    assert desk.slots.levels(desk.trade()) == (49_000.0, 52_500.0)


def test_partial_fill_is_protected_and_the_rest_stays_reserved() -> None:
    desk = Desk()
    desk.filled(desk.enter(), BTC, 0.25, done=False)
    trade = desk.trade()
    assert (trade.state, trade.qty, trade.reserved) == (SlotState.OPEN, 0.25, 0.75)
    assert [type(want) for want in desk.due()] == [WantProtect]
    desk.protect()
    assert desk.due() == []


def test_further_fill_wants_the_protection_replaced() -> None:
    desk = Desk()
    entry = desk.enter()
    desk.filled(entry, BTC, 0.25, done=False)
    old = desk.protect()
    desk.filled(entry, BTC, 0.75)
    assert desk.due() == [WantProtect(BTC.id, 49_000.0, 52_500.0, old)]
    assert desk.slots.role(desk.protect(BTC, "wider")) is Role.PROTECT
    assert (desk.slots.role(old), desk.due()) == (None, [])


def test_old_stop_rests_on_where_its_replacement_is_refused() -> None:
    desk = Desk()
    entry = desk.enter()
    desk.filled(entry, BTC, 0.25, done=False)
    old = desk.protect()
    desk.filled(entry, BTC, 0.75)
    new = desk.protect(BTC, "wider", is_accepted=False)
    desk.answer(Rejected(START, KRAKEN, new, "price"))
    assert (desk.slots.role(old), desk.slots.role(new)) == (Role.PROTECT, None)
    assert desk.due() == [WantProtect(BTC.id, 49_000.0, 52_500.0, old)]


def test_old_stop_that_fills_before_it_is_replaced_ends_the_trade() -> None:
    desk = Desk()
    entry = desk.enter()
    desk.filled(entry, BTC, 0.25, done=False)
    old = desk.protect()
    desk.filled(entry, BTC, 0.75)
    new = desk.protect(BTC, "wider", is_accepted=False)
    desk.filled(old, BTC, -1.0, 49_000.0, Cause.STOP)
    assert desk.due() == [Cancel(KRAKEN, new)]
    desk.answer(Cancelled(START, KRAKEN, new, "asked"))
    assert desk.slots.free() == [0, 1]


def test_changed_average_wants_new_levels_though_the_size_is_the_same() -> None:
    desk = Desk()
    entry = desk.enter()
    desk.filled(entry, BTC, 0.5, 50_000.0, done=False)
    desk.protect()
    desk.filled(entry, BTC, 0.5, 52_000.0, done=False)
    assert desk.due() == [WantProtect(BTC.id, 49_980.0, 53_550.0, OrderId("protect"))]


def test_what_cannot_rest_a_stop_in_three_tries_is_closed() -> None:
    desk = Desk()
    desk.filled(desk.enter())
    for number in range(3):
        assert [type(want) for want in desk.due()] == [WantProtect]
        desk.answer(Rejected(START, KRAKEN, desk.protect(BTC, f"try{number}", is_accepted=False), "price"))
    assert desk.due() == [WantExit(BTC.id, "stop could not be placed")]


def test_stop_that_rested_once_begins_its_tries_anew() -> None:
    desk = Desk()
    desk.filled(desk.enter())
    for number in range(5):
        desk.answer(Rejected(START, KRAKEN, desk.protect(BTC, f"try{number}", is_accepted=False), "price"))
        desk.answer(Cancelled(START, KRAKEN, desk.protect(BTC, f"rests{number}"), "by the venue", True))
        assert [type(want) for want in desk.due()] == [WantProtect]


def test_entry_that_is_accepted_says_nothing_of_the_stop() -> None:
    desk = Desk()
    entry = desk.enter()
    desk.filled(entry, BTC, 0.5, done=False)
    for number in range(3):
        desk.answer(Accepted(START, KRAKEN, entry))
        desk.answer(Rejected(START, KRAKEN, desk.protect(BTC, f"try{number}", is_accepted=False), "price"))
    assert desk.due() == [WantExit(BTC.id, "stop could not be placed")]


def test_order_that_is_not_wanted_and_rests_on_is_taken_back_once_a_second() -> None:
    """It was answered as fast as it was asked: 1,000 cancellations within an instant."""
    desk = Desk()
    entry = desk.enter()
    desk.slots.cancel_entries("halted")
    cancel, rests_on = [Cancel(KRAKEN, entry)], Report(LATER, KRAKEN, entry, Known.WORKING)
    assert desk.due(Heartbeat(LATER)) == cancel
    desk.answer(rests_on)
    assert desk.due(Heartbeat(LATER)) == cancel
    desk.answer(rests_on)
    assert desk.due(Heartbeat(LATER)) == desk.due(Heartbeat(LATER + SECOND - 1)) == []
    assert desk.due(Heartbeat(LATER + SECOND)) == cancel


def test_stop_that_was_triggered_and_does_not_fill_is_followed_by_an_exit_at_once() -> None:
    desk = Desk()
    protect = desk.hold()
    desk.answer(StopUnfilled(START, KRAKEN, protect))
    assert desk.due() == [WantExit(BTC.id, "stop did not fill")]
    assert desk.slots.trade(BTC.id).flight(Role.PROTECT) is not None, "it rests until the exit needs its coins"


def test_stop_that_does_not_fill_changes_no_reason_to_close() -> None:
    desk = Desk()
    protect = desk.hold()
    desk.slots.close("emergency stop")
    desk.answer(StopUnfilled(START, KRAKEN, protect))
    assert desk.due() == [WantExit(BTC.id, "emergency stop")]


def test_stop_that_the_venue_killed_is_placed_again() -> None:
    desk = Desk()
    protect = desk.hold()
    assert desk.due() == []
    desk.answer(Cancelled(START, KRAKEN, protect, "by the venue", True))
    assert desk.due() == [WantProtect(BTC.id, 49_000.0, 52_500.0, None)]


def test_add_shares_the_slot_and_moves_the_levels_once_it_fills() -> None:
    desk = Desk()
    old = desk.hold()
    intent = wanted(BTC, 1.0, LONG, 54_000.0, stop=45_000.0)
    desk.slots.add(desk.trade(), intent, OrderId("more"), LATER)
    assert (desk.slots.free(), desk.trade().reserved, desk.due()) == ([1], 1.0, [])
    desk.filled("more", BTC, 1.0, 54_000.0)
    assert (desk.trade().qty, desk.trade().average, desk.trade().decision) == (2.0, 52_000.0, "decision0")
    assert desk.due() == [WantProtect(BTC.id, 45_000.0, 54_600.0, old)]


# ---------------------------------------------------------------- the end of a trade


def test_stop_ends_the_trade_and_is_an_outcome() -> None:
    desk = Desk()
    entry = desk.enter(BTC, 2.0)
    desk.filled(entry, BTC, 1.0, 50_000.0, fee=10.0, done=False)
    desk.filled(entry, BTC, 1.0, 51_000.0, fee=10.0)
    desk.filled(desk.protect(), BTC, -2.0, 49_000.0, Cause.STOP, fee=20.0, time=LATER)
    (outcome,) = desk.slots.take_outcomes()
    assert (outcome.time, outcome.opened, outcome.slot, outcome.decision) == (LATER, START, 0, "decision0")
    assert (outcome.entry, outcome.exit, outcome.qty, outcome.side) == (50_500.0, 49_000.0, 2.0, LONG)
    assert (outcome.pnl, outcome.fees, outcome.cause, outcome.provider) == (-3_040.0, 40.0, "stop", "provider")
    assert (desk.slots.free(), desk.slots.take_freed(), outcome.optimistic_pnl) == ([0, 1], [(0, "stop")], None)
    assert desk.slots.take_outcomes() == []


def test_ambiguous_stop_says_what_the_target_would_have_been() -> None:
    desk = Desk()
    desk.filled(desk.hold(side=SHORT), BTC, 1.0, 51_000.0, Cause.STOP, optimistic=47_500.0)
    (outcome,) = desk.slots.take_outcomes()
    assert (outcome.pnl, outcome.optimistic_pnl) == (-1_000.0, 2_500.0)


def test_optimistic_gain_is_converted_like_any_other() -> None:
    desk = Desk()
    desk.filled(desk.hold(EURJPY, 128.0), EURJPY, -128.0, 150.0, Cause.STOP, optimistic=168.0)
    (outcome,) = desk.slots.take_outcomes()
    assert (outcome.pnl, outcome.optimistic_pnl) == (-10.0, 8.0)


def test_exit_in_parts_ends_with_the_last() -> None:
    desk = Desk()
    protect = desk.hold()
    desk.slots.close("signal")
    leaving = desk.exit()
    desk.filled(leaving, BTC, -0.5, 51_000.0, Cause.EXIT, done=False)
    assert (desk.trade().qty, desk.trade().state, desk.slots.free()) == (0.5, SlotState.CLOSING, [1])
    desk.filled(leaving, BTC, -0.5, 52_000.0, Cause.EXIT)
    assert desk.due() == [Cancel(KRAKEN, protect)]
    desk.answer(Cancelled(START, KRAKEN, protect, "asked"))
    (outcome,) = desk.slots.take_outcomes()
    assert (outcome.exit, outcome.pnl, outcome.cause) == (51_500.0, 1_500.0, "signal")


def test_flat_trade_holds_its_slot_until_its_stop_is_proven_gone() -> None:
    desk = Desk()
    protect = desk.hold()
    desk.slots.close("signal")
    desk.filled(desk.exit(), BTC, -1.0, 50_000.0, Cause.EXIT)
    assert (desk.slots.free(), desk.due(), desk.due()) == ([1], [Cancel(KRAKEN, protect)], [])
    desk.answer(Cancelled(START, KRAKEN, protect, "asked"))
    assert (desk.slots.free(), desk.slots.take_freed()) == ([0, 1], [(0, "signal")])


def test_stop_of_a_flat_trade_is_cancelled_once() -> None:
    desk = Desk()
    protect = desk.hold()
    desk.slots.close("signal")
    leaving = desk.exit()
    desk.filled(leaving, BTC, -1.0, 50_000.0, Cause.EXIT)
    assert desk.due() == [Cancel(KRAKEN, protect)]
    desk.answer(Report(LATER, KRAKEN, leaving, Known.DONE))
    assert desk.due() == []
    desk.answer(failed(protect))
    assert desk.due() == [Query(KRAKEN, protect)]


def test_stop_of_which_nothing_is_known_is_asked_for_and_not_cancelled() -> None:
    desk = Desk()
    protect = desk.hold()
    desk.slots.close("signal")
    leaving = desk.exit()
    desk.answer(failed(protect))
    desk.filled(leaving, BTC, -1.0, 50_000.0, Cause.EXIT)
    assert desk.due() == [Query(KRAKEN, protect)]


def test_end_of_one_trade_leaves_the_orders_of_the_other() -> None:
    desk = Desk()
    first, second = desk.hold(), desk.hold(ETH, 4.0, slot=1)
    desk.filled(first, BTC, -1.0, 49_000.0, Cause.STOP)
    assert desk.slots.role(second) is Role.PROTECT
    desk.enter(BTC, 0.5)
    desk.answer(Cancelled(LATER, KRAKEN, first, "late"))
    assert desk.trade().state is SlotState.PENDING
    desk.filled(second, ETH, -4.0, 2_450.0, Cause.STOP)
    assert [outcome.instrument for outcome in desk.slots.take_outcomes()] == [BTC.id, ETH.id]


def test_financing_is_part_of_what_a_trade_earned() -> None:
    desk = Desk()
    protect = desk.hold(EURUSD, 1_000.0)
    desk.slots.carry(EURUSD.id, -3.0)
    desk.slots.carry(BTC.id, -100.0)
    desk.filled(protect, EURUSD, -1_000.0, 1.3125, Cause.TARGET)
    (outcome,) = desk.slots.take_outcomes()
    assert (outcome.pnl, outcome.cause) == (59.5, "target")


def test_liquidation_by_the_venue_ends_the_trade() -> None:
    desk = Desk()
    protect = desk.hold(EURUSD, 1_000.0)
    desk.filled(None, EURUSD, -1_000.0, 1.0, Cause.LIQUIDATION)
    assert desk.due() == [Cancel(OANDA, protect)]
    desk.answer(Cancelled(START, OANDA, protect, "asked"))
    assert [outcome.cause for outcome in desk.slots.take_outcomes()] == ["liquidation"]


def test_liquidation_that_would_add_is_none_of_ours() -> None:
    desk = Desk()
    desk.hold()
    before = desk.trade()
    desk.filled(None, BTC, 0.5, cause=Cause.LIQUIDATION)
    assert desk.trade() == before


def test_liquidation_of_a_part_leaves_the_rest() -> None:
    desk = Desk()
    old = desk.hold()
    desk.filled(None, BTC, -0.5, cause=Cause.LIQUIDATION)
    assert desk.trade().qty == 0.5
    assert desk.due() == [WantProtect(BTC.id, 49_000.0, 52_500.0, old)]


def test_dust_frees_the_slot_and_stays_in_the_book() -> None:
    desk = Desk()
    protect = desk.hold()
    desk.filled(protect, BTC, -0.99995, 49_000.0, Cause.STOP)
    assert (desk.slots.free(), desk.slots.count) == ([0, 1], 0)
    assert desk.book.ours(BTC.id).qty == pytest.approx(0.00005)


@pytest.mark.parametrize(
    ("left", "is_held"), [(0.000102, True), (0.0001, False)]
)  # the venue takes 5 USD: 0.0001 at 50,000, and a margin of a hundredth is kept
def test_position_above_the_minimum_is_no_dust(left: Qty, is_held: bool) -> None:
    desk = Desk()
    desk.filled(desk.hold(), BTC, left - 1.0, 49_000.0, Cause.STOP)
    assert (desk.slots.trade(BTC.id) is not None) is is_held


# ---------------------------------------------------------------- closing


def test_close_cancels_entries_under_way_and_wants_what_is_open_sold() -> None:
    desk = Desk()
    desk.hold()
    entry = desk.enter(ETH, 4.0, slot=1)
    desk.slots.close("emergency stop")
    assert desk.due() == [WantExit(BTC.id, "emergency stop"), Cancel(KRAKEN, entry)]
    assert {trade.state for trade in desk.slots.trades()} == {SlotState.CLOSING}


def test_close_of_one_instrument_leaves_the_other() -> None:
    desk = Desk()
    desk.hold()
    desk.hold(ETH, 4.0, slot=1)
    desk.slots.close("signal", ETH.id)
    assert desk.due() == [WantExit(ETH.id, "signal")]


def test_first_reason_to_close_stays() -> None:
    desk = Desk()
    desk.hold()
    desk.slots.close("signal")
    desk.slots.close("emergency stop")
    assert desk.due() == [WantExit(BTC.id, "signal")]
    entry = desk.enter(ETH, 4.0, slot=1)
    desk.slots.close("emergency stop")
    desk.slots.close("emergency stop")
    assert desk.slots.take_cancels() == [Cancel(KRAKEN, entry)]
    assert desk.slots.take_cancels() == []


def test_entry_that_fills_while_it_is_cancelled_is_sold() -> None:
    desk = Desk()
    entry = desk.enter()
    desk.slots.close("emergency stop")
    desk.filled(entry, BTC, 0.5, done=False)
    assert desk.due() == [WantExit(BTC.id, "emergency stop"), Cancel(KRAKEN, entry)]


def test_exit_is_wanted_once_and_again_at_the_next_price_if_it_fails() -> None:
    desk = Desk()
    desk.hold()
    desk.slots.close("signal")
    leaving = desk.exit()
    assert desk.due() == []
    refused = Rejected(START, KRAKEN, leaving, "halted")
    desk.answer(refused)
    assert desk.due(refused) == []
    assert desk.due() == [WantExit(BTC.id, "signal")]


# ---------------------------------------------------------------- orders that might exist


def test_entry_without_an_answer_is_unknown_and_asked_for() -> None:
    desk = Desk()
    silence = failed(desk.enter())
    desk.answer(silence)
    assert (desk.trade().state, desk.slots.free(), desk.trade().reserved) == (SlotState.UNKNOWN, [1], 1.0)
    assert desk.due(silence) == desk.due() == [Query(KRAKEN, OrderId("entry0"))]
    assert desk.due(Failed(LATER, KRAKEN, None, Fault.TIMEOUT, query=True)) == []
    assert desk.due(Accepted(LATER, KRAKEN, None)) == []


@pytest.mark.parametrize(
    "answer",
    [Accepted(LATER, KRAKEN, OrderId("entry0")), Report(LATER, KRAKEN, OrderId("entry0"), Known.WORKING)],
)
def test_unknown_entry_that_is_found_waits_on(answer: Answer) -> None:
    desk = Desk()
    desk.answer(failed(desk.enter()))
    desk.answer(answer)
    assert (desk.trade().state, desk.due()) == (SlotState.PENDING, [])


def test_unknown_entry_that_has_filled_is_a_trade() -> None:
    desk = Desk()
    entry = desk.enter()
    desk.answer(failed(entry))
    done = (fill(BTC, 0.5, 50_000.0, trade="1"), fill(BTC, 0.5, 51_000.0, trade="2"))
    desk.answer(Report(LATER, KRAKEN, entry, Known.DONE, done))
    desk.answer(Report(LATER, KRAKEN, entry, Known.DONE, done))
    assert (desk.trade().qty, desk.trade().average, desk.trade().state) == (1.0, 50_500.0, SlotState.OPEN)


def test_fill_makes_an_unknown_order_known() -> None:
    desk = Desk()
    entry = desk.enter()
    desk.answer(failed(entry))
    desk.filled(entry, BTC, 0.5, done=False)
    assert desk.trade().state is SlotState.OPEN


def lost(seconds: int, positions: Sequence[tuple[InstrumentId, Qty]], venue: str = "kraken") -> Desk:
    """An entry that is not found after so long, and then an account read."""
    desk = Desk()
    entry, now = desk.enter(), START + seconds * SECOND
    desk.answer(failed(entry))
    desk.answer(Report(now, KRAKEN, entry, Known.NOT_FOUND))
    account = [Query(KRAKEN, None)] if seconds >= 90 else []
    assert desk.due() == [Query(KRAKEN, entry), *account]
    desk.answer(AccountRead(now, KRAKEN if venue == "kraken" else OANDA, None, (), tuple(positions)))
    return desk


@pytest.mark.parametrize(("seconds", "positions", "venue", "free"), [
    (90, [], "kraken", [0, 1]),
    (89, [], "kraken", [1]),  # within the horizon it may still turn up
    (90, [(BTC.id, 1.0)], "kraken", [1]),  # it did turn up
    (90, [(BTC.id, -1.0)], "kraken", [1]),
    (90, [(BTC.id, 1e-6)], "kraken", [0, 1]),
    (90, [(BTC.id, 2e-6)], "kraken", [1]),
    (90, [], "oanda", [1]),
])  # fmt: skip
def test_order_never_was_when_not_found_beyond_the_horizon_and_positions_agree(
    seconds: int, positions: list[tuple[InstrumentId, Qty]], venue: str, free: list[int]
) -> None:
    assert lost(seconds, positions, venue).slots.free() == free


def test_order_that_reappears_is_not_lost() -> None:
    desk = Desk()
    entry = desk.enter()
    desk.answer(failed(entry))
    desk.answer(Report(START + 100 * SECOND, KRAKEN, entry, Known.NOT_FOUND))
    desk.answer(Report(START + 101 * SECOND, KRAKEN, entry, Known.WORKING))
    desk.answer(AccountRead(START + 102 * SECOND, KRAKEN, None, (), ()))
    assert desk.trade().state is SlotState.PENDING


def test_unknown_protection_is_asked_for_and_not_doubled() -> None:
    desk = Desk()
    desk.filled(desk.enter())
    protect = desk.protect(is_accepted=False)
    desk.answer(failed(protect))
    assert desk.due() == [Query(KRAKEN, protect)]
    desk.filled(None, ETH, 1.0)
    desk.answer(Report(START + 90 * SECOND, KRAKEN, protect, Known.NOT_FOUND))
    desk.answer(AccountRead(START + 90 * SECOND, KRAKEN, None, (), ((BTC.id, 1.0),)))
    assert desk.due() == [WantProtect(BTC.id, 49_000.0, 52_500.0, None)]


def test_unknown_exit_is_asked_for_and_not_doubled() -> None:
    desk = Desk()
    desk.hold()
    desk.slots.close("signal")
    leaving = desk.exit()
    desk.answer(failed(leaving))
    assert desk.due() == [Query(KRAKEN, leaving)]


def test_unknown_rest_of_an_entry_is_asked_for_though_the_part_is_covered() -> None:
    desk = Desk()
    entry = desk.enter()
    desk.filled(entry, BTC, 0.5, done=False)
    desk.protect()
    desk.answer(failed(entry))
    assert desk.due() == [Query(KRAKEN, entry)]


def test_failed_question_makes_nothing_unknown() -> None:
    desk = Desk()
    entry = desk.enter()
    desk.answer(Failed(START, KRAKEN, entry, Fault.TIMEOUT, query=True))
    assert desk.trade().state is SlotState.PENDING


def test_late_fill_of_a_cancelled_order_is_the_trades() -> None:
    desk = Desk()
    entry = desk.enter()
    desk.filled(entry, BTC, 0.5, done=False)
    desk.answer(Cancelled(START, KRAKEN, entry, "the rest"))
    desk.filled(entry, BTC, 0.25)
    assert (desk.trade().qty, desk.trade().reserved) == (0.75, 0.0)
    assert [type(want) for want in desk.due()] == [WantProtect]


# ---------------------------------------------------------------- the own watch


def test_watch_closes_on_the_second_reading_beyond_the_stop() -> None:
    desk = Desk()
    desk.hold()
    assert desk.after({BTC.id: 48_000.0}, LATER) == []
    assert desk.after({BTC.id: 48_500.0}, LATER + 1) == [WantExit(BTC.id, "watch")]


@pytest.mark.parametrize("between", [49_001.0, 50_000.0])
def test_watch_begins_anew_after_a_reading_within(between: Price) -> None:
    desk = Desk()
    desk.hold()
    prices = (48_000.0, between, 48_000.0)
    assert [desk.after({BTC.id: price}, LATER + n) for n, price in enumerate(prices)] == [[], [], []]
    assert desk.after({BTC.id: 49_000.0}, LATER + 9) == [WantExit(BTC.id, "watch")]


def test_price_that_was_read_before_is_no_second_reading() -> None:
    desk = Desk()
    desk.hold()
    assert desk.after({BTC.id: 48_000.0}, LATER) == []
    assert desk.after({ETH.id: 2_000.0}, LATER + 1) == []
    assert desk.after({ETH.id: 2_000.0}, LATER + 2) == []


def test_watch_sees_a_short_from_the_other_side() -> None:
    desk = Desk()
    desk.hold(EURUSD, 1_000.0, SHORT)
    assert desk.after({EURUSD.id: 1.2}, LATER) == desk.after({EURUSD.id: 1.2}, LATER + 1) == []
    assert desk.after({EURUSD.id: 1.275}, LATER + 2) == []
    assert desk.after({EURUSD.id: 1.28}, LATER + 3) == [WantExit(EURUSD.id, "watch")]


@pytest.mark.parametrize(("mid", "is_beyond"), [(126.7, True), (126.71, False)])  # sold at 1 % less; the stop is 125.44
def test_watch_reads_the_price_that_would_close_the_trade(mid: Price, is_beyond: bool) -> None:
    desk = Desk()
    desk.hold(USDJPY, 1_000.0)
    assert desk.after({USDJPY.id: mid}, LATER) == []
    assert desk.after({USDJPY.id: mid}, LATER + 1) == ([WantExit(USDJPY.id, "watch")] if is_beyond else [])


def test_watch_reads_bars_as_well_and_answers_not() -> None:
    desk = Desk()
    desk.hold()
    for n in range(2):
        desk.book.observe(bars({BTC.id: 48_000.0}, LATER + n))
        assert desk.due(Accepted(LATER + n, KRAKEN, None)) == []
    assert desk.due(bars({BTC.id: 48_000.0}, LATER + 1)) == []
    desk.book.observe(bars({BTC.id: 48_000.0}, LATER + 2))
    assert desk.due(bars({BTC.id: 48_000.0}, LATER + 2)) == [WantExit(BTC.id, "watch")]


def test_watch_does_not_rename_a_close_under_way() -> None:
    desk = Desk()
    desk.hold()
    desk.slots.close("signal")
    assert desk.after({BTC.id: 10.0}, LATER) == [WantExit(BTC.id, "signal")]
    assert desk.after({BTC.id: 10.0}, LATER + 1) == [WantExit(BTC.id, "signal")]


def test_stop_that_made_way_for_a_successor_that_failed_is_one_failed_try() -> None:
    desk = Desk()
    old = desk.hold()
    new = desk.protect(BTC, "next", is_accepted=False)
    desk.answer(Cancelled(START, KRAKEN, old, "makes way"))
    assert desk.due(Accepted(START, KRAKEN, None)) == []
    no = Rejected(START, KRAKEN, new, "too near")
    desk.answer(no)
    assert desk.trade().tries == 1 and desk.due(no) == []
    assert desk.due(QUIET) == [WantProtect(BTC.id, 49_000.0, 52_500.0, None)]


# ---------------------------------------------------------------- whatever is answered

parts = st.floats(0.05, 0.4)
said = st.one_of(
    st.tuples(st.just("fill"), parts),
    st.tuples(st.just("stop"), parts),
    st.tuples(st.sampled_from(["fail", "accept", "reject", "cancel", "lost"]), st.just(0.0)),
)


def say(desk: Desk, word: str, part: float, number: int) -> None:
    """One answer to the newest order of the trade, if there is one."""
    trade = desk.slots.trade(BTC.id)
    if trade is None or not trade.flights:
        return
    flight, now = trade.flights[-1], START + number * SECOND
    match word:
        case "fill" if flight.role is Role.ENTRY:
            left = flight.qty - flight.filled
            desk.filled(flight.order, BTC, min(part, left), done=part >= left)
        case "stop" if flight.role is not Role.ENTRY:
            cause = Cause.STOP if flight.role is Role.PROTECT else Cause.EXIT
            qty = min(part, trade.qty)
            desk.filled(flight.order, BTC, -qty, 49_000.0, cause, done=qty == trade.qty) if qty else None
        case "fail":
            desk.answer(failed(flight.order))
        case "accept":
            desk.answer(Accepted(now, KRAKEN, flight.order))
        case "reject":
            desk.answer(Rejected(now, KRAKEN, flight.order, "no"))
        case "cancel":
            desk.answer(Cancelled(now, KRAKEN, flight.order, "no more"))
        case "lost":
            desk.answer(Report(START + 100 * SECOND, KRAKEN, flight.order, Known.NOT_FOUND))
            desk.answer(AccountRead(now, KRAKEN, None, (), ((BTC.id, desk.book.held(BTC.id)),)))


def obey(desk: Desk, number: int) -> None:
    """Send what is wanted, as the engine would."""
    for want in desk.due(quotes({}, LATER + number)):
        match want:
            case WantProtect():
                desk.protect(BTC, f"protect{number}", is_accepted=False)
            case WantExit():
                desk.exit(BTC, f"exit{number}")


@given(st.lists(said, max_size=25), st.integers(0, 30))
def test_slot_is_free_only_when_nothing_of_ours_is_left(words: list[tuple[str, float]], close_at: int) -> None:
    desk = Desk()
    desk.enter()
    for number, (word, part) in enumerate(words):
        if number == close_at:
            desk.slots.close("signal")
        say(desk, word, part, number)
        obey(desk, number)
        trade, held = desk.slots.trade(BTC.id), desk.book.ours(BTC.id).qty
        assert (trade is None) == (0 in desk.slots.free())
        assert trade is not None or held * 50_000.0 < 5.0
        assert trade is None or trade.qty == abs(held)
        assert trade is None or not held or trade.flights or trade.retries or held * 49_000.0 < 5.1


def test_fills_of_the_book_are_what_outcomes_add_up_to() -> None:
    desk = Desk()
    for number in range(3):
        protect = desk.hold(BTC, 0.5)
        desk.filled(protect, BTC, -0.5, 48_000.0 + 2_000.0 * number, Cause.STOP, fee=1.5)
    outcomes = desk.slots.take_outcomes()
    assert [outcome.pnl for outcome in outcomes] == [-1_001.5, -1.5, 998.5]
    assert desk.book.ours_realised == sum(outcome.pnl for outcome in outcomes)


# ---------------------------------------------------------------- tried again by time


def beats(desk: Desk, seconds: float, step: float = 0.5) -> list[tuple[float, Want]]:
    """What is wanted while time passes and nothing else, with when; nothing that is wanted is sent."""
    ticks = [n * step for n in range(int(seconds / step) + 1)]
    return [(at, want) for at in ticks for want in desk.due(Heartbeat(START + int(at * SECOND)))]


def refused_exit(desk: Desk, at: float, again: Nanos | None = None) -> None:
    time = START + int(at * SECOND)
    order = OrderId(f"exit at {at}")
    desk.slots.sent(desk.trade(), order, Role.EXIT, 1.0, time)
    desk.answer(Withheld(time, KRAKEN, order, "not now", again=again) if again else Rejected(time, KRAKEN, order, "no"))


def test_refused_exit_is_tried_again_after_one_two_and_then_three_seconds() -> None:
    desk, at, gaps = Desk(), 0.0, []
    desk.hold()
    desk.slots.close("signal")
    for _ in range(4):
        refused_exit(desk, at)
        due = next(t for t, want in beats(desk, 60.0) if isinstance(want, WantExit) and t >= at)
        gaps.append(due - at)
        at = due
    assert gaps == [1.0, 2.0, 3.0, 3.0]


def test_exit_is_tried_again_when_the_venue_said_and_not_before() -> None:
    desk = Desk()
    desk.hold()
    desk.slots.close("signal")
    refused_exit(desk, 0.0, again=START + 7 * SECOND)
    assert beats(desk, 8.0)[0] == (7.0, WantExit(BTC.id, "signal"))


def test_price_does_not_bring_a_retry_forward() -> None:
    desk = Desk()
    desk.hold()
    desk.slots.close("signal")
    refused_exit(desk, 0.0, again=START + 7 * SECOND)
    assert desk.after({BTC.id: 50_000.0}, START + SECOND) == []


def test_unknown_order_is_asked_about_at_once_then_every_second_and_then_later_and_later() -> None:
    desk = Desk()
    entry = desk.enter()
    desk.answer(failed(entry))
    asked = [at for at, want in beats(desk, 60.0) if want == Query(KRAKEN, entry)]
    assert asked == [0.0, 1.0, 2.0, 3.0, 5.0, 9.0, 17.0, 27.0, 37.0, 47.0, 57.0]


def test_event_that_leads_to_nothing_changes_nothing() -> None:
    desk = Desk()
    desk.hold()
    desk.slots.close("signal")
    refused_exit(desk, 0.0)
    before = desk.slots.save()
    assert desk.due(Heartbeat(START + SECOND - 1)) == [] and desk.slots.save() == before


# ---------------------------------------------------------------- lost exits and stops


def not_found(desk: Desk, order: OrderId, at: float = 0.0, venue: str = KRAKEN) -> None:
    desk.answer(Report(START + int(at * SECOND), venue, order, Known.NOT_FOUND))


@pytest.mark.parametrize("told", [True, False])
def test_lost_stop_is_wanted_again_once_the_venue_does_not_show_it(told: bool) -> None:
    desk = Desk()
    desk.filled(desk.enter())
    stop = desk.protect(is_accepted=False)
    desk.answer(failed(stop))
    assert not [want for _, want in beats(desk, 5.0) if isinstance(want, WantProtect)], "it may still be there"
    if told:
        not_found(desk, stop)
    else:
        desk.answer(replace(failed(stop), query=True))
    wants = [(at, want) for at, want in beats(desk, 3.0) if isinstance(want, WantProtect)]
    assert wants[0] == (1.0, WantProtect(BTC.id, 49_000.0, 52_500.0, stop))


def test_entry_that_is_not_found_is_waited_for_and_not_repeated() -> None:
    desk = Desk()
    entry = desk.enter()
    desk.answer(failed(entry))
    not_found(desk, entry)
    assert {type(want) for _, want in beats(desk, 80.0)} == {Query}


def lost_exit(desk: Desk) -> OrderId:
    """The stop made way, and the exit was lost."""
    stop = desk.hold()
    desk.slots.close("signal")
    exit = desk.exit()
    desk.answer(Cancelled(START, KRAKEN, stop, "makes way for an exit"))
    desk.answer(failed(exit))
    not_found(desk, exit)
    return exit


def test_lost_exit_is_repeated_behind_a_stop() -> None:
    desk = Desk()
    lost_exit(desk)
    kinds = [type(want) for at, want in beats(desk, 1.0) if not isinstance(want, Query)]
    assert kinds == [WantProtect], "first the position gets its stop again"
    desk.protect(order="again", is_accepted=False)
    assert not [w for _, w in beats(desk, 1.0) if isinstance(w, WantExit)], "and the venue has to confirm it"
    desk.answer(Accepted(START, KRAKEN, OrderId("again")))
    assert WantExit(BTC.id, "signal") in desk.due(Heartbeat(START + SECOND))


def test_lost_exit_beside_coins_that_are_not_ours_is_repeated_only_when_it_is_proven_gone() -> None:
    desk = Desk()
    desk.answer(Found(START, KRAKEN, None, Holding(BTC.id, 1.0, 50_000.0)))
    exit = lost_exit(desk)
    desk.protect(order="again")
    assert not [want for _, want in beats(desk, 80.0) if isinstance(want, WantExit)]
    not_found(desk, exit, at=91.0)
    desk.answer(AccountRead(START + 91 * SECOND, KRAKEN, None, (), ((BTC.id, 2.0),)))
    assert WantExit(BTC.id, "signal") in desk.due(Heartbeat(START + 95 * SECOND))


def test_refusal_of_a_repeated_stop_is_no_failure_to_protect() -> None:
    """The lost one rests after all, and has the coins."""
    desk = Desk()
    desk.filled(desk.enter())
    first = desk.protect(is_accepted=False)
    desk.answer(failed(first))
    not_found(desk, first)
    for n in range(4):
        again = desk.protect(order=f"again{n}", is_accepted=False)
        desk.answer(Rejected(START, KRAKEN, again, "insufficient balance"))
    trade = desk.trade()
    assert (trade.tries, trade.closing) == (0, "") and [f.order for f in trade.flights] == [first]
    desk.answer(Report(START, KRAKEN, first, Known.WORKING))
    assert desk.trade().is_calm


def test_lost_stop_that_turns_up_beside_its_successor_is_taken_back() -> None:
    desk = Desk()
    desk.filled(desk.enter())
    first = desk.protect(is_accepted=False)
    desk.answer(failed(first))
    not_found(desk, first)
    second = desk.protect(order="second")
    assert [f.order for f in desk.trade().flights] == [first, second]
    desk.answer(Report(START, KRAKEN, first, Known.WORKING))
    assert desk.due(Heartbeat(START + SECOND)) == [Cancel(KRAKEN, first)]


def test_stop_follows_an_entry_that_is_still_filling_once_a_second() -> None:
    desk = Desk()
    entry = desk.enter(qty=1.0)
    desk.filled(entry, qty=0.2, done=False, trade="1")
    desk.protect()
    desk.filled(entry, qty=0.3, done=False, trade="2")
    assert [at for at, want in beats(desk, 2.0) if isinstance(want, WantProtect)] == [1.0, 1.5, 2.0]
    desk.filled(entry, qty=0.5, done=True, trade="3")
    assert [type(want) for want in desk.due(Heartbeat(START))] == [WantProtect], "all of it has filled"


# ---------------------------------------------------------------- the watched target


def test_quote_through_a_watched_target_needs_a_second_reading() -> None:
    desk = Desk()
    desk.book.universe.accounts[KRAKEN] = replace(desk.book.universe.accounts[KRAKEN], rests_targets=False)
    desk.hold()
    assert desk.after({BTC.id: 53_000.0}, START + SECOND) == []
    assert desk.after({BTC.id: 52_000.0}, START + 2 * SECOND) == [], "it was one odd reading"
    assert desk.after({BTC.id: 53_000.0}, START + 3 * SECOND) == []
    assert desk.after({BTC.id: 53_000.0}, START + 4 * SECOND) == [WantExit(BTC.id, "target")]


def test_close_through_a_watched_target_confirms_itself() -> None:
    desk = Desk()
    desk.book.universe.accounts[KRAKEN] = replace(desk.book.universe.accounts[KRAKEN], rests_targets=False)
    desk.hold()
    event = bars({BTC.id: 53_000.0}, LATER)
    desk.book.observe(event)
    assert desk.due(event) == [WantExit(BTC.id, "target")]


def test_order_that_was_not_sent_is_no_failure_to_protect() -> None:
    desk = Desk()
    desk.filled(desk.enter())
    for n in range(4):
        stop = desk.protect(order=f"stop{n}", is_accepted=False)
        desk.answer(Withheld(START, KRAKEN, stop, "the venue limits the rate of requests", again=START + SECOND))
    assert (desk.trade().tries, desk.trade().closing) == (0, "")
