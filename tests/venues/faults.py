"""What a venue can do wrong, as frozen values that say which requests they meet and what happens then.

`venue.faults = [Drop(accepted=True), Gone(nth=2)]`: `on` names method, endpoint and order type, each with wildcards
("POST order", "POST order STOP*", "GET *", "*"); `nth` counts requests that fit (1 is the next), `times` how many in a
row from there. With an `end` every request in the window [start, end) of the venue's clock is met instead. The venue
counts down in its own list and drops what is spent; several faults may meet one request. The F-numbers are those of the
fault catalogue; F24 needs no fault on a spot account (locked balances prevent it), and F28 is of streams.

Faults work at every `Venue`. Their defaults name requests as Binance does; another venue's requests have those names
beside their own ("DELETE order" is a POST to orders/batch_cancel at Coinbase). Codes are the venue's.
"""

# ruff: noqa: N802 (a function here reads as the fault it makes)

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypedDict, Unpack

from ffe.model import Nanos
from tests.venues.matching import Market, Reason, Side, Status, cut, exact
from tests.venues.server import Ending, Json, Reply

if TYPE_CHECKING:
    from tests.venues.venue import Shown, Venue

Row = dict[str, Json]
How = ParamSpec("How")
SECOND = 10**9
HTML = b"<html><body>Bad gateway</body></html>"


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as the venue saw it, without its signature and its key."""

    time: Nanos
    method: str
    endpoint: str
    params: Mapping[str, Any]
    names: tuple[tuple[str, str, str], ...]  # method, endpoint and order type, by which a fault may aim at it


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """before may change the truth or refuse, after makes another answer; a request that is lost never arrives, one
    that is late arrives after that time."""

    name: str = ""
    on: str = "*"
    nth: int = 1
    times: int = 1
    start: Nanos = 0
    end: Nanos | None = None
    is_lost: bool = False
    late: Nanos | None = None
    before: Callable[[Venue, Asked], None] = field(default=lambda venue, asked: None, repr=False, compare=False)
    after: Callable[[Venue, Reply], Reply] = field(default=lambda venue, reply: reply, repr=False, compare=False)

    def fits(self, asked: Asked) -> bool:
        is_in_time = self.start <= asked.time and (self.end is None or asked.time < self.end)
        return is_in_time and any(all(map(fnmatch, words, self.on.split())) for words in asked.names)

    def meets(self, asked: Asked) -> bool:
        return self.nth == 1 and self.fits(asked)

    def counted(self, asked: Asked) -> Self | None:
        """What is left of this fault after a request; None when it is spent."""
        if not self.fits(asked) or self.end is not None:
            return self
        if self.nth > 1:
            return replace(self, nth=self.nth - 1)
        return replace(self, times=self.times - 1) if self.times > 1 else None


class When(TypedDict, total=False):
    on: str
    nth: int
    times: int
    start: Nanos
    end: Nanos | None


def named(make: Callable[How, Fault]) -> Callable[How, Fault]:
    """The fault that make makes, under its name: for failures that can be read, and to count what was met."""

    @wraps(make)
    def with_name(*args: How.args, **kwargs: How.kwargs) -> Fault:
        return replace(make(*args, **kwargs), name=make.__name__)

    return with_name


# ---------------------------------------------------------------- no answer, or none that can be read


@named
def Hang(accepted: bool = False, **when: Unpack[When]) -> Fault:
    """F1, F2, F3, F29: no answer ever comes; accepted says whether the order lives (a market order has filled then)."""
    return _replied(when, "POST order", lambda reply: replace(reply, ending=Ending.HUNG), not accepted)


@named
def Drop(accepted: bool = False, **when: Unpack[When]) -> Fault:
    """F1, F2, F3: the connection closes without a word."""
    return _replied(when, "POST order", lambda reply: replace(reply, ending=Ending.DROPPED), not accepted)


@named
def ServerError(
    status: int = 503, code: int | str | None = None, accepted: bool = False, **when: Unpack[When]
) -> Fault:
    """F4 (accepted), F5 (not): a 5xx, as a proxy's page or with a code of the venue (-1007, -1008)."""

    def fail(venue: Venue, reply: Reply) -> Reply:
        return venue.refusal(venue.refused(code, status=status))

    return Fault(**_on(when, "POST order"), is_lost=not accepted, after=fail)


