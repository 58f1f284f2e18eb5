"""When what is sent: lanes wait in one heap until they are due, then in their quota's line for its budget.

No task, no timer, no clock: the poller asks with the present instant.
"""

import heapq
from collections import deque
from collections.abc import Callable
from itertools import count

from triggerd.aws.budget import Budget
from triggerd.aws.calls import Call, long_poll_s
from triggerd.aws.connections import SharedClient
from triggerd.aws.lanes import Lane, Line
from triggerd.aws.switches import FormSwitches
from triggerd.aws.waits import Request
from triggerd.settings import AwsSettings

# Lanes looked at in one go: after a pause of the whole process everything is due, and the loop must not stall.
_LANES_AT_ONCE = 1000
# Quotas that AWS serves slowly, however many, may not hold every place: each gets as many as half of the free ones.
_PART_OF_FREE = 2
_LONG_POLL_SPARE_S = 5.0


class DueHeap:
    """Lanes by the instant at which their first request is due. Moved ones leave stale entries behind."""

    def __init__(self) -> None:
        self._entries: list[tuple[float, int, Lane]] = []
        self._order = count()  # lanes due at the same instant are served in turn

    @property
    def next_s(self) -> float:
        """When the earliest entry is due, stale or not; inf where there is none."""
        return self._entries[0][0] if self._entries else float("inf")

    def push(self, lane: Lane, at_s: float) -> bool:
        """Look at the lane at `at_s`. True where that is now the earliest."""
        if at_s == lane.next_s:
            return False
        lane.next_s = at_s
        heapq.heappush(self._entries, (at_s, next(self._order), lane))
        return self._entries[0][2] is lane

    def pop(self, now_s: float, at_most: int) -> list[Lane]:
        """Take out those that are due, the earliest first."""
        due: list[Lane] = []
        while self._entries and self._entries[0][0] <= now_s and len(due) < at_most:
            at_s, _, lane = heapq.heappop(self._entries)
            if at_s == lane.next_s:
                lane.next_s = float("inf")
                due.append(lane)
        return due


