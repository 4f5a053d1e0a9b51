"""When entries stop: latches, pauses, disagreements, and the limits of the day on our trades and on the whole."""

from __future__ import annotations

import math

import pytest

from ffe.book import Book
from ffe.model import Answer, Bars
from ffe.risk.guard import Guard, Hit, TradingState
from ffe.risk.limits import WatchRules
from tests.risk.values import (
    BTC,
    ETH,
    EURUSD,
    KRAKEN,
    OANDA,
    PRICES,
    START,
    bars,
    book,
    deposit,
    fill,
    filled,
    found,
    quotes,
)

ACTIVE, REDUCING, HALTED = TradingState
OURS: tuple[Answer, ...] = (deposit(KRAKEN, 100_000.0), filled(fill(BTC, 1.0, 50_000.0)))
FOREIGN: tuple[Answer, ...] = (deposit(KRAKEN, 50_000.0), found(BTC, 1.0, 50_000.0))


def begun(*answers: Answer) -> tuple[Guard, Book]:
    """A day that begins with 100,000, half of it in one coin at 50,000."""
    guard, new = Guard(WatchRules()), book(*answers)
    new.roll(1)
    guard.roll(new)
    assert guard.day_equity == 100_000.0
    return guard, new


def at_close(guard: Guard, of: Book, price: float) -> Hit | None:
    market = bars({BTC.id: price}, START)
    of.observe(market)
    return guard.judge(market, of)


def at_quote(guard: Guard, of: Book, price: float) -> Hit | None:
    market = quotes({BTC.id: price}, START)
    of.observe(market)
    return guard.judge(market, of)


# ---------------------------------------------------------------- limits of the day


@pytest.mark.parametrize(("price", "is_hit"), [
    (48_000.0, True), (48_001.0, False), (40_000.0, True), (50_000.0, False), (54_999.0, False), (55_000.0, True),
])  # fmt: skip
def test_loss_of_two_or_gain_of_five_percent_is_a_hit(price: float, is_hit: bool) -> None:
    for answers, ours in ((OURS, True), (FOREIGN, False)):
        hit = at_close(*begun(*answers), price)
        assert (hit is not None) is is_hit
        assert hit is None or hit.ours is ours


def test_hit_says_whose_it_is_and_how_far() -> None:
    hit = at_close(*begun(*OURS), 48_000.0)
    assert hit == Hit(True, "our trades at -2.0000% of the day's start")
    hit = at_close(*begun(*FOREIGN), 55_000.0)
    assert hit == Hit(False, "total equity at +5.0000% of the day's start")


def test_quote_needs_a_second_reading_and_a_close_confirms_itself() -> None:
    guard, new = begun(*OURS)
    assert at_quote(guard, new, 47_000.0) is None
    assert at_quote(guard, new, 47_500.0) is not None
    guard, new = begun(*OURS)
    assert at_close(guard, new, 47_000.0) is not None


def test_reading_between_that_is_within_limits_begins_anew() -> None:
    guard, new = begun(*OURS)
    assert [at_quote(guard, new, price) for price in (47_000.0, 50_000.0, 47_000.0)] == [None, None, None]
    assert at_quote(guard, new, 47_000.0) is not None


def test_loss_of_others_does_not_confirm_one_of_ours() -> None:
    guard, new = begun(deposit(KRAKEN, 50_000.0), found(ETH, 20.0, 2_500.0), filled(fill(BTC, 0.1, 50_000.0)))
    new.observe(quotes({ETH.id: 2_000.0}))
    assert at_quote(guard, new, 50_000.0) is None
    hit = at_quote(guard, new, 50_000.0)
    assert hit is not None and not hit.ours
    assert at_quote(guard, new, 1_000.0) is None  # one impossible price of ours, and nothing is closed
    hit = at_quote(guard, new, 1_000.0)
    assert hit is not None and hit.ours


