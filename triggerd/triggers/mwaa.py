"""The triggers that wait for DAG runs and task instances of Amazon MWAA."""

from collections.abc import AsyncIterator, Callable, Collection, Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import quote

from triggerd.errors import AwsCallError, ConfigError, WaiterDefinitionError, WaitError
from triggerd.trigger import Progress, TriggerEvent, WaitResponse
from triggerd.triggers.arguments import changed, names, text
from triggerd.triggers.aws import AwsWaiterTrigger
from triggerd.triggers.kept import Kept
from triggerd.triggers.paced import paced
from triggerd.triggers.wait_checkpoints import WaitCheckpoints

_SAFE = "!$&'()*+,;=:@~"  # what a segment of a path may have as it is, and ids of DAG runs do have
_MAX_REASON = 500
_DELAY_S = 60.0
_SERVER_ERROR = "RestApiServerException"
_RUN_ENDS = ("success", "failed")
_TASK_ENDS = ("success", "failed", "upstream_failed", "skipped", "removed")


@lru_cache(maxsize=64)
def _acceptors(success: tuple[str, ...], failure: tuple[str, ...], ends: tuple[str, ...]) -> list[dict[str, Any]]:
    """What has ended in a state that nobody has named will not come to another."""
    states = {**dict.fromkeys((*ends, *failure), "failure"), **dict.fromkeys(success, "success")}
    rules = [
        {"state": end, "matcher": "path", "argument": "RestApiResponse.state", "expected": state}
        for state, end in states.items()
    ]
    # Airflow's own 5xx: its web server restarts, is updated, is busy.
    return [*rules, {"state": "retry", "matcher": "error", "expected": _SERVER_ERROR}]


