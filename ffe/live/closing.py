"""From a session's folder to its venues, without its engine: close, look, secure, show what is there.

A journal that is lost, cannot be read, or is of another account does not tell what is ours. Such a venue is asked, what
it shows is reported, and it counts as flat only if it shows nothing at all.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from ffe.book import FLAT
from ffe.brokers.venue import VenueBroker
from ffe.config import Settings, load_secrets
from ffe.errors import ConfigError, FfeError, NotWritable, RecordError, Tampered, UnknownSymbol
from ffe.live.accounts import Reach, Unsettled, all_of, is_of_another, known_by, knows_an_order
from ffe.live.actions import OpenedTrade, Remainder, Report
from ffe.live.closer import Exits, Liquidator, LogJournal, Standing, Timer
from ffe.live.connect import Connector, connectors
from ffe.live.orders_out import OrdersOut
from ffe.live.reading import NoReading, Reading, VenueReader
from ffe.live.recovery import Left, Leftover
from ffe.live.sweep import Sweep
from ffe.live.task import Task
from ffe.model import (
    SECOND,
    Currency,
    Event,
    InstrumentId,
    Known,
    Nanos,
    OrderId,
    Qty,
    Query,
    Quote,
    Quotes,
    Role,
    Step,
    Universe,
    Venue,
)
from ffe.model import Report as Answered
from ffe.ports import Journal, Written
from ffe.records.encode import Stamp
from ffe.records.journal import LiveJournal
from ffe.records.kept import keep
from ffe.research.code import code_version
from ffe.risk.gatekeeper import Reducer
from ffe.rounding import is_dust
from ffe.session import Session

log = logging.getLogger(__name__)

MENDED_WITHIN: Nanos = 5 * SECOND  # a key, a folder or a network may have been mended then
SECURE_PAUSE: Nanos = SECOND
SURVEY_TRIES, SURVEY_PAUSE = 3, 2 * SECOND

NEXT_STEP = (
    "Close by hand at the venue what is ours, or close all that was shown: ffe stop --force --everything ACCOUNT_ID"
)

GOOD = (Standing.FLAT, Standing.PROTECTED)
Say = Callable[[str], None]
T = TypeVar("T")
R = TypeVar("R")
REAL = Timer(time.time_ns, lambda nanos: time.sleep(nanos / SECOND))


@dataclass(frozen=True, slots=True)
class Place:
    """Where a session was, what it was to do, and the time there."""

    folder: Path
    task: Task
    timer: Timer = REAL

    @property
    def settings(self) -> Settings:
        return self.task.settings

    def connectors(self) -> list[Connector]:
        """To the venues of all that the session was started for."""
        return connectors(self.settings, self.task.concerned, load_secrets(), self.task.armed)

    def reach(self) -> Reach:
        """What it has to do with, as the journals tell now."""
        return all_of(self.settings.but(data_folder=self.folder), self.task.concerned, load_secrets(), self.task.armed)


# ---------------------------------------------------------------- what the journal tells


@dataclass(frozen=True, slots=True)
class Accounts:
    """The venues of a session: those of which the journal tells what is ours, and those of which it does not, with
    why."""

    left: Left
    told: tuple[Connector, ...]
    untold: tuple[tuple[Connector, str], ...]


def accounts_of(place: Place) -> Accounts:
    """As far as the session reached: what it went on from may stand in another folder until its own journal has a
    state. ConfigError where a venue cannot be connected to at all."""
    asked: Sequence[Connector] = place.connectors()
    try:
        reach = place.reach()
        left, asked, why = reach.left, reach.connectors, ""
        left.check()
    except (RecordError, UnknownSymbol, Unsettled) as error:
        left, why = Left(), f"the journal cannot be read ({error})"
    found = [(connector, why or _untold(place, connector, left)) for connector in asked]
    told = tuple(connector for connector, reason in found if not reason)
    return Accounts(left, told, tuple((connector, reason) for connector, reason in found if reason))


def _untold(place: Place, connector: Connector, left: Left) -> str:
    """Why the journal does not tell what is ours at a venue; "" where it does."""
    (account,) = known_by([connector])
    if not account.may_write_to(place.folder.resolve()):
        return f"the account is traded from {account.data_folder()} now, whose journal tells what is ours"
    if left.state is None or left.head is None:
        return "the journal is missing or holds nothing"
    if connector.venue not in left.universe().accounts:
        return f"the journal knows no account at {connector.venue}"
    if is_of_another(left, connector) and not knows_an_order(connector, left, place.timer.now):
        return "the journal is of another account, or of another key, and the venue knows none of its orders"
    if connector.venue not in left.book(left.universe(), 1).opened:
        return "the journal ends before this account was read"
    return ""


def _reader(place: Place, connector: Connector, universe: Universe) -> VenueReader:
    now = place.timer.now
    return VenueReader(connector.broker(universe, now, now(), None), now)


# ---------------------------------------------------------------- closing


def close_all(place: Place, say: Say) -> Report:
    """Close what is ours at every venue, until all of them show flat; what can be mended meanwhile is said."""
    while True:
        try:
            return _close_all(place, say)
        except FfeError as error:
            say(str(error))
            place.timer.sleep(MENDED_WITHIN)


def _close_all(place: Place, say: Say) -> Report:
    """Each venue at once: what cannot be told at one is shown while another is closed."""
    accounts = accounts_of(place)

    def shown(pair: tuple[Connector, str]) -> Survey:
        survey = surveyed(place, *pair)
        say("\n".join(survey.lines))
        return survey

    with liquidators(place, accounts, say) as found, ThreadPoolExecutor(1, "survey") as pool:
        surveys = pool.submit(_at_once, shown, accounts.untold)
        _at_once(Liquidator.close, found)
    if unknown := [survey.connector.venue for survey in surveys.result() if not survey.is_flat]:
        return Report(False, (f"NOT KNOWN whether anything of ours is left at {', '.join(unknown)}. {NEXT_STEP}",))
    return Report(True, ("The venues show flat.",))


@contextmanager
def liquidators(place: Place, accounts: Accounts, say: Say) -> Iterator[list[Liquidator]]:
    """One for each venue of which the journal tells what is ours, over one journal."""
    if not accounts.told:
        yield []
        return
    left, session = accounts.left, f"closing {accounts.left.session} at {place.timer.now()}"
    universe, reducer, timer = left.universe(), Reducer(place.settings.gate), place.timer
    with ExitStack() as stack:
        journal = stack.enter_context(_journal(place, session, {"closes": left.session}))
        yield [
            Liquidator(
                _broker(place, c, universe, left), left, Exits(reducer, _session(session, c)), journal, timer, say
            )
            for c in accounts.told
        ]


def _broker(place: Place, connector: Connector, universe: Universe, left: Left) -> VenueBroker:
    book, now = left.book(universe, 1), place.timer.now
    since, past = left.since(now(), connector.venue, book), left.past(connector.venue, book)
    return connector.broker(universe, now, since, past)


def _session(name: str, connector: Connector) -> Session:
    """Ids differ from venue to venue: each counts its decisions from one."""
    return Session(f"{name} at {connector.venue}", 0)


@contextmanager
def _journal(place: Place, session: str, head: dict[str, str]) -> Iterator[Journal]:
    """The account's own; where it cannot be written, exits pass all the same."""
    try:
        stamp = Stamp(session, code_version(), place.settings.fingerprint(), "")
        journal = LiveJournal(place.folder, stamp, head, lambda: None)
    except (NotWritable, Tampered) as error:
        log.critical("%s", error)
        yield LogJournal()
        return
    try:
        yield SharedJournal(journal)
    finally:
        journal.close()
        keep(place.folder, session, journal.head)


