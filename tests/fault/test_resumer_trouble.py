"""What Redis can do to a Resumer: it says so, never ends, never spins, and afterwards every event is resumed."""

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.support.owner import Owner
from tests.support.resuming import running
from tests.support.servers import free_port, redis_binaries
from tests.support.waiting import eventually_sync
from triggerd import Client, Resumer
from triggerd.clock import monotonic_s
from triggerd.embedded import EmbeddedServer
from triggerd.keys import RESUMER_GROUP, QueueKeys
from triggerd.triggers.testing import SuccessTrigger

LEASE_MS = 1500
EVENTS = QueueKeys("default").events("default")
MOST_COMMANDS_PER_S = 40.0
"""At rest it is about ten."""
MOST_LINES_PER_S = 5.0
_SENT_BY_A_RESUMER = ("evalsha", "eval", "xread", "client|setname")


@pytest.fixture
def away(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[EmbeddedServer]:
    """A server of the test's own that keeps everything over a restart, and takes its time to load it."""
    options = ["--appendfsync", "always", "--key-load-delay", "100"]
    flavour = getattr(request, "param", "valkey9")
    with EmbeddedServer(
        binary=redis_binaries()[flavour], folder=tmp_path / "redis", appendonly=True, options=options
    ) as server:
        yield server


def last(seconds: float) -> None:
    """What is waited for is that the trouble has lasted for so long."""
    began_s = monotonic_s()
    eventually_sync(lambda: monotonic_s() - began_s > seconds, seconds + 5)


def commands(raw: Any) -> int:
    """How many commands clients have sent, not counting what scripts do and what this test asks."""
    stats = raw.info("commandstats")
    found = [stats.get(f"cmdstat_{name}", {}) for name in _SENT_BY_A_RESUMER]
    return sum(stat.get("calls", 0) + stat.get("rejected_calls", 0) for stat in found)


def does_not_spin(raw: Any, seconds: float = 2.0) -> None:
    began_s, before = monotonic_s(), commands(raw)
    last(seconds)
    assert (commands(raw) - before) / (monotonic_s() - began_s) <= MOST_COMMANDS_PER_S


@contextmanager
def frozen(server: EmbeddedServer, raw: Any) -> Iterator[None]:
    os.kill(server.pid, signal.SIGSTOP)
    try:
        last(6.5)  # longer than any command waits
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


@contextmanager
def gone(server: EmbeddedServer, raw: Any) -> Iterator[None]:
    server.stop()
    last(3.0)
    yield
    server.start()


@contextmanager
def killed(server: EmbeddedServer, raw: Any) -> Iterator[None]:
    os.kill(server.pid, signal.SIGKILL)
    server.stop()
    yield
    server.start()


@contextmanager
def read_only(server: EmbeddedServer, raw: Any) -> Iterator[None]:
    raw.replicaof("127.0.0.1", free_port())
    does_not_spin(raw, 4.0)
    yield
    raw.replicaof("NO", "ONE")


@contextmanager
def loading(server: EmbeddedServer, raw: Any) -> Iterator[None]:
    with raw.pipeline(transaction=False) as filling:
        for number in range(15_000):
            filling.set(f"filler:{number}", number)
        filling.execute()
    server.stop()
    starting = threading.Thread(target=server.start)
    starting.start()
    eventually_sync(lambda: _is_loading(raw))
    does_not_spin(raw, 1.0)
    yield
    starting.join()


@contextmanager
def wrong_type(server: EmbeddedServer, raw: Any) -> Iterator[None]:
    raw.rename(EVENTS, "aside")
    raw.set(EVENTS, "no stream")
    does_not_spin(raw)
    yield
    raw.rename("aside", EVENTS)


def _is_loading(raw: Any) -> bool:
    try:
        return bool(raw.info("persistence")["loading"])
    except redis.ConnectionError:
        return False


Trouble = Callable[[EmbeddedServer, Any], AbstractContextManager[None]]


class Scene:
    """A Resumer in a thread, and three triggers whose events come when the test says so."""

    def __init__(self, server: EmbeddedServer, td: Client, owner: Owner) -> None:
        self.seen: list[str] = []
        self.resumer = Resumer(td, lease_ms=LEASE_MS)
        self.resumer.on_event(lambda event, _: self.seen.append(event.trigger_id))
        self._owner = owner
        td.defer_many({"trigger": SuccessTrigger(), "id": name} for name in ("before", "during", "after"))
        self._triggers = {trigger.id: trigger for trigger in owner.claim()}
        self.raw: Any = redis.Redis.from_url(server.url)

    def fire(self, name: str) -> None:
        self._owner.fire(self._triggers[name], name)

    def resumed(self, name: str, deadline_s: float = 15.0) -> None:
        eventually_sync(lambda: name in self.seen, deadline_s, what=f"{name} is resumed")

    def all_is_well(self) -> None:
        self.resumed("after")
        eventually_sync(lambda: self.raw.xlen(EVENTS) == 0)
        assert self.raw.xpending(EVENTS, RESUMER_GROUP)["pending"] == 0
        assert self.seen == ["before", "during", "after"]


@contextmanager
def scene_on(server: EmbeddedServer) -> Iterator[Scene]:
    with Client(server.url) as td, Owner(server.url) as owner:
        scene = Scene(server, td, owner)
        with running(scene.resumer), scene.raw:
            scene.fire("before")
            scene.resumed("before")
            yield scene


@pytest.mark.parametrize("trouble", [frozen, gone, killed, read_only, loading, wrong_type])
def test_a_resumer_outlives_a_server_that_does_not_serve(
    away: EmbeddedServer, trouble: Trouble, caplog: pytest.LogCaptureFixture
) -> None:
    with scene_on(away) as scene:
        scene.fire("during")
        scene.resumed("during")
        caplog.clear()
        began_s = monotonic_s()
        with trouble(away, scene.raw):
            eventually_sync(lambda: _lines(caplog), what="it says so")
            assert len(_lines(caplog)) <= 2 + MOST_LINES_PER_S * (monotonic_s() - began_s)
        scene.fire("after")
        scene.all_is_well()


@pytest.mark.parametrize("away", ["valkey9", "redis6.2"], indirect=True)
@pytest.mark.parametrize("flush", ["scripts", "group", "stream"])
def test_a_resumer_goes_on_when_its_scripts_its_group_or_its_stream_are_deleted(
    away: EmbeddedServer, flush: str
) -> None:
    with scene_on(away) as scene:
        match flush:
            case "scripts":
                scene.raw.script_flush()
            case "group":
                scene.raw.xgroup_destroy(EVENTS, RESUMER_GROUP)
            case "stream":
                scene.raw.delete(EVENTS)
        scene.fire("during")
        scene.resumed("during")
        does_not_spin(scene.raw, 1.0)
        scene.fire("after")
        scene.all_is_well()


@pytest.mark.parametrize("away", ["valkey9", "redis6.2"], indirect=True)
def test_a_resumer_works_on_a_full_server_and_so_frees_it(
    away: EmbeddedServer, caplog: pytest.LogCaptureFixture
) -> None:
    with scene_on(away) as scene:
        caplog.clear()
        scene.raw.config_set("maxmemory", 1)
        scene.fire("during")
        scene.resumed("during")
        does_not_spin(scene.raw)
        assert _lines(caplog) == [], "nothing that it does needs memory"
        scene.raw.config_set("maxmemory", 0)
        scene.fire("after")
        scene.all_is_well()


def test_a_resumer_in_trouble_stops_when_it_is_told_to(away: EmbeddedServer) -> None:
    with Client(away.url) as td:
        resumer = Resumer(td, lease_ms=LEASE_MS)
        thread = threading.Thread(target=resumer.run)
        thread.start()
        with redis.Redis.from_url(away.url) as raw:
            eventually_sync(lambda: raw.exists(QueueKeys("default").consumer(resumer.name)))
        away.stop()
        resumer.stop()
        thread.join(10)
        assert not thread.is_alive()
        away.start()


def test_what_is_wrong_with_one_queue_keeps_no_deadline_of_another_from_being_swept(redis_url: str, td: Client) -> None:
    with redis.Redis.from_url(redis_url) as raw:
        raw.set(QueueKeys("broken").deadlines, "no sorted set")
    seen: list[str] = []
    resumer = Resumer(td, queues=("broken", "default"), lease_ms=LEASE_MS)
    resumer.on_event(lambda event, _: seen.append(event.outcome))
    with running(resumer):
        td.defer(SuccessTrigger(), timeout=0.1)
        eventually_sync(lambda: seen == ["timed_out"])


def _lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
