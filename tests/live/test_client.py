"""What the command line says of a session: only what was answered, and what the journal knew where nobody answers."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from filelock import FileLock
from typer.testing import CliRunner

from ffe import private
from ffe.cli import app
from ffe.config import Settings, VenueSettings, load_secrets
from ffe.errors import ConfigError, RecordError
from ffe.live import client, closing, control
from ffe.live.accounts import Known, known_by, take_over
from ffe.live.actions import Report
from ffe.live.client import (
    ALL_LATCHED,
    NoSession,
    ask,
    force,
    force_everything,
    kill_what_runs,
    last_known,
    settings_or_latch_all,
)
from ffe.live.connect import connectors
from ffe.live.link import Link
from ffe.live.oversight import LATCHED
from ffe.live.permit import Permit
from ffe.live.process import note
from ffe.live.task import Task
from ffe.model import HOUR, SECOND, Act
from tests.live.test_recovery import START, Session, state

TASK = Task(strategy="a test", symbols=["BTC/USD"], interval="1h", settings=Settings())


@pytest.fixture(autouse=True)
def own_home(home: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o700)


@contextmanager
def supervised(folder: Path, answer: Callable[[Link], None]) -> Iterator[None]:
    """A socket at the session's address that answers its first client so."""
    with control.listening(folder) as server:

        def serve() -> None:
            link = Link(server.accept()[0])
            link.end.settimeout(5.0)
            next(link.listen())
            answer(link)
            link.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield
        thread.join(5.0)


def says(*messages: dict[str, object]) -> Callable[[Link], None]:
    def answer(link: Link) -> None:
        for message in messages:
            link.say(**message)  # type: ignore[arg-type]

    return answer


def hangs(link: Link) -> None:
    time.sleep(0.4)


# ---------------------------------------------------------------- asking


def test_answers_are_read_until_the_request_is_done(tmp_path: Path) -> None:
    with supervised(tmp_path, says({"said": "closing"}, {"said": "closed", "done": True}, {"said": "more"})):
        assert [message["said"] for message in ask(tmp_path, Act.CLOSE_ALL)] == ["closing", "closed"]


def test_folder_without_a_session_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(NoSession, match="no session runs here"):
        next(ask(tmp_path, "status"))


def test_session_that_ends_before_its_answer_has_not_answered(tmp_path: Path) -> None:
    with supervised(tmp_path, says({"said": "closing"})), pytest.raises(NoSession, match="has not answered"):
        list(ask(tmp_path, Act.CLOSE_ALL))


@pytest.mark.parametrize("act", ["status", Act.EMERGENCY_STOP])
def test_supervisor_that_hangs_is_not_waited_for(tmp_path: Path, act: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(client.FIRST_WORD_SECONDS, act, 0.1)
    with supervised(tmp_path, hangs), pytest.raises(NoSession, match="or hangs"):
        list(ask(tmp_path, act))


def test_supervisor_that_falls_silent_during_a_stop_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "SILENT_SECONDS", 0.1)

    def stops_speaking(link: Link) -> None:
        link.say(said="latched")
        hangs(link)

    with supervised(tmp_path, stops_speaking), pytest.raises(NoSession, match="or hangs"):
        list(ask(tmp_path, Act.EMERGENCY_STOP))


# ---------------------------------------------------------------- the emergency stop


@pytest.mark.parametrize("done", [True, False])
def test_stop_by_force_is_as_good_as_its_supervisor_says(tmp_path: Path, done: bool) -> None:
    Permit(tmp_path).give()
    said: list[str] = []
    with supervised(tmp_path, says({"said": "closing"}, {"said": "and this", "done": done})):
        assert force(Settings(data_folder=tmp_path), said.append) is done and said == [LATCHED, "closing", "and this"]


def test_stop_by_force_latches_though_it_knows_no_task(tmp_path: Path) -> None:
    Permit(tmp_path).give()
    with pytest.raises(RecordError, match="no session ever ran here"):
        force(Settings(data_folder=tmp_path), lambda text: None)
    assert not Permit(tmp_path).is_given


