"""The claimer, step by step on a real server: what it does without a lease, and when told to be quiet."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
import redis

from tests.support.daemon_process import DaemonProcess
from tests.support.waiting import eventually, eventually_sync
from triggerd import Client
from triggerd.aws.local import open_aws
from triggerd.daemon.budget_part import BudgetPart
from triggerd.daemon.consumer import Consumer
from triggerd.daemon.quarantine import Quarantine
from triggerd.daemon.queue_service import QueueService, Shared
from triggerd.daemon.registry import Registry
from triggerd.daemon.runs import Capacity
from triggerd.keys import TRIGGER_GROUP, QueueKeys
from triggerd.metrics import Metrics
from triggerd.settings import RedisSettings, Settings
from triggerd.streams.leases import ConsumerInfo
from triggerd.triggers.time import TimeDeltaTrigger

KEYS = QueueKeys("default")


@pytest.fixture
def raw(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


@asynccontextmanager
async def service_of(redis_url: str, name: str = "me") -> AsyncIterator[tuple[QueueService, Metrics]]:
    """One queue's parts with a lease, none of its loops turning."""
    settings, metrics = Settings(redis=RedisSettings(url=redis_url)), Metrics("test", ("default",))
    async with open_aws() as aws:
        quarantine, part = Quarantine(settings, metrics), BudgetPart(aws.divide)
        shared = Shared(settings, Registry((), {}), aws, metrics, Capacity(10), quarantine, part)
        service = QueueService(Consumer.of("default", name), shared)
        try:
            await service.prepare()
            yield service, metrics
        finally:
            await service.close()


def read_by(raw: redis.Redis, name: str, td: Client) -> None:
    """A trigger that `name` has been handed."""
    td.defer(TimeDeltaTrigger(60))
    raw.xreadgroup(TRIGGER_GROUP, name, {KEYS.triggers: ">"})


async def test_a_walk_of_repair_that_met_no_lease_is_not_put_off_for_ten_minutes(
    redis_url: str, td: Client, raw: redis.Redis
) -> None:
    async with service_of(redis_url) as (service, metrics):
        read_by(raw, "deleted by hand", td)
        raw.xgroup_delconsumer(KEYS.triggers, TRIGGER_GROUP, "deleted by hand")
        raw.delete(KEYS.consumer("me"))
        await service.claimer._repair_if_due()
        assert len(service.runner.runs) == 0
        await service.prepare()
        await service.claimer._repair_if_due()
        assert len(service.runner.runs) == 1
        assert metrics.registry.get_sample_value("triggerd_triggers_repaired_total") == 1


async def test_an_adoption_ends_when_the_daemon_is_told_to_be_quiet(
    redis_url: str, td: Client, raw: redis.Redis
) -> None:
    async with service_of(redis_url) as (service, metrics):
        read_by(raw, "dead", td)
        dead = ConsumerInfo("dead", 1, "dead")
        service.consumer.bell.be_quiet()
        await service.claimer._adopt(dead)
        assert len(service.runner.runs) == 0
        service.consumer.bell.quiet = False
        await service.claimer._adopt(dead)
        assert len(service.runner.runs) == 1
        assert metrics.registry.get_sample_value("triggerd_triggers_adopted_total", {"cause": "dead"}) == 1


async def test_a_daemon_knows_how_many_of_them_live_also_while_it_is_quiet(redis_url: str) -> None:
    async with service_of(redis_url) as (service, _):
        counted: list[int] = []
        service.claimer.when_counted(counted.append)
        claiming = asyncio.create_task(service.claimer.run())
        try:
            await eventually(lambda: counted[-1:] == [1])
            service.consumer.bell.be_quiet()
            service.consumer.bell.peer_left()  # look at once
            async with service_of(redis_url, "peer") as (peer, _):
                await eventually(lambda: counted[-1:] == [2])
                await peer._work.run(peer.consumer.leases.drain("peer"))
                await eventually(lambda: counted[-1:] == [1])
        finally:
            service.claimer.leave()
            await claiming


def test_the_largest_queue_says_in_how_many_parts_the_budgets_are_divided() -> None:
    divided: list[int] = []
    part = BudgetPart(divided.append)
    for queue, daemons in (("a", 1), ("b", 3), ("a", 2), ("b", 3), ("b", 1), ("a", 0), ("b", 0)):
        part.count(queue, daemons)
    assert divided == [3, 2, 1]


def test_two_daemons_take_half_of_the_budgets_each_until_one_is_killed(redis_url: str) -> None:
    def parts(daemon: DaemonProcess) -> int:
        return int(([1] + [found["daemons"] for found in daemon.log_records() if "daemons" in found])[-1])

    env = {"TRIGGERD_LEASE_MS": "2000"}
    with DaemonProcess(redis_url, env=env) as one, DaemonProcess(redis_url, env=env) as other:
        eventually_sync(lambda: parts(one) == parts(other) == 2)
        other.kill()
        eventually_sync(lambda: parts(one) == 1)
