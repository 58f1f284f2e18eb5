"""Deadlines are instants in Redis: whoever owns the trigger, one who sweeps is enough."""

import signal
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import redis

from tests.support.daemon_process import DaemonProcess
from tests.support.fake_aws_process import NEVER_MS, FakeAwsProcess, wait_for
from tests.support.resumer_process import ResumerProcess
from tests.support.tally import assert_all_ended_once
from tests.support.waiting import eventually_sync
from triggerd import Client, Handle
from triggerd.clock import wall_ms
from triggerd.streams.trigger_queue import TriggerFinished, TriggerInFlight

# A lease that outlasts the test: nothing here is an adopter's doing.
ENV = {"TRIGGERD_LEASE_MS": "60000", "TRIGGERD_DRAIN_TIMEOUT_S": "6"}
LATE_MS, SLACK_MS = 2000, 1500


@pytest.fixture(scope="module")
def aws() -> Iterator[FakeAwsProcess]:
    with FakeAwsProcess() as fake:
        yield fake
        assert fake.mutations() == [], "an expiry never touches AWS"


def endless(td: Client, name: str, timeout_s: float) -> Handle:
    return td.defer(wait_for("batch", f"{NEVER_MS}-{name}"), timeout=timeout_s)


def deadline_of(handle: Handle) -> int:
    info = handle.info()
    assert isinstance(info, TriggerInFlight)
    return info.deadline_ms


def times_out_at(handle: Handle, deadline_ms: int) -> None:
    assert handle.result(timeout=20).outcome == "timed_out"
    info = handle.info()
    assert isinstance(info, TriggerFinished)
    assert 0 <= info.finished_ms - deadline_ms < LATE_MS + SLACK_MS


def metrics_of(daemon: DaemonProcess) -> str:
    with urllib.request.urlopen(f"{daemon.http_url}/metrics", timeout=5) as answer:
        text: str = answer.read().decode()
        return text


@pytest.mark.parametrize("survivor", ["a daemon", "a resumer", "a waiting handle"])
@pytest.mark.parametrize("owner", ["killed", "paused", "nobody"])
def test_a_trigger_times_out_within_2_s_of_its_deadline_though_its_owner_does_nothing(
    redis_url: str, td: Client, aws: FakeAwsProcess, tmp_path: Path, owner: str, survivor: str
) -> None:
    with ExitStack() as stack:
        if survivor == "a daemon":
            full = stack.enter_context(DaemonProcess(redis_url, env=ENV | aws.env() | {"TRIGGERD_CAPACITY": "1"}))
            blocker = endless(td, "blocker", 300)
            eventually_sync(lambda: blocker.status() == "running")
            assert full.is_alive()
        elif survivor == "a resumer":
            stack.enter_context(ResumerProcess(redis_url, tmp_path / "resumed"))
        daemon = None
        if owner != "nobody":
            daemon = stack.enter_context(DaemonProcess(redis_url, env=ENV | aws.env()))
        trigger = endless(td, "job", 2)
        deadline_ms = deadline_of(trigger)
        if daemon is not None:
            eventually_sync(lambda: trigger.status() == "running")
            daemon.signal(signal.SIGKILL if owner == "killed" else signal.SIGSTOP)
        if survivor != "a waiting handle":  # which sweeps; a question for the status does not
            eventually_sync(lambda: trigger.status() == "timed_out", 20)
        times_out_at(trigger, deadline_ms)


def test_a_deadline_moves_both_ways_before_the_claim_and_in_flight(
    redis_url: str, td: Client, aws: FakeAwsProcess
) -> None:
    later, sooner = endless(td, "later", 2), endless(td, "sooner", 300)
    assert later.extend(timedelta(seconds=300))
    assert sooner.extend(timedelta(seconds=2))
    times_out_at(sooner, deadline_of(sooner))
    with redis.Redis.from_url(redis_url) as raw, DaemonProcess(redis_url, env=ENV | aws.env()):
        running_later, running_sooner = endless(td, "running-later", 20), endless(td, "running-sooner", 300)
        eventually_sync(lambda: running_later.status() == running_sooner.status() == "running")
        assert running_later.extend(wall_ms() / 1000 + 300)
        assert running_sooner.extend(datetime.now(UTC) + timedelta(seconds=2))
        times_out_at(running_sooner, deadline_of(running_sooner))
        began_s = time.monotonic()
        eventually_sync(lambda: time.monotonic() - began_s > 2)
        assert {handle.status() for handle in (later, running_later)} == {"running"}
        for handle in (later, running_later):
            assert handle.extend(timedelta(seconds=0))
            assert handle.result(timeout=20).outcome == "timed_out"
            assert not handle.extend(timedelta(seconds=60)), "it has finished"
        ids = [handle.id for handle in (later, sooner, running_later, running_sooner)]
        assert assert_all_ended_once(raw, ids) == {"timed_out": 4}


def test_a_time_out_is_no_reason_to_audit(redis_url: str, td: Client, aws: FakeAwsProcess) -> None:
    """The last checkpoint of each wait was refused, since its trigger had ended."""
    with DaemonProcess(redis_url, env=ENV | aws.env()) as daemon:
        # Polled once, so that no other checkpoint meets the time-out.
        waits = [wait_for("batch", f"{NEVER_MS}-{number}", delay=30) for number in range(20)]
        handles = [td.defer(trigger, timeout=1.5) for trigger in waits]
        eventually_sync(lambda: {handle.status() for handle in handles} == {"running"})
        assert {handle.result(timeout=20).outcome for handle in handles} == {"timed_out"}
        eventually_sync(lambda: '\ntriggerd_triggers_running{trigger="AwsWaiterTrigger"} 0.0\n' in metrics_of(daemon))
        assert "\ntriggerd_audits_total 1.0\n" in metrics_of(daemon), "the one with which a lease begins"
