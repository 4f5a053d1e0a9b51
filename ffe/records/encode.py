"""How the values of the model are written down: canonical JSON, the same bytes for the same value, for ever.

Keys are sorted, separators compact, text UTF-8. Prices and quantities are strings, other floats numbers, both by repr
and so exact; times are int nanoseconds, enums their values. NaN and infinities are null, and null is read as NaN where
a number must be. An event carries its `type`; `decode_event` is the exact inverse of `encode_event`.

Encoders are written out, one a type, because a run pays for them at every entry. The decoder is one walk along the
model's own annotations, because records are read far less often than written.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from enum import Enum
from functools import cache
from hashlib import sha256
from json.encoder import encode_basestring as _text
from math import isfinite, nan
from types import UnionType
from typing import Any, NewType, TypeAlias, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import ffe.model as m

SCHEMA = 1

Json: TypeAlias = bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"] | None
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Stamp:
    """What made a run: its session, the version of the code, the hash of its configuration, its data's fingerprint."""

    session: str
    code: str
    config: str
    data: str


# ---------------------------------------------------------------- canonical text


def canonical(value: Json) -> str:
    """The one text of a plain JSON value; ValueError for what JSON has no word for."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def utf8(text: str) -> bytes:
    """The bytes of a JSON text. A lone surrogate has no UTF-8; its escape is JSON for the same string."""
    return text.encode("utf-8", "backslashreplace")


def digest(data: bytes) -> str:
    return sha256(data).hexdigest()


def loads(text: str | bytes) -> Json:
    """Parse JSON; ValueError for anything else, NaN and Infinity included."""
    try:
        return cast(Json, json.loads(text, parse_constant=_no_number))
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


# ---------------------------------------------------------------- scalars


def _number(x: float | None) -> str:
    return "null" if x is None or not isfinite(x) else repr(float(x))


def _exact(x: float | None) -> str:
    """A price or a quantity."""
    return "null" if x is None or not isfinite(x) else f'"{float(x)!r}"'


def _bool(x: bool) -> str:
    return "true" if x else "false"


def _name(x: str | None) -> str:
    return "null" if x is None else _text(x)


def _list(items: Sequence[T], encode: Callable[[T], str]) -> str:
    return f"[{','.join([encode(item) for item in items])}]"


# ---------------------------------------------------------------- events


def _bar(b: m.Bar) -> str:
    return (
        f'{{"close":{_exact(b.close)},"close_time":{b.close_time},"high":{_exact(b.high)},'
        f'"instrument":{_text(b.instrument)},"interval":{b.interval},"low":{_exact(b.low)},'
        f'"open":{_exact(b.open)},"open_time":{b.open_time},"volume":{_exact(b.volume)}}}'
    )


def _quote(q: m.Quote) -> str:
    return f'{{"instrument":{_text(q.instrument)},"mid":{_exact(q.mid)},"opens_session":{_bool(q.opens_session)}}}'


def _fill(f: m.Fill) -> str:
    return (
        f'{{"cause":"{f.cause}","fee":{_number(f.fee)},"fee_currency":{_text(f.fee_currency)},'
        f'"instrument":{_text(f.instrument)},"optimistic":{_exact(f.optimistic)},"pl":{_number(f.pl)},"price":{_exact(f.price)},'
        f'"qty":{_exact(f.qty)},"rate":{_exact(f.rate)},"trade":{_text(f.trade)}}}'
    )


def _holding(h: m.Holding) -> str:
    return f'{{"instrument":{_text(h.instrument)},"price":{_exact(h.price)},"qty":{_exact(h.qty)}}}'


def _bars(e: m.Bars) -> str:
    return f'{{"bars":{_list(e.bars, _bar)},"time":{e.time},"type":"Bars"}}'


def _quotes(e: m.Quotes) -> str:
    return f'{{"quotes":{_list(e.quotes, _quote)},"time":{e.time},"type":"Quotes"}}'


def _command(e: m.Command) -> str:
    return f'{{"act":"{e.act}","by":{_text(e.by)},"instrument":{_name(e.instrument)},"time":{e.time},"type":"Command"}}'


def _said(a: m.Answer) -> str:
    """What closes every answer, in the order of the keys."""
    return f'"time":{a.time},"type":"{type(a).__name__}","venue":{_text(a.venue)}'


def _accepted(a: m.Accepted) -> str:
    return f'{{"order":{_name(a.order)},{_said(a)}}}'


def _rejected(a: m.Rejected) -> str:
    return f'{{"locked_out":{_bool(a.locked_out)},"order":{_name(a.order)},"reason":{_text(a.reason)},{_said(a)}}}'


def _filled(a: m.Filled) -> str:
    ours = "null" if a.ours is None else _bool(a.ours)
    return f'{{"done":{_bool(a.done)},"fill":{_fill(a.fill)},"order":{_name(a.order)},"ours":{ours},{_said(a)}}}'


def _cancelled(a: m.Cancelled) -> str:
    return f'{{"order":{_name(a.order)},"reason":{_text(a.reason)},{_said(a)},"venue_fault":{_bool(a.venue_fault)}}}'


def _failed(a: m.Failed) -> str:
    again = "null" if a.again is None else a.again
    return f'{{"again":{again},"fault":"{a.fault}","order":{_name(a.order)},"query":{_bool(a.query)},{_said(a)}}}'


def _about_order(a: m.Heard | m.StopUnfilled) -> str:
    return f'{{"order":{_name(a.order)},{_said(a)}}}'


def _withheld(a: m.Withheld) -> str:
    again = "null" if a.again is None else a.again
    return (
        f'{{"again":{again},"broken":{_bool(a.broken)},"excess":{_bool(a.excess)},"order":{_name(a.order)},'
        f'"reason":{_text(a.reason)},{_said(a)}}}'
    )


def _report(a: m.Report) -> str:
    return f'{{"fills":{_list(a.fills, _fill)},"order":{_name(a.order)},"state":"{a.state}",{_said(a)}}}'


def _account_read(a: m.AccountRead) -> str:
    cash = ",".join([f"[{_text(currency)},{_number(amount)}]" for currency, amount in a.cash])
    positions = ",".join([f"[{_text(instrument)},{_exact(qty)}]" for instrument, qty in a.positions])
    return f'{{"cash":[{cash}],"order":{_name(a.order)},"positions":[{positions}],{_said(a)}}}'


def _cash_flow(a: m.CashFlow) -> str:
    return (
        f'{{"amount":{_number(a.amount)},"currency":{_text(a.currency)},"entry":{_text(a.entry)},"flow":"{a.flow}",'
        f'"instrument":{_name(a.instrument)},"order":{_name(a.order)},{_said(a)}}}'
    )


def _heartbeat(e: m.Heartbeat) -> str:
    return f'{{"time":{e.time},"type":"Heartbeat"}}'


def _found(a: m.Found) -> str:
    return f'{{"holding":{_holding(a.holding)},"order":{_name(a.order)},{_said(a)}}}'


_EVENTS: Mapping[type, Callable[[Any], str]] = {
    m.Bars: _bars, m.Quotes: _quotes, m.Command: _command, m.Accepted: _accepted, m.Rejected: _rejected,
    m.Filled: _filled, m.Cancelled: _cancelled, m.Failed: _failed, m.Withheld: _withheld, m.Report: _report,
    m.AccountRead: _account_read, m.CashFlow: _cash_flow, m.Found: _found, m.Heard: _about_order,
    m.StopUnfilled: _about_order, m.Heartbeat: _heartbeat,
}  # fmt: skip
_TYPES: Mapping[str, type] = {kind.__name__: kind for kind in _EVENTS}


def encode_event(event: m.Event) -> str:
    return _EVENTS[type(event)](event)


# ---------------------------------------------------------------- decisions

_LAYER_KEYS = tuple(f'"{layer}":{{"fact":' for layer in m.LAYERS)  # the order of LAYERS is the keys' order too


def _signal(s: m.Signal | None) -> str:
    if s is None:
        return "null"
    return (
        f'{{"add":{_bool(s.add)},"confidence":{s.confidence},"instrument":{_text(s.instrument)},'
        f'"provider":{_text(s.provider)},"qty":{_exact(s.qty)},"reasoning":{_text(s.reasoning)},"side":{s.side:d},'
        f'"stop":{_exact(s.stop)},"target":{_exact(s.target)}}}'
    )


def _intent(i: m.Intent | None) -> str:
    """An intent without its signal: it is its decision's, and stands there."""
    if i is None:
        return "null"
    return (
        f'{{"instrument":{_text(i.instrument)},"price":{_exact(i.price)},"purpose":"{i.purpose}","qty":{_exact(i.qty)},'
        f'"rule":{_text(i.rule)},"side":{i.side:d},"stop":{_exact(i.stop)},"target":{_exact(i.target)}}}'
    )


