"""How a session ends, and what it leaves: nobody else's account, a message, an exit code, and open trades behind stops
that rest at the venue."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from ffe.errors import NotWritable
from ffe.live import preflight
from ffe.live.accounts import mark_of
from ffe.private import state_folder
from tests.live.street import ROOT, Session, Street, session
from tests.venues.faults import Hang

BTC = "BTCUSDT"
STOP_RESTS = "binance:BTC/USDT: long"


@pytest.fixture
def street(tmp_path: Path) -> Iterator[Street]:
    with Street(tmp_path) as made:
        yield made


def holding(one: Session) -> float:
    """What the session holds once its stop rests."""
    one.until(lambda s: s.get("life") == "trading" and s["trades"] and all(t["is_protected"] for t in s["trades"]))
    return one.street.held(BTC)


def refused(street: Street, *options: str) -> str:
    """What a second process says before it gives up."""
    second = street.start("Idle", *options)
    assert second.process.wait(30) == 1
    return second.said


def code_of(one: Session) -> int:
    return one.process.wait(60)


def test_one_session_an_account_and_it_ends_behind_its_stop_and_is_taken_over(street: Street) -> None:
    elsewhere = street.folder / "elsewhere.toml"
    elsewhere.write_text('data_folder = "elsewhere"\n' + (street.folder / "ffe.toml").read_text())
    with session(street, "Holds") as one:
        qty = holding(one)
        for said in (refused(street), refused(street, "--config", str(elsewhere))):
            assert said.count("another session trades this account") == 1 and "Traceback" not in said
        assert one.stop() == 0
        assert f"{STOP_RESTS} {qty:g}, its stop rests at the venue at " in one.said
    assert street.held(BTC) == qty and street.is_protected(BTC)
    with session(street, "Idle") as next_one:
        assert holding(next_one) == qty
        next_one.process.send_signal(signal.SIGINT)
        assert code_of(next_one) == 0 and "its stop rests at the venue at " in next_one.said
    assert len(street.entries()) == 1 and street.is_protected(BTC)


def test_a_lock_goes_with_its_process(street: Street) -> None:
    with session(street, "Idle") as one:
        one.until(lambda status: status.get("engine"))
        one.kill()
    locks = [street.folder / "data" / "live.lock", state_folder() / f"{mark_of(street.account)}.lock"]
    for path in locks:
        FileLock(path, timeout=1).acquire().lock.release()


def test_no_entry_leaves_while_it_ends_and_what_is_bare_is_said(street: Street) -> None:
    """The second entry waits behind the first one's stop, which hangs; the end comes before its turn."""
    street.venue.faults = [Hang(on="POST order STOP*", times=1_000)]
    with session(street, "Churn") as one:
        one.until(lambda status: len(status.get("trades", [])) == 2 and street.venue.met["Hang"])
        begun = len(street.entries())
        assert one.stop() == 0
        assert len(street.entries()) == begun
        assert "NOT PROTECTED" in one.said or street.is_flat()  # an exit may have had its turn


def test_an_engine_that_falls_again_and_again_is_left_down(street: Street) -> None:
    with session(street, "Idle") as one:
        killed: list[int] = []
        while one.process.poll() is None:
            engine = one.status().get("engine")
            if isinstance(engine, int) and engine not in killed:
                one.kill(engine)
                killed.append(engine)
        assert 2 <= len(killed) - 1 <= 5, "restarts"
        assert one.process.returncode == 1
        assert f"It fell {len(killed)} times within an hour and is left down" in one.said


def test_supervisor_that_gives_up_protects_what_is_open_first(street: Street) -> None:
    """F6: it left with "what is open stays behind its stops", and no stop rested."""
    with session(street, "Holds") as one:
        qty, killed = holding(one), []
        while one.process.poll() is None:
            engine = one.status().get("engine")
            if isinstance(engine, int) and engine not in killed:
                if len(killed) == 4:
                    street.venue.cancel_all()
                one.kill(engine)
                killed.append(engine)
        assert one.process.returncode == 1 and street.held(BTC) == qty and street.is_protected(BTC)
        assert f"{STOP_RESTS} {qty:g}, its stop rests at the venue at " in one.said


def test_signal_to_the_engine_alone_ends_nothing(street: Street) -> None:
    """A fresh fill would be left without its stop: the supervisor ends it, once what is open is protected."""
    with session(street, "Idle") as one:
        one.until(lambda status: status.get("life") == "trading")
        engine = one.engine
        for number in (signal.SIGTERM, signal.SIGINT):
            os.kill(engine, number)
        time.sleep(1.0)
        status = one.until(lambda status: (status["age_seconds"] or 9.0) < 1.0)
        assert status["engine"] == engine and status["life"] == "trading"


def test_a_strategy_that_raises_ends_its_session_with_one_line(street: Street) -> None:
    with session(street, "Raises", "--set", "seconds=1") as one:
        assert code_of(one) == 1
        line = next(line for line in one.said.splitlines() if "StrategyError" in line)
        assert "Raises raised ValueError" in line and "a thought that went wrong" in line and "churn.py" in line
        assert one.said.count("StrategyError") == 1 and "Traceback" not in one.said
        assert "The engine ended" not in one.said and "its stop rests at the venue at " in one.said
    assert street.held(BTC) > 0.0 and street.is_protected(BTC)


def test_a_bug_of_ours_shows_its_traceback(street: Street) -> None:
    street.more_env = {"PYTHONPATH": f"{ROOT}/tests/live/bug:{ROOT}"}
    with session(street, "Idle") as one:
        while "The engine ended with 1." not in one.said:
            time.sleep(0.1)
        assert "Traceback (most recent call last)" in one.said and "RuntimeError: a bug of ours" in one.said


# ---------------------------------------------------------------- before it begins


def test_without_space_for_records_nothing_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: disk._replace(free=200 * 2**20))
    preflight.check(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: disk._replace(free=200 * 2**20 - 1))
    with pytest.raises(NotWritable, match="a session needs 200"):
        preflight.check(tmp_path)


def test_a_folder_that_cannot_be_written_is_one_message(street: Street) -> None:
    (street.folder / "data").write_text("a file, where the folder should be")
    with session(street, "Idle") as one:
        assert code_of(one) == 1
        assert "Set data_folder to a place you can write to" in one.said and "Traceback" not in one.said
