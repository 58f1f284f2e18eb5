"""Promises of named connections: whose credentials a call is made with, where it goes, and what a refusal says."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from tests.support.fake_aws import FakeAws, Fault
from triggerd.aws.local import open_aws
from triggerd.errors import AwsCallError, WaiterDefinitionError
from triggerd.settings import AwsSettings, ConnectionSettings

RUN = {"JobName": "j", "RunId": "r"}
DONE = {"JobRun": {"JobRunState": "SUCCEEDED"}}
ROLE = "arn:aws:iam::123456789012:role/waits"


def _credentials(key: str) -> dict[str, Any]:
    expiry = "2099-01-01T00:00:00Z"
    return {"Credentials": {"AccessKeyId": key, "SecretAccessKey": "s", "SessionToken": "t", "Expiration": expiry}}


@pytest.fixture
async def fake() -> AsyncIterator[FakeAws]:
    async with FakeAws("glue", "sts") as server:
        server.script("GetJobRun", DONE)
        yield server


def _keys(fake: FakeAws, operation: str = "GetJobRun") -> list[str]:
    return [seen.access_key for seen in fake.seen if seen.operation == operation]


async def test_a_profile_is_read_from_the_files_of_the_aws_cli(
    fake: FakeAws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "config"
    config.write_text("[profile etl]\naws_access_key_id = PROFILEKEY\naws_secret_access_key = s\nregion = eu-west-1\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    connections = {name: ConnectionSettings(profile=name, endpoint_url=fake.url) for name in ("etl", "nobody")}
    async with open_aws(AwsSettings(connections=connections)) as aws:
        await aws.wait("glue", "job_complete", RUN, connection="etl")
        with pytest.raises(AwsCallError, match=r"connection 'nobody'.*profile.*nobody"):
            await aws.wait("glue", "job_complete", RUN, connection="nobody")
    assert _keys(fake) == ["PROFILEKEY"]


async def test_a_token_file_is_exchanged_without_other_credentials(
    fake: FakeAws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    token = tmp_path / "token"
    token.write_text("oidc\n")
    fake.script("AssumeRoleWithWebIdentity", _credentials("WEBKEY"))
    async with open_aws(fake.settings(connection={"role_arn": ROLE, "web_identity_token_file": str(token)})) as aws:
        await aws.wait("glue", "job_complete", RUN)
    assert _keys(fake) == ["WEBKEY"]
    [exchange] = [seen for seen in fake.seen if seen.operation == "AssumeRoleWithWebIdentity"]
    assert exchange.params["WebIdentityToken"] == "oidc"
    assert exchange.access_key == ""


async def test_a_token_file_that_is_not_there_ends_a_wait_at_once(fake: FakeAws, tmp_path: Path) -> None:
    token = str(tmp_path / "missing")
    async with open_aws(fake.settings(connection={"role_arn": ROLE, "web_identity_token_file": token})) as aws:
        with pytest.raises(AwsCallError, match=r"web_identity_token_file.*No such file"):
            await aws.wait("glue", "job_complete", RUN)
    assert fake.calls.total() == 0


async def test_a_role_that_is_refused_says_so_with_awss_code(fake: FakeAws) -> None:
    fake.script("AssumeRole", Fault("AccessDenied", "not authorized to perform sts:AssumeRole", 403))
    async with open_aws(fake.settings(connection={"role_arn": ROLE})) as aws:
        with pytest.raises(AwsCallError, match="AssumeRole: AccessDenied: not authorized") as error:
            await aws.wait("glue", "job_complete", RUN)
    assert error.value.aws_code == "AccessDenied"
    assert fake.calls["GetJobRun"] == 0


async def test_a_throttled_sts_is_waited_through(fake: FakeAws) -> None:
    fake.script("AssumeRole", *[Fault("Throttling")] * 4, _credentials("ROLEKEY"))
    async with open_aws(fake.settings(connection={"role_arn": ROLE})) as aws:
        await aws.wait("glue", "job_complete", RUN, delay=0.05)
    assert _keys(fake) == ["ROLEKEY"]


async def test_each_service_may_have_an_endpoint_of_its_own(fake: FakeAws) -> None:
    async with FakeAws("sts") as sts:
        sts.script("AssumeRole", _credentials("ROLEKEY"))
        async with open_aws(fake.settings(connection={"role_arn": ROLE, "endpoints": {"sts": sts.url}})) as aws:
            await aws.wait("glue", "job_complete", RUN)
        assert sts.calls == {"AssumeRole": 1}
    assert fake.calls == {"GetJobRun": 1}


async def test_no_region_anywhere_is_said_at_once(fake: FakeAws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    async with open_aws(fake.settings(connection={"region": None})) as aws:
        with pytest.raises(AwsCallError, match="region"):
            await aws.wait("glue", "job_complete", RUN)
        assert (await aws.wait("glue", "job_complete", RUN, region="eu-west-1")).polls == 1


@pytest.mark.parametrize(
    "change",
    [{"delay": 0}, {"delay": -1}, {"delay": float("nan")}, {"delay": "30"}, {"max_attempts": 0}, {"max_attempts": 2.5}],
)
async def test_a_budget_that_cannot_be_one_is_refused_before_any_call(fake: FakeAws, change: dict[str, Any]) -> None:
    async with open_aws(fake.settings()) as aws:
        with pytest.raises(WaiterDefinitionError, match=f"{next(iter(change))} = "):
            await aws.wait("glue", "job_complete", RUN, **change)
    assert fake.calls.total() == 0


async def test_a_role_of_moto_is_assumed_once_for_all_its_clients(moto_url: str) -> None:
    connection = ConnectionSettings(region="us-east-1", endpoint_url=moto_url, role_arn=ROLE, session_name="nightly")
    async with open_aws(AwsSettings(connections={"role": connection})) as aws:
        async with aws.client("sts", connection="role") as sts:
            assert (await sts.get_caller_identity())["Arn"].endswith("assumed-role/waits/nightly")
        client = boto3.client("s3", endpoint_url=moto_url)
        await asyncio.to_thread(lambda: client.create_bucket(Bucket="lake"))
        client.close()
        answer = await aws.wait("s3", "bucket_exists", {"Bucket": "lake"}, connection="role")
        assert answer.polls == 1
