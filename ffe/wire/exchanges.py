"""How single exchanges differ from what ccxt makes of all of them: how our orders are asked for and found again, what
their errors mean, where their prices are cheapest, whether a market trades now, and what they say of the requests that
are left.

An exchange that has a class here passed the contract suite; any other is spoken to by `Exchange`, which holds for most.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ccxt

from ffe.model import DAY, MINUTE, Nanos, OrderId, Price, Ratio, Symbol
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

    def stop(self, price: Price, tick: Price = 0.0) -> Terms:
        """A sale at market once the price is reached; tick is the grid of the market's prices."""
        return Terms("market", None, {"stopLossPrice": price})

    def has_triggered(self, order: Reply) -> bool:
        """Whether a stop that is listed as open was triggered, as far as the venue says so."""
        return False

    def order(self, client: ccxt.Exchange, number: str | None, id: OrderId, symbol: Symbol, since: Nanos) -> Reply:
        """An order by the venue's number, or by our own id where that is not known; raises as ccxt does.

        since is a time before which trades of ours are of no interest any more."""
        found: Reply = client.fetch_order(number, symbol, {} if number else self.named(id))
        return found

    def cancel(self, client: ccxt.Exchange, number: str | None, id: OrderId, symbol: Symbol, since: Nanos) -> None:
        """Returns once the order is known to have ended by this."""
        client.cancel_order(number, symbol, {} if number else self.named(id))

    def open_orders(self, client: ccxt.Exchange, symbol: Symbol) -> Sequence[Reply]:
        found: Sequence[Reply] = client.fetch_open_orders(symbol)
        return found

    def trades(
        self, client: ccxt.Exchange, symbol: Symbol, since: int | None, after: Mapping[str, str]
    ) -> Sequence[Reply]:
        """The account's trades from a time in milliseconds on, or after one of them: the oldest page, or all."""
        found: Sequence[Reply] = client.fetch_my_trades(symbol, since, None, after)
        return found

    def balances(self, client: ccxt.Exchange) -> Reply:
        """What the account holds, what is held by orders included."""
        found: Reply = client.fetch_balance()
        return found

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

    def set_clock(self, client: ccxt.Exchange) -> None:
        """Let what requests say of the time follow the venue's clock."""
        client.load_time_difference()

    def meaning(self, client: ccxt.Exchange, error: ccxt.BaseError) -> ccxt.BaseError:
        """An error in the class that says what it means here; most have it already."""
        return error

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
        status = str({row["symbol"]: row for row in listed}[market["id"]]["status"])
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


class NotSeen(ccxt.RequestTimeout):  # type: ignore[misc]  # ccxt has no types
    """A cancel was taken, and what became of its order could not be asked."""


