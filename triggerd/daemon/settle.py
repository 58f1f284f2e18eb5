"""The settler brings events and checkpoints to Redis: one task, batches, each kept until Redis has answered for it."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from triggerd.clock import monotonic_s
from triggerd.daemon.consumer import Backoff, Consumer
from triggerd.errors import RedisRefusedError, RedisUnavailableError, StreamMissingError
from triggerd.keys import BATCH
from triggerd.logs import get_logger
from triggerd.metrics import Metrics
from triggerd.streams.connection import AsyncRedis
from triggerd.streams.dead_letter import Burial
from triggerd.streams.script import Call
from triggerd.streams.trigger_queue import (
    FINISHED_BY_ANOTHER,
    PUBLISHED,
    PUBLISHED_BEFORE,
    Checkpoint,
    Publication,
)

ItemT = TypeVar("ItemT", Publication, Burial, Checkpoint)

MAX_BATCH_BYTES = 1024 * 1024
"""Bytes of events in one script call: beyond that the call itself would hold the server for milliseconds."""
_TOLD_AT_ONCE = 4
_COMPLAIN_EVERY_S = 5.0
"""A server that is full refuses thousands of items one by one: one line stands for all, the metric counts them."""

log = get_logger("triggerd.settle")


class _Parcel(Generic[ItemT]):
    """An event on its way, and who waits for the answer."""

    __slots__ = ("answer", "item", "since_s", "tries")

    def __init__(self, item: ItemT, answer: asyncio.Future[bool]) -> None:
        self.item: ItemT = item
        self.answer = answer
        self.tries = 0
        self.since_s = monotonic_s()


class Settler:
    """Publishes and buries for one queue.

    There is no artificial delay: what has gathered while one script call was under way goes with the next.
    """

    def __init__(self, redis: AsyncRedis, consumer: Consumer, metrics: Metrics, *, result_ttl_s: int) -> None:
        self._redis, self._consumer, self._metrics = redis, consumer, metrics
        self._loop = asyncio.get_running_loop()  # once: looking it up costs a system call (Python 3.11)
        self._retention_ms = result_ttl_s * 1000
        self._publications: deque[_Parcel[Publication]] = deque()
        self._burials: deque[_Parcel[Burial]] = deque()
        self._checkpoints: deque[_Parcel[Checkpoint]] = deque()
        self._work = asyncio.Event()
        self._nothing_left = asyncio.Event()
        self._nothing_left.set()
        self._unsettled = self._put_off = 0
        self._backoff = Backoff()
        self._telling = asyncio.Semaphore(_TOLD_AT_ONCE)
        self._complain_s = 0.0
        self.last_answer_s = monotonic_s()
        """When Redis last answered or refused to: with a backlog, the watchdog's sign of life."""

    @property
    def backlog(self) -> int:
        """Events for which Redis has not answered yet."""
        return self._unsettled

    def publish(self, item: Publication) -> asyncio.Future[bool]:
        """Publish one event. False: refused for good, the trigger is not ours (any more) or has ended."""
        return self._settle(self._publications, item)

    def bury(self, item: Burial) -> asyncio.Future[bool]:
        """Make a dead letter of a trigger; answers as `publish`."""
        return self._settle(self._burials, item)

    def checkpoint(self, trigger_id: str, entry: str, value: bytes) -> asyncio.Future[bool]:
        """Store a checkpoint, however long Redis is away. False: the trigger is not ours (any more)."""
        # Not counted among what is unsettled: a drain waits for events, not for this.
        return self._post(self._checkpoints, Checkpoint(trigger_id, entry, value))

    async def absolve(self, trigger_id: str, entry: str) -> bool:
        """A trigger has survived its quarantine. False: it is not ours (any more)."""
        return await self._tell(self._consumer.triggers.absolve(self._consumer.name, trigger_id, entry))

    async def stopped(self, trigger_id: str, entry: str) -> bool:
        """The remote work of a trigger that timed out was stopped. False: it is not ours (any more)."""
        return await self._tell(self._consumer.triggers.stopped(self._consumer.name, trigger_id, entry))

    async def _tell(self, call: Call[bool]) -> bool:
        """A call that is seldom made, so not worth a batch; sent until Redis answers."""
        backoff = Backoff()
        while True:
            try:
                async with self._telling:
                    return await self._redis.run(call)
            except (RedisUnavailableError, RedisRefusedError) as error:
                if backoff.failures == 0:
                    log.warning("not told to Redis yet", verb=call.verb, error=str(error))
                await asyncio.sleep(backoff.next_s())

    async def flush(self) -> None:
        """Until every event has been answered for, or refused: one that Redis will not take holds up no drain."""
        await self._nothing_left.wait()

    async def run(self) -> None:
        """Send what there is, until cancelled."""
        name, triggers, dead = self._consumer.name, self._consumer.triggers, self._consumer.dead_letters
        while True:
            await self._work.wait()
            self._work.clear()
            while self._publications or self._burials or self._checkpoints:
                await self._send(self._burials, lambda items: dead.bury(name, items, self._retention_ms))
                await self._send(self._publications, lambda items: triggers.publish(name, items, self._retention_ms))
                await self._send(self._checkpoints, lambda items: triggers.checkpoint(name, items))

    def _settle(self, box: deque[_Parcel[ItemT]], item: ItemT) -> asyncio.Future[bool]:
        self._unsettled += 1
        self._nothing_left.clear()
        return self._post(box, item)

    def _post(self, box: deque[_Parcel[ItemT]], item: ItemT) -> asyncio.Future[bool]:
        answer = self._loop.create_future()
        box.append(_Parcel(item, answer))
        self._work.set()
        return answer

    async def _send(self, box: deque[_Parcel[ItemT]], call: Callable[[Sequence[ItemT]], Call[list[int | str]]]) -> None:
        """One script call with the first items of `box`."""
        batch = _take(box)
        if not batch:
            return
        try:
            answers = await self._redis.run(call([parcel.item for parcel in batch]))
        except (RedisUnavailableError, RedisRefusedError) as error:
            box.extendleft(reversed(batch))
            self._metrics.publish_retries.inc(len(batch))
            await self._trouble(error)
            return
        finally:
            self.last_answer_s = monotonic_s()
        if self._backoff.failures:
            log.info("events are published again", queue=self._consumer.queue, waiting=len(box))
            self._backoff.reset()
        for parcel, answer in zip(batch, answers, strict=True):
            if isinstance(answer, str) and not parcel.answer.done():
                self._later(box, parcel, answer)
            else:
                self._deliver(parcel, answer)
        self._put_off_more(0)

    def _deliver(self, parcel: _Parcel[ItemT], answer: int | str) -> None:
        is_event = not isinstance(parcel.item, Checkpoint)
        if is_event:
            self._unsettled -= 1
        if parcel.answer.done():
            return  # whoever waited has been cut off
        if answer == PUBLISHED and is_event:
            self._metrics.resume_latency.observe(monotonic_s() - parcel.since_s)
        accepted = answer in (PUBLISHED, PUBLISHED_BEFORE)
        just_late = not is_event and answer == FINISHED_BY_ANOTHER
        if not accepted and not just_late:
            self._consumer.bell.doubt("Redis says that a trigger which ran here is not ours")
        parcel.answer.set_result(accepted)

    def _later(self, box: deque[_Parcel[ItemT]], parcel: _Parcel[ItemT], why: str) -> None:
        """Redis refused this one item (a wrong type, no memory): keep it, and let the others pass."""
        if parcel.tries == 0 and monotonic_s() >= self._complain_s:
            self._complain_s = monotonic_s() + _COMPLAIN_EVERY_S
            what = "checkpoint" if isinstance(parcel.item, Checkpoint) else "event"
            log.error("refused by Redis, kept and sent again", what=what, trigger_id=parcel.item.id, error=why)
        pause_s = min(5.0, 0.1 * 2 ** min(parcel.tries, 10))
        parcel.tries += 1
        self._metrics.publish_retries.inc()

        counted = int(not isinstance(parcel.item, Checkpoint))
        self._put_off_more(counted)

        def again() -> None:
            self._put_off_more(-counted)
            box.append(parcel)
            self._work.set()

        self._loop.call_later(pause_s, again)

    def _put_off_more(self, events: int) -> None:
        self._put_off += events
        if self._unsettled > self._put_off:
            self._nothing_left.clear()
        else:
            self._nothing_left.set()

    async def _trouble(self, error: Exception) -> None:
        """The whole call failed: whether Redis has carried it out is unknown, and sending it again is safe."""
        self._metrics.redis_errors.labels("settle").inc()
        if self._backoff.failures == 0:
            log.warning(
                "cannot publish, events are kept", queue=self._consumer.queue, waiting=self._unsettled, error=str(error)
            )
        self._consumer.bell.doubt("publish failed")
        if isinstance(error, StreamMissingError):
            await self._consumer.make_group(self._redis)
        await asyncio.sleep(self._backoff.next_s())


def _take(box: deque[_Parcel[Any]]) -> list[_Parcel[Any]]:
    """The first parcels of `box`: at most `BATCH`, at most `MAX_BATCH_BYTES`, at least one if there is one."""
    batch: list[_Parcel[Any]] = []
    size_bytes = 0
    while box and len(batch) < BATCH:
        size_bytes += box[0].item.size_bytes
        if batch and size_bytes > MAX_BATCH_BYTES:
            break
        batch.append(box.popleft())
    return batch
