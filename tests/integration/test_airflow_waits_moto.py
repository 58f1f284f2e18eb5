"""Airflow's pairs, end to end on moto: clusters, jobs and functions. Data and models are in the files beside this one.

moto has no move for these, so that scripted answers (`test_airflow_pairs.py`) are all there is:
bedrock-agent: a knowledge base is "Active", which no AWS says; no ingestion jobs. databrew: no job runs.
bedrock: no provisioned throughput, no batch inference. comprehend: jobs stay SUBMITTED, classifiers TRAINING.
datazone, mwaa, neptune-graph: not in moto. dms: no serverless replications, no table statistics.
emr-serverless: no sessions. glue: no runs of data quality. kinesisanalyticsv2: an application is STARTING for ever.
quicksight: no ingestions. ssm: no ListCommandInvocations. emr: a first step runs for ever, the next ones are PENDING.
"""

import json
from typing import Any

import pytest

from tests.support.moto_work import ROLE, SUBNETS, Account, Start, Wait, outcome_of
from tests.support.servers import MotoServer

DONE = {"status": "success", "value": None}
NOT_THERE = {"status": "error", "message": "ResourceNotFoundException", "value": None}


# --- Batch, EC2, ECS ---


def _environment(account: Account) -> str:
    made = account("batch").create_compute_environment(
        computeEnvironmentName="env", type="UNMANAGED", state="ENABLED", serviceRole=account.role()
    )
    return str(made["computeEnvironmentArn"])


def _compute_environment(account: Account) -> Wait:
    arn = _environment(account)
    return Wait({"compute_env_arn": arn}, {"status": "success", "value": arn})


def _deleted_environment(account: Account) -> Wait:
    arn = _environment(account)
    account("batch").update_compute_environment(computeEnvironment=arn, state="DISABLED")
    account("batch").delete_compute_environment(computeEnvironment=arn)
    kwargs = {"compute_env_arn": arn, "waiter_max_attempts": 3}
    return Wait(kwargs, {"status": "error", "message": "still unfinished", "value": arn})


def _batch_job(account: Account) -> Wait:
    batch = account("batch")
    order = [{"order": 1, "computeEnvironment": _environment(account)}]
    batch.create_job_queue(jobQueueName="queue", state="ENABLED", priority=1, computeEnvironmentOrder=order)
    properties = {"image": "busybox", "vcpus": 1, "memory": 128, "command": ["true"]}
    batch.register_job_definition(jobDefinitionName="job", type="container", containerProperties=properties)
    job = batch.submit_job(jobName="job", jobQueue="queue", jobDefinition="job")["jobId"]
    return Wait({"job_id": job}, {"status": "success", "job_id": job})


def _instance(account: Account) -> str:
    made = account("ec2").run_instances(ImageId="ami-12c6146b", MinCount=1, MaxCount=1)
    return str(made["Instances"][0]["InstanceId"])


def _stopped_instance(account: Account) -> Wait:
    instance = _instance(account)
    kwargs = {"instance_id": instance, "target_state": "stopped"}
    return Wait(
        kwargs,
        {"status": "success", "message": "target state met"},
        lambda: account("ec2").stop_instances(InstanceIds=[instance]),
    )


def _terminated_instance(account: Account) -> Wait:
    instance = _instance(account)
    account("ec2").stop_instances(InstanceIds=[instance])
    kwargs = {"instance_id": instance, "target_state": "running"}
    return Wait(kwargs, "terminated", lambda: account("ec2").terminate_instances(InstanceIds=[instance]))


def _ecs_cluster(account: Account) -> str:
    return str(account("ecs").create_cluster(clusterName="etl")["cluster"]["clusterArn"])


def _active_cluster(account: Account) -> Wait:
    arn = _ecs_cluster(account)
    return Wait({"cluster_arn": arn}, {"status": "success", "arn": arn})


