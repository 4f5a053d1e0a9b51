"""What is particular to Coinbase Advanced Trade, through the real engine, loop, broker and client.

The faults that every spot venue shows are in `test_spot`. What is numbered here failed as it is numbered: nothing was
ever sold, for the exit waited for a stop that had never been placed.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import ccxt
import pytest

from ffe.config import Secrets, Settings
from ffe.errors import ConfigError
from ffe.live.connect import Armed, connectors
from ffe.model import (
    SECOND,
    Accepted,
    Act,
    Cancelled,
    Failed,
    Fault,
    Nanos,
    OrderId,
    Rejected,
    StopUnfilled,
    Withheld,
)  # fmt: skip
from ffe.risk.breaker import BreakerState
from ffe.risk.guard import TradingState
from ffe.wire.ccxt_wire import CcxtMarket, Short, ask, instruments
from ffe.wire.errors import Denied, NotThere, Unclear
from ffe.wire.exchanges import Coinbase
from tests.faults.stage_spot import COINS, Stage, virtual_time
from tests.faults.test_spot import ENTRY, EXIT, STOP, is_gone, is_open_and_safe
from tests.story.scene import buy, leave
from tests.venues import faults as f
from tests.venues.matching import Side, Status
from tests.venues.server import Reply, Server

MILLI: Nanos = SECOND // 1000
CANCEL, LOOK = "DELETE order", "GET order"
BEYOND = 46_000.0  # a price below the limit of a stop at 49,000
ALWAYS = 10**6
MANY = 120  # open orders: ccxt reads a hundred
THERE = Coinbase()


@pytest.fixture
def stage(coinbase: tuple[Server, ccxt.coinbase]) -> Iterator[Stage]:
    server, client = coinbase
    with virtual_time(client, Stage(server, client)) as made:
        yield made


def asked(stage: Stage, since: int = 0) -> list[str]:
    """The words of the requests that matter to an order, in their order."""
    words = [" ".join(request.names[1]).strip() for request in stage.venue.requests[since:]]
    return [word for word in words if word.startswith(("POST", "DELETE", LOOK))]


def seconds_until_flat(stage: Stage, price: float, most: int = 20) -> int:
    """How many heartbeats it takes, no price ever reaching the engine."""
    for second in range(1, most + 1):
        stage.beats(1, btc=price)
        if stage.at_venue() == 0.0:
            return second
    raise AssertionError(f"not flat within {most} s: {stage.at_venue()}, {stage.stops()}")


# ---------------------------------------------------------------- what failed, by its number


def test_coinbase_1_there_is_no_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COINBASE_API_KEY", "key")
    monkeypatch.setenv("COINBASE_API_SECRET", "secret")
    (connector,) = connectors(Settings(), ["BTC/USD"], Secrets(), Armed.SANDBOX)
    with pytest.raises(ConfigError, match="coinbase has no sandbox that ccxt knows"):
        connector.ccxt()


@pytest.mark.parametrize("milliseconds", [0, 1, 499, 500, 501, 750, 999])
def test_coinbase_2_clock_is_read_in_milliseconds(stage: Stage, milliseconds: int) -> None:
    stage.now += milliseconds * MILLI
    assert THERE.time(stage.client) == stage.now // MILLI
    told = stage.bought()
    assert not [a for a in told.answers if isinstance(a, Withheld)]
    is_open_and_safe(stage)


def test_coinbase_3_acknowledgement_without_status_is_an_acceptance(stage: Stage) -> None:
    stage.bought()
    stage.tick(buy(stage.eth, qty=1.0))
    stage.tick(leave(stage.btc))
    accepted = [a for a in stage.answers if isinstance(a, Accepted)]
    assert len(accepted) == len(stage.posts()) == 5 and stage.failures == 0 and stage.breaker is BreakerState.CLOSED


def test_coinbase_4_our_id_is_the_orders_and_finds_a_lost_one(stage: Stage) -> None:
    stage.bought(f.Drop(accepted=True, on=ENTRY), f.Drop(accepted=True, on=STOP))
    stage.tick()
    is_open_and_safe(stage)
    sent = {order.id for order in stage.told.orders if hasattr(order, "approved")}
    assert {order.client_id for order in stage.venue.orders} == sent and len(sent) == 2


def test_coinbase_4_lost_order_is_found_though_trades_since_are_of_no_interest(stage: Stage) -> None:
    stage.bought()
    (entry, stop) = stage.venue.orders
    stage.minutes(60)
    for order in (entry, stop):
        found = THERE.order(stage.client, None, OrderId(order.client_id), stage.btc.symbol, stage.now)
        assert found["clientOrderId"] == order.client_id and found["timestamp"] == order.time // MILLI


def test_coinbase_5_stop_rests_as_a_limit_five_percent_below_it(stage: Stage) -> None:
    stage.bought()
    (post,) = stage.posts("STOP*")
    assert post.params["order_configuration"] == {
        "stop_limit_stop_limit_gtc": {
            "base_size": "0.1",
            "limit_price": "46550",
            "stop_price": "49000",
            "stop_direction": "STOP_DIRECTION_STOP_DOWN",
        }
    }
    is_open_and_safe(stage)


def test_coinbase_5_limit_of_a_stop_is_rounded_away_from_it(stage: Stage) -> None:
    stage.tick()
    stage.tick(buy(stage.btc, qty=0.1, stop=49_000.01))
    (post,) = stage.posts("STOP*")
    (terms,) = post.params["order_configuration"].values()
    assert (terms["stop_price"], terms["limit_price"]) == ("49000.01", "46550")  # 46550.0095 is nearer to 46550.01


def test_coinbase_5_stop_that_never_arrived_is_not_waited_for(stage: Stage) -> None:
    """Asking for it by an id that the venue does not know was an error of no class, for ever."""
    stage.bought(f.Drop(on=STOP))
    stage.beats(3)
    assert stage.is_protected() and len(stage.posts("STOP*")) == 2
    stage.minutes(2)
    is_open_and_safe(stage)


def test_coinbase_6_exit_leaves_once_its_stop_is_seen_cancelled(stage: Stage) -> None:
    stage.bought()
    since = len(stage.venue.requests)
    stage.tick(leave(stage.btc))
    assert asked(stage, since)[:3] == [CANCEL, LOOK, EXIT]
    (exit,) = stage.posts("MARKET")
    assert exit.params["order_configuration"] == {"market_market_ioc": {"base_size": "0.1"}}
    assert exit.params["side"] == "SELL"
    is_gone(stage)


@pytest.mark.parametrize("lost", [(), (f.Drop(on=STOP),), (f.Drop(accepted=True, on=STOP),)])
def test_coinbase_7_emergency_stop_ends_flat(stage: Stage, lost: tuple[f.Fault, ...]) -> None:
    stage.bought(*lost)
    stage.command(Act.EMERGENCY_STOP)
    stage.beats(3)
    assert stage.at_venue() == 0.0 and not stage.stops() and len(stage.posts("MARKET")) == 1
    stage.minutes(2)
    is_gone(stage)


# ---------------------------------------------------------------- a stop that is triggered and does not fill


def test_stop_that_the_price_jumped_is_followed_by_a_sale_without_any_price(stage: Stage) -> None:
    stage.bought()
    stage.beats(1, btc=BEYOND)
    assert stage.broker.is_in_doubt  # a session looks every two seconds; in doubt, at the next heartbeat
    assert seconds_until_flat(stage, BEYOND) == 1
    stage.beats(5)
    is_gone(stage)
    assert not stage.broker.is_in_doubt
    assert [o.cause for o in stage.told.outcomes] == ["stop did not fill"]
    assert [t.price for t in stage.venue.trades if t.side is Side.SELL] == [Decimal(46_000)]
    assert len([a for a in stage.answers if isinstance(a, StopUnfilled)]) == 1


def test_stop_that_the_price_jumped_is_followed_by_a_sale_at_the_second_price_too(stage: Stage) -> None:
    stage.bought()
    stage.ticks(2, btc=BEYOND)
    is_gone(stage)
    assert len(stage.told.outcomes) == 1


def test_stop_that_filled_in_part_before_the_price_jumped_it_is_followed_by_a_sale_of_the_rest(stage: Stage) -> None:
    stage.bought(f.Parts(0.4, *[0.0] * 50, on=STOP))
    assert seconds_until_flat(stage, 48_900.0) <= 5
    stage.beats(5)
    is_gone(stage)
    sold = [float(t.qty) for t in stage.venue.trades if t.side is Side.SELL]
    assert sold == [pytest.approx(0.04), pytest.approx(0.06)]


def test_stop_that_fills_when_the_price_comes_back_at_once_is_left_to_it(stage: Stage) -> None:
    stage.bought()
    stage.beats(1, btc=BEYOND)
    stage.beats(4, btc=47_000.0)
    is_gone(stage)
    assert not stage.posts("MARKET") and [o.cause for o in stage.told.outcomes] == ["stop"]
    assert not stage.broker.is_in_doubt


def test_stop_that_was_cancelled_while_it_was_in_doubt_leaves_no_doubt(stage: Stage) -> None:
    stage.bought()
    stage.beats(1, btc=BEYOND)
    assert stage.broker.is_in_doubt
    stage.fault(f.Drop(on="GET openOrders", times=20))  # the exit comes before the second look
    stage.tick(leave(stage.btc), btc=BEYOND)
    assert not stage.stops() and not stage.at_venue() and not stage.broker.is_in_doubt


def test_stop_that_is_not_triggered_is_left_alone(stage: Stage) -> None:
    stage.bought()
    stage.beats(20, btc=49_000.01)
    is_open_and_safe(stage)
    assert not [a for a in stage.answers if isinstance(a, StopUnfilled)]


def test_jumped_stop_stays_while_the_market_does_not_trade(stage: Stage) -> None:
    stage.bought()
    stage.beats(1, btc=BEYOND)
    stage.venue.change(stage.named(), cancel_only=True)
    stage.beats(20, btc=BEYOND)
    assert not stage.broker.is_in_doubt  # it has been said
    assert stage.stops() and not stage.posts("MARKET") and CANCEL not in asked(stage)
    assert len([a for a in stage.answers if isinstance(a, StopUnfilled)]) == 1
    stage.venue.change(stage.named(), cancel_only=False)
    assert seconds_until_flat(stage, BEYOND) <= 5


@pytest.mark.parametrize("fault", [f.Drop, f.ServerError, f.CancelReplyLost, f.RateLimited, f.Page])
def test_jumped_stop_whose_cancel_fails_once_is_followed_by_a_sale(stage: Stage, fault: object) -> None:
    how = {"retry_after": None} if fault is f.RateLimited else {}
    stage.bought(fault(on=CANCEL, **how))
    assert seconds_until_flat(stage, BEYOND) <= 6
    stage.minutes(2)
    is_gone(stage)


# ---------------------------------------------------------------- cancels


@pytest.mark.parametrize(("milliseconds", "looks"), [(1, 2), (100, 2), (299, 3), (699, 4), (1_499, 5)])
def test_cancel_that_takes_a_while_is_waited_for(stage: Stage, milliseconds: int, looks: int) -> None:
    stage.bought()
    stage.venue.cancel_takes = milliseconds * MILLI
    since = len(stage.venue.requests)
    stage.tick(leave(stage.btc))
    assert asked(stage, since)[: looks + 2] == [CANCEL, *[LOOK] * looks, EXIT]
    stage.tick()
    is_gone(stage)


def test_exit_waits_for_a_cancel_that_is_not_done(stage: Stage) -> None:
    """It is submitted, and the stop may still fill: an exit beside it would sell twice, or be refused for want of
    coins."""
    stage.bought()
    stage.venue.cancel_takes = 4 * SECOND
    stage.tick(leave(stage.btc))
    assert not stage.posts("MARKET") and stage.stops()
    assert [(a.fault, a.query) for a in stage.answers if isinstance(a, Failed)] == [(Fault.TIMEOUT, False)]
    stage.beats(6)
    is_gone(stage)
    assert len(stage.posts("MARKET")) == 1 and not [a for a in stage.answers if isinstance(a, Rejected)]


def test_stop_that_fills_while_its_cancel_is_queued_is_the_exit(stage: Stage) -> None:
    stage.bought()
    stage.venue.cancel_takes = 30 * SECOND
    stage.tick(leave(stage.btc))
    stage.beats(1)
    stage.beats(3, btc=48_900.0)
    is_gone(stage)
    assert not stage.posts("MARKET") and [o.cause for o in stage.told.outcomes] == ["stop"]


def test_stop_that_fills_while_its_cancel_is_looked_at_is_the_exit(stage: Stage) -> None:
    stage.bought()
    stage.venue.cancel_takes = SECOND
    stage.fault(f.Fault(name="Falls", on=LOOK, nth=2, before=lambda venue, _: venue.price(stage.named(), 48_900.0)))
    stage.tick(leave(stage.btc))
    is_gone(stage)
    assert not stage.posts("MARKET") and [o.cause for o in stage.told.outcomes] == ["stop"]


def test_cancel_of_a_stop_that_has_filled_is_no_failure(stage: Stage) -> None:
    stage.bought()
    stage.fault(f.FilledBeforeCancel())
    stage.tick(leave(stage.btc))
    stage.beats(2)
    is_gone(stage)
    assert not [a for a in stage.answers if isinstance(a, Failed)] and not stage.posts("MARKET")


REASONS = ["COMMANDER_REJECTED_CANCEL_ORDER", "INVALID_CANCEL_REQUEST", "NOT_ALLOWED_TO_CANCEL", "SOMETHING_NEW"]


@pytest.mark.parametrize("reason", REASONS)
def test_cancel_that_is_refused_leaves_the_stop_in_place(stage: Stage, reason: str) -> None:
    stage.bought()
    stage.fault(f.Refuse(reason, on=CANCEL))
    since = len(stage.venue.requests)
    stage.tick(leave(stage.btc))
    assert stage.is_protected() and asked(stage, since) == [CANCEL, LOOK], "the engine asks what became of it"
    stage.beats(3)
    is_gone(stage)


def test_cancel_that_was_asked_for_twice_is_still_one(stage: Stage) -> None:
    stage.bought()
    stage.venue.cancel_takes = 2 * SECOND
    stage.fault(f.Hang(accepted=True, on=CANCEL))
    stage.tick(leave(stage.btc))
    stage.beats(4)
    assert asked(stage).count(CANCEL) >= 2  # DUPLICATE_CANCEL_REQUEST is its answer
    is_gone(stage)


def test_cancelled_stop_that_no_query_finds_is_not_proven_gone(stage: Stage) -> None:
    stage.bought()
    stage.fault(f.Gone(times=20))
    stage.tick(leave(stage.btc))
    assert not stage.posts("MARKET")
    stage.ticks(4)
    is_gone(stage)


@pytest.mark.parametrize("fault", [f.ServerError, f.Drop, f.RateLimited, f.Page, f.Malformed])
def test_look_at_a_cancel_that_fails_proves_nothing(stage: Stage, fault: object) -> None:
    stage.bought()
    stage.fault(fault(on=LOOK))
    stage.tick(leave(stage.btc))
    assert not stage.posts("MARKET") and stage.at_venue()
    stage.ticks(2)
    is_gone(stage)


def test_results_of_a_cancel_that_are_missing_prove_nothing(stage: Stage) -> None:
    stage.bought()
    stage.fault(f.Empty(on=CANCEL))
    stage.tick(leave(stage.btc))
    assert not stage.posts("MARKET")
    stage.beats(3)
    is_gone(stage)


# ---------------------------------------------------------------- what becomes of orders


@pytest.mark.parametrize("code", ["INSUFFICIENT_FUND", "PREVIEW_INSUFFICIENT_FUND"])
def test_want_of_coins_is_known_as_such(stage: Stage, code: str) -> None:
    stage.fault(f.Refuse(code))
    with pytest.raises(Short):
        ask(stage.client.create_order, "BTC/USD", "market", "sell", 0.1)


def test_want_of_coins_that_the_preview_did_not_see_is_known_as_such(stage: Stage) -> None:
    """ccxt reads the preview's reason alone."""
    stage.fault(f.Refuse("INSUFFICIENT_FUND"), f.Nulled("preview_failure_reason"))
    with pytest.raises(Short):
        ask(stage.client.create_order, "BTC/USD", "market", "sell", 0.1)


