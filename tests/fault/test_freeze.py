"""A daemon that is stopped and goes on: for longer than its lease, and for less."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.support.daemon_process import DaemonProcess
from tests.support.fake_aws_process import FakeAwsProcess, wait_for
from tests.support.fault_triggers import ALLOW, StepsTrigger, WaveTrigger
from tests.support.tally import assert_all_ended_once
from tests.support.waiting import eventually_sync
from triggerd import Client, Handle
from triggerd.clock import wall_ms
from triggerd.keys import TRIGGER_GROUP, QueueKeys

EACH = 200


@pytest.fixture(scope="module")
def aws() -> Iterator[FakeAwsProcess]:
    with FakeAwsProcess() as fake:
        yield fake
        assert fake.mutations() == []


def in_flight(td: Client, go: Path) -> list[Handle]:
    """Waits of three kinds, all of them owned by somebody."""
    end_ms = wall_ms() + 6000
    handles = td.defer_many(
        {"trigger": trigger, "timeout": 300}
        for number in range(EACH)
        for trigger in (
            WaveTrigger(str(go)), StepsTrigger(5, 1.0), wait_for("batch", f"{end_ms}-{number}", delay=0.5),
        )
    )  # fmt: skip
    eventually_sync(lambda: all(handle.status() != "queued" for handle in handles))
    return handles


def owners(raw: redis.Redis) -> dict[object, object]:
    """The owner of each entry."""
    pending = raw.xpending_range(QueueKeys("default").triggers, TRIGGER_GROUP, "-", "+", 10_000)
    return {row["message_id"]: row["consumer"] for row in pending}


def log_of(daemon: DaemonProcess, event: str) -> list[dict[str, object]]:
    return [line for line in daemon.log_records() if line["event"] == event]


@pytest.mark.deadline(120)
def test_frozen_beyond_its_lease_a_daemon_loses_its_triggers_publishes_none_and_goes_on(
    redis_url: str, td: Client, aws: FakeAwsProcess, tmp_path: Path
) -> None:
    go, env = tmp_path / "go", {"TRIGGERD_ALLOW": ALLOW, "TRIGGERD_LEASE_MS": "1500"} | aws.env()
    with redis.Redis.from_url(redis_url) as raw, DaemonProcess(redis_url, env=env) as frozen:
        handles = in_flight(td, go)
        with DaemonProcess(redis_url, env=env) as peer:
            frozen.freeze()
            eventually_sync(lambda: sum(int(str(line["triggers"])) for line in log_of(peer, "adopted")) > 2 * EACH, 20)
            go.touch()  # what the frozen one will see as the first thing, and publish
            eventually_sync(lambda: handles[0].status() == "fired")
            frozen.thaw()
            assert assert_all_ended_once(raw, [handle.id for handle in handles]) == {"fired": 3 * EACH}
            eventually_sync(lambda: log_of(frozen, "lease lapsed and taken anew"))
            eventually_sync(lambda: log_of(frozen, "audit"))
            assert peer.stop() == 0
        go.unlink()
        more = td.defer_many({"trigger": WaveTrigger(str(go)), "timeout": 300} for _ in range(EACH))
        eventually_sync(lambda: all(handle.status() == "running" for handle in more))
        go.touch()
        assert {handle.result(timeout=10).outcome for handle in more} == {"fired"}
        assert frozen.stop() == 0


def test_frozen_for_less_than_its_lease_a_daemon_keeps_everything(
    redis_url: str, td: Client, aws: FakeAwsProcess, tmp_path: Path
) -> None:
    go, env = tmp_path / "go", {"TRIGGERD_ALLOW": ALLOW, "TRIGGERD_LEASE_MS": "15000"} | aws.env()
    with (
        redis.Redis.from_url(redis_url) as raw,
        DaemonProcess(redis_url, env=env) as frozen,
        DaemonProcess(redis_url, env=env) as peer,
    ):
        handles = in_flight(td, go)
        before = owners(raw)
        frozen.freeze()
        frozen_s = time.monotonic()
        eventually_sync(lambda: time.monotonic() - frozen_s > 2)
        frozen.thaw()
        after = owners(raw)
        assert after.items() <= before.items()
        assert len(after) >= EACH, "or this shows nothing"
        go.touch()
        assert assert_all_ended_once(raw, [handle.id for handle in handles]) == {"fired": 3 * EACH}
        for daemon in (frozen, peer):
            assert log_of(daemon, "adopted") == []
            assert log_of(daemon, "lease lapsed and taken anew") == []
