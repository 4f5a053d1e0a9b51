"""What the engine does when OANDA does what a venue should not: the fault catalogue over the real adapter.

Left out, because a REST API polled by one caller cannot show them: F27 (prices come from a feed, the adapter asks for
none), F28 (no stream), F30's reordering (one question at a time; slowness alone is here), the local half of F31 (the
adapter sets no timer), F37 to F40 (process, disk, instances and backups are other rooms).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from decimal import Decimal

import pytest

from ffe.model import (
    MINUTE,
    SECOND,
    AccountRead,
    Act,
    Cancelled,
    CashFlow,
    Cause,
    Disposition,
    Exit,
    Failed,
    Fault,
    Filled,
    Known,
    Nanos,
    Rejected,
    Report,
    Withheld,
)  # fmt: skip
from ffe.risk.guard import TradingState
from ffe.wire.errors import Denied, Unclear
from ffe.wire.oanda_wire import OandaClient
from tests.faults.stage_oanda import AUD, CLOSE, EUR, GBP, START, TOKEN, YEN, Stage, staged
from tests.venues import oanda_faults as venue
from tests.venues.oanda_faults import (
    ANY,
    CANCEL,
    ID_RANGE,
    MISSING,
    OPEN_POSITIONS,
    POST_ORDER,
    PROTECT,
    SINCE_ID,
    SUMMARY,
    Altered,
    CancelUnasked,
    Chaos,
    FillFirst,
    ForgetOrders,
    Garbled,
    Hidden,
    HttpError,
    Kill,
    Maintenance,
    ManualTrade,
    MarketClosed,
    Meanwhile,
    NoReply,
    On,
    Partial,
    Reject,
    Rows,
    Skew,
    Slow,
    Stale,
    StopsAsleep,
    TruncateId,
    Zombie,
)  # fmt: skip
from tests.venues.oanda_wire import Cell, Reply, Request

Set = Callable[..., Stage]
SENT: Nanos = START + 2 * MINUTE  # when the first order of most tests leaves
SENDING = {"entry": POST_ORDER, "stop": PROTECT, "exit": CLOSE}
sending = pytest.mark.parametrize("on", SENDING.values(), ids=SENDING.keys())


@pytest.fixture
def stage() -> Iterator[Set]:
    with ExitStack() as stack:
        yield lambda *symbols, **how: stack.enter_context(staged(*symbols, **how))


def entered(stage: Set, *faults: venue.Fault, **how: object) -> Stage:
    """Bought, filled and behind its stop; the faults are scripted then."""
    s = stage(**how)
    s.minute(None, s.buy())
    assert s.slots() == {EUR: "open"} and s.stops() == [(1.225, 10_000.0)]
    s.script(*faults)
    return s


def added(stage: Set, *faults: venue.Fault) -> Stage:
    """One position of two trades at different prices."""
    s = entered(stage)
    s.minute({EUR: 1.26}, s.buy(qty=5_000.0, add=True))
    assert s.ours() == 15_000.0 and [qty for _, qty in s.stops()] == [10_000.0, 5_000.0]
    s.script(*faults)
    return s


def journey(s: Stage, patience: int = 4) -> None:
    """In and out, with time to find out what happened: each once, protected between, flat and agreed after."""
    s.minute(None, s.buy())
    s.minutes(patience)
    assert s.slots() == {EUR: "open"} and s.ours() == s.at_venue() == 10_000.0 and len(s.stops()) == 1
    s.minute(None, s.leave())
    s.minutes(patience)
    assert s.slots() == {} and s.at_venue() == 0.0 and not s.stops() and s.agrees()
    assert len(s.requests(POST_ORDER)) == 1 and not s.engine.guard.latches


def gone(s: Stage) -> None:
    """Flat, and both sides say so."""
    assert s.slots() == {} and s.at_venue() == 0.0 and not s.stops() and s.agrees()


# ---------------------------------------------------------------- F1 to F9: answers that never come, or say nothing


def test_f1_a_request_that_is_lost_holds_its_slot_until_it_is_proven_gone(stage: Set) -> None:
    s = stage(faults=[NoReply(POST_ORDER, drops=True)])
    held = []
    for signals in ([s.buy()], [], []):
        s.minute(None, *signals)
        held.append(s.slots())
    assert held == [{EUR: "unknown"}] * 2 + [{}]
    assert {a.state for a in s.answers(Report)} == {Known.NOT_FOUND} and len(
        s.answers(AccountRead)
    ) == 1 + 1  # the opening's
    assert len(s.requests(POST_ORDER)) == 1
    gone(s)


def test_f1_an_exit_that_is_lost_leaves_again_under_another_name(stage: Set) -> None:
    s = entered(stage, NoReply(CLOSE, drops=True))
    s.minute(None, s.leave())
    assert s.slots() == {EUR: "unknown"} and len(s.stops()) == 1
    s.minutes(3)
    assert len(s.told.of(Exit)) == len(s.requests(CLOSE)) == 2
    gone(s)


def test_f1_stop_that_is_lost_is_placed_again_within_seconds(stage: Set) -> None:
    s = stage(faults=[NoReply(PROTECT, drops=True)])
    s.minute(None, s.buy())
    assert s.slots() == {EUR: "unknown"} and s.stops() == [(1.225, 10_000.0)], "the one that came with the entry"
    s.beats(2)
    assert len(s.requests(PROTECT)) == 2
    s.minutes(3)
    assert s.slots() == {EUR: "open"} and s.stops() == [(1.225, 10_000.0)]


def test_f2_an_accepted_order_whose_reply_is_lost_is_found_and_fills(stage: Set) -> None:
    s = stage(next_price=True, faults=[NoReply(POST_ORDER, accepted=True, drops=True)])
    s.minute(None, s.buy())
    assert s.slots() == {EUR: "pending"} and [a.state for a in s.answers(Report)] == [Known.WORKING]
    s.minute()
    assert s.slots() == {EUR: "open"} and s.agrees() and len(s.requests(POST_ORDER)) == 1


@sending
def test_f3_filled_and_the_reply_lost_is_found_and_counted_once(stage: Set, on: On) -> None:
    s = stage(faults=[NoReply(on, accepted=True, drops=True)])
    journey(s)
    assert len(s.requests(CLOSE)) == len(s.requests(PROTECT)) == 1 and s.failures == 1


@sending
@pytest.mark.parametrize("status", [500, 504])
def test_f4_an_http_error_after_acceptance_is_no_rejection(stage: Set, on: On, status: int) -> None:
    s = stage(faults=[HttpError(on, status, accepted=True)])
    journey(s)
    assert not s.answers(Rejected) and len(s.requests(CLOSE)) == len(s.requests(PROTECT)) == 1


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_f5_an_http_error_without_acceptance_is_the_same_doubt(stage: Set, status: int) -> None:
    s = stage(faults=[HttpError(POST_ORDER, status)])
    s.minute(None, s.buy())
    assert s.slots() == {EUR: "unknown"}
    s.minutes(3)
    gone(s)
    assert len(s.requests(POST_ORDER)) == 1


@pytest.mark.parametrize("late", [10, 59, 60, 85])
def test_f6_a_request_that_arrives_late_is_ours_and_protected(stage: Set, late: int) -> None:
    s = stage(faults=[Zombie(POST_ORDER, late * SECOND, drops=True)])
    s.minute(None, s.buy())
    s.minutes(4)
    assert s.ours() == s.at_venue() == 10_000.0 and s.stops() == [(1.225, 10_000.0)]
    assert len(s.requests(POST_ORDER)) == 1 and s.agrees()


def test_f6_a_late_exit_closes_once_and_never_reverses(stage: Set) -> None:
    s = entered(stage, Zombie(CLOSE, 170 * SECOND, drops=True))
    s.minute(None, s.leave())
    s.minutes(6)
    gone(s)


def test_f6_beyond_the_declared_horizon_a_late_entry_stops_everything(stage: Set) -> None:
    s = stage(faults=[Zombie(POST_ORDER, 290 * SECOND, drops=True)])
    s.minute(None, s.buy())
    s.minutes(3)
    assert s.slots() == {}
    s.minutes(3)
    assert s.at_venue() == 10_000.0 and s.state is TradingState.HALTED


def test_f7_what_the_venue_does_not_show_yet_is_not_gone(stage: Set) -> None:
    s = stage(faults=[NoReply(POST_ORDER, accepted=True, drops=True), Stale(SINCE_ID.during(SENT, SENT + 85 * SECOND))])
    s.minute(None, s.buy())
    s.minute()
    assert s.slots() == {EUR: "unknown"} and s.at_venue() == 10_000.0
    s.minute()
    assert s.slots() == {EUR: "open"} and s.agrees() and len(s.requests(POST_ORDER)) == 1


def test_f7_a_list_that_hides_what_it_counts_is_fetched_another_way(stage: Set) -> None:
    journey(stage(faults=[Hidden(SINCE_ID.every())]))


@pytest.mark.parametrize("fault", [Hidden, Stale, lambda on: HttpError(on, 416), lambda on: HttpError(on, 404)])
def test_f8_what_was_found_stays_found(stage: Set, fault: Callable[[On], venue.Fault]) -> None:
    s = entered(stage, fault(SINCE_ID.at(1, 3)), fault(ID_RANGE.at(1, 3)))
    s.minutes(4)
    assert s.slots() == {EUR: "open"} and not s.told.of(Exit) and s.agrees()


@sending
@pytest.mark.parametrize("how", ["html", "truncated", "empty", "list"])
def test_f9_a_page_that_is_no_answer_leaves_a_doubt_that_ends(stage: Set, on: On, how: str) -> None:
    s = stage(faults=[Garbled(on, how)])
    journey(s)
    assert [a.fault for a in s.answers(Failed)] == [Fault.UNREADABLE]


@pytest.mark.parametrize("on", [SINCE_ID, SUMMARY, OPEN_POSITIONS])
@pytest.mark.parametrize("how", ["html", "list"])
def test_f9_a_question_that_meets_a_page_has_told_nothing(stage: Set, on: On, how: str) -> None:
    s = entered(stage, Garbled(on, how))
    assert isinstance(s.read(), Failed) and s.slots() == {EUR: "open"}
    s.minutes(3)
    assert s.slots() == {EUR: "open"} and s.agrees() and not s.told.of(Exit)


# ---------------------------------------------------------------- F10: fields that are not there

OF_AN_ORDER = ["orderCreateTransaction", "orderCreateTransaction.id"]
OF_A_STOP = ["stopLossOrderTransaction", "stopLossOrderTransaction.id", "takeProfitOrderTransaction"]
OF_A_TRANSACTION = [
    "id", "type", "orderID", "instrument", "units", "price", "pl", "financing", "commission", "reason", "tradeOpened",
    "tradesClosed", "clientExtensions", "tradeClose", "tradeID",
]  # fmt: skip
OF_A_LIST = ["transactions", "lastTransactionID", *(f"transactions.*.{name}" for name in OF_A_TRANSACTION)]
OF_AN_ACCOUNT = ["account", "account.balance", "account.openPositionCount", "lastTransactionID"]
OF_POSITIONS = [
    "positions", "positions.*.instrument", "positions.*.long", "positions.*.long.units", "lastTransactionID",
]  # fmt: skip


@pytest.mark.parametrize("cell", [None, MISSING, ""], ids=["null", "missing", "empty"])
@pytest.mark.parametrize(
    ("on", "path"),
    [(POST_ORDER, p) for p in OF_AN_ORDER] + [(CLOSE, p) for p in OF_AN_ORDER] + [(PROTECT, p) for p in OF_A_STOP],
)
def test_f10_an_answer_with_a_hole_is_a_doubt_and_no_traceback(stage: Set, on: On, path: str, cell: Cell) -> None:
    journey(stage(faults=[Altered(on, ((path, cell),))]))


@pytest.mark.parametrize("cell", [None, []], ids=["null", "list"])
@pytest.mark.parametrize("path", OF_A_LIST)
def test_f10_a_transaction_with_a_hole_is_met_again(stage: Set, path: str, cell: Cell) -> None:
    """Wherever it falls: on the entry's, the stop's, or the exit's."""
    s = stage(faults=[Altered(SINCE_ID.at(1, 3), ((path, cell),)), NoReply(POST_ORDER, accepted=True, drops=True)])
    s.minute(None, s.buy())
    s.minutes(2)
    assert s.slots() == {EUR: "open"} and len(s.stops()) == 1
    s.script(Altered(SINCE_ID.at(1, 3), ((path, cell),)), NoReply(CLOSE, accepted=True, drops=True))
    s.minute(None, s.leave())
    s.minutes(2)
    gone(s)
    assert len(s.requests(POST_ORDER)) == len(s.requests(CLOSE)) == 1


