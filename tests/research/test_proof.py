"""Every planted look-ahead is found, no honest strategy is accused, and the message names what to look at."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pandas as pd
import pytest

from ffe import BarSet, Settings, Strategy, backtest, synthetic
from ffe.errors import LookAhead
from ffe.hours import instant
from ffe.model import DAY, HOUR, Nanos
from ffe.research.proof import EARLY, MOVED, OTHERS, Proof, Remembered, difference, prove
from strategies.donchian_breakout import DonchianBreakout
from strategies.ma_cross import MaCross
from strategies.pullback import Pullback
from strategies.rsi_reversion import RsiReversion
from tests.research import planted
from tests.research.planted import EVENT_PLANTS, HONEST, PLANTS, PRICES

SHIPPED: tuple[Strategy, ...] = (MaCross(), DonchianBreakout(), RsiReversion())
LATER = instant("2040-01-01")
MONTHS, YEARS = 2_900, 35_000  # hours of four


def made(hours: int, seed: int, since: str = "2020-01-01") -> BarSet:
    instruments = [Settings().instrument(name) for name in ("BTC/USD", "ETH/USD")]
    return synthetic(instruments, HOUR, instant(since), hours, seed=seed, missing=0.0)


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    PRICES.clear()
    yield
    PRICES.clear()


def known(bars: BarSet, folder: Path) -> BarSet:
    """The bars, and all that a plant may have kept of them."""
    PRICES.clear()
    close = bars.frame("close", HOUR)
    ahead = close.iloc[:, 0].shift(-3).fillna(0.0)
    at = [int(time.value) for time in close.index]
    PRICES.update(frame=close, dict=dict(zip(at, ahead, strict=True)))
    PRICES.update(file=folder / "prices.csv", times=folder / "times.csv")
    close.to_csv(folder / "prices.csv")
    (folder / "times.csv").write_text("".join(f"{t},{p}\n" for t, p in PRICES["dict"].items()))
    return bars


@pytest.fixture(scope="module")
def bars() -> BarSet:
    return made(MONTHS, seed=1)


def named(strategy: object) -> str:
    return type(strategy).__name__


@pytest.mark.parametrize("plant", PLANTS, ids=named)
def test_planted_look_ahead_over_columns_is_found(plant: Strategy, bars: BarSet, tmp_path: Path) -> None:
    with pytest.raises(LookAhead, match=f"{plant.name} decides"):
        prove(plant, known(bars, tmp_path), HOUR, "1")


@pytest.mark.parametrize("plant", EVENT_PLANTS, ids=named)
def test_planted_look_ahead_over_events_is_found(plant: Strategy, bars: BarSet, tmp_path: Path) -> None:
    """There was no check."""
    with pytest.raises(LookAhead, match="moved by 28 years"):
        backtest(plant, known(bars, tmp_path), Settings(data_folder=tmp_path))


@pytest.mark.parametrize("strategy", [*HONEST, *SHIPPED], ids=named)
def test_honest_strategy_is_not_accused(strategy: Strategy) -> None:
    _, proof = prove(strategy, made(600, seed=2, since="2020-02-15"), HOUR, is_whole=True)
    assert proof == Proof(600, 600)


@pytest.mark.parametrize("strategy", [planted.Hears(), Pullback()], ids=named)
def test_honest_strategy_that_hears_events_is_not_accused(strategy: Strategy, bars: BarSet, tmp_path: Path) -> None:
    result = backtest(strategy, bars.between(0, bars.series[0].close_time[600]), Settings(data_folder=tmp_path))
    assert result.dispositions.total() > 0 and result.plan.proof.proven >= 600
    again = backtest(strategy, result.plan.bars, Settings(data_folder=tmp_path))
    assert again.plan.proof.is_remembered and again.replay() is None


@pytest.mark.campaign
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("hours", [MONTHS, YEARS])
def test_plants_and_honest_ones_over_months_and_years(hours: int, seed: int, tmp_path: Path) -> None:
    bars = made(hours, 10 + seed)
    missed = []
    for plant in PLANTS:
        PRICES.clear()
        try:
            prove(plant, known(bars, tmp_path), HOUR, str(seed))
            missed.append(plant.name)
        except LookAhead:
            pass
    for plant in EVENT_PLANTS:
        try:
            backtest(plant, known(bars, tmp_path), Settings(data_folder=tmp_path))
            missed.append(plant.name)
        except LookAhead:
            pass
    assert missed == []
    for strategy in (*HONEST, *SHIPPED):
        prove(strategy, bars, HOUR, str(seed))
    backtest(
        planted.Hears(), bars.between(0, int(bars.series[0].close_time[MONTHS - 1])), Settings(data_folder=tmp_path)
    )


# ---------------------------------------------------------------- what is said


def test_cell_that_was_looked_at_is_named(bars: BarSet, tmp_path: Path) -> None:
    with pytest.raises(LookAhead, match=r"It looks at the bar of .*, 3 ahead: close of coinbase:(BTC|ETH)/USD"):
        prove(planted.DropsWhatFalls(), bars, HOUR)
    with pytest.raises(LookAhead, match=r"stop \d.* but .*stop \d.* 5 ahead: low of coinbase"):
        prove(planted.StopsUnderTheNextLow(), bars, HOUR)


class NeedsFiftyBars(planted.Idea):
    def side(self, close):  # type: ignore[no-untyped-def]
        return planted.on_edge(planted.compare(planted.sma(close, 8), planted.sma(close, 49)))


def test_warmup_that_is_too_short_is_named_with_what_it_needs(bars: BarSet) -> None:
    with pytest.raises(LookAhead, match=r"It needs 50 bars: its warmup is 40"):
        prove(NeedsFiftyBars(), bars, HOUR)


def test_levels_are_compared_with_a_tolerance_and_sides_are_not() -> None:
    from ffe.model import InstrumentId, Side, Signal

    one = Signal(InstrumentId("a:B"), Side.LONG, 80, "x", stop=100.0)
    near = Signal(InstrumentId("a:B"), Side.LONG, 80, "x", stop=100.0 + 5e-8)
    far = Signal(InstrumentId("a:B"), Side.LONG, 80, "x", stop=100.0 + 5e-7)
    assert difference([one], [near]) is None
    assert difference([one], [far]) == (
        "a:B",
        "LONG (confidence 80), stop 100.0",
        f"LONG (confidence 80), stop {far.stop}",
    )
    assert difference([one], []) == ("a:B", "LONG (confidence 80)", "nothing")


class KeepsInItsClass(planted.Hears):
    """What it heard, whoever heard it."""

    heard: ClassVar[list[int]] = []

    def wants(self, view, bars):  # type: ignore[no-untyped-def]
        self.heard.append(view.time)
        return len(self.heard) < 30


def test_what_is_kept_outside_a_strategy_is_found_and_does_not_change_the_run(bars: BarSet, tmp_path: Path) -> None:
    """A copy that heard beside it would have written into the same list."""
    some = bars.between(0, bars.series[0].close_time[300])
    with pytest.raises(LookAhead, match="KeepsInItsClass decides"):
        backtest(KeepsInItsClass(), some, Settings(data_folder=tmp_path))
    assert [time < LATER for time in KeepsInItsClass.heard].index(False) >= 30


class FailsLater(planted.Hears):
    def wants(self, view, bars):  # type: ignore[no-untyped-def]
        assert view.time < LATER
        return True


def test_strategy_that_fails_where_bars_are_moved_goes_by_dates(bars: BarSet, tmp_path: Path) -> None:
    some = bars.between(0, bars.series[0].close_time[300])
    with pytest.raises(LookAhead, match=r"FailsLater decides otherwise: .*AssertionError"):
        backtest(FailsLater(), some, Settings(data_folder=tmp_path))


class BuysAfterMeetings(planted.Idea):
    """Their dates are known a year before."""

    def side(self, close):  # type: ignore[no-untyped-def]
        meetings = pd.to_datetime(["2020-01-29 20:00+00:00", "2020-03-18 19:00+00:00"])
        return planted.at(close * 0.0 + 1.0, close.index.isin(meetings))


def test_strategy_that_goes_by_known_dates_says_so_and_the_result_says_it(bars: BarSet) -> None:
    with pytest.raises(LookAhead, match=r"28 years.*goes_by_dates = True"):
        prove(BuysAfterMeetings(), bars, HOUR)

    class Dated(BuysAfterMeetings):
        goes_by_dates = True

    heard, proof = prove(Dated(), bars, HOUR)
    assert len(heard.by_time) == 2 and "asked again, not with moved bars: it goes by dates" in str(proof)


# ---------------------------------------------------------------- what is remembered


def test_proof_is_remembered_by_code_parameters_and_bars(bars: BarSet, tmp_path: Path) -> None:
    some, settings = bars.between(0, bars.series[0].close_time[400]), Settings(data_folder=tmp_path)
    first = backtest(MaCross(fast=5, slow=20), some, settings).plan.proof
    assert not first.is_remembered and first.proven == first.bars
    again = backtest(MaCross(fast=5, slow=20), some, settings).plan.proof
    assert again == Proof(first.proven, first.bars, is_remembered=True) and "earlier run" in str(again)
    assert not backtest(MaCross(fast=5, slow=21), some, settings).plan.proof.is_remembered
    fewer = bars.between(0, bars.series[0].close_time[399])
    assert not backtest(MaCross(fast=5, slow=20), fewer, settings).plan.proof.is_remembered


@pytest.mark.parametrize("text", ["", "[]", '{"proven": "x"}', '{"proven": 1}'])
def test_what_is_remembered_badly_is_proven_again(text: str, tmp_path: Path) -> None:
    kept = Remembered(tmp_path, "key")
    kept.write(Proof(1, 2))
    assert kept.read() == Proof(1, 2, is_remembered=True)
    (file,) = (tmp_path / "proofs").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    file.write_text(text)
    assert kept.read() is None


def test_dates_days_and_leap_years_fall_alike_in_moved_bars() -> None:
    days = pd.date_range("1990-01-01", "2071-12-31", tz="UTC")
    moved = days + pd.Timedelta(MOVED, "ns")
    assert (moved.day_of_week == days.day_of_week).all() and (moved.day == days.day).all()
    assert (moved.month == days.month).all() and MOVED % DAY == 0


class Exits(planted.Idea):
    """Exits at a third of all bars, and a few entries."""

    def side(self, close):  # type: ignore[no-untyped-def]
        return super().side(close).clip(lower=0.0).fillna(planted.at(close * 0.0, close.index.hour % 3 == 0))


def asked(strategy: type[Strategy], bars: BarSet, name: str) -> list[Nanos]:
    """The last bar of every call."""
    seen: list[Nanos] = []

    class Notes(strategy):  # type: ignore[misc, valid-type]
        def signals(self, bars):  # type: ignore[no-untyped-def]
            seen.append(int(bars.index[-1].value))
            return super().signals(bars)

    prove(Notes(), bars, HOUR, name)
    return seen


def test_every_entry_is_asked_again_and_of_the_rest_as_many_as_are_said(
    bars: BarSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exits crowded out entries in a sample of 200."""
    monkeypatch.setattr("ffe.research.proof.SILENT", 300)
    heard, proof = prove(Exits(), bars, HOUR)
    entries = {t for t, signals in heard.by_time.items() if any(s.side.name != "FLAT" for s in signals)}
    once = asked(Exits, bars, "a")
    assert entries <= {*once} and 20 < len(entries) < 300
    assert len({*once}) <= proof.proven + 20 and proof.proven <= len(entries) + OTHERS + 300 + EARLY
    assert proof.proven >= len(entries) + OTHERS + 300
    assert asked(Exits, bars, "a") == once != asked(Exits, bars, "b")
