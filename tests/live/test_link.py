"""A JSON socket: sending never waits, an end that does not read is cut off, and no message is lost before that."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from ffe.live.link import MOST, Link


@pytest.fixture
def pair() -> Iterator[tuple[Link, Link]]:
    ends = socket.socketpair()
    links = Link(ends[0]), Link(ends[1])
    yield links
    for link in links:
        link.close()


def test_messages_arrive_in_their_order(pair: tuple[Link, Link]) -> None:
    ours, theirs = pair
    for n in range(3):
        ours.say(n=n)
    assert theirs.heard() == [{"n": 0}, {"n": 1}, {"n": 2}]


def test_half_a_line_waits_for_its_other_half(pair: tuple[Link, Link]) -> None:
    ours, theirs = pair
    ours.end.sendall(b'{"act": "sta')
    assert theirs.heard() == [] and theirs.is_open
    ours.end.sendall(b'tus"}\n')
    assert theirs.heard() == [{"act": "status"}]


def test_line_that_is_no_object_is_skipped(pair: tuple[Link, Link]) -> None:
    ours, theirs = pair
    ours.end.sendall(b'nonsense\n[1]\n{"act": "end"}\n')
    assert theirs.heard() == [{"act": "end"}] and theirs.is_open


def test_what_a_reader_leaves_is_there_for_the_next(pair: tuple[Link, Link]) -> None:
    """An engine reads its task, and what came behind it is read by another thread."""
    ours, theirs = pair
    for n in range(3):
        ours.say(n=n)
    assert next(theirs.listen()) == {"n": 0} and next(theirs.listen()) == {"n": 1}
    assert theirs.heard() == [{"n": 2}]


def test_reading_an_idle_link_returns_at_once(pair: tuple[Link, Link]) -> None:
    assert pair[1].heard() == [] and pair[1].is_open
    assert list(pair[1].rest()) == [] and pair[1].is_open


def test_last_messages_of_a_process_are_read_to_the_end(pair: tuple[Link, Link]) -> None:
    """Also those that do not fit one read, and although a child of the process keeps the socket open."""
    ours, theirs = pair
    with ours.end.dup():
        for n in range(90):
            ours.say(n=n, text="x" * 1_000)
        assert not ours.has_unsent
        ours.close()
        assert [message["n"] for message in theirs.rest()] == list(range(90))


def test_ending_process_waits_until_its_last_messages_are_taken(pair: tuple[Link, Link]) -> None:
    ours, theirs = pair
    for n in range(600):
        ours.say(n=n, text="x" * 1_000)
    read: list[object] = []
    reader = threading.Thread(target=lambda: read.extend(m["n"] for m in theirs.listen()))
    reader.start()
    ours.drain(5.0)
    ours.close()
    reader.join(5.0)
    assert read == list(range(600))


def test_ending_process_waits_no_longer_than_it_is_told(pair: tuple[Link, Link]) -> None:
    for _ in range(600):
        pair[0].say(text="x" * 1_000)
    began = time.monotonic()
    pair[0].drain(0.2)
    assert 0.15 < time.monotonic() - began < 1.0


def test_sending_to_an_end_that_does_not_read_never_waits_and_loses_nothing(pair: tuple[Link, Link]) -> None:
    ours, theirs = pair
    began = time.monotonic()
    for n in range(600):
        ours.say(n=n, text="x" * 1_000)
    assert time.monotonic() - began < 0.5 and ours.is_open and ours.has_unsent
    read: list[object] = []
    while len(read) < 600:
        read += [message["n"] for message in theirs.heard()]
        ours.flush()
    assert read == list(range(600)) and not ours.has_unsent


def test_end_that_leaves_a_mebibyte_unread_is_cut_off(pair: tuple[Link, Link]) -> None:
    ours, _ = pair
    for _ in range(MOST // 1_000 + 600):
        ours.say(text="x" * 1_000)
    assert not ours.is_open and not ours.has_unsent


def test_line_without_an_end_is_cut_off(pair: tuple[Link, Link]) -> None:
    ours, theirs = pair

    def send() -> None:
        with suppress(OSError):  # the other end cuts it off
            ours.end.sendall(b"x" * (MOST + (1 << 17)))

    sender = threading.Thread(target=send)
    sender.start()
    deadline = time.monotonic() + 5.0
    while theirs.is_open and time.monotonic() < deadline:
        theirs.heard()
    sender.join(5.0)
    assert not theirs.is_open and not sender.is_alive()


def test_link_to_an_end_that_is_gone_is_closed(pair: tuple[Link, Link]) -> None:
    ours, theirs = pair
    theirs.close()
    assert ours.heard() == [] and not ours.is_open
    ours.say(n=1)
    assert list(ours.listen()) == []


def test_listening_ends_with_the_sockets_timeout(pair: tuple[Link, Link]) -> None:
    pair[1].end.settimeout(0.05)
    assert list(pair[1].listen()) == [] and not pair[1].is_open
