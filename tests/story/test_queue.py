"""The third trade: reviewed, not sent, waiting, judged anew with fresh facts, and every end of it on record."""

from __future__ import annotations

import numpy as np
import pytest

from ffe.brokers.faults import Chaos
from ffe.model import Act, Bars, Disposition, Enter, Exit, Filled, InstrumentId, Layer
from ffe.strategy import View
from tests.story.scene import (
    ADA,
    BTC,
    CHF,
    COINS,
    ETH,
    EUR,
    GBP,
    SOL,
    Scene,
    Signal,
    Told,
    buy,
    closes,
    coin,
    fact,
    leave,
    sell,
    with_rules,
)  # fmt: skip

MANY = [coin(f"C{n:02}") for n in range(11)]


def full(**more: object) -> Scene:
    """Two trades are open, and a third waits since the second hour."""
    scene = Scene(BTC, ETH, SOL, ADA, **more)
    scene.bar(None, buy(BTC), buy(ETH))
    scene.bar(None, buy(SOL))
    return scene


def full_of_pairs() -> Scene:
    """The same, where one can be short."""
    scene = Scene(EUR, GBP, CHF)
    scene.bar(None, buy(EUR), buy(GBP))
    scene.bar(None, buy(CHF))
    return scene


def end_of(told: Told) -> tuple[Disposition, str]:
    """How the wait ended: the decision that follows it."""
    (ended,) = [d for d in told.decisions if d.follows]
    assert not [o for o in told.of(Enter) if o.id == ended.order] or ended.disposition is Disposition.SENT
    return ended.disposition, ended.reason


def test_the_third_entry_is_approvable_and_not_sent() -> None:
    scene = full()
    waiting = scene.told.decisions[-1]
    assert waiting.disposition is Disposition.QUEUED
    assert waiting.judgement is not None and waiting.order is None
    assert {instrument for instrument, _ in scene.slots().values()} == {BTC.id, ETH.id}
    assert not scene.told.of(Enter, SOL) and scene.at_venue(SOL) == 0.0


def test_a_third_entry_that_a_layer_refuses_does_not_wait() -> None:
    scene = Scene(BTC, ETH, SOL, past={SOL: closes(3, 100.0, volatility=0.06)})
    scene.bar(None, buy(BTC), buy(ETH))
    told = scene.bar(None, buy(SOL, 79))
    assert told.decision.reason == Layer.CONVICTION
    assert not scene.engine.queue


def test_it_is_released_at_its_next_bar_with_fresh_facts_once_a_slot_is_free() -> None:
    scene = full()
    told = scene.bar({BTC: (100.0, 100.0, 97.0, 97.0), SOL: 100.5})  # stopped at 98: a slot and some equity are gone
    sent, queued = told.decision, scene.told.decisions[2]
    assert (sent.disposition, sent.follows, sent.slot) == (Disposition.SENT, queued.id, 0)
    assert (queued.intent.price, sent.intent.price) == (100.0, 100.5) and sent.intent.qty < queued.intent.qty
    assert fact(sent, Layer.DRAWDOWN) == pytest.approx(0.02 * 0.2375)
    scene.bar()
    assert scene.ours(SOL) == sent.intent.qty


def test_it_is_released_in_the_very_bar_whose_open_frees_the_slot() -> None:
    scene = full()
    told = [*scene.bar(None, leave(BTC)).orders, *scene.bar().orders]
    assert [o.approved.intent.instrument for o in told if isinstance(o, Exit | Enter)] == [BTC.id, SOL.id]
    assert scene.ours(SOL) > 0.0


def test_its_own_bar_must_come_before_it_is_released() -> None:
    scene = full()
    scene.bar({BTC: (100.0, 100.0, 97.0, 97.0)}, missing=[SOL])
    assert not scene.bar(missing=[SOL]).decisions
    assert scene.bar().decision.disposition is Disposition.SENT


def test_it_is_refused_if_a_layer_says_no_by_then() -> None:
    scene = full(holdings=[(ADA, 400.0, 100.0)])
    scene.bar({ADA: 80.0})  # what was there before falls: entries stop for the day, and drawdown is beyond its limit
    assert Disposition.DROPPED not in scene.bars(20, leave(BTC)).dispositions
    assert end_of(scene.bars(2)) == (Disposition.REFUSED, Layer.DRAWDOWN)
    assert not scene.engine.queue and not scene.told.of(Enter, SOL)


def test_it_expires_after_a_day() -> None:
    scene = full()
    assert not scene.bars(24).decisions
    assert end_of(scene.bar()) == (Disposition.DROPPED, "expired after 24 h")
    assert not scene.engine.queue


