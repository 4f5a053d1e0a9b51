"""The three borders of the loop: where events come from, where orders go, where both are written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from enum import Enum
from typing import Protocol

from ffe.model import Answer, Bars, Command, Event, Heartbeat, InstrumentId, Nanos, Order, Quotes, Step, Venue


class Feed(Protocol):
    """A source of market events in the order of time."""

    def events(self, awaited: Callable[[], Set[InstrumentId]]) -> Iterator[Bars | Quotes | Answer | Heartbeat]:
        """Every event, and live a heartbeat at least every second.

        A replay leaves out the opens of instruments that are not awaited when their instant comes. Answers are what
        came of asking a venue for prices.
        """


class Operator(Protocol):
    """A source of commands: a person's, or a script's."""

    def due(self, time: Nanos) -> Iterable[Command]:
        """The commands given by now; empty, and false, where there are none. Each is asked for once the one before it
        was obeyed."""


class Broker(Protocol):
    """One account at one venue."""

    @property
    def venue(self) -> Venue: ...

    def send(self, order: Order, time: Nanos) -> None:
        """Take an order; what came of it is an Answer, later."""

    def work(self, market: Bars | Quotes | Heartbeat) -> None:
        """Show what the market did, or that time has passed; a live venue has seen it already."""

    def answers(self) -> Sequence[Answer]:
        """What is known by now, each answer once."""

    @property
    def waiting(self) -> Set[InstrumentId]:
        """Instruments on whose next open an order waits."""


class Written(Enum):
    """Whether what a step decided will outlive a crash."""

    YES = "yes"
    NO = "no"  # the disk is full or refuses: entries stay here
    BROKEN = "broken"  # an fsync failed: nothing on this disk can be trusted any more


class Journal(Protocol):
    """The truth of a run: every event before it can change anything, every step before anything leaves."""

    def event(self, event: Event) -> None: ...

    def step(self, step: Step) -> Written: ...
