"""Each control on its own: what it lets through, where it stops, and that it remembers across a restart."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffe.book import Book
from ffe.model import DAY, HOUR, MINUTE, SECOND, DecisionId, Instrument, Nanos, Side, Signal, Universe
from ffe.risk.controls import Control, Controls, ControlState, Entry
from ffe.risk.limits import ControlRules, WatchRules
from tests.risk.values import (
    ACCOUNTS,
    BTC,
    BTC_EUR,
    DAX,
    ETH,
    EURUSD,
    PRICES,
    START,
    USD,
    book,
    fill,
    filled,
    quotes,
    wanted,
)  # fmt: skip

WATCH = WatchRules()


def controls(on: Book | None = None, **rules: object) -> Controls:
    return Controls(on or book(), ControlRules(**rules), WATCH)


def entry(
    of: Instrument = BTC, qty: float = 1.0, side: Side = Side.LONG, provider: str = "ada", id: str = "", **more: object
) -> Entry:
    """An entry as the engine would send it, its collar 2 % from its price; every one has an id of its own."""
    intent, price = wanted(of, qty, side), PRICES[of.id]
    intent = replace(intent, signal=Signal(of.id, side, 80, provider))
    made = Entry(intent, price * (1.0 + 0.02 * side), price, DecisionId(id or f"d{next(NUMBERS)}"))
    return replace(made, **more)


NUMBERS = iter(range(10**9))


def said(judge: Controls, what: Entry, now: Nanos = START) -> tuple[Control, str] | None:
    """What the judge says; an entry that it lets through leaves."""
    if denial := judge.judge(what, now):
        return denial.control, denial.why
    judge.count(what, now)
    return None


# ---------------------------------------------------------------- C1: numbers that cannot be

BAD = (0.0, -1.0, math.nan, math.inf)


def test_an_entry_in_order_leaves() -> None:
    assert said(controls(), entry()) is None
    assert said(controls(), entry(intent=replace(entry().intent, stop=49_000.0, target=52_500.0))) is None


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("name", ["qty", "price", "stop", "target"])
def test_a_number_that_cannot_be_never_leaves(name: str, bad: float) -> None:
    denial = controls().judge(entry(intent=replace(entry().intent, **{name: bad})), START)
    assert denial is not None and denial.control is Control.INPUT and repr(bad) in denial.reason


@pytest.mark.parametrize("bad", BAD)
def test_a_collar_that_cannot_be_never_leaves(bad: float) -> None:
    assert said(controls(), entry(collar=bad)) == (Control.INPUT, f"collar {bad!r}")


def test_a_quantity_between_two_lots_never_leaves() -> None:
    assert said(controls(), entry(DAX, 2.25)) == (Control.INPUT, "quantity 2.25 is not in lots of 0.5")
    assert said(controls(), entry(DAX, 2.501)) is not None
    assert said(controls(), entry(DAX, 2.5, collar=16_100.0)) is None


def test_what_adding_up_has_lost_is_no_part_of_a_lot() -> None:
    assert said(controls(), entry(BTC, 0.1 + 0.2)) is None


def test_less_than_the_minimum_never_leaves() -> None:
    control, why = said(controls(), entry(ETH, 0.0019)) or (None, "")
    assert control is Control.INPUT and why == "quantity 0.0019, at least 0.002"
    assert said(controls(), entry(ETH, 0.002)) is None


def test_a_collar_between_two_ticks_never_leaves() -> None:
    on = Book(Universe((replace(BTC, tick=0.5),), ACCOUNTS, USD), 30)
    on.see(quotes({BTC.id: 50_000.0}))
    assert said(controls(on), entry(collar=50_000.25)) == (Control.INPUT, "collar 50000.25 is not on a tick of 0.5")
    assert said(controls(on), entry(collar=50_000.5)) is None


# ---------------------------------------------------------------- C2: prices that have run away


@pytest.mark.parametrize(("of", "ratio"), [(BTC, 0.02), (EURUSD, 0.005), (DAX, 0.05)])
@pytest.mark.parametrize("side", [Side.LONG, Side.SHORT])
def test_dearer_than_the_collar_since_the_first_decision_is_denied(of: Instrument, ratio: float, side: Side) -> None:
    price, qty = PRICES[of.id], 10.0
    near = price * (1.0 + side * ratio * 0.5)
    for moved, control in ((0.99, None), (1.01, Control.PRICE)):
        first = price / (1.0 + side * ratio * moved)
        told = said(controls(), entry(of, qty, side, first=first, collar=near))
        assert (told and told[0]) is control, (moved, told)


def test_dearer_by_exactly_the_collar_leaves() -> None:
    on = book()
    on.see(quotes({BTC.id: 51_000.0}))
    assert said(controls(on), entry(first=50_000.0)) is None


def test_what_has_become_cheaper_since_it_was_decided_leaves() -> None:
    assert said(controls(), entry(first=60_000.0)) is None
    assert said(controls(), entry(side=Side.SHORT, first=40_000.0)) is None


def test_a_collar_too_far_from_the_newest_price_is_denied() -> None:
    assert said(controls(), entry(collar=51_001.0)) == (
        Control.PRICE,
        "collar 51001.0 beyond 50000.0, by at most 2.00%",
    )
    assert said(controls(), entry(side=Side.SHORT, collar=48_999.0)) is not None
    assert said(controls(), entry(collar=51_000.0)) is None


def test_a_price_or_a_first_decision_that_is_not_known_denies() -> None:
    unpriced = book()
    unpriced.see(quotes({BTC.id: math.nan}))
    assert (said(controls(unpriced), entry()) or [None])[0] is Control.PRICE
    assert (said(controls(), entry(first=math.nan)) or [None])[0] is Control.PRICE


# ---------------------------------------------------------------- C3: the size of one order


def test_an_order_worth_more_than_allowed_is_denied() -> None:
    assert said(controls(max_order_value=49_999.0), entry()) == (Control.SIZE, "worth 50000.00, at most 49999")
    assert said(controls(max_order_value=50_000.0), entry()) is None


def test_the_worth_of_an_order_is_in_the_accounts_currency() -> None:
    """40,000 euros at 1.25 are 50,000 dollars."""
    assert said(controls(max_order_value=50_000.0), entry(BTC_EUR, side=Side.LONG)) is None
    assert said(controls(max_order_value=49_999.0), entry(BTC_EUR)) is not None


def test_an_order_whose_worth_is_not_known_is_denied_where_there_is_a_limit() -> None:
    no_rate = book()
    no_rate.marks.pop(EURUSD.id)
    assert said(controls(no_rate), entry(BTC_EUR)) is None
    assert said(controls(no_rate, max_order_value=1e12), entry(BTC_EUR)) is not None
    assert said(controls(no_rate, max_day_notional=1e12), entry(BTC_EUR)) is not None


def test_a_quantity_beyond_its_instruments_own_limit_is_denied() -> None:
    judge = controls(max_order_qty={"BTC/USD": 1.0})
    assert said(judge, entry(qty=1.1)) == (Control.SIZE, "quantity 1.1, at most 1")
    assert said(judge, entry(qty=1.0)) is None and said(judge, entry(ETH, 5.0)) is None


# ---------------------------------------------------------------- C4: what a day may come to


def test_a_days_turnover_counts_all_that_left() -> None:
    judge = controls(max_day_notional=100_000.0)
    assert said(judge, entry(qty=1.0)) is None and said(judge, entry(qty=0.9, side=Side.SHORT)) is None
    assert said(judge, entry(qty=0.2), START) == (Control.DAY, "105000.00 traded today with it, at most 100000")
    assert said(judge, entry(qty=0.1), START) is None


def test_a_new_day_turns_over_anew() -> None:
    judge = controls(max_day_notional=60_000.0)
    said(judge, entry())
    assert said(judge, entry(qty=0.5), START + DAY) is not None
    judge.roll()
    assert said(judge, entry(qty=0.6), START + DAY) is None


def test_a_day_that_has_lost_its_limit_takes_no_entry() -> None:
    """One coin, a fee of 100, and a fall of 900."""
    on = book(filled(fill(BTC, 1.0, 50_000.0, fee=100.0)))
    judge = controls(on, max_day_loss=1_000.0)
    on.observe(quotes({BTC.id: 49_100.0}))
    assert judge.overdrawn() == "" and judge.judge(entry(ETH), START) is None
    on.observe(quotes({BTC.id: 49_099.0}))
    assert judge.judge(entry(ETH), START).reason == "C4 daily limits: 1001.00 lost today, at most 1000"


def test_without_limits_a_day_may_lose_and_trade_what_it_likes() -> None:
    on = book(filled(fill(BTC, 100.0, 50_000.0)))
    on.observe(quotes({BTC.id: 1.0}))
    judge = controls(on)
    assert judge.overdrawn() == "" and all(said(judge, entry(ETH, n), START + n * DAY) is None for n in (1e3, 1e4, 1e5))


# ---------------------------------------------------------------- C5: too many


def names(n: int) -> str:
    """Strategies enough that none repeats itself."""
    return f"strategy {n}"


def test_the_sixth_within_a_second_is_denied_and_after_it_one_may_leave() -> None:
    judge = controls()
    for n in range(5):
        assert said(judge, entry(qty=1.0 + n, provider=names(n)), START + n) is None
    late = entry(qty=9.0)
    assert said(judge, late, START + SECOND - 1) == (Control.RATE, "6 in 1 s, at most 5")
    assert said(judge, late, START + SECOND) is None


@pytest.mark.parametrize(("apart", "most", "window"), [(SECOND // 2, 60, MINUTE), (MINUTE, 500, DAY)])
def test_a_minute_and_a_day_have_their_own_limits(apart: Nanos, most: int, window: Nanos) -> None:
    judge = controls()
    for n in range(most):
        assert said(judge, entry(qty=1.0 + n, provider=names(n)), START + n * apart) is None
    assert (said(judge, entry(), START + window - 1) or [None])[0] is Control.RATE
    assert said(judge, entry(qty=0.5), START + window) is None


@given(st.lists(st.integers(0, SECOND), max_size=60))
def test_never_more_than_five_leave_in_any_second(gaps: list[Nanos]) -> None:
    judge, now, times = controls(), START, []
    for n, gap in enumerate(gaps):
        now += gap // 4
        if said(judge, entry(qty=1.0 + n, provider=names(n)), now) is None:
            times.append(now)
    assert all(later - earlier >= SECOND for earlier, later in zip(times, times[5:], strict=False))


def test_the_third_breach_within_a_day_latches() -> None:
    judge = controls(orders_per_second=1, rate_breaches=3)
    said(judge, entry(), START)
    assert [judge.judge(entry(), START + n).latches for n in range(3)] == [False, False, True]


def test_breaches_of_yesterday_or_of_before_a_re_arm_count_no_more() -> None:
    judge = controls(orders_per_second=1, rate_breaches=2)
    for day in range(3):
        said(judge, entry(qty=1.0 + day), START + day * DAY)
        assert not judge.judge(entry(), START + day * DAY).latches
    judge.re_arm()
    assert not judge.judge(entry(), START + 2 * DAY).latches and judge.judge(entry(), START + 2 * DAY).latches


# ---------------------------------------------------------------- C6: the same again and again


def test_the_fourth_of_a_strategy_within_five_minutes_is_denied() -> None:
    judge = controls()
    for n in range(3):
        assert said(judge, entry(qty=1.0 + n), START + n * MINUTE) is None
    why = "4 long of kraken:BTC/USD by ada in 300 s, at most 3"
    assert said(judge, entry(), START + 5 * MINUTE - 1) == (Control.REPEATED, why)
    assert said(judge, entry(), START + 5 * MINUTE) is None


def test_another_strategy_side_or_instrument_repeats_nothing() -> None:
    judge = controls()
    for n in range(3):
        said(judge, entry(qty=1.0 + n), START + n * MINUTE)
    others = entry(provider="bob", qty=7.0), entry(side=Side.SHORT), entry(ETH)
    assert [said(judge, other, START + 3 * MINUTE) for other in others] == [None, None, None]


# ---------------------------------------------------------------- C7: the same twice


def test_the_same_order_within_five_seconds_is_denied_whoever_wants_it() -> None:
    judge = controls()
    said(judge, entry())
    again = entry(provider="bob")
    why = "1.0 of kraken:BTC/USD again within 5 s"
    assert said(judge, again, START + 5 * SECOND - 1) == (Control.DUPLICATE, why)
    assert said(judge, again, START + 5 * SECOND) is None


def test_another_quantity_side_or_instrument_is_not_the_same_order() -> None:
    judge = controls()
    said(judge, entry())
    others = entry(qty=1.5), entry(side=Side.SHORT), entry(ETH)
    assert [said(judge, other) for other in others] == [None, None, None]


def test_a_decision_and_a_wait_leave_once() -> None:
    judge = controls()
    assert said(judge, entry(id="a", follows=DecisionId("w"))) is None
    for n, again in enumerate((entry(id="a"), entry(id="b", follows=DecisionId("w")), entry(id="w"))):
        assert (said(judge, again, START + (n + 1) * MINUTE) or [None])[0] is Control.DUPLICATE


# ---------------------------------------------------------------- a restart


def test_a_restart_forgets_nothing() -> None:
    before = controls(max_day_notional=300_000.0, orders_per_second=1, rate_breaches=2)
    said(before, entry(id="a", qty=5.0))
    assert not before.judge(entry(), START).latches
    before.passed = 7
    after = controls(max_day_notional=300_000.0, orders_per_second=1, rate_breaches=2)
    after.restore(before.save())
    assert after.save() == before.save() and after.passed == 7
    assert after.judge(entry(), START).latches
    assert said(after, entry(id="a"), START + HOUR)[0] is Control.DUPLICATE
    assert said(after, entry(qty=2.0), START + HOUR)[0] is Control.DAY


def test_what_left_is_remembered_for_a_day() -> None:
    judge = controls()
    for n, hour in enumerate((0, 12)):
        said(judge, entry(id=f"id{n}"), START + hour * HOUR)
    assert said(judge, entry(id="id0"), START + DAY - 1)[0] is Control.DUPLICATE
    assert said(judge, entry(id="new"), START + DAY) is None and len(judge.save().left) == 2
    assert said(judge, entry(id="id0", qty=2.0), START + DAY) is None
    assert said(judge, entry(id="id1"), START + DAY)[0] is Control.DUPLICATE


def test_a_fresh_start_is_the_empty_state() -> None:
    assert controls().save() == ControlState()
