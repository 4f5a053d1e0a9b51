"""Settings: `ffe.toml`, then the environment (and `.env`) over it. Units stand in the names; an unknown key is an
error.

The rules' own numbers are declared once, in `ffe.risk.limits`; here they are only filled. Secrets come from the
environment and appear in no representation.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import os
import re
import stat
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)  # fmt: skip

from ffe.errors import ConfigError, UnknownSymbol
from ffe.model import (
    SECOND,
    Account,
    AccountKind,
    AssetClass,
    Currency,
    Holding,
    Instrument,
    InstrumentId,
    Symbol,
    Universe,
    Venue,
)  # fmt: skip
from ffe.risk.limits import (
    BreakerRules,
    ControlRules,
    GateLimits,
    MemoryRules,
    Rules,
    SizeRules,
    SlotRules,
    WatchRules,
)  # fmt: skip

MOST_BYTES = 1 << 20  # of a file of settings
BASIS_POINT = 1e-4
CONFIG_FILE = "ffe.toml"
PREFIX = "ffe_"  # of environment variables, in any case
YEAR_SECONDS = 366 * 86_400.0
UNIT_SECONDS = {"seconds": 1.0, "hours": 3_600.0, "days": 86_400.0}  # as the names of settings end


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def is_loopback(address: str | None) -> bool:
    """Whether an address is this machine's own."""
    host = urlsplit(address or "").hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class VenueSettings(_Strict):
    """One account: what it holds at the start of a simulation is cash, in its own currency."""

    kind: AccountKind = AccountKind.SPOT
    currency: str = "USD"
    cash: float = Field(100_000.0, ge=0.0)
    horizon_seconds: float = Field(90.0, gt=0.0, le=YEAR_SECONDS)
    source: Literal["ccxt", "oanda", "alpha_vantage"] | None = None  # the language it is spoken to in
    exchange: str | None = None  # ccxt's name of it; the venue's own where none is given
    address: str | None = Field(None, pattern=r"^https?://[^/?#@\s]+$")  # of a gateway, in place of the venue's own

    @field_validator("address")
    @classmethod
    def _is_encrypted(cls, address: str | None) -> str | None:
        if address is not None and address.startswith("http:") and not is_loopback(address):
            raise ValueError(f"{address} would send keys and orders in clear: https, but for this machine alone")
        return address

    def account(self, venue: str) -> Account:
        return Account(Venue(venue), self.kind, Currency(self.currency), int(self.horizon_seconds * SECOND))


COSTS = {  # in basis points, of what declares none: spread_bp, slippage_bp, fee_bp
    AssetClass.FOREX: (1.2, 1.0, 0.0),
    AssetClass.CRYPTO: (2.0, 5.0, 10.0),
    AssetClass.STOCK: (2.0, 2.0, 1.0),
    AssetClass.INDEX: (2.0, 2.0, 1.0),
}
COST_NAMES = ("spread_bp", "slippage_bp", "fee_bp")
HOURS = {AssetClass.FOREX: "forex", AssetClass.CRYPTO: "24/7"}


class InstrumentSettings(_Strict):
    """What is known of an instrument. Costs that it does not declare are its asset class's; trading that is free is
    written down: fee_bp = 0."""

    venue: str
    asset_class: AssetClass
    base: str
    quote: str
    hours: str | None = None
    tick: float = Field(0.0, ge=0.0)  # 0: stops and targets are not rounded
    lot: float = Field(1e-8, gt=0.0)
    minimum_qty: float = Field(0.0, ge=0.0)
    minimum_notional: float = Field(0.0, ge=0.0)
    shortable: bool = False
    spread_bp: float | None = Field(None, ge=0.0, lt=1000.0)
    slippage_bp: float | None = Field(None, ge=0.0, lt=1000.0)
    fee_bp: float | None = Field(None, ge=0.0, lt=1000.0)
    fee_in_base: bool = False
    margin_ratio: float = Field(1.0, gt=0.0, le=1.0)
    financing_long_ratio: float = 0.0
    financing_short_ratio: float = 0.0
    funding_hours: float = Field(0.0, ge=0.0, le=YEAR_SECONDS / 3_600.0)
    volume_share_ratio: float = Field(0.0, ge=0.0, le=1.0)

    @model_validator(mode="after")
    def _has_hours(self) -> Self:
        if self.hours is None and self.asset_class not in HOURS:
            raise ValueError("a stock or an index needs hours, an exchange's MIC such as XNYS")
        return self

    @property
    def assumed(self) -> dict[str, float]:
        """The costs that are its asset class's, in basis points, by their names: those that it does not declare."""
        usual = zip(COST_NAMES, COSTS[self.asset_class], strict=True)
        return {name: cost for name, cost in usual if getattr(self, name) is None}

    def instrument(self, symbol: str) -> Instrument:
        declared = (self.spread_bp, self.slippage_bp, self.fee_bp)
        spread, slippage, fee = (
            usual if said is None else said for said, usual in zip(declared, COSTS[self.asset_class], strict=True)
        )
        return Instrument(
            Venue(self.venue), Symbol(symbol), self.asset_class, Currency(self.base), Currency(self.quote),
            self.hours or HOURS[self.asset_class], self.tick, self.lot, self.minimum_qty, self.minimum_notional,
            self.shortable, spread * BASIS_POINT, slippage * BASIS_POINT, fee * BASIS_POINT,
            self.fee_in_base, self.margin_ratio, self.financing_long_ratio, self.financing_short_ratio,
            self.funding_hours, self.volume_share_ratio,
        )  # fmt: skip


