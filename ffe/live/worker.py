"""The engine's process: recover, then run the one loop until the supervisor says that it ends.

It is started by the supervisor with a task and a socket, and dies with it: without a supervisor nobody could stop it.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence, Set
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from typing import cast

from filelock import FileLock, Timeout

from ffe.config import Secrets, Settings, received
from ffe.engine import Engine, run
from ffe.errors import ConfigError, FfeError
from ffe.feeds.agenda import Wanted
from ffe.feeds.merge import Venues, merge
from ffe.feeds.poll import PollFeed, steady
from ffe.hours import interval_of
from ffe.live.accounts import is_stopped, mark_of, permit_of, reach_of
from ffe.live.arming import Arming, check_again, check_loaded
from ffe.live.background import BackgroundBroker
from ffe.live.connect import Connector, connectors
from ffe.live.desk import Desk
from ffe.live.life import Life
from ffe.live.link import Link
from ffe.live.logs import log_to
from ffe.live.notices import Notices, NoticingJournal
from ffe.live.recovery import Left
from ffe.live.rerun import restore, state_of
from ffe.live.setup import Setup
from ffe.live.task import Task
from ffe.model import Act, InstrumentId, Nanos
from ffe.records.encode import encode_value
from ffe.records.journal import LiveJournal
from ffe.records.kept import keep
from ffe.research.find import strategy_of, with_parameters

log = logging.getLogger(__name__)

DIES_WITH_ITS_PARENT = 1  # Linux: PR_SET_PDEATHSIG
PATIENCE_SECONDS = 5.0
FLUSH_SECONDS = 1.0
MIB = 1 << 20
FOREVER: Nanos = 2**62


@dataclass(frozen=True, slots=True)
class Parts:
    """A session, assembled."""

    setup: Setup
    engine: Engine
    journal: LiveJournal
    feed: PollFeed
    brokers: Sequence[BackgroundBroker]
    desk: Desk

    def keep_head(self) -> None:
        keep(self.setup.settings.data_folder, self.engine.session.id, self.journal.head)


def main() -> None:
    _, number, parent = sys.argv[1:]  # the first is the data folder, for whoever lists processes
    link = Link(socket.socket(fileno=int(number)))
    _die_with(int(parent))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the supervisor hears it, and says what is to be done
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    log_to()
    said = next(link.listen())
    task = Task.model_validate_json(str(said["task"]))
    armed = Arming.model_validate_json(str(said["armed"])) if said["armed"] else None
    secrets = received(cast(dict[str, str], said["keys"]), task.settings)
    del said
    try:
        trade(task, link, secrets, armed)
    except FfeError as error:
        link.say(life=Life.FAILED, failed=f"{type(error).__name__}: {error}")
        link.drain(FLUSH_SECONDS)
        os._exit(1)
    link.drain(FLUSH_SECONDS)
    sys.stdout.flush()
    os._exit(0)  # a thread that still waits for a venue has nothing more to say


def _die_with(parent: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(DIES_WITH_ITS_PARENT, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def trade(task: Task, link: Link, secrets: Secrets, armed: Arming | None) -> None:
    """A session from its recovery to its end."""
    settings = task.settings
    with ExitStack() as stack:
        try:
            stack.enter_context(FileLock(settings.data_folder / "engine.lock", timeout=PATIENCE_SECONDS, mode=0o600))
        except Timeout:
            raise ConfigError(f"{settings.data_folder}: an engine still writes here. End it first.") from None
        parts = assemble(task, secrets, link, armed)
        venues = Venues(parts.setup.universe, parts.brokers, parts.engine.gatekeeper.approvals)
        parts.keep_head()
        parts.desk.open()
        try:
            events = merge(parts.feed, parts.desk, venues, _awaited(parts.engine))
            run(events, parts.engine, venues, NoticingJournal(parts.journal, Notices(parts.engine)))
        finally:
            for broker in parts.brokers:
                broker.stop(PATIENCE_SECONDS)
            parts.journal.close()
            parts.keep_head()
            link.say(farewell=parts.desk.farewell())
        parts.desk.turn(Life.STOPPED)


def assemble(task: Task, secrets: Secrets, link: Link, armed: Arming | None) -> Parts:
    """Recovery: read the journal, prime the engine, make what speaks to the venues. Nothing is sent yet."""
    link.say(life=Life.RECOVERING)
    settings = task.settings
    clock, expires = steady(), armed.expires if armed else FOREVER
    if armed is not None:
        check_again(armed, task, connectors(settings, task.symbols, secrets, task.armed))
    reach = reach_of(settings, task.symbols, secrets, task.armed)
    found, accounts, left = reach.connectors, reach.accounts, reach.left
    if {account.mark for account in accounts} - set(task.accounts):
        raise ConfigError("Another account holds what is open than when the session was started. Start it again.")
    setup = _setup(task, settings, found, reach.symbols, clock())
    if armed is not None:
        check_loaded(armed, setup.strategy)
    feed = _feed(setup, found, clock)
    stamp = setup.stamp()
    engine, journal = recovered(setup, stamp.session, left, feed)
    permit = permit_of(settings.data_folder, accounts)
    desk = Desk(engine, feed, link, expires)
    if is_stopped(accounts) and "emergency stop" not in engine.guard.latches:
        desk.give({"act": Act.EMERGENCY_STOP, "by": "the latch, which outlived its process"})
    book = left.book(setup.universe, settings.rules.gate.drawdown_window_days)
    brokers = []
    for connector in found:
        since, past = left.since(setup.opened, connector.venue, book), left.past(connector.venue, book)
        broker = connector.broker(setup.universe, feed.time, since, past)
        broker.permit = lambda: permit.held() if desk.takes_entries(feed.time()) else nullcontext(False)
        brokers.append(BackgroundBroker(broker, feed.wake))
    return Parts(setup, engine, journal, feed, brokers, desk)


def recovered(setup: Setup, session: str, left: Left, feed: PollFeed) -> tuple[Engine, LiveJournal]:
    """An engine that knows the past and goes on from where the last one ended, and its journal, opened so far."""
    engine, now = setup.engine(session), feed.time()
    past = feed.prime(now, setup.warmup)
    for series, what in past.missing.items():
        log.warning("%s: the past is not whole: %s. What needs it refuses.", series, what)
    for event in past.events:
        engine.prime(event)
    restore(engine, state_of(left.state), left.sent)
    root, spare = setup.settings.data_folder, int(setup.settings.controls.free_mib * MIB)
    journal = LiveJournal(root, setup.stamp(), setup.head(), lambda: encode_value(engine.save()), spare=spare)
    for event in past.events:
        journal.prime(event, now)
    journal.resume(now, left.state, encode_value(left.sent))
    return engine, journal


def _setup(task: Task, settings: Settings, found: Sequence[Connector], symbols: Sequence[str], now: Nanos) -> Setup:
    strategy = with_parameters(strategy_of(task.strategy), task.parameters)
    wanted = {settings.instrument(symbol).id for symbol in task.symbols}
    listed = [i for c in found for i in c.instruments([s for s in symbols if settings.instrument(s).venue == c.venue])]
    traded = tuple(i for i in listed if i.id in wanted)
    others = tuple(i for i in listed if i.id not in wanted)
    accounts = tuple(connector.account() for connector in found)
    marks = tuple((connector.venue, mark_of(connector.account_id)) for connector in found)
    return Setup(strategy, traded, others, accounts, interval_of(task.interval), settings, now, marks)


def _feed(setup: Setup, found: Sequence[Connector], clock: object) -> PollFeed:
    wanted = [Wanted(instrument, setup.interval) for instrument in setup.universe]
    markets = {connector.venue: connector.market() for connector in found}
    return PollFeed(markets, wanted, setup.hours, clock)  # type: ignore[arg-type]


def _awaited(engine: Engine):  # type: ignore[no-untyped-def]
    """Whose prices are asked for most often: what waits, and what is open."""

    def awaited() -> Set[InstrumentId]:
        return {*engine.awaited(), *(trade.instrument for trade in engine.slots.trades())}

    return awaited


if __name__ == "__main__":
    main()
