"""What is read out of a journal: the newest state, the orders that left after it, and whose it is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from ffe.book import Book, Position
from ffe.errors import Tampered
from ffe.live.recovery import Left, left_in
from ffe.model import (
    DAY,
    Account,
    AccountKind,
    AccountRead,
    Approved,
    AssetClass,
    Cancel,
    Change,
    Currency,
    Exit,
    Instrument,
    InstrumentId,
    Intent,
    Nanos,
    OrderId,
    Protect,
    Purpose,
    Query,
    Quotes,
    Role,
    Side,
    Step,
    Symbol,
    Ticket,
    Universe,
    Venue,
)  # fmt: skip
from ffe.records.encode import Json, Stamp, canonical, encode_value, loads
from ffe.records.journal import LiveJournal
from ffe.risk.gatekeeper import Reducer
from ffe.risk.limits import GateLimits

HERE, USDT = Venue("here"), Currency("USDT")
THERE = Venue("there")
BTC = Instrument(HERE, Symbol("BTC/USDT"), AssetClass.CRYPTO, Currency("BTC"), USDT, "24/7", lot=1e-5)
ETH = Instrument(THERE, Symbol("ETH/USDT"), AssetClass.CRYPTO, Currency("ETH"), USDT, "24/7", lot=1e-5)
UNIVERSE = Universe((BTC,), (Account(HERE, AccountKind.SPOT, USDT),), USDT)
BOTH = Universe((BTC, ETH), (*UNIVERSE.accounts.values(), Account(THERE, AccountKind.SPOT, USDT)), USDT)
START: Nanos = 20_000 * DAY
MARKS = {"here": "a mark"}
SOMETHING = Step(0.0, changes=(Change("slot", "free", "held"),))


def head(name: str = "Holds", marks: Mapping[str, str] = MARKS) -> dict[str, Json]:
    """Of a session with an account at each venue that has a mark."""
    universe = BOTH if THERE in marks else UNIVERSE
    value = {
        "strategy": name, "traded": encode_value(universe.instruments), "others": [], "currency": "USDT",
        "accounts": encode_value(tuple(universe.accounts.values())), "marks": dict(marks),
    }  # fmt: skip
    return dict(loads(canonical(value)))  # type: ignore[call-overload]


def trade(slot: int, instrument: InstrumentId, *orders: str, opened: Nanos = START) -> Json:
    """With these protections under way."""
    flights = [{"order": order, "role": "protect", "qty": "0.5", "sent": opened + 1} for order in orders]
    return {
        "slot": slot, "instrument": instrument, "side": 1, "opened": opened, "qty": 0.5, "stop": 49_000.0,
        "target": None, "flights": flights,
    }  # fmt: skip


def state(*orders: str, opened: Nanos = START) -> Json:
    """One trade with these protections under way."""
    return {
        "book": encode_value(Book(UNIVERSE, 1).save()),
        "slots": {
            "trades": [trade(0, BTC.id, *orders, opened=opened), None],
            "orders": [[order, 0] for order in (*orders, "an ended one")],
        },
    }


def state_at(*instruments: Instrument) -> Json:
    """A session with an account at both venues, with a trade of each of these."""
    book = Book(BOTH, 1)
    for account in BOTH.accounts.values():
        book.apply(AccountRead(START, account.venue, None, (), ()))
    for instrument in instruments:
        book.ledgers[instrument.venue].ours[instrument.id] = Position(0.5, 50_000.0, 25_000.0)
        book.ledgers[instrument.venue].foreign[instrument.id] = Position(2.0, 50_000.0, 100_000.0)
    trades = [trade(n, i.id, f"stop of {i.id}") for n, i in enumerate(instruments)]
    orders: list[Json] = [[f"stop of {i.id}", n] for n, i in enumerate(instruments)]
    return {"book": encode_value(book.save()), "slots": {"trades": trades, "orders": orders}}


class Session:
    """A session's journal, or a closing's, line by line."""

    def __init__(
        self, root: Path, kept: Json = None, name: str = "Holds", at: Nanos = START, marks: Mapping[str, str] = MARKS
    ) -> None:
        self.kept, self.now = kept, at
        body = head(name, marks) if name else {"closes": "a session"}
        self.journal = LiveJournal(root, Stamp(name or "closing", "code", "", ""), body, lambda: self.kept)

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.journal.close()

    def event(self) -> None:
        self.now += 1
        self.journal.event(Quotes(self.now, ()))

    def step(self, step: Step = SOMETHING, kept: Json = None) -> None:
        self.kept = kept or self.kept
        self.event()
        self.journal.step(step)


def leaving(*orders: Exit | Protect | Cancel | Query) -> Step:
    return Step(0.0, orders=orders)


def key() -> Approved:
    intent = Intent(Purpose.EXIT, BTC.id, Side.SHORT, 0.5, 50_000.0, None, None, "a test")
    approved = Reducer(GateLimits()).reduce(intent, 0.5, AssetClass.CRYPTO)
    assert approved is not None
    return approved


def exit_(id: str) -> Exit:
    return Exit(OrderId(id), key())


def protect(id: str) -> Protect:
    return Protect(OrderId(id), key(), 49_000.0, float("nan"))


def files(root: Path) -> list[Path]:
    return sorted((root / "journal").glob("*.jsonl"))


# ---------------------------------------------------------------- the newest state


def test_folder_without_a_journal_has_nothing_left(tmp_path: Path) -> None:
    assert left_in(tmp_path) == Left()


def test_newest_state_is_what_is_left(tmp_path: Path) -> None:
    with Session(tmp_path) as session:
        session.step(kept=state("old"))
        session.step(kept=state("new"))
        session.event()
    left = left_in(tmp_path)
    assert [ticket.id for ticket in left.orders()] == ["new"] and left.ids() == {"new", "an ended one"}
    (trade,) = left.trades()
    assert (trade.instrument, trade.side, trade.qty, trade.stop) == (BTC.id, Side.LONG, 0.5, 49_000.0)


def test_session_is_the_newest_and_a_closing_is_none(tmp_path: Path) -> None:
    with Session(tmp_path, name="First") as session:
        session.step(kept=state("a"))
    with Session(tmp_path, name="Second") as session:
        session.journal.resume(session.now, state("a"), [])
    with Session(tmp_path, name="") as closing:
        closing.event()
    left = left_in(tmp_path)
    assert left.session == "Second" and left.head is not None and left.head["strategy"] == "Second"
    assert left.marks() == {HERE: "a mark"} and left.universe().instruments == UNIVERSE.instruments


def test_session_that_has_kept_no_state_yet_goes_on_from_the_one_before(tmp_path: Path) -> None:
    """It was killed before its first step."""
    with Session(tmp_path, name="First") as session:
        session.step(kept=state("a"))
    with Session(tmp_path, name="Second") as session:
        session.event()
    assert left_in(tmp_path).session == "Second" and len(left_in(tmp_path).trades()) == 1


def test_state_of_an_earlier_day_is_found_behind_a_supervisors_days(tmp_path: Path) -> None:
    with Session(tmp_path) as session:
        session.step(kept=state("a"))
    for n in (1, 2):
        with Session(tmp_path, name="", at=START + n * DAY) as closing:
            closing.step(leaving(exit_(f"exit {n}")))
    left = left_in(tmp_path)
    assert len(files(tmp_path)) == 3 and left.session == "Holds"
    assert [ticket.id for ticket in left.sent] == ["exit 1", "exit 2"]


def test_time_is_the_newest_events(tmp_path: Path) -> None:
    with Session(tmp_path) as session:
        session.step(kept=state("a"))
        session.event()
    assert left_in(tmp_path).time == session.now


# ---------------------------------------------------------------- what left after it


def test_exits_and_stops_of_a_closing_are_known(tmp_path: Path) -> None:
    """A stop that it put back would get a second one beside it, or open a position once all is sold."""
    with Session(tmp_path) as session:
        session.step(kept=state("a"))
    with Session(tmp_path, name="") as closing:
        closing.step(leaving(exit_("exit")))
        closing.step(leaving(protect("stop")))
    left = left_in(tmp_path)
    assert [(t.id, t.role, t.instrument, t.side, t.qty) for t in left.sent] == [
        ("exit", Role.EXIT, BTC.id, Side.SHORT, 0.5), ("stop", Role.PROTECT, BTC.id, Side.SHORT, 0.5),
    ]  # fmt: skip
    assert [ticket.id for ticket in left.orders()] == ["a", "exit", "stop"] and {"exit", "stop"} <= left.ids()


def test_cancellations_and_questions_of_a_closing_are_no_orders(tmp_path: Path) -> None:
    with Session(tmp_path) as session:
        session.step(kept=state("a"))
    with Session(tmp_path, name="") as closing:
        closing.step(leaving(Cancel(HERE, OrderId("a")), Query(HERE, OrderId("a"))))
    assert left_in(tmp_path).sent == ()


def test_two_closings_add_up(tmp_path: Path) -> None:
    """The second crash."""
    with Session(tmp_path) as session:
        session.step(kept=state("a"))
    for n in (1, 2):
        with Session(tmp_path, name="") as closing:
            closing.step(leaving(exit_(f"exit {n}")))
    assert [ticket.id for ticket in left_in(tmp_path).sent] == ["exit 1", "exit 2"]


def test_session_that_went_on_knows_them_by_itself(tmp_path: Path) -> None:
    with Session(tmp_path) as session:
        session.step(kept=state("a"))
    with Session(tmp_path, name="") as closing:
        closing.step(leaving(exit_("exit")))
    sent = encode_value(left_in(tmp_path).sent)
    with Session(tmp_path, name="Next") as session:
        session.journal.resume(session.now, state("a"), sent)
        assert [ticket.id for ticket in left_in(tmp_path).sent] == ["exit"]
        session.step(kept=state("b"))
    assert left_in(tmp_path).sent == () and [t.id for t in left_in(tmp_path).orders()] == ["b"]


# ---------------------------------------------------------------- what cannot be read


def spoilt(root: Path, line: int, text: bytes) -> None:
    (path,) = files(root)
    lines = path.read_bytes().splitlines(keepends=True)
    lines[line] = text
    path.write_bytes(b"".join(lines))


@pytest.mark.parametrize("text", [b"nonsense\n", b"{}\n", b"\x00\n", b'{"kind":"step"}\n'])
def test_line_that_cannot_be_read_is_named(tmp_path: Path, text: bytes) -> None:
    with Session(tmp_path) as session:
        session.step(kept=state("a"))
        session.event()
    spoilt(tmp_path, -2, text)
    with pytest.raises(Tampered, match=r"\.jsonl:\d"):
        left_in(tmp_path)


def test_line_before_the_newest_state_is_not_needed(tmp_path: Path) -> None:
    with Session(tmp_path) as session:
        session.event()
        session.step(kept=state("a"))
    spoilt(tmp_path, 2, b"nonsense\n")
    assert len(left_in(tmp_path).trades()) == 1


def test_half_a_line_at_the_end_is_none(tmp_path: Path) -> None:
    with Session(tmp_path) as session:
        session.step(kept=state("a"))
        session.step(kept=state("b"))
    (path,) = files(tmp_path)
    whole = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(whole[:-2]) + whole[-2][:80])
    assert [ticket.id for ticket in left_in(tmp_path).orders()] == ["a"]


def test_state_without_a_session_is_refused(tmp_path: Path) -> None:
    with Session(tmp_path, name="") as closing:
        closing.step(kept=state("a"))
    with pytest.raises(Tampered, match="a state and no session"):
        left_in(tmp_path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"slots":', '"places":'), ('"trades":', '"deals":'), ('"orders":', '"papers":'), ('"ledgers":', '"pages":'),
        ('"side":1', '"side":7'), ('"role":"protect"', '"role":"nobody"'),
        ('"instrument":"here:BTC', '"instrument":7,"x":"'), ('"instrument":"here:BTC', '"instrument":"here:DOGE'),
    ],
)  # fmt: skip
def test_state_that_does_not_fit_is_refused(old: str, new: str) -> None:
    kept = loads(canonical(state("a")).replace(old, new))
    left = Left("a session", head(), kept)  # type: ignore[arg-type]
    with pytest.raises(Tampered, match="the journal's newest state"):
        left.check()


def test_state_that_fits_is_taken() -> None:
    Left("a session", head(), state("a")).check()  # type: ignore[arg-type]
    Left().check()


# ---------------------------------------------------------------- what another journal tells of since


def two_accounts(*instruments: Instrument) -> Left:
    sent = (Ticket(OrderId("an exit"), Role.EXIT, ETH.id, Side.SHORT, 0.5),)
    return Left("a session", head(marks={"here": "one", "there": "two"}), state_at(*instruments), sent)  # type: ignore[arg-type]


def test_what_is_left_out_of_a_state_is_gone_whole_and_the_rest_is_as_it_was() -> None:
    left = two_accounts(BTC, ETH)
    rest = left.without({THERE})
    assert [trade.instrument for trade in rest.trades()] == [BTC.id] and rest.sent == ()
    assert rest.held() == {BTC.id} and rest.ids() == {f"stop of {BTC.id}"}
    book, before = rest.book(BOTH, 1), left.book(BOTH, 1)
    assert book.opened == {HERE} and before.opened == {HERE, THERE}, "its account is opened as if new"
    assert book.ledgers[HERE].save() == before.ledgers[HERE].save()
    assert left.without(set()) is left and Left().without({HERE}) == Left()


def test_slot_of_what_is_left_out_is_free_and_others_keep_theirs() -> None:
    rest = two_accounts(ETH, BTC).without({THERE})
    (trade,) = rest.trades()
    assert (trade.slot, trade.instrument) == (1, BTC.id)


def test_journal_knows_the_accounts_of_its_newest_session() -> None:
    left = two_accounts(ETH)
    assert left.knows("one") and left.knows("two") and not left.knows("three")
    assert left.is_trading("two") and not left.is_trading("one")
    assert not Left("a session", head(), None).knows("a mark"), "no state, nothing that is known"  # type: ignore[arg-type]
    older = Left("a session", head(marks={}), state("a"))  # type: ignore[arg-type]
    assert older.knows("any") and older.is_trading("any"), "it is of before marks"


# ---------------------------------------------------------------- what an adapter is given


def test_account_that_was_never_read_has_no_past() -> None:
    left = Left("a session", head(), state("a"))  # type: ignore[arg-type]
    book = left.book(UNIVERSE, 1)
    assert left.past(HERE, book) is None
    book.opened.add(HERE)
    past = left.past(HERE, book)
    assert past is not None and [ticket.id for ticket in past.orders] == ["a"] and past.ids == left.ids()


def test_trades_are_looked_at_from_two_days_before_the_oldest_that_is_open() -> None:
    left = Left("a session", head(), state("a", opened=START))  # type: ignore[arg-type]
    book = left.book(left.universe(), 1)
    assert left.since(START + 9 * DAY, HERE, book) == START - 2 * DAY
    assert Left().since(START, HERE, book) == START - 2 * DAY
    book.opened.clear()
    for time in (START - DAY, START + DAY):
        book.apply(AccountRead(time, HERE, None, (), ()))
    assert left.since(START + 9 * DAY, HERE, book) == START - DAY, "what was traded before is in the opening"
    assert left.held() == {InstrumentId("here:BTC/USDT")}
