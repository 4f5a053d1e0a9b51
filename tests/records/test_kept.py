"""The heads that are kept: the newest of each folder and session, whatever a record calls itself."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ffe.errors import ConfigError
from ffe.private import state_folder, write_own
from ffe.records import kept
from ffe.records.kept import keep

SESSION = "0123456789abcdef" * 2


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(kept, "state_folder", lambda: tmp_path / "state")
    return tmp_path / "state"


def test_newest_head_of_a_folder_and_of_a_session_is_kept(tmp_path: Path) -> None:
    for head in ("a", "b"):
        keep(tmp_path / "run", SESSION, head)
    assert kept.kept(tmp_path / "run", []) == ["b"] == kept.kept(tmp_path / "elsewhere", [SESSION])
    assert kept.kept(tmp_path / "elsewhere", []) == []


@pytest.mark.parametrize("name", ["", ".", "../heads/x", "\0", "\ud800", "/etc/passwd", "x" * 5_000, "closing x at 1"])
def test_what_is_no_sessions_name_names_no_file(tmp_path: Path, state: Path, name: str) -> None:
    keep(tmp_path / "run", name, "a")
    assert kept.kept(tmp_path / "run", [name]) == ["a"] and len([*(state / "heads").iterdir()]) == 1


def test_folder_whose_name_is_no_text_has_a_head(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(bytes(tmp_path) + b"/\xff"))
    keep(folder, SESSION, "a")
    assert kept.kept(folder, []) == ["a"]


def test_head_that_cannot_be_written_leaves_the_one_before(tmp_path: Path, state: Path) -> None:
    """It was emptied first: on a full disk nothing was known of a run any more."""
    keep(tmp_path / "run", SESSION, "a")
    for path in list((state / "heads").iterdir()):
        path.with_name(f".{path.name}.new").mkdir()
    keep(tmp_path / "run", SESSION, "b")
    assert kept.kept(tmp_path / "run", [SESSION]) == ["a"]


def test_file_of_ones_own_replaces_a_link_and_follows_none(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("kept")
    (tmp_path / "mine").symlink_to(tmp_path / "other")
    write_own(tmp_path / "mine", "new")
    assert (tmp_path / "mine").read_text() == "new" and (tmp_path / "other").read_text() == "kept"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "other"]


def test_user_without_an_entry_is_told_and_loses_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container: every run ended in a traceback."""
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 7)
    with pytest.raises(ConfigError, match="is not among this machine's users"):
        state_folder()
    monkeypatch.setattr(kept, "state_folder", state_folder)
    keep(tmp_path / "run", SESSION, "a")
    assert kept.kept(tmp_path / "run", [SESSION]) == []
