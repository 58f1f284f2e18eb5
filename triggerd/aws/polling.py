"""One call from its sending to the waits that it serves: budget and metrics hear of it, each request gets its part."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol

from triggerd.aws.answers import Answers
from triggerd.aws.calls import Call, MergedAnswer
from triggerd.aws.switches import FormSwitches
from triggerd.aws.transport import Outcome, Transport
from triggerd.aws.waits import Request

log = logging.getLogger(__name__)

_READ_AT_ONCE = 50
_ASK_AGAIN_S = 1.0
_WARN_EVERY = 100
_DENIED = ("AccessDenied", "Unauthorized", "NotAuthorized", "AuthorizationError", "OptInRequired")


class PollMetrics(Protocol):
    """What is counted of polls."""

    def poll(self, service: str, operation: str, result: str, waits: int, seconds: float) -> None:
        """One AWS call ended: `result` is ok, aws_error, throttled or unavailable, `waits` how many it served."""
        ...

    def poll_lag(self, service: str, seconds: float) -> None:
        """A call was sent so many seconds after it was due."""
        ...

    def merge_failed(self, service: str, operation: str, why: str) -> None:
        """A merged call was ``denied``, or ended in another ``error``; its requests are asked one by one."""
        ...


class Polling:
    """Sends calls and gives out their answers."""

    def __init__(
        self,
        transport: Transport,
        metrics: PollMetrics,
        answers: Answers,
        switches: FormSwitches,
        clock: Callable[[], float],
    ) -> None:
        self._transport, self._metrics, self._answers = transport, metrics, answers
        self._switches, self._clock = switches, clock
        self._reading = asyncio.Lock()

    async def poll(self, call: Call) -> set[Request]:
        """Make the call. Answers the requests of which a merged one said nothing: they are to be asked one by one."""
        outcome = await self._ask(call, call.params, call.sent_s, call.waits)
        if call.lane.form is None:
            await self._read(call, outcome)
            return set()
        return await self._read_merged(call, outcome)

    async def _ask(self, call: Call, params: Mapping[str, Any], sent_s: float, waits: int) -> Outcome:
        quota, shared = call.lane.line.quota, call.lane.shared
        told = False
        try:
            outcome = await self._transport.send(shared, call.operation, params)
            if outcome.result != "refused":  # it has reached the network
                told, now_s = True, self._clock()
                self._metrics.poll(shared.service, call.operation, outcome.result, waits, now_s - sent_s)
                if outcome.result in ("ok", "aws_error"):
                    call.lane.line.lost_in_a_row = 0
                    quota.answered(sent_s, now_s)
                else:
                    quota.lost(outcome.result, sent_s, now_s, outcome.retry_after_s)
                    self._lost(call, outcome)
            return outcome
        finally:
            if not told:
                quota.released(sent_s)

    def _lost(self, call: Call, outcome: Outcome) -> None:
        line = call.lane.line
        line.lost_in_a_row += 1
        if line.lost_in_a_row % _WARN_EVERY == 1:
            what = f"{call.lane.shared.service}.{call.operation} for {call.waits} waits"
            log.warning("aws %s: %s, %d calls in a row: %s", outcome.result, what, line.lost_in_a_row, outcome.why)

    async def _read(self, call: Call, outcome: Outcome) -> None:
        [request] = call.requests
        if outcome.result in ("ok", "aws_error"):
            request.alone = request.alone and outcome.result != "ok"
            request.home.single_answered(self._clock())
            failures = request.failures
            try:
                await self._answers.deliver(request, outcome, call.sent_s, self._answers.jitter())
            except Exception as error:  # XML that is none is found out where somebody reads it
                if not failures:
                    log.exception("answer not understood: %s.%s", call.lane.shared.service, call.operation)
                request.failures = failures
                self._answers.lost(request, Outcome("unavailable", {}, f"answer not understood: {error}"))
        else:
            self._answers.lost(request, outcome)

    async def _read_merged(self, call: Call, outcome: Outcome) -> set[Request]:
        if outcome.result == "ok":
            self._switches.answered(call.lane)
            call.lane.merged_answered()
            try:
                return await self._read_pages(call, outcome)
            except Exception:
                # Not what the form expects. A wait does not end over it: single calls do without the form.
                log.exception("merged answer not understood: %s.%s", call.lane.shared.service, call.operation)
                self._switches.failed(call.lane, self._clock(), denied=False)
                return set(call.requests)
        unanswered = outcome.result == "unavailable"
        if unanswered:  # what a 5xx says is of the merged call, and no acceptor's business
            outcome = replace(outcome, answer={})
        if outcome.result == "throttled" or (unanswered and call.sent_s <= call.lane.answered_singly_s):
            for request in call.requests:
                self._answers.lost(request, outcome)
            return set(call.requests[:1]) if unanswered and call.lane.unanswered() else set()
        return self._refused(call, outcome)

    def _refused(self, call: Call, outcome: Outcome) -> set[Request]:
        """AWS refuses the merged call: answers the requests that are to be asked singly, all or the suspects."""
        call.lane.merged_answered()
        error = outcome.response.get("Error", {})
        denied = any(word in str(error.get("Code", "")) for word in _DENIED)
        why = "denied" if denied else "error"
        self._metrics.merge_failed(call.lane.shared.service, call.operation, why)
        suspects = {request for request in call.requests if not any(wait.polls for wait in request.waits)}
        if not denied and 0 < len(suspects) < len(call.requests):
            # The others have been answered before: they go out together again, without those that are new.
            for request in suspects:
                request.alone = True
            return suspects
        if self._switches.failed(call.lane, self._clock(), denied=denied):
            log.warning(
                "merged polls off for now, single calls are made: %s.%s as %s: %s",
                call.lane.shared.service, call.operation, call.lane.shared.identity.label, outcome.why,
            )  # fmt: skip
        for request in call.requests:
            request.alone = not denied  # until its own call says that it was not the cause
        return set(call.requests)

    async def _read_pages(self, call: Call, outcome: Outcome) -> set[Request]:
        """Give out a merged answer; read on while there are more requests left than pages read."""
        form = call.lane.form
        assert form is not None, "a merged call has a form"  # noqa: S101
        merged, left, singly = MergedAnswer(form), list(call.requests), set[Request]()
        jitter = self._answers.jitter()
        while True:
            async with self._reading:  # one at a time, and a turn of the loop between them: each takes milliseconds
                merged.add(outcome)
                left = await self._give_out(call, merged, left, singly, jitter)
                await asyncio.sleep(0)
            if merged.token is None or len(left) <= merged.pages:
                break
            next_page = form.request(call.lane.common, call.ids, merged.token)
            outcome = await self._ask(call, next_page, await self._allowed(call), 0)
            if outcome.result == "throttled":  # single calls would only be more
                for request in left:
                    self._answers.lost(request, outcome)
                return singly
            if outcome.result != "ok":
                break
        call.lane.spent(merged.pages + (len(left) if merged.token is not None else 0), len(call.requests))
        return singly | set(left)

    async def _give_out(
        self, call: Call, merged: MergedAnswer, requests: list[Request], singly: set[Request], jitter: float
    ) -> list[Request]:
        """Each request its part. Answers those of which the pages say nothing; into `singly` go those whose ending
        the single call must confirm, as the merged answer lacks fields of it.
        """
        form, left = merged.form, []
        for number, request in enumerate(requests, 1):
            answer = merged.of(request.place) if request.place is not None else None
            if answer is None:
                left.append(request)
            elif form.partial and self._answers.would_end(request, answer, call.sent_s):
                singly.add(request)
            else:
                await self._answers.deliver(request, answer, call.sent_s, jitter)
            if number % _READ_AT_ONCE == 0:
                await asyncio.sleep(0)
        return left

    async def _allowed(self, call: Call) -> float:
        """Wait for the budget of one more call of the same quota; answers the instant."""
        quota = call.lane.line.quota
        pause_s = quota.take(self._clock())
        while pause_s > 0:
            await asyncio.sleep(min(pause_s, _ASK_AGAIN_S))
            pause_s = quota.take(self._clock())
        return self._clock()
