"""The runner: whatever a trigger does becomes one outcome, and each event is published before the next step.

The outbox here stands for the settler: it keeps what it is given and answers as a test tells it to.
"""

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from tests.support.waiting import eventually
from triggerd.clock import wall_ms
from triggerd.daemon import runner as runner_module
from triggerd.daemon import runs as runs_module
from triggerd.daemon.loading import Loader
from triggerd.daemon.registry import Registry
from triggerd.daemon.runner import Runner
from triggerd.daemon.runs import Capacity, StopCause
from triggerd.envelope import TriggerReader, encode_trigger, pack
from triggerd.event import Continuation, Event, decode_event
from triggerd.metrics import Metrics
from triggerd.streams.dead_letter import Burial
from triggerd.streams.trigger_queue import ClaimedTrigger, Publication
from triggerd.trigger import BaseTrigger, TriggerEvent

RESUME = Continuation("done").encode()
steps: list[str] = []


class Steps(BaseTrigger):
    """Behaves as its name says, and writes down what it does."""

    def __init__(self, kind: str = "fire", **kwargs: Any) -> None:
        self.kind, self.kwargs = kind, kwargs
        if kind == "refuse":
            raise ValueError("kind refuse is refused")

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return f"{__name__}.Steps", {"kind": self.kind}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        steps.append("begin")
        match self.kind:
            case "raise":
                raise KeyError("nothing there")
            case "exit":
                raise SystemExit(3)
            case "cancelled":
                raise asyncio.CancelledError
            case "cancels itself":
                cancel_own_task()
                await asyncio.sleep(0)
            case "silent":
                return
            case "nonsense":
                yield 42  # type: ignore[misc]  # on purpose
            case "unpackable":
                yield TriggerEvent({"object": object()})
            case "mute error":
                raise MuteError
        yield TriggerEvent({"id": self.context.trigger_id})
        steps.append("resumed")

    async def on_cancel(self) -> None:
        steps.append("on_cancel")
        if self.kind == "stubborn":
            raise RuntimeError("AWS says no")

    async def cleanup(self) -> None:
        steps.append("cleanup")


class Waits(Steps):
    async def run(self) -> AsyncIterator[TriggerEvent]:
        steps.append("begin")
        match self.kind:
            case "wait" | "stubborn":
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    steps.append("interrupted")
                    if self.kind == "wait":
                        raise
                yield TriggerEvent("late")
            case "checkpoint":
                steps.append(f"restored {self.context.restored}")
                await self.context.checkpoint({"page": 2})
                await asyncio.sleep(0)
                yield TriggerEvent("checkpointed")
            case "slow end":
                yield TriggerEvent("fired")
                await asyncio.Event().wait()


class MuteError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even this")


class Multi(Steps):
    multi_event = True

    async def run(self) -> AsyncIterator[TriggerEvent]:
        for number in (1, 2):
            yield TriggerEvent(number)
            steps.append(f"after {number}")
        if self.kind == "raise":
            raise ValueError("in the middle")


class Deaf(Steps):
    """Swallows every cancellation in the step that `kind` names, until `go_on`."""

    go_on: asyncio.Event

    async def run(self) -> AsyncIterator[TriggerEvent]:
        steps.append("begin")
        await self._swallow("run")
        if self.kind == "run":
            await self.context.checkpoint("late")
        yield TriggerEvent(self.kind)
        await self._swallow("end")

    async def on_cancel(self) -> None:
        steps.append("on_cancel")
        await self._swallow("on_cancel")

    async def cleanup(self) -> None:
        steps.append("cleanup")
        await self._swallow("cleanup")

    async def _swallow(self, step: str) -> None:
        while step == self.kind and not self.go_on.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await self.go_on.wait()


def cancel_own_task() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()


class CancelsItself(Waits):
    async def on_cancel(self) -> None:
        cancel_own_task()
        await asyncio.sleep(0)

    async def cleanup(self) -> None:
        cancel_own_task()
        await asyncio.sleep(0)


