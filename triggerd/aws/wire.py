"""As much of HTTP/1.1 as a poll needs: one request of known bytes, one answer, on connections that are kept.

aiohttp's client spends twice what all the rest of a prepared poll does. Failures are botocore's own exceptions, so
that nobody can tell which of the two clients met them.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NamedTuple, cast
from urllib.parse import urlsplit

from botocore.exceptions import (
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    ReadTimeoutError,
    SSLError,
)

_DNS_TTL_S = 60
_END = b"\r\n\r\n"


class Answer(NamedTuple):
    """What came back. `head` is the status line and the headers, as they were."""

    status: int
    head: bytes
    body: bytes

    def headers(self) -> dict[str, str]:
        """By lower-case name. Of several with one name the last one counts, as it does for aiobotocore."""
        pairs = (line.partition(b":") for line in self.head.split(b"\r\n")[1:])
        return {name.decode().lower(): value.strip().decode() for name, _, value in pairs}


@dataclass(frozen=True, slots=True)
class WireSettings:
    """How a pool connects and how long it waits."""

    connect_timeout_s: float
    read_timeout_s: float
    keepalive_s: float
    tls: Callable[[], Awaitable[ssl.SSLContext]]


class NotHttpError(Exception):
    """The bytes that came are no answer that we understand."""


class Pool:
    """Connections to one origin, as many as there are calls in flight: the poller bounds those."""

    def __init__(self, origin: str, settings: WireSettings) -> None:
        parts = urlsplit(origin)
        self._host, self._tls = parts.hostname or "", parts.scheme == "https"
        self._port = parts.port or (443 if self._tls else 80)
        self._settings = settings
        self._idle: deque[_Connection] = deque()
        self._open: set[_Connection] = set()
        self._addresses: list[str] = []
        self._resolved_s = float("-inf")
        self._sweep: asyncio.TimerHandle | None = None

    async def exchange(self, request: bytes, url: str) -> Answer:
        """Send the bytes and return the answer. `url` is for messages.

        Raises:
            EndpointConnectionError, ConnectTimeoutError, SSLError: Not connected.
            ReadTimeoutError, ConnectionClosedError: No answer, or half of one.
        """
        connection = self._kept()
        if connection is not None:
            try:
                return await self._on(connection, request, url)
            except ConnectionClosedError:
                if connection.heard:
                    raise
                # AWS closed it while it was idle and had not seen this request: as good as never sent.
        return await self._on(await self._connect(url), request, url)

    def close(self) -> None:
        if self._sweep is not None:
            self._sweep.cancel()
        for connection in list(self._open):
            connection.abort()

    async def _on(self, connection: "_Connection", request: bytes, url: str) -> Answer:
        try:
            answer = await connection.exchange(request, self._settings.read_timeout_s)
        except TimeoutError as error:
            raise ReadTimeoutError(endpoint_url=url, error=error) from error
        except (OSError, NotHttpError) as error:
            raise ConnectionClosedError(endpoint_url=url, error=error) from error
        finally:
            if connection.reusable:
                self._idle.append(connection)
                if self._sweep is None:
                    self._sweep = asyncio.get_running_loop().call_later(self._settings.keepalive_s, self._swept)
            else:
                connection.abort()  # a cancelled call, too: its answer would be taken for the next one's
        return answer

    def _kept(self) -> "_Connection | None":
        """The connection used last, so that the others grow old; the old are closed before AWS does."""
        self._close_old()
        while self._idle:
            connection = self._idle.pop()
            if not connection.closed:
                return connection
        return None

    def _close_old(self) -> None:
        oldest_s = asyncio.get_running_loop().time() - self._settings.keepalive_s
        while self._idle and (self._idle[0].used_s <= oldest_s or self._idle[0].closed):
            self._idle.popleft().abort()

    def _swept(self) -> None:
        """Close what is old where nobody asks for a connection, either."""
        self._close_old()
        self._sweep = None
        if self._idle:
            loop = asyncio.get_running_loop()
            self._sweep = loop.call_at(self._idle[0].used_s + self._settings.keepalive_s, self._swept)

    async def _connect(self, url: str) -> "_Connection":
        try:
            async with asyncio.timeout(self._settings.connect_timeout_s):
                connection = await self._connect_any()
        except TimeoutError as error:
            raise ConnectTimeoutError(endpoint_url=url, error=error) from error
        except ssl.SSLError as error:
            raise SSLError(endpoint_url=url, error=error) from error
        except OSError as error:
            self._resolved_s = float("-inf")  # it may have moved
            raise EndpointConnectionError(endpoint_url=url, error=error) from error
        self._open.add(connection)
        connection.on_lost = self._open.discard
        return connection

    async def _connect_any(self) -> "_Connection":
        loop = asyncio.get_running_loop()
        tls = await self._settings.tls() if self._tls else None
        if loop.time() - self._resolved_s > _DNS_TTL_S:
            found = await loop.getaddrinfo(self._host, self._port, type=1)  # SOCK_STREAM
            self._addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
            self._resolved_s = loop.time()
        name = self._host if tls else None
        for number, address in enumerate(self._addresses, 1):
            try:
                _, connection = await loop.create_connection(
                    lambda: _Connection(loop), address, self._port, ssl=tls, server_hostname=name
                )
            except ssl.SSLError:
                raise
            except OSError:
                if number == len(self._addresses):
                    raise
                continue
            self._addresses = self._addresses[number:] + self._addresses[:number]  # the next goes elsewhere
            return connection
        raise OSError(f"no address for {self._host}")


class _Connection(asyncio.Protocol):
    """One connection, one exchange at a time."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._future: asyncio.Future[Answer] | None = None
        self._parts: list[bytes] = []
        self._size = self._needed = 0
        self._timer: asyncio.TimerHandle | None = None
        self._read_timeout_s = self._heard_s = 0.0
        self.used_s = 0.0
        self.heard = self.reusable = False
        self.closed = True
        self.on_lost: Callable[[_Connection], None] = lambda _: None

    async def exchange(self, request: bytes, read_timeout_s: float) -> Answer:
        self.heard = self.reusable = False
        if self._transport is None:
            raise ConnectionResetError("closed while idle")
        self._future, self._parts, self._size, self._needed = self._loop.create_future(), [], 0, 0
        self._heard_s, self._read_timeout_s = self._loop.time(), read_timeout_s
        if self._timer is None:
            self._timer = self._loop.call_later(read_timeout_s, self._late)
        self._transport.write(request)
        try:
            return await self._future
        finally:
            self._future = None

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self.closed = False

    def data_received(self, data: bytes) -> None:
        if self._future is None or self._future.done():
            self.reusable = False  # nobody asked for this
            self.abort()
            return
        self.heard, self._heard_s = True, self._loop.time()
        self._parts.append(data)
        self._size += len(data)
        if self._size >= self._needed:
            self._read(self._future, ended=False)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport, self.closed, self.reusable = None, True, False
        self.on_lost(self)
        if self._timer is not None:
            self._timer.cancel()
        if self._future is None or self._future.done():
            return
        if exc is None and self._parts:
            self._read(self._future, ended=True)
        if not self._future.done():
            self._future.set_exception(ConnectionResetError(str(exc or "closed by the server")))

    def _late(self) -> None:
        """Set once and left to run: a timer for each exchange is set and taken back for nothing."""
        self._timer = None
        if self._future is None or self._future.done():
            return
        left_s = self._heard_s + self._read_timeout_s - self._loop.time()
        if left_s > 0:  # something came meanwhile: it counts from then on
            self._timer = self._loop.call_later(left_s, self._late)
        else:
            self._future.set_exception(TimeoutError())

    def _read(self, future: asyncio.Future[Answer], *, ended: bool) -> None:
        """Set the answer, where it is whole."""
        received = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        try:
            read = read_answer(received, ended=ended)
        except (NotHttpError, ValueError) as error:
            future.set_exception(NotHttpError(str(error)))
            return
        if isinstance(read, int):
            self._parts, self._needed = [received], read
            return
        answer, self.reusable = read
        self.used_s, self._parts = self._heard_s, []
        future.set_result(answer)


