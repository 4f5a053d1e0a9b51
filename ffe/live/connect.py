"""From settings and keys to the clients of a session's venues. Nothing is asked yet.

Practice accounts and sandboxes are the default, and even they are connected to only by somebody's word on the command
line; another machine's address needs that word too. Loopback is nobody else's machine.
"""

from __future__ import annotations

import logging
from contextlib import closing
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from ffe.brokers.oanda_broker import OandaBroker
from ffe.brokers.venue import Past, SecondLook, VenueBroker
from ffe.config import CONFIG_FILE, Secrets, Settings, VenueSettings, is_loopback, key_prefix
from ffe.errors import ConfigError
from ffe.model import SECOND, Account, Instrument, Nanos, Universe, Venue
from ffe.wire import oanda_wire
from ffe.wire.account import AccountReport
from ffe.wire.connect import ccxt_client
from ffe.wire.errors import Denied, Unclear
from ffe.wire.market import Market

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import ccxt

REAL_MONEY = "https://api-fxtrade.oanda.com"

log = logging.getLogger(__name__)


class Armed(StrEnum):
    """What somebody has allowed: nothing beyond this machine, practice accounts, or real money."""

    NOT = "not"
    SANDBOX = "sandbox"
    LIVE = "live"


@dataclass(frozen=True, slots=True)
class Connector:
    """Makes clients of one venue: the feed and the broker work in threads of their own, and share none."""

    venue: Venue
    settings: Settings
    secrets: Secrets
    armed: Armed

    def __post_init__(self) -> None:
        described, name = self.described, self.venue
        if described.source not in ("ccxt", "oanda"):
            raise ConfigError(f"{name} is no venue to trade at. Set source in [venues.{name}] to ccxt or oanda.")
        if self.armed is Armed.LIVE or is_loopback(described.address):
            return
        if self.armed is Armed.NOT:
            raise ConfigError(
                f"Trading at {name} would connect to {described.address or 'its practice account'}, and nobody has "
                "said so. Add --sandbox for practice money, or --live with an arming file for real money."
            )
        if described.address not in (None, oanda_wire.PRACTICE):
            raise ConfigError(
                f"Nobody here knows that {described.address} trades practice money. Take address out of "
                f"[venues.{name}], for --sandbox knows the venue's own, or trade there with --live."
            )

    @property
    def described(self) -> VenueSettings:
        return self.settings.venues[self.venue]

    @property
    def account_id(self) -> str:
        """What the account is known by: OANDA's own number, elsewhere a mark of the key that opens it."""
        if self.described.source == "oanda":
            return self._needed("OANDA_ACCOUNT_ID", self.secrets.oanda_account_id)
        return self.secrets.keys(self.venue).mark()

    @property
    def place(self) -> str:
        """For people: the venue, and where its key goes if that is neither the venue's own address nor this machine."""
        address = self.described.address
        if address is None or is_loopback(address):
            return str(self.venue)
        return f"{self.venue}, whose key goes to {address},"

    @property
    def exchange(self) -> str:
        """What ccxt calls the exchange, whatever the venue is called in the settings."""
        return "oanda" if self.described.source == "oanda" else self.described.exchange or self.venue

    @property
    def is_tested(self) -> bool:
        return self.exchange in tested()

    @property
    def key_names(self) -> str:
        """The variables that hold the key."""
        if self.described.source == "oanda":
            return "OANDA_API_KEY and OANDA_ACCOUNT_ID"
        return f"{key_prefix(self.venue)}API_KEY and {key_prefix(self.venue)}API_SECRET"

    @property
    def known_by(self) -> str:
        """How a person finds the account's id."""
        if self.described.source == "oanda":
            return "the account's number at OANDA, as in OANDA_ACCOUNT_ID"
        name = f"{key_prefix(self.venue)}API_KEY"
        return (
            f"the first 16 hex digits of the SHA-256 of {name}, as "
            f'`printf %s "${name}" | sha256sum | cut -c1-16` prints them'
        )

    def market(self) -> Market:
        if self.described.source == "oanda":
            return oanda_wire.OandaMarket(self.oanda())
        from ffe.wire.ccxt_wire import CcxtMarket

        return CcxtMarket(self.ccxt())

    def oanda(self) -> oanda_wire.OandaClient:
        token = self._needed("OANDA_API_KEY", self.secrets.oanda_api_key)
        home = REAL_MONEY if self.armed is Armed.LIVE else oanda_wire.PRACTICE
        return oanda_wire.OandaClient(token, self.account_id, self.described.address or home)

    def ccxt(self) -> ccxt.Exchange:
        client, keys = ccxt_client(self.venue, self.described), self.secrets.keys(self.venue)
        client.apiKey, client.secret, client.password = keys.reveal()
        # With a key it would also ask for networks and margins, which are none of ours.
        client.has["fetchCurrencies"] = False
        client.options["fetchMargins"] = False
        if self.armed is not Armed.LIVE and not self.described.address:
            import ccxt

            try:
                client.set_sandbox_mode(True)
            except (ccxt.NotSupported, TypeError):  # of some it lists None
                raise ConfigError(
                    f"{self.venue} has no sandbox that ccxt knows. Rehearse with `ffe backtest` over its history, "
                    "which runs the same engine, or with --sandbox at a venue that has practice money, as OANDA "
                    f"and Binance have. At {self.venue} all money is real: it takes --live with an arming file, and an "
                    "account that holds no more than you can lose."
                ) from None
        return client

    def instruments(self, symbols: Sequence[str]) -> tuple[Instrument, ...]:
        """What the venue says of tick, lot, minimum and fee, and the settings of the rest."""
        wanted = {i.symbol: i for i in map(self.settings.instrument, symbols)}
        try:
            found = self._listed(list(wanted))
        except (Denied, Unclear) as error:
            raise ConfigError(f"{self.venue} cannot be traded at: {error}") from error
        return tuple(merged(listed, wanted[listed.symbol]) for listed in found)

    def _listed(self, symbols: list[str]) -> tuple[Instrument, ...]:
        if self.described.source == "oanda":
            with closing(self.oanda()) as client:
                return oanda_wire.instruments(client, self.venue, symbols)
        from ffe.wire.ccxt_account import taker_fees
        from ffe.wire.ccxt_wire import ask_in_time, instruments

        client = self.ccxt()
        ask_in_time(client, client.load_markets)
        listed = instruments(client, self.venue, symbols)
        fees = taker_fees(client, symbols)
        if fees.unread:
            log.info(
                "%s: the account's own fees are not known, the usual ones are assumed: %s", self.venue, fees.unread
            )
        return tuple(
            replace(instrument, fee=fees.taker.get(instrument.symbol, instrument.fee)) for instrument in listed
        )

    def report(self, symbols: Sequence[str], now: Callable[[], Nanos]) -> AccountReport:
        """What the venue says of the account and of these markets. Unclear or Denied where it does not answer."""
        wanted = list(dict.fromkeys(self.settings.instrument(symbol).symbol for symbol in symbols))
        if self.described.source == "oanda":
            with closing(self.oanda()) as client:
                return oanda_wire.account_report(client, wanted, now)
        from ffe.wire.ccxt_account import account_report

        return account_report(self.ccxt(), self.venue, wanted, now)

    def account(self) -> Account:
        own = self.described.account(self.venue)
        return Account(own.venue, own.kind, own.currency, own.horizon, rests_targets=self.described.source == "oanda")

    def broker(self, universe: Universe, clock: Callable[[], Nanos], since: Nanos, past: Past | None) -> VenueBroker:
        rules = self.settings.controls
        ages = (rules.quote_seconds, rules.skew_seconds, rules.decision_seconds)
        look = SecondLook(*(int(seconds * SECOND) for seconds in ages))
        if self.described.source == "oanda":
            return OandaBroker(universe, self.venue, self.oanda(), clock, past, look)
        from ffe.brokers.ccxt_broker import CcxtBroker

        return CcxtBroker(universe, self.venue, self.ccxt(), clock, since, past, look)

    def _needed(self, name: str, secret: object) -> str:
        from pydantic import SecretStr

        if not isinstance(secret, SecretStr) or not secret.get_secret_value():
            raise ConfigError(f"{self.venue} is opened by a key, and {name} is not set: .env or the environment.")
        return secret.get_secret_value()


