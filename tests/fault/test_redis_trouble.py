"""What Redis can do to a daemon: go away, freeze, lose its scripts, its stream or its role, be full, be loading.

Before, in and after each trouble triggers fire. The daemon never ends and never spins, says what is wrong in its log,
its metrics and its readiness, keeps what has fired, and afterwards each trigger has had exactly one final event.
"""

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from tests.support.triggers import CountingTrigger
from tests.support.trouble import DURING, EVENTS, KEYS, LEASE_MS, Scene, each_server, kill, pause
from tests.support.waiting import eventually_sync
from triggerd.clock import wall_ms
from triggerd.embedded import EmbeddedServer
from triggerd.errors import RedisRefusedError
from triggerd.keys import TRIGGER_GROUP
from triggerd.triggers.testing import SuccessTrigger

LEASE_S = LEASE_MS / 1000
EVERYSEC = ("valkey9", "--appendfsync", "everysec")


@pytest.mark.parametrize("end", [EmbeddedServer.stop, kill], ids=["stop", "kill"])
@pytest.mark.parametrize("scene", [("valkey9",), EVERYSEC], indirect=True, ids=["always", "everysec"])
def test_a_restart(scene: Scene, end: Callable[[EmbeddedServer], None]) -> None:
    with scene.trouble():
        end(scene.server)
        scene.fire("during")
        scene.wait_down()
        scene.server.start()
        scene.wait_up()
    scene.all_end()


def test_an_outage_of_several_leases(scene: Scene) -> None:
    """Thirty seconds are as good as seven: every lease has lapsed, every backoff has reached its longest pause."""
    with scene.trouble():
        scene.server.stop()
        scene.fire("during")
        scene.wait_down()
        pause(4 * LEASE_S)
        assert scene.metric("triggerd_events_unpublished") == DURING
        assert scene.metric("triggerd_triggers_running") == DURING + 5, "the daemon keeps waiting"
        scene.server.start()
        scene.wait_up()
    scene.all_end()


def test_a_frozen_server(scene: Scene) -> None:
    """What the daemon has given up, the server carries out when it wakes."""
    with scene.trouble():
        os.kill(scene.server.pid, signal.SIGSTOP)
        scene.fire("during")
        scene.wait_down()
        pause(1.5 * LEASE_S)
        os.kill(scene.server.pid, signal.SIGCONT)
        scene.wait_up()
    scene.all_end()


def test_a_line_on_which_every_answer_comes_too_late(scene: Scene) -> None:
    with scene.trouble():
        scene.proxy.to_client_s = 0.8
        scene.defer("claimed")
        scene.fire("during")
        scene.wait_down()
        pause(LEASE_S)
        scene.proxy.to_client_s = 0.0
        scene.wait_up()
    scene.fire("claimed")
    scene.all_end()


def test_connections_cut_again_and_again(scene: Scene) -> None:
    with scene.trouble():
        scene.fire("during")
        for _ in range(20):
            scene.proxy.cut()
            pause(0.05)
        scene.proxy.refusing = True
        scene.proxy.cut()
        scene.wait_down()
        scene.proxy.refusing = False
        scene.wait_up()
    scene.all_end()


def test_half_open_connections(scene: Scene) -> None:
    with scene.trouble():
        scene.proxy.silence()
        scene.fire("during")
        scene.wait_down()
        scene.wait_up()
    # The hints' connection waits for ever on a line that says nothing; what it would bring comes another way too.
    assert scene.td.handle("after-0").cancel() == "requested"
    assert scene.td.handle("after-0").result(timeout=10).outcome == "cancelled"
    scene.all_end()


def test_scripts_that_the_server_has_forgotten(scene: Scene) -> None:
    scene.raw.script_flush()
    scene.fire("during")
    scene.all_end()
    assert scene.metric("triggerd_redis_errors_total") == 0, "nothing failed"


@each_server
def test_the_group_destroyed(scene: Scene) -> None:
    """All is delivered anew, and what runs begins anew or goes on; nothing ends twice."""
    with scene.trouble():
        scene.raw.xgroup_destroy(KEYS.triggers, TRIGGER_GROUP)
        scene.fire("during")
        eventually_sync(lambda: scene.metric("triggerd_redis_errors_total") > 0)
    scene.all_end()


