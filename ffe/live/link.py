"""Values between two processes: one JSON object a line, over a socket. Who cannot be understood is cut off."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import TypeAlias

Said: TypeAlias = "dict[str, Json]"
Json: TypeAlias = "Said | list[Json] | str | int | float | bool | None"

MOST = 1 << 20  # bytes of a line


class Link:
    """One end. `heard` returns what has come without waiting; an end that is gone says nothing and hears nothing."""

    def __init__(self, end: socket.socket) -> None:
        self.end = end
        self.is_open = True
        self._rest = b""
        end.setblocking(True)

    def fileno(self) -> int:
        return self.end.fileno()

    def say(self, **said: Json) -> None:
        try:
            self.end.sendall(json.dumps(said).encode() + b"\n")
        except OSError:
            self.is_open = False

    def heard(self) -> list[Said]:
        """What is readable now; call it when a selector says that something is."""
        try:
            data = self.end.recv(1 << 16)
        except OSError:
            data = b""
        self.is_open = self.is_open and bool(data) and len(self._rest) < MOST
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [said for line in lines for said in _read(line)]

    def listen(self) -> Iterator[Said]:
        """Everything, until the other end has gone."""
        while self.is_open:
            yield from self.heard()

    def close(self) -> None:
        self.is_open = False
        with suppress(OSError):
            self.end.shutdown(socket.SHUT_RDWR)
        self.end.close()


def _read(line: bytes) -> Iterator[Said]:
    with suppress(ValueError):
        said = json.loads(line)
        if isinstance(said, dict):
            yield said
