"""A TCP proxy between a daemon or a client and a real server, which breaks the line in the ways a network does."""

import contextlib
import socket
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

_CONNECT_WITHIN_S = 5.0
_CHUNK_BYTES = 65536


class LostReply:
    """A reply that will be lost: set once it is, so once the server has carried the request out."""

    def __init__(self, needles: tuple[bytes, ...], after_bytes: int) -> None:
        self.needles, self.after_bytes = needles, after_bytes
        self._happened = threading.Event()

    def mark(self) -> None:
        """For the proxy: it is lost."""
        self._happened.set()

    def wait(self, deadline_s: float = 10.0) -> None:
        """Return once it is lost.

        Raises:
            AssertionError: No such request came in time.
        """
        if not self._happened.wait(deadline_s):
            raise AssertionError(f"no request with {self.needles!r} within {deadline_s:g} s")


class Proxy:
    """Forwards a port of loopback to the Unix socket of a server.

        with Proxy(server.socket_path) as proxy, DaemonProcess(proxy.url) as daemon:
            lost = proxy.lose_reply(script("claim").sha.encode())
            ...
            lost.wait()

    `upstream`, `refusing`, `to_server_s` and `to_client_s` may be set at any time: where new connections go (the
    others stay where they are), whether they are closed at once, and how long each piece is held back.
    """

    def __init__(self, upstream: Path) -> None:
        self.upstream = upstream
        self.refusing = False
        self.to_server_s = self.to_client_s = 0.0
        self.accepted = 0
        """Connections that came so far, refused ones too."""
        self.requests = 0
        """Pieces that clients have sent so far; a command of ordinary size is one."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._lines: set[_Line] = set()
        self._losses: list[LostReply] = []
        self._acceptor = threading.Thread(target=self._accept, name="proxy", daemon=True)

    @property
    def url(self) -> str:
        """What redis-py's `from_url` takes."""
        return f"redis://127.0.0.1:{self._listener.getsockname()[1]}"

    def lose_reply(self, *needles: bytes, after_bytes: int = 0) -> LostReply:
        """Lose the next reply where each of `needles` stands in the request or in the reply, and cut that connection.

        The server has carried the request out by then. The client gets the first `after_bytes` of the reply.
        """
        loss = LostReply(needles, after_bytes)
        with self._lock:
            self._losses.append(loss)
        return loss

    def lose_nothing(self) -> None:
        """Forget what `lose_reply` was still waiting for."""
        with self._lock:
            self._losses.clear()

    def cut(self) -> None:
        """Close every connection, in both directions. New ones may come."""
        for line in self._open_lines():
            line.close()

    def silence(self) -> None:
        """Half-open: the connections of now stay up, but nothing passes on them any more. New ones work."""
        for line in self._open_lines():
            line.silent = True

    def loss_of(self, exchange: bytes) -> LostReply | None:
        """For a line: the loss that this request and its reply have been waiting for."""
        with self._lock:
            for loss in self._losses:
                if all(needle in exchange for needle in loss.needles):
                    self._losses.remove(loss)
                    return loss
        return None

    def forget(self, line: "_Line") -> None:
        """For a line: it has ended."""
        with self._lock:
            self._lines.discard(line)

    def _open_lines(self) -> list["_Line"]:
        with self._lock:
            return list(self._lines)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return  # `close`
            self.accepted += 1
            server = None if self.refusing else self._connect()
            if server is None:
                client.close()
                continue
            line = _Line(self, client, server)
            with self._lock:
                self._lines.add(line)
            line.start()

    def _connect(self) -> socket.socket | None:
        server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            server.settimeout(_CONNECT_WITHIN_S)
            server.connect(str(self.upstream))
            server.settimeout(None)
        except OSError:
            server.close()
            return None
        return server

    def close(self) -> None:
        """Close everything and wait until its threads have ended."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # ends `accept`
        self._acceptor.join()
        self._listener.close()
        for line in self._open_lines():
            line.close()
            line.join()

    def __enter__(self) -> Self:
        self._acceptor.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Line:
    """One connection: a thread for each direction."""

    def __init__(self, proxy: Proxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy, self._client, self._server = proxy, client, server
        self.silent = False
        self._request = b""  # since the last reply: redis-py sends nothing before it has the reply
        self._up = threading.Thread(target=self._run, name="proxy-up", daemon=True)
        self._down = threading.Thread(target=self._forward_replies, name="proxy-down", daemon=True)

    def start(self) -> None:
        self._up.start()

    def join(self) -> None:
        self._up.join()

    def close(self) -> None:
        """Both ends see the end of the stream, and so do our threads."""
        for end in (self._client, self._server):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _run(self) -> None:
        self._down.start()
        try:
            self._forward_requests()
        finally:
            self.close()
            self._down.join()
            self._client.close()
            self._server.close()
            self._proxy.forget(self)

    def _forward_requests(self) -> None:
        with contextlib.suppress(OSError):
            while piece := self._client.recv(_CHUNK_BYTES):
                self._proxy.requests += 1
                if not self.silent:
                    self._request += piece
                    time.sleep(self._proxy.to_server_s)
                    self._server.sendall(piece)

    def _forward_replies(self) -> None:
        loss = None
        with contextlib.suppress(OSError):
            while loss is None and (piece := self._server.recv(_CHUNK_BYTES)):
                loss = self._proxy.loss_of(self._request + piece)
                if loss is not None:
                    piece = piece[: loss.after_bytes]
                self._request = b""
                if not self.silent:
                    time.sleep(self._proxy.to_client_s)
                    self._client.sendall(piece)
        self.close()
        if loss is not None:
            loss.mark()
