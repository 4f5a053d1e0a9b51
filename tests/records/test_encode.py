"""Canonical text: the same bytes for the same value, and the same value back."""

from __future__ import annotations

import json
from dataclasses import replace
from math import inf, isnan, nan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ffe.model as m
from ffe.records.encode import (
    canonical,
    decode_decision,
    decode_event,
    decode_outcomes,
    encode_decision,
    encode_event,
    encode_step,
    loads,
    utf8,
)
from tests.records.values import JUDGEMENT, STAMP, closing, decision, filled

finite = st.floats(allow_nan=False, allow_infinity=False)
st.register_type_strategy(int, st.integers(-(2**63), 2**63 - 1))  # more is no count and no time
number = st.floats(allow_infinity=False)
maybe = st.none() | finite


def tuples(items: st.SearchStrategy[object]) -> st.SearchStrategy[tuple[object, ...]]:
    return st.lists(items, max_size=3).map(tuple)


bar = st.builds(m.Bar, open=number, high=number, low=number, close=number, volume=number)
fill = st.builds(m.Fill, qty=number, price=number, fee=number, optimistic=maybe, rate=maybe, pl=maybe)
EVENTS: dict[type, st.SearchStrategy[m.Event]] = {
    m.Bars: st.builds(m.Bars, bars=tuples(bar)),
    m.Quotes: st.builds(m.Quotes, quotes=tuples(st.builds(m.Quote, mid=number))),
    m.Filled: st.builds(m.Filled, fill=fill),
    m.Report: st.builds(m.Report, fills=tuples(fill)),
    m.AccountRead: st.builds(
        m.AccountRead, cash=tuples(st.tuples(st.text(), number)), positions=tuples(st.tuples(st.text(), number))
    ),
    m.CashFlow: st.builds(m.CashFlow, amount=number),
    m.Found: st.builds(m.Found, holding=st.builds(m.Holding, qty=number, price=number)),
    **{
        kind: st.builds(kind)
        for kind in (m.Command, m.Accepted, m.Rejected, m.Cancelled, m.Failed, m.Heard, m.StopUnfilled, m.Withheld)
    },
}
events = st.one_of(*EVENTS.values())
facts = st.lists(number, min_size=10, max_size=10).map(tuple)
judgements = st.builds(
    m.Judgement,
    facts=facts,
    limits=facts,
    statuses=st.lists(st.sampled_from(m.Status), min_size=10, max_size=10).map(tuple),
)
signals = st.builds(m.Signal, stop=maybe, target=maybe, qty=maybe)


@st.composite
def decisions(draw: st.DrawFn) -> m.Decision:
    signal = draw(st.none() | signals)
    intent = st.builds(m.Intent, qty=number, price=number, stop=maybe, target=maybe, signal=st.just(signal))
    tail = st.builds(m.TailRisk, number, number, number)
    return draw(
        st.builds(
            m.Decision,
            signal=st.just(signal),
            intent=st.none() | intent,
            judgement=st.none() | judgements,
            tail=st.none() | tail,
        )
    )


approved = st.builds(
    m.Approved, st.builds(m.Intent, qty=number, price=number, stop=maybe, target=maybe, signal=st.none()), judgements
)
orders = st.one_of(
    st.builds(m.Enter, approved=approved, collar=number),
    st.builds(m.Exit, approved=approved),
    st.builds(m.Protect, approved=approved, stop=number, target=number),
    st.builds(m.Cancel),
    st.builds(m.Query),
)
outcomes = st.builds(
    m.Outcome, qty=number, entry=number, exit=number, pnl=number, fees=number, optimistic_pnl=maybe
)  # fmt: skip
steps = st.builds(
    m.Step,
    equity=number,
    decisions=tuples(st.just(decision(1))),
    orders=tuples(orders),
    outcomes=tuples(outcomes),
    changes=tuples(st.builds(m.Change)),
)


def is_canonical(text: str) -> bool:
    return text == json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def test_every_event_of_the_model_has_an_encoder() -> None:
    answers = {kind.__name__ for kind in m.Answer.__subclasses__()}
    assert {kind.__name__ for kind in EVENTS} == {"Bars", "Quotes", "Command"} | answers


@given(events)
def test_an_event_comes_back_as_it_was(event: m.Event) -> None:
    text = encode_event(event)
    assert is_canonical(text)
    assert repr(decode_event(text)) == repr(event)  # by repr: NaN is not equal to itself, and -0.0 is equal to 0.0
    assert repr(decode_event(json.loads(text))) == repr(event)
    if "nan" not in repr(event):
        assert decode_event(utf8(text)) == event


