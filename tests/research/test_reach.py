"""Which layers a configuration cannot reach, said before a run."""

from __future__ import annotations

from ffe import Settings
from ffe.hours import Hours, instant
from ffe.model import Layer
from ffe.research.reach import unreachable

START, END = instant("2024-01-01"), instant("2024-02-01")


def out_of_reach(settings: Settings, *symbols: str) -> set[Layer]:
    universe = settings.universe(tuple(settings.instrument(symbol) for symbol in symbols))
    hours = {i.id: Hours.of(i.hours, START, END) for i in universe}
    return set(unreachable(universe, hours, settings.rules, bool(settings.holdings)))


def test_one_coin_reaches_neither_hours_nor_neighbours() -> None:
    alone = {Layer.MARKET_HOURS, Layer.CORRELATION, Layer.CROSS_VENUE, Layer.CONCENTRATION, Layer.LEVERAGE}
    assert out_of_reach(Settings(), "BTC/USD") == alone


def test_a_market_that_closes_brings_hours_within_reach() -> None:
    assert Layer.MARKET_HOURS not in out_of_reach(Settings(), "BTC/USD", "EUR/USD")


def test_three_on_a_venue_bring_correlation_within_reach_and_one_slot_takes_it_out() -> None:
    coins = ("BTC/USD", "ETH/USD", "SOL/USD")
    assert Layer.CORRELATION not in out_of_reach(Settings(), *coins)
    assert Layer.CORRELATION in out_of_reach(Settings().but(slots={"slots": 1}), *coins)


def test_a_second_venue_brings_cross_venue_within_reach() -> None:
    assert Layer.CROSS_VENUE not in out_of_reach(Settings(), "BTC/USD", "EUR/USD")


def test_holdings_bring_sizes_within_reach() -> None:
    held = Settings().but(holdings=[{"symbol": "BTC/USD", "qty": 1.0, "price": 20_000.0}])
    assert not {Layer.CORRELATION, Layer.CONCENTRATION, Layer.LEVERAGE} & out_of_reach(held, "BTC/USD")


def test_a_tight_leverage_limit_is_within_reach() -> None:
    assert Layer.LEVERAGE not in out_of_reach(Settings().but(gate={"leverage_ratio": 0.4}), "BTC/USD")
