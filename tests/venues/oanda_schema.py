"""OANDA's published v20 description, made strict: what it does not name does not exist.

The description has no `required` and lets unknown fields pass; here an unknown field is an error, an Order, an
OrderRequest or a Transaction is held to the definition that its type names, and formats are checked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from jsonschema import Draft4Validator, FormatChecker, ValidationError
from jsonschema.validators import extend

from tests.venues.oanda_wire import Cell, Wire

# Definitions that stand for a family, told apart by `type`; the suffix completes a member's name.
FAMILIES = {"Order": "Order", "OrderRequest": "OrderRequest", "Transaction": "Transaction"}
FORMATS = {
    "A decimal number": r"-?\d+(\.\d+)?",
    "The RFC 3339": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|\+00:00)|\d+(\.\d{1,9})?",
    "String representation of the numerical OANDA-assigned TransactionID": r"\d+",
    "The string representation of the OANDA-assigned": r"\d+",
    "A string containing the base currency": r"[A-Z0-9]+_[A-Z0-9]+",
}
CLEARS_BY_NULL = "/trades/{tradeSpecifier}/orders"  # null cancels there, which Swagger 2 has no words for


class SchemaViolation(AssertionError):
    """The venue itself said something that the description does not allow: a bug of the venue or of a test."""


@dataclass(frozen=True, slots=True)
class Operation:
    method: str
    route: str  # the template
    params: Mapping[str, str]


def _by_type(validator: Draft4Validator, members: Wire, cell: Cell, _: Wire) -> Iterator[ValidationError]:
    member = members.get(cell.get("type", "")) if isinstance(cell, dict) else None
    if member is None:
        yield ValidationError(f"{cell!r} has no type of the description")
    else:
        yield from validator.descend(cell, member)


Strict = extend(Draft4Validator, {"x-by-type": _by_type})


@cache
def described(path: Path) -> Description:
    """Read once: it takes longer to make strict than most tests take."""
    return Description(path)


def _checker(document: str) -> FormatChecker:
    checker = FormatChecker(formats=())
    for text in set(re.findall(r'"format": "((?:[^"\\]|\\.)*)"', document)):
        for opening, pattern in FORMATS.items():
            if text.startswith(opening):
                fits = re.compile(pattern).fullmatch
                checker.checks(json.loads(f'"{text}"'))(
                    lambda cell, fits=fits: not isinstance(cell, str) or bool(fits(cell))
                )
    return checker


class Description:
    """Which operations exist, what they take and what they answer."""

    def __init__(self, path: Path) -> None:
        self.text = path.read_text()
        self.document = json.loads(self.text)
        self._strict: dict[str, Wire] = {}
        self._validators: dict[tuple[str, str, str], Strict] = {}

    @cached_property
    def _patterns(self) -> list[tuple[str, re.Pattern[str]]]:
        """Literal segments are tried before parameters: transactions/sinceid is not a transaction's id."""
        routes = sorted(self.document["paths"], key=lambda route: (route.count("{"), route))
        return [(route, re.compile("/v3" + re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", route))) for route in routes]

    def match(self, method: str, path: str) -> Operation | int:
        """The operation, or the status of a refusal."""
        for route, pattern in self._patterns:
            if found := pattern.fullmatch(path):
                known = method.lower() in self.document["paths"][route]
                return Operation(method, route, found.groupdict()) if known else 405
        return 404

    def _parameters(self, operation: Operation, where: str) -> dict[str, Wire]:
        stated = self.document["paths"][operation.route][operation.method.lower()]["parameters"]
        resolved = (self.document["parameters"][p["$ref"].split("/")[-1]] if "$ref" in p else p for p in stated)
        return {p["name"]: p for p in resolved if p["in"] == where}

    def refusals(self, operation: Operation, query: Mapping[str, str], body: Wire | None) -> list[str]:
        """Why the description does not allow this request; empty if it does."""
        return [*self._query_refusals(operation, query), *self._body_refusals(operation, body)]

    def _query_refusals(self, operation: Operation, query: Mapping[str, str]) -> Iterator[str]:
        known = self._parameters(operation, "query")
        for name in query:
            kind = known.get(name, {}).get("type")
            if kind is None:
                yield f"unknown query parameter '{name}'"
            elif kind == "integer" and not query[name].isdigit():
                yield f"'{name}' is not an integer"
            elif kind == "boolean" and query[name] not in ("true", "false"):
                yield f"'{name}' is not a boolean"
            elif not self._formats.conforms(query[name], known[name].get("format", "")):
                yield f"Invalid value specified for '{name}'"
        yield from (f"'{name}' is missing" for name, p in known.items() if p.get("required") and name not in query)

    def _body_refusals(self, operation: Operation, body: Wire | None) -> Iterator[str]:
        stated = next(iter(self._parameters(operation, "body").values()), None)
        if stated is None:
            if body:
                yield "no body is taken here"
            return
        if operation.route.endswith(CLEARS_BY_NULL) and body:
            body = {name: cell for name, cell in body.items() if cell is not None}
        for error in Strict(self._closed(stated["schema"]), format_checker=self._formats).iter_errors(body):
            yield f"{'.'.join(map(str, error.path)) or 'body'}: {error.message}"

    def check(self, operation: Operation, status: int, body: Wire) -> None:
        """Raise if an answer is not as described."""
        key = (operation.method, operation.route, str(status))
        if key not in self._validators:
            stated = self.document["paths"][operation.route][operation.method.lower()]["responses"]
            answer = stated.get(str(status)) or self.document["responses"].get(str(status))
            if answer is None:
                raise SchemaViolation(f"{operation.method} {operation.route} does not answer {status}")
            answer = self.document["responses"][answer["$ref"].split("/")[-1]] if "$ref" in answer else answer
            self._validators[key] = Strict(self._closed(answer["schema"]), format_checker=self._formats)
        for error in self._validators[key].iter_errors(body):
            at = ".".join(map(str, error.path))
            raise SchemaViolation(f"{operation.method} {operation.route} {status} at {at}: {error.message}")

    @cached_property
    def _formats(self) -> FormatChecker:
        return _checker(self.text)

    def _closed(self, schema: Wire) -> Wire:
        """The same schema with its references followed and no room for unknown fields."""
        if "$ref" in schema:
            return self._named(schema["$ref"].split("/")[-1])
        closed = {word: schema[word] for word in ("type", "enum", "format") if word in schema}
        if "properties" in schema:
            closed["properties"] = {name: self._closed(each) for name, each in schema["properties"].items()}
            closed["properties"].get("clientOrderID", {}).pop("format", None)  # it is given that of an OrderID
            closed["additionalProperties"] = False
        if "items" in schema:
            closed["items"] = self._closed(schema["items"])
        return closed

    def _named(self, name: str) -> Wire:
        if name not in self._strict:
            family = FAMILIES.get(name)
            self._strict[name] = self._family(family) if family else self._closed(self.document["definitions"][name])
        return self._strict[name]

    def _family(self, suffix: str) -> Wire:
        definitions = self.document["definitions"]
        types = definitions["TransactionType" if suffix == "Transaction" else "OrderType"]["enum"]
        names = {kind: kind.title().replace("_", "") + suffix for kind in types}
        return {
            "x-by-type": {kind: self._closed(definitions[name]) for kind, name in names.items() if name in definitions}
        }
