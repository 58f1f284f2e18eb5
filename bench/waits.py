"""What N running AWS waits take: memory each, CPU to start, how late the event loop is, and AWS calls.

The sides, each in a fresh process of its own for each N:

    engine   `aws.wait` in one loop, without the daemon around it
    daemon   all in: a daemon, given N AwsWaiterTriggers through the queue; its lags are bounds of its own histogram
    stock    aiobotocore's waiter on one shared client, at 10,000 waits at most
    airflow  the provider's trigger, at 1,000 waits at most, where `make bench-airflow` has installed it

Every wait asks for an ECS task of its own (airflow's: for a Redshift cluster) every 30 s. "starting" lasts until each
has been answered once. What a wait takes is the growth of the process since before the first of them.
"""

import argparse
import sys
import tempfile
import time

from bench.fake_aws import FakeAws, settings
from bench.fake_services import NEVER_MS, SERVICES
from bench.harness import CACHE, Figures, Target, in_process, isolate, parser, report
from bench.metered_daemon import MeteredDaemon, Scrape
from bench.running_waits import DELAY_S, FIRST_POLLS_WITHIN_S, QUOTAS, SERVICE
from triggerd import Client
from triggerd.clock import monotonic_s
from triggerd.embedded import EmbeddedServer
from triggerd.triggers.aws import AwsWaiterTrigger

AIRFLOW = CACHE / "bench-airflow" / "bin" / "python"
MOST = {"stock": 10_000, "airflow": 1_000}
STARTED_WITHIN_S = 300.0


def daemon(fake: FakeAws, waits: int, steady_s: float) -> dict[str, float]:
    """So many waits through the queue into one daemon."""
    with EmbeddedServer() as server, Client(server.url) as client:
        aws = settings(fake.url, quotas=QUOTAS)
        with MeteredDaemon(server.url, aws=aws, env={"TRIGGERD_CAPACITY": str(waits + 1)}) as process:
            client.defer(_trigger(waits, waits, 0)).result(timeout=30)  # warms everything up
            idle, before = process.look(), process.spent()
            began_s, polled = monotonic_s(), idle.total("triggerd_poll_waits_total")
            for begin in range(0, waits, 1000):
                numbers = range(begin, min(begin + 1000, waits))
                client.defer_many([{"trigger": _trigger(number, waits, NEVER_MS)} for number in numbers])
            process.until(lambda now: now.total("triggerd_triggers_running") >= waits, STARTED_WITHIN_S)
            started = process.spent()
            answered = process.until(
                lambda now: now.total("triggerd_poll_waits_total") >= polled + waits, FIRST_POLLS_WITHIN_S
            )
            first_polls_s, polled_all = monotonic_s() - began_s, process.spent()
            time.sleep(steady_s)
            now, spent = process.look(), process.spent()
            if now.total("triggerd_triggers_running") < waits:
                raise RuntimeError(f"waits have ended: {process.log_text[-2000:]}")
    return {
        "KB_each": (spent["rss_bytes"] - before["rss_bytes"]) / 1024 / waits,
        "RSS_MB": spent["rss_bytes"] / 1024**2,
        "start_CPU_us": 1e6 * (started["cpu_s"] - before["cpu_s"]) / waits,
        "with_first_poll_CPU_us": 1e6 * (polled_all["cpu_s"] - before["cpu_s"]) / waits,
        "first_polls_s": first_polls_s,
        "steady_CPU_percent": 100 * (spent["cpu_s"] - polled_all["cpu_s"]) / steady_s,
        **_lags("starting", answered, idle), **_lags("steady", now, answered),
        "calls_per_s": (now.total("triggerd_polls_total") - answered.total("triggerd_polls_total")) / steady_s,
        "wait_polls_per_s": (
            now.total("triggerd_poll_waits_total") - answered.total("triggerd_poll_waits_total")
        ) / steady_s,
    }  # fmt: skip


def _trigger(number: int, waits: int, end_ms: int) -> AwsWaiterTrigger:
    known = SERVICES[SERVICE]
    arguments = known.arguments(number, waits, end_ms)
    return AwsWaiterTrigger(SERVICE, known.waiter, arguments, delay=DELAY_S, max_attempts=1000)


def _lags(phase: str, now: Scrape, before: Scrape) -> dict[str, float]:
    p99_ms, worst_ms = now.loop_lag_ms(before)
    return {f"{phase}_lag_p99_ms": p99_ms, f"{phase}_lag_worst_ms": worst_ms}


def side(name: str, waits: int, steady_s: float) -> dict[str, float]:
    """One side at one N, in fresh processes; a fake of its own, too, so that no state is left."""
    with FakeAws() as fake:
        if name == "daemon":
            return daemon(fake, waits, steady_s)
        if name == "airflow":
            with tempfile.TemporaryDirectory(prefix="triggerd-airflow-") as home:
                program = ["bench/peers/airflow_waits.py", fake.url, str(waits), str(steady_s), home]
                return in_process(program, python=str(AIRFLOW))
        return in_process(["-m", "bench.running_waits", name, fake.url, str(waits), str(steady_s)])


def targets(figures: Figures, most: int) -> list[Target]:
    """DESIGN section 9: memory, CPU to start, loop lag."""
    measured = figures.sides()
    found = []
    for name in ("engine", "daemon"):
        label = f"{name}, {most:,}"
        if label in measured:
            found += [
                Target(f"{label}: KB each", figures.median(label, "KB each"), 4),
                Target(f"{label}: MB in all", figures.median(label, "RSS MB"), 600),
                Target(f"{label}: ms of CPU to start one", figures.median(label, "start CPU us") / 1000, 0.15),
                Target(f"{label}: worst lag while starting, ms", figures.median(label, "starting lag worst ms"), 100),
                Target(f"{label}: p99 lag in a steady minute, ms", figures.median(label, "steady lag p99 ms"), 50),
            ]
    return found


def _told() -> argparse.Namespace:
    options = parser("waits", __doc__)
    options.add_argument("--waits", nargs="+", type=int, default=[1_000, 10_000, 100_000], help="each N")
    options.add_argument("--sides", nargs="+", choices=("engine", "daemon", "stock", "airflow"), help="these only")
    options.add_argument("--steady-s", type=float, default=60.0, help="seconds to look on once all have polled")
    told = options.parse_args()
    if told.smoke:
        told.runs, told.waits, told.steady_s = 1, [200], 0.2
    told.sides = told.sides or (["engine", "daemon"] if told.smoke else ["engine", "daemon", "stock", "airflow"])
    if not AIRFLOW.exists():
        told.sides = [name for name in told.sides if name != "airflow"]
    return told


def main() -> int:
    """Measure every side at every N, run after run."""
    told, figures = _told(), Figures()
    isolate()
    for _ in range(told.runs):
        for waits in told.waits:
            for name in told.sides:
                if waits <= MOST.get(name, waits):
                    figures.add(f"{name}, {waits:,}", **side(name, waits, told.steady_s))
    ratios = {}
    for waits in told.waits:
        for other in ("stock", "airflow"):
            for unit in ("KB each", "with first poll CPU us", "starting lag worst ms"):
                ratio = figures.ratio(f"{other}, {waits:,}", f"engine, {waits:,}", unit)
                if ratio is not None:
                    ratios[f"{other} / engine at {waits:,}, {unit}"] = round(ratio, 1)
    return report("waits", told, figures, targets(figures, max(told.waits)), ratios=ratios)


if __name__ == "__main__":
    sys.exit(main())
