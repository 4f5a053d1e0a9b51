"""How much an entry may be: every rule binds and is named, sizes round down in decimals, what cannot be is said."""

from __future__ import annotations

import math
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffe.model import AssetClass, Instrument, Intent, Price, Purpose, Qty, Side, Signal
from ffe.risk.limits import GateLimits, SizeRules, WatchRules
from ffe.rounding import is_dust
from ffe.sizing import (
    NO_ROOM,
    NotTradable,
    Room,
    collar_ratio,
    cost_per_unit,
    minimum_entry,
    minimum_qty,
    objection,
    round_down,
    size_entry,
    stop_of,
)
from tests.risk.values import BTC, DAX, EURUSD, USDJPY

NAN = math.nan
COIN = replace(BTC, lot=0.01, minimum_qty=0.05, minimum_notional=0.0)
ROOM = Room(equity=10_000.0, exposure=0.0, free=10_000.0, rate=1.0)
sides = st.sampled_from([Side.LONG, Side.SHORT])
lots = st.sampled_from([1.0, 0.5, 0.1, 0.3, 0.01, 1e-3, 1e-6, 1e-8, 100.0])
sizes = st.floats(0.0, 1e6)


def signal(
    side: Side = Side.LONG, stop: Price | None = None, target: Price | None = None, qty: Qty | None = None
) -> Signal:
    return Signal(COIN.id, side, 90, "provider", stop, target, qty)


def sized(
    of: Signal, room: Room = ROOM, instrument: Instrument = COIN, price: Price = 100.0, is_spot: bool = True
) -> Intent | NotTradable:
    return size_entry(instrument, of, price, room, is_spot, SizeRules(), GateLimits(), WatchRules())


def bound(of: Signal, room: Room = ROOM, instrument: Instrument = COIN, is_spot: bool = True) -> tuple[str, Qty]:
    intent = sized(of, room, instrument, 100.0, is_spot)
    assert isinstance(intent, Intent)
    return intent.rule, intent.qty


# ---------------------------------------------------------------- which rule binds


def test_stop_bounds_the_size_by_one_percent_of_equity_at_risk() -> None:
    assert bound(signal(stop=90.0)) == ("risk_per_trade", 10.0)  # 1 % of 10,000 over 10 a coin
    short = replace(COIN, shortable=True)
    assert bound(signal(Side.SHORT, stop=112.5), instrument=short, is_spot=False) == ("risk_per_trade", 8.0)


def test_default_stop_is_two_percent_away() -> None:
    wide = Room(10_000.0, -1e6, 1e9, 1.0)
    assert bound(signal(), wide) == ("risk_per_trade", 50.0)
    assert stop_of(signal(), 100.0, WatchRules()) == 98.0
    assert stop_of(signal(Side.SHORT), 100.0, WatchRules()) == 102.0
    assert stop_of(signal(stop=97.5), 100.0, WatchRules()) == 97.5


def test_concentration_leaves_95_percent_of_what_is_left() -> None:
    assert bound(signal()) == ("concentration", 23.75)  # 0.95 x 25 % of 10,000, at 100
    assert bound(signal(), replace(ROOM, exposure=500.0)) == ("concentration", 19.0)
    assert bound(signal(), replace(ROOM, exposure=-500.0)) == ("concentration", 28.5)
    short = replace(COIN, shortable=True)
    assert bound(signal(Side.SHORT), replace(ROOM, exposure=-500.0), short, False) == ("concentration", 19.0)


def test_cash_bounds_the_size_after_collar_and_costs() -> None:
    room = replace(ROOM, free=1_000.0)
    assert bound(signal(), room) == ("cash", 9.31)  # 950 / 102
    costly = replace(COIN, fee=0.1)
    assert bound(signal(), room, costly) == ("cash", 8.46)  # 950 / (102 x 1.1)


def test_margin_bounds_the_size_where_there_is_no_cash_to_pay() -> None:
    lent = replace(COIN, margin_rate=0.5)
    assert bound(signal(), replace(ROOM, free=500.0), lent, False) == ("margin", 9.31)  # 475 / 51
    assert bound(signal(), replace(ROOM, free=500.0), lent, True) == ("cash", 4.65)


