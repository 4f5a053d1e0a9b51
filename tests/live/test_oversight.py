"""What a supervisor decides, without processes, sockets and time: messages in, actions out."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from ffe.live.actions import Action, Announce, Do, Leave, Look, OpenedTrade, Remainder, Reply, Report, Request, Tell
from ffe.live.oversight import ACKNOWLEDGED_WITHIN, ENDS_WITHIN, LATCHED_WITHIN, SHRINKS_WITHIN, SILENT_FOR, Oversight
from ffe.model import Act

BTC, ETH = "binance:BTC/USDT", "binance:ETH/USDT"
FLAT = Remainder({})
GOOD = Report(True, ("The venues show flat.",))
TICK = 0.05


class Case:
    """A machine under a clock of its own. The engine speaks every half second unless the test lets it fall silent."""

    def __init__(self) -> None:
        self.machine, self.now, self.numbers = Oversight(), 100.0, 1_000
        self.actions: list[Action] = []
        self.engine_speaks = True
        self.left: Remainder | None = None  # what a look is answered with; None: looks hang
        self.take(self.machine.begin(self.now))
        self.take(self.machine.engine_status("active", ""))

    def take(self, actions: Iterable[Action]) -> list[Action]:
        new = [*actions]
        self.actions += new
        for action in new:
            if isinstance(action, Look) and self.left is not None:
                self.take(self.machine.looked(action.number, self.left, self.now))
        return new

    def ask(self, act: str, instrument: str | None = None) -> int:
        """Who asks: the number by which the answers find him."""
        self.numbers += 1
        self.take(self.machine.requested(Request(self.numbers, act, "a test", instrument), self.now))
        return self.numbers

    def wait(self, seconds: float) -> list[Action]:
        """What is done in so long a time."""
        seen = len(self.actions)
        for n in range(1, round(seconds / TICK) + 1):
            self.now += TICK
            if self.engine_speaks and self.machine.is_running and n % 10 == 0:
                self.machine.heard_at = self.now
            self.take(self.machine.tick(self.now))
        return self.actions[seen:]

    def stop(self) -> int:
        """An emergency stop that is latched and that the engine has answered."""
        asker = self.ask(Act.EMERGENCY_STOP)
        self.take(self.machine.latched("", self.now))
        self.acknowledge(Act.EMERGENCY_STOP)
        return asker

    def told(self, act: str) -> list[Tell]:
        return [action for action in self.actions if isinstance(action, Tell) and action.act == act]

    def acknowledge(self, act: str, is_known: bool = True) -> list[Action]:
        return self.take(self.machine.engine_answered(self.told(act)[-1].number, is_known, self.now))

    def replies(self, to: int) -> list[str]:
        return [action.text for action in self.actions if isinstance(action, Reply) and action.to == to]

    def done(self, to: int) -> bool | None:
        """Whether a request was answered for good, and how."""
        found = [a.done for a in self.actions if isinstance(a, Reply) and a.to == to and a.done is not None]
        assert len(found) <= 1, "answered for good twice"
        return found[0] if found else None

    def count(self, what: Do) -> int:
        return self.actions.count(what)

    @property
    def left_with(self) -> int | None:
        codes = [action.code for action in self.actions if isinstance(action, Leave)]
        return codes[0] if codes else None


@pytest.fixture
def case() -> Case:
    return Case()


# ---------------------------------------------------------------- the latch comes first


def test_stop_latches_before_anything_else(case: Case) -> None:
    asker = case.ask(Act.EMERGENCY_STOP)
    assert case.actions[-1] is Do.LATCH and not case.told(Act.EMERGENCY_STOP) and not case.replies(asker)
    case.take(case.machine.latched("", case.now))
    assert case.replies(asker) == ["latched: no entry leaves"] and len(case.told(Act.EMERGENCY_STOP)) == 1


def test_latch_that_is_not_kept_takes_the_engine_with_it(case: Case) -> None:
    asker = case.ask(Act.EMERGENCY_STOP)
    did = case.take(case.machine.latched("data/permit: Input/output error", case.now))
    assert [a for a in did if isinstance(a, Do)] == [Do.KILL, Do.CLOSE]
    assert "the latch is not kept: data/permit: Input/output error" in case.replies(asker)[0]


def test_disk_that_does_not_answer_takes_the_engine_with_it(case: Case) -> None:
    asker = case.ask(Act.EMERGENCY_STOP)
    assert Do.KILL not in case.wait(LATCHED_WITHIN - TICK)
    assert Do.KILL in case.wait(3 * TICK) and "does not answer" in case.replies(asker)[0]


def test_progress_is_not_told_before_the_latch(case: Case) -> None:
    first = case.stop()
    second = case.ask(Act.EMERGENCY_STOP)
    case.take(case.machine.progress("not flat yet"))
    assert "not flat yet" in case.replies(first) and not case.replies(second)
    case.take(case.machine.latched("", case.now))
    assert case.replies(second) == ["latched: no entry leaves"]


# ---------------------------------------------------------------- when the supervisor takes over


def test_engine_that_does_not_answer_within_a_second_is_killed_and_closed_for(case: Case) -> None:
    case.ask(Act.EMERGENCY_STOP)
    case.take(case.machine.latched("", case.now))
    assert Do.KILL not in case.wait(ACKNOWLEDGED_WITHIN)
    did = case.wait(2 * TICK)
    assert [a for a in did if isinstance(a, Do)] == [Do.KILL, Do.CLOSE]


def test_every_stop_has_to_be_answered(case: Case) -> None:
    case.stop()
    case.wait(2.0)
    case.ask(Act.EMERGENCY_STOP)
    case.take(case.machine.latched("", case.now))
    assert Do.KILL in case.wait(ACKNOWLEDGED_WITHIN + 2 * TICK)


def test_engine_that_falls_silent_while_it_closes_is_killed_and_closed_for(case: Case) -> None:
    case.stop()
    case.engine_speaks, case.machine.heard_at = False, case.now
    assert Do.KILL not in case.wait(SILENT_FOR)
    assert Do.CLOSE in case.wait(2 * TICK)


@pytest.mark.parametrize(
    "left",
    [
        Remainder({BTC: 0.5}), Remainder({}, orders=1), Remainder({}, unknown="binance does not answer"),
        Remainder({BTC: 0.5}, unknown="oanda does not answer"), None,
    ],
)  # fmt: skip
def test_remainder_that_does_not_become_less_is_taken_over_though_the_engine_speaks(
    case: Case, left: Remainder | None
) -> None:
    case.left = left
    case.stop()
    assert Do.KILL not in case.wait(SHRINKS_WITHIN)
    did = case.wait(2 * TICK)
    assert [a for a in did if isinstance(a, Do)] == [Do.KILL, Do.CLOSE]


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (Remainder({BTC: 0.5}), Remainder({BTC: 0.4})),
        (Remainder({BTC: 0.5, ETH: 1.0}), Remainder({BTC: 0.5})),
        (Remainder({}, orders=2), Remainder({}, orders=1)),
        (Remainder({BTC: 0.5}, orders=1), Remainder({}, orders=2)),
        (Remainder({BTC: 0.5, ETH: 1.0}), Remainder({BTC: 0.5, ETH: 0.5})),
    ],
)
def test_remainder_that_becomes_less_is_left_to_the_engine(case: Case, first: Remainder, then: Remainder) -> None:
    case.left = first
    case.stop()
    case.wait(7.0)
    case.left = then
    assert Do.KILL not in case.wait(SHRINKS_WITHIN)
    assert Do.KILL in case.wait(5.0)


@pytest.mark.parametrize("then", [Remainder({BTC: 0.4}, unknown="oanda does not answer"), Remainder({BTC: 0.6})])
def test_remainder_that_is_partly_unknown_or_grows_has_not_become_less(case: Case, then: Remainder) -> None:
    case.left = Remainder({BTC: 0.5})
    case.stop()
    case.wait(7.0)
    case.left = then
    assert Do.KILL in case.wait(4.0)


def test_stop_that_makes_way_and_comes_back_is_no_progress(case: Case) -> None:
    """An exit that is refused takes its stop away for a moment, again and again."""
    case.stop()
    did: list[Action] = []
    for orders in (1, 0, 1, 0, 1, 0, 1):
        case.left = Remainder({BTC: 0.5}, orders)
        did += case.wait(2.0)
    assert Do.KILL in did


def test_quantity_that_falls_and_rises_again_is_no_progress(case: Case) -> None:
    """A balance that lags now and then."""
    case.stop()
    did: list[Action] = []
    for qty in (0.5, 0.4, 0.5, 0.4, 0.5, 0.4, 0.5):
        case.left = Remainder({BTC: qty})
        did += case.wait(2.0)
    assert Do.KILL in did


def test_position_that_vanishes_and_comes_back_is_no_progress(case: Case) -> None:
    """An answer that leaves a balance out, now and then; an order rests all the while."""
    case.stop()
    did: list[Action] = []
    for held in ({BTC: 0.5}, {}, {BTC: 0.5}, {}, {BTC: 0.5}, {}, {BTC: 0.5}):
        case.left = Remainder(held, 1)
        did += case.wait(2.0)
    assert Do.KILL in did


def test_unknown_remainder_is_no_measure_for_the_next_one(case: Case) -> None:
    """What was unknown and then shows as much as before has not become less."""
    case.left = Remainder({BTC: 0.5})
    case.stop()
    case.wait(3.0)
    case.left = Remainder({}, orders=9, unknown="binance does not answer")
    case.wait(3.0)
    case.left = Remainder({BTC: 0.5})
    assert Do.KILL in case.wait(SHRINKS_WITHIN - 6.0 + 2 * TICK)


def test_stop_without_an_engine_is_closed_from_here(case: Case) -> None:
    case.stop()
    case.take(case.machine.engine_ended(1, case.now))
    case.take(case.machine.closed(GOOD, case.now))
    again = case.ask(Act.EMERGENCY_STOP)
    case.take(case.machine.latched("", case.now))
    assert case.count(Do.CLOSE) == 2 and case.done(again) is None
    case.take(case.machine.closed(GOOD, case.now))
    assert case.done(again) is True


def test_engine_that_falls_while_it_closes_is_closed_for_and_not_started_anew(case: Case) -> None:
    asker = case.stop()
    case.take(case.machine.engine_ended(-9, case.now))
    assert case.count(Do.START) == 1 and case.actions[-1] is Do.CLOSE
    assert "it is closed from here" in case.replies(asker)[-1]


def test_closing_runs_once_however_often_it_is_asked_for(case: Case) -> None:
    case.stop()
    case.take(case.machine.engine_ended(-9, case.now))
    second = case.ask(Act.EMERGENCY_STOP)
    case.take(case.machine.latched("", case.now))
    case.wait(5.0)
    assert case.count(Do.CLOSE) == 1
    case.take(case.machine.closed(GOOD, case.now))
    assert case.done(second) is True


def test_closing_that_breaks_is_told_and_tried_again(case: Case) -> None:
    asker = case.stop()
    case.take(case.machine.engine_ended(-9, case.now))
    case.take(case.machine.broke(Do.CLOSE, "ValueError: a bug", case.now))
    assert "ValueError: a bug" in case.replies(asker)[-1] and case.done(asker) is None
    assert Do.CLOSE not in case.wait(4.9)
    assert Do.CLOSE in case.wait(0.2)


# ---------------------------------------------------------------- done is said when the venues show flat


def test_stop_is_done_when_the_venues_show_flat(case: Case) -> None:
    case.left = Remainder({BTC: 0.5})
    asker = case.stop()
    case.wait(3.0)
    assert case.done(asker) is None
    case.left = FLAT
    case.wait(2.1)
    assert case.done(asker) is True and case.replies(asker)[-1] == "The venues show flat."
    assert case.machine.is_running and case.machine.stop is None


@pytest.mark.parametrize("left", [Remainder({BTC: 1e-9}), Remainder({}, orders=1), Remainder({}, unknown="no answer")])
def test_stop_is_not_done_while_anything_is_left_or_unknown(case: Case, left: Remainder) -> None:
    case.left = left
    asker = case.stop()
    case.wait(9.0)
    assert case.done(asker) is None and left.text() in case.replies(asker)[-1]


def test_look_of_an_earlier_stop_is_worth_nothing(case: Case) -> None:
    """It was begun before the second stop, and saw the world before an entry that the stop was meant for."""
    case.stop()
    case.wait(TICK)
    (old,) = [action for action in case.actions if isinstance(action, Look)]
    case.machine.stop = None  # it ended otherwise
    second = case.stop()
    case.take(case.machine.looked(old.number, FLAT, case.now))
    assert case.done(second) is None


def test_look_is_worth_nothing_before_the_engine_has_answered(case: Case) -> None:
    case.left = FLAT
    asker = case.ask(Act.EMERGENCY_STOP)
    case.take(case.machine.latched("", case.now))
    case.wait(0.5)
    assert case.done(asker) is None
    case.acknowledge(Act.EMERGENCY_STOP)
    case.wait(2.1)
    assert case.done(asker) is True


def test_look_that_was_begun_before_the_engine_was_killed_does_not_end_the_closing(case: Case) -> None:
    asker = case.stop()
    case.wait(TICK)
    (look,) = [action for action in case.actions if isinstance(action, Look)]
    case.take(case.machine.engine_ended(-9, case.now))
    case.take(case.machine.looked(look.number, FLAT, case.now))
    assert case.done(asker) is None


def test_looks_follow_one_another(case: Case) -> None:
    """A venue that hangs is not asked by two looks at once."""
    case.stop()
    case.wait(8.0)
    assert sum(isinstance(action, Look) for action in case.actions) == 1


def test_closing_that_cannot_tell_what_is_ours_is_not_done(case: Case) -> None:
    asker = case.stop()
    case.take(case.machine.engine_ended(-9, case.now))
    case.take(case.machine.closed(Report(False, ("NOT KNOWN whether anything is left",)), case.now))
    assert case.done(asker) is False and "NOT KNOWN" in case.replies(asker)[-1]


def test_remainder_is_reported_when_it_changes_and_every_few_seconds(case: Case) -> None:
    case.left = Remainder({BTC: 0.5})
    asker = case.stop()
    case.wait(7.0)
    assert [text for text in case.replies(asker) if "not flat yet" in text] == [f"not flat yet: {BTC} 0.5"] * 2
    case.left = Remainder({BTC: 0.25})
    case.wait(2.0)
    assert case.replies(asker)[-1] == f"not flat yet: {BTC} 0.25"


def test_stop_that_comes_while_another_ends_is_answered(case: Case) -> None:
    case.left = FLAT
    first = case.stop()
    case.wait(TICK)
    second = case.ask(Act.EMERGENCY_STOP)
    case.take(case.machine.engine_ended(-9, case.now))
    case.take(case.machine.closed(GOOD, case.now))
    assert case.done(first) is True and case.done(second) is None
    case.take(case.machine.latched("", case.now))
    case.take(case.machine.closed(GOOD, case.now))
    assert case.done(second) is True


# ---------------------------------------------------------------- re-arm


def re_armed(case: Case, stage: str) -> int:
    """A re-arm that has come so far."""
    asker = case.ask(Act.RE_ARM)
    if stage in ("cleared", "given"):
        case.acknowledge(Act.RE_ARM)
    if stage == "given":
        case.take(case.machine.commands.permit_given("", case.now))
    return asker


def test_re_arm_clears_the_latches_first_and_then_gives_the_permit(case: Case) -> None:
    asker = re_armed(case, "commanded")
    assert case.count(Do.GIVE_PERMIT) == 0
    case.acknowledge(Act.RE_ARM)
    assert case.count(Do.GIVE_PERMIT) == 1 and case.done(asker) is None


@pytest.mark.parametrize(
    ("state", "why", "done", "text"),
    [
        ("active", "", True, "the engine takes entries"),
        ("reducing", "binance is not yet compared with the book", True, "No entry leaves yet: reducing, binance"),
        ("halted", "portfolio stop: -2.1 %", False, "halted again: portfolio stop: -2.1 %"),
    ],
)
def test_re_arm_is_answered_by_what_the_engine_says_afterwards(
    case: Case, state: str, why: str, done: bool, text: str
) -> None:
    asker = re_armed(case, "given")
    assert case.done(asker) is None
    case.take(case.machine.engine_status(state, why))
    assert case.done(asker) is done and text in case.replies(asker)[-1]


def test_status_from_before_the_permit_is_no_answer_to_a_re_arm(case: Case) -> None:
    asker = re_armed(case, "cleared")
    case.take(case.machine.engine_status("active", ""))
    assert case.done(asker) is None


def test_re_arm_after_which_the_engine_says_nothing_claims_nothing_of_entries(case: Case) -> None:
    asker = re_armed(case, "given")
    case.wait(5.2)
    assert case.done(asker) is True and "Whether entries leave is not known" in case.replies(asker)[-1]


def test_re_arm_that_the_engine_does_not_answer_gives_no_permit(case: Case) -> None:
    asker = re_armed(case, "commanded")
    case.wait(60.2)
    assert case.done(asker) is False and "nothing is known to be cleared" in case.replies(asker)[-1]
    case.acknowledge(Act.RE_ARM)
    assert case.count(Do.GIVE_PERMIT) == 0


@pytest.mark.parametrize("how", ["the disk hangs", "the engine ends"])
def test_re_arm_whose_permit_is_on_its_way_claims_nothing_of_it(case: Case, how: str) -> None:
    """It was answered "the permit is not given", and then it was."""
    asker = re_armed(case, "cleared")
    if how == "the disk hangs":
        case.wait(60.2)
    else:
        case.take(case.machine.engine_ended(1, case.now))
    assert case.done(asker) is False and "whether the permit is given is not known" in case.replies(asker)[-1]


def test_permit_that_cannot_be_given_is_told(case: Case) -> None:
    asker = re_armed(case, "cleared")
    case.take(case.machine.commands.permit_given("data/permit: No space left on device", case.now))
    case.take(case.machine.engine_status("active", ""))
    assert case.done(asker) is False and "No space left" in case.replies(asker)[-1]


@pytest.mark.parametrize("stage", ["commanded", "cleared", "given"])
def test_stop_drops_a_re_arm_that_is_under_way(case: Case, stage: str) -> None:
    """Its late answer would give the permit again."""
    asker = re_armed(case, stage)
    given = case.count(Do.GIVE_PERMIT)
    case.ask(Act.EMERGENCY_STOP)
    assert case.done(asker) is False and "an emergency stop came after it" in case.replies(asker)[-1]
    case.acknowledge(Act.RE_ARM)
    case.take(case.machine.commands.permit_given("", case.now))
    case.take(case.machine.engine_status("active", ""))
    assert case.count(Do.GIVE_PERMIT) == given and case.done(asker) is False
    assert case.actions.index(Do.LATCH) > (case.actions.index(Do.GIVE_PERMIT) if given else 0)


def test_re_arm_waits_until_what_is_ours_is_closed(case: Case) -> None:
    case.left = Remainder({BTC: 0.5})
    case.stop()
    case.wait(2.1)
    asker = case.ask(Act.RE_ARM)
    assert case.done(asker) is False and f"Left: {BTC} 0.5" in case.replies(asker)[-1]


@pytest.mark.parametrize("report", [GOOD, Report(False, ("NOT KNOWN",))])
def test_re_arm_works_again_once_a_closing_has_ended(case: Case, report: Report) -> None:
    case.stop()
    case.take(case.machine.engine_ended(-9, case.now))
    case.take(case.machine.closed(report, case.now))
    asker = case.ask(Act.RE_ARM)
    assert case.count(Do.START) == 2 and case.done(asker) is None
    case.acknowledge(Act.RE_ARM)
    assert case.count(Do.GIVE_PERMIT) == 1


# ---------------------------------------------------------------- close and go on

OLD, NEW = OpenedTrade(BTC, 10, 0.5), OpenedTrade(BTC, 99, 0.5)
OTHER = OpenedTrade(ETH, 11, 1.0)


def read(case: Case, *trades: OpenedTrade) -> None:
    """The journal's reading that was asked for comes back; the next is asked for a while later."""
    case.take(case.machine.commands.trades_read(trades, "", case.now))
    case.wait(1.1)


