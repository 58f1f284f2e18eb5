"""Where a call gets its permission: one group per quota of AWS, credential identity and region.

A token bucket keeps the calls below the rate. The rate follows the throttles: cut at once, regained slowly. An outage
leaves the rate alone: the group pauses, exponentially longer with full jitter, then one probe goes out, and its clean
answer opens the group again.
"""

import random
from collections.abc import Hashable, Iterator

from triggerd.aws.quotas import Quota, Quotas

_FIRST_PAUSE_S = {"throttled": 1.0, "unavailable": 0.25}
_CAP_S = 60.0
_AT_LEAST_S = 0.05
_CUT = 0.7
_CUTS_APART_S = 1.0
# A throttle says that the bucket at AWS is empty, not that our part of it is nothing: where other programs empty it,
# a tenth keeps every wait moving. That nobody gets anything at all is told by throttles in a row: then it pauses.
_FLOOR = 0.1
_THROTTLES_IN_A_ROW = 10
_CLEAN_S = 60.0
_GAIN_PER_S, _GAIN = 0.5, 0.1  # a clean minute: so many calls/s, and at least this part of the full rate
_MOST_PER_S = 100.0  # of a quota that no table knows
_ROUNDING = 1e-6  # tokens; what floats lose between "in x seconds" and x seconds later


class _Bucket:
    """Tokens that drip in at a rate, one for each call; `burst` of them at most."""

    __slots__ = ("_burst", "_filled_s", "_parts", "_slowest_per_s", "_tokens", "_whole_burst", "per_s", "whole_per_s")

    def __init__(self, quota: Quota, parts: int) -> None:
        self.whole_per_s, self._whole_burst, self._parts = quota.rate_per_s, quota.burst, parts
        self._filled_s = float("-inf")
        self._tokens = self._slowest_per_s = float("inf")
        self._set()

    def adapt(self, whole_per_s: float) -> None:
        """Another rate from now on."""
        self.whole_per_s = whole_per_s
        self._set()

    def divide(self, parts: int) -> None:
        """One of so many parts from now on."""
        self._parts = parts
        self._set()

    def _set(self) -> None:
        self.per_s = self.whole_per_s / self._parts
        self._burst = max(1.0, self._whole_burst / self._parts)
        self._tokens = min(self._tokens, self._burst)
        # When it changed is not known here: for the time since it was filled last, the slowest rate is what counts.
        self._slowest_per_s = min(self._slowest_per_s, self.per_s)

    def wait_s(self, now_s: float) -> float:
        """Seconds until there is a token; 0: there is one."""
        if now_s >= self._filled_s:
            self._tokens = min(self._burst, self._tokens + (now_s - self._filled_s) * self._slowest_per_s)
            self._filled_s, self._slowest_per_s = now_s, self.per_s
        return 0.0 if self._tokens >= 1 - _ROUNDING else (1 - self._tokens) / self.per_s

    def spend(self) -> None:
        self._tokens -= 1

    def empty(self, now_s: float) -> None:
        self.wait_s(now_s)  # what dripped in until now goes, too
        self._tokens = min(self._tokens, 0.0)


class _Pause:
    """Nothing goes out until it ends, and then one probe."""

    __slots__ = ("_rng", "failures", "probe_s", "resume_s")

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.failures = 0  # 0: no pause
        self.resume_s = 0.0
        self.probe_s: float | None = None  # when the probe under way was sent

    def wait_s(self, now_s: float) -> float:
        if not self.failures:
            return 0.0
        if self.probe_s is not None:
            return float("inf")
        return max(0.0, self.resume_s - now_s)

    def sent(self, now_s: float) -> None:
        if self.failures:
            self.probe_s = now_s

    def is_probe(self, sent_s: float) -> bool:
        """Calls that were already in flight when the pause began say nothing about how it goes on."""
        return self.probe_s is not None and sent_s >= self.probe_s

    def answered(self, sent_s: float) -> None:
        if self.is_probe(sent_s):
            self.failures, self.probe_s = 0, None

    def released(self, sent_s: float) -> None:
        if self.is_probe(sent_s):
            self.probe_s = None

    def lost(self, result: str, sent_s: float, now_s: float, retry_after_s: float) -> None:
        """Begin, or go on for longer. Calls in flight together count as one."""
        asked_s = min(retry_after_s, _CAP_S)
        if self.failures and not self.is_probe(sent_s):
            self.resume_s = max(self.resume_s, now_s + asked_s)
            return
        ceiling_s = min(_CAP_S, _FIRST_PAUSE_S[result] * 2 ** min(self.failures, 10))
        self.resume_s = now_s + max(_AT_LEAST_S, asked_s, self._rng.uniform(0, ceiling_s))
        self.failures += 1
        self.probe_s = None