@pytest.mark.parametrize("cell", [None, MISSING, "x"], ids=["null", "missing", "words"])
@pytest.mark.parametrize(
    ("on", "path"), [(SUMMARY, p) for p in OF_AN_ACCOUNT] + [(OPEN_POSITIONS, p) for p in OF_POSITIONS]
)
def test_f10_an_account_with_a_hole_has_told_nothing(stage: Set, on: On, path: str, cell: Cell) -> None:
    s = entered(stage, Altered(on, ((path, cell),)))
    answer = s.read()
    if path.endswith("instrument") and cell == "x":
        assert isinstance(answer, AccountRead) and s.state is TradingState.REDUCING
    else:
        assert isinstance(answer, Failed) and answer.fault is Fault.UNREADABLE
    s.minute()
    assert s.slots() == {EUR: "open"} and s.agrees()


# ---------------------------------------------------------------- F11 to F14: refusals


def test_f11_too_many_requests_is_no_failure_and_sends_nothing_twice(stage: Set) -> None:
    s = stage(faults=[HttpError(POST_ORDER, 429, retry_after=10)])
    s.minute(None, s.buy())
    assert [a.again for a in s.answers(Withheld)] == [s.clock.time + 10 * SECOND] and s.slots() == {}
    assert s.failures == 0 and len(s.requests(POST_ORDER)) == 1
    s.minute()
    gone(s)


