"""The runner drives one claimed trigger to its outcome: load, drive, publish, clean up.

Whatever the trigger does (raise, return nothing, yield nonsense) becomes the `failed` event of that one trigger.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from triggerd.clock import wall_ms
from triggerd.daemon import containment
from triggerd.daemon.context import RunContext
from triggerd.daemon.failures import described, ended_event
from triggerd.daemon.limit import Limit
from triggerd.daemon.loading import Loader
from triggerd.daemon.outbox import Outbox, RunOutbox
from triggerd.daemon.quarantine import Quarantine
from triggerd.daemon.quarantine_suspect import Suspect
from triggerd.daemon.runs import ABANDON_AFTER_S, Capacity, Run, RunTable, StopCause
from triggerd.daemon.shape import encode_end, encode_fired, finish, is_multi_event, may_go_on, open_events, own_method
from triggerd.errors import EnvelopeError, LoadError, PoisonError, TriggerdError, message_of
from triggerd.event import EventError
from triggerd.logs import get_logger
from triggerd.metrics import OTHER, Metrics
from triggerd.streams.trigger_queue import ClaimedTrigger

CLEAN_UP_WITHIN_S = 10.0
"""For what a trigger does after its last event, and for its cleanup()."""
ON_CANCEL_WITHIN_S = 30.0
"""For on_cancel(): several AWS calls; less than the 60 s after which a sweep ends the trigger without its daemon."""

_ON_CANCEL = "on_cancel()"
_TASK_NAME = "trigger run"  # of which trigger, its run knows: 100,000 names are 10 MB
_NOT_OURS = (StopCause.EXPIRED, StopCause.STOPPING, StopCause.RELEASED, StopCause.REFUSED)

log = get_logger("triggerd.runner")


class _AbandonedError(BaseException):
    """Raised in the task of an abandoned run when the trigger's code comes back at last: the run goes on elsewhere."""