class Schedule:
    """What is due, and what of it may be sent."""

    def __init__(self, settings: AwsSettings, budget: Budget, switches: FormSwitches) -> None:
        self._settings, self._budget, self._switches = settings, budget, switches
        self._lanes: dict[tuple[SharedClient, str], Lane] = {}
        self._lines: dict[object, Line] = {}
        self._waiting: dict[Line, None] = {}  # lines with lanes lined up, in their turn
        self._heap = DueHeap()
        self._in_flight = self._long_polls = 0

    @property
    def next_s(self) -> float:
        """When the next lane is to be looked at."""
        return self._heap.next_s

    @property
    def has_waiting(self) -> bool:
        """Whether something is due and waits for its turn: a freed place may be its."""
        return bool(self._waiting)

    def enter(self, request: Request) -> None:
        """Give a new request its lane."""
        place, shared = request.place, request.shared
        if place is None:
            request.home = self._plain_lane(request)
        else:
            key, form = (shared, place.key), place.form
            if key not in self._lanes:
                line = self._line(shared, form.merged)
                self._lanes[key] = Lane(shared, form.merged, line, form, place.common)
            request.home = self._lanes[key]
        request.home.members += 1

    def drop(self, request: Request) -> None:
        """A request leaves, wherever it stands; a lane of its own kind of merged call goes with the last one."""
        request.lane = None
        home: Lane = request.home
        home.members -= 1
        if not home.members and request.place is not None:
            self._lanes.pop((home.shared, request.place.key), None)

    def push(self, request: Request, at_s: float, *, singly: bool = False) -> bool:
        """Let the request be due at `at_s`, `singly` by a call of its own. True where nothing is due before it."""
        lane: Lane = self._plain_lane(request) if singly else request.home
        lane.push(request, at_s)
        return not lane.lined_up and not lane.listing and self._file(lane)

    def long_poll_s(self, request: Request) -> int:
        """For how many seconds AWS may hold the request's next call; 0: it is asked for an answer at once."""
        if self._long_polls >= self._settings.long_polls:
            return 0
        return long_poll_s(request, self._settings.read_timeout_s - _LONG_POLL_SPARE_S)

    def line_up(self, now_s: float) -> None:
        """Lanes that are due go into their lines."""
        for _ in range(2):  # the second time for those that get what is not merged after all
            for lane in self._heap.pop(now_s, _LANES_AT_ONCE):
                if not lane.lined_up and not lane.listing:
                    self._line_up(lane, now_s)

    def send_allowed(self, now_s: float, send: Callable[[Call], None]) -> float:
        """Send what the budgets allow, line after line in turn. Answers the seconds until one may allow more."""
        sleep_s = float("inf")
        turn = deque(self._waiting)
        while turn and self._in_flight < self._settings.max_concurrent_calls:
            line = turn.popleft()
            free = self._settings.max_concurrent_calls - self._in_flight
            if line.in_flight >= max(1, free // _PART_OF_FREE):
                continue
            lane = self._first_due(line, now_s)
            pause_s = line.quota.take(now_s) if lane else 0.0
            if pause_s > 0:
                sleep_s = min(sleep_s, pause_s)
                continue
            del self._waiting[line]
            if lane is not None:
                send(self._next_call(line, lane, now_s))
            if line:  # to the end: a freed place is the next line's
                self._waiting[line] = None
                turn.append(line)
        return sleep_s

    def ended(self, call: Call) -> bool:
        """A call has come back, and its requests have been pushed again. True where nothing is due before them."""
        self._count(call, -1)
        if not call.lane.listing:
            return False
        call.lane.listing = False
        return self._file(call.lane)

    def _count(self, call: Call, by: int) -> None:
        if call.long:
            self._long_polls += by
        else:
            self._in_flight += by
            call.lane.line.in_flight += by

    def _file(self, lane: Lane) -> bool:
        """Have the lane looked at when its first request is due. True where that is the earliest now."""
        at_s = lane.due_s
        return at_s < float("inf") and self._heap.push(lane, at_s)

    def _line_up(self, lane: Lane, now_s: float) -> None:
        """Into its line, or, where merging is off or does not pay, its requests one by one."""
        if lane.form is not None and not (self._switches.on(lane, now_s) and lane.pays(now_s)):
            while lane.due_s <= now_s:
                for request in lane.take(now_s):
                    request.on_its_way = False
                    self.push(request, request.due_s, singly=True)
        if lane.due_s > now_s:
            self._file(lane)
        else:
            self._waiting[lane.line] = None
            lane.line.add(lane)

    def _first_due(self, line: Line, now_s: float) -> Lane | None:
        """The lane whose turn it is; those whose waits have gone meanwhile leave the line."""
        while line:
            lane = line.first
            if lane.due_s <= now_s:
                return lane
            line.pop()
            self._file(lane)
        return None

    def _next_call(self, line: Line, lane: Lane, now_s: float) -> Call:
        """The lane's next call; it stays in its line while more is due."""
        line.pop()
        lag_s, requests = now_s - lane.due_s, lane.take(now_s)
        call = Call(lane, requests, now_s, lag_s, 0 if lane.form else self.long_poll_s(requests[0]))
        for request in requests:
            request.sent_s = now_s
        self._count(call, 1)
        lane.listing = lane.form is not None and lane.form.list_all
        if not lane.listing and lane.due_s <= now_s:
            line.add(lane)
        elif not lane.listing:
            self._file(lane)
        return call

    def _plain_lane(self, request: Request) -> Lane:
        key = request.shared, request.operation
        if key not in self._lanes:
            self._lanes[key] = Lane(request.shared, request.operation, self._line(*key), None, {})
        return self._lanes[key]

    def _line(self, shared: SharedClient, operation: str) -> Line:
        quota = self._budget.group(shared.identity, shared.region, shared.service, operation)
        if quota not in self._lines:
            self._lines[quota] = Line(quota)
        return self._lines[quota]
