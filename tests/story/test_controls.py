"""Controls around the gate, each met by a strategy, an engine or a world that misbehaves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ffe.model import Enter, OrderId, Withheld
from ffe.risk.guard import TradingState
from tests.story.scene import BTC, ETH, Scene, Told, buy

# ---------------------------------------------------------------- C11: no more leaves than was approved


def entered(scene: Scene) -> Enter:
    """The order of a trade that has filled."""
    (order,) = scene.bar(None, buy(BTC, qty=1.0)).of(Enter)
    scene.bar()
    assert isinstance(order, Enter) and scene.at_venue(BTC) == 1.0
    return order


def sent(scene: Scene, order: Enter) -> Told:
    """An order that no step of the engine has led to, as a bug of ours would send it."""
    scene.venues.send(order, scene.now)
    return scene.step()


@pytest.mark.parametrize("changes", [{}, {"id": OrderId("another")}])
def test_an_approval_leaves_once(changes: dict[str, OrderId]) -> None:
    scene = Scene(BTC, ETH)
    order = entered(scene)
    (answer,) = sent(scene, replace(order, **changes)).answers
    assert isinstance(answer, Withheld) and "has left before" in answer.reason
    scene.bar()
    assert scene.at_venue(BTC) == 1.0 and scene.slots() == {0: (BTC.id, "open")}


def test_an_id_leaves_once_whatever_approval_it_brings() -> None:
    scene = Scene(BTC, ETH)
    order = entered(scene)
    intent, fine = order.approved.intent, np.array([0.0] * 10 + [100.0])
    fresh = scene.engine.gatekeeper.review(intent, fine, BTC.asset_class)
    (answer,) = sent(scene, replace(order, approved=fresh)).answers
    assert fresh.number == 2 and isinstance(answer, Withheld) and answer.order is None


def test_an_approval_of_another_gatekeeper_opens_nothing() -> None:
    order = entered(Scene(BTC))
    scene = Scene(BTC)
    (answer,) = sent(scene, order).answers
    assert isinstance(answer, Withheld) and answer.reason.endswith("was never given: there are 0")
    scene.bar()
    assert answer.order == order.id and scene.at_venue(BTC) == 0.0


def test_the_key_of_an_exit_opens_nothing() -> None:
    scene = Scene(BTC)
    order, stop = entered(scene), scene.resting(BTC)
    sent(scene, Enter(OrderId("another"), stop.approved, order.collar))
    scene.bar()
    assert scene.at_venue(BTC) == 1.0 and scene.engine.guard.latches.keys() == {"approvals"}


def test_more_orders_than_approvals_halt_until_re_armed_and_what_is_open_stays_protected() -> None:
    scene = Scene(BTC, ETH)
    told = sent(scene, entered(scene))
    assert [(c.what, c.after) for c in told.changes] == [("latch approvals", "halted")]
    scene.bar(None, buy(ETH))
    assert scene.engine.guard.state is TradingState.HALTED and not scene.told.of(Enter, ETH)
    assert scene.resting(BTC) is not None
