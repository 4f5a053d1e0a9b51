"""A secret is in nothing that is said or kept. Each has a value of its own, and none is found anywhere afterwards."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ffe.cli import app as ffe
from ffe.config import Settings, handed_over, keys_of, load_secrets, load_settings, received, without_keys
from ffe.errors import ConfigError
from ffe.live.accounts import Known, locked, mark_of
from ffe.live.child import Handed
from ffe.live.connect import Armed, Connector, connectors
from ffe.live.task import Task
from ffe.wire.ccxt_wire import ask
from ffe.wire.errors import Denied, Unclear
from tests.live.street import ROOT, Street, own_number, session
from tests.venues.binance import Binance
from tests.venues.faults import Drop, Malformed, Page, ServerError, Truncated
from tests.venues.server import Ending, Reply, Request, Server

MARK = "canary-"
NAMES = (
    "BINANCE_API_KEY", "BINANCE_API_SECRET", "BINANCE_API_PASSWORD", "COINBASE_API_KEY", "COINBASE_API_SECRET",
    "COINBASE_API_PASSWORD", "OANDA_API_KEY", "OANDA_ACCOUNT_ID", "ALPHA_VANTAGE_API_KEY",
)  # fmt: skip
SECRETS = {name: f"{MARK}{name.lower()}" for name in NAMES}
VENUES = """
[venues.oanda]
address = "{address}"
[venues.coinbase]
address = "{address}"
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    for name, secret in SECRETS.items():
        monkeypatch.setenv(name, secret)
    yield tmp_path


def assert_hidden(*texts: object) -> None:
    for text in texts:
        assert MARK not in str(text).lower(), text


def shown(call: Callable[[], object]) -> str:
    """What comes back, or what a crash over it would print."""
    try:
        return repr(call())
    except (ConfigError, Denied, Unclear) as error:
        return "".join(traceback.format_exception(error)) + repr(error)


def told_of(call: Callable[[], object]) -> str:
    """An error as the program's end would print it, causes and all."""
    with pytest.raises((ConfigError, Denied, Unclear)) as caught:
        call()
    return "".join(traceback.format_exception(caught.value)) + repr(caught.value)


def found_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and MARK.encode() in path.read_bytes().lower()]


# ---------------------------------------------------------------- what it looks like


def test_nothing_that_holds_a_secret_shows_it() -> None:
    Path("ffe.toml").write_text(VENUES.format(address="http://127.0.0.1:9"))
    settings, secrets = load_settings(), load_secrets()
    found = connectors(settings, ["EUR/USD", "BTC/USD"], secrets, Armed.NOT)
    made = [settings, secrets, keys_of("coinbase"), *found, found[0].ccxt(), found[1].oanda()]
    made += [connector.market() for connector in found]
    for thing in made:
        assert_hidden(repr(thing), str(thing))
    assert_hidden(secrets.model_dump_json(), keys_of("coinbase").model_dump(), settings.model_dump_json())


def test_a_lock_and_a_mark_give_no_account_away(home: Path) -> None:
    Path("ffe.toml").write_text(VENUES.format(address="http://127.0.0.1:9"))
    (oanda,) = connectors(load_settings(), ["EUR/USD"], load_secrets(), Armed.NOT)
    held, again = (locked(Path(place), [Known(mark_of(oanda.account_id))]) for place in ("data", "other"))
    with held, pytest.raises(ConfigError) as second:
        again.__enter__()
    assert_hidden(second.value, keys_of("binance").mark())


# ---------------------------------------------------------------- settings


@pytest.mark.parametrize("name", [name for name in NAMES if "SECRET" not in name])
@pytest.mark.parametrize("wrong", ["{} ", "{}\n", "{}€", " {}", "{}\t{}"])
def test_a_key_that_fits_no_header_is_named_and_not_shown(
    name: str, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, wrong.replace("{}", SECRETS[name]))
    said = told_of(lambda: (load_secrets(), keys_of(name.split("_")[0])))
    assert name in said
    assert_hidden(said)


@pytest.mark.parametrize("place", ["", "[gate]\n", "[venues.binance]\n", "[instruments.X]\n", "[venues.oanda]\n"])
def test_a_key_in_the_settings_is_refused_and_not_shown(place: str) -> None:
    Path("ffe.toml").write_text(f'{place}api_key = "{MARK}in-the-file"')
    said = told_of(load_settings)
    assert "api_key: no such setting" in said
    assert_hidden(said)


