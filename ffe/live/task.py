"""What a session is to do, as the command line said it: handed to the engine's process, and kept beside the records for
whoever has to close what it leaves open. It holds no secret, and the settings themselves: what was looked at when the
session was started, and armed, is what every process of it works by, whatever becomes of the file."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ValidationError

from ffe.config import Settings
from ffe.errors import RecordError
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

    def keep(self, folder: Path) -> None:
        write_own(folder / FILE, self.model_dump_json())

    @staticmethod
    def is_kept(folder: Path) -> bool:
        return (folder / FILE).exists()

    @staticmethod
    def kept(folder: Path) -> Task:
        """The newest session's."""
        try:
            return Task.model_validate_json((folder / FILE).read_text())
        except FileNotFoundError:
            raise RecordError(
                f"{folder}: no session ever ran here. Name the data folder of one with --config."
            ) from None
        except (OSError, ValidationError) as error:
            raise RecordError(f"{folder / FILE} cannot be read: {error}") from None
