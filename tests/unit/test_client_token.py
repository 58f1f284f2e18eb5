"""`start_token`: the same for a step that is run again, another for every other one, and AWS takes it everywhere."""

import re
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
from botocore.loaders import Loader

from triggerd import Deferrable, Event, TimeDeltaTrigger, TriggerdError, start_token
from triggerd.aws.waiters import ServiceModels
from triggerd.data import data_path
from triggerd.deferrable import call_task
from triggerd.deferral import step_id
from triggerd.event import Continuation

MODELS = ServiceModels(Loader())
TABLE = re.compile(r"^\| ([a-z0-9-]+) \| (\w+) \| (\w+) \|(.*)\|$", re.MULTILINE)
TOKENS, NAMES = (data_path("docs") / "starts.md").read_text().split("## Calls whose name is the token")


def test_it_follows_from_the_id_and_the_step_alone() -> None:
    assert start_token("nightly-1") == start_token("nightly-1") == "f3cfb262-657d-5a0e-8c58-51757c9559f3"
    pairs = ("a", ""), ("b", ""), ("a", "b"), ("ab", ""), ("", "ab")
    assert len({start_token(*pair) for pair in pairs}) == len(pairs)
    assert str(uuid.UUID(start_token("x", "y"))) == start_token("x", "y")


@pytest.mark.parametrize(("service", "operation", "parameter", "_"), TABLE.findall(TOKENS))
def test_each_call_of_the_page_takes_it(service: str, operation: str, parameter: str, _: str) -> None:
    _takes(service, operation, parameter, start_token("any"))
    shape = MODELS.get(service).operation_model(operation).input_shape
    said = re.sub(r"<[^>]+>", "", shape.members[parameter].documentation).lower()
    assert parameter in MODELS.get(service).operation_model(operation).idempotent_members or re.search(
        "idempoten|retry", said
    )


@pytest.mark.parametrize(("service", "operation", "parameter", "more"), TABLE.findall(NAMES))
def test_each_named_call_of_the_page_takes_it(service: str, operation: str, parameter: str, more: str) -> None:
    _takes(service, operation, parameter, f"run-{start_token('any')}")
    errors = {error.name for error in MODELS.get(service).operation_model(operation).error_shapes}
    assert set(re.findall(r"\w+(?:Exception|Fault|AlreadyExists|ResourceInUse)|ResourceInUse", more)) <= errors


def _takes(service: str, operation: str, parameter: str, value: str) -> None:
    limits = MODELS.get(service).operation_model(operation).input_shape.members[parameter].metadata
    assert limits.get("min", 0) <= len(value) <= limits.get("max", 64)
    pattern = re.sub(r"\[.*\\(p\{|u).*\]", "[a-z0-9-]", limits.get("pattern", ""))  # character classes of Java's
    assert re.fullmatch(pattern or ".*", value)


@dataclass(frozen=True)
class Task(Deferrable):
    name: str = "a"

    def execute(self, context: Any) -> Any:
        context.append((self.start_token(), self.start_token("second")))
        self.defer(trigger=TimeDeltaTrigger(1))

    def execute_complete(self, context: Any, event: Event) -> None:
        self.execute(context)


def test_a_retried_step_gets_the_same_tokens_and_another_run_others() -> None:
    seen: list[tuple[str, str]] = []
    for run in ("run-1", "run-1", "run-2"):
        call_task(task := Task(), lambda task=task: task.execute(seen), run)  # type: ignore[misc]
    assert seen[0] == seen[1] == (start_token("run-1"), start_token("run-1", "second"))
    assert len({*seen[0], *seen[2]}) == 4


def test_an_event_that_is_delivered_twice_starts_one_job() -> None:
    leg = Continuation(root="run-1", leg=1)
    first = Event({}, trigger_id="run-1", fired_ms=5)
    assert step_id(leg, first) == step_id(leg, Event({}, trigger_id="run-1", fired_ms=5))
    others = (
        step_id(Continuation(root="run-1", leg=2), Event({}, trigger_id="run-1+2", fired_ms=5)),
        step_id(leg, Event({}, trigger_id="run-1", seq=2, fired_ms=5)),
        step_id(leg, Event({}, trigger_id="run-1", fired_ms=6)),  # the same id, used again
    )
    assert len({step_id(leg, first), *others}) == 4


def test_it_is_known_while_a_step_runs_only() -> None:
    task = Task()
    call_task(task, lambda: task.execute([]), "run-1")
    with pytest.raises(TriggerdError, match=r"start_token\(\) is known in execute\(\)"):
        task.start_token()


class Shared(Deferrable):
    """Ends without a wait, defers, or runs itself once more, as the context says."""

    def execute(self, context: Any) -> Any:
        return context(self)


def test_one_task_object_in_two_threads_keeps_their_tokens_and_ends_apart() -> None:
    task, both = Shared(), threading.Barrier(2, timeout=10)

    def defers(task: Shared) -> None:
        both.wait()
        tokens["a"] = task.start_token()
        task.defer(trigger=TimeDeltaTrigger(1), method_name="execute")

    def ends(task: Shared) -> str:
        both.wait()
        deferring.result()
        tokens["b"] = task.start_token()
        return "done"

    tokens: dict[str, str] = {}
    with ThreadPoolExecutor(2) as pool:
        deferring = pool.submit(call_task, task, lambda: task.execute(defers), "a")
        ending = pool.submit(call_task, task, lambda: task.execute(ends), "b")
        assert ending.result() == ("done", None)
        assert deferring.result()[1] is not None
    assert tokens == {"a": start_token("a"), "b": start_token("b")}
    with pytest.raises(TriggerdError):
        task.start_token()


def test_a_step_that_runs_its_own_task_once_more_keeps_its_token() -> None:
    def outer(task: Shared) -> str:
        result, deferred = call_task(task, lambda: task.execute(inner), "inner")
        assert deferred is not None
        assert result is None
        return task.start_token()

    def inner(task: Shared) -> None:
        task.defer(trigger=TimeDeltaTrigger(1), method_name="execute")

    task = Shared()
    assert call_task(task, lambda: task.execute(outer), "outer") == (start_token("outer"), None)


def test_a_thread_that_a_step_starts_knows_its_token() -> None:
    def asks(task: Shared) -> str:
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(task.start_token).result()

    task = Shared()
    assert call_task(task, lambda: task.execute(asks), "a") == (start_token("a"), None)
