"""A run on the terminal: progress, statistics, what each layer said, how the slots were used, where the records lie."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from rich import box
from rich.columns import Columns
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Column, Table

from ffe.errors import ConfigError, FfeError
from ffe.hours import stamp
from ffe.model import Disposition, Layer
from ffe.plain import shown
from ffe.records.reader import refusing_layers, select
from ffe.research.findings import SHOWN_FINDINGS
from ffe.research.result import Result
from ffe.research.stats import money

console = Console()


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """A bar that is told (done, total)."""
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(shown(title), total=None)
        try:
            yield lambda done, total: progress.update(task, completed=done, total=total)
        except FfeError:
            progress.remove_task(task)  # the error is all there is to read
            raise


def show(result: Result) -> None:
    """Everything a user asks first."""
    console.print(Columns([_statistics(result), _slots(result)], padding=(0, 4)))
    console.print(_gates(result))
    _print_reasons(result)
    for finding in result.findings[:SHOWN_FINDINGS]:
        console.print(f"[bold yellow]![/] {shown(finding.fact)}. [dim]{shown(finding.why)}.[/] {shown(finding.step)}.")
    console.print(f"Records: [bold]{shown(result.folder)}[/]  ({len(result.records)} decisions)", soft_wrap=True)


def _statistics(result: Result) -> Table:
    said = partial(money, scale=result.stats.start_equity)
    s, table = result.stats, Table("statistics", "", title_justify="left", box=None, header_style="bold")
    rows = [
        ("equity", f"{said(s.start_equity)} → {said(s.end_equity)} {result.plan.settings.currency}"),
        *_money(result),
        (
            "return (unit value)" if result.flows else "return",
            f"{s.total_return:+.2%}   a year {_ratio(s.annual_return)}, volatility {_ratio(s.annual_volatility)}",
        ),
        ("Sharpe, Sortino", f"{_number(s.sharpe)}, {_number(s.sortino)}"),
        ("worst drawdown", f"{s.max_drawdown:.2%}, longest {s.max_drawdown_days:,.0f} days"),
        ("trades", f"{s.trades} closed, {len(result.open_trades)} open at the end"),
        ("won, profit factor", f"{_ratio(s.win_rate)}, {_number(s.profit_factor)}"),
        ("average win, loss", f"{said(s.average_win)}, {said(s.average_loss)}"),
        ("P&L of closed, fees", f"{said(s.pnl)}, {said(s.fees)}"),
        ("look-ahead", str(result.plan.proof)),
        ("honesty interval", f"{said(s.pnl)} … {said(s.optimistic_pnl)} ({result.ambiguous_bars} ambiguous bars)"),
    ]
    for row in rows:
        table.add_row(*row)
    return table


def _money(result: Result) -> list[tuple[str, str]]:
    """Which numbers hold the money that came or went, where some did."""
    came = sum(flow.amount > 0.0 for flow in result.flows)
    said = f"{came}, {len(result.flows) - came}: in equity, not in return"
    return [("deposits, withdrawals", said)] if result.flows else []


def _slots(result: Result) -> Table:
    table = Table("slots", "", box=None, header_style="bold")
    share = result.slots.value_counts(normalize=True)
    for held in range(result.plan.settings.slots.slots + 1):
        table.add_row(f"{held} held", f"{share.get(held, 0.0):.1%} of bars")
    said = result.dispositions
    ends = Counter(r.decision.reason for r in result.records if r.decision.disposition is Disposition.DROPPED)
    table.add_row("queued for a slot", str(said[Disposition.QUEUED]))
    table.add_row("waits that ended", str(sum(ends.values())))
    latches = [change for change in result.changes if change.what.startswith("latch")]
    openings = [change for change in result.changes if change.what.startswith("breaker") and change.after == "open"]
    table.add_row("latches, breaker openings", f"{len(latches)}, {len(openings)}")
    for name, count in (("re-armed by the operator", result.re_arms), ("margin stop-outs", result.stop_outs)):
        if count:
            table.add_row(name, str(count))
    return table


def _gates(result: Result) -> Table:
    counts = (Column(name, justify="right") for name in ("warned", "refused", "no data", "reason"))
    judged = f"What the layers said of {int(result.gates['judged'].max())} judged entries"
    table = Table(Column("layer", no_wrap=True), *counts, "", title=judged, title_justify="left", box=box.SIMPLE_HEAD)
    for layer, row in result.gates.iterrows():
        numbers = [str(row[name]) for name in ("warned", "refused", "data_missing", "first")]
        waited = f"{row['waited']} waited for their session" if row["waited"] else ""
        unreachable = f"cannot be reached: {shown(row['unreachable'])}" if row["unreachable"] else ""
        table.add_row(str(layer), *numbers, unreachable or waited)
    return table


def _print_reasons(result: Result) -> None:
    """What became of everything that was decided, most frequent first."""
    reasons = Counter((r.decision.disposition.value, _kind(r.decision.reason)) for r in result.records)
    table = Table("decisions", "why", "count", box=None, header_style="bold")
    for (disposition, reason), count in reasons.most_common(12):
        table.add_row(disposition, shown(reason), str(count))
    console.print(table)


def _kind(reason: str) -> str:
    """A reason without its numbers; a layer begins with its own."""
    words = ["…" if any(c.isdigit() for c in word) else word for word in reason.split()]
    return " ".join(words) if not reason[:1].isdigit() else reason


def _ratio(x: float) -> str:
    return f"{x:.1%}" if math.isfinite(x) else "–"


def _number(x: float) -> str:
    return f"{x:,.2f}" if math.isfinite(x) else "–"


def show_decisions(folder: Path, symbol: str | None, disposition: str | None, layer: str | None, last: int) -> None:
    """A table of decisions, the newest last."""
    found = list(select(folder, symbol, _disposition(disposition), _layer(layer)))
    if not found:
        console.print(f"No such decision in {shown(folder)}", soft_wrap=True)
        return
    whole = [Column(name, no_wrap=True) for name in ("id", "time (UTC)", "instrument")]
    table = Table(*whole, "what", "decision", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for record in found[-last:] if last else found:
        d = record.decision
        what = [d.signal.side.name] if d.signal else []
        what += [f"{d.intent.qty:g} at {d.intent.price:g}"] if d.intent else []
        refusing = refusing_layers(d) if d.disposition is Disposition.REFUSED else ()
        why = ", ".join(layer.value for layer in refusing) or d.reason
        cells = (d.id[:8], stamp(d.time), d.instrument, " ".join(what), f"{d.disposition.value}: {why}")
        table.add_row(*map(shown, cells))
    console.print(table)
    console.print(f"{len(found)} decisions in {shown(folder)}", soft_wrap=True)
    console.print(f"Why one fell: ffe decisions why ID --run {shown(folder)}", soft_wrap=True)


def _disposition(name: str | None) -> Disposition | None:
    try:
        return Disposition(name) if name else None
    except ValueError:
        raise ConfigError(f"--disposition {name}: there are {', '.join(Disposition)}.") from None


def _layer(name: str | None) -> Layer | None:
    if name is None:
        return None
    for layer in Layer:
        if name.upper() in (layer.value, layer.name):
            return layer
    raise ConfigError(f"--layer {name}: there are {', '.join(layer.name for layer in Layer)}.")
