"""The trigger that waits for a statement, or a batch of them, of the Redshift Data API."""

import sys
from collections.abc import Iterator, Mapping
from typing import Any

from triggerd.errors import ConfigError, WaiterDefinitionError, WaiterFailedError, WaitError
from triggerd.trigger import TriggerEvent, WaitResponse
from triggerd.triggers.arguments import changed, flag, text
from triggerd.triggers.aws import AwsWaiterTrigger, failure_details, success_details

_BAD = ("FAILED", "ABORTED")
_MAX_PROBLEMS, _MAX_PROBLEM = 10, 500  # a batch has up to 40 statements, and an error may quote all of one


class RedshiftDataTrigger(AwsWaiterTrigger):
    """Waits until a statement has finished.

    Fires ``{"status": "success", "statement_id": ...}``, or ``{"status": "error", "statement_id": ..., "message":
    ..., "type": "FAILED" or "ABORTED"}`` with the database's own error of each statement. A batch with AUTO_COMMIT,
    in which AWS lets one statement fail and goes on, is an error where one has failed. `type` is missing where the
    wait ended in another way. An explicit cancel stops the statement.

    Args:
        task_id: Begins the message of an error.
        delay: Seconds between polls. max_attempts: with `delay` a budget of time; as it is: until the deadline.
        cancel_on_kill: False: a cancel lets the statement run on.
    """

    max_attempts: int | None = sys.maxsize

    def __init__(
        self,
        statement_id: str,
        task_id: str | None = None,
        *,
        delay: float = 10,
        max_attempts: int | None = sys.maxsize,
        connection: str = "default",
        region: str | None = None,
        cancel_on_kill: bool = True,
    ) -> None:
        super().__init__(
            "redshift-data", "statement_finished", {"Id": text("statement_id", statement_id)},
            delay=delay, max_attempts=max_attempts, connection=connection, region=region,
            cancel_call=None if flag("cancel_on_kill", cancel_on_kill) else False,
        )  # fmt: skip
        self.statement_id, self.cancel_on_kill = statement_id, cancel_on_kill
        self.task_id = task_id if task_id is None else text("task_id", task_id)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return "triggerd.triggers.redshift_data.RedshiftDataTrigger", changed(self)

    def _success(self, response: WaitResponse) -> TriggerEvent:
        details = success_details(response)
        bad = [statement for statement in _statements(response) if statement.get("Status") in _BAD]
        if bad:
            return self._error(response, str(bad[0]["Status"]), {**details, "error_type": WaiterFailedError.code})
        return TriggerEvent({"status": "success", "statement_id": self.statement_id}, details)

    def _failure(self, error: WaitError | WaiterDefinitionError | ConfigError) -> TriggerEvent:
        details = failure_details(error)
        if isinstance(error, WaiterFailedError) and error.response.get("Status") in _BAD:
            return self._error(error.response, str(error.response["Status"]), details)
        message = f"{self._who}: {error}"
        return TriggerEvent({"status": "error", "statement_id": self.statement_id, "message": message}, details)

    def _error(self, response: Mapping[str, Any], kind: str, details: dict[str, Any]) -> TriggerEvent:
        message = f"{self._who} {kind}: {'; '.join(_problems(response)) or 'AWS gives no reason'}"
        payload = {"status": "error", "statement_id": self.statement_id, "message": message, "type": kind}
        return TriggerEvent(payload, details)

    @property
    def _who(self) -> str:
        return f"{self.task_id + ': ' if self.task_id else ''}statement {self.statement_id}"


def _problems(response: Mapping[str, Any]) -> Iterator[str]:
    """What the database said, to the whole and to each statement of a batch."""
    found = [str(response["Error"])] if response.get("Error") else []
    found += [
        f"{statement.get('Id')} {statement['Status']}: {statement['Error']}"
        for statement in _statements(response)
        if statement.get("Status") in _BAD and statement.get("Error")
    ]
    for problem in found[:_MAX_PROBLEMS]:
        yield problem if len(problem) <= _MAX_PROBLEM else f"{problem[:_MAX_PROBLEM]}..."
    if len(found) > _MAX_PROBLEMS:
        yield f"and {len(found) - _MAX_PROBLEMS} more"


def _statements(response: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return response.get("SubStatements") or []
