"""What an answer means for the waits of a request: the ones it ends, and when the others want the next one."""

import asyncio
import logging
import random
from collections.abc import Callable, Hashable, Mapping
from typing import Any

from triggerd.aws import verdicts
from triggerd.aws.calls import Answer
from triggerd.aws.transport import Outcome
from triggerd.aws.verdicts import Decision, Verdict
from triggerd.aws.waits import Request, Wait

log = logging.getLogger(__name__)

JITTER = 0.1
_DELIVER_AT_ONCE = 500
_SEEN_ALIKE = 1000

Seen = Mapping[Hashable, tuple[Decision, str | None, bool]]
"""What each kind of wait sees in an answer: what the acceptors say, the status, and whether the wait goes on."""


class Answers:
    """Gives answers to waits."""

    def __init__(self, clock: Callable[[], float], rng: random.Random) -> None:
        self._clock, self._rng = clock, rng
        self._seen_alike: dict[Hashable, Seen] = {}

    def jitter(self) -> float:
        """A factor for the delays of all waits that one call has served: they stay together, calls drift apart."""
        return self._rng.uniform(1 - JITTER, 1 + JITTER)

    async def deliver(self, request: Request, answer: Answer, sent_s: float, jitter: float) -> None:
        """Give the answer to every wait that began before the call was sent: no wait is served an older state."""
        request.failures, request.trouble, request.unreachable = 0, None, False
        waits = [wait for wait in request.waits if wait.began_s <= sent_s]
        digest = answer.digest  # worked out where it is asked for
        seen = self._seen(request, digest)  # many waits of one request read the answer alike
        for number, wait in enumerate(waits, 1):
            reads = wait.reads
            if reads not in seen:
                seen = {**seen, reads: self._look(wait, answer.response)}  # others may keep the same one
            decision, status, goes_on = seen[reads]
            used_up = wait.answered(status, sent_s)
            now_s = self._clock()
            wait.schedule(now_s, jitter)
            verdict: Verdict = None
            if used_up or not goes_on:
                verdict = verdicts.judge(wait, decision, answer.full(), now_s, used_up=used_up)
            self.report(wait, wait.due_s if verdict is None else now_s)
            self.conclude(wait, verdict, answer.full if verdict is not None else dict)
            if number % _DELIVER_AT_ONCE == 0:
                await asyncio.sleep(0)  # thousands of waits may share one answer: let others run
        request.read = None if digest is None else (digest, self._kept(seen))

    def would_end(self, request: Request, answer: Answer, sent_s: float) -> bool:
        """Whether some wait would end by this answer."""
        return any(
            wait.is_last(sent_s) or not self._look(wait, answer.response)[2]
            for wait in request.waits if wait.began_s <= sent_s
        )  # fmt: skip

    def lost(self, request: Request, outcome: Outcome) -> None:
        """A throttle, a 5xx or no answer at all: not an attempt, except where an acceptor expects exactly this."""
        request.failures += 1
        request.trouble, request.unreachable = outcome.why, outcome.result == "unavailable"
        now_s = self._clock()
        for wait in request.waits:
            verdict: Verdict = None
            if outcome.result == "refused":
                verdict = verdicts.refused(wait, outcome.why, outcome.response, now_s)
            elif (expected := wait.definition.acceptors.decide_lost(outcome.response)) is not None:
                wait.polls += 1
                verdict = verdicts.judge(wait, expected, outcome.response, now_s, used_up=False)
            self.conclude(wait, verdict, outcome.full)

    def conclude(self, wait: Wait, verdict: Verdict, full: Callable[[], Mapping[str, Any]]) -> None:
        """End the wait, if this is a verdict."""
        if verdict is None or wait.future is None or wait.future.done():
            return
        if isinstance(verdict, Exception):
            wait.future.set_exception(verdict)
        else:
            wait.future.set_result(full())
        request, wait.request = wait.request, None
        if request is not None:
            request.discard(wait)

    def report(self, wait: Wait, next_s: float, trouble: str | None = None, *, cancelled: bool = False) -> None:
        """Tell the caller how its wait goes, or where it stood when it was cancelled."""
        if wait.on_poll is None:
            return
        try:
            wait.on_poll(wait.progress(self._clock(), next_s, trouble, cancelled=cancelled))
        except Exception:
            log.debug("on_poll raised", exc_info=True)

    @staticmethod
    def _seen(request: Request, digest: int | None) -> Seen:
        """What was seen in this very answer before: nothing needs to be parsed then."""
        if digest is not None and request.read is not None and request.read[0] == digest:
            return request.read[1]
        return {}

    def _kept(self, seen: Seen) -> Seen:
        """One object for all requests whose waits have seen the same: 300 bytes less each."""
        if len(seen) != 1:
            return seen
        ((reads, (decision, status, goes_on)),) = seen.items()
        if not goes_on:
            return seen
        if len(self._seen_alike) >= _SEEN_ALIKE:
            self._seen_alike.clear()
        return self._seen_alike.setdefault((reads, id(decision), status), seen)

    @staticmethod
    def _look(wait: Wait, response: Mapping[str, Any]) -> tuple[Decision, str | None, bool]:
        decision = verdicts.decide(wait.definition, response)
        if decision is None:
            goes_on = "Error" not in response
        else:
            goes_on = not isinstance(decision, Exception) and decision.state == "retry"
        return decision, wait.status_in(response), goes_on
