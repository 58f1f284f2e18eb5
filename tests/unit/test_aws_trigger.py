"""Promises of AwsWaiterTrigger's constructor and of its serialized form."""

import sys
from typing import Any

import pytest

from triggerd.testing import round_trip
from triggerd.triggers.aws import AwsWaiterTrigger

ARGS: tuple[str, str, dict[str, Any]] = ("redshift", "cluster_paused", {"ClusterIdentifier": "dwh"})


def test_arguments_that_equal_their_defaults_are_left_out() -> None:
    classpath, kwargs = AwsWaiterTrigger(*ARGS).serialize()
    assert classpath == "triggerd.triggers.aws.AwsWaiterTrigger"
    assert kwargs == {"service": ARGS[0], "waiter_name": ARGS[1], "waiter_args": ARGS[2]}


def test_every_argument_survives_the_wire() -> None:
    trigger = AwsWaiterTrigger(
        *ARGS,
        delay=5,
        max_attempts=7,
        connection="prod",
        region="eu-west-1",
        return_key="cluster",
        return_value={"name": "dwh"},
        status_queries=["Clusters[0].ClusterStatus"],
        failure_message="not paused",
        status_message="pausing",
        cancel_call=("resume_cluster", {"ClusterIdentifier": "dwh"}),
    )
    assert round_trip(trigger).serialize() == trigger.serialize()
    assert len(trigger.serialize()[1]) == 13


@pytest.mark.parametrize(("value", "kept"), [(None, {}), (False, {"cancel_call": False})])
def test_no_cancel_call_and_the_ready_made_one_are_told_apart_on_the_wire(value: Any, kept: dict[str, Any]) -> None:
    kwargs = round_trip(AwsWaiterTrigger(*ARGS, cancel_call=value)).serialize()[1]
    assert {name: kwargs[name] for name in kwargs if name == "cancel_call"} == kept


@pytest.mark.parametrize("value", [0, False, "", []])
def test_a_false_return_value_is_not_taken_for_the_default(value: object) -> None:
    assert round_trip(AwsWaiterTrigger(*ARGS, return_value=value)).return_value == value


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"delay": 0}, ValueError, "above 0"),
        ({"delay": float("nan")}, ValueError, "above 0"),
        ({"delay": "30"}, TypeError, "number of seconds"),
        ({"max_attempts": 0}, ValueError, "at least 1"),
        ({"max_attempts": 1.5}, TypeError, "whole number"),
        ({"status_queries": "a.b"}, TypeError, "not one string"),
        ({"return_key": "status"}, ValueError, "key of the payload already"),
        ({"connection": ""}, ValueError, "must not be empty"),
        ({"cancel_call": "stop_crawler"}, TypeError, "operation, parameters"),
        ({"cancel_call": True}, TypeError, "operation, parameters"),
        ({"cancel_call": ("StopCrawler", {})}, ValueError, "snake_case"),
        ({"cancel_call": ("_request", {})}, ValueError, "snake_case"),
        ({"waiter_args": ["dwh"]}, TypeError, "dict of parameter names"),
    ],
)
def test_an_argument_that_cannot_work_is_refused_at_once(change: dict[str, Any], error: type, said: str) -> None:
    arguments = {"service": ARGS[0], "waiter_name": ARGS[1], "waiter_args": ARGS[2], **change}
    with pytest.raises(error, match=said):
        AwsWaiterTrigger(**arguments)


def test_a_text_of_one_wait_is_not_kept_when_the_wait_has_ended() -> None:
    text = "job {} has failed"
    trigger = AwsWaiterTrigger("glue", "job_complete", {}, failure_message=text.format(17))
    assert sys.intern(text.format(17)) is not trigger.failure_message  # Python 3.12 frees no interned string
