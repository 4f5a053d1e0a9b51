"""What answers prove of an order that is out, when another may be tried, and when a position is gone. Pure."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffe.book import Book
from ffe.live.holdings import Holdings
from ffe.live.orders_out import LOST_AFTER, Attempts, OrderOut, OrdersOut, OutStatus
from ffe.model import (
    SECOND,
    Accepted,
    Account,
    AccountKind,
    AccountRead,
    Answer,
    AssetClass,
    Cancelled,
    Cause,
    Currency,
    Failed,
    Fault,
    Fill,
    Filled,
    Found,
    Holding,
    Instrument,
    InstrumentId,
    Known,
    Nanos,
    OrderId,
    Quote,
    Quotes,
    Rejected,
    Report,
    Role,
    Side,
    Symbol,
    Ticket,
    Universe,
    Venue,
    Withheld,
)  # fmt: skip

HERE, USDT = Venue("here"), Currency("USDT")
BTC, ETH = InstrumentId("here:BTC/USDT"), InstrumentId("here:ETH/USDT")
T: Nanos = 1_000 * SECOND
A = OrderId("an order of ours")


def ticket(id: str = A, role: Role = Role.PROTECT, instrument: InstrumentId = BTC) -> Ticket:
    return Ticket(OrderId(id), role, instrument, Side.SHORT, 0.5)


def fill(qty: float, order: str | None = A, trade: str = "1", done: bool = True) -> Filled:
    made = Fill(trade, BTC, qty, 50_000.0, 0.0, USDT, Cause.EXIT)
    return Filled(T, HERE, OrderId(order) if order else None, made, done)


# ---------------------------------------------------------------- one order

ENDS: list[Answer] = [
    Rejected(T, HERE, A, "no"), Cancelled(T, HERE, A, "gone"), Withheld(T, HERE, A, "not now"), fill(-0.5),
    Report(T, HERE, A, Known.DONE),
]  # fmt: skip
CONFIRMS: list[Answer] = [Accepted(T, HERE, A), Report(T, HERE, A, Known.WORKING), fill(-0.1, done=False)]


@pytest.mark.parametrize("status", OutStatus)
@pytest.mark.parametrize("answer", ENDS, ids=lambda answer: type(answer).__name__)
def test_order_ends_by_its_answer_whatever_was_known_of_it(status: OutStatus, answer: Answer) -> None:
    assert OrderOut(ticket(), T, status).after(answer) is None


@pytest.mark.parametrize("status", OutStatus)
@pytest.mark.parametrize("answer", CONFIRMS, ids=lambda answer: type(answer).__name__)
def test_order_that_the_venue_confirms_is_working(status: OutStatus, answer: Answer) -> None:
    after = OrderOut(ticket(), T, status, is_asked=True).after(answer)
    assert after is not None and after.status is OutStatus.WORKING
    assert after.confirmed == T and not after.is_lost(T + 9 * SECOND)


def test_order_without_an_answer_is_unknown_until_it_is_asked_about() -> None:
    after = OrderOut(ticket(), T).after(Failed(T, HERE, A, Fault.TIMEOUT))
    assert after is not None and after.status is OutStatus.UNKNOWN and not after.is_lost(T + 9 * SECOND)


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (Report(T, HERE, A, Known.NOT_FOUND), OutStatus.NOT_FOUND),
        (Failed(T, HERE, A, Fault.TIMEOUT, query=True), OutStatus.UNKNOWN),
    ],
)
def test_unknown_order_is_lost_once_it_was_asked_about_in_vain(answer: Answer, status: OutStatus) -> None:
    """Not at once: a venue may not list yet what it has taken."""
    after = OrderOut(ticket(), T, OutStatus.UNKNOWN).after(answer)
    assert after is not None and after.status is status
    assert not after.is_lost(T + LOST_AFTER - 1) and after.is_lost(T + LOST_AFTER)


def test_question_without_an_answer_does_not_unprove_a_working_order() -> None:
    out = OrderOut(ticket(), T, OutStatus.WORKING)
    assert out.after(Failed(T, HERE, A, Fault.TIMEOUT, query=True)) == out


def test_cancellation_without_an_answer_makes_a_working_order_unknown() -> None:
    after = OrderOut(ticket(), T, OutStatus.WORKING).after(Failed(T, HERE, A, Fault.TIMEOUT))
    assert after is not None and after.status is OutStatus.UNKNOWN


def test_order_that_is_found_again_is_lost_no_longer() -> None:
    out: OrderOut | None = OrderOut(ticket(), T)
    for answer in (Failed(T, HERE, A, Fault.TIMEOUT), Report(T, HERE, A, Known.NOT_FOUND), Accepted(T, HERE, A)):
        assert out is not None
        out = out.after(answer)
    assert out is not None and not out.is_lost(T + 99 * SECOND)


# ---------------------------------------------------------------- all of them


def test_only_a_confirmed_stop_rests() -> None:
    orders = OrdersOut()
    for n, status in enumerate(OutStatus):
        orders.add(ticket(f"order {n}"), T, status)
    resting = orders.resting(BTC)
    assert resting is not None and resting.status is OutStatus.WORKING and orders.resting(ETH) is None
    orders.add(ticket("an exit", Role.EXIT), T, OutStatus.WORKING)
    assert orders.resting(BTC) == resting


def test_newest_of_two_confirmed_stops_is_the_one_that_rests() -> None:
    """A replaced one may still be confirmed when its successor is; a retry has to name the successor."""
    orders = OrdersOut()
    for name in ("the older", "the newer"):
        orders.add(ticket(name), T, OutStatus.WORKING)
    resting = orders.resting(BTC)
    assert resting is not None and resting.ticket.id == "the newer"


def test_answer_about_another_order_changes_nothing() -> None:
    orders = OrdersOut()
    orders.add(ticket(), T)
    before = list(orders)
    for order in (OrderId("another"), None):
        orders.apply(Cancelled(T, HERE, order, "gone"))
    assert list(orders) == before


def test_orders_are_found_by_instrument_and_role() -> None:
    orders = OrdersOut()
    for n, (instrument, role) in enumerate(itertools.product((BTC, ETH), Role)):
        orders.add(ticket(f"order {n}", role, instrument), T)
    assert [out.ticket.id for out in orders.of(ETH, Role.EXIT)] == ["order 4"]


def test_orders_may_be_added_and_end_while_they_are_walked() -> None:
    orders = OrdersOut()
    orders.add(ticket("order 1"), T)
    orders.add(ticket("order 2"), T)
    for out in orders:
        orders.apply(Cancelled(T, HERE, out.ticket.id, "gone"))
        orders.add(ticket(f"{out.ticket.id} again"), T)
    assert [out.ticket.id for out in orders] == ["order 1 again", "order 2 again"]


def test_order_is_ours_also_when_it_has_ended_or_its_id_was_cut() -> None:
    orders = OrdersOut([OrderId("an earlier order")])
    orders.add(ticket("one of this closing"), T)
    orders.apply(Cancelled(T, HERE, OrderId("one of this closing"), "gone"))
    assert orders.is_ours("an earlier order") and orders.is_ours("one of this closing")
    assert orders.is_ours("one of t") and not orders.is_ours("one of") and not orders.is_ours("")
    assert not orders.is_ours("web_12345678")


# ---------------------------------------------------------------- trying again


def test_refused_order_is_tried_again_after_one_two_and_then_three_seconds() -> None:
    attempts, now = Attempts(), T
    for pause in (1, 2, 3, 3, 3):
        attempts.refuse(BTC, Role.EXIT, now)
        assert not attempts.may(BTC, Role.EXIT, now + pause * SECOND - 1)
        now += pause * SECOND
        assert attempts.may(BTC, Role.EXIT, now)
    assert attempts.count(BTC, Role.EXIT) == 5


def test_what_the_venue_said_is_obeyed_as_it_was_said_and_not_doubled() -> None:
    attempts, now = Attempts(), T
    for _ in range(6):
        attempts.refuse(BTC, Role.EXIT, now, now + 3 * SECOND)
        assert not attempts.may(BTC, Role.EXIT, now + 3 * SECOND - 1)
        now += 3 * SECOND
        assert attempts.may(BTC, Role.EXIT, now)


def test_next_order_leaves_as_early_as_the_venue_said() -> None:
    attempts = Attempts()
    attempts.refuse(BTC, Role.EXIT, T, T + SECOND // 2)
    assert not attempts.may(BTC, Role.EXIT, T) and attempts.may(BTC, Role.EXIT, T + SECOND // 2)


def test_what_the_venue_said_holds_for_every_order_of_that_role_and_for_no_other() -> None:
    attempts = Attempts()
    attempts.refuse(BTC, Role.EXIT, T, T + 3 * SECOND)
    assert not attempts.may(ETH, Role.EXIT, T + SECOND) and attempts.may(BTC, Role.PROTECT, T)


def test_refusal_of_one_instrument_holds_up_no_other() -> None:
    attempts = Attempts()
    attempts.refuse(BTC, Role.EXIT, T)
    assert attempts.may(ETH, Role.EXIT, T) and attempts.may(BTC, Role.PROTECT, T)


def test_acceptance_forgets_the_refusals() -> None:
    attempts = Attempts()
    for _ in range(4):
        attempts.refuse(BTC, Role.EXIT, T)
    attempts.accept(BTC, Role.EXIT)
    assert attempts.may(BTC, Role.EXIT, T) and attempts.count(BTC, Role.EXIT) == 0


# ---------------------------------------------------------------- what is left of ours


def holdings(kind: AccountKind = AccountKind.SPOT, foreign: float = 0.0, ours: float = 0.5) -> Holdings:
    instruments = tuple(
        Instrument(HERE, Symbol(f"{base}/USDT"), AssetClass.CRYPTO, Currency(base), USDT, "24/7", lot=1e-5,
                   minimum_notional=5.0)
        for base in ("BTC", "ETH")
    )  # fmt: skip
    account = Account(HERE, kind, USDT, horizon=90 * SECOND)
    book = Book(Universe(instruments, (account,), USDT), 1)
    book.see(Quotes(T, (Quote(BTC, 50_000.0), Quote(ETH, 2_500.0))))
    if foreign:
        book.apply(Found(T, HERE, None, Holding(BTC, foreign, 50_000.0)))
    if ours:
        book.apply(fill(ours, "an entry", "0"))
    return Holdings(book, account, {BTC: Side.LONG if ours >= 0.0 else Side.SHORT})


def shows(held: Holdings, qty: float) -> None:
    held.apply(AccountRead(T, HERE, None, (), ((BTC, qty),)))


def test_two_witnesses_prove_at_once_that_a_position_is_gone() -> None:
    held = holdings()
    shows(held, 0.5)
    assert not held.is_gone(BTC, T)
    held.apply(fill(-0.5))
    shows(held, 0.0)
    assert held.is_gone(BTC, T)


def test_nothing_is_gone_without_a_reading() -> None:
    held = holdings(ours=0.0)
    assert not held.is_gone(BTC, T)


@pytest.mark.parametrize("by_fills", [True, False])
def test_one_witness_proves_it_once_its_word_has_stood_for_the_horizon(by_fills: bool) -> None:
    held = holdings()
    if by_fills:
        held.apply(fill(-0.5))
    shows(held, 0.5 if by_fills else 0.0)
    assert not held.is_gone(BTC, T) and not held.is_gone(BTC, T + 90 * SECOND - 1)
    assert held.is_gone(BTC, T + 90 * SECOND)


def test_reading_that_changes_begins_its_wait_anew() -> None:
    held = holdings()
    held.apply(fill(-0.5))
    shows(held, 0.5)
    assert not held.is_gone(BTC, T)
    shows(held, 0.4)
    assert not held.is_gone(BTC, T + 60 * SECOND) and not held.is_gone(BTC, T + 100 * SECOND)
    assert held.is_gone(BTC, T + 150 * SECOND)


def test_witnesses_that_agree_in_between_begin_the_wait_anew() -> None:
    held = holdings()
    shows(held, 0.0)
    assert not held.is_gone(BTC, T)
    shows(held, 0.5)
    assert not held.is_gone(BTC, T + 60 * SECOND)
    shows(held, 0.0)
    assert not held.is_gone(BTC, T + 100 * SECOND) and held.is_gone(BTC, T + 190 * SECOND)


@pytest.mark.parametrize(("foreign", "shown"), [(0.2, 0.2), (0.2, 0.20000999), (0.0, 0.00009)])
def test_foreign_holding_and_dust_are_no_remainder(foreign: float, shown: float) -> None:
    held = holdings(foreign=foreign)
    held.apply(fill(-0.5))
    shows(held, shown)
    assert held.is_gone(BTC, T) and held.remainder() == {}


def test_account_that_shows_less_than_was_there_before_shows_nothing_of_ours() -> None:
    """Somebody sold more by hand than was ours."""
    held = holdings(foreign=0.2)
    shows(held, 0.05)
    assert held.remainder() == {} and not held.is_gone(BTC, T) and held.is_gone(BTC, T + 90 * SECOND)
    held.apply(fill(-0.5))
    assert held.is_gone(BTC, T + 91 * SECOND)


def test_coins_that_came_by_hand_are_not_ours() -> None:
    held = holdings(foreign=0.2)
    shows(held, 1.0)
    held.note_others([])
    held.apply(fill(-0.5))
    shows(held, 0.5)
    assert held.is_gone(BTC, T)


def test_coins_that_orders_of_ours_may_explain_are_not_taken_for_others() -> None:
    """An entry that is out has filled, and its trade is not listed yet."""
    held = holdings()
    shows(held, 0.7)
    held.note_others([BTC])
    held.apply(fill(-0.5))
    shows(held, 0.2)
    assert not held.is_gone(BTC, T) and held.remainder() == {BTC: pytest.approx(0.2)}


def test_reading_that_lags_behind_our_entry_is_no_holding_of_others() -> None:
    held = holdings(foreign=0.2)
    shows(held, 0.2)
    held.note_others([])
    held.apply(fill(-0.5))
    shows(held, 0.2)
    assert held.is_gone(BTC, T)


@pytest.mark.parametrize(
    ("kind", "foreign", "shown", "beside"),
    [
        (AccountKind.SPOT, 0.0, None, False), (AccountKind.SPOT, 0.2, None, True), (AccountKind.SPOT, 0.0, 0.5, False),
        (AccountKind.SPOT, 0.0, 0.7, True), (AccountKind.SPOT, 0.2, 0.5, False), (AccountKind.MARGIN, 0.2, 0.7, False),
    ],
)  # fmt: skip
def test_second_sale_could_take_what_is_not_ours_beside_other_coins_alone(
    kind: AccountKind, foreign: float, shown: float | None, beside: bool
) -> None:
    held = holdings(kind, foreign)
    if shown is not None:
        shows(held, shown)
    assert held.is_beside_others(BTC) is beside


@pytest.mark.parametrize(
    ("kind", "foreign", "shown", "qty"),
    [
        (AccountKind.SPOT, 0.0, 0.0, 0.5), (AccountKind.SPOT, 0.2, None, 0.5), (AccountKind.SPOT, 0.2, 0.7, 0.5),
        (AccountKind.SPOT, 0.2, 0.2, 0.0), (AccountKind.SPOT, 0.2, 0.3, 0.1), (AccountKind.SPOT, 0.2, 0.1, 0.0),
        (AccountKind.SPOT, 0.2, 0.9, 0.5), (AccountKind.MARGIN, 0.2, 0.2, 0.5),
    ],
)  # fmt: skip
def test_no_more_is_sold_beside_foreign_coins_than_the_account_shows_of_ours(
    kind: AccountKind, foreign: float, shown: float | None, qty: float
) -> None:
    """The engine has sold it, and its full disk did not take that down."""
    held = holdings(kind, foreign)
    if shown is not None:
        shows(held, shown)
    assert held.sellable(BTC) == pytest.approx(qty) and held.held(BTC) == 0.5


@pytest.mark.parametrize(("ours", "held_"), [(0.5, 0.5), (0.00009, 0.0), (0.0, 0.0)])
def test_only_what_can_be_sold_is_held(ours: float, held_: float) -> None:
    assert holdings(ours=ours).held(BTC) == held_ and holdings(ours=ours).held(ETH) == 0.0


def test_what_lies_on_the_other_side_of_our_trade_is_not_held() -> None:
    """An exit that filled by more than was sent."""
    held = holdings()
    held.apply(fill(-0.8))
    assert held.book.ours(BTC).qty == pytest.approx(-0.3) and held.held(BTC) == 0.0


@given(st.lists(st.floats(-1.0, 1.0), min_size=1, max_size=8), st.integers(1, 89))
def test_contradicting_readings_never_prove_anything_before_the_horizon(shown: list[float], seconds: int) -> None:
    held, now = holdings(), T
    for qty in shown:
        shows(held, qty)
        gone = held.is_gone(BTC, now)
        assert not gone, "fills say that it is there"
        now += seconds * SECOND // len(shown)
