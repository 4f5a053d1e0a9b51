"""What a session is to do, as the command line said it: handed to the engine's process, and kept beside the records for
whoever has to close what it leaves open. It holds no secret, and the settings themselves: what was looked at when the
session was started, and armed, is what every process of it works by, whatever becomes of the file."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel

from ffe.config import Settings
from ffe.errors import ConfigError, NotWritable, RecordError
from ffe.live.connect import Armed
from ffe.private import write_own

FILE = "task.json"


class Task(BaseModel):
    strategy: str
    parameters: dict[str, str] = {}
    symbols: list[str]
    interval: str
    settings: Settings
    armed: Armed = Armed.NOT
    held: list[str] = []  # what earlier sessions left open, wherever that was written
    accounts: list[str] = []  # the marks of all that are locked for it

    @property
    def concerned(self) -> list[str]:
        """The symbols of all that it has to do with."""
        return list(dict.fromkeys([*self.symbols, *self.held]))

    def keep(self, folder: Path) -> None:
        """NotWritable where nobody could close later what it leaves open."""
        try:
            write_own(folder / FILE, self.model_dump_json())
        except OSError as error:
            raise NotWritable(f"{folder / FILE}: {error.strerror}. Nothing was started.") from None

    @staticmethod
    def is_kept(folder: Path) -> bool:
        return (folder / FILE).exists()

    def at(self, settings: Settings) -> Task:
        """The same task, its keys sent where these settings of the user's own say. ConfigError where the task says
        otherwise: a file that came from elsewhere must not say where a key goes."""
        for venue, kept in self.settings.venues.items():  # a journal may name what the symbols do not
            own = settings.venues.get(venue)
            said = (own.address, own.exchange) if own is not None else (None, None)
            if (kept.address, kept.exchange) != said:
                where = kept.address or kept.exchange or "the venue's own address"
                raise ConfigError(
                    f"The session went to {where} for {venue}, and your settings do not: name those that it was "
                    "started with by --config."
                )
        return self

    @staticmethod
    def kept(folder: Path) -> Task:
        """The newest session's."""
        try:
            return Task.model_validate_json((folder / FILE).read_text("utf-8"))
        except FileNotFoundError:
            raise RecordError(
                f"{folder}: no session ever ran here. Name the data folder of one with --config."
            ) from None
        except (OSError, ValueError) as error:
            raise RecordError(f"{folder / FILE} cannot be read: {error}") from None
