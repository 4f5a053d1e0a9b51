"""Who asks the supervisor: the clients of its socket, as many as it can serve and no more.

Law: whoever may connect can neither fell the supervisor nor blind it. A client that sends too much, does not read, or
says nothing is cut off, and the others are served meanwhile. Who asks is what the kernel says of the other end, never
what the other end says.
"""

from __future__ import annotations

import logging
import os
import selectors
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from ffe.live.link import Link, Said

log = logging.getLogger(__name__)

MOST_CLIENTS = 32
MOST_AT_ONCE = 32  # requests of one client in one turn of the loop, and of those that are not answered yet
MOST_BYTES = 1 << 18  # of a line of a client's, and of what one has left unread
IDLE_SECONDS = 10.0  # how long a client that has asked nothing may stay
LONGEST_NAME = 80
PAUSE_SECONDS = 0.05  # of the loop, while the machine has no handle left


@dataclass(frozen=True, slots=True)
class Peer:
    """The process at the other end; pid is 0 where the system does not tell."""

    pid: int
    uid: int

    def name(self) -> str:
        """Who asks, as records keep it."""
        with suppress(OSError):
            words = Path(f"/proc/{self.pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
            text = "".join(c if c.isprintable() else "?" for c in " ".join(words).strip())
            return f"{_user(self.uid)}, process {self.pid}: {text[:LONGEST_NAME]}"
        return f"{_user(self.uid)}, process {self.pid}"

    def descends_from(self, pid: int) -> bool:
        """Whether it is that process or was started by it, however far down. Whose parent has ended is its subreaper's
        child, so that nobody gets out by leaving a parent; and whoever has ended himself may have been started by it: a
        person waits for the answer."""
        found = [*_ancestors(self.pid)]
        return self.pid > 0 and (pid in found or 0 not in found)


def peer_of(end: socket.socket) -> Peer:
    if sys.platform != "linux":
        return Peer(0, os.getuid())
    pid, uid, _ = struct.unpack("3i", end.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    return Peer(pid, uid)


@dataclass(slots=True)
class Client:
    """pending are the numbers of its requests that are not answered yet."""

    link: Link
    peer: Peer
    since: float
    pending: set[int] = field(default_factory=set)


class Clients:
    """answer gets each request with who made it."""

    def __init__(self, selector: selectors.BaseSelector, answer: Callable[[Client, Said], None]) -> None:
        self._selector, self._answer = selector, answer
        self._clients: list[Client] = []  # the newest last
        self._spare = _spare()  # to turn away a client when no handle is left

    def welcome(self, server: socket.socket, now: float) -> None:
        """Take in whoever connects; one more than there is room for makes the longest idle go."""
        try:
            end, _ = server.accept()
        except OSError as error:
            self._turn_away(server, error)
            return
        peer = peer_of(end)
        if peer.uid not in (os.getuid(), 0):
            end.close()
            return
        if len(self._clients) >= MOST_CLIENTS:
            self._cut(min(self._clients, key=lambda client: (bool(client.pending), client.since)))
        self.add(Client(Link(end, MOST_BYTES), peer, now))

    def _turn_away(self, server: socket.socket, error: OSError) -> None:
        """Without a handle the next client cannot even be refused, and the loop would spin."""
        log.warning("a client could not be taken in: %s", error)
        self._let_go()
        with suppress(OSError):
            server.accept()[0].close()
        self._spare = _spare()
        if self._spare is None:
            time.sleep(PAUSE_SECONDS)

    def _let_go(self) -> None:
        if self._spare is not None:
            os.close(self._spare)
        self._spare = None

    def add(self, client: Client) -> None:
        self._clients.append(client)
        self._selector.register(client.link, selectors.EVENT_READ, partial(self._serve, client))

    def _serve(self, client: Client) -> None:
        client.link.flush()
        messages = client.link.heard()
        if len(messages) > MOST_AT_ONCE or len(client.pending) > MOST_AT_ONCE:
            self._cut(client)
            return
        for message in messages:
            self._answer(client, message)
        self._mind(client)

    def reply(self, number: int, text: str, done: bool | None) -> None:
        """To whoever made the request of this number, if it is still there; done, if it is said, ends the request."""
        for client in [client for client in self._clients if number in client.pending]:
            client.link.say(said=text) if done is None else client.link.say(said=text, done=done)
            if done is not None:
                client.pending.discard(number)
            self._mind(client)

    def tick(self, now: float) -> None:
        """Whoever has asked nothing goes."""
        for client in [client for client in self._clients if not client.pending and now > client.since + IDLE_SECONDS]:
            self._cut(client)

    def _mind(self, client: Client) -> None:
        """Drop one that is gone; wait for one that does not read."""
        if not client.link.is_open:
            self._cut(client)
            return
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if client.link.has_unsent else 0)
        self._selector.modify(client.link, events, partial(self._serve, client))

    def _cut(self, client: Client) -> None:
        self._clients = [other for other in self._clients if other is not client]
        with suppress(KeyError, ValueError):  # its socket is closed already
            self._selector.unregister(client.link)
        client.link.close()

    def close(self) -> None:
        for client in self._clients:
            client.link.close()
        self._let_go()


def _spare() -> int | None:
    """None where the whole machine has no handle left: somebody else took the one that was let go."""
    with suppress(OSError):
        return os.open(os.devnull, os.O_RDONLY)
    return None


def _user(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def _ancestors(pid: int) -> Iterator[int]:
    """The process and its parents, and 0 behind the first of the machine; without it, one of them has ended."""
    with suppress(OSError, ValueError, IndexError):
        yield pid
        while pid > 0:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
            yield pid