def test_close_is_done_when_the_trades_that_were_open_are_closed(case: Case) -> None:
    asker = case.ask(Act.CLOSE_ALL)
    assert case.count(Do.READ_TRADES) == 1
    read(case, OLD)
    case.acknowledge(Act.CLOSE_ALL)
    read(case, OLD)
    read(case, OLD)
    assert case.done(asker) is None and case.replies(asker) == [f"close_all: closing: {BTC} 0.5"]
    read(case, NEW)
    assert case.done(asker) is True and case.replies(asker)[-1] == f"close_all: closed: {BTC}"


def test_close_is_not_done_when_it_was_merely_understood(case: Case) -> None:
    asker = case.ask(Act.CLOSE_ALL)
    case.acknowledge(Act.CLOSE_ALL)
    case.wait(10.0)
    assert case.done(asker) is None


def test_reading_from_before_the_engines_answer_proves_nothing(case: Case) -> None:
    asker = case.ask(Act.CLOSE_ALL)
    case.acknowledge(Act.CLOSE_ALL)
    case.take(case.machine.commands.trades_read((), "", case.now))
    assert case.done(asker) is None
    case.wait(1.1)
    read(case)
    assert case.done(asker) is True and case.replies(asker)[-1] == "close_all: nothing of ours was open"


