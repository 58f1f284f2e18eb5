"""The budget: never above the rate, cut by throttles, regained in clean time, divided among daemons."""

import random
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from botocore.loaders import Loader
from hypothesis import given, settings
from hypothesis import strategies as st

from triggerd.aws.budget import Budget, QuotaGroup
from triggerd.aws.quotas import Quotas
from triggerd.aws.waiters import ServiceModels
from triggerd.settings import AwsSettings, QuotaSettings

MODELS = ServiceModels(Loader())
START_S = 1e6  # a clock of a machine that has been up for days: floats are coarser there
ROUNDING = 1e-4


def new_budget(overrides: dict[str, tuple[float, float]] | None = None, share: float = 1.0) -> Budget:
    given = {key: QuotaSettings(rate_per_s=rate, burst=burst) for key, (rate, burst) in (overrides or {}).items()}
    return Budget(Quotas(AwsSettings(quotas=given, quota_share=share), MODELS), random.Random(1))


def tasks(rate: float = 10.0, burst: float = 20.0) -> QuotaGroup:
    """The group of ecs:DescribeTasks with these figures."""
    return group_of(new_budget({"ecs.cluster-resource-read": (rate, burst)}), "ecs", "DescribeTasks")


def group_of(budget: Budget, service: str, operation: str) -> QuotaGroup:
    return budget.group("me", "eu-central-1", service, operation)


def greedy(
    group: QuotaGroup, now_s: float, seconds: float, answer: Callable[[float], str] = lambda sent_s: "answered",
    took_s: float = 0.05,
) -> list[float]:  # fmt: skip
    """Send as soon as it is allowed, one call in flight at a time. Returns when calls were sent."""
    sent, end_s = [], now_s + seconds
    while now_s < end_s:
        wait_s = group.take(now_s)
        if wait_s > 0:
            assert wait_s <= 61, "a probe was forgotten, or a pause is too long"
            now_s += wait_s
            continue
        sent.append(now_s)
        result = answer(now_s)
        now_s += took_s
        tell(group, result, sent[-1], now_s)
    return sent


def tell(group: QuotaGroup, result: str, sent_s: float, now_s: float) -> None:
    if result == "answered":
        group.answered(sent_s, now_s)
    elif result == "released":
        group.released(sent_s)
    else:
        group.lost(result, sent_s, now_s, 0.0)


# --- never above the rate ---------------------------------------------------------------------------------------

EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["take"] * 6 + ["answered", "throttled", "unavailable", "released", "divide"]),
        st.floats(0, 3) | st.sampled_from([0.0, 0.0, 61.0, 1000.0]),
        st.integers(1, 5),
    ),
    max_size=80,
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(events=EVENTS, rate=st.floats(0.1, 50), burst=st.floats(1, 30), known=st.booleans())
def test_no_window_ever_has_more_calls_than_its_burst_and_its_rate_allow(
    events: list[tuple[str, float, int]], rate: float, burst: float, known: bool
) -> None:
    budget = new_budget({"ecs.cluster-resource-read": (rate, burst)} if known else {})
    group = group_of(budget, *(("ecs", "DescribeTasks") if known else ("glue", "GetJobRun")))
    whole_burst, parts = (burst if known else 20.0), 1
    now_s, allowed, sent_s = START_S, 0.0, START_S
    grants: list[float] = []  # the integral of the rate at each call
    bursts: list[float] = []  # the largest burst between a call and the next one
    for what, later_s, number in events:
        now_s += later_s
        allowed += later_s * group.rate_per_s
        if what == "divide":
            budget.divide(number)
            parts = number
        elif what != "take":
            tell(group, what, sent_s, now_s)
        while what == "take" and group.take(now_s) == 0.0:
            sent_s = now_s
            grants.append(allowed)
            bursts.append(max(1.0, whole_burst / parts))
    for first in range(len(grants)):
        for last in range(first, len(grants)):
            assert last - first + 1 <= bursts[first] + grants[last] - grants[first] + ROUNDING


@settings(max_examples=150, deadline=None)
@given(rate=st.floats(0.01, 200), burst=st.floats(1, 30), parts=st.integers(1, 9), start_s=st.floats(0, 1e7))
def test_a_call_is_allowed_at_the_instant_that_was_promised(
    rate: float, burst: float, parts: int, start_s: float
) -> None:
    budget = new_budget({"*": (rate, burst)})
    group, now_s = group_of(budget, "emr", "ListSteps"), start_s
    group.take(now_s)
    budget.divide(parts)
    for _ in range(60):
        wait_s = group.take(now_s)
        if wait_s > 0:
            now_s += wait_s
            assert group.take(now_s) == 0.0


def test_the_rate_is_used_to_the_full() -> None:
    sent = greedy(tasks(rate=10, burst=20), START_S, 100)
    assert 1018 <= len(sent) <= 1021


