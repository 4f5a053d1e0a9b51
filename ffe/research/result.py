"""What a backtest returns: statistics, equity, trades, decisions, what each layer said, and a picture of it.

Everything is read from the run's own folder, for the journal is the truth of a run; nothing is kept beside it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

import numpy as np
import pandas as pd

from ffe.errors import NotWritable
from ffe.model import (
    LAYERS,
    Act,
    CashFlow,
    Cause,
    Command,
    Disposition,
    Event,
    Filled,
    InstrumentId,
    Judgement,
    Layer,
    Nanos,
    Outcome,
    Status,
)
from ffe.plain import plain
from ffe.records.chain import EQUITY
from ffe.records.encode import decode_event, decode_outcomes
from ffe.records.reader import Record, aftermath, explain, find, lines, records
from ffe.records.replay import Difference
from ffe.research.findings import SHOWN_FINDINGS, Finding, findings_of
from ffe.research.stats import Stats, statistics
from ffe.research.units import late_flows, unit_values

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ffe.research.backtest import Plan

E = TypeVar("E", bound=Event)
REFUSING = (Status.REFUSED, Status.DATA_MISSING)


@dataclass(frozen=True, slots=True)
class Happened:
    """A change of the engine's own state, as the journal has it."""

    time: Nanos
    what: str
    before: str
    after: str
    why: str


@dataclass(frozen=True, slots=True)
class _Reviewed:
    disposition: Disposition
    judgement: Judgement


