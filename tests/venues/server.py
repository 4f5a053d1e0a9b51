"""A loopback HTTP server that knows no protocol: an app turns each request into a reply, and the reply says how it
goes out: whole, cut short, or not at all.

The app runs in the server's thread, one request at a time. A reply that hangs holds up neither the others nor the
shutdown. What an app raises is raised again when the server closes: a broken venue breaks its test.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum, auto
from types import TracebackType
from typing import Self, TypeAlias

from aiohttp import web

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"

GRACE = 5.0  # seconds that opening and closing may take


class Ending(Enum):
    WHOLE = auto()
    CUT = auto()  # half of the body, then the connection closes
    DROPPED = auto()  # the connection closes without a word
    HUNG = auto()  # nothing at all, until the client gives up


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: str


@dataclass(frozen=True, slots=True)
class Reply:
    """Bytes go out as they are, everything else as JSON; delay is in seconds of the real clock."""

    body: Json | bytes = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    ending: Ending = Ending.WHOLE
    delay: float = 0.0

    @property
    def encoded(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


App = Callable[[Request], Reply]


class Server:
    """`with Server(app, context) as server:` listens at 127.0.0.1:port; the app may be exchanged while it runs."""

    def __init__(self, app: App, context: ssl.SSLContext | None = None) -> None:
        self.app = app
        self._context = context
        self._failures: list[Exception] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="loopback", daemon=True)
        self._closing = asyncio.Event()
        self.port = 0

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._open(), self._loop).result(GRACE)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(GRACE)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(GRACE)
        self._loop.close()
        if error is None and self._failures:
            raise self._failures[0]

    async def _open(self) -> None:
        self._server = web.Server(self._handle, handler_cancellation=True, access_log=None)
        self._runner = web.ServerRunner(self._server, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self._context).start()
        self.port = self._runner.addresses[0][1]

    async def _close(self) -> None:
        self._closing.set()
        for connection in self._server.connections:
            if connection.transport is not None:
                connection.transport.abort()  # a goodbye over TLS would wait for the client's
        await self._runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        body = (await request.read()).decode()
        try:
            path, _, query = request.raw_path.partition("?")  # as sent: signatures cover the bytes
            reply = self.app(Request(request.method, path, query, request.headers, body))
        except Exception as error:
            self._failures.append(error)
            raise
        await self._wait(reply.delay)
        return await self._send(request, reply)

    async def _send(self, request: web.BaseRequest, reply: Reply) -> web.StreamResponse:
        if reply.ending is Ending.HUNG:
            await self._closing.wait()
        headers = {"Content-Type": "application/json", **reply.headers}
        whole = web.Response(body=reply.encoded, status=reply.status, headers=headers)
        if reply.ending is Ending.WHOLE:
            return whole
        cut = web.StreamResponse(status=reply.status, headers=headers)
        if reply.ending is Ending.CUT:
            cut.content_length = len(reply.encoded)
            await cut.prepare(request)
            await cut.write(reply.encoded[: len(reply.encoded) // 2])
        if request.transport is not None:
            request.transport.abort()
        return cut

    async def _wait(self, seconds: float) -> None:
        if seconds > 0.0:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), seconds)