class NoGenerator(Steps):
    async def run(self) -> Any:  # type: ignore[override]  # on purpose: no yield in it
        return TriggerEvent(1)


class NoPlace:
    __slots__ = ()

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return "", {}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        yield TriggerEvent(1)


class Foreign:
    """The shape of an Airflow trigger: no base class, no on_cancel, no multi_event."""

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return "", {}

    async def run(self) -> AsyncIterator[Any]:
        yield type("TriggerEvent", (), {"payload": "foreign"})()


class ForeignJob(Foreign):
    """An Airflow trigger that stops its remote job; cancelled without Airflow's word it would do so on a drain, too."""

    async def run(self) -> AsyncIterator[Any]:
        steps.append("begin")
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError as error:
            steps.append(str(error))
            raise
        yield

    async def on_kill(self) -> None:
        steps.append("on_kill")


class Kept:
    """An outbox that keeps what it gets. `accept` decides about each; `gate` holds answers back while it is clear."""

    def __init__(self) -> None:
        self.published: list[Publication] = []
        self.buried: list[Burial] = []
        self.checkpoints: list[bytes] = []
        self.accept: Callable[[Any], bool] = lambda _item: True
        self.gate = asyncio.Event()
        self.gate.set()

    async def publish(self, item: Publication) -> bool:
        steps.append(f"publish {item.seq}")
        self.published.append(item)
        await self.gate.wait()
        return self.accept(item)

    async def bury(self, item: Burial) -> bool:
        self.buried.append(item)
        return self.accept(item)

    async def checkpoint(self, trigger_id: str, entry: str, value: bytes) -> bool:
        self.checkpoints.append(value)
        return self.accept(value)

    async def stopped(self, trigger_id: str, entry: str) -> bool:
        steps.append("stopped")
        return self.accept(entry)

    async def absolve(self, trigger_id: str, entry: str) -> bool:
        steps.append("absolved")
        return self.accept(entry)

    def events(self) -> list[Event]:
        return [decode_event(item.id, item.seq, item.outcome, item.event) for item in self.published]


@pytest.fixture(autouse=True)
def _no_steps_yet() -> None:
    steps.clear()
    Deaf.go_on = asyncio.Event()


@pytest.fixture
def outbox() -> Kept:
    return Kept()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics("test", ["default"])


@pytest.fixture
def capacity() -> Capacity:
    return Capacity(10)


@pytest.fixture
def runner(outbox: Kept, metrics: Metrics, capacity: Capacity) -> Runner:
    aws: Any = None
    loader = Loader(Registry([f"{__name__}.*"], {}), aws, TriggerReader("default", 10_000).read)
    return Runner(loader, outbox, metrics, capacity)


def claimed(kind: str = "fire", cls: str = "", **changes: Any) -> ClaimedTrigger:
    cls = cls or ("Waits" if kind in ("wait", "stubborn", "checkpoint", "slow end") else "Steps")
    kwargs = {"kind": kind} if issubclass(globals()[cls], Steps) else {}
    env = encode_trigger(f"{__name__}.{cls}", kwargs, RESUME)
    trigger = ClaimedTrigger(
        entry="1-0",
        id="t1",
        env=env,
        reply_to="default",
        deadline_ms=wall_ms() + 60_000,
        cancel=None,
        seq=0,
        checkpoint=None,
        adoptions=0,
        deferred_ms=wall_ms(),
    )
    return dataclasses.replace(trigger, **changes)


async def run_one(runner: Runner, trigger: ClaimedTrigger) -> None:
    start(runner, trigger)
    await runner.runs.wait_empty()


def start(runner: Runner, trigger: ClaimedTrigger) -> None:
    runner.capacity.reserve(1)
    runner.start(trigger)


def finished(metrics: Metrics, outcome: str, trigger: str = "Steps") -> float | None:
    return metrics.registry.get_sample_value(
        "triggerd_triggers_finished_total", {"trigger": trigger, "outcome": outcome}
    )


def released(metrics: Metrics, cause: str) -> float | None:
    return metrics.registry.get_sample_value("triggerd_triggers_released_total", {"cause": cause})