def _layers(j: m.Judgement | None) -> str:
    if j is None:
        return "null"
    rows = zip(_LAYER_KEYS, j.facts, j.limits, j.statuses, strict=True)
    layers = [f'{key}{_number(fact)},"limit":{_number(limit)},"status":"{s}"}}' for key, fact, limit, s in rows]
    return f"{{{','.join(layers)}}}"


def _tail(t: m.TailRisk | None) -> str:
    if t is None:
        return "null"
    return (
        f'{{"component":{_number(t.component)},"expected_shortfall":{_number(t.expected_shortfall)},'
        f'"largest_qty":{_exact(t.largest_qty)}}}'
    )


def encode_decision(d: m.Decision, stamp: Stamp) -> str:
    """The record of a decision: what was wanted, what every layer saw and allows, what became of it, what made it."""
    slot = "null" if d.slot is None else d.slot
    return (
        f'{{"code":{_text(stamp.code)},"config":{_text(stamp.config)},"data":{_text(stamp.data)},'
        f'"disposition":"{d.disposition}","follows":{_name(d.follows)},"id":{_text(d.id)},'
        f'"instrument":{_text(d.instrument)},"intent":{_intent(d.intent)},"layers":{_layers(d.judgement)},'
        f'"order":{_name(d.order)},"reason":{_text(d.reason)},"schema":{SCHEMA},"sequence":{d.sequence},'
        f'"session":{_text(stamp.session)},"signal":{_signal(d.signal)},"slot":{slot},"tail":{_tail(d.tail)},'
        f'"time":{d.time}}}'
    )


