"""When an AWS wait stores how it stands, so that its budget and its counts survive the move to another daemon."""

import asyncio
import contextlib
from typing import Any

from triggerd.errors import TriggerdError, message_of
from triggerd.trigger import Progress, TriggerContext

STOPPED_WITHIN_S = 1.0
"""How long a run that is stopped waits for its last checkpoint."""


class WaitCheckpoints:
    """Stores the state of one wait: after its first answer, then when the answers have doubled or the end has moved.

    So a wait costs log2(polls) checkpoints. They never delay it or fail it: one task at most, the newest state wins,
    and none while there is nothing to store. It is the wait's `on_poll`, and keeps nothing between two polls: there
    are 100,000 of them.
    """

    __slots__ = ("_context", "_ends_s", "_polls", "_status_message", "_task", "_wanted")

    def __init__(self, context: TriggerContext, status_message: str) -> None:
        """
        Args:
            status_message: Logged at level debug after each poll.
        """
        self._context, self._status_message = context, status_message
        self._polls = 0  # of what was stored last, or is on its way
        self._ends_s: float | None = None
        self._wanted: Progress | None = None
        self._task: asyncio.Task[None] | None = None

    def restored(self) -> Any:
        """What an earlier run has stored; None where it cannot be read."""
        return stored(self._context)

    def __call__(self, progress: Progress) -> None:
        """Take note of a poll, and have its state stored where it is time; of a wait that is cancelled, for `stop`."""
        if progress.cancelled:
            self._wanted = progress if progress.polls or progress.trouble else None
            return
        self._context.log.debug(
            self._status_message, status=progress.last_status, polls=progress.polls, trouble=progress.trouble
        )
        if self._polls == 0 and progress.polls > 1:
            self._polls, self._ends_s = progress.polls, _ends_s(progress)  # an earlier run has stored nearly the same
        if progress.next_poll_s > 0 and self._is_due(progress):
            self._wanted, self._polls, self._ends_s = progress, progress.polls, _ends_s(progress)
            if self._task is None:
                self._task = asyncio.create_task(self._send(), name=f"checkpoint {self._context.trigger_id}")

    def _is_due(self, progress: Progress) -> bool:
        if progress.polls >= max(1, 2 * self._polls):
            return True
        ends_s = _ends_s(progress)
        return ends_s is not None and (self._ends_s is None or ends_s - self._ends_s > progress.next_poll_s)

    async def stop(self) -> None:
        """The run is stopped: store where it stands, unless Redis takes too long."""
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=STOPPED_WITHIN_S)
            return
        with contextlib.suppress(TimeoutError):  # not logged: it costs some counts, and may be thousands of waits
            async with asyncio.timeout(STOPPED_WITHIN_S):
                await self._send()

    async def close(self) -> None:
        """The wait is over: what has not been stored by now is of no use any more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _send(self) -> None:
        try:
            while (progress := self._wanted) is not None:
                self._wanted = None
                await self._context.checkpoint(list(progress.state()))
        except Exception as error:  # noqa: BLE001 - whatever it is, the wait goes on
            self._context.log.warning("a wait's checkpoint was not stored", error=message_of(error))
        finally:
            self._task = None


def _ends_s(progress: Progress) -> float | None:
    return None if progress.budget_s is None else progress.at_s + progress.budget_s


def stored(context: TriggerContext) -> Any:
    """What an earlier run has stored; None where it cannot be read: then the wait begins anew."""
    try:
        return context.restored
    except TriggerdError as error:
        context.log.warning("the wait begins anew, its checkpoint is unreadable", error=message_of(error))
        return None
