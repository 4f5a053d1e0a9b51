"""The supervisor's edges without an engine: work on threads, the permit, clients that do not read, and when it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ffe.config import Settings
from ffe.live import child
from ffe.live.actions import Announce, Do, Leave, Look, Reply, Report
from ffe.live.child import Handed
from ffe.live.clients import Client, Peer
from ffe.live.jobs import Jobs
from ffe.live.link import Link
from ffe.live.supervisor import Ends, Supervisor, Word, note
from ffe.live.task import Task
from ffe.model import Act


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    settings = Settings(data_folder=tmp_path / "data")
    task = Task(strategy="a test", symbols=["EUR/USD"], interval="1h", settings=settings)
    made = Supervisor(Handed(task), settings, (), lambda text: None)
    made.permit.give()
    made.oversight.job = Do.VERIFY  # a job is under way: nothing is closed from here
    made.ends = []  # type: ignore[attr-defined]
    yield made
    for link in made.ends:  # type: ignore[attr-defined]
        link.close()
    made.jobs.close()
    made.clients.close()
    made._reserve.release()
    made._selector.close()


STRANGER = Peer(1, os.getuid())


def until(supervisor: Supervisor, what: Callable[[], object]) -> None:
    deadline = time.monotonic() + 5.0
    while not what():
        assert time.monotonic() < deadline
        supervisor.jobs.hand_over()
        time.sleep(0.002)


def client(supervisor: Supervisor) -> tuple[Link, Client]:
    """A client's end, and the supervisor's of it."""
    theirs, ours = (Link(end) for end in socket.socketpair())
    supervisor.ends += [theirs, ours]  # type: ignore[attr-defined]
    made = Client(ours, STRANGER, time.monotonic())
    supervisor.clients.add(made)
    return theirs, made


# ---------------------------------------------------------------- work on threads


@pytest.fixture
def jobs() -> Iterator[Jobs]:
    made = Jobs()
    yield made
    made.close()


def test_work_is_done_on_a_thread_and_handed_over_in_the_loops(jobs: Jobs) -> None:
    where: list[str] = []
    jobs.start(lambda: where.append(threading.current_thread().name) or 7, lambda n: where.append(f"got {n}"), print)  # type: ignore[func-returns-value]
    deadline = time.monotonic() + 5.0
    while len(where) < 2 and time.monotonic() < deadline:
        jobs.hand_over()
    assert where[0].startswith("job") and where[1] == "got 7"


def test_work_that_raises_is_handed_over_as_such(jobs: Jobs) -> None:
    said: list[str] = []
    jobs.start(lambda: 1 // 0, lambda _: said.append("done"), said.append)
    deadline = time.monotonic() + 5.0
    while not said and time.monotonic() < deadline:
        jobs.hand_over()
    assert said == ["ZeroDivisionError: integer division or modulo by zero"]


def test_every_thread_runs_before_the_first_work(jobs: Jobs) -> None:
    """Where no thread could be started later, a submission raised in the supervisor's loop."""
    names = [thread.name for thread in threading.enumerate()]
    assert sum(name.startswith("job_") for name in names) == 6 and sum(name.startswith("disk_") for name in names) == 1


def test_selector_is_woken_by_what_is_posted(jobs: Jobs) -> None:
    import select

    assert not select.select([jobs], [], [], 0.0)[0]
    threading.Thread(target=lambda: jobs.post(lambda: None)).start()
    assert select.select([jobs], [], [], 5.0)[0]
    jobs.hand_over()
    assert not select.select([jobs], [], [], 0.0)[0]


def test_posting_never_waits_however_much_is_outstanding(jobs: Jobs) -> None:
    calls: list[int] = []
    for n in range(20_000):
        jobs.post(lambda n=n: calls.append(n))
    jobs.hand_over()
    assert calls == list(range(20_000))


def test_queued_work_keeps_its_order(jobs: Jobs) -> None:
    """A permit that is given must not overtake one that is taken away after it."""
    did: list[str] = []
    jobs.queue(lambda: (time.sleep(0.05), did.append("give")), lambda _: None, print)
    jobs.queue(lambda: did.append("take away"), lambda _: did.append("told"), print)
    deadline = time.monotonic() + 5.0
    while len(did) < 3 and time.monotonic() < deadline:
        jobs.hand_over()
    assert did == ["give", "take away", "told"]


