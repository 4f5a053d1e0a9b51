"""Lots, ticks and dust: what a venue takes of a number."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ffe.model import Price, Qty
from ffe.rounding import is_dust
from tests.risk.values import BTC, EURUSD

COIN = replace(BTC, lot=1e-5, minimum_qty=1e-5, minimum_notional=5.0)


@pytest.mark.parametrize(
    ("qty", "price", "expected"),
    [
        (0.00010989, 49_990.0, True),  # the whole lots are worth 4.999 of 5
        (0.00010989, 50_400.0, True),  # 5.04: within the margin of the minimum
        (0.00010989, 50_600.0, False),
        (-0.00010989, 50_600.0, False),
        (0.0000099, 1e9, True),  # less than a lot
        (1.0, 50_000.0, False),
        (1.0, float("nan"), False),  # an unknown price does not make a position disappear
    ],
)
def test_dust_is_what_cannot_be_sold_in_whole_lots_at_the_present_price(qty: Qty, price: Price, expected: bool) -> None:
    assert is_dust(COIN, qty, price) is expected


def test_dust_of_an_instrument_without_a_minimum_value_is_less_than_its_minimum_quantity() -> None:
    pair = replace(EURUSD, lot=1.0, minimum_qty=10.0)
    assert is_dust(pair, -9.0, 1.1) and not is_dust(pair, -10.0, 1.1)
