"""Where credentials come from, each source for real on loopback, and that the loop goes on while they are fetched."""

import asyncio
import datetime as dt
import hashlib
import json
import re
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import boto3
import pytest
from aiohttp import web

from tests.support.daemon_process import DaemonProcess
from tests.support.fake_aws import FakeAws, Fault
from tests.support.waiting import eventually
from triggerd import Client
from triggerd.aws.aws import Aws
from triggerd.aws.local import open_aws
from triggerd.clock import wall_ms
from triggerd.errors import AwsCallError
from triggerd.settings import AwsSettings, ConnectionSettings
from triggerd.triggers.aws import AwsWaiterTrigger

ROLE = "arn:aws:iam::123456789012:role/waits"
RUN = {"JobName": "j", "RunId": "r"}
Environment = pytest.MonkeyPatch


def end(lives_s: float = 3600) -> str:
    return (dt.datetime.now(dt.UTC) + dt.timedelta(seconds=lives_s)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def state(name: str) -> dict[str, Any]:
    return {"JobRun": {"JobRunState": name}}


class Keys:
    """Makes KEY1, KEY2, ... in the form that AWS's credential endpoints have; each lives so long."""

    def __init__(self, lives_s: float = 3600) -> None:
        self.lives_s, self.made = lives_s, 0

    def next(self) -> dict[str, str]:
        self.made += 1
        return {"AccessKeyId": f"KEY{self.made}", "SecretAccessKey": "s", "Expiration": end(self.lives_s)}

    def of_sts(self, _params: Any = None) -> dict[str, Any]:
        return {"Credentials": {**self.next(), "SessionToken": "t"}}


@pytest.fixture
async def fake(monkeypatch: Environment) -> AsyncIterator[FakeAws]:
    async with FakeAws("glue", "sts", "sso") as server:
        server.script("GetJobRun", state("SUCCEEDED"))
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", server.url)
        monkeypatch.setenv("AWS_ENDPOINT_URL_SSO", server.url)
        yield server


@pytest.fixture
def no_keys(monkeypatch: Environment) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")


def keys_of(fake: FakeAws, operation: str = "GetJobRun") -> list[str]:
    return [seen.access_key for seen in fake.seen if seen.operation == operation]


def states(aws: Aws) -> dict[str, tuple[bool, int, int]]:
    return {label: (ends is not None, good, bad) for label, ends, good, bad in aws.credentials()}


@asynccontextmanager
async def serving(app: web.Application) -> AsyncIterator[str]:
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def profile(folder: Path, monkeypatch: Environment, *lines: str, more: str = "") -> None:
    """A config file of the AWS CLI whose profile ``etl`` has these lines."""
    config = folder / "aws-config"
    config.write_text("\n".join(["[profile etl]", "region = us-east-1", *lines, more, ""]))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))


def program(folder: Path, body: str) -> str:
    path = folder / "keys.sh"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o700)
    return f"credential_process = {path}"


ETL: dict[str, Any] = {"connection": {"profile": "etl"}}


# Roles


async def test_all_clients_of_a_role_are_one_assumerole(fake: FakeAws) -> None:
    keys = Keys()
    fake.script("AssumeRole", keys.of_sts)
    regions = ["us-east-1", "eu-west-1", "eu-central-1", "ap-south-1", "sa-east-1"]
    settings = fake.settings(connection={"role_arn": ROLE}, connections={"same": ConnectionSettings(
        region="us-east-1", role_arn=ROLE, endpoint_url=fake.url)})  # fmt: skip
    async with open_aws(settings) as aws:

        async def by_hand(region: str) -> None:
            async with aws.client("glue", region=region) as client:
                await client.get_job_run(**RUN)

        waits = [aws.wait("glue", "job_complete", RUN, connection=name, region=region)
                 for region in regions for name in ("default", "same") for _ in range(10)]  # fmt: skip
        await asyncio.gather(*waits, *map(by_hand, regions))
        assert states(aws) == {ROLE: (True, 1, 0)}
    assert fake.calls["AssumeRole"] == 1
    assert set(keys_of(fake)) == {"KEY1"}


