"""A loopback venue that speaks OANDA's v20 REST API: the truth, scripted faults, and a server in a thread.

What is not described (oanda_facts.py) is refused, and every answer is held to it: a violation, or any error in here, is
raised when the venue is left. The market is driven from outside; ids are counters; the clock is the caller's.

    with Oanda(clock) as venue:
        venue.price("EUR_USD", "1.10000", "1.10010")
        httpx2.get(f"{venue.url}/v3/accounts/{venue.id}/summary", headers=venue.headers)
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from email.utils import formatdate
from types import TracebackType
from typing import Self

from aiohttp import web

from tests.venues import oanda_schema as schema
from tests.venues.oanda_account import Account
from tests.venues.oanda_candles import Bar
from tests.venues.oanda_faults import Chaos, Fault, Maintenance, MarketClosed, Skew, StopsAsleep
from tests.venues.oanda_routes import Routes
from tests.venues.oanda_schema import Operation
from tests.venues.oanda_values import AS_RULED, Instrument, Order, Plan, Quote, Trade
from tests.venues.oanda_wire import SECOND, Reply, Request, Time, Wire, read_json, refused, rendered

Strings = Mapping[str, str]


class Oanda:
    """One account at a venue. clock gives nanoseconds; with fill_on_next_price a market order waits for a new quote."""

    def __init__(
        self, clock: Callable[[], int], *,
        instruments: Iterable[Instrument] = (Instrument("EUR_USD"),), currency: str = "USD", balance: str = "100000",
        id: str = "101-004-1234567-001", token: str = "loopback",
        hedging: bool = False, fill_on_next_price: bool = False, faults: Sequence[Fault] = (),
        context: ssl.SSLContext | None = None,
    ) -> None:  # fmt: skip
        self.id, self.clock = id, clock
        self.headers = {"Authorization": f"Bearer {token}"}
        self.faults: list[Fault] = []
        self.requests: list[Request] = []
        self.said: dict[tuple[str, str, tuple[tuple[str, str], ...]], Reply] = {}  # the last answer to each question
        self.errors: list[Exception] = []
        self._seen: list[int] = []  # fitting requests, by fault
        self._late: list[tuple[int, Request]] = []
        self._trades: dict[str, bool] = {}  # instruments, and whether their market is open but for faults
        self._bars: dict[str, list[Bar]] = {}
        self._lock = threading.RLock()
        self.script(*faults)
        self._account = Account(id, currency, Decimal(balance), instruments, self._now, hedging, fill_on_next_price)
        self._server = Server(self._answer, context)
        self._handlers = Routes(self._account, self._bars, lambda: self.url).table()

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._server.stop()
        if self.errors and kind is None:
            raise self.errors[0]

    @property
    def url(self) -> str:
        return self._server.url

    # ------------------------------------------------------------ the truth

    @property
    def orders(self) -> Mapping[int, Order]:
        return self._account.orders

    @property
    def trades(self) -> Mapping[int, Trade]:
        return self._account.trades

    @property
    def transactions(self) -> Sequence[Wire]:
        return self._account.transactions

    @property
    def balance(self) -> Decimal:
        return self._account.balance

    def held(self, instrument: str) -> Decimal:
        return sum((each.units for each in self._account.open_trades(instrument)), Decimal(0))

    # ------------------------------------------------------------ what the test does

    def script(self, *faults: Fault) -> None:
        """These happen from now on, beside those before."""
        with self._lock:
            self.faults += faults
            self._seen += [0] * len(faults)

    def price(self, instrument: str, bid: str | Decimal, ask: str | Decimal, tradeable: bool = True) -> None:
        """Move the market, and let it work what rests."""
        with self._lock:
            self._pass_time()
            self._trades[instrument] = tradeable
            is_open = tradeable and not self._active(MarketClosed)
            exact = self._account.instruments[instrument].price
            quote = Quote(exact(Decimal(bid)), exact(Decimal(ask)), Time(self._now()), is_open)
            self._account.begin("0")
            self._account.move(instrument, quote, stops_sleep=bool(self._active(StopsAsleep)))

    def mid(self, instrument: str, mid: str | Decimal, tradeable: bool = True) -> None:
        """The same by a mid and the instrument's half spread."""
        half = self._account.instruments[instrument].half_spread
        self.price(instrument, Decimal(mid) - half, Decimal(mid) + half, tradeable)

    def bars(self, instrument: str, bars: Iterable[Bar]) -> None:
        """Give the bars from which candles are made, oldest first."""
        with self._lock:
            self._bars.setdefault(instrument, []).extend(bars)

    def finance(self, days: int = 1) -> None:
        """17:00 New York has passed: on Wednesdays for three days."""
        with self._lock:
            self._account.begin("0")
            self._account.finance(days)

    def deposit(self, amount: str) -> None:
        with self._lock:
            self._account.begin("0")
            self._account.deposit(Decimal(amount))

    def later(self, nanos: int, request: Request) -> None:
        self._late.append((self.clock() + nanos, request))

    def fill(self, specifier: str) -> None:
        """Fill a pending order at the quote, reached or not."""
        with self._lock:
            order = self._account.find_order(specifier)
            if order and order.state == "PENDING":
                self._account.fill(order)

    def trade_by_hand(self, instrument: str, units: int) -> None:
        with self._lock:
            self._account.begin("0")
            record = self._account.place({"type": "MARKET", "instrument": instrument, "units": str(units)})
            self.fill(str(record["id"]))

    def cancel_all(self, reason: str, kind: str = "") -> None:
        with self._lock:
            self._account.begin("0")
            for order in self._account.pending():
                if kind in ("", order.type):
                    self._account.cancel(order.id, reason)

    def forget_all(self, kind: str) -> None:
        with self._lock:
            for order in self._account.pending():
                if order.type == kind:
                    self._account.forget(order.id)

    def change(self, instrument: str, **changes: object) -> None:
        with self._lock:
            self._account.instruments[instrument] = replace(self._account.instruments[instrument], **changes)

    # ------------------------------------------------------------ time

    def _now(self) -> int:
        return self.clock() + sum(fault.nanos for fault in self._active(Skew))

    def _active(self, kind: type[Fault]) -> list[Fault]:
        return [each for each in self.faults if isinstance(each, kind) and each.on.is_now(self.clock(), 1)]

    def _pass_time(self) -> None:
        """What has become due happens before anything else."""
        due, self._late = ([x for x in self._late if (x[0] <= self.clock()) is want] for want in (True, False))
        for _, request in due:
            self._handle(request, AS_RULED)
        if self._active(Maintenance):
            self.cancel_all("MIGRATION")
        is_closed = bool(self._active(MarketClosed))
        for name, quote in self._account.quotes.items():
            self._account.quotes[name] = replace(quote, tradeable=self._trades[name] and not is_closed)

    # ------------------------------------------------------------ a request

    def _answer(self, method: str, path: str, query: Strings, headers: Strings, raw: bytes) -> Reply:
        try:
            with self._lock:
                self._pass_time()
                reply = self._authorised(method, path, query, headers, raw)
                date = formatdate(self._now() // SECOND, usegmt=True)
                stamps = (("RequestID", str(len(self.requests))), ("Date", date))
                return replace(reply, headers=(*reply.headers, *stamps))
        except Exception as error:  # kept for the test's own thread; the server answers 500
            self.errors.append(error)
            raise

    def _authorised(self, method: str, path: str, query: Strings, headers: Strings, raw: bytes) -> Reply:
        operation = schema.match(method, path)
        route, params = (operation.route, operation.params) if isinstance(operation, Operation) else ("", {})
        body, unix = read_json(raw), headers.get("Accept-Datetime-Format") == "UNIX"
        request = Request(len(self.requests) + 1, self.clock(), method, path, route, params, query, body, unix)
        self.requests.append(request)
        if headers.get("Authorization") != self.headers["Authorization"]:
            return refused(401, "", "Insufficient authorization to perform request.")
        if isinstance(operation, int):
            return refused(operation, "", f"{method} {path} is not described")
        if reasons := schema.refusals(operation, query, body):
            return refused(400, "", "; ".join(reasons))
        if headers.get("Accept-Datetime-Format", "RFC3339") not in ("RFC3339", "UNIX"):
            return refused(400, "", "Invalid value specified for 'Accept-Datetime-Format'")
        return self._faulted(request)

    def _faulted(self, request: Request) -> Reply:
        faults = list(self._fitting(request))
        plan = AS_RULED
        for fault in faults:
            if reply := fault.before(self, request):
                return reply
            plan = fault.plan(plan)
        reply = self._handle(request, plan)
        for fault in faults:
            reply = fault.after(self, request, reply)
        if not (reply.hangs or reply.drops):
            self.said[request.question] = reply
        return reply

    def _fitting(self, request: Request) -> Iterable[Fault]:
        for index, fault in enumerate(self.faults):
            if fault.on.fits(request):
                self._seen[index] += 1
                if fault.on.is_now(request.time, self._seen[index]):
                    drawn = fault.draw(self._seen[index]) if isinstance(fault, Chaos) else fault
                    if drawn:
                        yield drawn

    def _handle(self, request: Request, plan: Plan) -> Reply:
        """The venue's own answer, held to the description."""
        handler = self._handlers.get((request.method, request.route))
        if handler is None:
            return refused(501, "", f"{request.route} is described, but this venue does not serve it")
        self._account.begin(str(request.number))
        is_ours = request.params.get("accountID", self.id) == self.id
        reply = handler(request, plan) if is_ours else refused(404, "", "no such account")
        if reply.status != 501:
            reply = replace(reply, body=rendered(reply.body, request.unix))
            schema.check(Operation(request.method, request.route, request.params), reply.status, reply.body)
        return reply


# ---------------------------------------------------------------- the server


class Server:
    """A thread with its own loop, on a free port of loopback. What hangs neither blocks the others nor the end."""

    def __init__(self, answer: Callable[..., Reply], context: ssl.SSLContext | None) -> None:
        self._answer, self._context = answer, context
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="loopback", daemon=True)
        self.url = ""

    def start(self) -> None:
        self._thread.start()
        self._ready.wait(10.0)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._ends.set)
        self._thread.join(10.0)
        if self._thread.is_alive():
            raise RuntimeError("the loopback server does not end")

    async def _serve(self) -> None:
        self._loop, self._ends = asyncio.get_running_loop(), asyncio.Event()
        runner = web.ServerRunner(web.Server(self._respond, handler_cancellation=True), shutdown_timeout=1.0)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=self._context).start()
        self.url = f"{'https' if self._context else 'http'}://127.0.0.1:{runner.addresses[0][1]}"
        self._ready.set()
        await self._ends.wait()
        await runner.cleanup()

    async def _respond(self, incoming: web.BaseRequest) -> web.Response:
        raw = await incoming.read()
        reply = self._answer(incoming.method, incoming.path, incoming.query, incoming.headers, raw)
        await self._wait(None if reply.hangs else reply.delay)
        if reply.hangs or reply.drops:
            if incoming.transport:
                incoming.transport.abort()
            return web.Response()
        headers = {"Content-Type": "application/json", **dict(reply.headers)}
        return web.Response(status=reply.status, body=reply.encoded(), headers=headers)

    async def _wait(self, seconds: float | None) -> None:
        """So long, for ever, or until the venue ends."""
        if seconds == 0.0:
            return
        try:
            await asyncio.wait_for(self._ends.wait(), seconds)
        except TimeoutError:
            return
