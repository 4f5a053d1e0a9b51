"""A supervisor can neither be felled nor blinded by whoever may connect to it, and knows who asks."""

from __future__ import annotations

import os
import resource
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from ffe.live import clients
from ffe.live.clients import IDLE_SECONDS, MOST_AT_ONCE, MOST_CLIENTS, Client, Clients, Peer, peer_of
from ffe.live.link import Said


class Door:
    """A socket with its clients, and the loop that serves them."""

    def __init__(self, folder: Path) -> None:
        self.path, self.asked, self.ends = folder / "a.sock", [], []
        self.selector = selectors.DefaultSelector()
        self.clients = Clients(self.selector, self.answer)
        self.server = socket.socket(socket.AF_UNIX)
        self.server.bind(str(self.path))
        self.server.listen(64)
        self.selector.register(self.server, selectors.EVENT_READ, lambda: self.clients.welcome(self.server, self.now))
        self.now = 0.0

    def answer(self, client: Client, message: Said) -> None:
        self.asked.append(message)
        client.link.say(said="status", filler="x" * 3_000)

    def connect(self) -> socket.socket:
        end = socket.socket(socket.AF_UNIX)
        end.settimeout(5.0)
        end.connect(str(self.path))
        self.ends.append(end)
        return end

    def turn(self, times: int = 1) -> None:
        for _ in range(times):
            for key, _ in self.selector.select(0.0):
                key.data()

    def serves(self) -> bool:
        """Whether somebody new is answered within a few turns."""
        end = self.connect()
        end.sendall(b'{"act": "status"}\n')
        self.turn(5)
        end.setblocking(False)
        with suppress(OSError):
            return end.recv(10) != b""
        return False

    def close(self) -> None:
        for end in self.ends:
            end.close()
        self.clients.close()
        self.server.close()
        self.selector.close()


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    made = Door(tmp_path)
    yield made
    made.close()


def is_cut(end: socket.socket) -> bool:
    end.setblocking(False)
    try:
        while end.recv(1 << 16):
            pass
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


@pytest.mark.parametrize(
    "line",
    [
        b"[" * 200_000 + b"\n", b"{" * 1_000 + b"\n", b'{"a":' * 30_000 + b"\n", b"\xff\xfe\n", b"null\n",
        b'{"act": {"act": []}}\n', b'{"act": 1e999}\n', b"\0" * 1_000 + b"\n", b'"\\ud800"\n',
    ],
)  # fmt: skip
def test_no_line_fells_it(door: Door, line: bytes) -> None:
    """200 kB of opening brackets did."""
    end = door.connect()
    end.setblocking(False)
    for start in range(0, len(line), 1 << 14):
        with suppress(OSError):
            end.send(line[start : start + (1 << 14)])
        door.turn(2)
    assert door.serves()


def test_line_without_an_end_is_cut(door: Door) -> None:
    end = door.connect()
    with pytest.raises(OSError):
        for _ in range(1_000):
            end.sendall(b"x" * (1 << 13))
            door.turn(2)
    assert door.serves()


def test_one_who_does_not_read_is_cut_and_holds_up_nobody(door: Door) -> None:
    """3,800 requests blinded it for a minute."""
    end, began = door.connect(), time.monotonic()
    end.setblocking(False)
    with suppress(OSError):
        for _ in range(3_800):
            end.sendall(b'{"act": "status"}\n')
            door.turn(1)
    assert time.monotonic() - began < 5.0 and is_cut(end) and door.serves()
    assert len(door.asked) < 1_000


def test_more_requests_at_once_than_anybody_makes_are_not_looked_at(door: Door) -> None:
    end = door.connect()
    door.turn(1)
    end.sendall(b"{}\n" * (MOST_AT_ONCE + 1))
    door.turn(2)
    assert not door.asked and is_cut(end)


def test_thousand_connections_leave_room_for_the_next(door: Door) -> None:
    for _ in range(1_000):
        door.connect()
        door.turn(2)
    assert len(door.clients._clients) == MOST_CLIENTS and door.serves()


def test_one_who_waits_for_an_answer_is_not_pushed_out_by_idle_ones(door: Door) -> None:
    waits = door.connect()
    door.turn(1)
    door.clients._clients[0].pending.add(1)
    for n in range(2 * MOST_CLIENTS):
        door.now = float(n)
        door.connect()
        door.turn(2)
    assert not is_cut(waits)
    door.clients.reply(1, "flat", True)
    waits.setblocking(True)
    assert b"flat" in waits.recv(100)