def merged(listed: Instrument, described: Instrument) -> Instrument:
    """Tick, lot, minimum, margin and fee are the venue's word; hours, spread and what a simulation needs are ours."""
    return Instrument(
        listed.venue, listed.symbol, described.asset_class, listed.base, listed.quote, described.hours, listed.tick,
        listed.lot, listed.minimum_qty, listed.minimum_notional, listed.shortable, described.spread,
        described.slippage, listed.fee or described.fee, described.fee_in_base, listed.margin_rate,
        described.financing_long, described.financing_short, described.funding_hours, 0.0, listed.fee_step,
        listed.maximum_qty,
    )  # fmt: skip


def tested() -> list[str]:
    """The exchanges whose adapters have passed the contract suite."""
    from ffe.wire.exchanges import TESTED

    return sorted({*TESTED, "oanda"})


def connectors(settings: Settings, symbols: Sequence[str], secrets: Secrets, armed: Armed) -> list[Connector]:
    """One for each venue of these symbols. ConfigError before anything is opened."""
    venues = sorted({settings.instrument(symbol).venue for symbol in symbols})
    if not venues:
        raise ConfigError(f"No symbol is named: say which to trade, as they stand in {CONFIG_FILE}.")
    return [Connector(venue, settings, secrets, armed) for venue in venues]