def _states(
    success: tuple[str, ...] | None, failure: tuple[str, ...] | None, defaults: tuple[set[str], set[str]]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Both. A state that one of them names is none of the other's defaults."""
    bad = failure or tuple(sorted(defaults[1].difference(success or ())))
    good = success or tuple(sorted(defaults[0].difference(bad)))
    if both := set(good).intersection(bad):
        raise ValueError(f"success_states and failure_states both have {', '.join(sorted(both))}")
    if not good:
        raise ValueError("success_states: none is left, failure_states has them all")
    return good, bad


def _path(*segments: str) -> str:
    return "".join(f"/{quote(segment, safe=_SAFE)}" for segment in segments)


class _MwaaTrigger(AwsWaiterTrigger):
    """What both have: the REST API's answer, and its errors."""

    def _failure(self, error: WaitError | WaiterDefinitionError | ConfigError) -> TriggerEvent:
        event = super()._failure(error)
        response = error.response if isinstance(error, WaitError) else {}
        if "RestApiStatusCode" in response:
            said = response.get("RestApiResponse")
            why = said.get("detail") or said.get("title") if isinstance(said, Mapping) else None
            said_why = f": {str(why)[:_MAX_REASON]}" if why else ""
            event.payload["message"] += f" (HTTP {response['RestApiStatusCode']} from Airflow{said_why})"
        return event


class MwaaDagRunCompletedTrigger(_MwaaTrigger):
    """Waits until a DAG run is in one of some states.

    Fires ``{"status": "success", "dag_run_id": ...}``, or ``{"status": "error", "message": ..., "dag_run_id": ...}``
    in a failure state, where the run has ended in a state that is in neither, or where there is no such run (it is
    there from the moment when it is triggered). Errors of Airflow's web server are waited through.

    Args:
        external_env_name: Name of the MWAA environment.
        success_states: As a list or a set; ``success`` where None. failure_states: ``failed`` where None.
        delay: Seconds between polls. max_attempts: with `delay`, the budget of time.
    """

    failure_message: str = "the MWAA DAG run did not come to a success state"

    def __init__(
        self,
        external_env_name: str,
        external_dag_id: str,
        external_dag_run_id: str,
        *,
        success_states: Collection[str] | None = None,
        failure_states: Collection[str] | None = None,
        delay: float = _DELAY_S,
        max_attempts: int | None = 720,
        connection: str = "default",
        region: str | None = None,
    ) -> None:
        run = text("external_dag_run_id", external_dag_run_id)
        path = _path("dags", text("external_dag_id", external_dag_id), "dagRuns", run)
        super().__init__(
            "mwaa", "mwaa_dag_run_complete", _get(external_env_name, path), return_key="dag_run_id", return_value=run,
            delay=delay, max_attempts=max_attempts, connection=connection, region=region,
        )  # fmt: skip
        self.external_env_name, self.external_dag_id, self.external_dag_run_id = external_env_name, external_dag_id, run
        self.success_states = names("success_states", success_states) if success_states else None
        self.failure_states = names("failure_states", failure_states) if failure_states else None
        good, bad = _states(self.success_states, self.failure_states, ({"success"}, {"failed"}))
        self.acceptors = _acceptors(good, bad, _RUN_ENDS)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return "triggerd.triggers.mwaa.MwaaDagRunCompletedTrigger", changed(self)


class MwaaTaskCompletedTrigger(_MwaaTrigger):
    """Waits until a task of a DAG run is in one of some states.

    Fires ``{"status": "success", "task_id": ...}``, or ``{"status": "error", "message": ..., "task_id": ...}``, as
    `MwaaDagRunCompletedTrigger` does.

    Args:
        external_dag_run_id: None: the run that was created last when the trigger begins; it stays with that one.
        success_states: ``success`` and ``skipped`` where None. failure_states: ``failed`` and ``upstream_failed``.
    """

    failure_message: str = "the MWAA task did not come to a success state"

    def __init__(
        self,
        external_env_name: str,
        external_dag_id: str,
        external_task_id: str,
        external_dag_run_id: str | None = None,
        *,
        success_states: Collection[str] | None = None,
        failure_states: Collection[str] | None = None,
        delay: float = _DELAY_S,
        max_attempts: int | None = 720,
        connection: str = "default",
        region: str | None = None,
    ) -> None:
        super().__init__(
            "mwaa", "mwaa_task_complete", _get(external_env_name, "/"),
            return_key="task_id", return_value=text("external_task_id", external_task_id),
            delay=delay, max_attempts=max_attempts, connection=connection, region=region,
        )  # fmt: skip
        self.external_env_name, self.external_task_id = external_env_name, external_task_id
        self.external_dag_id = text("external_dag_id", external_dag_id)
        self.external_dag_run_id = external_dag_run_id
        if external_dag_run_id is not None:
            self._is_of(text("external_dag_run_id", external_dag_run_id))
        self.success_states = names("success_states", success_states) if success_states else None
        self.failure_states = names("failure_states", failure_states) if failure_states else None
        defaults = ({"success", "skipped"}, {"failed", "upstream_failed"})
        good, bad = _states(self.success_states, self.failure_states, defaults)
        self.acceptors = _acceptors(good, bad, _TASK_ENDS)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return "triggerd.triggers.mwaa.MwaaTaskCompletedTrigger", changed(self)

    def run(self) -> AsyncIterator[TriggerEvent]:
        if self.external_dag_run_id is None:
            self.context = Kept(self.context, str)  # the run's id
        return super().run()

    async def _wait(
        self, checkpoints: WaitCheckpoints, on_poll: Callable[[Progress], None] | None = None
    ) -> WaitResponse:
        if isinstance(self.context, Kept):
            if self.context.value is None:
                await self.context.keep(await self._latest_run())
            self._is_of(self.context.value)
        return await super()._wait(checkpoints, on_poll)

    def _is_of(self, run_id: str) -> None:
        segments = ("dags", self.external_dag_id, "dagRuns", run_id, "taskInstances", self.external_task_id)
        self.waiter_args = _get(self.external_env_name, _path(*segments))

    async def _latest_run(self) -> str:
        """Raises AwsCallError where the DAG has none."""
        path = _path("dags", self.external_dag_id, "dagRuns")
        params = {**_get(self.external_env_name, path), "QueryParameters": {"order_by": "-id", "limit": 1}}
        async for _ in paced(self.delay or _DELAY_S):
            try:
                found = await self.context.aws.poll(
                    "mwaa", "InvokeRestApi", params, connection=self.connection, region=self.region
                )
            except AwsCallError as error:
                if error.aws_code != _SERVER_ERROR:
                    raise
                continue
            runs = found.get("RestApiResponse", {}).get("dag_runs")
            if not runs:
                raise AwsCallError(f"the DAG {self.external_dag_id} has no run", response=found)
            return str(runs[0]["dag_run_id"])
        raise AssertionError("without max_attempts there is no last look")


def _get(environment: str, path: str) -> dict[str, Any]:
    return {"Name": text("external_env_name", environment), "Path": path, "Method": "GET"}
