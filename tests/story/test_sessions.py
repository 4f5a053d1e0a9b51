"""Closed markets: a daily idea waits for its session's first quote, an hourly one becomes HOLD, its action kept."""

from __future__ import annotations

import pytest

from ffe.hours import instant
from ffe.model import (
    DAY,
    HOUR,
    Act,
    Bar,
    Bars,
    Disposition,
    Enter,
    Exit,
    Filled,
    Instrument,
    Layer,
    Quote,
    Quotes,
    Side,
    Signal,
    Status,
)  # fmt: skip
from tests.story.scene import AAPL, BTC, EUR, IBM, START, Moment, Scene, Told, buy, fact, leave, status, with_rules

FIRST_CLOSE = instant("2024-02-05T21:00")
NEXT_OPEN = instant("2024-02-06T14:30")


def daily(scene: Scene, prices: dict[Instrument, tuple[float, float]], *signals: Signal) -> Told:
    """One session of New York: what opens at 14:30 and closes at 21:00 UTC, and the midnight after it."""
    opened, closed = scene.now + 14 * HOUR + HOUR // 2, scene.now + 21 * HOUR
    bars = tuple(
        Bar(i.id, DAY, opened, closed, first, max(first, last), min(first, last), last, 1e6)
        for i, (first, last) in sorted(prices.items(), key=lambda item: item[0].id)
    )
    quotes = Quotes(opened, tuple(Quote(b.instrument, b.open, True) for b in bars))
    scene.said[closed] = signals
    told = [*scene.play(Moment(quotes)).steps, *scene.play(Moment(Bars(closed, bars))).steps]
    scene.now += DAY
    told += scene.play(Moment(Bars(scene.now, ()))).steps
    scene.check()
    return Told(tuple(told))


def bought(*signals: Signal, **more: object) -> Scene:
    """A scene of daily bars in which the first close said something."""
    scene = Scene(IBM, AAPL, interval=DAY, **more)
    daily(scene, {IBM: (50.0, 50.0), AAPL: (50.0, 50.0)}, *signals)
    return scene


def test_a_daily_signal_waits_and_holds_no_slot() -> None:
    scene = bought(buy(IBM))
    waiting = scene.told.decision
    assert (waiting.disposition, waiting.time) == (Disposition.WAITING, FIRST_CLOSE)
    assert status(waiting, Layer.MARKET_HOURS) is Status.REFUSED
    assert not scene.slots() and not scene.told.of(Enter)


def test_it_is_reviewed_at_the_next_open_at_the_price_it_gets() -> None:
    scene = bought(buy(IBM))
    told = daily(scene, {IBM: (51.0, 51.0)})
    sent = told.decision
    assert (sent.disposition, sent.time) == (Disposition.SENT, NEXT_OPEN)
    assert sent.follows == scene.told.decisions[0].id
    assert (sent.intent.price, fact(sent, Layer.FRESHNESS)) == (51.0, 0.0)
    assert [(e.fill.price, e.time) for e in told.answers if isinstance(e, Filled)] == [(51.0, NEXT_OPEN)]


def test_it_waits_over_the_weekend() -> None:
    scene = Scene(IBM, interval=DAY, start=START + 4 * DAY)
    daily(scene, {IBM: (50.0, 50.0)}, buy(IBM))
    assert not daily(scene, {}).decisions and not daily(scene, {}).decisions
    assert daily(scene, {IBM: (50.0, 50.0)}).dispositions == [Disposition.SENT]


def test_it_may_be_refused_at_the_open() -> None:
    """What is held of it already is a fifth of everything at the close, and more than a quarter at the open."""
    scene = bought(buy(IBM), holdings=[(IBM, 500.0, 50.0)])
    told = daily(scene, {IBM: (70.0, 70.0)})
    assert (told.decision.disposition, told.decision.reason) == (Disposition.REFUSED, Layer.CONCENTRATION)
    assert told.decision.follows == scene.told.decisions[0].id and not told.orders


def test_its_own_collar_is_measured_from_the_open() -> None:
    scene = bought(buy(IBM))
    (entry,) = daily(scene, {IBM: (52.0, 52.0)}).of(Enter)
    assert entry.collar == 52.0 * 1.05 and scene.ours(IBM) > 0.0
    assert scene.resting(IBM).stop == 52.0 * 0.98


