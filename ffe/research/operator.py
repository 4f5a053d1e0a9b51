"""The operator of a backtest: a script of commands, and a hand that re-arms in the morning.

By default every latch is re-armed at the first change of day after it at which all that is ours is flat, never in the
instant of the latch itself. A re-arm that finds nothing to clear is no command.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from ffe.engine import Engine
from ffe.errors import ConfigError
from ffe.model import DAY, Act, Command, Nanos


class ScriptedOperator:
    def __init__(self, engine: Engine, script: Sequence[Command] = (), re_arms_daily: bool = True) -> None:
        for command in script:
            _check(command, engine)
        self.engine, self.re_arms_daily = engine, re_arms_daily
        self.script = deque(sorted(script, key=lambda command: command.time))

    def due(self, time: Nanos) -> Iterable[Command]:
        """The commands given by now; asked after the Bars of an instant, each once the one before it was obeyed."""
        is_given = bool(self.script) and self.script[0].time <= time
        return self._commands(time) if is_given or self.engine.guard.is_latched else ()

    def _commands(self, time: Nanos) -> Iterator[Command]:
        while self.script and self.script[0].time <= time:
            command = self.script.popleft()
            if command.act is not Act.RE_ARM or self._has_something_to_clear():
                yield replace(command, time=time)  # it was given since the Bars before; no event's time goes back
        if self.re_arms_daily and self._is_morning_after(time):
            yield Command(time, Act.RE_ARM, "the scripted operator")

    def _has_something_to_clear(self) -> bool:
        return bool(self.engine.guard.is_latched or self.engine.guard.disagreements)

    def _is_morning_after(self, time: Nanos) -> bool:
        latched_at = self.engine.guard.latched_at
        return time % DAY == 0 and latched_at is not None and latched_at < time and self.engine.slots.is_empty


def _check(command: Command, engine: Engine) -> None:
    """To close one instrument one has to be named: without a name all would be closed."""
    if command.act is Act.CLOSE and command.instrument not in engine.universe:
        known = ", ".join(instrument.id for instrument in engine.universe)
        raise ConfigError(
            f"A script closes {command.instrument or 'an instrument that it does not name'}: Act.CLOSE needs one of "
            f"{known}; Act.CLOSE_ALL closes everything."
        )