def test_strategy_may_ask_for_less_and_never_for_more() -> None:
    assert bound(signal(qty=7.129)) == ("strategy", 7.12)
    assert bound(signal(qty=1e9)) == ("concentration", 23.75)


def test_rates_convert_every_rule() -> None:
    room = Room(10_000.0, 0.0, 10_000.0, 0.5)
    assert bound(signal(stop=90.0), room) == ("risk_per_trade", 20.0)
    assert bound(signal(stop=97.0), room) == ("concentration", 47.5)
    assert bound(signal(), replace(room, free=500.0)) == ("cash", 9.31)


def test_intent_repeats_the_signal_and_says_what_bound_it() -> None:
    asked = signal(Side.LONG, 97.0, 120.0)
    assert sized(asked) == Intent(Purpose.ENTRY, COIN.id, Side.LONG, 23.75, 100.0, 97.0, 120.0, "concentration", asked)


def test_equal_rules_are_named_in_their_order() -> None:
    assert bound(signal(stop=90.0, qty=10.0)) == ("risk_per_trade", 10.0)
    assert bound(signal(qty=23.75)) == ("concentration", 23.75)


# ---------------------------------------------------------------- rounding and minimum


@pytest.mark.parametrize(("qty", "lot", "rounded"), [
    (0.3, 0.1, 0.3), (0.7, 0.1, 0.7), (1.15, 0.01, 1.15), (2.3, 0.1, 2.3), (0.29999999999999993, 0.1, 0.2),
    (5.0, 2.0, 4.0), (1e-9, 1e-8, 0.0), (123456.789, 1e-3, 123456.789), (-0.35, 0.1, -0.3),
    (NAN, 0.1, 0.0), (math.inf, 0.1, 0.0),
])  # fmt: skip
def test_sizes_round_towards_zero_in_decimals(qty: Qty, lot: Qty, rounded: Qty) -> None:
    assert round_down(qty, lot) == rounded


@given(sizes, lots)
def test_rounded_size_is_the_largest_multiple_that_fits(qty: Qty, lot: Qty) -> None:
    rounded, step = Decimal(repr(round_down(qty, lot))), Decimal(repr(lot))
    assert rounded % step == 0
    assert rounded <= Decimal(repr(qty)) < rounded + step


@given(st.floats(0.0, 1e4), lots, st.floats(0.0, 1e4), st.floats(0.01, 1e4))
def test_minimum_is_the_smallest_multiple_the_venue_takes(least: Qty, lot: Qty, notional: float, price: Price) -> None:
    instrument = replace(COIN, lot=lot, minimum_qty=least, minimum_notional=notional)
    found, step = Decimal(repr(minimum_qty(instrument, price))), Decimal(repr(lot))
    needed = Decimal(repr(max(least, lot, notional / price)))
    assert found % step == 0
    assert found - step < needed <= found


@pytest.mark.parametrize(("least", "notional", "lot", "minimum"), [
    (0.05, 0.0, 0.01, 0.05), (0.0, 7.0, 0.01, 0.07), (0.0, 0.0, 0.01, 0.01), (0.75, 0.0, 0.1, 0.8),
    (0.0, 7.1, 0.01, 0.08),
])  # fmt: skip
def test_minimum_is_a_quantity_a_notional_or_a_lot(least: Qty, notional: float, lot: Qty, minimum: Qty) -> None:
    assert minimum_qty(replace(COIN, lot=lot, minimum_qty=least, minimum_notional=notional), 100.0) == minimum


@pytest.mark.parametrize(("fee", "stop", "least"), [(0.0, 100.0, 0.0505), (0.0, 50.0, 0.101), (0.01, 100.0, 0.0511)])
def test_minimum_entry_can_be_stopped_and_sold_again(fee: float, stop: Price, least: Qty) -> None:
    coin = replace(COIN, lot=1e-4, minimum_qty=0.0, minimum_notional=5.0, fee=fee, fee_in_base=True)
    assert minimum_entry(coin, 100.0, stop) == least
    bought = least * (1.0 - fee)
    assert not is_dust(coin, bought, min(100.0, stop)) and is_dust(coin, bought - coin.lot, min(100.0, stop))