async def test_the_first_event_is_final_and_published_before_the_generator_goes_on(
    runner: Runner, outbox: Kept, metrics: Metrics, capacity: Capacity
) -> None:
    await run_one(runner, claimed())
    assert steps == ["begin", "publish 1", "resumed", "cleanup"]
    (event,) = outbox.events()
    assert (event.outcome, event.payload, event.final) == ("fired", {"id": "t1"}, True)
    assert Continuation.decode(event.resume).method_name == "done"
    assert finished(metrics, "fired") == 1
    assert capacity.free == 10


async def test_a_generator_whose_event_was_refused_is_closed_and_not_resumed(
    runner: Runner, outbox: Kept, metrics: Metrics
) -> None:
    outbox.accept = lambda _item: False
    await run_one(runner, claimed())
    assert steps == ["begin", "publish 1", "cleanup"]
    assert finished(metrics, "fired") == 0
    assert released(metrics, "refused") == 1


async def test_multi_event_publishes_each_and_ends_with_an_empty_final_one(runner: Runner, outbox: Kept) -> None:
    await run_one(runner, claimed(cls="Multi"))
    assert steps == ["publish 1", "after 1", "publish 2", "after 2", "publish 3", "cleanup"]
    assert [(event.payload, event.seq, event.final) for event in outbox.events()] == [
        (1, 1, False),
        (2, 2, False),
        (None, 3, True),
    ]


async def test_multi_event_counts_on_from_the_events_of_an_earlier_run(runner: Runner, outbox: Kept) -> None:
    await run_one(runner, claimed(cls="Multi", seq=5))
    assert [event.seq for event in outbox.events()] == [6, 7, 8]


async def test_multi_event_that_raises_in_the_middle_ends_as_failed(runner: Runner, outbox: Kept) -> None:
    await run_one(runner, claimed("raise", cls="Multi"))
    assert [(event.outcome, event.seq) for event in outbox.events()] == [("fired", 1), ("fired", 2), ("failed", 3)]


async def test_a_class_of_the_same_shape_from_elsewhere_runs(runner: Runner, outbox: Kept) -> None:
    await run_one(runner, claimed(cls="Foreign"))
    assert outbox.events()[0].payload == "foreign"


@pytest.mark.parametrize(
    ("kind", "code", "error_type", "says"),
    [
        ("raise", "trigger_raised", "KeyError", "nothing there"),
        ("exit", "trigger_raised", "SystemExit", "3"),
        ("cancelled", "error", "TriggerdError", "nobody had cancelled it"),
        ("cancels itself", "error", "TriggerdError", "nobody had cancelled it"),
        ("silent", "error", "TriggerdError", "without yielding an event"),
        ("nonsense", "error", "TriggerdError", "yielded a int"),
        ("unpackable", "unpackable", "EnvelopePackError", "'object'"),
        ("mute error", "trigger_raised", "MuteError", "whose __str__ raised RuntimeError"),
    ],
)
async def test_a_trigger_that_misbehaves_ends_as_failed_with_the_reason(
    runner: Runner, outbox: Kept, metrics: Metrics, kind: str, code: str, error_type: str, says: str
) -> None:
    await run_one(runner, claimed(kind))
    (event,) = outbox.events()
    assert event.outcome == "failed"
    assert event.error is not None
    assert (event.error.code, event.error.type) == (code, error_type)
    assert says in event.error.message
    assert event["status"] == "error"
    assert steps[-1] == "cleanup"
    assert finished(metrics, "failed") == 1


async def test_run_without_yield_ends_as_failed(runner: Runner, outbox: Kept) -> None:
    await run_one(runner, claimed(cls="NoGenerator"))
    assert outbox.events()[0].outcome == "failed"
    assert "async generator" in outbox.events()[0]["message"]


