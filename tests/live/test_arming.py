"""Real money needs a flag, a file, an id that somebody types, and limits. Nothing else arms, and nothing that fails to
arm trades something else instead.

The command line runs in this process: every refusal here comes before anything is opened.
"""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from typer.testing import CliRunner, Result

from ffe.cli import app as ffe
from ffe.config import Secrets, load_settings
from ffe.errors import ConfigError
from ffe.live import arming
from ffe.live.__main__ import app as live
from ffe.live.arming import Arming, check, check_again, check_loaded
from ffe.live.connect import REAL_MONEY, Armed, Connector, connectors
from ffe.live.task import Task
from ffe.model import HOUR, Venue
from ffe.private import state_folder
from ffe.research.find import strategy_of
from ffe.wire.oanda_wire import PRACTICE
from tests.live.street import KEY, ROOT, SECRET

ACCOUNT = "101-004-1234567-001"
LIMITS = """
[controls]
max_order_value = 5000.0
max_day_notional = 20000.0
max_day_loss = 300.0
[controls.max_order_qty]
"EUR/USD" = 10000.0
"""
MARKETS = """
[venues.binance]
source = "ccxt"
currency = "USDT"
[instruments."BTC/USDT"]
venue = "binance"
asset_class = "crypto"
base = "BTC"
quote = "USDT"
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with limits, and an environment with keys."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OANDA_ACCOUNT_ID", ACCOUNT)
    for name in ("BINANCE_API_KEY", "OANDA_API_KEY", "COINBASE_API_KEY"):
        monkeypatch.setenv(name, KEY)
    for name in ("BINANCE_API_SECRET", "COINBASE_API_SECRET"):
        monkeypatch.setenv(name, SECRET)
    (tmp_path / "ffe.toml").write_text(LIMITS)
    yield tmp_path


def started(*options: str, typed: str = "", symbol: str = "EUR/USD") -> Result:
    return CliRunner().invoke(live, [IDLE, "--symbols", symbol, *options], input=f"{typed}\n")


def refusal(*options: str, typed: str = "", symbol: str = "EUR/USD") -> str:
    """What is said instead of a start, of which no trace is left."""
    result = started(*options, typed=typed, symbol=symbol)
    assert isinstance(result.exception, ConfigError), result.output
    assert not Path("data").exists() and not Path("logs").exists()
    return str(result.exception)


IDLE = f"{ROOT}/tests/live/churn.py:Idle"


def armed(path: str = "arming.json", strategy: str = IDLE) -> Result:
    return CliRunner().invoke(ffe, ["arm", path, strategy, "--symbols", "EUR/USD"])


def task_of(symbols: str = "EUR/USD", strategy: str = IDLE) -> Task:
    return Task(strategy=strategy, symbols=[symbols], interval="1h", settings=load_settings(), armed=Armed.LIVE)


def connector(symbol: str, word: Armed) -> Connector:
    return connectors(load_settings(), [symbol], Secrets(), word)[0]


def hosts(urls: object) -> set[str]:
    """Of every address in a tree of addresses."""
    if isinstance(urls, dict):
        return set().union(*map(hosts, urls.values()))
    return {urlsplit(str(urls)).hostname or ""}


# ---------------------------------------------------------------- whom it may speak to


@pytest.mark.parametrize("symbol", ["EUR/USD", "BTC/USD", "BTC/USDT"])
def test_without_a_word_nothing_beyond_this_machine_is_traded_at(symbol: str) -> None:
    Path("ffe.toml").write_text(MARKETS)
    assert "nobody has said so. Add --sandbox for practice money, or --live" in refusal(symbol=symbol)


@pytest.mark.parametrize(
    "address",
    [
        "https://api.binance.com", "http://192.168.1.7:80", "http://localhost.example.com", "http://127.0.0.1.nip.io",
        "http://0.0.0.0:1", "http://2130706433",
    ],
)  # fmt: skip
@pytest.mark.parametrize("word", [(), ("--sandbox",)])
def test_an_address_elsewhere_is_no_practice_account_and_no_loopback(address: str, word: tuple[str, ...]) -> None:
    Path("ffe.toml").write_text(MARKETS.replace("source", f'address = "{address}"\nsource'))
    assert address in refusal(*word, symbol="BTC/USDT")


@pytest.mark.parametrize("host", ["127.0.0.1:9", "localhost:9", "127.8.8.8:9", "[::1]:9"])
def test_loopback_needs_no_word(host: str) -> None:
    Path("ffe.toml").write_text(MARKETS.replace("source", f'address = "http://{host}"\nsource'))
    (name,) = hosts(connector("BTC/USDT", Armed.NOT).ccxt().urls["api"])
    assert name in host


def test_sandbox_selects_the_practice_account() -> None:
    assert str(connector("EUR/USD", Armed.SANDBOX).oanda()._http.base_url).startswith(PRACTICE)
    assert str(connector("EUR/USD", Armed.LIVE).oanda()._http.base_url).startswith(REAL_MONEY)


def test_sandbox_selects_the_testnet() -> None:
    Path("ffe.toml").write_text(MARKETS)
    practice = hosts(connector("BTC/USDT", Armed.SANDBOX).ccxt().urls["api"])
    real = hosts(connector("BTC/USDT", Armed.LIVE).ccxt().urls["api"])
    assert "api.binance.com" in real and not practice & real
    assert all("testnet" in name or "demo" in name for name in practice)


def test_a_venue_without_a_sandbox_is_refused_one() -> None:
    with pytest.raises(ConfigError, match="coinbase has no sandbox that ccxt knows") as caught:
        connector("BTC/USD", Armed.SANDBOX).ccxt()
    assert "Rehearse with `ffe backtest`" in str(caught.value)
    assert "all money is real: it takes --live with an arming file" in str(caught.value)
    assert "coinbase has no sandbox" in refusal("--sandbox", "--untested", "coinbase", symbol="BTC/USD")


def test_an_answer_leads_no_request_elsewhere() -> None:
    Path("ffe.toml").write_text(MARKETS)
    assert connector("BTC/USDT", Armed.LIVE).ccxt().session.max_redirects == 0
    assert not connector("EUR/USD", Armed.LIVE).oanda()._http.follow_redirects


def test_practice_and_real_money_are_not_both_meant() -> None:
    armed()
    assert "say one of them" in refusal("--sandbox", "--live", "--arming", "arming.json", typed=ACCOUNT)


@pytest.mark.parametrize(
    "line", ["armed = 'live'", "live = true", "use_sandbox = false", "[venues.oanda]\nsandbox = false"]
)
def test_no_setting_arms(line: str) -> None:
    Path("ffe.toml").write_text(line)
    assert "no such setting" in refusal()


@pytest.mark.parametrize("name", ["FFE_LIVE", "FFE_ARMED", "FFE_SANDBOX", "LIVE", "ARMING", "USE_SANDBOX"])
@pytest.mark.parametrize("place", ["environment", ".env"])
def test_no_variable_arms(name: str, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if place == ".env":
        Path(".env").write_text(f"{name}=live\n")
        Path(".env").chmod(0o600)
    else:
        monkeypatch.setenv(name, "live")
    said = refusal()
    assert "nobody has said so" in said or "no such setting" in said


# ---------------------------------------------------------------- the file


def test_arm_signs_limits_accounts_settings_and_code_for_a_day() -> None:
    assert armed().exit_code == 0
    assert Path("arming.json").stat().st_mode & 0o777 == 0o600
    signed = json.loads(Path("arming.json").read_text())
    assert signed["accounts"] == {"oanda": ACCOUNT} and signed["config"] == load_settings().fingerprint()
    assert signed["limits"]["max_order_value"] == 5_000.0 and signed["limits"]["max_order_qty.EUR/USD"] == 10_000.0
    assert signed["expires"] - signed["signed"] == 24 * HOUR


@pytest.mark.parametrize("name", ["max_order_value", "max_day_notional", "max_day_loss", '"EUR/USD"'])
def test_arm_refuses_without_limits(name: str) -> None:
    Path("ffe.toml").write_text("\n".join(line for line in LIMITS.splitlines() if not line.startswith(name)))
    result = armed()
    assert isinstance(result.exception, ConfigError) and name.strip('"') in str(result.exception)
    assert not Path("arming.json").exists()


def test_arm_writes_over_nothing() -> None:
    Path("arming.json").write_text("what was there")
    assert isinstance(armed().exception, ConfigError)
    assert Path("arming.json").read_text() == "what was there"


@pytest.mark.parametrize("later", [0, 23 * HOUR])
def test_what_was_signed_arms_for_a_day(later: int) -> None:
    armed()
    found = [connector("EUR/USD", Armed.LIVE)]
    check(Path("arming.json"), task_of(), found, {Venue("oanda"): ACCOUNT}, time.time_ns() + later)


def edited(**changes: object) -> None:
    """And signed again: only what was signed for something else is left to be found."""
    path = Path("arming.json")
    made = Arming.model_validate({**json.loads(path.read_text()), **changes})
    path.write_text(made.model_copy(update={"signature": arming._signature(made)}).model_dump_json())


def written(**changes: object) -> None:
    """By hand."""
    path = Path("arming.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def by_another_key() -> None:
    (state_folder() / "arming.key").write_text("0" * 64)


def lowered() -> None:
    limits = json.loads(Path("arming.json").read_text())["limits"]
    edited(limits={**limits, "max_order_value": 1e9})


MISMATCHES: dict[str, tuple[str, Callable[[], Any]]] = {
    "account": ("other accounts", lambda: edited(accounts={"oanda": "101-004-1234567-002"})),
    "venue": ("other accounts", lambda: edited(accounts={"binance": ACCOUNT})),
    "one more venue": ("other accounts", lambda: edited(accounts={"oanda": ACCOUNT, "binance": ACCOUNT})),
    "limits": ("other limits", lowered),
    "settings hash": ("other settings", lambda: edited(config="0" * 64)),
    "settings": ("other settings", lambda: Path("ffe.toml").write_text(LIMITS + "[gate]\nvar_ratio = 0.04")),
    "limits of the settings": ("other limits", lambda: Path("ffe.toml").write_text(LIMITS.replace("300.0", "900.0"))),
    "no limits": ("Real money needs limits", lambda: Path("ffe.toml").write_text("")),
    "code": ("another version of the code", lambda: edited(code="1.0+000000000000")),
    "expired": ("expired", lambda: edited(signed=time.time_ns() - 24 * HOUR, expires=time.time_ns() - HOUR)),
    "too long": ("within 24 hours", lambda: written(expires=time.time_ns() + 25 * HOUR)),
    "written by hand": ("was not signed here, or was edited", lambda: written(expires=time.time_ns() + HOUR)),
    "without a signature": ("no arming file", lambda: written(signature=None)),
    "an empty signature": ("was not signed here", lambda: written(signature="")),
    "signed elsewhere": ("was not signed here", by_another_key),
    "data folder": ("another data folder", lambda: edited(data_folder="/elsewhere")),
    "strategy": ("another strategy", lambda: edited(strategy="0" * 64)),
    "parameters": ("other parameters", lambda: edited(parameters={"fast": "2"})),
    "symbols": ("other symbols", lambda: edited(symbols=["oanda:GBP/USD"])),
    "interval": ("another interval", lambda: edited(interval=60)),
    "versions": ("other versions of Python or its libraries", lambda: edited(versions={"python": "2.7"})),
    "from the future": ("signed in the future", lambda: edited(
        signed=time.time_ns() + HOUR, expires=time.time_ns() + 2 * HOUR
    )),
    "group may read": ("chmod 600", lambda: Path("arming.json").chmod(0o640)),
    "others may write": ("chmod 600", lambda: Path("arming.json").chmod(0o602)),
    "no such file": ("No such file", lambda: Path("arming.json").unlink()),
    "a field more": ("no arming file", lambda: written(force=True)),
    "no text": ("no arming file", lambda: Path("arming.json").write_bytes(b"\xff")),
    "no JSON": ("no arming file", lambda: Path("arming.json").write_text("yes")),
    "a line more": ("no arming file", lambda: Path("arming.json").write_text("{}")),
}  # fmt: skip


@pytest.mark.parametrize("mismatch", MISMATCHES)
def test_one_mismatch_refuses_to_start(mismatch: str) -> None:
    said, make = MISMATCHES[mismatch]
    assert armed().exit_code == 0
    make()
    assert said in refusal("--live", "--arming", "arming.json", typed=ACCOUNT)


@pytest.mark.parametrize("typed", ["101-004-1234567-002", "oanda", ACCOUNT[:-1], "yes"])
def test_another_id_typed_refuses_to_start(typed: str) -> None:
    armed()
    said = refusal("--live", "--arming", "arming.json", typed=typed)
    assert "what was typed is not the account's id, which is at oanda the account's number at OANDA" in said
    assert ACCOUNT not in said


def test_no_id_typed_refuses_to_start() -> None:
    armed()
    result = started("--live", "--arming", "arming.json")
    assert result.exit_code == 1 and "Aborted" in result.output and not Path("data").exists()


def test_live_needs_a_file() -> None:
    assert "needs --arming FILE" in refusal("--live", typed=ACCOUNT)


def test_another_key_is_another_account(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("ffe.toml").write_text(MARKETS)
    before = connector("BTC/USDT", Armed.LIVE).account_id
    monkeypatch.setenv("BINANCE_API_KEY", "another")
    assert connector("BTC/USDT", Armed.LIVE).account_id != before


def test_how_the_id_of_a_coin_account_is_found_is_told_where_it_is_asked_for() -> None:
    """It is a hash that nobody knows by heart."""
    settings = MARKETS + LIMITS.replace("EUR/USD", "BTC/USDT")
    Path("ffe.toml").write_text(settings)
    signed = CliRunner().invoke(ffe, ["arm", "arming.json", IDLE, "--symbols", "BTC/USDT"])
    asked = started("--live", "--arming", "arming.json", typed="what?", symbol="BTC/USDT")
    for text in (signed.output, asked.output, str(asked.exception)):
        assert "the first 16 hex digits of the SHA-256 of BINANCE_API_KEY" in text
        (command,) = re.findall("`(printf [^`]+)`", text)
        printed = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True).stdout
        assert printed.strip() == connector("BTC/USDT", Armed.LIVE).account_id


# ---------------------------------------------------------------- what trades


def test_strategy_that_was_edited_under_a_session_does_not_start_again() -> None:
    """An engine that fell was started anew with whatever stood there."""
    Path("idea.py").write_text(Path(IDLE.rpartition(":")[0]).read_text())
    assert armed(strategy="idea.py:Idle").exit_code == 0
    signed, task, found = (
        arming._read(Path("arming.json")),
        task_of(strategy="idea.py:Idle"),
        connector("EUR/USD", Armed.LIVE),
    )
    check_again(signed, task, [found])
    Path("idea.py").write_text(Path("idea.py").read_text() + "\nLENGTH = 7\n")
    with pytest.raises(ConfigError, match="another strategy, or for one that was edited since"):
        check_again(signed, task, [found])


def test_strategy_that_was_edited_between_the_look_and_the_load_does_not_start() -> None:
    Path("idea.py").write_text(Path(IDLE.rpartition(":")[0]).read_text())
    assert armed(strategy="idea.py:Idle").exit_code == 0
    signed = arming._read(Path("arming.json"))
    check_loaded(signed, strategy_of("idea.py:Idle")())
    Path("idea.py").write_text(Path("idea.py").read_text() + "\nLENGTH = 7\n")
    with pytest.raises(ConfigError, match="not what was loaded: it was signed for another strategy"):
        check_loaded(signed, strategy_of("idea.py:Idle")())


def test_address_that_is_not_the_venues_own_is_shown_where_it_is_signed() -> None:
    """Whoever wrote the settings chose it, and the key goes there."""
    Path("ffe.toml").write_text(LIMITS + '[venues.oanda]\naddress = "https://gateway.example"\n')
    assert "at oanda, whose key goes to https://gateway.example, is asked for" in armed().output


def test_engine_of_a_session_whose_arming_has_expired_starts_to_reduce() -> None:
    armed()
    signed = arming._read(Path("arming.json"))
    old = signed.model_copy(update={"signed": 1, "expires": 2})
    check_again(
        old.model_copy(update={"signature": arming._signature(old)}), task_of(), [connector("EUR/USD", Armed.LIVE)]
    )


def test_key_of_signatures_is_its_owners_alone() -> None:
    armed()
    assert (state_folder() / "arming.key").stat().st_mode & 0o777 == 0o600
    assert len((state_folder() / "arming.key").read_bytes()) == 64


@pytest.mark.parametrize("key", [b"", b"0" * 63])
def test_key_that_was_cut_short_signs_nothing(key: bytes) -> None:
    """A full disk left an empty one, and what anybody had signed with nothing started."""
    armed()
    (state_folder() / "arming.key").write_bytes(key)
    result = armed("again.json")
    assert result.exit_code == 1 and "is no key: it was cut short" in str(result.exception)


def test_file_that_cannot_be_written_is_told() -> None:
    result = armed("missing/x")
    assert result.exit_code == 1 and "missing/x: No such file or directory" in str(result.exception)


def test_strategy_without_a_source_is_not_signed() -> None:
    result = armed(strategy="nowhere.py:Nothing")
    assert isinstance(result.exception, ConfigError) and "no source to sign" in str(result.exception)
    assert not Path("arming.json").exists()
