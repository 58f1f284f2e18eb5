"""What one poll costs: CPU of this process, and AWS calls, per wait served; ours against stock aiobotocore.

The sides, for each protocol that AWS speaks:

    ours, single     every wait asks something of its own, and merging is off: the prepared poll
    ours, botocore   the same with ``transport = "botocore"``
    ours, merged     waits that differ in one id share calls
    ours, shared     all waits ask the same
    stock client     the call of an aiobotocore client that is kept
    stock AIOWaiter  the waiter of that client, per poll
    aiohttp POST     the bytes alone: no signature, nothing parsed

Ours are measured over some seconds in which each wait polls once a second; the stock sides work off a number of polls.
The garbage collector is set as in the daemon, for all of them.
"""

import argparse
import asyncio
import cProfile
import pstats
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import aiohttp
from aiobotocore.session import get_session
from aiobotocore.waiter import create_waiter_with_client
from botocore import xform_name
from botocore.exceptions import WaiterError
from botocore.waiter import WaiterModel

from bench.fake_aws import FakeAws, ask, settings
from bench.fake_services import NEVER_MS, SERVICES
from bench.harness import (
    Figures,
    Target,
    collect_as_the_daemon_does,
    cpu_s,
    isolate,
    on_uvloop,
    parser,
    report,
)
from triggerd.aws.local import open_aws
from triggerd.aws.waiters import ServiceModels, Waiters, new_loader
from triggerd.clock import monotonic_s
from triggerd.settings import QuotaSettings

UNLIMITED = {"*": QuotaSettings(rate_per_s=1e6, burst=1e6)}
PROTOCOLS = {"ecs": "json", "glue": "json", "redshift": "query", "ec2": "ec2", "batch": "rest-json"}
OURS: dict[str, dict[str, Any]] = {
    "ours, single": {"unmerged": ("*",)},
    "ours, botocore": {"unmerged": ("*",), "transport": "botocore"},
    "ours, merged": {},
    "ours, shared": {},
}
_IN_FLIGHT = 10  # of a stock client, whose pool has ten connections
_READY_WITHIN_S = 60.0


class Polls:
    """The poll engine's metrics, as far as they are needed here."""

    def __init__(self) -> None:
        self.calls = self.waits = 0

    def poll(self, service: str, operation: str, result: str, waits: int, seconds: float) -> None:  # noqa: ARG002
        """One AWS call ended."""
        self.calls += 1
        self.waits += waits if result == "ok" else 0

    def poll_lag(self, service: str, seconds: float) -> None:
        """Not asked here."""

    def merge_failed(self, service: str, operation: str, why: str) -> None:
        """Not asked here."""


async def ours(url: str, service: str, side: str, told: argparse.Namespace) -> dict[str, float]:
    """Poll for so many waits and seconds, after each has polled once."""
    known, polls, waits = SERVICES[service], Polls(), told.waits
    async with open_aws(settings(url, quotas=UNLIMITED, **OURS[side]), polls) as aws:
        tasks = []
        for number in range(waits):
            arguments = known.arguments(0 if side == "ours, shared" else number, waits, NEVER_MS)
            wait = aws.wait(service, known.waiter, arguments, delay=told.delay, max_attempts=10_000)
            tasks.append(asyncio.ensure_future(wait))
        end_s = monotonic_s() + _READY_WITHIN_S
        while await _served(url, side, polls) < waits:
            await asyncio.sleep(0.05)
            if monotonic_s() > end_s or any(task.done() for task in tasks):
                raise RuntimeError(f"{service}, {side}: not all have polled: {_end_of(tasks)}")
        collect_as_the_daemon_does()
        served, calls, spent_s = await _served(url, side, polls), polls.calls, cpu_s()
        with _profiled(f"{service}, {side}", told.profile):
            await asyncio.sleep(told.seconds)
        spent_s, calls, served = cpu_s() - spent_s, polls.calls - calls, await _served(url, side, polls) - served
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return {"cpu_us_per_poll": 1e6 * spent_s / served, "calls_per_poll": calls / served}


@contextmanager
def _profiled(label: str, functions: int) -> Iterator[None]:
    """Print where the CPU time of the block goes: so many functions, by their own time. 0: do not look."""
    if not functions:
        yield
        return
    profile = cProfile.Profile(time.process_time)
    with profile:
        yield
    print(f"== {label}")
    pstats.Stats(profile, stream=sys.stdout).strip_dirs().sort_stats("tottime").print_stats(functions)


async def _served(url: str, side: str, polls: Polls) -> float:
    """How many polls of waits were answered: as many as resources were in the answers, unless all ask for one."""
    if side == "ours, shared":
        return polls.waits
    counts = await asyncio.to_thread(ask, url, "counts")
    return float(sum(counts["items"].values()))


