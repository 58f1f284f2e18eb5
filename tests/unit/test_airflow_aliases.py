"""The table of Airflow's classes: every row names what exists, and what a pair is told where it is wrong."""

import datetime as dt
import enum
import inspect
import json
import logging
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from botocore.loaders import Loader

from triggerd.airflow.aliases import PREFIX, Alias, Aliases
from triggerd.airflow_pairs import ready_kwargs
from triggerd.aws.waiters import ServiceModels, Waiters, check_arguments
from triggerd.daemon.registry import BUNDLED, Registry, build
from triggerd.deferral import serialized
from triggerd.envelope import decode_trigger, encode_trigger
from triggerd.errors import ClasspathNotAllowedError, EnvelopePackError, TriggerArgumentsError

RECORDED = json.loads((Path(__file__).parents[1] / "data/airflow_pairs.json").read_text())
CLASSES: dict[str, dict[str, Any]] = RECORDED["classes"]
TRIGGERS = f"{PREFIX}aws.triggers."
REFUSED = {"eks.EksPodTrigger", "sagemaker_unified_studio.SageMakerNotebookJobTrigger"}
RUN = sorted({*CLASSES} - REFUSED)
ALIASES = Aliases.load()
ALWAYS = {"region_name", "verify", "botocore_config"}
# Kwargs that Airflow's class takes by **kwargs, and sends back.
SENT_TOO = {
    "s3.S3KeyTrigger": {"hook_params"},
    "s3.S3KeysUnchangedTrigger": {"hook_params", "polling_period_seconds"},
    "sagemaker_unified_studio_notebook.SageMakerUnifiedStudioNotebookTrigger": {"waiter_max_attempts"},
}
ATHENA = {"query_execution_id": "q", "waiter_delay": 30, "waiter_max_attempts": 60, "aws_conn_id": "aws_default"}
RDS = {"db_identifier": "db", "waiter_delay": 1, "waiter_max_attempts": 1, "aws_conn_id": None, "response": {}}


def alias(name: str) -> Alias:
    return ALIASES.find(TRIGGERS + name)


def arguments(name: str, **kwargs: Any) -> dict[str, Any]:
    return alias(name).arguments(kwargs)


def sample(name: str) -> dict[str, Any]:
    return dict(RECORDED["pairs"][name]["encoded"])


# --- the table --------------------------------------------------------------------------------------------------


def test_each_of_the_88_classes_of_the_provider_has_a_row_and_no_other_has() -> None:
    assert len(CLASSES) == 88
    assert sorted(ALIASES.classpaths) == sorted(TRIGGERS + name for name in CLASSES)


@pytest.mark.parametrize("name", RUN)
def test_a_row_knows_every_argument_of_airflows_class_and_its_default(name: str) -> None:
    row, theirs = alias(name).row, CLASSES[name]
    has = {key: value for key, value in row.get("has", {}).items() if key not in SENT_TOO.get(name, ())}
    assert {*row["needs"]} == {*theirs["needs"]} - ALWAYS
    assert has == {key: value for key, value in theirs["has"].items() if key not in ALWAYS}


@pytest.mark.parametrize("name", RUN)
def test_a_rows_target_is_bundled_and_takes_what_the_row_gives(name: str) -> None:
    found = alias(name)
    assert found.target in BUNDLED
    cls = __import__(found.target.rpartition(".")[0], fromlist=[""]).__dict__[found.target.rpartition(".")[2]]
    inspect.signature(cls).bind(**found.arguments(sample(name)))


MODELS = ServiceModels(Loader())
WAITERS = Waiters((), MODELS)


@pytest.mark.parametrize("name", [name for name in RUN if "runs" not in alias(name).row])
def test_a_rows_waiter_exists_and_its_parameters_fit_the_operation(name: str) -> None:
    row = dict(alias(name).row)
    for case in row.get("cases", [{}]):
        kwargs = sample(name) | case.get("when", {})
        if None in case.get("when", {}).values():  # one of two names is given
            kwargs = {"collection_id": "logs", "collection_name": "logs"} | case["when"]
        given = arguments(name, **kwargs)
        check_arguments(MODELS, WAITERS.get(given["service"], given["waiter_name"]), given["waiter_args"])


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_the_two_that_need_another_world_are_refused_with_the_way_out(name: str) -> None:
    with pytest.raises(ClasspathNotAllowedError, match=r"install Airflow .* `allow`"):
        alias(name)