# ---------------------------------------------------------------- steps


def _order(o: m.Order) -> str:
    """What left, in short: why is in its decision."""
    if isinstance(o, m.Cancel | m.Query):
        return f'{{"order":{_name(o.order)},"type":"{type(o).__name__}","venue":{_text(o.venue)}}}'
    i = o.approved.intent
    exits = o if isinstance(o, m.Protect) else i
    collar = f'"collar":{_exact(o.collar)},' if isinstance(o, m.Enter) else ""
    replaces = f'"replaces":{_name(o.replaces)},' if isinstance(o, m.Protect) else ""
    return (
        f'{{{collar}"id":{_text(o.id)},"instrument":{_text(i.instrument)},"price":{_exact(i.price)},'
        f'"qty":{_exact(i.qty)},{replaces}"side":{i.side:d},"stop":{_exact(exits.stop)},'
        f'"target":{_exact(exits.target)},"type":"{type(o).__name__}"}}'
    )


def _outcome(o: m.Outcome) -> str:
    return (
        f'{{"cause":{_text(o.cause)},"decision":{_text(o.decision)},"entry":{_exact(o.entry)},"exit":{_exact(o.exit)},'
        f'"fees":{_number(o.fees)},"instrument":{_text(o.instrument)},"opened":{o.opened},'
        f'"optimistic_pnl":{_number(o.optimistic_pnl)},"pnl":{_number(o.pnl)},"provider":{_text(o.provider)},'
        f'"qty":{_exact(o.qty)},"side":{o.side:d},"slot":{o.slot},"time":{o.time}}}'
    )


def _change(c: m.Change) -> str:
    return f'{{"after":{_text(c.after)},"before":{_text(c.before)},"what":{_text(c.what)},"why":{_text(c.why)}}}'


def encode_step(step: m.Step, hashes: Sequence[str], state: Json = None) -> str:
    """A step; of each decision only its id and the SHA-256 of its record. state is what it left behind, if kept."""
    named = zip(step.decisions, hashes, strict=True)
    kept = "" if state is None else f',"state":{canonical(state)}'
    decisions = ",".join([f'{{"id":{_text(decision.id)},"sha256":"{sha}"}}' for decision, sha in named])
    return (
        f'{{"changes":{_list(step.changes, _change)},"decisions":[{decisions}],"equity":{_number(step.equity)},'
        f'"orders":{_list(step.orders, _order)},"outcomes":{_list(step.outcomes, _outcome)}'
        f"{kept}}}"
    )


# ---------------------------------------------------------------- back again


def decode_event(text: str | bytes | Mapping[str, Json]) -> m.Event:
    """The event that `encode_event` wrote; ValueError for anything else."""
    with _one_error():
        body = text if isinstance(text, Mapping) else _object(loads(text))
        return cast(m.Event, build(_TYPES[str(body["type"])], body))


