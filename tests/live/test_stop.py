"""The emergency stop, pressed while everything goes wrong that it is there for: a strategy that never comes back, a
venue that hangs, a breaker that is open, a disk that is full.

Latched within 250 ms (p99) from just before the request leaves until "latched" is read; afterwards no entry reaches
the venue; "done" only when the venue shows flat. A few presses here; a hundred of each by `make campaign`, which
prints what it measured.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest

from ffe.live.accounts import permit_found
from ffe.live.client import ask
from ffe.model import SECOND, Act, Nanos
from tests.live.street import CoinbaseStreet, Session, Street, session
from tests.venues.faults import Drop, Hang, Refuse

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a session ends with its supervisor on Linux alone")

LATCHED_WITHIN = 0.25
FOREVER: Nanos = 2**62
UNLIMITED = resource.RLIM_INFINITY


# ---------------------------------------------------------------- pressing, and what came of it


@dataclass(slots=True)
class Presses:
    """How long each took to latch, and from when to when no entry may arrive; streets are where, the newest last."""

    streets: list[Street]
    seconds: list[float] = field(default_factory=list)
    quiet: list[tuple[Nanos, Nanos]] = field(default_factory=list)

    @contextmanager
    def press(self, one: Session) -> Iterator[Iterator[dict[str, Any]]]:
        """Latched when this is entered; what is said afterwards may be read. Quiet until it is left."""
        begun = time.perf_counter()
        with closing(ask(one.data, Act.EMERGENCY_STOP)) as said:
            assert str(next(said)["said"]).startswith("latched")
            self.seconds.append(time.perf_counter() - begun)
            latched = time.time_ns()
            yield said
        self.quiet.append((latched, time.time_ns()))

    def press_again(self, one: Session, times: int) -> None:
        """The permit is given by hand in between, so each press has one to take away; the engine stays latched."""
        for _ in range(times):
            permit_found(one.data).give()
            with self.press(one):
                assert not permit_found(one.data).is_given

    def entries(self) -> list[Nanos]:
        """When entries arrived that had no business to."""
        posts = [asked for street in self.streets for asked in street.posts()]
        bought = [asked.time for asked in posts if asked.params["side"] == "BUY"]
        return [time for time in bought for start, end in self.quiet if start < time < end]

    def assert_good(self) -> None:
        assert not self.entries(), f"{len(self.entries())} entries arrived after the stop"
        assert np.quantile(self.seconds, 0.99) <= LATCHED_WITHIN, sorted(self.seconds)[-5:]

    def told(self, condition: str) -> str:
        p50, p99, most = 1e3 * np.quantile(self.seconds, [0.5, 0.99, 1.0])
        measured = f"p50 {p50:.1f} ms, p99 {p99:.1f} ms, max {most:.1f} ms"
        return f"{condition}: {len(self.seconds)} presses, {measured}, {len(self.entries())} entries afterwards"


def done(said: Iterator[dict[str, Any]]) -> list[str]:
    """Everything that is said until the stop is done."""
    heard = list(said)
    assert heard[-1]["done"] is True
    return [str(one["said"]) for one in heard]


def until_said(said: Iterator[dict[str, Any]], word: str) -> None:
    """What venues still show of ours may be told before it."""
    assert any(word in str(one["said"]) for one in said)


def is_flat(street: Street) -> bool:
    return street.is_flat() and not any(street.stops(symbol) for symbol in street.prices)


def trading(one: Session) -> None:
    """Entries leave: something is open."""
    one.until(lambda s: s.get("life") == "trading" and s["state"] == "active" and any(t["qty"] for t in s["trades"]))


def hung(one: Session) -> None:
    """Something is held, and the engine has fallen silent."""
    one.until(lambda s: not one.street.is_flat() and (s["age_seconds"] or 0.0) > 2.5)


def protected(one: Session) -> None:
    one.until(lambda s: s["trades"] and all(trade["is_protected"] for trade in s["trades"]))


@contextmanager
def asked(one: Session, act: str) -> Iterator[list[dict[str, Any]]]:
    """A request that is made now, and its answers, read meanwhile: a generator would ask only when it is read."""
    answers: list[dict[str, Any]] = []
    reader = Thread(target=lambda: answers.extend(ask(one.data, act)), daemon=True)
    reader.start()
    yield answers
    reader.join(30.0)
    assert not reader.is_alive()


def answers_at_once(one: Session) -> dict[str, Any]:
    """A status within a second, whatever hangs."""
    began = time.monotonic()
    status = one.status()
    assert status and time.monotonic() - began < 1.0
    return status


def re_armed(one: Session) -> None:
    assert [said.get("done") for said in ask(one.data, Act.RE_ARM)] == [True]


# ---------------------------------------------------------------- what goes wrong


@contextmanager
def breaker_open(street: Street, one: Session) -> Iterator[None]:
    street.venue.faults = [Drop(on="*", end=FOREVER)]
    one.until(lambda status: status["breakers"][street.name] == "open")
    street.venue.faults = []
    yield


@contextmanager
def disk_full(street: Street, one: Session) -> Iterator[None]:
    """No process of the session can make a file longer."""
    limit(one, 0)
    time.sleep(1.5)  # the journal notices
    yield
    limit(one, UNLIMITED)


def limit(one: Session, most: int) -> None:
    for pid in (one.process.pid, one.engine):
        with suppress(ProcessLookupError):  # a slow machine's engine is killed for it, and closed for
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (most, UNLIMITED))


Condition = Callable[[Street, Session], AbstractContextManager[None]]


def press_in(condition: Condition, one: Session, presses: Presses, times: int) -> None:
    """The first press meets an engine that trades; after the last all is closed, and it can be armed again."""
    trading(one)
    with condition(presses.streets[-1], one), presses.press(one) as said:
        presses.press_again(one, times - 1)
        done(said)
        assert is_flat(presses.streets[-1])
    re_armed(one)


def press_while_it_hangs(one: Session, presses: Presses, times: int) -> None:
    """As long as the venue answers nothing it is not done; once it answers it is."""
    trading(one)
    presses.streets[-1].venue.faults = [Hang(on="*", end=FOREVER)]
    with presses.press(one) as said:
        presses.press_again(one, times - 1)
        heard: list[dict[str, Any]] = []
        reader = Thread(target=lambda: heard.extend(said), daemon=True)
        reader.start()
        for _ in range(8):
            time.sleep(0.5)
            answers_at_once(one)
        assert not any(one.get("done") for one in heard)
        presses.streets[-1].venue.faults = []
        reader.join(60.0)
        assert heard[-1]["done"] is True and is_flat(presses.streets[-1])
    re_armed(one)


def dies(engine: int) -> None:
    """It is gone, or waits for no more than to be counted."""
    stat, deadline = Path(f"/proc/{engine}/stat"), time.monotonic() + 2.0
    while stat.exists() and ") Z " not in stat.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def press_hung(strategy: str, presses: Presses, times: int) -> None:
    """Most presses come before the engine is killed, a second after the first; some may come while it is closed for."""
    with session(presses.streets[-1], strategy) as one:
        hung(one)
        engine = one.engine
        with presses.press(one) as said:
            presses.press_again(one, times - 1)
            begun = time.monotonic()
            assert answers_at_once(one)["age_seconds"] > 2.0
            until_said(said, "killed")
            assert time.monotonic() - begun < 2.0
            dies(engine)
            done(said)
            assert is_flat(presses.streets[-1])


def pressed(condition: str, folder: Path, rounds: int, times: int, where: type[Street] = Street) -> Presses:
    """A session and a venue of its own for each round."""
    presses = Presses([])
    for n in range(rounds):
        (folder / str(n)).mkdir()
        with where(folder / str(n)) as street:
            presses.streets.append(street)
            press_once(condition, presses, times)
    return presses


def press_once(condition: str, presses: Presses, times: int) -> None:
    if condition in ("Spins", "SpinsCompiled"):
        press_hung(condition, presses, times)
        return
    street = presses.streets[-1]
    with session(street, "Churn" if street.length == SECOND else "Quick") as one:
        if condition == "hangs":
            press_while_it_hangs(one, presses, times)
        else:
            press_in(WRONG[condition], one, presses, times)


WRONG: dict[str, Condition] = {"breaker open": breaker_open, "disk full": disk_full}
CONDITIONS = ["Spins", "SpinsCompiled", "hangs", *WRONG]


@pytest.mark.slow
@pytest.mark.parametrize("condition", CONDITIONS)
def test_the_stop_latches_and_closes_whatever_is_wrong(condition: str, tmp_path: Path) -> None:
    pressed(condition, tmp_path, rounds=1, times=5).assert_good()


@pytest.mark.campaign
@pytest.mark.parametrize(
    ("where", "condition"),
    [*((Street, each) for each in CONDITIONS), *((CoinbaseStreet, each) for each in ("hangs", *WRONG))],
)
def test_a_hundred_presses_latch_and_close_whatever_is_wrong(
    where: type[Street], condition: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """At Coinbase only where the venue matters: an engine that spins asks nobody."""
    presses = pressed(condition, tmp_path, rounds=5, times=20, where=where)
    with capsys.disabled():
        print(f"\n{where.name}, {presses.told(condition)}")
    presses.assert_good()


# ---------------------------------------------------------------- without a supervisor, and afterwards


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_stop_by_force_needs_no_supervisor_and_the_next_session_comes_up_latched(
    how: signal.Signals, tmp_path: Path
) -> None:
    with Street(tmp_path) as street:
        with session(street, "Holds") as one:
            trading(one)
            protected(one)
            one.process.send_signal(how)
            said = street.ffe("stop", "--force")
            assert said.returncode == 0 and said.stdout.endswith("The venues show flat.\n"), said
            assert is_flat(street) and one.process.wait(5)
        quiet = len(street.posts())
        with session(street, "Holds") as one:
            one.until(lambda status: status.get("life") == "trading" and status["state"] == "halted")
            assert "LATCHED" in street.ffe("status").stdout and len(street.posts()) == quiet
            assert street.ffe("re-arm").returncode == 0
            trading(one)


@pytest.mark.slow
def test_what_a_killed_engine_was_asked_is_answered_and_no_re_arm_undoes_a_later_stop(tmp_path: Path) -> None:
    with Street(tmp_path) as street, session(street, "Spins") as one:
        hung(one)
        with closing(ask(one.data, Act.CLOSE_ALL)) as close_all, closing(ask(one.data, Act.RE_ARM)) as re_arm:
            answers = [Thread(target=lambda said=said: heard.extend(said)) for said in (close_all, re_arm)]
            heard: list[dict[str, Any]] = []
            for answer in answers:
                answer.start()
            time.sleep(0.3)
            with Presses([street]).press(one) as said:
                done(said)
            for answer in answers:
                answer.join(5.0)
        assert [one["done"] for one in heard] == [False, False] and not permit_found(one.data).is_given
        assert "stopped" in street.ffe("status").stdout


@pytest.mark.slow
def test_an_engine_that_dies_while_it_closes_is_closed_for(tmp_path: Path) -> None:
    with Street(tmp_path) as street, session(street, "Holds") as one:
        trading(one)
        protected(one)
        street.venue.faults = [Drop(on="POST order", times=4)]
        with Presses([street]).press(one) as said:
            until_said(said, "closes")
            one.kill(one.engine)
            assert any("it is closed from here" in text for text in done(said))
        assert is_flat(street) and one.status()["engine"] is None


@pytest.mark.slow
def test_a_stop_that_made_way_for_an_exit_that_is_not_proven_is_put_back(tmp_path: Path) -> None:
    with Street(tmp_path) as street:
        with session(street, "Holds") as one:
            trading(one)
            protected(one)
            one.kill()
        street.venue.faults = [Drop(on="POST order MARKET", times=1)]
        said = street.ffe("stop", "--force")
        assert said.returncode == 0 and "its stop is put back" in said.stdout and is_flat(street), said
        kinds = [asked.params["type"] for asked in street.posts()]
        assert kinds[-3:] == ["MARKET", "STOP_LOSS", "MARKET"], kinds


@pytest.mark.slow
def test_close_all_closes_and_goes_on(tmp_path: Path) -> None:
    with Street(tmp_path) as street, session(street, "Holds") as one:
        trading(one)
        assert "nothing of ours" not in street.ffe("status").stdout
        sold = len(street.posts())
        closed = street.ffe("close-all")
        assert closed.returncode == 0 and "close_all: closed: binance:BTC/USDT" in closed.stdout
        assert any(asked.params["type"] == "MARKET" for asked in street.posts()[sold:]), "it is said to be done"
        trading(one)
        assert "entries may leave" in street.ffe("status").stdout


@pytest.mark.slow
def test_a_re_arm_that_is_still_under_way_does_not_undo_a_stop(tmp_path: Path) -> None:
    with Street(tmp_path) as street, session(street, "Holds") as one:
        trading(one)
        os.kill(one.engine, signal.SIGSTOP)  # it reads both at once, in their order
        with asked(one, Act.RE_ARM) as answers:
            time.sleep(0.3)
            with Presses([street]).press(one) as said:
                os.kill(one.engine, signal.SIGCONT)
                done(said)
        assert [answer["done"] for answer in answers] == [False]
        assert not permit_found(one.data).is_given and is_flat(street)


@pytest.mark.slow
def test_a_stop_before_the_first_state_outlives_its_session(tmp_path: Path) -> None:
    with Street(tmp_path) as street:
        with session(street, "Idle") as one:
            one.until(lambda status: not status["is_latched"])
            with Presses([street]).press(one):
                pass
        with session(street, "Idle") as one:
            assert one.until(lambda status: status.get("state") == "halted")["is_latched"]


@pytest.mark.slow
def test_a_closing_without_an_engine_is_not_done_before_the_venue_answers(tmp_path: Path) -> None:
    with Street(tmp_path) as street:
        with session(street, "Holds") as one:
            trading(one)
            protected(one)
            one.kill()
        street.venue.faults = [Drop(on="*", end=FOREVER)]
        with street.begun("stop", "--force") as command:
            time.sleep(6.0)
            assert command.poll() is None and not is_flat(street)
            street.venue.faults = []
            assert command.wait(40.0) == 0 and is_flat(street)


@pytest.mark.slow
def test_stop_is_taken_over_from_an_engine_that_speaks_and_cannot_close(tmp_path: Path) -> None:
    with Street(tmp_path) as street, session(street, "Holds") as one:
        trading(one)
        protected(one)
        street.venue.faults = [Refuse(on="POST order MARKET", end=time.time_ns() + 14 * SECOND)]
        with Presses([street]).press(one) as said:
            began = time.monotonic()
            until_said(said, "has not become less for 10 s")
            assert 9.0 < time.monotonic() - began < 13.0
            assert answers_at_once(one)["is_closing"]
            done(said)
            assert time.monotonic() - began < 30.0
        assert is_flat(street) and one.status()["engine"] is None
        re_armed(one)


@pytest.mark.slow
def test_lost_journal_never_reads_as_flat_and_everything_closes_it(tmp_path: Path) -> None:
    """F6: "The venues show flat" was said without a question while a position was open."""
    with Street(tmp_path) as street:
        with session(street, "Holds") as one:
            trading(one)
            protected(one)
            one.kill()
        known = street.ffe("status")
        assert known.returncode == 1 and "nobody was asked since" in known.stdout
        assert "long" in known.stdout and "whether it rests is not known" in known.stdout
        shutil.rmtree(one.data / "journal")
        stopped = street.ffe("stop", "--force")
        assert stopped.returncode == 1 and "flat" not in stopped.stdout and not is_flat(street)
        assert "binance:BTC/USDT" in stopped.stdout and "--everything ACCOUNT_ID" in stopped.stdout
        assert street.ffe("stop", "--force", "--everything", "0123456789abcdef").returncode == 1
        assert not is_flat(street)
        stopped = street.ffe("stop", "--force", "--everything", street.account)
        assert stopped.returncode == 0 and is_flat(street), stopped
