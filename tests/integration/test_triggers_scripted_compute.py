"""Promises of the SageMaker and SSM triggers, on scripted answers.

The numbers in brackets are those of the defects that Airflow's triggers of the same name have.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.fake_aws import Drop, FakeAws, Fault
from tests.support.waiting import eventually
from triggerd.aws import Aws
from triggerd.aws.local import open_aws
from triggerd.event import Event
from triggerd.testing import LocalContext, run_trigger
from triggerd.triggers import ssm
from triggerd.triggers.sagemaker import SageMakerPipelineTrigger, SageMakerTrigger
from triggerd.triggers.ssm import SsmRunCommandTrigger

EXECUTION = "arn:aws:sagemaker:us-east-1:1:pipeline/p/execution/e1"
COMMAND = "0831e1a8-a1ac-4257-a1fd-c831bc48c4e2"
THROTTLE = Fault("ThrottlingException", "Rate exceeded")
COMPLETE, STOPPED = SageMakerPipelineTrigger.Type.COMPLETE, SageMakerPipelineTrigger.Type.STOPPED


@pytest.fixture
async def fake() -> AsyncIterator[FakeAws]:
    async with FakeAws("sagemaker", "ssm") as server:
        yield server


@pytest.fixture
async def aws(fake: FakeAws) -> AsyncIterator[Aws]:
    async with open_aws(fake.settings()) as opened:
        yield opened


async def _outcome(aws: Aws, trigger: Any, **options: Any) -> Event:
    return await run_trigger(trigger, aws=aws, timeout=30, **options)


# --- SageMaker jobs ---------------------------------------------------------------------------------------------

KINDS = {
    "training": ("DescribeTrainingJob", "TrainingJobStatus", "InProgress", "Completed"),
    "Transform": ("DescribeTransformJob", "TransformJobStatus", "InProgress", "Completed"),
    "processing": ("DescribeProcessingJob", "ProcessingJobStatus", "Stopping", "Completed"),
    "tuning": ("DescribeHyperParameterTuningJob", "HyperParameterTuningJobStatus", "InProgress", "Completed"),
    "endpoint": ("DescribeEndpoint", "EndpointStatus", "Creating", "InService"),
}


def _job(kind: str, **change: Any) -> SageMakerTrigger:
    return SageMakerTrigger("j1", kind, **{"delay": 0.05, **change})


@pytest.mark.parametrize("kind", KINDS)
async def test_a_job_of_each_kind_is_waited_for(fake: FakeAws, aws: Aws, kind: str) -> None:
    operation, status, going, done = KINDS[kind]
    fake.script(operation, {status: going}, THROTTLE, {status: done})
    event = await _outcome(aws, _job(kind))
    assert event.payload == {"status": "success", "job_name": "j1"}
    assert event.details["last_status"] == done


@pytest.mark.parametrize("kind", KINDS)
async def test_a_job_that_failed_is_told_with_its_reason(fake: FakeAws, aws: Aws, kind: str) -> None:
    operation, status, *_ = KINDS[kind]
    fake.script(operation, {status: "Failed", "FailureReason": "AlgorithmError: no data"})
    event = await _outcome(aws, _job(kind))
    assert event.payload == {"status": "failed", "job_name": "j1", "message": "AlgorithmError: no data"}
    assert event.details["error_type"] == "waiter_failed"


async def test_a_job_that_failed_without_a_reason_has_a_message_all_the_same(fake: FakeAws, aws: Aws) -> None:
    fake.script("DescribeTrainingJob", {"TrainingJobStatus": "Failed"})
    assert "TrainingJobStatus is Failed" in (await _outcome(aws, _job("training"))).payload["message"]


@pytest.mark.parametrize(
    ("kind", "answer", "status", "said"),
    [
        ("training", {"TrainingJobStatus": "Stopped"}, "stopped", "is Stopped"),
        ("training", {"TrainingJobStatus": "InProgress"}, "timeout", "still InProgress"),
        ("tuning", {"HyperParameterTuningJobStatus": "DeleteFailed"}, "error", "is DeleteFailed"),  # [1b 4, 1c 17]
        ("endpoint", {"EndpointStatus": "OutOfService"}, "error", "is OutOfService"),
        ("training", Fault("ValidationException", "Requested resource not found."), "error", "resource not found"),
    ],
)
async def test_each_other_end_of_a_job_has_its_status(
    fake: FakeAws, aws: Aws, kind: str, answer: Any, status: str, said: str
) -> None:
    fake.script(KINDS[kind][0], answer)
    event = await _outcome(aws, _job(kind, max_attempts=2))
    assert event.payload.keys() == {"status", "job_name", "message"}
    assert event.payload["status"] == status
    assert said in event.payload["message"]


# --- SageMaker pipelines ----------------------------------------------------------------------------------------


def _pipeline(kind: int = COMPLETE, **change: Any) -> SageMakerPipelineTrigger:
    return SageMakerPipelineTrigger(kind, EXECUTION, **{"delay": 0.05, "max_attempts": 200, **change})


def _at(status: str, **more: Any) -> dict[str, Any]:
    return {"PipelineExecutionStatus": status, **more}


def _steps(*states: str, **more: Any) -> dict[str, Any]:
    return {
        "PipelineExecutionSteps": [{"StepName": f"s{n}", "StepStatus": state} for n, state in enumerate(states)],
        **more,
    }


async def test_the_steps_of_a_pipeline_are_counted_in_the_log_over_all_pages(
    fake: FakeAws, aws: Aws, caplog: pytest.LogCaptureFixture
) -> None:
    over = False
    first, second = _steps("Succeeded", "Succeeded", NextToken="2"), _steps("Executing")
    fake.script("DescribePipelineExecution", lambda _: _at("Succeeded" if over else "Executing"))
    fake.script(
        "ListPipelineExecutionSteps",
        lambda params: second if "NextToken" in params else _steps(*("Succeeded",) * 3) if over else first,
    )
    with caplog.at_level("INFO", "triggerd.trigger"):
        waiting = asyncio.create_task(_outcome(aws, _pipeline()))
        await eventually(lambda: fake.calls["ListPipelineExecutionSteps"] > 6)
        over = True
        assert (await waiting).payload == {"status": "success", "value": EXECUTION}
    said = [text for text in caplog.messages if "steps of the pipeline" in text]
    assert len(said) == 2, "a count that is the same is not said again"
    assert "counts={'Succeeded': 2, 'Executing': 1} running=['s0']" in said[0]
    assert "counts={'Succeeded': 3} running=[]" in said[1]


@pytest.mark.parametrize(
    "trouble", [THROTTLE, Fault("AccessDeniedException"), Drop(), {"PipelineExecutionSteps": None}]
)
async def test_trouble_with_the_steps_never_ends_the_wait(fake: FakeAws, aws: Aws, trouble: Any) -> None:  # [1c 5]
    fake.script("DescribePipelineExecution", _at("Executing"), THROTTLE, _at("Executing"), _at("Succeeded"))
    fake.script("ListPipelineExecutionSteps", trouble, trouble, _steps("Succeeded"))
    assert (await _outcome(aws, _pipeline())).payload == {"status": "success", "value": EXECUTION}


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (COMPLETE, "Failed"),
        (COMPLETE, "Stopped"),
        (COMPLETE, "CompletedWithFailures"),  # [1b 4]
        (STOPPED, "Failed"),
        (STOPPED, "Succeeded"),  # [1b 4]
        (STOPPED, "CompletedWithFailures"),
    ],
)
async def test_every_other_end_of_a_pipeline_raises_at_once(fake: FakeAws, aws: Aws, kind: int, status: str) -> None:
    fake.script("DescribePipelineExecution", _at("Executing"), _at(status, FailureReason="step s1 failed"))
    fake.script("ListPipelineExecutionSteps", _steps("Failed"))
    event = await _outcome(aws, _pipeline(kind))
    assert event.outcome == "failed"
    assert event.error is not None
    assert event.error.code == "waiter_failed"
    assert f"PipelineExecutionStatus is {status}: step s1 failed" in event.error.message


async def test_a_pipeline_that_is_stopped_is_what_was_waited_for(fake: FakeAws, aws: Aws) -> None:
    fake.script("DescribePipelineExecution", _at("Stopping"), _at("Stopped"))
    fake.script("ListPipelineExecutionSteps", _steps("Stopped"))
    assert (await _outcome(aws, _pipeline(STOPPED))).payload == {"status": "success", "value": EXECUTION}


# --- SSM --------------------------------------------------------------------------------------------------------


def _ssm(**change: Any) -> SsmRunCommandTrigger:
    return SsmRunCommandTrigger(COMMAND, **{"delay": 0.05, "max_attempts": 200, **change})


def _commands(*status: str, completed: int = 0) -> dict[str, Any]:
    return {"Commands": [{"CommandId": COMMAND, "Status": each, "CompletedCount": completed} for each in status]}


def _on(instance: str, status: str, code: int | None = None, details: str = "") -> dict[str, Any]:
    plugins = [] if code is None else [{"Name": "x", "Status": status, "ResponseCode": code}]
    return {
        "CommandId": COMMAND, "InstanceId": instance, "Status": status, "StatusDetails": details or status,
        "CommandPlugins": plugins,
    }  # fmt: skip


def _listed(*invocations: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"CommandInvocations": list(invocations), **more}


async def test_a_command_without_an_instance_yet_is_not_over(fake: FakeAws, aws: Aws) -> None:  # [1b 8]
    fake.script("ListCommands", _commands(), _commands("Pending"), _commands("Success", completed=1))
    fake.script(
        "ListCommandInvocations", _listed(), _listed(_on("i-1", "InProgress")), _listed(_on("i-1", "Success", 0))
    )
    event = await _outcome(aws, _ssm())
    assert event.payload == {"status": "success", "command_id": COMMAND}
    assert event.details["instances"] == 1
    assert fake.calls["ListCommands"] == fake.calls["ListCommandInvocations"] == 3


@pytest.mark.parametrize("tolerant", [False, True])
async def test_an_instance_on_the_second_page_that_failed_counts(fake: FakeAws, aws: Aws, tolerant: bool) -> None:
    # [1c 2]
    first, second = [_on(f"i-{n}", "Success", 0) for n in range(50)], _on("i-50", "Failed", 7)
    fake.script("ListCommands", _commands("InProgress"), _commands("Failed", completed=51))
    fake.script(
        "ListCommandInvocations",
        lambda params: _listed(second) if params.get("NextToken") == "2" else _listed(*first, NextToken="2"),
    )
    event = await _outcome(aws, _ssm(fail_on_nonzero_exit=not tolerant))
    assert event.details["exit_codes"] == {"i-50": 7}
    assert event.details["instances"] == 51
    if tolerant:
        assert event.payload == {"status": "success", "command_id": COMMAND}
        return
    message = event.payload.pop("message")
    assert event.payload == {
        "status": "failed", "command_status": "Failed", "exit_code": 7, "instance_id": "i-50", "command_id": COMMAND,
    }  # fmt: skip
    assert message == "the command ended with status Failed (exit code: 7) on i-50"


@pytest.mark.parametrize("tolerant", [False, True])
async def test_a_command_that_still_runs_when_the_budget_is_used_up_is_no_success(
    fake: FakeAws, aws: Aws, tolerant: bool
) -> None:  # [1c 1]
    fake.script("ListCommands", _commands("InProgress"))
    fake.script("ListCommandInvocations", _listed(_on("i-1", "Success", 0), _on("i-2", "InProgress")))
    event = await _outcome(aws, _ssm(max_attempts=3, fail_on_nonzero_exit=not tolerant))
    assert event.payload == {
        "status": "failed", "command_status": "InProgress", "exit_code": -1, "instance_id": "i-2",
        "command_id": COMMAND, "message": "the command is still InProgress on i-2",
    }  # fmt: skip


@pytest.mark.parametrize("trouble", [THROTTLE, Drop(), Fault("InternalServerError", status=500)])
async def test_trouble_of_the_network_is_no_end_of_a_command(fake: FakeAws, aws: Aws, trouble: Any) -> None:  # [1c 1]
    fake.script("ListCommands", trouble, _commands("InProgress"), trouble, _commands("Success", completed=1))
    fake.script("ListCommandInvocations", trouble, _listed(_on("i-1", "Success", 0)))
    event = await _outcome(aws, _ssm(fail_on_nonzero_exit=False))
    assert event.payload == {"status": "success", "command_id": COMMAND}


@pytest.mark.parametrize("tolerant", [False, True])
@pytest.mark.parametrize("status", ["TimedOut", "Cancelled", "Cancelling"])
async def test_what_aws_itself_ended_raises(fake: FakeAws, aws: Aws, status: str, tolerant: bool) -> None:
    fake.script("ListCommands", _commands("InProgress" if status == "Cancelling" else status))
    fake.script("ListCommandInvocations", _listed(_on("i-1", "Success", 0), _on("i-2", status, details="by AWS")))
    event = await _outcome(aws, _ssm(max_attempts=2, fail_on_nonzero_exit=not tolerant))
    assert event.outcome == "failed"
    assert event.error is not None
    assert event.error.message == f"command {COMMAND} is {status} on i-2 (by AWS)"


async def test_a_command_that_never_ran_has_no_exit_code_to_tolerate(fake: FakeAws, aws: Aws) -> None:
    fake.script("ListCommands", _commands("Failed", completed=1))
    fake.script("ListCommandInvocations", _listed(_on("i-1", "Failed", details="Undeliverable")))
    event = await _outcome(aws, _ssm(fail_on_nonzero_exit=False))
    assert event.payload["status"] == "failed"
    assert event.payload["exit_code"] == -1


async def test_a_command_that_failed_on_no_instance_raises(fake: FakeAws, aws: Aws) -> None:
    fake.script("ListCommands", _commands("Failed"))
    fake.script("ListCommandInvocations", _listed())
    event = await _outcome(aws, _ssm())
    assert event.error is not None
    assert "Commands[].Status is Failed" in event.error.message


async def test_instances_that_ssm_does_not_list_are_no_success(
    fake: FakeAws, aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssm, "_LAG_LOOKS", 3)
    fake.script("ListCommands", _commands("Success", completed=2))
    fake.script("ListCommandInvocations", _listed(_on("i-1", "Success", 0)))
    event = await _outcome(aws, _ssm())
    assert event.error is not None
    assert event.error.message == f"command {COMMAND}: SSM lists 1 of 2 instances"
    assert fake.calls["ListCommandInvocations"] == 3


@pytest.mark.parametrize(
    ("trigger", "stopped"),
    [
        (_ssm(), ("CancelCommand", {"CommandId": COMMAND})),
        (_pipeline(), ("StopPipelineExecution", {"PipelineExecutionArn": EXECUTION})),
        (_job("training"), ("StopTrainingJob", {"TrainingJobName": "j1"})),
        (_job("endpoint"), None),
    ],
)
async def test_a_move_stops_nothing_and_a_cancel_does(fake: FakeAws, aws: Aws, trigger: Any, stopped: Any) -> None:
    fake.script("ListCommands", _commands("InProgress"))
    fake.script("DescribePipelineExecution", _at("Executing"))
    fake.script("ListPipelineExecutionSteps", _steps())
    fake.script("DescribeTrainingJob", {"TrainingJobStatus": "InProgress"})
    fake.script("DescribeEndpoint", {"EndpointStatus": "Creating"})
    trigger.context = LocalContext(aws, trigger_id="t1", deadline_ms=0, restored=None)
    run = asyncio.ensure_future(anext(trigger.run()))
    await eventually(lambda: fake.calls.total() > 2)
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)
    assert fake.mutating == 0
    for operation in ("CancelCommand", "StopPipelineExecution", "StopTrainingJob"):
        fake.script(operation, {})
    await trigger.on_cancel()
    asked = [seen.params for seen in fake.mutations]
    for params in asked:
        params.pop("ClientRequestToken", None)
    assert [(seen.operation, seen.params) for seen in fake.mutations] == ([stopped] if stopped else [])
