"""Promises of the EC2, Redshift, MWAA, EMR Serverless, DMS and DataZone triggers, on a scripted AWS."""

from collections.abc import Sequence
from typing import Any

import pytest

from tests.support.fake_aws import FakeAws, Fault, Scripted
from triggerd.aws.local import open_aws
from triggerd.event import Event
from triggerd.testing import LocalContext, run_trigger
from triggerd.trigger import BaseTrigger
from triggerd.triggers.datazone import SageMakerUnifiedStudioNotebookTrigger
from triggerd.triggers.dms import DmsTableReloadCompleteTrigger
from triggerd.triggers.ec2 import EC2StateSensorTrigger
from triggerd.triggers.emr_serverless import (
    EmrServerlessCancelJobsTrigger,
    EmrServerlessJobSensorTrigger,
    EmrServerlessStartJobTrigger,
)
from triggerd.triggers.mwaa import MwaaDagRunCompletedTrigger, MwaaTaskCompletedTrigger
from triggerd.triggers.redshift_cluster import RedshiftClusterTrigger
from triggerd.triggers.redshift_data import RedshiftDataTrigger

THROTTLE, OUTAGE = Fault("ThrottlingException"), Fault("InternalServerError", status=500)
PACE: dict[str, Any] = {"delay": 0.02}
MET = {"status": "success", "message": "target state met"}


async def _fired(fake: FakeAws, trigger: BaseTrigger, **options: Any) -> Event:
    settings = fake.settings(connection={"botocore": {"inject_host_prefix": False}})  # 127.0.0.1 has no env.127.0.0.1
    async with open_aws(settings) as aws:
        return await run_trigger(trigger, aws=aws, timeout=20, **options)


async def _answered(service: str, operation: str, answers: Sequence[Scripted], trigger: BaseTrigger) -> Event:
    async with FakeAws(service) as fake:
        fake.script(operation, *answers)
        event = await _fired(fake, trigger)
        assert all(seen.params.get("Method") == "GET" for seen in fake.mutations)  # of the REST API
        return event


# --- EC2 --------------------------------------------------------------------------------------------------------


def _instance(state: str) -> dict[str, Any]:
    return {"Reservations": [{"Instances": [{"InstanceId": "i-1", "State": {"Name": state}}]}]}


UNKNOWN = Fault("InvalidInstanceID.NotFound", "The instance ID 'i-1' does not exist")
NOBODY: dict[str, Any] = {"Reservations": []}


@pytest.mark.parametrize(
    ("target", "answers"),
    [
        ("running", ["stopping", "stopped", "pending", "running"]),
        ("stopped", ["running", "stopping", "stopped"]),
        ("terminated", ["running", "shutting-down", "terminated"]),
        ("pending", ["stopped", "running"]),
        ("stopping", ["running", "stopped"]),
        ("shutting-down", ["running", "terminated"]),
    ],
)
async def test_an_instance_comes_to_its_state_or_to_the_one_that_hides_it(target: str, answers: list[str]) -> None:
    event = await _answered(
        "ec2", "DescribeInstances", [*map(_instance, answers)], EC2StateSensorTrigger("i-1", target, **PACE)
    )
    assert event.payload == MET
    assert event.details["last_status"] == answers[-1]
    assert event.details["polls"] == len(answers)


@pytest.mark.parametrize("target", ["pending", "running", "stopping", "stopped"])
@pytest.mark.parametrize("end", ["shutting-down", "terminated"])
async def test_an_instance_that_is_terminated_ends_the_wait_where_airflow_polls_for_ever(target: str, end: str) -> None:
    event = await _answered(
        "ec2", "DescribeInstances", [_instance("stopping"), _instance(end)][target == "stopping" :],
        EC2StateSensorTrigger("i-1", target, **PACE),
    )  # fmt: skip
    assert event.outcome == "failed"
    assert event.error is not None
    assert end in event.error.message


