"""What a session does, for people who look."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from ffe.live.link import Json, Said

FIELDS = ("slot", "instrument", "side", "qty", "average", "stop", "target", "state", "is_protected", "unrealized_pnl")


def show_status(said: Said) -> None:
    console, age = Console(soft_wrap=True), said.get("age_seconds")
    latch = "[bold red]LATCHED: no entry leaves[/]" if said.get("is_latched") else "entries may leave"
    console.print(f"{said.get('life', 'starting')}, {said.get('state', 'state not known')}: {latch}")
    if said.get("is_closing"):
        console.print("what is ours is being closed without the engine")
    if why := said.get("why"):
        console.print(f"because {why}")
    heard = "never" if not isinstance(age, float) else f"{age:.1f} s ago"
    console.print(f"equity {_n(said.get('equity'))}, today {_n(said.get('day_pnl'))}, the engine was heard {heard}")
    trades = said.get("trades")
    if isinstance(trades, list) and trades:
        table = Table(*FIELDS)
        for trade in trades:
            if isinstance(trade, dict):
                table.add_row(*(_n(trade.get(name)) for name in FIELDS))
        console.print(table)
    else:
        console.print("nothing of ours is open" if isinstance(trades, list) else "what is open is not known yet")
    for name in ("foreign", "waiting", "breakers", "skew_ms"):
        if value := said.get(name):
            console.print(f"{name}: {value}")


def _n(value: Json) -> str:
    return f"{value:,.8g}" if isinstance(value, float) else "not known" if value is None else str(value)
