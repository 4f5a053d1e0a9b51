"""One live process for a folder and for each account."""

from __future__ import annotations

from pathlib import Path

import pytest

from ffe.errors import ConfigError
from ffe.live.locks import locked, mark_of


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.mark.parametrize(("folder", "account"), [("a", "one"), ("a", "another"), ("b", "one")])
def test_folder_and_account_are_locked_each_for_itself(tmp_path: Path, folder: str, account: str) -> None:
    second = locked(tmp_path / folder, [account])
    with (
        locked(tmp_path / "a", ["one", "two"]),
        pytest.raises(ConfigError, match="another session trades this account"),
    ):
        second.__enter__()


def test_other_folder_and_other_account_are_free(tmp_path: Path) -> None:
    with locked(tmp_path / "a", ["one"]), locked(tmp_path / "b", ["two"]):
        pass
    with locked(tmp_path / "a", ["one"]):
        pass


def test_lock_that_was_refused_leaves_no_other_behind(tmp_path: Path) -> None:
    with locked(tmp_path / "a", ["two"]):
        with pytest.raises(ConfigError), locked(tmp_path / "b", ["one", "two"]):
            pass
        with locked(tmp_path / "b", ["one"]):
            pass


def test_mark_tells_accounts_apart_and_none_away() -> None:
    assert mark_of("101-004-1234567-001") != mark_of("101-004-1234567-002")
    assert "1234567" not in mark_of("101-004-1234567-001") and len(mark_of("")) == 16
