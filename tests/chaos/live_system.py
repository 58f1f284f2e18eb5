"""The live system that is broken: Valkey behind a proxy, three daemons, two Resumers, an AWS, all real processes."""

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis

from tests.support.daemon_process import records_of
from tests.support.fake_aws_process import FakeAwsProcess
from tests.support.fault_triggers import ALLOW
from tests.support.fleet import Fleet
from tests.support.proxy import Proxy
from tests.support.resumer_process import ResumerProcess
from triggerd import Client
from triggerd.embedded import EmbeddedServer
from triggerd.keys import QueueKeys

LEASE_MS = 2000
RESULT_TTL_S = 7 * 24 * 3600
"""What has ended must be known until the judgement, however long a run is."""
KEPT = "kept"
"""The result stream that nobody reads before the judgement: there a second final event cannot hide."""
RESUMERS = 2

_ENV = {
    "TRIGGERD_ALLOW": ALLOW, "TRIGGERD_LEASE_MS": str(LEASE_MS), "TRIGGERD_RESULT_TTL_S": str(RESULT_TTL_S),
    "TRIGGERD_DRAIN_TIMEOUT_S": "8", "TRIGGERD_REDIS__COMMAND_TIMEOUT_MS": "2000",
}  # fmt: skip


class LiveSystem:
    """Built by the block; leaving it ends every process. `folder` takes the server's data and the Resumers' file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.keys = QueueKeys("default")
        options = ["--appendfsync", "always"]
        self.server = EmbeddedServer(folder=folder / "valkey", appendonly=True, options=options)
        self.resumed_path = folder / "resumed"
        self._stack = contextlib.ExitStack()
        self._adopted: list[int] = []

    def __enter__(self) -> Self:
        with self._stack:
            self._stack.enter_context(self.server)
            self.proxy = self._stack.enter_context(Proxy(self.server.socket_path))
            self.aws = self._stack.enter_context(FakeAwsProcess())
            self.fleet = self._stack.enter_context(Fleet(self.proxy.url, env=_ENV | self.aws.env()))
            self.resumers = [self._new_resumer() for _ in range(RESUMERS)]
            self._stack.callback(self._close_resumers)
            self.raw: Any = redis.Redis.from_url(self.server.url, socket_timeout=2)
            self._stack.callback(self.raw.close)
            self._stack = self._stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def client(self) -> Client:
        """For a producer: through the proxy, as the daemons."""
        return Client(self.proxy.url, result_ttl=RESULT_TTL_S, command_timeout=2)

    def in_flight(self) -> int:
        """Triggers in flight."""
        return int(self.raw.zcard(self.keys.deadlines))

    def mend_resumers(self) -> None:
        """Start anew what has ended."""
        for index, resumer in enumerate(self.resumers):
            if resumer.process.poll() is not None:
                resumer.close()
                self.resumers[index] = self._new_resumer()

    def restart_server(self, number: signal.Signals) -> None:
        """End the server by this signal and start it again on its data."""
        os.kill(self.server.pid, number)
        self.server.stop()
        self.server.start()

    def signal_server(self, number: signal.Signals) -> None:
        """Stop it, or let it go on."""
        os.kill(self.server.pid, number)

    def adoptions(self) -> int:
        """Triggers that a daemon has adopted so far."""
        ended = self.fleet.ended_logs
        self._adopted += [_adopted(log) for log in ended[len(self._adopted) :]]
        return sum(self._adopted) + sum(_adopted(log) for log in self.fleet.living_logs)

    def keep_logs(self, folder: Path) -> None:
        """Write what the daemons have logged into `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        for number, log in enumerate([*self.fleet.ended_logs, *self.fleet.living_logs]):
            (folder / f"daemon-{number}.log").write_text(log)
        for number, resumer in enumerate(self.resumers):
            (folder / f"resumer-{number}.log").write_text(resumer.log_text)

    def _close_resumers(self) -> None:
        for resumer in self.resumers:
            resumer.close()

    def _new_resumer(self) -> ResumerProcess:
        # Some work in each handler, so that a kill meets one.
        flags = ("--lease-ms", str(LEASE_MS), "--result-ttl-s", str(RESULT_TTL_S), "--work-s", "0.002")
        return ResumerProcess(self.proxy.url, self.resumed_path, *flags).start()


def _adopted(log: str) -> int:
    lines = "\n".join(line for line in log.splitlines() if '"adopted"' in line)
    return sum(record["triggers"] for record in records_of(lines) if record["event"] == "adopted")


def free_of_the_users_settings() -> Iterator[str]:
    """Take out of this process's environment what would reach the daemons; answers the names."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "TRIGGERD_")) or name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"):
            del os.environ[name]
            yield name
