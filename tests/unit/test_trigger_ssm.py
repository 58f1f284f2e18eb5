"""Promises of SsmRunCommandTrigger's arguments, and of which exit code is an instance's."""

from typing import Any

import pytest

from triggerd.testing import round_trip
from triggerd.triggers.ssm import SsmRunCommandTrigger, _short

ARGS: dict[str, Any] = {"command_id": "c-1"}


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"command_id": ""}, ValueError, "command_id must not be empty"),
        ({"command_id": None}, TypeError, "command_id must be a string"),
        ({"fail_on_nonzero_exit": "no"}, TypeError, "fail_on_nonzero_exit must be True or False"),
        ({"fail_on_nonzero_exit": 0}, TypeError, "fail_on_nonzero_exit must be True or False"),
    ],
)
def test_an_argument_that_cannot_work_is_refused_at_once(change: dict[str, Any], error: type, said: str) -> None:
    with pytest.raises(error, match=said):
        SsmRunCommandTrigger(**{**ARGS, **change})


def test_every_argument_survives_the_wire() -> None:
    more: dict[str, Any] = {
        "delay": 7, "max_attempts": 3, "fail_on_nonzero_exit": False, "connection": "prod", "region": "eu-west-1",
    }  # fmt: skip
    trigger = SsmRunCommandTrigger(**ARGS, **more)
    assert trigger.serialize()[1] == {**ARGS, **more}
    assert round_trip(trigger).serialize() == trigger.serialize()
    assert SsmRunCommandTrigger(**ARGS).serialize()[1] == ARGS


@pytest.mark.parametrize(
    ("plugins", "code"),
    [
        ([], -1),
        ([{"Status": "Success", "ResponseCode": 0}], 0),
        ([{"Status": "Failed", "ResponseCode": 3}], 3),
        ([{"Status": "Failed", "ResponseCode": 3}, {"Status": "Success", "ResponseCode": 0}], 3),
        ([{"Status": "Success", "ResponseCode": 0}, {"Status": "Failed", "ResponseCode": 4}], 4),
        ([{"Status": "InProgress"}], -1),
    ],
)
def test_the_exit_code_is_that_of_the_step_that_failed(plugins: list[dict[str, Any]], code: int) -> None:
    assert _short({"InstanceId": "i-1", "CommandPlugins": plugins})["ExitCode"] == code
