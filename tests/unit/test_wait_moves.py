"""A wait that moves to another daemon goes on: same end of the budget, same counts, whatever the other's clock says."""

import asyncio
import dataclasses
from typing import Any

import pytest

from tests.support.scripted_poller import Client, World, fault, run, shared
from triggerd.envelope import pack
from triggerd.errors import EnvelopeDecodeError, WaiterExhaustedError
from triggerd.testing import LocalContext
from triggerd.trigger import Progress, WaitResponse, WaitState
from triggerd.triggers.aws import AwsWaiterTrigger

RUNNING, SUCCEEDED = run("RUNNING"), run("SUCCEEDED")


class Seen(list[Progress]):
    """What `on_poll` was told, as a wait's checkpoint."""

    def state(self, world: World) -> WaitState:
        """As stored by a daemon in this world, and read by another."""
        return WaitState.read(list(self[-1].state(world.now_s, world.now_ms)))


async def _polled(world: World, seconds: int, client: Client, **more: Any) -> WaitState:
    """The state of a wait that was polled for so long; then its daemon is gone."""
    seen = Seen()
    wait = world.start(shared(client), on_poll=seen.append, **more)
    await world.settle()
    for _ in range(10 * seconds):
        await world.settle(0.1)
    assert not wait.done()
    wait.cancel()
    return seen.state(world)


async def _exhausted(world: World, state: WaitState, **more: Any) -> tuple[float, WaiterExhaustedError]:
    """Seconds until the restored wait has used its budget up, and its error."""
    wait = world.start(shared(Client(RUNNING)), restored=state, **more)
    took_s = await world.until(wait, 0.1)
    with pytest.raises(WaiterExhaustedError) as error:
        await wait
    return took_s, error.value


@pytest.mark.parametrize("away_s", [0, 7, 25])
async def test_a_move_neither_resets_nor_lengthens_the_budget(away_s: int) -> None:
    async with World() as world:
        state = await _polled(world, 31, Client(RUNNING), max_attempts=8)  # a budget of 70 s, 39 of them left
    assert state.polls == 4
    async with World(now_s=5.0, now_ms=world.now_ms + away_s * 1000) as other:
        took_s, error = await _exhausted(other, state, max_attempts=8)
    assert 39 <= took_s + away_s <= 49  # at the first poll after that instant, polls being 9 s apart at least
    assert error.polls > 4
    assert error.waited_s == pytest.approx(31 + away_s + took_s, abs=0.01)


async def test_after_many_moves_the_budget_still_ends_at_its_instant() -> None:
    state = WaitState(1_700_000_000_000, 1_700_000_090_000, 1, "RUNNING")
    now_ms = state.began_ms
    for number in range(1, 10):
        async with World(now_s=100.0 * number, now_ms=now_ms) as world:
            state = await _polled(world, 8, Client(RUNNING), max_attempts=10, restored=state)
            now_ms = world.now_ms
    assert tuple(state) == (1_700_000_000_000, 1_700_000_090_000, 10, "RUNNING")
    async with World(now_s=7.0, now_ms=now_ms) as world:
        took_s, _ = await _exhausted(world, state, max_attempts=10)
    assert 18 <= took_s <= 19


async def test_a_budget_that_passed_meanwhile_ends_the_wait_at_its_first_answered_poll() -> None:
    async with World() as world:
        state = await _polled(world, 5, Client(RUNNING))
    async with World(now_ms=world.now_ms + 3_600_000) as other:
        client = Client(fault("ThrottlingException"), RUNNING)
        wait = other.start(shared(client), restored=state)
        await other.until(wait)
        with pytest.raises(WaiterExhaustedError, match="still RUNNING after 2 polls"):
            await wait
        assert client.calls == 2


async def test_success_goes_before_a_budget_that_passed_meanwhile() -> None:
    async with World() as world:
        state = await _polled(world, 5, Client(RUNNING))
    async with World(now_ms=world.now_ms + 3_600_000) as other:
        wait = other.start(shared(Client(SUCCEEDED)), restored=state)
        await other.until(wait)
        assert ((await wait).polls, (await wait).last_status) == (2, "SUCCEEDED")
        assert (await wait).waited_s == pytest.approx(3605, abs=1)


