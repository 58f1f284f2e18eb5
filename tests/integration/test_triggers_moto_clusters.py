"""The EC2, EKS, Redshift, Redshift Data and EMR Serverless triggers against moto's real API shapes."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.moto_account import Boto, aws_of
from triggerd.aws import Aws
from triggerd.event import Event
from triggerd.testing import LocalContext, run_trigger
from triggerd.trigger import BaseTrigger
from triggerd.triggers.ec2 import EC2StateSensorTrigger
from triggerd.triggers.eks import EksCreateClusterTrigger, EksDeleteClusterTrigger
from triggerd.triggers.emr_serverless import (
    EmrServerlessCancelJobsTrigger,
    EmrServerlessJobSensorTrigger,
    EmrServerlessStartJobTrigger,
)
from triggerd.triggers.redshift_cluster import RedshiftClusterTrigger
from triggerd.triggers.redshift_data import RedshiftDataTrigger

MET = {"status": "success", "message": "target state met"}
PACE: dict[str, Any] = {"delay": 0.05}


@pytest.fixture
async def aws(moto_url: str) -> AsyncIterator[Aws]:
    async with aws_of(moto_url) as opened:
        yield opened


async def _fired(trigger: BaseTrigger, aws: Aws) -> Event:
    return await run_trigger(trigger, aws=aws, timeout=30)


async def test_an_ec2_instance_stops_starts_and_is_terminated(moto_url: str, aws: Aws) -> None:
    started = await Boto(moto_url).call("ec2", "run_instances", ImageId="ami-12c6146b", MinCount=1, MaxCount=1)
    instance = started["Instances"][0]["InstanceId"]
    assert (await _fired(EC2StateSensorTrigger(instance, "running", **PACE), aws)).payload == MET
    stopped = asyncio.create_task(_fired(EC2StateSensorTrigger(instance, "stopped", **PACE), aws))
    await Boto(moto_url).call("ec2", "stop_instances", InstanceIds=[instance])
    assert (await stopped).payload == MET
    running = asyncio.create_task(_fired(EC2StateSensorTrigger(instance, "running", **PACE), aws))
    await Boto(moto_url).call("ec2", "terminate_instances", InstanceIds=[instance])
    assert (await running).outcome == "failed"
    assert (await _fired(EC2StateSensorTrigger(instance, "terminated", **PACE), aws)).payload == MET


async def test_a_redshift_cluster_pauses_and_goes(moto_url: str, aws: Aws) -> None:
    dwh = {"ClusterIdentifier": "dwh"}
    secret = {"MasterUsername": "admin", "MasterUserPassword": "Passw0rd"}
    await Boto(moto_url).call("redshift", "create_cluster", NodeType="ra3.large", **secret, **dwh)
    paused = asyncio.create_task(_fired(RedshiftClusterTrigger("dwh", "paused", **PACE), aws))
    await Boto(moto_url).call("redshift", "pause_cluster", **dwh)
    assert (await paused).payload == MET
    gone = asyncio.create_task(_fired(RedshiftClusterTrigger("dwh", "cluster_not_found", **PACE), aws))
    await Boto(moto_url).call("redshift", "delete_cluster", SkipFinalClusterSnapshot=True, **dwh)
    assert (await gone).payload == MET
    event = await _fired(RedshiftClusterTrigger("dwh", "available", **PACE), aws)
    assert event.payload["status"] == "error"
    assert event.details["error_code"] == "ClusterNotFound"


async def test_a_cancel_aborts_the_redshift_statement_and_its_wait_says_so(moto_url: str, aws: Aws) -> None:
    statement = await Boto(moto_url).call("redshift-data", "execute_statement", Database="dev", Sql="select 1")
    trigger = RedshiftDataTrigger(statement["Id"], "load", **PACE)
    waiting = asyncio.create_task(_fired(trigger, aws))
    canceller = RedshiftDataTrigger(statement["Id"])
    canceller.context = LocalContext(aws, trigger_id="t", deadline_ms=0, restored=None)
    await canceller.on_cancel()
    payload = (await waiting).payload
    assert (payload["status"], payload["type"], payload["statement_id"]) == ("error", "ABORTED", statement["Id"])


async def test_an_eks_cluster_goes_with_its_node_groups_and_fargate_profiles(moto_url: str, aws: Aws) -> None:
    role, subnets = "arn:aws:iam::123456789012:role/eks", ["subnet-1", "subnet-2"]
    of_cluster = {"clusterName": "c"}
    await Boto(moto_url).call(
        "eks", "create_cluster", name="c", roleArn=role, resourcesVpcConfig={"subnetIds": subnets},
        version="1.31",
    )  # fmt: skip
    assert (await _fired(EksCreateClusterTrigger("c", **PACE), aws)).payload == {"status": "success"}
    for number in range(3):
        await Boto(moto_url).call(
            "eks", "create_nodegroup", nodegroupName=f"ng{number}", nodeRole=role, subnets=subnets,
            **of_cluster,
        )  # fmt: skip
        await Boto(moto_url).call(
            "eks", "create_fargate_profile", fargateProfileName=f"fp{number}", podExecutionRoleArn=role,
            selectors=[{"namespace": "default"}], **of_cluster,
        )  # fmt: skip
    kept = await _fired(EksDeleteClusterTrigger("c", max_attempts=2, **PACE), aws)
    assert kept.outcome == "failed"
    event = await _fired(EksDeleteClusterTrigger("c", force_delete_compute=True, **PACE), aws)
    assert event.payload == {"status": "deleted"}
    assert (await Boto(moto_url).call("eks", "list_clusters"))["clusters"] == []


async def test_emr_serverless_job_runs_end(moto_url: str, aws: Aws) -> None:
    made = await Boto(moto_url).call(
        "emr-serverless", "create_application", releaseLabel="emr-6.6.0", type="SPARK", clientToken="t"
    )
    application = made["applicationId"]
    started = await Boto(moto_url).call(
        "emr-serverless", "start_job_run", applicationId=application, clientToken="j",
        executionRoleArn="arn:aws:iam::123456789012:role/emr",
    )  # fmt: skip
    job = started["jobRunId"]
    event = await _fired(EmrServerlessStartJobTrigger(application, job, **PACE), aws)
    assert event.payload == {"status": "success", "job_details": {"application_id": application, "job_id": job}}
    sensor = EmrServerlessJobSensorTrigger(application, job, {"SUCCESS"}, **PACE)
    assert (await _fired(sensor, aws)).payload == {"status": "success", "value": None}
    passed = EmrServerlessJobSensorTrigger(application, job, {"RUNNING"}, **PACE)
    assert (await _fired(passed, aws)).payload["status"] == "error"
    none_left = await _fired(EmrServerlessCancelJobsTrigger(application, **PACE), aws)
    assert none_left.payload == {"status": "success", "application_id": application}
