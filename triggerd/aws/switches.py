"""Merging switched off for a while, where AWS denies the merged call or answers it with an error."""

from collections.abc import Hashable

from triggerd.aws.lanes import Lane

# A permission that was given meanwhile is found within the hour; one bad id among many, or an operation that a
# stand-in for AWS does not have, is tried again after a minute, then two, four...
_DENIED_S = 3600.0
_FAILED_S = 60.0


class FormSwitches:
    """Which merged calls are made. An error switches off its lane only: it may be due to what the requests in there
    share, as a cluster that is gone or that an identity may not read.
    """

    def __init__(self) -> None:
        self._said: set[Hashable] = set()

    @staticmethod
    def on(lane: Lane, now_s: float) -> bool:
        """Whether the lane's merged call is to be made."""
        return now_s >= lane.off_until_s

    def failed(self, lane: Lane, now_s: float, *, denied: bool) -> bool:
        """Make single calls for a while. True where that is news: no lane of this identity, region and operation had
        to since such a call was last answered.
        """
        lane.off_until_s = now_s + (_DENIED_S if denied else min(_DENIED_S, _FAILED_S * 2 ** min(lane.refusals, 10)))
        lane.refusals += 1
        is_news = _key(lane) not in self._said
        self._said.add(_key(lane))
        return is_news

    def answered(self, lane: Lane) -> None:
        """The merged call works."""
        lane.refusals, lane.off_until_s = 0, float("-inf")
        if self._said:
            self._said.discard(_key(lane))


def _key(lane: Lane) -> Hashable:
    return lane.shared.identity, lane.shared.region, lane.shared.service, lane.operation