def test_every_trade_has_to_be_closed(case: Case) -> None:
    asker = case.ask(Act.CLOSE_ALL)
    read(case, OLD, OTHER)
    case.acknowledge(Act.CLOSE_ALL)
    case.wait(TICK)
    read(case, OTHER)
    read(case, OTHER)
    assert case.done(asker) is None
    read(case)
    assert case.done(asker) is True


def test_close_of_one_instrument_waits_for_no_other(case: Case) -> None:
    asker = case.ask(Act.CLOSE, BTC)
    read(case, OLD, OTHER)
    case.acknowledge(Act.CLOSE)
    case.wait(TICK)
    read(case, OTHER)
    read(case, OTHER)
    assert case.done(asker) is True


def test_close_that_lasts_too_long_claims_nothing(case: Case) -> None:
    asker = case.ask(Act.CLOSE_ALL)
    case.acknowledge(Act.CLOSE_ALL)
    for _ in range(60):
        read(case, OLD)
    assert case.done(asker) is False
    assert "it is not closed, 30 s after the command. Nothing is claimed" in case.replies(asker)[-1]


def test_close_without_the_engines_answer_claims_nothing(case: Case) -> None:
    asker = case.ask(Act.CLOSE_ALL)
    for _ in range(60):
        read(case)
    assert case.done(asker) is False and "the engine has not answered" in case.replies(asker)[-1]


