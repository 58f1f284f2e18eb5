"""How far the demo is: one line that moves on a terminal, a line every two seconds elsewhere."""

import shutil
from typing import TextIO

from examples.demo.records import Records
from triggerd.clock import monotonic_s

_BAR_WIDTH = 20
_ON_TERMINAL_S, _ON_PIPE_S = 0.1, 2.0


class Progress:
    """Shows the state of the records of `planned` jobs on `stream`."""

    def __init__(self, planned: int, stream: TextIO) -> None:
        self._planned, self._stream = planned, stream
        self._moves = stream.isatty()
        self._signs = _signs_for(stream)
        self._began_s = monotonic_s()
        self._shown_s = float("-inf")

    def show(self, records: Records, *, last: bool = False) -> None:
        """Read on and show it, if it is time to, or for the last time."""
        now_s = monotonic_s()
        if not last and now_s - self._shown_s < (_ON_TERMINAL_S if self._moves else _ON_PIPE_S):
            return
        self._shown_s = now_s
        records.refresh()
        finishing = {job.last_event for job in records.started}
        done = {event.event_id for event in records.resumed} & finishing
        failed = {event.event_id for event in records.resumed if event.payload.get("status") == "error"} & finishing
        text = (
            f"{now_s - self._began_s:4.0f} s  started {len(records.started)}/{self._planned}, "
            f"resumed {len(done)}/{self._planned}, {len(failed)} with an error"
        )
        if self._moves:
            filled = _BAR_WIDTH * len(done) // self._planned
            begun = _BAR_WIDTH * len(records.started) // self._planned - filled
            widths = (filled, begun, _BAR_WIDTH - filled - begun)
            bar = "".join(sign * width for sign, width in zip(self._signs, widths, strict=True))
            # One line only: what the terminal wraps, the next "\r" does not reach.
            line = f"{bar} {text}"[: shutil.get_terminal_size().columns - 1]
            text = f"\r\x1b[K{line}" + ("\n" if last else "")
        else:
            text += "\n"
        self._stream.write(text)
        self._stream.flush()


def _signs_for(stream: TextIO) -> str:
    """The signs for done, begun and not begun, such as this stream can write them."""
    try:
        "█▒·".encode(stream.encoding or "utf-8")  # a StringIO has none and takes all
    except UnicodeEncodeError:
        return "#=."
    return "█▒·"
