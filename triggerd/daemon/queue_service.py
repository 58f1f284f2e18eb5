"""The parts that serve one queue, put together: started, watched, and drained as one."""

import asyncio
import contextlib
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from triggerd.clock import monotonic_s
from triggerd.daemon.budget_part import BudgetPart
from triggerd.daemon.claim import Claimer, Waker
from triggerd.daemon.consumer import Backoff, Consumer, end_task
from triggerd.daemon.lease import LeaseKeeper
from triggerd.daemon.loading import Loader
from triggerd.daemon.quarantine import Quarantine
from triggerd.daemon.registry import Registry
from triggerd.daemon.runner import Runner
from triggerd.daemon.runs import Capacity, StopCause
from triggerd.daemon.settle import Settler
from triggerd.daemon.sweep import HintListener, Sweeper
from triggerd.envelope import TriggerReader
from triggerd.errors import RedisRefusedError, RedisUnavailableError
from triggerd.logs import get_logger
from triggerd.metrics import Metrics
from triggerd.settings import Settings
from triggerd.signing import SigningKeys
from triggerd.streams.connection import BLOCK_MS, AsyncRedis
from triggerd.trigger import AwsContext

_STUCK_AFTER_S = 30.0
_LOST_CALL_TAKES = 3  # command time-outs: to connect, to be answered, and the pause after it
_STOP_RUNS_WITHIN_S = 0.5  # peers are to adopt within a second of the drain
_REMOTE_STOPS_WITHIN_S = 1.5  # more, for the calls that stop work on AWS: handed over, a peer would make them again
_STOPPED_AT_ONCE = 500
_WORK_CONNECTIONS = 8  # claim, settle, sweep, and what the settler tells beside its batches
_STOPS_REMOTE_WORK = (StopCause.CANCELLED, StopCause.STOPPING)

log = get_logger("triggerd.daemon")


@dataclass(frozen=True, slots=True)
class Shared:
    """What all queues of the daemon share."""

    settings: Settings
    registry: Registry
    aws: AwsContext
    metrics: Metrics
    capacity: Capacity
    quarantine: Quarantine
    budget_part: BudgetPart


