"""From a session's folder to its venues, without its engine: a journal that tells what is ours, and every kind that
does not. Real connectors over a loopback Binance; time is virtual.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import ccxt
import pytest

from ffe.config import Secrets, Settings, VenueSettings, load_secrets, load_settings
from ffe.errors import ConfigError
from ffe.live import closing
from ffe.live.accounts import known_by, locked, mark_of, reach_of, take_over
from ffe.live.actions import Report
from ffe.live.closing import Look, Place, close_all, close_everything, open_trades, secure
from ffe.live.connect import Armed, Connector
from ffe.live.recovery import left_in
from ffe.live.task import Task
from ffe.model import SECOND, Change, Nanos, Quotes, Role, Step, Venue
from ffe.records.encode import Stamp, encode_value
from ffe.records.journal import LiveJournal
from ffe.records.kept import kept
from ffe.records.verify import verify
from tests.live.closing_stage import AtBinance, at_binance, head_of, stamp_of
from tests.story.scene import buy
from tests.venues.faults import Drop, Invisible, Refuse, ServerError
from tests.venues.matching import Kind, Order, Side, exact
from tests.venues.server import Server

Binance = tuple[Server, ccxt.binance]
FOREVER: Nanos = 2**62
ACCOUNT = "2c70e12b7a0646f9"  # the beginning of SHA-256 of "key"
SETTINGS = """
currency = "USDT"
data_folder = "{folder}"
[venues.coins]
source = "ccxt"
exchange = "binance"
currency = "USDT"
address = "http://127.0.0.1:{port}"
{instruments}
"""
INSTRUMENT = """
[instruments."{coin}/USDT"]
venue = "coins"
asset_class = "crypto"
base = "{coin}"
quote = "USDT"
fee_in_base = true
"""


class Folder:
    """A session's folder beside the venue that it traded at."""

    def __init__(self, scene: AtBinance, root: Path, port: int) -> None:
        self.scene, self.venue, self.said = scene, scene.venue, list[str]()
        instruments = "".join(INSTRUMENT.format(coin=coin) for coin in ("BTC", "ETH", "SOL"))
        (root / "ffe.toml").write_text(SETTINGS.format(port=port, instruments=instruments, folder=root / "data"))
        settings = load_settings(root / "ffe.toml")
        symbols = ["BTC/USDT", "ETH/USDT", "SOL/USDT"]
        task = Task(strategy="a test", symbols=symbols, interval="1h", settings=settings)
        self.place = Place(settings.data_folder, task, scene.timer())
        self.data = settings.data_folder

    def write_journal(self, account: str | None = "key") -> None:
        head = dict(head_of(self.scene.universe, "USDT"))  # type: ignore[call-overload]
        if account is not None:
            head["marks"] = {"coins": mark_of(mark_of(account))}  # at ccxt's venues the account is a key's mark
        engine, now = self.scene.stage.engine, self.scene.now
        stamp = stamp_of(head)
        journal = LiveJournal(self.data, stamp, head, lambda: encode_value(engine.save()))
        journal.event(Quotes(now, ()))
        journal.step(Step(0.0, changes=(Change("slot", "free", "held"),)))
        journal.close()

    @property
    def journal(self) -> Path:
        (path,) = (self.data / "journal").glob("*.jsonl")
        return path

    def close(self) -> Report:
        return close_all(self.place, self.said.append)

    def everything(self, account: str = ACCOUNT) -> Report:
        return close_everything(self.place, account, self.said.append)

    def secure(self, may_close: bool = True, rounds: int = 5) -> Report:
        left = iter(range(rounds))
        return secure(self.place, may_close, lambda: next(left, None) is not None, self.said.append)

    def sent(self) -> list[str]:
        """What changed anything at the venue."""
        return self.scene.sequence()

    def text(self, report: Report) -> str:
        return "\n".join([*self.said, *report.lines])


@contextmanager
def folder_at(binance: Binance, root: Path, *coins: str, holds: dict[str, float] | None = None) -> Iterator[Folder]:
    with ExitStack() as stack:
        scene = stack.enter_context(at_binance(binance, *coins, holds=holds))
        scene.venue.checks_time = False  # these clients stamp by the machine's clock
        server = stack.enter_context(Server(scene.venue))
        yield Folder(scene, root, server.port)


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COINS_API_KEY", "key")
    monkeypatch.setenv("COINS_API_SECRET", "secret")
    monkeypatch.setattr(ccxt.Exchange, "enableRateLimit", False)  # a loopback venue needs no pause of real time