@pytest.mark.parametrize(("price", "ends"), [(101.0, False), (101.01, True), (90.0, False)])
def test_it_ends_when_it_has_become_one_per_cent_dearer(price: float, ends: bool) -> None:
    told = full().bar({SOL: price})
    assert (Disposition.DROPPED in told.dispositions) is ends
    assert not ends or "dearer" in told.decision.reason


def test_dearer_means_lower_for_one_that_sells() -> None:
    scene = Scene(EUR, GBP, CHF)
    scene.bar(None, buy(EUR), buy(GBP))
    scene.bar(None, sell(CHF))
    assert not scene.bar({CHF: 1.27}).decisions
    assert "dearer" in end_of(scene.bar({CHF: 1.23}))[1]


@pytest.mark.parametrize("newer", [leave(CHF), sell(CHF)], ids=["flat", "short"])
def test_a_newer_opposite_signal_ends_it(newer: Signal) -> None:
    scene = full_of_pairs()
    told = scene.bar(None, newer)
    assert told.decisions[0].disposition is Disposition.DROPPED
    assert told.decisions[0].reason == "a newer opposite signal"
    assert [d.disposition for d in told.decisions[1:]] == [Disposition.HOLD if newer.side == 0 else Disposition.QUEUED]


def test_a_halt_ends_it() -> None:
    scene = full()
    told = scene.command(Act.EMERGENCY_STOP)
    assert end_of(told) == (Disposition.DROPPED, "emergency stop")
    scene.bars(3)
    scene.command(Act.RE_ARM)
    assert not scene.bars(2).decisions


def test_the_same_signal_again_does_not_wait_twice() -> None:
    told = full().bar(None, buy(SOL))
    assert told.decision.disposition is Disposition.HOLD
    assert told.decision.reason == "already queued"


def test_at_most_eight_wait_and_the_ninth_is_dropped() -> None:
    scene = Scene(*MANY)
    told = scene.bar(None, *(buy(each) for each in MANY))
    kinds = [Disposition.SENT] * 2 + [Disposition.QUEUED] * 8 + [Disposition.DROPPED]
    assert told.dispositions == kinds
    assert scene.bar(None, leave(MANY[0])).of(Exit, MANY[0])  # an exit passes a full queue


def test_first_in_is_first_out() -> None:
    scene = Scene(*MANY)
    scene.bar(None, buy(MANY[0]), buy(MANY[1]), buy(MANY[5]), buy(MANY[3]))
    scene.bar(None, leave(MANY[0]))
    scene.bar(None, leave(MANY[1]))
    scene.bar()
    filled = [
        event.fill.instrument for event in scene.told.answers if isinstance(event, Filled) and event.fill.qty > 0.0
    ]
    assert filled == [each.id for each in (MANY[0], MANY[1], MANY[5], MANY[3])]


@pytest.mark.parametrize("seed", range(3))
def test_never_more_than_two_whatever_is_signalled_and_whatever_the_venue_does(seed: int) -> None:
    dice = np.random.default_rng(seed)
    scene = Scene(*MANY, faults={COINS: [Chaos(seed, 0.2)]}, re_arms=True)
    for _ in range(100):
        moves = {each: scene.last[each.id] * (1.0 + 0.015 * dice.standard_normal()) for each in MANY}
        scene.bar(moves, *(buy(each, qty=10.0) for each in MANY))
        assert sum(scene.at_venue(each) != 0.0 for each in MANY) <= 2
    assert len(scene.told.outcomes) > 10


def test_one_slot_is_one_trade() -> None:
    scene = Scene(BTC, ETH, rules=with_rules(slots={"slots": 1}))
    assert scene.bar(None, buy(BTC), buy(ETH)).dispositions == [Disposition.SENT, Disposition.QUEUED]


class Says:
    """A strategy that speaks on bars, and on the fills of one instrument."""

    def __init__(self, scene: Scene) -> None:
        self.said, self.on_fill = scene.said, dict[InstrumentId, tuple[Signal, ...]]()

    def on_event(self, view: View) -> tuple[Signal, ...]:
        if isinstance(view.event, Filled):
            return self.on_fill.pop(view.event.fill.instrument, ())
        return self.said.pop(view.time, ()) if isinstance(view.event, Bars) else ()


@pytest.mark.parametrize("signal", [sell(CHF), leave(CHF)], ids=["opposite", "flat"])
def test_a_signal_said_on_an_answer_ends_what_waits_as_one_said_on_a_bar(signal: Signal) -> None:
    scene = full_of_pairs()
    scene.engine.strategy = says = Says(scene)
    says.on_fill[EUR.id] = (signal,)
    told = scene.bar({EUR: (1.25, 1.25, 1.20, 1.21)})
    assert end_of(told) == (Disposition.DROPPED, "a newer opposite signal")
    scene.bars(2)
    assert scene.ours(CHF) <= 0.0
