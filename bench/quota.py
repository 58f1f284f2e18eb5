"""Many ECS waits within AWS's quota: calls, throttles, how late polls are, and whether a wait fails.

By default 50,000 waits of 30 s meet a fake that enforces ECS's quota (20 calls/s, 100 at once), merged and one by one,
with the budget as it is by default. With `--throttled-half` the fake throttles half of all calls at random instead,
and each task ends at some instant; then the question is how late a wait hears of it, against what the stretch predicts:

    a merged round's calls by the calls answered per second, or the delay where that is longer (by 1.1, the jitter),
    and on top the pauses after as many throttles in a row as so many calls lead one to expect: log2(calls) + 1
"""

import argparse
import asyncio
import logging
import math
import random
import sys
from typing import Any

from bench.fake_aws import FakeAws, settings
from bench.fake_services import NEVER_MS, SERVICES
from bench.harness import (
    Figures,
    LoopLag,
    Target,
    collect_as_the_daemon_does,
    isolate,
    on_uvloop,
    parser,
    percentile,
    report,
)
from triggerd.aws.aws import Aws
from triggerd.aws.local import open_aws
from triggerd.clock import monotonic_s, wall_ms

SERVICE, OPERATION = "ecs", "DescribeTasks"
AWS_LIMIT = {OPERATION: [20, 100]}
SIDES: dict[str, dict[str, Any]] = {"merged": {}, "one by one": {"unmerged": ("*",)}}
PER_CALL = 100
RETRY_BASE_S, RETRY_CAP_S = 0.5, 30.0
BATCH = 100


class Lags:
    """The poll engine's metrics: how late each call was sent."""

    def __init__(self) -> None:
        self.lags_s: list[float] = []
        self.results: dict[str, int] = {}
        self.served = 0

    def poll(self, service: str, operation: str, result: str, waits: int, seconds: float) -> None:  # noqa: ARG002
        """One AWS call ended."""
        self.results[result] = self.results.get(result, 0) + 1
        self.served += waits if result == "ok" else 0

    def poll_lag(self, service: str, seconds: float) -> None:  # noqa: ARG002
        """A call was sent so late."""
        self.lags_s.append(seconds)

    def merge_failed(self, service: str, operation: str, why: str) -> None:
        """The fake gives no cause for it: said, not hidden."""
        raise RuntimeError(f"merged calls of {service} {operation} failed: {why}")


