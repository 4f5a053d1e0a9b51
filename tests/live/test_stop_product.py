"""The emergency stop by the command line, under whatever may be in its way: what it says is so, and it stands in every
folder of the account until somebody re-arms.
"""

from __future__ import annotations

import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from filelock import FileLock

from ffe.live.control import name_of, socket_folder
from ffe.live.oversight import LATCHED
from tests.live.street import Session, Street, session
from tests.live.test_stop import disk_full, hung

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a session ends with its supervisor on Linux alone")

SETTLED = 2.5  # seconds in which an entry would have left
Way = Callable[[Street, Session], "contextmanager"]


def has_entered(one: Session) -> None:
    one.until(lambda status: status.get("life") == "trading" and one.street.entries())


def stuck(path: Path) -> None:
    """Nothing unlinks a folder, whoever tries."""
    path.unlink()
    path.mkdir()


@contextmanager
def folder_unwritable(street: Street, one: Session) -> Iterator[None]:
    stuck(street.data / "permit")
    yield
    (street.data / "permit").rmdir()
    (street.data / "permit").touch(mode=0o600)  # as if it had never been taken


@contextmanager
def descriptors_used_up(street: Street, one: Session) -> Iterator[None]:
    used = len(list(Path(f"/proc/{one.process.pid}/fd").iterdir()))
    resource.prlimit(one.process.pid, resource.RLIMIT_NOFILE, (used, used))
    yield


@contextmanager
def lock_held(street: Street, one: Session) -> Iterator[None]:
    one.kill()
    with ExitStack() as stack:
        for name in ("live.lock", "engine.lock"):
            stack.enter_context(FileLock(street.data / name))
        yield


@contextmanager
def socket_taken(street: Street, one: Session) -> Iterator[None]:
    place = socket_folder() / name_of(street.data)
    place.unlink()
    place.touch()
    yield


@contextmanager
def connected(street: Street) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as end:
        end.settimeout(1.0)
        end.connect(str(socket_folder() / name_of(street.data)))
        yield end


@contextmanager
def flooded(street: Street, one: Session) -> Iterator[None]:
    ends = threading.Event()

    def flood() -> None:
        while not ends.is_set():
            with suppress(OSError), connected(street) as end:
                end.sendall(b"[" * 10_000 + b"\n" + b'{"act": "status"}\n' * 500)

    threads = [threading.Thread(target=flood, daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    yield
    ends.set()
    for thread in threads:
        thread.join(5)


@contextmanager
def felled(street: Street, one: Session) -> Iterator[None]:
    one.kill()
    yield


@contextmanager
def supervisor_stopped(street: Street, one: Session) -> Iterator[None]:
    one.process.send_signal(signal.SIGSTOP)
    yield


@contextmanager
def mute_clients(street: Street, one: Session) -> Iterator[None]:
    with ExitStack() as stack:
        for _ in range(100):
            with suppress(OSError):
                stack.enter_context(connected(street))
        yield


@contextmanager
def nothing(street: Street, one: Session) -> Iterator[None]:
    yield


WAYS = {
    "nothing": nothing, "folder unwritable": folder_unwritable, "descriptors used up": descriptors_used_up,
    "lock held by another": lock_held, "socket taken": socket_taken, "supervisor flooded": flooded,
    "supervisor felled": felled, "supervisor stopped": supervisor_stopped, "mute clients": mute_clients,
    "engine hung": nothing, "disk full": disk_full,
}  # fmt: skip


def pressed(street: Street, way: str) -> None:
    strategy = "Spins" if way == "engine hung" else "Churn"
    with session(street, strategy) as one:
        (hung if way == "engine hung" else has_entered)(one)
        with WAYS[way](street, one):
            stopped = street.ffe("stop", "--force", timeout=90.0)
        one.kill()
    assert stopped.returncode == 0, stopped.stdout + stopped.stderr
    assert stopped.stdout.startswith(LATCHED) and street.is_flat(), stopped.stdout


def assert_latched(street: Street, folder: str) -> None:
    """A next start without a re-arm, in this folder of the account."""
    bought = len(street.entries())
    street.more_env = {"FFE_DATA_FOLDER": str(street.folder / folder)}
    with session(street, "Churn") as one:
        # What a full disk did not keep of the stop is reconciled by a person: such a session trades nothing.
        one.until(lambda status: status.get("life") == "trading" or "reconciliation" in str(status.get("why")))
        time.sleep(SETTLED)
        assert one.status()["is_latched"] and len(street.entries()) == bought
        one.kill()


@pytest.mark.slow
@pytest.mark.parametrize("way", ["descriptors used up", "socket taken", "supervisor flooded"])
def test_stop_says_what_is_so_whatever_is_in_its_way(way: str, tmp_path: Path) -> None:
    with Street(tmp_path) as street:
        pressed(street, way)
        assert_latched(street, "data")


@pytest.mark.campaign
@pytest.mark.parametrize("turn", range(10))
@pytest.mark.parametrize("way", WAYS)
def test_a_hundred_stops_stand_in_every_folder(way: str, turn: int, tmp_path: Path) -> None:
    with Street(tmp_path) as street:
        pressed(street, way)
        for folder in ("data", "other") if turn % 2 else ("other", "data"):
            assert_latched(street, folder)
