"""The seam where a call gets its permission. A group is one quota at AWS: identity, region, service.

Now: after a throttle (or an outage) the group pauses, exponentially longer with full jitter, then one probe goes
out; its clean answer opens the group again. Token buckets per quota group with AIMD take this place later.
"""

import random
from collections.abc import Hashable

_FIRST_PAUSE_S = {"throttled": 1.0, "unavailable": 0.25}
_CAP_S = 60.0
_AT_LEAST_S = 0.05


class _Pause:
    __slots__ = ("failures", "probe_s", "resume_s")

    def __init__(self) -> None:
        self.failures = 0
        self.resume_s = 0.0
        self.probe_s: float | None = None  # when the probe under way was sent

    def is_probe(self, sent_s: float) -> bool:
        """Calls that were already in flight when the pause began say nothing about how it goes on."""
        return self.probe_s is not None and sent_s >= self.probe_s


class Budget:
    """Says for each call whether it may go out now. Groups in good health cost nothing and are not kept.

    After each call that `take` allowed, tell `answered`, `lost` or `released`, with the instant given to `take`.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._pauses: dict[Hashable, _Pause] = {}

    def take(self, group: Hashable, now_s: float) -> float:
        """0: send one call now. Else the seconds until asking again (inf: not before a call of the group ends)."""
        pause = self._pauses.get(group)
        if pause is None:
            return 0.0
        if now_s < pause.resume_s:
            return pause.resume_s - now_s
        if pause.probe_s is not None:
            return float("inf")
        pause.probe_s = now_s
        return 0.0

    def answered(self, group: Hashable, sent_s: float) -> None:
        """AWS answered: an answered probe ends the pause."""
        pause = self._pauses.get(group)
        if pause is not None and pause.is_probe(sent_s):
            del self._pauses[group]

    def lost(self, group: Hashable, result: str, sent_s: float, now_s: float, retry_after_s: float) -> None:
        """AWS throttled the call, or could not be reached. Calls in flight together count as one."""
        pause = self._pauses.setdefault(group, _Pause())
        asked_s = min(retry_after_s, _CAP_S)
        if pause.failures and not pause.is_probe(sent_s):
            pause.resume_s = max(pause.resume_s, now_s + asked_s)
            return
        ceiling_s = min(_CAP_S, _FIRST_PAUSE_S[result] * 2 ** min(pause.failures, 10))
        pause.resume_s = now_s + max(_AT_LEAST_S, asked_s, self._rng.uniform(0, ceiling_s))
        pause.failures += 1
        pause.probe_s = None

    def released(self, group: Hashable, sent_s: float) -> None:
        """The call ended without a word from AWS (cancelled, refused on this side): the next one may probe."""
        pause = self._pauses.get(group)
        if pause is not None and pause.is_probe(sent_s):
            pause.probe_s = None
