"""One heap, one scheduler task, a bounded number of calls in flight. No task and no timer per wait.

The way of a request: due in its lane -> the lane's line (its quota's) -> the quota's budget -> a call, with all in the
lane that are due or nearly so -> `Transport.send` -> each request's part of the answer -> its waits -> due again.
"""

import asyncio
import copy
import logging
import random
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from triggerd.aws.answers import JITTER, Answers
from triggerd.aws.budget import Budget
from triggerd.aws.calls import Call, long_poll_s
from triggerd.aws.connections import SharedClient
from triggerd.aws.forms import Place
from triggerd.aws.lanes import DueHeap, Lane, Line
from triggerd.aws.polling import Polling, PollMetrics
from triggerd.aws.switches import FormSwitches
from triggerd.aws.transport import Transport
from triggerd.aws.waits import Request, RequestKey, Wait, request_key
from triggerd.clock import monotonic_s, wall_ms
from triggerd.settings import AwsSettings
from triggerd.trigger import WaitResponse

log = logging.getLogger(__name__)

# A wait that joins a request asks it again, but not more often than this (or its own delay).
_SPACING_S = 1.0
# Waits that begin together come in batches: so long the first one of a lane waits for the others.
_GATHER_S = 0.02
_RETRY_BASE_S, _RETRY_CAP_S = 0.5, 30.0
_OVERDUE_INTERVALS = 3
# Lanes looked at in one go: after a pause of the whole process everything is due, and the loop must not stall.
_LANES_AT_ONCE = 1000
# One quota that AWS serves slowly may not hold every place.
_LINES_AT_LEAST = 4
_LONG_POLL_SPARE_S = 5.0


