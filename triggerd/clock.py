"""Two clocks. `wall_ms` is stored and compared across machines; `monotonic_s` is only ever subtracted."""

import time


def wall_ms() -> int:
    """Milliseconds since the epoch, for what is stored: deadlines, timings in envelopes."""
    return time.time_ns() // 1_000_000


def monotonic_s() -> float:
    """Seconds of a clock that never steps, for durations inside one process."""
    return time.monotonic()
