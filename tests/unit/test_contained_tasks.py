"""Whose a task is that is started while a trigger runs, and what becomes of it."""

import asyncio
import gc
import types
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import pytest

from tests.support.waiting import eventually
from triggerd.daemon import containment
from triggerd.daemon.runs import Run
from triggerd.metrics import Metrics
from triggerd.streams.trigger_queue import ClaimedTrigger

METRICS = Metrics("test", [])


def run_of_a_test_trigger() -> Run:
    run = Run(
        ClaimedTrigger(
            entry="1-1", id="t1", env=b"", reply_to="", deadline_ms=0, cancel=None, seq=0, checkpoint=None, adoptions=0,
            deferred_ms=0,
        ),
        lambda *_: None,
    )  # fmt: skip
    run.classpath = f"{__name__}.SomeTrigger"
    return run


@pytest.fixture
async def run() -> AsyncIterator[Run]:
    """What the test starts, it starts as a trigger of its own package."""
    with containment.installed():
        run = run_of_a_test_trigger()
        yield run


async def within(run: Run, work: Coroutine[Any, Any, Any]) -> Any:
    """`work` as the body of a run."""
    containment.enter(run)
    try:
        return await work
    finally:
        containment.leave(run, METRICS)


async def for_ever() -> None:
    await asyncio.Event().wait()


async def test_what_a_trigger_starts_by_whatever_way_ends_with_its_run(run: Run) -> None:
    started: list[asyncio.Future[Any]] = []

    async def body() -> None:
        started.append(asyncio.create_task(for_ever()))
        started.append(asyncio.create_task(asyncio.sleep(3600)))
        started.append(asyncio.ensure_future(for_ever()))
        started.append(asyncio.gather(for_ever(), for_ever()))
        started.append(asyncio.shield(for_ever()))
        await asyncio.sleep(0)

    await within(run, body())
    assert run.spawned is not None
    assert len(run.spawned) == 6
    ends = await asyncio.gather(*started, return_exceptions=True)
    assert [type(end) for end in ends] == [asyncio.CancelledError] * 5
    await eventually(lambda: not run.spawned)


async def test_what_a_library_starts_is_left_to_it_though_it_runs_the_triggers_code(run: Run) -> None:
    """As a cache does that computes a value once for all who ask."""
    library = types.ModuleType("some_library")
    exec("import asyncio\ndef start(coro): return asyncio.ensure_future(coro)", vars(library))
    go = asyncio.Event()
    shared: list[asyncio.Task[bool]] = []

    async def body() -> None:
        shared.append(library.start(go.wait()))

    await within(run, body())
    await asyncio.sleep(0)
    go.set()
    assert await shared[0] is True


async def test_an_exit_in_any_task_of_a_run_is_an_ordinary_error_of_that_task(run: Run) -> None:
    async def leave(error: BaseException) -> None:
        await asyncio.sleep(0)
        raise error

    async def body() -> None:
        for error in (SystemExit(1), KeyboardInterrupt(), GeneratorExit()):
            with pytest.raises(containment.TaskExitError, match=type(error).__name__):
                await asyncio.wait_for(asyncio.create_task(leave(error)), 5)
        with pytest.raises(ExceptionGroup) as group:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(leave(SystemExit(2)))
        assert isinstance(group.value.exceptions[0], containment.TaskExitError)

    await within(run, body())


async def test_cancelling_what_has_not_begun_leaves_no_coroutine_unawaited(run: Run) -> None:
    async def body() -> None:
        asyncio.create_task(for_ever()).cancel()

    await within(run, body())
    await eventually(lambda: not run.spawned)
    gc.collect()  # where Python would complain, and a warning is an error


async def test_a_run_that_has_ended_starts_nothing_more(run: Run) -> None:
    refused: list[str] = []
    started: list[asyncio.Task[None]] = []

    async def stubborn() -> None:
        try:
            await for_ever()
        finally:
            try:
                await asyncio.create_task(for_ever())
            except RuntimeError as error:
                refused.append(str(error))

    async def body() -> None:
        started.append(asyncio.create_task(stubborn()))
        await asyncio.sleep(0)

    await within(run, body())
    await eventually(lambda: refused == ["no more tasks: trigger 't1' has ended"])


async def test_a_task_outside_of_runs_is_a_plain_task(run: Run) -> None:
    task = asyncio.create_task(for_ever(), name="of the daemon")
    assert (type(task), task.get_name(), containment.run_of(task)) == (asyncio.Task, "of the daemon", None)
    assert asyncio.iscoroutine(task.get_coro())
    task.cancel()


async def test_a_task_of_a_run_looks_like_any_other(run: Run) -> None:
    async def body() -> None:
        task = asyncio.create_task(for_ever(), name="mine")
        await asyncio.sleep(0)
        assert containment.run_of(task) is run
        assert "mine" in repr(task)
        assert "for_ever" in repr(task)
        assert [frame.f_code.co_name for frame in task.get_stack()] == ["for_ever"]

    await within(run, body())
