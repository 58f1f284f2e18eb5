"""A deferred trigger, seen from its caller: `Handle` blocks, `AsyncHandle` is awaited."""

import asyncio
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from triggerd.clock import monotonic_s
from triggerd.deferral import deadline_ms
from triggerd.errors import RedisUnavailableError, ResultTimeoutError, UnknownTriggerError
from triggerd.event import Event, decode_event
from triggerd.signing import SigningKeys
from triggerd.streams.trigger_queue import TriggerFinished, TriggerInFlight, TriggerQueue

_verbs_of = lru_cache(maxsize=256)(TriggerQueue)  # many handles are of one queue
_FIRST_PAUSE_S, _LONGEST_PAUSE_S, _SWEEP_S = 0.005, 0.25, 1.0


@dataclass(frozen=True, slots=True)
class Caller:
    """What a client shares with its handles and its Resumer: its connection (sync or async), its name, how long it
    keeps results, and the keys that it signs with."""

    redis: Any
    name: str
    retention_ms: int
    keys: SigningKeys | None = None


class _ResultWait:
    """The course of one `result()`: when to ask again, when to sweep deadlines, when to give up."""

    def __init__(self, trigger_id: str, queue: str, timeout_s: float | None) -> None:
        self._trigger_id, self._queue, self._timeout_s = trigger_id, queue, timeout_s
        self._started_s = self._swept_s = monotonic_s()
        self._pause_s = _FIRST_PAUSE_S
        self._known = False

    def read(self, done: TriggerFinished | None) -> Event | None:
        return decode_event(done.id, done.seq, done.outcome, done.event) if done else None

    def sweep_is_due(self) -> bool:
        """At the first miss, to find out whether the id is known, then every second: somebody must sweep deadlines."""
        now_s = monotonic_s()
        if self._known and now_s - self._swept_s < _SWEEP_S:
            return False
        self._swept_s = now_s
        return True

    def check_known(self, info: TriggerInFlight | TriggerFinished | None) -> None:
        if info is None:
            raise UnknownTriggerError(self._trigger_id, self._queue)
        self._known = True

    def trouble(self, error: RedisUnavailableError) -> None:
        """Redis is away: go on where the trigger is known and there is time left, else say so."""
        out_of_time = self._timeout_s is not None and monotonic_s() - self._started_s >= self._timeout_s
        if out_of_time or not self._known:
            raise error

    def pause_s(self) -> float:
        self._pause_s = min(self._pause_s * 1.5, _LONGEST_PAUSE_S)
        if self._timeout_s is None:
            return self._pause_s
        left_s = self._started_s + self._timeout_s - monotonic_s()
        if left_s <= 0:
            raise ResultTimeoutError(self._trigger_id, self._timeout_s)
        return min(self._pause_s, left_s)


