"""Triggers that break in every place where a trigger's code is called: allow ``tests.support.broken_triggers.*``."""

import asyncio
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

from aiobotocore.session import AioSession

from triggerd.deferrable import TaskDeferred
from triggerd.trigger import BaseTrigger, TriggerEvent

NAMES = (
    "ConstructorExits", "ConstructorIsCancelled", "ConstructorInterrupts", "ErrorCannotSpeak", "ContextIsRefused",
    "PropertyBreaks", "RunDefers", "RunExits", "ErrorHasACodeOfItsOwn", "Raises", "EndsWithoutAnEvent",
    "YieldsNoEvent", "YieldsALambda", "YieldsTooMuch", "YieldsWhatContainsItself", "WaitsForATaskThatExits",
    "StartsTasksForEver",
)  # fmt: skip
"""Those whose callers must hear `failed`, each at once."""
FIRE = (
    "Prints", "Deletes", "CleansUpBadly", "LeavesTasksBehind", "LooksAwayFromATaskThatExits",
    "LeavesATaskThatStartsItselfAgain", "LeavesADeafTask", "ExitsFromACallback", "StopsTheLoop", "TakesTheSignals",
    "LeaksAClient", "LeavesItsClientLate",
)  # fmt: skip
"""Those that fire, and break something beside that."""


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


class Raises(_Base):
    def fire(self) -> Any:
        raise ValueError("as every program does at times")


class EndsWithoutAnEvent(_Base):
    async def run(self) -> AsyncIterator[TriggerEvent]:
        nothing: list[TriggerEvent] = []
        for event in nothing:
            yield event


class YieldsNoEvent(_Base):
    async def run(self) -> AsyncIterator[TriggerEvent]:
        yield "status"  # type: ignore[misc]


class YieldsALambda(_Base):
    def fire(self) -> Any:
        return lambda: None


class YieldsTooMuch(_Base):
    def fire(self) -> Any:
        return b"x" * 2_000_000


class YieldsWhatContainsItself(_Base):
    def fire(self) -> Any:
        circle: list[Any] = []
        circle.append(circle)
        return circle


class Prints(_Base):
    def fire(self) -> Any:
        for out in (sys.stdout, sys.stderr, sys.__stdout__):
            print("much ado " * 200_000, file=out)
        os.write(1, b"\xff\x00 no text\n")


class Deletes(_Base):
    def __del__(self) -> None:
        raise RuntimeError("in __del__")


class CleansUpBadly(_Base):
    async def cleanup(self) -> None:
        raise SystemExit("in cleanup()")


class CancelsBadly(_Base):
    async def run(self) -> AsyncIterator[TriggerEvent]:
        await asyncio.Event().wait()
        yield TriggerEvent(None)

    async def on_cancel(self) -> None:
        raise SystemExit("in on_cancel()")


async def for_ever() -> None:
    await asyncio.Event().wait()


async def leave() -> None:
    raise SystemExit(7)


class LeavesTasksBehind(_Base):
    async def run(self) -> AsyncIterator[TriggerEvent]:
        self.tasks = [asyncio.create_task(for_ever()), asyncio.create_task(asyncio.sleep(3600))]
        await asyncio.to_thread(asyncio.run_coroutine_threadsafe, for_ever(), asyncio.get_running_loop())
        yield TriggerEvent(None)


class WaitsForATaskThatExits(_Base):
    async def run(self) -> AsyncIterator[TriggerEvent]:
        await asyncio.wait_for(leave(), 5)
        yield TriggerEvent(None)


class LooksAwayFromATaskThatExits(_Base):
    async def run(self) -> AsyncIterator[TriggerEvent]:
        task = asyncio.create_task(leave())
        await asyncio.wait([task])
        yield TriggerEvent(repr(task.exception()))


class StartsTasksForEver(_Base):
    async def run(self) -> AsyncIterator[TriggerEvent]:
        tasks = []
        while self.fire() is None:
            tasks.append(asyncio.create_task(for_ever()))
            await asyncio.sleep(0)
        yield TriggerEvent(None)


class LeavesATaskThatStartsItselfAgain(_Base):
    async def again(self) -> None:
        try:
            await for_ever()
        finally:
            self.tasks.append(asyncio.create_task(self.again()))

    def fire(self) -> Any:
        self.tasks = [asyncio.create_task(self.again())]


class LeavesADeafTask(_Base):
    async def deaf(self) -> None:
        while not self.task.done():
            with contextlib.suppress(asyncio.CancelledError):
                await for_ever()

    def fire(self) -> Any:
        self.task = asyncio.create_task(self.deaf())


class ExitsFromACallback(_Base):
    async def run(self) -> AsyncIterator[TriggerEvent]:
        loop = asyncio.get_running_loop()
        loop.call_soon(sys.exit, 5)
        loop.call_later(0.01, sys.exit, 6)
        loop.call_soon_threadsafe(_interrupt)
        await asyncio.sleep(0.05)
        yield TriggerEvent(None)


def _interrupt() -> None:
    raise KeyboardInterrupt


class StopsTheLoop(_Base):
    async def run(self) -> AsyncIterator[TriggerEvent]:
        asyncio.get_running_loop().stop()
        await asyncio.sleep(0.01)
        yield TriggerEvent(None)


class TakesTheSignals(_Base):
    def fire(self) -> Any:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        asyncio.get_running_loop().remove_signal_handler(signal.SIGINT)


class BlocksTheLoop(_Base):
    def fire(self) -> Any:
        time.sleep(2)


class BlocksTheLoopFromATask(_Base):
    async def block(self) -> None:
        time.sleep(1.5)

    async def run(self) -> AsyncIterator[TriggerEvent]:
        await asyncio.gather(self.block())
        yield TriggerEvent(None)


class HoldsTheInterpreter(_Base):
    """Computes in C for a second or two: no other thread can run meanwhile."""

    def fire(self) -> Any:
        sum(range(80_000_000))


class LeaksAClient(_Base):
    """Opens a client of its own, and the shared one, and leaves neither."""

    async def run(self) -> AsyncIterator[TriggerEvent]:
        own = await AioSession().create_client("sts").__aenter__()
        shared = await self.context.aws.client("sts").__aenter__()
        yield TriggerEvent([type(own).__name__, type(shared).__name__])


class LeavesItsClientLate(_Base):
    async def run(self) -> AsyncIterator[TriggerEvent]:
        async with self.context.aws.client("sts") as client:
            yield TriggerEvent(type(client).__name__)
            await asyncio.sleep(0.5)