@pytest.mark.parametrize("address", ["http://user:{}@127.0.0.1", "http://{}@127.0.0.1:9", "http://127.0.0.1/?key={}"])
def test_an_address_with_a_secret_is_refused_and_not_shown(address: str) -> None:
    Path("ffe.toml").write_text(VENUES.format(address=address.replace("{}", f"{MARK}in-an-address")))
    said = told_of(load_settings)
    assert "venues.oanda.address" in said
    assert_hidden(said)


def ordinary() -> Iterator[str]:
    """Every setting that is no text of its own, as one would give it in the environment."""
    for name, values in Settings().model_dump().items():
        if not isinstance(values, dict):
            yield name
        elif name in ("venues", "instruments"):
            first, described = next(iter(values.items()))
            yield from (f"{name}__{first}__{key}" for key in described)
        else:
            yield from (f"{name}__{key}" for key in values)


@pytest.mark.parametrize("name", list(ordinary()))
def test_what_a_setting_refuses_it_does_not_repeat(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"FFE_{name.upper()}", f"{MARK}in-a-setting")
    try:
        load_settings()
    except ConfigError as error:
        assert_hidden("".join(traceback.format_exception(error)))


@pytest.mark.parametrize("name", ["FFE_API_KEY", "FFE_GATE", "FFE_VENUES", "FFE_GATE__API_KEY", "FFE_HOLDINGS"])
@pytest.mark.parametrize("place", ["environment", ".env"])
def test_a_key_in_a_variable_of_ours_is_refused_and_not_shown(
    name: str, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if place == ".env":
        Path(".env").write_text(f"{name}={MARK}in-a-variable\n")
        Path(".env").chmod(0o600)
    else:
        monkeypatch.setenv(name, f"{MARK}in-a-variable")
    assert_hidden(told_of(load_settings))


def test_a_file_of_keys_that_is_no_text_is_one_message() -> None:
    Path(".env").write_bytes(f"OANDA_API_KEY={MARK}\xff".encode("latin-1"))
    Path(".env").chmod(0o600)
    for load in (load_secrets, load_settings, lambda: keys_of("x")):
        said = told_of(load)
        assert ".env is no text" in said
        assert_hidden(said)


def test_the_settings_that_are_printed_hold_no_secret() -> None:
    result = CliRunner().invoke(ffe, ["config"])
    assert result.exit_code == 0
    assert_hidden(result.output)


# ---------------------------------------------------------------- venues

HTML = {"Content-Type": "text/html"}
ANSWERS: dict[str, Callable[[Request], Reply]] = {
    "a wrong key": lambda _: Reply({"code": -2015, "msg": "Invalid API-key, IP, or permissions for action."}, 401),
    "a bad signature": lambda _: Reply({"code": -1022, "msg": "Signature for this request is not valid."}, 400),
    "nothing": lambda _: Reply(ending=Ending.DROPPED),
    "half an answer": lambda _: Reply({"time": "x" * 100}, ending=Ending.CUT),
    "no JSON": lambda _: Reply(b"{", 200),
    "of another shape": lambda _: Reply([[None]], 200),
    "a page": lambda _: Reply(b"<html>", 502, HTML),
    "elsewhere": lambda _: Reply(b"", 302, {"Location": "http://127.0.0.1:9/"}),
    "what we sent, as a reason": lambda asked: Reply(
        {"errorMessage": echo(asked), "message": echo(asked), "error": echo(asked)}, 401
    ),
    "what we sent, as a page": lambda asked: Reply(echo(asked).encode(), 500, HTML),
}


def echo(asked: Request) -> str:
    return f"{asked.path} {asked.query} {dict(asked.headers)} {asked.body}"


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("symbol", ["EUR/USD", "BTC/USD"])
def test_whatever_a_venue_answers_no_error_shows_a_key(answer: str, symbol: str) -> None:
    with Server(ANSWERS[answer]) as server:
        Path("ffe.toml").write_text(VENUES.format(address=f"http://127.0.0.1:{server.port}"))
        (connector,) = connectors(load_settings(), [symbol], load_secrets(), Armed.NOT)
        assert_hidden(shown(lambda: connector.instruments([symbol])), shown(lambda: balance(connector)))


def balance(connector: Connector) -> object:
    """A question that is signed."""
    if connector.venue == "coinbase":
        client = connector.ccxt()
        with closing(client.session):
            return ask(client.fetch_balance)
    with closing(connector.oanda()) as oanda:
        return oanda.get("summary")


# ---------------------------------------------------------------- sessions


def at_venue(street: Street) -> Street:
    """A street whose venue knows the key that the session has."""
    street.key = SECRETS["BINANCE_API_KEY"] + own_number(street.folder)
    secret = SECRETS["BINANCE_API_SECRET"]
    street.venue = Binance(cash={"USDT": 100_000.0}, weight_limit=10**9, key=street.key, secret=secret)
    street.more_env = SECRETS | {"BINANCE_API_KEY": street.key}
    return street


def test_a_session_through_every_trouble_keeps_and_says_no_secret(folder: Path) -> None:
    with at_venue(Street(folder)) as street, session(street, "Churn") as one:
        one.until(lambda status: status.get("life") == "trading" and status["trades"])
        troubles = (Malformed, Truncated, Page, Drop, ServerError)
        street.venue.faults = [trouble(on="*", nth=1 + n) for n, trouble in enumerate(troubles)]
        one.until(lambda _: not street.venue.faults, 120.0)  # each failure is waited out longer than the one before
        street.venue.is_revoked = True
        told = [street.ffe(*words.split()) for words in ("close-all", "status", "config")]
        one.stop()
        assert_hidden(*(said.stdout + said.stderr for said in told))
    assert found_in(folder) == []


@pytest.mark.parametrize("wrong", ["BINANCE_API_KEY", "BINANCE_API_SECRET"])
def test_a_wrong_key_ends_the_session_with_one_line_that_does_not_hold_it(folder: Path, wrong: str) -> None:
    with at_venue(Street(folder)) as street:
        street.more_env |= {wrong: f"{MARK}another"}
        with session(street, "Idle") as one:
            assert one.process.wait(30) == 1
            assert one.said.count("binance: key: binance refuses it") == 1
    assert found_in(folder) == [] and not Path("data").exists()


def test_a_crash_shows_a_traceback_and_no_secret(folder: Path) -> None:
    with at_venue(Street(folder)) as street:
        street.more_env |= {"PYTHONPATH": f"{ROOT}/tests/live/bug:{ROOT}"}
        with session(street, "Idle") as one:
            while "The engine ended with 1." not in one.said:
                time.sleep(0.1)
            assert "Traceback" in one.said
    assert found_in(folder) == []


def test_engine_has_no_key_in_its_environment_and_its_command_line_shows_its_folder_alone(folder: Path) -> None:
    """A strategy read the secret there, and so did whatever it started."""
    with at_venue(Street(folder)) as street, session(street, "Idle") as one:
        one.until(lambda status: status.get("life") == "trading")
        place = Path(f"/proc/{one.engine}")
        environment, words = place.joinpath("environ").read_bytes(), place.joinpath("cmdline").read_bytes().split(b"\0")
        assert MARK.encode() not in environment.lower() and b"PYTHONPATH" in environment
        module, where, *numbers = words[words.index(b"-m") + 1 : -1]
        assert (module, where) == (b"ffe.live.worker", b"data") and all(number.isdigit() for number in numbers)


def test_engine_has_no_key_of_a_venue_that_the_settings_do_not_describe() -> None:
    Path("ffe.toml").write_text(VENUES.format(address="http://127.0.0.1:9"))
    environment = {
        "KRAKEN_API_KEY": MARK, "KRAKEN_API_SECRET": MARK, "kraken_api_password": MARK, "OANDA_API_KEY": MARK,
        "NEWS_API_KEY": "a strategy's own", "PATH": "/bin",
    }  # fmt: skip
    assert without_keys(environment, load_settings()) == {"NEWS_API_KEY": "a strategy's own", "PATH": "/bin"}


def test_keys_that_are_handed_over_are_those_that_were_set(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("ffe.toml").write_text(VENUES.format(address="http://127.0.0.1:9"))
    settings = load_settings()
    handed, task = (
        handed_over(settings, load_secrets()),
        Task(strategy="a", symbols=[], interval="1h", settings=settings),
    )
    for name in handed:
        monkeypatch.delenv(name)
    secrets = received(handed, settings)
    assert secrets.oanda_api_key and secrets.oanda_api_key.get_secret_value() == SECRETS["OANDA_API_KEY"]
    assert secrets.keys("coinbase").reveal()[:2] == (SECRETS["COINBASE_API_KEY"], SECRETS["COINBASE_API_SECRET"])
    assert_hidden(repr(secrets), str(secrets), repr(Handed(task, None, handed)))
    with pytest.raises(ConfigError, match="COINBASE_API_KEY is not set"):
        load_secrets().keys("coinbase")