CODES = [
    "COMMANDER_REJECTED_NEW_ORDER",
    "INVALID_LIMIT_PRICE_POST_ONLY",
    "PREVIEW_INVALID_BASE_SIZE_TOO_SMALL",
    "PREVIEW_STOP_PRICE_ABOVE_LAST_TRADE_PRICE",
    "SOMETHING_NEW",
    "UNSUPPORTED_ORDER_CONFIGURATION",
]


@pytest.mark.parametrize("code", CODES)
def test_success_that_is_false_is_a_refusal_whatever_the_reason(stage: Stage, code: str) -> None:
    stage.bought(f.Refuse(code, on=ENTRY))
    (rejected,) = [a for a in stage.answers if isinstance(a, Rejected)]
    assert code in rejected.reason and stage.slot is None and stage.failures == 0


def test_id_that_the_venue_has_already_is_no_refusal_of_its_order(stage: Stage) -> None:
    stage.fault(f.Refuse("DUPLICATE_CLIENT_ORDER_ID"))
    with pytest.raises(Unclear):
        ask(stage.client.create_order, "BTC/USD", "market", "sell", 0.1)


def test_entry_that_failed_after_its_acceptance_is_the_venues_failure_and_no_collar(stage: Stage) -> None:
    stage.bought(f.FailedAfterwards(on=ENTRY))
    stage.tick()
    (cancelled,) = [a for a in stage.answers if isinstance(a, Cancelled)]
    assert (cancelled.reason, cancelled.venue_fault) == ("rejected", True)
    assert stage.failures == 1 and stage.slot is None