def test_waiting_ends_with_a_newer_opposite_signal() -> None:
    scene = bought(buy(IBM))
    told = daily(scene, {AAPL: (50.0, 50.0)}, leave(IBM))
    assert told.dispositions[0] is Disposition.DROPPED
    assert not daily(scene, {IBM: (50.0, 50.0)}).orders


def test_waiting_ends_with_a_halt() -> None:
    scene = bought(buy(IBM))
    assert scene.command(Act.EMERGENCY_STOP).dispositions == [Disposition.DROPPED]
    assert not daily(scene, {IBM: (50.0, 50.0)}).orders


def test_a_daily_exit_fills_at_the_next_open() -> None:
    scene = bought(buy(IBM))
    daily(scene, {IBM: (50.0, 50.0)}, leave(IBM))
    told = daily(scene, {IBM: (50.5, 50.5)})
    assert [(o.cause, o.exit, o.time) for o in told.outcomes] == [("signal", 50.5, NEXT_OPEN + DAY)]


def test_the_third_at_one_open_waits_for_a_slot() -> None:
    scene = bought(buy(IBM), buy(AAPL), rules=with_rules(slots={"slots": 1}))
    told = daily(scene, {IBM: (50.0, 50.0), AAPL: (50.0, 50.0)})
    assert told.dispositions == [Disposition.SENT, Disposition.QUEUED]


# ---------------------------------------------------------------- by the hour


def test_an_hourly_signal_at_the_close_is_held_and_what_it_was_is_kept() -> None:
    scene = Scene(IBM, start=START + HOUR // 2)
    scene.bars(20)
    told = scene.bar(None, buy(IBM, 77))
    held = told.decision
    assert (held.disposition, held.time) == (Disposition.OVERRIDDEN, START + 21 * HOUR + HOUR // 2)
    assert (held.signal.side, held.signal.confidence) == (Side.LONG, 77)
    assert status(held, Layer.MARKET_HOURS) is Status.REFUSED and "LONG becomes HOLD" in held.reason
    assert not told.orders and not scene.bars(24).orders


def test_an_hourly_signal_within_the_session_leaves() -> None:
    scene = Scene(IBM, start=START + HOUR // 2)
    scene.bars(15)
    assert scene.bar(None, buy(IBM)).dispositions == [Disposition.SENT]


@pytest.mark.parametrize("hour", [21, 22])
def test_pairs_close_on_friday_at_five_in_new_york(hour: int) -> None:
    scene = Scene(EUR, start=START + 4 * DAY)
    scene.bars(hour - 1)
    told = scene.bar(None, buy(EUR))
    assert told.dispositions == [Disposition.SENT if hour < 22 else Disposition.OVERRIDDEN]


def test_an_exit_is_sent_though_its_market_is_closed_and_fills_when_it_opens() -> None:
    scene = Scene(EUR, BTC, start=START + 4 * DAY)
    scene.bars(10, buy(EUR))
    assert len(scene.bars(12, leave(EUR)).of(Exit)) == 1
    assert not scene.bars(48).outcomes
    scene.last[EUR.id] = 1.24
    assert [(o.cause, o.exit) for o in scene.bar().outcomes] == [("signal", 1.24)]


def test_coins_never_close() -> None:
    scene = Scene(BTC, start=START + 5 * DAY)
    told = scene.bar(None, buy(BTC))
    assert told.dispositions == [Disposition.SENT]
    assert status(told.decision, Layer.AFTER_HOURS) is Status.WARNED


def test_an_add_that_waited_for_its_session_is_judged_at_its_open() -> None:
    scene = bought(buy(IBM, qty=100.0))
    daily(scene, {IBM: (50.0, 50.5)}, buy(IBM, qty=50.0, add=True))
    told = daily(scene, {IBM: (50.5, 50.6)})
    assert scene.ours(IBM) == 150.0 and [d.disposition for d in told.decisions] == [Disposition.SENT]


def test_an_add_whose_trade_has_ended_meanwhile_is_dropped() -> None:
    """Its stop is gapped through at the very open for which it waited."""
    scene = bought(buy(IBM, qty=100.0))
    daily(scene, {IBM: (50.0, 50.5)}, buy(IBM, qty=50.0, add=True), leave(IBM))
    told = [daily(scene, {IBM: (50.5, 50.6)}) for _ in range(2)]
    assert scene.ours(IBM) == 0.0 and not any(each.of(Enter) for each in told)