def test_close_whose_journal_cannot_be_read_is_not_known_to_be_done(case: Case) -> None:
    asker = case.ask(Act.CLOSE_ALL)
    case.acknowledge(Act.CLOSE_ALL)
    case.take(case.machine.commands.trades_read(None, "data/journal: torn", case.now))
    assert case.done(asker) is False and "not known: data/journal: torn" in case.replies(asker)[-1]


def test_journal_is_read_by_one_reading_at_a_time_and_once_a_second(case: Case) -> None:
    case.ask(Act.CLOSE_ALL)
    case.ask(Act.CLOSE_ALL)
    case.wait(5.0)
    assert case.count(Do.READ_TRADES) == 1
    case.take(case.machine.commands.trades_read((OLD,), "", case.now))
    case.wait(0.9)
    assert case.count(Do.READ_TRADES) == 1
    case.wait(0.2)
    assert case.count(Do.READ_TRADES) == 2


# ---------------------------------------------------------------- other commands


@pytest.mark.parametrize("act", [Act.PAUSE, Act.RESUME, Act.ADOPT])
@pytest.mark.parametrize(("is_known", "text"), [(True, "done"), (False, "not understood")])
def test_command_of_one_step_is_answered_with_it(case: Case, act: Act, is_known: bool, text: str) -> None:
    asker = case.ask(act)
    assert case.done(asker) is None
    case.acknowledge(act, is_known)
    assert case.done(asker) is is_known and case.replies(asker) == [f"{act}: {text}"]