def test_size_that_concentration_left_no_room_for_is_reviewed_at_the_minimum() -> None:
    assert bound(signal(), replace(ROOM, exposure=2_500.0)) == (NO_ROOM, 0.05)
    assert bound(signal(), replace(ROOM, exposure=9_000.0)) == (NO_ROOM, 0.05)


@pytest.mark.parametrize(
    ("asked", "room", "reason"),
    [
        (signal(), replace(ROOM, free=5.0), "cash leaves 0.04, under the minimum of 0.05"),
        (signal(), replace(ROOM, free=-5.0), "cash leaves 0.0, under the minimum of 0.05"),
        (signal(qty=0.03), ROOM, "strategy leaves 0.03, under the minimum of 0.05"),
        (signal(), replace(ROOM, equity=-1.0, exposure=-1e6), "risk_per_trade leaves 0.0, under the minimum of 0.05"),
        (signal(), replace(ROOM, equity=8.0), "risk_per_trade leaves 0.04, under the minimum of 0.05"),
    ],
)  # fmt: skip
def test_any_other_size_under_the_minimum_is_not_tradable(asked: Signal, room: Room, reason: str) -> None:
    room = replace(room, exposure=-1e6) if "risk" in reason else room
    assert sized(asked, room) == NotTradable(reason)


def test_size_at_the_minimum_is_tradable() -> None:
    assert bound(signal(qty=0.05)) == ("strategy", 0.05)


@pytest.mark.parametrize("unknown", ["equity", "exposure", "free"])
def test_unknown_money_is_left_to_the_gate_at_the_minimum(unknown: str) -> None:
    assert bound(signal(), replace(ROOM, **{unknown: NAN})) == ("unknown_equity", 0.05)


# ---------------------------------------------------------------- what cannot be


@pytest.mark.parametrize(
    ("asked", "price", "rate", "reason"),
    [
        (signal(), NAN, 1.0, "no price"),
        (signal(), 0.0, 1.0, "no price"),
        (signal(), -1.0, 1.0, "no price"),
        (signal(), math.inf, 1.0, "no price"),
        (signal(), 100.0, NAN, "no rate from USD to the account currency"),
        (signal(Side.SHORT), 100.0, 1.0, "BTC/USD cannot be shorted on kraken"),
        (signal(stop=100.0), 100.0, 1.0, "stop 100.0 on the wrong side of 100.0"),
        (signal(stop=101.0), 100.0, 1.0, "stop 101.0 on the wrong side of 100.0"),
        (signal(stop=NAN), 100.0, 1.0, "stop nan on the wrong side of 100.0"),
        (signal(stop=-math.inf), 100.0, 1.0, "stop -inf on the wrong side of 100.0"),
        (signal(stop=0.0), 100.0, 1.0, "stop 0.0 on the wrong side of 100.0"),
        (signal(target=100.0), 100.0, 1.0, "target 100.0 on the wrong side of 100.0"),
        (signal(target=99.0), 100.0, 1.0, "target 99.0 on the wrong side of 100.0"),
        (signal(target=NAN), 100.0, 1.0, "target nan on the wrong side of 100.0"),
        (signal(target=math.inf), 100.0, 1.0, "target inf on the wrong side of 100.0"),
        (signal(qty=0.0), 100.0, 1.0, "asked for 0.0"),
        (signal(qty=-1.0), 100.0, 1.0, "asked for -1.0"),
        (signal(qty=NAN), 100.0, 1.0, "asked for nan"),
        (signal(qty=math.inf), 100.0, 1.0, "asked for inf"),
    ],
)
def test_what_an_instrument_cannot_do_is_said_first(asked: Signal, price: Price, rate: float, reason: str) -> None:
    assert sized(asked, replace(ROOM, rate=rate), price=price) == NotTradable(reason)


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (signal(Side.SHORT), None),
        (signal(Side.SHORT, 101.0, 99.0), None),
        (signal(Side.SHORT, 99.0), "stop 99.0 on the wrong side of 100.0"),
        (signal(Side.SHORT, 100.0), "stop 100.0 on the wrong side of 100.0"),
        (signal(Side.SHORT, math.inf), "stop inf on the wrong side of 100.0"),
        (signal(Side.SHORT, None, 101.0), "target 101.0 on the wrong side of 100.0"),
        (signal(Side.SHORT, None, 100.0), "target 100.0 on the wrong side of 100.0"),
        (signal(Side.SHORT, None, 0.0), "target 0.0 on the wrong side of 100.0"),
        (signal(Side.LONG, 99.0, 101.0), None),
    ],
)
def test_levels_stand_on_their_own_side_of_the_price(asked: Signal, reason: str | None) -> None:
    assert objection(replace(COIN, shortable=True), asked, 100.0, 1.0, False, WatchRules()) == reason