async def stock(url: str, service: str, polls: int) -> dict[str, dict[str, float]]:
    """So many polls of each stock side."""
    known = SERVICES[service]
    method = xform_name(known.operation)
    asked = [known.arguments(number, polls, NEVER_MS) for number in range(polls)]
    sent: list[Any] = []
    async with get_session().create_client(service, region_name="us-east-1", endpoint_url=url) as client:
        call = getattr(client, method)
        client.meta.events.register("before-send", lambda request, **_: sent.append(request), unique_id="keep")
        await call(**asked[0])
        client.meta.events.unregister("before-send", unique_id="keep")
        collect_as_the_daemon_does()
        found = {"stock client": await _per_poll(polls, _IN_FLIGHT, lambda number: call(**asked[number]))}
        waiter = stock_waiter(client, service)
        attempts = 10
        each = {"Delay": 0.001, "MaxAttempts": attempts}
        once = await _per_poll(
            polls // attempts, _IN_FLIGHT, lambda number: _exhausted(waiter.wait(**asked[number], WaiterConfig=each))
        )
        found["stock AIOWaiter"] = {**once, "cpu_us_per_poll": once["cpu_us_per_poll"] / attempts}
    request = sent[0]
    headers = {name: _text(value) for name, value in request.headers.items()}
    async with aiohttp.ClientSession() as session:

        async def post() -> None:
            async with session.request(request.method, request.url, data=request.body, headers=headers) as answer:
                await answer.read()

        await post()
        found["aiohttp POST"] = await _per_poll(polls, _IN_FLIGHT, lambda _: post())
    return found


def stock_waiter(client: Any, service: str) -> Any:
    """The AIOWaiter of the same definition that ours polls by."""
    definition = Waiters((), ServiceModels(new_loader())).get(service, SERVICES[service].waiter)
    model = WaiterModel({"version": 2, "waiters": {definition.name: definition.raw}})
    return create_waiter_with_client(definition.name, model, client)


async def _per_poll(count: int, in_flight: int, poll: Callable[[int], Awaitable[Any]]) -> dict[str, float]:
    numbers = iter(range(count))

    async def work() -> None:
        for number in numbers:
            await poll(number)

    spent_s = cpu_s()
    await asyncio.gather(*(work() for _ in range(in_flight)))
    return {"cpu_us_per_poll": 1e6 * (cpu_s() - spent_s) / count, "calls_per_poll": 1.0}


async def _exhausted(wait: Awaitable[Any]) -> None:
    with suppress(WaiterError):
        await wait
        raise RuntimeError("a wait on what never ends has ended")


def _end_of(tasks: list[Any]) -> str:
    return next((repr(task) for task in tasks if task.done()), "all are still waiting")


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def targets(figures: Figures, services: list[str]) -> list[Target]:
    """DESIGN section 9: the rows "CPU per unmerged poll" and "where a merge form exists"."""
    found = []
    for service in services:
        for side, unit, limit in (
            ("ours, single", "cpu us per poll", 1 / 5),
            ("ours, merged", "cpu us per poll", 1 / 10),
            ("ours, merged", "calls per poll", 1 / 50),
        ):
            ratio = figures.ratio(f"{service}, {side}", f"{service}, stock client", unit)
            found.append(Target(f"{service}: {side} / stock client, {unit}", ratio, limit))
    return found


def main() -> int:
    """Measure every side of every protocol, run after run."""
    options = parser("polls", __doc__)
    options.add_argument("--services", nargs="+", choices=PROTOCOLS, default=list(PROTOCOLS), help="these only")
    options.add_argument("--waits", type=int, default=1000, help="waits of each of our sides")
    options.add_argument("--delay", type=float, default=1.0, help="seconds between the polls of each wait")
    options.add_argument("--seconds", type=float, default=3.0, help="for which each of our sides is measured")
    options.add_argument("--polls", type=int, default=1000, help="polls of each stock side")
    options.add_argument("--profile", type=int, default=0, help="show so many functions of each of our sides")
    told = options.parse_args()
    isolate()
    if told.smoke:
        told.runs, told.services, told.waits, told.delay, told.seconds = 1, ["ecs"], 50, 0.1, 0.3
    figures = Figures()
    with FakeAws() as fake:
        for _ in range(told.runs):
            for service in told.services:
                for side in OURS:
                    fake.set(clusters=[told.waits, NEVER_MS])
                    measured = on_uvloop(ours(fake.url, service, side, told))
                    figures.add(f"{service}, {side}", **measured)
                if not told.smoke and not told.profile:
                    for side, measured in on_uvloop(stock(fake.url, service, told.polls)).items():
                        figures.add(f"{service}, {side}", **measured)
    return report("polls", told, figures, targets(figures, told.services), protocols=PROTOCOLS)


if __name__ == "__main__":
    sys.exit(main())
