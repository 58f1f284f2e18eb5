"""Cancel is a message with an actor: who carries it out, how often AWS is touched, and the one final event."""

import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.support.daemon_process import DaemonProcess
from tests.support.fake_aws_process import NEVER_MS, FakeAwsProcess, stopped_job, wait_for
from tests.support.fault_triggers import ALLOW, SlowToStopTrigger
from tests.support.tally import assert_all_ended_once
from tests.support.waiting import eventually_sync
from triggerd import Client, Handle
from triggerd.clock import wall_ms

ENV = {"TRIGGERD_ALLOW": ALLOW, "TRIGGERD_LEASE_MS": "1500"}
# Where nobody dies: a daemon that a busy machine leaves without CPU for longer than its lease counts as dead.
STEADY = ENV | {"TRIGGERD_LEASE_MS": "15000"}
EACH = 10
STOPPABLE = ("glue", "ecs", "batch")
BY = "alice@example"


@pytest.fixture
def aws() -> Iterator[FakeAwsProcess]:
    with FakeAwsProcess() as fake:
        yield fake


@pytest.fixture
def raw(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


def endless(td: Client) -> dict[str, Handle]:
    """Waits that end by a cancel only, by their jobs."""
    triggers = {f"{NEVER_MS}-{service}-{n}": service for service in STOPPABLE for n in range(EACH)}
    handles = td.defer_many({"trigger": wait_for(triggers[job], job), "timeout": 300} for job in triggers)
    return dict(zip(triggers, handles, strict=True))


def all_run(handles: Iterator[Handle]) -> None:
    found = list(handles)
    eventually_sync(lambda: all(handle.status() == "running" for handle in found))


def stops(aws: FakeAwsProcess) -> Counter[str]:
    """How often each job was stopped."""
    return Counter(stopped_job(mutation) for mutation in aws.mutations())


def test_an_unclaimed_trigger_is_cancelled_at_once_without_any_daemon(td: Client, raw: redis.Redis) -> None:
    handle = td.defer(wait_for("glue", f"{NEVER_MS}-job"))
    assert handle.cancel(by=BY) == "cancelled"
    event = handle.result(timeout=1)
    assert (event.outcome, BY in event["message"]) == ("cancelled", True)
    assert handle.cancel(by=BY) == "finished"
    assert assert_all_ended_once(raw, [handle.id], 5) == {"cancelled": 1}


def test_each_cancel_of_a_run_makes_exactly_its_one_call_and_names_the_actor(
    redis_url: str, td: Client, raw: redis.Redis, aws: FakeAwsProcess
) -> None:
    with DaemonProcess(redis_url, env=STEADY | aws.env()), DaemonProcess(redis_url, env=STEADY | aws.env()):
        waits = endless(td)
        all_run(iter(waits.values()))
        for handle in waits.values():
            assert handle.cancel(by=BY) == "requested"
            handle.cancel(by=BY)  # a second time: one cancel all the same
        for handle in waits.values():
            event = handle.result(timeout=20)
            assert (event.outcome, BY in event["message"]) == ("cancelled", True)
        assert_all_ended_once(raw, [handle.id for handle in waits.values()])
    assert stops(aws) == dict.fromkeys(waits, 1)


@pytest.mark.parametrize(("peer_lives", "takes_s"), [(False, 3), (True, 1)], ids=["alone", "with a peer"])
def test_a_drain_lets_on_cancel_come_to_its_end_and_nobody_does_it_again(
    redis_url: str, td: Client, raw: redis.Redis, tmp_path: Path, peer_lives: bool, takes_s: float
) -> None:
    said = tmp_path / "said"
    with DaemonProcess(redis_url, env=STEADY) as daemon:
        handle = td.defer(SlowToStopTrigger(str(said), takes_s=takes_s), timeout=300)
        eventually_sync(lambda: handle.status() == "running")
        peers = [DaemonProcess(redis_url, env=STEADY).start()] if peer_lives else []
        try:
            handle.cancel(by=BY)
            eventually_sync(said.exists)
            assert daemon.stop() == 0
            assert handle.result(timeout=10).outcome == "cancelled"
            assert_all_ended_once(raw, [handle.id])
        finally:
            for peer in peers:
                peer.close()
    assert said.read_text().split() == ["begin", "end"]


@pytest.mark.parametrize("owner", ["killed before", "killed after", "paused"])
def test_the_adopter_carries_out_a_cancel_that_its_owner_cannot(
    redis_url: str, td: Client, raw: redis.Redis, aws: FakeAwsProcess, owner: str
) -> None:
    with DaemonProcess(redis_url, env=ENV | aws.env()) as daemon:
        waits = endless(td)
        all_run(iter(waits.values()))
        if owner == "killed before":
            daemon.kill()
        elif owner == "paused":
            daemon.freeze()
        for handle in waits.values():
            assert handle.cancel(by=BY) == "requested"
        if owner == "killed after":
            daemon.kill()
        with DaemonProcess(redis_url, env=ENV | aws.env()):
            events = [handle.result(timeout=30) for handle in waits.values()]
            assert {(event.outcome, BY in event["message"]) for event in events} == {("cancelled", True)}
            if owner == "paused":
                daemon.thaw()
                eventually_sync(lambda: "lease lapsed" in daemon.log_text)
            assert assert_all_ended_once(raw, [handle.id for handle in waits.values()]) == {"cancelled": len(waits)}
    found = stops(aws)
    assert found.keys() == waits.keys()
    # A former owner may have got as far as the call itself; one that never came back to life has not.
    assert max(found.values()) <= (1 if owner == "killed before" else 2)


def test_a_cancel_that_races_the_event_ends_the_trigger_once(
    redis_url: str, td: Client, raw: redis.Redis, aws: FakeAwsProcess
) -> None:
    rng = random.Random(3)
    with DaemonProcess(redis_url, env=STEADY | aws.env()), DaemonProcess(redis_url, env=STEADY | aws.env()):
        began_s, began_ms = time.monotonic(), wall_ms()
        ends_s = {f"{began_ms + 2000 + 10 * n}-{n}": 2 + n / 100 for n in range(200)}
        waits = {job: td.defer(wait_for(STOPPABLE[n % 3], job, delay=0.1), timeout=300) for n, job in enumerate(ends_s)}
        for job, handle in waits.items():
            due_s = began_s + ends_s[job] + rng.uniform(-0.05, 0.15)
            eventually_sync(lambda due_s=due_s: time.monotonic() >= due_s)  # type: ignore[misc]
            assert handle.cancel(by=BY) in ("requested", "finished")
        outcomes = assert_all_ended_once(raw, [handle.id for handle in waits.values()])
        assert outcomes.keys() == {"fired", "cancelled"}, "or nothing has raced"
        cancelled = {job for job, handle in waits.items() if handle.status() == "cancelled"}
    assert stops(aws) == dict.fromkeys(cancelled, 1)


def test_a_timeout_with_on_timeout_cancel_tells_the_caller_first_and_then_stops_the_work_once(
    redis_url: str, td: Client, raw: redis.Redis, aws: FakeAwsProcess
) -> None:
    jobs = {f"{NEVER_MS}-{service}-{n}": service for service in STOPPABLE for n in range(EACH)}
    with DaemonProcess(redis_url, env=STEADY | aws.env()), DaemonProcess(redis_url, env=STEADY | aws.env()):
        handles = td.defer_many(
            {"trigger": wait_for(service, job), "timeout": 4, "on_timeout": "cancel"} for job, service in jobs.items()
        )
        all_run(iter(handles))
        left_alone = td.defer(wait_for("glue", f"{NEVER_MS}-left"), timeout=1)
        events = [handle.result(timeout=20) for handle in (*handles, left_alone)]
        assert {event.outcome for event in events} == {"timed_out"}
        assert_all_ended_once(raw, [event.trigger_id for event in events])
    assert stops(aws) == dict.fromkeys(jobs, 1)


def test_the_adopter_stops_the_work_of_a_timed_out_trigger_whose_owner_was_killed(
    redis_url: str, td: Client, raw: redis.Redis, aws: FakeAwsProcess
) -> None:
    job = f"{NEVER_MS}-orphan"
    with DaemonProcess(redis_url, env=ENV | aws.env()) as daemon:
        handle = td.defer(wait_for("batch", job), timeout=2, on_timeout="cancel")
        eventually_sync(lambda: handle.status() == "running")
        daemon.kill()
    assert handle.result(timeout=10).outcome == "timed_out", "this handle sweeps; no daemon lives"
    assert stops(aws) == {}
    with DaemonProcess(redis_url, env=ENV | aws.env()):
        assert assert_all_ended_once(raw, [handle.id]) == {"timed_out": 1}
    assert stops(aws) == {job: 1}