async def test_a_wait_goes_on_over_refreshes_of_which_one_fails(fake: FakeAws) -> None:
    keys = Keys(lives_s=8)  # so that those still hold when what fails at four fifths of it is tried again
    fake.script("AssumeRole", keys.of_sts, Fault("AccessDenied", "for a moment", 403), keys.of_sts)
    fake.script("GetJobRun", state("RUNNING"))
    async with open_aws(fake.settings(connection={"role_arn": ROLE})) as aws:
        wait = asyncio.create_task(aws.wait("glue", "job_complete", RUN, delay=0.05, max_attempts=9_999))
        await eventually(lambda: "KEY3" in keys_of(fake) or wait.done(), 40)
        fake.script("GetJobRun", state("SUCCEEDED"))
        assert (await wait).last_status == "SUCCEEDED"
        assert states(aws) == {ROLE: (True, 3, 1)}
    assert list(dict.fromkeys(keys_of(fake))) == ["KEY1", "KEY2", "KEY3"]


async def test_a_role_is_assumed_with_static_keys_and_all_that_a_session_may_have(fake: FakeAws) -> None:
    fake.script("AssumeRole", Keys().of_sts)
    policy = '{"Version": "2012-10-17"}'
    connection = {
        "access_key_id": "AKIASTATIC", "secret_access_key": "s", "session_token": "t", "role_arn": ROLE,
        "external_id": "ext", "session_name": "nightly", "session_duration_s": 900,
        "session_tags": {"team": "etl", "cost": "7"}, "transitive_tag_keys": ("team",), "source_identity": "ada",
        "session_policy": policy, "session_policy_arns": ("arn:aws:iam::aws:policy/ReadOnlyAccess",),
    }  # fmt: skip
    async with open_aws(fake.settings(connection=connection)) as aws:
        await aws.wait("glue", "job_complete", RUN)
    [asked] = [seen for seen in fake.seen if seen.operation == "AssumeRole"]
    assert asked.access_key == "AKIASTATIC"
    assert {name: value for name, value in asked.params.items() if "." not in name} == {
        "Action": "AssumeRole", "Version": "2011-06-15", "RoleArn": ROLE, "RoleSessionName": "nightly",
        "DurationSeconds": "900", "ExternalId": "ext", "SourceIdentity": "ada", "Policy": policy,
        "PolicyArns": [{"arn": "arn:aws:iam::aws:policy/ReadOnlyAccess"}], "TransitiveTagKeys": ["team"],
        "Tags": [{"Key": "team", "Value": "etl"}, {"Key": "cost", "Value": "7"}],
    }  # fmt: skip


async def test_sessions_with_other_tags_and_other_keys_are_other_identities(fake: FakeAws) -> None:
    keys = Keys()
    fake.script("AssumeRole", keys.of_sts)
    way: dict[str, Any] = {"region": "us-east-1", "endpoint_url": fake.url}
    connections = {
        "a": ConnectionSettings(**way, role_arn=ROLE, session_tags={"team": "a"}),
        "b": ConnectionSettings(**way, role_arn=ROLE, session_tags={"team": "b"}),
        "key": ConnectionSettings(**way, access_key_id="AKIAONE", secret_access_key="s"),
        "other key": ConnectionSettings(**way, access_key_id="AKIATWO", secret_access_key="s"),
    }
    async with open_aws(fake.settings(connections=connections)) as aws:
        await asyncio.gather(*(aws.wait("glue", "job_complete", RUN, connection=name) for name in connections))
        labels = sorted(label for label, *_ in aws.credentials())
        shown = repr([shared.identity for shared in aws._clients.values()])
    assert sorted(keys_of(fake)) == ["AKIAONE", "AKIATWO", "KEY1", "KEY2"]
    assert labels == ["access key ...AONE", "access key ...ATWO", ROLE, ROLE]
    assert "AKIA" not in shown


async def test_one_identity_without_credentials_is_no_trouble_of_another(fake: FakeAws) -> None:
    fake.script("AssumeRole", Fault("AccessDenied", "no", 403))
    other = ConnectionSettings(region="us-east-1", endpoint_url=fake.url)
    async with open_aws(fake.settings(connection={"role_arn": ROLE}, connections={"other": other})) as aws:
        with pytest.raises(AwsCallError, match="AccessDenied"):
            await aws.wait("glue", "job_complete", RUN)
        assert (await aws.wait("glue", "job_complete", RUN, connection="other")).polls == 1
        assert states(aws) == {ROLE: (False, 0, 1), "the default credentials": (False, 1, 0)}


