"""The trigger for every wait that a waiter can describe, botocore's own or one of `waiters/<service>.json`."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from typing import Any, Literal

from triggerd.errors import AwsCallError, ConfigError, WaiterDefinitionError, WaitError, message_of
from triggerd.trigger import BaseTrigger, TriggerEvent, WaitResponse
from triggerd.triggers.cancel_calls import CancelCall, is_over, ready_made, refusals
from triggerd.triggers.wait_checkpoints import WaitCheckpoints

_FAILURE_MESSAGE = "AWS wait failed"
_STATUS_MESSAGE = "AWS wait goes on"
_ARGUMENTS = (
    "service", "waiter_name", "waiter_args", "delay", "max_attempts", "connection", "region", "return_key",
    "return_value", "status_queries", "failure_message", "status_message", "cancel_call",
)  # fmt: skip
# A wait may be for 100 tasks, and all of them are to be stopped within the 30 s that a cancel has.
_CANCEL_CALLS_AT_ONCE = 10


class AwsWaiterTrigger(BaseTrigger):
    """Waits until a waiter says success or failure.

    Fires ``{"status": "success", return_key: return_value}``, or ``{"status": "error", "message": ...,
    return_key: return_value}`` where the wait ended in any other way. The event's details hold `last_status`,
    `polls` and `waited_s`, on an error also `error_type` and AWS's own `error_code`.

    When the trigger moves to another daemon the wait goes on: its budget ends at the same instant, its polls and its
    waited seconds go on counting.

    Args:
        service: botocore's name of the service, as ``"redshift"``.
        waiter_name: Of the user's own waiters, the shipped ones or botocore's, in snake_case or CamelCase.
        waiter_args: Parameters of the waiter's operation, as ``{"ClusterIdentifier": "dwh"}``.
        delay: Seconds between polls; the waiter's own where None.
        max_attempts: With `delay` the budget of time; the waiter's own where None.
        connection: A connection of the daemon's config.
        region: Where not the connection's own.
        return_key: Name of the value in the payload. return_value: the value, given back to the continuation.
        status_queries: JMESPath expressions for `last_status`; from the waiter's own acceptors where empty.
        failure_message: Begins the message of an error event.
        status_message: Logged at level debug with the status after each poll.
        cancel_call: What stops the remote work on an explicit cancel, and on nothing else. None: the ready-made call
            for what the waiter polls, where `triggerd.triggers.cancel_calls` has one. False: the work goes on.
            ``(operation, parameters)``: that call, as ``("stop_crawler", {"Name": "nightly"})``.

    Raises:
        TypeError, ValueError: An argument cannot be used.
    """

    # A wait holds what it was told; what it was not told stands here once, and not in each of 100,000.
    delay: float | None = None
    max_attempts: int | None = None
    connection: str = "default"
    region: str | None = None
    return_key: str = "value"
    return_value: Any = None
    status_queries: tuple[str, ...] = ()
    failure_message: str = _FAILURE_MESSAGE
    status_message: str = _STATUS_MESSAGE
    cancel_call: tuple[str, dict[str, Any]] | Literal[False] | None = None

    def __init__(
        self,
        service: str,
        waiter_name: str,
        waiter_args: Mapping[str, Any],
        *,
        delay: float | None = None,
        max_attempts: int | None = None,
        connection: str = "default",
        region: str | None = None,
        return_key: str = "value",
        return_value: Any = None,
        status_queries: Sequence[str] = (),
        failure_message: str = _FAILURE_MESSAGE,
        status_message: str = _STATUS_MESSAGE,
        cancel_call: tuple[str, Mapping[str, Any]] | Literal[False] | None = None,
    ) -> None:
        if isinstance(status_queries, str):
            raise TypeError("status_queries must be a list of JMESPath expressions, not one string")
        self.service = _name("service", service)
        self.waiter_name = _name("waiter_name", waiter_name)
        self.waiter_args = _mapping("waiter_args", waiter_args)
        if return_key in ("status", "message"):
            raise ValueError(f"return_key {return_key!r} is a key of the payload already")
        optional = {
            "delay": _number("delay", delay),
            "max_attempts": _attempts(max_attempts),
            "connection": _name("connection", connection),
            "region": region if region is None else _name("region", region),
            "return_key": _text("return_key", return_key),
            "return_value": return_value,
            "status_queries": tuple(_text("status_queries", query) for query in status_queries),
            "failure_message": _text("failure_message", failure_message),
            "status_message": _text("status_message", status_message),
            "cancel_call": _cancel_call(cancel_call),
        }
        for name, value in optional.items():
            default = getattr(AwsWaiterTrigger, name)
            if type(value) is not type(default) or value != default:
                setattr(self, name, value)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Arguments that equal their defaults are left out: an envelope is stored and sent for every wait."""
        kwargs = {name: self.__dict__[name] for name in _ARGUMENTS if name in self.__dict__}
        return "triggerd.triggers.aws.AwsWaiterTrigger", kwargs

    async def run(self) -> AsyncIterator[TriggerEvent]:
        checkpoints = WaitCheckpoints(self.context, self.status_message)
        try:
            response = await self._wait(checkpoints)
        except asyncio.CancelledError:
            await checkpoints.stop()
            raise
        except (WaitError, WaiterDefinitionError, ConfigError) as error:
            event = self._failed(error)
        else:
            event = TriggerEvent(
                {"status": "success", self.return_key: self.return_value},
                {"last_status": response.last_status, "polls": response.polls, "waited_s": response.waited_s},
            )
        finally:
            await checkpoints.close()
        yield event

    def _wait(self, checkpoints: WaitCheckpoints) -> Awaitable[WaitResponse]:
        return self.context.aws.wait(
            self.service,
            self.waiter_name,
            self.waiter_args,
            delay=self.delay,
            max_attempts=self.max_attempts,
            connection=self.connection,
            region=self.region,
            status_queries=self.status_queries,
            on_poll=checkpoints,
            restored=checkpoints.restored(),
        )

    async def on_cancel(self) -> None:
        """Make the `cancel_call`, or the ready-made ones: all of them are tried.

        Raises:
            AwsCallError: Not everything was stopped. That it had stopped before is no error, where AWS says so.
        """
        calls = await self._cancel_calls()
        if not calls:
            return
        problems: list[str] = []
        async with self.context.aws.client(self.service, connection=self.connection, region=self.region) as client:
            for start in range(0, len(calls), _CANCEL_CALLS_AT_ONCE):
                some = calls[start : start + _CANCEL_CALLS_AT_ONCE]
                found = await asyncio.gather(*(_make(client, call) for call in some))
                problems += [problem for each in found for problem in each]
        if problems:
            raise AwsCallError(f"{self.service} {calls[0].method}: {'; '.join(problems)}")

    async def _cancel_calls(self) -> list[CancelCall]:
        if self.cancel_call is False:
            return []
        if self.cancel_call is not None:
            return [CancelCall(*self.cancel_call)]
        operation = await self.context.aws.operation(self.service, self.waiter_name)
        return ready_made(self.service, operation, self.waiter_args)

    def _failed(self, error: WaitError | WaiterDefinitionError | ConfigError) -> TriggerEvent:
        message = f"{self.failure_message}: {error}"
        details: dict[str, Any] = {"last_status": None, "polls": 0, "waited_s": 0.0, "error_type": error.code}
        if isinstance(error, WaitError):
            details |= {"last_status": error.last_status, "polls": error.polls, "waited_s": error.waited_s}
        details["error_code"] = error.aws_code if isinstance(error, WaitError) else None
        return TriggerEvent({"status": "error", "message": message, self.return_key: self.return_value}, details)


