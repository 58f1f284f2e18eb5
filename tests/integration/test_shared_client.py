"""A run that ends takes nothing along that another run waits for."""

import asyncio
import socket
from typing import Any

from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession
from aiohttp.abc import AbstractResolver, ResolveResult

from tests.support.fake_aws import FakeAws
from tests.support.waiting import eventually
from tests.unit.test_contained_tasks import run_of_a_test_trigger, within
from triggerd.daemon import containment


class SlowResolver(AbstractResolver):
    """Answers when it may."""

    def __init__(self) -> None:
        self.may, self.asked = asyncio.Event(), 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked += 1
        await self.may.wait()
        return [ResolveResult(hostname=host, host="127.0.0.1", port=port, family=socket.AF_INET, proto=0, flags=0)]

    async def close(self) -> None:
        pass


async def test_a_trigger_that_ends_while_its_request_resolves_and_connects_for_all_disturbs_nobody() -> None:
    resolver = SlowResolver()
    config = AioConfig(connector_args={"resolver": resolver}, max_pool_connections=1, retries={"total_max_attempts": 1})
    async with FakeAws("glue") as fake:
        fake.script("GetJobRun", {"JobRun": {"JobRunState": "RUNNING"}})
        url = fake.url.replace("127.0.0.1", "glue.test")
        async with AioSession().create_client("glue", endpoint_url=url, config=config) as client:
            with containment.installed():

                async def ask() -> Any:
                    return await client.get_job_run(JobName="a", RunId="b")

                first = asyncio.create_task(within(run_of_a_test_trigger(), ask()))
                await eventually(lambda: resolver.asked == 1)
                others = [asyncio.create_task(within(run_of_a_test_trigger(), ask())) for _ in range(3)]
                await asyncio.sleep(0.05)  # until they wait for the same name
                first.cancel()
                await asyncio.wait([first])
                resolver.may.set()
                answers = await asyncio.gather(*others)
    assert [answer["JobRun"]["JobRunState"] for answer in answers] == ["RUNNING"] * 3