def test_a_daemon_tells_prometheus_when_a_roles_credentials_end(redis_url: str, td: Client, moto_url: str) -> None:
    with closing(boto3.client("s3", endpoint_url=moto_url)) as client:
        client.create_bucket(Bucket="lake")
    connection = {"region": "us-east-1", "endpoint_url": moto_url, "role_arn": ROLE, "session_duration_s": 900}
    env = {"TRIGGERD_AWS__CONNECTIONS": json.dumps({"lake": connection})}
    with DaemonProcess(redis_url, env=env) as daemon:
        wait = AwsWaiterTrigger("s3", "bucket_exists", {"Bucket": "lake"}, connection="lake")
        assert td.defer(wait, reply_to=None).result(timeout=20).payload["status"] == "success"
        with urllib.request.urlopen(f"{daemon.http_url}/metrics", timeout=5) as answer:
            text = answer.read().decode()
    found = re.search(rf'credentials_expiry_timestamp_seconds{{identity="{ROLE}"}} (\S+)', text)
    assert found is not None
    assert 800 < float(found[1]) - wall_ms() / 1000 <= 900
    assert f'triggerd_aws_credentials_refreshes_total{{identity="{ROLE}",result="ok"}} 1.0' in text


# Web identity: a connection's own token file, and that of the environment as EKS sets it (IRSA)


@pytest.mark.usefixtures("no_keys")
@pytest.mark.parametrize("irsa", [False, True], ids=["of the connection", "IRSA"])
async def test_a_token_file_is_read_again_at_each_refresh(
    irsa: bool, fake: FakeAws, tmp_path: Path, monkeypatch: Environment
) -> None:
    token = tmp_path / "token"
    token.write_text("first\n")
    fake.script("AssumeRoleWithWebIdentity", Keys(lives_s=4).of_sts, Keys().of_sts)
    fake.script("GetJobRun", state("RUNNING"))
    connection: dict[str, Any] = {}
    if irsa:
        monkeypatch.setenv("AWS_ROLE_ARN", ROLE)
        monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(token))
    else:
        connection = {"role_arn": ROLE, "web_identity_token_file": str(token), "session_duration_s": 3600}
    async with open_aws(fake.settings(connection=connection)) as aws:
        wait = asyncio.create_task(aws.wait("glue", "job_complete", RUN, delay=0.05, max_attempts=9_999))
        await eventually(lambda: fake.calls["GetJobRun"])
        token.write_text("second\n")
        await eventually(lambda: fake.calls["AssumeRoleWithWebIdentity"] == 2)
        fake.script("GetJobRun", state("SUCCEEDED"))
        await wait
    exchanges = [seen for seen in fake.seen if seen.operation == "AssumeRoleWithWebIdentity"]
    assert [seen.params["WebIdentityToken"].strip() for seen in exchanges] == ["first", "second"]
    assert {(seen.access_key, seen.params.get("DurationSeconds")) for seen in exchanges} == {
        ("", None if irsa else "3600")
    }


# What botocore's chain finds: each source ends in a wait that was signed with its key


@asynccontextmanager
async def container(folder: Path, monkeypatch: Environment) -> AsyncIterator[dict[str, Any]]:
    """ECS, and EKS's pod identity: an address and a token of the environment."""
    token = folder / "token"
    token.write_text("sesame")

    async def give(request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == "sesame"
        return web.json_response({**Keys().next(), "Token": "t"})

    app = web.Application()
    app.router.add_get("/creds", give)
    async with serving(app) as url:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{url}/creds")
        monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(token))
        yield {}


@asynccontextmanager
async def instance(folder: Path, monkeypatch: Environment) -> AsyncIterator[dict[str, Any]]:
    """EC2's metadata service, version 2."""
    base = "/latest/meta-data/iam/security-credentials/"

    async def token(request: web.Request) -> web.Response:
        assert request.headers["x-aws-ec2-metadata-token-ttl-seconds"]
        return web.Response(text="sesame")

    async def give(request: web.Request) -> web.Response:
        assert request.headers["x-aws-ec2-metadata-token"] == "sesame"
        if request.path == base:
            return web.Response(text="worker")
        return web.json_response({**Keys().next(), "Code": "Success", "Token": "t"})

    app = web.Application()
    app.router.add_put("/latest/api/token", token)
    app.router.add_get(base, give)
    app.router.add_get(f"{base}worker", give)
    async with serving(app) as url:
        monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", url)
        yield {}


@asynccontextmanager
async def process(folder: Path, monkeypatch: Environment) -> AsyncIterator[dict[str, Any]]:
    answer = json.dumps({"Version": 1, **Keys().next(), "SessionToken": "t"})
    profile(folder, monkeypatch, program(folder, f"echo '{answer}'"))
    yield ETL


