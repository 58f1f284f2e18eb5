"""One trigger's failure stays its own: the daemon lives on, the caller hears, and SIGTERM still ends it."""

import time

import pytest
import redis

from tests.support import broken_triggers
from tests.support.daemon_process import DaemonProcess
from tests.support.waiting import eventually_sync
from triggerd import Client
from triggerd.triggers.testing import SuccessTrigger

ENV = {"TRIGGERD_ALLOW": "tests.support.broken_triggers.*"}


def deferred(td: Client, name: str) -> str:
    return td.defer((f"{broken_triggers.__name__}.{name}", {}), timeout=60, id=name).id


def test_whatever_a_triggers_code_raises_its_caller_hears_at_once_and_the_daemon_lives(redis_url: str) -> None:
    with Client(redis_url) as td, DaemonProcess(redis_url, env=ENV) as daemon:
        for name in broken_triggers.NAMES:
            event = td.handle(deferred(td, name)).result(timeout=10)
            assert event.outcome == "failed", name
            assert event["message"], name
            if name == "ErrorHasACodeOfItsOwn":
                assert event.error is not None
                assert (event.error.code, event.error.type) == ("trigger_raised", "ForeignError")
        assert td.defer(SuccessTrigger(1)).result(timeout=10).payload == 1
        assert daemon.is_alive()


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
