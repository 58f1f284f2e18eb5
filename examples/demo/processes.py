"""Child processes that end with the demo, and what it takes to talk to them over loopback."""

import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path

from triggerd.clock import monotonic_s

REPOSITORY = Path(__file__).resolve().parents[2]
STOP_WITHIN_S = 30.0
_LOG_LINES = 12

# Everything is on loopback, whatever proxy this machine uses for the rest.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class DemoError(Exception):
    """The demo cannot go on."""


class Child:
    """One process of ours, `python -m ...`; its output goes to `<folder>/<name>.log`.

    It has a session of its own, so that a Ctrl-C reaches the demo only, which then ends its children in order.
    """

    def __init__(self, name: str, arguments: Sequence[str], folder: Path) -> None:
        self.name = name
        self._arguments = arguments
        self._log_path = folder / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it."""
        with self._log_path.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *self._arguments],
                cwd=REPOSITORY, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def close(self) -> None:
        """End it, whatever its state; nothing is raised from here, and it may never have been started."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_WITHIN_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._process.wait()

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process itself."""
        if self._process is None:
            raise DemoError(f"the {self.name} was never started")
        return self._process

    @property
    def status(self) -> int | None:
        """Its exit status, None while it runs."""
        return self.process.poll()

    def stop(self) -> None:
        """Ask it to end, and hold it to it: DemoError where it does not end in time, with status 0."""
        if self.status is not None:
            raise self.blame(f"ended too early, with status {self.status}")
        self.process.terminate()
        try:
            self.process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            raise self.blame(f"did not end within {STOP_WITHIN_S:g} s of SIGTERM") from None
        if self.status:
            raise self.blame(f"ended with status {self.status}")

    def wait_until(self, ready: Callable[[], object], within_s: float) -> None:
        """Return once `ready()` neither raises OSError nor is false; DemoError where the process ends before."""
        end_s = monotonic_s() + within_s
        while not _is_true(ready):
            if self.status is not None:
                raise self.blame(f"ended with status {self.status}, before it was ready")
            if monotonic_s() > end_s:
                raise self.blame(f"was not ready within {within_s:g} s")
            time.sleep(0.05)

    def blame(self, what: str) -> DemoError:
        """A DemoError that names this process."""
        return DemoError(f"the {self.name} {what}")

    def log_end(self) -> str:
        """The last lines that it wrote."""
        return "\n".join(self._log_path.read_text(errors="replace").splitlines()[-_LOG_LINES:])


def _is_true(ready: Callable[[], object]) -> bool:
    try:
        return bool(ready())
    except OSError:
        return False


def free_port() -> int:
    """A TCP port of the loopback interface that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def fetch(url: str, body: bytes | None = None) -> str:
    """GET, or with a body POST as JSON. OSError where there is no answer or an error."""
    request = urllib.request.Request(url, data=body, headers={"Content-Type": "application/json"})
    with _OPENER.open(request, timeout=10) as answer:
        return str(answer.read().decode())
