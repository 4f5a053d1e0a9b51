"""What a question to a venue can come to instead of an answer. Foreign errors become these, in one function per
language."""

from __future__ import annotations

from collections.abc import Iterable

from ffe.model import SECOND, Fault, Nanos


class Unclear(Exception):
    """No usable answer: what was asked may or may not have happened."""

    def __init__(self, fault: Fault, said: str) -> None:
        super().__init__(said)
        self.fault = fault


class Unproven(Unclear):
    """An order was taken back, and whether it had traded before could not be asked."""


class Denied(Exception):
    """The venue said no, for certain. is_locked_out: it no longer knows our key."""

    def __init__(self, reason: str, is_locked_out: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.is_locked_out = reason, is_locked_out


class Unsent(Denied):
    """It never left, for a reason of our own: the venue has said nothing of it. again is from when on it may."""

    def __init__(self, reason: str, again: Nanos | None = None) -> None:
        super().__init__(reason)
        self.again = again


class Busy(Denied):
    """Too many requests: the venue wants to be left alone, for wait if it said how long."""

    def __init__(self, reason: str, wait: Nanos | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


class NotThere(Exception):
    """The venue knows no such order, or knows it no longer."""


def without(said: str, secrets: Iterable[str | None]) -> str:
    """What a venue or a library says, without what opens the account: some repeat what they were sent."""
    for secret in filter(None, secrets):
        said = said.replace(secret, "***")
    return said


def wait_of(retry_after: str | None) -> Nanos | None:
    """What a Retry-After header asks for; a date in it is read as nothing said."""
    return int(retry_after) * SECOND if retry_after and retry_after.isdecimal() else None
