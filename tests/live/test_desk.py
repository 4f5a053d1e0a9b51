"""The operator's side of the engine's process: commands in their order, and an end that leaves nothing unprotected."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import ccxt
import pytest

from ffe.feeds.agenda import Wanted
from ffe.feeds.poll import PollFeed
from ffe.live import desk as desks
from ffe.live.desk import Desk
from ffe.live.life import Life
from ffe.live.link import Link, Said
from ffe.model import HOUR, SECOND, Accepted, Act, Cancelled, Command, Protect
from ffe.risk.guard import TradingState
from ffe.wire.ccxt_wire import CcxtMarket
from tests.story.scene import BTC, COINS, ETH, Scene, buy
from tests.venues.server import Server

EXPIRES = 2**62


class Office:
    """A desk before an engine with one open trade, and the other end of its line."""

    def __init__(self, client: ccxt.binance) -> None:
        self.scene = Scene(BTC, ETH)
        self.scene.bar(None, buy(BTC, qty=100.0))
        self.scene.bar()
        markets = {COINS: CcxtMarket(client)}
        wanted = [Wanted(instrument, HOUR) for instrument in self.scene.universe]
        self.feed = PollFeed(markets, wanted, self.scene.hours, lambda: self.scene.now)
        ours, theirs = socket.socketpair()
        self.far = Link(theirs)
        self.desk = Desk(self.scene.engine, self.feed, Link(ours), EXPIRES)
        self.desk.turn(Life.READY)
        self.desk.turn(Life.TRADING)

    @property
    def stop(self) -> Protect:
        return self.scene.told.of(Protect)[-1]

    def commands(self) -> list[Command]:
        return list(self.desk.due(self.scene.now))

    def received(self) -> list[Said]:
        self.far.end.setblocking(False)
        return self.far.heard()

    @property
    def has_ended(self) -> bool:
        return self.feed._is_stopped

    def unconfirm(self) -> None:
        """The stop is gone, and the one in its place has left and was not answered."""
        self.scene.engine.step(Cancelled(self.scene.now, COINS, self.stop.id, "canceled"))


@pytest.fixture
def office(binance: tuple[Server, ccxt.binance]) -> Iterator[Office]:
    made = Office(binance[1])
    yield made
    made.desk.link.close()
    made.far.close()


def test_end_comes_at_once_where_every_stop_is_confirmed(office: Office) -> None:
    office.desk.end()
    assert not office.desk.takes_entries(0) and not office.has_ended
    office.commands()
    assert office.has_ended and office.desk.life is Life.STOPPING
    assert office.desk.farewell() == "Stopped.\ncoins:BTC/USD: long 100, its stop rests at the venue at 98"


def test_end_waits_until_the_venue_has_confirmed_the_stop(office: Office) -> None:
    office.unconfirm()
    office.desk.end()
    office.commands()
    assert not office.has_ended
    (trade,) = office.scene.engine.slots.trades()
    office.scene.engine.step(Accepted(office.scene.now, COINS, trade.flights[-1].order))
    office.commands()
    assert office.has_ended


def test_end_waits_ten_seconds_at_most_and_says_what_is_not_protected(office: Office) -> None:
    office.unconfirm()
    office.desk.end()
    office.commands()
    office.scene.now += 10 * SECOND - 1
    office.commands()
    assert not office.has_ended
    office.scene.now += 1
    office.commands()
    assert office.has_ended and "NOT PROTECTED (its stop: sent)" in office.desk.farewell()


def test_command_is_acknowledged_after_it_was_obeyed(office: Office) -> None:
    office.desk.give({"act": Act.PAUSE, "by": "a test", "number": 7})
    office.received()
    due = iter(office.desk.due(office.scene.now))
    assert next(due) == Command(office.scene.now, Act.PAUSE, "a test")
    assert not [said for said in office.received() if "obeyed" in said], "not before the engine has stepped it"
    assert next(due, None) is None
    assert [said for said in office.received() if "obeyed" in said] == [{"obeyed": 7, "is_known": True}]


def test_commands_keep_their_order(office: Office) -> None:
    for number, act in enumerate((Act.PAUSE, Act.EMERGENCY_STOP, Act.RE_ARM)):
        office.desk.give({"act": act, "by": "a test", "number": number})
    assert [command.act for command in office.commands()] == [Act.PAUSE, Act.EMERGENCY_STOP, Act.RE_ARM]


@pytest.mark.parametrize("said", [{"act": "dance"}, {"act": Act.CLOSE}, {"act": Act.CLOSE, "instrument": 5}, {}])
def test_command_that_means_nothing_is_answered_as_not_understood(office: Office, said: Said) -> None:
    office.desk.give({**said, "number": 3})
    office.received()
    assert office.commands() == []
    assert [each for each in office.received() if "obeyed" in each] == [{"obeyed": 3, "is_known": False}]


def test_status_is_sent_twice_a_second_and_no_oftener(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    time = 1_000.0
    monkeypatch.setattr(desks, "monotonic", lambda: time)
    counts = []
    for time in (1_000.0, 1_000.4, 1_000.5, 1_000.9, 1_001.0):  # noqa: B007 (read by the clock)
        office.commands()
        counts.append(sum("status" in said for said in office.received()))
    assert counts == [1, 0, 1, 0, 1]


def test_session_only_reduces_once_what_was_armed_has_expired(office: Office) -> None:
    """Expiry was looked at once, at the start."""
    office.desk.expires = office.scene.now + 1
    assert office.commands() == [] and office.desk.takes_entries(office.scene.now)
    office.desk.expires = office.scene.now
    assert not office.desk.takes_entries(office.scene.now)
    (command,) = office.commands()
    assert command.act is Act.PAUSE and "arming file, which has expired" in command.by
    office.scene.engine.step(command)
    assert office.scene.engine.guard.state is TradingState.REDUCING
    assert office.commands() == [], "it is paused"
    office.scene.engine.guard.resume()
    assert [command.act for command in office.commands()] == [Act.PAUSE], "and cannot be resumed"


@pytest.mark.parametrize("instrument", [None, "", "coins:NO/USD", 7])
def test_close_of_what_is_not_traded_is_not_understood(office: Office, instrument: object) -> None:
    """It was said to be obeyed."""
    office.desk.give({"act": Act.CLOSE, "number": 3, "instrument": instrument})  # type: ignore[dict-item]
    assert office.commands() == []
    assert {"obeyed": 3, "is_known": False} in office.received()
