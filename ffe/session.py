"""What makes a run's ids its own: each is derived from the session, and none can come twice."""

from __future__ import annotations

import hashlib
from base64 import b32encode
from dataclasses import dataclass

from ffe.model import DecisionId, Nanos, OrderId, Role


def session_id(code: str, data: str, head: str) -> str:
    """The name of a run or a session: which code ran what, said by its head in canonical JSON, on which data."""
    return hashlib.sha256(f"{code}\n{data}\n{head}".encode("utf-8", "backslashreplace")).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Session:
    """What makes a run's ids its own, and the interval that its strategy declares."""

    id: str
    interval: Nanos

    def decision(self, sequence: int) -> DecisionId:
        """A UUID (version 8) of the session and the sequence alone."""
        digest = bytearray(hashlib.sha256(f"{self.id}:{sequence}".encode()).digest()[:16])
        digest[6], digest[8] = digest[6] & 0x0F | 0x80, digest[8] & 0x3F | 0x80
        text = digest.hex()
        return DecisionId(f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}")

    def order(self, decision: DecisionId, role: Role, sequence: int) -> OrderId:
        """26 characters of a-z and 2-7: within every venue's length and alphabet."""
        digest = hashlib.sha256(f"{self.id}:{decision}:{role}:{sequence}".encode()).digest()
        return OrderId(b32encode(digest[:16]).decode().rstrip("=").lower())
