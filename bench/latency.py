"""An event fired -> the continuation called, at 1,000 events a second: `python -m bench.latency`.

A daemon and a Resumer, each a process, on an embedded server. First triggers that fire at once are deferred one by
one, `--defers` a second: the call of `defer` -> the event fired is the pickup. Then triggers that were waiting already
fire evenly, `--events` a second: the event fired -> the continuation called is the time that a task loses.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from bench.harness import REPOSITORY, Figures, Target, environment, parser, percentile, report
from bench.stamps import CLASSPATH, StampTrigger
from tests.support.daemon_process import DaemonProcess
from triggerd import Client
from triggerd.clock import monotonic_s
from triggerd.embedded import EmbeddedServer

LONE, STEADY = "lone", "steady"
FIRED, PICKUP = "fired -> called", "deferred -> fired"
AHEAD_S = 0.5
"""Between the last deferral and the first event due, so that every trigger waits by then."""
WITHIN_S = 60.0


def defer_one_by_one(client: Client, per_s: int, seconds: float) -> None:
    """Triggers that fire at once, evenly spread."""
    begun_s = monotonic_s()
    for number in range(int(per_s * seconds)):
        time.sleep(max(0.0, begun_s + number / per_s - monotonic_s()))
        now_s = monotonic_s()
        client.defer(StampTrigger(LONE, now_s, now_s))


def defer_ahead(client: Client, per_s: int, seconds: float) -> None:
    """Triggers that fire evenly from `AHEAD_S` after all of them stand on the queue."""
    count = int(per_s * seconds)
    now_s = monotonic_s()
    first_due_s = now_s + AHEAD_S + count / 5_000
    client.defer_many({"trigger": StampTrigger(STEADY, now_s, first_due_s + number / per_s)} for number in range(count))


def calls(told: argparse.Namespace) -> list[tuple[str, float, float, float]]:
    """Kind, and when deferred, fired and called, in seconds, of every event of one run."""
    count = int(told.defers * told.seconds) + int(told.events * told.seconds)
    with EmbeddedServer() as server, Client(server.url) as client, tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "calls"
        command = [sys.executable, "-m", "bench.stamps", server.url, str(count), str(path)]
        daemon = DaemonProcess(server.url, env={"TRIGGERD_ALLOW": CLASSPATH, "TRIGGERD_HTTP__ENABLED": "false"})
        resumer = subprocess.Popen(command, cwd=REPOSITORY, env=environment())
        try:
            with daemon:
                defer_one_by_one(client, told.defers, told.seconds)
                defer_ahead(client, told.events, told.seconds)
                resumer.wait(WITHIN_S + 2 * told.seconds)
        finally:
            resumer.kill()
            resumer.wait()
        found: list[tuple[str, float, float, float]] = [tuple(row) for row in json.loads(path.read_text())]
    return found


def measure(told: argparse.Namespace, figures: Figures) -> float:
    """One run. Answers the events a second that were really called."""
    taken_ms: dict[str, list[float]] = defaultdict(list)
    called_at_s = []
    for kind, deferred_s, fired_s, called_s in calls(told):
        if kind == LONE:
            taken_ms[PICKUP].append(1000 * (fired_s - deferred_s))
        else:
            taken_ms[FIRED].append(1000 * (called_s - fired_s))
            called_at_s.append(called_s)
    for side in (FIRED, PICKUP):
        values = taken_ms[side]
        figures.add(side, p50_ms=percentile(values, 0.5), p99_ms=percentile(values, 0.99), worst_ms=max(values))
    return (len(called_at_s) - 1) / (max(called_at_s) - min(called_at_s))


def main() -> int:
    """Measure and print."""
    options = parser("latency", __doc__)
    options.add_argument("--events", type=int, default=1_000, help="events a second")
    options.add_argument("--defers", type=int, default=100, help="lone deferrals a second")
    options.add_argument("--seconds", type=float, default=5.0, help="of each of the two")
    told = options.parse_args()
    if told.smoke:
        told.runs, told.seconds, told.events = 1, 0.3, 200
    figures = Figures()
    rates = [measure(told, figures) for _ in range(told.runs)]
    targets = [
        Target("ms from fired to called, p50", figures.median(FIRED, "p50 ms"), 2.0),
        Target("ms from fired to called, p99", figures.median(FIRED, "p99 ms"), 10.0),
    ]
    return report("latency", told, figures, targets, called_per_s=[round(rate) for rate in rates])


if __name__ == "__main__":
    sys.exit(main())
