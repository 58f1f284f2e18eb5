"""Quarantine: a trigger whose owner died again and again is tried in a child process, a few at a time.

Redis counts how often an owner of a trigger died uncleanly. All that one daemon had run look alike then: the one that
killed it, and those that merely shared its process. From `quarantine_after` on, such a *suspect* runs in a child. Where
the child lives through the probation, they are absolved and go on in the daemon's own process; where it crashes, they
are tried again by halves, down to a single one. Only one that ends its child all alone, twice, is buried.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from triggerd.clock import monotonic_s
from triggerd.daemon.consumer import Backoff, end_task
from triggerd.daemon.quarantine_process import Sandbox
from triggerd.daemon.quarantine_suspect import Child, Suspect, Verdict
from triggerd.errors import PoisonError, message_of
from triggerd.logs import get_logger
from triggerd.metrics import Metrics
from triggerd.settings import Settings
from triggerd.streams.trigger_queue import ClaimedTrigger

QUARANTINE_BATCH = 1_000
"""Suspects in the first batch. Each batch that ends well doubles the next. A poison among 1,000 takes 10 halvings of
about a second; smaller batches would let the many wait that are suspected because somebody killed their daemons."""
MOST_IN_BATCH = 8_000
PROBATION_S = 3.0
PROBATION_GROWS = 4
"""Whoever was absolved and is suspected once more is tried this many times as long: it may kill late."""
LONGEST_PROBATION_S = 3_600.0
SHORTEST_RETRIAL_S = 0.5
CRASHES_ALONE = 2
"""The first might be somebody else's doing: the kernel's, out of memory, or an operator's kill."""
URGENT_WITHIN_S = 60.0
"""For suspects whose remote work is to be stopped: on_cancel() may take 30 s."""

_URGENT, _LAST_LEVEL = -1, 6  # beyond it a probation grows no more

log = get_logger("triggerd.quarantine")


StartChild = Callable[[], Awaitable[Child]]


class Quarantine:
    """The suspects of one daemon. It has a ward per length of probation: nobody waits for the end of a longer one."""

    def __init__(self, settings: Settings, metrics: Metrics, start: StartChild | None = None) -> None:
        self._after, self._metrics = settings.quarantine_after, metrics
        self._start: StartChild = start if start is not None else lambda: Sandbox.start(settings)
        self._wards: dict[int, Ward] = {}

    def suspects(self, claimed: ClaimedTrigger) -> bool:
        """Whether this trigger must not run in the daemon's own process."""
        return 0 < self._after <= claimed.adoptions

    async def absolves(self, suspect: Suspect) -> bool:
        """Try a suspect. True: it may run here, from `suspect.claimed` on. False: its run has come to its end.

        Raises:
            PoisonError: It ended the child process that it had for itself.
        """
        run = suspect.run
        run.held = suspect
        suspect.when_urgent = self._hurry
        self._metrics.quarantined.inc()
        log.debug("put in quarantine", trigger_id=run.id, adoptions=suspect.claimed.adoptions)
        try:
            if run.cause is None:
                self._ward(min(suspect.claimed.quarantined, _LAST_LEVEL)).add(suspect)
            else:
                suspect.on_stop()
            verdict = await suspect.verdict
        finally:
            run.held = None
            self._metrics.quarantined.dec()
        if verdict is Verdict.POISON:
            raise PoisonError(suspect.claimed.adoptions, suspect.why)
        return verdict is Verdict.ABSOLVED and await suspect.outbox.absolve(run)

    async def close(self) -> None:
        """End the child processes."""
        for ward in self._wards.values():
            await ward.close()

    def _hurry(self, suspect: Suspect) -> None:
        self._ward(_URGENT).add(suspect)

    def _ward(self, level: int) -> "Ward":
        if level not in self._wards:
            self._wards[level] = Ward(_probation_s(level), self._start, self._metrics)
        return self._wards[level]


