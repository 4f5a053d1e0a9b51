"""How single exchanges differ from what ccxt makes of all of them: how our orders are asked for and found again, where
their prices are cheapest, whether a market trades now, and what they say of the requests that are left.

An exchange that has a class here passed the contract suite; any other is spoken to by `Exchange`, which holds for most.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ccxt

from ffe.model import MINUTE, Nanos, OrderId, Price, Symbol
from ffe.wire.errors import Busy

MILLI: Nanos = 1_000_000
SPENT = 0.5  # of a minute's requests: what is left belongs to orders

RESTRICTIONS = ("cancel_only", "limit_only", "post_only", "reduce_only", "auction_mode", "is_disabled", "view_only")

Reply = Mapping[str, Any]  # one of ccxt's structures: read where it is used, and checked there


@dataclass(frozen=True, slots=True)
class Terms:
    """How an order is asked for: ccxt's type and price, and what is particular to the exchange."""

    kind: str
    price: Price | None = None
    params: Mapping[str, str | float] = field(default_factory=dict)


class Exchange:
    """What holds at most exchanges."""

    def named(self, id: OrderId) -> dict[str, str]:
        """Parameters that give an order our own id, or ask for one by it."""
        return {"clientOrderId": id}

    def entry(self, collar: Price) -> Terms:
        """A limit that fills at once or not at all: the venue itself holds the bound."""
        return Terms("limit", collar, {"timeInForce": "IOC"})

    def exit(self) -> Terms:
        return Terms("market")

    def stop(self, price: Price) -> Terms:
        """A sale at market once the price is reached."""
        return Terms("market", None, {"stopLossPrice": price})

    def order(self, client: ccxt.Exchange, number: str | None, id: OrderId, symbol: Symbol, since: Nanos) -> Reply:
        """An order by the venue's number, or by our own id where that is not known; raises as ccxt does."""
        found: Reply = client.fetch_order(number, symbol, {} if number else self.named(id))
        return found

    def cancel(self, client: ccxt.Exchange, number: str | None, id: OrderId, symbol: Symbol, since: Nanos) -> None:
        client.cancel_order(number, symbol, {} if number else self.named(id))

    def tickers(self, client: ccxt.Exchange, symbols: Sequence[Symbol]) -> Mapping[str, Reply]:
        """Prices of several markets in as few requests as there can be."""
        if len(symbols) == 1 or not client.has["fetchTickers"]:
            return {symbol: client.fetch_ticker(symbol) for symbol in symbols}
        found: Mapping[str, Reply] = client.fetch_tickers(list(symbols))
        return found

    def stamp(self, ticker: Reply | None) -> Nanos | None:
        """When a price was so, by the exchange; at some the stamp is the last trade's, which says nothing of it."""
        return None

    def next_page(self, trade: Reply) -> Mapping[str, str]:
        """Parameters that list own trades after one, where the exchange counts them: hundreds may share a time."""
        return {}

    def time(self, client: ccxt.Exchange) -> int:
        """Its clock in milliseconds, or ours where it shows none."""
        return int(client.fetch_time() if client.has["fetchTime"] else client.milliseconds())

    def halt(self, client: ccxt.Exchange, symbol: Symbol) -> str:
        """Why a market does not trade now, as far as the venue says so; empty where it trades."""
        return listed_halt(client.market(symbol))

    def used_share(self, client: ccxt.Exchange) -> float:
        """The share of a minute's requests that is used, by the newest answer; 0 where the exchange does not say."""
        return 0.0


class Binance(Exchange):
    LIMIT = 6_000.0  # request weight a minute

    def halt(self, client: ccxt.Exchange, symbol: Symbol) -> str:
        """Asked anew for one symbol: what ccxt keeps is as old as the session."""
        market = client.market(symbol)
        listed = client.public_get_exchangeinfo({"symbol": market["id"]})["symbols"]
        status = str(listed[0]["status"])
        return "" if status == "TRADING" else f"its status is {status}"

    def stamp(self, ticker: Reply | None) -> Nanos | None:
        return int(ticker["timestamp"]) * MILLI if ticker and ticker["timestamp"] else None

    def next_page(self, trade: Reply) -> Mapping[str, str]:
        return {"fromId": str(int(trade["id"]) + 1)}

    def used_share(self, client: ccxt.Exchange) -> float:
        weight = str((client.last_response_headers or {}).get("X-MBX-USED-WEIGHT-1M", "0"))
        return float(weight) / self.LIMIT if weight.isdecimal() else 0.0


def listed_halt(market: Reply) -> str:
    """Why a market that is loaded takes no entries and exits, though ccxt may call it active; empty where it does."""
    info = market["info"] if isinstance(market["info"], Mapping) else {}
    status = str(info.get("status") or "")
    for name in RESTRICTIONS:
        if info.get(name) is True or status == name:
            return f"its status is {name}"
    if market["active"] is not False:
        return ""
    return f"its status is {status}" if status else "the venue lists it as not active"


TESTED: Mapping[str, Exchange] = {"binance": Binance()}  # by ccxt's name of them
OTHER = Exchange()


def exchange_of(client: ccxt.Exchange) -> Exchange:
    return TESTED.get(client.id, OTHER)


class Budget:
    """The venue's requests a minute: once half of them are used, questions wait for the next minute.

    Two open trades were watched by 95 % of Binance's weight; one more question brought a refusal, and with it an exit
    that had to wait. The clock is the client's own.
    """

    def __init__(self, client: ccxt.Exchange) -> None:
        self._client, self._exchange = client, exchange_of(client)
        self._share, self._minute = 0.0, 0

    def note(self) -> None:
        """After an answer."""
        self._share, self._minute = self._exchange.used_share(self._client), self._now() // MINUTE

    def check(self) -> None:
        """Before a question; Busy where it has to wait."""
        now = self._now()
        if self._share >= SPENT and now // MINUTE == self._minute:
            raise Busy(f"{self._share:.0%} of the requests a minute are used", MINUTE - now % MINUTE)

    def _now(self) -> Nanos:
        return int(self._client.milliseconds()) * MILLI
