"""The command line: parses, calls, prints. A user's error is one clear message and exit code 1; ours keeps its
traceback."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from ffe.command import ConfigOption, parameters, told
from ffe.errors import ConfigError, FfeError
from ffe.plain import plain

if TYPE_CHECKING:
    from ffe.config import Settings
    from ffe.data.barset import Series
    from ffe.records.verify import Report

ABOUT = "Run ideas through a whole trading engine, on simulated venues, and keep the reason of every decision."

app = typer.Typer(no_args_is_help=True, add_completion=False, help=ABOUT)
data_app = typer.Typer(no_args_is_help=True, help="The bars in the cache.")
decisions_app = typer.Typer(no_args_is_help=True, help="Why it traded, and why it did not.")
app.add_typer(data_app, name="data")
app.add_typer(decisions_app, name="decisions")

RUN_HELP = "A run's folder, or a session's data folder; the newest run by default."
RunOption = Annotated[Optional[Path], typer.Option("--run", help=RUN_HELP)]  # noqa: UP045


def main() -> None:
    """The entry point."""
    with told():
        app(standalone_mode=True)


def _settings(config: Path | None, data: Path | None = None) -> Settings:
    from ffe.config import load_settings

    settings = load_settings(config)
    return settings.but(data_folder=data) if data else settings


@app.command()
def backtest(
    strategy: Annotated[str, typer.Argument(help="Where the strategy is, as in strategies/ma_cross.py:MaCross.")],
    symbols: Annotated[list[str], typer.Option("--symbols", "-s", help="Symbols, comma separated or repeated.")],
    interval: Annotated[str, typer.Option(help="The bars' interval: 15m, 1h, 1d.")] = "1d",
    since: Annotated[Optional[str], typer.Option("--from", help="Load bars from this time on.")] = None,  # noqa: UP045
    until: Annotated[Optional[str], typer.Option("--to", help="Load bars up to this time.")] = None,  # noqa: UP045
    start: Annotated[Optional[str], typer.Option(help="Trade from here on; bars before it prime the engine.")] = None,  # noqa: UP045
    set_: Annotated[Optional[list[str]], typer.Option("--set", help="A parameter, as in fast=20.")] = None,  # noqa: UP045
    plot: Annotated[Optional[Path], typer.Option(help="Save the picture here.")] = None,  # noqa: UP045
    config: ConfigOption = None,
) -> None:
    """Run a strategy over cached bars through the whole core, and keep every decision."""
    from ffe.research.backtest import backtest as run
    from ffe.research.find import strategy_of, with_parameters
    from ffe.research.load import load_bars
    from ffe.research.show import progress_bar, show

    settings = _settings(config)
    chosen = with_parameters(strategy_of(strategy), parameters(set_ or []))
    bars = load_bars(
        [name for item in symbols for name in item.split(",") if name], interval, since, until, config=settings
    )
    with progress_bar(f"{chosen.name} over {sum(len(s) for s in bars):,} bars") as progress:
        result = run(chosen, bars, settings, start=start, progress=progress)
    show(result)
    if plot is not None:
        result.plot(plot)
        typer.echo(f"Picture: {plot}")


@app.command()
def check(
    strategy: Annotated[str, typer.Argument(help="Where the strategy is, as in strategies/ma_cross.py:MaCross.")],
    symbols: Annotated[list[str], typer.Option("--symbols", "-s", help="Symbols, comma separated or repeated.")],
    interval: Annotated[str, typer.Option(help="The bars' interval: 15m, 1h, 1d.")] = "1d",
    since: Annotated[Optional[str], typer.Option("--from", help="Load bars from this time on.")] = None,  # noqa: UP045
    until: Annotated[Optional[str], typer.Option("--to", help="Load bars up to this time.")] = None,  # noqa: UP045
    set_: Annotated[Optional[list[str]], typer.Option("--set", help="A parameter, as in fast=20.")] = None,  # noqa: UP045
    config: ConfigOption = None,
) -> None:
    """Prove of every bar that a strategy sees no future, or name the first bar at which it does."""
    from ffe.research.backtest import proved
    from ffe.research.find import strategy_of, with_parameters
    from ffe.research.load import load_bars
    from ffe.research.show import progress_bar

    settings = _settings(config)
    chosen = with_parameters(strategy_of(strategy), parameters(set_ or []))
    names = [name for item in symbols for name in item.split(",") if name]
    bars = load_bars(names, interval, since, until, config=settings)
    with progress_bar(f"{chosen.name} over {sum(len(s) for s in bars):,} bars") as progress:
        proof = proved(chosen, bars, settings, progress)
    typer.echo(f"{chosen.name}: {proof}; each decided the same.")


@app.command()
def replay(
    run: Annotated[Path, typer.Argument(help="The run's folder, or the data folder of live sessions.")],
    session: Annotated[str | None, typer.Option(help="A live session's name; else the newest.")] = None,
    other_code: Annotated[
        bool, typer.Option("--other-code", help="Also if another version of the code ran it.")
    ] = False,
    strategy: Annotated[
        str | None, typer.Option(help="Where its strategy is, as in FILE.py:NAME, if the run was not made here.")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Run a run again from its journal and compare every byte; nothing is sent anywhere."""
    from ffe.research.rerun import plan_of, rerun

    if (run / "journal").is_dir():
        from ffe.live.rerun import rerun as rerun_session

        difference = rerun_session(run, session, other_code, strategy)
    else:
        difference = rerun(run, plan_of(run, _settings(config).data_folder, other_code, strategy), other_code)
    if difference is None:
        typer.echo(f"{run}: the same bytes{', the version of the code aside' if other_code else ''}.")
        return
    said = f"{difference.file}:{difference.line} differs\n  then {difference.a}\n  now  {difference.b}"
    typer.echo(plain(said), err=True)
    raise typer.Exit(1)


