"""The claimer: one task per queue that claims, adopts, audits and repairs, so that none of them runs beside another.

Claim: become the owner of new triggers, no more than there is room for; the excess stays in Redis.
Adopt: become the owner of what a dead or drained consumer has left.
Audit: after any doubt, compare what Redis says is ours with what runs; load the one, release the other.
Repair: walk through the stream for entries that were handed out once and that nobody owns.
"""

import asyncio
from collections.abc import Callable, Sequence

from triggerd.clock import monotonic_s
from triggerd.daemon.consumer import Backoff, Consumer
from triggerd.daemon.lease import LeaseKeeper
from triggerd.daemon.runner import Runner
from triggerd.daemon.runs import Run, StopCause
from triggerd.errors import RedisRefusedError, RedisUnavailableError, StreamMissingError
from triggerd.keys import BATCH
from triggerd.logs import get_logger
from triggerd.metrics import Metrics
from triggerd.streams.connection import AsyncRedis
from triggerd.streams.leases import ConsumerInfo
from triggerd.streams.trigger_queue import ClaimedTrigger

AUDIT_EVERY_S = 600.0
REPAIR_EVERY_S = 600.0
PAGE_EVERY_S = 0.1
"""Between two pages of a repair: claims are not to feel it, and 100,000 triggers are walked through in two minutes."""
SECOND_LOOK_S = 30.0
"""After a doubt one more audit follows: a server that was stopped may carry out, late, a call we had given up."""
ADOPT_EVERY_S = 1.0
"""How often the dead are looked for: well within the two seconds that an adoption may take once a lease has ended."""
_LONGEST_IDLE_S = 1.0
_LEASE_WITHIN_S = 0.02

log = get_logger("triggerd.claim")


class Waker:
    """Rings the bell when something new stands in the queue. Its blocking read owns nothing: losing it is harmless."""

    def __init__(self, redis: AsyncRedis, consumer: Consumer) -> None:
        self._redis, self._consumer = redis, consumer
        self._after: str | None = None
        self._asked = asyncio.Event()

    def ask(self, last_entry: str) -> None:
        """Ring once, when there is an entry after `last_entry`, or after a second."""
        self._after = last_entry
        self._asked.set()

    async def run(self) -> None:
        """Wait whenever asked, until cancelled."""
        backoff = Backoff()
        while True:
            await self._asked.wait()
            self._asked.clear()
            if self._after is None:
                continue
            try:
                await self._redis.run(self._consumer.triggers.wait_for_new(self._after, int(_LONGEST_IDLE_S * 1000)))
                backoff.reset()
            except (RedisUnavailableError, RedisRefusedError):
                # The claimer meets the same trouble and speaks of it.
                await asyncio.sleep(backoff.next_s())
            self._consumer.bell.ring()


