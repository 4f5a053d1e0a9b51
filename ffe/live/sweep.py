"""Closes everything that one account holds of the session's instruments, whosever it is: an operator has lost the
journal, has seen what the venue shows, and has typed the account's id.

Entries that rest are taken back first; each position is then closed with its own stops making way; last goes what still
rests. It is done when the venue shows no position that can be sold and no open order.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from ffe.book import Book
from ffe.live.closer import FIRST_PAUSE, LONGEST_PAUSE, REPEATED_EVERY, Exits, Timer
from ffe.live.reading import NoReading, Reading, VenueReader
from ffe.model import (
    SECOND,
    Answer,
    Cancel,
    Exit,
    InstrumentId,
    Nanos,
    OrderId,
    Qty,
    Quote,
    Quotes,
    Rejected,
    Step,
    Withheld,
)
from ffe.ports import Journal
from ffe.wire.errors import Denied, Unclear

REASON = "everything is to be closed"
AGAIN_AFTER: Nanos = 3 * SECOND  # before a position is sold again that the venue still shows


class Sweep:
    """One venue's. Everything that happens is reported by say."""

    def __init__(
        self, reader: VenueReader, exits: Exits, journal: Journal, timer: Timer, say: Callable[[str], None]
    ) -> None:  # fmt: skip
        self.reader, self._exits, self._journal, self.timer, self._say = reader, exits, journal, timer, say
        self.broker = reader.broker
        self._sold: dict[InstrumentId, Nanos] = {}

    def close(self) -> None:
        """Until the venue shows flat, however long that takes."""
        pause, reported, at = FIRST_PAUSE, "", self.timer.now()
        while shown := self.round():
            now = self.timer.now()
            if shown != reported or now >= at + REPEATED_EVERY:
                self._say(f"{self.broker.venue}: not flat yet: {shown}")
                reported, at = shown, now
            self.timer.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def round(self) -> str:
        """Close what the venue shows; what it still shows then, "" if it is flat."""
        try:
            reading = self.reader.read()
            self.broker.claim()
        except (NoReading, Unclear, Denied) as error:
            return str(error)
        self._cancel(reading, entries=True)
        for id, qty in reading.sellable().items():
            self._exit(id, qty, reading)
        try:
            left = self.reader.read()
        except NoReading as error:
            return str(error)
        self._cancel(left, entries=not left.sellable())
        held = [f"{id} {qty:g}" for id, qty in left.sellable().items()]
        return ", ".join([*held, *(f"{order.instrument} order {order.number}" for order in left.orders)])

    def _cancel(self, reading: Reading, entries: bool) -> None:
        """Take back what could open something; once nothing is held, everything."""
        held = reading.sellable()
        for order in reading.orders:
            if entries and (not order.reduces or order.instrument not in held):
                self._send(Cancel(self.broker.venue, OrderId(order.number)))

    def _exit(self, id: InstrumentId, qty: Qty, reading: Reading) -> None:
        now = self.timer.now()
        if now < self._sold.get(id, now):
            return
        book = Book(self.broker.universe, 1)
        book.see(Quotes(now, tuple(Quote(each, mid) for each, mid in reading.prices.items())))
        made = self._exits.exit(id, None, qty, book, REASON, now)
        if made is None:
            return
        record, order = made
        self._say(f"{id}: closing {qty:g}")
        self._sold[id] = now + AGAIN_AFTER
        self._journal.step(Step(math.nan, (record,), (order,)))
        for answer in self._send(order):
            if isinstance(answer, Rejected | Withheld):
                self._say(f"{id}: its exit was refused: {answer.reason}")

    def _send(self, order: Cancel | Exit) -> list[Answer]:
        self.broker.send(order, self.timer.now())
        answers = list(self.broker.answers())
        for answer in answers:
            self._journal.event(answer)
        return answers