async def test_an_instance_that_ec2_does_not_know_yet_is_waited_for() -> None:
    def answer(params: dict[str, Any]) -> Any:
        known = len(asked) > 2
        asked.append(params)
        if "InstanceIds" in params:
            return _instance("running") if known else UNKNOWN
        return _instance("running") if known else NOBODY

    asked: list[Any] = []
    event = await _answered("ec2", "DescribeInstances", [answer], EC2StateSensorTrigger("i-1", "running", **PACE))
    assert event.payload == MET


async def test_an_instance_that_only_a_part_of_ec2_knows_yet_is_waited_for() -> None:
    answers: list[Scripted] = [UNKNOWN, _instance("pending"), UNKNOWN, _instance("pending"), _instance("running")]
    event = await _answered("ec2", "DescribeInstances", answers, EC2StateSensorTrigger("i-1", "running", **PACE))
    assert event.payload == MET


async def test_an_id_that_stays_unknown_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("triggerd.triggers.ec2._APPEARS_ATTEMPTS", 3)
    event = await _answered(
        "ec2", "DescribeInstances", [lambda asked: UNKNOWN if "InstanceIds" in asked else NOBODY],
        EC2StateSensorTrigger("i-1", "running", **PACE),
    )  # fmt: skip
    assert event.outcome == "failed"
    assert event.error is not None
    assert "InvalidInstanceID.NotFound" in event.error.message


@pytest.mark.parametrize(("target", "outcome"), [("terminated", "fired"), ("running", "failed")])
async def test_an_instance_that_was_seen_and_is_unknown_now_has_been_terminated(target: str, outcome: str) -> None:
    def answer(params: dict[str, Any]) -> Any:
        asked.append(params)
        return _instance("stopped") if len(asked) == 1 else UNKNOWN if "InstanceIds" in params else NOBODY

    asked: list[Any] = []
    event = await _answered("ec2", "DescribeInstances", [answer], EC2StateSensorTrigger("i-1", target, **PACE))
    assert event.outcome == outcome


async def test_throttles_and_outages_do_not_end_an_ec2_wait_as_they_do_in_airflow() -> None:
    throttle = Fault("RequestLimitExceeded", status=503)
    answers: list[Scripted] = [throttle, OUTAGE, _instance("running")]
    event = await _answered("ec2", "DescribeInstances", answers, EC2StateSensorTrigger("i-1", "running", **PACE))
    assert event.payload == MET


async def test_a_hand_loop_has_a_budget_where_one_is_given() -> None:
    trigger = EC2StateSensorTrigger("i-1", "running", delay=0.02, max_attempts=3)
    event = await _answered("ec2", "DescribeInstances", [_instance("stopped")], trigger)
    assert event.outcome == "failed"
    assert event.error is not None
    assert event.error.code == "waiter_exhausted"


# --- Redshift clusters ------------------------------------------------------------------------------------------

CLUSTER_GONE = Fault("ClusterNotFound", "Cluster dwh not found.", status=404)


def _cluster(status: str, nodes: int = 2) -> dict[str, Any]:
    return {"Clusters": [{"ClusterIdentifier": "dwh", "ClusterStatus": status, "NumberOfNodes": nodes}]}


