"""One heap of due requests, one scheduler task, a bounded number of calls in flight. No task and no timer per wait.

The way of a request: heap -> due -> `merging.plan` -> its group's queue -> `Budget.take` -> `Transport.send` ->
answers to every wait that needs it -> back into the heap, or gone with its last wait.
"""

import asyncio
import copy
import logging
import random
from collections import deque
from collections.abc import Callable, Hashable, Mapping
from contextlib import suppress
from typing import Any, Protocol

from triggerd.aws import merging, verdicts
from triggerd.aws.budget import Budget
from triggerd.aws.connections import SharedClient
from triggerd.aws.due import DueHeap
from triggerd.aws.merging import Call
from triggerd.aws.transport import Outcome, Transport
from triggerd.aws.verdicts import Decision, Verdict
from triggerd.aws.waits import Request, RequestKey, Wait, request_key
from triggerd.clock import monotonic_s, wall_ms
from triggerd.settings import AwsSettings
from triggerd.trigger import WaitResponse

log = logging.getLogger(__name__)

_JITTER = 0.1
# A wait that joins a request asks it again, but not more often than this (or its own delay).
_SPACING_S = 1.0
_RETRY_BASE_S, _RETRY_CAP_S = 0.5, 30.0
_OVERDUE_INTERVALS = 3
# Due requests taken in one go: after a pause of the whole process everything is due, and the loop must not stall.
_PLAN_AT_ONCE = 1000
_DELIVER_AT_ONCE = 500
_WARN_EVERY = 10


class PollMetrics(Protocol):
    """What the poller counts."""

    def poll(self, service: str, operation: str, result: str, waits: int, seconds: float) -> None:
        """One AWS call ended: `result` is ok, aws_error, throttled or unavailable, `waits` how many it served."""
        ...


