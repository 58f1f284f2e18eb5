"""Airflow's pairs, end to end on moto: models, EMR and streams."""

import base64
from functools import partial
from typing import Any

import pytest

from tests.support.moto_work import ROLE, Account, Start, Wait, outcome_of
from tests.support.servers import MotoServer
from triggerd.triggers import beside

DONE = {"status": "success", "value": None}
OUTPUT = {"S3OutputPath": "s3://lake/out"}
RESOURCES = {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1}
ALGORITHM = {"TrainingImage": "i", "TrainingInputMode": "File"}
IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/m:1"
UNTIL = {"MaxRuntimeInSeconds": 60}


# --- SageMaker ---


def _of_job(kind: str) -> Wait:
    return Wait({"job_name": "j", "job_type": kind}, {"status": "success", "job_name": "j"})


def _training(account: Account) -> Wait:
    account("sagemaker").create_training_job(
        TrainingJobName="j", RoleArn=ROLE, OutputDataConfig=OUTPUT, ResourceConfig=RESOURCES,
        AlgorithmSpecification=ALGORITHM, StoppingCondition=UNTIL,
    )  # fmt: skip
    return _of_job("training")


def _processing(account: Account) -> Wait:
    account("sagemaker").create_processing_job(
        ProcessingJobName="j", RoleArn=ROLE, AppSpecification={"ImageUri": "i"},
        ProcessingResources={"ClusterConfig": RESOURCES},
    )  # fmt: skip
    return _of_job("processing")


def _transform(account: Account) -> Wait:
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://lake/in"}}
    account("sagemaker").create_transform_job(
        TransformJobName="j", ModelName="m", TransformInput={"DataSource": source}, TransformOutput=OUTPUT,
        TransformResources={"InstanceType": "ml.m5.large", "InstanceCount": 1},
    )  # fmt: skip
    return _of_job("transform")


def _tuning(account: Account) -> Wait:
    account("sagemaker").create_hyper_parameter_tuning_job(
        HyperParameterTuningJobName="j",
        HyperParameterTuningJobConfig={"Strategy": "Random", "ResourceLimits": {"MaxParallelTrainingJobs": 1}},
        TrainingJobDefinition={
            "AlgorithmSpecification": {"TrainingImage": "i", "TrainingInputMode": "File"}, "RoleArn": ROLE,
            "OutputDataConfig": OUTPUT, "ResourceConfig": RESOURCES, "StoppingCondition": UNTIL,
        },
    )  # fmt: skip
    return _of_job("tuning")


def _endpoint(account: Account) -> Wait:
    account("sagemaker").create_model(ModelName="m", ExecutionRoleArn=ROLE, PrimaryContainer={"Image": IMAGE})
    variant = {"VariantName": "v", "ModelName": "m", "InitialInstanceCount": 1, "InstanceType": "ml.m4.xlarge"}
    account("sagemaker").create_endpoint_config(EndpointConfigName="e", ProductionVariants=[variant])
    account("sagemaker").create_endpoint(EndpointName="j", EndpointConfigName="e")
    return _of_job("endpoint")


def _no_job(_: Account) -> Wait:
    payload = {"status": "error", "message": "nobodys", "job_name": "nobodys"}
    return Wait({"job_name": "nobodys", "job_type": "transform"}, payload)


def _pipeline(account: Account) -> Wait:
    sagemaker, token = account("sagemaker"), "x" * 32
    sagemaker.create_pipeline(PipelineName="p", RoleArn=ROLE, PipelineDefinition="{}", ClientRequestToken=token)
    started = sagemaker.start_pipeline_execution(PipelineName="p", ClientRequestToken=token)
    arn = started["PipelineExecutionArn"]
    return Wait({"pipeline_execution_arn": arn, "waiter_type": 1}, {"status": "success", "value": arn})


def _no_pipeline(_: Account) -> Wait:
    arn = "arn:aws:sagemaker:us-east-1:123456789012:pipeline/p/execution/nobodys"
    return Wait({"pipeline_execution_arn": arn, "waiter_type": 1}, "ValidationException: Could not find pipeline")


# --- Bedrock, Comprehend ---


def _agent_runtime(account: Account) -> Any:
    return account("bedrock-agentcore-control").create_agent_runtime(
        agentRuntimeName="r", roleArn=ROLE, networkConfiguration={"networkMode": "PUBLIC"},
        agentRuntimeArtifact={"containerConfiguration": {"containerUri": IMAGE}},
    )  # fmt: skip


def _ready_runtime(account: Account) -> Wait:
    account.slowly("bedrock-agentcore-control::agent_runtime")
    made = _agent_runtime(account)
    kwargs = {
        "agent_runtime_id": made["agentRuntimeId"],
        "agent_runtime_version": made["agentRuntimeVersion"],
        "agent_runtime_arn": made["agentRuntimeArn"],
    }
    return Wait(kwargs, {"status": "success", "agent_runtime_arn": made["agentRuntimeArn"]})


