"""The sandbox: a child process of the daemon in which suspects run.

It runs triggers as the daemon does, by the same `Runner`, but has no connection to Redis: events, checkpoints and dead
letters go through a pipe to the daemon, which alone owns the triggers and answers for each. It never outlives it.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
import uvloop

from triggerd import __version__, logs
from triggerd.daemon import containment
from triggerd.daemon.loading import Loader
from triggerd.daemon.registry import Registry, announced_triggers
from triggerd.daemon.runner import Runner
from triggerd.daemon.runs import Capacity, Run, StopCause
from triggerd.daemon.sandbox_pipe import (
    MAX_FRAME_BYTES,
    Admit,
    Answer,
    Bury,
    Checkpoint,
    Ended,
    Order,
    Pipe,
    Pong,
    Publish,
    Ready,
    Report,
    Stop,
    Stopped,
    to_text,
)
from triggerd.envelope import TriggerEnvelope
from triggerd.local import AwsOnDemand
from triggerd.metrics import Metrics
from triggerd.settings import Settings
from triggerd.streams.dead_letter import Burial
from triggerd.streams.trigger_queue import ClaimedTrigger, Publication

_ENOUGH = 1_000_000  # the daemon decides how many triggers run here
_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Serve one daemon until the pipe ends."""
    parent = os.getppid()
    # Whoever stops the daemon stops the whole group; this process ends when its daemon wants it to.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP):
        signal.signal(number, signal.SIG_IGN)
    orders, reports = _take_pipe()
    _die_with_parent()
    if os.getppid() == parent:
        loop = uvloop.new_event_loop()
        asyncio.set_event_loop(loop)
        containment.drive(loop, _serve(orders, reports))
    os._exit(0)  # whatever a trigger may have left behind


def _die_with_parent() -> None:
    """Even with a blocked event loop. Linux only; elsewhere, and where ctypes is forbidden, the pipe's end must do."""
    with contextlib.suppress(Exception):
        import ctypes  # noqa: PLC0415 - where memory must not be executable, its import may fail

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _take_pipe() -> tuple[int, int]:
    """The pipe moves from stdin and stdout to where neither a print nor a child of a trigger can reach it."""
    orders, reports = os.dup(0), os.dup(1)  # not inheritable
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    os.close(nothing)
    return orders, reports


async def _serve(orders: int, reports: int) -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=MAX_FRAME_BYTES)
    protocol = asyncio.StreamReaderProtocol(reader)
    await loop.connect_read_pipe(lambda: protocol, os.fdopen(orders, "rb", 0))
    transport, _ = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, os.fdopen(reports, "wb", 0))
    pipe: Pipe[Order] = Pipe(reader, asyncio.StreamWriter(transport, protocol, None, loop), Order)
    told = await pipe.read_bytes()
    if told is None:
        return
    settings = msgspec.msgpack.decode(told, type=Settings)
    logs.configure(settings.logs)
    registry = Registry(settings.allow, await asyncio.to_thread(announced_triggers))
    with containment.installed():
        async with contextlib.AsyncExitStack() as stack:
            sandbox = _Sandbox(pipe, registry, AwsOnDemand(stack, partial(_make_aws, settings)))
            pipe.send(Ready())
            await sandbox.run()
            os._exit(0)  # the daemon is gone, and with it whoever could be told how anything ends


class _Sandbox:
    """Carries out the daemon's orders."""

    def __init__(self, pipe: Pipe[Order], registry: Registry, aws: AwsOnDemand) -> None:
        self._pipe = pipe
        self._outbox = _PipeOutbox(pipe)
        metrics = Metrics(__version__, ())
        self._runner = Runner(Loader(registry, aws, _read), self._outbox, metrics, Capacity(_ENOUGH))
        self._runner.runs.when_ended(self._ended)

    async def run(self) -> None:
        """Until the pipe ends."""
        while (order := await self._pipe.read()) is not None:
            match order:
                case Admit():
                    self._runner.capacity.take(1)
                    self._runner.start(_claimed(order))
                case Stop():
                    self._stop(order)
                case Answer():
                    self._outbox.answer(order)
                case _:
                    # Behind whatever has been started and not yet run.
                    asyncio.get_running_loop().call_soon(self._pipe.send, Pong())

    def _stop(self, order: Stop) -> None:
        if run := self._runner.runs.by_entry(order.entry):
            run.cancelled_by = run.cancelled_by or to_text(order.by)
            run.stop(StopCause(order.cause))

    def _ended(self, run: Run) -> None:
        self._pipe.send(Ended(run.entry))


class _PipeOutbox:
    """The `Outbox` whose other end is the daemon's."""

    def __init__(self, pipe: Pipe[Order]) -> None:
        self._pipe = pipe
        self._number = 0
        self._asked: dict[int, asyncio.Future[bool]] = {}

    async def publish(self, item: Publication) -> bool:
        return await self._ask(lambda n: Publish(n, item.entry, item.outcome, item.event, item.final))

    async def bury(self, item: Burial) -> bool:
        return await self._ask(lambda n: Bury(n, item.entry, item.code, item.why, item.event))

    async def checkpoint(self, trigger_id: str, entry: str, value: bytes) -> bool:  # noqa: ARG002 - an `Outbox`
        return await self._ask(lambda n: Checkpoint(n, entry, value))

    async def stopped(self, trigger_id: str, entry: str) -> bool:  # noqa: ARG002 - an `Outbox`
        return await self._ask(lambda n: Stopped(n, entry))

    async def absolve(self, trigger_id: str, entry: str) -> bool:
        raise NotImplementedError("nobody is held in a sandbox's own quarantine")

    def answer(self, answer: Answer) -> None:
        """The daemon has brought a request to Redis."""
        asked = self._asked.pop(answer.number, None)
        if asked is not None and not asked.done():
            asked.set_result(answer.accepted)

    async def _ask(self, request: Callable[[int], Report]) -> bool:
        self._number += 1
        asked: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._asked[self._number] = asked
        self._pipe.send(request(self._number))
        return await asked


def _make_aws(settings: Settings) -> Any:
    from triggerd.aws import Aws  # noqa: PLC0415 - takes as long as all else that a sandbox imports

    return Aws(settings.aws, Metrics(__version__, ()))


def _claimed(order: Admit) -> ClaimedTrigger:
    env = msgspec.msgpack.encode([order.classpath, order.kwargs, order.resume])
    return ClaimedTrigger(
        entry=order.entry, id=to_text(order.id), env=env, reply_to="", deadline_ms=order.deadline_ms,
        cancel=None if order.cancel is None else to_text(order.cancel), seq=order.seq, checkpoint=order.checkpoint,
        adoptions=0, deferred_ms=0, stopping=order.stopping,
    )  # fmt: skip


def _read(env: bytes) -> TriggerEnvelope:
    """What `_claimed` has put there: the daemon has checked the real envelope."""
    return TriggerEnvelope(*msgspec.msgpack.decode(env, type=tuple[str, bytes, bytes]))
