"""What costs and what a venue takes: margin stop-out, financing, fees in the base, dust."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ffe.brokers.faults import Partial
from ffe.model import HOUR, CashFlow, Cause, Disposition, Filled, Flow, Layer
from tests.story.scene import (
    BTC,
    COINS,
    ETH,
    EUR,
    GBP,
    SOL,
    START,
    Scene,
    Told,
    buy,
    fact,
    leave,
    sell,
    with_rules,
)  # fmt: skip

COSTLY = replace(EUR, financing_long=0.0365, financing_short=0.00365)
IN_BASE = replace(BTC, fee=0.001, fee_in_base=True)
COARSE = replace(BTC, lot=0.001, minimum_notional=1_000.0)


def financed(told: Told) -> list[tuple[float, float]]:
    """(hours since the start, amount) of every financing."""
    flows = [a for a in told.answers if isinstance(a, CashFlow) and a.flow is Flow.FINANCING]
    return [((flow.time - START) / HOUR, flow.amount) for flow in flows]


# ---------------------------------------------------------------- financing


def test_financing_falls_at_five_in_new_york_and_threefold_on_wednesday() -> None:
    scene = Scene(COSTLY)
    scene.bar(None, buy(COSTLY, qty=10_000.0))
    told = scene.bars(5 * 24)
    day = 10_000.0 * 1.25 * 0.0365 / 365.0
    hours, amounts = zip(*financed(told), strict=True)
    assert hours == (22.0, 46.0, 70.0, 94.0, 118.0)  # Monday to Friday
    assert amounts == pytest.approx((-day, -day, -3.0 * day, -day, -day))


def test_a_short_pays_its_own_rate() -> None:
    scene = Scene(COSTLY)
    scene.bar(None, sell(COSTLY, qty=10_000.0))
    assert financed(scene.bars(23)) == [(22.0, pytest.approx(-0.125))]


def test_what_was_entered_at_five_pays_from_the_next_day() -> None:
    scene = Scene(COSTLY)
    scene.bars(21)
    scene.bar(None, buy(COSTLY, qty=10_000.0))  # at 22:00 UTC
    assert not financed(scene.bars(23)) and len(financed(scene.bar())) == 1


def test_financing_is_part_of_what_a_trade_earned() -> None:
    scene = Scene(COSTLY)
    scene.bar(None, buy(COSTLY, qty=10_000.0))
    scene.bars(47, leave(COSTLY))
    (outcome,) = scene.bar().outcomes
    assert outcome.pnl == pytest.approx(-2.5) and outcome.fees == 0.0
    assert scene.told.steps[-1][1].equity == pytest.approx(100_000.0 - 2.5)


def test_financing_of_what_is_not_ours_is_not_ours() -> None:
    scene = Scene(COSTLY, GBP, holdings=[(COSTLY, -2e6, 1.25)])
    scene.bars(24)
    assert scene.engine.book.ours_gain == 0.0
    assert scene.told.steps[-1][1].equity == pytest.approx(100_000.0 - 25.0)


def test_spot_pays_none_and_a_perpetual_at_its_own_hours() -> None:
    perpetual = replace(SOL, financing_long=0.365, funding_hours=8.0)
    bought = replace(COSTLY, venue=COINS)
    scene = Scene(bought, perpetual, holdings=[(bought, 1_000.0, 1.25), (perpetual, 10.0, 100.0)])
    told = scene.bars(25)
    assert financed(told) == [(hour, pytest.approx(-1.0 / 3.0)) for hour in (8.0, 16.0, 24.0)]


# ---------------------------------------------------------------- margin


def test_under_half_of_the_margin_used_the_venue_closes_everything() -> None:
    """Two million euros on a hundred thousand dollars: 125,000 of margin; half of it is left at 1.21875."""
    scene = Scene(EUR, GBP, holdings=[(EUR, 2e6, 1.25)])
    scene.bar({EUR: 1.232})
    assert not [a for a in scene.told.answers if isinstance(a, Filled) and a.fill.cause is Cause.LIQUIDATION]
    told = scene.bar({EUR: 1.22})
    assert [(a.fill.qty, a.fill.cause) for a in told.answers if isinstance(a, Filled)] == [(-2e6, Cause.LIQUIDATION)]
    assert scene.at_venue(EUR) == 0.0 and told.steps[-1][1].equity == pytest.approx(40_000.0)


def test_a_stop_out_takes_our_trade_too_and_frees_its_slot() -> None:
    wide = with_rules(gate={"leverage_ratio": 50.0, "var_ratio": 1.0})
    scene = Scene(EUR, GBP, holdings=[(EUR, 1.5e6, 1.25)], rules=wide)
    scene.bar(None, sell(GBP, qty=5_000.0))
    scene.bar()
    told = scene.bar({EUR: 1.205})
    (outcome,) = told.outcomes
    assert (outcome.instrument, outcome.cause) == (GBP.id, "liquidation")
    assert not scene.slots() and scene.at_venue(GBP) == 0.0 and scene.resting(GBP) is None


def test_margin_that_is_in_use_is_not_free() -> None:
    scene = Scene(EUR, GBP, holdings=[(GBP, -1.592e6, 1.25)])
    told = scene.bar(None, buy(EUR))
    assert told.decision.intent.rule == "margin"
    assert told.decision.intent.qty * 1.25 * 0.05 < 500.0


# ---------------------------------------------------------------- fees in the base


def test_a_fee_in_the_base_shrinks_the_position_and_its_stop() -> None:
    scene = Scene(IN_BASE)
    scene.bar(None, buy(IN_BASE, qty=100.0))
    scene.bar()
    assert scene.ours(IN_BASE) == scene.at_venue(IN_BASE) == scene.resting(IN_BASE).approved.intent.qty == 99.9


def test_the_exit_sells_what_is_left_of_it() -> None:
    scene = Scene(IN_BASE)
    scene.bar(None, buy(IN_BASE, qty=100.0))
    scene.bar(None, leave(IN_BASE))
    told = scene.bar()
    (outcome,) = told.outcomes
    assert scene.at_venue(IN_BASE) == 0.0 and not scene.slots()
    assert outcome.pnl == pytest.approx(-10.0 - 9.99) and outcome.fees == pytest.approx(19.99)
    assert told.steps[-1][1].equity == pytest.approx(100_000.0 - 19.99)


# ---------------------------------------------------------------- dust


def dusty() -> Scene:
    """Of 100 coins a twentieth filled before the venue cancelled the rest: 500 dollars, under its minimum."""
    scene = Scene(COARSE, ETH, SOL, faults={COINS: [Partial(1, (0.05,), then_cancel=True)]})
    scene.bar(None, buy(COARSE, qty=100.0))
    scene.bar()
    return scene


def test_dust_frees_its_slot_and_stays_exposure() -> None:
    scene = dusty()
    assert scene.ours(COARSE) == scene.at_venue(COARSE) == 5.0 and not scene.slots()
    told = scene.bar(None, buy(ETH, qty=10.0))
    assert fact(told.decision, Layer.LEVERAGE) == pytest.approx(0.005 + 0.01)


def test_both_slots_are_free_beside_dust() -> None:
    assert dusty().bar(None, buy(ETH), buy(SOL)).dispositions == [Disposition.SENT] * 2


def test_what_is_left_above_the_minimum_is_no_dust() -> None:
    scene = Scene(COARSE, faults={COINS: [Partial(1, (0.11,), then_cancel=True)]})
    scene.bar(None, buy(COARSE, qty=100.0))
    scene.bar()
    assert scene.slots() == {0: (COARSE.id, "open")} and scene.resting(COARSE).approved.intent.qty == 11.0


def test_a_new_entry_takes_the_dust_along() -> None:
    scene = dusty()
    scene.bar(None, buy(COARSE, qty=50.0))
    scene.bar()
    assert scene.ours(COARSE) == scene.resting(COARSE).approved.intent.qty == 55.0
    scene.bar(None, leave(COARSE))
    scene.bar()
    assert scene.at_venue(COARSE) == 0.0


# ---------------------------------------------------------------- the sum of it


def test_equity_is_deposits_and_what_was_earned_after_every_bar() -> None:
    costs = {"spread": 0.001, "slippage": 0.0005, "fee": 0.001}
    coin, euro = replace(BTC, **costs), replace(COSTLY, **costs)
    scene = Scene(coin, ETH, euro, holdings=[(ETH, 10.0, 90.0), (euro, 5_000.0, 1.2)])
    for hour in range(5 * 24):
        moves = {coin: 100.0 + hour * 7 % 11, ETH: 100.0 - hour % 5, euro: 1.25 + hour % 7 / 1e3}
        signals = [buy(coin), sell(euro)] if hour % 12 == 0 else [leave(coin), leave(euro)][: hour % 3]
        told = scene.bar(moves, *signals)
        book = scene.engine.book
        for venue, ledger in book.ledgers.items():
            identity = ledger.deposits + ledger.realised + book.unrealised(venue) - ledger.fees - ledger.financing
            assert book.venue_equity(venue) == pytest.approx(identity, abs=1e-6)
        assert told.steps[-1][1].equity == pytest.approx(sum(book.venue_equity(v) for v in book.ledgers))
    assert len(scene.told.outcomes) > 10