def test_f11_an_exit_that_meets_it_leaves_with_the_next_minute(stage: Set) -> None:
    s = entered(stage, HttpError(CLOSE, 429, retry_after=10))
    s.minute(None, s.leave())
    assert s.slots() == {EUR: "closing"} and len(s.stops()) == 1 and len(s.requests(CLOSE)) == 1
    s.minute()
    gone(s)
    assert s.failures == 0


def test_f12_minutes_of_refusals_hurt_nothing_and_are_not_stormed(stage: Set) -> None:
    s = entered(stage, HttpError(ANY.during(SENT + SECOND, SENT + 10 * MINUTE), 429))
    before, taken = len(s.venue.requests), []
    for _ in range(9):
        taken += s.minute(None, s.buy(GBP)).dispositions
        s.quote()
    assert len(s.venue.requests) - before <= 9 * 5 and s.breaker == "closed" and s.slots() == {EUR: "open"}
    assert taken == [Disposition.SENT] + [Disposition.HALTED] * 8 and s.state is TradingState.REDUCING
    s.minutes(2)
    assert len(s.stops()) == 1 and s.agrees() and s.state is TradingState.ACTIVE


def test_f12_what_the_venue_asks_for_is_heeded_and_stops_entries(stage: Set) -> None:
    s = entered(stage, HttpError(SINCE_ID, 429, retry_after=170))
    s.minute()
    before = len(s.venue.requests)
    assert s.minute(None, s.buy(GBP)).dispositions == [Disposition.HALTED]
    assert s.minute(None, s.buy(GBP)).dispositions == [Disposition.HALTED] and len(s.venue.requests) == before
    s.minute(None, s.leave())
    gone(s)
    assert s.state is TradingState.ACTIVE


def test_f12_what_reduces_risk_does_not_wait_with_the_questions(stage: Set) -> None:
    s = entered(stage, HttpError(SINCE_ID, 429, retry_after=600))
    s.minute(None, s.leave())
    assert s.at_venue() == 0.0 and s.slots() == {EUR: "closing"}
    s.minutes(11)
    gone(s)


@pytest.mark.parametrize(
    ("refusal", "reason"),
    [
        (Kill, "INSUFFICIENT_MARGIN"),
        (Kill, "MARKET_HALTED"),
        (Reject, "INSUFFICIENT_MARGIN"),
        (Reject, "UNITS_INVALID"),
    ],
)
def test_f13_a_definitive_refusal_is_final_and_never_counted(
    stage: Set, refusal: Callable[..., venue.Fault], reason: str
) -> None:
    s = stage(faults=[refusal(POST_ORDER.every(), reason)])
    for n in range(6):
        s.minute(None, replace(s.buy(), provider=f"strategy {n}"))  # one alone would not be let repeat itself
        assert s.slots() == {}
    assert [a.reason for a in s.answers(Rejected)] == [reason] * 6
    assert s.failures == 0 and s.breaker == "closed" and len(s.requests(POST_ORDER)) == 6
    gone(s)


def test_f13_a_refusal_whose_reply_is_lost_is_read_from_the_transactions(stage: Set) -> None:
    s = stage(faults=[Reject(POST_ORDER), NoReply(POST_ORDER, accepted=True, drops=True)])
    s.minute(None, s.buy())
    assert len(s.answers(Rejected)) == 1 and s.slots() == {}
    gone(s)


def test_f13_what_the_venue_kills_for_its_own_reasons_is_counted(stage: Set) -> None:
    s = stage(faults=[Kill(POST_ORDER.every(), "INTERNAL_SERVER_ERROR")])
    for n in range(5):
        s.minute(None, replace(s.buy(), provider=f"strategy {n}"))
    assert s.breaker == "open" and s.slots() == {}
    assert s.minute(None, s.buy()).dispositions == [Disposition.BREAKER_OPEN]


@pytest.mark.parametrize("status", [401, 403])
def test_f14_a_revoked_key_halts_and_is_not_stormed(stage: Set, status: int) -> None:
    s = entered(stage, HttpError(ANY.at(1, 30), status))
    before = len(s.venue.requests)
    for _ in range(5):
        s.minute(None, s.buy(GBP))
        s.quote()
    assert s.state is TradingState.HALTED and "credentials" in s.engine.guard.latches
    assert len(s.venue.requests) - before <= 20 and len(s.stops()) == 1 and len(s.requests(POST_ORDER)) == 1
    s.venue.faults.clear(), s.venue._seen.clear()
    s.minutes(2)
    assert s.state is TradingState.HALTED and s.slots() == {EUR: "open"} and s.agrees()


def test_f14_an_exit_is_tried_with_a_revoked_key_too(stage: Set) -> None:
    s = entered(stage, HttpError(CLOSE.at(1, 2), 401))
    s.minute(None, s.leave())
    s.minutes(3)
    assert s.state is TradingState.HALTED and len(s.requests(CLOSE)) == 3
    gone(s)


