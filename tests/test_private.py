"""Folders are their owner's alone, and lie where nobody else can move them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ffe.errors import ConfigError, NotWritable
from ffe.private import closed_folder, own_folder


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "around").mkdir()
    (tmp_path / "around" / "own").mkdir(mode=0o700)
    return tmp_path / "around"


@pytest.mark.parametrize("mode", [0o757, 0o777, 0o722, 0o702])
def test_folder_that_others_could_move_is_refused_with_what_mends_it(place: Path, mode: int) -> None:
    """Its own bits were looked at alone: whoever may write around it puts another in its place."""
    place.chmod(mode)
    with pytest.raises(ConfigError, match=f"which others may write to. Close it: chmod go-w {place}"):
        own_folder(place / "own")


@pytest.mark.parametrize("mode", [0o755, 0o700, 0o1777, 0o711])
def test_folder_that_nobody_can_move_is_taken(place: Path, mode: int) -> None:
    place.chmod(mode)
    assert own_folder(place / "own") == place / "own"


def test_group_of_ones_own_is_nobody_else(place: Path) -> None:
    place.chmod(0o775)
    assert own_folder(place / "own")


@pytest.mark.skipif(os.getuid() != 0, reason="to give a folder away takes root")
def test_folder_in_somebody_elses_or_of_a_group_of_others_is_refused(place: Path) -> None:
    os.chown(place, 65_534, -1)
    with pytest.raises(ConfigError, match="which belongs to another user"):
        own_folder(place / "own")
    os.chown(place, 0, 65_534)
    place.chmod(0o775)
    with pytest.raises(ConfigError, match="which others may write to"):
        own_folder(place / "own")


def test_way_through_a_link_is_looked_at_where_it_leads(place: Path) -> None:
    link = place.parent / "link"
    link.symlink_to(place / "own")
    place.chmod(0o777)
    with pytest.raises(ConfigError, match="which others may write to"):
        own_folder(link / "deeper")


def test_folder_of_bars_and_runs_may_be_read_by_others_and_written_by_none(place: Path) -> None:
    for mode in (0o755, 0o775, 0o1777):
        place.chmod(mode)
        assert closed_folder(place) == place
    place.chmod(0o757)
    with pytest.raises(ConfigError, match=f"can be written to by anybody. Close it: chmod o-w {place}"):
        closed_folder(place)


def test_folder_that_cannot_be_made_is_told(place: Path) -> None:
    (place / "file").write_text("")
    with pytest.raises(NotWritable, match="It must be a folder that you can write to"):
        own_folder(place / "file" / "own")
