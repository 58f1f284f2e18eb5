"""What the poller holds: a `Wait` per caller, a `Request` per distinct AWS call, shared by all waits that need it."""

import asyncio
import copy
import json
import sys
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

from botocore import xform_name

from triggerd.aws.acceptors import first_status
from triggerd.aws.connections import SharedClient
from triggerd.aws.forms import Place
from triggerd.aws.waiters import WaiterDefinition
from triggerd.trigger import Progress, WaitResponse, WaitState

SLACK = 0.3
"""The part of a delay by which a poll may be early where it rides along in a call that is made for others."""
# A poll that was due at the end of the budget is the last one, whatever the rounding of floats says.
_EPSILON_S = 1e-6


class Request:
    """One distinct AWS call, sent again and again for every wait that needs its answer.

    It stands in exactly one place: due in its `lane`, or `on_its_way` to AWS.
    """

    __slots__ = ("_one", "_others", "_params", "alone", "due_s", "failures", "home", "key", "lane", "on_its_way",
                 "operation", "read", "sent_s", "slack_s", "trouble", "unreachable")  # fmt: skip

    def __init__(self, key: "RequestKey", operation: str, params: "Params | Place") -> None:
        """
        Args:
            params: Its parameters, or its place in a merged call, which knows them.
        """
        self.key = key
        self.operation, self._params = operation, params
        # Nearly always there is one wait, and a set of one would be a third of a request.
        self._one: Wait | None = None
        self._others: set[Wait] | None = None
        self.home: Any = None  # the lane that it comes back to
        self.lane: Any = None  # where it is due now
        self.due_s = float("inf")  # when it is sent next, by the monotonic clock
        self.slack_s = 0.0  # so much earlier it may go along with others
        self.sent_s = float("-inf")  # when it was sent last
        self.failures = 0  # calls in a row without an answer
        self.unreachable = False  # the last of them met no throttle, but an outage
        self.on_its_way = False
        self.alone = False  # AWS refuses it: others are not to share its fate
        self.trouble: str | None = None  # why there was no answer to the last call
        self.read: Read | None = None

    def __lt__(self, other: "Request") -> bool:
        return False  # for heaps: neither of two that are due at the same instant goes first

    def __repr__(self) -> str:
        return f"<request {self.key[0].service}.{self.operation} of {len(self.waits)} waits>"

    @property
    def shared(self) -> SharedClient:
        return self.key[0]

    @property
    def params(self) -> Mapping[str, Any]:
        """The parameters of the single call."""
        if isinstance(self._params, Place):
            return self._params.params
        return json.loads(self._params) if isinstance(self._params, str) else self._params

    @property
    def place(self) -> Place | None:
        """Its place in a merged call; None: it is sent as it is."""
        return self._params if isinstance(self._params, Place) else None

    @property
    def waits(self) -> "Sequence[Wait]":
        """The waits that need its answer, as they are now."""
        one = () if self._one is None else (self._one,)
        return one if not self._others else (*one, *self._others)

    def add(self, wait: "Wait") -> None:
        """One more wait needs its answer."""
        if self._one is None:
            self._one = wait
        elif self._others is None:
            self._others = {wait}
        else:
            self._others.add(wait)

    def discard(self, wait: "Wait") -> None:
        """A wait has ended."""
        if self._one is wait:
            self._one = None
        elif self._others is not None:
            self._others.discard(wait)


Read = tuple[int, Mapping[Hashable, tuple[Any, str | None, bool]]]
"""What was read from the last answer: its digest, and what each kind of wait saw in it."""

Params = str | Mapping[str, Any]
"""Parameters as JSON, which takes a third of the memory; as they are where they hold what JSON has not."""

RequestKey = tuple[SharedClient, Hashable, Hashable]


def packed(params: Mapping[str, Any]) -> Params:
    """A copy: it is sent for others, too, when the caller has long gone on with its own."""
    try:
        text = _ENCODER.encode(params)
    except TypeError:
        return copy.deepcopy(params)
    return text


_ENCODER = json.JSONEncoder(sort_keys=True)


def request_key(shared: SharedClient, operation: str, params: Params | Place) -> RequestKey:
    """Equal for requests that AWS cannot tell apart: same client (so same identity and region), same call.

    And the same way of merging: one wait may read what a merged answer lacks, while another does not.
    """
    if isinstance(params, Place):
        return shared, params.key, params.ids
    if isinstance(params, str):
        return shared, operation, params
    text = json.dumps(params, sort_keys=True, default=lambda value: [type(value).__name__, repr(value)])
    return shared, operation, f"+{text}"


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
        "slack_s",
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
        self.future: asyncio.Future[Mapping[str, Any]] | None = None
        self.began_s = self.due_s = self.slack_s = 0.0
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
        return self.definition, self.queries  # not its id: that may be another's, once this one is gone

    def status_in(self, response: Mapping[str, Any]) -> str | None:
        """The status that this answer shows, by the wait's own queries, else by the waiter's expressions."""
        status = first_status(self.queries, response) if self.queries else None
        return status or self.definition.acceptors.status_in(response)

    def answered(self, status: str | None, sent_s: float) -> bool:
        """Count one answer to a poll sent at `sent_s`, which showed `status`; True where it used the budget up.

        Time lost to throttles, the network or a queue is what lies between the instant this wait wanted its poll
        and the instant the answered one was sent; it moves the end of the budget by as much.
        """
        used_up = self.is_last(sent_s)
        self.polls += 1
        if status:
            self.last_status = sys.intern(status)  # 100,000 waits see the same few
        if self.end_s is None:
            self.end_s = sent_s + self.span_s
        else:
            self.end_s += max(0.0, sent_s - self.due_s)
        return used_up

    def is_last(self, sent_s: float) -> bool:
        """Whether an answer to a poll sent at `sent_s` uses the budget up."""
        if self.end_s is None:
            return self.span_s <= 0
        return min(sent_s, self.due_s) >= self.end_s - _EPSILON_S

    def schedule(self, now_s: float, factor: float) -> None:
        """Set the next due time: `factor` (0.9 to 1.1) delays from now, or the end of the budget where that is near."""
        self.due_s = now_s + self.delay_s * factor
        self.slack_s = self.delay_s * SLACK
        if self.end_s is not None and self.end_s <= now_s + 1.1 * self.delay_s:
            self.due_s = max(self.end_s, now_s + 0.9 * self.delay_s)
            self.slack_s = 0.0  # earlier, and it would not be the last one

    def progress(self, now_s: float, next_s: float, trouble: str | None, *, cancelled: bool = False) -> Progress:
        # What is late by now will have moved the end, once it is answered.
        budget_s = None if self.end_s is None else self.end_s + max(0.0, now_s - self.due_s) - now_s
        waited_s, next_poll_s = now_s - self.began_s, max(0.0, next_s - now_s)
        return Progress(self.polls, self.last_status, waited_s, next_poll_s, trouble, budget_s, now_s, cancelled)

    def response(self, answer: Mapping[str, Any], now_s: float) -> WaitResponse:
        """The caller's own copy of the answer: others may have got the same one."""
        result = WaitResponse(copy.deepcopy(dict(answer)))
        result.last_status, result.polls, result.waited_s = self.last_status, self.polls, now_s - self.began_s
        return result
