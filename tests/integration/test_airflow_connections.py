"""An Airflow trigger with its `aws_conn_id`, the AIRFLOW_CONN_ variable as before, and a real daemon."""

import asyncio
import json
from pathlib import Path

from tests.support.command import triggerd
from tests.support.daemon_process import DaemonProcess
from tests.support.fake_aws import FakeAws
from triggerd import Client

GLUE = "airflow.providers.amazon.aws.triggers.glue.GlueJobCompleteTrigger"
SESSION = {"AccessKeyId": "ROLEKEY", "SecretAccessKey": "s", "SessionToken": "t", "Expiration": "2099-01-02T03:04:00Z"}


async def test_a_pair_of_airflow_finds_its_connection_in_the_environment_in_any_case(redis_url: str) -> None:
    async with FakeAws("glue", "sts") as aws:
        aws.script("AssumeRole", {"Credentials": SESSION})
        aws.script("GetJobRun", {"JobRun": {"JobRunState": "SUCCEEDED"}})
        extra = {
            "region_name": "eu-west-1",
            "endpoint_url": aws.url,
            "service_config": {"sts": {"endpoint_url": aws.url}},
            "role_arn": "arn:aws:iam::123456789012:role/waits",
            "assume_role_kwargs": {"ExternalId": "ext"},
            "odd": "hush",
        }
        conn = {"conn_type": "aws", "login": "AKIA", "password": "hush", "extra": extra}
        env = {"AIRFLOW_CONN_ETL": json.dumps(conn), "TRIGGERD_LOGS__FORMAT": "json"}
        daemon = DaemonProcess(redis_url, env=env)
        kwargs = {
            "job_name": "j", "run_id": "r", "verbose": False, "aws_conn_id": "Etl",
            "waiter_delay": 1, "waiter_max_attempts": 3,
        }  # fmt: skip

        def run() -> object:
            with daemon, Client(redis_url) as td:
                event = td.defer((GLUE, kwargs)).result(timeout=20)
                warned = [record for record in daemon.log_records() if record.get("about") == "connections"]
                assert [record["found"] for record in warned] == ["AIRFLOW_CONN_ETL: not used: odd"]
                assert "hush" not in daemon.log_text
                return event.payload

        assert await asyncio.to_thread(run) == {"status": "success", "run_id": "r"}
    [assumed] = [seen for seen in aws.seen if seen.operation == "AssumeRole"]
    assert assumed.access_key == "AKIA"
    assert (assumed.params["RoleSessionName"], assumed.params["ExternalId"]) == ("airflow_etl", "ext")
    assert {seen.access_key for seen in aws.seen if seen.operation == "GetJobRun"} == {"ROLEKEY"}


async def test_triggerd_wait_knows_airflows_connections_and_its_flags_go_before_them(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("[profile p]\naws_access_key_id = PROFILEKEY\naws_secret_access_key = s\n")
    env = {
        "AIRFLOW_CONN_ETL": "aws://CONNKEY:hush@?region_name=eu-west-1&endpoint_url=http%3A%2F%2F127.0.0.1%3A9",
        "AWS_CONFIG_FILE": str(config),
    }
    async with FakeAws("glue") as aws:
        aws.script("GetJobRun", {"JobRun": {"JobRunState": "SUCCEEDED"}})

        def wait(*flags: str) -> None:
            arguments = ("glue", "job_complete", "JobName=j", "RunId=r", "--endpoint-url", aws.url, *flags)
            done = triggerd("wait", *arguments, env=env)
            assert done.returncode == 0, done.stderr

        for flags in ((), ("--connection", "aws_default"), ("--connection", "etl")):
            await asyncio.to_thread(wait, *flags)
        await asyncio.to_thread(wait, "--connection", "etl", "--profile", "p")
        assert [seen.access_key for seen in aws.seen] == ["testing", "testing", "CONNKEY", "PROFILEKEY"]
