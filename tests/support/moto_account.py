"""The account that moto plays: the AWS side of a daemon in it, and what others do there meanwhile."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import boto3

from tests.support.fake_aws import NO_QUOTA
from tests.support.waiting import eventually
from triggerd.aws import Aws
from triggerd.aws.local import open_aws
from triggerd.settings import AwsSettings, ConnectionSettings, QuotaSettings


class Polls:
    """Counts the answers of AWS, so that a test can wait until a trigger has looked again in vain."""

    def __init__(self) -> None:
        self.answered = 0

    def poll(self, service: str, operation: str, result: str, waits: int, seconds: float) -> None:
        self.answered += 1

    def poll_lag(self, service: str, seconds: float) -> None:
        pass

    def merge_failed(self, service: str, operation: str, why: str) -> None:
        pass

    async def in_vain(self, waiting: "asyncio.Task[Any]", times: int = 3) -> None:
        """Wait for so many more polls; the trigger must not have fired."""
        enough = self.answered + times
        await eventually(lambda: waiting.done() or self.answered >= enough)
        assert not waiting.done(), f"it did not wait: {waiting.result()}"


@asynccontextmanager
async def aws_of(url: str, polls: Polls | None = None) -> AsyncIterator[Aws]:
    """The AWS side of a daemon against moto."""
    connection = ConnectionSettings(region="us-east-1", endpoint_url=url)
    quotas = {name: QuotaSettings(**figures) for name, figures in NO_QUOTA.items()}
    async with open_aws(AwsSettings(connections={"default": connection}, quotas=quotas), polls) as aws:
        yield aws


class Boto:
    """What others do, with boto3 in a thread: ``await boto.s3("put_object", Bucket=...)``."""

    def __init__(self, url: str) -> None:
        self._url = url

    def __getattr__(self, service: str) -> Any:
        async def call(operation: str, **parameters: Any) -> Any:
            return await self.call(service, operation, **parameters)

        return call

    async def call(self, service: str, operation: str, **parameters: Any) -> Any:
        """For services whose names are none of Python's."""
        return await asyncio.to_thread(self._call, service, operation, parameters)

    def _call(self, service: str, operation: str, parameters: dict[str, Any]) -> Any:
        client = boto3.client(service, endpoint_url=self._url, region_name="us-east-1")
        try:
            return getattr(client, operation)(**parameters)
        finally:
            client.close()