@named
def Zombie(by: Nanos, **when: Unpack[When]) -> Fault:
    """F6: no answer, and the request arrives so much later, when the client has long given up."""
    return replace(Hang(**when), late=by)


@named
def CancelReplyLost(**when: Unpack[When]) -> Fault:
    """F21: the order is cancelled, and nobody says so."""
    return Hang(accepted=True, **_on(when, "DELETE order"))


@named
def Slow(by: float, **when: Unpack[When]) -> Fault:
    """F30: the answer takes so many seconds of the real clock."""
    return _replied(when, "*", lambda reply: replace(reply, delay=by))


@named
def Malformed(**when: Unpack[When]) -> Fault:
    """F9: a body that ends in the middle of its JSON, though all of it arrived."""
    return _replied(when, "POST order", lambda reply: replace(reply, body=reply.encoded[: len(reply.encoded) // 2]))


@named
def Truncated(**when: Unpack[When]) -> Fault:
    """F9: the connection closes in the middle of the body."""
    return _replied(when, "POST order", lambda reply: replace(reply, ending=Ending.CUT))


@named
def Page(**when: Unpack[When]) -> Fault:
    """F9: a page of HTML, with 200."""
    return _replied(when, "POST order", lambda reply: Reply(HTML, 200, {"Content-Type": "text/html"}))


@named
def Nulled(*fields: str, **when: Unpack[When]) -> Fault:
    """F10: these fields are null; without names status and what has been executed."""

    def null(venue: Venue, reply: Reply) -> Reply:
        return _overwritten(reply, dict.fromkeys(fields or venue.EXECUTED))

    return Fault(**_on(when, "POST order"), after=null)


@named
def Empty(**when: Unpack[When]) -> Fault:
    """F10, F25: an empty list where there was one, or an empty object."""

    def empty(venue: Venue, reply: Reply) -> Reply:
        if not isinstance(reply.body, dict):
            return replace(reply, body=[])
        lists: Row = {name: [] for name in venue.LISTS & reply.body.keys()}
        return replace(reply, body=reply.body | lists if lists else {})

    return Fault(**_on(when, "GET openOrders"), after=empty)


# ---------------------------------------------------------------- refusals


@named
def Refuse(code: int | str | None = None, message: str = "", status: int | None = None, **when: Unpack[When]) -> Fault:
    """F13: a definitive refusal by a code of the venue, or for want of funds; F23 with on="POST order STOP*"."""
    return _refusing(when, "POST order", Reason.FUNDS if code is None else code, message, status)


@named
def Gone(**when: Unpack[When]) -> Fault:
    """F8: an order that was found is not found, and will be again."""
    return _refusing(when, "GET order", Reason.NOT_FOUND)


@named
def RateLimited(retry_after: int | None = 10, **when: Unpack[When]) -> Fault:
    """F11: 429 before anything is accepted, with or without the seconds to wait."""
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return _refusing(when, "*", Reason.TOO_MANY, headers=headers)


@named
def Banned(lasts: Nanos = 120 * SECOND, **when: Unpack[When]) -> Fault:
    """F12: 418 to every request for so long, at Binance."""
    return _before(when, "*", lambda venue, asked: setattr(venue, "banned_until", venue.now() + lasts))


@named
def Revoked(**when: Unpack[When]) -> Fault:
    """F14: from this request on the key is worth nothing."""
    return _before(when, "*", lambda venue, asked: setattr(venue, "is_revoked", True))


# ---------------------------------------------------------------- orders that do not do what they should


@named
def Invisible(lasts: Nanos = 90 * SECOND, **when: Unpack[When]) -> Fault:
    """F7: the order is accepted, and no query finds it for so long."""

    def hide(venue: Venue, reply: Reply) -> Reply:
        venue.hidden.update({order.id: venue.now() + lasts for order in venue.entered})
        return reply

    return Fault(**_on(when, "POST order"), after=hide)


@named
def Parts(*shares: float, then_cancel: bool = False, **when: Unpack[When]) -> Fault:
    """F15: the order fills by these shares of its quantity, one at each price; the rest follows, or is cancelled."""

    def script(venue: Venue, asked: Asked) -> None:
        venue.account.parts, venue.account.then_cancel = tuple(map(exact, shares)), then_cancel

    return _before(when, "POST order", script)


@named
def StopUnfilled(prices: int = 3, **when: Unpack[When]) -> Fault:
    """F23: a stop that is touched does not fill for so many prices."""
    return Parts(*[0.0] * prices, **_on(when, "POST order STOP*"))


@named
def Vanished(**when: Unpack[When]) -> Fault:
    """F23: the stop is accepted and then dropped, silently."""

    def drop(venue: Venue, reply: Reply) -> Reply:
        for order in venue.entered:
            venue.account.cancel(order)
        return reply

    return Fault(**_on(when, "POST order STOP*"), after=drop)


@named
def FailedAfterwards(**when: Unpack[When]) -> Fault:
    """F13: the order is acknowledged, and fails before it trades."""

    def script(venue: Venue, asked: Asked) -> None:
        venue.account.parts = (exact(0.0),)

    def fail(venue: Venue, reply: Reply) -> Reply:
        for order in venue.entered:
            venue.account.cancel(order, Status.REJECTED)
        return reply

    return Fault(**_on(when, "POST order"), before=script, after=fail)


@named
def Overfilled(**when: Unpack[When]) -> Fault:
    """F19: one lot more than ordered is traded, by an order that fills at once."""

    def overfill(venue: Venue, reply: Reply) -> Reply:
        for order in [order for order in venue.entered if order.status is Status.FILLED]:
            lot = venue.account.markets[order.symbol].lot
            venue.account.trade(order, lot, venue.account.side_price(order.symbol, order.side))
        return reply

    return Fault(**_on(when, "POST order"), after=overfill)


@named
def FilledBeforeCancel(share: float = 1.0, **when: Unpack[When]) -> Fault:
    """F18, F20: a share fills just before the cancel arrives. All of it: "unknown order". Less: the cancel is confirmed
    as if nothing had filled, and the fill shows later."""
    nothing: Row = {"executedQty": "0.00000000", "cummulativeQuoteQty": "0.00000000"}  # Coinbase says neither

    def fill(venue: Venue, asked: Asked) -> None:
        order = venue.found(asked.params)
        assert order is not None, "nothing to fill"
        qty = cut(order.left * exact(share), venue.account.markets[order.symbol].lot)
        venue.account.trade(order, qty, order.price or venue.account.side_price(order.symbol, order.side))

    def conceal(venue: Venue, reply: Reply) -> Reply:
        return _overwritten(reply, nothing) if reply.status == 200 else reply

    return Fault(**_on(when, "DELETE order"), before=fill, after=conceal)


@named
def CancelledByVenue(**when: Unpack[When]) -> Fault:
    """F22: every open order ends before this request, unasked."""
    return _before(when, "*", lambda venue, asked: venue.cancel_all())


@named
def TradedByHand(symbol: str, side: Side, qty: float, **when: Unpack[When]) -> Fault:
    """F22: before this request somebody else trades on the account, at the market."""
    return _before(when, "*", lambda venue, asked: venue.trade_by_hand(symbol, side, qty))


@named
def ClientIdsCut(length: int = 16, **when: Unpack[When]) -> Fault:
    """F34: from this request on client ids are kept only so far."""
    return _before(when, "*", lambda venue, asked: setattr(venue, "id_length", length))


# ---------------------------------------------------------------- histories


@named
def SameTradeTwice(**when: Unpack[When]) -> Fault:
    """F16: every trade is listed twice, with the same id."""
    return _relisted(when, lambda venue, rows: [row for row in rows for _ in range(2)])


@named
def NewIdForOldTrade(**when: Unpack[When]) -> Fault:
    """F17: the newest trade is listed again, under another id."""

    def again(venue: Venue, rows: Sequence[Any]) -> Sequence[Any]:
        newest = sorted(rows, key=lambda row: (row.time, row.id))[-1:]
        return [*rows, *(replace(row, id=1_000_000) for row in newest)]

    return _relisted(when, again)


@named
def NewestFirst(**when: Unpack[When]) -> Fault:
    """F18: trades stand in the reverse order."""
    return _relisted(when, lambda venue, rows: rows[::-1])


@named
def ShortPage(limit: int, **when: Unpack[When]) -> Fault:
    """F35: a page loses the rows beyond so many."""
    return _relisted(when, lambda venue, rows: rows[:limit])


@named
def SmallPages(limit: int, **when: Unpack[When]) -> Fault:
    """F35: the venue lets a page hold so many rows; the next one follows where its protocol says so."""

    def shrink(venue: Venue, asked: Asked) -> None:
        assert isinstance(asked.params, dict)
        asked.params["limit"] = str(limit)

    return _before(when, "GET myTrades", shrink)


@named
def ShortHistory(keeps: Nanos, **when: Unpack[When]) -> Fault:
    """F35: what is older than this is no longer listed."""
    return _relisted(when, lambda venue, rows: [row for row in rows if row.time >= venue.now() - keeps])


# ---------------------------------------------------------------- balances and prices


@named
def BalanceLag(by: Nanos = 30 * SECOND, **when: Unpack[When]) -> Fault:
    """F25: balances as they were so long ago."""
    return _balances(when, lambda venue: venue.shown_balances(venue.now() - by))


@named
def NoBalances(asset: str = "*", **when: Unpack[When]) -> Fault:
    """F25, F26: no balances at all, or this asset is missing."""
    return _balances(
        when, lambda venue: {name: row for name, row in venue.shown_balances().items() if asset not in ("*", name)}
    )


@named
def WrongBalance(asset: str, free: str | None, **when: Unpack[When]) -> Fault:
    """F26: the free balance of an asset is "0", "-1", "NaN" or null."""

    def wrong(venue: Venue) -> dict[str, Shown]:
        rows = venue.shown_balances()
        return rows | {name: row._replace(free=free) for name, row in rows.items() if name == asset}

    return _balances(when, wrong)


@named
def WrongPrice(last: str | None = None, fields: Row | None = None, **when: Unpack[When]) -> Fault:
    """F27: a ticker says "NaN", "0", "-1", a spike or an old price; fields for a crossed book, an old closeTime or
    another symbol."""

    def overwrite(venue: Venue, reply: Reply) -> Reply:
        prices: Row = {} if last is None else dict.fromkeys(venue.PRICES, last)
        return _overwritten(reply, prices | (fields or {}))

    return Fault(**_on(when, "GET ticker*"), after=overwrite)


# ---------------------------------------------------------------- the venue itself


@named
def Skewed(by: Nanos, **when: Unpack[When]) -> Fault:
    """F31: from this request on the venue's clock is so far ahead of ours."""
    return _before(when, "*", lambda venue, asked: setattr(venue, "skew", by))


@named
def Changed(market: Market, **when: Unpack[When]) -> Fault:
    """F32, F33: from this request on a symbol has other filters, or is_trading=False."""
    return _before(when, "*", lambda venue, asked: venue.account.markets.update({market.symbol: market}))


@named
def Maintenance(**when: Unpack[When]) -> Fault:
    """F36: nothing is served, and every order is cancelled at the first request that meets it."""

    def close(venue: Venue, asked: Asked) -> None:
        venue.cancel_all()
        raise venue.refused(Reason.MAINTENANCE)

    return _before(when, "*", close)


# ---------------------------------------------------------------- how they are made


def _on(when: When, default: str) -> When:
    return {"on": default, **when}


def _replied(when: When, default: str, make: Callable[[Reply], Reply], is_lost: bool = False) -> Fault:
    return Fault(**_on(when, default), is_lost=is_lost, after=lambda venue, reply: make(reply))


def _before(when: When, default: str, act: Callable[[Venue, Asked], None]) -> Fault:
    return Fault(**_on(when, default), before=act)


def _refusing(
    when: When,
    default: str,
    why: Reason | int | str,
    message: str = "",
    status: int | None = None,
    headers: Mapping[str, str] | None = None,
) -> Fault:
    def refuse(venue: Venue, asked: Asked) -> None:
        raise venue.refused(why, message, status, headers)

    return _before(when, default, refuse)


def _balances(when: When, rows: Callable[[Venue], dict[str, Shown]]) -> Fault:
    return _before(when, "GET account", lambda venue, asked: setattr(venue.altered, "balances", rows(venue)))


def _relisted(when: When, relist: Callable[[Venue, Sequence[Any]], Sequence[Any]]) -> Fault:
    def alter(venue: Venue, asked: Asked) -> None:
        venue.altered.lists.append(lambda rows: relist(venue, rows))

    return _before(when, "GET myTrades", alter)


def _overwritten(reply: Reply, values: Row) -> Reply:
    """A reply in which these fields have these values, wherever they stand."""

    def overwrite(value: Json) -> Json:
        if isinstance(value, list):
            return [overwrite(each) for each in value]
        if isinstance(value, dict):
            return {name: values[name] if name in values else overwrite(each) for name, each in value.items()}
        return value

    return reply if isinstance(reply.body, bytes) else replace(reply, body=overwrite(reply.body))
