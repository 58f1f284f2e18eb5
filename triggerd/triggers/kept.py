"""What a run has to remember beside its wait, so that it is about the same thing on another daemon."""

from typing import Any

from triggerd.errors import TriggerdError, message_of
from triggerd.trigger import TriggerContext
from triggerd.triggers.wait_checkpoints import stored


class Kept:
    """A trigger's context whose checkpoints are ``[what is kept, state of the wait]``."""

    def __init__(self, context: TriggerContext, kind: type) -> None:
        """
        Args:
            kind: Of what is kept. Anything else that an earlier run may have stored begins the wait anew.
        """
        self._context = context
        self.trigger_id, self.deadline_ms = context.trigger_id, context.deadline_ms
        self.log, self.aws = context.log, context.aws
        self.value: Any = None
        self.restored: Any = None
        match stored(context):
            case [value, state] if type(value) is kind:
                self.value, self.restored = value, state

    async def keep(self, value: Any) -> None:
        self.value = value
        try:
            await self.checkpoint(None)
        except TriggerdError as error:
            self.log.warning("what the wait is about was not stored", what=value, error=message_of(error))

    async def checkpoint(self, value: Any) -> None:
        await self._context.checkpoint([self.value, value])
