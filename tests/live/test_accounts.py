"""One live process and one latch for each account, whatever folder its sessions write to."""

from __future__ import annotations

import os
import re
import socket
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ffe.config import InstrumentSettings, Secrets, Settings, VenueSettings
from ffe.errors import ConfigError, NotWritable, Tampered
from ffe.live.accounts import (
    LOST,
    Known,
    Reach,
    is_stopped,
    latch_all,
    left_of,
    locked,
    mark_of,
    moved_from,
    permit_found,
    permit_of,
    reach_of,
    take_over,
)
from ffe.live.connect import Armed
from ffe.live.link import Link
from ffe.live.task import Task
from ffe.live.worker import assemble
from ffe.model import HOUR, Instrument, Nanos
from ffe.private import state_folder
from tests.live.test_recovery import BTC, ETH, START, Session, state, state_at

ONE, TWO = Known(mark_of("one")), Known(mark_of("two"))


@pytest.fixture(autouse=True)
def places(tmp_path: Path, home: Path) -> None:
    """Two data folders and a state folder."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir(mode=0o700)


def started(folder: Path, *accounts: Known, is_first: bool = False) -> str:
    """A session begins; what is said of entries."""
    with locked(folder, accounts):
        return take_over(folder, accounts, is_first)


def is_given(folder: Path, *accounts: Known) -> bool:
    return permit_of(folder, accounts).is_given


# ---------------------------------------------------------------- the lock


@pytest.mark.parametrize(("folder", "account"), [("a", ONE), ("a", TWO), ("b", ONE)])
def test_folder_and_account_are_locked_each_for_itself(tmp_path: Path, folder: str, account: Known) -> None:
    second = locked(tmp_path / folder, [account])
    with (
        locked(tmp_path / "a", [ONE]),
        pytest.raises(ConfigError, match="another session trades this account"),
    ):
        second.__enter__()


def test_other_folder_and_other_account_are_free(tmp_path: Path) -> None:
    with locked(tmp_path / "a", [ONE]), locked(tmp_path / "b", [TWO]):
        pass
    with locked(tmp_path / "a", [ONE]):
        pass


def test_lock_that_was_refused_leaves_no_other_behind(tmp_path: Path) -> None:
    with locked(tmp_path / "a", [TWO]):
        with pytest.raises(ConfigError), locked(tmp_path / "b", [ONE, TWO]):
            pass
        with locked(tmp_path / "b", [ONE]):
            pass


def test_locks_can_be_opened_by_nobody_else(tmp_path: Path) -> None:
    """Whoever may open a lock's file may hold the lock, and keep a fallen engine down."""
    before = os.umask(0)
    try:
        with locked(tmp_path / "a", [ONE]):
            for path in (tmp_path / "a" / "live.lock", state_folder() / f"{ONE.mark}.lock"):
                assert path.stat().st_mode & 0o777 == 0o600
    finally:
        os.umask(before)


@pytest.mark.parametrize("bits", [0o705, 0o750, 0o711, 0o702])
def test_folder_that_others_may_enter_is_refused_with_what_mends_it(tmp_path: Path, bits: int) -> None:
    (tmp_path / "a").chmod(bits)
    with pytest.raises(ConfigError, match=f"open to other users .*chmod -R go= {tmp_path / 'a'}"):
        started(tmp_path / "a", ONE)


def test_state_folder_does_not_follow_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = state_folder()
    for name in ("XDG_STATE_HOME", "HOME"):
        monkeypatch.setenv(name, str(tmp_path / "elsewhere"))
    assert state_folder() == before


def test_mark_tells_accounts_apart_and_none_away() -> None:
    assert mark_of("101-004-1234567-001") != mark_of("101-004-1234567-002")
    assert "1234567" not in mark_of("101-004-1234567-001") and len(mark_of("")) == 16


# ---------------------------------------------------------------- the latch


def test_first_session_of_an_account_may_enter(tmp_path: Path) -> None:
    assert started(tmp_path / "a", ONE, TWO, is_first=True) == ""
    assert is_given(tmp_path / "a", ONE, TWO)


