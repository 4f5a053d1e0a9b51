"""A live session's journal, run again, is the same bytes: every event, step, state and decision of it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from ffe.live.rerun import rerun, span_of
from ffe.private import state_folder
from ffe.records import kept
from ffe.records.reader import records
from tests.live.street import Street, session


@pytest.mark.slow
def test_sessions_replay_byte_for_byte_the_one_that_was_killed_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Street(tmp_path) as street:
        for ends in (True, False, True):
            with session(street) as one:
                one.until(lambda status: status.get("life") == "trading" and status["trades"])
                time.sleep(5.0)
                one.stop() if ends else one.kill()
        monkeypatch.chdir(tmp_path)  # a strategy's file is named as it was from there
        monkeypatch.setattr(kept, "state_folder", state_folder)  # the sessions kept their heads there
        data = tmp_path / "data"
        names = list(dict.fromkeys(record.stamp.session for record in records(data)))
        assert len(names) == 3
        for name in names:
            span = span_of(data, name)
            assert len(span.of("event")) > 20 and len(span.of("step")) > 10
            assert rerun(data, name) is None
        # An exit that no strategy asked for has no signal, and so no confidence that could be changed.
        record = max((r for r in records(data) if r.decision.signal), key=lambda record: record.decision.time)
        file = Path(record.where)
        file.write_text(file.read_text().replace('"confidence":85', '"confidence":86'))
        assert rerun(data, record.stamp.session) is not None
