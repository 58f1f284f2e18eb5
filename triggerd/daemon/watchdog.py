"""The watchdog: measures how late the loop is, and tells systemd that all is well only while that is true."""

import asyncio
from collections.abc import Callable, Iterable

from triggerd.clock import monotonic_s
from triggerd.daemon.runs import Run
from triggerd.daemon.systemd import Notifier
from triggerd.daemon.watch_thread import PROBE_EVERY_S, WatchThread
from triggerd.logs import get_logger
from triggerd.metrics import Metrics

_STATUS_EVERY_S = 5.0

log = get_logger("triggerd.watchdog")


class Watchdog:
    """Runs on the loop that it watches: a blocked loop sends nothing, and systemd restarts the daemon.

    What blocks it is said by a thread beside it.
    """

    def __init__(
        self,
        notifier: Notifier,
        metrics: Metrics,
        stuck: Callable[[], list[str]],
        status: Callable[[], str],
        runs: Callable[[], Iterable[Run]],
    ) -> None:
        """
        Args:
            stuck: Names the loops of the daemon that make no progress.
            status: One line for `systemctl status`.
            runs: What runs now, to name the trigger that blocks the loop.
        """
        self._notifier, self._metrics, self._stuck, self._status = notifier, metrics, stuck, status
        self._reported: list[str] = []
        self._thread = WatchThread(metrics, runs)

    async def run(self) -> None:
        """Probe ten times a second until cancelled."""
        self._thread.start()
        try:
            await self._probe()
        finally:
            self._thread.stop()

    async def _probe(self) -> None:
        ping_every_s = self._notifier.watchdog_every_s
        ping_due_s = status_due_s = monotonic_s()
        while True:
            before_s = monotonic_s()
            await asyncio.sleep(PROBE_EVERY_S)
            now_s = monotonic_s()
            self._thread.beat()
            self._metrics.loop_lag.observe(max(0.0, now_s - before_s - PROBE_EVERY_S))
            if ping_every_s is not None and now_s >= ping_due_s and not self._complaints():
                self._notifier.watchdog()
                ping_due_s = now_s + ping_every_s / 2
            if now_s >= status_due_s:
                self._notifier.status(self._status())
                status_due_s = now_s + _STATUS_EVERY_S

    def _complaints(self) -> list[str]:
        stuck = self._stuck()
        if stuck and stuck != self._reported:
            log.error("no progress", loops=stuck)
        self._reported = stuck
        return stuck
