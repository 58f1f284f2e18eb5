"""Promises of the AWS side against moto's real API shapes: each protocol, real transitions, real errors."""

import asyncio
import json
import urllib.request
from collections.abc import AsyncIterator
from typing import Any

import boto3
import pytest

from triggerd.aws import Aws
from triggerd.aws.local import open_aws
from triggerd.errors import AwsCallError, WaiterExhaustedError, WaiterFailedError
from triggerd.settings import AwsSettings, ConnectionSettings


@pytest.fixture
async def aws(moto_url: str) -> AsyncIterator[Aws]:
    connection = ConnectionSettings(region="us-east-1", endpoint_url=moto_url)
    async with open_aws(AwsSettings(connections={"default": connection})) as opened:
        yield opened


async def _boto(moto_url: str, service: str, operation: str, **parameters: Any) -> Any:
    """What a worker does with boto3, in a thread."""

    def call() -> Any:
        client = boto3.client(service, endpoint_url=moto_url, region_name="us-east-1")
        try:
            return getattr(client, operation)(**parameters)
        finally:
            client.close()

    return await asyncio.to_thread(call)


async def _transition(moto_url: str, model: str, times: int) -> None:
    body = {"model_name": model, "transition": {"progression": "manual", "times": times}}
    request = urllib.request.Request(f"{moto_url}/moto-api/state-manager/set-transition", json.dumps(body).encode())
    await asyncio.to_thread(lambda: urllib.request.urlopen(request).close())


async def test_a_redshift_pause_and_resume_as_in_the_guide(moto_url: str, aws: Aws) -> None:
    dwh = {"ClusterIdentifier": "dwh"}
    await _boto(
        moto_url,
        "redshift",
        "create_cluster",
        NodeType="ra3.large",
        MasterUsername="admin",
        MasterUserPassword="Passw0rd",
        **dwh,
    )
    await aws.wait("redshift", "cluster_available", dwh, delay=0.05)
    paused = asyncio.create_task(aws.wait("redshift", "cluster_paused", dwh, delay=0.05))
    await _boto(moto_url, "redshift", "pause_cluster", **dwh)
    assert (await paused).last_status == "paused"
    await _boto(moto_url, "redshift", "resume_cluster", **dwh)
    assert (await aws.wait("redshift", "cluster_resumed", dwh, delay=0.05)).last_status == "available"


async def test_a_cluster_that_is_not_there_fails_with_awss_own_code(aws: Aws) -> None:
    with pytest.raises(WaiterFailedError, match="ClusterNotFound") as error:
        await aws.wait("redshift", "cluster_paused", {"ClusterIdentifier": "nobody"})
    assert error.value.aws_code == "ClusterNotFound"


async def test_a_glue_run_goes_through_its_states(moto_url: str, aws: Aws) -> None:
    await _transition(moto_url, "glue::job_run", 2)
    await _boto(moto_url, "glue", "create_job", Name="etl", Role="r", Command={"Name": "glueetl"})
    run_id = (await _boto(moto_url, "glue", "start_job_run", JobName="etl"))["JobRunId"]
    seen: list[str | None] = []
    answer = await aws.wait(
        "glue",
        "job_complete",
        {"JobName": "etl", "RunId": run_id},
        delay=0.03,
        on_poll=lambda progress: seen.append(progress.last_status),
    )
    assert answer.last_status == "SUCCEEDED"
    assert answer.polls == len(seen) >= 2
    assert "RUNNING" in seen


async def test_an_s3_object_that_appears_ends_the_builtin_wait(moto_url: str, aws: Aws) -> None:
    await _boto(moto_url, "s3", "create_bucket", Bucket="lake")
    wait = asyncio.create_task(aws.wait("s3", "object_exists", {"Bucket": "lake", "Key": "_SUCCESS"}, delay=0.05))
    await _boto(moto_url, "s3", "put_object", Bucket="lake", Key="_SUCCESS", Body=b"")
    assert (await wait)["ResponseMetadata"]["HTTPStatusCode"] == 200


async def test_a_missing_instance_is_an_error_only_where_the_waiter_does_not_expect_it(aws: Aws) -> None:
    missing = {"InstanceIds": ["i-0123456789abcdef0"]}
    with pytest.raises(AwsCallError, match=r"InvalidInstanceID\.NotFound") as error:
        await aws.wait("ec2", "instance_stopped", missing)
    assert error.value.aws_code == "InvalidInstanceID.NotFound"
    with pytest.raises(WaiterExhaustedError, match=r"still answered InvalidInstanceID\.NotFound") as exhausted:
        await aws.wait("ec2", "instance_running", missing, max_attempts=1)
    assert exhausted.value.aws_code == "InvalidInstanceID.NotFound"
