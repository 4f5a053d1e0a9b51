"""What the operator wants is an event: stop, pause, close; and what must pass whatever happens: exits."""

from __future__ import annotations

from dataclasses import replace
from math import isnan, nan

import pytest

from ffe.brokers.faults import Kill, Outage, Partial, Reject, Timeout
from ffe.brokers.sim import Deposit
from ffe.model import (
    DAY,
    HOUR,
    AccountRead,
    Act,
    Cancel,
    Cancelled,
    Cause,
    Command,
    Disposition,
    Enter,
    Exit,
    Fill,
    Filled,
    Layer,
    Protect,
    Query,
)  # fmt: skip
from ffe.risk.breaker import BreakerState
from ffe.risk.guard import TradingState
from tests.story.scene import (
    ADA,
    BTC,
    COINS,
    ETH,
    EUR,
    SOL,
    START,
    USD,
    Scene,
    buy,
    closes,
    coin,
    leave,
    sell,
    with_rules,
)


def state(scene: Scene) -> TradingState:
    return scene.engine.guard.state


def trading(**more: object) -> Scene:
    """BTC is held, an entry into ETH is under way, SOL waits for a slot."""
    scene = Scene(BTC, ETH, SOL, ADA, EUR, **more)
    scene.bar(None, buy(BTC))
    scene.bar()
    scene.at_once(buy(ETH), buy(SOL))
    return scene


# ---------------------------------------------------------------- stop, pause, close


def test_the_emergency_stop_cancels_closes_and_latches() -> None:
    scene = trading()
    told = scene.command(Act.EMERGENCY_STOP)
    assert [type(order) for order in told.orders] == [Exit, Cancel]
    assert told.dispositions == [Disposition.DROPPED, Disposition.SENT] and state(scene) is TradingState.HALTED
    scene.bar()
    assert not scene.slots() and scene.at_venue(BTC) == scene.at_venue(ETH) == 0.0
    assert scene.bars(30, buy(SOL)).dispositions[-1] is Disposition.HALTED


def test_it_leaves_foreign_holdings_alone() -> None:
    scene = trading(holdings=[(ADA, 10.0, 100.0), (BTC, 5.0, 100.0), (EUR, -1_000.0, 1.25)])
    scene.command(Act.EMERGENCY_STOP)
    scene.bars(3)
    assert (scene.at_venue(ADA), scene.at_venue(BTC), scene.at_venue(EUR)) == (10.0, 5.0, -1_000.0)
    assert scene.ours(BTC) == 0.0


def test_it_keeps_trying_while_the_venue_refuses() -> None:
    scene = trading(faults={COINS: [Reject(n) for n in range(4, 10)]})
    scene.command(Act.EMERGENCY_STOP)
    scene.bars(6)
    assert not scene.slots() and scene.at_venue(BTC) == 0.0


def test_pressed_twice_it_sends_nothing_twice() -> None:
    scene = trading()
    scene.command(Act.EMERGENCY_STOP)
    told = scene.command(Act.EMERGENCY_STOP)
    assert not told.orders and not told.changes


def test_only_a_re_arm_ends_it() -> None:
    scene = trading()
    scene.command(Act.EMERGENCY_STOP)
    scene.bars(2)
    scene.command(Act.RESUME)
    assert state(scene) is TradingState.HALTED
    scene.command(Act.RE_ARM)
    assert scene.bar(None, buy(SOL)).dispositions == [Disposition.SENT]


def test_a_pause_stops_entries_and_keeps_what_is_open() -> None:
    scene = Scene(BTC, ETH)
    scene.bar(None, buy(BTC))
    scene.bar()
    told = scene.command(Act.PAUSE)
    assert [(c.before, c.after) for c in told.changes] == [("active", "reducing")] and not told.orders
    assert scene.bar(None, buy(ETH)).dispositions == [Disposition.HALTED]
    scene.command(Act.RESUME)
    assert scene.bar(None, buy(ETH)).dispositions == [Disposition.SENT] and scene.ours(BTC) > 0.0