def test_stop_that_expired_is_put_back(stage: Stage) -> None:
    stage.bought()
    (stop,) = [order for order in stage.venue.orders if order.stop]
    stage.venue.account.cancel(stop, Status.EXPIRED)
    stage.tick()
    is_open_and_safe(stage)
    (cancelled,) = [a for a in stage.answers if isinstance(a, Cancelled)]
    assert (cancelled.reason, cancelled.venue_fault) == ("expired", False)


def shown(status: str, times: int) -> f.Fault:
    """An order is shown with this status so many times."""

    def show(venue: object, reply: Reply) -> Reply:
        return f._overwritten(reply, {"status": status})

    return f.Fault(name="Shown", on=LOOK, times=times, after=show)


@pytest.mark.parametrize("status", ["PENDING", "QUEUED", "CANCEL_QUEUED", "EDIT_QUEUED"])
def test_order_that_is_neither_open_nor_over_is_waited_for(stage: Stage, status: str) -> None:
    stage.bought()
    stage.fault(f.Empty(times=3), shown(status, times=3))
    stage.ticks(3)
    assert not [a for a in stage.answers if isinstance(a, Cancelled)]
    stage.tick()
    is_open_and_safe(stage)
    assert len(stage.posts("STOP*")) == 1


def test_status_that_is_not_known_tells_nothing(stage: Stage) -> None:
    stage.bought()
    stage.fault(f.Empty(times=2), shown("UNKNOWN_ORDER_STATUS", times=2))
    stage.ticks(3)
    is_open_and_safe(stage)
    assert len(stage.posts("STOP*")) == 1