def read_answer(received: bytes, *, ended: bool) -> tuple[Answer, bool] | int:
    """The answer in these bytes and whether the connection can be used again, or how many bytes it takes at least.

    Raises NotHttpError, ValueError: this will never be an answer.
    """
    end = received.find(_END)
    if end < 0:
        if len(received) > 65_536:
            raise NotHttpError("64 KiB of headers")
        return 0
    head = received[:end]
    status = _status(head)
    if 100 <= status < 200:
        read = read_answer(received[end + 4 :], ended=ended)
        return 0 if isinstance(read, int) else read
    lines = head.lower()
    keeps = head.startswith(b"HTTP/1.1") and b"close" not in _value(lines, b"connection")
    length = _value(lines, b"content-length")
    if b"chunked" in _value(lines, b"transfer-encoding"):
        if length:
            raise NotHttpError("a length, and chunks")
        body, size = _unchunk(received, end + 4)
        return 0 if body is None else (Answer(status, head, body), keeps and size == len(received))
    if status in (204, 304):
        length = b"0"
    if not length:
        return (Answer(status, head, received[end + 4 :]), False) if ended else 0
    size = end + 4 + int(length)
    if len(received) < size:
        return size
    return Answer(status, head, received[end + 4 : size]), keeps and size == len(received)


def _status(head: bytes) -> int:
    if not head.startswith(b"HTTP/1."):
        raise NotHttpError(f"begins with {head[:20]!r}")
    return int(head[9:12])


def _value(lines: bytes, name: bytes) -> bytes:
    """The value of one header, empty where it is not there. Raises NotHttpError where it is there twice."""
    _, found, after = lines.partition(b"\r\n" + name + b":")
    if not found:
        return b""
    if b"\r\n" + name + b":" in after:
        raise NotHttpError(f"two headers {name.decode()}")
    return after.partition(b"\r\n")[0].strip()


def _unchunk(received: bytes, at: int) -> tuple[bytes | None, int]:
    """The body put together and where it ends; None where it is not all there."""
    if not received.endswith(b"\r\n"):
        return None, 0  # the last chunk ends so: a long body is not walked again for every packet
    chunks: list[bytes] = []
    while True:
        end = received.find(b"\r\n", at)
        if end < 0:
            return None, 0
        size = int(received[at:end].partition(b";")[0], 16)
        if size == 0:
            trailers = received.find(_END, end)
            return (None, 0) if trailers < 0 else (b"".join(chunks), trailers + 4)
        at = end + 2 + size
        if len(received) < at + 2:
            return None, 0
        if received[at : at + 2] != b"\r\n":
            raise NotHttpError("a chunk that does not end where it should")
        chunks.append(received[end + 2 : at])
        at += 2
