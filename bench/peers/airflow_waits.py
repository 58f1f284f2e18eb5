"""Airflow's side of `bench.waits`, run by the Python of Airflow's venv: N of the provider's triggers in one loop.

`python bench/peers/airflow_waits.py URL WAITS STEADY_S AIRFLOW_HOME`. What is started is what a triggerer starts for a
deferred RedshiftResumeClusterOperator. Prints one JSON line with the names that `bench.running_waits` uses.
"""

import asyncio
import gc
import json
import os
import sys
import time
import urllib.request
from pathlib import Path

url, waits, steady_s, home = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), sys.argv[4]
os.environ["AIRFLOW_HOME"] = home
os.environ["AIRFLOW__LOGGING__LOGGING_LEVEL"] = "ERROR"
os.environ["AIRFLOW_CONN_AWS_DEFAULT"] = json.dumps(
    {
        "conn_type": "aws",
        "login": "bench",
        "password": "bench",
        "extra": {"endpoint_url": url, "region_name": "us-east-1"},
    }
)

import uvloop  # noqa: E402
from airflow.providers.amazon.aws.triggers.redshift_cluster import (  # noqa: E402
    RedshiftResumeClusterTrigger,
)

NEVER = 10**14
WITHIN_S = 240.0


def counts() -> dict[str, dict[str, int]]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{url}/_fake/counts", timeout=10) as answer:
        found: dict[str, dict[str, int]] = json.load(answer)
    return found


def rss() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def consume(number: int, end: int) -> None:
    trigger = RedshiftResumeClusterTrigger(
        cluster_identifier=f"dwh-{number:08x}-{end:012x}", waiter_delay=30, waiter_max_attempts=1000
    )
    async for _ in trigger.run():
        return


async def main() -> dict[str, float]:
    await consume(waits, 0)  # has ended already: warms everything up
    gc.collect()
    lags: list[float] = []

    async def probe() -> None:
        while True:
            wanted = time.monotonic() + 0.01
            await asyncio.sleep(0.01)
            lags.append(1000 * max(0.0, time.monotonic() - wanted))

    probing = asyncio.create_task(probe())
    await asyncio.sleep(0.1)
    memory, spent, began = rss(), time.process_time(), time.monotonic()
    polled = sum(counts()["items"].values())
    tasks = []
    for number in range(waits):
        tasks.append(asyncio.create_task(consume(number, NEVER)))
        if number % 100 == 99:
            await asyncio.sleep(0)
    while time.monotonic() < began + WITHIN_S:
        if sum((await asyncio.to_thread(counts))["items"].values()) >= polled + waits:
            break
        await asyncio.sleep(0.1)
    found = {"with_first_poll_CPU_us": 1e6 * (time.process_time() - spent) / waits}
    found["first_polls_s"] = time.monotonic() - began
    found["starting_lag_p99_ms"] = sorted(lags)[int(len(lags) * 0.99)]
    found["starting_lag_worst_ms"] = max(lags)
    lags.clear()
    spent = time.process_time()
    await asyncio.sleep(steady_s)
    found["steady_CPU_percent"] = 100 * (time.process_time() - spent) / steady_s
    found["steady_lag_p99_ms"] = sorted(lags)[int(len(lags) * 0.99)]
    found["steady_lag_worst_ms"] = max(lags)
    found["KB_each"] = (rss() - memory) / 1024 / waits
    found["RSS_MB"] = rss() / 1024**2
    ended = [task for task in tasks if task.done()]
    if ended:
        raise RuntimeError(f"{len(ended)} of {waits} triggers have ended, as {ended[0]!r}")
    for task in [*tasks, probing]:
        task.cancel()
    await asyncio.gather(*tasks, probing, return_exceptions=True)
    return found


with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    print("\n" + json.dumps(runner.run(main())))
