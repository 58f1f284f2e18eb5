"""The trigger that waits until tables of a replication task are loaded, or validated, anew."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Any

from triggerd.errors import ConfigError, WaiterDefinitionError, WaitError
from triggerd.trigger import BaseTrigger, TriggerEvent, WaitResponse
from triggerd.triggers.arguments import attempts, changed, mapping, name, number, text
from triggerd.triggers.aws import failure_details
from triggerd.triggers.together import together
from triggerd.triggers.wait_checkpoints import WaitCheckpoints

_WAITERS = {"data-reload": "table_reload_complete", "validate-only": "table_validation_complete"}
_MAX_TABLES = 100


class DmsTableReloadCompleteTrigger(BaseTrigger):
    """Waits until every table is loaded again, or validated; for all of them at once, within one budget of time.

    Fires ``{"status": "success", "replication_task_arn": ...}``, or ``{"status": "error", "message": ...,
    "replication_task_arn": ...}`` with the first table that fails.

    Args:
        tables_to_reload: ``[{"SchemaName": ..., "TableName": ...}]``, at most 100.
        reload_option: ``data-reload``, or ``validate-only``: then it is the validation that is waited for.
        delay: Seconds between polls of a table. max_attempts: with `delay`, the budget of time.
    """

    def __init__(
        self,
        replication_task_arn: str,
        tables_to_reload: Sequence[Mapping[str, str]],
        reload_option: str = "data-reload",
        *,
        delay: float = 30,
        max_attempts: int | None = 60,
        connection: str = "default",
        region: str | None = None,
    ) -> None:
        if not isinstance(reload_option, str) or reload_option not in _WAITERS:
            raise ValueError(f"reload_option {reload_option!r:.100}: must be one of {', '.join(_WAITERS)}")
        if not isinstance(tables_to_reload, list | tuple) or not 0 < len(tables_to_reload) <= _MAX_TABLES:
            raise ValueError(
                f"tables_to_reload must be a list of 1 to {_MAX_TABLES} tables, not {tables_to_reload!r:.100}"
            )
        self.replication_task_arn = text("replication_task_arn", replication_task_arn)
        self.tables_to_reload = [_table(each) for each in tables_to_reload]
        self.reload_option = reload_option
        self.delay, self.max_attempts = number("delay", delay), attempts(max_attempts)
        self.connection = name("connection", connection)
        self.region = region if region is None else name("region", region)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return "triggerd.triggers.dms.DmsTableReloadCompleteTrigger", changed(self)

    async def run(self) -> AsyncIterator[TriggerEvent]:
        # Each table has the same budget, so the state of one wait, whichever polled last, is that of all.
        checkpoints = WaitCheckpoints(self.context, "AWS wait goes on")
        try:
            tables = {repr(table): table for table in self.tables_to_reload}  # a dot in a name would not tell two apart
            waits = {name: self._wait(table, checkpoints) for name, table in tables.items()}
            responses = (await together(waits)).values()
        except asyncio.CancelledError:
            await checkpoints.stop()
            raise
        except (WaitError, WaiterDefinitionError, ConfigError) as error:
            payload = {"status": "error", "message": _said(error), "replication_task_arn": self.replication_task_arn}
            event = TriggerEvent(payload, failure_details(error))
        else:
            payload = {"status": "success", "replication_task_arn": self.replication_task_arn}
            event = TriggerEvent(payload, _details(responses))
        finally:
            await checkpoints.close()
        yield event

    async def _wait(self, table: Mapping[str, str], checkpoints: WaitCheckpoints) -> WaitResponse:
        filters = [
            {"Name": "schema-name", "Values": [table["SchemaName"]]},
            {"Name": "table-name", "Values": [table["TableName"]]},
        ]
        return await self.context.aws.wait(
            "dms", _WAITERS[self.reload_option], {"ReplicationTaskArn": self.replication_task_arn, "Filters": filters},
            delay=self.delay, max_attempts=self.max_attempts, connection=self.connection, region=self.region,
            on_poll=checkpoints, restored=checkpoints.restored(),
        )  # fmt: skip


def _table(value: Mapping[str, str]) -> dict[str, str]:
    table = mapping("tables_to_reload", value)
    return {key: text(f"tables_to_reload: {key}", table.get(key)) for key in ("SchemaName", "TableName")}


def _said(error: WaitError | WaiterDefinitionError | ConfigError) -> str:
    """With the table that AWS answered about."""
    tables = error.response.get("TableStatistics") if isinstance(error, WaitError) else None
    table = tables[0] if tables else {}
    return f"table {table.get('SchemaName')}.{table.get('TableName')}: {error}" if table else str(error)


def _details(responses: Collection[WaitResponse]) -> dict[str, Any]:
    """The status is the one that they share; the polls are those of all, the seconds those of the slowest."""
    statuses = {response.last_status for response in responses}
    return {
        "last_status": statuses.pop() if len(statuses) == 1 else None,
        "polls": sum(response.polls for response in responses),
        "waited_s": max(response.waited_s for response in responses),
    }
