"""kill -9 with 10,000 waits in flight -> all adopted by a peer: `python -m bench.recovery`.

Two daemons on an embedded server, both with leases that have been held for a while. The second one is frozen while the
first claims everything, so that all waits are in one daemon; then the first is killed. The time is from the kill to the
moment at which nothing is pending for it any more. Then all waits fire: how many did not reach exactly one final event?
"""

import argparse
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import redis

from bench.harness import Figures, Target, parser, report
from tests.support.daemon_process import DaemonProcess
from tests.support.tally import complaints, done, leftovers, published
from triggerd import Client
from triggerd.clock import monotonic_s
from triggerd.embedded import EmbeddedServer
from triggerd.streams.connection import SyncRedis
from triggerd.streams.leases import Leases
from triggerd.triggers.time import DateTimeTrigger

SIDE = "kill -9 -> all adopted"
LEASES = Leases("default")
LOOKS_EVERY_S = 0.005
WITHIN_S = 120.0


def pending_for(server: SyncRedis, pid: int) -> int:
    """How many triggers the daemon of this process owns; a consumer's name is ``host-pid-random``."""
    return sum(found.pending for found in server.run(LEASES.consumers()) if found.name.split("-")[-2] == str(pid))


def reached(what: str, is_so: Callable[[], bool]) -> None:
    """Return once it is so."""
    end_s = monotonic_s() + WITHIN_S
    while not is_so():
        if monotonic_s() > end_s:
            raise TimeoutError(f"not within {WITHIN_S:g} s: {what}")
        time.sleep(LOOKS_EVERY_S)


def adopted_s(server: SyncRedis, killed: DaemonProcess, heir: DaemonProcess, waits: int) -> float:
    """Kill one daemon and watch the other one: seconds until nothing is pending for the dead."""
    owned = pending_for(server, killed.pid)
    if owned != waits:
        raise RuntimeError(f"{owned} of {waits} waits are in the daemon that is to be killed: give --fire-after-s more")
    killed_s = monotonic_s()
    killed.kill()
    reached("all adopted", lambda: pending_for(server, killed.pid) == 0)
    taken_s = monotonic_s() - killed_s
    if not heir.is_alive():
        raise RuntimeError(f"the heir died:\n{heir.log_text}")
    return taken_s


def measure(told: argparse.Namespace, figures: Figures) -> None:
    """One run: claim, kill, adopt, fire, count."""
    env = {"TRIGGERD_LEASE_MS": str(int(told.lease_s * 1000)), "TRIGGERD_HTTP__ENABLED": "false"}
    with EmbeddedServer() as server, Client(server.url) as client, redis.Redis.from_url(server.url) as raw:
        eyes = SyncRedis(server.url, name="bench")
        first, second = DaemonProcess(server.url, env=env), DaemonProcess(server.url, env=env)
        try:
            first.start(wait=False)
            second.start(wait=False)
            first.wait_ready()
            second.wait_ready()
            settled_s = monotonic_s() + told.lease_s
            second.freeze()
            moment = datetime.now(UTC) + timedelta(seconds=told.fire_after_s)
            handles = client.defer_many({"trigger": DateTimeTrigger(moment)} for _ in range(told.waits))
            reached("all claimed by one", lambda: pending_for(eyes, first.pid) == told.waits)
            second.thaw()
            time.sleep(max(0.0, settled_s - monotonic_s()))
            taken_s = adopted_s(eyes, first, second, told.waits)
            reached("all fired", lambda: raw.xlen("triggerd:{default}:triggers") == 0)
        finally:
            first.close()
            second.close()
            eyes.close()
        ids = [handle.id for handle in handles]
        wrong = complaints(ids, published(raw), done(raw, ids))
        if wrong or leftovers(raw):
            print(f"{len(wrong)} waits: {wrong[:5]}; left: {leftovers(raw)}", file=sys.stderr)
    figures.add(SIDE, s=taken_s, s_after_the_lease=taken_s - told.lease_s, lost_or_ended_twice=len(wrong))


def main() -> int:
    """Measure and print."""
    options = parser("recovery", __doc__)
    options.add_argument("--waits", type=int, default=10_000, help="waits in flight in the daemon that is killed")
    options.add_argument("--lease-s", type=float, default=10.0, help="the daemons' lease; 10 s is its default")
    options.add_argument("--fire-after-s", type=float, default=25.0, help="seconds from the deferral to the events")
    told = options.parse_args()
    if told.smoke:
        told.runs, told.waits, told.lease_s, told.fire_after_s = 1, 200, 0.5, 1.2
    figures = Figures()
    for _ in range(told.runs):
        measure(told, figures)
    targets = [
        Target("seconds until all are adopted (lease + 2)", figures.median(SIDE, "s"), told.lease_s + 2),
        Target("waits that were lost or ended twice", figures.median(SIDE, "lost or ended twice"), 0),
    ]
    return report("recovery", told, figures, targets)


if __name__ == "__main__":
    sys.exit(main())