def test_later_session_finds_the_latch_as_it_was_left(tmp_path: Path) -> None:
    started(tmp_path / "a", ONE, is_first=True)
    assert started(tmp_path / "a", ONE) == "" and is_given(tmp_path / "a", ONE)
    permit_of(tmp_path / "a", [ONE]).take_away()
    assert started(tmp_path / "a", ONE) == "" and not is_given(tmp_path / "a", ONE)


@pytest.mark.parametrize("is_first", [True, False])
def test_other_data_folder_of_a_known_account_starts_latched(tmp_path: Path, is_first: bool) -> None:
    """A latch was left behind by choosing another folder."""
    started(tmp_path / "a", ONE, is_first=True)
    permit_of(tmp_path / "a", [ONE]).take_away()
    said = started(tmp_path / "b", ONE, is_first=is_first)
    assert str(tmp_path / "a") in said and "ffe re-arm" in said
    assert not is_given(tmp_path / "b", ONE) and not is_given(tmp_path / "b")


@pytest.mark.parametrize("was_stopped", [True, False])
def test_other_data_folder_starts_latched_and_closes_only_what_a_stop_wanted_closed(
    tmp_path: Path, was_stopped: bool
) -> None:
    started(tmp_path / "a", ONE, is_first=True)
    if was_stopped:
        permit_found(tmp_path / "a").take_away()
    assert started(tmp_path / "b", ONE, TWO, is_first=True)
    assert not is_given(tmp_path / "b", ONE) and is_stopped([ONE, TWO]) is was_stopped


def test_folder_that_was_left_does_not_get_its_permit_back_by_returning(tmp_path: Path) -> None:
    started(tmp_path / "a", ONE, is_first=True)
    started(tmp_path / "b", ONE, is_first=True)
    permit_of(tmp_path / "b", [ONE]).give()
    assert started(tmp_path / "a", ONE) and not is_given(tmp_path / "a", ONE)


def test_account_beside_one_that_is_known_elsewhere_is_latched_with_it(tmp_path: Path) -> None:
    started(tmp_path / "a", ONE, is_first=True)
    assert started(tmp_path / "b", ONE, TWO, is_first=True)
    assert not is_given(tmp_path / "b", TWO)


def test_folder_whose_records_are_gone_starts_latched(tmp_path: Path) -> None:
    started(tmp_path / "a", ONE, is_first=True)
    (tmp_path / "a" / "permit").unlink()
    assert started(tmp_path / "a", ONE, is_first=True) == LOST
    assert not is_given(tmp_path / "a", ONE)


@pytest.mark.parametrize("was_given", [True, False])
def test_account_that_joins_a_folder_follows_its_latch(tmp_path: Path, was_given: bool) -> None:
    """Another symbol brings another venue; or the folder is older than the state folder."""
    started(tmp_path / "a", ONE, is_first=True)
    if not was_given:
        permit_of(tmp_path / "a", [ONE]).take_away()
    started(tmp_path / "a", ONE, TWO)
    assert is_given(tmp_path / "a", ONE, TWO) is was_given and is_given(tmp_path / "a", TWO) is was_given


def test_latch_that_cannot_be_set_at_a_new_folder_refuses_to_start(tmp_path: Path) -> None:
    started(tmp_path / "a", ONE, is_first=True)
    (tmp_path / "b" / "permit").mkdir()
    with pytest.raises(ConfigError, match="entry latch cannot be set"):
        started(tmp_path / "b", ONE, is_first=True)


def test_account_whose_folder_is_unreadable_refuses_and_is_latched_all_the_same(tmp_path: Path) -> None:
    started(tmp_path / "a", ONE, is_first=True)
    (ONE.root / "data_folder").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="Which folder holds"):
        started(tmp_path / "a", ONE)
    permit_found(tmp_path / "a").take_away()
    assert not is_given(tmp_path / "a") and not (ONE.root / "permit").exists()