async def _make(client: Any, call: CancelCall) -> list[str]:
    """Make one call; what was not stopped, and why."""
    try:
        return list(refusals(await getattr(client, call.method)(**call.parameters)))
    except Exception as error:  # noqa: BLE001 - the other calls are made whatever becomes of this one
        return [] if is_over(error) else [message_of(error)]


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a string, not {type(value).__name__}")
    if not value:
        raise ValueError(f"{name} must not be empty")
    return value


def _name(name: str, value: object) -> str:
    """A text of which there are few. Of others a copy would be kept for good: Python 3.12 frees no interned string."""
    return sys.intern(str(_text(name, value)))  # 100,000 waits say the same few words


def _mapping(name: str, value: object) -> dict[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise TypeError(f"{name} must be a dict of parameter names and values, not {value!r}")
    return {sys.intern(str(key)): member for key, member in value.items()}


def _number(name: str, value: float | None) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number of seconds, not {type(value).__name__}")
    if not 0 < value < float("inf"):
        raise ValueError(f"{name} = {value!r}: must be above 0")
    return value


def _attempts(value: int | None) -> int | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise TypeError(f"max_attempts must be a whole number, not {type(value).__name__}")
    if value is not None and value < 1:
        raise ValueError(f"max_attempts = {value}: must be at least 1")
    return value


def _cancel_call(
    value: tuple[str, Mapping[str, Any]] | Literal[False] | None,
) -> tuple[str, dict[str, Any]] | Literal[False] | None:
    if value is None or value is False:
        return value
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != 2:
        raise TypeError(f"cancel_call must be (operation, parameters), not {value!r}")
    operation = _text("cancel_call", value[0])
    if not operation.isidentifier() or operation.lower() != operation or operation.startswith("_"):
        raise ValueError(f"cancel_call {operation!r}: name the client's method in snake_case, as 'stop_crawler'")
    return operation, _mapping("cancel_call parameters", value[1])