@pytest.mark.parametrize(
    ("target", "answers"),
    [
        ("available", [_cluster("paused"), _cluster("resuming"), _cluster("available")]),
        ("available", [_cluster("available, resize-cleanup")]),
        ("available", [_cluster("hardware-failure"), _cluster("available")]),  # one node of two is replaced
        ("hardware-failure", [_cluster("hardware-failure", nodes=1)]),
        ("paused", [_cluster("available"), _cluster("pausing"), _cluster("paused")]),
        ("paused", [Fault("Throttling"), OUTAGE, _cluster("paused")]),
        ("storage-full", [_cluster("storage-full")]),
        ("deleting", [_cluster("final-snapshot"), _cluster("deleting")]),
        ("cluster_not_found", [_cluster("available"), _cluster("deleting"), CLUSTER_GONE]),
    ],
)
async def test_a_cluster_comes_to_its_status(target: str, answers: list[Scripted]) -> None:
    event = await _answered("redshift", "DescribeClusters", answers, RedshiftClusterTrigger("dwh", target, **PACE))
    assert event.payload == MET


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (_cluster("deleting"), "deleting"),
        (_cluster("hardware-failure", nodes=1), "hardware-failure"),
        (CLUSTER_GONE, "ClusterNotFound"),
        (Fault("AccessDenied", "not you"), "not you"),
    ],
)
async def test_a_cluster_that_will_not_come_to_its_status_is_an_error_event(answer: Scripted, said: str) -> None:
    event = await _answered("redshift", "DescribeClusters", [answer], RedshiftClusterTrigger("dwh", "paused", **PACE))
    assert event.payload.keys() == {"status", "message"}
    assert event.payload["status"] == "error"
    assert said in event.payload["message"]


# --- Redshift Data ----------------------------------------------------------------------------------------------

ID = "d9b6c0c9-0747-4bf4-b142-e8883122f766"


def _statement(status: str, **more: Any) -> dict[str, Any]:
    return {"Id": ID, "Status": status, **more}


def _sub(number: int, status: str, **more: Any) -> dict[str, Any]:
    return {"Id": f"{ID}:{number}", "Status": status, **more}


async def _statement_ends(*answers: Scripted, task_id: str | None = None) -> Event:
    return await _answered(
        "redshift-data", "DescribeStatement", [*answers], RedshiftDataTrigger(ID, task_id, delay=0.02)
    )


async def test_a_statement_finishes_however_often_aws_throttles_where_airflow_calls_that_its_error() -> None:
    event = await _statement_ends(
        _statement("SUBMITTED"), THROTTLE, OUTAGE, _statement("STARTED"), _statement("FINISHED")
    )
    assert event.payload == {"status": "success", "statement_id": ID}


@pytest.mark.parametrize("kind", ["FAILED", "ABORTED"])
async def test_a_statement_that_fails_says_what_the_database_said(kind: str) -> None:
    event = await _statement_ends(_statement(kind, Error='relation "x" does not exist'), task_id="load")
    assert event.payload.pop("message") == f'load: statement {ID} {kind}: relation "x" does not exist'
    assert event.payload == {"status": "error", "statement_id": ID, "type": kind}
    assert event.details["last_status"] == kind


async def test_a_batch_that_fails_says_which_statement_did() -> None:
    subs = [_sub(1, "FINISHED"), _sub(2, "FAILED", Error="division by zero"), _sub(3, "ABORTED")]
    event = await _statement_ends(_statement("FAILED", Error="Query #2 failed", SubStatements=subs))
    assert event.payload["message"].endswith(f"FAILED: Query #2 failed; {ID}:2 FAILED: division by zero")
    assert event.payload["type"] == "FAILED"


async def test_a_batch_that_goes_on_past_a_failed_statement_is_no_success() -> None:
    subs = [_sub(1, "FINISHED"), _sub(2, "FAILED", Error="division by zero"), _sub(3, "FINISHED")]
    event = await _statement_ends(_statement("FINISHED", ExecutionMode="AUTO_COMMIT", SubStatements=subs))
    assert (event.payload["status"], event.payload["type"]) == ("error", "FAILED")
    assert event.details["error_type"] == "waiter_failed"


async def test_an_answer_that_is_no_end_of_the_statement_has_no_type() -> None:
    event = await _statement_ends(Fault("ResourceNotFoundException", "Query does not exist."))
    assert event.payload.keys() == {"status", "statement_id", "message"}
    assert "Query does not exist." in event.payload["message"]