@given(decisions())
def test_a_decision_comes_back_as_it_was(decided: m.Decision) -> None:
    text = encode_decision(decided, STAMP)
    assert is_canonical(text)
    assert repr(decode_decision(text)) == repr((decided, STAMP))


@given(steps)
def test_a_step_is_canonical_and_keeps_its_outcomes(step: m.Step) -> None:
    text = encode_step(step, ["a" * 64] * len(step.decisions))
    assert is_canonical(text)
    assert repr(tuple(decode_outcomes(json.loads(text)))) == repr(step.outcomes)


@pytest.mark.parametrize("price", [-0.0, 5e-324, 2.2250738585072014e-308, 1e308, 0.1, 1e16, 123456789.123456789])
def test_odd_floats_are_exact(price: float) -> None:
    event = m.Quotes(1, (m.Quote(m.InstrumentId("v:s"), price),))
    assert repr(decode_event(encode_event(event))) == repr(event)
    assert f'"{price!r}"' in encode_event(event)


@pytest.mark.parametrize("price", [nan, inf, -inf])
def test_what_is_no_number_is_null_and_read_as_unknown(price: float) -> None:
    text = encode_event(m.Quotes(1, (m.Quote(m.InstrumentId("v:s"), price),)))
    read = decode_event(text)
    assert '"mid":null' in text
    assert isinstance(read, m.Quotes)
    assert isnan(read.quotes[0].mid)


def test_numpy_numbers_and_ints_are_written_as_the_floats_they_equal() -> None:
    plain = filled(1)
    odd = replace(plain, fill=replace(plain.fill, qty=np.float64(plain.fill.qty), fee=np.float64(plain.fill.fee)))
    assert encode_event(odd) == encode_event(plain)
    assert encode_event(m.Found(1, m.Venue("v"), None, m.Holding(m.InstrumentId("v:s"), 2, 3))) == encode_event(
        m.Found(1, m.Venue("v"), None, m.Holding(m.InstrumentId("v:s"), 2.0, 3.0))
    )


def test_a_lone_surrogate_is_written_and_read() -> None:
    event = m.Rejected(1, m.Venue("v"), None, "half \ud83d a pair")
    data = utf8(encode_event(event))
    assert decode_event(data) == event
    assert utf8(canonical(loads(data))) == data


def test_a_judgement_that_lacks_a_layer_is_not_written() -> None:
    short = replace(decision(1), judgement=m.Judgement(JUDGEMENT.facts[:9], JUDGEMENT.limits[:9], JUDGEMENT.statuses))
    with pytest.raises(ValueError, match="shorter"):
        encode_decision(short, STAMP)


@given(st.recursive(st.none() | st.booleans() | number | st.text(),
                    lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(), x, max_size=3)))  # fmt: skip
def test_other_json_is_a_value_error(value: object) -> None:
    text = json.dumps(value)
    for decode in (decode_event, decode_decision):
        with pytest.raises(ValueError):
            decode(text)


@pytest.mark.parametrize(
    "text", ["", "{", "NaN", '{"type":"Bars","time":Infinity}', "[" * 100_000, b"\xff\xfe", "7" * 5000]
)
def test_what_is_no_json_is_a_value_error(text: str | bytes) -> None:
    with pytest.raises(ValueError):
        decode_event(text)


def test_a_wrong_field_is_a_value_error() -> None:
    body = json.loads(encode_event(filled(1)))
    for broken in ({**body, "type": "Nothing"}, {**body, "fill": 3}, {k: v for k, v in body.items() if k != "done"}):
        with pytest.raises(ValueError):
            decode_event(broken)


def test_the_texts_of_this_schema_do_not_change() -> None:
    assert encode_event(filled(1)) == (
        '{"done":true,"fill":{"cause":"entry","fee":1.28,"fee_currency":"USD","instrument":"oanda:EUR/USD",'
        '"optimistic":null,"pl":null,"price":"1.0935678","qty":"23456.7","rate":null,"trade":"trade1"},"order":"order1",'
        '"ours":null,"time":1704184200000000000,"type":"Filled","venue":"oanda"}'
    )
    assert encode_step(closing(1), []) == (
        '{"changes":[{"after":"free","before":"open","what":"slot 1","why":""}],"decisions":[],"equity":100000.0,'
        '"orders":[],"outcomes":[{"cause":"target","decision":"00000001-aaaa","entry":"1.0935678","exit":"1.1",'
        '"fees":2.5,"instrument":"oanda:EUR/USD","opened":1704180600000000000,"optimistic_pnl":null,"pnl":150.5,'
        '"provider":"sma_cross","qty":"23456.7","side":1,"slot":1,"time":1704184200000000000}]}'
    )