# ---------------------------------------------------------------- a session that runs


@app.command()
def status(config: ConfigOption = None) -> None:
    """Show what the session of this data folder does; where none answers, what its journal last knew."""
    from ffe.live.client import NoSession, ask, last_known
    from ffe.live.show import show_status

    folder = _settings(config).data_folder
    try:
        for message in ask(folder, "status"):
            show_status(message)
    except NoSession:
        for line in last_known(folder, time.time_ns()):
            _say(line)
        raise


@app.command()
def stop(
    force: Annotated[
        bool, typer.Option("--force", help="Emergency stop: latch, close all that is ours, done when venues show flat.")
    ] = False,
    everything: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            metavar="ACCOUNT_ID",
            help="With --force: close all that this account holds of the session's instruments, whosever it is.",
        ),
    ] = None,
    config: ConfigOption = None,
) -> None:
    """End the session; what is open stays, behind the stops that rest at its venues."""
    from ffe.live import client

    settings = client.settings_or_latch_all(lambda: _settings(config), _say) if force else _settings(config)
    if everything is not None and not force:
        raise ConfigError("--everything closes what may not be ours: say --force with it.")
    if everything is not None:
        is_done = client.force_everything(settings, everything, _say)
    elif force:
        is_done = client.force(settings, _say)
    else:
        _tell(settings.data_folder, "end")
        return
    if not is_done:
        raise typer.Exit(1)


@app.command("close-all")
def close_all(config: ConfigOption = None) -> None:
    """Close all that is ours at market, and go on; done when the trades that were open are closed."""
    _tell(_settings(config).data_folder, "close_all")


