"""The accounting identity after anything that may happen, what moves unit value and what does not, breaks."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffe.book import FLAT, Book, Ledger, Position, UnitValue, day_of, traded
from ffe.hours import instant
from ffe.model import (
    DAY,
    HOUR,
    Accepted,
    Account,
    AccountKind,
    AccountRead,
    AssetClass,
    CashFlow,
    Cause,
    Currency,
    Flow,
    Instrument,
    InstrumentId,
    Known,
    OrderId,
    Qty,
    Report,
    Symbol,
    Universe,
    Venue,
)  # fmt: skip
from tests.risk.values import (
    BTC,
    BTC_COIN,
    BTC_EUR,
    DAX,
    ETH,
    EUR,
    EURJPY,
    EURUSD,
    IG,
    JPY,
    KRAKEN,
    OANDA,
    PRICES,
    START,
    UNIVERSE,
    USD,
    USDJPY,
    bars,
    book,
    deposit,
    fill,
    filled,
    financing,
    found,
    quotes,
)  # fmt: skip

NAN = math.nan
sizes = st.floats(0.01, 100.0)
signed = sizes | sizes.map(lambda size: -size)
prices = st.floats(0.5, 200.0)


def close_to(value: float) -> object:
    return pytest.approx(value, rel=1e-9, abs=1e-6)


# ---------------------------------------------------------------- marks


def test_a_bar_that_comes_late_moves_no_mark_back() -> None:
    held = book()
    held.see(quotes({BTC.id: 120.0}, START + HOUR))
    held.see(bars({BTC.id: 90.0}, START))
    assert held.marks[BTC.id] == (120.0, START + HOUR)
    held.see(bars({BTC.id: 110.0}, START + HOUR))  # behind it, in the same instant
    assert held.mark(BTC.id) == 110.0


# ---------------------------------------------------------------- one trade


@pytest.mark.parametrize(
    ("before", "qty", "after", "closed", "freed"),
    [
        (FLAT, 2.0, Position(2.0, 10.0, 60.0), 0.0, 0.0),
        (FLAT, -2.0, Position(-2.0, 10.0, -60.0), 0.0, 0.0),
        (Position(2.0, 7.0, 20.0), 1.0, Position(3.0, 8.0, 50.0), 0.0, 0.0),
        (Position(-2.0, 7.0, -20.0), -1.0, Position(-3.0, 8.0, -50.0), 0.0, 0.0),
        (Position(4.0, 7.0, 20.0), -1.0, Position(3.0, 7.0, 15.0), 1.0, 5.0),
        (Position(-4.0, 7.0, -20.0), 1.0, Position(-3.0, 7.0, -15.0), -1.0, -5.0),
        (Position(-0.5, 7.0, -20.0), 0.25, Position(-0.25, 7.0, -10.0), -0.25, -10.0),
        (Position(4.0, 7.0, 20.0), -4.0, FLAT, 4.0, 20.0),
        (Position(4.0, 7.0, 20.0), -6.0, Position(-2.0, 10.0, -60.0), 4.0, 20.0),
        (Position(-4.0, 7.0, -20.0), 6.0, Position(2.0, 10.0, 60.0), -4.0, -20.0),
        (Position(4.0, 7.0, 20.0), 0.0, Position(4.0, 7.0, 20.0), 0.0, 0.0),
        (FLAT, 0.0, Position(0.0, 10.0, 0.0), 0.0, 0.0),
    ],
)
def test_trade_at_10_worth_30_each(before: Position, qty: Qty, after: Position, closed: Qty, freed: float) -> None:
    assert traded(before, qty, 10.0, 30.0) == (after, closed, freed)


@given(st.lists(st.tuples(signed, prices, prices), min_size=1, max_size=12))
def test_nothing_is_lost_between_basis_and_what_is_realised(trades: list[tuple[float, float, float]]) -> None:
    position, cost, realised = FLAT, 0.0, 0.0
    for qty, price, value in trades:
        before, (position, closed, freed) = position, traded(position, qty, price, value)
        cost, realised = cost + qty * value, realised + closed * value - freed
        assert position.qty == pytest.approx(before.qty + qty, abs=1e-9)
        assert abs(closed) <= abs(before.qty) and closed * before.qty >= 0.0
        assert position.basis == close_to(cost + realised)


@given(signed, prices, sizes, prices)
def test_average_lies_between_the_prices_paid(qty: float, price: float, more: float, next_price: float) -> None:
    position = traded(Position(qty, price, 0.0), math.copysign(more, qty), next_price, 1.0)[0]
    assert min(price, next_price) * (1 - 1e-12) <= position.average <= max(price, next_price) * (1 + 1e-12)


# ---------------------------------------------------------------- the identity

spot_coins = st.sampled_from([BTC, ETH, BTC_EUR])
margins = st.sampled_from([EURUSD, USDJPY, EURJPY, DAX])
fees = st.sampled_from([0.0, 0.25, -0.125])
gains = st.none() | st.floats(-50.0, 50.0)  # what a venue says it realised


@st.composite
def happenings(draw: st.DrawFn) -> object:
    """One thing that may happen: a fill with its fee, a flow, a holding, new prices."""
    instrument = draw(spot_coins | margins)
    factor, size = draw(st.floats(0.8, 1.25)), draw(signed)
    match draw(st.integers(0, 5)):
        case 0 | 1:
            known = draw(st.sampled_from([USD, EUR, BTC_COIN] if instrument.venue == KRAKEN else [instrument.quote]))
            price = PRICES[instrument.id] * factor
            one = replace(fill(instrument, size, price, draw(fees), known), pl=draw(gains))
            return filled(one, draw(st.sampled_from(["a", None])))
        case 2:
            return deposit(instrument.venue, size * 10.0, draw(st.sampled_from([USD, EUR])))
        case 3:
            return financing(instrument, size, draw(st.sampled_from([USD, EUR])))
        case 4:
            return found(instrument, size, PRICES[instrument.id] * factor)
        case _:
            return quotes({id: price * draw(st.floats(0.8, 1.25)) for id, price in PRICES.items()})


def identity_holds(of: Book) -> bool:
    for venue, ledger in of.ledgers.items():
        sum_ = ledger.deposits + ledger.realised + of.unrealised(venue) - ledger.fees - ledger.financing
        scale = max(1.0, *(abs(of.value(id, position.qty)) for id, position in ledger.positions()), 1e6)
        if not math.isclose(of.venue_equity(venue), sum_, rel_tol=1e-9, abs_tol=1e-9 * scale):
            return False
    return True


@given(st.lists(happenings(), max_size=25))
def test_equity_is_what_came_and_was_earned(events: list[object]) -> None:
    new = book(deposit(KRAKEN, 1e6), deposit(OANDA, 1e6), deposit(IG, 1e6, EUR))
    for event in events:
        new.observe(event) if hasattr(event, "quotes") else new.apply(event)  # type: ignore[arg-type]
        assert identity_holds(new)
        assert new.equity == close_to(sum(new.venue_equity(venue) for venue in new.ledgers))


def test_spot_equity_is_cash_and_what_the_coins_are_worth() -> None:
    new = book(deposit(KRAKEN, 100_000.0), filled(fill(BTC, 0.5, 48_000.0, 24.0)))
    assert new.cash(KRAKEN, USD) == 100_000.0 - 24_000.0 - 24.0
    assert new.venue_equity(KRAKEN) == 75_976.0 + 25_000.0
    assert (new.unrealised(KRAKEN), new.ledgers[KRAKEN].realised, new.ledgers[KRAKEN].fees) == (1_000.0, 0.0, 24.0)
    new.apply(filled(fill(BTC, -0.25, 52_000.0, 13.0)))
    assert (new.unrealised(KRAKEN), new.ledgers[KRAKEN].realised, new.ledgers[KRAKEN].fees) == (500.0, 1_000.0, 37.0)


def test_margin_equity_is_the_balance_and_what_is_open() -> None:
    new = book(deposit(OANDA, 10_000.0), filled(fill(EURUSD, 8_000.0, 1.125, 2.0)))
    assert new.cash(OANDA, USD) == 9_998.0
    assert new.venue_equity(OANDA) == 9_998.0 + 8_000.0 * 0.125
    new.apply(filled(fill(EURUSD, -12_000.0, 1.25)))
    assert new.cash(OANDA, USD) == 10_998.0
    assert new.ours(EURUSD.id) == Position(-4_000.0, 1.25, -5_000.0)
    new.observe(quotes({EURUSD.id: 1.5}))
    assert (new.venue_equity(OANDA), new.unrealised(OANDA)) == (9_998.0, -1_000.0)


def test_margin_account_turns_gains_into_its_own_currency_at_once() -> None:
    new = book(deposit(IG, 1_000.0, EUR), filled(fill(DAX, 2.0, 15_000.0)), filled(fill(DAX, -2.0, 16_000.0)))
    assert new.cash(IG, EUR) == 3_000.0
    assert new.ledgers[IG].realised == 2_000.0 * 1.25
    new.observe(quotes({EURUSD.id: 1.5}))
    assert (new.venue_equity(IG), new.unrealised(IG)) == (4_500.0, 750.0)


@pytest.mark.parametrize("side", [1.0, -1.0])
def test_venue_that_counts_by_trade_says_what_it_realised_and_leaves_the_average_of_the_other_trades(
    side: float,
) -> None:
    """128 at 150 and 128 at 158; those at 150 are closed at 160, where the mark is."""
    new = book(deposit(OANDA, 1_000.0), *(filled(fill(EURJPY, side * 128.0, price)) for price in (150.0, 158.0)))
    before = new.equity
    new.apply(filled(replace(fill(EURJPY, side * -128.0, 160.0), pl=side * 10.0)))
    assert new.cash(OANDA, USD) == 1_000.0 + side * 10.0 and new.ours(EURJPY.id).average == 158.0
    assert new.equity == close_to(before) and identity_holds(new)


def test_cent_that_a_venue_rounds_moves_nothing() -> None:
    new = book(deposit(OANDA, 1_000.0), filled(fill(EURUSD, 2.0, 1.25)))
    new.apply(filled(replace(fill(EURUSD, -1.0, 1.5), pl=0.2599)))
    assert new.cash(OANDA, USD) == 1_000.25 and new.ours(EURUSD.id).average == 1.25


@pytest.mark.parametrize("unknown", [0.0, NAN])
def test_gain_that_is_said_is_booked_though_no_rate_is_known(unknown: float) -> None:
    new = book(deposit(OANDA, 1_000.0), filled(fill(EURJPY, 256.0, 150.0)))
    new.apply(filled(replace(fill(EURJPY, -128.0, 160.0), pl=25.0, rate=unknown)))
    assert new.cash(OANDA, USD) == 1_025.0 and new.ours(EURJPY.id).average == 150.0


@pytest.mark.parametrize("qty", [1.0, -1.0, 0.25, -2.0])
def test_margin_gain_is_settled_whatever_the_size(qty: Qty) -> None:
    new = book(deposit(OANDA, 1_000.0), filled(fill(EURUSD, qty, 1.25)), filled(fill(EURUSD, -qty, 1.5)))
    assert new.cash(OANDA, USD) == 1_000.0 + qty * 0.25


def test_gain_of_a_foreign_quote_is_converted_at_the_newest_mid() -> None:
    new = book(deposit(OANDA, 1_000.0), filled(fill(EURJPY, 128.0, 150.0)))
    assert new.venue_equity(OANDA) == 1_000.0 + 128.0 * 10.0 / 128.0
    new.observe(quotes({USDJPY.id: 64.0}))
    assert new.venue_equity(OANDA) == 1_000.0 + 128.0 * 10.0 / 64.0


def test_currency_gains_are_open_while_it_is_held_and_realised_when_it_goes() -> None:
    new = book(deposit(KRAKEN, 1_000.0, EUR))
    new.observe(quotes({EURUSD.id: 1.5}))
    assert (new.ledgers[KRAKEN].deposits, new.unrealised(KRAKEN), new.equity) == (1_250.0, 250.0, 1_500.0)
    new.apply(deposit(KRAKEN, -400.0, EUR))
    assert (new.ledgers[KRAKEN].deposits, new.ledgers[KRAKEN].realised, new.unrealised(KRAKEN)) == (650.0, 100.0, 150.0)


@pytest.mark.parametrize("amount", [1.0, -1.0, 0.5])
def test_every_amount_of_cash_counts(amount: float) -> None:
    assert book(deposit(KRAKEN, amount)).equity == amount
    assert book(deposit(KRAKEN, amount, EUR)).equity == amount * 1.25


def test_coin_bought_with_euros_costs_what_they_were_worth_then() -> None:
    new = book(deposit(KRAKEN, 80_000.0, EUR), filled(fill(BTC_EUR, 1.0, 40_000.0)))
    new.observe(quotes({EURUSD.id: 1.5}))
    assert new.ours(BTC_EUR.id).basis == 50_000.0
    assert new.gain(BTC_EUR.id, new.ours(BTC_EUR.id)) == 10_000.0
    assert new.venue_equity(KRAKEN) == 80_000.0 * 1.5


# ---------------------------------------------------------------- fees, financing, holdings


def test_fee_in_the_base_currency_comes_out_of_what_was_bought() -> None:
    new = book(deposit(KRAKEN, 100_000.0), filled(fill(BTC, 1.0, 48_000.0, 0.25, BTC_COIN)))
    assert (new.ours(BTC.id).qty, new.cash(KRAKEN, USD), new.cash(KRAKEN, BTC_COIN)) == (0.75, 52_000.0, 0.0)
    assert (new.ledgers[KRAKEN].fees, new.ledgers[KRAKEN].realised) == (12_000.0, 0.0)
    assert new.venue_equity(KRAKEN) == 52_000.0 + 37_500.0
    assert identity_holds(new)


def test_fee_in_the_base_currency_realises_what_it_takes() -> None:
    new = book(deposit(KRAKEN, 100_000.0), filled(fill(BTC, 1.0, 48_000.0)))
    new.apply(filled(fill(BTC, 1.0, 50_000.0, 0.25, BTC_COIN)))
    assert new.ledgers[KRAKEN].realised == 250.0  # a quarter of a coin that cost 49,000 on average
    assert (new.ledgers[KRAKEN].fees, new.ours(BTC.id).basis) == (12_500.0, 85_750.0)
    assert identity_holds(new)


@pytest.mark.parametrize("fee", [1.0, -1.0, 0.25])
def test_every_fee_counts_and_a_rebate_is_a_negative_one(fee: float) -> None:
    new = book(deposit(OANDA, 100.0), filled(fill(EURUSD, 8.0, 1.25, fee)))
    assert (new.ledgers[OANDA].fees, new.equity) == (fee, 100.0 - fee)


def test_fee_in_a_third_currency_comes_out_of_that_cash() -> None:
    new = book(deposit(KRAKEN, 100_000.0), deposit(KRAKEN, 100.0, EUR))
    (booked,) = new.apply(filled(fill(BTC, 1.0, 48_000.0, 8.0, EUR)))
    assert (new.cash(KRAKEN, EUR), new.ledgers[KRAKEN].fees, booked.fees, booked.net) == (92.0, 10.0, 10.0, -10.0)


def test_booked_fill_says_what_it_realised_net_of_its_fee() -> None:
    new = book(deposit(KRAKEN, 100_000.0), filled(fill(BTC, 1.0, 48_000.0, 10.0)))
    (booked,) = new.apply(filled(fill(BTC, -0.5, 50_000.0, 5.0)))
    assert (booked.net, booked.fees, new.ours_realised) == (1_000.0 - 5.0, 5.0, 985.0)


def test_financing_and_fees_of_no_trade_lower_the_balance() -> None:
    new = book(deposit(OANDA, 1_000.0), financing(EURUSD, -3.0))
    new.apply(CashFlow(START, OANDA, None, Flow.FEE, -2.0, USD))
    assert (new.ledgers[OANDA].financing, new.ledgers[OANDA].fees, new.equity) == (3.0, 2.0, 995.0)


def test_our_share_of_financing_is_by_size() -> None:
    new = book(found(EURUSD, 3_000.0, 1.25), filled(fill(EURUSD, -1_000.0, 1.25)), financing(EURUSD, -8.0))
    assert (new.last_carry, new.ours_realised) == (-2.0, -2.0)
    new.apply(financing(EURUSD, 4.0))
    assert (new.last_carry, new.ours_realised) == (1.0, -1.0)


def test_flow_of_no_trade_of_ours_is_not_ours() -> None:
    new = book(found(EURUSD, 3_000.0, 1.25), financing(EURUSD, -8.0))
    new.apply(CashFlow(START, OANDA, None, Flow.FEE, -2.0, USD))
    assert (new.last_carry, new.ours_realised, new.equity) == (0.0, 0.0, -10.0)


def test_spot_holding_is_a_deposit_in_kind_and_a_margin_one_costs_nothing() -> None:
    new = book(found(BTC, 2.0, 48_000.0), found(EURUSD, -1_000.0, 1.125))
    assert (new.ledgers[KRAKEN].deposits, new.ledgers[OANDA].deposits) == (96_000.0, 0.0)
    assert (new.venue_equity(KRAKEN), new.venue_equity(OANDA)) == (100_000.0, -125.0)
    assert (new.held(BTC.id), new.ours(BTC.id)) == (2.0, FLAT)


def test_holding_is_worth_its_price_at_the_rate_of_its_day() -> None:
    new = book(filled(fill(BTC_EUR, -1.0, 32_000.0), None), found(BTC_EUR, 2.0, 40_000.0))
    ledger = new.ledgers[KRAKEN]
    assert (ledger.deposits, ledger.realised, new.held(BTC_EUR.id)) == (100_000.0, -10_000.0, 1.0)
    assert identity_holds(new)


def test_holding_is_counted_beside_ours_and_earns_nothing_for_us() -> None:
    new = book(found(BTC, 1.0, 40_000.0), deposit(KRAKEN, 50_000.0), filled(fill(BTC, 0.5, 50_000.0)))
    assert (new.held(BTC.id), new.ours(BTC.id).qty, new.ours_gain) == (1.5, 0.5, 0.0)
    new.observe(quotes({BTC.id: 52_000.0}))
    assert (new.ours_gain, new.unrealised(KRAKEN)) == (1_000.0, 13_000.0)


def test_holding_without_quantity_is_none() -> None:
    assert book(found(BTC, 0.0, 40_000.0)).equity == 0.0


def test_fill_of_no_order_of_ours_closes_what_is_not_ours_first() -> None:
    new = book(deposit(OANDA, 1_000.0), filled(fill(EURUSD, 500.0, 1.25), None))
    assert (new.ours(EURUSD.id), new.held(EURUSD.id)) == (FLAT, 500.0)
    new.apply(filled(fill(EURUSD, 100.0, 1.125)))
    new.apply(filled(fill(EURUSD, -200.0, 1.5, cause=Cause.HAND), None))
    assert (new.ours(EURUSD.id).qty, new.held(EURUSD.id), new.ours_realised) == (100.0, 400.0, 0.0)
    theirs, ours = sorted(new.apply(filled(fill(EURUSD, -350.0, 1.25, 3.5), None)), key=lambda booked: booked.is_ours)
    assert (theirs.fill.qty, theirs.fees, ours.fill.qty, ours.fees) == (-300.0, 3.0, -50.0, 0.5)
    assert (new.ours(EURUSD.id).qty, new.held(EURUSD.id), new.ours_realised) == (50.0, 50.0, 5.75)
    assert identity_holds(new)


def test_purchase_and_sale_by_hand_beside_our_position_leave_it_whole() -> None:
    new = book(deposit(KRAKEN, 50_000.0), filled(fill(BTC, 0.1, 50_000.0)))
    for qty in (0.06, -0.06):
        new.apply(filled(fill(BTC, qty, 50_000.0, cause=Cause.HAND), None))
    assert (new.ours(BTC.id).qty, new.held(BTC.id)) == (0.1, 0.1)


def test_small_fill_that_reduces_what_is_ours_is_ours() -> None:
    new = book(deposit(KRAKEN, 50_000.0), filled(fill(BTC, 0.5, 50_000.0)), filled(fill(BTC, -0.25, 50_000.0), None))
    assert (new.ours(BTC.id).qty, new.held(BTC.id)) == (0.25, 0.25)


@pytest.mark.parametrize(("left", "held"), [(0.001005, 0.001005), (0.000995, 0.0)])
def test_less_than_a_thousandth_of_a_lot_is_no_position(left: Qty, held: Qty) -> None:
    new = book(deposit(OANDA, 50.0), filled(fill(EURUSD, 1.0, 1.25)), filled(fill(EURUSD, left - 1.0, 1.25)))
    assert new.held(EURUSD.id) == pytest.approx(held)


def test_position_that_is_closed_leaves_no_trace() -> None:
    new = book(deposit(KRAKEN, 50_000.0), filled(fill(BTC, 0.5, 50_000.0)), filled(fill(BTC, -0.5, 50_000.0)))
    assert list(new.ledgers[KRAKEN].positions()) == []


# ---------------------------------------------------------------- what is answered twice


def test_trade_of_a_venue_is_booked_once() -> None:
    once = fill(BTC, 0.5, 48_000.0, trade="t1")
    new = book(deposit(KRAKEN, 100_000.0))
    assert len(new.apply(filled(once))) == 1
    assert new.apply(filled(once)) == ()
    again = fill(BTC, 0.5, 48_000.0, trade="t2")
    booked = new.apply(Report(START, KRAKEN, OrderId("order"), Known.DONE, (once, again)))
    assert [b.fill for b in booked] == [again]
    assert new.ours(BTC.id).qty == 1.0


def test_same_trade_id_at_another_venue_is_another_trade() -> None:
    new = book(filled(fill(BTC, 1.0, 50_000.0, trade="7")), filled(fill(EURUSD, 10.0, 1.25, trade="7")))
    assert (new.ours(BTC.id).qty, new.ours(EURUSD.id).qty) == (1.0, 10.0)


def test_answer_without_money_changes_nothing() -> None:
    new = book(deposit(KRAKEN, 100.0))
    new.marks[BTC.id] = (NAN, START)
    assert new.apply(Accepted(START, KRAKEN, OrderId("order"))) == ()
    assert new.equity == 100.0


# ---------------------------------------------------------------- marks and rates


def test_bars_and_quotes_are_both_prices() -> None:
    new = book()
    new.observe(bars({BTC.id: 60_000.0}, START + HOUR))
    assert (new.mark(BTC.id), new.marks[BTC.id][1]) == (60_000.0, START + HOUR)
    new.observe(quotes({BTC.id: 61_000.0}, START + 2 * HOUR))
    assert new.marks[BTC.id] == (61_000.0, START + 2 * HOUR)


def test_rates_are_mids_straight_or_inverted() -> None:
    new = book()
    assert [new.rate(currency) for currency in (USD, EUR, JPY, BTC_COIN)] == [1.0, 1.25, 1.0 / 128.0, 50_000.0]
    assert math.isnan(new.rate(Currency("CHF")))
    assert (new.rate_source(JPY), new.rate_source(Currency("CHF"))) == (USDJPY.id, None)
    assert new.value(EURJPY.id, -2.0) == -2.0 * 160.0 / 128.0


@pytest.mark.parametrize(("price", "is_known"), [(0.0, False), (-0.5, False), (0.5, True), (1e-9, True), (NAN, False)])
def test_price_that_is_not_above_zero_is_not_known(price: float, is_known: bool) -> None:
    new = book()
    for market in (bars({BTC.id: price}, START + HOUR), quotes({BTC.id: price}, START + HOUR)):
        new.observe(market)
        assert (new.mark(BTC.id) == price) is is_known
        assert math.isnan(new.mark(BTC.id)) is not is_known


def test_only_what_a_mid_can_move_has_to_be_valued_anew() -> None:
    ledger = Ledger(Account(KRAKEN, AccountKind.SPOT, USD), USD)
    assert not ledger.moves
    ledger.deposit(EUR, 5.0, 1.25)
    assert ledger.moves
    for owner in ("ours", "foreign"):
        ledger = Ledger(Account(KRAKEN, AccountKind.SPOT, USD), USD)
        ledger.deposit(USD, 5.0, 1.0)
        assert not ledger.moves
        ledger.fill(BTC, fill(BTC, 1.0, 2.0), getattr(ledger, owner), lambda currency: 1.0)
        assert ledger.moves


def test_nothing_has_been_earned_before_anything_happened() -> None:
    new = Book(UNIVERSE, 30)
    assert (new.ours_gain, new.ours_realised, new.last_carry, new.day_pnl) == (0.0, 0.0, 0.0, 0.0)


def test_nothing_is_worth_anything_before_its_price_is_known() -> None:
    new = Book(UNIVERSE, 30)
    assert math.isnan(new.mark(BTC.id)) and math.isnan(new.rate(EUR)) and math.isnan(new.equity)


@pytest.mark.parametrize("symbols", [("kraken", "zeta"), ("zeta", "kraken")])
def test_forex_gives_the_rate_where_a_coin_market_could_too(symbols: tuple[str, str]) -> None:
    kinds = zip(symbols, (AssetClass.CRYPTO, AssetClass.FOREX), strict=True)
    pairs = [Instrument(Venue(v), Symbol("EUR/USD"), kind, EUR, USD, "24/7") for v, kind in kinds]
    accounts = tuple(Account(Venue(venue), AccountKind.SPOT, USD) for venue in symbols)
    assert Book(Universe(tuple(pairs), accounts, USD), 30).rate_source(EUR) == pairs[1].id


def test_money_without_a_rate_waits_for_one_and_leaves_equity_unknown() -> None:
    new = Book(UNIVERSE, 30)
    new.observe(quotes({BTC.id: 50_000.0}))
    new.apply(deposit(KRAKEN, 100.0))
    new.apply(deposit(IG, 1_000.0, EUR))
    new.apply(found(DAX, 1.0, 15_000.0))
    assert math.isnan(new.equity) and new.ledgers[IG].deposits == 0.0
    new.observe(quotes({EURUSD.id: 1.25, DAX.id: 16_000.0}))
    assert (new.equity, new.ledgers[IG].deposits, new.held(DAX.id)) == (100.0 + 1_250.0 + 1_250.0, 1_250.0, 1.0)


def test_empty_cash_in_a_currency_without_a_rate_does_no_harm() -> None:
    new = book(deposit(KRAKEN, 100.0), deposit(KRAKEN, 80.0, EUR), deposit(KRAKEN, -80.0, EUR))
    new.observe(quotes({EURUSD.id: NAN}))
    assert (new.equity, new.free(BTC)) == (100.0, 100.0)


# ---------------------------------------------------------------- what is free


def test_free_on_spot_is_the_cash_in_the_quote_currency() -> None:
    new = book(deposit(KRAKEN, 500.0), deposit(KRAKEN, 80.0, EUR), found(BTC, 1.0, 1.0))
    assert (new.free(BTC), new.free(BTC_EUR)) == (500.0, 100.0)


def test_free_on_margin_is_equity_without_the_margin_of_what_is_held_in_sum() -> None:
    new = book(deposit(OANDA, 1_000.0), found(EURUSD, -4_000.0, 1.25), filled(fill(EURUSD, 1_600.0, 1.25)))
    new.apply(filled(fill(USDJPY, -1_000.0, 128.0)))
    assert new.margin_used(OANDA) == pytest.approx((2_400.0 * 1.25 + 1_000.0) * 0.05)
    assert new.free(EURUSD) == pytest.approx(1_000.0 - 200.0)


# ---------------------------------------------------------------- days


@pytest.mark.parametrize(("time", "day"), [("2024-01-03", 2), ("2024-01-03T00:00:01", 3), ("2024-01-03T23:59", 3)])
def test_midnight_belongs_to_the_day_that_ends(time: str, day: int) -> None:
    assert day_of(3 * DAY + 1) == 3
    assert day_of(instant(time)) == instant("2024-01-01") // DAY + day - 1


def test_day_pnl_is_what_our_trades_earned_since_the_roll() -> None:
    new = book(deposit(KRAKEN, 100_000.0), filled(fill(BTC, 1.0, 48_000.0, 10.0)), found(ETH, 4.0, 1_000.0))
    assert new.day_pnl == 2_000.0 - 10.0
    new.roll(1)
    assert new.day_pnl == 0.0
    new.observe(quotes({BTC.id: 51_000.0, ETH.id: 9_000.0}))
    new.apply(filled(fill(BTC, -0.5, 51_000.0, 5.0)))
    assert new.day_pnl == 1_000.0 - 5.0


# ---------------------------------------------------------------- unit value


@dataclass
class Plain:
    """Unit value without its cleverness: every value ever seen, with its day."""

    window: int
    day: int = 0
    seen: list[tuple[int, float]] = field(default_factory=list)

    @property
    def drawdown(self) -> float:
        return 1.0 - self.seen[-1][1] / max(value for day, value in self.seen if day > self.day - self.window)


moves = st.lists(st.sampled_from([0.7, 0.9, 1.0, 1.1, 1.3]) | st.just("roll"), max_size=60)


@pytest.mark.parametrize(("days", "drawdown"), [(0, 0.2), (1, 0.2), (29, 0.2), (30, 0.0)])
def test_peak_counts_for_thirty_days_its_own_included(days: int, drawdown: float) -> None:
    unit = UnitValue(30)
    unit.roll(0)
    unit.observe(100.0)
    unit.observe(80.0)
    for day in range(1, days + 1):
        unit.roll(day)
    assert unit.drawdown == pytest.approx(drawdown)


@given(st.integers(1, 5), moves)
def test_drawdown_is_from_the_highest_value_of_the_last_days(window: int, moves: list[float | str]) -> None:
    unit, plain, equity = UnitValue(window), Plain(window), 100.0
    unit.roll(0)
    for move in (1.0, *moves):
        if isinstance(move, float):
            equity *= move
            unit.observe(equity)
        else:
            plain.day += 1
            unit.roll(plain.day)
        plain.seen.append((plain.day, unit.value))
        assert (unit.drawdown, unit.value) == pytest.approx((plain.drawdown, equity / 100.0), abs=1e-12)
        assert len(unit.peaks) <= window


@given(st.lists(st.tuples(st.floats(0.8, 1.25), st.floats(-0.9, 5.0)), max_size=20))
def test_deposits_and_withdrawals_move_neither_drawdown_nor_the_day(moves: list[tuple[float, float]]) -> None:
    unit, still, equity, alone = UnitValue(30), UnitValue(30), 100.0, 100.0
    unit.observe(equity)
    still.observe(alone)
    for growth, share in moves:
        equity, alone = equity * growth, alone * growth
        unit.observe(equity)
        still.observe(alone)
        equity += share * equity
        unit.rebase(equity)
        assert unit.units == pytest.approx(equity / unit.value)
        unit.observe(equity)
        assert (unit.drawdown, unit.day_return) == (close_to(still.drawdown), close_to(still.day_return))


@pytest.mark.parametrize("value", [1.1, 1.3, 0.7])
def test_money_that_all_went_and_came_again_moves_neither(value: float) -> None:
    unit = UnitValue(30)
    unit.observe(100.0)
    unit.observe(100.0 * value)
    before = unit.drawdown
    for equity in (0.0, 70.0):
        unit.rebase(equity)
        unit.observe(equity)
        assert unit.drawdown == pytest.approx(before)
    assert unit.value == pytest.approx(value)


@pytest.mark.parametrize("value", [1.3, 0.7])
def test_money_earned_after_all_went_is_measured_at_the_last_value(value: float) -> None:
    unit = UnitValue(30)
    unit.observe(100.0)
    unit.observe(100.0 * value)
    unit.rebase(0.0)
    unit.observe(5.0)
    assert unit.value == pytest.approx(value)


def test_unknown_money_buys_nothing() -> None:
    unit = UnitValue(30)
    unit.observe(100.0)
    for equity in (NAN, math.inf):
        unit.rebase(equity)
        assert unit.units == 100.0


def test_book_buys_units_with_a_deposit() -> None:
    new = book(deposit(KRAKEN, 100_000.0), filled(fill(BTC, 1.0, 50_000.0)))
    new.observe(quotes({BTC.id: 60_000.0}))
    new.observe(quotes({BTC.id: 49_000.0}))
    lost, today = new.unit.drawdown, new.unit.day_return
    new.apply(deposit(KRAKEN, 20_000.0))
    assert (new.unit.drawdown, new.unit.day_return) == (close_to(lost), close_to(today))
    new.apply(deposit(KRAKEN, -40_000.0))
    new.apply(deposit(IG, 1_000.0, EUR))
    assert (new.unit.drawdown, new.unit.day_return) == (close_to(lost), close_to(today))
    assert (lost, today) == (close_to(1.0 - 99.0 / 110.0), close_to(-0.01))


def test_gain_of_ours_is_no_part_of_what_a_deposit_buys() -> None:
    new = book(deposit(KRAKEN, 100_000.0), filled(fill(BTC, 1.0, 50_000.0)))
    new.observe(quotes({BTC.id: 60_000.0}))
    new.apply(deposit(KRAKEN, 11_000.0))
    assert (new.unit.value, new.unit.units) == pytest.approx((1.1, 110_000.0))


def test_nothing_is_known_before_there_is_money() -> None:
    unit = UnitValue(30)
    for equity in (NAN, 0.0, -5.0, -0.5, math.inf):
        unit.observe(equity)
        assert math.isnan(unit.value) and math.isnan(unit.drawdown) and math.isnan(unit.day_return)
    unit.roll(1)
    unit.rebase(0.5)
    assert math.isnan(unit.drawdown)
    unit.observe(0.5)
    assert (unit.value, unit.drawdown, unit.day_return) == (1.0, 0.0, 0.0)


def test_unknown_equity_leaves_the_last_value() -> None:
    unit = UnitValue(30)
    for equity in (100.0, 90.0, NAN, -math.inf):
        unit.observe(equity)
    assert (unit.value, unit.drawdown) == pytest.approx((0.9, 0.1))


@pytest.mark.parametrize("equity", [0.0, -10.0])
def test_day_that_begins_with_nothing_has_no_return(equity: float) -> None:
    unit = UnitValue(30)
    unit.observe(100.0)
    unit.observe(equity)
    unit.roll(1)
    unit.observe(50.0)
    assert math.isnan(unit.day_return)


def test_loss_of_everything_is_a_drawdown_of_everything() -> None:
    unit = UnitValue(30)
    unit.observe(100.0)
    for equity, value in ((0.0, 0.0), (-10.0, -0.1)):
        unit.observe(equity)
        unit.rebase(equity + 20.0)  # at such a price it buys nothing
        assert (unit.value, unit.drawdown, unit.units) == (value, 1.0 - value, 100.0)


# ---------------------------------------------------------------- what the venue says


def read(venue: Venue, cash: dict[Currency, float], positions: dict[InstrumentId, float]) -> AccountRead:
    return AccountRead(START, venue, None, tuple(cash.items()), tuple(positions.items()))


@pytest.mark.parametrize(
    ("cash", "btc", "breaks"),
    [
        (52_000.0, 1.0, []),
        (52_000.009, 1.0, []),
        (51_999.985, 1.0, ["USD: the venue holds 51999.985, the book 52000.0"]),
        (NAN, 1.0, ["USD: the venue holds nan, the book 52000.0"]),
        (52_000.0, 1.0000009, []),
        (52_000.0, 1.000002, ["kraken:BTC/USD: the venue holds 1.000002, the book 1.0"]),
        (52_000.0, NAN, ["kraken:BTC/USD: the venue holds nan, the book 1.0"]),
        (
            0.0,
            -1.0,
            ["kraken:BTC/USD: the venue holds -1.0, the book 1.0", "USD: the venue holds 0.0, the book 52000.0"],
        ),
    ],
)
def test_difference_beyond_a_lot_or_a_cent_is_a_break(cash: float, btc: float, breaks: list[str]) -> None:
    new = book(deposit(KRAKEN, 100_000.0), filled(fill(BTC, 1.0, 48_000.0)))
    assert new.breaks(read(KRAKEN, {USD: cash}, {BTC.id: btc})) == breaks


@pytest.mark.parametrize(
    ("cash", "held", "count"), [(0.01, 1.0, 0), (0.01005, 1.0, 1), (0.00995, -1.0, 0), (0.0, 1.001, 1)]
)
def test_a_lot_and_a_cent_themselves_are_no_break(cash: float, held: Qty, count: int) -> None:
    assert len(book().breaks(read(OANDA, {USD: cash}, {EURUSD.id: held}))) == count


def test_what_only_one_side_knows_is_a_break() -> None:
    new = book(deposit(KRAKEN, 10.0), found(ETH, 1.0, 2_500.0))
    assert new.breaks(read(KRAKEN, {EUR: 7.0}, {BTC.id: 1.0})) == [
        "kraken:BTC/USD: the venue holds 1.0, the book 0.0",
        "kraken:ETH/USD: the venue holds 0.0, the book 1.0",
        "EUR: the venue holds 7.0, the book 0.0",
        "USD: the venue holds 0.0, the book 10.0",
    ]


def test_venue_that_shows_nothing_where_there_was_something_breaks() -> None:
    new = book(deposit(KRAKEN, 10.0))
    assert new.breaks(read(KRAKEN, {}, {})) == ["USD: the venue holds 0.0, the book 10.0"]
    assert new.breaks(read(OANDA, {}, {})) == []
