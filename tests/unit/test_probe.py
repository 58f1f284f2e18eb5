"""The probe of the doctor, cancelled at the worst moment."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from triggerd.streams.probe import Probe


class LosesACancellation:
    """Stands for redis-py on Python 3.11, which can lose one cancellation while it writes."""

    async def hints(self, channel: str) -> AsyncGenerator[bytes, None]:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.Event().wait()
        yield channel.encode()


async def test_a_daemon_stopped_again_while_its_probe_listens_ends_by_that_and_nothing_else() -> None:
    redis: Any = LosesACancellation()
    listening = asyncio.Event()

    async def listen() -> None:
        async with Probe(redis, "q")._hearing():
            listening.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(listen())
    await listening.wait()
    await asyncio.sleep(0)  # the generator begins
    task.cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()  # as end_task does where the first took too long
    with pytest.raises(asyncio.CancelledError):
        await task
