"""What a session does, for people who look."""

from __future__ import annotations

from rich.console import Console

from ffe.live.link import Json, Said
from ffe.plain import shown

OLD_SECONDS = 3.0  # an engine's word that is older says nothing of now


def show_status(told: Said) -> None:
    """What venues and strategies have called something is shown, whatever it holds."""
    status = {key: _shown(value) for key, value in told.items()}
    console, age = Console(soft_wrap=True), status.get("age_seconds")
    console.print(f"{status.get('life', 'starting')}, {status.get('state', 'state not known')}: {_entries(status)}")
    if status.get("is_closing"):
        console.print("what is ours is being closed without the engine")
    for obstacle in _rows(status.get("obstacles")):
        console.print(f"  no entry: {obstacle}")
    word = "never" if not isinstance(age, float) else f"{age:.1f} s ago"
    equity, today = _n(status.get("equity")), _n(status.get("day_pnl"))
    console.print(f"equity {equity}, today {today}, the engine's word is of {word}")
    trades = status.get("trades")
    if not isinstance(trades, list):
        console.print("what is open is not known yet")
    elif not trades:
        console.print("nothing of ours is open")
    for trade in _rows(trades):
        if isinstance(trade, dict):
            console.print(_trade(trade))
    for order in _rows(status.get("unknown")):
        console.print(f"[bold red]order: {order}[/]")
    _show_table(console, "limits", status.get("limits"), _limit)
    _show_table(console, "prices", status.get("prices"), _seconds)
    _show_table(console, "venues", _venues(status), str)
    for name in ("foreign", "skew_ms"):
        _show_table(console, name, status.get(name), _n)
    if waiting := _rows(status.get("waiting")):
        console.print("waiting: " + ", ".join(map(str, waiting)))


def _shown(value: Json) -> Json:
    if isinstance(value, dict):
        return {shown(key): _shown(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_shown(each) for each in value]
    return shown(value) if isinstance(value, str) else value


def _entries(status: Said) -> str:
    """Whether entries may leave: said only where the engine has said lately that nothing is in their way."""
    age, obstacles = status.get("age_seconds"), status.get("obstacles")
    if status.get("is_latched"):
        return "[bold red]LATCHED: no entry leaves[/]"
    if not isinstance(age, float) or age > OLD_SECONDS or not isinstance(obstacles, list):
        return "[bold red]whether entries may leave is not known[/]"
    return "[bold red]no entry leaves[/]" if obstacles else "entries may leave"


def _trade(trade: Said) -> str:
    slot, instrument, side, state = (trade.get(name) for name in ("slot", "instrument", "side", "state"))
    names = ("qty", "average", "stop", "target", "unrealized_pnl")
    qty, average, stop, target, gain = (_n(trade.get(name)) for name in names)
    return (
        f"slot {slot}: {side} {qty} {instrument} at {average}, {state}, unrealised {gain}; "
        f"stop {stop} {_stop(trade)}, target {target}"
    )


def _stop(trade: Said) -> str:
    match trade.get("protection"):
        case "rests":
            return "rests at the venue"
        case "sent":
            return "is sent and not yet confirmed"
        case "unknown":
            return "[bold red]may or may not rest: the venue has not answered[/]"
        case "flat":
            return "is not needed yet"
    return "[bold red]does not rest at the venue[/]"


def _venues(status: Said) -> Said:
    """Whether each venue answers, and what its circuit breaker says."""
    breakers, silent = status.get("breakers"), status.get("silent")
    if not isinstance(breakers, dict) or not isinstance(silent, dict):
        return {}
    return {
        venue: f"{'answers' if venue not in silent else f'no answer for {silent[venue]} s'}, breaker {state}"
        for venue, state in breakers.items()
    }


def _show_table(console: Console, name: str, rows: Json, write: object) -> None:
    if isinstance(rows, dict) and rows and callable(write):
        console.print(f"{name}: " + "; ".join(f"{key} {write(value)}" for key, value in rows.items()))


def _limit(pair: Json) -> str:
    value, most = (_n(each) for each in pair) if isinstance(pair, list) else ("not known", "not known")
    return f"{value} of {most}"


def _seconds(value: Json) -> str:
    return "not known" if value is None else f"{value} s"


def _rows(value: Json) -> list[Json]:
    return list(value) if isinstance(value, list) else []


def _n(value: Json) -> str:
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1.0 else f"{value:,.8g}"
    return "not known" if value is None else str(value)
