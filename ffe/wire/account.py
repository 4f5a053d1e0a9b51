"""What a venue says of an account before anything is traded there. None stands for what it does not say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from ffe.model import AccountKind, Currency, Nanos, Ratio, Symbol


class RestingStop(StrEnum):
    """How a stop order that rests at the venue sells once it is triggered; named as ccxt names types of orders."""

    MARKET = "market"
    LIMIT = "limit"


@dataclass(frozen=True, slots=True)
class MarketReport:
    """One market. problem: why it cannot be traded at all; halt: why it does not trade now. Both may be empty.

    closes_regularly: it opens again by its timetable, as forex does after a weekend. stops are those that can rest
    there, and placed is the one that this engine's adapter sends. fee is what a taker pays.
    """

    symbol: Symbol
    problem: str = ""
    kind: AccountKind = AccountKind.SPOT
    halt: str = ""
    closes_regularly: bool = False
    stops: frozenset[RestingStop] = frozenset()
    placed: RestingStop = RestingStop.MARKET
    fee: Ratio | None = None


@dataclass(frozen=True, slots=True)
class ClockReading:
    """The venue's clock, and ours before the question and after the answer."""

    asked: Nanos
    venue: Nanos
    answered: Nanos

    @property
    def skew(self) -> Nanos:
        """How far the venue's clock is ahead of ours (negative: behind), beyond what the request itself can explain."""
        return max(0, self.venue - self.answered) + min(0, self.venue - self.asked)


@dataclass(frozen=True, slots=True)
class AccountReport:
    """One account and the markets that are to be traded.

    currency is None where an account holds several; restriction is what keeps it from trading. fees_unread: why the
    account's own fees are not known, empty where they are or where there are none to ask for. intervals are
    the lengths of bars that it shows. holds_both_sides: one pair can be held long and short at once. fee_coin is a
    coin that the venue may take fees in, and takes_fee_coin whether it does.
    """

    kind: AccountKind
    currency: Currency | None
    markets: tuple[MarketReport, ...]
    held: Mapping[Currency, float]
    clock: ClockReading | None = None
    may_trade: bool | None = None
    restriction: str = ""
    fees_unread: str = ""
    intervals: frozenset[Nanos] = frozenset()
    holds_both_sides: bool = False
    fee_coin: Currency | None = None
    takes_fee_coin: bool | None = None
