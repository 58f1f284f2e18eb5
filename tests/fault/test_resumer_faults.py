"""The Resumer when things break: what a continuation does, what Redis does, and who still owns an event."""

import asyncio
import itertools
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.owner import Owner
from tests.support.resuming import running
from tests.support.servers import REPOSITORY
from tests.support.waiting import eventually_sync
from triggerd import Client, Event, Resumer
from triggerd.embedded import EmbeddedServer
from triggerd.envelope import pack_binary
from triggerd.keys import QueueKeys
from triggerd.streams.dead_letter import DeadLetter, DeadLetters
from triggerd.streams.result_stream import ResultStream
from triggerd.streams.script import Call
from triggerd.triggers.testing import SuccessTrigger

LEASE_MS = 600
EVENTS = QueueKeys("default").events("default")


def resumer_of(td: Client, handle: Callable[[Event], Any], **options: Any) -> Resumer:
    resumer = Resumer(td, **{"lease_ms": LEASE_MS, "retry_delay": 0.1} | options)
    resumer.on_event(lambda event, _: handle(event))
    return resumer


def fire(td: Client, owner: Owner, *names: str) -> None:
    td.defer_many({"trigger": SuccessTrigger(), "id": name} for name in names)
    for trigger in owner.claim():
        owner.fire(trigger, trigger.id)


def command(td: Client, *parts: object) -> Any:
    return td.caller.redis.run(Call("test", parts, lambda reply: reply))


def dead(td: Client) -> list[DeadLetter]:
    letters: list[DeadLetter] = td.caller.redis.run(DeadLetters("default").ls())
    return letters


def test_a_continuation_that_outlasts_the_stop_keeps_its_event(td: Client, owner: Owner) -> None:
    """The keeper ended with `stop`, the lease lapsed, and a peer ran the same continuation beside it."""
    began, go_on, others = threading.Event(), threading.Event(), []

    def slow(event: Event) -> None:
        began.set()
        go_on.wait(20)

    fire(td, owner, "t1")
    first, second = resumer_of(td, slow), resumer_of(td, lambda event: others.append(event.trigger_id))
    with running(first):
        assert began.wait(10)
        first.stop()
        with running(second):
            stopped_s = time.monotonic()
            eventually_sync(lambda: time.monotonic() - stopped_s > 4 * LEASE_MS / 1000)
            go_on.set()
            eventually_sync(lambda: command(td, "XLEN", EVENTS) == 0)
    assert others == []


class MuteError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.parametrize(
    "error", [SystemExit(3), asyncio.CancelledError(), KeyboardInterrupt(), MuteError(), ValueError("\udcff")]
)
def test_whatever_a_continuation_raises_it_becomes_a_dead_letter_in_the_end(
    td: Client, owner: Owner, error: BaseException
) -> None:
    calls: list[str] = []

    def broken(event: Event) -> None:
        calls.append(event.trigger_id)
        raise error

    fire(td, owner, "t1")
    with running(resumer_of(td, broken, max_deliveries=2)):
        [letter] = eventually_sync(lambda: dead(td))
    assert (calls, letter.id, letter.code) == (["t1", "t1"], "t1", "continuation_raised")


def test_the_pause_between_two_deliveries_grows_and_the_last_error_is_what_the_dead_letter_says(
    td: Client, owner: Owner
) -> None:
    called_s: list[float] = []

    def broken(event: Event) -> None:
        called_s.append(time.monotonic())
        raise ValueError(f"attempt {len(called_s)}")

    fire(td, owner, "t1")
    with running(resumer_of(td, broken, max_deliveries=4, retry_delay=0.2)):
        [letter] = eventually_sync(lambda: dead(td), 30)
    pauses = [later - earlier for earlier, later in itertools.pairwise(called_s)]
    assert [pause >= least for pause, least in zip(pauses, (0.2, 0.8, 3.2), strict=True)] == [True] * 3, pauses
    assert letter.why == "ValueError: attempt 4"
    assert command(td, "XLEN", EVENTS) == 0


def test_the_pause_outlives_the_resumer(td: Client, owner: Owner) -> None:
    """Nothing is redelivered hot because a Resumer is restarted, and another one goes on where it stopped."""
    called_s: list[float] = []

    def broken(event: Event) -> None:
        called_s.append(time.monotonic())
        raise ValueError("again")

    fire(td, owner, "t1")
    with running(resumer_of(td, broken, retry_delay=1.5)):
        eventually_sync(lambda: len(called_s) == 1)
    with running(resumer_of(td, broken, retry_delay=1.5)):
        eventually_sync(lambda: len(called_s) == 2)
    assert called_s[1] - called_s[0] >= 1.5
    assert dead(td) == []


