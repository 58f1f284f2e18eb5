"""sd_notify in a few lines: datagrams to the socket that systemd names. Without systemd they go nowhere."""

import contextlib
import os
import socket
from collections.abc import Mapping


class Notifier:
    """Tells the service manager how this process does. Never fails, never blocks."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        # An abstract socket is written with @ and begins with a zero byte.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._watchdog_us = environ.get("WATCHDOG_USEC", "")
        self._watchdog_pid = environ.get("WATCHDOG_PID", "")

    @property
    def watchdog_every_s(self) -> float | None:
        """How often to say that all is well: half of what systemd allows. None: it does not want to hear."""
        for_another = self._watchdog_pid not in ("", str(os.getpid()))
        if not self._watchdog_us.isdigit() or self._watchdog_us == "0" or for_another:
            return None
        return int(self._watchdog_us) / 2_000_000

    def ready(self, status: str) -> None:
        """Start-up is done."""
        self._send(f"READY=1\nSTATUS={status}")

    def status(self, status: str) -> None:
        """One line for `systemctl status`."""
        self._send(f"STATUS={status}")

    def watchdog(self) -> None:
        """There is progress."""
        self._send("WATCHDOG=1")

    def stopping(self, within_s: float) -> None:
        """The drain begins, and takes at most `within_s`."""
        self._send(f"STOPPING=1\nSTATUS=draining\nEXTEND_TIMEOUT_USEC={int(within_s * 1_000_000)}")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.sendto(message.encode(), self._address)