@asynccontextmanager
async def source_profile(folder: Path, monkeypatch: Environment) -> AsyncIterator[dict[str, Any]]:
    """A profile with a role, on top of another profile."""
    base = "[profile base]\naws_access_key_id = BASE\naws_secret_access_key = s"
    profile(folder, monkeypatch, f"role_arn = {ROLE}", "source_profile = base", more=base)
    yield ETL


@asynccontextmanager
async def irsa(folder: Path, monkeypatch: Environment) -> AsyncIterator[dict[str, Any]]:
    (folder / "token").write_text("oidc")
    monkeypatch.setenv("AWS_ROLE_ARN", ROLE)
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(folder / "token"))
    yield {}


def signed_on(cache: Path, monkeypatch: Environment, name: str, **more: str) -> None:
    """What `aws sso login` leaves behind."""
    monkeypatch.setattr("botocore.credentials.SSOProvider._SSO_TOKEN_CACHE_DIR", str(cache))
    monkeypatch.setattr("botocore.tokens.SSOTokenProvider._SSO_TOKEN_CACHE_DIR", str(cache))
    cache.mkdir()
    token = {"accessToken": "sesame", "expiresAt": end(), "region": "us-east-1", **more}
    (cache / f"{hashlib.sha1(name.encode()).hexdigest()}.json").write_text(json.dumps(token))


@asynccontextmanager
async def sso(folder: Path, monkeypatch: Environment) -> AsyncIterator[dict[str, Any]]:
    start = "https://example.awsapps.com/start"
    signed_on(folder / "cache", monkeypatch, "corp", startUrl=start)
    session = f"[sso-session corp]\nsso_region = us-east-1\nsso_start_url = {start}"
    lines = "sso_session = corp", "sso_account_id = 123456789012", "sso_role_name = reader"
    profile(folder, monkeypatch, *lines, more=session)
    yield ETL


@asynccontextmanager
async def legacy_sso(folder: Path, monkeypatch: Environment) -> AsyncIterator[dict[str, Any]]:
    start = "https://example.awsapps.com/start"
    signed_on(folder / "cache", monkeypatch, start, startUrl=start)
    profile(folder, monkeypatch, f"sso_start_url = {start}", "sso_region = us-east-1",
            "sso_account_id = 123456789012", "sso_role_name = reader")  # fmt: skip
    yield ETL


@pytest.mark.usefixtures("no_keys")
@pytest.mark.parametrize("source", [container, instance, process, source_profile, irsa, sso, legacy_sso])
@pytest.mark.parametrize("role", [False, True], ids=["", "a role on top"])
async def test_each_source_of_botocores_chain_gives_its_key(
    source: Callable[..., Any], role: bool, fake: FakeAws, tmp_path: Path, monkeypatch: Environment
) -> None:
    keys = Keys()
    fake.script("AssumeRole", keys.of_sts)
    fake.script("AssumeRoleWithWebIdentity", keys.of_sts)
    soon = int((dt.datetime.now(dt.UTC).timestamp() + 3600) * 1000)
    given = {"accessKeyId": "KEY1", "secretAccessKey": "s", "sessionToken": "t", "expiration": soon}
    fake.script("GetRoleCredentials", {"roleCredentials": given})
    async with source(tmp_path, monkeypatch) as changes:
        connection = {**changes.get("connection", {}), **({"role_arn": f"{ROLE}2"} if role else {})}
        async with open_aws(fake.settings(connection=connection)) as aws:
            await aws.wait("glue", "job_complete", RUN)
            [(_, ends, good, _)] = aws.credentials()
    assert ends is not None
    assert good == 1
    assert keys_of(fake) == [f"KEY{max(1, keys.made)}"]
    if role:
        assert keys_of(fake, "AssumeRole")[-1] == "KEY1", "the role is assumed with what the source gave"


# The loop goes on


@asynccontextmanager
async def the_loop_goes_on(limit_s: float) -> AsyncIterator[None]:
    """Fails where the loop stood still for so long."""
    worst_s = 0.0

    async def tick() -> None:
        nonlocal worst_s
        clock = asyncio.get_running_loop().time
        while True:
            before_s = clock()
            await asyncio.sleep(0.005)
            worst_s = max(worst_s, clock() - before_s)

    ticking = asyncio.create_task(tick())
    await asyncio.sleep(0)
    try:
        yield
    finally:
        ticking.cancel()
    assert worst_s < limit_s, f"the loop stood still for {worst_s:.3f} s"