@pytest.mark.parametrize(
    ("trigger", "code"),
    [
        ({"env": b"\xc1garbage"}, "undecodable"),
        ({"env": pack([9, b"", "a.B", b""])}, "unknown_version"),
        ({"env": encode_trigger("os.system", {}, RESUME)}, "classpath_not_allowed"),
        ({"env": encode_trigger(f"{__name__}.Gone", {}, RESUME)}, "classpath_not_found"),
        ({"env": encode_trigger(f"{__name__}.pack", {}, RESUME)}, "not_a_trigger"),
        ({"env": encode_trigger(f"{__name__}.NoPlace", {}, RESUME)}, "not_a_trigger"),
        ({"env": encode_trigger(f"{__name__}.Steps", {"kind": "refuse"}, RESUME)}, "arguments_refused"),
        ({"env": encode_trigger(f"{__name__}.Steps", {"fill": "x" * 10_001}, RESUME)}, "too_large"),
    ],
)
async def test_what_cannot_be_run_is_buried_with_its_code_and_a_failed_event(
    runner: Runner, outbox: Kept, metrics: Metrics, trigger: dict[str, Any], code: str
) -> None:
    await run_one(runner, claimed(**trigger))
    (burial,) = outbox.buried
    assert (burial.code, burial.seq) == (code, 1)
    event = decode_event(burial.id, burial.seq, "failed", burial.event)
    assert event.error is not None
    assert event.error.code == code
    assert outbox.published == []
    assert metrics.registry.get_sample_value("triggerd_triggers_buried_total") == 1


async def test_a_cancel_ends_the_run_then_calls_on_cancel_then_publishes(runner: Runner, outbox: Kept) -> None:
    start(runner, claimed("wait"))
    await eventually(lambda: "begin" in steps)
    runner.cancel("t1", "ann")
    runner.cancel("t1", "ann")
    await runner.runs.wait_empty()
    assert steps == ["begin", "interrupted", "on_cancel", "publish 1", "cleanup"]
    assert outbox.events()[0].outcome == "cancelled"


@pytest.mark.parametrize("kill", [True, False], ids=["cancel", "drain"])
async def test_airflows_on_kill_is_called_for_a_cancel_and_for_nothing_else(
    runner: Runner, outbox: Kept, kill: bool
) -> None:
    start(runner, claimed(cls="ForeignJob"))
    await eventually(lambda: "begin" in steps)
    if kill:
        runner.cancel("t1", "ann")
    elif run := runner.runs.by_id("t1"):
        run.stop(StopCause.DRAINED)
    await runner.runs.wait_empty()
    assert steps == ["begin", "__airflow_user_action__", *(["on_kill", "publish 1"] if kill else [])]


async def test_an_on_cancel_that_fails_is_told_to_the_caller(runner: Runner, outbox: Kept) -> None:
    start(runner, claimed("stubborn"))
    await eventually(lambda: "begin" in steps)
    runner.cancel("t1", "ann")
    await runner.runs.wait_empty()
    (event,) = outbox.events()
    assert event.outcome == "cancelled"
    assert "AWS says no" in event["message"]


async def test_a_trigger_adopted_with_its_cancel_is_cancelled_without_being_run(runner: Runner, outbox: Kept) -> None:
    await run_one(runner, claimed("wait", cancel="alice"))
    assert steps == ["on_cancel", "publish 1", "cleanup"]
    assert outbox.events()[0]["message"] == "cancelled by alice"


async def test_a_trigger_that_cancels_its_own_task_in_a_step_is_not_taken_for_the_end_of_the_process(
    runner: Runner, outbox: Kept, capacity: Capacity
) -> None:
    await run_one(runner, claimed(cls="CancelsItself", cancel="ann"))
    (event,) = outbox.events()
    assert event.outcome == "cancelled"
    assert "on_cancel() raised CancelledError, the remote work may go on" in event["message"]
    assert capacity.free == 10


