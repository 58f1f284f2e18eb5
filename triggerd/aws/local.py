"""An AWS side for one process without a daemon: tests, scripts, triggers that run in place, `triggerd wait`."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from triggerd.airflow_connections import airflow_connections
from triggerd.aws.aws import Aws
from triggerd.aws.polling import PollMetrics
from triggerd.settings import AwsSettings


class _NoMetrics:
    def poll(self, service: str, operation: str, result: str, waits: int, seconds: float) -> None:
        pass

    def poll_lag(self, service: str, seconds: float) -> None:
        pass

    def merge_failed(self, service: str, operation: str, why: str) -> None:
        pass


@asynccontextmanager
async def open_aws(settings: AwsSettings | None = None, metrics: PollMetrics | None = None) -> AsyncIterator[Aws]:
    """An open `Aws`; without settings it takes credentials and region as the AWS CLI would, and knows the connections
    of AIRFLOW_CONN_<ID>."""
    if settings is None:
        settings = AwsSettings(connections=airflow_connections(os.environ)[0])
    async with Aws(settings, metrics or _NoMetrics()) as aws:
        yield aws
