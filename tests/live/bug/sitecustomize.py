"""Before anything of a process runs: a fault of our own is put into its engine."""

from __future__ import annotations

from typing import NoReturn

from ffe.live.setup import Setup


def stamp(setup: Setup) -> NoReturn:
    raise RuntimeError("a bug of ours")


Setup.stamp = stamp  # type: ignore[method-assign]
