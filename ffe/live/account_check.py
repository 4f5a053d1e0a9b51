"""An account is checked before it is traded: at the start, by asking each venue once, before anything else is started.

What the venue answers is an `AccountReport`; pure functions turn it into findings. One refusal keeps the session from
starting. Of what is open already a market that is halted, or holds no stops any longer, is only warned of: nobody would
watch it otherwise.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from ffe.config import CONFIG_FILE, Settings
from ffe.errors import ConfigError
from ffe.hours import spelt
from ffe.live.connect import Connector, tested
from ffe.model import SECOND, Account, AccountKind, Currency, Instrument, InstrumentId, Nanos, Ratio, Venue
from ffe.plain import plain
from ffe.wire.account import AccountReport, MarketReport, RestingStop
from ffe.wire.errors import Denied, NotThere, Unclear

PATIENCE_SECONDS = 30.0  # for all questions to one venue; each alone is given up after ten
HOW = {RestingStop.MARKET: "at market", RestingStop.LIMIT: "at a limit"}
DEAR = 0.5  # of the way to the stop, paid in fees by a trade's two orders


class Severity(StrEnum):
    PASSED = "passed"
    WARNING = "warning"
    REFUSAL = "refusal"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found, where (the venue, and what there), and the next step if there is one."""

    severity: Severity
    venue: Venue
    where: str
    what: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.what}.{' ' if self.remedy else ''}{self.remedy}"


@dataclass(frozen=True, slots=True)
class Expected:
    """What a session takes for granted of one venue's account. session are its instruments at every venue, open those
    of which something is held or under way; stop is how far stops stand by default, skew how far clocks may differ,
    interval the length of the bars that are decided on."""

    account: Account
    key_names: str
    home: Currency
    session: tuple[Instrument, ...]
    open: frozenset[InstrumentId]
    stop: Ratio
    skew: Nanos
    interval: Nanos

    @property
    def venue(self) -> Venue:
        return self.account.venue

    @property
    def traded(self) -> list[Instrument]:
        return [instrument for instrument in self.session if instrument.venue == self.venue]

    @property
    def quotes(self) -> list[Currency]:
        return sorted({instrument.quote for instrument in self.traded})

    def passed(self, where: str, what: str) -> Finding:
        return Finding(Severity.PASSED, self.venue, where, what)

    def warning(self, where: str, what: str, remedy: str = "") -> Finding:
        return Finding(Severity.WARNING, self.venue, where, what, remedy)

    def refusal(self, where: str, what: str, remedy: str) -> Finding:
        return Finding(Severity.REFUSAL, self.venue, where, what, remedy)

    def has_rate(self, currency: Currency, other: Currency) -> bool:
        """Whether the session sees what one currency is worth in the other."""
        return currency == other or any({i.base, i.quote} == {currency, other} for i in self.session)


def findings(report: AccountReport, expected: Expected) -> tuple[Finding, ...]:
    """Everything that was found, in the order in which it is checked."""
    return tuple(finding for check in CHECKS for finding in check(report, expected))


def check_key(report: AccountReport, expected: Expected) -> Iterator[Finding]:
    if report.may_trade is False:
        yield expected.refusal(
            "key",
            f"it opens the account, and may not trade ({report.restriction})",
            f"Give it the right to trade at {expected.venue}, or put another key into {expected.key_names}.",
        )
    elif report.may_trade:
        yield expected.passed("key", "it opens the account, and may trade")
    else:
        yield expected.passed("key", f"it opens the account; {expected.venue} does not say whether it may trade")


def check_currency(report: AccountReport, expected: Expected) -> Iterator[Finding]:
    """Kind and currency of the account against the settings; of a spot account, the currencies its trades are paid in.

    An account in SEK whose settings said USD was read as 99,998 USD, and traded ten times too large.
    """
    account, section = expected.account, f"[venues.{expected.venue}]"
    own = report.currency or account.currency
    if report.kind is not account.kind:
        what = f"accounts at {expected.venue} are {report.kind} accounts, and kind in {section} is {account.kind}"
        yield expected.refusal("kind", what, f'Set kind = "{report.kind}" in {section} of {CONFIG_FILE}.')
    if own != account.currency:
        what = f"the account is in {own}, and currency in {section} is {account.currency}"
        yield expected.refusal("currency", what, f'Set currency = "{own}" in {section} of {CONFIG_FILE}.')
        return
    must_fit = expected.quotes if report.kind is AccountKind.SPOT else []
    strange = [quote for quote in must_fit if not expected.has_rate(quote, own)]
    for quote in strange:
        symbols = ", ".join(instrument.symbol for instrument in expected.traded if instrument.quote == quote)
        what = f"{symbols} is paid in {quote}, and currency in {section} is {own}"
        remedy = f'Set currency = "{quote}" in {section} of {CONFIG_FILE}, or trade what is paid in {own}.'
        yield expected.refusal("currency", what, remedy)
    if not strange:
        yield expected.passed("currency", f"{own}, as in the settings")