def test_after_an_outage_each_resumer_has_the_time_of_a_lease_to_come_back_to_its_events(
    td: Client, owner: Owner
) -> None:
    """All leases are gone then, and whoever came back first took what the others were busy with."""
    fire(td, owner, "t1")
    td.caller.redis.run(ResultStream("default", "default").prepare())
    command(td, "XREADGROUP", "GROUP", "resumers", "busy", "STREAMS", EVENTS, ">")  # and no lease
    began_s, seen_s = time.monotonic(), []
    with running(resumer_of(td, lambda _: seen_s.append(time.monotonic()), lease_ms=1500)):
        eventually_sync(lambda: seen_s)
    assert seen_s[0] - began_s >= 1.5


def test_what_waits_behind_a_slow_continuation_goes_to_a_resumer_that_is_free(td: Client, owner: Owner) -> None:
    """One slow continuation held up the nine events that had been taken with it."""
    began, go_on = threading.Event(), threading.Event()
    seen: list[str] = []

    def slow(event: Event) -> None:
        began.set()
        go_on.wait(30)
        seen.append(event.trigger_id)

    fire(td, owner, *(f"t{n}" for n in range(8)))
    with running(resumer_of(td, slow, lease_ms=15_000)):
        assert began.wait(10)
        with running(resumer_of(td, lambda event: seen.append(event.trigger_id), lease_ms=15_000)):
            eventually_sync(lambda: sorted(seen) == [f"t{n}" for n in range(1, 8)])
            go_on.set()
            eventually_sync(lambda: command(td, "XLEN", EVENTS) == 0)
    assert sorted(seen) == [f"t{n}" for n in range(8)], "none twice"


def test_an_event_that_was_handled_is_not_handled_again_because_its_ack_met_an_outage(
    own_redis: EmbeddedServer,
) -> None:
    seen: list[str] = []
    began, go_on = threading.Event(), threading.Event()

    def handle(event: Event) -> None:
        seen.append(event.trigger_id)
        began.set()
        go_on.wait(20)

    with Client(own_redis.url) as td, Owner(own_redis.url) as owner:
        fire(td, owner, "t1")
        with running(resumer_of(td, handle)):
            assert began.wait(10)
            own_redis.stop()
            go_on.set()
            own_redis.start()
            eventually_sync(lambda: command(td, "XLEN", EVENTS) == 0, 20)
    assert seen == ["t1"]


def test_unacked_events_stay_whatever_their_number(td: Client, owner: Owner) -> None:
    """Nothing trims a result stream, and what nobody handles now is there for the Resumer that can."""
    fire(td, owner, *(f"t{n}" for n in range(300)))
    td.caller.redis.run(ResultStream("default", "default").prepare())
    ignorant = Resumer(td, lease_ms=LEASE_MS, max_deliveries=100)
    with running(ignorant):
        eventually_sync(lambda: "released" in str(command(td, "XINFO", "CONSUMERS", EVENTS, "resumers")))
    assert command(td, "XLEN", EVENTS) == 300
    seen: set[str] = set()
    with running(resumer_of(td, lambda event: seen.add(event.trigger_id))):
        eventually_sync(lambda: command(td, "XLEN", EVENTS) == 0, 20)
    assert len(seen) == 300


_KILLS_ITSELF = """
import os, sys
from triggerd import Client, Resumer
resumer = Resumer(Client(sys.argv[1]), lease_ms=600, max_deliveries=2)
resumer.on_event(lambda event, _: event.trigger_id == "deadly" and os.kill(os.getpid(), 9))
resumer.run()
"""


def test_an_event_that_kills_its_resumers_is_buried_and_its_neighbours_are_not(td: Client, owner: Owner) -> None:
    fire(td, owner, "deadly", "n1", "n2", "n3")
    for _ in range(2):
        killed = subprocess.run(
            [sys.executable, "-c", _KILLS_ITSELF, td.url], capture_output=True, text=True, cwd=REPOSITORY, check=False
        )
        assert killed.returncode == -signal.SIGKILL
    seen: list[str] = []
    with running(resumer_of(td, lambda event: seen.append(event.trigger_id), max_deliveries=2)):
        eventually_sync(lambda: command(td, "XLEN", EVENTS) == 0)
    assert [(letter.id, letter.code) for letter in dead(td)] == [("deadly", "resumer_ended")]
    assert set(seen) <= {"n1", "n2", "n3"}


def test_after_an_outage_of_the_continuations_own_database_everything_is_delivered_in_one_round(
    td: Client, owner: Owner
) -> None:
    """Only ten events came back per round: 10,000 took 83 minutes."""
    down, seen = True, []

    def load(event: Event) -> None:
        if down:
            raise ConnectionError("the warehouse is away")
        seen.append(event.trigger_id)

    fire(td, owner, *(f"t{n}" for n in range(120)))
    td.caller.redis.run(ResultStream("default", "default").prepare())
    with running(resumer_of(td, load, max_deliveries=100)):
        eventually_sync(lambda: b"released" in str(command(td, "XINFO", "CONSUMERS", EVENTS, "resumers")).encode())
        down = False
        eventually_sync(lambda: len(seen) == 120, 5)
    assert len(set(seen)) == 120


