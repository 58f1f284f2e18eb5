"""The ready-made cancel calls against moto: the work behind the wait is really stopped."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import closing
from typing import Any

import boto3
import pytest

from tests.support.servers import MotoServer
from triggerd.aws import Aws
from triggerd.aws.local import open_aws
from triggerd.settings import AwsSettings, ConnectionSettings
from triggerd.testing import LocalContext
from triggerd.triggers.aws import AwsWaiterTrigger

ROLE = "arn:aws:iam::123456789012:role/r"


@pytest.fixture
async def aws(moto: MotoServer) -> AsyncIterator[Aws]:
    connection = ConnectionSettings(region="us-east-1", endpoint_url=moto.url)
    async with open_aws(AwsSettings(connections={"default": connection})) as opened:
        yield opened


async def _cancel(aws: Aws, *arguments: Any) -> None:
    trigger = AwsWaiterTrigger(*arguments)
    trigger.context = LocalContext(aws, trigger_id="t", deadline_ms=0, restored=None)
    await trigger.on_cancel()


def _client(moto: MotoServer, service: str) -> Any:
    return closing(boto3.client(service, endpoint_url=moto.url, region_name="us-east-1"))


async def test_an_execution_is_aborted(moto: MotoServer, aws: Aws) -> None:
    def start() -> str:
        moto.configure(stepfunctions={"execute_state_machine": True})
        wait = {"StartAt": "W", "States": {"W": {"Type": "Wait", "Seconds": 60, "End": True}}}
        with _client(moto, "stepfunctions") as client:
            machine = client.create_state_machine(name="m", definition=json.dumps(wait), roleArn=ROLE)
            return str(client.start_execution(stateMachineArn=machine["stateMachineArn"])["executionArn"])

    def status(execution: str) -> Any:
        with _client(moto, "stepfunctions") as client:
            return client.describe_execution(executionArn=execution)["status"]

    execution = await asyncio.to_thread(start)
    await _cancel(aws, "stepfunctions", "execution_complete", {"executionArn": execution})
    assert await asyncio.to_thread(status, execution) == "ABORTED"


async def test_a_query_is_cancelled(moto: MotoServer, aws: Aws) -> None:
    def start() -> str:
        moto.set_transition("athena::execution", progression="manual", times=1000)
        with _client(moto, "athena") as client:
            output = {"OutputLocation": "s3://lake/"}
            query = client.start_query_execution(QueryString="SELECT 1", ResultConfiguration=output)
            return str(query["QueryExecutionId"])

    def status(query: str) -> Any:
        with _client(moto, "athena") as client:
            return client.get_query_execution(QueryExecutionId=query)["QueryExecution"]["Status"]["State"]

    query = await asyncio.to_thread(start)
    await _cancel(aws, "athena", "query_complete", {"QueryExecutionId": query})
    assert await asyncio.to_thread(status, query) == "CANCELLED"


async def test_a_crawler_is_stopped_and_one_that_does_not_run_is_no_error(moto: MotoServer, aws: Aws) -> None:
    def start() -> None:
        with _client(moto, "glue") as client:
            client.create_crawler(
                Name="nightly", Role="r", DatabaseName="d", Targets={"S3Targets": [{"Path": "s3://x"}]}
            )
            client.start_crawler(Name="nightly")

    def state() -> Any:
        with _client(moto, "glue") as client:
            return client.get_crawler(Name="nightly")["Crawler"]["State"]

    await asyncio.to_thread(start)
    await _cancel(aws, "glue", "crawler_ready", {"Name": "nightly"})
    assert await asyncio.to_thread(state) == "STOPPING"
    await _cancel(aws, "glue", "crawler_ready", {"Name": "nightly"})


async def test_both_tasks_of_one_wait_are_stopped(moto: MotoServer, aws: Aws) -> None:
    def start() -> list[str]:
        with _client(moto, "ecs") as ecs, _client(moto, "ec2") as ec2:
            ecs.create_cluster(clusterName="c")
            ecs.register_task_definition(
                family="w", containerDefinitions=[{"name": "w", "image": "w", "memory": 128}], networkMode="awsvpc",
                requiresCompatibilities=["FARGATE"], cpu="256", memory="512",
            )  # fmt: skip
            subnet = ec2.describe_subnets()["Subnets"][0]["SubnetId"]
            network = {"awsvpcConfiguration": {"subnets": [subnet], "securityGroups": []}}
            started = ecs.run_task(
                cluster="c", taskDefinition="w", launchType="FARGATE", networkConfiguration=network, count=2
            )
            return [task["taskArn"] for task in started["tasks"]]

    def reasons(tasks: list[str]) -> Any:
        with _client(moto, "ecs") as client:
            found = client.describe_tasks(cluster="c", tasks=tasks)["tasks"]
            return [(task["desiredStatus"], task["stoppedReason"]) for task in found]

    tasks = await asyncio.to_thread(start)
    await _cancel(aws, "ecs", "tasks_stopped", {"cluster": "c", "tasks": tasks})
    assert await asyncio.to_thread(reasons, tasks) == [("STOPPED", "cancelled in triggerd")] * 2


async def test_a_spark_job_on_emr_serverless_is_cancelled(moto: MotoServer, aws: Aws) -> None:
    def start() -> dict[str, str]:
        with _client(moto, "emr-serverless") as client:
            application = client.create_application(releaseLabel="emr-7.0.0", type="SPARK")["applicationId"]
            driver = {"sparkSubmit": {"entryPoint": "s3://x/job.py"}}
            job = client.start_job_run(
                applicationId=application, executionRoleArn=ROLE, jobDriver=driver, clientToken="t"
            )  # fmt: skip
            return {"applicationId": application, "jobRunId": job["jobRunId"]}

    def state(job: dict[str, str]) -> Any:
        with _client(moto, "emr-serverless") as client:
            return client.get_job_run(**job)["jobRun"]["state"]

    job = await asyncio.to_thread(start)
    await _cancel(aws, "emr-serverless", "job_complete", job)
    assert await asyncio.to_thread(state, job) in ("CANCELLING", "CANCELLED")