@pytest.mark.parametrize("act", ["nonsense", "None", Act.PAUSE, Act.CLOSE_ALL])
def test_command_that_nobody_can_carry_out_is_refused(case: Case, act: str) -> None:
    case.take(case.machine.closed(GOOD, case.now))
    case.machine.is_running = False
    asker = case.ask(act)
    assert case.done(asker) is False and not case.told(act)


@pytest.mark.parametrize("act", [Act.PAUSE, Act.CLOSE_ALL, Act.CLOSE, Act.RE_ARM])
def test_what_a_lost_engine_was_asked_is_answered(case: Case, act: Act) -> None:
    asker = case.ask(act)
    case.take(case.machine.engine_ended(-9, case.now))
    assert case.done(asker) is False and "ended before it was done" in case.replies(asker)[-1]


def test_command_that_a_hung_engine_does_not_answer_is_not_known(case: Case) -> None:
    asker = case.ask(Act.PAUSE)
    case.wait(60.2)
    assert case.done(asker) is False and "nothing is known of it" in case.replies(asker)[-1]


# ---------------------------------------------------------------- falls and ends


def test_engine_that_falls_is_started_anew(case: Case) -> None:
    case.take(case.machine.engine_ended(1, case.now))
    assert case.count(Do.START) == 2 and case.machine.is_running
    assert Announce("The engine ended with 1.") in case.actions