class QueueService:
    """Serves one queue."""

    def __init__(self, consumer: Consumer, shared: Shared) -> None:
        settings, metrics = shared.settings, shared.metrics
        url, name, timeout_ms = settings.redis.url, f"triggerd-{consumer.name}", settings.redis.command_timeout_ms
        # Four kinds of connection, so that none waits for another. None retries by itself: a claim that was silently
        # sent twice would hide that the answer to the first was lost, and with it the reason to audit.
        blocking_ms = max(timeout_ms, 3 * BLOCK_MS)
        self._work = AsyncRedis(
            url, name=name, command_timeout_ms=timeout_ms, retries=0, max_connections=_WORK_CONNECTIONS
        )
        lease_redis = AsyncRedis(
            url, name=f"{name}-lease", command_timeout_ms=settings.lease_ms // 4, retries=0, max_connections=1
        )
        wake_redis = AsyncRedis(url, name=f"{name}-wake", command_timeout_ms=blocking_ms, retries=0, max_connections=1)
        hint_redis = AsyncRedis(url, name=f"{name}-hints", command_timeout_ms=blocking_ms, retries=0, max_connections=2)
        self._connections = (self._work, lease_redis, wake_redis, hint_redis)
        self.consumer = consumer
        self._lease_ms = settings.lease_ms
        self.handed_over = False
        self.settler = Settler(self._work, consumer, metrics, result_ttl_s=settings.result_ttl_s)
        keys = SigningKeys(settings.signing_keys) if settings.signing_keys else None
        reader = TriggerReader(consumer.queue, settings.max_envelope_bytes, keys)
        loader = Loader(shared.registry, shared.aws, reader.read)
        self.runner = Runner(loader, self.settler, metrics, shared.capacity, shared.quarantine)
        self.lease = LeaseKeeper(lease_redis, consumer, self.runner, metrics, lease_ms=settings.lease_ms)
        self._waker = Waker(wake_redis, consumer)
        self.claimer = Claimer(self._work, consumer, self._waker, self.lease, self.runner, metrics=metrics)
        self.claimer.when_counted(partial(shared.budget_part.count, consumer.queue))
        self._sweeper = Sweeper(self._work, consumer, self.runner, metrics, result_ttl_s=settings.result_ttl_s)
        self._hints = HintListener(hint_redis, consumer, self.runner, metrics)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        # Redis being away is no lack of progress, however long a lost call takes.
        self._stuck_after_s = max(_STUCK_AFTER_S, _LOST_CALL_TAKES * timeout_ms / 1000)

    async def prepare(self) -> None:
        """Make the stream and its group, waiting for Redis as long as it takes."""
        backoff = Backoff()
        while True:
            try:
                # The lease first: a member of the group without one is dead to its peers.
                await self._work.run(self.consumer.leases.renew(self.consumer.name, self._lease_ms))
                await self._work.run(self.consumer.triggers.prepare(self.consumer.name))
            except (RedisUnavailableError, RedisRefusedError) as error:
                if backoff.failures == 0:
                    log.warning("cannot make the queue yet", queue=self.consumer.queue, error=str(error))
                await asyncio.sleep(backoff.next_s())
            else:
                return

    def start(self) -> list[asyncio.Task[None]]:
        """Start all loops. None of them ends by itself: the daemon ends with the first that does."""
        for what, loop in self._loops():
            self._tasks[what] = asyncio.create_task(loop, name=f"{what} {self.consumer.queue}")
        return list(self._tasks.values())

    def _loops(self) -> Iterator[tuple[str, Coroutine[Any, Any, None]]]:
        yield "settle", self.settler.run()
        yield "lease", self.lease.run()
        yield "wake", self._waker.run()
        yield "hints", self._hints.run()
        yield "sweep", self._sweeper.run()
        yield "claim", self.claimer.run()

    def stuck(self) -> Iterator[str]:
        """The loops that make no progress. Redis being away is no such thing: the loops turn all the same."""
        too_old_s = monotonic_s() - self._stuck_after_s
        claim = self._tasks.get("claim")
        if claim is not None and not claim.done() and self.claimer.last_cycle_s < too_old_s:
            yield f"claim {self.consumer.queue}"
        if self.settler.backlog and self.settler.last_answer_s < too_old_s:
            yield f"settle {self.consumer.queue}"

    async def drain(self) -> None:
        """Claim no more, stop the runs, bring what has fired to Redis, and leave: peers adopt at once.

        A run that takes longer to stop than `_STOP_RUNS_WITHIN_S` is handed over all the same: what it would still
        publish is refused. Only then its end is waited for. An on_cancel() gets `_REMOTE_STOPS_WITHIN_S` more.
        """
        self.claimer.leave()
        await self._tasks["claim"]
        for number, run in enumerate(self.runner.runs, 1):
            run.stop(StopCause.DRAINED)
            if number % _STOPPED_AT_ONCE == 0:
                await asyncio.sleep(0)  # 100,000 at once would block the loop for a second
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_STOP_RUNS_WITHIN_S):
                await self.runner.runs.wait_empty()
        stops = [run.task for run in self.runner.runs if run.task is not None and run.cause in _STOPS_REMOTE_WORK]
        if stops:
            await asyncio.wait(stops, timeout=_REMOTE_STOPS_WITHIN_S)
        await self.settler.flush()
        # A renewal after the farewell would put an expiry on it.
        await self._stop("lease")
        await self._work.run(self.consumer.leases.drain(self.consumer.name))
        log.info("handed over", queue=self.consumer.queue, still_cleaning_up=len(self.runner.runs))
        self.handed_over = True
        await self.runner.runs.wait_empty()

    async def close(self) -> None:
        """End every loop, cut off every run, close every connection."""
        await self.runner.runs.abandon()
        for what in list(self._tasks):
            await self._stop(what)
        for connection in self._connections:
            await connection.close()

    async def _stop(self, what: str) -> None:
        task = self._tasks.pop(what, None)
        if task is not None:
            await end_task(task)
