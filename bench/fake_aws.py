"""A fast fake AWS on loopback, in a process of its own: some 20,000 small answers a second and core.

    with FakeAws() as fake:
        fake.set(throttle_share=0.5)
        ... fake.url, fake.counts()

It reads as much HTTP as botocore and aiohttp write, and checks no signature. The process ends when its stdin does.
"""

import asyncio
import json
import random
import re
import subprocess
import sys
import urllib.request
from collections import Counter
from email.utils import formatdate
from types import TracebackType
from typing import Any, Self, cast

from bench.fake_services import Services
from bench.harness import REPOSITORY, environment, on_uvloop
from triggerd.clock import monotonic_s
from triggerd.settings import AwsSettings, ConnectionSettings

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_TARGET = re.compile(rb"\r\nx-amz-target: *[\w.]+\.(\w+)", re.IGNORECASE)
_ACTION = re.compile(rb"(?:^|&)Action=(\w+)")
_REST = {b"/v1/describejobs": "DescribeJobs"}
_JSON, _XML = "application/x-amz-json-1.1", "text/xml;charset=UTF-8"
# Everything is on loopback, whatever proxy this machine uses for the rest.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class FakeAws:
    """Starts the fake and speaks with it; leaving the block ends it."""

    def __init__(self) -> None:
        self.url = ""
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.fake_aws"], cwd=REPOSITORY, env=environment(), text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()
        assert self.url, "the fake AWS did not start"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.communicate()  # closes its stdin: its cause to end

    def set(self, **changes: Any) -> None:
        """`throttle_share` (0 to 1), `limits` (as {"DescribeTasks": [20, 100]}: per second, burst), `latency_ms`,
        `clusters` (how many Redshift ones there are, and their end in epoch ms).

        What is not named is as at the start, and counting begins anew.
        """
        ask(self.url, "set", changes)

    def counts(self) -> dict[str, Any]:
        """By operation: `calls` (throttled ones too), `throttled`, `items` (resources in the answers)."""
        return ask(self.url, "counts")


def ask(url: str, what: str, body: Any = None) -> dict[str, Any]:
    """One request of the benchmark's own to a fake that runs at this URL."""
    data = None if body is None else json.dumps(body).encode()
    with _OPENER.open(f"{url}/_fake/{what}", data=data, timeout=10) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def settings(url: str, **changes: Any) -> AwsSettings:
    """Settings whose default connection leads to the fake."""
    return AwsSettings(connections={"default": ConnectionSettings(region="us-east-1", endpoint_url=url)}, **changes)


class Bucket:
    """AWS's side of a quota: so many calls per second, so many at once."""

    def __init__(self, rate_per_s: float, burst: float) -> None:
        self._rate_per_s, self._burst = rate_per_s, burst
        self._tokens, self._at_s = burst, monotonic_s()

    def take(self) -> bool:
        now_s = monotonic_s()
        self._tokens = min(self._burst, self._tokens + (now_s - self._at_s) * self._rate_per_s)
        self._at_s = now_s
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class World:
    """What all connections share."""

    def __init__(self) -> None:
        self.set({})

    def set(self, told: dict[str, Any]) -> None:
        self._services = Services(*told.get("clusters", (0, 0)))
        self.calls: Counter[str] = Counter()
        self.throttled: Counter[str] = Counter()
        self.items: Counter[str] = Counter()
        self.throttle_share = float(told.get("throttle_share", 0.0))
        self.latency_s = float(told.get("latency_ms", 0.0)) / 1000
        self._buckets = {operation: Bucket(*limit) for operation, limit in told.get("limits", {}).items()}

    def answer(self, head: bytes, body: bytes) -> bytes:
        path = head[: head.find(b"\r\n")].split(b" ")[1]
        if path.startswith(b"/_fake/"):
            if path == b"/_fake/set":
                self.set(json.loads(body))
            return _http(200, _JSON, json.dumps(
                {"calls": self.calls, "throttled": self.throttled, "items": self.items}))  # fmt: skip
        operation = _operation(path, head, body)
        self.calls[operation] += 1
        if self._throttles(operation):
            self.throttled[operation] += 1
            return _throttle(body)
        text, items = self._services.answer(operation, body)
        self.items[operation] += items
        return _xml(operation, text) if text.startswith("<") else _http(200, _JSON, text)

    def _throttles(self, operation: str) -> bool:
        if self.throttle_share and random.random() < self.throttle_share:
            return True
        bucket = self._buckets.get(operation)
        return bucket is not None and not bucket.take()


class Connection(asyncio.Protocol):
    """One keep-alive connection; requests are answered in their order."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._read = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by its class

    def data_received(self, data: bytes) -> None:
        self._read += data
        while (end := self._read.find(b"\r\n\r\n")) >= 0:
            head = self._read[:end]
            length = int(found[1]) if (found := _LENGTH.search(head)) else 0
            if len(self._read) < end + 4 + length:
                return
            body, self._read = self._read[end + 4 : end + 4 + length], self._read[end + 4 + length :]
            self._send(self._world.answer(head, body))

    def _send(self, answer: bytes) -> None:
        transport = self._transport
        assert transport is not None
        if self._world.latency_s:
            asyncio.get_running_loop().call_later(self._world.latency_s, transport.write, answer)
        else:
            transport.write(answer)


def _operation(path: bytes, head: bytes, body: bytes) -> str:
    if found := _TARGET.search(head) or _ACTION.search(body):
        return found[1].decode()
    return _REST[path]


def _http(status: int, kind: str, text: str) -> bytes:
    body = text.encode()
    head = (
        f"HTTP/1.1 {status} OK\r\nx-amzn-RequestId: {_request_id()}\r\nDate: {formatdate(usegmt=True)}\r\n"
        f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _xml(operation: str, inner: str) -> bytes:
    """As AWS does, with the request's id in the body: no two answers are the same bytes."""
    if operation == "DescribeInstances":
        text = f'<DescribeInstancesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>{_request_id()}'
        return _http(200, _XML, f"{text}</requestId>{inner}</DescribeInstancesResponse>")
    metadata = f"<ResponseMetadata><RequestId>{_request_id()}</RequestId></ResponseMetadata>"
    return _http(200, _XML, f"<{operation}Response>{inner}{metadata}</{operation}Response>")


def _throttle(body: bytes) -> bytes:
    if not body.startswith(b"Action="):
        return _http(400, _JSON, '{"__type":"ThrottlingException","message":"Rate exceeded"}')
    error = "<Error><Type>Sender</Type><Code>Throttling</Code><Message>Rate exceeded</Message></Error>"
    return _http(400, _XML, f"<ErrorResponse>{error}<RequestId>{_request_id()}</RequestId></ErrorResponse>")


def _request_id() -> str:
    digits = f"{random.getrandbits(128):032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


async def _main() -> None:
    world = World()
    server = await asyncio.get_running_loop().create_server(lambda: Connection(world), "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    on_uvloop(_main())
