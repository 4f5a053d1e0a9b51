"""What the loopback OANDA takes and answers, held to oanda_facts.py: what is not named there does not exist.

An Order, an OrderRequest or a Transaction is held to the shape that its type names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache

from tests.venues.oanda_facts import ENUMS, FAMILIES, OPERATIONS, PATTERNS, REFUSALS, SHAPES, UNSERVED
from tests.venues.oanda_wire import Cell, Wire


def _text(pattern: str) -> Callable[[Cell], bool]:
    fits = re.compile(pattern).fullmatch
    return lambda cell: isinstance(cell, str) and bool(fits(cell))


def _one_of(values: set[str]) -> Callable[[Cell], bool]:
    return lambda cell: isinstance(cell, str) and cell in values


# Whether a cell is of a type that has no parts.
PLAIN: Mapping[str, Callable[[Cell], bool]] = {
    "int": lambda cell: type(cell) is int,
    "bool": lambda cell: type(cell) is bool,
    **{name: _text(pattern) for name, pattern in PATTERNS.items()},
    **{name: _one_of(set(values.split())) for name, values in ENUMS.items()},
}


class SchemaViolation(AssertionError):
    """The venue answered what the facts do not allow: a bug of the venue or of a test, or a fact that is not kept."""


@dataclass(frozen=True, slots=True)
class Operation:
    method: str
    route: str  # the template
    params: Mapping[str, str]

    @property
    def name(self) -> str:
        return f"{self.method} {self.route}"


@cache
def fields(text: str) -> Mapping[str, str]:
    """Each field's type; where parts share a field the last one counts."""
    found: dict[str, str] = {}
    for part in text.split(";"):
        names, _, kind = part.strip().partition(": ")
        found |= dict.fromkeys(names.split(), kind) if kind else fields(SHAPES[names])
    return found


def member(family: str, kind: object) -> str:
    """The name of a family's member: MARKET of Order is MarketOrder. Empty if there is none."""
    name = str(kind).title().replace("_", "") + family
    return name if name in SHAPES else ""


def _routes() -> list[tuple[re.Pattern[str], str, set[str]]]:
    """Address, route and methods. Literal segments come first: transactions/sinceid is not a transaction's id."""
    methods: dict[str, set[str]] = {}
    for method, route in (name.split() for name in [*OPERATIONS, *UNSERVED]):
        methods.setdefault(route, set()).add(method)
    ordered = sorted(methods, key=lambda route: (route.count("{"), route))
    return [(re.compile("/v3" + re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", each)), each, methods[each]) for each in ordered]


ROUTES = _routes()


def match(method: str, path: str) -> Operation | int:
    """The operation, or the status of a refusal."""
    for pattern, route, methods in ROUTES:
        if found := pattern.fullmatch(path):
            return Operation(method, route, found.groupdict()) if method in methods else 405
    return 404


def refusals(operation: Operation, query: Mapping[str, str], body: Wire | None) -> list[str]:
    """Why this request is not as described; empty if it is."""
    parts = OPERATIONS.get(operation.name)
    return [*_wrong_query(parts.get("query"), query), *_wrong_body(parts.get("body"), body)] if parts else []


def _wrong_query(text: str | None, query: Mapping[str, str]) -> Iterator[str]:
    known = fields(text) if text else {}
    for name, said in query.items():
        if name not in known:
            yield f"unknown query parameter '{name}'"
        elif not _is_written(said, known[name].rstrip("!")):
            yield f"Invalid value specified for '{name}'"
    yield from (f"'{name}' is missing" for name, kind in known.items() if kind.endswith("!") and name not in query)


def _is_written(said: str, kind: str) -> bool:
    """Whether a parameter is as its type has it; a list is separated by commas."""
    if kind.startswith("["):
        return all(_is_written(each, kind[1:-1]) for each in said.split(","))
    if kind == "int":
        return said.isdecimal()
    return said in ("true", "false") if kind == "bool" else PLAIN[kind](said)


def _wrong_body(text: str | None, body: Wire | None) -> Iterator[str]:
    if text:
        yield from _wrong_fields(body, fields(text), "")
    elif body:
        yield "no body is taken here"


def check(operation: Operation, status: int, body: Wire) -> None:
    """Raise if an answer is not as described."""
    text = OPERATIONS[operation.name].get(str(status)) or (SHAPES["problem"] if status in REFUSALS else None)
    if text is None:
        raise SchemaViolation(f"{operation.name} does not answer {status}")
    for error in _wrong_fields(body, fields(text), ""):
        raise SchemaViolation(f"{operation.name} {status} at {error}")


def wrong(cell: Cell, kind: str, at: str = "") -> Iterator[str]:
    """What is not as the type has it, and where."""
    if kind.endswith("?"):
        yield from () if cell is None else wrong(cell, kind[:-1], at)
    elif kind.startswith("["):
        yield from _wrong_list(cell, kind[1:-1], at)
    elif kind not in PLAIN:
        yield from _wrong_shape(cell, kind, at)
    elif not PLAIN[kind](cell):
        yield f"{at}: {cell!r} is no {kind}"


def _wrong_list(cell: Cell, kind: str, at: str) -> Iterator[str]:
    if not isinstance(cell, list):
        yield f"{at}: {cell!r} is no list"
        return
    for index, each in enumerate(cell):
        yield from wrong(each, kind, f"{at}.{index}")


def _wrong_shape(cell: Cell, name: str, at: str) -> Iterator[str]:
    if name in FAMILIES:
        name = member(name, cell.get("type")) if isinstance(cell, dict) else ""
    if name:
        yield from _wrong_fields(cell, fields(SHAPES[name]), at)
    else:
        yield f"{at}: {cell!r} has no type that is described"


def _wrong_fields(cell: Cell, known: Mapping[str, str], at: str) -> Iterator[str]:
    if not isinstance(cell, dict):
        yield f"{at or 'body'}: {cell!r} is no object"
        return
    for name, each in cell.items():
        here = f"{at}.{name}" if at else name
        if name in known:
            yield from wrong(each, known[name], here)
        else:
            yield f"{here}: not described"
