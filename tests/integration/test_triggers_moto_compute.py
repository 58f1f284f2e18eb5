"""The ECS, Glue and SageMaker triggers against moto's real API shapes. moto has no ListCommandInvocations for SSM."""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.moto_account import Boto, aws_of
from tests.support.servers import MotoServer
from tests.support.waiting import eventually
from triggerd.aws import Aws
from triggerd.clock import wall_ms
from triggerd.event import Event
from triggerd.testing import run_trigger
from triggerd.trigger import BaseTrigger
from triggerd.triggers import beside
from triggerd.triggers.ecs import TaskDoneTrigger
from triggerd.triggers.glue import GlueCatalogPartitionTrigger, GlueJobCompleteTrigger
from triggerd.triggers.sagemaker import SageMakerPipelineTrigger, SageMakerTrigger

PACE: dict[str, Any] = {"delay": 0.05, "max_attempts": 200}
OUTPUT = {"S3OutputPath": "s3://lake/out"}
RESOURCES = {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1}


@pytest.fixture
async def aws(moto_url: str) -> AsyncIterator[Aws]:
    async with aws_of(moto_url) as opened:
        yield opened


class BotoWithLogs(Boto):
    """Writes logs, too."""

    async def log(self, group: str, stream: str, *lines: str) -> None:
        """Write lines into a new stream."""
        names = {"logGroupName": group, "logStreamName": stream}
        await self.logs("create_log_group", logGroupName=group)
        await self.logs("create_log_stream", **names)
        await self.more_log(group, stream, *lines)

    async def more_log(self, group: str, stream: str, *lines: str) -> None:
        events = [{"timestamp": wall_ms() + number, "message": line} for number, line in enumerate(lines)]
        await self.logs("put_log_events", logGroupName=group, logStreamName=stream, logEvents=events)


@pytest.fixture
def boto(moto_url: str) -> BotoWithLogs:
    return BotoWithLogs(moto_url)


async def _fired(trigger: BaseTrigger, aws: Aws) -> Event:
    return await run_trigger(trigger, aws=aws, timeout=30)


