"""The day's limits: what our trades lose or win closes them and latches; anything else stops entries for that day."""

from __future__ import annotations

from math import nan
from pathlib import Path

import pytest

from ffe.brokers.faults import Reject
from ffe.brokers.sim import Deposit
from ffe.model import (
    DAY,
    HOUR,
    SECOND,
    AccountRead,
    Act,
    Bars,
    Cancel,
    Command,
    Disposition,
    Enter,
    Exit,
    Step,
    Withheld,
)
from ffe.records.encode import Stamp
from ffe.records.journal import LiveJournal
from ffe.records.replay import events
from ffe.records.verify import chained as verify
from ffe.risk.guard import TradingState
from tests.story.scene import ADA, BTC, COINS, ETH, SOL, START, USD, Moment, Scene, buy, with_rules

# Two trades of 23.75 % each; no stop of their own within ten per cent.
WIDE = with_rules(watch={"stop_ratio": 0.1, "target_ratio": 0.5}, size={"risk_per_trade_ratio": 0.05})
LOSS, GAIN = {BTC: 95.0, ETH: 96.0}, {BTC: 110.0, ETH: 112.0}  # -2.14 % and +5.2 % of equity


def two_trades(**more: object) -> Scene:
    """BTC and ETH were bought at 100 and are open."""
    scene = Scene(BTC, ETH, SOL, ADA, rules=WIDE, **more)
    scene.bar(None, buy(BTC), buy(ETH))
    scene.bar()
    return scene


def state(scene: Scene) -> TradingState:
    return scene.engine.guard.state


# ---------------------------------------------------------------- it closes and latches


@pytest.mark.parametrize("prices", [LOSS, GAIN], ids=["loss", "gain"])
def test_a_day_beyond_its_limits_closes_all_that_is_ours_and_latches(prices: dict) -> None:
    scene = two_trades()
    told = scene.bar(prices)
    assert {o.approved.intent.instrument for o in told.of(Exit)} == {BTC.id, ETH.id}
    assert state(scene) is TradingState.HALTED
    assert [(c.what, c.before, c.after) for c in told.changes] == [("latch portfolio stop", "active", "halted")]
    assert [o.cause for o in scene.bar().outcomes] == ["portfolio stop"] * 2
    assert scene.ours(BTC) == scene.ours(ETH) == 0.0 and scene.resting(BTC) is scene.resting(ETH) is None


def test_within_its_limits_nothing_happens() -> None:
    scene = two_trades()
    assert not scene.bar({BTC: 95.7, ETH: 96.0}).orders  # -1.97 %
    assert not scene.bar({BTC: 110.0, ETH: 110.9}).orders  # +4.96 %
    assert state(scene) is TradingState.ACTIVE


def test_foreign_holdings_are_never_closed() -> None:
    scene = two_trades(holdings=[(BTC, 10.0, 100.0), (ADA, 50.0, 100.0)])
    ours = scene.ours(BTC)
    told = [scene.bar({BTC: 94.0, ETH: 95.0}), scene.bar(), scene.bars(30)]
    assert [o.approved.intent.qty for each in told for o in each.of(Exit, BTC)] == [ours]
    assert (scene.at_venue(BTC), scene.at_venue(ADA)) == (10.0, 50.0)
    assert not any(each.of(Exit, ADA) for each in told)


def test_a_quote_needs_a_second_reading() -> None:
    scene = two_trades()
    first, second = (scene.quote(scene.now + 10 * SECOND, LOSS) for _ in range(2))
    assert not first.orders and state(scene) is TradingState.HALTED
    assert len(second.of(Exit)) == 2


def test_a_midnight_without_a_bar_is_no_second_reading() -> None:
    scene = two_trades()
    assert not scene.quote(scene.now + 10 * SECOND, LOSS).orders
    assert not scene.play(Moment(Bars(scene.now + SECOND, ()))).orders and state(scene) is TradingState.ACTIVE
    assert len(scene.quote(scene.now + 20 * SECOND, LOSS).of(Exit)) == 2


def test_one_reading_and_back_is_nothing() -> None:
    scene = two_trades()
    for prices in (LOSS, {BTC: 100.0, ETH: 100.0}, LOSS, {BTC: 100.0, ETH: 100.0}):
        assert not scene.quote(scene.now + 10 * SECOND, prices).orders
    assert state(scene) is TradingState.ACTIVE


def test_realised_losses_of_the_day_count() -> None:
    scene = Scene(BTC, ETH, SOL)  # stops at two per cent of 23.75 % each: -0.475 % a trade
    for n in range(5):
        scene.bar(None, buy((BTC, ETH, SOL)[n % 3]))
        scene.bar({(BTC, ETH, SOL)[n % 3]: scene.last[(BTC, ETH, SOL)[n % 3].id] * 0.97})
    assert "portfolio stop" in scene.engine.guard.latches
    assert [o.cause for o in scene.told.outcomes] == ["stop"] * 5


