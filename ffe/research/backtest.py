"""A backtest: bars in, every decision through the whole core and onto disk, a Result out.

It assembles a feed, simulated venues, a scripted operator and a journal around the one engine, and runs the one loop.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ffe.brokers.faults import AnyFault
from ffe.brokers.sim import Deposit, SimBroker
from ffe.config import Settings
from ffe.data.barset import BarSet, Series
from ffe.engine import Engine, run
from ffe.errors import ConfigError, MissingBars
from ffe.feeds.bars import BarFeed
from ffe.feeds.merge import Venues, merge
from ffe.hours import Hours, instant, stamp
from ffe.model import Bars, Command, Event, InstrumentId, Layer, Nanos, Step, Universe
from ffe.ports import Written
from ffe.records.encode import Json, Stamp, canonical
from ffe.records.journal import RunJournal
from ffe.records.kept import keep
from ffe.research.code import code_of, code_version, is_of_file, versions
from ffe.research.find import reference_of
from ffe.research.given import the_bars, the_settings, the_strategy
from ffe.research.load import Config, Time
from ffe.research.operator import ScriptedOperator
from ffe.research.proof import Proof, Recorded, Remembered, prove
from ffe.research.reach import unreachable
from ffe.research.result import Result
from ffe.research.wake import Sleeper
from ffe.session import Session, session_id
from ffe.strategy import Hears, Live, Precomputed, Strategy, warmup_of

Progress = Callable[[int, int], None]  # bars seen, bars in all
PROGRESS_STEPS = 200


@dataclass(frozen=True, slots=True)
class World:
    """What stands around the engine in a simulation: what goes wrong, what comes in, what the operator does."""

    faults: Mapping[str, Sequence[AnyFault]] = field(default_factory=dict)  # by venue
    flows: Mapping[str, Sequence[Deposit]] = field(default_factory=dict)
    script: Sequence[Command] = ()


def backtest(
    strategy: Strategy, bars: BarSet | Series | Sequence[Series],
    config: Config = None, *, start: Time | Nanos | None = None,
    world: World | None = None, records: str | Path | None = None, progress: Progress | None = None,
    every_bar: bool = False,
) -> Result:  # fmt: skip
    """Run a strategy over bars through the whole core; bars before start prime it without orders.

    every_bar steps also the bars at which nothing can happen: slower, and the same bytes. records is the folder in
    which the run's own folder is made (default: `runs/` in the data folder). start is a time (text, datetime,
    Timestamp; UTC where it names no zone) or nanoseconds. Raises the errors of `ffe.errors` for what a caller can fix.
    """
    plan = Plan(the_strategy(strategy), the_bars(bars), the_settings(config), _nanos(start), world or World())
    folder = _fresh_folder(Path(records) if records is not None else plan.settings.data_folder / "runs", plan)
    scene = plan.scene()
    with _journal(folder, plan) as journal:
        feed = plan.feed()
        if not every_bar and plan.strategy.is_columnar:
            feed.sleep = Sleeper(scene.engine, scene.brokers, journal, feed, plan.known_times(scene))
        events = merge(feed, scene.operator, scene.venues, scene.engine.awaited)
        run(_watched(events, feed, progress) if progress else events, scene.engine, scene.venues, journal)
    keep(folder, plan.stamp.session, journal.head)
    plan.proved()
    return Result(folder, plan, plan.unreachable())


def proved(strategy: Strategy, bars: BarSet, settings: Settings, progress: Progress | None = None) -> Proof:
    """That a strategy sees no future, asked of every bar; LookAhead names the first at which it does. One that hears
    events is run, and nothing is written."""
    if strategy.is_columnar:
        warmup_of(strategy)
        return prove(strategy, bars, bars.interval, is_whole=True, progress=progress)[1]
    plan = Plan(strategy, bars, settings, None, World())
    plan.remembered = None
    scene, feed = plan.scene(), plan.feed()
    events = merge(feed, scene.operator, scene.venues, scene.engine.awaited)
    run(_watched(events, feed, progress) if progress else events, scene.engine, scene.venues, Unwritten())
    return plan.proved()


class Unwritten:
    """The journal of a run that is made to see whether it can be."""

    def event(self, event: Event) -> None:
        """Kept by nobody."""

    def step(self, step: Step) -> Written:
        return Written.YES


@dataclass(frozen=True, slots=True)
class Scene:
    """The parts of one run, assembled."""

    engine: Engine
    brokers: Sequence[SimBroker]
    venues: Venues
    operator: ScriptedOperator


class Plan:
    """Everything a run depends on, and the identity that follows from it."""

    def __init__(
        self, strategy: Strategy, bars: BarSet, settings: Settings, start: Nanos | None, world: World,
        world_said: str | None = None, session: str | None = None, source_said: str | None = None,
    ) -> None:  # fmt: skip
        """world_said, session and source_said are a journal's, where its run is to be run again."""
        self.strategy, self.bars, self.settings, self.world = strategy, bars, settings, world
        self.warmup = warmup_of(strategy)
        self._source_said = source_said or reference_of(strategy)
        self._world_said = world_said if world_said is not None else repr(world)
        self.universe: Universe = settings.universe(bars.instruments)
        self.interval = bars.interval
        first, last = _span(bars)
        self.start = first if start is None else start
        if not first <= self.start < last:
            raise MissingBars(
                f"No bars after {stamp(self.start)}: there are bars from {stamp(first)} to {stamp(last)}."
            )
        self.hours = _hours(self.universe, first, last)
        _check_rates(self.universe)
        self.stamp = Stamp(session or self._session(), code_version(), settings.fingerprint(), bars.fingerprint())
        self.remembered = self._remembered()
        self.proof = Proof(0, 0)  # as far as it has come
        self._recorded: Recorded | None = None

    def _played(self) -> BarSet:
        return self.bars.between(self.start, _span(self.bars)[1]) if self.start > _span(self.bars)[0] else self.bars

    def feed(self) -> BarFeed:
        return BarFeed(self._played(), self.hours)

    @property
    def name(self) -> str:
        return f"{self.strategy.name}-{self.stamp.session[:12]}"

    def described(self) -> dict[str, Json]:
        """What was run, so that a journal's first line suffices to run it again."""
        return {
            "strategy": self.strategy.name,
            "source": self._source_said,
            "source_sha256": code_of(self.strategy),
            "versions": {**versions()},
            "parameters": json.loads(self.strategy.model_dump_json()),
            "start": self.start,
            "series": [
                {"symbol": s.instrument.symbol, "venue": s.instrument.venue, "interval": s.interval,
                 "first": int(s.open_time[0]), "last": int(s.close_time[-1]), "bars": len(s)}
                for s in self.bars if len(s)
            ],
            "world": self._world_said,
            "config": self.settings.as_json(),
        }  # fmt: skip

    def _session(self) -> str:
        return session_id(code_version(), self.bars.fingerprint(), canonical(self.described()))

    def unreachable(self) -> dict[Layer, str]:
        return unreachable(self.universe, self.hours, self.settings.rules, bool(self.settings.holdings))

    def hears(self) -> Hears:
        """The strategy as the engine hears it, and how far it was proven to see no future."""
        if self.strategy.is_columnar:
            heard, self.proof = prove(self.strategy, self.bars, self.interval, self.name, remembered=self.remembered)
            return heard
        if self.remembered is not None and (known := self.remembered.read()) is not None:
            self.proof = known
            return Live(self.strategy.model_copy(deep=True))
        self._recorded = Recorded(self.strategy, self.warmup, self.interval)
        return self._recorded

    def _remembered(self) -> Remembered | None:
        """Where it is kept what was proven of the same code, parameters and bars; of code that stands in no file, which
        may refer to anything, it is not. What a strategy hears as events depends on the whole run."""
        if not is_of_file(self.strategy):
            return None
        if not self.strategy.is_columnar:
            return Remembered(self.settings.data_folder, self.stamp.session)
        said = [code_version(), code_of(self.strategy), versions(), self.strategy.model_dump_json(), self.interval]
        return Remembered(self.settings.data_folder, json.dumps([*said, self.bars.fingerprint()]))

    def proved(self) -> Proof:
        """That the strategy saw no future, when the run has ended; LookAhead where it did."""
        if self._recorded is not None:
            self.proof, self._recorded = self._recorded.proved(), None
            if self.remembered is not None:
                self.remembered.write(self.proof)
        return self.proof

    def engine(self) -> Engine:
        """A new engine, primed with what came before the start."""
        keep = 0 if self.strategy.is_columnar else self.warmup
        engine = Engine(
            self.universe,
            self.hours,
            self.hears(),
            self.settings.rules,
            Session(self.stamp.session, self.interval),
            keep,
        )
        for bars in self.before():
            engine.prime(bars)
        return engine

    def before(self) -> Iterator[Bars]:
        """What came before the start."""
        first = _span(self.bars)[0]
        if self.start > first:
            events = BarFeed(self.bars.between(first, self.start), self.hours).events(frozenset)
            yield from (event for event in events if isinstance(event, Bars))

    def scene(self) -> Scene:
        engine = self.engine()
        brokers = [
            SimBroker(
                self.universe, venue, self.settings.venues[venue].cash,
                holdings=[h for h in self.settings.opening_holdings() if self.universe[h.instrument].venue == venue],
                flows=self.world.flows.get(venue, ()), faults=self.world.faults.get(venue, ()), marks=engine.book.marks,
            )
            for venue in self.universe.accounts
        ]  # fmt: skip
        operator = ScriptedOperator(engine, self.world.script, self.settings.re_arm == "daily")
        return Scene(engine, brokers, Venues(self.universe, brokers, engine.gatekeeper.approvals), operator)

    def known_times(self, scene: Scene) -> list[Nanos]:
        """When something is known to happen: signals, commands, deposits."""
        heard = scene.engine.strategy
        signals = list(heard.by_time) if isinstance(heard, Precomputed) else []
        flows = [flow.time for flows in self.world.flows.values() for flow in flows]
        return [*signals, *flows, *(command.time for command in self.world.script)]


