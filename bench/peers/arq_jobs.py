"""arq's side of `bench.throughput`, run by the Python of its own venv: enqueue no-op jobs, then work them off.

Prints one JSON line: jobs, enqueue_s, and from the first job begun to the last result stored wall_s and cpu_s.
"""

import asyncio
import json
import sys
import time
from importlib.metadata import version
from typing import Any

import uvloop
from arq.connections import RedisSettings, create_pool  # type: ignore[import-not-found]
from arq.worker import Worker  # type: ignore[import-not-found]

AT_ONCE = 100
"""Jobs that run at once; arq's default of 10 is slower."""


async def noop(_: dict[str, Any], payload: object) -> object:
    """The job."""
    return payload


class Watch:
    """When the first job began and how many have ended."""

    def __init__(self) -> None:
        self.first_s = self.first_cpu_s = self.wall_s = self.cpu_s = 0.0
        self.ended = 0

    async def started(self, _: dict[str, Any]) -> None:
        if not self.first_s:
            self.first_s, self.first_cpu_s = time.perf_counter(), time.process_time()

    async def stored(self, _: dict[str, Any]) -> None:
        self.ended += 1
        self.wall_s, self.cpu_s = time.perf_counter() - self.first_s, time.process_time() - self.first_cpu_s


async def main(url: str, jobs: int) -> None:
    """Enqueue `jobs`, then work them off."""
    redis = await create_pool(RedisSettings.from_dsn(url))
    started_s = time.perf_counter()
    for first in range(0, jobs, AT_ONCE):
        await asyncio.gather(*(redis.enqueue_job("noop", n) for n in range(first, min(first + AT_ONCE, jobs))))
    enqueue_s = time.perf_counter() - started_s
    watch = Watch()
    worker = Worker(
        [noop], redis_pool=redis, burst=True, max_jobs=AT_ONCE, poll_delay=0.01, handle_signals=False,
        on_job_start=watch.started, after_job_end=watch.stored,
    )  # fmt: skip
    await worker.async_run()
    await worker.close()
    figures = {"enqueue_s": enqueue_s, "wall_s": watch.wall_s, "cpu_s": watch.cpu_s}
    print(json.dumps({"jobs": watch.ended, **figures, "version": version("arq"), "redis": version("redis")}))


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2])))
