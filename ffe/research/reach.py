"""Which layers a configuration cannot reach: a limit that can never speak protects nobody, and a run says so."""

from __future__ import annotations

from collections import Counter

from ffe.hours import Hours
from ffe.model import InstrumentId, Layer, Universe
from ffe.risk.limits import Rules


def unreachable(
    universe: Universe, hours: dict[InstrumentId, Hours], rules: Rules, has_holdings: bool
) -> dict[Layer, str]:
    """Layer -> why it can neither refuse nor warn with these instruments and limits, whatever the prices."""
    venues = Counter(instrument.venue for instrument in universe)
    found: dict[Layer, str] = {}
    if all(len(hours[i.id].opens) == 1 for i in universe):
        found[Layer.MARKET_HOURS] = "every market here is always open"
    if max(venues.values()) <= rules.gate.correlated_count and not has_holdings:
        found[Layer.CORRELATION] = f"no venue has more than {rules.gate.correlated_count} instruments"
    elif rules.slots.slots < rules.gate.correlated_count and not has_holdings:
        found[Layer.CORRELATION] = "one slot cannot hold enough instruments"
    if len(venues) == 1:
        found[Layer.CROSS_VENUE] = f"{next(iter(venues))} is the only venue"
    if not has_holdings:
        share = rules.size.concentration_share
        if share < 1.0:
            found[Layer.CONCENTRATION] = (
                f"sizes stop at {share:.0%} of what it leaves (an add to a grown trade can meet it)"
            )
        gross = rules.slots.slots * rules.gate.concentration_ratio * share
        if gross <= rules.gate.leverage_ratio:
            found[Layer.LEVERAGE] = (
                f"{rules.slots.slots} slots of {rules.gate.concentration_ratio:.0%} make {gross:.1%}"
            )
    return found