def test_a_pause_leaves_stops_at_work() -> None:
    scene = Scene(BTC)
    scene.bar(None, buy(BTC))
    scene.bar()
    scene.command(Act.PAUSE)
    assert [o.cause for o in scene.bar({BTC: 97.0}).outcomes] == ["stop"]


def test_close_all_closes_and_does_not_latch() -> None:
    scene = trading()
    told = [scene.command(Act.CLOSE_ALL), scene.bar()]
    assert [o.approved.intent.rule for each in told for o in each.of(Exit)] == ["close_all by a test"]
    assert scene.at_venue(BTC) == scene.at_venue(ETH) == 0.0
    assert state(scene) is TradingState.ACTIVE


def test_close_all_ends_what_waits_for_the_slots_that_it_frees() -> None:
    scene = trading()
    scene.bar(None, buy(SOL))
    told = scene.command(Act.CLOSE_ALL)
    assert [d.reason for d in told.decisions if d.disposition is Disposition.DROPPED] == ["close_all by a test"]
    scene.bars(3)
    assert not scene.slots() and scene.at_venue(SOL) == 0.0


def test_close_closes_one() -> None:
    scene = Scene(BTC, ETH)
    scene.bar(None, buy(BTC), buy(ETH))
    scene.bar()
    scene.command(Act.CLOSE, BTC)
    scene.bar()
    assert scene.ours(BTC) == 0.0 and scene.slots() == {1: (ETH.id, "open")}


def test_commands_of_a_script_come_after_the_bars_of_their_instant() -> None:
    stop = Command(START + 2 * HOUR, Act.EMERGENCY_STOP, "a script")
    scene = Scene(BTC, commands=[stop])
    scene.bar(None, buy(BTC))
    told = scene.bar()
    assert [type(event).__name__ for event, step in told.steps if step.orders] == ["Filled", "Command"]
    assert scene.bar() and scene.ours(BTC) == 0.0


# ---------------------------------------------------------------- exits pass


def leaves(scene: Scene) -> None:
    """A sell of all BTC goes out when it is asked for."""
    held = scene.ours(BTC)
    told = scene.bar(None, leave(BTC))
    (order,) = told.of(Exit)
    assert held > 0.0 and order.approved.intent.qty == held
    assert not told.of(Enter)


def holding_btc(**settings: object) -> Scene:
    scene = Scene(BTC, ETH, SOL, ADA, **settings)
    scene.bar(None, buy(BTC))
    scene.bar()
    assert scene.ours(BTC) > 0.0
    return scene


def test_exits_pass_in_drawdown() -> None:
    scene = holding_btc(holdings=[(ADA, 400.0, 100.0)])
    scene.bar({ADA: 80.0})
    scene.bars(24)
    assert scene.bar(None, buy(ETH)).decision.reason == Layer.DRAWDOWN
    leaves(scene)


def test_exits_pass_while_the_day_is_reducing() -> None:
    scene = holding_btc(holdings=[(ADA, 400.0, 100.0)])
    scene.bar({ADA: 80.0})
    assert state(scene) is TradingState.REDUCING
    leaves(scene)


def test_exits_pass_with_var_exceeded() -> None:
    """Most of the money is withdrawn; what is held of a wild coin is now far too much."""
    flows = {COINS: [Deposit(START + 3 * HOUR, -70_000.0, USD)]}
    scene = holding_btc(past={BTC: closes(3, 100.0, volatility=0.06)}, flows=flows)
    scene.bar()
    assert scene.bar(None, buy(ETH)).decision.reason == Layer.VAR
    leaves(scene)


def test_exits_pass_with_facts_unknown() -> None:
    scene = holding_btc()
    scene.last[BTC.id] = nan
    assert isnan(scene.bar(None, buy(ETH)).steps[-1][1].equity)
    leaves(scene)


def test_exits_pass_while_the_breaker_is_open() -> None:
    long = with_rules(breaker={"open_seconds": 1e5, "open_cap_seconds": 1e6})
    scene = holding_btc(faults={COINS: [Kill(n) for n in range(3, 8)]}, rules=long)
    for _ in range(5):
        scene.bar(None, buy(ETH))
    assert scene.engine.breakers[COINS].state(scene.now) is BreakerState.OPEN
    assert scene.bar(None, buy(ETH)).dispositions == [Disposition.BREAKER_OPEN]
    leaves(scene)
    assert scene.bar() and scene.ours(BTC) == 0.0


