"""Promises of the Glue triggers' arguments."""

from typing import Any

import pytest

from triggerd.testing import round_trip
from triggerd.triggers.glue import GlueCatalogPartitionTrigger, GlueJobCompleteTrigger

JOB: dict[str, Any] = {"job_name": "nightly", "run_id": "jr_1"}
PARTITION: dict[str, Any] = {"database_name": "lake", "table_name": "events"}
COMMON = {"delay": 7, "max_attempts": 3, "connection": "prod", "region": "eu-west-1"}


@pytest.mark.parametrize(
    ("cls", "kwargs", "error", "said"),
    [
        (GlueJobCompleteTrigger, {**JOB, "job_name": ""}, ValueError, "job_name must not be empty"),
        (GlueJobCompleteTrigger, {**JOB, "run_id": 5}, TypeError, "run_id must be a string"),
        (GlueJobCompleteTrigger, {**JOB, "verbose": "false"}, TypeError, "verbose must be True or False"),
        (GlueCatalogPartitionTrigger, {**PARTITION, "table_name": "."}, ValueError, "database.table"),
        (GlueCatalogPartitionTrigger, {**PARTITION, "table_name": "lake."}, ValueError, "database.table"),
        (GlueCatalogPartitionTrigger, {**PARTITION, "database_name": None}, TypeError, "database_name"),
        (GlueCatalogPartitionTrigger, {**PARTITION, "expression": None}, TypeError, "expression must be a string"),
        (GlueCatalogPartitionTrigger, {**PARTITION, "delay": -1}, ValueError, "must be above 0"),
    ],
)
def test_an_argument_that_cannot_work_is_refused_at_once(cls: Any, kwargs: Any, error: type, said: str) -> None:
    with pytest.raises(error, match=said):
        cls(**kwargs)


@pytest.mark.parametrize(
    ("cls", "least", "more"),
    [
        (GlueJobCompleteTrigger, JOB, {"verbose": True, **COMMON}),
        (GlueCatalogPartitionTrigger, PARTITION, {"expression": "ds = '1'", **COMMON}),
    ],
)
def test_every_argument_survives_the_wire(cls: Any, least: dict[str, Any], more: dict[str, Any]) -> None:
    trigger = cls(**least, **more)
    assert trigger.serialize()[1] == {**least, **more}
    assert round_trip(trigger).serialize() == trigger.serialize()
    assert cls(**least).serialize()[1] == least
