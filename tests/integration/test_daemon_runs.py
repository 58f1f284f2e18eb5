"""One real daemon process and a real server: what is deferred ends, whatever it is, and the daemon lives."""

import contextlib
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.support.daemon_process import DaemonProcess
from tests.support.triggers import CountingTrigger, FileTrigger, SilentTrigger, TalkativeTrigger
from tests.support.waiting import eventually_sync
from triggerd import Client
from triggerd.embedded import EmbeddedServer
from triggerd.keys import QueueKeys
from triggerd.triggers.testing import FailureTrigger, SuccessTrigger

ALLOW = {"TRIGGERD_ALLOW": "tests.support.triggers.*", "TRIGGERD_LEASE_MS": "1500"}

StartDaemon = Callable[..., DaemonProcess]


class Unlisted(SuccessTrigger):
    def serialize(self) -> tuple[str, dict[str, Any]]:
        return f"{__name__}.Unlisted", {}


@pytest.fixture
def start(redis_url: str) -> Iterator[StartDaemon]:
    """Starts daemons on the test's server; all are ended with the test."""
    with contextlib.ExitStack() as stack:

        def start(**env: str) -> DaemonProcess:
            return stack.enter_context(DaemonProcess(redis_url, env={**ALLOW, **env}))

        yield start


def left_over(url: str) -> dict[str, int]:
    """What a quiet queue must not hold: entries, pending ones, deadlines, records."""
    keys = QueueKeys("default")
    with redis.Redis.from_url(url) as server:
        return {
            "entries": server.xlen(keys.triggers),
            "pending": server.xpending(keys.triggers, "triggerd")["pending"],
            "deadlines": server.zcard(keys.deadlines),
            "records": sum(1 for _ in server.scan_iter(keys.record("*"), count=1000)),
        }


EMPTY = {"entries": 0, "pending": 0, "deadlines": 0, "records": 0}


@pytest.mark.deadline(120)
def test_10_000_triggers_pass_through_one_daemon_without_loss(server: EmbeddedServer) -> None:
    with DaemonProcess(server.url), Client(server.url) as td:
        items = [{"trigger": SuccessTrigger(number), "reply_to": "default"} for number in range(10_000)]
        handles = td.defer_many(items)
        eventually_sync(lambda: left_over(server.url) == EMPTY, 60)
        assert [handle.result(timeout=5).payload for handle in handles[::500]] == list(range(0, 10_000, 500))
        with redis.Redis.from_url(server.url) as client:
            events = client.xrange(QueueKeys("default").events("default"))
        assert len({fields[b"id"] for _, fields in events}) == len(events) == 10_000


def test_more_triggers_than_capacity_wait_in_redis(
    start: StartDaemon, td: Client, redis_url: str, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    daemon = start(TRIGGERD_CAPACITY="5")
    handles = [td.defer(FileTrigger(path=str(go)), reply_to=None) for _ in range(12)]
    pending = eventually_sync(lambda: left_over(redis_url)["pending"])
    eventually_sync(lambda: left_over(redis_url)["pending"] == 5)
    assert pending <= 5
    assert [handle.status() for handle in handles].count("running") == 5
    go.touch()
    for handle in handles:
        assert handle.result(timeout=20).outcome == "fired"
    assert daemon.is_alive()
    assert left_over(redis_url) == EMPTY


def test_each_bad_trigger_fails_for_itself_and_the_daemon_goes_on(start: StartDaemon, td: Client) -> None:
    daemon = start()
    bad = {
        "trigger_raised": FailureTrigger("broken on purpose"),
        "error": SilentTrigger(),
        "classpath_not_allowed": Unlisted(),
    }
    for code, trigger in bad.items():
        event = td.defer(trigger, reply_to=None).result(timeout=10)
        assert (event.outcome, event.error.code if event.error else None) == ("failed", code)
    assert td.defer(SuccessTrigger(1), reply_to=None).result(timeout=10).payload == 1
    assert daemon.is_alive()


def test_garbage_on_the_queue_becomes_dead_letters(start: StartDaemon, td: Client, redis_url: str) -> None:
    keys = QueueKeys("default")
    start()
    with redis.Redis.from_url(redis_url) as client:
        for fields in ({"x": "y"}, {"id": "a", "reply": "", "env": b"\xc1"}, {"id": "b", "reply": "", "env": b""}):
            client.xadd(keys.triggers, fields)
        eventually_sync(lambda: client.xlen(keys.dead) == 3)
    assert td.handle("a").result(timeout=5).outcome == "failed"
    assert td.defer(SuccessTrigger(1), reply_to=None).result(timeout=10).payload == 1


def test_every_log_line_of_a_run_has_its_trigger_id_and_no_password(start: StartDaemon, td: Client) -> None:
    daemon = start(TRIGGERD_LOGS__LEVEL="debug")
    td.defer(TalkativeTrigger(), id="talk-1", reply_to=None).result(timeout=10)
    lines = eventually_sync(
        lambda: (
            [
                line
                for line in daemon.log_records()
                if line.get("trigger_id") == "talk-1" and line["event"] == "trigger finished"
            ]
            and daemon.log_records()
        )
    )
    of_run = {line["event"] for line in lines if line.get("trigger_id") == "talk-1"}
    assert {"from the context", "from a library at redis://u:***@h", "trigger finished"} <= of_run
    assert all(line["classpath"].endswith("TalkativeTrigger") for line in lines if line.get("trigger_id") == "talk-1")
    assert "hunter2" not in daemon.log_text


def test_a_running_trigger_can_be_cancelled_and_hears_of_it(start: StartDaemon, td: Client, tmp_path: Path) -> None:
    start()
    stopped = tmp_path / "stopped"
    handle = td.defer(FileTrigger(path=str(tmp_path / "never"), cancelled=str(stopped)), reply_to=None)
    eventually_sync(lambda: handle.status() == "running")
    handle.cancel()
    assert handle.result(timeout=10).outcome == "cancelled"
    assert stopped.exists()


def test_a_run_past_its_deadline_is_timed_out_and_stopped(
    start: StartDaemon, td: Client, tmp_path: Path, redis_url: str
) -> None:
    daemon = start()
    stopped = tmp_path / "stopped"
    trigger = FileTrigger(path=str(tmp_path / "never"), cancelled=str(stopped))
    handle = td.defer(trigger, timeout=0.5, reply_to=None)
    assert handle.result(timeout=10).outcome == "timed_out"
    eventually_sync(lambda: metric(daemon, 'triggerd_triggers_released_total{cause="expired"}') == 1)
    assert not stopped.exists()
    assert left_over(redis_url) == EMPTY


def test_several_queues_share_one_daemon(redis_url: str, td: Client) -> None:
    with DaemonProcess(redis_url, flags=["--queue", "a", "--queue", "b"]):
        for queue in ("a", "b"):
            assert td.defer(SuccessTrigger(queue), queue=queue, reply_to=None).result(timeout=10).payload == queue


def test_multi_event_triggers_publish_each_event_in_order(start: StartDaemon, td: Client, redis_url: str) -> None:
    start()
    handle = td.defer(CountingTrigger(events=5), reply_to="default", id="count")
    assert handle.result(timeout=10).seq == 6
    with redis.Redis.from_url(redis_url) as client:
        events = client.xrange(QueueKeys("default").events("default"))
    assert [int(fields[b"seq"]) for _, fields in events] == [1, 2, 3, 4, 5, 6]


def metric(daemon: DaemonProcess, sample: str) -> float | None:
    with urllib.request.urlopen(f"{daemon.http_url}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(sample + " ")), None)
