"""The states of a session, and which may follow which."""

from __future__ import annotations

from itertools import product

import pytest

from ffe.live.life import NEXT, Life, turned

LEGAL = {
    (Life.CONFIGURED, Life.RECOVERING), (Life.CONFIGURED, Life.FAILED), (Life.RECOVERING, Life.READY),
    (Life.RECOVERING, Life.FAILED), (Life.READY, Life.TRADING), (Life.READY, Life.STOPPING), (Life.READY, Life.FAILED),
    (Life.TRADING, Life.READY), (Life.TRADING, Life.STOPPING), (Life.TRADING, Life.FAILED),
    (Life.STOPPING, Life.STOPPED), (Life.STOPPING, Life.FAILED),
}  # fmt: skip


@pytest.mark.parametrize(("before", "after"), list(product(Life, Life)))
def test_state_follows_only_where_it_may(before: Life, after: Life) -> None:
    if (before, after) in LEGAL:
        assert turned(before, after) is after
        return
    with pytest.raises(RuntimeError, match=f"{before} cannot become {after}"):
        turned(before, after)


def test_every_state_has_its_row() -> None:
    assert set(NEXT) == set(Life)
