"""The runner drives one claimed trigger to its outcome: load, drive, publish, clean up.

Whatever the trigger does (raise, return nothing, yield nonsense) becomes the `failed` event of that one trigger.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from triggerd.clock import wall_ms
from triggerd.daemon import containment
from triggerd.daemon.context import RunContext
from triggerd.daemon.failures import described, ended_event
from triggerd.daemon.registry import Registry, build
from triggerd.daemon.runs import Capacity, Run, RunTable, StopCause
from triggerd.envelope import decode_trigger
from triggerd.errors import (
    EnvelopeError,
    EnvelopeTooLargeError,
    LoadError,
    NotATriggerError,
    TriggerdError,
    message_of,
)
from triggerd.event import EventError, Outcome, encode_event
from triggerd.logs import bind_run, get_logger
from triggerd.metrics import OTHER, Metrics
from triggerd.streams.dead_letter import Burial
from triggerd.streams.trigger_queue import ClaimedTrigger, Publication
from triggerd.trigger import AwsContext, BaseTrigger

CLEAN_UP_WITHIN_S = 10.0
"""For what a trigger does after its last event, and for its cleanup()."""
ON_CANCEL_WITHIN_S = 30.0
"""For on_cancel(): several AWS calls; less than the 60 s after which a sweep ends the trigger without its daemon."""

_END = object()

log = get_logger("triggerd.runner")


class Outbox(Protocol):
    """Where a run's events go; the `Settler` is one."""

    async def publish(self, item: Publication) -> bool: ...

    async def bury(self, item: Burial) -> bool: ...

    async def checkpoint(self, trigger_id: str, entry: str, value: bytes) -> bool: ...


