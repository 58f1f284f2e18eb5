"""kill -9 of daemons, again and again, with 10,000 triggers in flight."""

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.support.fake_aws_process import SERVICES, FakeAwsProcess, wait_for
from tests.support.fault_triggers import ALLOW, StepsTrigger, WaveTrigger
from tests.support.fleet import Fleet
from tests.support.tally import assert_all_ended_once, published
from tests.support.waiting import eventually_sync
from triggerd import Client
from triggerd.clock import wall_ms
from triggerd.triggers.time import TimeDeltaTrigger

ENV = {"TRIGGERD_ALLOW": ALLOW, "TRIGGERD_LEASE_MS": "1500"}
KILLS, EVERY_S = 8, 2.0
WAVES = 5
SPREAD_S = KILLS * EVERY_S + 4


def triggers(count: int, folder: Path, rng: random.Random) -> Iterator[Any]:
    """One in fifty waits for AWS, one in ten fires three numbers, one in five waits for a file, the rest for a time."""
    for number in range(count):
        if number % 50 == 0:
            job = f"{wall_ms() + int(rng.uniform(3, SPREAD_S) * 1000)}-{number}"
            yield wait_for(SERVICES[number // 50 % len(SERVICES)], job)
        elif number % 10 == 1:
            yield StepsTrigger(3, rng.uniform(1, SPREAD_S / 3))
        elif number % 5 == 2:
            yield WaveTrigger(str(folder / f"wave-{rng.randrange(WAVES)}"))
        else:
            yield TimeDeltaTrigger(rng.uniform(3, SPREAD_S))


@contextmanager
def fleet_on(redis_url: str, **env: str) -> Iterator[tuple[Fleet, FakeAwsProcess]]:
    """Three daemons and their AWS; at the end nobody has changed anything there, and no daemon fell by itself."""
    with FakeAwsProcess() as aws, Fleet(redis_url, env=ENV | aws.env() | env) as fleet:
        yield fleet, aws
        assert fleet.crashes == []
        assert aws.mutations() == []


@pytest.mark.deadline(180)
@pytest.mark.parametrize("quarantine_after", ["0", "3"], ids=["no quarantine", "quarantine"])
def test_daemons_killed_every_two_seconds_lose_and_double_nothing(
    redis_url: str, td: Client, tmp_path: Path, quarantine_after: str
) -> None:
    rng, env = random.Random(7), {"TRIGGERD_QUARANTINE_AFTER": quarantine_after}
    with redis.Redis.from_url(redis_url) as raw, fleet_on(redis_url, **env) as (fleet, aws):
        handles = td.defer_many({"trigger": trigger, "timeout": 600} for trigger in triggers(10_000, tmp_path, rng))
        for kill in range(KILLS):
            killed_s = time.monotonic()
            fleet.kill(rng.randrange(len(fleet)))
            (tmp_path / f"wave-{kill % WAVES}").touch()
            eventually_sync(lambda killed_s=killed_s: time.monotonic() - killed_s > EVERY_S)  # type: ignore[misc]
        assert len(published(raw)) > 0
        outcomes = assert_all_ended_once(raw, [handle.id for handle in handles], 90)
        assert outcomes == {"fired": 10_000}
        assert aws.calls().keys() >= {"GetJobRun", "DescribeTasks", "DescribeJobs", "DescribeClusters"}
        assert len(fleet.statuses) == KILLS
        assert fleet.log_records("adopted")
