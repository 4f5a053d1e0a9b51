"""What the demonstration leaves behind can be used as it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from ffe import load_settings
from ffe.data.cache import Cache
from ffe.demo import stress_run
from ffe.research.rerun import plan_of, rerun

pytestmark = pytest.mark.slow


def test_the_stress_run_replays_from_what_is_on_disk_and_its_bars_pass_for_no_real_ones(tmp_path: Path) -> None:
    settings = load_settings().but(data_folder=tmp_path)
    folder = stress_run(settings).folder
    assert rerun(folder, plan_of(folder, tmp_path)) is None
    known = {(i.venue, i.symbol) for i in map(settings.instrument, settings.instruments)}
    assert not known & {(held.venue, held.symbol) for held in Cache(settings.cache_path).series()}