def test_events_that_are_none_are_dead_letters_and_the_next_is_resumed(td: Client, owner: Owner) -> None:
    command(td, "XADD", EVENTS, "*", "id", "a", "seq", "abc", "outcome", "fired", "event", b"\x93\x01")
    command(td, "XADD", EVENTS, "*", "foo", "bar")
    command(
        td, "XADD", EVENTS, "*", "id", "b", "seq", "1", "outcome", "fired", "event", b"\x93\x01" + pack_binary(b"\xc1")
    )
    command(td, "XADD", EVENTS, "*", "id", "c", "seq", "9" * 5000, "outcome", "fired", "event", b"\x93\x01")
    fire(td, owner, "good")
    seen: list[str] = []
    with running(resumer_of(td, lambda event: seen.append(event.trigger_id))):
        eventually_sync(lambda: seen == ["good"])
    assert len(dead(td)) == 4


def test_what_a_continuation_raised_is_logged_with_its_traceback_and_without_its_secret(
    td: Client, owner: Owner, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(event: Event) -> None:
        raise ValueError(f"login failed: password=hunter2 for {event.trigger_id}")

    fire(td, owner, "t1")
    with running(resumer_of(td, broken, max_deliveries=2)):
        [letter] = eventually_sync(lambda: dead(td))
    assert letter.why == "ValueError: login failed: password=*** for t1"
    assert "in broken" in caplog.text
    assert "hunter2" not in caplog.text


def test_a_full_server_does_not_keep_a_resumer_from_freeing_it(own_redis: EmbeddedServer) -> None:
    seen: list[str] = []
    with Client(own_redis.url) as td, Owner(own_redis.url) as owner:
        fire(td, owner, "t1", "bad")
        td.caller.redis.run(ResultStream("default", "default").prepare())
        command(td, "CONFIG", "SET", "maxmemory", "1")

        def handle(event: Event) -> None:
            if event.trigger_id == "bad":
                raise RuntimeError("never")
            seen.append(event.trigger_id)

        resumer = resumer_of(td, handle, max_deliveries=1)
        with running(resumer):
            eventually_sync(lambda: command(td, "XLEN", EVENTS) == 0)
        command(td, "CONFIG", "SET", "maxmemory", "0")
        assert seen == ["t1"]
        assert [letter.id for letter in dead(td)] == ["bad"]
        assert command(td, "GET", QueueKeys("default").consumer(resumer.name)) == b"drained"


def test_a_continuation_that_cannot_defer_on_a_full_server_has_not_failed(own_redis: EmbeddedServer) -> None:
    """Its five deliveries were used up by the server, and its event was a dead letter."""
    calls: list[str] = []
    with Client(own_redis.url) as td, Owner(own_redis.url) as owner:
        fire(td, owner, "t1")
        td.caller.redis.run(ResultStream("default", "default").prepare())
        command(td, "CONFIG", "SET", "maxmemory", "1")

        def defer_again(event: Event) -> None:
            calls.append(event.trigger_id)
            td.defer(SuccessTrigger(), id="next")

        with running(resumer_of(td, defer_again, max_deliveries=2)):
            eventually_sync(lambda: len(calls) > 3, 20)
            command(td, "CONFIG", "SET", "maxmemory", "0")
            eventually_sync(lambda: command(td, "XLEN", EVENTS) == 0)
        assert dead(td) == []
        assert td.handle("next").status() == "queued"


_PAUSED = """
import sys
from triggerd import Client, Resumer
resumer = Resumer(Client(sys.argv[1]), lease_ms=600)
@resumer.on_event
def slow(event, _):
    print("begin", event.trigger_id, flush=True)
    if event.trigger_id == "t0": sys.stdin.readline()
resumer.run()
"""


def test_a_resumer_that_was_paused_hands_nothing_over_that_a_peer_has_taken(td: Client, owner: Owner) -> None:
    fire(td, owner, "t0", "t1", "t2")
    with subprocess.Popen(
        [sys.executable, "-c", _PAUSED, td.url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
    ) as paused:
        assert paused.stdout is not None
        assert paused.stdin is not None
        assert paused.stdout.readline() == "begin t0\n"
        paused.send_signal(signal.SIGSTOP)
        seen: list[str] = []
        with running(resumer_of(td, lambda event: seen.append(event.trigger_id))):
            eventually_sync(lambda: len(seen) == 3, 15)
        paused.send_signal(signal.SIGCONT)
        paused.stdin.write("\n")
        paused.stdin.flush()
        paused.send_signal(signal.SIGTERM)
        assert paused.stdout.read() == "", "t1 and t2 were a peer's by then"
    assert sorted(seen) == ["t0", "t1", "t2"]