class Runner:
    """Runs the triggers of one queue. `runs` is what it runs now, `capacity` the room for more."""

    def __init__(
        self,
        registry: Registry,
        outbox: Outbox,
        aws: AwsContext,
        metrics: Metrics,
        capacity: Capacity,
        *,
        max_envelope_bytes: int,
    ) -> None:
        self._registry, self._outbox, self._aws = registry, outbox, aws
        self._metrics, self.capacity = metrics, capacity
        self._max_envelope_bytes = max_envelope_bytes
        self.runs = RunTable()

    def start(self, claimed: ClaimedTrigger, *, first_claim: bool = False) -> None:
        """Run a trigger that has just become ours. Its place in the capacity is reserved already."""
        running = self.runs.by_entry(claimed.entry)
        if running is not None:
            if running.over and not running.settled and running.successor is None:
                running.successor = claimed  # released, and ours again before it has ended: it begins anew then
            else:
                self.capacity.give_back(1)
            return
        run = Run(claimed)
        self.runs.add(run)
        if first_claim:
            self._metrics.pickup_latency.observe(max(0, wall_ms() - claimed.deferred_ms) / 1000)
        run.task = asyncio.create_task(self._run(run, claimed), name=f"trigger {run.id}")

    def cancel(self, trigger_id: str, by: str) -> None:
        """The user's explicit cancel, if that trigger runs here."""
        if run := self.runs.by_id(trigger_id):
            run.cancelled_by = run.cancelled_by or by
            run.stop(StopCause.CANCELLED)

    async def _run(self, run: Run, claimed: ClaimedTrigger) -> None:
        try:
            trigger = await self._load(run, claimed)
            del claimed  # the envelope is not needed any more, and a wait may last for days
            if trigger is not None:
                await self._attend(run, trigger)
        except BaseException as error:  # whatever a trigger's code can raise, its caller must hear
            if isinstance(error, asyncio.CancelledError) and _task().cancelling():
                raise  # the process ends
            await self._broken(run, error)
        finally:
            containment.leave(run, self._metrics)
            self._forget(run)

    async def _broken(self, run: Run, error: BaseException) -> None:
        """Something went wrong outside of run(): in the constructor, in a property, or in this very code."""
        log.error("a run broke", trigger_id=run.id, error=message_of(error), exc_info=error)
        if not run.over:
            await self._end(run, "failed", described(error))

    async def _load(self, run: Run, claimed: ClaimedTrigger) -> Any | None:
        """The trigger, ready to run; None where it cannot be had: then it was buried and its caller told."""
        try:
            if len(claimed.env) > self._max_envelope_bytes:
                raise EnvelopeTooLargeError("the envelope", len(claimed.env), self._max_envelope_bytes)
            envelope = decode_trigger(claimed.env)
            run.resume = envelope.resume
            run.classpath = envelope.classpath
            bind_run(run.id, envelope.classpath)
            containment.enter(run)
            found = self._registry.known(envelope.classpath) or await self._registry.load(envelope.classpath)
            run.metrics = self._metrics.trigger(found.label)
            run.metrics.running.inc()
            trigger = build(found, envelope.kwargs())
            _give_context(trigger, RunContext(run, self._aws, claimed.checkpoint, self._checkpoint))
        except (EnvelopeError, LoadError) as error:
            await self._bury(run, error)
            return None
        return trigger

    async def _attend(self, run: Run, trigger: Any) -> None:
        """From a trigger that is ready to one that has ended and cleaned up."""
        log.debug("trigger runs", trigger_id=run.id)
        try:
            if run.cause is None:
                await self._drive(run, trigger)
            if run.cause is StopCause.CANCELLED and not run.settled:
                await self._cancel(run, trigger)
        finally:
            cleanup = getattr(type(trigger), "cleanup", None)
            if cleanup is not None and cleanup is not BaseTrigger.cleanup:
                await self._bounded(trigger.cleanup, CLEAN_UP_WITHIN_S, "cleanup()")

    async def _drive(self, run: Run, trigger: Any) -> None:
        """Take event after event, each published before the generator goes on."""
        events: Any = None
        try:
            multi_event = bool(getattr(trigger, "multi_event", False))
            events = _open(trigger)
            while not run.over:
                fired = await self._next(run, events)
                if run.cause is not None:
                    break  # stopped, whether the trigger obeyed or caught it and yielded all the same
                await self._fire(run, fired, multi_event=multi_event)
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError):
                raise
            if not run.over:  # the trigger's failure, not ours
                await self._fail(run, error)
        finally:
            if events is not None:
                await self._close(run, events)

    async def _next(self, run: Run, events: Any) -> Any:
        """The next event, or `_END`. The only place where `Run.stop` may cancel the task."""
        run.interruptible = True
        try:
            return await events.__anext__()
        except StopAsyncIteration:
            return _END
        except asyncio.CancelledError:
            if run.cause is None:
                if _task().cancelling():
                    raise  # the process ends
                raise TriggerdError("run() raised CancelledError, and nobody had cancelled it") from None
            return _END
        finally:
            run.interruptible = False
            while run.cause is not None and _task().cancelling():
                _task().uncancel()

    async def _fire(self, run: Run, fired: Any, *, multi_event: bool) -> None:
        """Publish what run() yielded, or of a multi_event trigger that it has ended."""
        payload, details = None, None
        if fired is _END:
            if not multi_event:
                raise TriggerdError("run() ended without yielding an event")
        elif hasattr(fired, "payload"):
            payload, details = fired.payload, getattr(fired, "details", None)
        else:
            raise TriggerdError(f"run() yielded a {type(fired).__name__}, a TriggerEvent is expected")
        final = fired is _END or not multi_event
        event = encode_event(payload, resume=run.resume, details=details, fired_ms=wall_ms(), final=final)
        await self._publish(run, "fired", event, final=final)

    async def _fail(self, run: Run, error: BaseException) -> None:
        log.warning("trigger failed", trigger_id=run.id, error=message_of(error), exc_info=error)
        await self._end(run, "failed", described(error))

    async def _cancel(self, run: Run, trigger: Any) -> None:
        """Carry out the user's cancel: stop the remote work, then tell the caller."""
        message = f"cancelled by {run.cancelled_by}" if run.cancelled_by else "cancelled"
        on_cancel = getattr(type(trigger), "on_cancel", None)
        if on_cancel is not None and on_cancel is not BaseTrigger.on_cancel:
            problem = await self._bounded(trigger.on_cancel, ON_CANCEL_WITHIN_S, "on_cancel()")
            message += f"; {problem}, the remote work may go on" if problem else ""
        log.info("trigger cancelled", trigger_id=run.id, how=message)
        await self._end(run, "cancelled", EventError("cancelled", message))

    async def _end(self, run: Run, outcome: Outcome, error: EventError) -> None:
        """Publish the final event of a trigger that did not fire."""
        await self._publish(run, outcome, ended_event(error, run.resume), final=True)

    async def _publish(self, run: Run, outcome: Outcome, event: bytes, *, final: bool) -> None:
        run.settling = True
        try:
            accepted = await self._outbox.publish(Publication(run.id, run.entry, run.seq + 1, outcome, event, final))
        finally:
            run.settling = False
        self._settled(run, outcome, accepted=accepted, final=final)

    async def _bury(self, run: Run, error: EnvelopeError | LoadError) -> None:
        log.warning("trigger cannot be run, buried", trigger_id=run.id, code=error.code, error=message_of(error))
        run.settling = True
        failure = described(error)
        try:
            accepted = await self._outbox.bury(
                Burial(run.id, run.entry, run.seq + 1, error.code, failure.message, ended_event(failure, run.resume))
            )
        finally:
            run.settling = False
        if accepted:
            self._metrics.buried.inc()
        self._settled(run, "failed", accepted=accepted, final=True)

    def _settled(self, run: Run, outcome: Outcome, *, accepted: bool, final: bool) -> None:
        """Redis has answered for an event of this run."""
        if not accepted:
            run.cause = StopCause.REFUSED
            return
        run.seq += 1
        if final:
            run.settled = True
            metrics = run.metrics or self._metrics.trigger(OTHER)
            metrics.finished[outcome].inc()
            log.debug("trigger finished", trigger_id=run.id, outcome=outcome)

    async def _checkpoint(self, run: Run, value: bytes) -> None:
        if not await self._outbox.checkpoint(run.id, run.entry, value):
            run.stop(StopCause.RELEASED)
            await asyncio.sleep(0)  # where the stop takes effect

    async def _close(self, run: Run, events: Any) -> None:
        """Let a generator whose event was published go on to its end; close any other."""
        if getattr(events, "ag_frame", events) is None:
            return
        if run.settled:
            await self._bounded(lambda: _finish(events), CLEAN_UP_WITHIN_S, "run() after its event")
        if getattr(events, "ag_frame", events) is not None and hasattr(events, "aclose"):
            await self._bounded(events.aclose, CLEAN_UP_WITHIN_S, "closing run()")

    async def _bounded(self, step: Callable[[], Awaitable[object]], limit_s: float, what: str) -> str | None:
        """Await a step of the trigger whose failure changes no outcome. Answers what went wrong, if anything."""
        try:
            async with asyncio.timeout(limit_s):
                await step()
        except asyncio.CancelledError:
            if _task().cancelling():
                raise
            problem = f"{what} raised CancelledError"
        except TimeoutError:
            self._metrics.overran.inc()
            problem = f"{what} took longer than {limit_s:g} s"
        except BaseException as error:  # noqa: BLE001 - as in `_drive`
            problem = f"{what} failed: {message_of(error)}"
        else:
            return None
        log.warning("a trigger's step failed", what=problem)
        return problem

    def _forget(self, run: Run) -> None:
        self.runs.remove(run)
        if run.successor is not None and not run.settled:
            self.start(run.successor)
        elif run.successor is not None:
            self.capacity.give_back(1)
        self.capacity.give_back(1)
        if run.metrics is not None:
            run.metrics.running.dec()
        if not run.settled and run.cause is not None:
            self._metrics.released.labels(run.cause.value).inc()
            log.debug("run released", trigger_id=run.id, cause=run.cause.value)


def _task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - only ever called from a run's own task
    return task


def _open(trigger: Any) -> Any:
    """The generator of the trigger."""
    events = trigger.run()
    if hasattr(events, "__anext__"):
        return events
    if asyncio.iscoroutine(events):
        events.close()  # never awaited, and must not complain about that later
    raise TriggerdError("run() must be an async generator: `async def` with `yield`")


async def _finish(events: Any) -> None:
    """The code of run() after its last yield."""
    async for _ in events:
        log.warning("an event after the final one is ignored (multi_event is False)")
        return


def _give_context(trigger: Any, context: RunContext) -> None:
    try:
        trigger.context = context
    except Exception as error:
        classpath = f"{type(trigger).__module__}.{type(trigger).__qualname__}"
        raise NotATriggerError(classpath, f"it has no place for its context: {message_of(error)}") from error