def check_rates(report: AccountReport, expected: Expected) -> Iterator[Finding]:
    """Equity needs what every currency is worth: without a rate each entry would be refused."""
    own = set() if report.kind is AccountKind.SPOT else {report.currency or expected.account.currency}
    for currency in sorted({*expected.quotes, *own}):
        if not expected.has_rate(currency, expected.home):
            what = (
                f"nothing in this session tells what {currency} is worth in {expected.home}, in which equity is counted"
            )
            remedy = f"Trade a pair of the two as well, or set currency at the top of {CONFIG_FILE} to {currency}."
            yield expected.refusal("currency", what, remedy)


def check_bars(report: AccountReport, expected: Expected) -> Iterator[Finding]:
    """A session on bars of a second at OANDA started, and never decided anything."""
    if expected.traded and expected.interval not in report.intervals:
        shown = ", ".join(map(spelt, sorted(report.intervals)))
        what = f"{expected.venue} has no bars of {spelt(expected.interval)}; it has {shown or 'none at all'}"
        yield expected.refusal("bars", what, "Say another --interval.")


def check_sides(report: AccountReport, expected: Expected) -> Iterator[Finding]:
    """Positions are counted as one per pair: long and short of one pair would read as nothing held."""
    if report.holds_both_sides:
        what = "it hedges: a pair may be held long and short at once, and positions are counted here as one per pair"
        yield expected.refusal("account", what, "Trade an account (or sub-account) whose hedging is switched off.")


def check_balance(report: AccountReport, expected: Expected) -> Iterator[Finding]:
    """A reply that is no account reads as an empty one, so an empty one is no answer either."""
    if not report.held:
        remedy = "Put money into it, or see whether this is the account that was meant."
        yield expected.refusal("balance", "the account shows no money at all", remedy)


def check_markets(report: AccountReport, expected: Expected) -> Iterator[Finding]:
    trading = []
    for market in report.markets:
        if market.problem or market.kind is not report.kind:
            problem = market.problem or f"it is no {report.kind} market"
            yield expected.refusal(market.symbol, problem, f"Take {market.symbol} out of --symbols.")
        elif market.halt and not market.closes_regularly:
            yield _unless_open(
                market, expected, f"its market does not trade now ({market.halt})", "Start when it trades again"
            )
        else:
            trading.append(market.symbol + (" is closed at this hour" if market.halt else ""))
    if trading:
        yield expected.passed("markets", ", ".join(trading))


def check_stops(report: AccountReport, expected: Expected) -> Iterator[Finding]:
    """Without a stop that rests a position was bought, refused its stop three times and sold, 15 times a minute."""
    resting = set()
    for market in report.markets:
        if market.problem:
            continue
        if market.placed in market.stops:
            resting.add(f"stop orders that sell {HOW[market.placed]}")
        else:
            others = " or ".join(sorted(HOW[stop] for stop in market.stops))
            holds = f"holds stop orders that sell {others} alone" if others else "holds no stop orders"
            what = f"its market {holds}, and stops placed from here sell {HOW[market.placed]}"
            yield _unless_open(market, expected, what, "Trade another market")
    if resting:
        yield expected.passed("stops", f"they rest at the venue, as {' and '.join(sorted(resting))}")


def check_fees(report: AccountReport, expected: Expected) -> Iterator[Finding]:
    fees = {market.symbol: market.fee for market in report.markets if not market.problem}
    known = sorted({fee for fee in fees.values() if fee is not None})
    if report.fees_unread:
        yield expected.warning(
            "fees", f"the account's own are not known ({report.fees_unread}); the exchange's usual ones are assumed"
        )
    if known:
        yield expected.passed("fees", f"a taker pays {' or '.join(map(_percent, known))}")
    if dear := [fee for fee in known if 2.0 * fee >= DEAR * expected.stop]:
        yield expected.warning(
            "fees",
            f"a trade pays {_percent(dear[-1])} twice, {_percent(2.0 * dear[-1])} in all, and its stop stands "
            f"{_percent(expected.stop)} away",
            "See with `ffe backtest` and fee_bp in [instruments] whether the idea earns that.",
        )


def check_fee_coin(report: AccountReport, expected: Expected) -> Iterator[Finding]:
    coin = report.fee_coin
    if coin is None or report.takes_fee_coin is False or coin in {instrument.base for instrument in expected.traded}:
        return
    verb = "are" if report.takes_fee_coin else "may be"
    yield expected.warning(
        "fees",
        f"fees {verb} taken in {coin}, of which the account holds {report.held[coin]:g} and which is not traded here; "
        "they are priced from the venue",
        f"Switch that off at {expected.venue} to pay in what is traded.",
    )


