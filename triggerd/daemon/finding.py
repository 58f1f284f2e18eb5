"""A finding of the doctor, and the one who asks: what is forbidden to ask is not checked, never an error."""

from dataclasses import dataclass, field
from typing import Literal, TypeVar

from triggerd.errors import RedisRefusedError, StreamMissingError
from triggerd.streams.connection import AsyncRedis
from triggerd.streams.script import Call

T = TypeVar("T")

Level = Literal["refuse", "wait", "warn", "ok", "unchecked"]
"""The daemon does not start; it waits until this is over; it says so and starts; it is well; it could not be asked."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        about: What it is, in a word or two.
        found: How it is, with the value.
        advice: What to do about it, "" where there is nothing to do.
    """

    level: Level
    about: str
    found: str
    advice: str = ""


@dataclass(slots=True)
class Asker:
    """Asks the server, and remembers what it was not allowed to ask."""

    redis: AsyncRedis
    refused: dict[str, str] = field(default_factory=dict)

    async def ask(self, call: Call[T]) -> T | None:
        """The answer, None where the server refuses it or there is no consumer group.

        Raises:
            RedisUnavailableError: No answer.
        """
        try:
            return await self.redis.run(call)
        except StreamMissingError:  # nobody has made the consumer group yet
            return None
        except RedisRefusedError as error:
            self.refused.setdefault(call.verb, str(error))
            return None
