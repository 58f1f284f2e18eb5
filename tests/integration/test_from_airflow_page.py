"""docs/from-airflow.md and docs/starts.md are true: their code runs, their table is the one that the daemon uses."""

import os
import subprocess
import sys
from pathlib import Path

import boto3

from tests.support import airflow_table, markdown
from tests.support.daemon_process import DaemonProcess
from tests.support.servers import REPOSITORY

STARTS = REPOSITORY / "docs" / "starts.md"


def test_the_table_is_the_alias_table() -> None:
    assert airflow_table.written() == airflow_table.table(), "run: python -m tests.support.airflow_table"


def test_the_code_of_the_page_runs_when_pasted(redis_url: str, moto_url: str, tmp_path: Path) -> None:
    for name, text in markdown.files(airflow_table.PAGE, "python").items():
        (tmp_path / name).write_text(text)
    redshift = boto3.client("redshift", endpoint_url=moto_url)
    redshift.create_cluster(
        ClusterIdentifier="dwh", NodeType="ra3.large", MasterUsername="u", MasterUserPassword="Pw123456"
    )
    redshift.pause_cluster(ClusterIdentifier="dwh")
    env = os.environ | {
        "AWS_ENDPOINT_URL": moto_url,
        "TRIGGERD_REDIS__URL": redis_url,
        "PYTHONPATH": os.pathsep.join([str(tmp_path), str(REPOSITORY)]),
    }
    program = (
        "from after import ResumeCluster; from triggerd import Client, Resumer\n"
        "import threading\n"
        "td = Client(); resumer = Resumer(td); resumer.register(ResumeCluster)\n"
        "td.start(ResumeCluster('dwh', poll_interval=1))\n"
        "class Stops(ResumeCluster):\n"
        "    pass\n"
        "ResumeCluster.execute_complete, before = (\n"
        "    lambda self, context, event=None: (before(self, context, event), resumer.stop()), "
        "ResumeCluster.execute_complete)\n"
        "resumer.run()\n"
    )
    with DaemonProcess(redis_url, env=env):
        done = _python(env, "-c", program)
        assert done == "dwh is back\n"
        redshift.pause_cluster(ClusterIdentifier="dwh")
        redshift.resume_cluster(ClusterIdentifier="dwh")
        assert _python(env, str(tmp_path / "pair.py")) == "{'status': 'success', 'value': None}\n"
    redshift.close()


def test_the_code_of_the_page_on_starts_is_a_task(moto_url: str) -> None:
    [text] = markdown.blocks(STARTS, "python")
    task, _, start = text.partition("\n\ntd.start(")
    assert start == 'Report("2026-11-24"), id="report-2026-11-24")\n'
    program = (
        "import boto3, triggerd; from triggerd import AwsWaiterTrigger, Deferrable\n"
        f"{task}\n"
        "Report.deferrable = False\n"
        "print(triggerd.Client().start(Report('2026-11-24'), id='report-2026-11-24'))\n"
    )
    env = os.environ | {"AWS_ENDPOINT_URL": moto_url, "PYTHONPATH": str(REPOSITORY)}
    assert _python(env, "-c", program) == "None\n"


def _python(env: dict[str, str], *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], env=env, capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