@pytest.mark.parametrize("cancels", [True, False])
async def test_a_cancel_stops_the_statement_unless_it_was_told_not_to(cancels: bool) -> None:
    async with FakeAws("redshift-data") as fake, open_aws(fake.settings()) as aws:
        fake.script("CancelStatement", {"Status": True})
        trigger = RedshiftDataTrigger(ID, "load", cancel_on_kill=cancels)
        trigger.context = LocalContext(aws, trigger_id="t", deadline_ms=0, restored=None)
        await trigger.on_cancel()
        assert [seen.params for seen in fake.mutations] == ([{"Id": ID}] if cancels else [])


# --- MWAA -------------------------------------------------------------------------------------------------------

RUN = "manual__2026-11-24T08:00:00+00:00"


def _state(state: str | None) -> dict[str, Any]:
    return {"RestApiStatusCode": 200, "RestApiResponse": {"dag_id": "etl", "state": state}}


def _dag_run(**more: Any) -> MwaaDagRunCompletedTrigger:
    return MwaaDagRunCompletedTrigger("prod", "etl", RUN, **PACE, **more)


def _task(run_id: str | None = RUN, **more: Any) -> MwaaTaskCompletedTrigger:
    return MwaaTaskCompletedTrigger("prod", "etl", "load", run_id, **PACE, **more)


async def test_a_dag_run_is_asked_for_through_the_rest_api_until_it_has_succeeded() -> None:
    restarts = Fault("RestApiServerException", more={"RestApiStatusCode": 503, "RestApiResponse": {}})
    async with FakeAws("mwaa") as fake:
        fake.script("InvokeRestApi", _state("queued"), restarts, THROTTLE, _state("running"), _state("success"))
        event = await _fired(fake, _dag_run())
        assert event.payload == {"status": "success", "dag_run_id": RUN}
        assert event.details["last_status"] == "success"
        assert fake.seen[0].params == {"Name": "prod", "Path": f"/dags/etl/dagRuns/{RUN}", "Method": "GET"}


@pytest.mark.parametrize(
    ("states", "last", "status"),
    [
        ({}, "failed", "error"),
        ({"success_states": {"failed"}}, "failed", "success"),
        ({"success_states": ["running", "queued"]}, "queued", "success"),
        ({"success_states": ["running"], "failure_states": ["queued"]}, "queued", "error"),
        ({"success_states": ["running"], "failure_states": ["queued"]}, "success", "error"),
    ],
)
async def test_the_states_that_are_asked_for_decide_and_no_other_end_is_waited_through(
    states: dict[str, Any], last: str, status: str
) -> None:
    event = await _answered("mwaa", "InvokeRestApi", [_state(last)], _dag_run(**states))
    assert event.payload["status"] == status
    assert event.payload["dag_run_id"] == RUN


async def test_a_dag_run_that_is_not_there_ends_the_wait_with_airflows_own_words() -> None:
    said = {"detail": "DAGRun not found", "status": 404}
    gone = Fault("RestApiClientException", "", more={"RestApiStatusCode": 404, "RestApiResponse": said})
    event = await _answered("mwaa", "InvokeRestApi", [gone], _dag_run())
    assert event.payload.keys() == {"status", "message", "dag_run_id"}
    assert event.payload["message"].endswith("(HTTP 404 from Airflow: DAGRun not found)")
    assert event.details["error_code"] == "RestApiClientException"


@pytest.mark.parametrize(
    ("last", "status"),
    [("success", "success"), ("skipped", "success"), ("failed", "error"), ("upstream_failed", "error"),
     ("removed", "error")],
)  # fmt: skip
async def test_a_task_ends_in_each_of_its_states(last: str, status: str) -> None:
    states = ["scheduled", None, "up_for_retry", "deferred", last]
    event = await _answered("mwaa", "InvokeRestApi", [_state(state) for state in states], _task())
    assert event.payload["status"] == status
    assert event.payload["task_id"] == "load"
    assert event.details["polls"] == len(states)


