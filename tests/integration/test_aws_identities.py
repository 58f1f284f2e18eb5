"""Promises of named connections: whose credentials a call is made with, where it goes, and what a refusal says."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import SSLError

from tests.integration.test_transport import certificate
from tests.support.fake_aws import FakeAws, Fault
from tests.support.recording_server import Server, http
from triggerd.aws.aws import Aws
from triggerd.aws.local import open_aws
from triggerd.errors import AwsCallError, ConfigError, WaiterDefinitionError
from triggerd.metrics import Metrics
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


async def test_airflows_name_for_the_default_connection_means_ours_unless_one_is_called_so(fake: FakeAws) -> None:
    async with open_aws(fake.settings(connection={"access_key_id": "OURS", "secret_access_key": "s"})) as aws:
        await aws.wait("glue", "job_complete", RUN, connection="aws_default")
        assert len(list(aws.credentials())) == 1
    named = ConnectionSettings(region="us-east-1", endpoint_url=fake.url, access_key_id="NAMED", secret_access_key="s")
    async with open_aws(fake.settings(connections={"aws_default": named})) as aws:
        await aws.wait("glue", "job_complete", RUN, connection="aws_default")
    assert _keys(fake) == ["OURS", "NAMED"]


async def test_a_connection_that_is_not_there_is_named_with_both_ways_to_make_one(fake: FakeAws) -> None:
    connections = {"warehouse": ConnectionSettings()}
    async with open_aws(fake.settings(connections=connections)) as aws:
        with pytest.raises(ConfigError, match=r"'warehous'.*did you mean 'warehouse'.*aws\.connections.*AIRFLOW_CONN_"):
            await aws.wait("glue", "job_complete", RUN, connection="warehous")
    assert fake.calls.total() == 0


@pytest.mark.parametrize("patient", [False, True], ids=["poller", "hand-written"])
async def test_region_and_botocores_options_reach_the_wire(patient: bool) -> None:
    async with Server().serve() as server:
        server.answers = [http(b'{"JobRun":{"JobRunState":"SUCCEEDED"}}')]
        connection = ConnectionSettings(
            region="us-east-1", endpoint_url=server.url, botocore={"user_agent_extra": "of-the-test", "read_timeout": 7}
        )
        async with open_aws(AwsSettings(connections={"default": connection})) as aws:
            for region in (None, "eu-west-1"):
                if patient:
                    async with aws.client("glue", region=region) as client:
                        await client.get_job_run(**RUN)
                        assert client.meta.config.read_timeout == 7
                else:
                    await aws.wait("glue", "job_complete", RUN, region=region)
        scopes = [re.findall(rb"/\d{8}/([^/]+)/glue/aws4_request", request) for request in server.requests]
        assert scopes == [[b"us-east-1"], [b"eu-west-1"]]
        assert all(b"of-the-test" in request for request in server.requests)


async def test_only_hand_written_clients_outwait_a_long_poll(fake: FakeAws) -> None:
    async with open_aws(fake.settings(read_timeout_s=5.0)) as aws:
        async with aws.client("glue") as client:
            assert client.meta.config.read_timeout == 60
        await aws.wait("glue", "job_complete", RUN)
        [poller] = aws._clients.values()
        assert poller.client.meta.config.read_timeout == 5


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")  # as it was asked for
async def test_certificates_are_checked_as_the_connection_says_with_sts_too(tmp_path: Path) -> None:
    context, bundle = certificate(tmp_path)
    sts = (
        b"<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>ROLEKEY</AccessKeyId><SecretAccessKey>s"
        b"</SecretAccessKey><SessionToken>t</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>"
        b"</AssumeRoleResult></AssumeRoleResponse>"
    )
    job = b'{"JobRun":{"JobRunState":"SUCCEEDED"}}'
    async with Server().serve(context) as server:

        def settings(**verify: Any) -> AwsSettings:
            server.answers = [http(sts), http(job)]
            given = ConnectionSettings(region="us-east-1", endpoint_url=server.url, role_arn=ROLE, **verify)
            return AwsSettings(connections={"default": given})

        for verify in (bundle, False):
            async with open_aws(settings(verify=verify)) as aws:
                assert (await aws.wait("glue", "job_complete", RUN)).polls == 1
        server.requests.clear()
        async with open_aws(settings()) as aws, aws.client("glue") as client:
            with pytest.raises(SSLError, match="CERTIFICATE_VERIFY_FAILED"):
                await client.get_job_run(**RUN)
        assert not server.requests


async def test_no_region_anywhere_is_said_at_once(fake: FakeAws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    async with open_aws(fake.settings(connection={"region": None})) as aws:
        with pytest.raises(AwsCallError, match="region"):
            await aws.wait("glue", "job_complete", RUN)
        assert (await aws.wait("glue", "job_complete", RUN, region="eu-west-1")).polls == 1


@pytest.mark.parametrize("own", ["us-east-1", None])
@pytest.mark.parametrize("machines", ["us-east-1", None])
async def test_a_region_that_is_none_harms_the_wait_that_names_it_and_no_other_of_its_role(
    fake: FakeAws, monkeypatch: pytest.MonkeyPatch, own: str | None, machines: str | None
) -> None:
    """The region of the role's first wait was STS's for all of them, for as long as the daemon ran."""
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    if machines:
        monkeypatch.setenv("AWS_DEFAULT_REGION", machines)
    fake.script("AssumeRole", _credentials("ROLEKEY"))
    async with open_aws(fake.settings(connection={"region": own, "role_arn": ROLE})) as aws:
        with pytest.raises(AwsCallError, match="no_region"):
            await aws.wait("glue", "job_complete", RUN, region="no_region")
        assert (await aws.wait("glue", "job_complete", RUN, region="eu-west-1")).polls == 1
    assert _keys(fake) == ["ROLEKEY"]


async def test_an_aws_side_that_was_closed_can_be_opened_again(fake: FakeAws) -> None:
    fake.script("AssumeRole", _credentials("FIRST"), _credentials("SECOND"))
    aws = Aws(fake.settings(connection={"role_arn": ROLE}), Metrics("0", ()))
    for _ in range(2):
        async with aws:
            await aws.wait("glue", "job_complete", RUN)
    assert _keys(fake) == ["FIRST", "SECOND"]


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