def test_what_is_not_there_is_no_lost_order_where_no_order_was_asked_for(stage: Stage) -> None:
    """NOT_FOUND is said of products too: a feed that takes it for an order would break."""
    stage.fault(f.Refuse("NOT_FOUND", status=404, on="GET ticker*"))
    with pytest.raises((Unclear, Denied)):
        CcxtMarket(stage.client).quotes([stage.btc])
    with pytest.raises(NotThere):
        ask(THERE.order, stage.client, "00000009-0001-4000-8000-000000000009", OrderId(""), stage.btc.symbol, 0)


# ---------------------------------------------------------------- rates, clocks and keys


def test_rate_limit_without_a_time_holds_up_orders_for_a_second_and_questions_for_ten(stage: Stage) -> None:
    stage.bought()
    stage.fault(f.RateLimited(retry_after=None, on="GET openOrders"), f.RateLimited(retry_after=None, on=EXIT))
    stage.beats(1)
    begun, known = stage.now, len(stage.venue.requests)
    stage.tick(leave(stage.btc))
    stage.beats(2)
    assert stage.at_venue() == 0.0 and len(stage.posts("MARKET")) == 2
    listed = [r.time for r in stage.venue.requests[known:] if r.names[1][1] == "openOrders"]
    assert not listed or min(listed) >= begun + 10 * SECOND
    assert stage.failures == 0


