"""The daemon: builds its parts from the settings, runs their loops, and drains when told to stop."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Coroutine, Iterator, Mapping
from functools import partial
from typing import Any

from triggerd import __version__
from triggerd.aws import Aws
from triggerd.clock import monotonic_s
from triggerd.daemon import containment, garbage
from triggerd.daemon.budget_part import BudgetPart
from triggerd.daemon.consumer import Consumer, end_task
from triggerd.daemon.http import HttpServer
from triggerd.daemon.quarantine import Quarantine
from triggerd.daemon.queue_service import QueueService, Shared
from triggerd.daemon.registry import Registry, announced_triggers
from triggerd.daemon.runs import Capacity, Run
from triggerd.daemon.signals import SignalHandlers
from triggerd.daemon.startup import look_at_waiters, wait_for_redis
from triggerd.daemon.systemd import Notifier
from triggerd.daemon.watchdog import Watchdog
from triggerd.errors import RedisRefusedError, RedisUnavailableError
from triggerd.logs import get_logger
from triggerd.metrics import BudgetRates, CredentialStates, Metrics
from triggerd.settings import Settings
from triggerd.streams.leases import consumer_name

log = get_logger("triggerd.daemon")


class Daemon:
    """One daemon process. Build it, `run` it once."""

    def __init__(self, settings: Settings, environ: Mapping[str, str]) -> None:
        self._settings = settings
        self._notifier = Notifier(environ)
        self._metrics = Metrics(__version__, settings.queues)
        self._capacity = Capacity(settings.capacity)
        self._quarantine = Quarantine(settings, self._metrics)
        self._services: list[QueueService] = []
        self._stop = asyncio.Event()
        self._started = self._quiet = False
        self.name = consumer_name()
        self.http = HttpServer(settings.http, self._metrics, alive=self._alive, ready=self._ready)

    def stop(self) -> None:
        """Drain and end; `run` returns."""
        self._stop.set()

    def quiet(self) -> None:
        """Take nothing new any more; what runs goes on. `stop` is still to come."""
        self._quiet = True
        for service in self._services:
            service.consumer.bell.be_quiet()

    async def run(self) -> None:
        """Serve until `stop` or SIGTERM.

        Raises:
            ConfigError: The settings do not fit this machine or this Redis.
            RuntimeError: A loop died: a bug. The lease runs out, and peers take over.
        """
        with self._signals(), containment.installed():
            async with contextlib.AsyncExitStack() as stack:
                if self._settings.http.enabled:
                    await self.http.start()
                    stack.push_async_callback(self.http.stop)
                aws = await stack.enter_async_context(Aws(self._settings.aws, self._metrics))
                stack.push_async_callback(self._quarantine.close)
                # The services last: runs end before the AWS side that they use.
                stack.push_async_callback(self._close_services)
                if await self._unless_stopped(self._prepare(aws)):
                    await self._serve()
        log.info("daemon ended", consumer=self.name)

    async def _prepare(self, aws: Aws) -> None:
        """Everything slow and cold, before anything is claimed."""
        registry = Registry(self._settings.allow, await asyncio.to_thread(announced_triggers))
        for label in registry.labels:
            self._metrics.trigger(label)
        await look_at_waiters(self._settings)
        await wait_for_redis(self._settings)
        part = BudgetPart(aws.divide)
        shared = Shared(self._settings, registry, aws, self._metrics, self._capacity, self._quarantine, part)
        self._services = [QueueService(Consumer.of(queue, self.name), shared) for queue in self._settings.queues]
        if self._quiet:  # told so before there was anybody to tell
            self.quiet()
        await asyncio.gather(*(service.prepare() for service in self._services))
        self._metrics.capacity.set(self._settings.capacity)
        self._metrics.events_unpublished.set_function(
            lambda: sum(service.settler.backlog for service in self._services)
        )
        self._metrics.waits_overdue.set_function(aws.overdue)
        self._metrics.registry.register(BudgetRates(aws.rates))
        self._metrics.registry.register(CredentialStates(aws.credentials))
        garbage.collect_rarely()

    async def _serve(self) -> None:
        """Run every loop until the daemon is told to stop; a loop that ends before is a bug, and ends the daemon."""
        watchdog = Watchdog(self._notifier, self._metrics, self._stuck, self._status, self._runs)
        watching = asyncio.create_task(watchdog.run(), name="watchdog")
        stopping = asyncio.create_task(self._stop.wait(), name="stop signal")
        collecting = asyncio.create_task(garbage.collect_garbage(self._running), name="garbage collection")
        loops = [watching, collecting, *(task for service in self._services for task in service.start())]
        try:
            self._started = True
            log.info(
                "daemon started",
                consumer=self.name,
                queues=self._settings.queues,
                capacity=self._settings.capacity,
                http=self.http.address,
            )
            self._notifier.ready(self._status())
            await asyncio.wait([stopping, *loops], return_when=asyncio.FIRST_COMPLETED)
            for loop in loops:
                if loop.done():
                    cause = None if loop.cancelled() else loop.exception()
                    raise RuntimeError(f"the loop {loop.get_name()!r} has ended") from cause
            await self._drain()
        finally:
            for task in (watching, collecting, stopping):
                await end_task(task)

    async def _drain(self) -> None:
        began_s = monotonic_s()
        limit_s = self._settings.drain_timeout_s
        self._notifier.stopping(limit_s)
        log.info("draining", runs=self._running())
        drains = [
            asyncio.create_task(self._drain_one(service), name=f"drain {service.consumer.queue}")
            for service in self._services
        ]
        _, late = await asyncio.wait(drains, timeout=limit_s)
        for task in late:
            await end_task(task)
        for service in self._services:
            if not service.handed_over:
                left, queue = service.settler.backlog, service.consumer.queue
                log.warning("not handed over in time; peers wait for the lease's end", queue=queue, unpublished=left)
            elif service.runner.runs:
                log.warning("runs did not end in time, and are cut off", runs=len(service.runner.runs))
        await self._close_services()
        log.info("drained", seconds=round(monotonic_s() - began_s, 3))

    async def _drain_one(self, service: QueueService) -> None:
        try:
            await service.drain()
        except (RedisUnavailableError, RedisRefusedError) as error:
            log.warning(
                "could not say farewell; peers take over when the lease has run out",
                queue=service.consumer.queue,
                error=str(error),
            )

    async def _close_services(self) -> None:
        services, self._services = self._services, []
        await asyncio.gather(*(service.close() for service in services))

    async def _unless_stopped(self, work: Coroutine[Any, Any, None]) -> bool:
        """Await `work`; False where the daemon was told to stop before it was done."""
        working = asyncio.create_task(work, name="start-up")
        stopping = asyncio.create_task(self._stop.wait(), name="stop signal")
        try:
            await asyncio.wait([working, stopping], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (working, stopping):
                await end_task(task)
        if working.cancelled():
            return False
        working.result()
        return True

    def _signals(self) -> SignalHandlers:
        """SIGTSTP: take nothing new. SIGTERM and SIGINT drain; the second one ends the process at once, and the
        lease's end tells the peers.
        """

        def heed(number: signal.Signals) -> None:
            if self._stop.is_set():
                os._exit(128 + number)
            log.info("signal received", signal=number.name)
            self.stop()

        ends = {number: partial(heed, number) for number in (signal.SIGTERM, signal.SIGINT)}
        return SignalHandlers({**ends, signal.SIGTSTP: self.quiet})

    def _stuck(self) -> list[str]:
        return [loop for service in self._services for loop in service.stuck()]

    def _runs(self) -> Iterator[Run]:
        return (run for service in self._services for run in service.runner.runs)

    def _running(self) -> int:
        return sum(len(service.runner.runs) for service in self._services)

    def _alive(self) -> dict[str, bool]:
        stuck = self._stuck()
        return {"loop": True, **dict.fromkeys(stuck, False)}

    def _ready(self) -> dict[str, bool]:
        return {
            "started": self._started,
            "not draining": not self._stop.is_set(),
            "not quiet": not self._is_quiet(),
            "redis": bool(self._services) and all(service.lease.up for service in self._services),
        }

    def _status(self) -> str:
        runs, most = self._running(), self._settings.capacity
        status = f"{runs:,} of {most:,} triggers run, {self._unpublished():,} events unpublished"
        return f"{status}; takes nothing new" if self._is_quiet() else status

    def _is_quiet(self) -> bool:
        return any(service.consumer.bell.quiet for service in self._services)

    def _unpublished(self) -> int:
        return sum(service.settler.backlog for service in self._services)