# ---------------------------------------------------------------- F15 to F21: fills


@pytest.mark.parametrize("shares", [("0.25", "0.25"), ("0.1",) * 5, ("0.0001", "0.5")])
def test_f15_the_stop_follows_every_part(stage: Set, shares: tuple[str, ...]) -> None:
    s = stage(next_price=True, faults=[Partial(POST_ORDER, *shares)])
    s.minute(None, s.buy())
    for n in range(len(shares)):
        s.minute()
        assert s.ours() == s.at_venue() == sum(int(10_000 * float(share)) for share in shares[: n + 1])
        assert sum(qty for _, qty in s.stops()) == s.ours()
    s.minute()
    assert s.ours() == sum(qty for _, qty in s.stops()) == 10_000.0 and s.agrees()
    s.minute(None, s.leave())
    s.minute()
    gone(s)


def test_f15_filled_in_part_and_the_rest_cancelled_keeps_the_part(stage: Set) -> None:
    s = stage(faults=[Partial(POST_ORDER, "0.4", then_cancel=True)])
    s.minute(None, s.buy())
    assert s.ours() == s.at_venue() == 4_000.0 and s.slots() == {EUR: "open"} and s.stops() == [(1.225, 4_000.0)]
    assert not s.answers(Rejected) and s.agrees()


@pytest.mark.parametrize("how", ["repeated", "renumbered", "reversed", "lost"])
def test_f16_f17_f18_f35_twice_under_new_numbers_backwards_or_with_gaps(stage: Set, how: str) -> None:
    s = stage(faults=[Rows(SINCE_ID.every(), how)])
    journey(s)
    assert [a.fill.qty for a in s.answers(Filled)] == [10_000.0, -10_000.0]


def test_f19_an_overfill_is_the_position_it_is(stage: Set) -> None:
    s = stage(faults=[venue.Overfill(POST_ORDER)])
    s.minute(None, s.buy())
    assert s.ours() == s.at_venue() == 10_001.0 and s.stops() == [(1.225, 10_001.0)] and s.agrees()
    s.minute(None, s.leave())
    gone(s)


def test_f19_an_overfill_is_a_break(stage: Set) -> None:
    s = stage(faults=[venue.Overfill(POST_ORDER)])
    s.minute(None, s.buy())
    assert s.state is not TradingState.ACTIVE


def test_f20_what_fills_before_its_cancellation_is_taken_and_closed(stage: Set) -> None:
    s = stage(next_price=True, faults=[FillFirst(CANCEL)])
    s.minute(None, s.buy())
    s.command(Act.EMERGENCY_STOP)
    s.minutes(2)
    assert [a.fill.qty for a in s.answers(Filled)] == [10_000.0, -10_000.0]
    gone(s)


def test_f20_a_cancellation_of_what_is_gone_without_a_trace_is_not_repeated_for_ever(stage: Set) -> None:
    s = stage(next_price=True, faults=[FillFirst(CANCEL), Stale(SINCE_ID.during(SENT, SENT + 50 * SECOND))])
    s.minute(None, s.buy())
    s.command(Act.EMERGENCY_STOP)
    assert len(s.requests(CANCEL)) == 1 and s.slots() == {EUR: "unknown"}
    s.minutes(3)
    gone(s)


@pytest.mark.parametrize("accepted", [True, False])
def test_f21_a_cancellation_without_an_answer_stays_unresolved_until_proven(stage: Set, accepted: bool) -> None:
    s = stage(next_price=True, faults=[NoReply(CANCEL, accepted, drops=True)])
    s.minute(None, s.buy())
    s.command(Act.EMERGENCY_STOP)
    s.minutes(3)
    assert s.state is TradingState.HALTED and len(s.requests(POST_ORDER)) == 1
    gone(s)


# ---------------------------------------------------------------- F22: what somebody else did


@pytest.mark.parametrize("units", [7_000, -7_000])
def test_f22_somebody_elses_trade_stops_entries_and_is_never_touched(stage: Set, units: int) -> None:
    s = stage()
    s.somebody_trades(GBP, units)
    told = s.minute(None, s.buy(GBP))
    assert told.dispositions == [Disposition.HALTED] and s.slots() == {}
    assert [(c.before, c.after) for c in told.changes] == [("active", "reducing"), ("reducing", "active")]
    s.minute()
    assert s.engine.book.held(s[GBP].id) == units and s.agrees() and not s.requests(CLOSE)


@pytest.mark.parametrize("units", [7_000, -7_000])
def test_f22_beside_a_foreign_holding_ours_comes_and_goes_alone(stage: Set, units: int) -> None:
    s = stage(foreign=((EUR, units),))
    s.minute(None, s.buy())
    assert s.ours() == s.at_venue() == 10_000.0 and s.agrees() and s.stops() == [(1.225, 10_000.0)]
    s.minute({EUR: 1.26}, s.leave())
    gone(s)
    assert s.venue.held("EUR_USD") == units


def test_f22_our_trade_closed_by_hand_frees_its_slot(stage: Set) -> None:
    s = entered(stage)
    s.venue.trade_by_hand("EUR_USD", -10_000)
    s.minutes(2)
    assert s.state is TradingState.ACTIVE and not s.told.of(Exit)
    gone(s)


def test_f22_our_trade_closed_by_hand_is_an_outcome(stage: Set) -> None:
    s = entered(stage)
    s.venue.trade_by_hand("EUR_USD", -10_000)
    s.minutes(2)
    assert [o.cause for o in s.told.outcomes] == ["by hand"]


def test_f22_one_trade_by_hand_that_closes_theirs_and_a_part_of_ours_is_both(stage: Set) -> None:
    s = stage(foreign=((EUR, 7_000),))
    s.minute(None, s.buy())
    s.foreign.clear()
    s.minute({EUR: 1.26})
    s.venue.trade_by_hand("EUR_USD", -9_000)
    s.minute()
    assert [(a.fill.qty, a.ours) for a in s.answers(Filled)[1:]] == [(-2_000.0, True), (-7_000.0, False)]
    assert s.ours() == s.at_venue() == s.engine.book.held(s[EUR].id) == 8_000.0 and s.stops() == [(1.225, 8_000.0)]
    assert s.agrees() and s.slots() == {EUR: "open"}


