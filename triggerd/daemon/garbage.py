"""When the garbage collector walks over what lives long: rarely where much runs, and before garbage outgrows the runs.

Every running trigger is a dozen objects that live long, and to walk all those of 100,000 takes 0.6 s. So Python itself
looks at the young only, twice, 30,000 at a time (11 ms), and the old are looked at from here. A run of ours leaves no
cycle; what a user's trigger leaves is not known.
"""

import asyncio
import gc
from collections.abc import Callable

from triggerd.clock import monotonic_s

THRESHOLDS = (10_000, 2, 1_000_000)
_GROWN_OLD = 30_000  # by so many at most do the old grow each time that Python has looked at the young twice
_OBJECTS_PER_RUN = 12
_LOOK_EVERY_S = 600.0
_COLLECT_AT_LATEST_S = 6 * 3600.0
_FEW_RUNS = 2_000  # walked over in some 10 ms


def collect_rarely() -> None:
    """Set the collector, when all is loaded: that stays for good, and needs no walking over."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)


def is_due(runs: int, grown_old: int, since_s: float) -> bool:
    """Whether all is to be walked over: little runs, twice as much has grown old as runs, or it was long ago."""
    return runs <= _FEW_RUNS or grown_old >= 2 * _OBJECTS_PER_RUN * runs or since_s >= _COLLECT_AT_LATEST_S


async def collect_garbage(runs: Callable[[], int]) -> None:
    """Collect what triggers leave behind in cycles, until cancelled."""
    last_s = monotonic_s()
    while True:
        await asyncio.sleep(_LOOK_EVERY_S)
        if is_due(runs(), gc.get_count()[2] * _GROWN_OLD, monotonic_s() - last_s):
            gc.collect()
            last_s = monotonic_s()
