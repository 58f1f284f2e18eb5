"""One process with N AWS waits in one event loop, for `bench.waits`.

`python -m bench.running_waits SIDE URL WAITS STEADY_S` prints one line of JSON: what the waits took in memory and CPU,
and how late the loop was meanwhile.
"""

import asyncio
import gc
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiobotocore.session import get_session

from bench.fake_aws import ask, settings
from bench.fake_services import NEVER_MS, SERVICES
from bench.harness import LoopLag, collect_as_the_daemon_does, cpu_s, on_uvloop, rss_bytes
from bench.polls import stock_waiter
from triggerd.aws.local import open_aws
from triggerd.clock import monotonic_s
from triggerd.settings import QuotaSettings

SERVICE, DELAY_S = "ecs", 30.0
QUOTAS = {"*": QuotaSettings(rate_per_s=50, burst=50)}
"""100,000 waits of 30 s need 34 merged calls a second: enough that none is put off, and a start still ramps."""
BATCH = 100
FIRST_POLLS_WITHIN_S = 180.0

Start = Callable[[int], Awaitable[Any]]


@asynccontextmanager
async def engine(url: str, waits: int) -> AsyncIterator[Start]:
    """Ours: `aws.wait` for the n-th task; one that had ended has warmed everything up."""
    known = SERVICES[SERVICE]
    async with open_aws(settings(url, quotas=QUOTAS)) as aws:
        await aws.wait(SERVICE, known.waiter, known.arguments(waits, waits, 0))
        collect_as_the_daemon_does()

        def start(number: int) -> Awaitable[Any]:
            return aws.wait(
                SERVICE, known.waiter, known.arguments(number, waits, NEVER_MS), delay=DELAY_S, max_attempts=1000
            )

        yield start


@asynccontextmanager
async def stock(url: str, waits: int) -> AsyncIterator[Start]:
    """aiobotocore's waiter on one shared client."""
    known, each = SERVICES[SERVICE], {"Delay": DELAY_S, "MaxAttempts": 1000}
    async with get_session().create_client(SERVICE, region_name="us-east-1", endpoint_url=url) as client:
        waiter = stock_waiter(client, SERVICE)
        await waiter.wait(**known.arguments(waits, waits, 0))

        def start(number: int) -> Awaitable[Any]:
            wait: Awaitable[Any] = waiter.wait(**known.arguments(number, waits, NEVER_MS), WaiterConfig=each)
            return wait

        yield start


async def measure(start: Start, url: str, waits: int, steady_s: float) -> dict[str, float]:
    """Start so many waits, a hundred at a time, let each poll once, and look on for `steady_s`."""
    gc.collect()
    found: dict[str, float] = {}
    async with LoopLag() as lag:
        await asyncio.sleep(0.1)
        lag.take()
        own, memory, spent_s, began_s = len(asyncio.all_tasks()), rss_bytes(), cpu_s(), monotonic_s()
        polled = await _items(url)
        tasks = []
        for begin in range(0, waits, BATCH):
            tasks += [asyncio.ensure_future(start(number)) for number in range(begin, min(begin + BATCH, waits))]
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        found["start_CPU_us"] = 1e6 * (cpu_s() - spent_s) / waits
        found["first_polls_s"] = await _until_polled(url, polled + waits) - began_s
        found["with_first_poll_CPU_us"] = 1e6 * (cpu_s() - spent_s) / waits
        found |= {f"starting_{name}": value for name, value in lag.take().items()}
        before, spent_s = await asyncio.to_thread(ask, url, "counts"), cpu_s()
        await asyncio.sleep(steady_s)
        found["steady_CPU_percent"] = 100 * (cpu_s() - spent_s) / steady_s
        found |= {f"steady_{name}": value for name, value in lag.take().items()}
        after = await asyncio.to_thread(ask, url, "counts")
        found["calls_per_s"] = (_all(after, "calls") - _all(before, "calls")) / steady_s
        found["wait_polls_per_s"] = (_all(after, "items") - _all(before, "items")) / steady_s
        found["KB_each"] = (rss_bytes() - memory) / 1024 / waits
        found["RSS_MB"] = rss_bytes() / 1024**2
        found["own_tasks"] = len(asyncio.all_tasks()) - waits - own
    if ended := [task for task in tasks if task.done()]:
        raise RuntimeError(f"{len(ended)} of {waits} waits have ended, as {ended[0]!r}")
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return found


async def _until_polled(url: str, items: float) -> float:
    """When so many answers had been given, as the fake says."""
    end_s = monotonic_s() + FIRST_POLLS_WITHIN_S
    while monotonic_s() < end_s:
        if await _items(url) >= items:
            return monotonic_s()
        await asyncio.sleep(0.1)
    raise RuntimeError(f"not all waits were polled within {FIRST_POLLS_WITHIN_S:g} s")


async def _items(url: str) -> float:
    return _all(await asyncio.to_thread(ask, url, "counts"), "items")


def _all(counts: dict[str, Any], name: str) -> float:
    return float(sum(counts[name].values()))


async def main() -> None:
    """Measure one side and print it."""
    side, url, waits, steady_s = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
    async with {"engine": engine, "stock": stock}[side](url, waits) as start:
        print(json.dumps(await measure(start, url, waits, steady_s)))


if __name__ == "__main__":
    on_uvloop(main())
