"""Which quota a call spends, and how much of it is ours."""

from typing import Any

import pytest
from botocore.loaders import Loader

from triggerd.aws.quotas import Quotas, table
from triggerd.aws.waiters import ServiceModels
from triggerd.errors import ConfigError
from triggerd.settings import AwsSettings, QuotaSettings

MODELS = ServiceModels(Loader())
SHARE = 0.65


def quotas(overrides: dict[str, tuple[float, float]] | None = None, **settings: Any) -> Quotas:
    given = {key: QuotaSettings(rate_per_s=rate, burst=burst) for key, (rate, burst) in (overrides or {}).items()}
    return Quotas(AwsSettings(quotas=given, **settings), MODELS)


def figures(found: Quotas, service: str, operation: str, region: str = "eu-central-1") -> tuple[str, float, float]:
    quota = found.of(service, operation, region)
    return quota.name, round(quota.rate_per_s, 6), round(quota.burst, 6)


def test_every_service_and_operation_of_the_table_is_one_of_botocore() -> None:
    for service, entries in table().items():
        if service == "unknown":
            continue
        known = MODELS.get(service).operation_names
        for name, entry in entries.items():
            for operation in entry.get("operations", (name,)):
                if operation.endswith("*"):
                    assert any(each.startswith(operation[:-1]) for each in known), (service, operation)
                else:
                    assert operation in known, (service, operation)


def test_every_figure_of_the_table_is_sound_and_has_a_source() -> None:
    entries = [entry for name, service in table().items() if name != "unknown" for entry in service.values()]
    for entry in (table()["unknown"], *entries):
        assert entry["source"]
        for rates in (entry, *entry.get("regions", {}).values()):
            assert rates["rate_per_s"] > 0
            assert rates["burst"] >= 1


def test_no_operation_stands_under_two_quotas() -> None:
    for service, entries in table().items():
        if service != "unknown":
            named = [op for name, entry in entries.items() if name != "all" for op in entry.get("operations", (name,))]
            assert len(named) == len(set(named))


def test_a_default_quota_is_ours_in_part_only() -> None:
    assert figures(quotas(), "ecs", "DescribeTasks") == ("ecs.cluster-resource-read", 20 * SHARE, 100 * SHARE)
    assert figures(quotas(quota_share=0.5), "ecs", "DescribeServices") == ("ecs.service-read", 10, 50)


def test_operations_of_one_quota_share_it_and_a_describe_of_ec2_has_its_own() -> None:
    found = quotas()
    assert found.of("ecs", "DescribeTasks", "r") is found.of("ecs", "ListTasks", "r")
    assert found.of("ecs", "DescribeTasks", "r") is not found.of("ecs", "DescribeClusters", "r")
    assert figures(found, "ec2", "DescribeInstances") == ("ec2.DescribeInstances", 20 * SHARE, 100 * SHARE)
    assert figures(found, "ec2", "DescribeVolumes")[0] == "ec2.DescribeVolumes"


def test_an_operation_that_no_table_knows_has_a_cautious_quota_of_its_own() -> None:
    assert figures(quotas(), "glue", "GetJobRuns") == ("glue.GetJobRuns", 10 * SHARE, 20 * SHARE)
    assert not quotas().of("glue", "GetJobRuns", "r").known
    assert quotas().of("ecs", "DescribeTasks", "r").known


def test_all_calls_of_emr_spend_one_quota_beside_their_own() -> None:
    found = quotas()
    steps, unlisted = found.of("emr", "ListSteps", "r"), found.of("emr", "ListNotebookExecutions", "r")
    assert steps.together is not None
    assert steps.together is unlisted.together
    assert (steps.together.name, steps.together.rate_per_s) == ("emr.all", 5 * SHARE)
    assert (unlisted.name, unlisted.known) == ("emr.ListNotebookExecutions", False)
    assert found.of("ecs", "DescribeTasks", "r").together is None


def test_step_functions_allow_more_in_the_large_regions() -> None:
    assert figures(quotas(), "stepfunctions", "DescribeExecution")[1] == 10 * SHARE
    assert figures(quotas(), "stepfunctions", "DescribeExecution", "us-east-1")[1] == 15 * SHARE
    assert figures(quotas(), "stepfunctions", "ListExecutions", "us-east-1")[2] == 200 * SHARE


def test_a_burst_is_one_call_at_least() -> None:
    assert figures(quotas(quota_share=0.05), "dynamodb", "ListBackups")[2] == 1


def test_an_override_is_taken_as_it_stands_and_the_more_exact_one_goes_first() -> None:
    found = quotas({
        "*": (1, 2), "ecs.cluster-resource-read": (40, 200), "ec2.Describe*": (30, 60), "ec2.DescribeVolumes": (3, 6),
        "glue.GetJobRun": (7, 8), "emr.all": (50, 50),
    })  # fmt: skip
    assert figures(found, "ecs", "ListTasks")[1:] == (40, 200)
    assert figures(found, "ecs", "DescribeServices")[1:] == (1, 2)
    assert figures(found, "ec2", "DescribeInstances")[1:] == (30, 60)
    assert figures(found, "ec2", "DescribeVolumes")[1:] == (3, 6)
    assert figures(found, "glue", "GetJobRun")[1:] == (7, 8)
    assert figures(found, "glue", "GetJobRuns")[1:] == (1, 2)
    assert found.of("glue", "GetJobRuns", "r").known
    together = found.of("emr", "ListSteps", "r").together
    assert together is not None
    assert together.rate_per_s == 50


@pytest.mark.parametrize(("key", "rates", "shown"), [
    ("esc.cluster-read", (1, 1), "aws.quotas.esc.cluster-read = {'rate_per_s': 1, 'burst': 1}: botocore has no "),
    ("esc.cluster-read", (1, 1), "service 'esc', did you mean"),
    ("ecs.cluster-raed", (1, 1), "did you mean 'ecs.cluster-read'"),
    ("ecs.DescribeTask", (1, 1), "ecs has no quota and no operation of this name, did you mean 'ecs.DescribeTasks'"),
    ("ecs.ListTasks", (1, 1), "ListTasks shares a quota with other operations: set ecs.cluster-resource-read"),
    ("ecs", (1, 1), "ecs has no quota and no operation of this name"),
    ("ecs.cluster-read", (float("inf"), 1), "aws.quotas.ecs.cluster-read.rate_per_s = inf: a rate is above 0"),
    ("*", (1, 0.5), "aws.quotas.*.burst = 0.5: a rate is above 0, a burst 1 or more"),
    ("*", (float("nan"), 1), "aws.quotas.*.rate_per_s = nan"),
])  # fmt: skip
def test_an_override_of_what_there_is_not_says_the_way_out(key: str, rates: tuple[float, float], shown: str) -> None:
    with pytest.raises(ConfigError) as raised:
        quotas({key: rates})
    assert shown in str(raised.value)
