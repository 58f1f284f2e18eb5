"""The Resumer: each event reaches its task, at least once, whatever happens to the process that handles it."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.owner import Owner
from tests.support.resuming import running
from tests.support.waiting import eventually_sync
from triggerd import Client, Deferrable, Event, Resumer, TriggerFailedError
from triggerd.embedded import EmbeddedServer
from triggerd.event import Continuation
from triggerd.keys import QueueKeys
from triggerd.streams.dead_letter import DeadLetters
from triggerd.streams.result_stream import ResultStream
from triggerd.streams.script import Call
from triggerd.triggers.testing import SuccessTrigger

LEASE_MS = 600  # redelivery comes on a clock of a third of it


class Load(Deferrable):
    """Records what it is resumed with; its class attribute says what it does then."""

    seen: list[tuple[Any, ...]]
    act: Callable[[Event], None]

    def __init__(self, table: str) -> None:
        self.table = table

    def execute(self, context: Any) -> None:
        self.defer(trigger=SuccessTrigger(self.table), timeout=60, kwargs={"rows": 3})

    def execute_complete(self, context: Any, event: Event, rows: int) -> None:
        self.seen.append((self.table, context, event.event_id, event.payload, rows))
        type(self).act(event)


@pytest.fixture
def load() -> type[Load]:
    """A fresh class each time, so that nothing is shared between tests."""
    return type("Load", (Load,), {"seen": [], "act": staticmethod(lambda event: None), "__module__": __name__})


def stream_length(td: Client, reply_to: str = "default") -> int:
    return int(td.caller.redis.run(Call("len", ("XLEN", QueueKeys("default").events(reply_to)), int)))


def test_the_continuation_gets_context_event_and_kwargs_and_the_event_goes(
    td: Client, owner: Owner, load: type[Load]
) -> None:
    td.start(load("sales"), {"run": 7}, id="t1")
    resumer = Resumer(td)
    resumer.register(load)
    with running(resumer):
        owner.fire(owner.claim()[0], {"status": "success"})
        eventually_sync(lambda: load.seen)
        eventually_sync(lambda: stream_length(td) == 0)
    assert load.seen == [("sales", {"run": 7}, "t1:1", {"status": "success"}, 3)]


def test_events_that_came_before_the_resumer_are_resumed_too(td: Client, owner: Owner, load: type[Load]) -> None:
    for n in range(30):
        td.start(load(f"table{n}"))
    for trigger in owner.claim():
        owner.fire(trigger, trigger.id)
    resumer = Resumer(td)
    resumer.register(load)
    with running(resumer):
        eventually_sync(lambda: len(load.seen) == 30)
    assert len({row[0] for row in load.seen}) == 30


def test_a_continuation_may_defer_again_and_a_second_delivery_defers_once(
    td: Client, owner: Owner, load: type[Load]
) -> None:
    class TwoLegs(Load):
        seen: list[tuple[Any, ...]] = []  # noqa: RUF012 - the fixture's shape

        def execute_complete(self, context: Any, event: Event, rows: int) -> None:
            self.seen.append(("first", context))
            self.defer(trigger=SuccessTrigger(2), method_name="finish")

        def finish(self, context: Any, event: Event) -> None:
            self.seen.append(("second", context, event.trigger_id))

    td.start(TwoLegs("sales"), {"run": 7}, id="t1")
    [trigger] = owner.claim()
    resumer = Resumer(td)
    resumer.register(TwoLegs)
    owner.fire(trigger, 1)
    event = td.handle("t1").result()
    with running(resumer):
        eventually_sync(lambda: td.handle("t1+2").status() == "queued")
        resumer.resume("default", "default", event)  # as a redelivery would
        [second] = owner.claim()
        owner.fire(second, 2)
        eventually_sync(lambda: ("second", {"run": 7}, "t1+2") in TwoLegs.seen)
    assert [row[0] for row in TwoLegs.seen].count("second") == 1


def test_an_id_that_is_used_again_has_legs_of_its_own(td: Client, owner: Owner, load: type[Load]) -> None:
    """The second leg of last night was remembered for longer than the first: tonight's was taken for it, and lost."""

    class TwoLegs(Load):
        seen: list[tuple[Any, ...]] = []  # noqa: RUF012 - the fixture's shape

        def execute_complete(self, context: Any, event: Event, rows: int) -> None:
            self.defer(trigger=SuccessTrigger(2), method_name="finish")

        def finish(self, context: Any, event: Event) -> None:
            self.seen.append((context,))

    resumer = Resumer(td)
    resumer.register(TwoLegs)
    with running(resumer):
        for night in (1, 2):
            td.start(TwoLegs("sales"), night, id="nightly")
            for _ in range(2):
                [leg] = eventually_sync(owner.claim)
                owner.fire(leg, 1)
            eventually_sync(lambda night=night: (night,) in TwoLegs.seen)  # type: ignore[misc]
            td.caller.redis.run(Call("forget", ("DEL", QueueKeys("default").done("nightly")), int))