def test_f22_a_trade_by_hand_against_ours_that_closes_nothing_of_ours_is_theirs(stage: Set) -> None:
    s = stage(foreign=((EUR, 7_000),))
    s.minute(None, s.sell())
    s.foreign.clear()
    s.venue.trade_by_hand("EUR_USD", -7_000)
    s.minutes(2)
    assert s.ours() == s.engine.book.held(s[EUR].id) == -10_000.0 and s.slots() == {EUR: "open"} and s.agrees()


def test_f22_a_foreign_trade_closed_by_hand_beside_ours_leaves_ours_alone(stage: Set) -> None:
    """The venue nets oldest first: what was there before goes first."""
    s = stage(foreign=((EUR, 7_000),))
    s.minute(None, s.buy())
    s.foreign.clear()
    s.venue.trade_by_hand("EUR_USD", -7_000)
    s.minutes(2)
    assert s.ours() == 10_000.0 and s.slots() == {EUR: "open"}


def test_f22_what_somebody_trades_where_we_do_not_is_money_from_outside(stage: Set) -> None:
    s = stage()
    s.venue.trade_by_hand("USD_JPY", 10_000)
    s.minute()
    s.venue.mid("USD_JPY", "151.234")
    s.venue.trade_by_hand("USD_JPY", -10_000)
    s.minute()
    assert s.venue.balance > 100_000 and s.agrees() and s.state is TradingState.ACTIVE
    assert s.engine.book.unit.drawdown == 0.0


@pytest.mark.parametrize("kind", ["", "STOP_LOSS", "TAKE_PROFIT"])
def test_f22_a_stop_or_target_that_the_venue_takes_away_is_placed_again(stage: Set, kind: str) -> None:
    s = added(stage, CancelUnasked(SINCE_ID, kind=kind))
    s.minute()
    assert len(s.answers(Cancelled)) == 1 and s.slots() == {EUR: "open"}
    assert [qty for _, qty in s.stops()] == [10_000.0, 5_000.0]
    assert len([o for o in s.venue.orders.values() if o.state == "PENDING"]) == 4
    s.minute(None, s.leave())
    gone(s)


def test_f22_the_stop_of_a_later_trade_is_missed_too(stage: Set) -> None:
    s = added(stage)
    last = max(n for n, o in s.venue.orders.items() if o.state == "PENDING" and o.type == "STOP_LOSS")
    s.venue._account.cancel(last, "ACCOUNT_ORDER_FILL_LOCKED")
    s.minute()
    assert [qty for _, qty in s.stops()] == [10_000.0, 5_000.0]


def test_f22_a_stop_that_somebody_has_moved_is_still_ours(stage: Set) -> None:
    s = entered(stage)
    (trade,) = s.venue._account.open_trades()
    s.client.put(f"trades/{trade.id}/orders", {"stopLoss": {"price": "1.24000", "timeInForce": "GTC"}})
    s.minute()
    s.minute({EUR: 1.239})
    assert [a.fill.cause for a in s.answers(Filled)] == [Cause.ENTRY, Cause.STOP]
    assert [o.cause for o in s.told.outcomes] == ["stop"]
    gone(s)


def test_f22_a_margin_closeout_ends_the_trade_as_what_it_is(stage: Set) -> None:
    s = entered(stage)
    s.venue.trade_by_hand("AUD_USD", 2_400_000)
    s.minute({AUD: 0.726})
    s.minute()
    assert [o.cause for o in s.told.outcomes] == ["liquidation"] and s.ours() == s.at_venue() == 0.0
    assert s.slots() == {} and s.venue.held("AUD_USD") == 0 and s.agrees()


# ---------------------------------------------------------------- F23 and F24: stops


def test_f23_a_stop_that_is_refused_three_times_closes_the_trade(stage: Set) -> None:
    s = stage(faults=[Reject(PROTECT.every(), "PRICE_INVALID")])
    s.protects = False
    s.minute(None, s.buy())
    s.minutes(2)
    assert len(s.requests(PROTECT)) == 3 and [o.cause for o in s.told.outcomes] == ["stop could not be placed"]
    gone(s)


def test_f23_a_stop_that_is_dropped_silently_is_watched(stage: Set) -> None:
    s = entered(stage, ForgetOrders(SINCE_ID))
    s.protects = False
    s.minute()
    assert not s.stops()
    s.minute({EUR: 1.22})
    assert s.slots() == {EUR: "open"}
    s.minutes(2)
    assert s.at_venue() == 0.0 and [o.cause for o in s.told.outcomes] == ["watch"]


def test_f23_the_slot_of_a_stop_that_is_nowhere_comes_free_beyond_the_horizon(stage: Set) -> None:
    s = entered(stage, ForgetOrders(SINCE_ID, "STOP_LOSS"))
    s.protects = False
    s.minute(None, s.leave())
    s.minutes(5)
    gone(s)


def test_f23_a_touched_stop_that_does_not_fill_is_watched(stage: Set) -> None:
    s = entered(stage, StopsAsleep(ANY.during(SENT, SENT + 60 * MINUTE)))
    s.minute({EUR: 1.22})
    assert s.at_venue() == 10_000.0
    s.minutes(2)
    assert [o.cause for o in s.told.outcomes] == ["watch"]
    gone(s)


def test_f24_a_stop_that_fills_before_the_exit_arrives_closes_once(stage: Set) -> None:
    s = entered(stage, Meanwhile(CLOSE, lambda there, _: there.mid("EUR_USD", "1.22000")))
    s.minute(None, s.leave())
    s.minutes(2)
    assert [a.fill.cause for a in s.answers(Filled)] == [Cause.ENTRY, Cause.STOP]
    gone(s)


def test_f24_a_lost_exit_whose_trade_is_stopped_meanwhile_is_over(stage: Set) -> None:
    s = entered(stage, NoReply(CLOSE, drops=True))
    s.minute(None, s.leave())
    s.minute({EUR: 1.22})
    assert len(s.requests(CLOSE)) == 1
    gone(s)


# ---------------------------------------------------------------- several trades of one position


def test_adds_a_lost_exit_of_the_first_trade_leaves_nothing_behind(stage: Set) -> None:
    s = added(stage, NoReply(CLOSE, drops=True))
    s.minute(None, s.leave())
    s.minutes(4)
    gone(s)
    assert len(s.told.of(Exit)) == 2


