"""Every metric of the daemon, in one place, on a registry of its own.

Labels are closed sets: the short names of allowed triggers, AWS services and operations, outcomes, causes. Nothing
that a queue's producer chooses (ids, names, messages) ever becomes a label, so the number of series is bounded.
"""

import platform
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from triggerd.event import OUTCOMES

OTHER = "other"
"""The `trigger` label of whatever has no registered name: what could not be loaded, or was never claimed."""
MAX_TRIGGER_NAMES = 200

POLL_RESULTS = ("ok", "aws_error", "throttled", "unavailable", "refused")
RELEASE_CAUSES = ("released", "drained", "expired", "refused")
ADOPTION_CAUSES = ("dead", "drained")

_LATENCY_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_DUE_LAG_S = (0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
_LAG_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class TriggerMetrics:
    """The children of one trigger's label, looked up once: these are counted for every single run.

    `running` is the number that the gauge shows when it is asked: what is counted twice per run takes no lock.
    """

    __slots__ = ("finished", "label", "running")

    def __init__(self, label: str, running: Gauge, finished: Counter) -> None:
        self.label = label
        self.running = 0
        running.labels(label).set_function(lambda: self.running)
        self.finished: dict[str, Counter] = {outcome: finished.labels(label, outcome) for outcome in OUTCOMES}


class Latency(Collector):
    """A histogram that is observed for every single run: plain numbers, no lock, and no buckets before it is asked.

    Only the event loop's thread observes; a scrape reads in that thread, too.
    """

    def __init__(self, name: str, text: str, registry: CollectorRegistry) -> None:
        self._name, self._text = f"triggerd_{name}", text
        self._counts = [0] * (len(_LATENCY_S) + 1)
        self._sum_s = 0.0
        registry.register(self)

    def observe(self, seconds: float) -> None:
        """One took so long."""
        self._counts[bisect_left(_LATENCY_S, seconds)] += 1
        self._sum_s += seconds

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """What Prometheus is told."""
        buckets, so_far = [], 0
        for bound, count in zip((*map(str, _LATENCY_S), "+Inf"), self._counts, strict=True):
            so_far += count
            buckets.append((bound, float(so_far)))
        yield HistogramMetricFamily(self._name, self._text, buckets=buckets, sum_value=self._sum_s)


class BudgetRates(Collector):
    """What the budgets of AWS calls allow, asked of them at each scrape."""

    def __init__(self, rates: Callable[[], Iterable[tuple[str, float]]]) -> None:
        """
        Args:
            rates: Gives each quota in use as ``<service>.<quota>`` with its calls per second; of several identities
                and regions, the slowest is shown.
        """
        self._rates = rates

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """What Prometheus is told."""
        slowest: dict[str, float] = {}
        for name, rate_per_s in self._rates():
            slowest[name] = min(rate_per_s, slowest.get(name, rate_per_s))
        text = "AWS calls per second that the budget allows this daemon, by quota: cut by throttles and by its peers."
        family = GaugeMetricFamily("triggerd_aws_budget_rate", text, labels=("service", "quota"))
        for name, rate_per_s in slowest.items():
            service, _, quota = name.partition(".")
            family.add_metric((service, quota), rate_per_s)
        yield family


class CredentialStates(Collector):
    """What became of the credentials of each AWS identity, asked of them at each scrape."""

    def __init__(self, states: Callable[[], Iterable[tuple[str, int | None, int, int]]]) -> None:
        """
        Args:
            states: Gives each identity's label (the role, the profile: as many as there are connections), when its
                credentials end in milliseconds since the epoch or None, how many fetches gave some, how many failed.
        """
        self._states = states

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        """What Prometheus is told; of identities with one label the sum, and the earliest end."""
        ends: dict[str, int] = {}
        fetches: dict[tuple[str, str], int] = {}
        for label, expires_ms, refreshed, failed in self._states():
            if expires_ms is not None:
                ends[label] = min(expires_ms, ends.get(label, expires_ms))
            for result, count in (("ok", refreshed), ("failed", failed)):
                fetches[label, result] = fetches.get((label, result), 0) + count
        name, text = "triggerd_aws_credentials_expiry_timestamp_seconds", "When an identity's credentials end, if so."
        expiry = GaugeMetricFamily(name, text, labels=("identity",))
        for label, expires_ms in ends.items():
            expiry.add_metric((label,), expires_ms / 1000)
        text = "Times that credentials of an identity were fetched: the first time, and before they end."
        counted = CounterMetricFamily("triggerd_aws_credentials_refreshes", text, labels=("identity", "result"))
        for labels, count in fetches.items():
            counted.add_metric(labels, count)
        yield expiry
        yield counted


class Metrics:
    """All metrics. Satisfies the `PollMetrics` that `triggerd.aws` asks for."""

    def __init__(self, version: str, queues: Iterable[str]) -> None:
        """Make every metric; label sets that are known beforehand begin at 0.

        Args:
            version: Of triggerd, for `triggerd_build_info`.
            queues: The queues that this daemon serves.
        """
        self.registry = CollectorRegistry()
        self._triggers: dict[str, TriggerMetrics] = {}
        self._make_trigger_metrics()
        self._make_latencies()
        self._make_redis_metrics()
        self._make_aws_metrics()
        info = self._gauge("build_info", "Always 1; the versions are in the labels.", "version", "python")
        info.labels(version, platform.python_version()).set(1)
        for queue in queues:
            for gauge in (self.queue_waiting, self.queue_pending, self.queue_dead):
                gauge.labels(queue)
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)

    def trigger(self, label: str) -> TriggerMetrics:
        """The metrics of one kind of trigger; beyond `MAX_TRIGGER_NAMES` kinds they share the label ``other``."""
        found = self._triggers.get(label)
        if found is None:
            if len(self._triggers) >= MAX_TRIGGER_NAMES and label != OTHER:
                return self.trigger(OTHER)
            found = self._triggers[label] = TriggerMetrics(label, self.running, self.finished)
        return found

    def poll(self, service: str, operation: str, result: str, waits: int, seconds: float) -> None:
        """One AWS call ended; it served `waits` waits and took `seconds`."""
        if (service, operation) not in self._polled:
            self._polled.add((service, operation))
            for known in POLL_RESULTS:
                self.polls.labels(service, operation, known)
            self.throttles.labels(service, operation)
        self.polls.labels(service, operation, result).inc()
        self.poll_waits.labels(service, operation).inc(waits)
        self.poll_duration.labels(service).observe(seconds)
        if result == "throttled":
            self.throttles.labels(service, operation).inc()

    def poll_lag(self, service: str, seconds: float) -> None:
        """A poll was sent so many seconds after it was due."""
        self.poll_due_lag.labels(service).observe(max(0.0, seconds))

    def merge_failed(self, service: str, operation: str, why: str) -> None:
        """A merged call failed, `why` is denied or error."""
        self.merges_failed.labels(service, operation, why).inc()

    def _make_trigger_metrics(self) -> None:
        self.running = self._gauge("triggers_running", "Triggers that run in this daemon now.", "trigger")
        self.finished = self._counter(
            "triggers_finished", "Final events published by this daemon, by outcome.", "trigger", "outcome"
        )
        self.capacity = self._gauge("triggers_capacity", "Triggers that this daemon runs at most.")
        self.claimed = self._counter("triggers_claimed", "New triggers taken from the queues.")
        self.adopted = self._counter("triggers_adopted", "Triggers taken over from other daemons.", "cause")
        self.released = self._counter(
            "triggers_released", "Runs given up without a final event of this daemon.", "cause"
        )
        self.repaired = self._counter("triggers_repaired", "Triggers taken that had been handed out and nobody owned.")
        self.buried = self._counter("triggers_buried", "Triggers that could not be run at all: dead letters.")
        self.overran = self._counter(
            "trigger_overruns", "Clean-ups, on_cancel calls and ends of generators cut off for taking too long."
        )
        self.tasks_left_behind = self._counter(
            "tasks_left_behind", "Tasks that triggers had started and that outlived the run; cancelled.", "trigger"
        )
        self.tasks_deaf = self._counter("tasks_deaf", "Of those, tasks that heeded no cancellation.", "trigger")
        self.loop_blocked = self._counter(
            "loop_blocked", "Times that the event loop was blocked for half a second or more, by what ran.", "trigger"
        )
        self.abandoned = self._counter(
            "triggers_abandoned", "Runs left to themselves: their code heeded no cancellation.", "trigger"
        )
        self.remote_stops_failed = self._counter(
            "remote_stops_failed", "Times that on_cancel() failed or overran: the work on AWS may go on."
        )
        self.quarantined = self._gauge(
            "triggers_quarantined", "Triggers whose owners died too often, tried in a child process or waiting for it."
        )
        self.quarantine_crashes = self._counter(
            "quarantine_crashes", "Child processes that ended with triggers in quarantine in them."
        )
        for cause in ADOPTION_CAUSES:
            self.adopted.labels(cause)
        for cause in RELEASE_CAUSES:
            self.released.labels(cause)

    def _make_latencies(self) -> None:
        self.pickup_latency = Latency(
            "pickup_latency_seconds",
            "From the deferral (clock of Redis) to the start of the run, first runs only.",
            self.registry,
        )
        self.resume_latency = Latency(
            "resume_latency_seconds",
            "From the event fired to the event published, which wakes the Resumer; its last hop is not seen here.",
            self.registry,
        )
        self.loop_lag = self._histogram(
            "loop_lag_seconds", "How late a timer of the event loop went off, probed ten times a second.", _LAG_S
        )

    def _make_redis_metrics(self) -> None:
        self.redis_up = self._gauge("redis_up", "1 while Redis answers the renewal of this daemon's leases.")
        self.redis_errors = self._counter("redis_errors", "Calls of Redis that failed, by loop.", "part")
        self.lease_lapses = self._counter("leases_lapsed", "Times that this daemon's own lease had run out.")
        self.audits = self._counter("audits", "Comparisons of what Redis says is ours with what runs.")
        self.events_unpublished = self._gauge("events_unpublished", "Fired events that Redis has not taken yet.")
        self.publish_retries = self._counter("event_publish_retries", "Events that had to be sent again.")
        self.queue_waiting = self._gauge("queue_depth", "Triggers that nobody has claimed yet.", "queue")
        self.queue_pending = self._gauge("queue_pending", "Triggers that some daemon has claimed.", "queue")
        self.queue_dead = self._gauge("dead_letters", "Dead letters that are kept.", "queue")
        for part in ("claim", "settle", "lease", "sweep", "hints"):
            self.redis_errors.labels(part)

    def _make_aws_metrics(self) -> None:
        self._polled: set[tuple[str, str]] = set()
        self.polls = self._counter("polls", "AWS calls made for waits.", "service", "operation", "result")
        self.poll_waits = self._counter(
            "poll_waits", "Waits served by those calls: more than calls where they are shared.", "service", "operation"
        )
        self.poll_duration = self._histogram(
            "poll_duration_seconds", "How long AWS took to answer.", _LATENCY_S, "service"
        )
        self.poll_due_lag = self._histogram(
            "poll_due_lag_seconds", "How late polls were sent: budgets stretch delays, or we are overloaded.",
            _DUE_LAG_S, "service",
        )  # fmt: skip
        self.merges_failed = self._counter(
            "merges_failed", "Merged calls that AWS denied or could not answer; single calls were made instead.",
            "service", "operation", "why",
        )  # fmt: skip
        self.throttles = self._counter("aws_throttles", "AWS calls answered with a throttle.", "service", "operation")
        self.waits_overdue = self._gauge("waits_overdue", "AWS waits whose poll is late by three intervals.")

    # The names of counters get `_total` from prometheus_client.
    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"triggerd_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"triggerd_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"triggerd_{name}", text, labels, buckets=buckets, registry=self.registry)
