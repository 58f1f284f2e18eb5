"""A suspect: a trigger whose owner died too often. It has its run in this daemon, its code runs in a child process."""

import asyncio
import dataclasses
import enum
from collections.abc import Callable, Sequence
from typing import Protocol

from triggerd.daemon.outbox import RunOutbox
from triggerd.daemon.runs import ABANDON_AFTER_S, Run, StopCause
from triggerd.daemon.sandbox_pipe import Admit, Bury, Checkpoint, Publish, Request, Stopped, admission
from triggerd.envelope import TriggerEnvelope
from triggerd.streams.trigger_queue import ClaimedTrigger


class Verdict(enum.Enum):
    """What has become of a suspect."""

    ENDED = "ended"
    """Its run is over, as that of any other trigger."""
    ABSOLVED = "absolved"
    """It has survived its probation and may run in the daemon's process."""
    POISON = "poison"
    """It ends the process that it runs in."""


class Child(Protocol):
    """The process that suspects' code runs in; `Sandbox` is one."""

    async def probe(self, suspects: Sequence["Suspect"], probation_s: float) -> str | None: ...

    def stop(self, suspect: "Suspect") -> None: ...

    async def close(self) -> None: ...


class Suspect:
    """A trigger whose owner died too often. It has its `Run` in this daemon; its code runs in a child process."""

    def __init__(self, run: Run, claimed: ClaimedTrigger, envelope: TriggerEnvelope, outbox: RunOutbox) -> None:
        self.run, self.claimed, self.outbox = run, claimed, outbox
        self._envelope = envelope
        self.verdict: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        self.why = ""
        self.crashes_alone = 0
        self.sandbox: Child | None = None
        self.ward: object = None  # where it waits for its turn
        self.when_urgent: Callable[[Suspect], None] | None = None

    @property
    def waits(self) -> bool:
        """Whether nothing has been decided about it."""
        return not self.verdict.done()

    @property
    def urgent(self) -> bool:
        """Whether there is remote work to stop: not to be kept waiting."""
        return self.run.cause in (StopCause.CANCELLED, StopCause.STOPPING)

    def decide(self, verdict: Verdict, why: str = "") -> None:
        """The first decision counts."""
        if self.waits:
            self.why = why
            self.verdict.set_result(verdict)

    def decide_if_over(self) -> None:
        """Its run may have come to its end without a word from the child about that."""
        if self.run.settled or (self.run.cause is not None and not self.urgent):
            self.decide(Verdict.ENDED)

    def admit(self) -> Admit:
        """What the child is told of it."""
        return admission(self.claimed, self._envelope.classpath, self._envelope.kwargs_bytes, self._envelope.resume)

    def on_stop(self) -> None:
        """Its run was stopped."""
        if self.urgent:
            stopping = self.run.cause is StopCause.STOPPING
            self.claimed = dataclasses.replace(self.claimed, cancel=self.run.cancelled_by or "", stopping=stopping)
        if self.sandbox is not None:
            self.sandbox.stop(self)
            if not self.urgent:  # given up: its owner need not wait for its clean-up for ever
                self.verdict.get_loop().call_later(ABANDON_AFTER_S, self.decide, Verdict.ENDED)
        elif not self.urgent:
            self.decide(Verdict.ENDED)
        elif self.when_urgent is not None:
            self.when_urgent(self)

    async def carry(self, request: Request) -> bool:
        """Bring to Redis what its code in the child has to say."""
        if not self.waits or self.run.settled:
            return False
        match request:
            case Publish():
                return await self.outbox.publish(self.run, request.outcome, request.event, final=request.final)
            case Bury():
                return await self.outbox.bury(self.run, request.code, request.reason, request.event)
            case Checkpoint() if await self.outbox.checkpoint(self.run, request.value):
                self.claimed = dataclasses.replace(self.claimed, checkpoint=request.value)
                return True
            case Checkpoint():
                self.run.stop(StopCause.RELEASED)
            case Stopped():
                return await self.outbox.stopped(self.run)
        return False
