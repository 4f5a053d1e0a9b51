"""From a decision to its adapter, as a live session does it: records and journal on a real disk, in between.

The clock starts when the engine's step has come to an order, and stops when a broker is handed it: the decision's file
(written, fsynced, linked, its folder fsynced), the journal's line with the engine's state (fdatasync), and the door
that counts approvals. The marks are p50 <= 2 ms and p99 <= 15 ms. Beside it, in the same run, what the disk takes for
the bare calls of one such step.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parent.parent))

import ffe
from ffe.brokers.sim import SimBroker
from ffe.engine import Engine, run
from ffe.feeds.bars import BarFeed
from ffe.feeds.merge import Venues, merge
from ffe.hours import Hours, instant
from ffe.model import HOUR, Bars, Cancel, Event, Nanos, Order, Query, Side, Signal, Step
from ffe.ports import Written
from ffe.records.encode import Stamp, encode_value
from ffe.records.journal import LiveJournal
from ffe.research.operator import ScriptedOperator
from ffe.session import Session
from ffe.strategy import Live, Strategy, View

BARS, SYMBOLS = 1_500, ("BTC/USD", "ETH/USD", "SOL/USD")


class Restless(Strategy):
    """In and out of everything."""

    @property
    def warmup(self) -> int:
        return 1

    def on_event(self, view: View) -> Sequence[Signal]:
        if not isinstance(view.event, Bars):
            return []
        hour = view.time // HOUR
        return [
            Signal(id, Side.LONG if hour % 6 < 3 else Side.FLAT, 85, self.name)
            for n, id in enumerate(view.instruments)
            if (hour + n) % 3 == 0
        ]


@dataclass
class Timed:
    """A journal and a door, and how long it is from the one to the other."""

    journal: LiveJournal
    venues: Venues
    decided: float = 0.0
    taken: list[float] = field(default_factory=list)

    def event(self, event: Event) -> None:
        self.journal.event(event)

    def step(self, step: Step) -> Written:
        self.decided = time.perf_counter()
        return self.journal.step(step)

    def send(self, order: Order, at: Nanos) -> None:
        if not isinstance(order, Cancel | Query):
            self.taken.append(time.perf_counter() - self.decided)
        self.venues.send(order, at)

    def withhold(self, order: Order, at: Nanos) -> None:
        self.venues.withhold(order, at)

    def distrust(self, at: Nanos) -> None:
        self.venues.distrust(at)


def session(folder: Path) -> list[float]:
    """Seconds from decision to adapter, one an order."""
    settings = ffe.load_settings().but(watch={"day_loss_ratio": 1.0, "day_gain_ratio": 1.0}, gate={"drawdown_ratio": 1})
    start = instant("2024-01-01")
    bars = ffe.synthetic([settings.instrument(name) for name in SYMBOLS], HOUR, start, BARS, seed=5)
    universe = settings.universe(bars.instruments)
    hours = {i.id: Hours.of(i.hours, start, start + BARS * HOUR) for i in universe}
    engine = Engine(universe, hours, Live(Restless()), settings.rules, Session("benchmark", HOUR), 1)
    venues = Venues(
        universe, [SimBroker(universe, v, 100_000.0) for v in universe.accounts], engine.gatekeeper.approvals
    )
    journal = LiveJournal(folder, Stamp("benchmark", "code", "config", "data"), {}, lambda: encode_value(engine.save()))
    timed = Timed(journal, venues)
    run(merge(BarFeed(bars, hours), ScriptedOperator(engine), venues, engine.awaited), engine, timed, timed)
    journal.close()
    return timed.taken


def bare(folder: Path, rounds: int) -> list[float]:
    """The disk's own part of one decision: a file of its own, its folder, and a line."""
    handle = os.open(folder, os.O_RDONLY)
    line = os.open(folder / "line", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    taken = []
    for n in range(rounds):
        began = time.perf_counter()
        file = os.open(folder / f"{n}.tmp", os.O_CREAT | os.O_WRONLY)
        os.write(file, b"x" * 2_000)
        os.fdatasync(file)
        os.close(file)
        (folder / f"{n}").hardlink_to(folder / f"{n}.tmp")
        (folder / f"{n}.tmp").unlink()
        os.fdatasync(handle)
        os.write(line, b"x" * 4_000)
        os.fdatasync(line)
        taken.append(time.perf_counter() - began)
    return taken


def main() -> None:
    table = Table("", "orders", "p50 ms", "p99 ms", "max ms")
    with tempfile.TemporaryDirectory(dir=".") as here:
        for name, taken in (("decision to adapter", session(Path(here))), ("the disk alone", bare(Path(here), 1_000))):
            p50, p99, most = (1e3 * x for x in (*np.quantile(taken, (0.5, 0.99)), max(taken)))
            table.add_row(name, f"{len(taken):,}", f"{p50:.2f}", f"{p99:.2f}", f"{most:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
