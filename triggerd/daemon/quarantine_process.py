"""The child process in which suspects are tried, as its daemon has it: started, listened to, watched, ended."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

import msgspec

from triggerd.clock import monotonic_s
from triggerd.daemon.quarantine_suspect import Suspect
from triggerd.daemon.runs import StopCause
from triggerd.daemon.sandbox_pipe import (
    MAX_FRAME_BYTES,
    Answer,
    Ended,
    Ping,
    Pipe,
    PipeError,
    Pong,
    Ready,
    Report,
    Request,
    stop,
)
from triggerd.errors import TriggerdError
from triggerd.settings import Settings

START_WITHIN_S = 60.0
HANG_AFTER_S = 30.0
"""A child that does not answer for this long would have been a daemon that systemd kills (WatchdogSec of our units)."""
RELEASE_WITHIN_S = 60.0
"""From the end of a probation until every suspect has been closed: an on_cancel() in progress may take 30 s."""
_PING_EVERY_S = 1.0
_LAST_WORDS_WITHIN_S = 1.0

# Our import path, and not by PYTHONPATH: whatever a trigger or the AWS SDK starts would inherit that.
_PROGRAM = "import sys; sys.path[:] = sys.argv[1:]; from triggerd.daemon.sandbox import main; main()"


class SandboxError(TriggerdError):
    """The child process could not be started. No suspect has anything to do with it."""

    code = "sandbox"


class Sandbox:
    """One child process and the suspects in it. Make it by `start`, use it for one `probe`, then `close` it."""

    def __init__(self, process: asyncio.subprocess.Process, pipe: Pipe[Report]) -> None:
        self._process, self._pipe = process, pipe
        self._suspects: dict[str, Suspect] = {}
        self._carrying: set[asyncio.Task[None]] = set()
        self._ready, self._pong, self._empty = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._answered_s = monotonic_s()
        self._how = ""
        self._life = asyncio.create_task(self._live(), name="sandbox")

    @classmethod
    async def start(cls, settings: Settings) -> "Sandbox":
        """A child that is ready to be given triggers.

        Raises:
            SandboxError: It could not be started.
        """
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-P", "-c", _PROGRAM, *(path or str(Path.cwd()) for path in sys.path),
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
                start_new_session=True, env=_environment(), limit=MAX_FRAME_BYTES,
            )  # fmt: skip
        except OSError as error:
            raise SandboxError(f"a child process cannot be started: {error}") from error
        assert process.stdin is not None  # noqa: S101 - they were asked for
        assert process.stdout is not None  # noqa: S101 - as above
        sandbox = cls(process, Pipe(process.stdout, process.stdin, Report))
        try:
            await sandbox._begin(settings)
        except BaseException:
            await sandbox.close()
            raise
        return sandbox

    async def _begin(self, settings: Settings) -> None:
        told = Settings(allow=settings.allow, aws=settings.aws, logs=settings.logs)  # nothing of Redis, and no keys
        self._pipe.send_bytes(msgspec.msgpack.encode(told))
        await self._unless_gone(self._ready.wait(), START_WITHIN_S)
        if not self._ready.is_set():
            raise SandboxError(f"the child process is not ready: {self._how or 'it takes too long'}")

    async def probe(self, suspects: Sequence[Suspect], probation_s: float) -> str | None:
        """Run suspects until they have ended, or for `probation_s`. None: all is well. Else: how the child ended.

        A suspect that lived through it is stopped as for a move, and is then undecided.
        """
        watching = asyncio.create_task(self._watch(), name="sandbox watch")
        try:
            await self._unless_gone(self._admit(suspects), None)
            await self._unless_gone(self._empty.wait(), probation_s)
            for suspect in list(self._suspects.values()):
                self._pipe.send(stop(suspect.run.entry, StopCause.DRAINED.value, None))
            await self._unless_gone(self._empty.wait(), RELEASE_WITHIN_S)
        finally:
            watching.cancel()
        crash = self._how if self._life.done() else None
        if self._suspects:
            self._kill("ended by its daemon")
        if self._carrying:  # its last words: only then it is known who is left
            await asyncio.wait(self._carrying)
        for suspect in suspects:
            if suspect.sandbox is self:
                suspect.sandbox = None
            suspect.decide_if_over()
        return crash

    def stop(self, suspect: Suspect) -> None:
        """Pass on that a suspect's run was stopped."""
        if suspect.run.cause is not None:
            self._pipe.send(stop(suspect.run.entry, suspect.run.cause.value, suspect.run.cancelled_by))

    async def close(self) -> None:
        """End the child."""
        self._kill("ended by its daemon")
        for carrying in self._carrying:
            carrying.cancel()
        await asyncio.wait([self._life])

    async def _admit(self, suspects: Sequence[Suspect]) -> None:
        for suspect in suspects:
            if suspect.waits:
                suspect.sandbox = self
                self._suspects[suspect.run.entry] = suspect
                self._pipe.send(suspect.admit())
                await self._pipe.writer.drain()
        if not self._suspects:
            self._empty.set()
        self._pong.clear()
        self._pipe.send(Ping())
        await self._pong.wait()

    async def _unless_gone(self, step: Coroutine[Any, Any, object], limit_s: float | None) -> None:
        """Await `step`, at most `limit_s`, and no longer than the child lives."""
        task = asyncio.create_task(step, name="sandbox step")
        try:
            await asyncio.wait([task, self._life], timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConnectionError):
                await task

    async def _watch(self) -> None:
        """Kill a child whose event loop is blocked."""
        self._answered_s = monotonic_s()
        while monotonic_s() - self._answered_s < HANG_AFTER_S:
            self._pipe.send(Ping())
            await asyncio.sleep(_PING_EVERY_S)
        self._kill(f"had its event loop blocked for {HANG_AFTER_S:g} s")

    def _kill(self, how: str) -> None:
        self._how = self._how or how
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def _live(self) -> None:
        """Listen to the child until it has ended."""
        reading = asyncio.create_task(self._read(), name="sandbox reports")
        dying = asyncio.create_task(self._process.wait(), name="sandbox process")
        await asyncio.wait([reading, dying], return_when=asyncio.FIRST_COMPLETED)
        if dying.done():
            # What it had said before is still in the pipe; its end may be held open by a child of a trigger.
            await asyncio.wait([reading], timeout=_LAST_WORDS_WITHIN_S)
        elif not self._how:
            await asyncio.wait([dying], timeout=_LAST_WORDS_WITHIN_S)  # the pipe ends a moment before the process
        if not dying.done():
            self._kill("broke the pipe to its daemon")
        reading.cancel()
        status = await dying
        self._how = self._how or how_ended(status)
        self._pipe.writer.close()

    async def _read(self) -> None:
        try:
            while (report := await self._pipe.read()) is not None:
                self._heed(report)
        except PipeError as error:
            self._kill(f"wrote into the pipe to its daemon: {error}")

    def _heed(self, report: Report) -> None:
        match report:
            case Ready():
                self._ready.set()
            case Pong():
                self._answered_s = monotonic_s()
                self._pong.set()
            case Ended():
                self._ended(report.entry)
            case Request():
                task = asyncio.create_task(self._carry(report), name="sandbox request")
                self._carrying.add(task)
                task.add_done_callback(self._carrying.discard)

    async def _carry(self, request: Request) -> None:
        suspect = self._suspects.get(request.entry)
        accepted = suspect is not None and await suspect.carry(request)
        self._pipe.send(Answer(request.number, accepted))

    def _ended(self, entry: str) -> None:
        suspect = self._suspects.pop(entry, None)
        if suspect is not None:
            suspect.sandbox = None
            suspect.decide_if_over()
            if suspect.waits and suspect.run.over:
                suspect.on_stop()  # what was to stop its remote work has crossed the end of its run here
        if not self._suspects:
            self._empty.set()


def how_ended(status: int) -> str:
    """What an exit status of `Process.wait` means."""
    if status >= 0:
        return f"exited with status {status}"
    with contextlib.suppress(ValueError):
        return f"was killed by {signal.Signals(-status).name}"
    return f"was killed by signal {-status}"


def _environment() -> dict[str, str]:
    """The child's environment: none of our settings (a password of Redis), nothing of systemd's."""
    not_its = ("TRIGGERD_", "NOTIFY_", "WATCHDOG_")
    return {name: value for name, value in os.environ.items() if not name.startswith(not_its)}