def _deleted_runtime(account: Account) -> Wait:
    runtime = _agent_runtime(account)["agentRuntimeId"]
    delete = partial(account("bedrock-agentcore-control").delete_agent_runtime, agentRuntimeId=runtime)
    return Wait({"agent_runtime_id": runtime}, {"status": "success", "agent_runtime_id": runtime}, delete)


def _stopped_customization(account: Account) -> Wait:
    account("s3").create_bucket(Bucket="lake")
    account("s3").put_object(Bucket="lake", Key="train", Body=b"{}")
    account("bedrock").create_model_customization_job(
        jobName="j", customModelName="m", roleArn=ROLE, baseModelIdentifier="amazon.titan",
        trainingDataConfig={"s3Uri": "s3://lake/train"}, outputDataConfig={"s3Uri": "s3://lake/out"},
        hyperParameters={"epochs": "1"},
    )  # fmt: skip
    payload = {"status": "error", "message": "Stopped", "job_name": "j"}
    stop = partial(account("bedrock").stop_model_customization_job, jobIdentifier="j")
    return Wait({"job_name": "j"}, payload, stop)


def _deleted_classifier(account: Account) -> Wait:
    comprehend = account("comprehend")
    arn = comprehend.create_document_classifier(
        DocumentClassifierName="c", DataAccessRoleArn=ROLE, LanguageCode="en", InputDataConfig={"S3Uri": "s3://lake/in"}
    )["DocumentClassifierArn"]
    payload = {"status": "error", "message": "ResourceNotFoundException", "document_classifier_arn": arn}
    delete = partial(comprehend.delete_document_classifier, DocumentClassifierArn=arn)
    return Wait({"document_classifier_arn": arn}, payload, delete)


def _no_pii_job(_: Account) -> Wait:
    payload = {"status": "error", "message": "ResourceNotFoundException", "job_id": "nobodys"}
    return Wait({"job_id": "nobodys"}, payload)


# --- EMR ---


def _job_flow(account: Account) -> str:
    instances = {"MasterInstanceType": "m5.xlarge", "InstanceCount": 1, "KeepJobFlowAliveWhenNoSteps": True}
    made = account("emr").run_job_flow(
        Name="c", Instances=instances, JobFlowRole="r", ServiceRole="r", ReleaseLabel="emr-7.0.0"
    )
    return str(made["JobFlowId"])


def _waiting_flow(account: Account) -> Wait:
    flow = _job_flow(account)
    return Wait({"job_flow_id": flow}, {"status": "success", "job_flow_id": flow})


def _finished_flow(account: Account) -> Wait:
    flow = _job_flow(account)
    kwargs = {"job_flow_id": flow, "waiter_name": "job_flow_terminated"}
    payload = {"status": "success", "job_flow_id": flow}
    return Wait(kwargs, payload, partial(account("emr").terminate_job_flows, JobFlowIds=[flow]))


def _flow_that_has_shut_down(account: Account) -> Wait:
    flow = _job_flow(account)
    account("emr").terminate_job_flows(JobFlowIds=[flow])
    return Wait({"job_flow_id": flow}, {"status": "success", "job_flow_id": flow})


def _no_flow(_: Account) -> Wait:
    return Wait({"job_flow_id": "j-1"}, {"status": "error", "message": "InvalidRequest", "job_flow_id": "j-1"})


def _terminated_flow(account: Account) -> Wait:
    flow = _job_flow(account)
    return Wait({"job_flow_id": flow}, DONE, partial(account("emr").terminate_job_flows, JobFlowIds=[flow]))


def _cancelled_container(account: Account) -> Wait:
    containers = account("emr-containers")
    provider = {"id": "eks", "type": "EKS", "info": {"eksInfo": {"namespace": "default"}}}
    account("eks").create_cluster(name="eks", roleArn=ROLE, resourcesVpcConfig={"subnetIds": ["s-1", "s-2"]})
    cluster = containers.create_virtual_cluster(name="v", containerProvider=provider)["id"]
    driver = {"sparkSubmitJobDriver": {"entryPoint": "s3://lake/etl.py"}}
    job = containers.start_job_run(
        name="j", virtualClusterId=cluster, executionRoleArn=ROLE, releaseLabel="emr-6.3.0-latest", jobDriver=driver
    )["id"]
    kwargs = {"virtual_cluster_id": cluster, "job_id": job}
    payload = {"status": "error", "message": "CANCELLED", "job_id": job}
    return Wait(kwargs, payload, partial(containers.cancel_job_run, virtualClusterId=cluster, id=job))


def _application(account: Account) -> Wait:
    made = account("emr-serverless").create_application(releaseLabel="emr-6.6.0", type="SPARK", clientToken="t")
    application = made["applicationId"]
    return Wait({"application_id": application}, {"status": "success", "application_id": application})


