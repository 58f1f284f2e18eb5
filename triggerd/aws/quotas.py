"""Which of AWS's quotas a call spends, and how much of each is ours: `quotas.json`, and the config's own figures."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from triggerd.aws.hints import hint
from triggerd.aws.waiters import ServiceModels
from triggerd.errors import ConfigError, WaiterDefinitionError
from triggerd.settings import AwsSettings, QuotaSettings

_EVERY = "*"
_TOGETHER = "all"
_UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Quota:
    """What we allow ourselves of one quota, before several daemons divide it.

    Attributes:
        name: ``<service>.<quota>``, as ``ecs.cluster-read``, or ``glue.GetJobRuns`` where an operation is its own.
        known: The rate is more than a guess: it is not to be exceeded.
        together: The quota of all calls of the service, of which every call takes its part as well.
    """

    name: str
    rate_per_s: float
    burst: float
    known: bool
    together: "Quota | None" = None


class Quotas:
    """The quota of each operation."""

    def __init__(self, settings: AwsSettings, models: ServiceModels) -> None:
        """
        Raises:
            ConfigError: `aws.quotas` names a service, a quota or an operation that there is not, or has a figure
                that cannot be.
        """
        self._overrides, self._share = settings.quotas, settings.quota_share
        self._found: dict[tuple[str, str, str], Quota] = {}
        for key, value in settings.quotas.items():
            _check(key, value, models)

    def of(self, service: str, operation: str, region: str) -> Quota:
        """The same object for operations that spend the same quota in this region."""
        entries = table().get(service, {})
        entry = _entry_of(entries, operation)
        own = operation if entry is None or entry.endswith(_EVERY) else entry
        together = None
        if _TOGETHER in entries:
            together = self._quota(service, _TOGETHER, _TOGETHER, region, None)
        return self._quota(service, own, entry, region, together)

    def _quota(self, service: str, own: str, entry: str | None, region: str, together: Quota | None) -> Quota:
        key = service, own, region
        if key not in self._found:
            keys = (f"{service}.{own}", f"{service}.{entry}", _EVERY)
            override = next((self._overrides[each] for each in keys if each in self._overrides), None)
            if override is not None:
                rate_per_s, burst, known = override.rate_per_s, override.burst, True
            else:
                figures = _figures(service, entry, region)
                rate_per_s, burst = figures["rate_per_s"] * self._share, figures["burst"] * self._share
                known = entry is not None
            self._found[key] = Quota(f"{service}.{own}", rate_per_s, max(1.0, burst), known, together)
        return self._found[key]


@cache
def table() -> Mapping[str, Any]:
    """`quotas.json`: by service, then by the name of the quota; ``unknown`` is what holds for all others.

    A quota is named after its operation, after all that begin alike and have a quota each (``Describe*``), or by a
    name of its own with its `operations`; the one named ``all`` is spent in addition to these.
    """
    found: Mapping[str, Any] = json.loads(Path(__file__).with_name("quotas.json").read_text(encoding="utf-8"))
    return found


def _entry_of(entries: Mapping[str, Any], operation: str) -> str | None:
    """The name under which the table has the operation."""
    if operation in entries and operation != _TOGETHER:
        return operation
    for name, entry in entries.items():
        if name != _TOGETHER and operation in entry.get("operations", ()):
            return name
    return next((name for name in entries if name.endswith(_EVERY) and operation.startswith(name[:-1])), None)


def _figures(service: str, entry: str | None, region: str) -> Mapping[str, float]:
    found: Mapping[str, Any] = table()[_UNKNOWN] if entry is None else table()[service][entry]
    regional: Mapping[str, float] = found.get("regions", {}).get(region, found)
    return regional


def _check(key: str, value: QuotaSettings, models: ServiceModels) -> None:
    for figure, least in (("rate_per_s", 0.0), ("burst", 1.0)):
        number = getattr(value, figure)
        if not (math.isfinite(number) and number > 0 and number >= least):
            raise ConfigError(f"aws.quotas.{key}.{figure}", number, "a rate is above 0, a burst 1 or more, both finite")
    if key == _EVERY:
        return
    service, _, own = key.partition(".")
    try:
        operations = models.get(service).operation_names
    except WaiterDefinitionError as error:
        raise ConfigError(f"aws.quotas.{key}", _shown(value), f"{error}; a key is <service>.<quota>") from None
    entries = table().get(service, {})
    if own in entries:
        return
    spent = _entry_of(entries, own)
    if own not in operations:
        known = [f"{service}.{name}" for name in (*entries, *operations)]
        why = f"{service} has no quota and no operation of this name{hint(key, known)}"
    elif spent is not None and not spent.endswith(_EVERY):
        why = f"{own} shares a quota with other operations: set {service}.{spent}"
    else:
        return
    raise ConfigError(f"aws.quotas.{key}", _shown(value), why)


def _shown(value: QuotaSettings) -> dict[str, float]:
    return {"rate_per_s": value.rate_per_s, "burst": value.burst}
