"""Run a run again from its journal: the same loop, the same engine, and venues that take orders and send them
nowhere."""

from __future__ import annotations

import tempfile
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

from pydantic import BaseModel, Field, ValidationError

from ffe.config import Settings
from ffe.data.barset import BarSet
from ffe.data.cache import Cache
from ffe.engine import run
from ffe.errors import RecordError, Tampered
from ffe.hours import Hours
from ffe.model import Nanos, Order
from ffe.records.chain import JOURNAL, as_line
from ffe.records.encode import digest, loads
from ffe.records.journal import RunJournal
from ffe.records.reader import texts
from ffe.records.replay import Difference, compare, events
from ffe.research.code import code_version
from ffe.research.find import with_parameters
from ffe.research.trust import Said, strategy_said

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


Time = Annotated[int, Field(ge=-(2**63), lt=2**63)]


class _Series(BaseModel):
    symbol: str
    venue: str
    interval: Annotated[int, Field(gt=0, lt=2**63)]
    first: Time
    last: Time
    bars: int


class _Run(BaseModel):
    source: str
    source_sha256: str
    versions: dict[str, str] = {}
    parameters: dict[str, object]
    start: Time
    series: list[_Series]
    world: str
    config: str


class _Head(BaseModel):
    """The journal's first line, as far as running it again needs it."""

    session: str
    code: str
    data: str
    head: _Run


def head_of(folder: Path) -> _Head:
    """What a run says of itself, if it is what was written: the second line carries the hash of the first."""
    first, second = (*islice(texts(folder / JOURNAL), 2), None, None)[:2]
    if first is None:
        raise RecordError(f"{folder}: the journal is empty. Nothing was run here.")
    where, text = first
    try:
        head = _Head.model_validate(as_line(loads(text)).body)
        if second is not None and as_line(loads(second[1])).prev != digest(text):
            raise ValueError("the next line carries another hash than this one's")
    except ValueError as error:
        raise Tampered(
            f"{where}: {_said(error)}. See what else was changed: ffe decisions verify --run {folder}"
        ) from None
    return head


def _said(error: ValueError) -> str:
    """In one line what pydantic says in several."""
    if not isinstance(error, ValidationError):
        return str(error)
    return "; ".join(f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors())


def plan_of(folder: Path, data_folder: Path, other_code: bool = False, strategy: str | None = None) -> Plan:
    """What was run in a folder, assembled anew from its journal's first line and the cache; strategy is where the user
    says that its code is."""
    from ffe.research.backtest import Plan, World

    head = head_of(folder)
    was = head.head
    if head.code != code_version() and not other_code:
        raise RecordError(
            f"{folder} was run by {head.code}, this is {code_version()}: only the same code must give the same bytes. "
            "Compare all the same with --other-code."
        )
    settings = settings_said(folder, was.config, data_folder)
    bars = _bars(was.series, settings)
    if bars.fingerprint() != head.data:
        raise RecordError(
            f"{folder} was run on other bars than {settings.cache_path} now holds: their fingerprint was "
            f"{head.data[:12]}, it is {bars.fingerprint()[:12]}. Load the run's own data again."
        )
    said = Said(folder, head.session, was.source, was.source_sha256, was.versions)
    chosen = with_parameters(strategy_said(said, strategy, other_code), was.parameters)
    # The code's version is part of a session, and the session of every id: other code has to take over the run's own.
    session = head.session if other_code else None
    return Plan(chosen, bars, settings, was.start, World(), was.world, session, was.source)


def settings_said(folder: Path, config: str, data_folder: Path) -> Settings:
    """A record's own settings; RecordError where they are none of this version."""
    try:
        said = loads(config)
        if not isinstance(said, dict) or any(name.startswith("_") for name in said):
            raise ValueError("no table of settings")
        return Settings(**{**cast(Any, said), "data_folder": data_folder})
    except ValueError as error:
        raise RecordError(
            f"{folder}: these settings are not this version's: {_said(error)}. Replay it with the version that ran it."
        ) from None


def _bars(series: list[_Series], settings: Settings) -> BarSet:
    cache, found = Cache(settings.cache_path), []
    for one in series:
        instrument = settings.instrument(one.symbol)
        hours = Hours.of(instrument.hours, one.first, one.last)
        found.append(cache.get(instrument, one.interval, one.first, one.last, hours))
    return BarSet(tuple(found))
