"""Promises of the AWS side against moto's real API shapes: each protocol, real transitions, real errors."""

import asyncio
import itertools
import json
import urllib.request
from collections.abc import AsyncIterator
from typing import Any

import boto3
import pytest

from tests.support.servers import MotoServer
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


# --- Step Functions executes for real ---------------------------------------------------------------------------


async def _execution(moto: MotoServer, *states: dict[str, Any]) -> str:
    """Start a state machine of these states, one after the other; its execution's ARN."""
    await asyncio.to_thread(moto.configure, stepfunctions={"execute_state_machine": True})
    names = [f"S{number}" for number in range(len(states))]
    chain = {name: {**state} for name, state in zip(names, states, strict=True)}
    for name, following in itertools.pairwise(names):
        chain[name]["Next"] = following
    definition = json.dumps({"StartAt": names[0], "States": chain})
    role = "arn:aws:iam::123456789012:role/sfn"
    machine = await _boto(
        moto.url, "stepfunctions", "create_state_machine", name="m", definition=definition, roleArn=role
    )  # fmt: skip
    started = await _boto(moto.url, "stepfunctions", "start_execution", stateMachineArn=machine["stateMachineArn"])
    return str(started["executionArn"])


async def test_an_execution_that_really_runs_is_waited_for(moto: MotoServer, aws: Aws) -> None:
    execution = await _execution(
        moto, {"Type": "Wait", "Seconds": 3}, {"Type": "Pass", "Result": {"a": 1}, "End": True}
    )
    seen: list[str | None] = []
    answer = await aws.wait(
        "stepfunctions",
        "execution_complete",
        {"executionArn": execution},
        delay=0.1,
        on_poll=lambda progress: seen.append(progress.last_status),
    )
    assert json.loads(answer["output"]) == {"a": 1}
    assert (seen[0], seen[-1]) == ("RUNNING", "SUCCEEDED")


async def test_an_execution_that_fails_gives_awss_error_and_cause(moto: MotoServer, aws: Aws) -> None:
    execution = await _execution(moto, {"Type": "Fail", "Error": "NoData", "Cause": "the bucket was empty"})
    with pytest.raises(WaiterFailedError, match=r"status is FAILED: NoData: the bucket was empty") as error:
        await aws.wait("stepfunctions", "execution_complete", {"executionArn": execution}, delay=0.1)
    assert error.value.last_status == "FAILED"
    assert error.value.response["error"] == "NoData"


# --- the other services -----------------------------------------------------------------------------------------


async def test_ecs_tasks_stop_under_one_wait(moto: MotoServer, aws: Aws) -> None:
    await asyncio.to_thread(moto.set_transition, "ecs::task", progression="time", seconds=0.1)

    def run_tasks() -> list[str]:
        ecs = boto3.client("ecs", endpoint_url=moto.url, region_name="us-east-1")
        ec2 = boto3.client("ec2", endpoint_url=moto.url, region_name="us-east-1")
        try:
            ecs.create_cluster(clusterName="c")
            container = {"name": "w", "image": "w", "memory": 128}
            ecs.register_task_definition(
                family="w", containerDefinitions=[container], networkMode="awsvpc", requiresCompatibilities=["FARGATE"],
                cpu="256", memory="512",
            )  # fmt: skip
            subnet = ec2.describe_subnets()["Subnets"][0]["SubnetId"]
            network = {"awsvpcConfiguration": {"subnets": [subnet], "securityGroups": []}}
            tasks = ecs.run_task(
                cluster="c", taskDefinition="w", launchType="FARGATE", networkConfiguration=network, count=2
            )["tasks"]
            return [task["taskArn"] for task in tasks]
        finally:
            ecs.close()
            ec2.close()

    arns = await asyncio.to_thread(run_tasks)
    answer = await aws.wait("ecs", "tasks_stopped", {"cluster": "c", "tasks": arns}, delay=0.1)
    assert answer.last_status == "STOPPED, STOPPED"
    assert answer.polls >= 2


async def test_an_athena_query_goes_through_its_states(moto: MotoServer, aws: Aws) -> None:
    await asyncio.to_thread(moto.set_transition, "athena::execution", progression="manual", times=1)
    query = await _boto(
        moto.url, "athena", "start_query_execution", QueryString="SELECT 1",
        ResultConfiguration={"OutputLocation": "s3://lake/"},
    )  # fmt: skip
    answer = await aws.wait("athena", "query_complete", {"QueryExecutionId": query["QueryExecutionId"]}, delay=0.05)
    assert answer.last_status == "SUCCEEDED"
    assert answer.polls >= 2


async def test_an_emr_cluster_waits_and_terminates(moto_url: str, aws: Aws) -> None:
    instances = {"MasterInstanceType": "m5.xlarge", "InstanceCount": 1, "KeepJobFlowAliveWhenNoSteps": True}
    started = await _boto(
        moto_url, "emr", "run_job_flow", Name="c", Instances=instances, JobFlowRole="r", ServiceRole="r",
        ReleaseLabel="emr-7.0.0",
    )  # fmt: skip
    cluster = {"ClusterId": started["JobFlowId"]}
    assert (await aws.wait("emr", "job_flow_waiting", cluster, delay=0.05)).last_status == "WAITING"
    await _boto(moto_url, "emr", "terminate_job_flows", JobFlowIds=[started["JobFlowId"]])
    assert (await aws.wait("emr", "job_flow_terminated", cluster, delay=0.05)).last_status == "TERMINATED"


async def test_a_sagemaker_training_job_completes(moto_url: str, aws: Aws) -> None:
    await _boto(
        moto_url, "sagemaker", "create_training_job", TrainingJobName="t",
        AlgorithmSpecification={"TrainingInputMode": "File"}, OutputDataConfig={"S3OutputPath": "s3://lake/"},
        RoleArn="arn:aws:iam::123456789012:role/sagemaker", StoppingCondition={"MaxRuntimeInSeconds": 60},
        ResourceConfig={"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
    )  # fmt: skip
    answer = await aws.wait("sagemaker", "training_job_complete", {"TrainingJobName": "t"}, delay=0.05)
    assert answer.last_status == "Completed"


async def test_a_batch_job_completes(moto: MotoServer, aws: Aws) -> None:
    def submit() -> str:
        batch = boto3.client("batch", endpoint_url=moto.url, region_name="us-east-1")
        iam = boto3.client("iam", endpoint_url=moto.url, region_name="us-east-1")
        try:
            role = iam.create_role(RoleName="batch", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
            environment = batch.create_compute_environment(
                computeEnvironmentName="env", type="UNMANAGED", state="ENABLED", serviceRole=role
            )["computeEnvironmentArn"]
            order = [{"order": 1, "computeEnvironment": environment}]
            batch.create_job_queue(jobQueueName="queue", state="ENABLED", priority=1, computeEnvironmentOrder=order)
            properties = {"image": "busybox", "vcpus": 1, "memory": 128, "command": ["true"]}
            batch.register_job_definition(jobDefinitionName="job", type="container", containerProperties=properties)
            return str(batch.submit_job(jobName="job", jobQueue="queue", jobDefinition="job")["jobId"])
        finally:
            batch.close()
            iam.close()

    job_id = await asyncio.to_thread(submit)
    assert (await aws.wait("batch", "job_complete", {"jobs": [job_id]}, delay=0.05)).last_status == "SUCCEEDED"