class Handle:
    """One deferred trigger, seen from its caller.

    Attributes:
        id: The trigger id.
        queue: Its queue.
        enqueued: ``new``; ``in_flight`` or ``finished`` where this id had been deferred before; "" where unknown.
    """

    def __init__(self, caller: Caller, id: str, queue: str, enqueued: str = "") -> None:  # noqa: A002
        self.id, self.queue, self.enqueued = id, queue, enqueued
        self._caller, self._verbs = caller, _verbs_of(queue)

    def status(self) -> str:
        """``queued``, ``running``, ``fired``, ``failed``, ``timed_out``, ``cancelled``, or ``unknown``."""
        return _status_of(self.info())

    def info(self) -> TriggerInFlight | TriggerFinished | None:
        """Everything Redis knows of the trigger; None: never deferred, or its result is no longer kept."""
        found: TriggerInFlight | TriggerFinished | None = self._caller.redis.run(self._verbs.show(self.id))
        return found

    def result(self, timeout: float | None = None) -> Event:
        """Wait for the final event and return it, whatever the outcome (see `Event.raise_for_status`).

        Args:
            timeout: Seconds; None waits as long as the trigger is in flight.

        Raises:
            ResultTimeoutError: It is still in flight. UnknownTriggerError: there is no such trigger.
            RedisUnavailableError: At the first question, or when the time is over; in between it is waited through.
        """
        wait = _ResultWait(self.id, self.queue, timeout)
        while True:
            try:
                event = wait.read(self._caller.redis.run(self._verbs.done(self.id)))
                if event is not None:
                    return event
                if wait.sweep_is_due():
                    self._caller.redis.run(self._verbs.expire(self._caller.name, self._caller.retention_ms))
                    wait.check_known(self.info())
            except RedisUnavailableError as error:
                wait.trouble(error)
            time.sleep(wait.pause_s())

    def cancel(self, by: str | None = None) -> str:
        """Ask for the end of the trigger: ``cancelled`` at once, ``requested`` from its daemon, or ``finished`` before.

        A running `AwsWaiterTrigger` stops the work on AWS first, unless it has `cancel_call=False`.

        Raises:
            UnknownTriggerError: There is no such trigger.
        """
        call = self._verbs.cancel(self.id, by or self._caller.name, self._caller.retention_ms)
        return _cancel_answer(self.id, self.queue, self._caller.redis.run(call))

    def extend(self, deadline: datetime | timedelta | float) -> bool:
        """Move the deadline to an instant (aware datetime, epoch seconds) or to a duration from now (timedelta).

        Returns False where the trigger has finished. Raises UnknownTriggerError where there is none.
        """
        return _extend_answer(
            self.id, self.queue, self._caller.redis.run(self._verbs.extend(self.id, deadline_ms(deadline)))
        )

    def __repr__(self) -> str:
        return f"<Handle of trigger {self.id!r} on queue {self.queue!r}>"


class AsyncHandle:
    """`Handle` for an event loop."""

    def __init__(self, caller: Caller, id: str, queue: str, enqueued: str = "") -> None:  # noqa: A002
        self.id, self.queue, self.enqueued = id, queue, enqueued
        self._caller, self._verbs = caller, _verbs_of(queue)

    async def status(self) -> str:
        """As `Handle.status`."""
        return _status_of(await self.info())

    async def info(self) -> TriggerInFlight | TriggerFinished | None:
        """As `Handle.info`."""
        found: TriggerInFlight | TriggerFinished | None = await self._caller.redis.run(self._verbs.show(self.id))
        return found

    async def result(self, timeout: float | None = None) -> Event:
        """As `Handle.result`."""
        wait = _ResultWait(self.id, self.queue, timeout)
        while True:
            try:
                event = wait.read(await self._caller.redis.run(self._verbs.done(self.id)))
                if event is not None:
                    return event
                if wait.sweep_is_due():
                    await self._caller.redis.run(self._verbs.expire(self._caller.name, self._caller.retention_ms))
                    wait.check_known(await self.info())
            except RedisUnavailableError as error:
                wait.trouble(error)
            await asyncio.sleep(wait.pause_s())

    async def cancel(self, by: str | None = None) -> str:
        """As `Handle.cancel`."""
        call = self._verbs.cancel(self.id, by or self._caller.name, self._caller.retention_ms)
        return _cancel_answer(self.id, self.queue, await self._caller.redis.run(call))

    async def extend(self, deadline: datetime | timedelta | float) -> bool:
        """As `Handle.extend`."""
        return _extend_answer(
            self.id, self.queue, await self._caller.redis.run(self._verbs.extend(self.id, deadline_ms(deadline)))
        )

    def __repr__(self) -> str:
        return f"<AsyncHandle of trigger {self.id!r} on queue {self.queue!r}>"


def _status_of(info: TriggerInFlight | TriggerFinished | None) -> str:
    match info:
        case TriggerFinished():
            return info.outcome
        case TriggerInFlight():
            return "running" if info.owner else "queued"
    return "unknown"


def _cancel_answer(trigger_id: str, queue: str, code: int) -> str:
    if code == -2:
        raise UnknownTriggerError(trigger_id, queue)
    return {1: "cancelled", 2: "requested", -1: "finished"}[code]


def _extend_answer(trigger_id: str, queue: str, code: int) -> bool:
    if code == -2:
        raise UnknownTriggerError(trigger_id, queue)
    return code == 1