# ---------------------------------------------------------------- a journal that tells


def test_what_is_ours_is_closed_and_nothing_else(binance: Binance, tmp_path: Path) -> None:
    with folder_at(binance, tmp_path, "btc", "eth", holds={"BTC": 0.2}) as folder:
        folder.write_journal()
        assert folder.close() == Report(True, ("The venues show flat.",))
        assert folder.scene.is_flat() and folder.scene.stage.at_venue() >= 0.2 and not folder.venue.open_orders()


def test_ids_of_a_closing_differ_from_venue_to_venue() -> None:
    """Each counts its decisions from one; the same record twice would be refused by the disk."""
    settings = Settings(venues={"a": VenueSettings(source="ccxt"), "b": VenueSettings(source="ccxt")}, instruments={})
    sessions = [closing._session("closing", Connector(Venue(v), settings, Secrets(), Armed.LIVE)) for v in "ab"]
    first, second = (session.decision(1) for session in sessions)
    assert first != second


def test_journal_from_before_marks_is_believed(binance: Binance, tmp_path: Path) -> None:
    """A position that is open must outlive an upgrade."""
    with folder_at(binance, tmp_path) as folder:
        folder.write_journal(account=None)
        assert folder.close().is_good and folder.scene.is_flat()


def test_closings_orders_are_known_to_the_next_recovery(binance: Binance, tmp_path: Path) -> None:
    """Without them it would place a second stop beside the one that was put back."""
    with folder_at(binance, tmp_path) as folder:
        folder.write_journal()
        folder.venue.faults = [Drop(on="POST order MARKET")]
        folder.close()
        sent = left_in(folder.data).sent
        assert [ticket.role for ticket in sent] == [Role.EXIT, Role.PROTECT, Role.EXIT]
        posted = [r.params["newClientOrderId"] for r in folder.venue.requests if r.endpoint == "order"
                  and r.method == "POST"][-3:]  # fmt: skip
        assert [ticket.id for ticket in sent] == posted
        report = verify(folder.data)
        assert report.is_good and kept(folder.data, []) == [report.head]  # after a kill nobody else keeps one
        assert left_in(folder.data).session and len(left_in(folder.data).trades()) == 1


def test_second_closing_after_a_crash_knows_the_first(binance: Binance, tmp_path: Path) -> None:
    with folder_at(binance, tmp_path) as folder:
        folder.write_journal()
        assert folder.close().is_good
        posts = len(folder.sent())
        assert folder.close().is_good and len([r for r in folder.sent()[posts:] if r.startswith("POST")]) == 0


def test_journal_that_cannot_be_written_holds_up_no_exit(binance: Binance, tmp_path: Path) -> None:
    with folder_at(binance, tmp_path) as folder:
        folder.write_journal()
        (folder.data / "decisions").rename(folder.data / "elsewhere")
        (folder.data / "decisions").write_text("a file, where the folder should be")
        assert folder.close().is_good and folder.scene.is_flat()