@pytest.mark.parametrize("kind", ["wait", "stubborn"])
@pytest.mark.parametrize("cause", [StopCause.DRAINED, StopCause.RELEASED, StopCause.EXPIRED])
async def test_any_other_stop_neither_touches_aws_nor_publishes(
    runner: Runner, outbox: Kept, metrics: Metrics, cause: StopCause, kind: str
) -> None:
    start(runner, claimed(kind))
    await eventually(lambda: "begin" in steps)
    run = runner.runs.by_id("t1")
    assert run is not None
    run.stop(cause)
    await runner.runs.wait_empty()
    assert steps == ["begin", "interrupted", "cleanup"]
    assert outbox.published == []
    assert released(metrics, cause.value) == 1


async def test_a_stop_never_cuts_off_a_publish_in_progress(runner: Runner, outbox: Kept, metrics: Metrics) -> None:
    outbox.gate.clear()
    start(runner, claimed())
    await eventually(lambda: outbox.published)
    run = runner.runs.by_id("t1")
    assert run is not None
    run.stop(StopCause.DRAINED)
    runner.cancel("t1", "ann")
    outbox.gate.set()
    await runner.runs.wait_empty()
    assert finished(metrics, "fired") == 1
    assert "on_cancel" not in steps


async def test_the_end_of_a_generator_is_bounded_in_time(
    runner: Runner, outbox: Kept, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner_module, "CLEAN_UP_WITHIN_S", 0.01)
    await run_one(runner, claimed("slow end"))
    assert outbox.events()[0].payload == "fired"
    assert metrics.registry.get_sample_value("triggerd_trigger_overruns_total") == 1


async def test_a_checkpoint_is_stored_and_given_to_the_next_run(runner: Runner, outbox: Kept) -> None:
    await run_one(runner, claimed("checkpoint", checkpoint=pack({"page": 1})))
    assert "restored {'page': 1}" in steps
    assert outbox.checkpoints == [pack({"page": 2})]


async def test_a_run_whose_checkpoint_is_refused_is_released(runner: Runner, outbox: Kept, metrics: Metrics) -> None:
    outbox.accept = lambda _item: False
    await run_one(runner, claimed("checkpoint"))
    assert outbox.published == []
    assert released(metrics, "released") == 1


