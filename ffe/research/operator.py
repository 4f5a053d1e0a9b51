"""The operator of a backtest: a script of commands, and a hand that re-arms in the morning.

By default every latch is re-armed at the first change of day after it at which all that is ours is flat, never in the
instant of the latch itself.
"""

from __future__ import annotations

from collections.abc import Sequence

from ffe.engine import Engine
from ffe.model import DAY, Act, Command, Nanos


class ScriptedOperator:
    def __init__(self, engine: Engine, script: Sequence[Command] = (), re_arms_daily: bool = True) -> None:
        self.engine, self.re_arms_daily = engine, re_arms_daily
        self.script = sorted(script, key=lambda command: command.time)
        self.re_arms = 0
        self._latched_at: Nanos | None = None

    def due(self, time: Nanos) -> Sequence[Command]:
        """The commands given by now; asked after the Bars of an instant."""
        given = [command for command in self.script if command.time <= time] if self.script else []
        self.script = self.script[len(given) :] if given else self.script
        return [*given, *self._re_arm(time)] if given or self.engine.guard.latches else []

    def _re_arm(self, time: Nanos) -> list[Command]:
        if not self.re_arms_daily or not self.engine.guard.latches:
            return []
        if self._latched_at is None:
            self._latched_at = time
        is_new_day = time % DAY == 0 and time > self._latched_at
        if not is_new_day or not self.engine.slots.is_empty:
            return []
        self.re_arms += 1
        self._latched_at = None
        return [Command(time, Act.RE_ARM, "the scripted operator")]
