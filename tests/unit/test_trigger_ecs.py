"""Promises of TaskDoneTrigger's arguments."""

from typing import Any

import pytest

from triggerd.testing import round_trip
from triggerd.triggers.ecs import TaskDoneTrigger

ARGS: dict[str, Any] = {"cluster": "etl", "task_arn": "arn:aws:ecs:us-east-1:1:task/etl/abc"}


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"cluster": ""}, ValueError, "cluster must not be empty"),
        ({"task_arn": 5}, TypeError, "task_arn must be a string"),
        ({"log_group": ["g"]}, TypeError, "log_group must be a string"),
        ({"log_stream": 0}, TypeError, "log_stream must be a string"),
        ({"log_region_name": {}}, TypeError, "log_region_name must be a string"),
        ({"delay": "6"}, TypeError, "delay must be a number"),
        ({"max_attempts": 0}, ValueError, "at least 1"),
    ],
)
def test_an_argument_that_cannot_work_is_refused_at_once(change: dict[str, Any], error: type, said: str) -> None:
    with pytest.raises(error, match=said):
        TaskDoneTrigger(**{**ARGS, **change})


def test_every_argument_survives_the_wire() -> None:
    more: dict[str, Any] = {
        "delay": 7, "max_attempts": 3, "log_group": "g", "log_stream": "s", "log_region_name": "eu-west-1",
        "connection": "prod", "region": "us-west-2",
    }  # fmt: skip
    trigger = TaskDoneTrigger(**ARGS, **more)
    assert trigger.serialize()[1] == {**ARGS, **more}
    assert round_trip(trigger).serialize() == trigger.serialize()
    assert TaskDoneTrigger(**ARGS).serialize()[1] == ARGS
