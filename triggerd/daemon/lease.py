"""The lease keeper: says every third of the lease that this daemon lives, however many triggers it runs.

What every renewal answers, it hands on: cancels, remote work to stop after a time-out, and the wish to be quiet. The
hints of pub/sub say the same sooner; this is the way on which nothing is lost.
"""

import asyncio

from triggerd.clock import monotonic_s
from triggerd.daemon.consumer import Consumer
from triggerd.daemon.runner import Runner
from triggerd.errors import RedisRefusedError, RedisUnavailableError
from triggerd.logs import get_logger
from triggerd.metrics import Metrics
from triggerd.streams.connection import AsyncRedis

log = get_logger("triggerd.lease")

_RETRY_S = 0.25


class LeaseKeeper:
    """Keeps the lease of one queue's consumer.

    Its connection has no hidden retries and a time-out of a quarter of the lease: a renewal that hangs in retries
    is a lease lost unnoticed.
    """

    def __init__(
        self, redis: AsyncRedis, consumer: Consumer, runner: Runner, metrics: Metrics, *, lease_ms: int
    ) -> None:
        self._redis, self._consumer, self._runner, self._metrics = redis, consumer, runner, metrics
        self._lease_ms = lease_ms
        self._held_since_s: float | None = None
        self._renewed_s = 0.0
        self._hurry = asyncio.Event()
        self._up: bool | None = None

    @property
    def up(self) -> bool:
        """Whether Redis answered the last renewal."""
        return bool(self._up)

    @property
    def held_for_a_lease(self) -> bool:
        """Whether the lease has been held without a gap for its whole length.

        Only then are the dead adopted: after an outage every lease is gone, and each daemon first gets its own back.
        """
        since_s = self._held_since_s
        return since_s is not None and monotonic_s() - since_s >= self._lease_ms / 1000

    def hurry(self) -> None:
        """Renew now: a claim was refused because the lease is gone."""
        self._hurry.set()

    async def run(self) -> None:
        """Renew until cancelled. Must end before the drain: renewing would put an expiry on the farewell."""
        every_s = self._lease_ms / 3000
        while True:
            pause_s = every_s if await self._renew() else min(every_s, _RETRY_S)
            try:
                async with asyncio.timeout(pause_s):
                    await self._hurry.wait()
            except TimeoutError:
                pass
            self._hurry.clear()

    async def _renew(self) -> bool:
        try:
            call = self._consumer.leases.renew(self._consumer.name, self._lease_ms, quiet=self._consumer.bell.quiet)
            renewal = await self._redis.run(call)
        except (RedisUnavailableError, RedisRefusedError) as error:
            self._failed(error)
            return False
        now_s = monotonic_s()
        # The time between two answers counts too: a lease can have lapsed and been renewed by a retried request.
        gap = renewal.lapsed or now_s - self._renewed_s > self._lease_ms / 1000
        self._renewed_s = now_s
        if self._held_since_s is None or gap:
            self._taken_anew(now_s)
        self._answered()
        for trigger_id, by in renewal.cancels:
            self._runner.cancel(trigger_id, by)
        for trigger_id in renewal.stops:
            self._runner.stop_remote(trigger_id)
        if renewal.quiet:
            self._consumer.bell.be_quiet()
        return True

    def _taken_anew(self, now_s: float) -> None:
        if self._held_since_s is not None:
            self._metrics.lease_lapses.inc()
            log.warning("lease lapsed and taken anew", queue=self._consumer.queue)
        self._held_since_s = now_s
        self._consumer.bell.doubt("lease taken anew")

    def _answered(self) -> None:
        if self._up is False:
            log.info("Redis answers again", queue=self._consumer.queue)
            self._consumer.bell.doubt("Redis was away")
        self._up = True
        self._metrics.redis_up.set(1)

    def _failed(self, error: Exception) -> None:
        self._metrics.redis_errors.labels("lease").inc()
        self._metrics.redis_up.set(0)
        if self._up is not False:
            log.warning("lease not renewed", queue=self._consumer.queue, error=str(error))
        self._up = False