def test_killed_engine_is_waited_for_before_anything_is_closed(supervisor: Supervisor) -> None:
    """It wrote the journal, and may still be sending."""
    did: list[str] = []

    class Dying:
        def wait(self) -> None:
            time.sleep(0.05)
            did.append("it is dead")

    def work() -> Report:
        did.append("closing")
        return Report(True, ())

    supervisor._dying = Dying()  # type: ignore[assignment]
    supervisor._work_on(Do.CLOSE, work, lambda report, now: did.append("told") or ())  # type: ignore[func-returns-value]
    until(supervisor, lambda: len(did) == 3)
    assert did == ["it is dead", "closing", "told"]


def test_engine_that_does_not_die_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that hangs may hold a killed process; what it holds sends nothing."""
    monkeypatch.setattr(child, "GONE_WITHIN_SECONDS", 0.1)
    one = child.Child.__new__(child.Child)
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(30)"]) as one.process:
        began = time.monotonic()
        one.wait()
        assert time.monotonic() - began < 2.0 and one.ended() is None
        one.process.kill()


# ---------------------------------------------------------------- the permit


def test_latch_takes_the_permit_away(supervisor: Supervisor) -> None:
    theirs, ours = client(supervisor)
    supervisor._answer(ours, {"act": Act.EMERGENCY_STOP, "by": "a test"})
    assert supervisor.oversight.stop is not None
    until(supervisor, lambda: supervisor.oversight.stop.latched_by is None)  # type: ignore[union-attr]
    assert not supervisor.permit.is_given and theirs.heard()[0]["said"] == "latched: no entry leaves"


def test_permit_that_is_given_before_a_stop_is_taken_away_by_it(supervisor: Supervisor) -> None:
    supervisor.permit.take_away()
    supervisor.do([Do.GIVE_PERMIT, Do.LATCH])
    supervisor.jobs._lane.shutdown(wait=True)
    assert not supervisor.permit.is_given


def test_latch_that_cannot_be_kept_is_told(supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: int) -> None:
        raise OSError(28, "No space left on device")

    theirs, ours = client(supervisor)
    monkeypatch.setattr(os, "fsync", full)
    supervisor._answer(ours, {"act": Act.EMERGENCY_STOP, "by": "a test"})
    until(supervisor, lambda: supervisor.oversight.stop and supervisor.oversight.stop.latched_by is None)
    (said,) = theirs.heard()
    assert "the latch is not kept" in str(said["said"]) and "No space left" in str(said["said"])


# ---------------------------------------------------------------- clients


def test_status_is_answered_at_once_and_says_how_old_the_engines_word_is(supervisor: Supervisor) -> None:
    theirs, ours = client(supervisor)
    supervisor.word = Word({"state": "active", "obstacles": []}, time.monotonic() - 7.0)
    supervisor._answer(ours, {"act": "status"})
    (status,) = theirs.heard()
    assert status["state"] == "active" and 6.9 < float(str(status["age_seconds"])) < 9.0
    assert status["engine"] is None and status["obstacles"] == ["no engine runs"] and status["is_latched"] is False


def test_status_before_the_engines_first_word_has_no_age(supervisor: Supervisor) -> None:
    assert supervisor.told()["age_seconds"] is None


def test_word_of_an_engine_that_was_started_anew_is_as_old_as_it_was(supervisor: Supervisor) -> None:
    supervisor.word = Word({"state": "active"}, time.monotonic() - 60.0)
    supervisor.oversight.heard_at = time.monotonic()
    supervisor._forget_engine()
    status = supervisor.told()
    assert float(str(status["age_seconds"])) > 59.0 and status["life"] == "stopped"


def test_position_that_was_closed_from_here_is_shown_no_longer(supervisor: Supervisor) -> None:
    supervisor.word = Word({"trades": [{"slot": 0}]}, 1.0)
    supervisor.do(supervisor._closed(Report(False, ("NOT KNOWN",)), 2.0))
    assert supervisor.told()["trades"]
    supervisor.do(supervisor._closed(Report(True, ("flat",)), 3.0))
    assert supervisor.told()["trades"] == []


def test_replies_go_to_who_asked_and_no_further_than_their_end(supervisor: Supervisor) -> None:
    one, other = client(supervisor), client(supervisor)
    for _, ours in (one, other):
        supervisor._answer(ours, {"act": Act.PAUSE})
    first, second = one[0].heard(), other[0].heard()
    assert len(first) == len(second) == 1 and first[0]["done"] is False
    supervisor.do([Reply(1, "more", True)])
    assert one[0].heard() == []


def test_client_that_does_not_read_holds_up_nobody(supervisor: Supervisor) -> None:
    theirs, ours = client(supervisor)
    ours.pending.add(77)
    began = time.monotonic()
    for _ in range(2_000):
        supervisor.do([Reply(77, "x" * 1_000)])
    assert time.monotonic() - began < 1.0
    assert not ours.link.is_open and theirs.is_open, "and it is cut off"


def test_client_that_reads_late_gets_everything(supervisor: Supervisor) -> None:
    theirs, ours = client(supervisor)
    ours.pending.add(77)
    for n in range(500):
        supervisor.do([Reply(77, f"{n} " + "x" * 1_000)])
    read: list[object] = []
    deadline = time.monotonic() + 5.0
    while len(read) < 500 and time.monotonic() < deadline:
        read += [str(message["said"]).split()[0] for message in theirs.heard()]
        for key, _ in supervisor._selector.select(0.01):
            key.data()
    assert read == [str(n) for n in range(500)]


def test_client_that_is_gone_is_forgotten(supervisor: Supervisor) -> None:
    theirs, ours = client(supervisor)
    ours.pending.add(77)
    theirs.close()
    for key, _ in supervisor._selector.select(1.0):
        key.data()
    assert not ours.link.is_open
    supervisor.do([Reply(77, "nobody reads this", True)])


@pytest.mark.parametrize("act", [Act.RE_ARM, Act.RESUME, Act.ADOPT])
def test_session_cannot_loosen_itself(supervisor: Supervisor, act: Act) -> None:
    """A strategy re-armed over the socket as "the head of risk", and the journal said so."""
    theirs, ours = client(supervisor)
    ours.peer = Peer(os.getpid(), os.getuid())
    supervisor._answer(ours, {"act": act, "by": "the head of risk"})
    (said,) = theirs.heard()
    assert said["done"] is False and "a person's to say" in str(said["said"])


def test_session_may_stop_itself(supervisor: Supervisor) -> None:
    _, ours = client(supervisor)
    ours.peer = Peer(os.getpid(), os.getuid())
    supervisor._answer(ours, {"act": Act.EMERGENCY_STOP})
    until(supervisor, lambda: not supervisor.permit.is_given)


def test_terminal_that_is_gone_holds_up_nobody(supervisor: Supervisor) -> None:
    def gone(text: str) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    supervisor._echo = gone
    supervisor.do([Announce("the engine ended")])


def test_look_is_answered_by_its_number(supervisor: Supervisor) -> None:
    seen: list[int] = []
    supervisor.oversight.looked = lambda number, left, now: seen.append(number) or ()  # type: ignore[assignment, func-returns-value, method-assign]
    supervisor.do([Look(7)])
    until(supervisor, lambda: seen)
    assert seen == [7]


# ---------------------------------------------------------------- when it ends


def test_process_ends_with_the_code_it_was_told(supervisor: Supervisor) -> None:
    supervisor.do([Leave(1)])
    assert supervisor._ends.code == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_asks_once_for_an_end(number: int) -> None:
    ends = Ends()
    with ends.on_signals():
        assert not ends.is_asked()
        os.kill(os.getpid(), number)
        assert ends.is_asked() and not ends.is_asked()


def test_look_before_an_end_goes_on_for_its_time() -> None:
    goes_on = Ends().goes_on(0.05)
    assert goes_on()
    time.sleep(0.06)
    assert not goes_on()


def test_look_of_a_supervisor_that_gives_up_goes_on_until_it_is_hurried() -> None:
    ends = Ends()
    goes_on = ends.goes_on(None)
    assert goes_on()
    ends.hurry()
    assert not goes_on() and ends.goes_on(None)(), "the next look is not hurried"


def test_signal_hurries_a_look() -> None:
    ends = Ends()
    with ends.on_signals():
        goes_on = ends.goes_on(None)
        os.kill(os.getpid(), signal.SIGTERM)
        assert not goes_on()


def test_stop_hurries_a_look(supervisor: Supervisor) -> None:
    goes_on = supervisor._ends.goes_on(None)
    supervisor.do([Do.LATCH])
    assert not goes_on()


def test_note_on_a_full_disk_is_no_reason_not_to_run(tmp_path: Path) -> None:
    note(tmp_path / "nowhere" / "engine.pid", os.getpid())
    note(tmp_path / "engine.pid", os.getpid())
    assert (tmp_path / "engine.pid").read_text().split()[0] == str(os.getpid())