# --- a pair -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("conn", [None, "", "default"])
def test_no_connection_is_the_default_one(conn: str | None) -> None:
    assert arguments("athena.AthenaTrigger", **ATHENA | {"aws_conn_id": conn})["connection"] == "default"


def test_connection_region_delay_and_attempts_have_their_names_here() -> None:
    given = arguments("athena.AthenaTrigger", **ATHENA, region_name="eu-west-1")
    assert given == {
        "service": "athena", "waiter_name": "query_complete", "waiter_args": {"QueryExecutionId": "q"},
        "return_key": "value", "return_value": "q",
        "connection": "aws_default", "region": "eu-west-1", "delay": 30, "max_attempts": 60,
    }  # fmt: skip


def test_numbers_may_come_as_texts_and_a_delay_of_nothing_is_a_second() -> None:
    given = arguments("athena.AthenaTrigger", **ATHENA | {"waiter_delay": "1.5", "waiter_max_attempts": "7"})
    assert (given["delay"], given["max_attempts"]) == (1.5, 7)
    assert arguments("athena.AthenaTrigger", **ATHENA | {"waiter_delay": 0})["delay"] == 1


def test_what_is_left_out_has_airflows_default() -> None:
    given = arguments("emr.EmrContainerTrigger", virtual_cluster_id="v", job_id="j")
    assert (given["delay"], given["max_attempts"], given["connection"]) == (30, 2**63 - 1, "aws_default")
    assert "cancel_call" not in given


def test_cancel_on_kill_false_leaves_the_job_alone() -> None:
    given = arguments("emr.EmrContainerTrigger", virtual_cluster_id="v", job_id="j", cancel_on_kill=False)
    assert given["cancel_call"] is False


def test_a_sensor_that_is_cancelled_leaves_the_step_alone() -> None:
    assert arguments("emr.EmrStepSensorTrigger", job_flow_id="f", step_id="s")["cancel_call"] is False


def test_the_older_names_of_delay_and_attempts_go_first_as_in_airflow() -> None:
    given = arguments("sagemaker.SageMakerTrigger", job_name="j", job_type="training", poke_interval=7, max_attempts=8)
    assert (given["delay"], given["max_attempts"]) == (7, 8)


def test_the_waiter_of_a_new_job_flow_is_the_one_that_was_asked_for() -> None:
    name = "emr.EmrCreateJobFlowTrigger"
    assert arguments(name, job_flow_id="f")["waiter_name"] == "job_flow_waiting"
    assert arguments(name, job_flow_id="f", waiter_name="job_flow_terminated")["waiter_name"] == "job_flow_terminated"


def test_the_sdk_puts_back_the_waiter_name_that_airflows_serialize_forgets() -> None:
    class EmrCreateJobFlowTrigger:
        waiter_name = "job_flow_terminated"

    ready = ready_kwargs(EmrCreateJobFlowTrigger(), f"{TRIGGERS}emr.EmrCreateJobFlowTrigger", {"job_flow_id": "f"})
    assert ready == {"job_flow_id": "f", "waiter_name": "job_flow_terminated"}


def test_whole_kwargs_in_the_older_encoding_are_read() -> None:
    given = alias("athena.AthenaTrigger").arguments({"__type": "dict", "__var": ATHENA})
    assert given["return_value"] == "q"


@pytest.mark.parametrize("name", ["collection_id", "collection_name"])
def test_a_collection_is_waited_for_by_the_name_that_was_given(name: str) -> None:
    given = arguments("opensearch_serverless.OpenSearchServerlessCollectionActiveTrigger", **{name: "x"})
    assert given["waiter_args"] == {{"collection_id": "ids", "collection_name": "names"}[name]: ["x"]}
    assert (given["return_key"], given["return_value"]) == (name, "x")


