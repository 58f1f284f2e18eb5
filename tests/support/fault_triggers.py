"""Triggers for tests with thousands of them under way: allow ``tests.support.fault_triggers.*``."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from triggerd.trigger import BaseTrigger, TriggerEvent

ALLOW = "tests.support.fault_triggers.*"


class WaveTrigger(BaseTrigger):
    """Fires soon after the file `path` is there; it looks rarely, so that thousands may look."""

    def __init__(self, path: str) -> None:
        self.path = path

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return f"{__name__}.WaveTrigger", {"path": self.path}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        while not Path(self.path).exists():
            await asyncio.sleep(0.5)
        yield TriggerEvent(None)


class StepsTrigger(BaseTrigger):
    """Fires the numbers from 0 to `steps` - 1 `every_s` apart, then a final empty event; a move loses no step."""

    multi_event = True

    def __init__(self, steps: int, every_s: float) -> None:
        self.steps, self.every_s = steps, every_s

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return f"{__name__}.StepsTrigger", {"steps": self.steps, "every_s": self.every_s}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        for number in range(self.context.restored or 0, self.steps):
            await asyncio.sleep(self.every_s)
            yield TriggerEvent(number)
            await self.context.checkpoint(number + 1)


class SlowToStopTrigger(BaseTrigger):
    """Never fires. Its on_cancel writes a line into the file `path` when it begins, and one when it ends."""

    def __init__(self, path: str, takes_s: float = 0.0) -> None:
        self.path, self.takes_s = path, takes_s

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return f"{__name__}.SlowToStopTrigger", {"path": self.path, "takes_s": self.takes_s}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        await asyncio.Event().wait()
        yield TriggerEvent(None)

    async def on_cancel(self) -> None:
        self._say("begin")
        await asyncio.sleep(self.takes_s)
        self._say("end")

    def _say(self, what: str) -> None:
        with Path(self.path).open("a") as file:
            file.write(what + "\n")
