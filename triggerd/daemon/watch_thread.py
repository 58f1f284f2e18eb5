"""The watchdog's thread: says what blocks the event loop while it is blocked, which the loop itself cannot.

The loop beats ten times a second; this thread compares. A process that was stopped, or got no CPU, is no blocked loop:
then the thread woke late as well, and the loop's thread has computed nothing meanwhile. (Where it has computed, it held
the interpreter's lock all the time, in C, and the thread could not wake: that does block the loop.)
"""

import asyncio
import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from triggerd.clock import monotonic_s
from triggerd.daemon.containment import run_of
from triggerd.daemon.runs import Run
from triggerd.logs import get_logger
from triggerd.metrics import OTHER, Metrics

PROBE_EVERY_S = 0.1
REPORT_AFTER_S = 0.5
_LONGEST_SILENCE_S = 60.0
_STACK_LINES = 6
_STOP_WITHIN_S = 1.0

log = get_logger("triggerd.watchdog")


class BlockClock:
    """How long the loop has been blocked, without the time in which this machine ran neither thread."""

    def __init__(self, now_s: float, cpu_s: float) -> None:
        """
        Args:
            cpu_s: What the loop's thread has computed so far.
        """
        self._looked_s, self._cpu_s, self._beat_s = now_s, cpu_s, now_s
        self._stood_still_s = 0.0  # since the last beat
        self.computed = False
        """The thread woke late because the loop's thread held the interpreter's lock: what runs now is the culprit."""
        self.last_block_s = 0.0
        """How long the loop was blocked before its latest beat."""

    def look(self, now_s: float, cpu_s: float, beat_s: float) -> tuple[float, bool]:
        """Seconds for which the loop is blocked now, and whether it has beaten since the last look."""
        late_s = now_s - self._looked_s - PROBE_EVERY_S
        computed_s = cpu_s - self._cpu_s
        self._looked_s, self._cpu_s = now_s, cpu_s
        self.computed = late_s > PROBE_EVERY_S and computed_s > 2 * PROBE_EVERY_S  # even where it had half a core
        stood_still_s = max(0.0, late_s - computed_s) if late_s > PROBE_EVERY_S else 0.0
        if stood_still_s >= REPORT_AFTER_S:
            log.info("the process stood still, or got no CPU", seconds=round(stood_still_s, 3))
        self._stood_still_s += stood_still_s
        beaten = beat_s != self._beat_s
        if beaten:
            self.last_block_s = beat_s - self._beat_s - PROBE_EVERY_S - self._stood_still_s
            # The beat may have come just before the standstill, too.
            self._beat_s, self._stood_still_s = beat_s, min(stood_still_s, now_s - beat_s)
        return now_s - self._beat_s - PROBE_EVERY_S - self._stood_still_s, beaten


class WatchThread:
    """One thread beside the loop. Started and stopped on the loop's own thread."""

    def __init__(self, metrics: Metrics, runs: Callable[[], Iterable[Run]]) -> None:
        """
        Args:
            runs: What runs now; called from the thread, and only while the loop is blocked.
        """
        self._metrics, self._runs = metrics, runs
        self._end = threading.Event()
        self._beat_s = monotonic_s()
        self._report_at_s = REPORT_AFTER_S
        self._seen: asyncio.Task[Any] | None = None
        self._named: dict[str, str] = {}

    def start(self) -> None:
        """Watch the running loop."""
        self._loop, self._loop_thread = asyncio.get_running_loop(), threading.get_ident()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self.beat()
        self._thread.start()

    def beat(self) -> None:
        """The loop has come round."""
        self._beat_s = monotonic_s()

    def stop(self) -> None:
        """End the thread."""
        self._end.set()
        self._thread.join(_STOP_WITHIN_S)

    def _watch(self) -> None:
        clock = BlockClock(monotonic_s(), self._cpu_s())
        while not self._end.wait(PROBE_EVERY_S):
            with contextlib.suppress(Exception):  # a watchdog must never be what breaks
                self._look(clock)

    def _look(self, clock: BlockClock) -> None:
        blocked_s, beaten = clock.look(monotonic_s(), self._cpu_s(), self._beat_s)
        if beaten:
            self._over(clock.last_block_s)
        if blocked_s <= PROBE_EVERY_S:
            return
        task = asyncio.current_task(self._loop)
        known = task if clock.computed or task is self._seen else None  # many short steps are nobody's block
        self._seen = task
        if blocked_s >= self._report_at_s:
            self._report(known, blocked_s)

    def _report(self, task: asyncio.Task[Any] | None, blocked_s: float) -> None:
        run = self._run_of(task) if task is not None else None
        named = {} if task is None else {"task": task.get_name()}
        if run is not None:
            named = {"trigger_id": run.id, "classpath": run.classpath}
        self._named = named or self._named
        if self._report_at_s == REPORT_AFTER_S:
            label = run.metrics.label if run is not None and run.metrics is not None else OTHER
            self._metrics.loop_blocked.labels(label).inc()
        while self._report_at_s <= blocked_s:
            self._report_at_s += min(self._report_at_s, _LONGEST_SILENCE_S)
        log.warning("the event loop is blocked", seconds=round(blocked_s, 3), **named, stack=self._stack())

    def _over(self, blocked_s: float) -> None:
        if self._report_at_s > REPORT_AFTER_S:
            log.warning("the event loop was blocked", seconds=round(blocked_s, 3), **self._named)
        self._report_at_s, self._seen, self._named = REPORT_AFTER_S, None, {}

    def _run_of(self, task: asyncio.Task[Any]) -> Run | None:
        return run_of(task) or next((run for run in self._runs() if run.task is task), None)

    def _stack(self) -> list[str]:
        """Where the loop's thread stands, innermost first: places only, no values."""
        frame = sys._current_frames().get(self._loop_thread)  # noqa: SLF001 - the way to another thread's stack
        lines: list[str] = []
        while frame is not None and len(lines) < _STACK_LINES:
            lines.append(f"{frame.f_code.co_filename}:{frame.f_lineno} {frame.f_code.co_qualname}")
            frame = frame.f_back
        return lines

    def _cpu_s(self) -> float:
        """CPU time of the loop's thread; 0 where the system does not tell."""
        if not hasattr(time, "pthread_getcpuclockid"):
            return 0.0
        return time.clock_gettime(time.pthread_getcpuclockid(self._loop_thread))
