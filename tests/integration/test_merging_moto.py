"""Promises of merging where moto has the operations: its single answers, against its merged ones projected."""

import asyncio
from collections.abc import Callable
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from tests.support.merge_world import MODELS
from triggerd.aws.acceptors import compiled
from triggerd.aws.forms import Forms
from triggerd.aws.waits import method_name

REGION = "us-east-1"
ROLE = "arn:aws:iam::123456789012:role/r"
Params = dict[str, Any]


def _instances(ec2: Any) -> list[Params]:
    made = ec2.run_instances(ImageId="ami-12c6146b", MinCount=2, MaxCount=2)["Instances"]
    ids = [instance["InstanceId"] for instance in made]
    ec2.stop_instances(InstanceIds=ids[:1])
    return [{"InstanceIds": [ids[0]]}, {"InstanceIds": [ids[1]]}, {"InstanceIds": ["i-0123456789abcdef0"]}]


def _databases(rds: Any) -> list[Params]:
    for name in ("one", "two"):
        rds.create_db_instance(DBInstanceIdentifier=name, DBInstanceClass="db.t3.micro", Engine="postgres")
    return [{"DBInstanceIdentifier": name} for name in ("one", "two", "gone")]


def _runs(glue: Any) -> list[Params]:
    glue.create_job(Name="etl", Role=ROLE, Command={"Name": "glueetl"}, ExecutionProperty={"MaxConcurrentRuns": 5})
    return [{"JobName": "etl", "RunId": glue.start_job_run(JobName="etl")["JobRunId"]} for _ in range(2)]


def _crawlers(glue: Any) -> list[Params]:
    for name in ("one", "two"):
        glue.create_crawler(Name=name, Role=ROLE, DatabaseName="d", Targets={"S3Targets": [{"Path": "s3://b"}]})
    return [{"Name": name} for name in ("one", "two", "gone")]


def _ecs_clusters(ecs: Any) -> list[Params]:
    for name in ("one", "two"):
        ecs.create_cluster(clusterName=name)
    return [{"clusters": [name]} for name in ("one", "two", "gone")]


def _executions(states: Any) -> list[Params]:
    definition = '{"StartAt": "A", "States": {"A": {"Type": "Pass", "End": true}}}'
    machine = states.create_state_machine(name="m", definition=definition, roleArn=ROLE)["stateMachineArn"]
    started = [states.start_execution(stateMachineArn=machine)["executionArn"] for _ in range(2)]
    states.stop_execution(executionArn=started[1])
    return [{"executionArn": one} for one in started]


def _clusters(redshift: Any) -> list[Params]:
    for name in ("one", "two"):
        redshift.create_cluster(
            ClusterIdentifier=name, NodeType="ra3.large", MasterUsername="admin", MasterUserPassword="Passw0rd"
        )
    redshift.pause_cluster(ClusterIdentifier="two")
    return [{"ClusterIdentifier": name} for name in ("one", "two", "gone")]


def _steps(emr: Any) -> list[Params]:
    step = {"Name": "s", "ActionOnFailure": "CONTINUE", "HadoopJarStep": {"Jar": "j"}}
    made = emr.run_job_flow(
        Name="c", Instances={"InstanceCount": 1, "MasterInstanceType": "m5.large"}, JobFlowRole="r", ServiceRole="r",
        Steps=[step, step],
    )  # fmt: skip
    steps = emr.list_steps(ClusterId=made["JobFlowId"])["Steps"]
    return [{"ClusterId": made["JobFlowId"], "StepId": one["Id"]} for one in steps]


@pytest.mark.parametrize(("service", "operation", "read", "prepare"), [
    ("ec2", "DescribeInstances", "Reservations[].Instances[].State.Name", _instances),
    ("rds", "DescribeDBInstances", "DBInstances[].DBInstanceStatus", _databases),
    ("glue", "GetJobRun", "JobRun.JobRunState", _runs),
    ("glue", "GetCrawler", "Crawler.State", _crawlers),
    ("ecs", "DescribeClusters", "clusters[].status", _ecs_clusters),
    ("stepfunctions", "DescribeExecution", "status", _executions),
    ("redshift", "DescribeClusters", "Clusters[].ClusterStatus", _clusters),
    ("emr", "DescribeStep", "Step.Status.State", _steps),
])  # fmt: skip
async def test_motos_merged_answer_says_what_its_single_answers_say(
    moto_url: str, service: str, operation: str, read: str, prepare: Callable[[Any], list[Params]]
) -> None:
    await asyncio.to_thread(_compare, moto_url, service, operation, read, prepare)


def _compare(moto_url: str, service: str, operation: str, read: str, prepare: Callable[[Any], list[Params]]) -> None:
    client = boto3.client(service, endpoint_url=moto_url, region_name=REGION)
    try:
        asked = prepare(client)
        places = [Forms(MODELS).find(service, operation, params, {read}) for params in asked]
        first = places[0]
        assert first is not None
        ids = [one for place in places if place for one in place.ids]
        page = first.form.read(_call(client, first.form.merged, first.form.request(first.common, ids)))
        told = 0
        for params, place in zip(asked, places, strict=True):
            assert place is not None
            projected, single = place.form.project(page, place), _call(client, operation, params)
            if projected is None:
                assert "Error" in single or place.form.partial, "only what is missing or summed up is asked singly"
                continue
            told += 1
            assert projected.get("Error", {}).get("Code") == single.get("Error", {}).get("Code")
            assert compiled(read).search(projected) == compiled(read).search(single)
        assert told
    finally:
        client.close()


def _call(client: Any, operation: str, params: Params) -> Params:
    try:
        answer: Params = getattr(client, method_name(operation))(**params)
    except ClientError as error:
        answer = dict(error.response)
    return answer
