"""The operator as the engine hears him: commands over the link to the supervisor, and what he is told in return.

A command is acknowledged once it was obeyed: the engine stepped it, and what it led to has left.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from threading import Thread
from time import monotonic
from typing import TYPE_CHECKING

from ffe.live.life import Life, turned
from ffe.live.link import Json, Link, Said
from ffe.live.status import is_settled, protection, report
from ffe.model import SECOND, Act, Command, InstrumentId, Nanos
from ffe.risk.slots import Trade

if TYPE_CHECKING:
    from ffe.engine import Engine
    from ffe.feeds.poll import PollFeed

TOLD_EVERY_SECONDS = 0.5
EXPIRED = "the arming file, which has expired: arm again, and start again"
TO_PROTECT: Nanos = 10 * SECOND  # how long an end waits for what is open to be protected


class Desk:
    def __init__(self, engine: Engine, feed: PollFeed, link: Link, expires: Nanos) -> None:
        """expires is when what was armed is no longer: from then on the session only reduces."""
        self.engine, self.feed, self.link, self.expires = engine, feed, link, expires
        self.life = Life.RECOVERING
        self._given: deque[Said] = deque()
        self._told_at = 0.0
        self._ends_at: Nanos | None = None
        self._is_to_end = False

    def open(self) -> None:
        """Listen from now on."""
        self.turn(Life.READY)
        Thread(target=self._listen, name="supervisor", daemon=True).start()

    def turn(self, life: Life) -> None:
        self.life = turned(self.life, life)
        self.link.say(life=self.life)

    def takes_entries(self, time: Nanos) -> bool:
        """Nothing is begun while a session ends, or when what was armed has expired."""
        return not self._is_to_end and time < self.expires

    def end(self) -> None:
        """From any thread: end as soon as what is open is protected."""
        self._is_to_end = True
        self.feed.wake()

    def give(self, said: Said) -> None:
        self._given.append(said)
        self.feed.wake()

    def _listen(self) -> None:
        """Without a supervisor nobody could stop this process: it ends."""
        for said in self.link.listen():
            if said.get("end"):
                self.end()
            else:
                self.give(said)
        self.end()

    # ------------------------------------------------------------ in the engine's thread

    def due(self, time: Nanos) -> Iterable[Command]:
        if self._is_to_end:
            self._wind_up(time)
        if time >= self.expires and not self.engine.guard.paused:
            self._given.append({"act": Act.PAUSE, "by": EXPIRED})
        if monotonic() >= self._told_at + TOLD_EVERY_SECONDS:
            self._told_at = monotonic()
            self._follow()
            self.link.say(status=self.status(time))
        return self._commands(time) if self._given else ()

    def _commands(self, time: Nanos) -> Iterator[Command]:
        while self._given:
            said = self._given.popleft()
            if (command := self._read(said, time)) is not None:
                yield command
            self.link.say(obeyed=said.get("number"), is_known=command is not None)

    def _read(self, said: Said, time: Nanos) -> Command | None:
        """A command of the supervisor's; None where it means nothing, or names what is not traded here."""
        act, instrument = said.get("act"), said.get("instrument")
        id = InstrumentId(instrument) if isinstance(instrument, str) else None
        if act not in set(Act) or (act == Act.CLOSE and (id is None or id not in self.engine.universe)):
            return None
        return Command(time, Act(str(act)), str(said.get("by")), id)

    def _follow(self) -> None:
        """READY until every venue agrees with the book, TRADING from then on."""
        is_recovered = not self.engine.guard.disagreements
        if self.life is (Life.READY if is_recovered else Life.TRADING):
            self.turn(Life.TRADING if is_recovered else Life.READY)

    def _wind_up(self, time: Nanos) -> None:
        if self._ends_at is None:
            self._ends_at = time + TO_PROTECT
            self.turn(Life.STOPPING)
        if time >= self._ends_at or all(is_settled(trade) for trade in self.engine.slots.trades()):
            self.feed.stop()

    def status(self, time: Nanos) -> Said:
        skews: Said = {venue: _milli(self.feed.skew(venue)) for venue in self.engine.breakers}
        return {**report(self.engine, time), "life": self.life, "skew_ms": skews}

    def farewell(self) -> str:
        """How the account is left."""
        trades = self.engine.slots.trades()
        lines = [f"{t.instrument}: {t.side.name.lower()} {t.qty:g}, {_left(t)}" for t in trades]
        return "\n".join(["Stopped." + ("" if trades else " Nothing of ours is open."), *lines])


def _left(trade: Trade) -> str:
    """How an open trade is left: only what the venue has confirmed is called protected."""
    rests = f"its stop rests at the venue at {trade.stop:g}"
    return rests if protection(trade) == "rests" else f"NOT PROTECTED (its stop: {protection(trade)}): {trade.state}"


def _milli(skew: Nanos | None) -> Json:
    return None if skew is None else skew / 1e6
