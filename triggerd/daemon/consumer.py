"""What the parts that serve one queue share: who they are, and the bell that calls the claimer."""

import asyncio
import random
from dataclasses import dataclass, field
from typing import Any

from triggerd.errors import RedisRefusedError, RedisUnavailableError
from triggerd.logs import get_logger
from triggerd.streams.connection import AsyncRedis
from triggerd.streams.dead_letter import DeadLetters
from triggerd.streams.leases import Leases
from triggerd.streams.trigger_queue import TriggerQueue

log = get_logger("triggerd.daemon")


class Bell:
    """Calls the claimer, and remembers why. Rung by every other part, answered by the claimer only."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()
        self._doubt: str | None = None
        self._peer_left = False
        self.quiet = False
        """Whether nothing new is to be taken from this queue."""

    def ring(self) -> None:
        """There may be something to claim, or room for it."""
        self._rung.set()

    def doubt(self, why: str) -> None:
        """An answer may have been lost: what Redis says is ours must be compared with what runs."""
        self._doubt = self._doubt or why
        self._rung.set()

    def peer_left(self) -> None:
        """Another daemon has drained: its triggers can be adopted at once."""
        self._peer_left = True
        self._rung.set()

    def be_quiet(self) -> None:
        """Take nothing new any more; what runs goes on. There is no way back but a restart."""
        if not self.quiet:
            self.quiet = True
            log.info("quiet: nothing new is taken from now on")

    def take_doubt(self) -> str | None:
        """The reason to audit since the last call, if there was one."""
        doubt, self._doubt = self._doubt, None
        return doubt

    def take_peer_left(self) -> bool:
        """Whether a peer has drained since the last call."""
        left, self._peer_left = self._peer_left, False
        return left

    async def wait(self, timeout_s: float) -> None:
        """Until it rings, at most `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._rung.wait()
        except TimeoutError:
            return
        finally:
            self._rung.clear()


@dataclass(frozen=True, slots=True)
class Consumer:
    """This daemon as a consumer of one queue, and the verbs that it sends as such."""

    queue: str
    name: str
    triggers: TriggerQueue
    leases: Leases
    dead_letters: DeadLetters
    bell: Bell = field(default_factory=Bell)

    @classmethod
    def of(cls, queue: str, name: str) -> "Consumer":
        return cls(queue, name, TriggerQueue(queue), Leases(queue), DeadLetters(queue))

    async def make_group(self, redis: AsyncRedis) -> None:
        """Make the stream and its group anew after Redis said that they are gone."""
        try:
            await redis.run(self.triggers.prepare(self.name))
        except (RedisUnavailableError, RedisRefusedError) as error:
            log.warning("cannot make the consumer group", queue=self.queue, error=str(error))


class Backoff:
    """Growing pauses between attempts, with jitter so that a fleet does not come back in step."""

    def __init__(self, first_s: float = 0.05, longest_s: float = 1.0) -> None:
        self._first_s, self._longest_s = first_s, longest_s
        self.failures = 0

    def reset(self) -> None:
        self.failures = 0

    def next_s(self) -> float:
        """Seconds to pause after one more failure."""
        pause_s = min(self._longest_s, self._first_s * 2.0 ** min(self.failures, 16))
        self.failures += 1
        return pause_s * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, not a secret


async def end_task(task: asyncio.Task[Any]) -> None:
    """Cancel a task and return once it has ended.

    More than once if need be: `asyncio.wait_for` of Python 3.11, which redis-py uses for every write, loses a
    cancellation that arrives in the moment at which the write succeeds.
    """
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=0.1)
