"""The one stream: who is heard when, in an instant and in a heartbeat."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass

from ffe.feeds.merge import merge
from ffe.model import (
    HOUR,
    SECOND,
    AccountRead,
    Act,
    Answer,
    Bars,
    Command,
    Failed,
    Fault,
    Filled,
    Heartbeat,
    InstrumentId,
    Nanos,
    Query,
    Quote,
    Quotes,
)  # fmt: skip
from tests.story.scene import BTC, COINS, START, Scene, Told, buy


@dataclass(frozen=True, slots=True)
class Said:
    """A feed of these items."""

    items: Sequence[Bars | Quotes | Answer | Heartbeat]

    def events(self, awaited: Callable[[], Set[InstrumentId]]) -> Iterator[Bars | Quotes | Answer | Heartbeat]:
        yield from self.items


def kinds(told: Told) -> list[str]:
    return [type(event).__name__ for event, _ in told.steps]


def paused(at: Nanos) -> Scene:
    return Scene(BTC, commands=[Command(at, Act.PAUSE, "a test")])


def quotes(time: Nanos) -> Quotes:
    return Quotes(time, (Quote(BTC.id, 100.0),))


def test_in_a_heartbeat_venues_are_heard_though_nobody_stirred_them() -> None:
    scene = Scene(BTC)
    scene.bar()
    scene.brokers[COINS].send(Query(COINS, None), scene.now)  # it learns something by itself
    told = scene.play(Said([Heartbeat(scene.now + SECOND)]))
    assert kinds(told) == ["AccountRead", "Heartbeat"] and isinstance(told.answers[0], AccountRead)


def test_at_a_heartbeat_the_operator_is_asked_before_the_engine_learns_the_time() -> None:
    scene = paused(START + HOUR + 3 * SECOND)
    scene.bar()
    told = scene.play(Said([Heartbeat(scene.now + n * SECOND) for n in range(1, 6)]))
    assert kinds(told) == ["Heartbeat", "Heartbeat", "Command", "Heartbeat", "Heartbeat", "Heartbeat"]
    assert told.steps[2][0] == Command(START + HOUR + 3 * SECOND, Act.PAUSE, "a test")


def test_a_command_is_heard_before_the_prices_of_its_instant() -> None:
    scene = paused(START + HOUR + 2 * SECOND)
    scene.bar()
    told = scene.play(Said([quotes(scene.now + n * SECOND) for n in (1, 3)]))
    assert kinds(told) == ["Quotes", "Command", "Quotes"]


class Clerk:
    """An operator who wants nothing, and keeps when it was asked."""

    def __init__(self) -> None:
        self.asked: list[Nanos] = []

    def due(self, time: Nanos) -> Iterable[Command]:
        self.asked.append(time)
        return ()


def test_the_operator_is_asked_once_in_an_instant() -> None:
    scene, clerk = Scene(BTC), Clerk()
    said = [
        Bars(START + HOUR, ()),
        quotes(START + HOUR),
        quotes(START + HOUR + SECOND),
        Heartbeat(START + HOUR + 2 * SECOND),
    ]
    list(merge(Said(said), clerk, scene.venues, scene.engine.awaited))
    assert clerk.asked == [START + HOUR, START + HOUR + SECOND, START + HOUR + 2 * SECOND]


def test_an_entry_that_a_command_at_its_open_takes_back_does_not_fill() -> None:
    for at, fills in ((START + 2 * HOUR + SECOND, False), (START + 2 * HOUR + 2 * SECOND, True)):
        scene = Scene(BTC, commands=[Command(at, Act.EMERGENCY_STOP, "a test")])
        scene.bars(2, buy(BTC))
        told = scene.play(Said([quotes(scene.now + SECOND)]))
        assert any(isinstance(answer, Filled) for answer in told.answers) is fills


def test_what_a_feed_heard_of_a_venue_is_an_event() -> None:
    scene = Scene(BTC)
    failed = Failed(START + SECOND, COINS, None, Fault.TIMEOUT, True)
    assert [event for event, _ in scene.play(Said([failed])).steps] == [failed]
