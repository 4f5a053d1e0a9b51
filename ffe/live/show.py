"""What a session does, for people who look."""

from __future__ import annotations

from rich.console import Console

from ffe.live.link import Json, Said


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
        for trade in trades:
            if isinstance(trade, dict):
                console.print(_trade(trade))
    else:
        console.print("nothing of ours is open" if isinstance(trades, list) else "what is open is not known yet")
    for name in ("foreign", "waiting", "breakers", "skew_ms"):
        if value := said.get(name):
            console.print(f"{name}: {value}")


def _trade(said: Said) -> str:
    slot, instrument, side, state = (said.get(name) for name in ("slot", "instrument", "side", "state"))
    qty, average, stop, target, gain = (_n(said.get(n)) for n in ("qty", "average", "stop", "target", "unrealized_pnl"))
    rests = "rests at the venue" if said.get("is_protected") else "[bold red]does not rest at the venue[/]"
    return (
        f"slot {slot}: {side} {qty} {instrument} at {average}, {state}, unrealised {gain}; "
        f"stop {stop} {rests}, target {target}"
    )


def _n(value: Json) -> str:
    return f"{value:,.8g}" if isinstance(value, float) else "not known" if value is None else str(value)
