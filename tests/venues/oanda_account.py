"""The truth of the loopback OANDA: one margin account, worked in Decimals, every change a transaction.

An order fills at the quote of its instrument and nowhere else: at the ask when it buys, at the bid when it sells, so a
quote that jumps over a stop fills it beyond. Trades are netted oldest first, unless the account hedges. Margin is the
instrument's rate of a trade's value at mid; at half of it the venue closes everything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from decimal import Decimal

from tests.venues.oanda_values import AS_RULED, ZERO, Deal, Home, Instrument, Order, Plan, Quote, Trade, money
from tests.venues.oanda_wire import Time, Wire, present

PERCENT, FACTOR = Decimal("0.00001"), Decimal("0.00000001")
LIMITED = ("LIMIT", "TAKE_PROFIT")  # fill at their price or better; STOP and STOP_LOSS when it is reached or worse
DEPENDENT = ("STOP_LOSS", "TAKE_PROFIT")
ID_LENGTH = 128


class Account:
    """now gives the venue's own time, skew included."""

    def __init__(
        self, id: str, currency: str, balance: Decimal, instruments: Iterable[Instrument], now: Callable[[], int],
        hedging: bool, fill_on_next_price: bool,
    ) -> None:  # fmt: skip
        self.id, self.currency, self.now = id, currency, now
        self.hedging, self.fill_on_next_price = hedging, fill_on_next_price
        self.instruments = {each.name: each for each in instruments}
        self.quotes: dict[str, Quote] = {}
        self.orders: dict[int, Order] = {}
        self.trades: dict[int, Trade] = {}
        self.transactions: list[Wire] = []
        self.balance = self.pl = self.financing = ZERO
        self._pending: dict[int, None] = {}  # ordered
        self._open: dict[int, None] = {}
        self._batch, self._request = 1, "0"
        self.created = Time(now())
        self._record("CREATE", homeCurrency=currency)
        self.deposit(balance)

    # ------------------------------------------------------------ transactions

    @property
    def last(self) -> int:
        return len(self.transactions)

    def begin(self, request: str) -> None:
        """What is recorded from here on belongs to one batch."""
        self._batch, self._request = self.last + 1, request

    def _record(self, kind: str, **fields: object) -> Wire:
        head = {
            "id": str(self.last + 1), "time": Time(self.now()), "userID": 1, "accountID": self.id,
            "batchID": str(self._batch), "requestID": self._request, "type": kind,
        }  # fmt: skip
        self.transactions.append({**head, **present(**fields)})
        return self.transactions[-1]

    def deposit(self, amount: Decimal) -> None:
        self.balance += amount
        self._record("TRANSFER_FUNDS", amount=money(amount), fundingReason="CLIENT_FUNDING", accountBalance=self._cash)

    @property
    def _cash(self) -> Decimal:
        return money(self.balance)

    # ------------------------------------------------------------ values

    def home(self, currency: str) -> Home | None:
        """None where no quote of this venue says."""
        if currency == self.currency:
            return Home()
        if quote := self.quotes.get(f"{currency}_{self.currency}"):
            return Home(*(each.quantize(FACTOR) for each in (quote.bid, quote.ask, quote.mid)))
        if quote := self.quotes.get(f"{self.currency}_{currency}"):
            return Home(*((1 / each).quantize(FACTOR) for each in (quote.ask, quote.bid, quote.mid)))
        return None

    def _rate(self, instrument: str) -> Home:
        home = self.home(self.instruments[instrument].quote_currency)
        if home is None:
            raise LookupError(f"no quote converts {instrument} to {self.currency}; give the venue one")
        return home

    def value(self, instrument: str, units: Decimal) -> Decimal:
        return abs(units) * self.quotes[instrument].mid * self._rate(instrument).value

    def margin(self, instrument: str, units: Decimal) -> Decimal:
        return money(self.value(instrument, units) * self.instruments[instrument].margin_rate)

    def unrealized(self, trade: Trade, at_mid: bool = False) -> Decimal:
        quote = self.quotes[trade.instrument]
        price = quote.mid if at_mid else quote.taker(-trade.units)
        return self._rate(trade.instrument).of((price - trade.price) * trade.units)

    def open_trades(self, instrument: str | None = None) -> list[Trade]:
        trades = (self.trades[id] for id in self._open)
        return [each for each in trades if instrument in (None, each.instrument)]

    def margin_used(self, trades: Iterable[Trade]) -> Decimal:
        """The larger side of each instrument counts."""
        sides: dict[tuple[str, bool], Decimal] = {}
        for trade in trades:
            key = (trade.instrument, trade.units > 0)
            sides[key] = sides.get(key, ZERO) + self.margin(trade.instrument, trade.units)
        names = {name for name, _ in sides}
        return sum((max(sides.get((name, True), ZERO), sides.get((name, False), ZERO)) for name in names), ZERO)

    def state(self) -> Wire:
        """The figures that move with the prices."""
        trades = self.open_trades()
        unrealized = sum((self.unrealized(each) for each in trades), ZERO)
        at_mid = sum((self.unrealized(each, at_mid=True) for each in trades), ZERO)
        used, nav = self.margin_used(trades), money(self.balance + unrealized)
        available = max(ZERO, nav - used)
        value = money(sum((self.value(each.instrument, each.units) for each in trades), ZERO))
        return {
            "unrealizedPL": money(unrealized), "NAV": nav, "marginUsed": money(used),
            "marginAvailable": money(available), "positionValue": value, "marginCloseoutUnrealizedPL": money(at_mid),
            "marginCloseoutNAV": money(self.balance + at_mid), "marginCloseoutMarginUsed": money(used),
            "marginCloseoutPercent": self._closeout_percent(used, at_mid), "marginCloseoutPositionValue": value,
            "withdrawalLimit": money(max(ZERO, min(self.balance, available))), "marginCallMarginUsed": money(used),
            "marginCallPercent": 2 * self._closeout_percent(used, at_mid),
        }  # fmt: skip

    def _closeout_percent(self, used: Decimal, unrealized: Decimal) -> Decimal:
        """1 and above is a closeout. Where nothing is left the ratio has no value: the largest that is written."""
        nav = self.balance + unrealized
        return (used / 2 / nav).quantize(PERCENT) if nav > 0 else Decimal("99.99999" if used else "0.00000")

    # ------------------------------------------------------------ orders

    def pending(self) -> list[Order]:
        return [self.orders[id] for id in self._pending]

    def find_order(self, specifier: str) -> Order | None:
        """By id, or by @client id, which is unique among pending orders only: of the others the newest."""
        if not specifier.startswith("@"):
            return self.orders.get(int(specifier)) if specifier.isdigit() else None
        named = [each for each in reversed(self.orders.values()) if each.client_id == specifier[1:]]
        return next((each for each in named if each.state == "PENDING"), named[0] if named else None)

    def find_trade(self, specifier: str) -> Trade | None:
        if not specifier.startswith("@"):
            return self.trades.get(int(specifier)) if specifier.isdigit() else None
        named = [each for each in reversed(self.trades.values()) if each.client_id == specifier[1:]]
        return next((each for each in named if each.units), named[0] if named else None)

    def dependent(self, trade: int, kind: str) -> Order | None:
        """The trade's stop or target: the pending one, or the last there was."""
        return next((o for o in reversed(self.orders.values()) if o.trade == trade and o.type == kind), None)

    def place(self, fields: Wire, plan: Plan = AS_RULED, replaces: Order | None = None) -> Wire:
        """Take an order of the client's: the transaction that creates it, or that rejects it."""
        fields = completed(fields)
        if "clientExtensions" in fields and (id := fields["clientExtensions"].get("id")):
            fields["clientExtensions"] = {**fields["clientExtensions"], "id": id[: plan.id_length]}
        reason = "REPLACEMENT" if replaces else "CLIENT_ORDER"
        kind = f"{fields['type']}_ORDER"
        if refusal := plan.reject or next(self._refusals(fields, replaces), ""):
            intended = str(replaces.id) if replaces else None
            said = {**untyped(fields), "intendedReplacesOrderID": intended, "rejectReason": refusal}
            return self._record(f"{kind}_REJECT", reason=reason, **said)
        if replaces:
            self.cancel(replaces.id, "CLIENT_REQUEST_REPLACED", replacedByOrderID=str(self.last + 2))
            fields = {**fields, "replacesOrderID": str(replaces.id)}
        return self._create(fields, reason, plan)

    def _create(self, fields: Wire, reason: str, plan: Plan = AS_RULED, **links: str) -> Wire:
        kind, tied = str(fields["type"]), fields.get("tradeID") or fields.get("tradeClose", {}).get("tradeID")
        trade = self.trades[int(tied)] if tied else None
        instrument = trade.instrument if trade else str(fields["instrument"])
        fields = self._at_precision(fields, self.instruments[instrument])
        record = self._record(f"{kind}_ORDER", **untyped(fields), reason=reason, **links)
        why = f"MARKET_ORDER_{reason}" if kind == "MARKET" and reason != "CLIENT_ORDER" else f"{kind}_ORDER"
        order = Order(
            int(record["id"]), record["time"], instrument, fields, fields.get("units"), trade.id if trade else None,
            why, plan=plan,
        )  # fmt: skip
        self.orders[order.id] = order
        self._pending[order.id] = None
        if kind != "MARKET":
            self._work(order)
        elif (
            plan.kill
            or reason == "MARGIN_CLOSEOUT"
            or not (self.fill_on_next_price and self.quotes[instrument].tradeable)
        ):
            self.fill(order)
        return record

    def _at_precision(self, fields: Wire, instrument: Instrument) -> Wire:
        """The numbers as the venue writes them, whatever the client's spelling."""
        exact: Wire = {}
        for name, cell in fields.items():
            match name, cell:
                case "units", _:
                    exact[name] = instrument.units(Decimal(cell))
                case (("price" | "priceBound"), _):
                    exact[name] = instrument.price(Decimal(cell))
                case (("stopLossOnFill" | "takeProfitOnFill"), _):
                    exact[name] = {**cell, "price": instrument.price(Decimal(cell["price"]))}
                case _:
                    exact[name] = cell
        return exact

    def _refusals(self, fields: Wire, replaces: Order | None) -> Iterator[str]:
        """Why an order is not even taken; the first counts."""
        if replaces and replaces.type != fields["type"]:
            yield "REPLACING_ORDER_INVALID"
        if fields["type"] in DEPENDENT:
            yield from self._refused_dependent(fields, replaces)
            instrument = self.instruments[self.trades[int(fields["tradeID"])].instrument]
        else:
            instrument = self.instruments.get(str(fields.get("instrument", "")))
            if instrument is None:
                yield "INSTRUMENT_UNKNOWN" if "instrument" in fields else "INSTRUMENT_MISSING"
                return
            yield from self._refused_units(fields, instrument)
        yield from self._refused_prices(fields, instrument)
        allowed = ("FOK", "IOC") if fields["type"] == "MARKET" else ("GTC",)
        if fields["timeInForce"] not in allowed:
            yield "TIME_IN_FORCE_INVALID"
        client_id = fields.get("clientExtensions", {}).get("id")
        if client_id is not None and not 0 < len(client_id) <= ID_LENGTH:
            yield "CLIENT_ORDER_ID_INVALID"
        if client_id and any(o.client_id == client_id for o in self.pending() if o is not replaces):
            yield "CLIENT_ORDER_ID_ALREADY_EXISTS"

    def _refused_dependent(self, fields: Wire, replaces: Order | None) -> Iterator[str]:
        trade = self.find_trade(str(fields.get("tradeID", "")))
        if trade is None or not trade.units:
            yield "TRADE_DOESNT_EXIST" if "tradeID" in fields else "TRADE_ID_UNSPECIFIED"
        if replaces and replaces.trade != int(fields["tradeID"]):
            yield "REPLACING_TRADE_ID_INVALID"
        standing = self.dependent(trade.id, fields["type"])
        if standing and standing.state == "PENDING" and standing is not replaces:
            yield f"{fields['type']}_ORDER_ALREADY_EXISTS"

    def _refused_units(self, fields: Wire, instrument: Instrument) -> Iterator[str]:
        units = Decimal(fields.get("units", 0))
        if not units:
            yield "UNITS_INVALID" if "units" in fields else "UNITS_MISSING"
        if has_more_digits(fields["units"], instrument.unit_precision):
            yield "UNITS_PRECISION_EXCEEDED"
        if abs(units) < instrument.minimum:
            yield "UNITS_MIMIMUM_NOT_MET"  # spelt so in the description
        if abs(units) > instrument.maximum:
            yield "UNITS_LIMIT_EXCEEDED"
        if instrument.delisted:
            yield "INSTRUMENT_NOT_TRADEABLE"
        if instrument.name not in self.quotes or self.home(instrument.quote_currency) is None:
            yield "INSTRUMENT_PRICE_UNKNOWN"

    def _refused_prices(self, fields: Wire, instrument: Instrument) -> Iterator[str]:
        stated = {"PRICE_BOUND": fields["priceBound"]} if "priceBound" in fields else {}
        if fields["type"] != "MARKET":
            stated["PRICE"] = fields.get("price")
        for name, said in (("STOP_LOSS", "stopLossOnFill"), ("TAKE_PROFIT", "takeProfitOnFill")):
            if said in fields:
                stated[f"{name}_ON_FILL_PRICE"] = fields[said].get("price")
        for name, text in stated.items():
            if text is None:
                yield f"{name}_MISSING"
            elif Decimal(text) <= 0:
                yield f"{name}_INVALID"
            elif has_more_digits(text, instrument.precision):
                yield f"{name}_PRECISION_EXCEEDED"

    def cancel(self, id: int, reason: str, **fields: str) -> Wire:
        """End a pending order and say why."""
        order = self.orders[id]
        record = self._record("ORDER_CANCEL", orderID=str(id), clientOrderID=order.client_id, reason=reason, **fields)
        self._end(
            order, "CANCELLED", {"cancellingTransactionID": record["id"], "cancelledTime": record["time"], **fields}
        )
        return record

    def refuse_cancel(self, specifier: str) -> Wire:
        named = {"orderID": specifier} if specifier.isdigit() else {"clientOrderID": specifier.removeprefix("@")}
        return self._record("ORDER_CANCEL_REJECT", **named, rejectReason="ORDER_DOESNT_EXIST")

    def _end(self, order: Order, state: str, ends: Wire) -> None:
        self.orders[order.id] = replace(order, state=state, ends={**order.ends, **ends})
        self._pending.pop(order.id, None)

    def forget(self, id: int) -> None:
        """Drop an order without a word: a venue's bug."""
        self._pending.pop(id, None)
        del self.orders[id]

    def close_trade(self, trade: Trade, units: Decimal, reason: str = "TRADE_CLOSE", plan: Plan = AS_RULED) -> Wire:
        signed = -units if trade.units > 0 else units
        said = {"tradeID": str(trade.id), "units": "ALL" if units == abs(trade.units) else str(units)}
        tie = {"tradeClose": present(**said, clientTradeID=trade.client_id)}
        if reason == "MARGIN_CLOSEOUT":
            tie["marginCloseout"] = {"reason": "MARGIN_CHECK_VIOLATION"}
        return self._create(self._closing(trade.instrument, signed, **tie), reason, plan)

    def close_position(self, instrument: str, units: Decimal, said: str, plan: Plan = AS_RULED) -> Wire:
        """units signed as the order is."""
        tie = {
            "longPositionCloseout" if units < 0 else "shortPositionCloseout": {"instrument": instrument, "units": said}
        }
        return self._create(self._closing(instrument, units, **tie), "POSITION_CLOSEOUT", plan)

    def refuse_close(self, reject: str, reason: str, **fields: object) -> Wire:
        return self._record("MARKET_ORDER_REJECT", reason=reason, rejectReason=reject, **fields)

    def _closing(self, instrument: str, units: Decimal, **tie: Wire) -> Wire:
        return {
            "type": "MARKET", "instrument": instrument, "units": str(units), "timeInForce": "FOK",
            "positionFill": "REDUCE_ONLY", **tie,
        }  # fmt: skip

    # ------------------------------------------------------------ the market

    def move(self, instrument: str, quote: Quote, stops_sleep: bool = False) -> None:
        """Take a new quote and work what waits for it, in the order in which it came."""
        self.quotes[instrument] = quote
        if not quote.tradeable:
            return
        for order in sorted(
            self.pending(), key=lambda each: each.type != "MARKET"
        ):  # an exit at the open precedes its stop
            if order.instrument != instrument or order.id not in self._pending:
                continue
            if order.type == "MARKET" or order.plan.shares or order.ends:
                self.fill(order)
            elif not (stops_sleep and order.type in ("STOP", "STOP_LOSS")):
                self._work(order)
        self._close_out()

    def _work(self, order: Order) -> None:
        """Fill a resting order if its price is reached."""
        quote = self.quotes[order.instrument]
        units = self._left(order)
        price = quote.taker(units)
        is_reached = price <= order.price if (units > 0) == (order.type in LIMITED) else price >= order.price
        if quote.tradeable and is_reached:
            self.fill(order)

    def _left(self, order: Order) -> Decimal:
        return -self.trades[order.trade].units if order.units is None else order.units

    def fill(self, order: Order) -> None:
        """Fill what the quote and the script allow, or cancel."""
        left = self._left(order)
        units = self._opportunity(order, left) + (order.plan.extra if left > 0 else -order.plan.extra)
        deal = self._deal(order, units)
        if reason := order.plan.kill or next(self._kills(order, deal), ""):
            self.cancel(order.id, reason)
            return
        fill = self._book(order, deal)
        if abs(units) >= abs(left):
            return
        rest = replace(self.orders[order.id], units=left - units, state="PENDING", plan=_later(order.plan))
        self.orders[order.id] = replace(rest, ends=present(fillingTransactionID=fill["id"], filledTime=fill["time"]))
        self._pending[order.id] = None
        if order.plan.then_cancel and not rest.plan.shares:
            self.cancel(order.id, "INSUFFICIENT_LIQUIDITY")

    def _opportunity(self, order: Order, left: Decimal) -> Decimal:
        if not order.plan.shares:
            return left
        share = self.instruments[order.instrument].units(order.fields["units"] * order.plan.shares[0])
        return min(share, left, key=abs)

    def _deal(self, order: Order, units: Decimal) -> Deal:
        """What a fill of so many units would do."""
        price, fill = self.quotes[order.instrument].taker(units), order.fields.get("positionFill", "REDUCE_ONLY")
        targets = [self.trades[order.trade]] if order.trade else self._against(order.instrument, units, str(fill))
        reduced, left = [], units
        for trade in targets:
            closed = min(-trade.units, left, key=abs)
            pl = self._rate(trade.instrument).of((price - trade.price) * -closed)
            reduced, left = [*reduced, (trade, closed, pl)] if closed else reduced, left - closed
        opens = ZERO if fill == "REDUCE_ONLY" else left
        return Deal(price, units - left + opens, tuple(reduced), opens)

    def _against(self, instrument: str, units: Decimal, fill: str) -> list[Trade]:
        if fill == "OPEN_ONLY" or (fill == "DEFAULT" and self.hedging):
            return []
        return [each for each in self.open_trades(instrument) if each.is_against(units)]

    def _kills(self, order: Order, deal: Deal) -> Iterator[str]:
        """Why the venue cancels an order that it has taken; the first counts."""
        quote, fields, buys = self.quotes[order.instrument], order.fields, self._left(order) > 0
        if not quote.tradeable:
            yield "MARKET_HALTED"
        if order.plan.shares and fields.get("timeInForce") == "FOK":
            yield "INSUFFICIENT_LIQUIDITY"
        if "priceBound" in fields and is_worse(deal.price, fields["priceBound"], buys):
            yield "BOUNDS_VIOLATION"
        if not deal.units:
            yield "POSITION_CLOSEOUT_FAILED"
        if deal.opens:
            yield from self._kills_opening(order, deal, quote, buys)

    def _kills_opening(self, order: Order, deal: Deal, quote: Quote, buys: bool) -> Iterator[str]:
        way_out = quote.taker(-deal.opens)
        stop, target = (order.fields.get(name, {}).get("price") for name in ("stopLossOnFill", "takeProfitOnFill"))
        if stop is not None and not is_worse(way_out, stop, buys):
            yield "STOP_LOSS_ON_FILL_LOSS"
        if target is not None and not is_worse(target, way_out, buys):
            yield "TAKE_PROFIT_ON_FILL_LOSS"
        named = (named_trade(order) or {}).get("id")
        if named and any(each.client_id == named for each in self.open_trades()):
            yield "CLIENT_TRADE_ID_ALREADY_EXISTS"
        if not self._can_carry(order, deal):
            yield "INSUFFICIENT_MARGIN"

    def _can_carry(self, order: Order, deal: Deal) -> bool:
        """Whether equity covers the margin of everything once this deal is done."""
        after = {each.id: each for each in self.open_trades()}
        for trade, closed, _ in deal.reduced:
            after[trade.id] = replace(trade, units=trade.units + closed)
        after[0] = Trade(0, order.instrument, deal.price, Time(0), deal.opens, deal.opens, ZERO)
        trades = [each for each in after.values() if each.units]
        equity = self.balance + deal.pl + sum((self.unrealized(each) for each in trades), ZERO)
        return equity >= self.margin_used(trades)

    def _book(self, order: Order, deal: Deal) -> Wire:
        """Let a deal happen."""
        fill = self._record_fill(order, deal)
        opened, reduced = fill.get("tradeOpened", {}), fill.get("tradeReduced", {})
        closed = [cut["tradeID"] for cut in fill.get("tradesClosed", [])]
        if deal.opens:
            self.trades[int(fill["id"])] = Trade(
                int(fill["id"]), order.instrument, deal.price, fill["time"], deal.opens, deal.opens,
                opened["initialMarginRequired"], opened.get("clientExtensions"),
            )  # fmt: skip
            self._open[int(fill["id"])] = None
        self._end(order, "FILLED", present(
            fillingTransactionID=fill["id"], filledTime=fill["time"], tradeOpenedID=opened.get("tradeID"),
            tradeReducedID=reduced.get("tradeID"), tradeClosedIDs=closed or None,
        ))  # fmt: skip
        for trade, units, pl in deal.reduced:
            self._reduce(trade, units, pl, deal.price, fill)
        if deal.opens:
            self._protect(order, fill)
        return fill

    def _record_fill(self, order: Order, deal: Deal) -> Wire:
        """The money of a deal, and its transaction."""
        rate, quote, nothing = self._rate(order.instrument), self.quotes[order.instrument], money(ZERO)
        self.balance, self.pl = self.balance + deal.pl, self.pl + deal.pl
        opened = present(
            tradeID=str(self.last + 1), units=deal.opens, price=deal.price, guaranteedExecutionFee=nothing,
            initialMarginRequired=self.margin(order.instrument, deal.opens), clientExtensions=named_trade(order),
        )  # fmt: skip
        cuts = {True: [], False: []}
        for trade, units, pl in deal.reduced:
            row = {
                "tradeID": str(trade.id),
                "units": units,
                "price": deal.price,
                "realizedPL": pl,
                "financing": nothing,
            }
            cuts[trade.units + units == 0].append(row)
        spread_cost = money(abs(deal.units) * (quote.ask - quote.bid) / 2 * rate.value)
        return self._record(
            "ORDER_FILL", orderID=str(order.id), clientOrderID=order.client_id, instrument=order.instrument,
            units=deal.units, gainQuoteHomeConversionFactor=rate.gain, lossQuoteHomeConversionFactor=rate.loss,
            price=deal.price, fullVWAP=deal.price, fullPrice=self.price_wire(order.instrument), reason=order.reason,
            pl=money(deal.pl), financing=nothing, commission=nothing, guaranteedExecutionFee=nothing,
            accountBalance=self._cash, tradeOpened=opened if deal.opens else None, halfSpreadCost=spread_cost,
            tradesClosed=cuts[True] or None, tradeReduced=next(iter(cuts[False]), None),
        )  # fmt: skip

    def _reduce(self, trade: Trade, units: Decimal, pl: Decimal, price: Decimal, fill: Wire) -> None:
        left = trade.units + units
        self.trades[trade.id] = replace(
            trade, units=left, realized=trade.realized + pl, proceeds=trade.proceeds + abs(units) * price,
            closings=(*trade.closings, int(fill["id"])), closed=None if left else fill["time"],
        )  # fmt: skip
        if left == 0:
            del self._open[trade.id]
            for order in self.pending():
                if order.trade == trade.id:
                    self.cancel(order.id, "LINKED_TRADE_CLOSED")

    def _protect(self, order: Order, fill: Wire) -> None:
        """The target and the stop that came with the order, on the trade it opened."""
        for name, kind in (("takeProfitOnFill", "TAKE_PROFIT"), ("stopLossOnFill", "STOP_LOSS")):
            detail = order.fields.get(name)
            if detail and not (kind == "STOP_LOSS" and order.plan.loses_stop):
                fields = completed({"type": kind, "tradeID": fill["id"], **detail})
                self._create(fields, "ON_FILL", orderFillTransactionID=fill["id"])

    def _close_out(self) -> None:
        """At half the margin used, at mid, everything is closed."""
        trades = self.open_trades()
        if trades and self.state()["marginCloseoutPercent"] >= 1:
            for trade in trades:
                if trade.id in self._open and self.quotes[trade.instrument].tradeable:
                    self.close_trade(trade, abs(trade.units), "MARGIN_CLOSEOUT")

    def finance(self, days: int = 1) -> Wire | None:
        """Book what holding overnight costs, as at 17:00 New York."""
        positions: list[Wire] = []
        for name in {each.instrument: None for each in self.open_trades()}:
            paid = [(each, self._financing(each, days)) for each in self.open_trades(name)]
            each_trade = [{"tradeID": str(trade.id), "financing": amount} for trade, amount in paid]
            total = sum((amount for _, amount in paid), ZERO)
            positions.append({"instrument": name, "financing": total, "openTradeFinancings": each_trade})
            for trade, amount in paid:
                self.trades[trade.id] = replace(trade, financing=trade.financing + amount)
        if not positions:
            return None
        total = sum((each["financing"] for each in positions), ZERO)
        self.balance, self.financing = self.balance + total, self.financing + total
        return self._record(
            "DAILY_FINANCING", financing=total, accountBalance=self._cash, accountFinancingMode="DAILY",
            positionFinancings=positions,
        )  # fmt: skip

    def _financing(self, trade: Trade, days: int) -> Decimal:
        """A rate is what a holder pays: negative rates are received."""
        instrument = self.instruments[trade.instrument]
        rate = instrument.long_rate if trade.units > 0 else instrument.short_rate
        return -money(self.value(trade.instrument, trade.units) * rate * days / 365)

    # ------------------------------------------------------------ as the wire has it

    def price_wire(self, instrument: str) -> Wire:
        quote, home = self.quotes[instrument], self.home(self.instruments[instrument].quote_currency) or Home()
        return {
            "type": "PRICE", "instrument": instrument, "time": quote.time, "tradeable": quote.tradeable,
            "status": "tradeable" if quote.tradeable else "non-tradeable",
            "bids": [{"price": quote.bid, "liquidity": 10_000_000}],
            "asks": [{"price": quote.ask, "liquidity": 10_000_000}],
            "closeoutBid": quote.bid, "closeoutAsk": quote.ask,
            "quoteHomeConversionFactors": {"positiveUnits": home.gain, "negativeUnits": home.loss},
        }  # fmt: skip

    def trade_wire(self, trade: Trade, summary: bool = False) -> Wire:
        closed = trade.initial - trade.units
        average = self.instruments[trade.instrument].price(trade.proceeds / abs(closed)) if closed else None
        is_open = trade.units != 0
        wire = present(
            id=str(trade.id), instrument=trade.instrument, price=trade.price, openTime=trade.opened,
            state="OPEN" if is_open else "CLOSED", initialUnits=trade.initial, initialMarginRequired=trade.margin,
            currentUnits=trade.units, realizedPL=money(trade.realized), financing=money(trade.financing),
            unrealizedPL=self.unrealized(trade) if is_open else None,
            marginUsed=self.margin(trade.instrument, trade.units) if is_open else None,
            averageClosePrice=average, closingTransactionIDs=[str(id) for id in trade.closings] or None,
            closeTime=trade.closed, clientExtensions=trade.extensions,
        )  # fmt: skip
        for name, kind in (("takeProfitOrder", "TAKE_PROFIT"), ("stopLossOrder", "STOP_LOSS")):
            if order := self.dependent(trade.id, kind):
                wire |= {f"{name}ID": str(order.id)} if summary else {name: order.wire()}
        return wire

    def position_wire(self, instrument: str) -> Wire:
        trades = [each for each in self.trades.values() if each.instrument == instrument]
        long, short = (self._side_wire([t for t in trades if (t.initial > 0) is side]) for side in (True, False))
        sums = {name: long[name] + short[name] for name in ("pl", "resettablePL", "unrealizedPL", "financing")}
        used = money(self.margin_used(self.open_trades(instrument)))
        return {
            "instrument": instrument, **sums, "commission": money(ZERO), "marginUsed": used,
            "long": long, "short": short,
        }  # fmt: skip

    def _side_wire(self, trades: list[Trade]) -> Wire:
        held = [each for each in trades if each.units]
        units = sum((each.units for each in held), ZERO)
        cost = sum((each.units * each.price for each in held), ZERO)
        pl = money(sum((each.realized for each in trades), ZERO))
        return present(
            units=units, averagePrice=self.instruments[held[0].instrument].price(cost / units) if held else None,
            tradeIDs=[str(each.id) for each in held] or None, pl=pl, resettablePL=pl,
            unrealizedPL=money(sum((self.unrealized(each) for each in held), ZERO)),
            financing=money(sum((each.financing for each in trades), ZERO)),
        )  # fmt: skip

    def summary_wire(self) -> Wire:
        return {
            "id": self.id, "alias": "loopback", "currency": self.currency, "balance": self._cash, "createdByUserID": 1,
            "createdTime": self.created, "pl": money(self.pl), "resettablePL": money(self.pl),
            "financing": money(self.financing), "commission": money(ZERO), "openTradeCount": len(self._open),
            "openPositionCount": len({each.instrument for each in self.open_trades()}),
            "pendingOrderCount": len(self._pending), "hedgingEnabled": self.hedging,
            "lastTransactionID": str(self.last), **self.state(),
        }  # fmt: skip


def completed(fields: Wire) -> Wire:
    """With OANDA's defaults where the client said nothing."""
    is_market = fields["type"] == "MARKET"
    defaults: Wire = {"timeInForce": "FOK" if is_market else "GTC"}
    if fields["type"] not in DEPENDENT:
        defaults["positionFill"] = "DEFAULT"
    if not is_market:
        defaults["triggerCondition"] = "DEFAULT"
    return {**defaults, **fields}


def named_trade(order: Order) -> Wire | None:
    """What the client calls the trade; of an order filled in parts only the first part's."""
    return None if order.ends else order.fields.get("tradeClientExtensions")


def untyped(fields: Wire) -> Wire:
    """A transaction's type is its own, not the order's."""
    return {name: cell for name, cell in fields.items() if name != "type"}


def is_worse(price: Decimal, bound: Decimal, buys: bool) -> bool:
    """Whether a buyer would pay more, or a seller get less, than the bound."""
    return price > bound if buys else price < bound


def has_more_digits(text: object, precision: int) -> bool:
    return -int(Decimal(str(text)).as_tuple().exponent) > precision


def _later(plan: Plan) -> Plan:
    return replace(plan, shares=plan.shares[1:], extra=ZERO)
