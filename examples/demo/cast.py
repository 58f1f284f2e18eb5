"""Everybody who plays a part, each a process of its own: Valkey, moto, the daemon, the resumer, the worker."""

import contextlib
import re
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

import redis

from examples.demo.jobs import REGION, Job
from examples.demo.processes import Child, DemoError, fetch, free_port
from examples.demo.world import World, move_to
from triggerd.clock import monotonic_s
from triggerd.embedded import EmbeddedServer
from triggerd.keys import QueueKeys

READY_WITHIN_S = 60.0
QUEUE = REPLY_TO = "default"

_CONFIG = """\
[http]
port = {port}

[aws.connections.default]
region = "{region}"
endpoint_url = "{aws_url}"
"""
_POLLS = re.compile(r'^triggerd_polls_total\{.*service="([^"]+)".*\} (\S+)$', re.MULTILINE)


class Cast:
    """`set_up`, `begin`, `wait_for_the_end`, `end`; leaving the `with` block ends all that still runs."""

    def __init__(self, planned: list[Job], folder: Path, out: TextIO) -> None:
        self._planned, self._folder, self._out = planned, folder, out
        self._stack = contextlib.ExitStack()
        self._children: dict[str, Child] = {}
        self._redis_url = self._http_url = ""
        self._world: World | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # An impatient Ctrl-C must leave nobody behind; nothing that follows takes long.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        self._stack.close()

    @property
    def world(self) -> World:
        """AWS, once it is set up."""
        if self._world is None:
            raise DemoError("the world is not set up")
        return self._world

    def set_up(self, sabotage: str = "") -> None:
        """Start Valkey, AWS, the daemon and the resumer; return when they are ready."""
        server = self._stack.enter_context(EmbeddedServer())
        self._say("valkey", server.pid)
        self._redis_url = server.url
        aws_port, http_port = free_port(), free_port()
        aws_url, self._http_url = f"http://127.0.0.1:{aws_port}", f"http://127.0.0.1:{http_port}"
        move_to(aws_url)
        config = self._folder / "triggerd.toml"
        config.write_text(_CONFIG.format(port=http_port, region=REGION, aws_url=aws_url))

        moto = self._start("moto", "moto.server", "-H", "127.0.0.1", "-p", str(aws_port))
        daemon = self._start("daemon", "triggerd", "run", "--config", str(config), "--redis", server.url)
        resumer = self._start("resumer", "examples.demo.resumer", server.url, str(self._folder), sabotage)
        moto.wait_until(lambda: fetch(f"{aws_url}/moto-api/data.json"), READY_WITHIN_S)
        self._world = World(aws_url, self._planned)
        self._world.prepare()
        daemon.wait_until(lambda: fetch(f"{self._http_url}/readyz"), READY_WITHIN_S)
        resumer.wait_until((self._folder / "resumer.ready").exists, READY_WITHIN_S)

    def begin(self) -> None:
        """Start the worker, and let things happen in the world."""
        self._stack.enter_context(self.world)
        self._start("worker", "examples.demo.worker", self._redis_url, str(self._folder), str(len(self._planned)))

    def wait_for_the_end(self, meanwhile: Callable[[], None], within_s: float) -> list[str]:
        """Return when the worker is done and nothing is left in Redis, or it is too late: what is left, in words."""
        end_s = monotonic_s() + within_s
        with redis.Redis.from_url(self._redis_url) as client:
            while monotonic_s() < end_s:
                meanwhile()
                self._check()
                if self._children["worker"].status == 0 and not _in_redis(client, "triggers", "events"):
                    return _in_redis(client, "dead letters")
                time.sleep(0.05)
            left = _in_redis(client, "triggers", "events", "dead letters") or ["the worker is not done"]
            return [f"after {within_s:g} s: {what}" for what in left]

    def aws_calls(self) -> Counter[str]:
        """The polls of the daemon so far, by service, as its /metrics tell."""
        calls: Counter[str] = Counter()
        for service, count in _POLLS.findall(fetch(f"{self._http_url}/metrics")):
            calls[service] += int(float(count))
        return calls

    def end(self) -> None:
        """Stop daemon and resumer as systemd would; DemoError where one does not exit with 0."""
        for name in ("daemon", "resumer"):
            self._children[name].stop()

    def show_logs(self) -> None:
        """Print the last lines of the daemon's log, and of whoever has ended in an unfriendly way."""
        for name, child in self._children.items():
            if name == "daemon" or child.status:
                print(f"\n--- the last lines of the {name} ---\n{child.log_end()}", file=self._out)

    def _start(self, name: str, *arguments: str) -> Child:
        child = self._children[name] = Child(name, arguments, self._folder)
        self._stack.callback(child.close)
        child.start()
        self._say(name, child.process.pid)
        return child

    def _say(self, name: str, pid: int) -> None:
        print(f"  {name} is process {pid}", file=self._out, flush=True)

    def _check(self) -> None:
        """Nobody may leave the stage before the end, but for the worker."""
        self.world.check()
        for name, child in self._children.items():
            if child.status is not None and (name, child.status) != ("worker", 0):
                raise child.blame(f"ended with status {child.status} in the middle of the demo")


def _in_redis(client: "redis.Redis", *things: str) -> list[str]:
    """What Redis still holds: a trigger is there until its event is, an event until its task was resumed."""
    keys = QueueKeys(QUEUE)
    streams = {"triggers": keys.triggers, "events": keys.events(REPLY_TO), "dead letters": keys.dead}
    try:
        counts = {thing: client.xlen(streams[thing]) for thing in things}
    except redis.RedisError as error:
        raise DemoError(f"valkey does not answer: {error}") from error
    return [f"{count} {thing} are left in Redis" for thing, count in counts.items() if count]