def _stock(name: str) -> InstrumentSettings:
    return InstrumentSettings(
        venue="paper",
        asset_class=AssetClass.STOCK,
        base=name,
        quote="USD",
        hours="XNYS",
        lot=1.0,
    )


def _crypto(base: str, lot: float) -> InstrumentSettings:
    return InstrumentSettings(
        venue="coinbase", asset_class=AssetClass.CRYPTO, base=base, quote="USD", lot=lot, minimum_notional=1.0,
    )  # fmt: skip


def _forex(base: str, quote: str, tick: float) -> InstrumentSettings:
    return InstrumentSettings(
        venue="oanda", asset_class=AssetClass.FOREX, base=base, quote=quote, tick=tick, lot=1.0, minimum_qty=1.0,
        shortable=True, margin_ratio=0.05, financing_long_ratio=0.02, financing_short_ratio=0.01,
    )  # fmt: skip


VENUES = {
    "paper": VenueSettings(),
    "coinbase": VenueSettings(source="ccxt"),
    "oanda": VenueSettings(kind=AccountKind.MARGIN, source="oanda"),
}
INSTRUMENTS = {
    **{name: _stock(name) for name in ("AAPL", "GOOG", "IBM", "MSFT")},
    "BTC/USD": _crypto("BTC", 1e-6),
    "ETH/USD": _crypto("ETH", 1e-5),
    "SOL/USD": _crypto("SOL", 1e-3),
    "EUR/USD": _forex("EUR", "USD", 1e-5),
    "GBP/USD": _forex("GBP", "USD", 1e-5),
    "USD/JPY": _forex("USD", "JPY", 1e-3),
}


class HoldingSettings(_Strict):
    """A position that was there before: signed quantity and the price it was entered at."""

    symbol: str
    qty: float
    price: float = Field(gt=0.0)