@pytest.mark.parametrize("seconds", [-60, -1.5, -0.4, 125, 3_600])
def test_exit_leaves_by_the_venues_clock_when_a_token_is_refused_for_its_time(stage: Stage, seconds: float) -> None:
    stage.bought()
    stage.fault(f.Skewed(int(seconds * SECOND), on=CANCEL))
    stage.tick(leave(stage.btc))
    stage.tick()
    assert stage.at_venue() == 0.0 and "credentials" not in stage.latches


def test_feed_reads_prices_by_the_venues_clock_too(stage: Stage) -> None:
    stage.venue.skew = -30 * SECOND
    (quote,) = CcxtMarket(stage.client).quotes([stage.btc])
    assert quote.mid == 50_000.0


def test_refused_token_is_a_wrong_key_where_the_clocks_agree(stage: Stage) -> None:
    stage.bought()
    stage.fault(f.Revoked())
    stage.tick()
    assert stage.latches == {"credentials"}


def test_clock_that_cannot_be_read_makes_no_key_wrong(stage: Stage) -> None:
    stage.bought()
    stage.fault(f.Revoked(), f.ServerError(on="GET time", times=3))
    stage.tick()
    assert stage.state is TradingState.ACTIVE and not stage.latches
    stage.ticks(4)
    assert stage.latches == {"credentials"}


