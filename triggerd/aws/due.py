"""Requests by the instant at which they are due."""

import heapq
from itertools import count

from triggerd.aws.waits import Request


class DueHeap:
    """A heap of requests. One that was moved or dropped leaves a stale entry behind, which `pop` passes over."""

    def __init__(self) -> None:
        self._entries: list[tuple[float, int, Request]] = []
        self._order = count()  # requests due at the same instant are served in turn

    @property
    def next_s(self) -> float:
        """When the earliest entry is due, stale or not; inf where there is none."""
        return self._entries[0][0] if self._entries else float("inf")

    def push(self, request: Request, at_s: float) -> bool:
        """Let the request be due at `at_s` instead of when it was. True where that is now the earliest."""
        if at_s == request.next_s:
            return False
        request.next_s = at_s
        heapq.heappush(self._entries, (at_s, next(self._order), request))
        return self._entries[0][2] is request

    def pop(self, now_s: float, at_most: int) -> list[Request]:
        """Take out those that are due, the earliest first, and mark them as on their way."""
        due: list[Request] = []
        while self._entries and self._entries[0][0] <= now_s and len(due) < at_most:
            at_s, _, request = heapq.heappop(self._entries)
            if at_s == request.next_s and not request.queued:
                request.queued = True
                due.append(request)
        return due