async def test_a_task_without_a_dag_run_is_one_of_the_latest_and_not_of_a_run_called_none() -> None:
    latest = {"RestApiStatusCode": 200, "RestApiResponse": {"dag_runs": [{"dag_run_id": RUN}], "total_entries": 9}}
    restarts = Fault("RestApiServerException", more={"RestApiStatusCode": 503, "RestApiResponse": {}})
    async with FakeAws("mwaa") as fake:
        fake.script("InvokeRestApi", restarts, latest, _state("running"), _state("success"))
        event = await _fired(fake, _task(None))
        assert event.payload == {"status": "success", "task_id": "load"}
        asked = [seen.params for seen in fake.seen[1:]]
        assert asked[0]["Path"] == "/dags/etl/dagRuns"
        assert asked[0]["QueryParameters"] == {"order_by": "-id", "limit": 1}
        assert {each["Path"] for each in asked[1:]} == {f"/dags/etl/dagRuns/{RUN}/taskInstances/load"}


async def test_a_task_of_the_latest_dag_run_stays_with_it_on_another_daemon() -> None:
    latest = {"RestApiStatusCode": 200, "RestApiResponse": {"dag_runs": [{"dag_run_id": RUN}]}}
    async with (
        FakeAws("mwaa") as fake,
        open_aws(fake.settings(connection={"botocore": {"inject_host_prefix": False}})) as aws,
    ):
        fake.script("InvokeRestApi", latest, _state("running"), _state("success"))
        trigger = _task(None)
        trigger.context = context = LocalContext(aws, trigger_id="t", deadline_ms=0, restored=None)
        assert [event.payload["status"] async for event in trigger.run()] == ["success"]
        assert context.checkpoints[0] == [RUN, None]
        run_id, state = context.checkpoints[-1]
        assert (run_id, state[2:]) == (RUN, [1, "running"])

        fake.script("InvokeRestApi", _state("success"))
        moved = await run_trigger(_task(None), aws=aws, restored=context.checkpoints[-1])
        assert moved.details["polls"] == 2
        assert fake.seen[-1].params["Path"] == f"/dags/etl/dagRuns/{RUN}/taskInstances/load"


async def test_a_dag_that_never_ran_has_no_task_to_wait_for() -> None:
    none = {"RestApiStatusCode": 200, "RestApiResponse": {"dag_runs": [], "total_entries": 0}}
    event = await _answered("mwaa", "InvokeRestApi", [none], _task(None))
    assert event.payload["status"] == "error"
    assert "the DAG etl has no run" in event.payload["message"]


# --- EMR Serverless ---------------------------------------------------------------------------------------------


def _job(state: str, details: str = "") -> dict[str, Any]:
    return {"jobRun": {"applicationId": "app", "jobRunId": "job", "state": state, "stateDetails": details}}


@pytest.mark.parametrize(
    ("targets", "states", "status"),
    [
        ({"SUCCESS"}, ["SUBMITTED", "RUNNING", "SUCCESS"], "success"),
        (["RUNNING"], ["PENDING", "RUNNING"], "success"),
        (["RUNNING"], ["PENDING", "SUCCESS"], "error"),
        (["SUCCESS"], ["CANCELLING"], "error"),
        (["CANCELLED"], ["CANCELLING", "CANCELLED"], "success"),
        (["FAILED", "SUCCESS"], ["RUNNING", "FAILED"], "success"),
        (["SUCCESS"], ["FAILED"], "error"),
    ],
)
async def test_the_sensor_ends_when_the_job_run_is_in_or_past_its_target_where_airflow_never_ends(
    targets: Any, states: list[str], status: str
) -> None:
    trigger = EmrServerlessJobSensorTrigger("app", "job", targets, **PACE)
    event = await _answered("emr-serverless", "GetJobRun", [*map(_job, states)], trigger)
    assert event.payload.pop("message", "") == "" or status == "error"
    assert event.payload == {"status": status, "value": None}


