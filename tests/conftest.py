"""What every test may rely on: matplotlib without a screen, numba's cache away from sources, hypothesis, shared data.

HYPOTHESIS_PROFILE chooses `default` for every day, `mutation` for small runs that repeat, `campaign` for long ones.
"""

from __future__ import annotations

import os
import pwd
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

# Both are read when the package is imported, and test modules import after this file.
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("NUMBA_CACHE_DIR", str(Path(tempfile.gettempdir()) / "ffe-numba"))

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    import ccxt

    from tests.venues.server import Server

SHARED = Path(__file__).parents[2] / "shared" / "data"

settings.register_profile("default", deadline=None)  # the first call of a kernel compiles it
settings.register_profile("mutation", deadline=None, derandomize=True, max_examples=25, database=None)
settings.register_profile("campaign", deadline=None, max_examples=2_000, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """A folder of real bars as parquet, where the checkout has it beside itself."""
    if not SHARED.is_dir():
        pytest.skip(f"no shared data at {SHARED}")
    return SHARED


@pytest.fixture(scope="session")
def binance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, ccxt.binance]]:
    """A loopback Binance, whose venue a test exchanges, and ccxt's client of it."""
    from tests.venues.client import at_binance  # ccxt takes a second, and few tests need it

    with at_binance(tmp_path_factory.mktemp("tls")) as pair:
        yield pair


@pytest.fixture(scope="session")
def coinbase(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, ccxt.coinbase]]:
    """A loopback Coinbase, whose venue a test exchanges, and ccxt's client of it."""
    from tests.venues.client import at_coinbase

    with at_coinbase(tmp_path_factory.mktemp("tls")) as pair:
        yield pair


@pytest.fixture(autouse=True, scope="session")
def heads_apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The heads of thousands of runs are none of this user's."""
    from ffe.private import state_folder
    from ffe.records import kept

    folder = tmp_path_factory.mktemp("state")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(kept, "state_folder", lambda: folder)
        yield
    for head in (state_folder() / "heads").glob("*"):  # of processes that tests have started
        with suppress(OSError):
            if f"\n{tmp_path_factory.getbasetemp()}" in head.read_text():
                head.unlink()


@pytest.fixture
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of this test's own, for this process alone: it stands in the password entry, not in the environment."""
    entry, home = pwd.getpwuid(os.getuid()), tmp_path_factory.mktemp("home")
    fields = [str(home) if value == entry.pw_dir else value for value in entry]
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: pwd.struct_passwd(fields))
    return home