def _copied(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [text.partition("line=")[2].strip("'") for text in caplog.messages if "remote log" in text]


async def _tasks(boto: BotoWithLogs, count: int) -> list[str]:
    """Tasks that run in a cluster `etl`."""
    await boto.ecs("create_cluster", clusterName="etl")
    await boto.ecs(
        "register_task_definition",
        family="w", containerDefinitions=[{"name": "main", "image": "w", "memory": 128}], networkMode="awsvpc",
        requiresCompatibilities=["FARGATE"], cpu="256", memory="512",
    )  # fmt: skip
    subnets = (await boto.ec2("describe_subnets"))["Subnets"]
    network = {"awsvpcConfiguration": {"subnets": [subnets[0]["SubnetId"]], "securityGroups": []}}
    started = await boto.ecs(
        "run_task", cluster="etl", taskDefinition="w", count=count, launchType="FARGATE", networkConfiguration=network
    )
    return [task["taskArn"] for task in started["tasks"]]


async def test_ecs_tasks_stop_by_merged_polls_and_their_logs_are_copied(
    moto: MotoServer, boto: BotoWithLogs, aws: Aws, caplog: pytest.LogCaptureFixture
) -> None:
    await asyncio.to_thread(moto.set_transition, "ecs::task", progression="manual", times=10_000)
    first, second = await _tasks(boto, 2)
    await boto.log("/ecs/etl", "s", "begin", "ERROR no disk")
    logs: dict[str, Any] = {"log_group": "/ecs/etl", "log_stream": "s"}
    with caplog.at_level(logging.INFO, "triggerd.trigger"):
        waiting = [
            asyncio.create_task(_fired(TaskDoneTrigger("etl", first, **PACE, **logs), aws)),
            asyncio.create_task(_fired(TaskDoneTrigger("etl", second, **PACE), aws)),
        ]
        await eventually(lambda: len(_copied(caplog)) == 2)
        await boto.more_log("/ecs/etl", "s", "end")
        await asyncio.to_thread(moto.set_transition, "ecs::task", progression="manual", times=1)
        events = await asyncio.gather(*waiting)
    for event, arn in zip(events, (first, second), strict=True):
        assert event.payload == {"status": "success", "task_arn": arn, "cluster": "etl"}
        assert event.details["last_status"] == "STOPPED"
    assert _copied(caplog) == ["begin", "ERROR no disk", "end"]


async def test_a_glue_job_run_with_its_logs(
    moto: MotoServer, boto: BotoWithLogs, aws: Aws, caplog: pytest.LogCaptureFixture
) -> None:
    await asyncio.to_thread(moto.set_transition, "glue::job_run", progression="manual", times=5)
    await boto.glue("create_job", Name="nightly", Role="r", Command={"Name": "glueetl"})
    run = (await boto.glue("start_job_run", JobName="nightly"))["JobRunId"]
    group = (await boto.glue("get_job_run", JobName="nightly", RunId=run))["JobRun"]["LogGroupName"]
    await boto.log(f"{group}/output", run, "10 rows")
    with caplog.at_level(logging.INFO, "triggerd.trigger"):
        event = await _fired(GlueJobCompleteTrigger("nightly", run, verbose=True, **PACE), aws)
    assert event.payload == {"status": "success", "run_id": run}
    assert _copied(caplog) == ["10 rows"]
    assert len([text for text in caplog.messages if "no such log stream" in text]) == 1, "the error log, said once"


async def test_a_glue_partition_appears(boto: BotoWithLogs, aws: Aws, caplog: pytest.LogCaptureFixture) -> None:
    await boto.glue("create_database", DatabaseInput={"Name": "lake"})
    table = {"Name": "events", "PartitionKeys": [{"Name": "ds", "Type": "string"}]}
    await boto.glue("create_table", DatabaseName="lake", TableInput=table)
    trigger = GlueCatalogPartitionTrigger("other", "lake.events", "ds = '2026-01-02'", delay=0.05)
    with caplog.at_level(logging.DEBUG, "triggerd.trigger"):
        waiting = asyncio.create_task(_fired(trigger, aws))
        names = {"DatabaseName": "lake", "TableName": "events"}
        await boto.glue("create_partition", **names, PartitionInput={"Values": ["2026-01-01"]})
        looks = caplog.text.count("looked for a partition")
        await eventually(lambda: caplog.text.count("looked for a partition") > looks + 2)
        assert not waiting.done()
        await boto.glue("create_partition", **names, PartitionInput={"Values": ["2026-01-02"]})
        assert (await waiting).payload == {"status": "success"}
    missing = await _fired(GlueCatalogPartitionTrigger("lake", "nothing", delay=0.05), aws)
    assert missing.outcome == "failed"


async def test_sagemaker_jobs_complete(boto: BotoWithLogs, aws: Aws) -> None:
    role = {"RoleArn": "arn:aws:iam::123456789012:role/r"}
    await boto.sagemaker(
        "create_training_job",
        TrainingJobName="fit", **role, OutputDataConfig=OUTPUT, ResourceConfig=RESOURCES,
        AlgorithmSpecification={"TrainingImage": "i", "TrainingInputMode": "File"},
        StoppingCondition={"MaxRuntimeInSeconds": 60},
    )  # fmt: skip
    await boto.sagemaker(
        "create_processing_job",
        ProcessingJobName="clean", **role, AppSpecification={"ImageUri": "i"},
        ProcessingResources={"ClusterConfig": RESOURCES},
    )  # fmt: skip
    for name, kind in (("fit", "training"), ("clean", "Processing")):
        event = await _fired(SageMakerTrigger(name, kind, **PACE), aws)
        assert event.payload == {"status": "success", "job_name": name}
    event = await _fired(SageMakerTrigger("nothing", "training", **PACE), aws)
    assert event.payload["status"] == "error"


async def test_a_sagemaker_pipeline_succeeds_although_its_steps_cannot_be_read(
    boto: BotoWithLogs, aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beside, "LAST_WITHIN_S", 0.1)
    await boto.sagemaker(
        "create_pipeline",
        PipelineName="p", RoleArn="arn:aws:iam::123456789012:role/r", PipelineDefinition="{}",
        ClientRequestToken="x" * 32,
    )  # fmt: skip
    started = await boto.sagemaker("start_pipeline_execution", PipelineName="p", ClientRequestToken="y" * 32)
    arn = started["PipelineExecutionArn"]
    complete, stopped = SageMakerPipelineTrigger.Type
    event = await _fired(SageMakerPipelineTrigger(complete, arn, **PACE), aws)
    assert event.payload == {"status": "success", "value": arn}
    assert (await _fired(SageMakerPipelineTrigger(stopped, arn, **PACE), aws)).outcome == "failed"
