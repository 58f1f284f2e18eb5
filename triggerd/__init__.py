"""Deferrable waits on AWS without Airflow: what a producer and a trigger author import.

Names are loaded when they are first used (PEP 562), so `import triggerd` costs a worker nothing.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "BaseTrigger": "trigger",
    "TriggerEvent": "trigger",
    "TriggerContext": "trigger",
    "AwsWaiterTrigger": "triggers.aws",
    "DateTimeTrigger": "triggers.time",
    "TimeDeltaTrigger": "triggers.time",
    "Client": "client",
    "AsyncClient": "client",
    "Handle": "handle",
    "AsyncHandle": "handle",
    "Deferrable": "deferrable",
    "TaskDeferred": "deferrable",
    "Event": "event",
    "EventError": "event",
    "Resumer": "resume",
    "TriggerdError": "errors",
    "OutcomeError": "errors",
    "EventStatusError": "errors",
    "TriggerFailedError": "errors",
    "TriggerTimeoutError": "errors",
    "TriggerCancelledError": "errors",
    "DeferSwallowedError": "errors",
    "EnvelopeError": "errors",
    "EnvelopePackError": "errors",
    "EnvelopeTooLargeError": "errors",
    "RedisUnavailableError": "errors",
    "ResultTimeoutError": "errors",
    "UnknownTriggerError": "errors",
    "WaitError": "errors",
}

__all__ = ["__version__", *_HOMES]  # noqa: PLE0604 - the keys are text


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'triggerd' has no attribute {name!r}")
    return getattr(import_module(f"triggerd.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
