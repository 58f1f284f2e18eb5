"""taskiq-redis's side of `bench.throughput`, run by the Python of its own venv; prints what `arq_jobs` prints.

The broker on a Redis stream, which acknowledges as a trigger queue does, with results kept in Redis.
"""

import asyncio
import json
import os
import sys
import time
from importlib.metadata import version
from typing import Any

import uvloop
from taskiq import TaskiqMiddleware  # type: ignore[import-not-found]
from taskiq.api import run_receiver_task  # type: ignore[import-not-found]
from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker  # type: ignore[import-not-found]

AT_ONCE = 100
"""Jobs that run at once, and that are read from the stream at once: taskiq's defaults."""
STALLED_S = 5.0
"""Should a job never end, the rate is that of those which have."""


async def noop(payload: int) -> int:
    """The job."""
    return payload


class Watch(TaskiqMiddleware):  # type: ignore[misc]
    """When the first job began and how many results are stored."""

    def __init__(self) -> None:
        super().__init__()
        self.ended = 0
        self.first_s = self.first_cpu_s = self.wall_s = self.cpu_s = 0.0

    def pre_execute(self, message: Any) -> Any:
        """A job begins."""
        if not self.first_s:
            self.first_s, self.first_cpu_s = time.perf_counter(), time.process_time()
        return message

    def post_save(self, _message: Any, _result: Any) -> None:
        """A result was stored."""
        self.ended += 1
        self.wall_s, self.cpu_s = time.perf_counter() - self.first_s, time.process_time() - self.first_cpu_s

    async def all_ended(self, jobs: int) -> None:
        """Return once all jobs have ended, or once none has for `STALLED_S`."""
        ended, since_s = 0, time.perf_counter()
        while self.ended < jobs and time.perf_counter() - since_s < STALLED_S:
            await asyncio.sleep(0.01)
            if self.ended > ended:
                ended, since_s = self.ended, time.perf_counter()


async def main(url: str, jobs: int) -> None:
    """Enqueue `jobs`, then work them off."""
    watch = Watch()
    results = RedisAsyncResultBackend(url, result_ex_time=3600)
    broker = RedisStreamBroker(url, consumer_id="0").with_result_backend(results).with_middlewares(watch)
    task = broker.register_task(noop, "noop")
    await broker.startup()
    started_s = time.perf_counter()
    for first in range(0, jobs, AT_ONCE):
        await asyncio.gather(*(task.kiq(n) for n in range(first, min(first + AT_ONCE, jobs))))
    enqueue_s = time.perf_counter() - started_s
    receiver = asyncio.create_task(run_receiver_task(broker, max_async_tasks=AT_ONCE))
    await watch.all_ended(jobs)
    figures = {"enqueue_s": enqueue_s, "wall_s": watch.wall_s, "cpu_s": watch.cpu_s}
    found = {"jobs": watch.ended, **figures, "version": version("taskiq-redis"), "redis": version("redis")}
    print(json.dumps(found), flush=True)
    receiver.cancel()
    os._exit(0)  # an orderly end is not measured, so nothing may hang in it


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2])))
