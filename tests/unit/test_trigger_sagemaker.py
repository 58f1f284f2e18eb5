"""Promises of the SageMaker triggers' arguments."""

from enum import IntEnum
from typing import Any

import pytest

from triggerd.testing import round_trip
from triggerd.triggers.sagemaker import SageMakerPipelineTrigger, SageMakerTrigger

JOB: dict[str, Any] = {"job_name": "fit-1", "job_type": "Training"}
ARN = "arn:aws:sagemaker:us-east-1:1:pipeline/p/execution/e"
PIPELINE: dict[str, Any] = {"waiter_type": 1, "pipeline_execution_arn": ARN}
COMMON = {"delay": 7, "max_attempts": 3, "connection": "prod", "region": "eu-west-1"}


class AirflowsType(IntEnum):
    COMPLETE = 1


@pytest.mark.parametrize(
    ("cls", "kwargs", "error", "said"),
    [
        (SageMakerTrigger, {**JOB, "job_name": ""}, ValueError, "job_name must not be empty"),
        (SageMakerTrigger, {**JOB, "job_type": "labeling"}, ValueError, "'labeling': one of training, transform"),
        (SageMakerTrigger, {**JOB, "job_type": None}, TypeError, "job_type must be a string"),
        (SageMakerPipelineTrigger, {**PIPELINE, "waiter_type": 3}, ValueError, "waiter_type = 3"),
        (SageMakerPipelineTrigger, {**PIPELINE, "waiter_type": True}, ValueError, "waiter_type = True"),
        (SageMakerPipelineTrigger, {**PIPELINE, "waiter_type": "1"}, ValueError, "waiter_type = '1'"),
        (SageMakerPipelineTrigger, {**PIPELINE, "pipeline_execution_arn": ""}, ValueError, "must not be empty"),
    ],
)
def test_an_argument_that_cannot_work_is_refused_at_once(cls: Any, kwargs: Any, error: type, said: str) -> None:
    with pytest.raises(error, match=said):
        cls(**kwargs)


@pytest.mark.parametrize(("cls", "least"), [(SageMakerTrigger, JOB), (SageMakerPipelineTrigger, PIPELINE)])
def test_every_argument_survives_the_wire(cls: Any, least: dict[str, Any]) -> None:
    trigger = cls(**least, **COMMON)
    assert trigger.serialize()[1] == {**least, **COMMON}
    assert round_trip(trigger).serialize() == trigger.serialize()
    assert cls(**least).serialize()[1] == least


@pytest.mark.parametrize("kind", [1, SageMakerPipelineTrigger.Type.COMPLETE, AirflowsType.COMPLETE])
def test_a_waiter_type_travels_as_a_plain_number(kind: int) -> None:
    sent = SageMakerPipelineTrigger(kind, ARN).serialize()[1]["waiter_type"]
    assert type(sent) is int
    assert sent == 1