def decode_decision(text: str | bytes) -> tuple[m.Decision, Stamp]:
    """The decision that `encode_decision` wrote, and the stamp of its run; ValueError for anything else."""
    with _one_error():
        body = _object(loads(text))
        intent, layers = body["intent"], body["layers"]
        asked = intent and {**_object(intent), "signal": body["signal"]}
        decision = build(m.Decision, {**body, "intent": asked, "judgement": None})
        judgement = None if layers is None else _judgement(_object(layers))
        return replace(decision, judgement=judgement), build(Stamp, body)


def decode_outcomes(step: Mapping[str, Json]) -> list[m.Outcome]:
    """The closed trades in the body of a step."""
    with _one_error():
        return [build(m.Outcome, _object(each)) for each in cast(Sequence[Json], step["outcomes"])]


@contextmanager
def _one_error() -> Iterator[None]:
    try:
        yield
    except (LookupError, TypeError, OverflowError) as error:
        raise ValueError(f"not a record of this schema: {error!r}") from error


def build(kind: type[T], body: Mapping[str, Json]) -> T:
    """A value of the model from its JSON object, field by field.

    A field that is not there takes its default: an account's journal may be older than the field, and a position that
    is open must outlive an upgrade.
    """
    names = _fields(cast(Any, kind))
    optional = _optional(cast(Any, kind))
    return kind(**{name: read(body[name]) for name, read in names if name in body or name not in optional})


def encode_value(value: object) -> Json:
    """Any value of the model, and what is built of such values, as JSON: `build` reads it back. What is not finite is
    not known."""
    match value:
        case None | bool() | str():
            return value.value if isinstance(value, Enum) else value
        case Enum():
            return cast(Json, value.value)
        case float():
            return value if isfinite(value) else None
        case int():
            return value
        case tuple() if not hasattr(value, "_fields"):
            return [encode_value(item) for item in value]
    return {name: encode_value(getattr(value, name)) for name, _ in _fields(cast(Any, type(value)))}


def _judgement(layers: Mapping[str, Json]) -> m.Judgement:
    rows = [_object(layers[layer]) for layer in m.LAYERS]
    facts, limits = ([_float(row[key]) for row in rows] for key in ("fact", "limit"))
    return m.Judgement(tuple(facts), tuple(limits), tuple(m.Status(str(row["status"])) for row in rows))


def _object(value: Json) -> Mapping[str, Json]:
    if not isinstance(value, Mapping):
        raise ValueError("not a JSON object")
    return value


def _float(value: Json) -> float:
    return nan if value is None else float(cast(float, value))


def _int(value: Json) -> int:
    """A count or a time: what a machine's word holds."""
    if not isinstance(value, int) or not -(2**63) <= value < 2**63:
        raise ValueError("not a whole number of 64 bits")
    return value


def _of(kind: type[T], value: Json) -> T:
    if not isinstance(value, kind):
        raise ValueError(f"not of the kind {kind.__name__}")
    return value


@cache
def _fields(kind: Any) -> tuple[tuple[str, Callable[[Json], Any]], ...]:
    hints = get_type_hints(kind)
    names = kind._fields if issubclass(kind, tuple) else [field.name for field in fields(kind) if field.init]
    return tuple((name, _reader(hints[name])) for name in names)


@cache
def _optional(kind: Any) -> frozenset[str]:
    """The fields that have a default."""
    if issubclass(kind, tuple):
        return frozenset(kind._field_defaults)
    return frozenset(each.name for each in fields(kind) if each.default is not MISSING)


def _reader(hint: Any) -> Callable[[Json], Any]:
    """How JSON becomes a value of the annotated type."""
    if isinstance(hint, NewType):
        return _reader(hint.__supertype__)
    if hint is float:
        return _float
    if hint is int:
        return _int
    if hint in (str, bool):
        return lambda value: _of(hint, value)
    if isinstance(hint, type) and (is_dataclass(hint) or hasattr(hint, "_fields")):
        return lambda value: build(hint, _object(value))
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint
    return _reader_of_parts(get_origin(hint), get_args(hint))


def _reader_of_parts(origin: Any, parts: tuple[Any, ...]) -> Callable[[Json], Any]:
    reads = [_reader(part) for part in parts if part not in (Ellipsis, type(None))]
    if origin in (Union, UnionType):
        return lambda value: None if value is None else reads[0](value)
    if origin is tuple and Ellipsis in parts:
        return lambda value: tuple([reads[0](item) for item in cast(Sequence[Json], value)])
    if origin is tuple:
        return lambda value: tuple([read(item) for read, item in zip(reads, cast(Any, value), strict=True)])
    return lambda value: value