async def test_what_an_outage_moved_the_end_by_is_kept_also_where_it_lasts() -> None:
    async with World() as world:
        client, seen = Client(RUNNING), Seen()
        wait = world.start(shared(client), on_poll=seen.append)  # a budget of 30 s
        await world.settle()
        client.script = [fault("ThrottlingException")]
        for _ in range(360):
            await world.settle(10)
        wait.cancel()
        state = seen.state(world)
        assert 18 <= ((state.ends_ms or 0) - world.now_ms) / 1000 <= 22
    async with World(now_s=5.0, now_ms=world.now_ms) as other:
        took_s, _ = await _exhausted(other, state)
        assert 18 <= took_s <= 32


async def test_a_clock_that_was_ahead_holds_up_no_answer() -> None:
    async with World() as world:
        state = await _polled(world, 5, Client(RUNNING))
    async with World(now_ms=world.now_ms - 3_600_000) as other:
        wait = other.start(shared(Client(SUCCEEDED)), restored=state)
        assert await other.until(wait) == 0
        assert (await wait).waited_s == 0


async def test_an_endless_budget_moves_too() -> None:
    async with World() as world:
        state = await _polled(world, 5, Client(RUNNING), max_attempts=2**63 - 1)
    pack(list(state))
    async with World() as other:
        assert (await _polled(other, 5, Client(RUNNING), max_attempts=2**63 - 1, restored=state)).polls == 2


def test_a_state_is_at_most_60_bytes() -> None:
    state = Progress(2**31, "A" * 32, 1e6, 30.0, None, 1e9, 5.0).state(10.0, 1_900_000_000_000)
    assert len(pack(list(state))) <= 60
    assert Progress(1, "A" * 33, 1.0, 30.0, None, 9.0, 5.0).state().last_status is None


@pytest.mark.parametrize(
    "value",
    [
        7, "text", {}, [], [1, 2, 3], [1, 2, 3, None, 5], [None, 2, 3, None], [1, 2.0, 3, None], [1, 2, True, None],
        [float("nan"), 2, 3, None], [1, float("inf"), 3, None], [-1, 2, 3, None], [1, 2**63, 3, None], [1, 2, 3, b"x"],
    ],
)  # fmt: skip
def test_what_is_no_state_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="not the state of a wait"):
        WaitState.read(value)


# --- when AwsWaiterTrigger stores a checkpoint -------------------------------------------------------------------


async def test_a_wait_that_is_cancelled_says_how_it_stands_then() -> None:
    async with World() as world:
        seen = Seen()
        wait = world.start(shared(Client(RUNNING)), on_poll=seen.append)
        await world.settle()
        for _ in range(4):
            await world.settle(1.0)
        wait.cancel()
        await world.settle()
        assert [(progress.polls, progress.cancelled) for progress in seen] == [(1, False), (1, True)]
        polled, stopped = seen
        assert stopped.waited_s == pytest.approx(polled.waited_s + 4.0)
        assert stopped.state(world.now_s, world.now_ms) == polled.state(world.now_s, world.now_ms)


class Context(LocalContext):
    """`gate`: whether Redis answers. `aws` is a wait that the test polls by hand."""

    def __init__(self, restored: Any = None) -> None:
        super().__init__(self, trigger_id="t", deadline_ms=0, restored=restored)  # type: ignore[arg-type]  # as much as is used
        self.gate, self.waiting = asyncio.Event(), asyncio.Event()
        self.gate.set()
        self.polled: Any = None
        self.last: Progress | None = None
        self.given: Any = None
        self.over: asyncio.Future[WaitResponse] = asyncio.get_running_loop().create_future()

    async def checkpoint(self, value: Any) -> None:
        await self.gate.wait()
        await super().checkpoint(value)

    async def wait(self, *_: Any, **options: Any) -> WaitResponse:
        self.polled, self.given = options["on_poll"], options["restored"]
        self.waiting.set()
        try:
            return await self.over
        except asyncio.CancelledError:
            if self.last is not None:
                self.polled(dataclasses.replace(self.last, cancelled=True))
            raise

    def answered(self, progress: Progress) -> None:
        """One poll."""
        self.last = progress
        self.polled(progress)

    @property
    def counts(self) -> list[int]:
        """The polls of each checkpoint."""
        return [WaitState.read(value).polls for value in self.checkpoints]


