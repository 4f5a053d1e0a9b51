"""What the command line says to a session that runs elsewhere, and what it does itself where none answers."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from ffe.errors import ConfigError, FfeError
from ffe.live import control
from ffe.live.link import Said
from ffe.live.permit import Permit
from ffe.live.task import Task
from ffe.model import Act

OURS = (b"ffe.live", b"ffe/live/__main__.py")  # how our processes are called
LOCK_SECONDS = 10.0
FIRST_WORD_SECONDS = {"status": 3.0, Act.EMERGENCY_STOP: 3.0}  # of the supervisor; everything else waits for the engine


class NoSession(FfeError):
    pass


def ask(folder: Path, act: str, instrument: str | None = None) -> Iterator[Said]:
    """What a session says to a request, until it is done; NoSession where none runs."""
    by = f"the command line of {os.getenv('USER', 'somebody')}"
    link = control.call(folder, act=act, by=by, instrument=instrument)
    if link is None:
        raise NoSession(f"{folder}: no session runs here. Start one: python -m ffe.live STRATEGY --symbols …")
    link.end.settimeout(FIRST_WORD_SECONDS.get(act))
    try:
        for said in link.listen():
            link.end.settimeout(None)
            yield said
            if "done" in said or act == "status":
                return
    finally:
        link.close()
    raise NoSession(f"{folder}: the session ended, or hangs, and has not answered.")


def force(folder: Path, say: Callable[[str], None]) -> None:
    """The emergency stop: by the session's own supervisor, or, where none answers, from here. Returns once the venues
    show flat."""
    try:
        for said in ask(folder, Act.EMERGENCY_STOP):
            say(str(said.get("said")))
        return
    except NoSession:
        say("no supervisor answers: it is done from here")
    from ffe.live.supervisor import close_all

    try:
        Permit(folder).take_away()
    except OSError as error:
        say(f"the latch cannot be kept ({error}): the next session must not be started before that is mended")
    kill_what_runs(folder)
    say("latched: no entry leaves")
    try:
        with ExitStack() as stack:
            for name in ("live.lock", "engine.lock"):
                stack.enter_context(FileLock(folder / name, timeout=LOCK_SECONDS))
            task = Task.kept(folder)
            close_all(folder, task, task.settings, say)
    except Timeout:
        raise ConfigError(f"{folder}: a session still runs. End its process, and try again.") from None
    say("The venues show flat.")


def kill_what_runs(folder: Path) -> None:
    """End the processes of a session that no longer answers."""
    for name in ("supervisor.pid", "engine.pid"):
        with suppress(OSError, ValueError):
            pid = int((folder / name).read_text())
            if any(mark in Path(f"/proc/{pid}/cmdline").read_bytes() for mark in OURS):
                os.kill(pid, signal.SIGKILL)
    time.sleep(0.1)