class Result:
    """One finished run."""

    def __init__(self, folder: Path, plan: Plan, unreachable: dict[Layer, str]) -> None:
        self.folder, self.plan, self.unreachable = folder, plan, unreachable

    # ------------------------------------------------------------ money

    @cached_property
    def _curve(self) -> np.ndarray:
        curve: np.ndarray = np.load(self.folder / EQUITY, allow_pickle=False)
        return curve

    @cached_property
    def equity(self) -> pd.Series[float]:
        """Equity in the account currency at every bar's close, UTC: money, deposits and withdrawals included."""
        index = pd.DatetimeIndex(self._curve["time"].view("M8[ns]"), name="time").tz_localize("UTC")
        return pd.Series(self._curve["equity"], index, name="equity")

    @cached_property
    def flows(self) -> tuple[CashFlow, ...]:
        """Money that came, or went (negative), after the opening."""
        return tuple(late_flows(self.folder))

    @cached_property
    def value(self) -> pd.Series[float]:
        """What the first equity would be at every bar's close had no money come or gone: unit value, on its scale."""
        if not self.flows:
            return self.equity.rename("value")
        units = pd.Series(unit_values(self.folder, self.plan), self.equity.index, name="value")
        scale = (self.equity / units).dropna()  # both are unknown before the first money
        return units.where(self.equity.notna()) * (scale.iloc[0] if len(scale) else 1.0)

    @cached_property
    def stats(self) -> Stats:
        time, equity = self._curve["time"].copy(), self._curve["equity"].copy()
        return statistics(
            time, equity, self.outcomes, np.asarray(self.value, np.float64), tuple(self.open_trades.values())
        )

    @cached_property
    def outcomes(self) -> tuple[Outcome, ...]:
        """Every closed trade, in the order in which they closed."""
        steps = (line.body for _, line in lines(self.folder) if line.kind == "step")
        return tuple(outcome for body in steps for outcome in decode_outcomes(body))

    @cached_property
    def trades(self) -> pd.DataFrame:
        """A row a closed trade: prices are averages, pnl is net of fees and financing in the account currency."""
        frame = pd.DataFrame([asdict(outcome) for outcome in self.outcomes], columns=_names(Outcome))
        return _timed(frame, "opened", "time").assign(side=[o.side.name for o in self.outcomes])

    @cached_property
    def open_trades(self) -> dict[InstrumentId, Nanos]:
        """What was still held at the end, and since when; not among the trades."""
        found: dict[InstrumentId, Nanos] = {}
        for _, line in lines(self.folder):
            if line.kind == "event" and line.body["type"] == "Filled":
                event = decode_event(line.body)
                if isinstance(event, Filled) and event.fill.cause is Cause.ENTRY:
                    found.setdefault(event.fill.instrument, event.time)
            elif line.kind == "step":
                for outcome in decode_outcomes(line.body):
                    del found[outcome.instrument]
        return found

    @cached_property
    def ambiguous_bars(self) -> int:
        """Bars in which stop and target both lay, and the stop was taken."""
        return sum(event.fill.optimistic is not None for event in self.happened(Filled))

    @cached_property
    def re_arms(self) -> int:
        """How often the operator cleared what had latched."""
        return sum(command.act is Act.RE_ARM for command in self.happened(Command))

    @cached_property
    def stop_outs(self) -> int:
        """How often a venue closed a MARGIN account for want of margin."""
        fills = self.happened(Filled)
        return len({(f.time, f.venue) for f in fills if f.fill.cause is Cause.LIQUIDATION})

    def happened(self, kind: type[E]) -> Iterator[E]:
        """The events of one type that the journal has."""
        for _, line in lines(self.folder):
            if line.kind == "event" and line.body["type"] == kind.__name__:
                yield cast(E, decode_event(line.body))

    # ------------------------------------------------------------ decisions

    @cached_property
    def records(self) -> tuple[Record, ...]:
        return tuple(records(self.folder))

    @cached_property
    def decisions(self) -> pd.DataFrame:
        """A row a decision, with every layer's fact under the layer's name."""
        rows = [
            {
                "time": d.time, "instrument": d.instrument, "disposition": d.disposition.value, "reason": d.reason,
                "side": d.signal.side.name if d.signal else None,
                "confidence": d.signal.confidence if d.signal else None,
                "qty": d.intent.qty if d.intent else None, "price": d.intent.price if d.intent else None,
                **(dict(zip(LAYERS, d.judgement.facts, strict=True)) if d.judgement else {}),
                "slot": d.slot, "id": d.id, "follows": d.follows,
            }
            for d in (record.decision for record in self.records)
        ]  # fmt: skip
        return _timed(
            pd.DataFrame(rows, columns=None if rows else ["time", "instrument", "disposition", "reason", "id"]), "time"
        )

    @cached_property
    def dispositions(self) -> Counter[Disposition]:
        return Counter(record.decision.disposition for record in self.records)

    @cached_property
    def gates(self) -> pd.DataFrame:
        """A row a layer: how many entries it judged, passed, warned of, refused (for what it saw, or for missing
        data), how often it was the first to refuse, and why it could not speak at all, where that is so.

        An entry that only waits for its session is not judged yet; it is counted as waited, and again when it is
        judged.
        """
        judged = [d.judgement for d in self._reviewed if d.disposition is not Disposition.WAITING]
        said = [Counter(judgement.statuses[n] for judgement in judged) for n in range(len(LAYERS))]
        first = Counter(next((n for n, s in enumerate(j.statuses) if s in REFUSING), None) for j in judged)
        rows = [
            {
                "judged": len(judged), "passed": counts[Status.PASSED], "warned": counts[Status.WARNED],
                "refused": counts[Status.REFUSED], "data_missing": counts[Status.DATA_MISSING], "first": first[n],
                "waited": self.dispositions[Disposition.WAITING] if LAYERS[n] is Layer.MARKET_HOURS else 0,
                "unreachable": self.unreachable.get(LAYERS[n], "") if counts[Status.PASSED] == len(judged) else "",
            }
            for n, counts in enumerate(said)
        ]  # fmt: skip
        return pd.DataFrame(rows, pd.Index([layer.value for layer in LAYERS], name="layer"))

    @property
    def _reviewed(self) -> list[_Reviewed]:
        """Every entry that the gatekeeper judged; exits are waived, not judged."""
        decided = (record.decision for record in self.records)
        return [
            _Reviewed(d.disposition, d.judgement)
            for d in decided
            if d.judgement is not None and Status.WAIVED not in d.judgement.statuses
        ]

    # ------------------------------------------------------------ the engine's own state

    @cached_property
    def changes(self) -> tuple[Happened, ...]:
        """Latches, breakers, slots: every change the journal has, in order."""
        found: list[Happened] = []
        time = self.plan.start
        for _, line in lines(self.folder):
            if line.kind == "event":
                time = decode_event(line.body).time
            elif line.kind == "step":
                time = self._step_time(line.bars, time)
                found += [Happened(time, **change) for change in line.body["changes"]]  # type: ignore[arg-type, union-attr]
        return tuple(found)

    def _step_time(self, bars: int, time: Nanos) -> Nanos:
        """A step comes with the newest of its event and its bars."""
        return max(time, int(self._curve["time"][bars - 1])) if bars else time

    @cached_property
    def slots(self) -> pd.Series[int]:
        """How many slots were held by open trades at every bar's close."""
        times, held = self._curve["time"], np.zeros(len(self._curve) + 1, np.int64)
        for outcome in self.outcomes:
            held[np.searchsorted(times, outcome.opened, side="right")] += 1
            held[np.searchsorted(times, outcome.time, side="left")] -= 1
        for opened in self.open_trades.values():
            held[np.searchsorted(times, opened, side="right")] += 1
        return pd.Series(np.cumsum(held)[:-1], self.equity.index, name="slots")

    # ------------------------------------------------------------ what one does with it

    @cached_property
    def findings(self) -> tuple[Finding, ...]:
        """What a careful friend would say of it, the gravest first."""
        return findings_of(self)

    def plot(self, path: Path | str | None = None) -> Figure:
        """Equity with drawdown, slots over time, refusals by layer; saved as a picture if a path is given."""
        from ffe.research.plots import run_figure

        figure = run_figure(self)
        try:
            if path is not None:
                figure.savefig(path, dpi=120)
        except (OSError, ValueError) as error:
            raise NotWritable(f"{path}: {error}. Name a picture such as run.png, in a folder that is there.") from error
        return figure

    def why(self, id: str) -> str:
        """Why a decision fell as it did, layer by layer, and what came of it; the beginning of its id is enough."""
        record = find(self.folder, id)
        return explain(record, aftermath(self.folder, record.decision))

    def replay(self) -> Difference | None:
        """Run it again from its journal, sending nowhere; None if every byte is the same."""
        from ffe.research.rerun import rerun

        return rerun(self.folder, self.plan)

    def __repr__(self) -> str:
        s = self.stats
        return (
            f"Result of {self.folder.name}: {s.total_return:+.2%}, Sharpe {s.sharpe:.2f}, "
            f"drawdown {s.max_drawdown:.2%}, {s.trades} trades, {len(self.records)} decisions in {self.folder}"
        )

    def _repr_html_(self) -> str:
        table = pd.DataFrame({"value": {f.name: getattr(self.stats, f.name) for f in fields(Stats)}})
        said = "".join(f"<p>{escape(plain(str(finding)))}</p>" for finding in self.findings[:SHOWN_FINDINGS])
        return f"<p><b>{escape(plain(self.folder.name))}</b></p>{said}{table.to_html(float_format='{:,.4g}'.format)}"


def _names(kind: type[Outcome]) -> list[str]:
    return [field.name for field in fields(kind)]


def _timed(frame: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """Times as UTC timestamps."""
    return frame.assign(**{column: pd.to_datetime(frame[column].astype("int64"), utc=True) for column in columns})
