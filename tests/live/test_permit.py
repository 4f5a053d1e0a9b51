"""The entry latch: who holds the permit is sending, and who took it away knows that nobody is."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from pathlib import Path

import pytest

from ffe.live import permit as module
from ffe.live.permit import PATIENCE_SECONDS, Permit


@pytest.fixture
def permit(tmp_path: Path) -> Permit:
    made = Permit(tmp_path)
    made.give()
    return made


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The system calls that make a permit durable, in their order."""
    made: list[str] = []
    unlink, fsync = os.unlink, os.fsync

    def unlinked(path: object, **how: object) -> None:
        made.append(f"unlink {Path(str(path)).name}")
        unlink(path, **how)  # type: ignore[arg-type]

    def synced(file: int) -> None:
        made.append(f"fsync {Path(f'/proc/self/fd/{file}').readlink().name}")
        fsync(file)

    monkeypatch.setattr(os, "unlink", unlinked)
    monkeypatch.setattr(os, "fsync", synced)
    return made


def lock_refused(path: Path) -> bool:
    file = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False


def test_permit_is_held_while_an_entry_leaves(permit: Permit) -> None:
    with permit.held() as may_leave:
        assert may_leave and lock_refused(permit.path)
    assert not lock_refused(permit.path)


def test_two_adapters_hold_the_permit_at_once(permit: Permit) -> None:
    with permit.held() as first, permit.held() as second:
        assert first and second


def test_taken_permit_lets_nothing_leave(permit: Permit) -> None:
    permit.take_away()
    assert not permit.is_given
    with permit.held() as may_leave:
        assert not may_leave


def test_permit_that_is_replaced_while_it_is_opened_lets_nothing_leave(
    permit: Permit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the adapter's open and its lock the operator stops and re-arms: the file it opened is no permit."""
    flock = fcntl.flock

    def late(file: int, how: int) -> None:
        monkeypatch.setattr(fcntl, "flock", flock)
        permit.take_away()
        permit.give()
        flock(file, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with permit.held() as may_leave:
        assert not may_leave


def test_latch_waits_for_an_entry_that_is_leaving(permit: Permit) -> None:
    latched: list[float] = []
    with permit.held():
        stop = threading.Thread(target=lambda: (permit.take_away(), latched.append(time.monotonic())))
        stop.start()
        time.sleep(PATIENCE_SECONDS / 3.0)
        left = time.monotonic()
        assert not latched
    stop.join(2.0)
    assert latched and latched[0] >= left


def test_permit_is_gone_at_once_though_an_entry_is_leaving(permit: Permit) -> None:
    """Whoever asks for it meanwhile gets none."""
    with permit.held():
        stop = threading.Thread(target=permit.take_away)
        stop.start()
        deadline = time.monotonic() + PATIENCE_SECONDS / 2.0
        while permit.is_given and time.monotonic() < deadline:
            time.sleep(PATIENCE_SECONDS / 100.0)
        assert not permit.is_given
    stop.join(2.0)


def test_latch_waits_no_longer_than_its_patience_for_an_entry_that_hangs(permit: Permit) -> None:
    with permit.held():
        began = time.monotonic()
        permit.take_away()
        assert PATIENCE_SECONDS <= time.monotonic() - began < 5 * PATIENCE_SECONDS


def test_latch_is_unlinked_and_then_its_folder_is_synced(permit: Permit, calls: list[str]) -> None:
    permit.take_away()
    assert calls == ["unlink permit", f"fsync {permit.path.parent.name}"]


def test_permit_is_durable_once_it_is_given(tmp_path: Path, calls: list[str]) -> None:
    Permit(tmp_path / "data").give()
    assert calls == ["fsync data"]


def test_latch_whose_folder_could_not_be_synced_is_synced_again(
    permit: Permit, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(file: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", broken)
        with pytest.raises(OSError, match="Input/output"):
            permit.take_away()
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    permit.take_away()
    assert not permit.is_given and len(synced) == 1


def test_latch_needs_no_file_handle_for_the_permit(permit: Permit, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def none_left(path: object, flags: int, *mode: int) -> int:
        if str(path) == str(permit.path):
            raise OSError(24, "Too many open files")
        return real(path, flags, *mode)  # type: ignore[call-overload]

    monkeypatch.setattr(module.os, "open", none_left)
    permit.take_away()
    assert not permit.path.exists()


def test_latch_in_a_folder_that_is_not_there_is_no_error(tmp_path: Path) -> None:
    Permit(tmp_path / "nowhere").take_away()
    assert not (tmp_path / "nowhere").exists()
