"""What real money needs: a file that names venue, account, limits and settings, not older than a day, and somebody who
types the account's name. Any mismatch refuses to start; nothing is ever traded on paper instead.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from ffe.config import Settings
from ffe.errors import ConfigError
from ffe.hours import stamp
from ffe.live.connect import Connector
from ffe.model import HOUR, Nanos, Venue
from ffe.research.code import code_version

LASTS: Nanos = 24 * HOUR


class Arming(BaseModel):
    """accounts are venue -> account id, data_folder is where its records and its latch are; config and code are hashes
    of what was looked at when this was signed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    accounts: dict[str, str]
    data_folder: str
    limits: dict[str, float]
    config: str
    code: str
    signed: Nanos
    expires: Nanos

    @model_validator(mode="after")
    def _lasts_a_day(self) -> Self:
        if not 0 < self.expires - self.signed <= LASTS:
            raise ValueError("it must expire within 24 hours of its signing")
        return self


def limits_of(settings: Settings, symbols: Sequence[str]) -> dict[str, float]:
    """C3 and C4, which must be set to trade real money."""
    rules = settings.controls
    names = sorted({settings.instrument(symbol).symbol for symbol in symbols})
    found = {
        **{name: getattr(rules, name) for name in ("max_order_value", "max_day_notional", "max_day_loss")},
        **{f"max_order_qty.{symbol}": rules.max_order_qty.get(symbol) for symbol in names},
    }
    if missing := [f"controls.{name}" for name, value in found.items() if value is None]:
        raise ConfigError(f"Real money needs limits, and these are not set in ffe.toml: {', '.join(missing)}.")
    return {name: float(value) for name, value in found.items() if value is not None}


def arm(path: Path, settings: Settings, symbols: Sequence[str], connectors: Sequence[Connector], now: Nanos) -> Arming:
    """Write an arming file for these settings and accounts, for its owner alone."""
    armed = Arming(
        accounts={c.venue: c.account_id for c in connectors},
        data_folder=_place(settings), limits=limits_of(settings, symbols),
        config=settings.fingerprint(), code=code_version(), signed=now, expires=now + LASTS,
    )  # fmt: skip
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise ConfigError(f"{path} exists: remove it, and arm again.") from None
    with os.fdopen(file, "w") as out:
        out.write(armed.model_dump_json(indent=2))
    return armed


def check(
    path: Path,
    settings: Settings,
    symbols: Sequence[str],
    connectors: Sequence[Connector],
    typed: Mapping[Venue, str],
    now: Nanos,
) -> None:
    """ConfigError with everything that is not as it was signed."""
    armed = _read(path)
    accounts = {str(c.venue): c.account_id for c in connectors}
    wrong = [
        *(["it has expired " + stamp(armed.expires)] if now >= armed.expires else []),
        *(["it was signed in the future"] if armed.signed > now else []),
        *(["it is for other accounts"] if armed.accounts != accounts else []),
        *([f"it was signed for the data folder {armed.data_folder}"] if armed.data_folder != _place(settings) else []),
        *(["it was signed for other limits"] if armed.limits != limits_of(settings, symbols) else []),
        *(["it was signed for other settings"] if armed.config != settings.fingerprint() else []),
        *(["it was signed for another version of the code"] if armed.code != code_version() else []),
        *([_not_the_id(connectors)] if dict(typed) != accounts else []),
    ]
    if wrong:
        raise ConfigError(f"{path} does not arm this session: {'; '.join(wrong)}. Nothing was started.")


def _place(settings: Settings) -> str:
    return str(settings.data_folder.resolve())


def _not_the_id(connectors: Sequence[Connector]) -> str:
    ids = "; ".join(f"at {connector.venue} {connector.known_by}" for connector in connectors)
    return f"what was typed is not the account's id, which is {ids}"


def _read(path: Path) -> Arming:
    try:
        mode = path.stat().st_mode
        if stat.S_IMODE(mode) & 0o077:
            raise ConfigError(f"{path} can be read by others: chmod 600 {path}, or arm again.")
        return Arming.model_validate_json(path.read_text())
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}. Make one with `ffe arm`.") from None
    except ValidationError as error:
        said = "; ".join(str(problem["msg"]) for problem in error.errors())
        raise ConfigError(f"{path} is no arming file: {said}. Make one with `ffe arm`.") from None
