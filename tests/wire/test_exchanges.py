"""What single exchanges say in their own way, without one: pages and errors."""

from __future__ import annotations

from collections.abc import Iterator

import ccxt
import pytest

from ffe.wire.exchanges import OTHER, Coinbase, _rows, exchange_of

COINBASE = ccxt.coinbase()


def pages(*shown: dict) -> Iterator[dict]:
    yield from shown


def rows(*shown: dict) -> tuple[list, list[dict]]:
    """The rows of these pages, and what was asked for them."""
    left, asked = pages(*shown), []

    def ask(query: dict) -> dict:
        asked.append(query)
        return next(left)

    return list(_rows(ask, {"limit": 2}, "rows")), asked


def test_pages_are_turned_by_their_cursors() -> None:
    found, asked = rows({"rows": [1, 2], "cursor": "a"}, {"rows": [3, 4], "cursor": "b"}, {"rows": [5], "cursor": ""})
    assert found == [1, 2, 3, 4, 5]
    assert asked == [{"limit": 2}, {"limit": 2, "cursor": "a"}, {"limit": 2, "cursor": "b"}]


@pytest.mark.parametrize("last", [{"rows": [3], "cursor": "a"}, {"rows": [], "cursor": "b"}, {"rows": [3]}])
def test_pages_end_where_a_cursor_leads_nowhere(last: dict) -> None:
    found, asked = rows({"rows": [1, 2], "cursor": "a"}, last)
    assert found == [1, 2, *last["rows"]] and len(asked) == 2


def test_page_without_rows_is_no_empty_page() -> None:
    with pytest.raises(KeyError):
        rows({})


REFUSED = 'coinbase {"success":false,"error_response":{"error":"%s","preview_failure_reason":"%s"}}'
MEANINGS = [
    (REFUSED % ("INSUFFICIENT_FUND", "X"), ccxt.InsufficientFunds),
    (REFUSED % ("X", "PREVIEW_INSUFFICIENT_FUND"), ccxt.InsufficientFunds),
    (REFUSED % ("X", "Y"), ccxt.InvalidOrder),
    (REFUSED % ("DUPLICATE_CLIENT_ORDER_ID", "X"), ccxt.ExchangeError),
    ('coinbase {"error":"INTERNAL","message":"try again"}', ccxt.ExchangeError),
    ('coinbase {"success":false}', ccxt.ExchangeError),
    ('coinbase {"success":true,"error_response":{"error":"X"}}', ccxt.ExchangeError),
    ('coinbase {"error_response":{"error":"X"}}', ccxt.ExchangeError),
    ("coinbase [1]", ccxt.ExchangeError),
    ("coinbase is asleep", ccxt.ExchangeError),
]


@pytest.mark.parametrize(("text", "kind"), MEANINGS)
def test_error_of_no_class_is_a_refusal_where_the_answer_says_so(text: str, kind: type) -> None:
    meant = Coinbase().meaning(COINBASE, ccxt.ExchangeError(text))
    assert type(meant) is kind and str(meant) == text


@pytest.mark.parametrize("kind", [ccxt.NetworkError, ccxt.BadRequest, ccxt.PermissionDenied, ccxt.RateLimitExceeded])
def test_error_that_has_a_class_keeps_it(kind: type) -> None:
    error = kind(REFUSED % ("X", "Y"))
    assert Coinbase().meaning(COINBASE, error) is error


def test_exchange_that_was_not_tested_is_spoken_to_as_most_are() -> None:
    assert exchange_of(ccxt.kraken()) is OTHER and isinstance(exchange_of(COINBASE), Coinbase)
    assert OTHER.meaning(ccxt.kraken(), error := ccxt.ExchangeError("kraken {}")) is error
