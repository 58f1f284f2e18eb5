"""Tasks that defer: what `defer` raises, what is rebuilt, what is called."""

from dataclasses import dataclass
from typing import Any

import pytest

from triggerd import Client, Deferrable, DeferSwallowedError, TaskDeferred, TriggerFailedError
from triggerd.deferrable import call_task
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

    _, deferred = call_task(task := Careful("a"), lambda: task.execute(None))
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
        Star("a", "b")


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
