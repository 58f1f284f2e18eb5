"""The triggers that wait for job runs of EMR Serverless."""

import sys
from collections.abc import Collection
from functools import lru_cache
from typing import Any

from triggerd.errors import ConfigError, WaiterDefinitionError, WaitError
from triggerd.trigger import TriggerEvent, WaitResponse
from triggerd.triggers.arguments import changed, flag, names, text
from triggerd.triggers.aws import AwsWaiterTrigger, failure_details, success_details

_ENDS = ("SUCCESS", "FAILED", "CANCELLED")
_NOT_OVER = ("SUBMITTED", "PENDING", "SCHEDULED", "QUEUED", "RUNNING", "CANCELLING")


@lru_cache(maxsize=64)
def _acceptors(targets: tuple[str, ...]) -> list[dict[str, Any]]:
    """A job that is being cancelled will be CANCELLED and nothing else."""
    missed = [*_ENDS, *(() if "CANCELLED" in targets else ("CANCELLING",))]
    states = {**dict.fromkeys(missed, "failure"), **dict.fromkeys(targets, "success")}
    return [
        {"state": end, "matcher": "path", "argument": "jobRun.state", "expected": state}
        for state, end in states.items()
    ]


class EmrServerlessJobSensorTrigger(AwsWaiterTrigger):
    """Waits until a job run is in one of some states.

    Fires ``{"status": "success", "value": None}``, or ``{"status": "error", "message": ..., "value": None}`` where the
    job run has ended in another state, or is being cancelled. A state that passes quickly may be missed between polls.

    Args:
        target_states: As ``["SUCCESS"]``.
        delay: Seconds between polls. max_attempts: with `delay` a budget of time; as it is: until the deadline.
    """

    max_attempts: int | None = sys.maxsize
    failure_message: str = "the EMR Serverless job run did not come to a wanted state"

    def __init__(
        self,
        application_id: str,
        job_run_id: str,
        target_states: Collection[str],
        *,
        delay: float = 60,
        max_attempts: int | None = sys.maxsize,
        connection: str = "default",
        region: str | None = None,
    ) -> None:
        arguments = {
            "applicationId": text("application_id", application_id),
            "jobRunId": text("job_run_id", job_run_id),
        }
        super().__init__(
            "emr-serverless", "serverless_job_completed", arguments, status_queries=("jobRun.state",),
            delay=delay, max_attempts=max_attempts, connection=connection, region=region, cancel_call=False,
        )  # fmt: skip
        self.application_id, self.job_run_id = application_id, job_run_id
        self.target_states = names("target_states", target_states)
        self.acceptors = _acceptors(self.target_states)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return "triggerd.triggers.emr_serverless.EmrServerlessJobSensorTrigger", changed(self)


class EmrServerlessStartJobTrigger(AwsWaiterTrigger):
    """Waits until a job run has succeeded.

    Fires ``{"status": "success", "job_details": {"application_id": ..., "job_id": ...}}``, or ``{"status": "failure",
    "message": ...}``. An explicit cancel stops the job run.

    Args:
        delay: Seconds between polls. max_attempts: with `delay`, the budget of time.
        cancel_on_kill: False: a cancel lets the job run go on.
    """

    failure_message: str = "the EMR Serverless job run failed"

    def __init__(
        self,
        application_id: str,
        job_id: str,
        *,
        delay: float = 30,
        max_attempts: int | None = 60,
        connection: str = "default",
        region: str | None = None,
        cancel_on_kill: bool = True,
    ) -> None:
        arguments = {"applicationId": text("application_id", application_id), "jobRunId": text("job_id", job_id)}
        super().__init__(
            "emr-serverless", "serverless_job_completed", arguments,
            delay=delay, max_attempts=max_attempts, connection=connection, region=region,
            cancel_call=None if flag("cancel_on_kill", cancel_on_kill) else False,
        )  # fmt: skip
        self.application_id, self.job_id, self.cancel_on_kill = application_id, job_id, cancel_on_kill

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return "triggerd.triggers.emr_serverless.EmrServerlessStartJobTrigger", changed(self)

    def _success(self, response: WaitResponse) -> TriggerEvent:
        job = {"application_id": self.application_id, "job_id": self.job_id}
        return TriggerEvent({"status": "success", "job_details": job}, success_details(response))

    def _failure(self, error: WaitError | WaiterDefinitionError | ConfigError) -> TriggerEvent:
        payload = {"status": "failure", "message": f"{self.failure_message}: {error}"}
        return TriggerEvent(payload, failure_details(error))


class EmrServerlessCancelJobsTrigger(AwsWaiterTrigger):
    """Waits until no job run of an application is waiting or running any more.

    Fires ``{"status": "success", "application_id": ...}``, or ``{"status": "error", "message": ..., "application_id":
    ...}`` where some are when the budget is used up.

    Args:
        delay: Seconds between polls. max_attempts: with `delay`, the budget of time.
    """

    failure_message: str = "the EMR Serverless application still has job runs"

    def __init__(
        self,
        application_id: str,
        *,
        delay: float = 10,
        max_attempts: int | None = 60,
        connection: str = "default",
        region: str | None = None,
    ) -> None:
        arguments = {"applicationId": text("application_id", application_id), "states": list(_NOT_OVER)}
        super().__init__(
            "emr-serverless", "no_job_running", arguments, return_key="application_id", return_value=application_id,
            delay=delay, max_attempts=max_attempts, connection=connection, region=region,
        )  # fmt: skip
        self.application_id = application_id

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return "triggerd.triggers.emr_serverless.EmrServerlessCancelJobsTrigger", changed(self)