def _deleted_active_cluster(account: Account) -> Wait:
    arn = _ecs_cluster(account)
    account("ecs").delete_cluster(cluster=arn)
    return Wait({"cluster_arn": arn}, {"status": "error", "message": "INACTIVE", "arn": arn})


def _inactive_cluster(account: Account) -> Wait:
    arn = _ecs_cluster(account)
    payload = {"status": "success", "value": arn}
    return Wait({"cluster_arn": arn}, payload, lambda: account("ecs").delete_cluster(cluster=arn))


def _ecs_task(account: Account) -> Wait:
    account.slowly("ecs::task")
    _ecs_cluster(account)
    account("ecs").register_task_definition(
        family="w", containerDefinitions=[{"name": "main", "image": "w", "memory": 128}], networkMode="awsvpc",
        requiresCompatibilities=["FARGATE"], cpu="256", memory="512",
    )  # fmt: skip
    subnet = account("ec2").describe_subnets()["Subnets"][0]["SubnetId"]
    network = {"awsvpcConfiguration": {"subnets": [subnet], "securityGroups": []}}
    started = account("ecs").run_task(
        cluster="etl", taskDefinition="w", launchType="FARGATE", networkConfiguration=network
    )
    task = started["tasks"][0]["taskArn"]
    return Wait({"cluster": "etl", "task_arn": task}, {"status": "success", "task_arn": task, "cluster": "etl"})


# --- EKS ---


def _eks_cluster(account: Account) -> Any:
    account("eks").create_cluster(name="c", roleArn=ROLE, resourcesVpcConfig={"subnetIds": SUBNETS}, version="1.31")
    return account("eks")


def _created_eks_cluster(account: Account) -> Wait:
    _eks_cluster(account)
    return Wait({"cluster_name": "c"}, {"status": "success"})


def _no_eks_cluster(account: Account) -> Wait:
    return Wait({"cluster_name": "nobodys", "waiter_max_attempts": 3}, {"status": "failed"})


def _with_compute(account: Account) -> Any:
    eks = _eks_cluster(account)
    eks.create_nodegroup(clusterName="c", nodegroupName="n", nodeRole=ROLE, subnets=SUBNETS)
    eks.create_fargate_profile(
        clusterName="c", fargateProfileName="f", podExecutionRoleArn=ROLE, selectors=[{"namespace": "default"}]
    )
    return eks


def _deleted_eks_cluster(account: Account) -> Wait:
    _with_compute(account)
    kwargs = {"cluster_name": "c", "force_delete_compute": True, "region_name": "us-east-1"}
    return Wait(kwargs, {"status": "deleted"})


def _created_nodegroup(account: Account) -> Wait:
    _with_compute(account)
    return Wait({"cluster_name": "c", "nodegroup_name": "n"}, DONE)


def _deleted_nodegroup(account: Account) -> Wait:
    eks, names = _with_compute(account), {"clusterName": "c", "nodegroupName": "n"}
    kwargs = {"cluster_name": "c", "nodegroup_name": "n"}
    return Wait(kwargs, DONE, lambda: eks.delete_nodegroup(**names))


def _created_profile(account: Account) -> Wait:
    _with_compute(account)
    return Wait({"cluster_name": "c", "fargate_profile_name": "f"}, DONE)


def _deleted_profile(account: Account) -> Wait:
    eks, names = _with_compute(account), {"clusterName": "c", "fargateProfileName": "f"}
    kwargs = {"cluster_name": "c", "fargate_profile_name": "f"}
    return Wait(kwargs, DONE, lambda: eks.delete_fargate_profile(**names))


def _no_nodegroup(account: Account) -> Wait:
    _eks_cluster(account)
    return Wait({"cluster_name": "c", "nodegroup_name": "nobodys"}, NOT_THERE)


def _no_profile(account: Account) -> Wait:
    _eks_cluster(account)
    return Wait({"cluster_name": "c", "fargate_profile_name": "nobodys"}, NOT_THERE)


# --- Lambda, Step Functions ---