def test_stop_by_force_closes_though_a_lock_is_held_by_a_process_that_cannot_be_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another user's, where the folder was open to others; it refused as long as the lock was held."""
    monkeypatch.setattr(client, "LOCK_SECONDS", 0.1)
    Permit(tmp_path).give()
    said, closed = [], Report(True, ("The venues show flat.",))
    monkeypatch.setattr(Task, "kept", lambda folder: TASK)
    monkeypatch.setattr(closing, "close_all", lambda place, say: closed)
    with FileLock(tmp_path / "engine.lock"):
        assert force(Settings(data_folder=tmp_path), said.append)
    assert any("engine.lock is held by another process" in line for line in said) and said[-1] == closed.lines[0]


def test_stop_by_force_latches_before_it_asks_anybody(tmp_path: Path) -> None:
    """A supervisor that hangs, or a socket's folder that cannot be used, delayed the latch or kept it away."""
    Permit(tmp_path).give()
    latched: list[bool] = []

    def answer(link: Link) -> None:
        latched.append(not Permit(tmp_path).is_given)
        link.say(said="flat", done=True)

    with supervised(tmp_path, answer):
        assert force(Settings(data_folder=tmp_path), lambda text: None)
    assert latched == [True]


def test_stop_by_force_passes_a_socket_folder_that_is_open_to_others(tmp_path: Path) -> None:
    Permit(tmp_path).give()
    private.own_folder(control.socket_folder()).chmod(0o777)
    said: list[str] = []
    with pytest.raises(RecordError, match="no session ever ran here"):
        force(Settings(data_folder=tmp_path), said.append)
    assert not Permit(tmp_path).is_given
    assert said[0] == LATCHED and "no supervisor answers" in said[1] and "open to other users" in said[1]


def test_stop_that_cannot_latch_says_so_and_fails(tmp_path: Path) -> None:
    """It said "latched: no entry leaves", with exit code 0, and the next session bought."""
    (tmp_path / "permit").mkdir()
    said: list[str] = []
    with supervised(tmp_path, says({"said": "flat", "done": True})):
        assert force(Settings(data_folder=tmp_path), said.append) is False
    assert said[0].startswith("NOT LATCHED: ") and LATCHED not in said


def test_stop_in_a_folder_that_the_account_has_left_does_not_say_latched(tmp_path: Path, home: Path) -> None:
    """It said so, with exit code 0, and the session in the other folder went on buying."""
    account = Known("0123456789abcdef")
    for name in ("left", "now"):
        take_over(made_folder_of(tmp_path / name), [account], is_first=True)
    said: list[str] = []
    with supervised(tmp_path / "left", says({"said": "flat", "done": True})):
        assert force(Settings(data_folder=tmp_path / "left"), said.append) is False
    assert said[0].startswith("NOT LATCHED: ") and str(tmp_path / "now") in said[0] and LATCHED not in said


def test_stop_in_a_folder_that_another_account_has_left_latches_the_one_that_stayed(tmp_path: Path, home: Path) -> None:
    """It said that nothing was latched, and ended with 1, whatever came of it."""
    stays, left = Known("0123456789abcdef"), Known("fedcba9876543210")
    take_over(made_folder_of(tmp_path / "here"), [stays, left], is_first=True)
    take_over(made_folder_of(tmp_path / "there"), [left], is_first=True)
    said: list[str] = []
    with supervised(tmp_path / "here", says({"said": "flat", "done": True})):
        assert force(Settings(data_folder=tmp_path / "here"), said.append) is True
    assert said[0].startswith("NOT STOPPED: another account") and said[1] == LATCHED
    assert not Permit(stays.root).is_given and Permit(left.root).is_given


def unreadable() -> Settings:
    raise PermissionError(13, "Permission denied", ".env")