def test_engine_for_which_there_is_no_process_is_tried_again_after_a_pause(case: Case) -> None:
    """No process, or no handle for its socket, was to be had for a moment, and the supervisor fell."""
    case.take(case.machine.engine_ended(1, case.now))
    case.take(case.machine.not_started("[Errno 11] Resource temporarily unavailable", case.now))
    assert "Resource temporarily unavailable" in [a.text for a in case.actions if isinstance(a, Announce)][-1]
    assert Do.START not in case.wait(4.9) and not case.machine.is_running
    assert case.wait(0.2).count(Do.START) == 1 and case.machine.is_running


def test_engine_for_which_there_never_is_a_process_is_left_down(case: Case) -> None:
    for _ in range(5):
        case.take(case.machine.not_started("no process", case.now))
        case.wait(5.1)
    assert case.count(Do.START) == 5 and case.actions[-1] is Do.SECURE


@pytest.mark.parametrize("then", ["a stop", "an end"])
def test_engine_that_waits_for_a_process_is_not_started_any_more(case: Case, then: str) -> None:
    case.take(case.machine.not_started("no process", case.now))
    if then == "a stop":
        case.ask(Act.EMERGENCY_STOP)
        case.take(case.machine.latched("", case.now))
        case.take(case.machine.closed(GOOD, case.now))
    else:
        case.take(case.machine.end(case.now))
    assert Do.START not in case.wait(10.0)


