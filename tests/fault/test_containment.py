"""One trigger's failure stays its own: the daemon lives on, the caller hears, and SIGTERM still ends it."""

import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.support import broken_triggers
from tests.support.daemon_process import DaemonProcess
from tests.support.triggers import FileTrigger
from tests.support.waiting import eventually_sync
from triggerd import Client
from triggerd.triggers.testing import SuccessTrigger

ENV = {"TRIGGERD_ALLOW": "tests.support.broken_triggers.*,tests.support.triggers.FileTrigger"}


def deferred(td: Client, name: str) -> str:
    return td.defer((f"{broken_triggers.__name__}.{name}", {}), timeout=60, id=name).id


class Crowd:
    """Healthy triggers in one daemon with the broken ones."""

    def __init__(self, td: Client, daemon: DaemonProcess, go: Path) -> None:
        self.td, self.daemon, self._go = td, daemon, go
        self._handles = td.defer_many([{"trigger": FileTrigger(path=str(go)), "reply_to": None} for _ in range(100)])
        eventually_sync(lambda: all(handle.status() == "running" for handle in self._handles))

    def is_unharmed(self) -> None:
        """All of them fire, in the daemon in which they began, and it has missed nothing."""
        assert self.td.defer(SuccessTrigger(1)).result(timeout=10).payload == 1
        self._go.touch()
        assert {handle.result(timeout=10).outcome for handle in self._handles} == {"fired"}
        assert self.daemon.is_alive()
        assert self.counted("triggers_released", 'cause="released"') == 0
        assert self.counted("triggers_adopted") == self.counted("leases_lapsed") == 0

    def counted(self, metric: str, label: str = "") -> float:
        """The sum of a metric's series, of those that have `label`."""
        with urllib.request.urlopen(f"{self.daemon.http_url}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        named = (f"triggerd_{metric}_total", f"triggerd_{metric}{{")
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(named) and label in line)

    def said(self, event: str, trigger_id: str) -> list[dict[str, Any]]:
        lines = self.daemon.log_records()
        return [line for line in lines if line["event"] == event and line.get("trigger_id") == trigger_id]


@pytest.fixture
def crowd(redis_url: str, td: Client, tmp_path: Path) -> Iterator[Crowd]:
    with DaemonProcess(redis_url, env=ENV) as daemon:
        yield Crowd(td, daemon, tmp_path / "go")


def test_whatever_a_triggers_code_raises_its_caller_hears_at_once_and_the_daemon_lives(crowd: Crowd) -> None:
    for name in broken_triggers.NAMES:
        event = crowd.td.handle(deferred(crowd.td, name)).result(timeout=10)
        assert event.outcome == "failed", name
        assert event["message"], name
        if name == "ErrorHasACodeOfItsOwn":
            assert event.error is not None
            assert (event.error.code, event.error.type) == ("trigger_raised", "ForeignError")
    crowd.is_unharmed()


def test_what_a_trigger_does_beside_firing_harms_nobody_and_its_tasks_end_with_it(crowd: Crowd) -> None:
    for name in broken_triggers.FIRE:
        event = crowd.td.handle(deferred(crowd.td, name)).result(timeout=15)
        assert event.outcome == "fired", (name, event.error)
    assert crowd.said("a trigger's task wanted the daemon to exit", "LooksAwayFromATaskThatExits")
    [left] = crowd.said("tasks left behind by a trigger are cancelled", "LeavesTasksBehind")
    assert left["tasks"] == 3
    assert crowd.counted("tasks_left_behind", 'trigger="LeavesTasksBehind"') == 3
    eventually_sync(lambda: crowd.counted("tasks_deaf", 'trigger="LeavesADeafTask"') == 1)
    assert crowd.counted("tasks_deaf") == 1
    eventually_sync(lambda: crowd.daemon.log_text.count("a signal handler of the daemon was replaced") == 2)
    crowd.is_unharmed()
    assert crowd.daemon.stop(deadline_s=15) == 0
    assert "handed over" in crowd.daemon.log_text


def test_an_on_cancel_that_exits_ends_with_the_cancelled_event(crowd: Crowd) -> None:
    handle = crowd.td.handle(deferred(crowd.td, "CancelsBadly"))
    eventually_sync(lambda: handle.status() == "running")
    handle.cancel()
    event = handle.result(timeout=10)
    assert event.outcome == "cancelled"
    assert "on_cancel() failed" in event["message"]
    crowd.is_unharmed()


def test_a_trigger_that_swallows_its_cancellation_is_settled_whether_it_was_cancelled_or_timed_out(
    crowd: Crowd,
) -> None:
    classpath = f"{broken_triggers.__name__}.HeedsNoCancellation"
    cancelled = crowd.td.defer((classpath, {}), timeout=60)
    timed_out = crowd.td.defer((classpath, {}), timeout=2)
    eventually_sync(lambda: crowd.counted("triggers_running", 'trigger="HeedsNoCancellation"') == 2)
    cancelled.cancel()
    assert timed_out.result(timeout=10).outcome == "timed_out"
    assert cancelled.result(timeout=30).outcome == "cancelled"
    eventually_sync(lambda: crowd.counted("triggers_abandoned", 'trigger="HeedsNoCancellation"') == 2, 20)
    crowd.is_unharmed()


@pytest.mark.parametrize("name", ["BlocksTheLoop", "BlocksTheLoopFromATask", "HoldsTheInterpreter"])
def test_who_blocks_the_loop_is_named_by_class_and_id_and_the_others_go_on(crowd: Crowd, name: str) -> None:
    assert crowd.td.handle(deferred(crowd.td, name)).result(timeout=20).outcome == "fired"
    over = eventually_sync(lambda: crowd.said("the event loop was blocked", name))
    during = crowd.said("the event loop is blocked", name)
    assert {line["classpath"] for line in during + over} == {f"{broken_triggers.__name__}.{name}"}
    assert any("broken_triggers.py" in place for place in during[0]["stack"])
    assert over[-1]["seconds"] >= during[-1]["seconds"] - 0.2
    assert crowd.counted("loop_blocked", f'trigger="{name}"') == 1
    crowd.is_unharmed()


def test_a_process_that_stood_still_accuses_nobody(crowd: Crowd) -> None:
    began_s = time.monotonic()
    crowd.daemon.freeze()
    eventually_sync(lambda: time.monotonic() - began_s > 2)
    crowd.daemon.thaw()
    assert crowd.td.defer(SuccessTrigger(1)).result(timeout=10).payload == 1
    eventually_sync(lambda: "the process stood still" in crowd.daemon.log_text)
    assert [line for line in crowd.daemon.log_records() if line["event"] == "the event loop is blocked"] == []
    crowd.is_unharmed()


@pytest.mark.parametrize("name", ["BlocksAThread", "HeedsNoCancellation"])
def test_sigterm_hands_over_and_exits_0_in_time_whatever_a_trigger_holds_on_to(redis_url: str, name: str) -> None:
    env = ENV | {"TRIGGERD_DRAIN_TIMEOUT_S": "6"}
    with Client(redis_url) as td, DaemonProcess(redis_url, env=env) as daemon:
        handle = td.handle(deferred(td, name))
        eventually_sync(lambda: handle.status() == "running")
        assert daemon.stop(deadline_s=12) == 0
        assert "handed over" in daemon.log_text


def test_an_idle_daemon_is_idle_however_small_its_capacity(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client, DaemonProcess(redis_url, env={"TRIGGERD_CAPACITY": "5"}):
        before, began_s = client.info("stats")["total_commands_processed"], time.monotonic()
        eventually_sync(lambda: time.monotonic() - began_s > 2)
        commands = client.info("stats")["total_commands_processed"] - before
    assert commands / 2 < 100, "the claimer turns without anything to claim"
