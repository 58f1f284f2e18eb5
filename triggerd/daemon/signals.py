"""The daemon's signal handlers, put back where code that runs in it has replaced them."""

import asyncio
import signal
from collections.abc import Callable, Mapping
from typing import Any, Self

from triggerd.logs import get_logger

_LOOK_EVERY_S = 1.0

log = get_logger("triggerd.daemon")


class SignalHandlers:
    """Installs handlers on the running loop; leaving the block removes them.

    A trigger may call a library that takes SIGTERM for itself. Then the daemon would not drain any more.
    """

    def __init__(self, handlers: Mapping[signal.Signals, Callable[[], None]]) -> None:
        self._handlers = handlers
        self._installed: dict[signal.Signals, Any] = {}
        self._looking: asyncio.TimerHandle | None = None

    def __enter__(self) -> Self:
        for number in self._handlers:
            self._install(number)
        self._look()
        return self

    def __exit__(self, *_: object) -> None:
        if self._looking is not None:
            self._looking.cancel()
        for number in self._handlers:
            asyncio.get_running_loop().remove_signal_handler(number)

    def _install(self, number: signal.Signals) -> None:
        asyncio.get_running_loop().add_signal_handler(number, self._handlers[number])
        self._installed[number] = signal.getsignal(number)

    def _look(self) -> None:
        for number, handler in self._installed.items():
            if signal.getsignal(number) is not handler:
                log.warning("a signal handler of the daemon was replaced, and is put back", signal=number.name)
                self._install(number)
        self._looking = asyncio.get_running_loop().call_later(_LOOK_EVERY_S, self._look)
