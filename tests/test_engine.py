"""The sequence itself: ids, what a strategy hears, whom an answer belongs to, and what is said only once."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from uuid import UUID

from ffe.brokers.faults import Kill, Outage
from ffe.model import (
    HOUR,
    MINUTE,
    SECOND,
    Accepted,
    AccountRead,
    Bars,
    Cancel,
    Cancelled,
    CashFlow,
    Disposition,
    Failed,
    Fault,
    Flow,
    Heard,
    InstrumentId,
    Known,
    Query,
    Report,
    Signal,
)  # fmt: skip
from ffe.risk.breaker import BreakerState
from ffe.risk.guard import TradingState
from ffe.session import Session
from ffe.strategy import View
from tests.story.scene import ADA, BTC, COINS, ETH, EUR, IBM, MARGIN, SOL, START, USD, Scene, buy, leave, with_rules

WIDE = with_rules(watch={"stop_ratio": 0.1, "target_ratio": 0.5}, size={"risk_per_trade_ratio": 0.05})


# ---------------------------------------------------------------- ids


def test_a_decisions_id_is_a_uuid_of_version_8_of_its_session_and_number_alone() -> None:
    version, variant = 0xF << 76, 0xC000 << 48
    for number in range(1, 20):
        bits = int.from_bytes(sha256(f"run:{number}".encode()).digest()[:16])
        made = Session("run", HOUR).decision(number)
        assert made == str(UUID(int=bits & ~version & ~variant | 8 << 76 | 0x8000 << 48))
        assert (UUID(made).version, UUID(made).variant) == (8, "specified in RFC 4122")


# ---------------------------------------------------------------- what a strategy hears


class Curious:
    """Says what the scene says, and remembers whether some instruments were busy."""

    def __init__(self, scene: Scene) -> None:
        self.said, self.busy = scene.said, list[tuple[bool, ...]]()

    def on_event(self, view: View) -> tuple[Signal, ...]:
        if not isinstance(view.event, Bars):
            return ()
        self.busy.append(tuple(view.is_busy(i.id) for i in (BTC, SOL, ADA)))
        return self.said.pop(view.time, ())


def test_an_instrument_is_busy_while_it_is_traded_or_waits() -> None:
    scene = Scene(BTC, ETH, SOL, ADA)
    scene.engine.strategy = curious = Curious(scene)
    scene.bar(None, buy(BTC), buy(ETH))
    scene.bar(None, buy(SOL))
    scene.bar()
    assert curious.busy == [(False, False, False), (True, False, False), (True, True, False)]


# ---------------------------------------------------------------- what waits


def test_a_wait_grows_old_by_the_market_and_not_by_an_answer() -> None:
    scene = Scene(BTC, ETH, SOL)
    scene.bar(None, buy(BTC), buy(ETH))
    scene.bar(None, buy(SOL))
    late = CashFlow(scene.now + 25 * HOUR, COINS, None, Flow.DEPOSIT, 1.0, USD)
    assert not scene.engine.step(late).decisions and scene.engine.queue.of(SOL.id) is not None


def test_what_waits_for_its_session_is_not_judged_again_in_the_same_instant() -> None:
    scene = Scene(IBM, interval=24 * HOUR)
    assert scene.bar(None, buy(IBM)).dispositions == [Disposition.WAITING]
    assert not scene.at_once().decisions


# ---------------------------------------------------------------- what is said once


def test_a_day_that_is_beyond_its_limits_for_other_reasons_is_said_once() -> None:
    scene = Scene(BTC, ETH, rules=WIDE, holdings=[(ETH, 500.0, 100.0)])
    scene.bar()
    scene.bar({ETH: 90.0})
    why = scene.engine.guard.why
    told = scene.bar({ETH: 85.0})
    assert not told.changes and scene.engine.guard.why == why and "-3.3333%" in why


def test_a_latched_engine_is_not_said_to_reduce_as_well() -> None:
    scene = Scene(BTC, ETH, rules=WIDE, holdings=[(ETH, 500.0, 100.0)])
    scene.bar()
    scene.engine.guard.latch("disk", "a test", scene.now)
    scene.bar({ETH: 90.0})
    assert not scene.engine.guard.reducing_why


# ---------------------------------------------------------------- a venue that differs


def wrong(scene: Scene, venue: str = COINS) -> AccountRead:
    return AccountRead(scene.now, venue, None, ((USD, 5.0),), ())


def test_two_reads_that_differ_reduce_and_do_not_latch() -> None:
    scene = Scene(BTC)
    scene.bar()
    scene.step(wrong(scene), wrong(scene))
    assert scene.engine.guard.state is TradingState.REDUCING


def test_an_unknown_order_excuses_its_own_venue_alone() -> None:
    scene = Scene(BTC, EUR, start=START + 24 * HOUR)
    scene.bar(None, buy(BTC, qty=1.0))
    (trade,) = scene.engine.slots.trades()
    scene.engine.slots._put(trade._replace(flights=tuple(f._replace(unknown=True) for f in trade.flights)))
    for venue in (COINS, MARGIN):
        scene.engine.step(wrong(scene, venue))
    assert scene.engine.guard.disagreements == {MARGIN: 1}


# ---------------------------------------------------------------- whom an answer belongs to


def calls(scene: Scene) -> set[tuple[str, str]]:
    return set(scene.engine._calls)


def test_a_report_answers_the_question_before_the_cancellation() -> None:
    scene = Scene(BTC)
    scene.bar(None, buy(BTC, qty=1.0))
    scene.bar()
    stop = scene.resting(BTC).id
    before = calls(scene)
    for order in (Cancel(COINS, stop), Query(COINS, stop)):
        scene.engine._leave(order, scene.now)
    report = Report(scene.now, COINS, stop, Known.WORKING)
    scene.engine.step(report)
    assert calls(scene) - before == {("cancel", stop)}
    scene.engine.step(report)
    assert calls(scene) == before


def test_an_account_read_answers_the_question_for_the_account() -> None:
    scene = Scene(BTC)
    scene.bar()
    scene.engine._leave(Query(COINS, None), scene.now)
    cash = ((USD, scene.engine.book.cash(COINS, USD)),)
    scene.engine.step(AccountRead(scene.now, COINS, None, cash, ()))
    assert calls(scene) == set()


def test_a_stop_that_the_venue_kills_counts_though_it_was_accepted() -> None:
    scene = Scene(BTC, ETH)
    scene.bar(None, buy(BTC, qty=1.0))
    scene.bar()
    stop, breaker = scene.resting(BTC), scene.engine.breakers[COINS]
    scene.engine.step(Cancelled(scene.now, COINS, stop.id, "killed", venue_fault=True))
    assert breaker.numbers(scene.now).failures == 1


def test_an_accepted_entry_is_worth_what_becomes_of_it() -> None:
    scene = Scene(BTC, ETH, faults={COINS: [Kill(n) for n in range(1, 6)]})
    for _ in range(5):
        told = scene.bar(None, buy(BTC, qty=1.0))
    assert [type(a) for a in told.answers] == [Accepted, Cancelled]
    assert scene.engine.breakers[COINS].state(scene.now) is BreakerState.OPEN


def test_where_there_is_one_venue_a_half_open_breaker_asks_it() -> None:
    slow = with_rules(breaker={"open_seconds": 150.0, "jitter_ratio": 0.0}, controls={"repeats": 5})
    scene = Scene(BTC, faults={COINS: [Kill(n) for n in range(1, 6)]}, interval=MINUTE, rules=slow)
    for _ in range(5):
        scene.bar(None, buy(BTC, qty=1.0))
    assert [len(scene.bar().of(Query)) for _ in range(5)] == [0, 0, 1, 0, 0]


# ---------------------------------------------------------------- a venue that fell silent


def test_a_silent_venues_last_positions_hold_for_five_minutes() -> None:
    scene = Scene(BTC, faults={COINS: [Outage(START, START + HOUR)]}, interval=MINUTE)
    scene.bar(None, buy(BTC, qty=1.0))
    silent = scene.now
    assert scene.engine.is_proven(silent + 300 * SECOND) and not scene.engine.is_proven(silent + 300 * SECOND + 1)


def unheard(scene: Scene) -> Failed:
    return Failed(scene.now, COINS, None, Fault.TIMEOUT, query=True)


def test_what_the_edge_asks_in_vain_is_a_silence_until_the_venue_is_heard() -> None:
    scene = Scene(BTC)
    scene.bar()
    scene.engine.step(unheard(scene))
    late = scene.now + 301 * SECOND
    assert not scene.engine.is_proven(late)
    scene.engine.step(Heard(scene.now, COINS, None))
    assert scene.engine.is_proven(late)


def test_silence_that_goes_on_begins_at_its_first_failure() -> None:
    scene = Scene(BTC)
    scene.bar()
    first = scene.now
    for minute in range(6):
        scene.engine.step(replace(unheard(scene), time=first + minute * MINUTE))
    assert scene.engine.is_proven(first + 5 * MINUTE) and not scene.engine.is_proven(first + 5 * MINUTE + 1)


def test_what_the_edge_asks_counts_as_questions_do() -> None:
    scene = Scene(BTC)
    scene.bar()
    breaker = scene.engine.breakers[COINS]
    for said in [*[unheard(scene)] * 4, Heard(scene.now, COINS, None), *[unheard(scene)] * 4]:
        scene.engine.step(said)
    assert breaker.state(scene.now) is BreakerState.CLOSED
    (change,) = scene.engine.step(unheard(scene)).changes
    assert (change.what, change.after, breaker.numbers(scene.now).failures) == ("breaker coins", "open", 9)


def test_a_half_open_breaker_takes_what_the_edge_heard_for_its_question() -> None:
    scene = Scene(BTC)
    scene.bar()
    breaker = scene.engine.breakers[COINS]
    scene.step(*[unheard(scene)] * 5)
    half_open = scene.now + 90 * SECOND
    assert breaker.needs_query(half_open)
    scene.engine.step(Heard(half_open, COINS, None))
    assert not breaker.needs_query(half_open)


def test_what_is_not_known_of_an_instrument_leaves_it_free() -> None:
    scene = Scene(BTC)
    assert not scene.engine.is_busy(InstrumentId("coins:NONE/USD"))
    scene.bar(None, buy(BTC, qty=1.0))
    scene.bar(None, leave(BTC))
    scene.bar()
    assert not scene.engine.is_busy(BTC.id)