class Settings(BaseSettings):
    """Everything a run depends on. FFE_… variables override the file: FFE_GATE__VAR_RATIO=0.04."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True, env_prefix=PREFIX, env_nested_delimiter="__")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        *others: object,
        **more: object,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What is given is all: `load_settings` lays the environment over the file, and nothing later reads it
        again."""
        return (init_settings,)

    currency: str = "USD"
    data_folder: Path = Path("data")
    gate: GateLimits = GateLimits()
    size: SizeRules = SizeRules()
    watch: WatchRules = WatchRules()
    slots: SlotRules = SlotRules()
    breaker: BreakerRules = BreakerRules()
    memory: MemoryRules = MemoryRules()
    controls: ControlRules = ControlRules()
    venues: dict[str, VenueSettings] = VENUES
    instruments: dict[str, InstrumentSettings] = INSTRUMENTS
    holdings: tuple[HoldingSettings, ...] = ()
    re_arm: Literal["daily", "never"] = "daily"

    @field_validator("data_folder")
    @classmethod
    def _is_utf8(cls, folder: Path) -> Path:
        """Records and processes say it to each other as text."""
        try:
            str(folder).encode()
        except UnicodeEncodeError:
            raise ValueError(f"{str(folder)!r} is no name in UTF-8") from None
        if "\0" in str(folder):
            raise ValueError(f"{str(folder)!r} is no name of a folder")
        return folder

    @model_validator(mode="after")
    def _known_venues(self) -> Self:
        for symbol, settings in self.instruments.items():
            if settings.venue not in self.venues:
                raise ValueError(f"instruments.{symbol}: no [venues.{settings.venue}] is described")
        return self

    @model_validator(mode="after")
    def _known_symbols(self) -> Self:
        if unknown := sorted(set(self.controls.max_order_qty) - set(self.instruments)):
            raise ValueError(f"controls.max_order_qty: no [instruments.{unknown[0]!r}] is described")
        return self

    @model_validator(mode="after")
    def _no_time_over_a_year(self) -> Self:
        """The rules only ask for finite numbers; nanoseconds in 64 bits end long before those do."""
        for section in ("gate", "slots", "breaker", "controls"):
            for name, value in asdict(getattr(self, section)).items():
                unit = UNIT_SECONDS.get(name.rpartition("_")[2])
                if unit is not None and value * unit > YEAR_SECONDS:
                    raise ValueError(f"{section}.{name} = {value:g}: must not be longer than a year")
        return self

    @property
    def rules(self) -> Rules:
        return Rules(self.gate, self.size, self.watch, self.slots, self.breaker, self.memory, self.controls)

    @property
    def cache_path(self) -> Path:
        return self.data_folder / "backtest_cache.duckdb"

    def instrument(self, symbol: str) -> Instrument:
        """The instrument of that symbol, or of venue:symbol."""
        name = symbol if symbol in self.instruments else symbol.partition(":")[2]
        if name not in self.instruments or symbol not in (name, f"{self.instruments[name].venue}:{name}"):
            raise UnknownSymbol(
                f"{symbol!r} is not known; there are {', '.join(sorted(self.instruments))}. "
                f'Describe it in {CONFIG_FILE} under [instruments."{symbol}"].'
            )
        return self.instruments[name].instrument(name)

    def is_shipped(self, symbol: str) -> bool:
        """Whether an instrument is described as it comes with the engine."""
        return self.instruments.get(symbol) == INSTRUMENTS.get(symbol)

    def universe(self, instruments: tuple[Instrument, ...]) -> Universe:
        """The instruments of a run, those held before included, with the accounts they need."""
        held = tuple(self.instrument(holding.symbol) for holding in self.holdings)
        everything = tuple({i.id: i for i in (*held, *instruments)}.values())
        venues = sorted({str(i.venue) for i in everything})
        missing = [venue for venue in venues if venue not in self.venues]
        if missing:
            raise ConfigError(
                f"No account is described for {', '.join(missing)}: add [venues.{missing[0]}] to {CONFIG_FILE}."
            )
        return Universe(
            everything, tuple(self.venues[venue].account(venue) for venue in venues), Currency(self.currency)
        )

    def opening_holdings(self) -> tuple[Holding, ...]:
        return tuple(Holding(InstrumentId(self.instrument(h.symbol).id), h.qty, h.price) for h in self.holdings)

    def as_json(self) -> str:
        """Every number a result depends on, canonical; where files lie is no part of it."""
        return json.dumps(self.model_dump(mode="json", exclude={"data_folder"}), sort_keys=True, separators=(",", ":"))

    def fingerprint(self) -> str:
        return hashlib.sha256(self.as_json().encode()).hexdigest()

    def but(self, **changes: object) -> Settings:
        """These settings with some of them changed: `but(gate={"var_ratio": 0.03})`; sections are merged."""
        return _built({**_merged(self.model_dump(exclude_unset=True), changes)}, "the changes given")


def printable(key: SecretStr) -> SecretStr:
    """A key goes into a header or an address; what fits into neither would come back in an error's text."""
    if not re.fullmatch(r"[!-~]*", key.get_secret_value()):
        raise ValueError("a blank, a line's end or a letter that no key has")
    return key


