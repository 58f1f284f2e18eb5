"""What the poller holds: a `Wait` per caller, a `Request` per distinct AWS call, shared by all waits that need it."""

import asyncio
import copy
import json
from collections.abc import Callable, Hashable, Mapping
from typing import Any

from botocore import xform_name

from triggerd.aws.acceptors import first_status
from triggerd.aws.connections import SharedClient
from triggerd.aws.waiters import WaiterDefinition
from triggerd.trigger import Progress, WaitResponse, WaitState

# A poll that was due at the end of the budget is the last one, whatever the rounding of floats says.
_EPSILON_S = 1e-6


class Request:
    """One distinct AWS call, sent again and again for every wait that needs its answer.

    It is in exactly one place: in the poller's heap (`queued` False), or on its way to AWS (`queued` True).
    """

    __slots__ = ("failures", "key", "next_s", "operation", "params", "queued", "sent_s", "shared", "trouble", "waits")

    def __init__(self, key: "RequestKey", operation: str, params: Mapping[str, Any]) -> None:
        self.key = key
        self.shared: SharedClient = key[0]
        self.operation = operation
        self.params = params
        self.waits: set[Wait] = set()
        self.next_s = float("inf")  # when it is sent next, by the monotonic clock
        self.sent_s = float("-inf")  # when it was sent last
        self.failures = 0  # lost answers in a row
        self.queued = False
        self.trouble = ""  # why the last answer was lost

    def __repr__(self) -> str:
        return f"<request {self.shared.service}.{self.operation} of {len(self.waits)} waits>"


RequestKey = tuple[SharedClient, str, str]


def request_key(shared: SharedClient, operation: str, params: Mapping[str, Any]) -> RequestKey:
    """Equal for requests that AWS cannot tell apart: same client (so same identity and region), same call."""
    text = json.dumps(params, sort_keys=True, default=lambda value: [type(value).__name__, repr(value)])
    return shared, operation, text


def method_name(operation: str) -> str:
    """The client's method of an operation: ``DescribeClusters`` -> ``describe_clusters``."""
    name: str = xform_name(operation)
    return name


class Wait:
    """One caller's wait: its rules, its budget of time, its future. No task of its own."""

    __slots__ = (
        "began_s",
        "definition",
        "delay_s",
        "due_s",
        "end_s",
        "future",
        "last_status",
        "on_poll",
        "polls",
        "queries",
        "request",
        "restored",
        "span_s",
    )

    def __init__(
        self,
        definition: WaiterDefinition,
        delay_s: float,
        max_attempts: int,
        queries: tuple[Any, ...],
        on_poll: Callable[[Progress], None] | None,
        *,
        restored: WaitState | None = None,
    ) -> None:
        self.definition = definition
        self.delay_s = delay_s
        self.span_s = delay_s * (max_attempts - 1)  # from the first poll to the end of the budget
        self.queries = queries
        self.on_poll = on_poll
        self.restored = restored
        self.request: Request | None = None
        self.future: asyncio.Future[tuple[Mapping[str, Any], bool]] | None = None
        self.began_s = self.due_s = 0.0
        self.end_s: float | None = None
        self.polls = 0
        self.last_status: str | None = None

    def begin(self, now_s: float, now_ms: int) -> None:
        """Begin, or go on with what another daemon began: its instants are of the wall clock, ours are not."""
        self.began_s = self.due_s = now_s
        if self.restored is None:
            return
        began_ms, ends_ms, self.polls, self.last_status = self.restored
        self.began_s -= max(0, now_ms - began_ms) / 1000  # where its clock is ahead of ours, it has just begun
        if ends_ms is not None:
            self.end_s = now_s + (ends_ms - now_ms) / 1000
        self.restored = None

    @property
    def reads(self) -> Hashable:
        """Equal for waits that read the same from one answer."""
        return id(self.definition), self.queries

    def status_in(self, response: Mapping[str, Any]) -> str | None:
        """The status that this answer shows, by the wait's own queries, else by the waiter's expressions."""
        status = first_status(self.queries, response) if self.queries else None
        return status or self.definition.acceptors.status_in(response)

    def answered(self, status: str | None, sent_s: float) -> bool:
        """Count one answer to a poll sent at `sent_s`, which showed `status`; True where it used the budget up.

        Time lost to throttles, the network or a queue is what lies between the instant this wait wanted its poll
        and the instant the answered one was sent; it moves the end of the budget by as much.
        """
        self.polls += 1
        self.last_status = status or self.last_status
        if self.end_s is None:
            self.end_s = sent_s + self.span_s
            return self.span_s <= 0
        used_up = min(sent_s, self.due_s) >= self.end_s - _EPSILON_S
        self.end_s += max(0.0, sent_s - self.due_s)
        return used_up

    def schedule(self, now_s: float, factor: float) -> None:
        """Set the next due time: `factor` (0.9 to 1.1) delays from now, or the end of the budget where that is near."""
        self.due_s = now_s + self.delay_s * factor
        if self.end_s is not None and self.end_s <= now_s + 1.1 * self.delay_s:
            self.due_s = max(self.end_s, now_s + 0.9 * self.delay_s)

    def progress(self, now_s: float, next_s: float, trouble: str | None) -> Progress:
        # What is late by now will have moved the end, once it is answered.
        budget_s = None if self.end_s is None else self.end_s + max(0.0, now_s - self.due_s) - now_s
        waited_s, next_poll_s = now_s - self.began_s, max(0.0, next_s - now_s)
        return Progress(self.polls, self.last_status, waited_s, next_poll_s, trouble, budget_s, now_s)

    def response(self, answer: Mapping[str, Any], now_s: float, *, shared: bool) -> WaitResponse:
        """The caller's own copy of the answer; deep where others got the same answer."""
        result = WaitResponse(copy.deepcopy(dict(answer)) if shared else answer)
        result.last_status, result.polls, result.waited_s = self.last_status, self.polls, now_s - self.began_s
        return result
