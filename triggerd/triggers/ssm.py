"""The trigger that waits for a command of SSM on all its instances."""

from collections.abc import Callable, Mapping
from typing import Any

from triggerd.errors import ConfigError, WaiterDefinitionError, WaiterExhaustedError, WaiterFailedError, WaitError
from triggerd.trigger import Progress, TriggerEvent, WaitResponse
from triggerd.triggers.arguments import changed, flag, text
from triggerd.triggers.aws import AwsWaiterTrigger, success_details
from triggerd.triggers.paced import paced
from triggerd.triggers.wait_checkpoints import WaitCheckpoints

_OVER = frozenset({"Success", "Failed", "TimedOut", "Cancelled"})
_BY_AWS = frozenset({"TimedOut", "Cancelled", "Cancelling"})
_NO_CODE = -1  # SSM's own sign that nothing has run
_LAGS_S, _LAG_LOOKS = 5.0, 12
_MAX_CODES = 50

Invocation = Mapping[str, Any]


class SsmRunCommandTrigger(AwsWaiterTrigger):
    """Waits until a command is over on all instances.

    Fires ``{"status": "success", "command_id": ...}``, or for the first instance that failed ``{"status": "failed",
    "message": ..., "command_status": ..., "exit_code": ..., "instance_id": ..., "command_id": ...}``; `exit_code` is
    -1 where nothing has run there, or runs still. What AWS ended, by a time-out or a cancel, raises. The details have
    the number of `instances`, and `exit_codes` by instance, of the first 50 whose is not 0.

    That the command is over is SSM's ListCommands' word, as its instances become known one by one; how they fared is
    ListCommandInvocations'. The connection needs the right to both. An explicit cancel cancels the command.

    Args:
        fail_on_nonzero_exit: False: what ran to its end is a success, whatever its exit code.
        delay: Seconds between polls. max_attempts: with `delay`, the budget of time.
    """

    def __init__(
        self,
        command_id: str,
        *,
        delay: float = 120,
        max_attempts: int | None = 75,
        fail_on_nonzero_exit: bool = True,
        connection: str = "default",
        region: str | None = None,
    ) -> None:
        super().__init__(
            "ssm", "command_finished", {"CommandId": text("command_id", command_id)},
            return_key="command_id", return_value=command_id,
            delay=delay, max_attempts=max_attempts, connection=connection, region=region,
        )  # fmt: skip
        self.command_id = command_id
        self.fail_on_nonzero_exit = flag("fail_on_nonzero_exit", fail_on_nonzero_exit)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return "triggerd.triggers.ssm.SsmRunCommandTrigger", changed(self)

    async def _wait(
        self, checkpoints: WaitCheckpoints, on_poll: Callable[[Progress], None] | None = None
    ) -> WaitResponse:
        """Wait for any end of the command; the answer has its invocations, too."""
        try:
            response = await super()._wait(checkpoints, on_poll)
        except (WaiterFailedError, WaiterExhaustedError) as error:
            invocations = await self._invocations(error.response)
            if not invocations:
                raise  # no instance to tell of
            response = WaitResponse(error.response)
            response.last_status, response.polls, response.waited_s = error.last_status, error.polls, error.waited_s
        else:
            invocations = await self._invocations(response)
        response["CommandInvocations"] = invocations
        return response

    async def _invocations(self, answer: Mapping[str, Any]) -> list[Invocation]:
        """How each instance fared; of a command that is over, once SSM knows that of all of them."""
        command: Mapping[str, Any] = next(iter(answer.get("Commands") or ()), {})
        looks, expected = (_LAG_LOOKS, command.get("CompletedCount", 0)) if command.get("Status") in _OVER else (1, 0)
        invocations: list[Invocation] = []
        async for _ in paced(min(self.delay or _LAGS_S, _LAGS_S), looks):
            invocations = await self._listed()
            over = sum(each.get("Status") in _OVER for each in invocations)
            if over == len(invocations) >= expected:
                break
        if len(invocations) < expected:
            raise WaiterExhaustedError(
                f"command {self.command_id}: SSM lists {len(invocations)} of {expected} instances"
            )
        return invocations

    async def _listed(self) -> list[Invocation]:
        invocations: list[Invocation] = []
        params: dict[str, Any] = {"CommandId": self.command_id, "Details": True, "MaxResults": 50}
        while True:
            answer = await self.context.aws.poll(
                "ssm", "ListCommandInvocations", params, connection=self.connection, region=self.region
            )
            invocations += map(_short, answer.get("CommandInvocations") or ())
            if not answer.get("NextToken"):
                return invocations
            params = {**params, "NextToken": answer["NextToken"]}

    def _success(self, response: WaitResponse) -> TriggerEvent:
        """The event of a command that is over, or was waited for long enough."""
        invocations: list[Invocation] = response["CommandInvocations"]
        codes = {each["InstanceId"]: each["ExitCode"] for each in invocations if each["ExitCode"] != 0}
        details = success_details(response) | {
            "instances": len(invocations),
            "exit_codes": dict(list(codes.items())[:_MAX_CODES]),
        }
        bad = next((each for each in invocations if not self._is_good(each)), None)
        if bad is None:
            return TriggerEvent({"status": "success", "command_id": self.command_id}, details)
        status, code, instance = bad["Status"], bad["ExitCode"], bad["InstanceId"]
        if status in _BY_AWS:
            raise WaiterFailedError(
                f"command {self.command_id} is {status} on {instance} ({bad['StatusDetails']})",
                last_status=response.last_status, polls=response.polls, waited_s=response.waited_s,
            )  # fmt: skip
        how = f"ended with status {status} (exit code: {code})" if status in _OVER else f"is still {status}"
        payload = {
            "status": "failed", "message": f"the command {how} on {instance}", "command_status": status,
            "exit_code": code, "instance_id": instance, "command_id": self.command_id,
        }  # fmt: skip
        return TriggerEvent(payload, details | {"error_type": WaiterFailedError.code})

    def _is_good(self, invocation: Invocation) -> bool:
        if invocation["Status"] == "Success":
            return True
        return not self.fail_on_nonzero_exit and invocation["Status"] == "Failed" and invocation["ExitCode"] != _NO_CODE

    def _failure(self, error: WaitError | WaiterDefinitionError | ConfigError) -> TriggerEvent:
        raise error


def _short(invocation: Invocation) -> Invocation:
    """What is needed of an invocation; its exit code is that of the first step that failed, else of the last."""
    plugins = invocation.get("CommandPlugins") or ()
    codes = [each.get("ResponseCode", _NO_CODE) for each in plugins]
    failed = next((each.get("ResponseCode", _NO_CODE) for each in plugins if each.get("Status") == "Failed"), None)
    return {
        "InstanceId": invocation.get("InstanceId", ""),
        "Status": invocation.get("Status", ""),
        "StatusDetails": invocation.get("StatusDetails", ""),
        "ExitCode": failed if failed is not None else codes[-1] if codes else _NO_CODE,
    }