def test_exits_are_sent_while_the_venue_fails_and_again_until_one_arrives() -> None:
    scene = holding_btc(faults={COINS: [Outage(START + 3 * HOUR, START + 6 * HOUR)]})
    leaves(scene)
    scene.bars(6)
    assert scene.at_venue(BTC) == 0.0 and not scene.slots()
    assert len(scene.told.of(Exit)) == 4, "one at the command, one an hour while it fails, and the one that arrives"


def test_exits_pass_when_halted() -> None:
    """The close that the halt wants is rejected; the next one leaves in the halt."""
    scene = holding_btc(faults={COINS: [Reject(3)]})
    scene.command(Act.EMERGENCY_STOP)
    told = scene.bar()
    assert state(scene) is TradingState.HALTED and len(told.of(Exit)) == 1
    assert scene.bar() and scene.ours(BTC) == 0.0


def test_exits_pass_on_a_closed_market_and_a_stale_price() -> None:
    scene = Scene(EUR, BTC, start=START + 4 * DAY)
    scene.bar(None, buy(EUR))
    scene.bars(25)
    assert len(scene.bar(None, leave(EUR)).of(Exit)) == 1


def test_exits_pass_a_full_queue() -> None:
    names = [coin(f"C{n}") for n in range(10)]
    scene = Scene(*names)
    scene.bar(None, *(buy(each) for each in names))
    assert len(scene.engine.queue.items) == 8
    assert len(scene.bar(None, leave(names[0])).of(Exit)) == 1


def test_an_exit_is_what_reduces_whatever_it_calls_itself() -> None:
    """Closing what is not held, or selling it, is an entry or nothing."""
    scene = holding_btc()
    assert scene.bar(None, leave(ETH)).dispositions == [Disposition.HOLD]
    told = scene.bar(None, sell(ETH))
    assert told.dispositions == [Disposition.NOT_TRADABLE] and not told.orders


def test_stop_and_exit_together_close_once_and_never_reverse() -> None:
    """Half of the exit fills at the open, the stop takes the rest within the bar, and nothing is left to reduce."""
    scene = holding_btc(faults={COINS: [Partial(3, (0.5,))]})
    scene.bar(None, leave(BTC))
    scene.bar({BTC: 97.0})
    told = scene.bar()
    assert [a.reason for a in told.answers if isinstance(a, Cancelled)] == ["nothing to reduce"]
    assert [(o.qty, o.exit) for o in told.outcomes] == [(237.5, 99.0)] and scene.at_venue(BTC) == 0.0


def test_the_resting_stop_follows_what_an_exit_has_left() -> None:
    scene = holding_btc(faults={COINS: [Partial(3, (0.25, 0.25))]})
    scene.bar(None, leave(BTC))
    for left in (0.75, 0.5):
        told = scene.bar()
        assert scene.ours(BTC) == scene.resting(BTC).approved.intent.qty == left * 237.5
        assert len(told.of(Protect)) == 1
    scene.bar()
    assert not scene.slots() and scene.resting(BTC) is None


def test_a_stop_that_cannot_follow_an_exit_is_not_tried_again_beside_it() -> None:
    scene = holding_btc(faults={COINS: [Partial(3, (0.25,)), Reject(4)]})
    scene.bar(None, leave(BTC))
    told = scene.bar()
    assert len(told.of(Protect)) == 1 and scene.resting(BTC).approved.intent.qty == 237.5
    scene.bar()
    assert not scene.slots() and scene.at_venue(BTC) == 0.0


# ---------------------------------------------------------------- what a venue says that the book does not know