def test_engine_that_falls_five_times_within_an_hour_is_left_down_once_its_positions_are_secured(case: Case) -> None:
    for _ in range(5):
        case.wait(60.0)
        case.take(case.machine.engine_ended(1, case.now))
    assert case.count(Do.START) == 5
    case.wait(TICK)
    assert case.actions[-1] is Do.SECURE
    case.wait(30.0)
    assert case.left_with is None and case.count(Do.SECURE) == 1
    case.take(case.machine.secured(Report(True, (f"{BTC}: its stop rests",)), case.now))
    case.wait(TICK)
    assert Announce(f"{BTC}: its stop rests") in case.actions and case.left_with == 1


def test_fifth_fall_an_hour_after_the_first_start_is_no_reason_to_give_up(case: Case) -> None:
    for _ in range(5):
        case.now += 721.0
        case.machine.heard_at = case.now
        case.take(case.machine.engine_ended(1, case.now))
    assert case.count(Do.START) == 6 and case.count(Do.SECURE) == 0


@pytest.mark.parametrize(("is_ready", "job"), [(True, Do.SECURE), (False, Do.VERIFY)])
def test_engine_that_fails_for_a_reason_of_the_users_is_not_started_anew(is_ready: bool, job: Do) -> None:
    """A wrong key at the start has nothing to secure, and must not wait for a venue that refuses it."""
    case = Case()
    case.machine.was_ready = is_ready
    case.take(case.machine.engine_failed("StrategyError: it raised", case.now))
    case.take(case.machine.engine_ended(1, case.now))
    case.wait(TICK)
    assert case.count(Do.START) == 1 and case.actions[-1] is job
    case.take(case.machine.secured(Report(True, ()), case.now))
    case.wait(TICK)
    assert case.left_with == 1