def test_idle_one_is_cut_and_one_who_waits_is_not(door: Door) -> None:
    idle, waits = door.connect(), door.connect()
    door.turn(4)
    door.clients._clients[1].pending.add(1)
    door.clients.tick(IDLE_SECONDS)
    assert len(door.clients._clients) == 2
    door.clients.tick(IDLE_SECONDS + 0.1)
    assert is_cut(idle) and not is_cut(waits)


@contextmanager
def without_handles() -> Iterator[None]:
    """Meanwhile this process can open nothing."""
    before, taken = resource.getrlimit(resource.RLIMIT_NOFILE), []
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
        with suppress(OSError):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        yield
    finally:
        for handle in taken:
            os.close(handle)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_accept_survives_that_no_handle_is_left(door: Door) -> None:
    """1,026 connections felled it."""
    waiting = door.connect()
    with without_handles():
        door.turn(3)
    assert is_cut(waiting) and door.serves()


def test_accept_survives_that_somebody_else_takes_the_last_handle(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """The handle that turns a client away is let go for a moment; the whole machine had none left, and it fell."""
    door.connect()
    monkeypatch.setattr(clients, "_spare", lambda: None)
    with without_handles():
        door.turn(3)
    monkeypatch.undo()
    assert door.serves()


# ---------------------------------------------------------------- who asks


def test_who_asks_is_what_the_kernel_says(door: Door) -> None:
    end = door.connect()
    end.sendall(b'{"act": "re_arm", "by": "the head of risk"}\n')
    door.turn(3)
    peer = door.clients._clients[0].peer
    assert peer == Peer(os.getpid(), os.getuid())
    assert f"process {os.getpid()}: " in peer.name() and "head of risk" not in peer.name()


def test_name_holds_no_control_characters_and_no_more_than_a_line() -> None:
    title = "\x1b]0;owned\x07" * 5_000
    words = [sys.executable, "-c", "import time; time.sleep(30)", title]
    with subprocess.Popen(words) as process:
        time.sleep(0.2)
        name = Peer(process.pid, os.getuid()).name()
        process.kill()
    assert "\x1b" not in name and len(name) < 200


def test_process_that_has_ended_may_be_anybodys() -> None:
    """A strategy's child connected and ended, and the strategy asked in its name for a re-arm."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    peer = Peer(process.pid, os.getuid())
    assert f"process {process.pid}" in peer.name() and peer.descends_from(os.getpid())


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells whose child a process is")
def test_process_that_waits_for_its_answer_is_no_descendant_of_a_stranger() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as stranger:
        assert not Peer(os.getpid(), os.getuid()).descends_from(stranger.pid)
        assert Peer(stranger.pid, os.getuid()).descends_from(os.getpid())
        stranger.communicate(b"\n")
    assert not Peer(0, os.getuid()).descends_from(1), "which no other system tells"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps orphans")
def test_whoever_was_started_by_a_session_is_known_though_its_parents_have_ended(tmp_path: Path) -> None:
    """A strategy leaves its process behind, in a session of its own."""
    script = tmp_path / "supervisor.py"
    script.write_text(
        "import os, subprocess, sys, time\n"
        "from ffe.live.process import keep_orphans\n"
        "keep_orphans()\n"
        "forks = 'import os, time\\nif os.fork(): os._exit(0)\\nos.setsid()\\nif os.fork(): os._exit(0)\\n"
        "print(os.getpid(), flush=True)\\ntime.sleep(30)'\n"
        "print(os.getpid(), flush=True)\n"
        "subprocess.run([sys.executable, '-c', forks])\n"
        "time.sleep(30)\n"
    )
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        supervisor, orphan = int(process.stdout.readline()), int(process.stdout.readline())
        time.sleep(0.2)  # for its parents to end
        assert Peer(orphan, os.getuid()).descends_from(supervisor)
        assert not Peer(os.getpid(), os.getuid()).descends_from(supervisor)
        os.kill(orphan, 9)
        process.kill()


def test_peer_of_a_socket_is_its_other_end() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert peer_of(ours) == Peer(os.getpid(), os.getuid())