@pytest.mark.parametrize("nth", [1, 2])
@pytest.mark.parametrize("accepted", [True, False])
def test_adds_whichever_close_is_lost_the_whole_position_leaves(stage: Set, nth: int, accepted: bool) -> None:
    s = added(stage, NoReply(CLOSE.at(nth), accepted, drops=True))
    s.minute(None, s.leave())
    s.minutes(4)
    gone(s)
    assert sum(a.fill.qty for a in s.answers(Filled)) == 0.0


@pytest.mark.parametrize("nth", [1, 2])
def test_adds_a_close_that_is_refused_holds_up_no_other(stage: Set, nth: int) -> None:
    s = added(stage, Reject(CLOSE.at(nth)), Kill(CLOSE.at(nth), "MARKET_HALTED"))
    s.minute(None, s.leave())
    assert s.ours() == s.at_venue() and s.at_venue() in (0.0, 5_000.0, 10_000.0) and len(s.requests(CLOSE)) <= 3
    s.minute()
    gone(s)


@pytest.mark.parametrize("nth", [1, 2, 3])
@pytest.mark.parametrize("accepted", [True, False])
def test_adds_whichever_stop_is_lost_every_trade_gets_its_own(stage: Set, nth: int, accepted: bool) -> None:
    s = stage(faults=[NoReply(PROTECT.at(nth), accepted, drops=True)])
    s.minute(None, s.buy())
    s.minutes(3)
    s.minute({EUR: 1.26}, s.buy(qty=5_000.0, add=True))
    s.minutes(4)
    assert s.slots() == {EUR: "open"} and [qty for _, qty in s.stops()] == [10_000.0, 5_000.0]
    s.minute({EUR: 1.22})
    gone(s)
    assert {a.fill.cause for a in s.answers(Filled)} == {Cause.ENTRY, Cause.STOP}


@pytest.mark.parametrize("nth", [2, 3])
def test_adds_whichever_stop_is_refused_every_trade_gets_its_own(stage: Set, nth: int) -> None:
    s = stage(faults=[Reject(PROTECT.at(nth), "PRICE_INVALID")])
    s.minute(None, s.buy())
    s.protects = False  # for a minute, until it is tried again
    s.minute({EUR: 1.26}, s.buy(qty=5_000.0, add=True))
    s.minute()
    assert s.slots() == {EUR: "open"} and [qty for _, qty in s.stops()] == [10_000.0, 5_000.0]
    s.minute(None, s.leave())
    gone(s)


def test_adds_one_trade_closed_alone_is_counted_as_the_venue_counts_it(stage: Set) -> None:
    s = added(stage, NoReply(CLOSE.at(2), drops=True))
    s.minute(None, s.leave())
    assert s.ours() == s.at_venue() == 5_000.0 and s.agrees()
    assert s.engine.book.ours(s[EUR].id).average == pytest.approx(1.26)
    assert s.engine.book.equity == pytest.approx(float(s.venue.balance))


# ---------------------------------------------------------------- F25 and F26: accounts


def test_f25_positions_that_lag_have_told_nothing(stage: Set) -> None:
    s = stage(faults=[Stale(OPEN_POSITIONS.at(2))])
    assert isinstance(s.read(), AccountRead)
    s.minute(None, s.buy())
    s.script(Stale(OPEN_POSITIONS))
    assert isinstance(s.read(), Failed) and s.state is TradingState.ACTIVE
    s.minute()
    assert s.slots() == {EUR: "open"} and s.agrees()


@pytest.mark.parametrize(
    "fault", [Hidden(OPEN_POSITIONS), *(Rows(OPEN_POSITIONS, how) for how in ("lost", "repeated"))]
)
def test_f25_a_list_that_is_not_as_long_as_the_account_says_has_told_nothing(stage: Set, fault: venue.Fault) -> None:
    s = entered(stage, fault)
    assert isinstance(s.read(), Failed) and s.state is TradingState.ACTIVE and s.slots() == {EUR: "open"}
    s.minute()
    assert s.agrees()


@pytest.mark.parametrize("fault", [Hidden, Stale, lambda on: Rows(on, "lost"), lambda on: Rows(on, "repeated")])
def test_f25_what_was_there_before_is_found_once_or_not_at_all(stage: Set, fault: Callable[[On], venue.Fault]) -> None:
    s = stage(opens=False, foreign=((GBP, 3_000),), faults=[fault(OPEN_POSITIONS)])
    s.minutes(2)
    assert s.engine.book.held(s[GBP].id) == 3_000.0 and s.agrees() and len(s.answers(CashFlow)) == 1


FLAT = ("positions.*.long.units", "0")


def test_f25_a_position_that_is_not_told_is_a_disagreement_and_not_flat(stage: Set) -> None:
    s = entered(stage, Altered(OPEN_POSITIONS, (FLAT,)))
    s.read()
    assert s.state is TradingState.REDUCING and s.slots() == {EUR: "open"}
    s.minute()
    assert s.state is TradingState.ACTIVE and not s.told.of(Exit) and s.agrees()


def test_f25_three_disagreements_latch_and_still_close_nothing(stage: Set) -> None:
    s = entered(stage, Altered(OPEN_POSITIONS.at(1, 3), (FLAT,)))
    for _ in range(3):
        s.read()
    s.minutes(2)
    assert "reconciliation" in s.engine.guard.latches and not s.told.of(Exit) and s.slots() == {EUR: "open"}


def test_f25_positions_that_fail_prove_no_order_gone(stage: Set) -> None:
    s = stage(faults=[NoReply(POST_ORDER, drops=True), HttpError(OPEN_POSITIONS.at(2, 6), 500)])
    s.minute(None, s.buy())
    s.minutes(3)
    assert s.slots() == {EUR: "unknown"} and len(s.requests(OPEN_POSITIONS)) > 2
    s.minutes(4)
    gone(s)


@pytest.mark.parametrize("balance", [None, MISSING, "", "0", "0.0000", "-1", "NaN", "Infinity"])
def test_f26_no_balance_is_believed_that_cannot_be(stage: Set, balance: Cell) -> None:
    s = entered(stage, Altered(SUMMARY, (("account.balance", balance),)))
    equity = s.engine.book.equity
    assert isinstance(s.read(), Failed) and s.engine.book.equity == equity
    s.minute()
    assert s.slots() == {EUR: "open"} and not s.told.of(Exit) and s.agrees()


