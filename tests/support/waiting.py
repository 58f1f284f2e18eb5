"""Waiting for a state, with a deadline: the only kind of waiting that a test does."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

T = TypeVar("T")

_EVERY_S = 0.01


@overload
async def eventually(predicate: Callable[[], Awaitable[T]], deadline_s: float = ..., what: str = ...) -> T: ...
@overload
async def eventually(predicate: Callable[[], T], deadline_s: float = ..., what: str = ...) -> T: ...
async def eventually(predicate: Callable[[], Any], deadline_s: float = 10.0, what: str = "") -> Any:
    """Ask `predicate` (plain or async) until its answer is true, and return that answer.

    Raises:
        AssertionError: It was not true within `deadline_s`; the message carries the last answer.
    """
    end_s = time.monotonic() + deadline_s
    while True:
        answer = predicate()
        if inspect.isawaitable(answer):
            answer = await answer
        if answer:
            return answer
        if time.monotonic() >= end_s:
            raise AssertionError(_complaint(predicate, deadline_s, what, answer))
        await asyncio.sleep(_EVERY_S)


def eventually_sync(predicate: Callable[[], T], deadline_s: float = 10.0, what: str = "") -> T:
    """`eventually` for a test without an event loop."""
    end_s = time.monotonic() + deadline_s
    while not (answer := predicate()):
        if time.monotonic() >= end_s:
            raise AssertionError(_complaint(predicate, deadline_s, what, answer))
        time.sleep(_EVERY_S)
    return answer


def _complaint(predicate: Callable[[], object], deadline_s: float, what: str, answer: object) -> str:
    return f"{what or predicate!r} did not come true within {deadline_s:g} s; the last answer was {answer!r}"