def check_clock(report: AccountReport, expected: Expected) -> Iterator[Finding]:
    if report.clock is None:
        yield expected.passed("clock", f"{expected.venue} shows none")
    elif abs(skew := report.clock.skew) > expected.skew:
        yield expected.warning(
            "clock",
            f"the venue's is {skew / SECOND:+.3f} s from ours, and no entry leaves beyond {expected.skew / SECOND:g} s",
            "Set this machine's clock by the network's time.",
        )
    else:
        yield expected.passed("clock", f"the venue's is within {expected.skew / SECOND:g} s of ours")


CHECKS = (
    check_key,
    check_currency,
    check_rates,
    check_bars,
    check_sides,
    check_balance,
    check_markets,
    check_stops,
    check_fees,
    check_fee_coin,
    check_clock,
)


def _unless_open(market: MarketReport, expected: Expected, what: str, remedy: str) -> Finding:
    if f"{expected.venue}:{market.symbol}" in expected.open:
        return expected.warning(market.symbol, f"{what}; what is open there is watched")
    return expected.refusal(market.symbol, what, f"{remedy}, or take {market.symbol} out of --symbols.")


def _percent(ratio: Ratio) -> str:
    return f"{100.0 * ratio:.4g} %"


# ---------------------------------------------------------------- asking


def check(
    connectors: Sequence[Connector],
    settings: Settings,
    symbols: Iterable[str],
    interval: Nanos,
    open_ids: Collection[InstrumentId],
    say: Callable[[str], None],
    now: Callable[[], Nanos],
    patience: float = PATIENCE_SECONDS,
) -> tuple[Finding, ...]:
    """Ask every venue, say what passed and return the warnings; ConfigError with all that keeps the session from
    starting."""
    instruments = {i.id: i for i in map(settings.instrument, (*symbols, *open_ids))}
    found: list[Finding] = []
    for connector in connectors:
        say(f"Checking the account at {connector.place} …")
        expected = Expected(
            connector.account(), connector.key_names, Currency(settings.currency), tuple(instruments.values()),
            frozenset(open_ids), settings.watch.stop_ratio, int(settings.controls.skew_seconds * SECOND),
            interval,
        )  # fmt: skip
        of_venue = _found(connector, expected, now, patience)
        for finding in of_venue:
            if finding.severity is not Severity.REFUSAL:
                say(plain(f"  {'WARNING ' if finding.severity is Severity.WARNING else ''}{finding}"))
        found += of_venue
    if refusals := [finding for finding in found if finding.severity is Severity.REFUSAL]:
        lines = "\n".join(f"  {finding.venue}: {finding}" for finding in refusals)
        raise ConfigError(f"Nothing was started, for an account cannot be traded at as it is:\n{lines}")
    return tuple(finding for finding in found if finding.severity is Severity.WARNING)


def _found(connector: Connector, expected: Expected, now: Callable[[], Nanos], patience: float) -> tuple[Finding, ...]:
    """The questions are asked in a thread of their own: an answer that trickles in would hold the start for ever."""
    answers: list[tuple[Finding, ...]] = []
    thread = threading.Thread(target=lambda: answers.append(_asked(connector, expected, now)), daemon=True)
    thread.start()
    thread.join(patience)
    if answers:
        return answers[0]
    if thread.is_alive():
        return (_unanswered(expected, f"it has not answered within {patience:g} s"),)
    raise RuntimeError(f"the check of {expected.venue} failed")  # a bug of ours: its traceback stands above


def _asked(connector: Connector, expected: Expected, now: Callable[[], Nanos]) -> tuple[Finding, ...]:
    try:
        report = connector.report([instrument.id for instrument in expected.traded], now)
    except Denied as error:
        if error.is_locked_out:
            remedy = f"Check {expected.key_names} in .env or the environment, and from where the key may be used."
            return (expected.refusal("key", f"{expected.venue} refuses it: {error.reason}", remedy),)
        return (_unanswered(expected, error.reason),)
    except (Unclear, NotThere, ConfigError) as error:
        return (_unanswered(expected, str(error)),)
    return findings(report, expected)


def _unanswered(expected: Expected, reason: str) -> Finding:
    remedy = f"See whether it is up, and what [venues.{expected.venue}] and {expected.key_names} say; then start again."
    return expected.refusal("account", f"it cannot be traded at, for it gave no answer: {reason.rstrip('.')}", remedy)


# ---------------------------------------------------------------- exchanges that nobody has tested


def refuse_untested(connectors: Sequence[Connector], named: Collection[str]) -> None:
    """ConfigError where an exchange has not passed the contract suite, unless it was named on the command line."""
    strange = sorted({c.exchange for c in connectors if not c.is_tested} - set(named))
    if strange:
        options = " ".join(f"--untested {exchange}" for exchange in strange)
        raise ConfigError(
            f"{', '.join(strange)}: this engine has not been tested there. {', '.join(tested())} have passed its "
            f"contract suite. To trade there all the same, say so: {options}. History from there (`ffe data fetch`) "
            "needs no such word."
        )
