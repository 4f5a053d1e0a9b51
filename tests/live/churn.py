"""Strategies that misbehave in ways that tests need. Each is loaded by a session of its own process."""

from collections.abc import Sequence

import numba

from ffe import Bars, Field, Side, Signal, Strategy, View
from ffe.model import Quotes


class Churn(Strategy):
    """Wants in and out of everything all the time."""

    every: int = Field(4, ge=2)

    @property
    def warmup(self) -> int:
        return 1

    def on_event(self, view: View) -> Sequence[Signal]:
        if not isinstance(view.event, Bars) or not view.event.bars:
            return []
        second = view.time // 10**9
        return [
            Signal(id, Side.LONG if (second + 2 * n) % self.every < self.every / 2 else Side.FLAT, 85, self.name)
            for n, id in enumerate(view.instruments)
            if (second + 2 * n) % self.every in (0, self.every // 2)
        ]


class Quick(Churn):
    """The same at every price, where the shortest bars are of a minute: in at once, for prices may be seconds apart on
    a busy machine, and out at every fourth turn."""

    def on_event(self, view: View) -> Sequence[Signal]:
        if not isinstance(view.event, Quotes) or not view.event.quotes:
            return []
        turn = view.time // (2 * 10**9)
        wanted = {id: Side.FLAT if view.position(id) else Side.LONG for id in view.instruments}
        return [
            Signal(id, side, 85, self.name)
            for n, (id, side) in enumerate(wanted.items())
            if ((turn + n) % self.every == 0 if side is Side.FLAT else not view.is_busy(id))
        ]


class Idle(Strategy):
    """Wants nothing."""

    @property
    def warmup(self) -> int:
        return 1

    def on_event(self, view: View) -> Sequence[Signal]:
        return []


class Holds(Strategy):
    """Buys one thing once and keeps it."""

    @property
    def warmup(self) -> int:
        return 1

    def on_event(self, view: View) -> Sequence[Signal]:
        first = view.instruments[0]
        if not isinstance(view.event, Bars) or view.is_busy(first):
            return []
        return [Signal(first, Side.LONG, 85, self.name)]


class HoldsAtOnce(Holds):
    """The same at the first price, where the shortest bars are of a minute."""

    def on_event(self, view: View) -> Sequence[Signal]:
        first = view.instruments[0]
        if not isinstance(view.event, Quotes) or view.is_busy(first):
            return []
        return [Signal(first, Side.LONG, 85, self.name)]


class Spins(Holds):
    """Holds, and a while later never comes back from a Python loop."""

    seconds: int = 4
    _since: list[int] = []  # noqa: RUF012 (pydantic copies it)

    def on_event(self, view: View) -> Sequence[Signal]:
        if view.position(view.instruments[0]):
            self._since.append(view.time)
        if self._since and view.time > self._since[0] + self.seconds * 10**9:
            self.spin()
        return super().on_event(view)

    def spin(self) -> None:
        while True:
            pass


@numba.njit
def forever() -> int:
    n = 0
    while n >= 0:
        n = (n + 1) % 1_000_003
    return n


class SpinsCompiled(Spins):
    """The same in compiled code, which lets no signal handler of Python's run."""

    def spin(self) -> None:
        forever()


class Raises(Spins):
    """Holds, and a while later raises."""

    def spin(self) -> None:
        raise ValueError("a thought that went wrong")


class HoldsAll(Strategy):
    """Buys everything once and keeps it."""

    @property
    def warmup(self) -> int:
        return 1

    def on_event(self, view: View) -> Sequence[Signal]:
        if not isinstance(view.event, Bars):
            return []
        return [Signal(id, Side.LONG, 85, self.name) for id in view.instruments if not view.is_busy(id)]
