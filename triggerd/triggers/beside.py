"""What a trigger does beside its wait, for people to see how the work goes: best effort, and never in the way."""

import asyncio
import contextvars
from collections.abc import Awaitable, Callable

from triggerd.clock import wall_ms
from triggerd.errors import TriggerdError, message_of
from triggerd.trigger import Progress, TriggerContext, WaitResponse
from triggerd.triggers.aws import AwsWaiterTrigger
from triggerd.triggers.wait_checkpoints import WaitCheckpoints

LAST_WITHIN_S = 3.0
"""How long the event of a wait that is over may be kept back for the last look."""
_DEADLINE_MARGIN_S = 1.0


class Beside:
    """Calls `look` after each poll of a wait, one at a time; whatever becomes of it, the wait goes on.

    It is the wait's `on_poll`.
    """

    def __init__(self, context: TriggerContext, look: Callable[[], Awaitable[None]]) -> None:
        self._context, self._look = context, look
        self._task: asyncio.Task[None] | None = None
        self._problem: str | None = None
        self._variables = contextvars.copy_context()  # a poll belongs to no run, and the lines of a look do

    def __call__(self, progress: Progress) -> None:
        if progress.next_poll_s <= 0 or progress.cancelled or self._task is not None:
            return
        name = f"beside {self._context.trigger_id}"
        self._task = asyncio.create_task(self._try(), name=name, context=self._variables)

    async def last(self) -> None:
        """The wait is over: look once more, after the look that is on its way; not longer than `LAST_WITHIN_S`.

        Nor so long that the trigger's deadline passes over it: the event is what counts.
        """
        left_s = (self._context.deadline_ms - wall_ms()) / 1000 - _DEADLINE_MARGIN_S
        within_s = max(0.0, min(LAST_WITHIN_S, left_s))
        try:
            async with asyncio.timeout(within_s):
                if self._task is not None:
                    await asyncio.wait({self._task})
                await self._try()
        except TimeoutError:
            self._context.log.info("the last look was cut short", after_s=within_s)

    async def stop(self) -> None:
        """End what is on its way."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _try(self) -> None:
        try:
            await self._look()
        except Exception as error:  # noqa: BLE001 - whatever it is, the wait goes on
            problem = message_of(error)
            if problem != self._problem:  # and not the same line after each poll
                self._context.log.warning("the wait goes on without a look beside it", error=problem)
            self._problem = problem
        finally:
            if self._task is asyncio.current_task():
                self._task = None


class BesideWaiterTrigger(AwsWaiterTrigger):
    """A wait that is looked at from the side: after each poll and, where it was not stopped, at its end."""

    def _beside(self) -> Callable[[], Awaitable[None]] | None:
        """How to look; None where nobody wants to."""
        raise NotImplementedError(f"{type(self).__qualname__} must define _beside()")

    async def _wait(
        self, checkpoints: WaitCheckpoints, on_poll: Callable[[Progress], None] | None = None
    ) -> WaitResponse:
        look = self._beside()
        if look is None:
            return await super()._wait(checkpoints, on_poll)
        beside = Beside(self.context, look)

        def both(progress: Progress) -> None:
            (on_poll or checkpoints)(progress)
            beside(progress)

        try:
            response = await super()._wait(checkpoints, both)
        except TriggerdError:
            await beside.last()
            raise
        else:
            await beside.last()
            return response
        finally:
            await beside.stop()
