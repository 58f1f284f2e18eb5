"""Promises of several waits of one trigger at the same time."""

import asyncio

import pytest

from triggerd.triggers.together import together


async def test_all_results_come_by_their_names() -> None:
    async def wait(value: int) -> int:
        await asyncio.sleep(0)
        return value

    assert await together({"a": wait(1), "b": wait(2)}) == {"a": 1, "b": 2}
    assert await together({}) == {}


async def test_the_first_error_ends_the_others_and_is_raised_as_it_is() -> None:
    ended: list[str] = []

    async def fails() -> None:
        await asyncio.sleep(0)
        raise KeyError("b")

    async def waits() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("a")

    with pytest.raises(KeyError, match="b"):
        await together({"a": waits(), "b": fails()})
    assert ended == ["a"]


async def test_who_is_cancelled_leaves_nothing_behind() -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    async def waits() -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    task = asyncio.create_task(together({"a": waits()}))
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()
