"""The doctor on connections to AWS: who each is, where and until when, or AWS's own words."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.support.fake_aws import FakeAws, Fault
from triggerd.cli.main import main
from triggerd.daemon.doctor_connections import check_connections
from triggerd.embedded import EmbeddedServer
from triggerd.settings import AwsSettings, ConnectionSettings

ROLE = "arn:aws:iam::123456789012:role/waits"
WHO = "arn:aws:sts::123456789012:assumed-role/waits/triggerd"
SESSION = {
    "Credentials": {
        "AccessKeyId": "ROLEKEY", "SecretAccessKey": "s", "SessionToken": "t", "Expiration": "2099-01-02T03:04:00Z",
    },
}  # fmt: skip


@pytest.fixture
async def sts() -> AsyncIterator[FakeAws]:
    async with FakeAws("sts") as server:
        server.script("GetCallerIdentity", {"Arn": WHO, "Account": "123456789012", "UserId": "u"})
        server.script("AssumeRole", SESSION)
        yield server


async def found(sts: FakeAws, **connection: object) -> tuple[str, str]:
    settings = sts.settings(connection=connection)
    [finding] = await check_connections(settings, ["default"])
    assert finding.about == "connection default"
    return finding.level, finding.found


async def test_a_connection_is_told_by_who_it_is_where_and_until_when(sts: FakeAws) -> None:
    assert await found(sts, role_arn=ROLE) == ("ok", f"{WHO} in us-east-1, until 2099-01-02 03:04 UTC")
    assert [seen.access_key for seen in sts.seen if seen.operation == "GetCallerIdentity"] == ["ROLEKEY"]


async def test_keys_that_do_not_end_have_no_until(sts: FakeAws) -> None:
    assert await found(sts, access_key_id="AKIA", secret_access_key="s") == ("ok", f"{WHO} in us-east-1")
    assert [seen.access_key for seen in sts.seen] == ["AKIA"]


async def test_a_refusal_is_told_in_awss_words_and_the_others_are_looked_at_all_the_same(sts: FakeAws) -> None:
    sts.script("AssumeRole", Fault("AccessDenied", "not authorized to perform sts:AssumeRole", 403))
    settings = sts.settings(
        connections={
            "role": ConnectionSettings(region="us-east-1", endpoint_url=sts.url, role_arn=ROLE),
            "gone": ConnectionSettings(profile="nobody"),
        }
    )
    default, role, gone, unknown = await check_connections(settings, ["default", "role", "gone", "defualt"])
    assert default.level == "ok"
    assert (role.level, "not authorized to perform" in role.found) == ("warn", True)
    assert (gone.level, "nobody" in gone.found) == ("warn", True)
    assert (unknown.level, "did you mean 'default'" in unknown.found) == ("warn", True)


async def test_an_sts_that_does_not_answer_is_waited_for_only_so_long(sts: FakeAws) -> None:
    sts.gate = asyncio.Event()
    [finding] = await check_connections(sts.settings(), ["default"], limit_s=0.3)
    assert (finding.level, finding.found) == ("warn", "no answer within 0.3 s")
    sts.gate.set()


async def test_nothing_configured_asks_nobody() -> None:
    assert await check_connections(AwsSettings(), []) == []


def doctor(url: str, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["doctor", "--redis", url, "--json", *arguments], prog_name="triggerd")


async def test_airflows_connections_and_a_file_that_all_can_read_are_looked_at(
    sts: FakeAws, server: EmbeddedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "triggerd.toml"
    config.write_text(
        '[aws.connections.keys]\naccess_key_id = "AKIA"\nsecret_access_key = "hush"\n'
        f'region = "eu-west-1"\nendpoint_url = "{sts.url}"\n'
    )
    config.chmod(0o644)
    extra = {"region_name": "eu-north-1", "endpoint_url": sts.url, "odd": "hush"}
    monkeypatch.setenv("AIRFLOW_CONN_ETL", json.dumps({"conn_type": "aws", "extra": extra}))
    done = await asyncio.to_thread(doctor, server.url, "--config", str(config))
    told = {(item["about"], item["found"]) for item in json.loads(done.stdout)}
    assert told >= {
        ("config file", f"everybody can read aws.connections.keys.secret_access_key in {config}"),
        ("connections", "AIRFLOW_CONN_ETL: not used: odd"),
        ("connection keys", f"{WHO} in eu-west-1"),
        ("connection etl", f"{WHO} in eu-north-1"),
    }
    assert done.exit_code == 0
    assert "hush" not in done.output
    done = await asyncio.to_thread(doctor, server.url, "--config", str(config), "--connection", "etl")
    assert "connection keys" not in done.output