def test_only_a_new_price_of_what_was_read_is_a_further_reading() -> None:
    guard, new = begun(*OURS)
    assert at_quote(guard, new, 47_000.0) is None
    assert guard.judge(quotes({ETH.id: 2_500.0}), new) is None
    assert guard.judge(bars({ETH.id: 2_500.0}), new) is None and guard.judge(Bars(START, ()), new) is None
    assert not guard.is_settled
    assert at_quote(guard, new, 47_000.0) is not None


def test_all_that_was_read_has_to_be_read_again() -> None:
    guard, new = begun(*OURS)
    new.observe(quotes({BTC.id: 47_000.0}))
    assert guard.judge(quotes({BTC.id: 47_000.0, ETH.id: 2_500.0}), new) is None
    assert at_quote(guard, new, 47_000.0) is None
    assert guard.judge(bars({ETH.id: 2_500.0}), new) is not None


def test_reading_of_a_day_before_confirms_nothing() -> None:
    guard, new = begun(*OURS)
    assert at_quote(guard, new, 47_000.0) is None
    new.roll(2)
    guard.roll(new)
    assert at_quote(guard, new, 45_000.0) is None


def test_day_is_measured_from_its_own_start() -> None:
    guard, new = begun(*OURS)
    new.observe(quotes({BTC.id: 49_000.0}))
    new.roll(2)
    guard.roll(new)
    assert at_close(guard, new, 47_100.0) is None
    assert at_close(guard, new, 47_000.0) is not None


@pytest.mark.parametrize("unknown", [math.nan, math.inf, -math.inf])
def test_unknown_equity_never_liquidates(unknown: float) -> None:
    guard, new = begun(*OURS)
    assert [at_close(guard, new, unknown), at_quote(guard, new, unknown), at_quote(guard, new, unknown)] == [None] * 3


def test_first_money_of_a_day_is_what_the_day_is_measured_from() -> None:
    guard, new = Guard(WatchRules()), Book(book().universe, 30)
    guard.roll(new)
    new.observe(quotes(PRICES))
    for answer in OURS:
        new.apply(answer)
    assert at_close(guard, new, 49_000.0) is None  # the day starts here, with 99,000
    assert guard.day_equity == 99_000.0
    assert at_close(guard, new, 48_100.0) is None
    assert at_close(guard, new, 48_000.0) is not None


def test_day_of_little_money_is_measured_like_any_other() -> None:
    guard, new = Guard(WatchRules()), book(deposit(KRAKEN, 0.5), filled(fill(BTC, 1e-5, 50_000.0)))
    new.roll(1)
    guard.roll(new)
    assert at_close(guard, new, 45_000.0) == Hit(True, "our trades at -10.0000% of the day's start")


def test_money_that_comes_into_an_empty_account_begins_its_day() -> None:
    guard, new = Guard(WatchRules()), book()
    new.roll(1)
    guard.roll(new)
    for answer in OURS:
        new.apply(answer)
    assert at_close(guard, new, 50_000.0) is None
    assert guard.day_equity == 100_000.0


def test_day_that_begins_with_nothing_hits_nothing() -> None:
    guard, new = Guard(WatchRules()), book(deposit(OANDA, 100.0), filled(fill(EURUSD, 800.0, 1.25)))
    new.observe(quotes({EURUSD.id: 1.125}))
    new.roll(1)
    guard.roll(new)
    assert (new.equity, guard.day_equity) == (0.0, 0.0)
    new.observe(quotes({EURUSD.id: 1.0}))
    new.apply(deposit(OANDA, 100.0))
    assert (new.equity, new.day_pnl) == (0.0, -100.0)
    assert at_close(guard, new, 50_000.0) is None


@pytest.mark.parametrize(("ours", "theirs"), [(60_000.0, 2_000.0), (40_000.0, 3_000.0)])
def test_gain_of_others_does_not_hide_a_loss_of_ours(ours: float, theirs: float) -> None:
    guard = Guard(WatchRules())
    new = book(deposit(KRAKEN, 15.0), filled(fill(BTC, 1e-4, 50_000.0)), found(ETH, 0.002, 2_500.0))
    new.roll(1)
    guard.roll(new)
    new.observe(quotes({ETH.id: theirs}))
    hit = at_close(guard, new, ours)
    assert (abs(new.day_pnl), new.unit.value) == (1.0, new.unit.day_start)
    assert hit is not None and hit.ours