@pytest.fixture
def _soon_abandoned(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (runner_module, runs_module):
        monkeypatch.setattr(module, "ABANDON_AFTER_S", 0.02)
    monkeypatch.setattr(runs_module, "INTERRUPT_EVERY_S", 0.01)
    for limit in ("CLEAN_UP_WITHIN_S", "ON_CANCEL_WITHIN_S"):
        monkeypatch.setattr(runner_module, limit, 0.01)


def abandoned(metrics: Metrics, trigger: str = "Deaf") -> float | None:
    return metrics.registry.get_sample_value("triggerd_triggers_abandoned_total", {"trigger": trigger})


@pytest.mark.usefixtures("_soon_abandoned")
async def test_a_run_that_ignores_its_cancel_is_abandoned_and_its_work_and_its_caller_are_not(
    runner: Runner, outbox: Kept, metrics: Metrics, capacity: Capacity
) -> None:
    start(runner, claimed("run", cls="Deaf"))
    await eventually(lambda: "begin" in steps)
    runner.cancel("t1", "ann")
    await runner.runs.wait_empty()
    assert steps == ["begin", "on_cancel", "publish 1"]
    assert "cancelled by ann; run() did not heed" in outbox.events()[0]["message"]
    assert (abandoned(metrics), capacity.free) == (1, 10)
    left = [task.get_name() for task in asyncio.all_tasks()]
    assert "trigger t1, abandoned" in left  # which the watchdog says, should it block the loop one day
    Deaf.go_on.set()
    await eventually(lambda: "cleanup" in steps)
    assert len(outbox.published) == 1
    assert outbox.checkpoints == []


@pytest.mark.usefixtures("_soon_abandoned")
@pytest.mark.parametrize("cause", [StopCause.RELEASED, StopCause.EXPIRED])
async def test_what_an_abandoned_run_still_does_disturbs_no_later_run_of_its_entry(
    runner: Runner, outbox: Kept, cause: StopCause
) -> None:
    start(runner, claimed("run", cls="Deaf"))
    await eventually(lambda: "begin" in steps)
    run = runner.runs.by_id("t1")
    assert run is not None
    run.stop(cause)
    await runner.runs.wait_empty()
    assert outbox.published == []
    start(runner, claimed("wait"))
    await eventually(lambda: steps.count("begin") == 2)
    Deaf.go_on.set()
    await eventually(lambda: "cleanup" in steps)
    assert (outbox.published, outbox.checkpoints, len(runner.runs)) == ([], [], 1)
    runner.cancel("t1", "ann")
    await runner.runs.wait_empty()
    assert [event.outcome for event in outbox.events()] == ["cancelled"]


@pytest.mark.usefixtures("_soon_abandoned")
@pytest.mark.parametrize("step", ["end", "cleanup", "on_cancel"])
async def test_a_step_that_swallows_its_time_out_holds_its_run_no_longer(
    runner: Runner, outbox: Kept, metrics: Metrics, capacity: Capacity, step: str
) -> None:
    await run_one(runner, claimed(step, cls="Deaf", cancel="ann" if step == "on_cancel" else None))
    (event,) = outbox.events()
    assert event.outcome == ("cancelled" if step == "on_cancel" else "fired")
    if step == "on_cancel":
        assert "on_cancel() did not end, the remote work may go on" in event["message"]
    assert (abandoned(metrics), capacity.free) == (1, 10)
    Deaf.go_on.set()


async def test_an_expired_trigger_has_its_remote_work_stopped_where_that_was_asked_for(
    runner: Runner, outbox: Kept, metrics: Metrics
) -> None:
    start(runner, claimed("wait"))
    await eventually(lambda: "begin" in steps)
    runner.stop_remote("t1")
    await runner.runs.wait_empty()
    assert steps == ["begin", "interrupted", "on_cancel", "stopped", "cleanup"]
    assert outbox.published == []
    assert released(metrics, "refused") == 0


async def test_remote_work_that_a_dead_daemon_did_not_stop_is_stopped_without_running_the_trigger(
    runner: Runner, outbox: Kept
) -> None:
    await run_one(runner, claimed("wait", stopping=True))
    assert steps == ["on_cancel", "stopped", "cleanup"]
    assert outbox.published == []


@pytest.mark.parametrize("trigger", [{"kind": "stubborn"}, {"env": b"\xc1garbage"}])
async def test_remote_work_that_cannot_be_stopped_is_tried_once_and_counted(
    runner: Runner, outbox: Kept, metrics: Metrics, trigger: dict[str, Any]
) -> None:
    await run_one(runner, claimed(stopping=True, **trigger))
    assert "stopped" in steps
    assert (outbox.published, outbox.buried) == ([], [])
    assert metrics.registry.get_sample_value("triggerd_remote_stops_failed_total") == 1


async def test_a_caller_whose_trigger_is_not_even_decoded_hears_with_its_continuation(
    runner: Runner, outbox: Kept
) -> None:
    env = encode_trigger(f"{__name__}.Steps", {}, RESUME)
    await run_one(runner, claimed(env=env[:1] + b"\x63" + env[2:]))
    (burial,) = outbox.buried
    assert burial.code == "unknown_version"
    assert decode_event("t1", 1, "failed", burial.event).resume == RESUME


async def test_the_same_entry_twice_runs_once_and_gives_its_place_back(runner: Runner, capacity: Capacity) -> None:
    start(runner, claimed("wait"))
    start(runner, claimed("wait"))
    assert len(runner.runs) == 1
    assert capacity.free == 9
    await eventually(lambda: "begin" in steps)
    await runner.runs.abandon()
    assert capacity.free == 10


def test_capacity_is_reserved_never_beyond_and_room_is_told_once_it_is_there() -> None:
    capacity, told = Capacity(3), []
    capacity.when_room(lambda: told.append(capacity.free))
    assert (capacity.reserve(2), capacity.reserve(2), capacity.reserve(2)) == (2, 1, 0)
    capacity.take(1)
    capacity.give_back(1)
    assert told == []
    capacity.give_back(1)
    assert told == [1]
