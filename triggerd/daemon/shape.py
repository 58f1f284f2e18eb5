"""A trigger's shape, as the runner meets it: a `BaseTrigger`, or a class from elsewhere with the same methods."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from triggerd.clock import wall_ms
from triggerd.errors import TriggerdError
from triggerd.event import encode_event
from triggerd.logs import get_logger
from triggerd.trigger import BaseTrigger

log = get_logger("triggerd.runner")


def open_events(trigger: Any) -> Any:
    """The generator of the trigger."""
    events = trigger.run()
    if hasattr(events, "__anext__"):
        return events
    if asyncio.iscoroutine(events):
        events.close()  # never awaited, and must not complain about that later
    raise TriggerdError("run() must be an async generator: `async def` with `yield`")


def may_go_on(events: Any) -> bool:
    """Whether the generator has not come to its end."""
    return getattr(events, "ag_frame", events) is not None


async def finish(events: Any) -> None:
    """The code of run() after its last yield."""
    async for _ in events:
        log.warning("an event after the final one is ignored (multi_event is False)")
        return


def is_multi_event(trigger: Any) -> bool:
    """Whether it fires until its generator ends, and not once."""
    return bool(getattr(trigger, "multi_event", False))


def encode_fired(fired: Any, resume: bytes, *, final: bool) -> bytes:
    """The event envelope of what run() yielded."""
    if not hasattr(fired, "payload"):
        raise TriggerdError(f"run() yielded a {type(fired).__name__}, a TriggerEvent is expected")
    details = getattr(fired, "details", None)
    return encode_event(fired.payload, resume=resume, details=details, fired_ms=wall_ms(), final=final)


def encode_end(resume: bytes) -> bytes:
    """The final event envelope of a trigger whose events are out."""
    return encode_event(None, resume=resume, details=None, fired_ms=wall_ms(), final=True)


def own_method(trigger: Any, name: str) -> Callable[[], Awaitable[object]] | None:
    """The trigger's own `on_cancel` or `cleanup`; None where it has none, or `BaseTrigger`'s, which does nothing.

    What stops the remote work of an Airflow trigger is its `on_kill`.
    """
    if name == "on_cancel" and not hasattr(type(trigger), name):
        name = "on_kill"
    found = getattr(type(trigger), name, None)
    return None if found is None or found is getattr(BaseTrigger, name, None) else getattr(trigger, name)
