"""Merging switched off for a while, where AWS denies the merged call or answers it with an error."""

from collections.abc import Hashable
from dataclasses import dataclass

from triggerd.aws.lanes import Lane

# A permission that was given meanwhile is found within the hour; one bad id among many, or an operation that a
# stand-in for AWS does not have, is tried again after a minute, then two, four...
_DENIED_S = 3600.0
_FAILED_S = 60.0


@dataclass(slots=True)
class _Off:
    until_s: float
    times: int


class FormSwitches:
    """Which merged calls are made, by credential identity, region and operation."""

    def __init__(self) -> None:
        self._off: dict[Hashable, _Off] = {}

    def on(self, lane: Lane, now_s: float) -> bool:
        """Whether the lane's merged call is to be made."""
        off = self._off.get(_key(lane)) if self._off else None
        return off is None or now_s >= off.until_s

    def failed(self, lane: Lane, now_s: float, *, denied: bool) -> bool:
        """Make single calls for a while. True where that is news: the first time since the call was last answered."""
        before = self._off.get(_key(lane))
        times = before.times + 1 if before else 1
        pause_s = _DENIED_S if denied else min(_DENIED_S, _FAILED_S * 2 ** min(times - 1, 10))
        self._off[_key(lane)] = _Off(now_s + pause_s, times)
        return before is None

    def answered(self, lane: Lane) -> None:
        """The merged call works."""
        if self._off:
            self._off.pop(_key(lane), None)


def _key(lane: Lane) -> Hashable:
    return lane.shared.identity, lane.shared.region, lane.shared.service, lane.operation
