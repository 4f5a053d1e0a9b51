"""One spot account at any exchange that ccxt speaks to.

Law: an entry is a limit at its collar that fills at once or not at all, so the venue itself holds the bound. A stop
locks what it protects, so it makes way for an exit or for its successor, one at a time, and the engine is told. Only a
stop rests: the engine watches the target. What has filled is read from the account's trades, not from an order's sums.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import ccxt

from ffe.brokers.venue import Denied, NotThere, Placed, Unclear, VenueBroker, cause_of
from ffe.errors import ConfigError
from ffe.model import (
    SECOND,
    AccountRead,
    AssetClass,
    Bars,
    Cancelled,
    CashFlow,
    Currency,
    Enter,
    Exit,
    Failed,
    Fault,
    Fill,
    Flow,
    Found,
    Holding,
    Instrument,
    Known,
    Nanos,
    Protect,
    Quotes,
    Ratio,
    Report,
    Symbol,
    Universe,
    Venue,
)  # fmt: skip
from ffe.sizing import whole_lots

T = TypeVar("T")
Said = Mapping[str, object]  # one of ccxt's structures
MILLI: Nanos = 1_000_000
OVERLAP: Nanos = 10 * SECOND  # a venue may show a trade later than its stamp
ENDED = {"canceled", "expired", "rejected"}


class Skewed(Exception):
    """The venue refused a request, unread, because our clock or its own is off."""


def instruments(
    client: ccxt.Exchange, venue: Venue, symbols: list[str], hours: str = "24/7", fee_in_base: bool = True,
    spread: Ratio = 0.0, slippage: Ratio = 0.0,
) -> tuple[Instrument, ...]:  # fmt: skip
    """What the venue says of these markets: tick, lot, minimum and fee. A symbol it does not list raises Denied."""
    markets: Mapping[str, Any] = ask(client.load_markets)
    found = []
    for symbol in symbols:
        if symbol not in markets:
            raise Denied(f"{client.id} lists no {symbol}")
        market = markets[symbol]
        precision, limits = market["precision"], market["limits"]
        found.append(Instrument(
            venue, Symbol(symbol), AssetClass.CRYPTO, Currency(market["base"]), Currency(market["quote"]), hours,
            tick=precision["price"], lot=precision["amount"], minimum_qty=limits["amount"]["min"] or 0.0,
            minimum_notional=limits["cost"]["min"] or 0.0, fee=market["taker"], fee_in_base=fee_in_base,
            spread=spread, slippage=slippage, fee_step=precision.get("quote") or 0.0,
        ))  # fmt: skip
    return tuple(found)


def ask(call: Callable[..., T], *arguments: object) -> T:
    """One request; what ccxt raises becomes ours. What follows from a class was measured, venue by venue."""
    try:
        return call(*arguments)
    except ccxt.OrderNotFound as error:
        raise NotThere(str(error)) from error
    except ccxt.AuthenticationError as error:
        raise Denied(str(error), is_locked_out=True) from error
    except (ccxt.RateLimitExceeded, ccxt.DDoSProtection) as error:
        # A key that was revoked after its first success comes in this class too.
        raise Denied(str(error), is_locked_out="-2015" in str(error)) from error
    except ccxt.InvalidNonce as error:
        raise Skewed(str(error)) from error
    except ccxt.RequestTimeout as error:
        raise Unclear(Fault.TIMEOUT, str(error)) from error
    except ccxt.ExchangeNotAvailable as error:
        raise Unclear(Fault.SERVER_ERROR, str(error)) from error
    except ccxt.BadResponse as error:
        raise Unclear(Fault.UNREADABLE, str(error)) from error
    except ccxt.NetworkError as error:
        raise Unclear(Fault.DISCONNECTED, str(error)) from error
    except (ccxt.InsufficientFunds, ccxt.InvalidOrder, ccxt.BadRequest, ccxt.OperationRejected) as error:
        raise Denied(str(error)) from error
    except ccxt.BaseError as error:  # of no class that says more: it may have been booked
        raise Unclear(Fault.SERVER_ERROR, str(error)) from error


class CcxtBroker(VenueBroker):
    """client is a ccxt exchange with its key; since is the time from which the account's trades are ours to tell."""

    def __init__(
        self, universe: Universe, venue: Venue, client: ccxt.Exchange, clock: Callable[[], Nanos], since: Nanos
    ) -> None:
        super().__init__(universe, venue, clock)
        self.client = client
        self._by_symbol = {i.symbol: i for i in self._mine.values()}
        self._by_base = {i.base: i for i in self._mine.values()}
        if len(self._by_base) < len(self._mine):
            raise ConfigError(f"{venue}: two instruments share a base currency, and a balance could not be told apart.")
        self._since = dict.fromkeys(self._mine, since)
        self._had_balance = False

    # ------------------------------------------------------------ asking

    def _ask(self, call: Callable[..., T], *arguments: object) -> T:
        """One request; one that was refused unread for the clock's sake is sent again, once, by the venue's clock."""
        try:
            return ask(call, *arguments)
        except Skewed:
            ask(self.client.load_time_difference)
        try:
            return ask(call, *arguments)
        except Skewed as error:
            raise Denied(f"the clocks differ: {error}") from error

    def _open(self, market: Bars | Quotes) -> None:
        held, now = self._balances(), self.clock()
        for currency in sorted({i.quote for i in self._mine.values()}):
            if held.get(currency):
                self._say(CashFlow(now, self._venue, None, Flow.DEPOSIT, held[currency], currency))
        for base, instrument in sorted(self._by_base.items()):
            if held.get(base):
                price = float(self._ask(self.client.fetch_ticker, instrument.symbol)["last"])
                self._say(Found(now, self._venue, None, Holding(instrument.id, held[base], price)))

    def _balances(self) -> dict[Currency, float]:
        """What the account holds in all. A page that is no account reads as an empty one, so that is no answer."""
        total = self._ask(self.client.fetch_balance)["total"]
        held = {Currency(c): float(amount) for c, amount in total.items() if amount}
        if not held or any(not math.isfinite(amount) or amount < 0.0 for amount in held.values()):
            raise Unclear(Fault.UNREADABLE, f"{self._venue}: no balances that can be believed: {total}")
        return held

    def _read(self) -> None:
        self._look()  # or what has just filled would look like a difference
        held = self._balances()
        quotes = {i.quote for i in self._mine.values()}
        cash = tuple((c, held.get(c, 0.0)) for c in sorted(quotes))
        positions = tuple((i.id, held.get(i.base, 0.0)) for i in self._mine.values() if held.get(i.base))
        self._say(AccountRead(self.clock(), self._venue, None, cash, positions))

    def _look(self) -> None:
        for instrument in self._mine.values():
            if live := [p for p in self._placed.values() if p.instrument == instrument.id and p.number]:
                self._collect(instrument)
                self._bury(instrument, live)

    def _collect(self, instrument: Instrument) -> None:
        """Tell of the trades since the last that was told of."""
        for trade in self._trades(instrument):
            placed = self._by_number.get(trade["order"])
            if placed is None and any(
                p.number is None and p.instrument == instrument.id for p in self._placed.values()
            ):
                return  # it may belong to an order whose number we never heard
            self._fill(placed, self._fill_of(trade, instrument, placed))
            self._since[instrument.id] = max(self._since[instrument.id], trade["timestamp"] * MILLI - OVERLAP)

    def _trades(self, instrument: Instrument) -> list[Any]:
        found = self._ask(self.client.fetch_my_trades, instrument.symbol, self._since[instrument.id] // MILLI)
        return sorted(found, key=lambda trade: (trade["timestamp"], int(trade["id"])))

    def _fill_of(self, trade: Any, instrument: Instrument, placed: Placed | None) -> Fill:
        qty = float(trade["amount"]) * (1.0 if trade["side"] == "buy" else -1.0)
        fee = trade["fee"] or {"cost": 0.0, "currency": instrument.quote}
        return Fill(
            f"{instrument.symbol}-{trade['id']}", instrument.id, qty, float(trade["price"]), float(fee["cost"] or 0.0),
            Currency(fee["currency"] or instrument.quote), cause_of(placed),
        )  # fmt: skip

    def _bury(self, instrument: Instrument, live: list[Placed]) -> None:
        """An order that rests no longer and has not filled was ended by the venue, or by somebody at it."""
        resting = {order["id"] for order in self._ask(self.client.fetch_open_orders, instrument.symbol)}
        for placed in live:
            if placed.number in resting or placed.order.id not in self._placed:
                continue
            try:
                found = self._order(placed)
            except NotThere:
                self._say(Report(self.clock(), self._venue, placed.order.id, Known.NOT_FOUND))
                continue
            if found["status"] in ENDED:
                self._end(placed, found["status"])

    def _end(self, placed: Placed, status: str) -> None:
        """An entry that found no price within its collar was cancelled by us, in advance; any other by the venue."""
        del self._placed[placed.order.id]
        reason = "COLLAR" if isinstance(placed.order, Enter) else status
        killed = isinstance(placed.order, Exit)
        self._say(Cancelled(self.clock(), self._venue, placed.order.id, reason, killed))

    def _order(self, placed: Placed) -> Any:
        """The venue's order by our own id."""
        symbol = self._mine[placed.instrument].symbol
        found = self._ask(self.client.fetch_order, None, symbol, {"clientOrderId": placed.order.id})
        if not found["id"] or not found["status"]:
            raise Unclear(Fault.UNREADABLE, f"{self._venue}: an order without id or status: {found['info']}")
        return found

    def _find(self, placed: Placed) -> Known:
        try:
            found = self._order(placed)
        except NotThere:
            return Known.NOT_FOUND
        self._number(placed, found["id"])
        self._since[placed.instrument] = min(self._since[placed.instrument], found["timestamp"] * MILLI - OVERLAP)
        instrument = self._mine[placed.instrument]
        for trade in self._trades(instrument):
            if trade["order"] == placed.number:
                self._fill(placed, self._fill_of(trade, instrument, placed), is_told=False)
        is_over = found["status"] in {"closed", *ENDED}
        is_complete = placed.filled >= float(found["filled"] or 0.0) - instrument.lot / 2.0
        return Known.DONE if is_over and is_complete else Known.WORKING

    # ------------------------------------------------------------ telling

    def _place(self, order: Enter | Exit | Protect, kind: str, price: float | None, **more: object) -> None:
        intent = order.approved.intent
        instrument, side = self._mine[intent.instrument], "buy" if intent.side > 0 else "sell"
        qty = whole_lots(intent.qty, instrument.lot)
        placed = self._placed[order.id] = Placed(order, qty)  # before it leaves: its answer may be lost
        said = {"clientOrderId": order.id, **more}
        made = self._ask(self.client.create_order, instrument.symbol, kind, side, qty, price, said)
        if not made["id"] or not made["status"]:
            raise Unclear(Fault.UNREADABLE, f"{self._venue}: an order without id or status: {made['info']}")
        self._accept(placed, made["id"])

    def _enter(self, order: Enter) -> None:
        self._place(order, "limit", order.collar, timeInForce="IOC")
        self._look_again()

    def _exit(self, order: Exit) -> None:
        for placed in self._resting(order.approved.intent.instrument):
            self._make_way(placed, "makes way for an exit")
        self._place(order, "market", None)
        self._look_again()

    def _protect(self, order: Protect) -> None:
        """A stop locks what it protects, so the old one has to go before the new one comes."""
        old = self._placed.get(order.replaces) if order.replaces else None
        if old is not None:
            self._withdraw(old)
        try:
            self._place(order, "market", None, stopLossPrice=order.stop)
        except (Unclear, Denied) as error:
            if old is None:
                raise
            self._fail(order, error)
            self._say(Cancelled(self.clock(), self._venue, old.order.id, "its successor did not come"))

    def _fail(self, order: Protect, error: Unclear | Denied) -> None:
        if isinstance(error, Denied):
            self._deny(order, order.id, error)
        else:
            self._say(Failed(self.clock(), self._venue, order.id, error.fault))

    def _look_again(self) -> None:
        """Most market orders have filled by the time they are answered; if this cannot be seen now, it will be."""
        try:
            self._look()
        except (Unclear, Denied):
            return

    def _make_way(self, placed: Placed, why: str) -> None:
        self._withdraw(placed)
        self._say(Cancelled(self.clock(), self._venue, placed.order.id, why))

    def _withdraw(self, placed: Placed) -> None:
        """Take a resting order away without a word; if that is not certain, what was to come in its place must wait."""
        symbol, id = self._mine[placed.instrument].symbol, placed.order.id
        try:
            self._ask(self.client.cancel_order, placed.number, symbol, {"clientOrderId": id})
        except NotThere:
            self._look()
            raise Denied("the stop in its way has ended by itself") from None
        except Unclear as error:
            self._say(Failed(self.clock(), self._venue, id, error.fault))
            raise Denied("the stop in its way could not be proven gone") from error
        del self._placed[id]

    def _cancel(self, placed: Placed) -> None:
        symbol = self._mine[placed.instrument].symbol
        self._ask(self.client.cancel_order, placed.number, symbol, {"clientOrderId": placed.order.id})
        self._collect(self._mine[placed.instrument])  # what it had filled comes first
        if self._placed.pop(placed.order.id, None):
            self._say(Cancelled(self.clock(), self._venue, placed.order.id, "as asked"))
