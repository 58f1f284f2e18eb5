"""The order of writes and reads on a connection that has several calls under way; no socket is touched here."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

from redis.exceptions import ResponseError

from triggerd.streams.script import Call

T = TypeVar("T")

_UNDER_WAY, _UNDER_WAY_BYTES = 8, 1024 * 1024
"""Calls without an answer, and bytes of them beyond which no other is written. Their answers are short: neither side
stops reading because the other one does."""


class Pipeline(Generic[T]):
    """Which call is written next and which one is answered next, on a connection that does not wait for answers."""

    def __init__(self, calls: Mapping[int, Call[T]]) -> None:
        self._to_send = deque(calls.items())
        self._under_way: deque[tuple[int, Call[T], int]] = deque()
        self._under_way_bytes = 0
        self.answers: dict[int, T] = {}

    def __bool__(self) -> bool:
        return bool(self._to_send or self._under_way)

    @property
    def waits(self) -> bool:
        """Whether answers are still to be read."""
        return bool(self._under_way)

    def writes(self, pack: Callable[..., Any]) -> Iterator[Any]:
        """What is to be written now, packed."""
        while self._to_send and len(self._under_way) < _UNDER_WAY and self._under_way_bytes < _UNDER_WAY_BYTES:
            number, call = self._to_send.popleft()
            packed = pack(*call.command)
            size_bytes = sum(map(len, packed))
            self._under_way.append((number, call, size_bytes))
            self._under_way_bytes += size_bytes
            yield packed

    def answered(self, reply: Any) -> None:
        """The oldest call under way has this reply; an error: it has no answer, and nothing more is written."""
        number, call, size_bytes = self._under_way.popleft()
        self._under_way_bytes -= size_bytes
        if isinstance(reply, ResponseError):
            self._to_send.clear()
        else:
            self.answers[number] = call.read(reply)


def without(answers: Mapping[int, Any], calls: Sequence[Call[T]]) -> dict[int, Call[T]]:
    """The calls that have no answer, by their number."""
    return {number: call for number, call in enumerate(calls) if number not in answers}