@pytest.mark.parametrize(
    ("name", "kwargs", "words"),
    [
        ("athena.AthenaTrigger", {}, ["missing: query_execution_id, waiter_delay"]),
        ("athena.AthenaTrigger", ATHENA | {"query_id": "q"}, ["'query_id'", "did you mean 'query_execution_id'?"]),
        ("athena.AthenaTrigger", ATHENA | {"zzz": 1}, ["'zzz'", "it takes: query_execution_id, "]),
        ("athena.AthenaTrigger", ATHENA | {"query_execution_id": ""}, ["query_execution_id must be a text, not ''"]),
        ("athena.AthenaTrigger", ATHENA | {"query_execution_id": ["q"]}, ["query_execution_id must be a text"]),
        ("athena.AthenaTrigger", ATHENA | {"waiter_delay": "soon"}, ["waiter_delay = 'soon'"]),
        ("athena.AthenaTrigger", ATHENA | {"waiter_delay": -1}, ["waiter_delay = -1"]),
        ("athena.AthenaTrigger", ATHENA | {"waiter_delay": "nan"}, ["waiter_delay = 'nan'"]),
        ("athena.AthenaTrigger", ATHENA | {"waiter_max_attempts": 0}, ["waiter_max_attempts = 0"]),
        ("athena.AthenaTrigger", ATHENA | {"waiter_max_attempts": True}, ["waiter_max_attempts = True"]),
        ("athena.AthenaTrigger", ATHENA | {"aws_conn_id": 7}, ["aws_conn_id must be a text or None"]),
        ("athena.AthenaTrigger", ATHENA | {"region_name": {}}, ["region_name must be a text or None"]),
        ("athena.AthenaTrigger", ATHENA | {"query_execution_id": ["q" * 10**6]}, ["query_execution_id"]),
        ("emr.EmrAddStepsTrigger", {"job_flow_id": "f", "step_ids": "s", "waiter_delay": 1, "waiter_max_attempts": 1},
         ["step_ids must be a list of texts, not 's'"]),
        ("emr.EmrCreateJobFlowTrigger", {"job_flow_id": "f", "waiter_name": ""}, ["waiter_name = 'job_flow_waiting'"]),
        ("rds.RdsDbStoppedTrigger", RDS | {"db_type": "table"}, ["db_type = 'instance' or db_type = 'cluster'"]),
        ("opensearch_serverless.OpenSearchServerlessCollectionActiveTrigger", {}, ["collection_id must be a text"]),
        ("opensearch_serverless.OpenSearchServerlessCollectionActiveTrigger",
         {"collection_id": "a", "collection_name": "b"}, ["collection_name = None or collection_id = None"]),
        ("s3.S3KeyTrigger", {"bucket_name": {"__classname__": "os.system", "__version__": 1, "__data__": "rm"}},
         ["'os.system'"]),
        ("athena.AthenaTrigger", {"__type": "set", "__var": []}, ["must be a dict"]),
    ],
)  # fmt: skip
def test_a_pair_that_airflow_would_not_take_is_refused_by_name(name: str, kwargs: Any, words: list[str]) -> None:
    with pytest.raises(TriggerArgumentsError) as refused:
        alias(name).arguments(kwargs)
    assert str(refused.value).startswith(f"{TRIGGERS}{name}: ")
    assert len(str(refused.value)) < 1_000
    for word in words:
        assert word in str(refused.value)


def test_the_queue_turns_no_tls_check_off_and_that_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    found = Aliases.load().find(f"{TRIGGERS}athena.AthenaTrigger")
    with caplog.at_level(logging.WARNING):
        given = [found.arguments(ATHENA | {"verify": False, "botocore_config": {"proxies": {}}}) for _ in range(3)]
    assert not {"verify", "botocore_config"} & {*given[-1]}
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2
    assert lines[0].startswith(
        "verify of a trigger (AthenaTrigger) is not used: set it on the connection 'aws_default'"
    )
    assert lines[1].startswith("botocore_config of a trigger")


@pytest.mark.parametrize("name", ["waiter_delay" * 20_000, "a\nb" * 80_000])
def test_a_name_of_any_length_is_refused_shortly(name: str) -> None:
    with pytest.raises(TriggerArgumentsError, match="there is no argument") as refused:
        alias("athena.AthenaTrigger").arguments(ATHENA | {name: 1})
    assert len(str(refused.value)) < 400
    assert "\n" not in str(refused.value)


def test_the_name_of_a_connection_is_logged_and_remembered_shortly(caplog: pytest.LogCaptureFixture) -> None:
    found = Aliases.load().find(f"{TRIGGERS}athena.AthenaTrigger")
    with caplog.at_level(logging.WARNING):
        found.arguments(ATHENA | {"verify": False, "aws_conn_id": "a\n" * 100_000})
    assert len(caplog.records[0].getMessage()) < 400
    assert sum(len(name) for name, _ in found.warned) < 200


# --- the registry -----------------------------------------------------------------------------------------------


async def test_the_metrics_label_is_the_name_of_airflows_class_and_the_second_look_up_waits_for_nothing() -> None:
    registry = Registry((), {})
    found = await registry.load(f"{TRIGGERS}athena.AthenaTrigger")
    assert (found.classpath, found.label) == (f"{TRIGGERS}athena.AthenaTrigger", "AthenaTrigger")
    assert registry.known(f"{TRIGGERS}athena.AthenaTrigger") is found
    assert build(found, ATHENA).serialize()[0] == "triggerd.triggers.aws.AwsWaiterTrigger"


