"""Tasks that defer: what `defer` raises, what is rebuilt, what is called."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Self

import pytest

from triggerd import (
    BaseTrigger,
    Client,
    Deferrable,
    DeferSwallowedError,
    TaskDeferred,
    TriggerEvent,
    TriggerFailedError,
)
from triggerd.deferrable import call_task
from triggerd.deferral import next_leg, plan_deferral
from triggerd.errors import TriggerdError
from triggerd.event import Continuation, Event
from triggerd.triggers.testing import SuccessTrigger


class Job(Deferrable):
    def __init__(self, name: str, *, size: int = 1, **extra: Any) -> None:
        self.name, self.size, self.extra = name, size, extra

    def execute(self, context: Any) -> Any:
        self.defer(trigger=SuccessTrigger(1), method_name="go_on", timeout=60, kwargs={"step": 2})

    def go_on(self, context: Any, event: Any = None, step: int = 0) -> Any:
        return context, event.payload, step, self.name

    def without_event(self, context: Any) -> str:
        return "went on"

    def _private(self, context: Any) -> None: ...


def test_defer_raises_what_an_except_exception_lets_pass() -> None:
    class Careful(Job):
        def execute(self, context: Any) -> Any:
            try:
                super().execute(context)
            except Exception:  # noqa: BLE001 - what a careless task does
                return "swallowed"

    _, deferred = call_task(task := Careful("a"), lambda: task.execute(None), "t1")
    assert isinstance(deferred, TaskDeferred)
    assert (deferred.method_name, deferred.timeout, deferred.kwargs) == ("go_on", 60, {"step": 2})


def test_a_swallowed_defer_is_reported_and_nothing_is_enqueued() -> None:
    class Greedy(Job):
        def execute(self, context: Any) -> Any:
            try:
                super().execute(context)
            except BaseException:  # noqa: BLE001 - what a careless task does
                return "swallowed"

    client = Client("redis://127.0.0.1:1")  # nothing listens there: an attempt to enqueue would be another error
    with pytest.raises(DeferSwallowedError, match="nothing was enqueued"):
        client.start(Greedy("a"))


def test_a_task_that_fails_on_its_way_out_enqueues_nothing() -> None:
    class Broken(Job):
        def execute(self, context: Any) -> Any:
            try:
                super().execute(context)
            finally:
                raise RuntimeError("while cleaning up")

    with pytest.raises(RuntimeError, match="while cleaning up"):
        Client("redis://127.0.0.1:1").start(Broken("a"))


def test_a_task_that_does_not_defer_returns_its_result() -> None:
    class Quick(Job):
        def execute(self, context: Any) -> Any:
            return context["answer"]

    assert Client("redis://127.0.0.1:1").start(Quick("a"), {"answer": 42}) == 42


def test_a_task_is_rebuilt_from_its_constructors_arguments() -> None:
    classpath, kwargs = Job("a", size=3, colour="red").serialize()
    assert classpath.endswith("test_deferrable.Job")
    assert kwargs == {"name": "a", "size": 3, "colour": "red"}
    assert Job(**kwargs).serialize() == (classpath, kwargs)


def test_a_dataclass_task_is_rebuilt_too() -> None:
    @dataclass
    class Pause(Deferrable):
        cluster: str
        hours: int = 1

        def execute(self, context: Any) -> Any: ...

    assert Pause("dwh", hours=2).serialize()[1] == {"cluster": "dwh", "hours": 2}


def test_positional_arguments_without_names_are_refused_with_the_way_out() -> None:
    class Star(Deferrable):
        def __init__(self, *names: str) -> None: ...

    with pytest.raises(TypeError, match="define serialize"):
        Star("a", "b").serialize()


def test_a_frozen_dataclass_can_be_a_task() -> None:
    @dataclass(frozen=True)
    class Pause(Deferrable):
        cluster: str

        def execute(self, context: Any) -> Any:
            self.defer(trigger=SuccessTrigger(1))

        def execute_complete(self, context: Any, event: Any) -> None: ...

    task = Pause("dwh")
    assert task.serialize()[1] == {"cluster": "dwh"}
    assert call_task(task, lambda: task.execute(None), "t1")[1] is not None


def test_arguments_that_only_a_new_of_ones_own_understands_are_no_guess() -> None:
    class Own(Deferrable):
        def __new__(cls, name: str) -> Self:
            return super().__new__(cls)

        def __init__(self, name: str) -> None: ...

    with pytest.raises(TypeError, match="define serialize"):
        Own("a").serialize()


def test_in_place_every_event_of_a_multi_event_trigger_may_defer() -> None:
    class Fan(Deferrable):
        deferrable = False
        seen: list[Any] = []  # noqa: RUF012 - one class, one test

        def execute(self, context: Any) -> Any:
            self.defer(trigger=Three(), method_name="each")

        def each(self, context: Any, event: Any) -> Any:
            if not event.final:
                self.defer(trigger=SuccessTrigger(event.payload), method_name="leaf")

        def leaf(self, context: Any, event: Any) -> Any:
            self.seen.append(event.payload)

    Client("redis://127.0.0.1:1").start(Fan())
    assert Fan.seen == [0, 1, 2]


class Three(BaseTrigger):
    multi_event = True

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return "tests.Three", {}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        for number in range(3):
            yield TriggerEvent(number)


def test_a_later_event_begins_a_line_of_its_own_when_its_continuation_defers() -> None:
    task, continuation = Job("a"), Continuation(leg=1, root="t1")
    ids = [next_leg(task, continuation, Event(None, trigger_id="t1", seq=seq)) for seq in (1, 2, 3)]
    assert [(leg["id"], leg["root"], leg["leg"]) for leg in ids] == [
        ("t1+2", "t1", 2), ("t1+2.2", "t1+2.2", 1), ("t1+2.3", "t1+2.3", 1),
    ]  # fmt: skip
    foreign = next_leg(task, Continuation(), Event(None, trigger_id="x"))
    assert foreign["id"] == "x+2", "a foreign producer's continuation has no root"


def test_the_continuation_gets_context_event_and_kwargs() -> None:
    continuation = Continuation("go_on", {"step": 2}, context={"run": 7})
    assert Job("a").resume_execution(continuation, Event("payload")) == ({"run": 7}, "payload", 2, "a")


def test_a_continuation_without_an_event_parameter_has_the_failure_raised() -> None:
    continuation = Continuation("without_event")
    assert Job("a").resume_execution(continuation, Event({"status": "success"})) == "went on"
    with pytest.raises(TriggerFailedError):
        Job("a").resume_execution(continuation, Event(None, outcome="failed"))


@pytest.mark.parametrize("name", ["_private", "__init__", "missing", "name", "deferrable"])
def test_only_a_public_method_of_the_task_can_be_the_continuation(name: str) -> None:
    with pytest.raises(TriggerdError, match="no public method"):
        Job("a").resume_execution(Continuation(name), Event(None))
    with pytest.raises(TriggerdError, match="no public method"):
        Job("a").defer(trigger=SuccessTrigger(), method_name=name)


def test_a_task_that_is_not_deferrable_runs_in_place_without_redis() -> None:
    class Twice(Deferrable):
        deferrable = False

        def execute(self, context: Any) -> Any:
            self.defer(trigger=SuccessTrigger(1), method_name="again")

        def again(self, context: Any, event: Any) -> Any:
            self.defer(trigger=SuccessTrigger(event.payload + 1), method_name="finish", kwargs={"from_again": True})

        async def finish(self, context: Any, event: Any, *, from_again: bool) -> Any:
            return context, event.payload, from_again

    assert Client("redis://127.0.0.1:1").start(Twice(), "context") == ("context", 2, True)


def test_what_is_to_happen_at_a_time_out_goes_with_the_deferral_and_a_typing_mistake_does_not() -> None:
    class Stops(Job):
        def execute(self, context: Any) -> Any:
            self.defer(trigger=SuccessTrigger(1), method_name="go_on", on_timeout=context)

    task = Stops("a")
    _, deferred = call_task(task, lambda: task.execute("cancel"), "t1")
    assert deferred is not None
    assert plan_deferral(**deferred.arguments()).on_timeout == "cancel"
    assert plan_deferral(SuccessTrigger(1)).on_timeout == ""
    with pytest.raises(ValueError, match="'leave' or 'cancel'"):
        task.execute("stop")
    with pytest.raises(ValueError, match="on_timeout = 'kill'"):
        Client("redis://127.0.0.1:1").defer(SuccessTrigger(1), on_timeout="kill")  # type: ignore[arg-type]
