"""Promises of the poll engine where one thing is in trouble: the others do not notice, and nothing ends over it."""

import asyncio
import json
import tracemalloc
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.fake_aws import Answer, Drop, FakeAws, Fault, Raw
from tests.support.waiting import eventually
from triggerd.aws import Aws
from triggerd.aws.local import open_aws
from triggerd.settings import ConnectionSettings

QUERIES = [f"q-{number}" for number in range(20)]
MERGED, SINGLE = "BatchGetQueryExecution", "GetQueryExecution"


@pytest.fixture
async def fake() -> AsyncIterator[FakeAws]:
    async with FakeAws("athena") as server:
        yield server


class Queries:
    """Athena's queries: all of them run until the test says that they have ended."""

    def __init__(self, fake: FakeAws) -> None:
        self.state = "RUNNING"
        self.merged: Answer | None = None
        fake.script(SINGLE, lambda params: {"QueryExecution": self.of(params["QueryExecutionId"])})
        fake.script(MERGED, self._many)

    def of(self, one: str) -> dict[str, Any]:
        return {"QueryExecutionId": one, "Status": {"State": self.state}}

    def many(self, *ids: str) -> dict[str, Any]:
        return {"QueryExecutions": [self.of(one) for one in ids], "UnprocessedQueryExecutionIds": []}

    def _many(self, params: dict[str, Any]) -> Answer:
        return self.many(*params["QueryExecutionIds"]) if self.merged is None else self.merged


def start(aws: Aws, ids: list[str], delay: float = 0.3, **more: Any) -> list[asyncio.Task[Any]]:
    return [
        asyncio.create_task(
            aws.wait("athena", "query_complete", {"QueryExecutionId": one}, delay=delay, max_attempts=1000, **more)
        )
        for one in ids
    ]  # fmt: skip


async def end(queries: Queries, waits: list[asyncio.Task[Any]], ids: list[str]) -> None:
    """Let the queries end; each wait ends with its own."""
    assert not any(wait.done() for wait in waits)
    queries.state = "SUCCEEDED"
    answers = await asyncio.wait_for(asyncio.gather(*waits), 30)
    assert [answer["QueryExecution"]["QueryExecutionId"] for answer in answers] == ids


async def test_services_that_never_answer_hold_back_no_other_one(fake: FakeAws) -> None:
    queries = Queries(fake)
    async with FakeAws("glue") as slow:
        slow.script("GetJobRun", {"JobRun": {"JobRunState": "RUNNING"}})
        slow.gate = asyncio.Event()
        settings = fake.settings(connection={"endpoints": {"glue": slow.url}}, unmerged=("glue",))
        async with open_aws(settings) as aws:
            stuck = [
                asyncio.create_task(aws.wait("glue", "job_complete", {"JobName": "j", "RunId": run}, region=region))
                for region in ("us-east-1", "us-west-2", "eu-west-1", "eu-west-2", "sa-east-1", "ca-central-1")
                for run in map(str, range(60))
            ]  # fmt: skip
            await eventually(lambda: slow.in_flight >= 40)
            waits = start(aws, QUERIES)
            await eventually(lambda: fake.calls.total() >= 3)
            await end(queries, waits, QUERIES)
            assert slow.in_flight < 64
            slow.gate.set()
            for wait in stuck:
                wait.cancel()
            await asyncio.gather(*stuck, return_exceptions=True)


async def test_a_merged_call_that_one_identity_may_not_make_is_made_by_the_others(fake: FakeAws) -> None:
    queries = Queries(fake)
    async with FakeAws("athena", "sts") as denying:
        role = "arn:aws:iam::123456789012:role/narrow"
        keys = {
            "AccessKeyId": "narrow",
            "SecretAccessKey": "s",
            "SessionToken": "t",
            "Expiration": "2099-01-01T00:00:00Z",
        }
        denying.script("AssumeRole", {"Credentials": keys})
        denied = Queries(denying)
        denied.merged = Fault("AccessDeniedException")
        narrow = ConnectionSettings(region="us-east-1", role_arn=role, endpoint_url=denying.url)
        async with open_aws(fake.settings(connections={"narrow": narrow})) as aws:
            waits, others = start(aws, QUERIES), start(aws, QUERIES, connection="narrow")
            await eventually(lambda: denying.calls[SINGLE] >= 40 and fake.calls[MERGED] >= 3)
            assert denying.calls[MERGED] <= 2, "one, and one that was under way when it was denied"
            assert fake.calls[SINGLE] < 20, "not even one round; who begins before the others may be alone"
            await end(queries, waits, QUERIES)
            await end(denied, others, QUERIES)


