"""A daemon process that is looked at from outside: CPU and memory from the kernel, all else from its /metrics."""

import json
import time
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from bench.harness import cpu_s, environment, rss_bytes
from tests.support.daemon_process import DaemonProcess
from triggerd.clock import monotonic_s
from triggerd.settings import AwsSettings

_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Scrape:
    """The samples of one look at /metrics."""

    def __init__(self, text: str) -> None:
        self.samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]

    def total(self, name: str) -> float:
        """Over all labels."""
        return sum(sample.value for sample in self.samples if sample.name == name)

    def loop_lag_ms(self, before: "Scrape") -> tuple[float, float]:
        """p99 and worst of the loop's lag since then, each as the upper bound of the histogram's bucket."""
        counts: dict[float, float] = {}
        for scrape, sign in ((self, 1), (before, -1)):
            for sample in scrape.samples:
                if sample.name == "triggerd_loop_lag_seconds_bucket":
                    bound_ms = 1000 * float(sample.labels["le"])
                    counts[bound_ms] = counts.get(bound_ms, 0) + sign * sample.value
        total = max(counts.values(), default=0.0)
        bounds = sorted(counts)
        p99 = next(bound for bound in bounds if counts[bound] >= 0.99 * total)
        return p99, next(bound for bound in bounds if counts[bound] >= total)


class MeteredDaemon(DaemonProcess):
    """A daemon on this Redis, with what else it is told; it starts and ends as a `with` block does."""

    def __init__(self, redis_url: str, *, aws: AwsSettings | None = None, env: Mapping[str, str] | None = None) -> None:
        told = {"TRIGGERD_LOGS__LEVEL": "error", **environment(), **(env or {})}
        for name, value in msgspec.to_builtins(aws or AwsSettings()).items():
            if aws is not None and name in ("connections", "quotas"):
                told[f"TRIGGERD_AWS__{name.upper()}"] = json.dumps(value)
        super().__init__(redis_url, env=told)

    def look(self) -> Scrape:
        """Its metrics now."""
        with _OPENER.open(f"{self.http_url}/metrics", timeout=30) as answer:
            return Scrape(answer.read().decode())

    def until(self, reached: Callable[[Scrape], bool], within_s: float, every_s: float = 0.25) -> Scrape:
        """Look until this is so. Raises RuntimeError where it takes too long."""
        end_s = monotonic_s() + within_s
        while not reached(scrape := self.look()):
            if monotonic_s() > end_s:
                raise RuntimeError(f"not so within {within_s:g} s: {self.log_text[-2000:]}")
            time.sleep(every_s)
        return scrape

    def spent(self) -> dict[str, Any]:
        """CPU seconds and resident bytes of the process so far."""
        return {"cpu_s": cpu_s(self.pid), "rss_bytes": rss_bytes(self.pid)}
