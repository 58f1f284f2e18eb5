"""An AWS wait moves to another daemon in the middle: killed or drained, its budget and its counts go on."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack
from typing import Any

import pytest
import redis

from tests.support.daemon_process import DaemonProcess
from tests.support.fake_aws import FakeAws
from tests.support.waiting import eventually
from triggerd import Client, Handle
from triggerd.clock import monotonic_s, wall_ms
from triggerd.envelope import unpack
from triggerd.keys import QueueKeys
from triggerd.trigger import WaitState
from triggerd.triggers.aws import AwsWaiterTrigger

RUN = {"JobName": "etl", "RunId": "jr_1"}
DELAY_S, ATTEMPTS = 0.25, 33
BUDGET_S = DELAY_S * (ATTEMPTS - 1)


@pytest.fixture
async def fake() -> AsyncIterator[FakeAws]:
    async with FakeAws("glue") as server:
        server.script("GetJobRun", {"JobRun": {"JobRunState": "RUNNING"}})
        server.script("BatchStopJobRun", {})
        yield server


def _env(fake: FakeAws) -> dict[str, str]:
    connection = "TRIGGERD_AWS__CONNECTIONS__DEFAULT__"
    return {"TRIGGERD_LEASE_MS": "1000", f"{connection}REGION": "us-east-1", f"{connection}ENDPOINT_URL": fake.url}


def _wait(**more: Any) -> AwsWaiterTrigger:
    return AwsWaiterTrigger("glue", "job_complete", RUN, delay=DELAY_S, max_attempts=ATTEMPTS, **more)


def _stored(redis_url: str, handle: Handle) -> WaitState:
    with redis.Redis.from_url(redis_url) as raw:
        value: Any = raw.hget(QueueKeys("default").record(handle.id), "checkpoint")
    assert len(value) <= 60
    return WaitState.read(unpack(value))


@pytest.mark.parametrize("move", ["kill -9", "SIGTERM"])
async def test_a_wait_that_moves_ends_when_it_would_have_ended_and_goes_on_counting(
    move: str, redis_url: str, td: Client, fake: FakeAws
) -> None:
    with ExitStack() as daemons:
        first, second = (DaemonProcess(redis_url, env=_env(fake)) for _ in range(2))
        await asyncio.to_thread(daemons.enter_context, first)
        handle = await asyncio.to_thread(td.defer, _wait(), reply_to=None)
        await asyncio.to_thread(daemons.enter_context, second)
        await eventually(lambda: fake.calls["GetJobRun"] >= 12, 20)
        before = _stored(redis_url, handle)
        assert before.polls == 8
        assert before.ends_ms is not None
        assert before.ends_ms - before.began_ms >= BUDGET_S * 1000
        await asyncio.to_thread(first.kill if move == "kill -9" else first.stop)
        asked = fake.calls["GetJobRun"]
        await eventually(lambda: fake.calls["GetJobRun"] > asked)  # by the other daemon
        event = await asyncio.to_thread(handle.result, timeout=30)
        assert await asyncio.to_thread(second.stop) == 0
    assert "the budget is used up" in event["message"]
    last_ms = wall_ms() - 1000 * (monotonic_s() - fake.seen[-1].at_s)
    # A wait that had begun anew would have ended at least 2.5 s late: it had polled that long before the move.
    assert before.ends_ms - 5 <= last_ms <= before.ends_ms + 2000
    assert event.details["waited_s"] == pytest.approx((last_ms - before.began_ms) / 1000, abs=0.5)
    calls, polls = fake.calls["GetJobRun"], event.details["polls"]
    if move == "SIGTERM":
        assert calls - 1 <= polls <= calls  # one may have been on its way
    else:
        assert calls - asked + before.polls <= polls <= calls
    assert fake.mutating == 0


async def test_a_cancel_stops_the_run_by_the_ready_made_call_and_no_other_end_touches_it(
    redis_url: str, td: Client, fake: FakeAws
) -> None:
    daemon = DaemonProcess(redis_url, env=_env(fake))
    with ExitStack() as daemons:
        await asyncio.to_thread(daemons.enter_context, daemon)
        expired = await asyncio.to_thread(td.defer, _wait(), timeout=0.5, reply_to=None)
        assert (await asyncio.to_thread(expired.result, timeout=20)).outcome == "timed_out"
        cancelled = [await asyncio.to_thread(td.defer, _wait(), reply_to=None) for _ in range(2)]
        left = await asyncio.to_thread(td.defer, _wait(cancel_call=False), reply_to=None)
        await eventually(lambda: all(handle.status() == "running" for handle in (*cancelled, left)))
        assert fake.mutating == 0
        for handle in (cancelled[0], left):
            await asyncio.to_thread(handle.cancel)
            assert (await asyncio.to_thread(handle.result, timeout=20)).outcome == "cancelled"
        assert await asyncio.to_thread(daemon.stop) == 0
        assert cancelled[1].status() in ("running", "queued")
    [stop] = [seen for seen in fake.seen if seen.operation != "GetJobRun"]
    assert (stop.operation, stop.params) == ("BatchStopJobRun", {"JobName": "etl", "JobRunIds": ["jr_1"]})