class Poller:
    """Polls for all waits. Start with `open`, end with `close`: waits that are left are cancelled."""

    def __init__(
        self,
        settings: AwsSettings,
        transport: Transport,
        metrics: PollMetrics,
        *,
        clock: Callable[[], float] = monotonic_s,
        wall_clock: Callable[[], int] = wall_ms,
        rng: random.Random | None = None,
    ) -> None:
        self._settings, self._transport, self._metrics = settings, transport, metrics
        self._clock, self._wall_clock = clock, wall_clock
        self._rng = rng or random.Random()  # noqa: S311 - jitter, not a secret
        self._budget = Budget(self._rng)
        self._requests: dict[RequestKey, Request] = {}
        self._due = DueHeap()
        self._queues: dict[Hashable, deque[Call]] = {}
        self._calls: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._scheduler: asyncio.Task[None] | None = None

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
            for request in self._requests.values() for wait in request.waits
        )  # fmt: skip

    @property
    def waits(self) -> int:
        """Waits in progress."""
        return sum(len(request.waits) for request in self._requests.values())

    async def wait(self, wait: Wait, shared: SharedClient, params: Mapping[str, Any]) -> WaitResponse:
        """Poll until an acceptor ends the wait in success.

        Raises WaiterFailedError, WaiterExhaustedError, AwsCallError, WaiterDefinitionError.
        """
        if self._scheduler is None:
            raise RuntimeError("the AWS side is not open: use `async with`")
        wait.future = asyncio.get_running_loop().create_future()
        key = request_key(shared, wait.definition.operation, params)
        self._join(wait, key, params)
        try:
            response, shared_answer = await wait.future
            return wait.response(response, self._clock(), shared=shared_answer)
        finally:
            self._leave(wait)

    # --- which requests there are, and when they are due ---------------------------------------------------------

    def _join(self, wait: Wait, key: RequestKey, params: Mapping[str, Any]) -> None:
        now_s = self._clock()
        wait.begin(now_s, self._wall_clock())
        request = self._requests.get(key)
        if request is None:
            # A copy: it is sent for others, too, when the caller has long gone on with its own.
            request = self._requests[key] = Request(key, wait.definition.operation, copy.deepcopy(params))
        wait.request = request
        request.waits.add(wait)
        if not request.queued:
            self._push(request, min(request.next_s, self._at(request, wait)))

    def _leave(self, wait: Wait) -> None:
        request, wait.request = wait.request, None
        if request is not None:
            request.waits.discard(wait)
            # One on its way to AWS is dropped when it comes back.
            if not request.waits and not request.queued:
                self._drop(request)

    def _drop(self, request: Request) -> None:
        request.next_s = float("inf")  # its place in the heap is stale now
        if self._requests.get(request.key) is request:
            del self._requests[request.key]

    @staticmethod
    def _at(request: Request, wait: Wait) -> float:
        """When this wait's next poll may go out: when it wants it, at a distance to the request's last one."""
        return max(wait.due_s, request.sent_s + min(_SPACING_S, (1 - _JITTER) * wait.delay_s))

    def _push(self, request: Request, at_s: float) -> None:
        if self._due.push(request, at_s):
            self._wake.set()

    # --- the scheduler ------------------------------------------------------------------------------------------

    async def _schedule(self) -> None:
        while True:
            self._wake.clear()
            now_s = self._clock()
            for call in merging.plan(self._due.pop(now_s, _PLAN_AT_ONCE)):
                self._queues.setdefault(call.group, deque()).append(call)
            sleep_s = self._send_allowed(now_s)
            sleep_s = min(sleep_s, self._due.next_s - self._clock())
            with suppress(TimeoutError):
                async with asyncio.timeout(None if sleep_s == float("inf") else max(0.0, sleep_s)):
                    await self._wake.wait()

    def _send_allowed(self, now_s: float) -> float:
        """Send what the budget allows, group after group in turn. Returns the seconds until it may allow more."""
        sleep_s = float("inf")
        open_groups = deque(self._queues)
        while open_groups and len(self._calls) < self._settings.max_concurrent_calls:
            group = open_groups.popleft()
            queue = self._queues[group]
            pause_s = self._budget.take(group, now_s)
            if pause_s > 0:
                sleep_s = min(sleep_s, pause_s)
                continue
            call = queue.popleft()
            del self._queues[group]
            if queue:  # to the end of the line: a freed place is the next group's
                self._queues[group] = queue
                open_groups.append(group)
            self._start(call, now_s)
        return sleep_s

    def _start(self, call: Call, now_s: float) -> None:
        for request in call.requests:
            request.sent_s = now_s
        task = asyncio.create_task(self._poll(call, now_s), name=f"poll {call.shared.service}.{call.operation}")
        self._calls.add(task)
        task.add_done_callback(self._ended)

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
                self._conclude(wait, RuntimeError(f"the AWS side crashed: {error!r}"), {}, shared=False)

    # --- one call -----------------------------------------------------------------------------------------------

    async def _poll(self, call: Call, sent_s: float) -> None:
        told = False
        try:
            if not call.waits:
                return  # cancelled while it stood in the queue
            outcome = await self._transport.send(call.shared, call.operation, call.params)
            told = self._tell(call, outcome, sent_s, self._clock())
            for request in call.requests:
                request.trouble = outcome.why
                if outcome.result in ("ok", "aws_error"):
                    await self._deliver(request, call.project(outcome.response, request), sent_s)
                else:
                    self._deliver_lost(request, outcome)
        finally:
            if not told:
                self._budget.released(call.group, sent_s)
            for request in call.requests:
                self._back(request)

    def _tell(self, call: Call, outcome: Outcome, sent_s: float, now_s: float) -> bool:
        """Metrics and budget hear of it, where the call reached the network. Returns whether it did."""
        if outcome.result == "refused":
            return False
        self._metrics.poll(call.shared.service, call.operation, outcome.result, call.waits, now_s - sent_s)
        if outcome.result in ("ok", "aws_error"):
            self._budget.answered(call.group, sent_s)
        else:
            self._budget.lost(call.group, outcome.result, sent_s, now_s, outcome.retry_after_s)
        return True

    def _back(self, request: Request) -> None:
        request.queued = False
        if not request.waits:
            self._drop(request)
            return
        at_s = min(self._at(request, wait) for wait in request.waits)
        if request.failures:
            ceiling_s = min(_RETRY_CAP_S, _RETRY_BASE_S * 2 ** min(request.failures - 1, 10))
            at_s = max(at_s, self._clock() + self._rng.uniform(0, ceiling_s))
            for wait in request.waits:
                self._report(wait, at_s, request.trouble)
        request.next_s = float("inf")
        self._push(request, at_s)

    async def _deliver(self, request: Request, response: Mapping[str, Any], sent_s: float) -> None:
        """Give the answer to every wait that began before the call was sent: no wait is served an older state."""
        request.failures = 0
        waits = [wait for wait in request.waits if wait.began_s <= sent_s]
        read: dict[Hashable, tuple[Decision, str | None]] = {}  # many waits of one request read the answer alike
        factor = self._rng.uniform(1 - _JITTER, 1 + _JITTER)  # one for all, so that they stay together
        for number, wait in enumerate(waits, 1):
            if wait.reads not in read:
                read[wait.reads] = verdicts.decide(wait.definition, response), wait.status_in(response)
            decision, status = read[wait.reads]
            used_up = wait.answered(status, sent_s)
            now_s = self._clock()
            wait.schedule(now_s, factor)
            verdict = verdicts.judge(wait, decision, response, now_s, used_up=used_up)
            self._report(wait, wait.due_s if verdict is None else now_s)
            self._conclude(wait, verdict, response, shared=len(waits) > 1)
            if number % _DELIVER_AT_ONCE == 0:
                await asyncio.sleep(0)  # thousands of waits may share one answer: let others run

    def _conclude(self, wait: Wait, verdict: Verdict, response: Mapping[str, Any], *, shared: bool) -> None:
        if verdict is None or wait.future is None or wait.future.done():
            return
        if isinstance(verdict, Exception):
            wait.future.set_exception(verdict)
        else:
            wait.future.set_result((response, shared))
        self._leave(wait)

    def _deliver_lost(self, request: Request, outcome: Outcome) -> None:
        """A throttle, a 5xx or no answer at all: not an attempt, except where an acceptor expects exactly this."""
        request.failures += 1
        now_s = self._clock()
        for wait in list(request.waits):
            verdict: Verdict = None
            if outcome.result == "refused":
                verdict = verdicts.refused(wait, outcome.why, outcome.response, now_s)
            elif (expected := wait.definition.acceptors.decide_lost(outcome.response)) is not None:
                wait.polls += 1
                verdict = verdicts.judge(wait, expected, outcome.response, now_s, used_up=False)
            self._conclude(wait, verdict, outcome.response, shared=True)
        if request.waits and request.failures % _WARN_EVERY == 1:
            log.warning("aws %s: %r, %d times in a row: %s", outcome.result, request, request.failures, outcome.why)

    def _report(self, wait: Wait, next_s: float, trouble: str | None = None) -> None:
        if wait.on_poll is None:
            return
        try:
            wait.on_poll(wait.progress(self._clock(), next_s, trouble))
        except Exception:
            log.debug("on_poll raised", exc_info=True)
