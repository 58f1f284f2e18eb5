"""Several daemons under a supervisor that starts each anew when it has ended, as systemd would."""

import signal
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from tests.support.daemon_process import DaemonProcess, records_of

_LOOKS_EVERY_S = 0.05
_RESTARTS_AFTER_S = 0.1


class Fleet:
    """`size` daemons on one Redis. All methods may be called from one thread beside the supervisor's own."""

    def __init__(self, redis_url: str, *, env: Mapping[str, str], size: int = 3) -> None:
        self._redis_url, self._env = redis_url, dict(env)
        self._members = [self._new() for _ in range(size)]
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._supervisor = threading.Thread(target=self._supervise, name="supervisor")
        self.statuses: list[int] = []
        """How those that have ended so far have ended: exit statuses, negative for a signal."""
        self._logs: list[str] = []

    def __len__(self) -> int:
        return len(self._members)

    def member(self, index: int) -> DaemonProcess:
        """The daemon that stands at this place now."""
        with self._lock:
            return self._members[index]

    def kill(self, index: int) -> None:
        """SIGKILL one; a frozen one, too."""
        self.member(index).signal(signal.SIGKILL)

    def stop(self, index: int, deadline_s: float = 30.0) -> int:
        """SIGTERM one and give its exit status; the supervisor starts it anew."""
        return self.member(index).stop(deadline_s)

    def wait_ready(self, index: int) -> None:
        """Return once the daemon at this place is ready."""
        self.member(index).wait_ready()

    def is_ready(self, index: int) -> bool:
        """Whether the daemon at this place has said so."""
        member = self.member(index)
        return member.is_alive() and any(message.get("READY") == "1" for message in member.notifications)

    @property
    def ended_logs(self) -> list[str]:
        """What those that have ended have logged."""
        with self._lock:
            return list(self._logs)

    @property
    def living_logs(self) -> list[str]:
        """What the others have logged so far."""
        with self._lock:
            return [member.log_text for member in self._members]

    @property
    def log_text(self) -> str:
        """What all of them have logged so far, those that have ended first."""
        return "\n".join([*self.ended_logs, *self.living_logs])

    def log_records(self, event: str) -> list[dict[str, Any]]:
        """Their log lines of this event."""
        return [record for record in records_of(self.log_text) if record["event"] == event]

    @property
    def crashes(self) -> list[int]:
        """Exit statuses that neither SIGTERM nor SIGKILL explains."""
        return [status for status in self.statuses if status not in (0, -signal.SIGKILL)]

    def __enter__(self) -> Self:
        try:
            for member in self._members:
                member.start(wait=False)
            for member in self._members:
                member.wait_ready()
            self._supervisor.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the supervisor, then the daemons by SIGKILL."""
        self._closing.set()
        if self._supervisor.ident is not None:
            self._supervisor.join()
        for member in self._members:
            member.close()

    def _new(self) -> DaemonProcess:
        return DaemonProcess(self._redis_url, env=self._env)

    def _supervise(self) -> None:
        while not self._closing.wait(_LOOKS_EVERY_S):
            for index, member in enumerate(self._members):
                if not member.is_alive():
                    self._closing.wait(_RESTARTS_AFTER_S)
                    self._replace(index, member)

    def _replace(self, index: int, ended: DaemonProcess) -> None:
        with self._lock:
            self.statuses.append(ended.wait())
            self._logs.append(ended.log_text)
            ended.close()
            self._members[index] = self._new().start(wait=False)