async def test_a_job_run_succeeds() -> None:
    trigger = EmrServerlessStartJobTrigger("app", "job", **PACE)
    event = await _answered("emr-serverless", "GetJobRun", [_job("RUNNING"), THROTTLE, _job("SUCCESS")], trigger)
    assert event.payload == {"status": "success", "job_details": {"application_id": "app", "job_id": "job"}}


async def test_a_job_run_that_fails_says_why() -> None:
    trigger = EmrServerlessStartJobTrigger("app", "job", **PACE)
    event = await _answered("emr-serverless", "GetJobRun", [_job("FAILED", "OOM on driver")], trigger)
    assert event.payload["status"] == "failure"
    assert event.payload.keys() == {"status", "message"}
    assert "OOM on driver" in event.payload["message"]


@pytest.mark.parametrize("cancels", [True, False])
async def test_a_cancel_stops_the_job_run_unless_it_was_told_not_to(cancels: bool) -> None:
    async with FakeAws("emr-serverless") as fake, open_aws(fake.settings()) as aws:
        fake.script("CancelJobRun", {"applicationId": "app", "jobRunId": "job"})
        for trigger in (
            EmrServerlessStartJobTrigger("app", "job", cancel_on_kill=cancels),
            EmrServerlessJobSensorTrigger("app", "job", ["SUCCESS"]),  # a sensor's job is not its own
        ):
            trigger.context = LocalContext(aws, trigger_id="t", deadline_ms=0, restored=None)
            await trigger.on_cancel()
        asked = [seen.params for seen in fake.mutations]
        assert asked == ([{"applicationId": "app", "jobRunId": "job"}] if cancels else [])


async def test_a_queued_job_run_is_under_way_too_which_airflow_overlooks() -> None:
    def answer(params: dict[str, Any]) -> Any:
        asked.append(params)
        return {"jobRuns": [{"id": "job", "state": "QUEUED"}] if len(asked) < 3 else []}

    asked: list[dict[str, Any]] = []
    trigger = EmrServerlessCancelJobsTrigger("app", **PACE)
    event = await _answered("emr-serverless", "ListJobRuns", [answer], trigger)
    assert event.payload == {"status": "success", "application_id": "app"}
    assert "QUEUED" in asked[0]["states"]
    exhausted = EmrServerlessCancelJobsTrigger("app", delay=0.02, max_attempts=2)
    event = await _answered("emr-serverless", "ListJobRuns", [{"jobRuns": [{"state": "RUNNING"}]}], exhausted)
    assert event.payload.keys() == {"status", "message", "application_id"}


# --- DMS --------------------------------------------------------------------------------------------------------

TASK_ARN = "arn:aws:dms:us-east-1:123456789012:task:T"
TABLES = [{"SchemaName": "public", "TableName": name} for name in ("a", "b", "c")]


def _tables(states: dict[str, list[str]], key: str = "TableState") -> Scripted:
    """Each table goes through states of its own."""

    def answer(params: dict[str, Any]) -> Any:
        table = {each["Name"]: each["Values"][0] for each in params["Filters"]}
        left = states[table["table-name"]]
        state = left.pop(0) if len(left) > 1 else left[0]
        return {"TableStatistics": [{"SchemaName": "public", "TableName": table["table-name"], key: state}]}

    return answer


def _reload(**more: Any) -> DmsTableReloadCompleteTrigger:
    return DmsTableReloadCompleteTrigger(TASK_ARN, TABLES, **{**PACE, **more})


async def test_tables_are_waited_for_at_once_and_not_one_after_the_other() -> None:
    busy = "Table is being reloaded"
    states = {name: [busy, busy, busy, "Table completed"] for name in "abc"}
    async with FakeAws("dms") as fake:
        fake.script("DescribeTableStatistics", _tables(states))
        event = await _fired(fake, _reload(delay=0.2, max_attempts=7))  # one after the other takes nine delays
        assert event.payload == {"status": "success", "replication_task_arn": TASK_ARN}
        assert event.details["polls"] == 12
        first = {filters[1]["Values"][0] for filters in (seen.params["Filters"] for seen in fake.seen[:3])}
        assert first == {"a", "b", "c"}