class Claimer:
    """Brings triggers into the runner of one queue."""

    def __init__(
        self,
        redis: AsyncRedis,
        consumer: Consumer,
        waker: Waker,
        lease: LeaseKeeper,
        runner: Runner,
        *,
        metrics: Metrics,
    ) -> None:
        self._redis, self._consumer, self._waker, self._lease = redis, consumer, waker, lease
        self._runner, self._capacity, self._metrics = runner, runner.capacity, metrics
        self._leaving = False
        self._repair_after = ""
        self._repair_due_s = float("-inf")  # the first walk begins with the first cycle
        self._backoff = Backoff()
        self._leaseless = Backoff(_LEASE_WITHIN_S)  # a server that takes no writes gives none, maybe for hours
        self._adopt_due_s = 0.0
        self._audit_due_s = monotonic_s() + AUDIT_EVERY_S
        self.last_cycle_s = monotonic_s()
        """When the loop last came round, in vain or not: the watchdog's sign of life."""
        self._count: Callable[[int], None] | None = None
        runner.capacity.when_room(consumer.bell.ring)

    def when_counted(self, count: Callable[[int], None]) -> None:
        """Call `count` about once a second with how many daemons of this queue hold a lease."""
        self._count = count

    def leave(self) -> None:
        """Let `run` return after the call in flight has been answered."""
        self._leaving = True
        self._consumer.bell.ring()

    async def run(self) -> None:
        """Claim, adopt, audit and repair until told to `leave`."""
        while not self._leaving:
            self.last_cycle_s = monotonic_s()
            try:
                await self._audit_if_due()
                more, idle_s = False, _LONGEST_IDLE_S
                await self._adopt_if_due()
                if not self._consumer.bell.quiet:
                    more = await self._claim()
                    idle_s = await self._repair_if_due()
            except (RedisUnavailableError, RedisRefusedError) as error:
                await self._trouble(error)
                continue
            self._all_well()
            if more:
                await asyncio.sleep(0)  # let what was claimed begin to run
            else:
                await self._consumer.bell.wait(idle_s)

    async def _claim(self) -> bool:
        """One claim. True: there may be more to claim at once."""
        wanted = self._capacity.reserve(BATCH)
        if wanted == 0:
            return False
        started = 0
        try:
            claimed = await self._redis.run(self._consumer.triggers.claim(self._consumer.name, wanted))
            started = self._start(claimed.triggers, first_claim=True)
        finally:
            self._capacity.unreserve(wanted - started)
        self._metrics.claimed.inc(started)
        if not claimed.lease_held:
            self._lease.hurry()  # and once the lease is there again, its keeper asks for an audit
            await asyncio.sleep(self._leaseless.next_s())
            return False
        self._leaseless.reset()
        if started < wanted:
            self._waker.ask(claimed.last_entry)
        return started == wanted

    async def _repair_if_due(self) -> float:
        """One page of the walk through the stream; unhurried, as there is hardly ever anything to find.

        Answers for how many seconds the claimer may be idle.
        """
        if monotonic_s() < self._repair_due_s or self._capacity.free == 0:
            return PAGE_EVERY_S if self._repair_after and self._capacity.free else _LONGEST_IDLE_S
        page = await self._redis.run(self._consumer.triggers.repair(self._consumer.name, self._repair_after))
        if not page.lease_held:  # the claim before it has seen that too; the walk goes on where it was
            return _LONGEST_IDLE_S
        # Whole pages: they may take a few places more than there are, and a walk must end however few there are.
        self._capacity.take(len(page.triggers))
        self._start(page.triggers)
        if page.triggers:
            self._metrics.repaired.inc(len(page.triggers))
            log.warning("entries that nobody owned", queue=self._consumer.queue, taken=len(page.triggers))
        self._repair_after = page.last_entry
        self._repair_due_s = monotonic_s() + (PAGE_EVERY_S if self._repair_after else REPAIR_EVERY_S)
        return PAGE_EVERY_S if self._repair_after else _LONGEST_IDLE_S

    async def _adopt_if_due(self) -> None:
        peer_left = self._consumer.bell.take_peer_left()
        if not peer_left and monotonic_s() < self._adopt_due_s:
            return
        self._adopt_due_s = monotonic_s() + ADOPT_EVERY_S
        consumers = await self._redis.run(self._consumer.leases.consumers())
        if self._count is not None:
            self._count(sum(not consumer.adoptable for consumer in consumers))
        for dead in consumers:
            mine = dead.name == self._consumer.name
            if dead.adoptable and not mine and (dead.drained or self._lease.held_for_a_lease):
                await self._adopt(dead)

    async def _adopt(self, dead: ConsumerInfo) -> None:
        """Take over all that `dead` has left, as far as there is room."""
        total = 0
        while not self._leaving and not self._consumer.bell.quiet and (wanted := self._capacity.reserve(BATCH)):
            started = 0
            try:
                adopted = await self._redis.run(self._consumer.leases.adopt(self._consumer.name, dead.name, wanted))
                started = self._start(adopted.triggers)
            finally:
                self._capacity.unreserve(wanted - started)
            total += started
            self.last_cycle_s = monotonic_s()
            if adopted.status == "own_lease_lapsed":
                self._lease.hurry()
            if adopted.status != "ok":
                break
            await asyncio.sleep(0)
        if total:
            self._metrics.adopted.labels("drained" if dead.drained else "dead").inc(total)
            log.info("adopted", queue=self._consumer.queue, consumer=dead.name, triggers=total, drained=dead.drained)

    async def _audit_if_due(self) -> None:
        why = self._consumer.bell.take_doubt()
        if why is None and monotonic_s() < self._audit_due_s:
            return
        try:
            await self._audit(why or "every ten minutes")
        except (RedisUnavailableError, RedisRefusedError):
            self._consumer.bell.doubt(why or "an audit failed")
            raise
        self._audit_due_s = monotonic_s() + (AUDIT_EVERY_S if why is None else SECOND_LOOK_S)

    async def _audit(self, why: str) -> None:
        """Compare our pending entries with what runs."""
        triggers, name, runs = self._consumer.triggers, self._consumer.name, self._runner.runs
        ran_before: list[Run] = list(runs)
        ours: set[str] = set()
        loaded, page = 0, await self._redis.run(triggers.pending(name))
        while page:
            ours.update(page)
            loaded += await self._load([entry for entry in page if not runs.runs_entry(entry)])
            self.last_cycle_s = monotonic_s()
            page = await self._redis.run(triggers.pending(name, page[-1]))
        lost = [run for run in ran_before if run.entry not in ours and not run.settling and not run.over]
        for run in lost:
            run.stop(StopCause.RELEASED)
        self._metrics.audits.inc()
        if loaded or lost:
            log.warning("audit", queue=self._consumer.queue, why=why, loaded=loaded, released=len(lost))

    async def _load(self, entries: Sequence[str]) -> int:
        """Run entries that are ours and do not run yet, even beyond the capacity: nobody else will."""
        loaded = 0
        for start in range(0, len(entries), BATCH):
            call = self._consumer.triggers.load(self._consumer.name, entries[start : start + BATCH])
            triggers = await self._redis.run(call)
            self._capacity.take(len(triggers))
            loaded += self._start(triggers)
        return loaded

    def _start(self, triggers: Sequence[ClaimedTrigger], *, first_claim: bool = False) -> int:
        for trigger in triggers:
            self._runner.start(trigger, first_claim=first_claim)
        return len(triggers)

    async def _trouble(self, error: Exception) -> None:
        """A call failed: its answer may be lost, so what it did is found out by an audit."""
        self._metrics.redis_errors.labels("claim").inc()
        if self._backoff.failures == 0:
            log.warning("cannot claim", queue=self._consumer.queue, error=str(error))
        self._consumer.bell.doubt("a call failed")
        if isinstance(error, StreamMissingError):
            await self._consumer.make_group(self._redis)
        await asyncio.sleep(self._backoff.next_s())

    def _all_well(self) -> None:
        if self._backoff.failures:
            log.info("claiming again", queue=self._consumer.queue)
            self._backoff.reset()