@pytest.mark.parametrize("balance", [None, MISSING, "0", "-1", "NaN"])
def test_f26_without_a_balance_nothing_is_entered_and_the_money_comes_once(stage: Set, balance: Cell) -> None:
    s = stage(opens=False, faults=[Altered(SUMMARY.at(1, 4), (("account.balance", balance),))])  # two each minute
    s.minute(None, s.buy())
    s.minute(None, s.buy())
    assert not s.requests(POST_ORDER)
    s.minute(None, s.buy())
    assert [a.amount for a in s.answers(CashFlow)] == [100_000.0] and s.ours() == 10_000.0 and s.agrees()


def test_f26_an_account_that_is_read_in_halves_is_deposited_once(stage: Set) -> None:
    s = stage(opens=False, foreign=((GBP, 3_000),), faults=[HttpError(OPEN_POSITIONS.at(1, 2), 503)])
    s.minutes(3)
    assert [a.amount for a in s.answers(CashFlow)] == [100_000.0] and s.agrees()


def test_f26_a_question_before_the_account_is_opened_tells_no_history(stage: Set) -> None:
    s = stage(opens=False, faults=[HttpError(SUMMARY, 503)])
    s.minute()
    assert isinstance(s.read(), Failed) and not s.answers(CashFlow)
    s.minute()
    assert [a.amount for a in s.answers(CashFlow)] == [100_000.0] and s.agrees()


def test_f26_somebody_trading_while_the_account_is_opened_is_counted_once(stage: Set) -> None:
    s = stage(opens=False, faults=[ManualTrade(OPEN_POSITIONS, "GBP_USD", 3_000)])
    s.minutes(2)
    assert s.engine.book.held(s[GBP].id) == 3_000.0 and isinstance(s.read(), AccountRead)
    assert s.state is TradingState.ACTIVE


# ---------------------------------------------------------------- F29 to F36: lines, clocks, markets


@sending
def test_f29_a_line_that_hangs_is_given_up_and_asked_about(stage: Set, on: On) -> None:
    s = stage(timeout=0.3, faults=[NoReply(on, accepted=True)])
    journey(s)
    assert [a.fault for a in s.answers(Failed)] == [Fault.TIMEOUT]


def test_f30_a_slow_answer_is_an_answer(stage: Set) -> None:
    s = stage(faults=[Slow(POST_ORDER, 0.2), Slow(CLOSE, 0.2)])
    journey(s)
    assert s.failures == 0


@pytest.mark.parametrize("by", [-5, 5, 3_600])
def test_f31_a_venue_whose_clock_is_off_takes_no_entry_and_all_else_as_before(stage: Set, by: int) -> None:
    s = entered(stage, Skew(ANY.during(START, START + 60 * MINUTE), by * SECOND))
    s.minute({EUR: 1.26}, s.buy(GBP))
    assert len(s.requests(POST_ORDER)) == 1 and s.slots() == {EUR: "open"}
    s.minute(None, s.leave())
    s.minutes(2)
    gone(s)
    assert all(a.time % MINUTE == 0 for a in s.told.answers)  # stamped by our own clock


def test_f32_an_exit_waits_for_its_market_and_leaves_at_the_gap(stage: Set) -> None:
    s = entered(stage, MarketClosed(ANY.during(SENT + SECOND, SENT + 5 * MINUTE)))
    s.minute(None, s.leave())
    s.minutes(3)
    assert s.slots() == {EUR: "closing"} and len(s.stops()) == 1 and s.breaker == "closed"
    s.minute({EUR: 1.23})
    s.minute()
    assert [o.exit for o in s.told.outcomes] == [1.23]
    gone(s)


def test_f32_a_stop_that_is_gapped_through_at_the_reopening_fills_there(stage: Set) -> None:
    s = entered(stage, MarketClosed(ANY.during(SENT + SECOND, SENT + 3 * MINUTE)))
    s.minutes(2)
    s.minute({EUR: 1.20})
    assert [(o.exit, o.cause) for o in s.told.outcomes] == [(1.20, "stop")]
    gone(s)


def test_f33_what_is_no_longer_listed_is_not_entered_and_can_be_left(stage: Set) -> None:
    s = entered(stage, *(venue.Change(SINCE_ID, name, delisted=True) for name in ("EUR_USD", "GBP_USD")))
    s.minute()
    s.minute(None, s.buy(GBP), s.leave())
    assert [a.reason for a in s.answers(Rejected)] == ["INSTRUMENT_NOT_TRADEABLE"] and s.failures == 0
    gone(s)


def test_f33_a_coarser_tick_makes_the_stop_impossible_and_ends_the_trade(stage: Set) -> None:
    s = stage(faults=[venue.Change(PROTECT, "EUR_USD", precision=2)])
    s.protects = False
    s.minute(None, s.buy())
    s.minutes(2)
    assert [o.cause for o in s.told.outcomes] == ["stop could not be placed"]
    gone(s)


def test_f34_a_client_id_that_is_cut_does_no_harm_where_the_answer_is_heard(stage: Set) -> None:
    journey(stage(faults=[TruncateId(POST_ORDER, 8)]))


def test_f34_a_cut_id_and_a_lost_reply_make_it_a_foreign_holding_and_send_nothing_twice(stage: Set) -> None:
    s = stage(faults=[TruncateId(POST_ORDER, 8), NoReply(POST_ORDER, accepted=True, drops=True)])
    s.minute(None, s.buy())
    s.minutes(4)
    assert len(s.requests(POST_ORDER)) == 1 and s.slots() == {} and s.ours() == 0.0 and not s.requests(CLOSE)
    assert s.engine.book.held(s[EUR].id) == s.at_venue() == 10_000.0


@dataclass(frozen=True, slots=True)
class ShortPage(venue.Fault):
    """A list gives its first rows only, and counts them all."""

    rows: int = 2

    def after(self, there: venue.Oanda, request: Request, reply: Reply) -> Reply:
        body = reply.body
        return replace(reply, body={**body, "transactions": body["transactions"][: self.rows]})


def test_f35_pages_are_read_to_their_end(stage: Set) -> None:
    s = stage(faults=[ShortPage(SINCE_ID.every()), ShortPage(ID_RANGE.every())])
    journey(s, patience=6)


def test_f35_a_gap_that_nobody_fills_is_never_skipped(stage: Set) -> None:
    s = stage(faults=[Rows(SINCE_ID.at(1, 8), "lost"), Hidden(ID_RANGE.at(1, 8))])
    s.minute(None, s.buy())
    s.minute()
    assert s.slots() != {} and s.at_venue() == 10_000.0
    s.minutes(6)
    assert s.slots() == {EUR: "open"} and len(s.stops()) == 1 and s.agrees()


