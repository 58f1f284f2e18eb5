"""docs/guide.md is true: its files are written out as a reader would, and run against Redis, a daemon and moto."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest

from tests.support import markdown
from tests.support.daemon_process import DaemonProcess
from tests.support.servers import REPOSITORY
from tests.support.waiting import eventually_sync
from triggerd import Client

GUIDE = REPOSITORY / "docs" / "guide.md"
STARTED = "{task}; Client().start({task}, context={{'run_id': 7}}, id='t1')"


@dataclass
class Reader:
    """Somebody who follows the guide: a folder with its files, an account (moto), a Redis, and a shell."""

    folder: Path
    env: dict[str, str]
    redshift: Any

    def run(self, *arguments: str) -> str:
        """Run a program of the guide to its end and give what it printed."""
        command = [sys.executable, *arguments]
        done = subprocess.run(command, cwd=self.folder, env=self.env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self, task: str) -> None:
        """Start a task of tasks.py as a worker would."""
        self.run("-c", f"from tasks import *; from triggerd import Client\n{STARTED.format(task=task)}")

    def resume(self, *tasks: str) -> str:
        """Run a resumer for these tasks until trigger t1 has been resumed; gives what the continuation printed."""
        program = (
            "import threading, tasks, triggerd\n"
            "from triggerd.keys import QueueKeys\n"
            "from triggerd.streams.script import Call\n"
            "td = triggerd.Client(); resumer = triggerd.Resumer(td)\n"
            f"for name in {tasks!r}: resumer.register(getattr(tasks, name))\n"
            "def stop_when_resumed():\n"
            "    td.handle('t1').result(timeout=30)\n"
            "    length = Call('len', ('XLEN', QueueKeys('default').events('default')), int)\n"
            "    while td.caller.redis.run(length): resumer.pause(0.02)\n"
            "    resumer.stop()\n"
            "threading.Thread(target=stop_when_resumed).start(); resumer.run()"
        )
        return self.run("-c", program)

    def status(self) -> str:
        return str(self.redshift.describe_clusters(ClusterIdentifier="dwh")["Clusters"][0]["ClusterStatus"])


@pytest.fixture
def reader(tmp_path: Path, redis_url: str, moto_url: str) -> Iterator[Reader]:
    for name, text in (markdown.files(GUIDE, "python") | markdown.files(GUIDE, "toml")).items():
        (tmp_path / name).write_text(text)
    [waiter] = markdown.blocks(GUIDE, "json")
    (tmp_path / "waiters").mkdir()
    (tmp_path / "waiters" / "redshift.json").write_text(waiter)
    redshift = boto3.client("redshift", endpoint_url=moto_url)
    redshift.create_cluster(
        ClusterIdentifier="dwh", NodeType="ra3.large", MasterUsername="u", MasterUserPassword="Pw123456"
    )
    env = os.environ | {
        "AWS_ENDPOINT_URL": moto_url,
        "TRIGGERD_REDIS__URL": redis_url,
        "PYTHONPATH": os.pathsep.join([str(tmp_path), str(REPOSITORY), os.environ.get("PYTHONPATH", "")]),
    }
    yield Reader(tmp_path, env, redshift)
    redshift.close()


@pytest.fixture
def daemon(reader: Reader, redis_url: str) -> Iterator[DaemonProcess]:
    flags = ("--config", str(reader.folder / "triggerd.toml"))
    with DaemonProcess(redis_url, flags=flags, env=reader.env, cwd=reader.folder) as daemon:
        yield daemon


def test_the_guides_redshift_example_resumes_the_task_when_the_cluster_is_back(
    reader: Reader, daemon: DaemonProcess
) -> None:
    reader.redshift.pause_cluster(ClusterIdentifier="dwh")
    assert reader.run("worker.py") in ("queued\n", "running\n")
    with subprocess.Popen(
        [sys.executable, "-u", "resumer.py"], cwd=reader.folder, env=reader.env, stdout=subprocess.PIPE, text=True
    ) as resumer:
        assert resumer.stdout is not None
        assert resumer.stdout.readline() == "Resumed dwh for run 7\n"
        resumer.terminate()
    assert resumer.returncode == 0


def test_the_guides_redshift_example_tells_the_task_of_a_failure_with_awss_own_words(
    reader: Reader, daemon: DaemonProcess, redis_url: str
) -> None:
    reader.redshift.pause_cluster(ClusterIdentifier="dwh")
    program = (
        "import boto3; from tasks import ResumeCluster; from triggerd import Client\n"
        "task = ResumeCluster('dwh', poll_interval=1); handle = Client().start(task, {'run_id': 7}, id='t1')\n"
    )
    daemon.freeze()  # so that the cluster is gone before its first poll
    reader.run("-c", program)
    reader.redshift.delete_cluster(ClusterIdentifier="dwh", SkipFinalClusterSnapshot=True)
    daemon.thaw()
    with Client(redis_url) as td:
        event = td.handle("t1").result(timeout=30)
    assert event.outcome == "fired"
    assert event["status"] == "error"
    assert event["cluster_identifier"] == "dwh"
    assert "ClusterNotFound" in event["message"]
    assert event.details["error_code"] == "ClusterNotFound"


def test_a_built_in_waiter(reader: Reader, daemon: DaemonProcess) -> None:
    reader.start("TakeSnapshot('dwh', 'nightly')")
    assert reader.resume("TakeSnapshot") == "Snapshot nightly is there (the guide)\n"


def test_a_custom_waiter(reader: Reader, daemon: DaemonProcess) -> None:
    reader.redshift.create_cluster_snapshot(ClusterIdentifier="dwh", SnapshotIdentifier="nightly")
    reader.start("DeleteSnapshot('nightly')")
    assert reader.resume("DeleteSnapshot") == "Snapshot nightly is gone\n"


def test_a_custom_waiter_is_checked_and_tried_as_the_guide_says(reader: Reader) -> None:
    commands = [line.strip().split() for line in GUIDE.read_text().splitlines() if line.startswith("    triggerd wait")]
    check, wait = commands
    reader.run("-m", *check)
    config = ("--config", str(reader.folder / "triggerd.toml"))
    assert "success" in reader.run("-m", *wait, *config)


def test_hand_written_polling(reader: Reader, daemon: DaemonProcess) -> None:
    reader.start("PauseCluster('dwh')")
    assert reader.resume("PauseCluster") == "Cluster is paused\n"
    eventually_sync(lambda: reader.status() == "paused")
    assert any(
        record.get("trigger_id") == "t1" for record in daemon.log_records() if record.get("event") == "not yet"
    ) or (
        "not yet" not in daemon.log_text  # moto pauses at once, so there may have been nothing to wait for
    )


def test_the_guides_own_test_passes(reader: Reader) -> None:
    reader.redshift.pause_cluster(ClusterIdentifier="dwh")
    reader.run("-m", "pytest", "-q", "-o", "asyncio_mode=auto", "-p", "no:cacheprovider", "test_cluster_trigger.py")
