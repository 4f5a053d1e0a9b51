"""The engine's process, as its supervisor handles it: started with a socket, over which it gets its task and its keys,
spoken to, killed."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from ffe.config import without_keys
from ffe.live.arming import Arming
from ffe.live.link import Link, Said
from ffe.live.task import Task

GONE_WITHIN_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Handed:
    """What an engine's process is given: keys by their variables, which it has not in its environment, for whatever it
    starts would have them too; and what was signed, where it trades real money."""

    task: Task
    armed: Arming | None = None
    keys: Mapping[str, str] = field(default_factory=dict, repr=False)

    def environment(self) -> dict[str, str]:
        """The supervisor's, without any key."""
        return without_keys(os.environ, self.task.settings)


class Child:
    def __init__(self, handed: Handed) -> None:
        ours, theirs = socket.socketpair()
        folder = str(handed.task.settings.data_folder)
        command = [sys.executable, "-m", "ffe.live.worker", folder, str(theirs.fileno()), str(os.getpid())]
        self.process = subprocess.Popen(command, pass_fds=[theirs.fileno()], env=handed.environment())
        theirs.close()
        self.link = Link(ours)
        armed = handed.armed.model_dump_json() if handed.armed else None
        self.link.say(task=handed.task.model_dump_json(), armed=armed, keys=dict(handed.keys))

    @property
    def pid(self) -> int:
        return self.process.pid

    def messages(self) -> Iterator[Said]:
        """Everything that has arrived."""
        return self.link.rest()

    def ended(self) -> int | None:
        """Its exit code; None while it runs."""
        return self.process.poll()

    def kill(self) -> None:
        """It is not waited for here: what comes after it does."""
        self.process.kill()
        self.link.close()

    def wait(self) -> None:
        """Until it has ended; no longer than a killed process needs, if the disk that it waits for lets it go."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(GONE_WITHIN_SECONDS)
