"""What the gate knows of an entry: everything held, reserved or on its way counts, and what is not known is NaN."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffe.book import Book
from ffe.history import History
from ffe.hours import Hours, instant
from ffe.kernels import stats
from ffe.model import (
    DAY,
    HOUR,
    LAYERS,
    MINUTE,
    SECOND,
    Answer,
    Approved,
    Bar,
    Bars,
    Cancelled,
    DecisionId,
    Disposition,
    Instrument,
    InstrumentId,
    Intent,
    Layer,
    Nanos,
    OrderId,
    Price,
    Qty,
    Side,
    Signal,
    TailRisk,
)  # fmt: skip
from ffe.risk.facts import Facts
from ffe.risk.gatekeeper import Gatekeeper
from ffe.risk.limits import GateLimits, SlotRules, WatchRules
from ffe.risk.queue import Queue, Waiting
from ffe.risk.slots import Slots
from ffe.sizing import Room
from tests.risk.values import (
    BTC,
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
    book,
    deposit,
    fill,
    filled,
    found,
    quotes,
    wanted,
)  # fmt: skip

LONG, SHORT = Side.LONG, Side.SHORT
ALWAYS, FOREX = Hours.of("24/7", START, START), Hours.of("forex", START, START)
HOURS = {i.id: FOREX if i.hours == "forex" else ALWAYS for i in UNIVERSE}
LIMITS = GateLimits()
PLACE = {layer: place for place, layer in enumerate(LAYERS)}
NEEDS_EQUITY = (Layer.DRAWDOWN, Layer.VAR, Layer.CONCENTRATION, Layer.LEVERAGE)
MONEY = (deposit(KRAKEN, 60_000.0), deposit(OANDA, 40_000.0))
SATURDAY = instant("2024-01-06T12:00")


@dataclass
class World:
    book: Book
    history: History
    slots: Slots
    queue: Queue
    facts: Facts

    def measure(
        self,
        of: Instrument,
        qty: Qty,
        side: Side = LONG,
        now: Nanos = START,
        proven: bool = True,
        reversing: bool = False,
    ) -> dict[Layer, float]:
        facts, _ = self.facts.measure(wanted(of, qty, side), 90.0, now, proven, reversing)
        return {layer: float(facts[place]) for layer, place in PLACE.items()}

    def enter(self, slot: int, of: Instrument, qty: Qty, side: Side = LONG) -> None:
        self.slots.open(slot, wanted(of, qty, side), DecisionId(f"d{slot}"), OrderId(f"entry{slot}"), "provider", START)

    def fill(self, slot: int, of: Instrument, qty: Qty) -> None:
        answer = filled(fill(of, qty, PRICES[of.id]), f"entry{slot}", done=True)
        self.slots.apply(answer, self.book.apply(answer))

    def exposures(self) -> dict[str, float]:
        found = self.facts.exposures().tolist()
        return {str(i.symbol): value for i, value in zip(UNIVERSE, found, strict=True) if value}


def closes(seed: int = 1, days: int = 70) -> np.ndarray:
    """Random walks; BTC/EUR follows BTC/USD, and DAX goes against EUR/USD."""
    steps = np.random.default_rng(seed).normal(0.0, 0.01, (days, len(UNIVERSE)))
    steps[:, UNIVERSE.index[BTC_EUR.id]] = steps[:, UNIVERSE.index[BTC.id]]
    steps[:, UNIVERSE.index[DAX.id]] = -steps[:, UNIVERSE.index[EURUSD.id]]
    return np.asarray(100.0 * np.cumprod(1.0 + steps, axis=0))


def remember(history: History, table: np.ndarray) -> None:
    """Days of closes that ended before the start."""
    first = START // DAY - len(table)
    for n, row in enumerate(table):
        opened = (first + n) * DAY
        bars = [
            Bar(i.id, DAY, opened, opened + DAY, p, p, p, p, 1.0) for i, p in zip(UNIVERSE, row.tolist(), strict=True)
        ]
        history.observe(Bars(opened + DAY, tuple(bars)), lambda currency: 1.0)
    history.closes.complete(START // DAY)


CLOSES = closes()


def world(
    *answers: Answer, table: np.ndarray = CLOSES, prices: Mapping[InstrumentId, Price] = PRICES, time: Nanos = START
) -> World:
    new, history, queue = book(*MONEY, *answers, prices=prices, time=time), History(UNIVERSE), Queue(SlotRules())
    remember(history, table)
    slots = Slots(new, SlotRules(), WatchRules())
    return World(new, history, slots, queue, Facts(new, history, slots, queue, HOURS, LIMITS))


EMPTY = world()


# ---------------------------------------------------------------- the candidate


def test_facts_of_an_entry_into_an_empty_portfolio() -> None:
    facts = world().measure(BTC, 0.25)
    assert facts[Layer.MARKET_HOURS] == facts[Layer.AFTER_HOURS] == facts[Layer.FRESHNESS] == 0.0
    assert (facts[Layer.DRAWDOWN], facts[Layer.CORRELATION], facts[Layer.CROSS_VENUE]) == (0.0, 1.0, 0.0)
    assert (facts[Layer.CONCENTRATION], facts[Layer.LEVERAGE]) == (0.125, 0.125)
    returns = np.diff(CLOSES[:, UNIVERSE.index[BTC.id]]) / CLOSES[:-1, UNIVERSE.index[BTC.id]]
    assert facts[Layer.VAR] == pytest.approx(-0.125 * np.quantile(returns[-60:], 0.05, method="inverted_cdf"))
    assert facts[Layer.CONVICTION] == pytest.approx(np.std(returns[-20:], ddof=1))


def test_confidence_stands_behind_the_facts() -> None:
    facts, exposure = world().facts.measure(wanted(BTC, 0.25), 73.0, START, True, False)
    assert (facts.shape, facts[-1]) == ((11,), 73.0)
    assert exposure.tolist() == [12_500.0 if i is BTC else 0.0 for i in UNIVERSE]


@given(st.floats(0.01, 1.0), st.floats(1.01, 3.0))
def test_concentration_leverage_and_var_grow_with_the_candidates_size(qty: Qty, factor: float) -> None:
    small, large = (EMPTY.measure(BTC, size) for size in (qty, qty * factor))
    for layer in (Layer.CONCENTRATION, Layer.LEVERAGE, Layer.VAR):
        assert large[layer] == pytest.approx(small[layer] * factor)


def test_short_candidate_has_a_var_of_its_own() -> None:
    long, short = (EMPTY.measure(EURUSD, 20_000.0, side) for side in (LONG, SHORT))
    assert long[Layer.VAR] != short[Layer.VAR]
    assert long[Layer.CONCENTRATION] == short[Layer.CONCENTRATION] == 0.25


# ---------------------------------------------------------------- holdings, ours or not


@pytest.mark.parametrize("is_ours", [True, False])
def test_what_is_held_counts_in_every_layer(is_ours: bool) -> None:
    held = filled(fill(BTC_EUR, 0.5, 40_000.0)) if is_ours else found(BTC_EUR, 0.5, 40_000.0)
    full, equity = world(held), world(held).book.equity
    facts, alone = full.measure(BTC, 0.25), EMPTY.measure(BTC, 0.25)
    assert facts[Layer.CORRELATION] == 2.0
    assert facts[Layer.LEVERAGE] == (12_500.0 + 25_000.0) / equity
    assert facts[Layer.VAR] * equity == pytest.approx(3.0 * alone[Layer.VAR] * 100_000.0)
    assert full.measure(EURUSD, 1_000.0)[Layer.CROSS_VENUE] == pytest.approx(_rho(BTC_EUR, EURUSD))
    assert full.measure(BTC_EUR, 0.25)[Layer.CONCENTRATION] == 37_500.0 / equity


def _rho(a: Instrument, b: Instrument) -> float:
    return stats.correlation(CLOSES, len(CLOSES), UNIVERSE.index[a.id], UNIVERSE.index[b.id], 60, 30)


def test_hedge_lowers_var_and_is_not_correlated() -> None:
    held = world(found(DAX, 1.0, 16_000.0), deposit(IG, 1.0, EUR))  # moves against EUR/USD
    hedged, doubled = held.measure(EURUSD, 16_000.0), held.measure(EURUSD, 16_000.0, SHORT)
    assert hedged[Layer.VAR] == pytest.approx(0.0, abs=1e-4) and doubled[Layer.VAR] > 0.003
    assert hedged[Layer.CROSS_VENUE] == pytest.approx(-1.0) and doubled[Layer.CROSS_VENUE] == pytest.approx(1.0)


def test_reducing_a_holding_lowers_concentration() -> None:
    held = world(found(EURUSD, 20_000.0, 1.25))
    assert held.measure(EURUSD, 8_000.0, SHORT)[Layer.CONCENTRATION] == 0.15
    assert held.measure(EURUSD, 8_000.0)[Layer.CONCENTRATION] == 0.35


def test_venues_are_told_apart() -> None:
    held = world(found(BTC_EUR, 0.5, 40_000.0), found(EURUSD, 1_000.0, 1.25))
    assert held.measure(BTC, 0.1)[Layer.CORRELATION] == 2.0
    assert held.measure(USDJPY, 100.0)[Layer.CORRELATION] == 1.0


# ---------------------------------------------------------------- what is on its way


def test_entry_in_flight_counts_until_it_is_filled_or_gone() -> None:
    new = world()
    new.enter(0, BTC, 0.5)
    assert new.exposures() == {"BTC/USD": 25_000.0}
    assert new.measure(BTC, 0.25)[Layer.CONCENTRATION] == 0.375
    part = filled(fill(BTC, 0.2, 50_000.0), "entry0", done=False)
    new.slots.apply(part, new.book.apply(part))
    assert new.exposures() == {"BTC/USD": pytest.approx(25_000.0)}
    new.slots.apply(Cancelled(START, KRAKEN, OrderId("entry0"), "COLLAR"), ())
    assert new.exposures() == {"BTC/USD": pytest.approx(10_000.0)}


def test_short_entry_in_flight_is_a_short_exposure() -> None:
    new = world()
    new.enter(1, EURUSD, 8_000.0, SHORT)
    assert new.exposures() == {"EUR/USD": -10_000.0}


def reverse(new: World, of: Instrument, side: Side, qty: Qty) -> None:
    """An approved entry that waits until the opposite position is flat."""
    approved = Gatekeeper(LIMITS).review(wanted(of, qty, side), np.zeros(11), of.asset_class)
    assert isinstance(approved, Approved)
    signal = Signal(of.id, side, 90, "provider")
    new.queue.put(Waiting(Disposition.REVERSING, signal, START, PRICES[of.id], DecisionId("r"), 0, approved))


def test_reversal_counts_as_what_it_will_be() -> None:
    new = world(found(EURUSD, 1_000.0, 1.25))
    new.enter(0, EURUSD, 8_000.0)
    new.fill(0, EURUSD, 8_000.0)
    assert new.exposures() == {"EUR/USD": 11_250.0}
    reverse(new, EURUSD, SHORT, 4_000.0)
    assert new.exposures() == {"EUR/USD": -3_750.0}
    assert new.measure(EURUSD, 4_000.0, SHORT, reversing=True)[Layer.CONCENTRATION] == pytest.approx(0.0375, rel=1e-3)


def test_reversal_is_reviewed_as_if_ours_were_flat() -> None:
    new = world(found(EURUSD, 1_000.0, 1.25))
    new.enter(0, EURUSD, 16_000.0)
    part = filled(fill(EURUSD, 8_000.0, 1.25), "entry0", done=False)
    new.slots.apply(part, new.book.apply(part))
    assert new.exposures() == {"EUR/USD": 21_250.0}
    turned = new.facts.exposures(EURUSD.id)
    assert turned[UNIVERSE.index[EURUSD.id]] == 1_250.0
    assert new.measure(EURUSD, 8_000.0, SHORT, reversing=True)[Layer.CONCENTRATION] == pytest.approx(0.0875, rel=1e-3)


def test_wait_without_an_approval_counts_for_nothing() -> None:
    new = world()
    signal = Signal(BTC.id, LONG, 90, "provider")
    new.queue.put(Waiting(Disposition.QUEUED, signal, START, 50_000.0, DecisionId("q")))
    assert new.exposures() == {}
    assert new.facts.reserved(BTC) == 0.0


# ---------------------------------------------------------------- room


def test_room_is_what_sizing_must_know() -> None:
    new = world(found(BTC, 0.5, 50_000.0))
    assert new.facts.room(BTC.id, START, False) == Room(125_000.0, 25_000.0, 60_000.0, 1.0)
    assert new.facts.room(EURJPY.id, START, False) == Room(125_000.0, 0.0, 40_000.0, 1.0 / 128.0)


def test_reservations_are_not_free() -> None:
    new = world()
    new.enter(0, BTC, 0.5)
    new.enter(1, EURUSD, 16_000.0, SHORT)
    spot, margin = 25_000.0 * 1.02, pytest.approx(1_000.0 * 1.005)  # at their collars
    assert (new.facts.reserved(BTC), new.facts.reserved(EURUSD), new.facts.reserved(DAX)) == (spot, margin, 0.0)
    assert new.facts.room(ETH.id, START, False).free == 60_000.0 - spot
    assert new.facts.room(USDJPY.id, START, False).free == pytest.approx(40_000.0 - 1_005.0)


def test_a_reservation_is_in_the_account_currency() -> None:
    new = world()
    new.enter(0, USDJPY, 8_000.0)
    worst = 1.005 * 1.01  # the collar and half the spread
    assert new.facts.reserved(EURUSD) == pytest.approx(8_000.0 * USDJPY.margin_rate * worst)


def test_spot_cash_in_another_currency_is_neither_free_nor_reserved_from() -> None:
    new = world()
    new.enter(0, BTC, 0.5)
    assert (new.facts.reserved(BTC_EUR), new.facts.room(BTC_EUR.id, START, False).free) == (0.0, 0.0)


def test_filled_entry_is_no_longer_reserved() -> None:
    new = world()
    new.enter(0, BTC, 0.5)
    new.fill(0, BTC, 0.5)
    assert new.facts.reserved(BTC) == 0.0
    assert new.facts.room(ETH.id, START, False).free == 35_000.0


def test_approved_reversal_reserves_once_its_trade_is_gone() -> None:
    new = world()
    reverse(new, EURUSD, SHORT, 16_000.0)
    assert (new.facts.reserved(EURUSD), new.facts.reserved(BTC)) == (pytest.approx(1_005.0), 0.0)
    assert new.exposures() == {"EUR/USD": -20_000.0}
    new.enter(0, EURUSD, 8_000.0)
    new.fill(0, EURUSD, 8_000.0)
    assert new.facts.reserved(EURUSD) == 0.0
    new = world()
    reverse(new, BTC, LONG, 0.5)
    assert new.facts.reserved(BTC) == 25_500.0


def test_reversal_may_use_what_its_own_exit_frees() -> None:
    new = world()
    new.enter(0, EURUSD, 16_000.0)
    new.fill(0, EURUSD, 16_000.0)
    assert new.facts.room(EURUSD.id, START, False).free == pytest.approx(39_000.0)
    room = new.facts.room(EURUSD.id, START, True)
    assert (room.free, room.exposure) == pytest.approx((40_000.0, 0.0))
    new = world()
    new.enter(0, BTC, 0.5)
    new.fill(0, BTC, 0.5)
    assert new.facts.room(BTC.id, START, True).free == 60_000.0


# ---------------------------------------------------------------- what is not known


def unknown(facts: dict[Layer, float]) -> list[Layer]:
    return [layer for layer, fact in facts.items() if math.isnan(fact)]


def test_unproven_venue_leaves_everything_unknown_that_needs_equity() -> None:
    assert unknown(EMPTY.measure(BTC, 0.1, proven=False)) == list(NEEDS_EQUITY)


@pytest.mark.parametrize("equity", [-200_000.0, -100_000.0])
def test_without_equity_nothing_that_needs_it_is_known(equity: float) -> None:
    assert unknown(world(deposit(OANDA, equity)).measure(BTC, 0.1)) == list(NEEDS_EQUITY)


def test_little_equity_is_an_equity() -> None:
    assert unknown(world(deposit(OANDA, -99_999.5)).measure(BTC, 0.1)) == []


def test_unpriced_holding_leaves_everything_unknown_that_needs_equity() -> None:
    new = world(found(ETH, 1.0, 2_500.0))
    new.book.observe(quotes({ETH.id: math.nan}))
    assert set(NEEDS_EQUITY) <= set(unknown(new.measure(BTC, 0.1)))


def test_instrument_without_history_has_no_statistics() -> None:
    table = CLOSES.copy()
    table[:, UNIVERSE.index[BTC.id]] = math.nan
    assert unknown(world(table=table).measure(BTC, 0.1)) == [Layer.VAR, Layer.CONVICTION]
    held = world(found(BTC, 0.1, 50_000.0), table=table)
    assert unknown(held.measure(ETH, 0.1)) == [Layer.CORRELATION, Layer.VAR]
    assert unknown(held.measure(EURUSD, 100.0)) == [Layer.VAR, Layer.CROSS_VENUE]
    assert unknown(world(table=table).measure(ETH, 0.1)) == []


def test_thirty_days_are_enough_and_fewer_are_not() -> None:
    assert unknown(world(table=closes(days=31)).measure(BTC, 0.1)) == []
    assert unknown(world(table=closes(days=30)).measure(BTC, 0.1)) == [Layer.VAR]


def test_day_under_way_is_no_day() -> None:
    new, before = world(), EMPTY.measure(BTC, 0.1)
    opened = START // DAY * DAY
    new.history.observe(Bars(START, (Bar(BTC.id, HOUR, opened, START, 1.0, 1.0, 1.0, 1.0, 1.0),)), lambda currency: 1.0)
    assert new.measure(BTC, 0.1) == before


@pytest.mark.parametrize(("age", "seconds"), [(0, 0.0), (90 * SECOND, 90.0), (-5 * SECOND, -5.0)])
def test_age_is_in_seconds_and_negative_from_the_future(age: Nanos, seconds: float) -> None:
    assert EMPTY.measure(BTC, 0.1, now=START + age)[Layer.FRESHNESS] == seconds


def test_instrument_without_a_price_has_no_age() -> None:
    new = world(prices={ETH.id: 2_500.0})
    assert math.isnan(new.facts.age(BTC.id, START))
    assert Layer.FRESHNESS in unknown(new.measure(BTC, 0.1))


def test_hours_and_thin_times_are_facts() -> None:
    weekend = world(time=SATURDAY)
    assert weekend.measure(EURUSD, 100.0, now=SATURDAY)[Layer.MARKET_HOURS] == 1.0
    facts = weekend.measure(BTC, 0.1, now=SATURDAY)
    assert (facts[Layer.MARKET_HOURS], facts[Layer.AFTER_HOURS]) == (0.0, 1.0)


# ---------------------------------------------------------------- rates


def refresh(new: World, of: Instrument, time: Nanos) -> None:
    new.book.observe(quotes({of.id: PRICES[of.id]}, time))


@pytest.mark.parametrize(("late", "is_known"), [(15 * MINUTE, True), (15 * MINUTE + SECOND, False), (2 * HOUR, False)])
def test_rate_of_the_candidates_quote_must_be_fresh(late: Nanos, is_known: bool) -> None:
    new = world()
    refresh(new, EURJPY, START + late)
    assert unknown(new.measure(EURJPY, 100.0, now=START + late)) == ([] if is_known else list(NEEDS_EQUITY))


def test_rate_of_what_is_held_must_be_fresh() -> None:
    new = world(found(EURJPY, 100.0, 160.0))
    refresh(new, BTC, START + HOUR)
    assert unknown(new.measure(BTC, 0.1, now=START + HOUR)) == list(NEEDS_EQUITY)
    assert math.isnan(new.facts.room(BTC.id, START + HOUR, False).equity)
    refresh(new, USDJPY, START + HOUR)
    assert unknown(new.measure(BTC, 0.1, now=START + HOUR)) == []


def test_rate_of_cash_must_be_fresh() -> None:
    new = world(deposit(KRAKEN, 1_000.0, EUR))
    refresh(new, BTC, START + HOUR)
    assert unknown(new.measure(BTC, 0.1, now=START + HOUR)) == list(NEEDS_EQUITY)
    new.book.apply(deposit(KRAKEN, -1_000.0, EUR))
    assert unknown(new.measure(BTC, 0.1, now=START + HOUR)) == []


def test_rate_of_a_closed_market_is_as_fresh_as_it_can_be() -> None:
    new = world(deposit(KRAKEN, 1_000.0, EUR))
    refresh(new, BTC, SATURDAY)
    assert unknown(new.measure(BTC, 0.1, now=SATURDAY)) == []


def test_missing_rate_is_missing_though_its_market_is_closed() -> None:
    new = world(prices={id: price for id, price in PRICES.items() if id != USDJPY.id}, time=SATURDAY)
    assert not new.facts.has_fresh_rate(JPY, SATURDAY)


def test_missing_rate_is_no_rate() -> None:
    new = world(prices={id: price for id, price in PRICES.items() if id != USDJPY.id})
    assert not new.facts.has_fresh_rate(JPY, START)
    assert new.facts.has_fresh_rate(USD, START) and new.facts.has_fresh_rate(EUR, START)
    assert set(NEEDS_EQUITY) <= set(unknown(new.measure(EURJPY, 100.0)))


# ---------------------------------------------------------------- beside VaR


def tail(new: World, of: Instrument, qty: Qty, side: Side = LONG, limits: GateLimits = LIMITS) -> TailRisk:
    intent, facts = wanted(of, qty, side), Facts(new.book, new.history, new.slots, new.queue, HOURS, limits)
    _, exposure = facts.measure(intent, 90.0, START, True, False)
    return facts.tail(intent, exposure, START)


def test_component_of_the_only_holding_is_the_whole_var() -> None:
    found_ = tail(EMPTY, BTC, 0.25)
    var = EMPTY.measure(BTC, 0.25)[Layer.VAR]
    assert found_.component == pytest.approx(var) and found_.expected_shortfall > var


@pytest.mark.parametrize(
    ("limits", "largest"),
    [
        (GateLimits(var_ratio=0.9), 20_000.0),  # a quarter of 100,000 at 1.25
        (GateLimits(var_ratio=0.9, concentration_ratio=9.0, leverage_ratio=0.5), 40_000.0),
    ],
)
def test_largest_size_is_what_concentration_and_leverage_leave(limits: GateLimits, largest: Qty) -> None:
    for side in (LONG, SHORT):
        assert tail(EMPTY, EURUSD, 100.0, side, limits).largest_qty == largest


def test_largest_size_counts_what_is_held_already() -> None:
    wide = GateLimits(var_ratio=0.9)
    held = world(found(EURUSD, 8_000.0, 1.25))
    assert tail(held, EURUSD, 100.0, LONG, wide).largest_qty == 12_000.0
    assert tail(held, EURUSD, 100.0, SHORT, wide).largest_qty == 28_000.0
    geared = GateLimits(var_ratio=0.9, concentration_ratio=9.0, leverage_ratio=0.5)
    assert tail(held, EURUSD, 100.0, LONG, geared).largest_qty == 32_000.0
    assert tail(held, EURUSD, 100.0, SHORT, geared).largest_qty == 48_000.0
    assert tail(held, USDJPY, 100.0, LONG, geared).largest_qty == 40_000.0
    assert tail(held, USDJPY, 100.0, SHORT, geared).largest_qty == 40_000.0


def test_largest_size_is_what_var_leaves() -> None:
    narrow = GateLimits(var_ratio=0.001)
    largest = tail(EMPTY, EURUSD, 100.0, LONG, narrow).largest_qty
    assert EMPTY.measure(EURUSD, largest)[Layer.VAR] <= 0.001 < EMPTY.measure(EURUSD, largest + 2.0)[Layer.VAR]


def test_largest_size_is_nothing_where_there_is_no_room_and_unknown_where_nothing_is_known() -> None:
    assert tail(world(found(EURUSD, 80_000.0, 1.25)), EURUSD, 100.0).largest_qty == 0.0
    assert math.isnan(tail(world(table=closes(days=9)), EURUSD, 100.0).largest_qty)


# ---------------------------------------------------------------- one after the other

candidates = st.lists(
    st.tuples(st.sampled_from([BTC, ETH, EURUSD, EURJPY]), st.floats(0.01, 0.6), st.sampled_from([LONG, SHORT])),
    min_size=1,
    max_size=6,
)


@given(candidates, st.floats(-20_000.0, 20_000.0))
def test_entries_judged_one_after_the_other_never_exceed_a_limit_together(
    asked: list[tuple[Instrument, float, Side]], held: float
) -> None:
    new, keeper = world(found(EURUSD, held, 1.25)), Gatekeeper(LIMITS)
    approved: list[Intent] = []
    for of, share, side in asked:
        intent = wanted(of, share * 100_000.0 / new.book.value(of.id, 1.0), side)
        facts, _ = new.facts.measure(intent, 90.0, START, True, False)
        free = new.slots.free()
        if free and isinstance(keeper.review(intent, facts, of.asset_class), Approved) and not new.slots.trade(of.id):
            new.slots.open(free[0], intent, DecisionId("d"), OrderId(f"o{len(approved)}"), "provider", START)
            approved.append(intent)
    exposures, equity = np.abs(new.facts.exposures()), new.book.equity
    touched = {UNIVERSE.index[intent.instrument] for intent in approved}
    assert all(exposures[column] <= 0.25 * equity * (1 + 1e-9) for column in touched)
    assert len(approved) <= 2 and exposures.sum() <= 5.0 * equity


def test_second_entry_sees_what_the_first_reserved() -> None:
    new = world()
    new.enter(0, BTC, 0.5)
    assert new.measure(BTC_EUR, 0.25)[Layer.CORRELATION] == 2.0
    assert new.measure(ETH, 1.0)[Layer.LEVERAGE] == 0.275