@each_server
def test_the_stream_deleted(scene: Scene) -> None:
    """The envelopes are gone, and with them the triggers: their callers hear at the deadline."""
    with scene.trouble():
        scene.raw.delete(KEYS.triggers)
        eventually_sync(lambda: scene.metric("triggerd_triggers_running") == 0)
    scene.td.handle("during-0").extend(wall_ms() / 1000 + 0.5)
    assert scene.td.handle("during-0").result(timeout=10).outcome == "timed_out"
    scene.defer("late")
    scene.fire("late")
    scene.end_once(scene.ids("late"))


@each_server
def test_everything_deleted(scene: Scene) -> None:
    with scene.trouble():
        scene.raw.flushall()
        scene.fire("during")
        eventually_sync(lambda: scene.metric("triggerd_triggers_running") == 0)
    scene.defer("late")
    scene.fire("late")
    scene.end_once(scene.ids("late"))
    assert scene.raw.xlen(EVENTS) == len(scene.ids("late")), "what Redis has forgotten does not come back"


def test_a_full_server(scene: Scene) -> None:
    """What ends gets out and frees memory; what is new is refused to its producer; other events are kept."""
    scene.daemon.freeze()
    scene.defer("talks", lambda: CountingTrigger(events=2), count=DURING)
    scene.raw.config_set("maxmemory", 1)
    scene.daemon.thaw()
    with pytest.raises(RedisRefusedError):
        scene.td.defer(SuccessTrigger())
    with scene.trouble():
        scene.fire("during")
        scene.end_once(scene.ids("during"))
        eventually_sync(lambda: "refused by Redis, kept" in scene.daemon.log_text)
        scene.raw.config_set("maxmemory", 0)
        scene.end_once(scene.ids("talks"))
    scene.all_end()


@each_server
def test_a_master_that_misses_its_replicas(scene: Scene) -> None:
    """It refuses every write, each item of a batch too: that is one trouble, and not one for each event."""
    with scene.trouble():
        scene.raw.config_set("min-replicas-to-write", 1)
        scene.fire("during")
        scene.wait_down()
        eventually_sync(lambda: "cannot publish" in scene.daemon.log_text)
        scene.raw.config_set("min-replicas-to-write", 0)
        scene.wait_up()
    scene.all_end()


def is_loading(scene: Scene) -> bool:
    try:
        scene.raw.get("filler:0")
    except redis.exceptions.BusyLoadingError:
        return True
    except redis.exceptions.ConnectionError:
        return False
    raise AssertionError("it has loaded everything before anybody looked")


@pytest.mark.parametrize("scene", [("valkey9", "--key-load-delay", "100")], indirect=True)
def test_a_server_that_loads_its_data(scene: Scene) -> None:
    with scene.raw.pipeline(transaction=False) as filling:
        for number in range(6_000):
            filling.set(f"filler:{number}", number)
        filling.execute()
    with scene.trouble():
        scene.server.stop()
        scene.fire("during")
        scene.wait_down()
        loading = threading.Thread(target=scene.server.start)
        loading.start()
        eventually_sync(lambda: is_loading(scene))
        scene.wait_down()
        loading.join()
        scene.wait_up()
    scene.all_end()


@pytest.mark.parametrize("scene", [EVERYSEC], indirect=True)
def test_a_power_cut_that_takes_acknowledged_writes(scene: Scene, tmp_path: Path) -> None:
    """Under everysec that is allowed to end a trigger twice, or to lose it; what Redis still knows ends, and soon."""
    (log,) = (tmp_path / "redis" / "appendonlydir").glob("*.incr.aof")
    kept_bytes = log.stat().st_size + 1000  # somewhere in the middle of what comes now
    scene.defer("forgotten")
    scene.fire("during")
    scene.end_once(scene.ids("during"))
    told = scene.raw.xlen(EVENTS)
    with scene.trouble():
        scene.proxy.refusing = True
        kill(scene.server)
        os.truncate(log, kept_bytes)
        scene.server.start()
        assert scene.raw.xlen(EVENTS) == told - DURING, "Redis has forgotten what it had acknowledged"
        scene.wait_down()
        scene.proxy.refusing = False
        scene.wait_up()
    scene.defer("late")
    for group in ("forgotten", "after", "late"):
        scene.fire(group)
    scene.end_once(scene.ids("before", "after", "late"))
    in_flight = scene.raw.zrange(KEYS.deadlines, 0, -1)
    eventually_sync(lambda: scene.raw.zcard(KEYS.deadlines) == 0, what=f"{in_flight} end")
    eventually_sync(lambda: scene.pending() == 0)
