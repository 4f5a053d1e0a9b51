"""Values to record: a typical decision, fill and step, and the runs that are made of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from math import nan
from pathlib import Path

import ffe.model as m
from ffe.records.disk import Disk
from ffe.records.encode import Json, Stamp
from ffe.records.journal import LiveJournal, RunJournal

STAMP = Stamp(session="7c0d", code="0.1.0+abc", config="c" * 64, data="d" * 64)
EURUSD = m.InstrumentId("oanda:EUR/USD")
OANDA = m.Venue("oanda")
START = 1_704_184_200 * m.SECOND  # 2024-01-02 08:30 UTC
DAY = "2024-01-02"

SIGNAL = m.Signal(EURUSD, m.Side.LONG, 72, "sma_cross", stop=1.0712345, reasoning='fast crossed slow, "again" – ü')
INTENT = m.Intent(
    m.Purpose.ENTRY, EURUSD, m.Side.LONG, 23_456.7, 1.0934567, 1.0712345, 1.1481295, "concentration", SIGNAL
)
JUDGEMENT = m.Judgement(
    (0.0, 0.0, 3.25, 0.0123456789, 1.0, 0.0312345678, nan, 0.2374321, 0.237654321, 0.00523456),
    (0.0, 0.0, 900.0, 0.05, 2.0, 0.05, 0.5, 0.25, 5.0, 0.05),
    (m.Status.PASSED,) * 6 + (m.Status.WARNED,) + (m.Status.PASSED,) * 3,
)
REFUSAL = m.Judgement((*JUDGEMENT.facts[:5], 0.061, *JUDGEMENT.facts[6:]), JUDGEMENT.limits,
                      (*JUDGEMENT.statuses[:5], m.Status.REFUSED, *JUDGEMENT.statuses[6:]))  # fmt: skip
TAIL = m.TailRisk(0.0412345, 0.0287654, 30_123.456)


def decision_id(n: int) -> m.DecisionId:
    return m.DecisionId(f"{n:08d}-aaaa")


def decision(n: int, time: m.Nanos = START) -> m.Decision:
    return m.Decision(
        decision_id(n), 2 * n, time, m.Disposition.SENT, "", EURUSD, SIGNAL, INTENT, JUDGEMENT, TAIL, n % 2,
        m.OrderId(f"order{n}"),
    )  # fmt: skip


def refused(n: int, time: m.Nanos = START) -> m.Decision:
    """What comes after entry n."""
    id, before = decision_id(10_000 + n), decision_id(10_000 + n - 1)
    return m.Decision(
        id, 2 * n + 1, time, m.Disposition.REFUSED, m.Layer.VAR, EURUSD, SIGNAL, INTENT, REFUSAL, TAIL, None, None,
        before,
    )  # fmt: skip


def bars(time: m.Nanos, price: float = 1.09) -> m.Bars:
    return m.Bars(time, (m.Bar(EURUSD, m.HOUR, time - m.HOUR, time, price, price, price, price, 100.0),))


def opens(time: m.Nanos) -> m.Quotes:
    return m.Quotes(time, (m.Quote(EURUSD, 1.09),))


def filled(n: int, time: m.Nanos = START) -> m.Filled:
    fill = m.Fill(f"trade{n}", EURUSD, 23_456.7, 1.0935678, 1.28, m.Currency("USD"), m.Cause.ENTRY)
    return m.Filled(time, OANDA, m.OrderId(f"order{n}"), fill, True)


def entering(n: int, time: m.Nanos = START) -> m.Step:
    enter = m.Enter(m.OrderId(f"order{n}"), m.Approved(INTENT, JUDGEMENT), 1.1)
    return m.Step(100_000.0 + n, (decision(n, time),), (enter,))


def closing(n: int, time: m.Nanos = START) -> m.Step:
    trade = m.Outcome(
        time, time - m.HOUR, EURUSD, "sma_cross", m.Side.LONG, 23_456.7, 1.0935678, 1.1, 150.5, 2.5, "target",
        decision_id(n), n % 2,
    )  # fmt: skip
    return m.Step(100_000.0, outcomes=(trade,), changes=(m.Change(f"slot {n % 2}", "open", "free"),))


def quiet(equity: float = 100_000.0) -> m.Step:
    return m.Step(equity)


class QuickDisk(Disk):
    """Leaves the syncing to the kernel: for tests in which no power is cut."""

    def sync(self, fd: int) -> None:
        pass


Happened = tuple[m.Event, m.Step]


def story(trades: int, start: int = 0) -> Iterator[Happened]:
    """Hour by hour: nothing, an entry decided, its open and fill, nothing, and the trade is closed."""
    for n in range(start, start + trades):
        time = START + 4 * n * m.HOUR
        yield bars(time), quiet()
        yield bars(time + m.HOUR), entering(n, time + m.HOUR)
        yield opens(time + m.HOUR), quiet()
        yield filled(n, time + m.HOUR), quiet(99_999.5)
        yield bars(time + 2 * m.HOUR), closing(n, time + 2 * m.HOUR)
        yield bars(time + 3 * m.HOUR), m.Step(nan, (refused(n, time + 3 * m.HOUR),))


def write_run(path: Path, happened: Iterable[Happened], stamp: Stamp = STAMP) -> Path:
    with RunJournal(path, stamp, {"seed": 7}, QuickDisk()) as journal:
        for event, step in happened:
            journal.event(event)
            journal.step(step)
    return path


def checkpoint() -> Mapping[str, Json]:
    return {"positions": {}}


def open_live(root: Path, session: str = "7c0d", disk: Disk | None = None) -> LiveJournal:
    return LiveJournal(root, Stamp(session, "0.1.0+abc", "c" * 64, "d" * 64), {"venue": "oanda"}, checkpoint, disk)


def write_live(root: Path, happened: Iterable[Happened], session: str = "7c0d") -> str:
    """A session that is closed; its last hash."""
    journal = open_live(root, session, QuickDisk())
    for event, step in happened:
        journal.event(event)
        journal.step(step)
    journal.close()
    return journal.head


def overwrite(path: Path, data: bytes) -> None:
    path.chmod(0o600)
    path.write_bytes(data)
