"""Deferrable waits on AWS without Airflow: what a producer and a trigger author import.

Names are loaded when they are first used (PEP 562), so `import triggerd` costs a worker nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for type checkers; at run time `__getattr__` finds the same names
    from triggerd.client import AsyncClient as AsyncClient, Client as Client
    from triggerd.deferrable import Deferrable as Deferrable, TaskDeferred as TaskDeferred
    from triggerd.errors import (
        DeferSwallowedError as DeferSwallowedError,
        EnvelopeError as EnvelopeError,
        EnvelopePackError as EnvelopePackError,
        EnvelopeTooLargeError as EnvelopeTooLargeError,
        EventStatusError as EventStatusError,
        OutcomeError as OutcomeError,
        RedisUnavailableError as RedisUnavailableError,
        ResultTimeoutError as ResultTimeoutError,
        TriggerCancelledError as TriggerCancelledError,
        TriggerdError as TriggerdError,
        TriggerFailedError as TriggerFailedError,
        TriggerTimeoutError as TriggerTimeoutError,
        UnknownTriggerError as UnknownTriggerError,
        WaitError as WaitError,
    )
    from triggerd.event import Continuation as Continuation, Event as Event, EventError as EventError
    from triggerd.handle import AsyncHandle as AsyncHandle, Handle as Handle
    from triggerd.resume import Resumer as Resumer
    from triggerd.trigger import (
        BaseTrigger as BaseTrigger,
        TriggerContext as TriggerContext,
        TriggerEvent as TriggerEvent,
    )
    from triggerd.triggers.aws import AwsWaiterTrigger as AwsWaiterTrigger
    from triggerd.triggers.time import DateTimeTrigger as DateTimeTrigger, TimeDeltaTrigger as TimeDeltaTrigger

__version__ = "0.1.0"

_NAMES_BY_MODULE = {
    "client": (
        "AsyncClient",
        "Client",
    ),
    "deferrable": (
        "Deferrable",
        "TaskDeferred",
    ),
    "errors": (
        "DeferSwallowedError",
        "EnvelopeError",
        "EnvelopePackError",
        "EnvelopeTooLargeError",
        "EventStatusError",
        "OutcomeError",
        "RedisUnavailableError",
        "ResultTimeoutError",
        "TriggerCancelledError",
        "TriggerdError",
        "TriggerFailedError",
        "TriggerTimeoutError",
        "UnknownTriggerError",
        "WaitError",
    ),
    "event": (
        "Continuation",
        "Event",
        "EventError",
    ),
    "handle": (
        "AsyncHandle",
        "Handle",
    ),
    "resume": ("Resumer",),
    "trigger": (
        "BaseTrigger",
        "TriggerContext",
        "TriggerEvent",
    ),
    "triggers.aws": ("AwsWaiterTrigger",),
    "triggers.time": (
        "DateTimeTrigger",
        "TimeDeltaTrigger",
    ),
}
_HOMES = {name: module for module, names in _NAMES_BY_MODULE.items() for name in names}

__all__ = ["__version__", *_HOMES]  # noqa: PLE0604 - the keys are text

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module 'triggerd' has no attribute {name!r}")
        return getattr(import_module(f"triggerd.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
