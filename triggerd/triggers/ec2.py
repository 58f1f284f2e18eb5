"""The trigger that waits for the state of an EC2 instance."""

import sys
from collections.abc import Callable
from typing import Any

from triggerd.errors import ConfigError, WaiterDefinitionError, WaitError
from triggerd.trigger import Progress, TriggerEvent, WaitResponse
from triggerd.triggers.arguments import changed, text
from triggerd.triggers.aws import AwsWaiterTrigger, failure_details, success_details
from triggerd.triggers.wait_checkpoints import WaitCheckpoints

_STATES = ("pending", "running", "stopping", "stopped", "shutting-down", "terminated")
_NEXT = {"pending": "running", "stopping": "stopped", "shutting-down": "terminated"}
"""What comes after a state that passes so quickly that no poll may see it."""
_UNKNOWN = "InvalidInstanceID.NotFound"
# RunInstances is answered before all of EC2 knows of the instance. Minutes later it is a wrong id.
_APPEARS_DELAY_S, _APPEARS_ATTEMPTS = 15.0, 20
_APPEARS_TIMES = 3  # what one part of EC2 knows already another may not


def _acceptors(target: str) -> list[dict[str, Any]]:
    """It starts and stops as often as one likes, but from shutting-down there is only one way, and none back."""
    met = (target, _NEXT[target]) if target in _NEXT else (target,)
    missed = () if "terminated" in met else ("shutting-down", "terminated")
    states = {**dict.fromkeys(missed, "failure"), **dict.fromkeys(met, "success")}
    argument = "Reservations[].Instances[].State.Name"
    return [
        {"state": end, "matcher": "pathAll", "argument": argument, "expected": state} for state, end in states.items()
    ]


_ACCEPTORS = {target: _acceptors(target) for target in _STATES}


class EC2StateSensorTrigger(AwsWaiterTrigger):
    """Waits until an EC2 instance is in a state.

    Fires ``{"status": "success", "message": "target state met"}``. Fails where that cannot come any more: the instance
    shuts down or is terminated (unless that is waited for), or AWS knows none of this id, five minutes long. One
    that was seen and is then unknown has been terminated an hour ago.

    Args:
        target_state: ``running``, ``stopped`` or ``terminated``; or ``pending``, ``stopping`` or ``shutting-down``, of
            which no poll may see anything: so the state that comes next will do.
        delay: Seconds between polls. max_attempts: with `delay` a budget of time; as it is: until the deadline.
    """

    max_attempts: int | None = sys.maxsize

    def __init__(
        self,
        instance_id: str,
        target_state: str,
        *,
        delay: float = 60,
        max_attempts: int | None = sys.maxsize,
        connection: str = "default",
        region: str | None = None,
    ) -> None:
        super().__init__(
            "ec2", "instance_exists", {"InstanceIds": [text("instance_id", instance_id)]},
            delay=delay, max_attempts=max_attempts, connection=connection, region=region,
        )  # fmt: skip
        if target_state not in _STATES:
            raise ValueError(f"target_state {target_state!r}: must be one of {', '.join(_STATES)}")
        self.instance_id, self.target_state = instance_id, target_state
        self.acceptors = _ACCEPTORS[target_state]

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return "triggerd.triggers.ec2.EC2StateSensorTrigger", changed(self)

    async def _wait(
        self, checkpoints: WaitCheckpoints, on_poll: Callable[[Progress], None] | None = None
    ) -> WaitResponse:
        for _ in range(_APPEARS_TIMES):
            try:
                return await super()._wait(checkpoints, on_poll)
            except WaitError as error:
                if error.aws_code != _UNKNOWN or error.last_status is not None:
                    raise
            await self.context.aws.wait(
                "ec2", "instance_exists", self.waiter_args,
                delay=min(self.delay or _APPEARS_DELAY_S, _APPEARS_DELAY_S), max_attempts=_APPEARS_ATTEMPTS,
                connection=self.connection, region=self.region,
            )  # fmt: skip
        return await super()._wait(checkpoints, on_poll)

    def _success(self, response: WaitResponse) -> TriggerEvent:
        return _met(success_details(response))

    def _failure(self, error: WaitError | WaiterDefinitionError | ConfigError) -> TriggerEvent:
        vanished = isinstance(error, WaitError) and error.aws_code == _UNKNOWN and error.last_status is not None
        if vanished and self.target_state in ("shutting-down", "terminated"):
            return _met(failure_details(error))
        raise error


def _met(details: dict[str, Any]) -> TriggerEvent:
    return TriggerEvent({"status": "success", "message": "target state met"}, details)