class Secrets(BaseSettings):
    """What opens venues and data sources; from the environment or `.env` alone."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True, env_file=".env", hide_input_in_errors=True)

    coinbase_api_key: SecretStr | None = None
    coinbase_api_secret: SecretStr | None = None
    oanda_api_key: SecretStr | None = None
    oanda_account_id: SecretStr | None = None
    alpha_vantage_api_key: SecretStr | None = None

    _of_exchanges: dict[str, Keys] = PrivateAttr(default_factory=dict)  # that were handed over, by venue

    def keys(self, venue: str) -> Keys:
        """Of an exchange; ConfigError where they are not set."""
        return self._of_exchanges.get(venue) or keys_of(venue)

    @field_validator("oanda_api_key", "oanda_account_id", "alpha_vantage_api_key")
    @classmethod
    def _fits_a_header(cls, key: SecretStr | None) -> SecretStr | None:
        return key and printable(key)


class Keys(BaseSettings):
    """The key of one exchange: COINBASE_API_KEY, COINBASE_API_SECRET and, where it wants one, COINBASE_API_PASSWORD."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)

    api_key: SecretStr = SecretStr("")
    api_secret: SecretStr = SecretStr("")
    api_password: SecretStr = SecretStr("")

    @field_validator("api_key", "api_password")
    @classmethod
    def _fits_a_header(cls, key: SecretStr) -> SecretStr:
        return printable(key)

    @field_validator("api_secret")
    @classmethod
    def _has_lines(cls, secret: SecretStr) -> SecretStr:
        r"""A private key in PEM has lines. Copied from the file that a venue hands out it is a single one, with \n for
        their ends, and no request was ever signed."""
        text = secret.get_secret_value()
        return SecretStr(text.replace("\\n", "\n")) if text.startswith("-----BEGIN") else secret

    def reveal(self) -> tuple[str, str, str]:
        return self.api_key.get_secret_value(), self.api_secret.get_secret_value(), self.api_password.get_secret_value()

    def mark(self) -> str:
        """What tells one key from another, and gives none of them away."""
        return hashlib.sha256(self.api_key.get_secret_value().encode()).hexdigest()[:16]


def load_secrets() -> Secrets:
    """ConfigError where one of them cannot be what it should be."""
    _look_at_env_file()
    with _readable():
        return Secrets()


def _look_at_env_file() -> None:
    """What opens an account is read from no file that others can read, or could have written."""
    try:
        found = Path(".env").stat()
    except OSError:
        return
    if found.st_uid not in (os.getuid(), 0):
        raise ConfigError(".env belongs to another user, and would say what is traded and where. Write your own.")
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise ConfigError(".env can be read by others, or written: chmod 600 .env")


@contextmanager
def _readable(prefix: str = "") -> Iterator[None]:
    """What is wrong with a secret, without the secret."""
    try:
        yield
    except ValidationError as error:
        names = ", ".join(f"{prefix}{problem['loc'][0]}".upper() for problem in error.errors(include_input=False))
        raise ConfigError(f"{names} in .env or the environment holds a blank, or a sign that no key has.") from None
    except UnicodeDecodeError:
        raise ConfigError(".env is no text in UTF-8. Write it again, one NAME=value a line.") from None


def key_prefix(venue: str) -> str:
    """What the names of a venue's keys begin with: MY_EXCHANGE_ of my-exchange."""
    return re.sub(r"\W", "_", venue).upper() + "_"


def keys_of(venue: str) -> Keys:
    """ConfigError where a venue's key is not set."""
    _look_at_env_file()
    prefix = key_prefix(venue)
    with _readable(prefix):
        keys = Keys(_env_prefix=prefix, _env_file=".env")
    if missing := [name for name, value in zip(KEY_PARTS[:2], keys.reveal(), strict=False) if not value]:
        raise ConfigError(
            f"{venue} is opened by a key, and {prefix}{missing[0]} is not set. Put it into .env or the environment."
        )
    return keys


# ---------------------------------------------------------------- from a supervisor to its engine


SECRET = "API_SECRET"
KEY_PARTS = ("API_KEY", SECRET, "API_PASSWORD")


def key_names(settings: Settings) -> dict[str, list[str]]:
    """The variables that hold keys: those of `Secrets` under "", those of an exchange under its venue."""
    exchanges = [venue for venue, described in settings.venues.items() if described.source == "ccxt"]
    of_exchanges = {venue: [key_prefix(venue) + part for part in KEY_PARTS] for venue in exchanges}
    return {"": [name.upper() for name in Secrets.model_fields], **of_exchanges}


def without_keys(environment: Mapping[str, str], settings: Settings) -> dict[str, str]:
    """What is left for a process that gets its keys another way: no key of these settings, and no pair that opens a
    venue which they do not describe."""
    own = {name for names in key_names(settings).values() for name in names}
    pairs = {name.upper().removesuffix(SECRET) for name in environment if name.upper().endswith(SECRET)}
    others = {pair + part for pair in pairs for part in KEY_PARTS}
    return {name: value for name, value in environment.items() if name.upper() not in own | others}