class Runner:
    """Runs the triggers of one queue. `runs` is what it runs now, `capacity` the room for more."""

    def __init__(
        self,
        loader: Loader,
        outbox: Outbox,
        metrics: Metrics,
        capacity: Capacity,
        quarantine: Quarantine | None = None,
    ) -> None:
        """
        Args:
            quarantine: Where triggers are tried whose owners have died too often. None: they run like any other.
        """
        self._quarantine = quarantine
        self._loader, self._outbox = loader, RunOutbox(outbox, metrics)
        self._metrics, self.capacity = metrics, capacity
        self._on_deaf, self._store = self._abandon, self._checkpoint  # one of each for all runs
        self._loop: asyncio.AbstractEventLoop | None = None  # looked up once: it costs a system call (Python 3.11)
        self._log = log.bind()  # for every single run: a logger that is already made
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
        run = Run(claimed, self._on_deaf)
        self.runs.add(run)
        if first_claim:
            self._metrics.pickup_latency.observe(max(0, wall_ms() - claimed.deferred_ms) / 1000)
        self._drive_from(run, claimed)

    def cancel(self, trigger_id: str, by: str) -> None:
        """The user's explicit cancel, if that trigger runs here."""
        if run := self.runs.by_id(trigger_id):
            run.cancelled_by = run.cancelled_by or by
            run.stop(StopCause.CANCELLED)

    def stop_remote(self, trigger_id: str) -> None:
        """A trigger has timed out in Redis, and its caller wants its remote work stopped, if it runs here."""
        if run := self.runs.by_id(trigger_id):
            if run.cause is StopCause.EXPIRED and not run.settled:
                run.cause = StopCause.STOPPING  # a hint was faster, and said only half
            run.stop(StopCause.STOPPING)

    def _drive_from(self, run: Run, claimed: ClaimedTrigger | None, deaf: str = "") -> None:
        """Give a run its task, a plain one whatever trigger's code may be the current one."""
        loop = self._loop = self._loop or asyncio.get_running_loop()
        run.task = asyncio.Task(self._run(run, claimed, deaf), loop=loop, name=_TASK_NAME)

    async def _run(self, run: Run, claimed: ClaimedTrigger | None, deaf: str = "") -> None:
        """A run's task: a trigger from its claim on, or what is left to do without the step that is `deaf`.

        Whatever a trigger's code can raise, its caller hears, and its place becomes free. Nothing but this frame stands
        while a trigger waits, a hundred thousand times over: what comes before and after has its own.
        """
        try:
            if claimed is None:
                containment.enter(run)
                await self._carry_out(run, deaf)
            elif await self._begin(run, claimed):
                del claimed  # the envelope is not needed any more, and a wait may last for days
                try:
                    while not run.over:
                        await self._fired(run, await self._next(run))
                except BaseException as error:  # noqa: BLE001 - it is raised anew where it is the process's end
                    await self._wind_up(run, error)
                else:
                    await self._wind_up(run)
        except BaseException as error:  # noqa: BLE001 - as there
            await self._broken(run, error)
        finally:
            if run.in_this_task:
                self._forget(run)

    async def _broken(self, run: Run, error: BaseException) -> None:
        """Something went wrong outside of run(): in the constructor, in a property, or in this very code."""
        if isinstance(error, asyncio.CancelledError) and self.runs.cuts_off(run):
            raise error
        if isinstance(error, _AbandonedError) or not run.in_this_task:
            return
        log.error("a run broke", trigger_id=run.id, error=message_of(error), exc_info=error)
        if not run.over:
            await self._outbox.end(run, "failed", described(error))

    async def _begin(self, run: Run, claimed: ClaimedTrigger) -> bool:
        """Make the trigger ready to run. False: it was buried and its caller told, or has ended in quarantine."""
        try:
            envelope = self._loader.read(run, claimed.env)
            run.classpath = envelope.classpath
            if self._quarantine is not None and self._quarantine.suspects(claimed):
                suspect = Suspect(run, claimed, envelope, self._outbox)
                if not await self._quarantine.absolves(suspect):
                    return False
                claimed = suspect.claimed
            containment.enter(run)
            found = self._loader.known(envelope) or await self._loader.find(envelope)
            run.classpath = found.classpath  # the one string for all runs of a class
            run.metrics = self._metrics.trigger(found.label)
            run.metrics.running += 1
            context = RunContext(run, self._loader.aws, claimed.checkpoint, self._store)
            run.trigger = self._loader.build(found, envelope, context)
        except (EnvelopeError, LoadError, PoisonError) as error:
            await self._give_up(run, error)
            return False
        self._log.debug("trigger runs", trigger_id=run.id)
        return True

    def _next(self, run: Run) -> Awaitable[Any]:
        """The trigger's next event."""
        if run.events is None:
            run.events = open_events(run.trigger)
        run.interruptible = True  # the only place where `Run.stop` may cancel the task
        return run.events.__anext__()

    async def _fired(self, run: Run, fired: Any) -> None:
        """Publish an event, before the generator goes on."""
        self._came_back(run)
        if run.cause is not None:
            return  # stopped, whether the trigger obeyed or caught it and yielded all the same
        final = not is_multi_event(run.trigger)
        await self._outbox.publish(run, "fired", encode_fired(fired, run.resume, final=final), final=final)

    async def _wind_up(self, run: Run, error: BaseException | None = None) -> None:
        """From the last event, or what came in its place, to a trigger that has ended and cleaned up."""
        try:
            try:
                if error is not None:
                    await self._broke_off(run, error)
            finally:
                if run.events is not None:
                    await self._close(run, run.events)
            await self._carry_out(run)
        finally:
            if cleanup := own_method(run.trigger, "cleanup"):
                await self._bounded(run, cleanup, CLEAN_UP_WITHIN_S, "cleanup()")

    async def _broke_off(self, run: Run, error: BaseException) -> None:
        """run() has ended or raised, or what it yielded cannot be published."""
        ended = run.interruptible and isinstance(error, StopAsyncIteration)
        if run.interruptible:
            self._came_back(run)
        cancelled = isinstance(error, asyncio.CancelledError)
        if isinstance(error, _AbandonedError) or (cancelled and self.runs.cuts_off(run)):
            raise error
        if run.over:
            return
        if ended and is_multi_event(run.trigger):
            await self._outbox.publish(run, "fired", encode_end(run.resume), final=True)
            return
        if ended:
            error = TriggerdError("run() ended without yielding an event")
        elif cancelled:
            error = TriggerdError("run() raised CancelledError, and nobody had cancelled it")
        log.warning("trigger failed", trigger_id=run.id, error=message_of(error), exc_info=error)
        await self._outbox.end(run, "failed", described(error))

    def _came_back(self, run: Run) -> None:
        """The trigger's run() has yielded, ended or raised."""
        run.interruptible = False
        while run.cause is not None and run.driver.cancelling():
            run.driver.uncancel()
        if not run.in_this_task:
            raise _AbandonedError

    async def _carry_out(self, run: Run, deaf: str = "") -> None:
        """What a stop asks for beyond the stop itself: the remote work's end, and the word to the caller."""
        if run.settled:
            return
        if run.cause is StopCause.CANCELLED:
            await self._cancel(run, deaf)
        elif run.cause is StopCause.STOPPING:
            problem = await self._stop_work(run, deaf)
            if problem:
                log.error("timed out, and the remote work may go on: it is not tried again", why=problem)
            await self._outbox.stopped(run)

    async def _cancel(self, run: Run, deaf: str) -> None:
        """Carry out the user's cancel: stop the remote work, then tell the caller."""
        message = f"cancelled by {run.cancelled_by}" if run.cancelled_by else "cancelled"
        if deaf:
            message += f"; {deaf} did not heed its cancellation"
        problem = await self._stop_work(run, deaf)
        message += f"; {problem}, the remote work may go on" if problem else ""
        log.info("trigger cancelled", trigger_id=run.id, how=message)
        await self._outbox.end(run, "cancelled", EventError("cancelled", message))

    async def _stop_work(self, run: Run, deaf: str) -> str | None:
        """Have the trigger stop its remote work, once. Answers what went wrong, if anything."""
        on_cancel = own_method(run.trigger, "on_cancel")
        if on_cancel is None:
            return None
        problem: str | None = f"{_ON_CANCEL} did not end"
        if deaf != _ON_CANCEL:
            problem = await self._bounded(run, on_cancel, ON_CANCEL_WITHIN_S, _ON_CANCEL)
        if problem:
            self._metrics.remote_stops_failed.inc()
        return problem

    def _abandon(self, run: Run, step: str) -> None:
        """This step of the trigger's code heeds no cancellation: bring the run to its end without it.

        Its task is left to itself. Should the step come back one day, nothing that it does concerns the run any more.
        """
        run.abandoned = True
        label = run.metrics.label if run.metrics is not None else OTHER
        self._metrics.abandoned.labels(label).inc()
        log.error("abandoned: it heeds no cancellation", trigger_id=run.id, classpath=run.classpath, step=step)
        self.runs.let_go(run)
        self._drive_from(run, None, step)

    async def _give_up(self, run: Run, error: EnvelopeError | LoadError | PoisonError) -> None:
        """The trigger cannot be run at all."""
        why = described(error)
        if run.cause is StopCause.STOPPING:
            self._metrics.remote_stops_failed.inc()
            log.error("timed out, and the remote work may go on", trigger_id=run.id, code=why.code, error=why.message)
            await self._outbox.stopped(run)
            return
        level = log.error if isinstance(error, PoisonError) else log.warning
        level("trigger cannot be run, buried", trigger_id=run.id, code=why.code, error=why.message)
        await self._outbox.bury(run, why.code, why.message, ended_event(why, run.resume))

    async def _checkpoint(self, run: Run, value: bytes) -> None:
        if run.abandoned:
            return  # the entry may have another run by now
        if run.settled or run.cause in _NOT_OURS:
            return  # Redis would refuse it, and a refusal means an audit
        if not await self._outbox.checkpoint(run, value):
            run.stop(StopCause.RELEASED)
            await asyncio.sleep(0)  # where the stop takes effect

    async def _close(self, run: Run, events: Any) -> None:
        """Let a generator whose event was published go on to its end; close any other."""
        if not may_go_on(events):
            return
        if run.settled:
            await self._bounded(run, lambda: finish(events), CLEAN_UP_WITHIN_S, "run() after its event")
        if may_go_on(events) and hasattr(events, "aclose"):
            await self._bounded(run, events.aclose, CLEAN_UP_WITHIN_S, "closing run()")

    async def _bounded(self, run: Run, step: Callable[[], Awaitable[object]], limit_s: float, what: str) -> str | None:
        """Await a step of the trigger whose failure changes no outcome. Answers what went wrong, if anything."""
        ours, problem = run.in_this_task, None
        limit = Limit(run.driver, limit_s, ABANDON_AFTER_S, partial(self._abandon, run, what) if ours else None)
        try:
            await step()
        except asyncio.CancelledError:
            problem = f"{what} raised CancelledError"
        except BaseException as error:  # noqa: BLE001 - whatever a trigger's code can raise
            problem = f"{what} failed: {message_of(error)}"
        ending = limit.end()
        if ours and not run.in_this_task:
            raise _AbandonedError
        if ending and self.runs.cuts_off(run):
            raise asyncio.CancelledError
        if limit.expired:
            self._metrics.overran.inc()
            problem = f"{what} took longer than {limit_s:g} s"
        if problem is not None:
            log.warning("a trigger's step failed", what=problem)
        return problem

    def _forget(self, run: Run) -> None:
        containment.leave(run, self._metrics)
        self.runs.remove(run)
        if run.successor is not None and not run.settled:
            self.start(run.successor)
        elif run.successor is not None:
            self.capacity.give_back(1)
        self.capacity.give_back(1)
        if run.metrics is not None:
            run.metrics.running -= 1
        if not run.settled and run.cause is not None:
            self._metrics.released.labels(run.cause.value).inc()
            log.debug("run released", trigger_id=run.id, cause=run.cause.value)
        # Freed at once, not by the garbage collector, which hardly ever looks at what has lived for long.
        run.task = None
        if not run.abandoned:
            run.trigger = run.events = None
