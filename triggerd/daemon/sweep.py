"""Two side loops of a queue: the sweep, which ends what is past its deadline, and the hints from pub/sub."""

import asyncio
import contextlib

from triggerd.clock import monotonic_s
from triggerd.daemon.consumer import Backoff, Consumer
from triggerd.daemon.runner import Runner
from triggerd.daemon.runs import StopCause
from triggerd.errors import RedisRefusedError, RedisUnavailableError
from triggerd.keys import BATCH
from triggerd.logs import get_logger
from triggerd.metrics import OTHER, Metrics
from triggerd.streams.connection import AsyncRedis

SWEEP_EVERY_S = 1.0
MEASURE_EVERY_S = 5.0

log = get_logger("triggerd.sweep")


class Sweeper:
    """Ends triggers past their deadline, whoever owns them, and measures the queue."""

    def __init__(
        self, redis: AsyncRedis, consumer: Consumer, runner: Runner, metrics: Metrics, *, result_ttl_s: int
    ) -> None:
        self._redis, self._consumer, self._runner, self._metrics = redis, consumer, runner, metrics
        self._retention_ms = result_ttl_s * 1000
        self._measure_due_s = 0.0

    async def run(self) -> None:
        """Sweep once a second until cancelled."""
        failing = False
        while True:
            try:
                await self._sweep()
                await self._measure_if_due()
                failing = False
            except (RedisUnavailableError, RedisRefusedError) as error:
                self._metrics.redis_errors.labels("sweep").inc()
                if not failing:
                    log.warning("cannot sweep deadlines", queue=self._consumer.queue, error=str(error))
                failing = True
            await asyncio.sleep(SWEEP_EVERY_S)

    async def _sweep(self) -> None:
        ended = BATCH
        while ended >= BATCH:
            call = self._consumer.triggers.expire(self._consumer.name, self._retention_ms)
            answers = await self._redis.run(call)
            ended = len(answers)
            for item in answers:
                run = self._runner.runs.by_id(item.id)
                metrics = run.metrics if run is not None else None
                (metrics or self._metrics.trigger(OTHER)).finished[item.outcome].inc()
                if item.stopping:
                    self._runner.stop_remote(item.id)
                elif run is not None:
                    run.stop(StopCause.EXPIRED)

    async def _measure_if_due(self) -> None:
        if monotonic_s() < self._measure_due_s:
            return
        self._measure_due_s = monotonic_s() + MEASURE_EVERY_S
        depth = await self._redis.run(self._consumer.triggers.depth())
        self._metrics.queue_waiting.labels(self._consumer.queue).set(depth.waiting)
        self._metrics.queue_pending.labels(self._consumer.queue).set(depth.pending)
        self._metrics.queue_dead.labels(self._consumer.queue).set(depth.dead)


class HintListener:
    """Hears what others tell on the queue's control channel. Every hint has a slower, sure way beside it."""

    def __init__(self, redis: AsyncRedis, consumer: Consumer, runner: Runner, metrics: Metrics) -> None:
        self._redis, self._consumer, self._runner, self._metrics = redis, consumer, runner, metrics

    async def run(self) -> None:
        """Listen until cancelled; subscribe anew whenever the connection breaks."""
        backoff = Backoff()
        while True:
            try:
                async with contextlib.aclosing(self._redis.hints(self._consumer.triggers.keys.control)) as hints:
                    async for hint in hints:
                        self._heed(hint)
                        backoff.reset()
            except (RedisUnavailableError, RedisRefusedError) as error:
                self._metrics.redis_errors.labels("hints").inc()
                if backoff.failures == 0:
                    log.warning("hints are cut off", queue=self._consumer.queue, error=str(error))
                self._consumer.bell.doubt("reconnected")
                await asyncio.sleep(backoff.next_s())

    def _heed(self, hint: bytes) -> None:
        verb, _, name = hint.decode(errors="replace").partition(" ")
        if verb == "drained":
            if name != self._consumer.name:
                self._consumer.bell.peer_left()
        elif verb == "cancel":
            trigger_id, _, by = name.partition("\n")
            self._runner.cancel(trigger_id, by)
        elif verb == "extended":
            trigger_id, _, deadline_ms = name.partition("\n")
            if run := self._runner.runs.by_id(trigger_id):
                with contextlib.suppress(ValueError):  # anybody may publish here
                    run.deadline_ms = int(deadline_ms)
        elif verb == "stop":
            self._runner.stop_remote(name)
        elif verb == "retired" and (run := self._runner.runs.by_id(name)):
            run.stop(StopCause.EXPIRED)
        elif verb == "quiet" and name == self._consumer.name:
            self._consumer.bell.be_quiet()
