"""What the engine of a live session is made of. The journal's head says it, so that it can be made again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field

from ffe.config import Settings
from ffe.engine import Engine
from ffe.hours import Hours
from ffe.model import DAY, Account, Currency, Instrument, InstrumentId, Nanos, Universe, Venue
from ffe.records.encode import Json, Stamp, build, canonical, encode_value
from ffe.records.reader import believed
from ffe.research.code import code_of, code_version, versions
from ffe.research.columns import Tailing
from ffe.research.find import reference_of, with_parameters
from ffe.research.rerun import settings_said
from ffe.research.trust import Said, strategy_said
from ffe.session import Session, session_id
from ffe.strategy import Hears, Live, Strategy, warmup_of

AHEAD: Nanos = 366 * DAY  # how far hours are known


@dataclass(frozen=True)
class Setup:
    """traded are the instruments that the strategy sees; the universe may hold others, which only have a past; marks
    tell each venue's account from others: a journal must not be taken for that of another account."""

    strategy: Strategy
    traded: tuple[Instrument, ...]
    others: tuple[Instrument, ...]
    accounts: tuple[Account, ...]
    interval: Nanos
    settings: Settings
    opened: Nanos
    marks: tuple[tuple[Venue, str], ...] = ()
    source_said: str | None = None  # by the journal that is run again

    @cached_property
    def universe(self) -> Universe:
        return Universe((*self.traded, *self.others), self.accounts, Currency(self.settings.currency))

    @cached_property
    def hours(self) -> dict[InstrumentId, Hours]:
        names = {name: Hours.of(name, self.opened, self.opened + AHEAD) for name in {i.hours for i in self.universe}}
        return {instrument.id: names[instrument.hours] for instrument in self.universe}

    @property
    def warmup(self) -> int:
        return max(1, warmup_of(self.strategy))

    def head(self) -> dict[str, Json]:
        return {
            "strategy": self.strategy.name,
            "source": self.source_said or reference_of(self.strategy),
            "source_sha256": code_of(self.strategy),
            "versions": {**versions()},
            "parameters": json.loads(self.strategy.model_dump_json()),
            "traded": encode_value(self.traded),
            "others": encode_value(self.others),
            "accounts": encode_value(self.accounts),
            "currency": self.settings.currency,
            "interval": self.interval,
            "opened": self.opened,
            "config": self.settings.as_json(),
            **({"marks": dict(self.marks)} if self.marks else {}),  # which older journals have not
        }

    def stamp(self) -> Stamp:
        """The session's name follows from what it is and from when it was opened."""
        instruments = hashlib.sha256(json.dumps(encode_value(self.traded), sort_keys=True).encode()).hexdigest()
        session = session_id(code_version(), instruments, canonical(self.head()))
        return Stamp(session, code_version(), self.settings.fingerprint(), instruments)

    def engine(self, session: str) -> Engine:
        """A new engine, not primed."""
        made = Session(session, self.interval)
        return Engine(self.universe, self.hours, self._hears(), self.settings.rules, made, self.warmup)

    def _hears(self) -> Hears:
        if self.strategy.is_columnar:
            return Tailing(self.strategy, self.traded, self.interval)
        return Live(self.strategy.model_copy(deep=True))


class _Head(BaseModel):
    """A journal's head, as far as running it again needs it."""

    source: str
    source_sha256: str
    versions: dict[str, str] = {}
    parameters: dict[str, object]
    traded: list[dict[str, Any]]
    others: list[dict[str, Any]]
    accounts: list[dict[str, Any]]
    interval: Annotated[int, Field(gt=0, lt=2**63)]
    opened: Annotated[int, Field(ge=0, lt=2**63)]
    config: str
    marks: dict[str, str] = {}


def setup_of(records: Path, session: str, head: object, strategy: str | None, other_code: bool) -> Setup:
    """What a journal's head says was set up; strategy is where the user says that its code is. Tampered where it is no
    head of a session of trading."""
    with believed(f"the head of session {session}", records):
        was = _Head.model_validate(head)
        traded, others = _instruments(was.traded), _instruments(was.others)
        accounts = tuple(build(Account, row) for row in was.accounts)
        if homeless := {i.venue for i in (*traded, *others)} - {account.venue for account in accounts}:
            raise ValueError(f"instruments of {', '.join(sorted(homeless))}, and no account there")
    settings = settings_said(records, was.config, records)
    said = Said(records, session, was.source, was.source_sha256, was.versions)
    return Setup(
        strategy=with_parameters(strategy_said(said, strategy, other_code), was.parameters),
        traded=traded,
        others=others,
        accounts=accounts,
        interval=was.interval,
        settings=settings,
        opened=was.opened,
        marks=tuple((Venue(venue), mark) for venue, mark in was.marks.items()),
        source_said=was.source,
    )


def _instruments(rows: Sequence[Mapping[str, Json]]) -> tuple[Instrument, ...]:
    return tuple(build(Instrument, row) for row in rows)
