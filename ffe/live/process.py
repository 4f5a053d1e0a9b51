"""Which processes are a session's: noted by number and by when they began, so that no other is taken for one.

A number passes to another process once its own has ended, and a command line may hold any word.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from ffe.private import write_own

log = logging.getLogger(__name__)

RESERVED = 32
SUBREAPER = 36  # Linux: PR_SET_CHILD_SUBREAPER
BEGAN = 19  # of the fields behind the name, in /proc/PID/stat: clock ticks since the machine started


def keep_orphans() -> None:
    """What descends from this process stays its descendant when a process in between ends: nobody who was started by a
    session gets out of it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(SUBREAPER, 1)


class Reserve:
    """File handles that are kept until closing needs them: for its sockets and the journal."""

    def __init__(self) -> None:
        self._handles = [os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC) for _ in range(RESERVED)]

    def release(self) -> None:
        while self._handles:
            os.close(self._handles.pop())


def note(file: Path, pid: int) -> None:
    """For whoever has to kill a process that hangs; a full disk is no reason not to run."""
    try:
        write_own(file, f"{pid} {began(pid)}")
    except OSError as error:
        log.critical("%s: %s", file, error)


def began(pid: int) -> str:
    """OSError where there is no such process, or the system does not tell."""
    if sys.platform != "linux":
        return _began_by_ps(pid)
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[BEGAN]


def _began_by_ps(pid: int) -> str:
    """Of systems without /proc, to the second."""
    done = subprocess.run(["/bin/ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    if not (said := done.stdout.split()):
        raise ProcessLookupError(f"ps does not know process {pid}")
    return "-".join(said)


def kill_noted(file: Path) -> None:
    """Kill the process that was noted there, if it is still that one."""
    with suppress(OSError, ValueError):
        number, then = file.read_text().split()  # ValueError where it does not say since when
        if sys.platform != "linux":
            if began(int(number)) == then:
                os.kill(int(number), signal.SIGKILL)
            return
        handle = os.pidfd_open(int(number))  # from here on the number cannot pass to another unseen
        try:
            if began(int(number)) == then:
                signal.pidfd_send_signal(handle, signal.SIGKILL)
        finally:
            os.close(handle)