class Ward:
    """Suspects with the same probation. There is one child process at a time, and none when nobody waits."""

    def __init__(self, probation_s: float, start: StartChild, metrics: Metrics) -> None:
        self._probation_s, self._start, self._metrics = probation_s, start, metrics
        self._waiting: deque[Suspect] = deque()
        self._halves: list[tuple[list[Suspect], float]] = []  # what is left of a crash, and how long to try it
        self._size = QUARANTINE_BATCH
        self._backoff = Backoff(1.0, 60.0)
        self._task: asyncio.Task[None] | None = None

    def add(self, suspect: Suspect) -> None:
        """Let it wait for its turn here, and nowhere else any more."""
        suspect.ward = self
        self._waiting.append(suspect)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="quarantine")

    async def close(self) -> None:
        """Try nobody any more."""
        if self._task is not None:
            await end_task(self._task)

    async def _run(self) -> None:
        while True:
            batch, trial_s = self._next()
            if not batch:
                return
            log.info("suspects on probation", suspects=len(batch), seconds=trial_s, waiting=len(self._waiting))
            try:
                await self._try(batch, trial_s)
            except Exception as error:  # no memory for a child, or a bug: nobody may be forgotten for it
                log.exception("no quarantine, suspects wait", suspects=len(batch), error=message_of(error))
                self._halves.append((batch, trial_s))
                await asyncio.sleep(self._backoff.next_s())
            else:
                self._backoff.reset()

    async def _try(self, batch: list[Suspect], trial_s: float) -> None:
        child = await self._start()
        began_s = monotonic_s()
        try:
            crash = await child.probe(batch, trial_s)
        finally:
            await child.close()
        left = [suspect for suspect in batch if self._has(suspect)]
        if crash is None:
            self._survived(left, trial_s)
        else:
            self._metrics.quarantine_crashes.inc()
            log.warning("a child process crashed", how=crash, suspects=len(batch), unfinished=len(left))
            self._crashed(batch, left, trial_s, crash, monotonic_s() - began_s)

    def _next(self) -> tuple[list[Suspect], float]:
        """Whom to try next and for how long; nobody: there is nobody."""
        while self._halves:
            half, trial_s = self._halves.pop()
            if batch := [suspect for suspect in half if self._has(suspect)]:
                return batch, trial_s
        batch = []
        while self._waiting and len(batch) < self._size:
            if self._has(suspect := self._waiting.popleft()):
                batch.append(suspect)
        return batch, self._probation_s

    def _has(self, suspect: Suspect) -> bool:
        return suspect.waits and suspect.ward is self

    def _survived(self, left: list[Suspect], trial_s: float) -> None:
        if trial_s < self._probation_s:  # cleared of one crash, not of all suspicion
            self._waiting.extend(left)
            return
        for suspect in left:
            suspect.decide(Verdict.ABSOLVED)
        log.info("suspects absolved", suspects=len(left))
        self._size = min(2 * self._size, MOST_IN_BATCH)

    def _crashed(self, batch: list[Suspect], left: list[Suspect], trial_s: float, how: str, after_s: float) -> None:
        """The child has ended by itself, `after_s` after its suspects had been given to it."""
        if len(batch) == 1 and left:
            left[0].crashes_alone += 1
            if left[0].crashes_alone >= CRASHES_ALONE:
                left[0].decide(Verdict.POISON, how)
                self._size = QUARANTINE_BATCH
                return
        elif trial_s >= self._probation_s:
            self._size = max(1, self._size // 2)  # should they crash only in company, they will pass in less of it
        # Time for the same to happen again, short where it happened at once: as many times as it takes.
        again_s = min(2 * self._probation_s, max(SHORTEST_RETRIAL_S, 4 * after_s))
        middle = (len(left) + 1) // 2
        self._halves += [(half, again_s) for half in (left[middle:], left[:middle]) if half]


def _probation_s(level: int) -> float:
    if level == _URGENT:
        return URGENT_WITHIN_S
    return min(LONGEST_PROBATION_S, PROBATION_S * float(PROBATION_GROWS) ** level)
