"""What the engine of a live session is made of. The journal's head says it, so that it can be made again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import cast

from ffe.config import Settings
from ffe.engine import Engine
from ffe.errors import RecordError
from ffe.hours import Hours
from ffe.model import DAY, Account, Currency, Instrument, InstrumentId, Nanos, Universe, Venue
from ffe.records.encode import Json, Stamp, build, encode_value
from ffe.research.code import code_version
from ffe.research.columns import Tailing
from ffe.research.find import reference_of, source_of, strategy_of, with_parameters
from ffe.session import Session
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
            "source": reference_of(self.strategy),
            "source_sha256": hashlib.sha256(source_of(self.strategy).encode()).hexdigest(),
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
        head = json.dumps(self.head(), sort_keys=True)
        session = hashlib.sha256(f"{code_version()}\n{head}".encode()).hexdigest()[:32]
        instruments = hashlib.sha256(json.dumps(encode_value(self.traded), sort_keys=True).encode()).hexdigest()
        return Stamp(session, code_version(), self.settings.fingerprint(), instruments)

    def engine(self, session: str) -> Engine:
        """A new engine, not primed."""
        made = Session(session, self.interval)
        return Engine(self.universe, self.hours, self._hears(), self.settings.rules, made, self.warmup)

    def _hears(self) -> Hears:
        if self.strategy.is_columnar:
            return Tailing(self.strategy, self.traded, self.interval)
        return Live(self.strategy.model_copy(deep=True))


def setup_of(head: object, data_folder: object) -> Setup:
    """What a journal's head says was set up."""
    if not isinstance(head, dict) or "traded" not in head:
        raise RecordError("This session was none of trading, and cannot be run again. Name another.")
    settings = Settings(**{**json.loads(str(head["config"])), "data_folder": data_folder})
    return Setup(
        with_parameters(strategy_of(str(head["source"])), cast(dict[str, object], head["parameters"])),
        _instruments(head["traded"]),
        _instruments(head["others"]),
        tuple(build(Account, row) for row in head["accounts"]),
        int(head["interval"]),
        settings,
        int(head["opened"]),
        tuple((Venue(venue), str(mark)) for venue, mark in head.get("marks", {}).items()),
    )


def _instruments(rows: Sequence[dict[str, Json]]) -> tuple[Instrument, ...]:
    return tuple(build(Instrument, row) for row in rows)
