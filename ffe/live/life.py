"""The life of a live session: its states, and which may follow which.

    CONFIGURED ─► RECOVERING ─► READY ─► TRADING ─► STOPPING ─► STOPPED
                       │          ▲ ▼       │
                       └──────────┴─────────┴─► FAILED

RECOVERING reads the journal and asks the venues; READY runs, and takes no entry before every venue agrees with the
book; TRADING is ACTIVE or REDUCING or HALTED, as the engine says; STOPPING waits until what is open is protected.
"""

from __future__ import annotations

from enum import StrEnum


class Life(StrEnum):
    CONFIGURED = "configured"
    RECOVERING = "recovering"
    READY = "ready"
    TRADING = "trading"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"


NEXT: dict[Life, frozenset[Life]] = {
    Life.CONFIGURED: frozenset({Life.RECOVERING, Life.FAILED}),
    Life.RECOVERING: frozenset({Life.READY, Life.FAILED}),
    Life.READY: frozenset({Life.TRADING, Life.STOPPING, Life.FAILED}),
    Life.TRADING: frozenset({Life.READY, Life.STOPPING, Life.FAILED}),
    Life.STOPPING: frozenset({Life.STOPPED, Life.FAILED}),
    Life.STOPPED: frozenset(),
    Life.FAILED: frozenset(),
}


def turned(before: Life, after: Life) -> Life:
    """The state after a legal change; an illegal one is a fault of ours."""
    if after not in NEXT[before]:
        raise RuntimeError(f"a session that is {before} cannot become {after}")
    return after