def _moved(operation: str) -> Start:
    def start(account: Account) -> Wait:
        wait, serverless = _application(account), account("emr-serverless")
        application = wait.kwargs["application_id"]
        if operation != "stop_application":  # one of moto's is started at once
            serverless.stop_application(applicationId=application)
        return Wait(wait.kwargs, wait.payload, partial(getattr(serverless, operation), applicationId=application))

    return start


def _serverless_job(account: Account) -> dict[str, str]:
    application = _application(account).kwargs["application_id"]
    job = account("emr-serverless").start_job_run(applicationId=application, clientToken="j", executionRoleArn=ROLE)
    return {"application_id": application, "job_id": job["jobRunId"]}


def _serverless(account: Account) -> Wait:
    of = _serverless_job(account)
    return Wait(of, {"status": "success", "job_details": of})


def _no_jobs_left(account: Account) -> Wait:
    application = _serverless_job(account)["application_id"]
    return Wait({"application_id": application}, {"status": "success", "application_id": application})


def _serverless_states(account: Account) -> Wait:
    of = _serverless_job(account)
    kwargs = {"application_id": of["application_id"], "job_run_id": of["job_id"], "target_states": {"SUCCESS"}}
    return Wait(kwargs, DONE)


# --- streams ---


def _message(account: Account) -> Wait:
    url = account("sqs").create_queue(QueueName="q")["QueueUrl"]
    sent = account("sqs").send_message(QueueUrl=url, MessageBody="hello")
    message = {"MessageId": sent["MessageId"], "Body": "hello"}
    return Wait({"sqs_queue": url, "wait_time_seconds": 0}, {"status": "success", "message_batch": [message]})


def _record(account: Account) -> Wait:
    account("kinesis").create_stream(StreamName="clicks", ShardCount=1)
    account("kinesis").put_record(StreamName="clicks", Data=b"hello", PartitionKey="p")
    record = {"PartitionKey": "p", "Data": base64.b64encode(b"hello").decode()}
    kwargs = {"stream_name": "clicks", "shard_iterator_type": "TRIM_HORIZON"}
    return Wait(kwargs, {"status": "success", "message_batch": [record]})


@pytest.mark.parametrize(("name", "start"), [
    ("sagemaker.SageMakerTrigger", _training),
    ("sagemaker.SageMakerTrigger", _processing),
    ("sagemaker.SageMakerTrigger", _transform),
    ("sagemaker.SageMakerTrigger", _tuning),
    ("sagemaker.SageMakerTrigger", _endpoint),
    ("sagemaker.SageMakerTrigger", _no_job),
    ("sagemaker.SageMakerPipelineTrigger", _pipeline),
    ("sagemaker.SageMakerPipelineTrigger", _no_pipeline),
    ("bedrock.BedrockAgentRuntimeReadyTrigger", _ready_runtime),
    ("bedrock.BedrockAgentRuntimeDeletedTrigger", _deleted_runtime),
    ("bedrock.BedrockCustomizeModelCompletedTrigger", _stopped_customization),
    ("comprehend.ComprehendCreateDocumentClassifierCompletedTrigger", _deleted_classifier),
    ("comprehend.ComprehendPiiEntitiesDetectionJobCompletedTrigger", _no_pii_job),
    ("emr.EmrCreateJobFlowTrigger", _waiting_flow),
    ("emr.EmrCreateJobFlowTrigger", _finished_flow),
    ("emr.EmrCreateJobFlowTrigger", _flow_that_has_shut_down),
    ("emr.EmrCreateJobFlowTrigger", _no_flow),
    ("emr.EmrTerminateJobFlowTrigger", _terminated_flow),
    ("emr.EmrContainerTrigger", _cancelled_container),
    ("emr.EmrServerlessCreateApplicationTrigger", _application),
    ("emr.EmrServerlessStartApplicationTrigger", _moved("start_application")),
    ("emr.EmrServerlessStopApplicationTrigger", _moved("stop_application")),
    ("emr.EmrServerlessDeleteApplicationTrigger", _moved("delete_application")),
    ("emr.EmrServerlessCancelJobsTrigger", _no_jobs_left),
    ("emr.EmrServerlessStartJobTrigger", _serverless),
    ("emr.EmrServerlessJobSensorTrigger", _serverless_states),
])  # fmt: skip
async def test_an_airflow_pair_ends_as_its_work_does(
    moto: MotoServer, name: str, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beside, "LAST_WITHIN_S", 0.05)  # moto cannot list the steps of a pipeline
    outcome, expected = await outcome_of(moto, name, start)
    assert outcome == expected


@pytest.mark.parametrize(("name", "start"), [("sqs.SqsSensorTrigger", _message), ("kinesis.KinesisTrigger", _record)])
async def test_an_airflow_pair_gives_what_a_stream_has(moto: MotoServer, name: str, start: Start) -> None:
    outcome, expected = await outcome_of(moto, name, start)
    assert (outcome["status"], len(outcome["message_batch"])) == ("success", 1)
    assert expected["message_batch"][0].items() <= outcome["message_batch"][0].items()
