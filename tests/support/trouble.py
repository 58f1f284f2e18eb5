"""One daemon behind a proxy, its server, and what must be true of both while Redis is in trouble and after it."""

import os
import signal
import sys
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.support.daemon_process import DaemonProcess
from tests.support.proxy import Proxy
from tests.support.servers import redis_binaries
from tests.support.triggers import FileTrigger
from tests.support.waiting import eventually_sync
from triggerd import Client
from triggerd.clock import monotonic_s
from triggerd.embedded import EmbeddedServer
from triggerd.keys import TRIGGER_GROUP, QueueKeys
from triggerd.streams.script import script
from triggerd.trigger import BaseTrigger

LEASE_MS = 1500
ENV = {
    "TRIGGERD_ALLOW": "tests.support.triggers.*",
    "TRIGGERD_CAPACITY": "200",
    "TRIGGERD_LEASE_MS": str(LEASE_MS),
    "TRIGGERD_REDIS__COMMAND_TIMEOUT_MS": "500",
    "TRIGGERD_REDIS__CONNECT_RETRY_MS": "100",
}
DURING = 30
"""Triggers that fire in trouble: more than the lines that may be said of it."""
KEYS = QueueKeys("default")
EVENTS = KEYS.events("default")


FLAVOURS = ["valkey9", "redis6.2"]
each_server = pytest.mark.parametrize("scene", [(flavour,) for flavour in FLAVOURS], indirect=True, ids=FLAVOURS)


def sha(verb: str) -> bytes:
    """What a request of this verb carries."""
    return script(verb).sha.encode()


def durable_server(folder: Path, flavour: str = "valkey9", *options: str) -> EmbeddedServer:
    """A server that keeps what it has acknowledged, over a kill -9 too; not started yet."""
    options = ("--appendfsync", "always", *options)
    return EmbeddedServer(binary=redis_binaries()[flavour], folder=folder, appendonly=True, options=options)


def kill(server: EmbeddedServer) -> None:
    """kill -9."""
    os.kill(server.pid, signal.SIGKILL)
    server.stop()


@contextmanager
def raw_of(server: EmbeddedServer) -> Iterator[Any]:
    """A client of the server itself."""
    with redis.Redis.from_url(server.url) as raw:
        yield raw


def pause(seconds: float) -> None:
    """What is waited for is that the trouble has lasted for so long."""
    began_s = monotonic_s()
    eventually_sync(lambda: monotonic_s() - began_s > seconds, seconds + 5)


