"""Random stories: two venues that fail in every way, all kinds of signals and commands, and what holds at the end."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from random import Random

import pytest

from ffe.brokers.faults import AnyFault, Chaos, Outage
from ffe.brokers.sim import Deposit
from ffe.model import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    Act,
    Disposition,
    Enter,
    Event,
    Heartbeat,
    Instrument,
    Signal,
    Step,
)  # fmt: skip
from tests.story.scene import (
    BTC,
    COINS,
    ETH,
    EUR,
    GBP,
    MARGIN,
    SOL,
    START,
    USD,
    Moment,
    Price,
    Scene,
    buy,
    leave,
    sell,
)

COSTS = {"spread": 0.001, "slippage": 0.0005, "fee": 0.001}
COIN, OTHER, THIN = replace(BTC, **COSTS, fee_in_base=True), replace(ETH, **COSTS), replace(SOL, volume_share=0.05)
EURO, POUND = replace(EUR, **COSTS, financing_long=0.02), GBP
EVERY = (COIN, OTHER, THIN, EURO, POUND)
WAITS = (Disposition.QUEUED, Disposition.WAITING, Disposition.REVERSING)
BARS = 150


def faults(dice: Random, seed: int, interval: int) -> list[AnyFault]:
    starts = [START + dice.randrange(BARS) * interval for _ in range(dice.randrange(3))]
    outages = [Outage(start, start + dice.randrange(1, 12) * interval) for start in starts]
    return [*outages, Chaos(seed, dice.choice([0.0, 0.05, 0.2, 0.5]))]


def begun(seed: int) -> Scene:
    dice, interval = Random(seed), HOUR if seed % 3 else 5 * MINUTE
    return Scene(
        *EVERY, interval=interval, start=START + dice.randrange(5) * DAY, re_arms=dice.random() < 0.7,
        holdings=[(OTHER, 20.0, 90.0), (POUND, dice.choice([-30_000.0, 40_000.0]), 1.25)],
        faults={venue: faults(dice, 7 * seed + n, interval) for n, venue in enumerate((COINS, MARGIN))},
        flows={COINS: [Deposit(START + dice.randrange(BARS) * interval, dice.choice([-20_000.0, 30_000.0]), USD)]},
    )  # fmt: skip


def moved(dice: Random, i: Instrument, last: float) -> Price:
    """A bar that opens away from the last close one time in ten."""
    open = last * (1.0 + (dice.gauss(0.0, 0.01) if dice.random() < 0.1 else 0.0))
    close = open * (1.0 + dice.gauss(0.0, 0.012 if i.venue == COINS else 0.004))
    reach = [1.0 + abs(dice.gauss(0.0, 0.006)) for _ in range(2)]
    return open, max(open, close) * reach[0], min(open, close) / reach[1], close


def wanted(dice: Random, i: Instrument) -> list[Signal]:
    less = {"qty": dice.choice([1.0, 20.0, 50.0]) * (1.0 if i.venue == COINS else 100.0)}
    some = less if dice.random() < 0.7 else {}
    kinds = [buy(i, add=dice.random() < 0.3, **some), sell(i, **some), leave(i)]
    return dice.choices([*([kind] for kind in kinds), []], [12, 8, 7, 73])[0]


def played(seed: int) -> Scene:
    """A story to its end: the venues recover, and an emergency stop closes what is left. Every bar is checked."""
    scene, dice = begun(seed), Random(f"{seed}")
    for _ in range(BARS):
        prices = {i: moved(dice, i, scene.last[i.id]) for i in EVERY}
        signals = [signal for i in EVERY for signal in wanted(dice, i)]
        scene.bar(prices, *signals, missing=[i for i in EVERY if dice.random() < 0.03])
        if dice.random() < 0.02:
            scene.command(dice.choice(list(Act)), dice.choice(EVERY))
        beats(scene, dice)
    for broker in scene.brokers.values():
        broker.faults = ()
    scene.command(Act.EMERGENCY_STOP)
    while not scene.hours[EURO.id].is_open(scene.now):
        scene.bar()
    scene.bars(10)
    return scene


def beats(scene: Scene, dice: Random) -> None:
    """Time passes between two bars, now and then."""
    time = scene.now
    for _ in range(dice.choice([0, 0, 1, 5])):
        time += dice.randrange(1, 20) * SECOND
        scene.play(Moment(Heartbeat(time)))


def is_idle(event: Event, step: Step) -> bool:
    return isinstance(event, Heartbeat) and step.is_quiet


def check_flat(scene: Scene) -> None:
    """Nothing of ours is open or rests anywhere; what each trade earned is what all of them earned."""
    assert not scene.slots() and not any(scene.resting(i) for i in EVERY)
    assert all(scene.is_dust(i.id, scene.ours(i)) for i in EVERY)
    if not any(scene.ours(i) for i in EVERY):
        earned = sum(outcome.pnl for outcome in scene.told.outcomes)
        assert earned == pytest.approx(scene.engine.book.ours_realised, abs=1e-6)


def check_records(scene: Scene) -> None:
    """Decisions are numbered without a gap, every wait ends once, and no entry leaves in the step of a halt."""
    decisions = scene.told.decisions
    assert [d.sequence for d in decisions] == list(range(1, len(decisions) + 1))
    waits = {d.id for d in decisions if d.disposition in WAITS}
    assert Counter(d.follows for d in decisions if d.follows) == Counter(waits)
    for _, step in scene.told.steps:
        halted = any(change.what.startswith("latch") for change in step.changes)
        assert not (halted and any(isinstance(order, Enter) for order in step.orders))


def check_replay(scene: Scene, seed: int) -> None:
    """A new engine takes the same steps by the same events, also without the heartbeats that led to nothing."""
    again = begun(seed)
    again.said.update(scene.said)
    for event, step in scene.told.steps:
        if not is_idle(event, step):
            assert repr(again.engine.step(event)) == repr(step)
    assert repr(again.engine.save()) == repr(scene.engine.save())
    assert sum(is_idle(*pair) for pair in scene.told.steps) > 50


@pytest.mark.parametrize("seed", range(6))
def test_whatever_happens_it_ends_flat_on_record_and_can_be_told_again(seed: int) -> None:
    scene = played(seed)
    check_flat(scene)
    check_records(scene)
    check_replay(scene, seed)


@pytest.mark.campaign
@pytest.mark.parametrize("seed", range(6, 1_000))
def test_and_so_do_a_thousand_more(seed: int) -> None:
    test_whatever_happens_it_ends_flat_on_record_and_can_be_told_again(seed)