def test_key_that_may_not_trade_is_locked_out(stage: Stage) -> None:
    stage.tick()
    stage.venue.scopes.discard("trade")
    stage.tick(buy(stage.btc, qty=0.1))
    assert stage.latches == {"credentials"} and stage.slot is None


# ---------------------------------------------------------------- what it shows


@pytest.mark.parametrize("how", ["trading_disabled", "cancel_only", "limit_only", "post_only", "offline"])
def test_exit_waits_behind_its_stop_where_the_product_takes_none(stage: Stage, how: str) -> None:
    shut = {"trading_disabled": {"is_trading": False}, "offline": {"status": "offline"}}.get(how, {how: True})
    stage.bought()
    stage.venue.change(stage.named(), **shut)
    stage.tick(leave(stage.btc))
    assert stage.is_protected() and not stage.posts("MARKET") and CANCEL not in asked(stage)
    (withheld,) = [a for a in stage.answers if isinstance(a, Withheld)]
    assert how in withheld.reason
    stage.venue.change(stage.named(), is_trading=True, status="online", **({how: False} if how in shut else {}))
    stage.beats(5)
    is_gone(stage)


def test_prices_of_all_markets_are_one_request(stage: Stage) -> None:
    known = len(stage.venue.requests)
    quotes = CcxtMarket(stage.client).quotes([stage.btc, stage.eth, stage.sol])
    assert [quote.mid for quote in quotes] == [50_000.0, 2_500.0, 100.0]
    assert [request.endpoint for request in stage.venue.requests[known:]] == ["best_bid_ask"]


def test_what_a_stop_holds_is_still_held(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(stage.client.options, "fetchBalance", "v2PrivateGetAccounts")  # as ccxt does by itself
    stage.bought()
    balances = THERE.balances(stage.client)
    assert (balances["total"]["BTC"], balances["free"]["BTC"], balances["used"]["BTC"]) == (0.1, 0.0, 0.1)


def test_more_trades_than_a_page_holds_are_all_read(stage: Stage) -> None:
    """A page begins with the newest: reading on from its last time would leave the older ones out for ever."""
    stage.bought(f.Parts(*[0.004] * 249, on=ENTRY))
    for _ in range(250):
        stage.venue.price(stage.named(), 50_000.0)
    stage.tick()
    assert stage.held == pytest.approx(0.1)
    stage.tick()
    is_open_and_safe(stage)


def test_orders_of_other_markets_hide_none(stage: Stage) -> None:
    stage.bought()
    for n in range(120):
        params = {"client_order_id": f"hand-{n}"}
        stage.client.create_order("ETH/USD", "limit", "buy", 0.001, 1_000.0 + n, params)
    known = len(stage.venue.requests)
    stage.tick()
    assert LOOK not in asked(stage, known) and stage.is_protected()


def test_fee_is_the_takers_of_the_accounts_tier_and_paid_in_cash(stage: Stage) -> None:
    stage.venue.account.fee = Decimal("0.006")
    try:
        stage.client.load_markets(True)
        (listed,) = instruments(stage.client, COINS, ["BTC/USD"], fee_in_base=False)
    finally:
        stage.venue.account.fee = Decimal("0.012")
        stage.client.load_markets(True)
    assert listed.fee == 0.006 and not Settings().instrument("BTC/USD").fee_in_base
    stage.bought()
    assert stage.at_venue("USD") == 100_000.0 - 5_000.0 * 1.012
    stage.agrees()


def test_stop_of_a_coin_with_a_coarse_grid_lies_on_it() -> None:
    terms = THERE.stop(0.00012, 0.00001)
    assert terms.price == pytest.approx(0.00011) and terms.params == {"stopLossPrice": 0.00012}
    assert THERE.stop(0.00001, 0.00001).price == 0.00001  # and is a price at all
    assert THERE.stop(100.0).price == 95.0


def test_stop_of_ours_is_listed_beside_more_orders_of_another_market_than_a_page_holds(stage: Stage) -> None:
    """Whoever closes without an engine was told that nothing rests there."""
    stage.bought()
    for n in range(MANY):
        stage.client.create_order("ETH/USD", "limit", "buy", 0.01, 1_000.0, {"client_order_id": f"hand-{n}"})
    listed = [order.instrument for order in stage.broker.open_orders()]
    assert listed.count(stage.btc.id) == 1 and listed.count(stage.eth.id) == MANY