def test_a_read_that_differs_stops_entries_and_the_third_latches() -> None:
    scene = holding_btc()
    wrong = AccountRead(scene.now, COINS, None, (("USD", 5.0),), ())
    scene.step(wrong)
    assert state(scene) is TradingState.REDUCING
    assert scene.bar(None, buy(ETH)).dispositions == [Disposition.HALTED]
    assert state(scene) is TradingState.ACTIVE, "asked anew, the venue agrees"
    told = scene.step(wrong, wrong, wrong)
    assert state(scene) is TradingState.HALTED and not told.of(Exit)
    assert scene.bar({BTC: 101.0}) and scene.ours(BTC) > 0.0, "what is open stays, behind its stop"


def test_a_latch_of_the_reconciliation_takes_back_the_entry_under_way() -> None:
    scene = holding_btc()
    wrong = AccountRead(scene.now, COINS, None, (("USD", 5.0),), ())
    scene.at_once(buy(ETH))
    told = scene.step(wrong, wrong, wrong)
    (cancel,) = told.orders
    assert isinstance(cancel, Cancel) and scene.slots() == {0: (BTC.id, "open")}
    scene.bar()
    assert scene.at_venue(ETH) == 0.0 and scene.ours(BTC) > 0.0


def test_a_read_that_agrees_again_lets_entries_through() -> None:
    scene = holding_btc()
    cash = scene.engine.book.cash(COINS, USD)
    scene.step(AccountRead(scene.now, COINS, None, (("USD", 5.0),), ()))
    scene.step(AccountRead(scene.now, COINS, None, (("USD", cash),), ((BTC.id, scene.ours(BTC)),)))
    assert state(scene) is TradingState.ACTIVE


def test_a_fill_that_is_not_ours_stops_entries() -> None:
    scene = holding_btc()
    fill = Fill("other-1", SOL.id, 1.0, 100.0, 0.0, USD, Cause.ENTRY)
    scene.step(Filled(scene.now, COINS, None, fill, True))
    assert state(scene) is TradingState.REDUCING and not scene.slots().get(1)


def test_every_position_is_covered_after_every_bar_of_a_long_day() -> None:
    scene = Scene(BTC, ETH, faults={COINS: [Reject(2), Timeout(5), Timeout(7, accepted=True)]})
    for hour in range(48):
        scene.bar({BTC: 100.0 + hour % 3, ETH: 100.0 - hour % 3}, buy(BTC), buy(ETH))  # the scene checks each bar
    assert len(scene.told.of(Protect)) > 2


@pytest.mark.parametrize("act", [Act.PAUSE, Act.RESUME, Act.RE_ARM, Act.CLOSE_ALL])
def test_commands_on_a_quiet_day_change_no_money(act: Act) -> None:
    scene = Scene(BTC)
    scene.bar()
    assert [step.equity for _, step in scene.command(act).steps] == [100_000.0]


def test_after_a_difference_the_venue_is_asked_again_until_it_agrees() -> None:
    scene = holding_btc()
    scene.step(AccountRead(scene.now, COINS, None, ((USD, 5.0),), ()))
    told = scene.bar()
    assert len(told.of(Query)) == 1 and state(scene) is TradingState.ACTIVE
    assert not scene.bar().of(Query)


# ---------------------------------------------------------------- what is lost is sent again


@pytest.mark.parametrize("lost", [3, 4, 5])
def test_an_entry_fills_no_more_after_an_emergency_stop_though_its_cancellation_was_lost(lost: int) -> None:
    thin = replace(BTC, volume_share=0.02)
    scene = Scene(thin, ETH, faults={COINS: [Timeout(lost)]})
    scene.bar(None, buy(thin, qty=200.0))
    scene.bar()
    scene.command(Act.EMERGENCY_STOP)
    told = [scene.bar() for _ in range(14)]
    entries = [a for each in told for a in each.answers if isinstance(a, Filled) and a.fill.cause is Cause.ENTRY]
    assert len(entries) <= 1, "what filled before the cancellation was proven"
    assert not scene.slots() and scene.at_venue(BTC) == 0.0


def test_close_without_an_instrument_closes_nothing() -> None:
    scene = trading()
    assert not scene.step(Command(scene.now, Act.CLOSE, "a test")).orders
    assert len(scene.slots()) == 2
