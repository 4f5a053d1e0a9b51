"""The engine's process, as its supervisor handles it: started with a task and a socket, spoken to, killed."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress

from ffe.live.link import Link, Said
from ffe.live.task import Task

GONE_WITHIN_SECONDS = 5.0


class Child:
    def __init__(self, task: Task) -> None:
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-m", "ffe.live.worker", str(theirs.fileno()), str(os.getpid())]
        self.process = subprocess.Popen(command, pass_fds=[theirs.fileno()])
        theirs.close()
        self.link = Link(ours)
        self.link.say(task=task.model_dump_json())  # and not on its command line, which everybody can read

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
