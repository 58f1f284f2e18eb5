"""Deferrable waits on AWS without Airflow: what a producer and a trigger author import.

Names are loaded when they are first used (PEP 562), so `import triggerd` costs a worker nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for type checkers; at run time `__getattr__` finds the same names
    from triggerd.client import AsyncClient as AsyncClient
    from triggerd.client import Client as Client
    from triggerd.client_token import start_token as start_token
    from triggerd.deferrable import Deferrable as Deferrable
    from triggerd.deferrable import TaskDeferred as TaskDeferred
    from triggerd.errors import (
        DeferSwallowedError as DeferSwallowedError,
    )
    from triggerd.errors import (
        EnvelopeError as EnvelopeError,
    )
    from triggerd.errors import (
        EnvelopePackError as EnvelopePackError,
    )
    from triggerd.errors import (
        EnvelopeTooLargeError as EnvelopeTooLargeError,
    )
    from triggerd.errors import (
        EventStatusError as EventStatusError,
    )
    from triggerd.errors import (
        OutcomeError as OutcomeError,
    )
    from triggerd.errors import (
        RedisUnavailableError as RedisUnavailableError,
    )
    from triggerd.errors import (
        ResultTimeoutError as ResultTimeoutError,
    )
    from triggerd.errors import (
        TriggerCancelledError as TriggerCancelledError,
    )
    from triggerd.errors import (
        TriggerdError as TriggerdError,
    )
    from triggerd.errors import (
        TriggerFailedError as TriggerFailedError,
    )
    from triggerd.errors import (
        TriggerTimeoutError as TriggerTimeoutError,
    )
    from triggerd.errors import (
        UnknownTriggerError as UnknownTriggerError,
    )
    from triggerd.errors import (
        WaitError as WaitError,
    )
    from triggerd.event import Continuation as Continuation
    from triggerd.event import Event as Event
    from triggerd.event import EventError as EventError
    from triggerd.handle import AsyncHandle as AsyncHandle
    from triggerd.handle import Handle as Handle
    from triggerd.resume import Resumer as Resumer
    from triggerd.trigger import (
        BaseTrigger as BaseTrigger,
    )
    from triggerd.trigger import (
        TriggerContext as TriggerContext,
    )
    from triggerd.trigger import (
        TriggerEvent as TriggerEvent,
    )
    from triggerd.triggers.aws import AwsWaiterTrigger as AwsWaiterTrigger
    from triggerd.triggers.time import DateTimeTrigger as DateTimeTrigger
    from triggerd.triggers.time import TimeDeltaTrigger as TimeDeltaTrigger

__version__ = "0.1.0"

_NAMES_BY_MODULE = {
    "client": (
        "AsyncClient",
        "Client",
    ),
    "client_token": ("start_token",),
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
