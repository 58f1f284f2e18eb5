"""What the daemon tells systemd, and that the watchdog is fed only while there is progress."""

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.waiting import eventually
from triggerd.daemon.systemd import Notifier
from triggerd.daemon.watchdog import Watchdog
from triggerd.metrics import Metrics


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """systemd's end of the notify socket, and its address as NOTIFY_SOCKET has it."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@triggerd-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(name.replace("@", "\0", 1) if name.startswith("@") else name)
        receiver.setblocking(False)
        yield receiver, name


def received(receiver: socket.socket) -> list[str]:
    messages = []
    while True:
        try:
            messages.append(receiver.recv(4096).decode())
        except BlockingIOError:
            return messages


def test_each_state_is_one_datagram(manager: tuple[socket.socket, str]) -> None:
    receiver, address = manager
    notifier = Notifier({"NOTIFY_SOCKET": address})
    notifier.ready("0 triggers")
    notifier.status("7 triggers")
    notifier.watchdog()
    notifier.stopping(20.0)
    assert received(receiver) == [
        "READY=1\nSTATUS=0 triggers",
        "STATUS=7 triggers",
        "WATCHDOG=1",
        "STOPPING=1\nSTATUS=draining\nEXTEND_TIMEOUT_USEC=20000000",
    ]


@pytest.mark.parametrize("environ", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "/nowhere/at/all"}])
def test_without_a_manager_nothing_happens(environ: dict[str, str]) -> None:
    Notifier(environ).ready("x")


@pytest.mark.parametrize(
    ("environ", "every_s"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_is_fed_at_half_the_time_allowed_and_only_if_it_is_for_us(
    environ: dict[str, str], every_s: float | None
) -> None:
    assert Notifier(environ).watchdog_every_s == every_s


async def test_the_watchdog_is_fed_only_while_there_is_progress(manager: tuple[socket.socket, str]) -> None:
    receiver, address = manager
    stuck: list[str] = ["claim default"]
    metrics = Metrics("test", [])
    notifier = Notifier({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "200000"})
    watchdog = Watchdog(notifier, metrics, lambda: stuck, lambda: "fine", list)
    task = asyncio.create_task(watchdog.run())

    def probes() -> float:
        return metrics.registry.get_sample_value("triggerd_loop_lag_seconds_count") or 0

    await eventually(lambda: probes() >= 4)
    assert "WATCHDOG=1" not in received(receiver)
    stuck.clear()
    await eventually(lambda: "WATCHDOG=1" in received(receiver))
    task.cancel()
    await asyncio.wait([task])
