"""The claimer, step by step on a real server: what it does without a lease, and when told to be quiet."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
import redis

from triggerd import Client
from triggerd.aws.local import open_aws
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
async def service_of(redis_url: str) -> AsyncIterator[tuple[QueueService, Metrics]]:
    """One queue's parts with a lease, none of its loops turning."""
    settings, metrics = Settings(redis=RedisSettings(url=redis_url)), Metrics("test", ("default",))
    async with open_aws() as aws:
        shared = Shared(settings, Registry((), {}), aws, metrics, Capacity(10), Quarantine(settings, metrics))
        service = QueueService(Consumer.of("default", "me"), shared)
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
