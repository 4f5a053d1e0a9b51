"""A session's folder at OANDA, without its engine: the same promises as at Binance, through the real connector."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ffe.config import load_settings
from ffe.errors import ConfigError
from ffe.live.accounts import mark_of
from ffe.live.actions import Report
from ffe.live.closing import Look, Place, close_all, close_everything, secure
from ffe.live.recovery import left_in
from ffe.live.task import Task
from ffe.model import Change, Quotes, Role, Step
from ffe.records.encode import Stamp, encode_value
from ffe.records.journal import LiveJournal
from tests.faults.stage_oanda import CLOSE, EUR, TOKEN
from tests.live.closing_stage import AtOanda, at_oanda, head_of
from tests.venues.oanda_faults import SUMMARY, HttpError, NoReply


class Folder:
    def __init__(self, scene: AtOanda, root: Path) -> None:
        self.scene, self.venue, self.said = scene, scene.venue, list[str]()
        (root / "ffe.toml").write_text(
            f'data_folder = "{root / "data"}"\n[venues.oanda]\nsource = "oanda"\ncurrency = "USD"\nkind = "margin"\n'
            f'address = "{scene.venue.url}"\n'
        )
        settings = load_settings(root / "ffe.toml")
        task = Task(strategy="a test", symbols=["EUR/USD", "GBP/USD"], interval="1h", settings=settings)
        self.place, self.data = Place(settings.data_folder, task, scene.timer()), settings.data_folder

    def write_journal(self, account: str) -> None:
        head = dict(head_of(self.scene.universe, "USD")) | {"marks": {"oanda": mark_of(account)}}  # type: ignore[call-overload]
        engine, stamp = self.scene.stage.engine, Stamp("a session", "code", "config", "data")
        journal = LiveJournal(self.data, stamp, head, lambda: encode_value(engine.save()))
        journal.event(Quotes(self.scene.now, ()))
        journal.step(Step(0.0, changes=(Change("slot", "free", "held"),)))
        journal.close()

    def close(self) -> Report:
        return close_all(self.place, self.said.append)


@contextmanager
def folder_at(root: Path, foreign: tuple[tuple[str, int], ...] = ()) -> Iterator[Folder]:
    with at_oanda(EUR, foreign=foreign) as scene:
        folder = Folder(scene, root)
        folder.write_journal(scene.venue.id)
        yield folder


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OANDA_API_KEY", TOKEN)
    monkeypatch.setenv("OANDA_ACCOUNT_ID", "101-004-1234567-001")


def test_what_is_ours_is_closed_and_nothing_else(tmp_path: Path) -> None:
    with folder_at(tmp_path, foreign=(("GBP/USD", 7_000), ("EUR/USD", 3_000))) as folder:
        assert folder.close() == Report(True, ("The venues show flat.",))
        assert folder.scene.is_flat() and sorted(t.units for t in folder.scene.stage.foreign) == [3_000, 7_000]


def test_exit_that_was_lost_is_repeated_and_known_to_the_next_recovery(tmp_path: Path) -> None:
    with folder_at(tmp_path) as folder:
        folder.scene.stage.script(NoReply(CLOSE, False, drops=True))
        assert folder.close().is_good and folder.scene.longest_naked == 0
        assert [ticket.role for ticket in left_in(folder.data).sent] == [Role.EXIT, Role.EXIT]


def test_lost_journal_never_reads_as_flat(tmp_path: Path) -> None:
    with folder_at(tmp_path) as folder:
        shutil.rmtree(folder.data / "journal")
        report = folder.close()
        assert not report.is_good and not folder.scene.sequence()
        assert "oanda:EUR/USD: 10000 held" in folder.said[0] and "at the stop" in folder.said[0]
        assert "NOT KNOWN whether anything of ours is left at oanda" in report.lines[0]


def test_journal_of_another_account_never_reads_as_flat(tmp_path: Path) -> None:
    """Its own account holds nothing, and this one holds what its journal calls foreign."""
    with folder_at(tmp_path) as folder:
        shutil.rmtree(folder.data / "journal")
        folder.write_journal("101-004-7654321-002")
        folder.venue.cancel_all("CLIENT_REQUEST")
        report = folder.close()
        assert not report.is_good and "of another account" in folder.said[0] and not folder.scene.sequence()


def test_everything_needs_the_accounts_number_and_closes_it(tmp_path: Path) -> None:
    with folder_at(tmp_path, foreign=(("GBP/USD", -7_000),)) as folder:
        with pytest.raises(ConfigError, match="id of no account"):
            close_everything(folder.place, "101-004-1234567-002", folder.said.append)
        assert not folder.scene.sequence()
        assert close_everything(folder.place, folder.venue.id, folder.said.append).is_good
        assert folder.venue.held("EUR_USD") == folder.venue.held("GBP_USD") == 0
        assert folder.venue.id not in "".join(folder.said)


def test_look_leaves_out_what_is_foreign(tmp_path: Path) -> None:
    with folder_at(tmp_path, foreign=(("EUR/USD", 3_000),)) as folder:
        left = Look(folder.place)()
        assert left.held == {"oanda:EUR/USD": 10_000.0} and left.orders == 2
        folder.scene.close()
        assert Look(folder.place)().is_flat


def test_end_says_what_the_venue_showed(tmp_path: Path) -> None:
    with folder_at(tmp_path) as folder:
        folder.venue.cancel_all("CLIENT_REQUEST", "STOP_LOSS")
        left = iter(range(3))
        report = secure(folder.place, True, lambda: next(left, None) is not None, folder.said.append)
        assert report.is_good and "long 10000, its stop rests at the venue at " in report.lines[0]
        assert folder.scene.is_covered(folder.scene.stage[EUR].id)


def test_look_at_a_venue_that_does_not_answer_is_unknown(tmp_path: Path) -> None:
    with folder_at(tmp_path) as folder:
        folder.scene.stage.script(HttpError(SUMMARY.every(), status=503))
        folder.venue.cancel_all("CLIENT_REQUEST")
        look = Look(folder.place)()
        assert not look.is_flat and "oanda does not say what it holds" in look.unknown