def test_an_entry_under_way_is_cancelled_and_what_waits_is_dropped() -> None:
    """One trade is open, an entry waits for its next open, which is late, a third for a slot."""
    scene = Scene(BTC, ETH, SOL, rules=WIDE, holdings=[(SOL, 1.0, 100.0)])
    scene.bar(None, buy(BTC), buy(ETH))
    scene.bar(None, buy(SOL), missing=[ETH])
    told = scene.bar({BTC: 91.0}, missing=[ETH])
    assert [o.order for o in told.of(Cancel)] == [o.id for o in scene.told.of(Enter, ETH)]
    assert {d.instrument: d.disposition for d in told.decisions} == {
        SOL.id: Disposition.DROPPED,
        BTC.id: Disposition.SENT,
    }
    assert scene.bar() and not scene.slots() and scene.at_venue(ETH) == 0.0


# ---------------------------------------------------------------- how long it holds


def test_it_holds_over_days_until_a_person_re_arms() -> None:
    scene = two_trades()
    scene.bar(LOSS)
    told = scene.bars(3 * 24, buy(SOL))
    assert told.dispositions[-1] is Disposition.HALTED and state(scene) is TradingState.HALTED
    told = scene.command(Act.RE_ARM)
    assert [(c.before, c.after, c.why) for c in told.changes] == [("halted", "active", "re_arm by a test")]
    assert scene.bar(None, buy(SOL)).dispositions == [Disposition.SENT]


def test_resuming_is_not_re_arming() -> None:
    scene = two_trades()
    scene.bar(LOSS)
    scene.command(Act.RESUME)
    assert state(scene) is TradingState.HALTED


def test_re_armed_within_the_same_day_it_latches_again_at_the_next_reading() -> None:
    scene = two_trades()
    scene.bar(LOSS)
    scene.bar()
    scene.command(Act.RE_ARM)
    assert state(scene) is TradingState.ACTIVE
    scene.bar()
    assert state(scene) is TradingState.HALTED


def test_a_re_arm_that_changes_nothing_is_not_recorded() -> None:
    scene = two_trades()
    assert not scene.command(Act.RE_ARM).changes


def test_a_new_day_begins_at_what_the_old_one_left() -> None:
    scene = two_trades()
    scene.bar({BTC: 97.0, ETH: 97.0})  # -1.4 %
    scene.bars(21)
    scene.bar({BTC: 95.0, ETH: 95.0})  # -1 % more, on the next day
    assert state(scene) is TradingState.ACTIVE


def test_a_loss_at_midnight_belongs_to_the_day_that_ends() -> None:
    scene = two_trades()
    scene.bars(20)
    scene.bar({BTC: 97.5, ETH: 97.5})  # -1.19 %
    told = scene.bar({BTC: 95.5, ETH: 95.5})  # -2.14 %, at 00:00
    assert told.steps[-1][0].time % DAY == 0
    assert [c.what for c in told.changes] == ["latch portfolio stop"]


# ---------------------------------------------------------------- the scripted operator


def test_the_scripted_operator_re_arms_at_the_change_of_day() -> None:
    scene = two_trades(re_arms=True)
    scene.bar(LOSS)
    assert not [c for c in scene.bars(20).changes if c.what == "trading"]
    told = scene.bar()
    assert [(c.after, c.why) for c in told.changes] == [("active", "re_arm by the scripted operator")]
    re_arms = [event.time for event, _ in told.steps if isinstance(event, Command)]
    assert re_arms == [START + DAY] and told.steps[-1][0].time == START + DAY


def test_never_in_the_instant_of_the_latch() -> None:
    """Both trades are stopped in the last bar of the day: it latches at midnight, and all is flat already."""
    near = with_rules(watch={"stop_ratio": 0.045}, size={"risk_per_trade_ratio": 0.05})
    scene = Scene(BTC, ETH, rules=near, re_arms=True)
    scene.bars(22, buy(BTC), buy(ETH))
    scene.bar()
    scene.bar({BTC: 95.0, ETH: 95.0})
    assert state(scene) is TradingState.HALTED and not scene.slots() and scene.now == START + DAY
    scene.bars(23)
    assert state(scene) is TradingState.HALTED
    scene.bar()
    assert state(scene) is TradingState.ACTIVE


def test_never_before_all_that_is_ours_is_flat() -> None:
    """No exit gets through on the first day."""
    scene = two_trades(re_arms=True, faults={COINS: [Reject(n) for n in range(5, 60)]})
    scene.bar(LOSS)
    scene.bars(24)
    assert state(scene) is TradingState.HALTED and scene.ours(BTC) > 0.0
    scene.bars(24)
    assert state(scene) is TradingState.ACTIVE and scene.ours(BTC) == 0.0


# ---------------------------------------------------------------- equity that moves for other reasons


