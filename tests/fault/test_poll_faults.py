"""Promises of the poll engine across real daemons of one account."""

import asyncio
import json
from contextlib import ExitStack

from tests.support.daemon_process import DaemonProcess
from tests.support.fake_aws import FakeAws
from tests.support.waiting import eventually
from triggerd import Client
from triggerd.clock import monotonic_s
from triggerd.triggers.aws import AwsWaiterTrigger

RATE_PER_S, WAITS, WINDOW_S = 60, 80, 1.0
DIVIDED = "the budgets of AWS are divided anew"


def _env(fake: FakeAws) -> dict[str, str]:
    return {
        "TRIGGERD_LEASE_MS": "1000", "TRIGGERD_CAPACITY": str(WAITS), "TRIGGERD_AWS__UNMERGED": '["ecs"]',
        "TRIGGERD_AWS__CONNECTIONS": json.dumps({"default": {"region": "us-east-1", "endpoint_url": fake.url}}),
        "TRIGGERD_AWS__QUOTAS": json.dumps({"ecs.cluster-resource-read": {"rate_per_s": RATE_PER_S, "burst": 2}}),
    }  # fmt: skip


async def _defer(td: Client, daemon: str) -> None:
    """So many waits as a daemon has room for; each wants a poll a second."""
    waits = [
        {"trigger": AwsWaiterTrigger("ecs", "tasks_stopped", {"tasks": [f"{daemon}-{number}"]}, delay=1.0)}
        for number in range(WAITS)
    ]
    await asyncio.to_thread(td.defer_many, [{**wait, "reply_to": None} for wait in waits])


def _seen(fake: FakeAws, since_s: float) -> list[str]:
    """Whom the polls since then were for."""
    return [str(seen.params["tasks"][0]) for seen in fake.seen if seen.at_s >= since_s]


async def _window(fake: FakeAws) -> list[str]:
    began_s = monotonic_s()
    await eventually(lambda: monotonic_s() >= began_s + WINDOW_S)
    return _seen(fake, began_s)


async def test_two_daemons_call_no_more_often_than_one(redis_url: str, td: Client) -> None:
    async with FakeAws("ecs") as fake:
        fake.script("DescribeTasks", lambda params: {
            "tasks": [{"taskArn": one, "lastStatus": "RUNNING"} for one in params["tasks"]], "failures": [],
        })  # fmt: skip
        with ExitStack() as daemons:
            first, second = (DaemonProcess(redis_url, env=_env(fake)) for _ in range(2))
            await asyncio.to_thread(daemons.enter_context, first)
            await _defer(td, "first")
            await eventually(lambda: len({*_seen(fake, 0)}) == WAITS, 20)
            alone = await _window(fake)
            await asyncio.to_thread(daemons.enter_context, second)
            await _defer(td, "second")
            await eventually(lambda: DIVIDED in first.log_text and DIVIDED in second.log_text, 20)
            await eventually(lambda: len({*_seen(fake, 0)}) == 2 * WAITS, 20)
            together = await _window(fake)
            # The window's edges, and what a busy machine made to arrive together.
            at_most = WINDOW_S * RATE_PER_S + 2 + RATE_PER_S * 0.2
            assert 10 < len(alone) <= at_most
            assert 10 < len(together) <= at_most
            assert {one.partition("-")[0] for one in together} == {"first", "second"}
            await asyncio.to_thread(second.kill)
            began_s = monotonic_s()
            await eventually(lambda: first.log_text.count(DIVIDED) >= 2, 20)
            await eventually(lambda: any(one.startswith("first") for one in _seen(fake, began_s)))
