"""What is left of ours at one venue: by the fills, and by what its account shows. Pure: time is an argument.

Two witnesses: fills and the account. Where both say that a position is gone it is proven at once. Where they contradict
each other (an account that lags, a balance that an answer leaves out, coins that somebody sold or bought by hand) the
account's reading has to stand unchanged for the venue's horizon.
"""

from __future__ import annotations

from collections.abc import Iterable

from ffe.book import FLAT, Book
from ffe.model import Account, AccountKind, AccountRead, Answer, InstrumentId, Nanos, Qty, Side
from ffe.rounding import is_dust


class Holdings:
    """The positions of these instruments, each of a trade of ours on a side."""

    def __init__(self, book: Book, account: Account, sides: dict[InstrumentId, Side]) -> None:
        self.book, self.account, self.sides = book, account, sides
        self.reading: AccountRead | None = None  # the newest answer to the newest question
        self._others: dict[InstrumentId, Qty] = {}  # what was not ours before anything of ours was closed
        self._contradicted: dict[InstrumentId, tuple[Qty, Nanos]] = {}  # by which reading, and since when

    def apply(self, answer: Answer) -> None:
        self.book.apply(answer)
        if isinstance(answer, AccountRead):
            self.reading = answer

    # ------------------------------------------------------------ by the fills

    def held(self, id: InstrumentId) -> Qty:
        """What is ours and can be sold: on its trade's side alone. Where somebody sold more by hand than was ours, the
        fills leave something on the other side, and to close that would buy."""
        qty = self.book.ours(id).qty
        return qty if qty * self.sides.get(id, Side.FLAT) > 0.0 and not self.is_dust(id, qty) else 0.0

    def sellable(self, id: InstrumentId) -> Qty:
        """What of ours may be sold or locked now. Beside coins that are not ours it is no more than the account shows
        of ours: a journal that could not be written (its disk was full) does not know what the engine has sold."""
        held = self.held(id)
        if self.reading is None or self.account.kind is not AccountKind.SPOT or not self._foreign(id):
            return held
        qty = min(abs(held), abs(self._of_ours(id))) * self.sides.get(id, Side.FLAT)
        return 0.0 if self.is_dust(id, qty) else qty

    def is_dust(self, id: InstrumentId, qty: Qty) -> bool:
        return is_dust(self.book.universe[id], qty, self.book.mark(id))

    def nearly_dust(self) -> list[InstrumentId]:
        """Whose present price decides whether they can be sold: the journal's may be of yesterday."""
        return [id for id in self.sides if self.book.ours(id).qty and self._hangs_on_price(id)]

    def _hangs_on_price(self, id: InstrumentId) -> bool:
        instrument, value = self.book.universe[id], abs(self.book.value(id, self.book.ours(id).qty))
        return instrument.minimum_notional > 0.0 and not value > 3.0 * instrument.minimum_notional

    # ------------------------------------------------------------ by the account

    def is_beside_others(self, id: InstrumentId) -> bool:
        """Whether an order of ours could take what is not ours. MARGIN closes what is open and no more; on SPOT a sale
        without coins is refused, unless there are others."""
        shown = dict(self.reading.positions).get(id, 0.0) if self.reading else self.book.held(id)
        extra = abs(shown - self.book.ours(id).qty)
        return self.account.kind is AccountKind.SPOT and extra > self.book.universe[id].lot

    def note_others(self, unresolved: Iterable[InstrumentId]) -> None:
        """What the account holds on top of ours and of what was there before came by another's hand, and is not ours to
        close. It is noted before anything is closed, and not while orders of ours may explain it."""
        for id in set(self.sides) - set(unresolved):
            if self.reading is not None and self.held(id):
                others = self._shown(id) - self.book.ours(id).qty
                extra = others - self._foreign(id)
                if extra * self.sides[id] > 0.0 and not self.is_dust(id, extra):
                    self._others.setdefault(id, others)

    def is_gone(self, id: InstrumentId, now: Nanos) -> bool:
        """Whether it is proven that nothing of ours is left. A reading that changes by a lot begins its wait anew."""
        if self.reading is None:
            return False
        shown, by_fills = self._of_ours(id), not self.held(id)
        if by_fills is self.is_dust(id, shown):
            self._contradicted.pop(id, None)
            return by_fills
        before, since = self._contradicted.get(id, (shown, now))
        if abs(shown - before) > self.book.universe[id].lot:
            before, since = shown, now
        self._contradicted[id] = before, since
        return now >= since + self.account.horizon

    def remainder(self) -> dict[InstrumentId, Qty]:
        """What is left of ours, dust apart: by the account where it has answered, else by the fills."""
        left = {id: self._of_ours(id) if self.reading else self.held(id) for id in self.sides}
        return {id: qty for id, qty in left.items() if not self.is_dust(id, qty)}

    def dust(self) -> dict[InstrumentId, Qty]:
        """What is left and cannot be sold."""
        left = {id: self.book.ours(id).qty for id in self.sides}
        return {id: qty for id, qty in left.items() if qty and self.is_dust(id, qty)}

    def _of_ours(self, id: InstrumentId) -> Qty:
        """What the newest reading can show of ours: on its trade's side, beyond what is not ours. That is what was
        there before and what others are known to have traded since, or, where their trades are not listed yet, what was
        not ours before we closed."""
        shown, side = self._shown(id), self.sides.get(id, Side.FLAT)
        others = self._foreign(id), self._others.get(id, self._foreign(id))
        beyond = min((shown - qty for qty in others), key=abs)
        return beyond if beyond * side > 0.0 else 0.0

    def _shown(self, id: InstrumentId) -> Qty:
        assert self.reading is not None
        return dict(self.reading.positions).get(id, 0.0)

    def _foreign(self, id: InstrumentId) -> Qty:
        return self.book.ledgers[self.account.venue].foreign.get(id, FLAT).qty
