"""What worker and resumer write down for the check at the end: JSON lines, one file each."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Expected:
    """What one event of a job must hold.

    Attributes:
        status: ``success`` or ``error``.
        key: `return_key` of the trigger. value: its `return_value`, as AWS named it when the job was started.
        says: For an error: what its message must contain.
    """

    status: str
    key: str
    value: str
    says: str = ""

    def fits(self, payload: Any) -> bool:
        """Whether a payload is this one, to the last key."""
        if self.status == "success":
            return bool(payload == {"status": "success", self.key: self.value})
        if not isinstance(payload, dict) or self.says not in payload.get("message", ""):
            return False
        return payload == {"status": "error", "message": payload["message"], self.key: self.value}


@dataclass(frozen=True, slots=True)
class Started:
    """One job that the worker started and deferred; `expected` by event id, one event a wait."""

    job: str
    service: str
    started_ms: int
    expected: dict[str, Expected]

    @property
    def last_event(self) -> str:
        """The event that finishes the task."""
        return list(self.expected)[-1]


@dataclass(frozen=True, slots=True)
class Resumed:
    """One call of a continuation; `resumed_ms` is the instant at which it began (epoch ms)."""

    event_id: str
    outcome: str
    payload: Any
    polls: int
    waited_s: float
    fired_ms: int
    resumed_ms: int


class RecordFile:
    """A file of JSON lines: one process appends, another reads what is new."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read_bytes = 0

    def append(self, record: Started | Resumed) -> None:
        """Add one line, to be seen by the reader at once."""
        with self.path.open("a") as file:
            file.write(json.dumps(asdict(record)) + "\n")

    def new_lines(self) -> Iterator[dict[str, Any]]:
        """The complete lines since the last call."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self._read_bytes)
            data = file.read()
        complete = data[: data.rfind(b"\n") + 1]
        self._read_bytes += len(complete)
        for line in complete.splitlines():
            yield json.loads(line)


class Records:
    """Everything written down so far; `refresh` reads on."""

    def __init__(self, folder: Path) -> None:
        self.started: list[Started] = []
        self.resumed: list[Resumed] = []
        self.started_file = RecordFile(folder / "started.jsonl")
        self.resumed_file = RecordFile(folder / "resumed.jsonl")

    def refresh(self) -> None:
        """Take what worker and resumer have written since."""
        for line in self.started_file.new_lines():
            expected = {event_id: Expected(**fields) for event_id, fields in line.pop("expected").items()}
            self.started.append(Started(**line, expected=expected))
        self.resumed += [Resumed(**line) for line in self.resumed_file.new_lines()]
