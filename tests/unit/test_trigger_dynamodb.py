"""Promises of DynamoDBValueSensorTrigger's arguments, and of how it compares values."""

from decimal import Decimal
from typing import Any

import pytest

from triggerd.testing import round_trip
from triggerd.triggers.dynamodb import DynamoDBValueSensorTrigger, _is, _plain

ARGS: dict[str, Any] = {
    "table_name": "jobs", "partition_key_name": "id", "partition_key_value": "5", "attribute_name": "state",
    "attribute_value": "done",
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"table_name": ""}, ValueError, "table_name must not be empty"),
        ({"partition_key_value": ["a"]}, TypeError, "partition_key_value"),
        ({"partition_key_value": True}, TypeError, "a text, a number or bytes"),
        ({"partition_key_value": float("nan")}, TypeError, "a text, a number or bytes"),
        ({"partition_key_value": ""}, ValueError, "must not be empty"),
        ({"attribute_value": None}, ValueError, "attribute_value"),
        ({"attribute_value": []}, ValueError, "a list of at least one"),
        ({"attribute_value": list(range(1_001))}, ValueError, "at most 1,000"),
        ({"sort_key_name": "at", "sort_key_value": []}, TypeError, "sort_key_value"),
        ({"sort_key_value": 0}, ValueError, "sort_key_name must be given"),
        ({"delay": "60"}, TypeError, "number of seconds"),
    ],
)
def test_an_argument_that_cannot_work_is_refused_at_once(change: dict[str, Any], error: type, said: str) -> None:
    with pytest.raises(error, match=said):
        DynamoDBValueSensorTrigger(**{**ARGS, **change})


def test_every_argument_survives_the_wire() -> None:
    more = {"sort_key_name": "at", "sort_key_value": 0, "delay": 7, "max_attempts": 3, "connection": "prod"}
    trigger = DynamoDBValueSensorTrigger(**{**ARGS, **more, "region": "eu-west-1", "attribute_value": {"a"}})
    assert round_trip(trigger).serialize() == trigger.serialize()
    assert DynamoDBValueSensorTrigger(**ARGS).serialize()[1] == {**ARGS, "attribute_value": ["done"]}


@pytest.mark.parametrize(
    ("attribute", "wanted"),
    [
        ({"S": "5"}, "5"),
        ({"N": "5"}, "5"),  # all that Airflow's sensor can ask for
        ({"N": "5"}, "5.0"),
        ({"N": "5"}, 5),
        ({"N": "0.1"}, 0.1),
        ({"N": "12345678901234567890.5"}, Decimal("12345678901234567890.5")),
        ({"BOOL": True}, True),
        ({"NULL": True}, None),
        ({"B": b"x"}, b"x"),
        ({"SS": ["a", "b"]}, {"b", "a"}),
        ({"SS": ["a", "b"]}, ["b", "a"]),
        ({"NS": ["1", "2"]}, {1, 2}),
        ({"L": [{"N": "1"}, {"S": "a"}]}, [1, "a"]),
        ({"M": {"a": {"L": [{"N": "1.50"}]}}}, {"a": [Decimal("1.5")]}),
    ],
)
def test_an_attribute_has_the_value(attribute: dict[str, Any], wanted: Any) -> None:
    assert _is(_plain(attribute), wanted)


@pytest.mark.parametrize(
    ("attribute", "wanted"),
    [
        ({"S": "5"}, 5),
        ({"N": "5"}, "five"),
        ({"N": "1"}, True),
        ({"N": "5"}, "nan"),
        ({"N": "5"}, float("inf")),
        ({"BOOL": True}, 1),
        ({"BOOL": True}, "True"),
        ({"NULL": True}, "None"),
        ({"S": "ab"}, "a"),
        ({"SS": ["a"]}, "a"),
        ({"SS": ["a"]}, [["a"]]),
        ({"L": [{"S": "a"}]}, ["a", "b"]),
        ({"M": {"a": {"S": "x"}}}, ["a"]),
    ],
)
def test_an_attribute_has_not_the_value(attribute: dict[str, Any], wanted: Any) -> None:
    assert not _is(_plain(attribute), wanted)