def test_stop_whose_settings_cannot_be_read_latches_every_account(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A traceback, and nothing latched: in a folder that may not be entered, or is gone."""
    account = Known("0123456789abcdef")
    take_over(made_folder_of(tmp_path / "here"), [account], is_first=True)
    said: list[str] = []
    with pytest.raises(ConfigError, match="Permission denied"):
        settings_or_latch_all(unreadable, said.append)
    assert said == [ALL_LATCHED] and not Permit(account.root).is_given
    Permit(account.root).give()
    monkeypatch.chdir(made_folder_of(tmp_path / "gone"))
    (tmp_path / "gone").rmdir()
    with pytest.raises(ConfigError, match="No such file"):
        settings_or_latch_all(Settings, said.append)
    assert not Permit(account.root).is_given


def test_stop_says_all_latched_only_where_all_are(tmp_path: Path, home: Path) -> None:
    account = Known("0123456789abcdef")
    take_over(made_folder_of(tmp_path / "here"), [account], is_first=True)
    (account.root / "permit").unlink()
    (account.root / "permit").mkdir()
    said: list[str] = []
    with pytest.raises(ConfigError):
        settings_or_latch_all(unreadable, said.append)
    assert said == [f"NOT LATCHED everywhere: {account.root / 'permit'}: Is a directory"]


def test_stop_where_no_session_ever_ran_says_nothing_of_a_latch(tmp_path: Path) -> None:
    """It said "latched", of nothing, because of a typing error in the settings."""
    said: list[str] = []
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(NoSession, match="no session ever ran here, and nothing was stopped"):
            force(Settings(data_folder=folder), said.append)
    assert said == []


def test_stop_whose_folder_is_gone_latches_the_account(tmp_path: Path) -> None:
    account, folder = Known("0123456789abcdef"), made_folder_of(tmp_path / "gone")
    take_over(folder, [account], is_first=True)
    shutil.rmtree(folder)
    with pytest.raises(RecordError, match="no session ever ran here"):
        force(Settings(data_folder=folder), lambda text: None)
    assert not Permit(account.root).is_given


@pytest.mark.parametrize("text", ["nonsense", "[gate]\nno_such = 1\n"])
def test_stop_with_settings_that_cannot_be_read_latches_every_account(
    tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was latched, and the session that was to be stopped went on buying."""
    monkeypatch.chdir(tmp_path)
    account = Known("0123456789abcdef")
    take_over(made_folder_of(tmp_path / "one"), [account], is_first=True)
    (tmp_path / "ffe.toml").write_text(text)
    result = CliRunner().invoke(app, ["stop", "--force"])
    assert isinstance(result.exception, ConfigError) and "ffe.toml" in str(result.exception)
    assert not Permit(account.root).is_given and "latched: no entry leaves, of any account" in result.output
    assert "NOT closed" in result.output


def test_closing_in_a_folder_that_the_account_has_left_is_left_to_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stood in the journal here was closed there, and was sold a second time."""
    monkeypatch.setenv("COINBASE_API_KEY", "a-key")
    monkeypatch.setenv("COINBASE_API_SECRET", "a-secret")
    task = TASK.model_copy(update={"settings": moved("http://127.0.0.1:9")})
    (connector,) = connectors(task.settings, task.symbols, load_secrets(), task.armed)
    for name in ("left", "now"):
        take_over(made_folder_of(tmp_path / name), known_by([connector]), is_first=True)
    accounts = closing.accounts_of(closing.Place(tmp_path / "left", task))
    assert not accounts.told and f"the account is traded from {tmp_path / 'now'} now" in accounts.untold[0][1]


def made_folder_of(path: Path) -> Path:
    path.mkdir(mode=0o700)
    return path


def moved(address: str | None) -> Settings:
    return Settings(
        venues={"coinbase": VenueSettings(source="ccxt", address=address)},
        instruments={"BTC/USD": Settings().instruments["BTC/USD"]},
    )


@pytest.mark.parametrize("own", [None, "https://another.example"])
def test_task_that_came_from_elsewhere_does_not_say_where_a_key_goes(own: str | None) -> None:
    """A data folder may be a stranger's, and its task names the venue's address."""
    task = Task(strategy="a test", symbols=["BTC/USD"], interval="1h", settings=moved("https://evil.example"))
    with pytest.raises(ConfigError, match=r"went to https://evil.example for coinbase.*--config"):
        task.at(moved(own))
    assert task.at(moved("https://evil.example")) is task
    other = task.model_copy(update={"symbols": []})  # its journal may hold what its symbols do not name
    with pytest.raises(ConfigError, match=r"went to https://evil.example for coinbase"):
        other.at(moved(own))


def test_everything_without_a_session_touches_nothing(tmp_path: Path) -> None:
    Permit(tmp_path).give()
    with pytest.raises(RecordError, match="no session ever ran here"):
        force_everything(Settings(data_folder=tmp_path), "an account", lambda text: None)
    assert Permit(tmp_path).is_given


def test_everything_needs_to_be_forced() -> None:
    result = CliRunner().invoke(app, ["stop", "--everything", "an account"])
    assert isinstance(result.exception, ConfigError) and "say --force with it" in str(result.exception)


def test_only_the_processes_that_were_noted_are_killed(tmp_path: Path) -> None:
    """A number may have passed to another process since it was noted; that one's command line may hold any word."""
    sleeps = [sys.executable, "-c", "import time; time.sleep(30)", "ffe.live"]
    with subprocess.Popen(sleeps) as other, subprocess.Popen(sleeps) as ours:
        note(tmp_path / "supervisor.pid", other.pid)
        number, then = (tmp_path / "supervisor.pid").read_text().split()
        (tmp_path / "supervisor.pid").write_text(f"{number} {int(then) - 1}")
        note(tmp_path / "engine.pid", ours.pid)
        kill_what_runs(tmp_path)
        assert ours.wait(5) == -signal.SIGKILL and other.poll() is None
        other.kill()


@pytest.mark.parametrize("text", ["", "no number", "-1 5", f"{2**22 + 1} 5", "1", "1 "])
def test_note_that_names_no_process_is_no_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "engine.pid").write_text(text)
    kill_what_runs(tmp_path)