async def test_the_first_table_that_fails_ends_the_wait_and_is_named() -> None:
    states = {"a": ["Full load"], "b": ["Table is being reloaded", "Table error"], "c": ["Before load"]}
    event = await _answered("dms", "DescribeTableStatistics", [_tables(states)], _reload())
    assert event.payload["message"].startswith("table public.b: ")
    assert "Table error" in event.payload.pop("message")
    assert event.payload == {"status": "error", "replication_task_arn": TASK_ARN}
    assert event.details["last_status"] == "Table error"


async def test_tables_whose_names_have_dots_are_told_apart_and_one_that_came_twice_is_one() -> None:
    def answer(params: dict[str, Any]) -> Any:
        schema, table = (each["Values"][0] for each in params["Filters"])
        state = "Table error" if (schema, table) == ("a", "b.c") else "Table completed"
        return {"TableStatistics": [{"SchemaName": schema, "TableName": table, "TableState": state}]}

    tables = [{"SchemaName": "a", "TableName": "b.c"}, {"SchemaName": "a.b", "TableName": "c"}]
    trigger = DmsTableReloadCompleteTrigger(TASK_ARN, [*tables, *tables], **PACE)
    event = await _answered("dms", "DescribeTableStatistics", [answer], trigger)
    assert event.payload["status"] == "error"


async def test_a_validation_is_another_wait() -> None:
    states = {"a": ["Validated"], "b": ["Pending records", "Validated"], "c": ["Validated"]}
    trigger = _reload(reload_option="validate-only")
    event = await _answered("dms", "DescribeTableStatistics", [_tables(states, "ValidationState")], trigger)
    assert event.payload["status"] == "success"
    mismatch = _tables({name: ["Mismatched records"] for name in "abc"}, "ValidationState")
    event = await _answered("dms", "DescribeTableStatistics", [mismatch], trigger)
    assert "Mismatched records" in event.payload["message"]


async def test_a_moved_wait_for_tables_keeps_its_budget() -> None:
    ended = [1_000, 2_000, 7, "Full load"]  # since 1970
    async with FakeAws("dms") as fake:
        fake.script("DescribeTableStatistics", _tables({name: ["Full load"] for name in "abc"}))
        event = await _fired(fake, _reload(delay=30), restored=ended)
        assert event.details["error_type"] == "waiter_exhausted"
        assert event.details["polls"] == 8


# --- DataZone ---------------------------------------------------------------------------------------------------


async def test_a_notebook_run_succeeds_or_says_why_not() -> None:
    trigger = SageMakerUnifiedStudioNotebookTrigger("run", "dzd", "project", **PACE)
    states: list[Scripted] = [{"id": "run", "status": state} for state in ("QUEUED", "RUNNING", "SUCCEEDED")]
    event = await _answered("datazone", "GetNotebookRun", states, trigger)
    assert event.payload == {"status": "success", "notebook_run_id": "run"}
    failed = {"id": "run", "status": "FAILED", "error": {"message": "cell 3 raised"}}
    event = await _answered("datazone", "GetNotebookRun", [failed], trigger)
    assert event.payload.keys() == {"status", "message", "notebook_run_id"}
    assert "cell 3 raised" in event.payload["message"]


async def test_the_timeout_of_a_notebook_run_is_the_budget() -> None:
    trigger = SageMakerUnifiedStudioNotebookTrigger(
        "run", "dzd", timeout_configuration={"runTimeoutInMinutes": 0.001}, delay=0.02
    )
    assert trigger.max_attempts == 3
    event = await _answered("datazone", "GetNotebookRun", [{"id": "run", "status": "RUNNING"}], trigger)
    assert event.details["error_type"] == "waiter_exhausted"
