"""The only maker of approvals: entries are judged on all facts, exits are what provably reduces."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffe.model import LAYERS, Approved, AssetClass, Intent, Layer, Purpose, Qty, Refused, Side, Status, Verdict
from ffe.risk.gatekeeper import Gatekeeper, freshness_limit
from ffe.risk.limits import GateLimits
from tests.risk.values import BTC

NAN = math.nan
CRYPTO, FOREX, STOCK, INDEX = AssetClass
KEEPER = Gatekeeper(GateLimits())
ENTRY = Intent(Purpose.ENTRY, BTC.id, Side.LONG, 2.0, 100.0, None, None, "risk_per_trade")
EXIT = replace(ENTRY, purpose=Purpose.EXIT, side=Side.SHORT, rule="signal")
CALM = (0.0, 0.0, 10.0, 0.01, 1.0, 0.02, 0.1, 0.2, 0.5, 0.02, 70.0)
LIMITS = (0.0, 0.0, 900.0, 0.05, 2.0, 0.05, 0.5, 0.25, 5.0, 0.05)
REFUSING = [layer for layer in LAYERS if layer not in (Layer.AFTER_HOURS, Layer.CROSS_VENUE)]


def review(*changes: tuple[Layer, float], confidence: float = 70.0, asset: AssetClass = CRYPTO) -> Verdict:
    facts = np.array([*CALM[:-1], confidence])
    for layer, fact in changes:
        facts[LAYERS.index(layer)] = fact
    return KEEPER.review(ENTRY, facts, asset)


# ---------------------------------------------------------------- entries


def test_calm_entry_is_approved_with_every_layer_kept() -> None:
    verdict = review()
    assert isinstance(verdict, Approved)
    assert verdict.intent is ENTRY
    assert (verdict.judgement.facts, verdict.judgement.limits) == (CALM[:10], LIMITS)
    assert verdict.judgement.statuses == (Status.PASSED,) * 10


@pytest.mark.parametrize("layer", REFUSING)
def test_refusal_names_its_layer_with_fact_and_limit(layer: Layer) -> None:
    verdict = review((layer, 1e6))
    assert isinstance(verdict, Refused)
    assert (verdict.layer, verdict.status, verdict.fact) == (layer, Status.REFUSED, 1e6)
    assert verdict.limit == LIMITS[LAYERS.index(layer)]
    assert verdict.judgement.statuses.count(Status.PASSED) == 9


@pytest.mark.parametrize("layer", [Layer.AFTER_HOURS, Layer.CROSS_VENUE])
def test_warning_is_kept_and_approves(layer: Layer) -> None:
    verdict = review((layer, 1.0))
    assert isinstance(verdict, Approved)
    assert verdict.judgement.statuses[LAYERS.index(layer)] is Status.WARNED


@pytest.mark.parametrize("unknown", [NAN, math.inf, -math.inf])
@pytest.mark.parametrize("layer", LAYERS)
def test_unknown_fact_refuses_by_its_layer_as_missing_data(layer: Layer, unknown: float) -> None:
    verdict = review((layer, unknown))
    assert isinstance(verdict, Refused)
    assert (verdict.layer, verdict.status) == (layer, Status.DATA_MISSING)


def test_first_refusal_is_the_reason_and_the_others_are_kept() -> None:
    verdict = review((Layer.VAR, 0.06), (Layer.DRAWDOWN, NAN), (Layer.LEVERAGE, 6.0))
    assert isinstance(verdict, Refused)
    assert (verdict.layer, verdict.status) == (Layer.DRAWDOWN, Status.DATA_MISSING)
    said = dict(zip(LAYERS, verdict.judgement.statuses, strict=True))
    assert (said[Layer.VAR], said[Layer.LEVERAGE]) == (Status.REFUSED, Status.REFUSED)


def test_confidence_saves_an_entry_in_a_wild_market() -> None:
    assert isinstance(review((Layer.CONVICTION, 0.06), confidence=80.0), Approved)
    assert isinstance(review((Layer.CONVICTION, 0.06), confidence=79.0), Refused)


@pytest.mark.parametrize(("asset", "seconds"), [(CRYPTO, 900.0), (FOREX, 900.0), (STOCK, 14400.0), (INDEX, 14400.0)])
def test_freshness_depends_on_the_asset_class(asset: AssetClass, seconds: float) -> None:
    assert freshness_limit(GateLimits(), asset) == seconds
    assert isinstance(review((Layer.FRESHNESS, seconds), asset=asset), Approved)
    verdict = review((Layer.FRESHNESS, seconds + 1.0), asset=asset)
    assert isinstance(verdict, Refused) and verdict.limit == seconds


def test_every_limit_is_the_configured_one() -> None:
    limits = GateLimits(1.0, 2.0, 3.0, 4.0, 0.06, 7, 0.8, 9, 0.11, 0.12, 0.13, 0.14, 0.15, 0.16, 17, 18)
    for asset, fresh in ((CRYPTO, 1.0), (FOREX, 2.0), (STOCK, 3.0), (INDEX, 3.0)):
        verdict = Gatekeeper(limits).review(ENTRY, np.zeros(11), asset)
        assert verdict.judgement.limits == (0.0, 0.0, fresh, 0.06, 9.0, 0.11, 0.13, 0.14, 0.15, 0.16)
    facts = np.array([*CALM[:-1], 18.0])
    facts[2], facts[9] = -4.0, 0.17
    assert Gatekeeper(limits).review(ENTRY, facts, CRYPTO).judgement.statuses[2::7] == (Status.PASSED, Status.PASSED)
    facts[2], facts[10] = -4.1, 17.0
    assert Gatekeeper(limits).review(ENTRY, facts, CRYPTO).judgement.statuses[2::7] == (Status.REFUSED, Status.REFUSED)


def test_verdicts_do_not_change_after_they_were_given() -> None:
    facts = np.array(CALM)
    verdict = KEEPER.review(ENTRY, facts, CRYPTO)
    facts[:] = NAN
    KEEPER.review(ENTRY, facts, CRYPTO)
    assert (verdict.judgement.facts, verdict.judgement.statuses) == (CALM[:10], (Status.PASSED,) * 10)


# ---------------------------------------------------------------- exits


@pytest.mark.parametrize(("held", "side"), [(5.0, Side.SHORT), (-5.0, Side.LONG)])
def test_exit_gets_its_key_with_every_layer_waived(held: Qty, side: Side) -> None:
    approved = KEEPER.reduce(replace(EXIT, side=side), held, CRYPTO)
    assert approved is not None
    assert approved.intent == replace(EXIT, side=side)
    assert approved.judgement.statuses == (Status.WAIVED,) * 10
    assert approved.judgement.limits == LIMITS
    assert all(math.isnan(fact) for fact in approved.judgement.facts)


@pytest.mark.parametrize(("qty", "clipped"), [(2.0, 2.0), (5.0, 5.0), (5.1, 5.0), (math.inf, 5.0)])
def test_exit_is_clipped_to_what_is_held(qty: Qty, clipped: Qty) -> None:
    approved = KEEPER.reduce(replace(EXIT, qty=qty), 5.0, CRYPTO)
    assert approved is not None and approved.intent.qty == clipped


@pytest.mark.parametrize(
    ("held", "changes"),
    [
        (-5.0, {}),
        (0.0, {}),
        (NAN, {}),
        (5.0, {"side": Side.LONG}),
        (5.0, {"side": Side.FLAT}),
        (5.0, {"qty": 0.0}),
        (5.0, {"qty": -1.0}),
        (5.0, {"qty": NAN}),
        (5.0, {"purpose": Purpose.ENTRY}),
    ],
)
def test_label_does_not_make_an_exit(held: Qty, changes: dict[str, object]) -> None:
    assert KEEPER.reduce(replace(EXIT, **changes), held, CRYPTO) is None  # type: ignore[arg-type]


anything = st.floats(allow_nan=True, allow_infinity=True)


@given(anything, anything, st.sampled_from(Side), st.sampled_from(Purpose))
def test_key_for_an_exit_never_adds_exposure(held: Qty, qty: Qty, side: Side, purpose: Purpose) -> None:
    approved = KEEPER.reduce(replace(EXIT, qty=qty, side=side, purpose=purpose), held, STOCK)
    if approved is not None:
        after = held + approved.intent.side * approved.intent.qty
        assert approved.intent.side * held < 0.0
        assert 0.0 < approved.intent.qty <= abs(held)
        assert abs(after) <= abs(held) or math.isnan(after)


@given(st.floats(1e-6, 1e9), st.floats(1e-9, 1e12), st.sampled_from([Side.LONG, Side.SHORT]))
def test_what_reduces_is_never_refused(held: Qty, qty: Qty, side: Side) -> None:
    assert KEEPER.reduce(replace(EXIT, qty=qty, side=side), -side * held, CRYPTO) is not None
