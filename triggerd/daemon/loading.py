"""From what a queue holds to a trigger that is ready to run: envelope, class, object, context."""

from collections.abc import Callable
from typing import Any

from triggerd.daemon.context import RunContext
from triggerd.daemon.registry import Registry, TriggerClass, build
from triggerd.daemon.runs import Run
from triggerd.envelope import MAX_ENVELOPE_BYTES, TriggerEnvelope, resume_of
from triggerd.errors import EnvelopeError, NotATriggerError, message_of
from triggerd.trigger import AwsContext


class Loader:
    """Makes triggers. Two steps, because the first runs no code but ours."""

    def __init__(self, registry: Registry, aws: AwsContext, read: Callable[[bytes], TriggerEnvelope]) -> None:
        """
        Args:
            read: Checks and decodes the header of an envelope, or raises EnvelopeError.
        """
        self._registry, self.aws, self._read = registry, aws, read

    def read(self, run: Run, env: bytes) -> TriggerEnvelope:
        """The envelope of a claimed trigger; `run` then knows what its caller wants back, even where this raises.

        Raises:
            EnvelopeError: It must not or cannot be run here.
        """
        try:
            envelope = self._read(env)
        except EnvelopeError:
            if len(env) <= MAX_ENVELOPE_BYTES:
                run.resume = resume_of(env)
            raise
        run.resume = envelope.resume
        return envelope

    def known(self, envelope: TriggerEnvelope) -> TriggerClass | None:
        """The class that an envelope names, where it was loaded before: the way of nearly every trigger."""
        return self._registry.known(envelope.classpath)

    async def find(self, envelope: TriggerEnvelope) -> TriggerClass:
        """The class that an envelope names, imported if need be.

        Raises:
            LoadError: It is not allowed, not there, or no trigger.
        """
        return await self._registry.load(envelope.classpath)

    def build(self, found: TriggerClass, envelope: TriggerEnvelope, context: RunContext) -> Any:
        """The trigger, ready to run.

        Raises:
            EnvelopeError, LoadError: Its arguments cannot be read, or it refuses them or its context.
        """
        trigger = build(found, envelope.kwargs())
        try:
            trigger.context = context
        except Exception as error:
            why = f"it has no place for its context: {message_of(error)}"
            raise NotATriggerError(found.classpath, why) from error
        return trigger