# --- throttles --------------------------------------------------------------------------------------------------


def test_a_throttle_slows_the_group_down_and_takes_what_was_saved_up() -> None:
    group = tasks(rate=10, burst=20)
    assert group.take(0.0) == 0.0
    group.lost("throttled", 0.0, 0.1, 0.0)
    assert group.rate_per_s == pytest.approx(7)
    assert group.take(0.1) == pytest.approx(1 / 7)


def test_throttles_of_calls_in_flight_together_count_once() -> None:
    group = tasks()
    for sent_s in (0.0, 0.01, 0.02):
        assert group.take(sent_s) == 0.0
    for sent_s in (0.0, 0.01, 0.02):
        group.lost("throttled", sent_s, 5 + 100 * sent_s, 0.0)
    assert group.rate_per_s == pytest.approx(7)


def test_the_rate_is_cut_once_a_second_at_most() -> None:
    group = tasks()
    group.lost("throttled", 0.0, 1.0, 0.0)
    group.lost("throttled", 1.2, 1.9, 0.0)
    assert group.rate_per_s == pytest.approx(7)
    group.lost("throttled", 1.95, 2.05, 0.0)
    assert group.rate_per_s == pytest.approx(4.9)


def test_what_aws_asks_for_is_waited_at_least_and_then_one_call_goes_first() -> None:
    group = tasks()
    group.take(0.0)
    group.lost("throttled", 0.0, 0.0, 7.5)
    wait_s = group.take(0.0)
    assert wait_s >= 7.5
    assert group.take(wait_s) == 0.0
    assert group.take(wait_s + 10) == float("inf")
    group.answered(wait_s, wait_s + 10)
    assert group.take(wait_s + 10) == 0.0


def test_with_half_of_the_calls_throttled_for_an_hour_the_rate_keeps_its_floor_and_calls_go_on() -> None:
    group, dice, slowest = tasks(rate=10, burst=20), random.Random(7), 10.0

    def answer(sent_s: float) -> str:
        nonlocal slowest
        slowest = min(slowest, group.rate_per_s)
        return dice.choice(["answered", "throttled"])

    sent = greedy(group, START_S, 3600, answer)
    assert slowest == pytest.approx(1)
    assert len(sent) > 3000
    assert max(later - sooner for sooner, later in pairwise(sent)) < 10


def test_an_account_that_answers_nothing_but_throttles_is_not_hammered_and_wakes_up_within_minutes() -> None:
    group = tasks(rate=20, burst=50)
    throttled = greedy(group, START_S, 3600, lambda sent_s: "throttled")
    assert len(throttled) < 200
    again = greedy(group, START_S + 3700, 11 * 60)
    assert again[0] - START_S < 3800
    assert group.rate_per_s == 20


@settings(max_examples=50, deadline=None)
@given(rate=st.floats(0.1, 100), throttles=st.integers(1, 60))
def test_after_ten_clean_minutes_and_one_the_full_rate_is_back(rate: float, throttles: int) -> None:
    group = tasks(rate=rate)
    for number in range(throttles):
        group.lost("throttled", 2.0 * number, 2.0 * number + 1, 0.0)
    assert group.rate_per_s >= 0.0999 * rate
    began_s = 2.0 * throttles + 100
    greedy(group, began_s, 11 * 60, took_s=0.5)
    assert group.rate_per_s == rate


# --- quotas that nobody knows -----------------------------------------------------------------------------------


def test_an_unknown_quota_is_explored_while_it_is_what_holds_calls_back() -> None:
    group = group_of(new_budget(share=0.5), "glue", "GetJobRuns")
    assert group.rate_per_s == 5
    greedy(group, START_S, 61, took_s=0.001)
    assert group.rate_per_s == 10
    greedy(group, START_S + 61, 300, took_s=0.001)
    assert group.rate_per_s == 100
    greedy(group, START_S + 361, 300, took_s=0.001)
    assert group.rate_per_s == 100


def test_a_known_quota_and_an_unknown_one_without_demand_stay_where_they_are() -> None:
    known = tasks(rate=5)
    greedy(known, START_S, 600, took_s=0.001)
    assert known.rate_per_s == 5
    idle = group_of(new_budget(), "glue", "GetJobRuns")
    greedy(idle, START_S, 600, took_s=1.0)
    assert idle.rate_per_s == 10


def test_after_its_first_throttle_an_unknown_quota_is_explored_in_small_steps() -> None:
    group = group_of(new_budget(), "glue", "GetJobRuns")
    greedy(group, START_S, 130, took_s=0.001)
    assert group.rate_per_s == 40
    group.take(START_S + 131)
    group.lost("throttled", START_S + 131, START_S + 131.1, 0.0)
    assert group.rate_per_s == pytest.approx(28)
    greedy(group, START_S + 132, 61, took_s=0.001)
    assert group.rate_per_s == pytest.approx(29)