@pytest.mark.parametrize("allow", ["airflow.providers.amazon.*", f"{TRIGGERS}athena.AthenaTrigger"])
@pytest.mark.parametrize("installed", [True, False])
async def test_airflows_own_class_runs_where_it_is_allowed_and_installed(
    allow: str, installed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tmp_path.joinpath(*f"{TRIGGERS}athena".split(".")).with_suffix(".py")
    if installed:
        module.parent.mkdir(parents=True)
        module.write_text("class AthenaTrigger:\n    def serialize(self): ...\n    async def run(self): yield\n")
    monkeypatch.syspath_prepend(tmp_path)
    found = await Registry([allow], {}).load(f"{TRIGGERS}athena.AthenaTrigger")
    for name in [name for name in sys.modules if name.partition(".")[0] == "airflow"]:
        del sys.modules[name]
    assert (found.cls.__module__ == f"{TRIGGERS}athena") is installed
    assert (found.arguments is None) is installed


@pytest.mark.parametrize(
    ("classpath", "words"),
    [
        (f"{TRIGGERS}athena.AthenaTriger", f"did you mean {TRIGGERS}athena.AthenaTrigger"),
        ("airflow.providers.amazon.aws.triggers.rds.AthenaTrigger", f"did you mean {TRIGGERS}athena.AthenaTrigger"),
        (f"{PREFIX}x.Zzz", "docs/from-airflow.md"),
        ("airflow.providers.google.cloud.triggers.x.Y", "not in the daemon's allow-list"),
    ],
)
async def test_a_class_of_airflows_that_is_unknown_is_refused_with_the_nearest(classpath: str, words: str) -> None:
    with pytest.raises(ClasspathNotAllowedError) as refused:
        await Registry((), {}).load(classpath)
    assert words in str(refused.value)


# --- the producer's side ----------------------------------------------------------------------------------------


class State(enum.StrEnum):
    DONE = "done"


class Kind(enum.IntEnum):
    COMPLETE = 1


class Instant(dt.datetime):
    """As pendulum has one."""


def test_the_sdk_takes_the_kinds_of_values_that_airflows_operators_pass() -> None:
    given = {
        "states": {State.DONE}, "kind": Kind.COMPLETE, "at": Instant(2026, 1, 2, tzinfo=dt.UTC),
        "deep": [{State.DONE: (Kind.COMPLETE,)}], "attempts": 2**63 - 1,
    }  # fmt: skip
    classpath, ready = serialized((f"{TRIGGERS}x.Y", given), "trigger")
    back = decode_trigger(encode_trigger(classpath, ready)).kwargs()
    assert back == {
        "states": {"done"}, "kind": 1, "at": dt.datetime(2026, 1, 2, tzinfo=dt.UTC),
        "deep": [{"done": (1,)}], "attempts": 2**63 - 1,
    }  # fmt: skip
    assert [type(back[name]) for name in ("kind", "at")] == [int, dt.datetime]


def test_a_time_without_a_zone_is_the_senders_as_in_airflow(monkeypatch: pytest.MonkeyPatch) -> None:
    """S3KeySensor's `datetime.now()` was read as UTC: from New York, keys seemed unchanged for hours at once."""
    monkeypatch.setenv("TZ", "EST5EDT,M3.2.0,M11.1.0")
    time.tzset()
    given = {"at": dt.datetime(2026, 1, 2, 3), "x": [Instant(2026, 7, 2)]}  # noqa: DTZ001 - as the sensor's
    try:
        classpath, ready = serialized((f"{TRIGGERS}x.Y", given), "trigger")
        back = decode_trigger(encode_trigger(classpath, ready)).kwargs()
    finally:
        monkeypatch.undo()
        time.tzset()
    assert back == {"at": dt.datetime(2026, 1, 2, 8, tzinfo=dt.UTC), "x": [dt.datetime(2026, 7, 2, 4, tzinfo=dt.UTC)]}


def test_for_other_triggers_a_value_of_another_kind_is_still_refused() -> None:
    classpath, kwargs = serialized(("jobs.Wait", {"state": State.DONE}), "trigger")
    with pytest.raises(EnvelopePackError, match="State cannot be put on the wire"):
        encode_trigger(classpath, kwargs)
