"""Triggers that end or block the process they run in: allow ``tests.support.poison_*``."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from typing import Any

from triggerd.trigger import BaseTrigger, TriggerEvent

AT_IMPORT = "tests.support.poison_at_import.PoisonTrigger"
"""There is no such class: whoever looks for it is gone."""


class PoisonTrigger(BaseTrigger):
    """Ends or blocks its process at once."""

    def __init__(self, way: str) -> None:
        self.way = way

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return f"{__name__}.PoisonTrigger", {"way": self.way}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        await asyncio.sleep(0)
        match self.way:
            case "exit":
                os._exit(7)
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "block":
                time.sleep(3600)
        yield TriggerEvent(None)


class LastWordsTrigger(BaseTrigger):
    """Never fires, and stores a checkpoint when its run is over."""

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return f"{__name__}.LastWordsTrigger", {}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        await asyncio.Event().wait()
        yield TriggerEvent(None)

    async def cleanup(self) -> None:
        await self.context.checkpoint("over")


class ProcessTrigger(BaseTrigger):
    """Never fires. Each run writes its process id into the file `path`, and so does on_cancel, behind "cancel"."""

    def __init__(self, path: str) -> None:
        self.path = path

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return f"{__name__}.ProcessTrigger", {"path": self.path}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        self._say(f"run {os.getpid()}")
        await asyncio.Event().wait()
        yield TriggerEvent(None)

    async def on_cancel(self) -> None:
        self._say(f"cancel {os.getpid()}")

    def _say(self, line: str) -> None:
        with open(self.path, "a") as file:  # noqa: PTH123 - one short line
            file.write(line + "\n")