def _span(bars: BarSet) -> tuple[Nanos, Nanos]:
    """First open and last close; MissingBars if there are none."""
    filled = [s for s in bars if len(s)]
    if not filled:
        raise MissingBars("The range holds no bars. Ask for one that does: `ffe data list` shows what is cached.")
    return int(min(s.open_time[0] for s in filled)), int(max(s.close_time[-1] for s in filled))


def _hours(universe: Universe, first: Nanos, last: Nanos) -> dict[InstrumentId, Hours]:
    by_name = {name: Hours.of(name, first, last) for name in sorted({i.hours for i in universe})}
    return {instrument.id: by_name[instrument.hours] for instrument in universe}


def _check_rates(universe: Universe) -> None:
    """Without a rate for an account's own currency equity is never known, and every entry would refuse."""
    home = universe.currency
    for account in universe.accounts.values():
        if account.currency != home and {account.currency, home} not in [{i.base, i.quote} for i in universe]:
            raise ConfigError(
                f"{account.venue}'s account is in {account.currency}, and nothing in this run gives "
                f"{account.currency} in {home}. Add the bars of an instrument that does, as {account.currency}/{home}, "
                "or set `currency`."
            )


def _nanos(time: Time | Nanos | None) -> Nanos | None:
    return time if time is None or type(time) is int else instant(time)  # type: ignore[arg-type]


def _fresh_folder(root: Path, plan: Plan) -> Path:
    """A folder of its own for every run: the same run again gets a number, never the same place."""
    number, folder = 1, root / plan.name
    while folder.exists():
        number += 1
        folder = root / f"{plan.name}-{number}"
    return folder


def _journal(folder: Path, plan: Plan) -> RunJournal:
    return RunJournal(folder, plan.stamp, plan.described())


def _watched(events: Iterable[Event], feed: BarFeed, progress: Progress) -> Iterator[Event]:
    """The same events; progress is told now and then how many bars have passed."""
    told, every = 0, max(1, feed.count // PROGRESS_STEPS)
    for event in events:
        yield event
        if feed.position - told >= every:
            told = feed.position
            progress(told, feed.count)
    progress(feed.count, feed.count)
