"""Promises of the shipped waiters against moto: each service's own protocol, answers and moves through states."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import boto3
import pytest

from triggerd.aws import Aws
from triggerd.aws.local import open_aws
from triggerd.settings import AwsSettings, ConnectionSettings, QuotaSettings

Client = Callable[[str], Any]
Started = dict[str, Any]

ROLE = "arn:aws:iam::123456789012:role/etl"
TEMPLATE = json.dumps({"Resources": {"Queue": {"Type": "AWS::SQS::Queue"}}})
DOCKER = "application/vnd.docker.distribution.manifest.v2+json"
MANIFEST = json.dumps(
    {"schemaVersion": 2, "mediaType": DOCKER, "config": {"digest": f"sha256:{'a' * 64}", "size": 1}, "layers": []}
)


@pytest.fixture
async def aws(moto_url: str) -> AsyncIterator[Aws]:
    connection = ConnectionSettings(region="us-east-1", endpoint_url=moto_url)
    quotas = {"*": QuotaSettings(rate_per_s=10_000.0, burst=10_000.0)}
    async with open_aws(AwsSettings(connections={"default": connection}, quotas=quotas)) as opened:
        yield opened


# Each starts the work, and gives the arguments of the wait for it.
def _build(client: Client) -> Started:
    codebuild = client("codebuild")
    codebuild.create_project(
        name="etl",
        source={"type": "S3", "location": "code/etl.zip"},
        artifacts={"type": "NO_ARTIFACTS"},
        environment={"type": "LINUX_CONTAINER", "image": "aws/codebuild/1", "computeType": "BUILD_GENERAL1_SMALL"},
        serviceRole=ROLE,
    )
    return {"ids": [codebuild.start_build(projectName="etl")["build"]["id"]]}


def _task_execution(client: Client) -> Started:
    datasync = client("datasync")
    there = datasync.create_location_s3(S3BucketArn="arn:aws:s3:::lake", S3Config={"BucketAccessRoleArn": ROLE})
    location = there["LocationArn"]
    task = datasync.create_task(SourceLocationArn=location, DestinationLocationArn=location)["TaskArn"]
    return {"TaskExecutionArn": datasync.start_task_execution(TaskArn=task)["TaskExecutionArn"]}


def _replication_group(client: Client) -> Started:
    client("elasticache").create_replication_group(ReplicationGroupId="cache", ReplicationGroupDescription="of the app")
    return {"ReplicationGroupId": "cache"}


def _domain(client: Client) -> Started:
    client("opensearch").create_domain(DomainName="search")
    return {"DomainName": "search"}


def _deleted_domain(client: Client) -> Started:
    _domain(client)
    client("opensearch").delete_domain(DomainName="search")
    return {"DomainName": "search"}


def _file_system(client: Client) -> Started:
    return {"FileSystemId": client("efs").create_file_system(CreationToken="t")["FileSystemId"]}


def _deleted_file_system(client: Client) -> Started:
    made = _file_system(client)
    client("efs").delete_file_system(**made)
    return made


def _transcription(client: Client) -> Started:
    client("transcribe").start_transcription_job(
        TranscriptionJobName="call", Media={"MediaFileUri": "s3://calls/1.wav"}, LanguageCode="en-US"
    )
    return {"TranscriptionJobName": "call"}


def _text_detection(client: Client) -> Started:
    document = {"S3Object": {"Bucket": "papers", "Name": "1.pdf"}}
    job = client("textract").start_document_text_detection(DocumentLocation=document)
    return {"JobId": job["JobId"], "MaxResults": 1}


def _change_set(client: Client) -> Started:
    made = client("cloudformation").create_change_set(
        StackName="queues", ChangeSetName="first", TemplateBody=TEMPLATE, ChangeSetType="CREATE"
    )
    return {"ChangeSetName": made["Id"]}


def _executed_change_set(client: Client) -> Started:
    made = _change_set(client)
    client("cloudformation").execute_change_set(**made)
    return made


def _delivery_stream(client: Client) -> Started:
    to = {"RoleARN": ROLE, "BucketARN": "arn:aws:s3:::lake"}
    client("firehose").create_delivery_stream(DeliveryStreamName="clicks", S3DestinationConfiguration=to)
    return {"DeliveryStreamName": "clicks"}


def _query(client: Client) -> Started:
    logs = client("logs")
    logs.create_log_group(logGroupName="etl")
    started = logs.start_query(logGroupName="etl", startTime=0, endTime=1, queryString="fields @message")
    return {"queryId": started["queryId"]}


def _export(client: Client) -> Started:
    client("s3").create_bucket(Bucket="exports")
    logs = client("logs")
    logs.create_log_group(logGroupName="etl")
    return {"taskId": logs.create_export_task(logGroupName="etl", fromTime=0, to=1, destination="exports")["taskId"]}


def _account(client: Client) -> Started:
    organizations = client("organizations")
    organizations.create_organization(FeatureSet="ALL")
    made = organizations.create_account(Email="data@example.com", AccountName="data")["CreateAccountStatus"]
    return {"CreateAccountRequestId": made["Id"]}


def _scan(client: Client) -> Started:
    ecr = client("ecr")
    ecr.create_repository(repositoryName="etl")
    ecr.put_image(repositoryName="etl", imageManifest=MANIFEST, imageTag="1")
    ecr.start_image_scan(repositoryName="etl", imageId={"imageTag": "1"})
    return {"repositoryName": "etl", "imageId": {"imageTag": "1"}}


@pytest.mark.parametrize(("service", "waiter", "start"), [
    ("codebuild", "build_complete", _build),
    ("datasync", "task_execution_complete", _task_execution),
    ("elasticache", "replication_group_available", _replication_group),
    ("opensearch", "domain_active", _domain),
    ("opensearch", "domain_deleted", _deleted_domain),
    ("efs", "file_system_available", _file_system),
    ("efs", "file_system_deleted", _deleted_file_system),
    ("transcribe", "transcription_job_completed", _transcription),
    ("textract", "document_text_detection_complete", _text_detection),
    ("cloudformation", "change_set_create_complete", _change_set),
    ("cloudformation", "change_set_execute_complete", _executed_change_set),
    ("firehose", "delivery_stream_active", _delivery_stream),
    ("logs", "query_complete", _query),
    ("logs", "export_task_complete", _export),
    ("organizations", "account_created", _account),
    ("ecr", "image_scan_complete", _scan),
])  # fmt: skip
async def test_a_wait_ends_well(
    moto_url: str, aws: Aws, service: str, waiter: str, start: Callable[[Client], Started]
) -> None:
    clients: list[Any] = []

    def client(name: str) -> Any:
        clients.append(boto3.client(name, endpoint_url=moto_url, region_name="us-east-1"))
        return clients[-1]

    try:
        arguments = await asyncio.to_thread(start, client)
    finally:
        for each in clients:
            each.close()
    async with asyncio.timeout(20):
        await aws.wait(service, waiter, arguments, delay=0.05, max_attempts=100)
