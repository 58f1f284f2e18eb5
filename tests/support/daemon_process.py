"""A real daemon: `python -m triggerd run` as a process of its own, to be watched, stopped, frozen and killed."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.servers import REPOSITORY, free_port

READY_WITHIN_S = 30.0
STOP_WITHIN_S = 30.0


class NotifySocket:
    """systemd's end of `sd_notify`: takes every message at once, as systemd does, and keeps them in order."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="triggerd-notify-"))
        self.path = self._folder / "notify"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self.path))
        self._arrived = threading.Condition()
        self._messages: list[dict[str, str]] = []
        self._reader = threading.Thread(target=self._read, name="notify-socket", daemon=True)
        self._reader.start()

    @property
    def messages(self) -> list[dict[str, str]]:
        """All messages so far, each as its assignments: ``{"READY": "1", "STATUS": "..."}``."""
        with self._arrived:
            return list(self._messages)

    def wait_for(
        self,
        wanted: Callable[[dict[str, str]], bool],
        deadline_s: float,
        still_possible: Callable[[], bool] = lambda: True,
    ) -> dict[str, str] | None:
        """The first message that is `wanted`; None once it is too late or no longer possible."""
        end_s = time.monotonic() + deadline_s
        while True:
            # Asked before looking: a process may say its last word and end in between.
            possible = still_possible()
            with self._arrived:
                for message in self._messages:
                    if wanted(message):
                        return message
                if not possible or time.monotonic() > end_s:
                    return None
                self._arrived.wait(0.05)

    def close(self) -> None:
        """Stop listening."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as self_pipe:
            self_pipe.sendto(b"", str(self.path))  # the reader's cause to end
        self._reader.join()
        self._socket.close()
        shutil.rmtree(self._folder)

    def _read(self) -> None:
        while datagram := self._socket.recv(65536):
            message = dict(line.split("=", 1) for line in datagram.decode().splitlines() if "=" in line)
            with self._arrived:
                self._messages.append(message)
                self._arrived.notify_all()


class DaemonProcess:
    """One `triggerd run` process.

        with DaemonProcess(redis_url, env={"TRIGGERD_CAPACITY": "10"}) as daemon:
            ...
            assert daemon.stop() == 0

    Leaving the block ends it in any case, by SIGKILL where it is still alive. The methods block;
    an async test calls them through `asyncio.to_thread`.
    """

    def __init__(
        self,
        redis_url: str | None = None,
        *,
        flags: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        cwd: Path = REPOSITORY,
        executable: Sequence[str] = (sys.executable, "-m", "triggerd"),
    ) -> None:
        """Describe it; `start` starts it.

        Args:
            redis_url: For ``--redis``; None leaves it out.
            flags: Further arguments of `triggerd run`.
            env: Over the test's own environment; the HTTP port is chosen here unless named.
            cwd: Where it runs; the repository's root makes `tests.support.triggers` importable.
            executable: What is run in place of this Python's `triggerd`.
        """
        redis_flags = ("--redis", redis_url) if redis_url is not None else ()
        self._command = [*executable, "run", *redis_flags, *flags]
        self._env = dict(env or {})
        self._cwd = cwd
        self._process: subprocess.Popen[bytes] | None = None
        self._notify: NotifySocket | None = None
        self._log_path: Path | None = None

    def start(self, *, wait: bool = True) -> Self:
        """Start it and, unless told otherwise, wait until it says that it is ready."""
        self._notify = NotifySocket()
        self._env.setdefault("TRIGGERD_HTTP__HOST", "127.0.0.1")
        self._env.setdefault("TRIGGERD_HTTP__PORT", str(free_port()))
        handle, name = tempfile.mkstemp(prefix="triggerd-daemon-", suffix=".log")
        self._log_path = Path(name)
        with os.fdopen(handle, "wb") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self._env, "NOTIFY_SOCKET": str(self._notify.path)},
                start_new_session=True,
            )
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self, deadline_s: float = READY_WITHIN_S) -> None:
        """Return once it has sent READY=1.

        Raises:
            AssertionError: It ended first, or took too long; the message is its log.
        """
        assert self._notify is not None
        ready = self._notify.wait_for(lambda message: message.get("READY") == "1", deadline_s, self.is_alive)
        if ready is None:
            state = "is not ready" if self.is_alive() else f"ended with status {self.process.returncode}"
            raise AssertionError(f"the daemon {state}:\n{self.log_text}")

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process itself."""
        assert self._process is not None, "not started"
        return self._process

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    @property
    def http_url(self) -> str:
        """Where `/metrics`, `/livez` and `/readyz` are."""
        return f"http://{self._env['TRIGGERD_HTTP__HOST']}:{self._env['TRIGGERD_HTTP__PORT']}"

    @property
    def notifications(self) -> list[dict[str, str]]:
        """What it told systemd so far."""
        assert self._notify is not None, "not started"
        return self._notify.messages

    @property
    def log_text(self) -> str:
        """Everything that it wrote so far, stdout and stderr."""
        assert self._log_path is not None, "not started"
        return self._log_path.read_text(errors="replace")

    def log_records(self) -> list[dict[str, Any]]:
        """The lines of its log that are JSON."""
        return records_of(self.log_text)

    def is_alive(self) -> bool:
        """Whether it still runs."""
        return self.process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def wait(self, deadline_s: float = STOP_WITHIN_S) -> int:
        """Its exit status, once it has ended; negative where a signal ended it.

        Raises:
            AssertionError: It has not ended in time; the message is its log.
        """
        try:
            return self.process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the daemon did not end within {deadline_s:g} s:\n{self.log_text}") from None

    def stop(self, deadline_s: float = STOP_WITHIN_S) -> int:
        """Drain it by SIGTERM and give its exit status."""
        self.signal(signal.SIGTERM)
        return self.wait(deadline_s)

    def kill(self) -> None:
        """kill -9, and wait until it is gone."""
        self.signal(signal.SIGKILL)
        self.wait()

    def freeze(self) -> None:
        """SIGSTOP: alive, but not doing anything."""
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT: the end of `freeze`."""
        self.signal(signal.SIGCONT)

    def close(self) -> None:
        """End it in any case and remove what it left."""
        if self._process is not None and self.is_alive():
            self.kill()
        if self._notify is not None:
            self._notify.close()
            self._notify = None
        if self._log_path is not None:
            self._log_path.unlink()
            self._log_path = None

    def __enter__(self) -> Self:
        try:
            if self._process is None:
                self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and self._log_path is not None:
            sys.stderr.write(self.log_text)  # pytest shows it with the failure
        self.close()


def records_of(log_text: str) -> list[dict[str, Any]]:
    """The lines of a log that are JSON."""
    return [json.loads(line) for line in log_text.splitlines() if line.startswith("{") and line.endswith("}")]