def test_f36_after_maintenance_protection_comes_first(stage: Set) -> None:
    s = entered(stage, Maintenance(ANY.during(SENT + SECOND, SENT + 10 * MINUTE)))
    s.protects = False
    for _ in range(10):
        s.minute(None, s.buy(GBP))
    assert s.slots()[EUR] == "open" and s.requests(ANY)[-1].time == SENT + 10 * MINUTE
    back = [r for r in s.venue.requests if r.time >= SENT + 10 * MINUTE and r.method != "GET"]
    assert [PROTECT.fits(r) for r in back][:1] == [True] and s.stops() == [(1.225, 10_000.0)]
    s.protects = True
    s.minutes(20)
    s.minute(None, s.buy(GBP))
    assert set(s.slots()) == {EUR, GBP} and s.agrees()


def test_f36_five_failures_open_the_breaker_and_entries_wait_for_a_question_that_succeeds(stage: Set) -> None:
    s = stage(faults=[HttpError(ANY.during(SENT, SENT + 6 * MINUTE), 503)])
    s.minutes(5)
    assert s.breaker != "closed"
    assert s.minute(None, s.buy()).dispositions[0] is not Disposition.SENT
    s.minutes(4)
    assert s.minute(None, s.buy()).dispositions == [Disposition.SENT] and s.breaker == "closed" and s.agrees()


def test_an_outage_inside_one_quote_is_asked_about_once(stage: Set) -> None:
    s = entered(stage, HttpError(SINCE_ID.every(), 503))
    before = len(s.venue.requests)
    s.clock.time += SECOND
    s.quote()
    assert len(s.venue.requests) - before <= 4  # the look, and one reading of the account


# ---------------------------------------------------------------- money


def test_a_pair_that_quotes_another_currency_agrees_to_the_cent(stage: Set) -> None:
    s = stage(YEN, EUR)
    for entry, exit in ((s.buy(YEN), 151.237), (s.sell(YEN), 151.911), (s.buy(YEN), 149.003)):
        s.minute(None, entry)
        assert s.slots() == {YEN: "open"} and s.agrees()
        s.minute({YEN: exit}, s.leave(YEN))
        assert s.slots() == {} and s.agrees()
        assert s.engine.book.equity == pytest.approx(float(s.venue.balance), abs=0.01)
    assert len(s.told.outcomes) == 3 and s.state is TradingState.ACTIVE


def test_financing_of_ours_and_foreign_together_agrees_to_the_cent(stage: Set) -> None:
    s = entered(stage, foreign=((EUR, 8_000), (AUD, -8_000)))
    for name in ("EUR_USD", "AUD_USD"):
        s.venue.change(name, long_rate=Decimal("0.05"), short_rate=Decimal("-0.01"))
    s.venue.finance(3)
    s.minute()
    flows = [a.amount for a in s.answers(CashFlow)[1:]]
    assert len(flows) == 2 and flows[0] < 0.0 < flows[1] and s.agrees()
    assert s.engine.book.ours_realised == pytest.approx(flows[0] * 10 / 18)


def test_a_reversal_is_two_orders_and_agrees(stage: Set) -> None:
    s = entered(stage)
    s.minute({EUR: 1.26}, s.sell())
    s.minute()
    assert s.slots() == {EUR: "open"} and s.ours() == s.at_venue() == -10_000.0 and s.agrees()
    assert len(s.requests(POST_ORDER)) == 2 and len(s.requests(CLOSE)) == 1


def test_numbers_with_more_digits_than_floats_hold_are_read(stage: Set) -> None:
    long = "100000.00000000000000000001"
    s = stage(opens=False, faults=[Altered(SUMMARY, (("account.balance", long),))])
    s.minute()
    assert [a.amount for a in s.answers(CashFlow)] == [100_000.0] and s.agrees()


# ---------------------------------------------------------------- all of it at once

LINE = (
    NoReply(ANY, drops=True), NoReply(ANY, accepted=True, drops=True), HttpError(ANY, 503), HttpError(ANY, 502, True),
    HttpError(ANY, 429), Garbled(ANY), Garbled(ANY, "truncated"), Zombie(ANY, 45 * SECOND, drops=True),
    Rows(ANY, "reversed"), Rows(ANY, "lost"), Rows(ANY, "repeated"), Hidden(SINCE_ID), Stale(ANY),
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_whatever_the_line_does_every_order_ends_and_all_comes_home(stage: Set, seed: int) -> None:
    s = stage(foreign=((GBP, 1_000),), faults=[Chaos(ANY.every(), seed=seed, rate=0.2, faults=LINE)])
    s.protects = False
    for n in range(40):
        prices = {EUR: 1.25 + (n * (seed + 3) % 7 - 3) / 500, AUD: 0.75 - (n * (seed + 5) % 5 - 2) / 300}
        signals = [s.buy(), s.sell(AUD), s.buy(GBP)] if n % 8 < 5 else [s.leave(), s.leave(AUD), s.leave(GBP)]
        s.minute(prices, *signals)
    s.venue.faults.clear(), s.venue._seen.clear()
    s.command(Act.CLOSE_ALL)
    s.minutes(8)
    assert len(s.requests(POST_ORDER)) >= 3 and s.slots() == {}
    assert all(s.ours(symbol) == s.at_venue(symbol) == 0.0 for symbol in s.last) and not s.stops()
    answer = s.read()
    assert isinstance(answer, AccountRead) and not s.engine.book.breaks(answer)


# ---------------------------------------------------------------- the key


def test_the_token_is_in_no_message_repr_or_log(stage: Set, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.NOTSET)
    s = entered(stage)
    said = [repr(s.client), repr(s.broker), repr(vars(s.client)), repr(s.told)]
    for fault in (HttpError(ANY, 401), HttpError(ANY, 500), NoReply(ANY, drops=True), Garbled(ANY)):
        s.script(fault)
        with pytest.raises((Unclear, Denied)) as raised:
            s.client.get("summary")
        said += [str(raised.value), repr(raised.value), repr(raised.value.__cause__)]
    with pytest.raises(Unclear) as raised:
        OandaClient(TOKEN, "1", "http://127.0.0.1:1").get("summary")
    assert TOKEN not in "".join([*said, repr(raised.getrepr(showlocals=True)), caplog.text])
