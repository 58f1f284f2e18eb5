"""The budget of a trigger that polls by hand: `delay` * `max_attempts` as a time, which survives a move."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from triggerd.clock import monotonic_s, wall_ms
from triggerd.trigger import TriggerEvent
from triggerd.triggers.paced import paced

_MAX_MS = 2**53  # Airflow's triggers ask for sys.maxsize attempts


async def looks(
    delay: float, max_attempts: int | None, restored: Any, store: Callable[[int], Awaitable[None]]
) -> AsyncIterator[int]:
    """Number each look, at the pace of `paced`; end when the budget has passed, without one never.

    Time that a look itself takes, because AWS throttles or cannot be reached, does not count.

    Args:
        restored: When the budget ends (epoch ms), as an earlier run stored it; anything else begins it anew.
        store: Keeps that instant for the next run. Called after the first look, and where the end has moved.
    """
    ends_ms = stored_ms = restored if type(restored) is int and 0 <= restored <= _MAX_MS else None
    async for look in paced(delay):
        began_s = monotonic_s()
        yield look
        if max_attempts is None:
            continue
        if ends_ms is None:
            ends_ms = wall_ms() + _ms(delay * (max_attempts - 1))
        else:
            ends_ms += _ms(monotonic_s() - began_s)
        if wall_ms() + _ms(delay / 2) >= ends_ms:
            return
        if stored_ms is None or ends_ms - stored_ms > _ms(delay):
            await store(ends_ms)
            stored_ms = ends_ms


def gave_up(message: str) -> TriggerEvent:
    """The event of a budget that is used up."""
    return TriggerEvent({"status": "error", "message": message}, {"error_type": "waiter_exhausted"})


def _ms(seconds: float) -> int:
    return int(min(seconds * 1000, _MAX_MS / 2))
