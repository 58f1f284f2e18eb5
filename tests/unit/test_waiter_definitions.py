"""Promises about the definitions in `waiters/`: every status value is covered on purpose, and none is a typo."""

from pathlib import Path

import pytest
from botocore.loaders import Loader
from botocore.model import ListShape

from triggerd.aws.acceptors import PATH_MATCHERS, compiled
from triggerd.aws.checks import check_file, known_states
from triggerd.aws.waiters import ServiceModels, WaiterDefinition, Waiters
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
    assert fields
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


def test_the_waiters_of_the_issue_are_there_under_airflows_names_and_ours() -> None:
    waiters = Waiters((), MODELS)
    for service, names in {
        "redshift": "cluster_paused cluster_resumed",
        "glue": "job_complete crawler_ready",
        "emr": "job_flow_waiting job_flow_terminated step_wait_for_terminal steps_wait_for_terminal step_complete",
        "athena": "query_complete",
        "batch": "batch_job_complete job_complete compute_env_ready",
        "stepfunctions": "step_function_succeeded execution_complete",
        "sagemaker": "TrainingJobComplete training_job_complete ProcessingJobComplete TransformJobComplete "
        "TuningJobComplete tuning_job_complete",
        "ecs": "cluster_active cluster_inactive",
    }.items():
        for name in names.split():
            assert waiters.get(service, name).source == "shipped"


def _decide(service: str, name: str, response: dict[str, object]) -> str | None:
    found = Waiters((), MODELS).get(service, name).acceptors.decide(response)
    return found.state if found else None


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
    ("redshift", "cluster_paused", {"Clusters": [{"ClusterStatus": "hardware-failure"}]}, "failure"),
    ("redshift", "cluster_paused", {"Error": {"Code": "ClusterNotFound"}}, "failure"),
    ("redshift", "cluster_resumed", {"Clusters": [{"ClusterStatus": "paused"}]}, "retry"),
    ("redshift", "cluster_resumed", {"Clusters": [{"ClusterStatus": "available, prep-for-resize"}]}, "success"),
    ("emr", "step_complete", {"Step": {"Status": {"State": "INTERRUPTED"}}}, "failure"),
    ("ecs", "cluster_inactive", {"clusters": [], "failures": [{"reason": "MISSING"}]}, "success"),
])  # fmt: skip
def test_what_others_overlook_is_decided(service: str, name: str, response: dict[str, object], state: str) -> None:
    assert _decide(service, name, response) == state
