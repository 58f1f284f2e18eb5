"""Triggers that the tests' daemons may import: allow ``tests.support.triggers.*``."""

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from triggerd.trigger import BaseTrigger, TriggerEvent


class _Kwargs(BaseTrigger):
    """Serializes whatever keyword arguments it was made with."""

    def __init__(self, **kwargs: Any) -> None:
        self.kwargs = kwargs

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return f"{__name__}.{type(self).__name__}", self.kwargs


class FileTrigger(_Kwargs):
    """Fires when the file `path` is there. `cancelled` is a file that on_cancel makes."""

    async def run(self) -> AsyncIterator[TriggerEvent]:
        while not Path(self.kwargs["path"]).exists():
            await asyncio.sleep(0.02)
        yield TriggerEvent({"status": "success"})

    async def on_cancel(self) -> None:
        if "cancelled" in self.kwargs:
            Path(self.kwargs["cancelled"]).touch()


class SilentTrigger(_Kwargs):
    """Ends without an event."""

    async def run(self) -> AsyncIterator[TriggerEvent]:
        nothing: list[TriggerEvent] = []
        for event in nothing:
            yield event


class TalkativeTrigger(_Kwargs):
    """Logs through its context, through the standard library and by print, then fires."""

    async def run(self) -> AsyncIterator[TriggerEvent]:
        self.context.log.info("from the context", step=1)
        logging.getLogger("users.library").warning("from a library at redis://u:hunter2@h")
        print("from print")
        yield TriggerEvent(None)


class CountingTrigger(_Kwargs):
    """Fires `events` events and a final empty one; remembers by checkpoint how far it came."""

    multi_event = True

    async def run(self) -> AsyncIterator[TriggerEvent]:
        for number in range(self.context.restored or 0, self.kwargs["events"]):
            yield TriggerEvent(number)
            await self.context.checkpoint(number + 1)