def test_closing_goes_on_once_its_key_is_mended(
    binance: Binance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with folder_at(binance, tmp_path) as folder:
        folder.write_journal()
        monkeypatch.setenv("COINS_API_KEY", "bad key\n")

        def mended() -> None:
            monkeypatch.setenv("COINS_API_KEY", "key")

        folder.scene.on_sleep = mended
        assert folder.close().is_good and "COINS_API_KEY" in folder.said[0] and folder.scene.is_flat()


# ---------------------------------------------------------------- a journal that does not tell


def lost(folder: Folder) -> None:
    shutil.rmtree(folder.data / "journal")


def emptied(folder: Folder) -> None:
    folder.journal.write_text("")


def torn(folder: Folder) -> None:
    """Nothing of it but half a line."""
    folder.journal.write_bytes(folder.journal.read_bytes()[:40])


def overwritten(folder: Folder) -> None:
    folder.journal.write_bytes(b"\xff\xfe no journal\n" * 9)


def cut_in_the_middle(folder: Folder) -> None:
    """A line of which a part is missing, as a disk leaves it; the last line is whole."""
    lines = folder.journal.read_bytes().splitlines(keepends=True)
    lines[-2] = lines[-2][:50] + b"\n"
    folder.journal.write_bytes(b"".join(lines))


def of_another_schema(folder: Folder) -> None:
    folder.journal.write_bytes(folder.journal.read_bytes().replace(b'"slots":{', b'"places":{'))


def with_numbers_gone(folder: Folder) -> None:
    folder.journal.write_bytes(folder.journal.read_bytes().replace(b'"instrument":"coins:BTC/USDT"', b'"instrument":7'))


def of_other_instruments(folder: Folder) -> None:
    folder.journal.write_bytes(folder.journal.read_bytes().replace(b'"ours":[["coins:BTC', b'"ours":[["coins:DOGE'))


def of_another_account(folder: Folder) -> None:
    shutil.rmtree(folder.data / "journal")
    folder.write_journal(account="another key")
    folder.venue.cancel_all()


def of_another_venue(folder: Folder) -> None:
    folder.journal.write_bytes(folder.journal.read_bytes().replace(b"coins", b"silver"))


def of_a_supervisor_alone(folder: Folder) -> None:
    shutil.rmtree(folder.data / "journal")
    stamp = Stamp("closing", "code", "config", "")
    journal = LiveJournal(folder.data, stamp, {"closes": "a session"}, lambda: None)
    journal.event(Quotes(folder.scene.now, ()))
    journal.close()


SPOILT: list[Callable[[Folder], None]] = [
    lost, emptied, torn, overwritten, of_another_schema, with_numbers_gone, of_other_instruments, of_another_account,
    of_a_supervisor_alone,
]  # fmt: skip


@pytest.mark.parametrize("spoil", SPOILT, ids=lambda spoil: spoil.__name__)
def test_spoilt_journal_never_reads_as_flat(binance: Binance, tmp_path: Path, spoil: Callable[[Folder], None]) -> None:
    """F6: the position was open, the journal gone, and "the venues show flat" was said without a question."""
    with folder_at(binance, tmp_path) as folder:
        folder.write_journal()
        spoil(folder)
        report = folder.close()
        assert not report.is_good and folder.sent() == []
        text = folder.text(report)
        assert "flat" not in text and "coins:BTC/USDT: 0.0999 held" in text and "USDT: 95,000" in text
        assert "NOT KNOWN whether anything of ours is left at coins" in text
        assert "ffe stop --force --everything ACCOUNT_ID" in text


@pytest.mark.parametrize("spoil", [lost, cut_in_the_middle], ids=lambda spoil: spoil.__name__)
def test_stop_that_rests_is_shown_with_the_id_it_was_given(
    binance: Binance, tmp_path: Path, spoil: Callable[[Folder], None]
) -> None:
    with folder_at(binance, tmp_path) as folder:
        folder.write_journal()
        spoil(folder)
        if folder.close().is_good:
            assert folder.scene.is_flat()  # what was cut was not needed
            return
        (stop,) = folder.venue.open_orders()
        assert f"order {stop.id} is open, sell 0.0999 at the stop 49000, called {stop.client_id}" in folder.said[0]


@pytest.mark.parametrize("spoil", [lost, emptied, of_another_account], ids=lambda spoil: spoil.__name__)
def test_spoilt_journal_is_flat_only_by_the_venues_word(
    binance: Binance, tmp_path: Path, spoil: Callable[[Folder], None]
) -> None:
    with folder_at(binance, tmp_path) as folder:
        folder.write_journal()
        spoil(folder)
        folder.venue.cancel_all()
        folder.venue.account.held["BTC"] = exact(0.00001)
        asked = len(folder.venue.requests)
        assert folder.close().is_good
        assert {"account", "openOrders"} <= {request.endpoint for request in folder.venue.requests[asked:]}


def test_order_that_rests_is_not_flat_with_a_lost_journal(binance: Binance, tmp_path: Path) -> None:
    with folder_at(binance, tmp_path) as folder:
        folder.scene.close()
        rest(folder, "SOLUSDT", Side.BUY, 10.0, 90.0)
        assert not folder.close().is_good and "buy 10, called web_SOLUSDT" in folder.said[0]


@pytest.mark.parametrize("what", ["*", "GET account", "GET openOrders"])
def test_spoilt_journal_at_a_venue_that_does_not_answer_is_not_known(
    binance: Binance, tmp_path: Path, what: str
) -> None:
    with folder_at(binance, tmp_path) as folder:
        folder.venue.faults = [ServerError(on=what, end=FOREVER)]
        report = folder.close()
        assert not report.is_good and "what is there is NOT KNOWN" in folder.said[0] and "flat" not in folder.said[0]


def test_key_that_was_exchanged_is_recognised_by_an_order_that_rests(binance: Binance, tmp_path: Path) -> None:
    with folder_at(binance, tmp_path) as folder:
        folder.write_journal(account="the key of before")
        assert folder.close().is_good and folder.scene.is_flat()


# ---------------------------------------------------------------- everything


def rest(folder: Folder, symbol: str, side: Side, qty: float, price: float) -> None:
    """Somebody's own limit order."""
    order = Order(0, f"web_{symbol}", symbol, side, Kind.LIMIT, exact(qty), exact(price))
    folder.venue.account.place(order)


def test_everything_of_the_account_is_closed_and_cancelled(binance: Binance, tmp_path: Path) -> None:
    with folder_at(binance, tmp_path, "btc", "eth", holds={"BTC": 0.2}) as folder:
        rest(folder, "BTCUSDT", Side.SELL, 0.1, 60_000.0)
        rest(folder, "SOLUSDT", Side.BUY, 10.0, 90.0)
        report = folder.everything()
        assert report.is_good and "no position that can be sold" in report.lines[0]
        assert not folder.venue.open_orders()
        assert all(folder.scene.stage.at_venue(coin) < 1e-4 for coin in ("BTC", "ETH", "SOL"))


def test_entries_that_rest_are_taken_back_before_anything_is_sold(binance: Binance, tmp_path: Path) -> None:
    with folder_at(binance, tmp_path, "btc") as folder:
        rest(folder, "SOLUSDT", Side.BUY, 10.0, 90.0)
        folder.everything()
        assert folder.sent() == ["DELETE SOL", "DELETE BTC", "POST BTC"]


def test_everything_is_done_only_when_the_venue_shows_flat(binance: Binance, tmp_path: Path) -> None:
    with folder_at(binance, tmp_path, "btc", "eth") as folder:
        folder.venue.faults = [Drop(on="POST order MARKET", times=3), Refuse(on="POST order MARKET", nth=4)]
        down = folder.scene.now + 30 * SECOND
        folder.venue.faults.append(ServerError(on="GET account", end=down))
        assert folder.everything().is_good and folder.scene.now >= down
        assert folder.scene.is_flat() and not folder.venue.open_orders()


def test_everything_is_not_done_while_an_order_rests(binance: Binance, tmp_path: Path) -> None:
    with folder_at(binance, tmp_path) as folder:
        folder.scene.close()
        rest(folder, "SOLUSDT", Side.BUY, 10.0, 90.0)
        folder.venue.faults = [Drop(on="DELETE order", times=6)]
        assert folder.everything().is_good and not folder.venue.open_orders()


def test_everything_needs_the_accounts_id(binance: Binance, tmp_path: Path) -> None:
    with folder_at(binance, tmp_path) as folder:
        for wrong in ("", "key", ACCOUNT[:-1], ACCOUNT.upper()):
            with pytest.raises(ConfigError, match="id of no account"):
                folder.everything(wrong)
        assert folder.sent() == [] and len(folder.venue.requests) == folder.scene.begun


def test_everything_records_what_it_sends(binance: Binance, tmp_path: Path) -> None:
    with folder_at(binance, tmp_path) as folder:
        folder.write_journal()
        folder.everything()
        assert verify(folder.data).is_good and verify(folder.data).decisions == 1


# ---------------------------------------------------------------- a look


def test_look_shows_positions_and_orders_and_sends_nothing(binance: Binance, tmp_path: Path) -> None:
    with folder_at(binance, tmp_path, "btc", "eth", holds={"BTC": 0.2}) as folder:
        folder.write_journal()
        left = Look(folder.place)()
        assert left.held == pytest.approx({"coins:BTC/USDT": 0.0999, "coins:ETH/USDT": 1.998})
        assert left.orders == 2 and not left.unknown and folder.sent() == []


def test_orders_and_coins_of_others_are_nothing_that_is_left(binance: Binance, tmp_path: Path) -> None:
    with folder_at(binance, tmp_path, holds={"BTC": 0.2}) as folder:
        folder.write_journal()
        by_hand = Order(0, "web_1234567", "BTCUSDT", Side.SELL, Kind.LIMIT, exact(0.1), exact(60_000))
        folder.venue.account.place(by_hand)
        left = Look(folder.place)()
        assert left.held == pytest.approx({"coins:BTC/USDT": 0.0999}) and left.orders == 1


def test_entry_that_is_under_way_is_something_that_is_left(binance: Binance, tmp_path: Path) -> None:
    """It can still fill: no position shows it, and no order rests."""
    with folder_at(binance, tmp_path) as folder:
        folder.scene.stage.fault(Drop(on="POST order LIMIT"))
        folder.scene.stage.tick(buy(folder.scene.stage.eth, qty=2.0))
        folder.write_journal()
        left = Look(folder.place)()
        assert left.orders == 2 and set(left.held) == {"coins:BTC/USDT"}


def test_entry_that_the_venue_knows_as_ended_is_nothing_that_is_left(binance: Binance, tmp_path: Path) -> None:
    """With a full disk the journal's newest state has it under way for ever, and a healthy engine was killed for it."""
    with folder_at(binance, tmp_path) as folder:
        faults = [Drop(on="POST order LIMIT", accepted=True), Invisible(on="POST order LIMIT", lasts=5 * SECOND)]
        folder.scene.stage.fault(*faults)
        folder.scene.stage.tick(buy(folder.scene.stage.eth, qty=2.0))
        folder.write_journal()
        folder.scene.close()
        folder.scene.pass_time(5 * SECOND)
        folder.venue.trade_by_hand("ETHUSDT", Side.SELL, 1.998)
        assert Look(folder.place)().is_flat


def test_look_shows_flat_when_the_venue_does(binance: Binance, tmp_path: Path) -> None:
    with folder_at(binance, tmp_path, holds={"BTC": 0.2}) as folder:
        folder.write_journal()
        look = Look(folder.place)
        assert not look().is_flat
        folder.scene.close()
        assert look().is_flat


def test_look_remembers_what_was_ours_when_the_journal_has_forgotten_it(binance: Binance, tmp_path: Path) -> None:
    """The engine has freed the slot, for a fill that the venue did not mean."""
    with folder_at(binance, tmp_path) as folder:
        folder.write_journal()
        look = Look(folder.place)
        assert not look().is_flat
        state = folder.scene.stage.engine.save()
        folder.scene.stage.engine.save = lambda: replace(  # type: ignore[method-assign]
            state, slots=replace(state.slots, trades=(None, None), orders=())
        )
        shutil.rmtree(folder.data / "journal")
        folder.write_journal()
        assert look().held and look().orders == 1


@pytest.mark.parametrize("what", ["GET account", "GET openOrders"])
def test_look_at_a_venue_that_does_not_answer_is_unknown(binance: Binance, tmp_path: Path, what: str) -> None:
    with folder_at(binance, tmp_path) as folder:
        folder.write_journal()
        look = Look(folder.place)
        look()
        folder.venue.faults = [ServerError(on=what, end=FOREVER)]
        left = look()
        assert not left.is_flat and "coins does not say" in left.unknown


def test_look_with_a_lost_journal_is_unknown(binance: Binance, tmp_path: Path) -> None:
    with folder_at(binance, tmp_path) as folder:
        left = Look(folder.place)()
        assert not left.is_flat and "the journal is missing" in left.unknown


# ---------------------------------------------------------------- an end


def test_end_says_of_each_position_what_its_venue_showed(binance: Binance, tmp_path: Path) -> None:
    with folder_at(binance, tmp_path, "btc", "eth") as folder:
        folder.write_journal()
        folder.venue.account.cancel(folder.venue.open_orders("ETHUSDT")[0])
        report = folder.secure()
        assert report == Report(True, (
            "coins:BTC/USDT: long 0.0999, its stop rests at the venue at 49000",
            "coins:ETH/USDT: long 1.998, its stop rests at the venue at 2450",
        ))  # fmt: skip
        assert folder.scene.is_covered(folder.scene.stage.eth.id)


def test_end_closes_what_cannot_be_protected_if_it_may(binance: Binance, tmp_path: Path) -> None:
    with folder_at(binance, tmp_path) as folder:
        folder.write_journal()
        folder.venue.cancel_all()
        folder.venue.faults = [Refuse(on="POST order STOP*", end=FOREVER)]
        report = folder.secure(rounds=20)
        assert report.is_good and "nothing of ours is left" in report.lines[0] and folder.scene.is_flat()


def test_end_says_what_is_not_protected(binance: Binance, tmp_path: Path) -> None:
    with folder_at(binance, tmp_path) as folder:
        folder.write_journal()
        folder.venue.cancel_all()
        folder.venue.faults = [Refuse(on="POST order STOP*", end=FOREVER)]
        report = folder.secure(may_close=False)
        assert not report.is_good and "NOT PROTECTED: the venue shows no stop" in report.lines[0]


def test_end_says_what_is_not_known(binance: Binance, tmp_path: Path) -> None:
    with folder_at(binance, tmp_path) as folder:
        folder.write_journal()
        folder.venue.faults = [ServerError(on="GET order", end=FOREVER)]
        report = folder.secure()
        assert not report.is_good and "whether its stop rests is NOT KNOWN" in report.lines[0]
        assert "rests at the venue at" not in folder.text(report)


def test_end_with_nothing_open_asks_nobody_and_says_so(binance: Binance, tmp_path: Path) -> None:
    with folder_at(binance, tmp_path) as folder:
        folder.scene.close()
        folder.scene.stage.engine.slots._trades = [None, None]
        folder.write_journal()
        asked = len(folder.venue.requests)
        assert folder.secure() == Report(True, ("Nothing of ours is open, as the journal knows.",))
        assert len(folder.venue.requests) == asked


def test_end_with_a_lost_journal_asks_the_venue_where_it_gives_up(binance: Binance, tmp_path: Path) -> None:
    with folder_at(binance, tmp_path) as folder:
        assert "was not asked" in folder.secure(may_close=False).lines[0]
        report = folder.secure(may_close=True)
        assert not report.is_good and "coins:BTC/USDT: 0.0999 held" in "\n".join(report.lines)


def test_open_trades_are_told_apart_by_when_they_were_opened(binance: Binance, tmp_path: Path) -> None:
    with folder_at(binance, tmp_path, "btc", "eth") as folder:
        folder.write_journal()
        first, second = open_trades(folder.place)
        assert (first.instrument, second.instrument) == ("coins:BTC/USDT", "coins:ETH/USDT")
        assert first.opened < second.opened and first.qty == pytest.approx(0.0999)


def test_stop_in_a_new_folder_closes_what_the_session_went_on_from(
    binance: Binance, tmp_path: Path, home: Path
) -> None:
    """Before the new journal had a state, "The venues show flat" was said of the instruments that were named."""
    with folder_at(binance, tmp_path, "btc") as folder:
        take_over(folder.data, known_by(folder.place.connectors()), is_first=True)
        folder.write_journal()
        settings = folder.place.settings.but(data_folder=tmp_path / "other")
        reach = reach_of(settings, ["ETH/USDT"], load_secrets(), Armed.NOT)
        task = Task(
            strategy="a test", symbols=["ETH/USDT"], interval="1h", settings=settings,
            held=sorted(map(str, reach.left.held())),
        )  # fmt: skip
        (tmp_path / "other").mkdir(mode=0o700)
        with locked(settings.data_folder, reach.accounts):
            take_over(settings.data_folder, reach.accounts, is_first=True)
        folder.place = Place(settings.data_folder, task, folder.scene.timer())
        assert Look(folder.place)().held == {"coins:BTC/USDT": pytest.approx(0.0999)}
        assert "its stop rests" in folder.text(folder.secure(may_close=False))
        assert folder.close().is_good and folder.scene.held("coins:BTC/USDT") == pytest.approx(0.0)


def test_everything_includes_what_the_session_went_on_from(binance: Binance, tmp_path: Path, home: Path) -> None:
    with folder_at(binance, tmp_path, "btc") as folder:
        task = folder.place.task.model_copy(update={"symbols": ["ETH/USDT"], "held": ["coins:BTC/USDT"]})
        folder.place = replace(folder.place, task=task)
        assert folder.everything().is_good and folder.scene.held("coins:BTC/USDT") == pytest.approx(0.0)


def test_venue_that_hangs_holds_up_no_other() -> None:
    """Each is worked at on a thread of its own."""
    from threading import Barrier

    both = Barrier(2, timeout=5.0)
    assert closing._at_once(lambda n: both.wait() is not None, [1, 2]) == [True, True]
