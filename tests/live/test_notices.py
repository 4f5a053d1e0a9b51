"""One line for each thing that a person must know: stories are told line by line, without a session."""

from __future__ import annotations

import logging

import pytest

from ffe.brokers.faults import Kill, NoAnswer, Outage, Reject, Timeout
from ffe.live.notices import Lasting, Notices, NoticingJournal
from ffe.model import (
    HOUR,
    MINUTE,
    SECOND,
    Act,
    Cancelled,
    Cause,
    Enter,
    Fill,
    Filled,
    Protect,
    Rejected,
    Withheld,
)  # fmt: skip
from tests.story.scene import BTC, COINS, ETH, START, USD, AnyFault, Scene, Told, buy, leave


class Teller:
    """A story with what is told of it."""

    def __init__(self, *faults: AnyFault, **more: object) -> None:
        self.scene = Scene(BTC, ETH, faults={COINS: faults}, **more)
        self.notices = Notices(self.scene.engine)
        self._seen = 0

    def lines(self) -> list[str]:
        """What the steps since last time lead to. The engine is read as it is now, so look after every event."""
        steps = self.scene.told.steps[self._seen :]
        self._seen += len(steps)
        return [line.text for event, step in steps for line in self.notices.after(event, step)]

    def warnings(self, told: Told) -> list[str]:
        found = [line for event, step in told.steps for line in self.notices.after(event, step)]
        self._seen += len(told.steps)
        return [line.text for line in found if line.level == logging.WARNING]


def bought(*faults: AnyFault) -> Teller:
    teller = Teller(*faults)
    teller.scene.bar(None, buy(BTC, qty=100.0))
    teller.scene.bar()
    return teller


def test_trade_from_its_entry_to_its_end_is_told() -> None:
    teller = bought()
    assert "bought 100 coins:BTC/USD at 100 (entry)" in teller.lines()
    teller.scene.bar({BTC: (100.0, 100.0, 97.0, 97.5)})
    assert teller.lines() == [
        "sold 100 coins:BTC/USD at 98 (stop)",
        "closed 100 coins:BTC/USD: stop, -200.00 after fees",
    ]


def test_signal_that_leaves_is_told_as_an_exit() -> None:
    teller = bought()
    teller.lines()
    teller.scene.bar(None, leave(BTC))
    teller.scene.bar()
    assert teller.lines()[:1] == ["sold 100 coins:BTC/USD at 100 (exit)"]


@pytest.mark.parametrize("accepted", [True, False])
def test_order_without_an_answer_is_named_and_its_end_is_told(accepted: bool) -> None:
    teller = Teller(NoAnswer(1, accepted=accepted), interval=MINUTE)
    teller.scene.bar(None, buy(BTC, qty=100.0))
    lost = "entry of 100 coins:BTC/USD: no usable answer (timeout); it may have arrived, and is asked about"
    assert lost in teller.lines()
    teller.scene.bars(3)
    found = "entry of 100 coins:BTC/USD: found, working"
    gone = "entry of 100 coins:BTC/USD: no longer expected, it is not at the venue"
    lines = teller.lines()
    assert (found in lines, gone in lines) == ((False, False) if accepted else (False, True))


def test_refused_stop_is_told_with_its_reason() -> None:
    teller = bought(Reject(2, "the stop price is too near"))
    assert "stop of 100 coins:BTC/USD refused: the stop price is too near" in teller.lines()


def test_order_that_was_not_sent_is_told_with_when_it_may_be() -> None:
    teller = bought()
    teller.lines()
    order = teller.scene.told.of(Protect)[0].id
    withheld = Withheld(teller.scene.now, COINS, order, "too many requests", again=START + 5 * HOUR)
    told = teller.scene.step(withheld)
    assert teller.warnings(told) == ["stop of 100 coins:BTC/USD not sent: too many requests, again at 2024-02-05 05:00"]


def test_stop_that_somebody_cancelled_is_told_and_one_that_made_way_is_not() -> None:
    for reason, expected in (("canceled", 1), ("makes way for an exit", 0)):
        teller = bought()
        teller.lines()
        told = teller.scene.step(Cancelled(teller.scene.now, COINS, teller.scene.told.of(Protect)[0].id, reason))
        assert len([text for text in teller.warnings(told) if "was cancelled at the venue" in text]) == expected


def test_trade_by_hand_is_told() -> None:
    teller = bought()
    teller.lines()
    fill = Fill("hand", BTC.id, 5.0, 100.0, 0.0, USD, Cause.HAND)
    told = teller.scene.step(Filled(teller.scene.now, COINS, None, fill, True))
    assert "bought 5 coins:BTC/USD at 100 (by hand): no order of this session asked for it" in teller.warnings(told)


