"""One trade from its signal to its outcome: every event, and every Step whole."""

from __future__ import annotations

import numpy as np
import pytest

from ffe.model import (
    HOUR,
    LAYERS,
    Accepted,
    Approved,
    Bar,
    Bars,
    CashFlow,
    Cause,
    Change,
    Decision,
    Disposition,
    Enter,
    Fill,
    Filled,
    Flow,
    Intent,
    Judgement,
    Outcome,
    Protect,
    Purpose,
    Quote,
    Quotes,
    Role,
    Side,
    Status,
    Step,
)  # fmt: skip
from ffe.session import Session
from tests.story.scene import BTC, COINS, START, USD, Scene, buy, closes

ONE, TWO = START + HOUR, START + 2 * HOUR
ID = Session("story", HOUR).decision(1)
ENTER, PROTECT = (Session("story", HOUR).order(ID, role, n) for n, role in enumerate((Role.ENTRY, Role.PROTECT), 1))
SIGNAL = buy(BTC, qty=100.0)
LIMITS = (0.0, 0.0, 900.0, 0.05, 2.0, 0.05, 0.5, 0.25, 5.0, 0.05)


def bar(end: int, open: float, high: float, low: float, close: float) -> Bars:
    return Bars(end, (Bar(BTC.id, HOUR, end - HOUR, end, open, high, low, close, 1_000.0),))


def fill(n: int, qty: float, price: float, cause: Cause) -> Fill:
    return Fill(f"coins-{n}", BTC.id, qty, price, 0.0, USD, cause)


def test_a_trade_from_its_signal_to_its_outcome() -> None:
    scene = Scene(BTC)
    scene.bar(None, SIGNAL)
    scene.bar({BTC: (100.0, 106.0, 99.0, 105.5)})
    scene.bar()
    entered = scene.told.decisions[0]
    wanted = Intent(Purpose.ENTRY, BTC.id, Side.LONG, 100.0, 100.0, None, None, "strategy", SIGNAL)
    reduced = Intent(Purpose.EXIT, BTC.id, Side.SHORT, 100.0, 100.0, 98.0, 105.0, "protection")
    waived = scene.told.of(Protect)[0].approved.judgement
    assert list(scene.told.steps) == [
        (CashFlow(ONE, COINS, None, Flow.DEPOSIT, 100_000.0, USD), Step(100_000.0)),
        (
            bar(ONE, 100.0, 100.0, 100.0, 100.0),
            Step(
                100_000.0,
                (Decision(
                    ID, 1, ONE, Disposition.SENT, "strategy", BTC.id, SIGNAL, wanted, entered.judgement, entered.tail,
                    0, ENTER,
                ),),
                (Enter(ENTER, Approved(wanted, entered.judgement, number=1), 102.0, 98.0),),
            ),
        ),
        (Accepted(ONE, COINS, ENTER), Step(100_000.0)),
        (
            Filled(ONE, COINS, ENTER, fill(1, 100.0, 100.0, Cause.ENTRY), True),
            Step(100_000.0, orders=(Protect(PROTECT, Approved(reduced, waived), 98.0, 105.0),)),
        ),
        (Accepted(ONE, COINS, PROTECT), Step(100_000.0)),
        (Quotes(ONE, (Quote(BTC.id, 100.0),)), Step(100_000.0)),
        (
            Filled(TWO, COINS, PROTECT, fill(2, -100.0, 105.0, Cause.TARGET), True),
            Step(
                100_500.0,
                outcomes=(
                    Outcome(TWO, ONE, BTC.id, "story", Side.LONG, 100.0, 100.0, 105.0, 500.0, 0.0, "target", ID, 0),
                ),
                changes=(Change("slot 0", "held", "free", "target"),),
            ),
        ),
        (bar(TWO, 100.0, 106.0, 99.0, 105.5), Step(100_500.0)),
        (bar(TWO + HOUR, 105.5, 105.5, 105.5, 105.5), Step(100_500.0)),
    ]  # fmt: skip


def test_the_facts_of_that_entry_are_those_of_plain_numpy() -> None:
    path = closes(0, 100.0)
    judgement = Scene(BTC).bar(None, SIGNAL).decision.judgement
    returns = np.diff(path[-61:]) / path[-61:-1]
    var = -np.quantile(0.1 * returns, 0.05, method="inverted_cdf")
    assert judgement.facts == pytest.approx((0, 0, 0, 0, 1, var, 0, 0.1, 0.1, returns[-20:].std(ddof=1)))
    assert judgement == Judgement(judgement.facts, LIMITS, (Status.PASSED,) * len(LAYERS))


def test_the_same_events_lead_to_the_same_steps() -> None:
    first, second = Scene(BTC), Scene(BTC)
    for scene in (first, second):
        scene.bar(None, SIGNAL)
        scene.bars(30)
        scene.bar({BTC: 97.0}, SIGNAL)
        scene.bars(3)
    assert first.told == second.told and len(first.told.decisions) > 1


def test_a_quiet_bar_leaves_a_quiet_step() -> None:
    scene = Scene(BTC)
    assert all(step.is_quiet for _, step in scene.bars(50).steps)
