"""Containment of the tasks that a trigger starts: one that exits harms itself, one left behind ends with its run.

A task is the trigger's own where code of the trigger's own top-level package asked for it. What a library starts is
not cancelled, although it starts it in whatever run is current: aiohttp resolves names and aiobotocore renews
credentials in tasks that other triggers wait for.
"""

import asyncio
import contextlib
import sys
from collections.abc import Callable, Coroutine, Generator, Iterator
from types import FrameType
from typing import Any

from triggerd.daemon.runs import Run
from triggerd.errors import message_of
from triggerd.logs import bind_run, bound_run, get_logger
from triggerd.metrics import OTHER, Metrics

MAX_TASKS = 1_000
"""Tasks of its own that one trigger may have at the same time."""
_CANCEL_TRIES = 3
_CANCEL_EVERY_S = 1.0
_OURS = "triggerd"

log = get_logger("triggerd.containment")


class TaskExitError(RuntimeError):
    """A task that a trigger had started raised SystemExit, KeyboardInterrupt or the like."""


def enter(run: Run) -> None:
    """What the current task logs and starts from here on belongs to this run."""
    bind_run(run)


def leave(run: Run, metrics: Metrics) -> None:
    """The run has ended: cancel the tasks that its trigger left behind, and let it start no more."""
    run.ended = True
    if run.spawned:
        label = run.metrics.label if run.metrics is not None else OTHER
        metrics.tasks_left_behind.labels(label).inc(len(run.spawned))
        log.warning(
            "tasks left behind by a trigger are cancelled",
            trigger_id=run.id, classpath=run.classpath, tasks=len(run.spawned),
        )  # fmt: skip
        _cancel(run, metrics.tasks_deaf.labels(label).inc, _CANCEL_TRIES)


def run_of(task: asyncio.Task[Any]) -> Run | None:
    """The run that started this task, None for a task of the daemon's own and for a run's own task."""
    coro = task.get_coro()
    return coro.run if isinstance(coro, _Contained) else None


@contextlib.contextmanager
def installed() -> Iterator[None]:
    """Contain what triggers start on the running loop."""
    loop = asyncio.get_running_loop()
    before, hooks = loop.get_task_factory(), sys.get_asyncgen_hooks()
    loop.set_task_factory(_make_task)
    # The loop would note every generator, 200 bytes each, to close those left at its end: runs close their own.
    sys.set_asyncgen_hooks(firstiter=None)
    try:
        yield
    finally:
        sys.set_asyncgen_hooks(*hooks)
        loop.set_task_factory(before)


def drive(loop: asyncio.AbstractEventLoop, main: Coroutine[Any, Any, None]) -> None:
    """Run the loop until `main` has ended, although a trigger's callback raises SystemExit or calls `loop.stop()`.

    Raises:
        BaseException: What `main` raised. KeyboardInterrupt: Ctrl-C before `installed`.
    """
    task = loop.create_task(main)
    while not task.done():
        try:
            loop.run_until_complete(task)
        except BaseException as error:
            if task.done() or loop.get_task_factory() is not _make_task:
                raise
            log.exception("a callback stopped the event loop, which goes on", error=message_of(error))


class _Contained(Coroutine[Any, Any, Any]):
    """The coroutine of a task that was started in a run. Nothing that it raises can end the loop."""

    __slots__ = ("_coro", "run")

    def __init__(self, coro: Coroutine[Any, Any, Any], run: Run) -> None:
        self._coro, self.run = coro, run

    def send(self, value: Any) -> Any:
        try:
            return self._coro.send(value)
        except (Exception, asyncio.CancelledError):
            raise
        except BaseException as error:
            raise self._exited(error) from error

    def throw(self, *thrown: Any) -> Any:
        try:
            return self._coro.throw(*thrown)
        except (Exception, asyncio.CancelledError):
            raise
        except BaseException as error:
            raise self._exited(error) from error

    def close(self) -> None:
        self._coro.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._coro.__await__()

    def __getattr__(self, name: str) -> Any:
        # cr_code, cr_frame, __qualname__: what asyncio prints of a task, and where its stack begins.
        return getattr(self._coro, name)

    def _exited(self, error: BaseException) -> TaskExitError:
        problem = f"a task of the trigger raised {type(error).__name__}: {message_of(error)}"
        log.warning(
            "a trigger's task wanted the daemon to exit",
            trigger_id=self.run.id, classpath=self.run.classpath, error=problem,
        )  # fmt: skip
        return TaskExitError(problem)


def _make_task(loop: asyncio.AbstractEventLoop, coro: Any, /, **options: Any) -> asyncio.Task[Any]:
    """The loop's task factory."""
    run = bound_run()
    if not isinstance(run, Run):
        return asyncio.Task(coro, loop=loop, **options)
    if not _is_own(run, coro, sys._getframe(1)):  # noqa: SLF001 - who asks for the task
        return asyncio.Task(_Contained(coro, run), loop=loop, **options)
    spawned = run.spawned = run.spawned or set()
    if run.ended or len(spawned) >= MAX_TASKS:
        coro.close()  # never awaited, and must not complain about that later
        why = "has ended" if run.ended else f"has {MAX_TASKS:,} tasks already"
        raise RuntimeError(f"no more tasks: trigger {run.id!r} {why}")
    task = asyncio.Task(_Contained(coro, run), loop=loop, **options)
    spawned.add(task)
    task.add_done_callback(spawned.discard)
    return task


def _is_own(run: Run, coro: Any, frame: FrameType | None) -> bool:
    """Whether the trigger's own package asked for this task, be it through asyncio's helpers (gather, wait_for)."""
    while frame is not None and (asker := _package_of(frame)) == "asyncio":
        frame = frame.f_back
    if frame is None or asker == _OURS:  # the runner, or a call from a thread: whose code is to run?
        asker = _package_of(getattr(coro, "cr_frame", None))
    return asker == run.classpath.partition(".")[0] != _OURS


def _package_of(frame: FrameType | None) -> str:
    name: str = frame.f_globals.get("__name__", "") if frame is not None else ""
    return name.partition(".")[0]


def _cancel(run: Run, count_deaf: Callable[[int], None], tries: int) -> None:
    """Cancel, and again after a while: a task may catch the first, or be in its last await."""
    left = tuple(run.spawned or ())
    if left and tries == 0:
        count_deaf(len(left))
        log.error("a trigger's tasks heed no cancellation and are left alone", trigger_id=run.id, tasks=len(left))
    elif left:
        for task in left:
            task.cancel()
        asyncio.get_running_loop().call_later(_CANCEL_EVERY_S, _cancel, run, count_deaf, tries - 1)
