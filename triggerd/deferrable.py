"""Tasks that hand their wait over: the operator of Airflow's guide, without Airflow.

class ResumeCluster(Deferrable):
    def __init__(self, cluster): ...
    def execute(self, context):            # start the work, then defer the wait
        self.defer(trigger=..., method_name="execute_complete", timeout=3600)
    def execute_complete(self, context, event=None): ...   # called when the trigger has ended
"""

import asyncio
import inspect
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from datetime import timedelta
from typing import Any, Literal, NoReturn, Self

from triggerd.client_token import start_token
from triggerd.errors import DeferSwallowedError, TriggerdError
from triggerd.event import Continuation, Event

OnTimeout = Literal["leave", "cancel"]
"""What happens to the remote work when the deadline has passed."""


class TaskDeferred(BaseException):
    """What `Deferrable.defer` raises. A BaseException, so that a task's ``except Exception`` cannot swallow it."""

    def __init__(
        self, trigger: Any, method_name: str, timeout: float | timedelta | None, kwargs: Mapping[str, Any],
        on_timeout: OnTimeout = "leave",
    ) -> None:  # fmt: skip
        super().__init__(f"deferred until {trigger!r}, then {method_name}()")
        self.trigger, self.method_name, self.timeout, self.kwargs = trigger, method_name, timeout, kwargs
        self.on_timeout = on_timeout

    def arguments(self) -> dict[str, Any]:
        """What was asked for, as keyword arguments of `Client.defer`."""
        names = ("trigger", "method_name", "timeout", "kwargs", "on_timeout")
        return {name: getattr(self, name) for name in names}


class _Step:
    """One run of `execute` or of a continuation."""

    __slots__ = ("deferring", "id", "over", "task")

    def __init__(self, task: "Deferrable", step_id: str) -> None:
        self.task, self.id, self.over = task, step_id, False
        self.deferring: TaskDeferred | None = None


# Of this thread: an object may be started by several, or start itself once more.
_step: ContextVar[_Step | None] = ContextVar("triggerd_step", default=None)


class Deferrable:
    """Base of tasks that may defer. Subclasses write `execute` and the methods that go on after a wait.

    Attributes:
        deferrable: False runs every trigger of this task in place, without Redis and daemon. Set it on the class or
            on the instance.
    """

    deferrable: bool = True
    _arguments: dict[str, Any] | None
    _latest: _Step | None = None
    """For threads that a step starts itself."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        # Remembered here, so that a subclass's own __init__ need not call ours.
        task = super().__new__(cls)
        # Around a frozen dataclass's __setattr__.
        object.__setattr__(task, "_arguments", _named_arguments(cls, args, kwargs))
        return task

    def execute(self, context: Any) -> Any:
        """Start the work; call `defer` where the wait begins, or return a result where there is none."""
        raise NotImplementedError(f"{type(self).__qualname__} must define execute()")

    def defer(
        self,
        *,
        trigger: Any,
        method_name: str = "execute_complete",
        timeout: float | timedelta | None = None,
        kwargs: Mapping[str, Any] | None = None,
        on_timeout: OnTimeout = "leave",
    ) -> NoReturn:
        """End this call here; `method_name` goes on when `trigger` has ended. Never returns.

        The trigger is enqueued by whoever called the task (`Client.start`, `Resumer`), after the task was left: so
        nothing is enqueued where the task fails on its way out.

        Args:
            trigger: The trigger to wait for.
            method_name: A public method of this task, called as ``method(context, event=event, **kwargs)``.
            timeout: Seconds after which the wait ends with outcome ``timed_out``; None: 10 days.
            kwargs: Keyword arguments for the method; plain data.
            on_timeout: As in `Client.defer`. Without a daemon (`deferrable = False`) a time-out touches nothing.
        """
        _public_method(self, method_name)
        check_on_timeout(on_timeout)
        deferring = TaskDeferred(trigger, method_name, timeout, dict(kwargs or {}), on_timeout)
        if running := self._running():
            running.deferring = deferring
        raise deferring

    def start_token(self, step: str = "") -> str:
        """The client token for a start call that this step makes: a step that is run again attaches to its job.

        In `execute` it follows from the ``id`` given to `Client.start`: give one, and a retried task gets the same
        token. In a continuation it follows from the event that it is called with.

        Args:
            step: Tells several start calls apart, as ``"train"``.

        Raises:
            TriggerdError: Asked for while no step of the task runs.
        """
        running = self._running()
        if running is None:
            raise TriggerdError("start_token() is known in execute() and in continuations only, while they run")
        return start_token(running.id, step)

    def _running(self) -> _Step | None:
        step = _step.get()
        if step is None or step.task is not self:
            step = self._latest
        return None if step is None or step.over else step

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """``(classpath, kwargs)`` from which a Resumer rebuilds this task: by default its constructor's arguments."""
        if self._arguments is None:
            raise TypeError(
                f"{classpath_of(type(self))}: its constructor's arguments are not known: define serialize()"
            )
        return classpath_of(type(self)), self._arguments

    def resume_execution(self, continuation: Continuation, event: Event) -> Any:
        """Call the continuation. A method without an `event` parameter has the failure raised instead.

        Raises:
            OutcomeError: The method takes no `event`, and the trigger did not fire or fired an error.
        """
        method = _public_method(self, continuation.method_name)
        if _takes_event(method):
            return method(continuation.context, event=event, **continuation.kwargs)
        event.raise_for_status()
        return method(continuation.context, **continuation.kwargs)