class SharedJournal:
    """One journal for several threads."""

    def __init__(self, journal: Journal) -> None:
        self._journal, self._lock = journal, threading.Lock()

    def event(self, event: Event) -> None:
        with self._lock:
            self._journal.event(event)

    def step(self, step: Step) -> Written:
        with self._lock:
            return self._journal.step(step)


def _at_once(work: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """Each venue on a thread of its own: one that hangs holds up no other."""
    with ThreadPoolExecutor(max(1, len(items)), "venue") as pool:
        return [done.result() for done in [pool.submit(work, item) for item in items]]


# ---------------------------------------------------------------- an end


def secure(place: Place, may_close: bool, goes_on: Callable[[], bool], say: Say) -> Report:
    """See that each position of ours is behind a stop that its venue shows, or, if that is allowed and no stop is
    taken, closed; what was verified of each. It is tried until all of it is, or until it is not to go on."""
    while True:
        try:
            return _secure(place, may_close, goes_on, say)
        except FfeError as error:
            if not goes_on():
                return Report(False, (f"What is open, and whether its stops rest, is NOT KNOWN: {error}",))
            say(str(error))
            place.timer.sleep(SECURE_PAUSE)


def _secure(place: Place, may_close: bool, goes_on: Callable[[], bool], say: Say) -> Report:
    accounts = accounts_of(place)
    lines, is_good = ["Nothing of ours is open, as the journal knows."] if accounts.told else [], True
    if accounts.left.trades():
        with liquidators(place, accounts, say) as found:
            standings = _at_once(lambda one: one.secure(may_close), found)
            while goes_on() and not _are_good(standings):
                place.timer.sleep(SECURE_PAUSE)
                standings = _at_once(lambda one: one.secure(may_close), found)
            pairs, is_good = zip(found, standings, strict=True), _are_good(standings)
            lines = [_verified(one, id, standing) for one, by_id in pairs for id, standing in by_id.items()]
    for connector, why in accounts.untold:
        survey = surveyed(place, connector, why) if may_close else None
        lines += survey.lines if survey else [f"{connector.venue}: {why}; what is open there was not asked."]
        is_good = is_good and survey is not None and survey.is_flat
    return Report(is_good, tuple(lines))


def _are_good(standings: Sequence[Mapping[InstrumentId, Standing]]) -> bool:
    return all(standing in GOOD for by_id in standings for standing in by_id.values())


def open_trades(place: Place) -> tuple[OpenedTrade, ...]:
    """The trades that hold a slot, as the journal's newest state knows."""
    return tuple(OpenedTrade(trade.instrument, trade.opened, trade.qty) for trade in place.reach().left.trades())


def _verified(one: Liquidator, id: InstrumentId, standing: Standing) -> str:
    trade, held = one.trades[id], one.held(id)
    side = trade.side.name.lower()
    match standing:
        case Standing.FLAT:
            return f"{id}: nothing of ours is left, as the venue shows"
        case Standing.PROTECTED:
            return f"{id}: {side} {abs(held):g}, its stop rests at the venue at {trade.stop:g}"
        case Standing.NAKED:
            return f"{id}: {side} {abs(held):g}, NOT PROTECTED: the venue shows no stop"
    return f"{id}: {side} {abs(held) or trade.qty:g} as the journal knew; whether its stop rests is NOT KNOWN"


# ---------------------------------------------------------------- a look


class Look:
    """What the venues still show of ours while the engine closes. Nothing is sent and nothing is written."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self._readers: dict[Venue, VenueReader] = {}
        self._instruments: set[InstrumentId] = set()  # of every trade since the first look
        self._ids: set[OrderId] = set()

    def __call__(self) -> Remainder:
        try:
            accounts = accounts_of(self.place)
            self._instruments |= {trade.instrument for trade in accounts.left.trades()}
            self._ids |= accounts.left.ids()
            parts = _at_once(lambda c: self._of(c, accounts.left), accounts.told)
            parts += _at_once(lambda pair: _of_untold(surveyed(self.place, *pair)), accounts.untold)
        except FfeError as error:
            return Remainder({}, 0, str(error))
        return sum_of(parts)

    def _of(self, connector: Connector, left: Left) -> Remainder:
        universe = left.universe()
        reader = self._readers.get(connector.venue)
        if reader is None or {i.id for i in universe} - {i.id for i in reader.broker.universe}:
            reader = self._readers[connector.venue] = _reader(self.place, connector, universe)
        try:
            reading = reader.read()
        except NoReading as error:
            return Remainder({}, 0, str(error))
        orders = OrdersOut(self._ids)
        here = [trade for trade in left.trades() if universe[trade.instrument].venue == connector.venue]
        entries = [flight for trade in here for flight in trade.flights if flight.role is Role.ENTRY]
        coming = self._may_come(connector, left, entries) if entries else []
        open_ = sum(orders.is_ours(order.id) for order in reading.orders)
        return Remainder(self._held(connector.venue, left, reading), open_ + len(coming), "")

    def _may_come(self, connector: Connector, left: Left, entries: list[Leftover]) -> list[Leftover]:
        """Of entries that the journal knows as under way those that the venue does not know as ended: with a full disk
        the newest state stays what it was, whatever they came to."""
        broker, now = _broker(self.place, connector, left.universe(), left), self.place.timer.now()
        for entry in entries:
            broker.send(Query(connector.venue, entry.order), now)
        ended = {a.order for a in broker.answers() if isinstance(a, Answered) and a.state is Known.DONE}
        return [entry for entry in entries if entry.order not in ended]

    def _held(self, venue: Venue, left: Left, reading: Reading) -> dict[str, Qty]:
        book = left.book(left.universe(), 1)
        book.see(Quotes(self.place.timer.now(), tuple(Quote(id, mid) for id, mid in reading.prices.items())))
        foreign, held = book.ledgers[venue].foreign, {}
        for id in sorted(id for id in self._instruments if book.universe[id].venue == venue):
            qty = reading.positions.get(id, 0.0) - foreign.get(id, FLAT).qty
            if not is_dust(book.universe[id], qty, book.mark(id)):
                held[str(id)] = abs(qty)
        return held


def _of_untold(survey: Survey) -> Remainder:
    return Remainder({}, 0, "" if survey.is_flat else "; ".join(survey.lines))


def sum_of(parts: Sequence[Remainder]) -> Remainder:
    held = {id: qty for part in parts for id, qty in part.held.items()}
    return Remainder(held, sum(p.orders for p in parts), "; ".join(p.unknown for p in parts if p.unknown))


# ---------------------------------------------------------------- what is there


@dataclass(frozen=True, slots=True)
class Survey:
    """What one venue shows of the session's instruments where the journal does not tell what is ours; reading is None
    where it has not answered, for that error."""

    connector: Connector
    why: str
    reading: Reading | None
    error: str = ""

    @property
    def is_flat(self) -> bool:
        return self.reading is not None and self.reading.is_empty

    @property
    def lines(self) -> list[str]:
        venue = self.connector.venue
        if self.reading is None:
            return [f"{venue}: {self.why}, and what is there is NOT KNOWN: {self.error}"]
        if self.reading.is_empty:
            return [f"{venue}: {self.why}; it shows no position that can be sold and no open order."]
        title = f"{venue}: {self.why}. What of this is ours cannot be told:"
        return [title, *self.reading.lines()]


def surveyed(place: Place, connector: Connector, why: str) -> Survey:
    """Ask a venue what it holds of the session's instruments; nothing is sent."""
    error = ""
    for n in range(SURVEY_TRIES):
        place.timer.sleep(SURVEY_PAUSE if n else 0)
        try:
            return Survey(connector, why, _reader(place, connector, _universe(place, connector)).read())
        except (ConfigError, NoReading) as failed:
            error = str(failed)
    return Survey(connector, why, None, error)


def _universe(place: Place, connector: Connector) -> Universe:
    """The session's instruments at a venue, by the venue's own word."""
    symbols = [s for s in place.task.concerned if place.settings.instrument(s).venue == connector.venue]
    return Universe(connector.instruments(symbols), (connector.account(),), Currency(place.settings.currency))


def accounts_called(place: Place, account: str) -> list[Connector]:
    """The accounts of a session that have this id; ConfigError where none has."""
    if found := [connector for connector in place.connectors() if connector.account_id == account]:
        return found
    raise ConfigError(
        "That is the id of no account of this session. At OANDA it is the account's number; at any other venue it is "
        'the beginning of the hash of its key, as in: printf %s "$BINANCE_API_KEY" | sha256sum | cut -c1-16'
    )


def close_everything(place: Place, account: str, say: Say) -> Report:
    """Close all that the account of this id holds of the session's instruments, whosever it is."""
    name, found = f"closing everything at {place.timer.now()}", accounts_called(place, account)
    with _journal(place, name, {"closes": "everything"}) as journal:
        for connector in found:
            exits = Exits(Reducer(place.settings.gate), _session(name, connector))
            Sweep(_asked(place, connector, say), exits, journal, place.timer, say).close()
    venues = ", ".join(connector.venue for connector in found)
    return Report(True, (f"{venues}: no position that can be sold and no open order of the session's instruments.",))


def _asked(place: Place, connector: Connector, say: Say) -> VenueReader:
    """A reader, once the venue has said what its instruments are."""
    while True:
        try:
            return _reader(place, connector, _universe(place, connector))
        except ConfigError as error:
            say(str(error))
            place.timer.sleep(MENDED_WITHIN)
