"""The kept facts of OANDA's API: each is in use and held to, and none differs from the published description."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from tests.venues.oanda_account import Account
from tests.venues.oanda_facts import ENUMS, FAMILIES, OPERATIONS, PATTERNS, REFUSALS, SHAPES, UNSERVED
from tests.venues.oanda_routes import Routes
from tests.venues.oanda_schema import Operation, SchemaViolation, check, fields, match, member, refusals, wrong
from tests.venues.oanda_wire import ACCOUNT, Cell, Wire

ORDERS = Operation("POST", f"{ACCOUNT}/orders", {})
PRICING = Operation("GET", f"{ACCOUNT}/pricing", {})
PROTECT = Operation("PUT", f"{ACCOUNT}/trades/{{tradeSpecifier}}/orders", {})
CANCEL = Operation("PUT", f"{ACCOUNT}/orders/{{orderSpecifier}}/cancel", {})


# ---------------------------------------------------------------- the facts among themselves


def test_every_kept_operation_is_served() -> None:
    account = Account("101-004-1234567-001", "USD", Decimal(1), (), lambda: 0, False, False)
    assert {f"{method} {route}" for method, route in Routes(account, {}, str).table()} == set(OPERATIONS)


def test_every_shape_and_type_is_reached_from_an_operation() -> None:
    reached: set[str] = set()
    for parts in OPERATIONS.values():
        for text in [*parts.values(), SHAPES["problem"]]:
            reach(text, reached)
    assert reached == {*SHAPES, *ENUMS, *PATTERNS, *FAMILIES, "int", "bool", "problem"}


def reach(text: str, reached: set[str]) -> None:
    """Add what a text names, and what that names."""
    for part in text.split(";"):
        _, _, kind = part.strip().partition(": ")
        name = kind.strip("[]?!") or part.strip()
        for each in [name, *(members(name) if name in FAMILIES else ())]:
            if each not in reached:
                reached.add(each)
                reach(SHAPES[each], reached) if each in SHAPES else None


def members(family: str) -> list[str]:
    return [name for name in SHAPES if name.endswith(family)]


def test_every_transaction_type_has_its_shape() -> None:
    named = [member("Transaction", kind) for kind in ENUMS["TransactionType"].split()]
    assert sorted(named) == sorted(members("Transaction"))


# ---------------------------------------------------------------- they are held to


@pytest.mark.parametrize(
    ("method", "path", "found"),
    [
        ("GET", "/accounts/1/transactions/sinceid", f"{ACCOUNT}/transactions/sinceid"),
        ("GET", "/accounts/1/transactions/7", f"{ACCOUNT}/transactions/{{transactionID}}"),
        ("GET", "/accounts/1/transactions/stream", f"{ACCOUNT}/transactions/stream"),
        ("DELETE", "/accounts/1/orders/7", 405),
        ("GET", "/accounts/1/orders/7/cancel", 405),
        ("GET", "/accounts/1/order", 404),
        ("GET", "/accounts/1/orders/7/8", 404),
    ],
)
def test_a_path_is_one_operation_or_refused(method: str, path: str, found: str | int) -> None:
    operation = match(method, f"/v3{path}")
    assert (operation if isinstance(operation, int) else operation.route) == found


GOOD: dict[str, tuple[Cell, ...]] = {
    "str": ("", "two\nlines"),
    "id": ("7",),
    "account": ("101-004-1234567-001",),
    "pair": ("EUR_USD", "DE30_EUR"),
    "currency": ("USD",),
    "decimal": ("1", "-1.50", "0.0"),
    "time": ("2023-11-14T22:13:20.000000000Z", "2023-11-14T22:13:20Z", "1700000000.5", "1700000000"),
    "int": (0, -2),
    "bool": (True,),
    "TimeInForce": ("FOK",),
    "[id]": ([], ["1", "2"]),
    "PriceBucket": ({}, {"price": "1.1", "liquidity": 10}),
    "PriceBucket?": (None, {"price": "1.1"}),
    "Order": ({"type": "STOP", "priceBound": "1", "stopLossOnFill": {}},),
    "Transaction": ({"type": "STOP_LOSS_ORDER_REJECT", "intendedReplacesOrderID": "1"},),
}
BAD: dict[str, tuple[Cell, ...]] = {
    "str": (None, 1),
    "id": ("", "-1", "1.0", "@mine", 7),
    "account": ("1", "101-004-1234567-001-1"),
    "pair": ("EUR/USD", "EURUSD", "eur_usd"),
    "currency": ("US", "usd", "USDT"),
    "decimal": ("", "NaN", "1.", ".5", "1e5", "+1", " 1", 1.5, None),
    "time": ("yesterday", "2023-11-14", "2023-11-14T22:13:20", "-1", 1700000000, "1700000000.1234567890"),
    "int": ("1", 1.0, True),
    "bool": ("true", 1, None),
    "TimeInForce": ("", "fok", "FOK IOC", None),
    "[id]": (None, "1", {"0": "1"}, ["1", "x"], [["1"]]),
    "PriceBucket": (None, [], {"price": 1.1}, {"size": 1}, {"price": None}),
    "PriceBucket?": ([], {"price": None}),
    "Order": ({}, None, {"type": "LIMIT", "priceBound": "1"}, {"type": "MARKET_ORDER"}, {"type": ["LIMIT"]}),
    "Transaction": ({"type": "MARKET"}, {"type": "STOP_LOSS_ORDER", "intendedReplacesOrderID": "1"}),
}


@pytest.mark.parametrize("kind", GOOD)
def test_a_cell_of_a_type_is_taken_and_any_other_is_not(kind: str) -> None:
    assert [cell for cell in GOOD[kind] if list(wrong(cell, kind))] == []
    assert [cell for cell in BAD[kind] if not list(wrong(cell, kind))] == []


def test_what_is_wrong_is_named_with_its_place() -> None:
    body = {
        "order": {"type": "STOP", "units": 5, "stopLossOnFill": {"price": "1.1", "clientExtensions": {"name": "x"}}}
    }
    assert refusals(ORDERS, {}, body) == [
        "order.units: 5 is no decimal",
        "order.stopLossOnFill.clientExtensions.name: not described",
    ]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({}, "'instruments' is missing"),
        ({"instruments": "EUR_USD", "depth": "1"}, "unknown query parameter 'depth'"),
        ({"instruments": "EUR_USD,EURUSD"}, "Invalid value specified for 'instruments'"),
        ({"instruments": "EUR_USD", "since": "now"}, "Invalid value specified for 'since'"),
        ({"instruments": "EUR_USD", "includeHomeConversions": "1"}, "Invalid value specified for 'includeHomeConv"),
    ],
)
def test_a_query_is_refused_with_the_reason(query: dict[str, str], said: str) -> None:
    (reason,) = refusals(PRICING, query, None)
    assert reason.startswith(said)


def test_a_body_is_taken_only_where_one_is_described() -> None:
    assert refusals(CANCEL, {}, {}) == refusals(CANCEL, {}, None) == []
    assert refusals(CANCEL, {}, {"order": {}}) == ["no body is taken here"]
    assert refusals(ORDERS, {}, None) == ["body: None is no object"]


def test_null_clears_a_stop_and_nothing_else() -> None:
    assert refusals(PROTECT, {}, {"stopLoss": None, "takeProfit": {"price": "1.2"}}) == []
    assert refusals(PROTECT, {}, {"stopLoss": {"price": None}}) == ["stopLoss.price: None is no decimal"]
    assert refusals(ORDERS, {}, {"order": None}) == ["order: None has no type that is described"]


@pytest.mark.parametrize(
    ("operation", "status", "body", "said"),
    [
        (PRICING, 200, {"prices": [{"closeoutBid": 1.1}]}, "200 at prices.0.closeoutBid: 1.1 is no decimal"),
        (PRICING, 200, {"price": []}, "200 at price: not described"),
        (PRICING, 200, [], "200 at body: [] is no object"),
        (PRICING, 201, {}, "does not answer 201"),
        (PRICING, 400, {"orderRejectTransaction": {}}, "400 at orderRejectTransaction: not described"),
        (
            ORDERS,
            400,
            {"orderRejectTransaction": {}},
            "400 at orderRejectTransaction: {} has no type that is described",
        ),
    ],
)
def test_an_answer_that_is_not_described_raises(operation: Operation, status: int, body: Wire, said: str) -> None:
    with pytest.raises(SchemaViolation, match=re.escape(f"{operation.name} {said}")):
        check(operation, status, body)


# ---------------------------------------------------------------- they are what is published

OPENINGS = {  # of the published formats
    "A decimal number": "decimal",
    "The RFC 3339 representation": "time",
    "String representation of the numerical OANDA-assigned TransactionID": "id",
    "The string representation of the OANDA-assigned": "id",
    "A string containing the base currency": "pair",
    "A string containing an ISO 4217 currency": "currency",
    '"-"-delimited string': "account",
}
NAMES_BY_TEXT = {"clientOrderID"}  # published with the format of an order's number


class Published:
    """OANDA's description, and what of the kept facts is not as it says."""

    def __init__(self, path: Path) -> None:
        self.document = json.loads(path.read_text())
        self.compared: set[tuple[str, bool]] = set()

    def differences(self) -> Iterator[str]:
        stated = {
            f"{method.upper()} {route}": operation
            for route, methods in self.document["paths"].items()
            for method, operation in methods.items()
        }
        yield from unequal({*OPERATIONS, *UNSERVED}, set(stated), "")
        yield from unequal(set(map(str, REFUSALS)), set(self.document["responses"]), "refusals")
        for status, response in self.document["responses"].items():
            yield from self._fields(SHAPES["problem"], response["schema"]["properties"], status, True)
        for name, parts in OPERATIONS.items():
            yield from self._operation(parts, stated[name], name)

    def _operation(self, parts: dict[str, str], stated: dict, at: str) -> Iterator[str]:
        resolved = [self.document["parameters"].get(p.get("$ref", "").split("/")[-1], p) for p in stated["parameters"]]
        query = {p["name"]: p for p in resolved if p["in"] == "query"}
        body = next((p["schema"]["properties"] for p in resolved if p["in"] == "body"), {})
        yield from self._fields(parts.get("query", ""), query, f"{at} query", True)
        yield from self._fields(parts.get("body", ""), body, f"{at} body", True)
        answers = {
            status: answer["schema"]["properties"]
            for status, answer in stated["responses"].items()
            if "schema" in answer
        }
        yield from unequal({each for each in parts if each.startswith("2")}, {s for s in answers if s < "300"}, at)
        for status in parts.keys() - {"query", "body"}:
            yield from self._fields(parts[status], answers.get(status, {}), f"{at} {status}", False)

    def _fields(self, text: str, stated: dict[str, dict], at: str, whole: bool) -> Iterator[str]:
        """Where whole, all that is published must be kept."""
        kept = fields(text) if text else {}
        yield from unequal(set(kept), set(stated) if whole else set(stated) & set(kept), at)
        for name in kept.keys() & stated.keys():
            if kept[name].endswith("!") != bool(stated[name].get("required")):
                yield f"{at} {name}: must it be there?"
            cell = {"type": "string"} if name in NAMES_BY_TEXT else stated[name]
            yield from self._cell(kept[name].rstrip("!?"), cell, f"{at} {name}", whole)

    def _cell(self, kind: str, stated: dict, at: str, whole: bool) -> Iterator[str]:
        if kind.startswith("[") and stated.get("type") == "array":
            yield from self._cell(kind[1:-1], stated["items"], at, whole)
        elif kind in ENUMS:
            kept, published = set(ENUMS[kind].split()), set(stated.get("enum", ()))
            yield from unequal(kept, published if whole else published & kept, at)
        elif kind in SHAPES or kind in FAMILIES:
            if stated.get("$ref") != f"#/definitions/{kind}":
                yield f"{at}: {kind}, published {stated}"
            yield from self._shapes(members(kind) if kind in FAMILIES else [kind], kind, whole)
        elif kind != plain(stated):
            yield f"{at}: {kind}, published {plain(stated)}"

    def _shapes(self, names: list[str], kind: str, whole: bool) -> Iterator[str]:
        if whole and kind in FAMILIES:
            published = {name for name in self.document["definitions"] if name.endswith(kind) and name != kind}
            yield from unequal(set(names), published, kind)
        for name in names:
            if (name, whole) not in self.compared:
                self.compared.add((name, whole))
                stated = self.document["definitions"].get(name, {}).get("properties", {})
                yield from self._fields(SHAPES[name], stated, name, whole)


def unequal(kept: set[str], published: set[str], at: str) -> Iterator[str]:
    yield from (f"{at} {each}: not published" for each in sorted(kept - published))
    yield from (f"{at} {each}: not kept" for each in sorted(published - kept))


def plain(stated: dict) -> str:
    """The kept name of a published type that has no parts."""
    if "enum" in stated or "$ref" in stated or stated.get("type") not in ("string", "integer", "boolean"):
        return str(stated)
    if stated["type"] != "string":
        return {"integer": "int", "boolean": "bool"}[stated["type"]]
    text = stated.get("format", "")
    return next((kind for opening, kind in OPENINGS.items() if text.startswith(opening)), text) or "str"


def test_nothing_kept_differs_from_the_published_description(shared_data: Path) -> None:
    assert list(Published(shared_data / "oanda-v20-openapi.json").differences()) == []
