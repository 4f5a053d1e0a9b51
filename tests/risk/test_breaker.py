"""The circuit breaker: each rule by itself, traces against a plain model written from the rules, and real threads."""

from __future__ import annotations

import asyncio
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ffe.model import MINUTE, SECOND, Nanos
from ffe.risk.breaker import Breaker, BreakerState, Call, CallKind
from ffe.risk.limits import BreakerRules
from tests.risk.values import START

CLOSED, OPEN, HALF_OPEN = BreakerState
ENTRY, ORDER, QUERY = CallKind
STEADY = BreakerRules(jitter_ratio=0.0)
T0 = START + 7  # no multiple of anything


def call(breaker: Breaker, kind: CallKind, now: Nanos) -> Call:
    made = breaker.call(kind, now)
    assert made is not None
    return made


def fail(breaker: Breaker, kind: CallKind, now: Nanos, times: int = 1) -> None:
    for _ in range(times):
        breaker.fail(call(breaker, kind, now), now)


def succeed(breaker: Breaker, kind: CallKind, now: Nanos) -> None:
    breaker.succeed(call(breaker, kind, now), now)


def opened(rules: BreakerRules = STEADY) -> Breaker:
    """A breaker that opened at T0."""
    breaker = Breaker(rules)
    fail(breaker, ORDER, T0, 5)
    assert breaker.state(T0) is OPEN
    return breaker


def proven(now: Nanos = T0 + MINUTE) -> Breaker:
    """A half-open one whose query has succeeded."""
    breaker = opened()
    succeed(breaker, QUERY, now)
    return breaker


# ---------------------------------------------------------------- opening


@pytest.mark.parametrize("kind", [ENTRY, ORDER, QUERY])
def test_fifth_consecutive_failure_opens(kind: CallKind) -> None:
    breaker = Breaker(STEADY)
    fail(breaker, kind, T0, 4)
    assert breaker.state(T0) is CLOSED
    fail(breaker, kind, T0)
    assert breaker.state(T0) is OPEN
    assert breaker.openings == 1


@pytest.mark.parametrize(("kind", "other"), [(ORDER, QUERY), (QUERY, ORDER)])
def test_success_resets_its_own_class_alone(kind: CallKind, other: CallKind) -> None:
    breaker = Breaker(STEADY)
    fail(breaker, kind, T0, 4)
    succeed(breaker, other, T0)
    fail(breaker, other, T0, 4)
    assert breaker.state(T0) is CLOSED
    succeed(breaker, kind, T0)
    fail(breaker, kind, T0, 4)
    assert breaker.state(T0) is CLOSED
    fail(breaker, kind, T0)
    assert breaker.state(T0) is OPEN


def test_entries_and_other_orders_are_one_class() -> None:
    breaker = Breaker(STEADY)
    fail(breaker, ENTRY, T0, 3)
    fail(breaker, ORDER, T0, 2)
    assert breaker.state(T0) is OPEN


def test_call_that_told_nothing_counts_for_nothing() -> None:
    breaker = Breaker(STEADY)
    fail(breaker, ORDER, T0, 4)
    breaker.cancel(call(breaker, ORDER, T0))
    assert breaker.state(T0) is CLOSED
    fail(breaker, ORDER, T0)
    assert breaker.state(T0) is OPEN


@pytest.mark.parametrize("now", [T0, T0 + 59 * SECOND, T0 + MINUTE])
def test_only_entries_are_refused(now: Nanos) -> None:
    breaker = opened()
    assert breaker.call(ENTRY, now) is None
    assert breaker.call(ORDER, now) is not None
    assert breaker.call(QUERY, now) is not None


# ---------------------------------------------------------------- the window


def test_state_is_a_function_of_now() -> None:
    breaker = opened()
    for _ in range(2):
        assert [breaker.state(T0 + s * SECOND) for s in (0, 59, 60, 1000)] == [OPEN, OPEN, HALF_OPEN, HALF_OPEN]
        assert breaker.state(T0 + MINUTE - 1) is OPEN


def window(breaker: Breaker, since: Nanos) -> Nanos:
    """How long a breaker that has just opened stays open."""
    low, high = 0, 1000 * SECOND
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if breaker.state(since + middle) is OPEN else (low, middle)
    return high


