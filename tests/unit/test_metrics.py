"""Metrics: names as Prometheus wants them, closed label sets, known ones at 0."""

import re

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from triggerd.metrics import MAX_TRIGGER_NAMES, OTHER, BudgetRates, CredentialStates, Metrics


@pytest.fixture
def metrics() -> Metrics:
    return Metrics("1.2.3", ["default", "slow"])


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def test_names_have_our_prefix_base_units_and_total_for_counters(metrics: Metrics) -> None:
    families = list(text_string_to_metric_families(generate_latest(metrics.registry).decode()))
    ours = [family for family in families if family.name.startswith("triggerd_")]
    assert len(ours) > 20
    for family in ours:
        assert re.fullmatch(r"[a-z_]+", family.name)
        assert family.documentation
        assert not re.search(r"_(ms|milliseconds|minutes|kb|count|total)$", family.name), family.name
        if family.type == "histogram":
            assert family.name.endswith("_seconds")
        if family.type == "counter":
            assert all(sample.name.endswith(("_total", "_created")) for sample in family.samples)


def test_known_label_sets_begin_at_zero(metrics: Metrics) -> None:
    metrics.trigger("AwsWaiterTrigger")
    for outcome in ("fired", "failed", "timed_out", "cancelled"):
        assert value(metrics, "triggerd_triggers_finished_total", trigger="AwsWaiterTrigger", outcome=outcome) == 0
    assert value(metrics, "triggerd_triggers_running", trigger="AwsWaiterTrigger") == 0
    for queue in ("default", "slow"):
        assert value(metrics, "triggerd_queue_depth", queue=queue) == 0
    for cause in ("released", "drained", "expired", "refused"):
        assert value(metrics, "triggerd_triggers_released_total", cause=cause) == 0


def test_trigger_labels_are_a_closed_set_with_an_overflow(metrics: Metrics) -> None:
    for number in range(MAX_TRIGGER_NAMES + 50):
        metrics.trigger(f"Trigger{number}").finished["fired"].inc()
    assert value(metrics, "triggerd_triggers_finished_total", trigger=OTHER, outcome="fired") == 50
    assert metrics.trigger("Trigger0") is metrics.trigger("Trigger0")


def test_a_poll_is_counted_with_its_waits_and_duration_and_a_throttle_twice(metrics: Metrics) -> None:
    metrics.poll("glue", "GetJobRun", "ok", 3, 0.2)
    metrics.poll("glue", "GetJobRun", "throttled", 1, 0.1)
    labels = {"service": "glue", "operation": "GetJobRun"}
    assert value(metrics, "triggerd_polls_total", **labels, result="ok") == 1
    assert value(metrics, "triggerd_polls_total", **labels, result="throttled") == 1
    assert value(metrics, "triggerd_polls_total", **labels, result="unavailable") == 0
    assert value(metrics, "triggerd_poll_waits_total", **labels) == 4
    assert value(metrics, "triggerd_aws_throttles_total", **labels) == 1
    assert value(metrics, "triggerd_poll_duration_seconds_count", service="glue") == 2


def test_late_polls_and_failed_merged_calls_are_counted(metrics: Metrics) -> None:
    metrics.poll_lag("ecs", 2.0)
    metrics.merge_failed("stepfunctions", "ListExecutions", "denied")
    labels = {"service": "stepfunctions", "operation": "ListExecutions", "why": "denied"}
    assert value(metrics, "triggerd_poll_due_lag_seconds_sum", service="ecs") == 2.0
    assert value(metrics, "triggerd_merges_failed_total", **labels) == 1


def test_two_instances_do_not_share_anything(metrics: Metrics) -> None:
    metrics.claimed.inc()
    assert value(Metrics("1.2.3", []), "triggerd_triggers_claimed_total") == 0


def test_build_info_tells_the_version(metrics: Metrics) -> None:
    assert 'version="1.2.3"' in generate_latest(metrics.registry).decode()


def test_of_a_quota_the_rate_of_the_slowest_group_is_shown(metrics: Metrics) -> None:
    rates = [("ecs.cluster-read", 13.0), ("ecs.cluster-read", 4.5), ("glue.GetJobRuns", 6.5)]
    metrics.registry.register(BudgetRates(lambda: rates))
    assert value(metrics, "triggerd_aws_budget_rate", service="ecs", quota="cluster-read") == 4.5
    assert value(metrics, "triggerd_aws_budget_rate", service="glue", quota="GetJobRuns") == 6.5
    rates.clear()
    assert value(metrics, "triggerd_aws_budget_rate", service="glue", quota="GetJobRuns") is None


def test_of_identities_with_one_label_the_earliest_end_and_all_fetches_are_shown(metrics: Metrics) -> None:
    states = [("a role", 5_000_500, 2, 0), ("a role", 4_000_500, 1, 3), ("profile etl", None, 1, 0)]
    metrics.registry.register(CredentialStates(lambda: states))
    expiry, fetches = "triggerd_aws_credentials_expiry_timestamp_seconds", "triggerd_aws_credentials_refreshes_total"
    assert value(metrics, expiry, identity="a role") == 4_000.5
    assert value(metrics, expiry, identity="profile etl") is None
    assert value(metrics, fetches, identity="a role", result="ok") == 3
    assert value(metrics, fetches, identity="a role", result="failed") == 3
    assert value(metrics, fetches, identity="profile etl", result="ok") == 1
