"""Promises of the poll engine under load and in trouble, over real sockets: what is slow, denied, odd or too much."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from tests.support.fake_aws import FakeAws, Fault
from tests.support.services_world import ServicesWorld, ServiceWorld
from tests.support.waiting import eventually
from triggerd.aws.local import open_aws
from triggerd.clock import monotonic_s
from triggerd.errors import AwsCallError, WaiterFailedError
from triggerd.settings import QuotaSettings

FOUR_PROTOCOLS = {
    "ecs": "TasksRunning", "batch": "job_complete", "redshift": "ClusterAvailable", "ec2": "InstanceRunning",
}  # fmt: skip
TWENTY = FOUR_PROTOCOLS | {
    "athena": "query_complete", "cloudformation": "StackCreateComplete", "dms": "ReplicationTaskReady",
    "dynamodb": "ExportCompleted", "elasticache": "CacheClusterAvailable", "emr": "step_complete",
    "emr-containers": "container_job_complete", "emr-serverless": "job_complete", "glue": "job_complete",
    "neptune-graph": "GraphAvailable", "rds": "DBInstanceAvailable", "sagemaker": "TrainingJobComplete",
    "ssm": "CommandExecuted", "stepfunctions": "execution_complete", "transcribe": "TranscriptionJobCompleted",
}  # fmt: skip


async def stopped(*groups: Sequence[asyncio.Task[Any]]) -> None:
    waits = [wait for group in groups for wait in group]
    for wait in waits:
        wait.cancel()
    await asyncio.gather(*waits, return_exceptions=True)


NO_BUDGET = QuotaSettings(rate_per_s=10_000.0, burst=10_000.0)


class Polls:
    """What the engine counts."""

    def __init__(self) -> None:
        self.results: dict[str, int] = {}
        self.sent_s: list[float] = []

    def poll(self, service: str, operation: str, result: str, waits: int, seconds: float) -> None:
        self.sent_s.append(monotonic_s() - seconds)
        self.results[result] = self.results.get(result, 0) + 1

    def poll_lag(self, service: str, seconds: float) -> None:
        pass

    def merge_failed(self, service: str, operation: str, why: str) -> None:
        self.results[f"merge {why}"] = self.results.get(f"merge {why}", 0) + 1


async def test_twenty_services_at_once_and_each_wait_ends_by_its_own_outcome() -> None:
    async with ServicesWorld(TWENTY, count=15) as world, FakeAws("s3") as s3:
        s3.script("HeadObject", *[Fault("404", status=404)] * 3, {})
        async with open_aws(world.settings(connection={"endpoints": {"s3": s3.url}})) as aws:
            waits = {each: each.start(aws, delay=0.5, max_attempts=1000) for each in world.services}
            await aws.wait("s3", "object_exists", {"Bucket": "b", "Key": "k"}, delay=0.2)
            await world.rounds(2)
            for each in world.services:
                each.end("success", *each.ids[0::3])
                each.end("failure", *each.ids[1::3])
                each.remove(each.ids[2])
            ends = [
                _ends_by_its_own(each, one, wait)
                for each, started in waits.items() for one, wait in zip(each.ids, started, strict=True)
            ]  # fmt: skip
            calls = world.calls
            await asyncio.gather(*ends)
            await world.rounds(2)
            assert world.calls - calls < 300, "285 waits, of which each was polled once at least"
            await stopped(*waits.values())
            assert aws.waits == 0


async def _ends_by_its_own(each: ServiceWorld, one: str, wait: asyncio.Task[Any]) -> None:
    decision = each.decision(one)
    if decision == "goes on":
        assert not wait.done(), (each.service, one)
        return
    await eventually(wait.done, 20, f"the wait for {one} of {each.service}, {decision}")
    if decision == "success":
        assert each.named_in(await wait) == [one], each.service
        return
    with pytest.raises(WaiterFailedError if decision == "failure" else AwsCallError) as error:
        await wait
    if one in each.world.items:
        assert each.named_in(error.value.response) == [one], each.service


async def test_with_half_of_the_calls_throttled_every_wait_ends_when_its_work_does(
    caplog: pytest.LogCaptureFixture,
) -> None:
    polls = Polls()
    async with ServicesWorld(FOUR_PROTOCOLS, count=100) as world, open_aws(world.settings(), polls) as aws:
        for each in world.services:
            each.fake.weather = Fault("ThrottlingException"), 0.5
        waits = {each: each.start(aws, delay=0.2, max_attempts=1000) for each in world.services}
        for quarter in range(4):
            await world.rounds(2)
            for each in world.services:
                each.end("success", *each.ids[quarter::4])
        for each, started in waits.items():
            for one, answer in zip(each.ids, await asyncio.gather(*started), strict=True):
                assert each.named_in(answer) == [one]
    assert polls.results["throttled"] > 10
    assert polls.results.keys() <= {"ok", "throttled"}
    assert caplog.text.count("aws throttled") <= 40, "said now and then, not for each call or wait"


async def test_an_outage_that_is_longer_than_a_waits_whole_budget_of_time_is_no_attempt() -> None:
    polls = Polls()
    async with ServicesWorld(FOUR_PROTOCOLS, count=50) as world, open_aws(world.settings(), polls) as aws:
        waits = [wait for each in world.services for wait in each.start(aws, delay=0.4, max_attempts=5)]
        await world.rounds(1)
        for each, fault in zip(world.services, [Fault("Throttling"), Fault("X", status=503)] * 2, strict=True):
            each.fake.weather = fault, 1.0
        began_s = monotonic_s()
        await eventually(lambda: monotonic_s() > began_s + 2.5)
        for each in world.services:
            each.fake.weather = None
            each.end("success", *each.ids)
        assert all(1 <= answer.polls <= 5 for answer in await asyncio.gather(*waits))
    assert polls.results["unavailable"] > 4
    assert polls.results["throttled"] > 4


@pytest.mark.deadline(90)
async def test_ten_thousand_waits_begin_with_a_hundred_calls_and_few_tasks() -> None:
    async with ServicesWorld({"ecs": "TasksRunning"}, count=10_000) as world, open_aws(world.settings()) as aws:
        [ecs] = world.services
        async with aws.client("ecs"):
            before = len(asyncio.all_tasks())
        waits, most = ecs.start(aws, delay=600), 0

        def all_polled() -> bool:
            nonlocal most
            most = max(most, len(asyncio.all_tasks()) - before - len(waits))
            return sum(len(seen.params["tasks"]) for seen in ecs.fake.seen) >= 10_000 and not ecs.fake.in_flight

        await eventually(all_polled, 60)
        assert most <= 64 + ecs.fake.most_in_flight  # the fake has one for each connection
        assert ecs.fake.most_in_flight <= 22, "of 64 places, a quota may hold a third"
        assert ecs.fake.calls.total() <= 150
        await stopped(waits)
        assert aws.waits == 0


async def test_no_window_has_more_calls_than_the_budget_and_every_wait_is_polled() -> None:
    quotas = {"*": NO_BUDGET, "ecs.cluster-resource-read": QuotaSettings(rate_per_s=100.0, burst=5.0)}
    polls = Polls()
    async with ServicesWorld({"ecs": "TasksRunning"}, count=300) as world:
        [ecs] = world.services
        async with open_aws(world.settings(quotas=quotas, unmerged=("ecs",)), polls) as aws:
            waits = ecs.start(aws, delay=60)
            await eventually(lambda: len(polls.sent_s) >= 300, 20)
            await stopped(waits)
    assert ecs.fake.calls.total() == 300
    assert {seen.params["tasks"][0] for seen in ecs.fake.seen} == {*ecs.ids}
    sent_s = sorted(polls.sent_s)
    for first in range(0, 300, 5):
        for last in range(first, 300):
            assert last - first + 1 <= 5 + 100 * (sent_s[last] - sent_s[first]) + 0.2