class Waits:
    """The waits of one run, and how each ended."""

    def __init__(self, aws: Aws, told: argparse.Namespace) -> None:
        self._aws, self._told = aws, told
        self.late_s: list[float] = []
        self.failures: list[str] = []
        self.tasks: list[asyncio.Task[None]] = []

    async def start(self, ends_ms: list[int]) -> None:
        """One for each of these instants."""
        for begin in range(0, len(ends_ms), BATCH):
            for number in range(begin, min(begin + BATCH, len(ends_ms))):
                self.tasks.append(asyncio.ensure_future(self._wait(number, ends_ms[number])))
            await asyncio.sleep(0)

    async def stop(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def _wait(self, number: int, end_ms: int) -> None:
        known = SERVICES[SERVICE]
        arguments = known.arguments(number, 0, end_ms)
        try:
            await self._aws.wait(SERVICE, known.waiter, arguments, delay=self._told.delay, max_attempts=100_000)
        except Exception as error:  # noqa: BLE001 - this is what is counted
            self.failures.append(repr(error))
        else:
            self.late_s.append((wall_ms() - end_ms) / 1000)


async def within_quota(url: str, side: str, told: argparse.Namespace) -> dict[str, float]:
    """So many waits that do not end, for so long."""
    lags = Lags()
    async with open_aws(settings(url, **SIDES[side]), lags) as aws, LoopLag() as loop:
        waits = Waits(aws, told)
        await waits.start([NEVER_MS])  # has the client built, and is not counted
        await asyncio.sleep(1.0)
        collect_as_the_daemon_does()
        await asyncio.sleep(0.1)
        loop.take()
        await waits.start([NEVER_MS] * told.waits)
        await asyncio.sleep(told.seconds)
        found = loop.take()
        await waits.stop()
    calls = sum(lags.results.values())
    return {
        "calls_per_s": calls / told.seconds, "throttled": lags.results.get("throttled", 0),
        "wait_polls_per_s": lags.served / told.seconds, "failed_waits": len(waits.failures),
        "calls_late_p50_s": percentile(lags.lags_s, 0.5), "calls_late_p99_s": percentile(lags.lags_s, 0.99),
        "loop_lag_p99_ms": found["lag_p99_ms"], "loop_lag_worst_ms": found["lag_worst_ms"],
    }  # fmt: skip


async def throttled_half(url: str, told: argparse.Namespace) -> dict[str, float]:
    """Waits whose tasks end over the time, until the last was heard of."""
    lags = Lags()
    async with open_aws(settings(url), lags) as aws:
        waits, now_ms, began_s = Waits(aws, told), wall_ms(), monotonic_s()
        span_ms = int(1000 * told.seconds)
        await waits.start([now_ms + random.randrange(span_ms // 10, span_ms) for _ in range(told.waits)])
        await asyncio.wait(waits.tasks, timeout=3 * told.seconds)
        took_s, left = monotonic_s() - began_s, sum(not task.done() for task in waits.tasks)
        await waits.stop()
    calls, answered = sum(lags.results.values()), lags.results.get("ok", 0)
    interval_s = 1.1 * max(told.delay, math.ceil(told.waits / PER_CALL) * took_s / answered)
    pauses_s = sum(min(RETRY_CAP_S, RETRY_BASE_S * 2**lost) for lost in range(math.ceil(math.log2(calls)) + 1))
    return {
        "calls": calls, "throttled": lags.results.get("throttled", 0),
        "failed_waits": len(waits.failures), "forgotten_waits": left,
        "late_p50_s": percentile(waits.late_s, 0.5), "late_p99_s": percentile(waits.late_s, 0.99),
        "late_worst_s": max(waits.late_s, default=0.0), "predicted_s": interval_s + pauses_s,
    }  # fmt: skip


def _told() -> argparse.Namespace:
    options = parser("quota", __doc__, runs=1)
    options.add_argument("--throttled-half", action="store_true", help="half of all calls, at random, and no quota")
    options.add_argument("--waits", type=int, help="50,000; with --throttled-half 2,000")
    options.add_argument("--seconds", type=float, help="120; with --throttled-half 300")
    options.add_argument("--delay", type=float, default=30.0, help="seconds between the polls of a wait")
    told = options.parse_args()
    waits, seconds = (2_000, 300.0) if told.throttled_half else (50_000, 120.0)
    if told.smoke:
        waits, seconds, told.delay = (100, 1.0, 0.2) if told.throttled_half else (500, 1.0, 1.0)
    told.waits, told.seconds = told.waits or waits, told.seconds or seconds
    return told


def main() -> int:
    """Measure and print."""
    told, figures = _told(), Figures()
    isolate()
    logging.disable(logging.WARNING)  # that AWS throttles is what is measured here
    with FakeAws() as fake:
        for _ in range(told.runs):
            if told.throttled_half:
                fake.set(throttle_share=0.5)
                figures.add("half throttled", **on_uvloop(throttled_half(fake.url, told)))
                continue
            for side in SIDES:
                fake.set(limits=AWS_LIMIT)
                figures.add(side, **on_uvloop(within_quota(fake.url, side, told)))
    targets = [Target(f"{side}: failed waits", figures.median(side, "failed waits"), 0) for side in figures.sides()]
    if told.throttled_half:
        forgotten = figures.median("half throttled", "forgotten waits")
        targets.append(Target("waits that had not ended long after their tasks", forgotten, 0))
        late_s, predicted_s = (figures.median("half throttled", unit) for unit in ("late worst s", "predicted s"))
        targets.append(Target("worst lateness in seconds, against the prediction", late_s, predicted_s))
    else:
        targets += [Target(f"{side}: throttles", figures.median(side, "throttled"), 0) for side in SIDES]
        targets.append(Target("merged: p99 loop lag, ms", figures.median("merged", "loop lag p99 ms"), 50))
    return report("quota", told, figures, targets)


if __name__ == "__main__":
    sys.exit(main())