# --- outages ----------------------------------------------------------------------------------------------------


def test_an_outage_pauses_the_group_and_leaves_its_rate_alone() -> None:
    group, now_s, longest_s = tasks(), 100.0, 0.0
    for _ in range(40):
        wait_s = group.take(now_s)
        assert wait_s < 61
        longest_s = max(longest_s, wait_s)
        now_s += wait_s
        if wait_s == 0:
            assert group.take(now_s) in (0.0, float("inf"))  # the second one of the first round, then probes alone
            group.lost("unavailable", now_s, now_s + 0.1, 0.0)
            now_s += 0.1
    assert 10 < longest_s <= 60
    assert group.rate_per_s == 10
    now_s += 61
    assert group.take(now_s) == 0.0  # the probe
    group.answered(50.0, now_s)  # a call from before the pause says nothing
    assert group.take(now_s) == float("inf")
    group.answered(now_s, now_s + 0.1)
    assert group.take(now_s + 0.1) == 0.0


def test_calls_that_were_lost_together_count_as_one() -> None:
    group = tasks()
    for _ in range(20):
        group.lost("unavailable", 0.0, 0.1, 0.0)
    assert 0 < group.take(0.1) <= 0.25


def test_a_probe_that_never_left_lets_the_next_one_try() -> None:
    group = tasks()
    group.lost("unavailable", 0.0, 0.0, 0.0)
    assert group.take(5.0) == 0.0
    assert group.take(5.0) == float("inf")
    group.released(5.0)
    assert group.take(5.0) == 0.0


# --- which calls share a group ----------------------------------------------------------------------------------


def test_a_group_belongs_to_one_identity_one_region_and_one_quota() -> None:
    budget = new_budget()
    assert group_of(budget, "ecs", "DescribeTasks") is group_of(budget, "ecs", "ListTasks")
    groups: list[tuple[Any, ...]] = [
        ("me", "us-east-1", "ecs", "DescribeTasks"), ("you", "us-east-1", "ecs", "DescribeTasks"),
        ("me", "eu-west-1", "ecs", "DescribeTasks"), ("me", "us-east-1", "ecs", "DescribeClusters"),
    ]  # fmt: skip
    assert len({id(budget.group(*each)) for each in groups}) == 4
    assert [group.name for group in budget] == ["ecs.cluster-resource-read"] * 4 + ["ecs.cluster-read"]


def test_all_calls_of_emr_stay_below_their_common_rate_and_no_operation_starves() -> None:
    budget = new_budget()
    operations = ("ListSteps", "ListClusters", "ListNotebookExecutions", "ListStudios", "DescribeStudio")
    groups, sent = [group_of(budget, "emr", each) for each in operations], dict.fromkeys(operations, 0)
    for tick in range(6000):  # ten minutes; whoever came first comes last next time
        for number in range(len(groups)):
            turn = (tick + number) % len(groups)
            if groups[turn].take(START_S + tick / 10) == 0.0:
                sent[operations[turn]] += 1
    assert 0.99 * 5 * 600 <= sum(sent.values()) <= 10 + 5 * 600
    assert 0.9 * 0.5 * 600 <= sent["ListSteps"] <= 10 + 0.5 * 600
    assert all(count > 0.15 * sum(sent.values()) for count in list(sent.values())[2:])


# --- several daemons --------------------------------------------------------------------------------------------


def test_each_of_several_daemons_takes_its_part_at_once_and_the_part_of_a_dead_one_comes_back() -> None:
    budget = new_budget({"ecs.cluster-resource-read": (12, 24), "emr.all": (6, 6)})
    group, steps = group_of(budget, "ecs", "DescribeTasks"), group_of(budget, "emr", "DescribeStudio")
    budget.divide(3)
    assert group.rate_per_s == 4
    assert len(greedy(group, START_S, 0.5, took_s=0.001)) == pytest.approx(8 + 2, abs=1)
    assert len(greedy(steps, START_S, 0.4, took_s=0.001)) == 2
    assert group_of(budget, "ecs", "DescribeClusters").rate_per_s == pytest.approx(20 / 3)  # a group that is new
    group.lost("throttled", START_S + 1, START_S + 2, 0.0)
    assert group.rate_per_s == pytest.approx(2.8)
    budget.divide(1)
    assert group.rate_per_s == pytest.approx(8.4)
    budget.divide(0)
    assert group.rate_per_s == pytest.approx(8.4)


def test_a_part_that_comes_back_counts_from_then_on_and_not_for_the_time_before() -> None:
    budget = new_budget({"ecs.cluster-resource-read": (12, 24)})
    group = group_of(budget, "ecs", "DescribeTasks")
    budget.divide(12)
    greedy(group, START_S, 10)
    budget.divide(1)
    assert len(greedy(group, START_S + 10.9, 0.01, took_s=0.0001)) <= 2
