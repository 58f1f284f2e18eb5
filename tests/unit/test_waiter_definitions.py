"""Promises about the definitions in `waiters/`: every status value is covered on purpose, and none is a typo."""

from pathlib import Path

import pytest
from botocore import xform_name
from botocore.loaders import Loader
from botocore.model import ListShape

from triggerd.aws.acceptors import PATH_MATCHERS, compiled
from triggerd.aws.checks import check_file, known_states
from triggerd.aws.waiters import ServiceModels, WaiterDefinition, Waiters, compile_waiter
from triggerd.aws.walk import Walk
from triggerd.data import data_path

FILES = sorted(path for path in data_path("waiters").glob("*.json") if path.name != "states.json")
MODELS = ServiceModels(Loader())
SHIPPED = [waiter for path in FILES for waiter in Waiters((), MODELS).all(path.stem) if waiter.source == "shipped"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_check_finds_nothing_in_a_shipped_file(path: Path) -> None:
    assert [str(problem) for problem in check_file(path, MODELS)] == []


@pytest.mark.parametrize("waiter", SHIPPED, ids=lambda waiter: waiter.label.replace(" ", "."))
def test_every_status_value_is_covered_and_every_covered_value_exists(waiter: WaiterDefinition) -> None:
    """Its own walk, not `check_file`'s: a hole in that one must not hide a hole in a waiter."""
    fields: dict[str, set[str]] = {}
    for rule in waiter.acceptors.rules:
        if rule.matcher in PATH_MATCHERS and isinstance(rule.expected, str):
            fields.setdefault(rule.argument or "", set()).add(rule.expected)
    assert {"success"} <= {rule.state for rule in waiter.acceptors.rules}
    for argument, expected in fields.items():
        assert expected == _values(waiter, argument), f"{waiter.label}: {argument}"


def _values(waiter: WaiterDefinition, argument: str) -> set[str]:
    output = MODELS.get(waiter.service).operation_model(waiter.operation).output_shape
    shape = Walk().result(compiled(argument).parsed, output)
    leaf = shape.member if isinstance(shape, ListShape) else shape
    if leaf is not None and leaf.enum:
        return set(leaf.enum)
    listed = known_states().get(f"{waiter.service}.{waiter.operation}.{argument}")
    assert listed, f"{argument} is a plain string: list its values in states.json"
    return set(listed)


# Airflow's provider 9.39.0. Its neptune_analytics.json is a file of neptune-graph that it never finds.
AIRFLOWS = {
    "appflow": "run_complete",
    "athena": "query_complete calculation_complete session_idle",
    "batch": "batch_job_complete compute_env_ready",
    "bedrock": "model_customization_job_complete provisioned_model_throughput_complete batch_inference_complete "
    "batch_inference_scheduled",
    "bedrock-agent": "knowledge_base_active ingestion_job_complete",
    "bedrock-agentcore-control": "agent_runtime_ready agent_runtime_deleted",
    "comprehend": "pii_entities_detection_job_complete create_document_classifier_complete "
    "document_classifier_deletable",
    "databrew": "job_complete",
    "datazone": "notebook_run_complete",
    "dms": "replication_deprovisioned replication_terminal_status replication_complete replication_config_deleted "
    "replication_stopped replication_task_modified table_reload_complete table_validation_complete",
    "dynamodb": "export_table import_table",
    "ecs": "cluster_active cluster_inactive",
    "eks": "all_nodegroups_deleted",
    "emr": "notebook_running notebook_stopped job_flow_waiting job_flow_terminated step_wait_for_terminal "
    "steps_wait_for_terminal",
    "emr-containers": "container_job_complete",
    "emr-serverless": "no_job_running serverless_app_created serverless_app_started serverless_app_stopped "
    "serverless_app_terminated serverless_app_deleted serverless_job_completed serverless_job_running "
    "serverless_session_ready serverless_session_terminated",
    "glue": "job_complete crawler_ready data_quality_ruleset_evaluation_run_complete "
    "data_quality_rule_recommendation_run_complete",
    "kinesisanalyticsv2": "application_start_complete application_stop_complete",
    "mwaa": "mwaa_dag_run_complete mwaa_task_complete",
    "neptune": "cluster_available cluster_stopped",
    "neptune-graph": "import_task_cancelled",
    "opensearchserverless": "collection_available",
    "quicksight": "ingestion_complete",
    "rds": "db_instance_stopped db_cluster_stopped",
    "redshift": "cluster_paused cluster_resumed cluster_deletable",
    "sagemaker": "TrainingJobComplete TransformJobComplete ProcessingJobComplete TuningJobComplete "
    "PipelineExecutionComplete PipelineExecutionStopped",
    "stepfunctions": "step_function_succeeded",
}  # fmt: skip


def test_all_74_waits_of_airflow_are_there_under_its_names() -> None:
    waiters = Waiters((), MODELS)
    names = [(service, name) for service, names in AIRFLOWS.items() for name in names.split()]
    assert len(names) == 74
    for service, name in names:
        assert waiters.find(service, name).source == "shipped"
        assert waiters.find(service, name) is waiters.find(service, xform_name(name))


@pytest.mark.parametrize(("service", "ours", "airflows"), [
    ("batch", "job_complete", "batch_job_complete"),
    ("batch", "compute_environment_ready", "compute_env_ready"),
    ("emr", "step_complete", "step_wait_for_terminal"),
    ("emr", "steps_complete", "steps_wait_for_terminal"),
    ("emr-containers", "job_complete", "container_job_complete"),
    ("emr-serverless", "job_complete", "serverless_job_completed"),
    ("emr-serverless", "serverless_app_terminated", "serverless_app_deleted"),
    ("stepfunctions", "execution_complete", "step_function_succeeded"),
])  # fmt: skip
def test_two_names_of_one_wait_decide_alike(service: str, ours: str, airflows: str) -> None:
    one, other = (Waiters((), MODELS).find(service, name) for name in (ours, airflows))
    assert (one.operation, one.delay, one.max_attempts) == (other.operation, other.delay, other.max_attempts)
    assert one.acceptors.rules == other.acceptors.rules


@pytest.mark.parametrize(("service", "names"), [
    ("ecs", "tasks_stopped"),
    ("eks", "cluster_active cluster_deleted nodegroup_active fargate_profile_active"),
    ("emr", "step_complete"),
    ("lambda", "function_active_v2"),
    ("neptune", "db_instance_available"),
    ("neptune-graph", "import_task_successful import_task_cancelled"),
    ("rds", "db_cluster_available db_instance_available"),
    ("redshift", "cluster_available"),
    ("sagemaker", "endpoint_in_service"),
])  # fmt: skip
def test_botocores_waiters_that_overlook_a_final_status_stand_behind_ours(service: str, names: str) -> None:
    """Where botocore's waiter decides, ours says the same; it only knows more."""
    for name in names.split():
        ours = Waiters((), MODELS).find(service, name)
        raw = next(raw for known, raw in MODELS.waiters(service).items() if xform_name(known) == name)
        theirs = compile_waiter(MODELS, service, name, raw, source="botocore", file=None)
        assert ours.source == "shipped"
        assert ours.operation == theirs.operation
        stated = {(rule.argument, rule.expected): rule.state for rule in ours.acceptors.rules}
        for rule in theirs.acceptors.rules:
            if isinstance(rule.expected, str):
                assert stated[(rule.argument, rule.expected)] == rule.state, f"{ours.label}: {rule}"


def _decide(service: str, name: str, response: dict[str, object], **parameters: str) -> str | None:
    found = Waiters((), MODELS).get(service, name, parameters=parameters or None).acceptors.decide(response)
    return found.state if found else None


def _error(code: str, status: int = 400) -> dict[str, object]:
    return {"Error": {"Code": code, "Message": ""}, "ResponseMetadata": {"HTTPStatusCode": status}}


def _listed(name: str, field: str, *values: str) -> dict[str, object]:
    return {name: [{field: value} for value in values]}


def _replication(status: str, provision: str) -> dict[str, object]:
    return {"Replications": [{"Status": status, "ProvisionData": {"ProvisionState": provision}}]}


_KEY_IS_BACK = "inaccessible-encryption-credentials-recoverable"


def _broken_cluster(nodes: int) -> dict[str, object]:
    return {"Clusters": [{"ClusterStatus": "hardware-failure", "NumberOfNodes": nodes}]}


def _tasks(status: str) -> dict[str, object]:
    """One task, and one that ECS does not know."""
    return {"tasks": [{"lastStatus": status}], "failures": [{"reason": "MISSING"}]}


@pytest.mark.parametrize(("service", "name", "response", "state"), [
    ("stepfunctions", "execution_complete", {"status": "TIMED_OUT"}, "failure"),
    ("glue", "job_complete", {"JobRun": {"JobRunState": "EXPIRED"}}, "failure"),
    ("glue", "job_complete", {"JobRun": {"JobRunState": "ERROR"}}, "failure"),
    ("glue", "crawler_ready", {"Crawler": {"State": "READY", "LastCrawl": {"Status": "FAILED"}}}, "failure"),
    ("glue", "crawler_ready", {"Crawler": {"State": "RUNNING", "LastCrawl": {"Status": "FAILED"}}}, "retry"),
    ("glue", "crawler_ready", {"Crawler": {"State": "READY"}}, "success"),
    ("batch", "job_complete", {"jobs": [{"status": "SUCCEEDED"}, {"status": "FAILED"}]}, "failure"),
    ("batch", "job_complete", {"jobs": [{"status": "SUCCEEDED"}, {"status": "RUNNING"}]}, "retry"),
    ("batch", "job_complete", {"jobs": []}, None),
    ("redshift", "cluster_paused", {"Clusters": [{"ClusterStatus": "available"}]}, "retry"),
    ("redshift", "cluster_paused", {"Clusters": [{"ClusterStatus": "deleting"}]}, "failure"),
    # a node of several is replaced, a single one is lost
    ("redshift", "cluster_paused", _broken_cluster(nodes=1), "failure"),
    ("redshift", "cluster_resumed", _broken_cluster(nodes=1), "failure"),
    ("redshift", "cluster_resumed", _broken_cluster(nodes=2), "retry"),
    ("redshift", "cluster_available", _broken_cluster(nodes=2), "retry"),
    ("redshift", "cluster_paused", {"Error": {"Code": "ClusterNotFound"}}, "failure"),
    ("redshift", "cluster_resumed", {"Clusters": [{"ClusterStatus": "paused"}]}, "retry"),
    ("redshift", "cluster_resumed", {"Clusters": [{"ClusterStatus": "available, prep-for-resize"}]}, "success"),
    ("emr", "step_complete", {"Step": {"Status": {"State": "INTERRUPTED"}}}, "failure"),
    ("ecs", "cluster_inactive", {"clusters": [], "failures": [{"reason": "MISSING"}]}, "success"),
    # DataBrew FAILED is reported as success
    ("databrew", "job_complete", {"State": "FAILED"}, "failure"),
    ("databrew", "job_complete", {"State": "TIMEOUT"}, "failure"),
    ("databrew", "job_complete", {"State": "STOPPED"}, "failure"),
    # final, and waited for to the end
    ("sagemaker", "PipelineExecutionComplete", {"PipelineExecutionStatus": "CompletedWithFailures"}, "failure"),
    ("sagemaker", "PipelineExecutionStopped", {"PipelineExecutionStatus": "Succeeded"}, "failure"),
    ("sagemaker", "PipelineExecutionStopped", {"PipelineExecutionStatus": "CompletedWithFailures"}, "failure"),
    ("sagemaker", "TuningJobComplete", {"HyperParameterTuningJobStatus": "DeleteFailed"}, "failure"),
    ("sagemaker", "EndpointInService", {"EndpointStatus": "UpdateRollbackFailed"}, "failure"),
    ("bedrock-agent", "ingestion_job_complete", {"ingestionJob": {"status": "STOPPED"}}, "failure"),
    ("bedrock-agent", "knowledge_base_active", {"knowledgeBase": {"status": "DELETE_UNSUCCESSFUL"}}, "failure"),
    ("bedrock-agent", "knowledge_base_active", {"knowledgeBase": {"status": "UPDATE_UNSUCCESSFUL"}}, "failure"),
    ("bedrock-agentcore-control", "agent_runtime_ready", {"status": "DELETE_FAILED"}, "failure"),
    ("bedrock-agentcore-control", "agent_runtime_deleted", {"status": "DELETE_FAILED"}, "failure"),
    ("dms", "replication_stopped", {"Replications": [{"Status": "failed"}]}, "failure"),
    ("opensearchserverless", "collection_available", {"collectionDetails": [{"status": "UPDATE_FAILED"}]}, "failure"),
    ("opensearchserverless", "collection_available",
     {"collectionErrorDetails": [{"errorCode": "NOT_FOUND"}]}, "retry"),
    ("emr", "notebook_running", {"NotebookExecution": {"Status": "STOPPED"}}, "failure"),
    ("ecs", "tasks_stopped", {"tasks": [{"lastStatus": "STOPPED"}, {"lastStatus": "DELETED"}]}, "success"),
    # ECS does not know them yet, right after RunTask; it forgets one of them before the others stop
    ("ecs", "tasks_stopped", {"tasks": [], "failures": [{"reason": "MISSING"}]}, "retry"),
    ("ecs", "tasks_running", {"tasks": [], "failures": [{"reason": "MISSING"}]}, "retry"),
    ("ecs", "tasks_running", _tasks("RUNNING"), "retry"),
    ("ecs", "tasks_running", _tasks("STOPPED"), "failure"),
    ("ecs", "tasks_running", {"tasks": [{"lastStatus": "RUNNING"}, {"lastStatus": "RUNNING"}]}, "success"),
    ("ecs", "tasks_stopped", _tasks("RUNNING"), "retry"),
    ("ecs", "tasks_stopped", _tasks("STOPPED"), "success"),
    ("ecs", "tasks_stopped", {"tasks": [{"lastStatus": "STOPPED"}, {"lastStatus": "DEPROVISIONING"}]}, "retry"),
    ("eks", "nodegroup_active", {"nodegroup": {"status": "DEGRADED"}}, "failure"),
    ("neptune-graph", "import_task_successful", {"status": "DELETED"}, "failure"),
    # past the wanted state
    ("emr-serverless", "serverless_job_running", {"jobRun": {"state": "SUCCESS"}}, "success"),
    ("emr-serverless", "serverless_app_created", {"application": {"state": "STARTED"}}, "success"),
    # stopped after idle time, and shown so right after the call that starts it
    ("emr-serverless", "serverless_app_started", {"application": {"state": "STOPPED"}}, "retry"),
    ("emr-serverless", "serverless_session_ready", {"session": {"state": "BUSY"}}, "success"),
    ("bedrock", "batch_inference_scheduled", {"status": "InProgress"}, "success"),
    # on its way to another state
    ("bedrock", "model_customization_job_complete", {"status": "Stopping"}, "retry"),
    ("kinesisanalyticsv2", "application_start_complete",
     {"ApplicationDetail": {"ApplicationStatus": "MAINTENANCE"}}, "retry"),
    ("neptune-graph", "import_task_cancelled", {"status": "IMPORTING"}, "retry"),
    ("neptune-graph", "import_task_cancelled", {"status": "SUCCEEDED"}, "failure"),
    # what the start call mends, and is still shown right after it
    ("rds", "db_cluster_available", _listed("DBClusters", "Status", _KEY_IS_BACK), "retry"),
    ("rds", "db_instance_available", _listed("DBInstances", "DBInstanceStatus", _KEY_IS_BACK), "retry"),
    ("neptune", "cluster_available", _listed("DBClusters", "Status", _KEY_IS_BACK), "retry"),
    ("rds", "db_cluster_stopped", _listed("DBClusters", "Status", _KEY_IS_BACK), "failure"),
    # a path that is in no answer
    ("rds", "db_cluster_stopped", {"DBClusters": [{"Status": "deleting"}]}, "failure"),
    ("rds", "db_cluster_stopped", {"DBClusters": [{"Status": "inaccessible-encryption-credentials"}]}, "failure"),
    ("rds", "db_cluster_stopped", {"DBClusters": [{"Status": "migration-failed"}]}, "failure"),
    # jobs in the queue, and on the next page
    ("emr-serverless", "no_job_running", {"jobRuns": [{"state": "QUEUED"}]}, "retry"),
    ("emr-serverless", "no_job_running", {"jobRuns": [], "nextToken": "2"}, "retry"),
    ("emr-serverless", "no_job_running", {"jobRuns": [{"state": "SUCCESS"}]}, "success"),
    ("emr-serverless", "no_job_running", {"jobRuns": []}, "success"),
    ("eks", "all_nodegroups_deleted", {"nodegroups": [], "nextToken": "2"}, "retry"),
    ("eks", "all_nodegroups_deleted", {"nodegroups": []}, "success"),
    ("eks", "all_nodegroups_deleted", _error("ResourceNotFoundException"), "success"),
    # an old failed snapshot of the same cluster
    ("redshift", "latest_snapshot_available", _listed("Snapshots", "Status", "available", "failed"), "success"),
    ("redshift", "latest_snapshot_available", _listed("Snapshots", "Status", "creating", "failed"), "retry"),
    ("redshift", "latest_snapshot_available", {"Snapshots": []}, None),
    # no answer yet is no success
    ("ssm", "command_finished", {"Commands": []}, None),
    ("glue", "partition_exists", {"Partitions": []}, "retry"),
    ("glue", "partition_exists", {"Partitions": [{"Values": ["2026"]}]}, "success"),
    # errors
    ("s3", "key_exists", _error("404", 404), "retry"),
    ("s3", "key_exists", _error("403", 403), "failure"),
    ("s3", "key_exists", {"ResponseMetadata": {"HTTPStatusCode": 200}}, "success"),
    ("redshift", "cluster_available", _error("ClusterNotFound", 404), "retry"),
    ("redshift", "cluster_deletable", _error("ClusterNotFound", 404), "success"),
    ("redshift", "cluster_deletable", {"Clusters": [{"ClusterStatus": "storage-full"}]}, "success"),
    ("dms", "replication_config_deleted", _error("ResourceNotFoundFault"), "success"),
    ("bedrock-agentcore-control", "agent_runtime_deleted", _error("ResourceNotFoundException", 404), "success"),
    ("emr-serverless", "serverless_app_terminated", _error("ResourceNotFoundException", 404), "success"),
    ("ec2", "instance_shutting_down", _error("InvalidInstanceID.NotFound"), "success"),
    ("mwaa", "mwaa_dag_run_complete", _error("RestApiServerException"), "retry"),
    # of a remote Airflow
    ("mwaa", "mwaa_task_complete", {"RestApiResponse": {"state": "skipped"}}, "success"),
    ("mwaa", "mwaa_task_complete", {"RestApiResponse": {"state": "upstream_failed"}}, "failure"),
    ("mwaa", "mwaa_task_complete", {"RestApiResponse": {"state": "up_for_retry"}}, "retry"),
    ("mwaa", "mwaa_task_complete", {"RestApiResponse": {"state": None}}, None),
    # DMS: capacity that is being given back, tables of which one failed
    ("dms", "replication_terminal_status", _replication("stopped", "deprovisioning"), "retry"),
    ("dms", "replication_terminal_status", _replication("failed", "deprovisioned"), "success"),
    ("dms", "table_reload_complete", _listed("TableStatistics", "TableState", "Table completed", "Full load"), "retry"),
    ("dms", "table_reload_complete",
     _listed("TableStatistics", "TableState", "Table completed", "Table error"), "failure"),
    # EMR: a cluster that runs steps is up, but not idle
    ("emr", "job_flow_waiting", {"Cluster": {"Status": {"State": "RUNNING"}}}, "success"),
    ("emr", "cluster_idle", {"Cluster": {"Status": {"State": "RUNNING"}}}, "retry"),
])  # fmt: skip
def test_what_others_overlook_is_decided(service: str, name: str, response: dict[str, object], state: str) -> None:
    assert _decide(service, name, response) == state


@pytest.mark.parametrize(("status", "state"), [
    ("Successful", "success"), ("Error", "failure"), ("Canceled", "failure"),
    ("InProgress", "retry"), ("CancelStarted", "retry"),
])  # fmt: skip
def test_a_run_of_a_flow_is_found_among_the_others(status: str, state: str) -> None:
    runs = [{"executionId": "a", "executionStatus": "Error"}, {"executionId": "b", "executionStatus": status}]
    assert _decide("appflow", "run_complete", {"flowExecutions": runs}, EXECUTION_ID="b") == state
    assert _decide("appflow", "run_complete", {"flowExecutions": runs}, EXECUTION_ID="c") is None


@pytest.mark.parametrize("value", ["available", "stopped"])
def test_a_database_still_shows_the_status_from_before_and_is_waited_for(value: str) -> None:
    wanted = {"available": "stopped", "stopped": "available"}[value]
    for service, stem in (("rds", "db_cluster"), ("neptune", "cluster")):
        assert _decide(service, f"{stem}_{wanted}", {"DBClusters": [{"Status": value}]}) == "retry"
    assert _decide("rds", f"db_instance_{wanted}", {"DBInstances": [{"DBInstanceStatus": value}]}) == "retry"
