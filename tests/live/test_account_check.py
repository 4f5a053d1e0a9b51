"""An account is checked before it is traded. What follows from a report is pure; that a venue is asked for it, and that
nothing is left behind where it refuses, is seen at loopback venues with the real clients.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from ffe.config import load_secrets, load_settings
from ffe.errors import ConfigError
from ffe.live.__main__ import app as live
from ffe.live.account_check import Expected, Severity, check, findings, refuse_untested
from ffe.live.connect import Armed, Connector, connectors
from ffe.model import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    Account,
    AccountKind,
    AssetClass,
    Currency,
    Instrument,
    InstrumentId,
    Nanos,
    Symbol,
    Venue,
)  # fmt: skip
from ffe.wire.account import AccountReport, ClockReading, MarketReport, RestingStop
from ffe.wire.exchanges import TESTED
from tests.data.values import instrument
from tests.live.street import INSTRUMENT, KEY, ROOT, SECRET, SETTINGS, Street, session
from tests.live.test_oanda import settings_of
from tests.venues.binance import Binance
from tests.venues.faults import Hang, ServerError
from tests.venues.oanda import Oanda
from tests.venues.oanda_values import Instrument as Pair
from tests.venues.server import Reply, Server

BINANCE, OANDA = Venue("binance"), Venue("oanda")
USD, USDT, SEK = Currency("USD"), Currency("USDT"), Currency("SEK")
BTC = instrument("BTC/USDT", AssetClass.CRYPTO, "24/7", BINANCE)
ETH = instrument("ETH/USDT", AssetClass.CRYPTO, "24/7", BINANCE)
EUR = instrument("EUR/USD", AssetClass.FOREX, "forex", OANDA)
BARS = frozenset([MINUTE, HOUR])
READING = ClockReading(100 * SECOND, 100 * SECOND, 100 * SECOND)


def spot(*markets: MarketReport, **changes: object) -> AccountReport:
    """An account of USDT in which nothing is wrong."""
    markets = markets or (trades(),)
    fine = AccountReport(AccountKind.SPOT, None, markets, {USDT: 1000.0}, READING, may_trade=True, intervals=BARS)
    return replace(fine, **changes)  # type: ignore[arg-type]


def trades(symbol: str = "BTC/USDT", **changes: object) -> MarketReport:
    fine = MarketReport(Symbol(symbol), stops=frozenset({RestingStop.MARKET}), fee=0.001)
    return replace(fine, **changes)  # type: ignore[arg-type]


def margin(currency: Currency = USD, **changes: object) -> AccountReport:
    market = trades("EUR/USD", kind=AccountKind.MARGIN, fee=None, closes_regularly=True)
    fine = AccountReport(AccountKind.MARGIN, currency, (market,), {currency: 1000.0}, READING, intervals=BARS)
    return replace(fine, **changes)  # type: ignore[arg-type]


def expected(*session: Instrument, home: Currency = USDT, open: str = "", **account: object) -> Expected:
    found = session or (BTC,)
    kind = AccountKind.MARGIN if found[0].venue == OANDA else AccountKind.SPOT
    own = replace(Account(found[0].venue, kind, home), **account)  # type: ignore[arg-type]
    held = frozenset([InstrumentId(open)])
    return Expected(own, "X_API_KEY", home, found, held, stop=0.02, skew=SECOND // 2, interval=HOUR)


def said(report: AccountReport, of: Expected, severity: Severity = Severity.REFUSAL) -> list[str]:
    return [str(finding) for finding in findings(report, of) if finding.severity is severity]


def refusals(report: AccountReport, of: Expected | None = None) -> list[str]:
    return said(report, of or expected())


def warnings(report: AccountReport, of: Expected | None = None) -> list[str]:
    return said(report, of or expected(), Severity.WARNING)


# ---------------------------------------------------------------- what follows from a report


def test_an_account_in_which_nothing_is_wrong_passes_every_check() -> None:
    assert refusals(spot()) == warnings(spot()) == []
    assert said(spot(), expected(), Severity.PASSED) == [
        "key: it opens the account, and may trade.",
        "currency: USDT, as in the settings.",
        "markets: BTC/USDT.",
        "stops: they rest at the venue, as stop orders that sell at market.",
        "fees: a taker pays 0.1 %.",
        "clock: the venue's is within 0.5 s of ours.",
    ]
    assert refusals(margin(), expected(EUR, home=USD)) == warnings(margin(), expected(EUR, home=USD)) == []


def test_a_key_that_may_not_trade_refuses() -> None:
    (refusal,) = refusals(spot(may_trade=False, restriction="canTrade is false"))
    assert refusal.startswith("key: it opens the account, and may not trade (canTrade is false). Give it the right")
    assert refusals(spot(may_trade=None)) == []


def test_f4_an_account_in_another_currency_refuses_and_names_the_setting() -> None:
    first, second = refusals(margin(SEK), expected(EUR, home=USD))
    assert first == (
        "currency: the account is in SEK, and currency in [venues.oanda] is USD. "
        'Set currency = "SEK" in [venues.oanda] of ffe.toml.'
    )
    assert "nothing in this session tells what SEK is worth in USD" in second
    usd_sek = instrument("USD/SEK", AssetClass.FOREX, "forex", "oanda")
    assert refusals(margin(SEK), expected(EUR, usd_sek, home=SEK)) == []
    assert refusals(margin(SEK), expected(EUR, usd_sek, home=USD, currency=SEK)) == []


def test_f4_a_coin_that_is_paid_in_another_currency_refuses() -> None:
    """As shipped, an account is in USD."""
    first, second = refusals(spot(), expected(home=USD))
    assert first.startswith("currency: BTC/USDT is paid in USDT, and currency in [venues.binance] is USD.")
    assert "nothing in this session tells what USDT is worth in USD" in second
    usdt = instrument("USDT/USD", AssetClass.CRYPTO, "24/7", BINANCE)
    assert refusals(spot(), expected(BTC, usdt, home=USD)) == []


def test_a_pair_without_a_rate_for_its_quote_refuses() -> None:
    pair = instrument("EUR/GBP", AssetClass.FOREX, "forex", "oanda")
    (refusal,) = refusals(margin(), expected(pair, home=USD))
    assert "nothing in this session tells what GBP is worth in USD" in refusal
    cable = instrument("GBP/USD", AssetClass.FOREX, "forex", "oanda")
    assert refusals(margin(), expected(pair, cable, home=USD)) == []


@pytest.mark.parametrize(
    "report, of",
    [(spot(), expected(kind=AccountKind.MARGIN)), (margin(), expected(EUR, home=USD, kind=AccountKind.SPOT))],
)
def test_an_account_of_another_kind_refuses(report: AccountReport, of: Expected) -> None:
    (refusal,) = refusals(report, of)
    assert f'Set kind = "{report.kind}" in [venues.{of.venue}]' in refusal


def test_an_account_without_any_money_refuses() -> None:
    assert "shows no money at all" in refusals(spot(held={}))[0]


def test_a_market_that_cannot_be_traded_refuses() -> None:
    assert refusals(spot(trades(problem="binance lists no BTC/USDT", stops=frozenset()))) == [
        "BTC/USDT: binance lists no BTC/USDT. Take BTC/USDT out of --symbols."
    ]
    assert "it is no spot market" in refusals(spot(trades(kind=AccountKind.MARGIN)))[0]


def test_a_halted_market_refuses_unless_something_is_open_there() -> None:
    halted = spot(trades(halt="its status is BREAK"), trades("ETH/USDT"))
    assert refusals(halted, expected(BTC, ETH)) == [
        "BTC/USDT: its market does not trade now (its status is BREAK). "
        "Start when it trades again, or take BTC/USDT out of --symbols."
    ]
    held = expected(BTC, ETH, open="binance:BTC/USDT")
    assert (
        refusals(halted, held) == []
        and "does not trade now (its status is BREAK); what is open" in warnings(halted, held)[0]
    )
    assert refusals(halted, expected(BTC, ETH, open="binance:ETH/USDT")) != []


def test_a_market_that_closes_by_its_timetable_may_be_closed() -> None:
    closed = margin(markets=(replace(margin().markets[0], halt="it is closed"),))
    assert refusals(closed, expected(EUR, home=USD)) == []
    assert "markets: EUR/USD is closed at this hour." in said(closed, expected(EUR, home=USD), Severity.PASSED)


def test_f10_a_market_without_stops_refuses_unless_something_is_open_there() -> None:
    bare = spot(trades(stops=frozenset()))
    (refusal,) = refusals(bare)
    assert refusal.startswith("BTC/USDT: its market holds no stop orders, and stops placed from here sell at market.")
    held = expected(open="binance:BTC/USDT")
    assert refusals(bare, held) == [] and len(warnings(bare, held)) == 1


def test_f10_stops_that_rest_must_be_those_that_are_placed() -> None:
    limited = trades(stops=frozenset({RestingStop.LIMIT}))
    (refusal,) = refusals(spot(limited))
    assert "holds stop orders that sell at a limit alone, and stops placed from here sell at market" in refusal
    placed = spot(replace(limited, placed=RestingStop.LIMIT))
    assert refusals(placed) == []
    assert "stops: they rest at the venue, as stop orders that sell at a limit." in said(
        placed, expected(), Severity.PASSED
    )


@pytest.mark.parametrize("fee, stop, is_dear", [(0.005, 0.02, True), (0.0049, 0.02, False), (0.005, 0.021, False)])
def test_fees_that_eat_half_of_the_way_to_the_stop_are_warned_of(fee: float, stop: float, is_dear: bool) -> None:
    found = warnings(spot(trades(fee=fee)), replace(expected(), stop=stop))
    assert bool(found) is is_dear
    if is_dear:
        assert "a trade pays 0.5 % twice, 1 % in all, and its stop stands 2 % away" in found[0]


def test_fees_that_are_not_known_are_warned_of() -> None:
    assert "the account's own are not known (HTTP 404)" in warnings(spot(fees_unread="HTTP 404"))[0]


@pytest.mark.parametrize("takes, word", [(True, "fees are taken in BNB"), (None, "fees may be taken in BNB")])
def test_f9_a_coin_that_fees_are_taken_in_is_named(takes: bool | None, word: str) -> None:
    held = {USDT: 1000.0, Currency("BNB"): 1.5}
    (warning,) = warnings(spot(held=held, fee_coin=Currency("BNB"), takes_fee_coin=takes))
    assert f"{word}, of which the account holds 1.5" in warning and "they are priced from the venue" in warning


def test_f9_a_coin_that_is_traded_or_not_taken_is_no_warning() -> None:
    held = {USDT: 1000.0, Currency("BNB"): 1.5}
    bnb = instrument("BNB/USDT", AssetClass.CRYPTO, "24/7", BINANCE)
    assert warnings(spot(held=held, fee_coin=Currency("BNB"), takes_fee_coin=True), expected(BTC, bnb)) == []
    assert warnings(spot(held=held, fee_coin=Currency("BNB"), takes_fee_coin=False)) == []


@pytest.mark.parametrize(
    "venue, skew", [(99.0, -1.0), (100.0, 0.0), (100.7, 0.0), (101.0, 0.0), (101.5, 0.5), (101.501, 0.501)]
)
def test_clocks_differ_by_what_the_request_cannot_explain(venue: float, skew: float) -> None:
    reading = ClockReading(100 * SECOND, int(venue * SECOND), 101 * SECOND)
    assert reading.skew / SECOND == pytest.approx(skew)
    found = warnings(spot(clock=reading))
    assert bool(found) is (abs(skew) > 0.5)
    if found:
        assert f"the venue's is {skew:+.3f} s from ours, and no entry leaves beyond 0.5 s" in found[0]


def test_bars_that_a_venue_does_not_show_are_refused_and_those_that_it_shows_are_named() -> None:
    (refusal,) = refusals(spot(intervals=frozenset([DAY, MINUTE])))
    assert refusal == "bars: binance has no bars of 1h; it has 1m, 1d. Say another --interval."
    assert "it has none at all" in refusals(spot(intervals=frozenset()))[0]
    assert refusals(spot(intervals=frozenset([HOUR]))) == []


def test_bars_of_a_venue_where_something_is_only_open_are_not_asked_for() -> None:
    only_open = replace(expected(), session=())
    assert not any("bars" in each for each in refusals(spot(intervals=frozenset()), only_open))


def test_account_that_may_hold_both_sides_of_a_pair_is_refused() -> None:
    (refusal,) = refusals(margin(holds_both_sides=True), expected(EUR, home=USD))
    assert refusal.startswith("account: it hedges") and "hedging is switched off" in refusal


# ---------------------------------------------------------------- at loopback venues


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BINANCE_API_KEY", KEY)
    monkeypatch.setenv("BINANCE_API_SECRET", SECRET)
    return tmp_path


@pytest.fixture
def venue() -> Iterator[Binance]:
    """A Binance that the settings in this folder lead to."""
    made = Binance(cash={"USDT": 1000.0, "BNB": 2.0})
    with Server(made) as server:
        coins = "".join(INSTRUMENT.format(base=base, **Street.words()) for base in ("BTC", "ETH", "DOGE"))
        Path("ffe.toml").write_text(SETTINGS.format(port=server.port, instruments=coins, more="", **Street.words()))
        yield made


def checked(*symbols: str, held: tuple[str, ...] = (), patience: float = 30.0, interval: Nanos = MINUTE) -> list[str]:
    """What a start says when nothing keeps it from starting."""
    lines: list[str] = []
    settings, names = load_settings(), symbols or ("BTC/USDT",)
    found = connectors(settings, [*names, *held], load_secrets(), Armed.NOT)
    open_ids = tuple(map(InstrumentId, held))
    check(found, settings, names, interval, open_ids, lines.append, time.time_ns, patience)
    return lines


def refused(*symbols: str, **how: float) -> str:
    with pytest.raises(ConfigError) as caught:
        checked(*symbols, **how)  # type: ignore[arg-type]
    return str(caught.value)


def test_an_account_at_binance_is_checked_line_by_line(venue: Binance) -> None:
    assert checked("BTC/USDT", "ETH/USDT") == [
        "Checking the account at binance …",
        "  key: it opens the account, and may trade.",
        "  currency: USDT, as in the settings.",
        "  markets: BTC/USDT, ETH/USDT.",
        "  stops: they rest at the venue, as stop orders that sell at market.",
        "  fees: a taker pays 0.1 %.",
        "  clock: the venue's is within 0.5 s of ours.",
    ]


REFUSED: dict[str, tuple[str, Callable[[Binance], None]]] = {
    "key": (
        "binance: key: binance refuses it: .*Check BINANCE_API_KEY and BINANCE_API_SECRET in .env",
        lambda venue: setattr(venue, "is_revoked", True),
    ),
    "account's right": ("may not trade .canTrade is false", lambda venue: setattr(venue, "may_trade", False)),
    "key's right": (
        "may not trade .enableSpotAndMarginTrading is false", lambda venue: setattr(venue, "key_may_trade", False)
    ),
    "permissions": ("needs one of the permissions SPOT", lambda venue: setattr(venue, "permissions", ["LEVERAGED"])),
    "halt": ("BTC/USDT: .*not trade .*its status is BREAK", lambda venue: venue.change("BTCUSDT", is_trading=False)),
    "stops": ("its market holds no stop orders", lambda venue: setattr(venue, "order_types", ["LIMIT", "MARKET"])),
    "stops of its kind": (
        "holds stop orders that sell at a limit alone",
        lambda venue: setattr(venue, "order_types", ["LIMIT", "MARKET", "STOP_LOSS_LIMIT"]),
    ),
    "money": ("shows no money at all", lambda venue: venue.account.held.clear()),
    "answer": ("it gave no answer: ", lambda venue: venue.faults.append(ServerError(on="*", times=100))),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_wrong_at_binance_refuses_and_mended_it_starts(venue: Binance, what: str) -> None:
    words, harm = REFUSED[what]
    assert checked()
    before = dict(vars(venue)), dict(venue.account.held), dict(venue.account.markets)
    harm(venue)
    said = refused()
    assert re.search(words, said), said
    for name in ("is_revoked", "may_trade", "key_may_trade", "permissions", "order_types"):
        setattr(venue, name, before[0][name])
    venue.account.held, venue.account.markets, venue.faults = before[1], before[2], []
    assert checked()


def test_every_market_that_is_wrong_is_named_at_once(venue: Binance) -> None:
    venue.change("ETHUSDT", is_trading=False)
    said = refused("BTC/USDT", "ETH/USDT", "DOGE/USDT")
    assert "ETH/USDT: its market does not trade now" in said and "DOGE/USDT: binance lists no DOGE/USDT" in said
    assert "BTC/USDT:" not in said


def test_a_halted_market_in_which_something_is_open_is_watched(venue: Binance) -> None:
    venue.change("ETHUSDT", is_trading=False)
    assert any("WARNING ETH/USDT" in line for line in checked("BTC/USDT", held=("binance:ETH/USDT",)))


def test_f4_settings_as_shipped_do_not_fit_an_account_of_usdt(venue: Binance) -> None:
    text = Path("ffe.toml").read_text()
    Path("ffe.toml").write_text(text.replace('currency = "USDT"\naddress', "address"))
    assert 'Set currency = "USDT" in [venues.binance]' in refused()


def test_fees_of_the_account_are_those_of_its_instruments(venue: Binance) -> None:
    venue.account.fee = Decimal("0.006")
    lines = checked()
    assert "  fees: a taker pays 0.6 %." in lines
    assert any("WARNING fees: a trade pays 0.6 % twice, 1.2 % in all" in line for line in lines)
    (connector,) = connectors(load_settings(), ["BTC/USDT"], load_secrets(), Armed.NOT)
    (btc,) = connector.instruments(["BTC/USDT"])
    assert btc.fee == 0.006
    venue.has_wallet = False
    assert connector.instruments(["BTC/USDT"])[0].fee == 0.001


def test_f9_bnb_that_pays_fees_is_named_at_the_start(venue: Binance) -> None:
    venue.burns_bnb = True
    assert any("WARNING fees: fees are taken in BNB" in line for line in checked())
    venue.has_wallet = False
    assert any("WARNING fees: fees may be taken in BNB" in line for line in checked())


def test_a_clock_that_is_off_is_told_with_figures(venue: Binance) -> None:
    venue.skew = 3 * SECOND
    (warning,) = [line for line in checked() if "WARNING" in line]
    assert "the venue's is +" in warning and "no entry leaves beyond 0.5 s" in warning


def test_a_venue_that_does_not_answer_is_waited_for_so_long_and_no_longer(venue: Binance) -> None:
    venue.faults = [Hang(on="*", times=100)]
    begun = time.monotonic()
    assert "it has not answered within 0.3 s" in refused(patience=0.3)
    assert time.monotonic() - begun < 3.0


def test_a_check_writes_nothing(venue: Binance, folder: Path) -> None:
    before = sorted(folder.rglob("*"))
    checked()
    venue.is_revoked = True
    refused()
    assert sorted(folder.rglob("*")) == before


# ---------------------------------------------------------------- OANDA


@pytest.fixture
def oanda(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Oanda]]:
    """Opens an OANDA that the settings in this folder lead to."""
    opened: list[Oanda] = []

    def open_one(**how: object) -> Oanda:
        made = Oanda(time.time_ns, instruments=[Pair("EUR_USD")], **how)
        opened.append(made.__enter__())
        made.mid("EUR_USD", "1.25")
        monkeypatch.setenv("OANDA_API_KEY", "loopback")
        monkeypatch.setenv("OANDA_ACCOUNT_ID", made.id)
        Path("ffe.toml").write_text(settings_of(made.url))
        return made

    yield open_one
    for one in opened:
        one.__exit__(None, None, None)


def test_an_account_at_oanda_is_checked_line_by_line(oanda: Callable[..., Oanda]) -> None:
    venue = oanda()
    assert checked("EUR/USD") == [
        "Checking the account at oanda …",
        "  key: it opens the account; oanda does not say whether it may trade.",
        "  currency: USD, as in the settings.",
        "  markets: EUR/USD.",
        "  stops: they rest at the venue, as stop orders that sell at market.",
        "  clock: the venue's is within 0.5 s of ours.",
    ]
    venue.mid("EUR_USD", "1.25", tradeable=False)
    assert "  markets: EUR/USD is closed at this hour." in checked("EUR/USD")


def test_f4_an_account_in_crowns_refuses_settings_in_dollars(oanda: Callable[..., Oanda]) -> None:
    venue = oanda(currency="SEK")
    said = refused("EUR/USD")
    assert "oanda: currency: the account is in SEK, and currency in [venues.oanda] is USD" in said
    assert 'Set currency = "SEK" in [venues.oanda] of ffe.toml.' in said
    assert {request.method for request in venue.requests} == {"GET"}


@pytest.mark.parametrize("name, value", [("OANDA_API_KEY", "another"), ("OANDA_ACCOUNT_ID", "101-004-1234567-009")])
def test_a_wrong_token_or_account_refuses(
    oanda: Callable[..., Oanda], monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    oanda()
    monkeypatch.setenv(name, value)
    said = refused("EUR/USD")
    assert "OANDA_API_KEY and OANDA_ACCOUNT_ID" in said and value not in said


def test_a_token_without_the_right_to_its_account_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    reason = {"errorMessage": "Insufficient authorization to perform request."}
    with Server(lambda _: Reply(reason, 403)) as server:
        Path("ffe.toml").write_text(settings_of(f"http://127.0.0.1:{server.port}"))
        monkeypatch.setenv("OANDA_API_KEY", "loopback")
        monkeypatch.setenv("OANDA_ACCOUNT_ID", "101-004-1234567-001")
        said = refused("EUR/USD")
    assert "oanda: key: oanda refuses it: Insufficient authorization to perform request" in said
    assert "Check OANDA_API_KEY and OANDA_ACCOUNT_ID" in said


def test_a_pair_that_the_account_may_not_trade_refuses(oanda: Callable[..., Oanda]) -> None:
    oanda().change("EUR_USD", delisted=True)
    assert "EUR/USD: OANDA lists no EUR/USD for this account" in refused("EUR/USD")


# ---------------------------------------------------------------- exchanges that nobody has tested

KRAKEN = """
[venues.{venue}]
source = "ccxt"
address = "http://127.0.0.1:9"
{exchange}
[instruments."XBT/USD"]
venue = "{venue}"
asset_class = "crypto"
base = "XBT"
quote = "USD"
"""


def at(venue: str, exchange: str, monkeypatch: pytest.MonkeyPatch) -> list[Connector]:
    for what in ("KEY", "SECRET"):
        monkeypatch.setenv(f"{venue.upper()}_API_{what}", "x")
    Path("ffe.toml").write_text(KRAKEN.format(venue=venue, exchange=exchange))
    return connectors(load_settings(), ["XBT/USD"], load_secrets(), Armed.NOT)


@pytest.mark.parametrize("venue, exchange", [("kraken", ""), ("mine", 'exchange = "kraken"')])
def test_an_untested_exchange_is_traded_only_by_name(
    venue: str, exchange: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = at(venue, exchange, monkeypatch)
    with pytest.raises(ConfigError, match=r"kraken: this engine has not been tested there.* --untested kraken"):
        refuse_untested(found, [])
    with pytest.raises(ConfigError):
        refuse_untested(found, ["okx"])
    refuse_untested(found, ["okx", "kraken"])


def test_oanda_is_tested(oanda: Callable[..., Oanda]) -> None:
    oanda()
    refuse_untested(connectors(load_settings(), ["EUR/USD"], load_secrets(), Armed.NOT), [])


@pytest.mark.parametrize("exchange", TESTED)
def test_a_tested_exchange_needs_no_word_whatever_it_is_called(exchange: str, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_untested(at("mine", f'exchange = "{exchange}"', monkeypatch), [])


def started(*options: str) -> Result:
    return CliRunner().invoke(live, [f"{ROOT}/tests/live/churn.py:Idle", "--symbols", "XBT/USD", *options])


def test_an_untested_exchange_is_not_asked_before_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    at("kraken", "", monkeypatch)
    first = started("--untested", "okx")
    assert isinstance(first.exception, ConfigError) and "--untested kraken" in str(first.exception)
    assert "Checking" not in first.output
    second = started("--untested", "okx", "--untested", "kraken")
    assert "Checking the account at kraken …" in second.output and "it gave no answer" in str(second.exception)
    assert not Path("data").exists() and not Path("logs").exists()


# ---------------------------------------------------------------- processes


@pytest.mark.slow
def test_a_wrong_key_leaves_nothing_behind_and_the_right_one_starts(tmp_path: Path) -> None:
    """It started a session that said "ready" and left a latch which outlived the corrected key."""
    with Street(tmp_path) as street:
        street.more_env = {"BINANCE_API_SECRET": "wrong"}
        with session(street, "Idle") as one:
            assert one.process.wait(30) == 1
            assert "binance: key: binance refuses it" in one.said and "Traceback" not in one.said
        left = {path.name for path in tmp_path.iterdir()}
        assert left == {"ffe.toml", "out1.txt"}
        street.more_env = {}
        with session(street, "Idle") as one:
            status = one.until(lambda status: status.get("life") == "trading")
            assert status["is_latched"] is False
            assert "Checking the account at binance …\n  key: it opens the account, and may trade." in one.said
            assert one.stop() == 0


@pytest.mark.slow
def test_a_session_starts_again_at_a_halted_market_in_which_it_holds_something(tmp_path: Path) -> None:
    """What is open is found in the journal: this start does not name it."""
    with Street(tmp_path) as street:
        with session(street, "Holds") as one:
            one.until(lambda s: s.get("life") == "trading" and s["trades"] and s["trades"][0]["is_protected"])
            one.stop()
        street.venue.change("BTCUSDT", is_trading=False)
        with session(street, "Idle", symbols="ETH/USDT") as one:
            one.until(lambda status: status.get("trades"))
            assert (
                "WARNING BTC/USDT: its market does not trade now (its status is BREAK); what is open there is watched."
                in one.said
            )
            assert one.stop() == 0