# ---------------------------------------------------------------- what the journal knew


def test_last_known_names_what_was_open_and_that_nobody_was_asked(tmp_path: Path) -> None:
    with Session(tmp_path) as session:
        session.step(kept=state("a"))
    Permit(tmp_path).give()
    title, trade = last_known(tmp_path, START + HOUR)
    assert "2024-10-04 00:00 UTC, 3,600 s ago; nobody was asked since: entries may leave once a session runs" in title
    assert trade == "slot 0: long 0.5 here:BTC/USDT, stop 49000; whether it rests is not known"


def test_last_known_says_that_it_is_latched(tmp_path: Path) -> None:
    with Session(tmp_path) as session:
        session.step(kept=state("a"))
    assert "LATCHED: no entry leaves" in last_known(tmp_path, START + 9 * SECOND)[0]


def test_last_known_of_a_folder_without_a_journal_is_nothing(tmp_path: Path) -> None:
    assert last_known(tmp_path, START) == []


def test_status_without_a_session_fails_and_shows_what_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with Session(tmp_path / "data") as session:
        session.step(kept=state("a"))
    result = CliRunner().invoke(app, ["status"])
    assert isinstance(result.exception, NoSession) and "nobody was asked since" in result.output


# ---------------------------------------------------------------- the address


def test_socket_folder_is_the_owners_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with control.listening(tmp_path):
            assert control.socket_folder().stat().st_mode & 0o777 == 0o700
            assert (control.socket_folder() / control.name_of(tmp_path)).stat().st_mode & 0o777 == 0o600
    finally:
        os.umask(before)
    control.socket_folder().chmod(0o755)
    with pytest.raises(ConfigError, match=f"chmod -R go= {control.socket_folder()}"):
        control.call(tmp_path)


def test_socket_is_reached_however_long_the_path_of_the_home_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A socket's name has no more than a hundred characters."""
    monkeypatch.setattr(control, "state_folder", lambda: tmp_path / ("long" * 40))
    with supervised(tmp_path, says({"said": "here", "done": True})):
        assert [message["said"] for message in ask(tmp_path, "status")] == ["here"]


def test_socket_that_was_left_over_is_replaced(tmp_path: Path) -> None:
    for _ in range(2):
        with control.listening(tmp_path):
            link = control.call(tmp_path)
            assert link is not None
            link.close()
