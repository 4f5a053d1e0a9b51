"""Run a run again from its journal: the same loop, the same engine, and venues that take orders and send them
nowhere."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel

from ffe.config import Settings
from ffe.data.barset import BarSet
from ffe.data.cache import Cache
from ffe.engine import run
from ffe.errors import RecordError
from ffe.hours import Hours
from ffe.model import Nanos, Order
from ffe.records.chain import Line
from ffe.records.journal import RunJournal
from ffe.records.reader import lines
from ffe.records.replay import Difference, compare, events
from ffe.research.code import code_version
from ffe.research.find import strategy_of, with_parameters

if TYPE_CHECKING:
    from ffe.research.backtest import Plan


class Nowhere:
    """Takes every order and does nothing: the answers are in the journal."""

    def send(self, order: Order, time: Nanos) -> None:
        pass

    def withhold(self, order: Order, time: Nanos) -> None:
        pass

    def distrust(self, time: Nanos) -> None:
        pass


def rerun(folder: Path, plan: Plan, other_code: bool = False) -> Difference | None:
    """None if the journal, run again, gives the same bytes; else the first place where it does not."""
    with tempfile.TemporaryDirectory() as scratch:
        again = Path(scratch) / folder.name
        with RunJournal(again, plan.stamp, plan.described()) as journal:
            run(events(folder, plan.feed().events(frozenset)), plan.engine(), Nowhere(), journal)
        return compare(folder, again, other_code)


def head_of(folder: Path) -> Line:
    for _, line in lines(folder):
        return line
    raise RecordError(f"{folder}: the journal is empty. Nothing was run here.")


class _Series(BaseModel):
    symbol: str
    venue: str
    interval: int
    first: int
    last: int
    bars: int


class _Head(BaseModel):
    """The journal's first line, as far as running it again needs it."""

    source: str
    parameters: dict[str, object]
    start: int
    series: list[_Series]
    world: str
    config: str


def plan_of(folder: Path, data_folder: Path, other_code: bool = False) -> Plan:
    """What was run in a folder, assembled anew from its journal's first line and the cache."""
    from ffe.research.backtest import Plan, World

    body = head_of(folder).body
    head, code, data = _Head.model_validate(body["head"]), str(body["code"]), str(body["data"])
    if code != code_version() and not other_code:
        raise RecordError(
            f"{folder} was run by {code}, this is {code_version()}: only the same code must give the same bytes. "
            "Compare all the same with --other-code."
        )
    settings = Settings(**{**json.loads(head.config), "data_folder": data_folder})
    bars = _bars(head.series, settings)
    if bars.fingerprint() != data:
        raise RecordError(
            f"{folder} was run on other bars than {settings.cache_path} now holds: their fingerprint was {data[:12]}, "
            f"it is {bars.fingerprint()[:12]}. Load the run's own data again."
        )
    strategy = with_parameters(strategy_of(head.source), head.parameters)
    # The code's version is part of a session, and the session of every id: other code has to take over the run's own.
    session = str(body["session"]) if other_code else None
    return Plan(strategy, bars, settings, head.start, World(), head.world, session)


def _bars(series: list[_Series], settings: Settings) -> BarSet:
    cache, found = Cache(settings.cache_path), []
    for one in series:
        instrument = settings.instrument(one.symbol)
        hours = Hours.of(instrument.hours, one.first, one.last)
        found.append(cache.get(instrument, one.interval, one.first, one.last, hours))
    return BarSet(tuple(found))