@pytest.mark.parametrize("price", [80.0, 130.0])
def test_total_equity_beyond_the_limits_stops_entries_until_the_next_day(price: float) -> None:
    scene = Scene(BTC, ADA, holdings=[(ADA, 250.0, 100.0)])
    scene.bar(None, buy(BTC))
    scene.bar()
    told = scene.bar({ADA: price}, buy(ADA))
    assert (state(scene), told.decision.disposition) == (TradingState.REDUCING, Disposition.HALTED)
    assert not told.orders and scene.ours(BTC) > 0.0
    told = scene.bars(21)
    assert [(c.what, c.before, c.after) for c in told.changes] == [("trading", "reducing", "active")]
    assert told.steps[-1][0].time == START + DAY


@pytest.mark.parametrize("mid", [nan, 0.0, -100.0])
def test_an_unknown_or_impossible_price_never_liquidates(mid: float) -> None:
    scene = two_trades()
    told = [scene.quote(scene.now + 10 * SECOND, {BTC: mid}) for _ in range(3)]
    told.append(scene.bar({BTC: (100.0, 100.0, 100.0, mid)}, buy(SOL)))
    assert not any(each.of(Exit) for each in told) and not scene.engine.guard.latches
    assert told[-1].dispositions == [Disposition.REFUSED]
    scene.last[BTC.id] = 100.0
    assert scene.bar({BTC: 100.0}, buy(SOL)).dispositions == [Disposition.QUEUED]


@pytest.mark.parametrize("amount", [-60_000.0, 60_000.0])
def test_money_that_comes_or_goes_trips_nothing(amount: float) -> None:
    scene = two_trades(flows={COINS: [Deposit(START + 3 * HOUR, amount, USD)]})
    told = scene.bars(3)
    assert told.steps[-1][1].equity == pytest.approx(100_000.0 + amount)
    assert not told.changes and not told.orders
    assert state(scene) is TradingState.ACTIVE and scene.engine.book.unit.drawdown == pytest.approx(0.0)


def test_a_deposit_hides_no_loss() -> None:
    scene = two_trades(flows={COINS: [Deposit(START + 3 * HOUR, 60_000.0, USD)]})
    scene.bars(2)
    scene.bar({BTC: 92.0, ETH: 93.0})
    assert state(scene) is TradingState.HALTED
    assert scene.engine.book.unit.drawdown == pytest.approx(237.5 * 15 / 160_000.0)


# ---------------------------------------------------------------- a restart


def live(root: Path) -> LiveJournal:
    return LiveJournal(root, Stamp("story", "0", "c", "d"), {}, dict)


def restarted(root: Path, before: Scene) -> tuple[Scene, list[Step]]:
    """A new engine that is told what stands on disk, and its steps."""
    after = Scene(BTC, ETH, SOL, ADA, rules=WIDE)
    after.said.update(before.said)
    after.now = before.now
    return after, [after.engine.step(event) for event in events(root, iter(()))]


def test_the_latch_survives_a_restart_with_everything_else(tmp_path: Path) -> None:
    journal = live(tmp_path)
    before = two_trades(disk=journal)
    before.bar(LOSS)
    before.bar()
    journal.close()
    after, steps = restarted(tmp_path, before)
    assert verify(tmp_path).findings == () and repr(steps) == repr(before.journal.steps)
    assert after.engine.guard.latches == before.engine.guard.latches and state(after) is TradingState.HALTED
    assert after.engine.book.equity == before.engine.book.equity
    after.said[after.now + HOUR] = (buy(SOL),)
    assert after.step(Bars(after.now + HOUR, ())).dispositions == [Disposition.HALTED]
    after.command(Act.RE_ARM)
    assert state(after) is TradingState.ACTIVE


def test_restarted_while_closing_it_still_holds_both_slots(tmp_path: Path) -> None:
    journal = live(tmp_path)
    before = two_trades(disk=journal)
    before.bar(LOSS)
    journal.close()
    after, _ = restarted(tmp_path, before)
    assert after.slots() == before.slots() == {0: (BTC.id, "closing"), 1: (ETH.id, "closing")}
    assert [trade.closing for trade in after.engine.slots.trades()] == ["portfolio stop"] * 2


@pytest.mark.parametrize("latch", ["disk", "reconciliation"])
def test_a_latch_that_closes_nothing_leaves_the_days_limit_at_work(latch: str) -> None:
    scene = two_trades()
    wrong = AccountRead(scene.now, COINS, None, ((USD, 1.0),), ())
    broken = Withheld(scene.now, COINS, None, "an fsync failed", broken=True)
    scene.step(*{"disk": [broken], "reconciliation": [wrong] * 3}[latch])
    assert set(scene.engine.guard.latches) == {latch} and len(scene.bar(LOSS).of(Exit)) == 2
    assert set(scene.engine.guard.latches) == {latch, "portfolio stop"}


def test_one_bad_price_is_not_confirmed_by_a_price_of_something_else() -> None:
    scene = two_trades()
    assert not scene.quote(scene.now + SECOND, {BTC: 50.0}).orders
    assert not scene.quote(scene.now + SECOND, {ETH: 100.0}).orders and state(scene) is TradingState.ACTIVE
    assert not scene.quote(scene.now + SECOND, {BTC: 100.0}).orders and state(scene) is TradingState.ACTIVE
