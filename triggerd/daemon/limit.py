"""A limit in time for a step of a trigger's code, which may heed it or not."""

import asyncio
from collections.abc import Callable


class Limit:
    """Cancels the current task when the time is over, and tells where that has not helped either.

    `asyncio.timeout` does the first part alone: it cancels once, and a step that swallows it goes on for ever. There is
    one timer for both, as nearly every run needs one of these.
    """

    __slots__ = ("_on_deaf", "_patience_s", "_task", "_timer", "expired")

    def __init__(
        self, task: asyncio.Task[object], after_s: float, patience_s: float, on_deaf: Callable[[], None] | None
    ) -> None:
        """
        Args:
            task: The current task.
            patience_s: Seconds after the cancellation until `on_deaf` is called.
        """
        self._task, self._patience_s, self._on_deaf = task, patience_s, on_deaf
        self.expired = False
        self._timer = task.get_loop().call_later(after_s, self._expire)

    def _expire(self) -> None:
        self.expired = True
        self._task.cancel()
        if self._on_deaf is not None:
            self._timer = self._task.get_loop().call_later(self._patience_s, self._on_deaf)

    def end(self) -> bool:
        """The step has ended. True: somebody else has cancelled the task meanwhile."""
        self._timer.cancel()
        if self.expired:
            self._task.uncancel()
        return self._task.cancelling() > 0
