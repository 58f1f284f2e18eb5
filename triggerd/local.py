"""Triggers and tasks run right here, without Redis and daemon: for ``deferrable=False`` and for tests."""

import asyncio
import contextlib
import importlib.metadata
import logging
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

from triggerd.clock import wall_ms
from triggerd.deferrable import Deferrable, call_task
from triggerd.deferral import new_id, timeout_ms
from triggerd.envelope import pack, unpack
from triggerd.errors import MissingExtraError, TriggerdError
from triggerd.event import Continuation, Event, EventError, decode_event, encode_event
from triggerd.trigger import AwsContext

_FINISH_WITHIN_S = 10.0


class StructuredLog:
    """``log.info("event name", key=value)`` on top of the standard library's logging."""

    def __init__(self, name: str, **bound: Any) -> None:
        self._logger, self._bound = logging.getLogger(name), bound

    def debug(self, event: str, **values: Any) -> None:
        self._log(logging.DEBUG, event, values)

    def info(self, event: str, **values: Any) -> None:
        self._log(logging.INFO, event, values)

    def warning(self, event: str, **values: Any) -> None:
        self._log(logging.WARNING, event, values)

    def error(self, event: str, **values: Any) -> None:
        self._log(logging.ERROR, event, values)

    def critical(self, event: str, **values: Any) -> None:
        self._log(logging.CRITICAL, event, values)

    def _log(self, level: int, event: str, values: dict[str, Any]) -> None:
        fields = " ".join(f"{key}={value!r}" for key, value in (self._bound | values).items())
        self._logger.log(level, "%s %s", event, fields)


class LocalContext:
    """The `TriggerContext` of a trigger that runs here. `checkpoints` is the list of values it has stored."""

    def __init__(self, aws: AwsContext, *, trigger_id: str, deadline_ms: int, restored: Any) -> None:
        self.aws, self.trigger_id, self.deadline_ms, self.restored = aws, trigger_id, deadline_ms, restored
        self.log: Any = StructuredLog("triggerd.trigger", trigger_id=trigger_id)
        self.checkpoints: list[Any] = []

    async def checkpoint(self, value: Any) -> None:
        """Remember `value`; as on the wire, what cannot be packed is refused."""
        self.checkpoints.append(unpack(pack(value, "checkpoint")))


async def run_here(
    trigger: Any,
    *,
    timeout: float | timedelta | None = None,
    aws: AwsContext | None = None,
    restored: Any = None,
    trigger_id: str = "local",
) -> list[Event]:
    """Run one trigger to its outcome and return its events, the final one last.

    Args:
        trigger: A trigger, or anything with its shape.
        timeout: Seconds (or a timedelta) until the outcome is ``timed_out``; None: 10 days.
        aws: Where the trigger's AWS calls go; by default the environment's own credentials (needs triggerd[daemon],
            and is opened only if the trigger uses it).
        restored: What `context.restored` is to give.
        trigger_id: The id that the events carry.
    """
    if isinstance(trigger, tuple | list):
        raise TypeError("a pair (classpath, kwargs) is for a queue: in place, pass the trigger itself")
    timeout_s = timeout_ms(timeout) / 1000
    async with contextlib.AsyncExitStack() as stack:
        aws = aws if aws is not None else AwsOnDemand(stack, _find_aws)
        deadline_ms = wall_ms() + int(timeout_s * 1000)
        trigger.context = LocalContext(aws, trigger_id=trigger_id, deadline_ms=deadline_ms, restored=restored)
        events: list[Event] = []
        limit = asyncio.timeout(timeout_s)
        try:
            async with limit:
                await _drive(trigger, trigger_id, events, limit)
        except Exception as error:  # noqa: BLE001 - the author's code may raise anything
            if limit.expired() and isinstance(error, TimeoutError):
                described = EventError("timed_out", "the deadline passed")
                events.append(_ended(trigger_id, len(events) + 1, "timed_out", described))
            else:
                described = EventError(getattr(error, "code", "trigger_raised"), str(error), type(error).__name__)
                events.append(_ended(trigger_id, len(events) + 1, "failed", described))
        finally:
            await _clean_up(trigger)
        return events


async def _clean_up(trigger: Any) -> None:
    """As in the daemon: optional, and its failure changes no outcome."""
    if hasattr(trigger, "cleanup"):
        try:
            await trigger.cleanup()
        except Exception:
            logging.getLogger("triggerd.trigger").exception("cleanup() failed")


