"""What a session can say of itself at a time: a pure reading of the engine, as JSON for whoever asks.

Law: only what was asked and answered is said; what is not known is null or named unknown. `obstacles` is the one place
that answers why no entry may leave now.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ffe.live.link import Json, Said
from ffe.model import SECOND, InstrumentId, Nanos, Role
from ffe.risk.breaker import BreakerState
from ffe.risk.gatekeeper import freshness_limit
from ffe.risk.guard import TradingState
from ffe.risk.slots import Flight, Trade

if TYPE_CHECKING:
    from ffe.engine import Engine


def report(engine: Engine, now: Nanos) -> Said:
    """Everything that `ffe status` shows of the engine."""
    book = engine.book
    return {
        "time": now,
        "state": engine.guard.state,
        "why": engine.guard.why,
        "obstacles": list(obstacles(engine, now)),
        "equity": known(book.equity),
        "day_pnl": known(book.day_pnl),
        "unrealized_pnl": known(sum(book.unrealised(venue) for venue in book.ledgers)),
        "drawdown": known(book.unit.drawdown),
        "limits": limits(engine),
        "prices": {i.id: price_age(engine, i.id, now) for i in engine.universe},
        "trades": [describe(engine, trade) for trade in engine.slots.trades()],
        "unknown": [line for trade in engine.slots.trades() for line in unknown_orders(trade, now)],
        "foreign": {id: held.qty for ledger in book.ledgers.values() for id, held in ledger.foreign.items()},
        "waiting": [f"{item.instrument} {item.kind}" for item in engine.queue.items],
        "breakers": {venue: breaker.state(now) for venue, breaker in engine.breakers.items()},
        "silent": {venue: seconds(now - since) for venue, since in engine.silent_since.items()},
    }


# ---------------------------------------------------------------- why no entry leaves


def obstacles(engine: Engine, now: Nanos) -> list[str]:
    """Why no entry may leave now, as far as the engine knows; empty where one may."""
    found = [] if engine.guard.state is TradingState.ACTIVE else [f"{engine.guard.state}: {engine.guard.why}"]
    for venue, breaker in engine.breakers.items():
        if (state := breaker.state(now)) is not BreakerState.CLOSED:
            found.append(f"the circuit breaker of {venue} is {state}")
    if not engine.is_proven(now):
        found += [f"{venue} has not answered for {age(now - since)}" for venue, since in engine.silent_since.items()]
    if not math.isfinite(engine.book.equity):
        found.append("equity is not known")
    if engine.book.unit.drawdown > (most := engine.rules.gate.drawdown_ratio):
        found.append(f"drawdown is {engine.book.unit.drawdown:.2%}, at most {most:.2%}")
    return [*found, *(f"the newest price of {id} is {how_old}" for id, how_old in stale_prices(engine, now))]


def stale_prices(engine: Engine, now: Nanos) -> list[tuple[InstrumentId, str]]:
    """Instruments whose market is open and whose price is older than entries allow, each with its age in words."""
    found = []
    for instrument in engine.universe:
        old = price_age(engine, instrument.id, now)
        limit = freshness_limit(engine.rules.gate, instrument.asset_class)
        if engine.hours[instrument.id].is_open(now) and (old is None or old > limit):
            found.append((instrument.id, "not known" if old is None else f"{age(int(old * SECOND))} old"))
    return found


def price_age(engine: Engine, id: InstrumentId, now: Nanos) -> float | None:
    """Seconds since the newest price of an instrument; None where there was none."""
    if id not in engine.book.marks:
        return None
    return seconds(now - engine.book.marks[id][1])


# ---------------------------------------------------------------- limits, trades, orders


def limits(engine: Engine) -> Said:
    """How far each limit is used: [value, limit], ratios of equity where nothing else is said."""
    book, rules, day = engine.book, engine.rules, engine.guard.day_equity
    gross = sum(abs(book.value(id, p.qty)) for ledger in book.ledgers.values() for id, p in ledger.positions())
    ours = book.day_pnl / day if day > 0.0 else math.nan
    found: dict[str, tuple[float, float | None]] = {
        "drawdown": (book.unit.drawdown, rules.gate.drawdown_ratio),
        "leverage": (gross / book.equity if book.equity > 0.0 else math.nan, rules.gate.leverage_ratio),
        "day loss": (max(0.0, -ours), rules.watch.day_loss_ratio),
        "day gain": (max(0.0, ours), rules.watch.day_gain_ratio),
        "slots": (float(engine.slots.count), float(rules.slots.slots)),
        "traded today": (engine.controls.notional, rules.controls.max_day_notional),
        "lost today": (max(0.0, -book.day_pnl), rules.controls.max_day_loss),
    }
    return {name: [known(value), most] for name, (value, most) in found.items() if most is not None}


def describe(engine: Engine, trade: Trade) -> Said:
    position = engine.book.ours(trade.instrument)
    return {
        "slot": trade.slot,
        "instrument": trade.instrument,
        "side": trade.side.name.lower(),
        "qty": trade.qty,
        "average": known(trade.average),
        "stop": known(trade.stop),
        "target": known(trade.target),
        "state": trade.state,
        "closing": trade.closing,
        "protection": protection(trade),
        "is_protected": is_settled(trade),
        "unrealized_pnl": known(engine.book.gain(trade.instrument, position)),
    }


def protection(trade: Trade) -> str:
    """What is known of the stop of a trade: rests (confirmed by the venue), sent, unknown, none; flat needs none."""
    if not trade.qty:
        return "flat"
    stop = trade.flight(Role.PROTECT)
    if stop is None:
        return "none"
    if stop.unknown:
        return "unknown"
    return "rests" if stop.rests and trade.is_covered else "sent"


def is_settled(trade: Trade) -> bool:
    """Flat, or behind a stop that the venue has confirmed, with nothing else under way."""
    return trade.is_calm and trade.flights[0].rests if trade.qty else not trade.flights


def unknown_orders(trade: Trade, now: Nanos) -> list[str]:
    lost = [flight for flight in trade.flights if flight.unknown]
    return [f"{name_of(trade, flight)} unknown for {age(now - flight.sent)}" for flight in lost]


def name_of(trade: Trade, flight: Flight) -> str:
    """An order as a person knows it."""
    names = {Role.ENTRY: "entry", Role.EXIT: "exit", Role.PROTECT: "stop"}
    return f"{names[flight.role]} of {flight.qty:g} {trade.instrument} ({flight.order})"


# ---------------------------------------------------------------- numbers for people and JSON


def known(x: float) -> Json:
    return x if math.isfinite(x) else None


def seconds(span: Nanos) -> float:
    return round(span / SECOND, 1)


def age(span: Nanos) -> str:
    """A span of time in the unit that suits it."""
    found = span / SECOND
    if found < 120.0:
        return f"{found:.0f} s"
    return f"{found / 60.0:.0f} min" if found < 7_200.0 else f"{found / 3_600.0:.1f} h"
