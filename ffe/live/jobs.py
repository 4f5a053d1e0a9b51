"""Work that may wait for a venue or a disk, on threads; what comes of it is handed to the loop that asked for it."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Barrier
from typing import TypeVar

T = TypeVar("T")
Call = Callable[[], None]

log = logging.getLogger(__name__)


class Jobs:
    """A selector sees it as readable when something is to be handed over."""

    def __init__(self, threads: int = 6) -> None:
        self._calls: SimpleQueue[Call] = SimpleQueue()
        self._ours, self._theirs = socket.socketpair()
        self._ours.setblocking(False)
        self._theirs.setblocking(False)
        self._threads = _running(threads, "job")
        self._lane = _running(1, "disk")

    def fileno(self) -> int:
        return self._ours.fileno()

    def start(self, work: Callable[[], T], then: Callable[[T], None], broke: Callable[[str], None]) -> None:
        """Work on a thread; then gets what it returned, broke what it raised, both in the loop's thread."""
        self._threads.submit(work).add_done_callback(lambda done: self._hand(done, then, broke))

    def queue(self, work: Callable[[], T], then: Callable[[T], None], broke: Callable[[str], None]) -> None:
        """The same, one after the other: a permit that is given must not overtake one that is taken away later."""
        self._lane.submit(work).add_done_callback(lambda done: self._hand(done, then, broke))

    def _hand(self, done: Future[T], then: Callable[[T], None], broke: Callable[[str], None]) -> None:
        if (error := done.exception()) is not None:
            log.critical("a fault of ours", exc_info=error)
            self.post(lambda: broke(f"{type(error).__name__}: {error}"))
        else:
            self.post(lambda: then(done.result()))

    def post(self, call: Call) -> None:
        """From any thread: call it in the loop's."""
        self._calls.put(call)
        with suppress(OSError):  # the loop has not yet read what woke it, or has ended
            self._theirs.send(b".")

    def hand_over(self) -> None:
        """In the loop's thread: everything that has been posted."""
        with suppress(BlockingIOError):
            self._ours.recv(1 << 12)
        with suppress(Empty):
            while True:
                self._calls.get_nowait()()

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._lane.shutdown(wait=False, cancel_futures=True)
        self._ours.close()
        self._theirs.close()


def _running(threads: int, name: str) -> ThreadPoolExecutor:
    """A pool whose threads run already: where no more can be had later, a submission would raise in the loop."""
    pool, all_run = ThreadPoolExecutor(threads, name), Barrier(threads + 1)
    try:
        for _ in range(threads):
            pool.submit(all_run.wait)
        all_run.wait()
    except RuntimeError:
        all_run.abort()  # those that run already would wait for the others for ever
        raise
    return pool
