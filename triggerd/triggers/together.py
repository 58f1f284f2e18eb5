"""Several waits of one trigger at the same time."""

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

T = TypeVar("T")


async def together(waits: Mapping[str, Coroutine[Any, Any, T]]) -> dict[str, T]:
    """All results by name. The first error ends the others and is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = {name: group.create_task(wait, name=name) for name, wait in waits.items()}
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return {name: task.result() for name, task in tasks.items()}
