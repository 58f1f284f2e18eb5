"""The README's code runs when pasted."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import boto3
import msgspec
import pytest

from tests.support import markdown
from tests.support.daemon_process import DaemonProcess
from tests.support.servers import REPOSITORY
from triggerd.aws.checks import check_file
from triggerd.aws.waiters import ServiceModels, new_loader
from triggerd.settings import Settings
from triggerd.testing import run_trigger

README = REPOSITORY / "README.md"


def test_the_worker_example_runs_when_pasted(redis_url: str, moto_url: str, tmp_path: Path) -> None:
    redshift = boto3.client("redshift", endpoint_url=moto_url)
    redshift.create_cluster(
        ClusterIdentifier="dwh", NodeType="ra3.large", MasterUsername="u", MasterUserPassword="Pw123456"
    )
    redshift.pause_cluster(ClusterIdentifier="dwh")
    redshift.close()
    worker = tmp_path / "worker.py"
    worker.write_text(next(block for block in markdown.blocks(README, "python") if "Resumer(td)" in block))
    env = {"AWS_ENDPOINT_URL": moto_url, "TRIGGERD_REDIS__URL": redis_url, "PYTHONPATH": str(REPOSITORY)}
    with DaemonProcess(redis_url, env=env):
        done = subprocess.run(
            [sys.executable, str(worker)], env=os.environ | env, capture_output=True, text=True, timeout=50, check=False
        )
    assert (done.returncode, done.stdout) == (0, "dwh is back\n"), done.stderr


def test_the_custom_waiter_is_clean(tmp_path: Path) -> None:
    [text] = markdown.blocks(README, "json")
    (tmp_path / "redshift.json").write_text(text)
    assert check_file(tmp_path / "redshift.json", ServiceModels(new_loader())) == []


async def test_the_custom_trigger_fires(moto_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto_url)
    sqs = boto3.client("sqs")
    url = sqs.create_queue(QueueName="work")["QueueUrl"]
    sqs.close()
    namespace: dict[str, Any] = {}
    exec(next(block for block in markdown.blocks(README, "python") if "QueueIsEmpty" in block), namespace)
    event = await run_trigger(namespace["QueueIsEmpty"](url), timeout=20)
    assert event.payload == {"status": "success"}


def test_the_config_has_only_keys_that_exist() -> None:
    [text] = markdown.blocks(README, "toml")
    assert msgspec.convert(tomllib.loads(text), Settings).allow == ("acme.triggers.*",)
