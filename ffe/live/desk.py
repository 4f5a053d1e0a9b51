"""The operator as the engine hears him: commands over the link to the supervisor, and what he is told in return.

A command is acknowledged once it was obeyed: the engine stepped it, and what it led to has left.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator
from threading import Thread
from time import monotonic
from typing import TYPE_CHECKING

from ffe.live.life import Life, turned
from ffe.live.link import Json, Link, Said
from ffe.model import SECOND, Act, Command, InstrumentId, Nanos
from ffe.risk.guard import TradingState
from ffe.risk.slots import Trade

if TYPE_CHECKING:
    from ffe.engine import Engine
    from ffe.feeds.poll import PollFeed

TOLD_EVERY_SECONDS = 0.5
TO_PROTECT: Nanos = 10 * SECOND  # how long an end waits for what is open to be protected


class Desk:
    def __init__(self, engine: Engine, feed: PollFeed, link: Link) -> None:
        self.engine, self.feed, self.link = engine, feed, link
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

    @property
    def takes_entries(self) -> bool:
        """Nothing is begun while a session ends."""
        return not self._is_to_end

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
        if monotonic() >= self._told_at + TOLD_EVERY_SECONDS:
            self._told_at = monotonic()
            self._follow()
            self.link.say(status=self.status(time))
        return self._commands(time) if self._given else ()

    def _commands(self, time: Nanos) -> Iterator[Command]:
        while self._given:
            said = self._given.popleft()
            if (command := _read(said, time)) is not None:
                yield command
            self.link.say(obeyed=said.get("number"), is_known=command is not None)

    def _follow(self) -> None:
        """READY until every venue agrees with the book, TRADING from then on."""
        is_recovered = not self.engine.guard.disagreements
        if self.life is (Life.READY if is_recovered else Life.TRADING):
            self.turn(Life.TRADING if is_recovered else Life.READY)

    def _wind_up(self, time: Nanos) -> None:
        if self._ends_at is None:
            self._ends_at = time + TO_PROTECT
            self.turn(Life.STOPPING)
        if time >= self._ends_at or all(is_protected(trade) for trade in self.engine.slots.trades()):
            self.feed.stop()

    def status(self, time: Nanos) -> Said:
        engine, book = self.engine, self.engine.book
        return {
            "time": time,
            "life": self.life,
            "state": engine.guard.state,
            "why": engine.guard.why,
            "equity": _known(book.equity),
            "day_pnl": _known(book.day_pnl),
            "unrealized_pnl": _known(sum(book.unrealised(venue) for venue in book.ledgers)),
            "drawdown": _known(book.unit.drawdown),
            "trades": [self._trade(trade) for trade in engine.slots.trades()],
            "foreign": {id: held.qty for ledger in book.ledgers.values() for id, held in ledger.foreign.items()},
            "waiting": [f"{item.instrument} {item.kind}" for item in engine.queue.items],
            "breakers": {venue: breaker.state(time) for venue, breaker in engine.breakers.items()},
            "skew_ms": {venue: _milli(self.feed.skew(venue)) for venue in engine.breakers},
        }

    def _trade(self, trade: Trade) -> Said:
        position = self.engine.book.ours(trade.instrument)
        return {
            "slot": trade.slot, "instrument": trade.instrument, "side": trade.side.name.lower(), "qty": trade.qty,
            "average": _known(trade.average), "stop": _known(trade.stop), "target": _known(trade.target),
            "state": trade.state, "is_protected": is_protected(trade),
            "unrealized_pnl": _known(self.engine.book.gain(trade.instrument, position)),
        }  # fmt: skip

    def farewell(self) -> str:
        """How the account is left."""
        trades = self.engine.slots.trades()
        lines = [f"{t.instrument}: {t.side.name.lower()} {t.qty:g}, {_left(t)}" for t in trades]
        return "\n".join(["Stopped." + ("" if trades else " Nothing of ours is open."), *lines])

    @property
    def is_active(self) -> bool:
        return self.engine.guard.state is TradingState.ACTIVE


def is_protected(trade: Trade) -> bool:
    """Flat, or behind a stop that the venue has confirmed, with nothing else under way."""
    return trade.is_calm and trade.flights[0].rests if trade.qty else not trade.flights


def _left(trade: Trade) -> str:
    rests = trade.qty and is_protected(trade)
    return f"its stop rests at the venue at {trade.stop:g}" if rests else f"NOT PROTECTED: {trade.state}"


def _read(said: Said, time: Nanos) -> Command | None:
    """A command of the supervisor's; None where it means nothing."""
    act, instrument = said.get("act"), said.get("instrument")
    if act not in set(Act) or (act == Act.CLOSE and not isinstance(instrument, str)):
        return None
    return Command(time, Act(str(act)), str(said.get("by")), InstrumentId(str(instrument)) if instrument else None)


def _known(x: float) -> Json:
    return x if math.isfinite(x) else None


def _milli(skew: Nanos | None) -> Json:
    return None if skew is None else skew / 1e6