def test_account_whose_folder_is_not_known_any_more_is_latched_with_any(tmp_path: Path) -> None:
    started(tmp_path / "a", ONE, is_first=True)
    (ONE.root / "data_folder").unlink()
    permit_found(tmp_path / "b").take_away()
    assert not (ONE.root / "permit").exists()


def test_stop_finds_the_accounts_of_its_folder_and_no_others(tmp_path: Path) -> None:
    started(tmp_path / "a", ONE, is_first=True)
    started(tmp_path / "b", TWO, is_first=True)
    permit_found(tmp_path / "a").take_away()
    assert not (ONE.root / "permit").exists() and is_given(tmp_path / "b", TWO)


def test_stop_of_a_folder_that_is_left_takes_nothing_from_where_the_account_is(tmp_path: Path) -> None:
    started(tmp_path / "a", ONE, is_first=True)
    started(tmp_path / "b", ONE, is_first=True)
    permit_of(tmp_path / "b", [ONE]).give()
    permit_found(tmp_path / "a").take_away()
    assert is_given(tmp_path / "b", ONE) and moved_from(tmp_path / "a") == [(tmp_path / "b").resolve()]
    assert moved_from(tmp_path / "b") == moved_from(tmp_path / "c") == []


def test_account_that_cannot_be_looked_at_is_latched_with_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a state folder of mode 0600 the stop ended in a traceback before it had latched anything."""
    started(tmp_path / "a", ONE, is_first=True)
    was = Path.is_dir

    def is_dir(path: Path) -> bool:
        if path == ONE.root:
            raise PermissionError(13, "Permission denied")
        return was(path)

    monkeypatch.setattr(Path, "is_dir", is_dir)
    assert permit_found(tmp_path / "a").take_away().is_kept


# ---------------------------------------------------------------- what goes with an account


def trades_of(folder: Path, *accounts: Known) -> list[str]:
    return [str(trade.instrument) for trade in left_of(folder, accounts).trades()]


def with_a_trade(folder: Path, account: Known = ONE) -> None:
    with Session(folder, marks={"here": account.mark}) as session:
        session.step(kept=state("a"))


def with_trades(folder: Path, *instruments: Instrument, at: Nanos = START) -> None:
    """A session of both accounts, ONE here and TWO there, has these trades open."""
    with Session(folder, marks={"here": ONE.mark, "there": TWO.mark}, at=at) as session:
        session.step(kept=state_at(*instruments))


def test_what_is_open_goes_with_the_account_to_another_folder(tmp_path: Path) -> None:
    started(tmp_path / "a", ONE, is_first=True)
    with_a_trade(tmp_path / "a")
    assert trades_of(tmp_path / "b", ONE) == ["here:BTC/USDT"]  # before the session's locks, and under them
    started(tmp_path / "b", ONE, is_first=True)
    assert trades_of(tmp_path / "b", ONE) == ["here:BTC/USDT"]


@pytest.mark.parametrize("newer", ["a", "b"])
def test_newest_journal_of_the_account_is_the_one_to_go_on_from(tmp_path: Path, newer: str) -> None:
    """A session returns to a folder that was left, and what stands there is old."""
    started(tmp_path / "a", ONE, is_first=True)
    started(tmp_path / "b", ONE, is_first=True)
    for name in ("a", "b"):
        opened = START + HOUR if name == newer else START
        with Session(tmp_path / name, at=opened, marks={"here": ONE.mark}) as session:
            session.step(kept=state("a", opened=opened))
    for folder in ("b", "a"):
        started(tmp_path / folder, ONE)
        (trade,) = left_of(tmp_path / folder, [ONE]).trades()
        assert trade.opened == START + HOUR


def test_account_that_cannot_be_noted_starts_nothing(tmp_path: Path) -> None:
    started(tmp_path / "a", ONE, is_first=True)
    (ONE.root / "data_folder_before").mkdir()
    with pytest.raises(ConfigError, match=r"data_folder_before: .*Is a directory"):
        started(tmp_path / "b", ONE, is_first=True)
    assert ONE.data_folder() == tmp_path / "a"


def test_strangers_journal_is_nobodys(tmp_path: Path) -> None:
    started(tmp_path / "a", ONE, is_first=True)
    with_a_trade(tmp_path / "a")
    assert trades_of(tmp_path / "b", TWO) == []


def test_journals_of_two_folders_cannot_be_put_together(tmp_path: Path) -> None:
    (tmp_path / "c").mkdir(mode=0o700)
    for name, account in (("a", ONE), ("b", TWO)):
        started(tmp_path / name, account, is_first=True)
        with_a_trade(tmp_path / name, account)
    for folder in ("a", "b", "c"):
        with pytest.raises(ConfigError, match=f"{tmp_path / 'a'} and {tmp_path / 'b'}.*each account from its own"):
            left_of(tmp_path / folder, [ONE, TWO])
    assert trades_of(tmp_path / "a", ONE) == trades_of(tmp_path / "b", TWO) == ["here:BTC/USDT"]


@pytest.mark.parametrize("newer", ["a", "b"])
def test_journal_that_is_newer_does_not_hide_what_another_account_has_open(tmp_path: Path, newer: str) -> None:
    """The one account's journal was read alone, and the other's trade was nobody's."""
    with_both_in("a", tmp_path)
    started(tmp_path / "b", TWO, is_first=True)
    with Session(tmp_path / "b", at=START + HOUR * (1 if newer == "b" else -1), marks={"there": TWO.mark}) as session:
        session.step(kept=state_at())
    assert trades_of(tmp_path / "a", ONE, TWO) == ["here:BTC/USDT"]