def test_a_failed_trigger_resumes_the_task_with_the_failure(td: Client, owner: Owner, load: type[Load]) -> None:
    failures: list[Exception] = []

    def act(event: Event) -> None:
        try:
            event.raise_for_status()
        except TriggerFailedError as error:
            failures.append(error)

    load.act = staticmethod(act)
    td.start(load("sales"), id="t1")
    owner.fail(owner.claim()[0], "failed", "it crashed")
    resumer = Resumer(td)
    resumer.register(load)
    with running(resumer):
        eventually_sync(lambda: failures)
    assert "it crashed" in str(failures[0])
    assert load.seen[0][3] == {"status": "error", "message": "it crashed"}


def test_a_continuation_that_raises_is_called_again_and_at_last_a_dead_letter(
    td: Client, owner: Owner, load: type[Load]
) -> None:
    def act(event: Event) -> None:
        raise RuntimeError("the warehouse is closed")

    load.act = staticmethod(act)
    td.start(load("sales"), id="t1")
    owner.fire(owner.claim()[0], 1)
    resumer = Resumer(td, max_deliveries=3, lease_ms=LEASE_MS, retry_delay=0.1)
    resumer.register(load)
    with running(resumer):
        [letter] = eventually_sync(lambda: td.caller.redis.run(DeadLetters("default").ls()))
    assert len(load.seen) == 3
    assert len({row[2] for row in load.seen}) == 1, "the event id is the same at every delivery"
    assert (letter.id, letter.code, letter.why) == (
        "t1",
        "continuation_raised",
        "RuntimeError: the warehouse is closed",
    )
    assert stream_length(td) == 0


def test_an_event_of_an_unknown_task_is_left_for_a_resumer_that_knows_it(
    td: Client, owner: Owner, load: type[Load]
) -> None:
    td.start(load("sales"))
    owner.fire(owner.claim()[0], 1)
    ignorant, knowing = (Resumer(td, max_deliveries=100, lease_ms=LEASE_MS, retry_delay=0.02) for _ in range(2))
    knowing.register(load)
    with running(ignorant):
        consumers = ("XINFO", "CONSUMERS", QueueKeys("default").events("default"), "resumers")
        released = Call("released", consumers, str)
        eventually_sync(lambda: stream_length(td) == 1)
        td.caller.redis.run(ResultStream("default", "default").prepare())
        eventually_sync(lambda: "released" in td.caller.redis.run(released))
    # Not beside it: who of two looks first is chance, and each time that it is the ignorant one the pause grows.
    with running(knowing):
        eventually_sync(lambda: load.seen)


def test_an_event_without_a_task_goes_to_the_handler(td: Client, owner: Owner) -> None:
    seen: list[tuple[Event, Continuation]] = []
    td.defer(SuccessTrigger(), "after", kwargs={"n": 1}, id="t1", reply_to="mine", queue="q")
    owner.fire(owner.claim("q")[0], "payload")
    resumer = Resumer(td, reply_to="mine", queues=("default", "q"))
    resumer.on_event(lambda event, continuation: seen.append((event, continuation)))
    with running(resumer):
        [(event, continuation)] = eventually_sync(lambda: list(seen))
    assert (event.payload, continuation.method_name, continuation.kwargs) == ("payload", "after", {"n": 1})


def test_only_a_deferrable_class_can_be_registered(td: Client) -> None:
    with pytest.raises(TypeError, match="Deferrable"):
        Resumer(td).register(SuccessTrigger)  # type: ignore[arg-type]


