"""What real money needs: a file that says what will be traded, where, by which code and within which limits, signed
here and not older than a day, and somebody who types the account's name.

Any mismatch refuses to start; nothing is ever traded on paper instead. The engine's process looks again before each of
its starts, for code may be changed under a session that runs. The signature's key is in the user's state folder: a file
that was written by hand, or elsewhere, arms nothing. Whoever may read that folder can sign, which is the user alone.
"""

from __future__ import annotations

import hmac
import os
import secrets
import stat
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from ffe.config import Settings
from ffe.errors import ConfigError, NotWritable
from ffe.hours import interval_of, stamp
from ffe.live.connect import Connector
from ffe.live.task import Task
from ffe.model import HOUR, Nanos, Venue
from ffe.private import own_folder, state_folder, write_own
from ffe.records.encode import canonical, utf8
from ffe.research.code import code_of, code_version, versions
from ffe.research.find import code_named
from ffe.strategy import Strategy

LASTS: Nanos = 24 * HOUR
UNSIGNED = ""
KEY, KEY_BYTES = "arming.key", 64


class Trades(BaseModel):
    """What a session trades. accounts are venue -> account id, data_folder is where its records and its latch are;
    config, code and strategy are hashes of what was looked at."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    accounts: dict[str, str]
    data_folder: str
    limits: dict[str, float]
    config: str
    code: str
    strategy: str
    parameters: dict[str, str]
    symbols: list[str]
    interval: int
    versions: dict[str, str]


MISMATCHES = {
    "accounts": "it is for other accounts",
    "data_folder": "it was signed for another data folder",
    "limits": "it was signed for other limits",
    "config": "it was signed for other settings",
    "code": "it was signed for another version of the code",
    "strategy": "it was signed for another strategy, or for one that was edited since",
    "parameters": "it was signed for other parameters",
    "symbols": "it was signed for other symbols",
    "interval": "it was signed for another interval",
    "versions": "it was signed for other versions of Python or its libraries",
}


class Arming(Trades):
    signed: Nanos
    expires: Nanos
    signature: str

    @model_validator(mode="after")
    def _lasts_a_day(self) -> Self:
        if not 0 < self.expires - self.signed <= LASTS:
            raise ValueError("it must expire within 24 hours of its signing")
        return self

    def untimely(self, now: Nanos) -> list[str]:
        """Why it arms nothing now."""
        return [
            *(["it has expired " + stamp(self.expires)] if now >= self.expires else []),
            *(["it was signed in the future"] if self.signed > now else []),
        ]

    def mismatches(self, trades: Trades) -> list[str]:
        """What is not as it was signed."""
        return [
            *(
                []
                if hmac.compare_digest(self.signature, _signature(self))
                else ["it was not signed here, or was edited"]
            ),
            *(text for name, text in MISMATCHES.items() if getattr(self, name) != getattr(trades, name)),
        ]


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


def trades_of(task: Task, connectors: Sequence[Connector]) -> Trades:
    """What a session with this task trades now. ConfigError where its limits, or its strategy's source, are missing."""
    settings = task.settings
    if (strategy := code_named(task.strategy)) is None:
        raise ConfigError(f"{task.strategy}: there is no source to sign. Name a file: path/to/file.py:ClassName.")
    return Trades(
        accounts={str(c.venue): c.account_id for c in connectors},
        data_folder=str(settings.data_folder.resolve()),
        limits=limits_of(settings, task.symbols),
        config=settings.fingerprint(),
        code=code_version(),
        strategy=strategy,
        parameters=task.parameters,
        symbols=sorted({settings.instrument(symbol).id for symbol in task.symbols}),
        interval=interval_of(task.interval),
        versions=versions(),
    )


def arm(path: Path, task: Task, connectors: Sequence[Connector], now: Nanos) -> Arming:
    """Write an arming file for what this task trades, for its owner alone."""
    made = Arming(**trades_of(task, connectors).model_dump(), signed=now, expires=now + LASTS, signature=UNSIGNED)
    armed = made.model_copy(update={"signature": _signature(made)})
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise ConfigError(f"{path} exists: remove it, and arm again.") from None
    except OSError as error:
        raise NotWritable(f"{path}: {error.strerror}. Name a file in a folder you can write to.") from None
    with os.fdopen(file, "w", encoding="utf-8") as out:
        out.write(armed.model_dump_json(indent=2))
    return armed


def check(path: Path, task: Task, connectors: Sequence[Connector], typed: Mapping[Venue, str], now: Nanos) -> Arming:
    """What was signed; ConfigError with everything that is not as it was."""
    armed, trades = _read(path), trades_of(task, connectors)
    is_typed = {str(venue): id for venue, id in typed.items()} == trades.accounts
    if wrong := [*armed.untimely(now), *armed.mismatches(trades), *([] if is_typed else [_not_the_id(connectors)])]:
        raise ConfigError(f"{path} does not arm this session: {'; '.join(wrong)}. Nothing was started.")
    return armed


def check_again(armed: Arming, task: Task, connectors: Sequence[Connector]) -> None:
    """Before an engine starts, and starts anew: ConfigError where what it would run is not what was signed. One that
    has expired meanwhile still reduces."""
    if wrong := armed.mismatches(trades_of(task, connectors)):
        raise ConfigError(f"What was armed is not what would run: {'; '.join(wrong)}. Arm again, and start again.")


def check_loaded(armed: Arming, strategy: Strategy) -> None:
    """ConfigError where what was loaded is not what was signed: the file was edited since it was looked at."""
    if code_of(strategy) != armed.strategy:
        raise ConfigError(f"What was armed is not what was loaded: {MISMATCHES['strategy']}. Arm again, start again.")


def _signature(armed: Arming) -> str:
    said = canonical(armed.model_dump(mode="json", exclude={"signature"}))
    return hmac.new(_key(), utf8(said), "sha256").hexdigest()


def _key() -> bytes:
    """Made when it is first needed, whole or not at all."""
    path = own_folder(state_folder()) / KEY
    try:
        if not path.exists():
            beside = path.with_name(f".{KEY}.{os.getpid()}")
            write_own(beside, secrets.token_hex(KEY_BYTES // 2))
            with suppress(FileExistsError):  # another process was first
                path.hardlink_to(beside)
            beside.unlink()
        key = path.read_bytes()
    except OSError as error:
        raise NotWritable(f"{path}: {error.strerror}. Nothing can be signed without it.") from None
    if len(key) != KEY_BYTES:
        raise ConfigError(f"{path} is no key: it was cut short. Remove it, and arm again.")
    return key


def _not_the_id(connectors: Sequence[Connector]) -> str:
    ids = "; ".join(f"at {connector.venue} {connector.known_by}" for connector in connectors)
    return f"what was typed is not the account's id, which is {ids}"


def _read(path: Path) -> Arming:
    try:
        mode = path.stat().st_mode
        if stat.S_IMODE(mode) & 0o077:
            raise ConfigError(f"{path} can be read by others: chmod 600 {path}, or arm again.")
        return Arming.model_validate_json(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}. Make one with `ffe arm`.") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is no arming file: no text. Make one with `ffe arm`.") from None
    except ValidationError as error:
        said = "; ".join(str(problem["msg"]) for problem in error.errors())
        raise ConfigError(f"{path} is no arming file: {said}. Make one with `ffe arm`.") from None
