"""From a venue's settings to the venue: the language it is spoken to in, its address, its keys. Nothing is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from pydantic import SecretStr

from ffe.config import CONFIG_FILE, Secrets, Settings, VenueSettings, is_loopback
from ffe.errors import ConfigError
from ffe.model import AccountKind
from ffe.wire import alpha_vantage, oanda_wire
from ffe.wire.market import Market

if TYPE_CHECKING:
    from collections.abc import Collection

    import ccxt


KEYED = ("oanda", "alpha_vantage")  # sources that show nothing without a key


def market_of(venue: str, settings: Settings, secrets: Secrets, trusted: Collection[str] = ()) -> Market:
    """What a venue shows to everybody. ConfigError where its source, its exchange or its key is missing, or where the
    settings would send a key to an address that is not the venue's own, and nobody has said so: trusted are those of
    which somebody has."""
    described = settings.venues[venue]
    address, is_keyed = described.address, described.source in KEYED
    if is_keyed and address is not None and not is_loopback(address) and address not in trusted:
        raise ConfigError(
            f"[venues.{venue}] would send your key to {address}, which is not {venue}'s own address. If you mean that, "
            f"say so: --send-key-to {address}. If not, take address out of the settings."
        )
    match described.source:
        case "ccxt":
            from ffe.wire.ccxt_wire import CcxtMarket  # a second, which the other languages need not wait

            return CcxtMarket(ccxt_client(venue, described))
        case "oanda":
            return oanda_wire.OandaMarket(oanda_client(venue, described, secrets))
        case "alpha_vantage":
            key = _key(venue, "ALPHA_VANTAGE_API_KEY", secrets.alpha_vantage_api_key)
            return alpha_vantage.AlphaVantageMarket(key, described.address or alpha_vantage.ADDRESS)
    raise ConfigError(
        f"{venue} names no source of bars. Set source in [venues.{venue}] of {CONFIG_FILE} to ccxt, oanda or "
        f"alpha_vantage, or load a file: ffe data import FILE."
    )


def ccxt_client(venue: str, described: VenueSettings) -> ccxt.Exchange:
    import ccxt

    exchange = described.exchange or venue
    if exchange not in ccxt.exchanges:
        raise ConfigError(f"ccxt knows no exchange {exchange!r}. Set exchange in [venues.{venue}] of {CONFIG_FILE}.")
    client: ccxt.Exchange = getattr(ccxt, exchange)()
    listed = client.options.get("fetchMarkets")
    if described.kind is AccountKind.SPOT and isinstance(listed, dict) and "types" in listed:
        client.options["fetchMarkets"] = {**listed, "types": ["spot"]}  # the other markets are lists, and hosts, more
    client.session.max_redirects = 0  # no venue's answer leads a request, and its key, elsewhere
    if described.address:
        client.urls = _moved(client.urls, described.address)
    return client


def oanda_client(venue: str, described: VenueSettings, secrets: Secrets) -> oanda_wire.OandaClient:
    token = _key(venue, "OANDA_API_KEY", secrets.oanda_api_key)
    account = _key(venue, "OANDA_ACCOUNT_ID", secrets.oanda_account_id)
    return oanda_wire.OandaClient(token, account, described.address or oanda_wire.PRACTICE)


def _key(venue: str, name: str, secret: SecretStr | None) -> str:
    if secret is None or not secret.get_secret_value():
        raise ConfigError(f"{venue} is opened by a key, and {name} is not set. Put it into .env or the environment.")
    return secret.get_secret_value()


def _moved(urls: Any, address: str) -> Any:
    """The same tree of addresses with every host replaced; ccxt nests them as each exchange needs."""
    if isinstance(urls, dict):
        return {name: _moved(url, address) for name, url in urls.items()}
    if isinstance(urls, list):
        return [_moved(url, address) for url in urls]
    if not isinstance(urls, str) or not urls.startswith("http"):
        return urls
    to = urlsplit(address)
    return urlunsplit(urlsplit(urls)._replace(scheme=to.scheme, netloc=to.netloc))
