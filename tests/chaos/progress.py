"""How the run goes: one line that moves on a terminal, a line every ten seconds elsewhere."""

import shutil
import time
from typing import TextIO

_ON_TERMINAL_S, _ON_PIPE_S = 0.5, 10.0


class Progress:
    """Shows numbers and the latest act on a stream."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._moves = stream, stream.isatty()
        self._began_s = time.monotonic()
        self._shown_s = float("-inf")

    def is_due(self) -> bool:
        """Whether it is time for the next line."""
        return time.monotonic() - self._shown_s >= (_ON_TERMINAL_S if self._moves else _ON_PIPE_S)

    def show(self, act: str, numbers: dict[str, int | None]) -> None:
        """Show them now; None: not known just now."""
        self._shown_s = time.monotonic()
        counted = ", ".join(f"{what} {'?' if count is None else f'{count:,}'}" for what, count in numbers.items())
        text = f"{self._shown_s - self._began_s:5.0f} s  {counted}; {act}"
        if self._moves:
            # One line only: what the terminal wraps, the next "\r" does not reach.
            self._stream.write(f"\r\x1b[K{text[: shutil.get_terminal_size().columns - 1]}")
        else:
            self._stream.write(text + "\n")
        self._stream.flush()

    def end(self) -> None:
        """Leave the line."""
        if self._moves:
            self._stream.write("\n")
