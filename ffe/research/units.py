"""What a unit of a run's money was worth at every bar: deposits and withdrawals buy and redeem units and move it not.

The journal's answers and the market's prices go once more through `ffe.book.Book`, which the engine judges drawdown by:
one body for the rule, and no second reckoning of what money was worth when it came.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ffe.book import Book
from ffe.model import Answer, Bars, CashFlow, Flow, Quotes
from ffe.records.encode import decode_event
from ffe.records.reader import lines
from ffe.records.replay import events

if TYPE_CHECKING:
    from ffe.research.backtest import Plan


def late_flows(folder: Path) -> Iterator[CashFlow]:
    """Deposits and (negative) withdrawals after the instant in which the accounts were opened."""
    opened = None
    for _, line in lines(folder):
        if line.kind == "event" and (opened is None or line.body["type"] == "CashFlow"):
            event = decode_event(line.body)
            opened = event.time if opened is None else opened
            if isinstance(event, CashFlow) and event.flow is Flow.DEPOSIT and event.time > opened:
                yield event


def unit_values(folder: Path, plan: Plan) -> NDArray[np.float64]:
    """Equity per unit at every Bars of a run, 1.0 for the first money."""
    book, values = Book(plan.universe, 1), []
    for bars in plan.before():
        book.observe(bars)
    for event in events(folder, plan.feed().events(frozenset)):
        match event:
            case Bars() | Quotes():
                book.observe(event)
            case Answer():
                book.apply(event)
        if isinstance(event, Bars):
            values.append(book.unit.value)
    return np.array(values)
