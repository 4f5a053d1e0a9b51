"""Ignorance refuses: an entry whose facts are missing, not finite, stale or from the future never leaves."""

from __future__ import annotations

from dataclasses import replace
from math import inf, isnan, nan
from typing import Any

import numpy as np
import pytest

from ffe.kernels.gates import CONFIDENCE
from ffe.model import (
    LAYERS,
    SECOND,
    Bar,
    Bars,
    Currency,
    Disposition,
    Enter,
    Layer,
    Status,
    Symbol,
)  # fmt: skip
from ffe.risk.facts import Facts
from ffe.sizing import Room
from tests.story.scene import (
    BTC,
    ETH,
    EUR,
    EXCHANGE,
    IBM,
    MARGIN,
    Moment,
    Scene,
    Told,
    buy,
    closes,
    fact,
    sell,
    status,
)  # fmt: skip

EVERY = slice(None)
PLACES = [*enumerate(LAYERS), (CONFIDENCE, Layer.CONVICTION)]


class Poisoned(Facts):
    """Facts of which some are not what they were."""

    place: int | slice = EVERY
    value: float = nan

    def measure(self, *asked: Any) -> tuple[Any, Any]:
        facts, exposure = super().measure(*asked)
        facts[self.place] = self.value
        return facts, exposure


class Boundless(Facts):
    """Facts that tell sizing of endless money, and the gate the truth."""

    def room(self, *asked: Any) -> Room:
        return Room(1e13, 0.0, 1e13, 1.0)


def with_facts(scene: Scene, kind: type[Facts]) -> Scene:
    e = scene.engine
    e.facts = kind(e.book, e.history, e.slots, e.queue, e.hours, e.rules.gate)
    return scene


def refusal(told: Told) -> tuple[str, Status]:
    """The layer that refused the only entry, and its status; nothing was sent."""
    assert told.decision.disposition is Disposition.REFUSED
    assert not told.orders
    return told.decision.reason, status(told.decision, Layer(told.decision.reason))


# ---------------------------------------------------------------- at the gate's border


@pytest.mark.parametrize("value", [nan, inf, -inf])
@pytest.mark.parametrize(("place", "layer"), PLACES, ids=[f"{n}-{layer.name}" for n, layer in PLACES])
def test_one_fact_that_is_not_a_number_refuses_in_its_layers_name(place: int, layer: Layer, value: float) -> None:
    scene = with_facts(Scene(BTC), Poisoned)
    scene.engine.facts.place, scene.engine.facts.value = place, value
    assert refusal(scene.bar(None, buy(BTC))) == (layer, Status.DATA_MISSING)


def test_an_entry_without_any_facts_is_refused_by_every_layer() -> None:
    told = with_facts(Scene(BTC), Poisoned).bar(None, buy(BTC))
    assert refusal(told) == (Layer.MARKET_HOURS, Status.DATA_MISSING)
    assert {status(told.decision, layer) for layer in LAYERS} == {Status.DATA_MISSING}


def test_the_same_entry_with_its_facts_leaves() -> None:
    told = with_facts(Scene(BTC), Facts).bar(None, buy(BTC))
    assert told.decision.disposition is Disposition.SENT
    assert {status(told.decision, layer) for layer in LAYERS} == {Status.PASSED}


def test_an_order_of_a_billion_is_refused() -> None:
    told = with_facts(Scene(BTC), Boundless).bar(None, buy(BTC, qty=1e9))
    assert told.decision.intent is not None and told.decision.intent.qty == 1e9
    assert refusal(told) == (Layer.VAR, Status.REFUSED)
    assert status(told.decision, Layer.CONCENTRATION) is status(told.decision, Layer.LEVERAGE) is Status.REFUSED


def test_a_strategy_that_wants_a_billion_gets_what_the_rules_allow() -> None:
    (order,) = Scene(BTC).bar(None, buy(BTC, qty=1e9)).of(Enter)
    assert order.approved.intent.rule == "concentration"
    assert order.approved.intent.qty == 237.5


# ---------------------------------------------------------------- by what happened


def test_an_instrument_without_a_past_is_refused_though_its_price_is_known() -> None:
    told = Scene(BTC, ETH, past={BTC: None}).bar(None, buy(BTC))
    assert refusal(told) == (Layer.VAR, Status.DATA_MISSING)
    assert status(told.decision, Layer.CONVICTION) is Status.DATA_MISSING


def test_what_is_not_held_needs_no_past() -> None:
    told = Scene(BTC, ETH, past={ETH: None}).bar(None, buy(BTC))
    assert told.decision.disposition is Disposition.SENT


def test_a_holding_without_a_past_refuses_everything_else() -> None:
    scene = Scene(BTC, ETH, EUR, past={ETH: None}, holdings=[(ETH, 1.0, 100.0)])
    assert refusal(scene.bar(None, buy(BTC))) == (Layer.CORRELATION, Status.DATA_MISSING)
    assert refusal(scene.bar(None, buy(EUR))) == (Layer.VAR, Status.DATA_MISSING)
    assert status(scene.told.decisions[-1], Layer.CROSS_VENUE) is Status.DATA_MISSING


