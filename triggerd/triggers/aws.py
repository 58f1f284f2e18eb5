"""The trigger for every wait that a waiter can describe, botocore's own or one of `waiters/<service>.json`."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal

from triggerd.errors import AwsCallError, ConfigError, WaiterDefinitionError, WaitError, message_of
from triggerd.trigger import BaseTrigger, Progress, TriggerEvent, WaitResponse
from triggerd.triggers.arguments import attempts, mapping, name, number, text
from triggerd.triggers.cancel_calls import CancelCall, is_over, ready_made, refusals
from triggerd.triggers.wait_checkpoints import WaitCheckpoints

_FAILURE_MESSAGE = "AWS wait failed"
_STATUS_MESSAGE = "AWS wait goes on"
_ARGUMENTS = (
    "service", "waiter_name", "waiter_args", "delay", "max_attempts", "connection", "region", "return_key",
    "return_value", "status_queries", "acceptors", "parameters", "failure_message", "status_message", "cancel_call",
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
        acceptors: Rules that stand instead of the waiter's own, as its file would have them.
        parameters: What to write for ``{{NAME}}`` in the waiter's acceptors, by name.
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
    acceptors: list[dict[str, Any]] | None = None
    parameters: dict[str, str] | None = None
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
        acceptors: Sequence[Mapping[str, Any]] | None = None,
        parameters: Mapping[str, str] | None = None,
        failure_message: str = _FAILURE_MESSAGE,
        status_message: str = _STATUS_MESSAGE,
        cancel_call: tuple[str, Mapping[str, Any]] | Literal[False] | None = None,
    ) -> None:
        if isinstance(status_queries, str):
            raise TypeError("status_queries must be a list of JMESPath expressions, not one string")
        self.service = name("service", service)
        self.waiter_name = name("waiter_name", waiter_name)
        self.waiter_args = mapping("waiter_args", waiter_args)
        if return_key in ("status", "message"):
            raise ValueError(f"return_key {return_key!r} is a key of the payload already")
        optional = {
            "delay": number("delay", delay),
            "max_attempts": attempts(max_attempts),
            "connection": name("connection", connection),
            "region": region if region is None else name("region", region),
            "return_key": text("return_key", return_key),
            "return_value": return_value,
            "status_queries": tuple(text("status_queries", query) for query in status_queries),
            "acceptors": acceptors if acceptors is None else [mapping("acceptors", each) for each in acceptors],
            "parameters": parameters if parameters is None else mapping("parameters", parameters),
            "failure_message": text("failure_message", failure_message),
            "status_message": text("status_message", status_message),
            "cancel_call": _cancel_call(cancel_call),
        }
        for key, value in optional.items():
            default = getattr(AwsWaiterTrigger, key)
            if type(value) is not type(default) or value != default:
                setattr(self, key, value)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Arguments that equal their defaults are left out: an envelope is stored and sent for every wait."""
        kwargs = {key: self.__dict__[key] for key in _ARGUMENTS if key in self.__dict__}
        return "triggerd.triggers.aws.AwsWaiterTrigger", kwargs

    async def run(self) -> AsyncIterator[TriggerEvent]:
        checkpoints = WaitCheckpoints(self.context, self.status_message)
        try:
            response = await self._wait(checkpoints)
        except asyncio.CancelledError:
            await checkpoints.stop()
            raise
        except (WaitError, WaiterDefinitionError, ConfigError) as error:
            event = self._failure(error)
        else:
            event = self._success(response)
        finally:
            await checkpoints.close()
        yield event

    def _wait(
        self, checkpoints: WaitCheckpoints, on_poll: Callable[[Progress], None] | None = None
    ) -> Awaitable[WaitResponse]:
        """Wait; `on_poll` is called instead of the checkpoints, and has to call them."""
        return self.context.aws.wait(
            self.service,
            self.waiter_name,
            self.waiter_args,
            delay=self.delay,
            max_attempts=self.max_attempts,
            connection=self.connection,
            region=self.region,
            status_queries=self.status_queries,
            acceptors=self.acceptors,
            parameters=self.parameters,
            on_poll=on_poll or checkpoints,
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

    def _success(self, response: WaitResponse) -> TriggerEvent:
        """The event of a wait that ended well."""
        return TriggerEvent({"status": "success", self.return_key: self.return_value}, success_details(response))

    def _failure(self, error: WaitError | WaiterDefinitionError | ConfigError) -> TriggerEvent:
        """The event of one that did not; a subclass may raise `error` instead, and then the trigger has failed."""
        message = f"{self.failure_message}: {error}"
        return TriggerEvent(
            {"status": "error", "message": message, self.return_key: self.return_value}, failure_details(error)
        )


def success_details(response: WaitResponse) -> dict[str, Any]:
    """How a wait went: the event's details."""
    return {"last_status": response.last_status, "polls": response.polls, "waited_s": response.waited_s}


def failure_details(error: WaitError | WaiterDefinitionError | ConfigError) -> dict[str, Any]:
    """How and why a wait did not end well: the event's details."""
    details: dict[str, Any] = {"last_status": None, "polls": 0, "waited_s": 0.0, "error_type": error.code}
    if isinstance(error, WaitError):
        details |= {"last_status": error.last_status, "polls": error.polls, "waited_s": error.waited_s}
    details["error_code"] = error.aws_code if isinstance(error, WaitError) else None
    return details


async def _make(client: Any, call: CancelCall) -> list[str]:
    """Make one call; what was not stopped, and why."""
    try:
        return list(refusals(await getattr(client, call.method)(**call.parameters)))
    except Exception as error:  # noqa: BLE001 - the other calls are made whatever becomes of this one
        return [] if is_over(error) else [message_of(error)]


def _cancel_call(
    value: tuple[str, Mapping[str, Any]] | Literal[False] | None,
) -> tuple[str, dict[str, Any]] | Literal[False] | None:
    if value is None or value is False:
        return value
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != 2:
        raise TypeError(f"cancel_call must be (operation, parameters), not {value!r}")
    operation = text("cancel_call", value[0])
    if not operation.isidentifier() or operation.lower() != operation or operation.startswith("_"):
        raise ValueError(f"cancel_call {operation!r}: name the client's method in snake_case, as 'stop_crawler'")
    return operation, mapping("cancel_call parameters", value[1])