@pytest.mark.parametrize("price", [0.5, 1e-9])
def test_small_price_is_a_price(price: Price) -> None:
    assert objection(COIN, signal(), price, 1.0, True, WatchRules()) is None


@pytest.mark.parametrize(
    ("tick", "reason"), [(0.01, "stop 0.1 on the wrong side of 0.1: a tick is 0.01"), (1e-3, None)]
)
def test_stop_that_rounds_onto_the_price_is_not_tradable(tick: Price, reason: str | None) -> None:
    assert objection(replace(COIN, tick=tick), signal(), 0.1, 1.0, True, WatchRules()) == reason


def test_stop_that_no_number_tells_from_the_price_is_not_tradable() -> None:
    tight = WatchRules(stop_ratio=1e-20)
    found = size_entry(COIN, signal(), 100.0, ROOM, True, SizeRules(), GateLimits(), tight)
    assert found == NotTradable("stop 100.0 on the wrong side of 100.0: a tick is 0.0")


# ---------------------------------------------------------------- what one unit may cost


@pytest.mark.parametrize(("instrument", "ratio"), [
    (BTC, 0.02), (EURUSD, 0.005), (DAX, 0.05), (replace(DAX, asset_class=AssetClass.STOCK), 0.05),
])  # fmt: skip
def test_collar_depends_on_the_asset_class(instrument: Instrument, ratio: float) -> None:
    assert collar_ratio(instrument, WatchRules()) == ratio


def test_unit_costs_what_it_may_at_worst() -> None:
    dear = replace(COIN, spread=0.02, slippage=0.001, fee=0.005, margin_rate=0.1)
    worst = 100.0 * 1.02 * 1.01 * 1.001
    assert cost_per_unit(dear, Side.LONG, 100.0, True, WatchRules()) == pytest.approx(worst * 1.005)
    assert cost_per_unit(dear, Side.LONG, 100.0, False, WatchRules()) == pytest.approx(worst * 0.105)
    short = 100.0 * 1.02 * 0.99 * 0.999
    assert cost_per_unit(dear, Side.SHORT, 100.0, False, WatchRules()) == pytest.approx(short * 0.105)


@given(sides, st.floats(1_000.0, 1e7), st.floats(-5_000.0, 5_000.0), st.floats(0.0, 1e7), st.floats(0.5, 2.0))
def test_no_size_exceeds_any_rule(side: Side, equity: float, exposure: float, free: float, rate: float) -> None:
    room, traded = Room(equity, exposure, free, rate), replace(USDJPY, lot=0.01, spread=0.0)
    intent = sized(signal(side), room, traded, 150.0, False)
    if isinstance(intent, NotTradable) or intent.qty == minimum_qty(traded, 150.0):
        return
    value = intent.qty * 150.0 * rate
    assert abs(exposure + side * value) <= max(0.25 * equity, abs(exposure)) * (1 + 1e-9)
    assert value * 0.02 <= 0.01 * equity * (1 + 1e-9)
    assert value * 0.05 <= 0.95 * free * (1 + 1e-9)
