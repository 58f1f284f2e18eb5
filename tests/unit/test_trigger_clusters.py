"""Promises of the EC2, EKS, Redshift, MWAA, EMR Serverless, DMS and DataZone triggers that need no AWS."""

import sys
from typing import Any

import pytest

from triggerd.testing import round_trip
from triggerd.triggers.datazone import SageMakerUnifiedStudioNotebookTrigger
from triggerd.triggers.dms import DmsTableReloadCompleteTrigger
from triggerd.triggers.ec2 import EC2StateSensorTrigger
from triggerd.triggers.eks import EksCreateClusterTrigger, EksDeleteClusterTrigger
from triggerd.triggers.emr_serverless import (
    EmrServerlessCancelJobsTrigger,
    EmrServerlessJobSensorTrigger,
    EmrServerlessStartJobTrigger,
)
from triggerd.triggers.mwaa import MwaaDagRunCompletedTrigger, MwaaTaskCompletedTrigger
from triggerd.triggers.redshift_cluster import RedshiftClusterTrigger
from triggerd.triggers.redshift_data import RedshiftDataTrigger

TABLES = [{"SchemaName": "public", "TableName": "a"}]
STATES = {"success_states": ["success", "skipped"], "failure_states": ["failed"]}
# Each class with the arguments that it needs, and some that are not its defaults.
CLASSES: list[tuple[Any, dict[str, Any], dict[str, Any]]] = [
    (EC2StateSensorTrigger, {"instance_id": "i-1", "target_state": "running"}, {}),
    (EksCreateClusterTrigger, {"cluster_name": "c"}, {}),
    (EksDeleteClusterTrigger, {"cluster_name": "c"}, {"force_delete_compute": True}),
    (RedshiftClusterTrigger, {"cluster_identifier": "dwh", "target_status": "paused"}, {}),
    (RedshiftDataTrigger, {"statement_id": "s"}, {"task_id": "load", "cancel_on_kill": False}),
    (
        MwaaDagRunCompletedTrigger,
        {"external_env_name": "prod", "external_dag_id": "etl", "external_dag_run_id": "r"},
        STATES,
    ),
    (
        MwaaTaskCompletedTrigger,
        {"external_env_name": "prod", "external_dag_id": "etl", "external_task_id": "load"},
        {"external_dag_run_id": "r", **STATES},
    ),
    (EmrServerlessJobSensorTrigger, {"application_id": "a", "job_run_id": "j", "target_states": {"SUCCESS"}}, {}),
    (EmrServerlessStartJobTrigger, {"application_id": "a", "job_id": "j"}, {"cancel_on_kill": False}),
    (EmrServerlessCancelJobsTrigger, {"application_id": "a"}, {}),
    (
        DmsTableReloadCompleteTrigger,
        {"replication_task_arn": "arn", "tables_to_reload": TABLES},
        {"reload_option": "validate-only"},
    ),
    (
        SageMakerUnifiedStudioNotebookTrigger,
        {"notebook_run_id": "n", "domain_identifier": "d"},
        {"owning_project_identifier": "p", "timeout_configuration": {"runTimeoutInMinutes": 30}},
    ),
]
NEEDED = [(kind, needed) for kind, needed, _ in CLASSES]


def _name(value: object) -> str | None:
    return value.__name__ if isinstance(value, type) else ""


