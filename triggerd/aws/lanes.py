"""A lane holds the requests that may share a call; a line holds the lanes of one quota that have requests due."""

import heapq
from collections.abc import Mapping
from itertools import count
from typing import Any

from triggerd.aws.budget import QuotaGroup
from triggerd.aws.connections import SharedClient
from triggerd.aws.forms import Form
from triggerd.aws.waits import Request

_LEAST = 2
# After so many merged calls in a row without an answer it may be they that are at fault, and not AWS that is away.
_UNANSWERED = 1
# Of a call that answers them all: so many are read without holding up the others for long.
_AT_ONCE = 2000


class Lane:
    """Requests of one client and operation; with a form, those whose other parameters are equal as well.

    A lane is in one place: in the poller's heap until its first request is due, then in its line (`lined_up`), or
    nowhere while it has no request to send.
    """

    __slots__ = ("_due", "_unanswered", "answered_singly_s", "common", "form", "least", "line", "lined_up",
                 "listing", "members", "next_s", "off_until_s", "operation", "refusals", "shared")  # fmt: skip

    def __init__(
        self, shared: SharedClient, operation: str, line: "Line", form: Form | None, common: Mapping[str, Any]
    ) -> None:
        """
        Args:
            operation: What is called: the form's merged one where there is a form.
        """
        self.shared, self.operation, self.line = shared, operation, line
        self.form, self.common = form, common
        self.members = 0  # requests that come back here
        self.next_s = float("inf")  # when the poller looks at it next
        self.lined_up = False
        self.listing = False  # a call that answers all of its requests is under way
        self.least = _LEAST  # requests from which on a merged call costs less than single ones
        self.refusals = 0  # merged calls in a row that AWS answered with an error
        self.off_until_s = float("-inf")  # for these, single ones are made until then
        self._due: list[tuple[float, Request]] = []
        self._unanswered = 0  # merged calls in a row
        self.answered_singly_s = float("inf")  # when a single call was, after these

    @property
    def due_s(self) -> float:
        """When its first request is due; inf where it has none."""
        due = self._due
        while due and not self._is_here(due[0]):
            heapq.heappop(due)
        return due[0][0] if due else float("inf")

    def push(self, request: Request, at_s: float) -> None:
        """Let the request be due at `at_s`, here and nowhere else."""
        if request.lane is self and at_s == request.due_s:
            return
        request.lane, request.due_s = self, at_s
        heapq.heappush(self._due, (at_s, request))

    def take(self, now_s: float) -> list[Request]:
        """The requests for one call, the oldest first, marked as on their way. Those that are nearly due come along."""
        room = min(self.form.max_ids, _AT_ONCE) if self.form else 1
        taken: list[Request] = []
        while (request := self._first(now_s)) is not None:
            room -= len(request.place.ids) if self.form and request.place else 1
            if room < 0 and taken:  # one that is larger than that goes by itself
                break
            heapq.heappop(self._due)
            request.lane, request.on_its_way = None, True
            taken.append(request)
        return taken

    def pays(self, now_s: float) -> bool:
        """Whether a merged call is cheaper now than single ones."""
        if len(self._due) < self.least:
            return False
        found: list[Request] = []
        while len(found) < self.least and (request := self._first(now_s)) is not None:
            heapq.heappop(self._due)
            found.append(request)
        for request in found:
            heapq.heappush(self._due, (request.due_s, request))
        return len(found) == self.least

    def spent(self, calls: int, requests: int) -> None:
        """A merged call for so many requests took so many calls in the end; where single ones had been cheaper, wait
        for more requests next time, and try again with fewer after that.
        """
        self.least = calls + 1 if calls > requests else max(_LEAST, self.least - 1)

    def unanswered(self) -> bool:
        """A merged call had no answer. Whether a request is to be asked singly, to see what is at fault."""
        self._unanswered += 1
        return self._unanswered >= _UNANSWERED

    def single_answered(self, now_s: float) -> None:
        """A single call of a request that belongs here was answered."""
        if self._unanswered >= _UNANSWERED:
            self.answered_singly_s = min(self.answered_singly_s, now_s)

    def merged_answered(self) -> None:
        """A merged call was answered, or is not made for a while."""
        self._unanswered, self.answered_singly_s = 0, float("inf")

    def _first(self, now_s: float) -> Request | None:
        if self.due_s == float("inf"):
            return None
        request = self._due[0][1]
        return request if request.due_s - request.slack_s <= now_s else None

    def _is_here(self, entry: tuple[float, Request]) -> bool:
        at_s, request = entry
        return request.lane is self and request.due_s == at_s


class Line:
    """The lanes that spend one quota and have requests due, the one with the oldest first."""

    __slots__ = ("_lanes", "_order", "in_flight", "lost_in_a_row", "quota")

    def __init__(self, quota: QuotaGroup) -> None:
        self.quota = quota
        self.in_flight = self.lost_in_a_row = 0
        self._lanes: list[tuple[float, int, Lane]] = []
        self._order = count()

    def __len__(self) -> int:
        return len(self._lanes)

    @property
    def first(self) -> Lane:
        return self._lanes[0][2]

    def add(self, lane: Lane) -> None:
        lane.lined_up = True
        heapq.heappush(self._lanes, (lane.due_s, next(self._order), lane))

    def pop(self) -> Lane:
        lane = heapq.heappop(self._lanes)[2]
        lane.lined_up = False
        return lane