async def _settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def _start(context: Context) -> asyncio.Task[Any]:
    trigger = AwsWaiterTrigger("glue", "job_complete", {"JobName": "j", "RunId": "r"})
    trigger.context = context
    run = trigger.run()
    task = asyncio.ensure_future(anext(aiter(run)))
    await context.waiting.wait()
    return task


def _answer(polls: int, *, ends_s: float = 1000.0, next_s: float = 10.0, at_s: float = 0.0) -> Progress:
    return Progress(polls, "RUNNING", 1.0, next_s, None, ends_s - at_s, at_s)


async def _stopped(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_checkpoints_cost_the_logarithm_of_the_polls() -> None:
    context = Context()
    task = await _start(context)
    for polls in range(1, 1001):
        context.answered(_answer(polls))
        await _settle()
    assert context.counts == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]
    assert len(asyncio.all_tasks()) == 2, "no task of its own at rest"
    await _stopped(task)
    assert context.counts[-1] == 1000, "a clean stop loses no count"


async def test_an_end_that_moved_by_more_than_a_delay_is_stored_at_once() -> None:
    context = Context()
    task = await _start(context)
    for polls, ends_s in [(1, 1000), (2, 1000), (3, 1009), (4, 1009), (5, 1018), (6, 1020), (7, 1020)]:
        context.answered(_answer(polls, ends_s=ends_s))
        await _settle()
    assert context.counts == [1, 2, 4, 6]
    await _stopped(task)


async def test_an_answer_that_ends_the_wait_is_not_stored() -> None:
    context = Context()
    task = await _start(context)
    context.answered(_answer(1, next_s=0.0))
    context.over.set_result(WaitResponse())
    assert (await task).payload["status"] == "success"
    assert context.checkpoints == []


async def test_a_restored_wait_gets_its_state_and_stores_it_again_when_the_polls_have_doubled() -> None:
    stored = [1, 2, 5, "RUNNING"]
    context = Context(restored=stored)
    task = await _start(context)
    assert context.given == stored
    for polls in range(6, 13):
        context.answered(_answer(polls))
        await _settle()
    assert context.counts == [12]
    await _stopped(task)


async def test_while_redis_is_away_the_newest_state_wins_and_the_wait_is_not_held_up() -> None:
    context = Context()
    context.gate.clear()
    task = await _start(context)
    for polls in range(1, 10):
        context.answered(_answer(polls))
        await _settle()
    assert len(asyncio.all_tasks()) == 3, "one task, however much there is to store"
    context.gate.set()
    await _settle()
    assert context.counts == [1, 8]
    context.gate.clear()
    context.answered(_answer(16))
    context.over.set_result(WaitResponse())
    assert (await task).payload["status"] == "success"
    assert asyncio.all_tasks() == {asyncio.current_task()}, "nothing is left behind"


async def test_a_checkpoint_that_fails_costs_the_wait_nothing() -> None:
    class Failing(Context):
        async def checkpoint(self, value: Any) -> None:
            raise OSError("as scripted")

    context = Failing()
    task = await _start(context)
    context.answered(_answer(1))
    await _settle()
    await _stopped(task)


async def test_a_checkpoint_that_nobody_can_read_lets_the_wait_begin_anew() -> None:
    class Unreadable(Context):
        @property
        def restored(self) -> Any:
            raise EnvelopeDecodeError("as scripted")

        @restored.setter
        def restored(self, _: Any) -> None: ...

    context = Unreadable()
    task = await _start(context)
    assert context.given is None
    await _stopped(task)
