"""The author's contract: a trigger waits for one thing, as ``(classpath, kwargs)`` at rest and as a generator when run.

This module imports nothing heavy: a worker that only serializes triggers never loads an AWS library.
What a running trigger may use reaches it through `BaseTrigger.context`, whose shape is given here as protocols.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol


@dataclass(frozen=True, slots=True)
class TriggerEvent:
    """What a trigger yields.

    Attributes:
        payload: Anything the wire carries: None, bool, int (64 bit), float, str, bytes, list, tuple, dict, set,
            datetime, date, timedelta, Decimal.
        details: Facts beside the payload, for people and logs; they travel in the event envelope. AWS waits put
            ``last_status, polls, waited_s, error_type, error_code`` here.
    """

    payload: Any
    details: Mapping[str, Any] = field(default_factory=dict, compare=False)


class WaitResponse(dict[str, Any]):
    """The answer of AWS that ended a wait in success, and how the wait went."""

    last_status: str | None = None
    polls: int = 0
    waited_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Progress:
    """How a wait goes, after each poll.

    Attributes:
        polls: How many answers of AWS it had.
        last_status: The last status seen, None before the first.
        waited_s: Seconds since it began.
        next_poll_s: Seconds until it is asked again.
        trouble: Why this poll brought no answer (a throttle, a network error); None where it did.
    """

    polls: int
    last_status: str | None
    waited_s: float
    next_poll_s: float
    trouble: str | None = None


class AwsContext(Protocol):
    """What a trigger can ask of AWS. Settings and credentials come from the daemon's named connections."""

    def client(
        self, service: str, connection: str = "default", region: str | None = None
    ) -> AbstractAsyncContextManager[Any]:
        """``async with`` gives a shared aiobotocore client; leaving the block does not close it."""
        ...

    async def wait(
        self,
        service: str,
        waiter_name: str,
        waiter_args: Mapping[str, Any],
        *,
        delay: float | None = None,
        max_attempts: int | None = None,
        connection: str = "default",
        region: str | None = None,
        status_queries: Sequence[str] = (),
        on_poll: Callable[[Progress], None] | None = None,
    ) -> WaitResponse:
        """Wait as botocore's waiter would and return the last answer.

        Args:
            delay: Seconds between polls; the definition's own where None.
            max_attempts: With `delay` the budget of time; the definition's own where None.
            status_queries: JMESPath expressions; the first that finds a value in an answer gives `last_status`.
            on_poll: Called after each poll, on the event loop; what it raises is logged and ignored.

        Raises:
            ConfigError: There is no such connection.
            WaiterDefinitionError: There is no such waiter, or the arguments do not fit its operation.
            WaiterFailedError: A failure state. WaiterExhaustedError: the budget is used up.
            AwsCallError: An error of AWS that no acceptor expects.
        """
        ...


class TriggerContext(Protocol):
    """What the daemon (or `triggerd.testing.run_trigger`) gives a trigger before `run()`."""

    @property
    def trigger_id(self) -> str: ...

    @property
    def deadline_ms(self) -> int:
        """The instant, epoch ms, after which the run is expired."""
        ...

    @property
    def log(self) -> Any:
        """A structured logger: ``log.info("event name", key=value)``; the trigger id is bound to it."""
        ...

    @property
    def aws(self) -> AwsContext: ...

    @property
    def restored(self) -> Any:
        """The last value given to `checkpoint` in an earlier run of this trigger, else None."""
        ...

    async def checkpoint(self, value: Any) -> None:
        """Store a small value (aim at 60 bytes, at most 4 KiB) that survives the move to another daemon."""
        ...


class BaseTrigger:
    """Base of all triggers. Subclasses write `serialize` and `run`."""

    multi_event: ClassVar[bool] = False
    """False: the first event is the final one. True: each event is published as it is yielded, and the end of the
    generator is the final, empty one."""

    context: TriggerContext

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return ``(classpath, kwargs)`` such that ``classpath(**kwargs)`` is this trigger again."""
        raise NotImplementedError(f"{type(self).__qualname__} must define serialize()")

    def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, then yield a `TriggerEvent`. Written as ``async def run(self)`` with ``yield``.

        The generator goes on past a ``yield`` only after that event was published.
        """
        raise NotImplementedError(f"{type(self).__qualname__} must define run() as an async generator")

    async def on_cancel(self) -> None:
        """Stop the remote work. Called only for an explicit cancel, never on a shutdown or a move."""

    async def cleanup(self) -> None:
        """Free what `run` holds. Called after every run, however it ended."""

    def __repr__(self) -> str:
        # Without the kwargs: they may hold tokens, and a repr ends up in logs.
        return f"<trigger {self.serialize()[0]}>"