def with_both_in(name: str, root: Path) -> None:
    started(root / name, ONE, TWO, is_first=True)
    with_trades(root / name, BTC)


def test_trade_of_an_account_that_was_traded_elsewhere_since_is_not_its_folders_any_more(tmp_path: Path) -> None:
    """Closed there, it would be sold a second time here."""
    started(tmp_path / "a", ONE, TWO, is_first=True)
    with_trades(tmp_path / "a", BTC, ETH)
    started(tmp_path / "b", TWO, is_first=True)
    with_trades(tmp_path / "b", at=START + HOUR)
    left = left_of(tmp_path / "a", [ONE])
    assert [trade.instrument for trade in left.trades()] == [BTC.id] and left.held() == {BTC.id}
    assert trades_of(tmp_path / "b", TWO) == []


def test_what_another_account_of_the_journal_has_open_comes_along(tmp_path: Path) -> None:
    """Nobody would watch it otherwise."""
    started(tmp_path / "a", ONE, TWO, is_first=True)
    with_trades(tmp_path / "a", BTC, ETH)
    assert trades_of(tmp_path / "b", TWO) == [BTC.id, ETH.id]


def test_account_that_moved_away_and_back_goes_on_from_where_it_was_last(tmp_path: Path) -> None:
    started(tmp_path / "a", ONE, is_first=True)
    with_a_trade(tmp_path / "a")
    started(tmp_path / "b", ONE, is_first=True)
    with Session(tmp_path / "b", at=START + HOUR, marks={"here": ONE.mark}) as session:
        session.step(kept={**state("a"), "slots": {"trades": [None, None], "orders": []}})  # type: ignore[dict-item]
    assert trades_of(tmp_path / "a", ONE) == []


def test_what_is_open_is_known_in_a_third_folder(tmp_path: Path) -> None:
    """A session in the second had fallen before it wrote anything, and nobody watched the trade any longer."""
    (tmp_path / "c").mkdir(mode=0o700)
    started(tmp_path / "a", ONE, is_first=True)
    with_a_trade(tmp_path / "a")
    for name in ("b", "c", "b"):
        started(tmp_path / name, ONE, is_first=True)
        assert trades_of(tmp_path / name, ONE) == ["here:BTC/USDT"]


# ---------------------------------------------------------------- what a session reaches


