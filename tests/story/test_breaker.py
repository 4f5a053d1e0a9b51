"""One venue's breaker at work: what counts, what it refuses, and how it comes back."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from ffe.brokers.faults import AnyFault, Kill, NoAnswer, Outage, Reject, ServerError, Timeout, Unreadable
from ffe.model import HOUR, MINUTE, SECOND, Bars, Disposition, Enter, Exit, Fault, Query, Quote, Quotes, Withheld
from ffe.risk.breaker import BreakerState, CallKind
from tests.story.scene import BTC, COINS, ETH, EUR, MARGIN, SOL, START, Moment, Scene, buy, leave, with_rules

CLOSED, OPEN, HALF_OPEN = BreakerState
MAY_REPEAT = {"repeats": 1000, "duplicate_seconds": 1e-10}  # or controls would end it before any breaker
STUBBORN = with_rules(controls=MAY_REPEAT)
EXACT = with_rules(controls=MAY_REPEAT, breaker={"open_seconds": 90.0, "jitter_ratio": 0.0})


def state(scene: Scene, later: int = 0) -> BreakerState:
    return scene.engine.breakers[COINS].state(scene.now + later)


def tried(*faults: AnyFault, times: int = 5, **more: object) -> Scene:
    """A new entry into BTC as often as that, each after the one before has come to nothing."""
    scene = Scene(BTC, ETH, SOL, EUR, faults={COINS: faults}, **({"rules": STUBBORN} | more))
    for _ in range(times):
        scene.bar(None, buy(BTC))
        while scene.slots() and state(scene) is CLOSED:
            scene.bar()
    return scene


def half_open(**more: object) -> Scene:
    """Bars of a minute; five orders were killed, and a minute and its jitter have passed."""
    scene = tried(*(Kill(n) for n in range(1, 6)), interval=MINUTE, **more)
    assert state(scene) is OPEN
    scene.bars(2)
    assert state(scene) is HALF_OPEN
    return scene


# ---------------------------------------------------------------- what counts


def garbled(at: int) -> AnyFault:
    return Unreadable(at, accepted=False)


@pytest.mark.parametrize("fault", [Timeout, ServerError, garbled, Kill])
def test_five_failures_in_a_row_open_it(fault: Callable[[int], AnyFault]) -> None:
    four, five = (tried(*(fault(n) for n in range(1, times + 1)), times=times) for times in (4, 5))
    assert (state(four), state(five)) == (CLOSED, OPEN)
    changes = [(c.what, c.before, c.after) for c in five.told.changes if c.what == f"breaker {COINS}"]
    assert changes == [(f"breaker {COINS}", "closed", "open")]


def test_a_broken_connection_counts() -> None:
    scene = tried(*(NoAnswer(n, fault=Fault.DISCONNECTED) for n in range(1, 6)))
    assert state(scene) is OPEN


def test_rejections_for_funds_never_count() -> None:
    scene = tried(*(Reject(n, "insufficient funds") for n in range(1, 9)), times=8)
    assert state(scene) is CLOSED
    assert len(scene.told.of(Enter)) == 8


def test_one_success_between_begins_the_count_anew() -> None:
    faults = [Timeout(n) for n in (1, 2, 3, 4, 6, 7, 8, 9)]
    scene = tried(*faults, times=4)
    scene.bar(None, buy(BTC, qty=1.0))  # the fifth fills; its stop is the sixth order, and goes wrong
    scene.bars(3)
    assert state(scene) is CLOSED


@pytest.mark.parametrize(("last", "after"), [(7, CLOSED), (8, OPEN)])
def test_cancellations_that_time_out_count(last: int, after: BreakerState) -> None:
    """Orders: an entry, its stop, an exit; then the stop is to be cancelled, and is found working every time."""
    scene = tried(*(Timeout(n) for n in range(4, last + 1)), times=0)
    scene.bar(None, buy(BTC))
    scene.bar(None, leave(BTC))
    scene.play(Moment(Quotes(scene.now, (Quote(BTC.id, 100.0),))))
    assert state(scene) is after and not scene.slots() and scene.resting(BTC) is None


def test_a_querys_success_does_not_excuse_the_orders() -> None:
    scene = tried(*(Timeout(n) for n in range(1, 6)))
    assert len(scene.told.of(Query)) > 5
    assert state(scene) is OPEN


def test_a_venue_that_killed_one_order_is_not_a_silent_one() -> None:
    scene = tried(Kill(1), times=1)
    scene.bars(2)
    assert scene.bar(None, buy(ETH)).dispositions == [Disposition.SENT]


def test_a_venue_that_fell_silent_is_asked_until_it_speaks() -> None:
    """It does not answer for two hours, and nothing of ours hangs on it but the question itself."""
    start = START + 2 * HOUR
    scene = Scene(BTC, ETH, EUR, faults={COINS: [Outage(start, start + 2 * HOUR)]})
    scene.bar()
    scene.bar(None, buy(BTC))
    scene.bars(1)
    told = scene.bar(None, buy(EUR))
    assert told.dispositions == [Disposition.REFUSED]
    scene.bars(3)
    assert scene.bar(None, buy(EUR)).dispositions == [Disposition.SENT]


def test_it_is_asked_even_while_its_breaker_is_open() -> None:
    """Its breaker stays open for a quarter of an hour; the venue is back after two minutes, and so are the others."""
    rules = with_rules(controls=MAY_REPEAT, breaker={"open_seconds": 900.0, "jitter_ratio": 0.0})
    outage = Outage(START + 19 * MINUTE, START + 22 * MINUTE)
    scene = tried(*(Kill(n) for n in range(1, 6)), outage, interval=MINUTE, rules=rules)
    scene.bars(24)
    assert state(scene) is OPEN and scene.engine.breakers[COINS].openings == 2
    assert scene.bar(None, buy(EUR)).dispositions == [Disposition.SENT]


# ---------------------------------------------------------------- what it refuses


def test_entries_are_refused_and_exits_are_not() -> None:
    scene = Scene(BTC, ETH, EUR, faults={COINS: [Kill(n) for n in range(3, 8)]}, rules=STUBBORN)
    scene.bar(None, buy(BTC))
    for _ in range(5):
        scene.bar(None, buy(ETH))
    told = scene.at_once(buy(ETH), leave(BTC))
    assert [(d.disposition, d.instrument) for d in told.decisions] == [
        (Disposition.SENT, BTC.id),
        (Disposition.BREAKER_OPEN, ETH.id),
    ]
    assert len(told.of(Exit)) == 1 and not told.of(Enter)
    scene.bar()
    assert scene.ours(BTC) == 0.0


def test_another_venue_has_its_own() -> None:
    scene = tried(*(Kill(n) for n in range(1, 6)))
    assert scene.at_once(buy(EUR)).dispositions == [Disposition.SENT]
    assert scene.engine.breakers[MARGIN].state(scene.now) is CLOSED


def test_a_refused_entry_is_an_approved_one_on_record() -> None:
    scene = tried(*(Kill(n) for n in range(1, 6)))
    refused = scene.at_once(buy(BTC)).decision
    assert refused.judgement is not None and refused.order is None
    assert refused.reason == "the breaker of coins is open"
    assert scene.engine.breakers[COINS].numbers(scene.now).refused == 1


# ---------------------------------------------------------------- how it comes back


def test_a_minute_and_its_jitter_pass_before_it_is_half_open() -> None:
    scene = tried(*(Kill(n) for n in range(1, 6)), interval=MINUTE)
    assert state(scene, 53 * SECOND) is OPEN
    assert state(scene, 67 * SECOND) is HALF_OPEN


def test_half_open_a_query_must_succeed_before_an_entry_may_try() -> None:
    scene = tried(*(Kill(n) for n in range(1, 6)), interval=MINUTE, rules=EXACT)
    told = [scene.bar(None, buy(BTC)) for _ in range(3)]
    assert [each.decision.disposition for each in told] == [Disposition.BREAKER_OPEN] * 2 + [Disposition.SENT]
    assert [len(each.of(Query)) for each in told] == [0, 1, 0]


def test_a_query_that_fails_opens_it_again_for_longer() -> None:
    """Nobody answers from the sixth minute to the eighth."""
    outage = Outage(START + 6 * MINUTE, START + 8 * MINUTE)
    scene = tried(*(Kill(n) for n in range(1, 6)), outage, interval=MINUTE, rules=EXACT)
    told = [scene.bar(None, buy(BTC)) for _ in range(7)]
    sent = [each.decision.disposition is Disposition.SENT for each in told]
    assert sent.index(True) == 5 and scene.engine.breakers[COINS].openings == 2


def test_a_probe_that_succeeds_closes_it() -> None:
    scene = half_open()
    scene.bar(None, buy(BTC))
    scene.bar()
    assert state(scene) is CLOSED and scene.ours(BTC) > 0.0


def test_the_window_doubles_with_every_probe_that_fails_up_to_a_quarter_of_an_hour() -> None:
    scene = tried(*(Kill(n) for n in range(1, 20)), interval=MINUTE)
    windows = []
    for _ in range(6):
        opened = scene.now
        while state(scene) is OPEN:
            scene.bar()
        windows.append((scene.now - opened) / MINUTE)
        while state(scene) is HALF_OPEN:
            scene.bar(None, buy(BTC))
    assert all(0.9 * k <= w <= 1.1 * k + 1 for k, w in zip((1, 2, 4, 8, 15, 15), windows, strict=True)), windows
    assert scene.engine.breakers[COINS].openings == 7


def test_closing_resets_the_window() -> None:
    """The first probe is the sixth order and killed, the second fills; later five exits are killed."""
    scene = tried(*(Kill(n) for n in [*range(1, 7), *range(9, 14)]), interval=MINUTE)
    for _ in range(12):
        scene.bar(None, buy(BTC))
    assert state(scene) is CLOSED
    scene.bar(None, leave(BTC))
    while state(scene) is CLOSED:
        scene.bar()
    assert (state(scene, 53 * SECOND), state(scene, 67 * SECOND)) == (OPEN, HALF_OPEN)


def test_a_hung_probe_gives_its_place_away_after_half_a_minute() -> None:
    """The probe is sent, and no answer to it ever comes."""
    scene = half_open()
    scene.bar()
    scene.said[scene.now] = (buy(BTC),)
    sent = scene.engine.step(Bars(scene.now, ()))
    assert [type(order) for order in sent.orders] == [Enter]
    breaker = scene.engine.breakers[COINS]
    assert breaker.call(CallKind.ENTRY, scene.now + 29 * SECOND) is None
    assert scene.bar(None, buy(ETH)).dispositions == [Disposition.SENT]


def test_a_cancelled_probe_frees_its_place_at_once() -> None:
    """Its decision could not be written, so it never left."""
    scene = half_open()
    scene.bar()
    scene.said[scene.now] = (buy(BTC),)
    (enter,) = scene.engine.step(Bars(scene.now, ())).orders
    scene.step(Withheld(scene.now, COINS, enter.id, "the disk is full"))
    assert not scene.slots() and state(scene) is HALF_OPEN
    assert scene.at_once(buy(ETH)).dispositions == [Disposition.SENT]


def test_answers_from_before_the_last_opening_change_nothing() -> None:
    """A probe that was sent before it opened again comes back with a success."""
    scene = Scene(BTC, ETH, SOL, interval=MINUTE)
    scene.bar()
    breaker = scene.engine.breakers[COINS]
    late = breaker.call(CallKind.ORDER, scene.now)
    for _ in range(5):
        breaker.fail(breaker.call(CallKind.ORDER, scene.now), scene.now)
    breaker.succeed(late, scene.now + 5 * MINUTE)
    assert breaker.state(scene.now + 5 * MINUTE) is HALF_OPEN


def test_threads_and_tasks_together_get_one_probe() -> None:
    scene = half_open()
    scene.bar()  # the query's success
    breaker, now, line = scene.engine.breakers[COINS], scene.now, Barrier(16)

    def from_thread() -> object:
        line.wait()
        return breaker.call(CallKind.ENTRY, now)

    async def from_task() -> object:
        await asyncio.sleep(0)
        return breaker.call(CallKind.ENTRY, now)

    async def together() -> list[object]:
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(16) as pool:
            threads = [loop.run_in_executor(pool, from_thread) for _ in range(16)]
            return await asyncio.gather(*threads, *(from_task() for _ in range(16)))

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        assert sum(call is not None for call in asyncio.run(together())) == 1
    finally:
        sys.setswitchinterval(before)


def test_its_numbers_are_kept() -> None:
    scene = tried(*(Kill(n) for n in range(1, 6)), interval=MINUTE)
    numbers = scene.engine.breakers[COINS].numbers(scene.now + 10 * MINUTE)
    assert (numbers.failures, numbers.openings) == (5, 1)
    assert sum(numbers.time_in_state.values()) == scene.now + 10 * MINUTE - (START + MINUTE)


def test_what_was_taken_back_leaves_no_call_behind() -> None:
    scene = Scene(BTC, ETH)
    scene.bar(None, buy(BTC, qty=10.0))
    scene.at_once(leave(BTC))
    scene.bar()
    assert scene.engine._calls == {}