async def _drive(trigger: Any, trigger_id: str, events: list[Event], limit: asyncio.Timeout) -> None:
    multi_event = getattr(trigger, "multi_event", False)
    async with contextlib.aclosing(trigger.run()) as run:
        async for fired in run:
            details = getattr(fired, "details", None)
            events.append(_over_the_wire(trigger_id, len(events) + 1, fired.payload, details, final=not multi_event))
            if not multi_event:
                if not limit.expired():
                    limit.reschedule(None)
                await _finish(run)
                return
    if not multi_event:
        raise TriggerdError("run() ended without yielding an event")
    events.append(_over_the_wire(trigger_id, len(events) + 1, None, None, final=True))


async def _finish(run: AsyncIterator[Any]) -> None:
    """As in the daemon: what run() does after its event (deletes its messages) changes no outcome."""
    try:
        async with asyncio.timeout(_FINISH_WITHIN_S):
            async for _ in run:
                return
    except Exception:
        logging.getLogger("triggerd.trigger").exception("run() failed after its event")


def _over_the_wire(trigger_id: str, seq: int, payload: Any, details: Any, *, final: bool) -> Event:
    """The event as its caller would get it; what cannot be packed, or is too large, is refused as in the daemon."""
    envelope = encode_event(payload, resume=b"", details=details, fired_ms=wall_ms(), final=final)
    return decode_event(trigger_id, seq, "fired", envelope)


def _ended(trigger_id: str, seq: int, outcome: Any, error: EventError) -> Event:
    payload = {"status": "error", "message": error.message}
    return Event(payload, trigger_id=trigger_id, seq=seq, outcome=outcome, error=error, fired_ms=wall_ms())


async def run_task_here(
    task: Deferrable,
    context: Any = None,
    *,
    aws: AwsContext | None = None,
    id: str | None = None,  # noqa: A002 - the SDK's word
) -> Any:
    """Run a task and everything it defers, in place; return what its last step returned.

    The task's own methods run in a thread, as they may block. `id` is what its `start_token` follows from.
    """
    step = id or new_id()
    result, deferred = await asyncio.to_thread(call_task, task, lambda: task.execute(context), step)
    waiting = [deferred] if deferred is not None else []
    while waiting:
        deferred, step = waiting.pop(0), f"{step}+"
        continuation = Continuation(deferred.method_name, deferred.kwargs, context=context)
        for event in await run_here(deferred.trigger, timeout=deferred.timeout, aws=aws):
            result, again = await asyncio.to_thread(_resume_here, task, continuation, event, f"{step}{event.seq}")
            waiting += [again] if again is not None else []
    return result


def _resume_here(task: Deferrable, continuation: Continuation, event: Event, step: str) -> Any:
    return call_task(task, lambda: task.resume_execution(continuation, event), step)


class AwsOnDemand:
    """An `AwsContext` that is imported and opened when a trigger first asks for it."""

    def __init__(self, stack: contextlib.AsyncExitStack, find: Callable[[], Any]) -> None:
        """
        Args:
            stack: Closes it in the end.
            find: Imports the AWS side and makes it, an async context manager; called in a thread.
        """
        self._stack, self._find, self._opening = stack, find, asyncio.Lock()
        self._aws: Any = None

    async def _open(self) -> Any:
        async with self._opening:
            if self._aws is None:
                aws = await asyncio.to_thread(self._find)
                self._aws = await self._stack.enter_async_context(aws)
            return self._aws

    @contextlib.asynccontextmanager
    async def client(self, service: str, connection: str = "default", region: str | None = None) -> AsyncIterator[Any]:
        aws = await self._open()
        async with aws.client(service, connection, region) as client:
            yield client

    async def wait(self, *args: Any, **kwargs: Any) -> Any:
        aws = await self._open()
        return await aws.wait(*args, **kwargs)

    async def poll(self, *args: Any, **kwargs: Any) -> Any:
        aws = await self._open()
        return await aws.poll(*args, **kwargs)

    def transient(self, error: BaseException) -> bool:
        return bool(self._aws is not None and self._aws.transient(error))

    async def operation(self, service: str, waiter_name: str) -> str:
        aws = await self._open()
        found: str = await aws.operation(service, waiter_name)
        return found


def _find_aws() -> Any:
    """The AWS side, which announces itself as an entry point: the producer's side may not import it."""
    for entry_point in importlib.metadata.entry_points(group="triggerd.aws"):
        try:
            return entry_point.load()()
        except ModuleNotFoundError as error:
            raise MissingExtraError(f"waiting on AWS in this process ({error.name} is missing)", "daemon") from error
    raise MissingExtraError("waiting on AWS in this process", "daemon")
