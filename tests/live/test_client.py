"""What the command line says of a session: only what was answered, and what the journal knew where nobody answers."""

from __future__ import annotations

import signal
import socket
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

from ffe.cli import app
from ffe.errors import ConfigError, RecordError
from ffe.live import client, control
from ffe.live.client import NoSession, ask, force, force_everything, kill_what_runs, last_known
from ffe.live.link import Link
from ffe.live.permit import Permit
from ffe.model import HOUR, SECOND, Act
from tests.live.test_recovery import START, Session, state


@contextmanager
def supervised(folder: Path, answer: Callable[[Link], None]) -> Iterator[None]:
    """A socket at the session's address that answers its first client so."""
    with control.listen(folder) as server:

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
    said: list[str] = []
    with supervised(tmp_path, says({"said": "latched"}, {"said": "and this", "done": done})):
        assert force(tmp_path, said.append) is done and said == ["latched", "and this"]


def test_stop_by_force_latches_though_it_knows_no_task(tmp_path: Path) -> None:
    Permit(tmp_path).give()
    with pytest.raises(RecordError, match="no session ever ran here"):
        force(tmp_path, lambda text: None)
    assert not Permit(tmp_path).is_given


def test_stop_by_force_waits_for_no_process_that_does_not_die(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "LOCK_SECONDS", 0.1)
    with FileLock(tmp_path / "engine.lock"), pytest.raises(ConfigError, match="a session still runs"):
        force(tmp_path, lambda text: None)


def test_everything_without_a_session_touches_nothing(tmp_path: Path) -> None:
    Permit(tmp_path).give()
    with pytest.raises(RecordError, match="no session ever ran here"):
        force_everything(tmp_path, "an account", lambda text: None)
    assert Permit(tmp_path).is_given


def test_everything_needs_to_be_forced() -> None:
    result = CliRunner().invoke(app, ["stop", "--everything", "an account"])
    assert isinstance(result.exception, ConfigError) and "say --force with it" in str(result.exception)


def test_only_processes_of_ours_are_killed(tmp_path: Path) -> None:
    """A number may have passed to another process since it was noted."""
    sleeps = [sys.executable, "-c", "import time; time.sleep(30)"]
    with subprocess.Popen(sleeps) as other, subprocess.Popen([*sleeps, "ffe.live"]) as ours:
        (tmp_path / "supervisor.pid").write_text(str(other.pid))
        (tmp_path / "engine.pid").write_text(str(ours.pid))
        while not Path(f"/proc/{ours.pid}/cmdline").read_bytes():  # it is being loaded
            time.sleep(0.001)
        kill_what_runs(tmp_path)
        assert ours.wait(5) == -signal.SIGKILL and other.poll() is None
        other.kill()


@pytest.mark.parametrize("text", ["", "no number", "-1", str(2**22 + 1)])
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


def test_address_is_the_owners_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    path = Path(control.address(tmp_path / "data"))
    assert path.parent.stat().st_mode & 0o777 == 0o700 and len(str(path)) < 200
    path.parent.chmod(0o755)
    with pytest.raises(ConfigError, match="open to others"):
        control.address(tmp_path / "data")


def test_socket_that_was_left_over_is_replaced(tmp_path: Path) -> None:
    for _ in range(2):
        with control.listen(tmp_path) as server:
            assert Path(control.address(tmp_path)).stat().st_mode & 0o777 == 0o600
            assert isinstance(server, socket.socket)