def reached(folder: Path, *named: str) -> Reach:
    """By the name of a venue a session knows here as binance, there as kraken."""
    return reach_of(settings_of(folder), named, Secrets(), Armed.NOT)


def settings_of(folder: Path) -> Settings:
    return Settings(
        data_folder=folder, currency="USDT",
        venues={name: VenueSettings(source="ccxt", address="http://127.0.0.1:9") for name in ("here", "there")},
        instruments={
            i.symbol: InstrumentSettings(venue=i.venue, asset_class=i.asset_class, base=i.base, quote=i.quote)
            for i in (BTC, ETH)
        },
    )  # fmt: skip


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for venue in ("HERE", "THERE"):
        monkeypatch.setenv(f"{venue}_API_KEY", f"key of {venue}".replace(" ", "-"))
        monkeypatch.setenv(f"{venue}_API_SECRET", "secret")


@pytest.mark.usefixtures("keys")
def test_account_of_what_is_held_is_the_sessions_too(tmp_path: Path) -> None:
    """It had no lock and no latch: another session traded it meanwhile."""
    one, two = reached(tmp_path / "a", "BTC/USDT", "ETH/USDT").accounts
    started(tmp_path / "a", one, two, is_first=True)
    by_venue = {c.venue: mark_of(c.account_id) for c in reached(tmp_path / "a", "BTC/USDT", "ETH/USDT").connectors}
    with Session(tmp_path / "a", marks=by_venue) as session:
        session.step(kept=state_at(ETH))
    found = reached(tmp_path / "a", "BTC/USDT")
    assert {account.mark for account in found.accounts} == {*by_venue.values()}
    assert found.symbols == ("BTC/USDT", "there:ETH/USDT") and [t.instrument for t in found.left.trades()] == [ETH.id]
    with locked(tmp_path / "a", found.accounts), pytest.raises(ConfigError, match="another session trades"):
        locked(tmp_path / "b", reached(tmp_path / "b", "ETH/USDT").accounts).__enter__()


def both_in(folder: Path, kept: dict[str, Any]) -> dict[str, str]:
    """A session of both venues' accounts in a folder; their marks by venue."""
    found = reached(folder, "BTC/USDT", "ETH/USDT")
    started(folder, *found.accounts, is_first=True)
    by_venue = {str(c.venue): mark_of(c.account_id) for c in found.connectors}
    with Session(folder, name="both", marks=by_venue) as session:
        session.step(kept=kept)
    return by_venue


@pytest.mark.usefixtures("keys")
def test_latch_of_an_account_is_not_lost_to_another_account_of_its_journal(tmp_path: Path) -> None:
    """The other one had a newer journal elsewhere, which was gone on from: the portfolio stop was forgotten."""
    by_venue = both_in(tmp_path / "a", state_at() | {"guard": {"latches": ["portfolio stop"]}})
    there = Known(by_venue["there"])
    started(tmp_path / "b", there, is_first=True)
    with Session(tmp_path / "b", name="other", at=START + HOUR, marks={"there": there.mark}) as session:
        session.step(kept=state_at() | {"guard": {"latches": []}})
    left = reached(tmp_path / "a", "BTC/USDT").left
    assert left.session == "both" and left.state is not None and left.state["guard"] == {"latches": ["portfolio stop"]}


@pytest.mark.usefixtures("keys")
def test_account_that_left_does_not_hold_up_the_one_that_stayed(tmp_path: Path) -> None:
    """It was reached by its trade in the other folder, whose session holds its lock."""
    by_venue = both_in(tmp_path / "a", state_at())
    there = Known(by_venue["there"])
    with locked(tmp_path / "b", [there]):
        take_over(tmp_path / "b", [there], is_first=True)
        with Session(tmp_path / "b", at=START + HOUR, marks={"there": there.mark}) as session:
            session.step(kept=state_at(ETH))
        found = reached(tmp_path / "a", "BTC/USDT")
        assert found.symbols == ("BTC/USDT",)
        with locked(tmp_path / "a", found.accounts):
            pass


