"""The table of ready-made cancel calls, each row against AWS's own service models, and what it leaves alone."""

from collections.abc import Mapping
from typing import Any

import pytest
from botocore import xform_name
from botocore.exceptions import ClientError
from botocore.loaders import Loader
from botocore.model import ListShape, OperationModel, Shape
from botocore.validate import ParamValidator

from triggerd.aws.waiters import ServiceModels, Waiters
from triggerd.triggers.cancel_calls import CANCEL_CALLS, OVER_CODES, REASON, is_over, ready_made, refusals

MODELS = ServiceModels(Loader())
ROWS = [(service, polled) for service, rows in CANCEL_CALLS.items() for polled in rows]
# The work behind these waits has a ready-made call; the others wait for infrastructure.
WORK = {
    "amplify",
    "athena query_complete", "athena calculation_complete",
    "backup backup_job_complete",
    "batch job_complete", "batch batch_job_complete",
    "bedrock batch_inference_complete", "bedrock batch_inference_scheduled", "bedrock model_customization_job_complete",
    "bedrock evaluation_job_complete",
    "bedrock-agent ingestion_job_complete",
    "cloudformation stack_set_operation_complete", "cloudtrail", "codebuild", "codepipeline",
    "comprehend pii_entities_detection_job_complete",
    "comprehend create_document_classifier_complete", "comprehend document_classifier_deletable",
    "comprehend create_entity_recognizer_complete",
    "comprehend dominant_language_detection_job_complete", "comprehend entities_detection_job_complete",
    "comprehend events_detection_job_complete", "comprehend key_phrases_detection_job_complete",
    "comprehend sentiment_detection_job_complete", "comprehend targeted_sentiment_detection_job_complete",
    "databrew", "dataexchange", "datasync", "datazone",
    "ecs tasks_running", "ecs tasks_stopped",
    "emr step_complete", "emr step_wait_for_terminal", "emr steps_complete", "emr steps_wait_for_terminal",
    "emr notebook_running", "emr notebook_stopped",
    "emr-containers job_complete", "emr-containers container_job_complete",
    "emr-serverless job_complete", "emr-serverless serverless_job_completed", "emr-serverless serverless_job_running",
    "fis", "forecast", "fsx data_repository_task_complete",
    "glue job_complete", "glue crawler_ready",
    "glue workflow_run_complete", "glue statement_complete", "glue ml_task_run_complete",
    "glue data_quality_ruleset_evaluation_run_complete", "glue data_quality_rule_recommendation_run_complete",
    "imagebuilder", "inspector2", "lambda durable_execution_complete", "logs", "mediaconvert",
    "neptune-graph import_task_successful", "neptune-graph import_task_cancelled",
    "omics run_completed", "personalize solution_version_active",
    "quicksight ingestion_complete", "rds export_task_complete", "redshift-data",
    "sagemaker training_job_complete", "sagemaker processing_job_complete", "sagemaker transform_job_complete",
    "sagemaker tuning_job_complete", "sagemaker pipeline_execution_complete", "sagemaker pipeline_execution_stopped",
    "sagemaker auto_ml_job_complete", "sagemaker auto_ml_job_v2_complete", "sagemaker labeling_job_complete",
    "sagemaker compilation_job_complete", "sagemaker optimization_job_complete",
    "sagemaker edge_packaging_job_complete", "sagemaker inference_recommendations_job_complete",
    "ssm command_finished", "ssm automation_execution_complete", "ssm maintenance_window_execution_complete",
    "stepfunctions execution_complete", "stepfunctions step_function_succeeded",
    "translate text_translation_job_complete",
}  # fmt: skip


def _sample(shape: Shape) -> Any:
    """The least that a parameter of this shape can be."""
    if isinstance(shape, ListShape):
        return [_sample(shape.member), _sample(shape.member)]
    if shape.type_name == "integer":
        return shape.metadata.get("min", 1)
    assert shape.type_name == "string", "an id is expected"
    return (shape.enum or ["x" * shape.metadata.get("min", 1)])[0]


def _polled(service: str, operation: str) -> tuple[OperationModel, dict[str, Any]]:
    """The polled operation, and what a wait gives it: what it requires, and what the cancel call reads."""
    model = MODELS.get(service).operation_model(operation)
    row = CANCEL_CALLS[service][operation][1]
    read = {(word.rpartition("=")[2] or word).strip("[]*?") for word in row.split() if not word.endswith("!")}
    members = model.input_shape.members
    return model, {name: _sample(members[name]) for name in {*model.input_shape.required_members, *read}}


def _operation(service: str, method: str) -> OperationModel:
    model = MODELS.get(service)
    (name,) = [name for name in model.operation_names if xform_name(name) == method]
    return model.operation_model(name)