def test_end_asks_the_engine_to_end_and_does_not_kill_it(case: Case) -> None:
    """Killed at once it would leave a fresh fill without its stop."""
    case.take(case.machine.end(case.now))
    assert case.actions[-1] is Do.END
    assert Do.KILL not in case.wait(ENDS_WITHIN)
    assert Do.KILL in case.wait(3 * TICK)


@pytest.mark.parametrize("is_good", [True, False])
def test_end_says_what_was_verified(case: Case, is_good: bool) -> None:
    asker = case.ask("end")
    case.take(case.machine.engine_ended(0, case.now))
    case.wait(TICK)
    assert case.actions[-1] is Do.VERIFY and case.done(asker) is None
    case.take(case.machine.secured(Report(is_good, (f"{BTC}: long 0.5", "and this")), case.now))
    case.wait(TICK)
    assert case.done(asker) is is_good and case.replies(asker)[-1] == f"{BTC}: long 0.5\nand this"
    assert case.left_with == 0


def test_end_twice_is_one_end(case: Case) -> None:
    askers = case.ask("end"), case.ask("end")
    assert case.count(Do.END) == 1
    case.take(case.machine.engine_ended(0, case.now))
    case.wait(TICK)
    case.take(case.machine.secured(GOOD, case.now))
    case.wait(TICK)
    assert [case.done(asker) for asker in askers] == [True, True]


def test_session_does_not_end_while_it_is_being_closed(case: Case) -> None:
    case.stop()
    case.ask("end")
    case.take(case.machine.engine_ended(0, case.now))
    case.wait(60.0)
    assert case.left_with is None and case.count(Do.CLOSE) == 1
    case.take(case.machine.closed(GOOD, case.now))
    case.wait(TICK)
    assert case.left_with == 0 and case.count(Do.VERIFY) == 0


def test_stop_that_comes_while_positions_are_secured_closes_them_afterwards(case: Case) -> None:
    for _ in range(5):
        case.take(case.machine.engine_ended(1, case.now))
    case.wait(TICK)
    asker = case.ask(Act.EMERGENCY_STOP)
    case.take(case.machine.latched("", case.now))
    assert case.count(Do.CLOSE) == 0
    case.take(case.machine.secured(Report(False, ("hurried",)), case.now))
    case.wait(TICK)
    assert case.count(Do.CLOSE) == 1 and case.left_with is None
    case.take(case.machine.closed(GOOD, case.now))
    case.wait(TICK)
    assert case.done(asker) is True and case.left_with == 1


def test_session_does_not_end_while_a_closing_that_broke_waits_for_its_next_try(case: Case) -> None:
    for _ in range(5):
        case.take(case.machine.engine_ended(1, case.now))
    case.wait(TICK)
    case.ask(Act.EMERGENCY_STOP)
    case.take(case.machine.latched("", case.now))
    case.take(case.machine.secured(Report(False, ("hurried",)), case.now))
    case.wait(TICK)
    case.take(case.machine.broke(Do.CLOSE, "ValueError: a bug", case.now))
    case.wait(4.0)
    assert case.left_with is None
    case.wait(2.0)
    assert case.count(Do.CLOSE) == 2 and case.left_with is None


def test_look_before_an_end_that_breaks_is_tried_again(case: Case) -> None:
    case.take(case.machine.engine_ended(0, case.now))
    case.wait(TICK)
    case.take(case.machine.broke(Do.VERIFY, "ValueError: a bug", case.now))
    assert Do.VERIFY not in case.wait(4.9)
    assert Do.VERIFY in case.wait(0.2) and case.left_with is None


def test_decision_whose_actions_nobody_reads_is_made_all_the_same() -> None:
    machine = Oversight()
    machine.begin(0.0)
    machine.requested(Request(1, Act.EMERGENCY_STOP), 0.0)
    assert machine.is_running and machine.stop is not None
