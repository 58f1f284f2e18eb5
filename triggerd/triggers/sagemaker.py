"""The triggers that wait for SageMaker: its jobs, an endpoint, the execution of a pipeline."""

from collections import Counter
from collections.abc import Awaitable, Callable
from enum import IntEnum
from typing import Any

from triggerd.errors import ConfigError, WaiterDefinitionError, WaiterExhaustedError, WaiterFailedError, WaitError
from triggerd.trigger import TriggerEvent
from triggerd.triggers.arguments import changed, text
from triggerd.triggers.aws import AwsWaiterTrigger, failure_details
from triggerd.triggers.beside import BesideWaiterTrigger

# job_type: (waiter, its parameter, the answer's status)
_JOBS = {
    "training": ("TrainingJobComplete", "TrainingJobName", "TrainingJobStatus"),
    "transform": ("TransformJobComplete", "TransformJobName", "TransformJobStatus"),
    "processing": ("ProcessingJobComplete", "ProcessingJobName", "ProcessingJobStatus"),
    "tuning": ("TuningJobComplete", "HyperParameterTuningJobName", "HyperParameterTuningJobStatus"),
    "endpoint": ("EndpointInService", "EndpointName", "EndpointStatus"),
}
_MAX_STEP_PAGES, _MAX_NAMES = 20, 20


class SageMakerTrigger(AwsWaiterTrigger):
    """Waits until a job has completed, or an endpoint is in service.

    Fires ``{"status": "success", "job_name": ...}``, or ``{"status": ..., "job_name": ..., "message": ...}``:
    ``failed`` with AWS's reason, ``stopped``, ``timeout`` where the budget is used up, ``error`` for anything else.
    An explicit cancel stops the job; an endpoint is left alone.

    Args:
        job_type: ``training``, ``transform``, ``processing``, ``tuning`` or ``endpoint``, in any case.
        delay: Seconds between polls. max_attempts: with `delay`, the budget of time.
    """

    def __init__(
        self,
        job_name: str,
        job_type: str,
        *,
        delay: float = 30,
        max_attempts: int | None = 480,
        connection: str = "default",
        region: str | None = None,
    ) -> None:
        kind = text("job_type", job_type).lower()
        if kind not in _JOBS:
            raise ValueError(f"job_type {job_type!r}: one of {', '.join(_JOBS)} is expected")
        waiter, parameter, self._status = _JOBS[kind]
        super().__init__(
            "sagemaker", waiter, {parameter: text("job_name", job_name)}, return_key="job_name", return_value=job_name,
            delay=delay, max_attempts=max_attempts, connection=connection, region=region,
            failure_message=f"the {kind} {'is not in service' if kind == 'endpoint' else 'job did not complete'}",
        )  # fmt: skip
        self.job_name, self.job_type = job_name, job_type

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return "triggerd.triggers.sagemaker.SageMakerTrigger", changed(self)

    def _failure(self, error: WaitError | WaiterDefinitionError | ConfigError) -> TriggerEvent:
        status, message = "error", f"{self.failure_message}: {error}"
        if isinstance(error, WaiterExhaustedError):
            status = "timeout"
        elif isinstance(error, WaiterFailedError):
            reached = error.response.get(self._status)
            status = {"Failed": "failed", "Stopped": "stopped"}.get(str(reached), status)
            if status == "failed":
                message = error.response.get("FailureReason") or message
        return TriggerEvent({"status": status, "job_name": self.job_name, "message": message}, failure_details(error))


class SageMakerPipelineTrigger(BesideWaiterTrigger):
    """Waits until the execution of a pipeline has succeeded, or is stopped; its progress is logged, step by step.

    Fires ``{"status": "success", "value": the execution's ARN}``. Any other end, CompletedWithFailures among them,
    raises. An explicit cancel stops the execution.

    Args:
        waiter_type: What is waited for: ``SageMakerPipelineTrigger.Type.COMPLETE`` (1) or ``STOPPED`` (2).
        delay: Seconds between polls. max_attempts: with `delay`, the budget of time.
    """

    class Type(IntEnum):
        """What is waited for."""

        COMPLETE = 1
        STOPPED = 2

    def __init__(
        self,
        waiter_type: int,
        pipeline_execution_arn: str,
        *,
        delay: float | None = None,
        max_attempts: int | None = None,
        connection: str = "default",
        region: str | None = None,
    ) -> None:
        if isinstance(waiter_type, bool) or not isinstance(waiter_type, int) or waiter_type not in (1, 2):
            raise ValueError(f"waiter_type = {waiter_type!r}: 1 (complete) or 2 (stopped) is expected")
        arn = text("pipeline_execution_arn", pipeline_execution_arn)
        waiter = "PipelineExecutionComplete" if waiter_type == self.Type.COMPLETE else "PipelineExecutionStopped"
        super().__init__(
            "sagemaker", waiter, {"PipelineExecutionArn": arn}, return_value=arn,
            delay=delay, max_attempts=max_attempts, connection=connection, region=region,
        )  # fmt: skip
        self.waiter_type, self.pipeline_execution_arn = int(waiter_type), arn

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return "triggerd.triggers.sagemaker.SageMakerPipelineTrigger", changed(self)

    def _failure(self, error: WaitError | WaiterDefinitionError | ConfigError) -> TriggerEvent:
        raise error

    def _beside(self) -> Callable[[], Awaitable[None]]:
        logged: Counter[str] = Counter()

        async def look() -> None:
            nonlocal logged
            steps = await self._steps()
            counts = Counter(step.get("StepStatus", "unknown") for step in steps)
            if counts != logged:
                running = [step.get("StepName") for step in steps if step.get("StepStatus") == "Executing"]
                self.context.log.info("steps of the pipeline", counts=dict(counts), running=running[:_MAX_NAMES])
                logged = counts

        return look

    async def _steps(self) -> list[dict[str, Any]]:
        steps: list[dict[str, Any]] = []
        params: dict[str, Any] = {"PipelineExecutionArn": self.pipeline_execution_arn, "MaxResults": 100}
        for _ in range(_MAX_STEP_PAGES):
            answer = await self.context.aws.poll(
                "sagemaker", "ListPipelineExecutionSteps", params, connection=self.connection, region=self.region
            )
            steps += answer.get("PipelineExecutionSteps") or ()
            if not answer.get("NextToken"):
                break
            params = {**params, "NextToken": answer["NextToken"]}
        return steps
