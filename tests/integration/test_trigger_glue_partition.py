"""Promises of GlueCatalogPartitionTrigger on scripted answers; in brackets the defects of Airflow's."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.fake_aws import FakeAws, Fault
from triggerd.aws import Aws
from triggerd.aws.local import open_aws
from triggerd.event import Event
from triggerd.testing import run_trigger
from triggerd.triggers.glue import GlueCatalogPartitionTrigger


@pytest.fixture
async def fake() -> AsyncIterator[FakeAws]:
    async with FakeAws("glue") as server:
        yield server


@pytest.fixture
async def aws(fake: FakeAws) -> AsyncIterator[Aws]:
    async with open_aws(fake.settings()) as opened:
        yield opened


async def _outcome(aws: Aws, trigger: Any) -> Event:
    return await run_trigger(trigger, aws=aws, timeout=30)


def _partition(**change: Any) -> GlueCatalogPartitionTrigger:
    return GlueCatalogPartitionTrigger(**{"database_name": "d", "table_name": "t", "delay": 0.05, **change})


FOUND = {"Partitions": [{"Values": ["2026-01-01"]}]}


async def test_a_partition_behind_an_empty_page_is_found(fake: FakeAws, aws: Aws) -> None:
    def answer(params: dict[str, Any]) -> dict[str, Any]:
        token = int(params.get("NextToken", "0"))
        return FOUND if token == 3 else {"Partitions": [], "NextToken": str(token + 1)}

    fake.script("GetPartitions", answer)
    event = await _outcome(aws, _partition(expression="ds = '2026-01-01'"))
    assert event.payload == {"status": "success"}
    assert event.details["polls"] == 1
    assert {seen.params["Expression"] for seen in fake.seen} == {"ds = '2026-01-01'"}


async def test_a_partition_is_waited_for_through_throttles_and_outages(fake: FakeAws, aws: Aws) -> None:  # [1c 8]
    none: dict[str, Any] = {"Partitions": []}
    fake.script(
        "GetPartitions", none, Fault("ThrottlingException"), Fault("InternalServiceException", status=500), FOUND
    )
    event = await _outcome(aws, _partition(table_name="lake.events"))
    assert event.payload == {"status": "success"}
    asked = fake.seen[0].params
    assert (asked["DatabaseName"], asked["TableName"]) == ("lake", "events")
    assert "Expression" not in asked


async def test_a_partition_that_never_comes_ends_with_the_budget(fake: FakeAws, aws: Aws) -> None:  # [1b 11]
    fake.script("GetPartitions", {"Partitions": []})
    event = await _outcome(aws, _partition(max_attempts=3, expression="ds = '1'"))
    assert event.payload["status"] == "error"
    assert "t had no partition ds = '1' after" in event.payload["message"]


async def test_a_table_that_is_not_there_raises(fake: FakeAws, aws: Aws) -> None:
    fake.script("GetPartitions", Fault("EntityNotFoundException", "Table t not found."))
    event = await _outcome(aws, _partition())
    assert event.outcome == "failed"
    assert event.error is not None
    assert "Table t not found." in event.error.message
