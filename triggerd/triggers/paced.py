"""The pace of a trigger that polls by hand, because no waiter can describe what it waits for."""

import asyncio
import random
from collections.abc import AsyncIterator

_JITTER = 0.1


async def paced(delay: float, max_attempts: int | None = None) -> AsyncIterator[int]:
    """Yield the number of each attempt: the first at once, each other one 0.9 to 1.1 `delay` seconds after the last.

    Args:
        max_attempts: Ends after so many; None: goes on until the trigger's deadline ends the run.
    """
    done = 0
    while max_attempts is None or done < max_attempts:
        done += 1
        yield done
        if done != max_attempts:
            await asyncio.sleep(delay * random.uniform(1 - _JITTER, 1 + _JITTER))  # noqa: S311 - jitter, not a secret
