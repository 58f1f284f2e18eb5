"""What `triggerd wait` says while it waits."""

import asyncio
import os
import sys

import click

from triggerd.cli.output import counted, for_people, printable
from triggerd.clock import monotonic_s
from triggerd.trigger import Progress

_ERASE = "\r\x1b[K"
_LONGEST_TROUBLE = 200


class LiveLine:
    """On a terminal one line, rewritten every second; elsewhere a plain line where the status changes."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._live = sys.stderr.isatty() and os.environ.get("TERM") != "dumb" and not quiet
        self._began_s = self._polled_s = monotonic_s()
        self._progress: Progress | None = None
        self._said: tuple[str | None, bool] | None = None

    @property
    def polls(self) -> int:
        return self._progress.polls if self._progress else 0

    @property
    def last_status(self) -> str | None:
        return self._progress.last_status if self._progress else None

    @property
    def trouble(self) -> str | None:
        """Why the last poll brought no answer, None where it did."""
        return _short(self._progress.trouble) if self._progress and self._progress.trouble else None

    @property
    def waited_s(self) -> float:
        return monotonic_s() - self._began_s

    def polled(self, progress: Progress) -> None:
        """Called after each poll."""
        if progress.cancelled:
            return
        self._progress, self._polled_s = progress, monotonic_s()
        state = progress.last_status, progress.trouble is not None
        news = state not in (self._said, (None, False))
        self._said = state
        if self._live:
            self._draw()
        elif news and not self._quiet:
            click.echo(self.text(with_next_poll=False), err=True)

    def text(self, *, with_next_poll: bool = True) -> str:
        """``12 s, 3 polls, pausing, next poll in 4 s``, and the trouble where there is one."""
        if self._progress is None:
            return f"{for_people(self.waited_s)}, first poll"
        parts = [for_people(self.waited_s), counted(self.polls, "poll"), printable(self.last_status or "no status yet")]
        if with_next_poll:
            left_s = self._progress.next_poll_s - (monotonic_s() - self._polled_s)
            parts.append(f"next poll in {for_people(left_s)}" if left_s > 0 else "polling")
        return ", ".join(parts) + (f" ({self.trouble})" if self.trouble else "")

    async def keep_drawing(self) -> None:
        """Redraw every second until cancelled; then leave an empty line behind."""
        if not self._live:
            return
        try:
            while True:
                self._draw()
                await asyncio.sleep(1)
        finally:
            self.erase()

    def erase(self) -> None:
        """Leave an empty line behind."""
        if self._live:
            _write(_ERASE)

    def _draw(self) -> None:
        _write(_ERASE + self.text()[: _columns() - 1])


def _write(text: str) -> None:
    # Not by click.echo: without colours it would leave out what erases the line, too.
    sys.stderr.write(text)
    sys.stderr.flush()


def _short(trouble: str) -> str:
    text = printable(trouble)
    return text if len(text) <= _LONGEST_TROUBLE else f"{text[:_LONGEST_TROUBLE]}..."


def _columns() -> int:
    """How wide the terminal is now: a line that wraps could not be erased."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or 80
    except OSError:
        return 80