@pytest.mark.usefixtures("keys")
def test_engine_reaches_no_account_that_was_not_locked_for_it(tmp_path: Path) -> None:
    """One that joined between the supervisor's look and the engine's had neither lock nor latch."""
    by_venue = both_in(tmp_path / "a", state_at(ETH))
    mine, other = socket.socketpair()
    task = Task(
        strategy="a:b", symbols=["BTC/USDT"], interval="1h", settings=settings_of(tmp_path / "a"),
        accounts=[by_venue["here"]],
    )  # fmt: skip
    with closing(mine), closing(other), pytest.raises(ConfigError, match="Another account holds what is open"):
        assemble(task, Secrets(), Link(mine), None)


@pytest.mark.usefixtures("keys")
def test_venue_of_another_key_is_opened_anew_where_nothing_was_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both_in(tmp_path / "a", state_at())
    monkeypatch.setenv("HERE_API_KEY", "another-key")
    left = reached(tmp_path / "a", "BTC/USDT").left
    assert left.state is not None and left.state["book"]["opened"] == ["there"]  # type: ignore[index, call-overload]


@pytest.mark.usefixtures("keys")
def test_account_that_is_flat_and_not_named_is_anybodys(tmp_path: Path) -> None:
    assert [account.mark for account in reached(tmp_path / "a", "BTC/USDT").accounts] != []
    assert reached(tmp_path / "a", "BTC/USDT").symbols == ("BTC/USDT",)


def test_folder_that_was_left_long_ago_is_known_by_its_journal(tmp_path: Path) -> None:
    """An account's note names the last two; a stop in the third said "latched"."""
    with_both_in("a", tmp_path)
    for name in ("b", "c"):
        (tmp_path / name).mkdir(mode=0o700, exist_ok=True)
        started(tmp_path / name, ONE, TWO, is_first=True)
    assert moved_from(tmp_path / "a") == [tmp_path / "c"]


def test_journal_whose_head_names_no_session_holds_up_no_stop(tmp_path: Path) -> None:
    """It was felled by a KeyError, after the latch and before anything was closed."""
    started(tmp_path / "a", ONE, is_first=True)
    with_a_trade(tmp_path / "a")
    (file,) = (tmp_path / "a" / "journal").glob("*.jsonl")
    file.write_text(re.sub(r'"session":"[^"]*"', '"other":"x"', file.read_text()))
    assert moved_from(tmp_path / "a") == []
    with pytest.raises(Tampered, match="its session"):
        left_of(tmp_path / "a", [ONE])


def test_start_on_a_full_disk_is_told(tmp_path: Path) -> None:
    (tmp_path / "a" / "live.lock").mkdir()
    with pytest.raises(NotWritable, match=r"live\.lock: Is a directory\. Nothing was started"):
        started(tmp_path / "a", ONE)


def test_every_account_can_be_latched_at_once(tmp_path: Path) -> None:
    assert latch_all() == (False, [])
    for name, account in (("a", ONE), ("b", TWO)):
        started(tmp_path / name, account, is_first=True)
    assert is_given(tmp_path / "a", ONE) and is_given(tmp_path / "b", TWO)
    assert latch_all() == (True, [])
    assert not is_given(tmp_path / "a", ONE) and not is_given(tmp_path / "b", TWO)
    (TWO.root / "permit").mkdir()
    assert latch_all() == (True, [f"{TWO.root / 'permit'}: Is a directory"])


def test_state_folder_that_cannot_be_read_is_no_folder_of_no_accounts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("ffe.live.accounts.state_folder", lambda: tmp_path / "file")
    assert latch_all() == (False, [f"{tmp_path / 'file'}: Not a directory"])


def test_folder_of_any_name_is_noted_whatever_the_locale(tmp_path: Path) -> None:
    """Another locale would have read another folder, and known nothing of what is open there."""
    folder = tmp_path / "Überwachung"
    folder.mkdir(mode=0o700)
    started(folder, ONE, is_first=True)
    assert (ONE.root / "data_folder").read_bytes() == str(folder).encode()
    assert ONE.data_folder() == folder