@pytest.mark.parametrize(("service", "polled"), ROWS)
def test_each_call_is_one_that_aws_knows_with_parameters_that_it_takes(service: str, polled: str) -> None:
    model, arguments = _polled(service, polled)
    assert not ParamValidator().validate(arguments, model.input_shape).has_errors()
    calls = ready_made(service, polled, arguments)
    assert calls
    for method, parameters in calls:
        stop = _operation(service, method)
        assert stop.name.startswith(("Stop", "Cancel", "BatchStop")) or stop.name == "TerminateJob"
        # What the client fills in by itself: a token that makes the call idempotent.
        tokens = dict.fromkeys(stop.idempotent_members, "t" * 40)
        report = ParamValidator().validate({**tokens, **parameters}, stop.input_shape)
        assert not report.has_errors(), report.generate_report()


def test_the_calls_of_the_issue() -> None:
    glue = {"JobName": "etl", "RunId": "jr_1", "PredecessorsIncluded": True}
    assert ready_made("glue", "GetJobRun", glue) == [("batch_stop_job_run", {"JobName": "etl", "JobRunIds": ["jr_1"]})]
    assert ready_made("ecs", "DescribeTasks", {"cluster": "c", "tasks": ["a", "b"], "include": ["TAGS"]}) == [
        ("stop_task", {"cluster": "c", "task": "a", "reason": REASON}),
        ("stop_task", {"cluster": "c", "task": "b", "reason": REASON}),
    ]
    assert ready_made("ecs", "DescribeTasks", {"tasks": ["a"]}) == [("stop_task", {"task": "a", "reason": REASON})]
    assert ready_made("batch", "DescribeJobs", {"jobs": ["j"]}) == [("terminate_job", {"jobId": "j", "reason": REASON})]
    assert ready_made("emr", "DescribeStep", {"ClusterId": "c", "StepId": "s"}) == [
        ("cancel_steps", {"ClusterId": "c", "StepIds": ["s"]})
    ]


@pytest.mark.parametrize(
    ("service", "operation", "arguments"),
    [
        ("redshift", "DescribeClusters", {"ClusterIdentifier": "dwh"}),
        ("emr", "DescribeCluster", {"ClusterId": "c"}),
        ("emr", "ListSteps", {"ClusterId": "c"}),  # every step of the cluster: not only the wait's own
        ("ec2", "DescribeInstances", {"InstanceIds": ["i-1"]}),
        ("glue", "GetTrigger", {"Name": "nightly"}),
        ("emr-containers", "DescribeManagedEndpoint", {"id": "e", "virtualClusterId": "v"}),
        ("batch", "DescribeJobs", {}),
    ],
)
def test_infrastructure_and_what_is_not_known_by_its_id_is_left_alone(
    service: str, operation: str, arguments: Mapping[str, Any]
) -> None:
    assert ready_made(service, operation, arguments) == []


def test_every_shipped_waiter_is_work_or_infrastructure_on_purpose() -> None:
    shipped = [found for found in Waiters((), MODELS).all() if found.source == "shipped" or found.service == "ecs"]
    stopped = {found.label for found in shipped if found.operation in CANCEL_CALLS.get(found.service, {})}
    work = {found.label for found in shipped if {found.service, f"{found.service} {xform_name(found.name)}"} & WORK}
    assert stopped == work


def test_each_code_for_nothing_left_to_stop_is_one_of_a_service_in_the_table() -> None:
    known = {
        shape.metadata.get("error", {}).get("code", shape.name)
        for service, rows in CANCEL_CALLS.items()
        for method, _ in rows.values()
        for shape in _operation(service, method).error_shapes
    }
    assert known >= OVER_CODES


@pytest.mark.parametrize(
    ("code", "message", "over"),
    [
        ("CrawlerNotRunningException", "Crawler with name nightly isn't running", True),
        ("ValidationException", "The request was rejected because the training job is in status Stopped.", True),
        ("ValidationException", "Could not cancel a query that is already in ABORTED state with ID: q", True),
        ("ValidationException", "Job run 1 is not in a cancellable state", True),
        ("AccessDeniedException", "not you", False),
        ("EntityNotFoundException", "no such crawler", False),
    ],
)
def test_that_it_was_over_already_is_told_from_an_error(code: str, message: str, over: bool) -> None:
    assert is_over(ClientError({"Error": {"Code": code, "Message": message}}, "Stop")) is over
    assert not is_over(OSError("away"))


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"SuccessfulSubmissions": [{"JobRunId": "jr"}], "Errors": []}, []),
        ({"Errors": [{"JobRunId": "jr", "ErrorDetail": {"ErrorCode": "X", "ErrorMessage": "m"}}]}, ["jr: X: m"]),
        ({"CancelStepsInfoList": [{"StepId": "s", "Status": "SUBMITTED"}]}, []),
        ({"CancelStepsInfoList": [{"StepId": "s", "Status": "FAILED", "Reason": "running"}]}, ["s: running"]),
        ({"Status": True}, []),
        ({"Status": False}, ["AWS did not stop it"]),
        ({"success": False}, ["AWS did not stop it"]),
        ({}, []),
    ],
)
def test_an_answer_that_says_no_is_a_refusal(answer: Mapping[str, Any], said: list[str]) -> None:
    assert list(refusals(answer)) == said
