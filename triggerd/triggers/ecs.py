"""The trigger that waits for a task of ECS."""

from collections.abc import Callable, Mapping
from typing import Any

from triggerd.errors import ConfigError, WaiterDefinitionError, WaiterFailedError, WaitError
from triggerd.trigger import Progress, TriggerEvent, WaitResponse
from triggerd.triggers.arguments import changed, text
from triggerd.triggers.aws import success_details
from triggerd.triggers.log_tail import LogStream, LogTailTrigger
from triggerd.triggers.wait_checkpoints import WaitCheckpoints

# RunTask is answered before all of ECS knows of the task; AWS advises to ask for up to five minutes.
_APPEARS_DELAY_S, _APPEARS_ATTEMPTS = 15.0, 20
_GONE = {"state": "failure", "matcher": "pathAny", "argument": "failures[].reason", "expected": "MISSING"}
_STOPPED = [
    {"state": "success", "matcher": "pathAny", "argument": "tasks[].lastStatus", "expected": status}
    for status in ("STOPPED", "DELETED")
]
_ACCEPTORS = [_GONE, *_STOPPED]
_APPEARS = [{"state": "success", "matcher": "path", "argument": "length(tasks) > `0`", "expected": True}]


class TaskDoneTrigger(LogTailTrigger):
    """Waits until a task has stopped, and copies its log meanwhile.

    Fires ``{"status": "success", "task_arn": ..., "cluster": ...}``, whatever the task's containers did: their exit
    codes are in the event's details as `exit_codes` (by container's name, None where it has none), with ECS's
    `stop_code` and `stopped_reason`. A task that ECS knew and does not know any more, one that it does not know for
    five minutes, and a budget that is used up raise. An explicit cancel stops the task.

    Args:
        cluster: Its name or ARN.
        log_group, log_stream: What is copied; nothing where one of them is None.
        log_region_name: Where the log is; the task's region where None.
        delay: Seconds between polls. max_attempts: with `delay`, the budget of time.
    """

    def __init__(
        self,
        cluster: str,
        task_arn: str,
        *,
        delay: float | None = None,
        max_attempts: int | None = None,
        log_group: str | None = None,
        log_stream: str | None = None,
        log_region_name: str | None = None,
        connection: str = "default",
        region: str | None = None,
    ) -> None:
        arguments = {"cluster": text("cluster", cluster), "tasks": [text("task_arn", task_arn)]}
        super().__init__(
            "ecs", "tasks_stopped", arguments, status_queries=("tasks[].lastStatus | [0]",),
            delay=delay, max_attempts=max_attempts, connection=connection, region=region,
        )  # fmt: skip
        self.acceptors = _ACCEPTORS
        self.cluster, self.task_arn = cluster, task_arn
        self.log_group = _optional("log_group", log_group)
        self.log_stream = _optional("log_stream", log_stream)
        self.log_region_name = _optional("log_region_name", log_region_name)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return "triggerd.triggers.ecs.TaskDoneTrigger", changed(self)

    async def _wait(
        self, checkpoints: WaitCheckpoints, on_poll: Callable[[Progress], None] | None = None
    ) -> WaitResponse:
        try:
            return await super()._wait(checkpoints, on_poll)
        except WaiterFailedError as error:
            if not error.response.get("failures") or error.polls > 1:  # it was there before
                raise
        await self.context.aws.wait(
            "ecs", "tasks_stopped", self.waiter_args, acceptors=_APPEARS,
            delay=min(self.delay or _APPEARS_DELAY_S, _APPEARS_DELAY_S), max_attempts=_APPEARS_ATTEMPTS,
            connection=self.connection, region=self.region,
        )  # fmt: skip
        return await super()._wait(checkpoints, on_poll)

    def _streams(self) -> list[LogStream]:
        return [LogStream(self.log_group, self.log_stream)] if self.log_group and self.log_stream else []

    def _logs_region(self) -> str | None:
        return self.log_region_name or self.region

    def _success(self, response: WaitResponse) -> TriggerEvent:
        payload = {"status": "success", "task_arn": self.task_arn, "cluster": self.cluster}
        return TriggerEvent(payload, {**success_details(response), **_end(response)})

    def _failure(self, error: WaitError | WaiterDefinitionError | ConfigError) -> TriggerEvent:
        if isinstance(error, WaitError) and error.response.get("failures"):
            raise WaiterFailedError(
                f"the task {self.task_arn} is gone, or was never in cluster {self.cluster}: ECS forgets a stopped task"
                f" after an hour or so ({error})",
                last_status=error.last_status, polls=error.polls, waited_s=error.waited_s, response=error.response,
            ) from error  # fmt: skip
        raise error


def _optional(label: str, value: object) -> str | None:
    return None if value in (None, "") else text(label, value)


def _end(response: Mapping[str, Any]) -> dict[str, Any]:
    """How the task ended, as far as ECS says."""
    task: Mapping[str, Any] = next(iter(response.get("tasks") or ()), {})
    containers = task.get("containers") or ()
    return {
        "exit_codes": {each.get("name", ""): each.get("exitCode") for each in containers},
        "stop_code": task.get("stopCode"),
        "stopped_reason": task.get("stoppedReason"),
    }
