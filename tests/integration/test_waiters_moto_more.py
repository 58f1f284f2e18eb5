"""The rest of the shipped waiters that moto can move, each by itself.

It cannot: acm issues a certificate a minute after the request. athena's capacity reservations have no status.
comprehend's jobs, glue's workflow runs and sagemaker's AutoML jobs never end, glue's RunStatement answers 500. fsx and
kafka keep what they make CREATING, kafka answers 500 once it is deleted. rds says that an export is "complete", where
AWS says COMPLETE. stepfunctions has no map runs.
Not in moto: amplify, appflow, apprunner, backup's jobs, cleanrooms, cloudtrail's queries, dataexchange,
entityresolution, forecast, globalaccelerator, healthlake, imagebuilder, inspector2's reports, kafkaconnect, kendra,
mediaconvert, omics, personalize, redshift-serverless, s3control's jobs, servicecatalog's records, timestream-write's
loads, translate.
"""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.moto_account import Polls, aws_of
from tests.support.moto_work import ROLE, Account
from tests.support.servers import MotoServer
from triggerd.errors import WaiterFailedError

Arguments = dict[str, Any]
Start = Callable[[Account], Arguments]
TABLE: dict[str, Any] = {
    "TableName": "jobs",
    "BillingMode": "PAY_PER_REQUEST",
    "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
    "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}],
}
TEMPLATE = json.dumps({"Resources": {"Queue": {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": "q"}}}})


# Each starts the work, and gives the arguments of the wait for it.
def _agent(account: Account) -> Arguments:
    made = account("bedrock-agent").create_agent(agentName="a", agentResourceRoleArn=ROLE)
    return {"agentId": made["agent"]["agentId"]}


def _stack_set(account: Account) -> Arguments:
    formation, name = account("cloudformation"), {"StackSetName": "queues"}
    formation.create_stack_set(TemplateBody=TEMPLATE, **name)
    made = formation.create_stack_instances(Accounts=["123456789012"], Regions=["us-east-1"], **name)
    return {"OperationId": made["OperationId"], **name}


def _pipeline_execution(account: Account) -> Arguments:
    action = {"category": "Source", "owner": "AWS", "provider": "S3", "version": "1"}
    source = {
        "name": "s", "actionTypeId": action, "configuration": {"S3Bucket": "lake", "S3ObjectKey": "k"},
        "outputArtifacts": [{"name": "o"}],
    }  # fmt: skip
    build = {
        "name": "b", "actionTypeId": {**action, "category": "Build", "provider": "CodeBuild"},
        "inputArtifacts": [{"name": "o"}],
    }  # fmt: skip
    stages = [{"name": "Source", "actions": [source]}, {"name": "Build", "actions": [build]}]
    trust = {"Effect": "Allow", "Principal": {"Service": "codepipeline.amazonaws.com"}, "Action": "sts:AssumeRole"}
    policy = {"Version": "2012-10-17", "Statement": [trust]}
    role = account("iam").create_role(RoleName="pipe", AssumeRolePolicyDocument=json.dumps(policy))["Role"]["Arn"]
    store = {"type": "S3", "location": "lake"}
    account("codepipeline").create_pipeline(
        pipeline={"name": "p", "roleArn": role, "artifactStore": store, "stages": stages}
    )
    started = account("codepipeline").start_pipeline_execution(name="p")
    return {"pipelineName": "p", "pipelineExecutionId": started["pipelineExecutionId"]}


def _recognizer(account: Account) -> Arguments:
    data = {"EntityTypes": [{"Type": "NAME"}], "Documents": {"S3Uri": "s3://lake/d"}}
    made = account("comprehend").create_entity_recognizer(
        RecognizerName="r", DataAccessRoleArn=ROLE, LanguageCode="en",
        InputDataConfig={**data, "EntityList": {"S3Uri": "s3://lake/e"}},
    )  # fmt: skip
    return {"EntityRecognizerArn": made["EntityRecognizerArn"]}


def _comprehend_endpoint(account: Account) -> Arguments:
    made = account("comprehend").create_endpoint(EndpointName="e", DesiredInferenceUnits=1, ModelArn="arn:aws:m")
    return {"EndpointArn": made["EndpointArn"]}


def _replication_instance(account: Account) -> Arguments:
    account.slowly("dms::replicationinstance")
    account("dms").create_replication_instance(
        ReplicationInstanceIdentifier="i", ReplicationInstanceClass="dms.t3.micro"
    )
    return {"Filters": [{"Name": "replication-instance-id", "Values": ["i"]}]}


def _stopped_replication(account: Account) -> Arguments:
    dms = account("dms")
    source = dms.create_endpoint(EndpointIdentifier="from", EndpointType="source", EngineName="mysql")
    endpoint = source["Endpoint"]["EndpointArn"]
    task = dms.create_replication_task(
        ReplicationTaskIdentifier="t", SourceEndpointArn=endpoint, TargetEndpointArn=endpoint,
        ReplicationInstanceArn="arn:i", MigrationType="full-load", TableMappings="{}",
    )["ReplicationTask"]["ReplicationTaskArn"]  # fmt: skip
    dms.start_replication_task(ReplicationTaskArn=task, StartReplicationTaskType="start-replication")
    dms.stop_replication_task(ReplicationTaskArn=task)
    return {"Filters": [{"Name": "replication-task-arn", "Values": [task]}]}


def _table_export(account: Account) -> Arguments:
    account("s3").create_bucket(Bucket="lake")
    arn = account("dynamodb").create_table(**TABLE)["TableDescription"]["TableArn"]
    account("dynamodb").update_continuous_backups(
        TableName="jobs", PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True}
    )
    made = account("dynamodb").export_table_to_point_in_time(TableArn=arn, S3Bucket="lake", S3Prefix="jobs")
    return {"ExportArn": made["ExportDescription"]["ExportArn"]}


def _table_import(account: Account) -> Arguments:
    made = account("dynamodb").import_table(
        S3BucketSource={"S3Bucket": "lake"}, InputFormat="DYNAMODB_JSON", TableCreationParameters=TABLE
    )
    return {"ImportArn": made["ImportTableDescription"]["ImportArn"]}


def _good_import(account: Account) -> Arguments:
    account("s3").create_bucket(Bucket="lake")
    account("s3").put_object(Bucket="lake", Key="1.json", Body=b'{"Item": {"id": {"S": "5"}}}\n')
    return _table_import(account)


def _instances(move: str) -> Start:
    def start(account: Account) -> Arguments:
        ec2 = account("ec2")
        made = ec2.run_instances(ImageId="ami-12c6146b", MinCount=2, MaxCount=2)["Instances"]
        instances = {"InstanceIds": [each["InstanceId"] for each in made]}
        getattr(ec2, move)(**instances)
        return instances

    return start


def _mount_target(account: Account) -> Arguments:
    system = account("efs").create_file_system(CreationToken="t")["FileSystemId"]
    subnet = account("ec2").describe_subnets()["Subnets"][0]["SubnetId"]
    return {"MountTargetId": account("efs").create_mount_target(FileSystemId=system, SubnetId=subnet)["MountTargetId"]}


def _deleted_mount_target(account: Account) -> Arguments:
    target = _mount_target(account)
    account("efs").delete_mount_target(**target)
    return target


def _cache_snapshot(account: Account) -> Arguments:
    account("elasticache").create_cache_cluster(
        CacheClusterId="c", Engine="redis", NumCacheNodes=1, CacheNodeType="cache.t3.micro"
    )
    account("elasticache").create_snapshot(SnapshotName="s", CacheClusterId="c")
    return {"SnapshotName": "s"}


def _experiment(account: Account) -> Arguments:
    made = account("fis").create_experiment_template(
        clientToken="t", description="d", roleArn=ROLE, stopConditions=[{"source": "none"}], targets={},
        actions={"wait": {"actionId": "aws:fis:wait", "parameters": {"duration": "PT1M"}}},
    )  # fmt: skip
    template = made["experimentTemplate"]["id"]
    return {"id": account("fis").start_experiment(clientToken="e", experimentTemplateId=template)["experiment"]["id"]}


def _stopped_experiment(account: Account) -> Arguments:
    account.slowly("fis::experiment", 3)
    experiment = _experiment(account)
    account("fis").stop_experiment(**experiment)
    return experiment


def _glue_session(account: Account) -> Arguments:
    account("glue").create_session(Id="s", Role=ROLE, Command={"Name": "glueetl"})
    return {"Id": "s"}


def _idle_cluster(account: Account) -> Arguments:
    instances = {"MasterInstanceType": "m5.xlarge", "InstanceCount": 1, "KeepJobFlowAliveWhenNoSteps": True}
    made = account("emr").run_job_flow(Name="c", Instances=instances, JobFlowRole="r", ServiceRole="r")
    return {"ClusterId": made["JobFlowId"]}


def _event_source(account: Account, *, enabled: bool = True) -> Arguments:
    account("lambda").create_function(
        FunctionName="f", Runtime="python3.13", Role=account.role(), Handler="f.f", Code={"ZipFile": b"x"}
    )
    url = account("sqs").create_queue(QueueName="q")["QueueUrl"]
    arn = account("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    made = account("lambda").create_event_source_mapping(EventSourceArn=arn, FunctionName="f", Enabled=enabled)
    return {"UUID": made["UUID"]}


def _disabled_event_source(account: Account) -> Arguments:
    return _event_source(account, enabled=False)


def _broker(account: Account) -> Arguments:
    made = account("mq").create_broker(
        AutoMinorVersionUpgrade=False, BrokerName="b", DeploymentMode="SINGLE_INSTANCE", EngineType="ACTIVEMQ",
        EngineVersion="5.18", HostInstanceType="mq.t3.micro", PubliclyAccessible=False,
        Users=[{"Username": "admin", "Password": "Passw0rd1234"}],
    )  # fmt: skip
    return {"BrokerId": made["BrokerId"]}


def _ingestion(account: Account) -> Arguments:
    body = "version: '2'\np:\n  source:\n    http:\n      path: /in\n  sink:\n    - stdout: {}\n"
    account("osis").create_pipeline(PipelineName="pipe", MinUnits=1, MaxUnits=2, PipelineConfigurationBody=body)
    return {"PipelineName": "pipe"}


def _slow_ingestion(account: Account) -> Arguments:
    account.slowly("osis::pipeline")
    return _ingestion(account)


def _stopped_ingestion(account: Account) -> Arguments:
    pipeline = _ingestion(account)
    account("osis").stop_pipeline(**pipeline)
    return pipeline


def _video_text(account: Account) -> Arguments:
    video = {"S3Object": {"Bucket": "lake", "Name": "v.mp4"}}
    return {"JobId": account("rekognition").start_text_detection(Video=video)["JobId"]}


def _face_search(account: Account) -> Arguments:
    video = {"S3Object": {"Bucket": "lake", "Name": "v.mp4"}}
    return {"JobId": account("rekognition").start_face_search(Video=video, CollectionId="c")["JobId"]}


def _compilation(account: Account) -> Arguments:
    account("sagemaker").create_compilation_job(
        CompilationJobName="c", RoleArn=ROLE, StoppingCondition={"MaxRuntimeInSeconds": 60},
        InputConfig={"S3Uri": "s3://lake/m", "Framework": "PYTORCH"}, OutputConfig={"S3OutputLocation": "s3://lake/o"},
    )  # fmt: skip
    return {"CompilationJobName": "c"}


def _model_package(account: Account) -> Arguments:
    account("sagemaker").create_model_package(ModelPackageName="m")
    return {"ModelPackageName": "m"}


def _feature_group(account: Account) -> Arguments:
    account("sagemaker").create_feature_group(
        FeatureGroupName="f", RecordIdentifierFeatureName="id", EventTimeFeatureName="at", RoleArn=ROLE,
        FeatureDefinitions=[{"FeatureName": "id", "FeatureType": "Integral"}],
        OfflineStoreConfig={"S3StorageConfig": {"S3Uri": "s3://lake"}},
    )  # fmt: skip
    return {"FeatureGroupName": "f"}


def _domain(account: Account) -> Arguments:
    made = account("sagemaker").create_domain(
        DomainName="d", AuthMode="IAM", DefaultUserSettings={"ExecutionRole": ROLE}, SubnetIds=["s-1"], VpcId="v"
    )
    return {"DomainId": made["DomainArn"].rpartition("/")[2]}


def _command(account: Account) -> Arguments:
    sent = account("ssm").send_command(
        DocumentName="AWS-RunShellScript", InstanceIds=["i-0123456789abcdef0"], Parameters={"commands": ["true"]}
    )
    return {"CommandId": sent["Command"]["CommandId"]}


@pytest.mark.parametrize(("service", "waiter", "start"), [
    ("bedrock-agent", "agent_prepared", _agent),
    ("cloudformation", "stack_set_operation_complete", _stack_set),
    ("codepipeline", "pipeline_execution_complete", _pipeline_execution),
    ("comprehend", "create_entity_recognizer_complete", _recognizer),
    ("comprehend", "endpoint_in_service", _comprehend_endpoint),
    ("dms", "replication_instance_available", _replication_instance),
    ("dms", "replication_task_complete", _stopped_replication),
    ("dynamodb", "export_table", _table_export),
    ("dynamodb", "import_table", _good_import),
    ("ec2", "instance_pending", _instances("describe_instances")),
    ("ec2", "instance_stopping", _instances("stop_instances")),
    ("ec2", "instance_shutting_down", _instances("terminate_instances")),
    ("efs", "mount_target_available", _mount_target),
    ("efs", "mount_target_deleted", _deleted_mount_target),
    ("elasticache", "snapshot_available", _cache_snapshot),
    ("emr", "cluster_idle", _idle_cluster),
    ("fis", "experiment_complete", _experiment),
    ("glue", "session_ready", _glue_session),
    ("lambda", "event_source_mapping_enabled", _event_source),
    ("lambda", "event_source_mapping_disabled", _disabled_event_source),
    ("mq", "broker_running", _broker),
    ("osis", "pipeline_active", _slow_ingestion),
    ("osis", "pipeline_stopped", _stopped_ingestion),
    ("rekognition", "text_detection_complete", _video_text),
    ("rekognition", "face_search_complete", _face_search),
    ("sagemaker", "compilation_job_complete", _compilation),
    ("sagemaker", "feature_group_created", _feature_group),
    ("sagemaker", "model_package_complete", _model_package),
    ("sagemaker", "domain_in_service", _domain),
    ("ssm", "command_finished", _command),
])  # fmt: skip
async def test_a_wait_ends_well(moto: MotoServer, service: str, waiter: str, start: Start) -> None:
    await _waited(moto, service, waiter, start)


@pytest.mark.parametrize(("service", "waiter", "start", "status"), [
    ("dynamodb", "import_table", _table_import, "FAILED"),
    ("fis", "experiment_complete", _stopped_experiment, "stopped"),
])  # fmt: skip
async def test_a_wait_fails_with_its_work(
    moto: MotoServer, service: str, waiter: str, start: Start, status: str
) -> None:
    with pytest.raises(WaiterFailedError) as error:
        await _waited(moto, service, waiter, start)
    assert error.value.last_status == status


async def _waited(moto: MotoServer, service: str, waiter: str, start: Start) -> None:
    with Account(moto) as account:
        arguments = await asyncio.to_thread(start, account)
    async with aws_of(moto.url, Polls()) as aws, asyncio.timeout(20):
        await aws.wait(service, waiter, arguments, delay=0.02, max_attempts=900)
