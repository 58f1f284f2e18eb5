"""Whether memory grows with what has been done: a million no-op triggers through one daemon, and AWS waits by the poll
engine that begin, poll a few times and end.

After a warm-up (the first fifth) the resident memory is sampled as the count goes up; the slope of the line through the
samples (least squares) is what a thousand lifecycles leave behind. A daemon that keeps nothing has a slope of about 0;
64 bytes for each would be 62 KB per thousand.
"""

import argparse
import asyncio
import statistics
import sys

from bench.fake_aws import FakeAws, settings
from bench.fake_services import SERVICES
from bench.harness import Figures, Target, isolate, on_uvloop, parser, report, rss_bytes
from bench.metered_daemon import MeteredDaemon
from bench.polls import UNLIMITED
from triggerd import Client
from triggerd.aws.local import open_aws
from triggerd.clock import monotonic_s, wall_ms
from triggerd.embedded import EmbeddedServer
from triggerd.triggers.testing import SuccessTrigger

SERVICE = "ecs"
WARM_UP = 0.2
SAMPLES = 200
BATCH = 1000
# Finished triggers keep their results in Redis for a while: a server of its own for a million of them has the room.
AHEAD = 5 * BATCH
WITHIN_S = 3600.0


class Samples:
    """Memory by lifecycles."""

    def __init__(self, lifecycles: int) -> None:
        self._every, self._from = max(1, lifecycles // SAMPLES), lifecycles * WARM_UP
        self._next = self._from
        self._done: list[float] = []
        self._bytes: list[float] = []

    def take(self, done: float, memory_bytes: int) -> None:
        """Keep this sample, where the last one is long enough ago."""
        if done >= self._next:
            self._next = done + self._every
            self._done.append(done)
            self._bytes.append(memory_bytes)

    def figures(self) -> dict[str, float]:
        if len(self._done) < 3:
            raise RuntimeError(f"{len(self._done)} samples are too few: more lifecycles are needed")
        slope = statistics.linear_regression(self._done, self._bytes).slope
        return {
            "bytes_per_1000": 1000 * slope, "samples": len(self._done),
            "MB_after_warm-up": self._bytes[0] / 1024**2, "MB_at_the_end": self._bytes[-1] / 1024**2,
        }  # fmt: skip


def triggers(lifecycles: int) -> dict[str, float]:
    """No-op triggers through one daemon; a few batches are ahead of it in the queue all the time."""
    samples, began_s = Samples(lifecycles), monotonic_s()
    told = {"TRIGGERD_RESULT_TTL_S": "300"}
    with EmbeddedServer() as server, Client(server.url) as client, MeteredDaemon(server.url, env=told) as daemon:
        deferred, done = 0, 0.0
        while done < lifecycles:
            if deferred < lifecycles and deferred - done < AHEAD:
                client.defer_many([{"trigger": SuccessTrigger(), "reply_to": None} for _ in range(BATCH)])
                deferred += BATCH
                continue
            done = daemon.look().total("triggerd_triggers_finished_total")
            samples.take(done, rss_bytes(daemon.pid))
            if monotonic_s() - began_s > WITHIN_S:
                raise RuntimeError(f"only {done:,.0f} triggers within {WITHIN_S:g} s: {daemon.log_text[-2000:]}")
    return {"per_s": lifecycles / (monotonic_s() - began_s), **samples.figures()}


async def waits(url: str, lifecycles: int, told: argparse.Namespace) -> dict[str, float]:
    """AWS waits of about three polls each, `told.at_once` of them at any time."""
    samples, known, began_s = Samples(lifecycles), SERVICES[SERVICE], monotonic_s()
    numbers = iter(range(lifecycles))
    done = 0
    async with open_aws(settings(url, quotas=UNLIMITED)) as aws:

        async def one_after_the_other() -> None:
            nonlocal done
            for number in numbers:
                end_ms = wall_ms() + int(2500 * told.delay)
                await aws.wait(SERVICE, known.waiter, known.arguments(number, 0, end_ms), delay=told.delay)
                done += 1
                samples.take(done, rss_bytes())

        await asyncio.gather(*(one_after_the_other() for _ in range(told.at_once)))
    return {"per_s": lifecycles / (monotonic_s() - began_s), **samples.figures()}


def main() -> int:
    """Measure and print."""
    options = parser("soak", __doc__, runs=1)
    options.add_argument("--lifecycles", type=int, default=1_000_000, help="of triggers")
    options.add_argument("--wait-lifecycles", type=int, default=200_000, help="of AWS waits")
    options.add_argument("--at-once", type=int, default=2_000, help="AWS waits that run at the same time")
    options.add_argument("--delay", type=float, default=0.5, help="seconds between the polls of a wait")
    told = options.parse_args()
    if told.smoke:
        told.lifecycles, told.wait_lifecycles, told.at_once, told.delay = 3_000, 200, 50, 0.1
    isolate()
    figures = Figures()
    for _ in range(told.runs):
        figures.add("triggers, daemon", **triggers(told.lifecycles))
        with FakeAws() as fake:
            figures.add("AWS waits, engine", **on_uvloop(waits(fake.url, told.wait_lifecycles, told)))
    targets = [
        Target(f"{side}: bytes left behind per 1,000", figures.median(side, "bytes per 1000"), 1024)
        for side in figures.sides()
    ]
    return report("soak", told, figures, targets)


if __name__ == "__main__":
    sys.exit(main())