@pytest.mark.parametrize(
    "answer", [Fault("InternalServerError", status=500), Drop(), Fault("InternalFailure", status=400)]
)
async def test_where_only_the_merged_call_fails_single_calls_are_made(answer: Answer, fake: FakeAws) -> None:
    queries = Queries(fake)
    queries.merged = answer
    async with open_aws(fake.settings()) as aws:
        waits = start(aws, QUERIES)
        await eventually(lambda: fake.calls[SINGLE] >= 40, 30)
        await end(queries, waits, QUERIES)
        assert fake.calls[MERGED] <= 6


ODD: dict[str, Answer] = {
    "no JSON": Raw(b'{"QueryExecutions": ['),
    "no UTF-8": Raw(b'{"QueryExecutions": "\xff\xfe"}'),
    "no object": Raw(b"[]"),
    "null": Raw(b"null"),
    "a number for the list": {"QueryExecutions": 7},
    "a text for the list": {"QueryExecutions": "none"},
    "an object for the list": {"QueryExecutions": {"QueryExecutionId": "q-1"}},
    "numbers in the list": {"QueryExecutions": [1, None, "q-1"]},
    "ids that are none": {"QueryExecutions": [{"QueryExecutionId": 7}, {"QueryExecutionId": None}, {}]},
    "nobody's": {"QueryExecutions": [{"QueryExecutionId": "of-nobody", "Status": {"State": "FAILED"}}]},
    "in another case": {"QueryExecutions": [{"QueryExecutionId": "Q-1", "Status": {"State": "FAILED"}}]},
}


@pytest.mark.parametrize("answer", ODD.values(), ids=ODD)
async def test_an_odd_merged_answer_ends_no_wait(answer: Answer, fake: FakeAws) -> None:
    queries = Queries(fake)
    async with open_aws(fake.settings()) as aws:
        waits = start(aws, QUERIES, delay=0.1)
        await eventually(lambda: fake.calls[MERGED] >= 2)  # from now on it is prepared
        queries.merged = answer
        before = fake.calls.copy()
        await eventually(lambda: fake.calls.total() >= before.total() + 3)
        await end(queries, waits, QUERIES)


async def test_an_id_that_comes_twice_is_read_from_the_last_one(fake: FakeAws) -> None:
    queries = Queries(fake)
    async with open_aws(fake.settings()) as aws:
        waits = start(aws, QUERIES[:2])
        await eventually(lambda: fake.calls[MERGED] >= 2)
        failed = {"QueryExecutionId": "q-0", "Status": {"State": "FAILED"}}
        both = queries.many("q-0", "q-1")["QueryExecutions"]
        queries.merged = {"QueryExecutions": [failed, *both]}
        before = fake.calls[MERGED]
        await eventually(lambda: fake.calls[MERGED] >= before + 2)
        queries.merged = None
        await end(queries, waits, QUERIES[:2])


async def test_answers_that_are_huge_or_dribble_in_are_read_and_let_go(fake: FakeAws) -> None:
    queries, more = Queries(fake), {"Query": "x" * 100_000}
    async with open_aws(fake.settings()) as aws:
        waits = start(aws, QUERIES)
        await eventually(lambda: fake.calls[MERGED] >= 2)
        singly = fake.calls[SINGLE]
        many = queries.many(*QUERIES, *(f"other-{number}" for number in range(30)))
        huge = json.dumps({**many, "QueryExecutions": [{**each, **more} for each in many["QueryExecutions"]]})
        tracemalloc.start()
        for queries.merged in (Raw(huge.encode()), Raw(huge.encode(), pause_s=0.02)):
            before = fake.calls[MERGED]
            await eventually(lambda before=before: fake.calls[MERGED] >= before + 2)  # type: ignore[misc]
        queries.merged = None
        before = fake.calls[MERGED]
        await eventually(lambda: fake.calls[MERGED] >= before + 2)
        kept = sum(
            each.size
            for each in tracemalloc.take_snapshot().statistics("filename")
            if "/triggerd/aws/" in each.traceback[0].filename
        )
        tracemalloc.stop()
        assert fake.calls[SINGLE] == singly
        await end(queries, waits, QUERIES)
    assert kept < 1_000_000
