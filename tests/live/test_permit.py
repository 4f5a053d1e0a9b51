"""The entry latch: who holds the permit is sending, and who took it away knows that nobody is."""

from __future__ import annotations

import fcntl
import os
import resource
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from ffe.live import permit as module
from ffe.live.permit import PATIENCE_SECONDS, Permit
from ffe.live.supervisor import given


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
        assert may_leave and lock_refused(permit.paths[0])
    assert not lock_refused(permit.paths[0])


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
    assert calls == ["unlink permit", f"fsync {permit.paths[0].parent.name}"]


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
        taken = permit.take_away()
        assert not taken.is_kept and "Input/output error" in taken.why_not()
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    permit.take_away()
    assert not permit.is_given and len(synced) == 1


def test_latch_needs_no_file_handle_for_the_permit(permit: Permit, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def none_left(path: object, flags: int, *mode: int) -> int:
        if str(path) == str(permit.paths[0]):
            raise OSError(24, "Too many open files")
        return real(path, flags, *mode)  # type: ignore[call-overload]

    monkeypatch.setattr(module.os, "open", none_left)
    permit.take_away()
    assert not permit.paths[0].exists()


def test_latch_in_a_folder_that_is_not_there_is_no_error(tmp_path: Path) -> None:
    Permit(tmp_path / "nowhere").take_away()
    assert not (tmp_path / "nowhere").exists()


# ---------------------------------------------------------------- several places


@pytest.fixture
def both(tmp_path: Path) -> Permit:
    """Of a data folder and of an account."""
    made = Permit(tmp_path / "data", tmp_path / "account")
    made.give()
    return made


@pytest.mark.parametrize("n", [0, 1])
def test_permit_that_is_gone_in_one_place_lets_nothing_leave(both: Permit, n: int) -> None:
    both.paths[n].unlink()
    assert not both.is_given
    with both.held() as may_leave:
        assert not may_leave


@pytest.mark.parametrize("n", [0, 1])
def test_adapter_holds_the_permit_in_every_place(both: Permit, n: int) -> None:
    with both.held() as may_leave:
        assert may_leave and lock_refused(both.paths[n])


def stuck(path: Path) -> None:
    """Nothing unlinks a folder: no bits, no mount and no other user is needed to try this as root."""
    path.unlink(missing_ok=True)
    path.mkdir()


@pytest.mark.parametrize("n", [0, 1])
def test_latch_is_kept_where_one_place_cannot_lose_its_permit(both: Permit, n: int) -> None:
    stuck(both.paths[n])
    taken = both.take_away()
    assert taken.is_kept and taken.why_not() == "" and not both.paths[1 - n].exists()
    assert len(taken.left) == 1 and taken.left[0].startswith(str(both.paths[n]))


def test_latch_that_no_place_keeps_is_said_to_be_none(both: Permit) -> None:
    for path in both.paths:
        stuck(path)
    taken = both.take_away()
    assert not taken.is_kept and all(str(path) in taken.why_not() for path in both.paths)


def test_latch_of_one_account_of_two_is_none_while_the_folder_has_its_permit(tmp_path: Path) -> None:
    """A session may trade at the other account alone."""
    permit = Permit(tmp_path / "data", tmp_path / "one", tmp_path / "two")
    permit.give()
    for path in (permit.paths[0], permit.paths[2]):
        stuck(path)
    assert not permit.take_away().is_kept


# ---------------------------------------------------------------- what else may be called a permit


@pytest.mark.parametrize("link", [os.link, os.symlink])
def test_another_name_of_the_permit_does_not_give_it_back(permit: Permit, tmp_path: Path, link: object) -> None:
    """Snapshots and backups make them, and an adapter that had opened it saw a file with a link left."""
    path, other = permit.paths[0], tmp_path / "snapshot"
    path.rename(other)
    link(other, path)  # type: ignore[operator]
    with permit.held() as may_leave:
        permit.take_away()
        assert other.exists() and not path.exists()
    del may_leave
    with permit.held() as may_leave:
        assert not may_leave


def test_permit_taken_between_open_and_lock_is_seen_though_it_has_another_name(
    permit: Permit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock = fcntl.flock
    os.link(permit.paths[0], tmp_path / "snapshot")

    def late(file: int, how: int) -> None:
        monkeypatch.setattr(fcntl, "flock", flock)
        permit.take_away()
        flock(file, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with permit.held() as may_leave:
        assert not may_leave


def test_symlink_in_the_permits_place_is_no_permit(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").touch()
    (tmp_path / "permit").symlink_to("elsewhere")
    permit = Permit(tmp_path)
    with permit.held() as may_leave:
        assert not may_leave and not permit.is_given


def test_latch_needs_no_file_handle_at_all_once_its_folders_are_reserved(both: Permit) -> None:
    """A supervisor whose handles were used up said "latched", and was not."""
    with both.reserved():
        before, opened = resource.getrlimit(resource.RLIMIT_NOFILE), []
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (64, before[1]))
            with suppress(OSError):
                while True:
                    opened.append(os.open(os.devnull, os.O_RDONLY))
            taken = both.take_away()
        finally:
            for file in opened:
                os.close(file)
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert taken.is_kept and not taken.left and not any(path.exists() for path in both.paths)


@pytest.mark.parametrize("spoil", ["open", "file"])
def test_re_arm_says_why_a_permit_cannot_be_given(tmp_path: Path, spoil: str) -> None:
    """A folder that is open to others was called a fault of ours, and the one who asked waited for a minute."""
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    if spoil == "open":
        folder.chmod(0o707)
    else:
        (folder / "permit").mkdir()
    why = given(Permit(folder))
    assert "open to other users" in why if spoil == "open" else why.endswith("permit: Is a directory")
