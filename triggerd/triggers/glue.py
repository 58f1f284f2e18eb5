"""The triggers that wait for a job run of Glue and for a partition in its catalog."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from triggerd.trigger import BaseTrigger, TriggerEvent
from triggerd.triggers.arguments import attempts, changed, flag, name, number, text
from triggerd.triggers.log_tail import LogStream, LogTail, LogTailTrigger
from triggerd.triggers.looks import gave_up, looks
from triggerd.triggers.wait_checkpoints import stored

_DELAY_S = 60.0
_LOG_GROUP = "/aws-glue/jobs"
_LOGS = ("output", "error")


class GlueJobCompleteTrigger(LogTailTrigger):
    """Waits until a run of a job has succeeded.

    Fires ``{"status": "success", "run_id": ...}``, or ``{"status": "error", "message": ..., "run_id": ...}`` where the
    run has ended in any other way. An explicit cancel stops the run.

    Args:
        verbose: Copy the run's output and its error log into the trigger's.
        delay: Seconds between polls. max_attempts: with `delay`, the budget of time.
    """

    failure_message: str = "the Glue job did not succeed"

    def __init__(
        self,
        job_name: str,
        run_id: str,
        verbose: bool = False,  # noqa: FBT001, FBT002 - Airflow's order
        *,
        delay: float = _DELAY_S,
        max_attempts: int | None = 75,
        connection: str = "default",
        region: str | None = None,
    ) -> None:
        arguments = {"JobName": text("job_name", job_name), "RunId": text("run_id", run_id)}
        super().__init__(
            "glue", "job_complete", arguments, return_key="run_id", return_value=run_id,
            delay=delay, max_attempts=max_attempts, connection=connection, region=region,
        )  # fmt: skip
        self.job_name, self.run_id, self.verbose = job_name, run_id, flag("verbose", verbose)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return "triggerd.triggers.glue.GlueJobCompleteTrigger", changed(self)

    def _streams(self) -> list[LogStream]:
        return [LogStream(f"{_LOG_GROUP}/{kind}", self.run_id) for kind in _LOGS] if self.verbose else []

    def _beside(self) -> Callable[[], Awaitable[None]] | None:
        tail, named = self._tail, False
        if tail is None:
            return None

        async def look() -> None:
            nonlocal named
            named = named or await self._name_groups(tail)
            await tail.look()

        return look

    async def _name_groups(self, tail: LogTail) -> bool:
        """Ask the run where its logs are; whether that is known. A run that has just begun may not say it yet."""
        answer = await self.context.aws.poll(
            "glue", "GetJobRun", self.waiter_args, connection=self.connection, region=self.region
        )
        group = answer["JobRun"].get("LogGroupName")
        if group:
            for stream, kind in zip(tail.streams, _LOGS, strict=True):
                stream.group = f"{group.rstrip('/')}/{kind}"
        return bool(group) or any(stream.token for stream in tail.streams)


class GlueCatalogPartitionTrigger(BaseTrigger):
    """Waits until a table has a partition.

    Fires ``{"status": "success"}``, or ``{"status": "error", "message": ...}`` where the budget is used up. An error
    of AWS (no such table or database, an expression that cannot be read) raises.

    Args:
        table_name: ``database.table`` goes before `database_name`.
        expression: Which partition, as Glue's GetPartitions has it: ``"ds >= '2026-01-01' AND kind = 'a'"``. Empty:
            any.
        delay: Seconds between looks. max_attempts: with `delay` a budget of time; None: until the deadline.
    """

    def __init__(
        self,
        database_name: str,
        table_name: str,
        expression: str = "",
        *,
        delay: float = _DELAY_S,
        max_attempts: int | None = None,
        connection: str = "default",
        region: str | None = None,
    ) -> None:
        self.database_name = name("database_name", database_name)
        self.table_name = name("table_name", table_name)
        self.expression = text("expression", expression) if expression != "" else ""
        self.delay = number("delay", delay) or _DELAY_S
        self.max_attempts = attempts(max_attempts)
        self.connection = name("connection", connection)
        self.region = region if region is None else name("region", region)
        database, dot, table = self.table_name.partition(".")
        if dot and not (database and table):
            raise ValueError(f"table_name {table_name!r}: a table, or database.table, is expected")
        self._params: dict[str, Any] = {
            "DatabaseName": database if dot else self.database_name,
            "TableName": table if dot else self.table_name,
            "ExcludeColumnSchema": True,
        }
        if self.expression:
            self._params["Expression"] = self.expression

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return "triggerd.triggers.glue.GlueCatalogPartitionTrigger", changed(self)

    async def run(self) -> AsyncIterator[TriggerEvent]:
        polls = 0
        async for polls in looks(self.delay, self.max_attempts, stored(self.context), self.context.checkpoint):
            found = await self._is_there()
            self.context.log.debug("looked for a partition", table=self.table_name, found=found, look=polls)
            if found:
                yield TriggerEvent({"status": "success"}, {"polls": polls})
                return
        yield gave_up(f"{self.table_name} had no partition {self.expression or 'at all'} after {polls} looks")

    async def _is_there(self) -> bool:
        """Glue reads a part of the partitions for each page and filters them then: an empty page is no answer."""
        token: dict[str, str] = {}
        while True:
            answer = await self.context.aws.poll(
                "glue", "GetPartitions", self._params | token, connection=self.connection, region=self.region
            )
            if answer.get("Partitions"):
                return True
            if not answer.get("NextToken"):
                return False
            token = {"NextToken": answer["NextToken"]}
