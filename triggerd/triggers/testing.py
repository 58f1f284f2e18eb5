"""Triggers for tests and benchmarks: they wait for nothing."""

from collections.abc import AsyncIterator
from typing import Any

from triggerd.trigger import BaseTrigger, TriggerEvent


class SuccessTrigger(BaseTrigger):
    """Fires `payload` at once."""

    def __init__(self, payload: Any = None) -> None:
        self.payload = payload

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return "triggerd.triggers.testing.SuccessTrigger", {"payload": self.payload}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        yield TriggerEvent(self.payload)


class FailureTrigger(BaseTrigger):
    """Raises RuntimeError(`message`) at once, so its outcome is ``failed``."""

    def __init__(self, message: str = "this trigger fails on purpose") -> None:
        self.message = message

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return "triggerd.triggers.testing.FailureTrigger", {"message": self.message}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        yield self._fail()

    def _fail(self) -> TriggerEvent:
        raise RuntimeError(self.message)