_DIES_IN_ITS_HANDLER = """
import os, sys
from triggerd import Client, Resumer
resumer = Resumer(Client(sys.argv[1]), lease_ms=600)
@resumer.on_event
def die(event, continuation):
    print("got", event.event_id, flush=True)
    if len(sys.argv) > 2: os.kill(os.getpid(), 9)
resumer.run()
print("left", flush=True)
"""


def test_an_event_whose_resumer_was_killed_in_its_handler_is_delivered_to_another(td: Client, owner: Owner) -> None:
    td.defer(SuccessTrigger(), id="t1")
    owner.fire(owner.claim()[0], 1)
    command = [sys.executable, "-c", _DIES_IN_ITS_HANDLER, td.url, "die"]
    killed = subprocess.run(command, capture_output=True, text=True, env=_environment(), check=False)
    assert (killed.returncode, killed.stdout) == (-signal.SIGKILL, "got t1:1\n")
    seen: list[str] = []
    resumer = Resumer(td, lease_ms=LEASE_MS)
    resumer.on_event(lambda event, _: seen.append(event.event_id))
    with running(resumer):
        eventually_sync(lambda: seen)
        eventually_sync(lambda: stream_length(td) == 0)
    assert seen == ["t1:1"]


def test_sigterm_lets_run_return(td: Client, owner: Owner) -> None:
    td.defer(SuccessTrigger(), id="t1")
    owner.fire(owner.claim()[0], 1)
    command = [sys.executable, "-c", _DIES_IN_ITS_HANDLER, td.url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=_environment()) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "got t1:1\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "left\n"
    assert process.returncode == 0


def test_a_restarted_redis_and_a_deleted_stream_do_not_end_a_resumer(own_redis: EmbeddedServer) -> None:
    seen: list[str] = []
    with Client(own_redis.url) as td, Owner(own_redis.url) as owner:
        resumer = Resumer(td, lease_ms=LEASE_MS)
        resumer.on_event(lambda event, _: seen.append(event.trigger_id))
        with running(resumer):
            td.defer(SuccessTrigger(), id="before")
            owner.fire(owner.claim()[0], 1)
            eventually_sync(lambda: seen == ["before"])
            own_redis.stop()
            own_redis.start()
            td.defer(SuccessTrigger(), id="after restart")
            owner.fire(owner.claim()[0], 1)
            eventually_sync(lambda: seen == ["before", "after restart"], 20)
            td.caller.redis.run(Call("del", ("DEL", QueueKeys("default").events("default")), int))
            td.defer(SuccessTrigger(), id="after deletion")
            owner.fire(owner.claim()[0], 1)
            eventually_sync(lambda: seen[-1] == "after deletion", 20)


def _environment() -> dict[str, str]:
    root = Path(__file__).resolve().parents[2]
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])}


def test_a_handler_may_be_a_coroutine_function(td: Client, owner: Owner) -> None:
    """It was called, never awaited, and its event was acked."""
    seen: list[str] = []
    resumer = Resumer(td, lease_ms=LEASE_MS)

    @resumer.on_event
    async def handle(event: Event, continuation: Continuation) -> None:
        seen.append(event.trigger_id)

    td.defer(SuccessTrigger(), id="t1")
    owner.fire(owner.claim()[0], 1)
    with running(resumer):
        eventually_sync(lambda: stream_length(td) == 0)
    assert seen == ["t1"]


def test_a_continuation_that_is_a_generator_is_a_dead_letter_and_is_not_acked_unrun(td: Client, owner: Owner) -> None:
    class Yields(Load):
        seen: list[tuple[Any, ...]] = []  # noqa: RUF012 - the fixture's shape

        def execute_complete(self, context: Any, event: Event, rows: int) -> Any:
            self.seen.append(("never",))
            yield

    td.start(Yields("sales"), id="t1")
    owner.fire(owner.claim()[0], 1)
    resumer = Resumer(td, lease_ms=LEASE_MS, max_deliveries=1)
    resumer.register(Yields)
    with running(resumer):
        [letter] = eventually_sync(lambda: td.caller.redis.run(DeadLetters("default").ls()))
    assert "nothing of it has run" in letter.why
