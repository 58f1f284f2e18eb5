"""`AwsContext.poll`, `transient` and the overrides of `wait`, on a fake AWS over real clients."""

import asyncio

import pytest
from botocore.exceptions import ClientError

from tests.support.fake_aws import Drop, FakeAws, Fault
from triggerd.aws.local import open_aws
from triggerd.aws.regions import OTHERS
from triggerd.errors import AwsCallError, ConfigError, WaiterDefinitionError, WaiterFailedError

ITEM = {"Item": {"colour": {"S": "red"}}}
KEY = {"TableName": "t", "Key": {"id": {"S": "1"}}}


async def test_a_read_waits_through_throttles_outages_and_5xx() -> None:
    async with FakeAws("dynamodb") as fake:
        fake.script("GetItem", Fault("ThrottlingException"), Drop(), Fault("InternalServerError", status=500), ITEM)
        async with open_aws(fake.settings()) as aws:
            answer = await aws.poll("dynamodb", "GetItem", KEY)
        assert answer["Item"] == ITEM["Item"]
        assert fake.calls["GetItem"] == 4


async def test_a_read_that_aws_refuses_raises_with_its_code() -> None:
    async with FakeAws("dynamodb") as fake:
        fake.script("GetItem", Fault("AccessDeniedException", "not you"))
        async with open_aws(fake.settings()) as aws:
            with pytest.raises(AwsCallError, match=r"^dynamodb GetItem: AccessDeniedException: not you") as caught:
                await aws.poll("dynamodb", "GetItem", KEY)
            assert caught.value.aws_code == "AccessDeniedException"


async def test_equal_reads_at_the_same_time_are_one_call() -> None:
    async with FakeAws("dynamodb") as fake:
        fake.script("GetItem", ITEM)
        async with open_aws(fake.settings()) as aws:
            answers = await asyncio.gather(*(aws.poll("dynamodb", "GetItem", KEY) for _ in range(10)))
        assert len(answers) == 10
        assert fake.calls["GetItem"] <= 2, "the first may be on its way before the others begin"


@pytest.mark.parametrize(
    ("service", "operation", "params", "error", "says"),
    [
        ("dynamodb", "GetItems", KEY, WaiterDefinitionError, "dynamodb has no operation 'GetItems', did you mean"),
        ("dynamodbb", "GetItem", KEY, WaiterDefinitionError, "no service 'dynamodbb'"),
        ("dynamodb", "GetItem", {"Table": "t"}, WaiterDefinitionError, "Missing required parameter"),
    ],
)
async def test_a_wrong_read_is_named_before_anything_is_sent(
    service: str, operation: str, params: dict[str, object], error: type[Exception], says: str
) -> None:
    async with FakeAws("dynamodb") as fake:
        async with open_aws(fake.settings()) as aws:
            with pytest.raises(error, match=says):
                await aws.poll(service, operation, params)
            with pytest.raises(ConfigError, match="no connection of this name"):
                await aws.poll("dynamodb", "GetItem", KEY, connection="nowhere")
        assert not fake.calls


async def test_what_a_client_raises_is_told_apart() -> None:
    async with FakeAws("dynamodb") as fake, open_aws(fake.settings()) as aws:
        for fault, expected in (
            (Fault("ThrottlingException"), True), (Fault("InternalServerError", status=500), True),
            (Fault("AccessDeniedException"), False),
        ):  # fmt: skip
            fake.script("GetItem", fault)
            async with aws.client("dynamodb") as client:
                with pytest.raises(ClientError) as caught:
                    await client.get_item(**KEY)
            assert aws.transient(caught.value) is expected
        assert aws.transient(TimeoutError())
        assert not aws.transient(ValueError())


async def test_acceptors_of_the_trigger_stand_instead_of_the_waiters() -> None:
    path = "JobRun.JobRunState"
    acceptors = [
        {"state": "success", "matcher": "path", "argument": path, "expected": "STOPPED"},
        {"state": "failure", "matcher": "path", "argument": path, "expected": "SUCCEEDED"},
    ]
    async with FakeAws("glue") as fake, open_aws(fake.settings(unmerged=("glue",))) as aws:
        args = {"JobName": "etl", "RunId": "jr_1"}
        fake.script("GetJobRun", {"JobRun": {"Id": "jr_1", "JobRunState": "STOPPED"}})
        answer = await aws.wait("glue", "job_complete", args, acceptors=acceptors)
        assert answer.last_status == "STOPPED"
        fake.script("GetJobRun", {"JobRun": {"Id": "jr_1", "JobRunState": "SUCCEEDED"}})
        with pytest.raises(WaiterFailedError):
            await aws.wait("glue", "job_complete", args, acceptors=acceptors)


async def test_a_queue_that_names_region_after_region_is_told_so() -> None:
    async with FakeAws("dynamodb") as fake, open_aws(fake.settings()) as aws:
        fake.script("GetItem", ITEM)
        for number in range(OTHERS):
            await aws.poll("dynamodb", "GetItem", KEY, region=f"eu-new-{number}")
        with pytest.raises(ConfigError, match="botocore does not know it"):
            await aws.poll("dynamodb", "GetItem", KEY, region="eu-new-99")
        await aws.poll("dynamodb", "GetItem", KEY, region="eu-central-2")