@app.command("re-arm")
def re_arm(
    adopt: Annotated[
        bool, typer.Option("--adopt", help="Take over what venues say where they disagree with the book.")
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Clear every latch: entries may leave again."""
    folder = _settings(config).data_folder
    if adopt:
        _tell(folder, "adopt")
    _tell(folder, "re_arm")


def _say(text: str) -> None:
    """What venues, strategies and records have called something is shown, whatever it holds."""
    typer.echo(plain(text))


def _tell(folder: Path, act: str) -> None:
    from ffe.live.client import ask

    for message in ask(folder, act):
        _say(str(message.get("said")))
        if message.get("done") is False:
            raise typer.Exit(1)


@app.command()
def arm(
    file: Annotated[Path, typer.Argument(help="Where to write the arming file.")],
    strategy: Annotated[str, typer.Argument(help="What will trade, as in strategies/ma_cross.py:MaCross.")],
    symbols: Annotated[list[str], typer.Option("--symbols", "-s", help="What will be traded.")],
    interval: Annotated[str, typer.Option(help="The bars' interval: 1m, 15m, 1h, 1d.")] = "1h",
    set_: Annotated[Optional[list[str]], typer.Option("--set", help="A parameter, as in fast=20.")] = None,  # noqa: UP045
    config: ConfigOption = None,
) -> None:
    """Sign what will trade, where and within which limits, for a day of real money. Start it with the same words:
    `python -m ffe.live STRATEGY … --live --arming FILE`."""
    import time

    from ffe.config import load_secrets
    from ffe.hours import stamp
    from ffe.live.arming import arm as sign
    from ffe.live.connect import Armed, connectors
    from ffe.live.task import Task

    settings = _settings(config)
    names = [name for item in symbols for name in item.split(",") if name]
    found = connectors(settings, names, load_secrets(), Armed.LIVE)
    task = Task(
        strategy=strategy, parameters=parameters(set_ or []), symbols=names, interval=interval, settings=settings,
        armed=Armed.LIVE,
    )  # fmt: skip
    signed = sign(file, task, found, time.time_ns())
    typer.echo(f"{file} arms {', '.join(signed.accounts)} until {stamp(signed.expires)} UTC, with {signed.limits}.")
    for c in found:
        typer.echo(f"At the start the id of the account at {c.place} is asked for: {c.known_by}.")


@app.command("config")
def print_config(config: ConfigOption = None) -> None:
    """Print every setting with its value, as JSON."""
    typer.echo(_settings(config).model_dump_json(indent=2))


@app.command()
def demo() -> None:
    """Run the demonstration."""
    from ffe.demo import main as run_demo

    run_demo()


# ---------------------------------------------------------------- data


@data_app.command("list")
def list_data(config: ConfigOption = None) -> None:
    """List what the cache holds."""
    from rich.console import Console
    from rich.table import Table

    from ffe.data.cache import Cache
    from ffe.hours import spelt, stamp
    from ffe.plain import shown

    cache, table = Cache(_settings(config).cache_path), Table("symbol", "venue", "interval", "first", "last", "bars")
    for held in cache.series():
        table.add_row(
            shown(held.symbol), shown(held.venue), spelt(held.interval), stamp(held.first), stamp(held.last),
            f"{held.bars:,}",
        )  # fmt: skip
    if not table.row_count:
        typer.echo(f"{cache.path} holds no bars yet: ffe data fetch BTC/USD 1h --from 2024-01-01")
        return
    Console().print(table)


@data_app.command("fetch")
def fetch_data(
    symbols: Annotated[str, typer.Argument(metavar="SYMBOL[,SYMBOL…]", help="What to fetch bars of.")],
    interval: Annotated[str, typer.Argument(help="15m, 1h, 1d.")],
    since: Annotated[str, typer.Option("--from", help="Bars that open at or after this time.")],
    until: Annotated[Optional[str], typer.Option("--to", help="Bars that close by this time; now, by default.")] = None,  # noqa: UP045
    trusted: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--send-key-to", help="An address of the settings that may have your key; repeatable."),
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Load history from the symbols' venues into the cache; what is there already is not asked for again."""
    from ffe.config import load_secrets
    from ffe.data.cache import Cache
    from ffe.data.fetch import fetch
    from ffe.hours import interval_of
    from ffe.research.show import progress_bar
    from ffe.wire.connect import market_of

    settings, step, now = _settings(config), interval_of(interval), time.time_ns()
    start, end = _range(since, until, now)
    instruments = [settings.instrument(symbol) for symbol in dict.fromkeys(symbols.split(",")) if symbol]
    if not instruments:
        raise ConfigError("No symbol is named: name one or several, as in BTC/USD,ETH/USD.")
    markets = {
        venue: market_of(venue, settings, load_secrets(), trusted or []) for venue in {i.venue for i in instruments}
    }
    for i in instruments:
        with progress_bar(f"{i.id} {interval}") as progress:
            came = fetch(markets[i.venue], i, step, start, end, Cache(settings.cache_path), progress, now)
        typer.echo(came)


def _range(since: str, until: str | None, now: int) -> tuple[int, int]:
    from ffe.hours import instant, stamp

    start, end = instant(since), now if until is None else instant(until)
    if start >= now:
        raise ConfigError(
            f"--from {since} lies in the future: it is {stamp(now // 10**9 * 10**9)}. Name a time before."
        )
    if start >= end:
        raise ConfigError(f"--from {since} does not lie before --to {until}. Name a range with bars in it.")
    return start, end


@data_app.command("import")
def import_data(
    file: Annotated[
        Path,
        typer.Argument(
            help="A csv, parquet or feather file: time (of the bar's open), open, high, low, close, volume."
        ),
    ],
    symbol: Annotated[str, typer.Option(help="What the bars are of.")],
    interval: Annotated[str, typer.Option(help="15m, 1h, 1d.")],
    columns: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(help='Which column is what, as in "time=Gmt time"; repeatable.'),
    ] = None,
    time_format: Annotated[Optional[str], typer.Option(help="How times are written, as in %d/%m/%Y %H:%M.")] = None,  # noqa: UP045
    time_unit: Annotated[Optional[str], typer.Option(help="What numbers of time count: s, ms, us or ns.")] = None,  # noqa: UP045
    tz: Annotated[Optional[str], typer.Option(help="The zone of times that name none: America/New_York.")] = None,  # noqa: UP045
    sort: Annotated[bool, typer.Option("--sort", help="Put rows in order that are in none.")] = False,
    rows: Annotated[Optional[str], typer.Option(help="How the file spells the symbol.")] = None,  # noqa: UP045
    config: ConfigOption = None,
) -> None:
    """Check the bars of a file and put them into the cache."""
    from ffe.data.cache import Cache
    from ffe.data.quality import gaps, outside
    from ffe.research.load import load_bars

    settings = _settings(config)
    for series in load_bars(
        file, interval, symbol=symbol, config=settings, columns=parameters(columns or [], "--columns"),
        time_format=time_format, time_unit=time_unit, tz=tz, sort=sort, rows=rows,
    ):  # fmt: skip
        added = Cache(settings.cache_path).add(series)
        typer.echo(plain(f"Read {series.source}."))
        typer.echo(
            f"{series!r} into {settings.cache_path}: {added}; {len(gaps(series))} gaps, "
            f"{outside(series)} bars outside its market's hours."
        )
        _name_splits(series)


SymbolArgument = Annotated[str, typer.Argument(help="What the bars are of.")]
IntervalArgument = Annotated[str, typer.Argument(help="15m, 1h, 1d.")]


@data_app.command("check")
def check_data(config: ConfigOption = None) -> None:
    """Check all that the cache holds: what cannot be true, what is missing, splits that were not adjusted."""
    from ffe.data.cache import Cache
    from ffe.data.quality import checked, gaps, outside
    from ffe.hours import spelt

    settings = _settings(config)
    is_good = True
    for held in Cache(settings.cache_path).series():
        name = f"{held.venue}:{held.symbol} {spelt(held.interval)}"
        try:
            series = checked(_held(settings, held.symbol, held.interval))
        except FfeError as error:
            _say(f"{name}: {error}")
            is_good = False
            continue
        _say(f"{name}: {len(series):,} bars, {len(gaps(series))} gaps, {outside(series)} outside its market's hours")
        _name_splits(series)
    if not is_good:
        raise typer.Exit(1)


def _name_splits(series: Series) -> None:
    from ffe.data.quality import splits
    from ffe.hours import spelt, stamp

    for split in splits(series):
        said = f"{stamp(split.time)[:10]}={split.new}:{split.old}"
        command = f"ffe data adjust {series.instrument.symbol} {spelt(series.interval)} --split {said}"
        _say(f"{series.name}: looks like a split of {split}. If it is one: {command}")


@data_app.command("gaps")
def show_gaps(symbol: SymbolArgument, interval: IntervalArgument, config: ConfigOption = None) -> None:
    """List the bars that are missing while their market was open."""
    from ffe.data.quality import gaps
    from ffe.hours import interval_of, stamp

    series = _held(_settings(config), symbol, interval_of(interval))
    for gap in (found := gaps(series)):
        _say(f"{stamp(gap.start)} – {stamp(gap.end)}: {gap.bars:,} bars")
    _say(f"{series!r}: {sum(gap.bars for gap in found):,} bars are missing in {len(found)} gaps.")


@data_app.command("export")
def export_data(
    symbol: SymbolArgument,
    interval: IntervalArgument,
    file: Annotated[Path, typer.Argument(help="A csv or parquet file that is not there yet.")],
    config: ConfigOption = None,
) -> None:
    """Write what the cache holds of an instrument to a file, as `ffe data import` reads it."""
    from ffe.data.sources import written
    from ffe.hours import interval_of

    series = _held(_settings(config), symbol, interval_of(interval))
    written(series, file)
    _say(f"{series!r} in {file}")


@data_app.command("rm")
def remove_data(
    symbol: SymbolArgument,
    interval: IntervalArgument,
    since: Annotated[Optional[str], typer.Option("--from", help="Bars that open at or after this time.")] = None,  # noqa: UP045
    until: Annotated[Optional[str], typer.Option("--to", help="Bars that open before this time.")] = None,  # noqa: UP045
    config: ConfigOption = None,
) -> None:
    """Forget bars of an instrument, all of an interval or those of a range; they are kept in the cache as revisions."""
    from ffe.data.cache import Cache
    from ffe.hours import instant, interval_of

    settings = _settings(config)
    start, end = instant(since) if since else -(2**62), instant(until) if until else 2**62
    gone = Cache(settings.cache_path).remove(settings.instrument(symbol), interval_of(interval), start, end)
    _say(f"{symbol} {interval}: {gone:,} bars are no longer in {settings.cache_path}.")


@data_app.command("adjust")
def adjust_data(
    symbol: SymbolArgument,
    interval: IntervalArgument,
    split: Annotated[str, typer.Option(help="The day it came into force, and new shares for old: 2024-06-10=10:1.")],
    config: ConfigOption = None,
) -> None:
    """Adjust the bars before a split: prices divided by its ratio, volumes multiplied; the old ones are revisions."""
    from ffe.data.cache import Cache
    from ffe.data.quality import Split, adjusted
    from ffe.hours import instant, interval_of

    settings = _settings(config)
    day, _, ratio = split.partition("=")
    new, _, old = ratio.partition(":")
    if not (new.isdecimal() and old.isdecimal() and int(new) and int(old)):
        raise ConfigError(f"--split {split}: write it as 2024-06-10=10:1, ten new shares for one old.")
    series = _held(settings, symbol, interval_of(interval))
    before = adjusted(series, Split(instant(day), int(new), int(old)))
    _say(f"{before!r}: {Cache(settings.cache_path).change(before)}")


def _held(settings: Settings, symbol: str, interval: int) -> Series:
    """All that the cache has of an instrument."""
    from ffe.data.cache import Cache
    from ffe.errors import MissingBars
    from ffe.hours import Hours, spelt

    cache, i = Cache(settings.cache_path), settings.instrument(symbol)
    found = [h for h in cache.series() if (h.venue, h.symbol, h.interval) == (i.venue, i.symbol, interval)]
    if not found:
        raise MissingBars(f"{i.id} {spelt(interval)}: no bars in {cache.path}. `ffe data list` shows what there is.")
    (held,) = found
    hours = Hours.of(i.hours, held.first, held.last + interval)
    return cache.held(i, interval, held.first, int(hours.closes[-1]), hours)


# ---------------------------------------------------------------- decisions


@decisions_app.command("list")
def list_decisions(
    run: RunOption = None,
    symbol: Annotated[Optional[str], typer.Option(help="Only this instrument.")] = None,  # noqa: UP045
    disposition: Annotated[Optional[str], typer.Option(help="Only these: sent, refused, queued, …")] = None,  # noqa: UP045
    layer: Annotated[Optional[str], typer.Option(help="Only what this layer refused, as in VAR.")] = None,  # noqa: UP045
    last: Annotated[int, typer.Option(help="How many, the newest; 0: all.")] = 20,
    config: ConfigOption = None,
) -> None:
    """List decisions, the newest last."""
    from ffe.research.show import show_decisions

    show_decisions(_run(run, config), symbol, disposition, layer, last)


@decisions_app.command()
def why(
    id: Annotated[str, typer.Argument(help="The decision's id, or its beginning.")],
    run: RunOption = None,
    config: ConfigOption = None,
) -> None:
    """Say why a decision fell as it did: each layer with fact, limit and room, and what came of it."""
    from ffe.records.reader import aftermath, explain, find

    folder = _run(run, config)
    record = find(folder, id)
    _say(explain(record, aftermath(folder, record.decision)))


@decisions_app.command()
def verify(
    run: RunOption = None,
    anchor: Annotated[Optional[str], typer.Option(help="A head hash noted elsewhere: catches a cut tail.")] = None,  # noqa: UP045
    config: ConfigOption = None,
) -> None:
    """Check that no record was edited, deleted, reordered or cut."""
    from ffe.records.kept import kept
    from ffe.records.verify import anchored
    from ffe.records.verify import verify as check

    found = check(_run(run, config), [anchor] if anchor else [])
    own = kept(found.path, found.sessions)
    report = anchored(found, own)
    for finding in report.findings:
        typer.echo(plain(f"{'torn by a crash' if finding.torn else 'TAMPERED'}: {finding}", ""), err=True)
    said = f"{report.path}: {report.lines} lines and {report.decisions} decisions, {_verdict(report)}; head"
    typer.echo(plain(f"{said} {report.head}", ""))
    if not report.is_good:
        raise typer.Exit(1)


def _verdict(report: Report) -> str:
    if not report.is_good:
        return "NOT what was written"
    if report.anchored:
        return f"intact: what was written, up to the head that was kept, of line {report.anchored}"
    return "intact as far as it goes (no head of it was kept here: that it was not written anew is not shown)"


def _run(run: Path | None, config: Path | None) -> Path:
    """The folder that was named, or the newest run's."""
    if run is not None:
        if not run.is_dir():
            raise ConfigError(f"{run}: no such folder. `ls {_settings(config).data_folder / 'runs'}` shows the runs.")
        return run
    root = _settings(config).data_folder / "runs"
    runs = sorted((p for p in root.glob("*") if p.is_dir()), key=lambda p: p.stat().st_mtime_ns)
    if not runs:
        raise ConfigError(
            f"{root} holds no run yet. Make one: ffe backtest strategies/ma_cross.py:MaCross --symbols AAPL"
        )
    return runs[-1]