def handed_over(settings: Settings, secrets: Secrets) -> dict[str, str]:
    """Every key that is set, by its variable: for a process that has none of them in its environment."""
    found = {name: getattr(secrets, name.lower()) for name in key_names(settings)[""]}
    values = {name: secret.get_secret_value() for name, secret in found.items() if secret is not None}
    for venue, names in key_names(settings).items():
        with suppress(ConfigError):
            values |= dict(zip(names, secrets.keys(venue).reveal(), strict=True)) if venue else {}
    return values


def received(values: Mapping[str, str], settings: Settings) -> Secrets:
    """The keys that were handed over."""
    secrets = Secrets(**{name.lower(): values[name] for name in key_names(settings)[""] if name in values})  # type: ignore[arg-type]
    for venue, names in key_names(settings).items():
        if venue and names[0] in values:
            key, secret, password = (SecretStr(values[name]) for name in names)
            secrets._of_exchanges[venue] = Keys(api_key=key, api_secret=secret, api_password=password)
    return secrets


def load_settings(path: Path | None = None) -> Settings:
    """Settings of a file; of `ffe.toml` in this folder where none is named, if there is one."""
    file = path or Path(CONFIG_FILE)
    environment = _environment()
    try:
        if path is None and not file.exists():
            return _built(environment, "the environment")
        if file.stat().st_size > MOST_BYTES:
            raise ConfigError(f"{file} is larger than {MOST_BYTES >> 20} MiB: no file of settings. Name another.")
        values = tomllib.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{file}: no such file. Write one, or leave --config away to run on the defaults.") from None
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}. Name a file of settings that can be read.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: not valid TOML: {error}.") from None
    except RecursionError:
        raise ConfigError(f"{file}: nested too deeply. A file of settings has sections and values.") from None
    return _built(_merged(values, environment), f"{file} and the environment" if environment else str(file))


def settings_of(values: dict[str, object]) -> Settings:
    """Settings of a table, as a file would hold it: what the environment says stands over it."""
    environment = _environment()
    return _built(_merged(values, environment), "the config and the environment" if environment else "the config")


def _environment() -> dict[str, object]:
    """What FFE_… variables say, of `.env` and over it of the environment; what else stands there is not ours. Whoever
    could write there would choose the data folder, and so what an emergency stop stops."""
    _look_at_env_file()
    try:
        found = _merged(DotEnvSettingsSource(Settings, env_file=".env")(), EnvSettingsSource(Settings)())
    except UnicodeDecodeError:
        raise ConfigError(".env is no text in UTF-8. Write it again, one NAME=value a line.") from None
    except OSError as error:
        raise ConfigError(f".env cannot be read: {error.strerror}. Run it in a folder that you may enter.") from None
    except SettingsError as error:
        raise ConfigError(f"the environment: {error}. Set one number of a section: FFE_GATE__VAR_RATIO=0.04.") from None
    ours = {key: value for key, value in found.items() if key in Settings.model_fields or key.startswith(PREFIX)}
    strange = [key.lower() for key in os.environ if key.lower().startswith(PREFIX)]
    known = tuple(PREFIX + name for name in Settings.model_fields)
    return {**ours, **{key: "" for key in strange if key.split("__")[0] not in known}}


def _built(values: dict[str, object], where: str) -> Settings:
    for section, known in (("venues", VENUES), ("instruments", INSTRUMENTS)):
        if isinstance(given := values.get(section), dict):
            values = {**values, section: {**{k: v.model_dump() for k, v in known.items()}, **_filled(given, known)}}
    try:
        return Settings(**values)  # type: ignore[arg-type]
    except ValidationError as error:
        raise ConfigError(_explained(error, where)) from None


def _filled(
    given: dict[str, object], known: dict[str, VenueSettings] | dict[str, InstrumentSettings]
) -> dict[str, object]:
    """A section of the file over what is known of the same name."""
    return {
        name: {**known[name].model_dump(), **value} if name in known and isinstance(value, dict) else value
        for name, value in given.items()
    }


def _merged(old: dict[str, object], new: dict[str, object]) -> dict[str, object]:
    merged = dict(old)
    for key, value in new.items():
        before = merged.get(key)
        merged[key] = _merged(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
    return merged


def _explained(error: ValidationError, where: str) -> str:
    """What is wrong, where it stands, and what would be right, one line each."""
    lines = []
    for problem in error.errors():
        key = ".".join(str(part) for part in problem["loc"]) or "settings"
        unknown = problem["type"] in ("extra_forbidden", "unexpected_keyword_argument")
        lines.append(f"{where}: {key}: {'no such setting' if unknown else problem['msg']}.")
    return "\n".join([*lines, "`ffe config` prints every setting with its value."])