class Poller:
    """Polls for all waits. Start with `open`, end with `close`: waits that are left are cancelled."""

    def __init__(
        self,
        settings: AwsSettings,
        transport: Transport,
        budget: Budget,
        metrics: PollMetrics,
        *,
        clocks: tuple[Callable[[], float], Callable[[], int]] = (monotonic_s, wall_ms),
        rng: random.Random | None = None,
    ) -> None:
        self._settings, self._budget, self._metrics = settings, budget, metrics
        self._clock, self._wall_clock = clocks
        self._rng = rng or random.Random()  # noqa: S311 - jitter, not a secret
        self._answers = Answers(self._clock, self._rng)
        self._switches = FormSwitches()
        self._polling = Polling(transport, metrics, self._answers, self._switches, self._clock)
        self._requests: dict[RequestKey, Request] = {}
        self._lanes: dict[tuple[SharedClient, str], Lane] = {}
        self._lines: dict[object, Line] = {}
        self._waiting: dict[Line, None] = {}  # lines with lanes lined up, in their turn
        self._due = DueHeap()
        self._calls: set[asyncio.Task[None]] = set()
        self._long_polls = 0
        self._wake = asyncio.Event()
        self._scheduler: asyncio.Task[None] | None = None
        self.waits = 0
        """Waits in progress."""

    async def open(self) -> None:
        self._scheduler = asyncio.create_task(self._schedule(), name="aws poller")
        self._scheduler.add_done_callback(self._stopped)

    async def close(self) -> None:
        tasks = [*self._calls, *([self._scheduler] if self._scheduler else [])]
        self._scheduler = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for request in self._requests.values():
            for wait in request.waits:
                if wait.future is not None:
                    wait.future.cancel("the AWS side is closing")
        self._requests.clear()

    def overdue(self) -> int:
        """Waits whose poll is late by three of their intervals: AWS throttles, is away, or we are overloaded."""
        now_s = self._clock()
        return sum(
            wait.due_s + _OVERDUE_INTERVALS * wait.delay_s < now_s
            for request in self._requests.values() if request.due_s < now_s for wait in request.waits
        )  # fmt: skip

    async def wait(
        self, wait: Wait, shared: SharedClient, params: Mapping[str, Any], place: Place | None = None
    ) -> WaitResponse:
        """Poll until an acceptor ends the wait in success.

        Args:
            place: Where its request stands in a merged call; None: it is never merged.

        Raises WaiterFailedError, WaiterExhaustedError, AwsCallError, WaiterDefinitionError.
        """
        if self._scheduler is None:
            raise RuntimeError("the AWS side is not open: use `async with`")
        wait.future = asyncio.get_running_loop().create_future()
        self._join(wait, request_key(shared, wait.definition.operation, params, place), params, place)
        try:
            return wait.response(await wait.future, self._clock())
        finally:
            self._leave(wait)

    # --- which requests there are, and when they are due ---------------------------------------------------------

    def _join(self, wait: Wait, key: RequestKey, params: Mapping[str, Any], place: Place | None) -> None:
        now_s = self._clock()
        wait.begin(now_s, self._wall_clock())
        self.waits += 1
        request = self._requests.get(key)
        if request is None:
            # A copy: it is sent for others, too, when the caller has long gone on with its own.
            request = Request(key, wait.definition.operation, copy.deepcopy(params), place)
            self._requests[key] = request
            request.home = self._merged_lane(request, place) if place else self._plain_lane(request)
            request.home.members += 1
            wait.due_s = now_s + (_GATHER_S if place else 0.0)
        wait.request = request
        request.waits.add(wait)
        if not request.on_its_way:
            at_s = self._at(request, wait)
            if at_s < request.due_s:
                request.slack_s = wait.slack_s
                self._push(request, at_s)

    def _leave(self, wait: Wait) -> None:
        self.waits -= 1
        request, wait.request = wait.request, None
        if request is not None:
            request.waits.discard(wait)
            # One on its way to AWS is dropped when it comes back.
            if not request.waits and not request.on_its_way:
                self._drop(request)

    def _drop(self, request: Request) -> None:
        request.lane = None  # its place in a lane is stale now
        if self._requests.get(request.key) is request:
            del self._requests[request.key]
            home: Lane = request.home
            home.members -= 1
            if not home.members and home.form is not None and request.place is not None:
                self._lanes.pop((home.shared, request.place.key), None)

    @staticmethod
    def _at(request: Request, wait: Wait) -> float:
        """When this wait's next poll may go out: when it wants it, at a distance to the request's last one."""
        return max(wait.due_s, request.sent_s + min(_SPACING_S, (1 - JITTER) * wait.delay_s))

    def _push(self, request: Request, at_s: float, lane: Lane | None = None) -> None:
        lane = lane or request.home
        lane.push(request, at_s)
        if not lane.lined_up and not lane.listing:
            self._file(lane)

    def _file(self, lane: Lane) -> None:
        """Have the lane looked at when its first request is due."""
        at_s = lane.due_s
        if at_s < float("inf") and self._due.push(lane, at_s):
            self._wake.set()

    def _plain_lane(self, request: Request) -> Lane:
        key = request.shared, request.operation
        if key not in self._lanes:
            self._lanes[key] = Lane(request.shared, request.operation, self._line(*key), None, {})
        return self._lanes[key]

    def _merged_lane(self, request: Request, place: Place) -> Lane:
        key, form = (request.shared, place.key), place.form
        if key not in self._lanes:
            line = self._line(request.shared, form.merged)
            self._lanes[key] = Lane(request.shared, form.merged, line, form, place.common)
        return self._lanes[key]

    def _line(self, shared: SharedClient, operation: str) -> Line:
        quota = self._budget.group(shared.identity, shared.region, shared.service, operation)
        if quota not in self._lines:
            self._lines[quota] = Line(quota)
        return self._lines[quota]

    # --- the scheduler ------------------------------------------------------------------------------------------

    async def _schedule(self) -> None:
        while True:
            self._wake.clear()
            now_s = self._clock()
            for lane in self._due.pop(now_s, _LANES_AT_ONCE):
                if not lane.lined_up and not lane.listing:
                    self._line_up(lane, now_s)
            sleep_s = self._send_allowed(now_s)
            sleep_s = min(sleep_s, self._due.next_s - self._clock())
            with suppress(TimeoutError):
                async with asyncio.timeout(None if sleep_s == float("inf") else max(0.0, sleep_s)):
                    await self._wake.wait()

    def _line_up(self, lane: Lane, now_s: float) -> None:
        """A lane is due: into its line, or, where merging is off or does not pay, its requests one by one."""
        if lane.form is not None and not (self._switches.on(lane, now_s) and lane.pays(now_s)):
            while lane.due_s <= now_s:
                for request in lane.take(now_s):
                    request.on_its_way = False
                    self._push(request, request.due_s, self._plain_lane(request))
        if lane.due_s > now_s:
            self._file(lane)
        else:
            lane.line.add(lane)
            self._waiting[lane.line] = None

    def _send_allowed(self, now_s: float) -> float:
        """Send what the budgets allow, line after line in turn. Returns the seconds until one may allow more."""
        sleep_s = float("inf")
        places = self._settings.max_concurrent_calls - len(self._calls) + self._long_polls
        turn = deque(self._waiting)
        while turn and places > 0:
            line = turn.popleft()
            if line.in_flight >= max(1, self._settings.max_concurrent_calls // _LINES_AT_LEAST):
                continue
            lane = self._first_due(line, now_s)
            pause_s = line.quota.take(now_s) if lane else 0.0
            if lane is not None and pause_s > 0:
                sleep_s = min(sleep_s, pause_s)
                continue
            del self._waiting[line]
            if lane is not None:
                places -= self._send(line, lane, now_s)
            if line:  # to the end of the line of lines: a freed place is the next one's
                self._waiting[line] = None
                turn.append(line)
        return sleep_s

    def _first_due(self, line: Line, now_s: float) -> Lane | None:
        """The lane whose turn it is; those whose waits have gone meanwhile leave the line."""
        while line:
            lane = line.first
            if lane.due_s <= now_s:
                return lane
            line.pop()
            self._file(lane)
        return None

    def _send(self, line: Line, lane: Lane, now_s: float) -> int:
        """Send the lane's next call; the lane stays in its line while more is due. Answers the places it takes."""
        line.pop()
        self._metrics.poll_lag(lane.shared.service, now_s - lane.due_s)
        requests = lane.take(now_s)
        long_s = self._long_poll_s(requests[0]) if lane.form is None else 0
        call = Call(lane, requests, now_s, long_poll_s=long_s)
        for request in requests:
            request.sent_s = now_s
        lane.listing = lane.form is not None and lane.form.list_all
        self._long_polls += call.long
        line.in_flight += not call.long
        task = asyncio.create_task(self._poll(call), name=f"poll {lane.shared.service}.{call.operation}")
        self._calls.add(task)
        task.add_done_callback(self._ended)
        if lane.due_s <= now_s and not lane.listing:
            line.add(lane)
        elif not lane.listing:
            self._file(lane)
        return 0 if call.long else 1

    def _long_poll_s(self, request: Request) -> int:
        if self._long_polls >= self._settings.long_polls:
            return 0
        return long_poll_s(request, self._settings.read_timeout_s - _LONG_POLL_SPARE_S)

    def _long_poll_at(self, request: Request, call: Call, at_s: float, held_s: int) -> float:
        """When to send a call that AWS may hold for `held_s` seconds, of a request that is due at `at_s`."""
        now_s = self._clock()
        if not call.long and all(wait.polls <= 1 for wait in request.waits):
            return now_s  # right after the first poll
        # So that the answer is there when it is due; but where AWS did not hold the last one, not sooner after it.
        return max(at_s - held_s, call.sent_s + (at_s - now_s))

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._calls.discard(task)
        self._wake.set()
        if not task.cancelled() and task.exception() is not None:
            log.error("aws poll crashed", exc_info=task.exception())

    def _stopped(self, scheduler: asyncio.Task[None]) -> None:
        """A scheduler that crashed takes its waits along: nobody may wait for polls that never come."""
        self._scheduler = None
        error = None if scheduler.cancelled() else scheduler.exception()
        if error is None:
            return
        log.error("aws poller crashed", exc_info=error)
        for request in list(self._requests.values()):
            for wait in list(request.waits):
                self._answers.conclude(wait, RuntimeError(f"the AWS side crashed: {error!r}"), dict)

    # --- one call -----------------------------------------------------------------------------------------------

    async def _poll(self, call: Call) -> None:
        singly: set[Request] = set()
        try:
            if call.waits:
                singly = await self._polling.poll(call)
            else:  # they were cancelled meanwhile
                call.lane.line.quota.released(call.sent_s)
        finally:
            self._long_polls -= call.long
            call.lane.line.in_flight -= not call.long
            for request in call.requests:
                self._back(request, call, singly=request in singly)
            if call.lane.listing:
                call.lane.listing = False
                self._file(call.lane)

    def _back(self, request: Request, call: Call, *, singly: bool) -> None:
        """A request comes back from AWS: due again, in its own lane, or at once by a call of its own."""
        request.on_its_way = False
        if not request.waits:
            self._drop(request)
            return
        if singly:
            request.sent_s = float("-inf")  # the merged call said nothing of it
            self._push(request, request.due_s, self._plain_lane(request))
            return
        at_s, request.slack_s = min((self._at(request, wait), wait.slack_s) for wait in request.waits)
        if request.unreachable:
            # It goes behind the others of its quota: where it alone is at fault, they are not to suffer.
            ceiling_s = min(_RETRY_CAP_S, _RETRY_BASE_S * 2 ** min(request.failures - 1, 10))
            at_s = max(at_s, self._clock() + self._rng.uniform(0, ceiling_s))
        if request.failures:
            for wait in request.waits:
                self._answers.report(wait, at_s, request.trouble)
        elif held_s := self._long_poll_s(request):
            at_s = self._long_poll_at(request, call, at_s, held_s)
        self._push(request, at_s, self._plain_lane(request) if request.alone else None)
