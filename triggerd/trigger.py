"""The author's contract: a trigger waits for one thing, as ``(classpath, kwargs)`` at rest and as a generator when run.

This module imports nothing heavy: a worker that only serializes triggers never loads an AWS library.
What a running trigger may use reaches it through `BaseTrigger.context`, whose shape is given here as protocols.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, Protocol, Self

from triggerd.clock import monotonic_s, wall_ms

_MAX_WAIT_STATE_INT = 2**53 - 1
_MAX_STATUS_BYTES = 32


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


class WaitState(NamedTuple):
    """What of an AWS wait survives the move to another daemon: instants of the wall clock (epoch ms) and counts.

    As a list it is a checkpoint of at most 60 bytes; a last status longer than 32 bytes is left out.
    """

    began_ms: int
    ends_ms: int | None
    """When the budget ends; None before the first answer, which is what it is counted from."""
    polls: int
    last_status: str | None

    @classmethod
    def read(cls, value: Any) -> Self:
        """Raises ValueError where `value` is anything else than the list of a state."""
        match value:
            case [int(began_ms), int() | None as ends_ms, int(polls), str() | None as last_status] if all(
                type(number) is int and 0 <= number <= _MAX_WAIT_STATE_INT
                for number in (began_ms, 0 if ends_ms is None else ends_ms, polls)
            ):
                return cls(began_ms, ends_ms, polls, _short(last_status))
        raise ValueError("not the state of a wait: [began_ms, ends_ms, polls, last_status] is expected")


@dataclass(frozen=True, slots=True)
class Progress:
    """How a wait goes, after each poll and where it is cancelled.

    Attributes:
        polls: How many answers of AWS it had.
        last_status: The last status seen, None before the first.
        waited_s: Seconds since it began.
        next_poll_s: Seconds until it is asked again; 0 where this poll has ended it.
        trouble: Why this poll brought no answer (a throttle, a network error); None where it did.
        budget_s: Seconds until the budget ends, below 0 where it has; None before the first answer.
        at_s: When this was so, by the monotonic clock.
        cancelled: The wait was cancelled, and this is no poll.
    """

    polls: int
    last_status: str | None
    waited_s: float
    next_poll_s: float
    trouble: str | None = None
    budget_s: float | None = None
    at_s: float = 0.0
    cancelled: bool = False

    def state(self, now_s: float | None = None, now_ms: int | None = None) -> WaitState:
        """The state to give to `AwsContext.wait` as `restored`, in this process or another, now or later.

        The time by which the next poll is late at `now_s` counts as lost, and moves the end of the budget.
        """
        now_s, now_ms = monotonic_s() if now_s is None else now_s, wall_ms() if now_ms is None else now_ms
        since_s = now_s - self.at_s
        ends_ms = None
        if self.budget_s is not None:
            late_s = max(0.0, since_s - (0.0 if self.trouble else self.next_poll_s))
            ends_ms = _wall(now_ms, self.budget_s - since_s + late_s)
        return WaitState(_wall(now_ms, -self.waited_s - since_s), ends_ms, self.polls, _short(self.last_status))


def _wall(now_ms: int, from_now_s: float) -> int:
    # A budget may be endless: Airflow's triggers ask for sys.maxsize attempts.
    return round(min(max(0.0, now_ms + 1000 * from_now_s), _MAX_WAIT_STATE_INT))


def _short(status: str | None) -> str | None:
    return status if status is None or len(status.encode(errors="replace")) <= _MAX_STATUS_BYTES else None


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
        acceptors: Sequence[Mapping[str, Any]] | None = None,
        parameters: Mapping[str, str] | None = None,
        on_poll: Callable[[Progress], None] | None = None,
        restored: Any = None,
    ) -> WaitResponse:
        """Wait as botocore's waiter would and return the last answer.

        Args:
            delay: Seconds between polls; the definition's own where None.
            max_attempts: With `delay` the budget of time; the definition's own where None.
            acceptors: Rules, as a waiter's file has them, that stand instead of the waiter's own.
            parameters: What to write for ``{{NAME}}`` in the arguments of the waiter's acceptors, by name.
            status_queries: JMESPath expressions; the first that finds a value in an answer gives `last_status`.
            on_poll: Called after each poll, and once more where the wait is cancelled, on the event loop; what it
                raises is logged and ignored.
            restored: What `Progress.state` gave in an earlier run, as a list: the wait goes on with that budget
                and those counts, and ends at the first answered poll where the budget has passed meanwhile.
                Anything that is no state is logged, and the wait begins anew.

        Raises:
            ConfigError: There is no such connection.
            WaiterDefinitionError: There is no such waiter, or the arguments do not fit its operation.
            WaiterFailedError: A failure state. WaiterExhaustedError: the budget is used up.
            AwsCallError: An error of AWS that no acceptor expects.
        """
        ...

    async def poll(
        self,
        service: str,
        operation: str,
        params: Mapping[str, Any],
        *,
        connection: str = "default",
        region: str | None = None,
    ) -> dict[str, Any]:
        """One read, within the budget of its quota; equal reads at the same time are one call.

        A throttle, a 5xx or a network error is waited through, for as long as that takes.

        Args:
            operation: As the service's model spells it: ``"GetItem"``.

        Raises:
            ConfigError: There is no such connection.
            WaiterDefinitionError: There is no such operation, or the parameters do not fit it.
            AwsCallError: Any other error of AWS.
        """
        ...

    def transient(self, error: BaseException) -> bool:
        """Whether what a call of `client` raised is a throttle, a 5xx or the network: what a wait goes through."""
        ...

    async def operation(self, service: str, waiter_name: str) -> str:
        """The operation that a waiter calls, as ``"GetJobRun"``.

        Raises:
            WaiterDefinitionError: There is no such waiter.
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
