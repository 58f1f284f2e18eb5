"""A run that has ended leaves no cycle: the daemon lets the garbage collector walk over its old objects only rarely."""

import asyncio
import gc
from collections.abc import Callable, Iterator
from types import AsyncGeneratorType, CoroutineType, FrameType, TracebackType
from typing import Any

import pytest

from tests.support.waiting import eventually
from triggerd.clock import wall_ms
from triggerd.daemon.loading import Loader
from triggerd.daemon.registry import Registry
from triggerd.daemon.runner import Runner
from triggerd.daemon.runs import Capacity, Run, StopCause
from triggerd.envelope import TriggerReader, encode_trigger
from triggerd.errors import AwsCallError
from triggerd.metrics import Metrics
from triggerd.streams.trigger_queue import ClaimedTrigger
from triggerd.trigger import BaseTrigger, Progress, WaitResponse
from triggerd.triggers.aws import AwsWaiterTrigger
from triggerd.triggers.wait_checkpoints import WaitCheckpoints

OURS = (
    Run, BaseTrigger, ClaimedTrigger, WaitCheckpoints, Progress, asyncio.Future, CoroutineType, AsyncGeneratorType,
    FrameType, TracebackType, BaseException,
)  # fmt: skip


class Aws:
    """An AWS side whose one wait ends when a test says so."""

    def __init__(self) -> None:
        self.future: asyncio.Future[WaitResponse] | None = None

    async def wait(self, *_: Any, **options: Any) -> WaitResponse:
        self.future = asyncio.get_running_loop().create_future()
        options["on_poll"](Progress(1, "RUNNING", 1.0, 30.0, None, 60.0))
        return await self.future


class Accepts:
    """An outbox whose Redis says yes to everything."""

    async def publish(self, _: Any) -> bool:
        return True

    bury = publish

    async def checkpoint(self, *_: Any) -> bool:
        return True

    stopped = absolve = checkpoint


@pytest.fixture
def garbage() -> Iterator[Callable[[], list[str]]]:
    """What has become unreachable and was not freed since the last call: the types of what is ours."""

    def collect() -> list[str]:
        gc.collect()
        found = [type(item).__name__ for item in gc.garbage if isinstance(item, OURS)]
        gc.garbage.clear()
        return found

    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    yield collect
    gc.set_debug(0)
    gc.garbage.clear()
    gc.enable()


def end(how: str, runner: Runner, aws: Aws) -> None:
    assert aws.future is not None
    match how:
        case "success":
            aws.future.set_result(WaitResponse())
        case "failure":
            aws.future.set_exception(AwsCallError("glue: no such job"))
        case "bug":
            aws.future.set_exception(RuntimeError("a bug"))
        case "cancel":
            runner.cancel("t1", "somebody")
        case cause:
            for run in runner.runs:
                run.stop(StopCause(cause))
    aws.future = None


@pytest.mark.parametrize("how", ["success", "failure", "bug", "cancel", "drained", "released", "expired", "stopping"])
async def test_an_ended_run_leaves_no_cycle(how: str, garbage: Callable[[], list[str]]) -> None:
    aws: Any = Aws()
    loader = Loader(Registry([], {}), aws, TriggerReader("default").read)
    runner = Runner(loader, Accepts(), Metrics("test", ["default"]), Capacity(10))
    trigger = AwsWaiterTrigger("glue", "job_complete", {"JobName": "j", "RunId": "r"}, cancel_call=False)
    env = encode_trigger(*trigger.serialize())
    found: list[str] = []
    for number in range(2):  # the first one imports the trigger, which may leave what it likes
        runner.capacity.reserve(1)
        runner.start(ClaimedTrigger(f"{number}-0", "t1", env, "", wall_ms() + 60_000, None, 0, None, 0, wall_ms()))
        await eventually(lambda: aws.future is not None)
        garbage()
        end(how, runner, aws)
        await runner.runs.wait_empty()
        await eventually(lambda: len(asyncio.all_tasks()) == 1)
        found = garbage()
    assert found == []
