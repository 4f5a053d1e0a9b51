"""What travels to and from the loopback OANDA: cells that know how they are written, requests, replies.

Inside, a number is a Decimal already at its precision and a time is int64 nanoseconds; on the wire both are strings.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal

SECOND = 1_000_000_000
ACCOUNT = "/accounts/{accountID}"


class Time(int):
    """Nanoseconds since 1970 UTC: a number that is written as a time."""

    def rfc3339(self) -> str:
        return f"{datetime.fromtimestamp(self // SECOND, UTC):%Y-%m-%dT%H:%M:%S}.{self % SECOND:09d}Z"

    def unix(self) -> str:
        return f"{self // SECOND}.{self % SECOND:09d}"


def read_time(text: str) -> Time:
    """Either of the two formats, whatever number of decimals it carries."""
    whole, _, fraction = text.removesuffix("Z").replace("+00:00", "").partition(".")
    nanos = int(fraction.ljust(9, "0")[:9] or "0")
    if whole.isdigit():
        return Time(int(whole) * SECOND + nanos)
    return Time(int(datetime.fromisoformat(whole).replace(tzinfo=UTC).timestamp()) * SECOND + nanos)


Cell = str | int | bool | None | Decimal | Time | list["Cell"] | dict[str, "Cell"]
Wire = dict[str, Cell]


def rendered(cell: Cell, unix: bool = False) -> Cell:
    """The same cell as JSON has it."""
    match cell:
        case dict():
            return {name: rendered(each, unix) for name, each in cell.items()}
        case list():
            return [rendered(each, unix) for each in cell]
        case Time():
            return cell.unix() if unix else cell.rfc3339()
        case Decimal():
            return f"{cell:f}"
    return cell


def present(**cells: Cell) -> Wire:
    """What is not known is not there."""
    return {name: cell for name, cell in cells.items() if cell is not None}


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came in, without its token. time is the venue's clock, unskewed."""

    number: int
    time: int
    method: str
    path: str
    route: str  # the description's template; empty where it has none
    params: Mapping[str, str]
    query: Mapping[str, str]
    body: Wire | None
    unix: bool = False

    @property
    def question(self) -> tuple[str, str, tuple[tuple[str, str], ...]]:
        """What makes two requests the same."""
        return self.method, self.path, tuple(sorted(self.query.items()))


@dataclass(frozen=True, slots=True)
class Reply:
    """What goes back: body is JSON, or bytes as they are. A hung reply never ends; a dropped one breaks the line."""

    status: int
    body: Wire | bytes = field(default_factory=dict)
    headers: tuple[tuple[str, str], ...] = ()
    delay: float = 0.0
    hangs: bool = False
    drops: bool = False

    def encoded(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


def refused(status: int, code: str, message: str) -> Reply:
    return Reply(status, {"errorCode": code, "errorMessage": message} if code else {"errorMessage": message})


def read_json(raw: bytes) -> Wire | None:
    try:
        return json.loads(raw) if raw else None
    except ValueError:
        return {"body": "no JSON"}  # which no operation takes
