"""A Resumer in a process of its own, which writes each event into a file: one JSON object a line, whole or not at all.

with ResumerProcess(redis_url, folder / "resumed") as resumer:
    ...
    resumer.resumed()
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from tests.support.servers import REPOSITORY
from triggerd import Client, Event, Resumer
from triggerd.clock import wall_ms


class ResumerProcess:
    """Started by the block, ended by it; several may write into the same file."""

    def __init__(self, redis_url: str, path: Path, *flags: str) -> None:
        self.path = path
        self._command = [sys.executable, "-m", __name__, redis_url, str(path), *flags]
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None

    def start(self) -> Self:
        """Start it; it has joined its group some 0.2 s later."""
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        self._process = subprocess.Popen(
            self._command, cwd=REPOSITORY, stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log,
            start_new_session=True,
        )  # fmt: skip
        return self

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process itself."""
        assert self._process is not None, "not started"
        return self._process

    def kill(self) -> None:
        """SIGKILL it."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def lines(self, what: str) -> list[dict[str, Any]]:
        """What was written so far: ``begin`` when an event came, ``end`` when its handler returned."""
        return read_lines(self.path, what)

    @property
    def log_text(self) -> str:
        """What it and redis-py had to say."""
        assert self._log is not None, "not started"
        self._log.seek(0)
        return self._log.read().decode(errors="replace")

    def close(self) -> None:
        """End it, in good order if possible."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()
            try:
                self._process.wait(15)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._log is not None:
            self._log.close()
            self._log = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_lines(path: Path, what: str) -> list[dict[str, Any]]:
    """The lines of that kind in a file which several Resumers write."""
    text = path.read_text() if path.exists() else ""
    records = (json.loads(line) for line in text.splitlines())
    return [record for record in records if record["what"] == what]


def _main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("path")
    parser.add_argument("--lease-ms", type=int, default=1500)
    parser.add_argument("--hold", default="", help="handlers wait until this file is there")
    parser.add_argument("--work-s", type=float, default=0.0, help="seconds that each handler takes")
    parser.add_argument("--result-ttl-s", type=float, default=3600)
    options = parser.parse_args(arguments)
    # One write for each line: a process killed in between leaves whole lines, and two do not mix theirs.
    out = os.open(options.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    client = Client(options.url, result_ttl=options.result_ttl_s)
    resumer = Resumer(client, lease_ms=options.lease_ms, max_deliveries=1000)

    @resumer.on_event
    def write(event: Event, _: object) -> None:
        line: dict[str, Any] = {
            "id": event.trigger_id, "seq": event.seq, "outcome": event.outcome, "final": event.final,
            "code": event.error.code if event.error is not None else "", "at_ms": wall_ms(),
        }  # fmt: skip
        if isinstance(event.payload, datetime):
            line["due_ms"] = int(event.payload.timestamp() * 1000)
        os.write(out, (json.dumps({"what": "begin", **line}) + "\n").encode())
        while options.hold and not Path(options.hold).exists():
            time.sleep(0.02)
        time.sleep(options.work_s)
        os.write(out, (json.dumps({"what": "end", **line}) + "\n").encode())

    resumer.run()


if __name__ == "__main__":
    _main(sys.argv[1:])
