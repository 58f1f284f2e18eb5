"""What the daemon does when Redis and its memory may differ: audit, release, adopt, and keep what was refused."""

import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.support.daemon_process import DaemonProcess
from tests.support.triggers import FileTrigger
from tests.support.waiting import eventually_sync
from triggerd import Client
from triggerd.keys import TRIGGER_GROUP, QueueKeys
from triggerd.triggers.testing import SuccessTrigger

ENV = {"TRIGGERD_ALLOW": "tests.support.triggers.*", "TRIGGERD_LEASE_MS": "1200"}
KEYS = QueueKeys("default")


@pytest.fixture
def raw(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def daemon(redis_url: str) -> Iterator[DaemonProcess]:
    with DaemonProcess(redis_url, env=ENV) as daemon:
        yield daemon


def name_of(daemon: DaemonProcess) -> str:
    (started,) = [line for line in daemon.log_records() if line["event"] == "daemon started"]
    return str(started["consumer"])


def test_entries_that_are_ours_without_our_knowing_are_found_by_the_audit(
    daemon: DaemonProcess, td: Client, raw: redis.Redis
) -> None:
    name = name_of(daemon)
    eventually_sync(lambda: counted(daemon, "audits_total"))  # it knows of its lease
    daemon.freeze()
    handles = [td.defer(SuccessTrigger(n), reply_to=None) for n in range(150)]
    # The answer of a claim that was lost: the server gave the entries to a consumer that never heard of it.
    raw.xreadgroup(TRIGGER_GROUP, name, {KEYS.triggers: ">"}, count=150)
    eventually_sync(lambda: not raw.exists(KEYS.consumer(name)))
    daemon.thaw()
    assert {handle.result(timeout=15).outcome for handle in handles} == {"fired"}
    assert "lease lapsed" in daemon.log_text


def test_a_lease_that_cannot_be_had_is_waited_for_without_an_audit_after_another(
    daemon: DaemonProcess, raw: redis.Redis
) -> None:
    name = name_of(daemon)
    eventually_sync(lambda: raw.exists(KEYS.consumer(name)))
    raw.config_set("min-replicas-to-write", 1)
    try:
        eventually_sync(lambda: not raw.exists(KEYS.consumer(name)))
        failures, audits = counted(daemon, 'redis_errors_total{part="lease"}'), counted(daemon, "audits_total")
        eventually_sync(lambda: counted(daemon, 'redis_errors_total{part="lease"}') >= failures + 6)
        assert counted(daemon, "audits_total") <= audits + 2
    finally:
        raw.config_set("min-replicas-to-write", 0)
    eventually_sync(lambda: counted(daemon, "audits_total") > audits)


def counted(daemon: DaemonProcess, sample: str) -> float:
    with urllib.request.urlopen(f"{daemon.http_url}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    return next(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"triggerd_{sample} "))


def test_a_run_whose_trigger_was_taken_away_is_refused_and_the_trigger_ends_once(
    daemon: DaemonProcess, td: Client, raw: redis.Redis, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    handle = td.defer(FileTrigger(path=str(go)), id="stolen")
    eventually_sync(lambda: handle.status() == "running")
    entry = raw.hget(KEYS.record("stolen"), "entry")
    assert entry is not None
    raw.xclaim(KEYS.triggers, TRIGGER_GROUP, "thief-without-lease", 0, [entry])
    go.touch()
    assert handle.result(timeout=15).outcome == "fired"
    assert raw.xlen(KEYS.events("default")) == 1
    eventually_sync(lambda: raw.xpending(KEYS.triggers, TRIGGER_GROUP)["pending"] == 0)


def test_an_event_that_redis_refuses_is_kept_and_holds_up_nobody(
    daemon: DaemonProcess, td: Client, raw: redis.Redis
) -> None:
    raw.set(KEYS.events("blocked"), "a value of the wrong type")
    refused = td.defer(SuccessTrigger("refused"), reply_to="blocked")
    others = [td.defer(SuccessTrigger(n), reply_to="free") for n in range(50)]
    assert {handle.result(timeout=10).outcome for handle in others} == {"fired"}
    eventually_sync(lambda: "refused by Redis, kept and sent again" in daemon.log_text)
    assert refused.status() == "running"
    raw.delete(KEYS.events("blocked"))
    assert refused.result(timeout=10).payload == "refused"
    assert raw.xlen(KEYS.events("blocked")) == 1


def test_a_daemon_frozen_beyond_its_lease_publishes_nothing_twice(
    daemon: DaemonProcess, redis_url: str, td: Client, raw: redis.Redis, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    handles = [td.defer(FileTrigger(path=str(go))) for _ in range(50)]
    eventually_sync(lambda: all(handle.status() == "running" for handle in handles))
    with DaemonProcess(redis_url, env=ENV) as peer:
        daemon.freeze()
        eventually_sync(lambda: "adopted" in peer.log_text, 10)
        go.touch()
        assert {handle.result(timeout=15).outcome for handle in handles} == {"fired"}
        daemon.thaw()
        eventually_sync(lambda: "lease lapsed" in daemon.log_text)
        assert daemon.stop() == 0
    assert raw.xlen(KEYS.events("default")) == 50