def test_key_that_is_worth_nothing_is_told_and_so_is_the_halt() -> None:
    teller = bought()
    teller.lines()
    told = teller.scene.step(Rejected(teller.scene.now, COINS, None, "Invalid API-key", locked_out=True))
    assert teller.warnings(told) == [
        "coins does not accept the key: Invalid API-key",
        "latch credentials active → halted: Invalid API-key",
    ]


def test_breaker_is_told_when_it_opens_and_when_it_closes() -> None:
    teller = Teller(Outage(START + HOUR, START + 20 * HOUR))
    for _ in range(8):
        teller.scene.bar(None, buy(BTC, qty=1.0))
    assert any(line.startswith("breaker coins closed → open") for line in teller.lines())


def test_commands_and_latches_are_told() -> None:
    teller = bought()
    teller.lines()
    teller.scene.command(Act.EMERGENCY_STOP)
    assert "latch emergency stop active → halted: emergency_stop by a test" in teller.lines()
    teller.scene.command(Act.RE_ARM)
    assert "trading halted → active: re_arm by a test" in teller.lines()


# ---------------------------------------------------------------- what lasts


def test_position_without_a_stop_is_told_after_two_seconds_and_when_that_is_over() -> None:
    teller = Teller(Reject(2), Reject(3), interval=MINUTE)
    teller.scene.bar(None, buy(BTC, qty=100.0))
    teller.scene.quote(teller.scene.now, {BTC: 100.0})
    teller.lines()
    begun, told = teller.scene.now, []
    for n in range(1, 8):
        teller.scene.beat(begun + n * SECOND)
        told += [(n, line) for line in teller.lines() if "without a stop" in line]
    name = "coins:BTC/USD: held without a stop that the venue has confirmed"
    assert told == [(2, f"{name} for 2 s"), (3, f"{name}: over after 3 s")]


def test_price_that_stays_away_is_told_and_so_is_its_return() -> None:
    teller = bought()
    teller.lines()
    begun = teller.scene.now
    told = []
    for n in range(1, 41):
        teller.scene.beat(begun + n * SECOND)
        told += [(n, line) for line in teller.lines()]
    assert told == [(31, f"coins:{name}/USD: no price for 31 s") for name in ("BTC", "ETH")]
    teller.scene.quote(begun + 41 * SECOND, {BTC: 100.0, ETH: 100.0})
    assert teller.lines() == [f"coins:{name}/USD: no price: over after 41 s" for name in ("BTC", "ETH")]


def test_venue_that_does_not_answer_is_told() -> None:
    teller = Teller(Outage(START + HOUR, START + 3 * HOUR), interval=MINUTE)
    teller.scene.bars(61)
    teller.scene.bar(None, buy(BTC, qty=1.0))
    begun = teller.scene.now
    teller.lines()
    told = []
    for n in range(1, 15):
        teller.scene.beat(begun + n * SECOND)
        told += [(n, line) for line in teller.lines() if "no answer for" in line]
    assert told == [(10, "coins: no answer for 10 s")]


def test_lasting_condition_is_told_again_every_half_minute_and_not_before_its_time() -> None:
    lasting, told = Lasting(), []
    for second in range(75):
        told += [(second, line.text) for line in lasting.see("x", second < 70, 5 * SECOND, second * SECOND)]
    assert told == [(5, "x for 5 s"), (35, "x for 35 s"), (65, "x for 65 s"), (70, "x: over after 70 s")]


def test_condition_that_ends_before_it_was_told_is_not_told() -> None:
    lasting = Lasting()
    lines = [*lasting.see("x", True, 5 * SECOND, 0), *lasting.see("x", False, 5 * SECOND, SECOND)]
    assert lines == [] and lasting.names == []


# ---------------------------------------------------------------- at the journal's place


def test_noticing_journal_writes_first_and_tells_then(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene(BTC, faults={COINS: [Timeout(1)]})
    written = scene.journal
    scene.journal = NoticingJournal(written, Notices(scene.engine))  # type: ignore[assignment]
    scene.journal.steps = written.steps  # type: ignore[attr-defined]
    scene.journal.events = written.events  # type: ignore[attr-defined]
    with caplog.at_level(logging.INFO, "ffe.live.notices"):
        scene.bar(None, buy(BTC, qty=1.0))
    assert any(isinstance(order, Enter) for step in written.steps for order in step.orders)
    assert len([record for record in caplog.records if "no usable answer" in record.message]) == 1


def test_killed_order_is_told() -> None:
    teller = bought(Kill(1, "not enough liquidity"))
    assert "entry of 100 coins:BTC/USD was cancelled at the venue: not enough liquidity" in teller.lines()
