"""Triggers that break in every place where a trigger's code is called: allow ``tests.support.broken_triggers.*``."""

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

from triggerd.deferrable import TaskDeferred
from triggerd.trigger import BaseTrigger, TriggerEvent

NAMES = (
    "ConstructorExits", "ConstructorIsCancelled", "ConstructorInterrupts", "ErrorCannotSpeak", "ContextIsRefused",
    "PropertyBreaks", "RunDefers", "RunExits", "ErrorHasACodeOfItsOwn",
)  # fmt: skip
"""Those whose callers must hear `failed`, each at once."""


class MuteError(Exception):
    """Cannot even say what is wrong."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


class _Base(BaseTrigger):
    def serialize(self) -> tuple[str, dict[str, Any]]:
        return f"{__name__}.{type(self).__name__}", {}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        yield TriggerEvent(self.fire())

    def fire(self) -> Any:
        return None


class ConstructorExits(_Base):
    def __init__(self) -> None:
        raise SystemExit(3)


class ConstructorIsCancelled(_Base):
    def __init__(self) -> None:
        raise asyncio.CancelledError


class ConstructorInterrupts(_Base):
    def __init__(self) -> None:
        raise KeyboardInterrupt


class ErrorCannotSpeak(_Base):
    def __init__(self) -> None:
        raise MuteError


class ContextIsRefused(_Base):
    def __setattr__(self, name: str, value: Any) -> None:
        raise ValueError(f"no field {name}")


class PropertyBreaks(_Base):
    @property
    def multi_event(self) -> bool:  # type: ignore[override]
        raise RuntimeError("a property that breaks")


class RunDefers(_Base):
    def fire(self) -> Any:
        raise TaskDeferred(self, "x", None, {})


class RunExits(_Base):
    def fire(self) -> Any:
        raise SystemExit(4)


class ForeignError(Exception):
    code = "e3q8"


class ErrorHasACodeOfItsOwn(_Base):
    def fire(self) -> Any:
        raise ForeignError("from another library")


class BlocksAThread(_Base):
    """Waits in a thread that nobody can end."""

    async def run(self) -> AsyncIterator[TriggerEvent]:
        await asyncio.to_thread(threading.Event().wait)
        yield TriggerEvent(None)


class HeedsNoCancellation(_Base):
    """Catches every cancellation and goes on."""

    async def run(self) -> AsyncIterator[TriggerEvent]:
        while self.fire() is None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                continue
        yield TriggerEvent(None)