def _function(account: Account) -> Wait:
    made = account("lambda").create_function(
        FunctionName="f", Runtime="python3.13", Role=account.role(), Handler="f.f", Code={"ZipFile": b"x"}
    )
    kwargs = {"function_name": "f", "function_arn": made["FunctionArn"]}
    return Wait(kwargs, {"status": "success", "function_arn": made["FunctionArn"]})


def _no_function(account: Account) -> Wait:
    kwargs = {"function_name": "nobodys", "function_arn": "arn:f"}
    return Wait(kwargs, {"status": "error", "message": "ResourceNotFoundException", "function_arn": "arn:f"})


def _execution(account: Account, *states: dict[str, Any]) -> str:
    account.moto.configure(stepfunctions={"execute_state_machine": True})
    chain = {f"S{number}": state for number, state in enumerate(states)}
    machine = account("stepfunctions").create_state_machine(
        name="m", definition=json.dumps({"StartAt": "S0", "States": chain}), roleArn=ROLE
    )
    return str(account("stepfunctions").start_execution(stateMachineArn=machine["stateMachineArn"])["executionArn"])


def _succeeding_execution(account: Account) -> Wait:
    arn = _execution(account, {"Type": "Pass", "End": True})
    return Wait({"execution_arn": arn}, {"status": "success", "execution_arn": arn})


def _failing_execution(account: Account) -> Wait:
    arn = _execution(account, {"Type": "Fail", "Error": "NoData", "Cause": "the bucket was empty"})
    return Wait({"execution_arn": arn}, {"status": "error", "message": "the bucket was empty", "execution_arn": arn})


def _stopped_execution(account: Account) -> Wait:
    arn = _execution(account, {"Type": "Wait", "Seconds": 5, "End": True})
    payload = {"status": "error", "message": "ABORTED", "execution_arn": arn}
    return Wait({"execution_arn": arn}, payload, lambda: account("stepfunctions").stop_execution(executionArn=arn))


@pytest.mark.parametrize(("name", "start"), [
    ("batch.BatchCreateComputeEnvironmentTrigger", _compute_environment),
    ("batch.BatchCreateComputeEnvironmentTrigger", _deleted_environment),
    ("batch.BatchJobTrigger", _batch_job),
    ("ec2.EC2StateSensorTrigger", _stopped_instance),
    ("ec2.EC2StateSensorTrigger", _terminated_instance),
    ("ecs.ClusterActiveTrigger", _active_cluster),
    ("ecs.ClusterActiveTrigger", _deleted_active_cluster),
    ("ecs.ClusterInactiveTrigger", _inactive_cluster),
    ("ecs.TaskDoneTrigger", _ecs_task),
    ("eks.EksCreateClusterTrigger", _created_eks_cluster),
    ("eks.EksCreateClusterTrigger", _no_eks_cluster),
    ("eks.EksDeleteClusterTrigger", _deleted_eks_cluster),
    ("eks.EksCreateNodegroupTrigger", _created_nodegroup),
    ("eks.EksCreateNodegroupTrigger", _no_nodegroup),
    ("eks.EksDeleteNodegroupTrigger", _deleted_nodegroup),
    ("eks.EksCreateFargateProfileTrigger", _created_profile),
    ("eks.EksCreateFargateProfileTrigger", _no_profile),
    ("eks.EksDeleteFargateProfileTrigger", _deleted_profile),
    ("lambda_function.LambdaCreateFunctionCompleteTrigger", _function),
    ("lambda_function.LambdaCreateFunctionCompleteTrigger", _no_function),
    ("step_function.StepFunctionsExecutionCompleteTrigger", _succeeding_execution),
    ("step_function.StepFunctionsExecutionCompleteTrigger", _failing_execution),
    ("step_function.StepFunctionsExecutionCompleteTrigger", _stopped_execution),
])  # fmt: skip
async def test_an_airflow_pair_ends_as_its_work_does(moto: MotoServer, name: str, start: Start) -> None:
    outcome, expected = await outcome_of(moto, name, start)
    assert outcome == expected