class Coinbase(Exchange):
    """Coinbase Advanced Trade. An acknowledgement has no status, a cancel is submitted and no more, only lists know our
    own ids, and stops are limits."""

    # A stop that is triggered and does not fill is followed by a sale at market, which has no bound at all: a nearer
    # limit would save nothing, and cost the seconds until then. 5 % is half of the way that Coinbase lets a market
    # order move the price before it ends it.
    LIMIT_BELOW: Ratio = 0.05
    CANCEL_LOOKS = (0, 100, 200, 400, 800)  # milliseconds before each look at what is being cancelled
    LOOK_LONGEST = 1_000  # milliseconds that such a look may take: a position waits without a stop
    # A lost order may be older than the trades that are of interest, by no more than this. C5 lets 500 orders a day
    # leave: with their stops a day of one market is a page or two.
    LISTED_FOR: Nanos = DAY
    PAGE = 1_000
    ENDED = frozenset({"CANCELLED", "EXPIRED", "FAILED"})
    NOT_THERE = frozenset({"UNKNOWN_CANCEL_ORDER", "ORDER_IS_FULLY_FILLED"})
    UNDER_WAY = "DUPLICATE_CANCEL_REQUEST"
    EXISTS = "DUPLICATE_CLIENT_ORDER_ID"  # an order of that id is there: no refusal of it
    REASONS = ("error", "preview_failure_reason", "new_order_failure_reason")
    STATUSES: Mapping[str, str] = {"FAILED": "rejected", "EXPIRED": "expired"}  # ccxt calls both canceled
    # The venue takes a token from the second that it names for two minutes. One of our present second is refused by a
    # clock that is a little behind ours, so the second before is named once the clocks have been compared.
    MARGIN = 1_000  # milliseconds
    IN_TIME = range(300, 110_000)  # the age of a token, in milliseconds, at which time is no reason to refuse it

    def named(self, id: OrderId) -> dict[str, str]:
        """ccxt drops a clientOrderId, and sends an id of its own."""
        return {"client_order_id": id}

    def stop(self, price: Price, tick: Price = 0.0) -> Terms:
        """A sale at a limit below the stop, once that is reached: there are no other stops."""
        limit = price * (1.0 - self.LIMIT_BELOW)
        if tick:
            limit = max(tick, math.floor(limit / tick) * tick)
        return Terms("limit", limit, {"stopLossPrice": price})

    def has_triggered(self, order: Reply) -> bool:
        return bool(order["info"].get("trigger_status") == "STOP_TRIGGERED")

    def order(self, client: ccxt.Exchange, number: str | None, id: OrderId, symbol: Symbol, since: Nanos) -> Reply:
        """What is not known by its number stands in a list, which knows no filter for our ids."""
        if number is None:
            found = self._listed(client, id, symbol, since - self.LISTED_FOR)
        else:
            found = self._shown(client, number, symbol)
        status = found["info"].get("status")
        return {**found, "status": self.STATUSES.get(status, found["status"])}

    def _shown(self, client: ccxt.Exchange, number: str, symbol: Symbol) -> Reply:
        try:
            found: Reply = client.fetch_order(number, symbol)
        except ccxt.ExchangeError as error:
            if _body(client, error).get("error") == "NOT_FOUND":
                raise ccxt.OrderNotFound(str(error)) from error
            raise
        return found

    def _listed(self, client: ccxt.Exchange, id: OrderId, symbol: Symbol, since: Nanos) -> Reply:
        market = client.market(symbol)
        query = {"product_ids": [market["id"]], "start_date": client.iso8601(since // MILLI), "limit": self.PAGE}
        for row in _rows(client.v3_private_get_brokerage_orders_historical_batch, query, "orders"):
            if row["client_order_id"] == id:
                found: Reply = client.parse_order(row, market)
                return found
        raise ccxt.OrderNotFound(f"{client.id}: no order {id} is listed")

    def cancel(self, client: ccxt.Exchange, number: str | None, id: OrderId, symbol: Symbol, since: Nanos) -> None:
        """What is taken is submitted, and the order may fill until it is done: it is looked at until it has ended."""
        number = number or str(self.order(client, None, id, symbol, since)["id"])
        (result,) = client.v3_private_post_brokerage_orders_batch_cancel({"order_ids": [number]})["results"]
        reason = "" if result["success"] is True else str(result["failure_reason"])
        if reason in self.NOT_THERE:
            raise ccxt.OrderNotFound(f"{client.id}: {reason}")
        if reason not in ("", self.UNDER_WAY):
            raise ccxt.ExchangeNotAvailable(f"{client.id}: the cancel of {number} was not taken: {reason}")
        self._see_it_end(client, number, symbol)

    def _see_it_end(self, client: ccxt.Exchange, number: str, symbol: Symbol) -> None:
        status = "not answered"
        client.timeout = min(client.timeout, self.LOOK_LONGEST)
        for pause in self.CANCEL_LOOKS:
            client.sleep(pause)
            try:
                status = self._shown(client, number, symbol)["info"]["status"]
            except ccxt.OrderNotFound:
                status = "not listed"
            except ccxt.BaseError as error:
                raise NotSeen(f"{client.id}: the cancel of {number} was taken and not seen done: {error}") from error
            if status == "FILLED":
                raise ccxt.OrderNotFound(f"{client.id}: {number} was filled before its cancel")
            if status in self.ENDED:
                return
        raise ccxt.RequestTimeout(f"{client.id}: the cancel of {number} is not seen done: it is {status}")

    def open_orders(self, client: ccxt.Exchange, symbol: Symbol) -> Sequence[Reply]:
        """All of them: ccxt reads one page, and product_id, which it sends, is no filter there."""
        market = client.market(symbol)
        query = {"product_ids": [market["id"]], "order_status": "OPEN"}
        rows = list(_rows(client.v3_private_get_brokerage_orders_historical_batch, query, "orders"))
        found: Sequence[Reply] = client.parse_orders(rows, market)
        return found

    def trades(
        self, client: ccxt.Exchange, symbol: Symbol, since: int | None, after: Mapping[str, str]
    ) -> Sequence[Reply]:
        """All of them: pages begin with the newest."""
        market = client.market(symbol)
        query = {"product_ids": [market["id"]], "start_sequence_timestamp": client.iso8601(since)}
        rows = list(_rows(client.v3_private_get_brokerage_orders_historical_fills, query, "fills"))
        found: Sequence[Reply] = client.parse_trades(rows, market, since)
        return found

    def stamp(self, ticker: Reply | None) -> Nanos | None:
        return int(ticker["timestamp"]) * MILLI if ticker and ticker["timestamp"] else None

    def balances(self, client: ccxt.Exchange) -> Reply:
        """Of v3: the accounts of v2 know no holds."""
        found: Reply = client.fetch_balance({"v3": True})
        return found

    def tickers(self, client: ccxt.Exchange, symbols: Sequence[Symbol]) -> Mapping[str, Reply]:
        """Tickers of several markets have neither bid nor ask nor time."""
        found: Mapping[str, Reply] = client.fetch_bids_asks(list(symbols))
        return found

    def time(self, client: ccxt.Exchange) -> int:
        """Where ccxt asks it is told in whole seconds, and every second entry was withheld for that."""
        return int(client.v3_public_get_brokerage_time()["epochMillis"])

    def set_clock(self, client: ccxt.Exchange) -> None:
        """Tokens name our seconds, whatever ccxt knows of a difference."""
        late = client.milliseconds() - self.time(client) + self.MARGIN
        client.seconds = lambda: (client.milliseconds() - late) // 1_000

    def meaning(self, client: ccxt.Exchange, error: ccxt.BaseError) -> ccxt.BaseError:
        """A refusal says `success: false` and why; whatever else is of no class is as ambiguous as a page. A clock that
        is off looks like a wrong key: the venue's own decides."""
        if type(error) is ccxt.AuthenticationError and " 401 " in str(error):
            age = self.time(client) - client.seconds() * 1_000
            return error if age in self.IN_TIME else ccxt.InvalidNonce(str(error))
        body = _body(client, error) if type(error) is ccxt.ExchangeError else {}
        if body.get("success") is not False or not isinstance(response := body.get("error_response"), Mapping):
            return error
        reasons = [str(response.get(name)) for name in self.REASONS]
        if self.EXISTS in reasons:
            return error
        is_short = any("INSUFFICIENT_FUND" in reason for reason in reasons)
        return (ccxt.InsufficientFunds if is_short else ccxt.InvalidOrder)(str(error))

    def halt(self, client: ccxt.Exchange, symbol: Symbol) -> str:
        """Asked anew for one product; ccxt makes `active` of one of these fields alone."""
        row = client.v3_private_get_brokerage_products_product_id({"product_id": client.market(symbol)["id"]})
        if reasons := [name for name in ("trading_disabled", *RESTRICTIONS) if row.get(name) is True]:
            return f"the venue says {' and '.join(reasons)}"
        return "" if row["status"] == "online" else f"its status is {row['status']}"


def _rows(ask: Callable[[dict[str, Any]], Reply], query: Mapping[str, Any], name: str) -> Iterator[Reply]:
    """The rows of every page, which a cursor leads through."""
    cursor = ""
    while True:
        page = ask({**query, "cursor": cursor} if cursor else {**query})
        yield from page[name]
        before, cursor = cursor, str(page.get("cursor") or "")
        if cursor in ("", before) or not page[name]:
            return


def _body(client: ccxt.Exchange, error: ccxt.BaseError) -> Reply:
    """The answer that an error of ccxt carries behind the exchange's name; empty where it is no object."""
    body = client.parse_json(str(error).removeprefix(client.id).lstrip())
    return body if isinstance(body, Mapping) else {}


TESTED: Mapping[str, Exchange] = {"binance": Binance(), "coinbase": Coinbase()}  # by ccxt's name of them
OTHER = Exchange()


def exchange_of(client: ccxt.Exchange) -> Exchange:
    return TESTED.get(client.id, OTHER)


class Budget:
    """The venue's requests a minute: once a share of them is used, usually half, watching waits for the next minute.
    What orders need to know is asked all the same.

    Two open trades were watched by 95 % of Binance's weight; one more question brought a refusal, and with it an exit
    that had to wait. The clock is the client's own.
    """

    def __init__(self, client: ccxt.Exchange, spent: float = SPENT) -> None:
        self._client, self._exchange, self._spent = client, exchange_of(client), spent
        self._share, self._minute = 0.0, 0

    def note(self) -> None:
        """After an answer."""
        self._share, self._minute = self._exchange.used_share(self._client), self._now() // MINUTE

    def check(self) -> None:
        """Before watching; Busy where that has to wait."""
        now = self._now()
        if self._share >= self._spent and now // MINUTE == self._minute:
            raise Busy(f"{self._share:.0%} of the requests a minute are used", MINUTE - now % MINUTE)

    def _now(self) -> Nanos:
        return int(self._client.milliseconds()) * MILLI