def test_thirty_joined_returns_are_enough_and_twenty_nine_are_not() -> None:
    enough = Scene(BTC, past={BTC: closes(1, 100.0, days=31)}).bar(None, buy(BTC))
    assert enough.decision.disposition is Disposition.SENT
    short = Scene(BTC, past={BTC: closes(1, 100.0, days=30)}).bar(None, buy(BTC))
    assert refusal(short) == (Layer.VAR, Status.DATA_MISSING)


def test_returns_count_only_where_both_have_closes() -> None:
    """Each has fifty closes, of which they share twenty."""
    first, last = closes(1, 100.0), closes(2, 100.0)
    first[50:], last[:30] = nan, nan
    scene = Scene(BTC, ETH, past={BTC: first, ETH: last}, holdings=[(ETH, 1.0, 100.0)])
    assert refusal(scene.bar({BTC: 100.0}, buy(BTC))) == (Layer.CORRELATION, Status.DATA_MISSING)


def test_a_past_without_any_movement_is_missing() -> None:
    told = Scene(BTC, past={BTC: np.full(80, 100.0)}).bar(None, buy(BTC))
    assert refusal(told) == (Layer.CONVICTION, Status.DATA_MISSING)


def test_an_instrument_whose_bar_is_missing_is_stale() -> None:
    scene = Scene(BTC, ETH)
    scene.bar()
    told = scene.bar(None, buy(BTC), missing=[BTC])
    assert refusal(told) == (Layer.FRESHNESS, Status.REFUSED)
    assert fact(told.decision, Layer.FRESHNESS) == 3600.0


@pytest.mark.parametrize(("ahead", "disposition"), [(5, Disposition.SENT), (6, Disposition.REFUSED)])
def test_a_price_from_the_future_is_refused_beyond_five_seconds(ahead: int, disposition: Disposition) -> None:
    scene = Scene(BTC)
    scene.bar()
    scene.said[scene.now] = (buy(BTC),)
    bar = Bar(BTC.id, scene.interval, scene.now, scene.now + ahead * SECOND, 100.0, 100.0, 100.0, 100.0, 1.0)
    told = scene.play(Moment(Bars(scene.now, (bar,))))
    assert told.decision.disposition is disposition
    assert disposition is Disposition.SENT or told.decision.reason == Layer.FRESHNESS


@pytest.mark.parametrize("mid", [nan, inf, 0.0, -1.0])
def test_a_price_that_cannot_be_is_not_traded_at(mid: float) -> None:
    scene = Scene(BTC)
    scene.bar()
    told = scene.bar({BTC: (100.0, 100.0, 100.0, mid)}, buy(BTC))
    assert (told.decision.disposition, told.decision.reason) == (Disposition.NOT_TRADABLE, "no price")


def test_what_an_instrument_cannot_do_is_a_record_before_any_layer() -> None:
    for signal in (sell(BTC), buy(BTC, stop=101.0), buy(BTC, target=99.0), buy(BTC, qty=0.001)):
        told = Scene(BTC).bar(None, signal)
        assert told.decision.disposition is Disposition.NOT_TRADABLE
        assert told.decision.judgement is None and not told.orders


# ---------------------------------------------------------------- money of another currency

BTC_EUR = replace(BTC, symbol=Symbol("BTC/EUR"), quote=Currency("EUR"))


def test_a_currency_without_a_rate_is_not_traded_in() -> None:
    told = Scene(BTC_EUR).bar(None, buy(BTC_EUR))
    assert told.decision.disposition is Disposition.NOT_TRADABLE
    assert told.decision.reason == "no rate from EUR to the account currency"


def test_equity_in_a_currency_whose_rate_is_stale_is_unknown_and_refuses() -> None:
    scene = Scene(BTC_EUR, ETH, EUR, holdings=[(BTC_EUR, 1.0, 80.0)])
    scene.bar()
    told = scene.bar(None, buy(ETH), missing=[EUR])
    assert refusal(told) == (Layer.DRAWDOWN, Status.DATA_MISSING)
    assert told.decision.tail is not None and isnan(told.decision.tail.largest_qty)
    assert scene.bar(None, buy(ETH)).decision.disposition is Disposition.SENT


def test_a_rate_from_before_the_weekend_holds_while_its_market_is_closed() -> None:
    scene = Scene(BTC_EUR, ETH, EUR, holdings=[(BTC_EUR, 1.0, 80.0)])
    scene.bars(6 * 24)
    assert not scene.hours[EUR.id].is_open(scene.now)
    assert scene.bar(None, buy(ETH)).decision.disposition is Disposition.SENT


def test_every_venue_has_its_place_in_these_scenes() -> None:
    """A scene of all three venues trades on each, so that what refuses elsewhere is not the scene."""
    scene = Scene(BTC, EUR, IBM)
    scene.bars(15)
    told = scene.bar(None, buy(EUR), buy(IBM))
    assert told.dispositions == [Disposition.SENT, Disposition.SENT]
    assert {o.approved.intent.instrument for o in told.of(Enter)} == {EUR.id, IBM.id}
    assert {MARGIN, EXCHANGE} <= set(scene.universe.accounts)