def _plain(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Collections of texts in order: a set has none."""
    return {name: sorted(value) if name.endswith("_states") else value for name, value in kwargs.items()}


@pytest.mark.parametrize(("kind", "needed"), NEEDED, ids=_name)
def test_arguments_that_equal_their_defaults_are_left_out(kind: Any, needed: dict[str, Any]) -> None:
    classpath, kwargs = kind(**needed).serialize()
    assert classpath == f"{kind.__module__}.{kind.__qualname__}"
    assert _plain(kwargs) == _plain(needed)


@pytest.mark.parametrize(("kind", "needed", "others"), CLASSES, ids=_name)
def test_every_argument_survives_the_wire(kind: Any, needed: dict[str, Any], others: dict[str, Any]) -> None:
    pace = {} if kind is SageMakerUnifiedStudioNotebookTrigger else {"max_attempts": 7}
    kwargs = {**needed, **others, **pace, "delay": 3, "connection": "prod", "region": "eu-west-1"}
    trigger = kind(**kwargs)
    moved = round_trip(trigger)
    assert _plain(trigger.serialize()[1]) == _plain(moved.serialize()[1]) == _plain(kwargs)
    assert vars(moved) == vars(trigger)


@pytest.mark.parametrize(("kind", "needed"), NEEDED, ids=_name)
@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"delay": 0}, ValueError, "above 0"),
        ({"delay": "30"}, TypeError, "number of seconds"),
        ({"max_attempts": 0}, ValueError, "at least 1"),
        ({"max_attempts": "7"}, TypeError, "whole number"),
        ({"connection": ""}, ValueError, "connection must not be empty"),
        ({"region": 5}, TypeError, "region must be a string"),
    ],
)
def test_an_argument_that_cannot_work_is_refused_at_once(
    kind: Any, needed: dict[str, Any], change: dict[str, Any], error: type[Exception], said: str
) -> None:
    if kind is SageMakerUnifiedStudioNotebookTrigger and "max_attempts" in change:
        return  # its timeout is the budget
    with pytest.raises(error, match=said):
        kind(**needed, **change)


@pytest.mark.parametrize(("kind", "needed"), NEEDED, ids=_name)
def test_what_is_no_text_is_refused_by_its_name(kind: Any, needed: dict[str, Any]) -> None:
    for name in needed:
        for value in (5, "", None):
            with pytest.raises((TypeError, ValueError), match=name):
                kind(**{**needed, name: value})


SENSOR, RELOAD = (EmrServerlessJobSensorTrigger, "a", "j"), (DmsTableReloadCompleteTrigger, "arn")


@pytest.mark.parametrize(
    ("call", "change", "said"),
    [
        ((EC2StateSensorTrigger, "i-1", "runing"), {}, "target_state 'runing': must be one of pending, running"),
        ((RedshiftDataTrigger, "s"), {"cancel_on_kill": "false"}, "cancel_on_kill must be True or False"),
        ((EksDeleteClusterTrigger, "c"), {"force_delete_compute": 1}, "force_delete_compute must be True or False"),
        ((*SENSOR, "SUCCESS"), {}, "target_states must be a list of texts"),
        ((*SENSOR, []), {}, "target_states must have 1 to 50 members"),
        ((*SENSOR, [1]), {}, "target_states must be a string"),
        ((*SENSOR, iter(["SUCCESS"])), {}, "target_states must be a list"),
        ((*SENSOR, [*map(str, range(99))]), {}, "1 to 50 members, not 99"),
        ((*RELOAD, []), {}, "a list of 1 to 100 tables"),
        ((*RELOAD, TABLES * 101), {}, "a list of 1 to 100 tables"),
        ((*RELOAD, [{"SchemaName": "s"}]), {}, "tables_to_reload: TableName must be"),
        ((*RELOAD, ["s.t"]), {}, "tables_to_reload must be a dict"),
        ((*RELOAD, TABLES, "reload"), {}, "reload_option 'reload': must be one of"),
        ((*RELOAD, "x" * 9_999), {}, "not 'x{99}$"),
        ((*RELOAD, TABLES, ["data-reload"]), {}, "reload_option \\['data-reload'\\]: must be one of"),
        ((SageMakerUnifiedStudioNotebookTrigger, "n", "d", ["p"]), {}, "owning_project_identifier must be a string"),
        ((MwaaTaskCompletedTrigger, "e", "d", "t", 5), {}, "external_dag_run_id must be a string"),
        (
            (SageMakerUnifiedStudioNotebookTrigger, "n", "d"),
            {"timeout_configuration": {"runTimeoutInMinutes": -1}},
            "runTimeoutInMinutes = -1: must be above 0",
        ),
    ],
)
def test_an_argument_of_one_class_is_refused_by_its_name(call: tuple[Any, ...], change: Any, said: str) -> None:
    kind, *arguments = call
    with pytest.raises((TypeError, ValueError), match=said):
        kind(*arguments, **change)


@pytest.mark.parametrize("kind", [EC2StateSensorTrigger, RedshiftClusterTrigger, RedshiftDataTrigger])
def test_what_airflow_polls_without_a_limit_ends_with_the_deadline_alone(kind: Any) -> None:
    arguments = next(needed for known, needed in NEEDED if known is kind)
    assert kind(**arguments).max_attempts == kind(**arguments, max_attempts=None).max_attempts == sys.maxsize
    assert "max_attempts" not in kind(**arguments, max_attempts=None).serialize()[1]


@pytest.mark.parametrize(("kind", "needed"), NEEDED, ids=_name)
def test_the_acceptors_of_equal_waits_are_kept_once(kind: Any, needed: dict[str, Any]) -> None:
    one, other = kind(**needed), kind(**needed)
    assert getattr(one, "acceptors", None) is getattr(other, "acceptors", None)


def _run(**states: Any) -> MwaaDagRunCompletedTrigger:
    return MwaaDagRunCompletedTrigger("e", "d", "r", **states)


@pytest.mark.parametrize(
    ("states", "said"),
    [
        ({"success_states": ["failed"], "failure_states": {"failed", "queued"}}, "both have failed"),
        ({"failure_states": ["success"]}, "success_states: none is left"),
        ({"success_states": "success"}, "success_states must be a list"),
        ({"failure_states": [None]}, "failure_states must be a string"),
    ],
)
def test_states_that_contradict_each_other_are_refused(states: dict[str, Any], said: str) -> None:
    with pytest.raises((TypeError, ValueError), match=said):
        _run(**states)


def test_a_set_of_states_is_one_whatever_its_order() -> None:
    one, other = _run(success_states={"a", "b", "c"}), _run(success_states=("c", "b", "a", "a"))
    assert one.serialize() == other.serialize()


@pytest.mark.parametrize(
    ("run_id", "path"),
    [
        ("scheduled__2026-11-24T08:00:00+00:00", "/dags/d/dagRuns/scheduled__2026-11-24T08:00:00+00:00"),
        ("../../variables?x#y", "/dags/d/dagRuns/..%2F..%2Fvariables%3Fx%23y"),
        ("a b/ü", "/dags/d/dagRuns/a%20b%2F%C3%BC"),
    ],
)
def test_an_id_is_one_segment_of_the_path_whatever_is_in_it(run_id: str, path: str) -> None:
    assert MwaaDagRunCompletedTrigger("e", "d", run_id).waiter_args["Path"] == path


@pytest.mark.parametrize("change", [{"timeout_configuration": {"runTimeoutInMinutes": 1e308}}, {"delay": 1e-308}])
def test_a_timeout_without_end_is_an_endless_budget(change: dict[str, Any]) -> None:
    assert SageMakerUnifiedStudioNotebookTrigger("n", "d", **change).max_attempts == sys.maxsize