class QuotaGroup:
    """Says for each call that spends one quota whether it may go out now.

    After each call that `take` allowed, tell `answered`, `lost` or `released`, with the instant given to `take`.
    """

    __slots__ = ("_bucket", "_clean_s", "_cut_s", "_held_back", "_pause", "_quota", "_throttles", "_together", "region")

    def __init__(self, quota: Quota, region: str, together: _Bucket | None, rng: random.Random, parts: int) -> None:
        """
        Args:
            together: The bucket of all calls of the service, of which every call takes a token as well.
        """
        self._quota, self.region, self._together = quota, region, together
        self._bucket, self._pause = _Bucket(quota, parts), _Pause(rng)
        self._clean_s = self._cut_s = float("-inf")  # since when there was no throttle; when the rate was cut last
        self._throttles = 0  # in a row
        self._held_back = False  # the bucket had no token for a call, in this clean minute

    @property
    def name(self) -> str:
        """``<service>.<quota>``, as ``ecs.cluster-read``."""
        return self._quota.name

    @property
    def rate_per_s(self) -> float:
        """Calls per second that this daemon allows itself now, pauses left aside."""
        return self._bucket.per_s

    def divide(self, parts: int) -> None:
        """Take one of so many parts from now on."""
        self._bucket.divide(parts)

    def take(self, now_s: float) -> float:
        """0: send one call now. Else the seconds until asking again (inf: not before a call of the group ended)."""
        self._regain(now_s)
        pause_s, token_s = self._pause.wait_s(now_s), self._bucket.wait_s(now_s)
        others_s = 0.0 if self._together is None else self._together.wait_s(now_s)
        wait_s = max(pause_s, token_s, others_s)
        if wait_s > 0:
            self._held_back = self._held_back or wait_s == token_s
            return wait_s
        self._bucket.spend()
        if self._together is not None:
            self._together.spend()
        self._pause.sent(now_s)
        return 0.0

    def answered(self, sent_s: float, now_s: float) -> None:
        """AWS answered: an answered probe ends the pause."""
        self._throttles = 0
        self._pause.answered(sent_s)
        self._regain(now_s)

    def lost(self, result: str, sent_s: float, now_s: float, retry_after_s: float) -> None:
        """AWS throttled the call, or could not be reached. Neither may ever fail anything but the call."""
        if result == "throttled":
            self._cut(sent_s, now_s)
            self._throttles += 1
            in_a_row = self._throttles >= _THROTTLES_IN_A_ROW
            if not (retry_after_s or in_a_row or self._pause.is_probe(sent_s)):
                return
        self._pause.lost(result, sent_s, now_s, retry_after_s)

    def released(self, sent_s: float) -> None:
        """The call ended without a word from AWS (cancelled, refused on this side): the next one may probe.

        Its token is spent: nobody knows how far it got.
        """
        self._pause.released(sent_s)

    def _cut(self, sent_s: float, now_s: float) -> None:
        """A slower rate; calls that were in flight at the last cut are no sign that it was not enough."""
        self._clean_s, self._held_back = now_s, False
        if sent_s <= self._cut_s or now_s - self._cut_s < _CUTS_APART_S:
            return
        self._cut_s = now_s
        self._bucket.empty(now_s)
        self._bucket.adapt(max(_FLOOR * self._quota.rate_per_s, _CUT * self._bucket.whole_per_s))

    def _regain(self, now_s: float) -> None:
        """A faster rate after a clean minute: up to the quota's own, or further where that is but a guess.

        What nobody knows is looked for only while the guess is what holds calls back.
        """
        clean_minutes = (now_s - self._clean_s) / _CLEAN_S
        if clean_minutes < 1:
            return
        self._clean_s, held_back, self._held_back = now_s, self._held_back, False
        full_per_s, now_per_s = self._quota.rate_per_s, self._bucket.whole_per_s
        gain_per_s = max(_GAIN_PER_S, _GAIN * full_per_s)
        if now_per_s < full_per_s:
            self._bucket.adapt(min(full_per_s, now_per_s + gain_per_s * clean_minutes))
        elif held_back and not self._quota.known:
            never_throttled = self._cut_s == float("-inf")
            faster_per_s = 2 * now_per_s if never_throttled else now_per_s + gain_per_s
            self._bucket.adapt(max(now_per_s, min(_MOST_PER_S, faster_per_s)))


class Budget:
    """The groups of one process. Several daemons of one account divide it among them."""

    def __init__(self, quotas: Quotas, rng: random.Random) -> None:
        self._quotas, self._rng = quotas, rng
        self._parts = 1
        self._groups: dict[Hashable, QuotaGroup] = {}
        self._together: dict[Hashable, _Bucket] = {}

    def group(self, identity: Hashable, region: str, service: str, operation: str) -> QuotaGroup:
        """Whose quota a call spends: the same object for calls that spend the same one."""
        quota = self._quotas.of(service, operation, region)
        key = identity, region, quota.name
        found = self._groups.get(key)
        if found is None:
            together = self._bucket_of_all(identity, region, quota.together)
            found = self._groups[key] = QuotaGroup(quota, region, together, self._rng, self._parts)
        return found

    def _bucket_of_all(self, identity: Hashable, region: str, quota: Quota | None) -> _Bucket | None:
        if quota is None:
            return None
        key = identity, region, quota.name
        if key not in self._together:
            self._together[key] = _Bucket(quota, self._parts)
        return self._together[key]

    def divide(self, parts: int) -> None:
        """Take one of so many parts (at least one) of every quota, from now on."""
        self._parts = max(1, parts)
        for group in self._groups.values():
            group.divide(self._parts)
        for bucket in self._together.values():
            bucket.divide(self._parts)

    def __iter__(self) -> Iterator[QuotaGroup]:
        """Every group that was asked for so far."""
        return iter(self._groups.values())