def test_window_doubles_with_each_failed_try_up_to_a_quarter_of_an_hour() -> None:
    breaker, now, found = opened(), T0, []
    for _ in range(6):
        found.append(window(breaker, now) // SECOND)
        now += window(breaker, now)
        fail(breaker, QUERY, now)
    assert found == [60, 120, 240, 480, 900, 900]


def test_window_starts_anew_after_closing() -> None:
    breaker, now = opened(), T0 + MINUTE
    fail(breaker, QUERY, now)
    now += window(breaker, now)
    succeed(breaker, QUERY, now)
    succeed(breaker, ENTRY, now)
    assert breaker.state(now) is CLOSED
    fail(breaker, ORDER, now, 5)
    assert window(breaker, now) == MINUTE


def test_window_never_overflows() -> None:
    breaker, now = opened(), T0
    for _ in range(1100):
        now += 900 * SECOND
        fail(breaker, QUERY, now)
    assert window(breaker, now) == 900 * SECOND


@given(st.text(max_size=5))
def test_jitter_is_at_most_a_tenth_and_the_seeds_alone(seed: str) -> None:
    one, two, now = Breaker(BreakerRules(), seed), Breaker(BreakerRules(), seed), T0
    fail(one, ORDER, now, 5)
    fail(two, ORDER, now, 5)
    for seconds in (60, 120, 240, 480, 900):
        assert 0.9 * seconds * SECOND <= window(one, now) == window(two, now) <= min(1.1 * seconds, 900) * SECOND
        now += window(one, now)
        fail(one, QUERY, now)
        fail(two, QUERY, now)


def test_jitter_of_a_seed_never_changes() -> None:
    breaker, now, found = Breaker(BreakerRules(), "golden"), T0, []
    fail(breaker, ORDER, now, 5)
    for _ in range(3):
        found.append(window(breaker, now))
        now += found[-1]
        fail(breaker, QUERY, now)
    assert found == [60_223_840_362, 129_448_242_970, 224_776_398_558]


def test_jitter_reaches_far_to_both_sides_and_differs_by_opening() -> None:
    breakers = [Breaker(BreakerRules(), str(number)) for number in range(200)]
    for breaker in breakers:
        fail(breaker, ORDER, T0, 5)
    found = [window(breaker, T0) / MINUTE for breaker in breakers]
    assert min(found) < 0.92 and max(found) > 1.08
    first = window(breakers[0], T0)
    succeed(breakers[0], ORDER, T0 + first)
    fail(breakers[0], ORDER, T0 + first, 5)
    assert window(breakers[0], T0 + first) != first


# ---------------------------------------------------------------- half-open


def test_half_open_waits_for_a_query_before_it_lets_an_entry_try() -> None:
    breaker, now = opened(), T0 + MINUTE
    assert not breaker.needs_query(now - 1)
    assert breaker.needs_query(now)
    assert breaker.call(ENTRY, now) is None
    succeed(breaker, QUERY, now)
    assert not breaker.needs_query(now)
    assert breaker.call(ENTRY, now) is not None


def test_closed_breaker_needs_no_query() -> None:
    assert not Breaker(STEADY).needs_query(T0)


def test_query_that_succeeded_while_open_proves_nothing() -> None:
    breaker = opened()
    succeed(breaker, QUERY, T0 + 59 * SECOND)
    assert breaker.needs_query(T0 + MINUTE)


def test_exactly_one_entry_is_the_probe() -> None:
    breaker = proven()
    assert breaker.call(ENTRY, T0 + MINUTE) is not None
    assert [breaker.call(ENTRY, T0 + MINUTE + s * SECOND) for s in (0, 1, 29)] == [None, None, None]


def test_probes_success_closes_and_its_failure_opens() -> None:
    breaker, now = proven(), T0 + MINUTE
    succeed(breaker, ENTRY, now)
    assert breaker.state(now) is CLOSED
    breaker = proven()
    fail(breaker, ENTRY, now)
    assert (breaker.state(now), breaker.openings, window(breaker, now)) == (OPEN, 2, 2 * MINUTE)


def test_closed_again_it_takes_five_failures_to_open() -> None:
    breaker, now = proven(), T0 + MINUTE
    succeed(breaker, ENTRY, now)
    fail(breaker, ORDER, now, 4)
    assert breaker.state(now) is CLOSED
    assert breaker.call(ENTRY, now) is not None and breaker.call(ENTRY, now) is not None


def test_exit_closes_only_behind_a_query_and_what_failed_before_the_opening_is_forgotten() -> None:
    breaker, now = Breaker(STEADY), T0 + MINUTE
    fail(breaker, QUERY, T0, 4)
    fail(breaker, ORDER, T0, 5)
    succeed(breaker, ORDER, now)
    assert breaker.state(now) is HALF_OPEN
    succeed(breaker, QUERY, now)
    succeed(breaker, ORDER, now)
    assert breaker.state(now) is CLOSED
    fail(breaker, QUERY, now, 4)
    assert breaker.state(now) is CLOSED
    fail(breaker, QUERY, now)
    assert breaker.state(now) is OPEN


def test_query_alone_does_not_close() -> None:
    breaker = proven()
    succeed(breaker, QUERY, T0 + MINUTE)
    assert breaker.state(T0 + MINUTE) is HALF_OPEN


def test_hung_probe_frees_its_place_after_thirty_seconds() -> None:
    breaker, now = proven(), T0 + MINUTE
    assert breaker.call(ENTRY, now) is not None
    assert breaker.call(ENTRY, now + 30 * SECOND - 1) is None
    assert breaker.call(ENTRY, now + 30 * SECOND) is not None
    assert breaker.call(ENTRY, now + 30 * SECOND) is None


def test_cancelled_probe_frees_its_place_at_once() -> None:
    breaker, now = proven(), T0 + MINUTE
    breaker.cancel(call(breaker, ENTRY, now))
    assert breaker.call(ENTRY, now) is not None


def test_cancelled_bystander_does_not_free_the_probes_place() -> None:
    breaker, now = proven(), T0 + MINUTE
    bystander = call(breaker, ORDER, now)
    hung = call(breaker, ENTRY, now)
    breaker.cancel(bystander)
    assert breaker.call(ENTRY, now) is None
    assert breaker.call(ENTRY, now + 30 * SECOND) is not None
    breaker.cancel(hung)
    assert breaker.call(ENTRY, now + 31 * SECOND) is None


def test_new_opening_forgets_the_query_and_the_probe() -> None:
    breaker, now = proven(), T0 + MINUTE
    assert breaker.call(ENTRY, now) is not None
    fail(breaker, ORDER, now)
    later = now + 2 * MINUTE
    assert breaker.needs_query(later) and breaker.call(ENTRY, later) is None
    succeed(breaker, QUERY, later)
    assert breaker.call(ENTRY, later) is not None


@pytest.mark.parametrize("kind", [ORDER, QUERY])
def test_answers_from_before_the_last_opening_are_ignored(kind: CallKind) -> None:
    breaker, now = Breaker(STEADY), T0 + MINUTE
    late = [call(breaker, kind, T0 - SECOND) for _ in range(4)]
    fail(breaker, ORDER, T0, 5)
    breaker.succeed(late[0], now)
    assert breaker.state(now) is HALF_OPEN and breaker.needs_query(now)
    breaker.fail(late[1], now)
    assert breaker.state(now) is HALF_OPEN and breaker.openings == 1


def test_late_failures_do_not_open_what_has_closed_since() -> None:
    breaker, now = Breaker(STEADY), T0 + MINUTE
    late = [call(breaker, ORDER, T0) for _ in range(10)]
    for one in late[:5]:
        breaker.fail(one, T0)
    succeed(breaker, QUERY, now)
    succeed(breaker, ENTRY, now)
    for one in late[5:]:
        breaker.fail(one, now)
    assert breaker.state(now) is CLOSED


# ---------------------------------------------------------------- numbers


def test_numbers_count_calls_answers_and_refusals() -> None:
    breaker = opened()
    succeed(breaker, QUERY, T0)
    assert breaker.call(ENTRY, T0) is None
    numbers = breaker.numbers(T0)
    assert (numbers.calls, numbers.successes, numbers.failures, numbers.openings, numbers.refused) == (6, 1, 5, 1, 1)


def test_time_in_state_adds_up() -> None:
    breaker = Breaker(STEADY)
    assert set(breaker.numbers(T0 - MINUTE).time_in_state.values()) == {0}
    breaker = Breaker(STEADY)
    succeed(breaker, QUERY, T0 - 10 * SECOND)
    fail(breaker, ORDER, T0, 5)
    assert breaker.numbers(T0 + 50 * SECOND).time_in_state == {CLOSED: 10 * SECOND, OPEN: 50 * SECOND, HALF_OPEN: 0}
    assert breaker.numbers(T0 + 80 * SECOND).time_in_state == {
        CLOSED: 10 * SECOND, OPEN: 60 * SECOND, HALF_OPEN: 20 * SECOND,
    }  # fmt: skip
    succeed(breaker, QUERY, T0 + 80 * SECOND)
    succeed(breaker, ORDER, T0 + 90 * SECOND)
    assert breaker.numbers(T0 + 100 * SECOND).time_in_state == {
        CLOSED: 20 * SECOND, OPEN: 60 * SECOND, HALF_OPEN: 30 * SECOND,
    }  # fmt: skip


def test_numbers_that_were_given_do_not_change() -> None:
    breaker = Breaker(STEADY)
    succeed(breaker, QUERY, T0)
    before = breaker.numbers(T0)
    breaker.numbers(T0 + MINUTE)
    assert before.time_in_state[CLOSED] == 0


# ---------------------------------------------------------------- a plain model


@dataclass
class Plain:
    """The rules said anew: what was answered since the last opening is remembered, and all else recomputed from it."""

    opened: Nanos | None = None
    window: Nanos = 0
    doublings: int = 0  # of the last opening
    openings: int = 0
    answers: list[tuple[Nanos, bool, bool]] = field(default_factory=list)  # (when, of a query, success)
    probe: tuple[int, Nanos] | None = None  # the call and when it left

    def closed_at(self) -> Nanos | None:
        """When the last opening was over: the first order's success behind a query's, both after the window."""
        assert self.opened is not None
        end, proven = self.opened + self.window, False
        for when, query, success in self.answers:
            if success and when >= end:
                if proven and not query:
                    return when
                proven = proven or query
        return None

    def state(self, now: Nanos) -> BreakerState:
        if self.opened is None or self.closed_at() is not None:
            return CLOSED
        return HALF_OPEN if now >= self.opened + self.window else OPEN

    def is_proven(self) -> bool:
        assert self.opened is not None
        return any(query and success and when >= self.opened + self.window for when, query, success in self.answers)

    def admits(self, now: Nanos) -> bool:
        if self.state(now) is not HALF_OPEN:
            return self.state(now) is CLOSED
        return self.is_proven() and (self.probe is None or now - self.probe[1] >= 30 * SECOND)

    def failures(self, of_queries: bool) -> int:
        count = 0
        for _, query, success in reversed(self.answers):
            if query is of_queries:
                if success:
                    break
                count += 1
        return count

    def answer(self, now: Nanos, query: bool, success: bool) -> bool:
        """Whether this answer opens the breaker."""
        before = self.state(now)
        self.answers.append((now, query, success))
        opens = not success and (before is HALF_OPEN or (before is CLOSED and self.failures(query) >= 5))
        if opens:
            self.doublings = self.doublings + 1 if before is HALF_OPEN else 0
            self.opened, self.openings, self.answers, self.probe = now, self.openings + 1, [], None
        return opens


STEPS = [0, 1, SECOND, 10 * SECOND, 30 * SECOND - 1, 30 * SECOND, 53 * SECOND, 67 * SECOND, 130 * SECOND, 900 * SECOND]


def follow(seed: int, actions: int = 60) -> int:
    """One trace of random calls and answers in both; how often it opened. Failures come in spells, as they do."""
    rng = random.Random(seed)
    breaker, plain, now = Breaker(BreakerRules(), str(seed)), Plain(), T0
    under_way: list[tuple[Call, int]] = []  # with the opening the call belongs to
    counts = dict.fromkeys(("calls", "successes", "failures", "refused"), 0)
    spent, started, failing = dict.fromkeys(BreakerState, 0), False, rng.random()
    for _ in range(actions):
        action = rng.random()
        if action < 0.25:
            step = rng.choice(STEPS)
            if started:
                turn = (
                    now + step if plain.state(now) is not OPEN else min(now + step, (plain.opened or 0) + plain.window)
                )
                spent[plain.state(now)] += turn - now
                spent[HALF_OPEN] += now + step - turn
            now += step
        elif action < 0.62 or not under_way:
            kind = rng.choice(list(CallKind))
            admitted = kind is not ENTRY or plain.admits(now)
            made = breaker.call(kind, now)
            assert (made is not None) is admitted, f"seed {seed}"
            if made is None:
                counts["refused"] += 1
                continue
            started = True
            counts["calls"] += 1
            if kind is ENTRY and plain.state(now) is HALF_OPEN:
                plain.probe = (made.number, now)
            under_way.append((made, plain.openings))
        elif action < 0.68:
            gone, _ = under_way.pop(rng.randrange(len(under_way)))
            breaker.cancel(gone)
            if plain.probe is not None and plain.probe[0] == gone.number:
                plain.probe = None
        else:
            answered, opening = under_way.pop(rng.randrange(len(under_way)))
            failing = rng.random() if rng.random() < 0.1 else failing
            success = rng.random() > failing
            (breaker.succeed if success else breaker.fail)(answered, now)
            counts["successes" if success else "failures"] += 1
            if opening == plain.openings and plain.answer(now, answered.kind is QUERY, success):
                plain.window = window(breaker, now)
                ideal = 60 * 2**plain.doublings
                assert min(0.9 * ideal, 900) * SECOND <= plain.window <= min(1.1 * ideal, 900) * SECOND, f"seed {seed}"
        assert breaker.state(now) is plain.state(now), f"seed {seed}"
        assert breaker.openings == plain.openings, f"seed {seed}"
        assert breaker.needs_query(now) is (plain.state(now) is HALF_OPEN and not plain.is_proven()), f"seed {seed}"
    found = breaker.numbers(now)
    assert found.time_in_state == spent, f"seed {seed}"
    assert counts == {name: getattr(found, name) for name in counts}, f"seed {seed}"
    return plain.openings


EXAMPLES = settings().max_examples  # 100 every day, fewer in mutation runs, 2,000 in a campaign


def test_breaker_follows_the_plain_model() -> None:
    assert sum(follow(seed) for seed in range(20 * EXAMPLES)) > 5 * EXAMPLES


@pytest.mark.campaign
def test_breaker_follows_the_plain_model_for_a_hundred_thousand_traces() -> None:
    assert sum(follow(seed, 100) for seed in range(100_000)) > 50_000


# ---------------------------------------------------------------- threads and tasks


@pytest.mark.parametrize("number", range(5))
def test_threads_and_tasks_together_get_exactly_one_probe(number: int) -> None:
    breaker, now, many = proven(), T0 + MINUTE, 8
    gate = threading.Barrier(2 * many)

    def race() -> list[Call | None]:
        gate.wait()
        return [breaker.call(ENTRY, now) for _ in range(20)]

    async def task() -> list[Call | None]:
        await asyncio.sleep(0)
        return [breaker.call(ENTRY, now) for _ in range(5)]

    async def tasks() -> list[list[Call | None]]:
        gate.wait()
        return list(await asyncio.gather(*(task() for _ in range(4))))

    with ThreadPoolExecutor(2 * many) as pool:
        threads = [pool.submit(race) for _ in range(many)]
        loops = [pool.submit(lambda: asyncio.run(tasks())) for _ in range(many)]
        answers = [call for future in threads for call in future.result()]
        answers += [call for future in loops for calls in future.result() for call in calls]
    assert len(answers) == many * 20 + many * 20
    assert sum(call is not None for call in answers) == 1
    assert breaker.numbers(now).refused == len(answers) - 1


def test_no_call_is_lost_between_threads() -> None:
    breaker, now, each = Breaker(STEADY), T0, 500

    def work() -> set[int]:
        numbers = set()
        for _ in range(each):
            made = call(breaker, QUERY, now)
            breaker.succeed(made, now)
            numbers.add(made.number)
        return numbers

    with ThreadPoolExecutor(8) as pool:
        found = set().union(*(future.result() for future in [pool.submit(work) for _ in range(8)]))
    assert len(found) == breaker.numbers(now).calls == breaker.numbers(now).successes == 8 * each
