"""An account that is traded from one data folder and then from another: latch, trades and the day go with it."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from ffe.live.accounts import permit_found
from tests.live.street import Street, forget, session

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a session ends with its supervisor on Linux alone")

SETTLED = 3.0  # seconds in which an entry would have left


def is_safe(status: dict) -> bool:
    return status.get("life") == "trading" and bool(status["trades"]) and status["trades"][0]["is_protected"]


def is_trading(status: dict) -> bool:
    return status.get("life") == "trading"


@pytest.mark.slow
def test_session_in_another_data_folder_knows_what_is_open_and_enters_nothing_before_a_re_arm(tmp_path: Path) -> None:
    with Street(tmp_path) as street:
        with session(street, "Holds") as one:
            (before,) = one.until(is_safe)["trades"]
            one.kill()
        street.more_env = {"FFE_DATA_FOLDER": str(tmp_path / "other")}
        with session(street, "Holds") as one:
            status = one.until(is_safe)
            assert status["is_latched"] and "Nothing is entered here before `ffe re-arm`" in one.said
            (after,) = status["trades"]
            assert {key: after[key] for key in ("slot", "instrument", "qty", "stop")} == {
                key: before[key] for key in ("slot", "instrument", "qty", "stop")
            }
            one.kill()
        with session(street, "Churn") as one:
            one.until(is_trading)
            time.sleep(SETTLED)
            assert one.status()["is_latched"] and len(street.entries()) == 1
            re_armed = street.ffe("re-arm")
            assert re_armed.returncode == 0, re_armed.stdout
            one.until(lambda status: len(street.entries()) > 1 and not status["is_latched"])


@pytest.mark.slow
def test_latch_is_not_left_behind_by_choosing_another_folder(tmp_path: Path) -> None:
    """The next session bought, with the same arming file. Back in the first, a permit made by hand releases nothing."""
    with Street(tmp_path) as street:
        with session(street, "Churn") as one:
            one.until(lambda _: street.entries())
            assert street.ffe("stop", "--force").returncode == 0 and street.is_flat()
            one.kill()
        bought = len(street.entries())
        for folder in ("other", "data"):
            street.more_env = {"FFE_DATA_FOLDER": str(tmp_path / folder), "XDG_STATE_HOME": str(tmp_path / "state")}
            if folder == "data":
                permit_found(street.data).give()
            with session(street, "Churn") as one:
                one.until(is_trading)
                time.sleep(SETTLED)
                assert one.status()["state"] == "halted" and len(street.entries()) == bought
                one.kill()


@pytest.mark.slow
def test_stop_that_cannot_touch_the_data_folder_latches_the_account(tmp_path: Path) -> None:
    """It said that no entry leaves, with exit code 0, and the next start bought."""
    with Street(tmp_path) as street:
        with session(street, "Churn") as one:
            one.until(lambda _: street.entries())
            one.kill()
        permit = street.data / "permit"
        permit.unlink()
        permit.mkdir()
        stopped = street.ffe("stop", "--force")
        assert stopped.returncode == 0 and street.is_flat(), stopped.stdout
        assert "latched: no entry leaves\nbut not everywhere: " in stopped.stdout
        permit.rmdir()
        permit.touch(mode=0o600)  # as if it had never been taken
        bought = len(street.entries())
        with session(street, "Churn") as one:
            one.until(is_trading)
            time.sleep(SETTLED)
            assert one.status()["is_latched"] and len(street.entries()) == bought


@pytest.mark.slow
def test_journal_of_another_account_is_not_gone_on_from(tmp_path: Path) -> None:
    """The stop of the one account's trade was placed at the other, and sold what that held of its own."""
    with Street(tmp_path) as street:
        with session(street, "Holds") as one:
            one.until(is_safe)
            one.kill()
        first = street.account
        street.exchange_account(BTC=1.0)
        with session(street, "Idle") as two:
            assert two.process.wait(30) == 1
            assert "of another account or by another key" in two.said
        assert not street.venue.orders and street.held("BTCUSDT") == 1.0
        forget(first, street.folder)
