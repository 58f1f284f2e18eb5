"""Where a run's events go, and what Redis answers, written into the run: the one place where `settled` becomes true."""

from collections.abc import Awaitable
from typing import Protocol

from triggerd.daemon.failures import ended_event
from triggerd.daemon.runs import Run, StopCause
from triggerd.event import EventError, Outcome
from triggerd.logs import get_logger
from triggerd.metrics import OTHER, Metrics
from triggerd.streams.dead_letter import Burial
from triggerd.streams.trigger_queue import Publication

log = get_logger("triggerd.runner")


class Outbox(Protocol):
    """Brings to Redis what a run has to say; the `Settler` is one. False: the trigger is not ours, or has ended."""

    def publish(self, item: Publication) -> Awaitable[bool]: ...

    def bury(self, item: Burial) -> Awaitable[bool]: ...

    def checkpoint(self, trigger_id: str, entry: str, value: bytes) -> Awaitable[bool]: ...

    def stopped(self, trigger_id: str, entry: str) -> Awaitable[bool]: ...

    def absolve(self, trigger_id: str, entry: str) -> Awaitable[bool]: ...


class RunOutbox:
    """An outbox as runs use it."""

    def __init__(self, outbox: Outbox, metrics: Metrics) -> None:
        self._outbox, self._metrics = outbox, metrics
        self._log = log.bind()  # as the Runner's

    async def publish(self, run: Run, outcome: Outcome, event: bytes, *, final: bool) -> bool:
        """Publish the next event of a run."""
        run.settling = True
        try:
            accepted = await self._outbox.publish(Publication(run.id, run.entry, run.seq + 1, outcome, event, final))
        finally:
            run.settling = False
        return self._settled(run, outcome, accepted=accepted, final=final)

    async def end(self, run: Run, outcome: Outcome, error: EventError) -> None:
        """Publish the final event of a trigger that did not fire."""
        await self.publish(run, outcome, ended_event(error, run.resume), final=True)

    async def bury(self, run: Run, code: str, reason: str, event: bytes) -> bool:
        """Make a dead letter of a trigger; its caller gets `event`, the final one."""
        run.settling = True
        try:
            accepted = await self._outbox.bury(Burial(run.id, run.entry, run.seq + 1, code, reason, event))
        finally:
            run.settling = False
        if accepted:
            self._metrics.buried.inc()
        return self._settled(run, "failed", accepted=accepted, final=True)

    async def checkpoint(self, run: Run, value: bytes) -> bool:
        """Store a checkpoint."""
        return await self._outbox.checkpoint(run.id, run.entry, value)

    async def stopped(self, run: Run) -> bool:
        """The remote work of an expired trigger was stopped, as far as that could be: its entry can go."""
        run.settling = True
        try:
            run.settled = await self._outbox.stopped(run.id, run.entry)
        finally:
            run.settling = False
        if not run.settled:
            run.cause = StopCause.REFUSED
        return run.settled

    async def absolve(self, run: Run) -> bool:
        """The trigger has survived its quarantine."""
        accepted = await self._outbox.absolve(run.id, run.entry)
        if not accepted:
            run.cause = StopCause.REFUSED
        return accepted

    def _settled(self, run: Run, outcome: Outcome, *, accepted: bool, final: bool) -> bool:
        """Redis has answered for an event of this run."""
        if not accepted:
            run.cause = StopCause.REFUSED
            return False
        run.seq += 1
        if final:
            run.settled = True
            metrics = run.metrics or self._metrics.trigger(OTHER)
            metrics.finished[outcome].inc()
            self._log.debug("trigger finished", trigger_id=run.id, outcome=outcome)
        return True
