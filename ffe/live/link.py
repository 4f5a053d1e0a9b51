"""A JSON socket: values between two processes, one object a line.

Sending never waits: what the other end does not take yet is kept and leaves with the next message or by `flush`. An end
that leaves a mebibyte unread, or sends a line that long, is cut off: a client that does not read must not hold up a
supervisor, and a supervisor that is stopped must not hold up an engine.
"""

from __future__ import annotations

import json
import socket
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from select import select
from time import monotonic
from typing import TypeAlias

Said: TypeAlias = "dict[str, Json]"
Json: TypeAlias = "Said | list[Json] | str | int | float | bool | None"

MOST = 1 << 20  # bytes of a line, and of what is kept for an end that does not read
AT_ONCE = socket.MSG_DONTWAIT


class Link:
    """One end. An end that is gone sends nothing and has nothing to read."""

    def __init__(self, end: socket.socket, most: int = MOST) -> None:
        self.end, self._most = end, most
        self.is_open = True
        self._unread, self._unsent = b"", bytearray()
        self._messages: deque[Said] = deque()  # that have arrived and were not read
        end.setblocking(True)

    def fileno(self) -> int:
        return self.end.fileno()

    @property
    def has_unsent(self) -> bool:
        """Whether something waits until the other end reads."""
        return self.is_open and bool(self._unsent)

    def say(self, **message: Json) -> None:
        self._unsent += json.dumps(message).encode() + b"\n"
        self.flush()

    def flush(self) -> None:
        """Send as much of what waits as the other end takes now."""
        try:
            while self.is_open and self._unsent:
                del self._unsent[: self.end.send(self._unsent, AT_ONCE)]
        except BlockingIOError:
            self.is_open = len(self._unsent) <= self._most
        except OSError:
            self.is_open = False

    def drain(self, seconds: float) -> None:
        """Wait so long for the other end to take what is left: for a process that ends."""
        deadline = monotonic() + seconds
        while self.has_unsent and monotonic() < deadline:
            select([], [self.end], [], 0.1)
            self.flush()

    def heard(self) -> list[Said]:
        """The messages that have arrived; it does not wait for any."""
        if (data := self._arrived()) is not None:
            self._take_in(data)
        return [*self._taken()]

    def rest(self) -> Iterator[Said]:
        """Everything that has arrived, to the last byte: a process's last messages are older than its end."""
        while self.is_open and (data := self._arrived()) is not None:
            self._take_in(data)
        yield from self._taken()

    def _arrived(self) -> bytes | None:
        """What can be read now; None where the other end is there and has sent nothing."""
        try:
            return self.end.recv(1 << 16, AT_ONCE)
        except BlockingIOError:
            return None
        except OSError:
            return b""

    def listen(self) -> Iterator[Said]:
        """Every message, until the other end is gone; it waits, as long as the socket's timeout allows."""
        yield from self._taken()
        while self.is_open:
            try:
                self._take_in(self.end.recv(1 << 16))
            except OSError:
                self._take_in(b"")
            yield from self._taken()

    def _taken(self) -> Iterator[Said]:
        """One by one: what a reader leaves is there for the next."""
        while self._messages:
            yield self._messages.popleft()

    def _take_in(self, data: bytes) -> None:
        self.is_open = self.is_open and bool(data) and len(self._unread) < self._most
        *lines, self._unread = (self._unread + data).split(b"\n")
        self._messages += [message for line in lines for message in _read(line)]

    def close(self) -> None:
        self.is_open = False
        with suppress(OSError):
            self.end.shutdown(socket.SHUT_RDWR)
        self.end.close()


def _read(line: bytes) -> Iterator[Said]:
    """The object of a line; a line that is none, or one of brackets alone, is skipped."""
    with suppress(ValueError, RecursionError):
        message = json.loads(line)
        if isinstance(message, dict):
            yield message