class Scene:
    """A daemon that reaches its server through a proxy, and a test that reaches it directly.

    `folder` is where the files are that the triggers wait for: `defer` a group of them, `fire` it.
    """

    def __init__(self, server: EmbeddedServer, proxy: Proxy, daemon: DaemonProcess, folder: Path) -> None:
        self.server, self.proxy, self.daemon, self._folder = server, proxy, daemon, folder
        self._ids: dict[str, list[str]] = {}
        self.attach(server)

    def attach(self, server: EmbeddedServer) -> None:
        """From now on the test speaks to this server."""
        self.server = server
        self.raw: Any = redis.Redis.from_url(server.url)
        self.td = Client(server.url, command_timeout=2)

    def defer(self, group: str, make: Callable[[], BaseTrigger] | None = None, *, count: int = 5) -> None:
        """Defer triggers, which fire with `fire(group)` where nothing else is said."""
        names = [f"{group}-{number}" for number in range(count)]
        trigger = make() if make is not None else FileTrigger(path=str(self._folder / group))
        self.td.defer_many({"trigger": trigger, "id": name} for name in names)
        self._ids[group] = names

    def ids(self, *groups: str) -> list[str]:
        """The trigger ids of these groups, or of all."""
        return [name for group in groups or self._ids for name in self._ids[group]]

    def fire(self, group: str) -> None:
        """Let a group's triggers fire."""
        (self._folder / group).touch()

    def defer_all(self) -> None:
        """Three groups: `before` has fired and ended when this returns, `during` and `after` run."""
        self.defer("before")
        self.defer("during", count=DURING)
        self.defer("after")
        eventually_sync(lambda: self.pending() == 10 + DURING, what="all triggers run")
        self.fire("before")
        self.end_once(self.ids("before"))

    def all_end(self) -> None:
        """What was fired in trouble, what fires now and what is deferred now: each has one final event."""
        self.defer("late")
        for group in self._ids:
            self.fire(group)
        self.end_once(self.ids())
        assert self.pending() == 0

    def end_once(self, ids: Iterable[str], deadline_s: float = 12.0) -> None:
        """Each of these triggers ends, no event came twice, and nothing stays pending that does not run."""
        ids = list(ids)
        results = {}
        for name in ids:
            results[name] = self.td.handle(name).result(timeout=deadline_s)
        seen = Counter((fields[b"id"].decode(), int(fields[b"seq"])) for _, fields in self.raw.xrange(EVENTS))
        assert max(seen.values()) == 1, f"an event came twice: {seen.most_common(3)}"
        for name in ids:
            last = max(seq for trigger_id, seq in seen if trigger_id == name)
            assert last == results[name].seq, f"{name}: an event after the final one"
        running = self.raw.zcard(KEYS.deadlines)
        assert self.pending() <= running, "an ended trigger is pending"

    def pending(self) -> int:
        """Entries that a consumer owns."""
        return int(self.raw.xpending(KEYS.triggers, TRIGGER_GROUP)["pending"])

    def get(self, path: str) -> tuple[int, str]:
        """What the daemon's HTTP port answers."""
        try:
            with urllib.request.urlopen(f"{self.daemon.http_url}/{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def metric(self, name: str) -> float:
        """The sum over the labels of one metric of the daemon."""
        lines = self.get("metrics")[1].splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.split("{")[0].split(" ")[0] == name)

    def wait_down(self) -> None:
        """Return once the daemon says that Redis is away."""
        eventually_sync(lambda: self.get("readyz")[0] == 503, 10, "not ready")
        assert self.metric("triggerd_redis_up") == 0
        # A daemon that has not renewed its lease yet is not ready either, and has met no error.
        eventually_sync(lambda: self.metric("triggerd_redis_errors_total") > 0, 10, "an error counted")

    def wait_up(self) -> None:
        """Return once it says that Redis is back."""
        eventually_sync(lambda: self.get("readyz")[0] == 200, 10, "ready")
        assert self.metric("triggerd_redis_up") == 1

    @contextmanager
    def trouble(self) -> Iterator[None]:
        """In this block the daemon lives, says what is wrong in a few lines, and does next to nothing."""
        began_s, cpu_s = monotonic_s(), self._cpu_s()
        lines, asked = self.daemon.log_text.count("\n"), self.proxy.accepted + self.proxy.requests
        yield
        assert self.daemon.is_alive()
        took_s = monotonic_s() - began_s
        said = self.daemon.log_text.splitlines()[lines:]
        assert said, "trouble, and not a word of it"
        assert len(said) <= 20, "\n".join(said)
        assert self._cpu_s() - cpu_s < 0.3 + 0.5 * took_s
        assert self.proxy.accepted + self.proxy.requests - asked < 100 + 100 * took_s
        assert self.get("livez")[0] == 200

    def _cpu_s(self) -> float:
        """Processor time that the daemon has taken so far."""
        fields = Path(f"/proc/{self.daemon.pid}/stat").read_text().rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        """Close the test's own connections."""
        self.raw.close()
        self.td.close()


@contextmanager
def scene_of(server: EmbeddedServer, folder: Path) -> Iterator[Scene]:
    """A daemon that is ready, behind a proxy before a server that runs."""
    folder.mkdir(exist_ok=True)
    with Proxy(server.socket_path) as proxy, DaemonProcess(proxy.url, env=ENV) as daemon:
        scene = Scene(server, proxy, daemon, folder)
        try:
            yield scene
        finally:
            scene.close()
            sys.stderr.write(daemon.log_text)  # pytest shows it with a failure only
