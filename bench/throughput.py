"""No-op triggers, claimed -> published, by one daemon, against arq and taskiq-redis: `python -m bench.throughput`.

All triggers are put onto the queue of a fresh embedded server first; then the daemon starts. The time is from the
first claim to the last event published (a peer's: from the first job begun to the last result stored), "per core" is by
the CPU time of the daemon (of the peer's worker) between the two. `defer` is how fast `defer_many` puts them there.
The peers keep their results in Redis, as triggerd does, and run a hundred jobs at once. They stand in venvs of their
own, which `make bench-peers` makes; without them ours is measured alone.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import redis

from bench.harness import CACHE, REPOSITORY, Figures, Target, cpu_s, in_process, parser, report
from tests.support.daemon_process import DaemonProcess
from triggerd import AsyncClient, Client
from triggerd.clock import monotonic_s
from triggerd.embedded import EmbeddedServer
from triggerd.keys import TRIGGER_GROUP, QueueKeys
from triggerd.triggers.testing import SuccessTrigger

OURS, SYNC, ASYNC = "triggerd", "defer_many, Client", "defer_many, AsyncClient"
PEERS = {"arq": "arq_jobs.py", "taskiq": "taskiq_jobs.py"}
WITHIN_S = 120.0
LOOKS_EVERY_S = 0.002
KEYS = QueueKeys("default")


@dataclass
class Spent:
    """Time and CPU time of a stretch, and the server's, where it was asked."""

    wall_s: float = 0.0
    cpu_s: float = 0.0
    server_cpu_s: float | None = None

    def figures(self, count: int) -> dict[str, float]:
        """As the table has them, for `count` things done in it."""
        found = {
            "per_s": count / self.wall_s, "per_s_and_core": count / self.cpu_s, "CPU_us": 1e6 * self.cpu_s / count,
        }  # fmt: skip
        if self.server_cpu_s is not None:
            found["server_CPU_us"] = 1e6 * self.server_cpu_s / count
        return found


@contextmanager
def spending(server: EmbeddedServer, pid: int | None = None) -> Iterator[Spent]:
    """What this process, or that one, spends in the block."""
    spent, began_s, cpu_began_s, server_began_s = Spent(), monotonic_s(), cpu_s(pid), cpu_s(server.pid)
    yield spent
    spent.wall_s, spent.cpu_s = monotonic_s() - began_s, cpu_s(pid) - cpu_began_s
    spent.server_cpu_s = cpu_s(server.pid) - server_began_s


def deferrals(count: int) -> list[dict[str, Any]]:
    """As a worker would name them."""
    return [{"trigger": SuccessTrigger({"number": number}), "kwargs": {"number": number}} for number in range(count)]


def defer_async(count: int) -> Spent:
    """`AsyncClient.defer_many` on a server of its own."""

    async def defer(server: EmbeddedServer) -> Spent:
        async with AsyncClient(server.url) as client:
            await client.defer_many(deferrals(100))  # connects, and loads the script
            many = deferrals(count)
            with spending(server) as spent:
                await client.defer_many(many)
        return spent

    with EmbeddedServer() as server:
        return asyncio.run(defer(server))


def claim_to_publish(count: int) -> tuple[Spent, Spent]:
    """What deferring `count` triggers took this process, and running them a daemon."""
    with EmbeddedServer() as server, Client(server.url) as client, redis.Redis.from_url(server.url) as raw:
        client.defer_many(deferrals(100))
        many = deferrals(count - 100)
        with spending(server) as deferring:
            client.defer_many(many)
        daemon = DaemonProcess(server.url, env={"TRIGGERD_HTTP__ENABLED": "false"})
        try:
            daemon.start(wait=False)
            _await(daemon, lambda: _claimed(raw))
            with spending(server, daemon.pid) as running:
                _await(daemon, lambda: raw.xlen(KEYS.events("default")) >= count)
        finally:
            daemon.close()
        assert raw.xlen(KEYS.triggers) == 0, "a trigger is still in flight"
    return deferring, running


def _claimed(raw: Any) -> bool:
    """Whether the group has been given an entry."""
    groups = raw.xinfo_groups(KEYS.triggers)
    return any(group["name"] == TRIGGER_GROUP.encode() and group["entries-read"] for group in groups)


def _await(daemon: DaemonProcess, reached: Any) -> None:
    """Ask until it is so. Often: what is told apart here are milliseconds."""
    end_s = monotonic_s() + WITHIN_S
    while not reached():
        if monotonic_s() > end_s or not daemon.is_alive():
            raise RuntimeError(f"the daemon did not get there:\n{daemon.log_text}")
        time.sleep(LOOKS_EVERY_S)


def peer(name: str, jobs: int) -> dict[str, Any] | None:
    """What the peer says of itself; None where it is not installed."""
    python = CACHE / f"bench-{name}" / "bin" / "python"
    if not python.exists():
        return None
    with EmbeddedServer() as server:
        program = str(REPOSITORY / "bench" / "peers" / PEERS[name])
        return in_process([program, server.url, str(jobs)], python=str(python), within_s=WITHIN_S)


def measure(told: argparse.Namespace, figures: Figures) -> dict[str, str]:
    """One run of every side. Answers the versions of the peers."""
    deferring, running = claim_to_publish(told.triggers)
    figures.add(OURS, **running.figures(told.triggers))
    versions = {}
    for name in () if told.smoke else PEERS:
        if found := peer(name, told.jobs):
            figures.add(name, **Spent(found["wall_s"], found["cpu_s"]).figures(found["jobs"]))
            figures.add(f"enqueue, {name}", per_s=told.jobs / found["enqueue_s"])
            versions[name] = f"{found['version']} on redis-py {found['redis']}"
    figures.add(SYNC, **deferring.figures(told.triggers - 100))
    figures.add(ASYNC, **defer_async(told.triggers).figures(told.triggers))
    return versions


def main() -> int:
    """Measure and print."""
    options = parser("throughput", __doc__)
    options.add_argument("--triggers", type=int, default=40_000, help="no-op triggers of ours")
    options.add_argument("--jobs", type=int, default=5_000, help="no-op jobs of each peer")
    told = options.parse_args()
    if told.smoke:
        told.runs, told.triggers = 1, 1_000
    figures, versions = Figures(), {}
    for _ in range(told.runs):
        versions = measure(told, figures)
    targets = [
        Target("no-op triggers per second and core of the daemon", figures.median(OURS, "per s and core"), 20_000,
               at_least=True),
        Target("defer_many per second, Client", figures.median(SYNC, "per s"), 50_000, at_least=True),
        Target("defer_many per second, AsyncClient", figures.median(ASYNC, "per s"), 50_000, at_least=True),
    ]  # fmt: skip
    ratios = {f"triggerd_by_{name}": figures.ratio(OURS, name, "per s and core") for name in versions}
    return report("throughput", told, figures, targets, **ratios, peers=versions or "none: make bench-peers")


if __name__ == "__main__":
    sys.exit(main())