def call_task(task: Deferrable, step: Callable[[], Any], step_id: str) -> tuple[Any, TaskDeferred | None]:
    """Run one step of a task: ``(result, None)``, or ``(None, deferred)`` where it deferred. It may be a coroutine.

    Args:
        step_id: The same where this step is run again, and no other step's: what `start_token` follows from.

    Raises:
        DeferSwallowedError: The task caught what `defer` raised; nothing was enqueued.
    """
    running, before = _Step(task, step_id), task._latest  # noqa: SLF001 - the other half of Deferrable
    object.__setattr__(task, "_latest", running)
    token = _step.set(running)
    try:
        result = step()
        if inspect.iscoroutine(result):
            result = asyncio.run(result)
    except TaskDeferred as deferred:
        return None, deferred
    finally:
        running.over = True
        _step.reset(token)
        object.__setattr__(task, "_latest", before if before is not None and not before.over else None)
    if running.deferring is not None:
        raise DeferSwallowedError(
            f"{classpath_of(type(task))} called defer(), caught the TaskDeferred that it raises, and went on: nothing "
            "was enqueued. Let it pass: no bare 'except:', no 'except BaseException', no 'return' in a 'finally'."
        )
    return result, None


def check_on_timeout(value: str) -> OnTimeout:
    """Return `value` if it is one of the two words; a typing mistake must not let a job run on.

    Raises:
        ValueError: It is none.
    """
    known: dict[str, OnTimeout] = {"leave": "leave", "cancel": "cancel"}
    if isinstance(value, str) and value in known:
        return known[value]
    raise ValueError(f"on_timeout = {value!r}: 'leave' or 'cancel' is expected")


def classpath_of(cls: type) -> str:
    """The dotted path under which a class can be found again."""
    return f"{cls.__module__}.{cls.__qualname__}"


def _public_method(task: Deferrable, name: str) -> Callable[..., Any]:
    # The name comes back from the queue: nothing private, nothing that is not a method.
    method = None if name.startswith("_") else getattr(task, name, None)
    if not inspect.ismethod(method):
        raise TriggerdError(f"{classpath_of(type(task))} has no public method {name!r} to go on with")
    return method


def _takes_event(method: Callable[..., Any]) -> bool:
    parameters = inspect.signature(method).parameters.values()
    return any(p.name == "event" or p.kind is p.VAR_KEYWORD for p in parameters)


def _named_arguments(cls: type, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any] | None:
    signature = inspect.signature(cls)
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError:
        return None  # the constructor is about to say it better, or a __new__ of the subclass's own took them
    named: dict[str, Any] = {}
    for name, value in bound.arguments.items():
        kind = signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_KEYWORD:
            named.update(value)
        elif kind is inspect.Parameter.VAR_POSITIONAL:
            return None if value else named
        elif kind is inspect.Parameter.POSITIONAL_ONLY:
            return None
        else:
            named[name] = value
    return named
