"""One heap, one scheduler task, a bounded number of calls in flight. No task and no timer per wait.

The way of a request: due in its lane -> the lane's line (its quota's) -> the quota's budget -> a call, with all in the
lane that are due or nearly so -> `Transport.send` -> each request's part of the answer -> its waits -> due again.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Mapping
from typing import Any

from triggerd.aws.answers import JITTER, Answers
from triggerd.aws.budget import Budget
from triggerd.aws.calls import Call
from triggerd.aws.connections import SharedClient
from triggerd.aws.forms import Place
from triggerd.aws.polling import Polling, PollMetrics
from triggerd.aws.schedule import Schedule
from triggerd.aws.switches import FormSwitches
from triggerd.aws.transport import Transport
from triggerd.aws.waits import Request, RequestKey, Wait, packed, request_key
from triggerd.clock import monotonic_s, wall_ms
from triggerd.settings import AwsSettings

log = logging.getLogger(__name__)

# A wait that joins a request asks it again, but not more often than this (or its own delay).
_SPACING_S = 1.0
# Waits that begin together come in batches: so long the first one of a lane waits for the others.
_GATHER_S = 0.02
# Polls that are due within so many seconds are sent together: looking costs as much as sending.
_TICK_S = 0.005
_RETRY_BASE_S, _RETRY_CAP_S = 0.5, 30.0
_OVERDUE_INTERVALS = 3


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
        self._metrics = metrics
        self._clock, self._wall_clock = clocks
        self._rng = rng or random.Random()  # noqa: S311 - jitter, not a secret
        self._answers = Answers(self._clock, self._rng)
        switches = FormSwitches()
        self._schedule = Schedule(settings, budget, switches)
        self._polling = Polling(transport, metrics, self._answers, switches, self._clock)
        self._requests: dict[RequestKey, Request] = {}
        self._calls: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._scheduler: asyncio.Task[None] | None = None
        self.waits = 0
        """Waits in progress."""

    async def open(self) -> None:
        self._scheduler = asyncio.create_task(self._run(), name="aws poller")
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

    def join(
        self, wait: Wait, shared: SharedClient, params: Mapping[str, Any], place: Place | None = None
    ) -> asyncio.Future[Mapping[str, Any]]:
        """Begin to poll for a wait; the future is what ends it. Call `leave` after it, however that was.

        Args:
            place: Where its request stands in a merged call; None: it is never merged.

        The future raises WaiterFailedError, WaiterExhaustedError, AwsCallError, WaiterDefinitionError.
        """
        if self._scheduler is None:
            raise RuntimeError("the AWS side is not open: use `async with`")
        wait.future = asyncio.get_running_loop().create_future()
        now_s = self._clock()
        wait.begin(now_s, self._wall_clock())
        self.waits += 1
        own, operation = place or packed(params), wait.definition.operation
        key = request_key(shared, operation, own)
        request = self._requests.get(key)
        if request is None:
            request = self._requests[key] = Request(key, operation, own)
            self._schedule.enter(request)
            wait.due_s = now_s + (_GATHER_S if place else 0.0)
        wait.request = request
        request.add(wait)
        if not request.on_its_way:
            at_s = self._at(request, wait)
            if at_s < request.due_s:
                request.slack_s = wait.slack_s
                self._push(request, at_s)
        return wait.future

    def leave(self, wait: Wait) -> None:
        """A wait that had joined is over."""
        self.waits -= 1
        request, wait.request = wait.request, None
        if request is not None:
            if wait.future is not None and wait.future.cancelled():
                self._answers.report(wait, wait.due_s, request.trouble, cancelled=True)
            request.discard(wait)
            # One on its way to AWS is dropped when it comes back.
            if not request.waits and not request.on_its_way:
                self._drop(request)

    def _drop(self, request: Request) -> None:
        if self._requests.get(request.key) is request:
            del self._requests[request.key]
            self._schedule.drop(request)

    @staticmethod
    def _at(request: Request, wait: Wait) -> float:
        """When this wait's next poll may go out: when it wants it, at a distance to the request's last one."""
        return max(wait.due_s, request.sent_s + min(_SPACING_S, (1 - JITTER) * wait.delay_s))

    def _push(self, request: Request, at_s: float, *, singly: bool = False) -> None:
        if self._schedule.push(request, at_s, singly=singly):
            self._wake.set()

    async def _run(self) -> None:
        """The scheduler task."""
        loop = asyncio.get_running_loop()
        while True:
            self._wake.clear()
            now_s = self._clock()
            self._schedule.line_up(now_s)
            sleep_s = self._schedule.send_allowed(now_s, self._send)
            sleep_s = min(sleep_s, self._schedule.next_s - self._clock())
            timer = None
            if sleep_s < float("inf"):
                timer = loop.call_later(max(_TICK_S, sleep_s), self._wake.set)
            await self._wake.wait()
            if timer is not None:
                timer.cancel()

    def _send(self, call: Call) -> None:
        self._metrics.poll_lag(call.lane.shared.service, call.lag_s)
        task = asyncio.create_task(self._poll(call), name=f"poll {call.lane.shared.service}.{call.operation}")
        self._calls.add(task)
        task.add_done_callback(self._ended)

    async def _poll(self, call: Call) -> None:
        singly: set[Request] = set()
        try:
            if call.waits:
                singly = await self._polling.poll(call)
            else:  # they were cancelled meanwhile
                call.lane.line.quota.released(call.sent_s)
        finally:
            luck = self._rng.random()  # one for all, so that they stay together
            for request in call.requests:
                self._back(request, call, luck, singly=request in singly)
            if self._schedule.ended(call):
                self._wake.set()

    def _back(self, request: Request, call: Call, luck: float, *, singly: bool) -> None:
        """A request comes back from AWS: due again, in its own lane, or at once by a call of its own."""
        request.on_its_way = False
        if not request.waits:
            self._drop(request)
            return
        if singly:
            request.sent_s = float("-inf")  # the merged call said nothing of it
            self._push(request, request.due_s, singly=True)
            return
        at_s, request.slack_s = min((self._at(request, wait), wait.slack_s) for wait in request.waits)
        if request.unreachable:
            # It goes behind the others of its quota: where it alone is at fault, they are not to suffer.
            ceiling_s = min(_RETRY_CAP_S, _RETRY_BASE_S * 2 ** min(request.failures - 1, 10))
            at_s = max(at_s, self._clock() + luck * ceiling_s)
        if request.failures:
            for wait in request.waits:
                self._answers.report(wait, at_s, request.trouble)
        elif held_s := self._schedule.long_poll_s(request):
            at_s = self._long_poll_at(request, call, at_s, held_s)
        self._push(request, at_s, singly=request.alone)

    def _long_poll_at(self, request: Request, call: Call, at_s: float, held_s: int) -> float:
        """When to send a call that AWS may hold for `held_s` seconds, of a request that is due at `at_s`."""
        now_s = self._clock()
        if not call.long and all(wait.polls <= 1 for wait in request.waits):
            return now_s  # right after the first poll
        # So that the answer is there when it is due; but where AWS did not hold the last one, not sooner after it.
        return max(at_s - held_s, call.sent_s + (at_s - now_s))

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._calls.discard(task)
        if self._schedule.has_waiting:
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
