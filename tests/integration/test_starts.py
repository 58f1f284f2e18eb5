"""A job is started once, whatever dies between start and deferral (docs/starts.md), on moto's Step Functions."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest

from tests.support.owner import Owner
from tests.support.resuming import running
from tests.support.waiting import eventually_sync
from triggerd import Client, Deferrable, Event, Resumer
from triggerd.triggers.testing import SuccessTrigger

PASS = {"StartAt": "a", "States": {"a": {"Type": "Pass", "End": True}}}


class Pipeline(Deferrable):
    """Starts an execution, waits, starts another from its continuation."""

    client: Any
    machine: str
    dies: Callable[[str], None]

    def execute(self, context: Any) -> None:
        self._start("extract")
        self.defer(trigger=SuccessTrigger("x"), method_name="load", timeout=60)

    def load(self, context: Any, event: Event) -> None:
        self._start("load")

    def _start(self, step: str) -> None:
        name = self.start_token(step)
        self.client.start_execution(stateMachineArn=self.machine, name=name, input=json.dumps({"step": step}))
        type(self).dies(step)


@pytest.fixture
def pipeline(moto_url: str) -> Iterator[type[Pipeline]]:
    client = boto3.client("stepfunctions", endpoint_url=moto_url, region_name="us-east-1")
    machine = client.create_state_machine(
        name="etl", definition=json.dumps(PASS), roleArn="arn:aws:iam::123456789012:role/sfn"
    )["stateMachineArn"]
    yield type("Pipeline", (Pipeline,), {"client": client, "machine": machine, "__module__": __name__})
    client.close()


def _executions(pipeline: type[Pipeline]) -> list[str]:
    found = pipeline.client.list_executions(stateMachineArn=pipeline.machine)["executions"]
    return sorted(json.loads(pipeline.client.describe_execution(executionArn=each["executionArn"])["input"])["step"]
                  for each in found)  # fmt: skip


def test_a_task_that_died_after_its_start_call_attaches_when_it_is_retried(
    td: Client, owner: Owner, pipeline: type[Pipeline]
) -> None:
    deaths = iter([True])

    def dies(step: str) -> None:
        if next(deaths, False):
            raise MemoryError(f"the worker died after starting {step}")

    pipeline.dies = staticmethod(dies)
    with pytest.raises(MemoryError):
        td.start(pipeline(), id="etl-1")
    handle = td.start(pipeline(), id="etl-1")
    assert handle.id == "etl-1"
    assert _executions(pipeline) == ["extract"]
    td.start(pipeline(), id="etl-2")
    assert _executions(pipeline) == ["extract", "extract"], "another run is another job"


def test_a_continuation_that_is_called_again_starts_its_job_once(
    td: Client, owner: Owner, pipeline: type[Pipeline]
) -> None:
    calls: list[str] = []

    def dies(step: str) -> None:
        calls.append(step)
        if calls.count("load") == 1:
            raise MemoryError("the first delivery of the event ends here")

    pipeline.dies = staticmethod(dies)
    td.start(pipeline(), id="etl-1")
    [claimed] = owner.claim()
    owner.fire(claimed, {"status": "success"})
    resumer = Resumer(td)
    resumer.register(pipeline)
    with running(resumer):
        eventually_sync(lambda: calls.count("load") == 2)
    assert _executions(pipeline) == ["extract", "load"]