@pytest.mark.usefixtures("no_keys")
async def test_the_loop_goes_on_while_a_program_takes_its_time(
    fake: FakeAws, tmp_path: Path, monkeypatch: Environment
) -> None:
    echo = f"""sleep 0.5; echo x >> {tmp_path}/runs
    echo '{{"Version": 1, "AccessKeyId": "SLOW", "SecretAccessKey": "s", "SessionToken": "t", "Expiration": "'$(
        date -u -d "+2 seconds" +%Y-%m-%dT%H:%M:%S.%NZ)'"}}'"""
    profile(tmp_path, monkeypatch, program(tmp_path, echo))
    fake.script("GetJobRun", state("RUNNING"))
    async with open_aws(fake.settings(**ETL)) as aws, the_loop_goes_on(0.3):
        wait = asyncio.create_task(aws.wait("glue", "job_complete", RUN, delay=0.05, max_attempts=9_999))
        await eventually(lambda: [good for _, _, good, _ in aws.credentials()] == [2], 20)
        fake.script("GetJobRun", state("SUCCEEDED"))
        await wait
        assert (tmp_path / "runs").read_text().count("x") >= 2


@pytest.mark.usefixtures("no_keys")
async def test_a_program_that_hangs_holds_up_neither_other_identities_nor_the_end(
    fake: FakeAws, tmp_path: Path, monkeypatch: Environment
) -> None:
    may_end = tmp_path / "may-end"
    profile(
        tmp_path, monkeypatch, program(tmp_path, f"touch {tmp_path}/asked; until [ -e {may_end} ]; do sleep 0.1; done")
    )
    good = ConnectionSettings(
        region="us-east-1", endpoint_url=fake.url, access_key_id="AKIAGOOD", secret_access_key="s"
    )
    async with open_aws(fake.settings(**ETL, connections={"good": good})) as aws:
        hanging = asyncio.create_task(aws.wait("glue", "job_complete", RUN))
        await eventually((tmp_path / "asked").exists)
        assert (await aws.wait("glue", "job_complete", RUN, connection="good")).polls == 1
        hanging.cancel()
        began_s = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - began_s < 5
    may_end.touch()


@pytest.mark.usefixtures("no_keys")
async def test_a_program_that_gives_expired_keys_is_waited_for(
    fake: FakeAws, tmp_path: Path, monkeypatch: Environment
) -> None:
    """As one does that keeps its last answer while whoever it asks is away."""
    told = '{"Version": 1, "AccessKeyId": "LATE", "SecretAccessKey": "s", "Expiration": "%s"}'
    profile(tmp_path, monkeypatch, program(tmp_path, f"cat {tmp_path}/told"))
    (tmp_path / "told").write_text(told % "2020-01-01T00:00:00Z")
    async with open_aws(fake.settings(**ETL)) as aws:
        wait = asyncio.create_task(aws.wait("glue", "job_complete", RUN, delay=0.05))
        await eventually(lambda: [bad for *_, bad in aws.credentials()] == [1])
        (tmp_path / "told").write_text(told % "2099-01-01T00:00:00Z")
        assert (await wait).last_status == "SUCCEEDED"
    assert set(keys_of(fake)) == {"LATE"}


@pytest.mark.usefixtures("no_keys")
async def test_a_profile_that_wants_a_code_typed_is_refused(
    fake: FakeAws, tmp_path: Path, monkeypatch: Environment
) -> None:
    base = "[profile base]\naws_access_key_id = BASE\naws_secret_access_key = s"
    lines = f"role_arn = {ROLE}", "source_profile = base", "mfa_serial = arn:aws:iam::123456789012:mfa/ada"
    profile(tmp_path, monkeypatch, *lines, more=base)
    async with open_aws(fake.settings(**ETL)) as aws:
        with pytest.raises(AwsCallError, match="MFA code"):
            await aws.wait("glue", "job_complete", RUN)
    assert fake.calls.total() == 0


@pytest.mark.usefixtures("no_keys")
async def test_no_credentials_anywhere_is_said(fake: FakeAws) -> None:
    async with open_aws(fake.settings()) as aws:
        with pytest.raises(AwsCallError, match="no AWS credentials found"):
            await aws.wait("glue", "job_complete", RUN)


async def test_unsigned_calls_ask_nobody_for_credentials(fake: FakeAws) -> None:
    unsigned = ConnectionSettings(region="us-east-1", endpoint_url=fake.url, botocore={"signature_version": "unsigned"})
    async with open_aws(AwsSettings(connections={"default": unsigned})) as aws:
        await aws.wait("glue", "job_complete", RUN)
        assert states(aws) == {"the default credentials": (False, 0, 0)}
    assert keys_of(fake) == [""]