def test_guard_is_settled_while_nothing_waits_for_a_second_reading() -> None:
    assert not Guard(WatchRules()).is_settled
    guard, new = begun(*OURS)
    assert guard.is_settled
    assert [(at_quote(guard, new, price), guard.is_settled)[1] for price in (47_000.0, 50_000.0)] == [False, True]


@pytest.mark.parametrize(("money", "is_settled"), [(0.0, False), (0.5, True), (-0.5, False)])
def test_guard_is_settled_once_the_day_has_an_equity(money: float, is_settled: bool) -> None:
    guard = Guard(WatchRules())
    guard.roll(book(deposit(KRAKEN, money)))
    assert guard.is_settled is is_settled


@pytest.mark.parametrize("amount", [-6_000.0, 6_000.0, 50_000.0])
@pytest.mark.parametrize("price", [50_000.0, 50_001.0])
def test_money_that_comes_or_goes_is_no_gain_and_no_loss_of_the_day(amount: float, price: float) -> None:
    """While nothing else moves, the day is not judged at all."""
    guard, new = begun(*OURS)
    new.apply(deposit(KRAKEN, amount))
    assert at_close(guard, new, price) is None


# ---------------------------------------------------------------- states


def test_guard_is_active_unless_something_speaks_against_it() -> None:
    guard = Guard(WatchRules())
    assert (guard.state, guard.why) == (ACTIVE, "")


def test_pause_reduces_until_resumed() -> None:
    guard = Guard(WatchRules())
    guard.pause()
    assert (guard.state, guard.why) == (REDUCING, "paused by the operator")
    guard.re_arm()
    assert guard.state is REDUCING
    guard.resume()
    assert guard.state is ACTIVE


def test_reducing_for_a_day_ends_with_it() -> None:
    guard, new = begun(*OURS)
    guard.reduce("total equity at -3%")
    assert (guard.state, guard.why) == (REDUCING, "total equity at -3%")
    guard.re_arm()
    assert guard.state is REDUCING
    guard.roll(new)
    assert guard.state is ACTIVE


def test_latch_halts_until_an_operator_re_arms() -> None:
    guard, new = begun(*OURS)
    assert guard.latch("portfolio stop", "our trades at -2%", START) and guard.latched_at == START
    assert not guard.latch("portfolio stop", "again", START + 1) and guard.latched_at == START
    guard.resume()
    guard.roll(new)
    assert (guard.state, guard.why) == (HALTED, "portfolio stop: our trades at -2%")
    assert guard.latch("emergency stop", "by ada", START + 2) and guard.latched_at == START + 2
    guard.re_arm()
    assert (guard.state, guard.latches, guard.latched_at) == (ACTIVE, {}, None)


def test_disagreement_reduces_until_the_venue_agrees() -> None:
    guard = Guard(WatchRules())
    for _ in range(2):
        guard.disagree(KRAKEN)
    guard.disagree(OANDA)
    assert (guard.state, guard.disagreements) == (REDUCING, {KRAKEN: 2, OANDA: 1})
    guard.agree(KRAKEN)
    guard.agree(KRAKEN)
    assert guard.state is REDUCING
    guard.agree(OANDA)
    assert guard.state is ACTIVE
    guard.disagree(KRAKEN)
    guard.re_arm()
    assert guard.disagreements == {}


def test_everything_that_speaks_against_entries_is_said() -> None:
    guard = Guard(WatchRules())
    guard.latch("disk", "fsync failed", START)
    guard.disagree(KRAKEN)
    guard.pause()
    guard.reduce("a bad day")
    assert guard.why == "disk: fsync failed; kraken disagrees with the book; paused by the operator; a bad day"
    assert guard.state is HALTED
